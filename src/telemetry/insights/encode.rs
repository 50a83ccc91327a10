//! Measurements and log records as Application Insights takes them. The envelopes are written by
//! the exporter of opentelemetry-application-insights, which is given a client that keeps the
//! request: sending, and what comes of it, is decided elsewhere.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufReader, Read, Write};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::{Request, Response};
use hyper::body::Bytes;
use opentelemetry::InstrumentationScope;
use opentelemetry::KeyValue;
use opentelemetry::logs::{AnyValue, LogRecord, Logger, LoggerProvider};
use opentelemetry_application_insights::Exporter;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter, SdkLogRecord, SdkLogger, SdkLoggerProvider};
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use serde::Deserializer as _;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use crate::config::Secret;
use crate::telemetry::wire::Batch;

/// Messages are cut after so many bytes.
const MESSAGE: usize = 32768;
/// Names and values of properties likewise.
const NAME: usize = 150;
const VALUE: usize = 8192;
/// A body never has more than this when it is unpacked.
const UNPACKED: u64 = 256 << 20;

/// Keeps the body of the last request, and says that all went well.
#[derive(Debug, Clone, Default)]
struct Kept(Arc<Mutex<Bytes>>);

impl HttpClient for Kept {
    fn send_bytes<'a, 'f>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        'a: 'f,
        Self: 'f,
    {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = request.into_body();
        Box::pin(async { Ok(Response::new(Bytes::new())) })
    }
}

/// Writes envelopes for one resource at Azure.
pub(super) struct Encoder {
    key: Secret,
    logger: SdkLogger,
}

impl Encoder {
    pub(super) fn new(key: Secret) -> Self {
        Self { key, logger: SdkLoggerProvider::builder().build().logger("keepwell") }
    }

    /// Every measurement with what is known of the host.
    pub(super) fn metrics(
        &self,
        metrics: &ResourceMetrics,
        resource: &Resource,
    ) -> Result<Batch, String> {
        let resource = short_resource(resource);
        let stamp = self.stamp(&resource)?;
        let (exporter, kept) = self.exporter(&resource)?;
        let body = kept.of(PushMetricExporter::export(&exporter, metrics))?;
        repack(&body, |_, envelope| stamp.on(&envelope).map(Some))
    }

    /// Every record with what is known of the host.
    pub(super) fn logs(
        &self,
        records: &LogBatch<'_>,
        resource: &Resource,
    ) -> Result<Batch, String> {
        let (exporter, kept) = self.exporter(&short_resource(resource))?;
        let short: Vec<_> = records.iter().map(|(r, scope)| (self.short(r), scope)).collect();
        let short: Vec<_> = short.iter().map(|(record, scope)| (record, *scope)).collect();
        let body = kept.of(LogExporter::export(&exporter, LogBatch::new(&short)))?;
        Ok(Batch { body, items: short.len() })
    }

    /// The SDK gives measurements a resource when its reader is made; what the cloud says of the
    /// host comes later. So it is put on here: as the exporter puts it on a record.
    fn stamp(&self, resource: &Resource) -> Result<Stamp, String> {
        let record = self.logger.create_log_record();
        let scope = InstrumentationScope::default();
        let batch = self.logs(&LogBatch::new(&[(&record, &scope)]), resource)?;
        let envelopes: Vec<Value> =
            serde_json::from_reader(unpacked(&batch.body)).map_err(unreadable)?;
        let map = |path: &str| {
            let found = envelopes.first().and_then(|e| e.pointer(path)).and_then(Value::as_object);
            found.cloned().unwrap_or_default()
        };
        let mark = |path| Mark::new(map(path)).map_err(unreadable);
        Ok(Stamp { tags: mark("/tags")?, properties: mark("/data/baseData/properties")? })
    }

    fn exporter(&self, resource: &Resource) -> Result<(Exporter<Kept>, Kept), String> {
        let kept = Kept::default();
        let text = format!("InstrumentationKey={}", self.key.expose());
        let mut exporter = Exporter::new_from_connection_string(text, kept.clone())
            // Its words may hold the key.
            .map_err(|_| "the connection string cannot be used")?
            .with_resource_attributes_in_events_and_logs(true);
        LogExporter::set_resource(&mut exporter, resource);
        Ok((exporter, kept))
    }

    /// A record whose texts the exporter need not cut.
    fn short(&self, record: &SdkLogRecord) -> SdkLogRecord {
        let mut short = self.logger.create_log_record();
        if let Some(at) = record.timestamp() {
            short.set_timestamp(at);
        }
        if let Some(at) = record.observed_timestamp() {
            short.set_observed_timestamp(at);
        }
        if let Some(severity) = record.severity_number() {
            short.set_severity_number(severity);
        }
        if let Some(body) = record.body() {
            short.set_body(short_any(body, MESSAGE));
        }
        for (key, value) in record.attributes_iter() {
            let limit = limit(key.as_str());
            short.add_attribute(cut(key.as_str(), NAME), short_any(value, limit));
        }
        short
    }
}

impl Kept {
    /// The body that an export sends. It never waits, as [`Kept`] answers at once.
    fn of(&self, export: impl Future<Output = OTelSdkResult>) -> Result<Bytes, String> {
        match pin!(export).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => {
                Ok(std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)))
            }
            Poll::Ready(Err(error)) => Err(error.to_string()),
            Poll::Pending => Err("the exporter waits for something".into()),
        }
    }
}

/// What every measurement says of the host.
struct Stamp {
    tags: Mark,
    properties: Mark,
}

/// One part of it, and how that is written.
struct Mark {
    entries: Map<String, Value>,
    written: Box<RawValue>,
}

type Object = BTreeMap<String, Box<RawValue>>;

impl Stamp {
    /// What the measurement says itself weighs more. All else stays as it is written, numbers to
    /// the last digit.
    fn on(&self, envelope: &RawValue) -> serde_json::Result<Box<RawValue>> {
        let mut envelope: Object = serde_json::from_str(envelope.get())?;
        let mut data: Object = part(&envelope, "data")?;
        let mut base: Object = part(&data, "baseData")?;
        self.tags.under(&mut envelope, "tags")?;
        self.properties.under(&mut base, "properties")?;
        data.insert("baseData".into(), to_raw_value(&base)?);
        envelope.insert("data".into(), to_raw_value(&data)?);
        to_raw_value(&envelope)
    }
}

fn part<T: Default + serde::de::DeserializeOwned>(
    object: &Object,
    key: &str,
) -> serde_json::Result<T> {
    object.get(key).map_or_else(|| Ok(T::default()), |text| serde_json::from_str(text.get()))
}

impl Mark {
    fn new(entries: Map<String, Value>) -> serde_json::Result<Self> {
        Ok(Self { written: to_raw_value(&entries)?, entries })
    }

    /// Puts it beneath what stands at this key.
    fn under(&self, object: &mut Object, key: &str) -> serde_json::Result<()> {
        let written = if object.contains_key(key) {
            let mut all = self.entries.clone();
            all.extend(part::<Map<String, Value>>(object, key)?);
            to_raw_value(&all)?
        } else {
            self.written.clone()
        };
        object.insert(key.into(), written);
        Ok(())
    }
}

/// The items of a batch whose numbers are wanted.
pub(super) fn pick(batch: &Batch, wanted: impl Fn(usize) -> bool) -> Result<Batch, String> {
    repack(&batch.body, |i, item| Ok(wanted(i).then_some(item)))
}

/// Each item of a body as it is to be; `None` leaves it out. One is looked at after the other: of a
/// host with very many units all of them at once would take more memory than keepwell may have.
fn repack(
    body: &[u8],
    each: impl FnMut(usize, Box<RawValue>) -> serde_json::Result<Option<Box<RawValue>>>,
) -> Result<Batch, String> {
    let out = GzEncoder::new(Vec::with_capacity(body.len()), Compression::default());
    let mut json = serde_json::Deserializer::from_reader(unpacked(body));
    let (mut out, items) = json.deserialize_seq(Repack { out, each }).map_err(unreadable)?;
    json.end().map_err(unreadable)?;
    let body = out.write_all(b"]").and_then(|()| out.finish());
    let mut body = body.map_err(|error| format!("cannot compress: {error}"))?;
    // It may wait for long, and counts by its length.
    body.shrink_to_fit();
    Ok(Batch { body: body.into(), items })
}

struct Repack<F> {
    out: GzEncoder<Vec<u8>>,
    each: F,
}

impl<'de, F> Visitor<'de> for Repack<F>
where
    F: FnMut(usize, Box<RawValue>) -> serde_json::Result<Option<Box<RawValue>>>,
{
    /// Without the last bracket; how many there are in it.
    type Value = (GzEncoder<Vec<u8>>, usize);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("envelopes")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut all: A) -> Result<Self::Value, A::Error> {
        let mut place = 0;
        let mut items = 0;
        while let Some(item) = all.next_element::<Box<RawValue>>()? {
            if let Some(item) = (self.each)(place, item).map_err(A::Error::custom)? {
                let before: &[u8] = if items == 0 { b"[" } else { b"," };
                let written = self.out.write_all(before);
                let written = written.and_then(|()| self.out.write_all(item.get().as_bytes()));
                written.map_err(A::Error::custom)?;
                items += 1;
            }
            place += 1;
        }
        if items == 0 {
            self.out.write_all(b"[").map_err(A::Error::custom)?;
        }
        Ok((self.out, items))
    }
}

fn unpacked(body: &[u8]) -> impl Read {
    BufReader::new(GzDecoder::new(body).take(UNPACKED))
}

/// Where something is wrong, without what stands there.
fn unreadable(error: serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    format!("the envelopes are not as expected ({:?} at {line}:{column})", error.classify())
}

fn short_resource(resource: &Resource) -> Resource {
    let short = resource.iter().map(|(key, value)| {
        let value = match value {
            opentelemetry::Value::String(text) => {
                opentelemetry::Value::from(cut(text.as_str(), limit(key.as_str())))
            }
            other => other.clone(),
        };
        KeyValue::new(cut(key.as_str(), NAME), value)
    });
    Resource::builder_empty().with_attributes(short).build()
}

fn short_any(value: &AnyValue, limit: usize) -> AnyValue {
    match value {
        AnyValue::String(text) => AnyValue::from(cut(text.as_str(), limit)),
        other => other.clone(),
    }
}

/// How long a value may be. The exporter cuts texts at a byte, which must not be amid a character;
/// so those that are not ASCII are cut before. Some become tags, which are shorter.
fn limit(key: &str) -> usize {
    match key {
        "ai.session.isFirst" => 5,
        _ if key.starts_with("ai.") => 46,
        // Both with a dot between them are one tag.
        "service.name" | "service.namespace" => 127,
        "service.instance.id" | "device.model.name" => 256,
        "service.version" | "device.id" => 1024,
        "telemetry.sdk.name" | "telemetry.sdk.version" => 31,
        _ if key.starts_with("k8s.") => 256,
        _ => VALUE,
    }
}

/// The text to this many bytes, without half a character. What is ASCII the exporter cuts itself.
fn cut(text: &str, limit: usize) -> String {
    let end = if text.is_ascii() { text.len() } else { text.floor_char_boundary(limit) };
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(text: &str) -> Batch {
        let mut out = GzEncoder::new(Vec::new(), Compression::fast());
        out.write_all(text.as_bytes()).unwrap();
        Batch { body: out.finish().unwrap().into(), items: 0 }
    }

    fn text(batch: &Batch) -> String {
        std::io::read_to_string(unpacked(&batch.body)).unwrap()
    }

    #[test]
    fn items_are_picked_as_they_are_written() {
        let all = packed(r#" [ {"a":1.50}, {"b":[1,2]} ,{"c":"ü,]"} ] "#);
        let odd = pick(&all, |i| i != 1).unwrap();
        assert_eq!((text(&odd).as_str(), odd.items), (r#"[{"a":1.50},{"c":"ü,]"}]"#, 2));
        let none = pick(&all, |_| false).unwrap();
        assert_eq!((text(&none).as_str(), none.items), ("[]", 0));
    }

    #[test]
    fn what_is_damaged_is_an_error_that_shows_nothing_of_it() {
        for wrong in [r#"[{"k":"s3cr3t"}"#, r#"[{"k":"s3cr3t"}] x"#, r#"{"k":"s3cr3t"}"#, ""] {
            let said = pick(&packed(wrong), |_| true).unwrap_err();
            assert!(said.contains("not as expected") && !said.contains("s3cr3t"), "{said}");
        }
    }
}
