//! `keepwell explain CHECK`: why keepwell did or did not act.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::engine::{Human, Severity, Wall, bytes};
use crate::surfaces::report::{ActReport, ContainerReport, ExplainReport, meaning};
use crate::surfaces::visible;

use super::client::Client;
use super::table::{age, held};
use super::terminal::{self, Look};
use super::{Global, Hooks};

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The check, such as unit:nginx.service or container:web; nginx or web alone will do when only
    /// one fits.
    /// An alert stands for its check
    check: String,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn explain(
    global: &Global,
    args: &ExplainArgs,
    hooks: &Hooks,
) -> anyhow::Result<ExitCode> {
    let report = Client::new(global.socket.as_deref())?.status()?;
    match report.explain(&args.check) {
        Ok(explained) if args.json => {
            terminal::print(&format!("{}\n", serde_json::to_string_pretty(&explained)?))?;
            Ok(ExitCode::SUCCESS)
        }
        Ok(explained) => {
            let look = Look::of_stdout(global.no_color);
            terminal::print(&render(&explained, (hooks.now)().wall, look))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(near) => anyhow::bail!("{}", unknown(&args.check, &near)),
    }
}

fn unknown(asked: &str, near: &[String]) -> String {
    let asked = visible(asked);
    if near.is_empty() {
        format!("no check is called '{asked}'; `keepwell status --all` lists them")
    } else {
        let near: Vec<_> = near.iter().map(|n| visible(n)).collect();
        format!("no check is called '{asked}'; did you mean {}?", near.join(" or "))
    }
}

fn render(report: &ExplainReport, now: Wall, look: Look) -> String {
    let check = &report.check;
    let mut out = String::new();
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(
        out,
        "{} is {}: {}",
        look.bold(&visible(&check.id)),
        look.paint(check.severity, check.severity.as_str()),
        visible(&check.summary)
    );
    let mut line = |name: &str, text: String| {
        let _ = writeln!(out, "  {}  {}", look.dim(&format!("{name:<13}")), visible(&text));
    };
    line("reason", because(&check.reason));
    line("since", format!("{} ({} ago)", check.since.readable(), age(check.since, now)));
    for condition in
        check.conditions.iter().filter(|c| c.kind != "state" && c.severity != Severity::Healthy)
    {
        line(&condition.kind, format!("{}: {}", condition.severity, condition.summary));
    }
    for (name, at) in [
        ("last checked", check.last_check),
        ("last success", check.last_success),
        ("last failure", check.last_failure),
    ] {
        if let Some(at) = at {
            line(name, format!("{} ({} ago)", at.readable(), age(at, now)));
        }
    }
    if check.consecutive_failures > 0 {
        line("failures", format!("{} in a row", check.consecutive_failures));
    }
    if let Some(unit) = &check.unit {
        line("systemd", format!("{}, {} ({})", unit.load, unit.active, unit.sub));
        let counts = format!(
            "{} crashes, {} restarts ({} lately); {} attempts by keepwell",
            unit.crashes, unit.restarts, unit.restarts_in_window, unit.healed
        );
        line("counted", counts);
        line(
            "healing",
            if unit.restart {
                format!("on; step {} of the backoff", unit.step)
            } else {
                because("not-configured")
            },
        );
        if let Some(next) = unit.next_attempt {
            line("next attempt", next.readable());
        }
    }
    if let Some(container) = &check.container {
        for (name, text) in container_lines(container, now) {
            line(name, text);
        }
    }
    for (name, value) in &check.values {
        line(name, value.map_or_else(|| "not a number".to_owned(), |v| measured(name, v)));
    }
    for hold in &report.holds {
        line("on hold", held(hold));
    }
    for silence in &report.silences {
        line("silenced", silence.line());
    }
    let maintained = report.alerts.iter().any(|a| a.untold.as_deref() == Some("maintenance"));
    for window in report.maintenance.iter().filter(|_| maintained) {
        line("maintenance", window.line());
    }
    if let Some(why) = &report.quiet {
        line("waits", because(why));
    }
    for alert in &report.alerts {
        let opened = alert.opened.readable();
        line("alert", format!("{} ({}), open since {opened}", alert.id, alert.kind));
        line("", alert.telling());
        for text in alert.marks().into_iter().chain(alert.acts.iter().map(ActReport::line)) {
            line("", text);
        }
        if let Some(next) = &alert.next {
            line("", format!("next: {next}"));
        }
    }
    for channel in report.channels.iter().filter(|_| !report.alerts.is_empty()) {
        line("channel", format!("{} {}", channel.name, channel.trouble()));
    }
    if !check.decisions.is_empty() {
        let _ = writeln!(out, "\n{}", look.bold("Decisions, newest last"));
        for decision in &check.decisions {
            let text =
                format!("{}  {} [{}]", decision.at.readable(), decision.text, decision.reason);
            let _ = writeln!(out, "  {}", visible(&text));
        }
    }
    let lines: Vec<_> = report.alerts.iter().flat_map(|a| &a.lines).collect();
    if !lines.is_empty() {
        let _ = writeln!(out, "\n{}", look.bold("Last log lines"));
        for text in lines {
            let _ = writeln!(out, "  {}", visible(text));
        }
    }
    out
}

/// What is known of a container, each with its name.
fn container_lines(container: &ContainerReport, now: Wall) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("container", container.state_in_words()),
        ("engine", format!("{}, id {}", container.engine, container.id)),
        ("image", container.image.clone()),
    ];
    let compose = [("project", &container.project), ("service", &container.service)];
    let compose = compose.iter().filter_map(|(word, name)| Some((*word, name.as_ref()?.clone())));
    lines.extend(compose);
    if let Some(at) = container.started {
        lines.push(("started", format!("{} ({} ago)", at.readable(), age(at, now))));
    }
    if let (Some(at), Some(_)) = (container.finished, container.exit_code) {
        lines.push(("ended", format!("{} ({} ago)", at.readable(), age(at, now))));
    }
    if container.oom_killed {
        lines.push(("memory", "the kernel killed a process of it for want of memory".to_owned()));
    }
    if let Some(error) = &container.error {
        lines.push(("error", error.clone()));
    }
    if let Some(output) = container.health.as_ref().and_then(|h| h.output.as_ref()) {
        lines.push(("health check", output.clone()));
    }
    let counts = format!(
        "{} crashes, {} restarts ({} lately); {} attempts by keepwell",
        container.crashes, container.restarts, container.restarts_in_window, container.healed
    );
    lines.push(("counted", counts));
    let policy = format!(
        "{}, restarted {} times by it (the engine's count)",
        container.policy, container.restart_count
    );
    lines.push(("policy", policy));
    let healing = if container.restart {
        format!("on; step {} of the backoff", container.step)
    } else {
        because("not-configured")
    };
    lines.push(("healing", healing));
    if let Some(next) = container.next_attempt {
        lines.push(("next attempt", next.readable()));
    }
    let Some(usage) = &container.usage else { return lines };
    let pair = |word: &'static str, one: Option<u64>, other: Option<u64>, texts: [&str; 2]| {
        let (one, other) = (bytes(one?), bytes(other?));
        Some((word, format!("{one} {}, {other} {}", texts[0], texts[1])))
    };
    let of = |limit: Option<String>| limit.unwrap_or_else(|| "the host".to_owned());
    if let (Some(cpus), Some(ratio)) = (usage.cpus, usage.cpu_ratio) {
        let of = of(usage.cpu_limit.map(|n| format!("its limit of {n}")));
        lines.push(("processors", format!("{cpus:.2}, {:.1} % of {of}", ratio * 100.0)));
    }
    if let (Some(used), Some(ratio)) = (usage.memory_bytes, usage.memory_ratio) {
        let of = of(usage.memory_limit_bytes.map(|n| format!("its limit of {}", bytes(n))));
        lines.push(("memory", format!("{}, {:.1} % of {of}", bytes(used), ratio * 100.0)));
    }
    let [network, block] = [["received", "sent"], ["read", "written"]];
    lines.extend(pair("network", usage.received_bytes, usage.sent_bytes, network));
    lines.extend(pair("block devices", usage.read_bytes, usage.written_bytes, block));
    lines
}

pub(super) fn because(reason: &str) -> String {
    meaning(reason).map_or_else(|| reason.to_owned(), |means| format!("{reason}: {means}"))
}

/// A value with its unit, which the end of its name says.
fn measured(name: &str, value: f64) -> String {
    if name.ends_with("_ratio") {
        format!("{:.1} %", value * 100.0)
    } else if name.ends_with("_bytes") {
        bytes(value as u64)
    } else if name.ends_with("_seconds") {
        Human(Duration::from_secs_f64(value.max(0.0))).to_string()
    } else {
        format!("{value}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surfaces::report::{Lines, StatusReport};
    use crate::surfaces::sample;

    const PIPE: Look = Look { colour: false, width: None };

    #[test]
    fn golden_explanations() {
        let report = StatusReport::of(&sample::failing(), "0.1.0", Lines::Shown);
        let of = |check| render(&report.explain(check).unwrap(), sample::AT, PIPE);
        insta::assert_snapshot!("explain_failed_unit", of("nginx"));
        insta::assert_snapshot!("explain_held_unit", of("web@2"));
        insta::assert_snapshot!("explain_disk", of("disk:/var"));
        let containers = StatusReport::of(&sample::containers(), "0.1.0", Lines::Shown);
        let of = |check| render(&containers.explain(check).unwrap(), sample::AT, PIPE);
        insta::assert_snapshot!("explain_unhealthy_container", of("shop-db-1"));
        insta::assert_snapshot!("explain_container_that_ended", of("container:job"));
        insta::assert_snapshot!("explain_held_container", of("web"));
        let busy = StatusReport::of(&sample::busy(), "0.1.0", Lines::Hidden);
        let of = |check| render(&busy.explain(check).unwrap(), sample::AT, PIPE);
        insta::assert_snapshot!("explain_acknowledged_unit", of("nginx"));
        insta::assert_snapshot!("explain_silenced_disk", of("disk:/var"));
    }

    #[test]
    fn hostile_texts_steer_no_terminal() {
        let report = StatusReport::of(&sample::hostile(), "0.1.0", Lines::Shown);
        for check in &report.checks {
            let text = render(&report.explain(&check.id).unwrap(), sample::AT, PIPE);
            assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        }
    }

    #[test]
    fn near_misses_are_offered() {
        assert_eq!(
            unknown("ngnix", &["unit:nginx.service".to_owned()]),
            "no check is called 'ngnix'; did you mean unit:nginx.service?"
        );
        assert!(unknown("x\u{1b}", &[]).contains("'x\\u{1b}'"));
    }
}
