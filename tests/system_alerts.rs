//! Who is told, on a real systemd: a cause with its dependants in one message; nothing of what an
//! upgrade, a shutdown or a boot does in passing, and of what is still broken afterwards all the
//! same; nothing lost in a daemon-reload.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "support/scene.rs"]
mod scene;
#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;

use scene::{LONG, QUICK, UNITS_ONLY, sleeper, watch};
use serde_json::Value;
use support::*;

/// A database that others find in a file of `/run`, and that does not start while `/run/broken` is
/// there.
const DATABASE: &str = "[Service]\nType=notify\nNotifyAccess=all\n\
    ExecStartPre=/usr/bin/test ! -e /run/broken\n\
    ExecStart=/bin/sh -c 'touch /run/db && systemd-notify --ready; exec sleep infinity'\n\
    ExecStopPost=/bin/rm -f /run/db\n";

/// A service that ends badly when the database has gone; `more` are lines of its `[Unit]` section.
fn client(more: &str) -> String {
    format!(
        "[Unit]\nStartLimitIntervalSec=0\n{more}\n\n[Service]\n\
         ExecStart=/bin/sh -c 'while test -e /run/db; do sleep 0.1; done; exit 3'\n"
    )
}

/// A file with the lines of a shell script.
fn script(c: &Container, path: &str, text: &str) {
    c.write(path, &format!("#!/bin/sh\n{text}"));
    c.sh(&format!("chmod 755 {path}"));
}

/// Alerts of one message: check, event, whether it stands beneath its cause.
fn alerts(message: &Value) -> Vec<(String, String, bool)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = message["alerts"].as_array().cloned().unwrap_or_default();
    all.iter().map(|a| (text(&a["check"]), text(&a["event"]), a["beneath"] == true)).collect()
}

/// Waits until keepwell has held an alert of `unit` back for this reason.
#[track_caller]
fn held_back(c: &Container, unit: &str, reason: &str) {
    watch(
        LONG,
        &format!("{unit} is not told: {reason}"),
        || c.decisions(&format!("unit:{unit}")),
        |all| all.iter().any(|(why, _)| why == reason).then_some(()),
    );
}

/// Builds a package in the container whose `postinst` is this script.
fn package(c: &Container, name: &str, postinst: &str) {
    let dir = format!("/root/{name}");
    c.write(
        &format!("{dir}/DEBIAN/control"),
        &format!(
            "Package: {name}\nVersion: 2\nArchitecture: all\n\
             Maintainer: Nobody <nobody@example.org>\nDescription: for a test\n"
        ),
    );
    script(c, &format!("{dir}/DEBIAN/postinst"), &format!("set -e\n{postinst}"));
    c.sh(&format!("chmod 755 {dir} {dir}/DEBIAN; dpkg-deb --build {dir} {dir}.deb"));
}

on_each_image! {
    fn a_cause_and_what_needs_it_are_one_message(c: Container) {
        let receiver = c.receiver();
        let clients = [
            // Stopped by systemd when the database ends.
            ("bound.service", client("BindsTo=db.service\nAfter=db.service")),
            // Ends by itself.
            ("app.service", client("Requires=db.service\nAfter=db.service")),
            // Ends by itself; each restart fails because the database does not start.
            ("late.service", client("Requires=app.service\nAfter=app.service")),
            // Needs nothing of it, and goes on.
            ("other.service", sleeper("")),
        ];
        c.unit("db.service", DATABASE);
        let units: Vec<(&str, &str)> = clients.iter().map(|(n, t)| (*n, t.as_str())).collect();
        c.units(&units);
        let all = ["db", "bound", "app", "late", "other"];
        c.systemctl(&[&["start"], &all[..]].concat());
        let named: String =
            all.iter().map(|name| format!("[[unit]]\nname = \"{name}\"\ncrash_loop = {{ max = 100 }}\n")).collect();
        let named = named.replace(
            "name = \"late\"\n",
            &format!("name = \"late\"\nrequired = true\nrestart = true\n{QUICK}\n"),
        );
        c.install_keepwell(
            &format!(
                "{UNITS_ONLY}[alerts]\ngroup_wait = \"10s\"\n\n{}{named}",
                Receiver::channel()
            ),
            User::Keepwell,
        );
        c.allow_restarts();
        c.start_keepwell();
        for name in all {
            c.wait_for_check(&format!("unit:{name}.service"), "healthy", "running");
        }

        c.write("/run/broken", "");
        c.kill("db", "KILL");
        receiver.wait_for_events("unit:db.service", "state", &["opened"]);
        receiver.wait_for_events("unit:app.service", "state", &["opened"]);
        receiver.wait_for_events("unit:late.service", "state", &["opened"]);
        let messages = receiver.accepted();
        assert_eq!(messages.len(), 1, "{messages:#?}");
        let told = |check: &str, beneath| (format!("unit:{check}.service"), "opened".to_owned(), beneath);
        let mut first = alerts(&messages[0]);
        first[1..].sort();
        assert_eq!(first, [told("db", false), told("app", true), told("late", true)]);
        let cause = &messages[0]["alerts"][0]["id"];
        assert!(
            messages[0]["alerts"].as_array().unwrap()[1..].iter().all(|a| a["cause"] == *cause),
            "{:#}",
            messages[0]
        );
        // What systemd stopped because of it is no failure.
        assert_eq!(c.active_state("bound"), "inactive");
        assert_eq!(c.check("unit:other.service")["severity"], "healthy");
        watch(LONG, "a restart fails for want of the database", || c.decisions("unit:late.service"), |all| {
            all.iter().any(|(_, text)| text.contains("dependency")).then_some(())
        });

        c.sh("rm /run/broken");
        c.systemctl(&["reset-failed"]);
        c.systemctl(&["start", "db", "bound", "app", "late"]);
        for name in ["db", "app", "late"] {
            receiver.wait_for_events(&format!("unit:{name}.service"), "state", &["opened", "resolved"]);
        }
        let told = receiver.told();
        assert_eq!(told.len(), 6, "{told:#?}");
        assert!(receiver.accepted().len() <= 4, "{:#?}", receiver.accepted());
    }

    fn an_upgrade_is_silent_and_what_it_breaks_is_told_afterwards(c: Container) {
        let receiver = c.receiver();
        c.units(&[("shop.service", &sleeper("")), ("till.service", &sleeper(""))]);
        c.systemctl(&["start", "shop", "till"]);
        c.install_keepwell(
            &format!(
                "{UNITS_ONLY}{}[[unit]]\nname = \"shop\"\nrestart = true\n{QUICK}\n\
                 [[unit]]\nname = \"till\"\n",
                Receiver::channel()
            ),
            User::Keepwell,
        );
        c.allow_restarts();
        c.start_keepwell();
        let run = c.wait_for_check("unit:shop.service", "healthy", "running");
        assert_eq!(run["unit"]["restarts"], 0, "{run:#}");

        // The script of the package fails the service, waits until that was seen, and starts it.
        package(
            &c,
            "shop",
            "systemctl restart shop\nsystemctl kill --kill-whom=main --signal=KILL shop\n\
             touch /run/upgrading\nwhile ! test -e /run/go-on; do sleep 0.1; done\n\
             systemctl start shop\n",
        );
        let mut upgrade = c
            .command(&["apt-get", "install", "--yes", "--quiet", "/root/shop.deb"])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        wait_for(LONG, "the upgrade has begun", || c.read("/run/upgrading"));
        held_back(&c, "shop.service", "package-upgrade");
        assert_eq!(c.active_state("shop"), "failed", "nobody restarts it meanwhile");
        c.write("/run/go-on", "");
        assert!(upgrade.wait().unwrap().success(), "{}", c.sh("cat /var/log/apt/term.log"));
        c.wait_for_check("unit:shop.service", "healthy", "running");

        // What another leaves broken is told when it is done.
        c.sh("rm /run/upgrading /run/go-on");
        package(
            &c,
            "till",
            "systemctl kill --kill-whom=main --signal=KILL till\ntouch /run/upgrading\n\
             while ! test -e /run/go-on; do sleep 0.1; done\n",
        );
        let mut upgrade = c
            .command(&["dpkg", "--install", "/root/till.deb"])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        wait_for(LONG, "the upgrade has begun", || c.read("/run/upgrading"));
        held_back(&c, "till.service", "package-upgrade");
        assert_eq!(receiver.told(), [], "during the upgrade");
        c.write("/run/go-on", "");
        assert!(upgrade.wait().unwrap().success());
        receiver.wait_for_events("unit:till.service", "state", &["opened"]);
        assert_eq!(receiver.told().len(), 1, "{:#?}", receiver.told());
        assert_eq!(c.check("unit:shop.service")["unit"]["healed"], 0);
    }

    fn a_shutdown_and_a_boot_are_silent(c: Container) {
        let mut c = c;
        c.receiver();
        // The receiver is there from before keepwell's start until after its end.
        c.drop_in("rig-receiver.service", "order", "[Unit]\nBefore=keepwell.service\n");
        let [stop, end] = ["[Unit]\nAfter=keepwell.service\n\n", ""].map(|unit| {
            format!("{unit}{}", sleeper("ExecStop=/bin/sh -c 'kill -9 $MAINPID; sleep 1; exit 4'"))
        });
        c.units(&[
            // They fail while the host goes down, before keepwell is stopped and beside it.
            ("stop.service", &stop),
            ("end.service", &end),
            // Dies when logind has announced the shutdown and systemd knows nothing of it yet.
            ("early.service", &sleeper("")),
            ("delay.service", &sleeper("").replace(
                "/bin/sleep infinity",
                "/usr/bin/systemd-inhibit --what=shutdown --mode=delay --why=test /root/delay",
            )),
            // Fails at boot, and is up before the boot is complete.
            ("hasty.service", "[Service]\nExecStart=/bin/sh -c 'test -e /run/second && exec sleep infinity; exit 5'\n"),
            // Fails at boot for good, from the second boot on.
            ("broken.service", "[Service]\nExecStart=/bin/sh -c 'test -e /var/lib/first && exec sleep infinity; exit 6'\n"),
            ("boot.service", "[Unit]\nAfter=keepwell.service\n\n[Service]\nType=oneshot\nExecStart=/root/boot\n\n\
                              [Install]\nWantedBy=multi-user.target\n"),
        ]);
        script(
            &c,
            "/root/delay",
            "dbus-monitor --system \"type='signal',member='PrepareForShutdown'\" | {\n\
             grep -q 'boolean true'\nsystemctl kill --kill-whom=main --signal=KILL early\n\
             until journalctl --boot --quiet KEEPWELL_CHECK=unit:early.service KEEPWELL_REASON=host-shutdown \
             | grep -q .; do sleep 0.2; done\n}\n",
        );
        // A busy machine takes longer for that than the 5 s that logind waits.
        c.write("/etc/systemd/logind.conf.d/rig.conf", "[Login]\nInhibitDelayMaxSec=60\n");
        c.systemctl(&["restart", "systemd-logind"]);
        // Two services fail at once; keepwell has seen both before one of them is mended.
        script(
            &c,
            "/root/boot",
            "systemctl start hasty broken\n\
             until journalctl --boot --quiet KEEPWELL_CHECK=unit:hasty.service KEEPWELL_REASON=settling \
             | grep -q .; do sleep 0.2; done\n\
             touch /run/second; systemctl start hasty\n\
             until journalctl --boot --quiet --reverse KEEPWELL_CHECK=unit:hasty.service \
             --output=cat --output-fields=KEEPWELL_REASON | head -1 | grep -q running; do sleep 0.2; done\n",
        );
        let watched = ["stop", "end", "early", "hasty", "broken"];
        let named: String =
            watched.iter().map(|name| format!("[[unit]]\nname = \"{name}\"\n{QUICK}\n")).collect();
        c.install_keepwell(&format!("{UNITS_ONLY}{}{named}", Receiver::channel()), User::Keepwell);
        c.write("/run/second", "");
        c.write("/var/lib/first", "");
        c.systemctl(&["enable", "--now", "--quiet", "stop", "end", "early", "delay"]);
        c.systemctl(&["start", "hasty", "broken"]);
        c.systemctl(&["enable", "--quiet", "keepwell", "boot"]);
        c.start_keepwell();
        for name in watched {
            c.wait_for_check(&format!("unit:{name}.service"), "healthy", "running");
        }
        c.sh("rm /var/lib/first");

        c.reboot();
        let receiver = c.receiver_again();
        receiver.wait_for_events("unit:broken.service", "state", &["opened"]);
        let told = receiver.told();
        assert_eq!(told.len(), 1, "only what is still so after the boot: {told:#?}");
        for (unit, reason) in [("early", "host-shutdown"), ("hasty", "settling"), ("broken", "settling")] {
            held_back(&c, &format!("{unit}.service"), reason);
        }
        for name in &watched[..4] {
            c.wait_for_check(&format!("unit:{name}.service"), "healthy", "running");
        }

        // And down for good.
        c.power_off();
        let told = c.receiver_again().told();
        assert_eq!(told.len(), 1, "nothing was added: {told:#?}");
    }

    fn a_daemon_reload_loses_no_message(c: Container) {
        let receiver = c.receiver();
        let names: Vec<String> = (0..6).map(|n| format!("w{n}.service")).collect();
        let text = sleeper("");
        let units: Vec<(&str, &str)> = names.iter().map(|n| (n.as_str(), text.as_str())).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        c.units(&units);
        c.systemctl(&[&["start"], &names[..]].concat());
        c.install_keepwell(
            &format!("{UNITS_ONLY}{}[[unit]]\nname = \"w*.service\"\n", Receiver::channel()),
            User::Keepwell,
        );
        c.start_keepwell();
        watch(LONG, "all are watched", || c.checks(), |checks| {
            let up = checks.values().filter(|check| check["reason"] == "running").count();
            (up == names.len()).then_some(())
        });
        c.kill_during(&names, "systemctl daemon-reload");
        for name in &names {
            receiver.wait_for_events(&format!("unit:{name}"), "state", &["opened"]);
        }
        c.sh(&format!("systemctl daemon-reload & systemctl start {}; wait", names.join(" ")));
        for name in &names {
            receiver.wait_for_events(&format!("unit:{name}"), "state", &["opened", "resolved"]);
        }
        let by_id: BTreeMap<String, usize> =
            receiver.told().into_iter().fold(BTreeMap::new(), |mut all, told| {
                *all.entry(told.id).or_default() += 1;
                all
            });
        assert_eq!(by_id.len(), names.len(), "{by_id:?}");
        assert!(by_id.values().all(|n| *n == 2), "{by_id:?}");
    }
}
