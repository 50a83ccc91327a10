//! The user's own words for the messages of a channel: templates, checked when the configuration is
//! read, rendered with a limit on work. What they can use is in `fields`; how they escape for a
//! service's markup is in `filters`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Enumerator, Object, Serde};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value};

use super::story::{self, Story};
use super::{Outgoing, fields, file, sample};
use crate::config::section::suggestion;
use crate::config::sink::Place;
use crate::config::tree::Value as Toml;
use crate::config::{Key, KeyKind, Reader, Sink};

pub(super) mod content;
mod filters;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use filters::NAMES as FILTERS;

/// What a template may write: more than any service takes.
const MOST: usize = 64 * 1024;
/// Steps of one rendering: enough for every field of a thousand alerts.
const FUEL: u64 = 2_000_000;

/// A template among the keys of a kind. Like a secret it is a text or in a file.
pub(super) const fn key(name: &'static str, example: &'static str, doc: &'static str) -> Key {
    Key { name, kind: KeyKind::Secret, default: "", example, doc }
}

/// Says what is wrong with a rendered text, if anything.
pub(super) type Check<'a> = &'a dyn Fn(&str) -> Result<(), String>;

/// The templates of one channel, by name: `title`, `text`, or what else the kind knows. Costs
/// nothing where none is set.
#[derive(Clone, Default)]
pub(super) struct Templates(Option<Arc<Set>>);

/// Templates as they are understood, and by what they are tried.
#[derive(Clone)]
pub(super) struct Set {
    environment: Environment<'static>,
    names: BTreeSet<String>,
    /// Those that have failed, which is logged once each.
    failed: Arc<Mutex<BTreeSet<String>>>,
}

impl std::fmt::Debug for Templates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.iter().flat_map(|set| &set.names)).finish()
    }
}

impl Templates {
    /// Reads `template = { title = "…", text = { file = "/…" } }`; `names` are those that the kind
    /// knows. What is wrong with one, also when it is tried with a sample, goes into the reader's
    /// sink.
    pub(super) fn read(reader: &mut Reader<'_>, names: &[&'static str]) -> Self {
        Self::read_with(reader, names, |_| {}, &|_, _| Ok(()))
    }

    /// As [`Self::read`]; `more` reads further keys of the table, and `check` judges what each
    /// template, by name, makes of each sample.
    pub(super) fn read_with(
        reader: &mut Reader<'_>,
        names: &[&'static str],
        more: impl FnOnce(&mut Reader<'_>),
        check: &dyn Fn(&str, &str) -> Result<(), String>,
    ) -> Self {
        let mut all = Self::default();
        let Some(section) = reader.table("template") else { return all };
        let mut inner = section.read(reader.sink());
        for name in names {
            let Some((source, at)) = source(&mut inner, name) else { continue };
            if let Err(fault) = all.add(name, source, &|text| check(name, text), true) {
                let message = format!("`template.{name}`: {}", fault.text);
                inner.sink().error(at, message).hint(fault.hint);
            }
        }
        more(&mut inner);
        inner.finish();
        all
    }

    /// Adds one from elsewhere, `what` in messages, if it can be used. What it makes of a sample
    /// is not shown.
    pub(super) fn add_secret(
        &mut self,
        sink: &mut Sink,
        name: &str,
        what: &str,
        source: String,
        at: Place,
        check: Check<'_>,
    ) {
        if let Err(fault) = self.add(name, source, check, false) {
            let found = sink.error(at, format!("{what}: {}", fault.text));
            if !fault.shows {
                found.hint(fault.hint);
            }
        }
    }

    fn add(
        &mut self,
        name: &str,
        source: String,
        check: Check<'_>,
        shown: bool,
    ) -> Result<(), Fault> {
        let set = self.0.get_or_insert_with(|| Arc::new(Set::new()));
        Arc::make_mut(set).add(name, source, check, shown, &samples)
    }

    /// Whether there is one of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.as_ref().is_some_and(|set| set.names.contains(name))
    }

    /// The user's words, where there are any. A template that fails all the same gives `None`: the
    /// message goes out in keepwell's own words rather than not at all.
    pub(super) fn render(&self, name: &str, message: &Outgoing, story: &Story) -> Option<String> {
        self.render_checked(name, message, story, &|_| Ok(()))
    }

    /// As [`Self::render`]; what `check` does not like counts as failed.
    pub(super) fn render_checked(
        &self,
        name: &str,
        message: &Outgoing,
        story: &Story,
        check: Check<'_>,
    ) -> Option<String> {
        let set = self.0.as_ref()?;
        if !set.names.contains(name) {
            return None;
        }
        let result = set.render(name, context(message, story)).map_err(|e| words(&e));
        match result.and_then(|text| check(&text).map(|()| text)) {
            Ok(text) => Some(text),
            Err(error) => {
                let mut failed = set.failed.lock().unwrap_or_else(PoisonError::into_inner);
                if failed.insert(name.to_owned()) {
                    tracing::warn!(
                        channel = &*message.notification.channel,
                        template = name,
                        "a template failed, so the message goes out in keepwell's own words; \
                         further failures are not logged: {}",
                        story::clean(&error)
                    );
                }
                None
            }
        }
    }
}

/// What a template of a channel is tried with.
fn samples() -> Vec<(&'static str, Context)> {
    let context = |notification| {
        let message = sample::outgoing(notification);
        let story = story::compose(&message);
        context(&message, &story)
    };
    sample::tried().into_iter().map(|(name, message)| (name, context(message))).collect()
}

/// The text of a template: itself, or from a file.
pub(super) fn source(reader: &mut Reader<'_>, key: &'static str) -> Option<(String, Place)> {
    reader.value(key, |name, node, sink| match &node.value {
        Toml::Text(text) => Some((text.clone(), node.at)),
        Toml::Table(table) => {
            let [(only, entry)] = &table.iter().collect::<Vec<_>>()[..] else {
                sink.error(node.at, format!("`{name}` must be a string or {{ file = \"/…\" }}"));
                return None;
            };
            match &entry.node.value {
                Toml::Text(path) if *only == "file" && path.starts_with('/') => {
                    from_file(Path::new(path), name, entry.node.at, sink)
                }
                _ => {
                    sink.error(entry.node.at, format!("`{name}` must be a string or a file"))
                        .hint("write { file = \"/etc/keepwell/message.txt\" }, an absolute path");
                    None
                }
            }
        }
        other => {
            let kind = other.kind();
            sink.error(node.at, format!("`{name}` must be a string, not {kind}"))
                .hint("write it in quotes, or { file = \"/etc/keepwell/message.txt\" }");
            None
        }
    })
}

fn from_file(path: &Path, name: &str, at: Place, sink: &mut Sink) -> Option<(String, Place)> {
    match file::read(path, MOST) {
        Ok(bytes) => match String::from_utf8(bytes) {
            // Editors end a file with a newline that is no part of the message.
            Ok(text) => Some((text.trim_end_matches(['\n', '\r']).to_owned(), at)),
            Err(_) => {
                sink.error(at, format!("`{name}`: {} is not UTF-8 text", path.display()));
                None
            }
        },
        Err(error) => {
            file::unreadable(sink, at, &format!("`{name}`"), path, &error);
            None
        }
    }
}

/// Why a template cannot be used, and what to do.
pub(super) struct Fault {
    pub(super) text: String,
    pub(super) hint: String,
    /// The hint shows what came out.
    pub(super) shows: bool,
}

impl Set {
    pub(super) fn new() -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        // A line with nothing but a tag leaves no empty line.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.unwrap_or_default());
        // What is not known is nothing, not the word "none".
        environment.set_formatter(|out, state, value| {
            if value.is_none() { Ok(()) } else { minijinja::escape_formatter(out, state, value) }
        });
        filters::add(&mut environment);
        Self { environment, names: BTreeSet::new(), failed: Arc::default() }
    }

    /// What each `{{ … }}` makes is encoded for a part of a URL.
    pub(super) fn for_urls() -> Self {
        let mut set = Self::new();
        set.environment.set_formatter(|out, _, value| {
            let text = if value.is_none() { String::new() } else { value.to_string() };
            if [".", ".."].contains(&text.as_str()) {
                let why = format!("\"{text}\" cannot stand in a URL");
                return Err(Error::new(ErrorKind::InvalidOperation, why));
            }
            out.write_str(&filters::percent(&text)).map_err(Error::from)
        });
        set
    }

    /// Adds one after it has been tried with every sample.
    pub(super) fn add(
        &mut self,
        name: &str,
        source: String,
        check: Check<'_>,
        shown: bool,
        samples: &dyn Fn() -> Vec<(&'static str, Context)>,
    ) -> Result<(), Fault> {
        let lines = if shown { source.clone() } else { String::new() };
        self.environment.add_template_owned(name.to_owned(), source).map_err(|error| Fault {
            text: words(&error),
            hint: "templates are written as in Jinja: {{ title }}, {% if delayed %}…{% endif %}"
                .into(),
            shows: false,
        })?;
        let tried = self.try_out(name, &lines, check, &samples());
        if tried.is_err() {
            self.environment.remove_template(name);
        } else {
            self.names.insert(name.to_owned());
        }
        tried
    }

    fn try_out(
        &self,
        name: &str,
        source: &str,
        check: Check<'_>,
        samples: &[(&'static str, Context)],
    ) -> Result<(), Fault> {
        // Also in a branch that no sample takes.
        if let Some(fault) = self.unknown(name, &samples[0].1) {
            return Err(fault);
        }
        for (sample, context) in samples {
            let with = format!("tried with the sample `{sample}`");
            let text = self.render(name, context.clone()).map_err(|error| Fault {
                text: format!("{}{} ({with})", words(&error), line_of(source, &error)),
                hint: match error.kind() {
                    ErrorKind::UndefinedError if is_empty(context, "alerts") => {
                        "this message has no alerts: write {% for alert in alerts %}…{% endfor %}, \
                         or {% if alerts %}…{% endif %}"
                            .into()
                    }
                    ErrorKind::UndefinedError => known(context),
                    ErrorKind::UnknownFilter => format!(
                        "filters for markup: {}; the usual ones of Jinja are there too",
                        filters::NAMES.join(", ")
                    ),
                    _ => "docs/templates.md has all that a template can use".into(),
                },
                shows: false,
            })?;
            check(&text).map_err(|wrong| Fault {
                text: format!("{wrong} ({with})"),
                hint: format!("it came out as: {}", story::clean(&beginning(&text))),
                shows: true,
            })?;
        }
        Ok(())
    }

    /// The first variable that no message has.
    fn unknown(&self, name: &str, context: &Context) -> Option<Fault> {
        let template = self.environment.get_template(name).ok()?;
        let globals: BTreeSet<&str> = self.environment.globals().map(|(name, _)| name).collect();
        let used: BTreeSet<String> = template.undeclared_variables(false).into_iter().collect();
        let wrong = used
            .iter()
            .find(|v| !context.contains_key(v.as_str()) && !globals.contains(v.as_str()))?;
        let names: Vec<&str> = context.keys().map(String::as_str).collect();
        Some(Fault {
            text: format!("there is no variable `{wrong}`"),
            hint: match suggestion(wrong, &names) {
                meant if meant.starts_with("did you") => format!("{meant} {}", known(context)),
                _ => known(context),
            },
            shows: false,
        })
    }

    pub(super) fn render(&self, name: &str, context: Context) -> Result<String, Error> {
        let mut out = Bounded(Vec::new());
        let template = self.environment.get_template(name)?;
        template.render_captured_to(Value::from(context), &mut out).map(drop)?;
        // Invariant: only whole strings were written.
        Ok(String::from_utf8_lossy(&out.0).into_owned())
    }
}

/// The line of the template at which it failed, where it may be shown.
fn line_of(source: &str, error: &Error) -> String {
    let line = error.line().and_then(|n| source.lines().nth(n.checked_sub(1)?));
    line.map(|line| format!(" at `{}`", story::clean(&beginning(line.trim())))).unwrap_or_default()
}

fn is_empty(context: &Context, list: &str) -> bool {
    context.get(list).is_some_and(|list| list.len() == Some(0))
}

/// What the variables are called.
fn known(context: &Context) -> String {
    let names: Vec<&str> = context.keys().map(String::as_str).collect();
    let inner = |list: &str| {
        let first = context.get(list)?.get_item_by_index(0).ok()?;
        let keys = first.try_iter().ok()?.map(|k| k.to_string()).collect::<Vec<_>>();
        Some(format!("; each of {list}: {}", keys.join(", ")))
    };
    let inner: String = ["alerts", "parts"].into_iter().filter_map(inner).collect();
    format!("there are: {}{inner}", names.join(", "))
}

pub(super) type Context = BTreeMap<String, Value>;

/// Everything by name, and once more beneath `message`, for those who like to say whose it is.
fn context(message: &Outgoing, story: &Story) -> Context {
    let mut context: Context = match fields::context(message, story) {
        serde_json::Value::Object(all) => {
            all.into_iter().map(|(name, value)| (name, Value::from(Serde(value)))).collect()
        }
        _ => Context::new(),
    };
    let labels = message.notification.labels.iter();
    let labels = labels.map(|(k, v)| (story::clean(k), story::clean(v))).collect();
    context.insert("labels".into(), Value::from_object(Labels(labels)));
    context.insert("message".into(), Value::from(context.clone()));
    context
}

/// The user's labels. One that is not set is empty: a template may go to many hosts.
#[derive(Debug)]
pub(super) struct Labels(pub(super) BTreeMap<String, String>);

impl Object for Labels {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        Some(Value::from(self.0.get(key.as_str()?).cloned().unwrap_or_default()))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.keys().map(|k| Value::from(k.as_str())).collect())
    }
}

/// Takes so much and no more.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MOST {
            return Err(io::Error::other(format!("it makes more than {} KiB", MOST / 1024)));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What went wrong, where in the template, in words.
pub(super) fn words(error: &Error) -> String {
    let line = error.line().map(|n| format!("line {n}: ")).unwrap_or_default();
    let text = match error.kind() {
        ErrorKind::OutOfFuel => "it takes too many steps".into(),
        ErrorKind::UndefinedError => "there is no such value".into(),
        ErrorKind::UnknownFilter => error.detail().unwrap_or("unknown filter").to_owned(),
        ErrorKind::WriteFailure => format!("it makes more than {} KiB", MOST / 1024),
        ErrorKind::SyntaxError => error.detail().unwrap_or("it cannot be understood").to_owned(),
        kind => match error.detail() {
            Some(detail) => format!("{kind}: {detail}"),
            None => kind.to_string(),
        },
    };
    format!("{line}{text}")
}

fn beginning(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
