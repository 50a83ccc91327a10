//! Lanes and channels, on real sockets of the loopback and on paused time.

mod chats;
mod collector;
mod delivery;
mod discord;
mod documents;
mod golden;
#[cfg(feature = "application-insights")]
mod insights;
mod lanes;
pub(super) mod load;
mod network;
mod slack;
mod stories;
mod teams;
mod telegram;
mod webhook;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::sample::AT as T0;
use super::*;
use crate::engine::alert::{Gist, Happening};
use crate::engine::time::Boot;
pub(super) use crate::outbound::tests::receiver;

/// Follows tokio's clock, so that it stands still and jumps with it.
fn now() -> Now {
    thread_local!(static BASE: tokio::time::Instant = tokio::time::Instant::now());
    let gone = BASE.with(tokio::time::Instant::elapsed);
    Now { boot: Boot(1_000_000_000).after(gone), wall: T0.after(gone) }
}

fn notification(id: &str, happening: Happening) -> Notification {
    let mut alert = sample::alert();
    alert.resolved = (happening == Happening::Resolved).then(|| T0.after(Duration::from_secs(312)));
    Notification { id: id.into(), ..sample::of(happening, alert) }
}

/// A channel that does what it is told, and remembers what it got.
#[derive(Default)]
struct Fake {
    name: Option<Arc<str>>,
    got: Mutex<Vec<(Boot, Outgoing)>>,
    /// What the next tries bring; when used up, success.
    script: Mutex<std::collections::VecDeque<Answer>>,
    /// The ids of what it has taken.
    accepted: Mutex<Vec<Arc<str>>>,
}

#[derive(Debug, Clone)]
enum Answer {
    Ok,
    Fail(Retry),
    Hang,
}

impl Fake {
    fn new(script: impl IntoIterator<Item = Answer>) -> Arc<Self> {
        Arc::new(Self {
            name: Some("ops".into()),
            got: Mutex::default(),
            script: Mutex::new(script.into_iter().collect()),
            accepted: Mutex::default(),
        })
    }

    fn ids(&self) -> Vec<String> {
        self.got.lock().unwrap().iter().map(|(_, m)| m.notification.id.to_string()).collect()
    }

    fn times(&self) -> Vec<Boot> {
        self.got.lock().unwrap().iter().map(|(at, _)| *at).collect()
    }
}

impl Channel for Fake {
    fn name(&self) -> &Arc<str> {
        self.name.as_ref().unwrap()
    }

    fn send<'a>(&'a self, message: &'a Outgoing) -> BoxFuture<'a, Result<String, SendError>> {
        self.got.lock().unwrap().push((now().boot, message.clone()));
        let answer = self.script.lock().unwrap().pop_front().unwrap_or(Answer::Ok);
        Box::pin(async move {
            // A delivery takes a moment, in which other things happen.
            tokio::time::sleep(Duration::from_millis(20)).await;
            match answer {
                Answer::Ok => {
                    let id = message.notification.id.clone();
                    self.accepted.lock().unwrap().push(id);
                    Ok("ok".into())
                }
                Answer::Fail(retry) => {
                    Err(SendError { retry, text: "the receiver said no".into() })
                }
                Answer::Hang => std::future::pending().await,
            }
        })
    }
}
