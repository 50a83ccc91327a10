//! What waits to be sent: oldest first, bounded in bytes; the oldest gives way to the newest.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::telemetry::wire::Batch;

/// More batches than this never wait, however small they are.
const MOST: usize = 1024;

/// Batches in order.
pub(super) struct Queue {
    batches: VecDeque<Arc<Batch>>,
    bytes: usize,
    limit: usize,
    /// The first one is being sent: it stays.
    in_flight: bool,
}

impl Queue {
    /// At most `limit` bytes wait; one batch always may.
    pub(super) fn new(limit: usize) -> Self {
        Self { batches: VecDeque::new(), bytes: 0, limit, in_flight: false }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.batches.len()
    }

    /// Adds the newest; how many older ones gave way to it.
    pub(super) fn push(&mut self, batch: Batch) -> u64 {
        self.bytes += batch.body.len();
        self.batches.push_back(Arc::new(batch));
        let mut dropped = 0;
        let first = usize::from(self.in_flight);
        while self.batches.len() > first + 1
            && (self.bytes > self.limit || self.batches.len() > MOST)
        {
            if let Some(oldest) = self.batches.remove(first) {
                self.bytes -= oldest.body.len();
                dropped += 1;
            }
        }
        dropped
    }

    /// The oldest, which stays until [`Self::done`].
    pub(super) fn first(&mut self) -> Option<Arc<Batch>> {
        let first = self.batches.front().cloned();
        self.in_flight = first.is_some();
        first
    }

    /// The oldest is sent or given up; `rest` of it takes its place.
    pub(super) fn done(&mut self, rest: Option<Batch>) {
        self.in_flight = false;
        if let Some(batch) = self.batches.pop_front() {
            self.bytes -= batch.body.len();
        }
        if let Some(rest) = rest {
            self.bytes += rest.body.len();
            self.batches.push_front(Arc::new(rest));
        }
    }

    /// Gives up all; how many they were.
    pub(super) fn clear(&mut self) -> u64 {
        let dropped = self.batches.len() as u64;
        self.batches.clear();
        self.bytes = 0;
        self.in_flight = false;
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(number: u8, size: usize) -> Batch {
        Batch { body: vec![number; size].into(), items: 1 }
    }

    fn numbers(queue: &Queue) -> Vec<u8> {
        queue.batches.iter().map(|b| b.body[0]).collect()
    }

    #[test]
    fn the_oldest_gives_way_but_for_the_one_that_is_being_sent() {
        let mut queue = Queue::new(30);
        for number in 1..=3 {
            assert_eq!(queue.push(batch(number, 10)), 0);
        }
        assert_eq!(queue.push(batch(4, 10)), 1);
        assert_eq!(numbers(&queue), [2, 3, 4]);
        assert_eq!(queue.first().unwrap().body[0], 2);
        assert_eq!(queue.push(batch(5, 20)), 2);
        assert_eq!(numbers(&queue), [2, 5]);
        queue.done(None);
        assert_eq!(numbers(&queue), [5]);
        assert_eq!(queue.push(batch(6, 100)), 1, "one always has room");
        assert_eq!(numbers(&queue), [6]);
        assert_eq!(queue.bytes, 100);
    }

    #[test]
    fn what_is_to_be_sent_again_goes_first() {
        let mut queue = Queue::new(100);
        queue.push(batch(1, 10));
        queue.push(batch(2, 10));
        queue.first();
        queue.done(Some(batch(3, 4)));
        assert_eq!(numbers(&queue), [3, 2]);
        assert_eq!((queue.bytes, queue.clear(), queue.bytes), (14, 2, 0));
    }

    #[test]
    fn their_number_is_bounded_too() {
        let mut queue = Queue::new(usize::MAX);
        let dropped: u64 = (0..2000).map(|_| queue.push(batch(0, 1))).sum();
        assert_eq!((queue.len(), dropped), (MOST, 2000 - MOST as u64));
    }
}
