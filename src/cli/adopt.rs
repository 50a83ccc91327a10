//! `keepwell adopt UNIT` and `keepwell release UNIT`: a unit put into keepwell's care with all that
//! belongs to it (configuration, polkit rule, a drop-in when wanted), and all of it taken back.

mod configuration;
mod host;
mod lines;
mod look;
mod offer;
mod places;
mod release;

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;

use crate::engine::observation::LoadState;
use crate::rights::{self, Change};
use crate::surfaces::visible;
use crate::systemd::bus::UnitFacts;

use self::configuration::Named;
use self::host::{Host, Reloaded};
use self::lines::{Line, Offer, Wanted};
use self::offer::Decide;
use self::places::There;
use super::{Global, Hooks, UNKNOWN, terminal};

pub(super) use self::release::{ReleaseArgs, release};

#[derive(Debug, Args)]
pub(super) struct AdoptArgs {
    /// The unit; without a suffix, a service
    unit: String,
    /// Offer limits as well: 4 GiB of memory, 2 processors
    #[arg(long)]
    limits: bool,
    /// Offer a watchdog of 5 min as well, for a service that pings
    #[arg(long)]
    watchdog: bool,
    /// Take every line that is offered, without asking
    #[arg(long, short)]
    yes: bool,
    /// Offer no drop-in
    #[arg(long, conflicts_with_all = ["limits", "watchdog", "yes"])]
    no_drop_in: bool,
    /// Change nothing; show what would be written
    #[arg(long)]
    dry_run: bool,
}

/// What is to be written, and what was found on the way.
struct Plan {
    unit: String,
    /// The configuration to write; `None` when nothing is to be added.
    configuration: Option<(PathBuf, String)>,
    drop_in: Option<(PathBuf, String)>,
}

pub(super) fn adopt(global: &Global, args: &AdoptArgs, hooks: &Hooks) -> anyhow::Result<ExitCode> {
    host::only(global, "adopt")?;
    if !args.dry_run {
        host::root("adopt", &args.unit)?;
    }
    let host = Host::connect("/", global.socket.as_deref())?;
    let facts = find(&host, &args.unit)?;
    terminal::print(&look::describe(&facts))?;

    let configuration = configuration(&host, &facts.name)?;
    let drop_in = drop_in(&host, &facts, args, hooks)?;
    let plan = Plan { unit: facts.name, configuration, drop_in };
    if args.dry_run {
        terminal::print(&shown(&host, &plan))?;
        return Ok(ExitCode::SUCCESS);
    }
    carry_out(&host, &plan)
}

/// The unit by its primary name, if it can be adopted.
fn find(host: &Host, typed: &str) -> anyhow::Result<UnitFacts> {
    if let Some(template) = look::template(typed) {
        let pattern = template.replacen("@.", "@*.", 1);
        // They only make the answer better.
        let rows = host.run(host.bus.units_by_pattern(&[], &[&pattern])).unwrap_or_default();
        let instances: Vec<String> = rows.iter().map(|row| row.name.to_string()).collect();
        bail!("{}", look::template_refusal(&template, &instances));
    }
    let name = look::name(typed).map_err(anyhow::Error::msg)?;
    let facts = host.run(host.bus.facts(&name))?;
    let names = match facts.load {
        LoadState::NotFound => host.run(host.bus.unit_names()).unwrap_or_default(),
        _ => Vec::new(),
    };
    if let Some(why) = look::refusal(&facts, &names) {
        bail!("{why}");
    }
    if facts.name != name {
        terminal::print(&format!("{name} is another name of {}\n", visible(&facts.name)))?;
    }
    Ok(facts)
}

/// The file that is to be added to the configuration, checked before it is there.
fn configuration(host: &Host, unit: &str) -> anyhow::Result<Option<(PathBuf, String)>> {
    let path = host.places.configuration(unit);
    let shown = host.places.shown(&path);
    let options = configuration::options(&host.places)?;
    let there = places::look(&path, unit).with_context(|| format!("{shown} cannot be read"))?;
    if there == There::Others {
        bail!("{shown} is there, and `keepwell adopt` did not make it: move it away first");
    }
    let named = configuration::named(&options, unit, &path)?;
    if let There::Ours(text) = there {
        configuration::try_with(&options, &path, &text)?;
        terminal::print(&format!("adopted already: {shown}\n"))?;
        return Ok(None);
    }
    match named {
        Named::Exactly { at } => bail!(
            "{at} names {unit} without `restart = true`: write that there; a unit is named once"
        ),
        Named::Restarted { by, at } => {
            terminal::print(&format!(
                "the configuration has it restarted already: {at}, `{by}`\n"
            ))?;
            return Ok(None);
        }
        Named::Pattern { by, at } => terminal::print(&format!(
            "  Risk: so far {at}, `{by}`, applied to it; what stands there no longer does\n"
        ))?,
        Named::No => {}
    }
    let text = configuration::render(unit);
    configuration::try_with(&options, &path, &text)?;
    Ok(Some((path, text)))
}

/// The drop-in that is to be written, after everybody has been asked.
fn drop_in(
    host: &Host,
    facts: &UnitFacts,
    args: &AdoptArgs,
    hooks: &Hooks,
) -> anyhow::Result<Option<(PathBuf, String)>> {
    let unit = &facts.name;
    let wanted = Wanted { limits: args.limits, watchdog: args.watchdog };
    if !unit.ends_with(".service") {
        if wanted.limits || wanted.watchdog {
            bail!("--limits and --watchdog are for services, and {unit} is none");
        }
        return Ok(None);
    }
    if args.no_drop_in {
        return Ok(None);
    }
    let path = host.places.drop_in(unit);
    let shown = host.places.shown(&path);
    let there = places::look(&path, unit).with_context(|| format!("{shown} cannot be read"))?;
    let now = match there {
        There::Nothing => String::new(),
        There::Ours(text) => text,
        There::Others => {
            terminal::print(&format!(
                "{shown} is left as it is: `keepwell adopt` did not make it\n"
            ))?;
            return Ok(None);
        }
    };
    let offers = lines::offers(facts, wanted, &now, (hooks.now)().wall);
    if let Some(why) = offers.iter().find_map(|(_, offer)| match offer {
        Offer::Refused(why) => Some(why),
        _ => None,
    }) {
        bail!("no watchdog, and nothing was changed: {why}");
    }
    let decide = if args.yes || args.dry_run {
        Decide::All
    } else if io::stdin().is_terminal() && io::stdout().is_terminal() {
        Decide::Ask
    } else {
        Decide::Nobody
    };
    terminal::print(&format!("drop-in {shown}:\n"))?;
    let answers = &mut io::stdin().lock();
    let chosen = offer::choose(&offers, decide, answers, &mut |text| terminal::print(text))?;
    let open = offers.iter().any(|(_, offer)| *offer == Offer::Open);
    if open && decide == Decide::Nobody {
        let more = [("--limits", wanted.limits), ("--watchdog", wanted.watchdog)];
        let more: String =
            more.iter().filter(|(_, is)| *is).map(|(flag, _)| format!(" {flag}")).collect();
        terminal::print(&format!(
            "  not written: there is no terminal to ask on; to take these lines: \
             sudo keepwell adopt {unit}{more} --yes\n"
        ))?;
    }
    if chosen.is_empty() {
        return Ok(None);
    }
    let all = lines::taken(&now).union(&chosen).copied().collect::<BTreeSet<Line>>();
    Ok(Some((path, lines::render(unit, &all))))
}

/// What `--dry-run` shows.
fn shown(host: &Host, plan: &Plan) -> String {
    let mut out = String::new();
    for (path, text) in plan.configuration.iter().chain(&plan.drop_in) {
        out.push_str(&format!("would write {}:\n", host.places.shown(path)));
        for line in text.lines() {
            out.push_str(&format!("  {line}\n").replace("  \n", "\n"));
        }
    }
    if out.is_empty() {
        return "would change nothing\n".to_owned();
    }
    if plan.drop_in.is_some() {
        out.push_str("would have systemd read its unit files again (daemon-reload)\n");
    }
    if plan.configuration.is_some() {
        out.push_str(&format!("would write {}\n", rights::RULE));
        out.push_str("would have keepwell read its configuration again\n");
    }
    out
}

/// Writes, and makes it count; what does not come about in full is taken back.
fn carry_out(host: &Host, plan: &Plan) -> anyhow::Result<ExitCode> {
    let former = |file: &Option<(PathBuf, String)>| -> io::Result<Option<(PathBuf, There)>> {
        let Some((path, _)) = file else { return Ok(None) };
        Ok(Some((path.clone(), places::look(path, &plan.unit)?)))
    };
    let (configuration, drop_in) = (former(&plan.configuration)?, former(&plan.drop_in)?);
    if let Err(error) = make_it_count(host, plan) {
        let mut again = Vec::new();
        for (file, with_folder) in [(&configuration, false), (&drop_in, true)] {
            let Some((path, former)) = file else { continue };
            let shown = host.places.shown(path);
            places::put_back(path, former, with_folder)
                .with_context(|| format!("{error:#}; and {shown} cannot be taken back"))?;
            again.push(shown);
        }
        // As far as it goes: what went wrong first is what is told.
        if drop_in.is_some() {
            let _ = host.run(host.bus.daemon_reload());
        }
        if configuration.is_some() {
            let _ = host.refresh();
        }
        if again.is_empty() {
            return Err(error);
        }
        bail!("{error:#}; taken back: {}", again.join(", "));
    }
    permitted(host, &plan.unit)
}

fn make_it_count(host: &Host, plan: &Plan) -> anyhow::Result<()> {
    for (path, text) in plan.configuration.iter().chain(&plan.drop_in) {
        let shown = host.places.shown(path);
        places::write(path, text).with_context(|| format!("{shown} cannot be written"))?;
        terminal::print(&format!("wrote {shown}\n"))?;
    }
    if plan.drop_in.is_some() {
        host.run(host.bus.daemon_reload()).context("systemd did not read the drop-in")?;
    }
    let change = host.refresh()?;
    // The daemon may not have heard of it: a former run was cut off before it could tell.
    let stale = plan.configuration.is_some()
        || matches!(change, Change::Written | Change::Removed)
        || host.restarts(&plan.unit) == Some(false);
    if !stale {
        if plan.drop_in.is_none() {
            terminal::print("nothing to do\n")?;
        }
        return Ok(());
    }
    let reloaded = host.reload_keepwell()?;
    match &reloaded {
        Reloaded::Refused(why) if plan.configuration.is_some() => {
            bail!("keepwell does not take the new configuration: {why}");
        }
        Reloaded::Done => host.wait_until(&plan.unit, true),
        _ => {}
    }
    terminal::print(&format!("{reloaded}\n"))?;
    Ok(())
}

/// Whether keepwell may restart it from now on.
fn permitted(host: &Host, unit: &str) -> anyhow::Result<ExitCode> {
    let permission = rights::permitted(&host.rights, unit)?;
    if !permission.permitted {
        terminal::complain(&format!("{permission}; `keepwell doctor` says what to do"));
        return Ok(ExitCode::from(UNKNOWN));
    }
    terminal::print(&format!("{permission}\nto take it all back: sudo keepwell release {unit}\n"))?;
    Ok(ExitCode::SUCCESS)
}
