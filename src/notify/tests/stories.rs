//! Random histories of messages, failing deliveries, kills and restarts, over a real store: every
//! message is delivered, a repeat is the same message, and no row is left.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::engine::event::{Delivery, Event, Outcome};
use crate::store::{Commit, Limits, Opened, OutboxRow, Store, StoreEvent};

#[derive(Debug, Clone)]
enum Op {
    /// There is something to tell.
    Tell,
    /// What the next tries bring.
    Script(u8),
    /// Time goes by.
    Wait(u16),
    /// The configuration is loaded again.
    Reload,
    /// keepwell is killed, and starts again.
    Kill,
    /// keepwell is stopped in an orderly way, and starts again.
    Restart,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => Just(Op::Tell),
        3 => any::<u8>().prop_map(Op::Script),
        3 => (0..400u16).prop_map(Op::Wait),
        1 => Just(Op::Reload),
        1 => Just(Op::Kill),
        1 => Just(Op::Restart),
    ];
    prop::collection::vec(op, 1..30)
}

/// keepwell without its engine: the store and one lane.
struct Agent {
    store: Store,
    opened: Opened,
    lane: Running,
    seq: u64,
}

struct Running {
    jobs: mpsc::UnboundedSender<LaneJob>,
    stop: CancellationToken,
    tasks: tokio::task::JoinSet<Vec<OutboxRow>>,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Running {
    fn start(channel: &Arc<Fake>, store: &Store, rows: Vec<OutboxRow>) -> Self {
        let (events, heard) = mpsc::unbounded_channel();
        let context = Context {
            host_key: "0011".into(),
            store: Some(store.handle()),
            events,
            now,
            flush: Duration::from_secs(3),
        };
        let lane = Lane::new(Arc::clone(channel) as Arc<dyn Channel>, rows, context);
        let (jobs, received) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(lane.run(received, stop.clone()));
        Self { jobs, stop, tasks, events: heard }
    }

    async fn end(&mut self) -> Vec<OutboxRow> {
        self.stop.cancel();
        self.tasks.join_next().await.unwrap().unwrap()
    }
}

impl Agent {
    fn start(dir: &Path, channel: &Arc<Fake>) -> Self {
        let (store, mut opened) = Store::open(dir, Limits::default(), now);
        assert_eq!(opened.faults, []);
        let rows = std::mem::take(&mut opened.outbox);
        let lane = Running::start(channel, &store, rows);
        Self { store, opened, lane, seq: 0 }
    }

    /// As the driver does: stored, then released.
    async fn tell(&mut self, n: &Arc<Notification>) {
        self.seq += 1;
        let outbox = vec![OutboxRow::new(n.clone())];
        self.store.commit(Commit { seq: self.seq, outbox, ..Commit::default() }).unwrap();
        loop {
            match self.opened.events.recv().await.unwrap() {
                StoreEvent::Stored(seq) if seq == self.seq => break,
                StoreEvent::Unsaved(seq) => panic!("{seq} was not saved"),
                _ => {}
            }
        }
        self.lane.jobs.send(LaneJob::Deliver(n.clone())).unwrap();
    }

    async fn reload(&mut self, channel: &Arc<Fake>) {
        let rows = self.lane.end().await;
        self.lane = Running::start(channel, &self.store, rows);
    }

    async fn kill(mut self) {
        self.lane.tasks.abort_all();
        while self.lane.tasks.join_next().await.is_some() {}
        // Whatever was handed to the store has been written when its events end.
        drop(self.store);
        while self.opened.events.recv().await.is_some() {}
    }

    async fn end(mut self) -> mpsc::UnboundedReceiver<Event> {
        self.lane.end().await;
        close(self.store).await;
        self.lane.events
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
    let mut told: BTreeMap<Arc<str>, Arc<Notification>> = BTreeMap::new();
    let killed = ops.iter().any(|op| matches!(op, Op::Kill));
    for op in ops {
        match op {
            Op::Tell => {
                let mut n = notification(&format!("m{}", told.len()), Happening::Opened);
                n.at = now().wall;
                let n = Arc::new(n);
                told.insert(n.id.clone(), n.clone());
                agent.tell(&n).await;
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
            Op::Reload => agent.reload(&channel).await,
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
    let mut events = agent.end().await;
    while let Some(event) = events.recv().await {
        if let Event::Outcome(Outcome::Delivery { id, result: Delivery::Delivered, .. }) = event {
            assert!(told.contains_key(&id));
        }
    }
    for (_, message) in channel.got.lock().unwrap().iter() {
        let n = &message.notification;
        assert_eq!(Some(n), told.get(&n.id), "a repeat is the same message");
    }
    let mut accepted = channel.accepted.lock().unwrap().clone();
    accepted.sort();
    if killed {
        // The row of what was taken at the last moment may still have been there.
        accepted.dedup();
    }
    let ids: Vec<Arc<str>> = told.into_keys().collect();
    assert_eq!(accepted, ids, "all has arrived, and once");
    let (store, opened) = Store::open(dir, Limits::default(), now);
    assert_eq!(opened.outbox, [], "no row is left");
    close(store).await;
}

#[test]
fn no_history_loses_a_message() {
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
