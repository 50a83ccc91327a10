//! What is measured of which snapshot, in both temporalities.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, Metric};
use opentelemetry_sdk::metrics::Temporality;
use prost::Message;

use super::super::instruments::{Instruments, document};
use super::fixture::{channel, check, full, later, of, unit};
use crate::engine::{CheckKind, Severity, Snapshot};

const BOTH: [Temporality; 2] = [Temporality::Cumulative, Temporality::Delta];

/// Instruments as the exporter has them after its start.
fn started(temporality: Temporality, snapshot: Snapshot) -> Instruments {
    let mut instruments = Instruments::new(temporality, false);
    let metrics = instruments.collect(Arc::new(snapshot)).unwrap();
    drop(metrics);
    instruments
}

fn metrics(instruments: &mut Instruments, snapshot: Snapshot) -> Vec<Metric> {
    let found = instruments.collect(Arc::new(snapshot)).unwrap();
    let request = ExportMetricsServiceRequest::from(&found);
    let scopes = request.resource_metrics.into_iter().flat_map(|r| r.scope_metrics);
    scopes.flat_map(|scope| scope.metrics).collect()
}

/// `name{value of attribute,…}` and the value of every number.
fn collect(instruments: &mut Instruments, snapshot: Snapshot) -> BTreeMap<String, f64> {
    let mut all = BTreeMap::new();
    for metric in metrics(instruments, snapshot) {
        let points = match metric.data.unwrap() {
            Data::Gauge(gauge) => gauge.data_points,
            Data::Sum(sum) => sum.data_points,
            Data::Histogram(_) | Data::ExponentialHistogram(_) | Data::Summary(_) => continue,
        };
        for point in points {
            let values: Vec<String> = point
                .attributes
                .iter()
                .map(|a| match a.value.as_ref().and_then(|v| v.value.clone()) {
                    Some(Value::StringValue(text)) => text,
                    other => format!("{}={other:?}", a.key),
                })
                .collect();
            let value = match point.value.unwrap() {
                Number::AsInt(n) => n as f64,
                Number::AsDouble(x) => x,
            };
            let name = format!("{}{{{}}}", metric.name, values.join(","));
            assert_eq!(all.insert(name.clone(), value), None, "{name} twice");
        }
    }
    all
}

const NGINX: &str = "systemd.service.restarts{nginx.service}";

#[test]
fn counters_tell_what_was_added_since_the_start() {
    for temporality in BOTH {
        let mut instruments = started(temporality, full());
        let found = collect(&mut instruments, later());
        assert_eq!(found[NGINX], 2.0, "{temporality:?}: of 5 in all");
        assert_eq!(found["keepwell.channel.delivered{ops,slack}"], 1.0);
        assert_eq!(found["process.cpu.time{}"], 0.25);
        assert_eq!(found["health.crash_count{nginx.service}"], 6.0, "a gauge tells all");
        let mut again = later();
        again.generation += 1;
        let then = collect(&mut instruments, again)[NGINX];
        assert_eq!(then, if temporality == Temporality::Delta { 0.0 } else { 2.0 });
    }
}

#[test]
fn a_file_system_of_which_half_is_known_lends_nothing_to_another() {
    let disk = |name, values: &[(&'static str, f64)]| {
        check(CheckKind::Disk, name, Severity::Healthy, values)
    };
    let checks = vec![
        disk("/", &[("size_bytes", 100.0)]),
        disk("/var", &[("size_bytes", 80.0), ("available_bytes", 60.0)]),
    ];
    let found = collect(&mut started(Temporality::Cumulative, of(1, vec![])), of(2, checks));
    assert_eq!(found["system.filesystem.usage{/var,used}"], 20.0);
    assert!(!found.keys().any(|name| name.starts_with("system.filesystem.usage{/,")), "{found:?}");
}

#[test]
fn what_a_unit_did_before_it_was_watched_is_no_jump() {
    for temporality in BOTH {
        let mut instruments = started(temporality, of(1, vec![]));
        let found = collect(&mut instruments, of(2, vec![unit("nginx.service", true, 40, 30)]));
        assert_eq!(found[NGINX], 0.0, "{temporality:?}");
        assert_eq!(found["health.crash_count{nginx.service}"], 40.0);
        let found = collect(&mut instruments, of(3, vec![unit("nginx.service", true, 41, 31)]));
        assert_eq!(found[NGINX], 1.0);
    }
}

#[test]
fn counting_begins_with_the_first_collection_that_has_a_unit() {
    for temporality in BOTH {
        let mut instruments = started(temporality, of(1, vec![]));
        let found = collect(&mut instruments, of(2, vec![unit("nginx.service", false, 1, 1)]));
        assert_eq!(found[NGINX], 0.0, "{temporality:?}");
        // What passes between two collections is not looked at, and not lost.
        instruments.saw(&of(3, vec![unit("nginx.service", true, 2, 2)]));
        let found = collect(&mut instruments, of(4, vec![unit("nginx.service", true, 3, 3)]));
        assert_eq!(found[NGINX], 2.0, "{temporality:?}");
        // keepwell itself has counted these: they began at 0.
        let mut sent = of(5, vec![]);
        sent.channels = vec![channel("new", 1, None)];
        assert_eq!(collect(&mut instruments, sent)["keepwell.channel.delivered{new,slack}"], 1.0);
    }
}

#[test]
fn what_is_gone_is_not_told_any_more_and_may_come_back() {
    for temporality in BOTH {
        let mut instruments = started(temporality, full());
        let found = collect(&mut instruments, later());
        let of_nginx = |all: &BTreeMap<String, f64>| {
            all.keys().filter(|name| name.contains("nginx.service")).count()
        };
        assert_eq!(of_nginx(&found), 12, "{found:#?}");
        let mut without = later();
        without.generation += 1;
        without.checks.retain(|check| {
            let name = &*check.id.name;
            name != "nginx.service" && name != "/var" && name != "/run/job/beat"
        });
        without.channels.remove(0);
        without.exports.clear();
        let found = collect(&mut instruments, without);
        let gone = ["nginx.service", "/var", "/run/job/beat", "{ops", "keepwell.export."];
        for (name, value) in &found {
            assert!(!gone.iter().any(|gone| name.contains(gone)), "{temporality:?} {name} {value}");
        }
        assert!(found.contains_key("health.disk_usage{/}"));
        // Back again, with one restart more: the series begins anew, and nothing is told twice.
        let mut back = later();
        back.generation += 2;
        let at = back.checks.iter().position(|c| &*c.id.name == "nginx.service").unwrap();
        back.checks[at] = Arc::new(unit("nginx.service", true, 7, 6));
        assert_eq!(collect(&mut instruments, back)[NGINX], 1.0, "{temporality:?}");
    }
}

#[test]
fn a_count_that_begins_anew_does_not_fall() {
    for temporality in BOTH {
        let mut instruments = started(temporality, of(1, vec![unit("nginx.service", true, 9, 9)]));
        let found = collect(&mut instruments, of(2, vec![unit("nginx.service", true, 1, 1)]));
        assert_eq!(found[NGINX], 1.0, "{temporality:?}");
    }
}

#[test]
fn only_numbers_are_told() {
    let disk =
        |name, value| check(CheckKind::Disk, name, Severity::Healthy, &[("used_ratio", value)]);
    let own = |value| {
        let values = [("resident_memory_bytes", value), ("cpu_seconds_total", value)];
        check(CheckKind::Agent, "process", Severity::Healthy, &values)
    };
    for temporality in BOTH {
        let mut instruments = started(temporality, of(1, vec![own(1.0)]));
        let odd = vec![
            disk("/a", f64::NAN),
            disk("/b", f64::INFINITY),
            disk("/c", 0.5),
            own(f64::NEG_INFINITY),
        ];
        let found = collect(&mut instruments, of(2, odd));
        let disks: Vec<&String> = found.keys().filter(|name| name.contains("{/")).collect();
        assert_eq!(disks.len(), 2, "{disks:?}");
        assert!(disks.iter().all(|name| name.contains("/c")), "{disks:?}");
        assert!(!found.contains_key("process.memory.usage{}"), "{found:?}");
        assert_eq!(collect(&mut instruments, of(3, vec![own(4.0)]))["process.cpu.time{}"], 3.0);
    }
}

#[test]
fn more_series_than_there_may_be_become_one() {
    let units = (0..2_100).map(|i| unit(&format!("w{i}.service"), true, 0, 0)).collect();
    let mut instruments = Instruments::new(Temporality::Cumulative, false);
    let found = collect(&mut instruments, of(1, units));
    let of = |name: &str| found.keys().filter(|key| key.starts_with(name)).count();
    assert_eq!(of("health.crash_count{"), 2_001);
    assert_eq!(of("systemd.unit.state{"), 14_001);
    assert!(found.contains_key("health.crash_count{otel.metric.overflow=Some(BoolValue(true))}"));
}

#[test]
fn what_has_no_series_of_its_own_is_added_up() {
    let units = |more: u64, names: std::ops::Range<u64>| {
        names.map(|i| unit(&format!("w{i}.service"), true, 0, more + i % 7)).collect::<Vec<_>>()
    };
    let restarts = |found: &BTreeMap<String, f64>| {
        let of = |over: bool| {
            let all = found.iter().filter(|(key, _)| {
                key.starts_with("systemd.service.restarts{") && key.contains("overflow") == over
            });
            all.fold((0, 0.0), |(n, sum), (_, value)| (n + 1, sum + value))
        };
        (of(false), of(true))
    };
    let mut instruments = Instruments::new(Temporality::Delta, false);
    let mut next = |generation, units| restarts(&collect(&mut instruments, of(generation, units)));
    assert_eq!(next(1, units(0, 0..2_100)), ((2_000, 0.0), (1, 0.0)));
    assert_eq!(next(2, units(3, 0..2_100)), ((2_000, 6_000.0), (1, 300.0)));
    assert_eq!(next(3, units(3, 0..2_100)), ((2_000, 0.0), (1, 0.0)));
    // Some go, and none of what is left begins anew.
    let ((own, sum), over) = next(4, units(4, 50..2_100));
    assert_eq!(sum + over.1, 2_050.0);
    assert!((1_950..=2_000).contains(&own) && over.0 == 1);
}

/// The counts of the buckets of the only series, and its sum.
fn latencies(instruments: &mut Instruments, snapshot: Snapshot) -> Option<(Vec<u64>, f64)> {
    let mut all = metrics(instruments, snapshot).into_iter();
    let found = all.find(|metric| metric.name == "keepwell.channel.latency")?;
    match found.data.unwrap() {
        Data::Histogram(histogram) => {
            let [point] = &histogram.data_points[..] else { panic!("{histogram:?}") };
            Some((point.bucket_counts.clone(), point.sum.unwrap()))
        }
        Data::ExponentialHistogram(histogram) => {
            let [point] = &histogram.data_points[..] else { panic!("{histogram:?}") };
            assert_eq!(histogram.aggregation_temporality, AggregationTemporality::Delta as i32);
            Some((vec![point.count], point.sum.unwrap()))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn latency_is_recorded_once_for_each_message() {
    let with = |generation, sent, took| {
        let mut snapshot = of(generation, vec![]);
        snapshot.channels = vec![channel("ops", sent, took)];
        snapshot
    };
    let mut instruments = Instruments::new(Temporality::Cumulative, false);
    // What was sent before this exporter began is not its affair.
    assert_eq!(latencies(&mut instruments, with(1, 5, Some(9_000_000))), None);
    instruments.saw(&with(2, 6, Some(80_000)));
    instruments.saw(&with(3, 6, Some(80_000)));
    let mut buckets = vec![0; 16];
    buckets[1] = 1;
    assert_eq!(latencies(&mut instruments, with(4, 6, None)), Some((buckets.clone(), 0.08)));
    buckets[15] = 1;
    let hours = Some(7_200_000_000);
    assert_eq!(latencies(&mut instruments, with(5, 7, hours)), Some((buckets, 7_200.08)));

    let mut instruments = Instruments::new(Temporality::Delta, true);
    assert_eq!(latencies(&mut instruments, with(1, 5, None)), None);
    assert_eq!(latencies(&mut instruments, with(2, 6, Some(500_000))), Some((vec![1], 0.5)));
    assert_eq!(latencies(&mut instruments, with(3, 6, Some(500_000))), None, "nothing new");
}

#[test]
fn each_entry_of_the_list_is_told_with_the_attributes_it_names() {
    let table = document();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let names: BTreeSet<&str> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(names.len(), rows.len(), "a name is listed twice");
    let mut instruments = started(Temporality::Cumulative, full());
    let found = metrics(&mut instruments, later());
    let told: BTreeSet<&str> = found.iter().map(|metric| &*metric.name).collect();
    assert_eq!(told, names);
    for metric in &found {
        let row = rows.iter().find(|row| row[0].trim_matches('`') == metric.name).unwrap();
        assert_eq!(row[2].trim_matches('`'), metric.unit, "{}", metric.name);
        assert!(metric.description.ends_with('.'), "{}", metric.name);
        assert!(!metric.description.contains('|'), "{}", metric.name);
        let attributes: Vec<Vec<&str>> = match metric.data.as_ref().unwrap() {
            Data::Gauge(gauge) => gauge.data_points.iter().map(|p| keys(&p.attributes)).collect(),
            Data::Sum(sum) => sum.data_points.iter().map(|p| keys(&p.attributes)).collect(),
            Data::Histogram(h) => h.data_points.iter().map(|p| keys(&p.attributes)).collect(),
            other => panic!("{other:?}"),
        };
        for found in attributes {
            // The SDK remembers a series once instead of twice when they are in order.
            assert!(found.is_sorted(), "{}: {found:?}", metric.name);
            let found: Vec<String> = found.iter().map(|key| format!("`{key}`")).collect();
            assert_eq!(found.join(", "), row[3], "{}", metric.name);
        }
    }
}

fn keys(attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue]) -> Vec<&str> {
    attributes.iter().map(|a| &*a.key).collect()
}

/// How long it takes is printed for those who want to know: `--nocapture`.
#[test]
fn a_thousand_units_fit_into_one_batch() {
    let units: Vec<_> = (0..1_000)
        .map(|i| unit(&format!("worker-{i:04}@instance.service"), i % 3 > 0, i, i / 2))
        .collect();
    let mut instruments = Instruments::new(Temporality::Cumulative, false);
    let mut body = Vec::new();
    let start = tokio::time::Instant::now();
    for generation in 0..5 {
        let snapshot = Arc::new(of(generation, units.clone()));
        let begin = tokio::time::Instant::now();
        instruments.saw(&snapshot);
        let saw = begin.elapsed();
        let found = instruments.collect(snapshot).unwrap();
        let collected = begin.elapsed();
        let request = ExportMetricsServiceRequest::from(&found);
        let converted = begin.elapsed();
        body = request.encode_to_vec();
        let encoded = begin.elapsed();
        println!(
            "saw {saw:?}, collected {collected:?}, converted {converted:?}, encoded {encoded:?}, \
             {} bytes",
            body.len()
        );
    }
    println!("five times in {:?}", start.elapsed());
    assert!(body.len() < 2_000_000, "{}", body.len());
}
