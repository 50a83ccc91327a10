//! The supervisor: the only place that starts tasks. Critical tasks end the agent when they end;
//! sources are started again after a while, and are themselves observed.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::engine::Observation;
use crate::engine::event::part_state;
use crate::engine::observation::{Part, PartSeen, PartState};
use crate::notify::BoxFuture;
use crate::sources::{Source, SourceContext};
use crate::telemetry::{ExportContext, Exporter};

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// How a task ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its name.
    pub(super) name: String,
    /// It panicked: what it said.
    pub(super) panic: Option<String>,
}

/// All tasks.
#[derive(Default)]
pub(super) struct Supervisor {
    tasks: JoinSet<()>,
    names: BTreeMap<Id, String>,
    /// Ended while somebody waited for others.
    unheard: VecDeque<Ended>,
}

impl Supervisor {
    /// Starts a task whose end is the end of the agent, unless it was told to stop.
    pub(super) fn spawn(
        &mut self,
        name: impl Into<String>,
        task: impl Future<Output = ()> + 'static,
    ) -> AbortHandle {
        let handle = self.tasks.spawn_local(task);
        self.names.insert(handle.id(), name.into());
        handle
    }

    /// Starts a source, and starts it again when it fails or panics.
    pub(super) fn spawn_source(&mut self, source: Box<dyn Source>, context: SourceContext) {
        let kind = source.kind();
        let name = format!("source {}", Part::Source(kind).name());
        self.spawn(name, watch_over(source, context));
    }

    /// Starts what a channel listens with, if it can listen, and starts it again when it ends or
    /// panics: who answers nobody still tells.
    pub(super) fn spawn_listener(
        &mut self,
        channel: &str,
        listen: impl Fn() -> Option<BoxFuture<'static, ()>> + 'static,
        stop: CancellationToken,
    ) {
        if let Some(first) = listen() {
            let name = format!("listener {channel}");
            self.spawn(name.clone(), keep_listening(name, first, listen, stop));
        }
    }

    /// Starts an exporter, which ends by itself when it is stopped, and starts it again when it
    /// panics.
    pub(super) fn spawn_exporter(&mut self, exporter: Arc<Exporter>, context: ExportContext) {
        let name = format!("exporter {}", exporter.name());
        self.spawn(name.clone(), keep_exporting(name, exporter, context));
    }

    /// Waits for the next task to end. Cancel safe.
    pub(super) async fn ended(&mut self) -> Option<Ended> {
        match self.unheard.pop_front() {
            Some(ended) => Some(ended),
            None => self.next_ended().await,
        }
    }

    /// Waits until no task whose name begins with one of these runs any more. What else ends
    /// meanwhile is told by [`Self::ended`] later. Returns whether it was within the limit.
    pub(super) async fn wait_for(&mut self, prefixes: &[&str], limit: Duration) -> bool {
        let meant = |name: &str| prefixes.iter().any(|prefix| name.starts_with(prefix));
        let all = async {
            while self.names.values().any(|n| meant(n)) {
                let Some(ended) = self.next_ended().await else { return };
                if ended.panic.is_some() || !meant(&ended.name) {
                    self.unheard.push_back(ended);
                }
            }
        };
        timeout(limit, all).await.is_ok()
    }

    async fn next_ended(&mut self) -> Option<Ended> {
        let ended = self.tasks.join_next_with_id().await?;
        let (id, panic) = match ended {
            Ok((id, ())) => (id, None),
            Err(error) => (error.id(), panic_text(error)),
        };
        let name = self.names.remove(&id).unwrap_or_default();
        Some(Ended { name, panic })
    }

    /// The names of what still runs.
    pub(super) fn running(&self) -> Vec<String> {
        self.names.values().cloned().collect()
    }
}

fn panic_text(error: JoinError) -> Option<String> {
    let payload = error.try_into_panic().ok()?;
    let text = payload
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned());
    Some(text.unwrap_or_else(|| "without a message".into()))
}

/// Runs a source until it is told to stop. Each attempt is a task of its own, so that a panic ends
/// that attempt and nothing else.
async fn watch_over(source: Box<dyn Source>, context: SourceContext) {
    let kind = source.kind();
    let part = Part::Source(kind);
    let source = Rc::new(tokio::sync::Mutex::new(source));
    let mut retry = FIRST_RETRY;
    let mut reported = false;
    while !context.stop.is_cancelled() {
        let mut attempt = JoinSet::new();
        let (held, inner) = (source.clone(), context.clone());
        let started = context.clone();
        attempt.spawn_local(async move { held.lock().await.run(inner).await });
        let ended = attempt.join_next().await;
        if started.stop.is_cancelled() || context.once {
            return;
        }
        let why = match ended {
            Some(Ok(Ok(()))) | None => "it ended by itself".to_owned(),
            Some(Ok(Err(error))) => error.to_string(),
            Some(Err(error)) => match panic_text(error) {
                Some(text) => format!("it crashed ({text}); please report this"),
                None => "it was aborted".to_owned(),
            },
        };
        tracing::error!(source = %part.name(), why, "a source has ended and is started again");
        let state = PartState::Broken(why);
        reported = send(&context.out, &part, state).await || reported;
        tokio::select! {
            () = context.stop.cancelled() => return,
            () = tokio::time::sleep(retry) => {}
        }
        retry = (retry * 2).min(LAST_RETRY);
        if reported {
            send(&context.out, &part, PartState::Works).await;
        }
    }
}

/// Why a task that must not end has ended.
fn why_ended(ended: Option<Result<(), JoinError>>) -> String {
    match ended.and_then(Result::err).and_then(panic_text) {
        Some(text) => format!("it crashed ({text}); please report this"),
        None => "it ended by itself".to_owned(),
    }
}

/// Listens until told to stop. Each attempt is a task of its own, so that a panic ends that attempt
/// and nothing else.
async fn keep_listening(
    name: String,
    first: BoxFuture<'static, ()>,
    again: impl Fn() -> Option<BoxFuture<'static, ()>>,
    stop: CancellationToken,
) {
    let mut retry = FIRST_RETRY;
    let mut listening = Some(first);
    while let Some(attempt) = listening {
        let mut task = JoinSet::new();
        task.spawn_local(attempt);
        let ended = tokio::select! {
            () = stop.cancelled() => return,
            ended = task.join_next() => ended,
        };
        let why = why_ended(ended);
        tracing::error!(task = name, why, "a listener has ended and is started again");
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(retry) => {}
        }
        retry = (retry * 2).min(LAST_RETRY);
        listening = again();
    }
}

/// Exports until told to stop. Each attempt is a task of its own, so that a panic ends that attempt
/// and nothing else.
async fn keep_exporting(name: String, exporter: Arc<Exporter>, context: ExportContext) {
    let mut retry = FIRST_RETRY;
    loop {
        let mut task = JoinSet::new();
        task.spawn_local(exporter.clone().run(context.clone()));
        let ended = task.join_next().await;
        if context.stop.is_cancelled() {
            return;
        }
        let why = why_ended(ended);
        tracing::error!(task = name, why, "an exporter has ended and is started again");
        // It says itself when it works again.
        let part = Part::Exporter(exporter.name().clone());
        let _ = context.events.send(part_state(part, PartState::Broken(why)));
        tokio::select! {
            () = context.stop.cancelled() => return,
            () = tokio::time::sleep(retry) => {}
        }
        retry = (retry * 2).min(LAST_RETRY);
    }
}

async fn send(out: &mpsc::Sender<Observation>, part: &Part, state: PartState) -> bool {
    out.send(Observation::Part(PartSeen { part: part.clone(), state })).await.is_ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::sync::watch;

    use super::*;
    use crate::app::plan;
    use crate::config::Options;
    use crate::engine::{Engine, Event, Mode, Now, Rules};

    #[test]
    fn an_exporter_that_crashes_is_shown_and_started_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k.toml");
        // Nobody listens at port 9 of this host.
        std::fs::write(&path, "[otlp]\nendpoint = \"http://127.0.0.1:9\"\nproxy = false").unwrap();
        let path: &Path = &path;
        let options = Options::new(Some(path), Default::default(), true, "host".into());
        let plan = plan::load(&options).unwrap_or_else(|found| panic!("{found}"));
        let (mut engine, _) = Engine::new(
            Rules::default(),
            Default::default(),
            "boot".into(),
            Mode::default(),
            Now::default(),
        );
        let mut snapshot = engine.snapshot(Now::default());
        snapshot.ready = true;
        let (_sender, snapshots) = watch::channel(Arc::new(snapshot));
        let (events, mut told) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let context = ExportContext {
            snapshots,
            events,
            now: || panic!("the clock is broken"),
            flush: Duration::ZERO,
            stop: stop.clone(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let mut supervisor = Supervisor::default();
            supervisor.spawn_exporter(plan.exporters[0].clone(), context);
            for _ in 0..2 {
                let event = timeout(Duration::from_secs(30), told.recv()).await.unwrap();
                let Some(Event::Observed(Observation::Part(seen))) = event else {
                    panic!("{event:?}")
                };
                assert_eq!(seen.part, Part::Exporter("otlp".into()));
                let PartState::Broken(why) = seen.state else { panic!("{:?}", seen.state) };
                assert!(why.contains("the clock is broken"), "{why}");
            }
            stop.cancel();
            assert!(supervisor.wait_for(&["exporter "], Duration::from_secs(30)).await);
        });
    }
}
