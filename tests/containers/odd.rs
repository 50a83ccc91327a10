//! What goes wrong beside the engine itself: clocks that were set back, a container that hangs, and
//! a look that is to change nothing.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use keepwell::docker::Engines;
use keepwell::engine::observation::{ContainerStatus, Part, PartSeen, PartState};
use keepwell::engine::{Observation, Wall};

use super::clock;
use super::daemon::Daemon;
use super::dockerd::Dockerd;
use super::podman::Podman;
use super::watched::{SOON, Watched, containers, lists, settings, usage};
use keepwell::sources::containers::{Places, Settings};

#[test]
fn a_clock_that_was_set_back_keeps_nothing_from_being_watched() {
    let Some(docker) = Dockerd::start() else { return };
    docker.run("web", &[], &["sleep", "1000"]);
    // What was last heard happened an hour from now.
    let ahead = Wall(clock::wall_us() + 3_600_000_000);
    let engines = Engines::new(BTreeMap::from([("docker".into(), ahead)]));
    let seen = Watched::with(&docker.address(), settings(), engines.clone(), false);
    seen.container("web", "runs", |c| c.pid > 0);
    seen.part(0, "works");
    assert!(engines.heard("docker").is_some_and(|at| at < ahead), "by the engine's present clock");
}

/// What becomes of a request.
pub(crate) enum Relay {
    Pass,
    /// It is answered with 403, as proxies do.
    Refuse,
    /// It is never answered.
    Hold,
    /// It is answered, and the answer ends at once.
    Close,
    /// It is answered with 500.
    Fail,
    /// It is answered with lines that mean nothing, as long as anybody reads.
    Babble,
}

/// Stands before an engine.
pub(crate) fn relay(at: &Path, to: PathBuf, decide: impl Fn(&str) -> Relay + Send + 'static) {
    let listener = UnixListener::bind(at).unwrap();
    thread::spawn(move || {
        let mut held = Vec::new();
        for client in listener.incoming() {
            let Ok(mut client) = client else { return };
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).is_ok_and(|n| n == 1) {
                head.push(byte[0]);
            }
            match decide(&String::from_utf8_lossy(&head)) {
                Relay::Pass => {}
                Relay::Refuse => {
                    let body = "<html><body><h1>403 Forbidden</h1>";
                    let head = "HTTP/1.0 403 Forbidden\r\nContent-Type: text/html\r\n\r\n";
                    let _ = client.write_all(format!("{head}{body}").as_bytes());
                    continue;
                }
                Relay::Hold => {
                    held.push(client);
                    continue;
                }
                Relay::Close => {
                    let _ = client.write_all(b"HTTP/1.0 200 OK\r\n\r\n");
                    continue;
                }
                Relay::Fail => {
                    let body = "{\"message\":\"a plugin is broken\"}";
                    let _ = write!(client, "HTTP/1.0 500 No\r\n\r\n{body}");
                    continue;
                }
                Relay::Babble => {
                    thread::spawn(move || {
                        let mut sent = client.write_all(b"HTTP/1.0 200 OK\r\n\r\n");
                        while sent.is_ok() {
                            thread::sleep(std::time::Duration::from_millis(5));
                            sent = client.write_all(b"no event\n");
                        }
                    });
                    continue;
                }
            }
            let Ok(mut engine) = UnixStream::connect(&to) else { return };
            let _ = engine.write_all(&head);
            let (mut from, mut back) = (engine.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || {
                let _ = std::io::copy(&mut client, &mut engine);
                let _ = engine.shutdown(std::net::Shutdown::Both);
            });
            thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut back);
                let _ = back.shutdown(std::net::Shutdown::Both);
            });
        }
    });
}

#[test]
fn a_container_that_hangs_does_not_hide_the_others() {
    let Some(docker) = Dockerd::start() else { return };
    let stuck = docker.run("stuck", &[], &["sleep", "1000"]);
    docker.run("web", &[], &["sleep", "1000"]);
    let socket = docker.nest().path("stuck.sock");
    let look = format!("/containers/{stuck}/json");
    let decide = move |head: &str| if head.contains(&look) { Relay::Hold } else { Relay::Pass };
    relay(&socket, docker.socket(), decide);
    let seen = Watched::at(&format!("unix://{}", socket.display()));
    seen.container("web", "runs", |c| c.pid > 0);
    // Not before the look at the other has been given up.
    let all = seen.wait("all are listed", |all| lists(all).first().map(|l| l.ids.clone()));
    assert_eq!(all.len(), 2);
    docker.run("late", &[], &["sh", "-c", "exit 3"]);
    seen.container("late", "is down", |c| c.status == ContainerStatus::Exited);
    let broken = |all: &str| all.contains("Broken");
    assert!(!seen.all().iter().any(|one| broken(&format!("{one:?}"))), "{}", seen.shown());
}

/// What becomes of looks at a container for a while.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Broken,
    Hanging,
    Refused,
}

/// A container ends by itself, which is one event, and so many looks at it come to nothing.
fn a_look_is_made_again(docker: &Dockerd, fault: Fault, times: usize) {
    let name = format!("{fault:?}").to_lowercase();
    let id = docker.run(&name, &[], &["sleep", "1000"]);
    let socket = docker.nest().path(&format!("{name}.sock"));
    let look = format!("/containers/{id}/json");
    let left = Arc::new(Mutex::new(0));
    let now = left.clone();
    relay(&socket, docker.socket(), move |head| {
        let mut left = now.lock().unwrap();
        if !head.contains(&look) || *left == 0 {
            return Relay::Pass;
        }
        *left -= 1;
        match fault {
            Fault::Broken => Relay::Close,
            Fault::Hanging => Relay::Hold,
            Fault::Refused => Relay::Refuse,
        }
    });
    let seen = Watched::at(&format!("unix://{}", socket.display()));
    seen.container(&name, "runs", |c| c.pid > 0);
    seen.round();
    *left.lock().unwrap() = times;
    // By nobody that Docker knows of: that is one event, and one look.
    let pid = docker.inspect(&name)["State"]["Pid"].to_string();
    assert!(docker.nest().run(&["busybox", "kill", "-9", &pid]).ok);
    // Not only with the next list, which is 5 min away; a look that hangs is given up after 15 s.
    clock::wait_until(PATIENT, "the look is made again", || {
        let all = seen.all();
        let last = containers(&all, &name).last().map(|c| c.status);
        last == Some(ContainerStatus::Exited)
    });
    assert_eq!(*left.lock().unwrap(), 0, "looks came to nothing");
}

/// For what takes its time by itself, also on a busy machine.
const PATIENT: std::time::Duration = std::time::Duration::from_secs(300);

#[test]
fn a_look_that_fails_once_is_made_again() {
    let Some(docker) = Dockerd::start() else { return };
    // So that not all that there is may be refused.
    docker.run("other", &[], &["sleep", "1000"]);
    a_look_is_made_again(&docker, Fault::Broken, 2);
    a_look_is_made_again(&docker, Fault::Hanging, 1);
    a_look_is_made_again(&docker, Fault::Refused, 3);
}

#[test]
fn a_past_that_takes_podman_too_long_to_tell_keeps_nothing_from_being_watched() {
    let Some(podman) = Podman::start() else { return };
    podman.run("web", &[], &["sleep", "1000"]);
    let socket = podman.nest().path("past.sock");
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = asked.clone();
    relay(&socket, podman.socket(), move |head| {
        let path = head.split(' ').nth(1).unwrap_or_default();
        if !path.contains("/events?") {
            return Relay::Pass;
        }
        kept.lock().unwrap().push(path.to_owned());
        if path.contains("stream=false") { Relay::Hold } else { Relay::Pass }
    });
    let before = Wall(clock::wall_us() - 3_600_000_000);
    let engines = Engines::new(BTreeMap::from([("docker".into(), before)]));
    let address = format!("unix://{}", socket.display());
    let seen = Watched::with(&address, settings(), engines.clone(), false);
    clock::wait_until(PATIENT, "it is watched", || {
        containers(&seen.all(), "web").last().is_some_and(|c| c.pid > 0)
    });
    assert!(engines.heard("docker").is_some_and(|at| at > before), "the next time from now on");
    podman.run("late", &[], &["sh", "-c", "exit 3"]);
    seen.container("late", "is down", |c| c.status == ContainerStatus::Exited);
    let broken = |one: &Observation| format!("{one:?}").contains("Broken");
    assert!(!seen.all().iter().any(broken), "{}", seen.shown());
    let asked = asked.lock().unwrap();
    let (past, live): (Vec<_>, Vec<_>) = asked.iter().partition(|p| p.contains("stream=false"));
    assert_eq!(past.len(), 1, "{asked:#?}");
    assert!(past[0].contains("%22die%22") && !past[0].contains("health_status"), "{}", past[0]);
    assert!(live.iter().all(|path| path.contains("health_status")), "{live:#?}");
}

#[test]
fn an_engine_that_is_reached_by_two_addresses_is_watched_once() {
    let Some(docker) = Dockerd::start() else { return };
    docker.run("web", &[], &["sleep", "1000"]);
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("run")).unwrap();
    let first = root.path().join("run/docker.sock");
    let away = Arc::new(Mutex::new(true));
    let now = away.clone();
    relay(
        &first,
        docker.socket(),
        move |_| {
            if *now.lock().unwrap() { Relay::Close } else { Relay::Pass }
        },
    );
    let places =
        Places { root: root.path().into(), runtime: None, docker_host: Some(docker.address()) };
    let often = Settings { root: "/nowhere".into(), ..settings() };
    let seen = Watched::in_places(places, often, Engines::default(), false);
    seen.container("docker-2/web", "runs, while the first address is of no use", |c| c.pid > 0);
    *away.lock().unwrap() = false;
    // When it has come up, the second one is left out, and it is said why.
    seen.container("web", "runs", |c| c.pid > 0);
    let why = seen.wait("the second is left out", |all| {
        all.iter().find_map(|one| match one {
            Observation::Part(PartSeen { part, state: PartState::Broken(why) })
                if *part == Part::Engine("docker-2".into()) =>
            {
                Some(why.clone())
            }
            _ => None,
        })
    });
    assert!(why.starts_with(&docker.address()), "{why}");
    let other = format!("engine 'docker', which is watched at unix://{} already", first.display());
    assert!(why.contains(&other), "{why}");
    let mark = seen.mark();
    docker.must(&["kill", "web"]);
    seen.events("web", "died 137");
    docker.run("late", &[], &["sh", "-c", "exit 3"]);
    seen.container("late", "is down", |c| c.status == ContainerStatus::Exited);
    let all = seen.all();
    let twice = |one: &Observation| format!("{one:?}").contains("docker-2/");
    assert!(!all[mark..].iter().any(twice), "{}", seen.shown());
    drop(seen);

    // Where the first is there from the beginning, nothing comes by the second.
    let places =
        Places { root: root.path().into(), runtime: None, docker_host: Some(docker.address()) };
    let often = Settings { root: "/nowhere".into(), ..settings() };
    let seen = Watched::in_places(places, often, Engines::default(), false);
    seen.container("late", "is down", |c| c.status == ContainerStatus::Exited);
    seen.wait("the second is left out", |all| {
        all.iter().any(|one| format!("{one:?}").contains("it is left out")).then_some(())
    });
    assert!(!seen.all().iter().any(twice), "{}", seen.shown());
}

#[test]
fn what_goes_over_another_network_is_not_counted_as_a_containers_own() {
    let Some(docker) = Dockerd::start() else { return };
    let sleep = ["sleep", "1000"];
    let own = docker.run("own", &[], &sleep);
    let host = docker.run("host", &["--network", "host"], &sleep);
    let side = docker.run("side", &["--network", "container:own"], &sleep);
    let root = docker.nest().proc().parent().unwrap().to_owned();
    let seen = Watched::with(
        &docker.address(),
        Settings { root, ..settings() },
        Engines::default(),
        false,
    );
    let traffic = |id: &str| {
        let seen = seen.wait("what it uses", |all| usage(all, id).filter(|u| u.memory.is_some()));
        (seen.received, seen.sent)
    };
    assert_eq!(traffic(&own), (Some(0), Some(0)));
    assert_eq!(traffic(&host), (None, None));
    assert_eq!(traffic(&side), (None, None));
}

#[test]
fn an_engine_whose_events_break_off_at_once_is_not_asked_all_the_time() {
    let Some(docker) = Dockerd::start() else { return };
    let socket = docker.nest().path("short.sock");
    relay(&socket, docker.socket(), |head| match head.contains("/events") {
        true if !head.contains("until") => Relay::Close,
        _ => Relay::Pass,
    });
    let patience = std::time::Duration::from_secs(10);
    let often = Settings { patience, ..settings() };
    let address = format!("unix://{}", socket.display());
    let began = clock::monotonic();
    let seen = Watched::with(&address, often, Engines::default(), false);
    seen.wait("a few connections", |all| {
        let works = |one: &&Observation| format!("{one:?}").contains("Works");
        (all.iter().filter(works).count() >= 4).then_some(())
    });
    // Half a second, one, and two.
    assert!((clock::monotonic() - began).as_millis() > 3000, "{}", seen.shown());
}

#[test]
fn an_engine_whose_events_cannot_be_read_is_not_asked_all_the_time() {
    let Some(docker) = Dockerd::start() else { return };
    docker.run("web", &[], &["sleep", "1000"]);
    let socket = docker.nest().path("babble.sock");
    let lists = Arc::new(Mutex::new(0));
    let count = lists.clone();
    relay(&socket, docker.socket(), move |head| {
        *count.lock().unwrap() += u64::from(head.contains("/containers/json"));
        match head.contains("/events") {
            true if !head.contains("until") => Relay::Babble,
            _ => Relay::Pass,
        }
    });
    let began = clock::monotonic();
    let seen = Watched::at(&format!("unix://{}", socket.display()));
    // What was missed is seen all the same.
    seen.container("web", "runs", |c| c.pid > 0);
    docker.must(&["kill", "web"]);
    seen.container("web", "is down", |c| c.status == ContainerStatus::Exited);
    let asked = *lists.lock().unwrap();
    let most = 2 + (clock::monotonic() - began).as_secs() / 10;
    assert!((2..=most).contains(&asked), "{asked} lists; {most} at most");
}

#[test]
fn an_engine_that_cannot_tell_of_its_host_is_watched() {
    let Some(docker) = Dockerd::start() else { return };
    docker.run("web", &[], &["sleep", "1000"]);
    let socket = docker.nest().path("plugin.sock");
    relay(
        &socket,
        docker.socket(),
        |head| {
            if head.contains("/info") { Relay::Fail } else { Relay::Pass }
        },
    );
    let seen = Watched::at(&format!("unix://{}", socket.display()));
    seen.container("web", "runs", |c| c.pid > 0);
    seen.part(0, "works");
}

#[test]
fn a_look_by_hand_restarts_nothing() {
    let Some(docker) = Dockerd::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("keepwell.toml");
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let text = format!(
        "[agent]\nstate_dir = \"{}\"\n\n[containers]\nengines = [\"{}\"]\nfor = \"0s\"\n\n\
         [[container]]\nname = \"web\"\nrestart = true\n\n[[container]]\nname = \"db\"\n",
        state.display(),
        docker.address(),
    );
    std::fs::write(&config, text).unwrap();
    docker.run("web", &[], &["sh", "-c", "exit 3"]);
    docker.run("db", &["--label", "keepwell.restart=true"], &["sh", "-c", "exit 3"]);
    for name in ["web", "db"] {
        clock::wait_until(SOON, "it ends", || docker.status(name) == "exited");
    }
    let runs = || ["web", "db"].map(|name| docker.inspect(name)["State"]["StartedAt"].to_string());
    let check = |more: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_keepwell"))
            .args(["check", "--socket", "/nowhere/keepwell.sock", "--config"])
            .arg(&config)
            .args(more)
            .env_remove("DOCKER_HOST")
            .output()
            .unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
    };
    let before = runs();
    for more in [&[][..], &["--alert"]] {
        let said = check(more);
        assert!(said.contains("container:web"), "{said}");
        assert_eq!(runs(), before, "{more:?}\n{said}");
    }
    // Who asks for it gets it, before the look is over.
    let said = check(&["--restart"]);
    let after = runs();
    assert!(after[0] != before[0] && after[1] != before[1], "{said}");
}

#[test]
fn looks_by_hand_do_not_pile_up_calls_for_a_daemon_that_never_comes() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("keepwell.toml");
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let text =
        format!("[agent]\nstate_dir = \"{}\"\n\n[containers]\nenabled = false\n", state.display());
    std::fs::write(&config, text).unwrap();
    let check = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keepwell"));
        command.args(["check", "--alert", "--socket", "/nowhere/keepwell.sock", "--config"]);
        command.arg(&config).env_remove("DOCKER_HOST").output().unwrap()
    };
    check();
    let database = std::fs::read_dir(&state).unwrap().flatten().map(|entry| entry.path());
    let database = database.into_iter().find(|p| p.extension().is_some_and(|e| e == "db")).unwrap();
    let call = keepwell::engine::hook::HookCall {
        id: "h1".into(),
        number: 1,
        hook: "registry".into(),
        transition: keepwell::engine::hook::Transition::Started,
        at: Wall(1),
        host: "web1".into(),
        container: Default::default(),
    };
    let mut db = rusqlite::Connection::open(&database).unwrap();
    let tx = db.transaction().unwrap();
    for number in 1..=10_100 {
        let call = keepwell::engine::hook::HookCall { number, ..call.clone() };
        let call = serde_json::to_string(&call).unwrap();
        let insert = "INSERT INTO calls (number, hook, attempts, next_at, call) \
                      VALUES (?1, 'registry', 0, 0, ?2)";
        tx.execute(insert, rusqlite::params![number as i64, call]).unwrap();
    }
    tx.commit().unwrap();
    drop(db);
    check();
    let db = rusqlite::Connection::open(&database).unwrap();
    let left: (i64, i64) = db
        .query_row("SELECT count(*), min(number) FROM calls", [], |r| Ok((r.get(0)?, r.get(1)?)))
        .unwrap();
    assert_eq!(left, (10_000, 101));
}

/// Takes what hooks tell; each as `event name`.
fn receiver() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = told.clone();
    thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(client) = client else { return };
            let mut line = String::new();
            let mut reader = BufReader::new(client);
            let _ = reader.read_line(&mut line);
            let path = line.split_whitespace().nth(1).unwrap_or_default();
            kept.lock().unwrap().push(path.trim_start_matches('/').replace('/', " "));
            let mut head = String::new();
            while reader.read_line(&mut head).is_ok_and(|n| n > 2) {
                head.clear();
            }
            let mut client = reader.into_inner();
            let _ = client.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        }
    });
    (port, told)
}

#[test]
fn a_reload_while_the_engine_is_away_forgets_nothing_and_tells_nothing_twice() {
    let Some(mut docker) = Dockerd::start_with(&["--live-restore"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (port, told) = receiver();
    let rest = format!(
        "\n[containers]\nengines = [\"{}\"]\n\n[[hook]]\nname = \"all\"\ntype = \"http\"\n\
         method = \"GET\"\nurl = \"http://127.0.0.1:{port}/{{{{ event }}}}/{{{{ container.name }}}}\"\n",
        docker.address(),
    );
    let keepwell = Daemon::start(folder.path(), &rest);
    let log = || keepwell.log();
    let wait = |what: &str, mut until: Box<dyn FnMut() -> bool + '_>| {
        let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            clock::wait_until(SOON, what, &mut until);
        }));
        assert!(waited.is_ok(), "{what}\n{:?}\n{}", told.lock().unwrap(), log());
    };
    let of = |name: &str| -> Vec<String> {
        let told = told.lock().unwrap();
        told.iter().filter(|one| one.ends_with(&format!(" {name}"))).cloned().collect()
    };
    wait("keepwell runs", Box::new(|| log().contains("watches this host")));
    for name in ["web", "gone"] {
        docker.run(name, &[], &["sleep", "1000"]);
        wait("its start is told", Box::new(|| of(name).len() == 2));
    }
    docker.kill_daemon();
    let pid = rustix::process::Pid::from_raw(keepwell.pid().try_into().unwrap()).unwrap();
    for number in 1..=2 {
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
        let said = || log().matches("the configuration has been reloaded").count();
        wait("it has been reloaded", Box::new(|| said() == number));
    }
    docker.start_daemon();
    docker.must(&["rm", "--force", "gone"]);
    docker.run("late", &[], &["sleep", "1000"]);
    wait("what is new is told", Box::new(|| of("late").len() == 2));
    wait("what is gone is told", Box::new(|| of("gone").len() == 4));
    assert_eq!(of("web"), ["created web", "started web"], "{}", log());
    let gone = of("gone");
    assert_eq!(gone[..2], ["created gone", "started gone"]);
    assert_eq!(gone[3], "removed gone", "{gone:?}");
}
