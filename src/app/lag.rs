//! How late the driver is: the worst of the last one to two minutes.

use std::time::Duration;

use crate::engine::Boot;

/// The present window, and how long one lasts.
const WINDOW: Duration = Duration::from_secs(60);

/// The worst lateness of this window and of the one before it.
#[derive(Debug, Default)]
pub(super) struct Lag {
    since: Boot,
    present: Duration,
    before: Duration,
}

impl Lag {
    /// Something was handled so late.
    pub(super) fn saw(&mut self, late: Duration, now: Boot) {
        self.turn(now);
        self.present = self.present.max(late);
    }

    /// The worst, µs.
    pub(super) fn worst(&mut self, now: Boot) -> u64 {
        self.turn(now);
        u64::try_from(self.present.max(self.before).as_micros()).unwrap_or(u64::MAX)
    }

    fn turn(&mut self, now: Boot) {
        let age = now.since(self.since);
        if age >= WINDOW {
            let before = std::mem::take(&mut self.present);
            self.before = if age < 2 * WINDOW { before } else { Duration::ZERO };
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_remembered_for_one_to_two_minutes() {
        let at = |s: u64| Boot(s * 1_000_000);
        let mut lag = Lag::default();
        lag.saw(Duration::from_millis(3), at(100));
        lag.saw(Duration::from_millis(40), at(110));
        lag.saw(Duration::from_millis(2), at(150));
        assert_eq!(lag.worst(at(159)), 40_000);
        assert_eq!(lag.worst(at(165)), 40_000, "the window before counts as well");
        lag.saw(Duration::from_millis(1), at(170));
        assert_eq!(lag.worst(at(226)), 1_000);
        assert_eq!(lag.worst(at(400)), 0, "after a long rest nothing is known to be late");
    }
}
