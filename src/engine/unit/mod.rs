//! One unit: from what was seen of it to verdict, alert and restart.
//!
//! `judge` says what a state means; counting and restarts are those of any [`Patient`]; this file
//! joins them. `past` has what a unit logged.

mod judge;
mod past;

use std::sync::Arc;
use std::time::Duration;

use super::desk::{Desk, Lasting};
use super::event::Effect;
use super::heal::{Chart, Heal, Patient};
use super::kills;
use super::observation::{ActiveState, Invocation, Life, LoadState, UnitSeen};
use super::rules::{Backoff, CrashLoop, UnitRule};
use super::saved::{CountRecord, Phase, RestartRecord};
use super::time::{Boot, Wall};
use super::timers::Timer;
use super::view::UnitView;
use super::words::{AlertKind, CheckId};

use judge::{Judgement, SETTLE, is_auto_restart, judge};

/// How soon a unit that a failed restart has reset is seen to be inactive.
const LEFT_DOWN: Duration = Duration::from_secs(5);

/// A unit that was seen, or of which something was saved.
#[derive(Debug)]
pub(super) struct Unit {
    chart: Chart,
    seen: Option<UnitSeen>,
    /// The state that waits to settle, and since when.
    settling: Option<(ActiveState, Arc<str>, Option<Invocation>)>,
    settled: bool,
    /// When a restart by keepwell failed in systemd, which resets what the unit was before.
    job_failed: Option<Boot>,
    /// It is inactive because of that, and not because somebody wants it so.
    left_down: bool,
    /// Errors logged since it was last quiet.
    errors: u32,
    judged: Wall,
}

impl Unit {
    pub(super) fn new(name: &Arc<str>) -> Self {
        let mut unit = Self::load(CountRecord::new(name.clone()), None);
        unit.chart.kept = false;
        unit
    }

    /// From what was saved.
    pub(super) fn load(counts: CountRecord, restart: Option<RestartRecord>) -> Self {
        Self {
            chart: Chart::new(CheckId::unit(counts.unit.clone()), counts, restart),
            seen: None,
            settling: None,
            settled: false,
            job_failed: None,
            left_down: false,
            errors: 0,
            judged: Wall::default(),
        }
    }

    fn judge(&self, seen: &UnitSeen, desk: &Desk) -> Judgement {
        let rule = desk.rules.unit(&seen.name);
        judge(seen, &self.chart.lives, rule, desk.quiet.manager(), self.left_down)
    }

    fn name(&self) -> &Arc<str> {
        &self.chart.id.name
    }

    /// Whether nothing worth keeping is known: an unnamed unit that is well.
    pub(super) fn is_forgettable(&self, desk: &Desk) -> bool {
        // Once something of its runs was kept it must stay known: how a run ended is not to be
        // judged afresh when it is seen, or told by the journal, again.
        let at_rest = self.seen.as_ref().is_some_and(|s| {
            matches!(s.active, ActiveState::Active | ActiveState::Inactive) && !self.chart.kept
        });
        let gone = self.seen.as_ref().is_some_and(|s| s.load == LoadState::NotFound);
        desk.rules.unit(self.name()).is_none()
            && !desk.severity(&self.chart.id).alerts()
            && self.settling.is_none()
            && (gone || at_rest)
    }

    pub(super) fn id(&self) -> &CheckId {
        &self.chart.id
    }

    /// Whether its state has been seen since keepwell came up.
    pub(super) fn is_seen(&self) -> bool {
        self.seen.is_some()
    }

    /// Whether the source must report it once, whatever its state.
    pub(super) fn is_remembered(&self) -> bool {
        self.chart.lives.record.ended_badly
            || !self.chart.lives.record.window.is_empty()
            || self.chart.healing.record.phase != Phase::Idle
    }

    /// An alert of its state has just opened after some patience: its journal lines are wanted.
    pub(super) fn opened_late(&mut self, desk: &mut Desk) {
        if self.chart.is_open(desk) && self.seen.as_ref().is_some_and(|s| s.service.is_some()) {
            let effect =
                Effect::FetchLog { unit: self.name().clone(), invocation: self.chart.failed };
            desk.out.effects.push(effect);
        }
    }

    /// Its state was seen.
    pub(super) fn observe(&mut self, seen: UnitSeen, desk: &mut Desk) {
        let counted = self.count(&seen, desk);
        let changed = self.seen.as_ref().is_none_or(|old| {
            old.active != seen.active || old.sub != seen.sub || old.invocation != seen.invocation
        });
        if changed {
            self.settled = false;
        }
        let first = self.seen.replace(seen).is_none();
        self.see_left_down(desk.now.boot);
        desk.touch(&self.chart.id);
        self.consider(desk);
        if first {
            // What was due before it was seen went by unheard.
            self.replan(desk);
        }
        if counted {
            self.too_often(desk);
        }
    }

    /// The journal tells of its past.
    pub(super) fn life(&mut self, life: &Life, desk: &mut Desk) {
        let triggered = self.triggered();
        let counted = self.chart.lives.life(life, desk.now.wall, triggered);
        if counted.changed {
            self.chart.keep_counts(desk);
            desk.touch(&self.chart.id);
            if matches!(self.chart.healing.record.phase, Phase::Up { .. }) {
                self.up_anew(desk);
            }
        }
        if counted.restarts > 0 {
            self.too_often(desk);
        }
    }

    fn triggered(&self) -> bool {
        self.seen.as_ref().and_then(|s| s.details.as_ref()).is_some_and(|d| d.triggered)
    }

    /// Counts runs and how they ended. Returns whether a restart was counted.
    fn count(&mut self, seen: &UnitSeen, desk: &mut Desk) -> bool {
        let Some(run) = seen.invocation else { return false };
        let at = desk.now.wall;
        let triggered = seen.details.as_ref().map_or_else(|| self.triggered(), |d| d.triggered);
        let first_sight = self.chart.lives.record.invocation.is_none();
        let hint = desk.blind_gap
            && self.seen.is_none()
            && seen.service.as_ref().is_some_and(|s| s.n_restarts > 0);
        let mut counted = self.chart.lives.began(run, at, &desk.boot_id, triggered, hint);
        if counted.changed && matches!(self.chart.healing.record.phase, Phase::Up { .. }) {
            // Another run must be stable for as long.
            self.up_anew(desk);
        }
        let auto = is_auto_restart(&seen.sub);
        let bad_result = judge::cause(seen).is_some();
        let stopped = seen.active == ActiveState::Deactivating && seen.job && !bad_result;
        // `reset-failed`, or a stop while systemd waited to restart it. keepwell's own restart
        // begins with the former.
        let ours = matches!(
            self.chart.healing.record.phase,
            Phase::Acting { .. } | Phase::Verifying { .. }
        );
        // systemd 252 passes through `inactive`, with its job, on the way to its next try.
        let passing =
            seen.job && self.seen.as_ref().is_some_and(|before| is_auto_restart(&before.sub));
        let cleared = seen.active == ActiveState::Inactive
            && self.chart.lives.ended_badly()
            && !ours
            && !passing;
        if stopped || cleared {
            counted.changed |= self.chart.lives.stopping(run).changed;
        }
        // A start of what had failed first gives the new run its name, with the old state.
        let beginning =
            seen.job && seen.service.as_ref().is_some_and(|s| matches!(&*s.result, "" | "success"));
        let ended = (seen.active == ActiveState::Failed && !beginning) || auto;
        if ended {
            // What had already failed when keepwell first saw it was not witnessed.
            let witnessed = !first_sight || desk.ready;
            let more = self.chart.lives.ended(run, at, bad_result, auto, witnessed);
            let starved = seen.service.as_ref().filter(|s| &*s.result == "oom-kill");
            if let Some(service) = starved.filter(|_| more.crashes > 0) {
                let confirm = desk.rules.unit(&seen.name).map(|r| r.confirm.lasting);
                let patience = SETTLE.max(confirm.unwrap_or_default());
                kills::of(&self.chart.id, patience, service.dies_whole, desk);
            }
            counted.crashes += more.crashes;
            counted.changed |= more.changed;
        }
        // A first sight of a unit that is well is nothing to keep.
        if counted.changed && (!first_sight || ended) {
            self.chart.keep_counts(desk);
        }
        counted.restarts > 0
    }

    /// Inactive right after a restart of ours that failed: nobody wanted that.
    fn see_left_down(&mut self, now: Boot) {
        let Some(seen) = &self.seen else { return };
        if seen.active != ActiveState::Inactive {
            self.left_down = false;
        } else if self.job_failed.take().is_some_and(|at| now.since(at) < LEFT_DOWN) {
            self.left_down = true;
        }
        self.left_down &= !self.chart.lives.stopped();
    }

    /// Its state has held for long enough.
    pub(super) fn settled(&mut self, desk: &mut Desk) {
        self.settled = true;
        self.consider(desk);
    }

    fn apply(&mut self, mut judgement: Judgement, desk: &mut Desk) {
        self.judged = desk.now.wall;
        if matches!(self.chart.healing.record.phase, Phase::Acting { .. }) && !self.is_up() {
            // A restart passes through `inactive`; only where it ends counts.
            if judgement.heal != Heal::Wanted {
                judgement.verdict = None;
            }
        }
        let Some(verdict) = judgement.verdict else {
            // Under way: the former verdict stands, and a restart that waits goes on waiting; it
            // reads the unit again before it acts.
            return self.chart.under_way(judgement.heal, desk);
        };
        let backoff = self.backoff(desk);
        let down = verdict.severity.alerts();
        let newly_down =
            down && desk.checks.get(&self.chart.id).is_none_or(|_| !self.chart.is_open(desk));
        let run = self.seen.as_ref().and_then(|s| s.invocation);
        let is_service = self.seen.as_ref().is_some_and(|s| s.service.is_some());
        let confirm = desk.rules.unit(self.name()).map(|r| r.confirm).unwrap_or_default();
        let lasting = Lasting {
            bad: judgement.patience.max(confirm.lasting),
            good: backoff.verify().max(confirm.recovery),
            show: true,
            await_lines: is_service && run.is_some(),
            ..Lasting::default()
        };
        if down {
            let news = newly_down || self.chart.failed != run;
            self.chart.failed = run;
            desk.rule_on(&self.chart.id, AlertKind::State, verdict, lasting);
            if news && is_service && self.chart.is_open(desk) {
                desk.out
                    .effects
                    .push(Effect::FetchLog { unit: self.name().clone(), invocation: run });
            }
        } else {
            desk.rule_on(&self.chart.id, AlertKind::State, verdict, lasting);
        }
        self.follow(judgement.heal, !down, &backoff, desk);
    }

    /// What it cannot do without.
    pub(super) fn requires(&self) -> Vec<Arc<str>> {
        let details = self.seen.as_ref().and_then(|s| s.details.as_ref());
        details.map(|d| d.requires.clone()).unwrap_or_default()
    }

    /// For surfaces.
    pub(super) fn view(&self, desk_rules: &super::rules::Rules, now: Wall) -> Option<UnitView> {
        let seen = self.seen.clone()?;
        let rule: Option<&UnitRule> = desk_rules.unit(&seen.name);
        let window = rule.map_or_else(CrashLoop::default, |r| r.crash_loop.clone()).window();
        let oldest = now.before(window);
        let in_window = self.chart.lives.record.window.iter().filter(|at| **at > oldest).count();
        Some(UnitView {
            seen,
            named: rule.is_some(),
            restart: rule.is_some_and(|r| r.restart),
            crashes: self.chart.lives.record.crashes,
            restarts: self.chart.lives.record.restarts,
            restarts_in_window: u32::try_from(in_window).unwrap_or(u32::MAX),
            healed: self.chart.healing.record.total,
            step: self.chart.healing.record.step,
            restarting: matches!(
                self.chart.healing.record.phase,
                Phase::Acting { .. } | Phase::Verifying { .. }
            ),
            gave_up: self.chart.healing.record.phase == Phase::GaveUp,
            next_attempt: match &self.chart.healing.record.phase {
                Phase::Waiting { at } => Some(at.wall),
                _ => None,
            },
            failed_invocation: self.chart.failed,
            judged: self.judged,
        })
    }
}

impl Patient for Unit {
    fn chart(&self) -> &Chart {
        &self.chart
    }

    fn chart_mut(&mut self) -> &mut Chart {
        &mut self.chart
    }

    fn backoff(&self, desk: &Desk) -> Backoff {
        desk.rules.unit(self.name()).map_or_else(Backoff::default, |r| r.backoff.clone())
    }

    fn limits(&self, desk: &Desk) -> CrashLoop {
        desk.rules.unit(self.name()).map_or_else(CrashLoop::default, |r| r.crash_loop.clone())
    }

    fn is_up(&self) -> bool {
        self.seen
            .as_ref()
            .is_some_and(|s| matches!(s.active, ActiveState::Active | ActiveState::Reloading))
    }

    fn diagnosis(&self, desk: &Desk) -> Option<(Heal, bool)> {
        let judgement = self.judge(self.seen.as_ref()?, desk);
        Some((judgement.heal, judgement.verdict.is_some()))
    }

    fn is_settling(&self) -> bool {
        self.settling.is_some()
    }

    /// Without the bus.
    fn is_unwatched(&self, desk: &Desk) -> bool {
        desk.blind_gap
    }

    fn attempt(&self, desk: &Desk) -> Effect {
        let required = desk.rules.unit(self.name()).is_some_and(|r| r.required);
        Effect::Restart {
            unit: self.name().clone(),
            invocation: self.chart.failed,
            attempt: self.chart.healing.record.step,
            // Being inactive is then as bad as having failed.
            allow_inactive: self.left_down || required,
        }
    }

    fn by_hand(&self) -> String {
        format!("systemctl restart {}", self.name())
    }

    /// Judges the present state, or waits for it to settle.
    fn consider(&mut self, desk: &mut Desk) {
        let Some(seen) = &self.seen else { return };
        let judgement = self.judge(seen, desk);
        let settle = Timer::Settle(self.chart.id.clone());
        if judgement.passing && !self.settled {
            let state = (seen.active, seen.sub.clone(), seen.invocation);
            if self.settling.as_ref() != Some(&state) {
                self.settling = Some(state);
                desk.timers.set(settle, desk.now.boot.after(SETTLE));
            }
            return;
        }
        self.settling = None;
        desk.timers.clear(&settle);
        self.apply(judgement, desk);
    }

    fn consider_afresh(&mut self, desk: &mut Desk) {
        self.settled = false;
        self.settling = None;
        self.consider(desk);
    }

    fn left_down(&mut self, now: Boot) {
        self.job_failed = Some(now);
        self.see_left_down(now);
    }
}
