//! Alerts as log records: as other parties read them, on the wire, and over the real lane.

use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};
use prost::Message;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::load::{one, wrong};
use super::receiver::{Receiver, Reply, Request, block};
use super::*;
use crate::engine::event::{Delivery, Event, Outcome};
use crate::engine::words::Severity;
use crate::notify::collector::records::MOST;
use crate::store::OutboxRow;
use crate::telemetry::tests::party::{Decoder, Rotel};

/// What a host says of itself is fixed here.
const HOST: &str = r#"
[telemetry.attributes]
"host.id" = "0011223344556677"
"service.instance.id" = "0011223344556677"
"host.arch" = "amd64"
"#;

/// The configuration of nothing but where to: the channel is there by itself.
fn toml(url: &str) -> String {
    format!("[otlp]\nendpoint = \"{url}\"\nmetrics = false\ncompression = \"none\"\n{HOST}")
}

fn channel(url: &str) -> Arc<dyn Channel> {
    let channel = one(&toml(url));
    assert_eq!(&**channel.name(), "otlp");
    channel
}

fn decoded(request: &Request) -> Vec<LogRecord> {
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/v1/logs"));
    assert_eq!(request.headers["content-type"], "application/x-protobuf");
    assert_eq!(request.headers["content-length"], request.body.len().to_string());
    let sent = ExportLogsServiceRequest::decode(&*request.body).unwrap();
    let [resource] = &sent.resource_logs[..] else { panic!("{sent:?}") };
    let [scope] = &resource.scope_logs[..] else { panic!("{sent:?}") };
    assert_eq!(scope.scope.as_ref().unwrap().name, "keepwell");
    scope.log_records.clone()
}

/// What arrives of a message.
fn sent(notification: Notification) -> Vec<LogRecord> {
    let receiver = Receiver::new([Reply::new("200 OK", "")]);
    let url = receiver.url("");
    block(channel(&url).send(&sample::outgoing(notification))).unwrap();
    let requests = receiver.requests();
    assert_eq!(requests.len(), 1);
    decoded(&requests[0])
}

fn text(value: Option<&opentelemetry_proto::tonic::common::v1::AnyValue>) -> String {
    match value.and_then(|v| v.value.clone()) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{other:?}"),
    }
}

/// A text among the attributes.
fn get(record: &LogRecord, key: &str) -> Option<String> {
    let found = record.attributes.iter().find(|a| a.key == key)?;
    Some(text(found.value.as_ref()))
}

#[test]
fn every_sample_as_others_decode_it() {
    let Some(decoder) = Decoder::start(&json!({})) else { return };
    let channel = channel(&decoder.url());
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("golden/otlp");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for (name, message) in golden::samples() {
        let mut message = sample::outgoing(message);
        message.delayed = (name == "resolved").then_some(Duration::from_secs(1500));
        assert_eq!(block(channel.send(&message)).unwrap(), "200 OK");
        let request = decoder.request();
        assert_eq!(request["path"], "/v1/logs");
        if name == "storm" {
            continue;
        }
        let text = request["text"].as_str().unwrap().replace(env!("CARGO_PKG_VERSION"), "VERSION");
        settings.bind(|| insta::assert_snapshot!(name, text));
    }
}

#[test]
fn a_collector_of_others_takes_the_records() {
    let Some(rotel) = Rotel::start() else { return };
    let message = sample::outgoing(sample::grouped());
    assert_eq!(block(channel(&rotel.url()).send(&message)).unwrap(), "200 OK");
    rotel.until("all of them", |log| {
        ["a7", "a8", "a9", "a10"].iter().all(|id| log.contains(&format!("Str({id})")))
    });
    rotel.until("what they say", |log| {
        log.contains("83 % of space in use") && log.contains("keepwell.alert")
    });
}

#[test]
fn how_bad_it_is_and_when_it_happened() {
    use SeverityNumber::{Error, Info, Warn};
    let all = sample::all();
    let severities: Vec<(&str, Vec<SeverityNumber>)> = all
        .into_iter()
        .map(|(name, message)| {
            let records = sent(message);
            for record in &records {
                assert_eq!(record.observed_time_unix_nano, T0.0 as u64 * 1000, "{name}");
                assert_eq!(
                    get(record, "keepwell.message.id").unwrap(),
                    "0011223344556677-m12.1795243283500000"
                );
                let text = match record.severity_number() {
                    Error => "critical",
                    Warn => "warning",
                    _ => "info",
                };
                assert_eq!(record.severity_text, text);
            }
            (name, records.iter().map(LogRecord::severity_number).collect())
        })
        .collect();
    let summary = [vec![Error; 8], vec![Info; 4], vec![Info]].concat();
    let expected = [
        ("opened", vec![Error]),
        ("worse", vec![Error]),
        ("better", vec![Warn]),
        ("reminded", vec![Error]),
        ("escalated", vec![Error]),
        ("acknowledged", vec![Info]),
        ("restarted", vec![Info]),
        ("gave-up", vec![Error]),
        ("resolved", vec![Info]),
        ("grouped", vec![Error, Error, Error, Warn]),
        ("digest", vec![Error, Error, Error, Warn]),
        ("summary", summary),
        ("report", vec![Info]),
        ("report-well", vec![Info]),
        ("notices", vec![Info, Info]),
        ("test", vec![Info]),
        ("container-died", vec![Error]),
        ("container-out-of-memory", vec![Warn]),
        ("container-unhealthy", vec![Warn]),
        ("container-restart-loop", vec![Warn]),
        ("container-memory", vec![Warn]),
        ("container-restored", vec![Info]),
    ];
    assert_eq!(severities, expected);

    // Told late: the record says when it happened.
    let mut late = sample::of(Happening::Opened, sample::alert());
    late.items[0].since = T0.after(Duration::from_secs(900));
    assert_eq!(sent(late)[0].time_unix_nano, T0.0 as u64 * 1000);
    let mut alert = sample::alert();
    alert.resolved = Some(T0.after(Duration::from_secs(312)));
    let over = &sent(sample::of(Happening::Resolved, alert))[0];
    assert_eq!(over.time_unix_nano, T0.0 as u64 * 1000 + 312_000_000_000);
    assert_eq!(get(over, "keepwell.alert.status").unwrap(), "resolved");
}

#[test]
fn hostile_text_steers_nothing() {
    let [record] = &sent(sample::hostile())[..] else { panic!() };
    let mut texts = vec![text(record.body.as_ref())];
    for attribute in &record.attributes {
        assert!(!attribute.key.starts_with("exception."), "{}", attribute.key);
        texts.push(text(attribute.value.as_ref()));
    }
    for text in &texts {
        assert!(text.chars().all(|c| !c.is_control() || c == '\n'), "{text:?}");
        assert!(!text.contains(['\u{202e}', '\u{2066}']), "{text:?}");
    }
    assert!(texts.iter().map(String::len).sum::<usize>() < 16 * 1024);
    assert_eq!(get(record, "systemd.unit.name").unwrap(), "a<b>&'\"@everyone.service");
}

#[test]
fn a_storm_is_one_request_of_bounded_size() {
    let records = sent(sample::storm(1000));
    assert_eq!(records.len(), 1000);
    let size: usize = records.iter().map(Message::encoded_len).sum();
    assert!(size < 1024 * 1024, "{size} bytes");
    assert_eq!(get(&records[999], "keepwell.alert.status").unwrap(), "resolved");

    let records = sent(sample::storm(MOST + 234));
    assert_eq!(records.len(), MOST + 1);
    let last = records.last().unwrap();
    assert_eq!(text(last.body.as_ref()), "and 234 more: keepwell alerts shows all");
    assert_eq!(last.severity_number(), SeverityNumber::Error);

    let mut long = sample::storm(1000);
    for item in &mut long.items {
        item.alert.summary = "\u{1f525}".repeat(100_000);
        item.alert.lines = vec!["x".repeat(100_000); 50];
        item.alert.severity = Severity::Warning;
    }
    let size: usize = sent(long).iter().map(Message::encoded_len).sum();
    assert!(size < 3 * 1024 * 1024, "{size} bytes");
}

fn answer(rejected: i64, error: &str) -> Reply {
    let partial_success = Some(ExportLogsPartialSuccess {
        rejected_log_records: rejected,
        error_message: error.into(),
    });
    let body = ExportLogsServiceResponse { partial_success }.encode_to_vec();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    Reply::Bytes([head.into_bytes(), body].concat())
}

#[test]
fn what_the_collector_answers_says_whether_to_try_again() {
    let try_once = |reply| {
        let receiver = Receiver::new([reply]);
        block(channel(&receiver.url("")).send(&sample::outgoing(sample::grouped())))
    };
    assert_eq!(try_once(answer(0, "")).unwrap(), "200 OK");
    assert_eq!(try_once(answer(0, "an old version")).unwrap(), "200 OK: an old version");
    let error = try_once(answer(2, "too old")).unwrap_err();
    assert_eq!((error.retry, &*error.text), (Retry::Never, "2 of 4 records refused: too old"));
    let busy = try_once(Reply::new("503 Busy\r\nRetry-After: 7", "")).unwrap_err();
    assert_eq!(busy.retry, Retry::Later(Some(Duration::from_secs(7))));
    let gone = try_once(Reply::new("404 Not Found", "")).unwrap_err();
    let minute = Retry::Later(Some(Duration::from_secs(60)));
    assert_eq!(gone.retry, minute, "somebody may put it right there");
    assert!(gone.text.contains("port 4318"), "{gone}");
    assert_eq!(try_once(Reply::new("400 Bad Request", "no")).unwrap_err().retry, Retry::Never);
}

#[tokio::test]
async fn the_lane_repeats_the_same_records_until_they_are_taken() {
    let receiver =
        Receiver::new([Reply::new("503 Busy\r\nRetry-After: 0", ""), Reply::new("200 OK", "")]);
    let (events, mut heard) = mpsc::unbounded_channel();
    let context = Context {
        host_key: "0011".into(),
        store: None,
        events,
        now,
        flush: Duration::from_secs(5),
    };
    let lane = Lane::new(channel(&receiver.url("")), Vec::<OutboxRow>::new(), context);
    let (jobs, received) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(lane.run(received, stop.clone()));
    let message = Notification { at: T0, ..notification("m1", Happening::Opened) };
    jobs.send(LaneJob::Deliver(Arc::new(message))).unwrap();
    loop {
        let event = heard.recv().await.expect("the lane lives");
        if let Event::Outcome(Outcome::Delivery { result: Delivery::Delivered, .. }) = event {
            break;
        }
    }
    let (reply, told) = oneshot::channel();
    let test = Notification { id: "t1".into(), at: T0, ..sample::bare(Gist::Test) };
    jobs.send(LaneJob::Test { notification: Arc::new(test), reply }).unwrap();
    assert_eq!(told.await.unwrap(), Ok("200 OK".to_owned()));
    stop.cancel();
    assert_eq!(tasks.join_next().await.unwrap().unwrap(), []);
    let requests = receiver.requests();
    assert_eq!(requests.len(), 3);
    let [first, again] = [&requests[0], &requests[1]].map(|request| {
        let mut records = decoded(request);
        records.iter_mut().for_each(|record| record.observed_time_unix_nano = 0);
        records
    });
    assert_eq!(first, again, "a repeat is the same, observed later");
    let [record] = &again[..] else { panic!() };
    assert_eq!(get(record, "keepwell.message.id").unwrap(), "0011-m1");
    assert_eq!(decoded(&requests[2])[0].event_name, "keepwell.test");
}

#[test]
fn a_channel_needs_to_know_where_to() {
    let found = wrong("[[channel]]\nname = \"logs\"\ntype = \"otlp\"");
    assert!(found.contains("nowhere is said where alerts go by OTLP"), "{found}");
    assert!(found.contains("set `otlp.endpoint`"), "{found}");
    let channel = one("[otlp]\nendpoint = \"http://127.0.0.1:4318\"\n\
         [[channel]]\nname = \"logs\"\ntype = \"otlp\"\nmin_severity = \"critical\"");
    assert_eq!(&**channel.name(), "logs");
}
