//! Containers: what their engines tell of them, and what follows.
//!
//! | file | decides |
//! |---|---|
//! | `hear` | which facts follow from what is heard of a container, and to whom they go |
//! | `fact` | what a fact is, and what hooks call it |
//! | `life` | which transitions a container, by its id, has gone through |
//! | `judge` | what its state means |
//! | `treat` | by which rule, and what its labels change |
//! | `container` | verdict, counting and restarts of a container, by its name |
//! | `learn` | what becomes known of a container, by its name: its runs are counted |
//! | `calls` | which hooks are told of a transition |
//! | `usage` | what it uses |
//! | `named` | containers that somebody named and that are not there |
//! | `names` | which container has a name |
//! | `endpoints` | which container engines can be reached |
//! | `aside` | what is known of containers while their engine is left out |
//!
//! Here they are joined.

mod aside;
mod calls;
mod container;
mod endpoints;
mod fact;
mod hear;
mod judge;
mod learn;
mod life;
mod named;
mod names;
mod treat;
mod usage;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::desk::Desk;
use super::event::{Delivery, RestartResult};
use super::heal::Patient;
use super::observation::ContainerLog;
use super::rules::Rules;
use super::saved::{
    Change, ContainerRecord, CountRecord, RestartRecord, Stage, container_of, subject,
};
use super::time::{Boot, Wall};
use super::view::{ContainerView, HookView};
use super::words::{AlertKind, CheckId, CheckKind, Reason};

use aside::Aside;
use calls::{Calls, describe, forget_hooks, prune};
use container::{Container, Over, Sight};
use endpoints::check_of;
use judge::Network;
use life::Life;
use treat::Treat;

/// So many that were removed are remembered at most: a container engine remembers fewer events.
const REMOVED: usize = 500;

/// How an endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Reach {
    /// It does not answer.
    Away,
    /// It answers; what it has is being looked at.
    #[default]
    Catching,
    /// All that it has is known.
    Listed,
}

/// A container engine.
#[derive(Debug, Default)]
struct Endpoint {
    reach: Reach,
    /// Its containers are about to be started until then.
    settled: Option<Boot>,
    /// When it was last away.
    away: Option<(Wall, Wall)>,
    /// Processors and memory of its host.
    host: Option<(u32, u64)>,
    /// What it listed and nothing else is known of, by id.
    unlooked: BTreeSet<Arc<str>>,
    /// Nobody has said since the configuration changed that it is still watched.
    silent: bool,
}

/// All containers.
#[derive(Debug)]
pub(super) struct Containers {
    /// By id.
    lives: BTreeMap<Arc<str>, Life>,
    /// By name.
    names: BTreeMap<Arc<str>, Container>,
    endpoints: BTreeMap<Arc<str>, Endpoint>,
    /// Up to when all that happened at an endpoint is known. One that is missing here is new.
    marks: BTreeMap<Arc<str>, Wall>,
    calls: Calls,
    /// Those that were removed, by id, and what happened then may be told again: where and when.
    removed: BTreeMap<Arc<str>, (Arc<str>, Wall)>,
    /// Patterns that nothing fits, and that are shown as such.
    unmatched: BTreeSet<Arc<str>>,
    aside: Aside,
    /// Those that are gone, were never inspected, and are to be told of once it is known what their
    /// host has.
    left: BTreeSet<Arc<str>>,
}

impl Containers {
    /// From what was saved; `counts` and `restarts` are those of containers.
    pub(super) fn load(
        records: Vec<ContainerRecord>,
        counts: Vec<CountRecord>,
        mut restarts: BTreeMap<Arc<str>, RestartRecord>,
        marks: BTreeMap<Arc<str>, Wall>,
        next_call: u64,
        desk: &mut Desk,
    ) -> Self {
        let mut names: BTreeMap<Arc<str>, Container> = BTreeMap::new();
        for record in counts {
            let Some(name) = container_of(&record.unit).map(Arc::from) else { continue };
            let restart = restarts.remove(&record.unit);
            names.insert(Arc::clone(&name), Container::load(record, &name, restart));
        }
        for (subject, restart) in restarts {
            let Some(name) = container_of(&subject).map(Arc::from) else { continue };
            let counts = CountRecord::new(subject.clone());
            names.insert(Arc::clone(&name), Container::load(counts, &name, Some(restart)));
        }
        let mut lives = BTreeMap::new();
        let mut removed = BTreeMap::new();
        let mut records = records;
        records.sort_by_key(|r| r.seen);
        for record in records {
            let (id, name) = (record.container.id.clone(), record.container.name.clone());
            if record.stage == Stage::Removed {
                removed.insert(id, (record.container.engine, record.seen));
                continue;
            }
            let container = names.entry(name.clone()).or_insert_with(|| Container::new(&name));
            container.cid = Some(id.clone());
            let mut life = Life::load(record);
            life.ran |= container.crashed(&id);
            lives.insert(id, life);
        }
        let mut all = Self {
            lives,
            names,
            endpoints: BTreeMap::new(),
            marks,
            calls: Calls::new(next_call),
            removed,
            unmatched: BTreeSet::new(),
            aside: Aside::default(),
            left: BTreeSet::new(),
        };
        all.lives.values_mut().for_each(|life| forget_hooks(life, desk));
        let orphans: Vec<Arc<str>> = all
            .names
            .iter()
            .filter(|(name, c)| c.cid.is_none() && !named::is_exact(&desk.rules, name))
            .map(|(name, _)| name.clone())
            .collect();
        for name in orphans {
            // Its alerts, if any, end with the first round.
            all.names.remove(&name);
            let subject = subject(&CheckId::new(CheckKind::Container, name));
            desk.keep(Change::RestartGone(subject.clone()));
            desk.keep(Change::CountGone(subject));
        }
        for container in all.names.values_mut() {
            container.rearm(desk);
        }
        all
    }

    /// Up to when all that happened at each endpoint is known and told.
    pub(super) fn marks(&self) -> BTreeMap<Arc<str>, Wall> {
        let mut marks = self.marks.clone();
        for life in self.lives.values() {
            let (Some(first), Some(mark)) =
                (life.untold.first(), marks.get_mut(&life.record.container.engine))
            else {
                continue;
            };
            *mark = (*mark).min(first.at.before(Duration::from_micros(1)));
        }
        marks
    }

    /// Forgets those whose removal will not be told again.
    pub(super) fn sweep(&mut self, desk: &mut Desk) {
        if self.removed.is_empty() {
            return;
        }
        let marks = self.marks();
        self.removed.retain(|id, (engine, at)| {
            let stays = marks.get(engine).is_some_and(|mark| *at > *mark);
            if !stays {
                desk.keep(Change::ContainerGone(id.clone()));
            }
            stays
        });
        // One container that cannot be looked at holds the marks back for as long as that lasts.
        while self.removed.len() > REMOVED
            && let Some(id) = self.removed.iter().min_by_key(|(_, (_, at))| *at).map(|(id, _)| id)
        {
            let id = id.clone();
            desk.keep(Change::ContainerGone(id.clone()));
            self.removed.remove(&id);
        }
    }

    pub(super) fn next_call(&self) -> u64 {
        self.calls.next
    }

    pub(super) fn hooks(&self, rules: &Rules) -> Vec<HookView> {
        self.calls.shown(rules)
    }

    /// A time has come for which a container, or a whole endpoint, was to settle.
    pub(super) fn settled(&mut self, check: &CheckId, desk: &mut Desk) {
        if check.kind == CheckKind::Container {
            match self.names.get_mut(&check.name) {
                Some(container) if container.cid.is_some() => container.consider(desk),
                Some(container) => {
                    let over = container.over.take();
                    let over = over.unwrap_or_else(|| Over::by(Reason::Removed));
                    self.drop_name(&check.name, &over, desk);
                }
                None => {}
            }
            return;
        }
        let engine = self.endpoints.keys().find(|engine| check_of(engine) == *check).cloned();
        let Some(engine) = engine else { return };
        if let Some(endpoint) = self.endpoints.get_mut(&engine) {
            endpoint.settled = None;
        }
        for id in self.of(&engine) {
            self.consider(&id, desk);
            if let Some(container) = self.current(&id) {
                container.replan(desk);
            }
        }
    }

    /// The rules have changed.
    pub(super) fn reload(&mut self, desk: &mut Desk) {
        self.calls.forget(&desk.rules);
        self.lives.values_mut().for_each(|life| forget_hooks(life, desk));
        for record in self.aside.records() {
            prune(record, &desk.rules.hooks);
        }
        let engines: Vec<Arc<str>> = self.endpoints.keys().cloned().collect();
        for engine in engines {
            if desk.rules.containers.off {
                self.drop_endpoint(&engine, desk);
            } else if let Some(endpoint) = self.endpoints.get_mut(&engine) {
                endpoint.silent = true;
            }
        }
        let ids: Vec<Arc<str>> = self.lives.keys().cloned().collect();
        for id in ids {
            let Some(life) = self.lives.get_mut(&id) else { continue };
            let (Some(seen), name) = (life.seen.clone(), life.record.container.name.clone()) else {
                continue;
            };
            let host = self.endpoints.get(&seen.engine).and_then(|e| e.host);
            describe(life, host.unwrap_or_default(), desk.rules.containers.labels);
            if host.is_some() {
                self.tell(&id, desk);
            }
            let Some(container) = self.names.get_mut(&name) else { continue };
            if container.cid.as_ref() != Some(&id) {
                continue;
            }
            let treat = Treat::of(&desk.rules.containers, &seen);
            if !treat.watched && container.treat.as_ref().is_some_and(|t| t.watched) {
                container.forget(&Over::by(Reason::NoLongerWatched), desk);
                *container = Container::new(&name);
                container.cid = Some(id.clone());
            }
            container.treated(treat, desk);
            self.consider(&id, desk);
            if let Some(container) = self.current(&id) {
                container.replan(desk);
                if container.chart.lives.record.window.back().is_some() {
                    container.too_often(desk);
                }
                desk.touch(&container.chart.id);
            }
        }
        self.name_unseen(desk);
    }

    /// The container log that was asked for.
    pub(super) fn log(&mut self, log: ContainerLog, desk: &mut Desk) {
        if let Some(container) = self.names.get(&log.name) {
            desk.lines(container.id(), AlertKind::State, log.lines);
        }
    }

    pub(super) fn restarted(&mut self, name: &str, result: RestartResult, desk: &mut Desk) {
        if let Some(container) = self.names.get_mut(name) {
            container.outcome(result, desk);
        }
    }

    pub(super) fn called(
        &mut self,
        hook: Arc<str>,
        result: &Delivery,
        waiting: usize,
        desk: &mut Desk,
    ) {
        if desk.rules.hooks.iter().any(|h| h.name == hook) {
            self.calls.outcome(hook, result, waiting, desk.now.wall);
            desk.out.dirty = true;
        }
    }

    /// What may be restarted under this name.
    pub(super) fn patient(&mut self, name: &str) -> Option<&mut dyn Patient> {
        self.names.get_mut(name).map(|c| c as &mut dyn Patient)
    }

    /// An alert of a container's state has opened after some patience.
    pub(super) fn opened_late(&mut self, name: &str, desk: &mut Desk) {
        if let Some(container) = self.names.get_mut(name) {
            container.opened_late(desk);
        }
    }

    /// Alerts of containers are about to be told: adds what is known of each container by now.
    pub(super) fn describe_alerts(&self, desk: &mut Desk) {
        for key in desk.book.of_containers() {
            let facts = self.names.get(&key.check.name).and_then(Container::facts);
            if let Some(facts) = facts {
                desk.with_book(|book, pen| book.describe(&key, facts, pen));
            }
        }
    }

    pub(super) fn replan_all(&mut self, desk: &mut Desk) {
        for container in self.names.values_mut() {
            container.replan(desk);
        }
    }

    /// Whether a container has this name.
    pub(super) fn has(&self, check: &CheckId) -> bool {
        self.names.contains_key(&check.name)
    }

    /// Whether nobody knows how the container of an alert is now.
    pub(super) fn is_unknown(&self, check: &CheckId, kind: AlertKind) -> bool {
        let Some(container) = self.names.get(&check.name) else { return false };
        let Some(life) = container.cid.as_ref().and_then(|id| self.lives.get(id)) else {
            return container.over.is_some(); // It may be made anew in a moment.
        };
        // What it uses is sampled later.
        let measured = matches!(kind, AlertKind::Memory | AlertKind::Cpu) && life.is_up();
        measured || !life.fresh
    }

    /// For surfaces.
    pub(super) fn view(&self, name: &str, now: Wall) -> Option<Box<ContainerView>> {
        let container = self.names.get(name)?;
        let life = container.cid.as_ref().and_then(|id| self.lives.get(id));
        let engine = life.and_then(|l| self.endpoints.get(&l.record.container.engine));
        container.view(life, engine.and_then(|e| e.host).unwrap_or_default(), now)
    }

    fn of(&self, engine: &str) -> Vec<Arc<str>> {
        let lives = self.lives.iter();
        lives
            .filter(|(_, life)| *life.record.container.engine == *engine)
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// The container of this id, if it has its name.
    fn current(&mut self, id: &Arc<str>) -> Option<&mut Container> {
        let name = &self.lives.get(id)?.record.container.name;
        self.names.get_mut(name).filter(|c| c.cid.as_ref() == Some(id))
    }

    fn check_of(&mut self, id: &Arc<str>) -> Option<CheckId> {
        self.current(id).map(|c| c.id().clone())
    }

    /// Judges the container of this id, if it has its name.
    fn consider(&mut self, id: &Arc<str>, desk: &mut Desk) {
        let Some(life) = self.lives.get(id) else { return };
        let Some(seen) = life.seen.clone() else { return };
        let endpoint = self.endpoints.get(&life.record.container.engine);
        let sight = Sight {
            stage: life.record.stage,
            finished: life.record.finished,
            memory: life.memory,
            swept: life.record.swept,
            ran: life.ran || life.record.swept,
            network: self.network(life),
            blind: !life.fresh || endpoint.is_some_and(|e| e.reach == Reach::Away),
            settling: endpoint.is_some_and(|e| e.settled.is_some()),
            guessed: life.guessed,
            seen,
        };
        if let Some(container) = self.current(id) {
            container.sight = Some(sight);
            desk.touch(container.id());
            container.consider(desk);
            self.unused(id, desk);
        }
    }

    /// Judges those that share the network of this one.
    fn consider_sharers(&mut self, id: &Arc<str>, desk: &mut Desk) {
        let shares =
            |life: &Life| life.seen.as_ref().is_some_and(|s| s.network_of.as_ref() == Some(id));
        let sharers: Vec<Arc<str>> =
            self.lives.iter().filter(|(_, l)| shares(l)).map(|(id, _)| id.clone()).collect();
        for id in sharers {
            self.consider(&id, desk);
        }
    }

    /// How the network is that a container shares.
    fn network(&self, life: &Life) -> Network {
        let Some(of) = life.seen.as_ref().and_then(|s| s.network_of.as_ref()) else {
            return Network::Fine;
        };
        let endpoint = self.endpoints.get(&life.record.container.engine);
        match self.lives.get(of) {
            None if endpoint.is_some_and(|e| e.reach == Reach::Listed) => Network::Gone,
            Some(other) if !matches!(other.record.stage, Stage::Running | Stage::Paused) => {
                Network::Down
            }
            Some(other)
                if other.record.stage == Stage::Running
                    && life.record.stage == Stage::Running
                    && other.record.started > life.record.started =>
            {
                Network::Lost
            }
            _ => Network::Fine,
        }
    }
}
