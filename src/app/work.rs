//! Carries out what the engine asks for and what takes time: restarts, and reading the last lines
//! that a unit or a container logged. Several at once; the outcome comes back to the driver as an event.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::driver::Task;
use crate::actions::{ContainerRestarter, Restarter, packages};
use crate::engine::observation::{ContainerLog, Excerpt};
use crate::engine::{Event, Observation, Outcome};
use crate::systemd::journal::Journal;

/// Restarts at a time: systemd does them side by side, but a host that comes up with all of its
/// services down is not to be hit at once. As many of containers.
const RESTARTS: usize = 8;

/// Journal reads at a time: each is a child process. As many of containers' logs.
const READS: usize = 2;

/// Where things are carried out.
pub(super) struct Worker {
    pub(super) tasks: mpsc::UnboundedReceiver<Task>,
    pub(super) events: mpsc::UnboundedSender<Event>,
    pub(super) observations: mpsc::Sender<Observation>,
    pub(super) restarter: Arc<Restarter>,
    pub(super) containers: ContainerRestarter,
    pub(super) journal: Journal,
    /// How many lines of a run are shown.
    pub(super) lines: usize,
    /// Where the host's own `/` is.
    pub(super) host: PathBuf,
    pub(super) stop: CancellationToken,
}

impl Worker {
    /// Runs until told to stop. Restarts that are under way are then left to systemd, which
    /// finishes them; the saved state says that they were made.
    pub(super) async fn run(mut self) {
        let restarts = Arc::new(Semaphore::new(RESTARTS));
        let reads = Arc::new(Semaphore::new(READS));
        // Those of containers have room of their own: an engine that hangs holds up no unit.
        let of_containers = (Arc::new(Semaphore::new(RESTARTS)), Arc::new(Semaphore::new(READS)));
        let mut running = JoinSet::new();
        loop {
            let task = tokio::select! {
                () = self.stop.cancelled() => return,
                Some(ended) = running.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a restart or a reading crashed");
                    }
                    continue;
                }
                task = self.tasks.recv() => match task {
                    Some(task) => task,
                    None => return,
                },
            };
            match task {
                Task::Restart { unit, invocation, allow_inactive } => {
                    let (restarter, events) = (self.restarter.clone(), self.events.clone());
                    let permit = restarts.clone();
                    running.spawn_local(async move {
                        // The semaphore is never closed.
                        let _permit = permit.acquire().await;
                        let result = restarter.restart(&unit, invocation, allow_inactive).await;
                        let _ = events.send(Event::Outcome(Outcome::Restart { unit, result }));
                    });
                }
                Task::RestartContainer { name, engine, id, run, running: ran } => {
                    let (containers, events) = (self.containers.clone(), self.events.clone());
                    let permit = of_containers.0.clone();
                    running.spawn_local(async move {
                        let _permit = permit.acquire().await;
                        let result = containers.restart(&engine, &id, run, ran).await;
                        let outcome = Outcome::ContainerRestart { name, result };
                        let _ = events.send(Event::Outcome(outcome));
                    });
                }
                Task::FetchContainerLog { name, engine, id, since } => {
                    let (containers, out) = (self.containers.clone(), self.observations.clone());
                    let (permit, count) = (of_containers.1.clone(), self.lines);
                    running.spawn_local(async move {
                        let _permit = permit.acquire().await;
                        let lines = match containers.log(&engine, &id, count, since).await {
                            Ok(lines) => lines,
                            Err(error) => {
                                tracing::debug!(container = %name, %error, "no log lines");
                                Vec::new()
                            }
                        };
                        let log = ContainerLog { name, lines };
                        let _ = out.send(Observation::ContainerLog(log)).await;
                    });
                }
                Task::LookAtPackages => {
                    let (out, host) = (self.observations.clone(), self.host.clone());
                    running.spawn_local(async move {
                        // Some small files of /proc: it takes no time to speak of.
                        let seen = packages::look(&host);
                        let _ = out.send(Observation::Packages(seen)).await;
                    });
                }
                Task::FetchLog { unit, invocation } => {
                    let (journal, out) = (self.journal.clone(), self.observations.clone());
                    let (permit, count) = (reads.clone(), self.lines);
                    running.spawn_local(async move {
                        let _permit = permit.acquire().await;
                        let lines = match journal.excerpt(&unit, invocation, count).await {
                            Ok(lines) => lines,
                            Err(error) => {
                                tracing::debug!(unit = %unit, %error, "no journal lines");
                                Vec::new()
                            }
                        };
                        let excerpt = Excerpt { unit, invocation, lines };
                        let _ = out.send(Observation::Excerpt(excerpt)).await;
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::app::plan::Scope;
    use crate::docker::{Address, Endpoint, Engines};

    #[tokio::test]
    async fn an_engine_that_hangs_holds_up_no_unit() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("d.sock");
        // It takes connections, and answers none.
        let _engine = UnixListener::bind(&socket).unwrap();
        let engines = Engines::default();
        let address = Address::Unix(socket);
        engines.add(Endpoint { name: "docker".into(), prefix: "".into(), address });
        let (tasks, tasks_in) = mpsc::unbounded_channel();
        let (events, mut events_in) = mpsc::unbounded_channel();
        let (observations, mut observed) = mpsc::channel(64);
        let worker = Worker {
            tasks: tasks_in,
            events,
            observations,
            restarter: Arc::new(Restarter::new(Scope::System.bus().unwrap())),
            containers: ContainerRestarter::new(engines),
            journal: Scope::System.journal(),
            lines: 5,
            host: "/".into(),
            stop: CancellationToken::new(),
        };
        for number in 0..2 * RESTARTS {
            let name: Arc<str> = format!("c{number}").into();
            let (engine, id): (Arc<str>, Arc<str>) = ("docker".into(), "ab".into());
            let (log, log_of, at) = (name.clone(), id.clone(), engine.clone());
            let _ = tasks.send(Task::FetchContainerLog {
                name: log,
                engine: at,
                id: log_of,
                since: None,
            });
            let _ =
                tasks.send(Task::RestartContainer { name, engine, id, run: None, running: false });
        }
        let unit: Arc<str> = "no-such-unit-of-keepwell.service".into();
        let invocation = None;
        let _ = tasks.send(Task::Restart { unit: unit.clone(), invocation, allow_inactive: false });
        let _ = tasks.send(Task::FetchLog { unit, invocation: Default::default() });
        let local = tokio::task::LocalSet::new();
        local.spawn_local(worker.run());
        let first =
            local.run_until(async { (events_in.recv().await, observed.recv().await) }).await;
        assert!(matches!(first.0, Some(Event::Outcome(Outcome::Restart { .. }))), "{first:?}");
        assert!(matches!(first.1, Some(Observation::Excerpt(_))), "{first:?}");
    }
}
