//! A host that makes and removes a thousand containers an hour, each under a name of its own: what
//! the engine remembers does not grow with it.

mod dock;

use std::sync::Arc;
use std::time::Duration;

use dock::Dock;
use keepwell::engine::hook::Transition;
use keepwell::engine::observation::*;
use keepwell::engine::rules::*;
use keepwell::engine::*;

const AN_HOUR: u32 = 400;

struct World {
    now: Now,
    engine: Engine,
    saved: Saved,
    deadline: Option<Boot>,
    dock: Dock,
    /// A look at it never succeeds.
    stuck: Option<Arc<str>>,
}

impl World {
    fn new() -> Self {
        let now = Now { boot: Boot(1_000_000_000), wall: Wall(1_795_219_200_000_000) };
        let hook = HookRule {
            name: "all".into(),
            kind: "http".into(),
            events: Transition::ALL.iter().copied().collect(),
            who: Vec::new(),
            receiver: "".into(),
        };
        let rules = Rules {
            hooks: vec![hook],
            channels: vec![ChannelRule::new("ops", "webhook")],
            ..Rules::default()
        };
        let mode = Mode { expected: [SourceKind::Containers].into(), ..Mode::default() };
        let (engine, step) = Engine::new(rules, Saved::default(), "boot".into(), mode, now);
        let dock = Dock::new("docker", now.wall);
        let mut world =
            Self { now, engine, saved: Saved::default(), deadline: None, dock, stuck: None };
        world.take(step);
        let seen = world.dock.connect(None);
        world.see(seen);
        world
    }

    fn take(&mut self, step: Step) {
        self.deadline = step.deadline;
        for change in &step.changes {
            self.saved.apply(change);
        }
        for effect in step.effects {
            let Effect::Notify(message) = effect else { continue };
            let outcome = Outcome::Delivery {
                channel: message.channel.clone(),
                id: message.id.clone(),
                result: event::Delivery::Delivered,
            };
            let step = self.engine.step(Event::Outcome(outcome), self.now);
            self.take(step);
        }
    }

    fn see(&mut self, seen: Vec<Observation>) {
        for one in seen {
            let of = |c: &ContainerSeen| Some(&c.id) == self.stuck.as_ref();
            if matches!(&one, Observation::Container(seen) if of(seen)) {
                continue;
            }
            let step = self.engine.step(Event::Observed(one), self.now);
            self.take(step);
        }
    }

    fn fetch(&mut self) {
        let seen = self.dock.fetch();
        self.see(seen);
    }

    fn pass(&mut self, lasting: Duration) {
        let end = self.now.boot.after(lasting);
        loop {
            let next = self.deadline.filter(|at| *at <= end).unwrap_or(end);
            let gone = next.since(self.now.boot);
            self.now = Now { boot: self.now.boot.after(gone), wall: self.now.wall.after(gone) };
            if self.deadline.is_none_or(|at| at > end) {
                break;
            }
            let step = self.engine.step(Event::Deadline, self.now);
            self.take(step);
        }
        self.dock.at(self.now.wall);
    }

    /// Each is up for a while, a fifth ends badly and is found by a person minutes later.
    fn hour(&mut self, hour: u32) {
        let every = Duration::from_secs(3600) / AN_HOUR;
        let mut left = std::collections::VecDeque::new();
        for number in 0..AN_HOUR {
            let name = format!("job-{hour}-{number}");
            let id = self.dock.create(&name, |_| {});
            self.fetch();
            self.dock.start(&id);
            self.fetch();
            self.pass(every);
            match number % 5 {
                0 => self.dock.crash(&id, 1),
                1 => self.dock.stop(&id),
                _ => self.dock.end(&id, 0, true),
            }
            self.fetch();
            left.push_back(id);
            if left.len() > 50
                && let Some(old) = left.pop_front()
            {
                self.dock.remove(&old);
                self.fetch();
            }
        }
        for id in left {
            self.dock.remove(&id);
        }
        self.fetch();
        self.pass(Duration::from_secs(60));
    }

    fn remembered(&self) -> (usize, usize, usize, usize) {
        let engine = format!("{:?}", self.engine).len();
        let saved = &self.saved;
        (engine, saved.containers.len(), saved.counts.len(), saved.restarts.len())
    }
}

#[test]
fn what_is_remembered_does_not_grow_with_what_comes_and_goes() {
    let mut world = World::new();
    let mut all = Vec::new();
    for hour in 0..6 {
        world.hour(hour);
        // What is over is kept for a day.
        world.pass(Duration::from_secs(26 * 3600));
        // Other sources go round all the time.
        let round = Round { source: SourceKind::Host, total: None };
        world.see(vec![Observation::Round(round)]);
        let name = format!("last-{hour}");
        let id = world.dock.create(&name, |_| {});
        world.fetch();
        world.dock.start(&id);
        world.fetch();
        world.dock.remove(&id);
        world.fetch();
        all.push(world.remembered());
    }
    let (first, last) = (all[1], all[5]);
    assert!(last.0 < first.0 + first.0 / 5, "{all:?}");
    assert!(last.1 <= 1 && last.2 <= 1 && last.3 == 0, "{all:?}");
}

#[test]
fn nor_does_it_while_a_container_cannot_be_looked_at() {
    let mut world = World::new();
    let stuck = world.dock.create("stuck", |_| {});
    world.stuck = Some(stuck.clone());
    world.fetch();
    world.dock.start(&stuck);
    world.fetch();
    for hour in 0..4 {
        world.hour(hour);
    }
    let (_, containers, counts, _) = world.remembered();
    assert!(containers <= 510 && counts <= 1, "{containers} {counts}");
}
