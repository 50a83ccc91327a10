//! The Bot API: one call, what came back, and what of it may be shown. The token stands in every
//! URL, so no URL and nothing that a server repeats of it leaves this file.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;

use crate::config::Secret;
use crate::notify::{Retry, SendError, http};

/// At most so much of an answer is read: a full batch of updates has a tenth of it.
const ANSWER: usize = 4 * 1024 * 1024;
/// At most so many characters of an answer are shown.
const SHOWN: usize = 200;
/// How an answer begins that says yes.
const YES: &[u8] = b"{\"ok\":true";

/// A bot, ready to be asked.
#[derive(Debug)]
pub(super) struct Bot {
    client: Client,
    /// Where the API is, without the token.
    base: Url,
    token: Secret,
    /// How long one call may take, besides what the server is asked to wait.
    timeout: Duration,
}

/// Why a call brought nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// No answer, or one that is not Telegram's.
    Transport(SendError),
    /// Telegram says no.
    Refused(Refusal),
}

/// Telegram's no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// As an HTTP status.
    pub(super) code: u16,
    /// In Telegram's words, one line, without secrets.
    pub(super) description: String,
    /// When to ask again.
    pub(super) retry_after: Option<Duration>,
    /// The group has a new id.
    pub(super) migrated_to: Option<i64>,
}

#[derive(Deserialize)]
struct Body {
    ok: bool,
    result: Option<Value>,
    error_code: Option<u16>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Deserialize, Default)]
struct Parameters {
    retry_after: Option<u64>,
    migrate_to_chat_id: Option<i64>,
}

impl Bot {
    pub(super) fn new(client: Client, base: Url, token: Secret, timeout: Duration) -> Self {
        Self { client, base, token, timeout }
    }

    /// Whether it is the same bot, asked at the same place.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.base == other.base && self.token == other.token
    }

    /// `https://api.telegram.org`, for messages.
    pub(super) fn shown(&self) -> String {
        http::shown(&self.base)
    }

    /// Calls a method. `wait` is what the server was asked to wait before it answers.
    pub(super) async fn call(
        &self,
        method: &str,
        body: &Value,
        wait: Duration,
    ) -> Result<Value, Failure> {
        let base = self.base.as_str().trim_end_matches('/');
        let url = format!("{base}/bot{}/{method}", self.token.expose());
        let limit = self.timeout + wait;
        let response = self
            .client
            .post(url)
            .timeout(limit)
            .header(CONTENT_TYPE, "application/json")
            .body(body.to_string())
            .send()
            .await
            .map_err(|error| Failure::Transport(http::request_error(error, &self.base, limit)))?;
        self.judge(response).await
    }

    async fn judge(&self, mut response: reqwest::Response) -> Result<Value, Failure> {
        let status = response.status();
        let asked = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
        let mut bytes = Vec::new();
        while bytes.len() < ANSWER
            && let Ok(Some(chunk)) = response.chunk().await
        {
            bytes.extend_from_slice(&chunk[..chunk.len().min(ANSWER - bytes.len())]);
        }
        match serde_json::from_slice::<Body>(&bytes) {
            Ok(Body { ok: true, result, .. }) => Ok(result.unwrap_or_default()),
            Ok(body) => Err(Failure::Refused(Refusal {
                code: body.error_code.unwrap_or(status.as_u16()),
                description: self.plain(&body.description),
                retry_after: body.parameters.retry_after.or(asked).map(Duration::from_secs),
                migrated_to: body.parameters.migrate_to_chat_id,
            })),
            // The connection broke within the answer, but not before it said yes: to ask again would
            // be to do it twice.
            Err(_) if status.is_success() && bytes.starts_with(YES) => Ok(Value::Null),
            Err(_) => Err(Failure::Transport(self.not_telegram(status, asked, &bytes))),
        }
    }

    /// Something between, or in place of, Telegram has answered.
    fn not_telegram(&self, status: StatusCode, asked: Option<u64>, body: &[u8]) -> SendError {
        let retry = match status.as_u16() {
            300..=399 | 401 | 403 | 404 | 405 | 407 | 410 => Retry::Stop,
            400 | 402..=499 if status.as_u16() != 408 && status.as_u16() != 429 => Retry::Never,
            _ => Retry::Later(asked.map(Duration::from_secs)),
        };
        let hint = if status.is_redirection() {
            "redirects are not followed: set `api` to the final address"
        } else if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            "set the user and password in the URL of the proxy"
        } else {
            "this is not how Telegram answers: check `api`, and the proxy if there is one"
        };
        let body = self.plain(&String::from_utf8_lossy(body));
        let body = if body.is_empty() { body } else { format!(": {body}") };
        SendError { retry, text: format!("{} answered {status}{body}; {hint}", self.shown()) }
    }

    /// A text of the server as one short line, without control characters and without the token,
    /// which it may repeat in whole or in part.
    fn plain(&self, text: &str) -> String {
        let token = self.token.expose();
        let mut text = text.replace(token, "[…]");
        if let Some((_, key)) = token.split_once(':')
            && !key.is_empty()
        {
            text = text.replace(key, "[…]");
        }
        let mut login = http::Secrets::default();
        login.add_login(&self.base);
        let text = crate::notify::story::clean(&login.hide(text));
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if words.chars().count() > SHOWN {
            words.chars().take(SHOWN).chain(['…']).collect()
        } else {
            words
        }
    }
}

impl Refusal {
    /// `400 Bad Request: chat not found`.
    pub(super) fn text(&self) -> String {
        match self.description.as_str() {
            "" => format!("error {}", self.code),
            words => format!("{} {words}", self.code),
        }
    }

    /// Whether the token is at fault. Telegram answers 404 to one that no bot can have.
    pub(super) fn is_about_the_token(&self) -> bool {
        matches!(self.code, 401 | 404)
    }
}

/// What to do about a token that Telegram does not know.
pub(super) const TOKEN_HINT: &str =
    "the token is wrong or was revoked: ask @BotFather for it (/mybots, API Token) and set `token`";
