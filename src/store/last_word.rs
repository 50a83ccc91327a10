//! `last-word.json`: whom the last word has told that keepwell failed, while no keepwell ran that
//! could have kept it. A small file of its own, because the last word must not depend on a database
//! that may be what keepwell failed for.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::whole;
use crate::engine::alert::AlertRecord;
use crate::engine::time::Wall;

const NAME: &str = "last-word.json";
/// A larger one is not ours.
const MOST: u64 = 1 << 20;

/// What the file holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LastWord {
    /// When messages went out, oldest first.
    pub said: Vec<Wall>,
    /// The alert that was told, until a keepwell has taken it over.
    pub open: Option<AlertRecord>,
}

impl LastWord {
    /// Reads it. What is not there or cannot be understood counts as nothing: to tell people once
    /// too often is better than not at all.
    pub fn read(dir: &Path) -> Self {
        let read = || -> io::Result<Self> {
            let mut text = String::new();
            // A pipe in its place must not hold up whoever reads.
            let flags = OFlags::NONBLOCK.bits().cast_signed();
            let file = OpenOptions::new().read(true).custom_flags(flags).open(path(dir))?;
            file.take(MOST).read_to_string(&mut text)?;
            Ok(serde_json::from_str(&text)?)
        };
        read().unwrap_or_default()
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// As the disk says.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        whole::write(&path(dir), &serde_json::to_vec(self)?)
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join(NAME)
}
