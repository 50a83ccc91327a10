//! What a receiver of measurements and log records is.

use hyper::body::Bytes;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::LogBatch;
use opentelemetry_sdk::metrics::data::ResourceMetrics;

use crate::engine::Now;
use crate::outbound::{BoxFuture, SendError};

/// A body, ready to be posted; it does not change from try to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Compressed, if the receiver takes that.
    pub(crate) body: Bytes,
    /// How many measurements or records are in it.
    pub(crate) items: usize,
}

/// A receiver took a batch, perhaps not all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// What it answered, in one line.
    pub(crate) said: String,
    /// So many items it refused for good.
    pub(crate) rejected: usize,
    /// Why, or a warning; in its words, without secrets.
    pub(crate) note: Option<String>,
    /// What it wants to be sent again.
    pub(crate) rest: Option<Batch>,
}

/// A receiver at one address.
pub(crate) trait Wire: Send + Sync {
    /// Measurements as this receiver takes them.
    ///
    /// # Errors
    /// When they cannot be written; in words.
    fn metrics(&self, metrics: &ResourceMetrics, resource: &Resource) -> Result<Batch, String>;

    /// Log records as this receiver takes them.
    ///
    /// # Errors
    /// When they cannot be written; in words.
    fn logs(&self, records: &LogBatch<'_>, resource: &Resource) -> Result<Batch, String>;

    /// Posts a batch once, within the time that the configuration gives it.
    fn post<'a>(&'a self, batch: &'a Batch, now: Now) -> BoxFuture<'a, Result<Taken, SendError>>;
}
