//! The commands' ties to `app`: what `main` hands to [`super::main`].

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;

use crate::app::plan::{self, Scope};
use crate::app::round::{self, RoundOptions};
use crate::app::run::{self, BadConfig, RunOptions};
use crate::app::{clock, last_word, test_directly};
use crate::config::Options;
use crate::engine::Snapshot;
use crate::surfaces::http::Tried;

use super::config::ConfigCommand;
use super::{Hooks, RoundArgs, RunArgs, TestArgs, channels, config, findings, terminal};

/// The real parts.
pub const HOOKS: Hooks = Hooks {
    run: run_daemon,
    round: look,
    findings: findings::find,
    config: configure,
    test,
    last_word: last_word::say,
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

fn test(args: TestArgs) -> anyhow::Result<Tried> {
    let TestArgs { config, channel } = args;
    let options = Options::from_process(config.as_deref());
    let plan = plan::load(&options).map_err(BadConfig)?;
    let names = || plan.channels.iter().map(|c| &**c.name());
    if let Some(asked) = channel.as_deref()
        && names().next().is_some()
        && !names().any(|name| name == asked)
    {
        bail!("{}", channels::unknown(asked, names()));
    }
    let channel = channel.filter(|_| names().next().is_some());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tried = runtime.block_on(test_directly(&options, channel));
    // A name look-up that hangs must not keep the process.
    runtime.shutdown_background();
    tried
}
