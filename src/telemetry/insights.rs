//! Application Insights by a connection string: what is posted to `/v2/track`, and what comes back.

mod connection;
mod encode;
mod track;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::LogBatch;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, LOCATION};
use reqwest::{Response, StatusCode, Url};
use tokio::time::Instant;

use super::wire::{Batch, Taken, Wire};
use crate::config::sink::Place;
use crate::config::{Secret, Sink};
use crate::engine::Now;
use crate::outbound::{self, Answer, BoxFuture, Retry, Secrets, SendError, Way};

use connection::{COPY, Connection};
use encode::{Encoder, pick};
use track::Track;

/// An answer that names each of many items is long.
const MOST_ANSWER: usize = 1 << 20;
/// The service may name another address, and that one yet another.
const MOST_REDIRECTS: usize = 5;
/// After a daily cap, where the service does not say how long.
const CAP: Duration = Duration::from_secs(5 * 60);

/// A receiver of measurements and traces at Application Insights.
pub(super) struct InsightsWire {
    encoder: Encoder,
    track: Url,
    /// Where the service has sent us to, as long as that is of use.
    moved: Mutex<Option<Url>>,
    /// So many items in a request are not too many, as far as is known.
    most: AtomicUsize,
    timeout: Duration,
    way: Way,
    secrets: Secrets,
}

impl InsightsWire {
    /// What is wrong with the connection string goes into the sink, without anything of it.
    pub(super) fn new(
        text: &Secret,
        at: Place,
        timeout: Duration,
        way: Way,
        sink: &mut Sink,
    ) -> Option<Self> {
        // `config check` may not see what the service will: anything does for it.
        let seen = text.is_resolved();
        let text = if seen { text.expose() } else { "InstrumentationKey=0" };
        let connection = match Connection::parse(text) {
            Ok(connection) => connection,
            Err(wrong) => {
                sink.error(at, wrong.message).hint(wrong.hint);
                return None;
            }
        };
        if seen && !connection.has_endpoint {
            let message = "the connection string has no IngestionEndpoint; the global one is used, \
                           which newer resources may not have";
            sink.warning(at, message).hint(COPY);
        }
        let mut secrets = way.secrets.clone();
        let key = connection.key.expose();
        for key in [key, &key.to_lowercase(), &key.to_uppercase()] {
            secrets.add(key);
        }
        Some(Self {
            encoder: Encoder::new(connection.key),
            track: connection.track,
            moved: Mutex::default(),
            most: AtomicUsize::new(usize::MAX),
            timeout,
            way,
            secrets,
        })
    }
}

impl Wire for InsightsWire {
    fn metrics(&self, metrics: &ResourceMetrics, resource: &Resource) -> Result<Batch, String> {
        self.encoder.metrics(metrics, resource)
    }

    fn logs(&self, records: &LogBatch<'_>, resource: &Resource) -> Result<Batch, String> {
        self.encoder.logs(records, resource)
    }

    fn post<'a>(&'a self, batch: &'a Batch, now: Now) -> BoxFuture<'a, Result<Taken, SendError>> {
        Box::pin(async move {
            if batch.items == 0 {
                return Ok(Taken { said: "there was nothing to send".into(), ..Taken::default() });
            }
            let until = Instant::now() + self.timeout;
            loop {
                let sent = batch.items.min(self.most.load(Ordering::Relaxed));
                let body = if sent < batch.items {
                    pick(batch, |i| i < sent).map_err(damaged)?.body
                } else {
                    batch.body.clone()
                };
                let (url, answer) = self.answer(body, until, now).await?;
                if answer.status == StatusCode::PAYLOAD_TOO_LARGE && sent > 1 {
                    self.most.store(sent / 2, Ordering::Relaxed);
                    continue;
                }
                let result = self.judge(batch, sent, answer, &url);
                if result.is_err() {
                    self.remember(None);
                }
                return result;
            }
        })
    }
}

impl InsightsWire {
    /// Posts a body, also to where the service sends it on to.
    async fn answer(
        &self,
        body: Bytes,
        until: Instant,
        now: Now,
    ) -> Result<(Url, Answer), SendError> {
        let moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut url = moved.unwrap_or_else(|| self.track.clone());
        for _ in 0..=MOST_REDIRECTS {
            let sent = self
                .way
                .client
                .post(url.clone())
                .timeout(until.saturating_duration_since(Instant::now()))
                .header(CONTENT_TYPE, "application/json")
                .header(CONTENT_ENCODING, "gzip")
                // A body that is whole has a Content-Length.
                .body(body.clone())
                .send()
                .await;
            let response = sent.map_err(|error| {
                self.remember(None);
                outbound::request_error(error, &url, self.timeout)
            })?;
            let redirect = [StatusCode::TEMPORARY_REDIRECT, StatusCode::PERMANENT_REDIRECT];
            if !redirect.contains(&response.status()) {
                let secrets = self.secrets.clone();
                let answer = Answer::read_up_to(MOST_ANSWER, response, now.wall, secrets).await;
                return Ok((url, answer));
            }
            url = next(&url, &response)?;
            self.remember(Some(&url));
        }
        self.remember(None);
        let text = format!(
            "{} sends from one address to the next, more than {MOST_REDIRECTS} times",
            outbound::shown(&self.track)
        );
        Err(SendError { retry: Retry::Later(None), text })
    }

    fn remember(&self, url: Option<&Url>) {
        *self.moved.lock().unwrap_or_else(PoisonError::into_inner) = url.cloned();
    }

    /// `sent` items of the batch were posted: the first ones.
    fn judge(
        &self,
        batch: &Batch,
        sent: usize,
        answer: Answer,
        url: &Url,
    ) -> Result<Taken, SendError> {
        let track = Track::read(&answer.body);
        match (answer.status.as_u16(), track) {
            (200..=299, Some(track)) => self.partly(batch, sent, &track, &answer, url),
            (206, None) => {
                let hint = ", which does not say what was taken";
                Err(answer.error(url, Retry::Later(answer.retry_after), hint))
            }
            (200..=299, None) => self.taken(batch, sent, &answer),
            (_, Some(track)) if track.mixed() => self.partly(batch, sent, &track, &answer, url),
            (_, track) => refused(answer, track.as_ref(), url),
        }
    }

    /// All that was sent is there; what was not sent is to follow.
    fn taken(&self, batch: &Batch, sent: usize, answer: &Answer) -> Result<Taken, SendError> {
        let rest = if sent < batch.items {
            Some(pick(batch, |i| i >= sent).map_err(damaged)?)
        } else {
            None
        };
        Ok(Taken { said: answer.status.to_string(), rejected: 0, note: None, rest })
    }

    /// Each item has its own answer.
    fn partly(
        &self,
        batch: &Batch,
        sent: usize,
        track: &Track,
        answer: &Answer,
        url: &Url,
    ) -> Result<Taken, SendError> {
        let verdict = track.verdict(sent);
        let why = verdict.why.map(|why| outbound::plain(why.as_bytes(), &self.secrets));
        let again = verdict.again.len();
        if verdict.accepted == 0 && verdict.lost == 0 && again > 0 {
            let text = format!(
                "{} answered {} and takes none of {again} items now: {}",
                outbound::shown(url),
                answer.status,
                why.unwrap_or_default()
            );
            return Err(SendError { retry: Retry::Later(answer.retry_after), text });
        }
        let rest = if again > 0 || sent < batch.items {
            let wanted = |i| i >= sent || verdict.again.contains(&i);
            Some(pick(batch, wanted).map_err(damaged)?)
        } else {
            None
        };
        let note = why.filter(|_| verdict.lost > 0);
        Ok(Taken { said: answer.status.to_string(), rejected: verdict.lost, note, rest })
    }
}

/// Nothing was taken.
fn refused(mut answer: Answer, track: Option<&Track>, url: &Url) -> Result<Taken, SendError> {
    if let Some(message) = track.and_then(Track::message) {
        answer.body = message.as_bytes().to_vec();
    }
    let asked = answer.retry_after;
    let wrong_key = || {
        let said = String::from_utf8_lossy(&answer.body).to_lowercase();
        said.contains("instrumentation key") || said.contains("instrumentationkey")
    };
    let (retry, hint) = match answer.status.as_u16() {
        400 if wrong_key() => {
            (Retry::Stop, "; there is no such resource: copy the connection string again")
        }
        401 | 403 => (
            Retry::Later(asked),
            "; the resource wants an identity (local authentication is off) or does not take \
             telemetry from this network: change that there, or send OTLP with `azure.identity`",
        ),
        402 | 439 => (
            Retry::Later(asked.or(Some(CAP))),
            "; the daily cap of the resource is reached: raise it, or send less often \
             (`telemetry.interval`)",
        ),
        404 | 405 | 410 => {
            (Retry::Stop, "; check IngestionEndpoint in the connection string, or copy it again")
        }
        413 => (Retry::Never, "; it takes only smaller items"),
        _ => {
            let said = answer.judge(url)?;
            return Ok(Taken { said, ..Taken::default() });
        }
    };
    Err(answer.error(url, retry, hint))
}

/// Where a redirect leads to.
fn next(url: &Url, response: &Response) -> Result<Url, SendError> {
    let location = response.headers().get(LOCATION).and_then(|text| text.to_str().ok());
    let next = location.and_then(|text| url.join(text).ok());
    next.filter(|next| next.scheme() == "https" && next.has_host()).ok_or_else(|| SendError {
        retry: Retry::Stop,
        text: format!(
            "{} answered {} and names no https address to go to; check IngestionEndpoint in the \
             connection string",
            outbound::shown(url),
            response.status()
        ),
    })
}

fn damaged(text: String) -> SendError {
    SendError { retry: Retry::Never, text }
}
