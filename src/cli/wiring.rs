//! The commands' ties to `app`: what `main` hands to [`super::main`].

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use crate::app::clock;
use crate::app::plan::{self, Scope};
use crate::app::round::{self, RoundOptions};
use crate::app::run::{self, BadConfig, RunOptions};
use crate::engine::Snapshot;

use super::config::ConfigCommand;
use super::{Hooks, RoundArgs, RunArgs, config, findings, terminal};

/// The real parts.
pub const HOOKS: Hooks = Hooks {
    run: run_daemon,
    round: look,
    findings: findings::find,
    config: configure,
    now: clock::now,
};

fn scope(user: bool) -> Scope {
    if user { Scope::User } else { Scope::System }
}

/// EX_CONFIG: the unit file says that a start with this configuration is not to be repeated.
const BAD_CONFIG: u8 = 78;

fn run_daemon(args: RunArgs) -> anyhow::Result<ExitCode> {
    let RunArgs { config, user, socket } = args;
    match run::run(&RunOptions { config, socket, scope: scope(user) }) {
        Err(error) if error.is::<BadConfig>() => {
            terminal::complain(&error.to_string());
            Ok(ExitCode::from(BAD_CONFIG))
        }
        other => other,
    }
}

fn look(args: RoundArgs) -> anyhow::Result<Arc<Snapshot>> {
    let RoundArgs { config, user, alert, restart, force } = args;
    round::round(&RoundOptions { config, scope: scope(user), alert, restart, force })
}

fn configure(command: ConfigCommand, file: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    config::run(command, file.as_deref(), plan::check_kinds)
}
