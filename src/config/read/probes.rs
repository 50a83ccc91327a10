//! Reading `[[probe]]` as far as it is the same for every type. The keys of a type are left for its
//! kind to read.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::Severity;
use crate::engine::rules::{Confirm, ProbeRule, Rules};

use super::super::settings::ProbeSection;
use super::super::sink::Sink;
use super::alerts::Told;
use super::{DAY, Names, SECOND, SEVERITY, Sections, confirm};

/// What no kind reads itself.
const COMMON: [&str; 10] = [
    "name",
    "type",
    "interval",
    "timeout",
    "severity",
    "for",
    "recovery",
    "failures",
    "successes",
    "channels",
];

const TIMEOUT: Duration = Duration::from_secs(30);

pub(super) fn probes(
    sections: &mut Sections,
    rules: &mut Rules,
    told: &mut Told,
    sink: &mut Sink,
) -> Vec<ProbeSection> {
    let mut names = Names::new("probe");
    let mut probes = Vec::new();
    for mut section in sections.list("probe") {
        let mut reader = section.read(sink);
        reader.require("name", "\"site\"");
        reader.require("type", "\"git\"");
        let name = reader.text_at("name");
        let name = name.filter(|(name, at)| names.plain(name, *at, reader.sink()));
        let kind = reader.text_at("type");
        let interval = reader.duration("interval", 10 * SECOND, DAY);
        let timeout = reader.duration("timeout", SECOND, 600 * SECOND);
        if let (Some(interval), Some(timeout)) = (interval, timeout)
            && timeout > interval
        {
            let at = reader.place_of("timeout");
            reader.sink().error(at, "`probe.timeout` must not be longer than its `interval`");
        }
        // Two that look often and say nothing of their limit are right as well.
        let timeout = timeout.unwrap_or(interval.unwrap_or(TIMEOUT).min(TIMEOUT));
        let severity = reader.one_of("severity", &SEVERITY).unwrap_or(Severity::Warning);
        let confirm = confirm(&mut reader, Confirm::default(), |_| Duration::ZERO);
        let check = name.as_ref().map(|(name, _)| format!("probe:{name}"));
        told.read(&mut reader, check.as_deref().as_slice());
        // Not finished here: the rest of its keys are the kind's.
        section.take_out(&COMMON, sink);
        if let (Some((name, at)), Some((kind, kind_at))) = (name, kind)
            && names.add(&name, at, sink)
        {
            let name: Arc<str> = name.into();
            rules.probes.push(ProbeRule { name: name.clone(), severity, confirm });
            probes.push(ProbeSection { name, kind, interval, timeout, section, kind_at });
        }
    }
    probes
}
