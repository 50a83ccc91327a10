//! The keys that every hook has, whatever its type is.

use super::{Key, Kind, key};

pub(super) const HOOK: &[Key] = &[
    key(
        "name",
        Kind::Text,
        "",
        "\"registry\"",
        "Its name, unique among hooks: letters, digits, `-`, `_`. Required.",
    ),
    key("type", Kind::Text, "", "\"discovery\"", "What kind of service. Required."),
    key(
        "events",
        Kind::TextList,
        "",
        "[\"started\", \"removed\"]",
        "Only these, a list of events. All that the type can tell by default.",
    ),
    key(
        "containers",
        Kind::TextList,
        "",
        "[\"web-*\"]",
        "Only containers of these names, a list of names or patterns. Any by default.",
    ),
    key(
        "images",
        Kind::TextList,
        "",
        "[\"nginx:*\", \"*/shop:*\"]",
        "Only containers of these images, as they were asked for, a list of patterns. Any by default.",
    ),
    key(
        "labels",
        Kind::TextMap,
        "",
        "{ tier = \"front*\" }",
        "Only containers that have all these labels; the values are patterns. Any by default.",
    ),
];
