//! How to speak with a container engine: the Docker Engine API over a unix socket or TCP, as Docker
//! and Podman have it. Answers are read tolerantly: only the fields that are used, and a word that
//! is not known makes one container's state unknown, not the list of all unreadable.

mod client;
mod engines;
mod error;
mod event;
mod lines;
mod log;
mod model;
mod plain;
mod stats;
mod wire;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

pub use client::{Client, Events, Info, Limits, Peer};
pub use engines::Engines;
pub use error::DockerError;
pub use event::Heard;
pub use log::LogLine;
pub use model::Inspected;
pub use stats::Stats;

/// A container engine that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name, such as `docker`: in `agent:engine-docker`, labels and messages.
    pub name: Arc<str>,
    /// What stands before the names of its containers: empty for the first endpoint, `podman/` and
    /// the like for further ones.
    pub prefix: Arc<str>,
    /// Where it is.
    pub address: Address,
}

impl Endpoint {
    /// A container of it, as checks call it.
    pub fn named(&self, container: &str) -> Arc<str> {
        format!("{}{container}", self.prefix).into()
    }

    /// How a shell of this host reaches it: by its program alone where that goes there anyway.
    pub fn command(&self, podman: bool) -> String {
        let (program, option) = if podman { ("podman", "--url") } else { ("docker", "--host") };
        let usual = match &self.address {
            Address::Unix(path) if podman => path.ends_with("run/podman/podman.sock"),
            // Also by a proxy of keepwell's own: people need none.
            Address::Unix(_) => *self.name == *"docker",
            Address::Tcp(_) => false,
        };
        let address = self.address.to_string();
        let plain = |c: char| c.is_ascii_alphanumeric() || "@._:/-+".contains(c);
        match usual || !address.chars().all(plain) {
            true => program.to_owned(),
            false => format!("{program} {option} {address}"),
        }
    }
}

/// Where a container engine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// `host:port`, plain HTTP: for a proxy on this host or in this network.
    Tcp(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(to) => write!(f, "tcp://{to}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_get_the_command_that_goes_there() {
        let of = |name: &str, address, podman| {
            Endpoint { name: name.into(), prefix: "".into(), address }.command(podman)
        };
        let unix = |path: &str| Address::Unix(path.into());
        let tcp = || Address::Tcp("10.0.0.7:2375".into());
        assert_eq!(of("docker", unix("/run/keepwell-docker/docker.sock"), false), "docker");
        assert_eq!(of("docker", tcp(), false), "docker --host tcp://10.0.0.7:2375");
        let own = unix("/run/user/1000/docker.sock");
        let said = "docker --host unix:///run/user/1000/docker.sock";
        assert_eq!(of("docker-1000", own, false), said);
        assert_eq!(of("podman", unix("/run/podman/podman.sock"), true), "podman");
        let own = unix("/run/podman-app/podman.sock");
        assert_eq!(of("podman", own, true), "podman --url unix:///run/podman-app/podman.sock");
        // What a shell would take for something else is left out.
        assert_eq!(of("podman", unix("/run/a;b/podman.sock"), true), "podman");
    }
}
