//! Probes: what a finding means by the rules.

use super::desk::{Desk, Lasting};
use super::observation::{ProbeOutcome, ProbeSeen};
use super::rules::Rules;
use super::view::Value;
use super::words::{AlertKind, CheckId, CheckKind, Reason, Severity, Verdict};

/// A probe has looked.
pub(super) fn seen(seen: ProbeSeen, desk: &mut Desk) {
    // What was on its way when it was taken out of the configuration.
    let Some(rule) = desk.rules.probe(&seen.name).cloned() else { return };
    let id = CheckId::new(CheckKind::Probe, seen.name);
    let (severity, success) = match seen.finding.outcome {
        ProbeOutcome::Good => (Severity::Healthy, Some(1.0)),
        ProbeOutcome::Bad => (rule.severity, Some(0.0)),
        ProbeOutcome::Unclear => (Severity::Unknown, None),
    };
    let verdict = Verdict::new(severity, seen.finding.reason, seen.finding.summary);
    desk.rule_on(&id, AlertKind::State, verdict, Lasting::confirmed(rule.confirm));
    let mut values: Vec<Value> =
        success.map(|value| Value { name: "success", value }).into_iter().collect();
    values.push(Value { name: "duration_seconds", value: seen.took.as_secs_f64() });
    values.extend(seen.finding.values);
    desk.values(&id, values);
}

/// Whether a check is a probe that there is. Nothing waits for its first look.
pub(super) fn is_probe(check: &CheckId, rules: &Rules) -> bool {
    check.kind == CheckKind::Probe && rules.probe(&check.name).is_some()
}

/// Probes that have not looked yet are shown as such.
pub(super) fn name_unseen(desk: &mut Desk) {
    let ids: Vec<CheckId> = desk
        .rules
        .probes
        .iter()
        .map(|rule| CheckId::new(CheckKind::Probe, rule.name.clone()))
        .filter(|id| !desk.checks.contains_key(id))
        .collect();
    for id in ids {
        let reason = Reason::NotYetSeen;
        let verdict = Verdict::new(Severity::Unknown, reason, reason.meaning());
        desk.rule_on(&id, AlertKind::State, verdict, Lasting::default());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::observation::{Finding, SourceKind};
    use super::super::rules::{Confirm, ProbeRule};
    use super::super::{Boot, Engine, Event, Mode, Now, Observation, Saved, Wall};
    use super::*;

    fn at(s: u64) -> Now {
        Now { boot: Boot(s * 1_000_000), wall: Wall(s as i64 * 1_000_000) }
    }

    fn rules(names: &[&str]) -> Rules {
        let rule = |name: &&str| ProbeRule {
            name: Arc::from(*name),
            severity: Severity::Critical,
            confirm: Confirm { failures: 2, ..Confirm::default() },
        };
        Rules { probes: names.iter().map(rule).collect(), ..Rules::default() }
    }

    fn engine(names: &[&str], expected: &[SourceKind]) -> Engine {
        let mode = Mode { expected: expected.iter().copied().collect(), ..Mode::default() };
        Engine::new(rules(names), Saved::default(), "boot".into(), mode, at(1)).0
    }

    fn seen(name: &str, outcome: ProbeOutcome, reason: Reason) -> Event {
        let values = vec![Value { name: "git_behind_commits", value: 3.0 }];
        let finding = Finding { outcome, reason, summary: "so it is".into(), values };
        let took = Duration::from_millis(1500);
        Event::Observed(Observation::Probe(ProbeSeen { name: name.into(), finding, took }))
    }

    /// `severity reason` of each probe.
    fn shown(engine: &mut Engine, now: Now) -> Vec<String> {
        let checks = engine.snapshot(now).checks;
        let probes = checks.iter().filter(|c| c.id.kind == CheckKind::Probe);
        probes.map(|c| format!("{} {} {}", c.id, c.severity, c.reason)).collect()
    }

    #[test]
    fn a_finding_is_as_bad_as_the_rule_says_once_it_counts() {
        use ProbeOutcome::{Bad, Good, Unclear};
        let mut engine = engine(&["a"], &[]);
        engine.step(seen("a", Bad, Reason::Behind), at(2));
        assert_eq!(shown(&mut engine, at(2)), ["probe:a healthy confirming"]);
        engine.step(seen("a", Bad, Reason::Behind), at(3));
        assert_eq!(shown(&mut engine, at(3)), ["probe:a critical behind"]);
        let snapshot = engine.snapshot(at(3));
        assert_eq!(snapshot.alerts.len(), 1);
        let check = snapshot.checks.iter().find(|c| c.id.kind == CheckKind::Probe).unwrap();
        let values: Vec<_> = check.values.iter().map(|v| (v.name, v.value)).collect();
        let wanted = [("success", 0.0), ("duration_seconds", 1.5), ("git_behind_commits", 3.0)];
        assert_eq!(values, wanted);
        engine.step(seen("a", Unclear, Reason::NoPermission), at(4));
        assert_eq!(shown(&mut engine, at(4)), ["probe:a unknown no-permission"]);
        assert_eq!(engine.snapshot(at(4)).alerts.len(), 1, "what is unknown ends nothing");
        engine.step(seen("a", Good, Reason::ProbeOk), at(5));
        assert_eq!(shown(&mut engine, at(5)), ["probe:a healthy probe-ok"]);
        assert!(engine.snapshot(at(5)).alerts.is_empty());
    }

    #[test]
    fn a_probe_is_shown_before_its_first_look_and_nothing_waits_for_it() {
        let mut engine = engine(&["a", "b"], &[SourceKind::Host]);
        assert_eq!(shown(&mut engine, at(1)), [""; 0]);
        let source = SourceKind::Host;
        let round = super::super::observation::Round { source, total: None };
        engine.step(Event::Observed(Observation::Round(round)), at(2));
        assert!(engine.snapshot(at(2)).ready);
        let both = ["probe:a unknown not-yet-seen", "probe:b unknown not-yet-seen"];
        assert_eq!(shown(&mut engine, at(2)), both);
    }

    #[test]
    fn one_that_is_taken_out_is_gone_and_what_comes_late_of_it_is_nothing() {
        use ProbeOutcome::Bad;
        let mut engine = engine(&["a", "b"], &[]);
        for name in ["a", "b", "a", "b"] {
            engine.step(seen(name, Bad, Reason::Behind), at(2));
        }
        engine.reload(rules(&["b"]), Default::default(), at(3));
        engine.step(seen("a", Bad, Reason::Behind), at(4));
        assert_eq!(shown(&mut engine, at(4)), ["probe:b critical behind"]);
        let open: Vec<String> =
            engine.snapshot(at(4)).alerts.iter().map(|a| a.key.check.to_string()).collect();
        assert_eq!(open, ["probe:b"]);
    }
}
