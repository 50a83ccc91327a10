//! What is heard of containers: events and inspections become facts, each of which is counted, told
//! to hooks, and kept.

use std::sync::Arc;
use std::time::Duration;

use super::calls::{Calls, describe};
use super::container::Over;
use super::fact::{Around, Fact, What};
use super::life::Life;
use super::treat::Treat;
use super::{Containers, REMOVED};
use crate::engine::desk::Desk;
use crate::engine::heal::Patient;
use crate::engine::observation::{ContainerEvent, ContainerSeen, ContainerWhat};
use crate::engine::saved::Change;
use crate::engine::time::Wall;
use crate::engine::timers::Timer;
use crate::engine::words::{CheckId, CheckKind, Reason};

/// A look that has not come this long after what events told is no longer waited for.
const LOOK: Duration = Duration::from_secs(20);

impl Containers {
    /// Something happened to a container.
    pub(in crate::engine) fn event(&mut self, event: &ContainerEvent, desk: &mut Desk) {
        let Some(mark) = self.marks.get(&event.engine).copied() else {
            return; // An engine that is new: what it has is inspected in a moment.
        };
        let id = &event.id;
        if self.removed.contains_key(id) || self.left.contains(id) {
            return;
        }
        if event.what == ContainerWhat::Removed {
            self.looked_at(&event.engine, id, desk);
        }
        let mut facts = Vec::new();
        if !self.lives.contains_key(id) {
            if event.what == ContainerWhat::Removed || event.replayed && event.at <= mark {
                return; // It has come and gone, and was told of.
            }
            let mut life = Life::new(&event.name, &event.engine, id, &event.image);
            life.record.seen = event.at;
            self.lives.insert(id.clone(), life);
            self.claim(&event.name, id, desk);
            facts.push(Fact { at: event.at, what: What::Created });
        }
        let old = self.lives.get(id).is_some_and(|life| event.at < life.record.seen);
        if !old {
            self.rename(id, &event.name, desk);
        }
        let Some(life) = self.lives.get_mut(id) else { return };
        if life.record.container.labels.is_empty() {
            life.record.container.labels = event.labels.clone();
        }
        let container = self.names.get(&life.record.container.name);
        let container = container.filter(|c| c.cid.as_ref() == Some(id));
        let around = Around {
            ours: &|at| container.is_some_and(|c| c.ours(at)),
            away: self.endpoints.get(&event.engine).and_then(|e| e.away),
        };
        facts.extend(life.event(event, &around));
        self.marks.insert(event.engine.clone(), mark.max(event.at));
        self.learn(id, facts, desk);
        self.consider(id, desk);
        if let Some(check) = self.check_of(id) {
            let timer = Timer::Look(check);
            if self.lives.get(id).is_some_and(Life::is_behind) {
                desk.timers.set(timer, desk.now.boot.after(LOOK));
            } else {
                desk.timers.clear(&timer);
            }
        }
    }

    /// A container has been inspected.
    pub(in crate::engine) fn inspected(&mut self, seen: ContainerSeen, desk: &mut Desk) {
        let seen = Arc::new(seen);
        let id = &seen.id;
        if self.removed.contains_key(id) || self.left.contains(id) {
            return;
        }
        let mut facts = Vec::new();
        if !self.lives.contains_key(id) {
            let life = if let Some(life) = self.aside.take(&seen, desk.now.boot) {
                life
            } else if self.marks.contains_key(&seen.engine) {
                facts.push(Fact { at: seen.created, what: What::Created });
                Life::new(&seen.name, &seen.engine, id, &seen.image)
            } else {
                Life::found(&seen)
            };
            self.lives.insert(id.clone(), life);
            self.claim(&seen.name, id, desk);
        }
        self.rename(id, &seen.name, desk);
        let endpoint = self.endpoints.get(&seen.engine);
        let (host, away) = (endpoint.and_then(|e| e.host), endpoint.and_then(|e| e.away));
        let Some(life) = self.lives.get_mut(id) else { return };
        let mut container = self.names.get_mut(&seen.name);
        container = container.filter(|c| c.cid.as_ref() == Some(id));
        let ours = |at: Wall| container.as_ref().is_some_and(|c| c.ours(at));
        facts.extend(life.inspected(&seen, &Around { ours: &ours, away }));
        desk.timers.clear(&Timer::Look(CheckId::new(CheckKind::Container, seen.name.clone())));
        describe(life, host.unwrap_or_default(), desk.rules.containers.labels);
        let first = container.as_ref().is_some_and(|c| c.sight.is_none());
        if let Some(container) = container {
            container.treated(Treat::of(&desk.rules.containers, &seen), desk);
        }
        self.learn(id, facts, desk);
        if let (Some(life), Some(container)) = (self.lives.get(id), self.names.get_mut(&seen.name))
            && life.ran
            && container.cid.as_ref() == Some(id)
        {
            container.meet(&life.record, desk);
        }
        if host.is_some() {
            self.tell(id, desk);
        }
        self.looked_at(&seen.engine, id, desk);
        self.matched(&seen, desk);
        self.consider(id, desk);
        if first && let Some(container) = self.names.get_mut(&seen.name) {
            // What was due before it was seen went by unheard.
            container.replan(desk);
        }
        self.consider_sharers(id, desk);
    }

    /// What an engine listed is not unknown any more.
    pub(super) fn looked_at(&mut self, engine: &Arc<str>, id: &Arc<str>, desk: &mut Desk) {
        let endpoint = self.endpoints.get_mut(engine);
        if endpoint.is_some_and(|e| e.unlooked.remove(id) && e.unlooked.is_empty()) {
            self.name_unseen(desk);
        }
    }

    /// No look has shown what events told of a container.
    pub(in crate::engine) fn unlooked(&mut self, check: &CheckId, desk: &mut Desk) {
        let Some(id) = self.names.get(&check.name).and_then(|c| c.cid.clone()) else { return };
        if self.lives.get_mut(&id).is_some_and(Life::guess) {
            self.consider(&id, desk);
        }
    }

    /// What has become known of a container is counted, told and kept.
    pub(super) fn learn(&mut self, id: &Arc<str>, facts: Vec<Fact>, desk: &mut Desk) {
        let mut removed = false;
        let mut tell = false;
        for fact in facts {
            let Some(life) = self.lives.get_mut(id) else { return };
            let container = self.names.get_mut(&life.record.container.name);
            if let Some(container) = container.filter(|c| c.cid.as_ref() == Some(id)) {
                container.learn(fact, life, desk);
            }
            tell |= Calls::note(life, fact);
            removed |= fact.what == What::Removed;
        }
        let Some(life) = self.lives.get(id) else { return };
        let known =
            self.endpoints.get(&life.record.container.engine).is_some_and(|e| e.host.is_some());
        let bare = life.seen.is_none() && life.record.container.memory == 0;
        if removed && bare && !known && self.left.len() < REMOVED {
            self.left.insert(id.clone());
            return;
        }
        if removed || tell && known {
            self.tell(id, desk);
        } else {
            self.keep(id, desk);
        }
        if removed {
            self.remove(id, Over::by(Reason::Removed), desk);
        }
    }

    /// Hooks are told what waits.
    pub(super) fn tell(&mut self, id: &Arc<str>, desk: &mut Desk) {
        if let Some(life) = self.lives.get_mut(id) {
            if life.seen.is_none() {
                let host = self.endpoints.get(&life.record.container.engine).and_then(|e| e.host);
                describe(life, host.unwrap_or_default(), desk.rules.containers.labels);
            }
            self.calls.tell(life, desk);
        }
        self.keep(id, desk);
    }

    /// Keeps what is known of a container, unless something of it is still to be told: then the
    /// events are asked for again should keepwell end.
    pub(super) fn keep(&mut self, id: &Arc<str>, desk: &mut Desk) {
        let Some(life) = self.lives.get_mut(id) else { return };
        if life.untold.is_empty() && life.kept.as_ref() != Some(&life.record) {
            life.kept = Some(life.record.clone());
            desk.keep(Change::Container(life.record.clone()));
        }
    }
}
