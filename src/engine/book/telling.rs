//! Whether people are told of an open alert, and who; or why not, and when that is asked again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Book, Pen, known_to};
use crate::engine::alert::{AlertKey, AlertRecord, Happening};
use crate::engine::calendar::Weekly;
use crate::engine::files::CHANNEL;
use crate::engine::time::{Boot, Wall};
use crate::engine::timers::Timer;
use crate::engine::words::{AlertKind, CheckId, CheckKind, Reason};

/// What a unit cannot do without, by its name.
pub(in crate::engine) type Graph<'a> = &'a dyn Fn(&str) -> Vec<Arc<str>>;

/// When the cause of an alert has gone, what needed it gets this long to come back too.
pub(super) const AFTER_CAUSE: Duration = Duration::from_secs(30);
/// What waits for a time of the wall clock is asked again at least this often: the clock may jump.
const WALL: Duration = Duration::from_secs(15 * 60);
/// Decisions about alerts that wait are at least so far apart.
const TOGETHER: Duration = Duration::from_millis(50);
/// From one unit to what it needs, at most so far.
const DEPTH: usize = 8;

/// Why an alert is not told now, and when that is to be asked again.
type Mute = (Reason, Option<Boot>);

impl Book {
    /// When it is decided again.
    pub(super) fn arm(&mut self, pen: &mut Pen<'_>) {
        match self.due {
            Some(at) => pen.timers.set(Timer::Decide, at),
            None => pen.timers.clear(&Timer::Decide),
        }
    }

    /// Nothing is waited for any more that may come or not, such as log lines.
    pub(in crate::engine) fn hurry(&mut self, pen: &mut Pen<'_>) {
        self.open.values_mut().for_each(|open| open.not_before = None);
        self.hurried = true;
        self.wake(pen);
    }

    /// Something that held alerts back has changed.
    pub(in crate::engine) fn wake(&mut self, pen: &mut Pen<'_>) {
        self.due_after(Duration::ZERO, pen);
        self.arm(pen);
        self.release(pen);
        for key in self.keys() {
            self.arm_nag(&key, pen);
        }
    }

    /// It is known whether a package manager is at work: who waited for that need not any more.
    pub(in crate::engine) fn answered(&mut self, pen: &mut Pen<'_>) {
        if std::mem::take(&mut self.awaits_answer) {
            self.wake(pen);
        }
    }

    /// Decides about all alerts that nobody knows of, together: what opened within the wait goes
    /// out as one message, causes first.
    pub(in crate::engine) fn decide(&mut self, requires: Graph<'_>, pen: &mut Pen<'_>) {
        self.due = None;
        self.mend_clock(pen.now.wall);
        if pen.eager && !self.hurried {
            return; // One message at the end of the round.
        }
        if !pen.ready {
            // The end of the first round decides, when everything has been looked at.
            self.due = pen.patience;
            return self.arm(pen);
        }
        if self.collecting {
            return self.first_round_over(pen); // It takes too long; this decides anew.
        }
        if self.digest {
            // One message, with the log lines of all.
            let last = self.open.values().filter_map(|o| o.not_before).max();
            if let Some(at) = last.filter(|at| *at > pen.now.boot) {
                self.due = Some(at);
                return self.arm(pen);
            }
        }
        // Of what was refused, or was over before it had to be told, nothing more is said.
        let asks = |why: Option<Reason>| {
            why.is_some_and(|w| !matches!(w, Reason::DeliveryRefused | Reason::OverBeforeTold))
        };
        let untold: Vec<AlertKey> = self
            .open
            .iter()
            .filter(|(_, o)| asks(o.record.untold) && o.seen)
            .map(|(key, _)| key.clone())
            .collect();
        let mut causes: BTreeMap<AlertKey, AlertKey> = BTreeMap::new();
        for key in &untold {
            if let Some(cause) = self.cause_of(key, requires) {
                causes.insert(key.clone(), cause);
            }
        }
        // Units that need each other: the one that failed first counts as the cause.
        let mut by_age: Vec<&AlertKey> = untold.iter().collect();
        by_age.sort_by_key(|key| self.open.get(*key).map(|o| o.record.opened));
        for key in by_age {
            if causes.get(key).is_some_and(|cause| causes.contains_key(cause)) {
                causes.remove(key);
            }
        }
        // Causes first: what is beneath them goes to the same channels.
        let (dependants, own): (Vec<_>, Vec<_>) =
            untold.into_iter().partition(|key| causes.contains_key(key));
        let mut told_now = Vec::new();
        for key in own {
            if self.tell_or_mute(&key, pen) {
                told_now.push(key);
            }
        }
        for key in dependants {
            let Some(cause) = causes.get(&key) else { continue };
            self.beneath(&key, cause, told_now.contains(cause), pen);
        }
        self.tell_rises(pen);
        self.tell_further(pen);
        self.digest = false;
        self.arm(pen);
    }

    /// The alert of the unit that is the root of this one's trouble.
    fn cause_of(&self, key: &AlertKey, requires: Graph<'_>) -> Option<AlertKey> {
        if key.check.kind != CheckKind::Unit {
            return None;
        }
        let counts = |key: &AlertKey| {
            self.open.get(key).is_some_and(|o| o.record.untold != Some(Reason::NoChannel))
        };
        let state = |unit: &Arc<str>| AlertKey {
            check: CheckId::unit(unit.clone()),
            kind: AlertKind::State,
        };
        let mut root: Option<AlertKey> = None;
        if key.kind == AlertKind::Errors {
            // What it logs while it is down belongs to its being down.
            root = Some(state(&key.check.name)).filter(counts);
        }
        let mut path = vec![key.check.name.clone()];
        while path.len() <= DEPTH {
            let Some(at) = path.last() else { break };
            let next = requires(at).into_iter().find(|u| !path.contains(u) && counts(&state(u)));
            let Some(next) = next else { break };
            root = Some(state(&next));
            path.push(next);
        }
        root
    }

    /// An alert whose cause is open.
    fn beneath(&mut self, key: &AlertKey, cause: &AlertKey, told_now: bool, pen: &mut Pen<'_>) {
        let Some(above) = self.open.get(cause) else { return };
        let (id, channels) = (above.record.id.clone(), known_to(&above.record));
        if above.record.untold == Some(Reason::NoChannel) {
            self.tell_or_mute(key, pen);
            return;
        }
        let Some(open) = self.open.get_mut(key) else { return };
        if open.record.cause.as_ref() != Some(&id) {
            open.record.cause = Some(id);
        }
        let held = open.record.clone();
        let held = self.held_back(&held, pen);
        if let Some(mute) = held {
            self.mute(key, mute, pen);
        } else if told_now {
            let Some(open) = self.open.get(key) else { return };
            let severity = open.record.severity;
            let wants = |c: &Arc<str>| pen.channel(c).is_some_and(|c| severity >= c.min_severity);
            let channels: Vec<Arc<str>> = channels.into_iter().filter(|c| wants(c)).collect();
            if channels.is_empty() {
                self.mute(key, (Reason::NoChannel, None), pen);
            } else {
                self.tell(key, channels, pen);
            }
        } else {
            self.mute(key, (Reason::Dependant, None), pen);
        }
    }

    /// A cause is over: what is beneath it and still open is decided on its own, a little later.
    pub(super) fn cause_gone(&mut self, id: &Arc<str>, pen: &Pen<'_>) {
        let mut any = false;
        for open in self.open.values_mut() {
            if open.record.cause.as_ref() != Some(id) {
                continue;
            }
            if open.record.untold.is_none() {
                open.reroute = true;
                open.not_before = Some(pen.now.boot.after(AFTER_CAUSE));
                any = true;
            } else {
                open.record.cause = None;
                // Who looked after the cause did not look after this.
                open.record.ack = None;
                open.record.untold = Some(Reason::Dependant);
                open.not_before = Some(pen.now.boot.after(AFTER_CAUSE));
                any = true;
            }
        }
        if any {
            self.due_after(AFTER_CAUSE, pen);
        }
    }

    fn tell_or_mute(&mut self, key: &AlertKey, pen: &mut Pen<'_>) -> bool {
        let Some(open) = self.open.get(key) else { return false };
        let before = open.record.untold;
        if let Some(mute) = self.muted(key, pen) {
            self.mute(key, mute, pen);
            return false;
        }
        if key.kind == AlertKind::Errors && before.is_some_and(passes) {
            // What was logged while everything was restarted, or its cause was down, is over.
            self.mute(key, (Reason::OverBeforeTold, None), pen);
            return false;
        }
        let Some(open) = self.open.get(key) else { return false };
        let channels = self.route(&open.record, pen);
        if channels.is_empty() {
            self.mute(key, (Reason::NoChannel, next_route(pen)), pen);
            return false;
        }
        self.tell(key, channels, pen);
        true
    }

    /// Why this alert is not told now.
    fn muted(&self, key: &AlertKey, pen: &mut Pen<'_>) -> Option<Mute> {
        let open = self.open.get(key)?;
        let now = pen.now;
        if let Some(at) = open.not_before.filter(|at| *at > now.boot) {
            let why = if open.awaits_lines { Reason::Grouping } else { Reason::Dependant };
            return Some((why, Some(at)));
        }
        // Whether a package manager is at work is seen only when somebody looks.
        if let Some(wait) = pen.quiet.holds(key.check.kind, now, pen.effects) {
            return Some((wait.why, Some(wait.again)));
        }
        if let Some(mute) = self.held_back(&open.record, pen) {
            return Some(mute);
        }
        if open.recovering && open.record.untold != Some(Reason::Grouping) {
            // It was held back until it was well again; whether it stays so is known soon.
            return Some((Reason::Verifying, None));
        }
        if open.urgent || pen.force {
            return None;
        }
        let elapsed = now.wall.since(*self.told.get(key)?);
        let left = pen.rules.cooldown(&key.check).checked_sub(elapsed).filter(|l| !l.is_zero())?;
        Some((Reason::Cooldown, Some(now.boot.after(left))))
    }

    /// Whether a quiet time, a silence or a maintenance window keeps messages about it back.
    pub(super) fn held_back(&self, record: &AlertRecord, pen: &Pen<'_>) -> Option<Mute> {
        let now = pen.now;
        let check = &record.key.check;
        if let Some(wait) = pen.quiet.standing(check.kind, now) {
            return Some((wait.why, Some(wait.again)));
        }
        if let Some(until) = self.silenced(record, pen) {
            return Some((Reason::Silenced, Some(at_wall(until, pen))));
        }
        let until = pen
            .rules
            .alerts
            .maintenance
            .iter()
            .filter(|m| m.matcher.matches(check, record.severity, pen.labels))
            .filter_map(|m| ends(&m.times, now.wall))
            .max()?;
        Some((Reason::Maintenance, Some(at_wall(until, pen))))
    }

    fn mute(&mut self, key: &AlertKey, (why, again): Mute, pen: &mut Pen<'_>) {
        if let Some(at) = again {
            // Many that wait for moments close to each other are decided together.
            let at = at.max(pen.now.boot.after(TOGETHER));
            self.due = Some(self.due.map_or(at, |due| due.min(at)));
        }
        let Some(open) = self.open.get_mut(key) else { return };
        self.awaits_answer |= why == Reason::Grouping;
        // A moment's wait does not hide why it had to wait before.
        if open.record.untold == Some(why) || why == Reason::Grouping {
            return;
        }
        open.record.untold = Some(why);
        let mut text = why.meaning().to_owned();
        if let (Reason::Dependant, Some(cause)) = (why, &open.record.cause) {
            text.push_str(&format!(" (alert {cause})"));
        }
        pen.keep(&open.record);
        pen.log(&key.check, why, text);
    }

    fn tell(&mut self, key: &AlertKey, channels: Vec<Arc<str>>, pen: &mut Pen<'_>) {
        let Some(open) = self.open.get_mut(key) else { return };
        let now = pen.now.wall;
        let record = &mut open.record;
        record.untold = None;
        record.first_told.get_or_insert(now);
        record.last_told = Some(now);
        record.told_severity = Some(record.severity);
        open.urgent = false;
        open.ended_down = false;
        open.not_before = None;
        self.told.insert(key.clone(), now);
        for channel in &channels {
            self.put(key, channel, Happening::Opened, pen);
            if self.digest {
                self.trays.entry(channel.clone()).or_default().digest = true;
            }
        }
        if let Some(open) = self.open.get(key) {
            pen.keep(&open.record);
        }
        pen.log(&key.check, Reason::Told, format!("goes to {}", channels.join(", ")));
        self.arm_nag(key, pen);
    }

    /// Alerts that were told beneath a cause which is over, and that are still there.
    fn tell_further(&mut self, pen: &mut Pen<'_>) {
        let now = pen.now.boot;
        let waiting: Vec<AlertKey> = self
            .open
            .iter()
            .filter(|(_, o)| o.reroute && !o.recovering && o.record.untold.is_none())
            .map(|(key, _)| key.clone())
            .collect();
        for key in waiting {
            let Some(open) = self.open.get_mut(&key) else { continue };
            if let Some(at) = open.not_before.filter(|at| *at > now) {
                self.due = Some(self.due.map_or(at, |due| due.min(at)));
                continue;
            }
            open.reroute = false;
            open.not_before = None;
            open.record.cause = None;
            let record = open.record.clone();
            let known = known_to(&record);
            let further = self.route(&record, pen).into_iter().filter(|c| !known.contains(c));
            for channel in further.collect::<Vec<_>>() {
                self.put(&key, &channel, Happening::Opened, pen);
            }
            if let Some(open) = self.open.get(&key) {
                pen.keep(&open.record);
            }
        }
    }

    /// Alerts that people know of and that have grown worse since.
    fn tell_rises(&mut self, pen: &mut Pen<'_>) {
        let risen: Vec<AlertKey> = self
            .open
            .iter()
            .filter(|(_, o)| {
                let r = &o.record;
                let risen = r.told_severity.is_some_and(|told| r.severity > told);
                r.untold.is_none() && (risen || o.ended_down)
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in risen {
            let Some(open) = self.open.get(&key) else { continue };
            let record = open.record.clone();
            if let Some((_, again)) = self.held_back(&record, pen) {
                if let Some(at) = again {
                    self.due = Some(self.due.map_or(at, |due| due.min(at)));
                }
                continue;
            }
            let mut channels = known_to(&record);
            for channel in self.route(&record, pen) {
                if !channels.contains(&channel) {
                    channels.push(channel);
                }
            }
            for channel in &channels {
                self.put(&key, channel, Happening::Worse, pen);
            }
            let Some(open) = self.open.get_mut(&key) else { continue };
            open.urgent = false;
            open.ended_down = false;
            open.record.told_severity = Some(open.record.severity);
            open.record.last_told = Some(pen.now.wall);
            self.told.insert(key.clone(), pen.now.wall);
            pen.keep(&open.record);
            pen.log(&key.check, Reason::Told, format!("worse; goes to {}", channels.join(", ")));
            self.arm_nag(&key, pen);
        }
    }

    /// Who is to be told of an alert.
    fn route(&self, record: &AlertRecord, pen: &Pen<'_>) -> Vec<Arc<str>> {
        let check = &record.key.check;
        let routes = &pen.rules.alerts.routes;
        let mut names: Vec<Arc<str>> = Vec::new();
        let mut matched = false;
        for route in routes {
            let applies = route.matcher.matches(check, record.severity, pen.labels)
                && (route.times.is_empty() || ends(&route.times, pen.now.wall).is_some());
            if applies {
                matched = true;
                names.extend(route.channels.iter().cloned());
                if !route.go_on {
                    break;
                }
            }
        }
        if !matched {
            names = usual(pen);
        }
        // A broken channel cannot tell that it is broken.
        let own = check.name.strip_prefix(CHANNEL).filter(|_| check.kind == CheckKind::Agent);
        let others = || pen.rules.channels.iter().filter(|c| Some(&*c.name) != own);
        let wanting: Vec<Arc<str>> = others()
            .filter(|c| names.contains(&c.name) && record.severity >= c.min_severity)
            .map(|c| c.name.clone())
            .collect();
        if wanting.is_empty() && own.is_some() {
            // Somebody must know of it, whatever they asked for.
            return others().map(|c| c.name.clone()).collect();
        }
        wanting
    }
}

/// Whether what was held back by this is over with it, unless it happens again.
fn passes(why: Reason) -> bool {
    matches!(
        why,
        Reason::PackageUpgrade
            | Reason::Settling
            | Reason::HostSleep
            | Reason::HostShutdown
            | Reason::ManagerReloading
            | Reason::Dependant
    )
}

/// All channels but those that only escalations name.
pub(super) fn usual(pen: &Pen<'_>) -> Vec<Arc<str>> {
    let alerts = &pen.rules.alerts;
    let further = |name: &Arc<str>| {
        alerts.escalations.iter().any(|e| e.channels.contains(name))
            && !alerts.routes.iter().any(|r| r.channels.contains(name))
    };
    pen.rules.channels.iter().map(|c| c.name.clone()).filter(|n| !further(n)).collect()
}

/// When a set of recurring times that this moment lies in ends.
pub(super) fn ends(times: &[Weekly], at: Wall) -> Option<Wall> {
    times.iter().filter_map(|t| t.ends(at)).max()
}

/// When another route may apply.
fn next_route(pen: &Pen<'_>) -> Option<Boot> {
    let times = pen.rules.alerts.routes.iter().flat_map(|r| &r.times);
    let next = times.filter_map(|t| t.ends(pen.now.wall).or(t.next_start(pen.now.wall))).min()?;
    Some(at_wall(next, pen))
}

/// When to ask again for what waits for a moment of the wall clock.
pub(super) fn at_wall(at: Wall, pen: &Pen<'_>) -> Boot {
    let left = at.since(pen.now.wall).clamp(Duration::from_millis(1), WALL);
    pen.now.boot.after(left)
}
