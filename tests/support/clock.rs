//! Time for tests: reading the clocks and waiting for a condition with a limit. Nothing here sleeps
//! for a fixed time in the hope that something has happened by then.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// CLOCK_REALTIME in µs after the epoch: what keepwell's `judged` and the receiver's `at_us` use.
pub(crate) fn wall_us() -> i64 {
    let t = clock_gettime(ClockId::Realtime);
    t.tv_sec * 1_000_000 + t.tv_nsec / 1_000
}

/// CLOCK_MONOTONIC since some start.
pub(crate) fn monotonic() -> Duration {
    let t = clock_gettime(ClockId::Monotonic);
    // CLOCK_MONOTONIC is never negative.
    Duration::new(t.tv_sec.unsigned_abs(), t.tv_nsec.unsigned_abs() as u32)
}

/// Asks again and again until there is an answer; panics with `what` when `limit` has passed.
#[track_caller]
pub(crate) fn wait_for<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = monotonic() + limit;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(monotonic() < end, "not seen within {} s: {what}", limit.as_secs_f64());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until `condition` holds; panics with `what` when `limit` has passed.
#[track_caller]
pub(crate) fn wait_until(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(limit, what, || condition().then_some(()));
}

/// Watches for `lasting` that `condition` never holds: for "keepwell does not do this".
#[track_caller]
pub(crate) fn never(lasting: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let end = monotonic() + lasting;
    while monotonic() < end {
        assert!(!condition(), "must not happen: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
