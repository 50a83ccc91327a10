//! The command line: what can be typed, and exit codes. One file a command. What a command needs
//! from the running parts of keepwell comes in by [`Hooks`].
//!
//! Exit codes: `check` 0 healthy, 1 warning, 2 critical, 3 unknown; `test-notification` 1 when a
//! channel failed; every command 3 for a usage error or when it could not do its work.

mod adopt;
mod alerts;
mod channels;
mod check;
pub mod client;
mod columns;
mod config;
pub mod doctor;
mod explain;
mod findings;
mod hold;
mod last_word;
pub mod logging;
mod polkit;
mod sections;
mod status;
mod table;
mod terminal;
mod times;
mod wiring;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::app::last_word::Said;
use crate::engine::{Now, Snapshot};
use crate::surfaces::http::Tried;

pub use config::ConfigCommand;
pub use doctor::{Finding, Level};
pub use wiring::HOOKS;

/// What commands need from `app`, which knows how to build the parts.
#[derive(Clone, Copy)]
pub struct Hooks {
    /// Runs the daemon until it is told to stop.
    pub run: fn(RunArgs) -> anyhow::Result<ExitCode>,
    /// Looks once at everything, without a daemon.
    pub round: fn(RoundArgs) -> anyhow::Result<Arc<Snapshot>>,
    /// Findings of `doctor` that need the configuration, the bus or a channel; those that are not
    /// known are left out. With the file that `--config` named, and whether `--user` was given.
    pub findings: fn(Option<PathBuf>, bool) -> Vec<Finding>,
    /// Carries out `keepwell config ...`, with the file that `--config` named.
    pub config: fn(ConfigCommand, Option<PathBuf>) -> anyhow::Result<ExitCode>,
    /// Sends a test over the channels of the configuration, without a daemon: of each what the
    /// service said, or why it failed.
    pub test: fn(TestArgs) -> anyhow::Result<Tried>,
    /// Tells all channels, without a daemon, that keepwell has failed; with the file that `--config`
    /// named.
    pub last_word: fn(Option<PathBuf>) -> anyhow::Result<Said>,
    /// Reads both clocks.
    pub now: fn() -> Now,
}

/// What `keepwell run` was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunArgs {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--user`: the user's own systemd.
    pub user: bool,
    /// `--socket`: where to listen for the command-line tool.
    pub socket: Option<PathBuf>,
}

/// What a round of one's own was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoundArgs {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--user`: the user's own systemd.
    pub user: bool,
    /// Tell the channels.
    pub alert: bool,
    /// Restart failed services.
    pub restart: bool,
    /// Ignore cooldowns.
    pub force: bool,
}

/// What a test of channels without a daemon was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestArgs {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// The channel; `None` is each.
    pub channel: Option<Arc<str>>,
}

/// Keeps a Linux host well: watches its services and resources, restarts what failed, tells you.
#[derive(Debug, Parser)]
#[command(
    name = "keepwell",
    version,
    arg_required_else_help = true,
    after_help = "Examples:
  keepwell check                     look at this host now
  keepwell status --watch            follow the running daemon
  keepwell explain nginx.service     why it did or did not act
  keepwell alerts                    what is open, and who was told
  keepwell hold nginx.service --for 1h
  keepwell test-notification         whether the channels work
  keepwell doctor                    what works, what does not, and what to do about it

Exit codes of 'check': 0 healthy, 1 warning, 2 critical, 3 unknown or usage error."
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Cmd,
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Configuration file [default: /etc/keepwell/keepwell.toml, where it exists]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// What to log: error, warn, info, debug, trace, or per part such as info,keepwell::sources=debug
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
    /// No colours, also on a terminal (as the variable NO_COLOR does)
    #[arg(long, global = true)]
    no_color: bool,
    /// The user's own systemd (systemd --user) instead of the host's
    #[arg(long, global = true)]
    pub(crate) user: bool,
    /// The running daemon's socket [default: where it usually is]
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "KEEPWELL_SOCKET",
        hide_env_values = true
    )]
    pub(crate) socket: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Cmd {
    /// Run the daemon (what the systemd unit starts)
    #[command(after_help = "Examples:
  keepwell run
  keepwell --config ./keepwell.toml --log-level debug run")]
    Run {
        /// Look once and end, as 'keepwell check' does
        #[arg(long)]
        once: bool,
    },
    /// Look at this host once; the exit code tells how it is
    #[command(after_help = "Asks the daemon where one runs, else looks for itself.

Examples:
  keepwell check
  keepwell check --json | jq .status
  keepwell check --alert --restart   from a timer or cron, without the daemon

Exit codes: 0 healthy, 1 warning, 2 critical, 3 unknown or usage error.")]
    Check(check::CheckArgs),
    /// Show what the running daemon knows
    #[command(after_help = "Examples:
  keepwell status
  keepwell status --watch
  keepwell status --json | jq '.checks[] | select(.severity != \"healthy\")'")]
    Status(status::StatusArgs),
    /// Say why keepwell did or did not act on a check
    #[command(after_help = "Examples:
  keepwell explain unit:nginx.service
  keepwell explain nginx
  keepwell explain disk:/var")]
    Explain(explain::ExplainArgs),
    /// List, acknowledge and silence alerts
    #[command(after_help = "Examples:
  keepwell alerts                    what is open
  keepwell alerts --all              and what ended lately
  keepwell alerts show a12
  sudo keepwell alerts ack a12 --for 2h --why \"disk is on its way\"
  sudo keepwell alerts silence nginx --for 1h")]
    Alerts(alerts::AlertsArgs),
    /// Show who is told, and whether that works
    #[command(after_help = "Examples:
  keepwell channels
  keepwell channels --json | jq '.channels[] | select(.state == \"stopped\")'")]
    Channels(channels::ChannelsArgs),
    /// Send a test message and show the service's answer
    #[command(
        after_help = "Asks the daemon where one runs; else, and with --config, sends by itself.

Examples:
  sudo keepwell test-notification
  sudo keepwell test-notification ops
  keepwell --config ./keepwell.toml test-notification ops

Exit codes: 0 all worked, 1 one failed, 3 no channel or usage error."
    )]
    TestNotification(channels::TestNotificationArgs),
    /// Stop healing a unit, or all, for a time
    #[command(after_help = "Alerts still come; only restarts by keepwell stop.

Examples:
  keepwell hold nginx.service --for 1h
  keepwell hold all --for 30m --why \"moving the database\"")]
    Hold(hold::HoldArgs),
    /// Heal a unit, or all, again
    #[command(after_help = "Examples:
  keepwell unhold nginx.service
  keepwell unhold all")]
    Unhold(hold::UnholdArgs),
    /// Put a unit into keepwell's care: configuration, permission, a drop-in if you like
    #[command(after_help = "Examples:
  sudo keepwell adopt shop.service
  sudo keepwell adopt shop --limits --yes
  keepwell adopt shop --dry-run      what would be written

Exit codes: 0 done or nothing to do, 3 it could not be done or the restart is not permitted.")]
    Adopt(adopt::AdoptArgs),
    /// Take back all that 'adopt' did
    #[command(after_help = "Examples:
  sudo keepwell release shop.service")]
    Release(adopt::ReleaseArgs),
    /// Tell all channels that keepwell has failed (what keepwell-failed.service runs)
    #[command(after_help = "Says nothing while keepwell runs, and the same failure once an hour.

Examples:
  keepwell last-word
  sudo systemctl start keepwell-failed   with the service's own settings and secrets

Exit codes: 0 told, or nothing to tell; 1 nobody could be told.")]
    LastWord,
    /// Check and show the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Let keepwell restart the units that have restart = true, and no others
    #[command(
        after_help = "Makes /etc/polkit-1/rules.d/60-keepwell.rules from the files of the configuration that belong
to root and that only root can write to. The service does it by itself when it starts or reloads.

Examples:
  sudo keepwell polkit
  keepwell polkit --print                    the rule, as it would be written
  sudo keepwell polkit --check nginx.service whether restarting it is permitted
  sudo keepwell polkit --remove

Exit codes: 0 the rule is as it should be (also where no polkit can use one), 1 a file was left
out or the restart is not permitted, 3 it could not be done (the former rule stays)."
    )]
    Polkit(polkit::PolkitArgs),
    /// Say what works, what does not, and what to do about it
    #[command(after_help = "Examples:
  keepwell doctor
  sudo -u keepwell keepwell doctor   as the daemon's own user")]
    Doctor,
}

/// The whole command line, for the manual pages and the completions of shells.
pub fn command() -> clap::Command {
    Cli::command()
}

/// What could not be found out, and usage errors.
const UNKNOWN: u8 = 3;

/// Parses, logs, runs one command; errors are printed once, with their causes.
pub fn main(args: impl IntoIterator<Item = OsString>, hooks: &Hooks) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => {
            // Help goes to stdout, mistakes to stderr; when neither can be written, nobody reads.
            let _ = e.print();
            return if e.use_stderr() { ExitCode::from(UNKNOWN) } else { ExitCode::SUCCESS };
        }
    };
    let daemon = matches!(cli.command, Cmd::Run { once: false });
    let log = logging::init(cli.global.log_level.as_deref(), daemon, cli.global.no_color);
    let result = log.map_err(anyhow::Error::from).and_then(|()| dispatch(cli, hooks));
    result.unwrap_or_else(|error| {
        terminal::complain(&format!("{error:#}"));
        ExitCode::from(UNKNOWN)
    })
}

fn dispatch(cli: Cli, hooks: &Hooks) -> anyhow::Result<ExitCode> {
    let Cli { global, command } = cli;
    match command {
        Cmd::Run { once: false } => {
            let Global { config, user, socket, .. } = global;
            (hooks.run)(RunArgs { config, user, socket })
        }
        Cmd::Run { once: true } => check::check(&global, &check::CheckArgs::default(), hooks),
        Cmd::Check(args) => check::check(&global, &args, hooks),
        Cmd::Status(args) => status::status(&global, &args, hooks),
        Cmd::Explain(args) => explain::explain(&global, &args, hooks),
        Cmd::Alerts(args) => alerts::alerts(&global, &args, hooks),
        Cmd::Channels(args) => channels::channels(&global, &args, hooks),
        Cmd::TestNotification(args) => channels::test_notification(&global, &args, hooks),
        Cmd::Hold(args) => hold::hold(&global, &args),
        Cmd::Unhold(args) => hold::unhold(&global, &args),
        Cmd::Adopt(args) => adopt::adopt(&global, &args, hooks),
        Cmd::Release(args) => adopt::release(&global, &args),
        Cmd::LastWord => last_word::last_word(&global, hooks),
        Cmd::Config { command } => (hooks.config)(command, global.config),
        Cmd::Polkit(args) => polkit::polkit(&global, &args),
        Cmd::Doctor => doctor::doctor(&global, hooks),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_sound_and_every_command_has_examples() {
        let mut command = Cli::command();
        command.clone().debug_assert();
        assert!(command.render_long_help().to_string().contains("Examples:"));
        for sub in
            command.get_subcommands_mut().filter(|c| !["config", "help"].contains(&c.get_name()))
        {
            let help = sub.render_help().to_string();
            assert!(
                help.contains("Examples:\n  keepwell") || help.contains("Examples:\n  sudo"),
                "{help}"
            );
        }
    }

    #[test]
    fn golden_help() {
        let mut command = Cli::command();
        command.build();
        let mut help = |path: &[&str]| {
            let mut found = &mut command;
            for name in path {
                found = found.find_subcommand_mut(name).unwrap();
            }
            found.render_help().to_string()
        };
        insta::assert_snapshot!("help_alerts", help(&["alerts"]));
        insta::assert_snapshot!("help_alerts_ack", help(&["alerts", "ack"]));
        insta::assert_snapshot!("help_alerts_silence", help(&["alerts", "silence"]));
        insta::assert_snapshot!("help_channels", help(&["channels"]));
        insta::assert_snapshot!("help_test_notification", help(&["test-notification"]));
        for name in ["list", "show", "ack", "unack", "silence", "silences", "unsilence"] {
            assert!(help(&["alerts", name]).contains("Examples:\n  "), "{name}");
        }
    }

    #[test]
    fn alerts_are_named_or_all_are_meant() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        for right in [
            "keepwell alerts",
            "keepwell alerts --all --json",
            "keepwell alerts list --all",
            "keepwell alerts show a12 --json",
            "keepwell alerts ack a12 a13 --for 2h --why moving",
            "keepwell alerts ack --all",
            "keepwell alerts unack nginx",
            "keepwell alerts silence all",
            "keepwell alerts silence disk:* nginx --severity critical --for 1d",
            "keepwell alerts silence --severity warning",
            "keepwell alerts silences",
            "keepwell alerts unsilence s1 s2",
            "keepwell channels --json",
            "keepwell test-notification ops",
        ] {
            assert!(parse(right).is_ok(), "{right}: {}", parse(right).unwrap_err());
        }
        for wrong in [
            "keepwell alerts ack",
            "keepwell alerts ack a12 --all",
            "keepwell alerts ack a12 --for 60",
            "keepwell alerts silence",
            "keepwell alerts silence nginx --severity bad",
            "keepwell alerts silence nginx --for 31d",
            "keepwell alerts --all show a12",
            "keepwell alerts unsilence",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn global_options_stand_before_or_after_the_command() {
        for line in ["keepwell --config x check --json", "keepwell check --json --config x"] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.global.config, Some("x".into()));
            assert!(matches!(cli.command, Cmd::Check(args) if args.json));
        }
        assert!(Cli::try_parse_from(["keepwell", "check", "--once"]).is_ok());
        assert!(Cli::try_parse_from(["keepwell", "chek"]).is_err());
    }
}
