//! Random histories of alerts, failing deliveries, kills and restarts, over a real store: no end is
//! ever lost, and no subject ever has two rows on one channel.

use std::path::Path;

use proptest::prelude::*;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::store::{Commit, Limits, Opened, OutboxRow, Store, StoreEvent};

#[derive(Debug, Clone)]
enum Op {
    /// The story of this number goes on: opened, worse, resolved, then the next story.
    Tell(u8),
    /// What the next tries bring.
    Script(u8),
    /// Time goes by.
    Wait(u16),
    /// keepwell is killed, and starts again.
    Kill,
    /// keepwell is stopped in an orderly way, and starts again.
    Restart,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (0..3u8).prop_map(Op::Tell),
        3 => any::<u8>().prop_map(Op::Script),
        3 => (0..400u16).prop_map(Op::Wait),
        1 => Just(Op::Kill),
        1 => Just(Op::Restart),
    ];
    prop::collection::vec(op, 1..30)
}

/// keepwell without its engine: the store and one lane.
struct Agent {
    store: Store,
    opened: Opened,
    queue: mpsc::UnboundedSender<Queued>,
    stop: CancellationToken,
    tasks: tokio::task::JoinSet<Vec<OutboxRow>>,
    stats: tokio::sync::watch::Receiver<ChannelStats>,
    seq: u64,
}

impl Agent {
    fn start(dir: &Path, channel: &Arc<Fake>) -> Self {
        let (store, mut opened) = Store::open(dir, Limits::default(), now);
        assert_eq!(opened.faults, []);
        let rows = std::mem::take(&mut opened.outbox);
        let mut keys: Vec<_> = rows.iter().map(|r| (&r.channel, &r.subject)).collect();
        keys.dedup();
        assert_eq!(keys.len(), rows.len(), "one row per channel and subject");
        let (events, _) = mpsc::unbounded_channel();
        let context = Context {
            host_key: "0011".into(),
            store: Some(store.handle()),
            events,
            now,
            flush: Duration::from_secs(3),
        };
        let lane = Lane::new(Arc::clone(channel) as Arc<dyn Channel>, rows, context);
        let stats = lane.stats();
        let (queue, messages) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(lane.run(messages, stop.clone()));
        Self { store, opened, queue, stop, tasks, stats, seq: 0 }
    }

    /// As the driver does: stored, then released.
    async fn tell(&mut self, n: Notification) {
        let n = Arc::new(n);
        self.seq += 1;
        let outbox = OutboxRow::all(&n).collect();
        self.store.commit(Commit { seq: self.seq, changes: vec![], outbox }).unwrap();
        loop {
            match self.opened.events.recv().await.unwrap() {
                StoreEvent::Stored(seq) if seq == self.seq => break,
                StoreEvent::Unsaved(seq) => panic!("{seq} was not saved"),
                _ => {}
            }
        }
        self.queue.send(Queued(n)).unwrap();
    }

    async fn kill(mut self) {
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        // Whatever was handed to the store has been written when its events end.
        drop(self.store);
        while self.opened.events.recv().await.is_some() {}
    }

    async fn end(mut self) {
        self.stop.cancel();
        self.tasks.join_next().await.unwrap().unwrap();
        close(self.store).await;
    }
}

/// The store's thread lives by real time: a clock that stands still would jump to the limit.
async fn close(store: Store) {
    tokio::time::resume();
    store.close(Duration::from_secs(60)).await.unwrap();
    tokio::time::pause();
}

async fn live(dir: &Path, ops: Vec<Op>) {
    let channel = Fake::new([]);
    let mut agent = Agent::start(dir, &channel);
    // Of each of three stories: its number, and the revision it has come to.
    let mut stories = [(1u32, 0u32); 3];
    let mut latest = BTreeMap::new();
    for op in ops {
        match op {
            Op::Tell(which) => {
                let (number, revision) = &mut stories[usize::from(which)];
                *revision += 1;
                let happening = match *revision {
                    1 => Happening::Opened,
                    2 => Happening::Worse,
                    _ => Happening::Resolved,
                };
                let subject = format!("a{which}-{number}");
                let mut n = notification(&subject, happening, *revision);
                n.at = now().wall;
                if happening == Happening::Resolved {
                    *number += 1;
                    *revision = 0;
                }
                latest.insert(subject, n.id.clone());
                agent.tell(n).await;
            }
            Op::Script(bits) => {
                let answers = (0..8).map(|i| match (bits >> i) & 1 {
                    0 => Answer::Ok,
                    _ if bits % 7 == 0 => Answer::Hang,
                    _ => Answer::Fail(Retry::Later(None)),
                });
                *channel.script.lock().unwrap() = answers.collect();
            }
            Op::Wait(s) => tokio::time::sleep(Duration::from_secs(s.into())).await,
            Op::Kill => {
                agent.kill().await;
                agent = Agent::start(dir, &channel);
            }
            Op::Restart => {
                agent.end().await;
                agent = Agent::start(dir, &channel);
            }
        }
    }
    // From now on all works: everything is told in the end.
    channel.script.lock().unwrap().clear();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(agent.stats.borrow().queued, 0);
    agent.end().await;
    let mut last = BTreeMap::new();
    for (_, message) in channel.got.lock().unwrap().iter() {
        last.insert(message.notification.subject.to_string(), message.notification.id.clone());
    }
    assert_eq!(last, latest, "the last word of each story has arrived, and nothing after it");
    let (store, opened) = Store::open(dir, Limits::default(), now);
    assert_eq!(opened.outbox, [], "no row is left");
    close(store).await;
}

#[test]
fn no_history_loses_an_end() {
    proptest!(ProptestConfig::with_cases(48), |(ops in ops())| {
        let dir = tempfile::tempdir().unwrap();
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap()
            .block_on(live(dir.path(), ops));
    });
}
