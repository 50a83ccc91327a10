//! `keepwell doctor`: what works, what does not, why, and what to do about it. What can be seen
//! without the configuration is looked at here; the rest comes from [`super::Hooks::findings`].

use std::fmt::Write;
use std::process::ExitCode;

use crate::engine::{Severity, Wall};
use crate::surfaces::report::{Stamp, StatusReport};
use crate::surfaces::visible;

use super::client::{Client, ClientError};
use super::terminal::{self, Look};
use super::{Global, Hooks};

/// How well one thing works. The order is the order of badness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// It works.
    Ok,
    /// It does not work, or not wholly; keepwell does the rest.
    Warn,
    /// It does not work and should.
    Fail,
}

/// What was found out about one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The thing: `bus`, `journal`, `state folder`.
    pub name: String,
    /// How well it works.
    pub level: Level,
    /// What was found.
    pub text: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Finding {
    /// A thing that works.
    pub fn ok(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), level: Level::Ok, text: text.into(), remedy: None }
    }

    /// A thing that does not, and what to do.
    pub fn bad(
        name: impl Into<String>,
        level: Level,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { name: name.into(), level, text: text.into(), remedy: Some(remedy.into()) }
    }
}

pub(super) fn doctor(global: &Global, hooks: &Hooks) -> anyhow::Result<ExitCode> {
    let mut findings = daemon(Client::new(global.socket.as_deref())?.status());
    findings.extend((hooks.findings)(global.config.clone(), global.user));
    findings.push(clock((hooks.now)().wall));
    terminal::print(&render(&findings, Look::of_stdout(global.no_color)))?;
    let worst = findings.iter().map(|f| f.level).max().unwrap_or(Level::Ok);
    Ok(ExitCode::from(worst as u8))
}

/// Whether the daemon answers, and what it says of its own parts.
fn daemon(asked: Result<StatusReport, ClientError>) -> Vec<Finding> {
    let report = match asked {
        Ok(report) => report,
        Err(error @ ClientError::NotRunning(_)) => {
            return vec![Finding {
                name: "daemon".to_owned(),
                level: Level::Warn,
                text: error.to_string(),
                remedy: None,
            }];
        }
        Err(error) => {
            let remedy = "look at `journalctl -u keepwell`";
            return vec![Finding::bad("daemon", Level::Fail, error.to_string(), remedy)];
        }
    };
    let mut findings = Vec::new();
    let ours = env!("CARGO_PKG_VERSION");
    findings.push(if report.version == ours {
        Finding::ok("daemon", format!("runs since {}, version {ours}", report.started.readable()))
    } else {
        let text = format!("runs version {}, this command is {ours}", report.version);
        Finding::bad("daemon", Level::Warn, text, "`systemctl restart keepwell`")
    });
    for check in report.checks.iter().filter(|c| c.id.starts_with("agent:")) {
        let level = match check.severity {
            Severity::Healthy => Level::Ok,
            Severity::Unknown | Severity::Warning => Level::Warn,
            Severity::Critical => Level::Fail,
        };
        let name = format!("daemon's {}", check.id.trim_start_matches("agent:"));
        findings.push(Finding { name, level, text: check.summary.clone(), remedy: None });
    }
    findings
}

/// Whether the wall clock can be right: it is not before this program was written.
fn clock(now: Wall) -> Finding {
    // 2025-01-01T00:00:00Z; a board without a battery starts in 1970 or at its image's date.
    const WRITTEN: Wall = Wall(1_735_689_600_000_000);
    let reads = Stamp(now).readable();
    if now < WRITTEN {
        let text = format!("it is {reads} by this host's clock, which is too early");
        return Finding::bad("clock", Level::Fail, text, "set it: `timedatectl set-ntp true`");
    }
    Finding::ok("clock", format!("it is {reads} by this host's clock"))
}

fn render(findings: &[Finding], look: Look) -> String {
    let widest = findings.iter().map(|f| f.name.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for finding in findings {
        let (word, severity) = match finding.level {
            Level::Ok => ("ok  ", Severity::Healthy),
            Level::Warn => ("warn", Severity::Warning),
            Level::Fail => ("FAIL", Severity::Critical),
        };
        let name = visible(&finding.name);
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "{}  {name:widest$}  {}",
            look.paint(severity, word),
            visible(&finding.text)
        );
        if let Some(remedy) = &finding.remedy {
            let _ = writeln!(out, "      {:widest$}  → {}", "", visible(remedy));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surfaces::report::Lines;
    use crate::surfaces::sample;

    const PIPE: Look = Look { colour: false, width: None };

    #[test]
    fn it_says_what_is_wrong_and_what_to_do() {
        let mut findings =
            daemon(Err(ClientError::NotRunning("/run/keepwell/keepwell.sock".into())));
        findings.push(clock(Wall(0)));
        insta::assert_snapshot!("doctor", render(&findings, PIPE));
    }

    #[test]
    fn it_tells_of_a_daemon_of_another_version() {
        let report = StatusReport::of(&sample::failing(), "0.0.1", Lines::Hidden);
        let findings = daemon(Ok(report));
        assert_eq!(findings[0].level, Level::Warn);
        assert!(findings[0].text.starts_with("runs version 0.0.1"), "{}", findings[0].text);
        assert_eq!(clock(sample::AT).level, Level::Ok);
    }
}
