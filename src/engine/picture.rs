//! A picture of all that the engine knows, for surfaces.

use std::sync::Arc;

use super::view::{CheckView, MaintenanceView, Snapshot};
use super::words::{CheckKind, Severity};
use super::{Engine, Now, rules};

impl Engine {
    /// A picture of everything, for surfaces.
    pub fn snapshot(&mut self, now: Now) -> Snapshot {
        self.generation += 1;
        let Self { desk, units, containers, .. } = self;
        let rules = &desk.rules;
        let checks: Vec<Arc<CheckView>> = desk
            .checks
            .iter_mut()
            .map(|(id, check)| {
                let unit = || match id.kind {
                    CheckKind::Unit => units.get(&id.name).and_then(|u| u.view(rules, now.wall)),
                    _ => None,
                };
                let container = || match id.kind {
                    CheckKind::Container => containers.view(&id.name, now.wall),
                    _ => None,
                };
                check.view(id, unit, container)
            })
            .collect();
        let ready = self.desk.ready;
        let worst = checks.iter().map(|c| c.severity).max().unwrap_or(Severity::Unknown);
        let alerts = self.desk.book.shown();
        Snapshot {
            generation: self.generation,
            at: now.wall,
            boot: now.boot,
            severity: if ready { worst } else { Severity::Unknown },
            ready,
            host: self.desk.rules.host.clone(),
            labels: self.desk.labels.clone(),
            checks,
            alerts,
            recent: self.desk.book.recent(),
            silences: self
                .desk
                .book
                .silences
                .iter()
                .filter(|s| s.until > now.wall)
                .cloned()
                .collect(),
            maintenance: self.maintenance(now),
            quiet: self.desk.quiet.standing(CheckKind::Unit, now).map(|w| w.why),
            channels: self.desk.book.channels(&self.desk.rules),
            holds: self.desk.holds.iter().filter(|h| h.until > now.wall).cloned().collect(),
            exports: self.exports.shown(&self.desk.rules),
            hooks: self.containers.hooks(&self.desk.rules),
            bus_reconnects: self.bus_reconnects,
            loop_lag: 0,
            units_total: self.units_total,
            started: self.started,
        }
    }

    /// Maintenance windows in force.
    fn maintenance(&self, now: Now) -> Vec<MaintenanceView> {
        let windows = self.desk.rules.alerts.maintenance.iter();
        let until = |m: &rules::Maintenance| m.times.iter().filter_map(|t| t.ends(now.wall)).max();
        windows
            .filter_map(|m| Some(MaintenanceView { name: m.name.clone(), until: until(m)? }))
            .collect()
    }
}
