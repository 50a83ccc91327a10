//! The rig for engines of containers does what other tests rely on.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "support/clock.rs"]
#[allow(dead_code, reason = "not all of it is used here")]
mod clock;
#[path = "support/dockerd.rs"]
mod dockerd;
#[path = "support/nest.rs"]
mod nest;
#[path = "support/podman.rs"]
mod podman;

use std::fs;
use std::path::Path;
use std::time::Duration;

use clock::wait_until;
use dockerd::Dockerd;
use podman::Podman;

/// Waits for it; a busy machine gets time.
#[track_caller]
fn soon(what: &str, so: impl FnMut() -> bool) {
    wait_until(Duration::from_secs(120), what, so);
}

#[test]
fn a_docker_daemon_is_had_with_all_that_tests_need() {
    let Some(mut docker) = Dockerd::start() else { return };
    docker.run("sleeper", &[], &[]);
    assert_eq!(docker.status("sleeper"), "running");
    assert_eq!(docker.inspect("nobody"), serde_json::Value::Null);
    // Its numbers of processes are right in its own /proc.
    let pid = docker.inspect("sleeper")["State"]["Pid"].as_u64().unwrap();
    let name = docker.nest().proc().join(pid.to_string()).join("comm");
    assert_eq!(fs::read_to_string(name).unwrap().trim(), "sleep");
    // Its health checks run.
    let check = ["--health-cmd", "test -e /well", "--health-interval", "1s", "--health-retries=1"];
    docker.run("checked", &check, &[]);
    let health = |docker: &Dockerd| docker.inspect("checked")["State"]["Health"]["Status"].clone();
    soon("it is unhealthy", || health(&docker) == "unhealthy");
    docker.must(&["exec", "checked", "touch", "/well"]);
    soon("it is healthy", || health(&docker) == "healthy");
    // It restarts by policy.
    docker.run("loop", &["--restart", "always"], &["false"]);
    soon("it was restarted", || docker.inspect("loop")["RestartCount"].as_u64() >= Some(1));
    if docker.has_network() {
        docker.run("wired", &["--network", "bridge"], &[]);
        let devices = docker.must(&["exec", "wired", "cat", "/proc/net/dev"]);
        assert!(devices.contains("eth0"), "{devices}");
    }
    if docker.oom_kills() {
        docker.run("greedy", &["--memory", "16m"], &["tail", "/dev/zero"]);
        soon("it was ended", || docker.inspect("greedy")["State"]["OOMKilled"] == true);
    }
    // What it does not answer while it hangs it answers after.
    docker.freeze();
    assert!(!nest::answers(&docker.socket()));
    docker.thaw();
    assert_eq!(docker.status("sleeper"), "running");
    // Killed, it leaves its containers alive; what it has, it has again.
    let sleep = docker.nest().proc().join(pid.to_string());
    docker.kill_daemon();
    assert!(sleep.exists(), "the container's process lives on");
    docker.start_daemon();
    assert!(docker.inspect("sleeper")["Id"].is_string());
    docker.stop_daemon();
}

#[test]
fn containers_outlive_a_daemon_that_restores_them() {
    let Some(mut docker) = Dockerd::start_with(&["--live-restore"]) else { return };
    docker.run("sleeper", &[], &[]);
    let started = docker.inspect("sleeper")["State"]["StartedAt"].clone();
    docker.kill_daemon();
    docker.start_daemon();
    assert_eq!(docker.status("sleeper"), "running");
    assert_eq!(docker.inspect("sleeper")["State"]["StartedAt"], started);
}

#[test]
fn nothing_is_left_of_a_docker_daemon() {
    let Some(docker) = Dockerd::start() else { return };
    docker.run("sleeper", &[], &[]);
    let (pid, id) = (docker.pid(), docker.nest().id().to_owned());
    let folder = docker.nest().path("");
    docker.freeze();
    drop(docker);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    assert!(!folder.exists());
    for entry in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        assert!(!entry.path().join(&id).exists(), "{}", entry.path().display());
    }
}

#[test]
fn podman_is_had_with_all_that_tests_need() {
    let Some(mut podman) = Podman::start() else { return };
    let check = ["--health-cmd", "test -e /well", "--health-interval=1h", "--health-retries=1"];
    podman.run("checked", &check, &[]);
    assert_eq!(podman.status("checked"), "running");
    assert!(!podman.check_health("checked").ok);
    podman.must(&["exec", "checked", "touch", "/well"]);
    let done = podman.check_health("checked");
    assert!(done.ok, "{done:?}");
    podman.kill_service();
    podman.start_service();
    assert_eq!(podman.status("checked"), "running");
    podman.freeze();
    assert!(!nest::answers(&podman.socket()));
    podman.thaw();
    podman.must(&["stop", "--time=0", "checked"]);
    soon("it is stopped", || podman.status("checked") == "exited");
}
