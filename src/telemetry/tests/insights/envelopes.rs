//! What an item is made of.

use std::sync::Weak;
use std::time::{Duration, UNIX_EPOCH};

use opentelemetry::logs::Severity;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{
    InstrumentKind, ManualReader, Pipeline, SdkMeterProvider, Temporality,
};
use serde_json::{Value, json};

use super::super::ingestion::{KEY, all};
use super::*;

#[derive(Debug, Clone)]
struct Reader(Arc<ManualReader>);

impl MetricReader for Reader {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }
    fn collect(&self, rm: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(rm)
    }
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }
    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }
    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}

/// What was recorded with instruments of this meter.
fn measured(record: impl FnOnce(&Meter)) -> ResourceMetrics {
    let reader = ManualReader::builder().with_temporality(Temporality::Delta).build();
    let reader = Reader(Arc::new(reader));
    let provider = SdkMeterProvider::builder()
        .with_resource(Resource::builder_empty().build())
        .with_reader(reader.clone())
        .build();
    record(&provider.meter("keepwell"));
    let mut metrics = ResourceMetrics::default();
    reader.collect(&mut metrics).unwrap();
    metrics
}

/// Takes the time out of an envelope, after a look at it.
#[track_caller]
fn timeless(mut envelope: Value) -> Value {
    let time = envelope.as_object_mut().unwrap().remove("time").unwrap();
    let time = time.as_str().unwrap();
    let read: jiff::Timestamp = time.parse().unwrap();
    assert!(time.ends_with('Z') && time.len() == 24, "{time}");
    assert!(read.as_second() > 1_750_000_000, "{time}");
    envelope
}

#[test]
fn every_measurement_says_what_it_is_and_of_which_host() {
    let Some(rig) = Rig::new([all()]) else { return };
    let metrics = measured(|meter| {
        let unit = [KeyValue::new("systemd.unit.name", "a.service"), KeyValue::new("n", 3)];
        meter.f64_gauge("health.state").build().record(0.1 + 0.2, &unit);
        let counter = meter.u64_counter("restarts").build();
        counter.add(2, &[KeyValue::new("env", "own")]);
        counter.add(3, &[KeyValue::new("env", "own")]);
        let histogram = meter.f64_histogram("took").build();
        [0.5, 2.0, 0.25].into_iter().for_each(|took| histogram.record(took, &[]));
    });
    let batch = rig.wire().metrics(&metrics, &resource()).unwrap();
    assert_eq!(batch.items, 3);
    let taken = rig.post(&batch).unwrap();
    assert_eq!((taken.said.as_str(), taken.rejected, taken.rest), ("200 OK", 0, None));

    let requests = rig.ingestion.requests();
    let [request] = &requests[..] else { panic!("{requests:?}") };
    let line = [&*request.method, &*request.target, &*request.version];
    assert_eq!(line, ["POST", "/v2/track", "HTTP/1.1"]);
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(request.headers["content-encoding"], "gzip");
    assert_eq!(request.headers["content-length"], request.body.len().to_string());
    assert!(!request.headers.contains_key("transfer-encoding"), "{request:?}");
    let mut envelopes: Vec<Value> = request.envelopes().into_iter().map(timeless).collect();
    envelopes.sort_by_key(|e| e["data"]["baseData"]["metrics"][0]["name"].to_string());
    let envelope = |metric: Value, own: Value| {
        let mut properties = json!({
            "service.name": "keepwell", "service.version": "1.2.3",
            "service.instance.id": "0123456789abcdef", "host.name": "web1", "env": "prod",
        });
        properties.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        json!({
            "name": "Microsoft.ApplicationInsights.Metric",
            "iKey": KEY,
            "tags": {
                "ai.application.ver": "1.2.3",
                "ai.cloud.role": "keepwell",
                "ai.cloud.roleInstance": "0123456789abcdef",
            },
            "data": {
                "baseType": "MetricData",
                "baseData": { "ver": 2, "metrics": [metric], "properties": properties },
            },
        })
    };
    let expected = [
        envelope(
            json!({ "name": "health.state", "kind": "Measurement", "value": 0.1 + 0.2 }),
            json!({ "systemd.unit.name": "a.service", "n": "3" }),
        ),
        envelope(
            json!({ "name": "restarts", "kind": "Aggregation", "value": 5.0 }),
            json!({ "env": "own" }),
        ),
        envelope(
            json!({
                "name": "took", "kind": "Aggregation", "value": 2.75, "count": 3,
                "min": 0.25, "max": 2.0,
            }),
            json!({}),
        ),
    ];
    assert_eq!(envelopes, expected);
}

#[test]
fn a_record_is_a_trace_with_its_severity_and_properties() {
    let Some(rig) = Rig::new([all()]) else { return };
    let severities =
        [(Severity::Info, 1), (Severity::Warn, 2), (Severity::Error, 3), (Severity::Fatal, 4)];
    let records = severities.map(|(severity, _)| {
        let mut record = rig.record("a.service crashes");
        record.set_timestamp(UNIX_EPOCH + Duration::from_millis(1_790_000_000_123));
        record.set_severity_number(severity);
        record.add_attribute("keepwell.alert.id", "a7");
        record.add_attribute("count", 3);
        record
    });
    rig.post(&rig.encoded(&records, &resource())).unwrap();
    let envelopes = rig.ingestion.requests()[0].envelopes();
    let expected = severities.map(|(_, level)| {
        json!({
            "name": "Microsoft.ApplicationInsights.Message",
            "time": "2026-09-21T14:13:20.123Z",
            "iKey": KEY,
            "tags": {
                "ai.application.ver": "1.2.3",
                "ai.cloud.role": "keepwell",
                "ai.cloud.roleInstance": "0123456789abcdef",
            },
            "data": { "baseType": "MessageData", "baseData": {
                "ver": 2,
                "message": "a.service crashes",
                "severityLevel": level,
                "properties": {
                    "keepwell.alert.id": "a7", "count": "3", "env": "prod",
                    "host.name": "web1", "service.name": "keepwell",
                    "service.version": "1.2.3", "service.instance.id": "0123456789abcdef",
                },
            } },
        })
    });
    assert_eq!(envelopes, expected);
}

#[test]
fn long_texts_are_cut_between_characters() {
    let Some(rig) = Rig::new([all()]) else { return };
    // One byte, then characters of three: no limit is at the end of one.
    let long = format!("x{}", "€".repeat(20_000));
    let mut record = rig.record(&long);
    record.add_attribute(long.clone(), long.clone());
    record.add_attribute("ai.location.city", long.clone());
    let keys = [
        "service.name",
        "service.namespace",
        "service.instance.id",
        "service.version",
        "telemetry.sdk.name",
        "telemetry.sdk.version",
        "k8s.pod.name",
        "device.id",
        "device.model.name",
        "ai.session.isFirst",
        "ai.operation.id",
        "label",
    ];
    let resource = keys.map(|key| KeyValue::new(key, long.clone()));
    let resource = Resource::builder_empty().with_attributes(resource).build();
    rig.post(&rig.encoded(&[record], &resource)).unwrap();
    let metrics = measured(|meter| meter.u64_gauge("g").build().record(1, &[]));
    rig.post(&rig.wire().metrics(&metrics, &resource).unwrap()).unwrap();
    let requests = rig.ingestion.requests();
    let record = &requests[0].envelopes()[0];
    let message = record["data"]["baseData"]["message"].as_str().unwrap();
    assert_eq!(message.len(), 32767);
    for envelope in [record, &requests[1].envelopes()[0]] {
        let properties = &envelope["data"]["baseData"]["properties"];
        assert_eq!(properties["label"].as_str().unwrap().len(), 8191);
        assert_eq!(envelope["tags"]["ai.session.isFirst"], "x€");
        let role = envelope["tags"]["ai.cloud.role"].as_str().unwrap();
        assert!(role.len() > 200 && role.len() <= 256, "{}", role.len());
    }
}
