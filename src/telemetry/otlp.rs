//! OTLP over HTTP: protobuf, gzip, and what a collector answers.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::logs::tonic::group_logs_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::LogBatch;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use prost::Message;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{StatusCode, Url};

use super::wire::{Batch, Taken, Wire};
use crate::config::Secret;
use crate::engine::Now;
use crate::outbound::{self, Answer, BoxFuture, Retry, Secrets, SendError, Way};

/// At most so much of an answer is read: what was refused may have a long reason.
const MOST_ANSWER: usize = 64 * 1024;

/// What is sent there, which decides what the answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// Measurements.
    Metrics,
    /// Log records.
    Logs,
}

/// Who gives tokens for requests.
pub(super) trait Tokens: Send + Sync {
    /// A token that is good now: a remembered one, or a new one.
    fn token(&self, now: Now) -> BoxFuture<'_, Result<Secret, SendError>>;

    /// This one was refused: the next call gets a new one.
    fn refused(&self, token: &Secret);
}

/// A receiver of one signal by OTLP.
pub(super) struct OtlpWire {
    pub(super) signal: Signal,
    /// Used as it is.
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) timeout: Duration,
    pub(super) gzip: bool,
    pub(super) way: Way,
    /// Of the headers.
    pub(super) secrets: Secrets,
    /// For Azure Monitor, which also wants other answers to be tried again.
    pub(super) tokens: Option<Arc<dyn Tokens>>,
}

impl Wire for OtlpWire {
    fn metrics(&self, metrics: &ResourceMetrics, resource: &Resource) -> Result<Batch, String> {
        let mut request = ExportMetricsServiceRequest::from(metrics);
        let items = request
            .resource_metrics
            .iter()
            .flat_map(|r| &r.scope_metrics)
            .flat_map(|s| &s.metrics)
            .map(points)
            .sum();
        for part in &mut request.resource_metrics {
            part.resource = Some(resource.into());
            part.schema_url = resource.schema_url().unwrap_or_default().to_owned();
        }
        self.batch(&request.encode_to_vec(), items)
    }

    fn logs(&self, records: &LogBatch<'_>, resource: &Resource) -> Result<Batch, String> {
        let attributes = ResourceAttributesWithSchema::from(resource);
        let resource_logs = group_logs_by_resource_and_scope(records, &attributes);
        let request = ExportLogsServiceRequest { resource_logs };
        self.batch(&request.encode_to_vec(), records.iter().count())
    }

    fn post<'a>(&'a self, batch: &'a Batch, now: Now) -> BoxFuture<'a, Result<Taken, SendError>> {
        Box::pin(async move {
            let Some(tokens) = &self.tokens else {
                let answer = self.try_once(batch, &[], now).await?;
                return self.judge(&answer);
            };
            let old = tokens.token(now).await?;
            let answer = self.try_once(batch, &[&old], now).await?;
            if answer.status != StatusCode::UNAUTHORIZED {
                return self.judge(&answer);
            }
            tokens.refused(&old);
            let new = tokens.token(now).await?;
            let answer = self.try_once(batch, &[&new, &old], now).await?;
            if answer.status == StatusCode::UNAUTHORIZED {
                tokens.refused(&new);
            }
            self.judge(&answer)
        })
    }
}

impl OtlpWire {
    fn batch(&self, body: &[u8], items: usize) -> Result<Batch, String> {
        let body = if self.gzip { gzip(body)? } else { body.to_vec() };
        Ok(Batch { body: body.into(), items })
    }

    /// Posts it with the first of these tokens; none of them is shown.
    async fn try_once(
        &self,
        batch: &Batch,
        tokens: &[&Secret],
        now: Now,
    ) -> Result<Answer, SendError> {
        let mut headers = self.headers.clone();
        let mut secrets = self.secrets.clone();
        secrets.extend(self.way.secrets.clone());
        tokens.iter().for_each(|token| secrets.add(token.expose()));
        if let Some(token) = tokens.first() {
            let mut value =
                HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(|_| {
                    SendError {
                        retry: Retry::Later(None),
                        text: "the token cannot be sent: it has control characters".into(),
                    }
                })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        if self.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let response = self
            .way
            .client
            .post(self.url.clone())
            .timeout(self.timeout)
            .headers(headers)
            // A body that is whole has a Content-Length: it is never sent in chunks.
            .body(Bytes::clone(&batch.body))
            .send()
            .await
            .map_err(|error| outbound::request_error(error, &self.url, self.timeout))?;
        Ok(Answer::read_up_to(MOST_ANSWER, response, now.wall, secrets).await)
    }

    fn judge(&self, answer: &Answer) -> Result<Taken, SendError> {
        let status = answer.status;
        if status.is_success() {
            let (rejected, note) = self.partial(&answer.body);
            let note = note.map(|text| outbound::plain(text.as_bytes(), &answer.secrets));
            return Ok(Taken { said: status.to_string(), rejected, note, rest: None });
        }
        let azure = self.tokens.is_some();
        let retry = match status.as_u16() {
            429 | 502..=504 => Retry::Later(answer.retry_after),
            // Azure Monitor says these while a rule, an endpoint or a role is still being set up.
            401 | 403 | 404 | 408 | 410 | 500.. if azure => Retry::Later(answer.retry_after),
            300..=399 | 401 | 403 | 404 | 405 | 407 | 410 => Retry::Stop,
            _ => Retry::Never,
        };
        let stream = String::from_utf8_lossy(&answer.body).contains("InvalidStream");
        let hint = match status.as_u16() {
            400 if stream => {
                "; the data collection rule has no stream of the name in the URL: check it, also \
                 for upper and lower case"
            }
            401 if azure => {
                "; the token was refused: it must be for https://monitor.azure.com, and the clock \
                 right"
            }
            403 if azure => {
                "; give the identity the role Monitoring Metrics Publisher on the data collection \
                 rule (it takes up to 30 min to count)"
            }
            404 if azure => "; check the host, the id of the rule and the stream in the URL",
            401 | 403 => "; check the headers",
            404 | 405 if self.signal == Signal::Metrics => {
                "; check the URL: OTLP over HTTP is usually at port 4318, path /v1/metrics"
            }
            404 | 405 => "; check the URL: OTLP over HTTP is usually at port 4318, path /v1/logs",
            415 => "; it does not take protobuf: check that the URL is that of an OTLP receiver",
            413 => "; it takes only smaller messages",
            300..=399 => "; redirects are not followed: set the final URL",
            _ => "",
        };
        Err(answer.error(&self.url, retry, hint))
    }

    /// How much of it was refused, and what was said of that. An answer that is no protobuf says
    /// nothing.
    fn partial(&self, body: &[u8]) -> (usize, Option<String>) {
        let (rejected, text) = match self.signal {
            Signal::Metrics => ExportMetricsServiceResponse::decode(body)
                .ok()
                .and_then(|r| r.partial_success)
                .map(|p| (p.rejected_data_points, p.error_message))
                .unwrap_or_default(),
            Signal::Logs => ExportLogsServiceResponse::decode(body)
                .ok()
                .and_then(|r| r.partial_success)
                .map(|p| (p.rejected_log_records, p.error_message))
                .unwrap_or_default(),
        };
        (usize::try_from(rejected).unwrap_or(0), Some(text).filter(|text| !text.is_empty()))
    }
}

fn points(metric: &opentelemetry_proto::tonic::metrics::v1::Metric) -> usize {
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    match &metric.data {
        Some(Data::Gauge(d)) => d.data_points.len(),
        Some(Data::Sum(d)) => d.data_points.len(),
        Some(Data::Histogram(d)) => d.data_points.len(),
        Some(Data::ExponentialHistogram(d)) => d.data_points.len(),
        Some(Data::Summary(d)) => d.data_points.len(),
        None => 0,
    }
}

fn gzip(body: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    let written = out.write_all(body).and_then(|()| out.finish());
    let mut packed = written.map_err(|error| format!("cannot compress: {error}"))?;
    // It may wait for long, and counts by its length.
    packed.shrink_to_fit();
    Ok(packed)
}
