//! The host: space, memory, processor, pressure, and its other bad news.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::alert::AlertKey;
use super::desk::{Desk, Lasting};
use super::kills;
use super::observation::{Amount, DiskSeen, DiskUsage, HostSeen};
use super::rules::Levels;
use super::timers::Timer;
use super::view::Value;
use super::words::{AlertKind, CheckId, CheckKind, Reason, Severity, Verdict};

/// A value must fall this far below a threshold to count as below it again.
const MARGIN: f64 = 0.02;

/// How long an unexpected reboot is shown as a warning.
const REBOOT_NEWS: Duration = Duration::from_secs(3600);

/// How long an out-of-memory kill is shown as a warning.
const OOM_NEWS: Duration = Duration::from_secs(900);

/// What the check of such kills is called.
const OOM: &str = "oom-kill";

/// What must be remembered between samplings.
#[derive(Debug, Default)]
pub(super) struct Host {
    /// Mount points, and whether each was ever seen writable.
    mounts: BTreeMap<Arc<str>, bool>,
}

impl Host {
    pub(super) fn sampled(&mut self, seen: &HostSeen, desk: &mut Desk) {
        if let Some(memory) = seen.memory {
            let text = amount_in_use(memory, "memory");
            let values = amount_values(memory, "used_ratio", "size_bytes", "available_bytes");
            gauge(CheckKind::Memory, "", memory.used_ratio(), text, values, desk);
        }
        match seen.swap {
            Some(swap) if swap.total > 0 => {
                let text = amount_in_use(swap, "swap");
                let values = amount_values(swap, "used_ratio", "size_bytes", "available_bytes");
                gauge(CheckKind::Swap, "", swap.used_ratio(), text, values, desk);
            }
            _ => desk.drop_check(&CheckId::new(CheckKind::Swap, ""), "the host has no swap"),
        }
        if let Some(cpu) = seen.cpu {
            let text = format!("{} of processor time in use", percent(cpu));
            gauge(CheckKind::Cpu, "", cpu, text, vec![value("used_ratio", cpu)], desk);
        }
        if let Some(load) = seen.load {
            let per_cpu = load[1] / f64::from(seen.cpus.max(1));
            let text = format!("5-minute load {:.2} on {} processors", load[1], seen.cpus);
            let values = vec![
                value("per_cpu_ratio", per_cpu),
                value("average_1m", load[0]),
                value("average_5m", load[1]),
                value("average_15m", load[2]),
                value("processors", f64::from(seen.cpus)),
            ];
            gauge(CheckKind::Load, "", per_cpu, text, values, desk);
        }
        for pressure in &seen.pressure {
            let text = format!(
                "tasks waited for {} {} of the last minute",
                pressure.resource,
                percent(pressure.some)
            );
            let mut values = vec![value("some_ratio", pressure.some)];
            values.extend(pressure.full.map(|full| value("full_ratio", full)));
            gauge(CheckKind::Pressure, pressure.resource, pressure.some, text, values, desk);
        }
        if let Some(own) = seen.own {
            let id = CheckId::new(CheckKind::Agent, "process");
            let text = format!("uses {} of memory", bytes(own.resident));
            let verdict = Verdict::new(Severity::Healthy, Reason::Works, text);
            desk.rule_on(&id, AlertKind::State, verdict, Lasting::default());
            let mut values = vec![
                value("resident_memory_bytes", own.resident as f64),
                value("cpu_seconds_total", own.cpu_seconds),
            ];
            values.extend(own.open_files.map(|n| value("open_fds", n as f64)));
            desk.values(&id, values);
        }
        if let Some(kills) = seen.oom_kills {
            let id = oom();
            kills::counted(kills, desk);
            if !desk.checks.contains_key(&id) {
                no_news(&id, desk);
            }
            desk.values(&id, vec![value("oom_kills_total", kills as f64)]);
        }
        if let Some(uptime) = seen.uptime {
            let id = CheckId::new(CheckKind::Host, "reboot");
            desk.values(&id, vec![value("uptime_seconds", uptime)]);
        }
    }

    pub(super) fn disks(&mut self, seen: &[DiskSeen], desk: &mut Desk) {
        for disk in seen {
            self.disk(disk, desk);
        }
        let gone: Vec<Arc<str>> = self
            .mounts
            .keys()
            .filter(|mount| !seen.iter().any(|d| d.mount == **mount))
            .cloned()
            .collect();
        for mount in gone {
            self.mounts.remove(&mount);
            for kind in [CheckKind::Disk, CheckKind::Inodes] {
                desk.drop_check(&CheckId::new(kind, mount.clone()), "no longer mounted");
            }
        }
    }

    fn disk(&mut self, disk: &DiskSeen, desk: &mut Desk) {
        let was_writable = self.mounts.entry(disk.mount.clone()).or_default();
        *was_writable |= !disk.read_only;
        let turned_read_only = *was_writable && disk.read_only;
        let id = CheckId::new(CheckKind::Disk, disk.mount.clone());
        if disk.read_only && !turned_read_only {
            // Read-only by intention: nothing will fill it.
            return;
        }
        let (space, inodes) = match &disk.usage {
            DiskUsage::Known { space, inodes } => (*space, *inodes),
            DiskUsage::Hangs => {
                let text = "the file system did not answer in time; is its server reachable?";
                let verdict = Verdict::new(Severity::Unknown, Reason::Hangs, text);
                return desk.rule_on(&id, AlertKind::State, verdict, Lasting::default());
            }
            DiskUsage::Error(why) => {
                let verdict = Verdict::new(Severity::Unknown, Reason::Unreadable, why.clone());
                return desk.rule_on(&id, AlertKind::State, verdict, Lasting::default());
            }
        };
        let values = amount_values(space, "used_ratio", "size_bytes", "available_bytes");
        if turned_read_only {
            let text = format!("{} turned read-only; see: journalctl -k", disk.device);
            let verdict = Verdict::new(Severity::Critical, Reason::ReadOnly, text);
            desk.rule_on(&id, AlertKind::State, verdict, Lasting::default());
            desk.values(&id, values);
        } else {
            let text = amount_in_use(space, "space");
            gauge(CheckKind::Disk, &disk.mount, space.used_ratio(), text, values, desk);
        }
        if let Some(inodes) = inodes {
            let ratio = inodes.used_ratio();
            let text = format!("{} of inodes in use, {} left", percent(ratio), inodes.available);
            let values = amount_values(inodes, "used_ratio", "size", "available");
            gauge(CheckKind::Inodes, &disk.mount, ratio, text, values, desk);
        }
    }

    /// The boot before this one did not end in an orderly way.
    pub(super) fn rebooted(&self, unexpectedly: bool, desk: &mut Desk) {
        let id = CheckId::new(CheckKind::Host, "reboot");
        still_news(&oom(), OOM, OOM_NEWS, desk);
        if !unexpectedly && still_news(&id, "reboot", REBOOT_NEWS, desk) {
            return;
        }
        if unexpectedly {
            let text = "the host restarted without an orderly shutdown; see: journalctl -b -1 -e";
            news(&id, "reboot", Reason::UnexpectedReboot, text.into(), REBOOT_NEWS, desk);
        } else {
            no_news(&id, desk);
        }
    }
}

/// The check of kills for want of memory.
pub(super) fn oom() -> CheckId {
    CheckId::new(CheckKind::Host, OOM)
}

/// There were such kills. `wait`: it may still turn out that they are told of elsewhere.
pub(super) fn oom_news(text: String, wait: Duration, desk: &mut Desk) {
    let lasting = Lasting { bad: wait, ..Lasting::default() };
    let verdict = Verdict::new(Severity::Warning, Reason::OomKill, text);
    desk.rule_on(&oom(), AlertKind::State, verdict, lasting);
    desk.timers.set(Timer::News(OOM), desk.now.boot.after(OOM_NEWS));
}

/// News of the host has been shown for long enough.
pub(super) fn news_over(which: &'static str, desk: &mut Desk) {
    no_news(&CheckId::new(CheckKind::Host, which), desk);
}

fn news(
    id: &CheckId,
    which: &'static str,
    reason: Reason,
    text: String,
    lasts: Duration,
    desk: &mut Desk,
) {
    let verdict = Verdict::new(Severity::Warning, reason, text);
    desk.rule_on(id, AlertKind::State, verdict, Lasting::default());
    desk.timers.set(Timer::News(which), desk.now.boot.after(lasts));
}

/// What was news when keepwell last ran stays so for as long as it would have.
fn still_news(id: &CheckId, which: &'static str, lasts: Duration, desk: &mut Desk) -> bool {
    let key = AlertKey { check: id.clone(), kind: AlertKind::State };
    let found = desk.book.records().find(|r| r.key == key);
    let Some((record, left)) = found.and_then(|record| {
        let gone = desk.now.wall.since(record.opened);
        Some((record, lasts.checked_sub(gone)?))
    }) else {
        return false;
    };
    let (reason, text) = (record.reason, record.summary.clone());
    news(id, which, reason, text, left, desk);
    true
}

pub(super) fn no_news(id: &CheckId, desk: &mut Desk) {
    let reason = Reason::NothingUnusual;
    let verdict = Verdict::new(Severity::Healthy, reason, reason.meaning());
    desk.rule_on(id, AlertKind::State, verdict, Lasting::default());
}

/// Judges a value by the thresholds of its kind.
fn gauge(kind: CheckKind, name: &str, now: f64, text: String, values: Vec<Value>, desk: &mut Desk) {
    let levels = match kind {
        CheckKind::Disk => &desk.rules.disk,
        CheckKind::Inodes => &desk.rules.inodes,
        CheckKind::Memory => &desk.rules.memory,
        CheckKind::Swap => &desk.rules.swap,
        CheckKind::Cpu => &desk.rules.cpu,
        CheckKind::Load => &desk.rules.load,
        _ => match desk.rules.pressure.get(name) {
            Some(levels) => levels,
            None => &Levels::off(),
        },
    };
    let id = CheckId::new(kind, name);
    let lasting =
        Lasting { needs_time: kind == CheckKind::Cpu, ..Lasting::confirmed(levels.confirm()) };
    let severity = level(now, levels, desk.severity(&id));
    let verdict = match severity {
        Severity::Critical | Severity::Warning => {
            let limit =
                if severity == Severity::Critical { levels.critical() } else { levels.warning() };
            let limit = limit.map_or_else(String::new, |l| match kind {
                CheckKind::Load => format!(" (over {l} per processor)"),
                _ => format!(" (over {})", percent(l)),
            });
            Verdict::new(severity, Reason::OverThreshold, format!("{text}{limit}"))
        }
        _ => Verdict::new(severity, Reason::WithinLimits, text),
    };
    desk.rule_on(&id, AlertKind::State, verdict, lasting);
    desk.values(&id, values);
}

/// Which level a value is at, with some stickiness on the way down.
pub(super) fn level(value: f64, levels: &Levels, before: Severity) -> Severity {
    let over = |threshold: Option<f64>, at: Severity| {
        threshold.is_some_and(|t| value > if before >= at { t - MARGIN } else { t })
    };
    if over(levels.critical(), Severity::Critical) {
        Severity::Critical
    } else if over(levels.warning(), Severity::Warning) {
        Severity::Warning
    } else {
        Severity::Healthy
    }
}

fn value(name: &'static str, value: f64) -> Value {
    Value { name, value }
}

fn amount_values(
    amount: Amount,
    ratio: &'static str,
    total: &'static str,
    left: &'static str,
) -> Vec<Value> {
    vec![
        value(ratio, amount.used_ratio()),
        value(total, amount.total as f64),
        value(left, amount.available as f64),
    ]
}

fn amount_in_use(amount: Amount, what: &str) -> String {
    format!(
        "{} of {what} in use, {} of {} left",
        percent(amount.used_ratio()),
        bytes(amount.available),
        bytes(amount.total)
    )
}

/// `81 %`, with a decimal near the ends where it matters.
pub(super) fn percent(ratio: f64) -> String {
    let percent = ratio * 100.0;
    if percent > 99.0 && percent < 100.0 || percent > 0.0 && percent < 1.0 {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.0} %")
    }
}

/// `3.2 GiB`.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value >= 100.0 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::rules::Confirm;

    #[test]
    fn a_level_is_left_only_with_a_margin() {
        let levels = Levels::try_new(Some(0.8), Some(0.9), Confirm::default()).unwrap();
        let steps = [0.80, 0.81, 0.91, 0.89, 0.87, 0.79, 0.77];
        let mut at = Severity::Healthy;
        let path: Vec<Severity> = steps
            .iter()
            .map(|v| {
                at = level(*v, &levels, at);
                at
            })
            .collect();
        use Severity::*;
        assert_eq!(path, [Healthy, Warning, Critical, Critical, Warning, Warning, Healthy]);
    }

    #[test]
    fn amounts_have_units() {
        let amount = Amount { total: 100 << 30, available: 19 << 30 };
        assert_eq!(
            amount_in_use(amount, "space"),
            "81 % of space in use, 19.0 GiB of 100 GiB left"
        );
        assert_eq!(bytes(512), "512 B");
        assert_eq!(percent(0.996), "99.6 %");
    }
}
