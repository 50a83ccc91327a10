//! Files that a channel's section names: small, read once when the configuration is read.

use std::io::{self, Read};
use std::path::Path;

use crate::config::Sink;
use crate::config::sink::Place;

/// Reads a regular file of at most `most` bytes.
///
/// # Errors
/// When it is none, is larger, or cannot be read.
pub(crate) fn read(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let file = std::fs::File::open(path)?;
    // A pipe or a device could keep the start waiting for ever.
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        return Err(io::Error::other(format!("it is larger than {} KiB", most / 1024)));
    }
    Ok(bytes)
}

/// Reports that a file that `what` names cannot be read. `config check` by another user than the
/// service may well be refused what the service can read: that is a warning.
pub(crate) fn unreadable(sink: &mut Sink, at: Place, what: &str, path: &Path, error: &io::Error) {
    let path = path.display();
    if error.kind() == io::ErrorKind::PermissionDenied {
        let message = format!("{what}: {path} cannot be read: {error}");
        let found =
            if sink.lenient() { sink.warning(at, message) } else { sink.error(at, message) };
        found.hint(format!("chown root:keepwell {path} && chmod 640 {path}"));
    } else {
        sink.error(at, format!("{what}: {path} cannot be read: {error}"));
    }
}
