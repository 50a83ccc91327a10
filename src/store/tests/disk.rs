//! Disks that are full, read-only, slow, or too small.

use super::*;

#[test]
fn a_folder_that_cannot_be_used_is_said_and_gone_without() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "in the way").unwrap();
    let (store, mut opened) = open(&file.join("state"));
    assert!(
        opened.faults.iter().any(|f| f.part == Part::Database
            && matches!(&f.state, PartState::Broken(t) if t.contains("cannot create the state folder"))),
        "{:?}",
        opened.faults
    );
    store.commit(commit(1, vec![Change::Alert(alert(1, false))])).unwrap();
    assert_eq!(answer(&mut opened).0, StoreEvent::Unsaved(1));
    // The way is made free: everything is written without being sent again.
    fs::remove_file(&file).unwrap();
    part(&mut opened, &Part::Database, |s| *s == PartState::Works);
    close(store).unwrap();
    assert_eq!(open(&file.join("state")).1.saved.alerts.len(), 1);
}

/// A file system of its own, unmounted at the end; `None` where that is not allowed.
struct Mount(tempfile::TempDir);

impl Mount {
    fn tmpfs(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted =
            mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "keepwell-test"], dir.path());
        if !mounted {
            println!("SKIPPED: mounting a tmpfs is not allowed here");
            return None;
        }
        Some(Self(dir))
    }
}

fn mount(arguments: &[&str], on: &Path) -> bool {
    std::process::Command::new("mount")
        .args(arguments)
        .arg(on)
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_survived_and_made_up_for() {
    let Some(disk) = Mount::tmpfs("512k") else { return };
    let dir = disk.0.path();
    let (store, mut opened) = open(dir);
    store.commit(commit(1, vec![Change::Alert(alert(1, false))])).unwrap();
    assert_eq!(answer(&mut opened).0, StoreEvent::Stored(1));
    let ballast = dir.join("ballast");
    // Fills the disk to the last byte.
    let _ = fs::write(&ballast, vec![1; 1024 * 1024]);
    let mut seq = 1;
    let (text, file_text) = loop {
        seq += 1;
        let changes = vec![
            Change::Alert(alert(seq, seq % 2 == 0)),
            Change::Restart(format!("u{seq}.service").into(), record(1)),
        ];
        let outbox = rows(&format!("m{seq}"));
        store.commit(Commit { seq, changes, outbox, ..Commit::default() }).unwrap();
        let (answer, parts) = answer(&mut opened);
        assert!(seq < 500, "the disk never filled");
        let said = |part: Part| {
            parts.iter().find_map(|p| match &p.state {
                PartState::Broken(text) if p.part == part => Some(text.clone()),
                _ => None,
            })
        };
        if let Some(text) = said(Part::Database) {
            assert_eq!(answer, StoreEvent::Unsaved(seq));
            break (text, said(Part::StateFile));
        }
        assert!(matches!(answer, StoreEvent::Stored(_) | StoreEvent::Unsaved(_)));
    };
    assert!(text.contains("the disk is full") && text.contains("Free some space"), "{text}");
    if let Some(text) = file_text {
        assert!(text.contains("cannot write") && text.contains("Free some space"), "{text}");
    }
    assert!(!dir.join("state.json.tmp").exists());
    // It is said once, and answers come at once.
    seq += 1;
    store.commit(commit(seq, vec![Change::Cursor("s=9".into())])).unwrap();
    assert_eq!(answer(&mut opened), (StoreEvent::Unsaved(seq), vec![]));
    let handle = store.handle();
    handle.delivered(rows(&format!("m{}", seq - 1))[1].key());
    fs::remove_file(&ballast).unwrap();
    part(&mut opened, &Part::Database, |s| *s == PartState::Works);
    close(store).unwrap();

    let (store, opened) = open(dir);
    assert_eq!(opened.faults, []);
    assert_eq!(opened.saved.alerts.len() as u64, seq - 1, "every alert is there");
    assert_eq!(opened.saved.restarts.len() as u64, seq - 2);
    assert_eq!(opened.saved.cursor.as_deref(), Some("s=9"));
    assert_eq!(opened.outbox.len() as u64, 2 * (seq - 2) - 1);
    close(store).unwrap();
}

#[test]
fn a_file_system_that_turns_read_only_is_survived() {
    let Some(disk) = Mount::tmpfs("4m") else { return };
    let dir = disk.0.path();
    let (store, mut opened) = open(dir);
    store.commit(commit(1, vec![Change::Alert(alert(1, false))])).unwrap();
    answer(&mut opened);
    close(store).unwrap();
    assert!(mount(&["-o", "remount,ro"], dir));
    let (store, mut opened) = open(dir);
    assert!(
        opened.faults.iter().any(|f| f.part == Part::Database
            && matches!(&f.state, PartState::Broken(t) if t.contains("keepwell goes on in memory"))),
        "{:?}",
        opened.faults
    );
    assert_eq!(opened.saved.alerts.len(), 1, "reading works");
    store
        .commit(commit(
            1,
            vec![Change::Alert(alert(2, false)), Change::Restart("a.service".into(), record(1))],
        ))
        .unwrap();
    let (answer, parts) = answer(&mut opened);
    assert_eq!(answer, StoreEvent::Unsaved(1));
    assert!(
        parts.iter().any(|p| p.part == Part::StateFile
            && matches!(&p.state, PartState::Broken(t) if t.contains("turned read-only"))),
        "{parts:?}"
    );
    assert!(mount(&["-o", "remount,rw"], dir));
    part(&mut opened, &Part::Database, |s| *s == PartState::Works);
    close(store).unwrap();
    let opened = open(dir).1;
    assert_eq!((opened.saved.alerts.len(), opened.saved.restarts.len()), (2, 1));
    assert_eq!(listing(dir).iter().filter(|n| n.contains("unread")).count(), 0);
}

/// A disk that hangs until it is told to go on.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn hook(self: &Arc<Self>, at: Stage) -> Hook {
        let gate = Arc::clone(self);
        Arc::new(move |stage| {
            if stage == at {
                let mut open = gate.0.lock().unwrap();
                while !*open {
                    open = gate.1.wait(open).unwrap();
                }
            }
            Ok(())
        })
    }

    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }
}

#[test]
fn a_disk_that_hangs_holds_up_nobody_and_waiting_commits_share_one_write() {
    let dir = tempfile::tempdir().unwrap();
    let gate = Arc::new(Gate::default());
    let writes = Arc::new(AtomicUsize::new(0));
    let (gated, counted) = (gate.hook(Stage::Database), Arc::clone(&writes));
    let hook: Hook = Arc::new(move |stage| {
        gated(stage)?;
        counted.fetch_add(usize::from(stage == Stage::Database), Ordering::Relaxed);
        Ok(())
    });
    let (store, mut opened) = Store::open_with(dir.path(), quick(), now, OPEN_LIMIT, Some(hook));
    for seq in 1..=100 {
        store.commit(commit(seq, vec![Change::Alert(alert(seq, false))])).unwrap();
    }
    assert!(opened.events.try_recv().is_err(), "nothing is stored yet");
    gate.open();
    loop {
        let (answer, _) = answer(&mut opened);
        if answer == StoreEvent::Stored(100) {
            break;
        }
        assert!(matches!(answer, StoreEvent::Stored(_)));
    }
    assert!(writes.load(Ordering::Relaxed) <= 2, "one for the first, one for the rest");
    close(store).unwrap();
}

#[test]
fn closing_ends_in_time_although_the_disk_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let gate = Arc::new(Gate::default());
    let (store, opened) =
        Store::open_with(dir.path(), quick(), now, OPEN_LIMIT, Some(gate.hook(Stage::Database)));
    store.commit(commit(1, vec![Change::Alert(alert(1, false))])).unwrap();
    let limit = Duration::from_millis(50);
    let error = runtime().block_on(store.close(limit)).unwrap_err();
    assert_eq!(error, CloseError::Timeout(limit));
    assert_eq!(
        error.to_string(),
        "the disk did not answer within 50 ms; the last records may be lost"
    );
    gate.open();
    let mut opened = opened;
    while runtime().block_on(opened.events.recv()).is_some() {}
}

#[test]
fn a_disk_that_hangs_at_the_start_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let gate = Arc::new(Gate::default());
    let patience = Duration::from_millis(50);
    let (store, mut opened) =
        Store::open_with(dir.path(), quick(), now, patience, Some(gate.hook(Stage::Open)));
    assert_eq!(opened.faults.len(), 2);
    assert!(
        matches!(&opened.faults[0].state, PartState::Broken(t) if t.contains("did not answer within 50 ms")),
    );
    store.commit(commit(1, vec![Change::Alert(alert(1, false))])).unwrap();
    gate.open();
    assert_eq!(answer(&mut opened).0, StoreEvent::Unsaved(1));
    assert!(close(store).is_err());
}

#[test]
fn the_size_stays_under_its_limit_and_open_alerts_are_never_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { max_bytes: 2 * 1024 * 1024, ..quick() };
    let (store, mut opened) = Store::open(dir.path(), limits, now);
    let mut open_ones: Vec<_> = (0..50).map(|n| Change::Alert(alert(n, false))).collect();
    open_ones.extend((50..60).map(|n| Change::Alert(ended_untold(n))));
    store.commit(commit(1, open_ones)).unwrap();
    answer(&mut opened);
    let mut seq = 1;
    for batch in 0..100 {
        seq += 1;
        let first = 1000 * (batch + 1);
        let changes = (first..first + 1000).map(|n| Change::Alert(alert(n, true))).collect();
        store.commit(commit(seq, changes)).unwrap();
        let (answer, parts) = answer(&mut opened);
        assert_eq!((answer, parts), (StoreEvent::Stored(seq), vec![]));
    }
    let size = |name: &str| fs::metadata(dir.path().join(name)).map_or(0, |m| m.len());
    assert!(size("keepwell.db") <= 2 * 1024 * 1024, "{}", size("keepwell.db"));
    assert!(size("keepwell.db-wal") <= 3 * 1024 * 1024, "{}", size("keepwell.db-wal"));
    close(store).unwrap();
    let (store, opened) = open(dir.path());
    let alerts = &opened.saved.alerts;
    assert_eq!(alerts.iter().filter(|a| a.resolved.is_none()).count(), 50);
    assert_eq!(alerts.iter().filter(|a| !a.pending.is_empty()).count(), 10, "nor untold ends");
    close(store).unwrap();
}

#[test]
fn old_alerts_are_deleted_and_their_room_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { retention: Duration::from_secs(1800), ..quick() };
    let mut picture = crate::store::picture::Picture::default();
    let (mut database, _, fault) =
        crate::store::database::Database::open(dir.path(), &limits, now().wall, &mut picture);
    assert_eq!(fault, None);
    for n in 0..3000 {
        picture.alert(alert(n, true));
    }
    picture.alert(alert(9999, false));
    picture.alert(ended_untold(9998));
    database.write(&mut picture, 1, 0, now().wall).unwrap();
    let size = || fs::metadata(dir.path().join("keepwell.db")).map_or(0, |m| m.len());
    database.maintain(now().wall);
    let before = size();
    // An hour later all of them are old.
    database.maintain(now().wall.after(Duration::from_secs(3600)));
    assert!(size() * 4 < before, "{} of {before}", size());
    database.close();
    let (store, opened) = open(dir.path());
    let ids: Vec<_> = opened.saved.alerts.iter().map(|a| &*a.id).collect();
    assert_eq!(ids, ["a9998", "a9999"], "what is open, and an end that is still to be told");
    close(store).unwrap();
}
