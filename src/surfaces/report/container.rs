//! Containers and the hooks that are told of them as typed JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::observation::{HealthSeen, Policy, UsageSeen};
use crate::engine::view::{ContainerView, HookView};

use super::{CheckReport, Lines, Stamp};

/// `/api/v1/containers`: all containers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerList {
    /// When this picture was taken.
    pub timestamp: Stamp,
    /// Their checks, ordered by name.
    pub containers: Vec<CheckReport>,
}

/// `/api/v1/containers/{name}/logs`: the last lines of a log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogReport {
    /// The container, as checks call it.
    pub container: String,
    /// Oldest first, secrets removed.
    pub lines: Vec<String>,
}

/// What is known of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerReport {
    /// As checks call it: of further engines with the engine's name before it, `podman/web`.
    pub name: String,
    /// The engine that has it, such as `docker`.
    pub engine: String,
    /// Its id.
    pub id: String,
    /// Its image as it was asked for.
    pub image: String,
    /// Its state, such as `running` or `exited`.
    pub state: String,
    /// Its health check, if it has one.
    #[serde(default)]
    pub health: Option<HealthReport>,
    /// The Compose project that it belongs to.
    #[serde(default)]
    pub project: Option<String>,
    /// The Compose service that it belongs to.
    #[serde(default)]
    pub service: Option<String>,
    /// Its labels, for those who may read logs: what is written there is often meant for few.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// When it was made.
    pub created: Stamp,
    /// When its present or last run began.
    #[serde(default)]
    pub started: Option<Stamp>,
    /// When its last run ended.
    #[serde(default)]
    pub finished: Option<Stamp>,
    /// How long its present run has lasted, in seconds.
    #[serde(default)]
    pub uptime_seconds: Option<f64>,
    /// Exit code of the last run, while it does not run.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// The kernel killed a process of it for want of memory.
    pub oom_killed: bool,
    /// Why it could not be started.
    #[serde(default)]
    pub error: Option<String>,
    /// What its engine does when it ends: `no`, `on-failure`, `always`, `unless-stopped`.
    pub policy: String,
    /// Restarts by its policy, as its engine counts them.
    pub restart_count: u32,
    /// Somebody named it, in the configuration or by a label of its own.
    pub named: bool,
    /// keepwell may restart it.
    pub restart: bool,
    /// It must be running.
    pub required: bool,
    /// Runs that ended badly, since keepwell came to this host.
    pub crashes: u64,
    /// Restarts by whomever, since keepwell came to this host.
    pub restarts: u64,
    /// Restarts within the restart-loop window.
    pub restarts_in_window: u32,
    /// Restarts by keepwell, since it came to this host.
    pub healed: u64,
    /// Attempts since it was last stable.
    pub step: u32,
    /// When keepwell will restart it.
    #[serde(default)]
    pub next_attempt: Option<Stamp>,
    /// What it uses, while that is known.
    #[serde(default)]
    pub usage: Option<UsageReport>,
}

/// What a health check says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthReport {
    /// `starting`, `healthy` or `unhealthy`.
    pub status: String,
    /// Checks that failed in a row.
    pub failing: u32,
    /// What the last one printed, for those who may read logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// What a container uses; `null` is "not known", and for limits "none".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UsageReport {
    /// Processors in use; 1.5 is one and a half.
    pub cpus: Option<f64>,
    /// Processors that it may use.
    pub cpu_limit: Option<f64>,
    /// The part of its limit, or of the host's processors where it has none.
    pub cpu_ratio: Option<f64>,
    /// Processor time since its start.
    pub cpu_seconds: Option<f64>,
    /// Memory in use.
    pub memory_bytes: Option<u64>,
    /// Memory that it may use.
    pub memory_limit_bytes: Option<u64>,
    /// The part of its limit, or of the host's memory where it has none.
    pub memory_ratio: Option<f64>,
    /// Bytes received since its start.
    pub received_bytes: Option<u64>,
    /// Bytes sent since its start.
    pub sent_bytes: Option<u64>,
    /// Bytes read from block devices since its start.
    pub read_bytes: Option<u64>,
    /// Bytes written to block devices since its start.
    pub written_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

impl UsageReport {
    fn of(view: &ContainerView, usage: &UsageSeen) -> Self {
        let seen = &view.seen;
        Self {
            cpus: usage.cpus,
            cpu_limit: seen.cpu_limit,
            cpu_ratio: cpu_ratio(view),
            cpu_seconds: usage.cpu_seconds,
            memory_bytes: usage.memory,
            memory_limit_bytes: seen.memory_limit,
            memory_ratio: memory_ratio(view),
            received_bytes: usage.received,
            sent_bytes: usage.sent,
            read_bytes: usage.read,
            written_bytes: usage.written,
            pids: usage.pids,
        }
    }
}

/// Processors in use, as a part of the limit, else of the host's.
pub(in crate::surfaces) fn cpu_ratio(view: &ContainerView) -> Option<f64> {
    let of = view.seen.cpu_limit.unwrap_or(f64::from(view.host_cpus));
    part(view.usage.as_ref()?.cpus?, of)
}

/// Memory in use, as a part of the limit, else of the host's.
pub(in crate::surfaces) fn memory_ratio(view: &ContainerView) -> Option<f64> {
    let of = view.seen.memory_limit.unwrap_or(view.host_memory);
    part(view.usage.as_ref()?.memory? as f64, of as f64)
}

fn part(used: f64, of: f64) -> Option<f64> {
    (of > 0.0).then(|| used / of)
}

impl ContainerReport {
    /// What was seen at `at`, with labels, output and errors only for those who may read `lines`.
    pub fn of(view: &ContainerView, at: Stamp, lines: Lines) -> Self {
        let seen = &view.seen;
        let up = seen.status.is_up();
        let shown = lines == Lines::Shown;
        let health = |health: &HealthSeen| HealthReport {
            status: health.status.as_str().to_owned(),
            failing: health.failing,
            output: Some(health.output.to_string()).filter(|text| shown && !text.is_empty()),
        };
        Self {
            name: seen.name.to_string(),
            engine: seen.engine.to_string(),
            id: seen.id.to_string(),
            image: seen.image.to_string(),
            state: seen.status.as_str().to_owned(),
            health: seen.health.as_ref().map(health),
            project: seen.project().map(str::to_owned),
            service: seen.service().map(str::to_owned),
            labels: if shown { (*seen.labels).clone() } else { BTreeMap::new() },
            created: Stamp(seen.created),
            started: seen.started.map(Stamp),
            finished: seen.finished.map(Stamp),
            uptime_seconds: seen.started.filter(|_| up).map(|s| at.0.since(s).as_secs_f64()),
            exit_code: seen.finished.filter(|_| !up).map(|_| seen.exit_code),
            oom_killed: seen.oom_killed,
            error: Some(seen.error.to_string()).filter(|text| shown && !text.is_empty()),
            policy: policy(seen.policy).to_owned(),
            restart_count: seen.restart_count,
            named: view.named,
            restart: view.restart,
            required: view.required,
            crashes: view.crashes,
            restarts: view.restarts,
            restarts_in_window: view.restarts_in_window,
            healed: view.healed,
            step: view.step,
            next_attempt: view.next_attempt.map(Stamp),
            usage: view.usage.as_ref().map(|usage| UsageReport::of(view, usage)),
        }
    }

    /// `running (healthy)`, `exited with code 137`.
    pub fn state_in_words(&self) -> String {
        let mut words = self.state.clone();
        if let Some(code) = self.exit_code {
            words.push_str(&format!(" with code {code}"));
        }
        if let Some(health) = self.health.as_ref().filter(|_| self.exit_code.is_none()) {
            words.push_str(&format!(" ({})", health.status));
        }
        words
    }
}

fn policy(policy: Policy) -> &'static str {
    match policy {
        Policy::No => "no",
        Policy::OnFailure(_) => "on-failure",
        Policy::Always => "always",
        Policy::UnlessStopped => "unless-stopped",
    }
}

/// How a hook does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HookReport {
    /// Its name.
    pub name: String,
    /// Its type, such as `discovery`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Calls that its receiver took, since keepwell started.
    pub sent: u64,
    /// Tries that failed, since keepwell started.
    pub failed: u64,
    /// Calls given up, because they were refused for good.
    pub refused: u64,
    /// Calls that wait now.
    pub queued: usize,
    /// When one was last taken.
    #[serde(default)]
    pub last_success: Option<Stamp>,
    /// Why the last try failed, until one works.
    #[serde(default)]
    pub last_error: Option<String>,
}

impl From<&HookView> for HookReport {
    fn from(view: &HookView) -> Self {
        Self {
            name: view.name.to_string(),
            kind: view.kind.to_string(),
            sent: view.sent,
            failed: view.failed,
            refused: view.refused,
            queued: view.queued,
            last_success: view.last_success.map(Stamp),
            last_error: view.last_error.as_deref().map(str::to_owned),
        }
    }
}

impl HookReport {
    /// `failing: no answer within 5 s (12 waiting)`; empty while all is well.
    pub fn trouble(&self) -> String {
        let waiting = match self.queued {
            0 => String::new(),
            n => format!(" ({n} waiting)"),
        };
        match &self.last_error {
            Some(error) => format!("failing: {error}{waiting}"),
            None => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surfaces::sample;

    fn of(snapshot: &crate::engine::Snapshot, name: &str, lines: Lines) -> ContainerReport {
        let views = snapshot.checks.iter().filter_map(|c| c.container.as_ref());
        let view = views.clone().find(|view| *view.seen.name == *name).unwrap();
        ContainerReport::of(view, Stamp(snapshot.at), lines)
    }

    #[test]
    fn a_running_one_has_an_uptime_and_one_that_ended_an_exit_code() {
        let snapshot = sample::containers();
        let web = of(&snapshot, "web", Lines::Shown);
        assert_eq!((web.uptime_seconds, web.exit_code), (Some(7_200.0), None));
        assert_eq!(web.state_in_words(), "running (healthy)");
        let usage = web.usage.unwrap();
        assert_eq!((usage.cpu_ratio, usage.memory_ratio), (Some(0.5), Some(0.25)));
        let job = of(&snapshot, "job", Lines::Shown);
        assert_eq!((job.uptime_seconds, job.exit_code), (None, Some(137)));
        assert_eq!(job.state_in_words(), "exited with code 137");
        // Without a limit, what the host has counts.
        let cache = of(&snapshot, "podman/cache", Lines::Shown).usage.unwrap();
        assert_eq!((cache.cpu_limit, cache.cpu_ratio), (None, Some(0.0625)));
        assert_eq!(cache.memory_ratio, Some(0.125));
    }

    #[test]
    fn labels_and_output_are_for_those_who_may_read_logs() {
        let snapshot = sample::containers();
        let shown = of(&snapshot, "shop-db-1", Lines::Shown);
        assert_eq!(shown.labels["traefik.http.auth"], "admin:$apr1$");
        assert!(shown.health.unwrap().output.unwrap().contains("refused"));
        let hidden = of(&snapshot, "shop-db-1", Lines::Hidden);
        assert!(hidden.labels.is_empty() && hidden.health.unwrap().output.is_none());
        assert_eq!(hidden.project.as_deref(), Some("shop"));
    }
}
