//! Debian's Prometheus as a service inside a container, with the files that `packaging/prometheus`
//! ships. Debian 13 has 2.53.

#![allow(dead_code, reason = "no test uses all of it")]

use std::time::Duration;

use serde_json::Value;

use crate::scene::watch;
use crate::support::keepwell::repository;
use crate::support::{Container, Options, Output, wait_until};

const URL: &str = "http://127.0.0.1:9090";
const FOLDER: &str = "/etc/prometheus";
const START: Duration = Duration::from_secs(60);

/// A Debian with Prometheus installed; `None` where containers cannot be had.
#[track_caller]
pub(crate) fn boot() -> Option<Container> {
    let options = Options { packages: vec!["prometheus"], ..Options::default() };
    Container::boot("trixie", options)
}

/// A shipped file of `packaging/prometheus`.
#[track_caller]
pub(crate) fn shipped(name: &str) -> String {
    let path = repository("packaging/prometheus").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A running Prometheus.
#[derive(Debug)]
pub(crate) struct Prometheus<'c> {
    container: &'c Container,
}

impl Container {
    /// `promtool` with `input` on its standard input.
    pub(crate) fn promtool(&self, args: &[&str], input: &str) -> Output {
        self.write("/run/promtool-input", input);
        let script = format!("cd {FOLDER} && promtool \"$@\" </run/promtool-input");
        let command = ["sh", "-c", &script, "promtool"];
        self.exec(&[&command[..], args].concat())
    }

    /// Puts the shipped files where Debian's Prometheus looks, as they are.
    #[track_caller]
    pub(crate) fn install_prometheus_files(&self) {
        for name in ["prometheus.yml", "keepwell.rules.yml"] {
            self.write(&format!("{FOLDER}/{name}"), &shipped(name));
        }
    }

    /// Starts Prometheus, without any data from before, with the shipped rules and this
    /// configuration, and waits until it answers.
    #[track_caller]
    pub(crate) fn prometheus(&self, config: &str) -> Prometheus<'_> {
        self.systemctl(&["stop", "prometheus"]);
        self.sh("rm -rf /var/lib/prometheus/metrics2/*");
        self.install_prometheus_files();
        self.write(&format!("{FOLDER}/prometheus.yml"), config);
        self.systemctl(&["start", "prometheus"]);
        let ready = || self.exec(&["curl", "-sf", "-m", "5", &format!("{URL}/-/ready")]).ok();
        let log = || self.journal(&["--unit=prometheus", "--output=cat", "--lines=20"]);
        watch(START, "Prometheus is ready", || (ready(), log()), |(ready, _)| ready.then_some(()));
        Prometheus { container: self }
    }
}

impl Prometheus<'_> {
    /// The `data` of an answer of its API; null while it does not succeed.
    fn api(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let url = format!("{URL}/api/v1/{path}");
        let mut command = vec!["curl", "-s", "-m", "10", "-G", &url];
        let pairs: Vec<String> = parameters.iter().map(|(k, v)| format!("{k}={v}")).collect();
        for pair in &pairs {
            command.extend(["--data-urlencode", pair]);
        }
        let out = self.container.exec(&command);
        let mut answer: Value = serde_json::from_str(&out.stdout).unwrap_or(Value::Null);
        assert_ne!(answer["status"], "error", "{path} {parameters:?}: {answer:#}");
        answer["data"].take()
    }

    /// What a query gives now: the labels and the value of each element.
    #[track_caller]
    pub(crate) fn query(&self, query: &str) -> Vec<(Value, f64)> {
        let mut data = self.api("query", &[("query", query)]);
        let all = data["result"].as_array_mut().map(std::mem::take).unwrap_or_default();
        let value = |element: &Value| element["value"][1].as_str()?.parse().ok();
        all.into_iter().filter_map(|mut e| Some((e["metric"].take(), value(&e)?))).collect()
    }

    /// The one value of a query; `None` of an empty answer.
    #[track_caller]
    pub(crate) fn value(&self, query: &str) -> Option<f64> {
        let all = self.query(query);
        assert!(all.len() <= 1, "{query} gives {all:?}");
        all.first().map(|(_, value)| *value)
    }

    /// Asserts that a query gives one value for at least one element, and this one for all.
    #[track_caller]
    pub(crate) fn all_are(&self, query: &str, value: f64) {
        let all = self.query(query);
        assert!(!all.is_empty(), "{query} gives nothing");
        let others: Vec<_> = all.iter().filter(|(_, v)| *v != value).collect();
        assert!(others.is_empty(), "{query} is not {value} for {others:?}");
    }

    /// The targets that it scrapes.
    pub(crate) fn targets(&self) -> Vec<Value> {
        let mut data = self.api("targets", &[("state", "active")]);
        data["activeTargets"].as_array_mut().map(std::mem::take).unwrap_or_default()
    }

    /// All rules of all groups.
    pub(crate) fn rules(&self) -> Vec<Value> {
        let data = self.api("rules", &[]);
        let groups = data["groups"].as_array().into_iter().flatten();
        groups.flat_map(|group| group["rules"].as_array().into_iter().flatten()).cloned().collect()
    }

    /// The alerts of this name, pending or firing.
    pub(crate) fn alerts(&self, name: &str) -> Vec<Value> {
        let mut data = self.api("alerts", &[]);
        let mut all = data["alerts"].as_array_mut().map(std::mem::take).unwrap_or_default();
        all.retain(|alert| alert["labels"]["alertname"] == name);
        all
    }

    /// Of each family of a job: its type, as the scrape told it.
    pub(crate) fn types(&self, job: &str) -> std::collections::BTreeMap<String, String> {
        let target = format!("{{job=\"{job}\"}}");
        let data = self.api("targets/metadata", &[("match_target", &target)]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let all = data.as_array().into_iter().flatten();
        all.map(|family| (text(&family["metric"]), text(&family["type"]))).collect()
    }

    /// The sum over all samples of one of its own metrics.
    #[track_caller]
    pub(crate) fn own(&self, name: &str) -> f64 {
        let text = self.container.exec(&["curl", "-s", "-m", "10", &format!("{URL}/metrics")]);
        let samples: Vec<f64> = text
            .stdout
            .lines()
            .filter_map(|line| line.strip_prefix(name))
            .filter(|rest| rest.starts_with([' ', '{']))
            .filter_map(|rest| rest.rsplit_once(' ')?.1.parse().ok())
            .collect();
        assert!(!samples.is_empty(), "Prometheus has no {name}");
        samples.iter().sum()
    }

    /// Has it read its configuration anew, which must succeed.
    #[track_caller]
    pub(crate) fn reload(&self, config: &str) {
        self.container.write(&format!("{FOLDER}/prometheus.yml"), config);
        let before = self.own("prometheus_config_last_reload_success_timestamp_seconds");
        self.container.systemctl(&["reload", "prometheus"]);
        wait_until(START, "Prometheus has read its configuration", || {
            self.own("prometheus_config_last_reload_success_timestamp_seconds") > before
        });
    }

    /// What it logged as a warning or an error since it was started.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let run = self.container.property("prometheus", "InvocationID");
        let run = format!("_SYSTEMD_INVOCATION_ID={run}");
        let log = self.container.journal(&["--output=cat", &run]);
        assert!(log.contains("Server is ready"), "{log}");
        let bad = |line: &&str| line.contains("level=warn") || line.contains("level=error");
        log.lines().filter(bad).map(str::to_owned).collect()
    }
}
