//! Reading secrets: the text itself, or where it is.

use std::collections::BTreeMap;

use reqwest::Url;

use super::super::secret::{self, Secret};
use super::super::settings::Proxy;
use super::super::sink::{Place, Sink};
use super::super::tree::{Node, Table, Value};
use super::super::values::brief;
use super::{Reader, expected, suggestion, text};

const SECRET_HINT: &str =
    "write { credential = \"NAME\" }, { file = \"/path\" }, { env = \"NAME\" } or the text itself";

impl Reader<'_> {
    /// A secret: the text itself, or `{ credential | env | file = "…" }`.
    pub fn secret(&mut self, key: &'static str) -> Option<Secret> {
        self.value(key, secret)
    }

    /// A table of secrets with free keys, and where the keys stand.
    pub(crate) fn secret_map(
        &mut self,
        key: &'static str,
    ) -> Option<BTreeMap<String, (Secret, Place)>> {
        self.value(key, |name, node, sink| match &node.value {
            Value::Table(table) => Some(
                table
                    .iter()
                    .filter_map(|(key, entry)| {
                        let value = secret(&format!("{name}.{key}"), &entry.node, sink)?;
                        Some((key.clone(), (value, entry.key)))
                    })
                    .collect(),
            ),
            _ => {
                expected(sink, name, node, "a table").hint("write { api-key = \"…\" }");
                None
            }
        })
    }

    /// An address beginning with `http://` or `https://` that is no secret.
    pub(in crate::config) fn address(&mut self, key: &'static str) -> Option<(String, Place)> {
        self.value(key, |name, node, sink| {
            let text = text(sink, name, node)?;
            let trimmed = text.trim();
            let mut wrong = |problem: &str, hint: &str| {
                sink.error(node.at, format!("`{name}` {problem}")).hint(hint);
                None
            };
            if let Some(problem) = problem_of_url(trimmed) {
                return match trimmed.split_once(':') {
                    // The scheme alone is forgotten easily.
                    Some((host, port))
                        if (1..100).contains(&host.len())
                            && port.parse::<u16>().is_ok_and(|p| p > 0) =>
                    {
                        wrong(problem, &format!("write \"http://{trimmed}\""))
                    }
                    _ => wrong(problem, "write \"https://example.org\""),
                };
            }
            match Url::parse(trimmed) {
                Ok(url) if url.username().is_empty() && url.password().is_none() => {
                    Some((trimmed.to_owned(), node.at))
                }
                Ok(_) => wrong("must not hold a user or password", "put them into a header"),
                Err(error) => wrong(&format!("is no valid URL: {error}"), "look at host and port"),
            }
        })
    }

    /// A secret that is an address beginning with `http://` or `https://`. The text is not looked
    /// into where `config check` cannot see it ([`Secret::is_resolved`]).
    pub fn url(&mut self, key: &'static str) -> Option<Secret> {
        let secret = self.secret(key)?;
        self.is_url(key, &secret, "write \"https://example.org/path\"").then_some(secret)
    }

    /// The address of a proxy, or `false` for none.
    pub fn proxy(&mut self, key: &'static str) -> Option<Proxy> {
        const HINT: &str = "write \"http://proxy.example.org:3128\", or false for none";
        let found = self.value(key, |name, node, sink| match &node.value {
            Value::Bool(false) => Some(None),
            Value::Text(text) if text == "none" => Some(None),
            Value::Text(_) | Value::Table(_) => secret(name, node, sink).map(Some),
            _ => {
                expected(sink, name, node, "an address, or false").hint(HINT);
                None
            }
        })?;
        match found {
            None => Some(Proxy::Off),
            // `config check` by another user than the service; it has warned.
            Some(url) if !url.is_resolved() => Some(Proxy::Usual),
            Some(url) => self.is_url(key, &url, HINT).then_some(Proxy::Url(url)),
        }
    }

    fn is_url(&mut self, key: &str, secret: &Secret, hint: &str) -> bool {
        if !secret.is_resolved() {
            return true;
        }
        let Some(problem) = problem_of_url(secret.expose()) else { return true };
        let (name, at) = (self.section.name(key), self.place_of(key));
        self.sink.error(at, format!("`{name}` {problem}")).hint(hint);
        false
    }
}

/// Why a text is no address of a web server.
fn problem_of_url(text: &str) -> Option<&'static str> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match host {
        None => Some("must start with https:// or http://"),
        Some(rest) if rest.is_empty() || rest.starts_with(['/', ':', '?']) => Some("has no host"),
        Some(_) if text.contains(|c: char| c.is_whitespace() || c.is_control()) => {
            Some("must not contain spaces")
        }
        Some(_) => None,
    }
}

fn secret(name: &str, node: &Node, sink: &mut Sink) -> Option<Secret> {
    match &node.value {
        Value::Text(text) if text.is_empty() => {
            sink.error(node.at, format!("`{name}` is empty"));
            None
        }
        Value::Text(text) => {
            sink.guard_secret(node.at, name, ", or write { credential = \"NAME\" }");
            Some(Secret::new(text.clone()))
        }
        Value::Table(table) => reference(sink, name, node.at, table),
        _ => {
            expected(sink, name, node, "a string or a table").hint(SECRET_HINT);
            None
        }
    }
}

fn reference(sink: &mut Sink, name: &str, at: Place, table: &Table) -> Option<Secret> {
    const WAYS: [&str; 3] = ["credential", "env", "file"];
    let mut chosen = None;
    for (key, entry) in table {
        let Some(way) = WAYS.iter().find(|way| *way == key) else {
            let message = format!("unknown key `{}` in `{name}`", brief(key));
            sink.error_of_key(entry.key, message).hint(suggestion(key, &WAYS));
            return None;
        };
        if chosen.is_some() {
            sink.error(entry.key, format!("`{name}` names two places")).hint(SECRET_HINT);
            return None;
        }
        chosen = Some((*way, entry));
    }
    let Some((way, entry)) = chosen else {
        sink.error(at, format!("`{name}` is empty")).hint(SECRET_HINT);
        return None;
    };
    let text = text(sink, &format!("{name}.{way}"), &entry.node)?;
    let found = match way {
        "credential" => secret::credential(&text, sink.environment()),
        "env" => secret::variable(&text, sink.environment()),
        _ => secret::file(&text),
    };
    match found {
        Ok(secret) => Some(secret),
        Err(error) if error.perhaps_elsewhere && sink.lenient() => {
            let message = format!("`{name}` could not be checked here: {}", error.message);
            sink.warning(entry.node.at, message);
            Some(Secret::unresolved())
        }
        Err(error) => {
            sink.error(entry.node.at, format!("`{name}`: {}", error.message)).hint(error.hint);
            None
        }
    }
}
