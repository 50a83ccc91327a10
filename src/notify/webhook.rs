//! The generic webhook: JSON over HTTP POST, with the headers of Standard Webhooks, so that a
//! receiver can tell repeats and forgeries.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Url};
use serde_json::{Value, json};
use sha2::Sha256;

use super::message;
use super::{BoxFuture, Channel, Kind, Outgoing, Retry, SendError, http};
use crate::engine::alert::{AlertRecord, Happening};
use crate::engine::time::Wall;
use crate::engine::words::CheckKind;
use crate::store::rfc3339;

pub(super) const KIND: Kind = Kind {
    name: "webhook",
    doc: "POSTs each message as JSON to a URL, with Standard Webhooks headers and signature",
};

/// Headers that keepwell sets itself.
const OWN: [&str; 7] = [
    "content-type",
    "content-length",
    "transfer-encoding",
    "host",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
];

/// What a configuration says of a webhook.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSettings {
    /// Where to: `http` or `https`. All but scheme and host counts as secret.
    pub url: String,
    /// Signs messages: `whsec_` and base64.
    pub secret: Option<String>,
    /// Further headers, such as `Authorization`; their values count as secret.
    pub headers: BTreeMap<String, String>,
    /// How long one try may take.
    pub timeout: Duration,
}

impl WebhookSettings {
    /// The default time limit of one try.
    pub const TIMEOUT: Duration = Duration::from_secs(10);

    /// Only a URL, all else as by default.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), secret: None, headers: BTreeMap::new(), timeout: Self::TIMEOUT }
    }
}

impl fmt::Debug for WebhookSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookSettings")
            .field("url", &Url::parse(&self.url).map_or("(not valid)".into(), |u| http::shown(&u)))
            .field("secret", &self.secret.as_ref().map(|_| "…"))
            .field("headers", &self.headers.keys())
            .field("timeout", &self.timeout)
            .finish()
    }
}

/// A setting that makes no sense: which key, and what is wrong with it, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct SettingsError {
    /// `url`, `secret`, `headers` or `timeout`.
    pub key: &'static str,
    /// For the person who wrote it.
    pub text: String,
}

/// A webhook, ready to send.
pub struct Webhook {
    name: Arc<str>,
    url: Url,
    key: Option<Vec<u8>>,
    headers: HeaderMap,
    timeout: Duration,
    client: Client,
}

impl Webhook {
    /// Checks the settings; sends nothing.
    ///
    /// # Errors
    /// What is wrong with them, for the person who wrote them, without secrets.
    pub fn new(
        name: Arc<str>,
        settings: WebhookSettings,
        client: Client,
    ) -> Result<Self, SettingsError> {
        let wrong = |key: &'static str| move |text: String| SettingsError { key, text };
        let url = Url::parse(settings.url.trim())
            .map_err(|e| wrong("url")(format!("the URL is not valid: {e}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            let scheme = url.scheme();
            let text = format!("the URL must begin with https:// or http://, not {scheme}:");
            return Err(wrong("url")(text));
        }
        if settings.timeout.is_zero() {
            return Err(wrong("timeout")("the timeout must be above 0".into()));
        }
        let key = settings.secret.as_deref().map(decode).transpose().map_err(wrong("secret"))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &settings.headers {
            let header = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| wrong("headers")(format!("'{name}' is not a valid header name")))?;
            if OWN.contains(&header.as_str()) {
                let text = format!("the header '{name}' is set by keepwell itself");
                return Err(wrong("headers")(text));
            }
            let mut value = HeaderValue::from_str(value).map_err(|_| {
                let what = "has characters that no header can hold";
                wrong("headers")(format!("the value of the header '{name}' {what}"))
            })?;
            value.set_sensitive(true);
            headers.insert(header, value);
        }
        Ok(Self { name, url, key, headers, timeout: settings.timeout, client })
    }

    async fn post(&self, message: &Outgoing) -> Result<(), SendError> {
        let body = serde_json::to_vec(&body(message)).map_err(|error| SendError {
            retry: Retry::Never,
            text: format!("the message cannot be written as JSON: {error}"),
        })?;
        let seconds = message.now.wall.0.div_euclid(1_000_000).to_string();
        let mut request = self
            .client
            .post(self.url.clone())
            .timeout(self.timeout)
            .headers(self.headers.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &message.key)
            .header("webhook-timestamp", &seconds);
        if let Some(key) = &self.key {
            request = request.header("webhook-signature", sign(key, &message.key, &seconds, &body));
        }
        let response = request
            .body(body)
            .send()
            .await
            .map_err(|error| http::request_error(error, &self.url, self.timeout))?;
        http::judge(response, &self.url, message.now.wall).await
    }
}

impl Channel for Webhook {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn send<'a>(&'a self, message: &'a Outgoing) -> BoxFuture<'a, Result<(), SendError>> {
        Box::pin(self.post(message))
    }
}

fn decode(secret: &str) -> Result<Vec<u8>, String> {
    let text = secret.trim();
    let text = text.strip_prefix("whsec_").unwrap_or(text);
    let key = STANDARD.decode(text).map_err(|_| {
        "the secret must be whsec_ followed by base64, as in: echo whsec_$(head -c 32 /dev/urandom | base64)"
    })?;
    if key.len() < 16 {
        return Err(format!("the secret has {} bytes; it needs at least 16, better 32", key.len()));
    }
    Ok(key)
}

/// `v1,` and the base64 of the HMAC-SHA256 of `id.timestamp.body`.
fn sign(key: &[u8], id: &str, seconds: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key)
        // Invariant: HMAC takes keys of any length.
        .expect("HMAC takes keys of any length");
    for part in [id.as_bytes(), b".", seconds.as_bytes(), b".", body] {
        mac.update(part);
    }
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// The JSON that receivers get. Fields are only ever added.
fn body(message: &Outgoing) -> Value {
    let notification = &message.notification;
    let happening = message::happening(message);
    json!({
        "text": message::text(message),
        "subject": message::subject(message),
        "timestamp": rfc3339(notification.at),
        "event": happening.as_str(),
        "status": if happening == Happening::Resolved { "resolved" } else { "firing" },
        "severity": notification.severity(),
        "host": notification.host,
        "labels": *notification.labels,
        "id": message.key,
        "opening": message.opening,
        "delayed_seconds": message.delayed.map(|d| d.as_secs()),
        "alerts": notification.alerts.iter().map(alert).collect::<Vec<_>>(),
        "agent": { "name": "keepwell", "version": env!("CARGO_PKG_VERSION") },
    })
}

fn alert(alert: &AlertRecord) -> Value {
    let check = &alert.key.check;
    json!({
        "id": alert.id,
        "check": check,
        "kind": alert.key.kind,
        "unit": (check.kind == CheckKind::Unit).then_some(&check.name),
        "severity": alert.severity,
        "reason": alert.reason,
        "reason_text": alert.reason.meaning(),
        "summary": alert.summary,
        "opened": rfc3339(alert.opened),
        "resolved": alert.resolved.map(|at: Wall| rfc3339(at)),
        "downtime_seconds": message::lasted(alert).map(|d| d.as_micros() as f64 / 1e6),
        "lines": alert.lines,
        "acts": alert.acts,
        "command": message::command(alert),
    })
}
