//! One connection to one container engine, from its first answer to its loss: events as they
//! happen, a look at each container that something happened to, lists, samplings, and a ping when
//! nothing has been heard for a while.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::{self, Instant, MissedTickBehavior};

use crate::docker::{Client, DockerError, Engines, Events, Heard, Info, Inspected};
use crate::engine::observation::{
    ContainersSeen, EngineAway, Part, PartSeen, PartState, UsageSeen,
};
use crate::engine::{Observation, Wall};
use crate::sources::SourceContext;
use crate::systemd::redact::redact;

use super::looks::Looks;
use super::refusals::{Refusals, What};
use super::track::{self, Look, Track};
use super::usage::Sampler;
use super::{Pass, Settings, host, twin};

/// A container of which not all may have been written down is looked at once more after this.
const AGAIN: time::Duration = time::Duration::from_secs(3);

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

/// What an engine said of itself when it was first asked, and what has happened since.
pub(super) struct Opened {
    pub(super) version: String,
    podman: bool,
    tells_health: bool,
    info: Info,
    /// Why not all is known of its host.
    unsaid: Option<DockerError>,
    past: Vec<Heard>,
    /// When that was, by the engine's clock.
    now: Option<Wall>,
    /// `None` when it is looked at once.
    events: Option<Events>,
    ids: Vec<String>,
    /// It is no other engine, as of so many openings of engines.
    apart: Option<u64>,
    /// The time before, in which it took no requests.
    away: Option<EngineAway>,
}

/// Asks for all that a session begins with. Events are subscribed to before containers are listed,
/// so that nothing is lost between.
pub(super) async fn open(
    client: &Client,
    engines: &Engines,
    settings: &Settings,
    once: bool,
) -> Result<Opened, DockerError> {
    let name = &client.endpoint().name;
    let peer = client.greet().await?;
    let (mut info, mut unsaid) = match client.info().await {
        Ok(info) => (info, None),
        // A proxy need not allow it.
        Err(error @ DockerError::Forbidden { .. }) => (Info::default(), Some(error)),
        Err(error) => return Err(error),
    };
    if info.cpus == 0 || info.memory == 0 {
        host::complete(&mut info, &client.endpoint().address, &settings.root);
    }
    unsaid = unsaid.filter(|_| info.cpus == 0 || info.memory == 0);
    let openings = engines.openings();
    let apart = twin::look(client, engines).await?.then_some(openings);
    let now = info.time.or(peer.time);
    let (mut past, mut events) = (Vec::new(), None);
    let (mut asked, mut hangs) = (false, false);
    if !once {
        match (engines.heard(name), now) {
            (Some(since), Some(now)) if since <= now => {
                asked = true;
                match client.past(since.max(now.before(settings.past)), now).await {
                    Ok(all) => past = all,
                    // It would hang again the next time: what has come of its containers, looks tell.
                    Err(DockerError::Hangs { .. }) => hangs = true,
                    Err(error) => return Err(error),
                }
            }
            // The first time; or its clock was set back, and an engine refuses to be asked for what
            // is to come.
            (_, Some(now)) => engines.hear_from(name, now),
            (_, None) => {}
        }
        events = Some(client.events(now).await?);
        if peer.podman && !asked {
            client.may_hear(now).await?;
        }
    }
    let ids = client.list().await?;
    client.may_look(&ids).await?;
    if let Some(now) = now.filter(|_| hangs) {
        engines.hear_from(name, now);
        tracing::warn!(
            engine = &**name,
            "what happened before now takes the engine too long to tell; it is taken from how its \
             containers are"
        );
    }
    Ok(Opened {
        tells_health: peer.tells_health(),
        version: peer.version,
        podman: peer.podman,
        info,
        unsaid,
        past,
        now,
        events,
        ids,
        apart,
        away: None,
    })
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
    client: Arc<Client>,
    engines: &'a Engines,
    context: &'a SourceContext,
    settings: &'a Settings,
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
    pub(super) fn new(
        client: Arc<Client>,
        engines: &'a Engines,
        context: &'a SourceContext,
        settings: &'a Settings,
        refusals: &'a mut Refusals,
        opened: &mut Opened,
        passes: Vec<Pass>,
    ) -> Self {
        let sampler = Sampler::new(client.clone(), settings.root.clone());
        let engine = &*client.endpoint().name;
        match &opened.unsaid {
            Some(error) => refusals.refused(engine, What::Host, error),
            None => refusals.allowed(engine, What::Host),
        };
        let mut session = Self {
            client,
            engines,
            context,
            settings,
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
            pinging: false,
            apart: opened.apart,
            comparing: false,
            sampler: Some(Box::new(sampler)),
            passes,
            alive: Instant::now(),
        };
        let part = Part::Engine(session.client.endpoint().name.clone());
        session.push(Observation::Part(PartSeen { part, state: PartState::Works }));
        if let Some(away) = opened.away.take() {
            session.push(Observation::EngineAway(away));
        }
        for heard in std::mem::take(&mut opened.past) {
            session.hear(heard, true);
        }
        session.track.listed(std::mem::take(&mut opened.ids));
        session
    }

    /// Until the engine is lost; with no events, until all has been told once.
    pub(super) async fn run(
        &mut self,
        mut events: Option<Events>,
        asks: &mut tokio::sync::mpsc::UnboundedReceiver<Pass>,
    ) -> Result<(), End> {
        let once = events.is_none();
        let mut samplings = ticks(self.settings.interval);
        let mut lists = ticks(self.settings.relist);
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
                    engine = &*self.client.endpoint().name,
                    waiting = self.queue.len(),
                    "the driver is too far behind; containers are read afresh when it has caught up"
                );
                // There is room again when it has.
                self.queue.clear();
                drop(self.context.out.reserve().await.map_err(|_| End::Closed)?);
                return Err(End::Behind);
            }
            let quiet = self.alive + self.settings.quiet;
            let room = self.looks.next_room(Instant::now()).filter(|_| self.track.is_due());
            let again = self.looks.next_again();
            tokio::select! {
                biased;
                room = self.context.out.reserve(), if !self.queue.is_empty() => {
                    let room = room.map_err(|_| End::Closed)?;
                    match self.queue.pop_front() {
                        Some(Out::Seen(seen)) => {
                            if let Observation::ContainerEvent(event) = &*seen {
                                self.engines.hear(&event.engine, event.at);
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
                            self.list_again = true;
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
            let event = track::event(heard, what, self.client.endpoint(), replayed);
            self.push(Observation::ContainerEvent(event));
        }
    }

    fn look(&mut self, id: Arc<str>) {
        self.looks.begins(id.clone(), Instant::now());
        let client = self.client.clone();
        self.asked.spawn(async move {
            let found = client.inspect(&id).await.map(Box::new);
            Answered::Container(id, found)
        });
    }

    /// A look could not be made: it is made again.
    fn put_off(&mut self, id: Arc<str>, why: &str) {
        if let Some(times) = self.track.put_off(&id) {
            if times >= MISSED {
                self.refusals.unanswered(&self.client.endpoint().name, &id, why);
            }
            self.looks.put_off(id, times, Instant::now());
        }
    }

    /// Asks whether it is an engine that has come up since it was last asked.
    fn compare(&mut self) {
        let openings = self.engines.openings();
        if self.apart != Some(openings) && !std::mem::replace(&mut self.comparing, true) {
            let (client, engines) = (self.client.clone(), self.engines.clone());
            self.asked.spawn(async move {
                Answered::Apart(openings, twin::look(&client, &engines).await)
            });
        }
    }

    fn ping(&mut self) {
        if !std::mem::replace(&mut self.pinging, true) {
            let client = self.client.clone();
            self.asked.spawn(async move { Answered::Ping(client.ping().await) });
        }
    }

    fn list(&mut self) {
        self.list_again = false;
        self.track.list_begins();
        let client = self.client.clone();
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
        let engine = &*self.client.endpoint().name;
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
        let engine = self.client.endpoint().name.clone();
        let Info { cpus, memory, .. } = self.info;
        self.push(Observation::Containers(ContainersSeen { engine, ids, cpus, memory }));
        // Who asked for a list after this one was begun waits for the next. One look is over with
        // what it found in use.
        if !self.list_again && !self.context.once {
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
                let engine = &*self.client.endpoint().name;
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
        let Some(mut seen) = found.seen(self.client.endpoint(), redact) else {
            tracing::debug!(container = &*id, "what is said of a container cannot be used");
            self.track.missed(&id);
            return self.put_off(id, "what the engine says of it cannot be used");
        };
        seen.silent_stops = self.podman;
        seen.command = self.client.endpoint().command(self.podman).into();
        match self.track.looked(&id, Some(&seen)) {
            Look::Stale => return,
            Look::Unsure => self.unsure.push_back((Instant::now() + AGAIN, id)),
            Look::Fresh => {}
        }
        if self.refusals.has(What::Answers) && !self.track.misses_some() {
            self.refusals.allowed(&self.client.endpoint().name, What::Answers);
        }
        if self.refusals.has(What::Looks) && self.track.hidden().0 == 0 {
            self.refusals.allowed(&self.client.endpoint().name, What::Looks);
        }
        self.push(Observation::Container(Box::new(seen)));
    }
}

impl Opened {
    /// The stream of events, once.
    pub(super) fn take_events(&mut self) -> Option<Events> {
        self.events.take()
    }

    /// It was lost so long ago, and has only now come back.
    pub(super) fn was_away(&mut self, engine: &Arc<str>, lasted: time::Duration) {
        // Podman's containers can be stopped without its service.
        if let Some(to) = self.now.filter(|_| !self.podman) {
            let (engine, from) = (engine.clone(), to.before(lasted));
            self.away = Some(EngineAway { engine, from, to });
        }
    }

    /// How many containers there are.
    pub(super) fn count(&self) -> usize {
        self.ids.len()
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
