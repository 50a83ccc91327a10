//! Which checks have series: all of them, on any host that is not extraordinary.

use std::cmp::Reverse;

use crate::engine::{CheckView, Snapshot};

/// Checks of one kind that have series.
pub(in crate::surfaces::metrics) const MOST_OF_A_KIND: usize = 2000;

/// The checks of a snapshot that have series.
pub(super) struct Shown<'a> {
    pub(super) snapshot: &'a Snapshot,
    /// Ordered by id.
    pub(super) checks: Vec<&'a CheckView>,
    /// How many have none.
    pub(super) left_out: usize,
}

impl<'a> Shown<'a> {
    pub(super) fn of(snapshot: &'a Snapshot) -> Self {
        Self::at_most(MOST_OF_A_KIND, snapshot)
    }

    /// Of each kind at most so many: the worst first, then those that somebody named, then by id.
    fn at_most(most: usize, snapshot: &'a Snapshot) -> Self {
        let all: Vec<&CheckView> = snapshot.checks.iter().map(|c| &**c).collect();
        let mut checks = Vec::with_capacity(all.len());
        for kind in all.chunk_by(|a, b| a.id.kind == b.id.kind) {
            if kind.len() <= most {
                checks.extend(kind);
                continue;
            }
            let mut best = kind.to_vec();
            let named = |check: &CheckView| {
                check.unit.as_ref().is_some_and(|u| u.named)
                    || check.container.as_ref().is_some_and(|c| c.named)
            };
            best.sort_by_key(|check| Reverse((check.severity, named(check))));
            best.truncate(most);
            best.sort_by(|a, b| a.id.cmp(&b.id));
            checks.extend(best);
        }
        let left_out = all.len() - checks.len();
        Self { snapshot, checks, left_out }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{CheckKind, Reason, Severity};
    use crate::surfaces::sample;

    #[test]
    fn what_is_wrong_is_shown_first_then_what_was_named() {
        let mut checks = vec![sample::check(
            CheckKind::Memory,
            "",
            Severity::Healthy,
            Reason::WithinLimits,
            "31 % used",
        )];
        for (name, severity, named) in [
            ("a.service", Severity::Healthy, false),
            ("b.service", Severity::Healthy, true),
            ("c.service", Severity::Warning, false),
            ("d.service", Severity::Healthy, false),
            ("e.service", Severity::Critical, true),
        ] {
            let mut check = sample::unit(name, severity, Reason::Running, "");
            check.unit.as_mut().unwrap().named = named;
            checks.push(check);
        }
        let snapshot = sample::snapshot(checks);
        let shown = |most| {
            let shown = Shown::at_most(most, &snapshot);
            let ids: Vec<String> = shown.checks.iter().map(|c| c.id.to_string()).collect();
            (ids.join(" ").replace("unit:", "").replace(".service", ""), shown.left_out)
        };
        assert_eq!(shown(5), ("a b c d e memory".into(), 0));
        assert_eq!(shown(4), ("a b c e memory".into(), 1));
        assert_eq!(shown(3), ("b c e memory".into(), 2));
        assert_eq!(shown(1), ("e memory".into(), 4));
    }
}
