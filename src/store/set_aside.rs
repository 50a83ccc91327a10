//! Files that cannot be read are moved out of the way under a name that says when and why, never
//! deleted.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::engine::time::Wall;

/// `20261121T064123Z`: a time in UTC that sorts and fits into a file name.
pub(super) fn stamp(at: Wall) -> String {
    jiff::Timestamp::from_microsecond(at.0)
        .map_or_else(|_| at.0.to_string(), |t| t.strftime("%Y%m%dT%H%M%SZ").to_string())
}

/// `path` with something behind its name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Renames `path` to `path.WHY-TIME`, with `companions` (suffixes such as `-wal`) going along
/// where they exist; returns the new name. An older one of the same name is never overwritten.
pub(super) fn set_aside(
    path: &Path,
    why: &str,
    at: Wall,
    companions: &[&str],
) -> io::Result<PathBuf> {
    let base = with_suffix(path, &format!(".{why}-{}", stamp(at)));
    let mut target = base.clone();
    let mut n = 1;
    while target.symlink_metadata().is_ok() {
        n += 1;
        target = with_suffix(&base, &format!("-{n}"));
    }
    std::fs::rename(path, &target)?;
    for companion in companions {
        match std::fs::rename(with_suffix(path, companion), with_suffix(&target, companion)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(target)
}
