//! The webhook against a receiver on the loopback: the whole request of every sample, and every
//! kind of answer.

use std::net::TcpListener;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::load::{load, one, wrong};
use super::receiver::{Receiver, Reply, Request, block};
use super::*;

const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";
const TARGET: &str = "/hook/s3cr3t?token=t0k3n";

fn toml(receiver: &Receiver, more: &str) -> String {
    let url = receiver.url(TARGET);
    format!("[[channel]]\nname = \"ops\"\ntype = \"webhook\"\nurl = \"{url}\"\n{more}\n")
}

/// What arrives of a message.
fn sent(more: &str, message: &Outgoing) -> Request {
    let receiver = Receiver::new([Reply::new("204 No Content", "")]);
    let channel = one(&toml(&receiver, more));
    block(channel.send(message)).unwrap();
    let mut requests = receiver.requests();
    assert_eq!(requests.len(), 1);
    requests.remove(0)
}

fn opened() -> Outgoing {
    sample::outgoing(notification("m1", Happening::Opened))
}

#[test]
fn the_whole_request_of_every_sample() {
    let secret = format!("secret = \"whsec_{}\"", STANDARD.encode(KEY));
    let receiver = Receiver::new([Reply::new("200 OK", "ok")]);
    let channel = one(&toml(&receiver, &secret));
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("golden/webhook");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for (name, message) in golden::samples() {
        let mut message = sample::outgoing(message);
        message.delayed = (name == "resolved").then_some(Duration::from_secs(1500));
        assert_eq!(block(channel.send(&message)).unwrap(), "200 OK: ok");
        let request = receiver.requests().pop().unwrap();
        assert_eq!(request.headers["user-agent"], concat!("keepwell/", env!("CARGO_PKG_VERSION")));
        assert_eq!(request.headers["content-length"], request.body.len().to_string());
        assert!(!request.headers.contains_key("transfer-encoding"));
        let signed = [format!("{}.1795243283.", message.key).as_bytes(), &request.body].concat();
        let signature = format!("v1,{}", STANDARD.encode(hmac(KEY, &signed)));
        assert_eq!(request.headers["webhook-signature"], signature);
        assert!(request.body.len() < 1024 * 1024, "{name}: {} bytes", request.body.len());
        if name == "storm" {
            assert_eq!(request.json()["alerts"].as_array().unwrap().len(), 1000);
            continue;
        }
        // Long lines are cut for the eye.
        let golden = request.golden().replace(&"x".repeat(1900), "[1900 times x]");
        let version = format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION"));
        let golden = golden.replace(&version, "\"version\": \"VERSION\"");
        settings.bind(|| insta::assert_snapshot!(name, golden));
    }
}

/// HMAC-SHA256 by its definition, from nothing but the hash.
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    use sha2::Digest;
    let mut block = [0u8; 64];
    block[..key.len()].copy_from_slice(key);
    let pad = |byte: u8| block.iter().map(|b| b ^ byte).collect::<Vec<_>>();
    let inner = sha2::Sha256::digest([pad(0x36), text.to_vec()].concat());
    sha2::Sha256::digest([pad(0x5c), inner.to_vec()].concat()).to_vec()
}

#[test]
fn plain_is_text_and_timestamp_and_nothing_else() {
    let message = opened();
    let request = sent("format = \"plain\"", &message);
    let text = story::text(&story::compose(&message));
    let expected = serde_json::json!({ "text": text, "timestamp": "2026-11-21T06:41:23.500000Z" });
    assert_eq!(request.json(), expected);
    assert_eq!(request.headers["content-type"], "application/json");
    let put = sent("method = \"PUT\"", &message);
    assert_eq!((put.method.as_str(), put.target.as_str()), ("PUT", TARGET));
}

#[test]
fn body_and_headers_are_what_the_user_makes_of_them() {
    let own = r#"
headers = { Authorization = "Bearer x", X-Severity = "{{ severity }} in {{ labels.env }}" }
template = { body = '{"summary": {{ title | json }}, "n": {{ alerts | length }}}' }
secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=""#;
    let message = opened();
    let request = sent(own, &message);
    assert_eq!(
        String::from_utf8(request.body.clone()).unwrap(),
        r#"{"summary": "[CRITICAL] web1: nginx.service: failed: exited with status 3", "n": 1}"#
    );
    assert_eq!(request.headers["x-severity"], "critical in prod");
    assert_eq!(request.headers["authorization"], "Bearer x");
    let signed = [format!("{}.1795243283.", message.key).as_bytes(), &request.body].concat();
    let signature = format!("v1,{}", STANDARD.encode(hmac(KEY, &signed)));
    assert_eq!(request.headers["webhook-signature"], signature, "over the body that is sent");

    let text = "template = { body = \"{{ sign }} {{ title }}\", content_type = \"text/plain\" }";
    let request = sent(text, &message);
    assert_eq!(request.headers["content-type"], "text/plain");
    assert!(String::from_utf8(request.body).unwrap().starts_with("🔴 [CRITICAL] web1: nginx"));
}

#[test]
fn a_template_that_fails_later_gives_way_to_keepwells_own_words() {
    // Over 64 KiB with a thousand alerts, and a header of two lines with these labels.
    let own = r#"
template = { body = "{% for a in alerts %}{{ a.summary }} {{ a.reason_text }} {{ a.command }}{% endfor %}", content_type = "text/plain" }
headers = { X-Team = "{{ labels.team }}" }"#;
    let request = sent(own, &sample::outgoing(sample::storm(1000)));
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(request.json()["alerts"].as_array().unwrap().len(), 1000);
    assert_eq!(request.headers["x-team"], "");
}

#[test]
fn what_is_no_json_is_found_out_at_load() {
    let at = |more: &str| {
        let text =
            "[[channel]]\nname = \"ops\"\ntype = \"webhook\"\nurl = \"http://h.example/s3cr3t\"\n";
        wrong(&format!("{text}{more}\n"))
    };
    // Fine with most messages: one with quotes breaks it.
    let found = at("template = { body = '{\"text\": \"{{ alerts[0].summary if alerts }}\"}' }");
    assert!(found.contains("k.toml:5:"), "{found}");
    assert!(found.contains("`template.body`: what it makes is not JSON: "), "{found}");
    assert!(found.contains("tried with the sample `odd`"), "{found}");
    assert!(found.contains("it came out as: {\"text\": \"failed: \"quoted\""), "{found}");

    let found = at("template = { body = \"{{ titel }}\", content_type = \"text/plain\" }");
    assert!(found.contains("there is no variable `titel`"), "{found}");
    assert!(found.contains("did you mean `title`? there are: alerts, "), "{found}");
    let found = at("template = { content_type = \"text/plain\" }");
    assert!(
        found.contains("`channel[].template` needs the key `body`")
            || found.contains("needs the key `body`"),
        "{found}"
    );
    let found = at("template = { body = '{{ title | json }}', bodi = \"\" }");
    assert!(found.contains("unknown key `bodi`"), "{found}");
    let found = at("format = \"plain\"\ntemplate = { body = '{{ title | json }}' }");
    assert!(found.contains("`format` and `template` exclude each other"), "{found}");
    let found = at("headers = { X-A = \"s3cr3t {{ text }}\" }");
    assert!(
        found.contains("`headers.X-A`: it makes characters that no header can hold"),
        "{found}"
    );
    assert!(!found.contains("came out"), "{found}");
    let found = at("headers = { Webhook-Id = \"{{ id }}\" }");
    assert!(found.contains("the header 'Webhook-Id' is set by keepwell itself"), "{found}");
    let found = at("headers = { Webhook-Id = \"1\", \"a b\" = \"c\" }");
    assert!(found.contains("'Webhook-Id' is set by keepwell itself"), "{found}");
    let found = at("method = \"GET\"");
    assert!(found.contains("cannot be \"GET\""), "{found}");
    let found = at("secret = \"whsec_c2hvcnQ=\"");
    assert!(found.contains("the secret has 5 bytes; it needs at least 16"), "{found}");
    let found = at("secret = \"whsec_%\"");
    assert!(found.contains("the secret must be whsec_ followed by base64"), "{found}");
}

/// What is said of an answer, with the receiver's address taken out.
fn answer(reply: Reply) -> Result<String, SendError> {
    let receiver = Receiver::new([reply]);
    let host = receiver.url("");
    let channel = one(&toml(&receiver, "timeout = \"1s\""));
    let result = block(channel.send(&opened()));
    let hide = |text: &str| {
        assert!(!text.contains("s3cr3t") && !text.contains("t0k3n"), "{text}");
        text.replace(&host, "RECEIVER")
    };
    match result {
        Ok(text) => Ok(hide(&text)),
        Err(SendError { retry, text }) => Err(SendError { retry, text: hide(&text) }),
    }
}

#[test]
fn each_answer_says_whether_to_try_again() {
    let fine = |head, body| answer(Reply::new(head, body)).unwrap();
    assert_eq!(fine("200 OK", "thank you"), "200 OK: thank you");
    assert_eq!(fine("202 Accepted", ""), "202 Accepted");
    assert_eq!(fine("204 No Content", ""), "204 No Content");

    let seconds = |s| Retry::Later(Some(Duration::from_secs_f64(s)));
    let date = "429 Too Many Requests\r\nRetry-After: Sat, 21 Nov 2026 06:42:23 GMT";
    let cases: &[(&str, &str, Retry, &str)] = &[
        ("400 Bad Request", "no\r\n\tsuch field", Retry::Never, "400 Bad Request: no such field"),
        ("401 Unauthorized", "", Retry::Stop, "401 Unauthorized; check the URL and the secret"),
        ("403 Forbidden", "", Retry::Stop, "403 Forbidden; check the URL and the secret"),
        (
            "404 Not Found",
            "no hook /hook/s3cr3t of t0k3n!",
            Retry::Stop,
            "404 Not Found: no hook […] of […]!; check the URL",
        ),
        ("405 Method Not Allowed", "", Retry::Stop, "405 Method Not Allowed; check the URL"),
        (
            "407 Proxy Authentication Required",
            "",
            Retry::Stop,
            "407 Proxy Authentication Required; set the user and password in the URL of the proxy",
        ),
        (
            "410 Gone",
            "",
            Retry::Stop,
            "410 Gone; it wants no more messages: set a new URL or remove the channel",
        ),
        (
            "302 Found\r\nLocation: http://127.0.0.1:1/",
            "",
            Retry::Stop,
            "302 Found; redirects are not followed: set the final URL",
        ),
        ("429 Too Many Requests", "", Retry::Later(None), "429 Too Many Requests"),
        ("429 Too Many Requests\r\nRetry-After: 120", "", seconds(120.0), "429 Too Many Requests"),
        ("429 Too Many Requests\r\nRetry-After: 1.5", "", seconds(1.5), "429 Too Many Requests"),
        (date, "", seconds(59.5), "429 Too Many Requests"),
        (
            "429 Too Many Requests\r\nRetry-After: soon",
            "{\"retry_after\": 0.75}",
            seconds(0.75),
            "429 Too Many Requests: {\"retry_after\": 0.75}",
        ),
        (
            "429 Too Many Requests\r\nRetry-After: 2",
            "{\"parameters\": {\"retry_after\": 7}}",
            seconds(7.0),
            "429 Too Many Requests: {\"parameters\": {\"retry_after\": 7}}",
        ),
        (
            "429 Too Many Requests\r\nRetry-After: -1",
            "{\"retry_after\": -3e300}",
            Retry::Later(None),
            "429 Too Many Requests: {\"retry_after\": -3e300}",
        ),
        ("408 Request Timeout", "", Retry::Later(None), "408 Request Timeout"),
        ("500 No", "oh", Retry::Later(None), "500 Internal Server Error: oh"),
        ("503 Busy\r\nRetry-After: 9", "", seconds(9.0), "503 Service Unavailable"),
    ];
    for (head, body, retry, text) in cases {
        let error = answer(Reply::new(head, body)).unwrap_err();
        assert_eq!((error.retry, error.text), (*retry, format!("RECEIVER answered {text}")));
    }
}

#[test]
fn what_is_no_answer_is_tried_later() {
    let text = |reply| {
        let error = answer(reply).unwrap_err();
        assert_eq!(error.retry, Retry::Later(None), "{error}");
        error.text
    };
    assert_eq!(text(Reply::Hang), "RECEIVER did not answer within 1 s");
    let reset = text(Reply::Reset);
    assert!(reset.starts_with("the connection broke to RECEIVER: "), "{reset}");
    let garbage = text(Reply::Bytes(b"\0\xff* SSH-2.0 hello\r\n\r\n".to_vec()));
    assert!(garbage.starts_with("the connection broke to RECEIVER: "), "{garbage}");
    let nothing = text(Reply::Bytes(Vec::new()));
    assert!(nothing.starts_with("the connection broke to RECEIVER: "), "{nothing}");

    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for scheme in ["http", "https"] {
        let toml = format!(
            "[[channel]]\nname = \"ops\"\ntype = \"webhook\"\nurl = \"{scheme}://{gone}/s3cr3t\""
        );
        let error = block(one(&toml).send(&opened())).unwrap_err();
        assert_eq!(error.retry, Retry::Later(None));
        let begin = format!("cannot connect to {scheme}://{gone}: ");
        assert!(error.text.starts_with(&begin), "{error}");
        assert!(error.text.contains("Connection refused"), "{error}");
        assert!(!error.text.contains("s3cr3t"), "{error}");
    }
}

#[test]
fn an_endless_answer_is_read_only_in_part() {
    let long = "all work and no play ".repeat(100_000);
    for head in ["500 No", "200 OK"] {
        let text = match answer(Reply::new(head, &long)) {
            Ok(text) => text,
            Err(error) => error.text,
        };
        assert!(text.ends_with('…') && text.chars().count() < 260, "{text}");
    }
}

#[test]
fn to_whom_it_is_too_much_a_shorter_form_is_sent() {
    let receiver =
        Receiver::new([Reply::new("413 Payload Too Large", ""), Reply::new("200 OK", "")]);
    let channel = one(&toml(&receiver, ""));
    let mut message = sample::outgoing(sample::storm(1000));
    assert_eq!(block(channel.send(&message)).unwrap(), "200 OK");
    let [long, short] = &receiver.requests()[..] else { panic!() };
    assert_eq!(long.headers["webhook-id"], short.headers["webhook-id"]);
    let body = short.json();
    assert_eq!(body["alerts"].as_array().unwrap().len(), 1000);
    assert_eq!(
        body["alerts"][0],
        serde_json::json!({
            "id": "a0", "event": "opened", "check": "unit:worker@0.service", "kind": "state",
            "severity": "critical", "opened": "2026-11-21T06:41:23.500000Z", "resolved": null,
        })
    );
    assert_eq!(body["text"], body["subject"]);
    assert!(short.body.len() < long.body.len() / 3, "{} {}", short.body.len(), long.body.len());

    let receiver = Receiver::new([Reply::new("413 Payload Too Large", "")]);
    message.notification = Arc::new(sample::grouped());
    let error = block(one(&toml(&receiver, "")).send(&message)).unwrap_err();
    assert_eq!((error.retry, receiver.requests().len()), (Retry::Never, 2));
}

#[test]
fn nothing_shows_a_secret() {
    let mut settings = WebhookSettings::new("https://h.example/s3cr3t");
    settings.secret = Some("whsec_xyz".into());
    settings.headers.insert("X-Key".into(), "hidden".into());
    let debug = format!("{settings:?}");
    assert!(!debug.contains("s3cr3t") && !debug.contains("xyz") && !debug.contains("hidden"));
    assert!(debug.contains("https://h.example\"") && debug.contains("X-Key"), "{debug}");
    let found =
        wrong("[[channel]]\nname = \"a\"\ntype = \"webhook\"\nurl = \"ftp://u:s3cr3t@h/x\"");
    assert!(found.contains("must start with https:// or http://"), "{found}");
    assert!(
        load("[[channel]]\nname = \"a\"\ntype = \"webhook\"\nurl = { env = \"TOKEN\" }").is_err()
    );
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
fn all_that_is_wrong_with_a_webhook_is_said_at_once() {
    let found = wrong(
        "[[channel]]\nname = \"a\"\ntype = \"webhook\"\nurl = \"h.example\"\n\
         secret = \"whsec_%\"\n[channel.headers]\nWebhook-Id = \"1\"\n\"a b\" = \"c\"",
    );
    for part in [
        "k.toml:4:7: `channel.url` must start with",
        "k.toml:5:10: the secret must be whsec_",
        "k.toml:7:1: the header 'Webhook-Id' is set by keepwell itself",
        "k.toml:8:1: 'a b' is not a valid header name",
    ] {
        assert!(found.contains(part), "{part}: {found}");
    }
}

#[test]
fn an_answer_that_repeats_all_it_was_sent_shows_no_secret() {
    let own = r#"
proxy = false
headers = { Authorization = "Bearer k3y-0ne", Cookie = "id=k3y-tw0; b=1", X-Key = "k3y-{{ host }}" }
secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=""#;
    let said = "authorization: Basic YW5uYTpodW50ZXIy, Bearer k3y-0ne; k3y-0ne k3y-tw0 k3y-web1 \
                anna hunter2 MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY= ok";
    for head in ["200 OK", "401 Unauthorized"] {
        let receiver = Receiver::new([Reply::new(head, said)]);
        let text = toml(&receiver, own).replace("http://", "http://anna:hunter2@");
        let text = match block(one(&text).send(&opened())) {
            Ok(text) => text,
            Err(error) => error.text,
        };
        for secret in ["YW5", "k3y", "anna", "hunter2", "MDEy"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(text.contains("authorization: ") && text.contains(" ok"), "{text}");
    }
}

#[test]
fn a_header_in_a_file_for_all_to_read_is_a_warning() {
    use crate::config::{self, Environment, Input, Options};
    let text = "[[channel]]\nname = \"a\"\ntype = \"webhook\"\nurl = { env = \"U\" }\n\
                headers = { X-Key = \"hunter2\", X-At = \"{{ at }}\" }";
    let mut input = Input::memory("k.toml", text);
    input.world_readable = true;
    let environment = Environment::from_iter([("U", "http://h.example/")]);
    let options = Options::new(None, environment, true, "web1".into());
    let mut loaded = config::load_from(vec![input], &options);
    super::load::made(&mut loaded, &Default::default());
    let found = loaded.finish().unwrap().warnings.to_string();
    assert!(found.contains("k.toml:5:13: warning: `headers.X-Key` is a secret in a"), "{found}");
    assert!(!found.contains("X-At") && !found.contains("hunter2"), "{found}");
}
