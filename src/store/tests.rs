//! The store on real folders: what comes back after a restart, a crash, damage and a full disk.

mod calls;
mod damage;
mod disk;
mod outbox;

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::{Value, json};

use super::keeper::{Hook, Stage};
use super::*;
use crate::engine::alert::{
    ActNote, AlertKey, AlertRecord, Gist, Happening, Item, Notification, Pending,
};
use crate::engine::event::Actor;
use crate::engine::hook::{HookCall, HookContainer, Transition};
use crate::engine::matcher::Matcher;
use crate::engine::saved::{
    AgentRecord, ContainerRecord, CountRecord, Hold, Moment, Phase, RestartRecord, Silence,
    Stage as Life,
};
use crate::engine::time::Boot;
use crate::engine::words::{AlertKind, CheckId, Reason, Severity};

pub(crate) fn now() -> Now {
    let read = |id| {
        let t = rustix::time::clock_gettime(id);
        t.tv_sec * 1_000_000 + t.tv_nsec / 1000
    };
    Now {
        boot: Boot(u64::try_from(read(rustix::time::ClockId::Boottime)).unwrap()),
        wall: Wall(read(rustix::time::ClockId::Realtime)),
    }
}

fn quick() -> Limits {
    Limits {
        retry: Duration::from_millis(30),
        notice: Duration::from_millis(30),
        ..Limits::default()
    }
}

fn open(dir: &Path) -> (Store, Opened) {
    Store::open(dir, quick(), now)
}

/// The next event, within a limit.
fn next(opened: &mut Opened) -> StoreEvent {
    runtime().block_on(async {
        tokio::time::timeout(Duration::from_secs(60), opened.events.recv())
            .await
            .expect("the store says something")
            .expect("the store lives")
    })
}

/// Waits for the answer to a commit and returns what was said of parts before it.
fn answer(opened: &mut Opened) -> (StoreEvent, Vec<PartSeen>) {
    let mut parts = Vec::new();
    loop {
        match next(opened) {
            StoreEvent::Part(seen) => parts.push(seen),
            answer => return (answer, parts),
        }
    }
}

/// Waits for a commit to be stored, and for a part to be said to work again: before or after it,
/// as slow as the disk is.
fn stored_and_works(opened: &mut Opened, seq: u64, which: &Part) {
    let (answer, parts) = answer(opened);
    assert_eq!(answer, StoreEvent::Stored(seq));
    if !parts.iter().any(|seen| seen.part == *which && seen.state == PartState::Works) {
        part(opened, which, |state| *state == PartState::Works);
    }
}

/// Waits until a part is said to be in a state that `want` accepts.
fn part(opened: &mut Opened, part: &Part, want: fn(&PartState) -> bool) -> PartState {
    loop {
        if let StoreEvent::Part(seen) = next(opened)
            && seen.part == *part
            && want(&seen.state)
        {
            return seen.state;
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn close(store: Store) -> Result<(), CloseError> {
    runtime().block_on(store.close(Duration::from_secs(20)))
}

fn alert(n: u64, resolved: bool) -> AlertRecord {
    let opened = now().wall.before(Duration::from_secs(3600));
    AlertRecord {
        id: format!("a{n}").into(),
        key: AlertKey { check: CheckId::unit(format!("w{n}.service")), kind: AlertKind::State },
        severity: Severity::Critical,
        reason: Reason::ExitCode,
        summary: "exited with status 1".into(),
        opened,
        resolved: resolved.then(|| opened.after(Duration::from_secs(n % 3000))),
        told: vec!["ops".into()],
        pending: Vec::new(),
        untold: None,
        first_told: Some(opened),
        last_told: Some(opened),
        told_severity: None,
        lines: vec!["Ärger: \"x\"".into()],
        acts: vec![ActNote { at: opened, by: None, text: "restarted it".into() }],
        next: None,
        ack: None,
        flapping: false,
        cause: None,
        escalated: 0,
        ended: None,
        container: None,
    }
}

fn record(step: u32) -> RestartRecord {
    let at = now();
    RestartRecord {
        step,
        phase: Phase::Waiting {
            at: Moment { boot_id: "b".into(), boottime: at.boot, wall: at.wall },
        },
        last_attempt: Some(at.wall),
        last_invocation: "0123456789abcdef0123456789abcdef".parse().ok(),
        total: 7,
    }
}

/// An alert that ended long ago and whose end one channel is still to be told.
fn ended_untold(n: u64) -> AlertRecord {
    let ended = now().wall.before(Duration::from_secs(90 * 24 * 3600));
    let pending = Pending {
        channel: "ops".into(),
        happening: Happening::Resolved,
        opening: false,
        since: ended,
    };
    AlertRecord { opened: ended, resolved: Some(ended), pending: vec![pending], ..alert(n, true) }
}

fn message(channel: &str, id: &str) -> Arc<Notification> {
    let at = now().wall;
    let (host, labels) = ("web1".into(), Arc::new(BTreeMap::new()));
    let item = Item {
        happening: Happening::Opened,
        opening: true,
        since: at,
        beneath: false,
        alert: alert(1, false),
    };
    let bare = Notification::test(id, channel.into(), host, labels, at);
    Arc::new(Notification { gist: Gist::Alerts, items: vec![item], ..bare })
}

/// A call of a hook, of one of seven containers.
fn call(hook: &str, number: u64) -> Arc<HookCall> {
    let labels = [("team".to_owned(), "\"Ä\"; DROP TABLE calls".to_owned())].into();
    let id = format!("{:064x}", number % 7).into();
    Arc::new(HookCall {
        id: format!("h{number}").into(),
        number,
        hook: hook.into(),
        transition: Transition::Started,
        at: Wall(1_755_587_842_193_000),
        host: "web1".into(),
        container: HookContainer {
            id,
            name: "web".into(),
            cpus: 0.1,
            labels,
            ..Default::default()
        },
    })
}

/// What is known of a container.
fn container(n: u64, life: Life) -> ContainerRecord {
    ContainerRecord {
        container: call("ops", n).container.clone(),
        stage: life,
        health: None,
        started: Some(Wall(3)),
        finished: None,
        swept: false,
        restart_count: 2,
        seen: Wall(4),
        told: vec!["billing".into()],
        known: vec!["billing".into(), "registry".into()],
    }
}

/// Rows of the same message to two channels.
fn rows(id: &str) -> Vec<OutboxRow> {
    ["mail", "ops"].map(|channel| OutboxRow::new(message(channel, id))).into()
}

fn commit(seq: u64, changes: Vec<Change>) -> Commit {
    Commit { seq, changes, ..Commit::default() }
}

fn listing(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn state(dir: &Path) -> Value {
    serde_json::from_slice(&fs::read(dir.join("state.json")).unwrap()).unwrap()
}

#[test]
fn everything_comes_back_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("new/state");
    let (store, mut opened) = open(&folder);
    assert_eq!((opened.saved.clone(), opened.faults.len()), (Saved::default(), 0));

    let mut count = CountRecord::new("w.service".into());
    count.recent = VecDeque::from(["0123456789abcdef0123456789abcdef".parse().unwrap()]);
    count.crashes = 3;
    let hold = Hold {
        unit: None,
        until: Wall(5),
        actor: Actor("root (uid 0)".into()),
        why: Some("deploy".into()),
    };
    let silence = Silence {
        id: "s1".into(),
        matcher: Matcher::check("disk:*").unwrap(),
        from: Wall(4),
        until: Wall(5),
        actor: Actor("telegram:@anna".into()),
        why: None,
    };
    let agent = AgentRecord {
        boot_id: "b".into(),
        clean_stop: false,
        next_alert: 4,
        settled: true,
        next_call: 7,
        engines: BTreeMap::from([("docker".into(), Wall(6))]),
        reported: Some(Default::default()),
    };
    let restart = record(2);
    let rows = rows("m1");
    store
        .commit(Commit {
            seq: 1,
            changes: vec![
                Change::Alert(alert(1, false)),
                Change::Alert(alert(2, true)),
                Change::Count(count.clone()),
                Change::Count(CountRecord::new("container/gone".into())),
                Change::CountGone("container/gone".into()),
                Change::Restart("w.service".into(), restart.clone()),
                Change::Restart("gone.service".into(), record(1)),
                Change::RestartGone("gone.service".into()),
                Change::Holds(vec![hold.clone()]),
                Change::Silences(vec![silence.clone()]),
                Change::Cursor("s=1".into()),
                Change::ErrorsCursor("s=2".into()),
                Change::Agent(agent.clone()),
                Change::Container(container(1, Life::Created)),
                Change::Container(container(2, Life::Ended)),
                Change::Container(container(1, Life::Running)),
                Change::ContainerGone(container(2, Life::Ended).container.id),
            ],
            outbox: rows.clone(),
            calls: vec![call("ops", 12), call("billing", 11)],
        })
        .unwrap();
    let (stored, parts) = answer(&mut opened);
    assert_eq!(stored, StoreEvent::Stored(1));
    assert!(parts.iter().all(|p| p.state == PartState::Works), "{parts:?}");
    close(store).unwrap();
    assert_eq!(listing(&folder), ["keepwell.db", "state.json"], "the log is emptied and removed");

    for name in listing(&folder) {
        let mode = fs::metadata(folder.join(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o137, 0, "{name} is closed to others: {mode:o}");
    }

    let (store, opened) = open(&folder);
    assert_eq!(opened.faults, []);
    assert_eq!(opened.newer, Newer::Neither);
    assert_eq!(
        opened.saved,
        Saved {
            alerts: vec![alert_as(&opened, "a1", false), alert_as(&opened, "a2", true)],
            counts: vec![count],
            restarts: BTreeMap::from([("w.service".into(), restart)]),
            containers: vec![container(1, Life::Running)],
            holds: vec![hold],
            silences: vec![silence],
            last_call: 12,
            outbox: rows.iter().map(|r| r.notification.clone()).collect(),
            cursor: Some("s=1".into()),
            errors_cursor: Some("s=2".into()),
            agent: Some(agent),
        }
    );
    assert_eq!(opened.outbox, rows);
    let calls = [call("billing", 11), call("ops", 12)].map(CallRow::new);
    assert_eq!(opened.calls, calls, "by number");
    close(store).unwrap();
}

fn alert_as(opened: &Opened, id: &str, resolved: bool) -> AlertRecord {
    let found = opened.saved.alerts.iter().find(|a| &*a.id == id).unwrap().clone();
    let mut expected = alert(id[1..].parse().unwrap(), resolved);
    expected.opened = found.opened;
    expected.first_told = found.first_told;
    expected.last_told = found.last_told;
    expected.acts = found.acts.clone();
    assert_eq!(expected.acts[0].text, "restarted it");
    expected.resolved = found.resolved;
    assert_eq!(found.resolved.is_some(), resolved);
    expected
}

#[test]
fn state_json_is_for_people_and_written_only_when_something_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut opened) = open(dir.path());
    let first = record(3);
    store.commit(commit(1, vec![Change::Restart("a.service".into(), first.clone())])).unwrap();
    assert_eq!(answer(&mut opened).0, StoreEvent::Stored(1));
    let text = fs::read_to_string(dir.path().join("state.json")).unwrap();
    assert!(text.ends_with("}\n") && text.contains("\n  \"units\": {\n    \"a.service\": {\n"));
    let value = state(dir.path());
    assert_eq!((&value["version"], &value["seq"]), (&json!(1), &json!(1)));
    let unit = &value["units"]["a.service"];
    assert_eq!(unit["step"], 3);
    assert_eq!(unit["phase"]["is"], "waiting");
    assert_eq!(unit["last_attempt"], rfc3339(first.last_attempt.unwrap()));
    assert_eq!(unit["last_invocation"], "0123456789abcdef0123456789abcdef");
    // The same record again: not written, the file keeps its number.
    store.commit(commit(2, vec![Change::Restart("a.service".into(), first)])).unwrap();
    assert_eq!(answer(&mut opened).0, StoreEvent::Stored(2));
    assert_eq!(fs::read_to_string(dir.path().join("state.json")).unwrap(), text);
    close(store).unwrap();
}

#[test]
fn numbers_rise_over_restarts_and_tell_which_file_is_newer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.json");
    for round in 1..=2 {
        let (store, mut opened) = open(dir.path());
        assert_eq!(opened.newer, Newer::Neither);
        store
            .commit(commit(
                1,
                vec![
                    Change::Restart("a.service".into(), record(round)),
                    Change::Cursor(format!("s={round}")),
                ],
            ))
            .unwrap();
        answer(&mut opened);
        close(store).unwrap();
        assert_eq!(state(dir.path())["seq"], round);
    }
    let newest = fs::read(&path).unwrap();
    // Killed between the two writes: the file is ahead, and that step counts.
    let mut ahead = state(dir.path());
    ahead["seq"] = json!(3);
    ahead["units"]["a.service"]["step"] = json!(9);
    fs::write(&path, ahead.to_string()).unwrap();
    let (store, opened) = open(dir.path());
    assert_eq!(opened.newer, Newer::StateFile);
    assert_eq!(opened.saved.restarts["a.service"].step, 9);
    assert_eq!(opened.saved.cursor.as_deref(), Some("s=2"));
    close(store).unwrap();
    // An old copy put back.
    let mut behind: Value = serde_json::from_slice(&newest).unwrap();
    behind["seq"] = json!(1);
    fs::write(&path, behind.to_string()).unwrap();
    let (store, opened) = open(dir.path());
    assert_eq!(opened.newer, Newer::Database);
    close(store).unwrap();
}

#[test]
fn a_crash_between_the_two_writes_leaves_the_file_ahead() {
    let dir = tempfile::tempdir().unwrap();
    let hook: Hook = Arc::new(|stage| match stage {
        Stage::Database => Err(std::io::Error::other("power is gone")),
        _ => Ok(()),
    });
    let (store, mut opened) = Store::open_with(dir.path(), quick(), now, OPEN_LIMIT, Some(hook));
    store
        .commit(commit(
            5,
            vec![
                Change::Restart("a.service".into(), record(1)),
                Change::Alert(alert(1, false)),
                Change::Cursor("s=5".into()),
            ],
        ))
        .unwrap();
    let (answer, parts) = answer(&mut opened);
    assert_eq!(answer, StoreEvent::Unsaved(5));
    assert!(parts.iter().any(|p| p.part == Part::Database));
    drop(store);
    while runtime().block_on(opened.events.recv()).is_some() {}
    let (_store, opened) = open(dir.path());
    assert_eq!(opened.newer, Newer::StateFile);
    assert_eq!(opened.saved.restarts["a.service"].step, 1);
    assert_eq!((opened.saved.alerts.len(), opened.saved.cursor), (0, None));
}

#[test]
fn what_is_over_is_read_back_for_a_day_or_until_its_end_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut opened) = open(dir.path());
    let mut old = alert(3, true);
    old.resolved = Some(now().wall.before(Duration::from_secs(25 * 3600)));
    let records = [alert(1, false), alert(2, true), old, ended_untold(4)];
    store.commit(commit(1, records.map(Change::Alert).into())).unwrap();
    answer(&mut opened);
    close(store).unwrap();
    let ids = |opened: &Opened| -> Vec<String> {
        let mut ids: Vec<_> = opened.saved.alerts.iter().map(|a| a.id.to_string()).collect();
        ids.sort();
        ids
    };
    let (store, mut opened) = open(dir.path());
    assert_eq!(ids(&opened), ["a1", "a2", "a4"]);
    assert_eq!(opened.saved.alerts[0].pending[0].happening, Happening::Resolved);
    let told = AlertRecord { pending: Vec::new(), ..opened.saved.alerts[0].clone() };
    store.commit(commit(1, vec![Change::Alert(told)])).unwrap();
    answer(&mut opened);
    close(store).unwrap();
    let (store, opened) = open(dir.path());
    assert_eq!(ids(&opened), ["a1", "a2"]);
    close(store).unwrap();
}
