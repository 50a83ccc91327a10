//! What a unit's state means: one pure function, one table.

use std::time::Duration;

use crate::engine::heal::{Heal, Lives};
use crate::engine::observation::{ActiveState, LoadState, ManagerSeen, ServiceSeen, UnitSeen};
use crate::engine::rules::UnitRule;
use crate::engine::words::{Reason, Severity, Verdict};

/// How long a state must hold before it is judged, unless it cannot be a passing one.
pub(super) const SETTLE: Duration = Duration::from_millis(250);

/// How long systemd's own `Restart=` may try before its trying is told.
pub(super) const AUTO_RESTART_PATIENCE: Duration = Duration::from_secs(30);

/// What a state means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Judgement {
    /// `None`: something is under way; the former verdict stands.
    pub(super) verdict: Option<Verdict>,
    /// Restart it or not.
    pub(super) heal: Heal,
    /// The state may be a passing one: judge it again when it has held for [`SETTLE`].
    pub(super) passing: bool,
    /// How long a bad verdict must last before an alert opens.
    pub(super) patience: Duration,
}

impl Judgement {
    fn well(reason: Reason, summary: impl Into<String>) -> Self {
        Self::of(Severity::Healthy, reason, summary)
    }

    fn of(severity: Severity, reason: Reason, summary: impl Into<String>) -> Self {
        Self {
            verdict: Some(Verdict::new(severity, reason, summary)),
            heal: Heal::No(reason),
            passing: false,
            patience: Duration::ZERO,
        }
    }

    fn under_way(reason: Reason) -> Self {
        Self { verdict: None, heal: Heal::No(reason), passing: false, patience: Duration::ZERO }
    }
}

/// Judges the state of a unit. `rule` is `None` for a unit that nobody named; `left_down`: it is
/// inactive because a restart by keepwell failed.
pub(super) fn judge(
    seen: &UnitSeen,
    lives: &Lives,
    rule: Option<&UnitRule>,
    manager: ManagerSeen,
    left_down: bool,
) -> Judgement {
    // A unit that failed keeps its state when its file is removed or masked.
    if !matches!(seen.active, ActiveState::Failed | ActiveState::Active) {
        match seen.load {
            LoadState::Loaded => {}
            LoadState::NotFound if seen.name.contains(['*', '?', '[']) => {
                let text = "no unit matches this pattern";
                return Judgement::of(Severity::Unknown, Reason::NoMatch, text);
            }
            // A transient one, or one that was uninstalled while keepwell was down.
            LoadState::NotFound if rule.is_none() => {
                return Judgement::well(Reason::NotFound, "no unit of this name exists any more");
            }
            LoadState::NotFound => {
                let text = "no unit of this name exists; check the name or install it";
                return Judgement::of(Severity::Warning, Reason::NotFound, text);
            }
            LoadState::Masked => {
                let required = rule.is_some_and(|r| r.required);
                let severity = if required { Severity::Warning } else { Severity::Healthy };
                return Judgement::of(severity, Reason::Masked, "masked, so it cannot be started");
            }
            LoadState::BadSetting | LoadState::Error => {
                let text = "systemd cannot load its unit file; see: systemd-analyze verify";
                return Judgement::of(Severity::Warning, Reason::BadUnitFile, text);
            }
        }
    }
    match seen.active {
        ActiveState::Active if &*seen.sub == "exited" => {
            Judgement::well(Reason::Finished, "active (exited)")
        }
        ActiveState::Active => Judgement::well(Reason::Running, format!("active ({})", seen.sub)),
        ActiveState::Reloading => Judgement::well(Reason::Reloading, "active, reloading"),
        ActiveState::Activating if is_auto_restart(&seen.sub) => auto_restart(seen),
        ActiveState::Activating => Judgement::under_way(Reason::Starting),
        ActiveState::Deactivating | ActiveState::Maintenance => {
            Judgement::under_way(Reason::Stopping)
        }
        ActiveState::Inactive => inactive(seen, lives, rule, manager, left_down),
        ActiveState::Failed => failed(seen, lives, rule, manager),
    }
}

/// systemd waits to start it again (names differ between versions).
pub(super) fn is_auto_restart(sub: &str) -> bool {
    sub.contains("auto-restart")
}

fn auto_restart(seen: &UnitSeen) -> Judgement {
    let what = cause(seen).map_or_else(|| "ended".to_owned(), |(_, text)| text);
    let summary = format!("{what}; systemd restarts it");
    let mut judgement = Judgement::of(Severity::Warning, Reason::AutoRestart, summary);
    judgement.passing = true;
    judgement.patience = AUTO_RESTART_PATIENCE;
    judgement
}

fn inactive(
    seen: &UnitSeen,
    lives: &Lives,
    rule: Option<&UnitRule>,
    manager: ManagerSeen,
    left_down: bool,
) -> Judgement {
    if seen.job {
        return Judgement::under_way(Reason::PendingJob);
    }
    if seen.condition_failed {
        return Judgement::well(Reason::ConditionFailed, "not started: a condition was not met");
    }
    if lives.stopped() {
        return Judgement::well(
            Reason::StoppedByOperator,
            "stopped by an operator or another unit",
        );
    }
    if left_down && let Some(rule) = rule {
        let text = "not running: keepwell's restart did not work";
        let mut judgement = Judgement::of(rule.severity, Reason::RestartFailed, text);
        judgement.heal = heal(seen, Some(rule), manager);
        return judgement;
    }
    let details = seen.details.as_ref();
    if details.is_some_and(|d| d.triggered) || details.is_some_and(|d| &*d.kind == "oneshot") {
        return Judgement::well(Reason::Idle, "idle until something starts it");
    }
    let Some(rule) = rule.filter(|r| r.required) else {
        return Judgement::well(Reason::Stopped, "not running");
    };
    let text = "not running, though it is marked as required";
    let mut judgement = Judgement::of(rule.severity, Reason::NotRunning, text);
    judgement.passing = true;
    judgement.heal = heal(seen, Some(rule), manager);
    judgement
}

fn failed(
    seen: &UnitSeen,
    lives: &Lives,
    rule: Option<&UnitRule>,
    manager: ManagerSeen,
) -> Judgement {
    if is_auto_restart(&seen.sub) {
        return auto_restart(seen);
    }
    if seen.job {
        return Judgement::under_way(Reason::PendingJob);
    }
    let (reason, what) = cause(seen).unwrap_or((Reason::Failed, "failed".to_owned()));
    if lives.stopped() {
        let summary = format!("stopped by an operator or another unit ({what} while stopping)");
        return Judgement::well(Reason::StoppedByOperator, summary);
    }
    let restart = seen.details.as_ref().map(|d| &*d.restart);
    let gave_up = restart.is_some_and(|r| r != "no" && !r.is_empty())
        && seen.service.as_ref().is_some_and(|s| s.n_restarts > 0);
    let summary = match (gave_up, reason) {
        (true, Reason::StartLimit) | (false, _) => what,
        (true, _) => format!("{what}; systemd gave up restarting it"),
    };
    let severity = rule.map_or(Severity::Warning, |r| r.severity);
    let mut judgement = Judgement::of(severity, reason, summary);
    judgement.heal = heal(seen, rule, manager);
    // With `Restart=no` a failed state stays; with any other, or with what is not a service, it
    // may be on its way to an automatic restart.
    judgement.passing = restart != Some("no");
    judgement
}

fn heal(seen: &UnitSeen, rule: Option<&UnitRule>, manager: ManagerSeen) -> Heal {
    if !rule.is_some_and(|r| r.restart) {
        Heal::No(Reason::NotConfigured)
    } else if seen.load == LoadState::Masked {
        Heal::No(Reason::Masked)
    } else if seen.load == LoadState::NotFound {
        Heal::No(Reason::NotFound)
    } else if manager.stopping {
        Heal::No(Reason::HostShutdown)
    } else {
        Heal::Wanted
    }
}

/// Why a service ended badly, with a few words; `None` when it did not.
pub(super) fn cause(seen: &UnitSeen) -> Option<(Reason, String)> {
    let Some(service) = &seen.service else {
        return (seen.active == ActiveState::Failed)
            .then(|| (Reason::Failed, format!("failed ({})", seen.sub)));
    };
    let how = main_process(service);
    let with = |text: &str| how.as_ref().map_or(text.to_owned(), |how| format!("{text} ({how})"));
    Some(match &*service.result {
        "" | "success" if seen.active != ActiveState::Failed => return None,
        "" | "success" => (Reason::Failed, "failed".to_owned()),
        "oom-kill" => (Reason::OutOfMemory, "killed for want of memory".to_owned()),
        "watchdog" => (Reason::WatchdogTimeout, "did not ping systemd's watchdog in time".into()),
        "timeout" => (Reason::Timeout, with("took too long")),
        "signal" => (Reason::Signal, how.unwrap_or_else(|| "killed by a signal".into())),
        "core-dump" => (Reason::CoreDump, with("crashed and dumped core")),
        "exit-code" => (Reason::ExitCode, how.unwrap_or_else(|| "ended with an error code".into())),
        "start-limit-hit" => {
            (Reason::StartLimit, "started too often; systemd gave up (start limit)".to_owned())
        }
        other => (Reason::Failed, with(&format!("failed: {other}"))),
    })
}

/// `exit code 3`, `killed by SIGKILL`; `None` while it runs or when there was none.
fn main_process(service: &ServiceSeen) -> Option<String> {
    match service.exit_code {
        1 if service.exit_status != 0 => Some(format!("exit code {}", service.exit_status)),
        2 | 3 => Some(format!("killed by {}", signal_name(service.exit_status))),
        _ => None,
    }
}

fn signal_name(number: i32) -> String {
    // The numbers are the same on all architectures that systemd supports, for these.
    let name = match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        _ => return format!("signal {number}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::observation::{Details, Invocation};
    use crate::engine::rules::UnitPattern;
    use crate::engine::saved::CountRecord;
    use crate::engine::time::Wall;

    struct Case {
        seen: UnitSeen,
        rule: Option<UnitRule>,
        stopped: bool,
        manager: ManagerSeen,
    }

    fn case(active: ActiveState, sub: &str) -> Case {
        let mut rule = UnitRule::new(UnitPattern::try_new("a.service").unwrap());
        rule.restart = true;
        Case {
            seen: UnitSeen {
                name: "a.service".into(),
                active,
                sub: sub.into(),
                invocation: Some(Invocation([1; 16])),
                service: Some(ServiceSeen { result: "success".into(), ..ServiceSeen::default() }),
                details: Some(Details {
                    restart: "no".into(),
                    kind: "simple".into(),
                    triggered: false,
                    requires: Vec::new(),
                }),
                ..UnitSeen::default()
            },
            rule: Some(rule),
            stopped: false,
            manager: ManagerSeen::default(),
        }
    }

    impl Case {
        fn result(mut self, result: &str, code: i32, status: i32) -> Self {
            let service = self.seen.service.as_mut().unwrap();
            service.result = result.into();
            service.exit_code = code;
            service.exit_status = status;
            self
        }

        fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
            change(&mut self);
            self
        }

        fn judge(&self) -> Judgement {
            let mut lives = Lives::new(CountRecord::new("a.service".into()));
            lives.began(Invocation([1; 16]), Wall(1), &"boot".into(), false, false);
            if self.stopped {
                lives.stopping(Invocation([1; 16]));
            }
            judge(&self.seen, &lives, self.rule.as_ref(), self.manager, false)
        }

        /// severity, reason, summary, heal, passing
        fn line(&self) -> String {
            let j = self.judge();
            let verdict = j.verdict.map_or_else(
                || "keep".to_owned(),
                |v| format!("{} {}: {}", v.severity, v.reason, v.summary),
            );
            let heal = match j.heal {
                Heal::Wanted => "heal".to_owned(),
                Heal::No(reason) => format!("leave ({reason})"),
            };
            format!("{verdict} | {heal}{}", if j.passing { " | settle" } else { "" })
        }
    }

    fn restart(policy: &str) -> Option<Details> {
        Some(Details { restart: policy.into(), kind: "simple".into(), ..Details::default() })
    }

    #[test]
    fn the_table() {
        use ActiveState::*;
        let kill = |c: Case| c.result("signal", 2, 9);
        let cases = [
            (case(Active, "running"), "healthy running: active (running) | leave (running)"),
            (case(Active, "exited"), "healthy finished: active (exited) | leave (finished)"),
            (case(Active, "waiting"), "healthy running: active (waiting) | leave (running)"),
            (case(Reloading, "reload"), "healthy reloading: active, reloading | leave (reloading)"),
            (case(Activating, "start"), "keep | leave (starting)"),
            (case(Deactivating, "stop-sigterm"), "keep | leave (stopping)"),
            (kill(case(Failed, "failed")), "critical signal: killed by SIGKILL | heal"),
            (
                kill(case(Failed, "failed")).with(|c| c.rule = None),
                "warning signal: killed by SIGKILL | leave (not-configured)",
            ),
            (
                kill(case(Failed, "failed")).with(|c| c.seen.job = true),
                "keep | leave (pending-job)",
            ),
            (
                kill(case(Failed, "failed")).with(|c| c.stopped = true),
                "healthy stopped-by-operator: stopped by an operator or another unit (killed by SIGKILL while stopping) | leave (stopped-by-operator)",
            ),
            (
                kill(case(Failed, "failed")).with(|c| c.seen.load = LoadState::Masked),
                "critical signal: killed by SIGKILL | leave (masked)",
            ),
            (
                kill(case(Failed, "failed")).with(|c| c.manager.stopping = true),
                "critical signal: killed by SIGKILL | leave (host-shutdown)",
            ),
            (
                kill(case(Failed, "failed")).with(|c| c.seen.details = restart("always")),
                "critical signal: killed by SIGKILL | heal | settle",
            ),
            (
                kill(case(Failed, "failed")).with(|c| {
                    c.seen.details = restart("always");
                    c.seen.service.as_mut().unwrap().n_restarts = 5;
                }),
                "critical signal: killed by SIGKILL; systemd gave up restarting it | heal | settle",
            ),
            (
                kill(case(Failed, "failed-before-auto-restart")),
                "warning auto-restart: killed by SIGKILL; systemd restarts it | leave (auto-restart) | settle",
            ),
            (
                case(Activating, "auto-restart").result("exit-code", 1, 3),
                "warning auto-restart: exit code 3; systemd restarts it | leave (auto-restart) | settle",
            ),
            (
                case(Failed, "failed").result("exit-code", 1, 3),
                "critical exit-code: exit code 3 | heal",
            ),
            (
                case(Failed, "failed").result("oom-kill", 2, 9),
                "critical out-of-memory: killed for want of memory | heal",
            ),
            (
                case(Failed, "failed").result("watchdog", 2, 6),
                "critical watchdog: did not ping systemd's watchdog in time | heal",
            ),
            (
                case(Failed, "failed").result("timeout", 2, 15),
                "critical timeout: took too long (killed by SIGTERM) | heal",
            ),
            (
                case(Failed, "failed").result("core-dump", 3, 11),
                "critical core-dump: crashed and dumped core (killed by SIGSEGV) | heal",
            ),
            (
                case(Failed, "failed").result("start-limit-hit", 1, 1),
                "critical start-limit: started too often; systemd gave up (start limit) | heal",
            ),
            (case(Inactive, "dead"), "healthy stopped: not running | leave (stopped)"),
            (
                case(Inactive, "dead").with(|c| c.rule.as_mut().unwrap().required = true),
                "critical not-running: not running, though it is marked as required | heal | settle",
            ),
            (
                case(Inactive, "dead").with(|c| {
                    c.rule.as_mut().unwrap().required = true;
                    c.stopped = true;
                }),
                "healthy stopped-by-operator: stopped by an operator or another unit | leave (stopped-by-operator)",
            ),
            (case(Inactive, "dead").with(|c| c.seen.job = true), "keep | leave (pending-job)"),
            (
                case(Inactive, "dead").with(|c| c.seen.condition_failed = true),
                "healthy condition-failed: not started: a condition was not met | leave (condition-failed)",
            ),
            (
                case(Inactive, "dead").with(|c| {
                    c.seen.details = Some(Details {
                        restart: "no".into(),
                        kind: "oneshot".into(),
                        triggered: true,
                        requires: Vec::new(),
                    });
                }),
                "healthy idle: idle until something starts it | leave (idle)",
            ),
            (
                case(Inactive, "dead").with(|c| c.seen.load = LoadState::NotFound),
                "warning not-found: no unit of this name exists; check the name or install it | leave (not-found)",
            ),
            (
                case(Inactive, "dead").with(|c| {
                    c.seen.load = LoadState::NotFound;
                    c.rule = None;
                }),
                "healthy not-found: no unit of this name exists any more | leave (not-found)",
            ),
            (
                case(Inactive, "dead").with(|c| {
                    c.seen.load = LoadState::NotFound;
                    c.seen.name = "web@*.service".into();
                }),
                "unknown no-match: no unit matches this pattern | leave (no-match)",
            ),
            (
                case(Inactive, "dead").with(|c| c.seen.load = LoadState::Masked),
                "healthy masked: masked, so it cannot be started | leave (masked)",
            ),
        ];
        for (case, expected) in cases {
            assert_eq!(case.line(), expected);
        }
    }
}
