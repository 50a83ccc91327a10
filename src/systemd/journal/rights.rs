//! Whether this process may read the system's journal files. `journalctl` itself says so only with
//! hints, and shows a user without rights nothing, or only what is the user's own.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rights {
    /// The system's journal can be read.
    Yes,
    /// It is there and cannot be read.
    No,
    /// It is not there.
    NoJournal,
}

/// Where journald keeps its files: in memory and on disk.
pub(super) fn places() -> Vec<PathBuf> {
    vec!["/run/log/journal".into(), "/var/log/journal".into()]
}

/// Looks for `PLACE/MACHINE-ID/system*.journal` and tries to open one. No places: not asked.
pub(super) fn of(places: &[PathBuf]) -> Rights {
    if places.is_empty() {
        return Rights::Yes;
    }
    let mut found = Rights::NoJournal;
    for place in places {
        match in_place(place) {
            Ok(true) => return Rights::Yes,
            Ok(false) => {}
            Err(()) => found = Rights::No,
        }
    }
    found
}

/// `Ok(true)`: readable; `Ok(false)`: nothing there; `Err`: something there, and no right to it.
fn in_place(place: &Path) -> Result<bool, ()> {
    let mut denied = false;
    for folder in list(place)? {
        let Ok(files) = list(&folder) else {
            denied = true;
            continue;
        };
        for file in files {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            if !name.starts_with("system") || !name.contains(".journal") {
                continue;
            }
            match File::open(&file) {
                Ok(_) => return Ok(true),
                Err(error) => denied |= error.kind() == ErrorKind::PermissionDenied,
            }
        }
    }
    if denied { Err(()) } else { Ok(false) }
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, ()> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(entries.flatten().map(|entry| entry.path()).collect()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(()),
        Err(_) => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_decide_and_not_folders() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("journal");
        let places = vec![dir.path().join("none"), place.clone()];
        assert_eq!(of(&[]), Rights::Yes);
        assert_eq!(of(&places), Rights::NoJournal);

        let machine = place.join("0123");
        fs::create_dir_all(&machine).unwrap();
        fs::write(machine.join("user-1000.journal"), "").unwrap();
        assert_eq!(of(&places), Rights::NoJournal, "a user's own journal is not the system's");

        let file = machine.join("system.journal");
        fs::write(&file, "").unwrap();
        assert_eq!(of(&places), Rights::Yes);

        fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
        // root reads it all the same.
        let expected = if rustix::process::geteuid().is_root() { Rights::Yes } else { Rights::No };
        assert_eq!(of(&places), expected);
    }
}
