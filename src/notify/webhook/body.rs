//! The JSON that receivers of webhooks get.

use serde_json::{Value, json};

use crate::notify::story::{self, Story};
use crate::notify::{Outgoing, Retry, SendError, fields};
use crate::store::rfc3339;

/// At most so many bytes of log lines in a message; alerts beyond have none.
const LOG: usize = 128 * 1024;

/// All that is known; with `plain` nothing but text and time. Fields are only ever added.
pub(in crate::notify) fn full(message: &Outgoing, story: &Story, plain: bool) -> Value {
    let notification = &message.notification;
    if plain {
        return json!({ "text": story::text(story), "timestamp": rfc3339(notification.at) });
    }
    let mut body = envelope(message, story);
    body["text"] = json!(story::text(story));
    let mut room = LOG;
    let mut alerts: Vec<Value> = notification.items.iter().map(fields::alert).collect();
    for alert in &mut alerts {
        let lines = alert["lines"].as_array().into_iter().flatten().filter_map(Value::as_str);
        match room.checked_sub(lines.map(str::len).sum()) {
            Some(left) => room = left,
            None => alert["lines"] = json!([]),
        }
    }
    body["alerts"] = json!(alerts);
    if !notification.notices.is_empty() {
        body["notices"] = json!(fields::notices(message));
    }
    if let Some(report) = fields::report(message) {
        body["report"] = report;
    }
    body
}

/// For a receiver to whom the whole was too much: what happened, and which alerts it is about.
pub(super) fn short(message: &Outgoing, story: &Story, plain: bool) -> Value {
    if plain {
        let at = rfc3339(message.notification.at);
        return json!({ "text": story.title, "timestamp": at });
    }
    const KEPT: [&str; 7] = ["id", "event", "check", "kind", "severity", "opened", "resolved"];
    let mut body = envelope(message, story);
    body["text"] = json!(story.title);
    let alerts = message.notification.items.iter().map(|item| {
        let all = fields::alert(item);
        KEPT.iter().map(|key| ((*key).to_owned(), all[*key].clone())).collect::<Value>()
    });
    body["alerts"] = alerts.collect();
    body
}

fn envelope(message: &Outgoing, story: &Story) -> Value {
    let notification = &message.notification;
    json!({
        "subject": story.title,
        "timestamp": rfc3339(notification.at),
        "event": fields::event(message),
        "status": fields::status(message),
        "severity": notification.severity(),
        "host": notification.host,
        "labels": *notification.labels,
        "id": message.key,
        "delayed_seconds": message.delayed.map(|d| d.as_secs()),
        "omitted": notification.omitted,
        "agent": { "name": "keepwell", "version": env!("CARGO_PKG_VERSION") },
    })
}

/// As it is sent.
pub(super) fn written(body: &Value) -> Result<Vec<u8>, SendError> {
    serde_json::to_vec(body).map_err(|error| SendError {
        retry: Retry::Never,
        text: format!("the message cannot be written as JSON: {error}"),
    })
}
