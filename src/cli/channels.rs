//! `keepwell channels` and `keepwell test-notification`: who is told, and whether that works.

use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::engine::{Severity, Wall};
use crate::surfaces::http::TestBody;
use crate::surfaces::report::{ChannelList, ChannelReport, TestReport, TestResult, near_names};
use crate::surfaces::visible;

use super::client::{Client, ClientError};
use super::columns::{Columns, Row};
use super::table::age;
use super::terminal::{self, Look};
use super::{Global, Hooks, TestArgs, UNKNOWN};

/// The daemon itself waits 65 s for the services.
const TEST_LIMIT: Duration = Duration::from_secs(70);

const NONE: &str = "No channel is configured: nobody is told of what happens. Add a [[channel]] to the \
                    configuration.\n";

#[derive(Debug, Args)]
pub(super) struct ChannelsArgs {
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct TestNotificationArgs {
    /// The channel [default: each]
    channel: Option<String>,
}

pub(super) fn channels(
    global: &Global,
    args: &ChannelsArgs,
    hooks: &Hooks,
) -> anyhow::Result<ExitCode> {
    let list: ChannelList = Client::new(global.socket.as_deref())?.get("/api/v1/channels")?;
    if args.json {
        terminal::print(&format!("{}\n", serde_json::to_string_pretty(&list)?))?;
    } else {
        let look = Look::of_stdout(global.no_color);
        terminal::print(&table(&list, (hooks.now)().wall, look))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn table(list: &ChannelList, now: Wall, look: Look) -> String {
    if list.channels.is_empty() {
        return NONE.to_owned();
    }
    let mut out = String::new();
    let rows: Vec<Row> = list.channels.iter().map(|c| row(c, now)).collect();
    let titles = &["CHANNEL", "TYPE", "GETS", "STATE", "SENT", "FAILED", "WAITING", "LAST"];
    Columns { titles, painted: 3, gives_way: 0 }.draw(&mut out, &rows, look);
    out
}

fn row(channel: &ChannelReport, now: Wall) -> Row {
    let severity = match (channel.is_stopped(), channel.is_down(), channel.is_untried()) {
        (true, ..) => Severity::Critical,
        (_, true, _) => Severity::Warning,
        (.., true) => Severity::Unknown,
        _ => Severity::Healthy,
    };
    let cells = [
        channel.name.clone(),
        channel.kind.clone(),
        channel.min_severity.clone(),
        channel.state.clone(),
        channel.sent.to_string(),
        channel.failed.to_string(),
        channel.queued.to_string(),
        last(channel, now),
    ];
    Row { cells: cells.map(|c| visible(&c).into_owned()).to_vec(), severity }
}

/// `delivered 3 min ago`, `failed 10 s ago: … (last delivered 2 h ago)`.
fn last(channel: &ChannelReport, now: Wall) -> String {
    let delivered = channel.last_success.map(|at| format!("delivered {} ago", age(at, now)));
    let Some(error) = &channel.last_error else {
        return delivered.unwrap_or_else(|| "nothing sent yet".to_owned());
    };
    let when = channel.last_failure.map(|at| format!(" {} ago", age(at, now)));
    let what = if channel.is_refused() { "refused, given up" } else { "failed" };
    let mut text = format!("{what}{}: {error}", when.unwrap_or_default());
    // Writing to a string cannot fail.
    let _ = match delivered {
        Some(delivered) => write!(text, " ({delivered})"),
        None => write!(text, " (never delivered since keepwell started)"),
    };
    text
}

pub(super) fn test_notification(
    global: &Global,
    args: &TestNotificationArgs,
    hooks: &Hooks,
) -> anyhow::Result<ExitCode> {
    let report = match asked(global, args)? {
        Some(report) => report,
        None => {
            let channel = args.channel.as_deref().map(Arc::from);
            let test = TestArgs { config: global.config.clone(), channel };
            TestReport::of((hooks.test)(test)?)
        }
    };
    terminal::print(&results(&report, Look::of_stdout(global.no_color)))?;
    Ok(ExitCode::from(code(&report)))
}

/// Asks the daemon, unless a configuration of one's own is named or none runs.
fn asked(global: &Global, args: &TestNotificationArgs) -> anyhow::Result<Option<TestReport>> {
    if global.config.is_some() || global.user {
        return Ok(None);
    }
    let body = TestBody { channel: args.channel.clone() };
    let client = Client::new(global.socket.as_deref())?;
    match client.post("/api/v1/test-notification", &body, TEST_LIMIT) {
        Ok(report) => Ok(Some(report)),
        Err(ClientError::NotRunning(_)) => {
            terminal::complain("it is not running; sending from the configuration itself");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// There is no channel of this name among these.
pub(super) fn unknown<'a>(asked: &str, names: impl Iterator<Item = &'a str>) -> String {
    let asked = visible(asked);
    match &near_names(names, &asked)[..] {
        [] => format!("no channel is called '{asked}'"),
        near => format!("no channel is called '{asked}'; did you mean {}?", near.join(" or ")),
    }
}

fn code(report: &TestReport) -> u8 {
    match &report.results[..] {
        [] => UNKNOWN,
        results => u8::from(results.iter().any(|r| !r.ok)),
    }
}

fn results(report: &TestReport, look: Look) -> String {
    if report.results.is_empty() {
        return NONE.to_owned();
    }
    let mut out = String::new();
    let names = report.results.iter().map(|r| visible(&r.channel).chars().count());
    let widest = names.max().unwrap_or(0);
    for TestResult { channel, ok, answer } in &report.results {
        let (word, severity) =
            if *ok { ("ok    ", Severity::Healthy) } else { ("FAILED", Severity::Critical) };
        let (channel, answer) = (visible(channel), visible(answer));
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{}  {channel:widest$}  {answer}", look.paint(severity, word));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surfaces::report::Stamp;
    use crate::surfaces::sample;

    const PIPE: Look = Look { colour: false, width: None };

    fn list(snapshot: &crate::engine::Snapshot) -> ChannelList {
        let channels = snapshot.channels.iter().map(ChannelReport::from).collect();
        ChannelList { timestamp: Stamp(snapshot.at), channels }
    }

    #[test]
    fn golden_channels() {
        insta::assert_snapshot!("channels", table(&list(&sample::busy()), sample::AT, PIPE));
        assert_eq!(table(&list(&sample::healthy()), sample::AT, PIPE), NONE);
        let hostile = table(&list(&sample::hostile()), sample::AT, PIPE);
        assert!(!hostile.chars().any(|c| c.is_control() && c != '\n'), "{hostile:?}");
    }

    #[test]
    fn near_names_are_offered() {
        let of = |asked| unknown(asked, ["ops", "pager"].into_iter());
        assert_eq!(of("opps"), "no channel is called 'opps'; did you mean ops?");
        assert_eq!(of("x\u{1b}"), "no channel is called 'x\\u{1b}'");
    }

    #[test]
    fn the_answers_of_the_services_are_shown_and_told_by_the_exit_code() {
        let of = |results: &[(&str, Result<&str, &str>)]| {
            let own = |(name, result): &(&str, Result<&str, &str>)| {
                let result = result.map(str::to_owned).map_err(str::to_owned);
                (Arc::<str>::from(*name), result)
            };
            TestReport::of(results.iter().map(own))
        };
        let mixed = of(&[
            ("ops", Ok("200 OK: ok")),
            ("pager", Err("401 Unauthorized: the token is not valid\u{1b}[2J")),
        ]);
        assert_eq!(
            results(&mixed, PIPE),
            "ok      ops    200 OK: ok\n\
             FAILED  pager  401 Unauthorized: the token is not valid\\u{1b}[2J\n"
        );
        assert_eq!(code(&mixed), 1);
        assert_eq!(code(&of(&[("ops", Ok("ok"))])), 0);
        assert_eq!(code(&of(&[])), 3);
        assert_eq!(results(&of(&[]), PIPE), NONE);
    }
}
