//! Healing, the same for a unit and a container: when a restart is planned, made, and what follows
//! from how it ended; and when restarts are too many. `state` has the phases and their times,
//! `lives` counts runs. What a [`Patient`] is like, and whether a restart would help, it says itself.

mod lives;
mod often;
mod state;

use std::time::Duration;

use super::desk::{Desk, Lasting};
use super::event::{Actor, Effect, RestartResult};
use super::observation::Invocation;
use super::rules::{Backoff, CrashLoop};
use super::saved::{Change, CountRecord, Phase, RestartRecord, subject};
use super::time::{Boot, Human};
use super::timers::Timer;
use super::words::{AlertKind, CheckId, Reason, Severity, Verdict};

pub(super) use lives::Lives;
pub(super) use state::Healing;

/// How long to wait before it is asked again whether a package manager is at work.
const LOOK: Duration = Duration::from_millis(50);

/// What is to be done about a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heal {
    /// A restart would help and is allowed.
    Wanted,
    /// None, and why.
    No(Reason),
}

/// What is written down of every patient.
#[derive(Debug)]
pub(super) struct Chart {
    pub(super) id: CheckId,
    pub(super) lives: Lives,
    pub(super) healing: Healing,
    /// The run that the present failure is about.
    pub(super) failed: Option<Invocation>,
    /// Its counts are in the store.
    pub(super) kept: bool,
}

impl Chart {
    pub(super) fn new(id: CheckId, counts: CountRecord, restart: Option<RestartRecord>) -> Self {
        let (lives, healing) = (Lives::new(counts), Healing::new(restart));
        Self { id, lives, healing, failed: None, kept: true }
    }

    pub(super) fn keep_counts(&mut self, desk: &mut Desk) {
        self.kept = true;
        desk.keep(Change::Count(self.lives.record.clone()));
    }

    pub(super) fn keep_if_changed(&self, before: &RestartRecord, desk: &mut Desk) {
        if self.healing.record == *before {
            return;
        }
        desk.touch(&self.id);
        let subject = subject(&self.id);
        if self.healing.is_blank() {
            desk.keep(Change::RestartGone(subject));
        } else {
            desk.keep(Change::Restart(subject, self.healing.record.clone()));
        }
    }

    /// Something is under way: the former verdict stands; where there is none, it is well so far.
    pub(super) fn under_way(&self, heal: Heal, desk: &mut Desk) {
        if desk.checks.contains_key(&self.id) {
            return;
        }
        let reason = match heal {
            Heal::No(reason) => reason,
            Heal::Wanted => Reason::NotYetSeen,
        };
        let verdict = Verdict::new(Severity::Healthy, reason, reason.meaning());
        desk.rule_on(&self.id, AlertKind::State, verdict, Lasting::default());
    }

    /// Whether an alert of its state is open.
    pub(super) fn is_open(&self, desk: &Desk) -> bool {
        desk.book.is_open(&desk.book.carrier(&self.id))
    }

    fn timer(&self) -> Timer {
        Timer::Heal(self.id.clone())
    }
}

/// Something that may be restarted.
pub(super) trait Patient {
    fn chart(&self) -> &Chart;
    fn chart_mut(&mut self) -> &mut Chart;

    /// When to restart it.
    fn backoff(&self, desk: &Desk) -> Backoff;

    /// When restarts are too many.
    fn limits(&self, desk: &Desk) -> CrashLoop;

    /// It runs, as far as it is known.
    fn is_up(&self) -> bool;

    /// Whether a restart would help, by its present state; and whether that state is one to stay
    /// in. `None`: it has not been seen since keepwell came up, or nobody knows how it is now.
    fn diagnosis(&self, desk: &Desk) -> Option<(Heal, bool)>;

    /// Its state may be a passing one, and is judged in a moment.
    fn is_settling(&self) -> bool;

    /// Nobody can tell whether it stayed up.
    fn is_unwatched(&self, desk: &Desk) -> bool;

    /// What restarts it.
    fn attempt(&self, desk: &Desk) -> Effect;

    /// How a person restarts it.
    fn by_hand(&self) -> String;

    /// Judges it anew.
    fn consider(&mut self, desk: &mut Desk);

    /// Judges it anew, whatever it was a moment ago.
    fn consider_afresh(&mut self, desk: &mut Desk);

    /// Its restart failed in a way that leaves it down without a failure of its own.
    fn left_down(&mut self, _now: Boot) {}

    /// keepwell begins to restart it, or is done with that.
    fn acting(&mut self, _begins: bool, _desk: &Desk) {}

    /// A person wants it to be restarted now.
    fn restart_now(&mut self, actor: Actor, desk: &mut Desk) -> Result<String, String> {
        let name = self.chart().id.name.clone();
        let Some((heal, _)) = self.diagnosis(desk) else {
            return Err(format!("{name} has not been seen yet"));
        };
        if self.is_up() {
            let by_hand = self.by_hand();
            return Err(format!("{name} is running; to restart it all the same: {by_hand}"));
        }
        if let Phase::Acting { .. } = self.chart().healing.record.phase {
            return Err(format!("{name} is being restarted already"));
        }
        if let Heal::No(why) = heal {
            return Err(format!("keepwell does not restart {name}: {}", why.meaning()));
        }
        let before = self.chart().healing.record.clone();
        self.act(desk);
        let text = format!("restart asked for by {}", actor.0);
        desk.act_by(&self.chart().id, Some(actor), Reason::RestartAsked, &text);
        let attempt = self.attempt(desk);
        desk.out.effects.push(attempt);
        self.chart().keep_if_changed(&before, desk);
        Ok(format!("{name} is being restarted"))
    }

    /// Does what the judgement of its state asks for.
    fn follow(&mut self, heal: Heal, well: bool, backoff: &Backoff, desk: &mut Desk) {
        match heal {
            Heal::Wanted => self.want_restart(backoff, desk),
            Heal::No(reason) => {
                if !well {
                    desk.next(&self.chart().id, format!("no restart: {}", reason.meaning()));
                }
                self.no_restart(well, reason, backoff, desk);
            }
        }
    }

    /// It is down and a restart is allowed.
    fn want_restart(&mut self, backoff: &Backoff, desk: &mut Desk) {
        if let Phase::Acting { .. } = self.chart().healing.record.phase {
            return;
        }
        if let Phase::Verifying { .. } = self.chart().healing.record.phase {
            // Still the state from before the restart: systemd's answer overtook the signal.
            if self.chart().healing.record.last_invocation.is_some()
                && self.chart().healing.record.last_invocation == self.chart().failed
            {
                return;
            }
        }
        let before = self.chart().healing.record.clone();
        if matches!(before.phase, Phase::Waiting { .. })
            && before.last_invocation != self.chart().failed
        {
            // It came up and failed again meanwhile: the wait counts from this failure.
            self.chart_mut().healing.record.phase = Phase::Idle;
        }
        let at_once = desk.force || (desk.eager && before.step == 0);
        if let Some(limit) = backoff.give_up_after()
            && self.chart().healing.record.step >= limit
        {
            if self.chart().healing.record.phase != Phase::GaveUp {
                self.chart_mut().healing.record.phase = Phase::GaveUp;
                desk.timers.clear(&self.chart().timer());
                let text = format!("{limit} restarts did not help; keepwell gives up on it");
                desk.gave_up(&self.chart().id, &text);
            }
        } else if let Some(at) =
            self.chart_mut().healing.plan(backoff, &desk.boot_id, desk.now, at_once)
        {
            desk.timers.set(self.chart().timer(), at);
            let wait = Human(at.since(desk.now.boot));
            let text =
                format!("restart in {wait} (attempt {})", self.chart().healing.record.step + 1);
            desk.next(&self.chart().id, text.clone());
            desk.decide(&self.chart().id, Reason::RestartScheduled, text);
        }
        let chart = self.chart_mut();
        let record = &mut chart.healing.record;
        record.last_invocation = chart.failed.or(record.last_invocation);
        self.chart().keep_if_changed(&before, desk);
    }

    /// No restart: it is well, or must be left alone.
    fn no_restart(&mut self, well: bool, reason: Reason, backoff: &Backoff, desk: &mut Desk) {
        let before = self.chart().healing.record.clone();
        match &self.chart().healing.record.phase {
            // systemd's own Restart=, or its policy, is trying: ours waits for it to give up.
            Phase::Waiting { .. }
                if matches!(reason, Reason::AutoRestart | Reason::RestartPolicy) =>
            {
                desk.decide(&self.chart().id, reason, reason.meaning());
            }
            Phase::Up { .. } | Phase::Verifying { .. } if !well => {
                self.chart_mut().healing.record.phase = Phase::Idle;
                self.rearm_heal(backoff, desk);
            }
            Phase::Waiting { .. } if !well => {
                // Still down, but not to be restarted now: the step is kept for when it may be.
                self.chart_mut().healing.record.phase = Phase::Idle;
                self.rearm_heal(backoff, desk);
                desk.decide(&self.chart().id, reason, format!("no restart: {}", reason.meaning()));
            }
            Phase::Waiting { .. } | Phase::GaveUp if well => {
                let active = self.is_up();
                self.chart_mut().healing.up(active, backoff, &desk.boot_id, desk.now);
                self.rearm_heal(backoff, desk);
                if !active {
                    desk.decide(
                        &self.chart().id,
                        reason,
                        format!("no restart: {}", reason.meaning()),
                    );
                }
            }
            Phase::Idle if well && self.chart().healing.record.step > 0 => {
                // It took longer to come up than keepwell waited for.
                let active = self.is_up();
                self.chart_mut().healing.up(active, backoff, &desk.boot_id, desk.now);
                self.rearm_heal(backoff, desk);
            }
            Phase::Up { .. } | Phase::Verifying { .. } if !self.is_up() && well => {
                // Stopped on purpose after a repair: nothing more to verify.
                self.chart_mut().healing.up(false, backoff, &desk.boot_id, desk.now);
                self.rearm_heal(backoff, desk);
            }
            _ => {}
        }
        self.chart().keep_if_changed(&before, desk);
    }

    fn rearm_heal(&mut self, backoff: &Backoff, desk: &mut Desk) {
        let timer = self.chart().timer();
        match self.chart().healing.due(backoff, &desk.boot_id, desk.now) {
            Some(at) => desk.timers.set(timer, at),
            None => desk.timers.clear(&timer),
        }
    }

    /// The time has come that the phase waits for.
    fn heal_due(&mut self, desk: &mut Desk) {
        let backoff = self.backoff(desk);
        let before = self.chart().healing.record.clone();
        if self.diagnosis(desk).is_none() {
            return; // Not seen since keepwell came up; it goes on when it is.
        }
        if self.is_unwatched(desk)
            && matches!(
                self.chart().healing.record.phase,
                Phase::Up { .. } | Phase::Verifying { .. }
            )
        {
            let later = desk.now.boot.after(Duration::from_secs(1));
            desk.timers.set(self.chart().timer(), later);
            return;
        }
        match self.chart().healing.record.phase {
            Phase::Waiting { .. } => self.restart_due(desk),
            Phase::Verifying { .. } => {
                if self.is_up() {
                    self.chart_mut().healing.up(true, &backoff, &desk.boot_id, desk.now);
                    let text = format!("stayed up for {}", Human(backoff.verify()));
                    desk.decide(&self.chart().id, Reason::Restored, text);
                    self.rearm_heal(&backoff, desk);
                } else {
                    // The state from before is also the state after: the restart did not take.
                    self.chart_mut().healing.record.phase = Phase::Idle;
                    self.chart_mut().healing.record.last_invocation = None;
                    self.consider(desk);
                }
            }
            // On its way down or up: where it ends, it is judged, and the step is kept.
            Phase::Up { .. } if !self.is_up() => {
                self.chart_mut().healing.record.phase = Phase::Idle
            }
            Phase::Up { .. } => {
                self.chart_mut().healing.reset();
                desk.decide(&self.chart().id, Reason::BackoffReset, Reason::BackoffReset.meaning());
            }
            Phase::Acting { .. } => {
                // No outcome came: the worst is assumed, so that it is tried again.
                self.outcome(RestartResult::Failed("no answer".into()), desk);
                return;
            }
            Phase::Idle | Phase::GaveUp => {}
        }
        self.chart().keep_if_changed(&before, desk);
    }

    fn restart_due(&mut self, desk: &mut Desk) {
        let timer = self.chart().timer();
        if self.is_settling() {
            return; // Its state may be a passing one; once it is judged, the restart is planned anew.
        }
        let Some((heal, stays)) = self.diagnosis(desk) else { return };
        if heal != Heal::Wanted {
            // It is on its way somewhere; where it ends, it is judged again.
            if stays {
                self.consider(desk);
            } else {
                desk.timers.set(timer, desk.now.boot.after(Duration::from_secs(1)));
            }
            return;
        }
        if let Some(hold) = desk.held(&self.chart().id) {
            let left = hold.until.since(desk.now.wall);
            let text = format!("held by {} for {}", hold.actor.0, Human(left));
            desk.timers.set(timer, desk.now.boot.after(left.max(Duration::from_millis(100))));
            desk.decide(&self.chart().id, Reason::Held, text);
            return;
        }
        if let Some(wait) = desk.quiet.holds(self.chart().id.kind, desk.now, &mut desk.out.effects)
        {
            if wait.why == Reason::Grouping {
                // It is being looked whether a package manager is at work.
                desk.timers.set(timer, desk.now.boot.after(LOOK));
            } else {
                desk.timers.set(timer, wait.again);
                desk.decide(&self.chart().id, wait.why, wait.why.meaning());
            }
            return;
        }
        self.act(desk);
        let attempt = self.attempt(desk);
        desk.out.effects.push(attempt);
    }

    /// An attempt is made.
    fn act(&mut self, desk: &mut Desk) {
        self.acting(true, desk);
        let (boot_id, now) = (desk.boot_id.clone(), desk.now);
        self.chart_mut().healing.act(&boot_id, now);
        desk.timers.set(self.chart().timer(), now.boot.after(state::ACT_LIMIT));
    }

    /// A restart has ended.
    fn outcome(&mut self, result: RestartResult, desk: &mut Desk) {
        let Phase::Acting { .. } = self.chart().healing.record.phase else { return };
        let backoff = self.backoff(desk);
        let before = self.chart().healing.record.clone();
        let attempt = before.step;
        self.acting(false, desk);
        match result {
            RestartResult::Done => {
                self.chart_mut().healing.verify(&backoff, &desk.boot_id, desk.now);
                self.rearm_heal(&backoff, desk);
                let text = format!("restarted by keepwell (attempt {attempt})");
                desk.restarts = desk.restarts.saturating_add(1);
                desk.act(&self.chart().id, Reason::RestartDone, &text);
                desk.next(
                    &self.chart().id,
                    format!("counts as well when it stays up for {}", Human(backoff.verify())),
                );
                if self.chart().failed != before.last_invocation {
                    self.consider(desk);
                }
            }
            RestartResult::JobFailed(why) => {
                self.left_down(desk.now.boot);
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
                self.chart_mut().healing.not_made();
                let text = format!("no restart: {}", reason.meaning());
                self.again(reason, &text, desk);
                desk.out.effects.push(Effect::Resync);
            }
        }
        self.chart().keep_if_changed(&before, desk);
    }

    /// Another run must be stable for as long.
    fn up_anew(&mut self, desk: &mut Desk) {
        let backoff = self.backoff(desk);
        let before = self.chart().healing.record.clone();
        self.chart_mut().healing.up(true, &backoff, &desk.boot_id, desk.now);
        self.rearm_heal(&backoff, desk);
        self.chart().keep_if_changed(&before, desk);
    }

    /// A hold ended or the rules changed: when is the next thing due?
    fn replan(&mut self, desk: &mut Desk) {
        let backoff = self.backoff(desk);
        self.rearm_heal(&backoff, desk);
    }

    /// The timers that a saved state needs.
    fn rearm(&mut self, desk: &mut Desk) {
        self.replan(desk);
        if !self.chart().lives.record.window.is_empty() {
            self.too_often(desk);
        }
    }

    /// Judges the restarts within the window.
    fn too_often(&mut self, desk: &mut Desk) {
        often::judge(self, desk);
    }

    /// The attempt came to nothing: judge it again, which plans the next if need be.
    fn again(&mut self, reason: Reason, text: &str, desk: &mut Desk) {
        self.chart_mut().healing.record.phase = Phase::Idle;
        desk.timers.clear(&self.chart().timer());
        desk.act(&self.chart().id, reason, text);
        self.consider_afresh(desk);
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
