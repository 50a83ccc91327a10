//! Containers of Docker and Podman: each engine by its stream of events, by a look at each container
//! that something happened to, and by a list from time to time. What they use is sampled.
//!
//! This file holds the source that looks for engines and puts them together; an engine's own
//! course is in `watcher`, `opening` and `session`.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{self, Instant, MissedTickBehavior};

use crate::config::Containers;
use crate::docker::{Client, Endpoint, Engines};
use crate::engine::Observation;
use crate::engine::observation::{Round, SourceKind};

use super::{Closed, Running, Source, SourceContext, SourceError};

mod cgroup;
mod find;
mod host;
mod looks;
mod opening;
mod refusals;
mod session;
mod track;
mod twin;
mod usage;
mod watcher;

pub use find::{Found, Places, engines};

use watcher::{Missed, Watcher};

/// Who looks only once waits so long for all engines: one that hangs has been found out by then.
const ONCE: Duration = Duration::from_secs(30);

/// Held by an engine that is to list its containers; all are dropped when all have done so.
type Pass = mpsc::Sender<Infallible>;

/// Which engines are watched, and how.
#[derive(Debug, Clone)]
pub struct ContainersWatch {
    /// What the configuration says of them.
    pub config: Containers,
    /// Where they are looked for.
    pub places: Places,
    /// Somebody counts on containers (a rule, a hook): an engine that is away is missed.
    pub wanted: bool,
    /// How they are watched.
    pub settings: Settings,
}

/// How engines are watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Between two samplings of what containers use, and two looks for engines that have appeared.
    pub interval: Duration,
    /// Where `/proc` and `/sys` are; `/` except in tests.
    pub root: PathBuf,
    /// Between two lists.
    pub relist: Duration,
    /// A look at all engines is over after this, whatever hangs.
    pub round: Duration,
    /// An engine of which nothing was heard for so long is asked whether it lives.
    pub quiet: Duration,
    /// An engine that worked may be away for so long before that is told: its restart is over in
    /// less.
    pub patience: Duration,
    /// An engine that nothing names, and whose socket has been missing for so long, was removed.
    pub removed: Duration,
    /// How far back events are asked for after a break.
    pub past: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30),
            root: "/".into(),
            relist: Duration::from_secs(300),
            round: Duration::from_secs(5),
            quiet: Duration::from_secs(30),
            patience: Duration::from_secs(10),
            removed: Duration::from_secs(24 * 3600),
            past: Duration::from_secs(24 * 3600),
        }
    }
}

/// One engine that is watched, and how.
struct Watched {
    client: Arc<Client>,
    engines: Engines,
    context: SourceContext,
    settings: Settings,
}

impl Watched {
    /// Its name.
    fn engine(&self) -> &Arc<str> {
        &self.client.endpoint().name
    }
}

/// Watches the containers of all engines.
pub struct ContainersSource {
    watch: ContainersWatch,
    engines: Engines,
}

impl ContainersSource {
    /// Asks nothing yet. Engines that are found go into `engines`.
    pub fn new(watch: ContainersWatch, engines: Engines) -> Self {
        Self { watch, engines }
    }

    async fn watch(&mut self, context: SourceContext) -> Result<(), SourceError> {
        self.engines.clear();
        let mut all = All {
            watch: &self.watch,
            engines: &self.engines,
            endpoints: Vec::new(),
            said: false,
            asks: Vec::new(),
            tasks: JoinSet::new(),
        };
        let mut ticks = time::interval(self.watch.settings.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        // The round that is under way: its passes, and when it is over in any case.
        let (pass, mut passes) = mpsc::channel(1);
        let all_found = all.find(&context, &pass).await;
        drop(pass);
        if all_found.is_err() {
            return Ok(());
        }
        let limit = if context.once { ONCE } else { self.watch.settings.round };
        let mut round = Some(Instant::now() + limit);
        loop {
            let resync = context.resync.notified();
            tokio::pin!(resync);
            resync.as_mut().enable();
            let over = async {
                match round {
                    Some(limit) => time::timeout_at(limit, passes.recv()).await.is_ok(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                in_time = over => {
                    if !in_time {
                        tracing::debug!("a container engine takes long to list its containers");
                    }
                    round = None;
                    let seen = Round { source: SourceKind::Containers, total: None };
                    if context.send(Observation::Round(seen)).await.is_err() || context.once {
                        return Ok(());
                    }
                }
                Some(ended) = all.tasks.join_next() => match ended {
                    // The driver is gone; or it was looked at once.
                    Ok(Err(Closed)) => return Ok(()),
                    Ok(Ok(())) => {}
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
                () = resync => {
                    let (pass, new) = mpsc::channel(1);
                    passes = new;
                    for ask in &all.asks {
                        let _ = ask.send(pass.clone());
                    }
                    if all.find(&context, &pass).await.is_err() {
                        return Ok(());
                    }
                    round = Some(Instant::now() + limit);
                }
                _ = ticks.tick() => {
                    // Nobody waits for those that have appeared.
                    if all.find(&context, &mpsc::channel(1).0).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// All engines that are watched.
struct All<'a> {
    watch: &'a ContainersWatch,
    engines: &'a Engines,
    endpoints: Vec<Endpoint>,
    /// It has been said which there are.
    said: bool,
    asks: Vec<mpsc::UnboundedSender<Pass>>,
    tasks: JoinSet<Result<(), Closed>>,
}

impl All<'_> {
    /// Begins to watch engines that are not watched yet, and says which are watched if that has
    /// changed, and at the first time.
    async fn find(&mut self, context: &SourceContext, pass: &Pass) -> Result<(), Closed> {
        let ContainersWatch { config, places, wanted, .. } = self.watch;
        let mut new = Vec::new();
        for found in find::missed(config, places, &self.engines.known(), *wanted) {
            if self.endpoints.iter().any(|known| known.address == found.address) {
                continue;
            }
            let endpoint = find::endpoint(&found, &self.endpoints);
            self.endpoints.push(endpoint.clone());
            new.push((found, endpoint));
        }
        if !self.said || !new.is_empty() {
            self.said = true;
            let names = self.endpoints.iter().map(|endpoint| endpoint.name.clone()).collect();
            context.send(Observation::Engines(names)).await?;
        }
        for (found, endpoint) in new {
            let (ask, asks) = mpsc::unbounded_channel();
            self.asks.push(ask);
            // One that only was there before may be gone for good.
            let named = *wanted || find::names(config, places, &found.address);
            let watcher = Watcher::new(
                Watched {
                    client: self.engines.add(endpoint),
                    engines: self.engines.clone(),
                    context: context.clone(),
                    settings: self.watch.settings.clone(),
                },
                Missed { now: found.said || *wanted, always: named },
                asks,
                pass.clone(),
            );
            self.tasks.spawn(watcher.run());
        }
        Ok(())
    }
}

impl Source for ContainersSource {
    fn kind(&self) -> SourceKind {
        SourceKind::Containers
    }

    fn run(&mut self, context: SourceContext) -> Running<'_> {
        let stop = context.stop.clone();
        Box::pin(async move {
            tokio::select! {
                () = stop.cancelled() => Ok(()),
                ended = self.watch(context) => ended,
            }
        })
    }
}
