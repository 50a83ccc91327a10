//! Finding routes that no alert ever comes to, because an earlier one takes all of theirs.

use crate::engine::CheckId;
use crate::engine::Severity;
use crate::engine::rules::{CheckPattern, Matcher, Route};

use super::{Place, Sink};

/// The routes so far that let nothing pass.
#[derive(Default)]
pub(super) struct Reach(Vec<(Matcher, Place)>);

impl Reach {
    /// Takes the next route; warns when nothing is left for it.
    pub(super) fn add(&mut self, route: &Route, at: Place, sink: &mut Sink) {
        if let Some((_, earlier)) = self.0.iter().find(|(m, _)| covers(m, &route.matcher)) {
            let earlier = sink.describe(*earlier);
            let message = format!("no alert comes to this route: the one at {earlier} takes all");
            sink.warning(at, message).hint("put it before that one, or add continue = true there");
            return;
        }
        if !route.go_on && route.times.is_empty() {
            self.0.push((route.matcher.clone(), at));
        }
    }
}

/// Whether all that one means, the other means as well. Says no where it cannot tell.
fn covers(earlier: &Matcher, later: &Matcher) -> bool {
    let least = |m: &Matcher| m.min_severity.unwrap_or(Severity::Warning);
    let any = |m: &Matcher| m.checks.is_empty() || m.checks.iter().any(|c| c.as_str() == "*");
    let checks = any(earlier)
        || !any(later)
            && later.checks.iter().all(|l| earlier.checks.iter().any(|e| covers_check(e, l)));
    checks
        && least(earlier) <= least(later)
        && earlier.labels.iter().all(|(key, value)| later.labels.get(key) == Some(value))
}

fn covers_check(earlier: &CheckPattern, later: &CheckPattern) -> bool {
    let text = later.as_str();
    text == earlier.as_str()
        || !text.contains(['*', '?', '['])
            // A kind alone is all of its kind, and not a check of that name.
            && text.contains(':')
            && text.parse::<CheckId>().is_ok_and(|check| earlier.matches(&check))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(checks: &[&str]) -> Matcher {
        let checks = checks.iter().map(|text| CheckPattern::try_new(text).unwrap()).collect();
        Matcher { checks, ..Matcher::all() }
    }

    #[test]
    fn what_is_taken_before_is_found() {
        let some = |earlier: &[&str], later: &[&str]| covers(&matcher(earlier), &matcher(later));
        assert!(some(&[], &["disk"]) && some(&["*"], &[]) && some(&["disk"], &["disk"]));
        assert!(some(&["unit:web@*", "disk"], &["web@1.service", "disk:/var"]));
        assert!(!some(&["disk"], &[]) && !some(&["disk:/"], &["disk"]));
        assert!(!some(&["unit:web@*"], &["unit:*"]) && !some(&["disk"], &["disk", "cpu"]));

        let critical = Matcher { min_severity: Some(Severity::Critical), ..Matcher::all() };
        let warning = Matcher { min_severity: Some(Severity::Warning), ..Matcher::all() };
        assert!(covers(&warning, &Matcher::all()) && covers(&warning, &critical));
        assert!(!covers(&critical, &warning));
        let labels = [("env".to_owned(), "prod".to_owned())].into();
        let labelled = Matcher { labels, ..Matcher::all() };
        assert!(covers(&Matcher::all(), &labelled) && !covers(&labelled, &Matcher::all()));
    }
}
