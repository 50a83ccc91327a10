//! The keys of `type = "git"`, and what of keepwell's environment git gets.

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{Environment, Key, KeyKind, Paths};
use crate::sources::probes::{Make, Reading};

use super::Git;
use super::judge::{Fault, WORDS};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "path",
        kind: KeyKind::Text,
        default: "",
        example: "\"/srv/site\"",
        doc: "The top folder of the checkout, an absolute path. Required.",
    },
    Key {
        name: "remote",
        kind: KeyKind::Text,
        default: "",
        example: "\"upstream\"",
        doc: "Which of its remotes; that of the upstream of the branch by default.",
    },
    Key {
        name: "branch",
        kind: KeyKind::Text,
        default: "",
        example: "\"main\"",
        doc: "The branch of the remote; the upstream of the branch that is checked out by default.",
    },
    Key {
        name: "ignore",
        kind: KeyKind::TextList,
        default: "[\"untracked\"]",
        example: "[\"dirty\", \"untracked\"]",
        doc: "What does not count: ahead, behind, diverged, dirty, untracked, detached, unreachable.",
    },
];

/// How the network is reached, which git is told as well.
const PROXIES: [&str; 7] =
    ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"];

/// What a section says, and what of keepwell's environment git gets.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) name: Arc<str>,
    pub(super) path: PathBuf,
    pub(super) remote: Option<String>,
    pub(super) branch: Option<String>,
    pub(super) ignore: Vec<Fault>,
    /// Where views are made.
    pub(super) places: Vec<PathBuf>,
    pub(super) search: Option<String>,
    pub(super) home: Option<String>,
    pub(super) proxies: Vec<(&'static str, String)>,
}

pub(super) fn read(reading: &mut Reading<'_>) -> Option<Make> {
    let mut reader = reading.section.section.read(reading.sink);
    reader.require("path", "\"/srv/site\"");
    let path = reader.path("path");
    let mut name = |key| {
        let (text, at) = reader.text_at(key)?;
        let odd = |c: char| c.is_whitespace() || c.is_control() || "~^:?*[\\".contains(c);
        if text.contains(odd) || text.starts_with('-') || text.contains("..") {
            reader.sink().error(at, format!("`probe.{key}` is no name that git would take"));
            return None;
        }
        Some(text)
    };
    let remote = name("remote");
    let branch = name("branch");
    let mut ignore = vec![Fault::Untracked];
    if let Some(words) = reader.texts("ignore") {
        ignore.clear();
        for (word, at) in words {
            match WORDS.iter().find(|(known, _)| *known == word) {
                Some((_, fault)) => ignore.push(*fault),
                None => {
                    let known: Vec<&str> = WORDS.iter().map(|(word, _)| *word).collect();
                    reader
                        .sink()
                        .error(at, "`probe.ignore` has a word that means nothing")
                        .hint(format!("it takes {}", known.join(", ")));
                }
            }
        }
    }
    reader.finish();
    let settings = Settings::new(
        &reading.section.name,
        path?,
        reading.sink.environment(),
        remote,
        branch,
        ignore,
    );
    Some(Arc::new(move || Box::new(Git::new(settings.clone()))))
}

impl Settings {
    pub(super) fn new(
        name: &Arc<str>,
        path: PathBuf,
        environment: &Environment,
        remote: Option<String>,
        branch: Option<String>,
        ignore: Vec<Fault>,
    ) -> Self {
        let own = |name: &str| environment.get(name).map(str::to_owned);
        let runtime = Paths::find(environment, None).map(|paths| paths.runtime().to_owned()).ok();
        Self {
            name: name.clone(),
            path,
            remote,
            branch,
            ignore,
            places: runtime.into_iter().chain([std::env::temp_dir()]).collect(),
            search: own("PATH"),
            home: own("HOME").filter(|home| home.starts_with('/')),
            proxies: PROXIES.iter().filter_map(|name| Some((*name, own(name)?))).collect(),
        }
    }
}
