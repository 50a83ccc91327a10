//! A token as the metadata service and Entra ID give it, and what they say instead of one.

use std::time::Duration;

use serde_json::Value;

use crate::config::Secret;
use crate::engine::Now;
use crate::outbound::{self, Answer, Retry, SendError};

/// An answer with a token has 2 to 4 KiB.
pub(super) const MOST: usize = 64 * 1024;
/// How long a token is taken to be good that does not say it.
const UNSAID: Duration = Duration::from_secs(5 * 60);

/// A token, and how long it is good from when it was asked for.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) text: Secret,
    pub(super) life: Duration,
}

impl Token {
    /// Reads the answer to a question that was asked at `now`.
    ///
    /// # Errors
    /// When it holds no token. What it holds instead is not repeated: it may be part of one.
    pub(super) fn read(answer: &Answer, from: &str, now: Now) -> Result<Self, SendError> {
        let bad = |why: &str| SendError {
            retry: Retry::Later(None),
            text: format!("{NO_TOKEN}: {from} answered {}, but {why}", answer.status),
        };
        let body: Value =
            serde_json::from_slice(&answer.body).map_err(|_| bad("with no valid JSON"))?;
        let text = body.get("access_token").and_then(Value::as_str).unwrap_or_default();
        if text.is_empty() {
            return Err(bad("there is no access_token in it"));
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(bad("its access_token cannot be sent"));
        }
        Ok(Self { text: Secret::new(text), life: life(&body, now) })
    }
}

/// How errors about tokens begin.
pub(super) const NO_TOKEN: &str = "no token for Azure Monitor";

/// How long it is still good. The metadata service keeps tokens and may give `expires_in` as it was
/// when the token was new: the shorter time counts, unless the clock of this host is so wrong that
/// the token seems to have ended already.
fn life(body: &Value, now: Now) -> Duration {
    let lasts = seconds(body.get("expires_in")).map(Duration::from_secs);
    let until = seconds(body.get("expires_on")).and_then(|until| {
        let wall = u64::try_from(now.wall.0 / 1_000_000).ok()?;
        until.checked_sub(wall).filter(|left| *left > 0).map(Duration::from_secs)
    });
    match (lasts, until) {
        (Some(lasts), Some(until)) => lasts.min(until),
        (one, other) => one.or(other).unwrap_or(UNSAID),
    }
}

/// Whole seconds, as a number or as text.
fn seconds(value: Option<&Value>) -> Option<u64> {
    let value = value?;
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// What an answer without a token says, in one line.
pub(super) fn said(answer: &Answer) -> String {
    let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let field = |name| body.as_ref()?.get(name)?.as_str();
    let text = match field("error_description").or_else(|| field("error")) {
        Some(text) => text.to_owned(),
        None => String::from_utf8_lossy(&answer.body).into_owned(),
    };
    // What follows are numbers for the support of Microsoft, which are of no use here.
    let useful = text.split("Trace ID:").next().unwrap_or_default();
    outbound::plain(useful.as_bytes(), &answer.secrets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Wall;
    use serde_json::json;

    const NOW: Now = Now { boot: crate::engine::Boot(7), wall: Wall(1_000_000 * 1_000_000) };

    fn lasts(body: Value) -> u64 {
        life(&body, NOW).as_secs()
    }

    #[test]
    fn times_are_numbers_or_texts() {
        assert_eq!(lasts(json!({"expires_in": "3599"})), 3599);
        assert_eq!(lasts(json!({"expires_in": 3599})), 3599);
        assert_eq!(lasts(json!({"expires_on": "1003600"})), 3600);
        assert_eq!(lasts(json!({"expires_on": 1_003_600})), 3600);
        assert_eq!(lasts(json!({"expires_in": "soon", "expires_on": null})), 300);
    }

    #[test]
    fn of_two_times_the_shorter_counts() {
        assert_eq!(lasts(json!({"expires_in": "86400", "expires_on": "1000600"})), 600);
        assert_eq!(lasts(json!({"expires_in": "600", "expires_on": "1086400"})), 600);
        // The clock of this host is a day ahead.
        assert_eq!(lasts(json!({"expires_in": "3600", "expires_on": "917200"})), 3600);
    }
}
