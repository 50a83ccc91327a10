//! `keepwell polkit`: makes, shows, removes and tries the polkit rule that lets keepwell restart
//! units.
//!
//! Exit codes: 0 the rule is as it should be, or none can be used here; 1 a file of the
//! configuration was left out, or `--check` found the restart not permitted; 3 it could not be done.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

use crate::rights::{self, Change, LeftOut, Place, RULE, Refreshed};
use crate::surfaces::visible;

use super::{Global, terminal};

#[derive(Debug, Args)]
pub(super) struct PolkitArgs {
    /// Print the rule and write nothing
    #[arg(long, group = "what")]
    print: bool,
    /// Remove the rule
    #[arg(long, group = "what")]
    remove: bool,
    /// Say whether restarting UNIT would be permitted
    #[arg(long, group = "what", value_name = "UNIT")]
    check: Option<String>,
}

/// A file was left out, or a restart is not permitted.
const NOT_ALL: u8 = 1;

pub(super) fn polkit(global: &Global, args: &PolkitArgs) -> anyhow::Result<ExitCode> {
    if global.user {
        bail!("a systemd --user needs no polkit rule: its user may restart its units");
    }
    let place = Place::host().with_config(global.config.clone());
    if args.print {
        let wanted = rights::wanted(&place)?;
        let none = || "// No unit has restart = true: no rule is needed.\n".to_owned();
        terminal::print(&wanted.rule().unwrap_or_else(none))?;
        return Ok(told(&wanted.left_out));
    }
    if !rustix::process::geteuid().is_root() {
        bail!("only root may do this: run it with sudo");
    }
    if let Some(unit) = &args.check {
        let permission = rights::permitted(&place, unit)?;
        terminal::print(&format!("{}\n", visible(&permission.to_string())))?;
        return Ok(ExitCode::from(if permission.permitted { 0 } else { NOT_ALL }));
    }
    if args.remove {
        let said = if rights::remove(&place)? { "removed" } else { "there is none" };
        terminal::print(&format!("{RULE}: {said}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let done = rights::refresh(&place)?;
    terminal::print(&format!("{}\n", visible(&line(&done))))?;
    Ok(told(&done.wanted.left_out))
}

/// What was done, in one line.
fn line(done: &Refreshed) -> String {
    let count = done.wanted.count();
    let units = match count {
        1 => "1 unit or pattern".to_owned(),
        n => format!("{n} units or patterns"),
    };
    let again = if done.new_folder {
        "; its folder is new: run 'systemctl try-restart polkit' once"
    } else {
        ""
    };
    match done.change {
        Change::Written => format!("{RULE}: written, for {units}{again}"),
        Change::Unchanged => format!("{RULE}: unchanged, for {units}"),
        Change::Removed => format!("{RULE}: removed, for no unit has restart = true"),
        Change::NotNeeded => "no polkit rule is needed: no unit has restart = true".to_owned(),
        Change::NoPolkit(polkit) => format!("no rule written: {polkit}"),
    }
}

/// Names the files that were left out.
fn told(left_out: &[LeftOut]) -> ExitCode {
    for file in left_out {
        terminal::complain(&visible(&file.to_string()));
    }
    ExitCode::from(if left_out.is_empty() { 0 } else { NOT_ALL })
}
