//! Ways to the sockets of Docker and Podman for the service as it is shipped, unprivileged and
//! hardened: what each of them allows, and what it does not.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "support/docker_host.rs"]
mod docker_host;
#[path = "support/scene.rs"]
mod scene;
#[path = "support/mod.rs"]
mod support;

use docker_host::{ROOTLESS, rootless};
use scene::{LONG, UNITS_ONLY, watch};
use support::*;

/// Installs keepwell as a package lays it out, with what is there for containers.
fn boot() -> Option<Container> {
    let c = docker_host::boot()?;
    c.install_keepwell("", User::Keepwell);
    c.install_ways_to_docker();
    Some(c)
}

/// Runs a script as keepwell.service runs keepwell: the same user, groups and hardening.
#[track_caller]
fn as_the_service(c: &Container, script: &str) -> String {
    c.write("/opt/rig/probe", script);
    c.drop_in(
        "keepwell.service",
        "90-probe",
        "[Unit]\nOnFailure=\n[Service]\nType=oneshot\nRestart=no\nWatchdogSec=0\nExecStartPre=\n\
         ExecStart=\nExecStart=/bin/sh /opt/rig/probe\nStandardError=inherit\n\
         StandardOutput=truncate:/opt/rig/probe.out\n",
    );
    c.exec(&["systemctl", "start", "keepwell"]);
    let said = c.read("/opt/rig/probe.out").unwrap_or_default();
    let result = c.property("keepwell", "Result");
    assert_eq!(result, "success", "{said}\n{}", c.journal(&["--unit=keepwell", "--lines=20"]));
    said
}

/// The status codes that requests of the service get; 0: one does not reach anybody.
#[track_caller]
fn answers(c: &Container, socket: &str, requests: &[&str]) -> Vec<u16> {
    let ask = |request: &&str| {
        let (method, path) = request.split_once(' ').unwrap();
        let head = if method == "HEAD" { "--head" } else { "" };
        format!(
            "curl --silent --path-as-is --output /dev/null --max-time 60 {head} --request {method} \
             --write-out '%{{http_code}}\\n' --unix-socket {socket} 'http://d{path}' || true\n"
        )
    };
    let said = as_the_service(c, &requests.iter().map(ask).collect::<String>());
    said.lines().map(|code| code.parse().unwrap_or_else(|e| panic!("{e}: {said}"))).collect()
}

#[track_caller]
fn answer(c: &Container, socket: &str, request: &str) -> u16 {
    answers(c, socket, &[request])[0]
}

#[test]
fn the_drop_in_lets_it_use_docker_and_nothing_else_does() {
    let Some(c) = boot() else { return };
    c.docker_run("web", "");
    let socket = "/run/docker.sock";
    assert_eq!(answer(&c, socket, "GET /_ping"), 0);
    c.sh("install -D -m 644 /usr/share/keepwell/docker.conf \
          /etc/systemd/system/keepwell.service.d/docker.conf");
    c.systemctl(&["daemon-reload"]);
    assert_eq!(answer(&c, socket, "GET /_ping"), 200);
    assert_eq!(answer(&c, socket, "POST /containers/web/restart?t=0"), 204);
    // What can be read of the container's processes, from outside.
    let pid = c.docker_inspect("web", ".State.Pid");
    let seen = as_the_service(
        &c,
        &format!(
            "sed -n 's/^0:://p' /proc/{pid}/cgroup; cat /proc/{pid}/net/dev; \
             cat /sys/fs/cgroup$(sed -n 's/^0:://p' /proc/{pid}/cgroup)/cpu.stat"
        ),
    );
    let id = c.docker_inspect("web", ".Id");
    assert!(seen.contains(id.as_str().unwrap()), "{seen}");
    assert!(seen.contains("lo:") && seen.contains("usage_usec"), "{seen}");
}

/// What keepwell asks, and what it may not have.
const ASKED: [&str; 9] = [
    "GET /_ping",
    "HEAD /_ping",
    "GET /version",
    "GET /v1.40/info",
    "GET /v1.40/containers/json?all=1",
    "GET /containers/web/json",
    "GET /v1.40/containers/web/logs?stdout=1",
    "GET /containers/web/stats?stream=false&one-shot=true",
    "GET /events?since=1&until=2",
];
const REFUSED: [&str; 14] = [
    "GET /containers/web/archive?path=/etc",
    "GET /containers/web/export",
    "GET /containers/web/json/../export",
    "GET /containers/web%2fexport",
    "GET //containers/web/export",
    "GET /containers/web/attach/ws",
    "GET /images/json",
    "GET /secrets",
    "POST /containers/create",
    "POST /containers/web/exec",
    "POST /containers/web/stop",
    "POST /containers/json",
    "DELETE /containers/web",
    "PUT /containers/web/archive?path=/",
];
const RESTART: &str = "POST /v1.40/containers/web/restart?t=0";

#[test]
fn the_proxy_lets_through_what_keepwell_asks_and_no_more() {
    let Some(c) = boot() else { return };
    c.docker_run("web", "");
    c.systemctl(&["enable", "--now", "--quiet", "keepwell-docker-proxy"]);
    let judged = ["security", "--threshold=20", "--no-pager", "keepwell-docker-proxy.service"];
    let judged = c.exec(&[&["systemd-analyze"][..], &judged].concat());
    assert!(judged.ok(), "{}{}", judged.stdout, judged.stderr);
    let socket = "/run/keepwell-docker/docker.sock";
    // Nobody but keepwell, and what it is for.
    c.sh("useradd other");
    let others = "setpriv --reuid=other --regid=other --clear-groups curl --silent \
                  --unix-socket /run/keepwell-docker/docker.sock http://d/_ping";
    assert!(!c.exec(&["sh", "-c", others]).ok());
    assert_eq!(answers(&c, socket, &ASKED), [200; ASKED.len()]);
    assert_eq!(answers(&c, socket, &REFUSED), [403; REFUSED.len()]);
    assert_eq!(answer(&c, socket, RESTART), 403);
    c.sh("install -D -m 640 -g keepwell /dev/stdin /etc/keepwell/conf.d/containers.toml <<'END'
[containers]
engines = [\"unix:///run/keepwell-docker/docker.sock\"]
END");
    let doctor = || c.exec(&["keepwell", "doctor"]).stdout;
    assert!(doctor().contains(": 1 container, read-only"), "{}", doctor());
    c.drop_in(
        "keepwell-docker-proxy.service",
        "restart",
        "[Service]\nEnvironment=KEEPWELL_MAY_RESTART=yes\n",
    );
    c.systemctl(&["restart", "keepwell-docker-proxy"]);
    assert_eq!(answer(&c, socket, RESTART), 204);
    assert_eq!(answers(&c, socket, &REFUSED), [403; REFUSED.len()]);
    let started = c.docker_inspect("web", ".State.StartedAt");
    let said = doctor();
    assert!(said.contains(": 1 container") && !said.contains("read-only"), "{said}");
    assert_eq!(c.docker_inspect("web", ".State.StartedAt"), started, "to ask changes nothing");
    // An event comes through at once.
    let events = as_the_service(
        &c,
        "curl --silent --max-time 80 --no-buffer --unix-socket /run/keepwell-docker/docker.sock \
         'http://d/events' >/var/lib/keepwell/events & \
         until grep -q '\"restart\"' /var/lib/keepwell/events; do kill -0 $! || break; \
         curl --silent --request POST --unix-socket /run/keepwell-docker/docker.sock \
         'http://d/containers/web/restart?t=0'; sleep 1; done; kill $!; cat /var/lib/keepwell/events",
    );
    assert!(events.contains("\"die\"") && events.contains("\"restart\""), "{events}");
    // And it outlasts the daemon.
    c.systemctl(&["restart", "docker"]);
    assert_eq!(answer(&c, socket, "GET /_ping"), 200);
}

#[test]
fn a_user_may_share_podman_with_it() {
    let Some(c) = boot() else { return };
    rootless(&c);
    c.write("/etc/tmpfiles.d/podman-app.conf", "d /run/podman-app 2750 app keepwell\n");
    c.sh("systemd-tmpfiles --create podman-app.conf");
    docker_host::share_podman(&c);
    assert_eq!(answer(&c, "/run/podman-app/podman.sock", "GET /_ping"), 200);
    // Its own folder is for nobody else.
    assert_eq!(answer(&c, "/run/user/1000/podman/podman.sock", "GET /_ping"), 0);
    c.sh("rm /etc/systemd/system/keepwell.service.d/90-probe.conf && systemctl daemon-reload");
    what_happens_to_its_containers_is_seen(&c);
}

/// Of a Podman that systemd's own timers run the health checks of.
fn what_happens_to_its_containers_is_seen(c: &Container) {
    let receiver = c.receiver();
    c.configure(&format!(
        "{UNITS_ONLY}[containers]\nengines = [\"unix:///run/podman-app/podman.sock\"]\nfor = \"0s\"\n\n{}",
        Receiver::channel(),
    ));
    c.start_keepwell();
    c.wait_for_check("agent:engine-podman", "healthy", "works");
    let podman = |words: &str| c.sh(&format!("cd / && {ROOTLESS} podman {words}"));
    let run = |name: &str, words: &str| {
        podman(&format!("run --quiet --detach --name {name} --network none {words}"));
    };
    run(
        "ill",
        "--health-cmd 'test -e /well' --health-interval 1s --health-retries 2 localhost/busybox \
         sh -c 'touch /well; exec sleep 100000'",
    );
    let of = |name: &str| format!("container:{name}");
    c.wait_for_check(&of("ill"), "healthy", "healthy");
    podman("exec ill rm /well");
    c.wait_for_check(&of("ill"), "warning", "unhealthy");
    receiver.wait_for_events(&of("ill"), "state", &["opened"]);
    podman("exec ill touch /well");
    c.wait_for_check(&of("ill"), "healthy", "healthy");
    receiver.wait_for_events(&of("ill"), "state", &["opened", "resolved"]);

    // Podman restarts it twice, and then no more.
    run("loop", "--restart on-failure:2 localhost/busybox sh -c 'sleep 1; exit 7'");
    c.wait_for_check(&of("loop"), "warning", "exit-code");
    let counted = || c.look_at(&of("loop"));
    watch(LONG, "each end is counted", counted, |check| {
        (check["container"]["restarts"] == 2).then_some(())
    });

    // What a person ends, starts, restarts and removes is told to nobody.
    podman("kill ill");
    c.wait_for_check(&of("ill"), "healthy", "stopped-by-operator");
    run("web", "localhost/busybox");
    c.wait_for_check(&of("web"), "healthy", "running");
    podman("stop --time 1 web");
    c.wait_for_check(&of("web"), "healthy", "stopped-by-operator");
    podman("start web");
    c.wait_for_check(&of("web"), "healthy", "running");
    podman("restart --time 1 web");
    c.wait_for_check(&of("web"), "healthy", "running");
    podman("rm --force --time 0 web");
    watch(LONG, "it is gone", || c.look_at(&of("web")), |check| check.is_null().then_some(()));
    let about = |name: &str| receiver.told().into_iter().filter(|t| t.check == of(name)).count();
    assert_eq!(about("web"), 0, "{:?}", receiver.told());
}
