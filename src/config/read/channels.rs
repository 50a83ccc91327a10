//! Reading `[[channel]]` as far as it is the same for every type, and `[outbound]`. The keys of a
//! type are left for its kind to read.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::Severity;
use crate::engine::rules::ChannelRule;

use super::super::settings::{ChannelSection, Outbound};
use super::super::sink::Sink;
use super::{HOUR, Names, Sections};

/// What no kind reads itself.
const COMMON: [&str; 6] =
    ["name", "type", "min_severity", "send_resolved", "max_per_minute", "digest"];

/// What goes out at least, and whether notices do.
const LEAST: [(&str, (Severity, bool)); 3] = [
    ("info", (Severity::Warning, true)),
    ("warning", (Severity::Warning, false)),
    ("critical", (Severity::Critical, false)),
];

/// The channels, and the names of all that are written down, also of those with errors.
pub(super) fn channels(
    sections: &mut Sections,
    sink: &mut Sink,
) -> (Vec<ChannelSection>, Vec<String>) {
    let mut names = Names::new("channel");
    let mut known = Vec::new();
    let mut channels = Vec::new();
    for mut section in sections.list("channel") {
        let mut reader = section.read(sink);
        reader.require("name", "\"ops\"");
        reader.require("type", "\"webhook\"");
        let name = reader.text_at("name");
        known.extend(name.iter().map(|(name, _)| name.clone()));
        let name = name.filter(|(name, at)| names.plain(name, *at, reader.sink()));
        let kind = reader.text_at("type");
        let mut rule = ChannelRule::new("", "");
        if let Some((severity, notices)) = reader.one_of("min_severity", &LEAST) {
            (rule.min_severity, rule.notices) = (severity, notices);
        }
        if let Some(yes) = reader.bool("send_resolved") {
            rule.send_resolved = yes;
        }
        if let Some(most) =
            reader.integer("max_per_minute", 1, 60).and_then(|n| u32::try_from(n).ok())
        {
            rule.max_per_minute = most;
        }
        rule.digest = reader.duration("digest", Duration::ZERO, HOUR).filter(|d| !d.is_zero());
        // Not finished here: the rest of its keys are the kind's.
        section.take_out(&COMMON, sink);
        if let (Some((name, at)), Some((kind, kind_at))) = (name, kind)
            && names.add(&name, at, sink)
        {
            let name: Arc<str> = name.into();
            let rule = ChannelRule { name: name.clone(), kind: kind.as_str().into(), ..rule };
            channels.push(ChannelSection { name, kind, rule, section, kind_at });
        }
    }
    (channels, known)
}

pub(super) fn outbound(sections: &mut Sections, sink: &mut Sink) -> Outbound {
    let mut outbound = Outbound::default();
    let Some(mut reader) = sections.table("outbound", sink) else { return outbound };
    outbound.ca = reader.path("ca");
    outbound.ca_at = reader.has("ca").then(|| reader.place_of("ca"));
    outbound.proxy_at = reader.has("proxy").then(|| reader.place_of("proxy"));
    if let Some(proxy) = reader.proxy("proxy") {
        outbound.proxy = proxy;
    }
    reader.finish();
    outbound
}
