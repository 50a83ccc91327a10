//! The lanes of all channels: how they are set up, reached, tried out and listened to. One piece for
//! the daemon and the single round; what a lane does is in `notify`.

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::clock;
use super::plan;
use super::run::BadConfig;
use super::supervisor::Supervisor;
use crate::config::Options;
use crate::engine::{Event, Notification, Rules};
use crate::notify::{self, Acts, Channel, Context, Lane, LaneJob};
use crate::store::{OutboxRow, StoreHandle};
use crate::surfaces::http::{self, CommandRequest, Tried};

/// The driver answers an act at once; when it has not within this time, something is wrong.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// The ways to the lanes of one configuration.
#[derive(Clone, Default)]
pub(super) struct Lanes {
    queues: BTreeMap<Arc<str>, mpsc::UnboundedSender<LaneJob>>,
    host: Arc<str>,
    labels: Arc<BTreeMap<String, String>>,
}

/// What lanes need to be started, and to end.
pub(super) struct LaneSetup {
    pub(super) store: Option<StoreHandle>,
    pub(super) events: mpsc::UnboundedSender<Event>,
    /// How long they may still deliver once they are stopped.
    pub(super) flush: Duration,
    pub(super) stop: CancellationToken,
    /// Takes what they had not delivered when they ended.
    pub(super) left: Rc<RefCell<Vec<OutboxRow>>>,
}

impl Lanes {
    /// Starts a lane for each channel, as a task "channel NAME", with the rows that wait for it.
    /// The rows of channels that there are not are given back.
    pub(super) fn start(
        channels: &[Arc<dyn Channel>],
        rules: &Rules,
        mut rows: Vec<OutboxRow>,
        setup: LaneSetup,
        supervisor: &mut Supervisor,
    ) -> (Self, Vec<OutboxRow>) {
        let LaneSetup { store, events, flush, stop, left } = setup;
        let context = Context { host_key: host_key(), store, events, now: clock::now, flush };
        let mut queues = BTreeMap::new();
        for channel in channels {
            let name = channel.name().clone();
            let (own, others) = rows.into_iter().partition(|r| r.channel == name);
            rows = others;
            let lane = Lane::new(channel.clone(), own, context.clone());
            let (queue, jobs) = mpsc::unbounded_channel();
            let (stop, left) = (stop.clone(), left.clone());
            supervisor.spawn(format!("channel {name}"), async move {
                let rest = lane.run(jobs, stop).await;
                left.borrow_mut().extend(rest);
            });
            queues.insert(name, queue);
        }
        let lanes =
            Self { queues, host: rules.host.clone(), labels: Arc::new(rules.labels.clone()) };
        (lanes, rows)
    }

    /// Hands a message to the lane of its channel. It comes back when that lane has ended; where
    /// there is no such channel, it is dropped.
    pub(super) fn deliver(&self, message: Arc<Notification>) -> Result<(), Arc<Notification>> {
        let Some(queue) = self.queues.get(&message.channel) else { return Ok(()) };
        queue.send(LaneJob::Deliver(message.clone())).map_err(|_| message)
    }
}

/// Sends a test message over the lanes of a running keepwell: to one channel, or to all.
async fn test_channels(lanes: Lanes, channel: Option<Arc<str>>) -> Tried {
    let names = match chosen(lanes.queues.keys(), channel) {
        Ok(names) => names,
        Err(unknown) => return unknown,
    };
    let mut asked = Vec::new();
    for (number, name) in names.into_iter().enumerate() {
        let notification = test_message(number, &name, &lanes.host, &lanes.labels);
        let (reply, answer) = oneshot::channel();
        if let Some(queue) = lanes.queues.get(&name) {
            // A lane that has ended drops the reply, and that is the answer.
            let _ = queue.send(LaneJob::Test { notification, reply });
        }
        asked.push((name, answer));
    }
    let mut tried = Tried::new();
    for (name, answer) in asked {
        let ended = |_| Err("the channel has just been stopped; try again".to_owned());
        tried.push((name, answer.await.unwrap_or_else(ended)));
    }
    tried
}

/// Answers those who want to see whether channels work, by the lanes of the present configuration.
pub(super) async fn testing(
    mut asked: mpsc::Receiver<http::TestRequest>,
    reach: watch::Receiver<Lanes>,
    stop: CancellationToken,
) {
    let mut tests = JoinSet::new();
    loop {
        let request = tokio::select! {
            () = stop.cancelled() => return,
            request = asked.recv() => request,
            // What has been answered is forgotten.
            Some(_) = tests.join_next() => continue,
        };
        let Some(http::TestRequest { channel, actor, reply }) = request else { return };
        let lanes = reach.borrow().clone();
        let which = channel.as_deref().unwrap_or("all");
        tracing::info!(channel = which, actor = actor.0, "a test message is asked for");
        tests.spawn_local(async move {
            // Who asked may have gone away.
            let _ = reply.send(test_channels(lanes, channel).await);
        });
    }
}

/// Sends a test message without a running keepwell: straight over the channels of the
/// configuration, to one of them or to all.
///
/// # Errors
/// When the configuration is invalid ([`BadConfig`]).
pub async fn test_directly(options: &Options, channel: Option<Arc<str>>) -> anyhow::Result<Tried> {
    let plan = plan::load(options).map_err(BadConfig)?;
    let rules = &plan.config.rules;
    let labels = Arc::new(rules.labels.clone());
    let names = match chosen(plan.channels.iter().map(|c| c.name()), channel) {
        Ok(names) => names,
        Err(unknown) => return Ok(unknown),
    };
    let host_key = host_key();
    let mut sends = JoinSet::new();
    for (number, name) in names.into_iter().enumerate() {
        let Some(channel) = plan.channels.iter().find(|c| *c.name() == name).cloned() else {
            continue;
        };
        let notification = test_message(number, &name, &rules.host, &labels);
        let host_key = host_key.clone();
        sends.spawn(async move {
            let sent = notify::send_once(&*channel, notification, &host_key, clock::now()).await;
            (name, sent)
        });
    }
    let mut tried = sends.join_all().await;
    tried.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(tried)
}

/// The channels that are meant, or the answer that there is no such channel.
fn chosen<'a>(
    all: impl Iterator<Item = &'a Arc<str>>,
    channel: Option<Arc<str>>,
) -> Result<Vec<Arc<str>>, Tried> {
    let all: Vec<Arc<str>> = all.cloned().collect();
    match channel {
        None => Ok(all),
        Some(name) if all.contains(&name) => Ok(vec![name]),
        Some(name) => {
            let why = if all.is_empty() {
                "no channel is configured".to_owned()
            } else {
                format!("there is no such channel; there are: {}", all.join(", "))
            };
            Err(vec![(name, Err(why))])
        }
    }
}

fn test_message(
    number: usize,
    channel: &Arc<str>,
    host: &Arc<str>,
    labels: &Arc<BTreeMap<String, String>>,
) -> Arc<Notification> {
    let at = clock::now().wall;
    // Two channels may lead to the same receiver: it must not take the second for a repeat.
    let id = format!("t{}.{number}", at.0);
    Arc::new(Notification::test(id, channel.clone(), host.clone(), labels.clone(), at))
}

/// This host's part of idempotency keys.
pub(super) fn host_key() -> Arc<str> {
    notify::host_key(&std::fs::read_to_string("/etc/machine-id").unwrap_or_default())
}

/// Listens to what people answer on the channels that can hear, as tasks "listener NAME".
pub(super) fn listen(
    channels: &[Arc<dyn Channel>],
    acts: &Acts,
    stop: &CancellationToken,
    supervisor: &mut Supervisor,
) {
    for channel in channels {
        let (held, acts) = (channel.clone(), acts.clone());
        supervisor.spawn_listener(
            channel.name(),
            move || held.clone().listen(acts.clone()),
            stop.clone(),
        );
    }
}

/// Hands acts of people to the driver, and its answers back.
pub(super) fn acts(commands: mpsc::Sender<CommandRequest>) -> Acts {
    Arc::new(move |command| {
        let commands = commands.clone();
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let asked = async {
                commands.send(CommandRequest { command, reply }).await.ok()?;
                answer.await.ok()
            };
            match timeout(ANSWER_LIMIT, asked).await {
                Ok(Some(answer)) => answer,
                Ok(None) => Err("keepwell stops; nothing was done".into()),
                Err(_) => Err("keepwell did not answer within 5 s; see its log".into()),
            }
        })
    })
}
