//! What can go wrong on the bus, in words that say what to do about it.

use std::io::ErrorKind;
use std::time::Duration;

use zbus::DBusError;

use super::{BusAddress, booted_with_systemd};

/// A fault of the bus, of systemd on it, or of one call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// There is no connection to be had.
    #[error("cannot reach the bus at {address}: {why}; {remedy}")]
    Unreachable {
        /// Which bus.
        address: String,
        /// What the system said.
        why: String,
        /// What to do about it.
        remedy: String,
    },
    /// This host does not run systemd: nothing to repair.
    #[error("this host was not booted with systemd (no /run/systemd/system): {0}")]
    Absent(String),
    /// The connection broke.
    #[error("the connection to the bus was lost: {0}")]
    Lost(String),
    /// systemd did not answer.
    #[error("systemd did not answer {call} within {} s", limit.as_secs_f64())]
    TimedOut {
        /// What was asked.
        call: String,
        /// The time limit.
        limit: Duration,
    },
    /// keepwell may not do this.
    #[error("{call} was refused ({name}): {remedy}")]
    Denied {
        /// What was asked.
        call: String,
        /// The D-Bus name of the error, without its prefix.
        name: String,
        /// What refused, and what to do about it.
        remedy: String,
    },
    /// systemd answered with an error.
    #[error("{call} failed: {text} ({name})")]
    Failed {
        /// What was asked.
        call: String,
        /// The D-Bus name of the error; empty when it is none.
        name: String,
        /// systemd's words.
        text: String,
    },
}

impl BusError {
    pub(crate) fn not_reached(address: &BusAddress, why: String, booted: bool) -> Self {
        if matches!(address, BusAddress::System) && !booted {
            return Self::Absent(why);
        }
        let remedy = match address {
            BusAddress::System => {
                "check that dbus runs (systemctl status dbus.socket) and that keepwell's unit may use AF_UNIX"
            }
            BusAddress::Address(_) => "check the address and that keepwell may open its socket",
            BusAddress::Dialled(_) => "check the connection that was handed in",
        };
        Self::Unreachable { address: address.to_string(), why, remedy: remedy.into() }
    }

    /// From the error of a call.
    pub(crate) fn of_call(call: &str, error: &zbus::Error) -> Self {
        match error {
            zbus::Error::InputOutput(io) => Self::Lost(io.to_string()),
            zbus::Error::MethodError(name, text, _) => {
                Self::of_reply(call, name.as_str(), text.as_deref().unwrap_or_default())
            }
            zbus::Error::FDO(fdo) => {
                Self::of_reply(call, fdo.name().as_str(), fdo.description().unwrap_or_default())
            }
            other => {
                Self::Failed { call: call.to_owned(), name: String::new(), text: other.to_string() }
            }
        }
    }

    /// From an error reply: its D-Bus name and its text.
    pub(crate) fn of_reply(call: &str, name: &str, text: &str) -> Self {
        let remedy = match short(name) {
            "InteractiveAuthorizationRequired" => Some(
                "no polkit rule lets keepwell do it; run 'sudo keepwell polkit', and 'sudo keepwell \
                 doctor' if that does not help",
            ),
            "AccessDenied" => Some(
                "a polkit rule denies it, or polkit is not installed; 'sudo keepwell polkit' says \
                 which, or 'sudo keepwell doctor'",
            ),
            "UnitMasked" if text.contains("polkit") => Some(
                "polkit is masked, so nobody can be asked for permission; run \
                 'systemctl unmask polkit.service'",
            ),
            _ => None,
        };
        match remedy {
            Some(remedy) => Self::Denied {
                call: call.to_owned(),
                name: short(name).to_owned(),
                remedy: remedy.to_owned(),
            },
            None => Self::Failed {
                call: call.to_owned(),
                name: name.to_owned(),
                text: if text.is_empty() { "no reason given".into() } else { text.to_owned() },
            },
        }
    }

    /// Nobody on the bus is systemd, or it is being re-executed just now.
    pub fn nobody_there(&self) -> bool {
        matches!(self, Self::Failed { name, .. } if matches!(short(name),
            "ServiceUnknown" | "NameHasNoOwner" | "NoReply" | "Disconnected")
            || short(name).starts_with("Spawn."))
    }

    /// The error of a call that found no systemd at all, as a fault of the whole bus.
    #[must_use]
    pub fn or_absent(self, address: &BusAddress) -> Self {
        if self.nobody_there() {
            let why = "no systemd answers on the bus".to_owned();
            Self::not_reached(address, why, booted_with_systemd())
        } else {
            self
        }
    }

    /// systemd's own name of the error, without its prefix; empty where there is none.
    pub fn name(&self) -> &str {
        match self {
            Self::Failed { name, .. } | Self::Denied { name, .. } => short(name),
            _ => "",
        }
    }

    /// Whether the connection is of no more use.
    pub fn lost(&self) -> bool {
        matches!(
            self,
            Self::Lost(_) | Self::Unreachable { .. } | Self::Absent(_) | Self::TimedOut { .. }
        )
    }
}

fn short(name: &str) -> &str {
    name.strip_prefix("org.freedesktop.DBus.Error.")
        .or_else(|| name.strip_prefix("org.freedesktop.systemd1."))
        .unwrap_or(name)
}

/// Why a connection could not be made, without the address that the caller names anyway.
pub(crate) fn connect_words(error: &zbus::Error) -> String {
    match error {
        zbus::Error::Connection(io, _) | zbus::Error::InputOutput(io) => match io.kind() {
            ErrorKind::NotFound => "the socket does not exist".into(),
            ErrorKind::ConnectionRefused => "nobody listens on the socket".into(),
            ErrorKind::PermissionDenied => "permission denied".into(),
            // As from a container whose user is none of the host's.
            ErrorKind::BrokenPipe => format!(
                "it hung up on user id {}, as dbus does when this host has no such user",
                rustix::process::geteuid().as_raw()
            ),
            _ => io.to_string(),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DBUS: &str = "org.freedesktop.DBus.Error";

    #[test]
    fn each_refusal_names_its_remedy() {
        let text =
            |name: &str, text: &str| BusError::of_reply("RestartUnit", name, text).to_string();
        assert_eq!(
            text(&format!("{DBUS}.InteractiveAuthorizationRequired"), "Interactive ..."),
            "RestartUnit was refused (InteractiveAuthorizationRequired): no polkit rule lets \
             keepwell do it; run 'sudo keepwell polkit', and 'sudo keepwell doctor' if that does not \
             help"
        );
        assert!(text(&format!("{DBUS}.AccessDenied"), "Permission denied").contains("denies it"));
        assert!(
            text("org.freedesktop.systemd1.UnitMasked", "Unit polkit.service is masked.")
                .contains("systemctl unmask polkit.service")
        );
    }

    #[test]
    fn a_masked_unit_is_no_refusal() {
        let error = BusError::of_reply(
            "RestartUnit",
            "org.freedesktop.systemd1.UnitMasked",
            "Unit a.service is masked.",
        );
        assert_eq!(error.name(), "UnitMasked");
        assert_eq!(
            error.to_string(),
            "RestartUnit failed: Unit a.service is masked. (org.freedesktop.systemd1.UnitMasked)"
        );
    }

    #[test]
    fn a_host_without_systemd_is_told_from_a_broken_bus() {
        let why = || "the socket does not exist".to_owned();
        assert_eq!(
            BusError::not_reached(&BusAddress::System, why(), false),
            BusError::Absent(why())
        );
        let broken = BusError::not_reached(&BusAddress::System, why(), true).to_string();
        assert!(broken.contains("system_bus_socket: the socket does not exist; check"), "{broken}");
        let user = BusAddress::Address("unix:path=/nowhere".into());
        assert_eq!(
            BusError::not_reached(&user, why(), false).to_string(),
            "cannot reach the bus at unix:path=/nowhere: the socket does not exist; check the \
             address and that keepwell may open its socket"
        );
    }
}
