//! keepwell as a container image, on a host that runs Docker: built by `packaging/container`'s
//! Containerfile, run by its Compose file as it is.
//!
//! The host is a booted Debian with a Docker daemon of its own. There is no registry: its base image
//! is made of the rig's.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "support/docker_host.rs"]
mod docker_host;
#[path = "support/scene.rs"]
mod scene;
#[path = "support/mod.rs"]
mod support;

use std::process::{Command, Stdio};

use scene::{LONG, QUICK, UNITS_ONLY, sleeper, watch};
use serde_json::Value;
use support::host::Host;
use support::keepwell::{built, repository};
use support::*;

/// What Compose calls the container.
const NAME: &str = "keepwell-keepwell-1";

/// Beside the Compose file: looks often, and hands it a secret as a file.
const OVERRIDE: &str = r#"
services:
  keepwell:
    healthcheck: { interval: 1s }
    secrets: [ops-url]
secrets:
  ops-url: { file: ops-url }
"#;

/// A host with Docker and the image; `None` where it cannot be had.
fn host() -> Option<Container> {
    let packages = docker_host::PACKAGES.to_vec();
    let c = Container::boot("trixie", Options { packages, docker: true, ..Options::default() })?;
    c.systemctl(&["start", "docker.service"]);
    c.sh("useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin keepwell");
    base_image(&c);
    for file in
        [".dockerignore", "LICENSE-APACHE", "LICENSE-MIT", "packaging/container/Containerfile"]
    {
        c.copy_in(&repository(file), &format!("/srv/source/{file}"), 0o644);
    }
    package(&c);
    c.sh("cd /srv/source && docker build -f packaging/container/Containerfile \
          --build-arg BUILD=debian:trixie-slim -t keepwell . 2>&1");
    Some(c)
}

/// What the Containerfile begins with, of the rig's own image.
fn base_image(c: &Container) {
    let image = Host::get().unwrap().image("trixie", &[]).unwrap();
    let mut tar = Command::new("tar")
        .args(["--create", "--file=-", "--one-file-system", "--exclude=./var/cache/apt/archives/*"])
        .arg(format!("--directory={}", image.display()))
        .arg(".")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let import = c
        .command(&["docker", "import", "-", "debian:trixie-slim"])
        .stdin(tar.stdout.take().unwrap())
        .output()
        .unwrap();
    assert!(tar.wait().unwrap().success());
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
}

/// The package that the image is made of: one of the folder `KEEPWELL_DIST`, else the binary under
/// test in a package of its own.
fn package(c: &Container) {
    let arch = c.sh("dpkg --print-architecture");
    let into = "/srv/source/dist/";
    if let Some(dist) = std::env::var_os("KEEPWELL_DIST") {
        let name =
            |path: &std::path::Path| path.file_name().unwrap().to_string_lossy().into_owned();
        let found = std::fs::read_dir(dist).unwrap().map(|entry| entry.unwrap().path()).find(|p| {
            let name = name(p);
            name.starts_with("keepwell_") && name.ends_with(&format!("_{arch}.deb"))
        });
        let found = found.expect("KEEPWELL_DIST names a folder with a package");
        c.copy_in(&found, &format!("{into}{}", name(&found)), 0o644);
        return;
    }
    c.copy_in(&built("keepwell"), "/srv/package/usr/bin/keepwell", 0o755);
    c.write(
        "/srv/package/DEBIAN/control",
        &format!(
            "Package: keepwell\nVersion: 0\nArchitecture: {arch}\n\
             Maintainer: rig <rig@example.org>\nDescription: the binary under test\n"
        ),
    );
    c.sh(&format!(
        "mkdir -p {into} && dpkg-deb --root-owner-group -Znone --build /srv/package \
         {into}keepwell_0_{arch}.deb"
    ));
}

/// A receiver that containers can reach, which `Container::receiver` is not.
fn receiver(c: &Container) -> Receiver<'_> {
    let receiver = c.receiver();
    let unit = c.read("/etc/systemd/system/rig-receiver.service").unwrap();
    c.unit("rig-receiver.service", &unit.replace("127.0.0.1", "0.0.0.0"));
    c.systemctl(&["restart", "rig-receiver"]);
    receiver
}

fn compose(c: &Container, args: &str) -> String {
    c.sh(&format!("cd /srv/keepwell && docker compose {args} 2>&1"))
}

fn inspect(c: &Container, what: &str) -> Value {
    let text = c.sh(&format!("docker inspect --format '{{{{json {what}}}}}' {NAME}"));
    serde_json::from_str(&text).unwrap()
}

/// A check as the daemon in the container has it; null while there is none.
fn check(c: &Container, id: &str) -> Value {
    let out = c.exec(&["docker", "exec", NAME, "keepwell", "status", "--json"]);
    let status: Value = serde_json::from_str(&out.stdout).unwrap_or_default();
    let checks = status["checks"].as_array().cloned().unwrap_or_default();
    checks.into_iter().find(|check| check["id"] == id).unwrap_or_default()
}

/// What was told of one check: the events, oldest first.
fn told(receiver: &Receiver<'_>, check: &str) -> Vec<String> {
    let alerts = receiver
        .accepted()
        .into_iter()
        .flat_map(|message| message["alerts"].as_array().cloned().unwrap_or_default());
    alerts
        .filter(|alert| alert["check"] == check)
        .map(|alert| alert["event"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_host_with_docker_is_watched_from_a_container() {
    let Some(c) = host() else { return };
    let receiver = receiver(&c);
    c.units(&[
        ("flaky.service", &sleeper("ExecStartPre=/bin/echo it broke on purpose")),
        ("other.service", &sleeper("")),
    ]);
    c.systemctl(&["start", "flaky", "other"]);

    c.copy_in(&repository("packaging/container/compose.yaml"), "/srv/keepwell/compose.yaml", 0o644);
    c.write("/srv/keepwell/compose.override.yaml", OVERRIDE);
    c.write("/srv/keepwell/ops-url", "http://host.docker.internal:9901/hook\n");
    c.write("/srv/keepwell/environment", "KEEPWELL_HTTP_TOKEN=sesame\n");
    c.write(
        "/srv/keepwell/etc/keepwell.toml",
        &format!(
            "{UNITS_ONLY}[[unit]]\nname = \"flaky\"\nrestart = true\n{QUICK}\n\
             [[heartbeat]]\nfile = \"/host/run/beat\"\nmax_age = \"1s\"\n\
             [[channel]]\nname = \"ops\"\ntype = \"webhook\"\n\
             url = {{ credential = \"ops-url\" }}\n"
        ),
    );
    c.sh(
        "cd /srv/keepwell && echo JOURNAL_GID=$(getent group systemd-journal | cut -d: -f3) >.env",
    );
    // As docs/container.md says; what comes into the configuration afterwards is not in the rule.
    c.sh("cd /srv/keepwell && docker compose run --rm -T keepwell polkit --print \
         >/etc/polkit-1/rules.d/60-keepwell.rules");
    c.write(
        "/srv/keepwell/etc/conf.d/other.toml",
        &format!("[[unit]]\nname = \"other\"\nrestart = true\n{QUICK}\n"),
    );
    compose(&c, "up --detach");

    // It is what its orchestrator takes for well, and answers on the published port.
    watch(
        LONG,
        "docker takes it for healthy",
        || inspect(&c, ".State.Health"),
        |health| (health["Status"] == "healthy").then_some(()),
    );
    assert_eq!(c.health().0, 200);
    assert_eq!(c.health().1["host"], c.id.as_str(), "it goes by the host's name");

    it_has_no_rights(&c);
    it_sees_the_host(&c);

    // A unit that it may restart, and one that it may not.
    c.kill("flaky", "KILL");
    watch(
        LONG,
        "flaky is told of",
        || told(&receiver, "unit:flaky.service"),
        |told| told.contains(&"resolved".to_owned()).then_some(()),
    );
    let messages = serde_json::to_string(&receiver.accepted()).unwrap();
    assert!(messages.contains("it broke on purpose"), "no line of the journal: {messages}");
    c.kill("other", "KILL");
    let refused = watch(
        LONG,
        "the refusal",
        || check(&c, "unit:other.service"),
        |check| check.to_string().contains("polkit").then(|| check.clone()),
    );
    assert_eq!(refused["severity"], "critical", "{refused:#}");

    // What it knows outlasts the container.
    let beat = "heartbeat:/host/run/beat";
    let alerts = || c.sh(&format!("docker exec {NAME} keepwell alerts list --json"));
    let open = |alerts: &str| -> Option<Value> {
        let alerts: Value = serde_json::from_str(alerts).unwrap();
        let all = alerts["alerts"].as_array().unwrap().clone();
        all.into_iter().find(|alert| alert["check"] == beat).map(|mut alert| alert["id"].take())
    };
    let before = open(&alerts()).expect("the heartbeat is missing");
    assert_eq!(told(&receiver, beat), ["opened"]);
    let id = inspect(&c, ".Id");
    compose(&c, "up --detach --force-recreate");
    assert_ne!(inspect(&c, ".Id"), id);
    watch(LONG, "the new one is ready", || c.health().1, |h| (h["ready"] == true).then_some(()));
    assert_eq!(open(&alerts()), Some(before));
    c.write("/run/beat", "");
    c.sh("systemd-run --quiet --unit=beat sh -c 'while sleep 0.2; do touch /run/beat; done'");
    watch(
        LONG,
        "the end is told",
        || told(&receiver, beat),
        |told| (told == &["opened", "resolved"]).then_some(()),
    );

    // It ends when told to, well before it would be killed.
    compose(&c, "stop");
    let state = inspect(&c, ".State");
    assert_eq!((&state["Status"], &state["ExitCode"]), (&"exited".into(), &0.into()), "{state:#}");
    let log = c.sh(&format!("docker logs {NAME} 2>&1"));
    assert!(log.trim_end().ends_with("keepwell has stopped"), "{log}");
    assert!(!log.contains('\u{1b}') && !log.contains("sesame"), "{log}");
}

fn it_has_no_rights(c: &Container) {
    let inside = |script: &str| c.exec(&["docker", "exec", NAME, "sh", "-c", script]);
    assert_eq!(inside("id -u").stdout.trim(), "10001");
    let status = inside("cat /proc/1/status").stdout;
    for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(status.contains(line), "no {line:?} in {status}");
    }
    for place in ["/x", "/usr/bin/x", "/etc/keepwell/x", "/host/x", "/host/run/x"] {
        let out = inside(&format!("touch {place}"));
        assert!(out.stderr.contains("Read-only file system"), "{place}: {out:?}");
    }
    let programs = inside("find / -xdev -type f -perm /6000");
    assert_eq!(programs.stdout, "", "they could gain rights");
    let zombies = inside("grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null");
    assert_eq!(zombies.stdout, "");
}

fn it_sees_the_host(c: &Container) {
    assert_eq!(check(c, "agent:bus")["severity"], "healthy", "{:#}", check(c, "agent:bus"));
    // By the host's names, and nothing of the container's own.
    let out = c.exec(&["docker", "exec", NAME, "keepwell", "status", "--json"]);
    let status: Value = serde_json::from_str(&out.stdout).unwrap();
    let mut disks: Vec<&str> = status["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|check| check["id"].as_str().unwrap().strip_prefix("disk:"))
        .collect();
    disks.retain(|mount| *mount != "/dev/fuse");
    assert_eq!(disks, ["/", "/var/lib/docker"], "{status:#}");
    let doctor = c.exec(&["docker", "exec", NAME, "keepwell", "doctor"]).stdout;
    assert!(doctor.contains("ok    journal            may be read"), "{doctor}");
}

#[test]
fn what_a_container_cannot_see_is_said() {
    let Some(c) = host() else { return };
    // A host without systemd, and one that was not mounted at all.
    c.sh("mkdir -p /srv/other/etc");
    for (mount, sees_disks) in [("--volume /srv/other:/host:ro", true), ("", false)] {
        let out = c.exec(&[
            "sh",
            "-c",
            &format!(
                "docker run --rm --network none --read-only --cap-drop ALL \
                 --security-opt no-new-privileges {mount} keepwell check --json"
            ),
        ]);
        let report: Value = serde_json::from_str(&out.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}{}", out.stdout, out.stderr));
        let find = |id: &str| -> Value {
            let checks = report["checks"].as_array().unwrap();
            checks.iter().find(|check| check["id"] == id).cloned().unwrap_or_default()
        };
        let bus = find("agent:bus");
        assert_eq!((&bus["severity"], &bus["reason"]), (&"unknown".into(), &"no-systemd".into()));
        assert_ne!(find("memory")["severity"], "unknown", "{report:#}");
        assert_eq!(find("disk:/")["severity"].is_string(), sees_disks, "{report:#}");
        let said = report.to_string().contains("nothing is mounted at or below /host");
        assert_eq!(said, !sees_disks, "{report:#}");
    }
    // A user that the host does not know is nobody to its bus.
    let out = c.sh(
        "docker run --rm --network none --user 4711 --volume /:/host:ro,rslave keepwell check \
         || true",
    );
    assert!(out.contains("it hung up on user id 4711"), "{out}");
}

/// HAProxy as others' image has it: at least the program, and the configuration where it looks.
const HAPROXY: &str = r#"
mkdir -p /srv/haproxy/run && cd /srv/haproxy
for file in /usr/sbin/haproxy $(ldd /usr/sbin/haproxy | grep -o '/[^ ]*'); do
    install -D "$file" ".$file"
done
tar --create . | docker import \
    --change 'CMD ["/usr/sbin/haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]' \
    --change 'USER 99:99' - haproxy:lts
"#;

#[test]
fn containers_of_the_host_are_seen_by_a_proxy() {
    let Some(c) = host() else { return };
    c.sh(HAPROXY);
    for file in ["packaging/container/compose.yaml", "packaging/container/compose.docker.yaml"] {
        let name = file.rsplit('/').next().unwrap();
        c.copy_in(&repository(file), &format!("/srv/keepwell/{name}"), 0o644);
    }
    let proxy = "systemd/keepwell-docker-proxy.cfg";
    c.copy_in(&repository(proxy), "/srv/keepwell/keepwell-docker-proxy.cfg", 0o644);
    c.write("/srv/keepwell/etc/keepwell.toml", UNITS_ONLY);
    // As docs/container.md says.
    c.sh("cd /srv/keepwell &&
          echo JOURNAL_GID=$(getent group systemd-journal | cut -d: -f3) >.env &&
          echo COMPOSE_FILE=compose.yaml:compose.docker.yaml >>.env &&
          echo DOCKER_GID=$(getent group docker | cut -d: -f3) >>.env");
    compose(&c, "up --detach");
    let healthy = |name: &str| {
        watch(
            LONG,
            name,
            || (check(&c, name), c.sh("docker logs --tail 5 keepwell-docker-proxy-1 2>&1")),
            |(check, _)| (check["severity"] == "healthy").then_some(()),
        );
    };
    healthy("agent:engine-docker");
    healthy("container:keepwell-keepwell-1");
    // It may not restart any, nor has it another way.
    let ask = "exec 3<>/dev/tcp/docker-proxy/2375; \
               printf 'POST /containers/keepwell-keepwell-1/restart HTTP/1.0\r\n\r\n' >&3; \
               head -1 <&3";
    let refused = c.exec(&["docker", "exec", NAME, "bash", "-c", ask]).stdout;
    assert!(refused.contains(" 403 "), "{refused}");
    // The proxy goes and comes; so does what is known.
    compose(&c, "restart docker-proxy");
    healthy("container:keepwell-docker-proxy-1");
}
