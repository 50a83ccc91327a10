//! Names: which container has one, when that changes, and when nothing has it any more.

use std::sync::Arc;
use std::time::Duration;

use super::container::{Container, Over};
use super::treat::Treat;
use super::{Containers, named};
use crate::engine::desk::Desk;
use crate::engine::observation::ContainerSeen;
use crate::engine::saved::{Change, Stage};
use crate::engine::timers::Timer;

/// What goes and comes back under its name within this was made anew.
const ANEW: Duration = Duration::from_secs(10);

impl Containers {
    /// A container has this name now.
    pub(super) fn claim(&mut self, name: &Arc<str>, id: &Arc<str>, desk: &mut Desk) {
        let container = self.names.entry(name.clone()).or_insert_with(|| Container::new(name));
        container.anew(id, desk);
    }

    pub(super) fn rename(&mut self, id: &Arc<str>, name: &Arc<str>, desk: &mut Desk) {
        let Some(life) = self.lives.get_mut(id) else { return };
        let former = std::mem::replace(&mut life.record.container.name, name.clone());
        if former == *name {
            return;
        }
        let mut last = None;
        if let Some(container) = self.names.get(&former).filter(|c| c.cid.as_ref() == Some(id)) {
            last = Some(container.last_run());
            self.lose(&former, Over::renamed(name), desk);
        }
        self.claim(name, id, desk);
        let (Some(life), Some(container)) = (self.lives.get(id), self.names.get_mut(name)) else {
            return;
        };
        if let Some(seen) = &life.seen {
            // Until it is inspected by its new name.
            let seen = ContainerSeen { name: name.clone(), ..ContainerSeen::clone(seen) };
            container.treated(Treat::of(&desk.rules.containers, &seen), desk);
        }
        if let Some(last) = last {
            container.takes_over(last, desk);
        }
        if life.ran {
            container.meet(&life.record, desk);
        }
    }

    pub(super) fn remove(&mut self, id: &Arc<str>, over: Over, desk: &mut Desk) {
        let Some(life) = self.lives.remove(id) else { return };
        let mut record = life.record.clone();
        self.removed.insert(id.clone(), (record.container.engine.clone(), record.seen));
        record.stage = Stage::Removed;
        desk.keep(Change::Container(record));
        let name = life.record.container.name;
        if self.names.get(&name).is_some_and(|c| c.cid.as_ref() == Some(id)) {
            self.lose(&name, over, desk);
        }
        self.consider_sharers(id, desk);
    }

    /// Nothing has this name any more, or another container has.
    pub(super) fn lose(&mut self, name: &Arc<str>, over: Over, desk: &mut Desk) {
        let other = self
            .lives
            .iter()
            .filter(|(_, life)| life.record.container.name == *name)
            .max_by_key(|(_, life)| life.record.seen)
            .map(|(id, _)| id.clone());
        let Some(container) = self.names.get_mut(name) else { return };
        if let Some(other) = other {
            container.anew(&other, desk);
            return self.consider(&other, desk);
        }
        container.lost(desk);
        if named::is_exact(&desk.rules, name) {
            self.name_unseen(desk);
        } else if container.has_alert(desk) {
            container.over = Some(over);
            let at = desk.now.boot.after(ANEW);
            desk.timers.set(Timer::Settle(container.id().clone()), at);
        } else {
            self.drop_name(name, &over, desk);
        }
    }

    pub(super) fn drop_name(&mut self, name: &Arc<str>, over: &Over, desk: &mut Desk) {
        if let Some(mut container) = self.names.remove(name) {
            container.forget(over, desk);
        }
    }
}
