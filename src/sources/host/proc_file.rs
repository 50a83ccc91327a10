//! Reads small kernel files below a root folder, with errors that name file and line.
//!
//! What the lines mean lives with those who read them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::engine::Human;

/// Why a file of the kernel could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The kernel refused.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It does not hold what the kernel documents.
    #[error("{}:{line}: expected {expected}, found '{found}'", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What should be there.
        expected: &'static str,
        /// What is there, at most 80 characters of it.
        found: String,
    },
    /// A part of it that must be there is not.
    #[error("{}: it has no {wanted}", path.display())]
    Lacks {
        /// Which file.
        path: PathBuf,
        /// What is not there.
        wanted: &'static str,
    },
    /// Nothing is mounted where the host's own `/` should be.
    #[error(
        "nothing is mounted at or below {} (`host.root`): mount the host's / there, read-only",
        root.display()
    )]
    NoHost {
        /// Where it should be.
        root: PathBuf,
    },
    /// No answer within the time limit.
    #[error("{} did not answer within {}", path.display(), Human(*limit))]
    Hangs {
        /// Which file.
        path: PathBuf,
        /// The limit.
        limit: Duration,
    },
    /// It could not even be asked.
    #[error("{}: {why}", path.display())]
    NotAsked {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// Reads files below a root folder. They stay open and go into one buffer, because both together
/// halve what a sampling costs; the kernel writes them anew for each reading from the start.
#[derive(Debug)]
pub(super) struct ProcFiles {
    root: PathBuf,
    buffer: Vec<u8>,
    open: Vec<(&'static str, File)>,
}

impl ProcFiles {
    /// Files below `root`, which is `/` except in tests.
    pub(super) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), buffer: vec![0; 8 * 1024], open: Vec::new() }
    }

    /// The content of `name` (relative to the root); `None` where this kernel has no such file or
    /// has switched it off.
    ///
    /// # Errors
    /// [`ReadError::Io`] for all else that the kernel refuses.
    pub(super) fn read(&mut self, name: &'static str) -> Result<Option<Content<'_>>, ReadError> {
        let path = self.path(name);
        match self.fill(name, &path) {
            Ok(length) => Ok(Some(Content { path, bytes: &self.buffer[..length] })),
            Err(e) => {
                // Opened anew the next time, in case it is the handle that is bad.
                self.open.retain(|(other, _)| *other != name);
                if is_absent(&e) { Ok(None) } else { Err(ReadError::Io { path, source: e }) }
            }
        }
    }

    /// Where `name` is.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Reads the whole file into the buffer; gives its length.
    fn fill(&mut self, name: &'static str, path: &Path) -> io::Result<usize> {
        let at = match self.open.iter().position(|(other, _)| *other == name) {
            Some(at) => at,
            None => {
                self.open.push((name, File::open(path)?));
                self.open.len() - 1
            }
        };
        let file = &self.open[at].1;
        let mut length = 0;
        loop {
            if length == self.buffer.len() {
                self.buffer.resize(2 * length, 0);
            }
            match file.read_at(&mut self.buffer[length..], length as u64) {
                Ok(0) => return Ok(length),
                Ok(more) => length += more,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// Whether the error says that the kernel does not have this: no such file, or pressure
/// accounting switched off.
fn is_absent(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::Unsupported)
}

/// The bytes of one file.
#[derive(Debug)]
pub(super) struct Content<'a> {
    path: PathBuf,
    bytes: &'a [u8],
}

impl<'a> Content<'a> {
    /// The content `bytes` of the file at `path`.
    #[cfg(test)]
    pub(super) fn new(path: &Path, bytes: &'a [u8]) -> Self {
        Self { path: path.to_owned(), bytes }
    }

    /// The whole of it.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Its lines, numbered from 1, without their ends.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &'a [u8])> {
        let bytes = self.bytes.strip_suffix(b"\n").unwrap_or(self.bytes);
        bytes.split(|b| *b == b'\n').enumerate().map(|(i, line)| (i + 1, line))
    }

    /// The first line that starts with the word `key` and white space or a colon, and what
    /// follows it.
    pub(super) fn after(&self, key: &str) -> Option<(usize, &'a [u8])> {
        self.lines().find_map(|(n, line)| {
            let rest = line.strip_prefix(key.as_bytes())?;
            matches!(rest.first(), Some(b' ' | b':' | b'\t')).then(|| (n, &rest[1..]))
        })
    }

    /// The first word of `text` on line `line` as a number.
    ///
    /// # Errors
    /// [`ReadError::Malformed`] when it is none.
    pub(super) fn number<T: FromStr>(
        &self,
        line: usize,
        text: &[u8],
        expected: &'static str,
    ) -> Result<T, ReadError> {
        words(text).next().and_then(parse).ok_or_else(|| self.malformed(line, expected, text))
    }

    /// The error for this file: `found` on line `line` is not what was `expected`.
    pub(super) fn malformed(&self, line: usize, expected: &'static str, found: &[u8]) -> ReadError {
        let found = String::from_utf8_lossy(found).trim().chars().take(80).collect();
        ReadError::Malformed { path: self.path.clone(), line, expected, found }
    }

    /// The error for this file: it has no `wanted`.
    pub(super) fn lacks(&self, wanted: &'static str) -> ReadError {
        ReadError::Lacks { path: self.path.clone(), wanted }
    }
}

/// The words of a line, separated by blanks.
pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// A word as a number.
pub(super) fn parse<T: FromStr>(word: &[u8]) -> Option<T> {
    std::str::from_utf8(word).ok()?.parse().ok()
}
