//! What a person is told of a unit before something is changed about it, read once and in full;
//! and the calls that make a change count.

use std::collections::HashMap;
use std::time::Duration;

use zbus::{OwnedVariant, Variant};

use super::path::unit_path;
use super::{Bus, BusError, MANAGER, MANAGER_PATH, PROPERTIES, SERVICE, UNIT, decode};
use crate::engine::observation::LoadState;

/// A unit as systemd has it. What systemd does not say is empty, zero or false.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitFacts {
    /// Its primary name: another than the one asked for when that is an alias.
    pub name: String,
    /// `Description=`.
    pub description: String,
    /// `LoadState`.
    pub load: LoadState,
    /// Why it could not be loaded, in systemd's words.
    pub load_error: String,
    /// `ActiveState` and `SubState`.
    pub active: String,
    /// See `active`.
    pub sub: String,
    /// `enabled`, `static`, `generated`...; empty without a unit file.
    pub file_state: String,
    /// The unit file.
    pub fragment: String,
    /// What the unit file was generated from.
    pub source: String,
    /// Made by a program at run time, without a file that lasts.
    pub transient: bool,
    /// Timers, sockets and paths that start it.
    pub triggered_by: Vec<String>,
    /// systemd starts it for nobody but other units.
    pub refuse_start: bool,
    /// systemd stops it for nobody but other units.
    pub refuse_stop: bool,
    /// Files on the disk are newer than what systemd has read.
    pub needs_reload: bool,
    /// When it became active, µs of the monotonic clock; 0 when it never was.
    pub active_since: u64,
    /// `Type=` of a service.
    pub kind: String,
    /// `Restart=` of a service.
    pub restart: String,
    /// When the watchdog was last fed, µs of the monotonic clock; a start counts as feeding.
    pub fed: u64,
    /// The same, µs of the wall clock.
    pub fed_wall: u64,
    /// What it is limited to.
    pub limits: UnitLimits,
}

/// Limits of a service; `None` is "not set".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UnitLimits {
    /// `StartLimitBurst=` within `StartLimitIntervalSec=` (µs), where they are not systemd's
    /// defaults.
    pub starts: Option<(u32, u64)>,
    /// `MemoryMax=`, bytes.
    pub memory: Option<u64>,
    /// `CPUQuota=`, µs of processor time per second.
    pub cpu: Option<u64>,
    /// `WatchdogSec=`, µs.
    pub watchdog: Option<u64>,
}

impl Bus {
    /// What is to be known of a unit. One that does not exist is [`LoadState::NotFound`].
    ///
    /// # Errors
    /// As of any call; `UnitMasked` and `InvalidArgs` do not come from here.
    pub async fn facts(&self, name: &str) -> Result<UnitFacts, BusError> {
        let path = unit_path(name);
        let unit = self.properties(&path, UNIT).await?;
        let service = if name.ends_with(".service") {
            self.properties(&path, SERVICE).await?
        } else {
            Properties::default()
        };
        let manager = self.properties(MANAGER_PATH, MANAGER).await?;
        let starts = (unit.u32("StartLimitBurst"), unit.u64("StartLimitIntervalUSec"));
        let usual =
            (manager.u32("DefaultStartLimitBurst"), manager.u64("DefaultStartLimitIntervalUSec"));
        let (error_name, error_text) = unit.pair("LoadError");
        Ok(UnitFacts {
            name: unit.text("Id"),
            description: unit.text("Description"),
            load: LoadState::from_systemd(&unit.text("LoadState")),
            load_error: if error_text.is_empty() { error_name } else { error_text },
            active: unit.text("ActiveState"),
            sub: unit.text("SubState"),
            file_state: unit.text("UnitFileState"),
            fragment: unit.text("FragmentPath"),
            source: unit.text("SourcePath"),
            transient: unit.flag("Transient"),
            triggered_by: unit.texts("TriggeredBy"),
            refuse_start: unit.flag("RefuseManualStart"),
            refuse_stop: unit.flag("RefuseManualStop"),
            needs_reload: unit.flag("NeedDaemonReload"),
            active_since: unit.u64("ActiveEnterTimestampMonotonic"),
            kind: service.text("Type"),
            restart: service.text("Restart"),
            fed: service.u64("WatchdogTimestampMonotonic"),
            fed_wall: service.u64("WatchdogTimestamp"),
            limits: UnitLimits {
                starts: (starts != usual).then_some(starts),
                memory: service.limit("MemoryMax"),
                cpu: service.limit("CPUQuotaPerSecUSec"),
                watchdog: service.limit("WatchdogUSec").filter(|us| *us != 0),
            },
        })
    }

    /// The names of all units that have a file or are loaded, sorted.
    ///
    /// # Errors
    /// As of any call.
    pub async fn unit_names(&self) -> Result<Vec<String>, BusError> {
        let call = "ListUnitFiles";
        let reply = self.manager(call, &()).await?;
        let files: Vec<(String, String)> =
            reply.body().deserialize().map_err(|e| decode::unreadable(call, &e))?;
        let of_file = |(path, _): (String, String)| path.rsplit('/').next().map(str::to_owned);
        let mut names: Vec<String> = files.into_iter().filter_map(of_file).collect();
        let loaded = self.units_by_pattern(&["loaded"], &[]).await?;
        names.extend(loaded.into_iter().map(|row| row.name.to_string()));
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// Has systemd read all unit files again.
    ///
    /// # Errors
    /// As of any call.
    pub async fn daemon_reload(&self) -> Result<(), BusError> {
        self.manager("Reload", &()).await.map(drop)
    }

    /// Has a unit read its configuration again, and waits. Returns the job's result in systemd's
    /// words, `done` when it went well.
    ///
    /// # Errors
    /// As of any call.
    pub async fn reload(&self, name: &str, limit: Duration) -> Result<String, BusError> {
        self.job("ReloadUnit", name, limit).await
    }

    async fn properties(&self, path: &str, interface: &str) -> Result<Properties, BusError> {
        let call = "GetAll";
        let reply = self.call(path, PROPERTIES, call, &(interface,)).await?;
        let all = reply.body().deserialize().map_err(|e| decode::unreadable(call, &e))?;
        Ok(Properties(all))
    }
}

/// The properties of one interface of one object.
#[derive(Debug, Default)]
struct Properties(HashMap<String, OwnedVariant>);

impl Properties {
    fn get(&self, name: &str) -> Option<&Variant<'static>> {
        self.0.get(name).map(|value| &**value)
    }

    fn text(&self, name: &str) -> String {
        match self.get(name) {
            Some(Variant::Str(text)) => text.to_string(),
            _ => String::new(),
        }
    }

    fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some(Variant::Bool(true)))
    }

    fn u32(&self, name: &str) -> u32 {
        if let Some(Variant::U32(n)) = self.get(name) { *n } else { 0 }
    }

    fn u64(&self, name: &str) -> u64 {
        if let Some(Variant::U64(n)) = self.get(name) { *n } else { 0 }
    }

    /// A number whose largest value says that there is no limit.
    fn limit(&self, name: &str) -> Option<u64> {
        match self.get(name) {
            Some(Variant::U64(n)) if *n != u64::MAX => Some(*n),
            _ => None,
        }
    }

    fn texts(&self, name: &str) -> Vec<String> {
        let Some(Variant::Array(list)) = self.get(name) else { return Vec::new() };
        let text = |value: &Variant<'_>| match value {
            Variant::Str(text) => Some(text.to_string()),
            _ => None,
        };
        list.iter().filter_map(text).collect()
    }

    fn pair(&self, name: &str) -> (String, String) {
        let Some(Variant::Structure(pair)) = self.get(name) else { return Default::default() };
        match pair.fields() {
            [Variant::Str(first), Variant::Str(second)] => (first.to_string(), second.to_string()),
            _ => Default::default(),
        }
    }
}
