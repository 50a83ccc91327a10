//! The host that `adopt` and `release` change: its bus, its files, and the daemon that is to hear
//! of it.

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use tokio::runtime::Runtime;

use crate::engine::observation::{ActiveState, LoadState};
use crate::rights::{self, Change, Place};
use crate::surfaces::visible;
use crate::systemd::bus::{Bus, BusAddress, BusError};

use super::super::client::Client;
use super::super::{Global, terminal};
use super::look::KEEPWELL;
use super::places::Places;

/// One call: a daemon-reload of a host with thousands of units takes seconds.
const CALL_LIMIT: Duration = Duration::from_secs(60);
/// The reload of keepwell, with all that its unit does before.
const RELOAD_LIMIT: Duration = Duration::from_secs(90);

/// The daemon reads its configuration in its own time: it is asked so often whether it has.
const TRIES: u32 = 25;
const PAUSE: Duration = Duration::from_millis(200);

pub(super) struct Host {
    runtime: Runtime,
    daemon: Client,
    pub(super) bus: Bus,
    pub(super) places: Places,
    pub(super) rights: Place,
}

/// What became of the reload of keepwell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reloaded {
    Done,
    NotInstalled,
    NotRunning,
    Refused(String),
}

impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("keepwell has read its configuration again"),
            Self::NotInstalled => {
                write!(f, "{KEEPWELL} is not installed: nothing restarts anything so far")
            }
            Self::NotRunning => {
                write!(f, "keepwell does not run: sudo systemctl enable --now {KEEPWELL}")
            }
            Self::Refused(why) => write!(f, "keepwell was not reloaded: {why}"),
        }
    }
}

/// Refuses what is not about the host's own configuration.
pub(super) fn only(global: &Global, command: &str) -> anyhow::Result<()> {
    if global.user {
        bail!(
            "{command} is for the host's units; for those of your own systemd write a [[unit]] \
             with `restart = true` into your configuration: no further rights are needed"
        );
    }
    if let Some(file) = &global.config {
        bail!(
            "{command} works on /etc/keepwell/conf.d, which --config {} leaves out",
            file.display()
        );
    }
    Ok(())
}

/// Refuses who cannot do it.
pub(super) fn root(command: &str, unit: &str) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "{command} writes below /etc and needs root: sudo keepwell {command} {}",
            visible(unit)
        );
    }
    Ok(())
}

impl Host {
    /// This host, with its files below `root`, and the daemon at `socket` or where it usually is.
    pub(super) fn connect(root: impl Into<PathBuf>, socket: Option<&Path>) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let bus = runtime.block_on(Bus::connect_within(&BusAddress::System, CALL_LIMIT))?;
        let daemon = Client::new(socket)?;
        Ok(Self { runtime, daemon, bus, places: Places::new(root), rights: Place::host() })
    }

    /// Waits for a call.
    pub(super) fn run<T>(
        &self,
        call: impl Future<Output = Result<T, BusError>>,
    ) -> Result<T, BusError> {
        self.runtime.block_on(call)
    }

    /// Makes the polkit rule what the configuration says, and says what became of it.
    pub(super) fn refresh(&self) -> anyhow::Result<Change> {
        let refreshed = rights::refresh(&self.rights)?;
        for left_out in &refreshed.wanted.left_out {
            terminal::complain(&left_out.to_string());
        }
        if refreshed.new_folder {
            terminal::complain("the folder of polkit's rules is new: systemctl try-restart polkit");
        }
        match refreshed.change {
            Change::Written => terminal::print(&format!("wrote {}\n", rights::RULE))?,
            Change::Removed => terminal::print(&format!("removed {}\n", rights::RULE))?,
            // What is missing is said when it is asked whether a restart is permitted.
            Change::Unchanged | Change::NotNeeded | Change::NoPolkit(_) => {}
        }
        Ok(refreshed.change)
    }

    /// Whether the daemon that runs restarts this unit when it fails; `None` where nobody answers.
    pub(super) fn restarts(&self, unit: &str) -> Option<bool> {
        let report = self.daemon.status().ok()?;
        let mut units = report.checks.iter().filter_map(|check| check.unit.as_ref());
        Some(units.any(|shown| shown.name == unit && shown.restart))
    }

    /// Waits a few seconds at most until it restarts it, or no longer does.
    pub(super) fn wait_until(&self, unit: &str, restarts: bool) {
        for _ in 0..TRIES {
            if self.restarts(unit) != Some(!restarts) {
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Has the daemon read its configuration again, and waits until it has been told.
    pub(super) fn reload_keepwell(&self) -> anyhow::Result<Reloaded> {
        let seen = self.run(self.bus.unit(KEEPWELL))?;
        if seen.load == LoadState::NotFound {
            return Ok(Reloaded::NotInstalled);
        }
        if !matches!(seen.active, ActiveState::Active | ActiveState::Reloading) {
            return Ok(Reloaded::NotRunning);
        }
        let why = match self.run(self.bus.reload(KEEPWELL, RELOAD_LIMIT)) {
            Ok(result) if result == "done" => return Ok(Reloaded::Done),
            Ok(result) => format!("the reload ended with '{result}'"),
            Err(error) => error.to_string(),
        };
        Ok(Reloaded::Refused(format!("{why}; `journalctl -u {KEEPWELL} -n 20` says more")))
    }
}
