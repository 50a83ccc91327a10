//! `keepwell status`: what the running daemon knows, once or followed.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::client::Client;
use super::terminal::{self, Look};
use super::{Global, Hooks, table};

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Draw it anew every second, until Ctrl-C
    #[arg(long, short, conflicts_with = "json")]
    watch: bool,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
    /// List every healthy check too
    #[arg(long)]
    all: bool,
}

pub(super) fn status(
    global: &Global,
    args: &StatusArgs,
    hooks: &Hooks,
) -> anyhow::Result<ExitCode> {
    let client = Client::new(global.socket.as_deref())?;
    if args.watch {
        return watch(&client, global, args, hooks);
    }
    let report = client.status()?;
    if args.json {
        terminal::print(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        let look = Look::of_stdout(global.no_color);
        terminal::print(&table::render(&report, (hooks.now)().wall, look, args.all))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Ends by Ctrl-C, or when nobody reads any more. A daemon that restarts is waited for.
fn watch(
    client: &Client,
    global: &Global,
    args: &StatusArgs,
    hooks: &Hooks,
) -> anyhow::Result<ExitCode> {
    loop {
        let look = Look::of_stdout(global.no_color);
        let text = match client.status() {
            Ok(report) => table::render(&report, (hooks.now)().wall, look, args.all),
            Err(error) => format!("{error}\n"),
        };
        // Home, then clear each line's rest and what is below: no flicker.
        let lines = text.replace('\n', "\u{1b}[K\n");
        let frame = if look.width.is_some() { format!("\u{1b}[H{lines}\u{1b}[J") } else { text };
        terminal::print(&frame)?;
        std::thread::sleep(Duration::from_secs(1));
    }
}
