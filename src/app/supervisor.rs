//! The supervisor: the only place that starts tasks. Critical tasks end the agent when they end;
//! sources are started again after a while, and are themselves observed.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::engine::Observation;
use crate::engine::observation::{Part, PartSeen, PartState};
use crate::notify::BoxFuture;
use crate::sources::{Source, SourceContext};

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
        let why = match ended.and_then(Result::err).and_then(panic_text) {
            Some(text) => format!("it crashed ({text}); please report this"),
            None => "it ended by itself".to_owned(),
        };
        tracing::error!(task = name, why, "a listener has ended and is started again");
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(retry) => {}
        }
        retry = (retry * 2).min(LAST_RETRY);
        listening = again();
    }
}

async fn send(out: &mpsc::Sender<Observation>, part: &Part, state: PartState) -> bool {
    out.send(Observation::Part(PartSeen { part: part.clone(), state })).await.is_ok()
}
