//! `packaging/keepwell.toml`, the configuration of the packages: all that has a default, commented
//! out. It is written from the table in the code (anew with `UPDATE_GOLDEN=1`); as it is and with
//! every line in force it loads, and both mean the same as no configuration at all.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::fmt::Write as _;

use keepwell::config::keys::ROOT;
use keepwell::config::{self, Environment, Key, KeyKind, Options, show};

const FILE: &str = "packaging/keepwell.toml";

const HEADER: &str = "\
# keepwell's configuration.
#
# None of it is needed: keepwell then reports every unit that fails, watches disks, memory, swap and
# processors, restarts nothing, and serves on 127.0.0.1:8080. Below is all that has a default, with
# its default: take away the # before a line to change it, and the # before the [section] above it.
#
# Then: keepwell config check && systemctl reload keepwell
#
# A unit that keepwell may restart, and somebody who is told:
#
#   [[unit]]
#   name = \"nginx.service\"
#   restart = true
#
#   [[channel]]
#   name = \"ops\"
#   type = \"slack\"
#   url = { credential = \"slack-url\" }
#
# Files in /etc/keepwell/conf.d are read after this one, and weigh more. Sections that may stand more
# than once, and keys without a default, are in docs/configuration.md and `keepwell config schema`.
";

fn load(text: &str) -> String {
    let options = Options::new(None, Environment::default(), true, "host".into());
    let bytes = Ok(text.as_bytes().to_vec());
    let input = config::Input { path: FILE.into(), bytes, world_readable: true };
    let loaded = config::load_from(vec![input], &options);
    let shown = show::text(&loaded);
    loaded.finish().unwrap();
    shown
}

/// `name = value` of a line of `config show`, without where it comes from.
fn setting(line: &str) -> Option<(&str, &str)> {
    let line = line.rsplit_once(" # ").map_or(line, |(line, _)| line).trim_end();
    line.split_once(" = ")
}

/// What a table may hold.
fn keys_of(table: &Key) -> &'static [Key] {
    match table.kind {
        KeyKind::Table(keys) | KeyKind::Switch(keys) => keys,
        _ => &[],
    }
}

/// Text behind `# `, in lines of at most 100 characters.
fn comment(out: &mut String, text: &str) {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > 100 {
            writeln!(out, "{line}").unwrap();
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    writeln!(out, "{line}").unwrap();
}

/// What a key is, without where its default comes from: that stands below it.
fn said(doc: &str) -> String {
    let split = doc.strip_suffix(" by default.").and_then(|doc| doc.rsplit_once("; "));
    split.map_or(doc.to_owned(), |(doc, _)| format!("{doc}."))
}

/// The file as the defaults of this build have it.
fn written() -> String {
    let mut out = String::from(HEADER);
    let mut table: Option<&Key> = None;
    for line in load("").lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let found = ROOT.iter().find(|key| key.name == name).unwrap();
            out.push('\n');
            comment(&mut out, found.doc);
            writeln!(out, "#[{name}]").unwrap();
            table = Some(found);
        } else if let Some((name, value)) = setting(line) {
            let key = keys_of(table.unwrap()).iter().find(|key| key.name == name).unwrap();
            comment(&mut out, &said(key.doc));
            writeln!(out, "#{name} = {value}").unwrap();
        }
    }
    out
}

/// Every setting in force: a `#` without a space behind it is taken away.
fn uncommented(text: &str) -> String {
    let lines = text.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => rest,
        _ => line,
    });
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_packaged_configuration_says_every_default() {
    let text = written();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(FILE, &text).unwrap();
    }
    let there = std::fs::read_to_string(FILE).unwrap();
    assert_eq!(there, text, "write it anew with UPDATE_GOLDEN=1");
    assert!(text.contains("\n#listen = [\"127.0.0.1:8080\"]\n"), "{text}");
}

#[test]
fn commented_or_not_it_means_what_nothing_means() {
    let there = std::fs::read_to_string(FILE).unwrap();
    let settings = |text: &str| -> Vec<(String, String)> {
        let shown = load(text);
        let lines = shown.lines().filter(|line| !line.starts_with('#')).filter_map(setting);
        lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let nothing = settings("");
    assert!(nothing.len() > 40, "{nothing:?}");
    assert_eq!(settings(&there), nothing);
    let all = uncommented(&there);
    assert!(all.lines().filter_map(setting).count() >= nothing.len(), "{all}");
    assert_eq!(settings(&all), nothing, "{all}");
}
