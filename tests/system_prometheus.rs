//! Prometheus as Debian 13 has it scrapes keepwell on a real systemd, with the files of
//! `packaging/prometheus`: all of it is taken in, and the rules find what there is to find.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "support/prometheus.rs"]
mod prometheus;
#[path = "support/scene.rs"]
mod scene;
#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;

use prometheus::{Prometheus, shipped};
use scene::{LONG, sleeper, watch};
use serde_json::Value;
use support::*;

/// How many scrapes, one every 2 s, must all succeed: a minute of them. A scrape may take as long as
/// the interval, and the machine may be busy.
const SCRAPES: f64 = 31.0;
/// What Prometheus adds to each scrape: `up` and four of the name `scrape_…`.
const ADDED: f64 = 5.0;

/// What keepwell serves to one that asks for the text format, and for nothing else.
const TEXT: &str = "Accept: text/plain;version=0.0.4";

/// The shipped configuration, but with shorter intervals than 15 s.
#[track_caller]
fn quick_config() -> String {
    let config = shipped("prometheus.yml");
    let quick = config
        .replace("scrape_interval: 15s", "scrape_interval: 2s")
        .replace("evaluation_interval: 15s", "evaluation_interval: 1s");
    let changed = config.lines().zip(quick.lines()).filter(|(a, b)| a != b).count();
    assert_eq!(changed, 2, "the intervals in the shipped configuration are others now");
    quick
}

/// A service that dies at once and is started again at once, for as long as it is let.
fn looper(c: &Container) {
    c.unit(
        "looper.service",
        "[Unit]\nStartLimitIntervalSec=0\n\n[Service]\nExecStart=/bin/sh -c 'sleep 0.1; exit 3'\n\
         Restart=always\nRestartSec=200ms\n",
    );
}

fn install(c: &Container) {
    looper(c);
    c.unit("steady.service", &sleeper(""));
    c.systemctl(&["start", "steady"]);
    c.install_keepwell(
        "[[unit]]\nname = \"looper\"\n\n[[unit]]\nname = \"steady\"\n",
        User::Keepwell,
    );
    c.start_keepwell();
}

/// Waits until a job's only target is scraped.
#[track_caller]
fn scraped(prometheus: &Prometheus<'_>, job: &str) {
    watch(
        LONG,
        &format!("{job} is scraped"),
        || prometheus.targets(),
        |targets| {
            let this = targets.iter().find(|t| t["labels"]["job"] == job)?;
            assert_ne!(this["health"], "down", "{this:#}");
            (this["health"] == "up").then_some(())
        },
    );
}

/// Asserts that promtool has nothing to say of what keepwell serves now.
#[track_caller]
fn promtool_is_content(c: &Container) {
    let served = c.get("/metrics", &[TEXT]);
    assert!(served.head.contains("text/plain; version=0.0.4"), "{}", served.head);
    assert!(served.body.contains("keepwell_unit_state{"), "{}", served.body);
    let said = c.promtool(&["check", "metrics"], &served.body);
    assert_eq!((said.code, said.stdout.trim(), said.stderr.trim()), (0, "", ""));
}

#[test]
fn promtool_accepts_what_is_shipped_and_what_is_served() {
    let Some(c) = prometheus::boot() else { return };
    c.install_prometheus_files();
    for args in [
        &["check", "config", "--lint=all", "--lint-fatal", "prometheus.yml"][..],
        &["check", "rules", "--lint=all", "--lint-fatal", "keepwell.rules.yml"],
    ] {
        let said = c.promtool(args, "");
        assert!(said.ok(), "promtool {args:?}: {}{}", said.stdout, said.stderr);
        assert!(said.stdout.contains("SUCCESS"), "{}", said.stdout);
    }
    // promtool would say so if anything were wrong.
    let wrong = c.promtool(&["check", "metrics"], "# TYPE oddMetric counter\noddMetric 1\n");
    assert!(!wrong.ok() && wrong.stderr.contains("oddMetric"), "{wrong:?}");

    install(&c);
    promtool_is_content(&c);
    c.systemctl(&["start", "looper"]);
    watch(
        LONG,
        "the crash loop is known",
        || c.look_at("unit:looper.service"),
        |check| (check["unit"]["restarts_in_window"].as_u64()? > 5).then_some(()),
    );
    promtool_is_content(&c);
}

#[test]
fn a_minute_of_scrapes_brings_all_and_a_crash_loop_fires() {
    let Some(c) = prometheus::boot() else { return };
    install(&c);
    let prometheus = c.prometheus(&quick_config());
    scraped(&prometheus, "keepwell");

    let rules = watch(
        LONG,
        "all rules have been evaluated",
        || prometheus.rules(),
        |rules| {
            let done = !rules.is_empty() && rules.iter().all(|rule| rule["health"] != "unknown");
            done.then(|| rules.clone())
        },
    );
    let names: BTreeSet<&str> = rules.iter().filter_map(|rule| rule["name"].as_str()).collect();
    assert!(names.contains("KeepwellCrashLoop") && names.contains("KeepwellDown"), "{names:?}");
    let shipped = shipped("keepwell.rules.yml");
    let shipped = shipped.lines().map(|line| line.trim_start().trim_start_matches("- "));
    let shipped = shipped.filter(|l| l.starts_with("alert:") || l.starts_with("record:")).count();
    assert_eq!(rules.len(), shipped, "{names:?}");
    for name in ["KeepwellCrashLoop", "KeepwellDown"] {
        assert_eq!(prometheus.alerts(name), [Value::Null; 0], "{name} without a reason");
    }

    c.systemctl(&["start", "looper"]);
    let firing = watch(
        LONG,
        "KeepwellCrashLoop fires",
        || prometheus.alerts("KeepwellCrashLoop"),
        |all| (all.first()?["state"] == "firing").then(|| all.clone()),
    );
    assert_eq!(firing.len(), 1, "{firing:#?}");
    assert!(firing[0]["labels"].to_string().contains("looper.service"), "{firing:#?}");
    assert!(
        firing[0]["annotations"]["summary"].as_str().unwrap().contains("looper.service"),
        "{firing:#?}"
    );

    let ups = "count_over_time(up{job=\"keepwell\"}[10m])";
    watch(
        LONG * 2,
        "a minute of scrapes",
        || prometheus.value(ups),
        |scrapes| (scrapes.unwrap_or(0.0) >= SCRAPES).then_some(()),
    );
    every_scrape_was_taken_in(&prometheus);
    series_are_bounded(&c, &prometheus);

    // Each unit is in one state at each moment, and the names tell which.
    prometheus.all_are("sum by (name) (keepwell_unit_state)", 1.0);
    prometheus.all_are("min_over_time(sum by (name) (keepwell_unit_state)[30s:1s])", 1.0);
    prometheus.all_are("max_over_time(sum by (name) (keepwell_unit_state)[30s:1s])", 1.0);
    prometheus.all_are(
        "min_over_time(keepwell_unit_state{name=\"steady.service\",state=\"active\"}[30s])",
        1.0,
    );
    let restarts = "keepwell_unit_restarts_total{name=\"looper.service\"}";
    assert!(prometheus.value(&format!("rate({restarts}[30s])")).unwrap() > 0.1);
    prometheus.all_are("rate(keepwell_unit_restarts_total{name=\"steady.service\"}[30s])", 0.0);

    // Counted as the journal tells it, and told to Prometheus.
    c.systemctl(&["stop", "looper"]);
    c.counts_agree("looper", "the crash loop");
    let counted = c.counted("looper")["looper.service"].restarts as f64;
    scene::equals(LONG, "Prometheus has the last count", &Some(counted), || {
        prometheus.value(restarts)
    });

    // Nobody answers: no scrape brings anything, and the rule takes note.
    c.systemctl(&["stop", "keepwell"]);
    watch(
        LONG,
        "KeepwellDown waits for its time",
        || prometheus.alerts("KeepwellDown"),
        |all| (all.first()?["state"] == "pending").then_some(()),
    );
    prometheus.all_are("up{job=\"keepwell\"}", 0.0);
}

#[track_caller]
fn every_scrape_was_taken_in(prometheus: &Prometheus<'_>) {
    prometheus.all_are("min_over_time(up{job=\"keepwell\"}[10m])", 1.0);
    for target in prometheus.targets() {
        assert_eq!(target["lastError"], "", "{target:#}");
    }
    prometheus.all_are(
        "max_over_time((scrape_samples_scraped - scrape_samples_post_metric_relabeling)[1m:1s])",
        0.0,
    );
    for dropped in [
        "prometheus_target_scrapes_sample_duplicate_timestamp_total",
        "prometheus_target_scrapes_sample_out_of_order_total",
        "prometheus_target_scrapes_sample_out_of_bounds_total",
        "prometheus_target_scrapes_exceeded_sample_limit_total",
        "prometheus_target_scrapes_exceeded_body_size_limit_total",
        "prometheus_rule_evaluation_failures_total",
    ] {
        assert_eq!(prometheus.own(dropped), 0.0, "{dropped}");
    }
    for rule in prometheus.rules() {
        assert_eq!((&rule["health"], &rule["lastError"]), (&"ok".into(), &Value::Null), "{rule:#}");
    }
    assert_eq!(prometheus.complaints(), [""; 0]);

    // It asked as it always does, and that brought OpenMetrics: only there an info is of that type.
    let types = prometheus.types("keepwell");
    let of = |name: &str| types.get(name).map(String::as_str);
    assert_eq!(of("keepwell_build"), Some("info"), "{types:?}");
    assert_eq!(of("keepwell_unit_state"), Some("gauge"), "{types:?}");
    assert_eq!(of("keepwell_unit_restarts"), Some("counter"), "{types:?}");
    assert!(!types.values().any(|kind| kind == "unknown"), "{types:?}");
}

/// How many series there are at most, by `docs/metrics.md`.
#[track_caller]
fn documented(what: &str) -> f64 {
    let text = std::fs::read_to_string(support::keepwell::repository("docs/metrics.md")).unwrap();
    let row = text.lines().find_map(|line| line.strip_prefix(&format!("| {what} | ")));
    let row = row.unwrap_or_else(|| panic!("docs/metrics.md does not say how many for {what}"));
    row.trim_end_matches(['|', ' ']).parse().unwrap()
}

/// There are as many series as keepwell serves samples, and a crash loop makes none: no label holds
/// what differs from run to run.
#[track_caller]
fn series_are_bounded(c: &Container, prometheus: &Prometheus<'_>) {
    // What rules make of it has the labels of the job as well.
    let all = "{job=\"keepwell\", __name__!~\"ALERTS.*|.*:.*\"}";
    let served = || {
        let text = c.get("/metrics", &[TEXT]).body;
        text.lines().filter(|line| !line.starts_with('#')).count() as f64
    };
    let counted = || {
        [
            prometheus.value("scrape_samples_scraped{job=\"keepwell\"}").unwrap_or(-1.0),
            prometheus.value(&format!("count({all})")).unwrap_or(-1.0) - ADDED,
            served(),
        ]
    };
    let now = watch(LONG, "samples taken in, series, samples served are as many", counted, |n| {
        (n[0] > 0.0 && n[0] == n[1] && n[1] == n[2]).then_some(n[0])
    });
    for (what, query, added) in [
        ("a unit", "max(count by (name) ({name=~\".+[.]service\"}))", 0.0),
        ("a check", "max(count by (check) ({check!=\"\", condition=\"\"}))", 0.0),
        ("a condition", "max(count by (check, condition) ({condition!=\"\"}))", 0.0),
        ("a file system", "max(count by (mount) ({mount!=\"\"}))", 0.0),
        ("a resource", "max(count by (resource) ({resource!=\"\"}))", 0.0),
        (
            "the host and keepwell itself",
            "count({name=\"\", check=\"\", mount=\"\", resource=\"\"})",
            ADDED,
        ),
    ] {
        let query = query.replace("({", "({job=\"keepwell\", __name__!~\"ALERTS.*|.*:.*\", ");
        // What this machine does not have, no pressure say, has no series.
        let series = prometheus.value(&query).map_or(0.0, |series| series - added);
        assert!(series <= documented(what), "{what} has {series} series, not what docs say");
        assert!(series > 0.0 || what == "a resource", "{query} gives nothing");
    }
    let ever = prometheus.value(&format!("count(last_over_time({all}[10m]))")).unwrap_or(f64::NAN);
    let restarts = prometheus.value("sum(keepwell_unit_restarts_total)").unwrap_or(0.0);
    assert!(restarts > 20.0, "{restarts} restarts are not enough to tell");
    assert!(ever - ADDED - now < 10.0, "{ever} series of {now} samples, {restarts} restarts");
}

#[test]
fn both_text_formats_bring_the_same_series() {
    let Some(c) = prometheus::boot() else { return };
    install(&c);
    // Only the first job is what is shipped; the second one knows the older format only.
    let config = format!(
        "{}\n  - job_name: text\n    scrape_protocols: [PrometheusText0.0.4]\n    \
         static_configs:\n      - targets: [\"127.0.0.1:8080\"]\n",
        quick_config()
    );
    let prometheus = c.prometheus(&config);
    for job in ["keepwell", "text"] {
        scraped(&prometheus, job);
    }
    let types = prometheus.types("text");
    assert_eq!(types.get("keepwell_build_info").map(String::as_str), Some("gauge"), "{types:?}");

    let series = |job: &str| -> BTreeSet<String> {
        let all = prometheus.query(&format!("{{job=\"{job}\", __name__=~\"keepwell_.+\"}}"));
        let name = |mut labels: Value| {
            labels.as_object_mut().unwrap().remove("job");
            labels.to_string()
        };
        all.into_iter().map(|(labels, _)| name(labels)).collect()
    };
    watch(
        LONG,
        "both jobs have the same series",
        || (series("keepwell"), series("text")),
        |(a, b)| (!a.is_empty() && a == b).then_some(()),
    );
    let state = "keepwell_unit_state{job=\"text\", name=\"steady.service\"}";
    scene::equals(LONG, "both formats tell of the same state", &vec!["active".to_owned()], || {
        let both = format!("{state} * ignoring (job) keepwell_unit_state{{job=\"keepwell\"}} == 1");
        let all = prometheus.query(&both);
        all.iter().filter_map(|(l, _)| l["state"].as_str().map(str::to_owned)).collect()
    });
    assert_eq!(prometheus.complaints(), [""; 0]);
}
