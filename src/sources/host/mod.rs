//! The host: memory, swap, processor, load, pressure, out-of-memory kills and file systems, sampled
//! at an interval.
//!
//! One file a kind of reading; each takes a root folder, so that a test is a temporary fake
//! `/proc`. This file holds the source that puts them together. Thresholds are the engine's.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{self, MissedTickBehavior};

use crate::engine::Observation;
use crate::engine::observation::{HostSeen, Part, PartSeen, PartState, Round, SourceKind};

use super::{Closed, Running, Source, SourceContext};

pub(in crate::sources) mod blocking;
mod disks;
mod memory;
mod mountinfo;
mod mounts;
mod pressure;
mod proc_file;
mod process;
mod processor;

pub use mounts::{BadPattern, DiskFilter};
pub use proc_file::ReadError;

use disks::Disks;
use proc_file::ProcFiles;
use process::ProcessSelf;
use processor::CpuMeter;

/// Between the first two readings of the processor, so that the first round knows its use.
const FIRST_SPAN: Duration = Duration::from_millis(200);

/// What of the host is watched, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostWatch {
    /// Between two samplings.
    pub interval: Duration,
    /// Where `/proc` and the mounts are; `/` except in tests.
    pub root: PathBuf,
    /// Where the host's own `/` is mounted: elsewhere in a container.
    pub host: PathBuf,
    /// File systems to leave out.
    pub disks: DiskFilter,
    /// How long a file system may take to answer before it counts as hanging.
    pub limit: Duration,
}

impl Default for HostWatch {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30),
            root: "/".into(),
            host: "/".into(),
            disks: DiskFilter::default(),
            limit: Duration::from_secs(5),
        }
    }
}

/// Samples the host. A round is [`Observation::Host`], [`Observation::Disks`] and
/// [`Observation::Round`]; without a table of mounts there is no `Disks`, because one that is
/// missing in it would count as gone. What cannot be read is told as [`Part::Source`] on change.
pub struct HostSource {
    interval: Duration,
    files: ProcFiles,
    meter: CpuMeter,
    disks: Disks,
    own: ProcessSelf,
    /// What could not be read in the last round.
    problems: Vec<String>,
}

impl HostSource {
    /// Reads nothing yet.
    pub fn new(watch: HostWatch) -> Self {
        Self {
            interval: watch.interval.max(Duration::from_millis(10)),
            files: ProcFiles::new(&watch.root),
            meter: CpuMeter::default(),
            disks: Disks::new(watch.root, watch.host, watch.disks, watch.limit),
            own: ProcessSelf::new(),
            problems: Vec::new(),
        }
    }

    async fn watch(&mut self, context: &SourceContext) -> Result<(), Closed> {
        let mut ticks = time::interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            // Listening before the round begins: what is asked for meanwhile is not missed.
            let resync = context.resync.notified();
            tokio::pin!(resync);
            resync.as_mut().enable();
            self.round(context).await?;
            if context.once {
                return Ok(());
            }
            tokio::select! {
                () = resync => ticks.reset(),
                _ = ticks.tick() => {}
            }
        }
    }

    async fn round(&mut self, context: &SourceContext) -> Result<(), Closed> {
        let mut problems = Vec::new();
        if !self.meter.is_primed() {
            // Whatever is wrong with the file is told by the sampling that follows.
            if let Ok(Some(times)) = processor::cpu_times(&mut self.files) {
                self.meter.next(times);
                time::sleep(FIRST_SPAN).await;
            }
        }
        let host = self.host(&mut problems);
        context.send(Observation::Host(host)).await?;
        let mut problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        match self.disks.sample().await {
            Ok((seen, problem)) => {
                problems.extend(problem);
                context.send(Observation::Disks(seen)).await?;
            }
            Err(e) => problems.push(format!("{e}: file systems are not watched")),
        }
        if problems != self.problems {
            let state = if problems.is_empty() {
                PartState::Works
            } else {
                PartState::Broken(problems.join("; "))
            };
            let part = Part::Source(SourceKind::Host);
            context.send(Observation::Part(PartSeen { part, state })).await?;
            self.problems = problems;
        }
        context.send(Observation::Round(Round { source: SourceKind::Host, total: None })).await
    }

    /// One reading of everything in `/proc`. It never waits: the kernel answers from memory.
    fn host(&mut self, problems: &mut Vec<ReadError>) -> HostSeen {
        let files = &mut self.files;
        let mut keep = |e| problems.push(e);
        let (memory, swap) = memory::memory(files).map_err(&mut keep).unwrap_or_default();
        let times = processor::cpu_times(files).map_err(&mut keep).unwrap_or_default();
        let load = processor::load(files).map_err(&mut keep).unwrap_or_default();
        let uptime = processor::uptime(files).map_err(&mut keep).unwrap_or_default();
        let oom_kills = memory::oom_kills(files).map_err(&mut keep).unwrap_or_default();
        HostSeen {
            memory,
            swap,
            cpu: times.and_then(|times| self.meter.next(times)),
            load,
            cpus: times.map_or(0, |times| times.cpus),
            pressure: pressure::pressure(files, problems),
            oom_kills,
            uptime,
            own: self.own.read(),
        }
    }
}

impl Source for HostSource {
    fn kind(&self) -> SourceKind {
        SourceKind::Host
    }

    fn run(&mut self, context: SourceContext) -> Running<'_> {
        super::until_stopped(context.stop.clone(), async move { self.watch(&context).await })
    }
}

#[cfg(test)]
pub(in crate::sources) mod tests;
