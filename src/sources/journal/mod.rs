//! Errors that watched units log: entries of priority warning and above, and what they print
//! (`stdout` and `stderr` are one stream to journald, at priority info) where its wording says so.
//!
//! What the service manager itself says of a unit ("Failed with result") is not counted here: that
//! is its state, and the units source sees it. Nor is what keepwell logs, which would feed itself.

mod tally;
mod wording;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use regex_lite::Regex;
use tokio::time::{Instant, sleep_until};

use super::{Closed, Running, Source, SourceContext, SourceError};
use crate::engine::Observation;
use crate::engine::observation::{Part, PartSeen, PartState, Round, SourceKind};
use crate::systemd::journal::{After, Entry, Follow, Followed, Journal, JournalError, Place};
use tally::Tally;

/// How far a single look goes back where no cursor is known.
const RECENT: Duration = Duration::from_secs(600);
/// "Failed at step EXEC" and the like: the service manager's own child, before the service is run.
const SPAWN_FAILED: &str = "641257651c1b4ec9a8624d7a40a9e1e7";

/// What to watch for errors.
#[derive(Debug, Clone, Default)]
pub struct JournalWatch {
    /// Units by full name.
    pub exact: Vec<Arc<str>>,
    /// Units by glob. With any, every warning and every printed line of the host is looked at.
    pub globs: Vec<String>,
    /// Up to where the journal was read before; `None`: begin now (a single look: 10 minutes ago).
    pub cursor: Option<String>,
    /// Messages that are no errors.
    pub ignore: Vec<Regex>,
}

/// The source of [`Observation::Errors`].
#[derive(Debug)]
pub struct JournalSource {
    journal: Journal,
    exact: Vec<Arc<str>>,
    globs: Vec<glob::Pattern>,
    cursor: Option<String>,
    ignore: Vec<Regex>,
    first_wait: Duration,
}

impl JournalSource {
    /// Watches through `journal`. A glob that is none is left out, with a warning in the log.
    pub fn new(journal: Journal, watch: JournalWatch) -> Self {
        let globs = watch.globs.iter().filter_map(|text| {
            glob::Pattern::new(text)
                .inspect_err(|error| tracing::warn!(glob = text, %error, "not a pattern; left out"))
                .ok()
        });
        let globs = globs.collect();
        Self {
            journal,
            exact: watch.exact,
            globs,
            cursor: watch.cursor,
            ignore: watch.ignore,
            first_wait: Duration::from_secs(1),
        }
    }

    /// What `journalctl` is to show: priority 0 to 4 of any kind, and what services print at 5 or 6.
    fn matches(&self) -> Vec<String> {
        let field = self.journal.unit_field();
        let units = || {
            let named = if self.globs.is_empty() { &self.exact[..] } else { &[] };
            named.iter().map(move |unit| format!("{field}={unit}"))
        };
        let priorities = |of: std::ops::RangeInclusive<u8>| of.map(|p| format!("PRIORITY={p}"));
        units()
            .chain(priorities(0..=4))
            .chain(["+".to_owned()])
            .chain(units())
            .chain(["_TRANSPORT=stdout".to_owned()])
            .chain(priorities(5..=6))
            .collect()
    }

    /// The watched unit that `entry` is an error of.
    fn error_of<'a>(&self, entry: &'a Entry) -> Option<&'a str> {
        let unit = self.journal.unit_of(entry)?;
        let watched = self.exact.iter().any(|name| **name == *unit)
            || self.globs.iter().any(|glob| glob.matches(unit));
        if !watched
            || entry.pid == Some(1)
            || entry.pid == Some(std::process::id())
            || matches!(entry.ident.as_deref(), Some("systemd" | "keepwell"))
            || entry.message_id.as_deref() == Some(SPAWN_FAILED)
        {
            return None;
        }
        let message = entry.message.as_deref().unwrap_or_default();
        let is_error = match entry.priority {
            Some(0..=4) => true,
            // Over the wire of stdout, so that a program which does set priorities is believed.
            Some(5 | 6) => {
                entry.transport.as_deref() == Some("stdout") && wording::is_error(message)
            }
            _ => false,
        };
        (is_error && !self.ignore.iter().any(|pattern| pattern.is_match(message))).then_some(unit)
    }

    fn take(&self, entry: &Entry, tally: &mut Tally, now: Instant) {
        tally.cursor = Some(entry.cursor.clone());
        let handle = tally.may_handle(now);
        // Beyond the cap only what says by its priority that it is an error is counted, unread.
        if !handle && entry.priority.is_none_or(|p| p > 4) {
            return;
        }
        let Some(unit) = self.error_of(entry) else { return };
        let line = entry.message.as_deref().unwrap_or("(a line too long to be shown)");
        tally.add(unit, handle.then_some(line), now);
    }

    async fn watch(&mut self, context: SourceContext) -> Result<(), Closed> {
        let mut told = Told { context, state: None };
        if self.exact.is_empty() && self.globs.is_empty() {
            return told.idle().await;
        }
        if told.context.once {
            return self.look_once(told).await;
        }
        let mut tally = Tally::default();
        let mut follow = self
            .journal
            .follow(self.matches(), self.cursor.take())
            .with_first_wait(self.first_wait);
        let result = self.follow(&mut told, &mut tally, &mut follow).await;
        // Started again after a fault of its own, it goes on where it was.
        self.cursor = follow.cursor().map(str::to_owned);
        result
    }

    async fn follow(
        &self,
        told: &mut Told,
        tally: &mut Tally,
        follow: &mut Follow,
    ) -> Result<(), Closed> {
        let stop = told.context.stop.clone();
        let resync = told.context.resync.clone();
        let mut first = true;
        loop {
            let due = tally.due();
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    // What was counted and not yet told.
                    return told.errors(tally.take_all()).await;
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    told.errors(tally.take_due(Instant::now())).await?;
                }
                () = resync.notified() => told.round().await?,
                followed = follow.next() => match followed {
                    Followed::Entry(entry) => self.take(&entry, tally, Instant::now()),
                    Followed::Works => {
                        told.part(PartState::Works).await?;
                        if std::mem::take(&mut first) {
                            told.round().await?;
                        }
                    }
                    Followed::Died { error, wait } => {
                        tracing::debug!(%error, ?wait, "the journal's stream ended");
                        told.fault(&error).await?;
                        if std::mem::take(&mut first) {
                            told.round().await?;
                        }
                    }
                },
            }
        }
    }

    async fn look_once(&self, mut told: Told) -> Result<(), Closed> {
        let mut tally = Tally::default();
        let result = self.read_recent(&mut tally).await;
        told.errors(tally.take_all()).await?;
        match result {
            Ok(()) => told.part(PartState::Works).await?,
            Err(error) => told.fault(&error).await?,
        }
        told.round().await
    }

    async fn read_recent(&self, tally: &mut Tally) -> Result<(), JournalError> {
        let place = match &self.cursor {
            Some(cursor) => self.journal.locate(&After::Cursor(cursor.clone())).await?,
            None => Place::Ago(RECENT),
        };
        self.journal
            .read(&self.matches(), &place, |entry| {
                self.take(&entry, tally, Instant::now());
                ControlFlow::Continue(())
            })
            .await
    }
}

impl Source for JournalSource {
    fn kind(&self) -> SourceKind {
        SourceKind::Journal
    }

    fn run(&mut self, context: SourceContext) -> Running<'_> {
        Box::pin(async move {
            // The driver is gone: nothing is left to do, and nothing is wrong here.
            let _: Result<(), Closed> = self.watch(context).await;
            Ok::<(), SourceError>(())
        })
    }
}

/// What was sent, so that a state is sent on change only.
struct Told {
    context: SourceContext,
    state: Option<PartState>,
}

impl Told {
    async fn part(&mut self, state: PartState) -> Result<(), Closed> {
        if self.state.as_ref() == Some(&state) {
            return Ok(());
        }
        self.state = Some(state.clone());
        self.context.send(Observation::Part(PartSeen { part: Part::Journal, state })).await
    }

    async fn fault(&mut self, error: &JournalError) -> Result<(), Closed> {
        let text = error.to_string();
        self.part(if error.is_absent() { PartState::Absent(text) } else { PartState::Broken(text) })
            .await
    }

    async fn errors(
        &self,
        seen: Vec<crate::engine::observation::ErrorsSeen>,
    ) -> Result<(), Closed> {
        for one in seen {
            self.context.send(Observation::Errors(one)).await?;
        }
        Ok(())
    }

    async fn round(&self) -> Result<(), Closed> {
        let round = Round { source: SourceKind::Journal, total: None };
        self.context.send(Observation::Round(round)).await
    }

    /// No unit to watch: no child is started at all.
    async fn idle(&self) -> Result<(), Closed> {
        self.round().await?;
        if self.context.once {
            return Ok(());
        }
        loop {
            tokio::select! {
                () = self.context.stop.cancelled() => return Ok(()),
                () = self.context.resync.notified() => self.round().await?,
            }
        }
    }
}

#[cfg(test)]
mod tests;
