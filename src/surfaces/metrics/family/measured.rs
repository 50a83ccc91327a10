//! What the checks measured, as `keepwell_KIND_VALUE`.

use std::collections::BTreeMap;

use crate::engine::CheckKind;

use super::shown::Shown;
use super::{Family, bare, labelled};
use crate::surfaces::metrics::registry::{self, Kind};

/// By name.
pub(super) fn all<'a>(shown: &Shown<'a>) -> Vec<Family<'a>> {
    let mut families: BTreeMap<String, Family<'a>> = BTreeMap::new();
    for check in &shown.checks {
        for (i, value) in check.values.iter().enumerate() {
            let name = metric_name(check.id.kind, value.name);
            let twice = check.values[..i].iter().any(|v| v.name == value.name);
            if twice || registry::FIXED.iter().any(|e| e.name == name) {
                continue; // A second sample with the same labels would spoil the whole scrape.
            }
            let family = families.entry(name).or_insert_with_key(|name| {
                let (kind, help) = registry::of_measured(name);
                Family { name: name.clone().into(), kind, help, samples: Vec::new() }
            });
            // Those who read OpenMetrics may refuse the whole text for such a counter.
            if family.kind == Kind::Counter && !(value.value.is_finite() && value.value >= 0.0) {
                continue;
            }
            match label_of(check.id.kind) {
                Some(label) if !check.id.name.is_empty() => {
                    family.samples.push(labelled(label, &check.id.name, value.value));
                }
                _ if family.samples.is_empty() => family.samples.push(bare(value.value)),
                _ => {}
            }
        }
    }
    families.into_values().filter(|f| !f.samples.is_empty()).collect()
}

fn metric_name(kind: CheckKind, value: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    format!("keepwell_{}_{value}", kind.as_str()).chars().map(fit).collect()
}

/// What tells apart the checks of a kind; `None` where only one of them measures a value.
fn label_of(kind: CheckKind) -> Option<&'static str> {
    match kind {
        CheckKind::Disk | CheckKind::Inodes => Some("mount"),
        CheckKind::Heartbeat => Some("file"),
        CheckKind::Pressure => Some("resource"),
        CheckKind::Probe => Some("probe"),
        CheckKind::Unit | CheckKind::Container => Some("name"),
        CheckKind::Host
        | CheckKind::Agent
        | CheckKind::Units
        | CheckKind::Memory
        | CheckKind::Swap
        | CheckKind::Cpu
        | CheckKind::Load => None,
    }
}
