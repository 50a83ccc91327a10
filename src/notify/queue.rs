//! The messages that wait for one channel: at most one per subject, a later one taking the place
//! of an earlier one, and bounded without ever losing an end that somebody waits for. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::alert::Happening;
use crate::engine::time::Boot;
use crate::store::{OutboxRow, RowKey};

/// Over this many, stories that are over and that the receiver never heard of give way.
const MOST: usize = 512;

/// One message that waits.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Waiting {
    pub(super) row: OutboxRow,
    /// Not before this.
    pub(super) due: Boot,
    /// Rises with each message: the order among those that are due.
    order: u64,
}

/// All messages that wait for one channel.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: BTreeMap<Arc<str>, Waiting>,
    next_order: u64,
    /// The receiver asked for silence until then.
    pause: Boot,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn remove(&mut self, subject: &str) -> Option<Waiting> {
        self.entries.remove(subject)
    }

    /// All that waits, in order.
    pub(super) fn into_rows(self) -> Vec<OutboxRow> {
        let mut waiting: Vec<_> = self.entries.into_values().collect();
        waiting.sort_by_key(|w| w.order);
        waiting.into_iter().map(|w| w.row).collect()
    }

    /// Adds a message. One about the same subject that waits is replaced, and the new one then
    /// tells what that one would have told. Returns what had to give way.
    pub(super) fn put(&mut self, mut row: OutboxRow, due: Boot) -> Option<OutboxRow> {
        let mut order = self.next_order;
        self.next_order += 1;
        if let Some(waiting) = self.entries.get(&row.subject) {
            row.opening |= waiting.row.opening;
            row.created = row.created.min(waiting.row.created);
            order = waiting.order;
        }
        self.entries.insert(Arc::clone(&row.subject), Waiting { row, due, order });
        if self.entries.len() > MOST { self.give_way() } else { None }
    }

    /// Takes a failed message back, unless a later one about the subject has come meanwhile; that
    /// one then tells the beginning. Returns whether it was taken back.
    pub(super) fn put_back(&mut self, waiting: Waiting) -> bool {
        match self.entries.get_mut(&waiting.row.subject) {
            Some(later) => {
                later.row.opening |= waiting.row.opening;
                later.row.created = later.row.created.min(waiting.row.created);
                false
            }
            None => {
                self.entries.insert(Arc::clone(&waiting.row.subject), waiting);
                true
            }
        }
    }

    /// The message to send now: of those that are due the one tried least, then the oldest.
    pub(super) fn take_due(&mut self, now: Boot) -> Option<Waiting> {
        if now < self.pause {
            return None;
        }
        self.take_where(|w| w.due <= now)
    }

    /// The next message, due or not, that is not among `tried`: when there will be no later.
    pub(super) fn take_untried(&mut self, tried: &[RowKey]) -> Option<Waiting> {
        self.take_where(|w| !tried.contains(&w.row.key()))
    }

    fn take_where(&mut self, ready: impl Fn(&Waiting) -> bool) -> Option<Waiting> {
        let best = self.entries.values().filter(|w| ready(w));
        let best = best.min_by_key(|w| (w.row.attempts, w.order))?;
        let subject = Arc::clone(&best.row.subject);
        self.entries.remove(&subject)
    }

    /// When a message will be due.
    pub(super) fn next_due(&self) -> Option<Boot> {
        self.entries.values().map(|w| w.due.max(self.pause)).min()
    }

    /// Nothing goes out until `until`.
    pub(super) fn pause(&mut self, until: Boot) {
        self.pause = self.pause.max(until);
    }

    /// The receiver works again: what waits only because it did not is due, one after another.
    pub(super) fn hurry(&mut self, now: Boot) {
        self.pause = Boot(0);
        for waiting in self.entries.values_mut() {
            waiting.due = waiting.due.min(now.after(Duration::from_millis(10)));
        }
    }

    /// Whoever was told of a beginning is told of the end; of a story that is over, and that was
    /// never told at all, nobody misses the end.
    fn give_way(&mut self) -> Option<OutboxRow> {
        let untold = self
            .entries
            .values()
            .filter(|w| w.row.opening && w.row.notification.happening == Happening::Resolved);
        let oldest = Arc::clone(&untold.min_by_key(|w| w.order)?.row.subject);
        self.entries.remove(&oldest).map(|w| w.row)
    }
}
