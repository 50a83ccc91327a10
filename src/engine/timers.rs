//! What the engine waits for: an ordered set of named timers, at most one per name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::time::Boot;
use super::words::{AlertKind, CheckId};

/// What is to be done when the time comes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Judge what has settled: a unit, a container, or all of a container engine.
    Settle(CheckId),
    /// What events have told of a container stands for the look that has not come.
    Look(CheckId),
    /// Go on with the healing of a unit or container.
    Heal(CheckId),
    /// Look at the restart window of a unit or container again.
    Window(CheckId),
    /// A unit has logged no errors for a while.
    Quiet(CheckId),
    /// A condition has been bad, or good, for long enough.
    Condition(CheckId, AlertKind),
    /// Decide who is told of the alerts that nobody knows of.
    Decide,
    /// Send what waits for a channel.
    Post(Arc<str>),
    /// Remind people of an alert, or tell further people.
    Nag(CheckId, AlertKind),
    /// A silence ends.
    Silences,
    /// The periodic report is due.
    Report,
    /// News of the host has been shown for long enough.
    News(&'static str),
    /// Kills for want of memory are told of elsewhere by now, or are not.
    Kills,
    /// A hold ends.
    Hold,
}

/// All timers that are set.
#[derive(Debug, Default)]
pub(super) struct Timers {
    queue: BTreeSet<(Boot, Timer)>,
    set: BTreeMap<Timer, Boot>,
}

impl Timers {
    /// Sets a timer, or moves it.
    pub(super) fn set(&mut self, timer: Timer, at: Boot) {
        if let Some(old) = self.set.insert(timer.clone(), at) {
            if old == at {
                return;
            }
            self.queue.remove(&(old, timer.clone()));
        }
        self.queue.insert((at, timer));
    }

    /// Takes a timer back.
    pub(super) fn clear(&mut self, timer: &Timer) {
        if let Some(at) = self.set.remove(timer) {
            self.queue.remove(&(at, timer.clone()));
        }
    }

    /// When the next is due.
    pub(super) fn next(&self) -> Option<Boot> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes the first that is due.
    pub(super) fn take_due(&mut self, now: Boot) -> Option<Timer> {
        if self.queue.first()?.0 > now {
            return None;
        }
        let (_, timer) = self.queue.pop_first()?;
        self.set.remove(&timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_is_set_once_moved_and_taken_in_order() {
        let heal = |name: &str| Timer::Heal(CheckId::unit(name));
        let mut timers = Timers::default();
        timers.set(heal("a"), Boot(10));
        timers.set(heal("b"), Boot(20));
        timers.set(heal("a"), Boot(30));
        assert_eq!(timers.next(), Some(Boot(20)));
        assert_eq!(timers.take_due(Boot(19)), None);
        assert_eq!(timers.take_due(Boot(40)), Some(heal("b")));
        timers.clear(&heal("a"));
        assert_eq!(timers.next(), None);
    }
}
