//! Containers on a host with Docker, and keepwell as it is shipped, unprivileged and hardened: who
//! is told of what, what is restarted, what a person did is left alone, and what happens when the
//! Docker daemon itself is the trouble.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "support/docker_host.rs"]
mod docker_host;
#[path = "support/scene.rs"]
mod scene;
#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use docker_host::UNTIL_TOLD;
use scene::{LONG, QUICK, UNITS_ONLY, equals, watch};
use support::*;

/// The check of Docker's own socket.
const ENGINE: &str = "agent:engine-docker";
/// Containers count as down at once, and a repeat is told again.
const SOON: &str =
    "[containers]\nfor = \"0s\"\ncooldown = \"0s\"\n\n[alerts]\ncooldown = \"0s\"\n\n";
/// Never, as far as a scene can tell.
const A_WHILE: Duration = Duration::from_secs(5);

/// The shipped unit, and the drop-in that lets it use Docker.
#[track_caller]
fn install(c: &Container, config: &str) {
    c.install_keepwell(&format!("{UNITS_ONLY}{config}"), User::Keepwell);
    c.install_ways_to_docker();
}

#[track_caller]
fn give_access(c: &Container) {
    c.sh("install -D -m 644 /usr/share/keepwell/docker.conf \
          /etc/systemd/system/keepwell.service.d/docker.conf");
    c.systemctl(&["daemon-reload"]);
}

/// Installs, gives access, starts, and waits until the containers are known.
#[track_caller]
fn begin(c: &Container, config: &str) {
    install(c, config);
    give_access(c);
    c.start_keepwell();
    c.wait_for_check(ENGINE, "healthy", "works");
}

/// `State.StartedAt`: which run of a container it is.
#[track_caller]
fn run(c: &Container, name: &str) -> String {
    c.docker_inspect(name, ".State.StartedAt").to_string()
}

#[track_caller]
fn runs_anew(c: &Container, name: &str, before: &str) {
    watch(
        LONG,
        &format!("{name} runs again"),
        || (run(c, name), c.docker_inspect(name, ".State.Running")),
        |(now, running)| (now != before && *running == true).then_some(()),
    );
}

/// Alerts about containers that are open, as `check (kind)`. The kernel is this machine's, so that
/// of other tests' kills for want of memory is told here too.
fn open(c: &Container) -> Vec<String> {
    let out = c.keepwell(&["alerts", "list", "--json"]).stdout;
    let list: serde_json::Value = serde_json::from_str(&out).unwrap_or_default();
    let alerts = list["alerts"].as_array().cloned().unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let all = alerts.iter().map(|a| format!("{} ({})", text(&a["check"]), text(&a["kind"])));
    all.filter(|alert| alert.starts_with("container:") || alert.starts_with("agent:")).collect()
}

/// Somebody was told of a container, or of its engine.
fn told_of_containers(receiver: &Receiver<'_>) -> bool {
    let about = |told: &scene::Told| told.check.starts_with("container:") || told.check == ENGINE;
    receiver.told().iter().any(about)
}

#[test]
fn a_host_whose_docker_it_may_not_use_hears_of_it_only_when_it_was_asked_for() {
    let Some(c) = docker_host::boot() else { return };
    let receiver = c.receiver();
    c.docker_run("web", "");
    install(&c, &Receiver::channel());
    c.start_keepwell();
    // Nobody asked for containers: nothing is wrong, and the log does not speak of it.
    never(A_WHILE, "it is told", || told_of_containers(&receiver));
    // Kills for want of memory, which other tests cause, are the host's.
    let bad = |(id, check): &(String, serde_json::Value)| {
        !id.starts_with("host:") && check["severity"] != "healthy"
    };
    let bad: Vec<_> = c.checks().into_iter().filter(bad).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    let log = c.journal(&["--unit=keepwell", "--output=cat", "--priority=notice"]);
    assert!(!log.contains("docker"), "{log}");
    // But who looks for it finds it.
    let doctor = c.keepwell(&["doctor"]).stdout;
    let line = doctor.lines().find(|line| line.contains("docker"));
    assert!(line.is_some_and(|line| line.contains("docker.sock")), "{doctor}");

    // Somebody asks for one.
    c.configure(&format!(
        "{UNITS_ONLY}{SOON}{}[[container]]\nname = \"web\"\n",
        Receiver::channel()
    ));
    c.systemctl(&["reload", "keepwell"]);
    receiver.wait_for_events(ENGINE, "state", &["opened"]);
    let told = receiver.told().remove(0);
    assert_eq!(told.severity, "warning", "{told:?}");
    assert!(told.summary.contains("/run/docker.sock"), "{told:?}");
    assert!(receiver.accepted()[0].to_string().contains("group"), "says what to do");

    // And has it.
    give_access(&c);
    c.systemctl(&["restart", "keepwell"]);
    receiver.wait_for_events(ENGINE, "state", &["opened", "resolved"]);
    c.wait_for_check("container:web", "healthy", "running");
}

#[test]
fn what_crashes_is_restarted_or_told_and_what_a_person_stops_is_left_alone() {
    let Some(c) = docker_host::boot() else { return };
    let receiver = c.receiver();
    for name in ["mine", "other", "careless"] {
        c.docker_run(name, UNTIL_TOLD);
    }
    c.docker_run(
        "by-label",
        &format!("--label keepwell.restart=true --label keepwell.required=true {UNTIL_TOLD}"),
    );
    c.docker_run("unseen", &format!("--label keepwell.enable=false {UNTIL_TOLD}"));
    begin(
        &c,
        &format!(
            "{SOON}{}[[container]]\nname = \"mine\"\nrestart = true\n{QUICK}\n",
            Receiver::channel()
        ),
    );
    for name in ["mine", "other", "careless", "by-label"] {
        c.wait_for_check(&format!("container:{name}"), "healthy", "running");
    }
    assert!(c.look_at("container:unseen").is_null());

    // A person stops one, in each way there is.
    c.sh("docker stop --time 1 careless && docker start careless && docker kill careless");
    c.wait_for_check("container:careless", "healthy", "stopped-by-operator");
    c.sh("docker restart --time 0 careless && docker pause careless");
    c.wait_for_check("container:careless", "healthy", "paused");
    c.sh("docker unpause careless && docker rm --force careless");

    // One crashes that may be restarted, and comes back; it is told, with its last words.
    let before = run(&c, "mine");
    c.docker_crash("mine", 3);
    runs_anew(&c, "mine", &before);
    receiver.wait_for_events("container:mine", "state", &["opened", "resolved"]);
    let message =
        receiver.accepted().into_iter().find(|m| m.to_string().contains("container:mine")).unwrap();
    assert!(message.to_string().contains("it broke on purpose"), "{message:#}");
    assert!(message["alerts"][0]["summary"].as_str().unwrap().contains('3'), "{message:#}");
    let reasons: Vec<String> = c.decisions("container:mine").into_iter().map(|d| d.0).collect();
    for reason in ["restart-scheduled", "restart-done", "restored"] {
        assert!(reasons.iter().any(|r| r == reason), "{reason}: {reasons:?}");
    }

    // One that was labelled so; it is critical, for it is required.
    let before = run(&c, "by-label");
    c.docker_crash("by-label", 1);
    runs_anew(&c, "by-label", &before);
    watch(
        LONG,
        "it is told",
        || receiver.told(),
        |told| {
            told.iter()
                .any(|t| t.check == "container:by-label" && t.severity == "critical")
                .then_some(())
        },
    );

    // And one that may not: it stays as it is until a person starts it.
    c.docker_crash("other", 9);
    receiver.wait_for_events("container:other", "state", &["opened"]);
    let told = receiver.told().into_iter().find(|t| t.check == "container:other").unwrap();
    assert_eq!(
        (told.severity.as_str(), told.reason.as_str()),
        ("warning", "exit-code"),
        "{told:?}"
    );
    never(A_WHILE, "it is restarted", || c.docker_inspect("other", ".State.Running") == true);
    c.sh("docker start other");
    receiver.wait_for_events("container:other", "state", &["opened", "resolved"]);

    // What was left out, and what persons did, nobody was told of.
    c.docker_crash("unseen", 1);
    never(A_WHILE, "it is told", || {
        let told = receiver.told();
        told.iter().any(|t| ["container:unseen", "container:careless"].contains(&t.check.as_str()))
    });
    equals(LONG, "nothing is left open", &Vec::new(), || open(&c));
}

#[test]
fn unhealthy_and_looping_containers_and_those_that_share_a_network() {
    let Some(c) = docker_host::boot() else { return };
    let receiver = c.receiver();
    let check = "--health-cmd 'test ! -e /sick' --health-interval 1s --health-retries 1";
    c.docker_run("sick", &format!("{check} busybox sh -c 'rm -f /sick; sleep 100000'"));
    c.docker_run("net", "");
    c.sh("docker run --detach --name guest --network container:net busybox");
    begin(
        &c,
        &format!(
            "{SOON}{}[[container]]\nname = \"sick\"\nrestart = true\n{QUICK}\n\
             [[container]]\nname = \"guest\"\nrestart = true\n{QUICK}\n",
            Receiver::channel()
        ),
    );
    c.wait_for_check("container:sick", "healthy", "healthy");
    let before = run(&c, "sick");
    c.sh("docker exec sick touch /sick");
    runs_anew(&c, "sick", &before);
    receiver.wait_for_events("container:sick", "state", &["opened", "resolved"]);
    let told = receiver.told().into_iter().find(|t| t.check == "container:sick").unwrap();
    assert_eq!(told.reason, "unhealthy", "{told:?}");

    // The one whose network is shared is started anew: the other has lost it.
    let before = run(&c, "guest");
    c.sh("docker restart --time 0 net");
    runs_anew(&c, "guest", &before);

    // What its policy restarts again and again.
    c.docker_run("loop", "--restart always busybox sh -c 'sleep 0.2; exit 7'");
    receiver.wait_for_events("container:loop", "crash-loop", &["opened"]);
    let metric = c.metric("keepwell_container_restarts_total{name=\"loop\"}");
    assert!(metric.is_some_and(|n| n > 3.0), "{metric:?}\n{}", c.metrics());
    c.sh("docker rm --force loop");
    watch(
        LONG,
        "its check is gone",
        || c.look_at("container:loop"),
        |check| check.is_null().then_some(()),
    );
}

/// A service of Compose; its image is the rig's.
const COMPOSE: &str = r#"
name: shop
services:
  web:
    image: busybox
    network_mode: none
    command: ["sleep", "100000"]
    environment: { VERSION: "1" }
  db:
    image: busybox
    network_mode: none
    command: ["sleep", "100000"]
"#;

#[test]
fn compose_down_and_an_update_are_no_crash() {
    let Some(c) = docker_host::boot() else { return };
    let receiver = c.receiver();
    c.write("/srv/shop/compose.yaml", COMPOSE);
    let compose = |args: &str| c.sh(&format!("cd /srv/shop && docker compose {args} 2>&1"));
    compose("up --detach");
    begin(
        &c,
        &format!(
            "{}{}[[container]]\nproject = \"shop\"\nrequired = true\nrestart = true\n{QUICK}\n",
            // While Compose makes a new one it is there, and not started, for a moment.
            SOON.replacen("0s", "60s", 1),
            Receiver::channel()
        ),
    );
    let web = "container:shop-web-1";
    c.wait_for_check(web, "healthy", "running");
    // An update: another container of the same name.
    c.write("/srv/shop/compose.yaml", &COMPOSE.replace("\"1\"", "\"2\""));
    let id = c.docker_inspect("shop-web-1", ".Id");
    compose("up --detach --timeout 1");
    assert_ne!(c.docker_inspect("shop-web-1", ".Id"), id);
    c.wait_for_check(web, "healthy", "running");
    let restarts = c.metric("keepwell_container_restarts_total{name=\"shop-web-1\"}");
    assert!(restarts.is_none_or(|n| n == 0.0), "{restarts:?}");
    // Stopped as a whole, started again, and taken down.
    compose("stop --timeout 1");
    c.wait_for_check(web, "healthy", "stopped-by-operator");
    never(A_WHILE, "it is restarted", || c.docker_inspect("shop-web-1", ".State.Running") == true);
    compose("start");
    c.wait_for_check(web, "healthy", "running");
    compose("down --timeout 1");
    watch(
        LONG,
        "its checks are gone",
        || c.checks(),
        |all| (!all.keys().any(|id| id.starts_with("container:"))).then_some(()),
    );
    never(A_WHILE, "it is told", || told_of_containers(&receiver));
    let acts = c.journal(&["--unit=keepwell", "--output=cat", "--grep=restarted by keepwell"]);
    assert!(acts.trim().is_empty() || acts.contains("No entries"), "{acts}");
    assert_eq!(open(&c), Vec::<String>::new());
}

#[test]
fn a_docker_daemon_that_dies_stops_or_hangs_is_told_and_nothing_else_is() {
    let Some(c) = docker_host::boot() else { return };
    let receiver = c.receiver();
    let always = format!("--restart always {UNTIL_TOLD}");
    c.docker_run("steady", &always);
    c.docker_run("frail", &always);
    c.docker_run("lone", UNTIL_TOLD);
    begin(
        &c,
        &format!(
            "{SOON}{}[[container]]\nname = \"steady\"\nrequired = true\n\
             [[container]]\nname = \"frail\"\n",
            Receiver::channel()
        ),
    );
    for name in ["steady", "frail", "lone"] {
        c.wait_for_check(&format!("container:{name}"), "healthy", "running");
    }

    // Killed: systemd starts it again, and it takes its containers down and up again. One of them
    // ends while nobody looks.
    c.kill("docker", "KILL");
    watch(LONG, "docker is up again", || c.exec(&["docker", "ps"]), |ps| ps.ok().then_some(()));
    c.wait_for_check(ENGINE, "healthy", "works");
    c.wait_for_check("container:steady", "healthy", "running");
    c.wait_for_check("container:frail", "healthy", "running");
    // The engine itself is told of after 10 s, which a busy machine may take to start it; keepwell
    // tries it 7.5 and 15.5 s after its end.
    let at = |name: &str| c.property("docker", name).parse::<u64>().unwrap();
    let down = at("ActiveEnterTimestampMonotonic") - at("ActiveExitTimestampMonotonic");
    let quick = Duration::from_micros(down) < Duration::from_secs(6);
    let false_alarm = |told: &scene::Told| {
        ["container:steady", "container:frail"].contains(&told.check.as_str())
            || quick && told.check == ENGINE
    };
    never(A_WHILE, "a false alarm", || receiver.told().iter().any(false_alarm));
    watch(
        LONG,
        "nothing of the engine is still to be told",
        || receiver.events(ENGINE, "state"),
        |told| (told.len() % 2 == 0).then_some(()),
    );
    // The one without a policy stays down, and that is so.
    if c.docker_inspect("lone", ".State.Running") != true {
        watch(
            LONG,
            "it is known to be down",
            || c.look_at("container:lone"),
            |check| (check["reason"] != "running").then_some(()),
        );
    }
    receiver.clear();

    // Stopped for longer: told, and nothing of its containers, whose state nobody knows.
    c.systemctl(&["stop", "docker.socket", "docker.service"]);
    receiver.wait_for_events(ENGINE, "state", &["opened"]);
    assert_eq!(
        c.look_at("container:steady")["severity"],
        "unknown",
        "{:#}",
        c.look_at("container:steady")
    );
    assert_eq!(c.active_state("keepwell"), "active");
    c.systemctl(&["start", "docker.socket", "docker.service"]);
    receiver.wait_for_events(ENGINE, "state", &["opened", "resolved"]);
    c.wait_for_check("container:steady", "healthy", "running");

    // It hangs: the same, and keepwell itself goes on.
    receiver.clear();
    c.kill("docker", "STOP");
    receiver.wait_for_events(ENGINE, "state", &["opened"]);
    let slow = c.get("/health", &[]);
    assert!(slow.status != 0, "keepwell answers while docker hangs");
    c.kill("docker", "CONT");
    receiver.wait_for_events(ENGINE, "state", &["opened", "resolved"]);
    c.wait_for_check("container:steady", "healthy", "running");
    assert!(
        !receiver.told().iter().any(|t| t.check.starts_with("container:steady")),
        "{:#?}",
        receiver.told()
    );
    assert_eq!(c.keepwell_restarts(), 0);
}

/// What hooks sent, as `METHOD PATH` with the body's event, of one container; each key once.
fn calls(receiver: &Receiver<'_>, id: &str) -> Vec<String> {
    let mut keys = std::collections::BTreeSet::new();
    let mut all = Vec::new();
    for request in receiver.requests() {
        let (path, body) = (request["path"].as_str().unwrap(), &request["body"]);
        let accepted = request["answer"].as_u64().is_some_and(|code| code < 300);
        let hook = path.starts_with("/registry") || path.starts_with("/billing");
        if !accepted || !hook || !(path.contains(id) || body.to_string().contains(id)) {
            continue;
        }
        let key = request["headers"]["idempotency-key"].as_str().expect("each call has a key");
        let what = body["event"].as_str().map(|event| format!(" {event}")).unwrap_or_default();
        let path = path.replace(id, "ID");
        let call = format!("{} {path}{what}", request["method"].as_str().unwrap());
        if keys.insert(key.to_owned()) {
            all.push(call);
        } else {
            assert!(all.contains(&call), "{key} is of another call: {call}, {all:?}");
        }
    }
    all
}

/// Of one receiver, for the order is that of each alone.
fn of(calls: &[String], to: &str) -> Vec<String> {
    calls.iter().filter(|call| call.contains(to)).cloned().collect()
}

const UP: &str = "POST /registry/endpoints";
const DOWN: &str = "PUT /registry/endpoints/ID/status?status=DOWN";
const GONE: &str = "DELETE /registry/endpoints/ID";

#[test]
fn registry_and_billing_hear_of_everything_in_order_also_of_what_happened_meanwhile() {
    let Some(c) = docker_host::boot() else { return };
    let receiver = c.receiver();
    let address = Receiver::url().replace("/hook", "");
    c.write(
        "/etc/keepwell/environment",
        &format!("DISCOVERY_SERVICE_URL={address}\nBILLING_SERVICE_URL={address}/billing\n"),
    );
    begin(&c, SOON);
    let heard = |what: &str, id: &str, registry: &[&str], billing: &[&str]| {
        let billing: Vec<String> = billing.iter().map(|e| format!("POST /billing {e}")).collect();
        watch(
            LONG,
            what,
            || calls(&receiver, id),
            |all| {
                (of(all, "/registry") == registry && of(all, "/billing") == billing).then_some(())
            },
        );
    };
    // A whole life, while it is there.
    let id = c.docker_run("web", &format!("--expose 8000 {UNTIL_TOLD}"));
    heard("it runs", &id, &[UP], &["started"]);
    c.docker_crash("web", 1);
    heard("it ended", &id, &[UP, DOWN], &["started", "stopped"]);
    c.sh("docker start web");
    heard("again", &id, &[UP, DOWN, UP], &["started", "stopped", "started"]);
    c.sh("docker rm --force web");
    let (registry, billing) =
        ([UP, DOWN, UP, DOWN, GONE], ["started", "stopped", "started", "stopped", "removed"]);
    heard("to its end", &id, &registry, &billing);
    let first =
        receiver.requests().into_iter().find(|r| r["path"] == "/registry/endpoints").unwrap();
    let host = c.sh("hostname").trim().to_owned();
    // There are no controllers in this host, so no limits: all of it.
    let mut body = first["body"].clone();
    let caps = body["caps"].take();
    assert_eq!(caps["cpu"], c.sh("docker info --format '{{.NCPU}}'").trim(), "{caps}");
    assert!(caps["mem"].as_str().unwrap().len() > 3, "{caps}");
    assert_eq!(
        body,
        serde_json::json!({"id": id, "image_id": "busybox", "host": host, "port": 8000,
            "caps": null})
    );

    // The receiver is away, keepwell is killed, and a container lives and dies while it is down.
    receiver.mode("status 503");
    let early = c.docker_run("early", UNTIL_TOLD);
    watch(
        LONG,
        "it is tried",
        || receiver.requests(),
        |all| all.iter().any(|r| r.to_string().contains(&early)).then_some(()),
    );
    c.systemctl(&["stop", "keepwell"]);
    c.docker_crash("early", 2);
    let brief = c.docker_run("brief", "busybox sh -c 'exit 4'");
    c.sh("docker wait brief early && docker rm brief early");
    let late = c.docker_run("late", "");
    c.start_keepwell();
    receiver.mode("ok");
    heard("what was before", &early, &[UP, DOWN, GONE], &["started", "stopped", "removed"]);
    heard("what nobody saw", &brief, &[UP, DOWN, GONE], &["started", "stopped", "removed"]);
    heard("what is there", &late, &[UP], &["started"]);
    c.systemctl(&["restart", "keepwell"]);
    c.wait_for_check(ENGINE, "healthy", "works");
    never(A_WHILE, "it is told twice", || calls(&receiver, &late).len() > 2);
}
