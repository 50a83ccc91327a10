//! Puts the rule where polkit reads it: whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// A rule for ten thousand units is smaller.
const MOST: u64 = 16 << 20;
const MODE: u32 = 0o644;

/// Another one that makes the rule is waited for: 2 s.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// Lets one process at a time make the rule, until the answer is dropped. Without the folder there
/// is nothing to be had, and no other rule either. Whoever may look into the folder can hold this
/// lock for ever, so it goes on without it in the end: each rule is written whole all the same.
pub(super) fn lock(path: &Path) -> Option<File> {
    let folder = File::open(folder_of(path)).ok()?;
    for _ in 0..TRIES {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(folder),
            Err(Errno::AGAIN | Errno::INTR) => std::thread::sleep(PAUSE),
            Err(_) => return None,
        }
    }
    None
}

/// What is there, if it is a file of ours that polkit can read.
pub(super) fn current(path: &Path) -> Option<Vec<u8>> {
    // A link may lead to what others can write: it is replaced.
    let found = fs::symlink_metadata(path).ok()?;
    let own = found.is_file()
        && found.uid() == rustix::process::geteuid().as_raw()
        && found.mode() & 0o7777 == MODE;
    let mut bytes = Vec::new();
    if own {
        File::open(path).ok()?.take(MOST).read_to_end(&mut bytes).ok()?;
    }
    own.then_some(bytes)
}

/// Makes the folder of the rules where it is missing; whether it was.
pub(super) fn make_folder(path: &Path) -> io::Result<bool> {
    let folder = folder_of(path);
    let missing: Vec<&Path> = folder.ancestors().take_while(|above| !above.is_dir()).collect();
    for one in missing.iter().rev() {
        fs::create_dir(one)?;
        // Whatever the umask is: polkit's own user must be able to look into it.
        fs::set_permissions(one, fs::Permissions::from_mode(0o755))?;
    }
    Ok(!missing.is_empty())
}

/// Writes a file beside it, and lets that take its place. polkit does not read the one beside it:
/// its name ends otherwise.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    let beside = beside(path);
    // Left over from a run that was killed. A new one is never opened through a link.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&beside)?;
        // Whatever the umask is: polkit's own user must be able to read it.
        file.set_permissions(fs::Permissions::from_mode(MODE))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        // A partial file on a full disk would only take room.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// Whether there was one.
pub(super) fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => {
            File::open(folder_of(path))?.sync_all()?;
            Ok(true)
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}
