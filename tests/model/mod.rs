//! A small model of a host: units that run, crash and are stopped, a journal, a clock. It knows
//! the truth, feeds the engine what sources would see of it, and checks what the engine does.

mod receivers;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use keepwell::engine::observation::*;
use keepwell::engine::rules::*;
use keepwell::engine::saved::Phase;
use keepwell::engine::*;

use receivers::Receivers;

/// One act of the world.
#[derive(Debug, Clone)]
pub enum Op {
    Millis(u32),
    Seconds(u32),
    Minutes(u32),
    /// The main process is killed.
    Crash(usize),
    /// `systemctl stop`.
    Stop(usize),
    /// `systemctl stop`, and the service answers with exit code 143.
    StopBadly(usize),
    Start(usize),
    Restart(usize),
    ResetFailed(usize),
    Mask(usize),
    Unmask(usize),
    Hold(usize, u32),
    Release(usize),
    Errors(usize),
    /// Part of the disk in use, in percent.
    Disk(u8),
    /// Age of the heartbeat file, in seconds.
    Heartbeat(u32),
    /// systemd reloads, or has.
    Manager(bool),
    /// The bus is there or not.
    Bus(bool),
    /// `kill -9` of keepwell; it comes back after so many seconds, in which services go on crashing.
    KillKeepwell(u32),
    Reboot,
    Resync,
    /// The wall clock is set, by seconds.
    ClockJump(i32),
    /// A receiver is there or not.
    Receiver(usize, bool),
    /// The host goes to sleep or wakes up.
    Sleep(bool),
    /// A package manager begins or ends its work.
    Packages(bool),
    /// Somebody acknowledges the first open alert, for so many seconds (0: until its end).
    Acknowledge(u32),
    /// Somebody silences a unit, for so many seconds.
    Silence(usize, u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Stopped,
    Failed,
    /// systemd waits to restart it, until then.
    AutoRestart(Boot),
}

#[derive(Debug, Clone)]
struct Sim {
    name: Arc<str>,
    policy: &'static str,
    state: State,
    masked: bool,
    run: Invocation,
    badly: bool,
    by_operator: bool,
    since: Boot,
    n_restarts: u32,
    /// Restarts by systemd within its own start limit.
    burst: u32,
    /// The truth: restarts as the design counts them.
    restarts: u64,
    /// keepwell's attempts since the unit was last stable or stopped, and the bound they give.
    attempts: u32,
    failed_at: Boot,
    up_since: Option<Boot>,
}

pub struct World {
    now: Now,
    boot_id: Arc<str>,
    boots: u32,
    runs: u128,
    units: Vec<Sim>,
    journal: Vec<Life>,
    read_up_to: usize,
    bus: bool,
    engine: Engine,
    saved: Saved,
    deadline: Option<Boot>,
    /// Restarts under way: unit, when it is read again, and the run that had failed.
    acting: Vec<(usize, Boot, Option<Invocation>)>,
    excerpts: Vec<(Arc<str>, Option<Invocation>)>,
    heartbeat: Wall,
    held: BTreeMap<Arc<str>, Wall>,
    receivers: Receivers,
    manager: ManagerSeen,
    packages: bool,
    /// When somebody looks whether a package manager is at work.
    looks: VecDeque<Boot>,
    /// Silences: of which unit, from when, until when.
    silenced: Vec<(Arc<str>, Wall, Wall)>,
    clock_jumped: bool,
    events: usize,
}

const CHANNELS: [&str; 3] = ["ops", "night", "boss"];
const BACKOFF: [u64; 6] = [10, 20, 40, 80, 160, 300];

fn rules() -> Rules {
    let named = |name: &str, restart: bool| UnitRule {
        restart,
        ..UnitRule::new(UnitPattern::try_new(name).expect("a valid name"))
    };
    Rules {
        units: vec![
            named("healed.service", true),
            named("left.service", false),
            named("always@*.service", true),
        ],
        heartbeats: vec![HeartbeatRule {
            path: "/beat".into(),
            max_age: Duration::from_secs(300),
            severity: Severity::Warning,
            confirm: Confirm::default(),
        }],
        alerts: AlertRules {
            escalations: vec![Escalation {
                after: Duration::from_secs(600),
                matcher: Matcher::all(),
                channels: vec!["boss".into()],
            }],
            remind: Some(Duration::from_secs(1800)),
            ..AlertRules::default()
        },
        channels: vec![
            ChannelRule { notices: true, ..ChannelRule::new("ops", "webhook") },
            ChannelRule {
                min_severity: Severity::Critical,
                ..ChannelRule::new("night", "webhook")
            },
            ChannelRule::new("boss", "webhook"),
        ],
        ..Rules::default()
    }
}

impl World {
    pub const UNITS: usize = 4;

    /// Plays a history. Returns how many events the engine was given.
    pub fn play(ops: &[Op]) -> Result<usize, String> {
        let mut world = Self::new()?;
        for op in ops {
            world.op(op).map_err(|e| format!("{e}\nafter {op:?}"))?;
        }
        world.rest().map_err(|e| format!("{e}\nat the end"))?;
        Ok(world.events)
    }

    fn new() -> Result<Self, String> {
        let now = Now { boot: Boot(60_000_000), wall: Wall(1_800_000_000_000_000) };
        let boot_id: Arc<str> = "boot-0".into();
        let (engine, step) = Engine::new(rules(), Saved::default(), boot_id.clone(), mode(), now);
        let policies = [
            ("healed.service", "no"),
            ("left.service", "no"),
            ("always@1.service", "always"),
            ("nobody.service", "no"),
        ];
        let units = policies
            .iter()
            .enumerate()
            .map(|(i, (name, policy))| Sim {
                name: (*name).into(),
                policy,
                state: State::Running,
                masked: false,
                run: invocation(i as u128 + 1),
                badly: false,
                by_operator: false,
                since: now.boot,
                n_restarts: 0,
                burst: 0,
                restarts: 0,
                attempts: 0,
                failed_at: Boot(0),
                up_since: Some(now.boot),
            })
            .collect();
        let mut world = Self {
            now,
            boot_id,
            boots: 0,
            runs: 100,
            units,
            journal: Vec::new(),
            read_up_to: 0,
            bus: true,
            engine,
            saved: Saved::default(),
            deadline: None,
            acting: Vec::new(),
            excerpts: Vec::new(),
            heartbeat: now.wall,
            held: BTreeMap::new(),
            receivers: Receivers::default(),
            manager: ManagerSeen::default(),
            packages: false,
            looks: VecDeque::new(),
            silenced: Vec::new(),
            clock_jumped: false,
            events: 0,
        };
        world.take(step)?;
        world.sync()?;
        Ok(world)
    }

    fn op(&mut self, op: &Op) -> Result<(), String> {
        match *op {
            Op::Millis(ms) => self.wait(Duration::from_millis(ms.into())),
            Op::Seconds(s) => self.wait(Duration::from_secs(s.into())),
            Op::Minutes(m) => self.wait(Duration::from_secs(u64::from(m) * 60)),
            Op::Crash(u) => self.crash(u, true),
            Op::Stop(u) => self.stop(u, false),
            Op::StopBadly(u) => self.stop(u, true),
            Op::Start(u) => {
                if matches!(self.units[u].state, State::Running) || self.units[u].masked {
                    return Ok(());
                }
                self.begin(u, true)
            }
            Op::Restart(u) => {
                if self.units[u].masked {
                    return Ok(());
                }
                if self.units[u].state == State::Running {
                    self.stop(u, false)?;
                }
                self.begin(u, true)
            }
            Op::ResetFailed(u) => {
                // keepwell's own restart begins with the same; within those milliseconds nobody
                // can tell whose it was.
                let acting = self.acting.iter().any(|(a, ..)| *a == u);
                if self.units[u].state == State::Failed && !acting {
                    self.units[u].state = State::Stopped;
                    // The journal does not tell of it: unseen, the next start follows a failure.
                    self.units[u].by_operator |= self.bus;
                    self.units[u].attempts = 0;
                    self.units[u].up_since = None;
                    self.show(u, false)?;
                }
                Ok(())
            }
            Op::Mask(u) => {
                self.units[u].masked = true;
                self.show(u, false)
            }
            Op::Unmask(u) => {
                self.units[u].masked = false;
                self.show(u, false)
            }
            Op::Hold(u, s) => {
                let name = self.units[u].name.clone();
                let lasts = Duration::from_secs(s.into());
                let act = Act::Hold { unit: Some(name.clone()), lasts, why: None };
                if self.command(act)? {
                    self.held.insert(name, self.now.wall.after(lasts));
                }
                Ok(())
            }
            Op::Release(u) => {
                let name = self.units[u].name.clone();
                // A restart that is due follows at once.
                self.held.remove(&name);
                self.command(Act::Release { unit: Some(name) })?;
                Ok(())
            }
            Op::Errors(u) => {
                let unit = self.units[u].name.clone();
                let lines = vec!["error: it broke".to_owned()];
                self.see(Observation::Errors(ErrorsSeen { unit, count: 1, lines, cursor: None }))
            }
            Op::Disk(percent) => self.see(Observation::Disks(vec![DiskSeen {
                mount: "/".into(),
                device: "/dev/vda".into(),
                fstype: "ext4".into(),
                read_only: percent == 99,
                usage: if percent == 100 {
                    DiskUsage::Hangs
                } else {
                    DiskUsage::Known {
                        space: Amount { total: 100, available: u64::from(100 - percent) },
                        inodes: None,
                    }
                },
            }])),
            Op::Heartbeat(age) => {
                self.heartbeat = self.now.wall.before(Duration::from_secs(age.into()));
                self.sample()
            }
            Op::Manager(reloading) => {
                self.manager.reloading = reloading;
                self.see(Observation::Manager(self.manager))
            }
            Op::Sleep(sleeping) => {
                self.manager.sleeping = sleeping;
                self.see(Observation::Manager(self.manager))
            }
            Op::Packages(busy) => {
                self.packages = busy;
                Ok(())
            }
            Op::Receiver(channel, there) => {
                let name: Arc<str> = CHANNELS[channel].into();
                if there {
                    self.receivers.down.remove(&name);
                } else {
                    self.receivers.down.insert(name);
                }
                Ok(())
            }
            Op::Acknowledge(s) => {
                let Some(alert) = self.saved.alerts.iter().find(|a| a.resolved.is_none()) else {
                    return Ok(());
                };
                let lasts = (s > 0).then(|| Duration::from_secs(s.into()));
                let act = Act::Acknowledge { alert: alert.id.clone(), lasts, why: None };
                if !self.command(act)? {
                    return Err("an open alert could not be acknowledged".into());
                }
                Ok(())
            }
            Op::Silence(u, s) => {
                let name = self.units[u].name.clone();
                let lasts = Duration::from_secs(u64::from(s) + 1);
                let matcher = Matcher::check(&name)?;
                if self.command(Act::Silence { matcher, lasts, why: None })? {
                    self.silenced.push((name, self.now.wall, self.now.wall.after(lasts)));
                }
                Ok(())
            }
            Op::Bus(there) => self.set_bus(there),
            Op::KillKeepwell(seconds) => self.kill_keepwell(seconds),
            Op::Reboot => self.reboot(),
            Op::Resync => self.sync(),
            Op::ClockJump(seconds) => {
                self.now.wall.0 += i64::from(seconds) * 1_000_000;
                self.clock_jumped = true;
                self.sample()
            }
        }
    }

    // The world.

    fn crash(&mut self, u: usize, seen: bool) -> Result<(), String> {
        if self.units[u].state != State::Running {
            return Ok(());
        }
        let now = self.now;
        let unit = &mut self.units[u];
        unit.badly = true;
        unit.by_operator = false;
        unit.since = now.boot;
        unit.failed_at = now.boot;
        if unit.up_since.take().is_some_and(|up| now.boot.since(up) >= Duration::from_secs(600)) {
            unit.attempts = 0;
        }
        self.log(u, LifeWhat::Failed);
        let unit = &mut self.units[u];
        if unit.policy == "always" && unit.burst < 4 {
            unit.burst += 1;
            unit.n_restarts += 1;
            unit.state = State::AutoRestart(now.boot.after(Duration::from_secs(1)));
            self.log(u, LifeWhat::RestartScheduled);
        } else {
            unit.state = State::Failed;
        }
        if seen { self.show(u, false) } else { Ok(()) }
    }

    fn stop(&mut self, u: usize, badly: bool) -> Result<(), String> {
        match self.units[u].state {
            State::Running => {
                // deactivating, with a job; then the end.
                self.log(u, LifeWhat::Stopping);
                self.units[u].by_operator = true;
                let mut seen = self.unit_seen(u, true);
                seen.active = ActiveState::Deactivating;
                seen.sub = "stop-sigterm".into();
                self.show_this(seen)?;
                if badly {
                    self.units[u].badly = true;
                    self.log(u, LifeWhat::Failed);
                    self.units[u].state = State::Failed;
                } else {
                    self.units[u].state = State::Stopped;
                }
            }
            State::AutoRestart(_) => {
                self.log(u, LifeWhat::Stopping);
                self.units[u].by_operator = true;
                self.units[u].state = State::Stopped;
            }
            State::Stopped | State::Failed => return Ok(()),
        }
        self.units[u].attempts = 0;
        self.units[u].up_since = None;
        self.show(u, false)
    }

    /// A new run begins; `fresh`: by a job, which resets systemd's counter.
    fn begin(&mut self, u: usize, fresh: bool) -> Result<(), String> {
        self.runs += 1;
        let run = invocation(self.runs);
        let now = self.now;
        let unit = &mut self.units[u];
        // A restart follows a run that ended badly of itself.
        if unit.badly && !unit.by_operator {
            unit.restarts += 1;
        }
        if fresh {
            unit.n_restarts = 0;
            unit.burst = 0;
        }
        unit.run = run;
        unit.badly = false;
        unit.by_operator = false;
        unit.state = State::Running;
        unit.since = now.boot;
        unit.up_since = Some(now.boot);
        self.log(u, LifeWhat::Started);
        let mut starting = self.unit_seen(u, true);
        starting.active = ActiveState::Activating;
        starting.sub = "start".into();
        self.show_this(starting)?;
        self.show(u, false)
    }

    fn log(&mut self, u: usize, what: LifeWhat) {
        // No two things happen at the same moment.
        self.now = self.now.after(Duration::from_micros(1));
        let life = Life {
            unit: self.units[u].name.clone(),
            invocation: self.units[u].run,
            at: self.now.wall,
            boot_id: self.boot_id.clone(),
            what,
        };
        self.journal.push(life);
    }

    /// Time passes: automatic restarts, restarts by keepwell, excerpts and deadlines in order.
    fn wait(&mut self, by: Duration) -> Result<(), String> {
        let end = self.now.boot.after(by);
        loop {
            let auto = self.units.iter().filter_map(|u| match u.state {
                State::AutoRestart(at) => Some(at),
                _ => None,
            });
            let next = auto
                .chain(self.acting.iter().map(|(_, at, _)| *at))
                .chain(self.receivers.due())
                .chain(self.looks.front().copied())
                .chain(self.deadline)
                .min()
                .filter(|at| *at <= end);
            let Some(next) = next else { break };
            self.pass_to(next.max(self.now.boot));
            self.world_due()?;
            if self.deadline.is_some_and(|d| d <= self.now.boot) {
                self.event(Event::Deadline)?;
            }
        }
        self.pass_to(end);
        for (unit, invocation) in std::mem::take(&mut self.excerpts) {
            let lines = vec![format!("last words of {unit}")];
            self.see(Observation::Excerpt(Excerpt { unit, invocation, lines }))?;
        }
        if by >= Duration::from_secs(30) {
            self.sample()?;
        }
        Ok(())
    }

    fn world_due(&mut self) -> Result<(), String> {
        for u in 0..self.units.len() {
            if let State::AutoRestart(at) = self.units[u].state
                && at <= self.now.boot
            {
                self.begin(u, false)?;
            }
        }
        while let Some(i) = self.acting.iter().position(|(_, at, _)| *at <= self.now.boot) {
            let (u, _, failed) = self.acting.remove(i);
            self.act(u, failed)?;
        }
        while let Some(outcome) = self.receivers.take_due(self.now.boot) {
            self.event(Event::Outcome(outcome))?;
        }
        while self.looks.front().is_some_and(|at| *at <= self.now.boot) {
            self.looks.pop_front();
            let busy = self.packages.then(|| "dpkg".into());
            self.see(Observation::Packages(PackagesSeen { busy }))?;
        }
        Ok(())
    }

    /// Every receiver is there, nothing is held back, and time passes: then all is told.
    fn rest(&mut self) -> Result<(), String> {
        self.receivers.down.clear();
        self.packages = false;
        self.set_bus(true)?;
        self.manager = ManagerSeen::default();
        self.see(Observation::Manager(self.manager))?;
        for _ in 0..4 {
            self.wait(Duration::from_secs(600))?;
        }
        self.receivers.at_rest(&self.saved, self.now.wall)
    }

    /// What `actions` does: reads again, restarts, reports.
    fn act(&mut self, u: usize, failed: Option<Invocation>) -> Result<(), String> {
        let unit = self.units[u].clone();
        let declined = match unit.state {
            _ if unit.masked => Some(Reason::Masked),
            // Somebody was quicker.
            _ if failed != Some(unit.run) => Some(Reason::NoLongerNeeded),
            State::Running | State::Stopped => Some(Reason::NoLongerNeeded),
            State::AutoRestart(_) => Some(Reason::AutoRestart),
            State::Failed if unit.by_operator => {
                return Err(format!("{} was stopped by an operator and restarted", unit.name));
            }
            State::Failed => None,
        };
        let result = match declined {
            _ if !self.bus => RestartResult::Failed("the bus is gone".into()),
            Some(reason) => {
                // An attempt that was not made does not count.
                self.units[u].attempts = self.units[u].attempts.saturating_sub(1);
                RestartResult::Declined(reason)
            }
            None => {
                self.begin(u, true)?;
                RestartResult::Done
            }
        };
        self.event(Event::Outcome(Outcome::Restart { unit: unit.name, result }))
    }

    fn pass_to(&mut self, boot: Boot) {
        let by = boot.since(self.now.boot);
        self.now = self.now.after(by);
    }

    fn set_bus(&mut self, there: bool) -> Result<(), String> {
        if self.bus == there {
            return Ok(());
        }
        self.bus = there;
        let state =
            if there { PartState::Works } else { PartState::Broken("the bus is gone".into()) };
        self.see(Observation::Part(PartSeen { part: Part::Bus, state }))?;
        if there { self.sync() } else { Ok(()) }
    }

    fn kill_keepwell(&mut self, seconds: u32) -> Result<(), String> {
        let planned = self.plans();
        // What is under way in systemd goes on without keepwell.
        let acting = std::mem::take(&mut self.acting);
        let mut left = seconds;
        self.deadline = None;
        self.looks.clear();
        let bus = std::mem::replace(&mut self.bus, false);
        for (u, at, _) in acting {
            if self.units[u].state == State::Failed && !self.units[u].masked {
                self.pass_to(at.max(self.now.boot));
                self.begin(u, true)?;
            }
        }
        while left > 0 {
            let part = left.min(7);
            left -= part;
            for _ in 0..part {
                self.pass_to(self.now.boot.after(Duration::from_secs(1)));
                for u in 0..self.units.len() {
                    if let State::AutoRestart(at) = self.units[u].state
                        && at <= self.now.boot
                    {
                        self.begin(u, false)?;
                    }
                }
            }
            // One of them crashes now and then.
            self.crash(left as usize % Self::UNITS, false)?;
        }
        self.bus = bus;
        self.come_back()?;
        if seconds == 0 && bus && !self.clock_jumped {
            let after = self.plans();
            for (name, at) in planned {
                if self.units.iter().any(|u| u.name == name && u.state == State::Failed)
                    && after.get(&name) != Some(&at)
                {
                    return Err(format!(
                        "{name}: planned for {at:?} before keepwell was killed, {:?} after",
                        after.get(&name)
                    ));
                }
            }
        }
        Ok(())
    }

    fn reboot(&mut self) -> Result<(), String> {
        self.acting.clear();
        self.excerpts.clear();
        self.boots += 1;
        self.boot_id = format!("boot-{}", self.boots).into();
        self.now.wall = self.now.wall.after(Duration::from_secs(30));
        // The boot clock starts afresh; so do all units.
        let old = self.now.boot;
        self.now.boot = Boot(10_000_000);
        self.looks.clear();
        self.manager = ManagerSeen::default();
        self.packages = false;
        for u in 0..self.units.len() {
            self.runs += 1;
            let unit = &mut self.units[u];
            if unit.up_since.is_some_and(|up| old.since(up) >= Duration::from_secs(600)) {
                unit.attempts = 0;
            }
            unit.run = invocation(self.runs);
            unit.badly = false;
            unit.by_operator = false;
            unit.masked = false;
            unit.state = State::Running;
            unit.since = self.now.boot;
            unit.n_restarts = 0;
            unit.burst = 0;
            // A reboot ends all runs in an orderly way, so none of these starts is a restart. The
            // wait that remains is clamped, so the bound is that of the step itself.
            unit.failed_at = Boot(0);
            unit.up_since = Some(self.now.boot);
            self.log(u, LifeWhat::Started);
        }
        self.come_back()
    }

    fn come_back(&mut self) -> Result<(), String> {
        self.excerpts.clear();
        let mut saved = self.saved.clone();
        self.receivers.again(self.now.boot);
        saved.outbox = self.receivers.flying.values().map(|(n, _)| Arc::new(n.clone())).collect();
        let (engine, step) = Engine::new(rules(), saved, self.boot_id.clone(), mode(), self.now);
        self.engine = engine;
        self.take(step)?;
        self.see(Observation::Manager(self.manager))?;
        if self.bus {
            self.sync()
        } else {
            let state = PartState::Broken("the bus is gone".into());
            self.see(Observation::Part(PartSeen { part: Part::Bus, state }))?;
            self.sample()
        }
    }

    // What sources see.

    fn unit_seen(&self, u: usize, job: bool) -> UnitSeen {
        let unit = &self.units[u];
        let (active, sub) = match unit.state {
            State::Running => (ActiveState::Active, "running"),
            State::Stopped => (ActiveState::Inactive, "dead"),
            State::Failed => (ActiveState::Failed, "failed"),
            State::AutoRestart(_) => (ActiveState::Activating, "auto-restart"),
        };
        let bad = unit.badly;
        UnitSeen {
            name: unit.name.clone(),
            load: if unit.masked { LoadState::Masked } else { LoadState::Loaded },
            active,
            sub: sub.into(),
            job,
            invocation: Some(unit.run),
            since: Some(self.now.wall),
            active_since: None,
            condition_failed: false,
            service: Some(ServiceSeen {
                result: if bad { "signal" } else { "success" }.into(),
                exit_code: if bad { 2 } else { 0 },
                exit_status: if bad { 9 } else { 0 },
                n_restarts: unit.n_restarts,
                ..ServiceSeen::default()
            }),
            details: Some(Details {
                restart: unit.policy.into(),
                kind: "simple".into(),
                ..Details::default()
            }),
        }
    }

    fn show(&mut self, u: usize, job: bool) -> Result<(), String> {
        let seen = self.unit_seen(u, job);
        self.show_this(seen)
    }

    fn show_this(&mut self, seen: UnitSeen) -> Result<(), String> {
        if !self.bus {
            return Ok(());
        }
        self.read_up_to = self.journal.len();
        self.see(Observation::Unit(Box::new(seen)))
    }

    /// What a source does at its start and after a gap: the journal first, then the present.
    fn sync(&mut self) -> Result<(), String> {
        if !self.bus {
            return Ok(());
        }
        // It rereads some that is known, as a real cursor lags.
        let from = self.read_up_to.saturating_sub(5);
        let lives: Vec<Life> = self.journal[from..].to_vec();
        for life in lives {
            self.see(Observation::Life(life))?;
        }
        self.read_up_to = self.journal.len();
        self.see(Observation::CaughtUp(format!("c{}", self.read_up_to)))?;
        for u in 0..self.units.len() {
            // Failed when last heard of, and now merely inactive: somebody reset it.
            // It, and a stop that is heard of only now, begin the backoff afresh.
            self.units[u].by_operator |= self.units[u].state == State::Stopped;
            if self.units[u].by_operator {
                self.units[u].attempts = 0;
            }
            self.show(u, false)?;
        }
        let round = Round { source: SourceKind::Units, total: Some(4) };
        self.see(Observation::Round(round))?;
        self.sample()?;
        self.check_counts()
    }

    fn sample(&mut self) -> Result<(), String> {
        self.see(Observation::Heartbeats(vec![HeartbeatSeen {
            path: "/beat".into(),
            rule: 0,
            state: HeartbeatState::Present(self.heartbeat),
        }]))?;
        self.see(Observation::Round(Round { source: SourceKind::Host, total: None }))
    }

    fn see(&mut self, seen: Observation) -> Result<(), String> {
        self.event(Event::Observed(seen))
    }

    fn command(&mut self, act: Act) -> Result<bool, String> {
        self.events += 1;
        let command = Command { actor: Actor("test".into()), act };
        let mut step = self.engine.step(Event::Command(command), self.now);
        let reply = step.reply.take().ok_or("a command without a reply")?;
        self.take(step)?;
        Ok(reply.is_ok())
    }

    fn event(&mut self, event: Event) -> Result<(), String> {
        self.events += 1;
        let step = self.engine.step(event, self.now);
        self.take(step)
    }

    // The invariants.

    fn take(&mut self, step: Step) -> Result<(), String> {
        if step.deadline.is_some_and(|d| d <= self.now.boot) {
            return Err(format!("a deadline that has passed already: {:?}", step.deadline));
        }
        self.deadline = step.deadline;
        for change in &step.changes {
            self.saved.apply(change);
        }
        let mut open = std::collections::BTreeSet::new();
        for alert in self.saved.alerts.iter().filter(|a| a.resolved.is_none()) {
            if !open.insert(alert.key.clone()) {
                return Err(format!("two open alerts for {:?}", alert.key));
            }
        }
        for effect in step.effects {
            match effect {
                Effect::Restart { unit, attempt, invocation, .. } => {
                    self.restart(&unit, attempt, invocation)?;
                }
                Effect::Notify(message) => self.notified(message)?,
                Effect::FetchLog { unit, invocation } => self.excerpts.push((unit, invocation)),
                Effect::LookAtPackages => {
                    self.looks.push_back(self.now.boot.after(Duration::from_millis(5)));
                }
                Effect::RestartContainer { .. }
                | Effect::FetchContainerLog { .. }
                | Effect::Call(_) => return Err("there are no containers here".into()),
                Effect::Resync | Effect::Log(_) => {}
            }
        }
        // What has ended and whose cooldown is over is what a store would have dropped.
        let horizon = self.now.wall.before(Duration::from_secs(24 * 3600));
        self.saved
            .alerts
            .retain(|a| a.resolved.is_none_or(|at| at > horizon) || !a.pending.is_empty());
        Ok(())
    }

    fn restart(
        &mut self,
        name: &Arc<str>,
        attempt: u32,
        failed: Option<Invocation>,
    ) -> Result<(), String> {
        let now = self.now;
        let u = self.units.iter().position(|u| u.name == *name).ok_or("an unknown unit")?;
        let unit = &mut self.units[u];
        if unit.name.starts_with("left") || unit.name.starts_with("nobody") {
            return Err(format!("{name} was restarted though nobody asked for it"));
        }
        if self.bus && unit.state != State::Failed {
            return Err(format!("{name} was restarted while {:?}", unit.state));
        }
        if self.bus && unit.by_operator {
            return Err(format!("{name} was restarted after an operator stopped it"));
        }
        if self.bus && unit.masked {
            return Err(format!("{name} was restarted while masked"));
        }
        if !self.clock_jumped && self.held.get(name).is_some_and(|until| *until > now.wall) {
            return Err(format!("{name} was restarted while held"));
        }
        let step = (unit.attempts as usize).min(BACKOFF.len() - 1);
        let wait = now.boot.since(unit.failed_at);
        if self.bus && unit.failed_at > Boot(0) && wait < Duration::from_secs(BACKOFF[step]) {
            return Err(format!(
                "{name}: attempt {attempt} after {wait:?}, before the backoff of {} s allows it",
                BACKOFF[step]
            ));
        }
        unit.attempts += 1;
        self.acting.push((u, now.boot.after(Duration::from_millis(20)), failed));
        Ok(())
    }

    fn notified(&mut self, message: Notification) -> Result<(), String> {
        if self.manager.sleeping {
            return Err(format!("{} goes out while the host sleeps", message.id));
        }
        for item in message.items.iter().filter(|i| i.happening != Happening::Resolved) {
            let name = &item.alert.key.check.name;
            // What was decided before it was silenced, and had to wait since, is told all the same.
            let silenced = self.silenced.iter().any(|(unit, from, until)| {
                unit == name && item.since > *from && item.since < *until
            });
            if silenced && item.happening == Happening::Opened && !self.clock_jumped {
                return Err(format!("{name} was told of while it was silenced"));
            }
        }
        self.receivers.handed(message, self.now, self.clock_jumped)
    }

    /// What the engine has counted is the truth.
    fn check_counts(&mut self) -> Result<(), String> {
        if self.clock_jumped {
            return Ok(()); // The journal's time stamps no longer tell what is old.
        }
        for sim in &self.units {
            let counted =
                self.saved.counts.iter().find(|c| c.unit == sim.name).map_or(0, |c| c.restarts);
            if counted != sim.restarts {
                return Err(format!("{}: {} restarts, counted {counted}", sim.name, sim.restarts));
            }
        }
        Ok(())
    }

    /// When keepwell means to restart what, as it was saved.
    fn plans(&self) -> BTreeMap<Arc<str>, Wall> {
        let waiting = self.saved.restarts.iter().filter_map(|(name, record)| match &record.phase {
            Phase::Waiting { at } => Some((name.clone(), at.wall)),
            _ => None,
        });
        waiting.collect()
    }
}

fn mode() -> Mode {
    Mode {
        expected: [SourceKind::Units, SourceKind::Host].into_iter().collect(),
        ..Mode::default()
    }
}

fn invocation(n: u128) -> Invocation {
    Invocation(n.to_be_bytes())
}
