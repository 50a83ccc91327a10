//! Log records on their way to a receiver.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use opentelemetry::InstrumentationScope;
use opentelemetry::logs::{LogRecord, Logger, LoggerProvider};
use opentelemetry_sdk::logs::{LogBatch, SdkLogRecord, SdkLogger, SdkLoggerProvider};

use super::origin::Origin;
use super::wire::Wire;
use crate::engine::Now;
use crate::outbound::{Retry, SendError};

/// A receiver of log records.
#[derive(Clone)]
pub(crate) struct LogReceiver {
    pub(super) wire: Arc<dyn Wire>,
    pub(super) origin: Arc<Origin>,
    logger: SdkLogger,
}

impl LogReceiver {
    pub(super) fn new(wire: Arc<dyn Wire>, origin: Arc<Origin>) -> Self {
        let logger = SdkLoggerProvider::builder().build().logger("keepwell");
        Self { wire, origin, logger }
    }

    /// An empty record, observed now: the encoder of OTLP panics on one that is not.
    pub(crate) fn record(&self, now: Now) -> SdkLogRecord {
        let mut record = self.logger.create_log_record();
        let since = u64::try_from(now.wall.0).unwrap_or(0);
        record.set_observed_timestamp(UNIX_EPOCH + Duration::from_micros(since));
        record
    }

    /// Sends records once, all of them in one request. What the receiver answered.
    ///
    /// # Errors
    /// When it has not taken all of them.
    pub(crate) async fn send(
        &self,
        records: &[SdkLogRecord],
        now: Now,
    ) -> Result<String, SendError> {
        let scope = InstrumentationScope::builder("keepwell")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        let with_scope: Vec<_> = records.iter().map(|record| (record, &scope)).collect();
        let resource = self.origin.resource(now).await;
        let never = |text| SendError { retry: Retry::Never, text };
        let batch = self.wire.logs(&LogBatch::new(&with_scope), &resource).map_err(never)?;
        let taken = self.wire.post(&batch, now).await?;
        if let Some(rest) = taken.rest {
            let text = format!("{} of {} records are to be sent again", rest.items, batch.items);
            return Err(SendError { retry: Retry::Later(None), text });
        }
        let note = taken.note.map(|note| format!(": {note}")).unwrap_or_default();
        if taken.rejected > 0 {
            let text = format!("{} of {} records refused{note}", taken.rejected, batch.items);
            return Err(never(text));
        }
        Ok(format!("{}{note}", taken.said))
    }
}
