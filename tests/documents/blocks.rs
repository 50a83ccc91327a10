//! The fenced blocks of the documentation, and what a comment right before one says of it. Readers
//! do not see these comments:
//!
//! - `<!-- run -->`: tests run it, in the order of the page
//! - `<!-- run, exit code 1 -->`: and its last command ends like that
//! - `<!-- run, then wait for: TEXT -->`: and wait until a message with this text was received
//! - `<!-- run until it shows: TEXT -->`: again, as somebody looks again, until it prints this
//! - `<!-- not run: WHY -->`
//!
//! A block without a language is for the shell, or a piece of a unit file if it begins with `[`.

use std::fs;
use std::path::{Path, PathBuf};

/// Whether tests run a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mark {
    /// They do, and it ends with this exit code.
    Run(i32),
    /// They do, and wait for a message with this text.
    RunAndWait(String),
    /// They do, until it prints this.
    RunUntil(String),
    /// They do not, because of this.
    Not(String),
}

/// A fenced block.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    /// Its document and line, for people.
    pub(crate) at: String,
    /// As behind the fence.
    pub(crate) language: String,
    /// What it holds, without the indentation of its fence.
    pub(crate) text: String,
    /// What the comment before it says.
    pub(crate) mark: Option<Mark>,
}

impl Block {
    pub(crate) fn is_shell(&self) -> bool {
        matches!(self.language.as_str(), "" | "sh") && !self.is_unit()
    }

    /// Whether tests run it.
    pub(crate) fn is_run(&self) -> bool {
        !matches!(self.mark, None | Some(Mark::Not(_)))
    }

    /// A piece of a unit file.
    pub(crate) fn is_unit(&self) -> bool {
        self.language == "ini" || (self.language.is_empty() && self.text.starts_with('['))
    }

    /// What a reader types: with prompts, only the lines that have one.
    pub(crate) fn commands(&self) -> String {
        let typed: Vec<&str> = self.text.lines().filter_map(|l| l.strip_prefix("$ ")).collect();
        if typed.is_empty() { self.text.clone() } else { typed.join("\n") + "\n" }
    }
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Each document, by its path from the root.
pub(crate) fn documents() -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"].map(PathBuf::from).to_vec();
    for folder in ["docs", "docs/channels"] {
        let entries = fs::read_dir(root().join(folder)).unwrap().map(|e| e.unwrap().path());
        let documents = entries.filter(|path| path.extension().is_some_and(|e| e == "md"));
        paths.extend(documents.map(|path| path.strip_prefix(root()).unwrap().to_owned()));
    }
    paths.sort();
    paths
}

/// The blocks of a document.
pub(crate) fn blocks(document: &Path) -> Vec<Block> {
    let text = fs::read_to_string(root().join(document)).unwrap();
    read(&document.display().to_string(), &text)
}

fn read(document: &str, text: &str) -> Vec<Block> {
    let mut all = Vec::new();
    let mut open: Option<(Block, usize)> = None;
    let mut before = "";
    for (n, line) in text.lines().enumerate() {
        let bare = line.trim_start();
        match (&mut open, bare.strip_prefix("```")) {
            (None, Some(language)) => {
                let block = Block {
                    at: format!("{document}:{}", n + 1),
                    language: language.trim().to_owned(),
                    text: String::new(),
                    mark: mark(before, document, n),
                };
                open = Some((block, line.len() - bare.len()));
            }
            (Some(_), Some(_)) => all.extend(open.take().map(|(block, _)| block)),
            (Some((block, indent)), None) => {
                let (space, rest) = line.split_at(line.len().min(*indent));
                assert!(space.trim().is_empty(), "{document}:{}: not indented as its fence", n + 1);
                block.text.push_str(rest);
                block.text.push('\n');
            }
            (None, None) => before = line,
        }
        if bare.starts_with("```") {
            before = "";
        }
    }
    assert!(open.is_none(), "{document}: a block has no end");
    all
}

fn mark(line: &str, document: &str, n: usize) -> Option<Mark> {
    let said = line.trim().strip_prefix("<!-- ")?.strip_suffix(" -->")?;
    if said == "run" {
        Some(Mark::Run(0))
    } else if let Some(code) = said.strip_prefix("run, exit code ") {
        Some(Mark::Run(code.parse().unwrap()))
    } else if let Some(text) = said.strip_prefix("run, then wait for: ") {
        Some(Mark::RunAndWait(text.to_owned()))
    } else if let Some(text) = said.strip_prefix("run until it shows: ") {
        Some(Mark::RunUntil(text.to_owned()))
    } else if let Some(why) = said.strip_prefix("not run: ") {
        Some(Mark::Not(why.to_owned()))
    } else {
        panic!("{document}:{n}: `{said}` says nothing about the block after it")
    }
}
