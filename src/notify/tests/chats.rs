//! What the tests of the chat services share: a channel as the configuration makes it, the
//! messages, and the answers that a service or what stands between may give.

use std::path::PathBuf;

use super::receiver::{Receiver, Reply, Request, block};
use super::*;
use crate::config::{self, Environment, Input, Options};
use crate::notify::story::Story;

/// Makes the channel of a `[[channel]]` section with these lines; or what is wrong with it, as the
/// person reads it.
pub(super) fn configured(kind: &str, lines: &str) -> Result<(Arc<dyn Channel>, String), String> {
    let text = format!("[[channel]]\nname = \"ops\"\ntype = \"{kind}\"\n{lines}\n");
    let environment: Environment = std::iter::empty::<(&str, &str)>().collect();
    let options = Options::new(None, environment, true, "web1".into());
    let input = Input::memory(PathBuf::from("keepwell.toml"), text);
    let mut loaded = config::load_from(vec![input], &options);
    let mut made = super::load::made(&mut loaded, &crate::config::Outbound::default());
    let config = loaded.finish().map_err(|found| found.to_string())?;
    Ok((made.remove(0), config.warnings.to_string()))
}

pub(super) fn channel(kind: &str, receiver: &Receiver, target: &str) -> Arc<dyn Channel> {
    let lines = format!("url = \"{}\"\ntimeout = \"1s\"", receiver.url(target));
    configured(kind, &lines).unwrap().0
}

/// What is sent of a hostile alert under the user's own words.
pub(super) fn with_template(kind: &str, template: &str, ok: Reply) -> serde_json::Value {
    let receiver = Receiver::new([ok]);
    let url = receiver.url("/hook/s3cr3t");
    let lines = format!("url = \"{url}\"\ntemplate = {template}");
    let channel = configured(kind, &lines).unwrap().0;
    let message = sample::outgoing(sample::hostile());
    block(async { channel.send(&message).await }).unwrap();
    receiver.requests()[0].json()
}

/// Every message there is, some that try to break out, and some that are too much.
pub(super) fn messages() -> Vec<(&'static str, Notification)> {
    let mut all = sample::all();
    all.push(("hostile", sample::hostile()));
    all.push(("crowded", crowded()));
    all.push(("storm", sample::storm(300)));
    all.push(("flood", sample::storm(2000)));
    all
}

/// As many alerts as are told in full, with all that each can have, in characters that escapes make
/// many of.
fn crowded() -> Notification {
    let mut message = sample::hostile();
    let wide = "&<*🔴\"`".repeat(100);
    message.items = (0..5)
        .map(|i| {
            let mut item = message.items[0].clone();
            item.alert.id = format!("a{i}").into();
            item.alert.summary = wide.clone();
            item.alert.lines = vec![wide.clone(); 20];
            item.alert.acts = vec![item.alert.acts[0].clone(); 12];
            item.alert.acts.iter_mut().for_each(|act| act.text = wide.clone());
            item
        })
        .collect();
    message
}

pub(super) fn story(notification: Notification) -> Story {
    story::compose(&sample::outgoing(notification))
}

/// Sends each message and compares the whole request with its golden file; gives the requests.
pub(super) fn golden(kind: &str, target: &str, ok: Reply) -> Vec<(&'static str, Request)> {
    let bench = Bench::new(kind, target);
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(format!("golden/{kind}"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let mut sent = Vec::new();
    for (name, message) in messages() {
        let (result, mut requests) = bench.send(message, std::slice::from_ref(&ok));
        result.unwrap();
        assert_eq!(requests.len(), 1, "one request a message");
        let request = requests.remove(0);
        settings.bind(|| insta::assert_snapshot!(name, request.golden()));
        sent.push((name, request));
    }
    sent
}

/// A channel and the receiver that it sends to.
pub(super) struct Bench {
    target: String,
    receiver: Receiver,
    channel: Arc<dyn Channel>,
}

impl Bench {
    pub(super) fn new(kind: &str, target: &str) -> Self {
        let receiver = Receiver::new([Reply::Hang]);
        let channel = channel(kind, &receiver, target);
        Self { target: target.into(), receiver, channel }
    }

    /// Sends a message against these answers; what came of it, with the receiver's address left
    /// out, and the requests.
    pub(super) fn send(
        &self,
        message: Notification,
        replies: &[Reply],
    ) -> (Result<String, SendError>, Vec<Request>) {
        self.receiver.restart(replies.to_vec());
        let message = sample::outgoing(message);
        let result = block(async { self.channel.send(&message).await });
        let hide = |text: String| {
            for secret in self.target.split(['/', '?', '&', '=']).filter(|part| part.len() > 4) {
                assert!(!text.contains(secret), "{text}");
            }
            text.replace(&self.receiver.url(""), "SERVICE")
        };
        let result = result.map(hide).map_err(|e| SendError { text: hide(e.text), ..e });
        (result, self.receiver.requests())
    }

    /// As [`Self::send`], of an opened alert.
    pub(super) fn outcome(&self, replies: &[Reply]) -> (Result<String, SendError>, Vec<Request>) {
        self.send(notification("a7", Happening::Opened), replies)
    }

    /// What comes of one answer.
    pub(super) fn answer(&self, head: &str, body: &str) -> Result<String, SendError> {
        self.outcome(&[Reply::new(head, body)]).0
    }
}

/// What is the same for all services: who answers here is not the service, or it is not well.
pub(super) fn common_answers_are_judged(bench: &Bench) {
    let later = |ms| Retry::Later(Some(Duration::from_millis(ms)));
    let cases = [
        (Reply::new("500 Internal Server Error", "oh no"), Retry::Later(None), "oh no"),
        (Reply::new("503 Busy\r\nRetry-After: 7", ""), later(7000), "503"),
        (Reply::new("429 Slow\r\nRetry-After: 120", ""), later(120_000), "429"),
        (
            // The message is sent at 06:41:23.5.
            Reply::new("429 Slow\r\nRetry-After: Sat, 21 Nov 2026 06:42:23 GMT", ""),
            later(59_500),
            "429",
        ),
        (Reply::new("429 Slow\r\nRetry-After: soon", "wait"), Retry::Later(None), "429"),
        (Reply::new("401 Unauthorized", ""), Retry::Stop, "401"),
        (Reply::new("403 Forbidden", ""), Retry::Stop, "403"),
        (Reply::new("404 Not Found", "<html>nothing here</html>"), Retry::Stop, "404"),
        (Reply::new("410 Gone", ""), Retry::Stop, "410"),
        (
            Reply::new("302 Found\r\nLocation: http://127.0.0.1:1/", ""),
            Retry::Stop,
            "redirects are not followed",
        ),
        (Reply::new("400 Bad Request", "what?"), Retry::Never, "took no plain text either"),
        (Reply::new("413 Too Large", ""), Retry::Never, "took no plain text either"),
        (Reply::Hang, Retry::Later(None), "SERVICE did not answer within 1 s"),
        (Reply::Reset, Retry::Later(None), "SERVICE: "),
        (Reply::Bytes(b"\0\x01garbage\r\n\r\n".to_vec()), Retry::Later(None), "SERVICE: "),
        (Reply::Bytes(Vec::new()), Retry::Later(None), "SERVICE: "),
    ];
    for (reply, retry, text) in cases {
        let (result, requests) = bench.outcome(std::slice::from_ref(&reply));
        let error = result.unwrap_err();
        assert_eq!(error.retry, retry, "{reply:?}: {error}");
        assert!(error.text.contains(text), "{reply:?}: {error}");
        let tries = if retry == Retry::Never { 2 } else { 1 };
        assert_eq!(requests.len(), tries, "{reply:?}");
    }
}

/// Where nobody listens at all.
pub(super) fn an_absent_service_is_tried_later(kind: &str, target: &str) {
    let receiver = Receiver::new([Reply::Hang]);
    let channel = channel(kind, &receiver, target);
    drop(receiver);
    let message = sample::outgoing(notification("a7", Happening::Opened));
    let error = block(async { channel.send(&message).await }).unwrap_err();
    assert_eq!(error.retry, Retry::Later(None));
    assert!(error.text.starts_with("cannot connect to http://127.0.0.1:"), "{error}");
}

/// Every text in a JSON body, with the path to it.
pub(super) fn texts(value: &serde_json::Value) -> Vec<String> {
    match value {
        serde_json::Value::String(text) => vec![text.clone()],
        serde_json::Value::Array(all) => all.iter().flat_map(texts).collect(),
        serde_json::Value::Object(all) => all.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

/// As the service counts.
pub(super) fn length(value: &serde_json::Value) -> usize {
    value.as_str().unwrap_or_default().encode_utf16().count()
}
