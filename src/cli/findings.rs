//! Findings of `doctor` that need the configuration or a connection.

use std::path::PathBuf;

use crate::app::plan::{self, Scope};
use crate::config::{Options, Paths};
use crate::rights::Place;
use crate::store::{self, LockError};
use crate::systemd::bus::{Bus, BusAddress, BusError};

use super::doctor::NO_CHANNELS;
use super::{Finding, Level};

mod containers;
mod files;
mod ports;
mod rights;
mod telemetry;

/// Looks at the configuration, the state folder, the bus and the journal.
pub(super) fn find(config: Option<PathBuf>, user: bool) -> Vec<Finding> {
    let files = Options::from_process(config.as_deref()).lenient();
    let mut findings = Vec::new();
    let mut state_dir = None;
    match plan::load(&files) {
        Ok(plan) => {
            // One whose credential only the service has counts as well.
            let units = plan.config.rules.units.len();
            let channels = plan.channels.len().max(plan.config.channels.len());
            let text =
                format!("valid: {} named, {}", count(units, "unit"), count(channels, "channel"));
            findings.push(Finding::ok("configuration", text));
            if channels == 0 {
                let remedy = "add a [[channel]], or set ALERT_WEBHOOK_URL; then `keepwell test-notification`";
                let text = "none is configured: nobody is told of what happens";
                findings.push(Finding::bad(NO_CHANNELS, Level::Warn, text, remedy));
            }
            findings.extend(telemetry::find(&plan));
            findings.extend(containers::find(&plan));
            findings.extend(ports::find(&plan.config.http));
            if !user {
                let place = Place::host().with_config(config.clone());
                findings.extend(rights::find(&place, &plan.config.rules.units));
            }
            state_dir = plan.config.agent.state_dir;
        }
        Err(errors) => {
            let problems = errors.found.iter().filter(|d| !d.warning).count();
            let text = format!("not valid: {}", count(problems, "problem"));
            findings.push(Finding::bad(
                "configuration",
                Level::Fail,
                text,
                "run: keepwell config check",
            ));
        }
    }
    findings.extend(files::find(&files, state_dir.as_deref()));
    findings.push(state(&files, state_dir));
    let scope = if user { Scope::User } else { Scope::System };
    findings.extend(bus(&scope));
    findings.push(match scope.journal().check_rights() {
        Ok(()) => Finding::ok("journal", "may be read"),
        Err(error) if error.is_absent() => {
            Finding::bad("journal", Level::Warn, error.to_string(), "log lines will be missing")
        }
        Err(error) => {
            let remedy = "as the daemon's user: sudo -u keepwell keepwell doctor";
            Finding::bad("journal", Level::Fail, error.to_string(), remedy)
        }
    });
    findings
}

/// `1 unit`, `3 units`.
fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// What comes of asking; `None` without the means to ask.
fn asked<T>(question: impl Future<Output = T>) -> Option<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let answer = runtime.block_on(question);
    // A name look-up that hangs must not keep the process.
    runtime.shutdown_background();
    Some(answer)
}

fn state(files: &Options, state_dir: Option<PathBuf>) -> Finding {
    let name = "state folder";
    let paths = match Paths::find(&files.environment, state_dir.as_deref()) {
        Ok(paths) => paths,
        Err(error) => {
            return Finding::bad(name, Level::Fail, error.to_string(), "set [agent] state_dir");
        }
    };
    let folder = paths.state().display();
    if !paths.state().exists() {
        return Finding::ok(name, format!("{folder} does not exist yet; the daemon makes it"));
    }
    match store::lock(paths.state()) {
        Ok(_) => Finding::ok(name, format!("{folder} is writable, and no daemon uses it")),
        Err(LockError::Held { .. }) => Finding::ok(name, format!("{folder} is used by the daemon")),
        Err(error) => {
            let remedy = "run doctor as the daemon's user: sudo -u keepwell keepwell doctor";
            Finding::bad(name, Level::Warn, error.to_string(), remedy)
        }
    }
}

fn bus(scope: &Scope) -> Vec<Finding> {
    let asked = asked(async {
        let address = scope.bus().unwrap_or(BusAddress::System);
        let bus = Bus::connect(&address).await?;
        let (version, units) = tokio::try_join!(bus.version(), bus.unit_count())?;
        Ok::<_, BusError>((version, units))
    });
    let Some(asked) = asked else { return Vec::new() };
    vec![match asked {
        Ok((version, units)) => {
            let units = units.map(|n| format!(", {n} units loaded")).unwrap_or_default();
            Finding::ok("systemd", format!("answers on the system bus: version {version}{units}"))
        }
        Err(error @ BusError::Absent(_)) => {
            let remedy = "only the host itself is watched here";
            Finding::bad("systemd", Level::Warn, error.to_string(), remedy)
        }
        Err(error) => {
            let remedy = "look at: systemctl status dbus";
            Finding::bad("systemd", Level::Fail, error.to_string(), remedy)
        }
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::plan::Plan;

    /// What `doctor` would look at with this configuration.
    pub(super) fn plan(text: &str) -> Plan {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k.toml");
        std::fs::write(&path, text).unwrap();
        let options = Options::new(Some(&path), Default::default(), true, "host".into()).lenient();
        plan::load(&options).unwrap_or_else(|found| panic!("{found}"))
    }
}
