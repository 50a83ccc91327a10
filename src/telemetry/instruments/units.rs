//! Units, and the names under which people look for what is wrong: `health.*` and `systemd.*`.

use std::sync::Arc;

use opentelemetry::KeyValue;

use super::spec::{Beginning, Bound, Observe, Spec, flag, measured};
use super::system::MOUNTPOINT;
use crate::engine::observation::ActiveState;
use crate::engine::view::UnitView;
use crate::engine::{CheckKind, CheckView, Snapshot};

const FILE: &str = "file.path";
pub(super) const UNIT: &str = "systemd.unit.name";
const STATE: &str = "systemd.unit.active_state";

const STATES: [ActiveState; 7] = [
    ActiveState::Active,
    ActiveState::Activating,
    ActiveState::Deactivating,
    ActiveState::Failed,
    ActiveState::Inactive,
    ActiveState::Maintenance,
    ActiveState::Reloading,
];

pub(super) const ALL: &[Spec] = &[
    Spec::gauge(
        "health.disk_usage",
        "%",
        "Part of a file system's space that is in use.",
        |snapshot, observe| {
            for (mount, ratio) in measured(snapshot, CheckKind::Disk, "used_ratio") {
                observe(ratio * 100.0, &[KeyValue::new(MOUNTPOINT, mount.clone())]);
            }
        },
    )
    .by(&[MOUNTPOINT], Bound::Mounts),
    Spec::gauge(
        "health.memory_usage",
        "%",
        "Part of memory that is not available.",
        |snapshot, observe| {
            super::spec::only(snapshot, CheckKind::Memory, "used_ratio", |ratio| {
                observe(ratio * 100.0, &[]);
            });
        },
    ),
    Spec::gauge(
        "health.heartbeat_age",
        "s",
        "Time since a heartbeat file last changed.",
        |snapshot, observe| {
            for (path, age) in measured(snapshot, CheckKind::Heartbeat, "age_seconds") {
                observe(age, &[KeyValue::new(FILE, path.clone())]);
            }
        },
    )
    .by(&[FILE], Bound::Heartbeats),
    Spec::gauge(
        "health.crash_count",
        "{crash}",
        "Runs of a unit that ended badly, since keepwell came to this host.",
        |snapshot, observe| each_unit(snapshot, observe, |_, unit| Some(unit.crashes as f64)),
    )
    .whole()
    .by(&[UNIT], Bound::Units),
    Spec::gauge(
        "health.service_active",
        "1",
        "Whether a unit is active (1) or not (0).",
        |snapshot, observe| {
            each_unit(snapshot, observe, |_, unit| {
                let up = matches!(unit.seen.active, ActiveState::Active | ActiveState::Reloading);
                Some(flag(up))
            });
        },
    )
    .whole()
    .by(&[UNIT], Bound::Units),
    Spec::gauge(
        "systemd.unit.state",
        "1",
        "1 for the active state that a unit is in, 0 for the others; of units that are named in \
         the configuration or have a problem.",
        |snapshot, observe| {
            for check in &snapshot.checks {
                states(check, observe);
            }
        },
    )
    .whole()
    .by(&[STATE, UNIT], Bound::UnitStates),
    Spec::counter(
        "systemd.service.restarts",
        Beginning::Before,
        "{restart}",
        "Restarts of a service after a failure, by systemd, keepwell or people.",
        |snapshot, observe| {
            each_unit(snapshot, observe, |name, unit| {
                name.ends_with(".service").then_some(unit.restarts as f64)
            });
        },
    )
    .whole()
    .by(&[UNIT], Bound::Units),
    Spec::counter(
        "keepwell.unit.restarts",
        Beginning::Before,
        "{restart}",
        "Restarts of a unit by keepwell.",
        |snapshot, observe| each_unit(snapshot, observe, |_, unit| Some(unit.healed as f64)),
    )
    .whole()
    .by(&[UNIT], Bound::Units),
    Spec::gauge(
        "keepwell.units.failed",
        "{unit}",
        "Units that have a problem.",
        |snapshot, observe| {
            super::spec::only(snapshot, CheckKind::Units, "failed", |n| observe(n, &[]));
        },
    )
    .whole(),
    Spec::gauge(
        "keepwell.units.loaded",
        "{unit}",
        "Units that systemd has loaded.",
        |snapshot, observe| {
            if let Some(total) = snapshot.units_total {
                observe(f64::from(total), &[]);
            }
        },
    )
    .whole(),
];

fn each_unit(
    snapshot: &Snapshot,
    observe: &mut Observe<'_>,
    value: impl Fn(&Arc<str>, &UnitView) -> Option<f64>,
) {
    for check in &snapshot.checks {
        let name = &check.id.name;
        if let Some(value) = check.unit.as_ref().and_then(|unit| value(name, unit)) {
            observe(value, &[KeyValue::new(UNIT, name.clone())]);
        }
    }
}

fn states(check: &CheckView, observe: &mut Observe<'_>) {
    let Some(unit) = check.unit.as_ref().filter(|u| u.named || check.severity.alerts()) else {
        return;
    };
    for state in STATES {
        let attributes =
            [KeyValue::new(STATE, state.as_str()), KeyValue::new(UNIT, check.id.name.clone())];
        observe(flag(unit.seen.active == state), &attributes);
    }
}
