//! One channel's way out: delivers one message at a time, tries again, and reports each try. It
//! works from memory; the rows in the store are for the next start. What is told, and that there
//! is only one message under way, is the engine's affair.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::voice::{Sent, Voice, limited, nap};
use super::{Channel, DELAYED, Outgoing, Retry, SendError, retry};
use crate::engine::alert::Notification;
use crate::engine::event::{Delivery, Event, Outcome};
use crate::engine::observation::{Part, PartState};
use crate::engine::time::{Boot, Now, Wall};
use crate::store::{OutboxRow, StoreHandle};

/// After so many failures in a row over so long the channel counts as broken: a receiver that is
/// restarted fails as often within seconds.
const BROKEN_AFTER: (u32, Duration) = (3, Duration::from_secs(60));
/// After so long without success it counts as broken however seldom it was tried.
const BROKEN_AT_LAST: Duration = Duration::from_secs(5 * 60);
/// What a row of an earlier run may still have to wait.
const RESUMED: Duration = Duration::from_secs(5 * 60);
/// After a sign that the receiver works again, what waits is tried after this.
const SOON: Duration = Duration::from_millis(10);

/// Something for a lane to do.
#[derive(Debug)]
pub enum LaneJob {
    /// Deliver a message. Its row has been handed to the store before.
    Deliver(Arc<Notification>),
    /// Send a message at once, whatever waits; it is not kept and not tried again.
    Test {
        /// What to send.
        notification: Arc<Notification>,
        /// What the service answered, or what went wrong.
        reply: oneshot::Sender<Result<String, String>>,
    },
}

/// What a lane needs from the rest of keepwell.
#[derive(Clone)]
pub struct Context {
    /// See [`super::host_key`].
    pub host_key: Arc<str>,
    /// Where rows are; `None` for a single round that keeps nothing.
    pub store: Option<StoreHandle>,
    /// Where outcomes and the channel's own state go.
    pub events: mpsc::UnboundedSender<Event>,
    /// The clocks.
    pub now: fn() -> Now,
    /// How long the last deliveries may take when the lane is stopped.
    pub flush: Duration,
}

type Flight = Pin<Box<dyn Future<Output = Sent> + Send>>;
type Reply = oneshot::Sender<Result<String, String>>;

/// A message and when it is due.
struct Waiting {
    row: OutboxRow,
    due: Boot,
}

/// The messages and the state of one channel.
pub struct Lane {
    channel: Arc<dyn Channel>,
    context: Context,
    /// In order. There is one at most, but for what an earlier run left.
    waiting: VecDeque<Waiting>,
    tests: VecDeque<(Arc<Notification>, Reply)>,
    /// The receiver takes nothing any more.
    stopped: bool,
    /// The receiver asked for silence until then.
    silence: Boot,
    /// Failures in a row, and since when.
    streak: u32,
    failing_since: Option<Boot>,
    voice: Voice,
}

impl Lane {
    /// A lane with the rows that an earlier one left for this channel.
    pub fn new(channel: Arc<dyn Channel>, rows: Vec<OutboxRow>, context: Context) -> Self {
        let now = (context.now)();
        let waiting = rows.into_iter().map(|row| {
            let due = now.boot.after(row.next_at.since(now.wall).min(RESUMED));
            Waiting { row, due }
        });
        let voice = Voice::new(Part::Channel(Arc::clone(channel.name())), context.events.clone());
        Self {
            channel,
            waiting: waiting.collect(),
            context,
            tests: VecDeque::new(),
            stopped: false,
            silence: Boot(0),
            streak: 0,
            failing_since: None,
            voice,
        }
    }

    /// Delivers until it is stopped (or nobody can send any more), then tries what still waits
    /// once more within [`Context::flush`]. What is left is returned, for a lane that takes over
    /// after a reload; its rows are in the store for the next start.
    pub async fn run(
        mut self,
        mut jobs: mpsc::UnboundedReceiver<LaneJob>,
        stop: CancellationToken,
    ) -> Vec<OutboxRow> {
        let (mut flight, mut test) = (None, None);
        loop {
            if flight.is_none() {
                flight = self.start();
            }
            if test.is_none() {
                test = self.start_test();
            }
            let rest = if flight.is_some() { None } else { self.rest() };
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                job = jobs.recv() => match job {
                    Some(job) => self.take(job),
                    None => break,
                },
                result = landing(&mut flight) => {
                    flight = None;
                    self.landed(result);
                }
                result = landing(&mut test) => {
                    test = None;
                    self.test_landed(result);
                }
                () = nap(rest) => {}
            }
        }
        // From here on the sender keeps what it has: a lane that takes over gets it.
        jobs.close();
        while let Ok(job) = jobs.try_recv() {
            self.take(job);
        }
        self.flush(flight).await
    }

    fn take(&mut self, job: LaneJob) {
        match job {
            LaneJob::Deliver(notification) => {
                let due = self.now().boot;
                self.waiting.push_back(Waiting { row: OutboxRow::new(notification), due });
            }
            LaneJob::Test { notification, reply } => self.tests.push_back((notification, reply)),
        }
    }

    /// How long there is nothing to do but to wait for jobs; `None` is "for ever".
    fn rest(&self) -> Option<Duration> {
        if self.stopped {
            return None;
        }
        // A timer may end a little early: never turn round without waiting at all.
        let due = self.waiting.front()?.due.max(self.silence);
        Some(due.since(self.now().boot).max(Duration::from_millis(1)))
    }

    /// Begins the delivery of the first message, if it is due.
    fn start(&self) -> Option<Flight> {
        let now = self.now();
        let first = self.waiting.front()?;
        let due = !self.stopped && first.due.max(self.silence) <= now.boot;
        due.then(|| self.fly(&first.row.notification, now))
    }

    fn start_test(&self) -> Option<Flight> {
        self.tests.front().map(|(notification, _)| self.fly(notification, self.now()))
    }

    fn fly(&self, notification: &Arc<Notification>, now: Now) -> Flight {
        let age = now.wall.since(oldest(notification));
        let message = Outgoing {
            key: key_of(&self.context, notification),
            delayed: (age > DELAYED).then_some(age),
            notification: Arc::clone(notification),
            now,
        };
        let channel = Arc::clone(&self.channel);
        Box::pin(async move { limited(channel.send(&message)).await })
    }

    fn landed(&mut self, result: Sent) {
        match result {
            Ok(_) => {
                self.done(Delivery::Delivered);
                self.works();
            }
            Err(error) => self.failed(error),
        }
    }

    fn failed(&mut self, error: SendError) {
        let now = self.now();
        let since = *self.failing_since.get_or_insert(now.boot);
        self.streak += 1;
        match error.retry {
            Retry::Never => {
                self.done(Delivery::Refused(error.text.clone()));
                self.voice.say(PartState::Broken(error.text));
            }
            Retry::Stop => {
                self.stopped = true;
                self.report(Delivery::Stopped(error.text.clone()));
                tracing::warn!(
                    channel = &**self.channel.name(),
                    why = error.text,
                    "the channel rests until the configuration is loaded again; its message waits"
                );
                // That it is over for good is news, also after it was said to be broken.
                self.voice.say_anew(PartState::Broken(error.text));
            }
            Retry::Later(asked) => {
                self.put_off(asked, now);
                self.report(Delivery::Failed(error.text.clone()));
                let (times, long) = BROKEN_AFTER;
                let failing = now.boot.since(since);
                if (self.streak >= times && failing >= long) || failing >= BROKEN_AT_LAST {
                    self.voice.say(PartState::Broken(error.text));
                }
            }
        }
    }

    /// The first message is tried again later.
    fn put_off(&mut self, asked: Option<Duration>, now: Now) {
        if let Some(asked) = asked {
            self.silence = self.silence.max(now.boot.after(asked.min(retry::LONGEST_ASKED)));
        }
        let Some(Waiting { row, due }) = self.waiting.front_mut() else { return };
        row.attempts = row.attempts.saturating_add(1);
        let key = key_of(&self.context, &row.notification);
        let wait = retry::delay(&row.channel, &key, row.attempts);
        let wait = wait.max(self.silence.since(now.boot));
        row.next_at = now.wall.after(wait);
        *due = now.boot.after(wait);
        if let Some(store) = &self.context.store {
            store.failed_attempt(row.key(), row.attempts, row.next_at);
        }
    }

    /// The first message is delivered, or given up.
    fn done(&mut self, result: Delivery) {
        self.report(result);
        let Some(Waiting { row, .. }) = self.waiting.pop_front() else { return };
        if let Some(store) = &self.context.store {
            store.delivered(row.key());
        }
    }

    /// The receiver has taken something.
    fn works(&mut self) {
        if self.streak > 0 {
            self.silence = Boot(0);
            let soon = self.now().boot.after(SOON);
            for waiting in &mut self.waiting {
                waiting.due = waiting.due.min(soon);
            }
        }
        self.streak = 0;
        self.failing_since = None;
        self.voice.say(PartState::Works);
    }

    fn test_landed(&mut self, result: Sent) {
        let Some((test, reply)) = self.tests.pop_front() else { return };
        let outcome = match &result {
            Ok(_) => Delivery::Delivered,
            // That it rests is still so.
            Err(error) if self.stopped => Delivery::Stopped(error.text.clone()),
            Err(error) => match error.retry {
                Retry::Never => Delivery::Refused(error.text.clone()),
                // A test puts no lane to rest: the next message is tried.
                Retry::Later(_) | Retry::Stop => Delivery::Failed(error.text.clone()),
            },
        };
        self.tried(&test.id, outcome);
        if result.is_ok() {
            self.stopped = false;
            self.works();
        }
        // Whoever asked may have gone away.
        let _ = reply.send(result.map_err(|error| error.text));
    }

    /// Tries once more what waits, until the time is over.
    async fn flush(mut self, mut flight: Option<Flight>) -> Vec<OutboxRow> {
        let limit = self.context.flush;
        let all = async {
            let mut rounds = self.waiting.len();
            while rounds > 0 && !self.stopped && self.silence <= self.now().boot {
                rounds -= 1;
                if let Some(first) = self.waiting.front_mut() {
                    first.due = Boot(0);
                }
                if flight.is_none() {
                    flight = self.start();
                }
                let before = self.waiting.len();
                let result = landing(&mut flight).await;
                flight = None;
                self.landed(result);
                if self.waiting.len() == before {
                    self.waiting.rotate_left(1);
                }
            }
        };
        let in_time = timeout(limit, all).await.is_ok();
        for (_, reply) in self.tests.drain(..) {
            let _ = reply.send(Err("keepwell stops or loads its configuration; try again".into()));
        }
        // A new configuration may have mended what was wrong: no wait but one that was asked for.
        let now = (self.context.now)();
        let next_at = now.wall.after(self.silence.since(now.boot));
        let mut left: Vec<OutboxRow> =
            self.waiting.into_iter().map(|w| OutboxRow { next_at, ..w.row }).collect();
        left.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        if !left.is_empty() {
            tracing::info!(
                channel = &**self.channel.name(),
                messages = left.len(),
                in_time,
                "messages are left for the next start"
            );
        }
        left
    }

    /// How the try of the first message went.
    fn report(&self, result: Delivery) {
        if let Some(first) = self.waiting.front() {
            self.tried(&first.row.id, result);
        }
    }

    fn tried(&self, id: &Arc<str>, result: Delivery) {
        self.voice.report(Outcome::Delivery {
            channel: Arc::clone(self.channel.name()),
            id: Arc::clone(id),
            result,
        });
    }

    fn now(&self) -> Now {
        (self.context.now)()
    }
}

/// Sends a message without a lane: once, and nothing is kept. What the service answered, or what
/// went wrong.
///
/// # Errors
/// What went wrong, for the person who asked.
pub async fn send_once(
    channel: &dyn Channel,
    notification: Arc<Notification>,
    host_key: &str,
    now: Now,
) -> Result<String, String> {
    let key = format!("{host_key}-{}", notification.id);
    let message = Outgoing { notification, key, delayed: None, now };
    limited(channel.send(&message)).await.map_err(|error| error.text)
}

/// Since when the oldest of its news waits.
fn oldest(notification: &Notification) -> Wall {
    notification.items.iter().map(|i| i.since).fold(notification.at, Wall::min)
}

/// The idempotency key.
fn key_of(context: &Context, notification: &Notification) -> String {
    format!("{}-{}", context.host_key, notification.id)
}

/// The end of a delivery under way; never, when there is none.
async fn landing(flight: &mut Option<Flight>) -> Sent {
    match flight {
        Some(flight) => flight.await,
        None => pending().await,
    }
}
