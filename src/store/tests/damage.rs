//! Files that are damaged, foreign, newer, or gone.

use super::*;

#[test]
fn a_corrupt_state_file_is_set_aside_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.json");
    for broken in ["{\"version\":1,\"uni", "", "[]", "{\"version\":1,\"units\":3}", "\u{0}\u{0}"] {
        fs::write(&path, broken).unwrap();
        let (store, mut opened) = open(dir.path());
        let [PartSeen { part: Part::StateFile, state: PartState::Broken(text) }] =
            &opened.faults[..]
        else {
            panic!("{:?}", opened.faults)
        };
        assert!(text.contains("is corrupt") && text.contains("set aside as"), "{text}");
        assert!(!path.exists());
        store.commit(commit(1, vec![Change::Restart("a.service".into(), record(1))])).unwrap();
        stored_and_works(&mut opened, 1, &Part::StateFile);
        close(store).unwrap();
        assert_eq!(state(dir.path())["units"]["a.service"]["step"], 1);
    }
    let kept = listing(dir.path()).iter().filter(|n| n.contains("json.corrupt-20")).count();
    assert_eq!(kept, 5, "none overwrites another");
}

#[test]
fn what_a_newer_version_wrote_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.json");
    let newer = json!({
        "version": 3, "seq": 40, "written": "2030-01-01T00:00:00Z", "mood": {"is": "good"},
        "units": {
            "a.service": {"step": 4, "phase": {"is": "gave-up"}, "last_attempt": "2030-01-01T00:00:00Z",
                          "last_invocation": null, "total": 5, "colour": "blue"},
            "b.service": {"step": 4, "phase": {"is": "hibernating", "depth": 2}, "total": "many"},
        }
    });
    fs::write(&path, newer.to_string()).unwrap();
    let (store, mut opened) = open(dir.path());
    let [PartSeen { part: Part::StateFile, state: PartState::Broken(text) }] = &opened.faults[..]
    else {
        panic!("{:?}", opened.faults)
    };
    assert!(text.contains("does not understand: b.service"), "{text}");
    assert_eq!(opened.saved.restarts["a.service"].step, 4);
    assert_eq!(opened.saved.restarts["a.service"].phase, Phase::GaveUp);
    assert_eq!(opened.saved.restarts["a.service"].last_attempt, Some(Wall(1_893_456_000_000_000)));
    assert_eq!(opened.saved.restarts.len(), 1);
    store.commit(commit(1, vec![Change::Restart("a.service".into(), record(5))])).unwrap();
    assert_eq!(answer(&mut opened).0, StoreEvent::Stored(1));
    close(store).unwrap();
    let written = state(dir.path());
    assert_eq!((&written["version"], &written["seq"]), (&json!(3), &json!(41)));
    assert_eq!(written["mood"], newer["mood"]);
    assert_eq!(written["units"]["b.service"], newer["units"]["b.service"]);
    assert_eq!(written["units"]["a.service"]["colour"], "blue");
    assert_eq!(written["units"]["a.service"]["step"], 5);
}

#[test]
fn a_database_that_is_none_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("keepwell.db"), "this is no database, ".repeat(500)).unwrap();
    let (store, mut opened) = open(dir.path());
    let [PartSeen { part: Part::Database, state: PartState::Broken(text) }] = &opened.faults[..]
    else {
        panic!("{:?}", opened.faults)
    };
    assert!(text.contains("keepwell.db is corrupt") && text.contains("set aside as"), "{text}");
    store.commit(commit(1, vec![Change::Alert(alert(1, false))])).unwrap();
    stored_and_works(&mut opened, 1, &Part::Database);
    close(store).unwrap();
    let aside: Vec<_> =
        listing(dir.path()).into_iter().filter(|n| n.starts_with("keepwell.db.corrupt-")).collect();
    assert_eq!(aside.len(), 1);
    assert!(fs::read_to_string(dir.path().join(&aside[0])).unwrap().starts_with("this is no"));
    assert_eq!(open(dir.path()).1.saved.alerts.len(), 1);
}

/// Overwrites a page that holds rows of a table.
fn damage(path: &Path, table: &str) {
    let conn = rusqlite::Connection::open(path).unwrap();
    let root: i64 = conn
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = ?1", [table], |r| r.get(0))
        .unwrap();
    drop(conn);
    let mut bytes = fs::read(path).unwrap();
    let at = usize::try_from((root - 1) * 4096).unwrap();
    bytes[at..at + 4096].fill(0xAB);
    fs::write(path, bytes).unwrap();
}

#[test]
fn what_a_damaged_database_still_gives_is_saved() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keepwell.db");
    let (store, mut opened) = open(dir.path());
    store
        .commit(Commit {
            seq: 1,
            changes: vec![
                Change::Alert(alert(1, false)),
                Change::Count(CountRecord::new("w.service".into())),
                Change::Cursor("s=1".into()),
                Change::Container(container(1, Life::Running)),
            ],
            outbox: rows("m1"),
            calls: vec![call("ops", 1), call("ops", 2)],
        })
        .unwrap();
    answer(&mut opened);
    close(store).unwrap();
    damage(&path, "counts");
    let (store, mut opened) = open(dir.path());
    assert!(
        matches!(&opened.faults[..], [PartSeen { part: Part::Database, state: PartState::Broken(t) }]
            if t.contains("is corrupt")),
        "{:?}",
        opened.faults
    );
    assert_eq!((opened.saved.alerts.len(), opened.outbox.len()), (1, 2));
    assert_eq!((opened.calls.len(), opened.saved.containers.len()), (2, 1));
    assert_eq!(opened.saved.counts, []);
    // Taken before anything was written into the new database.
    store.handle().call_done(1);
    // It is in the new database without another commit.
    part(&mut opened, &Part::Database, |s| *s == PartState::Works);
    close(store).unwrap();
    let (store, opened) = open(dir.path());
    assert_eq!(opened.faults, []);
    assert_eq!(opened.saved.cursor.as_deref(), Some("s=1"));
    assert_eq!((opened.saved.alerts.len(), opened.outbox.len()), (1, 2));
    assert_eq!(opened.calls, [CallRow::new(call("ops", 2))]);
    assert_eq!(opened.saved.containers, [container(1, Life::Running)]);
    close(store).unwrap();
}

#[test]
fn damage_is_looked_for_after_a_stop_that_was_not_clean() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keepwell.db");
    let (store, mut opened) = open(dir.path());
    // Enough that the index has pages that loading never looks at.
    let changes = (0..600).map(|n| Change::Alert(alert(n, true))).collect();
    store.commit(commit(1, changes)).unwrap();
    answer(&mut opened);
    close(store).unwrap();
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.execute("UPDATE meta SET value = 0 WHERE key = 'clean'", []).unwrap();
    drop(conn);
    damage(&path, "sqlite_autoindex_alerts_1");
    let (store, opened) = open(dir.path());
    assert_eq!(opened.faults.len(), 1, "{:?}", opened.faults);
    close(store).unwrap();
}

#[test]
fn a_database_of_a_newer_keepwell_is_read_but_never_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keepwell.db");
    let (store, mut opened) = open(dir.path());
    store.commit(commit(1, vec![Change::Alert(alert(1, false))])).unwrap();
    answer(&mut opened);
    close(store).unwrap();
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.execute_batch("ALTER TABLE alerts ADD COLUMN mood TEXT; PRAGMA user_version = 9").unwrap();
    drop(conn);
    let before = fs::read(&path).unwrap();
    let (store, mut opened) = open(dir.path());
    assert!(
        matches!(&opened.faults[..], [PartSeen { part: Part::Database, state: PartState::Broken(t) }]
            if t.contains("written by a newer keepwell (schema 9; this one knows up to 3)")),
        "{:?}",
        opened.faults
    );
    assert_eq!(opened.saved.alerts.len(), 1);
    store.commit(commit(1, vec![Change::Alert(alert(2, false))])).unwrap();
    assert_eq!(answer(&mut opened).0, StoreEvent::Unsaved(1));
    assert!(close(store).is_err());
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_database_that_is_removed_while_in_use_is_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut opened) = open(dir.path());
    store.commit(commit(1, vec![Change::Alert(alert(1, false))])).unwrap();
    answer(&mut opened);
    for name in ["keepwell.db", "keepwell.db-wal", "keepwell.db-shm"] {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    store.commit(commit(2, vec![Change::Alert(alert(2, false))])).unwrap();
    let (answer, parts) = answer(&mut opened);
    assert_eq!(answer, StoreEvent::Stored(2));
    assert!(
        matches!(&parts[..], [PartSeen { part: Part::Database, state: PartState::Broken(t) }]
            if t.contains("was removed or replaced")),
        "{parts:?}"
    );
    close(store).unwrap();
    assert_eq!(open(dir.path()).1.saved.alerts.len(), 2);
}

#[test]
fn a_repaired_fault_is_shown_for_a_while() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("keepwell.db"), "no database ".repeat(500)).unwrap();
    let limits = Limits { notice: Duration::from_secs(3600), ..quick() };
    let (store, mut opened) = Store::open(dir.path(), limits, now);
    let said = AtomicBool::new(false);
    store.commit(commit(1, vec![Change::Alert(alert(1, false))])).unwrap();
    let (answer, parts) = answer(&mut opened);
    said.fetch_or(!parts.is_empty(), Ordering::Relaxed);
    assert_eq!(answer, StoreEvent::Stored(1));
    assert!(!said.into_inner(), "not yet taken back: {parts:?}");
    close(store).unwrap();
}

/// What the second keepwell wrote.
#[test]
fn a_database_of_the_second_schema_is_taken_over_and_read_where_it_cannot_be() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keepwell.db");
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.execute_batch("PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL;").unwrap();
    for step in &crate::store::rows::MIGRATIONS[..2] {
        conn.execute_batch(step).unwrap();
    }
    let silence =
        r#"{"id":"s1","matcher":{"check":"disk:*"},"from":4,"until":5,"actor":"anna","why":null}"#;
    conn.execute("INSERT INTO silences (record) VALUES (?1)", [silence]).unwrap();
    conn.execute_batch("INSERT INTO meta VALUES ('clean', 1); PRAGMA user_version = 2;").unwrap();
    let loaded = crate::store::rows::load(&conn, now().wall).unwrap();
    let held = loaded.saved.silences.len() + loaded.not_understood;
    assert_eq!((held, loaded.calls.len(), loaded.saved.containers.len()), (1, 0, 0));
    drop(conn);
    let (store, mut opened) = open(dir.path());
    assert_eq!(opened.faults, []);
    store.commit(Commit { seq: 1, calls: vec![call("ops", 1)], ..Commit::default() }).unwrap();
    assert_eq!(answer(&mut opened).0, StoreEvent::Stored(1));
    close(store).unwrap();
    assert_eq!(open(dir.path()).1.calls, [CallRow::new(call("ops", 1))]);
}

/// What the first keepwell wrote: its tables, and its words of an alert and a message.
fn schema_1(path: &Path, now: Wall) {
    let conn = rusqlite::Connection::open(path).unwrap();
    conn.execute_batch("PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL;").unwrap();
    conn.execute_batch(crate::store::rows::MIGRATIONS[0]).unwrap();
    let alert = |id: &str, resolved: Option<i64>| {
        let record = json!({
            "id": id, "check": "unit:w1.service", "kind": "state", "severity": "critical",
            "reason": "exit-code", "summary": "exited with status 1", "opened": now.0 - 7_000_000,
            "resolved": resolved, "revision": 3, "told": ["ops"], "last_told": now.0,
            "lines": ["one"], "acts": ["waits 10 s before it restarts it", "restarted it"],
        });
        conn.execute(
            "INSERT INTO alerts VALUES (?1, 'unit:w1.service', 'state', 'critical', ?2, ?3, ?4)",
            rusqlite::params![id, now.0 - 7_000_000, resolved, record.to_string()],
        )
        .unwrap();
        record
    };
    let open = alert("a1", None);
    alert("a2", Some(now.0 - 1_000_000));
    let message = json!({
        "id": "a1.opened.5", "subject": "a1", "channels": ["ops"], "happening": "opened",
        "at": now.0, "host": "web1", "labels": {}, "alerts": [open],
    });
    conn.execute(
        "INSERT INTO outbox VALUES ('ops', 'a1', 'a1.opened.5', 1, 1, 0, ?1, ?1, ?2)",
        rusqlite::params![now.0, message.to_string()],
    )
    .unwrap();
    conn.execute_batch(
        "INSERT INTO meta VALUES ('seq', 7), ('cursor', 's=1'), ('clean', 1);
         PRAGMA user_version = 1;",
    )
    .unwrap();
}

#[test]
fn a_database_of_the_first_schema_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let at = now().wall;
    schema_1(&dir.path().join("keepwell.db"), at);
    let check = |opened: &Opened| {
        assert_eq!((&opened.faults[..], opened.outbox.len()), (&[][..], 0));
        assert_eq!(opened.saved.cursor.as_deref(), Some("s=1"));
        let ids: Vec<_> = opened.saved.alerts.iter().map(|a| &*a.id).collect();
        assert_eq!(ids, ["a1", "a2"]);
        let first = &opened.saved.alerts[0];
        assert_eq!((&first.told[..], first.reason), (&["ops".into()][..], Reason::ExitCode));
        let act = |text: &str| ActNote { at: first.opened, by: None, text: text.into() };
        assert_eq!(first.acts, [act("waits 10 s before it restarts it"), act("restarted it")]);
    };
    let (store, mut opened) = open(dir.path());
    check(&opened);
    let change = Change::Alert(opened.saved.alerts[0].clone());
    store
        .commit(Commit { seq: 1, changes: vec![change], outbox: rows("m1"), ..Commit::default() })
        .unwrap();
    assert_eq!(answer(&mut opened).0, StoreEvent::Stored(1));
    close(store).unwrap();
    let (store, mut opened) = open(dir.path());
    let keys: Vec<_> = opened.outbox.iter().map(OutboxRow::key).collect();
    assert_eq!(keys, rows("m1").iter().map(OutboxRow::key).collect::<Vec<_>>());
    opened.outbox.clear();
    check(&opened);
    close(store).unwrap();
}

#[test]
fn a_database_of_the_first_schema_is_read_where_it_cannot_be_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let at = now().wall;
    let path = dir.path().join("keepwell.db");
    schema_1(&path, at);
    let conn = rusqlite::Connection::open(&path).unwrap();
    let loaded = crate::store::rows::load(&conn, at).unwrap();
    assert_eq!((loaded.saved.alerts.len(), loaded.outbox.len(), loaded.not_understood), (2, 0, 0));
}
