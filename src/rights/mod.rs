//! What keepwell may do on a host without being root: the polkit rule that lets its user restart
//! exactly the units that the configuration says.
//!
//! [`refresh`] runs as root, so it trusts little: it reads files that only root can have written
//! (`trusted`), takes from them what they say of units and nothing else, and writes one file. It
//! reads no secret and no environment, and speaks with nobody. [`permitted`] asks polkit.

use std::path::{Path, PathBuf};

use crate::config::{self, Diagnostics, Input, files};
use crate::engine::rules::{Rules, UnitRule};
use crate::systemd::bus::BusAddress;

mod authority;
mod install;
mod pattern;
mod polkit;
mod rule;
#[cfg(test)]
mod tests;
mod trusted;

pub use authority::{Judge, Permission, permitted, version};
pub use polkit::{Polkit, is_too_old};

use trusted::{Refusal, Trusted};

/// Where the rule is.
pub const RULE: &str = "/etc/polkit-1/rules.d/60-keepwell.rules";

/// The host that this is about; for tests a folder that looks like one.
#[derive(Debug, Clone)]
pub struct Place {
    root: PathBuf,
    owner: u32,
    config: Option<PathBuf>,
    bus: BusAddress,
}

impl Place {
    /// This host.
    pub fn host() -> Self {
        Self { root: "/".into(), owner: 0, config: None, bus: BusAddress::System }
    }

    /// A host whose files are below `root`, where this process's user is taken for root, with its
    /// system bus at `bus`.
    pub fn below(root: impl Into<PathBuf>, bus: BusAddress) -> Self {
        let owner = rustix::process::geteuid().as_raw();
        Self { root: root.into(), owner, config: None, bus }
    }

    /// With this configuration file alone (`--config`). The variable `KEEPWELL_CONFIG` has no say:
    /// it may come from a file that others can write.
    #[must_use]
    pub fn with_config(mut self, file: Option<PathBuf>) -> Self {
        self.config = file.map(|file| std::path::absolute(&file).unwrap_or(file));
        self
    }

    /// Where a file of the host is, as this process sees it.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn trusted(&self) -> Trusted<'_> {
        Trusted { root: &self.root, owner: self.owner }
    }
}

/// A file of the configuration that has no say in what keepwell may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Which.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} is left out: {}; the units in it may not be restarted until it belongs to root \
             and only root can write to it",
            self.path.display(),
            self.reason
        )
    }
}

/// What the configuration of root says.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Of units, in the order of the configuration.
    pub units: Vec<UnitRule>,
    /// The files that were read.
    pub files: Vec<PathBuf>,
    /// The files that were not.
    pub left_out: Vec<LeftOut>,
}

impl Wanted {
    /// The text of the rule; `None` when no unit has `restart = true`.
    pub fn rule(&self) -> Option<String> {
        rule::text(&self.units, &self.files)
    }

    /// Whether the rule of this says yes to a restart of `unit`.
    pub fn permits(&self, unit: &str) -> bool {
        let rules = Rules { units: self.units.clone(), ..Rules::default() };
        rules.unit(unit).is_some_and(|rule| rule.restart)
    }

    /// How many names and patterns have `restart = true`.
    pub fn count(&self) -> usize {
        self.units.iter().filter(|unit| unit.restart).count()
    }
}

/// What became of the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was written.
    Written,
    /// It was as it should be.
    Unchanged,
    /// No unit has `restart = true`: the former one was removed.
    Removed,
    /// No unit has `restart = true`, and there is none.
    NotNeeded,
    /// There is no polkit here that could read it: nothing was written.
    NoPolkit(Polkit),
}

/// What [`refresh`] did.
#[derive(Debug, Clone, PartialEq)]
pub struct Refreshed {
    /// What became of the rule.
    pub change: Change,
    /// What it was made from.
    pub wanted: Wanted,
    /// The folder of the rules was not there and was made: polkit does not watch it before it is
    /// started again.
    pub new_folder: bool,
}

/// Why the rule could not be made. It stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum RightsError {
    /// The configuration says no clear thing of units.
    #[error("the configuration is not valid, so the polkit rule stays as it is:\n{0}")]
    Invalid(Diagnostics),
    /// A file could not be written or removed.
    #[error("{} cannot be written: {source}{}", path.display(), remedy(source))]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something could not be asked.
    #[error("{0}")]
    Unknown(String),
}

fn remedy(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => "; run it as root: sudo keepwell polkit",
        _ => "",
    }
}

/// What root's configuration says.
///
/// # Errors
/// [`RightsError::Invalid`].
pub fn wanted(place: &Place) -> Result<Wanted, RightsError> {
    let trusted = place.trusted();
    let mut paths: Vec<(PathBuf, bool)> = Vec::new();
    let mut left_out = Vec::new();
    match &place.config {
        Some(file) => paths.push((file.clone(), true)),
        None => {
            let system = Path::new(files::SYSTEM);
            paths.push((system.join("keepwell.toml"), false));
            let folder = system.join("conf.d");
            match trusted.list(&folder) {
                Ok(names) => {
                    let mut names: Vec<PathBuf> =
                        names.into_iter().map(|name| folder.join(name)).collect();
                    names.retain(|path| files::is_drop_in(path));
                    names.sort();
                    paths.extend(names.into_iter().map(|path| (path, true)));
                }
                Err(Refusal::Missing) => {}
                Err(Refusal::Reason(reason)) => left_out.push(LeftOut { path: folder, reason }),
            }
        }
    }
    let (mut inputs, mut read) = (Vec::new(), Vec::new());
    for (path, expected) in paths {
        let reason = match trusted.read(&path) {
            Ok(bytes) => {
                inputs.push(Input::memory(&path, bytes));
                read.push(path);
                continue;
            }
            Err(Refusal::Missing) if !expected => continue,
            // Mistyped, most likely: no reason to take rights away.
            Err(Refusal::Missing) if place.config.is_some() => {
                let why = format!("{}: there is no such file; nothing was changed", path.display());
                return Err(RightsError::Unknown(why));
            }
            Err(Refusal::Missing) => "there is no such file".to_owned(),
            Err(Refusal::Reason(reason)) => reason,
        };
        left_out.push(LeftOut { path, reason });
    }
    let units = config::units(inputs).map_err(RightsError::Invalid)?;
    Ok(Wanted { units, files: read, left_out })
}

/// Makes the rule what the configuration says: writes it when it has changed, and removes it when
/// no unit has `restart = true`. A configuration that is not valid changes nothing.
///
/// # Errors
/// When the configuration is not valid, or the rule cannot be written.
pub fn refresh(place: &Place) -> Result<Refreshed, RightsError> {
    let path = place.path(RULE);
    // Before the files are read: of two at once, the later one has read what is newer.
    let _lock = install::lock(&path);
    let wanted = wanted(place)?;
    let done = |change, wanted, new_folder| Refreshed { change, wanted, new_folder };
    let Some(text) = wanted.rule() else {
        let change = if remove(place)? { Change::Removed } else { Change::NotNeeded };
        return Ok(done(change, wanted, false));
    };
    match Polkit::of(place) {
        Polkit::Ready => {}
        other => return Ok(done(Change::NoPolkit(other), wanted, false)),
    }
    let failed = |source| RightsError::Write { path: path.clone(), source };
    if install::current(&path).as_deref() == Some(text.as_bytes()) {
        return Ok(done(Change::Unchanged, wanted, false));
    }
    let new_folder = install::make_folder(&path).map_err(failed)?;
    install::replace(&path, text.as_bytes()).map_err(failed)?;
    Ok(done(Change::Written, wanted, new_folder))
}

/// Removes the rule; whether there was one.
///
/// # Errors
/// When it cannot be removed.
pub fn remove(place: &Place) -> Result<bool, RightsError> {
    let path = place.path(RULE);
    install::remove(&path).map_err(|source| RightsError::Write { path, source })
}

/// Why a file could have been written by others than root; `None` where it could not, or there is
/// none.
pub fn distrusted(place: &Place, path: &Path) -> Option<String> {
    match place.trusted().read(path) {
        Err(Refusal::Reason(reason)) => Some(reason),
        Ok(_) | Err(Refusal::Missing) => None,
    }
}

/// How the rule that is there stands to the one that should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Installed {
    /// As the configuration says, also where that is: none.
    Current,
    /// Another one.
    Outdated,
    /// None, and there should be one.
    Missing,
    /// This process may not look.
    Hidden,
}

/// Compares the rule that is there with the one that `wanted` gives. What is said above the rule
/// does not count: a new file that names no unit changes nothing about rights.
pub fn installed(place: &Place, wanted: &Wanted) -> Installed {
    match (std::fs::read(place.path(RULE)), wanted.rule()) {
        (Ok(found), Some(text)) if same_rule(&found, text.as_bytes()) => Installed::Current,
        (Ok(_), _) => Installed::Outdated,
        (Err(error), _) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Installed::Hidden
        }
        (Err(_), Some(_)) => Installed::Missing,
        (Err(_), None) => Installed::Current,
    }
}

/// Whether two rules differ at most in the comment at their top.
fn same_rule(a: &[u8], b: &[u8]) -> bool {
    let rule = |text: &[u8]| {
        let lines = text.split_inclusive(|&byte| byte == b'\n');
        let comment: usize =
            lines.take_while(|line| line.starts_with(b"//")).map(<[u8]>::len).sum();
        text[comment..].to_vec()
    };
    rule(a) == rule(b)
}
