//! What people do over the API: hold, acknowledge, silence, restart, test. [`super::gate`] says who
//! may; the engine decides what comes of it; what each path takes is in [`super::bodies`].

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use crate::engine::{Act, Actor, Command, Snapshot};
use crate::surfaces::report::{Lines, StatusReport, TestReport, near, near_names};

use super::answer::{BODY_LIMIT, error, json, missing, too_large};
use super::bodies::{
    AcknowledgeBody, HoldBody, Nothing, ReleaseBody, SilenceBody, TestBody, checked_why, lasting,
    unit,
};
use super::gate;
use super::{CommandRequest, Shared, TestRequest};

/// The driver answers a command at once; when it has not within this time, something is wrong.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Every channel has answered a test, or given up, within this.
pub(super) const TEST_LIMIT: Duration = Duration::from_secs(65);

type State_ = State<Arc<Shared>>;
type Name = Result<Path<String>, PathRejection>;

/// What cannot be decoded names nothing.
fn named(name: Name) -> String {
    name.map_or_else(|_| String::new(), |Path(name)| name)
}

pub(super) async fn hold(State(shared): State_, request: Request) -> Response {
    act(&shared, request, |body: HoldBody| {
        let lasts = lasting(body.seconds)?;
        Ok(Act::Hold { unit: unit(body.unit)?, lasts, why: checked_why(body.why)? })
    })
    .await
}

pub(super) async fn release(State(shared): State_, request: Request) -> Response {
    act(&shared, request, |body: ReleaseBody| Ok(Act::Release { unit: unit(body.unit)? })).await
}

pub(super) async fn acknowledge(State(shared): State_, name: Name, request: Request) -> Response {
    let now = shared.now();
    act(&shared, request, |body: AcknowledgeBody| {
        let alert = open_alert(&now, &named(name))?;
        let lasts = body.seconds.map(lasting).transpose()?;
        Ok(Act::Acknowledge { alert, lasts, why: checked_why(body.why)? })
    })
    .await
}

pub(super) async fn unacknowledge(State(shared): State_, name: Name, request: Request) -> Response {
    let now = shared.now();
    act(&shared, request, |_: Nothing| {
        Ok(Act::Unacknowledge { alert: open_alert(&now, &named(name))? })
    })
    .await
}

/// The alert of this id, as long as it is open.
fn open_alert(now: &Snapshot, id: &str) -> Result<Arc<str>, Refusal> {
    if let Some(alert) = now.alerts.iter().find(|a| *a.id == *id) {
        return Ok(alert.id.clone());
    }
    if now.recent.iter().any(|a| *a.id == *id) {
        return Err(Refusal::Conflict(format!("alert {id} is over")));
    }
    let open: Vec<_> = now.alerts.iter().map(|a| (&*a.id, a.key.check.to_string())).collect();
    let near = near(open.iter().map(|(id, check)| (*id, &**check)), id);
    Err(Refusal::Missing(format!("no open alert is called '{}'", short(id)), near))
}

pub(super) async fn silence(State(shared): State_, request: Request) -> Response {
    let (actor, body) = match taken::<SilenceBody>(&shared, request).await {
        Ok(taken) => taken,
        Err(refusal) => return *refusal,
    };
    let silencing = || -> Result<Act, String> {
        let lasts = lasting(body.seconds)?;
        let why = checked_why(body.why.clone())?;
        Ok(Act::Silence { matcher: body.matcher()?, lasts, why })
    };
    match silencing() {
        Ok(act) => {
            let report = StatusReport::of(&shared.now(), shared.agent.version, Lines::Hidden);
            let doubts = report.doubts(&body.checks);
            command(&shared, actor, act, (!doubts.is_empty()).then(|| doubts.join("; "))).await
        }
        Err(text) => error(StatusCode::BAD_REQUEST, text),
    }
}

pub(super) async fn unsilence(State(shared): State_, name: Name, request: Request) -> Response {
    let now = shared.now();
    act(&shared, request, |_: Nothing| {
        let id = named(name);
        match now.silences.iter().find(|s| *s.id == *id) {
            Some(silence) => Ok(Act::Unsilence { id: silence.id.clone() }),
            None => {
                let near = near_names(now.silences.iter().map(|s| &*s.id), &id);
                Err(Refusal::Missing(format!("no silence is called '{}'", short(&id)), near))
            }
        }
    })
    .await
}

pub(super) async fn restart(State(shared): State_, name: Name, request: Request) -> Response {
    let now = shared.now();
    act(&shared, request, |_: Nothing| {
        let name = named(name);
        let units = || now.checks.iter().filter_map(|c| c.unit.as_ref()).map(|u| &u.seen.name);
        match units().find(|unit| ***unit == *name) {
            Some(unit) => Ok(Act::Restart { unit: unit.clone() }),
            None => {
                let near = near_names(units().map(|unit| &**unit), &name);
                let text = format!("keepwell watches no unit called '{}'", short(&name));
                Err(Refusal::Missing(text, near))
            }
        }
    })
    .await
}

/// Acts call a container as its check is called.
pub(super) async fn restart_container(
    State(shared): State_,
    name: Name,
    request: Request,
) -> Response {
    let now = shared.now();
    act(&shared, request, |_: Nothing| {
        let name = named(name);
        let containers = || now.checks.iter().filter_map(|c| Some((c, c.container.as_ref()?)));
        match containers().find(|(_, container)| *container.seen.name == *name) {
            Some((check, _)) => Ok(Act::Restart { unit: check.id.to_string().into() }),
            None => {
                let near = near_names(containers().map(|(_, c)| &*c.seen.name), &name);
                let text = format!("keepwell knows no container called '{}'", short(&name));
                Err(Refusal::Missing(text, near))
            }
        }
    })
    .await
}

pub(super) async fn test(State(shared): State_, request: Request) -> Response {
    let (actor, body) = match taken::<TestBody>(&shared, request).await {
        Ok(taken) => taken,
        Err(refusal) => return *refusal,
    };
    let now = shared.now();
    if now.channels.is_empty() {
        return error(StatusCode::CONFLICT, NO_CHANNEL);
    }
    let channel = match body.channel {
        None => None,
        Some(name) => match now.channels.iter().find(|c| *c.name == *name) {
            Some(channel) => Some(channel.name.clone()),
            None => {
                let near = near_names(now.channels.iter().map(|c| &*c.name), &name);
                return missing(format!("no channel is called '{}'", short(&name)), &near);
            }
        },
    };
    let (reply, answer) = oneshot::channel();
    let asked = TestRequest { channel, actor, reply };
    let sent = match &shared.tests {
        Some(tests) => tests.try_send(asked),
        None => Err(TrySendError::Closed(asked)),
    };
    if let Err(refused) = sent {
        let text = match refused {
            TrySendError::Full(_) => "another test is under way; try again in a moment",
            TrySendError::Closed(_) => "this keepwell cannot send a test now: it is stopping",
        };
        return error(StatusCode::SERVICE_UNAVAILABLE, text);
    }
    match tokio::time::timeout(TEST_LIMIT, answer).await {
        Ok(Ok(results)) => json(StatusCode::OK, &TestReport::of(results)),
        Ok(Err(_)) | Err(_) => error(
            StatusCode::SERVICE_UNAVAILABLE,
            "the test was begun and not finished; look at 'keepwell channels'",
        ),
    }
}

/// Said when there is nobody to test.
const NO_CHANNEL: &str =
    "no channel is configured: nobody is told of what happens; add a [[channel]]";

/// Why an act is not even tried.
enum Refusal {
    /// The body says what makes no sense.
    Bad(String),
    /// What is named is not there; what comes near.
    Missing(String, Vec<String>),
    /// It is too late for that.
    Conflict(String),
}

impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Self::Bad(text)
    }
}

/// A name that was asked for, to be said again: not longer than a line.
fn short(name: &str) -> String {
    name.chars().take(100).collect()
}

async fn act<T: DeserializeOwned + Default>(
    shared: &Shared,
    request: Request,
    wanted: impl FnOnce(T) -> Result<Act, Refusal>,
) -> Response {
    let (actor, body) = match taken(shared, request).await {
        Ok(taken) => taken,
        Err(refusal) => return *refusal,
    };
    match wanted(body) {
        Ok(act) => command(shared, actor, act, None).await,
        Err(Refusal::Bad(text)) => error(StatusCode::BAD_REQUEST, text),
        Err(Refusal::Missing(text, near)) => missing(text, &near),
        Err(Refusal::Conflict(text)) => error(StatusCode::CONFLICT, text),
    }
}

/// Who asks, and the body; without one what the body's type takes for granted.
async fn taken<T: DeserializeOwned + Default>(
    shared: &Shared,
    request: Request,
) -> Result<(Actor, T), Box<Response>> {
    let actor = gate::operator(shared, &request)?;
    let refuse = |text: String| Box::new(error(StatusCode::BAD_REQUEST, text));
    let body = match Limited::new(request.into_body(), BODY_LIMIT).collect().await {
        Ok(body) => body.to_bytes(),
        Err(e) if e.is::<LengthLimitError>() => return Err(Box::new(too_large())),
        Err(_) => return Err(refuse("the request body did not arrive whole".into())),
    };
    if body.is_empty() {
        return Ok((actor, T::default()));
    }
    let body = serde_json::from_slice(&body);
    Ok((actor, body.map_err(|e| refuse(format!("the body cannot be read: {e}")))?))
}

/// `warning`: what may be a slip in what was asked for, said beside what came of it.
async fn command(shared: &Shared, actor: Actor, act: Act, warning: Option<String>) -> Response {
    #[derive(Serialize)]
    struct Said {
        message: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        warning: Option<String>,
    }
    let (reply, answer) = oneshot::channel();
    let request = CommandRequest { command: Command { actor, act }, reply };
    if shared.commands.try_send(request).is_err() {
        let text = "keepwell is busy or stopping; try again in a moment";
        return error(StatusCode::SERVICE_UNAVAILABLE, text);
    }
    match tokio::time::timeout(ANSWER_LIMIT, answer).await {
        Ok(Ok(Ok(message))) => json(StatusCode::OK, &Said { message, warning }),
        Ok(Ok(Err(text))) => error(StatusCode::CONFLICT, text),
        Ok(Err(_)) | Err(_) => {
            let text = "keepwell took the request but did not answer; look at 'keepwell status'";
            error(StatusCode::SERVICE_UNAVAILABLE, text)
        }
    }
}
