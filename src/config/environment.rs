//! The environment: read from the process in one place, passed on as a map, and turned into one
//! more document that lies over the files.

use std::collections::BTreeMap;

use super::keys;
use super::sink::{Place, Sink};
use super::tree::{self, Entry, Node, Table, Value};

mod channels;
mod hooks;
mod telemetry;

/// A variable that sets a key, and how its text becomes the key's value.
struct Variable {
    name: &'static str,
    table: &'static str,
    key: &'static str,
    /// The unit of a plain number.
    unit: &'static str,
}

/// In rising weight: where two set the same key, the later one wins.
const VARIABLES: [Variable; 6] = [
    Variable { name: "HEALTH_INTERVAL_SECONDS", table: "agent", key: "interval", unit: "s" },
    Variable { name: "SERVICE_CHECK_INTERVAL", table: "agent", key: "interval", unit: "s" },
    Variable { name: "MONITOR_INTERVAL", table: "agent", key: "interval", unit: "s" },
    Variable { name: "ALERT_COOLDOWN_MINUTES", table: "alerts", key: "cooldown", unit: "m" },
    Variable { name: "ALERT_COOLDOWN", table: "alerts", key: "cooldown", unit: "s" },
    Variable { name: "HEALTH_RETENTION_DAYS", table: "store", key: "retention", unit: "d" },
];
const LISTEN: &str = "KEEPWELL_HTTP_LISTEN";
const TOKEN: &str = "KEEPWELL_HTTP_TOKEN";
const ROOT: &str = "KEEPWELL_HOST_ROOT";
/// Names the configuration file.
pub(super) const CONFIG: &str = "KEEPWELL_CONFIG";

/// Every variable that sets something in the configuration.
pub fn names() -> impl Iterator<Item = &'static str> {
    VARIABLES
        .iter()
        .map(|v| v.name)
        .chain([LISTEN, TOKEN, ROOT, CONFIG])
        .chain(channels::NAMES)
        .chain(hooks::NAMES)
        .chain(telemetry::names())
}

/// The variables of a process. An empty one counts as not set.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Those of this process. A variable that is not UTF-8 is left out.
    pub fn from_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The value of a variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(variables: T) -> Self {
        Self(variables.into_iter().map(|(n, v)| (n.into(), v.into())).collect())
    }
}

impl std::fmt::Debug for Environment {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Lays the variables over the document.
pub(super) fn merge_into(document: &mut Table, sink: &mut Sink) {
    for variable in &VARIABLES {
        if let Some(text) = sink.environment().get(variable.name).map(str::to_owned) {
            let text = text.trim();
            let plain = text.parse::<f64>().is_ok_and(f64::is_finite);
            let unit = if plain { variable.unit } else { "" };
            let value = Value::Text(format!("{text}{unit}"));
            put(document, sink, variable.name, variable.table, variable.key, |_| value);
        }
    }
    if let Some(text) = sink.environment().get(LISTEN).map(|t| t.trim().to_owned()) {
        put(document, sink, LISTEN, "http", "listen", |at| match text.as_str() {
            "off" | "false" => Value::Bool(false),
            _ => Value::List(
                text.split(',')
                    .map(|one| Node { value: Value::Text(one.trim().to_owned()), at })
                    .collect(),
            ),
        });
    }
    for (name, table, key) in [(TOKEN, "http", "token"), (ROOT, "host", "root")] {
        if let Some(text) = sink.environment().get(name).map(str::to_owned) {
            put(document, sink, name, table, key, |_| Value::Text(text));
        }
    }
    channels::merge_into(document, sink);
    hooks::merge_into(document, sink);
    telemetry::merge_into(document, sink);
}

fn put(
    document: &mut Table,
    sink: &mut Sink,
    name: &'static str,
    table: &str,
    key: &str,
    value: impl FnOnce(Place) -> Value,
) {
    let at = sink.add_variable(name);
    let entry = Entry::new(at, Node { value: value(at), at });
    let inner = Value::Table(Table::from([(key.to_owned(), entry)]));
    let outer = Entry::new(at, Node { value: inner, at });
    tree::merge(document, Table::from([(table.to_owned(), outer)]), keys::ROOT);
}
