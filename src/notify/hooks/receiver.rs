//! Whom a hook speaks with: the keys that all kinds have, one request, and what its answer means.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Method, Url};

use super::{Hook, Outgoing};
use crate::config::{Key, KeyKind, Reader, Secret};
use crate::notify::template::content;
use crate::notify::{BoxFuture, header};
use crate::outbound::{self as http, Answer, Clients, Retry, Secrets, SendError};

/// How long one request may take, unless said.
const TIMEOUT: Duration = Duration::from_secs(5);
const SECOND: Duration = Duration::from_secs(1);

/// Headers that keepwell sets itself.
const OWN: [&str; 6] = [
    "content-type",
    "content-length",
    "transfer-encoding",
    "host",
    "idempotency-key",
    "webhook-id",
];

pub(super) const TOKEN: Key = Key {
    name: "token",
    kind: KeyKind::Secret,
    default: "",
    example: "{ credential = \"registry-token\" }",
    doc: "Sent as `Authorization: Bearer …`.",
};
pub(super) const HEADERS: Key = Key {
    name: "headers",
    kind: KeyKind::SecretMap,
    default: "{}",
    example: "{ X-Api-Key = { credential = \"registry-key\" } }",
    doc: "Further headers; their values are not shown.",
};
pub(super) const LIMIT: Key = Key {
    name: "timeout",
    kind: KeyKind::Duration,
    default: "\"5s\"",
    example: "\"2s\"",
    doc: "How long one request may take, 1s to 1m.",
};

/// The key `url` of a kind.
pub(super) const fn url_key(example: &'static str, doc: &'static str) -> Key {
    Key { name: "url", kind: KeyKind::Secret, default: "", example, doc }
}

/// How a service is reached.
#[derive(Clone)]
pub(super) struct Receiver {
    client: Client,
    headers: HeaderMap,
    timeout: Duration,
    /// The key is also sent as `webhook-id`.
    webhook: bool,
    /// What an answer must not show, besides the URL.
    secrets: Secrets,
}

impl Receiver {
    /// Reads `token`, `headers`, `timeout` and how it is reached. `None`: something is wrong, which
    /// the sink knows, or a secret is not to be had here.
    pub(super) fn read(reader: &mut Reader<'_>, clients: &mut Clients) -> Option<Self> {
        let way = http::way(reader, clients);
        let timeout = reader.duration("timeout", SECOND, 60 * SECOND).unwrap_or(TIMEOUT);
        let token = reader.secret("token");
        let mut sound = token.is_some() || !reader.has("token");
        let (mut headers, mut secrets) = (HeaderMap::new(), Secrets::default());
        for (name, (value, at)) in reader.secret_map("headers").unwrap_or_default() {
            if name.eq_ignore_ascii_case(AUTHORIZATION.as_str()) && reader.has("token") {
                reader.sink().error(at, "`token` and the header Authorization exclude each other");
                sound = false;
            }
            if !value.is_resolved() {
                sound = false; // `config check` by another user than the service; it has warned.
                continue;
            }
            match header::parse(&name, value.expose().trim(), &OWN) {
                Ok((name, value)) => drop(headers.insert(name, value)),
                Err(text) => {
                    reader.sink().error(at, text);
                    sound = false;
                }
            }
            secrets.add(value.expose());
        }
        if let Some(token) = token {
            sound &= token.is_resolved();
            let at = reader.place_of("token");
            let bearer = format!("Bearer {}", token.expose().trim());
            match header::parse(AUTHORIZATION.as_str(), &bearer, &OWN) {
                Ok((name, value)) => drop(headers.insert(name, value)),
                Err(_) => {
                    let text = "`token` has characters that no header can hold";
                    reader.sink().error(at, text);
                    sound = false;
                }
            }
            secrets.add(token.expose());
        }
        let http::Way { client, secrets: login } = way?;
        secrets.extend(login);
        sound.then_some(Self { client, headers, timeout, webhook: false, secrets })
    }

    /// The key is also sent as `webhook-id`, as by channels.
    pub(super) fn into_webhook(self) -> Self {
        Self { webhook: true, ..self }
    }

    /// Makes a request, and says what the answer means for the call.
    async fn ask(&self, outgoing: &Outgoing, request: Request) -> Result<String, SendError> {
        let Request { method, url, body, known } = request;
        let takes_body = [Method::POST, Method::PUT, Method::PATCH].contains(&method);
        let mut request = self
            .client
            .request(method, url.clone())
            .timeout(self.timeout)
            .headers(self.headers.clone())
            .header("idempotency-key", &outgoing.key);
        if self.webhook {
            request = request.header("webhook-id", &outgoing.key);
        }
        request = match body {
            Some((content_type, body)) => request.header(CONTENT_TYPE, content_type).body(body),
            // Some servers insist on it.
            None if takes_body => request.header(CONTENT_LENGTH, "0"),
            None => request,
        };
        let response =
            request.send().await.map_err(|error| http::request_error(error, &url, self.timeout))?;
        let answer = Answer::read(response, outgoing.now.wall, self.secrets.clone()).await;
        if known.contains(&answer.status.as_u16()) {
            return Ok(answer.status.to_string());
        }
        answer.judge(&url)
    }
}

/// What a receiver is asked for.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) body: Option<(HeaderValue, Vec<u8>)>,
    /// The statuses that say that it knows already.
    pub(super) known: &'static [u16],
}

/// A hook of any kind: its receiver, and what it is asked for to tell of a call.
struct Told<F> {
    name: Arc<str>,
    address: String,
    receiver: Receiver,
    request: F,
}

impl Receiver {
    /// The hook `name` that tells this receiver, whose address is as the configuration says it.
    pub(super) fn told<F>(self, name: &Arc<str>, address: String, request: F) -> Arc<dyn Hook>
    where
        F: Fn(&Outgoing) -> Result<Request, SendError> + Send + Sync + 'static,
    {
        Arc::new(Told { name: name.clone(), address, receiver: self, request })
    }
}

impl<F> Hook for Told<F>
where
    F: Fn(&Outgoing) -> Result<Request, SendError> + Send + Sync,
{
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn address(&self) -> &str {
        &self.address
    }

    fn tell<'a>(&'a self, call: &'a Outgoing) -> BoxFuture<'a, Result<String, SendError>> {
        Box::pin(async move { self.receiver.ask(call, (self.request)(call)?).await })
    }
}

/// Reads `url`: an address as it is used.
pub(super) fn url(reader: &mut Reader<'_>, example: &str) -> Option<Url> {
    reader.require("url", example);
    let secret = reader.url("url").filter(Secret::is_resolved)?;
    match Url::parse(secret.expose().trim()) {
        Ok(url) => Some(url),
        Err(error) => {
            let at = reader.place_of("url");
            reader.sink().error(at, format!("`hook.url` is no valid URL: {error}"));
            None
        }
    }
}

/// A body as JSON without spaces.
pub(super) fn json(body: &impl serde::Serialize) -> Result<(HeaderValue, Vec<u8>), SendError> {
    let body = serde_json::to_vec(body).map_err(|error| SendError {
        retry: Retry::Never,
        text: format!("the call cannot be written as JSON: {error}"),
    })?;
    Ok((content::JSON, body))
}
