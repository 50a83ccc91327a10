//! One entry of the journal as `journalctl --output=json` writes it.

use std::fmt;
use std::sync::Arc;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::engine::Wall;
use crate::engine::observation::Invocation;

/// One entry, as far as keepwell asks for it. A field that is missing, or not readable as what it
/// should be, is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// `__CURSOR`: its place in the journal.
    pub cursor: String,
    /// `__REALTIME_TIMESTAMP`: when journald took it.
    pub at: Wall,
    /// `MESSAGE`; lossy where it is not UTF-8; `None` also where it is too long to be shown.
    pub message: Option<String>,
    /// `MESSAGE_ID`.
    pub message_id: Option<String>,
    /// `UNIT`, or `USER_UNIT`: which unit a service manager speaks of.
    pub about: Option<String>,
    /// `INVOCATION_ID`, or `USER_INVOCATION_ID`: which run it speaks of.
    pub about_run: Option<Invocation>,
    /// `JOB_TYPE`, in a manager's messages.
    pub job: Option<String>,
    /// `_SYSTEMD_UNIT`: the unit whose process logged it.
    pub unit: Option<String>,
    /// `_SYSTEMD_USER_UNIT`: the same, of a user's service manager.
    pub user_unit: Option<String>,
    /// `PRIORITY`, 0 (emergency) to 7 (debug).
    pub priority: Option<u8>,
    /// `SYSLOG_IDENTIFIER`: what the logger calls itself.
    pub ident: Option<String>,
    /// `_PID`.
    pub pid: Option<u32>,
    /// `_BOOT_ID`, written as in `/proc/sys/kernel/random/boot_id`; empty where it is not known.
    pub boot_id: Arc<str>,
    /// `_TRANSPORT`: `stdout` for what a service prints, also on standard error.
    pub transport: Option<String>,
}

impl Entry {
    /// What to ask `journalctl` for.
    pub(super) const FIELDS: &str = "MESSAGE,MESSAGE_ID,UNIT,USER_UNIT,INVOCATION_ID,\
USER_INVOCATION_ID,JOB_TYPE,_SYSTEMD_UNIT,_SYSTEMD_USER_UNIT,PRIORITY,SYSLOG_IDENTIFIER,_PID,\
_TRANSPORT,_BOOT_ID";

    /// Reads one line of JSON; `None` unless it is an object with a cursor and a time.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let raw: Raw = serde_json::from_slice(line).ok()?;
        Some(Self {
            cursor: raw.cursor.0?,
            boot_id: raw.boot_id.0.map_or_else(|| "".into(), |id| with_dashes(&id)),
            at: Wall(raw.at.0?.parse().ok()?),
            message: raw.message.0,
            message_id: raw.message_id.0,
            about: raw.about.0.or(raw.user_about.0),
            about_run: raw.run.0.or(raw.user_run.0).and_then(|id| id.parse().ok()),
            job: raw.job.0,
            unit: raw.unit.0,
            user_unit: raw.user_unit.0,
            priority: raw.priority.0.and_then(|p| p.parse().ok()),
            ident: raw.ident.0,
            pid: raw.pid.0.and_then(|p| p.parse().ok()),
            transport: raw.transport.0,
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Raw {
    #[serde(rename = "__CURSOR")]
    cursor: Field,
    #[serde(rename = "__REALTIME_TIMESTAMP")]
    at: Field,
    #[serde(rename = "MESSAGE")]
    message: Field,
    #[serde(rename = "MESSAGE_ID")]
    message_id: Field,
    #[serde(rename = "UNIT")]
    about: Field,
    #[serde(rename = "USER_UNIT")]
    user_about: Field,
    #[serde(rename = "INVOCATION_ID")]
    run: Field,
    #[serde(rename = "USER_INVOCATION_ID")]
    user_run: Field,
    #[serde(rename = "JOB_TYPE")]
    job: Field,
    #[serde(rename = "_SYSTEMD_UNIT")]
    unit: Field,
    #[serde(rename = "_SYSTEMD_USER_UNIT")]
    user_unit: Field,
    #[serde(rename = "PRIORITY")]
    priority: Field,
    #[serde(rename = "SYSLOG_IDENTIFIER")]
    ident: Field,
    #[serde(rename = "_PID")]
    pid: Field,
    #[serde(rename = "_TRANSPORT")]
    transport: Field,
    #[serde(rename = "_BOOT_ID")]
    boot_id: Field,
}

/// The journal writes ids without dashes, the kernel the boot's with.
pub(super) fn with_dashes(id: &str) -> Arc<str> {
    if id.len() != 32 || !id.is_ascii() {
        return id.into();
    }
    let parts = [&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]];
    parts.join("-").into()
}

/// A field's value: text; `null` when it is too long; an array of bytes when it is not UTF-8; an
/// array of any of these when the entry has the field more than once (then the last readable one).
#[derive(Default)]
struct Field(Option<String>);

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Value::deserialize(d).map(|value| match value {
            Value::Text(text) => Self(Some(text)),
            Value::Byte(_) | Value::Nothing => Self(None),
        })
    }
}

enum Value {
    Text(String),
    Byte(u8),
    Nothing,
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a journal field")
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(u8::try_from(number).map_or(Value::Nothing, Value::Byte))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Nothing)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Nothing)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Nothing)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nothing)
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Nothing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut bytes = Vec::new();
        let mut text = None;
        while let Some(value) = seq.next_element()? {
            match value {
                Value::Byte(byte) => bytes.push(byte),
                Value::Text(one) => text = Some(one),
                Value::Nothing => {}
            }
        }
        Ok(match text {
            Some(text) => Value::Text(text),
            None if bytes.is_empty() => Value::Nothing,
            None => Value::Text(String::from_utf8_lossy(&bytes).into_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(value: &str) -> Option<String> {
        let line = format!(
            r#"{{"__CURSOR":"s=1;i=2","__REALTIME_TIMESTAMP":"1795242502128380","MESSAGE":{value}}}"#
        );
        Entry::parse(line.as_bytes()).unwrap().message
    }

    #[test]
    fn every_shape_of_a_value_is_read() {
        assert_eq!(message(r#""plain \"text\"""#).as_deref(), Some("plain \"text\""));
        assert_eq!(message("null"), None, "too long to be shown");
        assert_eq!(message("[99,97,102,233]").as_deref(), Some("caf\u{fffd}"), "not UTF-8");
        assert_eq!(message(r#"["a","b"]"#).as_deref(), Some("b"), "repeated");
        assert_eq!(message(r#"["a",[99,97,102,233]]"#).as_deref(), Some("caf\u{fffd}"));
        assert_eq!(message(r#"[null,"b"]"#).as_deref(), Some("b"));
        assert_eq!(message("[]"), None);
        for odd in ["{\"a\":[1,{}]}", "true", "-1", "1.5", "[300,-2]"] {
            assert_eq!(message(odd), None, "{odd}");
        }
    }

    #[test]
    fn what_is_no_entry_is_none() {
        for bad in ["", "{", "[]", "-- cursor: s=1", "{}", r#"{"__CURSOR":"x"}"#] {
            assert!(Entry::parse(bad.as_bytes()).is_none(), "{bad}");
        }
        let bad_time = r#"{"__CURSOR":"x","__REALTIME_TIMESTAMP":"noon"}"#;
        assert!(Entry::parse(bad_time.as_bytes()).is_none());
    }

    #[test]
    fn a_user_managers_fields_stand_in_for_the_systems() {
        let line = br#"{"__CURSOR":"c","__REALTIME_TIMESTAMP":"7","USER_UNIT":"a.service",
            "USER_INVOCATION_ID":"af6d7d36e3f74c328bfb692589e38c4f","PRIORITY":"4","_PID":"1500"}"#;
        let entry = Entry::parse(line).unwrap();
        assert_eq!(entry.about.as_deref(), Some("a.service"));
        assert_eq!(entry.about_run.unwrap().to_string(), "af6d7d36e3f74c328bfb692589e38c4f");
        assert_eq!((entry.at, entry.priority, entry.pid), (Wall(7), Some(4), Some(1500)));
    }
}
