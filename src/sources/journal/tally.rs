//! Counts errors per unit between two observations: the first is told at once, more are gathered.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::engine::observation::ErrorsSeen;
use crate::systemd::journal::tidy;
use crate::systemd::redact::Redactor;

/// At most one observation per unit in this time.
const EVERY: Duration = Duration::from_secs(10);
/// Bytes kept of a line until it is told: four times what is shown of it.
const LINE: usize = 2048;
/// Lines kept per unit.
const LINES: usize = 20;
/// Entries looked into per second; of more, only the number is kept.
const PER_SECOND: u32 = 2000;
/// Units counted at the same time. Globs may match units that come and go without end.
const UNITS: usize = 1000;

#[derive(Debug, Default)]
pub(super) struct Tally {
    /// The place of the last entry that was looked at.
    pub(super) cursor: Option<String>,
    units: HashMap<Arc<str>, Count>,
    second: Option<Instant>,
    handled: u32,
}

#[derive(Debug)]
struct Count {
    count: u32,
    /// As they came: made fit to show, and secrets removed, only when they are told, so that a flood
    /// of which most lines are dropped costs little.
    lines: VecDeque<String>,
    /// Not to be told before.
    next: Instant,
}

impl Tally {
    /// Whether another entry may be looked into within this second.
    pub(super) fn may_handle(&mut self, now: Instant) -> bool {
        if self.second.is_none_or(|since| now.duration_since(since) >= Duration::from_secs(1)) {
            self.second = Some(now);
            self.handled = 0;
        }
        self.handled = self.handled.saturating_add(1);
        self.handled <= PER_SECOND
    }

    /// One error of a unit, with its line unless only the number matters.
    pub(super) fn add(&mut self, unit: &str, line: Option<&str>, now: Instant) {
        if !self.units.contains_key(unit) {
            if self.units.len() >= UNITS {
                self.units.retain(|_, count| count.count > 0 || count.next > now);
            }
            if self.units.len() >= UNITS {
                return;
            }
            let fresh = Count { count: 0, lines: VecDeque::new(), next: now };
            self.units.insert(unit.into(), fresh);
        }
        let Some(count) = self.units.get_mut(unit) else { return };
        count.count = count.count.saturating_add(1);
        if let Some(line) = line {
            if count.lines.len() >= LINES {
                count.lines.pop_front();
            }
            count
                .lines
                .push_back(line[..line.floor_char_boundary(LINE.min(line.len()))].to_owned());
        }
    }

    /// When something is to be told next.
    pub(super) fn due(&self) -> Option<Instant> {
        self.units.values().filter(|count| count.count > 0).map(|count| count.next).min()
    }

    /// What is to be told now, by unit name.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<ErrorsSeen> {
        let cursor = &self.cursor;
        let mut seen: Vec<ErrorsSeen> = self
            .units
            .iter_mut()
            .filter(|(_, count)| count.count > 0 && count.next <= now)
            .map(|(unit, count)| {
                count.next = now + EVERY;
                count.seen(unit, cursor)
            })
            .collect();
        // Quiet units are forgotten, so that this stays as small as there is trouble.
        self.units.retain(|_, count| count.count > 0 || count.next > now);
        seen.sort_by(|a, b| a.unit.cmp(&b.unit));
        seen
    }

    /// All that was not told yet: the end has come.
    pub(super) fn take_all(&mut self) -> Vec<ErrorsSeen> {
        let mut seen: Vec<ErrorsSeen> = self
            .units
            .iter_mut()
            .filter(|(_, count)| count.count > 0)
            .map(|(unit, count)| count.seen(unit, &self.cursor))
            .collect();
        seen.sort_by(|a, b| a.unit.cmp(&b.unit));
        seen
    }
}

impl Count {
    fn seen(&mut self, unit: &Arc<str>, cursor: &Option<String>) -> ErrorsSeen {
        let mut redactor = Redactor::default();
        ErrorsSeen {
            unit: unit.clone(),
            count: std::mem::take(&mut self.count),
            lines: self.lines.drain(..).map(|line| tidy(&line, &mut redactor)).collect(),
            cursor: cursor.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn the_first_is_told_at_once_and_the_rest_together() {
        let mut tally = Tally { cursor: Some("c1".into()), ..Tally::default() };
        let start = Instant::now();
        tally.add("a.service", Some("one"), start);
        assert_eq!(tally.due(), Some(start));
        let seen = tally.take_due(start);
        assert_eq!((seen[0].count, &seen[0].lines[..]), (1, &["one".to_owned()][..]));
        assert_eq!(seen[0].cursor.as_deref(), Some("c1"));
        assert_eq!(tally.due(), None);

        for n in 0..25 {
            tally.add("a.service", Some(&format!("line {n}")), start + seconds(1));
        }
        tally.add("b.service", None, start + seconds(1));
        let seen = tally.take_due(start + seconds(1));
        assert_eq!(seen.len(), 1, "another unit does not wait");
        assert_eq!((&*seen[0].unit, seen[0].count, seen[0].lines.len()), ("b.service", 1, 0));
        assert_eq!(tally.due(), Some(start + EVERY));
        let seen = tally.take_due(start + EVERY);
        assert_eq!((seen[0].count, seen[0].lines.len()), (25, LINES));
        assert_eq!(seen[0].lines[19], "line 24");
        assert_eq!(seen[0].lines[0], "line 5");
        assert!(tally.take_all().is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let mut tally = Tally::default();
        let start = Instant::now();
        for n in 0..UNITS + 50 {
            tally.add(&format!("run-{n}.service"), None, start);
        }
        assert_eq!(tally.take_due(start).len(), UNITS);
        assert_eq!(tally.units.len(), UNITS, "each has its rate to keep");
        tally.add("late.service", None, start + EVERY);
        assert_eq!(tally.units.len(), 1, "quiet units are forgotten");
        assert_eq!(tally.take_all().len(), 1);
    }

    #[test]
    fn a_flood_is_counted_and_not_read() {
        let mut tally = Tally::default();
        let start = Instant::now();
        let handled = (0..5000).filter(|_| tally.may_handle(start)).count();
        assert_eq!(handled as u32, PER_SECOND);
        assert!(!tally.may_handle(start + Duration::from_millis(900)));
        assert!(tally.may_handle(start + seconds(1)));
    }
}
