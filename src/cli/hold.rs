//! `keepwell hold` and `keepwell release`: healing off for a time, and on again.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::surfaces::http::{HoldBody, LONGEST_HOLD, ReleaseBody};
use crate::surfaces::visible;

use super::client::Client;
use super::{Global, terminal};

#[derive(Debug, Args)]
pub(super) struct HoldArgs {
    /// The unit, or 'all'
    unit: String,
    /// For how long: 30s, 10m, 1h, 2d, 1h30m
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    lasts: Duration,
    /// Why; shown to others
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ReleaseArgs {
    /// The unit, or 'all'
    unit: String,
}

pub(super) fn hold(global: &Global, args: &HoldArgs) -> anyhow::Result<ExitCode> {
    let body =
        HoldBody { unit: unit(&args.unit), seconds: args.lasts.as_secs(), why: args.why.clone() };
    act(global, "POST", &body)
}

pub(super) fn release(global: &Global, args: &ReleaseArgs) -> anyhow::Result<ExitCode> {
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
        full if SUFFIXES.iter().any(|s| full.ends_with(s)) => Some(full.to_owned()),
        short => Some(format!("{short}.service")),
    }
}

/// `90s`, `10m`, `1h30m`, `2 d`; a unit is needed, so that nobody holds for seconds who means hours.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is not a time: write 30s, 10m, 1h, 2d or 1h30m");
    let mut seconds: u64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let count: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let factor = match &rest[..letters] {
            "s" | "sec" => 1,
            "m" | "min" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return Err(wrong()),
        };
        seconds =
            count.checked_mul(factor).and_then(|s| s.checked_add(seconds)).ok_or_else(wrong)?;
        rest = rest[letters..].trim_start();
    }
    match seconds {
        0 => Err("a hold lasts at least a second".to_owned()),
        s if s > LONGEST_HOLD => Err("a hold lasts at most 30 days".to_owned()),
        s => Ok(Duration::from_secs(s)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, seconds) in
            [("30s", 30), ("10m", 600), ("1h30m", 5400), (" 2 d ", 172_800), ("1h 5min", 3900)]
        {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "60", "h", "1x", "-1h", "0s", "31d", "99999999999999999999d", "1h2", "1ä"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_without_a_suffix_is_a_service() {
        assert_eq!(unit("all"), None);
        assert_eq!(unit("nginx").as_deref(), Some("nginx.service"));
        assert_eq!(unit("unit:backup.timer").as_deref(), Some("backup.timer"));
    }
}
