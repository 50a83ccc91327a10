//! The live stream: one long-lived `journalctl --follow`, started again when it ends.
//!
//! It is pulled: nothing is read from the pipe before somebody asks, so at most a pipe's worth of
//! lines waits here and `journalctl` waits behind it. Measured on systemd 252, all fields printed: 9 to
//! 11 MB resident at its start, up to 18 MB after 20 000 lines of others (1.2 MB anonymous, the rest
//! the mapped journal); for these lines no clock tick of processor with a match on 1 unit or on 1000,
//! and 0.7 s without a match on units.

use std::process::ExitStatus;
use std::time::Duration;

use tokio::process::Child;
use tokio::time::{Instant, sleep_until, timeout};

use super::lines::Lines;
use super::{After, Entry, Journal, JournalError, Place, first_line};

/// How long a started `journalctl` must live to count as working, when it says nothing.
const GRACE: Duration = Duration::from_millis(300);
/// Waits before starting it again: the first, and the longest.
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
/// Having lived this long, the next wait is the first again.
const STEADY: Duration = Duration::from_secs(60);

/// What a stream yields.
#[derive(Debug)]
pub enum Followed {
    /// It reads.
    Works,
    /// An entry.
    Entry(Box<Entry>),
    /// It ended, or could not be started. Asked again, it starts again after `wait`.
    Died {
        /// Why.
        error: JournalError,
        /// When it is tried again.
        wait: Duration,
    },
}

/// A live stream of entries. It never ends by itself; dropping it ends its `journalctl`.
#[derive(Debug)]
pub struct Follow {
    journal: Journal,
    matches: Vec<String>,
    /// The last entry seen; `None`: what comes from now on.
    cursor: Option<String>,
    running: Option<Running>,
    /// Not to be started before.
    pause: Option<Instant>,
    wait: Duration,
    first_wait: Duration,
}

#[derive(Debug)]
struct Running {
    child: Child,
    lines: Lines,
    since: Instant,
    told: bool,
    held: Option<Box<Entry>>,
    place: Option<Place>,
}

impl Journal {
    /// Follows the entries that fit `matches`, after the entry of `cursor`, or from now on.
    pub fn follow(&self, matches: Vec<String>, cursor: Option<String>) -> Follow {
        Follow {
            journal: self.clone(),
            matches,
            cursor,
            running: None,
            pause: None,
            wait: WAITS[0],
            first_wait: WAITS[0],
        }
    }
}

impl Follow {
    /// With another first wait before starting again (default 1 s, doubled up to 60 s).
    pub fn with_first_wait(self, wait: Duration) -> Self {
        Self { wait, first_wait: wait, ..self }
    }

    /// The place of the last entry seen.
    pub fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// The next thing. Cancel safe: dropping the future loses nothing.
    pub async fn next(&mut self) -> Followed {
        if let Some(until) = self.pause {
            sleep_until(until).await;
            self.pause = None;
        }
        if self.running.is_none() {
            match self.start().await {
                Ok(running) => self.running = Some(running),
                Err(error) => return self.died(error),
            }
        }
        match self.read().await {
            Ok(followed) => followed,
            Err(error) => {
                if error.is_bad_cursor() {
                    self.cursor = None;
                }
                self.died(error)
            }
        }
    }

    fn died(&mut self, error: JournalError) -> Followed {
        if self.running.take().is_some_and(|running| running.since.elapsed() >= STEADY) {
            self.wait = self.first_wait;
        }
        let wait = self.wait;
        self.pause = Some(Instant::now() + wait);
        self.wait = (wait * 2).min(WAITS[1]);
        Followed::Died { error, wait }
    }

    async fn start(&mut self) -> Result<Running, JournalError> {
        if self.cursor.is_none() {
            // So that nothing is lost between a death and the next start.
            self.cursor = self.journal.tail().await?.map(|(cursor, _)| cursor);
        }
        let mut args = vec!["--follow".to_owned(), "--all".into()];
        let place = match &self.cursor {
            Some(cursor) => {
                let place = self.journal.locate(&After::Cursor(cursor.clone())).await?;
                args.extend(["--no-tail".into()].into_iter().chain(place.args()));
                Some(place)
            }
            None => {
                args.push("--lines=0".into());
                None
            }
        };
        args.extend(self.matches.iter().cloned());
        self.journal.check_rights()?;
        let mut child = self.journal.start(Entry::FIELDS, &args)?;
        let lines = Lines::new(child.stdout.take());
        Ok(Running { child, lines, since: Instant::now(), told: false, held: None, place })
    }

    async fn read(&mut self) -> Result<Followed, JournalError> {
        let Some(running) = &mut self.running else {
            return Ok(Followed::Works); // `next` has just put it there.
        };
        if let Some(entry) = running.held.take() {
            return Ok(Followed::Entry(entry));
        }
        loop {
            let line = if running.told {
                running.lines.next().await
            } else {
                tokio::select! {
                    biased;
                    line = running.lines.next() => line,
                    () = sleep_until(running.since + GRACE) => {
                        running.told = true;
                        return Ok(Followed::Works);
                    }
                }
            };
            let line = line.map_err(|error| self.journal.cannot_run(error))?;
            let Some(line) = line else {
                return Err(ended(&self.journal, &mut running.child).await);
            };
            let Some(entry) = Entry::parse(line).map(Box::new) else { continue };
            if running.place.as_ref().is_some_and(|place| place.excludes(&entry)) {
                continue;
            }
            self.cursor = Some(entry.cursor.clone());
            if !running.told {
                running.told = true;
                running.held = Some(entry);
                return Ok(Followed::Works);
            }
            return Ok(Followed::Entry(entry));
        }
    }
}

/// Why a stream ended that should never end.
async fn ended(journal: &Journal, child: &mut Child) -> JournalError {
    let limit = Duration::from_secs(2);
    let text = match child.stderr.take() {
        Some(stderr) => timeout(limit, first_line(stderr)).await.unwrap_or_default(),
        None => String::new(),
    };
    match timeout(limit, child.wait()).await {
        Ok(Ok(status)) => judge(journal, status, &text),
        Ok(Err(error)) => journal.cannot_run(error),
        // It closed its output and lives on; dropping it kills it.
        Err(_) => JournalError::TimedOut { limit },
    }
}

fn judge(journal: &Journal, status: ExitStatus, text: &str) -> JournalError {
    journal.judge(status, text, true).err().unwrap_or_else(|| JournalError::Failed {
        status: status.to_string(),
        text: "it ended while it was to follow".into(),
    })
}
