//! Where keepwell listens: the sockets that systemd holds for it, or else the ports that the
//! configuration names; and the unix socket of the command line.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::plan::Plan;
use crate::config::Paths;
use crate::surfaces::http::{Listener, bind};
use crate::systemd::sockets;

/// Takes the ports and the socket before anything else starts.
pub(super) fn listen(
    plan: &Plan,
    paths: &Paths,
    socket: Option<PathBuf>,
) -> anyhow::Result<Vec<Listener>> {
    let configured = &plan.config.http.listen;
    let mut listeners = Vec::new();
    let held = sockets::inherited()?;
    if held.is_empty() {
        for address in configured {
            listeners.push(bind::tcp(*address)?);
        }
    }
    let by_systemd = !held.is_empty();
    for socket in held {
        listeners.push(bind::handed_over(socket)?);
    }
    let addresses: Vec<SocketAddr> = listeners.iter().filter_map(Listener::address).collect();
    if by_systemd && let Some(text) = mismatch(configured, &addresses) {
        tracing::warn!("{text}");
    }
    if !addresses.is_empty() {
        let by = if by_systemd { " (systemd holds the port)" } else { "" };
        tracing::info!("listening on {}{by}", list(&addresses));
    }
    let path = match socket {
        Some(path) => Ok(path),
        None => paths.make_runtime().map(|()| paths.socket()).map_err(anyhow::Error::from),
    };
    match path.and_then(|path| Ok(bind::unix(&path)?)) {
        Ok(listener) => listeners.push(listener),
        Err(error) => {
            tracing::warn!(%error, "the command line cannot reach this keepwell");
        }
    }
    Ok(listeners)
}

/// What to say where the configuration names other ports than systemd holds.
fn mismatch(configured: &[SocketAddr], held: &[SocketAddr]) -> Option<String> {
    let set = |all: &[SocketAddr]| all.iter().copied().collect::<BTreeSet<_>>();
    if set(configured) == set(held) {
        return None;
    }
    let says = if configured.is_empty() { "no port".into() } else { list(configured) };
    Some(format!(
        "keepwell.socket decides where keepwell listens: on {}; [http] listen says {says}, and does \
         not count. Change the one (systemctl edit keepwell.socket) or the other, or go without: \
         systemctl disable --now keepwell.socket",
        list(held)
    ))
}

fn list(addresses: &[SocketAddr]) -> String {
    let all: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_ports_than_configured_are_said() {
        let of = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let usual = of(&["127.0.0.1:8080"]);
        assert_eq!(mismatch(&usual, &usual), None);
        let two = of(&["127.0.0.1:8080", "[::1]:8080"]);
        assert_eq!(mismatch(&two, &of(&["[::1]:8080", "127.0.0.1:8080"])), None);
        let text = mismatch(&usual, &of(&["0.0.0.0:9000"])).unwrap();
        assert!(text.contains("on 0.0.0.0:9000; [http] listen says 127.0.0.1:8080"), "{text}");
        let text = mismatch(&[], &usual).unwrap();
        assert!(text.contains("listen says no port"), "{text}");
    }
}
