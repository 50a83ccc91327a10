//! What is known of the exporters of measurements: they report what they did, it is counted here
//! and shown in the snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::event::Export;
use super::rules::Rules;
use super::time::Wall;
use super::view::ExportView;
use super::words::{CheckId, CheckKind};

/// What the names of the checks of exporters begin with.
pub(super) const EXPORTER: &str = "exporter-";

/// By name, since keepwell started.
#[derive(Debug, Default)]
pub(super) struct Exports(BTreeMap<Arc<str>, ExportView>);

impl Exports {
    /// Adds up what an exporter has done.
    pub(super) fn add(&mut self, exporter: Arc<str>, done: Export, now: Wall) {
        let view = self.0.entry(exporter).or_insert_with_key(|name| ExportView {
            name: name.clone(),
            sent: 0,
            failed: 0,
            dropped: 0,
            rejected: 0,
            queued: 0,
            last_success: None,
        });
        view.sent = view.sent.saturating_add(done.sent);
        view.failed = view.failed.saturating_add(done.failed);
        view.dropped = view.dropped.saturating_add(done.dropped);
        view.rejected = view.rejected.saturating_add(done.rejected);
        view.queued = done.queued;
        if done.sent > 0 {
            view.last_success = Some(now);
        }
    }

    /// Those of the present configuration.
    pub(super) fn shown(&self, rules: &Rules) -> Vec<ExportView> {
        let configured = |view: &&ExportView| rules.exporters.contains(&view.name);
        self.0.values().filter(configured).cloned().collect()
    }
}

/// Whether a check is about an exporter.
pub(super) fn is_exporter(check: &CheckId) -> bool {
    check.kind == CheckKind::Agent && check.name.starts_with(EXPORTER)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::engine::event::{Event, Outcome, part_state};
    use crate::engine::observation::{Part, PartState};
    use crate::engine::saved::Saved;
    use crate::engine::{Boot, Engine, Mode, Now};

    const NOW: Now = Now { boot: Boot(1_000_000), wall: Wall(1_000_000) };

    fn engine(rules: Rules) -> Engine {
        Engine::new(rules, Saved::default(), "boot".into(), Mode::default(), NOW).0
    }

    fn with_otlp() -> Rules {
        Rules { exporters: vec!["otlp".into()], ..Rules::default() }
    }

    fn done(exporter: &str, done: Export) -> Event {
        Event::Outcome(Outcome::Export { exporter: exporter.into(), done })
    }

    #[test]
    fn what_exporters_did_is_added_up_and_shown_for_those_that_there_are() {
        let mut engine = engine(with_otlp());
        engine.step(done("otlp", Export { failed: 1, queued: 2, ..Export::default() }), NOW);
        assert_eq!(engine.snapshot(NOW).exports[0].last_success, None);
        let sent = Export { sent: 2, rejected: 3, ..Export::default() };
        assert!(engine.step(done("otlp", sent), NOW).dirty);
        engine.step(done("azure", sent), NOW);
        let exports = engine.snapshot(NOW).exports;
        assert_eq!(exports.len(), 1, "the other one is of no configuration");
        let view = &exports[0];
        assert_eq!((view.sent, view.failed, view.rejected, view.queued), (2, 1, 3, 0));
        assert_eq!(view.last_success, Some(NOW.wall));
    }

    #[test]
    fn the_check_of_an_exporter_goes_with_it() {
        let mut engine = engine(with_otlp());
        let broken = PartState::Broken("it does not answer".into());
        engine.step(part_state(Part::Exporter("otlp".into()), broken), NOW);
        let id = CheckId::new(CheckKind::Agent, "exporter-otlp");
        assert!(engine.snapshot(NOW).check(&id).is_some());
        engine.reload(with_otlp(), BTreeSet::new(), NOW);
        assert!(engine.snapshot(NOW).check(&id).is_some(), "it is still there");
        engine.reload(Rules::default(), BTreeSet::new(), NOW);
        assert!(engine.snapshot(NOW).check(&id).is_none());
        assert!(engine.snapshot(NOW).alerts.is_empty());
    }

    #[test]
    fn a_bus_that_comes_back_is_counted_and_one_that_comes_first_is_not() {
        let mut engine = engine(Rules::default());
        let bus = |state| part_state(Part::Bus, state);
        engine.step(bus(PartState::Works), NOW);
        assert_eq!(engine.snapshot(NOW).bus_reconnects, 0);
        for _ in 0..2 {
            engine.step(bus(PartState::Broken("away".into())), NOW);
            engine.step(bus(PartState::Works), NOW);
            engine.step(bus(PartState::Works), NOW);
        }
        assert_eq!(engine.snapshot(NOW).bus_reconnects, 2);
    }

    #[test]
    fn one_that_is_not_configured_any_more_is_not_heard() {
        let mut engine = engine(with_otlp());
        let broken = || part_state(Part::Exporter("otlp".into()), PartState::Broken("no".into()));
        engine.reload(Rules::default(), BTreeSet::new(), NOW);
        // It was on its way when the configuration changed.
        engine.step(broken(), NOW);
        assert!(!engine.snapshot(NOW).checks.iter().any(|check| is_exporter(&check.id)));
    }
}
