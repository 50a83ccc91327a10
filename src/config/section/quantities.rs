//! Reading quantities: durations, ratios, sizes and addresses, with what is said of those that are
//! written wrongly.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::engine::time::Human;

use super::super::sink::Sink;
use super::super::tree::{Node, Value, quoted};
use super::super::values::{self, brief};
use super::{Reader, expected, text};

impl Reader<'_> {
    /// A duration within bounds.
    pub fn duration(
        &mut self,
        key: &'static str,
        from: Duration,
        to: Duration,
    ) -> Option<Duration> {
        self.value(key, |name, node, sink| duration(sink, name, node, from, to))
    }

    /// A duration within bounds; `Some(None)` when it is `false`.
    pub fn duration_or_off(
        &mut self,
        key: &'static str,
        from: Duration,
        to: Duration,
    ) -> Option<Option<Duration>> {
        self.value(key, |name, node, sink| match &node.value {
            Value::Bool(false) => Some(None),
            _ => duration(sink, name, node, from, to).map(Some),
        })
    }

    /// A ratio above 0, at most `most`; `Some(None)` when it is `false`.
    pub(in crate::config) fn level(&mut self, key: &'static str, most: f64) -> Option<Option<f64>> {
        self.value(key, |name, node, sink| {
            let ratio = match &node.value {
                Value::Bool(false) => return Some(None),
                Value::Float(ratio) => *ratio,
                Value::Integer(n) if most > 1.0 => *n as f64,
                Value::Integer(n) => {
                    expected(sink, name, node, "a ratio").hint(format!("write \"{n}%\""));
                    return None;
                }
                Value::Text(text) => match values::ratio(text) {
                    Ok(ratio) => ratio,
                    Err(why) => {
                        sink.error(node.at, format!("`{name}` is not a ratio: {why}"))
                            .hint("write \"80%\" or 0.8, or false for never");
                        return None;
                    }
                },
                _ => {
                    expected(sink, name, node, "a ratio")
                        .hint("write \"80%\" or 0.8, or false for never");
                    return None;
                }
            };
            if ratio > 0.0 && ratio <= most {
                return Some(Some(ratio));
            }
            let most = most * 100.0;
            let message = format!("`{name}` must be above 0% and at most {most}%");
            let found = sink.error(node.at, message);
            if ratio > 1.0 && ratio <= 100.0 && !matches!(node.value, Value::Text(_)) {
                found.hint(format!("write \"{ratio}%\""));
            }
            None
        })
    }

    /// A size in bytes within bounds.
    pub fn size(&mut self, key: &'static str, from: u64, to: u64) -> Option<u64> {
        const HINT: &str = "a number and a unit (KiB, MiB, GiB), such as \"64MiB\"";
        self.value(key, |name, node, sink| match &node.value {
            Value::Text(text) => match values::size(text) {
                Ok(value) if (from..=to).contains(&value) => Some(value),
                Ok(value) => {
                    let [from, to, value] = [from, to, value].map(values::human_size);
                    let message = format!("`{name}` must be between {from} and {to}, not {value}");
                    sink.error(node.at, message);
                    None
                }
                Err(why) => {
                    sink.error(node.at, format!("`{name}` is not a size: {why}")).hint(HINT);
                    None
                }
            },
            Value::Integer(n) => {
                expected(sink, name, node, "a size").hint(format!("write \"{n}MiB\""));
                None
            }
            _ => {
                expected(sink, name, node, "a size").hint(HINT);
                None
            }
        })
    }

    /// Addresses to listen on: one, a list, or `false` for none.
    pub(in crate::config) fn listen(&mut self, key: &'static str) -> Option<Vec<SocketAddr>> {
        self.value(key, |name, node, sink| match &node.value {
            Value::Bool(false) => Some(Vec::new()),
            Value::Text(_) => Some(vec![address(sink, name, node)?]),
            Value::List(list) if list.is_empty() => {
                sink.error(node.at, format!("`{name}` is an empty list"))
                    .hint("for no HTTP at all, write listen = false");
                None
            }
            Value::List(list) => {
                let mut all: Vec<SocketAddr> = Vec::new();
                for node in list {
                    let Some(address) = address(sink, name, node) else { continue };
                    if all.contains(&address) {
                        sink.error(node.at, format!("`{name}` names {address} twice"));
                    } else {
                        all.push(address);
                    }
                }
                Some(all)
            }
            Value::Integer(port) => {
                expected(sink, name, node, "an address with a port")
                    .hint(format!("write \"127.0.0.1:{port}\""));
                None
            }
            _ => {
                expected(sink, name, node, "an address with a port, or false")
                    .hint("write \"127.0.0.1:8080\"");
                None
            }
        })
    }
}

fn duration(
    sink: &mut Sink,
    name: &str,
    node: &Node,
    from: Duration,
    to: Duration,
) -> Option<Duration> {
    const HINT: &str = "a number and a unit (ms, s, m, h, d), such as \"30s\" or \"1h30m\"";
    match &node.value {
        Value::Text(text) => match values::duration(text) {
            Ok(value) if (from..=to).contains(&value) => Some(value),
            Ok(value) => {
                let (from, to, value) = (Human(from), Human(to), Human(value));
                let message = format!("`{name}` must be between {from} and {to}, not {value}");
                sink.error(node.at, message);
                None
            }
            Err(why) => {
                sink.error(node.at, format!("`{name}` is not a duration: {why}")).hint(HINT);
                None
            }
        },
        Value::Integer(n) => {
            // A number that is too small in seconds was meant in days.
            let unit = if i128::from(*n) < i128::from(from.as_secs()) { "d" } else { "s" };
            expected(sink, name, node, "a duration").hint(format!("write \"{n}{unit}\""));
            None
        }
        _ => {
            expected(sink, name, node, "a duration").hint(HINT);
            None
        }
    }
}

fn address(sink: &mut Sink, name: &str, node: &Node) -> Option<SocketAddr> {
    let text = text(sink, name, node)?;
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address);
    }
    let hint = if let Ok(ip) = text.parse::<IpAddr>() {
        format!("write {}", quoted(&SocketAddr::new(ip, 8080).to_string()))
    } else if let Some(port) = text.rsplit(':').next().filter(|p| p.parse::<u16>().is_ok()) {
        format!(
            "names are not looked up: write \"127.0.0.1:{port}\", or \"0.0.0.0:{port}\" for all"
        )
    } else {
        "write an address and a port from 1 to 65535, such as \"127.0.0.1:8080\"".to_owned()
    };
    let message = format!("`{name}`: \"{}\" is not an address with a port", brief(&text));
    sink.error(node.at, message).hint(hint);
    None
}
