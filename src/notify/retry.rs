//! When a failed delivery is tried again: the one place for it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(5 * 60);
/// However long a receiver asks to wait, it is asked again after this.
pub(super) const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// The wait after `attempts` failures (from 1): doubled each time, and jittered between half and
/// the whole, so that many hosts do not come back at the same moment. The same channel,
/// idempotency key (which has the host in it) and attempt give the same wait.
pub(super) fn delay(channel: &str, key: &str, attempts: u32) -> Duration {
    let doubled = FIRST.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(LONGEST);
    let mut hasher = DefaultHasher::new();
    (channel, key, attempts).hash(&mut hasher);
    // The upper half of 32 bits' worth of fractions.
    let fraction = f64::from((hasher.finish() >> 32) as u32) / f64::from(u32::MAX);
    doubled.mul_f64(0.5 + fraction / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_one_second_to_five_minutes_with_jitter() {
        let mut seen = std::collections::BTreeSet::new();
        for (attempts, whole) in [(1, 1), (2, 2), (3, 4), (9, 256), (10, 300), (4_000_000, 300)] {
            for host in 0..50 {
                let delay = delay("ops", &format!("{host}"), attempts);
                let whole = Duration::from_secs(whole);
                assert!(delay >= whole / 2 && delay <= whole, "{attempts}: {delay:?}");
                seen.insert(delay);
            }
        }
        assert!(seen.len() > 250, "jitter spreads them");
        assert_eq!(delay("ops", "1", 3), delay("ops", "1", 3));
    }
}
