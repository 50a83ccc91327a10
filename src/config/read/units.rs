//! Reading what is said of units: `[units]`, `[[unit]]` and heartbeats, and of restarts in general.

use std::time::Duration;

use crate::engine::Severity;
use crate::engine::rules::{
    Backoff, Confirm, CrashLoop, HeartbeatRule, Rules, UnitPattern, UnitRule,
};

use super::super::section::Section;
use super::super::sink::{Place, Sink};
use super::restarts::{Waits, crash_loop, waits};
use super::{DAY, FOREVER, Names, SECOND, SEVERITY, Sections, Told, confirm};

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
