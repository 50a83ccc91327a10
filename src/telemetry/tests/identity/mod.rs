//! Azure Monitor with an identity, against stand-ins on the loopback of the metadata service, of
//! Entra ID and of an ingestion endpoint. Time is passed in.

mod entra;
mod machine;
mod settings;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLogRecord;
use opentelemetry_sdk::metrics::data::ResourceMetrics;

use crate::config::{self, Environment, Input, Options};
use crate::engine::{Boot, Now, Wall};
use crate::outbound::tests::receiver::{Receiver, Reply, Request, block};
use crate::outbound::{Clients, SendError};
use crate::telemetry::LogReceiver;
use crate::telemetry::plan::{Receivers, receivers};
use crate::telemetry::wire::Taken;

/// 2026-11-21 12:00 UTC, some hours after a boot.
const START: Now = Now { boot: Boot(9_000_000_000), wall: Wall(1_795_262_400_000_000) };

const HOUR: u64 = 3600;

const PATH: &str =
    "/datacollectionRules/dcr-0123456789abcdef/streams/microsoft-otelmetrics/otlp/v1/metrics";

fn at(seconds: u64) -> Now {
    START.after(Duration::from_secs(seconds))
}

/// What the metadata service gives, all of it as text.
fn token(name: &str, asked: u64, life: u64) -> Reply {
    let end = 1_795_262_400 + asked + life;
    let body = format!(
        r#"{{"access_token":"{name}","client_id":"5e29463d","expires_in":"{life}","expires_on":"{end}","ext_expires_in":"{life}","not_before":"{asked}","resource":"https://monitor.azure.com/","token_type":"Bearer"}}"#
    );
    Reply::new("200 OK\r\nContent-Type: application/json", &body)
}

fn refusal(head: &str, error: &str, description: &str) -> Reply {
    let body = serde_json::json!({"error": error, "error_description": description});
    Reply::new(head, &body.to_string())
}

/// As the metadata service: whoever comes by way of another machine, or without its header, gets
/// nothing.
fn as_metadata(request: &Request) -> Option<Reply> {
    let has = |name: &str| request.headers.contains_key(name);
    if request.headers.get("metadata").map(String::as_str) != Some("true") {
        let why = "Required metadata header not specified or not correct";
        return Some(refusal("400 Bad Request", "bad_request_102", why));
    }
    if has("x-forwarded-for") || request.target.starts_with("http") {
        return Some(refusal("400 Bad Request", "bad_request", "Forwarded"));
    }
    if request.method != "GET" {
        return Some(Reply::new("405 Method Not Allowed", ""));
    }
    None
}

/// As an ingestion endpoint: protobuf, whole, and with a token.
fn as_ingestion(request: &Request) -> Option<Reply> {
    let header = |name: &str| request.headers.get(name).map_or("", String::as_str);
    if request.headers.contains_key("transfer-encoding") || header("content-length").is_empty() {
        return Some(refusal("400 Bad Request", "InvalidRequest", "no Content-Length"));
    }
    if header("content-type") != "application/x-protobuf" {
        return Some(Reply::new("415 Unsupported Media Type", ""));
    }
    if !header("authorization").starts_with("Bearer ") {
        return Some(Reply::new("401 Unauthorized", ""));
    }
    if header("content-encoding") == "gzip" && !request.body.starts_with(&[0x1f, 0x8b]) {
        return Some(Reply::new("400 Bad Request", "not gzip"));
    }
    None
}

fn metadata(replies: impl IntoIterator<Item = Reply>) -> Receiver {
    Receiver::guarded(as_metadata, replies)
}

fn ingestion(replies: impl IntoIterator<Item = Reply>) -> Receiver {
    Receiver::guarded(as_ingestion, replies)
}

fn ok() -> Reply {
    Reply::new("200 OK\r\nContent-Type: application/x-protobuf", "")
}

/// What a configuration makes, or all that is wrong with it; and what else is said of it.
fn load_with(
    toml: &str,
    variables: &[(&str, &str)],
    lenient: bool,
) -> (Receivers, Result<(), String>) {
    let environment = Environment::from_iter(variables.iter().copied());
    let path = Some(Path::new("k.toml"));
    let mut options = Options::new(path, environment, true, "web1".into());
    if lenient {
        options = options.lenient();
    }
    let mut loaded = config::load_from(vec![Input::memory("k.toml", toml)], &options);
    let mut clients = Clients::new(loaded.config.outbound.clone());
    let made = receivers(&loaded.config, &mut clients, &mut loaded.sink);
    (made, loaded.finish().map(drop).map_err(|wrong| wrong.to_string()))
}

#[track_caller]
fn load(toml: &str) -> Receivers {
    let (made, result) = load_with(toml, &[], false);
    if let Err(wrong) = result {
        panic!("{wrong}");
    }
    made
}

fn toml(endpoint: &Receiver, azure: &str) -> String {
    format!(
        "[otlp.metrics]\nendpoint = \"{}\"\n[azure]\ntimeout = \"1s\"\n{azure}",
        endpoint.url(PATH)
    )
}

fn managed(endpoint: &Receiver, metadata: &Receiver) -> Receivers {
    let azure = format!("identity = \"managed\"\nmetadata = \"{}\"", metadata.url("/"));
    load(&toml(endpoint, &azure))
}

/// Sends measurements once.
fn post(made: &Receivers, now: Now) -> Result<Taken, SendError> {
    block(post_on(made, now))
}

async fn post_on(made: &Receivers, now: Now) -> Result<Taken, SendError> {
    let wire = &made.exporters[0].wire;
    let resource = Resource::builder_empty().build();
    let batch = wire.metrics(&ResourceMetrics::default(), &resource).unwrap();
    wire.post(&batch, now).await
}

/// A log record as it must be at least.
fn record(logs: &LogReceiver) -> SdkLogRecord {
    logs.record(START)
}

/// The tokens that an endpoint got.
fn bearers(endpoint: &Receiver) -> Vec<String> {
    let of = |request: &Request| request.headers["authorization"].replace("Bearer ", "");
    endpoint.requests().iter().map(of).collect()
}

#[test]
fn the_stand_ins_refuse_what_azure_refuses() {
    let say = |to: &Receiver, head: &str| {
        let mut stream = TcpStream::connect(to.url("").trim_start_matches("http://")).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let metadata = metadata([token("t1", 0, HOUR)]);
    let of = |headers: &str| say(&metadata, &format!("GET /metadata/x HTTP/1.1\r\n{headers}\r\n"));
    assert!(of("Metadata: true\r\n").contains("access_token"));
    assert!(of("Host: h\r\n").starts_with("HTTP/1.1 400"));
    assert!(of("Metadata: true\r\nX-Forwarded-For: 192.0.2.1\r\n").starts_with("HTTP/1.1 400"));
    let endpoint = ingestion([ok()]);
    let of = |headers: &str| say(&endpoint, &format!("POST / HTTP/1.1\r\n{headers}\r\n"));
    let kind = "Content-Type: application/x-protobuf\r\nAuthorization: Bearer t\r\n";
    assert!(of(&format!("{kind}Content-Length: 0\r\n")).starts_with("HTTP/1.1 200"));
    assert!(of(&format!("{kind}Transfer-Encoding: chunked\r\n")).starts_with("HTTP/1.1 400"));
    assert!(of("Authorization: Bearer t\r\nContent-Length: 0\r\n").starts_with("HTTP/1.1 415"));
}

/// What a form says.
fn form(request: &Request) -> Vec<(String, String)> {
    let text = String::from_utf8(request.body.clone()).unwrap();
    let url = reqwest::Url::parse(&format!("http://h/?{text}")).unwrap();
    url.query_pairs().map(|(k, v)| (k.into_owned(), v.into_owned())).collect()
}

/// As Entra ID gives it, with numbers.
fn entra(name: &str, life: u64) -> Reply {
    let body = serde_json::json!({"token_type": "Bearer", "expires_in": life,
                                  "ext_expires_in": life, "access_token": name});
    Reply::new("200 OK\r\nContent-Type: application/json", &body.to_string())
}
