//! The desk: what every kind of check shares. Conditions that must last before they count,
//! decisions for the log, the alert book, timers, and the views that surfaces show.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::alert::AlertKey;
use super::book::{Book, Pen, Told};
use super::event::{Decision, Effect, Step};
use super::observation::ManagerSeen;
use super::rules::Rules;
use super::saved::{Change, Hold};
use super::time::{Boot, Now, Wall};
use super::timers::{Timer, Timers};
use super::view::{CheckView, ConditionView, UnitView, Value};
use super::words::{AlertKind, CheckId, Reason, Severity, Verdict};

/// Decisions remembered per check.
const DECISIONS: usize = 8;

/// How long a condition must last to count.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lasting {
    /// Before a bad one opens an alert.
    pub(super) bad: Duration,
    /// Before a good one ends it.
    pub(super) good: Duration,
    /// Show it as bad already while it has not lasted.
    pub(super) show: bool,
    /// The message waits for journal lines.
    pub(super) await_lines: bool,
    /// One moment says nothing about it, also not to a one-shot check.
    pub(super) needs_time: bool,
}

#[derive(Debug, Clone)]
struct Condition {
    /// What was said last.
    verdict: Verdict,
    lasting: Lasting,
    /// What is shown while `verdict` has not lasted long enough.
    standing: Verdict,
    /// Since when `verdict` says otherwise than `standing`.
    turning: Option<Boot>,
}

/// What all checks have.
#[derive(Debug, Default)]
pub(super) struct Check {
    conditions: BTreeMap<AlertKind, Condition>,
    severity: Severity,
    since: Wall,
    last_check: Option<Wall>,
    last_success: Option<Wall>,
    last_failure: Option<Wall>,
    consecutive_failures: u32,
    pub(super) values: Vec<Value>,
    decisions: VecDeque<Decision>,
    view: Option<Arc<CheckView>>,
}

/// What every kind of check shares.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) rules: Rules,
    pub(super) labels: Arc<BTreeMap<String, String>>,
    pub(super) boot_id: Arc<str>,
    pub(super) checks: BTreeMap<CheckId, Check>,
    pub(super) book: Book,
    pub(super) timers: Timers,
    pub(super) holds: Vec<Hold>,
    pub(super) manager: ManagerSeen,
    pub(super) out: Step,
    pub(super) now: Now,
    /// Ignore cooldowns and waits (`check --force`).
    pub(super) force: bool,
    /// Make the first attempt at once (`check --restart`, which does not stay to wait).
    pub(super) eager: bool,
    /// The journal could not be read for the gap before the present.
    pub(super) blind_gap: bool,
    /// All expected sources have completed a round.
    pub(super) ready: bool,
}

impl Desk {
    /// A condition of a check has been looked at.
    pub(super) fn rule_on(
        &mut self,
        id: &CheckId,
        kind: AlertKind,
        verdict: Verdict,
        mut lasting: Lasting,
    ) {
        if self.eager && !lasting.needs_time {
            // A one-shot check does not stay to see whether it lasts.
            (lasting.bad, lasting.good) = (Duration::ZERO, Duration::ZERO);
        }
        let now = self.now;
        let key = AlertKey { check: id.clone(), kind };
        let open = self.book.is_open(&key);
        let check = self.checks.entry(id.clone()).or_default();
        let timer = Timer::Condition(id.clone(), kind);
        let first = !check.conditions.contains_key(&kind);
        let condition = check.conditions.entry(kind).or_insert_with(|| Condition {
            verdict: verdict.clone(),
            lasting,
            standing: verdict.clone(),
            turning: None,
        });
        condition.lasting = lasting;
        let bad = verdict.severity.alerts();
        // Unknown says nothing about good or bad: the alert stays as it is.
        let turns = match verdict.severity {
            Severity::Unknown => false,
            _ => bad != open,
        };
        let wait = if bad { lasting.bad } else { lasting.good };
        // A measured value that moves is no news; that it is judged otherwise is, and what is bad
        // from the start.
        let changed = (first && bad)
            || (condition.verdict.severity, condition.verdict.reason)
                != (verdict.severity, verdict.reason);
        let was_turning_bad = condition.turning.is_some() && condition.verdict.severity.alerts();
        condition.verdict = verdict;
        if turns && !wait.is_zero() {
            let since = match condition.turning {
                Some(since) if was_turning_bad == bad => since,
                _ => now.boot,
            };
            condition.turning = Some(since);
            if now.boot.since(since) < wait {
                self.timers.set(timer, since.after(wait));
                if bad && !open {
                    condition.standing = if lasting.show {
                        condition.verdict.clone()
                    } else {
                        let v = &condition.verdict;
                        Verdict::new(Severity::Healthy, Reason::Confirming, v.summary.clone())
                    };
                } else if !bad && condition.standing.severity.alerts() {
                    let text = format!("{}, and must stay so", condition.verdict.summary);
                    condition.standing =
                        Verdict::new(condition.standing.severity, Reason::Verifying, text);
                }
                self.settle_check(id, changed);
                return;
            }
        }
        self.timers.clear(&timer);
        self.conclude(id, kind, changed);
    }

    /// The verdict of a condition counts: it stands, and the alert follows it.
    fn conclude(&mut self, id: &CheckId, kind: AlertKind, changed: bool) {
        let key = AlertKey { check: id.clone(), kind };
        let Some(condition) = self.checks.get_mut(id).and_then(|c| c.conditions.get_mut(&kind))
        else {
            return;
        };
        condition.turning = None;
        let changed = changed || condition.standing.severity != condition.verdict.severity;
        condition.standing = condition.verdict.clone();
        let verdict = condition.verdict.clone();
        let await_lines = condition.lasting.await_lines;
        let (book, mut pen) = self.book_and_pen();
        let told = if verdict.severity.alerts() {
            book.bad(&key, &verdict, await_lines, &mut pen)
        } else if verdict.severity == Severity::Unknown {
            Told::Nothing
        } else {
            book.good(&key, &verdict, &mut pen)
        };
        self.note_told(id, told);
        self.settle_check(id, changed);
    }

    /// A timer of a condition fired: it has lasted.
    pub(super) fn lasted(&mut self, id: &CheckId, kind: AlertKind) {
        if self.checks.get(id).is_some_and(|c| c.conditions.contains_key(&kind)) {
            self.conclude(id, kind, false);
        }
    }

    /// Severity, times and log after a condition was ruled on.
    fn settle_check(&mut self, id: &CheckId, changed: bool) {
        let now = self.now.wall;
        let Some(check) = self.checks.get_mut(id) else { return };
        let Some(worst) = worst(&check.conditions) else {
            return;
        };
        let (severity, reason, text) = (worst.severity, worst.reason, worst.summary.clone());
        let first = check.last_check.is_none();
        if first || severity != check.severity {
            check.since = now;
        }
        check.severity = severity;
        check.looked_at(now);
        self.out.dirty = true;
        // What is well from the start is no news; everything else that changed is.
        if changed && !(first && severity == Severity::Healthy) {
            self.decide(id, reason, text);
        }
    }

    /// Notes a decision for the log, the page and `explain`; the same twice in a row is one.
    pub(super) fn decide(&mut self, id: &CheckId, reason: Reason, text: impl Into<String>) {
        let check = self.checks.entry(id.clone()).or_default();
        let text = text.into();
        if check.decisions.back().is_some_and(|d| d.reason == reason && d.text == text) {
            return;
        }
        let decision = Decision {
            at: self.now.wall,
            check: id.clone(),
            severity: check.severity,
            reason,
            text,
        };
        if check.decisions.len() == DECISIONS {
            check.decisions.pop_front();
        }
        check.decisions.push_back(decision.clone());
        check.view = None;
        self.out.dirty = true;
        self.out.effects.push(Effect::Log(decision));
    }

    fn note_told(&mut self, id: &CheckId, told: Told) {
        match told {
            Told::Nothing => {}
            Told::Yes => self.decide(id, Reason::Told, "notification handed to its channels"),
            Told::No(Reason::Cooldown) => {
                self.decide(id, Reason::Cooldown, "told a short while ago; repeats are muted");
            }
            Told::No(reason) => self.decide(id, reason, reason.meaning()),
        }
    }

    /// The book, and what it works with.
    pub(super) fn book_and_pen(&mut self) -> (&mut Book, Pen<'_>) {
        (
            &mut self.book,
            Pen {
                rules: &self.rules,
                labels: &self.labels,
                timers: &mut self.timers,
                effects: &mut self.out.effects,
                changes: &mut self.out.changes,
                now: self.now,
                force: self.force,
            },
        )
    }

    /// An alert that waited to be told is due.
    pub(super) fn tell_due(&mut self, id: &CheckId, kind: AlertKind) {
        let key = AlertKey { check: id.clone(), kind };
        let (book, mut pen) = self.book_and_pen();
        let told = book.tell(&key, &mut pen);
        self.note_told(id, told);
    }

    /// Journal lines have come for a check.
    pub(super) fn lines(&mut self, id: &CheckId, kind: AlertKind, lines: Vec<String>) {
        let key = AlertKey { check: id.clone(), kind };
        let (book, mut pen) = self.book_and_pen();
        let told = book.lines(&key, lines, &mut pen);
        self.note_told(id, told);
    }

    /// keepwell did something about a check: it is logged, and goes into the next message.
    pub(super) fn act(&mut self, id: &CheckId, reason: Reason, text: &str) {
        self.decide(id, reason, text);
        let key = AlertKey { check: id.clone(), kind: AlertKind::State };
        let (book, mut pen) = self.book_and_pen();
        book.act(&key, text, &mut pen);
    }

    /// keepwell gave up on a check.
    pub(super) fn gave_up(&mut self, id: &CheckId, text: &str) {
        self.act(id, Reason::GaveUp, text);
        let key = AlertKey { check: id.clone(), kind: AlertKind::State };
        let (book, mut pen) = self.book_and_pen();
        book.gave_up(&key, &mut pen);
    }

    /// A check is no longer looked at: its alerts end.
    pub(super) fn drop_check(&mut self, id: &CheckId, why: &str) {
        for kind in AlertKind::ALL {
            self.timers.clear(&Timer::Condition(id.clone(), *kind));
            let key = AlertKey { check: id.clone(), kind: *kind };
            let verdict = Verdict::new(Severity::Healthy, Reason::NoLongerWatched, why);
            let (book, mut pen) = self.book_and_pen();
            book.good(&key, &verdict, &mut pen);
        }
        if self.checks.remove(id).is_some() {
            self.out.dirty = true;
        }
    }

    /// Whether a condition of a check has been ruled on since keepwell came up.
    pub(super) fn has_condition(&self, id: &CheckId, kind: AlertKind) -> bool {
        self.checks.get(id).is_some_and(|c| c.conditions.contains_key(&kind))
    }

    /// The hold in force for a unit, if any.
    pub(super) fn held(&self, unit: &str) -> Option<&Hold> {
        self.holds
            .iter()
            .filter(|h| h.until > self.now.wall)
            .find(|h| h.unit.as_deref().is_none_or(|u| u == unit))
    }

    /// A check's severity as it stands.
    pub(super) fn severity(&self, id: &CheckId) -> Severity {
        self.checks.get(id).map_or(Severity::Unknown, |c| c.severity)
    }

    /// A check was seen again, unchanged.
    pub(super) fn looked_at(&mut self, id: &CheckId) {
        if let Some(check) = self.checks.get_mut(id) {
            check.looked_at(self.now.wall);
            self.out.dirty = true;
        }
    }

    /// Replaces what was measured.
    pub(super) fn values(&mut self, id: &CheckId, values: Vec<Value>) {
        let check = self.checks.entry(id.clone()).or_default();
        check.values = values;
        check.view = None;
        self.out.dirty = true;
    }

    /// What is shown of a check must be made anew.
    pub(super) fn touch(&mut self, id: &CheckId) {
        if let Some(check) = self.checks.get_mut(id) {
            check.view = None;
            self.out.dirty = true;
        }
    }

    /// Keeps a change.
    pub(super) fn keep(&mut self, change: Change) {
        self.out.changes.push(change);
    }
}

/// Of several that are equally bad the first counts: what the check itself is comes before its past.
fn worst(conditions: &BTreeMap<AlertKind, Condition>) -> Option<&Verdict> {
    conditions.values().map(|c| &c.standing).rev().max_by_key(|v| v.severity)
}

impl Check {
    fn looked_at(&mut self, now: Wall) {
        self.view = None;
        self.last_check = Some(now);
        match self.severity {
            Severity::Healthy => {
                self.last_success = Some(now);
                self.consecutive_failures = 0;
            }
            Severity::Unknown => {}
            Severity::Warning | Severity::Critical => {
                self.last_failure = Some(now);
                self.consecutive_failures = self.consecutive_failures.saturating_add(1);
            }
        }
    }

    /// The view, made when something changed.
    pub(super) fn view(
        &mut self,
        id: &CheckId,
        unit: impl FnOnce() -> Option<UnitView>,
    ) -> Arc<CheckView> {
        if let Some(view) = &self.view {
            return view.clone();
        }
        let worst = worst(&self.conditions);
        let view = Arc::new(CheckView {
            id: id.clone(),
            severity: worst.map_or(Severity::Unknown, |v| v.severity),
            reason: worst.map_or(Reason::NotYetSeen, |v| v.reason),
            summary: worst
                .map_or_else(|| Reason::NotYetSeen.meaning().into(), |v| v.summary.clone()),
            since: self.since,
            conditions: self
                .conditions
                .iter()
                .map(|(kind, c)| ConditionView {
                    kind: *kind,
                    severity: c.standing.severity,
                    reason: c.standing.reason,
                    summary: c.standing.summary.clone(),
                })
                .collect(),
            last_check: self.last_check,
            last_success: self.last_success,
            last_failure: self.last_failure,
            consecutive_failures: self.consecutive_failures,
            values: self.values.clone(),
            unit: unit(),
            decisions: self.decisions.iter().cloned().collect(),
        });
        self.view = Some(view.clone());
        view
    }
}
