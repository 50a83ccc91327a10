//! The alert book: which alerts are open, what happens to them, and who is told.
//!
//! | file | decides |
//! |---|---|
//! | here | opening, change and end of an alert |
//! | `telling` | whether people are told of an open alert, or why not |
//! | `trays` | what waits for each channel, and when it goes out as one message |
//! | `loops` | what becomes of the alert of a restart loop that ends down |
//! | `story` | what is added to an open alert |
//! | `people` | acknowledgements, silences, reminders, escalation |
//!
//! Invariants, tested with random histories in `tests/engine_histories.rs`: at most one open alert
//! per check and kind; who was told of the beginning is told of the end; a cooldown mutes repeats
//! and never the end; an alert of which nobody was told has a reason for that.

mod loops;
mod pen;
mod people;
mod story;
mod telling;
mod trays;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::alert::{ActNote, AlertKey, AlertRecord, Happening, Pending};
use super::event::Actor;
use super::quiet::by_upgrade;
use super::rules::Rules;
use super::saved::{Saved, Silence};
use super::time::{Boot, Now, Wall};
use super::words::{AlertKind, Reason, Severity, Verdict};

use loops::down_is_news;
pub(super) use pen::Pen;
use trays::Tray;

/// How long an alert waits for the journal lines of the run that failed before it is told without.
const LINES_PATIENCE: Duration = Duration::from_secs(1);

/// What was done about an alert: the last so many.
const ACTS: usize = 12;

/// Alerts that ended lately and are still shown.
const RECENT: usize = 100;

/// An open alert, and what need not survive of it.
#[derive(Debug, Clone)]
struct Open {
    record: AlertRecord,
    /// It is not told before this: its log lines are awaited, or its cause has just gone.
    not_before: Option<Boot>,
    awaits_lines: bool,
    /// It has been found bad since keepwell came up.
    seen: bool,
    /// What was muted may be told: it has grown worse, or is flapping.
    urgent: bool,
    /// It was told beneath a cause that is over: those whom its own route names learn of it too.
    reroute: bool,
    /// It is well at the moment, and must stay so to be over.
    recovering: bool,
    /// It was a restart loop and has ended down, and those who know of it are to be told so.
    ended_down: bool,
    /// The record as surfaces have it.
    shown: Option<Arc<AlertRecord>>,
}

/// All open alerts, and what must be known of former ones.
#[derive(Debug, Default)]
pub(super) struct Book {
    open: BTreeMap<AlertKey, Open>,
    /// Alerts that are over, and whose end has not been handed to all of its channels.
    ended: BTreeMap<Arc<str>, AlertRecord>,
    recent: VecDeque<Arc<AlertRecord>>,
    /// When each was last told, for the cooldown.
    told: BTreeMap<AlertKey, Wall>,
    /// When each opened lately, to see whether it flaps.
    openings: BTreeMap<AlertKey, VecDeque<Wall>>,
    trays: BTreeMap<Arc<str>, Tray>,
    pub(super) silences: Vec<Silence>,
    next: u64,
    /// The first round on this host is not over: what fails is collected for one digest.
    collecting: bool,
    /// When it is next decided who is told.
    due: Option<Boot>,
    /// A one-shot check is about to end: now or never.
    hurried: bool,
    /// What is decided next is the first look at this host.
    digest: bool,
    /// Something waits for the answer whether a package manager is at work.
    awaits_answer: bool,
    /// Opened and ended since the last report.
    pub(super) opened: u32,
    pub(super) resolved: u32,
}

impl Book {
    /// Takes up what was saved. `collecting`: keepwell is on this host for the first time.
    pub(super) fn load(saved: &mut Saved, next: u64, collecting: bool, now: Now) -> Self {
        let silences = std::mem::take(&mut saved.silences);
        let mut book = Self { next, collecting, silences, ..Self::default() };
        let mut records = std::mem::take(&mut saved.alerts);
        records.sort_by_key(|r| r.opened);
        for record in records {
            if let Some(at) = record.last_told {
                let told = book.told.entry(record.key.clone()).or_insert(at);
                *told = (*told).max(at);
            }
            book.openings.entry(record.key.clone()).or_default().push_back(record.opened);
            if record.resolved.is_none() {
                // What was not told is told when it is seen again.
                let beneath = record.untold == Some(Reason::Dependant);
                let open = Open {
                    not_before: beneath.then(|| now.boot.after(telling::AFTER_CAUSE)),
                    awaits_lines: false,
                    // Errors that were logged are not logged again to be seen.
                    seen: record.key.kind == AlertKind::Errors,
                    urgent: record.flapping && record.untold.is_some(),
                    record,
                    reroute: false,
                    recovering: false,
                    ended_down: false,
                    shown: None,
                };
                book.open.insert(open.record.key.clone(), open);
            } else if record.pending.is_empty() {
                book.remember(record);
            } else {
                book.ended.insert(record.id.clone(), record);
            }
        }
        for message in &saved.outbox {
            book.trays.entry(message.channel.clone()).or_default().takes_up(message);
        }
        book
    }

    pub(super) fn next_number(&self) -> u64 {
        self.next
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    pub(super) fn is_open(&self, key: &AlertKey) -> bool {
        self.open.contains_key(key)
    }

    /// Why it is open.
    pub(super) fn reason(&self, key: &AlertKey) -> Option<Reason> {
        self.open.get(key).map(|o| o.record.reason)
    }

    /// How long it must be well to be over, where it flaps.
    pub(super) fn is_flapping(&self, key: &AlertKey) -> bool {
        self.open.get(key).is_some_and(|o| o.record.flapping)
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &AlertRecord> {
        self.open.values().map(|o| &o.record)
    }

    pub(super) fn keys(&self) -> Vec<AlertKey> {
        self.open.keys().cloned().collect()
    }

    /// Open alerts, oldest first; one that has not changed is not copied.
    pub(super) fn shown(&mut self) -> Vec<Arc<AlertRecord>> {
        let mut all: Vec<Arc<AlertRecord>> = self
            .open
            .values_mut()
            .map(|open| match &open.shown {
                Some(shown) if **shown == open.record => shown.clone(),
                _ => open.shown.insert(Arc::new(open.record.clone())).clone(),
            })
            .collect();
        all.sort_by_key(|alert| alert.opened);
        all
    }

    /// Alerts that are over, newest first.
    pub(super) fn recent(&self) -> Vec<Arc<AlertRecord>> {
        let mut all: Vec<Arc<AlertRecord>> =
            self.ended.values().map(|r| Arc::new(r.clone())).collect();
        all.extend(self.recent.iter().cloned());
        all.sort_by_key(|r| std::cmp::Reverse(r.resolved));
        all.truncate(RECENT);
        all
    }

    fn remember(&mut self, record: AlertRecord) {
        self.recent.push_front(Arc::new(record));
        self.recent.truncate(RECENT);
    }

    /// A condition is bad, and has been for long enough. `await_lines`: the journal lines of the
    /// failed run have been asked for and go into the message.
    pub(super) fn bad(
        &mut self,
        key: &AlertKey,
        verdict: &Verdict,
        await_lines: bool,
        pen: &mut Pen<'_>,
    ) {
        if !self.open.contains_key(key) {
            return self.opens(key, verdict, await_lines, pen);
        }
        let Some(open) = self.open.get_mut(key) else { return };
        let record = &mut open.record;
        let first_sight = !std::mem::replace(&mut open.seen, true);
        if first_sight && record.untold.is_some() {
            self.due = Some(pen.now.boot);
        }
        let was = record.severity;
        if (was, record.reason) == (verdict.severity, verdict.reason)
            && record.summary == verdict.summary
        {
            if first_sight {
                self.arm(pen);
            }
            return;
        }
        let ended_down = key.kind == AlertKind::CrashLoop
            && record.reason == Reason::CrashLoop
            && verdict.reason != Reason::CrashLoop
            && down_is_news(&mut self.told, &key.check, pen);
        let worse = verdict.severity > was || ended_down;
        record.severity = verdict.severity;
        record.reason = verdict.reason;
        record.summary.clone_from(&verdict.summary);
        let again = match record.untold {
            // It happens again, or is worse than what was refused.
            Some(Reason::OverBeforeTold) => true,
            Some(Reason::DeliveryRefused) => worse,
            _ => false,
        };
        if again {
            record.untold = Some(Reason::Grouping);
            self.due = Some(pen.now.boot.after(pen.group_wait()));
        }
        let now = pen.now.wall;
        if worse {
            open.ended_down = ended_down;
            if record.ack.take().is_some() {
                note(record, now, None, "it grew worse: the acknowledgement no longer holds");
                // The time to escalate counts from here.
                record.first_told = record.first_told.map(|_| now);
                pen.log(&key.check, Reason::Unacknowledged, "it grew worse");
            }
            // A rise is no repeat: what was muted is told.
            open.urgent = true;
        } else if record.told_severity.is_some_and(|told| verdict.severity < told) {
            let record = record.clone();
            if record.untold.is_none() && self.held_back(&record, pen).is_none() {
                for channel in known_to(&record) {
                    self.put(key, &channel, Happening::Better, pen);
                }
                if let Some(open) = self.open.get_mut(key) {
                    open.record.told_severity = Some(verdict.severity);
                }
            }
        }
        if let Some(open) = self.open.get(key) {
            pen.keep(&open.record);
        }
        if ended_down {
            self.due_after(pen.group_wait(), pen); // With the last lines of its log.
        } else if worse {
            self.due_after(Duration::ZERO, pen);
        }
        self.arm(pen);
    }

    fn opens(&mut self, key: &AlertKey, verdict: &Verdict, await_lines: bool, pen: &mut Pen<'_>) {
        let id = format!("a{}", self.number()).into();
        let now = pen.now;
        let flapping = self.flaps(key, pen);
        let record = AlertRecord {
            id,
            key: key.clone(),
            severity: verdict.severity,
            reason: verdict.reason,
            summary: verdict.summary.clone(),
            opened: now.wall,
            resolved: None,
            told: Vec::new(),
            pending: Vec::new(),
            untold: Some(Reason::Grouping),
            first_told: None,
            last_told: None,
            told_severity: None,
            lines: Vec::new(),
            acts: Vec::new(),
            next: None,
            ack: None,
            flapping,
            cause: None,
            escalated: 0,
            ended: None,
            container: None,
        };
        self.opened = self.opened.saturating_add(1);
        if by_upgrade(key.check.kind) {
            pen.quiet.look(now, pen.effects);
        }
        pen.keep(&record);
        let not_before = await_lines.then(|| now.boot.after(LINES_PATIENCE));
        let open = Open {
            record,
            not_before,
            awaits_lines: await_lines,
            seen: true,
            urgent: flapping,
            reroute: false,
            recovering: false,
            ended_down: false,
            shown: None,
        };
        self.open.insert(key.clone(), open);
        self.due_after(pen.group_wait(), pen);
        self.arm(pen);
    }

    /// Whether this opening is one too many.
    fn flaps(&mut self, key: &AlertKey, pen: &Pen<'_>) -> bool {
        let rule = &pen.rules.alerts.flapping;
        let openings = self.openings.entry(key.clone()).or_default();
        openings.push_back(pen.now.wall);
        while openings.len() > 64
            || openings.front().is_some_and(|at| pen.now.wall.since(*at) > rule.window)
        {
            openings.pop_front();
        }
        rule.openings > 0 && openings.len() >= rule.openings as usize
    }

    /// It is well at the moment, or no longer: what is about to be over is not told.
    pub(super) fn recovering(&mut self, key: &AlertKey, well: bool, pen: &mut Pen<'_>) {
        let Some(open) = self.open.get_mut(key) else { return };
        let was = std::mem::replace(&mut open.recovering, well);
        if was && !well && open.record.untold.is_some() {
            self.due_after(Duration::ZERO, pen);
            self.arm(pen);
        }
    }

    /// The condition has been good for long enough (or is no longer looked at: `verdict` says why).
    pub(super) fn good(&mut self, key: &AlertKey, verdict: &Verdict, pen: &mut Pen<'_>) {
        let Some(open) = self.open.get_mut(key) else { return };
        let now = pen.now.wall;
        let record = &mut open.record;
        record.resolved = Some(now);
        record.next = None;
        // What it was about stays readable; an end without a recovery is said.
        if matches!(verdict.reason, Reason::NoLongerWatched | Reason::Removed) {
            note(record, now, None, &verdict.summary);
        }
        record.ended = match verdict.reason {
            Reason::Removed => Some(Reason::Removed),
            // Other words may tell of a recovery that nobody saw.
            why @ Reason::NoLongerWatched if verdict.summary == why.meaning() => Some(why),
            _ => None,
        };
        if let Some(why) = record.ended {
            pen.log(&key.check, why, verdict.summary.clone());
        }
        if matches!(record.untold, Some(Reason::Grouping | Reason::Verifying)) {
            record.untold = Some(Reason::OverBeforeTold);
        }
        self.resolved = self.resolved.saturating_add(1);
        for channel in known_to(record) {
            self.put(key, &channel, Happening::Resolved, pen);
        }
        self.clear_nag(key, pen);
        let Some(open) = self.open.remove(key) else { return };
        let record = open.record;
        pen.keep(&record);
        self.cause_gone(&record.id, pen);
        if record.pending.is_empty() {
            self.remember(record);
        } else {
            self.ended.insert(record.id.clone(), record);
            self.give_way(pen);
        }
        self.arm(pen);
    }

    /// The first round is over: what was found failing on a first start goes out as one message.
    /// Alerts that a former run could not tell any more are told now.
    pub(super) fn first_round_over(&mut self, pen: &mut Pen<'_>) {
        let first_start = std::mem::take(&mut self.collecting);
        let waiting = self.open.values().filter(|o| o.record.untold.is_some()).count();
        self.digest = first_start && waiting >= 2;
        self.due = Some(pen.now.boot);
        self.arm(pen);
        self.release(pen);
    }

    /// The wall clock may have been set back: what lies ahead of it now counts from now on.
    pub(super) fn mend_clock(&mut self, now: Wall) {
        let clamp = |at: &mut Wall| *at = (*at).min(now);
        self.told.values_mut().for_each(clamp);
        self.openings.values_mut().flatten().for_each(clamp);
        for record in self.open.values_mut().map(|o| &mut o.record) {
            record.first_told.iter_mut().for_each(clamp);
            record.last_told.iter_mut().for_each(clamp);
            if let Some(ack) = &mut record.ack {
                let ahead = ack.at.since(now);
                ack.until = ack.until.map(|until| until.before(ahead));
                clamp(&mut ack.at);
            }
        }
        for silence in &mut self.silences {
            let ahead = silence.from.since(now);
            silence.until = silence.until.before(ahead);
            clamp(&mut silence.from);
        }
    }

    /// Forgets what no longer matters, so that the maps stay small.
    pub(super) fn prune(&mut self, now: Wall, rules: &Rules) {
        self.mend_clock(now);
        let Self { told, open, openings, .. } = self;
        let alerts = &rules.alerts;
        told.retain(|key, at| {
            now.since(*at) < rules.cooldown(&key.check) || open.contains_key(key)
        });
        openings.retain(|_, at| {
            at.back().is_some_and(|last| now.since(*last) < alerts.flapping.window)
        });
    }

    /// The rules have changed, or keepwell has just come up: everything is looked at again.
    pub(super) fn reconsider(&mut self, pen: &mut Pen<'_>) {
        self.due = Some(pen.now.boot);
        self.forget_channels(pen);
        let keys = self.keys();
        for key in keys {
            self.arm_nag(&key, pen);
        }
        self.arm(pen);
    }

    /// Decides again at the latest after this.
    fn due_after(&mut self, wait: Duration, pen: &Pen<'_>) {
        let at = pen.now.boot.after(wait);
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}

/// The channels that know of an alert, or are about to.
fn known_to(record: &AlertRecord) -> Vec<Arc<str>> {
    let mut known = record.told.clone();
    for Pending { channel, .. } in &record.pending {
        if !known.contains(channel) {
            known.push(channel.clone());
        }
    }
    known
}

fn note(record: &mut AlertRecord, at: Wall, by: Option<Actor>, text: &str) {
    if record.acts.len() >= ACTS {
        record.acts.remove(0);
    }
    record.acts.push(ActNote { at, by, text: text.to_owned() });
}

/// How bad a change is that a digest must not hold back.
fn presses(record: &AlertRecord) -> bool {
    record.severity == Severity::Critical
}
