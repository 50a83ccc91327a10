//! `keepwell check`: one round; the exit code tells how the host is.

use std::process::ExitCode;

use clap::Args;

use crate::engine::Severity;
use crate::surfaces::report::{Lines, StatusReport};

use super::client::{Client, ClientError};
use super::terminal::{self, Look};
use super::{Global, Hooks, RoundArgs, sections, table};

#[derive(Debug, Default, Args)]
pub(super) struct CheckArgs {
    /// JSON instead of a table
    #[arg(long)]
    pub(super) json: bool,
    /// Tell the channels what is wrong (a running daemon does so anyway)
    #[arg(long)]
    alert: bool,
    /// Restart failed services that the configuration lets keepwell restart (a running daemon does so anyway)
    #[arg(long)]
    restart: bool,
    /// Ignore cooldowns, with --alert
    #[arg(long)]
    force: bool,
    /// List every healthy check too
    #[arg(long)]
    all: bool,
    /// Under headings: services, disk, memory, recent errors, git sync, heartbeats
    #[arg(long, conflicts_with = "json")]
    sections: bool,
    /// Understood for those who are used to it: a check is always one round
    #[arg(long, hide = true)]
    once: bool,
}

/// Asks the daemon, unless a configuration of one's own is named or none runs.
pub(super) fn check(global: &Global, args: &CheckArgs, hooks: &Hooks) -> anyhow::Result<ExitCode> {
    let acts = args.alert || args.restart || args.force;
    let report = match asked(global)? {
        Some(report) => {
            if acts {
                terminal::complain(
                    "the running keepwell alerts and restarts by itself; --alert, --restart and --force change nothing",
                );
            }
            report
        }
        None => {
            let round = RoundArgs {
                config: global.config.clone(),
                user: global.user,
                alert: args.alert,
                restart: args.restart,
                force: args.force,
            };
            let snapshot = (hooks.round)(round)?;
            StatusReport::of(&snapshot, env!("CARGO_PKG_VERSION"), Lines::Shown)
        }
    };
    if args.json {
        terminal::print(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        let look = Look::of_stdout(global.no_color);
        let draw = if args.sections { sections::render } else { table::render };
        terminal::print(&draw(&report, (hooks.now)().wall, look, args.all))?;
    }
    Ok(ExitCode::from(code(&report)))
}

fn asked(global: &Global) -> anyhow::Result<Option<StatusReport>> {
    if global.config.is_some() || global.user {
        return Ok(None);
    }
    match Client::new(global.socket.as_deref())?.status() {
        Ok(report) => Ok(Some(report)),
        Err(ClientError::NotRunning(_)) => Ok(None),
        Err(error) => {
            terminal::complain(&format!("{error}; looking for itself"));
            Ok(None)
        }
    }
}

/// What has not been looked at is unknown, whatever was seen so far.
fn code(report: &StatusReport) -> u8 {
    if report.ready || report.status == Severity::Critical {
        report.status.exit_code()
    } else {
        Severity::Unknown.exit_code()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surfaces::sample;

    #[test]
    fn the_exit_code_is_the_severity() {
        let of = |snapshot| code(&StatusReport::of(&snapshot, "1", Lines::Hidden));
        assert_eq!(of(sample::healthy()), 0);
        assert_eq!(of(sample::failing()), 2);
        assert_eq!(of(sample::before_first_round()), 3);
        let mut warning = sample::healthy();
        warning.severity = Severity::Warning;
        assert_eq!(of(warning), 1);
    }
}
