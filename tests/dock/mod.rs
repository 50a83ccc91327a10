//! A small model of a container engine: containers, what people and time do to them, the events
//! that it logs, and what an inspection shows. It is what a source would see.

#![allow(dead_code, reason = "no test uses it all")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use keepwell::engine::observation::*;
use keepwell::engine::time::Wall;

/// One event after the other.
const TICK: Duration = Duration::from_micros(100);

/// A container.
#[derive(Debug, Clone)]
pub(crate) struct Can {
    pub(crate) seen: ContainerSeen,
    /// Somebody stopped it by hand.
    pub(crate) by_hand: bool,
    /// When each of its runs began and ended, as it really was.
    pub(crate) runs: Vec<(Wall, Option<Wall>)>,
}

impl Can {
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.seen.status, ContainerStatus::Running | ContainerStatus::Paused)
    }
}

/// A container engine.
#[derive(Debug)]
pub(crate) struct Dock {
    pub(crate) engine: Arc<str>,
    pub(crate) cans: BTreeMap<Arc<str>, Can>,
    /// Those that are gone.
    pub(crate) past: BTreeMap<Arc<str>, Can>,
    log: Vec<ContainerEvent>,
    /// Those that it lists, and of which no inspection succeeds.
    hidden: BTreeSet<Arc<str>>,
    /// What is not fetched yet.
    fresh: Vec<Observation>,
    dirty: Vec<Arc<str>>,
    pub(crate) clock: Wall,
    made: u32,
    /// The daemon runs.
    pub(crate) up: bool,
    /// It died, and who listened noticed when.
    lost: Option<Wall>,
    /// It was killed, and kills what it left running when it comes back, as dockerd does.
    orphaned: bool,
}

impl Dock {
    pub(crate) fn new(engine: &str, now: Wall) -> Self {
        Self {
            engine: engine.into(),
            cans: BTreeMap::new(),
            past: BTreeMap::new(),
            log: Vec::new(),
            hidden: BTreeSet::new(),
            fresh: Vec::new(),
            dirty: Vec::new(),
            clock: now,
            made: 0,
            up: true,
            lost: None,
            orphaned: false,
        }
    }

    /// The id of the container of this name.
    pub(crate) fn id(&self, name: &str) -> Option<Arc<str>> {
        let found = self.cans.values().find(|c| *c.seen.name == *name);
        found.map(|c| c.seen.id.clone())
    }

    pub(crate) fn can(&mut self, id: &str) -> &mut Can {
        self.cans.get_mut(id).expect("it is there")
    }

    pub(crate) fn at(&mut self, now: Wall) {
        self.clock = self.clock.max(now);
    }

    fn tick(&mut self) -> Wall {
        self.clock = self.clock.after(TICK);
        self.clock
    }

    fn tell(&mut self, id: &Arc<str>, what: ContainerWhat) {
        let at = self.tick();
        let Some(can) = self.cans.get(id).or(self.past.get(id)) else { return };
        let event = ContainerEvent {
            name: can.seen.name.clone(),
            engine: self.engine.clone(),
            id: id.clone(),
            image: can.seen.image.clone(),
            at,
            what,
            labels: can.seen.labels.as_ref().clone(),
            replayed: false,
        };
        self.log.push(event.clone());
        self.fresh.push(Observation::ContainerEvent(event));
        self.dirty.push(id.clone());
    }

    // What people and time do.

    pub(crate) fn create(
        &mut self,
        name: &str,
        change: impl FnOnce(&mut ContainerSeen),
    ) -> Arc<str> {
        self.made += 1;
        let id: Arc<str> = format!("{:064x}", u128::from(self.made) << 96 | 0xf00d).into();
        let id: Arc<str> = format!("{:08x}{}", self.made, &id[8..]).into();
        let mut seen = ContainerSeen {
            name: name.into(),
            engine: self.engine.clone(),
            id: id.clone(),
            image: "nginx:alpine".into(),
            status: ContainerStatus::Created,
            created: self.tick(),
            stop_signal: 15,
            ..ContainerSeen::default()
        };
        change(&mut seen);
        self.cans.insert(id.clone(), Can { seen, by_hand: false, runs: Vec::new() });
        self.tell(&id, ContainerWhat::Created);
        id
    }

    pub(crate) fn start(&mut self, id: &Arc<str>) {
        if self.can(id).is_up() {
            return;
        }
        self.can(id).seen.restart_count = 0;
        self.begin(id);
    }

    fn begin(&mut self, id: &Arc<str>) {
        let at = self.tick();
        let can = self.can(id);
        can.by_hand = false;
        can.seen.status = ContainerStatus::Running;
        can.seen.started = Some(at);
        (can.seen.exit_code, can.seen.oom_killed) = (0, false);
        if let Some(health) = &mut can.seen.health {
            health.status = Health::Starting;
        }
        can.runs.push((at, None));
        self.tell(id, ContainerWhat::Started);
    }

    /// Its main process ends; its policy may start it again in a moment.
    pub(crate) fn end(&mut self, id: &Arc<str>, code: i32, told: bool) {
        if !self.can(id).is_up() {
            return;
        }
        let (at, up) = (self.tick(), self.up);
        let can = self.can(id);
        can.seen.finished = Some(at);
        can.seen.exit_code = code;
        can.runs.last_mut().expect("it ran").1 = Some(at);
        let again = match can.seen.policy {
            Policy::No => false,
            Policy::OnFailure(max) => code != 0 && (max == 0 || can.seen.restart_count < max),
            Policy::Always | Policy::UnlessStopped => true,
        };
        can.seen.status = if again && up && !can.by_hand {
            can.seen.restart_count += 1;
            ContainerStatus::Restarting
        } else {
            ContainerStatus::Exited
        };
        if told {
            self.tell(id, ContainerWhat::Died { exit_code: code });
        }
    }

    /// Its policy starts it again.
    pub(crate) fn again(&mut self, id: &Arc<str>) {
        if self.cans.get(id).is_some_and(|c| c.seen.status == ContainerStatus::Restarting) {
            self.begin(id);
        }
    }

    pub(crate) fn crash(&mut self, id: &Arc<str>, code: i32) {
        self.end(id, code, true);
    }

    pub(crate) fn starve(&mut self, id: &Arc<str>) {
        if self.can(id).is_up() {
            self.can(id).seen.oom_killed = true;
            self.tell(id, ContainerWhat::OutOfMemory);
            self.end(id, 137, true);
        }
    }

    /// A process of it is killed for want of memory, and it lives on.
    #[allow(dead_code)] // Not every test starves any.
    pub(crate) fn starve_child(&mut self, id: &Arc<str>) {
        if self.can(id).is_up() {
            self.can(id).seen.oom_killed = true;
            self.tell(id, ContainerWhat::OutOfMemory);
        }
    }

    pub(crate) fn kill(&mut self, id: &Arc<str>, signal: i32) {
        if !self.can(id).is_up() {
            return;
        }
        self.tell(id, ContainerWhat::Killed { signal });
        if signal == 9 {
            self.can(id).by_hand = true;
            self.end(id, 137, true);
        }
    }

    pub(crate) fn stop(&mut self, id: &Arc<str>) {
        let (status, is_up) = (self.can(id).seen.status, self.can(id).is_up());
        match status {
            ContainerStatus::Restarting => {
                self.can(id).by_hand = true;
                self.can(id).seen.status = ContainerStatus::Exited;
                self.tell(id, ContainerWhat::Stopped);
            }
            _ if is_up => {
                self.tell(id, ContainerWhat::Killed { signal: 15 });
                self.can(id).by_hand = true;
                self.end(id, 143, true);
                self.tell(id, ContainerWhat::Stopped);
            }
            _ => {}
        }
    }

    pub(crate) fn restart(&mut self, id: &Arc<str>) {
        self.stop(id);
        self.start(id);
        self.tell(id, ContainerWhat::Restarted);
    }

    pub(crate) fn remove(&mut self, id: &Arc<str>) {
        if self.can(id).is_up() {
            self.kill(id, 9);
        }
        let can = self.cans.remove(id).expect("it is there");
        self.past.insert(id.clone(), can);
        self.tell(id, ContainerWhat::Removed);
    }

    pub(crate) fn rename(&mut self, id: &Arc<str>, name: &str) {
        self.can(id).seen.name = name.into();
        self.tell(id, ContainerWhat::Renamed);
    }

    pub(crate) fn health(&mut self, id: &Arc<str>, status: Health) {
        let can = self.can(id);
        if can.seen.status != ContainerStatus::Running {
            return;
        }
        let failing = 3 * u32::from(status == Health::Unhealthy);
        can.seen.health = Some(HealthSeen { status, failing, output: "no answer\n".into() });
        self.tell(id, ContainerWhat::Health(status));
    }

    pub(crate) fn pause(&mut self, id: &Arc<str>, on: bool) {
        use ContainerStatus::{Paused, Running};
        let (from, to) = if on { (Running, Paused) } else { (Paused, Running) };
        if self.can(id).seen.status == from {
            self.can(id).seen.status = to;
            let what = if on { ContainerWhat::Paused } else { ContainerWhat::Unpaused };
            self.tell(id, what);
        }
    }

    /// The daemon dies; nobody tells what happens to its containers then.
    pub(crate) fn daemon_dies(&mut self, with_all: bool) {
        self.up = false;
        self.lost = Some(self.tick());
        self.fresh.clear();
        self.dirty.clear();
        let ids: Vec<Arc<str>> = self.cans.keys().cloned().collect();
        for id in ids {
            if with_all {
                self.end(&id, 137, false);
            }
            if self.can(&id).seen.status == ContainerStatus::Restarting {
                self.can(&id).seen.status = ContainerStatus::Exited;
            }
        }
    }

    /// The daemon is killed, and its containers live on until it comes back.
    #[allow(dead_code)] // Not every test kills it so.
    pub(crate) fn daemon_killed(&mut self) {
        self.daemon_dies(false);
        self.orphaned = true;
    }

    /// It comes back. What it starts by itself it starts in a moment.
    pub(crate) fn daemon_starts(&mut self) -> Vec<Arc<str>> {
        if std::mem::take(&mut self.orphaned) {
            let running: Vec<Arc<str>> =
                self.cans.values().filter(|c| c.is_up()).map(|c| c.seen.id.clone()).collect();
            for id in running {
                self.tell(&id, ContainerWhat::Killed { signal: 15 });
                self.tell(&id, ContainerWhat::Killed { signal: 9 });
                self.end(&id, 137, true);
                self.tell(&id, ContainerWhat::Stopped);
            }
        }
        self.up = true;
        let again = |can: &&Can| {
            !can.is_up()
                && can.seen.started.is_some()
                && !can.by_hand
                && matches!(can.seen.policy, Policy::Always | Policy::UnlessStopped)
        };
        self.cans.values().filter(again).map(|c| c.seen.id.clone()).collect()
    }

    // What a source sees.

    /// What has happened since it was last asked: events, then what they changed.
    pub(crate) fn fetch(&mut self) -> Vec<Observation> {
        let mut out = std::mem::take(&mut self.fresh);
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.sort();
        dirty.dedup();
        out.extend(dirty.iter().filter_map(|id| self.inspect(id)));
        out
    }

    /// Nobody listens.
    pub(crate) fn unheard(&mut self) {
        self.lost = None;
        self.fresh.clear();
        self.dirty.clear();
    }

    /// What a source sends when it has connected.
    pub(crate) fn connect(&mut self, since: Option<Wall>) -> Vec<Observation> {
        let lost = self.lost.take();
        self.unheard();
        let mut out = vec![part(&self.engine, PartState::Works)];
        if let Some(from) = lost {
            let (engine, to) = (self.engine.clone(), self.clock);
            out.push(Observation::EngineAway(EngineAway { engine, from, to }));
        }
        if let Some(since) = since {
            let replayed = self.log.iter().filter(|e| e.at >= since).cloned();
            out.extend(replayed.map(|mut event| {
                event.replayed = true;
                Observation::ContainerEvent(event)
            }));
        }
        out.extend(self.list());
        out
    }

    fn inspect(&self, id: &Arc<str>) -> Option<Observation> {
        let can = self.cans.get(id).filter(|_| !self.hidden.contains(id))?;
        Some(Observation::Container(Box::new(can.seen.clone())))
    }

    /// Its inspections fail from now on, or no more.
    pub(crate) fn hide(&mut self, id: &Arc<str>, on: bool) {
        if on {
            self.hidden.insert(id.clone());
        } else {
            self.hidden.remove(id);
            self.dirty.push(id.clone());
        }
    }

    /// Its events of the past are gone.
    pub(crate) fn forget(&mut self) {
        self.log.clear();
    }

    /// All that there is.
    pub(crate) fn list(&mut self) -> Vec<Observation> {
        let mut out: Vec<Observation> =
            self.cans.keys().filter_map(|id| self.inspect(id)).collect();
        out.push(Observation::Containers(ContainersSeen {
            engine: self.engine.clone(),
            ids: self.cans.keys().cloned().collect(),
            cpus: 2,
            memory: 4 << 30,
        }));
        out.push(Observation::Round(Round { source: SourceKind::Containers, total: None }));
        out
    }
}

pub(crate) fn part(engine: &Arc<str>, state: PartState) -> Observation {
    Observation::Part(PartSeen { part: Part::Engine(engine.clone()), state })
}
