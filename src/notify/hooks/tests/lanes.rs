//! Order, retry, a receiver that is away, hand-over, and what is said of a hook, on paused time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::engine::event::{Delivery, Event, Outcome};
use crate::engine::observation::{Observation, Part, PartState};
use crate::notify::Retry;
use crate::notify::hooks::tries::{MOST_CALLS, Queue, SIDE_BY_SIDE};
use crate::store::CallRow;

const ROOM: usize = 64 << 20;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Answer {
    Ok,
    Fail(Retry),
    /// It answers so late that the hook's own limit ends it.
    Hang,
}
const LATER: Answer = Answer::Fail(Retry::Later(None));

type Script = Box<dyn FnMut(Boot, &HookCall) -> Answer + Send>;

/// A hook that does what a script says, and remembers what it was asked.
struct Fake {
    name: Arc<str>,
    script: Mutex<Script>,
    asked: Mutex<Vec<(Boot, u64, Answer)>>,
    /// How many were under way at most.
    beside: Mutex<(usize, usize)>,
}

impl Fake {
    fn new(script: impl FnMut(Boot, &HookCall) -> Answer + Send + 'static) -> Arc<Self> {
        Arc::new(Self {
            name: "registry".into(),
            script: Mutex::new(Box::new(script)),
            asked: Mutex::default(),
            beside: Mutex::default(),
        })
    }

    fn asked(&self) -> Vec<(Boot, u64, Answer)> {
        self.asked.lock().unwrap().clone()
    }

    fn taken(&self) -> Vec<u64> {
        self.asked().iter().filter(|a| a.2 == Answer::Ok).map(|a| a.1).collect()
    }
}

impl Hook for Fake {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn address(&self) -> &str {
        "http://receiver"
    }

    fn tell<'a>(&'a self, call: &'a Outgoing) -> BoxFuture<'a, Result<String, SendError>> {
        assert_eq!(call.key, format!("0011-{}", call.call.id));
        let answer = (self.script.lock().unwrap())(call.now.boot, &call.call);
        self.asked.lock().unwrap().push((call.now.boot, call.call.number, answer));
        let mut beside = self.beside.lock().unwrap();
        beside.0 += 1;
        beside.1 = beside.1.max(beside.0);
        Box::pin(async move {
            let takes = if answer == Answer::Hang { 5000 } else { 20 };
            tokio::time::sleep(Duration::from_millis(takes)).await;
            self.beside.lock().unwrap().0 -= 1;
            let retry = match answer {
                Answer::Ok => return Ok("ok".into()),
                Answer::Fail(retry) => retry,
                Answer::Hang => Retry::Later(None),
            };
            Err(SendError { retry, text: "the receiver said no".into() })
        })
    }
}

/// A lane under way.
struct Rig {
    calls: mpsc::UnboundedSender<Arc<HookCall>>,
    stop: CancellationToken,
    events: mpsc::UnboundedReceiver<Event>,
    tasks: tokio::task::JoinSet<Vec<CallRow>>,
}

impl Rig {
    fn new(hook: &Arc<Fake>, rows: Vec<CallRow>, room: usize) -> Self {
        let (events, received) = mpsc::unbounded_channel();
        let context = Context {
            host_key: "0011".into(),
            store: None,
            events,
            now,
            flush: Duration::from_secs(8),
        };
        let lane = HookLane::new(hook.clone(), rows, context, room);
        let (calls, jobs) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(lane.run(jobs, stop.clone()));
        Self { calls, stop, events: received, tasks }
    }

    /// Tells of a container.
    fn tell(&self, number: u64, container: &str) {
        self.calls.send(of(number, container)).unwrap();
    }

    async fn end(mut self) -> (Vec<u64>, Vec<Event>) {
        self.stop.cancel();
        let left = self.tasks.join_next().await.unwrap().unwrap();
        let mut events = Vec::new();
        while let Some(event) = self.events.recv().await {
            events.push(event);
        }
        (left.iter().map(|row| row.call.number).collect(), events)
    }
}

fn of(number: u64, name: &str) -> Arc<HookCall> {
    call_of(number, Transition::Started, HookContainer { id: name.into(), ..container() })
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// How calls went, in short.
fn results(events: &[Event]) -> Vec<(Delivery, usize)> {
    let of = |event: &Event| match event {
        Event::Outcome(Outcome::Call { hook, result, waiting }) => {
            assert_eq!(&**hook, "registry");
            Some((result.clone(), *waiting))
        }
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

/// What was said of the hook.
fn said(events: &[Event]) -> Vec<bool> {
    let of = |event: &Event| match event {
        Event::Observed(Observation::Part(seen)) => {
            assert_eq!(seen.part, Part::Hook("registry".into()));
            Some(seen.state == PartState::Works)
        }
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

#[tokio::test(start_paused = true)]
async fn of_one_container_in_order_and_containers_side_by_side() {
    let hook = Fake::new(|_, _| Answer::Ok);
    let rig = Rig::new(&hook, Vec::new(), ROOM);
    for number in 0..200 {
        rig.tell(number, &format!("c{}", number % 20));
    }
    pass(60).await;
    let (left, events) = rig.end().await;
    assert!(left.is_empty(), "{left:?}");
    let taken = hook.taken();
    assert_eq!(taken.len(), 200);
    for container in 0..20 {
        let own: Vec<u64> = taken.iter().copied().filter(|n| n % 20 == container).collect();
        assert!(own.is_sorted(), "{own:?}");
    }
    assert_eq!(hook.beside.lock().unwrap().1, SIDE_BY_SIDE);
    assert_eq!(results(&events).last(), Some(&(Delivery::Delivered, 0)));
    assert_eq!(said(&events), [true]);
}

#[tokio::test(start_paused = true)]
async fn a_container_whose_calls_fail_holds_no_other_up() {
    let began = now().boot;
    // One hangs each time; later one is refused by everybody's rule, but only it.
    let hook = Fake::new(|_, call| match &*call.container.id {
        "slow" => Answer::Hang,
        "odd" => Answer::Fail(Retry::Stop),
        _ => Answer::Ok,
    });
    let rig = Rig::new(&hook, Vec::new(), ROOM);
    rig.tell(0, "slow");
    rig.tell(1, "slow");
    for number in 2..1000 {
        rig.tell(number, &format!("c{}", number % 5));
    }
    pass(5).await;
    // All of the others are through before the slow one has failed once.
    assert_eq!(hook.taken().len(), 998);
    assert!(hook.asked().iter().filter(|a| a.1 < 2).count() <= 1);
    pass(600).await;
    let slow: Vec<_> = hook.asked().into_iter().filter(|a| a.1 < 2).collect();
    assert!(slow.iter().all(|a| a.1 == 0), "its second call waits for its first");
    assert!((5..=12).contains(&slow.len()), "{} tries in ten minutes", slow.len());
    // A new container is not kept waiting by it.
    rig.tell(1000, "fresh");
    pass(1).await;
    assert_eq!(hook.taken().last(), Some(&1000));
    let (left, events) = rig.end().await;
    assert_eq!(left, [0, 1]);
    assert_eq!(said(&events), [true, false], "that one waits for long is said");
    assert!(now().boot.since(began) < Duration::from_secs(700));
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_away_for_an_hour_is_asked_seldom_and_then_told_all() {
    let began = now().boot;
    let hour = Duration::from_secs(3600);
    let hook = Fake::new(move |at, _| if at.since(began) < hour { LATER } else { Answer::Ok });
    let rig = Rig::new(&hook, Vec::new(), ROOM);
    let mut number = 0;
    for _ in 0..60 {
        for container in 0..50 {
            rig.tell(number, &format!("c{container}"));
            number += 1;
        }
        pass(60).await;
    }
    let tries = hook.asked().len();
    assert!(tries < 45, "{tries} requests within an hour");
    let at_once = hook.asked().iter().filter(|a| a.0.since(began) < Duration::from_secs(1)).count();
    assert!(at_once <= SIDE_BY_SIDE + 1, "{at_once} at the beginning");
    pass(400).await;
    let taken = hook.taken();
    assert_eq!(taken.len(), 3000);
    for container in 0..50 {
        let own: Vec<u64> = taken.iter().copied().filter(|n| n % 50 == container).collect();
        assert!(own.is_sorted() && own.len() == 60, "{own:?}");
    }
    let (left, events) = rig.end().await;
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(said(&events), [false, true]);
    let broken = events.iter().position(|e| matches!(e, Event::Observed(_))).unwrap();
    assert!(
        results(&events[..broken]).iter().all(|(result, _)| matches!(result, Delivery::Failed(_)))
    );
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_is_told_of_after_a_minute_whenever_the_next_try_is() {
    let hook = Fake::new(|_, _| LATER);
    let mut rig = Rig::new(&hook, Vec::new(), ROOM);
    rig.tell(1, "c1");
    let mut said_by_now = Vec::new();
    for seconds in [59, 2, 120] {
        pass(seconds).await;
        let events: Vec<_> = std::iter::from_fn(|| rig.events.try_recv().ok()).collect();
        said_by_now.push(said(&events));
    }
    assert_eq!(said_by_now, [vec![], vec![false], vec![]]);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_the_receiver_is_no_news() {
    let began = now().boot;
    let down = Duration::from_secs(20);
    let hook = Fake::new(move |at, _| if at.since(began) < down { LATER } else { Answer::Ok });
    let rig = Rig::new(&hook, Vec::new(), ROOM);
    for number in 0..20 {
        rig.tell(number, &format!("c{number}"));
    }
    pass(120).await;
    let (left, events) = rig.end().await;
    assert_eq!((left.len(), said(&events)), (0, vec![true]));
}

#[tokio::test(start_paused = true)]
async fn what_a_receiver_asks_for_is_done() {
    let began = now().boot;
    let asked = Retry::Later(Some(Duration::from_secs(90)));
    let mut first = true;
    let hook = Fake::new(
        move |_, _| {
            if std::mem::take(&mut first) { Answer::Fail(asked) } else { Answer::Ok }
        },
    );
    let rig = Rig::new(&hook, Vec::new(), ROOM);
    rig.tell(0, "a");
    pass(1).await;
    rig.tell(1, "b");
    pass(80).await;
    assert_eq!(hook.asked().len(), 1, "no other container breaks the silence");
    pass(20).await;
    let mut taken = hook.taken();
    taken.sort();
    assert_eq!(taken, [0, 1]);
    assert!(hook.asked()[1].0.since(began) >= Duration::from_secs(90));
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_good_is_given_up_and_shown_for_a_while() {
    let hook = Fake::new(|_, call| match call.number {
        1 => Answer::Fail(Retry::Never),
        _ => Answer::Ok,
    });
    let mut rig = Rig::new(&hook, Vec::new(), ROOM);
    for number in 0..4 {
        rig.tell(number, "a");
    }
    pass(200).await;
    assert_eq!(hook.taken(), [0, 2, 3]);
    let mut events = Vec::new();
    while let Ok(event) = rig.events.try_recv() {
        events.push(event);
    }
    assert_eq!(said(&events), [true, false], "also while others are taken");
    let no = Delivery::Refused("the receiver said no".into());
    assert_eq!(results(&events).iter().filter(|(result, _)| *result == no).count(), 1);
    pass(200).await;
    let (left, events) = rig.end().await;
    assert_eq!((left.len(), said(&events)), (0, vec![true]));
}

#[tokio::test(start_paused = true)]
async fn who_refuses_everybody_is_asked_seldom_and_nothing_is_given_up() {
    let began = now().boot;
    let wrong = Duration::from_secs(3600);
    let hook =
        Fake::new(
            move |at, _| {
                if at.since(began) < wrong { Answer::Fail(Retry::Stop) } else { Answer::Ok }
            },
        );
    let rig = Rig::new(&hook, Vec::new(), ROOM);
    for number in 0..30 {
        rig.tell(number, &format!("c{number}"));
    }
    pass(1).await;
    assert!(hook.asked().len() <= SIDE_BY_SIDE + 1);
    pass(3600).await;
    assert!(hook.asked().len() < 35, "{}", hook.asked().len());
    pass(300).await;
    let (left, events) = rig.end().await;
    assert_eq!((left.len(), hook.taken().len(), said(&events)), (0, 30, vec![false, true]));
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_handed_over_and_taken_up_in_order() {
    let hook = Fake::new(|_, _| LATER);
    let rig = Rig::new(&hook, Vec::new(), ROOM);
    for number in 0..100 {
        rig.tell(number, &format!("c{}", number % 10));
    }
    pass(30).await;
    let calls = rig.calls.clone();
    rig.stop.cancel();
    let mut tasks = rig.tasks;
    let rows = tasks.join_next().await.unwrap().unwrap();
    assert_eq!(rows.len(), 100);
    assert!(rows.iter().any(|row| row.attempts > 0));
    assert!(rows.iter().all(|row| row.next_at <= now().wall), "a reload tries at once");
    assert!(calls.send(of(100, "c0")).is_err(), "the driver keeps what comes meanwhile");
    let hook = Fake::new(|_, _| Answer::Ok);
    // Also in another order, and what is handed over twice.
    let rows = rows.iter().rev().chain(&rows[..3]).cloned().collect();
    let rig = Rig::new(&hook, rows, ROOM);
    rig.tell(100, "c0");
    rig.tell(99, "c9");
    pass(5).await;
    let (left, _) = rig.end().await;
    assert!(left.is_empty(), "{left:?}");
    let taken = hook.taken();
    assert_eq!(taken.len(), 101);
    for container in 0..10 {
        let own: Vec<u64> = taken.iter().copied().filter(|n| n % 10 == container).collect();
        assert!(own.is_sorted(), "{own:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_tells_what_it_can_and_waits_for_no_more_than_its_limit() {
    for (answer, most, left) in [(Answer::Ok, 2.0, 0), (Answer::Hang, 8.1, 40), (LATER, 2.0, 40)] {
        let hook = Fake::new(move |_, _| answer);
        let rig = Rig::new(&hook, Vec::new(), ROOM);
        for number in 0..40 {
            rig.tell(number, &format!("c{}", number % 20));
        }
        let began = now().boot;
        let (rest, _) = rig.end().await;
        assert_eq!(rest.len(), left, "{answer:?}");
        let took = now().boot.since(began).as_secs_f64();
        assert!(took <= most, "{answer:?}: {took}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_oldest_give_way_when_there_are_too_many_and_that_is_said() {
    let hook = Fake::new(|_, _| LATER);
    let rig = Rig::new(&hook, Vec::new(), ROOM);
    let all = MOST_CALLS as u64 + 500;
    for number in 0..all {
        rig.tell(number, &format!("c{}", number % 300));
    }
    pass(30).await;
    let (left, events) = rig.end().await;
    assert_eq!(left.len(), MOST_CALLS);
    assert!(left.is_sorted());
    // But for those that were under way.
    assert!(left.iter().filter(|n| **n < 500).count() <= SIDE_BY_SIDE, "{:?}", &left[..20]);
    let given_up = |e: &(Delivery, usize)| matches!(&e.0, Delivery::Refused(why) if why.contains("store.max_size"));
    assert_eq!(results(&events).iter().filter(|e| given_up(e)).count(), 500);
    assert_eq!(said(&events), [false]);
    // By what they take as well.
    let rig = Rig::new(&hook, Vec::new(), 20_000);
    for number in 0..100 {
        rig.tell(number, "a");
    }
    pass(1).await;
    let (left, _) = rig.end().await;
    assert!((10..50).contains(&left.len()), "{}", left.len());
    assert_eq!(left.last(), Some(&99));
}

#[test]
fn whatever_happens_the_order_of_a_container_holds_and_nothing_is_forgotten() {
    use proptest::prelude::*;
    #[derive(Debug, Clone)]
    enum Op {
        Add(u8),
        Next,
        Taken(u8),
        Refused(u8),
        Failed(u8, Option<u8>, bool),
        Pass(u16),
        Hurry,
    }
    let op = prop_oneof![
        4 => (0..4u8).prop_map(Op::Add),
        6 => Just(Op::Next),
        3 => any::<u8>().prop_map(Op::Taken),
        1 => any::<u8>().prop_map(Op::Refused),
        3 => (any::<u8>(), prop::option::of(0..90u8), any::<bool>()).prop_map(|(n, s, e)| Op::Failed(n, s, e)),
        3 => (0..400u16).prop_map(Op::Pass),
        1 => Just(Op::Hurry),
    ];
    proptest!(ProptestConfig::with_cases(256), |(ops in prop::collection::vec(op, 1..120))| {
        let mut at = Now { boot: Boot(1), wall: AT };
        let mut queue = Queue::new("registry".into(), "0011".into(), Vec::new(), ROOM, at);
        let (mut number, mut flying) = (0, Vec::<Arc<HookCall>>::new());
        let mut waiting: BTreeMap<Arc<str>, VecDeque<u64>> = BTreeMap::new();
        let gone = |queue: &mut Queue, flying: &mut Vec<Arc<HookCall>>, waiting: &mut BTreeMap<Arc<str>, VecDeque<u64>>, n: u8, taken: bool, at: Now| {
            if flying.is_empty() { return }
            let call = flying.remove(usize::from(n) % flying.len());
            if taken {
                queue.taken(call.number, at);
            } else {
                assert_eq!(queue.refused(call.number, at).as_ref(), Some(&call));
            }
            assert_eq!(waiting.get_mut(&call.container.id).unwrap().pop_front(), Some(call.number));
        };
        for op in ops {
            match op {
                Op::Add(c) => {
                    number += 1;
                    let call = of(number, &format!("c{c}"));
                    waiting.entry(call.container.id.clone()).or_default().push_back(number);
                    queue.add(CallRow::new(call), at);
                }
                Op::Next => if let Some(call) = queue.next(at.boot) {
                    prop_assert_eq!(waiting[&call.container.id].front(), Some(&call.number));
                    prop_assert!(flying.iter().all(|f| f.container.id != call.container.id));
                    flying.push(call);
                    prop_assert!(flying.len() <= SIDE_BY_SIDE);
                },
                Op::Taken(n) => gone(&mut queue, &mut flying, &mut waiting, n, true, at),
                Op::Refused(n) => gone(&mut queue, &mut flying, &mut waiting, n, false, at),
                Op::Failed(n, asked, everybody) => if !flying.is_empty() {
                    let call = flying.remove(usize::from(n) % flying.len());
                    let asked = asked.map(|s| Duration::from_secs(s.into()));
                    prop_assert!(queue.failed(call.number, asked, everybody, at).is_some());
                },
                Op::Pass(seconds) => at = at.after(Duration::from_secs(seconds.into())),
                Op::Hurry => queue.hurry(),
            }
            prop_assert_eq!(queue.len(), waiting.values().map(VecDeque::len).sum::<usize>());
        }
        // Given time and a receiver that takes all, it ends.
        for _ in 0..1000 {
            while let Some(call) = queue.next(at.boot) { flying.push(call) }
            while !flying.is_empty() { gone(&mut queue, &mut flying, &mut waiting, 0, true, at) }
            match queue.rest(at.boot) {
                Some(rest) => at = at.after(rest),
                None => break,
            }
        }
        prop_assert_eq!(queue.len(), 0);
        prop_assert!(!queue.in_trouble());
    });
}

#[test]
fn where_no_lane_runs_the_oldest_of_each_hook_give_way() {
    let row = |number: u64| {
        let mut call = (*call_of(number, Transition::Started, container())).clone();
        call.hook = if number.is_multiple_of(2) { "even".into() } else { "odd".into() };
        CallRow::new(Arc::new(call))
    };
    let most = MOST_CALLS as u64;
    let mut rows: Vec<CallRow> = (0..2 * most).map(row).collect();
    assert_eq!(too_many(&rows), [0; 0], "each has as many as may wait");
    rows.extend([row(2 * most), row(2 * most + 2)]);
    assert_eq!(too_many(&rows), [2, 0]);
}
