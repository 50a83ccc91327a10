//! Times in which nothing is told and nothing is restarted, without anybody having to say so: the
//! host boots, shuts down, sleeps or has just woken up, systemd reloads, a package manager is at
//! work. Decisions wait then; what is still true afterwards is told and healed.

use std::sync::Arc;
use std::time::Duration;

use super::event::Effect;
use super::observation::{ManagerSeen, PackagesSeen};
use super::time::{Boot, Now};
use super::words::{CheckKind, Reason};

/// The host may take this long to boot.
const BOOT: Duration = Duration::from_secs(120);
/// Services find their peers again after a sleep, or settle after an upgrade.
const AFTER_SLEEP: Duration = Duration::from_secs(30);
const AFTER_UPGRADE: Duration = Duration::from_secs(5);
/// A reload that takes longer is one whose end was missed.
const RELOAD: Duration = Duration::from_secs(60);
/// A package manager that takes longer waits for a person.
const UPGRADE: Duration = Duration::from_secs(30 * 60);
/// What was seen of package managers is good for so long.
const FRESH: Duration = Duration::from_secs(2);
/// What was seen longer ago than this is not so any more.
const STALE: Duration = Duration::from_secs(60);
/// And the answer is waited for at most so long.
const ANSWER: Duration = Duration::from_secs(1);
/// Who did not answer is asked again only after this: what waits must not wait for ever.
const UNANSWERED: Duration = Duration::from_secs(30);
/// Without a signal, it is looked again after this.
const AGAIN: Duration = Duration::from_secs(60);

/// What is known of such times.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    manager: ManagerSeen,
    /// Since when `manager` says so, for what must not last for ever.
    reloading_since: Option<Boot>,
    starting_since: Option<Boot>,
    awake_at: Option<Boot>,
    /// A package manager at work, and since when.
    busy: Option<(Arc<str>, Boot)>,
    free_at: Option<Boot>,
    asked: Option<Boot>,
    answered: Option<Boot>,
}

/// Something has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) why: Reason,
    /// When to ask again at the latest.
    pub(super) again: Boot,
}

impl Quiet {
    pub(super) fn manager(&self) -> ManagerSeen {
        self.manager
    }

    /// systemd or logind has said something. Returns whether something that waits may go on.
    pub(super) fn seen(&mut self, seen: ManagerSeen, now: Now) -> bool {
        let before = std::mem::replace(&mut self.manager, seen);
        let since = |is: bool, was: Option<Boot>| is.then(|| was.unwrap_or(now.boot));
        self.reloading_since = since(seen.reloading, self.reloading_since);
        self.starting_since = since(seen.starting, self.starting_since);
        if before.sleeping && !seen.sleeping {
            self.awake_at = Some(now.boot.after(AFTER_SLEEP));
        }
        let held = |m: ManagerSeen| [m.reloading, m.stopping, m.starting, m.sleeping];
        held(before).iter().zip(held(seen)).any(|(was, is)| *was && !is)
    }

    /// Somebody has looked whether a package manager is at work.
    pub(super) fn packages(&mut self, seen: PackagesSeen, now: Now) -> bool {
        let fresh = self.answered.is_some_and(|at| now.boot.since(at) < STALE);
        self.answered = Some(now.boot);
        match (seen.busy, &self.busy) {
            (Some(_), Some(_)) if fresh => {}
            (Some(who), _) => self.busy = Some((who, now.boot)),
            (None, Some(_)) => {
                self.busy = None;
                self.free_at = Some(now.boot.after(AFTER_UPGRADE));
            }
            _ => {}
        }
        true
    }

    /// An answer that has not come by now is not waited for.
    pub(super) fn no_answer(&mut self) {
        self.answered = self.answered.max(self.asked);
    }

    /// Asks whether a package manager is at work, unless that was asked a moment ago.
    pub(super) fn look(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let patience = if self.answered < self.asked { UNANSWERED } else { FRESH };
        if self.asked.is_none_or(|at| now.boot.since(at) >= patience) {
            self.asked = Some(now.boot);
            effects.push(Effect::LookAtPackages);
        }
    }

    /// Whether what concerns checks of this kind has to wait, and why.
    pub(super) fn holds(
        &mut self,
        kind: CheckKind,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Wait> {
        if let Some(wait) = self.standing(kind, now) {
            if wait.why == Reason::PackageUpgrade {
                self.look(now, effects);
            }
            return Some(wait);
        }
        if !by_upgrade(kind) {
            return None;
        }
        self.look(now, effects);
        let asked = self.asked?;
        let waits = self.answered < self.asked && now.boot.since(asked) < ANSWER;
        waits.then(|| Wait { why: Reason::Grouping, again: asked.after(ANSWER) })
    }

    /// The same as far as it is known without asking.
    pub(super) fn standing(&self, kind: CheckKind, now: Now) -> Option<Wait> {
        let m = self.manager;
        let wait = |why, again: Boot| Some(Wait { why, again });
        let later = now.boot.after(AGAIN);
        if m.stopping {
            return wait(Reason::HostShutdown, later);
        }
        if m.sleeping {
            return wait(Reason::HostSleep, later);
        }
        let until = |at: Option<Boot>| at.filter(|at| *at > now.boot);
        if by_sleep(kind) {
            if let Some(at) = until(self.awake_at) {
                return wait(Reason::HostSleep, at);
            }
            if let Some(at) = until(self.starting_since.map(|s| s.after(BOOT))) {
                return wait(Reason::Settling, at);
            }
        }
        if kind == CheckKind::Unit
            && let Some(at) = until(self.reloading_since.map(|s| s.after(RELOAD)))
        {
            return wait(Reason::ManagerReloading, at);
        }
        if by_upgrade(kind) {
            // Nobody looks while there is nothing to decide: an old answer says nothing.
            if let Some((_, since)) = &self.busy
                && now.boot.since(*since) < UPGRADE
                && self.answered.is_some_and(|at| now.boot.since(at) < STALE)
            {
                return wait(Reason::PackageUpgrade, now.boot.after(FRESH));
            }
            if let Some(at) = until(self.free_at) {
                return wait(Reason::PackageUpgrade, at);
            }
        }
        None
    }
}

/// What a booting or waking host disturbs.
fn by_sleep(kind: CheckKind) -> bool {
    use CheckKind::{Container, Cpu, Heartbeat, Load, Pressure, Probe, Unit, Units};
    matches!(kind, Unit | Units | Container | Heartbeat | Cpu | Load | Pressure | Probe)
}

/// What an upgrade disturbs.
pub(super) fn by_upgrade(kind: CheckKind) -> bool {
    matches!(kind, CheckKind::Unit | CheckKind::Container | CheckKind::Heartbeat)
}
