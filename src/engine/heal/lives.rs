//! Counting: which run of a unit follows which, how each ended, and so what was a restart.
//!
//! A restart is a new run that follows one which ended badly or which systemd's `Restart=` ended;
//! starts by a timer, a socket, an operator or an upgrade are none. Runs are told apart by
//! InvocationID, so that what the bus and the journal both tell is counted once.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::observation::{Invocation, Life, LifeWhat};
use crate::engine::saved::CountRecord;
use crate::engine::time::Wall;

/// What an update found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::engine) struct Counted {
    /// Runs that ended badly.
    pub(in crate::engine) crashes: u32,
    /// Restarts.
    pub(in crate::engine) restarts: u32,
    /// The record changed and is to be stored.
    pub(in crate::engine) changed: bool,
}

/// A unit's runs.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Lives {
    pub(in crate::engine) record: CountRecord,
    /// systemd's own `Restart=` follows the present run.
    scheduled: bool,
    /// A run that the journal told to be stopped before it was known that it began.
    stopped_before: Option<Invocation>,
}

impl Lives {
    pub(in crate::engine) fn new(record: CountRecord) -> Self {
        Self { record, scheduled: false, stopped_before: None }
    }

    /// The present run ended badly.
    pub(in crate::engine) fn ended_badly(&self) -> bool {
        self.record.ended_badly
    }

    /// A stop job ended the present run.
    pub(in crate::engine) fn stopped(&self) -> bool {
        self.record.stopped
    }

    /// A run is seen that is not the present one.
    ///
    /// `triggered`: a timer, socket or path starts this unit, so a new run needs no failure before it.
    /// `hint`: nothing is known of what lay between, but systemd's counter says that it restarted it.
    pub(in crate::engine) fn began(
        &mut self,
        run: Invocation,
        at: Wall,
        boot_id: &Arc<str>,
        triggered: bool,
        hint: bool,
    ) -> Counted {
        let record = &mut self.record;
        if record.invocation == Some(run) || record.recent.contains(&run) {
            return Counted::default();
        }
        // A reboot ends all runs, and the starts after it are no restarts.
        let same_boot = record.boot_id == *boot_id;
        let known = record.invocation.is_some() && same_boot;
        let badly = record.ended_badly && !record.stopped;
        let restart = known && ((badly && (self.scheduled || !triggered)) || hint);
        if record.recent.len() == CountRecord::RECENT {
            record.recent.pop_front();
        }
        record.recent.push_back(run);
        record.invocation = Some(run);
        record.boot_id = boot_id.clone();
        record.ended_badly = false;
        record.stopped = self.stopped_before == Some(run);
        record.seen = record.seen.max(at);
        self.scheduled = false;
        if restart {
            record.restarts += 1;
            record.window.push_back(at);
        }
        Counted { crashes: 0, restarts: u32::from(restart), changed: true }
    }

    /// The present run has ended badly, or (`scheduled`) systemd's `Restart=` follows it.
    /// `witnessed`: it is news, not something that had already failed when keepwell came.
    pub(in crate::engine) fn ended(
        &mut self,
        run: Invocation,
        at: Wall,
        badly: bool,
        scheduled: bool,
        witnessed: bool,
    ) -> Counted {
        if self.record.invocation != Some(run) {
            return Counted::default();
        }
        self.scheduled |= scheduled;
        let mut counted = Counted::default();
        if (badly || scheduled) && !self.record.ended_badly {
            self.record.ended_badly = true;
            self.record.seen = self.record.seen.max(at);
            counted.changed = true;
        }
        // A service that does not like to be stopped ends badly, but did not crash.
        if badly && witnessed && !self.record.stopped && self.record.crashed != Some(run) {
            self.record.crashed = Some(run);
            self.record.crashes += 1;
            counted.crashes = 1;
            counted.changed = true;
        }
        counted
    }

    /// A stop job ends the present run, or systemd's wait to restart it.
    pub(in crate::engine) fn stopping(&mut self, run: Invocation) -> Counted {
        if self.record.invocation != Some(run) || self.record.stopped {
            return Counted::default();
        }
        self.record.stopped = true;
        Counted { changed: true, ..Counted::default() }
    }

    /// The end of the present run turns out to have been asked for, and was no crash. Returns whether
    /// that is news.
    pub(in crate::engine) fn recalled(&mut self, run: Invocation) -> bool {
        let changed = self.stopping(run).changed;
        if changed && self.record.crashed == Some(run) {
            self.record.crashed = None;
            self.record.crashes = self.record.crashes.saturating_sub(1);
        }
        changed
    }

    /// Restarts that were counted elsewhere.
    pub(in crate::engine) fn more(&mut self, restarts: u32, at: Wall) {
        self.record.restarts += u64::from(restarts);
        let room = usize::try_from(restarts).unwrap_or(usize::MAX).min(CountRecord::WINDOW);
        self.record.window.extend(std::iter::repeat_n(at, room));
        self.record.seen = self.record.seen.max(at);
    }

    /// An entry of the journal: what happened while nobody listened, or what is known already.
    pub(in crate::engine) fn life(&mut self, life: &Life, now: Wall, triggered: bool) -> Counted {
        let run = life.invocation;
        let known = self.record.invocation == Some(run) || self.record.recent.contains(&run);
        let mut counted = Counted::default();
        if !known {
            // A run from before the first sight of the unit, or so old that it has left `recent`.
            // Not comparable when the clock was set back since.
            let old = life.at <= self.record.seen && self.record.seen <= now;
            // Each run begins with an entry of its own: one that is only told to end is older
            // than what has been read.
            if life.what == LifeWhat::Stopping {
                self.stopped_before = Some(run);
            }
            if old || (life.what != LifeWhat::Started && self.record.invocation.is_some()) {
                return Counted::default();
            }
            counted = self.began(run, life.at, &life.boot_id, triggered, false);
        }
        let more = match life.what {
            LifeWhat::Started => Counted::default(),
            LifeWhat::Failed => self.ended(run, life.at, true, false, true),
            LifeWhat::RestartScheduled => self.ended(run, life.at, false, true, true),
            LifeWhat::Stopping => self.stopping(run),
        };
        Counted {
            crashes: counted.crashes + more.crashes,
            restarts: counted.restarts + more.restarts,
            changed: counted.changed || more.changed,
        }
    }

    /// Drops restarts that are older than the window. Returns how many remain.
    pub(in crate::engine) fn prune(&mut self, now: Wall, window: Duration) -> u32 {
        let oldest = now.before(window);
        while self.record.window.front().is_some_and(|at| *at <= oldest) {
            self.record.window.pop_front();
        }
        // What came from a clock that has since been set back would otherwise stay for ever.
        while self.record.window.back().is_some_and(|at| *at > now.after(window)) {
            self.record.window.pop_back();
        }
        while self.record.window.len() > CountRecord::WINDOW {
            self.record.window.pop_front();
        }
        u32::try_from(self.record.window.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(n: u8) -> Invocation {
        Invocation([n; 16])
    }

    fn life(n: u8, at: i64, what: LifeWhat) -> Life {
        Life {
            unit: "a.service".into(),
            invocation: run(n),
            at: Wall(at * 1_000_000),
            boot_id: boot(),
            what,
        }
    }

    fn boot() -> Arc<str> {
        "this".into()
    }

    fn lives() -> Lives {
        Lives::new(CountRecord::new("a.service".into()))
    }

    #[test]
    fn a_run_after_a_bad_end_is_a_restart_and_is_counted_once() {
        let mut lives = lives();
        lives.began(run(1), Wall(1), &boot(), false, false);
        assert_eq!(lives.ended(run(1), Wall(2), true, false, true).crashes, 1);
        assert_eq!(lives.ended(run(1), Wall(3), true, true, true).crashes, 0);
        assert_eq!(lives.began(run(2), Wall(4), &boot(), false, false).restarts, 1);
        assert_eq!(lives.began(run(2), Wall(5), &boot(), false, false).restarts, 0);
        assert_eq!(
            lives.began(run(1), Wall(6), &boot(), false, false).restarts,
            0,
            "an old run is no news"
        );
    }

    #[test]
    fn a_run_that_an_operator_stopped_is_followed_by_a_plain_start() {
        let mut lives = lives();
        lives.began(run(1), Wall(1), &boot(), false, false);
        lives.stopping(run(1));
        // It did not like to be stopped: exit code 143.
        lives.ended(run(1), Wall(2), true, false, true);
        assert_eq!(lives.began(run(2), Wall(3), &boot(), false, false).restarts, 0);
    }

    #[test]
    fn a_timers_next_run_after_a_failed_one_is_no_restart_but_systemds_is() {
        let mut lives = lives();
        lives.began(run(1), Wall(1), &boot(), true, false);
        lives.ended(run(1), Wall(2), true, false, true);
        assert_eq!(lives.began(run(2), Wall(3), &boot(), true, false).restarts, 0);
        lives.ended(run(2), Wall(4), true, true, true);
        assert_eq!(lives.began(run(3), Wall(5), &boot(), true, false).restarts, 1);
    }

    #[test]
    fn the_journal_fills_the_gap_and_repeats_count_nothing() {
        let mut lives = lives();
        lives.began(run(1), Wall(1_000_000), &boot(), false, false);
        let gap = [
            life(1, 2, LifeWhat::Failed),
            life(1, 2, LifeWhat::RestartScheduled),
            life(2, 3, LifeWhat::Started),
            life(2, 4, LifeWhat::Failed),
            life(2, 4, LifeWhat::RestartScheduled),
            life(3, 5, LifeWhat::Started),
        ];
        for _ in 0..2 {
            for entry in &gap {
                lives.life(entry, Wall(9_000_000), false);
            }
        }
        assert_eq!((lives.record.crashes, lives.record.restarts), (2, 2));
        assert_eq!(lives.record.invocation, Some(run(3)));
    }

    #[test]
    fn a_restart_that_the_start_limit_refused_is_not_counted() {
        let mut lives = lives();
        lives.life(&life(1, 1, LifeWhat::Started), Wall(9_000_000), false);
        lives.life(&life(1, 2, LifeWhat::RestartScheduled), Wall(9_000_000), false);
        assert_eq!(lives.record.restarts, 0);
    }

    #[test]
    fn the_window_forgets() {
        let mut lives = lives();
        lives.record.window.extend([Wall(0), Wall(1_000_000), Wall(2_000_000)]);
        assert_eq!(lives.prune(Wall(2_500_000), Duration::from_secs(2)), 2);
    }
}
