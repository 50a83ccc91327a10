//! A TOML document in which every key and value knows its place; parsing, and merging of several
//! documents by weight. What the keys mean is not known here.

use std::collections::BTreeMap;

use serde::Serialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::files::Input;
use super::keys::{Key, Kind};
use super::sink::{Place, Sink};

/// Keys and what they hold.
pub type Table = BTreeMap<String, Entry>;

/// A key with its value, and the values of less weight that it hides, which must be right as well.
#[derive(Clone)]
pub struct Entry {
    /// Where the key stands.
    pub key: Place,
    /// Its value.
    pub node: Node,
    /// Values that this one replaced.
    pub(super) hidden: Vec<Node>,
}

/// A value and its place.
#[derive(Clone)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it stands.
    pub at: Place,
}

/// A TOML value. Has no `Debug`: it may be a secret.
#[derive(Clone)]
pub enum Value {
    /// `"text"`
    Text(String),
    /// `12`
    Integer(i64),
    /// `1.5`
    Float(f64),
    /// `true`
    Bool(bool),
    /// A date or a time, which no key takes.
    Date(String),
    /// `[…]`
    List(Vec<Node>),
    /// `{…}` or `[table]`
    Table(Table),
}

impl Value {
    /// What it is, for people.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a number",
            Self::Bool(_) => "a boolean",
            Self::Date(_) => "a date",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.node.value.kind())
    }
}

impl Entry {
    pub(super) fn new(key: Place, node: Node) -> Self {
        Self { key, node, hidden: Vec::new() }
    }
}

/// Parses one file. What is wrong goes into the sink; the rest is given back where there is sense
/// in reading on, or with `salvage` what could be made out.
pub(super) fn parse(input: Input, salvage: bool, sink: &mut Sink) -> Option<Table> {
    let bytes = match input.bytes {
        Ok(bytes) => bytes,
        Err(error) => {
            let found = sink.error_of_file(input.path, error.message);
            if let Some(hint) = error.hint {
                found.hint(hint);
            }
            return None;
        }
    };
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let lossy = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let source = sink.add_file(input.path, lossy, input.world_readable);
            sink.error(Place::new(source, at..at + 1), "this is not UTF-8 text")
                .hint("save the file as UTF-8");
            return None;
        }
    };
    let source = sink.add_file(input.path, text.clone(), input.world_readable);
    let (table, errors) = DeTable::parse_recoverable(&text);
    let mut only_duplicates = true;
    let lines = super::snippet::Lines::of(&text);
    let mut seen = std::collections::BTreeSet::new();
    for error in errors {
        let span = error.span().unwrap_or(text.len()..text.len());
        // The first complaint about a line is the true one.
        if !seen.insert(lines.position(&text, span.start).0) {
            continue;
        }
        if error.message() == "duplicate key" {
            sink.error(Place::new(source, span), "this key is set twice")
                .hint("keep one; to add one more [[unit]] or [[channel]], write double brackets");
        } else {
            only_duplicates = false;
            let hint = bare_word(&text, span.start);
            // The parser takes such a word for a number and says so.
            let why = if hint.is_some() { "this is no value" } else { error.message() };
            let found = sink.error(Place::new(source, span), format!("not valid TOML: {why}"));
            if let Some(hint) = hint {
                found.hint(hint);
            }
        }
    }
    // After a syntax error the rest is guesswork; its errors would only confuse.
    (only_duplicates || salvage).then(|| convert(source, table.into_inner(), sink))
}

/// What to write in the place of a word that stands behind `=` as it is.
fn bare_word(text: &str, at: usize) -> Option<&'static str> {
    let (before, rest) = text.split_at_checked(at)?;
    let word = rest.split(|c: char| !c.is_alphanumeric()).next().filter(|w| !w.is_empty())?;
    if !before.trim_end_matches([' ', '\t']).ends_with('=')
        || !word.starts_with(char::is_alphabetic)
    {
        return None;
    }
    Some(match &*word.to_lowercase() {
        "yes" | "on" | "true" => "write true",
        "no" | "off" | "false" => "write false",
        // Not the word itself: it may be a secret.
        _ => "write a text in quotes, as in name = \"nginx.service\"",
    })
}

fn convert(source: usize, table: DeTable<'_>, sink: &mut Sink) -> Table {
    table
        .into_iter()
        .map(|(key, value)| {
            let at = Place::new(source, key.span());
            let node = convert_value(source, value, sink);
            (key.into_inner().into_owned(), Entry::new(at, node))
        })
        .collect()
}

fn convert_value(source: usize, value: Spanned<DeValue<'_>>, sink: &mut Sink) -> Node {
    let at = Place::new(source, value.span());
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => {
            let read = i64::from_str_radix(&number.as_str().replace('_', ""), number.radix());
            Value::Integer(read.unwrap_or_else(|_| {
                sink.error(at, "this number is too large");
                0
            }))
        }
        DeValue::Float(number) => {
            Value::Float(number.as_str().replace('_', "").parse().unwrap_or(f64::NAN))
        }
        DeValue::Boolean(yes) => Value::Bool(yes),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        DeValue::Array(list) => {
            Value::List(list.into_iter().map(|v| convert_value(source, v, sink)).collect())
        }
        DeValue::Table(table) => Value::Table(convert(source, table, sink)),
    };
    Node { value, at }
}

/// Puts a document of more weight over another: tables key by key, lists of sections one after the
/// other, and everything else replaced. `keys` says which is which.
pub(super) fn merge(into: &mut Table, from: Table, keys: &[Key]) {
    for (name, entry) in from {
        let Some(old) = into.get_mut(&name) else {
            into.insert(name, entry);
            continue;
        };
        let kind = keys.iter().find(|k| k.name == name).map(|k| k.kind);
        match (&mut old.node.value, entry.node.value, kind) {
            (
                Value::Table(old),
                Value::Table(new),
                Some(Kind::Table(keys) | Kind::Switch(keys)),
            ) => merge(old, new, keys),
            (Value::Table(old), Value::Table(new), Some(Kind::TextMap | Kind::SecretMap)) => {
                merge(old, new, &[])
            }
            (
                Value::List(old),
                Value::List(new),
                Some(Kind::Sections(_) | Kind::OpenSections(_)),
            ) => old.extend(new),
            (_, value, _) => {
                let new = Node { value, at: entry.node.at };
                let replaced = std::mem::replace(&mut old.node, new);
                old.hidden.push(replaced);
                old.key = entry.key;
            }
        }
    }
}

/// A string as TOML writes it.
pub fn quoted(text: &str) -> String {
    let mut out = String::new();
    match text.serialize(toml::ser::ValueSerializer::new(&mut out)) {
        Ok(_) => out,
        Err(_) => format!("{text:?}"),
    }
}
