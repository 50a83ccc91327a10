//! Random histories of containers against the invariants of the engine: each transition is told
//! once and in order, whenever keepwell or the container engine was down; what a person stopped is
//! left alone; what was saved goes on as it was.
//!
//! `KEEPWELL_SEED=random KEEPWELL_EVENTS=10000000` looks further than a normal run.

mod dock;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dock::Dock;
use keepwell::engine::hook::Transition;
use keepwell::engine::observation::*;
use keepwell::engine::rules::*;
use keepwell::engine::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

const NAMES: [&str; 4] = ["web", "db", "job", "side"];
const SEED: [u8; 32] = *b"keepwell keeps a Linux host well";
const START: Wall = Wall(1_795_219_200_000_000);

#[derive(Debug, Clone)]
enum Op {
    Pass(u32),
    Run(usize, u8),
    Start(usize),
    Stop(usize),
    Kill(usize, i32),
    Crash(usize, i32),
    Starve(usize),
    Restart(usize),
    Remove(usize),
    Recreate(usize),
    Pause(usize, bool),
    Health(usize, bool),
    /// Ends and begins again, so quickly that nobody looks in between.
    Loop(usize, u32),
    DaemonDies(bool),
    DaemonStarts,
    /// keepwell is killed after so many of the next observations, and back after so many seconds.
    Killed(usize, u32),
    KeepwellStarts,
    List,
    /// Which hooks there are, for which containers and with which receivers, by bits.
    Reload(u8),
    Rename(usize),
    RestartsFail(bool),
}

fn op() -> impl Strategy<Value = Op> {
    let name = 0..NAMES.len();
    prop_oneof![
        8 => (1u32..20_000).prop_map(Op::Pass),
        3 => (20_000u32..900_000).prop_map(Op::Pass),
        6 => (name.clone(), any::<u8>()).prop_map(|(n, how)| Op::Run(n, how)),
        3 => name.clone().prop_map(Op::Start),
        3 => name.clone().prop_map(Op::Stop),
        2 => (name.clone(), prop_oneof![Just(1), Just(9), Just(15)])
            .prop_map(|(n, s)| Op::Kill(n, s)),
        8 => (name.clone(), 0i32..3).prop_map(|(n, code)| Op::Crash(n, code)),
        1 => name.clone().prop_map(Op::Starve),
        2 => name.clone().prop_map(Op::Restart),
        2 => name.clone().prop_map(Op::Remove),
        2 => name.clone().prop_map(Op::Recreate),
        1 => (name.clone(), any::<bool>()).prop_map(|(n, on)| Op::Pause(n, on)),
        2 => (name.clone(), any::<bool>()).prop_map(|(n, on)| Op::Health(n, on)),
        2 => (name, 1u32..6).prop_map(|(n, times)| Op::Loop(n, times)),
        1 => any::<bool>().prop_map(Op::DaemonDies),
        3 => Just(Op::DaemonStarts),
        2 => (0usize..6, 0u32..600).prop_map(|(n, s)| Op::Killed(n, s)),
        3 => Just(Op::KeepwellStarts),
        1 => Just(Op::List),
        1 => any::<bool>().prop_map(|second| Op::Reload(u8::from(second))),
        1 => any::<bool>().prop_map(Op::RestartsFail),
    ]
}

/// The same, and hooks and names change.
fn hook_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        20 => op(),
        1 => any::<u8>().prop_map(Op::Reload),
        1 => (0..NAMES.len()).prop_map(Op::Rename),
    ]
}

struct World {
    now: Now,
    rules: Rules,
    /// Those that keepwell last ran with.
    run: Rules,
    /// `None`: keepwell does not run.
    engine: Option<Engine>,
    saved: Saved,
    deadline: Option<Boot>,
    dock: Dock,
    later: Vec<(Boot, Later)>,
    /// Calls, by hook and id of the container.
    calls: BTreeMap<(Arc<str>, Arc<str>), Vec<Transition>>,
    last_call: u64,
    /// keepwell is killed after so many observations, and comes back then.
    kill: Option<(usize, u32)>,
    fail: bool,
    /// It has not heard of all that has happened.
    behind: bool,
    events: usize,
}

enum Later {
    Again(Arc<str>),
    Restarted(Arc<str>, Arc<str>),
    Log(Arc<str>),
    Packages,
}

fn rules(how: u8) -> Rules {
    use Transition::{Died, Removed, Started, Stopped};
    let rule = |name: &str| {
        let name = Some(glob::Pattern::new(name).expect("a pattern"));
        ContainerRule {
            restart: true,
            ..ContainerRule::new(Selector { name, ..Selector::default() })
        }
    };
    let hook = |name: &str, events: &[Transition]| HookRule {
        name: name.into(),
        kind: "http".into(),
        events: events.iter().copied().collect(),
        who: Vec::new(),
        receiver: "".into(),
    };
    let mut hooks = vec![hook("all", Transition::ALL)];
    let ends = [Started, Stopped, Died, Removed];
    if how & 1 != 0 {
        hooks.push(hook("bill", &ends));
    }
    // One that is for some, and which they are changes.
    let pattern = glob::Pattern::new(if how & 2 != 0 { "*" } else { "[wd]*" });
    let name = Some(pattern.expect("a pattern"));
    let who = vec![Selector { name, ..Selector::default() }];
    hooks.push(HookRule { who, ..hook("some", &ends) });
    let receiver = if how & 4 != 0 { "there" } else { "here" }.into();
    hooks.push(HookRule { receiver, ..hook("moving", &ends) });
    let list = vec![rule("web"), ContainerRule { required: true, ..rule("db") }, rule("side")];
    let containers = ContainerRules { list, ..ContainerRules::default() };
    Rules {
        containers,
        hooks,
        channels: vec![ChannelRule::new("ops", "webhook")],
        ..Rules::default()
    }
}

fn mode() -> Mode {
    Mode { expected: [SourceKind::Containers].into(), ..Mode::default() }
}

impl World {
    fn play(ops: &[Op]) -> Result<usize, String> {
        let now = Now { boot: Boot(1_000_000_000), wall: START };
        let mut world = Self {
            now,
            rules: rules(0),
            run: rules(0),
            engine: None,
            saved: Saved::default(),
            deadline: None,
            dock: Dock::new("docker", START),
            later: Vec::new(),
            calls: BTreeMap::new(),
            last_call: 0,
            kill: None,
            fail: false,
            behind: false,
            events: 0,
        };
        world.come_back()?;
        for op in ops {
            world.act(op).map_err(|e| format!("{e}\nin {op:?}"))?;
            world.invariants().map_err(|e| format!("{e}\nafter {op:?}"))?;
        }
        // In the end all is up and everything is known.
        (world.fail, world.kill) = (false, None);
        world.act(&Op::DaemonStarts)?;
        world.act(&Op::KeepwellStarts)?;
        world.act(&Op::Pass(1_200_000))?;
        world.settled()?;
        Ok(world.events)
    }

    fn act(&mut self, op: &Op) -> Result<(), String> {
        let of = |n: usize| NAMES[n];
        self.dock.at(self.now.wall);
        let found = match op {
            Op::Start(n)
            | Op::Stop(n)
            | Op::Kill(n, _)
            | Op::Crash(n, _)
            | Op::Starve(n)
            | Op::Restart(n)
            | Op::Remove(n)
            | Op::Recreate(n)
            | Op::Pause(n, _)
            | Op::Health(n, _)
            | Op::Loop(n, _)
            | Op::Rename(n)
            | Op::Run(n, _) => self.dock.id(of(*n)),
            _ => None,
        };
        match (op, found) {
            (Op::Pass(ms), _) => return self.pass(Duration::from_millis(u64::from(*ms))),
            (Op::DaemonDies(all), _) if self.dock.up => {
                self.dock.daemon_dies(*all);
                let state = PartState::Broken("connection refused".into());
                let seen = dock::part(&self.dock.engine, state);
                return self.see(vec![seen]);
            }
            (Op::DaemonStarts, _) if !self.dock.up => {
                let soon = self.now.boot.after(Duration::from_millis(300));
                for id in self.dock.daemon_starts() {
                    self.later.push((soon, Later::Again(id)));
                }
                return self.connect();
            }
            (Op::Killed(n, s), _) => {
                self.kill = Some((*n, *s));
                return Ok(());
            }
            (Op::KeepwellStarts, _) if self.engine.is_none() => return self.come_back(),
            (Op::List, _) if self.dock.up => {
                self.fetch()?;
                let seen = self.dock.list();
                return self.see(seen);
            }
            (Op::Reload(how), _) => {
                self.rules = rules(*how);
                if self.engine.is_some() {
                    self.receivers();
                }
                let Some(engine) = &mut self.engine else { return Ok(()) };
                let step = engine.reload(self.rules.clone(), mode().expected, self.now);
                self.take(step)?;
                // A reload makes new sources.
                return self.connect();
            }
            (Op::RestartsFail(fail), _) => {
                self.fail = *fail;
                return Ok(());
            }
            _ if !self.dock.up => return Ok(()),
            (Op::Run(n, how), None) => {
                let network = self.dock.id("web").filter(|_| of(*n) == "side");
                let id = self.dock.create(of(*n), |seen| {
                    seen.network_of = network;
                    seen.policy = match how % 4 {
                        0 => Policy::Always,
                        1 => Policy::OnFailure(2),
                        _ => Policy::No,
                    };
                    if how & 16 != 0 {
                        let output = "".into();
                        let status = Health::Starting;
                        seen.health = Some(HealthSeen { status, failing: 0, output });
                    }
                });
                if how & 32 != 0 {
                    self.fetch()?;
                }
                self.dock.start(&id);
            }
            (Op::Start(_), Some(id)) => self.dock.start(&id),
            (Op::Stop(_), Some(id)) => self.dock.stop(&id),
            (Op::Kill(_, signal), Some(id)) => self.dock.kill(&id, *signal),
            (Op::Crash(_, code), Some(id)) => self.dock.crash(&id, *code),
            (Op::Starve(_), Some(id)) => self.dock.starve(&id),
            (Op::Rename(n), Some(id)) => {
                let aside = format!("aside_{}", of(*n));
                if let Some(former) = self.dock.id(&aside) {
                    self.dock.remove(&former);
                }
                self.dock.rename(&id, &aside);
            }
            (Op::Restart(_), Some(id)) => self.dock.restart(&id),
            (Op::Remove(_), Some(id)) => self.dock.remove(&id),
            (Op::Recreate(n), Some(id)) => {
                let policy = self.dock.can(&id).seen.policy;
                let new = self.dock.create(&format!("0123_{}", of(*n)), |s| s.policy = policy);
                self.dock.stop(&id);
                self.dock.remove(&id);
                self.dock.rename(&new, of(*n));
                self.dock.start(&new);
            }
            (Op::Pause(_, on), Some(id)) => self.dock.pause(&id, *on),
            (Op::Health(_, well), Some(id)) if self.dock.can(&id).seen.health.is_some() => {
                let health = if *well { Health::Healthy } else { Health::Unhealthy };
                self.dock.health(&id, health);
            }
            (Op::Loop(_, times), Some(id)) => {
                for _ in 0..*times {
                    self.dock.crash(&id, 1);
                    self.dock.again(&id);
                }
            }
            _ => return Ok(()),
        }
        let soon = self.now.boot.after(Duration::from_millis(200));
        let restarting = |can: &&dock::Can| can.seen.status == ContainerStatus::Restarting;
        for can in self.dock.cans.values().filter(restarting) {
            self.later.push((soon, Later::Again(can.seen.id.clone())));
        }
        self.fetch()
    }

    fn fetch(&mut self) -> Result<(), String> {
        let seen = self.dock.fetch();
        if self.dock.up { self.see(seen) } else { Ok(()) }
    }

    fn connect(&mut self) -> Result<(), String> {
        let Some(engine) = &self.engine else { return Ok(()) };
        let since = engine.containers_since().get("docker").copied();
        let seen = if self.dock.up {
            self.dock.connect(since)
        } else {
            let round = Round { source: SourceKind::Containers, total: None };
            let state = PartState::Broken("connection refused".into());
            vec![dock::part(&self.dock.engine, state), Observation::Round(round)]
        };
        self.see(seen)
    }

    /// keepwell has new rules. A receiver that is new or gone has heard of nothing.
    fn receivers(&mut self) {
        let before = std::mem::replace(&mut self.run, self.rules.clone());
        let of = |rules: &Rules, hook: &str| {
            rules.hooks.iter().find(|h| *h.name == *hook).map(|h| h.receiver.clone())
        };
        self.calls.retain(|(hook, _), _| of(&before, hook) == of(&self.rules, hook));
    }

    fn come_back(&mut self) -> Result<(), String> {
        self.receivers();
        self.later.retain(|(_, l)| matches!(l, Later::Again(_) | Later::Restarted(..)));
        let (engine, step) =
            Engine::new(self.rules.clone(), self.saved.clone(), "boot".into(), mode(), self.now);
        self.engine = Some(engine);
        self.take(step)?;
        // Nobody noticed when the daemon was lost.
        self.dock.unheard();
        self.connect()
    }

    fn see(&mut self, seen: Vec<Observation>) -> Result<(), String> {
        let many = seen.len();
        for (i, seen) in seen.into_iter().enumerate() {
            self.behind = i + 1 < many;
            if let Some((left, _)) = &mut self.kill {
                if *left == 0 {
                    self.behind = false;
                    self.kill = None;
                    self.engine = None;
                    self.deadline = None;
                    return Ok(());
                }
                *left -= 1;
            }
            self.event(Event::Observed(seen))?;
        }
        Ok(())
    }

    fn event(&mut self, event: Event) -> Result<(), String> {
        let Some(engine) = &mut self.engine else { return Ok(()) };
        self.events += 1;
        let step = engine.step(event, self.now);
        self.take(step)
    }

    fn take(&mut self, step: Step) -> Result<(), String> {
        self.deadline = step.deadline;
        for change in &step.changes {
            self.saved.apply(change);
        }
        let soon = self.now.boot.after(Duration::from_millis(5));
        for effect in step.effects {
            match effect {
                Effect::Call(call) => {
                    if call.number <= self.last_call {
                        return Err(format!("call {} comes after {}", call.number, self.last_call));
                    }
                    self.last_call = call.number;
                    let key = (call.hook, call.container.id);
                    self.calls.entry(key).or_default().push(call.transition);
                }
                Effect::RestartContainer { name, id, .. } => {
                    let can = self.dock.cans.get(&id);
                    let stopped = can.is_some_and(|c| c.by_hand && !c.is_up());
                    if stopped && self.dock.up && !self.behind {
                        return Err(format!("restarts {name}, which a person stopped"));
                    }
                    self.later.push((soon, Later::Restarted(name, id)));
                }
                Effect::FetchContainerLog { name, .. } => self.later.push((soon, Later::Log(name))),
                Effect::LookAtPackages => self.later.push((soon, Later::Packages)),
                Effect::Notify(message) => {
                    let (channel, id) = (message.channel.clone(), message.id.clone());
                    let result = event::Delivery::Delivered;
                    self.event(Event::Outcome(Outcome::Delivery { channel, id, result }))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn pass(&mut self, by: Duration) -> Result<(), String> {
        let end = self.now.boot.after(by);
        loop {
            let next = self.later.iter().map(|(at, _)| *at).chain(self.deadline).min();
            let Some(next) = next.filter(|at| *at <= end) else { break };
            let next = next.max(self.now.boot);
            self.now = self.now.after(next.since(self.now.boot));
            self.dock.at(self.now.wall);
            while let Some(i) = self.later.iter().position(|(at, _)| *at <= self.now.boot) {
                let later = self.later.swap_remove(i).1;
                self.due(later)?;
            }
            if self.deadline.is_some_and(|at| at <= self.now.boot) {
                self.event(Event::Deadline)?;
            }
        }
        self.now = self.now.after(end.since(self.now.boot));
        Ok(())
    }

    fn due(&mut self, later: Later) -> Result<(), String> {
        match later {
            Later::Again(id) => {
                let Some(can) = self.dock.cans.get(&id) else { return Ok(()) };
                let may = !can.by_hand && !can.is_up() && can.seen.policy != Policy::No;
                if !self.dock.up || !may {
                    return Ok(());
                }
                match can.seen.status {
                    ContainerStatus::Restarting => self.dock.again(&id),
                    _ if can.seen.policy == Policy::Always => self.dock.start(&id),
                    _ => {}
                }
                self.fetch()
            }
            Later::Restarted(name, id) => {
                let gone = !self.dock.cans.contains_key(&id);
                let result = if self.fail || gone || !self.dock.up {
                    RestartResult::Failed("no".into())
                } else if self.dock.can(&id).by_hand && !self.dock.can(&id).is_up() {
                    // It is read again before it is restarted.
                    RestartResult::Declined(Reason::StoppedByOperator)
                } else {
                    self.dock.restart(&id);
                    RestartResult::Done
                };
                let ahead = self.dock.clock.since(self.now.wall);
                self.now = self.now.after(ahead);
                self.fetch()?;
                self.event(Event::Outcome(Outcome::ContainerRestart { name, result }))
            }
            Later::Log(name) => {
                let lines = vec!["last words".to_owned()];
                self.event(Event::Observed(Observation::ContainerLog(ContainerLog { name, lines })))
            }
            Later::Packages => {
                self.event(Event::Observed(Observation::Packages(PackagesSeen::default())))
            }
        }
    }

    /// What holds at any time.
    fn invariants(&mut self) -> Result<(), String> {
        for ((hook, id), told) in &self.calls {
            let mut up = false;
            for (i, transition) in told.iter().enumerate() {
                let wrong = match transition {
                    Transition::Started => std::mem::replace(&mut up, true),
                    Transition::Stopped | Transition::Died => !std::mem::replace(&mut up, false),
                    Transition::Removed => up || i + 1 != told.len(),
                    Transition::Created => i != 0,
                    _ => false,
                };
                if wrong {
                    return Err(format!("{hook} is told of {}: {told:?}", &id[..8]));
                }
            }
        }
        let mut open = BTreeSet::new();
        for alert in self.saved.alerts.iter().filter(|a| a.resolved.is_none()) {
            if !open.insert(&alert.key) {
                return Err(format!("two open alerts of {}", alert.key.check));
            }
        }
        Ok(())
    }

    /// What holds when everything is known.
    fn settled(&mut self) -> Result<(), String> {
        self.invariants()?;
        let key = |id: &Arc<str>| (Arc::from("all"), id.clone());
        for can in self.dock.cans.values().chain(self.dock.past.values()) {
            let id = &can.seen.id;
            let told = self.calls.get(&key(id)).cloned().unwrap_or_default();
            let count = |wanted: &[Transition]| told.iter().filter(|t| wanted.contains(t)).count();
            let starts = count(&[Transition::Started]);
            let ends = count(&[Transition::Stopped, Transition::Died]);
            let ended = can.runs.iter().filter(|(_, end)| end.is_some()).count();
            if (starts, ends) != (can.runs.len(), ended) {
                let name = &can.seen.name;
                let runs = can.runs.len();
                return Err(format!("{name} ran {runs} times and ended {ended}: {told:?}"));
            }
            let gone = self.dock.past.contains_key(id);
            if count(&[Transition::Removed]) != usize::from(gone) {
                return Err(format!("{} gone: {gone}: {told:?}", can.seen.name));
            }
        }
        // Whoever was told that it runs has been told the end, and who is to know of what runs does.
        for ((hook, id), told) in &self.calls {
            let up = told.iter().rev().find_map(|transition| match transition {
                Transition::Started => Some(true),
                Transition::Stopped | Transition::Died => Some(false),
                _ => None,
            });
            let can = self.dock.cans.get(id);
            if up == Some(true) && !can.is_some_and(dock::Can::is_up) {
                return Err(format!("{hook} is not told the end of {}: {told:?}", &id[..8]));
            }
            if can.is_none() && told.last() != Some(&Transition::Removed) {
                return Err(format!("{hook} is not told that {} is gone: {told:?}", &id[..8]));
            }
        }
        for hook in &self.rules.hooks {
            for can in self.dock.cans.values().filter(|can| can.is_up()) {
                let name = &can.seen.name;
                let wants = |w: &Selector| w.name.as_ref().is_some_and(|glob| glob.matches(name));
                let concerned = hook.who.is_empty() || hook.who.iter().any(wants);
                let told = self.calls.get(&(hook.name.clone(), can.seen.id.clone()));
                if concerned && !told.is_some_and(|t| t.contains(&Transition::Started)) {
                    return Err(format!("{} does not know that {name} runs: {told:?}", hook.name));
                }
            }
        }
        // What was saved goes on as it was: nothing is told again.
        let calls = self.last_call;
        let Some(engine) = &mut self.engine else { return Err("keepwell does not run".into()) };
        let shown = |engine: &mut Engine, now| -> Vec<String> {
            let checks = engine.snapshot(now).checks;
            let mine = checks.iter().filter(|c| c.id.kind == CheckKind::Container);
            mine.map(|c| {
                let counts = c.container.as_ref().map(|v| (v.crashes, v.restarts, v.step));
                format!("{} {} {counts:?}", c.id, c.severity)
            })
            .collect()
        };
        let before = shown(engine, self.now);
        self.come_back()?;
        let Some(engine) = &mut self.engine else { return Ok(()) };
        let after = shown(engine, self.now);
        if before != after {
            return Err(format!("before a restart of keepwell {before:#?}\nafter {after:#?}"));
        }
        if self.last_call != calls {
            return Err("a restart of keepwell tells something again".into());
        }
        let engines: BTreeSet<&str> = after.iter().map(String::as_str).collect();
        if engines.len() != after.len() {
            return Err("a check is shown twice".into());
        }
        // The table has no more than there is.
        if self.saved.containers.len() != self.dock.cans.len() {
            let kept: Vec<_> =
                self.saved.containers.iter().map(|c| c.container.name.clone()).collect();
            return Err(format!("kept are {kept:?} of {}", self.dock.cans.len()));
        }
        Ok(())
    }
}

#[test]
fn no_history_of_containers_breaks_an_invariant() {
    println!("{} events", search(op(), 300_000));
}

#[test]
fn no_history_of_hooks_and_names_leaves_a_receiver_wrong() {
    println!("{} events", search(hook_op(), 100_000));
}

fn search(op: impl Strategy<Value = Op>, usual: usize) -> usize {
    let wanted: usize =
        std::env::var("KEEPWELL_EVENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(usual);
    let seen = std::cell::Cell::new(0usize);
    let mut config = Config::with_cases(u32::MAX);
    config.failure_persistence = None;
    config.max_shrink_iters = 20_000;
    let mut runner = match std::env::var("KEEPWELL_SEED").as_deref() {
        Ok("random") => TestRunner::new(config),
        _ => TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &SEED)),
    };
    let history = proptest::collection::vec(op, 1..200);
    while seen.get() < wanted {
        let tree = history.new_tree(&mut runner).expect("the strategy makes histories");
        let result = runner.run_one(tree, |ops| {
            let events = World::play(&ops).map_err(TestCaseError::fail)?;
            seen.set(seen.get() + events.max(1));
            Ok(())
        });
        if let Err(error) = result {
            panic!("{}", format!("{error}").replace(",\n    ", ", "));
        }
    }
    seen.get()
}

#[test]
fn histories_that_once_went_wrong_go_well() {
    use Op::*;
    let histories: [&[Op]; 4] = [
        // One crashes and is renamed while keepwell is down.
        &[Killed(0, 0), Run(2, 9), Pass(1), Loop(2, 3), Rename(2), Pass(1)],
        // A signal, and an end that is its engine's: the signal is told again later.
        &[Run(2, 57), Kill(2, 15), DaemonDies(true)],
        // One is removed while it is waited for what its policy does.
        &[Run(0, 244), DaemonDies(true), Killed(0, 0), DaemonStarts, KeepwellStarts, Remove(0)],
        &[
            Run(3, 144),
            Killed(0, 0),
            Recreate(0),
            DaemonDies(true),
            KeepwellStarts,
            DaemonStarts,
            Remove(3),
        ],
    ];
    for history in histories {
        if let Err(fault) = World::play(history) {
            panic!("{history:?}: {fault}");
        }
    }
}
