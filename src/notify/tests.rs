//! Lanes and webhooks, on real sockets of the loopback and on paused time.

mod delivery;
mod golden;
mod lanes;
mod stories;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::engine::alert::{AlertKey, AlertRecord, Happening};
use crate::engine::time::Boot;
use crate::engine::words::{AlertKind, CheckId, Reason, Severity};

/// 2026-11-21 06:41:23.5 UTC.
const T0: Wall = Wall(1_795_243_283_500_000);

/// Follows tokio's clock, so that it stands still and jumps with it.
fn now() -> Now {
    thread_local!(static BASE: tokio::time::Instant = tokio::time::Instant::now());
    let gone = BASE.with(tokio::time::Instant::elapsed);
    Now { boot: Boot(1_000_000_000).after(gone), wall: T0.after(gone) }
}

fn alert(happening: Happening) -> AlertRecord {
    AlertRecord {
        id: "a7".into(),
        key: AlertKey { check: CheckId::unit("nginx.service"), kind: AlertKind::State },
        severity: Severity::Critical,
        reason: Reason::ExitCode,
        summary: "failed: exited with status 3".into(),
        opened: T0,
        resolved: (happening == Happening::Resolved).then(|| T0.after(Duration::from_secs(312))),
        revision: 1,
        told: Vec::new(),
        last_told: None,
        lines: vec!["starting".into(), "cannot bind to \u{1b}[31m0.0.0.0:80".into()],
        acts: vec!["waits 10 s before it restarts it".into()],
    }
}

fn notification(subject: &str, happening: Happening, revision: u32) -> Notification {
    let mut alert = alert(happening);
    alert.id = subject.into();
    alert.revision = revision;
    Notification {
        id: format!("{subject}-{revision}"),
        subject: subject.into(),
        channels: vec!["ops".into()],
        happening,
        at: T0,
        host: "web1".into(),
        labels: Arc::new(BTreeMap::from([("env".into(), "prod".into())])),
        alerts: vec![alert],
    }
}

fn outgoing(notification: Notification) -> Outgoing {
    Outgoing {
        key: format!("0011-{}", notification.id),
        opening: crate::store::opens(notification.happening),
        delayed: None,
        now: Now { boot: Boot(0), wall: T0 },
        notification: Arc::new(notification),
    }
}

/// A channel that does what it is told, and remembers what it got.
#[derive(Default)]
struct Fake {
    name: Option<Arc<str>>,
    got: Mutex<Vec<(Boot, Outgoing)>>,
    /// What the next tries bring; when used up, success.
    script: Mutex<std::collections::VecDeque<Answer>>,
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
        })
    }

    fn ids(&self) -> Vec<String> {
        self.got.lock().unwrap().iter().map(|(_, m)| m.notification.id.clone()).collect()
    }

    fn times(&self) -> Vec<Boot> {
        self.got.lock().unwrap().iter().map(|(at, _)| *at).collect()
    }
}

impl Channel for Fake {
    fn name(&self) -> &Arc<str> {
        self.name.as_ref().unwrap()
    }

    fn send<'a>(&'a self, message: &'a Outgoing) -> BoxFuture<'a, Result<(), SendError>> {
        self.got.lock().unwrap().push((now().boot, message.clone()));
        let answer = self.script.lock().unwrap().pop_front().unwrap_or(Answer::Ok);
        Box::pin(async move {
            // A delivery takes a moment, in which other things happen.
            tokio::time::sleep(Duration::from_millis(20)).await;
            match answer {
                Answer::Ok => Ok(()),
                Answer::Fail(retry) => {
                    Err(SendError { retry, text: "the receiver said no".into() })
                }
                Answer::Hang => std::future::pending().await,
            }
        })
    }
}
