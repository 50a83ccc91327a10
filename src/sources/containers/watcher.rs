//! One container engine, watched for as long as the source lives: connecting, what is told when it
//! is away, and trying again.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{self, Instant};

use crate::docker::DockerError;
use crate::engine::Observation;
use crate::engine::observation::{Part, PartSeen, PartState};
use crate::sources::Closed;
use crate::systemd::redact::redact;

use super::opening::{self, Opened};
use super::refusals::Refusals;
use super::session::{End, Session};
use super::{Pass, Watched};

/// Waits between attempts.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(15);

/// An engine that breaks off sooner, time and again, is asked more and more seldom: each time all
/// of its containers are looked at.
const STEADY: Duration = Duration::from_secs(5);

/// An engine that is watched by another address is seldom asked whether it still is that one.
const TWIN_RETRY: Duration = Duration::from_secs(60);

/// Whether an engine that is away is missed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Missed {
    /// From the start; otherwise once it has answered.
    pub(super) now: bool,
    /// However long it is away: something names it.
    pub(super) always: bool,
}

/// Watches one engine.
pub(super) struct Watcher {
    watched: Watched,
    missed: Missed,
    asks: mpsc::UnboundedReceiver<Pass>,
    /// Those who wait for its next list.
    passes: Vec<Pass>,
    /// It has answered before.
    worked: bool,
    /// When it was lost.
    lost: Option<Instant>,
    failing: Option<Instant>,
    retry: Duration,
    told: Option<PartState>,
    /// It was said that it refuses what it cannot be watched without.
    refused: bool,
    /// What it refuses of the rest.
    refusals: Refusals,
}

impl Watcher {
    pub(super) fn new(
        watched: Watched,
        missed: Missed,
        asks: mpsc::UnboundedReceiver<Pass>,
        pass: Pass,
    ) -> Self {
        Self {
            watched,
            missed,
            asks,
            passes: vec![pass],
            worked: false,
            lost: None,
            failing: None,
            retry: FIRST_RETRY,
            told: None,
            refused: false,
            refusals: Refusals::default(),
        }
    }

    /// Until the driver is gone; once, where one look is wanted.
    pub(super) async fn run(mut self) -> Result<(), Closed> {
        loop {
            match self.session().await {
                Ok(()) => return Ok(()),
                Err(End::Closed) => return Err(Closed),
                Err(End::Behind) => continue,
                Err(End::Away(error)) => self.away(error).await?,
            }
            if self.watched.context.once {
                return Ok(());
            }
            self.wait().await;
        }
    }

    async fn session(&mut self) -> Result<(), End> {
        let mut opened = opening::open(&self.watched).await?;
        self.works(&opened);
        self.watched.engines.opened();
        if let Some(lost) = self.lost.take() {
            opened.was_away(self.watched.engine(), lost.elapsed());
        }
        let passes = std::mem::take(&mut self.passes);
        let (mut session, events) = Session::new(&self.watched, &mut self.refusals, opened, passes);
        let began = Instant::now();
        let ended = session.run(events, &mut self.asks).await;
        if began.elapsed() >= STEADY {
            self.retry = FIRST_RETRY;
        }
        self.passes = session.into_passes();
        // One that hangs may do later what a person asks it for now.
        let gone = matches!(
            ended,
            Err(End::Away(DockerError::Broken { .. } | DockerError::Refused { .. }))
        );
        self.lost = gone.then(Instant::now);
        ended
    }

    fn works(&mut self, opened: &Opened) {
        let (version, containers) = (&*opened.version, opened.ids.len());
        let endpoint = self.watched.client.endpoint();
        let (engine, at) = (&*endpoint.name, endpoint.address.to_string());
        if !self.worked {
            tracing::info!(engine, at, version, containers, "a container engine is watched");
        } else if self.refused || matches!(self.told, Some(PartState::Broken(_))) {
            tracing::info!(engine, at, version, containers, "the container engine is back");
        }
        self.worked = true;
        self.failing = None;
        self.refused = false;
        self.told = Some(PartState::Works);
    }

    /// Tells that the engine is away, when it is time to.
    async fn away(&mut self, error: DockerError) -> Result<(), Closed> {
        // Whoever waits for its list waits in vain, and goes on once this is told.
        let _waited = std::mem::take(&mut self.passes);
        if matches!(error, DockerError::Twin { .. }) {
            self.retry = TWIN_RETRY;
        }
        let now = Instant::now();
        let since = *self.failing.get_or_insert(now);
        let text = redact(&error.to_string()).into_owned();
        let removed = matches!(error, DockerError::NoSocket { .. })
            && !self.missed.always
            && now.duration_since(since) >= self.watched.settings.removed;
        let missed = !removed && (self.missed.now || self.worked);
        // What may be over soon: the engine is being restarted, or has not come up yet.
        let passing = matches!(
            error,
            DockerError::NoSocket { .. }
                | DockerError::Refused { .. }
                | DockerError::Broken { .. }
                | DockerError::Failed { .. }
        );
        let wait = passing && missed && !self.watched.context.once;
        if wait && now.duration_since(since) < self.watched.settings.patience {
            tracing::debug!(engine = &**self.watched.engine(), text, "away; waiting");
            return Ok(());
        }
        let state = if missed { PartState::Broken(text) } else { PartState::Absent(text) };
        if self.told.as_ref() == Some(&state) {
            return Ok(());
        }
        let engine = &**self.watched.engine();
        // Whoever put a proxy there wants to know, also where nobody counts on containers.
        let refuses = matches!(error, DockerError::Forbidden { .. });
        let news = refuses && !self.refused;
        self.refused |= refuses;
        match (&state, &self.told) {
            (PartState::Broken(why) | PartState::Absent(why), _) if news => {
                tracing::warn!(engine, why, "a container engine cannot be watched");
            }
            (PartState::Broken(why), None | Some(PartState::Works)) => {
                tracing::warn!(engine, why, "a container engine cannot be watched");
            }
            (PartState::Absent(_), Some(PartState::Broken(_))) if removed => {
                tracing::info!(engine, "its socket has been gone for long: it counts as removed");
            }
            (PartState::Broken(why) | PartState::Absent(why), _) => {
                tracing::debug!(engine, why, "a container engine cannot be watched");
            }
            (PartState::Works, _) => {}
        }
        if removed {
            // Should it come back, it is found like one that is new.
            self.watched.engines.forget(self.watched.engine());
            (self.missed.now, self.worked) = (false, false);
        }
        self.told = Some(state.clone());
        let part = Part::Engine(self.watched.engine().clone());
        self.watched.context.send(Observation::Part(PartSeen { part, state })).await
    }

    /// Until it is worth trying again.
    async fn wait(&mut self) {
        let told = matches!(self.told, Some(PartState::Broken(_) | PartState::Absent(_)));
        let mut wait = self.retry;
        if let Some(since) = self.failing.filter(|_| !told) {
            // So that what is not over by then is told in time.
            let left = (since + self.watched.settings.patience).duration_since(Instant::now());
            wait = wait.min(left.max(FIRST_RETRY));
        }
        self.retry = (self.retry * 2).min(LAST_RETRY);
        tokio::select! {
            () = time::sleep(wait) => {}
            Some(pass) = self.asks.recv() => self.passes.push(pass),
        }
    }
}
