//! Calls of hooks: in order, taken, tried again, dropped, and kept while the disk fails.

use super::*;

fn numbers(opened: &Opened) -> Vec<u64> {
    opened.calls.iter().map(|row| row.call.number).collect()
}

fn calls(seq: u64, calls: Vec<Arc<HookCall>>) -> Commit {
    Commit { seq, calls, ..Commit::default() }
}

#[test]
fn calls_come_back_by_their_number_until_they_are_done() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut opened) = open(dir.path());
    // Longer numbers last, though as texts they would come first.
    for (seq, all) in [(1, vec![9, 100]), (2, vec![10, 3])] {
        let all = all.into_iter().map(|n| call("ops", n)).collect();
        store.commit(calls(seq, all)).unwrap();
        assert_eq!(answer(&mut opened).0, StoreEvent::Stored(seq));
    }
    let handle = store.handle();
    handle.failed_call(9, 3, Wall(77));
    handle.call_done(10);
    // A report that comes too late changes nothing.
    handle.failed_call(10, 4, Wall(99));
    close(store).unwrap();
    let (store, opened) = open(dir.path());
    assert_eq!(numbers(&opened), [3, 9, 100]);
    let failed = CallRow { attempts: 3, next_at: Wall(77), ..CallRow::new(call("ops", 9)) };
    assert_eq!(opened.calls[1], failed);
    for number in [3, 9, 100] {
        store.handle().call_done(number);
    }
    close(store).unwrap();
    assert_eq!(open(dir.path()).1.calls, []);
}

#[test]
fn calls_of_a_hook_that_is_gone_can_be_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut opened) = open(dir.path());
    store.commit(calls(1, vec![call("ops", 1), call("billing", 2), call("ops", 3)])).unwrap();
    answer(&mut opened);
    store.handle().drop_hook("ops".into());
    // It is back, in the same transaction.
    store.commit(calls(2, vec![call("ops", 4)])).unwrap();
    close(store).unwrap();
    assert_eq!(numbers(&open(dir.path()).1), [2, 4]);
}

#[test]
fn calls_and_what_they_follow_from_survive_together_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let broken = Arc::new(AtomicBool::new(false));
    let hook: Hook = {
        let broken = broken.clone();
        Arc::new(move |stage| match stage {
            Stage::Database if broken.load(Ordering::Relaxed) => {
                Err(std::io::Error::other("power is gone"))
            }
            _ => Ok(()),
        })
    };
    let (store, mut opened) = Store::open_with(dir.path(), quick(), now, OPEN_LIMIT, Some(hook));
    for seq in 1..=2 {
        broken.store(seq == 2, Ordering::Relaxed);
        let changes = vec![Change::Container(container(seq, Life::Running))];
        let calls = vec![call("ops", seq)];
        store.commit(Commit { seq, changes, calls, ..Commit::default() }).unwrap();
        let (said, _) = answer(&mut opened);
        assert_eq!(said, if seq == 1 { StoreEvent::Stored(1) } else { StoreEvent::Unsaved(2) });
    }
    // Killed: what was never written is gone with what it followed from.
    drop(store);
    while runtime().block_on(opened.events.recv()).is_some() {}
    let opened = open(dir.path()).1;
    assert_eq!(numbers(&opened), [1]);
    assert_eq!(opened.saved.containers, [container(1, Life::Running)]);
}

#[test]
fn what_came_and_went_while_the_disk_failed_takes_no_room() {
    let mut picture = crate::store::picture::Picture::default();
    picture.call_done(1);
    for number in 2..=30_000 {
        picture.call(CallRow::new(call("ops", number)));
        if number != 17 {
            picture.call_done(number);
        }
        let record = ContainerRecord {
            container: HookContainer { id: format!("{number}").into(), ..Default::default() },
            ..container(1, Life::Running)
        };
        picture.container(record);
        picture.container_gone(format!("{number}").into());
        if number % 1000 == 0 {
            picture.bound();
        }
    }
    assert!(picture.calls.len() <= 12_000, "{}", picture.calls.len());
    assert!(picture.containers.len() <= 12_000, "{}", picture.containers.len());
    // What may be on the disk is still deleted, and what waits is still written.
    assert!(picture.calls.contains_key(&1) && picture.calls.contains_key(&17));
}

#[test]
fn merging_calls_while_the_disk_fails_ends_as_writing_each_change_would() {
    use proptest::prelude::*;
    #[derive(Debug, Clone)]
    enum Op {
        Put(u64),
        Done(u64),
        Failed(u64, u32),
        Drop,
    }
    let op = prop_oneof![
        4 => (0..4u64).prop_map(Op::Put),
        4 => (0..4u64).prop_map(Op::Done),
        4 => (0..4u64, 1..5u32).prop_map(|(n, r)| Op::Failed(n, r)),
        1 => Just(Op::Drop),
    ];
    let apply = |picture: &mut crate::store::picture::Picture, op: &Op| match *op {
        Op::Put(n) => picture.call(CallRow::new(call("ops", n))),
        Op::Done(n) => picture.call_done(n),
        Op::Failed(n, r) => picture.failed_call(n, r, Wall(i64::from(r))),
        Op::Drop => picture.drop_hook("ops".into()),
    };
    proptest!(ProptestConfig::with_cases(48), |(ops in prop::collection::vec(op, 1..12), cut in 0..12usize)| {
        let mut results = Vec::new();
        for merged in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let mut picture = crate::store::picture::Picture::default();
            let (mut db, ..) = crate::store::database::Database::open(dir.path(), &quick(), now().wall, &mut picture);
            for (n, op) in ops.iter().enumerate() {
                apply(&mut picture, op);
                if !merged || n == cut {
                    db.write(&mut picture, 1, 0, now().wall).unwrap();
                }
            }
            db.write(&mut picture, 1, 0, now().wall).unwrap();
            db.close();
            let (_, loaded, _) = crate::store::database::Database::open(dir.path(), &quick(), now().wall, &mut picture);
            results.push(loaded.calls);
        }
        prop_assert_eq!(&results[0], &results[1], "{:?} cut at {}", ops, cut);
    });
}
