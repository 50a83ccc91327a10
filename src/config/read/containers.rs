//! Reading `[containers]` and `[[container]]`.

use std::time::Duration;

use crate::engine::Severity;
use crate::engine::rules::{ContainerRule, Levels, Rules, Selector};

use super::super::section::{Reader, Section};
use super::super::settings::{Containers, EngineAddress};
use super::super::sink::{Place, Sink};
use super::super::values::brief;
use super::restarts::{Waits, crash_loop, waits};
use super::{DAY, Names, SEVERITY, Sections, Told, thresholds};

mod engines;

/// Labels that Compose gives its containers, and the keys that stand for them.
const COMPOSE: [(&str, &str); 2] =
    [("project", "com.docker.compose.project"), ("service", "com.docker.compose.service")];

pub(super) fn containers(
    sections: &mut Sections,
    rules: &mut Rules,
    told: &mut Told,
    sink: &mut Sink,
) -> Containers {
    let mut settings = Containers::default();
    let mut common = Waits::default();
    let mut off_at = None;
    if let Some(mut reader) = sections.table("containers", sink) {
        let into = &mut rules.containers;
        settings.off = reader.bool("enabled") == Some(false);
        into.off = settings.off;
        off_at = settings.off.then(|| reader.place_of("enabled"));
        settings.engines = engines::read(&mut reader);
        into.all = reader.bool("all").unwrap_or(into.all);
        for (text, at) in reader.texts("ignore").unwrap_or_default() {
            into.ignore.extend(name(&text, "containers.ignore", at, reader.sink()));
        }
        into.labels = reader.bool("labels").unwrap_or(into.labels);
        into.cooldown =
            reader.duration("cooldown", Duration::ZERO, 7 * DAY).unwrap_or(into.cooldown);
        treatment(&mut reader, &mut into.default, &mut common);
        reader.finish();
    }

    let mut names = Names::new("container");
    for section in sections.list("container") {
        if let Some(off) = off_at.take() {
            let off = sink.describe(off);
            sink.warning(section.place(), format!("no container is watched: {off} says so"))
                .hint("take `enabled = false` away, or the [[container]]");
        }
        let mut reader = section.read(sink);
        let who = who(&section, &mut reader);
        let mut rule = rules.containers.default.clone();
        rule.restart = reader.bool("restart").unwrap_or(false);
        rule.required = reader.bool("required").unwrap_or(false);
        rule.severity = reader.one_of::<Severity>("severity", &SEVERITY);
        treatment(&mut reader, &mut rule, &mut common.clone());
        channels(&mut reader, who.as_ref(), told);
        reader.finish();
        if let Some(who) = who
            && names.add(&who.to_string(), section.place(), sink)
        {
            rules.containers.list.push(ContainerRule { who, ..rule });
        }
    }
    settings
}

/// What `[containers]` and `[[container]]` have in common, over what stands as the default.
fn treatment(reader: &mut Reader<'_>, rule: &mut ContainerRule, before: &mut Waits) {
    let confirm = &mut rule.confirm;
    confirm.lasting = reader.duration("for", Duration::ZERO, DAY).unwrap_or(confirm.lasting);
    confirm.recovery = reader.duration("recovery", Duration::ZERO, DAY).unwrap_or(confirm.recovery);
    if let Some(section) = reader.table("backoff") {
        let mut inner = section.read(reader.sink());
        if let (own, Some(backoff)) = waits(&mut inner, *before) {
            (*before, rule.backoff) = (own, backoff);
        }
        inner.finish();
    }
    if let Some(section) = reader.table("restart_loop") {
        let mut inner = section.read(reader.sink());
        rule.restart_loop = crash_loop(&mut inner, &rule.restart_loop);
        inner.finish();
    }
    for (key, levels) in [("memory", &mut rule.memory), ("cpu", &mut rule.cpu)] {
        match reader.table_or_off(key) {
            None => {}
            // Off, with the durations of all: a container may turn it on by a threshold alone.
            Some(None) => {
                *levels =
                    Levels::try_new(None, None, levels.confirm()).unwrap_or_else(|_| Levels::off());
            }
            Some(Some(section)) => {
                let mut inner = section.read(reader.sink());
                thresholds(&mut inner, 1.0, levels);
                inner.finish();
            }
        }
    }
}

/// Which containers a section is about; `None` when that is wrong or not said.
fn who(section: &Section, reader: &mut Reader<'_>) -> Option<Selector> {
    let mut who = Selector::default();
    let (mut said, mut sound) = (false, true);
    if let Some((text, at)) = said_of(reader, "name", &mut said, &mut sound) {
        who.name = name(&text, "container.name", at, reader.sink());
        sound &= who.name.is_some();
    }
    if let Some((text, at)) = said_of(reader, "image", &mut said, &mut sound) {
        who.image = pattern(&text, "container.image", at, reader.sink());
        sound &= who.image.is_some();
    }
    if reader.has("label") {
        said = true;
        let labels = reader.text_map("label");
        sound &= labels.is_some();
        for (key, (text, at)) in labels.unwrap_or_default() {
            match pattern(&text, &format!("container.label.{key}"), at, reader.sink()) {
                Some(pattern) => drop(who.labels.insert(key, pattern)),
                None => sound = false,
            }
        }
        if sound && who.labels.is_empty() {
            let at = reader.place_of("label");
            reader
                .sink()
                .error(at, "`container.label` names no label")
                .hint("write label = { tier = \"front\" }");
            sound = false;
        }
    } else {
        // Asked for all the same, so that it is a key that is known.
        reader.text_map("label");
    }
    for (key, label) in COMPOSE {
        let Some((text, at)) = said_of(reader, key, &mut said, &mut sound) else { continue };
        let Some(pattern) = pattern(&text, &format!("container.{key}"), at, reader.sink()) else {
            sound = false;
            continue;
        };
        if who.labels.insert(label.to_owned(), pattern).is_some() {
            let message = format!("`container.{key}` and the label {label} are the same");
            reader.sink().error(at, message).hint("keep one of the two");
            sound = false;
        }
    }
    if !said {
        reader
            .sink()
            .error(section.place(), "[[container]] does not say which containers")
            .hint("add name = \"web\", or image, label, project or service; for all, name = \"*\"");
        return None;
    }
    sound.then_some(who)
}

/// A text that is there; `said` tells whether the key is, `sound` whether it can be read.
fn said_of(
    reader: &mut Reader<'_>,
    key: &'static str,
    said: &mut bool,
    sound: &mut bool,
) -> Option<(String, Place)> {
    *said |= reader.has(key);
    let found = reader.text_at(key);
    *sound &= found.is_some() || !reader.has(key);
    found
}

/// A container's name or a pattern of names, with what stands before the names of further engines.
pub(super) fn name(text: &str, key: &str, at: Place, sink: &mut Sink) -> Option<glob::Pattern> {
    if let Some(bare) = text.strip_prefix('/') {
        sink.error(at, format!("`{key}`: the name of a container has no / at its beginning"))
            .hint(format!("write \"{}\"", brief(bare)));
        return None;
    }
    let odd = |c: &char| !(c.is_ascii_alphanumeric() || "_.-/*?[]!".contains(*c));
    if let Some(odd) = text.chars().find(odd) {
        sink.error(at, format!("`{key}`: the name of a container cannot contain {odd:?}"))
            .hint("letters, digits, _ . and -, and * ? [...] for a pattern");
        return None;
    }
    pattern(text, key, at, sink)
}

pub(super) fn pattern(text: &str, key: &str, at: Place, sink: &mut Sink) -> Option<glob::Pattern> {
    glob::Pattern::new(text)
        .map_err(|e| sink.error(at, format!("`{key}`: not a valid pattern: {}", e.msg)))
        .ok()
}

/// `channels` is a route to checks, and those are known by their names alone.
fn channels(reader: &mut Reader<'_>, who: Option<&Selector>, told: &mut Told) {
    let name = who.and_then(|who| who.name.as_ref());
    let at = reader.place_of("channels");
    if let (true, Some(who)) = (reader.has("channels"), who) {
        match name {
            None => {
                reader
                    .sink()
                    .error(at, "`container.channels` needs the `name` of the container")
                    .hint("add name, a pattern will do, or a [[route]] with checks = [\"container:NAME\"]");
            }
            Some(name)
                if who.exact().is_none() && (who.image.is_some() || !who.labels.is_empty()) =>
            {
                let message =
                    format!("`container.channels` goes by the name alone: it is for all of {name}");
                reader.sink().warning(at, message);
            }
            Some(_) => {}
        }
    }
    let check = name.map(|name| format!("container:{name}"));
    told.read(reader, check.as_deref().as_slice());
}
