//! What running containers use: by the files of their cgroups, which cost least, and by asking the
//! engine where these cannot be read (another host, other process numbers). `docs/benchmarks.md` has
//! what each costs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::docker::{Client, DockerError, Stats};
use crate::engine::observation::UsageSeen;

use super::cgroup::Cgroups;

/// Questions to the engine at a time.
const ASKED: usize = 16;

/// Samples one engine's containers.
pub(super) struct Sampler {
    client: Arc<Client>,
    files: Cgroups,
    /// Processor time of the last sampling, and when that was.
    before: BTreeMap<Arc<str>, (Instant, f64)>,
    /// The engine refuses to say; it is not asked again for a while.
    refused: bool,
    /// What it last said to that.
    verdict: Option<Result<(), DockerError>>,
}

impl Sampler {
    /// `root`: where `/proc` and `/sys` are. Those of an engine elsewhere are not there, which is
    /// noticed.
    pub(super) fn new(client: Arc<Client>, root: PathBuf) -> Self {
        let files = Cgroups::new(root);
        Self { client, files, before: BTreeMap::new(), refused: false, verdict: None }
    }

    /// Whether the engine says what containers use, where it has been asked since this was asked
    /// last.
    pub(super) fn verdict(&mut self) -> Option<Result<(), DockerError>> {
        self.verdict.take()
    }

    /// An engine that refuses to say is to be asked again.
    pub(super) fn try_again(&mut self) {
        self.refused = false;
    }

    /// One sampling of these containers, of which the processes are known.
    pub(super) async fn sample(&mut self, running: Vec<(Arc<str>, u32)>) -> Vec<UsageSeen> {
        let mut all = Vec::with_capacity(running.len());
        let mut unread = Vec::new();
        for (id, pid) in running {
            match self.files.usage(&id, pid) {
                Some(seen) => all.push(UsageSeen { id, ..seen }),
                None => unread.push(id),
            }
            // Many containers are not to hold up what else this thread does.
            tokio::task::yield_now().await;
        }
        let mut before = BTreeMap::new();
        let now = Instant::now();
        for seen in &mut all {
            self.rate(seen, now, &mut before);
        }
        for (mut seen, at) in self.ask(unread).await {
            self.rate(&mut seen, at, &mut before);
            all.push(seen);
        }
        self.before = before;
        all
    }

    /// Adds what is known only with the sampling before.
    fn rate(
        &self,
        seen: &mut UsageSeen,
        now: Instant,
        before: &mut BTreeMap<Arc<str>, (Instant, f64)>,
    ) {
        seen.engine = self.client.endpoint().name.clone();
        let Some(total) = seen.cpu_seconds else { return };
        // Less than before: another run.
        let last = self.before.get(&seen.id).filter(|(_, last)| *last <= total);
        seen.cpus = last.and_then(|(at, last)| {
            let span = now.duration_since(*at).as_secs_f64();
            (span > 0.01).then(|| (total - last) / span)
        });
        before.insert(seen.id.clone(), (now, total));
    }

    /// Asks the engine about these. Docker samples once a second and answers then, so several at a
    /// time.
    async fn ask(&mut self, ids: Vec<Arc<str>>) -> Vec<(UsageSeen, Instant)> {
        let mut all = Vec::new();
        let mut ids = ids.into_iter();
        let mut asked = JoinSet::new();
        while !self.refused {
            while asked.len() < ASKED
                && let Some(id) = ids.next()
            {
                let client = self.client.clone();
                asked.spawn(async move {
                    let stats = client.stats(&id).await;
                    (id, stats, Instant::now())
                });
            }
            let Some(Ok((id, stats, at))) = asked.join_next().await else { break };
            match stats {
                Ok(stats) => {
                    self.verdict = Some(Ok(()));
                    all.push((of_stats(id, &stats), at));
                }
                Err(error @ DockerError::Forbidden { .. }) => {
                    self.refused = true;
                    self.verdict = Some(Err(error));
                }
                Err(error) => tracing::debug!(%error, "what a container uses is not known"),
            }
        }
        all
    }
}

fn of_stats(id: Arc<str>, stats: &Stats) -> UsageSeen {
    let (received, sent) = stats.network().unzip();
    let (read, written) = stats.block().unzip();
    UsageSeen {
        id,
        cpu_seconds: stats.cpu_seconds(),
        memory: stats.memory(),
        received,
        sent,
        read,
        written,
        pids: stats.pids(),
        ..UsageSeen::default()
    }
}
