//! What counters have risen by since they were first seen. A receiver takes a counter for what
//! happened since its start time: a count from before must not look like a jump.

use std::collections::HashMap;

use opentelemetry::KeyValue;

use super::spec::Beginning;

/// So many series that are gone are remembered.
const MOST_GONE: usize = 2_000;

/// All series of one counter.
#[derive(Debug)]
pub(super) struct Rises {
    beginning: Beginning,
    series: HashMap<Vec<KeyValue>, Rise>,
    round: u64,
    /// So many are told one by one.
    limit: usize,
    /// So many are, of this round and the one before it.
    taken: usize,
    /// What all others have risen by together: the SDK would let the last one stand for all, and
    /// take it for a fall when that is another one than before.
    rest: Option<f64>,
    overflow: [KeyValue; 1],
}

#[derive(Debug, Clone, Copy)]
struct Rise {
    last: f64,
    total: f64,
    /// The round in which it was last there.
    round: u64,
    /// It is told by itself.
    own: bool,
}

impl Rises {
    pub(super) fn new(beginning: Beginning, limit: usize) -> Self {
        Self {
            beginning,
            series: HashMap::new(),
            round: 0,
            limit,
            taken: 0,
            rest: None,
            overflow: [KeyValue::new("otel.metric.overflow", true)],
        }
    }

    /// A snapshot is about to be seen.
    pub(super) fn next(&mut self) {
        let before = self.round;
        self.round += 1;
        self.taken = self.series.values().filter(|rise| rise.own && rise.round == before).count();
    }

    /// What a series says in this snapshot.
    pub(super) fn see(&mut self, value: f64, attributes: &[KeyValue]) {
        let round = self.round;
        let free = self.taken < self.limit;
        let (own, added) = if let Some(rise) = self.series.get_mut(attributes) {
            if rise.round + 1 < round {
                rise.own = free;
                self.taken += usize::from(free);
            }
            // What has fallen has begun anew.
            let added = if value < rise.last { value } else { value - rise.last };
            let total = if rise.own { rise.total + added } else { 0.0 };
            *rise = Rise { last: value, total, round, own: rise.own };
            (rise.own, added)
        } else {
            let known = round == 1 || self.beginning == Beginning::Before;
            let added = if known { 0.0 } else { value };
            let total = if free { added } else { 0.0 };
            self.series.insert(attributes.to_vec(), Rise { last: value, total, round, own: free });
            self.taken += usize::from(free);
            (free, added)
        };
        if !own {
            *self.rest.get_or_insert_default() += added;
        }
    }

    /// The snapshot has been seen. A series that is gone begins at 0 if it comes back, with what
    /// was added meanwhile.
    pub(super) fn done(&mut self) {
        let round = self.round;
        let mut gone = 0;
        for rise in self.series.values_mut().filter(|rise| rise.round != round) {
            rise.total = 0.0;
            gone += 1;
        }
        if gone > MOST_GONE {
            self.series.retain(|_, rise| rise.round == round);
        }
    }

    /// Those of the last snapshot, and all others as one.
    pub(super) fn present(&self) -> impl Iterator<Item = (&[KeyValue], f64)> {
        let rest = self.rest.map(|total| (&self.overflow[..], total));
        let present = self.series.iter().filter(|(_, rise)| rise.own && rise.round == self.round);
        present.map(|(attributes, rise)| (&**attributes, rise.total)).chain(rest)
    }
}
