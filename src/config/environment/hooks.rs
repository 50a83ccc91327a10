//! The variables that make hooks. They are set for other programs as well: what is wrong with one
//! is a warning.

use super::super::sink::Sink;
use super::super::tree::Table;
use super::channels::{Made, Text, table};

/// Each with the hook that it makes, by name and type.
const HOOKS: [(&str, &str); 2] =
    [("DISCOVERY_SERVICE_URL", "discovery"), ("BILLING_SERVICE_URL", "billing")];

/// Every variable that says something of a hook.
pub(super) const NAMES: [&str; 2] = [HOOKS[0].0, HOOKS[1].0];

/// Lays the hooks of the variables over the document.
pub(super) fn merge_into(document: &mut Table, sink: &mut Sink) {
    for (variable, kind) in HOOKS {
        let Some(url) = Text::shared(variable, sink) else { continue };
        let keys = table([("url", url.entry())]);
        let (at, otherwise) = (url.at, Table::new());
        Made { list: "hook", name: kind, kind, same: &[kind], at, keys, otherwise }.merge(document);
    }
}
