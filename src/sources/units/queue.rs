//! Observations on their way to the driver: bounded, in order, and never waited for, because the feed
//! must be read all the time.

use std::collections::VecDeque;

use tokio::sync::mpsc::error::TrySendError;

use crate::engine::Observation;
use crate::sources::{Closed, SourceContext};

/// Observations that wait for a slow driver. When there are more they are dropped, and everything
/// is read afresh once it has caught up.
const MOST: usize = 16_384;

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Observation>,
    full: bool,
    overflowed: bool,
}

impl Queue {
    pub(super) fn push(&mut self, seen: Observation) {
        if self.waiting.len() < MOST {
            self.waiting.push_back(seen);
        } else if !self.overflowed {
            tracing::warn!(
                waiting = self.waiting.len(),
                "the driver is too far behind; units are read afresh when it has caught up"
            );
            self.overflowed = true;
        }
    }

    /// These after all that waits, however many it is.
    pub(super) fn extend(&mut self, more: Vec<Observation>) {
        self.waiting.extend(more);
    }

    /// These before all that waits.
    pub(super) fn put_first(&mut self, first: Vec<Observation>) {
        let later = std::mem::replace(&mut self.waiting, first.into());
        self.waiting.extend(later);
    }

    pub(super) fn pop(&mut self) -> Option<Observation> {
        self.waiting.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether some were dropped and all that was not has been handed on. True once.
    pub(super) fn caught_up(&mut self) -> bool {
        let caught_up = self.overflowed && self.waiting.is_empty();
        self.overflowed &= !caught_up;
        caught_up
    }

    /// The driver took no more, last time, and something still waits.
    pub(super) fn blocked(&self) -> bool {
        self.full && !self.waiting.is_empty()
    }

    /// Hands on as much as the driver takes now.
    ///
    /// # Errors
    /// [`Closed`] when the driver is gone.
    pub(super) fn hand_on(&mut self, context: &SourceContext) -> Result<(), Closed> {
        self.full = false;
        while let Some(first) = self.waiting.pop_front() {
            match context.out.try_send(first) {
                Ok(()) => {}
                Err(TrySendError::Full(first)) => {
                    self.waiting.push_front(first);
                    self.full = true;
                    break;
                }
                Err(TrySendError::Closed(_)) => return Err(Closed),
            }
        }
        Ok(())
    }
}
