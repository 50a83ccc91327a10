//! Readings of single units that are on their way: what was asked of which unit, what is still to
//! be asked, and how many at a time, so that a thousand new units do not hold systemd up.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::engine::observation::Details;
use crate::systemd::bus::{Answer, Ask, BusError};

/// Readings under way at a time.
const MOST_READS: usize = 32;
/// Prefetched details under way at a time.
const MOST_PREFETCHED: usize = 4;
/// Up to so many units are read in full; of more, only what tells runs apart. A full reading costs
/// systemd over a millisecond.
const MOST_FULL: usize = 64;

/// The readings of one session.
#[derive(Debug, Default)]
pub(super) struct Reads {
    queue: VecDeque<Arc<str>>,
    queued: HashSet<Arc<str>>,
    /// Units being read, and how many answers are owed.
    open: HashMap<Arc<str>, usize>,
    wanted: VecDeque<Arc<str>>,
    prefetch: VecDeque<Arc<str>>,
    details: HashMap<Arc<str>, Partial>,
    prefetching: usize,
}

#[derive(Debug, Default)]
struct Partial {
    restart: Option<Arc<str>>,
    kind: Option<Arc<str>>,
    triggered: Option<bool>,
    owed: usize,
    prefetched: bool,
}

impl Reads {
    /// The unit at `path` is to be read, once.
    pub(super) fn add(&mut self, path: Arc<str>) {
        if !self.open.contains_key(&path) && self.queued.insert(Arc::clone(&path)) {
            self.queue.push_back(path);
        }
    }

    /// The details of the unit at `path` are wanted now.
    pub(super) fn want(&mut self, path: Arc<str>) {
        self.wanted.push_back(path);
    }

    /// The details of these units would be good to have.
    pub(super) fn prefetch(&mut self, paths: Vec<Arc<str>>) {
        self.prefetch = paths.into();
    }

    /// Nothing that somebody waits for is under way.
    pub(super) fn idle(&self) -> bool {
        self.queue.is_empty()
            && self.open.is_empty()
            && self.wanted.is_empty()
            && self.details.len() == self.prefetching
    }

    /// What to ask next; `may_prefetch` says for a unit whether its details are still unknown.
    pub(super) fn next(
        &mut self,
        mut may_prefetch: impl FnMut(&Arc<str>) -> bool,
    ) -> Option<(Ticket, Vec<Ask>)> {
        if let Some(path) = self.wanted.pop_front() {
            return Some(self.ask_details(path, false));
        }
        if self.open.len() < MOST_READS
            && let Some(path) = self.queue.pop_front()
        {
            self.queued.remove(&path);
            let service = is_service(&path);
            let at = || Arc::clone(&path);
            // The Service interface first, as in signals.
            let asks = if self.queue.len() + self.open.len() < MOST_FULL {
                let full = [service.then(|| Ask::AllOfService(at())), Some(Ask::AllOfUnit(at()))];
                full.into_iter().flatten().collect::<Vec<_>>()
            } else {
                let brief = [
                    service.then(|| Ask::ServiceProperty(at(), "Result")),
                    service.then(|| Ask::ServiceProperty(at(), "MainPID")),
                    Some(Ask::UnitProperty(at(), "StateChangeTimestamp")),
                    Some(Ask::UnitProperty(at(), "InvocationID")),
                ];
                brief.into_iter().flatten().collect()
            };
            self.open.insert(Arc::clone(&path), asks.len());
            return Some((Ticket::Read(path), asks));
        }
        if self.idle() && self.prefetching < MOST_PREFETCHED {
            while let Some(path) = self.prefetch.pop_front() {
                if may_prefetch(&path) {
                    return Some(self.ask_details(path, true));
                }
            }
        }
        None
    }

    fn ask_details(&mut self, path: Arc<str>, prefetched: bool) -> (Ticket, Vec<Ask>) {
        let service = is_service(&path);
        let at = || Arc::clone(&path);
        let asks: Vec<Ask> = [
            service.then(|| Ask::ServiceProperty(at(), "Restart")),
            service.then(|| Ask::ServiceProperty(at(), "Type")),
            Some(Ask::UnitProperty(at(), "TriggeredBy")),
        ]
        .into_iter()
        .flatten()
        .collect();
        self.prefetching += usize::from(prefetched);
        let partial = Partial { owed: asks.len(), prefetched, ..Partial::default() };
        if let Some(older) = self.details.insert(Arc::clone(&path), partial) {
            self.prefetching -= usize::from(older.prefetched);
        }
        (Ticket::Details(path), asks)
    }

    /// One answer to a reading has come: true when it was the last.
    pub(super) fn read(&mut self, path: &Arc<str>) -> bool {
        match self.open.get_mut(path) {
            Some(owed) if *owed > 1 => {
                *owed -= 1;
                false
            }
            _ => self.open.remove(path).is_some(),
        }
    }

    /// One answer about details has come. The details (`None`: they cannot be had) when it was the
    /// last.
    pub(super) fn detail(
        &mut self,
        path: &Arc<str>,
        answer: Result<Answer, BusError>,
    ) -> Option<Option<Details>> {
        let partial = self.details.get_mut(path)?;
        partial.owed -= 1;
        match answer {
            Ok(Answer::Service(half)) => {
                partial.restart = half.restart.or(partial.restart.take());
                partial.kind = half.kind.or(partial.kind.take());
            }
            Ok(Answer::Unit(half)) => partial.triggered = half.triggered,
            _ => {}
        }
        if partial.owed > 0 {
            return None;
        }
        let partial = self.details.remove(path)?;
        self.prefetching -= usize::from(partial.prefetched);
        let service = is_service(path);
        Some(match partial {
            Partial { triggered: Some(triggered), .. } if !service => {
                Some(Details { triggered, ..Details::default() })
            }
            Partial {
                restart: Some(restart),
                kind: Some(kind),
                triggered: Some(triggered),
                ..
            } => Some(Details { restart, kind, triggered }),
            _ => None,
        })
    }
}

/// What an answer belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ticket {
    /// Only to learn which names are aliases.
    Aliases(Vec<Arc<str>>),
    Names(Vec<Arc<str>>),
    Failed,
    Globs,
    State,
    Count,
    Read(Arc<str>),
    Details(Arc<str>),
}

impl Ticket {
    /// It belongs to a resync, not to one unit.
    pub(super) fn of_resync(&self) -> bool {
        !matches!(self, Self::Read(_) | Self::Details(_))
    }
}

/// Whether the unit at an object path is a service.
fn is_service(path: &str) -> bool {
    path.ends_with("_2eservice")
}
