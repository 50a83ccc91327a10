//! Rows of the outbox: delivered, tried again, dropped.

use super::*;

#[test]
fn a_row_goes_when_its_message_was_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut opened) = open(dir.path());
    let (first, second) = (rows("m1"), rows("m2"));
    for (seq, outbox) in [(1, first.clone()), (2, second.clone())] {
        store.commit(Commit { seq, outbox, ..Commit::default() }).unwrap();
        assert_eq!(answer(&mut opened).0, StoreEvent::Stored(seq));
    }
    let handle = store.handle();
    handle.failed_attempt(first[1].key(), 3, Wall(77));
    handle.delivered(second[1].key());
    // A report that comes too late changes nothing.
    handle.failed_attempt(second[1].key(), 4, Wall(99));
    close(store).unwrap();
    let (store, opened) = open(dir.path());
    let failed = OutboxRow { attempts: 3, next_at: Wall(77), ..first[1].clone() };
    assert_eq!(opened.outbox, [first[0].clone(), failed.clone(), second[0].clone()]);
    let under_way: Vec<_> = opened.outbox.iter().map(|r| r.notification.clone()).collect();
    assert_eq!(opened.saved.outbox, under_way);
    for row in [&first[0], &failed, &second[0]] {
        store.handle().delivered(row.key());
    }
    close(store).unwrap();
    let (store, opened) = open(dir.path());
    assert_eq!((opened.outbox, opened.saved.outbox), (vec![], vec![]));
    close(store).unwrap();
}

#[test]
fn rows_of_a_channel_that_is_gone_can_be_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut opened) = open(dir.path());
    store.commit(Commit { seq: 1, outbox: rows("m1"), ..Commit::default() }).unwrap();
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
        Put(u8),
        Delivered(u8),
        Failed(u8, u32),
    }
    let op = prop_oneof![
        (0..4u8).prop_map(Op::Put),
        (0..4u8).prop_map(Op::Delivered),
        (0..4u8, 1..5u32).prop_map(|(n, r)| Op::Failed(n, r)),
    ];
    let row = |n: u8| OutboxRow {
        created: Wall(0),
        next_at: Wall(0),
        ..OutboxRow::new(message("ops", &format!("m{n}")))
    };
    let apply = |picture: &mut crate::store::picture::Picture, op: &Op| match *op {
        Op::Put(n) => picture.put(row(n)),
        Op::Delivered(n) => picture.delivered(row(n).key()),
        Op::Failed(n, r) => picture.attempt(row(n).key(), r, Wall(i64::from(r))),
    };
    let strip = |rows: Vec<OutboxRow>| -> Vec<_> {
        rows.into_iter().map(|r| (r.id, r.attempts, r.next_at)).collect()
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
            results.push(strip(loaded.outbox));
        }
        prop_assert_eq!(&results[0], &results[1], "{:?} cut at {}", ops, cut);
    });
}
