//! One channel's way out: takes messages, folds what waits, delivers one at a time, tries again,
//! and reports. It works from memory; the rows in the store are for the next start.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::queue::{Queue, Waiting};
use super::{Channel, ChannelStats, DELAYED, Outgoing, Retry, SendError, retry};
use crate::engine::alert::Notification;
use crate::engine::event::{Event, Outcome, part_state};
use crate::engine::observation::{Part, PartState};
use crate::engine::time::{Boot, Human, Now};
use crate::store::{OutboxRow, StoreHandle};

/// No try may take longer, whatever the channel's own limit is.
const TRY_LIMIT: Duration = Duration::from_secs(60);
/// After so many failures in a row, or so long without success, the channel counts as broken.
const BROKEN_AFTER: (u32, Duration) = (3, Duration::from_secs(5 * 60));
/// What a row of an earlier run may still have to wait.
const RESUMED: Duration = Duration::from_secs(5 * 60);

/// A message for a lane. Its row has been handed to the store before.
#[derive(Debug, Clone, PartialEq)]
pub struct Queued(pub Arc<Notification>);

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

type Flight = Pin<Box<dyn Future<Output = Result<(), SendError>> + Send>>;

/// The queue and state of one channel.
pub struct Lane {
    channel: Arc<dyn Channel>,
    context: Context,
    queue: Queue,
    /// What is being delivered.
    flying: Option<Waiting>,
    stats: ChannelStats,
    shown: watch::Sender<ChannelStats>,
    /// Failures in a row, and since when.
    streak: u32,
    failing_since: Option<Boot>,
    said: Option<PartState>,
}

impl Lane {
    /// A lane with the rows that an earlier run left for this channel.
    pub fn new(channel: Arc<dyn Channel>, rows: Vec<OutboxRow>, context: Context) -> Self {
        let now = (context.now)();
        let mut lane = Self {
            channel,
            context,
            queue: Queue::default(),
            flying: None,
            stats: ChannelStats::default(),
            shown: watch::Sender::default(),
            streak: 0,
            failing_since: None,
            said: None,
        };
        for row in rows {
            let due = now.boot.after(row.next_at.since(now.wall).min(RESUMED));
            lane.put(row, due);
        }
        lane.show();
        lane
    }

    /// How the channel does; changes are seen at once.
    pub fn stats(&self) -> watch::Receiver<ChannelStats> {
        self.shown.subscribe()
    }

    /// Delivers until it is stopped (or nobody can send any more), then tries what still waits
    /// once more within [`Context::flush`]. What is left is returned, for a lane that takes over
    /// after a reload; its rows are in the store for the next start.
    pub async fn run(
        mut self,
        mut messages: mpsc::UnboundedReceiver<Queued>,
        stop: CancellationToken,
    ) -> Vec<OutboxRow> {
        let mut flight: Option<Flight> = None;
        loop {
            if flight.is_none() && !self.stats.gone {
                flight = self.queue.take_due(self.now().boot).map(|w| self.start(w));
            }
            self.show();
            let rest = self.rest();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                message = messages.recv() => match message {
                    Some(message) => self.take(message),
                    None => break,
                },
                result = landing(&mut flight) => {
                    flight = None;
                    self.landed(result);
                }
                () = nap(rest) => {}
            }
        }
        while let Ok(message) = messages.try_recv() {
            self.take(message);
        }
        self.flush(flight).await
    }

    /// How long there is nothing to do but to wait for messages; `None` is "for ever".
    fn rest(&self) -> Option<Duration> {
        if self.flying.is_some() || self.stats.gone {
            return None;
        }
        // A timer may end a little early: never turn round without waiting at all.
        let until = self.queue.next_due()?.since(self.now().boot);
        Some(until.max(Duration::from_millis(1)))
    }

    fn take(&mut self, Queued(notification): Queued) {
        let row = OutboxRow::new(Arc::clone(self.channel.name()), notification);
        let now = self.now().boot;
        self.put(row, now);
    }

    fn put(&mut self, row: OutboxRow, due: Boot) {
        if let Some(dropped) = self.queue.put(row, due) {
            self.give_up(&dropped);
        }
    }

    fn start(&mut self, waiting: Waiting) -> Flight {
        let channel = Arc::clone(&self.channel);
        let now = self.now();
        let notification = Arc::clone(&waiting.row.notification);
        let age = now.wall.since(notification.at);
        let message = Outgoing {
            key: key_of(&self.context, &notification),
            opening: waiting.row.opening,
            delayed: (age > DELAYED).then_some(age),
            notification,
            now,
        };
        self.flying = Some(waiting);
        Box::pin(async move {
            timeout(TRY_LIMIT, channel.send(&message)).await.unwrap_or_else(|_| {
                Err(SendError {
                    retry: Retry::Later(None),
                    text: format!("no answer within {}", Human(TRY_LIMIT)),
                })
            })
        })
    }

    fn landed(&mut self, result: Result<(), SendError>) {
        let Some(waiting) = self.flying.take() else { return };
        match result {
            Ok(()) => self.succeeded(&waiting),
            Err(error) => self.failed(waiting, error),
        }
    }

    fn succeeded(&mut self, waiting: &Waiting) {
        let now = self.now();
        self.stats.sent += 1;
        self.stats.last_success = Some(now.wall);
        self.stats.last_error = None;
        if self.streak > 0 {
            self.queue.hurry(now.boot);
        }
        self.streak = 0;
        self.failing_since = None;
        self.delete(&waiting.row);
        self.report(&waiting.row, true);
        self.say(PartState::Works);
    }

    fn failed(&mut self, mut waiting: Waiting, error: SendError) {
        let now = self.now();
        let since = *self.failing_since.get_or_insert(now.boot);
        self.stats.failed += 1;
        self.stats.last_error = Some(error.text.as_str().into());
        self.streak += 1;
        match error.retry {
            Retry::Never => {
                let row = waiting.row.clone();
                // A later message about the same subject has to tell what this one could not.
                if self.queue.put_back(waiting) {
                    self.queue.remove(&row.subject);
                }
                self.give_up(&row);
                self.say(PartState::Broken(error.text));
            }
            Retry::Gone => {
                self.stats.gone = true;
                self.queue.put_back(waiting);
                self.say(PartState::Broken(error.text));
            }
            Retry::Later(asked) => {
                let asked = asked.map(|d| d.min(retry::LONGEST_ASKED));
                waiting.row.attempts += 1;
                let row = &mut waiting.row;
                let wait = retry::delay(
                    &row.channel,
                    &key_of(&self.context, &row.notification),
                    row.attempts,
                )
                .max(asked.unwrap_or_default());
                row.next_at = now.wall.after(wait);
                waiting.due = now.boot.after(wait);
                let (key, attempts, next_at) = (row.key(), row.attempts, row.next_at);
                if let Some(asked) = asked {
                    self.queue.pause(now.boot.after(asked));
                }
                if self.queue.put_back(waiting)
                    && let Some(store) = &self.context.store
                {
                    store.failed_attempt(key, attempts, next_at);
                }
                let (times, long) = BROKEN_AFTER;
                if self.streak >= times || now.boot.since(since) >= long {
                    self.say(PartState::Broken(error.text));
                }
            }
        }
    }

    /// Tries once more all that waits, until the time is over.
    async fn flush(mut self, mut flight: Option<Flight>) -> Vec<OutboxRow> {
        let limit = self.context.flush;
        let all = async {
            let mut tried = Vec::new();
            loop {
                if flight.is_none() && !self.stats.gone {
                    flight = self.queue.take_untried(&tried).map(|w| self.start(w));
                }
                let Some(waiting) = &self.flying else { return };
                tried.push(waiting.row.key());
                let result = landing(&mut flight).await;
                flight = None;
                self.landed(result);
            }
        };
        let in_time = timeout(limit, all).await.is_ok();
        if let Some(waiting) = self.flying.take() {
            self.queue.put_back(waiting);
        }
        self.show();
        let left = self.queue.into_rows();
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

    fn give_up(&mut self, row: &OutboxRow) {
        self.stats.given_up += 1;
        self.delete(row);
        self.report(row, false);
    }

    fn delete(&self, row: &OutboxRow) {
        if let Some(store) = &self.context.store {
            store.delivered(row.key());
        }
    }

    fn report(&self, row: &OutboxRow, delivered: bool) {
        self.event(Event::Outcome(Outcome::Delivery {
            channel: Arc::clone(self.channel.name()),
            id: row.notification.id.clone(),
            delivered,
        }));
    }

    fn say(&mut self, state: PartState) {
        // The words of an error may differ from try to try; that it is broken is news once, and
        // that it is over for good is news again.
        let same = match (&self.said, &state) {
            (Some(PartState::Broken(_)), PartState::Broken(_)) => !self.stats.gone,
            (said, state) => said.as_ref() == Some(state),
        };
        if !same {
            self.event(part_state(Part::Channel(Arc::clone(self.channel.name())), state.clone()));
            self.said = Some(state);
        }
    }

    fn event(&self, event: Event) {
        // While the agent stops, the driver may be gone already.
        let _ = self.context.events.send(event);
    }

    fn show(&mut self) {
        self.stats.queued = self.queue.len() + usize::from(self.flying.is_some());
        self.shown.send_if_modified(|shown| {
            let changed = *shown != self.stats;
            if changed {
                shown.clone_from(&self.stats);
            }
            changed
        });
    }

    fn now(&self) -> Now {
        (self.context.now)()
    }
}

/// The idempotency key.
fn key_of(context: &Context, notification: &Notification) -> String {
    format!("{}-{}", context.host_key, notification.id)
}

/// The end of the delivery under way; never, when there is none.
async fn landing(flight: &mut Option<Flight>) -> Result<(), SendError> {
    match flight {
        Some(flight) => flight.await,
        None => pending().await,
    }
}

async fn nap(rest: Option<Duration>) {
    match rest {
        Some(rest) => sleep(rest).await,
        None => pending().await,
    }
}
