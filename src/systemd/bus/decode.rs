//! D-Bus bodies into the few values that keepwell uses. A change of one service carries some 60
//! properties and 1000 restarts carry 18 000 changes, so everything else is skipped where it
//! stands, and the words that come again and again are kept once.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use zbus::message::Body;
use zbus::{Signature, Type, signature};

use super::BusError;
use super::{SERVICE, UNIT};
use crate::engine::Wall;
use crate::engine::observation::{
    ActiveState, Details, Invocation, LoadState, ServiceSeen, UnitSeen,
};

/// Words that systemd repeats (`running`, `success`, `exit-code`), each allocated once.
#[derive(Debug, Default)]
pub struct Words(HashSet<Arc<str>>);

impl Words {
    /// More words than systemd has; beyond it they are not kept.
    const MOST: usize = 512;

    /// The shared copy of `word`.
    pub fn get(&mut self, word: &str) -> Arc<str> {
        if let Some(known) = self.0.get(word) {
            return Arc::clone(known);
        }
        let new: Arc<str> = word.into();
        if self.0.len() < Self::MOST {
            self.0.insert(Arc::clone(&new));
        }
        new
    }
}

/// What one message says of the Unit interface; `None` is "not in it".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitHalf {
    pub load: Option<LoadState>,
    pub active: Option<ActiveState>,
    pub sub: Option<Arc<str>>,
    pub job: Option<bool>,
    pub invocation: Option<Option<Invocation>>,
    pub since: Option<Option<Wall>>,
    pub active_since: Option<Option<Wall>>,
    pub condition_result: Option<bool>,
    pub condition_checked: Option<bool>,
    pub triggered: Option<bool>,
    /// What the unit starts, as a timer, socket or path.
    pub triggers: Option<Vec<Arc<str>>>,
    /// What it cannot do without; complete in the answer to a `GetAll`, and in no signal.
    pub requires: Option<Vec<Arc<str>>>,
}

/// What one message says of the Service interface; `None` is "not in it".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceHalf {
    pub result: Option<Arc<str>>,
    pub exit_code: Option<i32>,
    pub exit_status: Option<i32>,
    pub main_pid: Option<u32>,
    pub n_restarts: Option<u32>,
    pub restart: Option<Arc<str>>,
    pub kind: Option<Arc<str>>,
    pub dies_whole: Option<bool>,
}

impl UnitHalf {
    /// Writes what this says over `seen`.
    pub fn apply(&self, seen: &mut UnitSeen) {
        if let Some(load) = self.load {
            seen.load = load;
        }
        if let Some(active) = self.active {
            seen.active = active;
        }
        if let Some(sub) = &self.sub {
            seen.sub = Arc::clone(sub);
        }
        if let Some(job) = self.job {
            seen.job = job;
        }
        if let Some(invocation) = self.invocation {
            seen.invocation = invocation;
        }
        if let Some(since) = self.since {
            seen.since = since;
        }
        if let Some(since) = self.active_since {
            seen.active_since = since;
        }
        if let (Some(result), Some(checked)) = (self.condition_result, self.condition_checked) {
            seen.condition_failed = checked && !result;
        }
    }

    fn take(&mut self, key: &str, value: &Small<'_>, words: &mut Words) {
        match (key, value) {
            ("LoadState", Small::Text(t)) => self.load = Some(LoadState::from_systemd(t)),
            ("ActiveState", Small::Text(t)) => self.active = Some(ActiveState::from_systemd(t)),
            ("SubState", Small::Text(t)) => self.sub = Some(words.get(t)),
            ("Job", Small::U32(id)) => self.job = Some(*id != 0),
            ("InvocationID", Small::Bytes(id)) => {
                self.invocation = Some(Invocation::from_bytes(id));
            }
            ("StateChangeTimestamp", Small::U64(us)) => self.since = Some(moment(*us)),
            ("ActiveEnterTimestamp", Small::U64(us)) => self.active_since = Some(moment(*us)),
            ("ConditionResult", Small::Bool(met)) => self.condition_result = Some(*met),
            ("ConditionTimestamp", Small::U64(us)) => self.condition_checked = Some(*us != 0),
            ("TriggeredBy", Small::Names(names)) => self.triggered = Some(!names.is_empty()),
            ("Triggers", Small::Names(names)) => {
                self.triggers = Some(names.iter().map(|name| words.get(name)).collect());
            }
            ("Requires" | "Requisite" | "BindsTo" | "PartOf", Small::Names(names)) => {
                let all = self.requires.get_or_insert_default();
                all.extend(names.iter().filter(|n| !is_common(n)).map(|n| words.get(n)));
            }
            _ => {}
        }
    }

    fn wants(key: &str) -> bool {
        matches!(
            key,
            "LoadState"
                | "ActiveState"
                | "SubState"
                | "Job"
                | "InvocationID"
                | "StateChangeTimestamp"
                | "ActiveEnterTimestamp"
                | "ConditionResult"
                | "ConditionTimestamp"
                | "TriggeredBy"
                | "Requires"
                | "Requisite"
                | "BindsTo"
                | "PartOf"
        )
    }
}

/// systemd says 0 of what has not happened.
fn moment(us: u64) -> Option<Wall> {
    i64::try_from(us).ok().filter(|us| *us > 0).map(Wall)
}

impl ServiceHalf {
    /// Writes what this says over `seen`.
    pub fn apply(&self, seen: &mut ServiceSeen) {
        if let Some(result) = &self.result {
            seen.result = Arc::clone(result);
        }
        if let Some(code) = self.exit_code {
            seen.exit_code = code;
        }
        if let Some(status) = self.exit_status {
            seen.exit_status = status;
        }
        if let Some(pid) = self.main_pid {
            seen.main_pid = pid;
        }
        if let Some(n) = self.n_restarts {
            seen.n_restarts = n;
        }
        if let Some(whole) = self.dies_whole {
            seen.dies_whole = whole;
        }
    }

    fn take(&mut self, key: &str, value: &Small<'_>, words: &mut Words) {
        match (key, value) {
            ("Result", Small::Text(t)) => self.result = Some(words.get(t)),
            ("ExecMainCode", Small::I32(n)) => self.exit_code = Some(*n),
            ("ExecMainStatus", Small::I32(n)) => self.exit_status = Some(*n),
            ("MainPID", Small::U32(n)) => self.main_pid = Some(*n),
            ("NRestarts", Small::U32(n)) => self.n_restarts = Some(*n),
            ("Restart", Small::Text(t)) => self.restart = Some(words.get(t)),
            ("Type", Small::Text(t)) => self.kind = Some(words.get(t)),
            ("OOMPolicy", Small::Text(policy)) => self.dies_whole = Some(*policy == "kill"),
            _ => {}
        }
    }

    fn wants(key: &str) -> bool {
        matches!(
            key,
            "Result"
                | "ExecMainCode"
                | "ExecMainStatus"
                | "MainPID"
                | "NRestarts"
                | "Restart"
                | "Type"
                | "OOMPolicy"
        )
    }
}

/// What nearly every unit requires, or what only groups units: it explains no failure.
fn is_common(name: &str) -> bool {
    name.ends_with(".slice") || name.ends_with(".target") || name == "-.mount"
}

/// Details, when both halves of a full reading (or the Unit half of what is no service) have them.
pub(crate) fn details(unit: &UnitHalf, service: Option<&ServiceHalf>) -> Option<Details> {
    let triggered = unit.triggered?;
    let requires = unit.requires.clone().unwrap_or_default();
    Some(match service {
        None => Details { triggered, requires, ..Details::default() },
        Some(s) => {
            Details { restart: s.restart.clone()?, kind: s.kind.clone()?, triggered, requires }
        }
    })
}

/// One half of what an object says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Half {
    Unit(UnitHalf),
    Service(ServiceHalf),
    /// An interface that keepwell does not read.
    Other,
}

impl Half {
    fn of(interface: &str) -> Self {
        match interface {
            UNIT => Self::Unit(UnitHalf::default()),
            SERVICE => Self::Service(ServiceHalf::default()),
            _ => Self::Other,
        }
    }

    fn wants(&self, key: &str) -> bool {
        match self {
            Self::Unit(_) => UnitHalf::wants(key),
            Self::Service(_) => ServiceHalf::wants(key),
            Self::Other => false,
        }
    }

    fn take(&mut self, key: &str, value: &Small<'_>, words: &mut Words) {
        match self {
            Self::Unit(half) => half.take(key, value, words),
            Self::Service(half) => half.take(key, value, words),
            Self::Other => {}
        }
    }
}

/// The body of `PropertiesChanged`.
pub(crate) fn properties_changed(body: &Body, words: &mut Words) -> zbus::Result<Half> {
    body.data().deserialize_with_seed(ChangedSeed(words)).map(|(half, _)| half)
}

/// The body of the answer to `GetAll` of `interface`.
pub(crate) fn all_properties(
    body: &Body,
    interface: &str,
    words: &mut Words,
) -> zbus::Result<Half> {
    let seed = PropertiesSeed { half: Half::of(interface), words };
    body.data().deserialize_with_seed(seed).map(|(half, _)| half)
}

/// The body of the answer to `Get` of `property` of `interface`.
pub(crate) fn one_property(
    body: &Body,
    interface: &str,
    property: &str,
    words: &mut Words,
) -> zbus::Result<Half> {
    let (value, _) = body.data().deserialize::<Small<'_>>()?;
    let mut half = Half::of(interface);
    half.take(property, &value, words);
    Ok(half)
}

/// A string property by itself.
pub(crate) fn text_property(body: &Body) -> Option<String> {
    match body.data().deserialize::<Small<'_>>() {
        Ok((Small::Text(text), _)) => Some(text.to_owned()),
        _ => None,
    }
}

/// A boolean property by itself.
pub(crate) fn flag_property(body: &Body) -> Option<bool> {
    match body.data().deserialize::<Small<'_>>() {
        Ok((Small::Bool(flag), _)) => Some(flag),
        _ => None,
    }
}

/// An unsigned property by itself.
pub(crate) fn number_property(body: &Body) -> Option<u32> {
    match body.data().deserialize::<Small<'_>>() {
        Ok((Small::U32(n), _)) => Some(n),
        _ => None,
    }
}

/// One line of `ListUnits` and its kin, as far as keepwell reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The unit's primary name; an alias that was asked for is answered with it.
    pub name: Arc<str>,
    /// `LoadState`.
    pub load: LoadState,
    /// `ActiveState`.
    pub active: ActiveState,
    /// `SubState`.
    pub sub: Arc<str>,
    /// A job is queued or running.
    pub job: bool,
}

/// The body of the answer to `ListUnitsByNames` or `ListUnitsByPatterns`.
pub(crate) fn rows(body: &Body, words: &mut Words) -> zbus::Result<Vec<Row>> {
    body.data().deserialize_with_seed(RowsSeed(words)).map(|(rows, _)| rows)
}

pub(crate) fn unreadable(what: &str, error: &zbus::Error) -> BusError {
    BusError::Failed {
        call: what.to_owned(),
        name: String::new(),
        text: format!("the answer cannot be read: {error}"),
    }
}

static PROPERTIES: Signature = signature!("a{sv}");
static CHANGED: Signature = signature!("(sa{sv}as)");
static ROWS: Signature = signature!("a(ssssssouso)");

/// Reads `(interface, changed, invalidated)`.
struct ChangedSeed<'w>(&'w mut Words);

impl Type for ChangedSeed<'_> {
    const SIGNATURE: &'static Signature = &CHANGED;
}

impl<'de> DeserializeSeed<'de> for ChangedSeed<'_> {
    type Value = Half;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Half, D::Error> {
        deserializer.deserialize_tuple(3, self)
    }
}

impl<'de> Visitor<'de> for ChangedSeed<'_> {
    type Value = Half;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an interface, its changed and its invalidated properties")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Half, A::Error> {
        let interface: &str = next(&mut seq)?;
        let half = Half::of(interface);
        if half == Half::Other {
            return Ok(half);
        }
        // systemd sends the values with the change, so nothing that is read here is invalidated.
        seq.next_element_seed(PropertiesSeed { half, words: self.0 })?
            .ok_or_else(|| de::Error::custom("no properties"))
    }
}

/// Reads `a{sv}` into a half.
struct PropertiesSeed<'w> {
    half: Half,
    words: &'w mut Words,
}

impl Type for PropertiesSeed<'_> {
    const SIGNATURE: &'static Signature = &PROPERTIES;
}

impl<'de> DeserializeSeed<'de> for PropertiesSeed<'_> {
    type Value = Half;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Half, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for PropertiesSeed<'_> {
    type Value = Half;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("properties")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Half, A::Error> {
        let Self { mut half, words } = self;
        while let Some(key) = map.next_key::<&str>()? {
            if half.wants(key) {
                let value: Small<'de> = map.next_value()?;
                half.take(key, &value, words);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(half)
    }
}

/// A variant that holds one of the types that keepwell reads.
#[derive(Debug)]
enum Small<'a> {
    Text(&'a str),
    U32(u32),
    I32(i32),
    U64(u64),
    Bool(bool),
    Bytes(&'a [u8]),
    /// Names of units.
    Names(Vec<&'a str>),
    Other,
}

impl Type for Small<'_> {
    const SIGNATURE: &'static Signature = &Signature::Variant;
}

impl<'de> Deserialize<'de> for Small<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Variant;
        impl<'de> Visitor<'de> for Variant {
            type Value = Small<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a variant")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Small<'de>, A::Error> {
                let signature: &str = next(&mut seq)?;
                Ok(match signature {
                    "s" => Small::Text(next(&mut seq)?),
                    "u" => Small::U32(next(&mut seq)?),
                    "i" => Small::I32(next(&mut seq)?),
                    "t" => Small::U64(next(&mut seq)?),
                    "b" => Small::Bool(next(&mut seq)?),
                    "ay" => Small::Bytes(next(&mut seq)?),
                    // A job: its number and its path.
                    "(uo)" => Small::U32(next::<(u32, IgnoredAny), A>(&mut seq)?.0),
                    "as" => Small::Names(next(&mut seq)?),
                    _ => {
                        next::<IgnoredAny, A>(&mut seq)?;
                        Small::Other
                    }
                })
            }
        }
        deserializer.deserialize_struct("Variant", &["signature", "value"], Variant)
    }
}

fn next<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(seq: &mut A) -> Result<T, A::Error> {
    seq.next_element()?.ok_or_else(|| de::Error::custom("the message ends too early"))
}

/// Reads `a(ssssssouso)`.
struct RowsSeed<'w>(&'w mut Words);

impl Type for RowsSeed<'_> {
    const SIGNATURE: &'static Signature = &ROWS;
}

impl<'de> DeserializeSeed<'de> for RowsSeed<'_> {
    type Value = Vec<Row>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Row>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for RowsSeed<'_> {
    type Value = Vec<Row>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("units")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Row>, A::Error> {
        type Raw<'a> = (
            &'a str,
            IgnoredAny,
            &'a str,
            &'a str,
            &'a str,
            IgnoredAny,
            IgnoredAny,
            u32,
            IgnoredAny,
            IgnoredAny,
        );
        let mut rows = Vec::new();
        while let Some((name, _, load, active, sub, _, _, job, _, _)) =
            seq.next_element::<Raw<'de>>()?
        {
            rows.push(Row {
                name: name.into(),
                load: LoadState::from_systemd(load),
                active: ActiveState::from_systemd(active),
                sub: self.0.get(sub),
                job: job != 0,
            });
        }
        Ok(rows)
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
