//! The periodic report: everything with counts, and what happened since the last one.

use std::time::Duration;

use super::Engine;
use super::alert::{Report, ReportLine};
use super::calendar::next_time;
use super::rules::ReportTimes;
use super::saved::{Change, Reported};
use super::timers::Timer;
use super::view::Snapshot;
use super::words::{CheckKind, Severity};

/// Checks that a report lists.
const LINES: usize = 50;

impl Engine {
    /// Sets when the next periodic report is due.
    pub(super) fn arm_report(&mut self) {
        let now = self.desk.now;
        let Some(rule) = &self.desk.rules.alerts.report else {
            return self.desk.timers.clear(&Timer::Report);
        };
        let last = self
            .agent
            .reported
            .get_or_insert_with(|| Reported { since: now.wall, ..Reported::default() });
        // A clock that was set back must not put it off for ever.
        last.since = last.since.min(now.wall);
        let due = match &rule.when {
            ReportTimes::Every(every) => last.since.after(*every),
            // One that was missed while keepwell was down is made up for.
            ReportTimes::At(times, zone) => next_time(last.since, times, zone)
                .unwrap_or(now.wall.after(Duration::from_secs(86_400))),
        };
        let left = due.since(now.wall).min(Duration::from_secs(900));
        self.desk.timers.set(Timer::Report, now.boot.after(left));
        self.report_due = due;
    }

    /// The time for a report may have come.
    pub(super) fn report(&mut self) {
        let now = self.desk.now.wall;
        if now < self.report_due || !self.desk.ready {
            return self.arm_report_later();
        }
        let Some(rule) = self.desk.rules.alerts.report.clone() else { return };
        let snapshot = self.snapshot(self.desk.now);
        let so_far = self.reported();
        let report = make(&snapshot, &so_far);
        self.desk.book.opened = 0;
        self.desk.book.resolved = 0;
        self.desk.restarts = 0;
        self.agent.reported = Some(Reported { since: now, ..Reported::default() });
        self.desk.keep(Change::Agent(self.agent.clone()));
        self.desk.with_book(|book, pen| book.report(&report, &rule.channels, pen));
        self.arm_report();
    }

    fn arm_report_later(&mut self) {
        if self.desk.ready {
            return self.arm_report();
        }
        let soon = self.desk.now.boot.after(Duration::from_secs(10));
        self.desk.timers.set(Timer::Report, soon);
    }

    /// What is counted since the last report, earlier runs of keepwell included.
    pub(super) fn reported(&self) -> Reported {
        let saved = self.agent.reported.clone().unwrap_or_default();
        Reported {
            since: saved.since,
            opened: saved.opened.saturating_add(self.desk.book.opened),
            resolved: saved.resolved.saturating_add(self.desk.book.resolved),
            restarts: saved.restarts.saturating_add(self.desk.restarts),
        }
    }
}

/// Makes the report of a snapshot.
fn make(snapshot: &Snapshot, so_far: &Reported) -> Report {
    let mut checks: Vec<_> = snapshot.checks.iter().collect();
    let named = |unit: bool, named: bool| match (unit, named) {
        (true, true) => 0,
        (false, _) => 1,
        (true, false) => 2,
    };
    checks.sort_by_key(|check| {
        let is_named = check.unit.as_ref().is_some_and(|u| u.named);
        let own = check.id.kind == CheckKind::Agent && check.severity == Severity::Healthy;
        let is_named = is_named || check.container.as_ref().is_some_and(|c| c.named);
        let single = check.unit.is_some() || check.container.is_some();
        (std::cmp::Reverse(check.severity), own, named(single, is_named))
    });
    Report {
        since: so_far.since,
        counts: snapshot.counts(),
        opened: so_far.opened,
        resolved: so_far.resolved,
        restarts: so_far.restarts,
        checks: checks
            .into_iter()
            .take(LINES)
            .map(|check| ReportLine {
                check: check.id.clone(),
                severity: check.severity,
                summary: check.summary.clone(),
                since: check.since,
            })
            .collect(),
    }
}
