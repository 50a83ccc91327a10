//! The standard variables of OpenTelemetry and Azure, as keys of `[telemetry]`, `[otlp]` and
//! `[azure]`. Like all variables they weigh more than files. They are set for other programs as
//! well: one that is not understood counts as not set, with a warning, and without an endpoint none
//! of them is looked at.

use percent_encoding::percent_decode_str;

use super::super::keys;
use super::super::sink::{Place, Sink};
use super::super::tree::{self, Entry, Node, Table, Value};

/// How a variable's text becomes a key's value.
#[derive(Clone, Copy)]
enum As {
    Text,
    /// Whole milliseconds.
    Milliseconds,
    /// `key=value,key2=value2`, percent-encoded.
    Pairs,
    /// Its words in other words; what is not listed is taken in lower case.
    Words(&'static [(&'static str, &'static str)]),
    /// A host, perhaps as the whole URL.
    Host,
}

/// A variable and the path of its key.
struct Variable {
    name: &'static str,
    path: &'static [&'static str],
    form: As,
}

const fn variable(name: &'static str, path: &'static [&'static str], form: As) -> Variable {
    Variable { name, path, form }
}

const HISTOGRAMS: As = As::Words(&[
    ("explicit_bucket_histogram", "explicit"),
    ("base2_exponential_bucket_histogram", "exponential"),
]);
const PLAIN: As = As::Words(&[]);

/// Where to; the first is for all signals.
const ENDPOINTS: [Variable; 3] = [
    variable("OTEL_EXPORTER_OTLP_ENDPOINT", &["otlp", "endpoint"], As::Text),
    variable("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", &["otlp", "metrics", "endpoint"], As::Text),
    variable("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", &["otlp", "logs", "endpoint"], As::Text),
];
/// By which protocol, in the order of [`ENDPOINTS`].
const PROTOCOLS: [&str; 3] = [
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
    "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL",
];
/// For whom besides: they go where the endpoints of the same place go, in the order of
/// [`ENDPOINTS`].
const HEADERS: [Variable; 3] = [
    variable("OTEL_EXPORTER_OTLP_HEADERS", &["otlp", "headers"], As::Pairs),
    variable("OTEL_EXPORTER_OTLP_METRICS_HEADERS", &["otlp", "metrics", "headers"], As::Pairs),
    variable("OTEL_EXPORTER_OTLP_LOGS_HEADERS", &["otlp", "logs", "headers"], As::Pairs),
];

const OTLP: &[Variable] = &[
    variable("OTEL_EXPORTER_OTLP_TIMEOUT", &["otlp", "timeout"], As::Milliseconds),
    variable("OTEL_EXPORTER_OTLP_COMPRESSION", &["otlp", "compression"], PLAIN),
    variable("OTEL_EXPORTER_OTLP_CERTIFICATE", &["otlp", "ca"], As::Text),
    variable(
        "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
        &["otlp", "metrics", "timeout"],
        As::Milliseconds,
    ),
    variable("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", &["otlp", "metrics", "compression"], PLAIN),
    variable("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", &["otlp", "logs", "timeout"], As::Milliseconds),
    variable("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", &["otlp", "logs", "compression"], PLAIN),
    variable("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", &["otlp", "temporality"], PLAIN),
    variable(
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        &["otlp", "histogram"],
        HISTOGRAMS,
    ),
];

/// For all receivers.
const TELEMETRY: &[Variable] = &[
    variable("OTEL_METRIC_EXPORT_INTERVAL", &["telemetry", "interval"], As::Milliseconds),
    variable(ATTRIBUTES, &["telemetry", "attributes"], As::Pairs),
    variable("OTEL_SERVICE_NAME", &["telemetry", "service_name"], As::Text),
];
const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

const CONNECTION: Variable =
    variable("APPLICATIONINSIGHTS_CONNECTION_STRING", &["azure", "connection_string"], As::Text);

/// As whom. Set on many machines for other programs.
const AZURE: &[Variable] = &[
    variable("AZURE_CLIENT_ID", &["azure", "client_id"], As::Text),
    variable("AZURE_TENANT_ID", &["azure", "tenant_id"], As::Text),
    variable("AZURE_CLIENT_SECRET", &["azure", "client_secret"], As::Text),
    variable("AZURE_FEDERATED_TOKEN_FILE", &["azure", "token_file"], As::Text),
    variable("AZURE_AUTHORITY_HOST", &["azure", "authority"], As::Host),
];

const DISABLED: &str = "OTEL_SDK_DISABLED";
/// Without `otlp` among them a signal does not go there.
const EXPORTERS: [(&str, &str); 2] =
    [("OTEL_METRICS_EXPORTER", "metrics"), ("OTEL_LOGS_EXPORTER", "logs")];
/// What other programs send by.
const OTHER_EXPORTERS: [&str; 4] = ["none", "prometheus", "console", "logging"];

/// What other senders understand and this one does not; better said than left to be found out.
const UNKNOWN: [&str; 6] = [
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_LOGS_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_KEY",
];

/// Every variable that sets something here.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let all = ENDPOINTS.iter().chain(&HEADERS).chain(OTLP).chain(TELEMETRY).chain([&CONNECTION]);
    all.chain(AZURE)
        .map(|v| v.name)
        .chain(PROTOCOLS)
        .chain(EXPORTERS.map(|(name, _)| name))
        .chain([DISABLED])
}

/// Lays the variables over the document.
pub(super) fn merge_into(document: &mut Table, sink: &mut Sink) {
    let aside = endpoints(document, sink);
    lay(&CONNECTION, document, sink);
    let otlp = ENDPOINTS.iter().any(|v| has(document, v.path));
    if !otlp && !has(document, CONNECTION.path) {
        return;
    }
    for variable in TELEMETRY {
        lay(variable, document, sink);
    }
    if otlp {
        for (variable, aside) in HEADERS.iter().zip(aside) {
            if !aside {
                lay(variable, document, sink);
            }
        }
        for variable in OTLP {
            lay(variable, document, sink);
        }
        exporters(document, sink);
        for name in UNKNOWN {
            if get(name, sink).is_some() {
                let at = sink.add_shared_variable(name);
                sink.warning(at, "keepwell does not know this variable: it does nothing").hint(
                    "OTEL_EXPORTER_OTLP_CERTIFICATE names further authorities for all signals",
                );
            }
        }
    }
    if otlp && is_azure(document) {
        for variable in AZURE {
            lay(variable, document, sink);
        }
    }
    if get(DISABLED, sink).is_some_and(|text| text.eq_ignore_ascii_case("true")) {
        let at = sink.add_shared_variable(DISABLED);
        sink.turn_off();
        for path in
            [["otlp", "metrics"], ["otlp", "logs"], ["azure", "metrics"], ["azure", "alerts"]]
        {
            put(document, &path, Value::Bool(false), at);
        }
    }
}

/// Lays the endpoints over the document, but those of another protocol than keepwell speaks;
/// which those are.
fn endpoints(document: &mut Table, sink: &mut Sink) -> [bool; 3] {
    let protocols = PROTOCOLS.map(|name| get(name, sink).map(|text| (name, text)));
    let mut aside = [false; 3];
    for (i, variable) in ENDPOINTS.iter().enumerate() {
        let protocol = protocols[i].as_ref().or(protocols[0].as_ref());
        let foreign = protocol.filter(|(_, text)| !is_spoken(text));
        let named = get(variable.name, sink).is_some();
        // The endpoint for all signals, where this signal goes by another protocol than they do.
        let common = i > 0 && !named && protocols[i].is_some() && !aside[0];
        match foreign {
            Some((name, _)) if named => {
                aside[i] = true;
                let at = sink.add_shared_variable(name);
                not_spoken(at, &format!("to {}", variable.name), sink);
            }
            Some((name, _))
                if common
                    && get(ENDPOINTS[0].name, sink).is_some()
                    && !has(document, variable.path) =>
            {
                let at = sink.add_shared_variable(name);
                not_spoken(at, &format!("of the {} by OTLP", variable.path[1]), sink);
                put(document, &variable.path[..2], Value::Bool(false), at);
            }
            _ => lay(variable, document, sink),
        }
    }
    aside
}

/// Whether a receiver by this protocol takes what keepwell sends: those that take JSON take
/// protobuf at the same address.
fn is_spoken(protocol: &str) -> bool {
    ["http/protobuf", "http/json"].iter().any(|known| known.eq_ignore_ascii_case(protocol))
}

fn not_spoken(at: Place, what: &str, sink: &mut Sink) {
    sink.turn_off();
    sink.warning(at, format!("keepwell speaks OTLP as http/protobuf only: nothing goes {what}"))
        .hint(
            "set http/protobuf and the collector's port for HTTP, usually 4318; or for keepwell \
             alone `otlp.endpoint` in its configuration",
        );
}

/// A signal whose exporters are named without OTLP does not go there.
fn exporters(document: &mut Table, sink: &mut Sink) {
    for (name, signal) in EXPORTERS {
        let Some(text) = get(name, sink) else { continue };
        let at = sink.add_shared_variable(name);
        let text = text.to_ascii_lowercase();
        let words: Vec<&str> = text.split(',').map(str::trim).collect();
        if words.contains(&"otlp") {
            continue;
        }
        if words.iter().all(|word| OTHER_EXPORTERS.contains(word)) {
            sink.turn_off();
            put(document, &["otlp", signal], Value::Bool(false), at);
        } else {
            sink.error(at, "keepwell knows the exporters otlp and none");
        }
    }
}

/// Lays one variable over the document, if it is set.
fn lay(variable: &Variable, document: &mut Table, sink: &mut Sink) {
    let Some(text) = get(variable.name, sink) else { return };
    let at = sink.add_shared_variable(variable.name);
    let value = match variable.form {
        As::Text => Value::Text(text),
        As::Milliseconds => match text.parse::<u64>() {
            Ok(number) => Value::Text(format!("{number}ms")),
            Err(_) => {
                sink.error(at, "this must be a whole number of milliseconds, such as 10000");
                return;
            }
        },
        As::Words(words) => {
            let lower = text.to_ascii_lowercase();
            let known = words.iter().find(|(word, _)| *word == lower);
            Value::Text(known.map_or(lower, |(_, meant)| (*meant).to_owned()))
        }
        As::Host if text.contains("://") => Value::Text(text),
        As::Host => Value::Text(format!("https://{text}")),
        As::Pairs => match pairs(&text, at) {
            Ok(mut table) => {
                if variable.name == ATTRIBUTES
                    && let Some(name) = table.remove("service.name")
                {
                    put(document, &["telemetry", "service_name"], name.node.value, at);
                }
                Value::Table(table)
            }
            Err((part, why)) => {
                // The part may hold a secret: only its number is said.
                sink.error(at, format!("part {part} {why}"))
                    .hint("it must be key=value,key2=value2, with %2C for a comma in a value");
                return;
            }
        },
    };
    put(document, variable.path, value, at);
}

fn get(name: &str, sink: &Sink) -> Option<String> {
    let text = sink.environment().get(name)?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// # Errors
/// The number of the part that is no pair, from 1, and why.
fn pairs(text: &str, at: Place) -> Result<Table, (usize, &'static str)> {
    let mut table = Table::new();
    for (i, part) in text.split(',').enumerate() {
        if part.trim().is_empty() {
            continue;
        }
        let decoded = |text: &str| match percent_decode_str(text.trim()).decode_utf8() {
            Ok(text) => Ok(text.into_owned()),
            Err(_) => Err((i + 1, "is not UTF-8 text once %xx is decoded")),
        };
        let (key, value) = part.split_once('=').ok_or((i + 1, "has no `=`"))?;
        let (key, value) = (decoded(key)?, decoded(value)?);
        if key.is_empty() {
            return Err((i + 1, "has nothing before its `=`"));
        }
        if !value.is_empty() {
            table.insert(key, Entry::new(at, Node { value: Value::Text(value), at }));
        }
    }
    Ok(table)
}

/// What stands at the end of a path of tables.
fn find<'a>(document: &'a Table, path: &[&str]) -> Option<&'a Value> {
    let (last, before) = path.split_last()?;
    let mut table = document;
    for key in before {
        let Value::Table(inner) = &table.get(*key)?.node.value else { return None };
        table = inner;
    }
    Some(&table.get(*last)?.node.value)
}

fn has(document: &Table, path: &[&str]) -> bool {
    find(document, path).is_some()
}

/// Whether something goes to Azure Monitor by OTLP, as far as the addresses or a file say.
fn is_azure(document: &Table) -> bool {
    let goes_there = |v: &Variable| match find(document, v.path) {
        Some(Value::Text(url)) => {
            let host = url.split("://").nth(1).and_then(|rest| rest.split(['/', '?', ':']).next());
            host.is_some_and(|host| host.to_ascii_lowercase().contains(".monitor.azure."))
        }
        _ => false,
    };
    let named = ["identity", "client_id", "tenant_id", "client_secret", "token_file"];
    ENDPOINTS.iter().any(goes_there) || named.iter().any(|key| has(document, &["azure", key]))
}

/// Lays a value over the document, at the end of a path of tables. A file that says that a signal
/// is not sent is not overruled by how it would be.
fn put(document: &mut Table, path: &[&str], value: Value, at: Place) {
    if let [section, signal, _] = path
        && matches!(find(document, &[section, signal]), Some(Value::Bool(false)))
    {
        return;
    }
    let whole = path.iter().rev().fold(value, |value, key| {
        let entry = Entry::new(at, Node { value, at });
        Value::Table(Table::from([((*key).to_owned(), entry)]))
    });
    if let Value::Table(table) = whole {
        tree::merge(document, table, keys::ROOT);
    }
}
