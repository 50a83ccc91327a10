//! From a configuration to exporters and wires.

use std::path::Path;
use std::sync::Arc;

use opentelemetry_sdk::metrics::Temporality;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::azure::{self, Identities};
use super::exporter::Exporter;
use super::logs::LogReceiver;
use super::origin::{Host, Origin};
use super::otlp::{OtlpWire, Signal};
use crate::config::sink::Place;
use crate::config::{self, Config, Sink};
use crate::outbound::{self, Clients, Secrets, Way};

/// Headers that keepwell sets itself.
const OWN: [&str; 5] =
    ["content-type", "content-encoding", "content-length", "transfer-encoding", "host"];

/// All that is sent to collectors, and by which way.
#[derive(Default)]
pub struct Receivers {
    /// Of measurements.
    pub exporters: Vec<Arc<Exporter>>,
    /// Of log records by OTLP.
    pub(crate) otlp_logs: Option<LogReceiver>,
    /// Of traces at Application Insights.
    pub(crate) azure_logs: Option<LogReceiver>,
    /// Who sends.
    pub(super) origin: Option<Arc<Origin>>,
}

/// Makes what a configuration asks for; what is wrong with it goes into the sink.
pub(crate) fn receivers(config: &Config, clients: &mut Clients, sink: &mut Sink) -> Receivers {
    let mut receivers = Receivers::default();
    otlp(&mut receivers, config, clients, sink);
    insights(&mut receivers, config, clients, sink);
    receivers
}

/// What goes out by OTLP.
fn otlp(receivers: &mut Receivers, config: &Config, clients: &mut Clients, sink: &mut Sink) {
    let settings = &config.telemetry;
    let otlp = &settings.otlp;
    let first = otlp.metrics.as_ref().or(otlp.logs.as_ref()).map(|signal| signal.at);
    let Some(at) = first else { return };
    let Some(way) = otlp_way(config, at, clients, sink) else { return };
    let origin = receivers.origin(config);
    let mut identities = Identities::new(&settings.azure);
    if let Some(signal) = &otlp.metrics
        && let Some(wire) = wire(signal, Signal::Metrics, &way, &mut identities, clients, sink)
    {
        let azure = wire.tokens.is_some() || azure::is_endpoint(&wire.url);
        let temporality = match (otlp.temporality, azure) {
            (Some(config::Temporality::Cumulative), _) | (None, false) => Temporality::Cumulative,
            (Some(config::Temporality::Delta), _) | (None, true) => Temporality::Delta,
            (Some(config::Temporality::LowMemory), _) => Temporality::LowMemory,
        };
        receivers.exporters.push(Arc::new(Exporter {
            name: "otlp".into(),
            wire: Arc::new(wire),
            origin: origin.clone(),
            temporality,
            exponential: otlp.exponential.unwrap_or(azure),
            interval: settings.interval,
            buffer: usize::try_from(settings.buffer).unwrap_or(usize::MAX),
            warn_after: settings.warn_after,
        }));
    }
    if let Some(signal) = &otlp.logs {
        let wire = wire(signal, Signal::Logs, &way, &mut identities, clients, sink);
        receivers.otlp_logs = wire.map(|wire| LogReceiver::new(Arc::new(wire), origin));
    }
}

/// The way of OTLP. The certificates of a variable that cannot be had are left out.
fn otlp_way(config: &Config, at: Place, clients: &mut Clients, sink: &mut Sink) -> Option<Way> {
    let otlp = &config.telemetry.otlp;
    let way = outbound::way_of(&otlp.outbound, otlp.own_ca, at, clients, sink);
    let by_variable = otlp.outbound.ca_at.is_some_and(|at| sink.is_shared(at));
    if way.is_some() || !by_variable {
        return way;
    }
    let usual = config::Outbound {
        ca: config.outbound.ca.clone(),
        ca_at: config.outbound.ca_at,
        ..otlp.outbound.clone()
    };
    outbound::way_of(&usual, false, at, clients, sink)
}

impl Receivers {
    /// Who sends: the same for all.
    fn origin(&mut self, config: &Config) -> Arc<Origin> {
        self.origin
            .get_or_insert_with(|| {
                let host = Host::read();
                let ask = azure::asker(&config.telemetry, Path::new("/sys"));
                Arc::new(Origin::new(&config.telemetry, &config.rules, &host, ask))
            })
            .clone()
    }
}

/// What goes to Application Insights.
#[cfg(feature = "application-insights")]
fn insights(receivers: &mut Receivers, config: &Config, clients: &mut Clients, sink: &mut Sink) {
    use super::insights::InsightsWire;

    let settings = &config.telemetry;
    let azure = &settings.azure;
    let Some((text, at)) = &azure.connection_string else { return };
    let way = outbound::way_of(&azure.outbound, azure.own_ca, *at, clients, sink);
    let wire = way.and_then(|way| InsightsWire::new(text, *at, azure.timeout, way, sink));
    let Some(wire) = wire else { return };
    let wire: Arc<dyn super::wire::Wire> = Arc::new(wire);
    let origin = receivers.origin(config);
    if azure.metrics {
        receivers.exporters.push(Arc::new(Exporter {
            name: "azure".into(),
            wire: wire.clone(),
            origin: origin.clone(),
            // It adds up what it gets, and does not look at buckets.
            temporality: Temporality::Delta,
            exponential: false,
            interval: settings.interval,
            buffer: usize::try_from(settings.buffer).unwrap_or(usize::MAX),
            warn_after: settings.warn_after,
        }));
    }
    if azure.alerts {
        receivers.azure_logs = Some(LogReceiver::new(wire, origin));
    }
}

#[cfg(not(feature = "application-insights"))]
fn insights(_: &mut Receivers, config: &Config, _: &mut Clients, sink: &mut Sink) {
    if let Some((_, at)) = &config.telemetry.azure.connection_string {
        let message = "this keepwell is built without Application Insights";
        sink.error(*at, message).hint(
            "take one that is built with the feature application-insights, or send OTLP to Azure \
             Monitor with `otlp.endpoint` and `azure.identity`",
        );
    }
}

fn wire(
    signal: &config::Signal,
    kind: Signal,
    way: &Way,
    identities: &mut Identities<'_>,
    clients: &mut Clients,
    sink: &mut Sink,
) -> Option<OtlpWire> {
    let url = match Url::parse(&signal.url) {
        Ok(url) => url,
        Err(error) => {
            sink.error(signal.at, format!("the endpoint is no valid URL: {error}"));
            return None;
        }
    };
    let mut headers = HeaderMap::new();
    let mut secrets = Secrets::default();
    for (name, (value, at)) in &signal.headers {
        let header = HeaderName::try_from(name.as_str());
        let text = HeaderValue::try_from(value.expose());
        match (header, text) {
            (Ok(header), _) if OWN.contains(&header.as_str()) => {
                sink.error(*at, format!("keepwell sets the header {header} itself"));
            }
            (Ok(header), Ok(mut text)) => {
                text.set_sensitive(true);
                secrets.add(value.expose());
                headers.insert(header, text);
            }
            (Err(_), _) => {
                sink.error(
                    *at,
                    format!("`{}` cannot be the name of a header", name.escape_debug()),
                );
            }
            (_, Err(_)) => {
                sink.error(*at, format!("the value of the header {name} has control characters"));
            }
        }
    }
    let tokens = identities.tokens(signal, &url, clients, sink);
    let way = match tokens {
        Some(_) => azure::guarded(way, &url, signal.at, sink)?,
        None => way.clone(),
    };
    Some(OtlpWire {
        signal: kind,
        url,
        headers,
        timeout: signal.timeout,
        gzip: signal.gzip,
        way,
        secrets,
        tokens,
    })
}
