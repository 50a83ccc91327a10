//! Faults around keepwell: it stops answering itself, or a receiver, a mount, the bus, a disk do.
//! systemd's watchdog restarts keepwell in the first case and in no other; the rest goes on.

#[path = "support/scene.rs"]
mod scene;
#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use scene::{Counts, LONG, QUICK, Side, UNITS_ONLY, equals, sleeper, watch};
use support::*;

/// A watchdog shorter than the shipped one, but not so short that it takes a busy machine for a hang;
/// what it kills is gone soon, for systemd aborts first and waits then.
const WATCHDOG: &str = "[Service]\nWatchdogSec=10s\nTimeoutAbortSec=1s\nRestartSec=100ms\n";
/// Longer than that watchdog waits, twice.
const LONGER: Duration = Duration::from_secs(22);

/// A receiver that fails for so long counts as broken, and is tried again within as long.
const BROKEN: Duration = Duration::from_secs(180);

/// A failing unit and a heartbeat: alerts that need the bus, and one that needs none.
fn config(channels: &str) -> String {
    format!(
        "{UNITS_ONLY}{channels}[[unit]]\nname = \"probe@*.service\"\n\n\
         [[unit]]\nname = \"healed\"\nrestart = true\n{QUICK}\n\n\
         [[heartbeat]]\nfile = \"/run/rig/beat-bus\"\nmax_age = \"1h\"\n"
    )
}

fn install(c: &Container, config: &str) {
    c.units(&[("probe@.service", &sleeper("")), ("healed.service", &sleeper(""))]);
    c.write("/run/rig/beat-bus", "");
    c.systemctl(&["start", "healed"]);
    c.install_keepwell(config, User::Keepwell);
    c.drop_in("keepwell.service", "watchdog", WATCHDOG);
    c.allow_restarts();
}

/// A unit of its own for each fault fails, so that no cooldown mutes it.
#[track_caller]
fn fail(c: &Container, name: &str) -> String {
    let unit = format!("probe@{name}.service");
    c.systemctl(&["start", &unit]);
    c.kill(&unit, "KILL");
    format!("unit:{unit}")
}

#[track_caller]
fn told_of(what: &str, told: impl FnMut() -> Vec<scene::Told>, check: &str) {
    watch(LONG, &format!("{what} is told of {check}"), told, |all| {
        all.iter().any(|t| t.check == check && t.event == "opened").then_some(())
    });
}

on_each_image! {
    fn the_watchdog_restarts_a_stopped_keepwell_and_its_state_is_intact(c: Container) {
        let receiver = c.receiver();
        install(&c, &config(&Receiver::channel()));
        c.start_keepwell();
        let lost = fail(&c, "lost");
        receiver.wait_for_events(&lost, "state", &["opened"]);
        c.kill("healed", "KILL");
        receiver.wait_for_events("unit:healed.service", "state", &["opened", "resolved"]);
        let before = c.snapshot();

        c.kill("keepwell", "STOP");
        c.kill("healed", "KILL");
        equals(LONG, "systemd has restarted keepwell", &1, || c.keepwell_restarts());
        assert!(c.journal(&["--unit=keepwell"]).contains("Watchdog timeout"));
        let healed = watch(LONG, "the crash is seen and healed", || c.look_at("unit:healed.service"), |check| {
            (check["reason"] == "running" && check["unit"]["step"] == 2).then(|| check.clone())
        });
        assert_eq!(healed["unit"]["crashes"], 2, "{healed:#}");
        assert_eq!(healed["unit"]["restarts"], 2, "{healed:#}");
        assert_eq!(healed["unit"]["healed"], 2, "{healed:#}");
        let alert = |snapshot: &serde_json::Value| {
            let alerts = snapshot["alerts"].as_array().cloned().unwrap_or_default();
            alerts.into_iter().find(|a| a["check"] == lost.as_str()).map(|a| (a["id"].clone(), a["opened"].clone()))
        };
        assert!(alert(&before).is_some(), "{before:#}");
        assert_eq!(alert(&c.snapshot()), alert(&before));
        assert_eq!(receiver.events(&lost, "state"), ["opened"]);
        assert_eq!(c.counted("probe@lost")["probe@lost.service"], Counts { crashes: 1, restarts: 0 });
    }

    fn a_receiver_that_hangs_holds_up_nobody_else(c: Container) {
        let receiver = c.receiver();
        let side = c.side_receiver();
        let channels = format!("{}timeout = \"1s\"\n{}", Receiver::channel(), Side::channel());
        install(&c, &config(&channels));
        c.start_keepwell();
        receiver.mode("hang");
        let hung = fail(&c, "hung");
        told_of("the other channel", || side.told(), &hung);
        // Tries come after 1 s, doubled: the first after a minute is within two and a half.
        let part = watch(BROKEN, "the channel counts as broken", || c.look_at("agent:channel-ops"), |check| {
            (check["severity"] == "warning" && check["reason"] == "broken").then(|| check.clone())
        });
        assert!(part["summary"].as_str().unwrap().contains("did not answer"), "{part:#}");
        told_of("the other channel", || side.told(), "agent:channel-ops");
        let more = fail(&c, "more");
        told_of("the other channel", || side.told(), &more);
        assert_eq!(c.keepwell_restarts(), 0);

        // What waited goes out when it answers again.
        receiver.mode("ok");
        watch(BROKEN, "the receiver is told of both", || receiver.told(), |all| {
            [&hung, &more].iter().all(|check| all.iter().any(|t| t.check == **check && t.event == "opened")).then_some(())
        });
        c.wait_for_check("agent:channel-ops", "healthy", "works");
        assert_eq!(side.told().iter().filter(|t| t.check == hung).count(), 1);
        assert_eq!(c.keepwell_restarts(), 0);
    }

    fn a_hung_mount_starves_nothing_and_is_reported(c: Container) {
        let receiver = c.receiver();
        let config = config(&Receiver::channel()).replace("disk = false\n", "");
        install(&c, &config);
        c.start_keepwell();
        c.hang_mount("/mnt/hang");
        c.wait_for_check("disk:/mnt/hang", "unknown", "hangs");
        let probe = fail(&c, "mount");
        told_of("the receiver", || receiver.told(), &probe);
        never(LONGER, "the watchdog restarts keepwell", || c.keepwell_restarts() != 0);
        // Sampling goes on: heartbeats and the rest of the host are still looked at.
        c.sh("rm /run/rig/beat-bus");
        told_of("the receiver", || receiver.told(), "heartbeat:/run/rig/beat-bus");
        c.unhang("/mnt/hang");
        watch(LONG, "the mount is gone", || c.checks(), |all| (!all.contains_key("disk:/mnt/hang")).then_some(()));
        assert_eq!(c.keepwell_restarts(), 0);
    }

    fn a_dead_bus_starves_nothing_and_is_reported(c: Container) {
        let receiver = c.receiver();
        install(&c, &format!("{}\n[alerts]\ncooldown = \"0s\"\n", config(&Receiver::channel())));
        c.start_keepwell();

        // First it hangs.
        let bus = c.main_pid("dbus");
        c.sh(&format!("kill -STOP {bus}"));
        c.sh("rm /run/rig/beat-bus");
        told_of("the receiver", || receiver.told(), "heartbeat:/run/rig/beat-bus");
        never(LONGER, "the watchdog restarts keepwell", || c.keepwell_restarts() != 0);
        c.sh(&format!("kill -CONT {bus}"));
        // Where keepwell had something to ask meanwhile, that is told as well, and that it is over.
        let told_of_bus = || receiver.events("agent:bus", "state");
        let before = watch(LONG, "the bus answers again", || (c.look_at("agent:bus"), told_of_bus()), |(check, told)| {
            (check["reason"] == "works" && told.len() % 2 == 0).then_some(told.len())
        });

        // Then it is gone. systemctl speaks to systemd itself, as root.
        c.systemctl(&["stop", "dbus.socket", "dbus.service"]);
        c.kill("healed", "KILL");
        let part = c.wait_for_check("agent:bus", "warning", "broken");
        assert!(!part["summary"].as_str().unwrap().is_empty());
        watch(LONG, "it is told that the bus is gone", told_of_bus, |told| (told.len() > before).then_some(()));
        c.write("/run/rig/beat-bus", "");
        receiver.wait_for_events("heartbeat:/run/rig/beat-bus", "state", &["opened", "resolved"]);
        assert_eq!(c.keepwell_restarts(), 0);

        // When it is back, what happened meanwhile is seen.
        c.systemctl(&["start", "dbus.socket"]);
        watch(LONG, "it is told that it is back", told_of_bus, |told| {
            (told[before..] == ["opened", "resolved"]).then_some(())
        });
        c.wait_for_check("unit:healed.service", "healthy", "running");
        equals(LONG, "the crash was counted", &Counts { crashes: 1, restarts: 1 }, || c.counted("healed")["healed.service"]);
        assert_eq!(c.keepwell_restarts(), 0);
    }

    fn a_disk_that_hangs_stops_neither_alerts_nor_restarts(c: Container) {
        let receiver = c.receiver();
        c.sh("mkdir -p /srv/kw/state");
        install(&c, &config(&Receiver::channel()).replace("[agent]\n", "[agent]\nstate_dir = \"/srv/kw/state\"\n"));
        c.sh("chown keepwell /srv/kw/state");
        c.drop_in("keepwell.service", "folder", "[Service]\nReadWritePaths=/srv/kw\n");
        c.start_keepwell();
        let early = fail(&c, "early");
        receiver.wait_for_events(&early, "state", &["opened"]);

        c.hang_mount("/srv/kw/state");
        c.kill("healed", "KILL");
        told_of("the receiver", || receiver.told(), "unit:healed.service");
        c.wait_for_check("unit:healed.service", "healthy", "running");
        let late = fail(&c, "late");
        told_of("the receiver", || receiver.told(), &late);
        let part = c.wait_for_check("agent:database", "warning", "broken");
        assert!(part["summary"].as_str().unwrap().contains("disk"), "{part:#}");
        told_of("the receiver", || receiver.told(), "agent:database");
        never(LONGER, "the watchdog restarts keepwell", || c.keepwell_restarts() != 0);

        c.unhang("/srv/kw/state");
        c.wait_for_check("agent:database", "healthy", "works");
        c.wait_for_check("agent:state-file", "healthy", "works");
        watch(LONG, "the state was saved after all", || c.read("/srv/kw/state/state.json"), |text| {
            text.as_ref().is_some_and(|t| t.contains("healed.service")).then_some(())
        });
        assert_eq!(c.keepwell_restarts(), 0);
        assert_eq!(receiver.events(&early, "state"), ["opened"]);
    }
}
