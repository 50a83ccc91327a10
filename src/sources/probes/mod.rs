//! Probes: what the configuration says to ask at an interval. Here: what a kind of probe is, and the
//! one source that runs them all, each on its own schedule. How bad a finding is the engine says.
//!
//! A new kind is one new file or folder here and one word in [`KINDS`]. It reads its own keys.

use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{self, Instant};

use crate::config::{Key, ProbeSection, Sink};
use crate::engine::observation::{Finding, ProbeOutcome, ProbeSeen, Round, SourceKind};
use crate::engine::{Human, Observation, Reason};

use super::{Closed, Running, Source, SourceContext};

mod git;
mod program;

/// So many look at a time: each may be a few programs.
const AT_ONCE: usize = 2;
/// The first look comes within this, so that hosts that boot together do not ask together.
const FIRST: Duration = Duration::from_secs(5);

/// A kind of probe that a configuration can name.
#[derive(Clone, Copy)]
pub struct Kind {
    /// As in `type = "git"`.
    pub name: &'static str,
    /// One line for documentation and hints.
    pub doc: &'static str,
    /// The keys of its own, besides those that every probe has.
    pub keys: &'static [Key],
    /// Between two looks, unless the configuration says.
    pub interval: Duration,
    /// Reads its keys; what is wrong goes into the sink.
    read: fn(&mut Reading<'_>) -> Option<Make>,
}

/// A `[[probe]]` section and what a kind needs to read its keys.
struct Reading<'a> {
    section: &'a ProbeSection,
    sink: &'a mut Sink,
}

/// Every kind there is.
pub const KINDS: &[Kind] = &[git::KIND];

/// A look under way.
type Looking<'a> = Pin<Box<dyn Future<Output = Finding> + 'a>>;

/// Asks one thing.
trait Probe {
    /// Looks once. At the time limit the future is dropped, and ends what it has started.
    fn look(&mut self) -> Looking<'_>;

    /// What it means that a look was not done within the limit.
    fn late(&mut self, limit: Duration) -> Finding {
        bad(Reason::ProbeTimeout, format!("not done within {}", Human(limit)))
    }
}

fn finding(outcome: ProbeOutcome, reason: Reason, summary: impl Into<String>) -> Finding {
    Finding { outcome, reason, summary: summary.into(), values: Vec::new() }
}

/// It is not as it should be.
fn bad(reason: Reason, summary: impl Into<String>) -> Finding {
    finding(ProbeOutcome::Bad, reason, summary)
}

/// It could not be looked at.
fn unclear(reason: Reason, summary: impl Into<String>) -> Finding {
    finding(ProbeOutcome::Unclear, reason, summary)
}

/// Makes a probe by what its section says.
type Make = Arc<dyn Fn() -> Box<dyn Probe> + Send + Sync>;

/// A probe of a configuration: what each source of it is made from.
#[derive(Clone)]
pub struct ProbePlan {
    name: Arc<str>,
    interval: Duration,
    timeout: Duration,
    make: Make,
}

/// Reads the probes of a configuration; what is wrong with a section goes into the sink.
pub fn probes(sections: &[ProbeSection], sink: &mut Sink) -> Vec<ProbePlan> {
    sections.iter().filter_map(|section| probe(section, sink)).collect()
}

fn probe(section: &ProbeSection, sink: &mut Sink) -> Option<ProbePlan> {
    let Some(kind) = KINDS.iter().find(|kind| section.kind == kind.name) else {
        let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        section.unknown_kind(&known, sink);
        return None;
    };
    let make = (kind.read)(&mut Reading { section, sink })?;
    let interval = section.interval.unwrap_or(kind.interval);
    let timeout = section.timeout.min(interval);
    Some(ProbePlan { name: section.name.clone(), interval, timeout, make })
}

/// Runs all probes. Each has at most one look under way; between two looks lies its interval, a
/// little shortened by chance. What is asked of all sources (`resync`) is about units and moves no
/// probe: a remote is not to be asked because a service fails.
pub struct ProbeSource {
    jobs: Vec<Job>,
}

struct Job {
    name: Arc<str>,
    interval: Duration,
    timeout: Duration,
    probe: Box<dyn Probe>,
}

impl ProbeSource {
    /// Starts nothing yet.
    pub fn new(plans: &[ProbePlan]) -> Self {
        let job = |plan: &ProbePlan| Job {
            name: plan.name.clone(),
            interval: plan.interval,
            timeout: plan.timeout,
            probe: (plan.make)(),
        };
        Self { jobs: plans.iter().map(job).collect() }
    }

    async fn watch(&mut self, context: &SourceContext) -> Result<(), Closed> {
        let turns = Semaphore::new(AT_ONCE);
        let lanes = self.jobs.iter_mut().map(|job| job.run(&turns, context));
        all(lanes.map(|lane| Box::pin(lane) as _).collect()).await?;
        context.send(Observation::Round(Round { source: SourceKind::Probes, total: None })).await
    }
}

impl Job {
    async fn run(&mut self, turns: &Semaphore, context: &SourceContext) -> Result<(), Closed> {
        let mut wait = match context.once {
            true => Duration::ZERO,
            false => FIRST.min(self.interval).mul_f64(chance()),
        };
        loop {
            time::sleep(wait).await;
            // It is never closed; without a turn it would only be one look more at a time.
            let turn = turns.acquire().await.ok();
            let began = Instant::now();
            let looked = time::timeout(self.timeout, self.probe.look()).await;
            let finding = looked.unwrap_or_else(|_| self.probe.late(self.timeout));
            let took = began.elapsed();
            drop(turn);
            let name = self.name.clone();
            context.send(Observation::Probe(ProbeSeen { name, finding, took })).await?;
            if context.once {
                return Ok(());
            }
            let rest = self.interval.mul_f64(1.0 - chance() / 10.0).saturating_sub(took);
            wait = rest.max(PAUSE);
        }
    }
}

impl Source for ProbeSource {
    fn kind(&self) -> SourceKind {
        SourceKind::Probes
    }

    fn run(&mut self, context: SourceContext) -> Running<'_> {
        super::until_stopped(context.stop.clone(), async move { self.watch(&context).await })
    }
}

/// Between two looks, also of a probe that needed its whole interval: what the first has left, such
/// as a file that is still being read, must be done with by then.
const PAUSE: Duration = Duration::from_secs(1);

/// A number from 0 to 1 that differs from host to host and time to time.
fn chance() -> f64 {
    f64::from((RandomState::new().hash_one(()) >> 32) as u32) / f64::from(u32::MAX)
}

/// All looks of one probe.
type Lane<'a> = Pin<Box<dyn Future<Output = Result<(), Closed>> + 'a>>;

/// Runs futures side by side to the end of all, or to the first error.
async fn all(mut lanes: Vec<Lane<'_>>) -> Result<(), Closed> {
    poll_fn(move |cx| {
        let mut at = 0;
        while at < lanes.len() {
            match lanes[at].as_mut().poll(cx) {
                Poll::Pending => at += 1,
                Poll::Ready(Ok(())) => drop(lanes.swap_remove(at)),
                Poll::Ready(Err(closed)) => return Poll::Ready(Err(closed)),
            }
        }
        if lanes.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

#[cfg(test)]
mod tests;
