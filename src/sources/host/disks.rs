//! How full the file systems are. Which ones they are is decided in `mounts`; that a dead one
//! holds nothing up is seen to in `blocking`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::StatVfs;

use crate::engine::observation::{Amount, DiskSeen, DiskUsage};

use super::blocking::{Blocking, Lane, Reply};
use super::mounts::{DiskFilter, Mount, Place, pick};
use super::proc_file::{ProcFiles, ReadError};

const MOUNTINFO: &str = "proc/self/mountinfo";

/// Samples the file systems.
pub(super) struct Disks {
    table: PathBuf,
    limit: Duration,
    asker: Blocking<Question, Answer>,
    known: Arc<Known>,
    /// The table, then the local file systems: one trip to the shared thread for all.
    first: Vec<(Question, Lane)>,
    /// Those that are asked only when the table has just shown them to be there.
    then: Vec<(Question, Lane)>,
}

/// What a table of mounts told.
#[derive(Default)]
struct Known {
    /// The steady ones first.
    mounts: Vec<Mount>,
    /// How many are steady.
    steady: usize,
    /// The first line that could not be understood.
    problem: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Question {
    /// What is mounted?
    Table,
    /// How full is this one?
    Usage(Arc<Place>),
}

enum Answer {
    /// What is mounted now; the same allocation as before when nothing changed.
    Table(Arc<Known>),
    Unreadable(ReadError),
    Usage(DiskUsage),
    /// It has no space at all: nothing that could fill up.
    Nothing,
}

impl Disks {
    /// The file systems that are mounted at or below `host`, which is where the host's own `/` is.
    /// All paths are below `root` (`/` except in tests). `limit` is how long one may take to answer.
    pub(super) fn new(root: PathBuf, host: PathBuf, filter: DiskFilter, limit: Duration) -> Self {
        let table = root.join(MOUNTINFO);
        let user = rustix::process::geteuid().as_raw();
        let reader = Mutex::new(Table {
            files: ProcFiles::new(&root),
            last: Vec::new(),
            known: Arc::default(),
        });
        let asker = Blocking::new("kw-disks", limit, move |question| match question {
            Question::Table => {
                // Only one thread at a time asks this; after a panic the table is read anew.
                let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
                reader.read(&root, &host, &filter, user)
            }
            Question::Usage(place) => match rustix::fs::statvfs(below(&root, &place.point)) {
                Ok(found) if found.f_blocks == 0 => Answer::Nothing,
                Ok(found) => Answer::Usage(known(&found)),
                Err(e) => Answer::Usage(DiskUsage::Error(e.to_string())),
            },
        });
        let first = vec![(Question::Table, Lane::Shared)];
        Self { table, limit, asker, known: Arc::default(), first, then: Vec::new() }
    }

    /// All file systems as they are now, in order of their mount points, and what in the table of
    /// mounts could not be understood.
    ///
    /// # Errors
    /// [`ReadError`] when the table of mounts cannot be read: then nothing is known of any.
    pub(super) async fn sample(&mut self) -> Result<(Vec<DiskSeen>, Option<String>), ReadError> {
        let path = || self.table.clone();
        let mut replies = self.asker.ask(&self.first).await;
        match replies.remove(0) {
            Reply::Answer(Answer::Table(known)) if !Arc::ptr_eq(&known, &self.known) => {
                // What was asked by the old table is void.
                self.learn(known);
                replies = self.asker.ask(&self.first[1..]).await;
            }
            Reply::Answer(Answer::Unreadable(e)) => return Err(e),
            Reply::Answer(_) => {}
            Reply::Hangs => return Err(ReadError::Hangs { path: path(), limit: self.limit }),
            Reply::NotAsked(why) => return Err(ReadError::NotAsked { path: path(), why }),
        }
        if !self.then.is_empty() {
            replies.extend(self.asker.ask(&self.then).await);
        }
        let seen = self.known.mounts.iter().zip(replies).filter_map(|(mount, reply)| {
            let usage = match reply {
                Reply::Answer(Answer::Usage(usage)) => usage,
                Reply::Answer(_) => return None,
                Reply::Hangs => DiskUsage::Hangs,
                Reply::NotAsked(why) => DiskUsage::Error(why),
            };
            Some(DiskSeen {
                mount: Arc::clone(&mount.name),
                device: Arc::clone(&mount.source),
                fstype: Arc::clone(&mount.fstype),
                read_only: mount.read_only,
                usage,
            })
        });
        let mut seen: Vec<_> = seen.collect();
        seen.sort_by(|a, b| a.mount.cmp(&b.mount));
        Ok((seen, self.known.problem.clone()))
    }

    fn learn(&mut self, known: Arc<Known>) {
        let mut first = vec![(Question::Table, Lane::Shared)];
        let usage = |mount: &Mount| (Question::Usage(Arc::clone(&mount.place)), mount.lane);
        let (before, after) = known.mounts.split_at(known.steady);
        first.extend(before.iter().map(usage));
        let then: Vec<_> = after.iter().map(usage).collect();
        let still = first.iter().chain(&then);
        self.asker.forget_all_but(|asked| still.clone().any(|(question, _)| question == asked));
        (self.known, self.first, self.then) = (known, first, then);
    }
}

/// Whether its path may be looked at without knowing that it is still mounted.
fn is_steady(mount: &Mount) -> bool {
    mount.lane == Lane::Shared && !mount.automounted
}

/// The table of mounts, and how it was when it was last understood.
struct Table {
    files: ProcFiles,
    last: Vec<u8>,
    known: Arc<Known>,
}

impl Table {
    fn read(&mut self, root: &Path, host: &Path, filter: &DiskFilter, user: u32) -> Answer {
        let path = root.join(MOUNTINFO);
        match self.files.read(MOUNTINFO) {
            Ok(Some(file)) if file.bytes() == self.last && !self.last.is_empty() => {
                Answer::Table(Arc::clone(&self.known))
            }
            Ok(Some(file)) => {
                let is_folder = |point: &Path| below(root, point).is_dir();
                if file.bytes().is_empty() {
                    // There is always a mount at /: an empty table is no table.
                    return Answer::Unreadable(file.lacks("mount"));
                }
                let (mut mounts, problem) = pick(&file, host, filter, user, is_folder);
                self.last.clear();
                self.last.extend_from_slice(file.bytes());
                mounts.sort_by_key(|mount| !is_steady(mount));
                let steady = mounts.iter().filter(|mount| is_steady(mount)).count();
                let problem = problem.map(|e| e.to_string());
                self.known = Arc::new(Known { mounts, steady, problem });
                Answer::Table(Arc::clone(&self.known))
            }
            Ok(None) => {
                self.last.clear();
                Answer::Unreadable(ReadError::Io { path, source: io::ErrorKind::NotFound.into() })
            }
            Err(e) => {
                self.last.clear();
                Answer::Unreadable(e)
            }
        }
    }
}

/// An absolute path, below the root folder.
fn below(root: &Path, point: &Path) -> PathBuf {
    root.join(point.strip_prefix("/").unwrap_or(point))
}

/// What statvfs says, counted as `df` does.
fn known(found: &StatVfs) -> DiskUsage {
    let amount = |all: u64, free: u64, available: u64| Amount {
        // What is reserved for root is neither in use nor to be had.
        total: all.saturating_sub(free).saturating_add(available),
        available,
    };
    let blocks = amount(found.f_blocks, found.f_bfree, found.f_bavail);
    let size = found.f_frsize.max(1);
    DiskUsage::Known {
        space: Amount {
            total: blocks.total.saturating_mul(size),
            available: blocks.available.saturating_mul(size),
        },
        inodes: (found.f_files > 0).then(|| amount(found.f_files, found.f_ffree, found.f_favail)),
    }
}
