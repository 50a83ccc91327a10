//! What an operator, a package or a timer does on purpose is no failure: nothing is restarted,
//! nobody is alarmed, nothing is counted, and keepwell says why it did nothing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "support/scene.rs"]
mod scene;
#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use scene::{Counts, LONG, QUICK, UNITS_ONLY, sleeper, watch};
use support::*;

/// Ends with exit code 143 when it is stopped, which systemd takes for a failure.
const STUBBORN: &str = "[Service]\n\
    ExecStart=/bin/bash -c 'trap \"exit 143\" TERM; while :; do sleep 0.2 & wait $!; done'\n\
    KillMode=mixed\n";

/// Keepwell may restart every unit of these scenes, so that only its judgement keeps it from it.
fn config() -> String {
    format!(
        "{UNITS_ONLY}{}[[unit]]\nname = \"op-*.service\"\nrestart = true\n{QUICK}\n",
        Receiver::channel()
    )
}

/// A unit that really fails: when people are told of it, all before it would have been told, too.
#[track_caller]
fn a_real_failure_is_told(c: &Container, receiver: &Receiver<'_>) {
    c.unit("op-real.service", &sleeper(""));
    c.systemctl(&["start", "op-real"]);
    c.kill("op-real", "KILL");
    // Right after other messages both may be one.
    let told = || receiver.events("unit:op-real.service", "state");
    watch(LONG, "the real failure is told, and its end", told, |events| {
        events.last().is_some_and(|last| last == "resolved").then_some(())
    });
}

/// Nothing was healed, told or counted of any unit but the real failure.
#[track_caller]
fn nothing_else_happened(c: &Container, receiver: &Receiver<'_>) {
    let others: Vec<_> =
        receiver.told().into_iter().filter(|t| t.check != "unit:op-real.service").collect();
    assert!(others.is_empty(), "false alarms: {others:#?}");
    for (unit, counts) in c.counted("op-") {
        if unit != "op-real.service" {
            assert_eq!(counts, Counts::default(), "{unit}");
            assert_eq!(c.check(&format!("unit:{unit}"))["unit"]["healed"], 0, "{unit}");
        }
    }
}

on_each_image! {
    fn what_an_operator_does_is_left_alone(c: Container) {
        let receiver = c.receiver();
        let plain = sleeper("");
        c.units(&[
            ("op-stop.service", &plain),
            ("op-stubborn.service", STUBBORN),
            ("op-mask.service", &plain),
            ("op-disable.service", &plain),
            ("op-package.service", &plain),
            ("op-restart.service", &plain),
            ("op-restart-stubborn.service", STUBBORN),
            ("op-waits.service", &sleeper("Restart=always\nRestartSec=10min")),
        ]);
        c.systemctl(&["enable", "--quiet", "op-disable"]);
        c.sh("systemctl start $(cd /etc/systemd/system && ls -d op-*.service)");
        c.install_keepwell(&config(), User::Keepwell);
        c.allow_restarts();
        c.start_keepwell();

        c.systemctl(&["stop", "op-stop"]);
        c.systemctl(&["stop", "op-stubborn"]);
        assert_eq!(c.active_state("op-stubborn"), "failed");
        // A masked unit's file must not lie where the mask goes.
        c.sh("mkdir -p /usr/local/lib/systemd/system && \
              mv /etc/systemd/system/op-mask.service /usr/local/lib/systemd/system/ && \
              systemctl daemon-reload && systemctl --quiet mask --now op-mask");
        c.systemctl(&["disable", "--quiet", "--now", "op-disable"]);
        // As dpkg does it: stop, new files, daemon-reload, start.
        c.systemctl(&["stop", "op-package"]);
        c.unit("op-package.service", &sleeper("Environment=VERSION=2"));
        c.systemctl(&["start", "op-package"]);
        for _ in 0..3 {
            c.systemctl(&["restart", "op-restart", "op-restart-stubborn"]);
        }

        for stopped in ["stop", "stubborn", "disable"] {
            let id = format!("unit:op-{stopped}.service");
            c.wait_for_check(&id, "healthy", "stopped-by-operator");
            let explained = c.keepwell(&["explain", &id]);
            assert!(explained.stdout.contains("stop"), "{}{}", explained.stdout, explained.stderr);
        }
        c.wait_for_check("unit:op-mask.service", "healthy", "masked");
        for up in ["package", "restart", "restart-stubborn"] {
            c.wait_for_check(&format!("unit:op-{up}.service"), "healthy", "running");
        }
        a_real_failure_is_told(&c, &receiver);
        nothing_else_happened(&c, &receiver);
        for down in ["stop", "stubborn", "mask", "disable"] {
            assert_ne!(c.active_state(&format!("op-{down}")), "active");
        }

        // Stopped while systemd waits to restart it: that it had crashed is true, but it is over.
        c.kill("op-waits", "KILL");
        watch(LONG, "systemd waits", || c.property("op-waits", "SubState"), |sub| {
            (sub == "auto-restart").then_some(())
        });
        c.systemctl(&["stop", "op-waits"]);
        c.wait_for_check("unit:op-waits.service", "healthy", "stopped-by-operator");
        never(Duration::from_secs(1), "it is started", || c.active_state("op-waits") == "active");

        // What was stopped stays so for a keepwell that was not there, too. (Of the others systemd
        // itself knows nothing any more.)
        c.systemctl(&["restart", "keepwell"]);
        c.wait_for_check("unit:op-stubborn.service", "healthy", "stopped-by-operator");
        never(Duration::from_secs(1), "it is started", || c.active_state("op-stubborn") == "active");
        assert!(receiver.told().iter().all(|t| t.check == "unit:op-real.service"), "{:#?}", receiver.told());
    }

    fn what_a_timer_starts_is_no_restart(c: Container) {
        let receiver = c.receiver();
        let timer = "[Timer]\nOnActiveSec=0\nOnUnitInactiveSec=500ms\nAccuracySec=1ms\n";
        c.units(&[
            ("op-tick.timer", timer),
            ("op-tick.service", "[Unit]\nStartLimitIntervalSec=0\n\n[Service]\nType=oneshot\nExecStart=/bin/true\n"),
            ("bad-tick.timer", timer),
            ("bad-tick.service", "[Unit]\nStartLimitIntervalSec=0\n\n[Service]\nType=oneshot\nExecStart=/bin/false\n"),
        ]);
        c.install_keepwell(
            &format!("{}[[unit]]\nname = \"bad-tick\"\n", config()),
            User::Keepwell,
        );
        c.allow_restarts();
        c.start_keepwell();
        c.systemctl(&["start", "op-tick.timer", "bad-tick.timer"]);

        let runs = |unit: &str| {
            let this = format!("UNIT={unit}");
            let what = if unit.starts_with("op-") { "Finished" } else { "Failed to start" };
            c.journal(&["--output=cat", &this]).lines().filter(|l| l.starts_with(what)).count()
        };
        watch(LONG, "each has run eight times", || (runs("op-tick.service"), runs("bad-tick.service")), |n| {
            (n.0 >= 8 && n.1 >= 8).then_some(())
        });
        let good = c.wait_for_check("unit:op-tick.service", "healthy", "idle");
        assert_eq!(good["unit"]["restarts"], 0, "{good:#}");
        assert_eq!(good["unit"]["crashes"], 0, "{good:#}");

        // The failing one is told once, and its next run by the timer is no restart.
        receiver.wait_for_events("unit:bad-tick.service", "state", &["opened"]);
        let bad = watch(LONG, "seven of its failures are counted", || c.look_at("unit:bad-tick.service"), |bad| {
            bad["unit"]["crashes"].as_u64().is_some_and(|n| n >= 7).then(|| bad.clone())
        });
        assert_eq!(bad["severity"], "critical", "{bad:#}");
        assert_eq!(bad["unit"]["restarts"], 0, "{bad:#}");
        assert_eq!(bad["unit"]["healed"], 0, "{bad:#}");

        // When it works again, that is told once as well.
        c.unit("bad-tick.service", "[Unit]\nStartLimitIntervalSec=0\n\n[Service]\nType=oneshot\nExecStart=/bin/true\n");
        receiver.wait_for_events("unit:bad-tick.service", "state", &["opened", "resolved"]);
        c.systemctl(&["stop", "op-tick.timer", "bad-tick.timer"]);
        a_real_failure_is_told(&c, &receiver);
        let told = receiver.told();
        let known = ["unit:op-real.service", "unit:bad-tick.service"];
        assert!(told.iter().all(|t| known.contains(&t.check.as_str()) && t.kind == "state"), "{told:#?}");
        receiver.wait_for_events("unit:bad-tick.service", "state", &["opened", "resolved"]);
    }
}
