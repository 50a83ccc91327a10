//! What people do about alerts, and what is done when they do nothing: acknowledgements, silences,
//! reminders, escalation.

use std::sync::Arc;
use std::time::Duration;

use super::telling::at_wall;
use super::{Book, Pen, known_to, note};
use crate::engine::alert::{Ack, AlertKey, AlertRecord, Happening};
use crate::engine::event::Actor;
use crate::engine::matcher::Matcher;
use crate::engine::saved::{Change, Silence};
use crate::engine::time::{Human, Wall};
use crate::engine::timers::Timer;
use crate::engine::words::Reason;

/// Nothing that people set holds for longer.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);
/// When to ask again about what may be over.
const SOON: Duration = Duration::from_secs(30);
/// Silences at a time.
const SILENCES: usize = 1000;

impl Book {
    /// Somebody looks after an alert, and with it after what is beneath it.
    pub(in crate::engine) fn acknowledge(
        &mut self,
        id: &str,
        lasts: Option<Duration>,
        why: Option<String>,
        actor: &Actor,
        pen: &mut Pen<'_>,
    ) -> Result<String, String> {
        let key = self.key_of(id)?;
        check_length(lasts)?;
        let now = pen.now.wall;
        let until = lasts.map(|d| now.after(d));
        let ack = Ack { actor: actor.clone(), at: now, why, until };
        let how_long = lasts.map(|d| format!(" for {}", Human(d))).unwrap_or_default();
        let beneath: Vec<AlertKey> = self
            .open
            .values()
            .filter(|o| o.record.cause.as_deref() == Some(id))
            .map(|o| o.record.key.clone())
            .collect();
        for key in std::iter::once(&key).chain(&beneath) {
            let Some(open) = self.open.get_mut(key) else { continue };
            open.record.ack = Some(ack.clone());
            note(&mut open.record, now, Some(actor.clone()), &format!("acknowledged{how_long}"));
            pen.keep(&open.record);
            let text = format!("acknowledged by {}{how_long}", actor.0);
            pen.log(&key.check, Reason::Acknowledged, text);
            self.arm_nag(key, pen);
        }
        let known = self.open.get(&key).map(|o| known_to(&o.record)).unwrap_or_default();
        for channel in &known {
            self.put(&key, channel, Happening::Acknowledged, pen);
        }
        if let Some(open) = self.open.get(&key) {
            pen.keep(&open.record);
        }
        Ok(format!("{id} ({}) is acknowledged{how_long}", key.check))
    }

    /// Nobody looks after it any more.
    pub(in crate::engine) fn unacknowledge(
        &mut self,
        id: &str,
        actor: &Actor,
        pen: &mut Pen<'_>,
    ) -> Result<String, String> {
        let key = self.key_of(id)?;
        let Some(open) = self.open.get_mut(&key) else { return Err(unknown(id)) };
        if open.record.ack.take().is_none() {
            return Err(format!("{id} was not acknowledged"));
        }
        note(&mut open.record, pen.now.wall, Some(actor.clone()), "acknowledgement taken back");
        pen.keep(&open.record);
        pen.log(&key.check, Reason::Unacknowledged, format!("taken back by {}", actor.0));
        self.arm_nag(&key, pen);
        Ok(format!("{id} ({}) is no longer acknowledged", key.check))
    }

    fn key_of(&self, id: &str) -> Result<AlertKey, String> {
        let found = self.open.values().find(|o| *o.record.id == *id);
        found.map(|o| o.record.key.clone()).ok_or_else(|| {
            if self.ended.contains_key(id) || self.recent.iter().any(|r| *r.id == *id) {
                format!("alert {id} is over")
            } else {
                unknown(id)
            }
        })
    }

    /// No messages of what matches, for a time.
    pub(in crate::engine) fn silence(
        &mut self,
        matcher: Matcher,
        lasts: Duration,
        why: Option<String>,
        actor: &Actor,
        pen: &mut Pen<'_>,
    ) -> Result<String, String> {
        if lasts.is_zero() {
            return Err("a silence lasts at least 1 s".into());
        }
        check_length(Some(lasts))?;
        if self.silences.len() >= SILENCES {
            return Err(format!("there are {SILENCES} silences already; end some first"));
        }
        let id: Arc<str> = format!("s{}", self.number()).into();
        let now = pen.now.wall;
        let text = format!("{id}: silent about {matcher} for {}", Human(lasts));
        self.silences.push(Silence {
            id,
            matcher,
            from: now,
            until: now.after(lasts),
            actor: actor.clone(),
            why,
        });
        pen.changes.push(Change::Silences(self.silences.clone()));
        let about: Vec<AlertKey> = self.keys();
        for key in about {
            let Some(open) = self.open.get(&key) else { continue };
            if self.silenced(&open.record, pen).is_some() {
                pen.log(&key.check, Reason::Silenced, format!("silenced by {}", actor.0));
            }
        }
        self.arm_silences(pen);
        Ok(text)
    }

    /// Ends a silence.
    pub(in crate::engine) fn unsilence(
        &mut self,
        id: &str,
        pen: &mut Pen<'_>,
    ) -> Result<String, String> {
        let before = self.silences.len();
        self.silences.retain(|s| *s.id != *id);
        if self.silences.len() == before {
            return Err(format!("no silence is called {id}; see: keepwell alerts silences"));
        }
        pen.changes.push(Change::Silences(self.silences.clone()));
        self.wake(pen);
        Ok(format!("silence {id} is over"))
    }

    /// Silences whose time is over.
    pub(in crate::engine) fn silences_over(&mut self, pen: &mut Pen<'_>) {
        let now = pen.now.wall;
        let before = self.silences.len();
        self.silences.retain(|s| s.until > now);
        if self.silences.len() != before {
            pen.changes.push(Change::Silences(self.silences.clone()));
            self.wake(pen);
        }
        self.arm_silences(pen);
    }

    pub(in crate::engine) fn arm_silences(&mut self, pen: &mut Pen<'_>) {
        match self.silences.iter().map(|s| s.until).min() {
            Some(until) => pen.timers.set(Timer::Silences, at_wall(until, pen)),
            None => pen.timers.clear(&Timer::Silences),
        }
    }

    /// Until when somebody wants no messages about an alert.
    pub(super) fn silenced(&self, record: &AlertRecord, pen: &Pen<'_>) -> Option<Wall> {
        let now = pen.now.wall;
        self.silences
            .iter()
            .filter(|s| s.until > now)
            .filter(|s| s.matcher.matches(&record.key.check, record.severity, pen.labels))
            .map(|s| s.until)
            .max()
    }

    /// Sets when people are next reminded of an alert, or further people told.
    pub(super) fn arm_nag(&mut self, key: &AlertKey, pen: &mut Pen<'_>) {
        let Some(open) = self.open.get(key) else { return };
        let timer = Timer::Nag(key.check.clone(), key.kind);
        match next_nag(&open.record, pen) {
            Some(at) => pen.timers.set(timer, at_wall(at, pen)),
            None => pen.timers.clear(&timer),
        }
    }

    pub(super) fn clear_nag(&mut self, key: &AlertKey, pen: &mut Pen<'_>) {
        pen.timers.clear(&Timer::Nag(key.check.clone(), key.kind));
    }

    /// The time has come to do so.
    pub(in crate::engine) fn nag(&mut self, key: &AlertKey, pen: &mut Pen<'_>) {
        let now = pen.now.wall;
        let Some(open) = self.open.get_mut(key) else { return };
        if open.record.ack.as_ref().is_some_and(|a| a.until.is_some_and(|u| u <= now)) {
            open.record.ack = None;
            note(&mut open.record, now, None, "the acknowledgement has run out");
            pen.keep(&open.record);
            pen.log(&key.check, Reason::Unacknowledged, "the acknowledgement has run out");
        }
        if !open.seen || open.recovering {
            // It may be over: that is known soon.
            let timer = Timer::Nag(key.check.clone(), key.kind);
            return pen.timers.set(timer, pen.now.boot.after(SOON));
        }
        let record = open.record.clone();
        if next_nag(&record, pen).is_none_or(|at| at > now) {
            return self.arm_nag(key, pen);
        }
        if let Some((_, Some(again))) = self.held_back(&record, pen) {
            let timer = Timer::Nag(key.check.clone(), key.kind);
            pen.timers.set(timer, again);
            return;
        }
        let escalated = self.escalate(key, pen);
        let due = remind_at(&record, pen).is_some_and(|at| at <= now);
        // What is beneath an open cause is reminded of with it.
        let above = record.cause.as_ref();
        let beneath = above.is_some_and(|c| self.open.values().any(|o| o.record.id == *c));
        if due && !escalated && !beneath {
            for channel in known_to(&record) {
                self.put(key, &channel, Happening::Reminded, pen);
            }
            pen.log(&key.check, Reason::Reminded, Reason::Reminded.meaning());
        }
        if let Some(open) = self.open.get_mut(key) {
            if due || escalated {
                open.record.last_told = Some(now);
            }
            pen.keep(&open.record);
        }
        self.arm_nag(key, pen);
    }

    fn escalate(&mut self, key: &AlertKey, pen: &mut Pen<'_>) -> bool {
        let mut any = false;
        loop {
            let Some(open) = self.open.get_mut(key) else { return any };
            let record = &mut open.record;
            let Some((step, at)) = next_step(record, pen) else { return any };
            if at > pen.now.wall {
                return any;
            }
            record.escalated |= step_bit(step);
            let channels = pen.rules.alerts.escalations[step].channels.clone();
            let text = format!("nobody acknowledged it: {} told too", channels.join(", "));
            note(record, pen.now.wall, None, &text);
            for channel in &channels {
                self.put(key, channel, Happening::Escalated, pen);
            }
            pen.log(&key.check, Reason::Escalated, text);
            any = true;
        }
    }
}

/// The next step of escalation that is about this alert and was not taken, and when it is due.
fn next_step(record: &AlertRecord, pen: &Pen<'_>) -> Option<(usize, Wall)> {
    if record.ack.is_some() || record.untold.is_some() {
        return None;
    }
    let first = record.first_told?;
    let steps = pen.rules.alerts.escalations.iter().enumerate();
    steps
        .filter(|(i, _)| record.escalated & step_bit(*i) == 0)
        .filter(|(_, s)| s.matcher.matches(&record.key.check, record.severity, pen.labels))
        .min_by_key(|(_, s)| s.after)
        .map(|(i, s)| (i, first.after(s.after)))
}

/// The mark that a step was taken. Steps over 31 share the last one.
fn step_bit(step: usize) -> u32 {
    1 << step.min(31)
}

fn remind_at(record: &AlertRecord, pen: &Pen<'_>) -> Option<Wall> {
    if record.ack.is_some() || record.untold.is_some() {
        return None;
    }
    Some(record.last_told?.after(pen.rules.alerts.remind?))
}

fn next_nag(record: &AlertRecord, pen: &Pen<'_>) -> Option<Wall> {
    let ack = record.ack.as_ref().and_then(|a| a.until);
    let step = next_step(record, pen).map(|(_, at)| at);
    [ack, step, remind_at(record, pen)].into_iter().flatten().min()
}

fn check_length(lasts: Option<Duration>) -> Result<(), String> {
    match lasts {
        Some(d) if d > LONGEST => Err("at most 366 d".into()),
        _ => Ok(()),
    }
}

fn unknown(id: &str) -> String {
    format!("no open alert is called {id}; see: keepwell alerts")
}
