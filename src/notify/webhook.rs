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
use sha2::Sha256;

use super::http::{self, Answer, Secrets};
use super::story::{self, Story};
use super::template::content::{self, is_json, valid};
use super::template::{self, Templates};
use super::{BoxFuture, Channel, Kind, Outgoing, Reading, SendError, header};
use crate::config::{Key, KeyKind, Reader, Secret};

pub(super) mod body;

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
    content::KEY,
];

/// The name of the template of the body.
const BODY: &str = "body";
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
            let (header, value) = header::parse(name, value, &OWN).map_err(wrong("headers"))?;
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
            content_type: content::JSON,
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
        let body = body::written(&body::full(message, &story, self.plain))?;
        let answer = self.post(message, headers.clone(), &content::JSON, body).await?;
        if answer.status != StatusCode::PAYLOAD_TOO_LARGE {
            return answer.judge(&self.url);
        }
        let body = body::written(&body::short(message, &story, self.plain))?;
        self.post(message, headers, &content::JSON, body).await?.judge(&self.url)
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
            if let Err(text) = header::parse(&name, &value, &OWN) {
                reader.sink().error(at, text);
                wrong = true;
            }
            fixed.insert(name, value);
            continue;
        }
        match header::name(&name, &OWN) {
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
    let mut content_type = content::JSON;
    // First, as it says how to judge the body.
    if let Some(section) = reader.table("template") {
        let mut inner = section.read(reader.sink());
        content_type = content::read(&mut inner);
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

fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text.trim()).map_err(|e| format!("the URL is not valid: {e}"))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(format!("the URL must begin with https:// or http://, not {other}:")),
    }
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
