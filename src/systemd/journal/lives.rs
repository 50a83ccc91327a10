//! What happened to units while nobody listened, from the messages of the service manager.
//!
//! Measured on systemd 252 and 257, which agree unless said. "Run A" is an invocation:
//!
//! | what | messages, in order |
//! |---|---|
//! | `start`, Type=simple | Started(B) |
//! | `start`, Type=notify, oneshot | Starting(B), Started(B); a oneshot's Started ("Finished") comes after its end, and never when it fails |
//! | crash, Restart=no | Failed(A) |
//! | crash, Restart= | Failed(A), Restart scheduled(A), on 252 Stopped(A, JOB_TYPE=restart), Started(B) |
//! | start limit reached | Failed(A), Restart scheduled(A), Failed(A) **again**: a refused start has no run of its own |
//! | a further `start` refused | Failed(A) once more |
//! | `stop` | Stopping(A, JOB_TYPE=stop), Stopped(A, JOB_TYPE=stop) |
//! | `restart`, `try-restart` | Stopping(A, JOB_TYPE=**stop**), Stopped(A, JOB_TYPE=restart), Started(B) |
//! | `stop` while Restart= waits | **no** Stopping; Stopped(A, JOB_TYPE=stop) only |
//! | `restart` while Restart= waits | Stopped(A, JOB_TYPE=restart), Started(B), no Restart scheduled(A) |
//! | SIGTERM sent to the process | Deactivated successfully(A): none of the messages read here |
//!
//! So each message carries the run it is about, "Restart scheduled" and "Failed" the one that ended;
//! a restart was scheduled for the run before a refused start too; and a stop by a person is
//! Stopping of any job type, or Stopped with JOB_TYPE=stop. Repeats about the same run are left out.

use std::collections::{HashSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::{Entry, Journal, JournalError, Place, Scope};
use crate::engine::Wall;
use crate::engine::observation::{Invocation, Life, LifeWhat};

/// Most messages remembered of one gap; of more, the newest stay. Crash loops are judged over the
/// last hour, and 20 000 restarts within it change nothing any more.
const MOST: usize = 20_000;

/// From where on to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum After {
    /// After the entry of a cursor that an earlier reading returned.
    Cursor(String),
    /// From a time of the wall clock on.
    Since(Wall),
    /// From the beginning of this boot on.
    Boot,
}

/// What happened, and up to where it is known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lives {
    /// Oldest first. Each kind at most once per run.
    pub entries: Vec<Life>,
    /// Where to go on the next time; `None` only when the journal is empty.
    pub cursor: Option<String>,
    /// The place to begin at was still known. If not, reading began at the nearest place by time
    /// (or at the beginning of this boot), and what the journal has dropped since is missing.
    pub exact: bool,
}

/// The kind of thing a message tells, by its stable identifier.
const MESSAGES: [(&str, Tells); 6] = [
    ("5eb03494b6584870a536b337290809b3", Tells::One(LifeWhat::RestartScheduled)),
    ("39f53479d3a045ac8e11786248231fbf", Tells::One(LifeWhat::Started)),
    ("7d4958e842da4a758f6c1cdc7b36dcc5", Tells::One(LifeWhat::Started)),
    ("d9b373ed55a64feb8242e02dbe79a49c", Tells::One(LifeWhat::Failed)),
    ("de5b426a63be47a7b6ac3eaac82e2f6f", Tells::One(LifeWhat::Stopping)),
    ("9d1aaa27d60140bd96365438aad20286", Tells::IfStopJob(LifeWhat::Stopping)),
];

#[derive(Clone, Copy)]
enum Tells {
    One(LifeWhat),
    IfStopJob(LifeWhat),
}

impl Journal {
    /// What happened to units since `after`: starts, failures, scheduled restarts and stops.
    ///
    /// The cursor in the answer is never older than the journal's end was when this began, also
    /// when nothing happened, so that the gap to be read does not grow.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn lives(&self, after: &After) -> Result<Lives, JournalError> {
        // Before the reading and not after it: what comes in between is then read the next time.
        let tail = self.tail().await?;
        let place = self.locate(after).await?;
        let mut told = Told::new();
        self.read(&matches(self.scope), &place, |entry| {
            told.take(entry);
            ControlFlow::Continue(())
        })
        .await?;
        let exact = match (&place, after) {
            (Place::After { exact, .. }, _) => *exact,
            (_, After::Cursor(_)) => false,
            _ => true,
        };
        let cursor = match (told.last, tail) {
            (Some(last), Some(tail)) => Some(if last.1 >= tail.1 { last.0 } else { tail.0 }),
            (last, tail) => last.or(tail).map(|(cursor, _)| cursor),
        };
        Ok(Lives { entries: told.lives.into(), cursor, exact })
    }
}

fn matches(scope: Scope) -> Vec<String> {
    let mut all = scope.manager();
    all.extend(MESSAGES.iter().map(|(id, _)| format!("MESSAGE_ID={id}")));
    all
}

/// Collects lives.
pub(super) struct Told {
    pub(super) lives: VecDeque<Life>,
    known: HashSet<(Arc<str>, Invocation, u8)>,
    last: Option<(String, Wall)>,
}

impl Told {
    pub(super) fn new() -> Self {
        Self { lives: VecDeque::new(), known: HashSet::new(), last: None }
    }

    pub(super) fn take(&mut self, entry: Entry) {
        let life = life(&entry);
        self.last = Some((entry.cursor, entry.at));
        let Some(life) = life else { return };
        if !self.known.insert(key(&life)) {
            return;
        }
        if self.lives.len() >= MOST
            && let Some(oldest) = self.lives.pop_front()
        {
            self.known.remove(&key(&oldest));
        }
        self.lives.push_back(life);
    }
}

fn key(life: &Life) -> (Arc<str>, Invocation, u8) {
    (life.unit.clone(), life.invocation, life.what as u8)
}

/// What an entry tells of a unit's life, if anything.
fn life(entry: &Entry) -> Option<Life> {
    let id = entry.message_id.as_deref()?;
    let what = match MESSAGES.iter().find(|(known, _)| *known == id)?.1 {
        Tells::One(what) => what,
        Tells::IfStopJob(what) if entry.job.as_deref() == Some("stop") => what,
        Tells::IfStopJob(_) => return None,
    };
    let unit = entry.about.as_deref()?;
    // They cannot fail, and every boot and every plugged device starts many.
    if [".target", ".slice", ".device"].iter().any(|kind| unit.ends_with(kind)) {
        return None;
    }
    Some(Life {
        unit: unit.into(),
        invocation: entry.about_run?,
        at: entry.at,
        boot_id: entry.boot_id.clone(),
        what,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries recorded in a container, of one scene of a scripted history.
    fn scene(recording: &str, name: &str) -> Vec<String> {
        let mut told = Told::new();
        let tag = format!("\"SCENE\":\"{name}\"");
        let lines: Vec<&str> = recording.lines().filter(|line| line.contains(&tag)).collect();
        assert!(!lines.is_empty(), "no scene {name}");
        for line in lines {
            told.take(Entry::parse(line.as_bytes()).unwrap());
        }
        let mut runs: Vec<Invocation> = Vec::new();
        told.lives
            .iter()
            .map(|life| {
                let run = runs.iter().position(|r| *r == life.invocation).unwrap_or_else(|| {
                    runs.push(life.invocation);
                    runs.len() - 1
                });
                format!("{:?} {}", life.what, char::from(b'A' + run as u8))
            })
            .collect()
    }

    const RECORDINGS: [&str; 2] = [
        include_str!("../../../tests/fixtures/journal/lives-252.jsonl"),
        include_str!("../../../tests/fixtures/journal/lives-257.jsonl"),
    ];

    #[test]
    fn a_crash_loop_up_to_the_start_limit() {
        for recording in RECORDINGS {
            let expected = [
                "Started A",
                "Failed A",
                "RestartScheduled A",
                "Started B",
                "Failed B",
                "RestartScheduled B",
                "Started C",
                "Failed C",
                "RestartScheduled C",
            ];
            assert_eq!(scene(recording, "loop"), expected);
            assert_eq!(scene(recording, "loop-start-again"), ["Failed A"]);
        }
    }

    #[test]
    fn ends_and_starts_of_each_kind() {
        for recording in RECORDINGS {
            for (name, expected) in [
                ("norestart-kill", &["Started A", "Failed A"][..]),
                ("plain-stop", &["Stopping A"]),
                ("plain-restart", &["Stopping A", "Started B"]),
                ("notify-start", &["Started A"]),
                ("notify-kill", &["Failed A", "RestartScheduled A", "Started B"]),
                ("notify-restart", &["Stopping A", "Started B"]),
                ("one", &["Started A"]),
                ("onefail", &["Started A", "Failed A"]),
                ("loop-autorestart-stop", &["Started A", "Failed A", "Stopping A"]),
                (
                    "loop-autorestart-restart",
                    &["Started A", "Failed A", "Started B", "Failed B", "Stopping B"],
                ),
            ] {
                assert_eq!(scene(recording, name), expected, "{name}");
            }
        }
    }

    #[test]
    fn the_newest_stay_when_there_are_too_many() {
        let mut told = Told::new();
        for n in 0..MOST as u64 + 5 {
            let mut run = [1; 16];
            run[..8].copy_from_slice(&n.to_le_bytes());
            told.take(Entry {
                cursor: n.to_string(),
                message_id: Some(MESSAGES[1].0.into()),
                about: Some("a.service".into()),
                about_run: Some(Invocation(run)),
                at: Wall(n as i64),
                ..Entry::default()
            });
        }
        assert_eq!(told.lives.len(), MOST);
        assert_eq!(told.known.len(), MOST);
        assert_eq!(told.lives[0].at, Wall(5));
    }

    #[test]
    fn what_cannot_fail_is_left_out() {
        let entry = |unit: &str| Entry {
            message_id: Some(MESSAGES[1].0.into()),
            about: Some(unit.into()),
            about_run: Some(Invocation([1; 16])),
            ..Entry::default()
        };
        assert!(life(&entry("multi-user.target")).is_none());
        assert!(life(&entry("data.mount")).is_some());
        assert!(life(&Entry { about_run: None, ..entry("a.service") }).is_none());
    }
}
