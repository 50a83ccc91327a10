//! From the merged document to [`Config`]: reads every section, key by key, and checks what only
//! makes sense together. The checks of values that the engine decides by are the engine's own.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::Severity;
use crate::engine::rules::{Confirm, Levels, Rules, UnitRule};

use super::diagnostic::Diagnostics;
use super::files::Options;
use super::keys::{Kind, ROOT};
use super::section::{Reader, Section};
use super::settings::{Agent, Config, HostFilters, Http, Journal, Store};
use super::sink::{Place, Sink};
use super::tree::{Table, Value};

mod alerts;
mod channels;
mod containers;
mod export;
mod hooks;
mod probes;
mod restarts;
mod units;

use alerts::Told;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const FOREVER: Duration = Duration::from_secs(3650 * 86_400);
const SEVERITY: [(&str, Severity); 2] =
    [("warning", Severity::Warning), ("critical", Severity::Critical)];

/// The sections of a document, by name.
struct Sections {
    tables: BTreeMap<&'static str, Section>,
    lists: BTreeMap<&'static str, Vec<Section>>,
}

impl Sections {
    fn table<'a>(&'a mut self, name: &'static str, sink: &'a mut Sink) -> Option<Reader<'a>> {
        self.tables.get(name).map(|section| section.read(sink))
    }

    fn list(&mut self, name: &str) -> Vec<Section> {
        self.lists.remove(name).unwrap_or_default()
    }
}

/// Reads everything.
pub(super) fn config(document: &Table, options: &Options, sink: &mut Sink) -> Config {
    let mut sections = split(document, sink);
    let mut rules = Rules { host: options.hostname.as_str().into(), ..Rules::default() };

    let mut told = Told::default();

    let agent = agent(&mut sections, &mut rules, sink);
    let host = host(&mut sections, &mut rules, &mut told, sink);
    let heartbeat_places = units::units(&mut sections, &mut rules, &mut told, sink);
    let probes = probes::probes(&mut sections, &mut rules, &mut told, sink);
    let containers = containers::containers(&mut sections, &mut rules, &mut told, sink);
    let hooks = hooks::hooks(&mut sections, sink);
    rules.hooks = hooks.iter().map(|hook| hook.rule.clone()).collect();
    let (mut channels, mut names) = channels::channels(&mut sections, sink);
    let outbound = channels::outbound(&mut sections, sink);
    let telemetry = export::telemetry(&mut sections, &outbound, sink);
    export::add_channels(&telemetry, &mut channels, &mut names, sink);
    rules.channels = channels.iter().map(|channel| channel.rule.clone()).collect();
    rules.alerts = alerts::alerts(&mut sections, told, &names, sink);
    rules.exporters = telemetry.exporters();
    Config {
        agent,
        rules,
        heartbeat_places,
        host,
        http: http(&mut sections, sink),
        journal: journal(&mut sections, sink),
        store: store(&mut sections, sink),
        outbound,
        telemetry,
        channels,
        probes,
        containers,
        hooks,
        files: Vec::new(),
        warnings: Diagnostics::default(),
    }
}

/// Reads what is said of units only.
pub(super) fn units_alone(document: &Table, sink: &mut Sink) -> Vec<UnitRule> {
    let mut sections = split(document, sink);
    let mut rules = Rules::default();
    // Whom to tell is no matter here.
    units::units(&mut sections, &mut rules, &mut Told::default(), sink);
    rules.units
}

/// Sorts the top of the document into tables and lists of tables.
fn split(document: &Table, sink: &mut Sink) -> Sections {
    let mut sections = Sections { tables: BTreeMap::new(), lists: BTreeMap::new() };
    let mut known = Table::new();
    for (name, entry) in document {
        let Some(key) = ROOT.iter().find(|key| key.name == name) else {
            known.insert(name.clone(), entry.clone());
            continue;
        };
        let listed = matches!(key.kind, Kind::Sections(_) | Kind::OpenSections(_));
        // Values of less weight that were replaced were of the wrong type, or this one is.
        for node in entry.hidden.iter().chain([&entry.node]) {
            match (&node.value, listed) {
                (Value::Table(table), false) => {
                    let section = Section::new(&format!("[{name}]"), name, node.at, table.clone());
                    sections.tables.insert(key.name, section);
                }
                (Value::List(list), true) => {
                    for node in list {
                        if let Value::Table(table) = &node.value {
                            let label = format!("[[{name}]]");
                            let section = Section::new(&label, name, node.at, table.clone());
                            sections.lists.entry(key.name).or_default().push(section);
                        } else {
                            let kind = node.value.kind();
                            sink.error(node.at, format!("`{name}` must hold tables, not {kind}"))
                                .hint(format!("write [[{name}]] and its keys below"));
                        }
                    }
                }
                (value, true) => {
                    let message =
                        format!("`{name}` must be a list of tables, not {}", value.kind());
                    sink.error(node.at, message)
                        .hint(format!("write [[{name}]] with double brackets"));
                }
                (value, false) => {
                    let found = sink
                        .error(node.at, format!("`{name}` must be a table, not {}", value.kind()));
                    // The plural is easily taken for the list of units.
                    found.hint(match name.as_str() {
                        "units" => {
                            "to name a unit write [[unit]]; [units] is about all others".to_owned()
                        }
                        "containers" => "to name a container write [[container]]; [containers] is \
                                         about all others"
                            .to_owned(),
                        _ => format!("write [{name}] and its keys below"),
                    });
                }
            }
        }
    }
    // What is left is unknown; a reader with every known name says so, with a hint.
    if let Some(first) = known.values().next() {
        let at = first.key;
        let section = Section::new("the file", "", at, known);
        let mut reader = section.read(sink);
        for key in ROOT {
            reader.value(key.name, |_, _, _| Some(()));
        }
        reader.finish();
    }
    sections
}

fn agent(sections: &mut Sections, rules: &mut Rules, sink: &mut Sink) -> Agent {
    let mut agent = Agent { interval: 30 * SECOND, state_dir: None };
    let Some(mut reader) = sections.table("agent", sink) else { return agent };
    if let Some(interval) = reader.duration("interval", SECOND, HOUR) {
        agent.interval = interval;
    }
    if let Some((name, at)) = reader.text_at("hostname") {
        if name.contains(|c: char| c.is_whitespace() || c.is_control()) || name.len() > 253 {
            reader.sink().error(at, "`agent.hostname` must be a name without spaces");
        } else {
            rules.host = name.into();
        }
    }
    for (key, (text, at)) in reader.text_map("labels").unwrap_or_default() {
        let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !key.starts_with(|c: char| c.is_ascii_digit())
            && !key.starts_with("__");
        if plain {
            rules.labels.insert(key, text);
        } else {
            let message = format!("`{}` cannot be the name of a label", super::values::brief(&key));
            reader.sink().error(at, message).hint("letters, digits and _, not first a digit");
        }
    }
    agent.state_dir = reader.path("state_dir");
    reader.finish();
    agent
}

fn host(
    sections: &mut Sections,
    rules: &mut Rules,
    told: &mut Told,
    sink: &mut Sink,
) -> HostFilters {
    let mut filters = HostFilters::default();
    let Some(mut reader) = sections.table("host", sink) else { return filters };
    levels(&mut reader, "disk", 1.0, &mut rules.disk, told, "disk");
    levels(&mut reader, "inodes", 1.0, &mut rules.inodes, told, "inodes");
    levels(&mut reader, "memory", 1.0, &mut rules.memory, told, "memory");
    levels(&mut reader, "swap", 1.0, &mut rules.swap, told, "swap");
    levels(&mut reader, "cpu", 1.0, &mut rules.cpu, told, "cpu");
    levels(&mut reader, "load", 1000.0, &mut rules.load, told, "load");
    if let Some(Some(section)) = reader.table_or_off("pressure") {
        let mut inner = section.read(reader.sink());
        for (resource, check) in
            [("cpu", "pressure:cpu"), ("memory", "pressure:memory"), ("io", "pressure:io")]
        {
            let mut found = Levels::off();
            levels(&mut inner, resource, 1.0, &mut found, told, check);
            if found != Levels::off() {
                rules.pressure.insert(resource.to_owned(), found);
            }
        }
        inner.finish();
    }
    if let Some(root) = reader.path("root") {
        filters.root = root;
    }
    for (text, at) in reader.texts("ignore_mounts").unwrap_or_default() {
        match glob::Pattern::new(&text) {
            Ok(pattern) if text.starts_with('/') => filters.ignore_mounts.push(pattern),
            Ok(_) => {
                let message = "`host.ignore_mounts` must hold absolute paths";
                reader.sink().error(at, message).hint("each must start with /");
            }
            Err(error) => {
                let message = format!("`host.ignore_mounts`: not a valid pattern: {}", error.msg);
                reader.sink().error(at, message);
            }
        }
    }
    filters.ignore_types = reader
        .texts("ignore_types")
        .unwrap_or_default()
        .into_iter()
        .map(|(text, _)| text)
        .collect();
    reader.finish();
    filters
}

/// Reads thresholds over what stands as the default.
fn levels(
    reader: &mut Reader<'_>,
    key: &'static str,
    most: f64,
    into: &mut Levels,
    told: &mut Told,
    check: &str,
) {
    let Some(found) = reader.table_or_off(key) else { return };
    let Some(section) = found else {
        *into = Levels::off();
        return;
    };
    let mut inner = section.read(reader.sink());
    thresholds(&mut inner, most, into);
    told.read(&mut inner, &[check]);
    inner.finish();
}

/// Reads the keys of thresholds over what stands as the default.
fn thresholds(inner: &mut Reader<'_>, most: f64, into: &mut Levels) {
    let warning = inner.level("warning", most).unwrap_or(into.warning());
    let critical = inner.level("critical", most).unwrap_or(into.critical());
    let confirm = confirm(inner, into.confirm(), |lasting| lasting);
    match Levels::try_new(warning, critical, confirm) {
        Ok(levels) => *into = levels,
        Err(why) => {
            let both = inner.has("warning") && inner.has("critical");
            let at = inner.place_of(if inner.has("critical") { "critical" } else { "warning" });
            let found = inner.sink().error(at, why);
            if let (Some(warning), Some(critical), false) = (into.warning(), into.critical(), both)
            {
                let percent = |ratio: f64| (ratio * 1000.0).round() / 10.0;
                found.hint(format!(
                    "the defaults are warning {}% and critical {}%; set both, or one to false",
                    percent(warning),
                    percent(critical)
                ));
            }
        }
    }
}

/// Reads when a condition counts; `recovery` is for how long it must be well again unless said.
fn confirm(
    reader: &mut Reader<'_>,
    default: Confirm,
    recovery: fn(Duration) -> Duration,
) -> Confirm {
    let lasting = reader.duration("for", Duration::ZERO, DAY).unwrap_or(default.lasting);
    let mut times = |key| reader.integer(key, 1, 1000).and_then(|n| u32::try_from(n).ok());
    let failures = times("failures").unwrap_or(default.failures);
    let successes = times("successes").unwrap_or(default.successes);
    let recovery =
        reader.duration("recovery", Duration::ZERO, DAY).unwrap_or_else(|| recovery(lasting));
    Confirm { lasting, failures, recovery, successes }
}

fn http(sections: &mut Sections, sink: &mut Sink) -> Http {
    let default = std::net::SocketAddr::from(([127, 0, 0, 1], 8080));
    let mut http = Http { listen: vec![default], token: None, allowed_hosts: Vec::new() };
    let Some(mut reader) = sections.table("http", sink) else { return http };
    if let Some(listen) = reader.listen("listen") {
        http.listen = listen;
    }
    http.token = reader.secret("token");
    for (text, at) in reader.texts("allowed_hosts").unwrap_or_default() {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._*".contains(c);
        if text.chars().all(plain) && !text.contains('*') {
            http.allowed_hosts.push(text.to_ascii_lowercase());
        } else {
            reader
                .sink()
                .error(at, "`http.allowed_hosts` must hold names of hosts")
                .hint("write \"status.example.org\", without https://, port or pattern");
        }
    }
    reader.finish();
    http
}

fn journal(sections: &mut Sections, sink: &mut Sink) -> Journal {
    let mut journal = Journal { lines: 20 };
    let Some(mut reader) = sections.table("journal", sink) else { return journal };
    if let Some(lines) = reader.integer("lines", 0, 200).and_then(|n| usize::try_from(n).ok()) {
        journal.lines = lines;
    }
    reader.finish();
    journal
}

fn store(sections: &mut Sections, sink: &mut Sink) -> Store {
    let mut store = Store { max_size: 64 << 20, retention: 30 * DAY };
    let Some(mut reader) = sections.table("store", sink) else { return store };
    if let Some(size) = reader.size("max_size", 1 << 20, 1 << 40) {
        store.max_size = size;
    }
    if let Some(retention) = reader.duration("retention", HOUR, FOREVER) {
        store.retention = retention;
    }
    reader.finish();
    store
}

/// The names of what there may be several of: each plain, and given once.
struct Names {
    what: &'static str,
    seen: BTreeMap<String, Place>,
}

impl Names {
    fn new(what: &'static str) -> Self {
        Self { what, seen: BTreeMap::new() }
    }

    /// Whether the name is one that fits everywhere; reports it when it is not.
    fn plain(&self, name: &str, at: Place, sink: &mut Sink) -> bool {
        let plain = name.len() <= 64
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if !plain {
            let what = self.what;
            sink.error(at, format!("the name of a {what} is made of letters, digits, - and _"));
        }
        plain
    }

    /// Whether the name is new; reports both places when it is not.
    fn add(&mut self, name: &str, at: Place, sink: &mut Sink) -> bool {
        if let Some(first) = self.seen.get(name) {
            let first = sink.describe(*first);
            let name = super::values::brief(name);
            sink.error(at, format!("the {} `{name}` is there already, at {first}", self.what))
                .hint("keep one of the two");
            return false;
        }
        self.seen.insert(name.to_owned(), at);
        true
    }
}
