//! What is shipped for Prometheus and Grafana, and the list of metrics in the documentation, speak
//! of metrics and labels that there are.

// A test may end where it stands; clippy's own allowance does not reach helper functions.
#![allow(clippy::unwrap_used)]

#[path = "telemetry_assets/promql.rs"]
mod promql;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use keepwell::surfaces::metrics;
use serde_json::Value;

use promql::look;

const RULES: &str = "packaging/prometheus/keepwell.rules.yml";
const DASHBOARD: &str = "packaging/grafana/keepwell.json";

fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

fn read(relative: &str) -> String {
    fs::read_to_string(path(relative)).unwrap()
}

/// The parts of `docs/metrics.md`, one for each way out that has a list of its own.
const DOCUMENT: &[fn() -> String] = &[metrics::document, keepwell::telemetry::document];

#[test]
fn the_document_of_metrics_is_what_the_code_says() {
    let wanted: Vec<String> = DOCUMENT.iter().map(|part| part()).collect();
    let wanted = wanted.join("\n");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path("docs/metrics.md"), &wanted).unwrap();
    }
    let there = fs::read_to_string(path("docs/metrics.md")).unwrap_or_default();
    assert!(
        there == wanted,
        "docs/metrics.md differs from the lists in the code; write it anew with:\n  \
         UPDATE_GOLDEN=1 cargo test --test telemetry_assets"
    );
}

/// A rule of the file: what it is called, its expression, and all of its text.
struct Rule {
    name: String,
    is_record: bool,
    expr: String,
    text: String,
}

/// Reads the rules as they are laid out in our file.
fn rules(text: &str) -> Vec<Rule> {
    let text: Vec<&str> = text.lines().filter(|l| !l.trim_start().starts_with('#')).collect();
    let starts = |line: &str| {
        let line = line.trim_start();
        line.starts_with("- alert: ")
            || line.starts_with("- record: ")
            || line.starts_with("- name")
    };
    let mut all = Vec::new();
    for block in text.chunk_by(|_, next| !starts(next)) {
        let Some((kind, name)) = block[0].trim_start().split_once(": ") else { continue };
        if kind == "- name" {
            continue;
        }
        let at = block.iter().position(|l| l.trim_start().starts_with("expr: ")).unwrap();
        let indent = |line: &str| line.len() - line.trim_start().len();
        let first = block[at].trim_start().trim_start_matches("expr: ");
        let mut expr = if first == "|" { String::new() } else { first.to_owned() };
        for line in block[at + 1..].iter().take_while(|l| indent(l) > indent(block[at])) {
            expr.push(' ');
            expr.push_str(line.trim());
        }
        let is_record = kind == "- record";
        all.push(Rule { name: name.to_owned(), is_record, expr, text: block.join("\n") });
    }
    all
}

fn records(rules: &[Rule]) -> BTreeSet<String> {
    rules.iter().filter(|r| r.is_record).map(|r| r.name.clone()).collect()
}

/// The words that follow `before`, wherever it stands.
fn words_behind<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(before).skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

fn faults_of_rules(text: &str) -> Vec<String> {
    let rules = rules(text);
    let records = records(&rules);
    let mut faults = Vec::new();
    for rule in &rules {
        let found = look(&rule.expr, &records);
        faults.extend(found.faults.iter().map(|f| format!("{}: {f}", rule.name)));
        for label in words_behind(&rule.text, "$labels.") {
            if !found.labels.contains(label) {
                faults.push(format!("{}: its text has the label {label}", rule.name));
            }
        }
        for name in words_behind(&rule.text, "keepwell_").map(|rest| format!("keepwell_{rest}")) {
            let in_record = records.iter().any(|r| r.contains(&name));
            if !in_record && !metrics::known().any(|e| e.name == name) {
                faults.push(format!("{}: its text has the metric {name}", rule.name));
            }
        }
    }
    faults
}

#[test]
fn the_rules_speak_of_metrics_and_labels_that_there_are() {
    let text = read(RULES);
    let rules = rules(&text);
    assert_eq!(rules.len(), text.matches(" expr: ").count());
    assert!(rules.len() > 20 && rules.iter().any(|r| r.name == "KeepwellCrashLoop"));
    let names: BTreeSet<&str> = rules.iter().map(|r| &*r.name).collect();
    assert_eq!(names.len(), rules.len(), "one name is there twice");
    assert_eq!(faults_of_rules(&text), [""; 0]);
}

/// Every alert is fired by a test of the rules.
#[test]
fn each_rule_is_tested() {
    let tests = read("tests/prometheus/keepwell.rules.test.yml")
        + &read("tests/prometheus/keepwell-hours.rules.test.yml");
    for rule in rules(&read(RULES)).iter().filter(|r| !r.is_record) {
        let fired = tests.contains(&format!("alertname=\"{}\"", rule.name))
            || tests.contains(&format!("alertname: {}\n", rule.name));
        assert!(fired, "{} is not tested", rule.name);
    }
}

/// Every object in a document, with its path.
fn objects<'a>(value: &'a Value, path: String, all: &mut Vec<(String, &'a Value)>) {
    match value {
        Value::Object(map) => {
            all.push((path.clone(), value));
            map.iter().for_each(|(key, value)| objects(value, format!("{path}/{key}"), all));
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(i, v)| objects(v, format!("{path}/{i}"), all));
        }
        _ => {}
    }
}

/// What Grafana fills in is replaced by what it may be filled with.
fn filled_in(expr: &str) -> String {
    expr.replace("$__rate_interval", "5m").replace("$__range", "1h")
}

fn faults_of_dashboard(dashboard: &Value) -> Vec<String> {
    let mut all = Vec::new();
    objects(dashboard, String::new(), &mut all);
    let variables: BTreeSet<&str> = dashboard["templating"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v["name"].as_str().unwrap())
        .collect();
    let mut faults = Vec::new();
    let mut exprs = 0;
    for (path, object) in all {
        if let Some(uid) = object.get("datasource").and_then(|d| d["uid"].as_str())
            && uid != "${datasource}"
            && uid != "-- Grafana --"
        {
            faults.push(format!("{path}: the data source is fixed to {uid}"));
        }
        let mut check = |expr: &str, legends: &[&str]| {
            exprs += 1;
            let found = look(&filled_in(expr), &BTreeSet::new());
            faults.extend(found.faults.iter().map(|f| format!("{path}: {f} in {expr}")));
            for label in legends.iter().flat_map(|l| words_behind(l, "{{")) {
                if !found.labels.contains(label) {
                    faults.push(format!("{path}: a legend has the label {label}"));
                }
            }
            for variable in words_behind(&filled_in(expr), "$") {
                // A number is a part of a pattern.
                if !variables.contains(variable) && variable.parse::<u8>().is_err() {
                    faults.push(format!("{path}: there is no variable {variable}"));
                }
            }
        };
        if let Some(expr) = object.get("expr").and_then(Value::as_str) {
            let legend = |key| object.get(key).and_then(Value::as_str).unwrap_or_default();
            check(expr, &[legend("legendFormat"), legend("textFormat")]);
        }
        if let Some(query) = object.get("definition").and_then(Value::as_str) {
            let inside = query.strip_prefix("label_values(").and_then(|q| q.strip_suffix(')'));
            let (metric, label) = inside.unwrap().rsplit_once(", ").unwrap();
            check(&format!("sum by ({label}) ({metric})"), &[]);
        }
    }
    assert!(exprs > 30, "only {exprs} expressions were found");
    faults
}

#[test]
fn the_dashboard_speaks_of_metrics_and_labels_that_there_are() {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    assert_eq!(faults_of_dashboard(&dashboard), [""; 0]);
}

#[test]
fn the_dashboard_is_one_that_grafana_takes() {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 39);
    assert!(dashboard["id"].is_null(), "an id belongs to one Grafana");
    let variables: Vec<(&str, &str)> = dashboard["templating"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| (v["name"].as_str().unwrap(), v["type"].as_str().unwrap()))
        .collect();
    assert_eq!(variables[0], ("datasource", "datasource"));
    assert!(variables.contains(&("instance", "query")), "{variables:?}");

    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is there twice");
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{title} is beyond the edge");
        for (x, y) in (at("x")..at("x") + at("w"))
            .flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y)))
        {
            assert!(taken.insert((x, y)), "{title} lies on another panel");
        }
        if panel["type"] == "row" {
            continue;
        }
        let refs: Vec<&str> = panel["targets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| t["refId"].as_str().unwrap())
            .collect();
        let unique: BTreeSet<&&str> = refs.iter().collect();
        assert!(!refs.is_empty() && unique.len() == refs.len(), "{title}: {refs:?}");
    }
}

/// What the documents say of metrics: names that are written out, and the queries of the tables.
fn faults_of_document(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for (n, line) in text.lines().enumerate() {
        for rest in words_behind(line, "keepwell_") {
            // `keepwell_unit_…` and `keepwell_KIND_VALUE` stand for many; a digit begins the version
            // in the name of a package.
            let many = rest.is_empty()
                || rest.starts_with(|c: char| c.is_ascii_digit())
                || rest.ends_with('_')
                || rest.contains(|c: char| c.is_ascii_uppercase());
            let name = format!("keepwell_{rest}");
            if !many && !metrics::known().any(|e| e.name == name) {
                faults.push(format!("{}: there is no metric {name}", n + 1));
            }
        }
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        if let [_, query] = cells.as_slice()
            && let Some(query) = query.strip_prefix('`').and_then(|q| q.strip_suffix('`'))
            && query.contains("keepwell_")
        {
            let found = look(query, &BTreeSet::new());
            faults.extend(found.faults.iter().map(|f| format!("{}: {f}", n + 1)));
        }
    }
    faults
}

#[test]
fn the_documents_speak_of_metrics_and_labels_that_there_are() {
    let mut seen = 0;
    for entry in fs::read_dir(path("docs")).unwrap().map(Result::unwrap) {
        if entry.path().extension().is_some_and(|e| e == "md") {
            let text = fs::read_to_string(entry.path()).unwrap();
            seen += text.matches("keepwell_").count();
            assert_eq!(faults_of_document(&text), [""; 0], "{}", entry.path().display());
        }
    }
    assert!(seen > 100, "only {seen} names were found");
}

/// The tests above can fail.
#[test]
fn what_is_misspelt_is_found_out() {
    let records = BTreeSet::from(["instance:keepwell_x:sum".to_owned()]);
    let faults = |expr: &str| look(expr, &records).faults;
    for right in [
        "keepwell_ready == 0",
        "sum by (job, instance) (rate(keepwell_unit_restarts_total{name=~\"a.+\"}[5m])) > 0.5",
        "up{job=\"keepwell\"} == 0",
        "instance:keepwell_x:sum{job=\"x\"} > 1e3",
        "label_replace(keepwell_check_severity{kind=\"unit\"}, \"name\", \"$1\", \"check\", \"u:(.*)\") \
         * on (name) group_left (cause) keepwell_unit_cause",
    ] {
        assert_eq!(faults(right), [""; 0], "{right}");
    }
    for (wrong, says) in [
        ("keepwell_redy == 0", "no metric keepwell_redy"),
        ("keepwell_ready{name=\"x\"} == 0", "keepwell_ready has no label name"),
        ("keepwell_unit_active{unit!=\"x\"}", "no label unit"),
        ("sum by (unit) (keepwell_unit_active)", "no metric of it has the label unit"),
        ("keepwell_unit_active * on (nam) keepwell_unit_cause", "the label nam"),
        ("instance:keepwell_y:sum > 0", "no metric instance:keepwell_y:sum"),
        ("keepwell_check_severity{kind=\"units\", kind=\"unti\"}", "no kind unti"),
        ("keepwell_check_condition_severity{condition=\"crashloop\"}", "no condition crashloop"),
        ("keepwell_alerts{severity=\"fatal\"}", "no severity fatal"),
        (
            "label_replace(keepwell_unit_active, \"x\", \"$1\", \"check\", \"(.*)\")",
            "the label check",
        ),
        ("vector(1)", "speaks of no metric"),
    ] {
        assert!(faults(wrong).iter().any(|f| f.contains(says)), "{wrong}: {:?}", faults(wrong));
    }

    let text = read(RULES);
    for (right, wrong) in [
        ("keepwell_loop_lag_seconds > 1", "keepwell_loop_lag_secs > 1"),
        ("{{ $labels.mount }}", "{{ $labels.mnt }}"),
        ("\"keepwell_unit_cause{", "\"keepwell_unit_couse{"),
        ("by (job, instance, name)", "by (job, instance, nmae)"),
        ("- record: instance_mount:keepwell", "- record: instance_mount:kepwell"),
    ] {
        assert!(text.contains(right), "{right}");
        assert!(!faults_of_rules(&text.replace(right, wrong)).is_empty(), "{wrong}");
    }
    let text = read("docs/prometheus.md");
    for (right, wrong) in [
        ("`keepwell_ready`", "`keepwell_redy`"),
        ("{phase=", "{face="),
        ("keepwell_heartbeat_age_seconds /", "keepwell_heartbeat_age /"),
    ] {
        assert!(text.contains(right), "{right}");
        assert!(!faults_of_document(&text.replace(right, wrong)).is_empty(), "{wrong}");
    }
    let text = read(DASHBOARD);
    for (right, wrong) in [
        ("keepwell_disk_used_ratio", "keepwell_disk_usage_ratio"),
        ("{{resource}}", "{{resourse}}"),
        ("$unit", "$untis"),
        ("label_values(keepwell_unit_active", "label_values(keepwell_unit_actve"),
        ("${datasource}", "PBFA97CFB590B2093"),
    ] {
        assert!(text.contains(right), "{right}");
        let changed: Value = serde_json::from_str(&text.replace(right, wrong)).unwrap();
        assert!(!faults_of_dashboard(&changed).is_empty(), "{wrong}");
    }
}

/// Prometheus' own tool accepts the rules and the configuration, and the rules do what their tests
/// say.
#[test]
fn promtool_accepts_what_is_shipped() {
    // `scripts/test` names the one that it has.
    let named = std::env::var_os("KEEPWELL_PROMTOOL");
    let promtool = named.clone().unwrap_or_else(|| "promtool".into());
    if let Err(error) = Command::new(&promtool).arg("--version").output() {
        assert!(named.is_none(), "KEEPWELL_PROMTOOL cannot be run: {error}");
        eprintln!("SKIPPED: promtool is not there (Debian package prometheus)");
        return;
    }
    for words in [
        ["check", "config", "packaging/prometheus/prometheus.yml"],
        ["check", "rules", RULES],
        ["test", "rules", "tests/prometheus/keepwell.rules.test.yml"],
        ["test", "rules", "tests/prometheus/keepwell-hours.rules.test.yml"],
    ] {
        let run = Command::new(&promtool).args(words).current_dir(path("")).output().unwrap();
        let said = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "promtool {}:\n{said}", words.join(" "));
    }
}
