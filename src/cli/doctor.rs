//! `keepwell doctor`: what works, what does not, why, and what to do about it. What can be seen
//! without the configuration is looked at here; the rest comes from [`super::Hooks::findings`].

use std::fmt::Write;
use std::process::ExitCode;

use crate::engine::{Severity, Wall};
use crate::surfaces::report::{ChannelReport, HookReport, Stamp, StatusReport};
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

/// The finding that the configuration has no channel.
pub(super) const NO_CHANNELS: &str = "channels";

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
    let own = (hooks.findings)(global.config.clone(), global.user);
    findings.extend(beside(&findings, own));
    findings.push(clock((hooks.now)().wall));
    terminal::print(&render(&findings, Look::of_stdout(global.no_color)))?;
    let worst = findings.iter().map(|f| f.level).max().unwrap_or(Level::Ok);
    Ok(ExitCode::from(worst as u8))
}

/// What the configuration that is found here says, beside what the daemon said: it may run with
/// another one, and then its channels count.
fn beside(daemon: &[Finding], own: Vec<Finding>) -> Vec<Finding> {
    let has_channels = daemon.iter().any(|f| f.name.starts_with("channel "));
    own.into_iter().filter(|f| !(has_channels && f.name == NO_CHANNELS)).collect()
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
    findings.extend(report.channels.iter().map(channel));
    findings.extend(report.hooks.iter().map(hook));
    // What a channel's own check says, or a hook's, its finding has said already.
    let told = |id: &str| {
        let of = |kind: &str| id.strip_prefix(kind).unwrap_or_default();
        report.channels.iter().any(|c| c.name == of("agent:channel-"))
            || report.hooks.iter().any(|h| h.name == of("agent:hook-"))
    };
    let parts = report.checks.iter().filter(|c| c.id.starts_with("agent:") && !told(&c.id));
    for check in parts {
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

/// Whether a channel of the daemon delivers.
fn channel(channel: &ChannelReport) -> Finding {
    let name = format!("channel {}", channel.name);
    let test = format!("`sudo keepwell test-notification {}`", channel.name);
    if channel.is_stopped() {
        let text = format!("{}: {}", channel.kind, channel.trouble());
        let remedy = format!(
            "its address or credentials are wrong, or the receiver is gone: correct them, \
             `systemctl reload keepwell`, then {test}"
        );
        return Finding::bad(name, Level::Fail, text, remedy);
    }
    if channel.is_down() {
        let text = format!("{}: {}", channel.kind, channel.trouble());
        let again = match (channel.is_refused(), channel.queued) {
            (true, _) => "that message is not sent again; the next one is tried",
            (_, 0) => "nothing waits; the next message is tried",
            _ => "it is tried again by itself",
        };
        let remedy = format!("{again}; {test} tries now and shows the answer");
        return Finding::bad(name, Level::Warn, text, remedy);
    }
    if channel.is_untried() {
        let text = format!("{}: nothing has been sent since keepwell started", channel.kind);
        return Finding { name, level: Level::Ok, text, remedy: Some(format!("try it: {test}")) };
    }
    let last = channel.last_success.map(|at| format!(", last at {}", at.readable()));
    let last = last.unwrap_or_default();
    Finding::ok(name, format!("{}: works, {} sent{last}", channel.kind, channel.sent))
}

/// Whether a hook of the daemon gets through.
fn hook(hook: &HookReport) -> Finding {
    let name = format!("hook {}", hook.name);
    let trouble = hook.trouble();
    if !trouble.is_empty() {
        let text = format!("{}: {trouble}", hook.kind);
        let remedy = match hook.queued {
            0 => "what was refused for good is given up; look at its address and its receiver",
            _ => "what waits is kept in order and tried again by itself; look at its receiver",
        };
        return Finding::bad(name, Level::Warn, text, remedy);
    }
    if hook.refused > 0 {
        let text = format!("{}: works, {} sent, {} refused", hook.kind, hook.sent, hook.refused);
        let remedy = "what was refused for good is given up: `journalctl -u keepwell -p warning`";
        return Finding::bad(name, Level::Warn, text, remedy);
    }
    let last = hook.last_success.map(|at| format!(", last at {}", at.readable()));
    let text = match last {
        Some(last) => format!("{}: works, {} sent{last}", hook.kind, hook.sent),
        None => format!("{}: nothing has been sent since keepwell started", hook.kind),
    };
    Finding::ok(name, text)
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
    use crate::engine::view::ChannelState;
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
    fn each_channel_is_a_finding_with_what_to_do() {
        let mut busy = sample::busy();
        let broken = sample::check(
            crate::engine::CheckKind::Agent,
            "channel-pager",
            Severity::Warning,
            crate::engine::Reason::Broken,
            "it takes no messages",
        );
        busy.checks.insert(0, std::sync::Arc::new(broken));
        let report = StatusReport::of(&busy, env!("CARGO_PKG_VERSION"), Lines::Hidden);
        let mut findings = daemon(Ok(report));
        findings.remove(0);
        insta::assert_snapshot!("doctor_channels", render(&findings, PIPE));
        let worst = findings.iter().map(|f| f.level).max();
        assert_eq!(worst, Some(Level::Fail));
    }

    #[test]
    fn each_hook_is_a_finding_and_its_check_none_besides() {
        let mut snapshot = sample::containers();
        let away = sample::check(
            crate::engine::CheckKind::Agent,
            "hook-billing",
            Severity::Warning,
            crate::engine::Reason::Broken,
            "its receiver is away",
        );
        snapshot.checks.insert(0, std::sync::Arc::new(away));
        let report = StatusReport::of(&snapshot, env!("CARGO_PKG_VERSION"), Lines::Hidden);
        let mut findings = daemon(Ok(report));
        findings.remove(0);
        insta::assert_snapshot!("doctor_hooks", render(&findings, PIPE));
    }

    #[test]
    fn what_was_refused_is_not_said_to_be_tried_again() {
        let of = |state, queued| {
            let view = crate::engine::view::ChannelView {
                queued,
                last_error: Some("554 no".into()),
                ..sample::channel("mail", "email", state)
            };
            let found = channel(&ChannelReport::from(&view));
            assert_eq!(found.level, Level::Warn);
            format!("{} → {}", found.text, found.remedy.unwrap_or_default())
        };
        let test = "`sudo keepwell test-notification mail` tries now and shows the answer";
        assert_eq!(
            of(ChannelState::Refused, 0),
            format!(
                "email: the last message was refused for good and given up: 554 no → that message \
                 is not sent again; the next one is tried; {test}"
            )
        );
        assert_eq!(
            of(ChannelState::Failing, 0),
            format!(
                "email: the last try failed: 554 no → nothing waits; the next message is tried; {test}"
            )
        );
        assert!(of(ChannelState::Failing, 1).contains("it is tried again by itself"));
    }

    #[test]
    fn channels_of_the_daemon_count_also_when_the_file_here_has_none() {
        let own = || vec![Finding::bad(NO_CHANNELS, Level::Warn, "none is configured", "add")];
        let report = StatusReport::of(&sample::busy(), "0.1.0", Lines::Hidden);
        assert!(beside(&daemon(Ok(report)), own()).is_empty());
        let report = StatusReport::of(&sample::healthy(), "0.1.0", Lines::Hidden);
        assert_eq!(beside(&daemon(Ok(report)), own()).len(), 1);
        let down = daemon(Err(ClientError::NotRunning("/run/keepwell/keepwell.sock".into())));
        assert_eq!(beside(&down, own()).len(), 1);
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
