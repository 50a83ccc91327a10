//! Telemetry on a real systemd, as the packaged user: a collector that hangs, is away and comes back
//! delays neither watchdog nor alerts nor the end; what waited is caught up with.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "support/scene.rs"]
mod scene;
#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use scene::{LONG, Side, UNITS_ONLY, sleeper, watch};
use support::*;

/// A watchdog shorter than what hangs here, all in all, but not so short that it takes a busy machine
/// for a hang; what it kills is gone soon.
const WATCHDOG: &str = "[Service]\nWatchdogSec=8s\nTimeoutAbortSec=1s\nRestartSec=100ms\n";
const CHECK: &str = "agent:exporter-otlp";

/// Requests for one path so far.
fn requests(receiver: &Receiver<'_>, path: &str) -> usize {
    receiver.requests().iter().filter(|r| r["path"] == path).count()
}

fn accepted(receiver: &Receiver<'_>, path: &str) -> usize {
    let all = receiver.requests();
    all.iter().filter(|r| r["path"] == path && r["answer"] == 200).count()
}

fn value(c: &Container, name: &str) -> f64 {
    c.metric(&format!("{name}{{exporter=\"otlp\"}}")).unwrap_or(-1.0)
}

on_each_image! {
    fn a_bad_collector_holds_up_nothing(c: Container) {
        let collector = c.receiver();
        let side = c.side_receiver();
        collector.mode("hang");
        c.unit("probe.service", &sleeper(""));
        c.systemctl(&["start", "probe"]);
        let config = format!(
            "{UNITS_ONLY}[telemetry]\ninterval = \"1s\"\nwarn_after = \"10s\"\n\n\
             [otlp]\nendpoint = \"http://127.0.0.1:9901\"\ntimeout = \"2s\"\n\n\
             {}\n[[unit]]\nname = \"probe\"\n",
            Side::channel(),
        );
        c.install_keepwell(&config, User::Keepwell);
        c.drop_in("keepwell.service", "watchdog", WATCHDOG);
        c.start_keepwell();

        // It hangs: that is a warning after a time, and people are told all the same.
        let pid = c.main_pid("keepwell");
        c.wait_for_check(CHECK, "warning", "broken");
        let check = c.check(CHECK);
        assert!(check["summary"].as_str().unwrap().contains("127.0.0.1:9901"), "{check}");
        c.kill("probe", "KILL");
        watch(LONG, "the unit's failure is told", || side.told(), |all| {
            all.iter().any(|t| t.check == "unit:probe.service" && t.event == "opened").then_some(())
        });
        wait_until(LONG, "both were tried", || {
            requests(&collector, "/v1/metrics") >= 2 && requests(&collector, "/v1/logs") >= 1
        });
        assert_eq!(c.health().0, 503, "a failed unit is critical");
        assert_eq!(c.main_pid("keepwell"), pid, "the watchdog was fed");
        wait_until(LONG, "some wait", || value(&c, "keepwell_export_queued") >= 3.0);

        // It is away, and comes back: what waited follows, also the alerts.
        c.systemctl(&["stop", "rig-receiver"]);
        let waiting = value(&c, "keepwell_export_queued");
        wait_until(LONG, "more waits while it is away", || {
            value(&c, "keepwell_export_queued") >= waiting + 3.0
        });
        collector.mode("ok");
        collector.clear();
        c.systemctl(&["start", "rig-receiver"]);
        c.wait_for_check(CHECK, "healthy", "works");
        wait_until(LONG, "all that waited has been sent", || {
            value(&c, "keepwell_export_queued") == 0.0
        });
        wait_until(LONG, "one for each second and more", || accepted(&collector, "/v1/metrics") >= 15);
        wait_until(Duration::from_secs(120), "the alert is there as a log record", || {
            accepted(&collector, "/v1/logs") >= 1
        });
        assert_eq!(value(&c, "keepwell_export_dropped_total"), 0.0);

        wait_until(LONG, "its end is told too, and nothing waits", || {
            let queued = "keepwell_channel_queued{channel=\"otlp\",type=\"otlp\"}";
            c.metric("keepwell_alerts_open{severity=\"warning\"}") == Some(0.0)
                && c.metric(queued) == Some(0.0)
        });

        // It hangs again: a reload does not wait for it, and neither does the end.
        collector.mode("hang");
        let before = requests(&collector, "/v1/metrics");
        wait_until(LONG, "one hangs", || requests(&collector, "/v1/metrics") > before + 1);
        c.systemctl(&["reload", "keepwell"]);
        let (loaded, given_up) =
            ("the configuration has been reloaded", "measurements are not sent any more");
        let log = || c.sh("journalctl -u keepwell -o cat --no-pager");
        wait_until(LONG, "the former exporter has ended", || log().contains(given_up));
        let log = log();
        assert!(log.find(loaded) < log.find(given_up) && log.contains(loaded), "{log}");
        // It has 20 s by itself; after 30 s systemd would end it, and say so.
        c.systemctl(&["stop", "keepwell"]);
        assert_eq!(c.property("keepwell", "Result"), "success");
        assert_eq!(c.property("keepwell", "NRestarts"), "0");
    }
}
