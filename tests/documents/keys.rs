//! A table of keys in Markdown: what the code says of each key, put into columns.
//!
//! The text of a key is in sentences (`. `) and clauses (`; `). A clause behind a comma that is a
//! range belongs to the type, one that ends with "by default" to the default; the rest is what the
//! key means.

use keepwell::config::{Key, KeyKind};

/// Whether a text is a range: `1s to 1h`, `at least 100ms`, `0 to 200`.
fn range(text: &str) -> Option<String> {
    let quantity = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let unit = match unit {
            "" => "",
            "ms" => " ms",
            "s" => " s",
            "m" => " min",
            "h" => " h",
            "d" => " d",
            "KiB" => " KiB",
            "MiB" => " MiB",
            "GiB" => " GiB",
            "TiB" => " TiB",
            _ => return None,
        };
        (!number.is_empty()).then(|| format!("{number}{unit}"))
    };
    for word in ["at least ", "at most "] {
        if let Some(rest) = text.strip_prefix(word) {
            return quantity(rest).map(|quantity| format!("{word}{quantity}"));
        }
    }
    let (from, to) = text.split_once(" to ")?;
    Some(format!("{} to {}", quantity(from)?, quantity(to)?))
}

/// What texts and lists of texts can be besides that: how the code says it, and the column.
const FORMS: &[(&str, &str)] = &[
    ("an absolute path", "absolute path"),
    ("an absolute path or a pattern", "absolute path or pattern"),
    ("a unit or a pattern", "unit or pattern"),
    ("a time of day", "time of day"),
    ("a time zone", "name of a time zone"),
    ("a list of channels", "list of channels"),
    ("a list of checks", "list of checks"),
    ("a list of days or ranges of days", "list of days or ranges of days"),
    ("a list of times of day", "list of times of day"),
];

/// What the text of a key says, taken apart.
#[derive(Default)]
struct Said {
    required: bool,
    form: Option<&'static str>,
    range: Option<String>,
    default: Option<String>,
    meaning: String,
}

fn said(doc: &str) -> Said {
    let mut said = Said::default();
    let mut kept: Vec<String> = Vec::new();
    for sentence in doc.trim_end_matches('.').split(". ") {
        for clause in sentence.split("; ") {
            if clause == "Required" {
                said.required = true;
                continue;
            }
            let default = clause
                .strip_suffix(" by default")
                .or_else(|| clause.strip_prefix("by default "))
                .or_else(|| clause.strip_prefix("By default "));
            if let Some(default) = default {
                said.default = Some(lower(default.trim_end_matches(',')));
                continue;
            }
            let mut parts: Vec<&str> = Vec::new();
            for part in clause.split(", ") {
                match range(part) {
                    Some(range) => said.range = Some(range),
                    None if FORMS.iter().any(|(words, _)| *words == part) => {
                        let form = FORMS.iter().find(|(words, _)| *words == part);
                        said.form = form.map(|(_, form)| *form);
                    }
                    None => parts.push(part),
                }
            }
            if !parts.is_empty() {
                kept.push(lower(&parts.join(", ")));
            }
        }
    }
    said.meaning = kept.join("; ");
    said
}

/// With a small first letter, unless the word is in capitals.
fn lower(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().unwrap_or_default();
    if chars.clone().next().is_some_and(char::is_uppercase) {
        return text.to_owned();
    }
    first.to_lowercase().chain(chars).collect()
}

/// Words of the configuration in a sentence, as code.
fn coded(text: &str) -> String {
    let mut inside = false;
    let words = text.split(' ').map(|word| {
        let open = inside;
        inside ^= word.matches('`').count() % 2 == 1;
        if open || word.contains('`') {
            return word.to_owned();
        }
        let bare = word.trim_end_matches([',', ';', ':', '.']);
        let code = matches!(bare, "true" | "false")
            || (bare.starts_with('[') && bare.ends_with(']'))
            || bare.starts_with("/v1/")
            || bare.ends_with("://");
        if code { format!("`{bare}`{}", &word[bare.len()..]) } else { word.to_owned() }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn names(keys: &[Key]) -> String {
    joined(keys.iter().map(|key| format!("`{}`", key.name)).collect(), "and")
}

fn joined(mut all: Vec<String>, word: &str) -> String {
    match all.pop() {
        Some(last) if all.is_empty() => last,
        Some(last) => format!("{} {word} {last}", all.join(", ")),
        None => String::new(),
    }
}

fn kind(key: &Key, said: &Said) -> String {
    let table = |keys: &[Key]| match keys.len() {
        1..=4 => format!("table with {}", names(keys)),
        _ => "table".to_owned(),
    };
    let name = match key.kind {
        KeyKind::Bool => "boolean".into(),
        KeyKind::Integer(from, to) => return format!("whole number, {from} to {to}"),
        KeyKind::Number => "number".into(),
        KeyKind::Duration | KeyKind::DurationOrOff => "duration".into(),
        KeyKind::Level => "ratio, or `false`".into(),
        KeyKind::Size => "size".into(),
        KeyKind::Text | KeyKind::TextList if said.form.is_some() => {
            said.form.unwrap_or_default().to_owned()
        }
        KeyKind::Text => "text".into(),
        KeyKind::Address => "address".into(),
        KeyKind::OneOf(words) => joined(words.iter().map(|w| format!("`\"{w}\"`")).collect(), "or"),
        KeyKind::TextList => "list of texts".into(),
        KeyKind::Identifiers => "whole number or text, or a list of those".into(),
        KeyKind::TextMap => "table of texts".into(),
        KeyKind::SecretMap => "table of secrets".into(),
        KeyKind::Secret => "secret".into(),
        KeyKind::Listen => "address with port, a list of those, or `false`".into(),
        KeyKind::Attempts => "whole number, or `false`".into(),
        KeyKind::SecretOrOff => "secret, or `false`".into(),
        KeyKind::Table(keys) => table(keys),
        KeyKind::Switch(keys) => table(keys) + ", or `false`",
        KeyKind::Sections(_) | KeyKind::OpenSections(_) => "sections".into(),
    };
    let range = said.range.as_ref().map(|range| format!(", {range}")).unwrap_or_default();
    let off = if key.kind == KeyKind::DurationOrOff { ", or `false`" } else { "" };
    name + &range + off
}

fn is_threshold(keys: &[Key]) -> bool {
    ["warning", "critical", "for"].iter().all(|name| keys.iter().any(|key| key.name == *name))
}

fn is_off(key: &Key) -> bool {
    match key.kind {
        KeyKind::Switch(keys) if is_threshold(keys) => {
            keys.iter().filter(|k| k.kind == KeyKind::Level).all(|k| k.default == "false")
        }
        KeyKind::Table(keys) | KeyKind::Switch(keys) => !keys.is_empty() && keys.iter().all(is_off),
        _ => false,
    }
}

fn default(key: &Key, said: &Said) -> String {
    if said.required {
        return "required".into();
    }
    if !key.default.is_empty() {
        return format!("`{}`", key.default);
    }
    if let Some(default) = &said.default {
        return coded(default);
    }
    match key.kind {
        KeyKind::Table(_) | KeyKind::Switch(_) if is_off(key) => "off".into(),
        KeyKind::Switch(keys) => {
            let threshold = is_threshold(keys);
            let all: Vec<String> = keys
                .iter()
                .filter(|key| !key.default.is_empty())
                .filter(|key| !threshold || ["warning", "critical", "for"].contains(&key.name))
                .map(|key| format!("{} = {}", key.name, key.default))
                .collect();
            if all.is_empty() { "`{}`".into() } else { format!("`{{ {} }}`", all.join(", ")) }
        }
        _ => "none".into(),
    }
}

/// An example as TOML: of a table, with the first of its keys.
fn example(key: &Key) -> String {
    match key.kind {
        KeyKind::Table(keys) | KeyKind::Switch(keys) => keys
            .first()
            .map(|first| format!("{{ {} = {} }}", first.name, example(first)))
            .unwrap_or_default(),
        _ => key.example.to_owned(),
    }
}

pub(crate) fn render(keys: &[Key]) -> String {
    let mut out = String::new();
    if keys.is_empty() {
        return "It has no keys of its own.\n".into();
    }
    out.push_str("| key | type | default | meaning | example |\n|---|---|---|---|---|\n");
    for key in keys {
        let said = said(key.doc);
        let cells = [
            format!("`{}`", key.name),
            kind(key, &said),
            default(key, &said),
            coded(&said.meaning),
            format!("`{}`", example(key)),
        ];
        let cells = cells.map(|cell| cell.replace('|', "\\|"));
        out.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    out
}
