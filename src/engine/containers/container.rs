//! One container by its name, whatever its id: from what is known of it to verdict, alert and
//! restart. Counting and restarts are those of any [`Patient`].

use std::sync::Arc;
use std::time::Duration;

use super::judge::{Facts, Judgement, Network, judge};
use super::life::{Life, stage};
use super::treat::Treat;
use crate::engine::alert::{AlertKey, ContainerFacts};
use crate::engine::desk::{Desk, Lasting};
use crate::engine::event::Effect;
use crate::engine::heal::{Chart, Heal, Patient};
use crate::engine::observation::{ContainerSeen, ContainerStatus, Health, Policy};
use crate::engine::rules::{Backoff, CrashLoop};
use crate::engine::saved::{Change, CountRecord, Phase, RestartRecord, Stage, subject};
use crate::engine::time::{Boot, Now, Wall};
use crate::engine::timers::Timer;
use crate::engine::view::ContainerView;
use crate::engine::words::{AlertKind, CheckId, CheckKind, Reason, Severity};

/// What its policy is about to start again is not judged before this.
const SETTLE: Duration = Duration::from_secs(5);

/// Its engine may end a restart that keepwell asked for without keepwell.
const ON_ITS_OWN: Duration = Duration::from_secs(30);

/// What is known of the container that has the name now.
#[derive(Debug, Clone)]
pub(super) struct Sight {
    pub(super) seen: Arc<ContainerSeen>,
    pub(super) stage: Stage,
    pub(super) finished: Option<Wall>,
    pub(super) memory: bool,
    /// Its engine was away when it ended.
    pub(super) swept: bool,
    pub(super) ran: bool,
    pub(super) network: Network,
    /// Its engine cannot be reached, or it has not been inspected since.
    pub(super) blind: bool,
    /// Its engine has only just come back.
    pub(super) settling: bool,
    /// No look has shown it so: events have told it.
    pub(super) guessed: bool,
}

impl Sight {
    /// How long it has been down, if that is known and began with this boot of the host.
    fn down_for(&self, now: Now) -> Duration {
        let ended = self.finished.filter(|_| self.stage == Stage::Ended);
        let lasted = ended.map(|at| now.wall.since(at));
        lasted.filter(|lasted| *lasted < now.boot.since(Boot(0))).unwrap_or_default()
    }
}

/// Why a name is looked at no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Over {
    reason: Reason,
    why: Arc<str>,
}

impl Over {
    /// For this reason, in its own words.
    pub(super) fn by(reason: Reason) -> Self {
        Self { reason, why: reason.meaning().into() }
    }

    /// The container is called so now.
    pub(super) fn renamed(to: &str) -> Self {
        Self { reason: Reason::Removed, why: format!("it is called {to} now").into() }
    }
}

/// A name, and the container that has it.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) chart: Chart,
    /// The id of the container that has the name; `None`: none has.
    pub(super) cid: Option<Arc<str>>,
    pub(super) sight: Option<Sight>,
    pub(super) treat: Option<Treat>,
    /// The end that its policy may undo, and since when that is waited for.
    pub(super) settling: Option<(Option<Wall>, Boot)>,
    /// From when to when keepwell last restarted it.
    pub(super) acted: Option<(Wall, Option<Wall>)>,
    /// Its start has been told to those who ask for notices.
    pub(super) announced: bool,
    /// Why none has the name any more.
    pub(super) over: Option<Over>,
}

impl Container {
    pub(super) fn new(name: &Arc<str>) -> Self {
        let id = CheckId::new(CheckKind::Container, name.clone());
        let mut container = Self::load(CountRecord::new(subject(&id)), name, None);
        container.chart.kept = false;
        container
    }

    /// From what was saved.
    pub(super) fn load(
        counts: CountRecord,
        name: &Arc<str>,
        restart: Option<RestartRecord>,
    ) -> Self {
        let id = CheckId::new(CheckKind::Container, name.clone());
        // A restart that was under way when keepwell ended goes on without it.
        let acting = restart.as_ref().filter(|r| matches!(r.phase, Phase::Acting { .. }));
        let acted = acting.and_then(|r| r.last_attempt).map(|at| (at, Some(at.after(ON_ITS_OWN))));
        Self {
            chart: Chart::new(id, counts, restart),
            cid: None,
            sight: None,
            treat: None,
            settling: None,
            acted,
            announced: true,
            over: None,
        }
    }

    pub(super) fn id(&self) -> &CheckId {
        &self.chart.id
    }

    /// Whether what happened then was keepwell's own restart.
    pub(super) fn ours(&self, at: Wall) -> bool {
        self.acted.is_some_and(|(from, to)| at >= from && to.is_none_or(|to| at <= to))
    }

    pub(super) fn is_watched(&self) -> bool {
        self.treat.as_ref().is_some_and(|t| t.watched)
    }

    /// Its policy would have started it again: who stays down was stopped.
    fn policy_lets_it_be(&self, sight: &Sight) -> bool {
        let seen = &sight.seen;
        sight.stage == Stage::Ended
            && !sight.guessed
            && seen.status == ContainerStatus::Exited
            && seen.started.is_some()
            && seen.error.is_empty()
            && matches!(seen.policy, Policy::Always | Policy::UnlessStopped)
            && !self.chart.lives.stopped()
    }

    fn judge(&self, sight: &Sight, desk: &Desk) -> Judgement {
        let seen = &sight.seen;
        if sight.blind {
            let text = format!("not known: {} cannot be reached", seen.engine);
            return Judgement::unknown(Reason::Unreachable, text);
        }
        // It has changed, and is about to be inspected.
        if stage(seen.status).is_some_and(|shown| shown != sight.stage) {
            return Judgement::under_way(Reason::Starting);
        }
        let Some(treat) = &self.treat else { return Judgement::under_way(Reason::NotYetSeen) };
        if self.is_unproven(sight, desk) {
            return Judgement::unproven(treat.rule.severity());
        }
        let facts = Facts {
            named: treat.named,
            stopped: self.chart.lives.stopped(),
            ran: sight.ran || self.crashed(&seen.id),
            memory: sight.memory,
            swept: sight.swept,
            network: sight.network,
            shutdown: desk.quiet.manager().stopping,
        };
        let judgement = judge(seen, &treat.rule, facts);
        let bad = judgement.verdict.as_ref().is_some_and(|v| v.severity.alerts());
        if bad && (sight.settling || self.settling.is_some()) {
            return Judgement::under_way(Reason::Settling);
        }
        judgement
    }

    /// It was told as unhealthy and runs anew, and its health check has not said anything yet.
    fn is_unproven(&self, sight: &Sight, desk: &Desk) -> bool {
        let seen = &sight.seen;
        let state = desk.book.carrier(&self.chart.id);
        seen.status == ContainerStatus::Running
            && seen.health.as_ref().is_some_and(|h| h.status == Health::Starting)
            && desk.book.reason(&state) == Some(Reason::Unhealthy)
    }

    /// It ended in a restart of keepwell's own.
    fn ours_ended(&self, sight: &Sight) -> bool {
        sight.finished.is_some_and(|at| self.ours(at))
    }

    /// Whether what its policy should have started must be waited for. What it then leaves down was
    /// stopped by a person.
    fn settles(&mut self, desk: &mut Desk) -> bool {
        let timer = Timer::Settle(self.chart.id.clone());
        let waits = self.sight.as_ref().filter(|s| !s.blind && self.policy_lets_it_be(s));
        let Some(sight) = waits else {
            self.settling = None;
            desk.timers.clear(&timer);
            return false;
        };
        if sight.settling || self.ours_ended(sight) {
            self.settling = None;
            return false;
        }
        let now = desk.now;
        let ended = sight.finished;
        let since = match self.settling {
            Some((of, since)) if of == ended => Some(since),
            // That was long ago.
            _ if ended.is_none_or(|at| now.wall.since(at) >= SETTLE) => None,
            _ => Some(now.boot),
        };
        let due = since.map(|since| since.after(SETTLE)).filter(|due| *due > now.boot);
        if let Some((due, since)) = due.zip(since)
            && !desk.eager
        {
            self.settling = Some((ended, since));
            desk.timers.set(timer, due);
            return true;
        }
        self.settling = None;
        desk.timers.clear(&timer);
        self.asked_for(desk);
        false
    }

    fn apply(&mut self, mut judgement: Judgement, desk: &mut Desk) {
        let acting = matches!(self.chart.healing.record.phase, Phase::Acting { .. });
        if acting && !self.is_up() {
            // A restart passes through other states; only where it ends counts.
            judgement.verdict = None;
        }
        let Some(verdict) = judgement.verdict else {
            return self.chart.under_way(judgement.heal, desk);
        };
        let Some((sight, treat)) = self.sight.as_ref().zip(self.treat.as_ref()) else { return };
        let backoff = treat.rule.backoff.clone();
        let confirm = treat.rule.confirm;
        let unproven = judgement.heal == Heal::No(Reason::Verifying);
        let down = verdict.severity.alerts() && !unproven;
        let run = sight.seen.run();
        let newly_down = down && !self.chart.is_open(desk);
        // It ended before it was judged.
        let late = sight.guessed || !desk.checks.contains_key(&self.chart.id);
        let already = if late { sight.down_for(desk.now) } else { Duration::ZERO };
        let lasting = Lasting {
            bad: judgement.patience,
            good: backoff.verify().max(confirm.recovery),
            show: true,
            already,
            await_lines: run.is_some(),
            ..Lasting::default()
        };
        let unknown = verdict.severity == Severity::Unknown;
        let news = down && (newly_down || self.chart.failed != run);
        if down {
            self.chart.failed = run;
        }
        desk.rule_on(&self.chart.id, AlertKind::State, verdict, lasting);
        if news && self.chart.is_open(desk) {
            self.fetch_log(desk);
        }
        if unknown || unproven {
            return; // What was planned goes on when it is known again.
        }
        self.follow(judgement.heal, !down, &backoff, desk);
    }

    /// An alert of its state has just opened after some patience: the last lines of its log are
    /// wanted.
    pub(super) fn opened_late(&mut self, desk: &mut Desk) {
        if self.chart.is_open(desk) {
            self.fetch_log(desk);
        }
    }

    fn fetch_log(&self, desk: &mut Desk) {
        let Some(sight) = self.sight.as_ref().filter(|s| s.seen.started.is_some()) else { return };
        desk.out.effects.push(Effect::FetchContainerLog {
            name: self.chart.id.name.clone(),
            engine: sight.seen.engine.clone(),
            id: sight.seen.id.clone(),
            since: sight.seen.started,
        });
    }

    /// How it is treated may have changed, by the rules or its labels.
    pub(super) fn treated(&mut self, treat: Treat, desk: &mut Desk) {
        if self.treat.as_ref() == Some(&treat) {
            return;
        }
        if treat.watched {
            let known = self.treat.as_ref().map(|t| &t.faults);
            for fault in treat.faults.iter().filter(|f| known.is_none_or(|k| !k.contains(f))) {
                desk.decide(&self.chart.id, Reason::BadLabel, fault.clone());
            }
        }
        if !treat.watched && self.has_alert(desk) {
            // One that nobody wants watched has taken the name.
            let why = Reason::NoLongerWatched;
            desk.drop_for(&self.chart.id, why, why.meaning());
        }
        self.treat = Some(treat);
        self.announce(desk);
    }

    /// It is no longer looked at: its check goes, and what is stored of it.
    pub(super) fn forget(&mut self, over: &Over, desk: &mut Desk) {
        let id = self.chart.id.clone();
        for timer in [Timer::Heal, Timer::Window, Timer::Settle, Timer::Look] {
            desk.timers.clear(&timer(id.clone()));
        }
        desk.drop_for(&id, over.reason, &over.why);
        desk.keep(Change::RestartGone(subject(&id)));
        if self.chart.kept {
            desk.keep(Change::CountGone(subject(&id)));
        }
    }

    /// Whether an alert of it is open.
    pub(super) fn has_alert(&self, desk: &Desk) -> bool {
        let key = |kind: &AlertKind| AlertKey { check: self.chart.id.clone(), kind: *kind };
        AlertKind::ALL.iter().any(|kind| desk.book.is_open(&key(kind)))
    }

    /// What people are told of it besides its name.
    pub(super) fn facts(&self) -> Option<ContainerFacts> {
        let sight = self.sight.as_ref()?;
        Some(ContainerFacts::of(&sight.seen, self.chart.lives.record.restarts))
    }

    /// For surfaces.
    pub(super) fn view(
        &self,
        life: Option<&Life>,
        host: (u32, u64),
        now: Wall,
    ) -> Option<Box<ContainerView>> {
        let (sight, treat) = (self.sight.as_ref()?, self.treat.as_ref()?);
        let (lives, healing) = (&self.chart.lives.record, &self.chart.healing.record);
        let oldest = now.before(treat.rule.restart_loop.window());
        let in_window = lives.window.iter().filter(|at| **at > oldest).count();
        Some(Box::new(ContainerView {
            seen: ContainerSeen::clone(&sight.seen),
            usage: life.and_then(|l| l.usage.clone()),
            host_cpus: host.0,
            host_memory: host.1,
            named: treat.named,
            restart: treat.rule.restart,
            required: treat.rule.required,
            crashes: lives.crashes,
            restarts: lives.restarts,
            restarts_in_window: u32::try_from(in_window).unwrap_or(u32::MAX),
            healed: healing.total,
            step: healing.step,
            restarting: matches!(healing.phase, Phase::Acting { .. } | Phase::Verifying { .. }),
            gave_up: healing.phase == Phase::GaveUp,
            next_attempt: match &healing.phase {
                Phase::Waiting { at } => Some(at.wall),
                _ => None,
            },
        }))
    }
}

impl Patient for Container {
    fn chart(&self) -> &Chart {
        &self.chart
    }

    fn chart_mut(&mut self) -> &mut Chart {
        &mut self.chart
    }

    fn backoff(&self, _: &Desk) -> Backoff {
        self.treat.as_ref().map_or_else(Backoff::default, |t| t.rule.backoff.clone())
    }

    fn limits(&self, desk: &Desk) -> CrashLoop {
        let usual = &desk.rules.containers.default;
        self.treat.as_ref().map_or(usual, |t| &t.rule).restart_loop.clone()
    }

    fn is_up(&self) -> bool {
        self.sight.as_ref().is_some_and(|s| {
            let ill = s.seen.health.as_ref().is_some_and(|h| h.status == Health::Unhealthy);
            s.stage == Stage::Running
                && s.seen.status == ContainerStatus::Running
                && !ill
                && s.network == Network::Fine
        })
    }

    fn diagnosis(&self, desk: &Desk) -> Option<(Heal, bool)> {
        let sight = self.sight.as_ref().filter(|s| !s.blind)?;
        let judgement = self.judge(sight, desk);
        Some((judgement.heal, judgement.verdict.is_some()))
    }

    fn is_settling(&self) -> bool {
        self.settling.is_some()
    }

    fn is_unwatched(&self, desk: &Desk) -> bool {
        self.sight.as_ref().is_none_or(|s| s.blind || self.is_unproven(s, desk))
    }

    fn attempt(&self, _: &Desk) -> Effect {
        let seen = self.sight.as_ref().map(|s| &s.seen);
        Effect::RestartContainer {
            name: self.chart.id.name.clone(),
            engine: seen.map_or_else(|| "".into(), |s| s.engine.clone()),
            id: self.cid.clone().unwrap_or_else(|| "".into()),
            run: seen.and_then(|s| s.run()),
            running: seen.is_some_and(|s| s.status == ContainerStatus::Running),
            attempt: self.chart.healing.record.step,
        }
    }

    fn by_hand(&self) -> String {
        match &self.sight {
            Some(sight) => sight.seen.by_hand("restart"),
            None => format!("docker restart {}", self.chart.id.name),
        }
    }

    fn consider(&mut self, desk: &mut Desk) {
        if !self.is_watched() || self.settles(desk) {
            return;
        }
        let Some(sight) = self.sight.clone() else { return };
        let judgement = self.judge(&sight, desk);
        self.apply(judgement, desk);
    }

    fn consider_afresh(&mut self, desk: &mut Desk) {
        self.settling = None;
        self.consider(desk);
    }

    fn acting(&mut self, begins: bool, desk: &Desk) {
        let now = desk.now.wall;
        self.acted = match (begins, self.acted) {
            (false, Some((from, None))) => Some((from, Some(now))),
            (false, former) => former,
            (true, _) => Some((now, None)),
        };
    }
}
