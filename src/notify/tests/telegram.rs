//! Telegram against a receiver on the loopback: whole requests, every kind of answer, and presses of
//! buttons.

mod answers;
mod presses;
mod settings;
mod shape;

use serde_json::{Value, json};

use super::load;
use super::receiver::{Receiver, Reply, Request, block};
use super::*;
use crate::config::Secret;
use crate::engine::alert::Gist;
use crate::notify::telegram::{Chat, Settings, Telegram, Waits};

const KEY: &str = "AAFakeKeyOfNobody-0123456789_abcdef";
const TOKEN: &str = "123456789:AAFakeKeyOfNobody-0123456789_abcdef";
const GROUP: i64 = -1001234567890;
const PERSON: i64 = 4242;
const ANNA: i64 = 7001;

fn yes() -> Reply {
    ok(json!({ "message_id": 1 }))
}

fn ok(result: Value) -> Reply {
    Reply::new("200 OK", &json!({ "ok": true, "result": result }).to_string())
}

fn no(code: u16, description: &str, parameters: Value) -> Reply {
    let mut body = json!({ "ok": false, "error_code": code, "description": description });
    if !parameters.is_null() {
        body["parameters"] = parameters;
    }
    Reply::new(&format!("{code} No"), &body.to_string())
}

/// As configured for tests: a group in which Anna may press, with no waits.
fn settings(receiver: &Receiver) -> Settings {
    Settings {
        token: Secret::new(TOKEN),
        chats: vec![Chat::Id(GROUP)],
        allowed: vec![ANNA],
        buttons: true,
        api: receiver.url("").parse().unwrap(),
        timeout: Duration::from_secs(10),
        templates: Default::default(),
        host: "0011223344556677".into(),
        waits: Waits {
            pace: Duration::ZERO,
            poll: Duration::from_secs(2),
            conflict: Duration::from_millis(1),
            longest: Duration::from_millis(1),
            ..Waits::USUAL
        },
    }
}

fn telegram(settings: Settings) -> Arc<Telegram> {
    // Each would load the root certificates anew.
    static CLIENT: std::sync::LazyLock<reqwest::Client> =
        std::sync::LazyLock::new(|| http::http_client(&[], &crate::config::Proxy::Off).unwrap());
    Arc::new(Telegram::new("ops".into(), settings, CLIENT.clone()))
}

fn opened() -> Outgoing {
    sample::outgoing(sample::of(Happening::Opened, sample::alert()))
}

fn method(request: &Request) -> &str {
    request.target.rsplit('/').next().unwrap()
}
