//! The families of snapshots are what the registry says: their labels, how many series they have.

use std::collections::{BTreeMap, BTreeSet};

use super::family::{self, Family, MOST_OF_A_KIND};
use super::registry::{self, HOST_INFO};
use super::{Of, known};
use crate::engine::saved::Hold;
use crate::engine::view::ConditionView;
use crate::engine::{Actor, AlertKind, CheckKind, Reason, Severity, Snapshot};
use crate::surfaces::sample;

fn families(snapshot: &Snapshot) -> Vec<Family<'_>> {
    family::all(snapshot, "0.1.0")
}

/// The values of a metric, by its labels as `name=value,…`.
fn values(snapshot: &Snapshot, name: &str) -> BTreeMap<String, f64> {
    let families = families(snapshot);
    let Some(family) = families.iter().find(|f| f.name == name) else { return BTreeMap::new() };
    let labels = |s: &family::Sample<'_>| {
        let labels: Vec<String> = s.labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
        labels.join(",")
    };
    family.samples.iter().map(|s| (labels(s), s.value)).collect()
}

/// How many of such things there are.
fn count(snapshot: &Snapshot, of: Of) -> usize {
    let kind = |kind| snapshot.checks.iter().filter(|c| c.id.kind == kind).count();
    match of {
        Of::Host => 1,
        Of::Check => snapshot.checks.len(),
        Of::Condition => snapshot.checks.iter().map(|c| c.conditions.len()).sum(),
        Of::Unit => kind(CheckKind::Unit),
        Of::Restarted => {
            snapshot.checks.iter().filter(|c| c.unit.as_ref().is_some_and(|u| u.restart)).count()
        }
        Of::Container => kind(CheckKind::Container),
        Of::HealedContainer => snapshot
            .checks
            .iter()
            .filter(|c| c.container.as_ref().is_some_and(|c| c.restart))
            .count(),
        Of::Hook => snapshot.hooks.len(),
        Of::Mount => kind(CheckKind::Disk),
        Of::Resource => kind(CheckKind::Pressure),
        Of::File => kind(CheckKind::Heartbeat),
        Of::Probe => kind(CheckKind::Probe),
        Of::Channel => snapshot.channels.len(),
        Of::Exporter => snapshot.exports.len(),
    }
}

#[test]
fn families_have_the_labels_and_no_more_series_than_the_registry_says() {
    let mut filled = BTreeSet::new();
    for snapshot in [
        sample::healthy(),
        sample::failing(),
        sample::busy(),
        sample::before_first_round(),
        sample::hostile(),
        sample::containers(),
        sample::many(30),
    ] {
        for family in families(&snapshot) {
            let entry = known().find(|e| e.name == family.name).expect("it is in the registry");
            assert_eq!(family.kind, entry.kind);
            filled.insert(entry.name);
            for sample in &family.samples {
                let names: Vec<&str> = sample.labels.iter().map(|(name, _)| &**name).collect();
                let own = if entry.name == HOST_INFO { &names[..1] } else { &names[..] };
                assert_eq!(own, entry.labels, "{}", entry.name);
            }
            let most = entry.each * count(&snapshot, entry.of);
            assert!(family.samples.len() <= most, "{}", entry.name);
        }
    }
    // What is in the list and nobody fills has a wrong name in one of the two places.
    let empty: Vec<&str> =
        registry::FIXED.iter().map(|e| e.name).filter(|name| !filled.contains(name)).collect();
    assert_eq!(empty, [""; 0]);
}

#[test]
fn a_host_with_thousands_of_units_has_a_bounded_number_of_series() {
    let snapshot = sample::many(MOST_OF_A_KIND + 100);
    assert_eq!(values(&snapshot, "keepwell_checks_left_out")[""], 100.0);
    let shown = values(&snapshot, "keepwell_unit_active");
    assert_eq!(shown.len(), MOST_OF_A_KIND);
    let down = snapshot.checks.iter().filter(|c| c.severity.alerts()).count();
    assert_eq!(shown.values().filter(|up| **up == 0.0).count(), down, "what is down is shown");
    let counted: f64 = values(&snapshot, "keepwell_checks").values().sum();
    assert_eq!(counted as usize, snapshot.checks.len(), "all are counted");
    assert_eq!(values(&sample::many(9), "keepwell_checks_left_out")[""], 0.0);
}

#[test]
fn a_crash_loop_is_a_condition_of_its_own() {
    let mut snapshot = sample::healthy();
    let check = std::sync::Arc::make_mut(&mut snapshot.checks[0]);
    assert_eq!(check.id.kind, CheckKind::Unit);
    check.conditions.push(ConditionView {
        kind: AlertKind::CrashLoop,
        severity: Severity::Warning,
        reason: Reason::CrashLoop,
        summary: "restarted 6 times within 10 min".into(),
    });
    let found = values(&snapshot, "keepwell_check_condition_severity");
    let of = |condition: &str| {
        found[&format!("check=unit:nginx.service,kind=unit,condition={condition}")]
    };
    assert_eq!((of("state"), of("crash-loop")), (0.0, 2.0));
}

#[test]
fn exactly_one_state_of_a_unit_is_the_one_that_it_is_in() {
    use crate::engine::observation::ActiveState::*;
    for state in [Active, Reloading, Inactive, Failed, Activating, Deactivating, Maintenance] {
        let mut snapshot = sample::healthy();
        let check = std::sync::Arc::make_mut(&mut snapshot.checks[0]);
        check.unit.as_mut().unwrap().seen.active = state;
        let states = values(&snapshot, "keepwell_unit_state");
        let set: Vec<&String> = states.iter().filter(|(_, v)| **v == 1.0).map(|(k, _)| k).collect();
        assert_eq!(set, [&format!("name=nginx.service,state={}", state.as_str())]);
        assert_eq!(states.values().sum::<f64>(), 1.0);
    }
}

#[test]
fn what_keepwell_is_about_with_a_unit_is_one_word() {
    let phase = |change: &dyn Fn(&mut Snapshot)| {
        let mut snapshot = sample::failing();
        change(&mut snapshot);
        let all = values(&snapshot, "keepwell_unit_healing");
        let mut of: Vec<&str> =
            all.keys().filter_map(|k| k.strip_prefix("name=nginx.service,phase=")).collect();
        assert!(of.len() < 2, "{of:?}");
        of.pop().unwrap_or("none").to_owned()
    };
    fn unit(snapshot: &mut Snapshot) -> &mut crate::engine::view::UnitView {
        let nginx = snapshot.checks.iter_mut().find(|c| &*c.id.name == "nginx.service").unwrap();
        std::sync::Arc::make_mut(nginx).unit.as_mut().unwrap()
    }
    let hold = |unit: Option<&str>| Hold {
        unit: unit.map(Into::into),
        until: sample::ago(-60),
        actor: Actor("root".into()),
        why: None,
    };
    assert_eq!(phase(&|_| {}), "waiting");
    assert_eq!(phase(&|s| unit(s).next_attempt = None), "idle");
    assert_eq!(phase(&|s| unit(s).restarting = true), "restarting");
    assert_eq!(phase(&|s| unit(s).restart = false), "none");
    assert_eq!(
        phase(&|s| {
            unit(s).gave_up = true;
            unit(s).next_attempt = None;
        }),
        "gave-up"
    );
    assert_eq!(phase(&|s| s.holds.push(hold(Some("nginx.service")))), "held");
    assert_eq!(phase(&|s| s.holds.push(hold(None))), "held");
    assert_eq!(phase(&|s| s.holds.push(hold(Some("other.service")))), "waiting");
}

#[test]
fn a_start_time_is_that_of_a_unit_that_is_up() {
    let times = values(&sample::failing(), "keepwell_unit_start_time_seconds");
    assert_eq!(
        times.into_iter().collect::<Vec<_>>(),
        [("name=web@2.service".into(), 1_769_843_717.5)]
    );
    let causes = values(&sample::failing(), "keepwell_unit_cause");
    assert_eq!(
        causes.into_keys().collect::<Vec<_>>(),
        ["name=nginx.service,cause=exit-code", "name=web@2.service,cause=running"]
    );
}

#[test]
fn of_several_that_measure_the_same_without_a_label_one_has_a_series() {
    let mut snapshot = sample::healthy();
    for name in ["process", "other"] {
        let mut check = sample::check(CheckKind::Agent, name, Severity::Healthy, Reason::Works, "");
        check.values = vec![crate::engine::view::Value { name: "open_fds", value: 7.0 }];
        snapshot.checks.push(std::sync::Arc::new(check));
    }
    let found = values(&snapshot, "keepwell_agent_open_fds");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [(String::new(), 7.0)]);
}

#[test]
fn a_container_has_what_is_known_of_it_and_no_more() {
    let snapshot = sample::containers();
    let of = |name: &str| {
        values(&snapshot, name).into_iter().map(|(k, v)| format!("{k} {v}")).collect::<Vec<_>>()
    };
    assert_eq!(
        of("keepwell_container_up"),
        ["name=flaky 0", "name=job 0", "name=podman/cache 1", "name=shop-db-1 1", "name=web 1"]
    );
    assert_eq!(of("keepwell_container_healthy"), ["name=shop-db-1 0", "name=web 1"]);
    assert_eq!(of("keepwell_container_exit_code"), ["name=flaky 1", "name=job 137"]);
    assert_eq!(
        of("keepwell_container_memory_used_ratio"),
        ["name=podman/cache 0.125", "name=shop-db-1 0.0078125", "name=web 0.25"]
    );
    assert_eq!(
        of("keepwell_container_memory_limit_bytes"),
        ["name=job 67108864", "name=web 536870912"]
    );
    assert_eq!(
        of("keepwell_container_healing"),
        ["name=shop-db-1,phase=waiting 1", "name=web,phase=held 1"]
    );
    assert!(of("keepwell_container_info").contains(
        &"name=shop-db-1,engine=docker,image=postgres:16,project=shop,service=db 1".to_owned()
    ));
    assert_eq!(
        of("keepwell_hook_queued"),
        ["hook=billing,type=billing 3", "hook=discovery,type=discovery 0"]
    );
    // No id is a label of anything: each new container would be a series of its own.
    let text = super::render(&snapshot, "0.1.0", super::Format::Prometheus);
    assert!(!String::from_utf8(text).unwrap().contains("0123456789abcdef"));
}
