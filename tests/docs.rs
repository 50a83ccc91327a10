//! The documentation is true: its links lead somewhere, the command lines that it shows are ones
//! that keepwell understands, its configurations load, and the messages that it quotes are ones
//! that the code says.

// A test may end where it stands; clippy's own allowance does not reach helper functions.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Each document, by its path from the root.
fn documents() -> Vec<(PathBuf, String)> {
    let mut paths: Vec<PathBuf> =
        ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"].map(|p| root().join(p)).to_vec();
    let folders = ["docs", "docs/channels"].map(|f| fs::read_dir(root().join(f)).unwrap());
    let docs = folders.into_iter().flatten().map(|e| e.unwrap().path());
    paths.extend(docs.filter(|p| p.extension().is_some_and(|e| e == "md")));
    paths.sort();
    assert!(paths.len() >= 7, "{paths:?}");
    let read =
        |p: PathBuf| (p.strip_prefix(root()).unwrap().to_owned(), fs::read_to_string(p).unwrap());
    paths.into_iter().map(read).collect()
}

/// The lines of a document, each with whether it stands in a fenced block, and in which kind.
fn lines(text: &str) -> impl Iterator<Item = (usize, Option<&str>, &str)> {
    let mut fence = None;
    text.lines().enumerate().filter_map(move |(n, line)| {
        if let Some(kind) = line.trim_start().strip_prefix("```") {
            fence = if fence.is_some() { None } else { Some(kind.trim()) };
            return None;
        }
        Some((n + 1, fence, line))
    })
}

/// The name by which a heading can be linked to, as forges make it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    lines(text)
        .filter(|(_, fence, line)| fence.is_none() && line.starts_with('#'))
        .map(|(_, _, line)| anchor(line.trim_start_matches('#')))
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    let documents = documents();
    let mut faults = Vec::new();
    let mut seen = 0;
    for (path, text) in &documents {
        for (n, _, line) in lines(text).filter(|(_, fence, _)| fence.is_none()) {
            for rest in line.split("](").skip(1) {
                let target = rest.split(')').next().unwrap();
                if target.starts_with("https://") {
                    continue;
                }
                seen += 1;
                let (file, part) = target.split_once('#').unwrap_or((target, ""));
                let other = match file {
                    "" => path.clone(),
                    file => path.parent().unwrap().join(file),
                };
                let other = root().join(&other);
                let found = match part {
                    "" => other.exists(),
                    part => fs::read_to_string(other).is_ok_and(|t| anchors(&t).contains(part)),
                };
                if !found {
                    faults.push(format!("{}:{n}: {target}", path.display()));
                }
            }
        }
    }
    assert!(seen > 10, "only {seen} links were found");
    assert!(faults.is_empty(), "links that lead nowhere:\n{}", faults.join("\n"));
}

#[test]
fn every_document_is_linked_from_the_readme() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for (path, _) in documents() {
        let path = path.display().to_string();
        assert!(path == "README.md" || readme.contains(&format!("]({path}")), "{path}");
    }
}

/// The words of a line as a shell splits them, up to a comment, pipe or next command.
fn words(line: &str) -> Vec<String> {
    let (mut all, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, '|' | ';' | '&' | '>') => break,
            (None, ' ') => all.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    all.extend(word);
    all
}

/// What keepwell is told by a line of a block: the words behind its name, where it is run at all.
fn told(line: &str) -> Option<Vec<String>> {
    let words = words(line.trim_start_matches("$ "));
    let mut rest = &words[..];
    if rest.first().is_some_and(|w| w == "sudo") {
        rest = &rest[1..];
        if rest.first().is_some_and(|w| w == "-u") {
            rest = rest.get(2..)?;
        }
    }
    while rest.first().is_some_and(|w| w.split_once('=').is_some_and(|(k, _)| is_variable(k))) {
        rest = &rest[1..];
    }
    let name = rest.first()?;
    (name == "keepwell" || name.ends_with("release/keepwell")).then(|| rest[1..].to_vec())
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

/// Whether keepwell understands these words, without doing what they say: the log level is set up
/// when all of the line has been read and before anything is done, so one that is none makes it end
/// there.
fn understood(words: &[String]) -> Result<(), String> {
    let mut words = words.to_vec();
    match words.iter().position(|w| w == "--log-level") {
        Some(at) => words[at + 1] = "none-such".into(),
        None => words.extend(["--log-level", "none-such"].map(String::from)),
    }
    let said = run(&words);
    if said.contains("'none-such' is not a log level") { Ok(()) } else { Err(said) }
}

/// What keepwell says on standard error.
fn run(words: &[String]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_keepwell")).args(words).output().unwrap();
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[test]
fn every_command_line_is_understood() {
    let mut commands = BTreeSet::new();
    let mut faults = Vec::new();
    for (path, text) in documents() {
        for (n, fence, line) in lines(&text) {
            let mut lines: Vec<&str> = Vec::new();
            if fence.is_some_and(|kind| kind.is_empty()) {
                lines.push(line);
            } else if fence.is_none() {
                // In running text a command stands between backticks.
                lines.extend(line.split('`').skip(1).step_by(2));
            }
            for words in lines.into_iter().filter_map(told) {
                // `keepwell` alone is its name, and "keepwell is not running" a message.
                if words.is_empty() || words[0] == "is" {
                    continue;
                }
                match understood(&words) {
                    Ok(()) => drop(commands.insert(words.join(" "))),
                    // In running text the name of a command may stand alone.
                    Err(said) if fence.is_none() && said.contains("required arg") => {}
                    Err(said) => faults.push(format!(
                        "{}:{n}: keepwell {}\n{said}",
                        path.display(),
                        words.join(" ")
                    )),
                }
            }
        }
    }
    assert!(faults.is_empty(), "not understood:\n{}", faults.join("\n"));
    for command in [
        "run", "check", "status", "explain", "hold", "unhold", "adopt", "release", "polkit",
        "config", "doctor",
    ] {
        let shown = commands.iter().any(|c| c.split(' ').any(|w| w == command));
        assert!(shown, "no document shows `keepwell {command}`: {commands:?}");
    }
}

#[test]
fn what_is_no_command_line_is_found_out() {
    let words = |line: &str| told(line).unwrap();
    assert_eq!(words("sudo -u keepwell keepwell doctor   # why"), ["doctor"]);
    assert_eq!(words("KEEPWELL_SOCKET=/x keepwell status | less"), ["status"]);
    assert_eq!(words("keepwell hold all --why \"a b\"").len(), 4);
    assert_eq!(told("journalctl -t keepwell"), None);
    for wrong in
        ["keepwell chek", "keepwell status --wach", "keepwell hold all", "keepwell hold a --for 60"]
    {
        assert!(understood(&words(wrong)).is_err(), "{wrong}");
    }
    for right in ["keepwell hold nginx --for 1h", "keepwell --user run", "keepwell check --json"] {
        assert_eq!(understood(&words(right)), Ok(()), "{right}");
    }
}

/// All texts of the source as one, without what joins their lines.
fn sources(dir: &Path, all: &mut String) {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|e| e == "rs") {
            for line in fs::read_to_string(path).unwrap().lines() {
                match line.trim_start().strip_suffix('\\') {
                    Some(part) => all.push_str(part),
                    None => {
                        all.push_str(line.trim_start());
                        all.push('\n');
                    }
                }
            }
        }
    }
}

/// Each name that a log record can have, and nothing that none has.
#[test]
fn the_attributes_of_records_are_listed() {
    let names = |text: &str, quote: char| -> BTreeSet<String> {
        let quoted = text.split(quote).filter(|name| name.starts_with("keepwell."));
        let plain = |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || "._".contains(c));
        quoted.filter(plain).map(str::to_owned).collect()
    };
    let code = fs::read_to_string(root().join("src/notify/collector/records.rs")).unwrap();
    let document = fs::read_to_string(root().join("docs/telemetry.md")).unwrap();
    let part = document.split("## Alerts as log records").nth(1).unwrap();
    let part = part.split("\n## ").next().unwrap();
    let wanted = names(&code, '"');
    assert!(wanted.len() > 30, "{wanted:?}");
    assert_eq!(names(part, '`'), wanted);
}

/// Messages are quoted in the first column of the tables of these documents; `…` leaves something
/// out. Each piece of some length must stand in the source, except for names and numbers.
#[test]
fn messages_that_are_quoted_are_said() {
    let mut code = String::new();
    sources(&root().join("src"), &mut code);
    let code = code.replace("\\\"", "\"");
    let mut faults = Vec::new();
    let mut checked = 0;
    for document in ["docs/troubleshooting.md", "docs/azure.md", "docs/telemetry.md"] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        for (n, _, line) in lines(&text).filter(|(_, fence, _)| fence.is_none()) {
            let first = line.strip_prefix("| ").and_then(|cells| cells.split(" | ").next());
            let quotes = first.unwrap_or_default().split('`').skip(1).step_by(2);
            for quote in quotes {
                // Longest runs of plain words: what is filled in (paths, numbers, names) is left out.
                let pieces = quote.split(['…', '(', ')', ':', ';']).flat_map(|piece| {
                    let filled = |w: &&str| {
                        w.contains(['/', '$', '\'']) || w.chars().any(|c| c.is_ascii_digit())
                    };
                    let words: Vec<&str> = piece.split_whitespace().collect();
                    words.split(|w| filled(w)).map(|run| run.join(" ")).collect::<Vec<_>>()
                });
                for piece in pieces.filter(|p| p.split(' ').count() >= 4) {
                    checked += 1;
                    if !code.contains(&piece) {
                        faults.push(format!("{document}:{n}: {piece}"));
                    }
                }
            }
        }
    }
    assert!(checked > 25, "only {checked} pieces were looked for");
    assert!(faults.is_empty(), "the code says no such thing:\n{}", faults.join("\n"));
}
