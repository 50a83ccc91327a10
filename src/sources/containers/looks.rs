//! Which looks at containers may be made now: a few at a time, of which those that hang hold up no
//! other; and one that could not be made is made again, ever more seldom.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// Looks at a time.
const LOOKS: usize = 8;

/// A look that takes longer holds up no other.
const SLOW: Duration = Duration::from_secs(2);

/// Looks at a time, with those that take long.
const MOST: usize = 32;

/// A look that could not be made is made again after this, then after twice as long.
const FIRST: Duration = Duration::from_secs(3);

/// And at the latest after this.
const LAST: Duration = Duration::from_secs(60);

/// The looks that are under way, and those that could not be made.
#[derive(Debug, Default)]
pub(super) struct Looks {
    since: BTreeMap<Arc<str>, Instant>,
    again: BTreeSet<(Instant, Arc<str>)>,
}

impl Looks {
    /// One more may be made.
    pub(super) fn room(&self, now: Instant) -> bool {
        let quick = self.since.values().filter(|since| **since + SLOW > now).count();
        quick < LOOKS && self.since.len() < MOST
    }

    /// When there may be room though none has come back.
    pub(super) fn next_room(&self, now: Instant) -> Option<Instant> {
        self.since.values().map(|since| *since + SLOW).filter(|at| *at > now).min()
    }

    /// One is made.
    pub(super) fn begins(&mut self, id: Arc<str>, now: Instant) {
        self.since.insert(id, now);
    }

    /// One has come back, or has been given up.
    pub(super) fn ends(&mut self, id: &Arc<str>) {
        self.since.remove(id);
    }

    /// A look could not be made for the `times`th time in a row.
    pub(super) fn put_off(&mut self, id: Arc<str>, times: u32, now: Instant) {
        let wait = FIRST.saturating_mul(1 << times.saturating_sub(1).min(16)).min(LAST);
        self.again.insert((now + wait, id));
    }

    /// When the next is to be made again.
    pub(super) fn next_again(&self) -> Option<Instant> {
        self.again.first().map(|(at, _)| *at)
    }

    /// What is to be looked at again by now. Where many hang it waits: half of the room is for what
    /// happens.
    pub(super) fn again(&mut self, now: Instant) -> Option<Arc<str>> {
        let (at, id) = self.again.pop_first()?;
        if at > now {
            self.again.insert((at, id));
            return None;
        }
        if self.since.len() >= MOST / 2 {
            self.again.insert((now + FIRST, id));
            return None;
        }
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> Arc<str> {
        format!("{number}").into()
    }

    #[test]
    fn looks_that_hang_hold_up_no_other() {
        let now = Instant::now();
        let mut looks = Looks::default();
        for number in 0..LOOKS {
            assert!(looks.room(now));
            looks.begins(id(number), now);
        }
        assert!(!looks.room(now));
        assert_eq!(looks.next_room(now), Some(now + SLOW));
        let later = now + SLOW;
        assert!(looks.room(later), "they hang");
        assert_eq!(looks.next_room(later), None);
        for number in LOOKS..MOST {
            looks.begins(id(number), now);
        }
        assert!(!looks.room(later), "too many hang");
        looks.ends(&id(0));
        assert!(looks.room(later));
    }

    #[test]
    fn what_could_not_be_looked_at_is_looked_at_ever_more_seldom() {
        let now = Instant::now();
        let mut looks = Looks::default();
        let waits = [(1, 3), (2, 6), (3, 12), (5, 48), (6, 60), (1000, 60)];
        for (times, wait) in waits {
            looks.put_off(id(1), times, now);
            let at = now + Duration::from_secs(wait);
            assert_eq!(looks.next_again(), Some(at), "{times}");
            assert_eq!(looks.again(at - Duration::from_millis(1)), None);
            assert_eq!(looks.again(at), Some(id(1)));
            assert_eq!(looks.next_again(), None);
        }
        for number in 2..2 + MOST / 2 {
            looks.begins(id(number), now);
        }
        looks.put_off(id(1), 1, now);
        let at = now + FIRST;
        assert_eq!(looks.again(at), None, "many hang");
        assert_eq!(looks.next_again(), Some(at + FIRST));
    }
}
