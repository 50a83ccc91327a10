//! The generic webhook: JSON, or what the user makes of it, over HTTP, with the headers of Standard Webhooks, so that a
//! receiver can tell repeats and forgeries.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, StatusCode, Url};
use serde_json::{Value, json};
use sha2::Sha256;

use super::http::{self, Answer, Secrets};
use super::story::{self, Story};
use super::template::{self, Templates};
use super::{BoxFuture, Channel, Kind, Outgoing, Reading, Retry, SendError, fields};
use crate::config::{Key, KeyKind, Reader, Secret};
use crate::store::rfc3339;

pub(super) const KIND: Kind = Kind {
    name: "webhook",
    doc: "POSTs each message as JSON to a URL, with Standard Webhooks headers and signature",
    keys: KEYS,
    read,
};

const KEYS: &[Key] = &[
    Key {
        name: "url",
        kind: KeyKind::Secret,
        default: "",
        example: "{ credential = \"ops-url\" }",
        doc: "Where to, https:// or http://. Required.",
    },
    Key {
        name: "method",
        kind: KeyKind::OneOf(&["POST", "PUT"]),
        default: "\"POST\"",
        example: "\"PUT\"",
        doc: "The method of the request.",
    },
    Key {
        name: "secret",
        kind: KeyKind::Secret,
        default: "",
        example: "{ credential = \"ops-secret\" }",
        doc: "Signs each message: `whsec_` and at least 16 bytes in base64.",
    },
    Key {
        name: "headers",
        kind: KeyKind::TextMap,
        default: "{}",
        example: "{ Authorization = \"Bearer …\", X-Severity = \"{{ severity }}\" }",
        doc: "Further headers, also as templates; their values are not shown.",
    },
    Key {
        name: "format",
        kind: KeyKind::OneOf(&["full", "plain"]),
        default: "\"full\"",
        example: "\"plain\"",
        doc: "All that is known, or nothing but text and timestamp.",
    },
    Key {
        name: "template",
        kind: KeyKind::Table(TEMPLATE),
        default: "",
        example: "",
        doc: "A body of your own instead.",
    },
    Key {
        name: "timeout",
        kind: KeyKind::Duration,
        default: "\"10s\"",
        example: "\"5s\"",
        doc: "How long one try may take, 1s to 1m.",
    },
    http::CA,
    http::PROXY,
];

const TEMPLATE: &[Key] = &[
    template::key("body", "\"{\\\"text\\\": {{ title | json }}}\"", "What is sent."),
    Key {
        name: "content_type",
        kind: KeyKind::Text,
        default: "\"application/json\"",
        example: "\"text/plain; charset=utf-8\"",
        doc: "What the body is; JSON is checked.",
    },
];

const JSON: &str = "application/json";
/// The name of the template of the body.
const BODY: &str = "body";
/// At most so many bytes of log lines in a message; alerts beyond have none.
const LOG: usize = 128 * 1024;
const SECOND: Duration = Duration::from_secs(1);

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
    /// `PUT` rather than `POST`.
    pub put: bool,
    /// Only text and timestamp.
    pub plain: bool,
}

impl WebhookSettings {
    /// The default time limit of one try.
    pub const TIMEOUT: Duration = Duration::from_secs(10);

    /// Only a URL, all else as by default.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            secret: None,
            headers: BTreeMap::new(),
            timeout: Self::TIMEOUT,
            put: false,
            plain: false,
        }
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
    method: Method,
    key: Option<Vec<u8>>,
    headers: HeaderMap,
    /// Those whose value is a template, which has the same name.
    changing: Vec<HeaderName>,
    templates: Templates,
    content_type: HeaderValue,
    plain: bool,
    timeout: Duration,
    client: Client,
    /// What an answer must not show, besides the URL and the headers.
    secrets: Secrets,
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
        let url = address(&settings.url).map_err(wrong("url"))?;
        if settings.timeout.is_zero() {
            return Err(wrong("timeout")("the timeout must be above 0".into()));
        }
        let key = settings.secret.as_deref().map(decode).transpose().map_err(wrong("secret"))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &settings.headers {
            let (header, value) = header(name, value).map_err(wrong("headers"))?;
            headers.insert(header, value);
        }
        let mut secrets = Secrets::default();
        if let Some(secret) = &settings.secret {
            secrets.add(secret);
            secrets.add(secret.trim().trim_start_matches("whsec_"));
        }
        Ok(Self {
            name,
            url,
            method: if settings.put { Method::PUT } else { Method::POST },
            key,
            headers,
            changing: Vec::new(),
            templates: Templates::default(),
            content_type: HeaderValue::from_static(JSON),
            plain: settings.plain,
            timeout: settings.timeout,
            client,
            secrets,
        })
    }

    async fn tell(&self, message: &Outgoing) -> Result<String, SendError> {
        let story = story::compose(message);
        let headers = self.headers(message, &story);
        let own = self.templates.render_checked(BODY, message, &story, &|text| {
            if is_json(&self.content_type) { valid(text) } else { Ok(()) }
        });
        if let Some(text) = own {
            let answer = self.post(message, headers, &self.content_type, text.into()).await?;
            return answer.judge(&self.url);
        }
        let json = HeaderValue::from_static(JSON);
        let body = written(&body(message, &story, self.plain))?;
        let answer = self.post(message, headers.clone(), &json, body).await?;
        if answer.status != StatusCode::PAYLOAD_TOO_LARGE {
            return answer.judge(&self.url);
        }
        let body = written(&short(message, &story, self.plain))?;
        self.post(message, headers, &json, body).await?.judge(&self.url)
    }

    async fn post(
        &self,
        message: &Outgoing,
        headers: HeaderMap,
        content_type: &HeaderValue,
        body: Vec<u8>,
    ) -> Result<Answer, SendError> {
        let mut secrets = self.secrets.clone();
        for value in headers.values().filter_map(|value| std::str::from_utf8(value.as_bytes()).ok())
        {
            secrets.add(value);
        }
        let seconds = message.now.wall.0.div_euclid(1_000_000).to_string();
        let mut request = self
            .client
            .request(self.method.clone(), self.url.clone())
            .timeout(self.timeout)
            .headers(headers)
            .header(CONTENT_TYPE, content_type)
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
        Ok(Answer::read(response, message.now.wall, secrets).await)
    }

    /// The user's headers. One whose template fails is left out.
    fn headers(&self, message: &Outgoing, story: &Story) -> HeaderMap {
        let mut headers = self.headers.clone();
        for name in &self.changing {
            let value = self.templates.render_checked(name.as_str(), message, story, &|text| {
                HeaderValue::from_bytes(text.as_bytes()).map(drop).map_err(|e| e.to_string())
            });
            let value = value.and_then(|text| HeaderValue::from_bytes(text.as_bytes()).ok());
            if let Some(mut value) = value {
                value.set_sensitive(true);
                headers.insert(name.clone(), value);
            }
        }
        headers
    }
}

fn read(reading: &mut Reading<'_>) -> Option<Arc<dyn Channel>> {
    let Reading { section, clients, sink, .. } = reading;
    let mut reader = section.section.read(sink);
    let way = http::way(&mut reader, clients);
    reader.require("url", "{ credential = \"NAME\" }");
    let url = reader.url("url");
    let secret = reader.secret("secret");
    let timeout = reader.duration("timeout", SECOND, 60 * SECOND);
    let put = reader.one_of("method", &[("POST", false), ("PUT", true)]).unwrap_or_default();
    let plain = reader.one_of("format", &[("full", false), ("plain", true)]);
    let (mut templates, content_type) = templates(&mut reader);
    if plain.is_some() && templates.has(BODY) {
        let at = reader.place_of("format");
        reader.sink().error(at, "`format` and `template` exclude each other").hint("remove one");
    }
    let headers = reader.text_map("headers").unwrap_or_default();
    let mut changing = Vec::new();
    let mut fixed = BTreeMap::new();
    let mut wrong = false;
    for (name, (value, at)) in headers {
        if !value.contains("{{") && !value.contains("{%") {
            reader.sink().guard_secret(at, &format!("headers.{name}"), "");
            if let Err(text) = header(&name, &value) {
                reader.sink().error(at, text);
                wrong = true;
            }
            fixed.insert(name, value);
            continue;
        }
        match header_name(&name) {
            Ok(header) => {
                let what = format!("`headers.{name}`");
                templates.add_secret(reader.sink(), header.as_str(), &what, value, at, &|text| {
                    let wrong = "it makes characters that no header can hold";
                    HeaderValue::from_bytes(text.as_bytes()).map(drop).map_err(|_| wrong.into())
                });
                changing.push(header);
            }
            Err(text) => drop(reader.sink().error(at, text)),
        }
    }
    // Each by itself, so that all that is wrong is said at once.
    let at_url = reader.place_of("url");
    let seen = |secret: &Option<Secret>| secret.clone().filter(Secret::is_resolved);
    if let Some(Err(text)) = seen(&url).map(|url| address(url.expose())) {
        reader.sink().error(at_url, text);
        wrong = true;
    }
    if let Some(Err(text)) = seen(&secret).map(|secret| decode(secret.expose())) {
        let at = reader.place_of("secret");
        reader.sink().error(at, text);
        wrong = true;
    }
    reader.finish();
    let (Some(url), Some(http::Way { client, secrets }), false) = (url, way, wrong) else {
        return None;
    };
    if !url.is_resolved() || secret.as_ref().is_some_and(|s| !s.is_resolved()) {
        return None; // `config check` by another user than the service; it has warned.
    }
    let settings = WebhookSettings {
        url: url.expose().to_owned(),
        secret: secret.map(|s| s.expose().to_owned()),
        headers: fixed,
        timeout: timeout.unwrap_or(WebhookSettings::TIMEOUT),
        put,
        plain: plain.unwrap_or_default(),
    };
    match Webhook::new(section.name.clone(), settings, client) {
        Ok(mut webhook) => {
            webhook.secrets.extend(secrets);
            Some(Arc::new(Webhook { templates, content_type, changing, ..webhook }))
        }
        Err(error) => {
            sink.error(at_url, error.text);
            None
        }
    }
}

/// Reads `template`: the body, and what it is.
fn templates(reader: &mut Reader<'_>) -> (Templates, HeaderValue) {
    let mut content_type = HeaderValue::from_static(JSON);
    // First, as it says how to judge the body.
    if let Some(section) = reader.table("template") {
        let mut inner = section.read(reader.sink());
        content_type = read_content_type(&mut inner);
        inner.require("body", "\"{{ text }}\"");
    }
    let json = is_json(&content_type);
    let templates = Templates::read_with(
        reader,
        &[BODY],
        |inner| {
            let _ = inner.value("content_type", |_, _, _| Some(()));
        },
        &|_, text| if json { valid(text) } else { Ok(()) },
    );
    (templates, content_type)
}

/// Reads `content_type` of a `template`: what the body is.
pub(super) fn read_content_type(template: &mut Reader<'_>) -> HeaderValue {
    let json = HeaderValue::from_static(JSON);
    let Some((text, at)) = template.text_at("content_type") else { return json };
    HeaderValue::from_str(&text).unwrap_or_else(|_| {
        let message = "`template.content_type` has characters that no header can hold";
        template.sink().error(at, message);
        json
    })
}

pub(super) fn is_json(content_type: &HeaderValue) -> bool {
    let text = content_type.to_str().unwrap_or_default();
    text.split(';').next().is_some_and(|kind| kind.trim().to_ascii_lowercase().ends_with("json"))
}

pub(super) fn valid(text: &str) -> Result<(), String> {
    let error = match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    Err(format!(
        "what it makes is not JSON: {error}; write values as {{{{ … | json }}}}, without quotes \
         around them, or set another content_type"
    ))
}

fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text.trim()).map_err(|e| format!("the URL is not valid: {e}"))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(format!("the URL must begin with https:// or http://, not {other}:")),
    }
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let header = header_name(name)?;
    let mut value = HeaderValue::from_str(value).map_err(|_| {
        format!("the value of the header '{name}' has characters that no header can hold")
    })?;
    value.set_sensitive(true);
    Ok((header, value))
}

fn header_name(name: &str) -> Result<HeaderName, String> {
    let header = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| format!("'{name}' is not a valid header name"))?;
    if OWN.contains(&header.as_str()) {
        return Err(format!("the header '{name}' is set by keepwell itself"));
    }
    Ok(header)
}

impl Channel for Webhook {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn send<'a>(&'a self, message: &'a Outgoing) -> BoxFuture<'a, Result<String, SendError>> {
        Box::pin(self.tell(message))
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
pub(super) fn body(message: &Outgoing, story: &Story, plain: bool) -> Value {
    let notification = &message.notification;
    if plain {
        return json!({ "text": story::text(story), "timestamp": rfc3339(notification.at) });
    }
    let mut body = envelope(message, story);
    body["text"] = json!(story::text(story));
    let mut room = LOG;
    let mut alerts: Vec<Value> = notification.items.iter().map(fields::alert).collect();
    for alert in &mut alerts {
        let lines = alert["lines"].as_array().into_iter().flatten().filter_map(Value::as_str);
        match room.checked_sub(lines.map(str::len).sum()) {
            Some(left) => room = left,
            None => alert["lines"] = json!([]),
        }
    }
    body["alerts"] = json!(alerts);
    if !notification.notices.is_empty() {
        body["notices"] = json!(fields::notices(message));
    }
    if let Some(report) = fields::report(message) {
        body["report"] = report;
    }
    body
}

/// For a receiver to whom the whole was too much: what happened, and which alerts it is about.
fn short(message: &Outgoing, story: &Story, plain: bool) -> Value {
    if plain {
        let at = rfc3339(message.notification.at);
        return json!({ "text": story.title, "timestamp": at });
    }
    const KEPT: [&str; 7] = ["id", "event", "check", "kind", "severity", "opened", "resolved"];
    let mut body = envelope(message, story);
    body["text"] = json!(story.title);
    let alerts = message.notification.items.iter().map(|item| {
        let all = fields::alert(item);
        KEPT.iter().map(|key| ((*key).to_owned(), all[*key].clone())).collect::<Value>()
    });
    body["alerts"] = alerts.collect();
    body
}

fn envelope(message: &Outgoing, story: &Story) -> Value {
    let notification = &message.notification;
    json!({
        "subject": story.title,
        "timestamp": rfc3339(notification.at),
        "event": fields::event(message),
        "status": fields::status(message),
        "severity": notification.severity(),
        "host": notification.host,
        "labels": *notification.labels,
        "id": message.key,
        "delayed_seconds": message.delayed.map(|d| d.as_secs()),
        "omitted": notification.omitted,
        "agent": { "name": "keepwell", "version": env!("CARGO_PKG_VERSION") },
    })
}

fn written(body: &Value) -> Result<Vec<u8>, SendError> {
    serde_json::to_vec(body).map_err(|error| SendError {
        retry: Retry::Never,
        text: format!("the message cannot be written as JSON: {error}"),
    })
}
