//! What a container's state means: one pure function, one table.

use std::time::Duration;

use crate::engine::heal::Heal;
use crate::engine::observation::{ContainerSeen, ContainerStatus, Health};
use crate::engine::rules::ContainerRule;
use crate::engine::words::{Reason, Severity, Verdict};

/// What is known besides its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Facts {
    /// Somebody named it.
    pub(super) named: bool,
    /// A person wanted it to end.
    pub(super) stopped: bool,
    /// keepwell knew it while it ran.
    pub(super) ran: bool,
    /// It ended for want of memory.
    pub(super) memory: bool,
    /// It ended because its engine did.
    pub(super) swept: bool,
    pub(super) network: Network,
    /// The host is shutting down.
    pub(super) shutdown: bool,
}

/// How the network is that it shares with another container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Network {
    /// It has its own, or the other one runs as it did.
    #[default]
    Fine,
    /// The other one was started anew after it.
    Lost,
    /// The other one does not run: this one cannot be started.
    Down,
    /// The other one does not exist any more.
    Gone,
}

/// What a state means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Judgement {
    /// `None`: something is under way; the former verdict stands.
    pub(super) verdict: Option<Verdict>,
    /// Restart it or not.
    pub(super) heal: Heal,
    /// How long a bad verdict must last before an alert opens.
    pub(super) patience: Duration,
}

impl Judgement {
    pub(super) fn well(reason: Reason, summary: impl Into<String>) -> Self {
        Self::of(Severity::Healthy, reason, summary)
    }

    fn of(severity: Severity, reason: Reason, summary: impl Into<String>) -> Self {
        let verdict = Some(Verdict::new(severity, reason, summary));
        Self { verdict, heal: Heal::No(reason), patience: Duration::ZERO }
    }

    pub(super) fn under_way(reason: Reason) -> Self {
        Self { verdict: None, heal: Heal::No(reason), patience: Duration::ZERO }
    }

    pub(super) fn unknown(reason: Reason, summary: impl Into<String>) -> Self {
        Self::of(Severity::Unknown, reason, summary)
    }

    /// It was unhealthy and runs anew: its health check decides.
    pub(super) fn unproven(severity: Severity) -> Self {
        let text = "was unhealthy; runs anew, and its health check has not passed yet";
        let heal = Heal::No(Reason::Verifying);
        Self { heal, ..Self::of(severity, Reason::Unhealthy, text) }
    }

    fn lasting(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// A restart would help.
    fn healed_by(self, rule: &ContainerRule, facts: Facts) -> Self {
        let heal = if !rule.restart {
            Heal::No(Reason::NotConfigured)
        } else if facts.shutdown {
            Heal::No(Reason::HostShutdown)
        } else {
            Heal::Wanted
        };
        Self { heal, ..self }
    }

    /// A start would help, where there is a network to start it in.
    fn started_by(self, rule: &ContainerRule, facts: Facts) -> Self {
        let judgement = self.healed_by(rule, facts);
        match (facts.network, &judgement.heal) {
            (Network::Gone, _) => Self { heal: Heal::No(Reason::NetworkLost), ..judgement },
            (Network::Down, Heal::Wanted) => {
                Self { heal: Heal::No(Reason::NetworkDown), ..judgement }
            }
            _ => judgement,
        }
    }
}

/// Judges the state of a container.
pub(super) fn judge(seen: &ContainerSeen, rule: &ContainerRule, facts: Facts) -> Judgement {
    match seen.status {
        ContainerStatus::Running => running(seen, rule, facts),
        ContainerStatus::Paused => Judgement::well(Reason::Paused, "paused"),
        ContainerStatus::Restarting => {
            let summary = format!("{}; its restart policy starts it again", ending(seen, facts).1);
            Judgement::of(rule.severity(), Reason::RestartPolicy, summary)
                .lasting(rule.confirm.lasting)
        }
        ContainerStatus::Stopping | ContainerStatus::Removing => {
            Judgement::under_way(Reason::Stopping)
        }
        ContainerStatus::Created => created(seen, rule, facts),
        ContainerStatus::Exited => exited(seen, rule, facts),
        ContainerStatus::Dead => {
            let by_hand = seen.by_hand("rm -f");
            let text = format!("its engine could not remove it; remove it by hand: {by_hand}");
            Judgement::of(Severity::Warning, Reason::Failed, text).lasting(rule.confirm.lasting)
        }
        ContainerStatus::Other => {
            Judgement::unknown(Reason::Unreadable, "in a state that keepwell does not know")
        }
    }
}

fn running(seen: &ContainerSeen, rule: &ContainerRule, facts: Facts) -> Judgement {
    let health = seen.health.as_ref();
    if let Some(health) = health.filter(|h| h.status == Health::Unhealthy) {
        // What the check printed is the container's own text: not everybody may read that.
        let summary = match health.failing {
            0 | 1 => "unhealthy: its health check fails".to_owned(),
            times => format!("unhealthy: {times} checks failed in a row"),
        };
        return Judgement::of(rule.severity(), Reason::Unhealthy, summary).healed_by(rule, facts);
    }
    match facts.network {
        Network::Fine | Network::Down => {}
        Network::Lost => {
            let text = "the container whose network it shares was started anew; it needs a restart";
            return Judgement::of(Severity::Warning, Reason::NetworkLost, text)
                .lasting(rule.confirm.lasting)
                .healed_by(rule, facts);
        }
        Network::Gone => {
            let text = "the container whose network it shares is gone; make it anew";
            return Judgement::of(Severity::Warning, Reason::NetworkLost, text)
                .lasting(rule.confirm.lasting);
        }
    }
    match health.map(|h| h.status) {
        Some(Health::Healthy) => Judgement::well(Reason::Healthy, "running, healthy"),
        Some(_) => Judgement::well(Reason::Running, "running; its health check has not passed yet"),
        None => Judgement::well(Reason::Running, "running"),
    }
}

fn created(seen: &ContainerSeen, rule: &ContainerRule, facts: Facts) -> Judgement {
    if !seen.error.is_empty() {
        return start_error(rule, facts);
    }
    if rule.required {
        let text = "made and never started, though it is marked as required";
        // Whoever made it may be about to start it, as Compose is while it updates.
        return Judgement::of(rule.severity(), Reason::NotRunning, text)
            .lasting(rule.confirm.lasting);
    }
    Judgement::well(Reason::Created, "made and not started")
}

fn start_error(rule: &ContainerRule, facts: Facts) -> Judgement {
    let summary = "could not be started";
    if !(facts.named || facts.ran) {
        // Whoever tried was told.
        return Judgement::well(Reason::StartError, summary);
    }
    Judgement::of(rule.severity(), Reason::StartError, summary)
        .lasting(rule.confirm.lasting)
        .started_by(rule, facts)
}

fn exited(seen: &ContainerSeen, rule: &ContainerRule, facts: Facts) -> Judgement {
    let (reason, what) = ending(seen, facts);
    if facts.stopped {
        let summary = match seen.exit_code {
            0 => "stopped by a person".to_owned(),
            code => format!("stopped by a person (exit code {code})"),
        };
        return Judgement::well(Reason::StoppedByOperator, summary);
    }
    if !seen.error.is_empty() {
        return start_error(rule, facts);
    }
    let clean = reason == Reason::Finished && !facts.swept;
    if clean && !rule.required {
        return Judgement::well(Reason::Finished, what);
    }
    if !(facts.named || facts.ran) {
        return Judgement::well(Reason::Stopped, format!("{what}, before keepwell knew it"));
    }
    let (reason, summary) = match clean {
        true => (Reason::NotRunning, format!("{what}, though it is marked as required")),
        false if facts.swept => (Reason::EngineWentDown, format!("{what} with its engine")),
        false => (reason, what),
    };
    Judgement::of(rule.severity(), reason, summary)
        .lasting(rule.confirm.lasting)
        .started_by(rule, facts)
}

/// How it ended, with a few words.
fn ending(seen: &ContainerSeen, facts: Facts) -> (Reason, String) {
    let code = seen.exit_code;
    if facts.memory {
        return (Reason::OutOfMemory, "killed for want of memory".to_owned());
    }
    let signal = match code {
        0 => return (Reason::Finished, "ended (exit code 0)".to_owned()),
        134 => "SIGABRT",
        135 => "SIGBUS",
        136 => "SIGFPE",
        137 => "SIGKILL",
        139 => "SIGSEGV",
        143 => "SIGTERM",
        _ => return (Reason::ExitCode, format!("ended with exit code {code}")),
    };
    (Reason::Signal, format!("killed by {signal} (exit code {code})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::observation::HealthSeen;
    use crate::engine::rules::Selector;

    struct Case {
        seen: ContainerSeen,
        rule: ContainerRule,
        facts: Facts,
    }

    fn case(status: ContainerStatus) -> Case {
        Case {
            seen: ContainerSeen { status, ..ContainerSeen::default() },
            rule: ContainerRule::new(Selector::default()),
            facts: Facts { ran: true, ..Facts::default() },
        }
    }

    impl Case {
        fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
            change(&mut self);
            self
        }

        fn code(self, code: i32) -> Self {
            self.with(|c| c.seen.exit_code = code)
        }

        fn healed(self) -> Self {
            self.with(|c| c.rule.restart = true)
        }

        fn required(self) -> Self {
            self.with(|c| c.rule.required = true)
        }

        fn health(self, status: Health) -> Self {
            let output = "connect: refused\nmore".into();
            self.with(|c| c.seen.health = Some(HealthSeen { status, failing: 3, output }))
        }

        /// severity, reason, summary, heal, patience
        fn line(&self) -> String {
            let j = judge(&self.seen, &self.rule, self.facts);
            let verdict = j.verdict.map_or_else(
                || "keep".to_owned(),
                |v| format!("{} {}: {}", v.severity, v.reason, v.summary),
            );
            let heal = match j.heal {
                Heal::Wanted => "heal".to_owned(),
                Heal::No(reason) => format!("leave ({reason})"),
            };
            format!("{verdict} | {heal} | {}", j.patience.as_secs())
        }
    }

    #[test]
    #[rustfmt::skip]
    fn the_table() {
        use ContainerStatus::*;
        let cases = [
            (case(Running), "healthy running: running | leave (running) | 0"),
            (case(Running).health(Health::Starting), "healthy running: running; its health check has not passed yet | leave (running) | 0"),
            (case(Running).health(Health::Healthy), "healthy healthy: running, healthy | leave (healthy) | 0"),
            (case(Running).health(Health::Unhealthy), "warning unhealthy: unhealthy: 3 checks failed in a row | leave (not-configured) | 0"),
            (case(Running).health(Health::Unhealthy).healed().required(), "critical unhealthy: unhealthy: 3 checks failed in a row | heal | 0"),
            (case(Running).healed().with(|c| c.facts.network = Network::Lost), "warning network-lost: the container whose network it shares was started anew; it needs a restart | heal | 60"),
            (case(Running).healed().with(|c| c.facts.network = Network::Gone), "warning network-lost: the container whose network it shares is gone; make it anew | leave (network-lost) | 60"),
            (case(Paused).required(), "healthy paused: paused | leave (paused) | 0"),
            (case(Restarting).code(1).healed(), "warning restart-policy: ended with exit code 1; its restart policy starts it again | leave (restart-policy) | 60"),
            (case(Stopping), "keep | leave (stopping) | 0"),
            (case(Removing), "keep | leave (stopping) | 0"),
            (case(Created), "healthy created: made and not started | leave (created) | 0"),
            (case(Created).required().healed(), "critical not-running: made and never started, though it is marked as required | leave (not-running) | 60"),
            (case(Created).with(|c| { c.seen.error = "port is taken".into(); c.facts.ran = false; }), "healthy start-error: could not be started | leave (start-error) | 0"),
            (case(Created).healed().with(|c| { c.seen.error = "port is taken".into(); c.facts.named = true; }), "warning start-error: could not be started | heal | 60"),
            (case(Exited).code(0), "healthy finished: ended (exit code 0) | leave (finished) | 0"),
            (case(Exited).code(0).required(), "critical not-running: ended (exit code 0), though it is marked as required | leave (not-configured) | 60"),
            (case(Exited).code(3), "warning exit-code: ended with exit code 3 | leave (not-configured) | 60"),
            (case(Exited).code(3).healed(), "warning exit-code: ended with exit code 3 | heal | 60"),
            (case(Exited).code(3).healed().required(), "critical exit-code: ended with exit code 3 | heal | 60"),
            (case(Exited).code(3).healed().with(|c| c.facts.shutdown = true), "warning exit-code: ended with exit code 3 | leave (host-shutdown) | 60"),
            (case(Exited).code(137), "warning signal: killed by SIGKILL (exit code 137) | leave (not-configured) | 60"),
            (case(Exited).code(137).with(|c| c.facts.memory = true), "warning out-of-memory: killed for want of memory | leave (not-configured) | 60"),
            (case(Exited).code(143).required().healed().with(|c| c.facts.stopped = true), "healthy stopped-by-operator: stopped by a person (exit code 143) | leave (stopped-by-operator) | 0"),
            (case(Exited).code(3).with(|c| c.facts.ran = false), "healthy stopped: ended with exit code 3, before keepwell knew it | leave (stopped) | 0"),
            (case(Exited).code(3).with(|c| { c.facts.ran = false; c.facts.named = true; }), "warning exit-code: ended with exit code 3 | leave (not-configured) | 60"),
            (case(Exited).code(3).healed().with(|c| c.facts.network = Network::Gone), "warning exit-code: ended with exit code 3 | leave (network-lost) | 60"),
            (case(Exited).code(3).healed().with(|c| c.facts.network = Network::Down), "warning exit-code: ended with exit code 3 | leave (network-down) | 60"),
            (case(Running).healed().with(|c| c.facts.network = Network::Down), "healthy running: running | leave (running) | 0"),
            (case(Dead), "warning failed: its engine could not remove it; remove it by hand: docker rm -f | leave (failed) | 60"),
            (case(Dead).with(|c| { c.seen.command = "podman".into(); c.seen.name = "podman/web".into(); c.seen.engine = "podman".into(); }), "warning failed: its engine could not remove it; remove it by hand: podman rm -f web | leave (failed) | 60"),
            (case(Other), "unknown unreadable: in a state that keepwell does not know | leave (unreadable) | 0"),
        ];
        for (case, expected) in cases {
            assert_eq!(case.line(), expected);
        }
    }
}
