//! Carries out what the engine asks for and what takes time: restarts, and reading the last journal
//! lines of a run. Several at once; the outcome comes back to the driver as an event.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::driver::Task;
use crate::actions::{Restarter, packages};
use crate::engine::observation::Excerpt;
use crate::engine::{Event, Observation, Outcome};
use crate::systemd::journal::Journal;

/// Restarts at a time: systemd does them side by side, but a host that comes up with all of its
/// services down is not to be hit at once.
const RESTARTS: usize = 8;

/// Journal reads at a time: each is a child process.
const READS: usize = 2;

/// Where things are carried out.
pub(super) struct Worker {
    pub(super) tasks: mpsc::UnboundedReceiver<Task>,
    pub(super) events: mpsc::UnboundedSender<Event>,
    pub(super) observations: mpsc::Sender<Observation>,
    pub(super) restarter: Arc<Restarter>,
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
