//! What is rendered from one snapshot, each body at most once, and handed out without a copy.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use hyper::body::Bytes;
use tokio::sync::watch;

use crate::engine::Snapshot;
use crate::surfaces::health;
use crate::surfaces::metrics::{self, Format};
use crate::surfaces::page;
use crate::surfaces::report::{Lines, StatusReport};

use super::AgentInfo;

/// A body that is rendered once per snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    Health,
    HealthDraft,
    Detailed,
    Metrics(Format),
    Page(Lines),
    Status(Lines),
}

/// Bodies of one snapshot.
pub(super) struct Rendered {
    pub(super) snapshot: Arc<Snapshot>,
    bodies: [OnceLock<Bytes>; 10],
}

impl Rendered {
    fn new(snapshot: Arc<Snapshot>) -> Self {
        Self { snapshot, bodies: Default::default() }
    }

    /// The body, rendered now if nobody has asked for it yet.
    pub(super) fn body(&self, body: Body, agent: &AgentInfo) -> Bytes {
        let place = match body {
            Body::Health => 0,
            Body::HealthDraft => 1,
            Body::Detailed => 2,
            Body::Metrics(Format::Json) => 3,
            Body::Metrics(Format::Prometheus) => 4,
            Body::Metrics(Format::OpenMetrics) => 5,
            Body::Page(Lines::Hidden) => 6,
            Body::Page(Lines::Shown) => 7,
            Body::Status(Lines::Hidden) => 8,
            Body::Status(Lines::Shown) => 9,
        };
        self.bodies[place].get_or_init(|| self.render(body, agent).into()).clone()
    }

    fn render(&self, body: Body, agent: &AgentInfo) -> Vec<u8> {
        let snapshot = &self.snapshot;
        match body {
            Body::Health => health::plain(snapshot),
            Body::HealthDraft => health::draft(snapshot, agent.version),
            Body::Detailed => health::json(&self.report(Lines::Hidden, agent)),
            Body::Metrics(format) => metrics::render(snapshot, agent.version, format),
            Body::Page(lines) => page::render(&self.report(lines, agent), &agent.url).into_bytes(),
            Body::Status(lines) => health::json(&self.report(lines, agent)),
        }
    }

    /// The snapshot as typed JSON; made anew for each call.
    pub(super) fn report(&self, lines: Lines, agent: &AgentInfo) -> StatusReport {
        StatusReport::of(&self.snapshot, agent.version, lines)
    }
}

/// Holds the bodies of the latest snapshot that somebody asked about.
#[derive(Default)]
pub(super) struct Cache(Mutex<Option<Arc<Rendered>>>);

impl Cache {
    /// The bodies of the present snapshot. The driver holds neither lock while it works: it takes
    /// the channel's for the moment of publishing only.
    pub(super) fn current(&self, latest: &watch::Receiver<Arc<Snapshot>>) -> Arc<Rendered> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = latest.borrow();
        match &*slot {
            Some(rendered) if Arc::ptr_eq(&rendered.snapshot, &latest) => rendered.clone(),
            _ => slot.insert(Arc::new(Rendered::new(latest.clone()))).clone(),
        }
    }
}
