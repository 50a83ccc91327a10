//! The journal, read through `journalctl`: what happened to units, the last lines of a run, and a
//! live stream. Here: the program, its limits, its faults and where in the journal to begin. What
//! the lines mean is in the files beside this one; what is an error of a unit is
//! `sources::journal`'s affair.
//!
//! Measured on systemd 252 (Debian 12) and 257 (Debian 13):
//! - `--after-cursor` together with a filter swallows the first matching entry on 252 when the
//!   cursor's own entry does not match (6 of 7 entries came; 257 gives all 7). So keepwell asks
//!   with `--cursor`, which includes the entry, and drops that one itself.
//! - A cursor whose entry is gone is no error: reading begins at the nearest place by sequence
//!   number or time. One that lies ahead of everything yields nothing at all. Text that is no cursor
//!   is refused ("Failed to seek to cursor").
//! - When nothing matches, 252 exits with 1 and 257 with 0, both without a word, and neither prints
//!   the `--show-cursor` line.
//! - Fields over 4 KiB are `null` without `--all`; text that is not UTF-8 is an array of numbers.
//! - `--follow` in a journal without an entry of this boot ends at once ("no such boot").

mod entry;
mod excerpt;
mod follow;
mod lines;
mod lives;
mod rights;

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

pub use entry::Entry;
pub use excerpt::tidy;
pub use follow::{Follow, Followed};
pub use lives::{After, Lives};

use crate::engine::Wall;
use lines::Lines;
use rights::Rights;

/// Most bytes taken from one run of `journalctl`; more is cut off, and said.
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// Time limit of one run.
const LIMIT: Duration = Duration::from_secs(10);

/// Why the journal could not be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// There is no `journalctl`.
    #[error(
        "'{program}' was not found, so the journal cannot be read: install systemd's journal tools"
    )]
    Missing {
        /// What was looked for.
        program: String,
    },
    /// The host keeps no journal files.
    #[error("this host keeps no journal: nothing in /run/log/journal or /var/log/journal")]
    NoJournal,
    /// keepwell may not read the system's journal.
    #[error(
        "uid {uid} may not read the system's journal: add its user to the group systemd-journal and restart keepwell"
    )]
    NoPermission {
        /// The user keepwell runs as.
        uid: u32,
    },
    /// `journalctl` could not be started, or its output not be read.
    #[error("cannot run '{program}': {error}")]
    Start {
        /// What was to run.
        program: String,
        /// The system's words.
        error: std::io::Error,
    },
    /// It took too long.
    #[error("journalctl gave no answer within {} s: is the disk of /var/log/journal slow?", limit.as_secs())]
    TimedOut {
        /// The limit.
        limit: Duration,
    },
    /// It ended with an error.
    #[error("journalctl failed ({status}): {text}")]
    Failed {
        /// How it ended.
        status: String,
        /// The first line of its standard error.
        text: String,
    },
}

impl JournalError {
    /// The host has no journal, or no way to read one: nothing that is broken.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::NoJournal)
    }

    fn is_bad_cursor(&self) -> bool {
        matches!(self, Self::Failed { text, .. } if text.contains("seek to cursor"))
    }
}

/// Whose units are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// The system manager's.
    System,
    /// The user manager's of this uid.
    User(u32),
}

impl Scope {
    /// The fields in which a manager names a unit and its run, and in which journald itself notes
    /// which unit a line came from.
    fn fields(self) -> [&'static str; 3] {
        match self {
            Self::System => ["UNIT", "INVOCATION_ID", "_SYSTEMD_UNIT"],
            Self::User(_) => ["USER_UNIT", "USER_INVOCATION_ID", "_SYSTEMD_USER_UNIT"],
        }
    }

    /// Matches only what the manager itself logged. Any program may log a `MESSAGE_ID` and a `UNIT`
    /// of its choice; fields that begin with `_` are journald's own and cannot be forged.
    fn manager(self) -> Vec<String> {
        match self {
            Self::System => vec!["_PID=1".into()],
            Self::User(uid) => {
                vec![format!("_UID={uid}"), "_SYSTEMD_USER_UNIT=init.scope".into()]
            }
        }
    }
}

/// Reads the journal. Cheap to clone; holds nothing open.
#[derive(Debug, Clone)]
pub struct Journal {
    program: OsString,
    args: Vec<OsString>,
    scope: Scope,
    limit: Duration,
    /// Where journal files are looked for before each run; empty: not looked for.
    places: Vec<PathBuf>,
}

impl Default for Journal {
    fn default() -> Self {
        Self::new()
    }
}

impl Journal {
    /// The journal of the host, through the `journalctl` of the search path.
    pub fn new() -> Self {
        Self {
            program: "journalctl".into(),
            args: Vec::new(),
            scope: Scope::System,
            limit: LIMIT,
            places: rights::places(),
        }
    }

    /// The same, for the units of this user's own service manager (`systemd --user`).
    pub fn user() -> Self {
        let uid = rustix::process::getuid().as_raw();
        Self { scope: Scope::User(uid), places: Vec::new(), ..Self::new() }
    }

    /// Another program, or further arguments before all others (such as `--directory=…`). Rights
    /// are then not looked at beforehand.
    pub fn with_args(
        program: impl Into<OsString>,
        args: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Self {
        Self {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            places: Vec::new(),
            ..Self::new()
        }
    }

    /// With another time limit for one run (default 10 s).
    pub fn with_limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// The field by which journald notes the unit that a line came from, to build matches with.
    pub fn unit_field(&self) -> &'static str {
        self.scope.fields()[2]
    }

    /// The unit whose process logged `entry`.
    pub fn unit_of<'a>(&self, entry: &'a Entry) -> Option<&'a str> {
        match self.scope {
            Scope::System => entry.unit.as_deref(),
            Scope::User(_) => entry.user_unit.as_deref(),
        }
    }

    /// Whether the journal can be read at all, before anything is asked of it.
    ///
    /// # Errors
    /// [`JournalError::NoJournal`] and [`JournalError::NoPermission`].
    pub fn check_rights(&self) -> Result<(), JournalError> {
        match rights::of(&self.places) {
            Rights::Yes => Ok(()),
            Rights::NoJournal => Err(JournalError::NoJournal),
            Rights::No => Err(self.no_permission()),
        }
    }

    fn no_permission(&self) -> JournalError {
        JournalError::NoPermission { uid: rustix::process::geteuid().as_raw() }
    }

    /// Shows every entry that fits `matches` from a place on to the present. `each` may stop it.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn read(
        &self,
        matches: &[String],
        place: &Place,
        mut each: impl FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), JournalError> {
        let mut args = place.args();
        args.push("--all".into());
        args.extend(matches.iter().cloned());
        self.run(Entry::FIELDS, &args, |line| match Entry::parse(line) {
            Some(entry) if place.excludes(&entry) => ControlFlow::Continue(()),
            Some(entry) => each(entry),
            None => ControlFlow::Continue(()),
        })
        .await
    }

    /// The newest entry of all: where the journal ends now. `None` when it is empty.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn tail(&self) -> Result<Option<(String, Wall)>, JournalError> {
        self.first(&["-n1".into()]).await
    }

    /// The boot in which the newest entry was logged, written as in
    /// `/proc/sys/kernel/random/boot_id`, and when that was.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn newest_boot(&self) -> Result<Option<(Arc<str>, Wall)>, JournalError> {
        let tail = self.tail().await?;
        Ok(tail.and_then(|(cursor, at)| {
            let id = cursor.split(';').find_map(|part| part.strip_prefix("b="))?;
            Some((entry::with_dashes(id), at))
        }))
    }

    /// Where to begin reading after `after`, as far as the journal still knows the place.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn locate(&self, after: &After) -> Result<Place, JournalError> {
        let cursor = match after {
            After::Cursor(cursor) => cursor,
            After::Since(at) => return Ok(Place::Since(*at)),
            After::Boot => return Ok(Place::Boot),
        };
        match self.first(&[format!("--cursor={cursor}"), "-n1".into()]).await {
            Ok(Some((first, _))) if first == *cursor => Ok(Place::after(cursor, true)),
            Ok(Some(_)) => {
                tracing::warn!(
                    cursor,
                    "the journal no longer has the entry read last; going on at the nearest by time"
                );
                Ok(Place::after(cursor, false))
            }
            Ok(None) => {
                tracing::warn!(
                    cursor,
                    "the place read last lies ahead of the journal (was the clock set back?); reading this boot"
                );
                Ok(Place::Boot)
            }
            Err(error) if error.is_bad_cursor() => {
                tracing::warn!(
                    cursor,
                    "the saved place in the journal cannot be used; reading this boot"
                );
                Ok(Place::Boot)
            }
            Err(error) => Err(error),
        }
    }

    async fn first(&self, args: &[String]) -> Result<Option<(String, Wall)>, JournalError> {
        let mut found = None;
        // _BOOT_ID is printed in any case, so nothing else is.
        self.run("_BOOT_ID", args, |line| {
            found = Entry::parse(line).map(|entry| (entry.cursor, entry.at));
            ControlFlow::Break(())
        })
        .await?;
        Ok(found)
    }

    /// One run: each line of its output to `each`, until that stops it, the output ends or a limit
    /// is reached.
    async fn run(
        &self,
        fields: &str,
        args: &[String],
        mut each: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), JournalError> {
        self.check_rights()?;
        let mut child = self.start(fields, args)?;
        let work = async {
            let mut bytes = 0;
            let stopped = {
                let mut lines = Lines::new(child.stdout.take());
                loop {
                    match lines.next().await.map_err(|error| self.cannot_run(error))? {
                        None => break false,
                        Some(line) => {
                            bytes += line.len();
                            if each(line).is_break() {
                                break true;
                            }
                        }
                    }
                    if bytes > MOST_BYTES {
                        tracing::warn!(
                            bytes,
                            "the journal said too much at once; the rest is left out"
                        );
                        break true;
                    }
                }
            };
            // Enough was read: how it ends does not matter, and dropping it kills it.
            if stopped { Ok(()) } else { self.end(&mut child, bytes > 0).await }
        };
        tokio::time::timeout(self.limit, work)
            .await
            .unwrap_or(Err(JournalError::TimedOut { limit: self.limit }))
    }

    fn start(&self, fields: &str, args: &[String]) -> Result<Child, JournalError> {
        Command::new(&self.program)
            .args(&self.args)
            .args(["--no-pager", "--quiet", "--output=json"])
            .arg(format!("--output-fields={fields}"))
            .args(args)
            .env("LC_ALL", "C")
            // It is not for a child to speak to the service manager in keepwell's name.
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC")
            .env_remove("SYSTEMD_LOG_LEVEL")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| self.cannot_run(error))
    }

    fn cannot_run(&self, error: std::io::Error) -> JournalError {
        let program = self.program.to_string_lossy().into_owned();
        if error.kind() == std::io::ErrorKind::NotFound {
            JournalError::Missing { program }
        } else {
            JournalError::Start { program, error }
        }
    }

    /// Its output has ended: what became of it.
    async fn end(&self, child: &mut Child, said_something: bool) -> Result<(), JournalError> {
        let text = match child.stderr.take() {
            Some(stderr) => first_line(stderr).await,
            None => String::new(),
        };
        let status = child.wait().await.map_err(|error| self.cannot_run(error))?;
        self.judge(status, &text, said_something)
    }

    fn judge(
        &self,
        status: ExitStatus,
        text: &str,
        said_something: bool,
    ) -> Result<(), JournalError> {
        // 252 and older exit with 1 when nothing matches.
        if status.success() || (status.code() == Some(1) && text.is_empty() && !said_something) {
            return Ok(());
        }
        if text.contains("insufficient permissions") || text.contains("Permission denied") {
            return Err(self.no_permission());
        }
        if text.contains("No journal files were found") {
            return Err(JournalError::NoJournal);
        }
        let text = if text.is_empty() { "it gave no reason".to_owned() } else { text.to_owned() };
        Err(JournalError::Failed { status: status.to_string(), text })
    }
}

/// The first line that is not empty of what a child says on standard error, at most 300 characters.
async fn first_line(stderr: impl AsyncRead + Unpin) -> String {
    let mut text = Vec::new();
    // What cannot be read is as good as nothing said.
    let _ = stderr.take(4096).read_to_end(&mut text).await;
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    excerpt::shorten(&excerpt::plain(line), 300).into_owned()
}

/// A place in the journal to begin reading at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// After the entry of this cursor.
    After {
        /// The cursor.
        cursor: String,
        /// Whether the entry is still there; if not, reading begins at the nearest by time, and
        /// something in between may be missing.
        exact: bool,
    },
    /// At a time of the wall clock.
    Since(Wall),
    /// So many seconds ago.
    Ago(Duration),
    /// At the beginning of this boot.
    Boot,
}

impl Place {
    fn after(cursor: &str, exact: bool) -> Self {
        Self::After { cursor: cursor.to_owned(), exact }
    }

    fn args(&self) -> Vec<String> {
        vec![match self {
            Self::After { cursor, .. } => format!("--cursor={cursor}"),
            Self::Since(at) => {
                let at = at.0.max(0);
                format!("--since=@{}.{:06}", at / 1_000_000, at % 1_000_000)
            }
            Self::Ago(by) => format!("--since=-{}s", by.as_secs()),
            Self::Boot => "--boot".into(),
        }]
    }

    /// `--cursor` shows the entry of the cursor itself, which was read before.
    fn excludes(&self, entry: &Entry) -> bool {
        matches!(self, Self::After { cursor, .. } if *cursor == entry.cursor)
    }
}

#[cfg(test)]
mod tests;
