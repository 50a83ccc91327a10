//! Who may import whom: reads every path of `src` and fails on an edge that the table in
//! `docs/architecture.md` does not allow.
//!
//! It works on tokens, not on syntax trees, because a path can stand anywhere: in a nested group
//! of `use`, inline in an expression or a type, in an attribute's string (`with = "crate::…"`), in
//! the arguments of a macro or in its definition.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// Each room of the house and the rooms that it may import.
const TABLE: &[(&str, &[&str])] = &[
    ("engine", &[]),
    ("config", &["engine"]),
    ("store", &["engine"]),
    ("systemd", &["engine"]),
    ("docker", &["engine"]),
    ("sources", &["engine", "config", "systemd", "docker"]),
    ("actions", &["engine", "config", "systemd", "docker"]),
    ("rights", &["engine", "config", "systemd"]),
    ("outbound", &["engine", "config"]),
    ("telemetry", &["engine", "config", "outbound"]),
    ("notify", &["engine", "config", "store", "outbound", "telemetry"]),
    ("surfaces", &["engine", "config", "store"]),
    (
        "app",
        &[
            "engine",
            "config",
            "store",
            "systemd",
            "docker",
            "sources",
            "actions",
            "rights",
            "outbound",
            "telemetry",
            "notify",
            "surfaces",
        ],
    ),
    (
        "cli",
        &[
            "engine",
            "config",
            "store",
            "systemd",
            "docker",
            "sources",
            "actions",
            "rights",
            "outbound",
            "telemetry",
            "notify",
            "surfaces",
            "app",
        ],
    ),
];

/// What the engine may not touch: it has no clock, no I/O, no log, no task and no chance in it.
/// Its tests may.
const NOT_IN_ENGINE: &[&str] = &[
    "std::time::Instant",
    "std::time::SystemTime",
    "std::fs",
    "std::net",
    "std::env",
    "std::io",
    "std::process",
    "std::thread",
    "std::os",
    "core::net",
    "tokio",
    "tokio_util",
    "tracing",
    "tracing_subscriber",
    "rand",
    "fastrand",
    "zbus",
    "rusqlite",
    "reqwest",
    "hyper",
    "axum",
    "rustix",
    "procfs",
    "sysinfo",
    "sd_notify",
    "anyhow",
];

#[test]
fn no_room_imports_what_the_table_forbids() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    assert!(files.len() > 20, "found only {} files in {}", files.len(), src.display());
    let mut faults = Vec::new();
    let mut rooms = BTreeSet::new();
    for file in &files {
        let text = fs::read_to_string(file).expect("a source file is readable text");
        let path = file.strip_prefix(&src).expect("it was found below src");
        let module = module_of(path);
        if module.first().is_some_and(|_| path.components().count() > 1) {
            rooms.insert(module[0].clone());
        }
        faults.extend(check(&format!("src/{}", path.display()), &module, &text));
    }
    let known: BTreeSet<String> = TABLE.iter().map(|(room, _)| (*room).to_owned()).collect();
    let unknown: Vec<&String> = rooms.difference(&known).collect();
    assert!(unknown.is_empty(), "folders of src that the table does not know: {unknown:?}");
    assert!(faults.is_empty(), "forbidden imports:\n{}", faults.join("\n"));
}

fn rust_files(dir: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(dir).expect("src is readable").flatten().map(|e| e.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// The module that a file is, from its path below `src`: `store/outbox.rs` is `store::outbox`.
fn module_of(path: &Path) -> Vec<String> {
    let mut module: Vec<String> =
        path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|last| last == "mod") || module == ["lib"] || module == ["main"] {
        module.pop();
    }
    module
}

/// The faults of one file, each as `FILE:LINE: what`.
fn check(file: &str, module: &[String], text: &str) -> Vec<String> {
    let tokens: TokenStream = match text.parse() {
        Ok(tokens) => tokens,
        Err(e) => return vec![format!("{file}: cannot be read as Rust: {e}")],
    };
    let mut faults = Vec::new();
    walk(tokens, &mut Place { module: module.to_vec() }, &mut |place, path| {
        if let Some(what) = place.judge(path) {
            faults.push(format!("{file}:{}: {what}", path.line));
        }
    });
    faults
}

/// Where in the module tree a path stands.
#[derive(Clone)]
struct Place {
    module: Vec<String>,
}

/// A path as written, groups of `use` spread out.
#[derive(Clone)]
struct Written {
    segments: Vec<String>,
    line: usize,
}

impl Place {
    /// What is wrong with a path that stands here.
    fn judge(&self, path: &Written) -> Option<String> {
        // The root itself (lib.rs, main.rs) opens the rooms.
        let room = self.module.first()?;
        let allowed = TABLE.iter().find(|(name, _)| name == room).map_or(&[][..], |(_, a)| a);
        let shown = path.segments.join("::");
        if let Some(target) = self.resolve(&path.segments) {
            return match target.first().map(String::as_str) {
                None | Some("*") => {
                    Some(format!("{room} imports the crate's root by `{shown}`: name the room"))
                }
                Some(target) if target == room || allowed.contains(&target) => None,
                Some(target) => Some(format!("{room} may not import {target}: `{shown}`")),
            };
        }
        if room == "engine" && !self.module.iter().any(|part| part == "tests") {
            let end = path.segments.len() - usize::from(path.segments.ends_with(&["*".into()]));
            let found = &path.segments[..end];
            for banned in NOT_IN_ENGINE {
                let banned: Vec<&str> = banned.split("::").collect();
                let both = banned.len().min(found.len());
                // Also the import of a whole module that holds it, such as `use std::time`.
                if both > 0 && banned[..both].iter().zip(found).all(|(b, f)| b == f) {
                    return Some(format!(
                        "the engine is pure, it may not use {}: `{shown}`",
                        banned.join("::")
                    ));
                }
            }
        }
        None
    }

    /// From the crate's root on, for a path into this crate; an empty one is the root itself.
    fn resolve(&self, segments: &[String]) -> Option<Vec<String>> {
        let mut rest = segments;
        let mut base = match rest.first()?.as_str() {
            "crate" | "keepwell" => Vec::new(),
            "super" | "self" => self.module.clone(),
            _ => return None,
        };
        if matches!(rest[0].as_str(), "crate" | "keepwell" | "self") {
            rest = &rest[1..];
        }
        while let Some((first, more)) = rest.split_first() {
            match first.as_str() {
                "super" => {
                    base.pop();
                }
                "self" => {}
                _ => break,
            }
            rest = more;
        }
        base.extend(rest.iter().cloned());
        Some(base)
    }
}

/// Hands each path in `tokens` to `found`.
fn walk(tokens: TokenStream, place: &mut Place, found: &mut dyn FnMut(&Place, &Written)) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Ident(word) if word == "mod" => {
                // An inline module is one step further down.
                if let (Some(TokenTree::Ident(name)), Some(TokenTree::Group(body))) =
                    (tokens.get(at + 1), tokens.get(at + 2))
                {
                    place.module.push(name.to_string());
                    walk(body.stream(), place, found);
                    place.module.pop();
                    at += 3;
                } else {
                    at += 1;
                }
            }
            // `use ::a` and `impl ::a::B` are no paths that begin with `use` and `impl`.
            TokenTree::Ident(word) if is_keyword(&word.to_string()) => at += 1,
            TokenTree::Ident(_) if !continues(&tokens, at) => {
                let (paths, next) = path(&tokens, at, &[]);
                for path in paths.iter().filter(|path| is_import(path, &tokens, at, next)) {
                    found(place, path);
                }
                at = next;
            }
            TokenTree::Group(group) => {
                let attribute = at > 0 && is_punct(&tokens[at - 1], '#')
                    || at > 1 && is_punct(&tokens[at - 1], '!') && is_punct(&tokens[at - 2], '#');
                if attribute {
                    strings(group, place, found);
                }
                walk(group.stream(), place, found);
                at += 1;
            }
            _ => at += 1,
        }
    }
}

/// Whether a path is one: `crate` in `pub(crate)`, or `self` and `std` as plain words, are none,
/// unless `as` gives the whole of it another name.
fn is_import(path: &Written, tokens: &[TokenTree], at: usize, next: usize) -> bool {
    let renamed = matches!(tokens.get(next), Some(TokenTree::Ident(word)) if word == "as");
    let word = path.segments[0].as_str();
    let used =
        at > 0 && matches!(&tokens[at - 1], TokenTree::Ident(w) if w == "use" || w == "crate");
    path.segments.len() > 1
        || renamed && (used || word == "crate" || word == "super")
        || used && word != "self"
}

/// Paths in the strings of an attribute, such as `serde(with = "crate::…")`. Documentation is no
/// code.
fn strings(group: &Group, place: &mut Place, found: &mut dyn FnMut(&Place, &Written)) {
    let mut tokens = group.stream().into_iter().peekable();
    if matches!(tokens.peek(), Some(TokenTree::Ident(word)) if word == "doc") {
        return;
    }
    for token in tokens {
        match token {
            TokenTree::Group(inner) => strings(&inner, place, found),
            TokenTree::Literal(literal) => {
                let line = literal.span().start().line;
                let text = literal.to_string();
                let text = text.trim_matches(|c| c == '"' || c == 'r' || c == '#');
                if text.contains("::")
                    && let Ok(tokens) = text.parse::<TokenStream>()
                {
                    walk(tokens, place, &mut |place, path| {
                        found(place, &Written { segments: path.segments.clone(), line });
                    });
                }
            }
            _ => {}
        }
    }
}

/// The paths that begin with the identifier at `at` (several where a group follows), and where
/// what comes after them begins.
fn path(tokens: &[TokenTree], at: usize, before: &[String]) -> (Vec<Written>, usize) {
    let mut segments = before.to_vec();
    let line = tokens[at].span().start().line;
    segments.push(tokens[at].to_string());
    let mut at = at + 1;
    loop {
        if !(tokens.get(at).is_some_and(|t| is_punct(t, ':'))
            && tokens.get(at + 1).is_some_and(|t| is_punct(t, ':')))
        {
            return (vec![Written { segments, line }], at);
        }
        match tokens.get(at + 2) {
            Some(TokenTree::Ident(word)) => {
                segments.push(word.to_string());
                at += 3;
            }
            Some(star) if is_punct(star, '*') => {
                segments.push("*".into());
                return (vec![Written { segments, line }], at + 3);
            }
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                return (spread(group, &segments), at + 3);
            }
            // A turbofish: what is in it is read for itself.
            _ => return (vec![Written { segments, line }], at + 2),
        }
    }
}

/// The paths of a group of `use`, each with what stands before the group.
fn spread(group: &Group, before: &[String]) -> Vec<Written> {
    let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
    let mut all = Vec::new();
    let mut at = 0;
    let mut expected = true;
    while at < tokens.len() {
        match &tokens[at] {
            comma if is_punct(comma, ',') => {
                expected = true;
                at += 1;
            }
            star if expected && is_punct(star, '*') => {
                let mut segments = before.to_vec();
                segments.push("*".into());
                all.push(Written { segments, line: star.span().start().line });
                at += 1;
            }
            TokenTree::Ident(_) if expected => {
                let (mut paths, next) = path(&tokens, at, before);
                for path in &mut paths {
                    // `{self}` is the module before the group.
                    if path.segments.last().is_some_and(|last| last == "self")
                        && path.segments.len() > 1
                    {
                        path.segments.pop();
                    }
                }
                all.extend(paths);
                at = next;
                expected = false; // what follows `as` is a new name
            }
            _ => at += 1,
        }
    }
    all
}

/// Whether the identifier at `at` continues a path, or is a field or method.
fn continues(tokens: &[TokenTree], at: usize) -> bool {
    let is = |back: usize, c: char| {
        at.checked_sub(back).and_then(|i| tokens.get(i)).is_some_and(|t| is_punct(t, c))
    };
    // `::` after something goes on; at the start of a path (`use ::tokio::…`) it does not.
    let after_path = is(1, ':')
        && is(2, ':')
        && at.checked_sub(3).and_then(|i| tokens.get(i)).is_some_and(|t| match t {
            TokenTree::Ident(word) => !is_keyword(&word.to_string()),
            other => is_punct(other, '>'),
        });
    after_path || is(1, '.') && !is(2, '.')
}

/// Words that can stand before a path and belong to none.
fn is_keyword(word: &str) -> bool {
    const KEYWORDS: &str = " use pub as in impl for dyn mut ref let if while match else where return \
                            break move async await unsafe const static type fn box yield ";
    KEYWORDS.contains(&format!(" {word} "))
}

fn is_punct(token: &TokenTree, c: char) -> bool {
    matches!(token, TokenTree::Punct(p) if p.as_char() == c)
}

/// Faults of a snippet that stands in the module `module` (`store::outbox`).
fn faults(module: &str, text: &str) -> Vec<String> {
    let module: Vec<String> = module.split("::").map(str::to_owned).collect();
    check("snippet.rs", &module, text)
}

#[test]
fn a_forbidden_edge_is_found_in_every_form() {
    let forms = [
        "use crate::store::Outbox;",
        "use crate::{engine::Now, store::Outbox};",
        "use crate::{engine::{Now, words::{Reason}}, store};",
        "use {crate::store::Outbox, std::fmt};",
        "pub use crate::store as hidden;",
        "pub(crate) use crate::store::*;",
        "use super::super::store::Outbox;",
        "use super::super::{engine::Now, store::{self, Outbox}};",
        "use self::super::super::store::Outbox;",
        "use keepwell::store::Outbox;",
        "use ::keepwell::store::Outbox;",
        "impl ::keepwell::store::Row for X {}",
        "fn f() { let o = crate::store::Outbox::new(); }",
        "fn f(o: &crate::store::Outbox) -> Vec<crate::store::Row> { todo!() }",
        "impl From<super::super::store::Row> for X {}",
        "fn f() { g::<crate::store::Row>(); }",
        "mod inner { use super::super::super::store::Row; }",
        "mod a { mod b { fn f() { super::super::super::super::store::open() } } }",
        "#[serde(with = \"crate::store::text\")] struct S;",
        "#[serde(default, deserialize_with = r#\"super::super::store::text\"#)] struct S;",
        "#[derive(crate::store::Macro)] struct S;",
        "fn f() { println!(\"{}\", crate::store::NAME); }",
        "macro_rules! m { () => { $crate::store::NAME }; }",
        "macro_rules! m { () => { use $crate::{engine::Now, store::NAME}; }; }",
        "fn f() { tokio::select! { r = crate::store::next() => r, } }",
        "pub(in crate::store) fn f() {}",
        "#[cfg(test)] mod tests { use crate::store::Row; }",
        "fn f() { x.map(crate::store::Row::from) }",
        "fn f() { for i in 0..crate::store::MAX {} }",
    ];
    for form in forms {
        let found = faults("systemd::bus", form);
        assert!(
            found.iter().any(|fault| fault.contains("systemd may not import store")),
            "not found in: {form}\n{found:?}"
        );
    }
}

#[test]
fn the_root_cannot_be_imported_to_get_around_the_table() {
    for form in [
        "use crate as root;",
        "use crate::*;",
        "use crate::{self as root};",
        "use super::super as root;",
        "use super::super::*;",
        "use super::super::{self as root};",
        "extern crate keepwell as root;",
    ] {
        let found = faults("systemd::bus", form);
        assert!(
            found.iter().any(|fault| fault.contains("imports the crate's root")),
            "not found in: {form}\n{found:?}"
        );
    }
    // What lib.rs might export again has no room, and so no permission.
    assert_eq!(faults("engine::words", "use crate::Shortcut;").len(), 1);
}

#[test]
fn a_fault_is_told_with_its_line() {
    let text = "//! Words.\n\nuse crate::{\n    engine::Now,\n    store::Outbox,\n};\n";
    assert_eq!(
        faults("config::file", text),
        ["snippet.rs:5: config may not import store: `crate::store::Outbox`"]
    );
}

#[test]
fn what_the_table_allows_is_no_fault() {
    for (module, text) in [
        ("store::outbox", "use crate::engine::{Now, words::{self, Reason}};"),
        ("store::outbox", "use super::{Row, schema::{self}}; use super::*;"),
        ("store", "mod a { use super::*; use super::b::C; }"),
        (
            "store::outbox",
            "pub(crate) fn f() {} pub(super) fn g() {} pub(in crate::store) fn h() {}",
        ),
        ("store::outbox", "/// See [`crate::app::run`].\nfn f() {} //! crate::app"),
        ("store::outbox", "fn f() { let text = \"crate::app::run\"; self.crate_name }"),
        ("store::outbox", "fn f() { rusqlite::open(std::time::Instant::now()) }"),
        ("notify::webhook", "use crate::{config::Sink, engine::Now, store::Outbox};"),
        ("app::plan", "use crate::{sources, actions, notify::Channel, surfaces::http};"),
        ("cli::run", "use crate::app::{self, run}; fn f() { crate::store::open(); }"),
        ("engine::rules", "use super::words::Severity; use std::{fmt, time::Duration};"),
        ("engine::rules", "fn f(s: Self) { self.time.env.fs(); let tokio = 1; Self::Instant }"),
        (
            "engine::rules",
            "#[cfg(test)] mod tests { use super::*; fn f() { std::env::var(\"N\"); } }",
        ),
    ] {
        assert_eq!(faults(module, text), Vec::<String>::new(), "in {module}: {text}");
    }
    let root = check("src/main.rs", &[], "use keepwell::cli; use crate::store; mod store;");
    assert_eq!(root, Vec::<String>::new());
}

#[test]
fn the_engine_is_kept_pure() {
    for form in [
        "use std::time::Instant;",
        "use std::time::{Duration, SystemTime};",
        "use std::{fmt, time::{self, Duration}};",
        "use std::time;",
        "use std::time::*;",
        "use std as s;",
        "use std::fs::read_to_string;",
        "fn f() { ::std::fs::read(\"x\"); }",
        "fn f() { std::env::var(\"X\"); }",
        "fn f() { tracing::info!(\"x\"); }",
        "use tracing::info;",
        "use tokio::sync::mpsc;",
        "use tokio as t;",
        "fn f() -> impl Future { async { tokio::time::sleep(d).await } }",
        "use rand::random;",
        "fn f() { rusqlite::Connection::open(p) }",
        "macro_rules! m { () => { std::net::lookup() }; }",
    ] {
        let found = faults("engine::decide", form);
        assert!(
            found.iter().any(|fault| fault.contains("the engine is pure")),
            "not found in: {form}\n{found:?}"
        );
    }
}
