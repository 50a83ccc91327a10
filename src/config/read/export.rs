//! Reading `[telemetry]`, `[otlp]` and `[azure]`, and the channels that follow from them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::rules::ChannelRule;

use super::super::secret::Secret;
use super::super::section::{Reader, Section};
use super::super::settings::{
    Azure, ChannelSection, Cloud, Identity, Otlp, Outbound, Signal, Telemetry, Temporality,
};
use super::super::sink::{Place, Sink};
use super::super::tree::Table;
use super::super::values::brief;
use super::{DAY, HOUR, SECOND, Sections};

const MINUTE: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(10);
const GZIP: [(&str, bool); 2] = [("gzip", true), ("none", false)];

/// What is sent to collectors.
pub(super) fn telemetry(
    sections: &mut Sections,
    outbound: &Outbound,
    sink: &mut Sink,
) -> Telemetry {
    let mut telemetry = Telemetry {
        interval: MINUTE,
        service_name: "keepwell".into(),
        attributes: Default::default(),
        cloud: Cloud::Auto,
        buffer: 1 << 20,
        warn_after: 5 * MINUTE,
        otlp: otlp(sections, outbound, sink),
        azure: azure(sections, outbound, sink),
    };
    let Some(mut reader) = sections.table("telemetry", sink) else { return telemetry };
    if let Some(interval) = reader.duration("interval", SECOND, HOUR) {
        telemetry.interval = interval;
    }
    if let Some(name) = reader.text("service_name") {
        telemetry.service_name = name;
    }
    for (key, (text, at)) in reader.text_map("attributes").unwrap_or_default() {
        if key == "service.name" {
            let message = "`telemetry.attributes` cannot hold service.name";
            reader.sink().error(at, message).hint("set `telemetry.service_name`");
        } else {
            telemetry.attributes.insert(key, text);
        }
    }
    let clouds = [("auto", Cloud::Auto), ("azure", Cloud::Azure), ("none", Cloud::None)];
    if let Some(cloud) = reader.one_of("cloud", &clouds) {
        telemetry.cloud = cloud;
    }
    if let Some(buffer) = reader.size("buffer", 64 << 10, 64 << 20) {
        telemetry.buffer = buffer;
    }
    if let Some(after) = reader.duration("warn_after", 10 * SECOND, DAY) {
        telemetry.warn_after = after;
    }
    reader.finish();
    telemetry
}

/// By name in lower case.
type Headers = BTreeMap<String, (Secret, Place)>;

/// The keys of a request that `[otlp]` and each signal have.
struct Way {
    headers: Headers,
    timeout: Duration,
    gzip: bool,
}

impl Way {
    /// What is not said is as in `self`.
    fn read(&self, reader: &mut Reader<'_>) -> Self {
        let mut headers = self.headers.clone();
        headers.extend(own_headers(reader));
        Self {
            headers,
            timeout: reader.duration("timeout", SECOND, MINUTE).unwrap_or(self.timeout),
            gzip: reader.one_of("compression", &GZIP).unwrap_or(self.gzip),
        }
    }
}

/// The headers of a section. Their names are the same in capitals and in small letters.
fn own_headers(reader: &mut Reader<'_>) -> Headers {
    let mut headers = Headers::new();
    for (name, (value, at)) in reader.secret_map("headers").unwrap_or_default() {
        let lower = name.to_ascii_lowercase();
        let sink = reader.sink();
        match headers.get(&lower) {
            Some((_, other)) if sink.is_shared(*other) => {}
            Some((_, other)) if !sink.is_shared(at) => {
                let other = sink.describe(*other);
                let message = format!("the header `{}` is there already, at {other}", brief(&name));
                sink.error(at, message).hint("keep one of the two");
            }
            _ => drop(headers.insert(lower, (value, at))),
        }
    }
    headers
}

fn otlp(sections: &mut Sections, outbound: &Outbound, sink: &mut Sink) -> Otlp {
    let mut otlp = Otlp { outbound: outbound.clone(), ..Otlp::default() };
    let Some(mut reader) = sections.table("otlp", sink) else { return otlp };
    let off = ["metrics", "logs"].map(|key| matches!(reader.table_or_off(key), Some(None)));
    let generic = reader.address("endpoint");
    if let Some((url, at)) = &generic {
        odd_endpoint(url, *at, &mut reader);
    }
    let way = Way { headers: Default::default(), timeout: TIMEOUT, gzip: true }.read(&mut reader);
    let temporalities = [
        ("cumulative", Temporality::Cumulative),
        ("delta", Temporality::Delta),
        ("lowmemory", Temporality::LowMemory),
    ];
    otlp.temporality = reader.one_of("temporality", &temporalities);
    otlp.exponential = reader.one_of("histogram", &[("explicit", false), ("exponential", true)]);
    let usual = |path: &str| generic.as_ref().map(|(url, at)| (below(url, path), *at));
    otlp.metrics = signal(&mut reader, "metrics", usual("/v1/metrics"), &way);
    otlp.logs = signal(&mut reader, "logs", usual("/v1/logs"), &way);
    otlp.own_ca = own_network(&mut reader, &mut otlp.outbound);
    let nowhere = otlp.metrics.is_none() && otlp.logs.is_none() && off != [true; 2];
    if nowhere && !reader.has("endpoint") && !reader.sink().has_left_out() {
        let at = reader.place_of("endpoint");
        reader
            .sink()
            .warning(at, "[otlp] does not say where to: nothing is sent")
            .hint("set `otlp.endpoint`, or OTEL_EXPORTER_OTLP_ENDPOINT");
    }
    reader.finish();
    otlp
}

/// The address of a signal below that for all; what is asked there stays behind it.
fn below(url: &str, path: &str) -> String {
    let (base, query) = url.split_at(url.find(['?', '#']).unwrap_or(url.len()));
    format!("{}{path}{query}", base.trim_end_matches('/'))
}

/// Warns of an address for all signals that is meant for one of them, or for gRPC.
fn odd_endpoint(url: &str, at: Place, reader: &mut Reader<'_>) {
    let base = url.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    if let Some(path) =
        ["/v1/metrics", "/v1/logs", "/v1/traces"].iter().find(|p| base.ends_with(*p))
    {
        reader
            .sink()
            .warning(
                at,
                format!("`otlp.endpoint` ends in {path}, and the path of a signal is added"),
            )
            .hint("leave that out, or set `otlp.metrics.endpoint` and `otlp.logs.endpoint`");
    }
    port_of_grpc(url, at, reader);
}

fn port_of_grpc(url: &str, at: Place, reader: &mut Reader<'_>) {
    let authority = url.split(['/', '?', '#']).nth(2).unwrap_or_default();
    if authority.ends_with(":4317") {
        reader
            .sink()
            .warning(at, "port 4317 is usually that of OTLP over gRPC, and keepwell speaks HTTP")
            .hint("the collector's port for HTTP is usually 4318");
    }
}

/// Warns of an address for one signal that looks like one for all.
fn no_path(url: &str, at: Place, key: &str, reader: &mut Reader<'_>) {
    let mut parts = url.splitn(4, ['/', '?', '#']).skip(3);
    if parts.any(|path| !path.is_empty()) {
        return;
    }
    reader
        .sink()
        .warning(at, format!("`otlp.{key}.endpoint` has no path, and it is used as it is"))
        .hint(format!("most collectors want /v1/{key}; `otlp.endpoint` gets it added"));
}

/// Where a signal goes: `usual`, unless its table says otherwise; nowhere when that is `false`.
fn signal(
    reader: &mut Reader<'_>,
    key: &'static str,
    usual: Option<(String, Place)>,
    way: &Way,
) -> Option<Signal> {
    let found = reader.table_or_off(key);
    let off = matches!(found, Some(None));
    let empty = Section::new("", "", reader.place_of(key), Table::new());
    let section = found.flatten().unwrap_or(empty);
    let mut inner = section.read(reader.sink());
    let own = inner.address("endpoint");
    if let Some((url, at)) = &own {
        no_path(url, *at, key, &mut inner);
        port_of_grpc(url, *at, &mut inner);
    }
    let Way { headers, timeout, gzip } = way.read(&mut inner);
    inner.finish();
    let (url, at) = own.or(usual)?;
    (!off).then_some(Signal { url, at, headers, timeout, gzip })
}

fn azure(sections: &mut Sections, outbound: &Outbound, sink: &mut Sink) -> Azure {
    let mut azure = Azure {
        connection_string: None,
        metrics: true,
        alerts: true,
        identity: Identity::Auto,
        places: Default::default(),
        client_id: None,
        tenant_id: None,
        client_secret: None,
        token_file: None,
        authority: "https://login.microsoftonline.com".into(),
        metadata: "http://169.254.169.254".into(),
        timeout: TIMEOUT,
        outbound: outbound.clone(),
        own_ca: false,
    };
    let otlp = sections.tables.contains_key("otlp") || sink.has_left_out();
    let Some(mut reader) = sections.table("azure", sink) else { return azure };
    let at = reader.place_of("connection_string");
    azure.connection_string = reader.secret("connection_string").map(|secret| (secret, at));
    azure.metrics = reader.bool("metrics").unwrap_or(true);
    azure.alerts = reader.bool("alerts").unwrap_or(true);
    let identities = [
        ("auto", Identity::Auto),
        ("managed", Identity::Managed),
        ("workload", Identity::Workload),
        ("client-secret", Identity::ClientSecret),
        ("none", Identity::None),
    ];
    azure.identity = reader.one_of("identity", &identities).unwrap_or(Identity::Auto);
    if !otlp && !matches!(azure.identity, Identity::Auto | Identity::None) {
        let at = reader.place_of("identity");
        reader.sink().warning(at, "`azure.identity` is of no use: nothing is sent by OTLP").hint(
            "set `otlp.metrics.endpoint` and `otlp.logs.endpoint`; a connection string \
                   needs no identity",
        );
    }
    azure.client_id = reader.text("client_id");
    azure.tenant_id = reader.text("tenant_id");
    azure.client_secret = reader.secret("client_secret");
    azure.token_file = reader.path("token_file");
    let named = [
        "identity",
        "client_id",
        "tenant_id",
        "client_secret",
        "token_file",
        "authority",
        "metadata",
    ];
    let set: Vec<_> = named.into_iter().filter(|key| reader.has(key)).collect();
    azure.places = set.into_iter().map(|key| (key, reader.place_of(key))).collect();
    if let Some((url, _)) = reader.address("authority") {
        azure.authority = url.trim_end_matches('/').to_owned();
    }
    if let Some((url, _)) = reader.address("metadata") {
        azure.metadata = url.trim_end_matches('/').to_owned();
    }
    if let Some(timeout) = reader.duration("timeout", SECOND, MINUTE) {
        azure.timeout = timeout;
    }
    azure.own_ca = own_network(&mut reader, &mut azure.outbound);
    reader.finish();
    azure
}

/// Reads `ca` and `proxy` over those of `[outbound]`; whether `ca` is there.
fn own_network(reader: &mut Reader<'_>, outbound: &mut Outbound) -> bool {
    let ca = reader.path("ca");
    let own_ca = ca.is_some();
    if own_ca {
        outbound.ca = ca;
        outbound.ca_at = Some(reader.place_of("ca"));
    }
    if let Some(proxy) = reader.proxy("proxy") {
        outbound.proxy = proxy;
        outbound.proxy_at = Some(reader.place_of("proxy"));
    }
    own_ca
}

/// Whoever says where alerts go as log records need not write a channel as well: one of that type
/// and name is added, unless there is one of the type already.
pub(super) fn add_channels(
    telemetry: &Telemetry,
    channels: &mut Vec<ChannelSection>,
    names: &mut Vec<String>,
    sink: &mut Sink,
) {
    let logs = telemetry.otlp.logs.as_ref().map(|signal| signal.at);
    let traces = telemetry.azure.connection_string.as_ref().map(|(_, at)| *at);
    let traces = traces.filter(|_| telemetry.azure.alerts);
    for (kind, at) in [("otlp", logs), ("azure", traces)] {
        let Some(at) = at else {
            // A route may name it; that nothing goes there is a variable's doing.
            if sink.has_left_out() && !names.iter().any(|name| name == kind) {
                names.push(kind.to_owned());
            }
            continue;
        };
        if channels.iter().any(|channel| channel.kind == kind) {
            continue;
        }
        if names.iter().any(|name| name == kind) {
            let message =
                format!("alerts do not go there: `{kind}` is the name of another channel");
            sink.warning(at, message)
                .hint(format!("add a [[channel]] of type \"{kind}\" under another name"));
            continue;
        }
        names.push(kind.to_owned());
        let name: Arc<str> = kind.into();
        let rule = ChannelRule { name: name.clone(), ..ChannelRule::new(kind, kind) };
        let section = Section::new(&format!("channel {kind}"), "channel", at, Table::new());
        channels.push(ChannelSection { name, kind: kind.into(), rule, section, kind_at: at });
    }
}
