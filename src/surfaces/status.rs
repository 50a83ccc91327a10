//! The text of the status line that `systemctl status` shows: one line of the truth.

use std::fmt::Write;

use crate::engine::matcher::Matcher;
use crate::engine::{CheckView, Severity, Snapshot};

use super::report::{Counts, Stamp};

/// At most so many characters: more does not fit a terminal's line.
const LONGEST: usize = 200;

/// One line without control characters, such as `critical: 1 of 14 checks critical —
/// unit:nginx.service failed: exit code 1, restart at 07:17:42 UTC`. Times are absolute, so that
/// the line stays true until the next one.
pub fn status_line(snapshot: &Snapshot) -> String {
    let counts = Counts::of(snapshot);
    let mut line = if !snapshot.ready {
        "starting: the first look at units and host is not done yet".to_owned()
    } else if counts.total() == 0 {
        "healthy: nothing to watch was found".to_owned()
    } else if snapshot.severity == Severity::Healthy {
        let s = if counts.total() == 1 { "" } else { "s" };
        format!("healthy: {} check{s}, all well", counts.total())
    } else {
        let word = snapshot.severity.as_str();
        let mut line = format!(
            "{word}: {} of {} checks {word}",
            counts.get(snapshot.severity),
            counts.total()
        );
        if let Some(check) = foremost(snapshot) {
            // Writing to a string cannot fail.
            let _ = write!(line, " — {} {}", check.id, check.summary);
            let unit = check.unit.as_ref().and_then(|u| u.next_attempt);
            if let Some(at) = unit.or_else(|| check.container.as_ref().and_then(|c| c.next_attempt))
                && at > snapshot.at
            {
                let _ = write!(line, ", restart at {}", Stamp(at).time_of_day());
            }
        }
        line
    };
    if snapshot.holds.iter().any(|h| h.unit.is_none()) {
        line.push_str("; healing is on hold");
    }
    if snapshot.silences.iter().any(|s| s.matcher == Matcher::all()) {
        line.push_str("; everything is silenced");
    }
    one_line(&line)
}

/// Of the worst checks the one that became so last.
fn foremost(snapshot: &Snapshot) -> Option<&CheckView> {
    snapshot
        .checks
        .iter()
        .filter(|c| c.severity == snapshot.severity)
        .max_by_key(|c| c.since)
        .map(|c| &**c)
}

fn one_line(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    if text.chars().count() <= LONGEST {
        text.chars().map(clean).collect()
    } else {
        text.chars().take(LONGEST - 1).map(clean).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surfaces::sample;

    #[test]
    fn it_says_the_worst_and_what_will_happen() {
        assert_eq!(
            status_line(&sample::failing()),
            "critical: 1 of 8 checks critical — unit:nginx.service failed: exit code 1, \
             restart at 07:17:42 UTC"
        );
        assert_eq!(status_line(&sample::healthy()), "healthy: 5 checks, all well");
        let mut silent = sample::busy();
        silent.silences[0].matcher = Matcher::all();
        assert!(status_line(&silent).ends_with("07:17:42 UTC; everything is silenced"));
        assert_eq!(
            status_line(&sample::before_first_round()),
            "starting: the first look at units and host is not done yet"
        );
        assert_eq!(
            status_line(&sample::snapshot(Vec::new())),
            "healthy: nothing to watch was found"
        );
    }

    #[test]
    fn it_is_one_short_line_whatever_a_unit_is_called() {
        let line = status_line(&sample::hostile());
        assert!(!line.chars().any(char::is_control), "{line:?}");
        let mut long = sample::failing();
        let mut check = (*long.checks[0]).clone();
        check.severity = Severity::Critical;
        check.since = sample::AT;
        check.summary = "ä".repeat(500);
        long.checks[0] = std::sync::Arc::new(check);
        assert_eq!(status_line(&long).chars().count(), LONGEST);
    }
}
