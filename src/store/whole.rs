//! Writes a file whole or not at all, into a folder that may belong to somebody else: root writes
//! into that of keepwell's user, who must neither lead it elsewhere nor be locked out by it.

use std::fs::{File, OpenOptions, remove_file, rename};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Gid, Uid, fchown};

use super::set_aside::with_suffix;

/// Temporary file, fsync, rename, fsync of the folder.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let temporary = with_suffix(path, ".tmp");
    // Left over from a run that was killed, or a link that somebody laid: never written through.
    match remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = (|| {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o640).open(&temporary)?;
        let (whose, own) = (File::open(folder)?.metadata()?, file.metadata()?);
        if (whose.uid(), whose.gid()) != (own.uid(), own.gid())
            && rustix::process::geteuid().is_root()
        {
            fchown(&file, Some(Uid::from_raw(whose.uid())), Some(Gid::from_raw(whose.gid())))?;
        }
        file.write_all(bytes)?;
        file.sync_all()?;
        rename(&temporary, path)?;
        File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        // A partial file on a full disk would only take room.
        let _ = remove_file(&temporary);
    }
    written
}
