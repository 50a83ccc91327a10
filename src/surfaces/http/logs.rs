//! What a person is shown of a container's log: the request, and the way of it to whoever can read.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use crate::surfaces::report::LogReport;

use super::Shared;
use super::answer::{error, json};
use super::api::no_container;
use super::gate;

/// A log has been read, or will not be, within this.
pub(super) const LIMIT: Duration = Duration::from_secs(16);

/// So many lines where nobody says how many, and at most.
const USUAL: usize = 100;
const MOST: usize = 1000;

/// A person wants to read the last lines of a container's log.
#[derive(Debug)]
pub struct LogRequest {
    /// The endpoint that has the container.
    pub engine: Arc<str>,
    /// Its id.
    pub id: Arc<str>,
    /// How many lines at most.
    pub lines: usize,
    /// The lines, secrets removed, oldest first; or why they cannot be read. Within 15 s.
    pub reply: oneshot::Sender<Result<Vec<String>, LogRefusal>>,
}

/// Why a log cannot be read, in words for the person.
#[derive(Debug)]
pub enum LogRefusal {
    /// The container is gone.
    Removed(String),
    /// Its log is kept nowhere, or where its engine cannot read it.
    NotKept(String),
    /// Its engine does not hand it out.
    Failed(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogQuery {
    lines: Option<usize>,
}

/// The last lines of a container's log.
pub(super) async fn of_container(
    State(shared): State<Arc<Shared>>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    if let Err(refusal) = gate::log_reader(&shared, &request) {
        return *refusal;
    }
    let lines = match Query::<LogQuery>::try_from_uri(request.uri()) {
        Ok(Query(query)) => query.lines.unwrap_or(USUAL),
        Err(_) => 0,
    };
    if !(1..=MOST).contains(&lines) {
        let text = format!("say how many lines: ?lines=100, 1 to {MOST}");
        return error(StatusCode::BAD_REQUEST, text);
    }
    // What cannot be decoded names nothing.
    let name = name.map_or_else(|_| String::new(), |Path(name)| name);
    let now = shared.now();
    let found = now.checks.iter().filter_map(|c| c.container.as_ref());
    let Some(seen) = found.map(|c| &c.seen).find(|seen| *seen.name == *name) else {
        return no_container(&now, &name);
    };
    let (reply, answer) = oneshot::channel();
    let asked = LogRequest { engine: seen.engine.clone(), id: seen.id.clone(), lines, reply };
    let sent = match &shared.logs {
        Some(logs) => logs.try_send(asked),
        None => Err(TrySendError::Closed(asked)),
    };
    if let Err(refused) = sent {
        let text = match refused {
            TrySendError::Full(_) => "other logs are being read; try again in a moment",
            TrySendError::Closed(_) => "this keepwell reads no logs of containers at the moment",
        };
        return error(StatusCode::SERVICE_UNAVAILABLE, text);
    }
    match tokio::time::timeout(LIMIT, answer).await {
        Ok(Ok(Ok(lines))) => json(StatusCode::OK, &LogReport { container: name, lines }),
        Ok(Ok(Err(LogRefusal::Removed(why)))) => error(StatusCode::NOT_FOUND, why),
        Ok(Ok(Err(LogRefusal::NotKept(why)))) => error(StatusCode::CONFLICT, why),
        Ok(Ok(Err(LogRefusal::Failed(why)))) => error(StatusCode::BAD_GATEWAY, why),
        Ok(Err(_)) | Err(_) => {
            error(StatusCode::GATEWAY_TIMEOUT, "the container engine did not give the log in time")
        }
    }
}
