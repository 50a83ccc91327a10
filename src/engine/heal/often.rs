//! Restarts that are too many: counted over a window, whatever the state is now.

use std::time::Duration;

use super::Patient;
use crate::engine::alert::AlertKey;
use crate::engine::desk::{Desk, Lasting};
use crate::engine::time::Human;
use crate::engine::timers::Timer;
use crate::engine::words::{AlertKind, Reason, Severity, Verdict};

/// Judges the restarts within the window.
pub(super) fn judge<P: Patient + ?Sized>(patient: &mut P, desk: &mut Desk) {
    let limits = patient.limits(desk);
    let stable = patient.backoff(desk).stable();
    let (now, is_up) = (desk.now, patient.is_up());
    let chart = patient.chart_mut();
    let mut count = chart.lives.prune(now.wall, limits.window());
    let quiet = chart.lives.record.window.back().is_none_or(|last| now.wall.since(*last) >= stable);
    if quiet && count > 0 && (is_up || !desk.severity(&chart.id).alerts()) {
        // Stable for long enough: what was before no longer counts.
        chart.lives.record.window.clear();
        chart.keep_counts(desk);
        count = 0;
    }
    desk.touch(&chart.id);
    let timer = Timer::Window(chart.id.clone());
    match chart.lives.record.window.back() {
        None => desk.timers.clear(&timer),
        Some(last) => {
            let since = now.wall.since(*last);
            let oldest = chart.lives.record.window.front().map_or(since, |o| now.wall.since(*o));
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
    let key = AlertKey { check: chart.id.clone(), kind: AlertKind::CrashLoop };
    if count > limits.max() || desk.book.is_open(&key) {
        desk.rule_on(&chart.id, AlertKind::CrashLoop, verdict, Lasting::default());
    }
}
