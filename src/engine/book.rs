//! The alert book: which alerts are open, who was told, what is muted.
//!
//! Invariants, tested with random histories in `tests/engine_histories.rs`: at most one open alert
//! per check and kind; who was told of the beginning is told of the end; a cooldown mutes repeats
//! and never the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::alert::{AlertKey, AlertRecord, Happening, Notification};
use super::event::Effect;
use super::rules::Rules;
use super::saved::Change;
use super::time::{Boot, Now, Wall};
use super::timers::{Timer, Timers};
use super::words::{Reason, Severity, Verdict};

/// How long an alert waits for the journal lines of the run that failed before it is told without.
const LINES_PATIENCE: Duration = Duration::from_secs(1);

/// What keepwell did, as shown in a message: the last so many.
const ACTS: usize = 8;

/// Whether people know of an open alert.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Telling {
    /// Waits for journal lines.
    AwaitsLines,
    /// Waits for the first round, to be part of the digest.
    AwaitsDigest,
    /// The same was told a short while ago.
    Muted,
    /// They know, or nobody wants to.
    Done,
}

#[derive(Debug, Clone)]
struct Open {
    record: AlertRecord,
    telling: Telling,
}

/// All open alerts, and what the cooldown needs to know of former ones.
#[derive(Debug, Default)]
pub(super) struct Book {
    open: BTreeMap<AlertKey, Open>,
    told: BTreeMap<AlertKey, Wall>,
    next: u64,
    /// The first round on this host is not over: what fails is collected for one digest.
    collecting: bool,
}

/// What the book works with while it handles one event.
pub(super) struct Pen<'a> {
    pub(super) rules: &'a Rules,
    pub(super) labels: &'a Arc<BTreeMap<String, String>>,
    pub(super) timers: &'a mut Timers,
    pub(super) effects: &'a mut Vec<Effect>,
    pub(super) changes: &'a mut Vec<Change>,
    pub(super) now: Now,
    /// Ignore cooldowns (`check --force`).
    pub(super) force: bool,
}

/// What became of an alert, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing was to be told.
    Nothing,
    /// A notification was handed to its channels.
    Yes,
    /// Not, and why.
    No(Reason),
}

impl Book {
    /// Takes up what was saved. `collecting`: keepwell is on this host for the first time.
    pub(super) fn load(records: Vec<AlertRecord>, next: u64, collecting: bool) -> Self {
        let mut book = Self { next, collecting, ..Self::default() };
        for record in records {
            if let Some(at) = record.last_told {
                let told = book.told.entry(record.key.clone()).or_insert(at);
                *told = (*told).max(at);
            }
            if record.resolved.is_none() {
                // Whether it was told is in the record; what was not is told when it is seen again.
                let telling = if record.told.is_empty() { Telling::Muted } else { Telling::Done };
                book.open.insert(record.key.clone(), Open { record, telling });
            }
        }
        book
    }

    pub(super) fn next_number(&self) -> u64 {
        self.next
    }

    pub(super) fn is_open(&self, key: &AlertKey) -> bool {
        self.open.contains_key(key)
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &AlertRecord> {
        self.open.values().map(|o| &o.record)
    }

    pub(super) fn keys(&self) -> Vec<AlertKey> {
        self.open.keys().cloned().collect()
    }

    /// A condition is bad, and has been for long enough. `await_lines`: the journal lines of the
    /// failed run have been asked for and go into the message.
    pub(super) fn bad(
        &mut self,
        key: &AlertKey,
        verdict: &Verdict,
        await_lines: bool,
        pen: &mut Pen<'_>,
    ) -> Told {
        let Some(open) = self.open.get_mut(key) else {
            let record = AlertRecord {
                id: format!("a{}", self.next).into(),
                key: key.clone(),
                severity: verdict.severity,
                reason: verdict.reason,
                summary: verdict.summary.clone(),
                opened: pen.now.wall,
                resolved: None,
                revision: 0,
                told: Vec::new(),
                last_told: None,
                lines: Vec::new(),
                acts: Vec::new(),
            };
            self.next += 1;
            let telling = match (self.collecting, await_lines) {
                (true, _) => Telling::AwaitsDigest,
                (false, true) => Telling::AwaitsLines,
                (false, false) => Telling::Done,
            };
            if telling == Telling::AwaitsLines {
                let at = pen.now.boot.after(LINES_PATIENCE);
                pen.timers.set(Timer::Tell(key.check.clone(), key.kind), at);
            }
            let tell = telling == Telling::Done;
            pen.changes.push(Change::Alert(record.clone()));
            self.open.insert(key.clone(), Open { record, telling });
            return if tell { self.tell(key, pen) } else { Told::Nothing };
        };
        let was = open.record.severity;
        if was == verdict.severity
            && open.record.reason == verdict.reason
            && open.record.summary == verdict.summary
        {
            return Told::Nothing;
        }
        open.record.severity = verdict.severity;
        open.record.reason = verdict.reason;
        open.record.summary.clone_from(&verdict.summary);
        let told = match (&open.telling, verdict.severity.cmp(&was)) {
            (Telling::Done, std::cmp::Ordering::Greater) => {
                let wanting = wanting(pen.rules, verdict.severity);
                for name in wanting {
                    if !open.record.told.contains(&name) {
                        open.record.told.push(name);
                    }
                }
                send(&mut open.record, Happening::Worse, pen)
            }
            (Telling::Done, std::cmp::Ordering::Less) => {
                send(&mut open.record, Happening::Better, pen)
            }
            // A rise is no repeat: what was muted is told.
            (Telling::Muted, std::cmp::Ordering::Greater) => {
                pen.timers.clear(&Timer::Tell(key.check.clone(), key.kind));
                return self.tell_now(key, pen);
            }
            _ => Told::Nothing,
        };
        if told == Told::Yes {
            self.told.insert(key.clone(), pen.now.wall);
        }
        pen.changes.push(Change::Alert(open.record.clone()));
        told
    }

    /// Tells of an open alert that nobody knows of yet, unless its cooldown mutes it.
    pub(super) fn tell(&mut self, key: &AlertKey, pen: &mut Pen<'_>) -> Told {
        let Some(open) = self.open.get_mut(key) else { return Told::Nothing };
        if !open.record.told.is_empty() || self.collecting {
            return Told::Nothing;
        }
        if let Some(last) = self.told.get(key).filter(|_| !pen.force) {
            let elapsed = pen.now.wall.since(*last);
            if elapsed < pen.rules.cooldown {
                open.telling = Telling::Muted;
                let at = pen.now.boot.after(pen.rules.cooldown - elapsed);
                pen.timers.set(Timer::Tell(key.check.clone(), key.kind), at);
                return Told::No(Reason::Cooldown);
            }
        }
        self.tell_now(key, pen)
    }

    fn tell_now(&mut self, key: &AlertKey, pen: &mut Pen<'_>) -> Told {
        let Some(open) = self.open.get_mut(key) else { return Told::Nothing };
        open.telling = Telling::Done;
        open.record.told = wanting(pen.rules, open.record.severity);
        let told = send(&mut open.record, Happening::Opened, pen);
        if told == Told::Yes {
            self.told.insert(key.clone(), pen.now.wall);
        }
        pen.changes.push(Change::Alert(open.record.clone()));
        told
    }

    /// The journal lines that an alert waits for have come.
    pub(super) fn lines(&mut self, key: &AlertKey, lines: Vec<String>, pen: &mut Pen<'_>) -> Told {
        let Some(open) = self.open.get_mut(key) else { return Told::Nothing };
        open.record.lines = lines;
        if open.telling == Telling::AwaitsLines {
            pen.timers.clear(&Timer::Tell(key.check.clone(), key.kind));
            return self.tell(key, pen);
        }
        pen.changes.push(Change::Alert(open.record.clone()));
        Told::Nothing
    }

    /// keepwell did something about it.
    pub(super) fn act(&mut self, key: &AlertKey, text: &str, pen: &mut Pen<'_>) {
        if let Some(open) = self.open.get_mut(key) {
            if open.record.acts.len() == ACTS {
                open.record.acts.remove(0);
            }
            open.record.acts.push(text.to_owned());
            pen.changes.push(Change::Alert(open.record.clone()));
        }
    }

    /// keepwell gives up on it: those who know of it are told so.
    pub(super) fn gave_up(&mut self, key: &AlertKey, pen: &mut Pen<'_>) -> Told {
        let Some(open) = self.open.get_mut(key) else { return Told::Nothing };
        if open.telling != Telling::Done {
            return Told::Nothing;
        }
        let told = send(&mut open.record, Happening::GaveUp, pen);
        if told == Told::Yes {
            self.told.insert(key.clone(), pen.now.wall);
        }
        pen.changes.push(Change::Alert(open.record.clone()));
        told
    }

    /// The condition has been good for long enough (or is no longer looked at: `verdict` says why).
    pub(super) fn good(&mut self, key: &AlertKey, verdict: &Verdict, pen: &mut Pen<'_>) -> Told {
        let Some(mut open) = self.open.remove(key) else { return Told::Nothing };
        pen.timers.clear(&Timer::Tell(key.check.clone(), key.kind));
        open.record.resolved = Some(pen.now.wall);
        // What it was about stays readable; an end without a recovery is said.
        if verdict.reason == Reason::NoLongerWatched {
            open.record.acts.push(verdict.summary.clone());
        }
        let told = send(&mut open.record, Happening::Resolved, pen);
        pen.changes.push(Change::Alert(open.record));
        told
    }

    /// The first round is over: what was found failing on a first start goes out as one message.
    /// Alerts that a former run could not tell any more are told now.
    pub(super) fn first_round_over(&mut self, pen: &mut Pen<'_>) {
        let first_start = std::mem::take(&mut self.collecting);
        let waiting: Vec<AlertKey> = self
            .open
            .iter()
            .filter(|(_, o)| o.telling != Telling::Done && o.telling != Telling::AwaitsLines)
            .map(|(key, _)| key.clone())
            .collect();
        if !first_start || waiting.len() < 2 {
            for key in waiting {
                self.tell(&key, pen);
            }
            return;
        }
        let mut digest: BTreeMap<Vec<Arc<str>>, Vec<AlertKey>> = BTreeMap::new();
        for key in waiting {
            let Some(open) = self.open.get_mut(&key) else { continue };
            open.telling = Telling::Done;
            let channels = wanting(pen.rules, open.record.severity);
            if !channels.is_empty() {
                open.record.told.clone_from(&channels);
                open.record.last_told = Some(pen.now.wall);
                open.record.revision += 1;
                self.told.insert(key.clone(), pen.now.wall);
                digest.entry(channels).or_default().push(key.clone());
            }
            pen.changes.push(Change::Alert(open.record.clone()));
        }
        for (channels, keys) in digest {
            let id: Arc<str> = format!("d{}", self.next).into();
            self.next += 1;
            let alerts =
                keys.iter().filter_map(|k| self.open.get(k)).map(|o| o.record.clone()).collect();
            pen.effects.push(Effect::Notify(Notification {
                id: format!("{id}.1.{}", pen.now.wall.0),
                subject: id,
                channels,
                happening: Happening::Digest,
                at: pen.now.wall,
                host: pen.rules.host.clone(),
                labels: pen.labels.clone(),
                alerts,
            }));
        }
    }

    /// Forgets cooldowns that are over, so that the map stays small.
    pub(super) fn prune(&mut self, now: Wall, cooldown: Duration) {
        let Self { told, open, .. } = self;
        told.retain(|key, at| now.since(*at) < cooldown || open.contains_key(key));
    }

    /// When the earliest alert that waits to be told is due is kept by `timers`; after a load they
    /// are set anew by this.
    pub(super) fn rearm(&mut self, rules: &Rules, timers: &mut Timers, now: Now) -> Option<Boot> {
        let mut first = None;
        for (key, open) in &self.open {
            if open.telling == Telling::Muted
                && let Some(last) = self.told.get(key)
            {
                let left = rules.cooldown.saturating_sub(now.wall.since(*last));
                let at = now.boot.after(left);
                timers.set(Timer::Tell(key.check.clone(), key.kind), at);
                first = Some(first.map_or(at, |f: Boot| f.min(at)));
            }
        }
        first
    }
}

/// The channels that want alerts of this severity.
fn wanting(rules: &Rules, severity: Severity) -> Vec<Arc<str>> {
    rules.channels.iter().filter(|c| severity >= c.min_severity).map(|c| c.name.clone()).collect()
}

fn send(record: &mut AlertRecord, happening: Happening, pen: &mut Pen<'_>) -> Told {
    // A channel that the configuration no longer has cannot be told.
    record.told.retain(|name| pen.rules.channels.iter().any(|c| c.name == *name));
    if record.told.is_empty() {
        return if happening == Happening::Opened {
            Told::No(Reason::NoChannel)
        } else {
            Told::Nothing
        };
    }
    record.revision += 1;
    if happening != Happening::Resolved {
        record.last_told = Some(pen.now.wall);
    }
    pen.effects.push(Effect::Notify(Notification {
        // The time keeps it unique also when the database, and with it the numbers, is lost.
        id: format!("{}.{}.{}", record.id, record.revision, record.opened.0),
        subject: record.id.clone(),
        channels: record.told.clone(),
        happening,
        at: pen.now.wall,
        host: pen.rules.host.clone(),
        labels: pen.labels.clone(),
        alerts: vec![record.clone()],
    }));
    Told::Yes
}
