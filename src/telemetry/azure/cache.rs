//! A token is fetched once for all who need it, early enough, and kept while it is good.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::exchange::Exchange;
use super::managed::Managed;
use super::token::Token;
use crate::config::Secret;
use crate::engine::time::Human;
use crate::engine::{Boot, Now};
use crate::outbound::{BoxFuture, Retry, SendError};
use crate::telemetry::otlp::Tokens;

/// A token is fetched anew when so much of its life is left, or a tenth if that is more; of a short
/// life at most half.
const EARLY: Duration = Duration::from_secs(5 * 60);
/// While an older token is good, the next try waits at least so long.
const REST: Duration = Duration::from_secs(60);
/// However long somebody asks to be left alone, they are asked again after this.
const LONGEST: Duration = Duration::from_secs(30 * 60);

/// Who is asked for tokens.
pub(super) enum Source {
    /// The metadata service of the machine.
    Managed(Managed),
    /// Entra ID.
    Exchange(Exchange),
}

impl Source {
    /// As the configuration calls it.
    fn name(&self) -> &'static str {
        match self {
            Self::Managed(_) => "managed",
            Self::Exchange(exchange) => exchange.name(),
        }
    }

    async fn fetch(&self, now: Now) -> Result<Token, SendError> {
        match self {
            Self::Managed(managed) => managed.fetch(now).await,
            Self::Exchange(exchange) => exchange.fetch(now).await,
        }
    }
}

/// Tokens of one source.
pub(super) struct Cached {
    source: Source,
    state: Mutex<State>,
    /// Held by the one who asks the source.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    token: Option<Kept>,
    /// How often the source has answered.
    answers: u64,
    /// Why there was no token the last time.
    failure: Option<SendError>,
    /// Until then the source is left alone.
    rest: Option<Boot>,
}

struct Kept {
    text: Secret,
    /// From then on a new one is fetched.
    early: Boot,
    end: Boot,
}

/// What is to be done for a token.
enum Next {
    Take(Secret),
    Wait(SendError),
    /// Unless somebody else has got an answer since this one.
    Ask(u64),
}

impl Cached {
    pub(super) fn new(source: Source) -> Self {
        Self { source, state: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tokens for Cached {
    fn token(&self, now: Now) -> BoxFuture<'_, Result<Secret, SendError>> {
        Box::pin(async move {
            let known = match self.state().next(now) {
                Next::Take(token) => return Ok(token),
                Next::Wait(error) => return Err(error),
                Next::Ask(known) => known,
            };
            let _turn = self.turn.lock().await;
            if let Some(answer) = self.state().answer_after(known, now) {
                return answer;
            }
            let fetched = self.source.fetch(now).await;
            self.state().keep(fetched, self.source.name(), now)
        })
    }

    fn refused(&self, token: &Secret) {
        let mut state = self.state();
        // It may be that of a request which began before there was a new one.
        if state.token.as_ref().is_some_and(|kept| kept.text == *token) {
            state.token = None;
        }
    }
}

impl State {
    fn good(&self, now: Now) -> Option<&Kept> {
        self.token.as_ref().filter(|kept| now.boot < kept.end)
    }

    fn next(&self, now: Now) -> Next {
        let good = self.good(now);
        let resting = self.rest.filter(|rest| now.boot < *rest);
        match (good, resting) {
            (Some(kept), _) if now.boot < kept.early => Next::Take(kept.text.clone()),
            (Some(kept), Some(_)) => Next::Take(kept.text.clone()),
            (None, Some(rest)) if let Some(failure) = &self.failure => Next::Wait(SendError {
                retry: Retry::Later(Some(rest.since(now.boot))),
                text: failure.text.clone(),
            }),
            _ => Next::Ask(self.answers),
        }
    }

    /// What somebody else was answered meanwhile.
    fn answer_after(&self, known: u64, now: Now) -> Option<Result<Secret, SendError>> {
        if self.answers == known {
            return None;
        }
        match (self.good(now), &self.failure) {
            (Some(kept), _) => Some(Ok(kept.text.clone())),
            (None, Some(failure)) => Some(Err(failure.clone())),
            (None, None) => None,
        }
    }

    fn keep(
        &mut self,
        fetched: Result<Token, SendError>,
        identity: &str,
        now: Now,
    ) -> Result<Secret, SendError> {
        let news = self.answers == 0 || self.failure.is_some();
        self.answers = self.answers.wrapping_add(1);
        let failure = match fetched {
            Ok(Token { text, life }) => {
                if news {
                    tracing::info!(identity, good_for = %Human(life), "there is a token for Azure Monitor");
                }
                self.failure = None;
                let early = EARLY.max(life / 10).min(life / 2);
                self.rest = None;
                self.token = Some(Kept {
                    text: text.clone(),
                    early: now.boot.after(life.saturating_sub(early)),
                    end: now.boot.after(life),
                });
                return Ok(text);
            }
            Err(failure) => failure,
        };
        let asked = match failure.retry {
            Retry::Later(asked) => asked.map(|asked| asked.min(LONGEST)),
            Retry::Never | Retry::Stop => None,
        };
        let first = self.failure.replace(failure.clone()).is_none();
        if let Some(kept) = self.good(now) {
            if first {
                let good_for = Human(kept.end.since(now.boot));
                tracing::warn!(%good_for, why = failure.text, "the token cannot be renewed yet");
            }
            let token = kept.text.clone();
            self.rest = Some(now.boot.after(asked.unwrap_or_default().max(REST)));
            return Ok(token);
        }
        self.rest = asked.map(|asked| now.boot.after(asked));
        Err(failure)
    }
}
