//! A message as named fields: what the JSON of the webhook has, and what templates can use.

use serde_json::{Value, json};

use super::Outgoing;
use super::story::{self, Story};
use crate::engine::alert::Item;
use crate::engine::time::{Human, Wall};
use crate::engine::words::CheckKind;
use crate::store::rfc3339;

/// Characters of a log line.
const LINE: usize = 2000;

/// One alert of a message.
pub(super) fn alert(item: &Item) -> Value {
    let alert = &item.alert;
    let check = &alert.key.check;
    json!({
        "id": alert.id,
        "event": story::told_as(item).as_str(),
        "opening": item.opening,
        "beneath": item.beneath,
        "cause": alert.cause,
        "check": check,
        "kind": alert.key.kind,
        "unit": (check.kind == CheckKind::Unit).then_some(&check.name),
        "severity": alert.severity,
        "reason": alert.reason,
        "reason_text": alert.reason.meaning(),
        "summary": cut(&alert.summary),
        "opened": rfc3339(alert.opened),
        "resolved": alert.resolved.map(|at: Wall| rfc3339(at)),
        "ended": alert.ended,
        "downtime_seconds": story::lasted(alert).map(|d| d.as_micros() as f64 / 1e6),
        "flapping": alert.flapping,
        "acknowledged": alert.ack.as_ref().map(|ack| json!({
            "by": ack.actor,
            "at": rfc3339(ack.at),
            "why": ack.why,
            "until": ack.until.map(rfc3339),
        })),
        "lines": alert.lines.iter().map(|line| cut(line)).collect::<Vec<_>>(),
        "acts": alert.acts.iter().map(|a| json!({
            "at": rfc3339(a.at), "by": a.by, "text": cut(&a.text),
        })).collect::<Vec<_>>(),
        "next": alert.next,
        "command": story::command(alert),
    })
}

/// The report of a message.
pub(super) fn report(message: &Outgoing) -> Option<Value> {
    let report = message.notification.report.as_ref()?;
    let [healthy, unknown, warning, critical] = report.counts;
    Some(json!({
        "since": rfc3339(report.since),
        "counts": {
            "healthy": healthy, "unknown": unknown, "warning": warning, "critical": critical,
        },
        "opened": report.opened,
        "resolved": report.resolved,
        "restarts": report.restarts,
        "checks": report.checks.iter().map(|c| json!({
            "check": c.check,
            "severity": c.severity,
            "summary": cut(&c.summary),
            "since": rfc3339(c.since),
        })).collect::<Vec<_>>(),
    }))
}

/// The notices of a message.
pub(super) fn notices(message: &Outgoing) -> Vec<Value> {
    let notice = |n: &crate::engine::alert::Notice| {
        json!({
            "at": rfc3339(n.at),
            "check": n.check,
            "event": n.event.as_str(),
            "text": cut(&n.text),
        })
    };
    message.notification.notices.iter().map(notice).collect()
}

/// What happened, in one word: to the only alert, else to the message as a whole.
pub(super) fn event(message: &Outgoing) -> &'static str {
    match &message.notification.items[..] {
        [only] => story::told_as(only).as_str(),
        _ => message.notification.gist.as_str(),
    }
}

/// Whether something is still so; `info` for a message that is about no alert.
pub(super) fn status(message: &Outgoing) -> &'static str {
    let notification = &message.notification;
    match notification.items.is_empty() {
        true => "info",
        false if notification.is_all_over() => "resolved",
        false => "firing",
    }
}

/// Everything that a template can use. All texts are in one line and hold nothing that steers a
/// terminal; only the user knows for which markup they are to be escaped.
pub(super) fn context(message: &Outgoing, story: &Story) -> Value {
    let notification = &*message.notification;
    let alerts = notification.items.iter().map(|item| {
        let mut fields = alert(item);
        fields["happening"] = fields["event"].take();
        fields["ack"] = fields["acknowledged"].take();
        fields["downtime"] = json!(story::lasted(&item.alert).map(|d| Human(d).to_string()));
        fields["since"] = json!(story::moment(item.alert.opened));
        fields["name"] = json!(story::thing(&item.alert));
        let Value::Object(fields) = &mut fields else { return Value::Null };
        fields.remove("event");
        fields.remove("acknowledged");
        Value::Object(std::mem::take(fields))
    });
    let only = matches!(notification.items[..], [_]);
    let mut context = json!({
        "title": story.title,
        "tone": story.tone,
        "colour": story.tone.colour(),
        "sign": story.tone.sign(),
        "remarks": story.remarks,
        "parts": story.parts,
        "footer": story.footer,
        "gist": notification.gist.as_str(),
        "happening": only.then(|| event(message)),
        "status": status(message),
        "severity": notification.severity(),
        "host": notification.host,
        "labels": *notification.labels,
        "at": rfc3339(notification.at),
        "delayed": message.delayed.map(|d| Human(d).to_string()),
        "id": message.key,
        "channel": notification.channel,
        "alerts": alerts.collect::<Vec<_>>(),
        "notices": notices(message),
        "report": report(message),
        "omitted": notification.omitted,
    });
    clean(&mut context);
    // Of several lines, and clean already.
    context["text"] = json!(story::text(story));
    context
}

fn clean(value: &mut Value) {
    match value {
        Value::String(text) => *text = story::clean(text),
        Value::Array(all) => all.iter_mut().for_each(clean),
        Value::Object(all) => all.values_mut().for_each(clean),
        _ => {}
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LINE) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
