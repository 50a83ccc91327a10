//! Units as systemd tells of them: the source that turns signals and resyncs into observations.
//!
//! One connection carries everything, signals and the answers to questions, in the order in which
//! systemd sent them (`systemd::bus::feed`), and this source reads it all the time, so a burst
//! costs memory of filtered observations only. What is decided about a unit is the engine's
//! business.
//!
//! What is sent, in this order after a start and after each reconnect:
//! 1. [`Part::Bus`] `Works`;
//! 2. what the journal knows of the gap ([`Observation::Life`]), then [`Observation::CaughtUp`];
//! 3. the present of each named unit, of each failing one, and of each in [`UnitsWatch::also`];
//! 4. [`Observation::Round`].
//!
//! A named unit goes by the name that it was named with, also where that is an alias. One that does
//! not exist is sent with `load` `NotFound`. A glob that matches nothing is sent in the same way,
//! with the glob itself as the name; it is not taken back when something matches later, because
//! that unit is then sent under its own name.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::engine::Observation;
use crate::engine::observation::{Life, Part, PartSeen, PartState, Round, SourceKind};
use crate::sources::{Running, Source, SourceContext, SourceError};
use crate::systemd::bus::{BusAddress, BusError};

mod graph;
mod manager;
mod queue;
mod reads;
mod session;
mod table;
mod watch;

pub use watch::UnitsWatch;

use session::{Ended, Session};
use table::Table;
use watch::Watch;

/// What the journal knows of the time since it was last asked, and the cursor up to which it was
/// read.
pub type Lives = (Vec<Life>, Option<String>);

/// Asks the journal for [`Lives`]; keeps the cursor from call to call. The error is one line for
/// people.
pub type LifeReader =
    Box<dyn FnMut() -> Pin<Box<dyn Future<Output = Result<Lives, String>>>> + 'static>;

/// How long the journal may take.
const LIVES_LIMIT: Duration = Duration::from_secs(30);
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(5);
/// How often to look whether systemd has appeared on a host without it.
const ABSENT_RETRY: Duration = Duration::from_secs(30);

/// The source of units.
pub struct UnitsSource {
    address: BusAddress,
    table: Table,
    lives: Option<LifeReader>,
    bus: Option<PartState>,
}

impl UnitsSource {
    /// Watches `watch` on the systemd at `address`; without `lives`, what happened while nobody
    /// listened stays unknown.
    pub fn new(address: BusAddress, watch: UnitsWatch, lives: Option<LifeReader>) -> Self {
        Self { address, table: Table::new(Watch::new(watch)), lives, bus: None }
    }

    async fn observe(&mut self, context: SourceContext) {
        let mut retry = FIRST_RETRY;
        while !context.stop.is_cancelled() {
            self.table.gap();
            let opened = tokio::select! {
                () = context.stop.cancelled() => return,
                opened = Session::open(&self.address) => opened,
            };
            let error = match opened {
                Err(error) => error,
                Ok(mut session) => {
                    if self.bus != Some(PartState::Works) {
                        self.bus = Some(PartState::Works);
                        if self.say(&context).await.is_err() {
                            return;
                        }
                    }
                    retry = FIRST_RETRY;
                    match session.run(&mut self.table, self.lives.as_mut(), &context).await {
                        Ended::Stopped => return,
                        Ended::Lost(error) => error,
                    }
                }
            };
            let (state, wait) = match &error {
                BusError::Absent(_) => (PartState::Absent(error.to_string()), ABSENT_RETRY),
                _ => (PartState::Broken(error.to_string()), retry),
            };
            // The first words stay; what a retry says differs in details only.
            let same = self.bus.as_ref().map(std::mem::discriminant)
                == Some(std::mem::discriminant(&state));
            if !same {
                tracing::warn!(bus = %self.address, %error, "systemd cannot be observed");
                self.bus = Some(state);
                if self.say(&context).await.is_err() {
                    return;
                }
            }
            if context.once {
                let round = Round { source: SourceKind::Units, total: None };
                // Nobody listens any more: then nobody misses it either.
                let _ = context.send(Observation::Round(round)).await;
                return;
            }
            tokio::select! {
                () = context.stop.cancelled() => return,
                () = context.resync.notified() => {}
                () = sleep(wait) => {}
            }
            retry = (retry * 2).min(LAST_RETRY);
        }
    }

    async fn say(&self, context: &SourceContext) -> Result<(), crate::sources::Closed> {
        let Some(state) = self.bus.clone() else { return Ok(()) };
        context.send(Observation::Part(PartSeen { part: Part::Bus, state })).await
    }
}

impl Source for UnitsSource {
    fn kind(&self) -> SourceKind {
        SourceKind::Units
    }

    fn run(&mut self, context: SourceContext) -> Running<'_> {
        Box::pin(async move {
            self.observe(context).await;
            Ok::<(), SourceError>(())
        })
    }
}

/// A reading of the journal, with its time limit.
type Reading = Pin<Box<dyn Future<Output = Result<Lives, String>>>>;

fn read(reader: &mut LifeReader) -> Reading {
    let reading = reader();
    Box::pin(async move {
        timeout(LIVES_LIMIT, reading).await.unwrap_or_else(|_| {
            Err(format!("the journal did not answer within {} s", LIVES_LIMIT.as_secs()))
        })
    })
}
