//! `keepwell adopt` and `keepwell release` as a person uses them, on a real systemd, with the real
//! daemon as its own user: what is adopted is restarted without root, what is released no longer,
//! and nothing is left behind.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "support/scene.rs"]
mod scene;
#[path = "support/mod.rs"]
mod support;

use scene::{LONG, UNITS_ONLY, sleeper, watch};
use support::*;

const RULE: &str = "/etc/polkit-1/rules.d/60-keepwell.rules";
const FILE: &str = "/etc/keepwell/conf.d/50-adopted-shop.service.toml";
const DROP_IN: &str = "/etc/systemd/system/shop.service.d/50-keepwell.conf";

/// No units are named; what is adopted is restarted after 200 ms.
fn config() -> String {
    format!("{UNITS_ONLY}[restart]\nfirst = \"200ms\"\nmax = \"2s\"\nverify = \"500ms\"\n")
}

/// The command with what it said on both ways.
#[track_caller]
fn says(c: &Container, args: &[&str], code: i32, parts: &[&str]) -> String {
    let out = c.keepwell(args);
    let said = format!("{}{}", out.stdout, out.stderr);
    assert_eq!(out.code, code, "keepwell {args:?}:\n{said}");
    for part in parts {
        assert!(said.contains(part), "keepwell {args:?} does not say {part:?}:\n{said}");
    }
    said
}

/// Everything below /etc that `adopt` could touch, with modes and contents.
fn etc(c: &Container) -> String {
    c.sh("cd /etc && find keepwell systemd/system polkit-1 -printf '%p %M %u\\n' | sort; \
          find keepwell systemd/system polkit-1 -type f -exec sha256sum {} + | sort")
}

/// Waits until the unit runs again, in another run.
#[track_caller]
fn runs_again(c: &Container, unit: &str, before: &str) {
    watch(
        LONG,
        &format!("{unit} was restarted"),
        || (c.active_state(unit), c.property(unit, "InvocationID")),
        |(state, run)| (state == "active" && run != before).then_some(()),
    );
}

on_each_image! {
    fn an_adopted_service_is_restarted_without_root_until_it_is_released(c: Container) {
        c.unit("shop.service", &sleeper("Restart=no"));
        c.unit("other.service", &sleeper("Restart=no"));
        c.systemctl(&["start", "shop", "other"]);
        c.install_keepwell(&config(), User::Keepwell);
        let clean = etc(&c);
        c.start_keepwell();
        let pid = c.main_pid("keepwell.service");
        assert_eq!(c.sh(&format!("stat -c %U /proc/{pid}")), "keepwell");

        // Without a terminal: the configuration, and how to have the lines.
        let dry = says(&c, &["adopt", "shop", "--dry-run"], 0, &[
            &format!("would write {FILE}:\n"),
            "  name = 'shop.service'\n  restart = true\n",
            &format!("would write {DROP_IN}:\n"),
            "  StartLimitBurst=5\n",
            "daemon-reload",
        ]);
        assert!(!dry.contains("wrote"), "{dry}");
        assert_eq!(etc(&c), clean, "a dry run changes nothing");
        says(&c, &["adopt", "shop"], 0, &[
            "active (running), Type=simple, Restart=no",
            &format!("wrote {FILE}\n"),
            &format!("wrote {RULE}\n"),
            "not written: there is no terminal",
            "sudo keepwell adopt shop.service --yes",
            "keepwell has read its configuration again",
            "restarting shop.service is permitted, says polkit",
            "sudo keepwell release shop.service",
        ]);
        assert_eq!(c.sh(&format!("stat -c '%a %U:%G' {FILE}")), "644 root:root");
        assert_eq!(c.read(DROP_IN), None);

        // At once: the command has waited for the daemon.
        let said = c.keepwell(&["explain", "shop"]);
        assert!(said.ok() && !said.stdout.contains("not-configured"), "{}{}", said.stdout, said.stderr);
        let before = c.property("shop.service", "InvocationID");
        c.kill("shop.service", "KILL");
        runs_again(&c, "shop.service", &before);

        // With the lines, which count at once.
        assert_ne!(c.property("shop.service", "StartLimitIntervalUSec"), "5min");
        says(&c, &["adopt", "shop.service", "--limits", "--yes"], 0, &[
            &format!("adopted already: {FILE}"),
            &format!("wrote {DROP_IN}\n"),
            "Risk: it is killed when it needs more",
        ]);
        assert_eq!(c.property("shop.service", "StartLimitBurst"), "5");
        assert_eq!(c.property("shop.service", "StartLimitIntervalUSec"), "5min");
        assert_eq!(c.property("shop.service", "MemoryMax"), (4_u64 << 30).to_string());
        assert_eq!(c.property("shop.service", "CPUQuotaPerSecUSec"), "2s");
        assert_eq!(c.property("shop.service", "NeedDaemonReload"), "no");

        // Once more: nothing changes.
        let now = etc(&c);
        says(&c, &["adopt", "shop.service", "--limits", "--yes"], 0, &[
            "adopted already", "is there already", "nothing to do", "is permitted",
        ]);
        assert_eq!(etc(&c), now);

        // As if a run had been cut off before the daemon was told.
        c.sh(&format!("mv {FILE} /tmp/file"));
        c.systemctl(&["reload", "keepwell"]);
        watch(LONG, "the daemon has forgotten it", || c.keepwell(&["explain", "shop"]), |said| {
            (!said.ok() || said.stdout.contains("not-configured")).then_some(())
        });
        c.sh(&format!("mv /tmp/file {FILE} && keepwell polkit"));
        says(&c, &["adopt", "shop.service", "--no-drop-in"], 0, &["has read its configuration again"]);
        let said = c.keepwell(&["explain", "shop"]);
        assert!(said.ok() && !said.stdout.contains("not-configured"), "{}{}", said.stdout, said.stderr);

        // Nothing but what was adopted may be restarted.
        let denied = c.exec(&["setpriv", "--reuid=keepwell", "--regid=keepwell", "--clear-groups",
            "systemctl", "--no-ask-password", "restart", "other.service"]);
        assert!(!denied.ok(), "{denied:?}");

        let said = says(&c, &["release", "shop"], 0, &[
            &format!("removed {FILE}\n"),
            &format!("removed {DROP_IN}\n"),
            &format!("removed {RULE}\n"),
            "keepwell no longer restarts shop.service",
        ]);
        assert!(!said.contains("left "), "{said}");
        let left = etc(&c);
        let without = |text: &str| {
            let made = ["keepwell/conf.d ", "polkit-1/rules.d "];
            text.lines().filter(|l| !made.iter().any(|m| l.starts_with(m))).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(without(&left), without(&clean), "all is gone");
        assert_eq!(c.property("shop.service", "MemoryMax"), "infinity");
        assert_ne!(c.property("shop.service", "StartLimitIntervalUSec"), "5min");
        says(&c, &["release", "shop"], 0, &["nothing to do: shop.service is not adopted"]);
        assert_eq!(etc(&c), left);

        c.kill("shop.service", "KILL");
        c.wait_for_check("unit:shop.service", "warning", "signal");
        // keepwell says itself that it will not.
        watch(LONG, "it is not restarted", || c.keepwell(&["explain", "shop"]).stdout, |said| {
            said.contains("not-configured").then_some(())
        });
        assert_eq!(c.active_state("shop"), "failed");
    }

    fn the_lines_are_asked_about_on_a_terminal(c: Container) {
        c.unit("shop.service", &sleeper("MemoryMax=1G"));
        c.systemctl(&["start", "shop"]);
        c.install_keepwell(&config(), User::Keepwell);
        let typed = |keys: &str, command: &str| {
            c.sh(&format!("printf '{keys}' | script -qec '{command}' /dev/null | tr -d '\\r'"))
        };
        // Start limits: no; memory: its own stays; processors: yes.
        let said = typed("n\\ny\\n", "keepwell adopt shop --limits");
        assert!(said.contains("left out: it has its own: MemoryMax=1G"), "{said}");
        assert!(said.contains("Add it? [Y/n]"), "{said}");
        assert!(said.contains("keepwell does not run: sudo systemctl enable --now"), "{said}");
        let text = c.read(DROP_IN).unwrap();
        assert!(text.contains("\nCPUQuota=200%\n"), "{text}");
        assert!(!text.contains("StartLimit") && !text.contains("MemoryMax"), "{text}");
        assert_eq!(c.property("shop.service", "MemoryMax"), (1_u64 << 30).to_string());

        // What was refused before can be taken later; what is there stays.
        let said = typed("y\\n", "keepwell adopt shop");
        assert!(said.contains("wrote /etc/systemd/system/shop.service.d"), "{said}");
        let text = c.read(DROP_IN).unwrap();
        assert!(text.contains("StartLimitBurst=5") && text.contains("CPUQuota=200%"), "{text}");
        says(&c, &["release", "shop"], 0, &["keepwell does not run"]);
        assert_eq!(c.exec(&["ls", "/etc/systemd/system/shop.service.d"]).code, 2);

        // Files of others are left alone, also by release.
        c.write(DROP_IN, "[Service]\nNice=1\n");
        says(&c, &["adopt", "shop", "--yes"], 0, &["is left as it is"]);
        says(&c, &["release", "shop"], 0, &["left /etc/systemd/system/shop.service.d/50-keepwell.conf"]);
        assert_eq!(c.read(DROP_IN).unwrap(), "[Service]\nNice=1\n");
    }

    fn what_the_daemon_refuses_is_taken_back(c: Container) {
        c.unit("shop.service", &sleeper(""));
        c.systemctl(&["start", "shop"]);
        c.install_keepwell(&config(), User::Keepwell);
        c.drop_in("keepwell.service", "refuses", "[Service]\nExecReload=\nExecReload=/bin/false\n");
        c.start_keepwell();
        let said = says(&c, &["adopt", "shop", "--yes"], 3, &[
            "keepwell does not take the new configuration: the reload ended with 'failed'",
            &format!("; taken back: {FILE}, {DROP_IN}"),
            &format!("removed {RULE}"),
        ]);
        assert!(!said.contains("is permitted"), "{said}");
        assert_eq!((c.read(FILE), c.read(RULE), c.read(DROP_IN)), (None, None, None));
        assert_ne!(c.property("shop.service", "StartLimitIntervalUSec"), "5min");

        // The example does by hand what the lines do.
        c.copy_in(
            &support::keepwell::repository("systemd/watched-service.conf.example"),
            "/etc/systemd/system/shop.service.d/50-limits.conf",
            0o644,
        );
        c.systemctl(&["daemon-reload"]);
        assert_eq!(c.sh("systemd-analyze verify shop.service 2>&1"), "");
        assert_eq!(c.property("shop.service", "StartLimitIntervalUSec"), "5min");
        assert_eq!(c.property("shop.service", "MemoryMax"), (4_u64 << 30).to_string());
        assert_eq!(c.property("shop.service", "CPUQuotaPerSecUSec"), "2s");
    }

    fn a_watchdog_is_for_services_that_ping(c: Container) {
        let long = "[Service]\nType=notify\nNotifyAccess=all\nWatchdogSec=10min\nExecStart=/bin/sh -c \
            'systemd-notify --ready; while :; do systemd-notify WATCHDOG=1; sleep 1; done'\n";
        // Says that it is ready, with a ping that stays the only one.
        let once = "[Service]\nType=notify\nNotifyAccess=all\nWatchdogSec=10min\nExecStart=/bin/sh -c \
            'systemd-notify --ready WATCHDOG=1; exec sleep infinity'\n";
        c.units(&[
            ("shop.service", long),
            ("once.service", once),
            ("own.service", &long.replace("10min", "1min")),
            ("quiet.service", &sleeper("")),
        ]);
        c.systemctl(&["start", "shop", "once", "own", "quiet"]);
        c.install_keepwell(&config(), User::Keepwell);
        let clean = etc(&c);
        says(&c, &["adopt", "quiet", "--watchdog", "--yes"], 3, &[
            "no watchdog, and nothing was changed: nothing shows that quiet.service (Type=simple)",
        ]);
        watch(LONG, "shop has shown that it goes on", || {
            c.keepwell(&["adopt", "shop", "--watchdog", "--dry-run"])
        }, |out| out.ok().then_some(()));
        says(&c, &["adopt", "once", "--watchdog", "--yes"], 3, &["has not pinged since 5 s after"]);
        assert_eq!(etc(&c), clean);
        says(&c, &["adopt", "own", "--watchdog", "--dry-run"], 0, &[
            "WatchdogSec=5min\n    left out: it has its own: WatchdogSec=1 min",
        ]);

        says(&c, &["adopt", "shop", "--watchdog", "--yes"], 0, &["from its next start on"]);
        c.systemctl(&["restart", "shop"]);
        assert_eq!(c.property("shop.service", "WatchdogUSec"), "5min");
        says(&c, &["release", "shop"], 0, &[]);
        c.systemctl(&["restart", "shop"]);
        assert_eq!(c.property("shop.service", "WatchdogUSec"), "10min");
    }

    fn what_cannot_be_adopted_is_said_with_the_reason(c: Container) {
        c.units(&[
            ("shop.service", &sleeper("")),
            ("w@.service", &sleeper("")),
            ("broken.service", "[Service]\nType=simple\n"),
            ("inner.service", "[Unit]\nRefuseManualStop=yes\n[Service]\nExecStart=/bin/true\n"),
            ("named.service", &sleeper("")),
            ("web.service", &sleeper("")),
        ]);
        c.sh("ln -s shop.service /etc/systemd/system/store.service");
        c.systemctl(&["mask", "--quiet", "systemd-resolved-x.service"]);
        c.systemctl(&["daemon-reload"]);
        c.systemctl(&["start", "w@1"]);
        c.sh("systemd-run --quiet --unit=passing sleep infinity");
        let more = "[[unit]]\nname = \"named\"\n[[unit]]\nname = \"web*\"\nrestart = true\n";
        c.install_keepwell(&format!("{}{more}", config()), User::Keepwell);
        let clean = etc(&c);
        for (unit, part) in [
            ("shpo", "there is no unit shpo.service; did you mean shop.service"),
            ("w@", "w@.service is a template: adopt an instance of it: w@1.service"),
            ("w@*", "is a pattern"),
            ("systemd-resolved-x", "is masked: nobody can start it"),
            ("broken", "systemd cannot load broken.service"),
            ("inner", "RefuseManualStop=yes"),
            ("passing", "passing.service is transient"),
            ("keepwell", "keepwell does not restart itself"),
            ("multi-user.target", "cannot be adopted"),
            ("named", "/etc/keepwell/keepwell.toml:"),
        ] {
            says(&c, &["adopt", unit, "--yes"], 3, &[part]);
        }
        let nobody = |command: &str| {
            c.exec(&["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "keepwell",
                command, "shop"])
        };
        for command in ["adopt", "release"] {
            let out = nobody(command);
            assert_eq!(out.code, 3);
            let wanted = format!("keepwell: {command} writes below /etc and needs root: sudo keepwell {command} shop\n");
            assert_eq!(out.stderr, wanted);
        }
        says(&c, &["--config", "/tmp/x.toml", "adopt", "shop"], 3, &["leaves out"]);
        assert_eq!(etc(&c), clean);

        // Named by a pattern that is restarted: nothing to add, and release says what it is by.
        says(&c, &["adopt", "web", "--no-drop-in"], 0, &[
            "the configuration has it restarted already: /etc/keepwell/keepwell.toml:", "`web*`",
        ]);
        says(&c, &["release", "web"], 0, &["keepwell still restarts web.service", "`web*`"]);

        // An alias is adopted, and released, by the name that it stands for.
        says(&c, &["adopt", "store", "--no-drop-in"], 0, &["another name of shop.service", FILE]);
        says(&c, &["release", "store"], 0, &[&format!("removed {FILE}")]);
        // systemd's own parts can be, with a warning.
        says(&c, &["adopt", "dbus", "--dry-run"], 0, &["Risk: it is the message bus"]);

        // A configuration that is not valid is left as it is.
        c.configure("nonsense = 1\n");
        let broken = etc(&c);
        says(&c, &["adopt", "shop", "--yes"], 3, &["nothing was changed; correct it first", "nonsense"]);
        assert_eq!(etc(&c), broken);
    }
}
