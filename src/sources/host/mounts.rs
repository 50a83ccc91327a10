//! Which file systems are looked at: picks the real ones of the table of mounts, each once. It
//! touches no mount; how full they are is asked in `disks`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use glob::{MatchOptions, Pattern};

use super::blocking::Lane;
use super::mountinfo::{Row, Tree, rows};
use super::proc_file::{Content, ReadError, parse};

/// Types that hold no files of their own on a medium that could fill up: the kernel's own, memory,
/// images that are always full, and views of other file systems. `autofs` is here so that nothing
/// is ever mounted by looking.
const NOT_REAL: &[&str] = &[
    "anon_inodefs",
    "apparmorfs",
    "aufs",
    "autofs",
    "bdev",
    "binder",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "cpuset",
    "cramfs",
    "debugfs",
    "devfs",
    "devpts",
    "devtmpfs",
    "dmabuf",
    "ecryptfs",
    "efivarfs",
    "erofs",
    "functionfs",
    "fuse.archivemount",
    "fuse.fuse-overlayfs",
    "fuse.gvfs-fuse-daemon",
    "fuse.gvfsd-fuse",
    "fuse.lxcfs",
    "fuse.portal",
    "fuse.rofiles-fuse",
    "fuse.snapfuse",
    "fuse.squashfuse",
    "fuse.squashfuse_ll",
    "fuse.vmware-vmblk",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nfsd",
    "nsfs",
    "overlay",
    "pipefs",
    "proc",
    "pstore",
    "ramfs",
    "resctrl",
    "romfs",
    "rootfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "smackfs",
    "sockfs",
    "squashfs",
    "sunrpc",
    "sysfs",
    "tmpfs",
    "tracefs",
    "udf",
    "unionfs",
    "xenfs",
];

/// Types on a medium of this host that the kernel itself serves: quick to answer.
const LOCAL: &[&str] = &[
    "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "hfs", "hfsplus", "jffs2", "jfs",
    "minix", "msdos", "nilfs2", "ntfs", "ntfs3", "overlay", "reiserfs", "ubifs", "ufs", "vfat",
    "xfs", "zfs",
];

/// A file system that the user wants left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskFilter {
    points: Vec<Pattern>,
    types: Vec<Pattern>,
}

/// The text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{pattern}' is not a pattern: {why}")]
pub struct BadPattern {
    /// The text.
    pub pattern: String,
    /// What is wrong, and where.
    pub why: String,
}

impl DiskFilter {
    /// Leaves out mount points that match one of `ignore` (`*` and `?` do not match `/`, `**`
    /// does) and file systems whose type matches one of `ignore_types` (such as `nfs*`).
    ///
    /// # Errors
    /// [`BadPattern`] for the first one that is none.
    pub fn try_new(ignore: &[String], ignore_types: &[String]) -> Result<Self, BadPattern> {
        let all = |texts: &[String]| -> Result<Vec<Pattern>, BadPattern> {
            texts.iter().map(|text| pattern(text)).collect()
        };
        Ok(Self { points: all(ignore)?, types: all(ignore_types)? })
    }

    fn ignores(&self, point: &Path, fstype: &str) -> bool {
        let options = MatchOptions { require_literal_separator: true, ..MatchOptions::default() };
        self.points.iter().any(|p| p.matches_path_with(point, options))
            || self.types.iter().any(|p| p.matches(fstype))
    }
}

fn pattern(text: &str) -> Result<Pattern, BadPattern> {
    Pattern::new(text).map_err(|e| BadPattern { pattern: text.to_owned(), why: e.msg.to_owned() })
}

/// A mount as one call of statvfs knows it: the same text at the same place is the same mount as
/// long as nobody mounted anew.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// The kernel's number of the mount, used again after an unmount.
    pub(super) id: u64,
    /// Major and minor number of the file system.
    pub(super) device: (u32, u32),
    /// Where it is mounted, without the root folder of tests.
    pub(super) point: PathBuf,
}

/// A file system to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) place: Arc<Place>,
    pub(super) lane: Lane,
    /// It lies on an automount point: when it is gone, looking at its path would mount it again.
    pub(super) automounted: bool,
    pub(super) name: Arc<str>,
    pub(super) source: Arc<str>,
    pub(super) fstype: Arc<str>,
    pub(super) read_only: bool,
}

/// Picks the file systems to look at, in order of their mount points: those at or below `host`,
/// where the host's own `/` is, called by the host's names. `user` is keepwell's own user id;
/// `is_folder` tells whether a mount point is a folder and is asked seldom. A line that cannot be
/// understood is left out and the first such error is returned too.
pub(super) fn pick(
    file: &Content<'_>,
    host: &Path,
    filter: &DiskFilter,
    user: u32,
    is_folder: impl Fn(&Path) -> bool,
) -> (Vec<Mount>, Option<ReadError>) {
    let (rows, mut problem) = rows(file);
    let tree = Tree::of(&rows);
    // The best mount of each file system: its whole rather than a folder of it, then by the
    // shortest mount point.
    let mut best: BTreeMap<(u32, u32), (usize, &Row<'_>)> = BTreeMap::new();
    let mut there = false;
    for (i, row) in rows.iter().enumerate() {
        let Some(point) = on_host(&row.point, host) else { continue };
        there = true;
        if !is_real(row, &point, user) || filter.ignores(&point, &row.fstype) || tree.hides(i) {
            continue;
        }
        if let Some((_, other)) = best.get(&row.device)
            && rank(other) <= rank(row)
        {
            continue;
        }
        // Containers have single files mounted over /etc/hosts and the like.
        if is_local(&row.fstype) && *row.root != *b"/" && !is_folder(&row.point) {
            continue;
        }
        best.insert(row.device, (i, row));
    }
    if !there {
        problem.get_or_insert(ReadError::NoHost { root: host.to_owned() });
    }
    let mut mounts: Vec<Mount> =
        best.into_values().map(|(i, row)| mount(row, host, &tree.above(i))).collect();
    mounts.sort_by(|a, b| a.name.cmp(&b.name));
    (mounts, problem)
}

fn rank<'a>(row: &'a Row<'_>) -> (bool, usize, &'a Path) {
    (*row.root != *b"/", row.point.as_os_str().len(), &row.point)
}

/// A mount point by the host's name, if it is one of the host's.
fn on_host<'a>(point: &'a Path, host: &Path) -> Option<Cow<'a, Path>> {
    if *host == *"/" {
        return Some(Cow::Borrowed(point));
    }
    point.strip_prefix(host).ok().map(|rest| Cow::Owned(Path::new("/").join(rest)))
}

/// `above` are the mounts that its path leads through.
fn mount(row: &Row<'_>, host: &Path, above: &[&Row<'_>]) -> Mount {
    let is_remote = |row: &Row<'_>| !is_local(&row.fstype) && !NOT_REAL.contains(&&*row.fstype);
    let remote = is_remote(row) || above.iter().any(|row| is_remote(row));
    Mount {
        place: Arc::new(Place {
            id: row.id,
            device: row.device,
            point: row.point.clone().into_owned(),
        }),
        lane: if remote { Lane::Own } else { Lane::Shared },
        automounted: above.iter().any(|row| row.fstype == "autofs"),
        name: on_host(&row.point, host).unwrap_or_default().to_string_lossy().into(),
        source: row.source.as_ref().into(),
        fstype: row.fstype.as_ref().into(),
        // ext4 and others say `emergency_ro` or `shutdown` when an error made them so.
        read_only: ["ro", "emergency_ro", "shutdown"].iter().any(|o| row.option(o).is_some()),
    }
}

fn is_local(fstype: &str) -> bool {
    LOCAL.contains(&fstype)
}

/// `point`: by the host's name.
fn is_real(row: &Row<'_>, point: &Path, user: u32) -> bool {
    let fstype = &*row.fstype;
    if *point == *"/" {
        // A container's own root. Without an upper folder it is an image that is always full.
        match fstype {
            "overlay" => return row.option("upperdir").is_some(),
            "aufs" | "fuse.fuse-overlayfs" => return true,
            _ => {}
        }
    }
    if NOT_REAL.contains(&fstype) {
        return false;
    }
    // A user's private FUSE mount answers nobody else, not even root.
    let private = fstype.starts_with("fuse")
        && row.option("allow_other").is_none()
        && row.option("user_id").is_some_and(|id| parse(id) != Some(user));
    !private
}

#[cfg(test)]
mod tests;
