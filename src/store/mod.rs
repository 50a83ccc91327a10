//! What survives keepwell: SQLite `keepwell.db` and the human-readable `state.json`, both owned by
//! one thread of their own, so that a slow disk stops nobody but that thread.
//!
//! Here: the handle, what goes in and what comes back. Not here: any decision about alerts or
//! restarts (`engine`), and when an effect may be released (`app::driver`).
//!
//! # What is where
//! `keepwell.db` is the truth for alerts, counts, lives of containers, holds, silences, the journal
//! cursor, the agent's own record, the outbox and the calls of hooks. `state.json` is the truth for the restart state of units. Each write of
//! either carries a sequence number that rises for ever, over restarts too.
//!
//! # The order of one commit, and what a crash leaves behind
//! 1. `state.json`: temporary file, fsync, rename, fsync of the folder. Only when a restart record
//!    really changed.
//! 2. One SQLite transaction with all else, synchronous FULL: on the platter when it returns.
//! 3. [`StoreEvent::Stored`]; only now are effects released.
//!
//! | crash | found at the next start |
//! |---|---|
//! | before 1 is renamed | both as before: nothing was done, the engine decides again |
//! | between 1 and 2 | `state.json` is ahead ([`Newer::StateFile`]): an attempt may be counted that was never made, so the next restart comes later, never earlier; counts and cursor are behind together, so the journal fills them |
//! | between 2 and 3, or after 3 before the effect | both new: the message is in the outbox and goes out; a restart that shows as under way may or may not have happened, and the engine looks |
//! | after a failed write of 1 | the database is ahead ([`Newer::Database`]); the same is found when somebody puts an old `state.json` back |
//!
//! While a disk fails, records that could not be written are kept in memory, merged, and written
//! all together once it works again.

mod database;
mod keeper;
mod last_word;
mod lock;
mod picture;
mod rows;
mod set_aside;
mod sqlite;
mod state_file;
#[cfg(test)]
pub(crate) mod tests;
mod whole;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::engine::alert::Notification;
use crate::engine::hook::HookCall;
use crate::engine::observation::{Part, PartSeen, PartState};
use crate::engine::saved::{Change, Saved};
use crate::engine::time::{Human, Now, Wall};

pub use last_word::LastWord;
pub use lock::{Lock, LockError, lock};

/// How long [`Store::open`] waits for the disk before it goes on without it.
const OPEN_LIMIT: Duration = Duration::from_secs(10);

/// How big and how old things may get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The most that `keepwell.db` may occupy, in bytes; its write-ahead log adds about 2 MiB.
    pub max_bytes: u64,
    /// Resolved alerts older than this are deleted, hourly.
    pub retention: Duration,
    /// How often unsaved records are tried again while nothing new comes.
    pub retry: Duration,
    /// How long a file that was set aside is reported before the part counts as well again.
    pub notice: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: 64 * 1024 * 1024,
            retention: Duration::from_secs(30 * 24 * 3600),
            retry: Duration::from_secs(30),
            notice: Duration::from_secs(60),
        }
    }
}

/// One message that waits for its channel. A channel has one at a time; the engine folds what
/// happens meanwhile.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxRow {
    /// The channel.
    pub channel: Arc<str>,
    /// [`Notification::id`].
    pub id: Arc<str>,
    /// The message.
    pub notification: Arc<Notification>,
    /// Deliveries tried and failed.
    pub attempts: u32,
    /// Not before this.
    pub next_at: Wall,
    /// When it was queued.
    pub created: Wall,
}

impl OutboxRow {
    /// The row of a message that is due at once.
    pub fn new(notification: Arc<Notification>) -> Self {
        Self {
            channel: Arc::clone(&notification.channel),
            id: Arc::clone(&notification.id),
            attempts: 0,
            next_at: notification.at,
            created: notification.at,
            notification,
        }
    }

    /// Which message this is.
    pub fn key(&self) -> RowKey {
        RowKey { channel: Arc::clone(&self.channel), id: Arc::clone(&self.id) }
    }
}

/// Names one message on one channel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowKey {
    /// The channel.
    pub channel: Arc<str>,
    /// Which message.
    pub id: Arc<str>,
}

/// One call that waits for its hook. Of one container a higher number goes out later.
#[derive(Debug, Clone, PartialEq)]
pub struct CallRow {
    /// What to tell.
    pub call: Arc<HookCall>,
    /// Tries that failed.
    pub attempts: u32,
    /// Not before this.
    pub next_at: Wall,
}

impl CallRow {
    /// The row of a call that is due at once.
    pub fn new(call: Arc<HookCall>) -> Self {
        Self { attempts: 0, next_at: call.at, call }
    }
}

/// What one step of the engine wants to survive.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Commit {
    /// Rises with each commit of this run; what it starts at does not matter.
    pub seq: u64,
    /// Applied in order.
    pub changes: Vec<Change>,
    /// Messages, in the same transaction.
    pub outbox: Vec<OutboxRow>,
    /// Calls of hooks, in the same transaction.
    pub calls: Vec<Arc<HookCall>>,
}

/// What became of commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreEvent {
    /// All commits up to this one are on the disk (those before it that were
    /// [`StoreEvent::Unsaved`] as well).
    Stored(u64),
    /// All commits up to this one that have had no answer are in memory only; they will be written
    /// when the disk works again, without a further event.
    Unsaved(u64),
    /// The database or `state.json` works or does not. Sent on change.
    Part(PartSeen),
}

/// Which of the two files was written last, as found at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Newer {
    /// They belong together.
    Neither,
    /// `state.json` is ahead: the database lacks its last commits.
    StateFile,
    /// The database is ahead: `state.json` lacks its last change, or an old one was put back.
    Database,
}

/// What a start finds.
#[derive(Debug)]
pub struct Opened {
    /// What survived.
    pub saved: Saved,
    /// Messages that still wait, oldest first.
    pub outbox: Vec<OutboxRow>,
    /// Calls of hooks that still wait, by their number.
    pub calls: Vec<CallRow>,
    /// What does not work, as text for people. Empty when all is well.
    pub faults: Vec<PartSeen>,
    /// Which file was written last.
    pub newer: Newer,
    /// What becomes of commits, from now on. It ends only when the store's thread has ended.
    pub events: mpsc::UnboundedReceiver<StoreEvent>,
}

/// The store's thread is gone (it panicked, or the store was closed).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store has stopped")]
pub struct StoreGone;

/// The disk did not take the last records within the time allowed for stopping.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloseError {
    /// The thread still waits for the disk.
    #[error("the disk did not answer within {}; the last records may be lost", Human(*.0))]
    Timeout(Duration),
    /// It answered, and it failed.
    #[error("the last records could not be saved: {0}")]
    Unsaved(String),
    /// The thread had ended before.
    #[error(transparent)]
    Gone(#[from] StoreGone),
}

/// What the thread is told.
pub(crate) enum Job {
    Commit(Commit),
    Delivered(RowKey),
    FailedAttempt { key: RowKey, attempts: u32, next_at: Wall },
    DropChannel(Arc<str>),
    CallDone(u64),
    FailedCall { number: u64, attempts: u32, next_at: Wall },
    DropHook(Arc<str>),
    Close(oneshot::Sender<Result<(), String>>),
}

/// Hands work to the store's thread; cheap to clone, never waits.
#[derive(Clone)]
pub struct StoreHandle {
    jobs: std_mpsc::Sender<Job>,
}

impl StoreHandle {
    /// Writes a commit; the answer comes as a [`StoreEvent`].
    ///
    /// # Errors
    /// [`StoreGone`] when the thread has ended: nothing will be written or answered.
    pub fn commit(&self, commit: Commit) -> Result<(), StoreGone> {
        self.send(Job::Commit(commit))
    }

    /// A message was delivered or given up for good: deletes its row.
    pub fn delivered(&self, key: RowKey) {
        // A store that is gone has been reported by the end of its events.
        let _ = self.send(Job::Delivered(key));
    }

    /// A delivery failed and is to be tried again at a time; ignored when the row is gone.
    pub fn failed_attempt(&self, key: RowKey, attempts: u32, next_at: Wall) {
        let _ = self.send(Job::FailedAttempt { key, attempts, next_at });
    }

    /// Deletes all rows of a channel that the configuration names no more.
    pub fn drop_channel(&self, channel: Arc<str>) {
        let _ = self.send(Job::DropChannel(channel));
    }

    /// The call of this number was taken, or given up for good: deletes its row.
    pub fn call_done(&self, number: u64) {
        let _ = self.send(Job::CallDone(number));
    }

    /// A call failed and is to be tried again at a time; ignored when the row is gone.
    pub fn failed_call(&self, number: u64, attempts: u32, next_at: Wall) {
        let _ = self.send(Job::FailedCall { number, attempts, next_at });
    }

    /// Deletes all calls of a hook that the configuration names no more.
    pub fn drop_hook(&self, hook: Arc<str>) {
        let _ = self.send(Job::DropHook(hook));
    }

    fn send(&self, job: Job) -> Result<(), StoreGone> {
        self.jobs.send(job).map_err(|_| StoreGone)
    }
}

/// The store, by its owner.
pub struct Store {
    handle: StoreHandle,
}

impl Store {
    /// Opens both files of a folder, which is created when it is missing. It never fails: what
    /// does not work is in [`Opened::faults`], and the store goes on in memory.
    ///
    /// It waits for the disk, at most 10 s; a folder that takes longer is not used in this run.
    pub fn open(dir: &Path, limits: Limits, now: fn() -> Now) -> (Self, Opened) {
        Self::open_with(dir, limits, now, OPEN_LIMIT, None)
    }

    fn open_with(
        dir: &Path,
        limits: Limits,
        now: fn() -> Now,
        patience: Duration,
        hook: Option<keeper::Hook>,
    ) -> (Self, Opened) {
        let (jobs, jobs_rx) = std_mpsc::channel();
        let (events, events_rx) = mpsc::unbounded_channel();
        let (opened_tx, opened_rx) = std_mpsc::sync_channel(0);
        let path = dir.to_owned();
        let spawned = std::thread::Builder::new()
            .name("keepwell-store".into())
            .stack_size(1024 * 1024)
            .spawn(move || keeper::run(&path, limits, now, &jobs_rx, events, &opened_tx, hook));
        let why = match spawned {
            Err(error) => format!("cannot start the thread that writes it: {error}"),
            Ok(_) => match opened_rx.recv_timeout(patience) {
                Ok(found) => {
                    let keeper::Found { saved, outbox, calls, faults, newer } = found;
                    let opened = Opened { saved, outbox, calls, faults, newer, events: events_rx };
                    return (Self { handle: StoreHandle { jobs } }, opened);
                }
                Err(std_mpsc::RecvTimeoutError::Timeout) => format!(
                    "the disk under {} did not answer within {}; nothing is read or written there \
                     until keepwell is restarted: check the disk or mount",
                    dir.display(),
                    Human(patience)
                ),
                Err(std_mpsc::RecvTimeoutError::Disconnected) => {
                    "the thread that writes it has crashed; please report this".into()
                }
            },
        };
        let faults = [Part::Database, Part::StateFile]
            .into_iter()
            .map(|part| PartSeen { part, state: PartState::Broken(why.clone()) })
            .collect();
        let opened = Opened {
            saved: Saved::default(),
            outbox: Vec::new(),
            calls: Vec::new(),
            faults,
            newer: Newer::Neither,
            events: events_rx,
        };
        (Self { handle: StoreHandle { jobs } }, opened)
    }

    /// A handle for those who only hand work over.
    pub fn handle(&self) -> StoreHandle {
        self.handle.clone()
    }

    /// Writes a commit; the answer comes as a [`StoreEvent`].
    ///
    /// # Errors
    /// [`StoreGone`] when the thread has ended.
    pub fn commit(&self, commit: Commit) -> Result<(), StoreGone> {
        self.handle.commit(commit)
    }

    /// Writes what waits, marks the stop as orderly, and ends the thread. After `limit` it gives
    /// up: the thread is then left to the end of the process.
    ///
    /// # Errors
    /// [`CloseError`], when the last records are not on the disk.
    pub async fn close(self, limit: Duration) -> Result<(), CloseError> {
        let (done, answer) = oneshot::channel();
        self.handle.send(Job::Close(done))?;
        match tokio::time::timeout(limit, answer).await {
            Err(_) => Err(CloseError::Timeout(limit)),
            Ok(Err(_)) => Err(CloseError::Gone(StoreGone)),
            Ok(Ok(result)) => result.map_err(CloseError::Unsaved),
        }
    }
}

/// A wall time in RFC 3339 with microseconds, in UTC.
pub(crate) fn rfc3339(at: Wall) -> String {
    jiff::Timestamp::from_microsecond(at.0)
        .map_or_else(|_| at.0.to_string(), |t| t.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
}
