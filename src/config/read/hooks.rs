//! Reading `[[hook]]` as far as it is the same for every type. The keys of a type are left for its
//! kind to read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::hook::Transition;
use crate::engine::rules::{HookRule, Selector};

use super::super::section::{Reader, suggestion};
use super::super::settings::HookSection;
use super::super::sink::{Place, Sink};
use super::super::values::brief;
use super::containers::{name, pattern};
use super::{Names, Sections};

/// What no kind reads itself.
const COMMON: [&str; 6] = ["name", "type", "events", "containers", "images", "labels"];
/// At most so many pairs of a name and an image: each event is compared with all.
const MOST: usize = 1000;

pub(super) fn hooks(sections: &mut Sections, sink: &mut Sink) -> Vec<HookSection> {
    let mut names = Names::new("hook");
    let mut hooks = Vec::new();
    for mut section in sections.list("hook") {
        let mut reader = section.read(sink);
        reader.require("name", "\"registry\"");
        reader.require("type", "\"discovery\"");
        let own = reader.text_at("name");
        let own = own.filter(|(name, at)| names.plain(name, *at, reader.sink()));
        let kind = reader.text_at("type");
        let events = events(&mut reader);
        let events_at = reader.has("events").then(|| reader.place_of("events"));
        let who = who(&mut reader);
        // Not finished here: the rest of its keys are the kind's.
        section.take_out(&COMMON, sink);
        if let (Some((name, at)), Some((kind, kind_at))) = (own, kind)
            && names.add(&name, at, sink)
        {
            let name: Arc<str> = name.into();
            let (kind_word, receiver) = (kind.as_str().into(), "".into());
            let rule = HookRule { name: name.clone(), kind: kind_word, events, who, receiver };
            hooks.push(HookSection { name, kind, rule, section, kind_at, events_at });
        }
    }
    hooks
}

/// Of what it is told; empty: not said.
fn events(reader: &mut Reader<'_>) -> BTreeSet<Transition> {
    let mut events = BTreeSet::new();
    let hint = "to be told of all, leave it out";
    for (text, at) in reader.some_texts("events", hint).unwrap_or_default() {
        match Transition::ALL.iter().find(|event| event.as_str() == text) {
            Some(event) => drop(events.insert(*event)),
            None => {
                let known: Vec<&str> = Transition::ALL.iter().map(|e| e.as_str()).collect();
                let message = format!("`hook.events`: there is no event \"{}\"", brief(&text));
                let hint = suggestion(&text, &known).replace("it takes", "events:");
                reader.sink().error(at, message).hint(hint);
            }
        }
    }
    events
}

/// The patterns of a list; where nothing is said, one that says nothing.
fn either(
    reader: &mut Reader<'_>,
    key: &'static str,
    read: fn(&str, &str, Place, &mut Sink) -> Option<glob::Pattern>,
) -> Vec<Option<glob::Pattern>> {
    let mut found = Vec::new();
    for (text, at) in reader.some_texts(key, "for all, leave it out").unwrap_or_default() {
        found.extend(read(&text, &format!("hook.{key}"), at, reader.sink()).map(Some));
    }
    if found.is_empty() { vec![None] } else { found }
}

/// Of which containers it is told: a name that fits and an image that fits, with all labels.
fn who(reader: &mut Reader<'_>) -> Vec<Selector> {
    let mut labels = BTreeMap::new();
    for (key, (text, at)) in reader.text_map("labels").unwrap_or_default() {
        if let Some(glob) = pattern(&text, &format!("hook.labels.{key}"), at, reader.sink()) {
            labels.insert(key, glob);
        }
    }
    let names = either(reader, "containers", name);
    let images = either(reader, "images", pattern);
    if names.len() * images.len() > MOST {
        let at = reader.place_of("images");
        reader.sink().error(at, format!("more than {MOST} pairs of a name and an image"));
        return Vec::new();
    }
    if labels.is_empty() && names == [None] && images == [None] {
        return Vec::new();
    }
    let pairs = names.iter().flat_map(|name| images.iter().map(move |image| (name, image)));
    pairs
        .map(|(name, image)| Selector {
            name: name.clone(),
            image: image.clone(),
            labels: labels.clone(),
        })
        .collect()
}
