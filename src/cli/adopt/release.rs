//! `keepwell release UNIT`: takes back what `adopt` made, and nothing else.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;

use crate::rights::Change;
use crate::systemd::bus::BusError;

use super::super::{Global, UNKNOWN, terminal};
use super::configuration::{self, Named};
use super::host::{self, Host, Reloaded};
use super::look;
use super::places::{self, Places, There};

#[derive(Debug, Args)]
pub(in super::super) struct ReleaseArgs {
    /// The unit; without a suffix, a service
    unit: String,
}

/// What was taken away.
#[derive(Debug, Default, PartialEq, Eq)]
struct Taken {
    configuration: bool,
    drop_in: bool,
    /// What is said of it.
    said: String,
}

impl Taken {
    fn nothing(&self) -> bool {
        !self.configuration && !self.drop_in
    }
}

pub(in super::super) fn release(global: &Global, args: &ReleaseArgs) -> anyhow::Result<ExitCode> {
    host::only(global, "release")?;
    if let Some(template) = look::template(&args.unit) {
        bail!("{}", look::template_refusal(&template, &[]));
    }
    let mut unit = look::name(&args.unit).map_err(anyhow::Error::msg)?;
    host::root("release", &args.unit)?;
    let host = Host::connect("/", global.socket.as_deref())?;
    let mut taken = take(&host.places, &unit)?;
    if taken.nothing() {
        // It may have been adopted by its other name.
        let primary = host.run(host.bus.facts(&unit)).map(|facts| facts.name).unwrap_or_default();
        if !primary.is_empty() && primary != unit {
            let said = std::mem::take(&mut taken.said);
            taken = take(&host.places, &primary)?;
            taken.said.insert_str(0, &said);
            unit = primary;
        }
    }
    terminal::print(&taken.said)?;
    make_it_count(&host, &unit, &taken)
}

/// Removes the files that `adopt` made for this unit.
fn take(places: &Places, unit: &str) -> anyhow::Result<Taken> {
    let mut taken = Taken::default();
    let mut one = |path: &Path, with_folder: bool| -> anyhow::Result<bool> {
        let shown = places.shown(path);
        match places::look(path, unit).with_context(|| format!("{shown} cannot be read"))? {
            There::Nothing => return Ok(false),
            There::Others => {
                taken.said +=
                    &format!("left {shown} as it is: `keepwell adopt {unit}` did not make it\n");
                return Ok(false);
            }
            There::Ours(_) => {}
        }
        places::remove(path, with_folder).with_context(|| format!("{shown} cannot be removed"))?;
        taken.said += &format!("removed {shown}\n");
        Ok(true)
    };
    let configuration = one(&places.configuration(unit), false)?;
    let drop_in = one(&places.drop_in(unit), true)?;
    Ok(Taken { configuration, drop_in, ..taken })
}

fn make_it_count(host: &Host, unit: &str, taken: &Taken) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    if taken.drop_in {
        host.run(host.bus.daemon_reload())
            .or_else(gone)
            .context("systemd did not read its unit files again; run `systemctl daemon-reload`")?;
    }
    let change = host.refresh()?;
    let path = host.places.configuration(unit);
    // Where the configuration is not valid for other reasons, there is nothing to add.
    let named = configuration::options(&host.places)
        .and_then(|options| configuration::named(&options, unit, &path))
        .unwrap_or(Named::No);
    let restarts = matches!(named, Named::Restarted { .. });
    // The daemon may not have heard of it: a former run was cut off before it could tell.
    let stale = taken.configuration
        || matches!(change, Change::Written | Change::Removed)
        || host.restarts(unit) == Some(!restarts);
    if stale {
        let reloaded = host.reload_keepwell()?;
        match reloaded {
            Reloaded::Refused(_) => code = ExitCode::from(UNKNOWN),
            Reloaded::Done => host.wait_until(unit, restarts),
            _ => {}
        }
        terminal::print(&format!("{reloaded}\n"))?;
    }
    match named {
        Named::Restarted { by, at } => terminal::print(&format!(
            "keepwell still restarts {unit}: {at}, `{by}`, says so, and `keepwell adopt` did not \
             write that\n"
        ))?,
        _ if taken.nothing() => {
            terminal::print(&format!("nothing to do: {unit} is not adopted\n"))?;
        }
        _ => terminal::print(&format!("keepwell no longer restarts {unit}\n"))?,
    }
    Ok(code)
}

/// A systemd that is gone in the middle of an answer reads its files again anyway.
fn gone(error: BusError) -> Result<(), BusError> {
    if error.name() == "NoReply" { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_made_for_this_unit_is_taken_and_twice_is_harmless() {
        let root = tempfile::tempdir().unwrap();
        let places = Places::new(root.path());
        let unit = "shop.service";
        let (file, drop_in) = (places.configuration(unit), places.drop_in(unit));
        places::write(&file, &configuration::render(unit)).unwrap();
        places::write(&places.configuration("b.service"), &configuration::render("b.service"))
            .unwrap();
        places::write(&drop_in, &places::header(unit)).unwrap();

        let taken = take(&places, unit).unwrap();
        assert!(taken.configuration && taken.drop_in);
        assert_eq!(
            taken.said,
            "removed /etc/keepwell/conf.d/50-adopted-shop.service.toml\n\
             removed /etc/systemd/system/shop.service.d/50-keepwell.conf\n"
        );
        assert!(!drop_in.parent().unwrap().exists());
        assert!(places.configuration("b.service").exists());
        assert_eq!(take(&places, unit).unwrap(), Taken::default());

        places::write(&drop_in, "[Service]\nMemoryMax=1G\n").unwrap();
        let taken = take(&places, unit).unwrap();
        assert!(taken.nothing() && drop_in.exists());
        assert!(taken.said.starts_with("left /etc/systemd/system/shop.service.d/"), "{taken:?}");
    }
}
