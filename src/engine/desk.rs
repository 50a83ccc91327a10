//! The desk: what every kind of check shares. Conditions that must last before they count,
//! decisions for the log, the alert book, timers, and the views that surfaces show.

mod told;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::alert::{AlertKey, Notice, NoticeKind};
use super::book::{Book, Pen};
use super::event::{Actor, Decision, Effect, Step};
use super::kills::Kills;
use super::quiet::Quiet;
use super::rules::{Confirm, Rules};
use super::saved::{Change, Hold};
use super::time::{Boot, Now, Wall};
use super::timers::{Timer, Timers};
use super::view::{CheckView, ConditionView, ContainerView, UnitView, Value};
use super::words::{AlertKind, CheckId, CheckKind, Reason, Severity, Verdict};

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
    /// Found so that many times in a row (0 is once).
    pub(super) failures: u32,
    pub(super) successes: u32,
    /// How long it has been so already.
    pub(super) already: Duration,
    /// One moment says nothing about it, also not to a one-shot check.
    pub(super) needs_time: bool,
}

impl Lasting {
    /// As the configuration has it.
    pub(super) fn confirmed(confirm: Confirm) -> Self {
        Self {
            bad: confirm.lasting,
            good: confirm.recovery,
            failures: confirm.failures,
            successes: confirm.successes,
            ..Self::default()
        }
    }

    /// How many times in a row it must be found so.
    fn times(&self, bad: bool) -> u32 {
        if bad { self.failures } else { self.successes }
    }
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
    /// Times in a row that it was found bad, or good; what is unknown counts for neither.
    streak: u32,
    streak_bad: bool,
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
    pub(super) quiet: Quiet,
    pub(super) kills: Kills,
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
    /// People are told from then on, also when the first round is not over.
    pub(super) patience: Boot,
    /// Restarts by keepwell since the last report.
    pub(super) restarts: u32,
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
            let await_lines = lasting.await_lines;
            lasting = Lasting { await_lines, ..Lasting::default() };
        }
        let now = self.now;
        let key = match kind {
            AlertKind::State => self.book.carrier(id),
            kind => AlertKey { check: id.clone(), kind },
        };
        let open = self.book.is_open(&key);
        let flapping = self.book.is_flapping(&key);
        if flapping && !self.eager {
            lasting.good = lasting.good.max(self.rules.alerts.flapping.calm);
        }
        let check = self.checks.entry(id.clone()).or_default();
        let timer = Timer::Condition(id.clone(), kind);
        let first = !check.conditions.contains_key(&kind);
        let condition = check.conditions.entry(kind).or_insert_with(|| Condition {
            verdict: verdict.clone(),
            lasting,
            standing: verdict.clone(),
            turning: None,
            streak: 0,
            streak_bad: verdict.severity.alerts(),
        });
        condition.lasting = lasting;
        let bad = verdict.severity.alerts();
        if verdict.severity != Severity::Unknown {
            let as_before = condition.streak_bad == bad;
            condition.streak = if as_before { condition.streak.saturating_add(1) } else { 1 };
            condition.streak_bad = bad;
        }
        // Unknown says nothing about good or bad: the alert stays as it is.
        let turns = match verdict.severity {
            Severity::Unknown => false,
            _ => bad != open,
        };
        let wait = if bad { lasting.bad } else { lasting.good };
        let unknown = verdict.severity == Severity::Unknown;
        let too_few = condition.streak < lasting.times(bad);
        // A measured value that moves is no news; that it is judged otherwise is, and what is bad
        // from the start.
        let changed = (first && bad)
            || (condition.verdict.severity, condition.verdict.reason)
                != (verdict.severity, verdict.reason);
        let was_turning_bad = condition.turning.is_some() && condition.verdict.severity.alerts();
        condition.verdict = verdict;
        if turns && (!wait.is_zero() || too_few) {
            let since = match condition.turning {
                Some(since) if was_turning_bad == bad => since,
                _ => now.boot.before(lasting.already),
            };
            condition.turning = Some(since);
            let too_short = now.boot.since(since) < wait;
            if too_short || too_few {
                if too_short {
                    self.timers.set(timer, since.after(wait));
                } else {
                    self.timers.clear(&timer); // The next look decides.
                }
                if bad && !open {
                    condition.standing = if lasting.show {
                        condition.verdict.clone()
                    } else {
                        let v = &condition.verdict;
                        Verdict::new(Severity::Healthy, Reason::Confirming, v.summary.clone())
                    };
                } else if !bad && condition.standing.severity.alerts() {
                    let text = format!("{}, and must stay so", condition.verdict.summary);
                    condition.standing = if flapping {
                        Verdict::new(Severity::Warning, Reason::Flapping, text)
                    } else {
                        Verdict::new(condition.standing.severity, Reason::Verifying, text)
                    };
                }
                if open && !bad {
                    self.with_book(|book, pen| book.recovering(&key, true, pen));
                }
                self.settle_check(id, changed);
                return;
            }
        }
        if open && !unknown {
            self.with_book(|book, pen| book.recovering(&key, false, pen));
        }
        self.timers.clear(&timer);
        self.conclude(id, kind, changed);
    }

    /// The verdict of a condition counts: it stands, and the alert follows it.
    fn conclude(&mut self, id: &CheckId, kind: AlertKind, changed: bool) {
        let Some(condition) = self.checks.get_mut(id).and_then(|c| c.conditions.get_mut(&kind))
        else {
            return;
        };
        condition.turning = None;
        let changed = changed || condition.standing.severity != condition.verdict.severity;
        condition.standing = condition.verdict.clone();
        let verdict = condition.verdict.clone();
        let await_lines = condition.lasting.await_lines;
        if let Some((key, verdict)) = self.told_in(id, kind, verdict) {
            self.with_book(|book, pen| {
                if verdict.severity.alerts() {
                    book.bad(&key, &verdict, await_lines, pen);
                } else if verdict.severity != Severity::Unknown {
                    book.good(&key, &verdict, pen);
                }
            });
        }
        self.settle_check(id, changed);
    }

    /// A timer of a condition fired: it has lasted.
    pub(super) fn lasted(&mut self, id: &CheckId, kind: AlertKind) {
        let condition = self.checks.get(id).and_then(|c| c.conditions.get(&kind));
        if condition.is_some_and(|c| c.streak >= c.lasting.times(c.verdict.severity.alerts())) {
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
        let was_well = check.severity == Severity::Healthy;
        if first || severity != check.severity {
            check.since = now;
        }
        check.severity = severity;
        check.looked_at(now);
        self.out.dirty = true;
        // What is well from the start is no news; everything else that changed is.
        if changed && !(first && severity == Severity::Healthy) {
            let unit = id.kind == CheckKind::Unit;
            if unit && reason == Reason::Running && was_well && !first {
                self.notice(id, NoticeKind::Started, &text);
            }
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
        // While it is down each attempt is refused alike: that is logged once.
        let mut since_well =
            check.decisions.iter().rev().take_while(|d| d.severity != Severity::Healthy);
        let known = reason == Reason::RestartDenied
            && since_well.find(|d| d.reason == reason).is_some_and(|d| d.text == text);
        let decision = Decision {
            at: self.now.wall,
            check: id.clone(),
            severity: check.severity,
            reason,
            text: text.clone(),
        };
        if check.decisions.len() == DECISIONS {
            check.decisions.pop_front();
        }
        check.decisions.push_back(decision.clone());
        check.view = None;
        self.out.dirty = true;
        if !known {
            self.out.effects.push(Effect::Log(decision));
        }
        let event = match reason {
            Reason::StoppedByOperator => NoticeKind::Stopped,
            Reason::RestartScheduled => NoticeKind::Restarting,
            Reason::RestartDone => NoticeKind::Restarted,
            Reason::Restored => NoticeKind::Restored,
            _ => return,
        };
        self.notice(id, event, &text);
    }

    /// Lets the book do something, and logs what it decided.
    pub(super) fn with_book<T>(&mut self, f: impl FnOnce(&mut Book, &mut Pen<'_>) -> T) -> T {
        let mut pen = Pen {
            rules: &self.rules,
            labels: &self.labels,
            timers: &mut self.timers,
            effects: &mut self.out.effects,
            changes: &mut self.out.changes,
            quiet: &mut self.quiet,
            log: Vec::new(),
            now: self.now,
            force: self.force,
            eager: self.eager,
            ready: self.ready || (!self.eager && self.now.boot >= self.patience),
            patience: (!self.eager).then_some(self.patience),
        };
        let result = f(&mut self.book, &mut pen);
        let log = pen.log;
        self.out.dirty = true;
        for (check, reason, text) in log {
            if self.checks.contains_key(&check) {
                self.decide(&check, reason, text);
            } else {
                // An alert of a former run whose check has not been seen yet, or is gone.
                let (at, severity) = (self.now.wall, Severity::Unknown);
                let decision = Decision { at, check, severity, reason, text };
                self.out.effects.push(Effect::Log(decision));
            }
        }
        result
    }

    /// Journal lines have come for a check.
    pub(super) fn lines(&mut self, id: &CheckId, kind: AlertKind, lines: Vec<String>) {
        let key = match kind {
            AlertKind::State => self.book.carrier(id),
            kind => AlertKey { check: id.clone(), kind },
        };
        self.with_book(|book, pen| book.lines(&key, lines, pen));
    }

    /// keepwell did something about a check: it is logged, and goes into the next message.
    pub(super) fn act(&mut self, id: &CheckId, reason: Reason, text: &str) {
        self.act_by(id, None, reason, text);
    }

    /// The same, by a person.
    pub(super) fn act_by(&mut self, id: &CheckId, by: Option<Actor>, reason: Reason, text: &str) {
        let key = self.book.carrier(id);
        self.with_book(|book, pen| book.act(&key, by, text, pen));
        self.decide(id, reason, text);
    }

    /// What keepwell will do next about a check that is down.
    pub(super) fn next(&mut self, id: &CheckId, text: impl Into<Option<String>>) {
        let (key, text) = (self.book.carrier(id), text.into());
        self.with_book(|book, pen| book.next(&key, text, pen));
    }

    /// keepwell gave up on a check.
    pub(super) fn gave_up(&mut self, id: &CheckId, text: &str) {
        self.act(id, Reason::GaveUp, text);
        let key = self.book.carrier(id);
        self.with_book(|book, pen| book.gave_up(&key, pen));
    }

    /// Something happened to a named unit, or to a container, that is no alert.
    pub(super) fn notice(&mut self, id: &CheckId, event: NoticeKind, text: &str) {
        match id.kind {
            CheckKind::Unit if self.rules.unit(&id.name).is_some() => {}
            CheckKind::Container => {}
            _ => return,
        }
        let notice = Notice { at: self.now.wall, check: id.clone(), event, text: text.to_owned() };
        let key = self.book.carrier(id);
        self.with_book(|book, pen| {
            // In the story of an open alert it is a part of that.
            if event != NoticeKind::Restarted || !book.restarted(&key, pen) {
                book.notice(&notice, pen);
            }
        });
    }

    /// A check is no longer looked at: its alerts end.
    pub(super) fn drop_check(&mut self, id: &CheckId, why: &str) {
        self.drop_for(id, Reason::NoLongerWatched, why);
    }

    /// The same, for this reason.
    pub(super) fn drop_for(&mut self, id: &CheckId, reason: Reason, why: &str) {
        for kind in AlertKind::ALL {
            self.timers.clear(&Timer::Condition(id.clone(), *kind));
            let key = AlertKey { check: id.clone(), kind: *kind };
            let verdict = Verdict::new(Severity::Healthy, reason, why);
            self.with_book(|book, pen| book.good(&key, &verdict, pen));
        }
        if self.checks.remove(id).is_some() {
            self.out.dirty = true;
        }
    }

    /// How bad a condition of a check was when it was last ruled on.
    pub(super) fn condition(&self, id: &CheckId, kind: AlertKind) -> Severity {
        let condition = self.checks.get(id).and_then(|c| c.conditions.get(&kind));
        condition.map_or(Severity::Healthy, |c| c.verdict.severity)
    }

    /// Whether a condition of a check has been ruled on since keepwell came up.
    pub(super) fn has_condition(&self, id: &CheckId, kind: AlertKind) -> bool {
        self.checks.get(id).is_some_and(|c| c.conditions.contains_key(&kind))
    }

    /// The hold in force for a unit or container, if any.
    pub(super) fn held(&self, check: &CheckId) -> Option<&Hold> {
        let name = held_as(check);
        self.holds
            .iter()
            .filter(|h| h.until > self.now.wall)
            .find(|h| h.unit.as_ref().is_none_or(|held| *held == name))
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

/// What a hold calls it: a unit by its name, anything else by its check.
pub(super) fn held_as(check: &CheckId) -> Arc<str> {
    match check.kind {
        CheckKind::Unit => check.name.clone(),
        _ => check.to_string().into(),
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
        container: impl FnOnce() -> Option<Box<ContainerView>>,
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
            container: container(),
            decisions: self.decisions.iter().cloned().collect(),
        });
        self.view = Some(view.clone());
        view
    }
}
