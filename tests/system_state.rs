//! A state folder that is full or read-only, a database or a state file that is garbage: keepwell
//! goes on, says so, keeps the broken file aside, and alerts still go out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "support/scene.rs"]
mod scene;
#[path = "support/mod.rs"]
mod support;

use scene::{LONG, QUICK, UNITS_ONLY, sleeper, watch};
use support::*;

const DIR: &str = "/var/lib/keepwell";

#[track_caller]
fn prepare(c: &Container) -> Receiver<'_> {
    let receiver = c.receiver();
    c.units(&[("probe@.service", &sleeper("")), ("healed.service", &sleeper(""))]);
    c.systemctl(&["start", "healed"]);
    c.install_keepwell(
        &format!(
            "{UNITS_ONLY}{}[[unit]]\nname = \"probe@*.service\"\n\n\
             [[unit]]\nname = \"healed\"\nrestart = true\n{QUICK}\n",
            Receiver::channel()
        ),
        User::Keepwell,
    );
    c.allow_restarts();
    receiver
}

/// A unit of its own fails, and people are told of it.
#[track_caller]
fn an_alert_goes_out(c: &Container, receiver: &Receiver<'_>, name: &str) {
    let unit = format!("probe@{name}.service");
    c.systemctl(&["start", &unit]);
    c.kill(&unit, "KILL");
    receiver.wait_for_events(&format!("unit:{unit}"), "state", &["opened"]);
}

/// A part of keepwell is reported as broken, on the check, in the log, and to people; its words
/// contain one of `words`.
#[allow(clippy::unwrap_used, reason = "part of a test")]
#[track_caller]
fn it_is_said(c: &Container, receiver: &Receiver<'_>, part: &str, words: &[&str]) {
    let check = c.wait_for_check(part, "warning", "broken");
    let summary = check["summary"].as_str().unwrap().to_owned();
    assert!(words.iter().any(|w| summary.contains(w)), "{summary}");
    let logged = c.decisions(part);
    assert!(logged.iter().any(|(_, text)| words.iter().any(|w| text.contains(w))), "{logged:#?}");
    watch(
        LONG,
        &format!("people are told of {part}"),
        || receiver.told(),
        |told| told.iter().any(|t| t.check == part && t.event != "resolved").then_some(()),
    );
}

/// Files in the state folder whose name begins so.
fn files(c: &Container, prefix: &str) -> Vec<String> {
    c.sh(&format!("ls {DIR}"))
        .lines()
        .filter(|n| n.starts_with(prefix))
        .map(str::to_owned)
        .collect()
}

on_each_image! {
    fn a_full_or_read_only_state_folder_stops_nothing(c: Container) {
        let receiver = prepare(&c);
        // As a volume of its own often is: small.
        c.sh(&format!(
            "mkdir -p {DIR} && mount -t tmpfs -o size=2M,mode=750 state {DIR} && chown keepwell:keepwell {DIR}"
        ));
        c.start_keepwell();
        an_alert_goes_out(&c, &receiver, "before");
        // Not a byte is left, also when something is freed.
        c.sh(&format!("cat /dev/zero >{DIR}/filler 2>/dev/null; dd if=/dev/zero of={DIR}/more bs=1 count=4096 2>/dev/null; test -s {DIR}/filler"));
        c.kill("healed", "KILL");
        an_alert_goes_out(&c, &receiver, "full");
        c.wait_for_check("unit:healed.service", "healthy", "running");
        it_is_said(&c, &receiver, "agent:state-file", &["Free some space", "No space left"]);
        c.sh(&format!("rm {DIR}/filler {DIR}/more"));
        c.wait_for_check("agent:state-file", "healthy", "works");
        c.wait_for_check("agent:database", "healthy", "works");
        watch(LONG, "the state was saved after all", || c.read(&format!("{DIR}/state.json")), |text| {
            text.as_ref().is_some_and(|t| t.contains("healed.service")).then_some(())
        });
        assert_eq!(c.keepwell_restarts(), 0);

        c.systemctl(&["stop", "keepwell"]);
        c.sh(&format!("mount -o remount,ro {DIR}"));
        c.start_keepwell();
        c.kill("healed", "KILL");
        an_alert_goes_out(&c, &receiver, "read-only");
        c.wait_for_check("unit:healed.service", "healthy", "running");
        it_is_said(&c, &receiver, "agent:database", &["ead-only", "is writable"]);
        c.systemctl(&["stop", "keepwell"]);
        c.sh(&format!("mount -o remount,rw {DIR}"));
        c.start_keepwell();
        c.wait_for_check("agent:database", "healthy", "works");
        an_alert_goes_out(&c, &receiver, "again");
        assert_eq!(c.keepwell_restarts(), 0);
    }

    fn corrupt_files_are_set_aside_and_nothing_stops(c: Container) {
        let receiver = prepare(&c);
        c.start_keepwell();
        c.kill("healed", "KILL");
        receiver.wait_for_events("unit:healed.service", "state", &["opened", "resolved"]);
        watch(LONG, "the state is saved", || c.read(&format!("{DIR}/state.json")), |text| {
            text.as_ref().is_some_and(|t| t.contains("healed.service")).then_some(())
        });

        // The database is garbage, also for a keepwell that was killed.
        c.drop_in("keepwell.service", "test", "[Service]\nRestart=no\n");
        c.kill("keepwell", "KILL");
        watch(LONG, "keepwell is dead", || c.active_state("keepwell"), |s| (s == "failed").then_some(()));
        c.sh(&format!("rm -f {DIR}/keepwell.db-*; head -c 20000 /dev/urandom >{DIR}/keepwell.db"));
        let garbage = c.sh(&format!("sha256sum <{DIR}/keepwell.db"));
        c.start_keepwell();
        an_alert_goes_out(&c, &receiver, "database");
        it_is_said(&c, &receiver, "agent:database", &["corrupt", "not a database"]);
        let aside: Vec<String> = files(&c, "keepwell.db").into_iter().filter(|n| n.contains("corrupt")).collect();
        assert_eq!(aside.len(), 1, "{:?}", files(&c, ""));
        assert_eq!(c.sh(&format!("sha256sum <{DIR}/{}", aside[0])), garbage);
        // The restart state is in the other file: it goes on.
        assert_eq!(c.check("unit:healed.service")["unit"]["step"], 1);

        c.systemctl(&["stop", "keepwell"]);
        c.write(&format!("{DIR}/state.json"), "{\"version\": 1, \"units\": {\"healed.serv");
        c.start_keepwell();
        c.kill("healed", "KILL");
        an_alert_goes_out(&c, &receiver, "state");
        it_is_said(&c, &receiver, "agent:state-file", &["corrupt"]);
        c.wait_for_check("unit:healed.service", "healthy", "running");
        let aside: Vec<String> = files(&c, "state.json").into_iter().filter(|n| n.contains("corrupt")).collect();
        assert_eq!(aside.len(), 1, "{:?}", files(&c, ""));
        let state = watch(LONG, "a new state is written", || c.read(&format!("{DIR}/state.json")), |text| {
            serde_json::from_str::<serde_json::Value>(text.as_deref()?).ok()
        });
        assert_eq!(state["version"], 1);
        assert_eq!(c.keepwell_restarts(), 0);
    }
}
