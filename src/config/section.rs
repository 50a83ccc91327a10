//! A table of the configuration and the reader that takes its keys out one by one, typed. What is
//! wrong with one key is reported and the next one is read all the same; what nobody asked for is
//! an unknown key. Channel kinds read their own settings with this.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::sink::{Place, Sink};
use super::tree::{Node, Table, Value};
use super::values::brief;

mod identifiers;
mod quantities;
mod secrets;
mod times;

pub(super) use times::local;

/// A table with its place. Has no telling `Debug`: it may hold secrets.
#[derive(Clone)]
pub struct Section {
    label: String,
    path: String,
    at: Place,
    table: Table,
    /// Keys that were read before, and so may be what an unknown one means.
    taken: Vec<&'static str>,
}

impl std::fmt::Debug for Section {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.label, self.table.keys().collect::<Vec<_>>())
    }
}

impl Section {
    /// `label` is how messages call it (`[agent]`), `path` what stands before its keys (`agent`).
    pub(super) fn new(label: &str, path: &str, at: Place, table: Table) -> Self {
        Self { label: label.to_owned(), path: path.to_owned(), at, table, taken: Vec::new() }
    }

    /// Starts to read it.
    pub fn read<'a>(&'a self, sink: &'a mut Sink) -> Reader<'a> {
        Reader { section: self, asked: Vec::new(), sink }
    }

    /// Where it stands: what a message about the whole of it points at.
    pub fn place(&self) -> Place {
        self.at
    }

    /// Where the value of a key stands, if it is there.
    pub fn place_of(&self, key: &str) -> Option<Place> {
        self.table.get(key).map(|entry| entry.node.at)
    }

    /// Leaves keys out, as already read: the rest is for another to read.
    #[cfg_attr(not(test), expect(unused_variables, reason = "only tests compare what is read"))]
    pub(super) fn take_out(&mut self, keys: &[&'static str], sink: &mut Sink) {
        for &key in keys {
            self.table.remove(key);
            self.taken.push(key);
            #[cfg(test)]
            sink.asked.insert(self.name(key));
        }
    }

    /// `agent.interval`; just `interval` at the top.
    fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// Takes keys out of a section. Every getter gives `None` when the key is absent or wrong; what is
/// wrong is in the sink. Call [`Reader::finish`] at the end.
pub struct Reader<'a> {
    section: &'a Section,
    asked: Vec<&'static str>,
    sink: &'a mut Sink,
}

impl Reader<'_> {
    /// Reports every key that nobody asked for.
    pub fn finish(self) {
        for (key, entry) in &self.section.table {
            if !self.asked.contains(&key.as_str()) {
                let label = &self.section.label;
                let known = [&self.asked[..], &self.section.taken[..]].concat();
                let hint = suggestion(key, &known);
                self.sink
                    .error_of_key(entry.key, format!("unknown key `{}` in {label}", brief(key)))
                    .hint(hint);
            }
        }
        #[cfg(test)]
        for key in self.asked {
            self.sink.asked.insert(self.section.name(key));
        }
    }

    /// Where errors go.
    pub fn sink(&mut self) -> &mut Sink {
        self.sink
    }

    /// Where the value of a key stands, or the section when it is absent.
    pub fn place_of(&self, key: &str) -> Place {
        self.section.place_of(key).unwrap_or(self.section.at)
    }

    /// Whether the key is there, right or wrong.
    pub fn has(&self, key: &str) -> bool {
        self.section.table.contains_key(key)
    }

    /// Reports that a key must be there when it is not.
    pub fn require(&mut self, key: &'static str, example: &str) {
        self.ask(key);
        if !self.has(key) {
            let message = format!("{} needs the key `{key}`", self.section.label);
            let hint = match self.section.table.keys().find(|k| strsim::jaro_winkler(k, key) >= 0.8)
            {
                Some(like) => format!("is `{}` meant to be `{key}`?", brief(like)),
                None => format!("add {key} = {example}"),
            };
            self.sink.error(self.section.at, message).hint(hint);
        }
    }

    fn ask(&mut self, key: &'static str) {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
    }

    /// Reads a key by a function of the caller. It gets the full name for messages, and is called
    /// for values of less weight as well, so that they are checked. Where a variable is left out,
    /// they hold.
    pub fn value<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&str, &Node, &mut Sink) -> Option<T>,
    ) -> Option<T> {
        self.ask(key);
        let entry = self.section.table.get(key)?;
        let name = self.section.name(key);
        let mut beneath = None;
        for node in &entry.hidden {
            beneath = read(&name, node, self.sink);
        }
        let found = read(&name, &entry.node, self.sink);
        if found.is_none() && self.sink.is_shared(entry.node.at) { beneath } else { found }
    }

    /// `true` or `false`.
    pub fn bool(&mut self, key: &'static str) -> Option<bool> {
        self.value(key, |name, node, sink| match &node.value {
            Value::Bool(yes) => Some(*yes),
            _ => {
                let found = expected(sink, name, node, "true or false");
                if let Value::Text(text) = &node.value {
                    match text.to_lowercase().as_str() {
                        "true" | "yes" | "on" => found.hint("write true, without quotes"),
                        "false" | "no" | "off" => found.hint("write false, without quotes"),
                        _ => {}
                    }
                }
                None
            }
        })
    }

    /// A whole number within bounds.
    pub fn integer(&mut self, key: &'static str, from: i64, to: i64) -> Option<i64> {
        self.value(key, |name, node, sink| integer(sink, name, node, from, to))
    }

    /// A number.
    pub fn number(&mut self, key: &'static str) -> Option<f64> {
        self.value(key, |name, node, sink| match &node.value {
            Value::Integer(n) => Some(*n as f64),
            Value::Float(n) => Some(*n),
            _ => {
                expected(sink, name, node, "a number");
                None
            }
        })
    }

    /// A text that is not empty, with its place.
    pub fn text_at(&mut self, key: &'static str) -> Option<(String, Place)> {
        self.value(key, |name, node, sink| text(sink, name, node).map(|t| (t, node.at)))
    }

    /// A text that is not empty.
    pub fn text(&mut self, key: &'static str) -> Option<String> {
        self.text_at(key).map(|(text, _)| text)
    }

    /// An absolute path.
    pub fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.value(key, |name, node, sink| {
            let text = text(sink, name, node)?;
            if text.starts_with('/') {
                return Some(PathBuf::from(text));
            }
            sink.error(node.at, format!("`{name}` must be an absolute path"))
                .hint("it must start with /");
            None
        })
    }

    /// A list of texts with their places; a single text is a list of one.
    pub fn texts(&mut self, key: &'static str) -> Option<Vec<(String, Place)>> {
        self.value(key, texts)
    }

    /// As [`Self::texts`], at least one; the hint says what to do in place of an empty list.
    pub(in crate::config) fn some_texts(
        &mut self,
        key: &'static str,
        hint: &str,
    ) -> Option<Vec<(String, Place)>> {
        self.value(key, |name, node, sink| match &node.value {
            Value::List(list) if list.is_empty() => {
                sink.error(node.at, format!("`{name}` is an empty list")).hint(hint);
                None
            }
            _ => texts(name, node, sink),
        })
    }

    /// A table of texts with free keys, and where the keys stand.
    pub fn text_map(&mut self, key: &'static str) -> Option<BTreeMap<String, (String, Place)>> {
        self.value(key, |name, node, sink| match &node.value {
            Value::Table(table) => Some(
                table
                    .iter()
                    .filter_map(|(key, entry)| {
                        let value = text(sink, &format!("{name}.{key}"), &entry.node)?;
                        Some((key.clone(), (value, entry.key)))
                    })
                    .collect(),
            ),
            _ => {
                expected(sink, name, node, "a table of strings").hint("write { env = \"prod\" }");
                None
            }
        })
    }

    /// One of some words, each with what it stands for.
    pub fn one_of<T: Copy>(&mut self, key: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        self.value(key, |name, node, sink| {
            let text = text(sink, name, node)?;
            if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
                return Some(*value);
            }
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let message = format!("`{name}` cannot be \"{}\"", brief(&text));
            sink.error(node.at, message).hint(suggestion(&text, &words));
            None
        })
    }

    /// A table within this one.
    pub fn table(&mut self, key: &'static str) -> Option<Section> {
        let label = format!("`{}`", self.section.name(key));
        self.value(key, |name, node, sink| match &node.value {
            Value::Table(table) => Some(Section::new(&label, name, node.at, table.clone())),
            _ => {
                expected(sink, name, node, "a table").hint("write { key = value }");
                None
            }
        })
    }

    /// A table within this one, or `false` for off: then `Some(None)`.
    pub fn table_or_off(&mut self, key: &'static str) -> Option<Option<Section>> {
        let label = format!("`{}`", self.section.name(key));
        self.value(key, |name, node, sink| match &node.value {
            Value::Bool(false) => Some(None),
            Value::Table(table) => Some(Some(Section::new(&label, name, node.at, table.clone()))),
            _ => {
                expected(sink, name, node, "a table, or false for off")
                    .hint("write { key = value }, or leave it out");
                None
            }
        })
    }
}

/// Says that a value is of the wrong type.
fn expected<'a>(
    sink: &'a mut Sink,
    name: &str,
    node: &Node,
    what: &str,
) -> &'a mut super::Diagnostic {
    sink.error(node.at, format!("`{name}` must be {what}, not {}", node.value.kind()))
}

fn text(sink: &mut Sink, name: &str, node: &Node) -> Option<String> {
    match &node.value {
        Value::Text(text) if text.trim().is_empty() => {
            sink.error(node.at, format!("`{name}` is empty"));
            None
        }
        Value::Text(text) => Some(text.clone()),
        _ => {
            expected(sink, name, node, "a string").hint("write it in quotes");
            None
        }
    }
}

fn texts(name: &str, node: &Node, sink: &mut Sink) -> Option<Vec<(String, Place)>> {
    match &node.value {
        Value::Text(_) => Some(vec![(text(sink, name, node)?, node.at)]),
        Value::List(list) => Some(
            list.iter().filter_map(|node| text(sink, name, node).map(|t| (t, node.at))).collect(),
        ),
        _ => {
            expected(sink, name, node, "a list of strings").hint("write [\"one\", \"two\"]");
            None
        }
    }
}

pub(super) fn integer(sink: &mut Sink, name: &str, node: &Node, from: i64, to: i64) -> Option<i64> {
    match &node.value {
        Value::Integer(n) if (from..=to).contains(n) => Some(*n),
        Value::Integer(n) => {
            sink.error(node.at, format!("`{name}` must be between {from} and {to}, not {n}"));
            None
        }
        _ => {
            expected(sink, name, node, "a whole number");
            None
        }
    }
}

/// What was perhaps meant, or all there is.
pub fn suggestion(word: &str, known: &[&str]) -> String {
    const OTHER_WORDS: [(&str, &str); 8] = [
        ("service", "unit"),
        ("services", "unit"),
        ("notify", "channel"),
        ("notification", "channel"),
        ("notifications", "channel"),
        ("disks", "disk"),
        ("path", "file"),
        ("threshold", "warning"),
    ];
    let lower = word.to_lowercase().replace('-', "_");
    let meant = OTHER_WORDS
        .iter()
        .filter(|(other, meant)| *other == lower && known.contains(meant))
        .map(|(_, meant)| *meant)
        .next()
        .or_else(|| {
            known
                .iter()
                .map(|k| (strsim::jaro_winkler(&lower, k), *k))
                .filter(|(likeness, _)| *likeness >= 0.8)
                .max_by(|a, b| a.0.total_cmp(&b.0))
                .map(|(_, k)| k)
        });
    match meant {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if known.is_empty() => "it takes no keys".into(),
        None => format!("it takes {}", known.join(", ")),
    }
}
