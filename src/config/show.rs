//! The configuration in effect as TOML, with where each value comes from and without secrets.

use std::borrow::Cow;

use super::Loaded;
use super::keys::{Key, Kind, ROOT};
use super::secret::REDACTED;
use super::sink::Sink;
use super::snippet::is_secret_key;
use super::tree::{Entry, Node, Table, Value, quoted};

/// Column at which the origins stand.
const COLUMN: usize = 44;

/// The text of `keepwell config show`.
pub fn text(loaded: &Loaded) -> String {
    let mut out = String::new();
    let files: Vec<String> =
        loaded.config.files.iter().map(|path| path.display().to_string()).collect();
    let files = if files.is_empty() { "none, all by default".to_owned() } else { files.join(", ") };
    out.push_str(&format!("# files: {files}\n"));
    for key in ROOT {
        let given = loaded.document.get(key.name);
        match key.kind {
            Kind::Table(keys) => {
                out.push_str(&format!("\n[{}]\n", key.name));
                table(&mut out, keys, inner(given), &loaded.sink);
            }
            Kind::Sections(_) | Kind::OpenSections(_) => {
                let open = matches!(key.kind, Kind::OpenSections(_));
                let Some(Value::List(list)) = given.map(|entry| &entry.node.value) else {
                    continue;
                };
                for node in list {
                    let Value::Table(section) = &node.value else { continue };
                    out.push_str(&format!("\n[[{}]]\n", key.name));
                    let mut keys: Vec<_> = section.iter().collect();
                    // What it is comes first.
                    keys.sort_by_key(|(name, _)| (*name != "name", *name != "type"));
                    for (name, entry) in keys {
                        let text = written(name, &entry.node, open);
                        line(&mut out, name, &text, Some(entry), &loaded.sink);
                    }
                }
            }
            _ => {}
        }
    }
    added(&mut out, loaded);
    out
}

/// The channels that nobody wrote down: they follow from where telemetry goes.
fn added(out: &mut String, loaded: &Loaded) {
    let written: Vec<&Value> = match loaded.document.get("channel").map(|e| &e.node.value) {
        Some(Value::List(list)) => list.iter().map(|node| &node.value).collect(),
        _ => Vec::new(),
    };
    let is_written = |name: &str| {
        written.iter().any(|section| match section {
            Value::Table(section) => {
                matches!(section.get("name").map(|e| &e.node.value), Some(Value::Text(t)) if t == name)
            }
            _ => false,
        })
    };
    for channel in loaded.config.channels.iter().filter(|c| !is_written(&c.name)) {
        let entry = Entry::new(
            channel.kind_at,
            Node { value: Value::Text(channel.kind.clone()), at: channel.kind_at },
        );
        out.push_str("\n[[channel]]\n");
        line(out, "name", &quoted(&channel.name), Some(&entry), &loaded.sink);
        line(out, "type", &quoted(&channel.kind), Some(&entry), &loaded.sink);
    }
}

fn inner(entry: Option<&Entry>) -> Option<&Table> {
    match entry.map(|entry| &entry.node.value) {
        Some(Value::Table(table)) => Some(table),
        _ => None,
    }
}

fn table(out: &mut String, keys: &[Key], given: Option<&Table>, sink: &Sink) {
    for key in keys {
        let entry = holding(given, key, sink);
        if let Some(text) = effective(key, entry.as_deref(), sink) {
            line(out, key.name, &text, entry.as_deref(), sink);
        }
    }
}

/// What is said of a key, by those that are not left out.
fn holding<'a>(given: Option<&'a Table>, key: &Key, sink: &Sink) -> Option<Cow<'a, Entry>> {
    let entry = given?.get(key.name)?;
    if !sink.is_left_out(entry.node.at) {
        return Some(Cow::Borrowed(entry));
    }
    let beneath = entry.hidden.last()?;
    Some(Cow::Owned(Entry::new(beneath.at, beneath.clone())))
}

/// A key's value with the defaults filled in; none where it is not set at all.
fn effective(key: &Key, entry: Option<&Entry>, sink: &Sink) -> Option<String> {
    match (key.kind, entry) {
        (Kind::Switch(keys), None) if off(keys) => Some("false".into()),
        (Kind::Switch(_), Some(Entry { node: Node { value: Value::Bool(_), .. }, .. })) => {
            Some("false".into())
        }
        (Kind::Switch(keys) | Kind::Table(keys), entry) => {
            let given = inner(entry);
            let parts: Vec<String> = keys
                .iter()
                .filter_map(|key| {
                    let text = effective(key, holding(given, key, sink).as_deref(), sink)?;
                    Some(format!("{} = {text}", key.name))
                })
                .collect();
            // A table that nobody wrote and that has no defaults says nothing.
            match (parts.is_empty(), entry) {
                (true, None) => None,
                (true, Some(_)) => Some("{}".to_owned()),
                _ => Some(format!("{{ {} }}", parts.join(", "))),
            }
        }
        (Kind::SecretMap, Some(entry)) => match &entry.node.value {
            Value::Table(table) => Some(braces_of_secrets(table)),
            _ => Some(written("token", &entry.node, true)),
        },
        (Kind::Address, Some(Entry { node: Node { value: Value::Text(url), .. }, .. })) => {
            // Some services take a key behind the question mark.
            Some(quoted(&match url.split_once('?') {
                Some((url, _)) => format!("{url}?{REDACTED}"),
                None => url.clone(),
            }))
        }
        (Kind::Secret | Kind::SecretOrOff, Some(entry)) => {
            Some(written("token", &entry.node, true))
        }
        (_, Some(entry)) => Some(written(key.name, &entry.node, false)),
        (_, None) => Some(key.default.to_owned()).filter(|text| !text.is_empty()),
    }
}

/// Whether a switch is off unless something is set: all thresholds in it are.
fn off(keys: &[Key]) -> bool {
    let mut levels = keys.iter().filter_map(|key| match key.kind {
        Kind::Switch(keys) => Some(off(keys)),
        Kind::Level => Some(key.default == "false"),
        _ => None,
    });
    // One without thresholds is on.
    levels.next().is_some_and(|first| first && levels.all(|off| off))
}

fn line(out: &mut String, name: &str, text: &str, entry: Option<&Entry>, sink: &Sink) {
    let origin = match entry {
        Some(entry) => sink.describe(entry.key),
        None => "default".to_owned(),
    };
    let set = format!("{} = {text}", bare(name));
    out.push_str(&format!("{set:COLUMN$} # {origin}\n"));
}

/// A value as TOML; `guard` hides what stands under the name of a secret.
fn written(name: &str, node: &Node, guard: bool) -> String {
    match &node.value {
        // Of headers that are a user's own, each may be a key.
        Value::Table(table) if guard && name.contains("header") => braces_of_secrets(table),
        Value::Table(table) if is_reference(table) => braces(table, false),
        Value::Table(table) => braces(table, guard),
        Value::List(list) => {
            let parts: Vec<String> = list.iter().map(|node| written(name, node, guard)).collect();
            format!("[{}]", parts.join(", "))
        }
        Value::Text(text) if guard && (is_secret_key(name) || text.contains("://")) => {
            quoted(&hidden(text))
        }
        Value::Text(text) => quoted(text),
        Value::Integer(_) | Value::Float(_) if guard && is_secret_key(name) => quoted(REDACTED),
        Value::Integer(n) => n.to_string(),
        Value::Float(n) => format!("{n:?}"),
        Value::Bool(yes) => yes.to_string(),
        Value::Date(date) => date.clone(),
    }
}

fn hidden(text: &str) -> String {
    if text.is_empty() { String::new() } else { REDACTED.to_owned() }
}

fn braces(table: &Table, guard: bool) -> String {
    let parts: Vec<String> = table
        .iter()
        .map(|(name, entry)| format!("{} = {}", bare(name), written(name, &entry.node, guard)))
        .collect();
    if parts.is_empty() { "{}".into() } else { format!("{{ {} }}", parts.join(", ")) }
}

/// As [`braces`], with every value hidden, whatever its name.
fn braces_of_secrets(table: &Table) -> String {
    let parts: Vec<String> =
        table.keys().map(|name| format!("{} = {}", bare(name), quoted(REDACTED))).collect();
    if parts.is_empty() { "{}".into() } else { format!("{{ {} }}", parts.join(", ")) }
}

/// Whether a table says where a secret is, and is none itself.
fn is_reference(table: &Table) -> bool {
    table.len() == 1 && ["credential", "env", "file"].iter().any(|way| table.contains_key(*way))
}

fn bare(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(plain) { name.to_owned() } else { quoted(name) }
}
