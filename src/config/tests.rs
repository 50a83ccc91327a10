//! Tests of the configuration as a whole: defaults, merging, the environment, secrets, and that the
//! table of keys is what the readers read and what the documentation says.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crate::engine::{Rules, Severity};

use super::keys::{self, Kind};
use super::*;

mod alerts;
mod channels;
mod telemetry;

fn options(variables: &[(&str, &str)]) -> Options {
    Options::new(None, variables.iter().copied().collect(), true, "localhost".into())
}

fn read(texts: &[&str], variables: &[(&str, &str)]) -> Loaded {
    let name = |n| format!("{n}.toml");
    let inputs = texts.iter().enumerate().map(|(n, t)| Input::memory(name(n), *t)).collect();
    load_from(inputs, &options(variables))
}

fn good(texts: &[&str], variables: &[(&str, &str)]) -> Config {
    read(texts, variables).finish().unwrap_or_else(|found| panic!("{found}"))
}

fn wrong(texts: &[&str], variables: &[(&str, &str)]) -> String {
    read(texts, variables).finish().expect_err("it should be refused").to_string()
}

/// Every key as TOML text, with its default or its example; `sections` with `[[…]]` as well.
fn sample(of: fn(&keys::Key) -> &'static str, sections: bool) -> String {
    fn table(keys: &[keys::Key], of: fn(&keys::Key) -> &'static str) -> Vec<String> {
        keys.iter()
            .filter_map(|key| match key.kind {
                Kind::Table(keys) | Kind::Switch(keys) => {
                    Some(format!("{} = {{ {} }}", key.name, table(keys, of).join(", ")))
                }
                _ => Some(of(key)).filter(|t| !t.is_empty()).map(|t| format!("{} = {t}", key.name)),
            })
            .collect()
    }
    let mut out = String::new();
    for key in keys::ROOT {
        let (keys, header) = match key.kind {
            Kind::Table(keys) => (keys, format!("[{}]", key.name)),
            Kind::Sections(_) | Kind::OpenSections(_) if !sections => continue,
            Kind::Sections(keys) | Kind::OpenSections(keys) => (keys, format!("[[{}]]", key.name)),
            _ => panic!("{} stands at the top", key.name),
        };
        out.push_str(&format!("{header}\n{}\n", table(keys, of).join("\n")));
    }
    out
}

#[test]
fn without_a_file_the_engine_decides_by_its_defaults() {
    let config = good(&[], &[]);
    assert_eq!(config.rules, Rules::default());
    assert_eq!(config.agent.interval, Duration::from_secs(30));
    assert_eq!(config.http.listen, ["127.0.0.1:8080".parse().unwrap()]);
    assert_eq!((config.journal.lines, config.store.max_size), (20, 64 << 20));
}

#[test]
fn the_defaults_of_the_table_are_those_of_the_code() {
    let text = sample(|key| key.default, false);
    let (written, bare) = (good(&[&text], &[]), good(&[], &[]));
    assert_eq!(written.rules, bare.rules);
    assert_eq!(written.agent, bare.agent);
    assert_eq!(written.http, bare.http);
    assert_eq!(written.journal, bare.journal);
    assert_eq!(written.store, bare.store);
    // The defaults of units and heartbeats likewise.
    let unit = |more: &str| good(&[&format!("[[unit]]\nname = \"a\"\n{more}")], &[]).rules;
    let keys = "restart = false\nrequired = false\nseverity = \"critical\"\nerrors = true\n\
                for = \"0s\"\nrecovery = \"0s\"";
    assert_eq!(unit(keys), unit(""));
    let beat = |more: &str| good(&[&format!("[[heartbeat]]\nfile = \"/a\"\n{more}")], &[]).rules;
    let keys = "max_age = \"5m\"\nseverity = \"warning\"\nfor = \"0s\"\nrecovery = \"0s\"\n\
                failures = 1\nsuccesses = 1";
    assert_eq!(beat(keys), beat(""));
    let container =
        |more: &str| good(&[&format!("[[container]]\nname = \"a\"\n{more}")], &[]).rules;
    let keys = "restart = false\nrequired = false\nseverity = \"warning\"\nfor = \"1m\"\n\
                recovery = \"0s\"\nbackoff = {}\nrestart_loop = { max = 3, window = \"5m\" }";
    let mut said = container(keys);
    assert_eq!(said.containers.list[0].severity.take(), Some(Severity::Warning));
    assert_eq!(said, container(""));
    let channel = |more: &str| {
        good(&[&format!("[[channel]]\nname = \"a\"\ntype = \"b\"\n{more}")], &[]).rules
    };
    let keys = "min_severity = \"warning\"\nsend_resolved = true\nmax_per_minute = 10\n\
                digest = \"0s\"";
    assert_eq!(channel(keys), channel(""));
    assert_eq!(written.outbound, bare.outbound);
    // Who says that all is by default has said something.
    let mut telemetry = written.telemetry;
    assert!(!std::mem::take(&mut telemetry.azure.places).is_empty());
    assert_eq!(format!("{telemetry:?}"), format!("{:?}", bare.telemetry));
}

#[test]
fn every_example_of_the_table_is_valid_and_every_key_is_read() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["http-token", "otlp-key", "application-insights", "azure-client-secret"] {
        std::fs::write(folder.path().join(name), "hunter2\n").unwrap();
    }
    let variables = [("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())];
    // Two heartbeats have one example; of `every` and `at` there is but one.
    let text = sample(|key| key.example, true)
        .replace("/run/app/heartbeat\", max", "/run/b\", max")
        .replace("every = \"6h\"", "every = false");
    let loaded = read(&[&text], &variables);
    let asked = loaded.sink.asked.clone();
    if let Err(found) = loaded.finish() {
        panic!("{found}");
    }
    let mut known = BTreeSet::new();
    keys::walk(&mut |path, _| {
        if path.contains('.') {
            known.insert(path.replace("[]", ""));
        }
    });
    assert_eq!(asked, known);
}

#[test]
fn the_documentation_names_every_variable() {
    let docs = include_str!("../../docs/configuration.md");
    for name in environment::names().chain(["KEEPWELL_SOCKET"]) {
        assert!(docs.contains(&format!("`{name}`")), "docs/configuration.md does not have {name}");
    }
}

#[test]
fn a_later_file_wins_key_by_key_and_sections_add_up() {
    let config = good(
        &[
            "[agent]\ninterval = \"10s\"\nlabels = { a = \"1\", b = \"1\" }\n[host]\n\
             disk = { warning = \"50%\", critical = \"60%\" }\ncpu = false\n[[unit]]\nname = \"a\"",
            "[agent]\nlabels = { b = \"2\" }\n[host]\ndisk = { critical = \"70%\" }\n\
             cpu = { warning = 0.5 }\n[[unit]]\nname = \"b\"",
        ],
        &[],
    );
    let labels: Vec<(&str, &str)> =
        config.rules.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(labels, [("a", "1"), ("b", "2")]);
    assert_eq!(config.agent.interval, Duration::from_secs(10));
    assert_eq!(config.rules.disk.warning(), Some(0.5));
    assert_eq!(config.rules.disk.critical(), Some(0.7));
    assert_eq!(config.rules.cpu.warning(), Some(0.5));
    let names: Vec<&str> = config.rules.units.iter().map(|u| u.pattern.as_str()).collect();
    assert_eq!(names, ["a.service", "b.service"]);
}

#[test]
fn what_a_later_file_replaces_must_be_right_as_well() {
    let found = wrong(
        &["agent = 3\n[http]\nlisten = 80", "[agent]\ninterval = \"1s\"\n[http]\nlisten = false"],
        &[],
    );
    assert!(found.contains("0.toml:1:9: `agent` must be a table, not an integer"), "{found}");
    assert!(found.contains("0.toml:3:10: `http.listen` must be an address"), "{found}");
}

#[test]
fn a_unit_takes_from_the_common_waits_what_it_does_not_set() {
    let config = good(
        &["[restart]\nfirst = \"1s\"\nmax = \"8s\"\ngive_up_after = 3\n[crash_loop]\nmax = 2\n\
           [[unit]]\nname = \"a\"\n[[unit]]\nname = \"b\"\nseverity = \"warning\"\n\
           backoff = { first = \"2s\", give_up_after = false }\ncrash_loop = { window = \"5m\" }\n\
           heartbeat = { file = \"/run/b\", max_age = \"9s\" }"],
        &[],
    );
    let [a, b] = &config.rules.units[..] else { panic!("two units") };
    let waits = |unit: &crate::engine::rules::UnitRule| -> Vec<u64> {
        (0..4).map(|step| unit.backoff.delay(step).as_secs()).collect()
    };
    assert_eq!((waits(a), waits(b)), (vec![1, 2, 4, 8], vec![2, 4, 8, 8]));
    assert_eq!((a.backoff.give_up_after(), b.backoff.give_up_after()), (Some(3), None));
    assert_eq!((b.crash_loop.max(), b.crash_loop.window().as_secs()), (2, 300));
    assert_eq!((a.severity, b.severity), (Severity::Critical, Severity::Warning));
    let beat = &config.rules.heartbeats[0];
    assert_eq!((&*beat.path, beat.max_age.as_secs()), ("/run/b", 9));
}

#[test]
fn the_environment_lies_over_the_files() {
    let config = good(
        &["[agent]\ninterval = \"10s\"\n[http]\ntoken = { env = \"X\" }"],
        &[
            ("X", "x"),
            ("HEALTH_INTERVAL_SECONDS", "70"),
            ("SERVICE_CHECK_INTERVAL", "60"),
            ("ALERT_COOLDOWN_MINUTES", "5"),
            ("HEALTH_RETENTION_DAYS", "7"),
            ("KEEPWELL_HTTP_LISTEN", "0.0.0.0:80, [::1]:81"),
            ("KEEPWELL_HTTP_TOKEN", "hunter2"),
            ("KEEPWELL_HOST_ROOT", "/host"),
            ("ALERT_WEBHOOK_URL", "https://example.org/hook"),
            ("MONITOR_INTERVAL", ""),
        ],
    );
    assert_eq!(config.agent.interval, Duration::from_secs(60), "the empty one is not set");
    assert_eq!(config.rules.alerts.cooldown, Duration::from_secs(300));
    assert_eq!(config.store.retention, Duration::from_secs(7 * 86_400));
    assert_eq!(config.http.listen.len(), 2);
    assert_eq!(config.http.token.unwrap().expose(), "hunter2");
    assert_eq!(config.host.root, Path::new("/host"));
    assert_eq!((&*config.channels[0].name, &*config.channels[0].kind), ("webhook", "webhook"));
    assert_eq!(&*config.rules.channels[0].name, "webhook");
    let off = good(&[], &[("KEEPWELL_HTTP_LISTEN", "off"), ("ALERT_COOLDOWN", "90")]);
    assert!(off.http.listen.is_empty());
    assert_eq!(off.rules.alerts.cooldown, Duration::from_secs(90));
}

#[test]
fn a_wrong_variable_is_named() {
    let found = wrong(
        &["[[channel]]\nname = \"webhook\"\ntype = \"email\""],
        &[
            ("MONITOR_INTERVAL", "7200"),
            ("HEALTH_INTERVAL_SECONDS", "soon"),
            ("KEEPWELL_HTTP_LISTEN", "8080"),
            ("KEEPWELL_HOST_ROOT", "host"),
            ("ALERT_WEBHOOK_URL", "https://example.org/hunter2"),
        ],
    );
    assert!(
        found.contains(
            "environment: MONITOR_INTERVAL: `agent.interval` must be between 1 s and 1 h, not 2 h"
        ),
        "{found}"
    );
    assert!(found.contains("environment: HEALTH_INTERVAL_SECONDS: `agent.interval` is"), "{found}");
    assert!(found.contains("environment: KEEPWELL_HTTP_LISTEN: `http.listen`"), "{found}");
    let root = "environment: KEEPWELL_HOST_ROOT: `host.root` must be an absolute path";
    assert!(found.contains(root), "{found}");
    assert!(
        found.contains(
            "environment: ALERT_WEBHOOK_URL: the channel `webhook` is there already, at 0.toml:2"
        ),
        "{found}"
    );
    assert!(!found.contains("hunter2"), "{found}");
}

#[test]
fn a_secret_that_only_the_service_sees_does_not_fail_a_check_in_a_shell() {
    let text = "[http]\ntoken = { credential = \"t\" }";
    assert!(wrong(&[text], &[]).contains("$CREDENTIALS_DIRECTORY is not set"));
    let options = options(&[]).lenient();
    let config = load_from(vec![Input::memory("a", text)], &options).finish().unwrap();
    assert!(!config.http.token.unwrap().is_resolved());
    assert!(config.warnings.to_string().contains("warning: `http.token` could not be checked"));
}

#[test]
fn a_secret_in_a_file_for_all_to_read_is_a_warning() {
    let mut input = Input::memory("a", "[http]\ntoken = \"hunter2\"");
    input.world_readable = true;
    let config = load_from(vec![input], &options(&[])).finish().unwrap();
    let text = config.warnings.to_string();
    assert!(text.contains("a:2:9: warning: `http.token` is a secret in a file"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn nothing_shows_a_secret_by_debug() {
    let text =
        "[http]\ntoken = \"hunter2\"\n[[channel]]\nname = \"a\"\ntype = \"b\"\nurl = \"hunter2\"";
    let loaded = read(&[text], &[("KEEPWELL_HTTP_TOKEN", "hunter2")]);
    let shown = format!("{loaded:?} {:?}", options(&[("A", "hunter2")]));
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn errors_end_at_a_hundred() {
    let text: String = (0..250).map(|n| format!("k{n} = 1\n")).collect();
    let found = wrong(&[&text], &[]);
    assert!(found.ends_with("and 150 more"), "{found}");
}

#[test]
fn what_is_shown_reads_back_as_the_same() {
    let text = "[agent]\ninterval = \"10s\"\nlabels = { \"a\" = \"x \\\"y\\\" \\n\" }\n[host]\n\
                swap = false\nload = { warning = 2 }\npressure = { io = { warning = \"10%\" } }\n\
                [restart]\nfactor = 1.5\n[[unit]]\nname = \"a\"\nrestart = true\n\
                backoff = { first = \"1s\" }\n[[heartbeat]]\nfile = \"/run/*\"\n\
                [[channel]]\nname = \"a\"\ntype = \"b\"\nmin_severity = \"critical\"\n";
    let text = &format!(
        "{text}digest = \"5m\"\n[alerts]\nflapping = {{ calm = \"1h\" }}\nremind = false\n[report]\n\
         at = [\"08:00\"]\ntimezone = \"UTC\"\n[[route]]\nchecks = \"disk\"\ndays = [\"mon-fri\"]\n\
         from = \"8:00\"\nto = \"24:00\"\nlabels = {{ a = \"b\" }}\nchannels = [\"a\"]\n\
         [[maintenance]]\nname = \"m\"\ndays = \"sun\"\n[[escalation]]\nafter = \"1h\"\n\
         channels = \"a\"\n[outbound]\nproxy = false\nca = \"/a.pem\"\n"
    );
    let loaded = read(&[text], &[("ALERT_COOLDOWN", "7")]);
    let shown = show::text(&loaded);
    let first = loaded.finish().unwrap();
    let again = good(&[&shown], &[]);
    assert_eq!(first.rules, again.rules, "{shown}");
    assert_eq!((first.agent, first.store), (again.agent, again.store));
    assert_eq!(first.outbound, again.outbound);
    assert!(shown.contains("# $ALERT_COOLDOWN"), "{shown}");
}
