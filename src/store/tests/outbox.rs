//! Rows of the outbox: replaced, delivered, tried again, dropped.

use super::*;

#[test]
fn a_row_goes_only_when_its_own_message_was_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut opened) = open(dir.path());
    let handle = store.handle();
    let first = OutboxRow::new("ops".into(), message("a1", Happening::Opened, 1));
    let second = OutboxRow::new("ops".into(), message("a1", Happening::Resolved, 2));
    let mut seq = 0;
    let mut put = |row: &OutboxRow| {
        seq += 1;
        store.commit(Commit { seq, changes: vec![], outbox: vec![row.clone()] }).unwrap();
        assert_eq!(answer(&mut opened).0, StoreEvent::Stored(seq));
    };
    put(&first);
    handle.failed_attempt(first.key(), 3, Wall(77));
    put(&second);
    // Too late for the first: its place is taken, and the end must tell the beginning too.
    handle.failed_attempt(first.key(), 4, Wall(99));
    close(store).unwrap();
    let (store, opened) = open(dir.path());
    let [row] = &opened.outbox[..] else { panic!("{:?}", opened.outbox) };
    assert_eq!((&*row.id, row.revision, row.opening, row.attempts), ("a1-2", 2, true, 0));
    assert_eq!(row.created, first.created);
    // The first was delivered after all.
    let handle = store.handle();
    handle.delivered(first.key());
    handle.failed_attempt(second.key(), 5, Wall(88));
    close(store).unwrap();
    let (store, opened) = open(dir.path());
    let [row] = &opened.outbox[..] else { panic!("{:?}", opened.outbox) };
    assert_eq!((&*row.id, row.opening, row.attempts, row.next_at), ("a1-2", false, 5, Wall(88)));
    store.handle().delivered(second.key());
    close(store).unwrap();
    let (store, opened) = open(dir.path());
    assert_eq!(opened.outbox, []);
    close(store).unwrap();
}

#[test]
fn rows_of_a_channel_that_is_gone_can_be_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut opened) = open(dir.path());
    let outbox = OutboxRow::all(&message("a1", Happening::Opened, 1)).collect();
    store.commit(Commit { seq: 1, changes: vec![], outbox }).unwrap();
    answer(&mut opened);
    store.handle().drop_channel("mail".into());
    close(store).unwrap();
    let channels: Vec<_> = open(dir.path()).1.outbox.into_iter().map(|r| r.channel).collect();
    assert_eq!(channels, ["ops".into()]);
}

#[test]
fn merging_while_the_disk_fails_ends_as_writing_each_change_would() {
    use proptest::prelude::*;
    #[derive(Debug, Clone)]
    enum Op {
        Put(u8, u32),
        Delivered(u8, u32),
        Failed(u8, u32),
    }
    let op = prop_oneof![
        (0..2u8, 1..5u32).prop_map(|(s, r)| Op::Put(s, r)),
        (0..2u8, 1..5u32).prop_map(|(s, r)| Op::Delivered(s, r)),
        (0..2u8, 1..5u32).prop_map(|(s, r)| Op::Failed(s, r)),
    ];
    let row = |s: u8, r: u32| {
        let happening = if r == 1 { Happening::Opened } else { Happening::Worse };
        let mut row = OutboxRow::new("ops".into(), message(&format!("a{s}"), happening, r));
        row.created = Wall(0);
        row
    };
    let apply = |picture: &mut crate::store::picture::Picture, op: &Op| match *op {
        Op::Put(s, r) => picture.put(row(s, r)),
        Op::Delivered(s, r) => picture.delivered(row(s, r).key()),
        Op::Failed(s, r) => picture.attempt(row(s, r).key(), r, Wall(i64::from(r))),
    };
    let strip = |rows: Vec<OutboxRow>| -> Vec<_> {
        rows.into_iter().map(|r| (r.subject, r.id, r.revision, r.opening, r.attempts)).collect()
    };
    proptest!(ProptestConfig::with_cases(64), |(ops in prop::collection::vec(op, 1..12), cut in 0..12usize)| {
        // Revisions of one subject rise, as the engine makes them.
        let mut top = [0u32; 2];
        let ops: Vec<_> = ops
            .into_iter()
            .map(|op| match op {
                Op::Put(s, _) => { top[usize::from(s)] += 1; Op::Put(s, top[usize::from(s)]) }
                Op::Delivered(s, r) => Op::Delivered(s, r.min(top[usize::from(s)])),
                Op::Failed(s, r) => Op::Failed(s, r.min(top[usize::from(s)])),
            })
            .collect();
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
            results.push(strip(loaded.outbox));
        }
        prop_assert_eq!(&results[0], &results[1], "{:?} cut at {}", ops, cut);
    });
}
