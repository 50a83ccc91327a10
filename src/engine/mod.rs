//! The engine: the words of the domain and every decision. Pure: no I/O, no clock, no logging, no
//! async, no randomness. The driver passes events and the time in and carries effects out.
//!
//! | file | decides |
//! |---|---|
//! | `unit/` | verdict of a unit |
//! | `containers/` | transitions and verdict of a container, and which hooks are told |
//! | `heal/` | counting and restarts, of both |
//! | `host` | space, memory, processor, bad news of the host |
//! | `kills` | who tells of a kill for want of memory |
//! | `files` | heartbeats and keepwell's own parts |
//! | `probes` | what a probe's finding means |
//! | `desk` | when a condition has lasted long enough to count |
//! | `book` | which alerts are open and who is told |
//! | `quiet` | when everything waits by itself: boot, shutdown, sleep, reload, packages |
//! | `report` | the periodic report |
//! | `commands` | what follows from acts of people |
//!
//! `picture` shows all of it. The other files are words: what comes in, what goes out, what is kept, what is shown.

pub mod alert;
mod book;
pub mod calendar;
mod commands;
mod containers;
mod desk;
pub mod event;
mod exports;
mod files;
mod heal;
pub mod hook;
mod host;
mod kills;
pub mod matcher;
pub mod observation;
mod picture;
mod probes;
mod quiet;
mod report;
pub mod rules;
pub mod saved;
mod start;
pub mod time;
mod timers;
mod unit;
pub mod view;
pub mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use alert::{AlertKey, AlertRecord, Gist, Happening, Notification};
pub use event::{
    Act, Actor, Command, Decision, Delivery, Effect, Event, Outcome, RestartResult, Step,
};
pub use hook::HookCall;
pub use host::bytes;
pub use matcher::Matcher;
pub use observation::Observation;
pub use rules::Rules;
pub use saved::{Change, Saved};
pub use time::{Boot, Human, Now, Wall};
pub use view::{CheckView, Snapshot};
pub use words::{AlertKind, CheckId, CheckKind, Reason, Severity, Verdict};

use book::Book;
use containers::Containers;
use desk::{Desk, Lasting};
use heal::Patient;
use observation::{Part, PartSeen, PartState, Round, SourceKind, UnitSeen};
use saved::AgentRecord;
use timers::Timer;
use unit::Unit;
use view::Value;

/// After this people are told what is known, also when something could not be looked at yet.
const FIRST_ROUND: std::time::Duration = std::time::Duration::from_secs(30);

/// How this run of the engine is to behave.
#[derive(Debug, Clone, Default)]
pub struct Mode {
    /// The sources that must complete a round before the first one is over.
    pub expected: BTreeSet<SourceKind>,
    /// Ignore cooldowns and backoff (`check --force`).
    pub force: bool,
    /// Make a unit's first restart at once instead of after the first wait: for a one-shot check,
    /// which does not stay.
    pub eager: bool,
}

/// All state and all decisions. Owned by the driver alone.
#[derive(Debug)]
pub struct Engine {
    desk: Desk,
    units: BTreeMap<Arc<str>, Unit>,
    containers: Containers,
    host: host::Host,
    heartbeats: files::Heartbeats,
    mode: Mode,
    rounds: BTreeSet<SourceKind>,
    /// `None` until something is known of the bus.
    bus: Option<bool>,
    bus_reconnects: u64,
    exports: exports::Exports,
    units_total: Option<u32>,
    agent: AgentRecord,
    generation: u64,
    started: Wall,
    report_due: Wall,
}

impl Engine {
    /// One event at one time. Time must not run backwards by the boot clock; if it does, nothing is
    /// early, only late.
    pub fn step(&mut self, event: Event, now: Now) -> Step {
        self.desk.now = now;
        self.fire();
        match event {
            Event::Observed(seen) => self.observed(seen),
            Event::Outcome(outcome) => self.outcome(outcome),
            Event::Command(command) => self.command(command),
            Event::Deadline => {}
        }
        self.fire();
        self.finish()
    }

    /// The configuration has changed.
    pub fn reload(&mut self, rules: Rules, expected: BTreeSet<SourceKind>, now: Now) -> Step {
        self.desk.now = now;
        self.desk.labels = Arc::new(rules.labels.clone());
        self.desk.rules = rules;
        self.mode.expected = expected;
        let gone: Vec<Arc<str>> =
            self.units.keys().filter(|n| !self.desk.rules.watches(n)).cloned().collect();
        for name in gone {
            self.units.remove(&name);
            let why = Reason::NoLongerWatched.meaning();
            self.desk.drop_check(&CheckId::unit(name.clone()), why);
            self.desk.keep(Change::RestartGone(name));
        }
        let no_heartbeats = self.desk.rules.heartbeats.is_empty();
        if no_heartbeats {
            self.heartbeats = files::Heartbeats::default();
        }
        let checks: Vec<CheckId> = self.desk.checks.keys().cloned().collect();
        for id in &checks {
            let rules = &self.desk.rules;
            let gone = files::is_channel(id) && !rules.is_channel(id)
                || exports::is_exporter(id) && !rules.is_exporter(id)
                || files::is_hook(id) && !rules.is_hook(id)
                || id.kind == CheckKind::Probe && rules.probe(&id.name).is_none();
            if gone || no_heartbeats && id.kind == CheckKind::Heartbeat {
                self.desk.drop_check(id, Reason::NoLongerWatched.meaning());
            }
        }
        for unit in self.units.values_mut() {
            unit.consider(&mut self.desk);
            unit.replan(&mut self.desk);
            self.desk.touch(unit.id());
        }
        self.containers.reload(&mut self.desk);
        self.desk.with_book(|book, pen| book.reconsider(pen));
        self.arm_report();
        self.desk.out.dirty = true;
        self.fire();
        self.finish()
    }

    /// keepwell stops in an orderly way.
    pub fn stopping(&mut self, now: Now) -> Step {
        self.desk.now = now;
        self.agent.clean_stop = true;
        if self.agent.reported.is_some() {
            self.agent.reported = Some(self.reported());
        }
        self.desk.keep(Change::Agent(self.agent.clone()));
        if self.mode.eager {
            // A one-shot check does not come back soon to tell what it has found.
            self.desk.quiet.no_answer();
            self.desk.ready = true;
            self.desk.with_book(Book::hurry);
            self.fire();
        }
        self.finish()
    }

    /// Units of which something is remembered: their source must report them once, whatever their
    /// state, so that what ended meanwhile is seen to have ended.
    pub fn remembered(&self) -> Vec<Arc<str>> {
        let open = self.desk.book.records().filter(|r| r.key.check.kind == CheckKind::Unit);
        let mut names: BTreeSet<Arc<str>> = open.map(|r| r.key.check.name.clone()).collect();
        names.extend(self.units.iter().filter(|(_, u)| u.is_remembered()).map(|(n, _)| n.clone()));
        names.into_iter().filter(|n| !n.contains(['*', '?', '['])).collect()
    }

    /// Since when the events of each container engine are to be asked for again: what happened
    /// before is known and stored. An engine that is missing here is new.
    pub fn containers_since(&self) -> BTreeMap<Arc<str>, Wall> {
        self.containers.marks()
    }

    fn finish(&mut self) -> Step {
        self.containers.sweep(&mut self.desk);
        let (next_call, engines) = (self.containers.next_call(), self.containers.marks());
        let calls = self.agent.next_call != next_call || self.agent.engines != engines;
        (self.agent.next_call, self.agent.engines) = (next_call, engines);
        if calls || self.agent.next_alert != self.desk.book.next_number() {
            self.agent.next_alert = self.desk.book.next_number();
            if self.agent.reported.is_some() {
                self.agent.reported = Some(self.reported());
                (self.desk.book.opened, self.desk.book.resolved) = (0, 0);
                self.desk.restarts = 0;
            }
            self.desk.keep(Change::Agent(self.agent.clone()));
        }
        let mut step = std::mem::take(&mut self.desk.out);
        step.deadline = self.desk.timers.next();
        step
    }

    fn fire(&mut self) {
        while let Some(timer) = self.desk.timers.take_due(self.desk.now.boot) {
            let Self { desk, units, containers, .. } = self;
            match timer {
                Timer::Settle(id) if id.kind == CheckKind::Unit => {
                    on(units, &id.name, |u| u.settled(desk));
                }
                Timer::Settle(id) => containers.settled(&id, desk),
                Timer::Look(id) => containers.unlooked(&id, desk),
                Timer::Heal(id) => {
                    if let Some(patient) = patient(units, containers, &id) {
                        patient.heal_due(desk);
                    }
                }
                Timer::Window(id) => {
                    if let Some(patient) = patient(units, containers, &id) {
                        patient.too_often(desk);
                    }
                }
                Timer::Quiet(id) => on(units, &id.name, |u| u.quiet(desk)),
                Timer::Condition(id, kind) => {
                    desk.lasted(&id, kind);
                    if id.kind == CheckKind::Unit && kind == AlertKind::State {
                        on(units, &id.name, |u| u.opened_late(desk));
                    } else if id.kind == CheckKind::Container && kind == AlertKind::State {
                        containers.opened_late(&id.name, desk);
                    }
                }
                Timer::Decide => {
                    containers.describe_alerts(desk);
                    let requires =
                        |unit: &str| units.get(unit).map(Unit::requires).unwrap_or_default();
                    desk.with_book(|book, pen| book.decide(&requires, pen));
                }
                Timer::Post(channel) => {
                    containers.describe_alerts(desk);
                    desk.with_book(|book, pen| book.post(&channel, pen));
                }
                Timer::Nag(check, kind) => {
                    let key = AlertKey { check, kind };
                    desk.with_book(|book, pen| book.nag(&key, pen));
                }
                Timer::Silences => desk.with_book(|book, pen| book.silences_over(pen)),
                Timer::Report => self.report(),
                Timer::News(which) => host::news_over(which, desk),
                Timer::Kills => kills::due(desk),
                Timer::Hold => self.holds_over(),
            }
        }
    }

    fn observed(&mut self, seen: Observation) {
        let desk = &mut self.desk;
        match seen {
            Observation::Unit(seen) => self.unit(*seen),
            Observation::Life(life) => {
                if desk.rules.watches(&life.unit) {
                    let unit = self.units.entry(life.unit.clone()).or_insert_with_key(Unit::new);
                    unit.life(&life, desk);
                }
            }
            Observation::CaughtUp(cursor) => {
                desk.blind_gap = false;
                desk.keep(Change::Cursor(cursor));
            }
            Observation::Manager(seen) => {
                if desk.quiet.seen(seen, desk.now) {
                    desk.with_book(|book, pen| book.wake(pen));
                    self.replan_all();
                }
            }
            Observation::Round(round) => self.round(round),
            Observation::Host(seen) => self.host.sampled(&seen, desk),
            Observation::Disks(seen) => self.host.disks(&seen, desk),
            Observation::Heartbeats(seen) => self.heartbeats.sampled(&seen, desk),
            Observation::Probe(seen) => probes::seen(seen, desk),
            Observation::Engines(names) => self.containers.watched(&names),
            Observation::EngineAway(away) => self.containers.away(&away),
            Observation::ContainerEvent(event) => self.containers.event(&event, desk),
            Observation::Container(seen) => self.containers.inspected(*seen, desk),
            Observation::Containers(seen) => self.containers.listed(&seen, desk),
            Observation::ContainerUsage(seen) => self.containers.usage(seen, desk),
            Observation::ContainerLog(log) => self.containers.log(log, desk),
            Observation::Errors(seen) => {
                if let Some(cursor) = &seen.cursor {
                    desk.keep(Change::ErrorsCursor(cursor.clone()));
                }
                if desk.rules.unit(&seen.unit).is_some_and(|r| r.errors) {
                    let unit = self.units.entry(seen.unit.clone()).or_insert_with_key(Unit::new);
                    unit.errors(seen, desk);
                }
            }
            Observation::Excerpt(excerpt) => {
                let name = excerpt.unit.clone();
                on(&mut self.units, &name, |u| u.excerpt(excerpt, desk));
            }
            Observation::Packages(seen) => {
                desk.quiet.packages(seen, desk.now);
                desk.with_book(Book::answered);
            }
            // What was on its way when it was taken out of the configuration.
            Observation::Part(PartSeen { part: Part::Exporter(name), .. })
                if !desk.rules.exporters.contains(&name) => {}
            Observation::Part(PartSeen { part: Part::Hook(name), .. })
                if !desk.rules.hooks.iter().any(|h| h.name == name) => {}
            Observation::Part(seen) => {
                if seen.part == Part::Bus {
                    let works = seen.state == PartState::Works;
                    self.bus_reconnects += u64::from(works && self.bus == Some(false));
                    self.bus = Some(works);
                    if seen.state != PartState::Works {
                        // What happens from now on is seen by the journal only.
                        desk.blind_gap = true;
                    }
                }
                if let (Part::Engine(name), PartState::Absent(_)) = (&seen.part, &seen.state) {
                    self.containers.removed_endpoint(name, desk);
                }
                let engine = match &seen.part {
                    Part::Engine(name) => Some((name.clone(), seen.state.clone())),
                    _ => None,
                };
                files::part(seen, desk);
                if let Some((name, state)) = engine {
                    self.containers.part(&name, &state, desk);
                }
                self.maybe_ready();
            }
        }
    }

    fn unit(&mut self, seen: UnitSeen) {
        if !self.desk.rules.watches(&seen.name) && !self.units.contains_key(&seen.name) {
            return;
        }
        let name = seen.name.clone();
        self.pattern_matched(&name);
        let unit = self.units.entry(name.clone()).or_insert_with_key(Unit::new);
        unit.observe(seen, &mut self.desk);
        if unit.is_forgettable(&self.desk) {
            self.desk.drop_check(&CheckId::unit(name.clone()), "the unit is gone");
            self.units.remove(&name);
        }
    }

    /// A glob that matched nothing so far is shown as such; what it matches takes its place.
    fn pattern_matched(&mut self, name: &str) {
        let globs = self.desk.rules.units.iter().map(|r| &r.pattern);
        let matched =
            globs.filter(|p| p.exact().is_none() && p.as_str() != name && p.matches(name));
        let shown: Vec<Arc<str>> = matched
            .map(|p| Arc::from(p.as_str()))
            .filter(|glob: &Arc<str>| self.units.contains_key(glob))
            .collect();
        for glob in shown {
            self.units.remove(&glob);
            self.desk.drop_check(&CheckId::unit(glob), "a unit matches the pattern now");
        }
    }

    fn round(&mut self, round: Round) {
        self.rounds.insert(round.source);
        if round.source == SourceKind::Units && self.bus != Some(false) {
            self.units_total = round.total.or(self.units_total);
            for unit in self.units.values().filter(|u| u.is_seen()) {
                self.desk.looked_at(unit.id());
            }
            self.all_units();
            self.desk.blind_gap = false;
        }
        if round.source == SourceKind::Containers {
            self.containers.round(&mut self.desk);
        }
        let Desk { book, rules, now, .. } = &mut self.desk;
        book.prune(now.wall, rules);
        self.maybe_ready();
    }

    /// The check of all units together: what a host without configuration is watched for.
    fn all_units(&mut self) {
        if !self.desk.rules.all_units {
            return;
        }
        let bad = self.units.values().filter(|u| self.desk.severity(u.id()).alerts()).count();
        let id = CheckId::new(CheckKind::Units, "");
        let text = match self.units_total {
            Some(total) => format!("{bad} of {total} units have a problem"),
            None => format!("{bad} units have a problem"),
        };
        // The units themselves are checks of their own; this one says that all are watched.
        let verdict = Verdict::new(Severity::Healthy, Reason::Works, text);
        self.desk.rule_on(&id, AlertKind::State, verdict, Lasting::default());
        let values = vec![Value { name: "failed", value: bad as f64 }];
        self.desk.values(&id, values);
    }

    /// Is the first round over?
    fn maybe_ready(&mut self) {
        let done = |source: &SourceKind| {
            self.rounds.contains(source)
                || (*source == SourceKind::Units && self.bus == Some(false))
        };
        if self.desk.ready || !self.mode.expected.iter().all(done) {
            return;
        }
        self.desk.ready = true;
        self.name_unseen();
        self.containers.name_unseen(&mut self.desk);
        probes::name_unseen(&mut self.desk);
        self.end_what_is_over();
        self.desk.with_book(Book::first_round_over);
        self.agent.settled = true;
        self.desk.keep(Change::Agent(self.agent.clone()));
        self.desk.out.dirty = true;
    }

    /// Named units that nothing is known of are shown as such.
    fn name_unseen(&mut self) {
        let names: Vec<Arc<str>> = self
            .desk
            .rules
            .units
            .iter()
            .map(|r| Arc::from(r.pattern.as_str()))
            .filter(|n: &Arc<str>| !self.desk.checks.contains_key(&CheckId::unit(n.clone())))
            .collect();
        for name in names {
            if name.contains(['*', '?', '[']) && self.bus != Some(false) {
                continue; // Its matches are checks of their own.
            }
            let reason =
                if self.bus == Some(false) { Reason::Unreachable } else { Reason::NotYetSeen };
            let text = if self.bus == Some(false) {
                "not known: systemd cannot be reached"
            } else {
                reason.meaning()
            };
            let verdict = Verdict::new(Severity::Unknown, reason, text);
            let id = CheckId::unit(name);
            self.desk.rule_on(&id, AlertKind::State, verdict, Lasting::default());
        }
    }

    /// Alerts that were open when keepwell stopped, of things that are not there any more.
    fn end_what_is_over(&mut self) {
        for key in self.desk.book.keys() {
            // Whether a channel works is known only when it has tried; a probe has its own time.
            let rules = &self.desk.rules;
            let untried = rules.is_channel(&key.check)
                || rules.is_exporter(&key.check)
                || probes::is_probe(&key.check, rules);
            let container = key.check.kind == CheckKind::Container;
            let untried = untried || container && self.containers.is_unknown(&key.check, key.kind);
            let blind = untried || key.check.kind == CheckKind::Unit && self.bus == Some(false);
            if blind
                || key.kind == AlertKind::Errors
                || self.desk.has_condition(&key.check, key.kind)
                || key == self.desk.book.carrier(&key.check)
                    && self.desk.has_condition(&key.check, AlertKind::State)
            {
                continue;
            }
            let reason = Reason::NoLongerWatched;
            let gone = container && !self.containers.has(&key.check);
            let part = files::is_channel(&key.check) || exports::is_exporter(&key.check);
            let text = match part || gone {
                true => reason.meaning(),
                false => "it was over, or no longer watched, when keepwell came back",
            };
            let verdict = Verdict::new(Severity::Healthy, reason, text);
            self.desk.with_book(|book, pen| book.good(&key, &verdict, pen));
        }
    }

    fn outcome(&mut self, outcome: Outcome) {
        let desk = &mut self.desk;
        match outcome {
            Outcome::Restart { unit, result } => {
                on(&mut self.units, &unit, |u| u.outcome(result, desk));
            }
            Outcome::ContainerRestart { name, result } => {
                self.containers.restarted(&name, result, desk);
            }
            Outcome::Call { hook, result, waiting } => {
                self.containers.called(hook, &result, waiting, desk);
            }
            Outcome::Delivery { channel, id, result } => {
                desk.with_book(|book, pen| book.delivery(&channel, &id, &result, pen));
            }
            Outcome::Export { exporter, done } => {
                self.exports.add(exporter, done, desk.now.wall);
                desk.out.dirty = true;
            }
        }
    }
}

/// The unit or container of a check.
fn patient<'a>(
    units: &'a mut BTreeMap<Arc<str>, Unit>,
    containers: &'a mut Containers,
    check: &CheckId,
) -> Option<&'a mut dyn Patient> {
    match check.kind {
        CheckKind::Container => containers.patient(&check.name),
        _ => units.get_mut(&check.name).map(|u| u as &mut dyn Patient),
    }
}

fn on(units: &mut BTreeMap<Arc<str>, Unit>, name: &str, f: impl FnOnce(&mut Unit)) {
    if let Some(unit) = units.get_mut(name) {
        f(unit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use observation::{ActiveState, LoadState};
    use rules::{UnitPattern, UnitRule};

    #[test]
    fn a_pattern_without_a_match_gives_way_to_its_first_match() {
        let pattern = UnitPattern::try_new("web@*.service").unwrap();
        let rules = Rules { units: vec![UnitRule::new(pattern)], ..Rules::default() };
        let now = Now { boot: Boot(1_000_000), wall: Wall(1_000_000) };
        let boot: Arc<str> = "boot".into();
        let (mut engine, _) = Engine::new(rules, Saved::default(), boot, Mode::default(), now);
        let mut see = |name: &str, load, active| {
            let seen = UnitSeen { name: name.into(), load, active, ..UnitSeen::default() };
            engine.step(Event::Observed(Observation::Unit(Box::new(seen))), now);
            let checks = engine.snapshot(now).checks;
            let units = checks.iter().filter(|c| c.id.kind == CheckKind::Unit);
            units.map(|c| format!("{} {}", c.id, c.reason)).collect::<Vec<_>>()
        };
        let none = see("web@*.service", LoadState::NotFound, ActiveState::Inactive);
        assert_eq!(none, ["unit:web@*.service no-match"]);
        let one = see("web@1.service", LoadState::Loaded, ActiveState::Active);
        assert_eq!(one, ["unit:web@1.service running"]);
    }
}
