//! The one HTTP client of all channels, and what HTTP errors mean in words.

use std::error::Error;
use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url, redirect};

use super::{Retry, SendError};
use crate::engine::time::{Human, Wall};

/// At most so much of an answer is read.
const ANSWER: usize = 4096;
/// At most so many characters of an answer are shown.
const SHOWN: usize = 200;

/// Builds the client that all channels share: each one would load the root certificates anew. It
/// honours the usual proxy variables and follows no redirect.
///
/// On a host without root certificates it still speaks plain HTTP; HTTPS then fails with an
/// error that says so.
///
/// # Errors
/// When the system gives no resources for it, in words.
pub fn http_client() -> Result<Client, String> {
    // It is an error to install one twice, and it does no harm.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || {
        Client::builder()
            .user_agent(concat!("keepwell/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(Duration::from_secs(30))
    };
    builder()
        .build()
        .or_else(|_| builder().tls_certs_only([]).build())
        .map_err(|error| format!("cannot set up the HTTP client: {}", chain(&error)))
}

/// `scheme://host:port`: what of a URL may be shown; path and query are often the secret.
pub(super) fn shown(url: &Url) -> String {
    let port = url.port().map(|p| format!(":{p}")).unwrap_or_default();
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or("?"))
}

/// What a failed request says, without the URL.
pub(super) fn request_error(error: reqwest::Error, url: &Url, timeout: Duration) -> SendError {
    let to = shown(url);
    if error.is_timeout() {
        return SendError {
            retry: Retry::Later(None),
            text: format!("{to} did not answer within {}", Human(timeout)),
        };
    }
    if error.is_builder() {
        return SendError {
            retry: Retry::Never,
            text: format!("cannot make a request to {to}: {}", chain(&error.without_url())),
        };
    }
    let connect = error.is_connect();
    let why = chain(&error.without_url());
    let hint = if why.contains("UnknownIssuer") {
        "; its certificate is signed by nobody this host trusts: if the host has no root \
         certificates, install the package ca-certificates"
    } else {
        ""
    };
    let what = if connect { "cannot connect to" } else { "the connection broke to" };
    SendError { retry: Retry::Later(None), text: format!("{what} {to}: {why}{hint}") }
}

/// The causes of an error, outermost first, each once.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// Judges an answer by its status: any 2xx is success.
pub(super) async fn judge(
    response: reqwest::Response,
    url: &Url,
    now: Wall,
) -> Result<(), SendError> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let retry_after = retry_after(response.headers(), now);
    let body = read(response).await;
    let retry = match status.as_u16() {
        410 => Retry::Gone,
        408 | 425 | 429 | 500.. => Retry::Later(retry_after),
        // 3xx (a redirect that is not followed) and 4xx: the same message would fail again.
        _ => Retry::Never,
    };
    let hint = match status {
        StatusCode::GONE => "; it wants no more messages: set a new URL or remove the channel",
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "; check the URL and the secret",
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => "; check the URL",
        s if s.is_redirection() => "; redirects are not followed: set the final URL",
        _ => "",
    };
    let mut text = format!("{} answered {status}", shown(url));
    let body = plain(&body, url);
    if !body.is_empty() {
        text.push_str(": ");
        text.push_str(&body);
    }
    text.push_str(hint);
    Err(SendError { retry, text })
}

/// The beginning of an answer; what the connection gave before it broke.
async fn read(mut response: reqwest::Response) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < ANSWER
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk[..chunk.len().min(ANSWER - body.len())]);
    }
    body
}

/// An answer as one short line, without control characters and without the URL's secret part.
fn plain(body: &[u8], url: &Url) -> String {
    let mut text = String::from_utf8_lossy(body).into_owned();
    // A receiver may repeat what it was asked: whole, or the parts that tokens are made of.
    for whole in [url.query().unwrap_or_default(), url.path()] {
        if whole.len() > 1 {
            text = text.replace(whole, "[…]");
        }
        for part in whole.split(['/', '&', '=']).filter(|p| p.len() > 4) {
            text = text.replace(part, "[…]");
        }
    }
    let words = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect::<String>()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    if words.chars().count() > SHOWN {
        words.chars().take(SHOWN).chain(['…']).collect()
    } else {
        words
    }
}

/// `Retry-After`: seconds or a date.
fn retry_after(headers: &HeaderMap, now: Wall) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Wall(date.timestamp().as_microsecond()).since(now))
}
