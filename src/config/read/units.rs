//! Reading what is said of units: restarts, crash loops, `[[unit]]` and heartbeats.

use std::time::Duration;

use crate::engine::Severity;
use crate::engine::rules::{
    Backoff, Confirm, CrashLoop, HeartbeatRule, Rules, UnitPattern, UnitRule,
};

use super::super::section::{Reader, Section, integer};
use super::super::sink::{Place, Sink};
use super::super::tree::Value;
use super::{DAY, FOREVER, Names, SECOND, SEVERITY, Sections, Told, confirm};

/// The parts of a [`Backoff`], so that a unit can set some and take the rest from `[restart]`.
#[derive(Clone, Copy)]
struct Waits {
    first: Duration,
    factor: f64,
    max: Duration,
    stable: Duration,
    verify: Duration,
    give_up_after: Option<u32>,
}

impl Default for Waits {
    fn default() -> Self {
        let backoff = Backoff::default();
        Self {
            first: backoff.delay(0),
            factor: 2.0,
            max: backoff.delay(u32::MAX),
            stable: backoff.stable(),
            verify: backoff.verify(),
            give_up_after: backoff.give_up_after(),
        }
    }
}

/// Reads waits over others; what makes no sense is reported and leaves the others.
fn waits(reader: &mut Reader<'_>, before: Waits) -> (Waits, Option<Backoff>) {
    let waits = Waits {
        first: reader.duration("first", Duration::ZERO, FOREVER).unwrap_or(before.first),
        factor: reader.number("factor").unwrap_or(before.factor),
        max: reader.duration("max", Duration::ZERO, FOREVER).unwrap_or(before.max),
        stable: reader.duration("stable", Duration::ZERO, FOREVER).unwrap_or(before.stable),
        verify: reader.duration("verify", Duration::ZERO, FOREVER).unwrap_or(before.verify),
        give_up_after: reader
            .value("give_up_after", |name, node, sink| match node.value {
                Value::Bool(false) => Some(None),
                _ => integer(sink, name, node, 0, u32::MAX.into())
                    .and_then(|n| u32::try_from(n).ok())
                    .map(Some),
            })
            .unwrap_or(before.give_up_after),
    };
    let mut sound = waits;
    // Each round takes back one wrong value, so that the next one is found as well.
    for _ in 0..5 {
        let Waits { first, factor, max, stable, verify, give_up_after } = sound;
        let Err(why) = Backoff::try_new(first, factor, max, stable, verify, give_up_after) else {
            break;
        };
        // The engine's words name the value; the mark goes to its key, or to its partner when only
        // that one was written.
        let keys: &[&str] = if why.starts_with("the first") {
            sound.first = before.first;
            &["first"]
        } else if why.starts_with("the factor") {
            sound.factor = before.factor;
            &["factor"]
        } else if why.starts_with("the longest") {
            (sound.first, sound.max) = (before.first, before.max);
            &["max", "first"]
        } else if why.starts_with("the stable") {
            (sound.stable, sound.verify) = (before.stable, before.verify);
            &["stable", "verify"]
        } else {
            sound.give_up_after = before.give_up_after;
            &["give_up_after"]
        };
        let key = keys.iter().find(|key| reader.has(key)).unwrap_or(&keys[0]);
        let at = reader.place_of(key);
        reader.sink().error(at, why);
    }
    let Waits { first, factor, max, stable, verify, give_up_after } = sound;
    match Backoff::try_new(first, factor, max, stable, verify, give_up_after) {
        Ok(backoff) => (sound, Some(backoff)),
        Err(_) => (before, None),
    }
}

fn crash_loop(reader: &mut Reader<'_>, before: &CrashLoop) -> CrashLoop {
    let max = reader
        .integer("max", 0, u32::MAX.into())
        .and_then(|n| u32::try_from(n).ok())
        .unwrap_or(before.max());
    let window = reader.duration("window", Duration::ZERO, FOREVER).unwrap_or(before.window());
    // One after the other, so that both are reported.
    for (key, max, window) in [("max", max, before.window()), ("window", before.max(), window)] {
        if let Err(why) = CrashLoop::try_new(max, window) {
            let at = reader.place_of(key);
            reader.sink().error(at, why);
        }
    }
    CrashLoop::try_new(max, window).unwrap_or_else(|_| before.clone())
}

pub(super) fn units(
    sections: &mut Sections,
    rules: &mut Rules,
    told: &mut Told,
    sink: &mut Sink,
) -> Vec<Place> {
    let mut places = Vec::new();
    if let Some(mut reader) = sections.table("units", sink) {
        if let Some(all) = reader.bool("all") {
            rules.all_units = all;
        }
        for (text, at) in reader.texts("ignore").unwrap_or_default() {
            match UnitPattern::try_new(&text) {
                Ok(pattern) => rules.ignore.push(pattern),
                Err(why) => {
                    reader.sink().error(at, why);
                }
            }
        }
        reader.finish();
    }
    let mut common = (Waits::default(), CrashLoop::default());
    let mut common_backoff = Backoff::default();
    if let Some(mut reader) = sections.table("restart", sink) {
        let (waits, backoff) = waits(&mut reader, common.0);
        common.0 = waits;
        common_backoff = backoff.unwrap_or_default();
        reader.finish();
    }
    if let Some(mut reader) = sections.table("crash_loop", sink) {
        common.1 = crash_loop(&mut reader, &common.1);
        reader.finish();
    }

    let mut names = Names::new("unit");
    let mut files = Names::new("heartbeat");
    for section in sections.list("unit") {
        let mut reader = section.read(sink);
        reader.require("name", "\"nginx.service\"");
        let pattern =
            reader.text_at("name").and_then(|(text, at)| match UnitPattern::try_new(&text) {
                Ok(pattern) => Some((pattern, at)),
                Err(why) => {
                    reader.sink().error(at, why);
                    None
                }
            });
        // A unit without a name is read on all the same, for its other errors.
        let (pattern, at) = match pattern {
            Some((pattern, at)) => (Some(pattern), at),
            None => (None, section.place()),
        };
        let restart = reader.bool("restart").unwrap_or(false);
        let required = reader.bool("required").unwrap_or(false);
        let severity = reader.one_of("severity", &SEVERITY).unwrap_or(Severity::Critical);
        let errors = reader.bool("errors").unwrap_or(true);
        let mut backoff = common_backoff.clone();
        if let Some(section) = reader.table("backoff") {
            let mut inner = section.read(reader.sink());
            if let (_, Some(own)) = waits(&mut inner, common.0) {
                backoff = own;
            }
            inner.finish();
        }
        let mut limits = common.1.clone();
        if let Some(section) = reader.table("crash_loop") {
            let mut inner = section.read(reader.sink());
            limits = crash_loop(&mut inner, &limits);
            inner.finish();
        }
        let lasting = reader.duration("for", Duration::ZERO, DAY).unwrap_or_default();
        let recovery = reader.duration("recovery", Duration::ZERO, DAY).unwrap_or_default();
        let confirm = Confirm { lasting, recovery, ..Confirm::default() };
        // Its heartbeat goes where it goes itself.
        let mut checks: Vec<String> =
            pattern.iter().map(|pattern| format!("unit:{}", pattern.as_str())).collect();
        if let Some(section) = reader.table("heartbeat")
            && let Some((rule, at)) = heartbeat(&section, told, reader.sink())
            && files.add(&rule.path, at, reader.sink())
        {
            if section.place_of("channels").is_none() {
                checks.push(format!("heartbeat:{}", rule.path));
            }
            rules.heartbeats.push(rule);
            places.push(at);
        }
        let checks: Vec<&str> = checks.iter().map(String::as_str).collect();
        told.read(&mut reader, &checks);
        reader.finish();
        if let Some(pattern) = pattern
            && names.add(pattern.as_str(), at, sink)
        {
            let crash_loop = limits;
            rules.units.push(UnitRule {
                restart,
                required,
                severity,
                backoff,
                crash_loop,
                errors,
                confirm,
                pattern,
            });
        }
    }
    for section in sections.list("heartbeat") {
        if let Some((rule, at)) = heartbeat(&section, told, sink)
            && files.add(&rule.path, at, sink)
        {
            rules.heartbeats.push(rule);
            places.push(at);
        }
    }
    places
}

fn heartbeat(
    section: &Section,
    told: &mut Told,
    sink: &mut Sink,
) -> Option<(HeartbeatRule, Place)> {
    let mut reader = section.read(sink);
    reader.require("file", "\"/run/app/heartbeat\"");
    let file = reader.path("file");
    let at = reader.place_of("file");
    let max_age = reader.duration("max_age", SECOND, FOREVER).unwrap_or(300 * SECOND);
    let severity = reader.one_of("severity", &SEVERITY).unwrap_or(Severity::Warning);
    let file = file.and_then(|path| {
        let path = path.to_str()?.to_owned();
        if path.contains(['*', '?', '['])
            && let Err(error) = glob::Pattern::new(&path)
        {
            reader.sink().error(at, format!("not a valid pattern: {}", error.msg));
            return None;
        }
        Some(path)
    });
    let confirm = confirm(&mut reader, Confirm::default(), |_| Duration::ZERO);
    let check = file.as_ref().map(|path| format!("heartbeat:{path}"));
    told.read(&mut reader, check.as_deref().as_slice());
    reader.finish();
    file.map(|path| (HeartbeatRule { path: path.into(), max_age, severity, confirm }, at))
}
