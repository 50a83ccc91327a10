//! A proxy that lets lists through and refuses something else with 403: what keepwell says of it, how
//! often, and what it does when that is allowed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use keepwell::docker::Engines;
use keepwell::engine::Observation;
use keepwell::engine::observation::{ContainerStatus, PartState};
use keepwell::sources::containers::Settings;

use super::clock;
use super::daemon::Daemon;
use super::dockerd::Dockerd;
use super::odd::{Relay, relay};
use super::podman::Podman;
use super::watched::{SOON, Watched, containers, lists, settings};

/// A proxy, what of it is refused (parts of paths), and what was asked for.
struct Proxy {
    socket: PathBuf,
    refused: Arc<Mutex<Vec<String>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn before(engine: PathBuf, folder: &Path, refused: &str) -> Self {
        let socket = folder.join("proxy.sock");
        let refused = Arc::new(Mutex::new(vec![refused.to_owned()]));
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (of, kept) = (refused.clone(), asked.clone());
        relay(&socket, engine, move |head| {
            let path = head.split(' ').nth(1).unwrap_or_default();
            kept.lock().unwrap().push(path.to_owned());
            let refused = of.lock().unwrap().iter().any(|part| path.contains(part.as_str()));
            if refused { Relay::Refuse } else { Relay::Pass }
        });
        Self { socket, refused, asked }
    }

    fn refuse(&self, parts: &[&str]) {
        *self.refused.lock().unwrap() = parts.iter().map(|part| (*part).to_owned()).collect();
    }

    fn asked(&self, part: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|path| path.contains(part)).count()
    }

    fn address(&self) -> String {
        format!("unix://{}", self.socket.display())
    }
}

/// What was said of the engine, in order.
fn said(seen: &Watched) -> Vec<PartState> {
    let of = |one: Observation| match one {
        Observation::Part(part) => Some(part.state),
        _ => None,
    };
    seen.all().into_iter().filter_map(of).collect()
}

/// The paths of details, but not of lists.
const LOOKS: &str = "/json?nothing";

/// Refuses `path`, wants that said once over several attempts, and allows it.
fn refused_then_allowed(engine: PathBuf, folder: &Path, path: &str, remedy: &str) -> Watched {
    let proxy = Proxy::before(engine, folder, path);
    let seen = Watched::at(&proxy.address());
    let why = seen.part(0, "broken");
    assert!(why.ends_with(&format!("allow {remedy} there")), "{why}");
    assert!(why.contains(&proxy.address()) && why.contains("(403)"), "{why}");
    let attempts = || proxy.asked("/version");
    let before = attempts();
    clock::wait_until(SOON, "it is tried again", || attempts() >= before + 2);
    assert_eq!(said(&seen), [PartState::Broken(why)], "once, and that it works never");
    proxy.refuse(&[]);
    seen.part(1, "works");
    seen.container("web", "runs", |c| c.pid > 0);
    seen
}

#[test]
fn an_engine_whose_details_are_refused_is_said_to_be_so_until_they_are_not() {
    let Some(docker) = Dockerd::start() else { return };
    let id = docker.run("web", &[], &["sleep", "1000"]);
    let folder = docker.nest().path("looks");
    std::fs::create_dir(&folder).unwrap();
    let look = format!("/{id}/json");
    let remedy = "GET /containers/*/json";
    drop(refused_then_allowed(docker.socket(), &folder, &look, remedy));

    // While it is watched: the next look tells.
    let folder = docker.nest().path("later");
    std::fs::create_dir(&folder).unwrap();
    let proxy = Proxy::before(docker.socket(), &folder, LOOKS);
    let seen = Watched::at(&proxy.address());
    seen.container("web", "runs", |c| c.pid > 0);
    proxy.refuse(&[&look]);
    docker.must(&["kill", "--signal", "HUP", "web"]);
    let mark = seen.mark();
    let why = seen.part(0, "broken");
    assert!(why.ends_with("allow GET /containers/*/json there"), "{why}");
    proxy.refuse(&[]);
    seen.part(mark, "works");
    seen.container("web", "runs still", |c| c.pid > 0);
    assert_eq!(said(&seen), [PartState::Works, PartState::Broken(why), PartState::Works]);
}

#[test]
fn an_engine_whose_events_are_refused_is_said_to_be_so_until_they_are_not() {
    if let Some(docker) = Dockerd::start() {
        docker.run("web", &[], &["sleep", "1000"]);
        let folder = docker.nest().path("events");
        std::fs::create_dir(&folder).unwrap();
        refused_then_allowed(docker.socket(), &folder, "/events", "GET /events");
    }
    // It says so with its first event, where it streams them.
    if let Some(podman) = Podman::start() {
        podman.run("web", &[], &["sleep", "1000"]);
        let folder = podman.nest().path("events");
        std::fs::create_dir(&folder).unwrap();
        refused_then_allowed(podman.socket(), &folder, "/events", "GET /events");
    }
}

#[test]
fn a_proxy_that_refuses_pings_is_asked_otherwise() {
    let Some(docker) = Dockerd::start() else { return };
    docker.run("web", &[], &["sleep", "1000"]);
    let proxy = Proxy::before(docker.socket(), &docker.nest().path(""), "/_ping");
    let quiet = std::time::Duration::from_millis(200);
    let quick = Settings { quiet, ..settings() };
    let seen = Watched::with(&proxy.address(), quick, Engines::default(), false);
    clock::wait_until(SOON, "it is asked whether it lives", || proxy.asked("/_ping") >= 3);
    assert_eq!(said(&seen), [PartState::Works]);
}

#[test]
fn what_it_can_do_without_is_said_once_in_the_log() {
    let Some(docker) = Dockerd::start() else { return };
    let veiled = docker.run("veiled", &[], &["sleep", "1000"]);
    docker.run("web", &[], &["sleep", "1000"]);
    let folder = docker.nest().path("without");
    std::fs::create_dir(&folder).unwrap();
    let proxy = Proxy::before(docker.socket(), &folder, &format!("/{veiled}/json"));
    // Its processes have other numbers in the engine's namespace, so it is the engine that is asked.
    proxy.refused.lock().unwrap().push("/stats".into());
    let rest = format!("interval = \"1s\"\n\n[containers]\nengines = [\"{}\"]\n", proxy.address());
    let keepwell = Daemon::start(&folder, &rest);
    let log = || keepwell.log();
    let count = |text: &str| log().matches(text).count();
    let wait = |text: &str| {
        let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            clock::wait_until(SOON, text, || count(text) > 0);
        }));
        assert!(waited.is_ok(), "{text}\n{}", log());
    };
    wait("some containers cannot be looked at");
    wait("what containers use is not known");
    // It is looked at again with each thing that happens to it.
    let looks = || proxy.asked(&format!("/{veiled}/json"));
    for signal in ["HUP", "USR1"] {
        let before = looks();
        docker.must(&["kill", "--signal", signal, "veiled"]);
        clock::wait_until(SOON, "it is looked at", || looks() > before);
    }
    assert_eq!(count("some containers cannot be looked at"), 1, "{}", log());
    assert_eq!(count("what containers use is not known"), 1, "{}", log());
    assert_eq!(count("allow GET /containers/*/json there"), 1, "{}", log());
    assert_eq!(count("cannot be watched"), 0, "{}", log());
    proxy.refuse(&[]);
    docker.must(&["kill", "--signal", "HUP", "veiled"]);
    wait("all containers can be looked at again");
}

#[test]
fn a_container_that_is_hidden_hides_no_other() {
    let Some(docker) = Dockerd::start() else { return };
    let veiled = docker.run("veiled", &[], &["sleep", "1000"]);
    let web = docker.run("web", &[], &["sleep", "1000"]);
    let proxy = Proxy::before(docker.socket(), &docker.nest().path(""), &format!("/{veiled}/json"));
    let seen = Watched::at(&proxy.address());
    seen.container("web", "runs", |c| c.pid > 0);
    let all = seen.wait("all are listed", |all| lists(all).first().map(|l| l.ids.clone()));
    assert_eq!(all.len(), 2, "it is there");
    docker.must(&["stop", "--time", "0", "veiled"]);
    seen.events("veiled", "stopped");
    docker.must(&["stop", "--time", "0", &web]);
    seen.container("web", "is down", |c| c.status == ContainerStatus::Exited);
    assert!(containers(&seen.all(), "veiled").is_empty());
    assert_eq!(said(&seen), [PartState::Works]);
}
