//! The start: the engine takes up what was saved.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::book::Book;
use super::containers::Containers;
use super::desk::Desk;
use super::heal::Patient as _;
use super::kills::Kills;
use super::quiet::Quiet;
use super::saved::{AgentRecord, Change, CountRecord, Saved, container_of};
use super::timers::Timers;
use super::unit::Unit;
use super::words::AlertKind;
use super::{Engine, FIRST_ROUND, Mode, Now, Rules, Step, exports, files, host};

impl Engine {
    /// Takes up what was saved. The step holds what a start itself decides.
    pub fn new(
        rules: Rules,
        saved: Saved,
        boot_id: Arc<str>,
        mode: Mode,
        now: Now,
    ) -> (Self, Step) {
        let first_start = saved.agent.as_ref().is_none_or(|a| !a.settled);
        let next_alert = saved.agent.as_ref().map_or(1, |a| a.next_alert);
        // A number that was given out but not saved must not be given out again.
        let next_alert = saved
            .alerts
            .iter()
            .filter_map(|a| a.id.strip_prefix('a')?.parse::<u64>().ok())
            .map(|n| n + 1)
            .fold(next_alert, u64::max);
        let mut saved = saved;
        let next_alert = saved
            .silences
            .iter()
            .filter_map(|s| s.id.strip_prefix('s')?.parse::<u64>().ok())
            .map(|n| n + 1)
            .fold(next_alert, u64::max);
        let unexpected =
            saved.agent.as_ref().is_some_and(|a| a.boot_id != boot_id && !a.clean_stop);
        let agent = AgentRecord {
            boot_id: boot_id.clone(),
            clean_stop: false,
            next_alert,
            settled: !first_start,
            // The same for the calls of hooks.
            next_call: first_call(&saved, now),
            engines: saved.agent.as_ref().map(|a| a.engines.clone()).unwrap_or_default(),
            reported: saved.agent.as_ref().and_then(|a| a.reported.clone()),
        };
        let labels = Arc::new(rules.labels.clone());
        let desk = Desk {
            rules,
            labels,
            boot_id,
            checks: BTreeMap::new(),
            book: Book::load(&mut saved, next_alert, first_start, now),
            timers: Timers::default(),
            holds: saved.holds,
            quiet: Quiet::default(),
            kills: Kills::default(),
            out: Step::default(),
            now,
            force: mode.force,
            eager: mode.eager,
            blind_gap: true,
            ready: false,
            patience: now.boot.after(FIRST_ROUND),
            restarts: 0,
        };
        let mut restarts = saved.restarts;
        let of_container = |subject: &Arc<str>| container_of(subject).is_some();
        let (container_counts, counts): (Vec<_>, Vec<_>) =
            saved.counts.into_iter().partition(|c| of_container(&c.unit));
        let container_restarts =
            restarts.extract_if(.., |subject, _| of_container(subject)).collect();
        let mut desk = desk;
        let containers = Containers::load(
            saved.containers,
            container_counts,
            container_restarts,
            agent.engines.clone(),
            agent.next_call,
            &mut desk,
        );
        let mut units: BTreeMap<Arc<str>, Unit> = counts
            .into_iter()
            .map(|c| (c.unit.clone(), Unit::load(c.clone(), restarts.remove(&c.unit))))
            .collect();
        for (name, record) in restarts {
            let unit = Unit::load(CountRecord::new(name.clone()), Some(record));
            units.insert(name, unit);
        }
        let mut engine = Self {
            desk,
            units,
            containers,
            host: host::Host::default(),
            heartbeats: files::Heartbeats::default(),
            mode,
            rounds: BTreeSet::new(),
            bus: None,
            bus_reconnects: 0,
            exports: exports::Exports::default(),
            units_total: None,
            agent,
            generation: 0,
            started: now.wall,
            report_due: now.wall,
        };
        for unit in engine.units.values_mut() {
            unit.rearm(&mut engine.desk);
        }
        for key in engine.desk.book.keys() {
            if key.kind == AlertKind::Errors {
                let unit = engine.units.entry(key.check.name.clone()).or_insert_with_key(Unit::new);
                unit.expect_quiet(&mut engine.desk);
            }
        }
        engine.desk.with_book(|book, pen| {
            book.reconsider(pen);
            book.arm_silences(pen);
        });
        engine.arm_report();
        engine.host.rebooted(unexpected, &mut engine.desk);
        engine.arm_hold();
        engine.desk.keep(Change::Agent(engine.agent.clone()));
        engine.fire();
        let step = engine.finish();
        (engine, step)
    }
}

/// The number of the next call of a hook. Where no number is saved it begins with the time, so that
/// a receiver that knows the calls of a former database takes none of the new ones for a repeat.
fn first_call(saved: &Saved, now: Now) -> u64 {
    let known = saved.agent.as_ref().map_or(0, |agent| agent.next_call);
    let by_time = u64::try_from(now.wall.0 / 1_000_000).unwrap_or(1).max(1);
    let next = if known == 0 { by_time } else { known };
    next.max(saved.last_call + 1)
}
