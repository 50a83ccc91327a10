//! Retry, rest, tests and hand-over, and what is said of a channel, on paused time.

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::engine::event::{Delivery, Event, Outcome};
use crate::engine::observation::{Observation, Part, PartSeen, PartState};
use crate::store::OutboxRow;

/// A lane under way.
struct Rig {
    jobs: mpsc::UnboundedSender<LaneJob>,
    stop: CancellationToken,
    events: mpsc::UnboundedReceiver<Event>,
    /// What it has said so far.
    heard: Vec<Event>,
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
        let (jobs, received_jobs) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(lane.run(received_jobs, stop.clone()));
        Self { jobs, stop, events: received, heard: Vec::new(), tasks }
    }

    fn tell(&self, id: &str) {
        let message = Notification { at: now().wall, ..notification(id, Happening::Opened) };
        self.jobs.send(LaneJob::Deliver(Arc::new(message))).unwrap();
    }

    fn test(&self) -> oneshot::Receiver<Result<String, String>> {
        let (reply, answer) = oneshot::channel();
        let notification = Arc::new(Notification { id: "t1".into(), ..sample::bare(Gist::Test) });
        self.jobs.send(LaneJob::Test { notification, reply }).unwrap();
        answer
    }

    /// Listens until it has said this so many times.
    async fn until(&mut self, times: usize, wanted: &Event) {
        let day = tokio::time::sleep(Duration::from_secs(24 * 3600));
        tokio::pin!(day);
        while self.heard.iter().filter(|e| *e == wanted).count() < times {
            tokio::select! {
                event = self.events.recv() => self.heard.push(event.expect("the lane lives")),
                () = &mut day => panic!("not within a day: {wanted:?} in {:?}", self.heard),
            }
        }
    }

    async fn end(mut self) -> (Vec<OutboxRow>, Vec<Event>) {
        self.stop.cancel();
        let left = self.tasks.join_next().await.unwrap().unwrap();
        while let Some(event) = self.events.recv().await {
            self.heard.push(event);
        }
        (left, self.heard)
    }
}

const NO: &str = "the receiver said no";

fn tried(id: &str, result: Delivery) -> Event {
    Event::Outcome(Outcome::Delivery { channel: "ops".into(), id: id.into(), result })
}

fn delivered(id: &str) -> Event {
    tried(id, Delivery::Delivered)
}

fn failed(id: &str) -> Event {
    tried(id, Delivery::Failed(NO.into()))
}

fn stopped(id: &str) -> Event {
    tried(id, Delivery::Stopped(NO.into()))
}

fn part(state: PartState) -> Event {
    Event::Observed(Observation::Part(PartSeen { part: Part::Channel("ops".into()), state }))
}

fn broken() -> Event {
    part(PartState::Broken(NO.into()))
}

fn works() -> Event {
    part(PartState::Works)
}

fn seconds(from: Boot, to: Boot) -> f64 {
    to.since(from).as_secs_f64()
}

const LATER: Answer = Answer::Fail(Retry::Later(None));
const STOP: Answer = Answer::Fail(Retry::Stop);

#[tokio::test(start_paused = true)]
async fn a_message_is_delivered_and_reported() {
    let channel = Fake::new([]);
    let mut rig = Rig::new(&channel, Vec::new());
    rig.tell("m1");
    rig.until(1, &delivered("m1")).await;
    let (left, events) = rig.end().await;
    assert_eq!(left, []);
    assert_eq!(events, [delivered("m1"), works()]);
    let got = channel.got.lock().unwrap();
    assert_eq!((got.len(), &*got[0].1.key, got[0].1.delayed), (1, "0011-m1", None));
}

#[tokio::test(start_paused = true)]
async fn each_try_is_reported_and_waits_double_with_jitter() {
    let channel = Fake::new(vec![LATER; 12]);
    let mut rig = Rig::new(&channel, Vec::new());
    rig.tell("m1");
    rig.until(2, &failed("m1")).await;
    assert_eq!(rig.heard.len(), 2, "two failures are not yet news of the channel");
    rig.until(1, &works()).await;
    let (_, events) = rig.end().await;
    let times = channel.times();
    // Of a receiver that is restarted nobody is told.
    let minute = times.iter().position(|t| seconds(times[0], *t) >= 60.0).unwrap();
    let mut expected = vec![failed("m1"); 12];
    expected.insert(minute + 1, broken());
    expected.extend([delivered("m1"), works()]);
    assert_eq!(events, expected, "broken is said once, with the first failure after a minute");
    assert_eq!(times.len(), 13);
    for (i, pair) in times.windows(2).enumerate() {
        let whole = f64::from(1 << i.min(12)).min(300.0);
        let waited = seconds(pair[0], pair[1]);
        assert!(waited >= whole / 2.0 && waited < whole + 0.1, "wait {i}: {waited}");
    }
    let got = channel.got.lock().unwrap();
    assert!(got.iter().all(|(_, m)| m.key == "0011-m1"), "the key never changes");
}

#[tokio::test(start_paused = true)]
async fn what_is_older_than_ten_minutes_is_marked_as_delayed() {
    let channel = Fake::new([Answer::Fail(Retry::Later(Some(Duration::from_secs(599))))]);
    let mut rig = Rig::new(&channel, Vec::new());
    rig.tell("m1");
    rig.until(1, &delivered("m1")).await;
    // Decided just now, but about something that waited for eleven minutes to be told.
    let mut late = Notification { at: now().wall, ..notification("m2", Happening::Opened) };
    late.items.push(late.items[0].clone());
    late.items[0].since = now().wall;
    late.items[1].since = now().wall.before(Duration::from_secs(660));
    rig.jobs.send(LaneJob::Deliver(Arc::new(late))).unwrap();
    rig.until(1, &delivered("m2")).await;
    let delayed: Vec<_> = {
        let got = channel.got.lock().unwrap();
        got.iter().map(|(_, m)| m.delayed.map(|d| d.as_secs())).collect()
    };
    // The sample's alert is as old as the clock of these tests: 599 s at the second try.
    assert_eq!(delayed, [None, None, Some(660)]);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured_up_to_an_hour() {
    let asked = |s| Answer::Fail(Retry::Later(Some(Duration::from_secs(s))));
    let channel = Fake::new([asked(120), Answer::Ok, asked(1_000_000)]);
    let mut rig = Rig::new(&channel, Vec::new());
    rig.tell("m1");
    rig.tell("m2");
    rig.until(1, &delivered("m2")).await;
    assert_eq!(channel.ids(), ["m1", "m1", "m2", "m2"]);
    let times = channel.times();
    let waits: Vec<_> = times.windows(2).map(|p| seconds(p[0], p[1])).collect();
    assert!((120.0..121.0).contains(&waits[0]), "{waits:?}");
    assert!(waits[1] < 1.0, "{waits:?}");
    assert!((3600.0..3601.0).contains(&waits[2]), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_will_never_be_taken_is_given_up_and_said() {
    let channel = Fake::new([Answer::Fail(Retry::Never)]);
    let mut rig = Rig::new(&channel, Vec::new());
    rig.tell("m1");
    rig.tell("m2");
    rig.until(1, &works()).await;
    let (left, events) = rig.end().await;
    assert_eq!(left, []);
    let refused = tried("m1", Delivery::Refused(NO.into()));
    assert_eq!(events, [refused, broken(), delivered("m2"), works()]);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_lane_says_so_once_and_keeps_its_message_for_the_next() {
    let slow = || Answer::Fail(Retry::Later(Some(Duration::from_secs(30))));
    let channel = Fake::new([slow(), slow(), LATER, STOP]);
    let mut rig = Rig::new(&channel, Vec::new());
    rig.tell("m1");
    rig.until(1, &stopped("m1")).await;
    rig.tell("m2");
    tokio::time::sleep(Duration::from_secs(7200)).await;
    let (left, events) = rig.end().await;
    let mut expected = vec![failed("m1"); 3];
    expected.extend([broken(), stopped("m1"), broken()]);
    assert_eq!(events, expected, "that it is over for good is news");
    assert_eq!(channel.ids(), ["m1"; 4]);
    let ids: Vec<_> = left.iter().map(|r| &*r.id).collect();
    assert_eq!(ids, ["m1", "m2"]);
    // A reload brings another lane, which begins afresh.
    let mut rig = Rig::new(&channel, left);
    let begin = now().boot;
    rig.until(1, &delivered("m2")).await;
    assert_eq!(channel.ids()[4..], ["m1", "m2"]);
    assert!(seconds(begin, channel.times()[4]) < 0.1);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_seldom_tried_is_broken_after_five_minutes() {
    let channel = Fake::new([Answer::Fail(Retry::Later(Some(Duration::from_secs(310)))), LATER]);
    let mut rig = Rig::new(&channel, Vec::new());
    rig.tell("m1");
    rig.until(1, &works()).await;
    let (_, events) = rig.end().await;
    let expected = [failed("m1"), failed("m1"), broken(), delivered("m1"), works()];
    assert_eq!(events, expected);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_restarted_is_no_news() {
    let channel = Fake::new([LATER, LATER, LATER, LATER, LATER]);
    let mut rig = Rig::new(&channel, Vec::new());
    rig.tell("m1");
    rig.until(1, &works()).await;
    let (_, events) = rig.end().await;
    let mut expected = vec![failed("m1"); 5];
    expected.extend([delivered("m1"), works()]);
    assert_eq!(events, expected);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_channel_is_given_a_limit_and_jobs_are_still_taken() {
    let channel = Fake::new([Answer::Hang]);
    let mut rig = Rig::new(&channel, Vec::new());
    rig.tell("m1");
    tokio::time::sleep(Duration::from_secs(1)).await;
    for n in 2..200 {
        rig.tell(&format!("m{n}"));
    }
    rig.until(1, &tried("m1", Delivery::Failed("no answer within 1 min".into()))).await;
    rig.until(1, &delivered("m199")).await;
    let ids: Vec<String> = (1..200).map(|n| format!("m{n}")).collect();
    assert_eq!(channel.ids()[1..], ids, "in order");
}

#[tokio::test(start_paused = true)]
async fn stopping_tries_everything_once_more_within_its_time() {
    let channel = Fake::new([LATER, LATER, LATER, LATER, Answer::Ok, Answer::Hang]);
    let mut rig = Rig::new(&channel, Vec::new());
    for n in 1..=3 {
        rig.tell(&format!("m{n}"));
    }
    rig.until(3, &failed("m1")).await;
    let before = now().boot;
    let (rest, _) = rig.end().await;
    assert_eq!(channel.ids()[3..], ["m1", "m2", "m3"]);
    let left: Vec<_> = rest.iter().map(|r| (&*r.id, r.attempts)).collect();
    assert_eq!(left, [("m1", 4), ("m3", 0)]);
    assert!(seconds(before, now().boot) <= 5.1, "the hanging one was cut off");
    assert!(rest.iter().all(|r| r.next_at == now().wall), "a lane that takes over begins at once");
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_asked_to_wait_is_left_alone_when_keepwell_stops() {
    let channel = Fake::new([Answer::Fail(Retry::Later(Some(Duration::from_secs(60))))]);
    let mut rig = Rig::new(&channel, Vec::new());
    rig.tell("m1");
    rig.until(1, &failed("m1")).await;
    let (left, _) = rig.end().await;
    assert_eq!((left.len(), channel.ids().len()), (1, 1));
    // The wait is kept by the lane that takes over.
    let mut rig = Rig::new(&channel, left);
    rig.until(1, &delivered("m1")).await;
    let times = channel.times();
    assert!((59.0..61.0).contains(&seconds(times[0], times[1])));
}

#[tokio::test(start_paused = true)]
async fn what_comes_when_the_lane_has_ended_stays_with_the_sender() {
    let channel = Fake::new([Answer::Hang]);
    let rig = Rig::new(&channel, Vec::new());
    rig.tell("m1");
    tokio::time::sleep(Duration::from_secs(1)).await;
    rig.tell("m2");
    let Rig { jobs, stop, mut tasks, .. } = rig;
    stop.cancel();
    // While it still tries to deliver the last.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let late = LaneJob::Deliver(Arc::new(notification("m3", Happening::Opened)));
    assert!(jobs.send(late).is_err());
    let left = tasks.join_next().await.unwrap().unwrap();
    let ids: Vec<_> = left.iter().map(|r| &*r.id).collect();
    assert_eq!(ids, ["m1", "m2"]);
}

#[tokio::test(start_paused = true)]
async fn rows_of_an_earlier_run_go_out_first_with_their_waits() {
    let row = |id: &str, wait: u64, attempts| {
        let mut row = OutboxRow::new(Arc::new(notification(id, Happening::Opened)));
        row.attempts = attempts;
        row.next_at = now().wall.after(Duration::from_secs(wait));
        row
    };
    let begin = now().boot;
    let channel = Fake::new([]);
    let mut rig = Rig::new(&channel, vec![row("m1", 20, 5), row("m2", 90_000, 9)]);
    rig.tell("m3");
    rig.until(1, &delivered("m3")).await;
    assert_eq!(channel.ids(), ["m1", "m2", "m3"]);
    let waits: Vec<_> = channel.times().iter().map(|t| seconds(begin, *t).round()).collect();
    assert_eq!(waits, [20.0, 300.0, 300.0], "a clock that jumped makes none wait for ever");
}

#[tokio::test(start_paused = true)]
async fn a_test_goes_out_at_once_and_a_success_ends_the_wait() {
    let channel = Fake::new([LATER, LATER, LATER, LATER, LATER, LATER, LATER]);
    let mut rig = Rig::new(&channel, Vec::new());
    rig.tell("m1");
    rig.until(6, &failed("m1")).await;
    let before = now().boot;
    assert_eq!(rig.test().await.unwrap(), Err(NO.into()), "a failure ends no wait");
    assert_eq!(channel.ids()[6], "t1");
    assert_eq!(rig.test().await.unwrap(), Ok("ok".into()));
    rig.until(1, &delivered("m1")).await;
    assert!(seconds(before, now().boot) < 0.2, "of a wait of at least 16 s");
    let (left, events) = rig.end().await;
    let expected = [failed("t1"), delivered("t1"), works(), delivered("m1")];
    assert_eq!((left, &events[6..]), (vec![], &expected[..]));
}

#[tokio::test(start_paused = true)]
async fn a_test_wakes_a_lane_that_rests() {
    let channel = Fake::new([STOP, STOP]);
    let mut rig = Rig::new(&channel, Vec::new());
    rig.tell("m1");
    rig.until(1, &broken()).await;
    assert_eq!(rig.test().await.unwrap(), Err(NO.into()));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(channel.ids(), ["m1", "t1"], "still at rest");
    assert_eq!(rig.test().await.unwrap(), Ok("ok".into()));
    rig.until(1, &delivered("m1")).await;
    let (_, events) = rig.end().await;
    let expected =
        [stopped("m1"), broken(), stopped("t1"), delivered("t1"), works(), delivered("m1")];
    assert_eq!(events, expected);
}

#[tokio::test(start_paused = true)]
async fn a_test_says_how_a_channel_does_that_nothing_was_sent_over() {
    let channel = Fake::new([LATER, STOP, Answer::Fail(Retry::Never)]);
    let rig = Rig::new(&channel, Vec::new());
    for _ in 0..3 {
        assert_eq!(rig.test().await.unwrap(), Err(NO.into()));
    }
    assert_eq!(rig.test().await.unwrap(), Ok("ok".into()));
    let (_, events) = rig.end().await;
    let refused = tried("t1", Delivery::Refused(NO.into()));
    let expected = [failed("t1"), failed("t1"), refused, delivered("t1"), works()];
    assert_eq!(events, expected, "a test puts no lane to rest");
}

#[tokio::test(start_paused = true)]
async fn a_test_does_not_wait_for_a_message_that_hangs_nor_for_those_who_stop() {
    let channel = Fake::new([Answer::Hang, Answer::Ok, Answer::Hang]);
    let rig = Rig::new(&channel, Vec::new());
    rig.tell("m1");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.test().await.unwrap(), Ok("ok".into()));
    let hanging = rig.test();
    let (left, _) = rig.end().await;
    assert_eq!(left.len(), 1);
    let text = "keepwell stops or loads its configuration; try again";
    assert_eq!(hanging.await.unwrap(), Err(text.into()));
}
