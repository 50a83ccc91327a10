//! Restarts containers through their engine, and reads their logs: looks once more, restarts, waits
//! until that is done. Whether a container stays up is seen afterwards.

use std::sync::Arc;
use std::time::Duration;

use crate::docker::{Client, DockerError, Engines, LogLine};
use crate::engine::Wall;
use crate::engine::event::RestartResult;
use crate::engine::observation::{ContainerSeen, ContainerStatus, Health, Invocation};
use crate::engine::words::Reason;
use crate::systemd::journal::tidy;
use crate::systemd::redact::{Redactor, redact};

/// How long a container may take to stop, where it does not say: Docker's own default.
const STOP: Duration = Duration::from_secs(10);

/// How long its engine may take for all else of a restart.
const START: Duration = Duration::from_secs(60);

/// What a container prints first is older than its start by its engine's account, which is noted
/// once it runs.
const START_TAKES: Duration = Duration::from_secs(1);

/// Why a log cannot be read, in words for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoLog {
    /// The container is gone, or about to be.
    #[error("{0}")]
    Removed(String),
    /// Its log driver keeps none that can be read.
    #[error("{0}")]
    NotKept(String),
    /// Its engine does not hand it out.
    #[error("{0}")]
    Failed(String),
}

/// Restarts containers, and reads their logs, by the engines that are watched now.
#[derive(Debug, Clone)]
pub struct ContainerRestarter {
    engines: Engines,
}

impl ContainerRestarter {
    /// By these engines; others may be put there later.
    pub fn new(engines: Engines) -> Self {
        Self { engines }
    }

    /// Restarts the container of this id if it is still to be restarted: `run` has ended, or it is
    /// unhealthy, or it has lost the network that it shares. `running`: it ran when that was decided.
    pub async fn restart(
        &self,
        engine: &str,
        id: &str,
        run: Option<Invocation>,
        running: bool,
    ) -> RestartResult {
        let Some(client) = self.engines.client(engine) else {
            return RestartResult::Failed(gone(engine));
        };
        match try_restart(&client, id, run, running).await {
            Ok(result) => result,
            Err(error) => {
                let text = redact(&error.to_string()).into_owned();
                match error {
                    DockerError::Forbidden { .. } | DockerError::Permission { .. } => {
                        RestartResult::Denied(text)
                    }
                    DockerError::NotFound { .. } => RestartResult::Declined(Reason::Removed),
                    DockerError::Failed { .. } | DockerError::Conflict { .. } => {
                        RestartResult::JobFailed(text)
                    }
                    _ => RestartResult::Failed(text),
                }
            }
        }
    }

    /// The last lines of a container's log, at most `lines`, with `since` only those from then on:
    /// `HH:MM:SS text` in UTC, oldest first, without control characters, at most 500 characters
    /// each, secrets removed.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn log(
        &self,
        engine: &str,
        id: &str,
        lines: usize,
        since: Option<Wall>,
    ) -> Result<Vec<String>, NoLog> {
        let client = self.engines.client(engine).ok_or_else(|| NoLog::Failed(gone(engine)))?;
        let since = since.map(|at| at.before(START_TAKES));
        match client.log(id, lines, since).await {
            Ok(lines) => Ok(shown(lines)),
            Err(error) => {
                let text = redact(&error.to_string()).into_owned();
                Err(match error {
                    // One that is being removed is in the way of its log.
                    DockerError::NotFound { .. } | DockerError::Conflict { .. } => {
                        NoLog::Removed(text)
                    }
                    error if error.keeps_no_log() => NoLog::NotKept(text),
                    _ => NoLog::Failed(text),
                })
            }
        }
    }
}

fn gone(engine: &str) -> String {
    format!("the container engine '{engine}' is not watched any more")
}

/// Lines that are safe to show.
fn shown(lines: Vec<LogLine>) -> Vec<String> {
    let mut redactor = Redactor::default();
    let lines = lines.into_iter().map(|line| {
        let text = tidy(&line.text, &mut redactor);
        match line.at {
            Some(at) => format!("{} {text}", at.written("%H:%M:%S")),
            None => text,
        }
    });
    lines.collect()
}

async fn try_restart(
    client: &Arc<Client>,
    id: &str,
    run: Option<Invocation>,
    running: bool,
) -> Result<RestartResult, DockerError> {
    let found = client.inspect(id).await?;
    let stop = found.stop_timeout().map_or(STOP, |s| Duration::from_secs(s.into()));
    let Some(seen) = found.seen(client.endpoint(), redact) else {
        return Ok(RestartResult::Failed("what its engine says of it cannot be used".into()));
    };
    // Whose network it shares matters only where it is this that may be wrong with it.
    let network = match &seen.network_of {
        Some(other) if seen.status == ContainerStatus::Running => {
            client.inspect(other).await.ok().and_then(|o| o.seen(client.endpoint(), redact))
        }
        _ => None,
    };
    if let Some(reason) = not_needed(&seen, network.as_ref(), run, running) {
        return Ok(RestartResult::Declined(reason));
    }
    client.restart(id, stop + START).await?;
    Ok(RestartResult::Done)
}

/// Why a container as it is now needs no restart; `None`: it does. `network` is the container whose
/// network it shares.
fn not_needed(
    seen: &ContainerSeen,
    network: Option<&ContainerSeen>,
    run: Option<Invocation>,
    running: bool,
) -> Option<Reason> {
    if run.is_some() && seen.run() != run {
        // A later run is judged afresh.
        return Some(Reason::NoLongerNeeded);
    }
    match seen.status {
        ContainerStatus::Running => {
            let unhealthy = seen.health.as_ref().is_some_and(|h| h.status == Health::Unhealthy);
            let lost = network.is_some_and(|other| {
                other.status == ContainerStatus::Running && other.started > seen.started
            });
            (!unhealthy && !lost).then_some(Reason::NoLongerNeeded)
        }
        // It ran when it was judged: how it ended since is judged afresh.
        ContainerStatus::Exited if running => Some(Reason::NoLongerNeeded),
        ContainerStatus::Exited | ContainerStatus::Created | ContainerStatus::Other => None,
        ContainerStatus::Restarting => Some(Reason::RestartPolicy),
        ContainerStatus::Paused => Some(Reason::Paused),
        ContainerStatus::Stopping => Some(Reason::Stopping),
        ContainerStatus::Removing | ContainerStatus::Dead => Some(Reason::Removed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::observation::HealthSeen;

    fn container(status: ContainerStatus) -> ContainerSeen {
        let (id, started) = ("ab".repeat(32).into(), Some(Wall(1000)));
        ContainerSeen { id, status, started, ..ContainerSeen::default() }
    }

    fn with_health(status: Health) -> ContainerSeen {
        let health = HealthSeen { status, failing: 3, output: "".into() };
        ContainerSeen { health: Some(health), ..container(ContainerStatus::Running) }
    }

    #[test]
    fn what_is_down_or_unhealthy_is_restarted() {
        let down = container(ContainerStatus::Exited);
        assert_eq!(not_needed(&down, None, down.run(), false), None);
        assert_eq!(not_needed(&down, None, None, false), None);
        let stopped_meanwhile = not_needed(&down, None, down.run(), true);
        assert_eq!(stopped_meanwhile, Some(Reason::NoLongerNeeded));
        let ill = with_health(Health::Unhealthy);
        assert_eq!(not_needed(&ill, None, ill.run(), true), None);
    }

    #[test]
    fn what_is_well_again_or_another_run_is_left() {
        let up = container(ContainerStatus::Running);
        assert_eq!(not_needed(&up, None, up.run(), true), Some(Reason::NoLongerNeeded));
        for health in [Health::Healthy, Health::Starting] {
            let well = with_health(health);
            assert_eq!(not_needed(&well, None, well.run(), true), Some(Reason::NoLongerNeeded));
        }
        let later =
            ContainerSeen { started: Some(Wall(2000)), ..container(ContainerStatus::Exited) };
        let former = container(ContainerStatus::Exited).run();
        assert_eq!(not_needed(&later, None, former, false), Some(Reason::NoLongerNeeded));
    }

    #[test]
    fn what_somebody_else_is_about_is_left() {
        for (status, reason) in [
            (ContainerStatus::Restarting, Reason::RestartPolicy),
            (ContainerStatus::Paused, Reason::Paused),
            (ContainerStatus::Stopping, Reason::Stopping),
            (ContainerStatus::Removing, Reason::Removed),
            (ContainerStatus::Dead, Reason::Removed),
        ] {
            let seen = container(status);
            assert_eq!(not_needed(&seen, None, seen.run(), true), Some(reason));
        }
    }

    #[test]
    fn what_has_lost_the_network_it_shares_is_restarted() {
        let up = container(ContainerStatus::Running);
        let other = |started| ContainerSeen {
            started: Some(Wall(started)),
            ..container(ContainerStatus::Running)
        };
        assert_eq!(not_needed(&up, Some(&other(2000)), up.run(), true), None);
        let older = Some(Reason::NoLongerNeeded);
        assert_eq!(not_needed(&up, Some(&other(500)), up.run(), true), older);
    }

    #[test]
    fn lines_are_shown_without_secrets() {
        let line = |text: &str| LogLine { at: Some(Wall(3_723_000_000)), text: text.into() };
        let lines = vec![line("password=hunter2hunter2"), line("\u{1b}[31mred\u{7}")];
        assert_eq!(shown(lines), ["01:02:03 password=***", "01:02:03 red"]);
    }
}
