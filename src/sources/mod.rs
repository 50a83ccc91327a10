//! Sources see one kind of thing each and send [`Observation`]s. They decide nothing.
//!
//! A new source is one new file here, one word in this list, and one line in `app::plan`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::engine::Observation;
use crate::engine::observation::SourceKind;

pub mod containers;
pub mod heartbeats;
pub mod host;
pub mod journal;
pub mod probes;
pub mod units;

/// What a source needs to run.
#[derive(Clone)]
pub struct SourceContext {
    /// Where observations go; bounded, so a source waits when the driver is behind.
    pub out: mpsc::Sender<Observation>,
    /// Cancelled when the source is to stop.
    pub stop: CancellationToken,
    /// Notified when the source is to look at everything again now.
    pub resync: Arc<Notify>,
    /// Look once at everything, send the [`Observation::Round`], and return.
    pub once: bool,
}

/// The driver no longer listens: the agent is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the driver has stopped")]
pub struct Closed;

impl SourceContext {
    /// Sends one observation.
    ///
    /// # Errors
    /// [`Closed`] when the driver is gone; the source then returns.
    pub async fn send(&self, seen: Observation) -> Result<(), Closed> {
        self.out.send(seen).await.map_err(|_| Closed)
    }
}

/// Why a source ended other than by being stopped. The supervisor starts it again after a while,
/// and the engine shows the text as the state of `agent:source-…`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);

/// The future that a source runs as.
pub type Running<'a> = Pin<Box<dyn Future<Output = Result<(), SourceError>> + 'a>>;

/// Runs a source that cannot fail. It ends by itself after one round, or when nobody listens any more.
fn until_stopped<'a>(
    stop: CancellationToken,
    watch: impl Future<Output = Result<(), Closed>> + 'a,
) -> Running<'a> {
    Box::pin(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            _ = watch => {}
        }
        Ok(())
    })
}

/// One kind of thing, seen.
pub trait Source {
    /// Which.
    fn kind(&self) -> SourceKind;

    /// Observes until `context.stop` is cancelled, or once. A fault of the thing observed (bus
    /// gone, mount hangs) is an observation, not an error: the source waits and tries again.
    fn run(&mut self, context: SourceContext) -> Running<'_>;
}
