//! One hook's way out: makes requests of the calls that wait, tries again, and reports each try. It
//! works from memory; the rows in the store are for the next start.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::tries::{MOST_CALLS, Queue};
use super::{Hook, Outgoing};
use crate::engine::event::{Delivery, Outcome};
use crate::engine::hook::HookCall;
use crate::engine::observation::{Part, PartState};
use crate::engine::time::{Boot, Now};
use crate::notify::voice::{Sent, Voice, limited, nap};
use crate::notify::{Context, Retry, SendError};
use crate::store::CallRow;

/// That something was given up is shown at least so long.
const SHOWN: Duration = Duration::from_secs(5 * 60);
/// After so many that had to give way it is logged again.
const LOGGED: u64 = 1000;

/// A request under way.
struct Flight {
    number: u64,
    request: Pin<Box<dyn Future<Output = Sent> + Send>>,
}

/// The calls and the state of one hook.
pub struct HookLane {
    hook: Arc<dyn Hook>,
    context: Context,
    queue: Queue,
    /// That something was given up is shown until then.
    shown: Option<Boot>,
    /// How many had to give way.
    gave_way: u64,
    /// Why the last try failed, as long as it has not been said that the receiver is broken.
    unsaid: Option<String>,
    voice: Voice,
}

impl HookLane {
    /// A lane with the rows that an earlier one left for this hook. Calls give way, the oldest
    /// first, when they take more than `room` bytes.
    pub fn new(hook: Arc<dyn Hook>, rows: Vec<CallRow>, context: Context, room: usize) -> Self {
        let name = Arc::clone(hook.name());
        let now = (context.now)();
        let queue = Queue::new(name, Arc::clone(&context.host_key), rows, room, now);
        let voice = Voice::new(Part::Hook(Arc::clone(hook.name())), context.events.clone());
        Self { hook, context, queue, shown: None, gave_way: 0, unsaid: None, voice }
    }

    /// Tells until it is stopped (or nobody can send any more), then tries what still waits within
    /// [`Context::flush`]. What is left is returned, for a lane that takes over after a reload; its
    /// rows are in the store for the next start.
    pub async fn run(
        mut self,
        mut calls: mpsc::UnboundedReceiver<Arc<HookCall>>,
        stop: CancellationToken,
    ) -> Vec<CallRow> {
        let mut flights = Vec::new();
        self.make_room();
        loop {
            self.start(&mut flights);
            let rest = self.rest();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                call = calls.recv() => match call {
                    Some(call) => self.take(call),
                    None => break,
                },
                (number, result) = landing(&mut flights) => self.landed(number, result),
                () = nap(rest) => self.notice(),
            }
        }
        // From here on the sender keeps what it has: a lane that takes over gets it.
        calls.close();
        while let Ok(call) = calls.try_recv() {
            self.take(call);
        }
        self.flush(flights).await
    }

    fn take(&mut self, call: Arc<HookCall>) {
        self.queue.add(CallRow::new(call), self.now());
        self.make_room();
    }

    /// Begins as many requests as may be.
    fn start(&mut self, flights: &mut Vec<Flight>) {
        let now = self.now();
        while let Some(call) = self.queue.next(now.boot) {
            let number = call.number;
            let key = format!("{}-{}", self.context.host_key, call.id);
            let outgoing = Outgoing { call, key, now };
            let hook = Arc::clone(&self.hook);
            let request = Box::pin(async move { limited(hook.tell(&outgoing)).await });
            flights.push(Flight { number, request });
        }
    }

    /// How long there is nothing to do but to wait; `None` is "for ever".
    fn rest(&self) -> Option<Duration> {
        let now = self.now().boot;
        let broken = self.unsaid.as_ref().and_then(|_| self.queue.broken());
        let until = |at: Boot| at.since(now).max(Duration::from_millis(1));
        let notices = self.shown.into_iter().chain(broken).map(until);
        self.queue.rest(now).into_iter().chain(notices).min()
    }

    fn landed(&mut self, number: u64, result: Sent) {
        let now = self.now();
        match result {
            Ok(_) => {
                self.queue.taken(number, now);
                self.done(number);
                self.report(Delivery::Delivered);
                if self.shown.is_none_or(|until| until <= now.boot) && !self.queue.in_trouble() {
                    self.shown = None;
                    self.voice.say(PartState::Works);
                }
            }
            Err(SendError { retry: Retry::Never, text }) => {
                let call = self.queue.refused(number, now);
                let call = call.as_deref();
                self.done(number);
                self.report(Delivery::Refused(text.clone()));
                tracing::warn!(
                    hook = &**self.hook.name(),
                    call = number,
                    event = call.map(|call| call.transition.as_str()),
                    container = call.map(|call| &*call.container.name),
                    id = call.map(|call| &*call.container.id),
                    why = text,
                    "a call was refused for good and is given up"
                );
                self.shown = Some(now.boot.after(SHOWN));
                self.voice.say(PartState::Broken(text));
            }
            Err(SendError { retry, text }) => {
                let (asked, everybody) = match retry {
                    Retry::Later(asked) => (asked, false),
                    _ => (None, true),
                };
                let row = self.queue.failed(number, asked, everybody, now);
                if let (Some(row), Some(store)) = (row, &self.context.store) {
                    store.failed_call(number, row.attempts, row.next_at);
                }
                self.report(Delivery::Failed(text.clone()));
                if everybody {
                    self.voice.say(PartState::Broken(text));
                } else {
                    self.unsaid = Some(text);
                    self.say_broken(now.boot);
                }
            }
        }
    }

    /// A call needs no row any more.
    fn done(&self, number: u64) {
        if let Some(store) = &self.context.store {
            store.call_done(number);
        }
    }

    /// Says that the receiver is broken once its failures have lasted.
    fn say_broken(&mut self, now: Boot) {
        if self.queue.broken().is_some_and(|at| at <= now)
            && let Some(why) = self.unsaid.take()
        {
            self.voice.say(PartState::Broken(why));
        }
    }

    /// What only time tells: failures have lasted, or that something was given up has been shown
    /// for long enough.
    fn notice(&mut self) {
        let now = self.now().boot;
        self.say_broken(now);
        if self.shown.is_some_and(|until| until <= now) {
            self.shown = None;
            if !self.queue.in_trouble() {
                self.voice.say(PartState::Works);
            }
        }
    }

    /// The oldest calls give way when there are too many.
    fn make_room(&mut self) {
        let now = self.now();
        while let Some(call) = self.queue.over(now) {
            self.done(call.number);
            let text = format!(
                "more calls wait for it than there is room for ({MOST_CALLS}, or their share of \
                 store.max_size): the oldest are given up"
            );
            if self.gave_way.is_multiple_of(LOGGED) {
                tracing::warn!(
                    hook = &**self.hook.name(),
                    call = call.number,
                    event = call.transition.as_str(),
                    container = &*call.container.name,
                    id = &*call.container.id,
                    "{text}"
                );
            }
            self.gave_way += 1;
            self.report(Delivery::Refused(text.clone()));
            self.shown = Some(now.boot.after(SHOWN));
            self.voice.say(PartState::Broken(text));
        }
    }

    /// Tries once more what waits, until the time is over.
    async fn flush(mut self, mut flights: Vec<Flight>) -> Vec<CallRow> {
        let limit = self.context.flush;
        self.queue.hurry();
        let all = async {
            loop {
                self.start(&mut flights);
                if flights.is_empty() {
                    break;
                }
                let (number, result) = landing(&mut flights).await;
                self.landed(number, result);
            }
        };
        let in_time = timeout(limit, all).await.is_ok();
        let left = self.queue.into_rows((self.context.now)());
        if !left.is_empty() {
            tracing::info!(
                hook = &**self.hook.name(),
                calls = left.len(),
                in_time,
                "calls are left for the next start"
            );
        }
        left
    }

    fn report(&self, result: Delivery) {
        self.voice.report(Outcome::Call {
            hook: Arc::clone(self.hook.name()),
            result,
            waiting: self.queue.len(),
        });
    }

    fn now(&self) -> Now {
        (self.context.now)()
    }
}

/// The end of one of the requests under way; never, when there is none. Cancel safe.
async fn landing(flights: &mut Vec<Flight>) -> (u64, Sent) {
    poll_fn(|context| {
        for at in 0..flights.len() {
            if let Poll::Ready(result) = flights[at].request.as_mut().poll(context) {
                return Poll::Ready((flights.swap_remove(at).number, result));
            }
        }
        Poll::Pending
    })
    .await
}
