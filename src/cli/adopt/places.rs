//! The files that `adopt` makes, below a root: their names, how they are known again, and writing
//! and removing them so that nobody ever sees half of one.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Below which folder everything stands: `/`, or a temporary folder in tests.
#[derive(Debug, Clone)]
pub(super) struct Places {
    root: PathBuf,
}

/// What stands at a place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum There {
    Nothing,
    /// A file that `adopt` made for this unit.
    Ours(String),
    /// Somebody else's.
    Others,
}

impl Places {
    pub(super) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// keepwell's folder.
    pub(super) fn keepwell(&self) -> PathBuf {
        self.root.join("etc/keepwell")
    }

    /// The configuration of one adopted unit.
    pub(super) fn configuration(&self, unit: &str) -> PathBuf {
        self.keepwell().join(format!("conf.d/50-adopted-{}.toml", escape(unit)))
    }

    /// The drop-in of one adopted unit. systemd finds it by the unit's name as it is.
    pub(super) fn drop_in(&self, unit: &str) -> PathBuf {
        self.root.join(format!("etc/systemd/system/{unit}.d/50-keepwell.conf"))
    }

    /// The path as it is on the host.
    pub(super) fn shown(&self, path: &Path) -> String {
        let inside = path.strip_prefix(&self.root).unwrap_or(path);
        Path::new("/").join(inside).display().to_string()
    }
}

/// The beginning of a file that `adopt` makes: who made it, and how to take it back.
pub(super) fn header(unit: &str) -> String {
    format!(
        "{} `keepwell release {unit}` removes this\n\
         # file with all that is in it: put settings of your own into another one.\n",
        mark(unit)
    )
}

fn mark(unit: &str) -> String {
    format!("# Made by `keepwell adopt {unit}`.")
}

/// A unit's name as a part of a file's name. A backslash, as in `a\x2db.mount`, becomes `%5c`.
fn escape(unit: &str) -> String {
    let mut out = String::with_capacity(unit.len());
    for c in unit.chars() {
        if c.is_ascii_alphanumeric() || "-_.@:".contains(c) {
            out.push(c);
        } else {
            let mut bytes = [0; 4];
            out.extend(c.encode_utf8(&mut bytes).bytes().map(|b| format!("%{b:02x}")));
        }
    }
    out
}

/// What stands at `path`.
pub(super) fn look(path: &Path, unit: &str) -> io::Result<There> {
    match fs::symlink_metadata(path) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(There::Nothing);
        }
        Err(e) => return Err(e),
        Ok(kind) if !kind.is_file() => return Ok(There::Others),
        Ok(_) => {}
    }
    let text = String::from_utf8_lossy(&fs::read(path)?).into_owned();
    Ok(if text.starts_with(&mark(unit)) { There::Ours(text) } else { There::Others })
}

/// Puts a file in place at once, readable by all, lasting over a power cut; makes its folder.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().ok_or(ErrorKind::InvalidInput)?;
    make_folders(folder)?;
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?.to_string_lossy();
    // Neither keepwell nor systemd reads a file of such a name.
    let new = folder.join(format!(".{name}.new"));
    match fs::remove_file(&new) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        // Whatever the umask is: keepwell's user must be able to read it.
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.sync_all()?;
        fs::rename(&new, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written.and_then(|()| File::open(folder)?.sync_all())
}

/// Makes the folders that are missing, which others may look into.
fn make_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        make_folders(above)?;
    }
    fs::create_dir(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o755))
}

/// Removes a file, and its folder when `with_folder` says so and nothing is left in it.
pub(super) fn remove(path: &Path, with_folder: bool) -> io::Result<()> {
    fs::remove_file(path)?;
    let Some(folder) = path.parent() else { return Ok(()) };
    if with_folder {
        match fs::remove_dir(folder) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty => {}
            Err(e) => return Err(e),
        }
    }
    File::open(folder)?.sync_all()
}

/// Makes a file what it was before; a folder that was made for it goes too when `with_folder` says
/// so.
pub(super) fn put_back(path: &Path, former: &There, with_folder: bool) -> io::Result<()> {
    match former {
        There::Ours(text) => write(path, text),
        There::Others => Ok(()),
        There::Nothing => match remove(path, with_folder) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_units_become_names_of_files() {
        let places = Places::new("/");
        let name = |unit: &str| places.shown(&places.configuration(unit));
        assert_eq!(name("shop.service"), "/etc/keepwell/conf.d/50-adopted-shop.service.toml");
        assert_eq!(name("w@a:1.service"), "/etc/keepwell/conf.d/50-adopted-w@a:1.service.toml");
        assert_eq!(name("a\\x2db.mount"), "/etc/keepwell/conf.d/50-adopted-a%5cx2db.mount.toml");
        assert_eq!(
            places.shown(&places.drop_in("a\\x2db.service")),
            "/etc/systemd/system/a\\x2db.service.d/50-keepwell.conf"
        );
    }

    #[test]
    fn a_file_is_there_whole_readable_and_known_again() {
        let root = tempfile::tempdir().unwrap();
        let places = Places::new(root.path());
        let path = places.drop_in("shop.service");
        assert_eq!(look(&path, "shop.service").unwrap(), There::Nothing);
        let text = header("shop.service");
        write(&path, "old").unwrap();
        assert_eq!(look(&path, "shop.service").unwrap(), There::Others);
        write(&path, &text).unwrap();
        assert_eq!(look(&path, "shop.service").unwrap(), There::Ours(text));
        // A file that was copied from another unit is nobody's to take away.
        assert_eq!(look(&path, "shop2.service").unwrap(), There::Others);
        assert_eq!(look(&path, "hop.service").unwrap(), There::Others);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o644, 0o755));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else");
    }

    #[test]
    fn a_link_is_not_ours_and_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.conf");
        let other = root.path().join("other");
        fs::write(&other, header("a.service")).unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        assert_eq!(look(&path, "a.service").unwrap(), There::Others);
    }

    #[test]
    fn only_an_empty_folder_goes_with_the_file() {
        let root = tempfile::tempdir().unwrap();
        let path = Places::new(root.path()).drop_in("shop.service");
        let folder = path.parent().unwrap();
        write(&path, "x").unwrap();
        fs::write(folder.join("90-mine.conf"), "").unwrap();
        remove(&path, true).unwrap();
        assert!(folder.is_dir() && !path.exists());
        fs::remove_file(folder.join("90-mine.conf")).unwrap();
        write(&path, "x").unwrap();
        remove(&path, true).unwrap();
        assert!(!folder.exists());
    }

    #[test]
    fn what_was_written_is_put_back() {
        let root = tempfile::tempdir().unwrap();
        let path = Places::new(root.path()).drop_in("shop.service");
        write(&path, "new").unwrap();
        put_back(&path, &There::Ours("old".into()), true).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        put_back(&path, &There::Nothing, true).unwrap();
        assert!(!path.parent().unwrap().exists());
        put_back(&path, &There::Nothing, true).unwrap();
    }
}
