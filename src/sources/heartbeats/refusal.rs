//! Why keepwell may not look at a file, and what would let it: words for people.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD};

/// The user that looks, as the words name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sources) struct Looker {
    /// Such as `user keepwell`, or `user id 64999` where `/etc/passwd` has no name for it.
    shown: String,
    /// As `setfacl` takes it.
    name: String,
}

impl Looker {
    /// The user of this process, named by `/etc/passwd` below `root`.
    pub(in crate::sources) fn this_process(root: &Path) -> Self {
        let id = rustix::process::geteuid().as_raw();
        Self::named(id, &fs::read(root.join("etc/passwd")).unwrap_or_default())
    }

    fn named(id: u32, passwd: &[u8]) -> Self {
        let id = id.to_string();
        let name = String::from_utf8_lossy(passwd).lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?;
            (fields.nth(1) == Some(&id)).then(|| name.to_owned())
        });
        match name {
            Some(name) => Self { shown: format!("user {name}"), name },
            None => Self { shown: format!("user id {id}"), name: id },
        }
    }

    /// What refuses on the way to `path`, and the remedy.
    pub(in crate::sources) fn may_not_reach(&self, path: &Path) -> String {
        let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
        above.reverse();
        match above.into_iter().find(|folder| !may(folder, Access::EXEC_OK)) {
            Some(folder) => self.remedy(folder, "enter", "x"),
            None => format!(
                "{} may not look at {}: something on the way refuses, such as the target of a \
                 link or a security module",
                self.shown,
                path.display()
            ),
        }
    }

    /// That the folder cannot be listed (or not be reached), and the remedy.
    pub(super) fn may_not_list(&self, folder: &Path) -> String {
        if may(folder, Access::EXISTS) {
            self.remedy(folder, "list", "rx")
        } else {
            self.may_not_reach(folder)
        }
    }

    fn remedy(&self, folder: &Path, verb: &str, rights: &str) -> String {
        let Self { shown, name } = self;
        let place = folder.display();
        if is_hidden(folder) {
            return format!(
                "{shown} may not {verb} {place}, which nobody may: if keepwell's own unit hides \
                 it, set ProtectHome=read-only there"
            );
        }
        let quoted = quote(&place.to_string());
        format!(
            "{shown} may not {verb} {place}: give it the right to (chmod o+{rights} {quoted}, or \
             an ACL: setfacl -m u:{name}:{rights} {quoted})"
        )
    }
}

/// Whether this process may, by its effective ids.
fn may(path: &Path, access: Access) -> bool {
    rustix::fs::accessat(CWD, path, access, AtFlags::EACCESS).is_ok()
}

/// A folder of root's that is closed to all is how systemd hides one from a unit.
fn is_hidden(folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|found| found.uid() == 0 && found.mode() & 0o777 == 0)
}

/// For a shell.
fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:".contains(c);
    if text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_named_where_it_has_a_name() {
        let passwd = b"root:x:0:0:root:/root:/bin/sh\nkeepwell:x:998:998::/:/sbin/nologin\nbad\n";
        assert_eq!(Looker::named(998, passwd).shown, "user keepwell");
        assert_eq!(Looker::named(998, passwd).name, "keepwell");
        assert_eq!(Looker::named(64999, passwd).shown, "user id 64999");
        assert_eq!(Looker::named(64999, b"").name, "64999");
    }

    #[test]
    fn the_remedy_can_be_pasted_into_a_shell() {
        assert_eq!(quote("/var/lib/x-1"), "/var/lib/x-1");
        assert_eq!(quote("/a b"), "'/a b'");
        assert_eq!(quote("/it's"), "'/it'\\''s'");
    }
}
