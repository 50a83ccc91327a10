//! Paths that need no token: health, metrics and the page without log text.

use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::http::header::{self, HeaderValue};
use axum::response::Response;
use hyper::body::Bytes;
use serde::Deserialize;

use crate::surfaces::metrics::Format;
use crate::surfaces::{health as bodies, page as pages};

use super::accept::{Offer, choose};
use super::answer::{accept, body, error};
use super::cache::Body;
use super::{Shared, gate};

const HEALTH: [Offer; 2] = [
    Offer { mime: "application/json", version: None },
    Offer { mime: "application/health+json", version: None },
];

const METRICS: [Offer; 3] = [
    Offer { mime: "application/json", version: None },
    Offer { mime: "text/plain", version: Some("0.0.4") },
    Offer { mime: "application/openmetrics-text", version: Some("1.0.0") },
];

fn up(is_up: bool) -> StatusCode {
    if is_up { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn by_accept(mut response: Response) -> Response {
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

pub(super) async fn health(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let now = shared.cache.current(&shared.snapshot);
    let (which, mime) = match choose(accept(request.headers()).as_deref(), &HEALTH) {
        1 => (Body::HealthDraft, "application/health+json"),
        _ => (Body::Health, "application/json"),
    };
    by_accept(body(up(bodies::is_up(&now.snapshot)), mime, now.body(which, &shared.agent)))
}

pub(super) async fn detailed(State(shared): State<Arc<Shared>>) -> Response {
    let now = shared.cache.current(&shared.snapshot);
    let code = up(bodies::is_up(&now.snapshot));
    body(code, "application/json", now.body(Body::Detailed, &shared.agent))
}

pub(super) async fn livez() -> Response {
    body(StatusCode::OK, "text/plain; charset=utf-8", Bytes::from_static(b"alive\n"))
}

pub(super) async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    let ready = shared.snapshot.borrow().ready;
    let text = if ready { "ready\n" } else { "not ready: the first look is not done yet\n" };
    body(up(ready), "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

#[derive(Deserialize)]
pub(super) struct MetricsQuery {
    format: Option<String>,
}

pub(super) async fn metrics(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<MetricsQuery>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Response {
    let forced = query.ok().and_then(|q| q.0.format);
    let format = match forced.as_deref() {
        None => Format::ALL[choose(accept(request.headers()).as_deref(), &METRICS)].1,
        Some(name) => match Format::ALL.iter().find(|(known, _)| *known == name) {
            Some((_, format)) => *format,
            None => {
                let text = "unknown format: use ?format=json, prometheus or openmetrics";
                return error(StatusCode::BAD_REQUEST, text);
            }
        },
    };
    let now = shared.cache.current(&shared.snapshot);
    let bytes = now.body(Body::Metrics(format), &shared.agent);
    by_accept(body(StatusCode::OK, format.content_type(), bytes))
}

pub(super) async fn page(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let lines = gate::caller(&shared, &request).lines();
    let now = shared.cache.current(&shared.snapshot);
    let bytes = now.body(Body::Page(lines), &shared.agent);
    let mut response = body(StatusCode::OK, "text/html; charset=utf-8", bytes);
    let policy = HeaderValue::from_static(
        "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    );
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

pub(super) async fn style() -> Response {
    let mut response =
        body(StatusCode::OK, "text/css; charset=utf-8", Bytes::from_static(pages::STYLE));
    let keep = HeaderValue::from_static("max-age=300");
    response.headers_mut().insert(header::CACHE_CONTROL, keep);
    response
}

pub(super) async fn no_icon() -> StatusCode {
    StatusCode::NO_CONTENT
}
