//! What happens while systemd reloads, while the bus is away, or while keepwell itself is dead, is
//! neither lost nor counted twice, and an alert that was open goes on.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "support/scene.rs"]
mod scene;
#[path = "support/mod.rs"]
mod support;

use scene::{Counts, LONG, QUICK, UNITS_ONLY, sleeper, watch};
use support::*;

/// Services that systemd restarts, and services that keepwell restarts.
const UNITS: [&str; 8] = [
    "crash-own1.service",
    "crash-kw1.service",
    "crash-own2.service",
    "crash-kw2.service",
    "crash-own3.service",
    "crash-kw3.service",
    "crash-own4.service",
    "crash-kw4.service",
];

fn install(c: &Container) {
    let own = sleeper("Restart=always\nRestartSec=300ms");
    let kw = sleeper("Restart=no");
    let text = |unit: &str| {
        if unit.contains("-kw") {
            kw.clone()
        } else {
            format!("[Unit]\nStartLimitIntervalSec=0\n\n{own}")
        }
    };
    let texts: Vec<String> = UNITS.iter().map(|unit| text(unit)).collect();
    let units: Vec<(&str, &str)> =
        UNITS.iter().copied().zip(texts.iter().map(String::as_str)).collect();
    c.units(&units);
    let mut start = vec!["start"];
    start.extend(UNITS);
    c.systemctl(&start);
    c.install_keepwell(
        &format!(
            "{UNITS_ONLY}{}[[unit]]\nname = \"crash-*.service\"\nrestart = true\n{QUICK}\n\
             crash_loop = {{ max = 100 }}\n",
            Receiver::channel()
        ),
        User::Keepwell,
    );
    c.allow_restarts();
}

#[track_caller]
fn all_run(c: &Container, what: &str) {
    watch(
        LONG,
        &format!("all run again after {what}"),
        || c.runs("crash-*.service"),
        |runs| (runs.len() == UNITS.len()).then_some(()),
    );
}

on_each_image! {
    fn nothing_is_lost_while_systemd_or_the_bus_restart(c: Container) {
        let receiver = c.receiver();
        install(&c);
        c.start_keepwell();
        let disturbances = [
            "systemctl daemon-reload",
            "systemctl daemon-reexec",
            "systemctl restart dbus.service",
            "systemctl daemon-reload & systemctl restart dbus.service; wait",
        ];
        for (n, what) in (1..).zip(disturbances) {
            c.kill_during(&UNITS, what);
            all_run(&c, what);
            c.counts_agree("crash-", what);
            let all: Vec<Counts> = c.counted("crash-").into_values().collect();
            assert_eq!(all, [Counts { crashes: n, restarts: n }; UNITS.len()], "after {what}");
        }
        // Everything is looked at once more, and a last crash is counted: still nothing was counted
        // that had been counted before.
        c.systemctl(&["daemon-reload"]);
        c.kill_during(&UNITS[..2], "true");
        all_run(&c, "the last crash");
        c.counts_agree("crash-", "the last crash");
        let n = disturbances.len() as u64;
        assert_eq!(c.counted("crash-own1")[UNITS[0]].crashes, n + 1);
        assert_eq!(c.counted("crash-kw4")[UNITS[7]].crashes, n);
        // Nobody was told of anything but these crashes.
        let told = receiver.told();
        assert!(told.iter().all(|t| t.check.starts_with("unit:crash-kw")), "{told:#?}");
        assert_eq!(c.keepwell_restarts(), 0);
    }

    fn what_happens_while_keepwell_is_dead_is_counted_when_it_is_back(c: Container) {
        let receiver = c.receiver();
        install(&c);
        c.unit("lost.service", &sleeper(""));
        c.systemctl(&["start", "lost"]);
        c.drop_in("keepwell.service", "test", "[Service]\nRestart=no\n");
        c.start_keepwell();
        c.kill("lost", "KILL");
        receiver.wait_for_events("unit:lost.service", "state", &["opened"]);
        let alert = |c: &Container| c.snapshot()["alerts"].as_array().cloned().unwrap_or_default();
        let before = alert(&c);
        assert_eq!(before.len(), 1, "{before:#?}");

        c.kill("keepwell", "KILL");
        watch(LONG, "keepwell is dead", || c.active_state("keepwell"), |s| (s == "failed").then_some(()));
        // Three crashes: two of a service that systemd restarts, one of a service that nobody does.
        for _ in 0..2 {
            c.kill_during(&UNITS[..1], "true");
            watch(LONG, "systemd restarts it", || c.runs(UNITS[0]), |runs| (runs.len() == 1).then_some(()));
        }
        c.kill_during(&UNITS[1..2], "true");
        watch(LONG, "it has failed", || c.active_state(UNITS[1]), |s| (s == "failed").then_some(()));
        c.start_keepwell();
        all_run(&c, "keepwell's return");
        c.counts_agree("crash-", "keepwell's return");
        assert_eq!(c.counted("crash-own1")[UNITS[0]], Counts { crashes: 2, restarts: 2 });
        assert_eq!(c.counted("crash-kw1")[UNITS[1]], Counts { crashes: 1, restarts: 1 });

        // The alert is the same, and nobody was told again.
        let after = alert(&c);
        let lost = after.iter().find(|a| a["check"] == "unit:lost.service").unwrap_or(&serde_json::Value::Null);
        assert_eq!(lost["id"], before[0]["id"], "{after:#?}");
        assert_eq!(lost["opened"], before[0]["opened"], "{after:#?}");
        // What is over again while another message is on its way is told in one.
        let crash = format!("unit:{}", UNITS[1]);
        let told = watch(LONG, "it is told that it is over", || receiver.events(&crash, "state"), |told| {
            told.iter().any(|event| event == "resolved").then(|| told.clone())
        });
        assert!(told == ["opened", "resolved"] || told == ["resolved"], "{told:?}");
        assert_eq!(receiver.events("unit:lost.service", "state"), ["opened"]);

        // Killed at the very moment of the crashes, again and again.
        c.drop_in("keepwell.service", "test", "[Service]\nRestart=always\nRestartSec=100ms\n");
        for n in 1..=3 {
            let pid = c.main_pid("keepwell");
            c.kill_during(&UNITS, &format!("kill -9 {pid}"));
            all_run(&c, "keepwell's death");
            c.counts_agree("crash-", &format!("keepwell's death number {n}"));
        }
        assert_eq!(c.counted("crash-own1")[UNITS[0]], Counts { crashes: 5, restarts: 5 });
        assert_eq!(c.counted("crash-kw4")[UNITS[7]], Counts { crashes: 3, restarts: 3 });

        c.systemctl(&["start", "lost"]);
        receiver.wait_for_events("unit:lost.service", "state", &["opened", "resolved"]);
        let told = receiver.told();
        assert!(told.iter().all(|t| t.check.starts_with("unit:")), "{told:#?}");
    }
}
