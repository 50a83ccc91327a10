//! What becomes of an alert while it is open: its log lines, what was done about it and will be, and
//! the container that it is about.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Book, Pen, known_to, note};
use crate::engine::alert::{AlertKey, ContainerFacts, Happening};
use crate::engine::event::Actor;
use crate::engine::words::{CheckKind, Reason};

impl Book {
    /// The journal lines that an alert waits for have come.
    pub(in crate::engine) fn lines(
        &mut self,
        key: &AlertKey,
        lines: Vec<String>,
        pen: &mut Pen<'_>,
    ) {
        let Some(open) = self.open.get_mut(key) else { return };
        open.record.lines = lines;
        if std::mem::take(&mut open.awaits_lines) {
            open.not_before = None;
        }
        pen.keep(&open.record);
        if open.record.untold == Some(Reason::Grouping) {
            let gone = pen.now.wall.since(open.record.opened);
            self.due_after(pen.group_wait().saturating_sub(gone), pen);
            self.arm(pen);
        }
    }

    /// Something was done about it, by keepwell or by a person.
    pub(in crate::engine) fn act(
        &mut self,
        key: &AlertKey,
        by: Option<Actor>,
        text: &str,
        pen: &mut Pen<'_>,
    ) {
        if let Some(open) = self.open.get_mut(key) {
            note(&mut open.record, pen.now.wall, by, text);
            pen.keep(&open.record);
        }
    }

    /// keepwell restarted what it is about: those who ask for notices and know of it are told.
    pub(in crate::engine) fn restarted(&mut self, key: &AlertKey, pen: &mut Pen<'_>) -> bool {
        let Some(open) = self.open.get(key) else { return false };
        if self.held_back(&open.record, pen).is_some() {
            return true; // Nothing goes out, also not as a notice.
        }
        let channels = known_to(&open.record);
        let wanting: Vec<Arc<str>> =
            channels.into_iter().filter(|c| pen.channel(c).is_some_and(|c| c.notices)).collect();
        for channel in &wanting {
            self.put(key, channel, Happening::Restarted, pen);
        }
        if let Some(open) = self.open.get(key) {
            pen.keep(&open.record);
        }
        self.arm(pen);
        !wanting.is_empty()
    }

    /// Alerts of containers of which something may still be told: open ones, and those that ended.
    pub(in crate::engine) fn of_containers(&self) -> BTreeSet<AlertKey> {
        let ended = self.ended.values().map(|record| &record.key);
        let all = self.open.keys().chain(ended);
        all.filter(|key| key.check.kind == CheckKind::Container).cloned().collect()
    }

    /// What people are told of the container that it is about. Of one that ended, that is how it
    /// is now as long as no other has opened.
    pub(in crate::engine) fn describe(
        &mut self,
        key: &AlertKey,
        facts: ContainerFacts,
        pen: &mut Pen<'_>,
    ) {
        let mut facts = facts;
        let record = match self.open.get_mut(key) {
            Some(open) => &mut open.record,
            None => {
                let ended = self.ended.values_mut().filter(|record| record.key == *key);
                let Some(last) = ended.max_by_key(|record| record.resolved) else { return };
                last
            }
        };
        // What led to it is looked for from there, also when it runs again.
        facts.ended = record.container.as_ref().and_then(|c| c.ended).or(facts.ended);
        if record.container.as_deref() != Some(&facts) {
            record.container = Some(Box::new(facts));
            pen.keep(record);
        }
    }

    /// What keepwell will do next about it.
    pub(in crate::engine) fn next(
        &mut self,
        key: &AlertKey,
        text: Option<String>,
        pen: &mut Pen<'_>,
    ) {
        if let Some(open) = self.open.get_mut(key)
            && open.record.next != text
        {
            open.record.next = text;
            pen.keep(&open.record);
        }
    }

    /// keepwell gives up on it: those who know of it are told so.
    pub(in crate::engine) fn gave_up(&mut self, key: &AlertKey, pen: &mut Pen<'_>) {
        let Some(open) = self.open.get_mut(key) else { return };
        open.record.next = None;
        let record = open.record.clone();
        if self.held_back(&record, pen).is_none() {
            for channel in known_to(&record) {
                self.put(key, &channel, Happening::GaveUp, pen);
            }
        }
        if let Some(open) = self.open.get(key) {
            pen.keep(&open.record);
        }
        self.arm(pen);
    }
}
