//! What is rendered from one snapshot, each body at most once, and handed out without a copy.

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use flate2::Compression;
use flate2::write::GzEncoder;
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

impl Body {
    const ALL: usize = 10;

    fn place(self) -> usize {
        match self {
            Self::Health => 0,
            Self::HealthDraft => 1,
            Self::Detailed => 2,
            Self::Metrics(Format::Json) => 3,
            Self::Metrics(Format::Prometheus) => 4,
            Self::Metrics(Format::OpenMetrics) => 5,
            Self::Page(Lines::Hidden) => 6,
            Self::Page(Lines::Shown) => 7,
            Self::Status(Lines::Hidden) => 8,
            Self::Status(Lines::Shown) => 9,
        }
    }
}

/// Bodies of one snapshot, plain and packed by gzip.
pub(super) struct Rendered {
    pub(super) snapshot: Arc<Snapshot>,
    plain: [OnceLock<Bytes>; Body::ALL],
    packed: [OnceLock<Bytes>; Body::ALL],
}

impl Rendered {
    fn new(snapshot: Arc<Snapshot>) -> Self {
        Self { snapshot, plain: Default::default(), packed: Default::default() }
    }

    /// The body, rendered now if nobody has asked for it yet.
    pub(super) fn body(&self, body: Body, agent: &AgentInfo) -> Bytes {
        self.plain[body.place()].get_or_init(|| self.render(body, agent).into()).clone()
    }

    /// The same by gzip, packed now if nobody has asked for it yet.
    pub(super) fn packed(&self, body: Body, agent: &AgentInfo) -> Bytes {
        self.packed[body.place()].get_or_init(|| pack(&self.body(body, agent)).into()).clone()
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

/// The fastest level: metrics repeat themselves so much that a better one saves little, and the
/// loop that packs has other things to do.
fn pack(plain: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::with_capacity(plain.len() / 8), Compression::fast());
    let packed = packer.write_all(plain).and_then(|()| packer.finish());
    packed.expect("writing to memory does not fail")
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
