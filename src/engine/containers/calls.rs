//! Hooks: which of them are told of a transition, each call with a number of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fact::{Fact, What};
use super::life::Life;
use super::treat::{hooks_are_told, port_of};
use crate::engine::desk::Desk;
use crate::engine::event::{Delivery, Effect};
use crate::engine::hook::{HookCall, HookContainer, Transition};
use crate::engine::rules::{HookRule, Rules};
use crate::engine::saved::{Change, ContainerRecord};
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
            if transition == Transition::Started {
                life.record.told.clear();
            }
            self.call(transition, fact.at, &container, &mut life.record, desk);
            if matches!(transition, Transition::Stopped | Transition::Died) {
                life.record.told.clear();
            }
        }
        if life.is_up() {
            let at = life.record.started.unwrap_or(life.record.seen);
            let container = life.record.container.clone();
            self.call(Transition::Started, at, &container, &mut life.record, desk);
        }
    }

    /// Calls the hooks that are to be told, and remembers which.
    fn call(
        &mut self,
        transition: Transition,
        at: Wall,
        container: &HookContainer,
        record: &mut ContainerRecord,
        desk: &mut Desk,
    ) {
        let Desk { rules, out, .. } = desk;
        for hook in &rules.hooks {
            if !is_to_hear(hook, transition, record, rules) {
                continue;
            }
            let number = self.next;
            self.next += 1;
            out.effects.push(Effect::Call(HookCall {
                id: id(&hook.name, transition, at, container, number),
                number,
                hook: hook.name.clone(),
                transition,
                at,
                host: rules.host.clone(),
                container: container.clone(),
            }));
            if transition == Transition::Started {
                record.told.push(mark(hook));
            }
            if !has_heard(&record.known, hook) {
                record.known.push(mark(hook));
            }
        }
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

/// Hooks that are gone, and those that have another receiver now, were told nothing: what waited
/// for them is gone as well.
pub(super) fn forget_hooks(life: &mut Life, desk: &mut Desk) {
    prune(&mut life.record, &desk.rules.hooks);
    if let Some(kept) = &mut life.kept
        && prune(kept, &desk.rules.hooks)
    {
        let kept = kept.clone();
        desk.keep(Change::Container(kept));
    }
}

/// Forgets in a record hooks that are gone or have another receiver; whether there were any.
pub(super) fn prune(record: &mut ContainerRecord, hooks: &[HookRule]) -> bool {
    let renew = |marks: &mut Vec<Arc<str>>| {
        let of = |old: &Arc<str>| hooks.iter().find(|hook| is_of(old, hook)).map(mark);
        let new: Vec<Arc<str>> = marks.iter().filter_map(of).collect();
        let before = std::mem::replace(marks, new);
        before != *marks
    };
    renew(&mut record.told) | renew(&mut record.known)
}

/// Whether a hook is told of this. Who was told that a run began is told its end, and who was told
/// anything of a container its removal, whatever the container is called by then; who was not told
/// of the start, though it asks for starts, is not told the end.
fn is_to_hear(
    hook: &HookRule,
    transition: Transition,
    record: &ContainerRecord,
    rules: &Rules,
) -> bool {
    let told = has_heard(&record.told, hook);
    let concerned = || concerns(hook, &record.container, rules);
    hook.events.contains(&transition)
        && match transition {
            Transition::Started => !told && concerned(),
            Transition::Stopped | Transition::Died => {
                told || !hook.events.contains(&Transition::Started) && concerned()
            }
            Transition::Removed => has_heard(&record.known, hook) || concerned(),
            Transition::Created
            | Transition::Healthy
            | Transition::Unhealthy
            | Transition::Paused
            | Transition::Unpaused
            | Transition::Restarting => concerned(),
        }
}

fn has_heard(marks: &[Arc<str>], hook: &HookRule) -> bool {
    marks.iter().any(|mark| is_of(mark, hook))
}

/// How a record names a hook: names have no spaces.
fn mark(hook: &HookRule) -> Arc<str> {
    match &*hook.receiver {
        "" => hook.name.clone(),
        receiver => format!("{} {receiver}", hook.name).into(),
    }
}

fn is_of(mark: &str, hook: &HookRule) -> bool {
    match mark.split_once(' ') {
        Some((name, receiver)) => *name == *hook.name && *receiver == *hook.receiver,
        None => *mark == *hook.name,
    }
}

/// A call's id says what is told: a keepwell that was killed before the disk took it, and finds out
/// again, tells it as the same. What an inspection shows without a time of its own may be so twice:
/// there the number tells them apart.
fn id(
    hook: &str,
    transition: Transition,
    at: Wall,
    container: &HookContainer,
    number: u64,
) -> Arc<str> {
    let short = container.id.get(..12).unwrap_or(&container.id);
    let id = format!("{hook}-{short}-{transition}-{}", at.0);
    match transition {
        Transition::Healthy | Transition::Unhealthy | Transition::Paused | Transition::Unpaused => {
            format!("{id}-{number}").into()
        }
        Transition::Created
        | Transition::Started
        | Transition::Restarting
        | Transition::Stopped
        | Transition::Died
        | Transition::Removed => id.into(),
    }
}

fn concerns(hook: &HookRule, container: &HookContainer, rules: &Rules) -> bool {
    let HookContainer { name, image, labels, .. } = container;
    (!rules.containers.labels || hooks_are_told(labels))
        && (hook.who.is_empty() || hook.who.iter().any(|w| w.matches(name, image, labels)))
}

/// What hooks are told of a container, as it was inspected. `host`: what its engine's host has.
pub(super) fn describe(life: &mut Life, host: (u32, u64), labels: bool) {
    let container = &mut life.record.container;
    let Some(seen) = &life.seen else {
        // It came and went before anybody could look: its events have its labels, and no limits.
        if container.memory == 0 {
            container.port = port_of(&container.labels).filter(|_| labels);
            (container.cpus, container.memory) = (f64::from(host.0), host.1);
        }
        return;
    };
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
