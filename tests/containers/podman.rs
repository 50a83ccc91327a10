//! The same source against a real Podman, for what it supports: its event stream has no signals, and
//! its health checks run only when somebody runs them.

use keepwell::actions::ContainerRestarter;
use keepwell::docker::Engines;
use keepwell::engine::Observation;
use keepwell::engine::RestartResult;
use keepwell::engine::observation::{ContainerStatus, Health};

use super::clock::wait_for;
use super::podman::Podman;
use super::watched::{Watched, events, lists, settings, story, usage};

#[test]
fn each_thing_that_happens_to_a_container_of_podman_is_seen() {
    let Some(podman) = Podman::start() else { return };
    let before = podman.run("before", &[], &["sleep", "1000"]);
    let seen = Watched::at(&podman.address());
    seen.container("before", "runs", |c| c.pid > 0);
    // A round is over after 5 s, whatever it takes; a list comes when it is complete.
    let ids = seen.wait("all are listed", |all| lists(all).first().map(|l| l.ids.clone()));
    assert_eq!(ids, [before.as_str().into()]);
    let check = ["--health-cmd", "test -e /well", "--health-interval", "disable"];
    let options = [&check[..], &["--health-retries", "1"]].concat();
    podman.run("ill", &options, &["sleep", "1000"]);
    seen.container("ill", "runs", |c| c.status == ContainerStatus::Running && c.pid > 0);
    let so = |health: Health| {
        // A check that was under way when it was asked for another says nothing.
        wait_for(super::watched::SOON, health.as_str(), || {
            podman.check_health("ill");
            let is = podman.inspect("ill")["State"]["Health"]["Status"].clone();
            (is == health.as_str()).then_some(())
        });
        seen.container("ill", health.as_str(), |c| {
            c.health.as_ref().is_some_and(|h| h.status == health)
        })
    };
    so(Health::Unhealthy);
    podman.must(&["exec", "ill", "touch", "/well"]);
    so(Health::Healthy);

    podman.run("crash", &[], &["sh", "-c", "exit 3"]);
    let crashed = seen.container("crash", "is down", |c| c.status == ContainerStatus::Exited);
    assert_eq!(crashed.exit_code, 3);
    assert_eq!(seen.events("crash", "died 3"), ["created", "started", "died 3"]);
    let acts = ContainerRestarter::new(seen.engines.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let done = runtime.block_on(acts.restart("docker", &crashed.id, crashed.run(), false));
    assert_eq!(done, RestartResult::Done);
    seen.container("crash", "has run again", |c| c.run() != crashed.run());

    let before = podman.inspect("crash")["State"]["StartedAt"].clone();
    assert_eq!(super::acts::may_restart(&podman.socket()), Ok(()));
    assert_eq!(podman.inspect("crash")["State"]["StartedAt"], before, "to ask changes nothing");

    podman.run("loop", &["--restart", "on-failure:2"], &["sh", "-c", "exit 7"]);
    let told = seen.wait("each end", |all| {
        let told = story(all, "loop");
        (told.iter().filter(|one| *one == "died 7").count() == 3).then_some(told)
    });
    assert!(!told.contains(&"restarted".to_owned()), "nobody has restarted it: {told:?}");
    seen.container("loop", "has given up", |c| {
        c.restart_count == 2 && c.status == ContainerStatus::Exited
    });
    podman.must(&["kill", "before"]);
    let told = seen.events("before", "died 137");
    assert_eq!(told, ["killed 9", "died 137"]);
    podman.must(&["rename", "crash", "crashed"]);
    podman.must(&["rm", "--force", "crashed"]);
    assert_eq!(seen.events("crashed", "removed"), ["renamed", "removed"]);
    let ill = seen.container("ill", "runs", |c| c.pid > 0);
    seen.wait("what it uses", |all| usage(all, &ill.id).filter(|u| u.cpu_seconds.is_some()));
}

#[test]
fn what_happened_to_podman_while_nobody_listened_is_asked_for() {
    let Some(mut podman) = Podman::start() else { return };
    podman.run("one", &[], &["sleep", "1000"]);
    let engines = Engines::default();
    let seen = Watched::with(&podman.address(), settings(), engines.clone(), false);
    seen.round();
    // Podman has no daemon: what happens meanwhile is in its own record of events.
    let mark = seen.mark();
    podman.kill_service();
    seen.part(mark, "broken");
    podman.run("two", &[], &["sh", "-c", "exit 5"]);
    podman.must(&["stop", "--time", "0", "one"]);
    let mark = seen.mark();
    podman.start_service();
    seen.part(mark, "works");
    let told = seen.wait("what happened", |all| {
        let told = story(all, "two");
        told.contains(&"died 5".to_owned()).then_some(told)
    });
    assert_eq!(told, ["created", "started", "died 5"]);
    seen.container("one", "is down", |c| c.status == ContainerStatus::Exited);
    let replayed = seen
        .all()
        .iter()
        .any(|one| matches!(one, Observation::ContainerEvent(event) if event.replayed));
    assert!(replayed, "{}", seen.shown());
}

#[test]
fn events_of_podman_tell_labels_too() {
    let Some(podman) = Podman::start() else { return };
    let seen = Watched::at(&podman.address());
    seen.round();
    podman.run("brief", &["--rm", "--label", "keepwell.hooks=false"], &["true"]);
    seen.events("brief", "removed");
    let all = seen.all();
    let told: Vec<String> = (events(&all, "brief").iter())
        .map(|event| format!("{:?} {:?}", event.what, event.labels))
        .collect();
    let labels = r#"{"keepwell.hooks": "false"}"#;
    assert_eq!(
        told,
        [
            format!("Created {labels}"),
            format!("Started {labels}"),
            format!("Died {{ exit_code: 0 }} {labels}"),
            format!("Removed {labels}"),
        ]
    );
}
