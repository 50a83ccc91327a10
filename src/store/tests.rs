//! The store on real folders: what comes back after a restart, a crash, damage and a full disk.

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
use crate::engine::alert::{AlertKey, AlertRecord};
use crate::engine::event::Actor;
use crate::engine::saved::{AgentRecord, CountRecord, Hold, Moment, Phase, RestartRecord};
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
        tokio::time::timeout(Duration::from_secs(20), opened.events.recv())
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
        revision: 1,
        told: vec!["ops".into()],
        last_told: Some(opened),
        lines: vec!["Ärger: \"x\"".into()],
        acts: vec!["restarted it".into()],
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

fn message(subject: &str, happening: Happening, revision: u32) -> Arc<Notification> {
    let mut alert = alert(1, happening == Happening::Resolved);
    alert.revision = revision;
    Arc::new(Notification {
        id: format!("{subject}-{revision}"),
        subject: subject.into(),
        channels: vec!["ops".into(), "mail".into()],
        happening,
        at: now().wall,
        host: "web1".into(),
        labels: Arc::new(BTreeMap::new()),
        alerts: vec![alert],
    })
}

fn commit(seq: u64, changes: Vec<Change>) -> Commit {
    Commit { seq, changes, outbox: Vec::new() }
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
    let agent =
        AgentRecord { boot_id: "b".into(), clean_stop: false, next_alert: 4, settled: true };
    let restart = record(2);
    let rows: Vec<_> = OutboxRow::all(&message("a1", Happening::Opened, 1)).collect();
    store
        .commit(Commit {
            seq: 1,
            changes: vec![
                Change::Alert(alert(1, false)),
                Change::Alert(alert(2, true)),
                Change::Count(count.clone()),
                Change::Restart("w.service".into(), restart.clone()),
                Change::Restart("gone.service".into(), record(1)),
                Change::RestartGone("gone.service".into()),
                Change::Holds(vec![hold.clone()]),
                Change::Cursor("s=1".into()),
                Change::ErrorsCursor("s=2".into()),
                Change::Agent(agent.clone()),
            ],
            outbox: rows.clone(),
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
            holds: vec![hold],
            cursor: Some("s=1".into()),
            errors_cursor: Some("s=2".into()),
            agent: Some(agent),
        }
    );
    let mut expected = rows;
    expected.sort_by(|a, b| a.channel.cmp(&b.channel));
    assert_eq!(opened.outbox, expected);
    close(store).unwrap();
}

fn alert_as(opened: &Opened, id: &str, resolved: bool) -> AlertRecord {
    let found = opened.saved.alerts.iter().find(|a| &*a.id == id).unwrap().clone();
    let mut expected = alert(id[1..].parse().unwrap(), resolved);
    expected.opened = found.opened;
    expected.last_told = found.last_told;
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
