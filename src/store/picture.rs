//! The merged picture of records that are not on the disk yet: what a transaction writes, and what
//! is kept while the disk fails. Bounded: one record per alert, unit, container, call and outbox
//! row, and the oldest resolved alerts give way. How many calls may wait is their lanes' affair.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::rows::Loaded;
use super::{CallRow, OutboxRow, RowKey};
use crate::engine::alert::AlertRecord;
use crate::engine::saved::{AgentRecord, ContainerRecord, CountRecord, Hold, Silence};
use crate::engine::time::Wall;

/// Resolved alerts that are kept while the disk fails.
const MAX_RESOLVED: usize = 1000;
/// What is gone and was never written needs no deletion; so much of it is kept all the same, for a
/// write that failed may have reached the disk.
const MAX_GONE: usize = 10_000;

/// Records to be written, each in its latest form.
#[derive(Debug, Default)]
pub(super) struct Picture {
    pub(super) alerts: BTreeMap<Arc<str>, AlertRecord>,
    /// `None`: to be deleted.
    pub(super) counts: BTreeMap<Arc<str>, Option<CountRecord>>,
    pub(super) holds: Option<Vec<Hold>>,
    pub(super) silences: Option<Vec<Silence>>,
    pub(super) cursor: Option<String>,
    pub(super) errors_cursor: Option<String>,
    pub(super) agent: Option<AgentRecord>,
    pub(super) outbox: BTreeMap<RowKey, RowChange>,
    pub(super) dropped_channels: Vec<Arc<str>>,
    pub(super) containers: BTreeMap<Arc<str>, ContainerChange>,
    pub(super) calls: BTreeMap<u64, CallChange>,
    pub(super) dropped_hooks: Vec<Arc<str>>,
}

/// What is to become of what is known of one container.
#[derive(Debug)]
pub(super) enum ContainerChange {
    /// Insert or replace it.
    Put(Box<ContainerRecord>),
    /// Delete it.
    Gone { written: bool },
}

/// What is to become of one call.
#[derive(Debug)]
pub(super) enum CallChange {
    /// Insert or replace it.
    Put(CallRow),
    /// Delete it.
    Gone { written: bool },
    /// Note a failed try, if it is there.
    Attempt { attempts: u32, next_at: Wall },
}

/// What is to become of one outbox row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum RowChange {
    /// Insert or replace it.
    Put(OutboxRow),
    /// Delete it.
    Gone,
    /// Note a failed attempt, if it is there.
    Attempt { attempts: u32, next_at: Wall },
}

impl Picture {
    pub(super) fn is_empty(&self) -> bool {
        self.alerts.is_empty()
            && self.counts.is_empty()
            && self.holds.is_none()
            && self.silences.is_none()
            && self.cursor.is_none()
            && self.errors_cursor.is_none()
            && self.agent.is_none()
            && self.outbox.is_empty()
            && self.dropped_channels.is_empty()
            && self.containers.is_empty()
            && self.calls.is_empty()
            && self.dropped_hooks.is_empty()
    }

    pub(super) fn alert(&mut self, alert: AlertRecord) {
        self.alerts.insert(Arc::clone(&alert.id), alert);
    }

    pub(super) fn container(&mut self, record: ContainerRecord) {
        let id = Arc::clone(&record.container.id);
        self.containers.insert(id, ContainerChange::Put(Box::new(record)));
    }

    pub(super) fn container_gone(&mut self, id: Arc<str>) {
        let fresh = matches!(self.containers.get(&id), Some(ContainerChange::Put(_)));
        self.containers.insert(id, ContainerChange::Gone { written: !fresh });
    }

    pub(super) fn call(&mut self, row: CallRow) {
        self.calls.insert(row.call.number, CallChange::Put(row));
    }

    pub(super) fn call_done(&mut self, number: u64) {
        let fresh = matches!(self.calls.get(&number), Some(CallChange::Put(_)));
        self.calls.insert(number, CallChange::Gone { written: !fresh });
    }

    pub(super) fn failed_call(&mut self, number: u64, attempts: u32, next_at: Wall) {
        match self.calls.entry(number).or_insert(CallChange::Attempt { attempts, next_at }) {
            CallChange::Put(row) => (row.attempts, row.next_at) = (attempts, next_at),
            CallChange::Gone { .. } => {}
            CallChange::Attempt { attempts: a, next_at: n } => (*a, *n) = (attempts, next_at),
        }
    }

    pub(super) fn drop_hook(&mut self, hook: Arc<str>) {
        self.calls.retain(|_, change| match change {
            CallChange::Put(row) => row.call.hook != hook,
            _ => true,
        });
        self.dropped_hooks.push(hook);
    }

    /// Keeps it within its limits while the disk fails.
    pub(super) fn bound(&mut self) {
        self.bound_alerts();
        let fresh = |gone: &CallChange| matches!(gone, CallChange::Gone { written: false });
        if self.calls.values().filter(|change| fresh(change)).count() > MAX_GONE {
            self.calls.retain(|_, change| !fresh(change));
        }
        let fresh =
            |gone: &ContainerChange| matches!(gone, ContainerChange::Gone { written: false });
        if self.containers.values().filter(|change| fresh(change)).count() > MAX_GONE {
            self.containers.retain(|_, change| !fresh(change));
        }
    }

    /// Drops the oldest resolved alerts over the limit. Those whose end is still to be told stay.
    fn bound_alerts(&mut self) {
        let over = |a: &AlertRecord| a.resolved.filter(|_| a.pending.is_empty());
        let resolved = self.alerts.values().filter(|a| over(a).is_some()).count();
        if resolved <= MAX_RESOLVED {
            return;
        }
        let mut ends: Vec<_> =
            self.alerts.values().filter_map(|a| Some((over(a)?, Arc::clone(&a.id)))).collect();
        ends.sort();
        // A tenth more, so that this is not done for each alert anew.
        for (_, id) in &ends[..resolved - MAX_RESOLVED + MAX_RESOLVED / 10] {
            self.alerts.remove(id);
        }
    }

    pub(super) fn put(&mut self, row: OutboxRow) {
        self.outbox.insert(row.key(), RowChange::Put(row));
    }

    pub(super) fn delivered(&mut self, key: RowKey) {
        self.outbox.insert(key, RowChange::Gone);
    }

    pub(super) fn attempt(&mut self, key: RowKey, attempts: u32, next_at: Wall) {
        match self.outbox.entry(key).or_insert(RowChange::Attempt { attempts, next_at }) {
            RowChange::Put(row) => (row.attempts, row.next_at) = (attempts, next_at),
            RowChange::Gone => {}
            RowChange::Attempt { attempts: a, next_at: n } => (*a, *n) = (attempts, next_at),
        }
    }

    pub(super) fn drop_channel(&mut self, channel: Arc<str>) {
        self.outbox.retain(|key, _| key.channel != channel);
        self.dropped_channels.push(channel);
    }

    /// Puts what was saved from a damaged database below what is newer here.
    pub(super) fn underlay(&mut self, found: &Loaded) {
        for alert in &found.saved.alerts {
            self.alerts.entry(Arc::clone(&alert.id)).or_insert_with(|| alert.clone());
        }
        for count in &found.saved.counts {
            self.counts.entry(Arc::clone(&count.unit)).or_insert_with(|| Some(count.clone()));
        }
        if !found.saved.holds.is_empty() {
            self.holds.get_or_insert_with(|| found.saved.holds.clone());
        }
        if !found.saved.silences.is_empty() {
            self.silences.get_or_insert_with(|| found.saved.silences.clone());
        }
        self.cursor = self.cursor.take().or_else(|| found.saved.cursor.clone());
        let errors = self.errors_cursor.take();
        self.errors_cursor = errors.or_else(|| found.saved.errors_cursor.clone());
        self.agent = self.agent.take().or_else(|| found.saved.agent.clone());
        for record in &found.saved.containers {
            self.containers
                .entry(Arc::clone(&record.container.id))
                .or_insert_with(|| ContainerChange::Put(Box::new(record.clone())));
        }
        for row in &found.calls {
            if self.dropped_hooks.contains(&row.call.hook) {
                continue;
            }
            let change =
                self.calls.entry(row.call.number).or_insert_with(|| CallChange::Put(row.clone()));
            if let CallChange::Attempt { attempts, next_at } = *change {
                *change = CallChange::Put(CallRow { attempts, next_at, ..row.clone() });
            }
        }
        for row in &found.outbox {
            if self.dropped_channels.contains(&row.channel) {
                continue;
            }
            let change =
                self.outbox.entry(row.key()).or_insert_with(|| RowChange::Put(row.clone()));
            if let RowChange::Attempt { attempts, next_at } = *change {
                *change = RowChange::Put(OutboxRow { attempts, next_at, ..row.clone() });
            }
        }
    }
}
