//! One unit: from what was seen of it to verdict, alert and restart.
//!
//! `judge` says what a state means, `lives` counts runs, `heal` carries the restart state; this file
//! joins them. `past` has what a unit did lately: its crash loop, its log.

mod heal;
mod judge;
mod lives;
mod past;

use std::sync::Arc;
use std::time::Duration;

use super::desk::{Desk, Lasting};
use super::event::{Effect, RestartResult};
use super::observation::{ActiveState, Invocation, Life, LoadState, UnitSeen};
use super::rules::{Backoff, CrashLoop, UnitRule};
use super::saved::{Change, CountRecord, Phase, RestartRecord};
use super::time::Wall;
use super::timers::Timer;
use super::view::UnitView;
use super::words::{AlertKind, CheckId, Reason, Severity, Verdict};
use heal::Healing;
use judge::{Heal, Judgement, SETTLE, is_auto_restart, judge};
use lives::Lives;

/// A unit that was seen, or of which something was saved.
#[derive(Debug)]
pub(super) struct Unit {
    id: CheckId,
    seen: Option<UnitSeen>,
    lives: Lives,
    healing: Healing,
    /// The state that waits to settle, and since when.
    settling: Option<(ActiveState, Arc<str>, Option<Invocation>)>,
    settled: bool,
    /// The run that the present failure is about.
    failed: Option<Invocation>,
    /// Errors logged since it was last quiet.
    errors: u32,
    judged: Wall,
    /// Its counts are in the store.
    kept: bool,
}

impl Unit {
    pub(super) fn new(name: &Arc<str>) -> Self {
        Self { kept: false, ..Self::load(CountRecord::new(name.clone()), None) }
    }

    /// From what was saved.
    pub(super) fn load(counts: CountRecord, restart: Option<RestartRecord>) -> Self {
        Self {
            id: CheckId::unit(counts.unit.clone()),
            seen: None,
            lives: Lives::new(counts),
            healing: Healing::new(restart),
            settling: None,
            settled: false,
            failed: None,
            errors: 0,
            judged: Wall::default(),
            kept: true,
        }
    }

    fn name(&self) -> &Arc<str> {
        &self.id.name
    }

    /// Whether nothing worth keeping is known: an unnamed unit that is well.
    pub(super) fn is_forgettable(&self, desk: &Desk) -> bool {
        // Once something of its runs was kept it must stay known: how a run ended is not to be
        // judged afresh when it is seen, or told by the journal, again.
        let at_rest = self.seen.as_ref().is_some_and(|s| {
            matches!(s.active, ActiveState::Active | ActiveState::Inactive) && !self.kept
        });
        let gone = self.seen.as_ref().is_some_and(|s| s.load == LoadState::NotFound);
        desk.rules.unit(self.name()).is_none()
            && !desk.severity(&self.id).alerts()
            && self.settling.is_none()
            && (gone || at_rest)
    }

    pub(super) fn id(&self) -> &CheckId {
        &self.id
    }

    /// Whether its state has been seen since keepwell came up.
    pub(super) fn is_seen(&self) -> bool {
        self.seen.is_some()
    }

    /// Whether the source must report it once, whatever its state.
    pub(super) fn is_remembered(&self) -> bool {
        self.lives.record.ended_badly
            || !self.lives.record.window.is_empty()
            || self.healing.record.phase != Phase::Idle
    }

    /// An alert of its state has just opened after some patience: its journal lines are wanted.
    pub(super) fn opened_late(&mut self, desk: &mut Desk) {
        if self.is_open(desk) && self.seen.as_ref().is_some_and(|s| s.service.is_some()) {
            let effect = Effect::FetchLog { unit: self.name().clone(), invocation: self.failed };
            desk.out.effects.push(effect);
        }
    }

    /// A hold ended or the rules changed: when is the next thing due?
    pub(super) fn replan(&mut self, desk: &mut Desk) {
        let backoff = backoff(desk, self.name());
        self.rearm_heal(&backoff, desk);
    }

    /// The timers that a saved state needs.
    pub(super) fn rearm(&mut self, desk: &mut Desk) {
        let backoff = backoff(desk, self.name());
        if let Some(at) = self.healing.due(&backoff, &desk.boot_id, desk.now) {
            desk.timers.set(Timer::Heal(self.name().clone()), at);
        }
        if !self.lives.record.window.is_empty() {
            self.crash_loop(desk);
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
        desk.touch(&self.id);
        self.consider(desk);
        if first {
            // What was due before it was seen went by unheard.
            self.replan(desk);
        }
        if counted {
            self.crash_loop(desk);
        }
    }

    /// The journal tells of its past.
    pub(super) fn life(&mut self, life: &Life, desk: &mut Desk) {
        let triggered = self.triggered();
        let counted = self.lives.life(life, desk.now.wall, triggered);
        if counted.changed {
            self.keep_counts(desk);
            desk.touch(&self.id);
            if matches!(self.healing.record.phase, Phase::Up { .. }) {
                self.up_anew(desk);
            }
        }
        if counted.restarts > 0 {
            self.crash_loop(desk);
        }
    }

    /// The stable time starts afresh.
    fn up_anew(&mut self, desk: &mut Desk) {
        let backoff = backoff(desk, self.name());
        let before = self.healing.record.clone();
        self.healing.up(true, &backoff, &desk.boot_id, desk.now);
        self.rearm_heal(&backoff, desk);
        self.keep_if_changed(&before, desk);
    }

    fn triggered(&self) -> bool {
        self.seen.as_ref().and_then(|s| s.details.as_ref()).is_some_and(|d| d.triggered)
    }

    fn keep_counts(&mut self, desk: &mut Desk) {
        self.kept = true;
        desk.keep(Change::Count(self.lives.record.clone()));
    }

    /// Counts runs and how they ended. Returns whether a restart was counted.
    fn count(&mut self, seen: &UnitSeen, desk: &mut Desk) -> bool {
        let Some(run) = seen.invocation else { return false };
        let at = desk.now.wall;
        let triggered = seen.details.as_ref().map_or_else(|| self.triggered(), |d| d.triggered);
        let first_sight = self.lives.record.invocation.is_none();
        let hint = desk.blind_gap
            && self.seen.is_none()
            && seen.service.as_ref().is_some_and(|s| s.n_restarts > 0);
        let mut counted = self.lives.began(run, at, &desk.boot_id, triggered, hint);
        if counted.changed && matches!(self.healing.record.phase, Phase::Up { .. }) {
            // Another run must be stable for as long.
            self.up_anew(desk);
        }
        let auto = is_auto_restart(&seen.sub);
        let bad_result = judge::cause(seen).is_some();
        let stopped = seen.active == ActiveState::Deactivating && seen.job && !bad_result;
        // `reset-failed`, or a stop while systemd waited to restart it. keepwell's own restart
        // begins with the former.
        let ours =
            matches!(self.healing.record.phase, Phase::Acting { .. } | Phase::Verifying { .. });
        // systemd 252 passes through `inactive`, with its job, on the way to its next try.
        let passing =
            seen.job && self.seen.as_ref().is_some_and(|before| is_auto_restart(&before.sub));
        let cleared =
            seen.active == ActiveState::Inactive && self.lives.ended_badly() && !ours && !passing;
        if stopped || cleared {
            counted.changed |= self.lives.stopping(run).changed;
        }
        // A start of what had failed first gives the new run its name, with the old state.
        let beginning =
            seen.job && seen.service.as_ref().is_some_and(|s| matches!(&*s.result, "" | "success"));
        let ended = (seen.active == ActiveState::Failed && !beginning) || auto;
        if ended {
            // What had already failed when keepwell first saw it was not witnessed.
            let witnessed = !first_sight || desk.ready;
            let more = self.lives.ended(run, at, bad_result, auto, witnessed);
            counted.crashes += more.crashes;
            counted.changed |= more.changed;
        }
        // A first sight of a unit that is well is nothing to keep.
        if counted.changed && (!first_sight || ended) {
            self.keep_counts(desk);
        }
        counted.restarts > 0
    }

    /// Judges the present state, or waits for it to settle.
    pub(super) fn consider(&mut self, desk: &mut Desk) {
        let Some(seen) = &self.seen else { return };
        let rule = desk.rules.unit(&seen.name);
        let judgement = judge(seen, &self.lives, rule, desk.manager);
        let settle = Timer::Settle(self.name().clone());
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

    /// Its state has held for long enough.
    pub(super) fn settled(&mut self, desk: &mut Desk) {
        self.settled = true;
        self.consider(desk);
    }

    fn apply(&mut self, mut judgement: Judgement, desk: &mut Desk) {
        self.judged = desk.now.wall;
        if matches!(self.healing.record.phase, Phase::Acting { .. }) && !self.is_up() {
            // A restart passes through `inactive`; only where it ends counts.
            if judgement.heal != Heal::Wanted {
                judgement.verdict = None;
            }
        }
        let Some(verdict) = judgement.verdict else {
            // Under way: the former verdict stands, and a restart that waits goes on waiting; it
            // reads the unit again before it acts.
            if !desk.checks.contains_key(&self.id) {
                let reason = match judgement.heal {
                    Heal::No(reason) => reason,
                    Heal::Wanted => Reason::NotYetSeen,
                };
                let verdict = Verdict::new(Severity::Healthy, reason, reason.meaning());
                desk.rule_on(&self.id, AlertKind::State, verdict, Lasting::default());
            }
            return;
        };
        let backoff = backoff(desk, self.name());
        let down = verdict.severity.alerts();
        let newly_down = down && desk.checks.get(&self.id).is_none_or(|_| !self.is_open(desk));
        let run = self.seen.as_ref().and_then(|s| s.invocation);
        let is_service = self.seen.as_ref().is_some_and(|s| s.service.is_some());
        let lasting = Lasting {
            bad: judgement.patience,
            good: backoff.verify(),
            show: true,
            await_lines: is_service && run.is_some(),
            ..Lasting::default()
        };
        if down {
            let news = newly_down || self.failed != run;
            self.failed = run;
            desk.rule_on(&self.id, AlertKind::State, verdict, lasting);
            if news && is_service && self.is_open(desk) {
                desk.out
                    .effects
                    .push(Effect::FetchLog { unit: self.name().clone(), invocation: run });
            }
        } else {
            desk.rule_on(&self.id, AlertKind::State, verdict, lasting);
        }
        let well = !down;
        match judgement.heal {
            Heal::Wanted => self.want_restart(&backoff, desk),
            Heal::No(reason) => self.no_restart(well, reason, &backoff, desk),
        }
    }

    fn is_open(&self, desk: &Desk) -> bool {
        let key = super::alert::AlertKey { check: self.id.clone(), kind: AlertKind::State };
        desk.book.is_open(&key)
    }

    /// It is down and a restart is allowed.
    fn want_restart(&mut self, backoff: &Backoff, desk: &mut Desk) {
        if let Phase::Acting { .. } = self.healing.record.phase {
            return;
        }
        if let Phase::Verifying { .. } = self.healing.record.phase {
            // Still the state from before the restart: systemd's answer overtook the signal.
            if self.healing.record.last_invocation.is_some()
                && self.healing.record.last_invocation == self.failed
            {
                return;
            }
        }
        let before = self.healing.record.clone();
        if matches!(before.phase, Phase::Waiting { .. }) && before.last_invocation != self.failed {
            // It came up and failed again meanwhile: the wait counts from this failure.
            self.healing.record.phase = Phase::Idle;
        }
        let at_once = desk.force || (desk.eager && before.step == 0);
        if let Some(limit) = backoff.give_up_after()
            && self.healing.record.step >= limit
        {
            if self.healing.record.phase != Phase::GaveUp {
                self.healing.record.phase = Phase::GaveUp;
                desk.timers.clear(&Timer::Heal(self.name().clone()));
                let text = format!("{limit} restarts did not help; keepwell gives up on it");
                desk.gave_up(&self.id, &text);
            }
        } else if let Some(at) = self.healing.plan(backoff, &desk.boot_id, desk.now, at_once) {
            desk.timers.set(Timer::Heal(self.name().clone()), at);
            let wait = super::time::Human(at.since(desk.now.boot));
            let text = format!("restart in {wait} (attempt {})", self.healing.record.step + 1);
            desk.decide(&self.id, Reason::RestartScheduled, text);
        }
        self.healing.record.last_invocation = self.failed.or(self.healing.record.last_invocation);
        self.keep_if_changed(&before, desk);
    }

    /// No restart: it is well, or must be left alone.
    fn no_restart(&mut self, well: bool, reason: Reason, backoff: &Backoff, desk: &mut Desk) {
        let before = self.healing.record.clone();
        match &self.healing.record.phase {
            // systemd's own Restart= is trying: ours goes on waiting for it to give up.
            Phase::Waiting { .. } if reason == Reason::AutoRestart => {
                desk.decide(&self.id, Reason::AutoRestart, Reason::AutoRestart.meaning());
            }
            Phase::Up { .. } | Phase::Verifying { .. } if !well => {
                self.healing.record.phase = Phase::Idle;
                self.rearm_heal(backoff, desk);
            }
            Phase::Waiting { .. } if !well => {
                // Still down, but not to be restarted now: the step is kept for when it may be.
                self.healing.record.phase = Phase::Idle;
                self.rearm_heal(backoff, desk);
                desk.decide(&self.id, reason, format!("no restart: {}", reason.meaning()));
            }
            Phase::Waiting { .. } | Phase::GaveUp if well => {
                let active = self.is_up();
                self.healing.up(active, backoff, &desk.boot_id, desk.now);
                self.rearm_heal(backoff, desk);
                if !active {
                    desk.decide(&self.id, reason, format!("no restart: {}", reason.meaning()));
                }
            }
            Phase::Idle if well && self.healing.record.step > 0 => {
                // It took longer to come up than keepwell waited for.
                self.healing.up(self.is_up(), backoff, &desk.boot_id, desk.now);
                self.rearm_heal(backoff, desk);
            }
            Phase::Up { .. } | Phase::Verifying { .. } if !self.is_up() && well => {
                // Stopped on purpose after a repair: nothing more to verify.
                self.healing.up(false, backoff, &desk.boot_id, desk.now);
                self.rearm_heal(backoff, desk);
            }
            _ => {}
        }
        self.keep_if_changed(&before, desk);
    }

    fn is_up(&self) -> bool {
        self.seen
            .as_ref()
            .is_some_and(|s| matches!(s.active, ActiveState::Active | ActiveState::Reloading))
    }

    fn rearm_heal(&mut self, backoff: &Backoff, desk: &mut Desk) {
        let timer = Timer::Heal(self.name().clone());
        match self.healing.due(backoff, &desk.boot_id, desk.now) {
            Some(at) => desk.timers.set(timer, at),
            None => desk.timers.clear(&timer),
        }
    }

    /// The time has come that the phase waits for.
    pub(super) fn heal_due(&mut self, desk: &mut Desk) {
        let backoff = backoff(desk, self.name());
        let before = self.healing.record.clone();
        if self.seen.is_none() {
            return; // Not seen since keepwell came up; it goes on when it is.
        }
        if desk.blind_gap
            && matches!(self.healing.record.phase, Phase::Up { .. } | Phase::Verifying { .. })
        {
            // Without the bus nobody knows whether it stayed up.
            let later = desk.now.boot.after(Duration::from_secs(1));
            desk.timers.set(Timer::Heal(self.name().clone()), later);
            return;
        }
        match self.healing.record.phase {
            Phase::Waiting { .. } => self.restart_due(desk),
            Phase::Verifying { .. } => {
                if self.is_up() {
                    self.healing.up(true, &backoff, &desk.boot_id, desk.now);
                    let text = format!("stayed up for {}", super::time::Human(backoff.verify()));
                    desk.decide(&self.id, Reason::Restored, text);
                    self.rearm_heal(&backoff, desk);
                } else {
                    // The state from before is also the state after: the restart did not take.
                    self.healing.record.phase = Phase::Idle;
                    self.healing.record.last_invocation = None;
                    self.consider(desk);
                }
            }
            // On its way down or up: where it ends, it is judged, and the step is kept.
            Phase::Up { .. } if !self.is_up() => self.healing.record.phase = Phase::Idle,
            Phase::Up { .. } => {
                self.healing.reset();
                desk.decide(&self.id, Reason::BackoffReset, Reason::BackoffReset.meaning());
            }
            Phase::Acting { .. } => {
                // No outcome came: the worst is assumed, so that it is tried again.
                self.outcome(RestartResult::Failed("no answer from systemd".into()), desk);
                return;
            }
            Phase::Idle | Phase::GaveUp => {}
        }
        self.keep_if_changed(&before, desk);
    }

    fn restart_due(&mut self, desk: &mut Desk) {
        let timer = Timer::Heal(self.name().clone());
        let Some(seen) = &self.seen else { return };
        if self.settling.is_some() {
            return; // Its state may be a passing one; once it is judged, the restart is planned anew.
        }
        let rule = desk.rules.unit(&seen.name);
        let judgement = judge(seen, &self.lives, rule, desk.manager);
        if judgement.heal != Heal::Wanted {
            // It is on its way somewhere; where it ends, it is judged again.
            if judgement.verdict.is_some() {
                self.consider(desk);
            } else {
                desk.timers.set(timer, desk.now.boot.after(Duration::from_secs(1)));
            }
            return;
        }
        if let Some(hold) = desk.held(self.name()) {
            let left = hold.until.since(desk.now.wall);
            let text = format!("held by {} for {}", hold.actor.0, super::time::Human(left));
            desk.timers.set(timer, desk.now.boot.after(left.max(Duration::from_millis(100))));
            desk.decide(&self.id, Reason::Held, text);
            return;
        }
        if desk.manager.reloading {
            desk.timers.set(timer, desk.now.boot.after(Duration::from_secs(1)));
            desk.decide(&self.id, Reason::ManagerReloading, Reason::ManagerReloading.meaning());
            return;
        }
        self.healing.act(&desk.boot_id, desk.now);
        desk.timers.set(timer, desk.now.boot.after(heal::ACT_LIMIT));
        let attempt = self.healing.record.step;
        desk.out.effects.push(Effect::Restart {
            unit: self.name().clone(),
            invocation: self.failed,
            attempt,
        });
    }

    /// A restart has ended.
    pub(super) fn outcome(&mut self, result: RestartResult, desk: &mut Desk) {
        let Phase::Acting { .. } = self.healing.record.phase else { return };
        let backoff = backoff(desk, self.name());
        let before = self.healing.record.clone();
        let attempt = self.healing.record.step;
        match result {
            RestartResult::Done => {
                self.healing.verify(&backoff, &desk.boot_id, desk.now);
                self.rearm_heal(&backoff, desk);
                let text = format!("restarted by keepwell (attempt {attempt})");
                desk.act(&self.id, Reason::RestartDone, &text);
                if self.failed != before.last_invocation {
                    self.consider(desk);
                }
            }
            RestartResult::Failed(why) => {
                let text = format!("restart failed (attempt {attempt}): {why}");
                self.again(Reason::RestartFailed, &text, desk);
            }
            RestartResult::Denied(why) => {
                let text = format!("restart not permitted: {why}");
                self.again(Reason::RestartDenied, &text, desk);
            }
            RestartResult::Declined(reason) => {
                self.healing.not_made();
                let text = format!("no restart: {}", reason.meaning());
                self.again(reason, &text, desk);
                desk.out.effects.push(Effect::Resync);
            }
        }
        self.keep_if_changed(&before, desk);
    }

    /// The attempt came to nothing: judge the unit again, which plans the next if need be.
    fn again(&mut self, reason: Reason, text: &str, desk: &mut Desk) {
        self.healing.record.phase = Phase::Idle;
        desk.timers.clear(&Timer::Heal(self.name().clone()));
        desk.act(&self.id, reason, text);
        self.settled = false;
        self.settling = None;
        self.consider(desk);
    }

    fn keep_if_changed(&mut self, before: &RestartRecord, desk: &mut Desk) {
        if self.healing.record == *before {
            return;
        }
        desk.touch(&self.id);
        let name = self.name().clone();
        if self.healing.is_blank() {
            desk.keep(Change::RestartGone(name));
        } else {
            desk.keep(Change::Restart(name, self.healing.record.clone()));
        }
    }

    /// For surfaces.
    pub(super) fn view(&self, desk_rules: &super::rules::Rules, now: Wall) -> Option<UnitView> {
        let seen = self.seen.clone()?;
        let rule: Option<&UnitRule> = desk_rules.unit(&seen.name);
        let window = rule.map_or_else(CrashLoop::default, |r| r.crash_loop.clone()).window();
        let oldest = now.before(window);
        let in_window = self.lives.record.window.iter().filter(|at| **at > oldest).count();
        Some(UnitView {
            seen,
            named: rule.is_some(),
            restart: rule.is_some_and(|r| r.restart),
            crashes: self.lives.record.crashes,
            restarts: self.lives.record.restarts,
            restarts_in_window: u32::try_from(in_window).unwrap_or(u32::MAX),
            healed: self.healing.record.total,
            step: self.healing.record.step,
            restarting: matches!(
                self.healing.record.phase,
                Phase::Acting { .. } | Phase::Verifying { .. }
            ),
            next_attempt: match &self.healing.record.phase {
                Phase::Waiting { at } => Some(at.wall),
                _ => None,
            },
            failed_invocation: self.failed,
            judged: self.judged,
        })
    }
}

fn backoff(desk: &Desk, unit: &str) -> Backoff {
    desk.rules.unit(unit).map_or_else(Backoff::default, |r| r.backoff.clone())
}
