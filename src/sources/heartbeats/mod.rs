//! Heartbeat files: when a program last touched them. How old is too old is the engine's to say.
//!
//! Looking is in `search`, what refuses and the remedy in `refusal`; this file holds the source.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{self, MissedTickBehavior};

use crate::engine::observation::{HeartbeatSeen, HeartbeatState, Round, SourceKind};
use crate::engine::{Human, Observation};

use super::host::blocking::{Blocking, Lane, Reply};
use super::{Closed, Running, Source, SourceContext};

pub(in crate::sources) mod refusal;
mod search;

pub use search::{BadPath, FilePattern, MOST_MATCHES};

use refusal::Looker;

/// Which files are watched, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatWatch {
    /// Between two samplings.
    pub interval: Duration,
    /// Index into [`crate::engine::Rules::heartbeats`], and where the files are.
    pub files: Vec<(usize, FilePattern)>,
    /// How long looking at one pattern may take before it counts as hanging.
    pub limit: Duration,
}

impl HeartbeatWatch {
    /// Watches `files` every 30 s, with a limit of 5 s.
    pub fn new(files: Vec<(usize, FilePattern)>) -> Self {
        Self { interval: Duration::from_secs(30), files, limit: Duration::from_secs(5) }
    }
}

/// Samples the heartbeat files. A round is [`Observation::Heartbeats`] and [`Observation::Round`];
/// without any file it is the latter only, and none follows until somebody asks.
pub struct HeartbeatSource {
    interval: Duration,
    limit: Duration,
    asker: Blocking<FilePattern, Vec<(Arc<str>, HeartbeatState)>>,
    /// Every pattern once; several rules may name the same.
    questions: Vec<(FilePattern, Lane)>,
    files: Vec<(usize, FilePattern)>,
}

impl HeartbeatSource {
    /// Looks at nothing yet.
    pub fn new(watch: HeartbeatWatch) -> Self {
        let looker = Looker::this_process(Path::new("/"));
        let asker = Blocking::new("kw-heartbeats", watch.limit, move |pattern: &FilePattern| {
            pattern.look(&looker)
        });
        let mut once = HashSet::new();
        let questions = watch
            .files
            .iter()
            .filter(|(_, pattern)| once.insert(pattern))
            .map(|(_, pattern)| (pattern.clone(), Lane::Shared))
            .collect();
        Self {
            interval: watch.interval.max(Duration::from_millis(10)),
            limit: watch.limit,
            asker,
            questions,
            files: watch.files,
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
            if !self.files.is_empty() {
                let seen = self.sample().await;
                context.send(Observation::Heartbeats(seen)).await?;
            }
            let round = Round { source: SourceKind::Heartbeats, total: None };
            context.send(Observation::Round(round)).await?;
            if context.once {
                return Ok(());
            }
            tokio::select! {
                () = resync => ticks.reset(),
                _ = ticks.tick(), if !self.files.is_empty() => {}
            }
        }
    }

    async fn sample(&mut self) -> Vec<HeartbeatSeen> {
        let replies = self.asker.ask(&self.questions).await;
        let mut seen = Vec::new();
        for ((pattern, _), reply) in self.questions.iter().zip(replies) {
            let found = match reply {
                Reply::Answer(found) => found,
                Reply::Hangs => {
                    let limit = Human(self.limit);
                    let text = format!("no answer within {limit}: its file system hangs");
                    vec![(pattern.text(), HeartbeatState::Error(text))]
                }
                Reply::NotAsked(why) => vec![(pattern.text(), HeartbeatState::Error(why))],
            };
            for (rule, _) in self.files.iter().filter(|(_, other)| other == pattern) {
                seen.extend(found.iter().map(|(path, state)| HeartbeatSeen {
                    path: Arc::clone(path),
                    rule: *rule,
                    state: state.clone(),
                }));
            }
        }
        seen
    }
}

impl Source for HeartbeatSource {
    fn kind(&self) -> SourceKind {
        SourceKind::Heartbeats
    }

    fn run(&mut self, context: SourceContext) -> Running<'_> {
        super::until_stopped(context.stop.clone(), async move { self.watch(&context).await })
    }
}

#[cfg(test)]
mod tests;
