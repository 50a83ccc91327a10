//! The host, by the names of the semantic conventions (`system.*`), and where these have none, by
//! those of the collector's receiver for hosts.

use opentelemetry::KeyValue;

use super::spec::{Beginning, Bound, Observe, Spec, measured, only};
use crate::engine::{CheckKind, Snapshot};

pub(super) const MOUNTPOINT: &str = "system.filesystem.mountpoint";
const FILESYSTEM_STATE: &str = "system.filesystem.state";
const MEMORY_STATE: &str = "system.memory.state";
const PAGING_STATE: &str = "system.paging.state";
const RESOURCE: &str = "keepwell.pressure.resource";
const STALL: &str = "keepwell.pressure.stall";

pub(super) const ALL: &[Spec] = &[
    Spec::gauge(
        "system.cpu.utilization",
        "1",
        "Part of all processor time in use since the last sampling, 0 to 1.",
        |snapshot, observe| {
            only(snapshot, CheckKind::Cpu, "used_ratio", |ratio| observe(ratio, &[]));
        },
    ),
    Spec::amount("system.cpu.logical.count", "{cpu}", "Processors online.", |snapshot, observe| {
        only(snapshot, CheckKind::Load, "processors", |n| observe(n, &[]));
    }),
    Spec::gauge(
        "system.cpu.load_average.1m",
        "{thread}",
        "Load average over 1 minute.",
        |snapshot, observe| {
            only(snapshot, CheckKind::Load, "average_1m", |load| observe(load, &[]));
        },
    ),
    Spec::gauge(
        "system.cpu.load_average.5m",
        "{thread}",
        "Load average over 5 minutes.",
        |snapshot, observe| {
            only(snapshot, CheckKind::Load, "average_5m", |load| observe(load, &[]));
        },
    ),
    Spec::gauge(
        "system.cpu.load_average.15m",
        "{thread}",
        "Load average over 15 minutes.",
        |snapshot, observe| {
            only(snapshot, CheckKind::Load, "average_15m", |load| observe(load, &[]));
        },
    ),
    Spec::gauge(
        "system.memory.utilization",
        "1",
        "Part of memory that is not available, 0 to 1.",
        |snapshot, observe| {
            only(snapshot, CheckKind::Memory, "used_ratio", |ratio| {
                observe(ratio, &[KeyValue::new(MEMORY_STATE, "used")]);
            });
        },
    )
    .by(&[MEMORY_STATE], Bound::Words),
    Spec::amount(
        "system.memory.usage",
        "By",
        "Memory that is not available.",
        |snapshot, observe| {
            used(snapshot, CheckKind::Memory, |_, used, _| {
                observe(used, &[KeyValue::new(MEMORY_STATE, "used")]);
            });
        },
    )
    .by(&[MEMORY_STATE], Bound::Words),
    Spec::amount("system.memory.limit", "By", "Memory of the host.", |snapshot, observe| {
        only(snapshot, CheckKind::Memory, "size_bytes", |bytes| observe(bytes, &[]));
    }),
    Spec::amount(
        "system.memory.linux.available",
        "By",
        "Memory that programs can still have.",
        |snapshot, observe| {
            only(snapshot, CheckKind::Memory, "available_bytes", |bytes| observe(bytes, &[]));
        },
    ),
    Spec::gauge(
        "system.paging.utilization",
        "1",
        "Part of swap in use, 0 to 1.",
        |snapshot, observe| {
            only(snapshot, CheckKind::Swap, "used_ratio", |ratio| {
                observe(ratio, &[KeyValue::new(PAGING_STATE, "used")]);
            });
        },
    )
    .by(&[PAGING_STATE], Bound::Words),
    Spec::amount("system.paging.usage", "By", "Swap in use, and free.", |snapshot, observe| {
        used(snapshot, CheckKind::Swap, |_, used, free| {
            observe(used, &[KeyValue::new(PAGING_STATE, "used")]);
            observe(free, &[KeyValue::new(PAGING_STATE, "free")]);
        });
    })
    .by(&[PAGING_STATE], Bound::Words),
    Spec::gauge(
        "system.filesystem.utilization",
        "1",
        "Part of a file system's space that is in use, 0 to 1.",
        |snapshot, observe| {
            for (mount, ratio) in measured(snapshot, CheckKind::Disk, "used_ratio") {
                observe(ratio, &of_mount(mount, "used"));
            }
        },
    )
    .by(&[MOUNTPOINT, FILESYSTEM_STATE], Bound::Mounts),
    Spec::amount(
        "system.filesystem.usage",
        "By",
        "Space in use and free on a file system, without what is reserved for root.",
        |snapshot, observe| by_mount(snapshot, CheckKind::Disk, observe),
    )
    .by(&[MOUNTPOINT, FILESYSTEM_STATE], Bound::MountStates),
    Spec::amount(
        "system.filesystem.limit",
        "By",
        "Size of a file system, without what is reserved for root.",
        |snapshot, observe| {
            for (mount, bytes) in measured(snapshot, CheckKind::Disk, "size_bytes") {
                observe(bytes, &[KeyValue::new(MOUNTPOINT, mount.clone())]);
            }
        },
    )
    .by(&[MOUNTPOINT], Bound::Mounts),
    Spec::amount(
        "system.filesystem.inodes.usage",
        "{inode}",
        "Inodes in use and free on a file system.",
        |snapshot, observe| by_mount(snapshot, CheckKind::Inodes, observe),
    )
    .by(&[MOUNTPOINT, FILESYSTEM_STATE], Bound::MountStates),
    Spec::gauge(
        "keepwell.filesystem.inodes.utilization",
        "1",
        "Part of a file system's inodes that is in use, 0 to 1.",
        |snapshot, observe| {
            for (mount, ratio) in measured(snapshot, CheckKind::Inodes, "used_ratio") {
                observe(ratio, &[KeyValue::new(MOUNTPOINT, mount.clone())]);
            }
        },
    )
    .by(&[MOUNTPOINT], Bound::Mounts),
    Spec::gauge(
        "keepwell.pressure",
        "1",
        "Part of the last 60 s in which some task, or all tasks (`full`), waited for a resource.",
        |snapshot, observe| {
            for (stall, value) in [("full", "full_ratio"), ("some", "some_ratio")] {
                for (resource, ratio) in measured(snapshot, CheckKind::Pressure, value) {
                    let attributes =
                        [KeyValue::new(RESOURCE, resource.clone()), KeyValue::new(STALL, stall)];
                    observe(ratio, &attributes);
                }
            }
        },
    )
    .by(&[RESOURCE, STALL], Bound::Resources),
    Spec::gauge("system.uptime", "s", "Time since the host booted.", |snapshot, observe| {
        only(snapshot, CheckKind::Host, "uptime_seconds", |age| observe(age, &[]));
    }),
    Spec::counter(
        "keepwell.oom_kills",
        Beginning::Before,
        "{process}",
        "Processes that the kernel killed for want of memory.",
        |snapshot, observe| {
            only(snapshot, CheckKind::Host, "oom_kills_total", |kills| observe(kills, &[]));
        },
    )
    .whole(),
];

/// How much is in use and how much is left, of each check of a kind that says so.
fn used(snapshot: &Snapshot, kind: CheckKind, mut then: impl FnMut(&str, f64, f64)) {
    let names = match kind {
        CheckKind::Inodes => ["size", "available"],
        _ => ["size_bytes", "available_bytes"],
    };
    for check in snapshot.checks.iter().filter(|check| check.id.kind == kind) {
        let [size, left] =
            names.map(|name| check.values.iter().find(|v| v.name == name).map(|v| v.value));
        if let (Some(size), Some(left)) = (size, left) {
            then(&check.id.name, (size - left).max(0.0), left);
        }
    }
}

fn by_mount(snapshot: &Snapshot, kind: CheckKind, observe: &mut Observe<'_>) {
    used(snapshot, kind, |mount, used, free| {
        observe(used, &of_mount(mount, "used"));
        observe(free, &of_mount(mount, "free"));
    });
}

fn of_mount(mount: &str, state: &'static str) -> [KeyValue; 2] {
    [KeyValue::new(MOUNTPOINT, mount.to_owned()), KeyValue::new(FILESYSTEM_STATE, state)]
}
