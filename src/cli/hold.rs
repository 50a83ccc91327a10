//! `keepwell hold` and `keepwell unhold`: healing off for a time, and on again.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::surfaces::http::{HoldBody, ReleaseBody};
use crate::surfaces::visible;

use super::client::Client;
use super::times::duration;
use super::{Global, terminal};

#[derive(Debug, Args)]
pub(super) struct HoldArgs {
    /// The unit, a container as container:NAME, or 'all'
    unit: String,
    /// For how long: 30s, 10m, 1h, 2d, 1h30m
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    lasts: Duration,
    /// Why; shown to others
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct UnholdArgs {
    /// The unit, a container as container:NAME, or 'all'
    unit: String,
}

pub(super) fn hold(global: &Global, args: &HoldArgs) -> anyhow::Result<ExitCode> {
    let body =
        HoldBody { unit: unit(&args.unit), seconds: args.lasts.as_secs(), why: args.why.clone() };
    act(global, "POST", &body)
}

pub(super) fn unhold(global: &Global, args: &UnholdArgs) -> anyhow::Result<ExitCode> {
    act(global, "DELETE", &ReleaseBody { unit: unit(&args.unit) })
}

fn act(global: &Global, method: &str, body: &impl serde::Serialize) -> anyhow::Result<ExitCode> {
    let said = Client::new(global.socket.as_deref())?.act(method, "/api/v1/holds", body)?;
    terminal::print(&format!("{}\n", visible(&said)))?;
    Ok(ExitCode::SUCCESS)
}

/// As `systemctl` does, a name without a suffix is a service.
fn unit(name: &str) -> Option<String> {
    const SUFFIXES: [&str; 11] = [
        ".service",
        ".socket",
        ".timer",
        ".path",
        ".mount",
        ".automount",
        ".swap",
        ".target",
        ".slice",
        ".scope",
        ".device",
    ];
    match name.strip_prefix("unit:").unwrap_or(name) {
        "all" => None,
        // As its check is called; no unit can be called so without a suffix.
        container if container.starts_with("container:") => Some(container.to_owned()),
        full if SUFFIXES.iter().any(|s| full.ends_with(s)) => Some(full.to_owned()),
        short => Some(format!("{short}.service")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_suffix_is_a_service() {
        assert_eq!(unit("all"), None);
        assert_eq!(unit("nginx").as_deref(), Some("nginx.service"));
        assert_eq!(unit("unit:backup.timer").as_deref(), Some("backup.timer"));
        assert_eq!(unit("container:web").as_deref(), Some("container:web"));
        assert_eq!(
            unit("container:podman/web.service").as_deref(),
            Some("container:podman/web.service")
        );
    }
}
