//! Sends measurements at regular times: collects, keeps what waits, tries again, and says how it
//! goes. It never waits for a receiver while it should collect, and what waits is bounded.

mod queue;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::Temporality;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::instruments::Instruments;
use super::origin::Origin;
use super::wire::{Batch, Taken, Wire};
use crate::engine::event::{Event, Export, Outcome, part_state};
use crate::engine::observation::{Part, PartState};
use crate::engine::{Now, Snapshot};
use crate::outbound::{Retry, SendError};

use queue::Queue;

/// The first wait after a failure; doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// However long a receiver asks to wait, it is asked again after this.
const LONGEST_ASKED: Duration = Duration::from_secs(30 * 60);

/// An exporter of measurements.
pub struct Exporter {
    pub(super) name: Arc<str>,
    pub(super) wire: Arc<dyn Wire>,
    pub(super) origin: Arc<Origin>,
    pub(super) temporality: Temporality,
    pub(super) exponential: bool,
    pub(super) interval: Duration,
    /// Most bytes that may wait.
    pub(super) buffer: usize,
    pub(super) warn_after: Duration,
}

/// What an exporter needs from the rest of keepwell.
#[derive(Clone)]
pub struct ExportContext {
    /// What is measured.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Where it says how it goes.
    pub events: mpsc::UnboundedSender<Event>,
    /// The clocks.
    pub now: fn() -> Now,
    /// How long the last deliveries may take when it is stopped.
    pub flush: Duration,
    /// Ends it.
    pub stop: CancellationToken,
}

type Sent = Result<Taken, SendError>;
type Flight = Pin<Box<dyn Future<Output = Sent> + Send>>;

impl Exporter {
    /// `otlp` or `azure`.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Runs until it is stopped, then sends what waits within [`ExportContext::flush`].
    pub async fn run(self: Arc<Self>, context: ExportContext) {
        let mut run = Run {
            instruments: Some(Instruments::new(self.temporality, self.exponential)),
            queue: Queue::new(self.buffer),
            exporter: self,
            context,
            failures: 0,
            loses: false,
            failing: None,
            not_before: None,
            said: None,
            noted: None,
        };
        let mut flight = None;
        run.live(&mut flight).await;
        run.flush(flight).await;
    }
}

struct Run {
    exporter: Arc<Exporter>,
    context: ExportContext,
    /// Away while they are read.
    instruments: Option<Instruments>,
    queue: Queue,
    /// In a row.
    failures: u32,
    /// Whether it has been logged that what this failing receiver refuses is given up.
    loses: bool,
    /// Since when nothing is taken, and why the last time.
    failing: Option<(Instant, String)>,
    /// No try before this.
    not_before: Option<Instant>,
    said: Option<PartState>,
    /// The last thing that the receiver noted beside a success, which is logged once.
    noted: Option<String>,
}

impl Run {
    async fn live(&mut self, flight: &mut Option<Flight>) {
        let mut snapshots = self.context.snapshots.clone();
        tokio::select! {
            () = self.context.stop.cancelled() => return,
            ready = snapshots.wait_for(|s| s.ready) => if ready.is_err() { return },
        }
        if self.exporter.temporality == Temporality::Delta {
            // What was counted before is no change: the first collection is where counting begins.
            let snapshot = snapshots.borrow().clone();
            let _ = self.write(snapshot, Resource::builder_empty().build()).await;
        }
        let mut ticks = interval(self.exporter.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if flight.is_none() && self.due() {
                *flight = self.start();
            }
            let rest = self.not_before.filter(|_| flight.is_none() && !self.queue.is_empty());
            let patience = self.patience();
            tokio::select! {
                biased;
                () = self.context.stop.cancelled() => return,
                result = landing(flight) => {
                    *flight = None;
                    self.landed(result);
                }
                _ = ticks.tick() => self.collect().await,
                () = nap(rest) => self.not_before = None,
                () = nap(patience) => self.warn(),
                changed = snapshots.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let snapshot = snapshots.borrow_and_update().clone();
                    if let Some(instruments) = &mut self.instruments {
                        instruments.saw(&snapshot);
                    }
                }
            }
        }
    }

    /// Takes the present picture into the queue.
    async fn collect(&mut self) {
        let snapshot = self.context.snapshots.borrow().clone();
        let resource = self.exporter.origin.resource((self.context.now)()).await;
        match self.write(snapshot, resource).await {
            Ok(batch) => {
                let dropped = self.queue.push(batch);
                // One that goes out at once is told when it has landed.
                if self.queue.len() > 1 {
                    self.report(Export { dropped, ..Export::default() });
                }
            }
            Err(why) => {
                tracing::error!(exporter = &*self.exporter.name, why, "cannot write measurements");
                self.report(Export { dropped: 1, ..Export::default() });
                self.ails(format!("measurements cannot be written: {why}"));
            }
        }
    }

    /// Measures and writes, on a thread of its own: with many units that takes longer than whoever
    /// shares this thread should wait.
    async fn write(
        &mut self,
        snapshot: Arc<Snapshot>,
        resource: Resource,
    ) -> Result<Batch, String> {
        let wire = self.exporter.wire.clone();
        let Some(mut instruments) = self.instruments.take() else {
            return Err("the instruments are not there".into());
        };
        let written = spawn_blocking(move || {
            let batch =
                instruments.collect(snapshot).and_then(|metrics| wire.metrics(&metrics, &resource));
            (instruments, batch)
        });
        match written.await {
            Ok((instruments, batch)) => {
                self.instruments = Some(instruments);
                batch
            }
            // It ends this run; the supervisor begins another.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => Err(error.to_string()),
            },
        }
    }

    fn due(&self) -> bool {
        !self.queue.is_empty() && self.not_before.is_none_or(|at| at <= Instant::now())
    }

    fn start(&mut self) -> Option<Flight> {
        let batch = self.queue.first()?;
        let wire = self.exporter.wire.clone();
        let now = (self.context.now)();
        Some(Box::pin(async move { wire.post(&batch, now).await }))
    }

    fn landed(&mut self, result: Sent) {
        match result {
            Ok(taken) => self.taken(taken),
            Err(error) => self.failed(error),
        }
    }

    fn taken(&mut self, taken: Taken) {
        let rest = taken.rest.is_some();
        self.queue.done(taken.rest);
        self.not_before = rest.then(|| Instant::now() + FIRST_WAIT);
        let done = Export { sent: 1, rejected: taken.rejected as u64, ..Export::default() };
        self.report(done);
        let exporter = &*self.exporter.name;
        if taken.note != self.noted {
            if let Some(note) = &taken.note {
                tracing::warn!(
                    exporter,
                    rejected = taken.rejected,
                    "the receiver did not take everything: {note}"
                );
            } else if taken.rejected == 0 {
                tracing::info!(exporter, "the receiver takes everything again");
            }
            self.noted = taken.note;
        }
        if self.failures > 0 {
            tracing::info!(
                exporter,
                waiting = self.queue.len(),
                "the receiver takes measurements again"
            );
        }
        self.failures = 0;
        self.failing = None;
        self.loses = false;
        self.say(PartState::Works);
    }

    fn failed(&mut self, error: SendError) {
        let now = Instant::now();
        let exporter = &*self.exporter.name;
        let lost = error.retry == Retry::Never;
        if lost && !self.loses {
            tracing::warn!(exporter, why = error.text, "measurements are refused and given up");
            self.loses = true;
        } else if self.failures == 0 {
            tracing::info!(
                exporter,
                why = error.text,
                "measurements are not taken; they wait and are tried again"
            );
        }
        self.failures = self.failures.saturating_add(1);
        let mut done = Export { failed: 1, ..Export::default() };
        let asked = match error.retry {
            Retry::Never => {
                self.queue.done(None);
                done.dropped = 1;
                None
            }
            Retry::Stop => Some(LONGEST_WAIT),
            Retry::Later(asked) => asked.map(|asked| asked.min(LONGEST_ASKED)),
        };
        // The next batch may be taken where this one was refused for good.
        let steps = if lost { 0 } else { (self.failures - 1).min(16) };
        let doubled = FIRST_WAIT.saturating_mul(1 << steps);
        let wait = doubled.min(LONGEST_WAIT).max(asked.unwrap_or_default());
        self.not_before = Some(now + wait);
        self.report(done);
        self.ails(format!("measurements are not taken: {}", error.text));
    }

    /// Nothing has been taken, for this reason.
    fn ails(&mut self, why: String) {
        let since = self.failing.as_ref().map_or_else(Instant::now, |(since, _)| *since);
        self.failing = Some((since, why));
        self.warn();
    }

    /// When what fails becomes a warning: also where the receiver wants to be left alone for longer.
    fn patience(&self) -> Option<Instant> {
        let told = matches!(self.said, Some(PartState::Broken(_)));
        let failing = self.failing.as_ref().filter(|_| !told);
        failing.map(|(since, _)| *since + self.exporter.warn_after)
    }

    /// The warning, when it is time; with the present reason.
    fn warn(&mut self) {
        let Some((since, why)) = &self.failing else { return };
        if since.elapsed() >= self.exporter.warn_after {
            self.say(PartState::Broken(why.clone()));
        }
    }

    /// Sends what waits, and what there is now, until the time is over or a try fails.
    async fn flush(mut self, mut flight: Option<Flight>) {
        let limit = self.context.flush;
        let all = async {
            let ready = self.context.snapshots.borrow().ready;
            if ready {
                self.collect().await;
            }
            loop {
                if flight.is_none() {
                    flight = self.start();
                }
                if flight.is_none() {
                    return;
                }
                let result = landing(&mut flight).await;
                flight = None;
                let failed = result.is_err();
                self.landed(result);
                if failed {
                    return;
                }
            }
        };
        let in_time = timeout(limit, all).await.is_ok();
        let left = self.queue.len();
        if left > 0 {
            let exporter = &*self.exporter.name;
            tracing::warn!(exporter, batches = left, in_time, "measurements are not sent any more");
            let dropped = self.queue.clear();
            self.report(Export { dropped, ..Export::default() });
        }
    }

    fn report(&self, done: Export) {
        let exporter = self.exporter.name.clone();
        let done = Export { queued: self.queue.len(), ..done };
        // While the agent stops, the driver may be gone already.
        let _ = self.context.events.send(Event::Outcome(Outcome::Export { exporter, done }));
    }

    fn say(&mut self, state: PartState) {
        if self.said.as_ref() != Some(&state) {
            let part = Part::Exporter(self.exporter.name.clone());
            let _ = self.context.events.send(part_state(part, state.clone()));
            self.said = Some(state);
        }
    }
}

async fn landing(flight: &mut Option<Flight>) -> Sent {
    match flight {
        Some(flight) => flight.await,
        None => std::future::pending().await,
    }
}

async fn nap(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}
