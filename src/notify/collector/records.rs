//! A message as log records: one for each alert and notice, one for a report or a test.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::logs::{AnyValue, LogRecord, Severity};
use opentelemetry_sdk::logs::SdkLogRecord;

use super::super::Outgoing;
use super::super::story::{self, Part, Story};
use crate::engine::alert::{AlertRecord, Happening, Item, Notice};
use crate::engine::time::Wall;
use crate::engine::words::{CheckId, CheckKind, Severity as How};
use crate::store::rfc3339;

/// So many alerts and notices have a record each; the others are counted in the last one.
pub(in crate::notify) const MOST: usize = 1_000;
/// Characters of what else the outside says.
const WORDS: usize = 400;

/// The records of a message, in its order. `new` makes an empty one.
pub(in crate::notify) fn records(
    message: &Outgoing,
    new: &dyn Fn() -> SdkLogRecord,
) -> Vec<SdkLogRecord> {
    let notification = &*message.notification;
    let story = story::compose(message);
    let start = |event, at, how| Draft::start(new(), event, at, how, message);
    if notification.report.is_some() {
        return vec![report(
            start("keepwell.report", notification.at, How::Healthy),
            message,
            &story,
        )];
    }
    let mut records = Vec::new();
    let news = notification.items.len() + notification.notices.len();
    for (item, part) in notification.items.iter().zip(&story.parts).take(MOST) {
        let (at, how) = when_and_how(item);
        records.push(alert(start("keepwell.alert", at, how), item, part));
    }
    let parts = story.parts.iter().skip(notification.items.len());
    for (one, part) in notification.notices.iter().zip(parts).take(MOST - records.len()) {
        let draft = start("keepwell.notice", one.at, How::Healthy);
        records.push(notice(draft, one, part));
    }
    if let Some(left @ 1..) = news.checked_sub(MOST) {
        let how = notification.severity();
        let mut draft = start("keepwell.more", notification.at, how);
        draft.body(format!("and {left} more: keepwell alerts shows all"));
        draft.int("keepwell.message.left_out", left);
        records.push(draft.record);
    }
    if notification.omitted > 0 {
        let mut draft = start("keepwell.omitted", notification.at, How::Healthy);
        let omitted = notification.omitted as usize;
        let one = if omitted == 1 { "alert" } else { "alerts" };
        draft.body(format!("{omitted} more {one} began and ended before this could be told"));
        draft.int("keepwell.message.omitted", omitted);
        records.push(draft.record);
    }
    if records.is_empty() {
        let mut draft = start("keepwell.test", notification.at, How::Healthy);
        draft.body(story.title);
        records.push(draft.record);
    }
    records
}

/// When what a record tells happened, and how bad it is: what is over, or looked after, is no
/// reason to act.
fn when_and_how(item: &Item) -> (Wall, How) {
    let alert = &item.alert;
    match story::told_as(item) {
        Happening::Opened => (alert.opened, alert.severity),
        Happening::Resolved => (alert.resolved.unwrap_or(item.since), How::Healthy),
        Happening::Acknowledged | Happening::Restarted => (item.since, How::Healthy),
        Happening::Worse
        | Happening::Better
        | Happening::Reminded
        | Happening::Escalated
        | Happening::GaveUp => (item.since, alert.severity),
    }
}

/// A record that is being written.
struct Draft {
    record: SdkLogRecord,
}

impl Draft {
    fn start(
        mut record: SdkLogRecord,
        event: &'static str,
        at: Wall,
        how: How,
        message: &Outgoing,
    ) -> Self {
        let (number, text) = match how {
            How::Critical => (Severity::Error, "critical"),
            How::Warning => (Severity::Warn, "warning"),
            How::Healthy | How::Unknown => (Severity::Info, "info"),
        };
        record.set_event_name(event);
        record.set_timestamp(moment(at));
        record.set_severity_number(number);
        record.set_severity_text(text);
        let mut draft = Self { record };
        // The same again when it is repeated: who reads can tell.
        draft.text("keepwell.message.id", &message.key);
        draft.text("keepwell.message.kind", message.notification.gist.as_str());
        if let Some(late) = message.delayed {
            draft.record.add_attribute("keepwell.message.delay", late.as_secs_f64());
        }
        draft
    }

    fn body(&mut self, text: String) {
        self.record.set_body(AnyValue::from(text));
    }

    fn text(&mut self, key: &'static str, value: &str) {
        self.record.add_attribute(key, story::short(value, WORDS));
    }

    fn int(&mut self, key: &'static str, value: usize) {
        self.record.add_attribute(key, i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// What it is about, by the names that measurements have as well.
    fn about(&mut self, check: &CheckId) {
        self.text("keepwell.check", &check.to_string());
        let key = match check.kind {
            CheckKind::Unit => "systemd.unit.name",
            CheckKind::Disk | CheckKind::Inodes => "system.filesystem.mountpoint",
            CheckKind::Heartbeat => "file.path",
            _ => return,
        };
        self.text(key, &check.name);
    }
}

fn alert(mut draft: Draft, item: &Item, part: &Part) -> SdkLogRecord {
    let alert = &item.alert;
    let over = item.happening == Happening::Resolved;
    draft.body(part.heading.clone());
    draft.about(&alert.key.check);
    draft.text("keepwell.alert.id", &alert.id);
    draft.text("keepwell.alert.kind", alert.key.kind.as_str());
    draft.text("keepwell.alert.event", story::told_as(item).as_str());
    draft.text("keepwell.alert.status", if over { "resolved" } else { "firing" });
    draft.text("keepwell.severity", alert.severity.as_str());
    draft.text("keepwell.reason", alert.reason.as_str());
    draft.text("keepwell.alert.opened", &rfc3339(alert.opened));
    if let Some(end) = alert.resolved {
        draft.text("keepwell.alert.resolved", &rfc3339(end));
    }
    if let Some(why) = alert.ended {
        draft.text("keepwell.alert.ended", why.as_str());
    }
    if let Some(lasted) = story::lasted(alert) {
        draft.record.add_attribute("keepwell.alert.duration", lasted.as_secs_f64());
    }
    if let Some(cause) = &alert.cause {
        draft.text("keepwell.cause", cause);
    }
    if alert.flapping {
        draft.record.add_attribute("keepwell.alert.flapping", true);
    }
    // Of very many, and of what stands beneath a cause, the body says enough.
    if !part.facts.is_empty() {
        in_full(&mut draft, alert, part);
    }
    draft.record
}

fn in_full(draft: &mut Draft, alert: &AlertRecord, part: &Part) {
    draft.text("keepwell.reason.meaning", alert.reason.meaning());
    draft.text("keepwell.alert.summary", &alert.summary);
    if let Some(ack) = &alert.ack {
        draft.text("keepwell.alert.acknowledged_by", &ack.actor.0);
    }
    if let Some(act) = alert.acts.last() {
        draft.text("keepwell.alert.last_act", &act.text);
    }
    if let Some(next) = &alert.next {
        draft.text("keepwell.alert.next", next);
    }
    if let Some(command) = &part.command {
        draft.text("keepwell.alert.command", command);
    }
    if !part.lines.is_empty() {
        draft.record.add_attribute("keepwell.alert.log", part.lines.join("\n"));
    }
}

fn notice(mut draft: Draft, notice: &Notice, part: &Part) -> SdkLogRecord {
    draft.body(part.heading.clone());
    draft.about(&notice.check);
    draft.text("keepwell.notice.event", notice.event.as_str());
    draft.record
}

/// The whole report as text; its counts to reckon with.
fn report(mut draft: Draft, message: &Outgoing, story: &Story) -> SdkLogRecord {
    draft.body(story::text(story));
    if let Some(report) = &message.notification.report {
        let names = [
            "keepwell.report.healthy",
            "keepwell.report.unknown",
            "keepwell.report.warning",
            "keepwell.report.critical",
        ];
        for (name, count) in names.into_iter().zip(report.counts) {
            draft.int(name, count);
        }
        draft.int("keepwell.report.opened", report.opened as usize);
        draft.int("keepwell.report.resolved", report.resolved as usize);
        draft.int("keepwell.report.restarts", report.restarts as usize);
        draft.text("keepwell.report.since", &rfc3339(report.since));
    }
    draft.record
}

fn moment(at: Wall) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(at.0).unwrap_or(0))
}
