//! Restarting a unit: when one is planned, made, and what follows from how it ended. The state and
//! its times are in `heal`.

use std::time::Duration;

use super::heal;
use super::judge::{Heal, judge};
use super::{Unit, backoff};
use crate::engine::desk::Desk;
use crate::engine::event::{Actor, Effect, RestartResult};
use crate::engine::rules::Backoff;
use crate::engine::saved::{Change, Phase, RestartRecord};
use crate::engine::time::Human;
use crate::engine::timers::Timer;
use crate::engine::words::{CheckKind, Reason};

/// How long to wait before it is asked again whether a package manager is at work.
const LOOK: Duration = Duration::from_millis(50);

impl Unit {
    /// A person wants it to be restarted now.
    pub(in crate::engine) fn restart_now(
        &mut self,
        actor: Actor,
        desk: &mut Desk,
    ) -> Result<String, String> {
        let name = self.name().clone();
        let Some(seen) = &self.seen else { return Err(format!("{name} has not been seen yet")) };
        if self.is_up() {
            return Err(format!(
                "{name} is running; to restart it all the same: systemctl restart {name}"
            ));
        }
        if let Phase::Acting { .. } = self.healing.record.phase {
            return Err(format!("{name} is being restarted already"));
        }
        let rule = desk.rules.unit(&seen.name);
        if let Heal::No(why) =
            judge(seen, &self.lives, rule, desk.quiet.manager(), self.left_down).heal
        {
            return Err(format!("keepwell does not restart {name}: {}", why.meaning()));
        }
        let before = self.healing.record.clone();
        self.healing.act(&desk.boot_id, desk.now);
        desk.timers.set(Timer::Heal(name.clone()), desk.now.boot.after(heal::ACT_LIMIT));
        let text = format!("restart asked for by {}", actor.0);
        desk.act_by(&self.id, Some(actor), Reason::RestartAsked, &text);
        desk.out.effects.push(Effect::Restart {
            unit: name.clone(),
            invocation: self.failed,
            attempt: self.healing.record.step,
            allow_inactive: self.may_be_inactive(desk),
        });
        self.keep_if_changed(&before, desk);
        Ok(format!("{name} is being restarted"))
    }

    /// It is down and a restart is allowed.
    pub(super) fn want_restart(&mut self, backoff: &Backoff, desk: &mut Desk) {
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
            let wait = Human(at.since(desk.now.boot));
            let text = format!("restart in {wait} (attempt {})", self.healing.record.step + 1);
            desk.next(&self.id, text.clone());
            desk.decide(&self.id, Reason::RestartScheduled, text);
        }
        self.healing.record.last_invocation = self.failed.or(self.healing.record.last_invocation);
        self.keep_if_changed(&before, desk);
    }

    /// No restart: it is well, or must be left alone.
    pub(super) fn no_restart(
        &mut self,
        well: bool,
        reason: Reason,
        backoff: &Backoff,
        desk: &mut Desk,
    ) {
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

    pub(super) fn rearm_heal(&mut self, backoff: &Backoff, desk: &mut Desk) {
        let timer = Timer::Heal(self.name().clone());
        match self.healing.due(backoff, &desk.boot_id, desk.now) {
            Some(at) => desk.timers.set(timer, at),
            None => desk.timers.clear(&timer),
        }
    }

    /// The time has come that the phase waits for.
    pub(in crate::engine) fn heal_due(&mut self, desk: &mut Desk) {
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
                    let text = format!("stayed up for {}", Human(backoff.verify()));
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
        let judgement = judge(seen, &self.lives, rule, desk.quiet.manager(), self.left_down);
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
            let text = format!("held by {} for {}", hold.actor.0, Human(left));
            desk.timers.set(timer, desk.now.boot.after(left.max(Duration::from_millis(100))));
            desk.decide(&self.id, Reason::Held, text);
            return;
        }
        if let Some(wait) = desk.quiet.holds(CheckKind::Unit, desk.now, &mut desk.out.effects) {
            if wait.why == Reason::Grouping {
                // It is being looked whether a package manager is at work.
                desk.timers.set(timer, desk.now.boot.after(LOOK));
            } else {
                desk.timers.set(timer, wait.again);
                desk.decide(&self.id, wait.why, wait.why.meaning());
            }
            return;
        }
        self.healing.act(&desk.boot_id, desk.now);
        desk.timers.set(timer, desk.now.boot.after(heal::ACT_LIMIT));
        let attempt = self.healing.record.step;
        desk.out.effects.push(Effect::Restart {
            unit: self.name().clone(),
            invocation: self.failed,
            attempt,
            allow_inactive: self.may_be_inactive(desk),
        });
    }

    /// Whether being inactive is as bad as having failed.
    fn may_be_inactive(&self, desk: &Desk) -> bool {
        self.left_down || desk.rules.unit(self.name()).is_some_and(|r| r.required)
    }

    /// A restart has ended.
    pub(in crate::engine) fn outcome(&mut self, result: RestartResult, desk: &mut Desk) {
        let Phase::Acting { .. } = self.healing.record.phase else { return };
        let backoff = backoff(desk, self.name());
        let before = self.healing.record.clone();
        let attempt = self.healing.record.step;
        match result {
            RestartResult::Done => {
                self.healing.verify(&backoff, &desk.boot_id, desk.now);
                self.rearm_heal(&backoff, desk);
                let text = format!("restarted by keepwell (attempt {attempt})");
                desk.restarts = desk.restarts.saturating_add(1);
                desk.act(&self.id, Reason::RestartDone, &text);
                desk.next(
                    &self.id,
                    format!("counts as well when it stays up for {}", Human(backoff.verify())),
                );
                if self.failed != before.last_invocation {
                    self.consider(desk);
                }
            }
            RestartResult::JobFailed(why) => {
                self.job_failed = Some(desk.now.boot);
                self.see_left_down(desk.now.boot);
                let text = format!("restart failed (attempt {attempt}): {why}");
                self.again(Reason::RestartFailed, &text, desk);
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

    pub(super) fn keep_if_changed(&mut self, before: &RestartRecord, desk: &mut Desk) {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::observation::{ActiveState, LoadState, PackagesSeen, UnitSeen};
    use crate::engine::rules::{Rules, UnitPattern, UnitRule};
    use crate::engine::saved::Saved;
    use crate::engine::{Boot, Engine, Event, Mode, Now, Observation, Outcome, Wall};

    #[test]
    fn a_denial_that_stays_is_logged_once() {
        let rule = UnitRule { restart: true, ..UnitRule::new(UnitPattern::try_new("a").unwrap()) };
        let rules = Rules { units: vec![rule], ..Rules::default() };
        let mut now = Now { boot: Boot(1_000_000), wall: Wall(1_000_000) };
        let (mut engine, _) =
            Engine::new(rules, Saved::default(), "b".into(), Mode::default(), now);
        let failed = UnitSeen {
            name: "a.service".into(),
            load: LoadState::Loaded,
            active: ActiveState::Failed,
            ..UnitSeen::default()
        };
        let mut events = vec![Event::Observed(Observation::Unit(Box::new(failed)))];
        let (mut attempts, mut logged) = (0, Vec::new());
        let mut why = "no rule lets keepwell do it";
        for _ in 0..200 {
            let step = engine.step(events.pop().unwrap_or(Event::Deadline), now);
            for effect in step.effects {
                match effect {
                    Effect::Restart { unit, .. } => {
                        attempts += 1;
                        why = if attempts > 3 { "polkit is gone" } else { why };
                        let result = RestartResult::Denied(why.into());
                        events.push(Event::Outcome(Outcome::Restart { unit, result }));
                    }
                    Effect::LookAtPackages => {
                        let seen = PackagesSeen::default();
                        events.push(Event::Observed(Observation::Packages(seen)));
                    }
                    Effect::Log(said) if said.reason == Reason::RestartDenied => {
                        logged.push(said.text);
                    }
                    _ => {}
                }
            }
            if let (true, Some(at)) = (events.is_empty(), step.deadline) {
                now = now.after(at.since(now.boot));
            }
        }
        assert!(attempts > 5, "{attempts}");
        let wanted = ["no rule lets keepwell do it", "polkit is gone"];
        assert_eq!(logged, wanted.map(|why| format!("restart not permitted: {why}")));
    }
}
