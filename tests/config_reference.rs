//! The tables of keys in the documentation are made from the tables of keys in the code. Each stands
//! between `<!-- keys: NAME -->` and `<!-- end of keys -->`; NAME is `host.disk` or, for what only
//! channels of one type have, `channel.slack`. The prose between them is written by hand.
//!
//! Write them anew with `UPDATE_GOLDEN=1`.

// A test may end where it stands; clippy's own allowance does not reach helper functions.
#![allow(clippy::unwrap_used)]

#[path = "documents/keys.rs"]
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use keepwell::config::{Key, KeyKind, keys};

const BEGIN: &str = "<!-- keys: ";
const END: &str = "<!-- end of keys -->";

/// Every table of keys there is, by its name.
fn tables() -> BTreeMap<String, &'static [Key]> {
    fn down(path: &str, keys: &'static [Key], all: &mut BTreeMap<String, &'static [Key]>) {
        for key in keys {
            let path =
                if path.is_empty() { key.name.into() } else { format!("{path}.{}", key.name) };
            if let KeyKind::Table(keys)
            | KeyKind::Switch(keys)
            | KeyKind::Sections(keys)
            | KeyKind::OpenSections(keys) = key.kind
            {
                all.insert(path.clone(), keys);
                down(&path, keys, all);
            }
        }
    }
    let mut all = BTreeMap::new();
    down("", keys::ROOT, &mut all);
    for (section, kind, keys) in kinds() {
        let path = format!("{section}.{kind}");
        assert!(all.insert(path.clone(), keys).is_none(), "{path} is there twice");
        down(&path, keys, &mut all);
    }
    all
}

/// The sections whose keys depend on their `type`: section, type, keys of its own.
fn kinds() -> Vec<(&'static str, &'static str, &'static [Key])> {
    let channels = keepwell::notify::KINDS.iter().map(|kind| ("channel", kind.name, kind.keys));
    let probes =
        keepwell::sources::probes::KINDS.iter().map(|kind| ("probe", kind.name, kind.keys));
    let hooks = keepwell::notify::hooks::KINDS.iter().map(|kind| ("hook", kind.name, kind.keys));
    channels.chain(probes).chain(hooks).collect()
}

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["docs", "docs/channels"].map(|folder| fs::read_dir(root.join(folder)).unwrap());
    let paths = folders.into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|p| p.extension().is_some_and(|e| e == "md")).collect();
    paths.sort();
    paths
}

/// A document with its tables made anew; the names of those go into `made`.
fn renewed(text: &str, made: &mut Vec<String>) -> String {
    let all = tables();
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(BEGIN) {
        let (before, from) = rest.split_at(at);
        let name = from[BEGIN.len()..].split(" -->").next().unwrap();
        let keys = all.get(name).unwrap_or_else(|| panic!("there is no table of keys {name}"));
        let after = from.find(END).unwrap_or_else(|| panic!("the table {name} has no end"));
        out.push_str(before);
        out.push_str(&format!("{BEGIN}{name} -->\n{}{END}", table::render(keys)));
        made.push(name.to_owned());
        rest = &from[after + END.len()..];
    }
    out + rest
}

#[test]
fn the_tables_of_the_documentation_are_those_of_the_code() {
    let mut differing = Vec::new();
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        let wanted = renewed(&text, &mut Vec::new());
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &wanted).unwrap();
        } else if text != wanted {
            differing.push(path.display().to_string());
        }
    }
    assert!(
        differing.is_empty(),
        "{} differ from the tables in the code; write them anew with:\n  \
         UPDATE_GOLDEN=1 cargo test --test config_reference",
        differing.join(", ")
    );
}

/// No table is left out, and those of the sections stand below the heading that names them. Tables
/// within tables that have the same keys, such as the thresholds, are shown once.
#[test]
fn every_table_of_keys_is_documented() {
    let mut made = Vec::new();
    for path in documents() {
        renewed(&fs::read_to_string(path).unwrap(), &mut made);
    }
    let all = tables();
    let names = |keys: &[Key]| keys.iter().map(|key| key.name).collect::<Vec<_>>();
    let shown: BTreeSet<Vec<&str>> = made.iter().map(|name| names(all[name])).collect();
    for (name, keys) in &all {
        // What a template has is said by its type: the words that stand in place of keepwell's.
        let template = name.ends_with(".template");
        // One whose keys are tables themselves, such as `pressure`, is said by its type as well.
        let tables = keys.iter().all(|key| matches!(key.kind, KeyKind::Switch(_)));
        let top = !name.contains('.');
        let seen = if top { made.contains(name) } else { shown.contains(&names(keys)) };
        assert!(seen || template || tables, "no document has `{BEGIN}{name} -->`");
    }
    let configuration = include_str!("../docs/configuration.md");
    for (section, kind, _) in kinds() {
        let named = [format!("| `{kind}` | "), format!("`{kind}`")];
        let [row, name] = named.map(|text| configuration.contains(&text));
        assert!(row || (section != "channel" && name), "the type {kind} is not listed");
    }
    for key in keys::ROOT {
        let heading = match key.kind {
            KeyKind::Table(_) => format!("\n## `[{}]`\n", key.name),
            _ => format!("\n## `[[{}]]`\n", key.name),
        };
        let part = configuration.split(&heading).nth(1);
        let part = part.unwrap_or_else(|| panic!("docs/configuration.md lacks {}", heading.trim()));
        let part = part.split("\n## ").next().unwrap();
        assert!(part.contains(&format!("{BEGIN}{} -->", key.name)), "{}", heading.trim());
    }
}

/// No table of keys is written by hand any more.
#[test]
fn no_table_of_keys_is_written_by_hand() {
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        let mut made = false;
        for (n, line) in text.lines().enumerate() {
            match line {
                line if line.starts_with(BEGIN) => made = true,
                END => made = false,
                line if line.starts_with("| key |") => {
                    assert!(made, "{}:{}: write `{BEGIN}NAME -->`", path.display(), n + 1);
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_line_has_what_the_table_of_keys_says() {
    let key = |kind, default, example, doc| Key { name: "a", kind, default, example, doc };
    for (key, wanted) in [
        (
            key(KeyKind::Duration, "\"30s\"", "\"10s\"", "How often, 500ms to 1h. Then rest."),
            "| `a` | duration, 500 ms to 1 h | `\"30s\"` | how often; then rest | `\"10s\"` |",
        ),
        (
            key(KeyKind::Text, "", "\"x\"", "Where, an absolute path. Required."),
            "| `a` | absolute path | required | where | `\"x\"` |",
        ),
        (
            key(KeyKind::SecretOrOff, "", "\"x|y\"", "The way; false is none; as `b` by default."),
            "| `a` | secret, or `false` | as `b` | the way; `false` is none | `\"x\\|y\"` |",
        ),
        (
            key(KeyKind::Integer(1, 9), "", "4", "Its port; by default 5, with c 6."),
            "| `a` | whole number, 1 to 9 | 5, with c 6 | its port | `4` |",
        ),
        (
            key(KeyKind::OneOf(&["x", "y"]), "\"x\"", "\"y\"", "How, see [agent]."),
            "| `a` | `\"x\"` or `\"y\"` | `\"x\"` | how, see `[agent]` | `\"y\"` |",
        ),
    ] {
        let made = table::render(&[key]);
        assert_eq!(made.lines().last().unwrap(), wanted);
    }
}
