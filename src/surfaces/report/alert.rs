//! Alerts as typed JSON, and the few phrases about them that page and command line share.

use serde::{Deserialize, Serialize};
use std::fmt::Write;

use crate::engine::alert::{Ack, ActNote, Pending};
use crate::engine::saved::Silence;
use crate::engine::view::{ChannelState, ChannelView};
use crate::engine::{AlertRecord, Severity, Snapshot};

use super::{Lines, SilencedReport, Stamp, meaning, second_half};

/// An alert, open or over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertReport {
    /// Its id.
    pub id: String,
    /// The check it is about.
    pub check: String,
    /// Which of its conditions.
    pub kind: String,
    /// How bad; of one that is over: how bad it last was.
    pub severity: Severity,
    /// Why, by name.
    pub reason: String,
    /// One line for people.
    pub summary: String,
    /// When it opened.
    pub opened: Stamp,
    /// When it ended.
    #[serde(default)]
    pub resolved: Option<Stamp>,
    /// Why it ended, where that was no recovery, by name: `removed`, `no-longer-watched`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// Channels that have been told.
    #[serde(default)]
    pub told: Vec<String>,
    /// Of those the channels that have a message about it and cannot deliver it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stuck: Vec<String>,
    /// Of those the channels to which a message about it is on its way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub under_way: Vec<String>,
    /// Channels that refused the message about it for good.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
    /// When it was last told.
    #[serde(default)]
    pub last_told: Option<Stamp>,
    /// What waits to be told.
    #[serde(default)]
    pub pending: Vec<PendingReport>,
    /// Why nobody has been told, by name.
    #[serde(default)]
    pub untold: Option<String>,
    /// Somebody looks after it.
    #[serde(default)]
    pub ack: Option<AckReport>,
    /// The silence under which it falls now; of several the one that lasts longest.
    #[serde(default)]
    pub silenced: Option<SilencedReport>,
    /// It comes and goes.
    #[serde(default)]
    pub flapping: bool,
    /// Id of the alert that is its cause.
    #[serde(default)]
    pub cause: Option<String>,
    /// Steps of escalation that were taken.
    #[serde(default)]
    pub escalated: u32,
    /// The last log lines of the run that failed; empty for those who may not read logs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
    /// What was done about it, newest last.
    #[serde(default)]
    pub acts: Vec<ActReport>,
    /// What keepwell will do next.
    #[serde(default)]
    pub next: Option<String>,
}

/// Something that is to be told to a channel and has not been handed to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PendingReport {
    /// The channel.
    pub channel: String,
    /// What: `opened`, `worse`, `resolved`…
    pub happening: String,
    /// Since when it waits.
    pub since: Stamp,
}

/// Something that was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActReport {
    /// When.
    pub at: Stamp,
    /// Who; `null` is keepwell itself.
    #[serde(default)]
    pub by: Option<String>,
    /// What, in words.
    pub text: String,
}

/// Who looks after an alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AckReport {
    /// Who.
    pub actor: String,
    /// When they said so.
    pub at: Stamp,
    /// Why, in their words.
    #[serde(default)]
    pub why: Option<String>,
    /// Until when; `null`: until the end of the alert.
    #[serde(default)]
    pub until: Option<Stamp>,
}

/// How many alerts are open, by who looks after them. Each counts once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AlertCounts {
    /// Neither of the two below.
    pub active: usize,
    /// A person looks after it.
    pub acknowledged: usize,
    /// Under a silence, and not acknowledged.
    pub silenced: usize,
}

/// `/api/v1/alerts`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertList {
    /// When this picture was taken.
    pub timestamp: Stamp,
    /// Open ones oldest first, then those that ended lately, newest first.
    pub alerts: Vec<AlertReport>,
}

/// `/api/v1/alerts/{id}`: one alert and what bears on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertDetail {
    /// When this picture was taken.
    pub timestamp: Stamp,
    /// The alert.
    pub alert: AlertReport,
    /// What its reason means.
    pub meaning: String,
    /// The alert that is its cause, as far as it is still known.
    #[serde(default)]
    pub cause: Option<Related>,
    /// Open alerts whose cause it is.
    #[serde(default)]
    pub dependants: Vec<Related>,
    /// Why messages wait at the moment, by name, if they do.
    #[serde(default)]
    pub quiet: Option<String>,
}

/// Another alert, in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Related {
    /// Its id.
    pub id: String,
    /// The check it is about.
    pub check: String,
    /// How bad.
    pub severity: Severity,
    /// One line for people.
    pub summary: String,
}

/// The silence under which an alert falls; of several the one that lasts longest.
fn silence_of<'a>(snapshot: &'a Snapshot, alert: &AlertRecord) -> Option<&'a Silence> {
    let applies = |s: &&Silence| {
        s.until > snapshot.at
            && s.matcher.matches(&alert.key.check, alert.severity, &snapshot.labels)
    };
    snapshot.silences.iter().filter(applies).max_by_key(|s| s.until)
}

/// The channels that were handed a message about an alert and are not known to have delivered it:
/// those that do not deliver, and those to which it is on its way.
fn carried(snapshot: &Snapshot, alert: &AlertRecord) -> (Vec<String>, Vec<String>) {
    let carries = |c: &&ChannelView| {
        alert.told.contains(&c.name) && c.carries.binary_search(&alert.id).is_ok()
    };
    let down = |c: &&ChannelView| matches!(c.state, ChannelState::Failing | ChannelState::Stopped);
    let (stuck, under_way): (Vec<_>, Vec<_>) =
        snapshot.channels.iter().filter(carries).partition(down);
    let names = |views: Vec<&ChannelView>| views.iter().map(|c| c.name.to_string()).collect();
    (names(stuck), names(under_way))
}

/// The channels that refused a message about an alert, and have not been told since.
fn refused(snapshot: &Snapshot, alert: &AlertRecord) -> Vec<String> {
    let waits = |c: &ChannelView| alert.pending.iter().any(|p| p.channel == c.name);
    let noted = |c: &ChannelView| {
        // As the engine notes it.
        let begin = format!("channel {} refused the message", c.name);
        alert.acts.iter().any(|a| a.by.is_none() && a.text.starts_with(&begin))
    };
    let views = snapshot.channels.iter().filter(|_| !alert.acts.is_empty());
    views
        .filter(|c| !alert.told.contains(&c.name) && !waits(c) && noted(c))
        .map(|c| c.name.to_string())
        .collect()
}

impl AlertCounts {
    /// Of the open alerts of a snapshot for which this holds.
    pub fn of(snapshot: &Snapshot, wanted: impl Fn(&AlertRecord) -> bool) -> Self {
        let mut counts = Self::default();
        for alert in snapshot.alerts.iter().filter(|a| wanted(a)) {
            if alert.ack.is_some() {
                counts.acknowledged += 1;
            } else if silence_of(snapshot, alert).is_some() {
                counts.silenced += 1;
            } else {
                counts.active += 1;
            }
        }
        counts
    }
}

impl AlertReport {
    /// An alert of a snapshot.
    pub fn of(alert: &AlertRecord, snapshot: &Snapshot, lines: Lines) -> Self {
        let silence = if alert.resolved.is_none() { silence_of(snapshot, alert) } else { None };
        let (stuck, under_way) = carried(snapshot, alert);
        Self {
            id: alert.id.to_string(),
            check: alert.key.check.to_string(),
            kind: alert.key.kind.as_str().to_owned(),
            severity: alert.severity,
            reason: alert.reason.as_str().to_owned(),
            summary: alert.summary.clone(),
            opened: Stamp(alert.opened),
            resolved: alert.resolved.map(Stamp),
            ended: alert.ended.map(|r| r.as_str().to_owned()),
            told: alert.told.iter().map(|t| t.to_string()).collect(),
            stuck,
            under_way,
            refused: refused(snapshot, alert),
            last_told: alert.last_told.map(Stamp),
            pending: alert.pending.iter().map(PendingReport::from).collect(),
            untold: alert.untold.map(|r| r.as_str().to_owned()),
            ack: alert.ack.as_ref().map(AckReport::from),
            silenced: silence.map(|s| SilencedReport {
                id: s.id.to_string(),
                until: Stamp(s.until),
                actor: s.actor.0.clone(),
            }),
            flapping: alert.flapping,
            cause: alert.cause.as_deref().map(str::to_owned),
            escalated: alert.escalated,
            lines: if lines == Lines::Shown { alert.lines.clone() } else { Vec::new() },
            acts: alert.acts.iter().map(ActReport::from).collect(),
            next: alert.next.clone(),
        }
    }

    /// The check, and which of its conditions unless it is the check itself.
    pub fn what(&self) -> String {
        if self.kind == "state" {
            self.check.clone()
        } else {
            format!("{} ({})", self.check, self.kind)
        }
    }

    /// Who has been told, or why nobody has: `told: ops`, `nobody has been told: …`.
    pub fn telling(&self) -> String {
        let refused = match &self.refused[..] {
            [] => None,
            names => Some(format!("refused by {}", names.join(", "))),
        };
        if !self.told.is_empty() {
            let open = |t: &&str| !self.stuck.iter().chain(&self.under_way).any(|s| s == t);
            let told: Vec<&str> = self.told.iter().map(|t| &**t).filter(open).collect();
            let mut parts = Vec::new();
            if !told.is_empty() {
                parts.push(format!("told: {}", told.join(", ")));
            }
            if !self.under_way.is_empty() {
                parts.push(format!("handed to {}, on its way", self.under_way.join(", ")));
            }
            match &self.stuck[..] {
                [] => {}
                [one] => parts.push(format!("handed to {one}, which does not deliver")),
                more => {
                    parts.push(format!("handed to {}, which do not deliver", more.join(", ")));
                }
            }
            parts.extend(refused);
            return parts.join("; ");
        }
        if !self.pending.is_empty() && self.untold.is_none() {
            let channels: Vec<&str> = self.pending.iter().map(|p| &*p.channel).collect();
            let about = format!("about to be told: {}", channels.join(", "));
            return std::iter::once(about).chain(refused).collect::<Vec<_>>().join("; ");
        }
        match (self.untold.as_deref(), refused) {
            (None | Some("delivery-refused"), Some(refused)) => {
                format!("nobody has been told: {refused}")
            }
            (None, None) => "nobody has been told".to_owned(),
            (Some("grouping"), _) if self.resolved.is_none() => "about to be told".to_owned(),
            (Some(why), _) => format!("nobody has been told: {}", meaning(why).unwrap_or(why)),
        }
    }

    /// Who looks after it, what keeps it quiet, and how it behaves; one phrase each.
    pub fn marks(&self) -> Vec<String> {
        let mut marks = Vec::new();
        if let Some(ack) = &self.ack {
            let mut text = format!("acknowledged by {}", ack.actor);
            // Writing to a string cannot fail, here and below.
            if let Some(until) = ack.until {
                let _ = write!(text, " until {}", until.readable());
            }
            if let Some(why) = &ack.why {
                let _ = write!(text, ": {why}");
            }
            marks.push(text);
        }
        if let Some(silence) = &self.silenced {
            marks.push(format!(
                "silenced until {} by {} ({})",
                silence.until.readable(),
                silence.actor,
                silence.id
            ));
        }
        if self.flapping {
            marks.push("flapping".to_owned());
        }
        if let Some(cause) = &self.cause {
            marks.push(format!("because of {cause}"));
        }
        match self.escalated {
            0 => {}
            1 => marks.push("escalated".to_owned()),
            n => marks.push(format!("escalated {n} times")),
        }
        marks
    }
}

impl ActReport {
    /// `2026-01-31 07:16:22 UTC restarted, attempt 2`, with who it was unless it was keepwell.
    pub fn line(&self) -> String {
        let by = self.by.as_ref().map(|by| format!(", by {by}")).unwrap_or_default();
        format!("{} {}{by}", self.at.readable(), self.text)
    }
}

impl AlertList {
    /// The open alert that is meant: by its id, or by a check that has a single one (`nginx`).
    ///
    /// # Errors
    /// The ids that come nearest, best first, at most three.
    pub fn meant(&self, asked: &str) -> Result<&AlertReport, Vec<String>> {
        let open = || self.alerts.iter().filter(|a| a.resolved.is_none());
        if let Some(exact) = open().find(|a| a.id == asked) {
            return Ok(exact);
        }
        let mut fitting = open().filter(|a| fits(&a.check, asked));
        match (fitting.next(), fitting.next()) {
            (Some(only), None) => Ok(only),
            _ => Err(near(open().map(|a| (&*a.id, &*a.check)), asked)),
        }
    }

    /// As [`Self::meant`]; of a check that has no open alert the one that ended last.
    ///
    /// # Errors
    /// The ids that come nearest, best first, at most three.
    pub fn shown(&self, asked: &str) -> Result<&AlertReport, Vec<String>> {
        let over = |a: &&AlertReport| a.resolved.is_some() && fits(&a.check, asked);
        match self.meant(asked) {
            Err(_) if !self.is_open(asked) => {
                let latest = self.alerts.iter().filter(over).max_by_key(|a| a.resolved);
                latest.ok_or_else(|| near_all(&self.alerts, asked))
            }
            found => found,
        }
    }

    fn is_open(&self, asked: &str) -> bool {
        self.alerts.iter().any(|a| a.resolved.is_none() && fits(&a.check, asked))
    }
}

fn near_all(alerts: &[AlertReport], asked: &str) -> Vec<String> {
    near(alerts.iter().map(|a| (&*a.id, &*a.check)), asked)
}

fn fits(check: &str, asked: &str) -> bool {
    let name = second_half(check);
    check == asked || name == asked || name.strip_suffix(".service") == Some(asked)
}

/// Of these alerts (id and check) the ids that come nearest, best first, at most three: those of a
/// check that is called so before those whose id looks alike.
pub fn near<'a>(alerts: impl Iterator<Item = (&'a str, &'a str)>, asked: &str) -> Vec<String> {
    let mut scored: Vec<(f64, &str)> = alerts
        .map(|(id, check)| {
            let name = second_half(check);
            let mut score = strsim::jaro_winkler(id, asked).min(0.9);
            for known in [check, name, name.strip_suffix(".service").unwrap_or(name)] {
                score = score.max(strsim::jaro_winkler(known, asked));
            }
            (score, id)
        })
        .filter(|(score, _)| *score > 0.8)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().take(3).map(|(_, id)| id.to_owned()).collect()
}

impl AlertDetail {
    /// The alert of this id, open or over.
    ///
    /// # Errors
    /// The ids that come nearest, best first, at most three.
    pub fn of(snapshot: &Snapshot, id: &str, lines: Lines) -> Result<Self, Vec<String>> {
        let all = || snapshot.alerts.iter().chain(&snapshot.recent);
        let Some(alert) = all().find(|a| *a.id == *id) else {
            let known: Vec<(&str, String)> =
                all().map(|a| (&*a.id, a.key.check.to_string())).collect();
            return Err(near(known.iter().map(|(id, check)| (*id, &**check)), id));
        };
        Ok(Self {
            timestamp: Stamp(snapshot.at),
            meaning: alert.reason.meaning().to_owned(),
            cause: alert
                .cause
                .as_ref()
                .and_then(|cause| all().find(|a| a.id == *cause))
                .map(|a| Related::from(&**a)),
            dependants: snapshot
                .alerts
                .iter()
                .filter(|a| a.cause.as_ref() == Some(&alert.id))
                .map(|a| Related::from(&**a))
                .collect(),
            quiet: snapshot.quiet.map(|r| r.as_str().to_owned()),
            alert: AlertReport::of(alert, snapshot, lines),
        })
    }
}

impl From<&AlertRecord> for Related {
    fn from(alert: &AlertRecord) -> Self {
        Self {
            id: alert.id.to_string(),
            check: alert.key.check.to_string(),
            severity: alert.severity,
            summary: alert.summary.clone(),
        }
    }
}

impl From<&Pending> for PendingReport {
    fn from(pending: &Pending) -> Self {
        Self {
            channel: pending.channel.to_string(),
            happening: pending.happening.as_str().to_owned(),
            since: Stamp(pending.since),
        }
    }
}

impl From<&ActNote> for ActReport {
    fn from(act: &ActNote) -> Self {
        let by = act.by.as_ref().map(|actor| actor.0.clone());
        Self { at: Stamp(act.at), by, text: act.text.clone() }
    }
}

impl From<&Ack> for AckReport {
    fn from(ack: &Ack) -> Self {
        Self {
            actor: ack.actor.0.clone(),
            at: Stamp(ack.at),
            why: ack.why.clone(),
            until: ack.until.map(Stamp),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::CheckId;
    use crate::surfaces::sample;

    /// What is said of an alert that was handed to ops and mail, of which mail does this.
    fn telling(state: ChannelState, carried: bool) -> String {
        let mut snapshot = sample::healthy();
        let mut alert =
            sample::alert("a5", CheckId::unit("x.service"), Severity::Warning, "failed");
        alert.told = vec!["ops".into(), "mail".into()];
        let carries = if carried { vec!["a4".into(), "a5".into()] } else { Vec::new() };
        let mail = ChannelView { carries, ..sample::channel("mail", "email", state) };
        snapshot.channels = vec![sample::channel("ops", "slack", ChannelState::Works), mail];
        AlertReport::of(&alert, &snapshot, Lines::Hidden).telling()
    }

    #[test]
    fn told_is_who_has_it_and_not_who_is_about_to() {
        assert_eq!(telling(ChannelState::Works, false), "told: ops, mail");
        for state in [ChannelState::Untried, ChannelState::Works] {
            assert_eq!(telling(state, true), "told: ops; handed to mail, on its way");
        }
        for state in [ChannelState::Failing, ChannelState::Stopped] {
            assert_eq!(telling(state, true), "told: ops; handed to mail, which does not deliver");
        }
    }

    #[test]
    fn who_refused_is_named() {
        let mut snapshot = sample::healthy();
        let channel = |name| sample::channel(name, "email", ChannelState::Refused);
        snapshot.channels = vec![channel("ops"), channel("mail")];
        let mut alert =
            sample::alert("a5", CheckId::unit("x.service"), Severity::Warning, "failed");
        let text = "channel mail refused the message: 554 no".to_owned();
        alert.acts = vec![ActNote { at: sample::AT, by: None, text }];
        let said = |alert: &AlertRecord| AlertReport::of(alert, &snapshot, Lines::Hidden).telling();
        alert.untold = Some(crate::engine::Reason::DeliveryRefused);
        assert_eq!(said(&alert), "nobody has been told: refused by mail");
        alert.untold = None;
        alert.told = vec!["ops".into()];
        assert_eq!(said(&alert), "told: ops; refused by mail");
        alert.told.push("mail".into());
        assert_eq!(said(&alert), "told: ops, mail", "it took a later one");
    }
}
