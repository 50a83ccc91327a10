//! Every configuration in `tests/config`: the valid ones load, the invalid ones say exactly what
//! their golden `.txt` says (write them anew with `UPDATE_GOLDEN=1`). And whatever the bytes are,
//! reading a configuration never panics.
//!
//! A sample is a file, a folder (which stands for `/etc/keepwell`) or an `.env` file.

// A test may end where it stands; clippy's own allowance does not reach helper functions.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keepwell::config::{self, Environment, Input, Loaded, Options, Proxy};
use keepwell::engine::Severity;
use keepwell::engine::rules::ReportTimes;
use keepwell::sources::probes;
use proptest::prelude::*;

const KINDS: [&str; 8] =
    ["webhook", "slack", "discord", "teams", "email", "telegram", "otlp", "azure"];

fn folder(name: &str) -> PathBuf {
    // Relative, so that messages are the same on every machine; tests run in the package's folder.
    Path::new("tests/config").join(name)
}

fn options(sample: &Path) -> Options {
    let is_env = sample.extension().is_some_and(|e| e == "env");
    let text = if is_env { fs::read_to_string(sample).unwrap() } else { String::new() };
    let fixed = [
        ("CREDENTIALS_DIRECTORY", "tests/config/credentials"),
        ("DEV_URL", "http://d/x"),
        ("DEV_CONNECTION", "hunter2"),
    ];
    let environment: Environment =
        text.lines().filter_map(|line| line.split_once('=')).chain(fixed).collect();
    let file = Some(sample).filter(|path| path.is_file() && !is_env);
    let mut options = Options::new(file, environment, true, "host".into());
    options.system = sample.to_owned();
    options
}

/// Stands for the kinds: reads a webhook as the real one does, and of the others nothing.
fn check_kinds(loaded: &mut Loaded) {
    for channel in &loaded.config.channels {
        if channel.kind != "webhook" {
            if !KINDS.contains(&channel.kind.as_str()) {
                channel.unknown_kind(&KINDS, &mut loaded.sink);
            }
            continue;
        }
        let mut reader = channel.section.read(&mut loaded.sink);
        reader.require("url", "{ credential = \"NAME\" }");
        reader.url("url");
        reader.duration("timeout", Duration::from_secs(1), Duration::from_secs(60));
        reader.finish();
    }
    probes::probes(&loaded.config.probes, &mut loaded.sink);
}

/// The samples of a folder: files but golden ones, and folders.
fn samples(name: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_none_or(|e| e != "txt"))
        .collect();
    paths.sort();
    paths
}

#[test]
fn every_valid_sample_loads() {
    let samples = samples("valid");
    assert!(samples.len() >= 8);
    for sample in samples {
        let mut loaded = config::load(&options(&sample));
        check_kinds(&mut loaded);
        if let Err(found) = loaded.finish() {
            panic!("{}:\n{found}", sample.display());
        }
    }
}

#[test]
fn the_sample_with_everything_is_read_as_written() {
    let mut loaded = config::load(&options(&folder("valid/everything.toml")));
    check_kinds(&mut loaded);
    let config = loaded.finish().unwrap();
    let rules = &config.rules;
    assert_eq!(&*rules.host, "web-1.example.org");
    assert_eq!(rules.units.len(), 3);
    let worker = rules.unit("worker@7.service").unwrap();
    assert_eq!(worker.backoff.delay(2), Duration::from_secs(4));
    assert_eq!(rules.unit("backup.timer").unwrap().backoff.delay(1), Duration::from_secs(90));
    assert_eq!(rules.heartbeats.len(), 3);
    assert_eq!(rules.heartbeats[1].max_age, Duration::from_secs(26 * 3600));
    assert_eq!(rules.load.critical(), Some(4.5));
    assert_eq!(rules.swap.warning(), None);
    assert_eq!(rules.pressure.keys().collect::<Vec<_>>(), ["cpu", "memory"]);
    assert_eq!(config.http.token.unwrap().expose(), "a-token");
    assert_eq!(config.host.ignore_types, ["nfs4", "fuse.sshfs"]);
    assert_eq!(config.host.root, Path::new("/host"));
    // Two of them for what is sent to collectors.
    assert_eq!(config.channels.len(), 5);
    assert_eq!(
        config.telemetry.to_string(),
        "measurements to https://metrics.example.org; alerts to https://collector.example.org and \
         Application Insights"
    );
    let alerts = &rules.alerts;
    // Those of worker, its heartbeat, the other heartbeat, the probe, the disks and the container
    // come before the two routes.
    assert_eq!(alerts.routes.len(), 8);
    let [first, second] = &alerts.routes[6..] else { panic!("two routes") };
    assert!(first.go_on && first.times.len() == 1 && second.channels.is_empty());
    assert_eq!(first.matcher.labels["env"], "prod");
    assert_eq!(alerts.maintenance[0].times.len(), 1);
    assert_eq!(&*alerts.escalations[0].channels[0], "phone");
    assert!(
        matches!(&alerts.report.as_ref().unwrap().when, ReportTimes::At(at, _) if at.len() == 2)
    );
    let engines: Vec<&str> =
        config.containers.engines.iter().flatten().map(|engine| &*engine.name).collect();
    assert_eq!(engines, ["docker", "podman", "docker-2"]);
    let containers = &rules.containers;
    assert!(!containers.labels && containers.ignore[0].matches("ci-7"));
    let [web, db] = &containers.list[..] else { panic!("two containers") };
    assert!(web.restart && web.required && web.severity() == Severity::Warning);
    assert_eq!(web.backoff.delay(1), Duration::from_secs(2));
    assert_eq!((web.restart_loop.max(), web.restart_loop.window().as_secs()), (2, 600));
    assert_eq!((web.memory.warning(), web.memory.critical()), (Some(0.8), Some(0.99)));
    assert_eq!(web.cpu.warning(), None);
    assert_eq!(db.severity(), Severity::Critical);
    assert_eq!(db.confirm.lasting, Duration::from_secs(30));
    assert_eq!(db.cpu.warning(), Some(0.9));
    let labels: Vec<String> = db.who.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let compose = "com.docker.compose";
    let wanted = [
        format!("{compose}.project=shop"),
        format!("{compose}.service=db"),
        "org.example.stage=prod*".into(),
        "tier=front".into(),
    ];
    assert_eq!(labels, wanted);
    assert_eq!(rules.channels[0].digest, Some(Duration::from_secs(300)));
    assert!(rules.channels[1].notices && !rules.channels[0].send_resolved);
    assert!(matches!(config.outbound.proxy, Proxy::Url(_)));
}

#[test]
fn the_sample_of_variables_makes_three_channels() {
    let mut loaded = config::load(&options(&folder("valid/environment-channels.env")));
    check_kinds(&mut loaded);
    assert!(!config::show::text(&loaded).contains("hunter2"));
    let config = loaded.finish().unwrap();
    let kinds: Vec<(&str, &str)> =
        config.rules.channels.iter().map(|c| (&*c.name, &*c.kind)).collect();
    let want = [("webhook", "slack"), ("email", "email"), ("telegram", "telegram")];
    assert_eq!(kinds, want);
    assert!(config.warnings.found.is_empty(), "{}", config.warnings);
}

#[test]
fn the_samples_of_the_variables_of_telemetry_send_what_they_can() {
    let of = |name: &str| {
        let mut loaded = config::load(&options(&folder(name)));
        check_kinds(&mut loaded);
        assert!(!config::show::text(&loaded).contains("hunter2"));
        loaded.finish().unwrap()
    };
    let good = of("valid/telemetry.env");
    let to = "http://collector.example.org:4318 and Application Insights";
    assert_eq!(good.telemetry.to_string(), format!("measurements to {to}; alerts to {to}"));
    assert!(good.warnings.found.is_empty(), "{}", good.warnings);
    // A fleet's variables with mistakes in each.
    let fleet = of("valid/telemetry-fleet.env");
    let to = "Application Insights";
    assert_eq!(fleet.telemetry.to_string(), format!("measurements to {to}; alerts to {to}"));
    let said = fleet.warnings.to_string();
    assert!(said.contains("OTEL_EXPORTER_OTLP_PROTOCOL") && !said.contains("hunter2"), "{said}");
    assert!(!said.contains("AZURE_AUTHORITY_HOST"), "{said}");
}

#[test]
fn drop_ins_add_routes_and_turn_the_report() {
    let mut loaded = config::load(&options(&folder("valid/routes")));
    check_kinds(&mut loaded);
    let config = loaded.finish().unwrap();
    let alerts = &config.rules.alerts;
    let channels: Vec<String> = alerts.routes.iter().map(|r| r.channels.join(" ")).collect();
    assert_eq!(channels, ["ops night", "ops"]);
    assert!(
        matches!(&alerts.report.as_ref().unwrap().when, ReportTimes::At(at, _) if at.len() == 1)
    );
    assert!(config.warnings.found.iter().all(|d| d.message.contains("every user can read")));
}

#[test]
fn every_sample_of_the_documentation_loads() {
    let entries = ["docs", "docs/channels"].map(|folder| fs::read_dir(folder).unwrap());
    let docs = entries.into_iter().flatten().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|e| e == "md"));
    // As somebody reads it who is not the service: credentials cannot be seen.
    let mut options = Options::new(None, Environment::default(), true, "host".into());
    options.system = folder("valid/empty.toml");
    let options = options.lenient();
    // What Docker puts into a container.
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(secret.path(), "https://hooks.example.org/x").unwrap();
    let secret = secret.path().to_str().unwrap();
    let mut blocks = 0;
    for document in docs.chain(["README.md".into()]) {
        let text = fs::read_to_string(&document).unwrap();
        for (n, block) in text.split("```toml\n").skip(1).enumerate() {
            blocks += 1;
            let block = block.split("```").next().unwrap();
            let block = block.replace("/run/secrets/ops-url", secret);
            let input = Input::memory(format!("{} block {n}", document.display()), block);
            let mut loaded = config::load_from(vec![input], &options);
            keepwell::app::plan::check_kinds(&mut loaded);
            if let Err(found) = loaded.finish() {
                panic!("{found}");
            }
        }
    }
    assert!(blocks >= 40, "only {blocks} configurations were found");
}

#[test]
fn every_invalid_sample_says_what_is_wrong() {
    let samples = samples("invalid");
    assert!(samples.len() >= 60);
    let mut differing = Vec::new();
    for sample in samples {
        let mut loaded = config::load(&options(&sample));
        check_kinds(&mut loaded);
        let Err(mut found) = loaded.finish() else {
            panic!("{} is accepted", sample.display());
        };
        // Whether all can read a sample depends on how it was checked out.
        found.found.retain(|diagnostic| !diagnostic.warning);
        let said = format!("{found}\n");
        assert!(!said.contains("hunter2"), "{} leaks a secret:\n{said}", sample.display());
        assert!(!said.contains('\u{1b}'), "{} reaches the terminal", sample.display());
        let golden = sample.with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &said).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != said {
            differing.push(format!("--- {}\n{said}", golden.display()));
        }
    }
    assert!(differing.is_empty(), "not as golden:\n{}", differing.join("\n"));
}

/// Reads bytes as a configuration in every way there is, and shows what comes of it.
fn exercise(bytes: &[u8]) {
    let options = options(&folder("valid/empty.toml"));
    let inputs = vec![
        Input::memory("a.toml", bytes),
        Input::memory("b.toml", "[agent]\ninterval = \"1s\"\n[[unit]]\nname = \"a\"\n"),
        Input::memory("c.toml", bytes),
    ];
    let mut loaded = config::load_from(inputs, &options);
    check_kinds(&mut loaded);
    let _ = config::show::text(&loaded);
    if let Err(found) = loaded.finish() {
        assert!(!found.to_string().is_empty());
    }
}

fn valid_texts() -> Vec<Vec<u8>> {
    samples("valid")
        .into_iter()
        .chain(samples("invalid"))
        .filter_map(|path| fs::read(path).ok())
        .filter(|bytes| !bytes.is_empty())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        exercise(&bytes);
    }

    #[test]
    fn any_text_is_read_without_panic(text in "[\\[\\]a-z\"'=\\.{},\n \t0-9#éπ\\\\-]{0,200}") {
        exercise(text.as_bytes());
    }

    #[test]
    fn mutated_samples_are_read_without_panic(
        which in any::<prop::sample::Index>(),
        cuts in proptest::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0usize..12), 1..8),
        new in "[\\[\\]{}a-z\"'=,.\n 0-9é-]{0,8}",
    ) {
        let texts = valid_texts();
        let mut bytes = which.get(&texts).clone();
        for (at, from, length) in cuts {
            let at = at.index(bytes.len() + 1);
            let end = (at + length).min(bytes.len());
            // Now a piece of itself, now something new, takes the place of a few bytes.
            let from = from.index(bytes.len() + 1);
            let piece = bytes[from..(from + length).min(bytes.len())].to_vec();
            let put = if length % 2 == 0 { piece } else { new.clone().into_bytes() };
            bytes.splice(at..end, put);
        }
        exercise(&bytes);
    }
}

#[test]
fn deep_and_wide_files_are_read_without_harm() {
    for text in [
        "a = ".to_owned() + &"[".repeat(20_000),
        "a = ".to_owned() + &"{a=".repeat(20_000),
        "a.".repeat(20_000) + "a = 1",
        "[".to_owned() + &"a.".repeat(20_000) + "a]",
        "k = 1\n".repeat(20_000),
        "[[unit]]\nname = \"a\"\n".repeat(5_000),
    ] {
        exercise(text.as_bytes());
    }
}
