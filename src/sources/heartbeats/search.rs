//! Finds the files that a path or pattern means, and when each was last touched.
//!
//! The search is keepwell's own rather than a library's because it must tell a folder that may not
//! be read from a file that is not there.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use glob::{MatchOptions, Pattern};

use crate::engine::Wall;
use crate::engine::observation::HeartbeatState;

use super::refusal::Looker;

/// Files that one pattern may match; more are not watched, and that is said.
pub const MOST_MATCHES: usize = 1000;

/// An absolute path whose parts may hold `*`, `?` and `[…]`, as in a shell: none of them matches
/// `/` or a leading dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FilePattern {
    text: Arc<str>,
    /// The parts below `/`.
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Part {
    Plain(OsString),
    Wild(Pattern),
}

/// The text does not say where heartbeat files are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// It does not start with `/`.
    #[error("'{0}' is not an absolute path: write it from / on")]
    Relative(String),
    /// It names the root folder, or ends with `/`.
    #[error("'{0}' names a folder: name a file in it, or a pattern such as *.heartbeat")]
    Folder(String),
    /// `..` is in it.
    #[error("'{0}' holds '..': write the path without it")]
    Parent(String),
    /// `**` is in it.
    #[error("'{0}' holds '**': write one * for each folder level instead")]
    Recursive(String),
    /// A part is not a pattern.
    #[error("'{text}' is not a pattern: {why}")]
    Pattern {
        /// The whole text.
        text: String,
        /// What is wrong.
        why: String,
    },
}

impl FilePattern {
    /// From what the user wrote.
    ///
    /// # Errors
    /// [`BadPath`]: what is wrong and what to write instead.
    pub fn try_new(text: &str) -> Result<Self, BadPath> {
        let owned = || text.to_owned();
        if !text.starts_with('/') {
            return Err(BadPath::Relative(owned()));
        }
        if text.contains("**") {
            return Err(BadPath::Recursive(owned()));
        }
        let mut parts = Vec::new();
        for component in Path::new(text).components() {
            match component {
                Component::Normal(name) => parts.push(part(text, name.to_os_string())?),
                Component::ParentDir => return Err(BadPath::Parent(owned())),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        if parts.is_empty() || text.ends_with('/') {
            return Err(BadPath::Folder(owned()));
        }
        Ok(Self { text: text.into(), parts })
    }

    /// What the user wrote.
    pub fn text(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// Looks, and gives each file with what was found, in order of the paths; the pattern itself
    /// stands for what could not be looked at and for "no match". It may block.
    pub(super) fn look(&self, looker: &Looker) -> Vec<(Arc<str>, HeartbeatState)> {
        let mut search = Search::default();
        let is_wild = self.parts.iter().any(|part| matches!(part, Part::Wild(_)));
        if !is_wild {
            return vec![(self.text(), state(Path::new(&*self.text), looker))];
        }
        let mut places = vec![PathBuf::from("/")];
        for (i, part) in self.parts.iter().enumerate() {
            places = search.step(places, part, i + 1 == self.parts.len(), looker);
        }
        let mut seen = Vec::new();
        for place in places {
            // Folders that a pattern happens to match are not meant, and what is gone by now was
            // not there; only what the last part names outright need not exist.
            let state = match fs::metadata(&place) {
                Ok(found) if found.is_dir() => continue,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) if e.kind() == io::ErrorKind::NotADirectory => continue,
                Ok(found) => present(&found),
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                    search.refused.get_or_insert_with(|| looker.may_not_reach(&place));
                    continue;
                }
                Err(e) => HeartbeatState::Error(e.to_string()),
            };
            seen.push((place.to_string_lossy().into(), state));
        }
        let whole = if search.overflow {
            Some(HeartbeatState::Error(format!(
                "it matches more than {MOST_MATCHES} files or folders; only the first ones by name \
                 are watched"
            )))
        } else if let Some(text) = search.refused {
            Some(HeartbeatState::NoPermission(text))
        } else if let Some(text) = search.failed {
            Some(HeartbeatState::Error(text))
        } else {
            seen.is_empty().then_some(HeartbeatState::Missing)
        };
        seen.extend(whole.map(|state| (self.text(), state)));
        seen
    }
}

fn part(text: &str, name: OsString) -> Result<Part, BadPath> {
    match name.to_str() {
        Some(wild) if wild.contains(['*', '?', '[']) => Pattern::new(wild)
            .map(Part::Wild)
            .map_err(|e| BadPath::Pattern { text: text.to_owned(), why: e.msg.to_owned() }),
        _ => Ok(Part::Plain(name)),
    }
}

/// What a search met on its way.
#[derive(Default)]
struct Search {
    /// The first folder that refused, with the remedy.
    refused: Option<String>,
    /// The first other error.
    failed: Option<String>,
    overflow: bool,
}

impl Search {
    /// From all `places`, one part further.
    fn step(
        &mut self,
        places: Vec<PathBuf>,
        part: &Part,
        is_last: bool,
        looker: &Looker,
    ) -> Vec<PathBuf> {
        let pattern = match part {
            Part::Plain(name) => return places.iter().map(|place| place.join(name)).collect(),
            Part::Wild(pattern) => pattern,
        };
        let mut found = BTreeSet::new();
        for place in places {
            if let Err(e) = self.list(&place, pattern, is_last, &mut found) {
                match e.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {}
                    io::ErrorKind::PermissionDenied => {
                        self.refused.get_or_insert_with(|| looker.may_not_list(&place));
                    }
                    _ => {
                        self.failed.get_or_insert_with(|| format!("{}: {e}", place.display()));
                    }
                }
            }
        }
        found.into_iter().collect()
    }

    /// Adds what matches in the folder; of too many the first ones by name are kept.
    fn list(
        &mut self,
        folder: &Path,
        pattern: &Pattern,
        is_last: bool,
        found: &mut BTreeSet<PathBuf>,
    ) -> io::Result<()> {
        let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::default() };
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if !name.to_str().is_some_and(|name| pattern.matches_with(name, options)) {
                continue;
            }
            // Known from the listing itself, mostly; a link may lead to either.
            let unfit = entry.file_type().is_ok_and(|kind| {
                if is_last { kind.is_dir() } else { !kind.is_dir() && !kind.is_symlink() }
            });
            if !unfit {
                found.insert(entry.path());
                if found.len() > MOST_MATCHES {
                    found.pop_last();
                    self.overflow = true;
                }
            }
        }
        Ok(())
    }
}

/// What is at the path.
fn state(path: &Path, looker: &Looker) -> HeartbeatState {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            HeartbeatState::Error("it is a folder, not a file".to_owned())
        }
        Ok(found) => present(&found),
        Err(e) => match e.kind() {
            io::ErrorKind::NotFound => HeartbeatState::Missing,
            io::ErrorKind::PermissionDenied => {
                HeartbeatState::NoPermission(looker.may_not_reach(path))
            }
            _ => HeartbeatState::Error(e.to_string()),
        },
    }
}

fn present(found: &fs::Metadata) -> HeartbeatState {
    let micros = found.mtime().saturating_mul(1_000_000).saturating_add(found.mtime_nsec() / 1000);
    HeartbeatState::Present(Wall(micros))
}
