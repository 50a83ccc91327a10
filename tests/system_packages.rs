//! The Debian package, on booted hosts: what is there after the installation, an upgrade with an
//! open alert and an edited configuration, a downgrade, the ways out and back in; and that what an
//! administrator has decided stays so.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "support/scene.rs"]
mod scene;
#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use scene::{LONG, UNITS_ONLY, watch};
use support::*;

const CONFIG: &str = "/etc/keepwell/keepwell.toml";
const RULE: &str = "/etc/polkit-1/rules.d/60-keepwell.rules";
const ADOPTED: &str = "/etc/keepwell/conf.d/50-adopted-shop.service.toml";
const LIMITS: &str = "/etc/systemd/system/shop.service.d/50-keepwell.conf";
const MARK: &str = "# written by an administrator\n";

/// A service that is down, and an `[Install]` so that it can be started again.
const BROKEN: &str = "[Service]\nExecStart=/bin/sh -c 'echo cannot go on >&2; exit 3'\n";

#[allow(clippy::unwrap_used, reason = "part of a test")]
impl Container {
    /// Installs a version as administrators do who keep their configuration.
    #[track_caller]
    fn dpkg(&self, packages: &Packages, version: &str) -> Output {
        let path = self.package(packages, Kind::Deb, version);
        let out = self.exec(&["dpkg", "--force-confold", "-i", &path]);
        assert!(out.ok(), "dpkg: {}{}", out.stdout, out.stderr);
        let now = self.sh("dpkg-query -W -f '${Version} ${db:Status-Abbrev}' keepwell");
        assert_eq!(now.trim(), format!("{version} ii"));
        out
    }

    /// `systemctl is-enabled` and `is-active`, in a word each.
    fn state(&self, unit: &str) -> (String, String) {
        let say = |what| self.exec(&["systemctl", what, unit]).stdout.trim().to_owned();
        (say("is-enabled"), say("is-active"))
    }
}

/// The two words of [`Container::state`].
fn state(enabled: &str, active: &str) -> (String, String) {
    (enabled.to_owned(), active.to_owned())
}

/// The user of a service's main process.
#[track_caller]
fn user_of(c: &Container, unit: &str) -> String {
    c.sh(&format!(
        "id -nu $(awk '$1 == \"Uid:\" {{ print $3 }}' /proc/{}/status)",
        c.main_pid(unit)
    ))
}

/// Installed with nothing said, it runs, watches and answers, and leaves what failed as it is.
fn installs_and_watches(c: &Container, packages: &Packages) {
    c.unit("broken.service", BROKEN);
    c.exec(&["systemctl", "start", "broken"]);
    wait_until(LONG, "it fails", || c.active_state("broken") == "failed");
    let run = c.property("broken", "InvocationID");

    c.dpkg(packages, &packages.version);
    assert_eq!(c.state("keepwell"), state("enabled", "active"));
    assert_eq!(user_of(c, "keepwell"), "keepwell");
    // Nobody has named it: that it is down is a warning.
    let check = c.wait_for_check("unit:broken.service", "warning", "exit-code");
    assert_eq!(check["unit"]["restart"], false, "{check:#}");
    let (status, health) = c.health();
    assert_eq!((status, health["status"].as_str().unwrap_or("none")), (200, "warning"));
    // It had time to act: a service that it may not restart is never even planned for.
    never(Duration::from_secs(2), "it is started again", || {
        c.property("broken", "InvocationID") != run
    });
    let decisions = c.decisions("unit:broken.service");
    assert!(!decisions.is_empty());
    assert!(decisions.iter().all(|(reason, _)| !reason.contains("restart")), "{decisions:?}");
    assert_eq!(c.journal(&["-t", "keepwell", "-p", "err", "-o", "cat", "--quiet"]), "");
    assert_eq!(c.sh(&format!("stat -c '%U:%G %a' {CONFIG}")), "root:root 644");
    assert_eq!(c.sh("stat -c '%U:%G %a' /var/lib/keepwell"), "keepwell:keepwell 750");
}

/// Waits until `check` has been looked at again, and found critical.
#[track_caller]
fn sees_it_again(c: &Container, check: &str) {
    let before = c.wait_for_check(check, "critical", "exit-code");
    watch(
        LONG,
        "it is looked at again",
        || c.look_at(check),
        |seen| {
            let again =
                seen["last_check"].is_string() && seen["last_check"] != before["last_check"];
            (again && seen["severity"] == "critical").then_some(())
        },
    );
}

/// Connects and asks, again and again, until a file says so; says what went wrong, and how often it
/// went well.
const CALLER: &str = r#"
import os, socket
good = bad = 0
while not os.path.exists("/run/rig-stop"):
    try:
        with socket.create_connection(("127.0.0.1", 8080), 60) as s:
            s.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            s.recv(4096)
        good += 1
        if good == 1:
            open("/run/rig-calls", "w").close()
    except ConnectionResetError:
        good += 1  # taken, and cut off by the old process's end: not refused
    except OSError as error:
        bad += 1
        print("refused:", error)
print("good" if good and not bad else "bad", good, bad)
"#;

on_each_image! {
    fn installed_it_watches_answers_and_restarts_nothing(c: Container) {
        let Some(packages) = Packages::get(&c) else { return };
        installs_and_watches(&c, packages);
    }

    fn an_open_alert_goes_on_through_upgrade_and_downgrade(c: Container) {
        let Some(packages) = Packages::get(&c) else { return };
        let receiver = c.receiver();
        let check = "unit:broken.service";
        c.dpkg(packages, &packages.version);
        let config = format!(
            "{MARK}{UNITS_ONLY}{}[[unit]]\nname = \"broken\"\n",
            Receiver::channel()
        );
        c.unit("broken.service", BROKEN);
        c.write(CONFIG, &config);
        c.sh(&format!("chmod 640 {CONFIG} && chgrp keepwell {CONFIG}"));
        c.systemctl(&["restart", "keepwell"]);
        c.exec(&["systemctl", "start", "broken"]);
        receiver.wait_for_events(check, "state", &["opened"]);
        let id = receiver.told()[0].id.clone();

        for version in [&packages.next, &packages.version] {
            let before = c.main_pid("keepwell");
            c.dpkg(packages, version);
            assert_eq!(c.state("keepwell"), state("enabled", "active"));
            assert_ne!(c.main_pid("keepwell"), before, "it was not restarted");
            assert_eq!(c.read(CONFIG).as_deref(), Some(config.as_str()));
            assert_eq!(c.sh(&format!("stat -c '%G %a' {CONFIG}")), "keepwell 640");
            sees_it_again(&c, check);
            let alerts = c.keepwell(&["alerts"]).stdout;
            assert!(alerts.contains("broken.service"), "{alerts}");
        }
        // dpkg has put the newer configuration beside the edited one.
        assert!(c.read(&format!("{CONFIG}.dpkg-dist")).is_some());

        c.unit("broken.service", "[Service]\nExecStart=/bin/sleep infinity\n");
        c.systemctl(&["start", "broken"]);
        receiver.wait_for_events(check, "state", &["opened", "resolved"]);
        let told = receiver.told();
        assert!(told.iter().filter(|t| t.check == check).all(|t| t.id == id), "{told:#?}");
        // Not even twice under one key.
        let sent: Vec<_> = receiver.requests();
        assert_eq!(sent.len(), 2, "{sent:#?}");
    }

    fn removed_purged_and_back(c: Container) {
        let Some(packages) = Packages::get(&c) else { return };
        c.dpkg(packages, &packages.version);
        wait_until(LONG, "state is kept", || c.read("/var/lib/keepwell/keepwell.db").is_some());
        c.write(CONFIG, &format!("{MARK}{UNITS_ONLY}"));
        c.write("/etc/keepwell/ops-url", "http://127.0.0.1:1/\n");
        c.write(RULE, "// made at a start\n");
        // The last word is told with the credentials of the service.
        c.drop_in("keepwell.service", "credentials", "[Service]\nLoadCredential=ops-url:/etc/keepwell/ops-url\n");
        let credentials = c.systemctl(&["cat", "keepwell-failed.service"]);
        assert!(credentials.contains("\nLoadCredential=ops-url:"), "{credentials}");
        c.sh("rm -r /etc/systemd/system/keepwell.service.d");
        c.unit("shop.service", "[Service]\nExecStart=/bin/sleep infinity\n");
        c.systemctl(&["start", "shop"]);
        c.sh("keepwell adopt shop --yes");
        c.drop_in("shop.service", "mine", "[Unit]\nDescription=Shop\n");

        c.sh("dpkg -r keepwell");
        assert_eq!(c.state("keepwell").1, "inactive");
        assert_eq!(c.read(RULE), None, "what let it restart units is left");
        assert_eq!(c.read("/usr/bin/keepwell"), None);
        assert_eq!(c.read("/usr/lib/systemd/system/keepwell.service"), None);
        assert!(c.read("/var/lib/keepwell/keepwell.db").is_some());
        assert!(c.read(CONFIG).unwrap().starts_with(MARK));
        assert!(c.read(ADOPTED).is_some() && c.read(LIMITS).is_some());
        assert_eq!(c.get("/health", &[]).status, 0);

        // Back: with its state and its configuration.
        c.dpkg(packages, &packages.version);
        assert_eq!(c.state("keepwell"), state("enabled", "active"));
        assert_eq!(c.health().0, 200);
        assert!(c.read(CONFIG).unwrap().starts_with(MARK));

        c.sh("dpkg -P keepwell");
        assert_eq!(c.state("keepwell").1, "inactive");
        assert_eq!(c.read(CONFIG), None);
        assert!(!c.exec(&["test", "-e", "/var/lib/keepwell"]).ok(), "state is left");
        assert!(c.exec(&["id", "keepwell"]).ok(), "the user is gone");
        assert!(c.read("/etc/keepwell/ops-url").is_some(), "what is not the package's is gone");
        let left = c.sh("find /etc/systemd /var/lib/systemd -name '*keepwell*'");
        assert_eq!(left, "", "also of what was adopted");
        assert_eq!(c.read(ADOPTED), None);
        assert!(c.read("/etc/systemd/system/shop.service.d/mine.conf").is_some());
        assert_eq!(c.property("shop", "NeedDaemonReload"), "no");

        // As if for the first time.
        c.dpkg(packages, &packages.version);
        assert_eq!(c.state("keepwell"), state("enabled", "active"));
        assert_eq!(c.health().0, 200);
        assert!(!c.read(CONFIG).unwrap().starts_with(MARK));
    }

    fn with_the_socket_unit_the_port_never_refuses(c: Container) {
        let Some(packages) = Packages::get(&c) else { return };
        c.dpkg(packages, &packages.version);
        assert_eq!(c.state("keepwell.socket"), state("disabled", "inactive"));
        c.systemctl(&["enable", "--quiet", "keepwell.socket"]);
        c.sh("systemctl stop keepwell && systemctl start keepwell.socket keepwell");
        c.write("/opt/rig/caller.py", CALLER);
        let caller = c.command(&["python3", "/opt/rig/caller.py"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        wait_until(LONG, "it has called", || c.read("/run/rig-calls").is_some());
        for version in [&packages.next, &packages.version] {
            let before = c.main_pid("keepwell");
            c.dpkg(packages, version);
            assert_ne!(c.main_pid("keepwell"), before, "it was not restarted");
        }
        c.write("/run/rig-stop", "");
        let said = caller.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&said.stdout);
        assert!(said.starts_with("good "), "{said}");
        // Gone with the package: nobody holds the port.
        c.sh("dpkg -r keepwell");
        assert_eq!(c.state("keepwell.socket").1, "inactive");
        assert_eq!(c.state("keepwell").1, "inactive");
        c.sh("dpkg -P keepwell");
        assert_eq!(c.sh("find /etc/systemd /var/lib/systemd -name 'keepwell*'"), "");
    }

    fn what_was_disabled_or_masked_stays_so(c: Container) {
        let Some(packages) = Packages::get(&c) else { return };
        c.dpkg(packages, &packages.version);
        c.systemctl(&["disable", "--now", "--quiet", "keepwell"]);
        c.dpkg(packages, &packages.next);
        assert_eq!(c.state("keepwell"), state("disabled", "inactive"));

        c.systemctl(&["mask", "--quiet", "keepwell"]);
        c.dpkg(packages, &packages.version);
        assert_eq!(c.state("keepwell"), state("masked", "inactive"));

        // Also when it was taken away in between.
        c.systemctl(&["unmask", "--quiet", "keepwell"]);
        c.sh("dpkg -r keepwell");
        c.dpkg(packages, &packages.version);
        assert_eq!(c.state("keepwell"), state("disabled", "inactive"));
        assert_eq!(c.property("keepwell", "NRestarts"), "0");
    }

    fn policies_and_presets_are_obeyed(c: Container) {
        let Some(packages) = Packages::get(&c) else { return };
        // Who makes an image does not want services to be started in it.
        c.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n");
        c.sh("chmod 755 /usr/sbin/policy-rc.d");
        c.dpkg(packages, &packages.version);
        assert_eq!(c.state("keepwell"), state("enabled", "inactive"));
        // The folder comes with the package; what is in it, from keepwell.
        assert_eq!(c.sh("ls -A /var/lib/keepwell"), "", "it has run");
        c.sh("rm /usr/sbin/policy-rc.d; dpkg -P keepwell");

        c.write("/etc/systemd/system-preset/10-none.preset", "disable *\n");
        c.dpkg(packages, &packages.version);
        assert_eq!(c.state("keepwell"), state("disabled", "inactive"));
    }
}

#[test]
fn on_the_oldest_systemd_it_installs_and_watches() {
    let Some(c) = Container::boot("bullseye", Options::default()) else { return };
    let Some(packages) = Packages::get(&c) else { return };
    assert!(c.sh("systemctl --version").starts_with("systemd 247 "));
    installs_and_watches(&c, packages);
    c.dpkg(packages, &packages.next);
    assert_eq!(c.state("keepwell"), state("enabled", "active"));
    assert_eq!(c.health().0, 200);
    c.sh("dpkg -P keepwell");
    assert_eq!(c.state("keepwell").1, "inactive");
}
