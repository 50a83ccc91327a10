//! The store's thread: takes what comes, merges what waits, writes it, and says what became of it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::database::{Database, Fault};
use super::picture::Picture;
use super::state_file::StateFile;
use super::{CallRow, Commit, Job, Limits, Newer, OutboxRow, StoreEvent};
use crate::engine::observation::{Part, PartSeen, PartState};
use crate::engine::saved::{Change, Saved};
use crate::engine::time::{Boot, Now};

/// At most so many jobs go into one transaction.
const BATCH: usize = 1000;
const MAINTENANCE_FIRST: Duration = Duration::from_secs(10 * 60);
const MAINTENANCE: Duration = Duration::from_secs(3600);

/// Called before each access to the disk: how tests make a disk slow or broken.
pub(super) type Hook = Arc<dyn Fn(Stage) -> io::Result<()> + Send + Sync>;

/// What is about to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Both files are opened and read.
    Open,
    /// `state.json` is written.
    StateFile,
    /// A transaction is written.
    Database,
}

/// What the thread found when it opened the files.
pub(super) struct Found {
    pub(super) saved: Saved,
    pub(super) outbox: Vec<OutboxRow>,
    pub(super) calls: Vec<CallRow>,
    pub(super) faults: Vec<PartSeen>,
    pub(super) newer: Newer,
}

/// What was last said of a part.
struct Said {
    part: Part,
    state: Option<PartState>,
    /// A repaired fault is shown until then.
    until: Option<Boot>,
}

struct Keeper {
    limits: Limits,
    now: fn() -> Now,
    events: mpsc::UnboundedSender<StoreEvent>,
    file: StateFile,
    database: Database,
    picture: Picture,
    /// Sequence numbers of this run come after those of earlier ones.
    base: u64,
    /// Of the last commit, `base` included.
    seq: u64,
    /// The last commit that has had no answer, as the driver counts.
    unanswered: Option<u64>,
    said_file: Said,
    said_database: Said,
    retry_at: Boot,
    maintain_at: Boot,
    hook: Option<Hook>,
}

/// The thread's whole life.
pub(super) fn run(
    dir: &Path,
    limits: Limits,
    now: fn() -> Now,
    jobs: &std_mpsc::Receiver<Job>,
    events: mpsc::UnboundedSender<StoreEvent>,
    opened: &std_mpsc::SyncSender<Found>,
    hook: Option<Hook>,
) {
    let (mut keeper, found) = Keeper::open(dir.to_owned(), limits, now, events.clone(), hook);
    if opened.send(found).is_err() {
        // Whoever opened the store has gone on without it, and knows nothing of what is on the
        // disk: to write over that now would destroy it.
        refuse(jobs, &events);
        return;
    }
    keeper.serve(jobs);
}

/// Answers, and does nothing.
fn refuse(jobs: &std_mpsc::Receiver<Job>, events: &mpsc::UnboundedSender<StoreEvent>) {
    while let Ok(job) = jobs.recv() {
        match job {
            Job::Commit(commit) => drop(events.send(StoreEvent::Unsaved(commit.seq))),
            Job::Close(done) => {
                let _ = done.send(Err("the disk did not answer when keepwell started".into()));
                return;
            }
            _ => {}
        }
    }
}

impl Keeper {
    fn open(
        dir: PathBuf,
        limits: Limits,
        now: fn() -> Now,
        events: mpsc::UnboundedSender<StoreEvent>,
        hook: Option<Hook>,
    ) -> (Self, Found) {
        if let Some(hook) = &hook {
            // A hook can only delay here.
            let _ = hook(Stage::Open);
        }
        let at = now();
        let mut picture = Picture::default();
        let (database, loaded, database_fault) =
            Database::open(&dir, &limits, at.wall, &mut picture);
        let (file, file_fault) = StateFile::read(&dir, at.wall);
        if loaded.not_understood > 0 {
            tracing::warn!(
                records = loaded.not_understood,
                "some records of keepwell.db are not understood by this version; they are kept"
            );
        }
        let newer = match file.seq {
            seq if seq > loaded.seq => Newer::StateFile,
            seq if seq < loaded.state_seq => Newer::Database,
            _ => Newer::Neither,
        };
        let base = loaded.seq.max(file.seq);
        let mut keeper = Self {
            base,
            seq: base,
            unanswered: None,
            said_file: Said { part: Part::StateFile, state: None, until: None },
            said_database: Said { part: Part::Database, state: None, until: None },
            retry_at: at.boot,
            maintain_at: at.boot.after(MAINTENANCE_FIRST),
            limits,
            now,
            events,
            file,
            database,
            picture,
            hook,
        };
        let notice = at.boot.after(keeper.limits.notice);
        let mut faults = Vec::new();
        if let Some(fault) = database_fault {
            faults.extend(keeper.said_database.change(PartState::Broken(fault.text)));
            keeper.said_database.until = fault.over.then_some(notice);
        }
        if let Some(text) = file_fault {
            faults.extend(keeper.said_file.change(PartState::Broken(text)));
            keeper.said_file.until = Some(notice);
        }
        let mut saved = loaded.saved;
        saved.restarts = keeper.file.records();
        let (outbox, calls) = (loaded.outbox, loaded.calls);
        (keeper, Found { saved, outbox, calls, faults, newer })
    }

    fn serve(&mut self, jobs: &std_mpsc::Receiver<Job>) {
        if !self.picture.is_empty() {
            self.flush();
        }
        loop {
            let mut closing = None;
            match jobs.recv_timeout(self.patience()) {
                Ok(job) => {
                    self.take(job, &mut closing);
                    // What has come meanwhile shares the transaction and its fsync.
                    for job in jobs.try_iter().take(BATCH) {
                        self.take(job, &mut closing);
                    }
                    self.flush();
                }
                Err(std_mpsc::RecvTimeoutError::Timeout) => self.wake(),
                Err(std_mpsc::RecvTimeoutError::Disconnected) => {
                    self.database.close();
                    return;
                }
            }
            if let Some(done) = closing {
                let unsaved = self.unsaved();
                if unsaved.is_none() {
                    self.database.close();
                }
                let _ = done.send(unsaved.map_or(Ok(()), Err));
                return;
            }
        }
    }

    /// How long nothing needs to be done while no job comes.
    fn patience(&self) -> Duration {
        let now = (self.now)().boot;
        let mut next = self.maintain_at;
        if self.waits() {
            next = next.min(self.retry_at);
        }
        for until in [self.said_file.until, self.said_database.until].into_iter().flatten() {
            next = next.min(until);
        }
        next.since(now).max(Duration::from_millis(5))
    }

    /// Whether something is to be tried again.
    fn waits(&self) -> bool {
        let database =
            !self.database.is_refused() && (self.database.is_down() || !self.picture.is_empty());
        database || self.file.dirty
    }

    fn wake(&mut self) {
        let now = (self.now)();
        if self.waits() && now.boot >= self.retry_at {
            self.flush();
        }
        self.end_notices();
        if now.boot >= self.maintain_at {
            self.maintain_at = now.boot.after(MAINTENANCE);
            self.database.maintain(now.wall);
        }
    }

    fn take(&mut self, job: Job, closing: &mut Option<oneshot::Sender<Result<(), String>>>) {
        match job {
            Job::Commit(commit) => self.merge(commit),
            Job::Delivered(key) => self.picture.delivered(key),
            Job::FailedAttempt { key, attempts, next_at } => {
                self.picture.attempt(key, attempts, next_at);
            }
            Job::DropChannel(channel) => self.picture.drop_channel(channel),
            Job::CallDone(number) => self.picture.call_done(number),
            Job::FailedCall { number, attempts, next_at } => {
                self.picture.failed_call(number, attempts, next_at);
            }
            Job::DropHook(hook) => self.picture.drop_hook(hook),
            Job::Close(done) => *closing = Some(done),
        }
    }

    fn merge(&mut self, commit: Commit) {
        self.unanswered = self.unanswered.max(Some(commit.seq));
        self.seq = self.seq.max(self.base.saturating_add(commit.seq));
        for change in commit.changes {
            match change {
                Change::Alert(alert) => self.picture.alert(alert),
                Change::Count(count) => {
                    self.picture.counts.insert(Arc::clone(&count.unit), Some(count));
                }
                Change::CountGone(unit) => drop(self.picture.counts.insert(unit, None)),
                Change::Restart(unit, record) => self.file.set(unit, record, self.seq),
                Change::RestartGone(unit) => self.file.remove(&unit, self.seq),
                Change::Container(record) => self.picture.container(record),
                Change::ContainerGone(id) => self.picture.container_gone(id),
                Change::Silences(silences) => self.picture.silences = Some(silences),
                Change::Holds(holds) => self.picture.holds = Some(holds),
                Change::Cursor(cursor) => self.picture.cursor = Some(cursor),
                Change::ErrorsCursor(cursor) => self.picture.errors_cursor = Some(cursor),
                Change::Agent(agent) => self.picture.agent = Some(agent),
            }
        }
        for row in commit.outbox {
            self.picture.put(row);
        }
        for call in commit.calls {
            self.picture.call(CallRow::new(call));
        }
    }

    /// Writes all that waits, and answers.
    fn flush(&mut self) {
        let now = (self.now)();
        self.retry_at = now.boot.after(self.limits.retry);
        let file = self.file.dirty.then(|| self.write_file(now));
        let database =
            (!self.picture.is_empty() || self.database.is_down()).then(|| self.write_database(now));
        let saved = !matches!(file, Some(Err(_))) && !matches!(database, Some(Err(_)));
        // Trouble is said before the answer, so that the driver knows why.
        if let Some(result) = file {
            self.say_file(result, now);
        }
        if let Some(result) = database {
            self.say_database(result, now);
        }
        if let Some(seq) = self.unanswered.take() {
            self.send(if saved { StoreEvent::Stored(seq) } else { StoreEvent::Unsaved(seq) });
        }
        if !saved {
            self.picture.bound();
        }
    }

    fn write_file(&mut self, now: Now) -> Result<(), String> {
        let result = self.before(Stage::StateFile).and_then(|()| self.file.write(now.wall));
        result.map_err(|error| self.file.explain(&error))
    }

    fn write_database(&mut self, now: Now) -> Result<Option<Fault>, String> {
        self.before(Stage::Database).map_err(|e| format!("cannot write keepwell.db: {e}"))?;
        self.database.write(&mut self.picture, self.seq, self.file.seq, now.wall)
    }

    fn before(&self, stage: Stage) -> io::Result<()> {
        self.hook.as_ref().map_or(Ok(()), |hook| hook(stage))
    }

    fn say_file(&mut self, result: Result<(), String>, now: Now) {
        let event = match result {
            Err(text) => {
                self.said_file.until = None;
                self.said_file.change(PartState::Broken(text))
            }
            Ok(()) => self.said_file.works(now.boot),
        };
        event.into_iter().for_each(|seen| self.send(StoreEvent::Part(seen)));
    }

    fn say_database(&mut self, result: Result<Option<Fault>, String>, now: Now) {
        let event = match result {
            Err(text) => {
                self.said_database.until = None;
                self.said_database.change(PartState::Broken(text))
            }
            Ok(Some(fault)) => {
                self.said_database.until = Some(now.boot.after(self.limits.notice));
                self.said_database.change(PartState::Broken(fault.text))
            }
            Ok(None) => self.said_database.works(now.boot),
        };
        event.into_iter().for_each(|seen| self.send(StoreEvent::Part(seen)));
    }

    /// A fault that was repaired has been shown for long enough.
    fn end_notices(&mut self) {
        let now = (self.now)().boot;
        let mut events = Vec::new();
        if self.said_file.until.is_some_and(|t| now >= t) {
            self.said_file.until = None;
            // What could not even be moved away is not over until it can.
            if !self.file.blocked() {
                events.extend(self.said_file.works(now));
            }
        }
        if self.said_database.until.is_some_and(|t| now >= t) {
            self.said_database.until = None;
            events.extend(self.said_database.works(now));
        }
        events.into_iter().for_each(|seen| self.send(StoreEvent::Part(seen)));
    }

    /// What has not reached the disk, and why.
    fn unsaved(&self) -> Option<String> {
        let of = |said: &Said| match &said.state {
            Some(PartState::Broken(text)) => text.clone(),
            _ => "unknown reason".into(),
        };
        if self.file.dirty {
            Some(of(&self.said_file))
        } else if !self.picture.is_empty() {
            Some(of(&self.said_database))
        } else {
            None
        }
    }

    fn send(&self, event: StoreEvent) {
        // Nobody listens any more while the agent stops.
        let _ = self.events.send(event);
    }
}

impl Said {
    /// What to say when this is the state now: nothing, if it was said before.
    fn change(&mut self, state: PartState) -> Option<PartSeen> {
        if self.state.as_ref() == Some(&state) {
            return None;
        }
        self.state = Some(state.clone());
        Some(PartSeen { part: self.part.clone(), state })
    }

    /// It works; a repaired fault is shown a while longer.
    fn works(&mut self, now: Boot) -> Option<PartSeen> {
        match self.until {
            Some(until) if now < until => None,
            _ => {
                self.until = None;
                self.change(PartState::Works)
            }
        }
    }
}
