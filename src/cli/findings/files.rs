//! Findings of `doctor` about files that root can read and the daemon cannot: what root sees as
//! valid then keeps the service from starting.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::config::{Options, Paths, files};

use super::super::{Finding, Level};

/// The daemon's user and group.
#[derive(Debug, Clone, Copy)]
struct Daemon {
    uid: u32,
    gid: u32,
}

/// Says something only to root, and only where the daemon is somebody else.
pub(super) fn find(options: &Options, state_dir: Option<&Path>) -> Vec<Finding> {
    if !rustix::process::geteuid().is_root() {
        return Vec::new();
    }
    // The state folder is the daemon's own.
    let owner = Paths::find(&options.environment, state_dir)
        .ok()
        .and_then(|paths| std::fs::metadata(paths.state()).ok())
        .map(|folder| Daemon { uid: folder.uid(), gid: folder.gid() });
    match owner {
        Some(daemon) if daemon.uid != 0 => {
            of(files::find(options).iter().map(|input| &*input.path), daemon)
        }
        _ => Vec::new(),
    }
}

fn of<'a>(paths: impl Iterator<Item = &'a Path>, daemon: Daemon) -> Vec<Finding> {
    paths.filter(|path| !readable(path, daemon)).map(finding).collect()
}

/// Asked of the kernel, as that user: folders on the way and access lists count too.
fn readable(path: &Path, daemon: Daemon) -> bool {
    let asked = Command::new("test")
        .arg("-r")
        .arg(path)
        .uid(daemon.uid)
        .gid(daemon.gid)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    // Where it cannot be asked, nothing is claimed.
    asked.map_or(true, |status| status.code() != Some(1))
}

fn finding(path: &Path) -> Finding {
    let path = path.display();
    let text = format!(
        "{path} cannot be read by the daemon's user: it will refuse a reload, and not start again"
    );
    let remedy = format!("`sudo chgrp keepwell {path} && sudo chmod 640 {path}`");
    Finding::bad("configuration", Level::Fail, text, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_root_can_read_is_said() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(folder.path(), 0o755);
        let (open, closed) = (folder.path().join("a.toml"), folder.path().join("b.toml"));
        std::fs::write(&open, "").unwrap();
        std::fs::write(&closed, "").unwrap();
        mode(&open, 0o644);
        mode(&closed, 0o600);
        let found = of([&*open, &*closed].into_iter(), Daemon { uid: 65_534, gid: 65_534 });
        assert_eq!(found.len(), 1);
        assert!(found[0].text.starts_with(&format!("{} cannot", closed.display())));
        // A folder on the way counts as well.
        mode(folder.path(), 0o700);
        assert_eq!(of([&*open].into_iter(), Daemon { uid: 65_534, gid: 65_534 }).len(), 1);
    }
}
