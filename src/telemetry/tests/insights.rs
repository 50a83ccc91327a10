//! Application Insights against a stand-in on the loopback.

mod answers;
mod envelopes;
mod running;

use std::sync::Arc;

use opentelemetry::InstrumentationScope;
use opentelemetry::KeyValue;
use opentelemetry::logs::{AnyValue, LogRecord};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{LogBatch, SdkLogRecord};

use super::ingestion::Ingestion;
use super::{loaded, said_of};
use crate::config::Loaded;
use crate::engine::Now;
use crate::engine::time::{Boot, Wall};
use crate::outbound::tests::receiver::Reply;
use crate::outbound::{Clients, SendError};
use crate::telemetry::wire::{Batch, Taken, Wire};
use crate::telemetry::{Receivers, receivers};

fn now() -> Now {
    Now { boot: Boot(1_000_000), wall: Wall(1_790_000_000_000_000) }
}

/// What a configuration with this stand-in makes.
struct Rig {
    ingestion: Ingestion,
    loaded: Loaded,
    receivers: Receivers,
}

impl Rig {
    fn new(script: impl IntoIterator<Item = Reply>) -> Option<Self> {
        Self::with(script, "")
    }

    fn with(script: impl IntoIterator<Item = Reply>, more: &str) -> Option<Self> {
        let ingestion = Ingestion::new(script)?;
        let text = format!(
            "[agent]\nlabels = {{ env = \"prod\" }}\n[outbound]\nproxy = false\nca = \"{}\"\n\
             [azure]\nconnection_string = \"{}\"\n{more}\n",
            ingestion.ca().display(),
            ingestion.connection_string()
        );
        let mut loaded = loaded(&text, Default::default());
        let Loaded { config, sink, .. } = &mut loaded;
        let mut clients = Clients::new(config.outbound.clone());
        let receivers = receivers(config, &mut clients, sink);
        assert!(!sink.has_errors(), "{}", loaded.finish().unwrap_err());
        Some(Self { ingestion, loaded, receivers })
    }

    fn wire(&self) -> &Arc<dyn Wire> {
        &self.receivers.exporters[0].wire
    }

    fn post(&self, batch: &Batch) -> Result<Taken, SendError> {
        block(self.wire().post(batch, now()))
    }

    /// Records with these texts.
    fn batch(&self, texts: &[&str]) -> Batch {
        let records: Vec<_> = texts.iter().map(|text| self.record(text)).collect();
        self.encoded(&records, &resource())
    }

    fn record(&self, text: &str) -> SdkLogRecord {
        let mut record = self.receivers.azure_logs.as_ref().unwrap().record(now());
        record.set_body(AnyValue::from(text.to_owned()));
        record
    }

    fn encoded(&self, records: &[SdkLogRecord], resource: &Resource) -> Batch {
        let scope = InstrumentationScope::builder("keepwell").build();
        let records: Vec<_> = records.iter().map(|record| (record, &scope)).collect();
        self.wire().logs(&LogBatch::new(&records), resource).unwrap()
    }
}

fn block<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

fn resource() -> Resource {
    let attributes = [
        ("service.name", "keepwell"),
        ("service.version", "1.2.3"),
        ("service.instance.id", "0123456789abcdef"),
        ("host.name", "web1"),
        ("env", "prod"),
    ];
    let attributes = attributes.map(|(key, value)| KeyValue::new(key, value));
    Resource::builder_empty().with_attributes(attributes).build()
}

#[test]
fn what_is_wrong_with_a_connection_string_is_said_without_it() {
    let secret = "s3cr3t-p4rt";
    let cases = [
        (secret.to_owned(), "part 1 of the connection string has no `=`"),
        (format!("IngestionEndpoint=https://{secret}.example"), "has no InstrumentationKey"),
        ("InstrumentationKey=;A=b".into(), "has no InstrumentationKey"),
        (format!("InstrumentationKey=ü{secret}"), "the InstrumentationKey is none"),
        (format!("InstrumentationKey={}", secret.repeat(4)), "the InstrumentationKey is none"),
        (
            format!("InstrumentationKey={secret};Authorization=aad"),
            "an Authorization other than ikey",
        ),
        (
            format!("InstrumentationKey={secret};IngestionEndpoint=ftp://x"),
            "IngestionEndpoint in the connection string is no address",
        ),
        (
            format!("InstrumentationKey={secret};IngestionEndpoint=https://u:{secret}@x/"),
            "IngestionEndpoint in the connection string is no address",
        ),
        (
            format!("InstrumentationKey={secret};EndpointSuffix=a b"),
            "EndpointSuffix in the connection string is no address",
        ),
        (format!("InstrumentationKey={secret}"), "warning: the connection string has no Inges"),
        (format!("instrumentationkey={secret};IngestionEndpoint=host.example;;X=a=b; "), ""),
        (format!("InstrumentationKey={secret};EndpointSuffix=a.example;Location=b"), ""),
    ];
    for (string, expected) in cases {
        let said = said_of(&string);
        assert!(said.contains(expected), "{said}");
        assert_eq!(said.is_empty(), expected.is_empty(), "{said}");
        assert!(!said.contains(secret), "{said}");
        if !expected.is_empty() {
            assert!(said.contains("APPLICATIONINSIGHTS_CONNECTION_STRING"), "{said}");
            assert!(said.contains("copy the whole") || said.contains("leave Auth"), "{said}");
        }
    }
}

/// The names of the exporters, whether there is a receiver of traces, and what is said.
fn made_of(azure: &str) -> (Vec<String>, bool, String) {
    let mut loaded = loaded(&format!("[azure]\n{azure}\n"), Default::default());
    let Loaded { config, sink, .. } = &mut loaded;
    let mut clients = Clients::new(config.outbound.clone());
    let receivers = receivers(config, &mut clients, sink);
    let names = receivers.exporters.iter().map(|e| e.name().to_string()).collect();
    let said = match loaded.finish() {
        Ok(config) => config.warnings.to_string(),
        Err(wrong) => wrong.to_string(),
    };
    (names, receivers.azure_logs.is_some(), said)
}

#[test]
fn measurements_and_alerts_go_there_unless_turned_off() {
    let string = "connection_string = \"InstrumentationKey=a;IngestionEndpoint=https://a.example\"";
    let azure = vec!["azure".to_owned()];
    assert_eq!(made_of(string), (azure.clone(), true, String::new()));
    let alone = made_of(&format!("{string}\nmetrics = false"));
    assert_eq!(alone, (Vec::new(), true, String::new()));
    let alone = made_of(&format!("{string}\nalerts = false"));
    assert_eq!(alone, (azure.clone(), false, String::new()));
    // Whoever checks a configuration need not see its secrets.
    let (names, traces, said) = made_of("connection_string = { credential = \"insights\" }");
    assert!(
        said.contains("could not be checked here") && !said.contains("IngestionEndpoint"),
        "{said}"
    );
    assert_eq!((names, traces), (azure, true), "{said}");
}
