//! Hooks: which of them are told of a transition, each call with a number of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::life::{Fact, Life, What};
use super::treat::{hooks_are_told, port_of};
use crate::engine::desk::Desk;
use crate::engine::event::{Delivery, Effect};
use crate::engine::hook::{HookCall, HookContainer, Transition};
use crate::engine::rules::{HookRule, Rules};
use crate::engine::time::Wall;
use crate::engine::view::HookView;

/// Facts of one container that wait for its inspection; more are told without.
const UNTOLD: usize = 64;

/// What is known of the hooks.
#[derive(Debug)]
pub(super) struct Calls {
    /// The next call gets this number.
    pub(super) next: u64,
    views: BTreeMap<Arc<str>, HookView>,
}

impl Calls {
    pub(super) fn new(next: u64) -> Self {
        Self { next, views: BTreeMap::new() }
    }

    /// Takes note of a fact. Whether it can be told at once: a start is told with what only an
    /// inspection shows, and what comes after it waits for it.
    pub(super) fn note(life: &mut Life, fact: Fact) -> bool {
        if fact.transition().is_none() {
            return life.untold.is_empty();
        }
        let waits = matches!(fact.what, What::Created | What::Started);
        life.untold.push(fact);
        !waits && life.untold.len() == 1 || life.untold.len() > UNTOLD
    }

    /// Tells what waits, and of what runs already those who have not heard of it.
    pub(super) fn tell(&mut self, life: &mut Life, desk: &mut Desk) {
        for fact in std::mem::take(&mut life.untold) {
            let Some(transition) = fact.transition() else { continue };
            let mut container = life.record.container.clone();
            container.exit_code = match fact.what {
                What::Ended { code, .. } => code,
                What::Removed | What::Restarting => container.exit_code,
                _ => None,
            };
            let ended = matches!(transition, Transition::Stopped | Transition::Died);
            // Who was not told of a start, though it should have been, is not told of the end.
            let strangers = match ended {
                true => self.strangers(&container, &life.record.told, desk),
                false => Vec::new(),
            };
            let told = self.call(transition, fact.at, &container, &strangers, desk);
            match transition {
                Transition::Started => life.record.told = told,
                _ if ended => life.record.told.clear(),
                _ => {}
            }
        }
        if life.is_up() {
            let at = life.record.started.unwrap_or(life.record.seen);
            let container = life.record.container.clone();
            let more = self.call(Transition::Started, at, &container, &life.record.told, desk);
            life.record.told.extend(more);
        }
    }

    /// Hooks that are new since its run began.
    fn strangers(
        &self,
        container: &HookContainer,
        told: &[Arc<str>],
        desk: &Desk,
    ) -> Vec<Arc<str>> {
        let new = |hook: &&HookRule| {
            hook.events.contains(&Transition::Started)
                && !told.contains(&hook.name)
                && concerns(hook, container, &desk.rules)
        };
        desk.rules.hooks.iter().filter(new).map(|h| h.name.clone()).collect()
    }

    /// Calls the hooks that want to be told; returns which.
    fn call(
        &mut self,
        transition: Transition,
        at: Wall,
        container: &HookContainer,
        but: &[Arc<str>],
        desk: &mut Desk,
    ) -> Vec<Arc<str>> {
        let mut told = Vec::new();
        let Desk { rules, out, .. } = desk;
        for hook in rules.hooks.iter().filter(|h| !but.contains(&h.name)) {
            if !hook.events.contains(&transition) || !concerns(hook, container, rules) {
                continue;
            }
            let number = self.next;
            self.next += 1;
            out.effects.push(Effect::Call(HookCall {
                id: format!("h{number}").into(),
                number,
                hook: hook.name.clone(),
                transition,
                at,
                host: rules.host.clone(),
                container: container.clone(),
            }));
            told.push(hook.name.clone());
        }
        told
    }

    /// A hook has tried a call.
    pub(super) fn outcome(&mut self, hook: Arc<str>, result: &Delivery, waiting: usize, now: Wall) {
        let view = self.views.entry(hook.clone()).or_insert_with(|| empty(hook, "".into()));
        view.queued = waiting;
        match result {
            Delivery::Delivered => {
                view.sent += 1;
                view.last_success = Some(now);
                view.last_error = None;
            }
            Delivery::Failed(why) | Delivery::Stopped(why) => {
                view.failed += 1;
                view.last_error = Some(why.as_str().into());
            }
            Delivery::Refused(why) => {
                view.refused += 1;
                view.last_error = Some(why.as_str().into());
            }
        }
    }

    /// Those of the present configuration.
    pub(super) fn shown(&self, rules: &Rules) -> Vec<HookView> {
        let view = |hook: &HookRule| {
            let kind = hook.kind.clone();
            match self.views.get(&hook.name) {
                Some(view) => HookView { kind, ..view.clone() },
                None => empty(hook.name.clone(), kind),
            }
        };
        rules.hooks.iter().map(view).collect()
    }

    pub(super) fn forget(&mut self, rules: &Rules) {
        self.views.retain(|name, _| rules.hooks.iter().any(|h| h.name == *name));
    }
}

fn concerns(hook: &HookRule, container: &HookContainer, rules: &Rules) -> bool {
    let HookContainer { name, image, labels, .. } = container;
    (!rules.containers.labels || hooks_are_told(labels))
        && (hook.who.is_empty() || hook.who.iter().any(|w| w.matches(name, image, labels)))
}

/// What hooks are told of a container, as it was inspected. `host`: what its engine's host has.
pub(super) fn describe(life: &mut Life, host: (u32, u64), labels: bool) {
    let Some(seen) = &life.seen else { return };
    let container = &mut life.record.container;
    container.image = seen.image.clone();
    if container.labels != *seen.labels {
        container.labels = BTreeMap::clone(&seen.labels);
    }
    container.port = port_of(&seen.labels).filter(|_| labels).or(seen.port);
    container.cpus = seen.cpu_limit.unwrap_or_else(|| f64::from(host.0));
    container.memory = seen.memory_limit.unwrap_or(host.1);
}

fn empty(name: Arc<str>, kind: Arc<str>) -> HookView {
    HookView {
        name,
        kind,
        sent: 0,
        failed: 0,
        refused: 0,
        queued: 0,
        last_success: None,
        last_error: None,
    }
}
