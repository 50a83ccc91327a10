//! A machine without systemd: keepwell still reports the host, and says what it could not reach.
//! The container's own systemd is hidden: another PID namespace, and nothing in `/run`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "support/scene.rs"]
mod scene;
#[path = "support/mod.rs"]
mod support;

use scene::{LONG, watch};
use serde_json::Value;
use support::*;

/// Runs a script where there is no systemd: PID 1 is the shell, `/run` is empty.
fn without_systemd(c: &Container, script: &str) -> Output {
    let hidden = format!(
        "mount -t tmpfs none /run && mount -t proc none /proc && unset DBUS_SESSION_BUS_ADDRESS && {script}"
    );
    c.exec(&["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", &hidden])
}

#[track_caller]
fn json(out: &Output) -> Value {
    serde_json::from_str(&out.stdout)
        .unwrap_or_else(|e| panic!("{e}: exit code {}\n{}{}", out.code, out.stdout, out.stderr))
}

fn find(checks: &Value, id: &str) -> Option<Value> {
    checks["checks"].as_array()?.iter().find(|check| check["id"] == id).cloned()
}

/// What both `check` and `run` must show.
#[allow(clippy::unwrap_used, reason = "part of a test")]
#[track_caller]
fn the_host_is_reported(report: &Value) {
    let bus = find(report, "agent:bus").unwrap_or_else(|| panic!("no agent:bus in {report:#}"));
    assert_eq!(bus["severity"], "unknown", "{bus:#}");
    assert_eq!(bus["reason"], "no-systemd", "{bus:#}");
    assert!(bus["summary"].as_str().unwrap().contains("systemd"), "{bus:#}");
    let memory = find(report, "memory").unwrap_or_else(|| panic!("no memory in {report:#}"));
    assert_ne!(memory["severity"], "unknown", "{memory:#}");
}

on_each_image! {
    fn a_check_reports_the_host_and_what_it_could_not_reach(c: Container) {
        c.install_program(&support::keepwell::built("keepwell"), "/usr/bin/keepwell");
        let out = without_systemd(&c, "keepwell check --json");
        let report = json(&out);
        the_host_is_reported(&report);
        let code = match report["severity"].as_str().unwrap_or_default() {
            "healthy" => 0,
            "warning" => 1,
            "critical" => 2,
            _ => 3,
        };
        assert_eq!(out.code, code, "{report:#}");
        assert_ne!(out.code, 0, "what is unknown is not well");

        let out = without_systemd(&c, "keepwell check");
        assert!(out.stdout.contains("memory") && out.stdout.contains("systemd"), "{}{}", out.stdout, out.stderr);
        // Nobody in particular may use it, too.
        let out = without_systemd(&c, "cd / && HOME=/tmp setpriv --reuid=65534 --regid=65534 --clear-groups keepwell check --json");
        the_host_is_reported(&json(&out));
    }

    fn the_daemon_reports_the_host_and_what_it_could_not_reach(c: Container) {
        c.install_program(&support::keepwell::built("keepwell"), "/usr/bin/keepwell");
        let mut daemon = c
            .command(&[
                "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c",
                "mount -t tmpfs none /run && mount -t proc none /proc || exit 99\n\
                 keepwell run 2>/tmp/log & daemon=$!\n\
                 until test -e /tmp/stop; do sleep 0.1; done\n\
                 kill -TERM $daemon; wait $daemon; echo $? >/tmp/code",
            ])
            .spawn()
            .unwrap();
        watch(LONG, "it serves /health", || (c.health(), c.read("/tmp/log")), |((status, health), _)| {
            (*status == 200 && health["status"].is_string()).then_some(())
        });
        let detailed = watch(LONG, "all checks", || c.get("/health/detailed", &[]).json(), |all| {
            find(all, "agent:bus").and(find(all, "memory")).map(|_| all.clone())
        });
        the_host_is_reported(&detailed);
        c.write("/tmp/stop", "");
        let status = wait_for(LONG, "it ends", || daemon.try_wait().unwrap());
        let log = c.read("/tmp/log").unwrap_or_default();
        assert!(status.success(), "{log}");
        assert_eq!(c.read("/tmp/code").as_deref().map(str::trim), Some("0"), "{log}");
        assert!(log.contains("systemd"), "{log}");
    }
}
