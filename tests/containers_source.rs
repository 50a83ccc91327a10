//! What the source of containers sees of a real Docker daemon: each thing that happens to a
//! container, and what becomes of it when the daemon is killed, hangs, or was never there.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "containers/acts.rs"]
mod acts;
#[allow(dead_code, reason = "no test uses all of it")]
#[path = "support/clock.rs"]
mod clock;
#[path = "containers/daemon.rs"]
mod daemon;
#[path = "support/dockerd.rs"]
mod dockerd;
#[path = "support/nest.rs"]
mod nest;
#[path = "containers/odd.rs"]
mod odd;
#[path = "support/podman.rs"]
mod podman;
#[path = "containers/podman.rs"]
mod podman_source;
#[path = "containers/refused.rs"]
mod refused;
#[path = "containers/watched.rs"]
mod watched;

use std::path::Path;
use std::time::Duration;

use dockerd::Dockerd;
use keepwell::docker::Engines;
use keepwell::engine::observation::{ContainerStatus, Health, Policy};
use keepwell::engine::{Observation, Wall};
use keepwell::sources::containers::{Places, Settings};
use watched::{Watched, containers, events, lists, settings, story, usage};

#[test]
fn each_thing_that_happens_to_a_container_is_seen() {
    let Some(docker) = Dockerd::start() else { return };
    let before = docker.run("before", &["--label", "a=b"], &["sleep", "1000"]);
    let seen = Watched::at(&docker.address());
    seen.round();
    let all = seen.all();
    assert!(events(&all, "before").is_empty(), "what was before keepwell is no event");
    assert_eq!(containers(&all, "before")[0].labels["a"], "b");
    assert_eq!(lists(&all)[0].ids, [before.as_str().into()]);
    assert!(lists(&all)[0].cpus > 0 && lists(&all)[0].memory > 1 << 20);
    let at = |wanted: fn(&Observation) -> bool| all.iter().position(wanted).unwrap();
    let order = [
        at(|one| matches!(one, Observation::Part(_))),
        at(|one| matches!(one, Observation::Container(_))),
        at(|one| matches!(one, Observation::Containers(_))),
        at(|one| matches!(one, Observation::Round(_))),
    ];
    assert!(order.is_sorted(), "{}", seen.shown());

    // Made, started, stopped by a person.
    docker.must(&["create", "--name", "web", "--network", "none", nest::IMAGE]);
    seen.container("web", "is made", |c| c.status == ContainerStatus::Created);
    docker.must(&["start", "web"]);
    let first = seen.container("web", "runs", |c| c.status == ContainerStatus::Running);
    assert!(first.pid > 0 && first.started.is_some() && first.run().is_some());
    docker.must(&["stop", "--time", "1", "web"]);
    let stopped = seen.container("web", "is down", |c| c.status == ContainerStatus::Exited);
    assert_eq!((stopped.exit_code, stopped.run()), (137, first.run()));
    let told = seen.events("web", "stopped");
    assert_eq!(told, ["created", "started", "killed 15", "killed 9", "died 137", "stopped"]);

    // Crashed; killed by somebody; given a new name; removed; made again under the same name.
    docker.run("crash", &[], &["sh", "-c", "exit 3"]);
    let crashed = seen.container("crash", "is down", |c| c.status == ContainerStatus::Exited);
    assert_eq!((crashed.exit_code, crashed.policy), (3, Policy::No));
    assert_eq!(seen.events("crash", "died 3"), ["created", "started", "died 3"]);
    docker.must(&["rename", "crash", "crashed"]);
    seen.container("crashed", "has its name", |c| c.id == crashed.id);
    docker.must(&["rm", "crashed"]);
    assert_eq!(seen.events("crashed", "removed"), ["renamed", "removed"]);
    docker.run("crash", &[], &["sleep", "1000"]);
    let again = seen.container("crash", "is new", |c| c.id != crashed.id && c.pid > 0);
    assert_eq!(again.status, ContainerStatus::Running);
    docker.must(&["kill", "--signal", "HUP", "crash"]);
    seen.events("crash", "killed 1");
    docker.must(&["pause", "crash"]);
    seen.container("crash", "is paused", |c| c.status == ContainerStatus::Paused);
    docker.must(&["unpause", "crash"]);
    docker.must(&["restart", "--time", "0", "crash"]);
    seen.container("crash", "runs anew", |c| c.run() != again.run() && c.pid > 0);
    seen.events("crash", "restarted");

    // One that cannot be started; its limits may change while it runs.
    assert!(!docker.docker(&["run", "--name", "bad", "--network", "none", nest::IMAGE, "/no"]).ok);
    let bad = seen.container("bad", "has not started", |c| !c.error.is_empty());
    assert!(bad.error.contains("/no"), "{}", bad.error);
    assert_eq!((bad.status, bad.started), (ContainerStatus::Created, None));
    docker.must(&["update", "--memory", "64m", "--memory-swap", "64m", "before"]);
    seen.container("before", "has a limit", |c| c.memory_limit == Some(64 << 20));

    let mark = seen.mark();
    seen.resync.notify_waiters();
    seen.wait_from(mark, "a round on demand", |all| {
        all.iter().any(|one| matches!(one, Observation::Round(_))).then_some(())
    });
    assert_eq!(lists(&seen.all()[mark..])[0].ids.len(), 4);
}

#[test]
fn health_memory_and_restarts_by_policy_are_seen() {
    let Some(docker) = Dockerd::start() else { return };
    let seen = Watched::at(&docker.address());
    seen.round();
    let check = "test -e /well || { echo no token=abcdefgh1234; exit 1; }";
    let options = ["--health-cmd", check, "--health-interval", "200ms", "--health-retries", "2"];
    docker.run("ill", &options, &["sleep", "1000"]);
    let health = |wanted: Health| {
        seen.container("ill", wanted.as_str(), |c| {
            c.health.as_ref().is_some_and(|h| h.status == wanted)
        })
    };
    let ill = health(Health::Unhealthy).health.unwrap();
    assert_eq!(&*ill.output, "no token=***");
    assert!(ill.failing >= 2);
    docker.must(&["exec", "ill", "touch", "/well"]);
    health(Health::Healthy);
    let told = seen.events("ill", "healthy");
    assert_eq!(told, ["created", "started", "unhealthy", "healthy"], "no checks, only changes");

    // None is lost: not an end, not a start, not a count.
    docker.run("loop", &["--restart", "on-failure:4"], &["sh", "-c", "exit 7"]);
    let looped = seen.container("loop", "has given up", |c| {
        c.restart_count == 4 && c.status == ContainerStatus::Exited
    });
    assert_eq!((looped.exit_code, looped.policy), (7, Policy::OnFailure(4)));
    let told = seen.wait("each end", |all| {
        let told = story(all, "loop");
        (told.iter().filter(|one| *one == "died 7").count() == 5).then_some(told)
    });
    assert_eq!(told.iter().filter(|one| *one == "started").count(), 5);

    if docker.oom_kills() {
        docker.run("fat", &["--memory", "16m"], &["tail", "/dev/zero"]);
        let fat = seen.container("fat", "is down", |c| c.status == ContainerStatus::Exited);
        assert!(fat.oom_killed);
        assert_eq!((fat.exit_code, fat.memory_limit), (137, Some(16 << 20)));
        seen.events("fat", "oom");
    }
}

#[test]
fn what_happened_while_nobody_listened_is_asked_for() {
    let Some(docker) = Dockerd::start() else { return };
    let one = docker.run("one", &[], &["sleep", "1000"]);
    let engines = Engines::default();
    {
        let seen = Watched::with(&docker.address(), settings(), engines.clone(), false);
        seen.round();
        docker.run("two", &[], &["sleep", "1000"]);
        seen.container("two", "runs", |c| c.pid > 0);
    }
    assert!(engines.heard("docker").is_some());
    docker.must(&["stop", "--time", "0", "one"]);
    docker.run("three", &[], &["sh", "-c", "exit 5"]);
    clock::wait_until(watched::SOON, "three ends", || docker.status("three") == "exited");
    docker.must(&["rm", "--force", "two"]);
    let seen = Watched::with(&docker.address(), settings(), engines, false);
    seen.round();
    let all = seen.all();
    assert_eq!(story(&all, "one").last().map(String::as_str), Some("stopped"));
    assert_eq!(story(&all, "three"), ["created", "started", "died 5"]);
    assert_eq!(story(&all, "two").last().map(String::as_str), Some("removed"));
    assert!(events(&all, "three").iter().all(|event| event.replayed));
    let first = all.iter().position(|o| matches!(o, Observation::Container(_))).unwrap();
    let last = all.iter().rposition(|o| matches!(o, Observation::ContainerEvent(_))).unwrap();
    assert!(last < first, "first what happened, then what is\n{}", seen.shown());
    assert_eq!(lists(&all)[0].ids.len(), 2);
    assert!(lists(&all)[0].ids.contains(&one.as_str().into()));
    // From now on it is news.
    docker.must(&["start", "one"]);
    let told = seen.wait("the start", |all| {
        events(all, "one").last().filter(|e| !e.replayed).copied().cloned()
    });
    assert_eq!(format!("{:?}", told.what), "Started");
}

#[test]
fn a_daemon_that_is_killed_is_told_late_and_found_again() {
    let Some(mut docker) = Dockerd::start() else { return };
    docker.run("web", &[], &["sleep", "1000"]);
    let patient = Settings { patience: Duration::from_secs(600), ..settings() };
    let seen = Watched::with(&docker.address(), patient, Engines::default(), false);
    seen.round();
    // A quick restart is no news of the engine, but what became of its containers is.
    let mark = seen.mark();
    docker.kill_daemon();
    docker.start_daemon();
    seen.part(mark, "works");
    let ended = seen.wait_from(mark, "web has ended with it", |all| {
        containers(all, "web").last().copied().filter(|c| c.pid == 0).cloned()
    });
    assert_eq!(ended.status, ContainerStatus::Exited);
    let away = seen.wait_from(mark, "since when it was away", |all| {
        all.iter().find_map(|one| match one {
            Observation::EngineAway(away) => Some((away.from, away.to)),
            _ => None,
        })
    });
    let finished = ended.finished.expect("it ended");
    assert!(away.0 <= finished && finished <= away.1, "{away:?} {finished:?}");
    let broken = |one: &Observation| format!("{one:?}").contains("Broken");
    assert!(!seen.all().iter().any(broken), "{}", seen.shown());
    drop(seen);

    let seen = Watched::at(&docker.address());
    seen.round();
    let mark = seen.mark();
    docker.kill_daemon();
    let why = seen.part(mark, "broken");
    assert!(why.contains("connection refused; start the engine"), "{why}");
    let mark = seen.mark();
    docker.start_daemon();
    seen.part(mark, "works");
    docker.must(&["start", "web"]);
    seen.wait_from(mark, "web runs", |all| {
        containers(all, "web").last().filter(|c| c.pid > 0).map(|_| ())
    });
}

#[test]
fn an_engine_that_was_removed_is_in_the_end_missed_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let places = Places { root: dir.path().into(), runtime: None, docker_host: None };
    let known = || {
        let engines = Engines::default();
        engines.known_up_to([("docker".into(), Wall(1))].into());
        engines
    };
    let soon = Settings { removed: Duration::from_secs(1), ..settings() };
    let engines = known();
    let seen = Watched::in_places(places, soon.clone(), engines.clone(), false);
    seen.part(0, "absent");
    assert!(engines.known().is_empty(), "a reload does not miss it again");
    drop(seen);

    // What something names is missed however long it is away.
    let engines = known();
    let address = format!("unix://{}/run/docker.sock", dir.path().display());
    let soon = Settings { removed: Duration::ZERO, ..soon };
    let seen = Watched::with(&address, soon, engines.clone(), false);
    seen.part(0, "broken");
    assert!(!engines.known().is_empty());
}

#[test]
fn a_daemon_that_hangs_is_noticed() {
    let Some(docker) = Dockerd::start() else { return };
    let quick = Settings { quiet: Duration::from_millis(500), ..settings() };
    let seen = Watched::with(&docker.address(), quick.clone(), Engines::default(), false);
    seen.round();
    let mark = seen.mark();
    docker.freeze();
    let why = seen.part(mark, "broken");
    assert!(why.contains("did not answer"), "{why}");
    // Another that begins now has its first round all the same.
    let round = Settings::default().round;
    let hasty = Settings { round, ..quick };
    let second = Watched::with(&docker.address(), hasty, Engines::default(), false);
    second.round();
    // Who looks once is told of it before the look is over.
    let once = Watched::with(&docker.address(), Settings::default(), Engines::default(), true);
    once.round();
    assert!(once.part(0, "broken").contains("did not answer"), "{}", once.shown());
    let mark = seen.mark();
    docker.thaw();
    seen.part(mark, "works");
    second.part(0, "works");
}

#[test]
fn without_an_engine_nothing_is_said_and_one_that_appears_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let places = || Places { root: dir.path().into(), runtime: None, docker_host: None };
    let seen = Watched::in_places(places(), settings(), Engines::default(), false);
    seen.round();
    assert_eq!(seen.mark(), 2, "{}", seen.shown());
    assert_eq!(seen.all()[0], Observation::Engines(Vec::new()));
    // One that nobody asked for and that does not answer is nobody's fault.
    std::fs::create_dir(dir.path().join("run")).unwrap();
    let socket = dir.path().join("run/docker.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let why = seen.part(0, "absent");
    assert!(why.contains("connection refused"), "{why}");
    let Some(docker) = Dockerd::start() else { return };
    docker.run("web", &[], &["sleep", "1000"]);
    std::fs::remove_file(&socket).unwrap();
    std::os::unix::fs::symlink(docker.socket(), &socket).unwrap();
    seen.container("web", "is found", |c| c.pid > 0);
    drop(seen);
    // One that was there before keepwell was started is missed.
    let empty = tempfile::tempdir().unwrap();
    let known = Engines::new([("docker".into(), Wall(1))].into());
    let places = Places { root: empty.path().into(), runtime: None, docker_host: None };
    let missing = Watched::in_places(places, settings(), known, false);
    missing.round();
    assert_eq!(missing.all()[0], Observation::Engines(vec!["docker".into()]));
    assert!(missing.part(0, "broken").contains("docker.sock"));
    // Where somebody counts on it, it is missed.
    let away = Watched::at("unix:///nowhere/d.sock");
    away.round();
    let why = away.part(0, "broken");
    assert!(why.starts_with("there is no container engine at unix:///nowhere/d.sock"), "{why}");
    let once =
        Watched::with("unix:///nowhere/d.sock", Settings::default(), Engines::default(), true);
    once.part(0, "broken");
    once.round();
}

#[test]
fn one_look_is_one_round() {
    let Some(docker) = Dockerd::start() else { return };
    let id = docker.run("web", &[], &["sleep", "1000"]);
    let seen = Watched::with(&docker.address(), Settings::default(), Engines::default(), true);
    seen.round();
    let all = seen.all();
    assert_eq!(containers(&all, "web").len(), 1);
    assert_eq!(lists(&all).len(), 1);
    assert!(usage(&all, &id).is_some_and(|u| u.memory.is_some()), "{all:?}");
}

#[test]
fn what_containers_use_is_the_same_by_files_and_by_asking() {
    let Some(docker) = Dockerd::start() else { return };
    let id = docker.run("busy", &[], &["sh", "-c", "while :; do :; done"]);
    let asked = Watched::at(&docker.address());
    let root = docker.nest().proc();
    let root: &Path = root.parent().unwrap();
    let files = Settings { root: root.into(), ..settings() };
    let read = Watched::with(&docker.address(), files, Engines::default(), false);
    // Numbers of processes are those of the daemon's namespace: elsewhere they prove nothing.
    for (how, seen) in [("asked", &asked), ("read", &read)] {
        let used = seen.wait(&format!("{how}: it is busy"), |all| {
            // Of a machine that others keep busy it may have little; and a look that was held up
            // has more in it than its time.
            usage(all, &id).filter(|u| u.cpus.is_some_and(|cpus| cpus > 0.02 && cpus < 1.5))
        });
        assert!(used.memory.is_some_and(|m| (10_000..50_000_000).contains(&m)), "{how}: {used:?}");
        assert_eq!(used.pids, Some(1), "{how}");
        assert!(used.cpu_seconds.is_some(), "{how}");
        assert!(used.read.is_some() && used.written.is_some(), "{how}: {used:?}");
    }
}

/// What a sampling of 50 containers costs, by files and by asking; for `docs/benchmarks.md`.
#[test]
#[ignore = "a measurement: takes a minute, and prints figures"]
fn what_a_sampling_costs() {
    const CONTAINERS: usize = 50;
    let Some(docker) = Dockerd::start() else { return };
    for number in 0..CONTAINERS {
        docker.run(&format!("b{number}"), &[], &["sleep", "100000"]);
    }
    let nest = docker.nest().proc();
    // In clock ticks of 10 ms, of all processes in the daemon's namespace.
    let engine = || -> u64 {
        let all = std::fs::read_dir(&nest).unwrap().flatten();
        let stats = all.filter_map(|e| std::fs::read_to_string(e.path().join("stat")).ok());
        let times = stats.map(|stat| {
            let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
            let of = rest.split_whitespace().skip(11).take(4).filter_map(|n| n.parse::<u64>().ok());
            of.sum::<u64>()
        });
        times.sum()
    };
    let own = || {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        t.tv_sec as f64 + t.tv_nsec as f64 / 1e9
    };
    for (how, root) in [("files", nest.parent().unwrap()), ("asking", Path::new("/nowhere"))] {
        let often =
            Settings { interval: Duration::from_millis(1000), root: root.into(), ..settings() };
        let seen = Watched::with(&docker.address(), often, Engines::default(), false);
        seen.round();
        let samplings = || {
            let of = |one: &&Observation| matches!(one, Observation::ContainerUsage(u) if u.len() == CONTAINERS);
            seen.all().iter().filter(of).count()
        };
        clock::wait_until(watched::SOON, "the first sampling", || samplings() > 0);
        let (first, engine_before, own_before) = (samplings(), engine(), own());
        std::thread::sleep(Duration::from_secs(15));
        let count = (samplings() - first) as f64;
        let engine = (engine() - engine_before) as f64 * 10.0 / count;
        let own = (own() - own_before) * 1000.0 / count;
        println!("{how}: {count} samplings, each: the engine {engine:.1} ms, keepwell {own:.1} ms");
    }
    let seen = Watched::with(&docker.address(), Settings::default(), Engines::default(), false);
    seen.round();
    let before = engine();
    std::thread::sleep(Duration::from_secs(15));
    println!("at rest the engine takes {} ms in 15 s", (engine() - before) * 10);
}

#[test]
fn events_tell_the_labels_of_what_came_and_went() {
    let Some(docker) = Dockerd::start() else { return };
    let before = Wall(clock::wall_us());
    let labels = ["--label", "keepwell.hooks=false", "--label", "tier=front-1"];
    docker.run("brief", &[&["--rm"][..], &labels].concat(), &["true"]);
    clock::wait_for(watched::SOON, "its removal", || {
        docker.must(&["ps", "--all", "--quiet"]).trim().is_empty().then_some(())
    });
    let engines = Engines::new([("docker".into(), before)].into());
    let seen = Watched::with(&docker.address(), settings(), engines, false);
    seen.events("brief", "removed");
    let all = seen.all();
    for event in events(&all, "brief") {
        assert!(event.replayed, "{event:?}");
        let labels: Vec<String> = event.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(labels, ["keepwell.hooks=false", "tier=front-1"], "{event:?}");
    }
}
