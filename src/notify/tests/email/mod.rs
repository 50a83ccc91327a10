//! E-mail: what of a configuration is refused, what a mail holds, as an independent parser reads
//! it, and how it goes with a real SMTP server. The server is in `tests/support/smtp.py`.

mod mails;
mod relays;
mod server;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::{Channel, Outgoing, Retry, SendError, sample};
use crate::config::Outbound;
use crate::config::{self, Diagnostics, Input, Loaded, Options};
use crate::engine::alert::Notification;
use server::{Certificates, Server};

/// The channel of a configuration, with `name` and `type` filled in.
fn channel(keys: &str) -> Result<(Arc<dyn Channel>, String), Diagnostics> {
    channel_with(keys, Outbound::default())
}

fn channel_with(keys: &str, outbound: Outbound) -> Result<(Arc<dyn Channel>, String), Diagnostics> {
    let text = format!("[[channel]]\nname = \"ops\"\ntype = \"email\"\n{keys}\n");
    let mut loaded = load(text);
    let mut channels = crate::notify::tests::load::made(&mut loaded, &outbound);
    let config = loaded.finish()?;
    Ok((channels.remove(0), config.warnings.to_string()))
}

fn load(text: String) -> Loaded {
    config::load_from(vec![Input::memory("keepwell.toml", text)], &options())
}

/// As a person's shell does, who cannot see the service's credentials.
fn load_leniently(text: String) -> Loaded {
    config::load_from(vec![Input::memory("keepwell.toml", text)], &options().lenient())
}

fn options() -> Options {
    let nothing: [(&str, &str); 0] = [];
    Options::new(None, nothing.into_iter().collect(), true, "web1".into())
}

/// The channel that leads to a server, in plain text.
fn to(server: &Server, keys: &str) -> Arc<dyn Channel> {
    let port = server.port;
    let keys = format!("to = \"ops@example.org\"\nhost = \"127.0.0.1\"\nport = {port}\n{keys}");
    channel(&keys).unwrap().0
}

fn send(channel: &Arc<dyn Channel>, message: &Outgoing) -> Result<String, SendError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(channel.send(message))
}

fn opened() -> Outgoing {
    sample::outgoing(sample::of(crate::engine::alert::Happening::Opened, sample::alert()))
}

/// As the same channel gets them one after the other.
fn outgoing(n: u32, notification: Notification) -> Outgoing {
    let id = format!("m{n}.1795243283500000").into();
    sample::outgoing(Notification { id, ..notification })
}

#[track_caller]
fn fails(result: Result<String, SendError>, retry: Retry, words: &[&str]) {
    let error = result.expect_err("it should fail");
    assert_eq!(error.retry, retry, "{error}");
    for word in words {
        assert!(error.text.contains(word), "no '{word}' in: {error}");
    }
    assert!(!error.text.contains("s3cr3t"), "{error}");
}

fn header<'a>(mail: &'a Value, name: &str) -> Option<&'a str> {
    let headers = mail["mail"]["headers"].as_array().unwrap();
    let mut found = headers.iter().filter(|h| h[0] == name);
    let value = found.next().and_then(|h| h[1].as_str());
    assert!(found.next().is_none(), "{name} is there twice");
    value
}
