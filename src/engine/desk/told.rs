//! Which alert tells of a condition: a restart loop and what it ends in are one story.

use super::Desk;
use crate::engine::alert::AlertKey;
use crate::engine::words::{AlertKind, CheckId, CheckKind, Severity, Verdict};

impl Desk {
    /// The alert that a condition is told in, and what it says then. A container that ends down
    /// after a restart loop is the same story, so the alert of the loop goes on until it is well;
    /// `None`: that is up to its other condition. A unit has an alert for each.
    pub(super) fn told_in(
        &self,
        id: &CheckId,
        kind: AlertKind,
        verdict: Verdict,
    ) -> Option<(AlertKey, Verdict)> {
        let key = |kind| AlertKey { check: id.clone(), kind };
        let other = match kind {
            AlertKind::State => AlertKind::CrashLoop,
            AlertKind::CrashLoop => AlertKind::State,
            _ => return Some((key(kind), verdict)),
        };
        let of_loop = key(AlertKind::CrashLoop);
        let ended_down = self.book.carrier(id) == of_loop;
        let apart = id.kind != CheckKind::Container
            || !self.book.is_open(&of_loop)
            || self.book.is_open(&key(AlertKind::State));
        let bad = verdict.severity.alerts();
        if apart || !ended_down && (kind == AlertKind::CrashLoop || !bad) {
            return Some((key(kind), verdict));
        }
        let other = self.checks.get(id)?.conditions.get(&other).map(|c| &c.verdict);
        let other = other.filter(|v| v.severity.alerts());
        match (kind, other) {
            (AlertKind::State, Some(round)) if bad => Some((of_loop, after_loop(&verdict, round))),
            (AlertKind::State, Some(round)) if verdict.severity == Severity::Healthy => {
                Some((of_loop, round.clone()))
            }
            (AlertKind::State, _) => Some((of_loop, verdict)),
            (_, Some(state)) if bad => Some((of_loop, after_loop(state, &verdict))),
            (_, Some(state)) => Some((of_loop, state.clone())),
            (_, None) => None,
        }
    }
}

/// What is said of the state that a restart loop ended in.
fn after_loop(state: &Verdict, round: &Verdict) -> Verdict {
    let summary = format!("{}, after it was {}", state.summary, round.summary);
    Verdict::new(state.severity.max(round.severity), state.reason, summary)
}
