//! Alerts as log records, for collectors of telemetry: by OTLP, and to Application Insights.

pub(super) mod records;

use std::sync::Arc;
use std::time::Duration;

use super::{BoxFuture, Channel, Kind, Outgoing, Reading, SendError};
use crate::outbound::Retry;
use crate::telemetry::LogReceiver;

/// A receiver that refuses everything is asked again after this.
const AGAIN: Duration = Duration::from_secs(60);

pub(super) const OTLP: Kind = Kind {
    name: "otlp",
    doc: "sends alerts as log records by OTLP, to where [otlp] says",
    keys: &[],
    read: read_otlp,
};

pub(super) const AZURE: Kind = Kind {
    name: "azure",
    doc: "sends alerts as traces to Application Insights, as [azure] says",
    keys: &[],
    read: read_azure,
};

fn read_otlp(reading: &mut Reading<'_>) -> Option<Arc<dyn Channel>> {
    let receiver = reading.receivers.otlp_logs.clone();
    let hint = "set `otlp.endpoint` or `otlp.logs.endpoint`; `otlp.logs` must not be false";
    channel(reading, receiver, "nowhere is said where alerts go by OTLP", hint)
}

fn read_azure(reading: &mut Reading<'_>) -> Option<Arc<dyn Channel>> {
    let receiver = reading.receivers.azure_logs.clone();
    let hint = "set `azure.connection_string`; `azure.alerts` must not be false";
    channel(reading, receiver, "there is no Application Insights to write to", hint)
}

fn channel(
    reading: &mut Reading<'_>,
    receiver: Option<LogReceiver>,
    missing: &str,
    hint: &str,
) -> Option<Arc<dyn Channel>> {
    let Reading { section, sink, .. } = reading;
    section.section.read(sink).finish();
    let Some(receiver) = receiver else {
        let at = section.section.place();
        if sink.has_left_out() {
            // What a fleet's environment says must not stop keepwell.
            if !sink.is_shared(at) {
                let message = format!("this channel is told nothing: {missing}");
                sink.warning(at, message).hint("a variable says so, or is not understood");
            }
        } else if !sink.has_errors() {
            sink.error(at, missing).hint(hint);
        }
        return None;
    };
    Some(Arc::new(Collector { name: section.name.clone(), receiver }))
}

struct Collector {
    name: Arc<str>,
    receiver: LogReceiver,
}

impl Channel for Collector {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn send<'a>(&'a self, message: &'a Outgoing) -> BoxFuture<'a, Result<String, SendError>> {
        Box::pin(async move {
            let records = records::records(message, &|| self.receiver.record(message.now));
            let mut sent = self.receiver.send(&records, message.now).await;
            // Its address or key is mended on its own side as often as here: no reason to rest
            // until the configuration is loaded again. Measurements do the same.
            if let Err(error) = &mut sent
                && error.retry == Retry::Stop
            {
                error.retry = Retry::Later(Some(AGAIN));
            }
            sent
        })
    }
}
