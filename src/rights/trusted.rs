//! Reads files that nobody but root can have written: on the whole way to them, links included,
//! each folder and the file itself belong to root and only root can write to them.
//!
//! Every step is opened once and what was opened is looked at, so that nobody can put something
//! else in its place between a look and the reading.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// A larger file is no configuration.
const MOST: u64 = 1 << 20;
/// More drop-ins than this are no configuration.
const MOST_FILES: usize = 4096;
/// As many links as the kernel follows.
const MOST_LINKS: u32 = 40;

/// Why a file or folder is not used.
#[derive(Debug)]
pub(super) enum Refusal {
    /// There is none.
    Missing,
    /// It is there, but not to be trusted, or not readable.
    Reason(String),
}

impl From<Errno> for Refusal {
    fn from(error: Errno) -> Self {
        match error {
            Errno::NOENT | Errno::NOTDIR => Self::Missing,
            other => Self::Reason(format!("it cannot be read: {}", io::Error::from(other))),
        }
    }
}

/// A host's files, as seen from `root`; `owner` is root's number, or a test's own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trusted<'a> {
    pub(super) root: &'a Path,
    pub(super) owner: u32,
}

impl Trusted<'_> {
    /// The content of a file.
    pub(super) fn read(&self, path: &Path) -> Result<Vec<u8>, Refusal> {
        let file = self.open(path, OFlags::RDONLY, FileType::RegularFile)?;
        let mut bytes = Vec::new();
        File::from(file)
            .take(MOST + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| Refusal::Reason(format!("it cannot be read: {error}")))?;
        if bytes.len() as u64 > MOST {
            return Err(Refusal::Reason("it is larger than 1 MiB".into()));
        }
        Ok(bytes)
    }

    /// The names in a folder, unsorted.
    pub(super) fn list(&self, path: &Path) -> Result<Vec<OsString>, Refusal> {
        let folder = self.open(path, OFlags::RDONLY, FileType::Directory)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&folder)? {
            let entry = entry?;
            names.push(OsString::from_vec(entry.file_name().to_bytes().to_vec()));
            if names.len() > MOST_FILES {
                let why = format!("it holds more than {MOST_FILES} files");
                return Err(Refusal::Reason(why));
            }
        }
        Ok(names)
    }

    /// Goes from the root to `path`, step by step, and opens what is there, which is to be `kind`.
    fn open(&self, path: &Path, flags: OFlags, kind: FileType) -> Result<OwnedFd, Refusal> {
        let step = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(self.root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        // The folders that lead to where it is now, so that `..` needs no second look.
        let mut way = vec![root];
        let mut shown = PathBuf::from("/");
        let mut rest: VecDeque<OsString> = steps(path);
        let mut links = 0;
        while let Some(name) = rest.pop_front() {
            // The root is never left, as `/..` is `/`.
            if name == ".." {
                if way.len() > 1 {
                    way.pop();
                    shown.pop();
                }
                continue;
            }
            let Some(here) = way.last() else { return Err(Refusal::Missing) };
            let found = rustix::fs::openat(here, &name, step, Mode::empty())?;
            let stat = rustix::fs::fstat(&found)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(Refusal::Reason("too many links lead to it".into()));
                    }
                    let target = rustix::fs::readlinkat(&found, "", Vec::new())?;
                    let target = Path::new(OsStr::from_bytes(target.as_bytes()));
                    if target.is_absolute() {
                        way.truncate(1);
                        shown = PathBuf::from("/");
                    }
                    for step in steps(target).into_iter().rev() {
                        rest.push_front(step);
                    }
                }
                passed => {
                    let what = shown.join(&name);
                    self.check(&stat, &what, path)?;
                    if rest.is_empty() {
                        // Opening a pipe or a device could wait, or do something.
                        is(passed, kind)?;
                        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                        let opened = rustix::fs::openat(here, &name, flags, Mode::empty())?;
                        // What was opened counts, and not what was looked at.
                        let stat = rustix::fs::fstat(&opened)?;
                        is(FileType::from_raw_mode(stat.st_mode), kind)?;
                        self.check(&stat, &what, path)?;
                        return Ok(opened);
                    }
                    if !passed.is_dir() {
                        return Err(Refusal::Missing);
                    }
                    way.push(found);
                    shown = what;
                }
            }
        }
        Err(Refusal::Reason("it is a folder".into()))
    }

    /// Whether only the owner can have written it.
    fn check(&self, stat: &Stat, what: &Path, asked: &Path) -> Result<(), Refusal> {
        let what = if what == asked { "it".to_owned() } else { what.display().to_string() };
        if stat.st_uid != self.owner {
            let why = format!("{what} does not belong to root but to user {}", stat.st_uid);
            return Err(Refusal::Reason(why));
        }
        let others = match stat.st_mode & 0o022 {
            0 => return Ok(()),
            0o020 => "its group",
            _ => "all users",
        };
        let mode = stat.st_mode & 0o7777;
        Err(Refusal::Reason(format!("{what} can be written by {others} (mode {mode:04o})")))
    }
}

fn is(found: FileType, wanted: FileType) -> Result<(), Refusal> {
    match wanted {
        _ if found == wanted => Ok(()),
        FileType::Directory => Err(Refusal::Reason("it is not a folder".into())),
        _ => Err(Refusal::Reason("it is not a regular file".into())),
    }
}

fn steps(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    struct Host(tempfile::TempDir);

    impl Host {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let host = Self(folder);
            host.mode(".", 0o755);
            for name in ["etc", "etc/keepwell", "srv"] {
                fs::create_dir(host.path(name)).unwrap();
                host.mode(name, 0o755);
            }
            host
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn mode(&self, name: &str, mode: u32) {
            fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
        }

        fn file(&self, name: &str, mode: u32) {
            fs::write(self.path(name), name).unwrap();
            self.mode(name, mode);
        }

        fn trusted(&self) -> Trusted<'_> {
            let owner = fs::metadata(self.0.path()).unwrap().uid();
            Trusted { root: self.0.path(), owner }
        }

        fn read(&self, path: &str) -> Result<String, String> {
            match self.trusted().read(Path::new(path)) {
                Ok(bytes) => Ok(String::from_utf8(bytes).unwrap()),
                Err(Refusal::Missing) => Err("missing".into()),
                Err(Refusal::Reason(why)) => Err(why),
            }
        }
    }

    #[test]
    fn a_file_of_root_alone_is_read() {
        let host = Host::new();
        host.file("etc/keepwell/a.toml", 0o640);
        assert_eq!(host.read("/etc/keepwell/a.toml").unwrap(), "etc/keepwell/a.toml");
        assert_eq!(host.read("/etc/./keepwell/../keepwell/a.toml").unwrap(), "etc/keepwell/a.toml");
        assert_eq!(host.read("/etc/keepwell/b.toml").unwrap_err(), "missing");
        assert_eq!(host.read("/etc/keepwell/a.toml/b").unwrap_err(), "missing");
        assert!(host.read("/etc/keepwell").unwrap_err().contains("not a regular file"));
        assert_eq!(host.trusted().list(Path::new("/etc/keepwell")).unwrap().len(), 3);
    }

    #[test]
    fn what_others_can_write_is_refused_on_the_whole_way() {
        let host = Host::new();
        host.file("etc/keepwell/a.toml", 0o664);
        let error = host.read("/etc/keepwell/a.toml").unwrap_err();
        assert_eq!(error, "it can be written by its group (mode 0664)");
        host.mode("etc/keepwell/a.toml", 0o646);
        assert!(host.read("/etc/keepwell/a.toml").unwrap_err().contains("all users (mode 0646)"));
        host.mode("etc/keepwell/a.toml", 0o644);
        host.read("/etc/keepwell/a.toml").unwrap();
        // Sticky, as /tmp is: others can put files there.
        host.mode("etc/keepwell", 0o1777);
        let error = host.read("/etc/keepwell/a.toml").unwrap_err();
        assert_eq!(error, "/etc/keepwell can be written by all users (mode 1777)");
        assert!(matches!(
            host.trusted().list(Path::new("/etc/keepwell")),
            Err(Refusal::Reason(why)) if why.contains("it can be written")
        ));
        host.mode("etc/keepwell", 0o755);
        let other = Trusted { owner: host.trusted().owner + 1, ..host.trusted() };
        let Err(Refusal::Reason(why)) = other.read(Path::new("/etc/keepwell/a.toml")) else {
            panic!("it was read");
        };
        assert!(why.starts_with("/etc does not belong to root but to user "), "{why}");
    }

    #[test]
    fn links_are_followed_within_the_root_and_all_they_lead_through_is_looked_at() {
        let host = Host::new();
        host.file("srv/a.toml", 0o644);
        symlink("/srv/a.toml", host.path("etc/keepwell/absolute.toml")).unwrap();
        symlink("../../srv/a.toml", host.path("etc/keepwell/relative.toml")).unwrap();
        symlink("../../../../../srv/a.toml", host.path("etc/keepwell/beyond.toml")).unwrap();
        symlink("/srv", host.path("etc/folder")).unwrap();
        let all = [
            "/etc/keepwell/absolute.toml",
            "/etc/keepwell/relative.toml",
            "/etc/keepwell/beyond.toml",
            "/etc/folder/a.toml",
        ];
        for path in all {
            assert_eq!(host.read(path).unwrap(), "srv/a.toml", "{path}");
        }
        host.mode("srv", 0o775);
        for path in all {
            let error = host.read(path).unwrap_err();
            assert_eq!(error, "/srv can be written by its group (mode 0775)", "{path}");
        }
        symlink("round.toml", host.path("etc/keepwell/round.toml")).unwrap();
        assert!(host.read("/etc/keepwell/round.toml").unwrap_err().contains("too many links"));
        symlink("/nowhere", host.path("etc/keepwell/gone.toml")).unwrap();
        assert_eq!(host.read("/etc/keepwell/gone.toml").unwrap_err(), "missing");
    }

    #[test]
    fn a_pipe_or_a_huge_file_does_not_hold_it_up() {
        let host = Host::new();
        rustix::fs::mkfifoat(rustix::fs::CWD, host.path("etc/keepwell/p.toml"), Mode::RUSR)
            .unwrap();
        assert!(host.read("/etc/keepwell/p.toml").unwrap_err().contains("not a regular file"));
        let huge = host.path("etc/keepwell/h.toml");
        File::create(&huge).unwrap().set_len(MOST + 1).unwrap();
        host.mode("etc/keepwell/h.toml", 0o644);
        assert!(host.read("/etc/keepwell/h.toml").unwrap_err().contains("larger than 1 MiB"));
    }
}
