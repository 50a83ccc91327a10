//! What the host of an engine has, where the engine may not say so and is on this host.

use std::fs;
use std::path::Path;

use crate::docker::{Address, Info};

/// Fills in what is not known.
pub(super) fn complete(info: &mut Info, address: &Address, root: &Path) {
    if !is_here(address) {
        return;
    }
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap_or_default();
    if info.memory == 0 {
        let text = read("proc/meminfo");
        let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let kib = total.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        info.memory = kib.unwrap_or_default().saturating_mul(1024);
    }
    if info.cpus == 0 {
        let text = read("proc/stat");
        let each = text.lines().filter_map(|line| line.strip_prefix("cpu"));
        let count = each.filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit())).count();
        info.cpus = count.try_into().unwrap_or_default();
    }
}

/// Whether the engine is on this host: by a unix socket, or by a port of loopback.
fn is_here(address: &Address) -> bool {
    match address {
        Address::Unix(_) => true,
        // Numbers only: a name would have to be asked for.
        Address::Tcp(to) => {
            let number = to.trim_start_matches("localhost");
            number.len() < to.len()
                || number.parse::<std::net::SocketAddr>().is_ok_and(|at| at.ip().is_loopback())
        }
    }
}
