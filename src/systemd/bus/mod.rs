//! systemd over D-Bus, no more than keepwell needs: where the bus is ([`BusAddress`]), single calls
//! with a time limit ([`Bus`]), and the ordered stream of signals and answers ([`Feed`]).
//!
//! What the units mean and which of them matter is `sources::units`' business; when to restart is
//! the engine's.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use zbus::Connection;

mod client;
mod decode;
mod error;
mod feed;
mod inspect;
mod path;

pub use client::{Bus, SystemState};
pub use decode::{Row, ServiceHalf, UnitHalf, Words};
pub use error::BusError;
pub use feed::{Answer, Ask, Event, Feed, Prepare};
pub use inspect::{UnitFacts, UnitLimits};
pub use path::{unit_name, unit_path};

/// The bus name of the service manager.
pub(crate) const SYSTEMD: &str = "org.freedesktop.systemd1";
pub(crate) const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
pub(crate) const MANAGER: &str = "org.freedesktop.systemd1.Manager";
pub(crate) const UNIT: &str = "org.freedesktop.systemd1.Unit";
pub(crate) const SERVICE: &str = "org.freedesktop.systemd1.Service";
/// The bus name of logind, which is not on every host.
pub(crate) const LOGIND: &str = "org.freedesktop.login1";
pub(crate) const LOGIND_PATH: &str = "/org/freedesktop/login1";
pub(crate) const LOGIND_MANAGER: &str = "org.freedesktop.login1.Manager";
pub(crate) const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// How long one call may take. A daemon-reload with 1200 units holds calls up for 3 s.
pub const CALL_LIMIT: Duration = Duration::from_secs(10);

/// Where systemd is to be found.
#[derive(Clone, Debug, Default)]
pub enum BusAddress {
    /// The system bus; `DBUS_SYSTEM_BUS_ADDRESS` is honoured.
    #[default]
    System,
    /// A bus by its D-Bus address, such as `unix:path=/run/user/1000/bus`: the session bus of a
    /// `systemd --user`, whose objects are the same.
    Address(String),
    /// Connections made by somebody else: how tests put a fake systemd in the place of the real.
    Dialled(Dialler),
}

/// The future of a connection attempt.
pub type Dialling = Pin<Box<dyn Future<Output = zbus::Result<Connection>> + Send>>;

/// Makes a new connection each time it is asked.
#[derive(Clone)]
pub struct Dialler(Arc<dyn Fn() -> Dialling + Send + Sync>);

impl Dialler {
    /// From a closure that connects.
    pub fn new(dial: impl Fn() -> Dialling + Send + Sync + 'static) -> Self {
        Self(Arc::new(dial))
    }
}

impl fmt::Debug for Dialler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialler")
    }
}

impl fmt::Display for BusAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => match zbus::Address::system() {
                Ok(address) => write!(f, "{address}"),
                Err(_) => f.write_str("the address in DBUS_SYSTEM_BUS_ADDRESS"),
            },
            Self::Address(address) => f.write_str(address),
            Self::Dialled(_) => f.write_str("a connection handed in"),
        }
    }
}

/// Connects to the bus within `limit`, without asking whether systemd is there.
pub(crate) async fn dial(address: &BusAddress, limit: Duration) -> Result<Connection, BusError> {
    let attempt = async {
        match address {
            BusAddress::System => zbus::connection::Builder::system().build().await,
            BusAddress::Address(text) => {
                zbus::connection::Builder::address(text.as_str()).build().await
            }
            BusAddress::Dialled(dialler) => (dialler.0)().await,
        }
    };
    let why = match tokio::time::timeout(limit, attempt).await {
        Ok(Ok(connection)) => return Ok(connection),
        Ok(Err(error)) => error::connect_words(&error),
        Err(_) => format!("no answer within {} s", limit.as_secs_f64()),
    };
    Err(BusError::not_reached(address, why, booted_with_systemd()))
}

/// Whether PID 1 of this host is systemd, by the test that `sd_booted(3)` documents.
pub(crate) fn booted_with_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}
