//! What a unit did lately, whatever it is now: restarts within the window, errors in its log, the
//! last lines of a run that failed.

use std::time::Duration;

use super::{Unit, backoff};
use crate::engine::alert::AlertKey;
use crate::engine::desk::{Desk, Lasting};
use crate::engine::observation::{ErrorsSeen, Excerpt};
use crate::engine::rules::CrashLoop;
use crate::engine::time::Human;
use crate::engine::timers::Timer;
use crate::engine::words::{AlertKind, Reason, Severity, Verdict};

/// Errors in a log are over when none came for so long.
const QUIET: Duration = Duration::from_secs(600);

impl Unit {
    /// Judges the restarts within the window.
    pub(in crate::engine) fn crash_loop(&mut self, desk: &mut Desk) {
        let name = self.name().clone();
        let limits = crash_loop(desk, &name);
        let stable = backoff(desk, &name).stable();
        let now = desk.now;
        let mut count = self.lives.prune(now.wall, limits.window());
        let quiet =
            self.lives.record.window.back().is_none_or(|last| now.wall.since(*last) >= stable);
        if quiet && count > 0 && (self.is_up() || !desk.severity(&self.id).alerts()) {
            // Stable for long enough: what was before no longer counts.
            self.lives.record.window.clear();
            self.keep_counts(desk);
            count = 0;
        }
        desk.touch(&self.id);
        let timer = Timer::Window(name);
        match self.lives.record.window.back() {
            None => desk.timers.clear(&timer),
            Some(last) => {
                let since = now.wall.since(*last);
                let oldest = self.lives.record.window.front().map_or(since, |o| now.wall.since(*o));
                let next = stable
                    .checked_sub(since)
                    .unwrap_or(limits.window())
                    .min(limits.window().saturating_sub(oldest))
                    .max(Duration::from_secs(1));
                desk.timers.set(timer, now.boot.after(next));
            }
        }
        let window = Human(limits.window());
        let verdict = if count > limits.max() {
            let text = format!("restarted {count} times within {window}");
            Verdict::new(Severity::Warning, Reason::CrashLoop, text)
        } else {
            let text = format!("restarts within {window}: no more than {}", limits.max());
            Verdict::new(Severity::Healthy, Reason::NothingUnusual, text)
        };
        let key = AlertKey { check: self.id.clone(), kind: AlertKind::CrashLoop };
        if count > limits.max() || desk.book.is_open(&key) {
            desk.rule_on(&self.id, AlertKind::CrashLoop, verdict, Lasting::default());
        }
    }

    /// It logged errors.
    pub(in crate::engine) fn errors(&mut self, seen: ErrorsSeen, desk: &mut Desk) {
        let first = self.errors == 0;
        self.errors = self.errors.saturating_add(seen.count);
        // The lines themselves go with the alert, to those who may read log text.
        let text = format!("{} logged", count_of(self.errors, "error"));
        let verdict = Verdict::new(Severity::Warning, Reason::ErrorsLogged, text);
        let lasting = Lasting { await_lines: true, ..Lasting::default() };
        desk.rule_on(&self.id, AlertKind::Errors, verdict, lasting);
        if first || !seen.lines.is_empty() {
            desk.lines(&self.id, AlertKind::Errors, seen.lines);
        }
        let quiet = Timer::Quiet(self.name().clone());
        desk.timers.set(quiet, desk.now.boot.after(QUIET));
    }

    /// An alert about errors was open when keepwell last stopped: it ends when it stays quiet.
    pub(in crate::engine) fn expect_quiet(&mut self, desk: &mut Desk) {
        self.errors = self.errors.max(1);
        desk.timers.set(Timer::Quiet(self.name().clone()), desk.now.boot.after(QUIET));
    }

    /// No errors came for a while.
    pub(in crate::engine) fn quiet(&mut self, desk: &mut Desk) {
        self.errors = 0;
        let text = format!("no errors logged for {}", Human(QUIET));
        let verdict = Verdict::new(Severity::Healthy, Reason::NothingUnusual, text);
        desk.rule_on(&self.id, AlertKind::Errors, verdict, Lasting::default());
    }

    /// The journal lines of a run have come.
    pub(in crate::engine) fn excerpt(&mut self, excerpt: Excerpt, desk: &mut Desk) {
        if excerpt.invocation == self.failed {
            desk.lines(&self.id, AlertKind::State, excerpt.lines);
        }
    }
}

fn crash_loop(desk: &Desk, unit: &str) -> CrashLoop {
    desk.rules.unit(unit).map_or_else(CrashLoop::default, |r| r.crash_loop.clone())
}

/// `1 error`, `3 errors`.
fn count_of(n: u32, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
