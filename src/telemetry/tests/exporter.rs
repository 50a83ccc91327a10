//! The exporter against receivers that are down, hang, refuse or are slow, in simulated time: what
//! waits is bounded, nothing waits for the receiver, and what waited is caught up with.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::LogBatch;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::config::{Environment, Input, Options, load_from};
use crate::engine::event::{Event, Export, Outcome};
use crate::engine::observation::{Observation, Part, PartState};
use crate::engine::{Boot, Engine, Mode, Now, Rules, Snapshot, Wall};
use crate::outbound::{BoxFuture, Retry, SendError};
use crate::telemetry::exporter::{ExportContext, Exporter};
use crate::telemetry::origin::{Host, Origin};
use crate::telemetry::wire::{Batch, Taken, Wire};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// Bytes of each batch.
const SIZE: usize = 1000;

thread_local! {
    static START: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The clocks of the simulation.
fn now() -> Now {
    let start = START.get().unwrap_or_else(|| {
        START.set(Some(Instant::now()));
        Instant::now()
    });
    let passed = u64::try_from(start.elapsed().as_micros()).unwrap();
    Now { boot: Boot(passed), wall: Wall(1_769_843_842_000_000 + passed as i64) }
}

/// What the receiver does with a request.
#[derive(Debug, Clone)]
enum Does {
    /// Takes it after so long.
    Takes(Duration),
    /// Takes it, but not all of it.
    Part(usize, &'static str),
    /// Takes it, and wants a part of it again.
    Again,
    /// Fails after so long.
    Fails(Duration, Retry),
    /// It does not get that far: measurements cannot be written.
    Unwritten,
}

/// A receiver that does as it is told, and remembers what it took.
struct Fake {
    does: Mutex<Does>,
    /// What it says when it fails.
    says: Mutex<&'static str>,
    next: AtomicUsize,
    taken: Mutex<Vec<usize>>,
    tries: Mutex<Vec<Duration>>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    started: Instant,
}

impl Fake {
    fn new(does: Does) -> Arc<Self> {
        Arc::new(Self {
            does: Mutex::new(does),
            says: Mutex::new("the collector said no"),
            next: AtomicUsize::new(0),
            taken: Mutex::default(),
            tries: Mutex::default(),
            at_once: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
            started: Instant::now(),
        })
    }

    fn now_does(&self, does: Does) {
        *self.does.lock().unwrap() = does;
    }

    /// The numbers of the batches in the order in which they were taken.
    fn taken(&self) -> Vec<usize> {
        self.taken.lock().unwrap().clone()
    }

    fn tries(&self) -> Vec<Duration> {
        self.tries.lock().unwrap().clone()
    }
}

impl Wire for Fake {
    fn metrics(&self, _: &ResourceMetrics, _: &Resource) -> Result<Batch, String> {
        if matches!(*self.does.lock().unwrap(), Does::Unwritten) {
            return Err("it cannot be written".into());
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut body = vec![0; SIZE];
        body[..8].copy_from_slice(&number.to_le_bytes());
        Ok(Batch { body: body.into(), items: 10 })
    }

    fn logs(&self, _: &LogBatch<'_>, _: &Resource) -> Result<Batch, String> {
        Err("no logs here".into())
    }

    fn post<'a>(&'a self, batch: &'a Batch, _: Now) -> BoxFuture<'a, Result<Taken, SendError>> {
        let does = self.does.lock().unwrap().clone();
        self.tries.lock().unwrap().push(self.started.elapsed());
        let at_once = self.at_once.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_at_once.fetch_max(at_once, Ordering::Relaxed);
        Box::pin(async move {
            if let Does::Takes(wait) | Does::Fails(wait, _) = &does {
                sleep(*wait).await;
            }
            self.at_once.fetch_sub(1, Ordering::Relaxed);
            let number = usize::from_le_bytes(batch.body[..8].try_into().unwrap());
            let taken = match does {
                Does::Fails(_, retry) => {
                    let text = (*self.says.lock().unwrap()).into();
                    return Err(SendError { retry, text });
                }
                Does::Takes(_) | Does::Unwritten => Taken::default(),
                Does::Part(rejected, why) => {
                    Taken { rejected, note: Some(why.into()), ..Taken::default() }
                }
                Does::Again => Taken { rest: Some(batch.clone()), ..Taken::default() },
            };
            self.taken.lock().unwrap().push(number);
            Ok(taken)
        })
    }
}

/// An exporter in simulated time.
struct Bench {
    fake: Arc<Fake>,
    stop: CancellationToken,
    events: mpsc::UnboundedReceiver<Event>,
    task: tokio::task::JoinHandle<()>,
    _snapshots: watch::Sender<Arc<Snapshot>>,
}

/// What the exporter has told since it was last asked.
#[derive(Debug, Default)]
struct Told {
    sent: u64,
    failed: u64,
    dropped: u64,
    rejected: u64,
    queued: usize,
    most_queued: usize,
    parts: VecDeque<PartState>,
}

impl Bench {
    /// One batch every 10 s, room for `room` of them, a warning after 5 min.
    fn start(does: Does, room: usize) -> Self {
        let fake = Fake::new(does);
        let environment: Environment = std::iter::empty::<(&str, &str)>().collect();
        let options = Options::new(None, environment, true, "web1".into());
        let settings = load_from(vec![Input::memory("k.toml", "")], &options);
        let origin = Origin::new(
            &settings.config.telemetry,
            &Rules::default(),
            &Host { key: "0011".into() },
            None,
        );
        let exporter = Arc::new(Exporter {
            name: "otlp".into(),
            wire: fake.clone(),
            origin: Arc::new(origin),
            temporality: Temporality::Cumulative,
            exponential: false,
            interval: 10 * SECOND,
            buffer: room * SIZE,
            warn_after: 5 * MINUTE,
        });
        let (mut engine, _) = Engine::new(
            Rules::default(),
            Default::default(),
            "boot".into(),
            Mode::default(),
            now(),
        );
        let mut snapshot = engine.snapshot(now());
        snapshot.ready = true;
        let (sender, snapshots) = watch::channel(Arc::new(snapshot));
        let (told, events) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let context =
            ExportContext { snapshots, events: told, now, flush: 8 * SECOND, stop: stop.clone() };
        let task = tokio::task::spawn_local(exporter.run(context));
        Self { fake, stop, events, task, _snapshots: sender }
    }

    fn told(&mut self) -> Told {
        let mut told = Told::default();
        while let Ok(event) = self.events.try_recv() {
            match event {
                Event::Outcome(Outcome::Export { exporter, done }) => {
                    assert_eq!(&*exporter, "otlp");
                    let Export { sent, failed, dropped, rejected, queued } = done;
                    told.sent += sent;
                    told.failed += failed;
                    told.dropped += dropped;
                    told.rejected += rejected;
                    told.queued = queued;
                    told.most_queued = told.most_queued.max(queued);
                }
                Event::Observed(Observation::Part(seen)) => {
                    assert_eq!(seen.part, Part::Exporter("otlp".into()));
                    told.parts.push_back(seen.state);
                }
                other => panic!("{other:?}"),
            }
        }
        told
    }

    /// Stops it; how long that took.
    async fn stop(&mut self) -> Duration {
        let began = Instant::now();
        self.stop.cancel();
        (&mut self.task).await.unwrap();
        began.elapsed()
    }
}

fn simulate(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    START.set(None);
    LocalSet::new().block_on(&runtime, test());
}

fn is_broken(state: Option<&PartState>) -> bool {
    matches!(state, Some(PartState::Broken(why)) if why.contains("the collector said no"))
}

#[test]
fn what_works_is_sent_at_once_and_then_at_every_interval() {
    simulate(async || {
        let mut bench = Bench::start(Does::Takes(SECOND / 10), 10);
        sleep(95 * SECOND).await;
        assert_eq!(bench.fake.taken(), (0..10).collect::<Vec<_>>());
        let told = bench.told();
        assert_eq!((told.sent, told.failed, told.dropped), (10, 0, 0));
        assert_eq!(told.parts, [PartState::Works]);
        assert!(bench.stop().await <= SECOND);
        assert_eq!(bench.fake.taken().len(), 11, "the last picture goes out at the end");
    });
}

#[test]
fn a_receiver_that_is_down_for_ten_minutes_is_caught_up_with() {
    simulate(async || {
        let down = Does::Fails(Duration::ZERO, Retry::Later(None));
        let mut bench = Bench::start(down, 100);
        sleep(4 * MINUTE).await;
        let told = bench.told();
        assert!(told.parts.is_empty(), "not yet: {told:?}");
        assert_eq!((told.sent, told.dropped), (0, 0));
        sleep(6 * MINUTE).await;
        let told = bench.told();
        assert!(is_broken(told.parts.front()) && told.parts.len() == 1, "{told:?}");
        assert!(told.queued >= 59, "{told:?}");
        let tries = bench.fake.tries();
        assert!((12..20).contains(&tries.len()), "it is asked once a minute at last: {tries:?}");

        bench.fake.now_does(Does::Takes(SECOND / 10));
        sleep(2 * MINUTE).await;
        let told = bench.told();
        assert_eq!(told.parts, [PartState::Works]);
        assert_eq!((told.queued, told.dropped), (0, 0));
        let taken = bench.fake.taken();
        assert_eq!(taken, (0..taken.len()).collect::<Vec<_>>(), "in order, none left out");
        assert!(taken.len() >= 72);
    });
}

#[test]
fn what_waits_is_bounded_and_what_gives_way_is_counted() {
    simulate(async || {
        let mut bench = Bench::start(Does::Fails(Duration::ZERO, Retry::Later(None)), 20);
        sleep(10 * MINUTE).await;
        let told = bench.told();
        assert!(told.most_queued <= 20, "{told:?}");
        let made = bench.fake.next.load(Ordering::Relaxed) as u64;
        assert_eq!(told.dropped + told.queued as u64, made);
        bench.fake.now_does(Does::Takes(Duration::ZERO));
        sleep(2 * MINUTE).await;
        let taken = bench.fake.taken();
        assert!(taken.windows(2).all(|w| w[0] < w[1]), "{taken:?}");
        let dropped = told.dropped + bench.told().dropped;
        let made = bench.fake.next.load(Ordering::Relaxed);
        assert_eq!(taken.len() as u64 + dropped, made as u64);
    });
}

#[test]
fn a_receiver_that_hangs_delays_no_collection_and_no_exit() {
    simulate(async || {
        let hangs = Does::Fails(10 * SECOND, Retry::Later(None));
        let mut bench = Bench::start(hangs, 100);
        sleep(10 * MINUTE).await;
        let made = bench.fake.next.load(Ordering::Relaxed);
        assert!((60..=61).contains(&made), "{made}");
        assert_eq!(bench.fake.most_at_once.load(Ordering::Relaxed), 1);
        assert!(is_broken(bench.told().parts.front()));
        bench.fake.now_does(Does::Fails(3600 * SECOND, Retry::Later(None)));
        sleep(2 * MINUTE).await;
        assert!(bench.stop().await <= 8 * SECOND);
        let told = bench.told();
        assert!(told.dropped > 60, "what is not sent is counted: {told:?}");
        assert_eq!(told.queued, 0);
    });
}

#[test]
fn a_slow_receiver_gets_what_it_can_take() {
    simulate(async || {
        let mut bench = Bench::start(Does::Takes(9 * SECOND), 10);
        sleep(10 * MINUTE).await;
        let told = bench.told();
        assert!(told.most_queued <= 1 && told.dropped == 0 && told.sent >= 59, "{told:?}");

        // Too slow for all: some give way, and it is no fault of the receiver that is told.
        bench.fake.now_does(Does::Takes(25 * SECOND));
        sleep(10 * MINUTE).await;
        let told = bench.told();
        assert!(told.most_queued <= 10 && told.dropped > 20, "{told:?}");
        assert!(told.sent >= 23 && told.parts.is_empty(), "{told:?}");
    });
}

#[test]
fn a_receiver_that_refuses_is_a_warning_and_nothing_piles_up() {
    simulate(async || {
        let mut bench = Bench::start(Does::Fails(Duration::ZERO, Retry::Never), 10);
        sleep(10 * MINUTE).await;
        let told = bench.told();
        assert!(told.most_queued <= 1, "what is refused is given up: {told:?}");
        assert!(told.dropped == 60 && told.sent == 0, "{told:?}");
        assert!(is_broken(told.parts.front()));
    });
}

#[test]
fn it_waits_as_long_as_the_receiver_asks_for() {
    simulate(async || {
        let asks = Does::Fails(Duration::ZERO, Retry::Later(Some(2 * MINUTE)));
        let mut bench = Bench::start(asks, 100);
        sleep(6 * MINUTE + SECOND).await;
        let tries: Vec<u64> = bench.fake.tries().iter().map(Duration::as_secs).collect();
        assert_eq!(tries, [0, 120, 240, 360]);
        assert!(bench.stop().await <= SECOND, "its wish does not hold up the end");
    });
}

#[test]
fn the_warning_comes_in_time_and_has_the_present_reason() {
    simulate(async || {
        let asks = Does::Fails(Duration::ZERO, Retry::Later(Some(20 * MINUTE)));
        let mut bench = Bench::start(asks, 1000);
        sleep(5 * MINUTE - SECOND).await;
        assert!(bench.told().parts.is_empty(), "not yet");
        sleep(2 * SECOND).await;
        assert!(is_broken(bench.told().parts.front()), "long before the second try");

        *bench.fake.says.lock().unwrap() = "the key is wrong";
        bench.fake.now_does(Does::Fails(Duration::ZERO, Retry::Stop));
        sleep(25 * MINUTE).await;
        let reason = "measurements are not taken: the key is wrong";
        assert_eq!(bench.told().parts, [PartState::Broken(reason.into())], "said once");
    });
}

#[test]
fn measurements_that_cannot_be_written_are_a_warning_too() {
    simulate(async || {
        let mut bench = Bench::start(Does::Unwritten, 10);
        sleep(5 * MINUTE - SECOND).await;
        assert!(bench.told().parts.is_empty());
        sleep(MINUTE).await;
        let told = bench.told();
        let broken = |s: &PartState| matches!(s, PartState::Broken(why) if why.contains("cannot be written"));
        assert!(told.parts.len() == 1 && told.parts.iter().all(broken), "{told:?}");
        bench.fake.now_does(Does::Takes(Duration::ZERO));
        sleep(MINUTE).await;
        assert_eq!(bench.told().parts, [PartState::Works]);
    });
}

#[test]
fn what_a_receiver_wants_again_it_gets_first() {
    simulate(async || {
        let mut bench = Bench::start(Does::Again, 100);
        sleep(5 * SECOND).await;
        bench.fake.now_does(Does::Takes(Duration::ZERO));
        sleep(30 * SECOND).await;
        let taken = bench.fake.taken();
        assert!(taken.iter().filter(|n| **n == 0).count() > 1, "{taken:?}");
        assert_eq!(&taken[taken.len() - 3..], [1, 2, 3]);
        assert_eq!(bench.told().dropped, 0);
    });
}

/// Counts log lines at `WARN` that say that not everything was taken.
struct Counts(Arc<AtomicUsize>);

impl tracing::Subscriber for Counts {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_partial_success_is_counted_each_time_and_logged_once() {
    let lines = Arc::new(AtomicUsize::new(0));
    let _guard = tracing::subscriber::set_default(Counts(lines.clone()));
    simulate(async || {
        let mut bench = Bench::start(Does::Part(3, "3 points are too old"), 10);
        sleep(5 * MINUTE - SECOND).await;
        let told = bench.told();
        assert_eq!((told.sent, told.rejected, told.failed), (30, 90, 0));
        assert_eq!(told.parts, [PartState::Works]);
        assert_eq!(lines.load(Ordering::Relaxed), 1);
        bench.fake.now_does(Does::Part(1, "another reason"));
        sleep(MINUTE).await;
        assert_eq!(lines.load(Ordering::Relaxed), 2);
    });
}
