//! Every block of the documentation is what it claims to be: shell that bash can read and whose
//! programs are known, pieces of unit files that systemd accepts, JSON, YAML and Python that parse.
//! (TOML is loaded by `config_samples`, keepwell's own command lines are tried by `docs`, and what
//! is marked to be run is run by `system_docs` and `system_newcomer`.)

// A test may end where it stands; clippy's own allowance does not reach helper functions.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "no test uses all of it")]
#[path = "documents/blocks.rs"]
mod blocks;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use blocks::{Block, Mark};

/// What documents may tell a reader to run.
const PROGRAMS: &[&str] = &[
    // keepwell and what is in this repository
    "keepwell",
    "./target/release/keepwell",
    "scripts/demo",
    "scripts/test",
    "scripts/package",
    "scripts/deploy.sh",
    "scripts/azure_deploy.sh",
    "scripts/vm_health.sh",
    "cargo",
    // systemd
    "systemctl",
    "journalctl",
    "systemd-analyze",
    "systemd-creds",
    "systemd-run",
    "systemd-sysusers",
    "systemd-tmpfiles",
    // packages
    "apt",
    "apt-get",
    "mmdebstrap",
    "dnf",
    "dpkg",
    "mmdebstrap",
    "rpm",
    // the shell's own, and the usual tools
    "base64",
    "break",
    "cat",
    "break",
    "cd",
    "cp",
    "export",
    "chgrp",
    "chmod",
    "chown",
    "cp",
    "curl",
    "echo",
    "export",
    "for",
    "done",
    "do",
    "gh",
    "git",
    "grep",
    "head",
    "install",
    "mkdir",
    "pkaction",
    "printf",
    "read",
    "rm",
    "scp",
    "setfacl",
    "sha256sum",
    "sort",
    "ssh",
    "sudoedit",
    "tar",
    "tee",
    "touch",
    "useradd",
    "usermod",
    "userdel",
    // others' services
    "az",
    "docker",
    "podman",
    "promtool",
];

fn all() -> Vec<Block> {
    blocks::documents().iter().flat_map(|path| blocks::blocks(path)).collect()
}

/// Runs a program on a text; what it complains of if it fails, or `None` where it is not there.
fn checked_by(program: &[&str], text: &str) -> Option<Result<(), String>> {
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().ok()?;
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    Some(if out.status.success() { Ok(()) } else { Err(said) })
}

fn shell_fault(commands: &str) -> Option<String> {
    checked_by(&["bash", "-n"], commands).expect("bash is there").err()
}

#[test]
fn every_shell_block_is_shell() {
    let blocks: Vec<Block> = all().into_iter().filter(Block::is_shell).collect();
    assert!(blocks.len() > 60, "only {} blocks were found", blocks.len());
    let mut faults = Vec::new();
    for block in &blocks {
        if let Some(said) = shell_fault(&block.commands()) {
            faults.push(format!("{}: {said}", block.at));
        }
        for program in programs(&block.commands()) {
            if !PROGRAMS.contains(&program.as_str()) {
                faults.push(format!("{}: the program {program} is not known here", block.at));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The programs that a script runs, as far as the scripts of documents go.
fn programs(script: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut end_of_text: Option<String> = None;
    for line in script.replace("\\\n", " ").lines() {
        if let Some(end) = &end_of_text {
            if line == end {
                end_of_text = None;
            }
            continue;
        }
        end_of_text = line
            .split_once("<<'")
            .and_then(|(_, rest)| rest.split_once('\''))
            .map(|(end, _)| end.to_owned());
        for part in parts(line) {
            all.extend(program(&part));
        }
    }
    all
}

/// A line at its pipes, separators and substitutions, outside of quotes and comments.
fn parts(line: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quote = None;
    let mut before = ' ';
    for c in line.chars() {
        let last = parts.last_mut().unwrap();
        match (quote, c) {
            (Some(q), c) if q == c => {
                quote = None;
                last.push(c);
            }
            (None, '\'' | '"') => {
                quote = Some(c);
                last.push(c);
            }
            (None, '#') if before == ' ' => break,
            (None, '|' | ';' | '&' | '(' | ')') => parts.push(String::new()),
            (_, c) => last.push(c),
        }
        before = c;
    }
    parts
}

fn program(part: &str) -> Option<String> {
    let assigns = |word: &str| {
        word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        })
    };
    let mut words = part.split_whitespace().skip_while(|word| assigns(word)).peekable();
    let mut word = words.next()?;
    if word == "sudo" {
        word = words.next()?;
        if word == "-u" {
            word = words.nth(1)?;
        }
    }
    // What is left of a redirection, or of a text that a substitution stands in.
    let plain = word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '.');
    (plain && !word.ends_with('"')).then(|| word.to_owned())
}

#[test]
fn every_piece_of_a_unit_file_is_one() {
    let mut seen = 0;
    for block in all().iter().filter(|block| block.is_unit()) {
        seen += 1;
        match unit_fault(&block.text) {
            None => {
                eprintln!("SKIPPED: there is no systemd-analyze");
                return;
            }
            Some(said) => assert_eq!(said, "", "{}", block.at),
        }
    }
    assert!(seen > 8, "only {seen} were found");
}

/// What `systemd-analyze verify` says of a unit that has this piece; `None` where it is not there.
fn unit_fault(text: &str) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    let kind = ["Socket", "Timer"].into_iter().find(|kind| text.contains(&format!("[{kind}]")));
    let kind = kind.unwrap_or("service").to_lowercase();
    let begin = if text.contains("ExecStart=") { "" } else { "[Service]\nExecStart=/bin/true\n" };
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("piece.service", begin);
    write(
        &format!("piece.{kind}"),
        &format!("{}{text}", if kind == "service" { begin } else { "" }),
    );
    let unit = dir.path().join(format!("piece.{kind}"));
    let out =
        Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(unit).output().ok()?;
    let said = String::from_utf8_lossy(&out.stderr);
    // It also speaks of other units of this machine.
    let own = said.lines().filter(|line| line.contains("piece."));
    Some(own.collect::<Vec<_>>().join("\n"))
}

#[test]
fn every_block_of_data_can_be_read() {
    let mut seen = BTreeSet::new();
    let known =
        ["", "sh", "ini", "text", "console", "toml", "json", "yaml", "python", "javascript"];
    for block in all() {
        let language = block.language.as_str();
        assert!(known.contains(&language), "{}: the language {language}", block.at);
        seen.insert(block.language.clone());
        let fault = match language {
            "json" => serde_json::from_str::<serde_json::Value>(&block.text)
                .err()
                .map(|error| error.to_string()),
            "yaml" => yaml_fault(&block.text),
            "python" => {
                let compile = "import sys; compile(sys.stdin.read(), 'block', 'exec')";
                checked_by(&["python3", "-c", compile], &block.text).and_then(Result::err)
            }
            _ => None,
        };
        assert_eq!(fault, None, "{}", block.at);
    }
    assert!(["json", "yaml", "python"].iter().all(|l| seen.contains(*l)), "{seen:?}");
}

/// Whether a text is YAML: by Python's reader where it is there, and by its lines in any case.
fn yaml_fault(text: &str) -> Option<String> {
    // Where a line begins something, its first unquoted word ends in a colon or is an item.
    let mut block_text: Option<usize> = None;
    for (n, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let bare = line.trim_start().split(" #").next().unwrap_or_default().trim_end();
        if bare.is_empty() || bare.starts_with('#') {
            continue;
        }
        if block_text.is_some_and(|outer| indent > outer) {
            continue;
        }
        block_text = bare.ends_with(['|', '>']).then_some(indent);
        let item = bare.starts_with("- ") || bare == "-";
        let pair = bare.ends_with(':') || bare.contains(": ");
        if line.contains('\t') || !(item || pair) {
            return Some(format!("line {}: {bare}", n + 1));
        }
    }
    let load = "import sys\ntry:\n import yaml\nexcept ImportError:\n sys.exit(0)\n\
                list(yaml.safe_load_all(sys.stdin))";
    checked_by(&["python3", "-c", load], text).and_then(Result::err)
}

/// A block that is not run says why, and one that waits says for what.
#[test]
fn marks_say_something() {
    let mut run = 0;
    for block in all() {
        if block.is_run() {
            assert!(block.is_shell(), "{}: only a shell block can be run", block.at);
            run += 1;
        }
        match &block.mark {
            Some(Mark::Not(why)) => assert!(why.split(' ').count() > 3, "{}: {why}", block.at),
            Some(Mark::RunAndWait(text) | Mark::RunUntil(text)) => {
                assert!(text.len() > 3, "{}: {text}", block.at);
            }
            Some(Mark::Run(_)) | None => {}
        }
    }
    assert!(run > 20, "only {run} blocks are run");
}

/// The tests above can fail.
#[test]
fn what_is_wrong_is_found_out() {
    assert!(shell_fault("for a in b; do echo\n").is_some());
    assert!(shell_fault("cat <<'END'\n[[channel]]\nEND\n").is_none());
    let found = programs(
        "sudo -u keepwell keepwell doctor | head # ssh\nA=1 curl -s \"x; y\" && sudo rm a\n\
         sudo tee f <<'END'\nnot a program\nEND\nb=$(git log)\n",
    );
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    assert_eq!(found, ["curl", "git", "head", "keepwell", "rm", "tee"]);
    assert!(yaml_fault("a:\n  - b: c\n  oops\n").is_some());
    assert_eq!(yaml_fault("a:\n  - b: c\n  - d\n"), None);
    if let Some(said) = unit_fault("[Service]\nMemroyMax=64M\n") {
        assert!(said.contains("MemroyMax"), "{said}");
        assert_eq!(unit_fault("[Service]\nMemoryMax=64M\n").unwrap(), "");
    }
}
