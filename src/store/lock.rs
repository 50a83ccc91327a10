//! One keepwell per state folder: an advisory lock on the file `lock` in it, which the kernel gives
//! back however the process ends. Its content, the holder's process id, is for people only.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

/// Held while this lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// The folder could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another keepwell uses it: do not start.
    #[error("{} is in use by another keepwell{}; stop that one, or give this one another state folder",
        .dir.display(), .pid.map(|p| format!(" (process {p})")).unwrap_or_default())]
    Held {
        /// The folder.
        dir: PathBuf,
        /// Who holds it, where the file says.
        pid: Option<u32>,
    },
    /// The folder cannot be used at all (no permission, read-only, not a folder): the store will
    /// say so as well, and go on in memory.
    #[error("cannot lock {}: {source}", .path.display())]
    Unusable {
        /// The lock file, or the folder that could not be created.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Locks a state folder, which is created (for its owner and group only) when it is missing.
///
/// # Errors
/// [`LockError::Held`] when another process has it, [`LockError::Unusable`] when it cannot be known.
pub fn lock(dir: &Path) -> Result<Lock, LockError> {
    let unusable = |path: &Path, source| LockError::Unusable { path: path.to_owned(), source };
    create_dir(dir).map_err(|e| unusable(dir, e))?;
    let path = dir.join("lock");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o640);
    // Root may lock a folder of another user, who must not choose what is emptied below.
    options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    let mut file = match options.open(&path) {
        // On a read-only file system an existing file can be locked all the same.
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            File::open(&path).map_err(|_| unusable(&path, error))?
        }
        other => other.map_err(|e| unusable(&path, e))?,
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            // Only for people: a full disk must not keep keepwell from starting.
            let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
            Ok(Lock { _file: file })
        }
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let _ = (&mut file).take(32).read_to_string(&mut text);
            Err(LockError::Held { dir: dir.to_owned(), pid: text.trim().parse().ok() })
        }
        Err(error) => Err(unusable(&path, error.into())),
    }
}

/// Creates a state folder and its parents, closed to others.
pub(super) fn create_dir(dir: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o750).create(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_one_is_told_who_holds_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("new/state");
        let first = lock(&folder).unwrap();
        let error = lock(&folder).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "{} is in use by another keepwell (process {}); stop that one, or give this one \
                 another state folder",
                folder.display(),
                std::process::id()
            )
        );
        drop(first);
        lock(&folder).unwrap();
    }

    #[test]
    fn what_a_link_leads_to_is_not_emptied() {
        let dir = tempfile::tempdir().unwrap();
        let precious = dir.path().join("precious");
        std::fs::write(&precious, "precious").unwrap();
        let folder = dir.path().join("state");
        std::fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink(&precious, folder.join("lock")).unwrap();
        assert!(matches!(lock(&folder), Err(LockError::Unusable { .. })));
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "precious");
    }

    #[test]
    fn a_folder_that_is_a_file_is_unusable() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "x").unwrap();
        assert!(matches!(lock(&file), Err(LockError::Unusable { .. })));
    }
}
