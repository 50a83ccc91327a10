//! Container engines: which of them can be reached, and what they have.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::calls::describe;
use super::container::Over;
use super::{Containers, Reach};
use crate::engine::desk::Desk;
use crate::engine::observation::{ContainersSeen, EngineAway, Part, PartState};
use crate::engine::saved::Change;
use crate::engine::timers::Timer;
use crate::engine::words::{CheckId, CheckKind, Reason};

/// When an engine has come back it gets this long to start its containers.
const SETTLE: Duration = Duration::from_secs(10);

impl Containers {
    /// An endpoint has told all that it has.
    pub(in crate::engine) fn listed(&mut self, seen: &ContainersSeen, desk: &mut Desk) {
        let there: BTreeSet<&Arc<str>> = seen.ids.iter().collect();
        let now = desk.now;
        for life in self.aside.gone(&seen.engine, &there, now.boot) {
            self.lives.insert(life.record.container.id.clone(), life);
        }
        let gone: Vec<Arc<str>> = self
            .lives
            .iter()
            .filter(|(id, life)| life.record.container.engine == seen.engine && !there.contains(id))
            .map(|(id, _)| id.clone())
            .collect();
        let endpoint = self.endpoints.entry(seen.engine.clone()).or_default();
        endpoint.reach = Reach::Listed;
        let unknown = |id: &&Arc<str>| !self.lives.contains_key(*id);
        endpoint.unlooked = seen.ids.iter().filter(unknown).cloned().collect();
        endpoint.host = Some((seen.cpus, seen.memory));
        self.marks.entry(seen.engine.clone()).or_insert(now.wall);
        for id in gone {
            if self.left.remove(&id) {
                self.tell(&id, desk);
                self.remove(&id, Over::by(Reason::Removed), desk);
                continue;
            }
            let mut facts = Vec::new();
            if let Some(life) = self.lives.get_mut(&id) {
                life.gone(now.wall, &mut facts);
            }
            self.learn(&id, facts, desk);
        }
        for id in self.of(&seen.engine) {
            if let Some(life) = self.lives.get_mut(&id).filter(|l| l.fresh) {
                describe(life, (seen.cpus, seen.memory), desk.rules.containers.labels);
                self.tell(&id, desk);
            }
            self.consider(&id, desk);
            if let Some(check) = self.check_of(&id) {
                desk.looked_at(&check);
            }
        }
        self.name_unseen(desk);
    }

    /// These are watched, whether they answer or not.
    pub(in crate::engine) fn watched(&mut self, names: &[Arc<str>]) {
        for (name, endpoint) in &mut self.endpoints {
            endpoint.silent &= !names.contains(name);
        }
    }

    /// An endpoint was away for a while.
    pub(in crate::engine) fn away(&mut self, seen: &EngineAway) {
        let endpoint = self.endpoints.entry(seen.engine.clone()).or_default();
        endpoint.away = Some((seen.from, seen.to));
    }

    /// A round of all endpoints is complete: those that nobody watches any more are dropped.
    pub(in crate::engine) fn round(&mut self, desk: &mut Desk) {
        let gone: Vec<Arc<str>> =
            self.endpoints.iter().filter(|(_, e)| e.silent).map(|(n, _)| n.clone()).collect();
        for engine in &gone {
            self.drop_endpoint(engine, desk);
        }
        if !gone.is_empty() {
            self.name_unseen(desk);
        }
    }

    /// How an endpoint is.
    pub(in crate::engine) fn part(
        &mut self,
        engine: &Arc<str>,
        state: &PartState,
        desk: &mut Desk,
    ) {
        let endpoint = self.endpoints.entry(engine.clone()).or_default();
        endpoint.silent = false;
        if *state == PartState::Works {
            if endpoint.reach == Reach::Away {
                endpoint.reach = Reach::Catching;
                // Not one that keepwell has only just found.
                if endpoint.host.is_some() {
                    let at = desk.now.boot.after(SETTLE);
                    endpoint.settled = Some(at);
                    desk.timers.set(Timer::Settle(check_of(engine)), at);
                }
            }
            return;
        }
        endpoint.reach = Reach::Away;
        endpoint.settled = None;
        desk.timers.clear(&Timer::Settle(check_of(engine)));
        for id in self.of(engine) {
            if let Some(life) = self.lives.get_mut(&id) {
                life.fresh = false;
            }
            self.consider(&id, desk);
        }
    }

    /// An endpoint is not there and nobody misses it: one that was known has been removed.
    pub(in crate::engine) fn removed_endpoint(&mut self, engine: &Arc<str>, desk: &mut Desk) {
        if self.marks.contains_key(engine) {
            self.drop_endpoint(engine, desk);
            self.name_unseen(desk);
        }
    }

    /// Nobody watches it any more.
    pub(super) fn drop_endpoint(&mut self, engine: &Arc<str>, desk: &mut Desk) {
        for id in self.of(engine) {
            let Some(life) = self.lives.remove(&id) else { continue };
            self.left.remove(&id);
            if life.kept.is_some() {
                desk.keep(Change::ContainerGone(id.clone()));
            }
            let name = life.record.container.name.clone();
            self.aside.put(life.record, desk.now.boot);
            if self.names.get(&name).is_some_and(|c| c.cid.as_ref() == Some(&id)) {
                self.drop_name(&name, &Over::by(Reason::NoLongerWatched), desk);
            }
        }
        self.endpoints.remove(engine);
        self.marks.remove(engine);
        desk.timers.clear(&Timer::Settle(check_of(engine)));
        desk.drop_check(&check_of(engine), Reason::NoLongerWatched.meaning());
    }
}

/// The check of an endpoint.
pub(super) fn check_of(engine: &Arc<str>) -> CheckId {
    CheckId::new(CheckKind::Agent, Part::Engine(engine.clone()).name())
}
