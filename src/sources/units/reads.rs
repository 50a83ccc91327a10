//! Readings of single units that are on their way: what was asked of which unit, what is still to
//! be asked, and how many at a time, so that a thousand new units do not hold systemd up.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::engine::observation::Details;
use crate::systemd::bus::{Answer, Ask, BusError};

/// Readings under way at a time.
const MOST_READS: usize = 32;
/// Units that somebody waits for, under way at a time.
const MOST_WANTED: usize = 64;
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
    wanted: VecDeque<Wanted>,
    /// Units of which what they need is being read, and nothing else.
    needing: HashMap<Arc<str>, Partial>,
    triggers: usize,
    prefetch: VecDeque<Arc<str>>,
    details: HashMap<Arc<str>, Partial>,
    prefetching: usize,
}

#[derive(Debug, Default)]
struct Partial {
    restart: Option<Arc<str>>,
    kind: Option<Arc<str>>,
    triggered: Option<bool>,
    direct: Option<Vec<Arc<str>>>,
    owed: usize,
    purpose: Purpose,
}

impl Partial {
    /// One more answer.
    fn take(&mut self, answer: Result<Answer, BusError>) {
        self.owed -= 1;
        match answer {
            Ok(Answer::Service(half)) => {
                self.restart = half.restart.or(self.restart.take());
                self.kind = half.kind.or(self.kind.take());
            }
            Ok(Answer::Unit(half)) => {
                self.triggered = half.triggered.or(self.triggered);
                if let Some(more) = half.requires {
                    self.direct.get_or_insert_default().extend(more);
                }
            }
            _ => {}
        }
    }
}

/// What somebody waits for.
#[derive(Debug)]
enum Wanted {
    Details(Arc<str>, Purpose),
    Needs(Arc<str>),
    Triggers(Arc<str>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Purpose {
    /// Nobody waits yet.
    Prefetched,
    #[default]
    Wanted,
    /// What the unit needs is wanted as well.
    WithNeeds,
}

/// The answers about the details of one unit.
#[derive(Debug)]
pub(super) struct Detailed {
    /// `None`: they cannot be had.
    pub(super) details: Option<Details>,
    /// What the unit itself requires, where that was asked; within: `None` as above.
    pub(super) direct: Option<Option<Vec<Arc<str>>>>,
}

impl Reads {
    /// The unit at `path` is to be read, once.
    pub(super) fn add(&mut self, path: Arc<str>) {
        if !self.open.contains_key(&path) && self.queued.insert(Arc::clone(&path)) {
            self.queue.push_back(path);
        }
    }

    /// The details of the unit at `path` are wanted now, and with `needs` what it requires.
    pub(super) fn want(&mut self, path: Arc<str>, needs: bool) {
        let purpose = if needs { Purpose::WithNeeds } else { Purpose::Wanted };
        self.wanted.push_back(Wanted::Details(path, purpose));
    }

    /// What the unit at `path` requires is wanted now.
    pub(super) fn want_needs(&mut self, path: Arc<str>) {
        self.wanted.push_back(Wanted::Needs(path));
    }

    /// What the timer, socket or path at `path` starts is wanted.
    pub(super) fn want_triggers(&mut self, path: Arc<str>) {
        self.wanted.push_back(Wanted::Triggers(path));
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
            && self.awaited() == 0
    }

    /// How many that somebody waits for are under way.
    fn awaited(&self) -> usize {
        self.details.len() - self.prefetching + self.needing.len() + self.triggers
    }

    /// What to ask next; `may_prefetch` says for a unit whether its details are still unknown.
    pub(super) fn next(
        &mut self,
        mut may_prefetch: impl FnMut(&Arc<str>) -> bool,
    ) -> Option<(Ticket, Vec<Ask>)> {
        if self.awaited() < MOST_WANTED
            && let Some(wanted) = self.wanted.pop_front()
        {
            return Some(match wanted {
                Wanted::Details(path, purpose) => self.ask_details(path, purpose),
                Wanted::Needs(path) => {
                    let asks = self.ask_needs(&path);
                    let partial = Partial { owed: asks.len(), ..Partial::default() };
                    self.needing.insert(Arc::clone(&path), partial);
                    (Ticket::Needs(path), asks)
                }
                Wanted::Triggers(path) => {
                    self.triggers += 1;
                    (Ticket::Triggers, vec![Ask::UnitProperty(path, "Triggers")])
                }
            });
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
                    return Some(self.ask_details(path, Purpose::Prefetched));
                }
            }
        }
        None
    }

    fn ask_details(&mut self, path: Arc<str>, purpose: Purpose) -> (Ticket, Vec<Ask>) {
        let service = is_service(&path);
        let at = || Arc::clone(&path);
        let of_service = [
            service.then(|| Ask::ServiceProperty(at(), "Restart")),
            service.then(|| Ask::ServiceProperty(at(), "Type")),
        ];
        let mut asks: Vec<Ask> = of_service.into_iter().flatten().collect();
        if purpose == Purpose::WithNeeds {
            asks.extend(self.ask_needs(&path));
        }
        if !asks.iter().any(|ask| matches!(ask, Ask::AllOfUnit(_))) {
            asks.push(Ask::UnitProperty(at(), "TriggeredBy"));
        }
        self.prefetching += usize::from(purpose == Purpose::Prefetched);
        let partial = Partial { owed: asks.len(), purpose, ..Partial::default() };
        if let Some(older) = self.details.insert(Arc::clone(&path), partial) {
            self.prefetching -= usize::from(older.purpose == Purpose::Prefetched);
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

    /// For what the unit at `path` requires: one reading of all, which costs systemd as much as
    /// five of single properties, or where many wait, the two that matter most.
    fn ask_needs(&self, path: &Arc<str>) -> Vec<Ask> {
        if self.wanted.len() < MOST_FULL {
            return vec![Ask::AllOfUnit(Arc::clone(path))];
        }
        ["Requires", "BindsTo"].map(|what| Ask::UnitProperty(Arc::clone(path), what)).into()
    }

    /// One answer about what the unit at `path` requires has come. All of it (`None`: it cannot be
    /// had) when it was the last.
    pub(super) fn needed(
        &mut self,
        path: &Arc<str>,
        answer: Result<Answer, BusError>,
    ) -> Option<Option<Vec<Arc<str>>>> {
        let partial = self.needing.get_mut(path)?;
        partial.take(answer);
        if partial.owed > 0 {
            return None;
        }
        self.needing.remove(path).map(|partial| partial.direct)
    }

    /// An answer about what a timer, socket or path starts has come.
    pub(super) fn triggered(&mut self) {
        self.triggers = self.triggers.saturating_sub(1);
    }

    /// One answer about details has come. All of them when it was the last.
    pub(super) fn detail(
        &mut self,
        path: &Arc<str>,
        answer: Result<Answer, BusError>,
    ) -> Option<Detailed> {
        let partial = self.details.get_mut(path)?;
        partial.take(answer);
        if partial.owed > 0 {
            return None;
        }
        let partial = self.details.remove(path)?;
        self.prefetching -= usize::from(partial.purpose == Purpose::Prefetched);
        let direct = (partial.purpose == Purpose::WithNeeds).then_some(partial.direct);
        let service = is_service(path);
        let partial = Partial { direct: None, ..partial };
        let details = match partial {
            Partial { triggered: Some(triggered), .. } if !service => {
                Some(Details { triggered, ..Details::default() })
            }
            Partial {
                restart: Some(restart),
                kind: Some(kind),
                triggered: Some(triggered),
                ..
            } => Some(Details { restart, kind, triggered, requires: Vec::new() }),
            _ => None,
        };
        Some(Detailed { details, direct })
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
    /// What a unit requires.
    Needs(Arc<str>),
    /// What a timer, socket or path starts.
    Triggers,
    /// How the host is, before anything else is asked or while logind says that it ends.
    Host,
}

impl Ticket {
    /// It belongs to a resync, not to one unit.
    pub(super) fn of_resync(&self) -> bool {
        !matches!(
            self,
            Self::Read(_) | Self::Details(_) | Self::Needs(_) | Self::Triggers | Self::Host
        )
    }
}

/// Whether the unit at an object path is a service.
fn is_service(path: &str) -> bool {
    path.ends_with("_2eservice")
}
