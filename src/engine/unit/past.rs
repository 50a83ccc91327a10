//! What a unit logged: errors, and the last lines of a run that failed.

use std::time::Duration;

use super::Unit;
use crate::engine::desk::{Desk, Lasting};
use crate::engine::observation::{ErrorsSeen, Excerpt};
use crate::engine::time::Human;
use crate::engine::timers::Timer;
use crate::engine::words::{AlertKind, Reason, Severity, Verdict};

/// Errors in a log are over when none came for so long.
const QUIET: Duration = Duration::from_secs(600);

impl Unit {
    /// It logged errors.
    pub(in crate::engine) fn errors(&mut self, seen: ErrorsSeen, desk: &mut Desk) {
        let first = self.errors == 0;
        self.errors = self.errors.saturating_add(seen.count);
        // The lines themselves go with the alert, to those who may read log text.
        let text = format!("{} logged", count_of(self.errors, "error"));
        let verdict = Verdict::new(Severity::Warning, Reason::ErrorsLogged, text);
        let lasting = Lasting { await_lines: true, ..Lasting::default() };
        desk.rule_on(&self.chart.id, AlertKind::Errors, verdict, lasting);
        if first || !seen.lines.is_empty() {
            desk.lines(&self.chart.id, AlertKind::Errors, seen.lines);
        }
        let quiet = Timer::Quiet(self.chart.id.clone());
        desk.timers.set(quiet, desk.now.boot.after(QUIET));
    }

    /// An alert about errors was open when keepwell last stopped: it ends when it stays quiet.
    pub(in crate::engine) fn expect_quiet(&mut self, desk: &mut Desk) {
        self.errors = self.errors.max(1);
        desk.timers.set(Timer::Quiet(self.chart.id.clone()), desk.now.boot.after(QUIET));
    }

    /// No errors came for a while.
    pub(in crate::engine) fn quiet(&mut self, desk: &mut Desk) {
        self.errors = 0;
        let text = format!("no errors logged for {}", Human(QUIET));
        let verdict = Verdict::new(Severity::Healthy, Reason::NothingUnusual, text);
        desk.rule_on(&self.chart.id, AlertKind::Errors, verdict, Lasting::default());
    }

    /// The journal lines of a run have come.
    pub(in crate::engine) fn excerpt(&mut self, excerpt: Excerpt, desk: &mut Desk) {
        if excerpt.invocation == self.chart.failed {
            desk.lines(&self.chart.id, AlertKind::State, excerpt.lines);
        }
    }
}

/// `1 error`, `3 errors`.
fn count_of(n: u32, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
