//! The one place where clocks are read.

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::engine::{Boot, Now, Wall};

/// Both clocks, now.
pub fn now() -> Now {
    Now {
        boot: Boot(u64::try_from(micros(clock_gettime(ClockId::Boottime))).unwrap_or(0)),
        wall: Wall(micros(clock_gettime(ClockId::Realtime))),
    }
}

fn micros(t: Timespec) -> i64 {
    t.tv_sec.saturating_mul(1_000_000).saturating_add(t.tv_nsec / 1_000)
}

/// The identity of this boot of the host. Where the kernel does not tell, every start counts as one
/// of the same boot.
pub fn boot_id() -> std::sync::Arc<str> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| "unknown".into(), |id| id.trim().into())
}
