//! keepwell heals: a hundred kills, each restarted and none too early; a crash loop that systemd
//! gives up on; steps that last over a restart of keepwell and a reboot of the host.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "support/scene.rs"]
mod scene;
#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;

use scene::{Counts, LONG, Moment, QUICK, UNITS_ONLY, equals, quick, sleeper, watch};
use support::*;

const WORKERS: usize = 20;
const ROUNDS: u32 = 5;

/// How long each failed run of one unit lay there before the next start.
fn gaps(moments: &[Moment]) -> Vec<std::time::Duration> {
    let mut gaps = Vec::new();
    let mut failed = None;
    for moment in moments {
        match moment {
            Moment::Failed { at, .. } => failed = Some(*at),
            Moment::Started { at, .. } => {
                if let Some(failed) = failed.take() {
                    gaps.push(std::time::Duration::from_micros(at.abs_diff(failed)));
                }
            }
        }
    }
    gaps
}

/// Kills a worker of which keepwell knows `step` attempts, and asserts that the next comes after
/// the wait of that step, and not before.
#[allow(clippy::unwrap_used, reason = "part of a test")]
#[track_caller]
fn goes_on_at(c: &Container, unit: &str, step: u32) {
    let check = format!("unit:{unit}");
    let known = watch(
        LONG,
        "the unit is seen up",
        || c.checks().remove(&check),
        |check| check.clone().filter(|c| c["reason"] == "running"),
    );
    assert_eq!(known["unit"]["step"], step, "{known:#}");
    let before = gaps(&c.moments(unit)[unit]).len();
    c.kill(unit, "KILL");
    watch(
        LONG,
        "it was restarted",
        || c.checks().remove(&check),
        |check| {
            let check = check.as_ref()?;
            (check["unit"]["step"] == step + 1 && check["reason"] == "running").then_some(())
        },
    );
    let gaps = gaps(&c.moments(unit)[unit]);
    assert_eq!(gaps.len(), before + 1, "{gaps:?}");
    assert!(gaps[before] >= quick(step), "restarted after {:?}, step {step}", gaps[before]);
    let attempt = format!("attempt {}", step + 1);
    let decisions = c.decisions(&check);
    assert!(
        decisions
            .iter()
            .any(|(reason, text)| reason == "restart-scheduled" && text.contains(&attempt)),
        "{attempt} is not in {decisions:#?}"
    );
    // What it shows may be ahead of a disk that is slow.
    let kept = || -> serde_json::Value {
        let text = c.read("/var/lib/keepwell/state.json").unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let state = watch(LONG, "the step is kept", kept, |state| {
        (state["units"][unit]["step"] == step + 1).then(|| state.clone())
    });
    assert_eq!(state["version"], 1);
}

on_each_image! {
    fn a_hundred_kills_are_seen_and_healed_and_the_steps_last(c: Container) {
        let mut c = c;
        let receiver = c.receiver();
        let names: Vec<String> = (0..WORKERS).map(|n| format!("worker{n:02}.service")).collect();
        let text = sleeper("Restart=no");
        let units: Vec<(&str, &str)> = names.iter().map(|n| (n.as_str(), text.as_str())).collect();
        c.units(&units);
        let mut enable = vec!["enable", "--now", "--quiet"];
        enable.extend(names.iter().map(String::as_str));
        c.systemctl(&enable);
        c.install_keepwell(
            &format!(
                "{UNITS_ONLY}[alerts]\nflapping = false\n\n{}\
                 [[unit]]\nname = \"worker*.service\"\nrestart = true\n{QUICK}\n\
                 crash_loop = {{ max = 100 }}\n",
                Receiver::channel()
            ),
            User::Keepwell,
        );
        c.allow_restarts();
        c.systemctl(&["enable", "--quiet", "keepwell"]);
        c.start_keepwell();

        for round in 1..=ROUNDS {
            let before = c.runs("worker*.service");
            assert_eq!(before.len(), WORKERS);
            c.systemctl(&["kill", "--kill-whom=main", "--signal=KILL", "worker*.service"]);
            watch(LONG, &format!("all run again in round {round}"), || c.runs("worker*.service"), |now| {
                let anew = now.iter().filter(|(unit, run)| before.get(*unit) != Some(run)).count();
                (anew == WORKERS).then_some(())
            });
        }

        // All were seen, and each was counted once.
        let kills = u64::from(ROUNDS);
        let all: BTreeMap<String, Counts> = names
            .iter()
            .map(|name| (name.clone(), Counts { crashes: kills, restarts: kills }))
            .collect();
        assert_eq!(c.journalled("worker"), all);
        equals(LONG, "keepwell has counted 100 kills", &all, || c.counted("worker"));
        equals(LONG, "each was healed as often", &vec![kills; WORKERS], || {
            c.checks().values().filter_map(|check| check["unit"]["healed"].as_u64()).collect()
        });
        let sample = |name: &str| c.metric(&format!("{name}{{name=\"worker07.service\"}}"));
        assert_eq!(sample("keepwell_unit_crashes_total"), Some(5.0));
        assert_eq!(sample("keepwell_unit_healed_total"), Some(5.0));

        // None was restarted before its time.
        for (unit, moments) in c.moments("worker") {
            let gaps = gaps(&moments);
            assert_eq!(gaps.len(), ROUNDS as usize, "{unit}: {moments:?}");
            for (step, gap) in (0..).zip(gaps) {
                assert!(gap >= quick(step), "{unit}: attempt {} after {gap:?}", step + 1);
            }
        }
        // People were told once of each; that it happened again fell into the cooldown.
        for name in &names {
            receiver.wait_for_events(&format!("unit:{name}"), "state", &["opened", "resolved"]);
        }

        c.systemctl(&["restart", "keepwell"]);
        goes_on_at(&c, "worker00.service", 5);

        c.reboot();
        goes_on_at(&c, "worker00.service", 6);
        goes_on_at(&c, "worker01.service", 5);

        c.power_off_hard();
        c.power_on();
        goes_on_at(&c, "worker00.service", 7);
        // A boot is no restart of a service.
        let counts = Counts { crashes: kills + 3, restarts: kills + 3 };
        assert_eq!(c.counted("worker00")["worker00.service"], counts);
    }

    fn a_crash_loop_is_counted_told_taken_over_and_forgotten(c: Container) {
        let receiver = c.receiver();
        c.unit(
            "looper.service",
            "[Unit]\nStartLimitIntervalSec=10min\nStartLimitBurst=8\n\n[Service]\n\
             ExecStart=/bin/sh -c 'echo >>/run/runs; test $$(wc -l </run/runs) -gt 8 && exec sleep infinity; echo no such thing >&2; exit 3'\n\
             Restart=always\nRestartSec=200ms\n",
        );
        c.install_keepwell(
            &format!(
                "{UNITS_ONLY}{}[[unit]]\nname = \"looper\"\nrestart = true\n\
                 backoff = {{ first = \"2s\", max = \"2s\", stable = \"4s\", verify = \"500ms\" }}\n",
                Receiver::channel()
            ),
            User::Keepwell,
        );
        c.allow_restarts();
        c.start_keepwell();
        c.systemctl(&["start", "looper"]);

        // systemd starts it 8 times and gives up; the next start, which is keepwell's, goes well.
        c.wait_for_check("unit:looper.service", "healthy", "running");
        receiver.wait_for_events("unit:looper.service", "state", &["opened", "resolved"]);
        receiver.wait_for_events("unit:looper.service", "crash-loop", &["opened", "resolved"]);

        // systemd started it 8 times; the restarts between, and keepwell's, were counted once each.
        c.counts_agree("looper", "the crash loop");
        let counts = c.counted("looper")["looper.service"];
        assert_eq!(counts, Counts { crashes: 8, restarts: 8 });
        let told = receiver.told();
        let warning = told.iter().find(|t| t.kind == "crash-loop").unwrap();
        assert_eq!((warning.severity.as_str(), warning.reason.as_str()), ("warning", "crash-loop"));
        // It may have been restarted once more within the group wait.
        let times = ["restarted 6 times", "restarted 7 times", "restarted 8 times"];
        assert!(times.iter().any(|t| warning.summary.starts_with(t)), "{}", warning.summary);
        let down = told.iter().find(|t| t.kind == "state").unwrap();
        assert_eq!((down.severity.as_str(), down.reason.as_str()), ("critical", "exit-code"));
        assert!(down.summary.contains("exit code 3"), "{}", down.summary);
        let said = c.decisions("unit:looper.service");
        assert!(said.iter().any(|(_, text)| text.contains("systemd gave up")), "{said:#?}");

        // Stable: the backoff starts afresh.
        let check = watch(LONG, "the backoff was reset", || c.look_at("unit:looper.service"), |check| {
            (check["unit"]["step"] == 0).then(|| check.clone())
        });
        assert_eq!(check["unit"]["healed"], 1, "{check:#}");
        assert_eq!(check["unit"]["restarts_in_window"], 0, "{check:#}");
        let reasons: Vec<String> = c.decisions("unit:looper.service").into_iter().map(|d| d.0).collect();
        for reason in ["crash-loop", "restart-scheduled", "restart-done", "restored", "backoff-reset"] {
            assert!(reasons.iter().any(|r| r == reason), "{reason} is not in {reasons:?}");
        }
    }
}
