//! The life of one container, by its id: events and what an inspection shows become transitions,
//! each of them once. What an inspection shows and no event told is made up for.

use std::sync::Arc;
use std::time::Duration;

use super::fact::{Around, Fact, What, Why};
use crate::engine::hook::HookContainer;
use crate::engine::observation::{
    ContainerEvent, ContainerSeen, ContainerStatus, ContainerWhat, Health, Policy, UsageSeen,
};
use crate::engine::saved::{ContainerRecord, Stage};
use crate::engine::time::Wall;

/// What ends a container within this after somebody asked for it was that.
const ASKED: Duration = Duration::from_secs(60);

/// The exit code of what the kernel kills.
const KILLED: i32 = 137;

/// The exit code of what SIGTERM ends.
const TERMINATED: i32 = 143;

/// A container.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) record: ContainerRecord,
    /// The record as it is stored.
    pub(super) kept: Option<ContainerRecord>,
    /// As it was last inspected.
    pub(super) seen: Option<Arc<ContainerSeen>>,
    /// What it was last inspected as was overtaken by events, and no look has come since.
    pub(super) guessed: bool,
    /// It was inspected since its engine was last reached.
    pub(super) fresh: bool,
    /// keepwell knew it while it ran.
    pub(super) ran: bool,
    /// It ended for want of memory.
    pub(super) memory: bool,
    /// Facts of which hooks have not been told yet.
    pub(super) untold: Vec<Fact>,
    pub(super) usage: Option<UsageSeen>,
    /// For want of memory the kernel kills all its processes at once.
    pub(super) dies_whole: bool,
    /// When somebody last asked for its end.
    asked: Option<Wall>,
    /// When a process of it was last killed for want of memory.
    starved: Option<Wall>,
    /// Its last end was a bad one.
    badly: bool,
    /// Starts after a bad end since its restart count was last read.
    begun: u32,
    /// Its restart count is ahead of the start that it counts.
    owed: bool,
}

impl Life {
    /// One of which nothing is known yet.
    pub(super) fn new(name: &Arc<str>, engine: &Arc<str>, id: &Arc<str>, image: &Arc<str>) -> Self {
        let container = HookContainer {
            id: id.clone(),
            name: name.clone(),
            engine: engine.clone(),
            image: image.clone(),
            ..HookContainer::default()
        };
        let record = ContainerRecord {
            container,
            stage: Stage::Created,
            health: None,
            started: None,
            finished: None,
            swept: false,
            restart_count: 0,
            seen: Wall::default(),
            told: Vec::new(),
            known: Vec::new(),
        };
        Self { kept: None, ..Self::load(record) }
    }

    /// From what was saved.
    pub(super) fn load(record: ContainerRecord) -> Self {
        Self {
            kept: Some(record.clone()),
            seen: None,
            guessed: false,
            fresh: false,
            ran: matches!(record.stage, Stage::Running | Stage::Paused | Stage::Restarting),
            memory: false,
            untold: Vec::new(),
            usage: None,
            dies_whole: false,
            asked: None,
            starved: None,
            badly: record.container.exit_code.is_some_and(|code| code != 0),
            begun: 0,
            owed: record.stage == Stage::Restarting,
            record,
        }
    }

    /// From what was known while its engine was watched; nothing of it is stored.
    pub(super) fn put_aside(record: ContainerRecord) -> Self {
        Self { kept: None, ..Self::load(record) }
    }

    /// It was there when keepwell came to this host: what it is, is no news.
    pub(super) fn found(seen: &Arc<ContainerSeen>) -> Self {
        let mut life = Self::new(&seen.name, &seen.engine, &seen.id, &seen.image);
        let record = &mut life.record;
        record.stage = stage(seen.status).unwrap_or(Stage::Created);
        record.health = seen.health.as_ref().map(|h| h.status).filter(|_| is_up(record.stage));
        (record.started, record.finished) = (seen.started, seen.finished);
        record.restart_count = seen.restart_count;
        if record.stage == Stage::Ended {
            record.container.exit_code = Some(seen.exit_code);
        }
        record.seen = last_known(seen);
        life.badly = record.stage != Stage::Created && seen.exit_code != 0;
        life.owed = record.stage == Stage::Restarting;
        life.ran = is_up(record.stage) || life.owed;
        life
    }

    pub(super) fn is_up(&self) -> bool {
        is_up(self.record.stage)
    }

    /// When its present or last run began is known from its engine, and not just that it did.
    fn run_is_known(&self) -> bool {
        let Some(started) = self.record.started else { return false };
        self.record.finished.is_none_or(|finished| started > finished)
    }

    /// The start that is now to come has been counted already.
    pub(super) fn is_owed(&mut self) -> bool {
        std::mem::take(&mut self.owed)
    }

    /// An event of it.
    pub(super) fn event(&mut self, event: &ContainerEvent, around: &Around<'_>) -> Vec<Fact> {
        let at = event.at;
        let mut facts = Vec::new();
        let old = at < self.record.seen;
        match event.what {
            ContainerWhat::Killed { signal } if self.ends_it(signal) && around.by_a_person(at) => {
                self.asked = Some(at);
                // An inspection was quicker and has told of the end.
                let (started, finished) = (self.record.started, self.record.finished);
                if let Some(finished) = finished.filter(|f| at <= *f && Some(at) >= started) {
                    self.asked_for(at, finished.since(at), &mut facts);
                }
            }
            ContainerWhat::Stopped if around.by_a_person(at) => match self.record.stage {
                Stage::Restarting => {
                    self.record.stage = Stage::Ended;
                    facts.push(Fact { at, what: What::AskedFor });
                }
                Stage::Ended => {
                    if let Some(finished) = self.record.finished.filter(|f| at >= *f) {
                        self.asked_for(at, at.since(finished), &mut facts);
                    }
                }
                _ if !old => self.asked = Some(at),
                _ => {}
            },
            ContainerWhat::OutOfMemory if !old => {
                self.starved = Some(at);
                if self.is_up() || !self.memory {
                    facts.push(Fact { at, what: What::Starved });
                }
                if self.is_up() {
                    facts.push(Fact { at, what: What::ChildKilled });
                }
            }
            ContainerWhat::Removed => {
                self.gone(at, &mut facts);
                return facts;
            }
            _ if old => {}
            ContainerWhat::Started => {
                let record = &self.record;
                let told = !self.run_is_known() || Some(record.seen) > record.started;
                if self.is_up() && told && at > record.seen {
                    // Each start is told once: the former run ended, and nobody told.
                    let why = match self.why(at, None, true, around) {
                        Why::Itself => Why::Person,
                        why => why,
                    };
                    self.end(at.before(Duration::from_micros(1)), None, why, &mut facts);
                }
                if !self.is_up() {
                    self.begin(at, &mut facts);
                    self.record.started =
                        self.record.started.filter(|s| Some(*s) <= self.record.finished);
                }
            }
            ContainerWhat::Died { exit_code } => {
                let of_another = self.run_is_known() && Some(at) < self.record.started;
                if self.is_up() && !of_another {
                    let why = self.why(at, Some(exit_code), false, around);
                    self.end(at, Some(exit_code), why, &mut facts);
                }
            }
            ContainerWhat::Health(health) if self.is_up() => self.health(at, health, &mut facts),
            ContainerWhat::Paused if self.record.stage == Stage::Running => {
                self.record.stage = Stage::Paused;
                facts.push(Fact { at, what: What::Paused });
            }
            ContainerWhat::Unpaused if self.record.stage == Stage::Paused => {
                self.record.stage = Stage::Running;
                facts.push(Fact { at, what: What::Unpaused });
            }
            _ => {}
        }
        self.record.seen = self.record.seen.max(at);
        facts
    }

    /// It has been inspected.
    pub(super) fn inspected(
        &mut self,
        seen: &Arc<ContainerSeen>,
        around: &Around<'_>,
    ) -> Vec<Fact> {
        let mut facts = Vec::new();
        let now = stage(seen.status);
        let told = self.memory || self.starved.is_some();
        if let Some(started) = seen.started {
            self.run(started, seen, now, around, &mut facts);
        }
        self.stage(seen, now, around, &mut facts);
        if let Some(health) = seen.health.as_ref().filter(|_| self.is_up()) {
            self.health(last_known(seen), health.status, &mut facts);
        }
        let by_signal = matches!(seen.exit_code, KILLED | TERMINATED) && !seen.oom_killed;
        if seen.silent_stops && by_signal && self.badly && now == Some(Stage::Ended) {
            self.asked_for(last_known(seen), Duration::ZERO, &mut facts);
        }
        self.restarts(seen, &mut facts);
        self.ran |= self.is_up();
        self.memory |= self.record.stage == Stage::Ended
            && seen.oom_killed
            && seen.exit_code == KILLED
            && now == Some(Stage::Ended);
        if self.memory && !told {
            facts.push(Fact { at: last_known(seen), what: What::Starved });
        }
        self.record.seen = self.record.seen.max(last_known(seen));
        self.seen = Some(seen.clone());
        (self.fresh, self.guessed) = (true, false);
        facts
    }

    /// Which run an inspection shows.
    fn run(
        &mut self,
        started: Wall,
        seen: &ContainerSeen,
        now: Option<Stage>,
        around: &Around<'_>,
        facts: &mut Vec<Fact>,
    ) {
        let record = &self.record;
        if self.is_up() {
            if self.run_is_known() && record.started != Some(started) {
                // The former run ended, and nobody told.
                let since = record.started;
                let ended = seen.finished.filter(|f| Some(*f) > since && *f <= started);
                let by_policy = seen.restart_count > record.restart_count;
                let at = ended.unwrap_or(started);
                let code = by_policy.then_some(1).filter(|_| seen.policy != Policy::No);
                let why = match self.why(at, code, true, around) {
                    Why::Itself if code.is_none() => Why::Person,
                    why => why,
                };
                self.end(at, code, why, facts);
                self.begin(started, facts);
            }
        } else {
            let newer = record.started != Some(started)
                && record.finished.is_none_or(|finished| started > finished);
            if !newer && !matches!(now, Some(Stage::Running | Stage::Paused)) {
                // The run that has ended.
                self.record.started = Some(started);
                return;
            }
            self.begin(started, facts);
        }
        self.record.started = Some(started);
        // An end that a clock since set back puts after it.
        let before = started.before(Duration::from_micros(1));
        self.record.finished = self.record.finished.map(|finished| finished.min(before));
    }

    /// Where an inspection shows it to be.
    fn stage(
        &mut self,
        seen: &ContainerSeen,
        now: Option<Stage>,
        around: &Around<'_>,
        facts: &mut Vec<Fact>,
    ) {
        let Some(now) = now else { return };
        let at = last_known(seen);
        match (self.record.stage, now) {
            (Stage::Running | Stage::Paused, Stage::Ended | Stage::Restarting) => {
                let at = seen.finished.filter(|f| Some(*f) >= self.record.started).unwrap_or(at);
                let starved = seen.oom_killed && seen.exit_code == KILLED;
                self.starved = self.starved.or(starved.then_some(at));
                let why = self.why(at, Some(seen.exit_code), true, around);
                let why = if now == Stage::Restarting && why == Why::Person {
                    Why::Itself // Its policy starts only what nobody stopped.
                } else {
                    why
                };
                self.end(at, Some(seen.exit_code), why, facts);
                if now == Stage::Restarting {
                    self.record.stage = now;
                    facts.push(Fact { at, what: What::Restarting });
                }
            }
            (Stage::Ended, Stage::Restarting) => {
                self.record.stage = now;
                // Its end may have been told by an event, which is a little later.
                let at = self.record.finished.map_or(at, |finished| at.max(finished));
                facts.push(Fact { at, what: What::Restarting });
            }
            (Stage::Restarting, Stage::Ended) => self.record.stage = now,
            (Stage::Running, Stage::Paused) => {
                self.record.stage = now;
                facts.push(Fact { at, what: What::Paused });
            }
            (Stage::Paused, Stage::Running) => {
                self.record.stage = now;
                facts.push(Fact { at, what: What::Unpaused });
            }
            _ => {}
        }
        if (self.record.stage, now) == (Stage::Ended, Stage::Ended) {
            self.record.container.exit_code = Some(seen.exit_code);
        }
    }

    /// Restarts by its policy that were too quick to be seen.
    fn restarts(&mut self, seen: &ContainerSeen, facts: &mut Vec<Fact>) {
        let more = seen.restart_count.saturating_sub(self.record.restart_count);
        let lost = more.saturating_sub(std::mem::take(&mut self.begun));
        self.record.restart_count = seen.restart_count;
        match self.record.stage {
            Stage::Restarting => self.owed |= lost > 0,
            Stage::Running | Stage::Paused => self.owed = false,
            _ => {}
        }
        if lost > 0 {
            facts.push(Fact { at: last_known(seen), what: What::Restarts(lost) });
        }
    }

    /// It is not there any more.
    pub(super) fn gone(&mut self, at: Wall, facts: &mut Vec<Fact>) {
        let at = at.max(self.record.seen);
        self.record.seen = at;
        if self.is_up() {
            self.end(at, None, Why::Person, facts);
        }
        facts.push(Fact { at, what: What::Removed });
    }

    /// Whether events have told of more than the last look has shown.
    pub(super) fn is_behind(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| stage(seen.status) != Some(self.record.stage))
    }

    /// No look has come: what events have told stands for it. Whether there was anything to guess.
    pub(super) fn guess(&mut self) -> bool {
        let Some(seen) = self.seen.as_deref().filter(|_| self.is_behind()) else { return false };
        let record = &self.record;
        let status = match record.stage {
            Stage::Created => ContainerStatus::Created,
            Stage::Running => ContainerStatus::Running,
            Stage::Paused => ContainerStatus::Paused,
            Stage::Restarting => ContainerStatus::Restarting,
            Stage::Ended => ContainerStatus::Exited,
            Stage::Removed => return false,
        };
        self.seen = Some(Arc::new(ContainerSeen {
            status,
            started: record.started,
            finished: record.finished,
            exit_code: record.container.exit_code.unwrap_or_default(),
            health: None,
            pid: 0,
            ..seen.clone()
        }));
        self.guessed = true;
        true
    }

    fn begin(&mut self, at: Wall, facts: &mut Vec<Fact>) {
        self.begun += u32::from(self.badly);
        let record = &mut self.record;
        record.stage = Stage::Running;
        record.health = None;
        record.container.exit_code = None;
        record.swept = false;
        record.seen = record.seen.max(at);
        (self.asked, self.starved) = (None, None);
        (self.badly, self.memory, self.ran) = (false, false, true);
        facts.push(Fact { at, what: What::Started });
    }

    fn end(&mut self, at: Wall, code: Option<i32>, why: Why, facts: &mut Vec<Fact>) {
        let record = &mut self.record;
        record.stage = Stage::Ended;
        record.health = None;
        record.finished = Some(at.max(record.started.unwrap_or(at)));
        record.container.exit_code = code;
        record.seen = record.seen.max(at);
        self.memory = why == Why::Memory;
        self.record.swept = why == Why::Engine;
        self.badly = match why {
            Why::Person | Why::Engine => false,
            Why::Memory | Why::Ours => true,
            Why::Itself => code.is_some_and(|code| code != 0),
        };
        self.usage = None;
        facts.push(Fact { at, what: What::Ended { code, why } });
    }

    fn health(&mut self, at: Wall, health: Health, facts: &mut Vec<Fact>) {
        if self.record.health.replace(health) != Some(health) {
            facts.push(Fact { at, what: What::Health(health) });
        }
    }

    /// Why it ended then. `shown`: an inspection shows it, and no event told.
    fn why(&self, at: Wall, code: Option<i32>, shown: bool, around: &Around<'_>) -> Why {
        if (around.ours)(at) {
            Why::Ours
        } else if around.was_away(at) {
            Why::Engine
        } else if self.asked.is_some_and(|asked| at.since(asked) < ASKED) {
            Why::Person
        } else if self.starved.is_some_and(|s| at.since(s) < ASKED) && code == Some(KILLED) {
            Why::Memory
        } else if shown && code == Some(0) {
            Why::Person
        } else {
            Why::Itself
        }
    }

    /// Somebody asked for the end that is known already, by what happened this long before or after.
    fn asked_for(&mut self, at: Wall, apart: Duration, facts: &mut Vec<Fact>) {
        // What ended with its engine ended by that, whatever was asked for before.
        if self.record.stage == Stage::Ended && apart < ASKED && !self.record.swept {
            self.badly = false;
            facts.push(Fact { at, what: What::AskedFor });
        }
    }

    /// Whether a signal is one that is to end it.
    fn ends_it(&self, signal: i32) -> bool {
        let stop = self.seen.as_ref().map_or(15, |s| s.stop_signal);
        signal == 15 || signal == 9 || signal == stop
    }
}

fn is_up(stage: Stage) -> bool {
    matches!(stage, Stage::Running | Stage::Paused)
}

/// Where a status puts it; `None`: it says nothing of that.
pub(super) fn stage(status: ContainerStatus) -> Option<Stage> {
    Some(match status {
        ContainerStatus::Created => Stage::Created,
        ContainerStatus::Running => Stage::Running,
        ContainerStatus::Paused => Stage::Paused,
        ContainerStatus::Restarting => Stage::Restarting,
        ContainerStatus::Exited | ContainerStatus::Dead => Stage::Ended,
        ContainerStatus::Stopping | ContainerStatus::Removing | ContainerStatus::Other => {
            return None;
        }
    })
}

/// When the last of what an inspection shows happened.
fn last_known(seen: &ContainerSeen) -> Wall {
    [Some(seen.created), seen.started, seen.finished]
        .into_iter()
        .flatten()
        .max()
        .unwrap_or_default()
}
