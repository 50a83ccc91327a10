//! The webhook against a receiver on the loopback: the whole request, and every kind of answer.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::http::http_client;
use super::sample::outgoing;
use super::*;
use crate::engine::event::{Delivery, Event, Outcome};

/// Takes one request for each answer, and gives the requests back.
struct Receiver {
    url: String,
    thread: JoinHandle<Vec<Request>>,
}

#[derive(Debug)]
struct Request {
    line: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Receiver {
    fn new(answers: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook/s3cr3t?token=t0k3n", listener.local_addr().unwrap());
        let thread =
            std::thread::spawn(move || answers.iter().map(|a| serve(&listener, a)).collect());
        Self { url, thread }
    }
}

fn serve(listener: &TcpListener, answer: &str) -> Request {
    let (mut stream, _) = listener.accept().unwrap();
    let mut bytes = Vec::new();
    let head = loop {
        let mut chunk = [0; 4096];
        let n = stream.read(&mut chunk).unwrap();
        assert!(n > 0, "the request ended early");
        bytes.extend_from_slice(&chunk[..n]);
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
    let mut lines = text.lines();
    let line = lines.next().unwrap().to_owned();
    let headers: BTreeMap<_, _> = lines
        .filter_map(|l| l.split_once(": "))
        .map(|(k, v)| (k.to_lowercase(), v.to_owned()))
        .collect();
    let length: usize = headers["content-length"].parse().unwrap();
    let mut body = bytes[head..].to_vec();
    while body.len() < length {
        let mut chunk = [0; 4096];
        let n = stream.read(&mut chunk).unwrap();
        body.extend_from_slice(&chunk[..n]);
    }
    if answer == "hang" {
        // Until the client gives up.
        let _ = stream.read(&mut [0; 1]);
    } else {
        write!(stream, "HTTP/1.1 {answer}").unwrap();
        let _ = stream.flush();
    }
    Request { line, headers, body }
}

fn webhook(settings: WebhookSettings) -> Webhook {
    Webhook::new("ops".into(), settings, http_client(&[], &crate::config::Proxy::Usual).unwrap())
        .unwrap()
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

const OK: &str = "204 No Content\r\nConnection: close\r\n\r\n";

#[test]
fn the_whole_request_is_as_documented() {
    let receiver = Receiver::new(&[OK]);
    let mut settings = WebhookSettings::new(&receiver.url);
    let key = b"0123456789abcdef0123456789abcdef";
    settings.secret = Some(format!("whsec_{}", STANDARD.encode(key)));
    settings.headers.insert("Authorization".into(), "Bearer x".into());
    let message = Outgoing {
        delayed: Some(Duration::from_secs(601)),
        ..outgoing(notification("m7", Happening::Resolved))
    };
    block(webhook(settings).send(&message)).unwrap();
    let [request] = &receiver.thread.join().unwrap()[..] else { panic!() };

    assert_eq!(request.line, "POST /hook/s3cr3t?token=t0k3n HTTP/1.1");
    let header = |name: &str| request.headers[name].as_str();
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("content-length"), request.body.len().to_string());
    assert!(!request.headers.contains_key("transfer-encoding"));
    assert_eq!(header("user-agent"), concat!("keepwell/", env!("CARGO_PKG_VERSION")));
    assert_eq!(header("authorization"), "Bearer x");
    assert_eq!(header("webhook-id"), "0011223344556677-m7");
    assert_eq!(header("webhook-timestamp"), "1795243283");
    let signed = [b"0011223344556677-m7.1795243283.", &request.body[..]].concat();
    assert_eq!(header("webhook-signature"), format!("v1,{}", STANDARD.encode(hmac(key, &signed))));
    // Its content is compared with golden files elsewhere.
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!((&body["id"], &body["delayed_seconds"]), (&message.key.into(), &601.into()));
}

/// HMAC-SHA256 by its definition, from nothing but the hash.
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    let mut block = [0u8; 64];
    block[..key.len()].copy_from_slice(key);
    let pad = |byte: u8| block.iter().map(|b| b ^ byte).collect::<Vec<_>>();
    let inner = Sha256::digest([pad(0x36), text.to_vec()].concat());
    Sha256::digest([pad(0x5c), inner.to_vec()].concat()).to_vec()
}

fn error(answer: &'static [&'static str]) -> SendError {
    let receiver = Receiver::new(answer);
    let host = receiver.url.split("/hook").next().unwrap().to_owned();
    let mut settings = WebhookSettings::new(&receiver.url);
    settings.timeout = Duration::from_secs(3);
    let error = block(webhook(settings).send(&outgoing(notification("m7", Happening::Opened))))
        .unwrap_err();
    receiver.thread.join().unwrap();
    assert!(!error.text.contains("s3cr3t") && !error.text.contains("t0k3n"), "{}", error.text);
    SendError { text: error.text.replace(&host, "RECEIVER"), ..error }
}

#[test]
fn each_answer_says_whether_to_try_again() {
    let later = |seconds| Retry::Later(Some(Duration::from_secs(seconds)));
    let cases: &[(&'static [&'static str], Retry, &str)] = &[
        (
            &["500 Internal Server Error\r\nConnection: close\r\n\r\noh\r\n\tno"],
            Retry::Later(None),
            "RECEIVER answered 500 Internal Server Error: oh no",
        ),
        (
            &["429 Too Many Requests\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n"],
            later(120),
            "RECEIVER answered 429 Too Many Requests",
        ),
        (
            &[
                "503 Busy\r\nRetry-After: Sat, 21 Nov 2026 06:42:23 GMT\r\nContent-Length: 0\r\n\r\n",
            ],
            Retry::Later(Some(Duration::from_micros(59_500_000))),
            "RECEIVER answered 503 Service Unavailable",
        ),
        (
            &["410 Gone\r\nContent-Length: 0\r\n\r\n"],
            Retry::Stop,
            "RECEIVER answered 410 Gone; it wants no more messages: set a new URL or remove the channel",
        ),
        (
            &["404 Not Found\r\nContent-Length: 30\r\n\r\nno hook /hook/s3cr3t of t0k3n!"],
            Retry::Stop,
            "RECEIVER answered 404 Not Found: no hook […] of […]!; check the URL",
        ),
        (
            &["401 Unauthorized\r\nContent-Length: 0\r\n\r\n"],
            Retry::Stop,
            "RECEIVER answered 401 Unauthorized; check the URL and the secret",
        ),
        (
            &["302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"],
            Retry::Stop,
            "RECEIVER answered 302 Found; redirects are not followed: set the final URL",
        ),
        (&["hang"], Retry::Later(None), "RECEIVER did not answer within 3 s"),
    ];
    for (answer, retry, text) in cases {
        let error = error(answer);
        assert_eq!((error.retry, error.text.as_str()), (*retry, *text));
    }
}

#[test]
fn a_receiver_that_is_not_there_is_tried_later() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for scheme in ["http", "https"] {
        let settings = WebhookSettings::new(format!("{scheme}://{gone}/s3cr3t"));
        let message = outgoing(notification("m7", Happening::Opened));
        let error = block(webhook(settings).send(&message)).unwrap_err();
        assert_eq!(error.retry, Retry::Later(None));
        assert!(
            error.text.starts_with(&format!("cannot connect to {scheme}://{gone}: ")),
            "{error}"
        );
        assert!(
            error.text.contains("Connection refused") && !error.text.contains("s3cr3t"),
            "{error}"
        );
    }
}

#[test]
fn an_endless_answer_is_read_only_in_part() {
    const LONG: &str = include_str!("golden.rs");
    let long: &'static str = Box::leak(
        format!("500 No\r\nContent-Length: 10000000\r\n\r\n{LONG}{LONG}{LONG}").into_boxed_str(),
    );
    let error = error(Box::leak(Box::new([long])));
    assert_eq!(error.retry, Retry::Later(None));
    assert!(error.text.ends_with('…') && error.text.chars().count() < 260, "{error}");
}

#[test]
fn wrong_settings_are_refused_in_words() {
    let new = |settings| {
        let wrong = Webhook::new(
            "ops".into(),
            settings,
            http_client(&[], &crate::config::Proxy::Usual).unwrap(),
        )
        .err()
        .unwrap();
        wrong.to_string()
    };
    let with = |f: fn(&mut WebhookSettings)| {
        let mut settings = WebhookSettings::new("https://h.example/s3cr3t");
        f(&mut settings);
        settings
    };
    assert_eq!(
        new(WebhookSettings::new("hooks")),
        "the URL is not valid: relative URL without a base"
    );
    assert_eq!(
        new(WebhookSettings::new("ftp://h/x")),
        "the URL must begin with https:// or http://, not ftp:"
    );
    assert!(
        new(with(|s| s.secret = Some("whsec_%".into()))).starts_with("the secret must be whsec_")
    );
    assert_eq!(
        new(with(|s| s.secret = Some("whsec_c2hvcnQ=".into()))),
        "the secret has 5 bytes; it needs at least 16, better 32"
    );
    assert_eq!(
        new(with(|s| drop(s.headers.insert("Webhook-Id".into(), "1".into())))),
        "the header 'Webhook-Id' is set by keepwell itself"
    );
    let mut settings = with(|s| s.secret = Some("whsec_xyz".into()));
    settings.headers.insert("X-Key".into(), "hidden".into());
    let debug = format!("{settings:?}");
    assert!(!debug.contains("s3cr3t") && !debug.contains("xyz") && !debug.contains("hidden"));
    assert!(debug.contains("https://h.example\"") && debug.contains("X-Key"), "{debug}");
}

#[test]
fn a_failed_delivery_is_repeated_with_the_same_id() {
    let receiver = Receiver::new(&["500 No\r\nConnection: close\r\n\r\n", OK]);
    let host = receiver.url.split("/hook").next().unwrap().to_owned();
    let channel: Arc<dyn Channel> = Arc::new(webhook(WebhookSettings::new(&receiver.url)));
    let (events, mut reports) = tokio::sync::mpsc::unbounded_channel();
    let context = Context {
        host_key: host_key("0123"),
        store: None,
        events,
        now: crate::store::tests::now,
        flush: Duration::ZERO,
    };
    let (jobs, received) = tokio::sync::mpsc::unbounded_channel();
    let lane = Lane::new(channel, Vec::new(), context);
    block(async {
        let message = Arc::new(notification("m7", Happening::Opened));
        jobs.send(LaneJob::Deliver(message)).unwrap();
        let stop = tokio_util::sync::CancellationToken::new();
        let report = async {
            let report = [reports.recv().await, reports.recv().await];
            stop.cancel();
            report
        };
        let (report, left) = tokio::join!(report, lane.run(received, stop.clone()));
        assert_eq!(left, []);
        let outcome = |result| {
            let (channel, id) = ("ops".into(), "m7".into());
            Some(Event::Outcome(Outcome::Delivery { channel, id, result }))
        };
        let why = format!("{host} answered 500 Internal Server Error");
        assert_eq!(report, [outcome(Delivery::Failed(why)), outcome(Delivery::Delivered)]);
    });
    let requests = receiver.thread.join().unwrap();
    let ids: Vec<_> = requests.iter().map(|r| r.headers["webhook-id"].clone()).collect();
    assert_eq!(ids, [format!("{}-m7", host_key("0123")), format!("{}-m7", host_key("0123"))]);
    assert!(requests.iter().all(|r| !r.headers.contains_key("webhook-signature")));
}

#[test]
fn the_host_key_does_not_show_the_machine_id() {
    let id = "4c7d3e2f1a0b4c5d8e9f0a1b2c3d4e5f";
    let key = host_key(id);
    assert_eq!(key.len(), 16);
    assert!(!id.contains(&*key));
    assert_eq!(key, host_key(&format!("{id}\n")));
    assert_ne!(key, host_key("4c7d3e2f1a0b4c5d8e9f0a1b2c3d4e5e"));
}

#[test]
fn plain_http_works_on_a_host_without_root_certificates() {
    let again = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "notify::tests::delivery::the_whole_request_is_as_documented"])
        .env("SSL_CERT_FILE", "/nonexistent/file")
        .env("SSL_CERT_DIR", "/nonexistent/folder")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&again.stdout);
    assert!(again.status.success() && text.contains("1 passed"), "{text}");
}
