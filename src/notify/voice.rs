//! What lanes of channels and of hooks have in common: how long a try may take, how they wait, and
//! that they say once how they do.

use std::future::pending;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{sleep, timeout};

use super::{Retry, SendError};
use crate::engine::event::{Event, Outcome, part_state};
use crate::engine::observation::{Part, PartState};
use crate::engine::time::Human;

/// No try may take longer, whatever the receiver's own limit is.
const TRY_LIMIT: Duration = Duration::from_secs(60);

/// What the receiver answered, or what went wrong.
pub(super) type Sent = Result<String, SendError>;

/// A try, within the limit that holds for every receiver.
pub(super) async fn limited(request: impl Future<Output = Sent>) -> Sent {
    timeout(TRY_LIMIT, request).await.unwrap_or_else(|_| {
        Err(SendError {
            retry: Retry::Later(None),
            text: format!("no answer within {}", Human(TRY_LIMIT)),
        })
    })
}

/// Waits so long; for ever without a limit.
pub(super) async fn nap(rest: Option<Duration>) {
    match rest {
        Some(rest) => sleep(rest).await,
        None => pending().await,
    }
}

/// What a lane tells the driver.
pub(super) struct Voice {
    part: Part,
    said: Option<PartState>,
    events: UnboundedSender<Event>,
}

impl Voice {
    /// For a lane that is this part of keepwell.
    pub(super) fn new(part: Part, events: UnboundedSender<Event>) -> Self {
        Self { part, said: None, events }
    }

    /// How a try went.
    pub(super) fn report(&self, outcome: Outcome) {
        self.event(Event::Outcome(outcome));
    }

    /// How the lane does, unless that is known.
    pub(super) fn say(&mut self, state: PartState) {
        // The words of an error may differ from try to try; that it is broken is news once.
        let same = match (&self.said, &state) {
            (Some(PartState::Broken(_)), PartState::Broken(_)) => true,
            (said, state) => said.as_ref() == Some(state),
        };
        if !same {
            self.say_anew(state);
        }
    }

    /// The same where it is news also after something like it.
    pub(super) fn say_anew(&mut self, state: PartState) {
        self.event(part_state(self.part.clone(), state.clone()));
        self.said = Some(state);
    }

    fn event(&self, event: Event) {
        // While the agent stops, the driver may be gone already.
        let _ = self.events.send(event);
    }
}
