//! Reading names that are often numbers: what services call their chats and users.

use super::super::sink::Place;
use super::super::tree::{Node, Value};
use super::{Reader, expected, text};

impl Reader<'_> {
    /// Names with their places: a text, a whole number, or a list of those. Numbers are given as
    /// texts; a text may name several, with commas between them, as variables must.
    pub fn identifiers(&mut self, key: &'static str) -> Option<Vec<(String, Place)>> {
        self.value(key, |name, node, sink| {
            let mut all = Vec::new();
            let mut one = |node: &Node, all: &mut Vec<_>| match &node.value {
                Value::Integer(n) => all.push((n.to_string(), node.at)),
                Value::Text(_) => {
                    let Some(text) = text(sink, name, node) else { return };
                    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
                    all.extend(names.map(|name| (name.to_owned(), node.at)));
                }
                _ => {
                    expected(sink, name, node, "a number, a string, or a list of those");
                }
            };
            match &node.value {
                Value::List(list) => list.iter().for_each(|node| one(node, &mut all)),
                _ => one(node, &mut all),
            }
            Some(all)
        })
    }
}
