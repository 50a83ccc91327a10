//! `/api/v1`: what programs read, and acts of people. [`super::gate`] says who may.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::oneshot;

use crate::engine::{Act, Actor, Command};

use super::answer::{BODY_LIMIT, body, error, json, too_large};
use super::cache::Body;
use super::gate::{self, Caller};
use super::{CommandRequest, Shared};

/// The driver answers a command at once; when it has not within this time, something is wrong.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Nobody means to hold for longer than this, s: 30 days.
pub const LONGEST_HOLD: u64 = 30 * 24 * 3600;

/// Body of `POST /api/v1/holds`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldBody {
    /// The unit; `null` is all.
    pub unit: Option<String>,
    /// For how long from now.
    pub seconds: u64,
    /// Why, in the person's words.
    #[serde(default)]
    pub why: Option<String>,
}

/// Body of `DELETE /api/v1/holds`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseBody {
    /// The unit; `null` is all.
    pub unit: Option<String>,
}

type State_ = State<Arc<Shared>>;

pub(super) async fn status(State(shared): State_, request: Request) -> Response {
    see(&shared, &request, |caller| {
        let now = shared.cache.current(&shared.snapshot);
        let bytes = now.body(Body::Status(caller.lines()), &shared.agent);
        body(StatusCode::OK, "application/json", bytes)
    })
}

pub(super) async fn units(State(shared): State_, request: Request) -> Response {
    see(&shared, &request, |caller| {
        let now = shared.cache.current(&shared.snapshot).report(caller.lines(), &shared.agent);
        let units: Vec<_> = now.checks.into_iter().filter(|c| c.unit.is_some()).collect();
        let all =
            json!({ "timestamp": now.timestamp, "units_total": now.units_total, "units": units });
        json(StatusCode::OK, &all)
    })
}

pub(super) async fn alerts(State(shared): State_, request: Request) -> Response {
    see(&shared, &request, |caller| {
        let now = shared.cache.current(&shared.snapshot).report(caller.lines(), &shared.agent);
        json(StatusCode::OK, &json!({ "timestamp": now.timestamp, "alerts": now.alerts }))
    })
}

pub(super) async fn holds(State(shared): State_, request: Request) -> Response {
    see(&shared, &request, |caller| {
        let now = shared.cache.current(&shared.snapshot).report(caller.lines(), &shared.agent);
        json(StatusCode::OK, &json!({ "timestamp": now.timestamp, "holds": now.holds }))
    })
}

#[derive(Deserialize)]
pub(super) struct ExplainQuery {
    check: String,
}

pub(super) async fn explain(State(shared): State_, request: Request) -> Response {
    see(&shared, &request, |caller| {
        let Ok(Query(query)) = Query::<ExplainQuery>::try_from_uri(request.uri()) else {
            let text = "name the check: /api/v1/explain?check=unit:nginx.service";
            return error(StatusCode::BAD_REQUEST, text);
        };
        let now = shared.cache.current(&shared.snapshot).report(caller.lines(), &shared.agent);
        match now.explain(&query.check) {
            Ok(explained) => json(StatusCode::OK, &explained),
            Err(near) => {
                let text = format!("no check is called '{}'", query.check);
                json(StatusCode::NOT_FOUND, &json!({ "error": text, "did_you_mean": near }))
            }
        }
    })
}

fn see(shared: &Shared, request: &Request, show: impl FnOnce(Caller) -> Response) -> Response {
    gate::reader(shared, request).map_or_else(|refusal| *refusal, show)
}

pub(super) async fn hold(State(shared): State_, request: Request) -> Response {
    act(&shared, request, |body: HoldBody| {
        if body.seconds == 0 || body.seconds > LONGEST_HOLD {
            return Err(format!("seconds is between 1 and {LONGEST_HOLD} (30 days)"));
        }
        Ok(Act::Hold {
            unit: unit(body.unit)?,
            lasts: Duration::from_secs(body.seconds),
            why: body.why.map(|w| w.chars().take(200).collect()),
        })
    })
    .await
}

pub(super) async fn release(State(shared): State_, request: Request) -> Response {
    act(&shared, request, |body: ReleaseBody| Ok(Act::Release { unit: unit(body.unit)? })).await
}

fn unit(name: Option<String>) -> Result<Option<Arc<str>>, String> {
    let Some(name) = name else { return Ok(None) };
    let fine = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@*?[]".contains(c);
    if name.is_empty() || name.len() > 255 || !name.chars().all(fine) {
        return Err("unit is a unit's full name such as nginx.service, or null for all".to_owned());
    }
    Ok(Some(name.into()))
}

async fn act<T: DeserializeOwned>(
    shared: &Shared,
    request: Request,
    wanted: impl FnOnce(T) -> Result<Act, String>,
) -> Response {
    let actor = match gate::operator(shared, &request) {
        Ok(actor) => actor,
        Err(refusal) => return *refusal,
    };
    let body = match Limited::new(request.into_body(), BODY_LIMIT).collect().await {
        Ok(body) => body.to_bytes(),
        Err(e) if e.is::<LengthLimitError>() => return too_large(),
        Err(_) => return error(StatusCode::BAD_REQUEST, "the request body did not arrive whole"),
    };
    let act = serde_json::from_slice(&body).map_err(|e| e.to_string()).and_then(wanted);
    match act {
        Ok(act) => command(shared, actor, act).await,
        Err(text) => error(StatusCode::BAD_REQUEST, text),
    }
}

async fn command(shared: &Shared, actor: Actor, act: Act) -> Response {
    let (reply, answer) = oneshot::channel();
    let request = CommandRequest { command: Command { actor, act }, reply };
    if shared.commands.try_send(request).is_err() {
        let text = "keepwell is busy or stopping; try again in a moment";
        return error(StatusCode::SERVICE_UNAVAILABLE, text);
    }
    match tokio::time::timeout(ANSWER_LIMIT, answer).await {
        Ok(Ok(Ok(text))) => json(StatusCode::OK, &json!({ "message": text })).into_response(),
        Ok(Ok(Err(text))) => error(StatusCode::CONFLICT, text),
        Ok(Err(_)) | Err(_) => {
            let text = "keepwell took the request but did not answer; look at 'keepwell status'";
            error(StatusCode::SERVICE_UNAVAILABLE, text)
        }
    }
}
