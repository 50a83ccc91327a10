//! The receivers of messages in the model: they take, refuse, or are down; and what must be true
//! of every message that reaches them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use keepwell::engine::event::Delivery;
use keepwell::engine::*;

const COOLDOWN: Duration = Duration::from_secs(900);
const PER_MINUTE: usize = 10;

/// What a channel knows, and what is on its way to it.
#[derive(Debug, Default)]
pub struct Receivers {
    /// Handed over and not delivered: at most one a channel; it survives keepwell.
    pub flying: BTreeMap<Arc<str>, (Notification, Boot)>,
    /// Channels that answer nothing.
    pub down: BTreeSet<Arc<str>>,
    /// Who was told of the beginning of which alert, and who of its end.
    opened: BTreeSet<(Arc<str>, Arc<str>)>,
    closed: BTreeSet<(Arc<str>, Arc<str>)>,
    /// When each was last told of what, and how bad it was.
    last: BTreeMap<(Arc<str>, AlertKey), (Wall, Severity)>,
    sent: BTreeMap<Arc<str>, VecDeque<Boot>>,
    pub delivered: usize,
}

impl Receivers {
    /// keepwell hands a message to a channel.
    pub fn handed(&mut self, n: Notification, now: Now, clock_jumped: bool) -> Result<(), String> {
        if n.items.is_empty() && n.notices.is_empty() && n.report.is_none() {
            return Err(format!("an empty message: {n:?}"));
        }
        if let Some((before, _)) = self.flying.get(&n.channel) {
            return Err(format!("{}: {} while {} is under way", n.channel, n.id, before.id));
        }
        let sent = self.sent.entry(n.channel.clone()).or_default();
        while sent.front().is_some_and(|at| now.boot.since(*at) >= Duration::from_secs(60)) {
            sent.pop_front();
        }
        sent.push_back(now.boot);
        if sent.len() > PER_MINUTE {
            return Err(format!("{}: more than {PER_MINUTE} messages in a minute", n.channel));
        }
        for item in &n.items {
            let alert = &item.alert;
            let story = (n.channel.clone(), alert.id.clone());
            let about = (n.channel.clone(), alert.key.clone());
            let opening = !self.opened.contains(&story);
            if item.opening != opening {
                return Err(format!("{story:?}: opening is {}, should be {opening}", item.opening));
            }
            if self.closed.contains(&story) {
                return Err(format!("{story:?}: {:?} after its end", item.happening));
            }
            if item.happening == Happening::Resolved {
                if alert.resolved.is_none() {
                    return Err(format!("{story:?}: told to be over while it is open"));
                }
                self.closed.insert(story.clone());
            } else if alert.severity < Severity::Warning {
                return Err(format!("told of what is no problem: {alert:?}"));
            }
            if opening && item.happening != Happening::Resolved
                && let Some((at, before)) = self.last.get(&about)
                    && !clock_jumped
                    && item.since.since(*at) < COOLDOWN
                    && alert.severity <= *before
                    && !alert.flapping
                    // What its cause's message shows anyway is no repeat.
                    && !item.beneath
            {
                return Err(format!("{about:?} was told twice within its cooldown"));
            }
            self.opened.insert(story);
            if matches!(item.happening, Happening::Opened | Happening::Worse) {
                self.last.insert(about, (item.since, alert.severity));
            }
            if item.beneath && !n.items.iter().any(|i| Some(&i.alert.id) == alert.cause.as_ref()) {
                return Err(format!("{} is beneath what is not there", alert.id));
            }
        }
        let due = now.boot.after(Duration::from_millis(20));
        self.flying.insert(n.channel.clone(), (n, due));
        Ok(())
    }

    /// When something is next delivered.
    pub fn due(&self) -> Option<Boot> {
        let up = self.flying.iter().filter(|(c, _)| !self.down.contains(*c));
        up.map(|(_, (_, at))| *at).min()
    }

    /// What is delivered by now.
    pub fn take_due(&mut self, now: Boot) -> Option<Outcome> {
        let ready = |(channel, (_, at)): &(&Arc<str>, &(Notification, Boot))| {
            *at <= now && !self.down.contains(*channel)
        };
        let channel = self.flying.iter().find(ready)?.0.clone();
        let (message, _) = self.flying.remove(&channel)?;
        self.delivered += 1;
        Some(Outcome::Delivery { channel, id: message.id, result: Delivery::Delivered })
    }

    /// keepwell was killed: what the outbox holds is sent again when it comes back, and its count
    /// of messages per minute starts afresh.
    pub fn again(&mut self, now: Boot) {
        self.sent.clear();
        for (_, at) in self.flying.values_mut() {
            *at = now.after(Duration::from_millis(20));
        }
    }

    /// All has been delivered and nothing is open: whoever was told of a beginning was told of the
    /// end, and an alert of which nobody was told has a reason for it.
    pub fn at_rest(&self, saved: &Saved, now: Wall) -> Result<(), String> {
        // What has just ended may be on its way.
        let before = now.before(Duration::from_secs(120));
        let over: BTreeSet<Arc<str>> = saved
            .alerts
            .iter()
            .filter(|a| a.resolved.is_some_and(|at| at < before))
            .map(|a| a.id.clone())
            .collect();
        for story in &self.opened {
            if over.contains(&story.1) && !self.closed.contains(story) {
                return Err(format!("{story:?} was told of the beginning, and not of the end"));
            }
        }
        for alert in &saved.alerts {
            let told = self.opened.iter().any(|(_, id)| *id == alert.id);
            if !told && alert.untold.is_none() && alert.opened < before {
                return Err(format!("nobody was told of {alert:?}, and it has no reason"));
            }
        }
        Ok(())
    }
}
