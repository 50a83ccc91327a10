//! One connection to one container engine, from when it was opened to its loss: events as they
//! happen, a look at each container that something happened to, lists, samplings, and a ping when
//! nothing has been heard for a while.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::{self, Instant, MissedTickBehavior};

use crate::docker::{DockerError, Events, Heard, Info, Inspected};
use crate::engine::Observation;
use crate::engine::observation::{ContainersSeen, Part, PartSeen, PartState, UsageSeen};
use crate::systemd::redact::redact;

use super::looks::Looks;
use super::opening::Opened;
use super::refusals::{Refusals, What};
use super::track::{self, Look, Track};
use super::usage::Sampler;
use super::{Pass, Watched, twin};

/// A container of which not all may have been written down is looked at once more after this.
const AGAIN: time::Duration = time::Duration::from_secs(3);

/// Where events cannot be read, all is listed again this long after it was listed.
const UNREAD: time::Duration = time::Duration::from_secs(10);

/// So often in a row can a look not be made before that is said.
const MISSED: u32 = 3;

/// Observations that wait for a slow driver. When there are more, all is asked for afresh.
const MOST: usize = 16_384;

/// Why a session ended.
pub(super) enum End {
    /// The engine is away, or answers what cannot be used.
    Away(DockerError),
    /// The driver was too far behind; what it has not got is asked for again.
    Behind,
    /// The driver is gone.
    Closed,
}

impl From<DockerError> for End {
    fn from(error: DockerError) -> Self {
        Self::Away(error)
    }
}

/// What waits for the driver.
enum Out {
    Seen(Box<Observation>),
    /// All that a list brought has been handed on.
    Done(Vec<Pass>),
}

/// What came of a question.
enum Answered {
    Container(Arc<str>, Result<Box<Inspected>, DockerError>),
    List(Result<Vec<String>, DockerError>),
    Ping(Result<(), DockerError>),
    Apart(u64, Result<bool, DockerError>),
    Usage(Box<Sampler>, Vec<UsageSeen>),
}

/// A session.
pub(super) struct Session<'a> {
    watched: &'a Watched,
    refusals: &'a mut Refusals,
    podman: bool,
    info: Info,
    track: Track,
    /// The last refusal to let a container be looked at.
    refused: Option<DockerError>,
    queue: VecDeque<Out>,
    asked: JoinSet<Answered>,
    looks: Looks,
    /// To be looked at once more, and when.
    unsure: VecDeque<(Instant, Arc<str>)>,
    /// Something was missed while a list was under way: another is needed.
    list_again: bool,
    /// An event could not be read: another list is needed then.
    unread: Option<Instant>,
    /// When the last list was asked for.
    asked_for_list: Instant,
    pinging: bool,
    /// It is no other engine, as of so many openings of engines; and whether that is being asked.
    apart: Option<u64>,
    comparing: bool,
    /// `None` while it samples.
    sampler: Option<Box<Sampler>>,
    /// Those who wait for the next list.
    passes: Vec<Pass>,
    /// When the engine last showed that it lives.
    alive: Instant,
}

impl<'a> Session<'a> {
    /// Also gives the events that it is to run with.
    pub(super) fn new(
        watched: &'a Watched,
        refusals: &'a mut Refusals,
        opened: Opened,
        passes: Vec<Pass>,
    ) -> (Self, Option<Events>) {
        let sampler = Sampler::new(watched.client.clone(), watched.settings.root.clone());
        let engine = watched.engine();
        match &opened.unsaid {
            Some(error) => refusals.refused(engine, What::Host, error),
            None => refusals.allowed(engine, What::Host),
        };
        let mut session = Self {
            watched,
            refusals,
            podman: opened.podman,
            info: opened.info,
            track: Track::new(opened.tells_health),
            refused: None,
            queue: VecDeque::new(),
            asked: JoinSet::new(),
            looks: Looks::default(),
            unsure: VecDeque::new(),
            list_again: false,
            unread: None,
            asked_for_list: Instant::now(),
            pinging: false,
            apart: opened.apart,
            comparing: false,
            sampler: Some(Box::new(sampler)),
            passes,
            alive: Instant::now(),
        };
        let part = Part::Engine(engine.clone());
        session.push(Observation::Part(PartSeen { part, state: PartState::Works }));
        if let Some(away) = opened.away {
            session.push(Observation::EngineAway(away));
        }
        for heard in opened.past {
            session.hear(heard, true);
        }
        session.track.listed(opened.ids);
        (session, opened.events)
    }

    /// Until the engine is lost; with no events, until all has been told once.
    pub(super) async fn run(
        &mut self,
        mut events: Option<Events>,
        asks: &mut tokio::sync::mpsc::UnboundedReceiver<Pass>,
    ) -> Result<(), End> {
        let once = events.is_none();
        let mut samplings = ticks(self.watched.settings.interval);
        let mut lists = ticks(self.watched.settings.relist);
        let mut first = true;
        loop {
            while self.looks.room(Instant::now())
                && let Some(id) = self.track.next()
            {
                self.look(id);
            }
            if let Some(ids) = self.track.complete() {
                self.refusals()?;
                self.listed(ids);
                if std::mem::take(&mut first) {
                    self.sample();
                }
            }
            if once && !first && self.asked.is_empty() && self.queue.is_empty() {
                return Ok(());
            }
            if self.list_again && !self.track.is_listing() {
                self.list();
            }
            if self.queue.len() > MOST {
                tracing::warn!(
                    engine = &**self.watched.engine(),
                    waiting = self.queue.len(),
                    "the driver is too far behind; containers are read afresh when it has caught up"
                );
                // There is room again when it has.
                self.queue.clear();
                drop(self.watched.context.out.reserve().await.map_err(|_| End::Closed)?);
                return Err(End::Behind);
            }
            let quiet = self.alive + self.watched.settings.quiet;
            let room = self.looks.next_room(Instant::now()).filter(|_| self.track.is_due());
            let again = self.looks.next_again();
            tokio::select! {
                biased;
                room = self.watched.context.out.reserve(), if !self.queue.is_empty() => {
                    let room = room.map_err(|_| End::Closed)?;
                    match self.queue.pop_front() {
                        Some(Out::Seen(seen)) => {
                            if let Observation::ContainerEvent(event) = &*seen {
                                self.watched.engines.hear(&event.engine, event.at);
                            }
                            room.send(*seen);
                        }
                        // Whoever waits is told by the end of the pass.
                        Some(Out::Done(passes)) => drop(passes),
                        None => {}
                    }
                }
                heard = next(&mut events) => {
                    self.alive = Instant::now();
                    match heard? {
                        Some(heard) => self.hear(heard, false),
                        None => {
                            tracing::debug!("an event cannot be read; containers are listed again");
                            self.unread = Some(self.asked_for_list + UNREAD);
                        }
                    }
                }
                Some(answered) = self.asked.join_next() => match answered {
                    Ok(answered) => self.answered(answered)?,
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
                Some(pass) = asks.recv() => {
                    self.passes.push(pass);
                    self.list_again = true;
                }
                _ = samplings.tick(), if !once => {
                    self.sample();
                    self.compare();
                }
                _ = lists.tick(), if !once => self.list_again = true,
                id = due(&self.unsure), if !once => {
                    self.unsure.pop_front();
                    self.track.look_again(id);
                }
                () = until(again), if !once => {
                    if let Some(id) = self.looks.again(Instant::now()) {
                        self.track.try_again(id);
                    }
                }
                () = until(self.unread), if !self.track.is_listing() => self.list_again = true,
                () = until(room) => {}
                () = time::sleep_until(quiet), if !self.pinging && !once => self.ping(),
            }
        }
    }

    /// Those who wait for a list that did not come.
    pub(super) fn into_passes(self) -> Vec<Pass> {
        self.passes
    }

    fn push(&mut self, seen: Observation) {
        self.queue.push_back(Out::Seen(Box::new(seen)));
    }

    fn hear(&mut self, heard: Heard, replayed: bool) {
        if let Some(what) = self.track.hear(&heard, self.podman) {
            let event = track::event(heard, what, self.watched.client.endpoint(), replayed);
            self.push(Observation::ContainerEvent(event));
        }
    }

    fn look(&mut self, id: Arc<str>) {
        self.looks.begins(id.clone(), Instant::now());
        let client = self.watched.client.clone();
        self.asked.spawn(async move {
            let found = client.inspect(&id).await.map(Box::new);
            Answered::Container(id, found)
        });
    }

    /// A look could not be made: it is made again.
    fn put_off(&mut self, id: Arc<str>, why: &str) {
        if let Some(times) = self.track.put_off(&id) {
            if times >= MISSED {
                self.refusals.unanswered(self.watched.engine(), &id, why);
            }
            self.looks.put_off(id, times, Instant::now());
        }
    }

    /// Asks whether it is an engine that has come up since it was last asked.
    fn compare(&mut self) {
        let openings = self.watched.engines.openings();
        if self.apart != Some(openings) && !std::mem::replace(&mut self.comparing, true) {
            let (client, engines) = (self.watched.client.clone(), self.watched.engines.clone());
            self.asked.spawn(async move {
                Answered::Apart(openings, twin::look(&client, &engines).await)
            });
        }
    }

    fn ping(&mut self) {
        if !std::mem::replace(&mut self.pinging, true) {
            let client = self.watched.client.clone();
            self.asked.spawn(async move { Answered::Ping(client.ping().await) });
        }
    }

    fn list(&mut self) {
        self.list_again = false;
        self.unread = None;
        self.asked_for_list = Instant::now();
        self.track.list_begins();
        let client = self.watched.client.clone();
        self.asked.spawn(async move { Answered::List(client.list().await) });
    }

    fn sample(&mut self) {
        let running = self.track.running();
        if running.is_empty() {
            return;
        }
        if let Some(mut sampler) = self.sampler.take() {
            self.asked.spawn(async move {
                let seen = sampler.sample(running).await;
                Answered::Usage(sampler, seen)
            });
        }
    }

    /// All of a list have been looked at, or it was tried. An engine that shows none of what it has
    /// cannot be watched.
    fn refusals(&mut self) -> Result<(), End> {
        let engine = &**self.watched.engine();
        match (self.refused.take(), self.track.hidden()) {
            (Some(error), (_, true)) => return Err(End::Away(error)),
            (Some(error), _) => _ = self.refusals.refused(engine, What::Looks, &error),
            (None, _) => {}
        }
        if self.refusals.has(What::Answers) && !self.track.misses_some() {
            self.refusals.allowed(engine, What::Answers);
        }
        if let Some(sampler) = &mut self.sampler {
            sampler.try_again();
        }
        Ok(())
    }

    fn listed(&mut self, ids: Vec<Arc<str>>) {
        let engine = self.watched.engine().clone();
        let Info { cpus, memory, .. } = self.info;
        self.push(Observation::Containers(ContainersSeen { engine, ids, cpus, memory }));
        // Who asked for a list after this one was begun waits for the next. One look is over with
        // what it found in use.
        if !self.list_again && !self.watched.context.once {
            let passes = std::mem::take(&mut self.passes);
            self.queue.push_back(Out::Done(passes));
        }
    }

    fn answered(&mut self, answered: Answered) -> Result<(), End> {
        match answered {
            Answered::Container(id, found) => {
                self.looks.ends(&id);
                if !matches!(found, Err(DockerError::Hangs { .. })) {
                    self.alive = Instant::now();
                }
                match found {
                    Ok(found) => self.found(id, *found),
                    Err(DockerError::NotFound { .. }) => self.track.forget(&id),
                    // An engine can hang for one container and serve all others: whether it is the
                    // engine itself, a ping tells.
                    Err(error @ DockerError::Hangs { .. }) => {
                        tracing::debug!(container = &*id, %error, "a container cannot be looked at");
                        self.track.missed(&id);
                        self.put_off(id, &error.to_string());
                        self.ping();
                    }
                    Err(error @ DockerError::Forbidden { .. }) => {
                        // Whether others may be looked at, a list tells.
                        self.list_again |= self.track.refused(&id) && !self.track.is_listing();
                        // Which may be refused is said of all at once.
                        if let Some(times) = self.track.put_off(&id) {
                            self.looks.put_off(id, times, Instant::now());
                        }
                        self.refused = Some(error);
                    }
                    Err(error) if error.away() => return Err(End::Away(error)),
                    Err(error) => {
                        tracing::debug!(container = &*id, %error, "a container cannot be looked at");
                        self.track.missed(&id);
                        self.put_off(id, &error.to_string());
                    }
                }
            }
            Answered::List(ids) => {
                self.track.listed(ids?);
                self.alive = Instant::now();
            }
            Answered::Ping(answer) => {
                answer?;
                self.pinging = false;
                self.alive = Instant::now();
            }
            Answered::Apart(openings, told) => {
                self.comparing = false;
                match told {
                    Ok(true) => self.apart = Some(openings),
                    Ok(false) => {}
                    Err(error @ DockerError::Twin { .. }) => return Err(End::Away(error)),
                    Err(error) => tracing::debug!(%error, "it is not known whether it is another"),
                }
            }
            Answered::Usage(mut sampler, mut seen) => {
                let engine = &**self.watched.engine();
                match sampler.verdict() {
                    Some(Err(error)) => _ = self.refusals.refused(engine, What::Usage, &error),
                    Some(Ok(())) => _ = self.refusals.allowed(engine, What::Usage),
                    None => {}
                }
                self.sampler = Some(sampler);
                for one in seen.iter_mut().filter(|one| self.track.shares_network(&one.id)) {
                    (one.received, one.sent) = (None, None);
                }
                if !seen.is_empty() {
                    self.push(Observation::ContainerUsage(seen));
                }
            }
        }
        Ok(())
    }

    fn found(&mut self, id: Arc<str>, found: Inspected) {
        self.track.network(&id, found.shares_network());
        let Some(mut seen) = found.seen(self.watched.client.endpoint(), redact) else {
            tracing::debug!(container = &*id, "what is said of a container cannot be used");
            self.track.missed(&id);
            return self.put_off(id, "what the engine says of it cannot be used");
        };
        seen.silent_stops = self.podman;
        seen.command = self.watched.client.endpoint().command(self.podman).into();
        match self.track.looked(&id, Some(&seen)) {
            Look::Stale => return,
            Look::Unsure => self.unsure.push_back((Instant::now() + AGAIN, id)),
            Look::Fresh => {}
        }
        if self.refusals.has(What::Answers) && !self.track.misses_some() {
            self.refusals.allowed(self.watched.engine(), What::Answers);
        }
        if self.refusals.has(What::Looks) && self.track.hidden().0 == 0 {
            self.refusals.allowed(self.watched.engine(), What::Looks);
        }
        self.push(Observation::Container(Box::new(seen)));
    }
}

/// The first of them when its time has come.
async fn due(waiting: &VecDeque<(Instant, Arc<str>)>) -> Arc<str> {
    match waiting.front() {
        Some((at, id)) => {
            time::sleep_until(*at).await;
            id.clone()
        }
        None => std::future::pending().await,
    }
}

/// Until then; for ever where there is no such time.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The next event; never where there are none.
async fn next(events: &mut Option<Events>) -> Result<Option<Heard>, DockerError> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

/// Ticks, the first of which is after one period.
fn ticks(period: time::Duration) -> time::Interval {
    let mut ticks = time::interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
