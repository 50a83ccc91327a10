//! Order, folding, retry and what is said of a channel, on paused time.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::engine::event::{Event, Outcome};
use crate::engine::observation::{Observation, Part, PartSeen, PartState};
use crate::store::OutboxRow;

/// A lane under way.
struct Rig {
    queue: mpsc::UnboundedSender<Queued>,
    stop: CancellationToken,
    events: mpsc::UnboundedReceiver<Event>,
    stats: tokio::sync::watch::Receiver<ChannelStats>,
    tasks: tokio::task::JoinSet<Vec<OutboxRow>>,
}

impl Rig {
    fn new(channel: &Arc<Fake>, rows: Vec<OutboxRow>) -> Self {
        let (events, received) = mpsc::unbounded_channel();
        let context = Context {
            host_key: "0011".into(),
            store: None,
            events,
            now,
            flush: Duration::from_secs(5),
        };
        let channel: Arc<dyn Channel> = Arc::clone(channel) as _;
        let lane = Lane::new(channel, rows, context);
        let stats = lane.stats();
        let (queue, messages) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(lane.run(messages, stop.clone()));
        Self { queue, stop, events: received, stats, tasks }
    }

    async fn tell(&self, subject: &str, happening: Happening, revision: u32) {
        let mut n = notification(subject, happening, revision);
        n.at = now().wall;
        self.queue.send(Queued(Arc::new(n))).unwrap();
    }

    async fn until(&mut self, reached: impl Fn(&ChannelStats) -> bool) -> ChannelStats {
        tokio::time::timeout(Duration::from_secs(24 * 3600), self.stats.wait_for(|s| reached(s)))
            .await
            .expect("it happens within a day")
            .unwrap()
            .clone()
    }

    async fn end(mut self) -> (Vec<OutboxRow>, Vec<Event>) {
        self.stop.cancel();
        let left = self.tasks.join_next().await.unwrap().unwrap();
        let mut events = Vec::new();
        while let Some(event) = self.events.recv().await {
            events.push(event);
        }
        (left, events)
    }
}

fn outcome(id: &str, delivered: bool) -> Event {
    Event::Outcome(Outcome::Delivery { channel: "ops".into(), id: id.into(), delivered })
}

fn part(state: PartState) -> Event {
    Event::Observed(Observation::Part(PartSeen { part: Part::Channel("ops".into()), state }))
}

fn broken() -> Event {
    part(PartState::Broken("the receiver said no".into()))
}

fn seconds(from: Boot, to: Boot) -> f64 {
    to.since(from).as_secs_f64()
}

const LATER: Answer = Answer::Fail(Retry::Later(None));

#[tokio::test(start_paused = true)]
async fn a_message_is_delivered_and_reported() {
    let channel = Fake::new([]);
    let mut rig = Rig::new(&channel, Vec::new());
    rig.tell("a1", Happening::Opened, 1).await;
    let stats = rig.until(|s| s.sent == 1 && s.queued == 0).await;
    assert_eq!((stats.failed, stats.last_error, stats.gone), (0, None, false));
    assert!(stats.last_success.is_some());
    let (left, events) = rig.end().await;
    assert_eq!(left, []);
    assert_eq!(events, [outcome("a1-1", true), part(PartState::Works)]);
    let got = channel.got.lock().unwrap();
    assert_eq!(got[0].1.key, "0011-a1-1");
    assert!(got[0].1.opening && got[0].1.delayed.is_none());
}

#[tokio::test(start_paused = true)]
async fn failures_are_retried_with_doubling_waits_and_said_after_three() {
    let channel = Fake::new(vec![LATER; 12]);
    let mut rig = Rig::new(&channel, Vec::new());
    rig.tell("a1", Happening::Opened, 1).await;
    rig.until(|s| s.failed == 2).await;
    assert!(rig.events.is_empty(), "two failures are not yet news");
    rig.until(|s| s.sent == 1).await;
    let (_, events) = rig.end().await;
    assert_eq!(events, [broken(), outcome("a1-1", true), part(PartState::Works)]);
    let times = channel.times();
    assert_eq!(times.len(), 13);
    for (i, pair) in times.windows(2).enumerate() {
        let whole = f64::from(1 << i.min(12)).min(300.0);
        let waited = seconds(pair[0], pair[1]);
        assert!(waited >= whole / 2.0 && waited < whole + 0.1, "wait {i}: {waited}");
    }
    let got = channel.got.lock().unwrap();
    assert!(got.iter().all(|(_, m)| m.key == "0011-a1-1"), "the key never changes");
    let (at, last) = got.last().unwrap();
    assert_eq!(last.delayed.map(|d| d.as_secs()), Some(at.since(got[0].0).as_secs()), "late");
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured_for_all_messages_up_to_an_hour() {
    let asked = |s| Answer::Fail(Retry::Later(Some(Duration::from_secs(s))));
    let channel = Fake::new([asked(120), Answer::Ok, Answer::Ok, asked(1_000_000)]);
    let mut rig = Rig::new(&channel, Vec::new());
    rig.tell("a1", Happening::Opened, 1).await;
    rig.until(|s| s.failed == 1).await;
    rig.tell("a2", Happening::Opened, 1).await;
    rig.until(|s| s.sent == 2).await;
    rig.tell("a3", Happening::Opened, 1).await;
    rig.until(|s| s.sent == 3).await;
    let times = channel.times();
    let waits: Vec<_> = times.windows(2).map(|p| seconds(p[0], p[1])).collect();
    assert!((120.0..121.0).contains(&waits[0]), "{waits:?}");
    assert!(waits[1] < 1.0 && waits[2] < 1.0, "{waits:?}");
    assert!((3600.0..3601.0).contains(&waits[3]), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn what_waits_folds_into_one_message_that_says_all() {
    let channel = Fake::new([Answer::Fail(Retry::Later(Some(Duration::from_secs(60))))]);
    let mut rig = Rig::new(&channel, Vec::new());
    rig.tell("a1", Happening::Opened, 1).await;
    rig.until(|s| s.failed == 1).await;
    rig.tell("a2", Happening::Opened, 1).await;
    rig.tell("a1", Happening::Worse, 2).await;
    rig.tell("a1", Happening::Resolved, 3).await;
    rig.tell("a2", Happening::Worse, 2).await;
    rig.until(|s| s.queued == 0 && s.sent >= 2).await;
    let got: Vec<_> = {
        let got = channel.got.lock().unwrap();
        got.iter()
            .map(|(_, m)| (m.notification.id.clone(), m.opening, message::happening(m)))
            .collect()
    };
    assert_eq!(got.len(), 3, "{got:?}");
    assert!(got.contains(&("a1-3".into(), true, Happening::Resolved)), "{got:?}");
    assert!(got.contains(&("a2-2".into(), true, Happening::Opened)), "{got:?}");
    // Once the opening is known, a change is a change.
    rig.tell("a2", Happening::Better, 3).await;
    rig.until(|s| s.sent == 3).await;
    let last = channel.got.lock().unwrap().last().unwrap().1.clone();
    assert_eq!((last.opening, message::happening(&last)), (false, Happening::Better));
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_change_during_the_delivery_goes_out_after_it() {
    let channel = Fake::new([]);
    let mut rig = Rig::new(&channel, Vec::new());
    rig.tell("a1", Happening::Opened, 1).await;
    rig.until(|s| s.queued == 1).await;
    rig.tell("a1", Happening::Resolved, 2).await;
    rig.until(|s| s.sent == 2).await;
    assert_eq!(channel.ids(), ["a1-1", "a1-2"]);
    assert!(!channel.got.lock().unwrap()[1].1.opening);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_will_never_be_taken_is_given_up_and_said() {
    let channel = Fake::new([Answer::Fail(Retry::Never)]);
    let mut rig = Rig::new(&channel, Vec::new());
    rig.tell("a1", Happening::Opened, 1).await;
    rig.until(|s| s.given_up == 1).await;
    rig.tell("a2", Happening::Opened, 1).await;
    rig.until(|s| s.sent == 1).await;
    let (left, events) = rig.end().await;
    assert_eq!(left, []);
    assert_eq!(
        events,
        [outcome("a1-1", false), broken(), outcome("a2-1", true), part(PartState::Works)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_gone_gets_nothing_more_but_no_message_is_lost() {
    let channel = Fake::new([Answer::Fail(Retry::Gone)]);
    let mut rig = Rig::new(&channel, Vec::new());
    rig.tell("a1", Happening::Opened, 1).await;
    rig.until(|s| s.gone).await;
    rig.tell("a1", Happening::Resolved, 2).await;
    rig.tell("a2", Happening::Opened, 1).await;
    rig.until(|s| s.queued == 2).await;
    tokio::time::sleep(Duration::from_secs(7200)).await;
    let (left, events) = rig.end().await;
    assert_eq!(events, [broken()]);
    assert_eq!(channel.ids(), ["a1-1"]);
    let left: Vec<_> = left.iter().map(|r| (&*r.id, r.opening)).collect();
    assert_eq!(left, [("a1-2", true), ("a2-1", true)]);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_channel_is_given_a_limit_and_messages_are_still_taken() {
    let channel = Fake::new([Answer::Hang]);
    let mut rig = Rig::new(&channel, Vec::new());
    rig.tell("a1", Happening::Opened, 1).await;
    rig.until(|s| s.queued == 1).await;
    for n in 2..200 {
        rig.tell(&format!("a{n}"), Happening::Opened, 1).await;
    }
    let stats = rig.until(|s| s.failed == 1).await;
    assert_eq!(stats.last_error.as_deref(), Some("no answer within 1 min"));
    rig.until(|s| s.sent == 199).await;
}

#[tokio::test(start_paused = true)]
async fn stopping_tries_everything_once_more_within_its_time() {
    let channel = Fake::new([LATER, LATER, LATER, Answer::Ok, LATER, Answer::Ok, Answer::Hang]);
    let mut rig = Rig::new(&channel, Vec::new());
    for n in 1..=3 {
        rig.tell(&format!("a{n}"), Happening::Opened, 1).await;
        rig.until(|s| s.failed == n).await;
    }
    let before = now().boot;
    rig.tell("a4", Happening::Resolved, 2).await;
    let (left, _) = rig.end().await;
    let left: Vec<_> = left.iter().map(|r| &*r.id).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!(channel.ids()[3], "a4-2", "what was never tried comes first");
    assert!(seconds(before, now().boot) <= 5.5, "the hanging one was cut off");
}

#[tokio::test(start_paused = true)]
async fn rows_of_an_earlier_run_go_out_with_their_waits() {
    let row = |subject: &str, happening, wait: u64, attempts| {
        let mut row = OutboxRow::new("ops".into(), Arc::new(notification(subject, happening, 2)));
        row.attempts = attempts;
        row.next_at = now().wall.after(Duration::from_secs(wait));
        row
    };
    let begin = now().boot;
    let mut opening = row("a3", Happening::Worse, 0, 0);
    opening.opening = true;
    let rows = vec![
        row("a1", Happening::Resolved, 20, 5),
        row("a2", Happening::Opened, 90_000, 9),
        opening,
    ];
    let channel = Fake::new([]);
    let mut rig = Rig::new(&channel, rows);
    rig.until(|s| s.sent == 3).await;
    assert_eq!(channel.ids(), ["a3-2", "a1-2", "a2-2"]);
    let waits: Vec<_> = channel.times().iter().map(|t| seconds(begin, *t).round()).collect();
    assert_eq!(waits, [0.0, 20.0, 300.0], "a clock that jumped makes none wait for ever");
    let first = channel.got.lock().unwrap()[0].1.clone();
    assert_eq!(message::happening(&first), Happening::Opened);
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded_by_what_nobody_waits_for() {
    let channel = Fake::new([Answer::Fail(Retry::Gone)]);
    let mut rig = Rig::new(&channel, Vec::new());
    rig.tell("a0", Happening::Opened, 1).await;
    rig.until(|s| s.gone).await;
    // An end whose beginning was told long ago, and very many short stories after it.
    rig.tell("b0", Happening::Resolved, 9).await;
    for n in 1..=2000 {
        rig.tell(&format!("a{n}"), Happening::Opened, 1).await;
        rig.tell(&format!("a{n}"), Happening::Resolved, 2).await;
    }
    rig.until(|s| s.given_up >= 1490).await;
    let (left, _) = rig.end().await;
    assert_eq!(left.len(), 512);
    let ids: Vec<_> = left.iter().map(|r| &*r.id).collect();
    assert_eq!(ids[..2], ["a0-1", "b0-9"], "an opening and an awaited end are kept");
    assert_eq!(ids[511], "a2000-2");
}
