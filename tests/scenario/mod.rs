//! Plays a scenario, written as lines of text, against the real engine on simulated time, and
//! writes down every message that is handed to a channel.
//!
//! A line is a time and an act (`10s  db fails`), or a time and a message that must go out then
//! (`11s  ops < opened db`). Nothing else may go out. Times are counted from the beginning.

mod docker;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::dock::Dock;

use keepwell::engine::event::Delivery;
use keepwell::engine::observation::*;
use keepwell::engine::view::ChannelState;
use keepwell::engine::*;

/// 2026-11-21 00:00 UTC, a Saturday.
const START: Wall = Wall(1_795_219_200_000_000);
const BOOT: Boot = Boot(1_000_000_000);
#[allow(dead_code)] // Not every table of scenarios has long times.
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
/// A delivery, a look at the journal and one at package managers take so long.
const MOMENT: Duration = Duration::from_millis(5);

struct Unit {
    active: ActiveState,
    runs: u128,
    badly: bool,
    /// The kernel killed it for want of memory.
    starved: bool,
    dies_whole: bool,
    requires: Vec<Arc<str>>,
}

impl Unit {
    fn new() -> Self {
        let (active, requires) = (ActiveState::Active, Vec::new());
        Self { active, runs: 1, badly: false, starved: false, dies_whole: false, requires }
    }
}

struct World {
    dock: Option<Dock>,
    rules: Rules,
    now: Now,
    boot_id: Arc<str>,
    engine: Engine,
    saved: Saved,
    deadline: Option<Boot>,
    units: BTreeMap<Arc<str>, Unit>,
    disk: u64,
    /// Processes that the kernel has killed for want of memory.
    kills: u64,
    /// It is told of them.
    counts_kills: bool,
    beat: Wall,
    manager: ManagerSeen,
    packages: bool,
    down: BTreeSet<Arc<str>>,
    restarts_fail: bool,
    /// Handed over, and when it is tried next.
    flying: BTreeMap<Arc<str>, (Arc<Notification>, Boot)>,
    later: Vec<(Boot, Later)>,
    told: Vec<String>,
    /// The last message that was taken.
    last: Option<Arc<Notification>>,
    /// keepwell does not run.
    away: bool,
    last_call: u64,
    /// What the last call says: port, processors and memory.
    described: String,
    /// Hooks that were taken out.
    gone: Vec<rules::HookRule>,
}

enum Later {
    Excerpt(Arc<str>, Option<Invocation>),
    Packages,
    Restarted(Arc<str>),
    ContainerRestarted(Arc<str>, Arc<str>),
    ContainerLog(Arc<str>),
    /// Its policy starts it again.
    Again(Arc<str>),
}

/// Plays a script under rules; returns what is wrong with it, as a text for people.
pub(crate) fn play(rules: Rules, script: &str) -> Result<Duration, String> {
    let lines: Vec<(Duration, &str)> = script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (at, what) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            (time(at).unwrap_or_else(|| panic!("not a time: {line}")), what.trim())
        })
        .collect();
    let mut expected: Vec<String> = Vec::new();
    let mut world = World::new(rules, script.contains(" docker "), script.contains("starve"));
    let mut end = Duration::ZERO;
    for (at, what) in lines {
        end = end.max(at);
        let healed = what.strip_prefix("restart ").is_some_and(|w| w.starts_with("can"));
        if what.contains(" < ") || what.starts_with("refused: ") || healed {
            expected.push(format!("{} {what}", shown(at)));
            continue;
        }
        world.pass(at);
        if !what.is_empty() {
            world.act(what);
        }
    }
    // Long enough for a message that must not come, and short of the next reminder.
    world.pass(end + Duration::from_secs(5));
    if world.told == expected {
        return Ok(end);
    }
    Err(format!(
        "expected:\n    {}\ntold:\n    {}\n",
        expected.join("\n    "),
        world.told.join("\n    ")
    ))
}

impl World {
    fn new(rules: Rules, docker: bool, counts_kills: bool) -> Self {
        let now = Now { boot: BOOT, wall: START };
        let boot_id: Arc<str> = "boot-0".into();
        // keepwell has been on this host before.
        let agent = saved::AgentRecord {
            boot_id: boot_id.clone(),
            clean_stop: true,
            next_alert: 1,
            settled: true,
            next_call: 1,
            engines: BTreeMap::new(),
            reported: None,
        };
        let saved = Saved { agent: Some(agent), ..Saved::default() };
        let (engine, step) =
            Engine::new(rules.clone(), saved.clone(), boot_id.clone(), mode(docker), now);
        let units = ["web", "db", "api", "worker", "other"].map(|name| (full(name), Unit::new()));
        let mut world = Self {
            dock: docker.then(|| Dock::new("docker", now.wall)),
            rules,
            now,
            boot_id,
            engine,
            saved,
            deadline: None,
            units: units.into_iter().collect(),
            disk: 50,
            kills: 0,
            counts_kills,
            beat: now.wall,
            manager: ManagerSeen::default(),
            packages: false,
            down: BTreeSet::new(),
            restarts_fail: false,
            flying: BTreeMap::new(),
            later: Vec::new(),
            told: Vec::new(),
            last: None,
            away: false,
            last_call: 0,
            described: String::new(),
            gone: Vec::new(),
        };
        world.take(step);
        world.look();
        world
    }

    fn act(&mut self, act: &str) {
        let words: Vec<&str> = act.split_whitespace().collect();
        match words[..] {
            ["disk", percent] => {
                self.disk = percent.trim_end_matches('%').parse().expect("a percentage");
                self.sample();
            }
            ["the", "kernel", "starves", "somebody"] => self.starve(),
            [unit, "dies", "whole"] => {
                self.units.get_mut(&full(unit)).expect("a known unit").dies_whole = true;
            }
            [unit, "starves"] => {
                self.starve();
                self.units.get_mut(&full(unit)).expect("a known unit").starved = true;
                self.turn(unit, ActiveState::Failed);
            }
            ["beat"] => {
                self.beat = self.now.wall;
                self.sample();
            }
            ["dpkg", begins] => self.packages = begins == "begins",
            ["docker", ref act @ ..] => self.docker(act),
            ["hook", name, ref act @ ..] => {
                self.hook(name, act);
                let step = self.engine.reload(self.rules.clone(), self.mode().expected, self.now);
                self.take(step);
                // A reload makes new sources.
                self.connect();
            }
            // keepwell reads it when it comes up again.
            ["later", "hook", name, ref act @ ..] => self.hook(name, act),
            ["host", "sleeps"] => self.manage(|m| m.sleeping = true),
            ["host", "wakes"] => self.manage(|m| m.sleeping = false),
            ["host", "boots"] => self.manage(|m| m.starting = true),
            ["host", "has", "booted"] => self.manage(|m| m.starting = false),
            ["shutdown", "begins"] => self.manage(|m| m.stopping = true),
            ["shutdown", "is", "cancelled"] => self.manage(|m| m.stopping = false),
            ["systemd", "reloads"] => self.manage(|m| m.reloading = true),
            ["systemd", "has", "reloaded"] => self.manage(|m| m.reloading = false),
            ["host", "reboots"] => self.reboot(),
            ["keepwell", "is", "killed"] => self.come_back(),
            ["keepwell", "is", "new"] => {
                self.saved = Saved::default();
                self.come_back();
            }
            ["clock", "jumps", "back", by] => {
                let by = time(by).expect("a time");
                self.now.wall = self.now.wall.before(by);
                self.beat = self.now.wall;
                self.sample();
            }
            ["reload", "with", names] => {
                let old = self.rules.channels.clone();
                self.rules.channels = if names == "none" {
                    vec![]
                } else {
                    names
                        .split(',')
                        .map(|n| {
                            old.iter()
                                .find(|c| &*c.name == n)
                                .cloned()
                                .unwrap_or_else(|| rules::ChannelRule::new(n, "webhook"))
                        })
                        .collect()
                };
                let keep: Vec<Arc<str>> =
                    self.rules.channels.iter().map(|c| c.name.clone()).collect();
                self.flying.retain(|c, _| keep.contains(c));
                let step = self.engine.reload(self.rules.clone(), self.mode().expected, self.now);
                self.take(step);
            }
            ["containers", "are", "left", "out"] => self.look_for_containers(false),
            ["containers", "are", "looked", "at", "again"] => self.look_for_containers(true),
            ["beat", "unreadable"] => {
                let state = HeartbeatState::Error("eio".into());
                let seen = HeartbeatSeen { path: "/beat".into(), rule: 0, state };
                self.see(Observation::Heartbeats(vec![seen]));
            }
            ["clock", "jumps", by] => {
                let by = time(by).expect("a time");
                self.now.wall = self.now.wall.after(by);
                self.beat = self.now.wall;
                self.sample();
            }
            ["container", ref name @ .., "is", how] => {
                let id = CheckId::new(CheckKind::Container, name.join(" "));
                let checks = self.engine.snapshot(self.now).checks;
                let is = checks.iter().find(|c| c.id == id).map_or("gone", |c| c.severity.as_str());
                if is != how {
                    self.told.push(format!("{} {id} is {is}", self.shown_now()));
                }
            }
            ["ack", unit] => self.acknowledge(unit, None),
            ["ack", unit, "for", lasts] => self.acknowledge(unit, time(lasts)),
            ["unack", unit] => {
                let alert = self.alert(unit);
                self.command(Act::Unacknowledge { alert });
            }
            ["silence", what, "for", lasts] => {
                let matcher = Matcher::check(what).expect("a check");
                let lasts = time(lasts).expect("a time");
                self.command(Act::Silence { matcher, lasts, why: None });
            }
            ["unsilence"] => {
                let id = self.saved.silences[0].id.clone();
                self.command(Act::Unsilence { id });
            }
            ["restarts", "fail"] => self.restarts_fail = true,
            ["restarts", "work"] => self.restarts_fail = false,
            ["hold", what, "for", lasts] => {
                let lasts = time(lasts).expect("a time");
                self.command(Act::Hold { unit: Some(what.into()), lasts, why: None });
            }
            ["ask", "for", "restart", "of", what] => {
                self.command(Act::Restart { unit: what.into() });
            }
            ["restart", unit] => self.command(Act::Restart { unit: full(unit) }),
            [unit, "needs", other] => {
                let unit = self.units.get_mut(&full(unit)).expect("a known unit");
                unit.requires.push(full(other));
            }
            [unit, "logs", "errors"] => self.see(Observation::Errors(ErrorsSeen {
                unit: full(unit),
                count: 1,
                lines: vec!["error: it broke".into()],
                cursor: None,
            })),
            [channel, "is", "down"] => drop(self.down.insert(channel.into())),
            [channel, "is", "up"] => drop(self.down.remove(channel)),
            [channel, "refuses"] => self.answer(channel, Delivery::Refused("too big".into())),
            [channel, "is", "gone"] => {
                self.down.insert(channel.into());
                self.answer(channel, Delivery::Stopped("410 Gone".into()));
                let part = Part::Channel(channel.into());
                let state = PartState::Broken("410 Gone".into());
                self.see(Observation::Part(PartSeen { part, state }));
            }
            ["crowd", units] => {
                for n in 0..units.parse().expect("how many units") {
                    let name = full(&format!("s{n}"));
                    self.units.insert(name.clone(), Unit::new());
                    self.show(&name, false);
                }
            }
            [unit, "fails"] => self.turn(unit, ActiveState::Failed),
            [unit, "recovers" | "starts"] => self.turn(unit, ActiveState::Active),
            [unit, "is", "stopped"] => self.stop(unit),
            [unit, "flaps", times, "times"] => {
                for _ in 0..times.parse::<u32>().expect("a number") {
                    self.turn(unit, ActiveState::Failed);
                    self.pass_by(Duration::from_secs(10));
                    self.turn(unit, ActiveState::Active);
                    self.pass_by(Duration::from_secs(10));
                }
            }
            _ => panic!("nobody knows what '{act}' is"),
        }
    }

    /// What becomes of a hook in the configuration.
    fn hook(&mut self, name: &str, act: &[&str]) {
        let at = self.rules.hooks.iter().position(|hook| *hook.name == *name);
        match (act, at) {
            (["goes"], Some(at)) => self.gone.push(self.rules.hooks.remove(at)),
            (["comes", "back"], None) => {
                let at = self.gone.iter().position(|hook| *hook.name == *name);
                self.rules.hooks.push(self.gone.remove(at.expect("it went")));
            }
            (["moves", "to", receiver], Some(at)) => {
                self.rules.hooks[at].receiver = (*receiver).into();
            }
            (["is", "for", pattern], Some(at)) => {
                let name = Some(glob::Pattern::new(pattern).expect("a pattern"));
                let who = rules::Selector { name, ..rules::Selector::default() };
                self.rules.hooks[at].who = vec![who];
            }
            _ => panic!("nobody knows how hook {name} {act:?}"),
        }
    }

    // What happens on the host.

    fn turn(&mut self, unit: &str, active: ActiveState) {
        let name = full(unit);
        let unit = self.units.get_mut(&name).expect("a known unit");
        if active == ActiveState::Active {
            unit.runs += 1;
        }
        unit.badly = active == ActiveState::Failed;
        unit.starved &= unit.badly;
        unit.active = active;
        self.show(&name, false);
    }

    fn stop(&mut self, unit: &str) {
        let name = full(unit);
        let unit = self.units.get_mut(&name).expect("a known unit");
        unit.active = ActiveState::Deactivating;
        self.show(&name, true);
        let unit = self.units.get_mut(&name).expect("a known unit");
        unit.active = ActiveState::Inactive;
        self.show(&name, false);
    }

    fn show(&mut self, name: &Arc<str>, job: bool) {
        let unit = &self.units[name];
        let sub = match unit.active {
            ActiveState::Active => "running",
            ActiveState::Failed => "failed",
            ActiveState::Deactivating => "stop-sigterm",
            _ => "dead",
        };
        let seen = UnitSeen {
            name: name.clone(),
            active: unit.active,
            sub: sub.into(),
            job,
            invocation: Some(Invocation(unit.runs.to_be_bytes())),
            since: Some(self.now.wall),
            service: Some(ServiceSeen {
                result: match (unit.badly, unit.starved) {
                    (true, true) => "oom-kill",
                    (true, false) => "exit-code",
                    _ => "success",
                }
                .into(),
                exit_code: i32::from(unit.badly),
                exit_status: 3 * i32::from(unit.badly),
                dies_whole: unit.dies_whole,
                ..ServiceSeen::default()
            }),
            details: Some(Details {
                restart: "no".into(),
                kind: "simple".into(),
                triggered: false,
                requires: unit.requires.clone(),
            }),
            ..UnitSeen::default()
        };
        self.see(Observation::Unit(Box::new(seen)));
    }

    fn manage(&mut self, change: impl FnOnce(&mut ManagerSeen)) {
        change(&mut self.manager);
        self.see(Observation::Manager(self.manager));
    }

    fn look(&mut self) {
        self.see(Observation::Manager(self.manager));
        let names: Vec<Arc<str>> = self.units.keys().cloned().collect();
        for name in names {
            self.show(&name, false);
        }
        self.sample();
        self.see(Observation::Round(Round { source: SourceKind::Units, total: Some(5) }));
        self.see(Observation::Round(Round { source: SourceKind::Host, total: None }));
        self.connect();
    }

    fn mode(&self) -> Mode {
        mode(self.dock.is_some())
    }

    /// What the host's source does every 30 s.
    fn sample(&mut self) {
        if self.counts_kills {
            let host = HostSeen { oom_kills: Some(self.kills), cpus: 4, ..HostSeen::default() };
            self.see(Observation::Host(host));
        }
        self.see(Observation::Disks(vec![DiskSeen {
            mount: "/".into(),
            device: "/dev/vda1".into(),
            fstype: "ext4".into(),
            read_only: false,
            usage: DiskUsage::Known {
                space: Amount { total: 100, available: 100 - self.disk },
                inodes: None,
            },
        }]));
        if !self.rules.heartbeats.is_empty() {
            let state = HeartbeatState::Present(self.beat);
            let seen = HeartbeatSeen { path: "/beat".into(), rule: 0, state };
            self.see(Observation::Heartbeats(vec![seen]));
        }
    }

    fn look_for_containers(&mut self, on: bool) {
        self.rules.containers.off = !on;
        let step = self.engine.reload(self.rules.clone(), self.mode().expected, self.now);
        self.take(step);
        if on {
            self.connect();
        }
    }

    fn starve(&mut self) {
        assert!(self.counts_kills);
        self.kills += 1;
    }

    fn reboot(&mut self) {
        self.now.wall = self.now.wall.after(Duration::from_secs(30));
        self.now.boot = Boot(10_000_000);
        self.boot_id = format!("{}'", self.boot_id).into();
        self.manager = ManagerSeen::default();
        for unit in self.units.values_mut() {
            unit.runs += 1;
            (unit.active, unit.badly) = (ActiveState::Active, false);
        }
        self.come_back();
    }

    fn come_back(&mut self) {
        self.later.clear();
        let soon = self.now.boot.after(MOMENT);
        self.flying.values_mut().for_each(|(_, at)| *at = soon);
        self.saved.outbox = self.flying.values().map(|(n, _)| n.clone()).collect();
        let (engine, step) = Engine::new(
            self.rules.clone(),
            self.saved.clone(),
            self.boot_id.clone(),
            self.mode(),
            self.now,
        );
        self.engine = engine;
        self.take(step);
        let taken_up: Vec<Arc<str>> = self.flying.keys().cloned().collect();
        for channel in taken_up {
            self.carried(&channel, None);
        }
        self.look();
    }

    // What people do.

    fn alert(&self, unit: &str) -> Arc<str> {
        let mine = |a: &&AlertRecord| name(&a.key.check) == unit && a.resolved.is_none();
        let found = self.saved.alerts.iter().find(mine);
        found.unwrap_or_else(|| panic!("no alert of {unit} is open")).id.clone()
    }

    fn acknowledge(&mut self, unit: &str, lasts: Option<Duration>) {
        let alert = self.alert(unit);
        self.command(Act::Acknowledge { alert, lasts, why: None });
    }

    fn command(&mut self, act: Act) {
        let command = Command { actor: Actor("anna".into()), act };
        let mut step = self.engine.step(Event::Command(command), self.now);
        let reply = step.reply.take().expect("a command is answered");
        self.take(step);
        if let Err(why) = reply {
            self.told.push(format!("{} refused: {why}", self.shown_now()));
        }
    }

    // Time.

    fn pass(&mut self, to: Duration) {
        let gone = self.elapsed();
        self.pass_by(to.checked_sub(gone).unwrap_or_default());
    }

    /// By the boot clock's count; a reboot and a jump of the clock do not count.
    fn elapsed(&self) -> Duration {
        self.now.wall.since(START)
    }

    fn pass_by(&mut self, by: Duration) {
        let end = self.now.boot.after(by);
        loop {
            let sample = Boot((self.now.boot.0 / 30_000_000 + 1) * 30_000_000);
            let up = self.flying.iter().filter(|(c, _)| !self.down.contains(*c));
            let next = up
                .map(|(_, (_, at))| *at)
                .chain(self.later.iter().map(|(at, _)| *at))
                .chain(self.deadline)
                .chain([sample])
                .min()
                .filter(|at| *at <= end);
            let Some(next) = next else { break };
            let next = next.max(self.now.boot);
            self.now = self.now.after(next.since(self.now.boot));
            if next == sample {
                self.sample();
            }
            self.due();
            if self.deadline.is_some_and(|d| d <= self.now.boot) {
                self.event(Event::Deadline);
            }
        }
        self.now = self.now.after(end.since(self.now.boot));
    }

    fn due(&mut self) {
        let now = self.now.boot;
        while let Some(i) = self.later.iter().position(|(at, _)| *at <= now) {
            match self.later.swap_remove(i).1 {
                Later::Excerpt(unit, invocation) => {
                    let lines = vec!["last words".to_owned()];
                    self.see(Observation::Excerpt(Excerpt { unit, invocation, lines }));
                }
                Later::Packages => {
                    let busy = self.packages.then(|| "dpkg".into());
                    self.see(Observation::Packages(PackagesSeen { busy }));
                }
                Later::ContainerLog(name) => {
                    let lines = vec!["last words".to_owned()];
                    self.see(Observation::ContainerLog(ContainerLog { name, lines }));
                }
                Later::Again(id) => {
                    let dock = self.dock.as_mut().expect("there is one");
                    dock.at(self.now.wall);
                    if dock.cans.get(&id).is_some_and(|c| c.seen.policy != Policy::No && !c.by_hand)
                        && dock.up
                    {
                        let seen = &dock.can(&id).seen;
                        match (seen.status, seen.policy) {
                            // It has been tried often enough.
                            (ContainerStatus::Exited, Policy::OnFailure(_)) => {}
                            (ContainerStatus::Exited, _) => dock.start(&id),
                            _ => dock.again(&id),
                        }
                        self.listen();
                    }
                }
                Later::ContainerRestarted(name, id) => {
                    let dock = self.dock.as_mut().expect("there is one");
                    dock.at(self.now.wall);
                    let result = if self.restarts_fail {
                        RestartResult::Failed("no space left on device".into())
                    } else {
                        dock.restart(&id);
                        RestartResult::Done
                    };
                    self.now.wall = self.now.wall.max(dock.clock);
                    self.told.push(format!("{} restart {name}", self.shown_now()));
                    self.listen();
                    self.event(Event::Outcome(Outcome::ContainerRestart { name, result }));
                }
                Later::Restarted(unit) => {
                    let state = self.units.get_mut(&unit).expect("a known unit");
                    if self.restarts_fail {
                        // What it was has been reset, and the job came to nothing.
                        (state.active, state.badly) = (ActiveState::Inactive, false);
                        let result = RestartResult::JobFailed("dependency".into());
                        self.show(&unit, false);
                        self.event(Event::Outcome(Outcome::Restart { unit, result }));
                        continue;
                    }
                    let result = RestartResult::Done;
                    (state.runs, state.active, state.badly) =
                        (state.runs + 1, ActiveState::Active, false);
                    self.show(&unit, false);
                    self.event(Event::Outcome(Outcome::Restart { unit, result }));
                }
            }
        }
        let ready: Vec<Arc<str>> = self
            .flying
            .iter()
            .filter(|(c, (_, at))| *at <= now && !self.down.contains(*c))
            .map(|(c, _)| c.clone())
            .collect();
        for channel in ready {
            self.answer(&channel, Delivery::Delivered);
        }
    }

    /// The receiver answers to the message under way.
    fn answer(&mut self, channel: &str, result: Delivery) {
        let Some((message, _)) = self.flying.get(channel).cloned() else { return };
        if !matches!(result, Delivery::Stopped(_)) {
            self.flying.remove(channel);
        }
        if result == Delivery::Delivered {
            self.told.push(format!("{} {channel} < {}", self.shown_now(), said(&message)));
            self.last = Some(message.clone());
        }
        let (channel, id) = (message.channel.clone(), message.id.clone());
        let refused = matches!(result, Delivery::Refused(_));
        self.event(Event::Outcome(Outcome::Delivery { channel: channel.clone(), id, result }));
        self.carried(&channel, Some(refused));
    }

    /// What is said of a channel: which alerts its message under way carries, and whether the
    /// last one was given up.
    fn carried(&mut self, channel: &str, refused: Option<bool>) {
        let snapshot = self.engine.snapshot(self.now);
        let Some(view) = snapshot.channels.iter().find(|c| *c.name == *channel) else { return };
        let mut flying: Vec<Arc<str>> = match self.flying.get(channel) {
            Some((message, _)) => message.items.iter().map(|i| i.alert.id.clone()).collect(),
            None => Vec::new(),
        };
        flying.sort();
        assert_eq!(view.carries, flying, "on its way to {channel}");
        if let Some(refused) = refused {
            assert_eq!(view.state == ChannelState::Refused, refused, "{channel}");
        }
    }

    fn see(&mut self, seen: Observation) {
        self.event(Event::Observed(seen));
    }

    fn event(&mut self, event: Event) {
        let step = self.engine.step(event, self.now);
        self.take(step);
    }

    fn take(&mut self, step: Step) {
        self.deadline = step.deadline;
        for change in &step.changes {
            self.saved.apply(change);
        }
        let soon = self.now.boot.after(MOMENT);
        let mut handed = Vec::new();
        for effect in step.effects {
            match effect {
                Effect::Notify(message) => {
                    let channel = message.channel.clone();
                    handed.push(channel.clone());
                    let before = self.flying.insert(channel, (Arc::new(message), soon));
                    assert!(before.is_none(), "two messages under way on one channel");
                }
                Effect::FetchLog { unit, invocation } => {
                    self.later.push((soon, Later::Excerpt(unit, invocation)));
                }
                Effect::LookAtPackages => self.later.push((soon, Later::Packages)),
                Effect::Restart { unit, .. } => self.later.push((soon, Later::Restarted(unit))),
                Effect::RestartContainer { name, id, .. } => {
                    self.later.push((soon, Later::ContainerRestarted(name, id)));
                }
                Effect::FetchContainerLog { name, .. } => {
                    self.later.push((soon, Later::ContainerLog(name)));
                }
                Effect::Call(call) => {
                    assert!(call.number > self.last_call, "call numbers rise");
                    self.last_call = call.number;
                    let container = &call.container;
                    let port = container.port.unwrap_or_default();
                    self.described = format!("{port} {} {}", container.cpus, container.memory);
                    let said = format!("{} {}", call.transition, call.container.name);
                    self.told.push(format!("{} {} < {said}", self.shown_now(), call.hook));
                }
                Effect::Resync | Effect::Log(_) => {}
            }
        }
        for channel in handed {
            self.carried(&channel, None);
        }
    }

    fn shown_now(&self) -> String {
        shown(self.elapsed())
    }
}

/// A message in a few words: `opened db + opened api, resolved disk:/`.
fn said(message: &Notification) -> String {
    let mut out = match message.gist {
        Gist::Alerts => String::new(),
        gist => format!("{}: ", gist.as_str()),
    };
    for (i, item) in message.items.iter().enumerate() {
        let between = match (i, item.beneath) {
            (0, _) => "",
            (_, true) => " + ",
            (_, false) => ", ",
        };
        let first = if item.opening && item.happening != Happening::Opened { "!" } else { "" };
        let what = name(&item.alert.key.check);
        let kind = match item.alert.key.kind {
            AlertKind::State => String::new(),
            kind => format!(" ({kind})"),
        };
        let flaps = if item.alert.flapping { " flapping" } else { "" };
        let over = item.happening == Happening::Resolved;
        let ended = item.alert.ended.filter(|_| over).map_or("", |why| why.as_str());
        let how = if ended.is_empty() { item.happening.as_str() } else { ended };
        out.push_str(&format!("{between}{how}{first} {what}{kind}{flaps}"));
    }
    for notice in &message.notices {
        let between = if out.is_empty() || out.ends_with(": ") { "" } else { ", " };
        out.push_str(&format!("{between}{} {}", notice.event.as_str(), name(&notice.check)));
    }
    if let Some(report) = &message.report {
        let [healthy, unknown, warning, critical] = report.counts;
        out.push_str(&format!(
            "{healthy} healthy {unknown} unknown {warning} warning {critical} critical, \
             {} opened {} resolved {} restarts",
            report.opened, report.resolved, report.restarts
        ));
    }
    if message.omitted > 0 {
        out.push_str(&format!(" and {} more", message.omitted));
    }
    out
}

fn name(check: &CheckId) -> String {
    check.to_string().trim_start_matches("unit:").trim_end_matches(".service").to_owned()
}

fn full(name: &str) -> Arc<str> {
    format!("{name}.service").into()
}

fn mode(docker: bool) -> Mode {
    let mut expected: BTreeSet<SourceKind> = [SourceKind::Units, SourceKind::Host].into();
    if docker {
        expected.insert(SourceKind::Containers);
    }
    Mode { expected, ..Mode::default() }
}

/// `1d2h`, `90s`, `1.5s`.
pub(crate) fn time(text: &str) -> Option<Duration> {
    let mut total = 0.0;
    let mut number = String::new();
    for c in text.chars() {
        if c.is_ascii_digit() || c == '.' {
            number.push(c);
            continue;
        }
        let unit = match c {
            's' => 1.0,
            'm' => 60.0,
            'h' => 3600.0,
            'd' => 86_400.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * unit;
        number.clear();
    }
    number.is_empty().then(|| Duration::from_secs_f64(total))
}

/// To the second, with tenths below ten seconds where there are any.
fn shown(at: Duration) -> String {
    let s = at.as_secs();
    let (d, h, m, s) = (s / 86_400, s / 3600 % 24, s / 60 % 60, s % 60);
    let mut out = String::new();
    for (n, unit) in [(d, 'd'), (h, 'h'), (m, 'm')] {
        if n > 0 {
            out.push_str(&format!("{n}{unit}"));
        }
    }
    if s > 0 || out.is_empty() {
        out.push_str(&format!("{s}s"));
    }
    out
}
