//! `state.json`: the restart state of units, for people to read and for keepwell to read back.
//!
//! What this version does not understand (fields at the top, fields of a unit, whole unit records)
//! is kept as it was and written back. Times are written as RFC 3339 and read in either form.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::rfc3339;
use super::set_aside::set_aside;
use super::whole;
use crate::engine::saved::RestartRecord;
use crate::engine::time::Wall;

/// The version that this keepwell writes.
const VERSION: u64 = 1;
/// Larger than any host needs: 10,000 units take about 4 MB.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Top-level fields that this version knows.
const KNOWN: [&str; 4] = ["version", "seq", "written", "units"];
/// Fields that hold a time in µs since the epoch and are written as text.
const TIMES: [&str; 2] = ["last_attempt", "wall"];

/// The file, and the content that it has or is to have.
pub(super) struct StateFile {
    path: PathBuf,
    version: u64,
    /// The sequence number of the last change of the content.
    pub(super) seq: u64,
    units: BTreeMap<Arc<str>, Unit>,
    other: Map<String, Value>,
    /// The content differs from what the disk has.
    pub(super) dirty: bool,
    /// What is there could not be read and must be moved away before anything is written.
    aside: Option<&'static str>,
}

struct Unit {
    /// `None`: this version does not understand the record; `rest` has all of it.
    record: Option<RestartRecord>,
    /// What this version does not know of it.
    rest: Value,
}

impl StateFile {
    /// Reads the file. The second value says what is wrong with it, for people.
    pub(super) fn read(dir: &Path, now: Wall) -> (Self, Option<String>) {
        let path = dir.join("state.json");
        let mut file = Self {
            path,
            version: VERSION,
            seq: 0,
            units: BTreeMap::new(),
            other: Map::new(),
            dirty: false,
            aside: None,
        };
        let fault = match read_limited(&file.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                file.aside = Some("unread");
                Some(format!(
                    "cannot read {}: {error}; restarts begin at the first step of their backoff. \
                     Check its owner and permissions",
                    file.path.display()
                ))
            }
            Ok(bytes) => match file.parse(&bytes) {
                Ok(fault) => fault,
                Err(why) => Some(file.corrupt(&why, now)),
            },
        };
        (file, fault)
    }

    fn corrupt(&mut self, why: &str, now: Wall) -> String {
        let path = self.path.display();
        match set_aside(&self.path, "corrupt", now, &[]) {
            Ok(kept) => format!(
                "{path} is corrupt ({why}) and was set aside as {}; restarts begin at the first \
                 step of their backoff. Nothing needs to be done; delete the copy when you have \
                 looked at it",
                kept.display()
            ),
            Err(error) => {
                self.aside = Some("corrupt");
                format!(
                    "{path} is corrupt ({why}) and could not be set aside: {error}; keepwell goes \
                     on in memory. Check the folder's permissions and the disk"
                )
            }
        }
    }

    /// Takes over what the text says. `Ok(Some)`: readable, but not all of it was understood.
    fn parse(&mut self, bytes: &[u8]) -> Result<Option<String>, String> {
        let value: Value = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        let Value::Object(mut top) = value else { return Err("it holds no JSON object".into()) };
        let version = top.get("version").and_then(Value::as_u64).ok_or("it has no version")?;
        let units = match top.remove("units") {
            None => Map::new(),
            Some(Value::Object(units)) => units,
            Some(_) => return Err("'units' is not an object".into()),
        };
        self.version = version.max(VERSION);
        self.seq = top.get("seq").and_then(Value::as_u64).unwrap_or(0);
        top.retain(|key, _| !KNOWN.contains(&key.as_str()));
        self.other = top;
        let mut foreign = Vec::new();
        for (name, value) in units {
            let mut plain = value.clone();
            times_to_numbers(&mut plain);
            let unit = match serde_json::from_value::<RestartRecord>(plain) {
                Ok(record) => Unit { rest: unknown_fields(value, &record), record: Some(record) },
                Err(_) => {
                    foreign.push(name.clone());
                    Unit { record: None, rest: value }
                }
            };
            self.units.insert(name.into(), unit);
        }
        if foreign.is_empty() {
            return Ok(None);
        }
        Ok(Some(format!(
            "{} (version {version}) has records that this keepwell does not understand: {}; they \
             are kept as they are. These units begin at the first step of their backoff",
            self.path.display(),
            foreign.join(", ")
        )))
    }

    /// All records that were understood.
    pub(super) fn records(&self) -> BTreeMap<Arc<str>, RestartRecord> {
        let known = self.units.iter();
        known.filter_map(|(n, u)| Some((Arc::clone(n), u.record.clone()?))).collect()
    }

    /// Replaces the record of one unit.
    pub(super) fn set(&mut self, name: Arc<str>, record: RestartRecord, seq: u64) {
        let unit = self.units.entry(name).or_insert(Unit { record: None, rest: Value::Null });
        if unit.record.as_ref() == Some(&record) {
            return;
        }
        // What was not understood is replaced now that there is something to say; its unknown
        // fields stay.
        if unit.record.is_none() {
            unit.rest = unknown_fields(unit.rest.take(), &record);
        }
        unit.record = Some(record);
        self.seq = seq;
        self.dirty = true;
    }

    /// Forgets one unit.
    pub(super) fn remove(&mut self, name: &str, seq: u64) {
        if self.units.remove(name).is_some() {
            self.seq = seq;
            self.dirty = true;
        }
    }

    /// Writes the content, when it has changed: temporary file, fsync, rename, fsync of the folder.
    pub(super) fn write(&mut self, now: Wall) -> io::Result<()> {
        if !self.dirty {
            return Ok(());
        }
        let dir = self.path.parent().unwrap_or(Path::new("."));
        super::lock::create_dir(dir)?;
        if let Some(why) = self.aside {
            match set_aside(&self.path, why, now, &[]) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => self.aside = None,
            }
        }
        let mut text = serde_json::to_string_pretty(&self.document(now)?)?;
        text.push('\n');
        whole::write(&self.path, text.as_bytes())?;
        self.dirty = false;
        Ok(())
    }

    /// Something unreadable lies where the file belongs.
    pub(super) fn blocked(&self) -> bool {
        self.aside.is_some()
    }

    /// An error of [`Self::write`] in words.
    pub(super) fn explain(&self, error: &io::Error) -> String {
        let remedy = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "Free some space",
            io::ErrorKind::ReadOnlyFilesystem => {
                "Check whether the file system was mounted or turned read-only"
            }
            io::ErrorKind::PermissionDenied => {
                "Check that the folder is writable and belongs to keepwell's user"
            }
            _ => "Check the disk",
        };
        format!(
            "cannot write {}: {error}; after a restart of keepwell the backoff of restarts may \
             begin afresh. {remedy}",
            self.path.display()
        )
    }

    fn document(&self, now: Wall) -> io::Result<Value> {
        let mut units = Map::new();
        for (name, unit) in &self.units {
            let mut value = match &unit.record {
                Some(record) => serde_json::to_value(record)?,
                None => unit.rest.clone(),
            };
            if unit.record.is_some() {
                times_to_text(&mut value);
                if let (Value::Object(fields), Value::Object(rest)) = (&mut value, &unit.rest) {
                    fields.extend(rest.clone());
                }
            }
            units.insert(name.to_string(), value);
        }
        let mut top = Map::new();
        top.insert("version".into(), self.version.into());
        top.insert("seq".into(), self.seq.into());
        top.insert("written".into(), rfc3339(now).into());
        top.insert("units".into(), units.into());
        top.extend(self.other.clone());
        Ok(Value::Object(top))
    }
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    let size = std::fs::metadata(path)?.len();
    if size > MAX_BYTES {
        return Err(io::Error::other(format!("it is larger than {MAX_BYTES} bytes")));
    }
    std::fs::read(path)
}

/// The fields of `value` that `record` does not have.
fn unknown_fields(value: Value, record: &RestartRecord) -> Value {
    match (value, serde_json::to_value(record)) {
        (Value::Object(mut fields), Ok(Value::Object(known))) => {
            fields.retain(|key, _| !known.contains_key(key));
            Value::Object(fields)
        }
        _ => Value::Null,
    }
}

fn times_to_text(value: &mut Value) {
    each_time(value, &|time| time.as_i64().map(|us| rfc3339(Wall(us)).into()));
}

fn times_to_numbers(value: &mut Value) {
    each_time(value, &|time| {
        Some(time.as_str()?.parse::<jiff::Timestamp>().ok()?.as_microsecond().into())
    });
}

fn each_time(value: &mut Value, change: &dyn Fn(&Value) -> Option<Value>) {
    let Value::Object(fields) = value else { return };
    for (key, field) in fields {
        if TIMES.contains(&key.as_str()) {
            if let Some(new) = change(field) {
                *field = new;
            }
        } else {
            each_time(field, change);
        }
    }
}
