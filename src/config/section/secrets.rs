//! Reading secrets: the text itself, or where it is.

use super::super::secret::{self, Secret};
use super::super::sink::{Place, Sink};
use super::super::tree::{Table, Value};
use super::super::values::brief;
use super::{Reader, expected, suggestion, text};

const SECRET_HINT: &str =
    "write { credential = \"NAME\" }, { file = \"/path\" }, { env = \"NAME\" } or the text itself";

impl Reader<'_> {
    /// A secret: the text itself, or `{ credential | env | file = "…" }`.
    pub fn secret(&mut self, key: &'static str) -> Option<Secret> {
        self.value(key, |name, node, sink| match &node.value {
            Value::Text(text) if text.is_empty() => {
                sink.error(node.at, format!("`{name}` is empty"));
                None
            }
            Value::Text(text) => {
                if sink.world_readable(node.at) {
                    sink.warning(
                        node.at,
                        format!("`{name}` is a secret in a file that every user can read"),
                    )
                    .hint("chmod 640 the file, or write { credential = \"NAME\" }");
                }
                Some(Secret::new(text.clone()))
            }
            Value::Table(table) => reference(sink, name, node.at, table),
            _ => {
                expected(sink, name, node, "a string or a table").hint(SECRET_HINT);
                None
            }
        })
    }

    /// A secret that is an address beginning with `http://` or `https://`. The text is not looked
    /// into where `config check` cannot see it ([`Secret::is_resolved`]).
    pub fn url(&mut self, key: &'static str) -> Option<Secret> {
        let secret = self.secret(key)?;
        if !secret.is_resolved() {
            return Some(secret);
        }
        let text = secret.expose();
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let problem = match host {
            None => Some("must start with https:// or http://"),
            Some(rest) if rest.is_empty() || rest.starts_with(['/', ':', '?']) => {
                Some("has no host")
            }
            Some(_) if text.contains(|c: char| c.is_whitespace() || c.is_control()) => {
                Some("must not contain spaces")
            }
            Some(_) => None,
        };
        let Some(problem) = problem else { return Some(secret) };
        let (name, at) = (self.section.name(key), self.place_of(key));
        self.sink
            .error(at, format!("`{name}` {problem}"))
            .hint("write \"https://example.org/path\"");
        None
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
