//! What comes back over HTTP, and what it means: for the next try, and in words.

use std::error::Error;
use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{StatusCode, Url};
use rustls::CertificateError;

use super::secrets::Secrets;
use super::{Retry, SendError};
use crate::engine::time::{Human, Wall};

/// At most so much of an answer is read, where it should say no more than that it was taken.
const ANSWER: usize = 4096;
/// At most so many characters of an answer are shown.
const SHOWN: usize = 200;

/// `scheme://host:port`: what of a URL may be shown; path and query are often the secret.
pub(crate) fn shown(url: &Url) -> String {
    let port = url.port().map(|p| format!(":{p}")).unwrap_or_default();
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or("?"))
}

/// What a failed request says, without the URL.
pub(crate) fn request_error(error: reqwest::Error, url: &Url, timeout: Duration) -> SendError {
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
            text: format!("cannot make a request to {to}: {}", cause(&error.without_url())),
        };
    }
    let what = if error.is_connect() { "cannot connect to" } else { "the connection broke to" };
    let error = error.without_url();
    let why = match tls_fault(&error) {
        Some(fault) => fault,
        None => cause(&error),
    };
    // A proxy refuses the tunnel: what reqwest knows of its 407.
    let (retry, hint) = if chain(&error).contains("proxy authorization required") {
        (Retry::Stop, PROXY_LOGIN)
    } else if why.contains("InvalidContentType") {
        (Retry::Later(None), NO_TLS)
    } else if NO_HTTP.iter().any(|said| why.contains(said)) {
        (Retry::Later(None), NO_HTTP_HINT)
    } else {
        (Retry::Later(None), "")
    };
    SendError { retry, text: format!("{what} {to}: {why}{hint}") }
}

/// What is wrong with the certificate of the other side, in words; `None` where something else is
/// wrong.
fn tls_fault(error: &(dyn Error + 'static)) -> Option<String> {
    let fault = certificate_error(error)?;
    let day = |time: rustls::pki_types::UnixTime| {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        Wall(seconds.saturating_mul(1_000_000)).written("%Y-%m-%d %H:%M:%S UTC")
    };
    let clock = "or the clock of this host is wrong";
    Some(match fault {
        CertificateError::Expired => format!("its certificate has expired, {clock}"),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("its certificate expired on {}, {clock}", day(*not_after))
        }
        CertificateError::NotValidYet => format!("its certificate is not valid yet, {clock}"),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("its certificate is not valid before {}, {clock}", day(*not_before))
        }
        CertificateError::UnknownIssuer => {
            "its certificate is signed by nobody this host trusts: set `ca` to a PEM file with the \
             certificate of its issuer; if the host has no root certificates at all, install the \
             package ca-certificates"
                .into()
        }
        CertificateError::NotValidForName => {
            "its certificate is for another host name: check the URL".into()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<String> = presented.iter().take(4).map(|n| plain_name(n)).collect();
            let names = if names.is_empty() { "no host name".into() } else { names.join(", ") };
            let expected = expected.to_str();
            format!("its certificate is for {names} and not for {expected}: check the URL")
        }
        CertificateError::Revoked => "its certificate has been revoked".into(),
        other => {
            let text = format!("its certificate is not accepted: {other}");
            let hint = if text.contains("CaUsedAsEndEntity") {
                "; a certificate that is its own issuer must say CA:FALSE"
            } else {
                ""
            };
            text + hint
        }
    })
}

/// `DnsName("a.example")` as rustls gives names, without what is around them.
fn plain_name(name: &str) -> String {
    name.split('"').nth(1).unwrap_or(name).to_owned()
}

/// rustls' own error, from deep within: I/O errors carry it and do not name it as their source.
fn certificate_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a CertificateError> {
    let mut next = Some(error);
    while let Some(error) = next {
        let inner = error.downcast_ref::<std::io::Error>().and_then(|e| e.get_ref());
        if let Some(inner) = inner
            && let Some(found) = certificate_error(inner)
        {
            return Some(found);
        }
        if let Some(rustls::Error::InvalidCertificate(found)) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The causes of an error, outermost first, each once.
pub(crate) fn chain(error: &dyn Error) -> String {
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

/// What is to blame: the last one or two causes that say more than that something failed.
fn cause(error: &dyn Error) -> String {
    const EMPTY: [&str; 7] = [
        "builder error",
        "error sending request",
        "client error (",
        "connection error",
        "dns error",
        "error resolving DNS",
        "error trying to connect",
    ];
    let mut causes: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        causes.push(error.to_string());
        next = error.source();
    }
    let last = causes.last().cloned().unwrap_or_default();
    causes.retain(|text| !EMPTY.iter().any(|empty| text.starts_with(empty)));
    // Some say what caused them themselves.
    let mut kept: Vec<String> = Vec::new();
    for text in causes {
        if !kept.iter().any(|before| before.contains(&text)) {
            kept.push(text);
        }
    }
    match &kept[..] {
        [] => last,
        [.., before, end] => format!("{before}: {end}"),
        [only] => only.clone(),
    }
}

/// What a service said, as far as it is looked at. A kind whose service has words of its own reads
/// them here before it has the rest judged.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// How long the service asks to be left alone, in a header or in its JSON (`retry_after` at the
    /// top or beneath `parameters`); the longer one. A kind may put in what it knows better.
    pub(crate) retry_after: Option<Duration>,
    /// The first part of it.
    pub(crate) body: Vec<u8>,
    /// What it must not show, besides what stands in the URL.
    pub(crate) secrets: Secrets,
}

impl Answer {
    /// Reads it to its end, or as far as it is of use.
    pub(crate) async fn read(response: reqwest::Response, now: Wall, secrets: Secrets) -> Self {
        Self::read_up_to(ANSWER, response, now, secrets).await
    }

    /// As [`Self::read`], for answers of which more is of use.
    pub(crate) async fn read_up_to(
        most: usize,
        response: reqwest::Response,
        now: Wall,
        secrets: Secrets,
    ) -> Self {
        let status = response.status();
        let in_header = retry_after(response.headers(), now);
        let body = read(response, most).await;
        Self { status, retry_after: in_header.max(hint_in(&body)), body, secrets }
    }

    /// The body as one short line, without control characters and secrets.
    pub(crate) fn plain(&self, url: &Url) -> String {
        let mut secrets = self.secrets.clone();
        secrets.add_url(url);
        plain(&self.body, &secrets)
    }

    /// Judges it by its status: any 2xx is success.
    pub(crate) fn judge(&self, url: &Url) -> Result<String, SendError> {
        let status = self.status;
        if status.is_success() {
            let body = self.plain(url);
            return Ok(if body.is_empty() {
                status.to_string()
            } else {
                format!("{status}: {body}")
            });
        }
        let retry = match status.as_u16() {
            408 | 425 | 429 | 500.. => Retry::Later(self.retry_after),
            // The address or the credentials are wrong: every message would fail.
            300..=399 | 401 | 403 | 404 | 405 | 407 | 410 => Retry::Stop,
            // The same message would fail again; another one may not.
            _ => Retry::Never,
        };
        let hint = match status {
            StatusCode::GONE => "; it wants no more messages: set a new URL or remove the channel",
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "; check the URL and the secret",
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => "; check the URL",
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => PROXY_LOGIN,
            s if s.is_redirection() => "; redirects are not followed: set the final URL",
            _ => "",
        };
        Err(self.error(url, retry, hint))
    }

    /// That the service gave this answer, with what to do about it (`; check the URL`).
    pub(crate) fn error(&self, url: &Url, retry: Retry, hint: &str) -> SendError {
        let mut text = format!("{} answered {}", shown(url), self.status);
        let body = self.plain(url);
        if !body.is_empty() {
            text.push_str(": ");
            text.push_str(&body);
        }
        text.push_str(hint);
        SendError { retry, text }
    }
}

const NO_TLS: &str = "; it does not speak TLS there: check the port, or write http:// in the URL";
/// What hyper says of bytes that are no HTTP/1.1, before and after it has sent its request.
const NO_HTTP: [&str; 2] = ["invalid HTTP version parsed", "received unexpected message"];
const NO_HTTP_HINT: &str = "; it does not speak HTTP/1.1 there (gRPC, perhaps): check the port";
const PROXY_LOGIN: &str = "; set the user and password in the URL of the proxy";

/// How long to wait, where a body in JSON says so in seconds.
fn hint_in(body: &[u8]) -> Option<Duration> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let wait = body.get("retry_after").or(body.pointer("/parameters/retry_after"))?;
    let seconds = wait.as_f64().or_else(|| wait.as_str()?.trim().parse().ok())?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// The beginning of an answer; what the connection gave before it broke.
async fn read(mut response: reqwest::Response, most: usize) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < most
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk[..chunk.len().min(most - body.len())]);
    }
    body
}

/// Text of a receiver as one short line, without control characters and secrets.
pub(crate) fn plain(body: &[u8], secrets: &Secrets) -> String {
    let text = secrets.hide(String::from_utf8_lossy(body).into_owned());
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
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Wall(date.timestamp().as_microsecond()).since(now))
}
