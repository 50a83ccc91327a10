//! From request to response: the guards that hold for every path, the router, and the headers that
//! every response has.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{delete, get, post};
use hyper::body::Bytes;
use serde::Serialize;
use tower_service::Service;

use crate::surfaces::health;

use super::{Peer, Shared, acts, api, gate, logs, open};

/// A request's body holds at most so many bytes.
pub(super) const BODY_LIMIT: usize = 64 * 1024;

/// A request takes at most so long.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// This one waits for services elsewhere, and has a limit of its own.
const TEST_PATH: &str = "/api/v1/test-notification";

/// What is below it by `/logs` waits for a container engine.
const CONTAINERS: &str = "/api/v1/containers/";

/// All paths.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(open::page))
        .route("/style.css", get(open::style))
        .route("/favicon.ico", get(open::no_icon))
        .route("/health", get(open::health))
        .route("/health/detailed", get(open::detailed))
        .route("/livez", get(open::livez))
        .route("/readyz", get(open::readyz))
        .route("/metrics", get(open::metrics))
        .route("/api/v1/status", get(api::status))
        .route("/api/v1/units", get(api::units))
        .route("/api/v1/containers", get(api::containers))
        .route("/api/v1/containers/{name}", get(api::container))
        .route("/api/v1/containers/{name}/logs", get(logs::of_container))
        .route("/api/v1/alerts", get(api::alerts))
        .route("/api/v1/alerts/active", get(api::active))
        .route("/api/v1/alerts/{id}", get(api::alert))
        .route(
            "/api/v1/alerts/{id}/acknowledge",
            post(acts::acknowledge).delete(acts::unacknowledge),
        )
        .route("/api/v1/explain", get(api::explain))
        .route("/api/v1/holds", get(api::holds).post(acts::hold).delete(acts::release))
        .route("/api/v1/silences", get(api::silences).post(acts::silence))
        .route("/api/v1/silences/{id}", delete(acts::unsilence))
        .route("/api/v1/channels", get(api::channels))
        .route(TEST_PATH, post(acts::test))
        .route("/api/v1/units/{name}/restart", post(acts::restart))
        .route("/api/v1/containers/{name}/restart", post(acts::restart_container))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .with_state(shared)
}

/// Answers one request; never fails, whatever the request.
pub(super) async fn answer(
    shared: &Shared,
    mut router: Router,
    peer: Peer,
    mut request: Request,
) -> Response {
    let mut response = match refuse(shared, peer, &request) {
        Some(refusal) => refusal,
        None => {
            request.extensions_mut().insert(peer);
            let waits = match request.uri().path() {
                TEST_PATH => acts::TEST_LIMIT,
                path if path.starts_with(CONTAINERS) && path.ends_with("/logs") => logs::LIMIT,
                _ => Duration::ZERO,
            };
            match tokio::time::timeout(TIME_LIMIT + waits, router.call(request)).await {
                Ok(Ok(response)) => response,
                Ok(Err(never)) => match never {},
                Err(_) => error(StatusCode::SERVICE_UNAVAILABLE, "no answer in time"),
            }
        }
    };
    let headers = response.headers_mut();
    for (name, value) in EVERYWHERE {
        headers.entry(name).or_insert(value);
    }
    response
}

/// Headers of every response that does not say otherwise.
const EVERYWHERE: [(HeaderName, HeaderValue); 4] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
];

fn refuse(shared: &Shared, peer: Peer, request: &Request) -> Option<Response> {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|l| l.to_str().ok()).and_then(|l| l.parse::<u64>().ok());
    if length.is_some_and(|l| l > BODY_LIMIT as u64) {
        return Some(too_large());
    }
    // Browsers, which DNS rebinding needs, cannot reach a unix socket.
    match peer {
        Peer::Unix { .. } => None,
        Peer::Tcp => gate::host(&shared.access(), request).err().map(|refusal| *refusal),
    }
}

async fn unknown_path(request: Request) -> Response {
    let path = request.uri().path();
    error(StatusCode::NOT_FOUND, format!("nothing is at {path}; the page at / lists what there is"))
}

async fn wrong_method(request: Request) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    error(StatusCode::METHOD_NOT_ALLOWED, format!("{path} does not take {method}; see Allow"))
}

/// For a body over [`BODY_LIMIT`].
pub(super) fn too_large() -> Response {
    let mut response =
        error(StatusCode::PAYLOAD_TOO_LARGE, "a request body may have at most 64 KiB");
    // What is still on its way is not read; the connection ends.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// `{"error": "…"}`.
pub(super) fn error(status: StatusCode, text: impl Into<String>) -> Response {
    json(status, &serde_json::json!({ "error": text.into() }))
}

/// What was named is not there: `{"error": "…", "did_you_mean": ["…"]}`.
pub(super) fn missing(text: impl Into<String>, near: &[String]) -> Response {
    let body = serde_json::json!({ "error": text.into(), "did_you_mean": near });
    json(StatusCode::NOT_FOUND, &body)
}

/// A value as JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    body(status, "application/json", health::json(value).into())
}

/// A body that is ready.
pub(super) fn body(status: StatusCode, mime: &'static str, bytes: Bytes) -> Response {
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(mime));
    response
}

/// The `Accept` of a request, all of its lines together.
pub(super) fn accept(headers: &HeaderMap) -> Option<String> {
    let lines: Vec<&str> =
        headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
    (!lines.is_empty()).then(|| lines.join(","))
}
