//! Paths that need no token: health, metrics and the page without log text.

use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::http::header::{self, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use hyper::body::Bytes;
use serde::Deserialize;

use crate::surfaces::metrics::Format;
use crate::surfaces::{health as bodies, page as pages};

use super::accept::{Offer, choose, wants_gzip};
use super::answer::{accept, body, error};
use super::cache::{Body, Rendered};
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

fn varies(mut response: Response, by: &'static str) -> Response {
    response.headers_mut().insert(header::VARY, HeaderValue::from_static(by));
    response
}

/// A large body, by gzip for who wants it.
fn packed(
    shared: &Shared,
    now: &Rendered,
    code: StatusCode,
    mime: &'static str,
    which: Body,
    headers: &HeaderMap,
) -> Response {
    let codings = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
    if !wants_gzip(codings) {
        return body(code, mime, now.body(which, &shared.agent));
    }
    let mut response = body(code, mime, now.packed(which, &shared.agent));
    response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response
}

pub(super) async fn health(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let now = shared.cache.current(&shared.snapshot);
    let (which, mime) = match choose(accept(request.headers()).as_deref(), &HEALTH) {
        1 => (Body::HealthDraft, "application/health+json"),
        _ => (Body::Health, "application/json"),
    };
    let response = body(up(bodies::is_up(&now.snapshot)), mime, now.body(which, &shared.agent));
    varies(response, "Accept")
}

pub(super) async fn detailed(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let now = shared.cache.current(&shared.snapshot);
    let code = up(bodies::is_up(&now.snapshot));
    let mime = "application/json";
    let response = packed(&shared, &now, code, mime, Body::Detailed, request.headers());
    varies(response, "Accept-Encoding")
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
    let (mime, which) = (format.content_type(), Body::Metrics(format));
    let response = packed(&shared, &now, StatusCode::OK, mime, which, request.headers());
    varies(response, "Accept, Accept-Encoding")
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
