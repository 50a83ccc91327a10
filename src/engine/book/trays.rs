//! What waits for each channel, and when it goes out: everything that waits for a channel goes out
//! as one message, and the next is made only when that one has been delivered. So a channel that is
//! down, slow, or at its limit collects changes here, one per alert, and loses none.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::telling::usual;
use super::{Book, Pen, note, presses};
use crate::engine::alert::{
    AlertKey, AlertRecord, Gist, Happening, Item, Notice, Notification, Pending, Report,
};
use crate::engine::event::{Delivery, Effect};
use crate::engine::rules::Rules;
use crate::engine::time::{Boot, Wall};
use crate::engine::timers::Timer;
use crate::engine::view::{ChannelState, ChannelView};
use crate::engine::words::{CheckKind, Reason, Severity};

const MINUTE: Duration = Duration::from_secs(60);
/// The first and the longest time between messages that come in a row.
const FIRST_GAP: Duration = Duration::from_secs(1);
const LONGEST_GAP: Duration = Duration::from_secs(10);
/// And after that, while each of them tells of more than [`STORM`] alerts.
const STORM_GAP: Duration = Duration::from_secs(30);
/// So many alerts in one message are read one by one.
const STORM: usize = 20;
/// Alerts in one message.
const ITEMS: usize = 500;
/// Alerts in one message that carry their log lines.
const WITH_LINES: usize = STORM;
/// Notices that wait for a channel.
const NOTICES: usize = 50;
/// Stories that are over and that wait to be told; older ones give way when their channel was
/// never told of them at all.
const ENDED: usize = 512;

/// What waits for one channel, besides what the alerts themselves say.
#[derive(Debug, Default)]
pub(super) struct Tray {
    /// When what waits is to go out.
    due: Option<Boot>,
    /// What has been handed over and is not known to be delivered.
    flying: Vec<Flying>,
    /// When messages went out within the last minute.
    sent: VecDeque<Boot>,
    /// It had to wait because of its limit.
    capped: bool,
    /// How long the next message waits after the last: longer from one to the next while they
    /// come in a row, so that what goes on for a while is a handful of messages.
    gap: Duration,
    /// What waits was so when keepwell first came to this host.
    pub(super) digest: bool,
    notices: VecDeque<Notice>,
    omitted: u32,
    report: Option<Report>,
    state: Option<ChannelState>,
    delivered: u64,
    failed: u64,
    last_success: Option<Wall>,
    last_failure: Option<Wall>,
    last_error: Option<Arc<str>>,
    last_latency: Option<Duration>,
}

#[derive(Debug)]
struct Flying {
    id: Arc<str>,
    at: Wall,
    /// The alerts it tells the beginning of.
    opens: Vec<Arc<str>>,
    /// All alerts that it tells something of.
    alerts: Vec<Arc<str>>,
    /// How many news there are in it.
    items: usize,
}

impl Tray {
    /// A message that the outbox still held at the start.
    pub(super) fn takes_up(&mut self, message: &Notification) {
        self.flying.push(flying(message));
    }

    fn is_empty(&self) -> bool {
        self.notices.is_empty() && self.report.is_none()
    }
}

fn flying(message: &Notification) -> Flying {
    let opens = message.items.iter().filter(|i| i.opening).map(|i| i.alert.id.clone());
    Flying {
        id: message.id.clone(),
        at: message.at,
        opens: opens.collect(),
        alerts: message.items.iter().map(|i| i.alert.id.clone()).take(ITEMS).collect(),
        items: message.items.len() + message.notices.len() + usize::from(message.report.is_some()),
    }
}

impl Book {
    /// Puts something about an open alert into a channel's tray; it folds into what waits there.
    pub(super) fn put(
        &mut self,
        key: &AlertKey,
        channel: &Arc<str>,
        happening: Happening,
        pen: &mut Pen<'_>,
    ) {
        let Some(open) = self.open.get_mut(key) else { return };
        let record = &mut open.record;
        let Some(rule) = pen.channel(channel) else {
            record.told.retain(|c| c != channel);
            record.pending.retain(|p| p.channel != *channel);
            return;
        };
        if happening == Happening::Resolved && !rule.send_resolved {
            record.pending.retain(|p| p.channel != *channel);
            if record.told.is_empty() && record.pending.is_empty() && record.untold.is_none() {
                record.untold = Some(Reason::OverBeforeTold);
            }
            return;
        }
        let opening = !record.told.contains(channel);
        match record.pending.iter_mut().find(|p| p.channel == *channel) {
            Some(waiting) => waiting.happening = fold(waiting.happening, happening),
            None => record.pending.push(Pending {
                channel: channel.clone(),
                happening,
                opening,
                since: pen.now.wall,
            }),
        }
        let decided = matches!(happening, Happening::Opened | Happening::Worse);
        let wait = if decided { Duration::ZERO } else { pen.group_wait() };
        let digest = rule.digest.filter(|_| !presses(record) && !pen.eager);
        self.tray_due(channel, digest.map_or(wait, |d| d.max(wait)), pen);
    }

    /// What waits for a channel goes out after this at the latest.
    fn tray_due(&mut self, channel: &Arc<str>, wait: Duration, pen: &mut Pen<'_>) {
        let tray = self.trays.entry(channel.clone()).or_default();
        let at = pen.now.boot.after(wait);
        let at = tray.due.map_or(at, |due| due.min(at));
        tray.due = Some(at);
        if tray.flying.is_empty() {
            pen.timers.set(Timer::Post(channel.clone()), at);
        }
    }

    /// The first round is over: what had to wait for it goes out.
    pub(super) fn release(&mut self, pen: &mut Pen<'_>) {
        for (channel, tray) in &self.trays {
            if let Some(due) = tray.due
                && tray.flying.is_empty()
            {
                pen.timers.set(Timer::Post(channel.clone()), due.max(pen.now.boot));
            }
        }
    }

    /// Makes the next message of a channel out of all that waits for it.
    pub(in crate::engine) fn post(&mut self, channel: &Arc<str>, pen: &mut Pen<'_>) {
        let hurried = self.hurried;
        let (Some(rule), Some(tray)) = (pen.channel(channel).cloned(), self.trays.get_mut(channel))
        else {
            return;
        };
        let now = pen.now;
        let timer = Timer::Post(channel.clone());
        if !tray.flying.is_empty() {
            return; // Its delivery goes on from here.
        }
        if pen.eager && !hurried {
            return; // One message at the end of the round.
        }
        if !pen.ready {
            // What the host is about, such as a shutdown, may not be known yet.
            match pen.patience {
                Some(at) => pen.timers.set(timer, at),
                None => pen.timers.clear(&timer),
            }
            return;
        }
        // The kind of check that only a shutdown or a sleep holds back.
        if let Some(wait) = pen.quiet.standing(CheckKind::Agent, now) {
            pen.timers.set(timer, wait.again);
            return;
        }
        while tray.sent.front().is_some_and(|at| now.boot.since(*at) >= MINUTE) {
            tray.sent.pop_front();
        }
        if tray.sent.len() >= rule.max_per_minute.max(1) as usize
            && let Some(first) = tray.sent.front()
        {
            tray.capped = true;
            pen.timers.set(timer, first.after(MINUTE));
            return;
        }
        if let Some(last) = tray.sent.back()
            && now.boot.since(*last) < tray.gap
        {
            pen.timers.set(timer, last.after(tray.gap));
            return;
        }
        let (items, more) = self.items(channel, pen);
        let number = self.number();
        let Some(tray) = self.trays.get_mut(channel) else { return };
        if items.is_empty() && tray.is_empty() {
            tray.due = None;
            tray.digest = false;
            tray.capped = false;
            return;
        }
        let alone = items.is_empty() && tray.notices.is_empty();
        let report = if alone { tray.report.take() } else { None };
        let gist = match () {
            () if report.is_some() => Gist::Report,
            () if tray.digest => Gist::Digest,
            () if tray.capped && items.len() + tray.notices.len() > 1 => Gist::Summary,
            () => Gist::Alerts,
        };
        let message = Notification {
            // The time keeps it unique also when the database, and with it the number, is lost.
            id: format!("m{number}.{}", now.wall.0).into(),
            channel: channel.clone(),
            gist,
            at: now.wall,
            host: pen.rules.host.clone(),
            labels: pen.labels.clone(),
            items,
            notices: tray.notices.drain(..).collect(),
            omitted: std::mem::take(&mut tray.omitted),
            report,
        };
        tray.capped = false;
        tray.digest = more && tray.digest;
        tray.due = (more || tray.report.is_some()).then_some(now.boot);
        let in_a_row = 2 * tray.gap.max(LONGEST_GAP);
        let in_a_row = tray.sent.back().is_some_and(|last| now.boot.since(*last) < in_a_row);
        tray.gap = if !in_a_row {
            FIRST_GAP
        } else if tray.gap >= LONGEST_GAP && message.items.len() > STORM {
            STORM_GAP
        } else {
            (tray.gap * 3).min(LONGEST_GAP)
        };
        tray.sent.push_back(now.boot);
        tray.flying.push(flying(&message));
        pen.effects.push(Effect::Notify(message));
    }

    /// Takes what waits for a channel out of the alerts, worst first, causes before what is beneath
    /// them, ends last. Also whether more is left.
    fn items(&mut self, channel: &Arc<str>, pen: &mut Pen<'_>) -> (Vec<Item>, bool) {
        let open_ids: BTreeSet<Arc<str>> =
            self.open.values().map(|o| o.record.id.clone()).collect();
        let waiting =
            |record: &AlertRecord| record.pending.iter().find(|p| p.channel == *channel).cloned();
        let mut found: Vec<(Pending, AlertRecord)> = Vec::new();
        for record in self.open.values().map(|o| &o.record).chain(self.ended.values()) {
            if let Some(pending) = waiting(record) {
                found.push((pending, record.clone()));
            }
        }
        let ids: BTreeSet<Arc<str>> = found.iter().map(|(_, r)| r.id.clone()).collect();
        let rank = |pending: &Pending, record: &AlertRecord| {
            let over = pending.happening == Happening::Resolved;
            (over, std::cmp::Reverse(record.severity), record.opened, record.id.clone())
        };
        let ranks: BTreeMap<Arc<str>, _> =
            found.iter().map(|(p, r)| (r.id.clone(), rank(p, r))).collect();
        let beneath = |record: &AlertRecord| {
            record.cause.clone().filter(|cause| ids.contains(cause) && *cause != record.id)
        };
        found.sort_by_cached_key(|(pending, record)| {
            let own = rank(pending, record);
            match beneath(record).and_then(|cause| ranks.get(&cause)) {
                Some(above) => (above.clone(), true, own),
                None => (own.clone(), false, own),
            }
        });
        let more = found.len() > ITEMS;
        found.truncate(ITEMS);
        let mut items = Vec::with_capacity(found.len());
        for (pending, record) in found {
            let beneath = beneath(&record).is_some();
            let mut alert = self.handed(&record, channel, &open_ids, pen);
            if items.len() >= WITH_LINES {
                alert.lines.clear();
            }
            items.push(Item {
                happening: pending.happening,
                opening: pending.opening,
                since: pending.since,
                beneath,
                alert,
            });
        }
        (items, more)
    }

    /// Notes in an alert that its channel gets what waits for it; the alert as the message has it.
    fn handed(
        &mut self,
        record: &AlertRecord,
        channel: &Arc<str>,
        open_ids: &BTreeSet<Arc<str>>,
        pen: &mut Pen<'_>,
    ) -> AlertRecord {
        let is_open = open_ids.contains(&record.id);
        let kept = if is_open {
            self.open.get_mut(&record.key).map(|o| &mut o.record)
        } else {
            self.ended.get_mut(&record.id)
        };
        let Some(kept) = kept else { return record.clone() };
        kept.pending.retain(|p| p.channel != *channel);
        if !kept.told.contains(channel) {
            kept.told.push(channel.clone());
        }
        pen.keep(kept);
        let mut alert = kept.clone();
        alert.pending.clear();
        if !is_open
            && kept.pending.is_empty()
            && let Some(over) = self.ended.remove(&record.id)
        {
            self.remember(over);
        }
        alert
    }

    /// How a try to deliver went. A test has an id that is not under way: it is counted, and says
    /// how the channel does.
    pub(in crate::engine) fn delivery(
        &mut self,
        channel: &Arc<str>,
        id: &str,
        result: &Delivery,
        pen: &mut Pen<'_>,
    ) {
        let now = pen.now;
        if pen.channel(channel).is_none() {
            return;
        }
        let tray = self.trays.entry(channel.clone()).or_default();
        let at = tray.flying.iter().position(|f| *f.id == *id);
        match result {
            Delivery::Delivered => {
                tray.delivered += 1;
                tray.state = Some(ChannelState::Works);
                tray.last_success = Some(now.wall);
                tray.last_error = None;
                if let Some(i) = at {
                    tray.last_latency = Some(now.wall.since(tray.flying[i].at));
                }
            }
            Delivery::Failed(why) | Delivery::Refused(why) | Delivery::Stopped(why) => {
                tray.failed += 1;
                tray.last_failure = Some(now.wall);
                tray.last_error = Some(why.as_str().into());
                tray.state = Some(match result {
                    Delivery::Stopped(_) => ChannelState::Stopped,
                    Delivery::Refused(_) => ChannelState::Refused,
                    _ => ChannelState::Failing,
                });
            }
        }
        let Some(at) = at else { return };
        if matches!(result, Delivery::Failed(_) | Delivery::Stopped(_)) {
            return;
        }
        let over = tray.flying.remove(at);
        if tray.flying.is_empty()
            && let Some(due) = tray.due
        {
            pen.timers.set(Timer::Post(channel.clone()), due.max(now.boot));
        }
        if let Delivery::Refused(why) = result {
            self.refused(channel, &over.opens, why, pen);
        }
    }

    /// A channel will never take a message: who was to learn of a beginning by it does not know.
    fn refused(&mut self, channel: &Arc<str>, opens: &[Arc<str>], why: &str, pen: &mut Pen<'_>) {
        let text = format!("channel {channel} refused the message: {why}");
        let now = pen.now.wall;
        let records = self.open.values_mut().map(|o| &mut o.record).chain(self.ended.values_mut());
        let mut logs = Vec::new();
        for record in records.filter(|r| opens.contains(&r.id)) {
            record.told.retain(|c| c != channel);
            record
                .pending
                .iter_mut()
                .filter(|p| p.channel == *channel)
                .for_each(|p| p.opening = true);
            if record.resolved.is_some() {
                record.pending.retain(|p| p.channel != *channel);
            }
            if record.told.is_empty() && record.pending.is_empty() {
                record.untold = Some(Reason::DeliveryRefused);
            }
            note(record, now, None, &text);
            pen.changes.push(crate::engine::saved::Change::Alert(record.clone()));
            logs.push(record.key.check.clone());
        }
        for check in logs {
            pen.log(&check, Reason::DeliveryRefused, text.clone());
        }
        self.forget_ended();
    }

    fn forget_ended(&mut self) {
        let done: Vec<Arc<str>> = self
            .ended
            .iter()
            .filter(|(_, r)| r.pending.is_empty())
            .map(|(id, _)| id.clone())
            .collect();
        for id in done {
            if let Some(record) = self.ended.remove(&id) {
                self.remember(record);
            }
        }
    }

    /// Stories that are over, and that their channel never heard of, give way when there are too
    /// many; how many is said in its next message.
    pub(super) fn give_way(&mut self, pen: &mut Pen<'_>) {
        while self.ended.len() > ENDED {
            let untold = self.ended.values().filter(|r| r.pending.iter().all(|p| p.opening));
            let Some(id) = untold.min_by_key(|r| r.resolved).map(|r| r.id.clone()) else { return };
            let Some(mut record) = self.ended.remove(&id) else { return };
            for pending in record.pending.drain(..) {
                let tray = self.trays.entry(pending.channel).or_default();
                tray.omitted = tray.omitted.saturating_add(1);
            }
            if record.told.is_empty() {
                record.untold = Some(Reason::OverBeforeTold);
            }
            pen.keep(&record);
            self.remember(record);
        }
    }

    /// A notice, for the channels that ask for them.
    pub(in crate::engine) fn notice(&mut self, notice: &Notice, pen: &mut Pen<'_>) {
        let silent = |s: &crate::engine::saved::Silence| {
            s.until > pen.now.wall
                && s.matcher.matches(&notice.check, Severity::Warning, pen.labels)
        };
        if self.silences.iter().any(silent) {
            return;
        }
        let usual = usual(pen);
        let wanting: Vec<Arc<str>> = pen
            .rules
            .channels
            .iter()
            .filter(|c| c.notices && usual.contains(&c.name))
            .map(|c| c.name.clone())
            .collect();
        let wait = pen.group_wait();
        for channel in wanting {
            let digest = pen.channel(&channel).and_then(|c| c.digest).unwrap_or_default();
            let tray = self.trays.entry(channel.clone()).or_default();
            if tray.notices.len() == NOTICES {
                tray.notices.pop_front();
                tray.omitted = tray.omitted.saturating_add(1);
            }
            tray.notices.push_back(notice.clone());
            self.tray_due(&channel, wait.max(digest), pen);
        }
    }

    /// The periodic report, for these channels (none: all that are told of alerts).
    pub(in crate::engine) fn report(
        &mut self,
        report: &Report,
        channels: &[Arc<str>],
        pen: &mut Pen<'_>,
    ) {
        let names = if channels.is_empty() { usual(pen) } else { channels.to_vec() };
        for name in names {
            if pen.channel(&name).is_none() {
                continue;
            }
            self.trays.entry(name.clone()).or_default().report = Some(report.clone());
            self.tray_due(&name, Duration::ZERO, pen);
        }
    }

    /// Channels that the configuration no longer has are forgotten; what waits for the others is
    /// sent, and those that were stopped may try again.
    pub(super) fn forget_channels(&mut self, pen: &mut Pen<'_>) {
        let known: BTreeSet<Arc<str>> = pen.rules.channels.iter().map(|c| c.name.clone()).collect();
        self.trays.retain(|name, _| known.contains(name));
        let mut waiting: BTreeSet<Arc<str>> = BTreeSet::new();
        let records = self.open.values_mut().map(|o| &mut o.record).chain(self.ended.values_mut());
        for record in records {
            let before = record.pending.len() + record.told.len();
            record.pending.retain(|p| known.contains(&p.channel));
            record.told.retain(|c| known.contains(c));
            waiting.extend(record.pending.iter().map(|p| p.channel.clone()));
            if before != record.pending.len() + record.told.len() {
                if record.told.is_empty() && record.pending.is_empty() && record.untold.is_none() {
                    // Nobody knows of it any more: who is to be told is asked again.
                    record.untold = Some(Reason::NoChannel);
                }
                pen.changes.push(crate::engine::saved::Change::Alert(record.clone()));
            }
        }
        self.forget_ended();
        for (name, tray) in &mut self.trays {
            if tray.state == Some(ChannelState::Stopped) {
                tray.state = Some(ChannelState::Failing);
            }
            if !tray.is_empty() {
                waiting.insert(name.clone());
            }
        }
        for channel in waiting {
            self.tray_due(&channel, Duration::ZERO, pen);
        }
    }

    /// How the channels do.
    pub(in crate::engine) fn channels(&self, rules: &Rules) -> Vec<ChannelView> {
        let none = Tray::default();
        let records: Vec<&AlertRecord> =
            self.open.values().map(|o| &o.record).chain(self.ended.values()).collect();
        rules
            .channels
            .iter()
            .map(|rule| {
                let tray = self.trays.get(&rule.name).unwrap_or(&none);
                let pending = records
                    .iter()
                    .filter(|r| r.pending.iter().any(|p| p.channel == rule.name))
                    .count();
                let under_way = tray.flying.iter().flat_map(|f| &f.alerts);
                let mut carries: Vec<Arc<str>> = under_way.cloned().collect();
                carries.sort();
                let flying: usize = tray.flying.iter().map(|f| f.items.max(1)).sum();
                ChannelView {
                    name: rule.name.clone(),
                    kind: rule.kind.clone(),
                    min_severity: rule.min_severity,
                    notices: rule.notices,
                    state: tray.state.unwrap_or(ChannelState::Untried),
                    queued: pending
                        + flying
                        + tray.notices.len()
                        + usize::from(tray.report.is_some()),
                    carries,
                    sent: tray.delivered,
                    failed: tray.failed,
                    last_success: tray.last_success,
                    last_failure: tray.last_failure,
                    last_error: tray.last_error.clone(),
                    last_latency: tray
                        .last_latency
                        .map(|d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX)),
                }
            })
            .collect()
    }
}

/// What is left to tell when something else happens before the former was told.
fn fold(waiting: Happening, new: Happening) -> Happening {
    use Happening::{
        Acknowledged, Better, Escalated, GaveUp, Opened, Reminded, Resolved, Restarted, Worse,
    };
    match (waiting, new) {
        (_, Resolved) => Resolved,
        (Opened, GaveUp) => GaveUp,
        (Opened, _) => Opened,
        (former, Reminded | Restarted) => former,
        (Worse | GaveUp | Escalated, Acknowledged) => waiting,
        (GaveUp, Better) => Better,
        (_, new) => new,
    }
}
