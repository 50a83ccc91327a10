//! Reading who is told of what and when: `[alerts]`, `[[escalation]]`, `[report]`, `[[route]]`,
//! `[[maintenance]]`, and the `channels` that a check can name where it is configured itself.

use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;

use crate::engine::calendar::Weekly;
use crate::engine::rules::{
    AlertRules, CheckPattern, Escalation, Flapping, Maintenance, Matcher, ReportRule, ReportTimes,
    Route,
};

use super::super::section::{Reader, local, suggestion};
use super::super::sink::{Place, Sink};
use super::super::values::brief;
use super::{DAY, Names, SECOND, SEVERITY, Sections};

mod reach;

const MINUTE: Duration = Duration::from_secs(60);

/// The `channels` of units, heartbeats and host checks: routes before all others.
#[derive(Default)]
pub(super) struct Told(Vec<(Matcher, Named, Place)>);

/// Names of channels as written, and where.
type Named = Vec<(String, Place)>;

impl Told {
    /// Reads the key `channels`, which is about these checks. A check that is not there, because
    /// its own name was wrong, leaves only the reading.
    pub(super) fn read(&mut self, reader: &mut Reader<'_>, checks: &[&str]) {
        let Some(channels) = reader.texts("channels") else { return };
        let at = reader.place_of("channels");
        let mut matcher = Matcher::all();
        for check in checks {
            match CheckPattern::try_new(check) {
                Ok(pattern) => matcher.checks.push(pattern),
                Err(why) => {
                    reader.sink().error(at, why);
                }
            }
        }
        if !matcher.checks.is_empty() {
            self.0.push((matcher, channels, at));
        }
    }

    /// As routes; as everywhere, what is named exactly beats a pattern.
    fn routes(mut self) -> Vec<(Matcher, Named, Place)> {
        // The first of its checks is what the section is about.
        self.0.sort_by_key(|(matcher, ..)| {
            matcher.checks.first().is_some_and(|c| c.as_str().contains(['*', '?', '[']))
        });
        self.0
    }
}

/// Channels that need no section, and the key that makes each.
const BY_THEMSELVES: [(&str, &str); 2] =
    [("otlp", "otlp.endpoint"), ("azure", "azure.connection_string")];

/// The channels that there are.
struct Known<'a>(Vec<&'a str>);

impl Known<'_> {
    /// The names that are those of channels, each once; others are errors.
    fn check(&self, names: Named, sink: &mut Sink) -> Vec<Arc<str>> {
        let mut all: Vec<Arc<str>> = Vec::new();
        for (name, at) in names {
            if all.iter().any(|other| **other == *name) {
                continue;
            }
            if self.0.contains(&name.as_str()) {
                all.push(name.into());
                continue;
            }
            let hint = if let Some((_, key)) = BY_THEMSELVES.iter().find(|(own, _)| *own == name) {
                format!(
                    "it is there by itself once `{key}` is set, unless a [[channel]] has its type"
                )
            } else if self.0.is_empty() {
                format!("there is none; add a [[channel]] with name = \"{}\"", brief(&name))
            } else {
                suggestion(&name, &self.0).replace("it takes", "channels:")
            };
            sink.error(at, format!("there is no channel `{}`", brief(&name))).hint(hint);
        }
        all
    }
}

/// Reads all of it; `channels` are the names of all that are configured.
pub(super) fn alerts(
    sections: &mut Sections,
    told: Told,
    channels: &[String],
    sink: &mut Sink,
) -> AlertRules {
    let known = Known(channels.iter().map(String::as_str).collect());
    let mut rules = AlertRules::default();
    timing(sections, &mut rules, sink);

    let mut reach = reach::Reach::default();
    for (matcher, named, at) in told.routes() {
        let channels = known.check(named, sink);
        let route = Route { matcher, times: Vec::new(), channels, go_on: false };
        reach.add(&route, at, sink);
        rules.routes.push(route);
    }
    for section in sections.list("route") {
        let mut reader = section.read(sink);
        let matcher = matcher(&mut reader, true);
        let times = weekly(&mut reader);
        reader.require("channels", "[\"ops\"]");
        let named = reader.texts("channels").unwrap_or_default();
        let channels = known.check(named, reader.sink());
        let go_on = reader.bool("continue").unwrap_or(false);
        reader.finish();
        let route = Route { matcher, times, channels, go_on };
        reach.add(&route, section.place(), sink);
        rules.routes.push(route);
    }

    let mut names = Names::new("maintenance");
    for section in sections.list("maintenance") {
        let mut reader = section.read(sink);
        reader.require("name", "\"backup\"");
        let name = reader.text_at("name");
        let matcher = matcher(&mut reader, false);
        let times = weekly(&mut reader);
        if !["days", "from", "to"].iter().any(|key| reader.has(key)) {
            reader
                .sink()
                .error(section.place(), "[[maintenance]] needs `from` and `to`, or `days`")
                .hint("for a silence that does not recur, use keepwell alerts silence");
        }
        reader.finish();
        if let Some((name, at)) = name
            && names.add(&name, at, sink)
        {
            rules.maintenance.push(Maintenance { name: name.into(), matcher, times });
        }
    }

    let mut escalated = Vec::new();
    for section in sections.list("escalation") {
        let mut reader = section.read(sink);
        reader.require("after", "\"15m\"");
        let after = reader.duration("after", SECOND, 7 * DAY);
        let matcher = matcher(&mut reader, true);
        let at = reader.place_of("channels");
        reader.require("channels", "[\"ops\"]");
        let named = reader.some_texts("channels", "name who is told then").unwrap_or_default();
        let channels = known.check(named, reader.sink());
        reader.finish();
        escalated.extend(channels.iter().map(|name| (name.clone(), at)));
        if let Some(after) = after {
            rules.escalations.push(Escalation { after, matcher, channels });
        }
    }
    somebody_is_told_first(&rules, &escalated, &known, sink);
    rules.report = report(sections, &known, sink);
    rules
}

/// A channel that only escalations name is told of nothing else. Where that leaves no other, there
/// is nobody whose silence could be escalated.
fn somebody_is_told_first(
    rules: &AlertRules,
    escalated: &[(Arc<str>, Place)],
    known: &Known<'_>,
    sink: &mut Sink,
) {
    let routed = |name: &str| rules.routes.iter().any(|r| r.channels.iter().any(|c| **c == *name));
    let only_later = |name: &str| escalated.iter().any(|(n, _)| **n == *name) && !routed(name);
    if let Some((name, at)) = escalated.first()
        && known.0.iter().all(|name| only_later(name))
    {
        sink.warning(*at, "nobody is told first: every channel is named by escalations alone")
            .hint(format!("add a [[route]] with channels = [\"{name}\"], or another channel"));
    }
}

/// `[alerts]`
fn timing(sections: &mut Sections, rules: &mut AlertRules, sink: &mut Sink) {
    let Some(mut reader) = sections.table("alerts", sink) else { return };
    if let Some(cooldown) = reader.duration("cooldown", Duration::ZERO, 7 * DAY) {
        rules.cooldown = cooldown;
    }
    if let Some(wait) = reader.duration("group_wait", Duration::ZERO, 10 * SECOND) {
        rules.group_wait = wait;
    }
    if let Some(remind) = reader.duration_or_off("remind", MINUTE, 30 * DAY) {
        rules.remind = remind;
    }
    match reader.table_or_off("flapping") {
        None => {}
        Some(None) => rules.flapping.openings = 0,
        Some(Some(section)) => {
            let mut inner = section.read(reader.sink());
            let Flapping { openings, window, calm } = &mut rules.flapping;
            if let Some(n) = inner.integer("openings", 2, 1000).and_then(|n| u32::try_from(n).ok())
            {
                *openings = n;
            }
            *window = inner.duration("within", MINUTE, 7 * DAY).unwrap_or(*window);
            *calm = inner.duration("calm", SECOND, DAY).unwrap_or(*calm);
            inner.finish();
        }
    }
    reader.finish();
}

/// `checks`, `labels` and, where it has that key, `severity`.
fn matcher(reader: &mut Reader<'_>, severity: bool) -> Matcher {
    let mut matcher = Matcher::all();
    for (text, at) in
        reader.some_texts("checks", "for all checks, leave it out").unwrap_or_default()
    {
        match CheckPattern::try_new(&text) {
            Ok(pattern) => matcher.checks.push(pattern),
            Err(why) => {
                reader.sink().error(at, why);
            }
        }
    }
    if severity {
        matcher.min_severity = reader.one_of("severity", &SEVERITY);
    }
    let labels = reader.text_map("labels").unwrap_or_default();
    matcher.labels = labels.into_iter().map(|(key, (value, _))| (key, value)).collect();
    matcher
}

/// `days`, `from`, `to` and `timezone`. Empty: always.
fn weekly(reader: &mut Reader<'_>) -> Vec<Weekly> {
    let days = reader.days("days");
    let (from, to) = (reader.time("from"), reader.end_time("to"));
    let ends = ["from", "to"].map(|key| reader.has(key));
    let limited = ends[0] || ends[1] || reader.has("days");
    for (key, other) in [("from", "to"), ("to", "from")] {
        if reader.has(key) && !reader.has(other) {
            let at = reader.place_of(key);
            reader
                .sink()
                .error(at, format!("`{key}` stands without `{other}`"))
                .hint("write both, or neither for the whole day");
        }
    }
    let zone = zone(reader, limited, "days, from and to");
    if !limited {
        return Vec::new();
    }
    let (from, to) = (from.unwrap_or(Time::midnight()), to.unwrap_or(Time::midnight()));
    vec![Weekly::new(&days.unwrap_or_default(), from, to, zone)]
}

/// The zone that is named, or the host's. `needed` is false where nothing else names a time; `by`
/// says what would.
fn zone(reader: &mut Reader<'_>, needed: bool, by: &str) -> TimeZone {
    let zone = reader.zone("timezone");
    if reader.has("timezone") {
        if !needed {
            let at = reader.place_of("timezone");
            reader.sink().warning(at, format!("`timezone` does nothing without {by}"));
        }
        return zone.unwrap_or(TimeZone::UTC);
    }
    let (zone, odd) = local();
    if let (true, Some(odd)) = (needed, odd) {
        let at = reader.place_of("from");
        reader
            .sink()
            .warning(at, odd)
            .hint("see $TZ, /etc/localtime and the package tzdata, or write timezone = \"UTC\"");
    }
    zone
}

/// `[report]`
fn report(sections: &mut Sections, known: &Known<'_>, sink: &mut Sink) -> Option<ReportRule> {
    let mut reader = sections.table("report", sink)?;
    let every = reader.duration_or_off("every", MINUTE, 31 * DAY);
    let at = reader.times("at");
    let has_times = at.as_ref().is_some_and(|times| !times.is_empty());
    let timed = reader.has("at");
    let zone = zone(&mut reader, timed, "`at`");
    let named = reader.texts("channels").unwrap_or_default();
    let channels = known.check(named, reader.sink());
    if matches!(every, Some(Some(_))) && has_times {
        let at = reader.place_of("at");
        reader
            .sink()
            .error(at, "[report] has both `every` and `at`")
            .hint("keep one of the two; every = false takes back what an earlier file says");
    }
    if !reader.has("every") && !reader.has("at") {
        let place = reader.place_of("every");
        reader
            .sink()
            .error(place, "[report] needs the key `every` or `at`")
            .hint("add every = \"6h\", or at = [\"08:00\"]; every = false for none");
    }
    reader.finish();
    let when = match (every.flatten(), at) {
        (_, Some(times)) if has_times => ReportTimes::At(times, zone),
        (Some(every), _) => ReportTimes::Every(every),
        _ => return None,
    };
    Some(ReportRule { when, channels })
}
