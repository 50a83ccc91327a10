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

use super::track::{self, Look, Track};
use super::usage::Sampler;
use super::{Pass, Settings, host};

/// Looks at containers at a time.
const LOOKS: usize = 8;

/// A container that has been made is looked at once more after this.
const AGAIN: time::Duration = time::Duration::from_secs(3);

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
    info: Info,
    past: Vec<Heard>,
    /// When that was, by the engine's clock.
    now: Option<Wall>,
    /// `None` when it is looked at once.
    events: Option<Events>,
    ids: Vec<String>,
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
    let mut info = match client.info().await {
        Ok(info) => info,
        // A proxy need not allow it.
        Err(DockerError::Forbidden { .. }) => Info::default(),
        Err(error) => return Err(error),
    };
    if info.cpus == 0 || info.memory == 0 {
        host::complete(&mut info, &client.endpoint().address, &settings.root);
    }
    let now = info.time.or(peer.time);
    let (mut past, mut events) = (Vec::new(), None);
    if !once {
        match (engines.heard(name), now) {
            (Some(since), Some(now)) if since <= now => {
                past = client.past(since.max(now.before(settings.past)), now).await?;
            }
            // The first time; or its clock was set back, and an engine refuses to be asked for what
            // is to come.
            (_, Some(now)) => engines.hear_from(name, now),
            (_, None) => {}
        }
        events = Some(client.events(now).await?);
    }
    let ids = client.list().await?;
    Ok(Opened {
        version: peer.version,
        podman: peer.podman,
        info,
        past,
        now,
        events,
        ids,
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
    Usage(Box<Sampler>, Vec<UsageSeen>),
}

/// A session.
pub(super) struct Session<'a> {
    client: Arc<Client>,
    engines: &'a Engines,
    context: &'a SourceContext,
    settings: &'a Settings,
    podman: bool,
    info: Info,
    track: Track,
    queue: VecDeque<Out>,
    asked: JoinSet<Answered>,
    looks: usize,
    /// To be looked at once more, and when.
    unsure: VecDeque<(Instant, Arc<str>)>,
    /// Something was missed while a list was under way: another is needed.
    list_again: bool,
    pinging: bool,
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
        opened: &mut Opened,
        passes: Vec<Pass>,
    ) -> Self {
        let sampler = Sampler::new(client.clone(), settings.root.clone());
        let mut session = Self {
            client,
            engines,
            context,
            settings,
            podman: opened.podman,
            info: opened.info,
            track: Track::default(),
            queue: VecDeque::new(),
            asked: JoinSet::new(),
            looks: 0,
            unsure: VecDeque::new(),
            list_again: false,
            pinging: false,
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
            while self.looks < LOOKS
                && let Some(id) = self.track.next()
            {
                self.look(id);
            }
            if let Some(ids) = self.track.complete() {
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
                _ = samplings.tick(), if !once => self.sample(),
                _ = lists.tick(), if !once => self.list_again = true,
                id = due(&self.unsure), if !once => {
                    self.unsure.pop_front();
                    self.track.look_again(id);
                }
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
        self.looks += 1;
        let client = self.client.clone();
        self.asked.spawn(async move {
            let found = client.inspect(&id).await.map(Box::new);
            Answered::Container(id, found)
        });
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
                self.looks -= 1;
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
                        self.ping();
                    }
                    Err(error) if error.away() => return Err(End::Away(error)),
                    Err(error) => {
                        tracing::debug!(container = &*id, %error, "a container cannot be looked at");
                        self.track.missed(&id);
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
            Answered::Usage(sampler, seen) => {
                self.sampler = Some(sampler);
                if !seen.is_empty() {
                    self.push(Observation::ContainerUsage(seen));
                }
            }
        }
        Ok(())
    }

    fn found(&mut self, id: Arc<str>, found: Inspected) {
        let Some(mut seen) = found.seen(self.client.endpoint(), redact) else {
            tracing::debug!(container = &*id, "what is said of a container cannot be used");
            return self.track.missed(&id);
        };
        seen.silent_stops = self.podman;
        match self.track.looked(&id, Some(&seen)) {
            Look::Stale => return,
            Look::Unsure => self.unsure.push_back((Instant::now() + AGAIN, id)),
            Look::Fresh => {}
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
