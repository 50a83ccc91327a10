//! The merged picture of records that are not on the disk yet: what a transaction writes, and what
//! is kept while the disk fails. Bounded: one record per alert, unit and outbox row, and the
//! oldest resolved alerts give way.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::rows::Loaded;
use super::{OutboxRow, RowKey, opens};
use crate::engine::alert::AlertRecord;
use crate::engine::saved::{AgentRecord, CountRecord, Hold};
use crate::engine::time::Wall;

/// Resolved alerts that are kept while the disk fails.
const MAX_RESOLVED: usize = 1000;

/// Records to be written, each in its latest form.
#[derive(Debug, Default)]
pub(super) struct Picture {
    pub(super) alerts: BTreeMap<Arc<str>, AlertRecord>,
    pub(super) counts: BTreeMap<Arc<str>, CountRecord>,
    pub(super) holds: Option<Vec<Hold>>,
    pub(super) cursor: Option<String>,
    pub(super) errors_cursor: Option<String>,
    pub(super) agent: Option<AgentRecord>,
    /// In order; at most one [`RowChange::Put`], and it comes first.
    pub(super) outbox: BTreeMap<(Arc<str>, Arc<str>), Vec<RowChange>>,
    pub(super) dropped_channels: Vec<Arc<str>>,
}

/// What is to become of one outbox row, by channel and subject.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum RowChange {
    /// Insert or replace. With `inherit`, a row that is replaced was never delivered: if it was
    /// the opening, this one is now.
    Put { row: OutboxRow, inherit: bool },
    /// Delete it if it is still this message.
    Delivered(RowKey),
    /// Note a failed attempt if it is still this message.
    Attempt { key: RowKey, attempts: u32, next_at: Wall },
}

impl Picture {
    pub(super) fn is_empty(&self) -> bool {
        self.alerts.is_empty()
            && self.counts.is_empty()
            && self.holds.is_none()
            && self.cursor.is_none()
            && self.errors_cursor.is_none()
            && self.agent.is_none()
            && self.outbox.is_empty()
            && self.dropped_channels.is_empty()
    }

    pub(super) fn alert(&mut self, alert: AlertRecord) {
        self.alerts.insert(Arc::clone(&alert.id), alert);
    }

    /// Drops the oldest resolved alerts over the limit; called while the disk fails.
    pub(super) fn bound(&mut self) {
        let resolved = self.alerts.values().filter(|a| a.resolved.is_some()).count();
        if resolved <= MAX_RESOLVED {
            return;
        }
        let mut ends: Vec<_> =
            self.alerts.values().filter_map(|a| Some((a.resolved?, Arc::clone(&a.id)))).collect();
        ends.sort();
        // A tenth more, so that this is not done for each alert anew.
        for (_, id) in &ends[..resolved - MAX_RESOLVED + MAX_RESOLVED / 10] {
            self.alerts.remove(id);
        }
    }

    pub(super) fn put(&mut self, mut row: OutboxRow) {
        let key = (Arc::clone(&row.channel), Arc::clone(&row.subject));
        let changes = self.outbox.entry(key).or_default();
        let mut inherits = true;
        for change in changes.drain(..) {
            match change {
                RowChange::Put { row: waiting, inherit } => {
                    row.opening |= waiting.opening;
                    row.created = row.created.min(waiting.created);
                    inherits = inherit;
                }
                RowChange::Delivered(_) => inherits = false,
                RowChange::Attempt { .. } => {}
            }
        }
        changes.push(RowChange::Put { row, inherit: inherits });
    }

    pub(super) fn delivered(&mut self, key: RowKey) {
        let changes = self.changes(&key);
        match changes.first_mut() {
            Some(RowChange::Put { row, .. }) if row.key() == key => {
                *changes = vec![RowChange::Delivered(key)];
            }
            Some(RowChange::Put { row, inherit }) => {
                // The opening was delivered after all; the later message need not tell it.
                if row.revision >= key.revision {
                    row.opening = opens(row.notification.happening);
                    *inherit = false;
                }
            }
            _ => {
                changes.retain(|c| !matches!(c, RowChange::Delivered(other) if *other == key));
                changes.push(RowChange::Delivered(key));
            }
        }
    }

    pub(super) fn attempt(&mut self, key: RowKey, attempts: u32, next_at: Wall) {
        let changes = self.changes(&key);
        match changes.first_mut() {
            Some(RowChange::Put { row, .. }) => {
                if row.key() == key {
                    row.attempts = attempts;
                    row.next_at = next_at;
                }
            }
            _ => {
                let same =
                    |c: &RowChange| matches!(c, RowChange::Attempt { key: k, .. } if *k == key);
                changes.retain(|c| !same(c));
                changes.push(RowChange::Attempt { key, attempts, next_at });
            }
        }
    }

    fn changes(&mut self, key: &RowKey) -> &mut Vec<RowChange> {
        self.outbox.entry((Arc::clone(&key.channel), Arc::clone(&key.subject))).or_default()
    }

    pub(super) fn drop_channel(&mut self, channel: Arc<str>) {
        self.outbox.retain(|(c, _), _| *c != channel);
        self.dropped_channels.push(channel);
    }
}

impl Picture {
    /// Puts what was saved from a damaged database below what is newer here.
    pub(super) fn underlay(&mut self, found: &Loaded) {
        for alert in &found.saved.alerts {
            self.alerts.entry(Arc::clone(&alert.id)).or_insert_with(|| alert.clone());
        }
        for count in &found.saved.counts {
            self.counts.entry(Arc::clone(&count.unit)).or_insert_with(|| count.clone());
        }
        if !found.saved.holds.is_empty() {
            self.holds.get_or_insert_with(|| found.saved.holds.clone());
        }
        self.cursor = self.cursor.take().or_else(|| found.saved.cursor.clone());
        let errors = self.errors_cursor.take();
        self.errors_cursor = errors.or_else(|| found.saved.errors_cursor.clone());
        self.agent = self.agent.take().or_else(|| found.saved.agent.clone());
        for row in &found.outbox {
            if self.dropped_channels.contains(&row.channel) {
                continue;
            }
            let mut row = row.clone();
            let key = (Arc::clone(&row.channel), Arc::clone(&row.subject));
            let changes = self.outbox.entry(key).or_default();
            if let Some(RowChange::Put { row: newer, inherit }) = changes.first_mut() {
                newer.opening |= *inherit && row.opening;
                continue;
            }
            let mut gone = false;
            for change in changes.iter() {
                match change {
                    RowChange::Delivered(done) if row.revision <= done.revision => gone = true,
                    RowChange::Delivered(_) => row.opening = opens(row.notification.happening),
                    RowChange::Attempt { key, attempts, next_at } if row.key() == *key => {
                        row.attempts = *attempts;
                        row.next_at = *next_at;
                    }
                    RowChange::Attempt { .. } | RowChange::Put { .. } => {}
                }
            }
            if !gone {
                *changes = vec![RowChange::Put { row, inherit: false }];
            }
        }
    }
}
