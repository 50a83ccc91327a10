//! `keepwell alerts`: what is open, who looks after it, and what is to be silent. How it is drawn is
//! in [`list`] and [`show`].

mod list;
mod show;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::engine::Severity;
use crate::surfaces::http::{AcknowledgeBody, SilenceBody};
use crate::surfaces::report::{AlertDetail, AlertList, AlertReport, SilenceList, near_names};
use crate::surfaces::visible;

use super::client::{Client, ClientError};
use super::terminal::{self, Look};
use super::times::duration;
use super::{Global, Hooks, UNKNOWN};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct AlertsArgs {
    #[command(subcommand)]
    command: Option<AlertsCommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum AlertsCommand {
    /// List open alerts
    #[command(after_help = "Examples:
  keepwell alerts list
  keepwell alerts list --all         those that ended lately too
  keepwell alerts list --json | jq -r '.alerts[].id'")]
    List(ListArgs),
    /// Show all that is known of an alert
    #[command(after_help = "Examples:
  keepwell alerts show a12
  keepwell alerts show nginx         when it has a single alert")]
    Show(ShowArgs),
    /// Say that you look after an alert: no reminders, no escalation
    #[command(after_help = "It ends with the alert, after --for, or when the alert grows worse.

Examples:
  sudo keepwell alerts ack a12
  sudo keepwell alerts ack nginx --for 2h --why \"disk is on its way\"
  sudo keepwell alerts ack --all")]
    Ack(AckArgs),
    /// Take an acknowledgement back
    #[command(after_help = "Examples:
  sudo keepwell alerts unack a12
  sudo keepwell alerts unack --all")]
    Unack(UnackArgs),
    /// Send no messages about checks for a time
    #[command(
        after_help = "Restarts go on; 'keepwell hold' stops those. What is still wrong when the silence
ends is told then.

Examples:
  sudo keepwell alerts silence nginx --for 2h --why \"new certificate\"
  sudo keepwell alerts silence 'disk:*' 'worker@*' --for 1d
  sudo keepwell alerts silence all --for 30m
  sudo keepwell alerts silence --severity warning --for 8h"
    )]
    Silence(SilenceArgs),
    /// List silences, and what else keeps messages back
    #[command(after_help = "Examples:
  keepwell alerts silences")]
    Silences(SilencesArgs),
    /// End a silence
    #[command(after_help = "Examples:
  sudo keepwell alerts unsilence s3
  sudo keepwell alerts unsilence all")]
    Unsilence(UnsilenceArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Those that ended lately too
    #[arg(long)]
    all: bool,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// Its id, or its check where that has a single alert
    #[arg(value_name = "ID")]
    alert: String,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct AckArgs {
    /// Their ids, or their checks where those have a single alert
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    alerts: Vec<String>,
    /// Every open alert that nobody has acknowledged
    #[arg(long)]
    all: bool,
    /// For how long: 30m, 2h, 1d [default: until the alert ends]
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    lasts: Option<Duration>,
    /// Why; shown to others
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
}

#[derive(Debug, Args)]
struct UnackArgs {
    /// Their ids, or their checks where those have a single alert
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    alerts: Vec<String>,
    /// Every open alert that somebody has acknowledged
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
struct SilenceArgs {
    /// Checks or patterns such as nginx, disk:/var, 'worker@*'; or 'all'
    #[arg(value_name = "CHECK", required_unless_present = "severity")]
    checks: Vec<String>,
    /// Only what is this bad or worse
    #[arg(long, value_name = "SEVERITY", value_parser = severity)]
    severity: Option<Severity>,
    /// For how long: 30m, 2h, 1d
    #[arg(long = "for", value_name = "TIME", value_parser = duration, default_value = "1h")]
    lasts: Duration,
    /// Why; shown to others
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
}

#[derive(Debug, Args)]
struct SilencesArgs {
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct UnsilenceArgs {
    /// Their ids, or 'all'
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
}

fn severity(text: &str) -> Result<Severity, String> {
    [Severity::Warning, Severity::Critical]
        .into_iter()
        .find(|s| s.as_str() == text)
        .ok_or_else(|| "write warning or critical".to_owned())
}

const ALERTS: &str = "/api/v1/alerts";
const SILENCES: &str = "/api/v1/silences";

pub(super) fn alerts(
    global: &Global,
    args: &AlertsArgs,
    hooks: &Hooks,
) -> anyhow::Result<ExitCode> {
    let client = Client::new(global.socket.as_deref())?;
    let now = (hooks.now)().wall;
    let look = Look::of_stdout(global.no_color);
    match &args.command {
        None => listed(&client, &args.list, |list| list::alerts(list, now, look)),
        Some(AlertsCommand::List(args)) => {
            listed(&client, args, |list| list::alerts(list, now, look))
        }
        Some(AlertsCommand::Show(args)) => {
            let detail = detail(&client, &args.alert)?;
            if args.json {
                return json(&detail);
            }
            terminal::print(&show::render(&detail, now, look))?;
            Ok(ExitCode::SUCCESS)
        }
        Some(AlertsCommand::Ack(args)) => acknowledge(&client, args),
        Some(AlertsCommand::Unack(args)) => unacknowledge(&client, args),
        Some(AlertsCommand::Silence(args)) => silence(&client, args),
        Some(AlertsCommand::Silences(args)) => {
            let all: SilenceList = client.get(SILENCES)?;
            if args.json {
                return json(&all);
            }
            terminal::print(&list::silences(&all, look))?;
            Ok(ExitCode::SUCCESS)
        }
        Some(AlertsCommand::Unsilence(args)) => unsilence(&client, args),
    }
}

fn json(value: &impl serde::Serialize) -> anyhow::Result<ExitCode> {
    terminal::print(&format!("{}\n", serde_json::to_string_pretty(value)?))?;
    Ok(ExitCode::SUCCESS)
}

fn listed(
    client: &Client,
    args: &ListArgs,
    draw: impl FnOnce(&AlertList) -> String,
) -> anyhow::Result<ExitCode> {
    let path = if args.all { ALERTS.to_owned() } else { format!("{ALERTS}/active") };
    let all: AlertList = client.get(&path)?;
    if args.json {
        return json(&all);
    }
    terminal::print(&draw(&all))?;
    Ok(ExitCode::SUCCESS)
}

/// `a12`: what the daemon itself can look for, and say more about when it is not there.
fn is_id(text: &str) -> bool {
    let number = text.strip_prefix('a').unwrap_or_default();
    !number.is_empty() && number.len() < 20 && number.bytes().all(|b| b.is_ascii_digit())
}

fn detail(client: &Client, asked: &str) -> anyhow::Result<AlertDetail> {
    let id = if is_id(asked) {
        asked.to_owned()
    } else {
        let all: AlertList = client.get(ALERTS)?;
        all.shown(asked).map_err(|near| unknown("alert", asked, &near))?.id.clone()
    };
    Ok(client.get(&format!("{ALERTS}/{id}"))?)
}

/// The ids of what was named, all of it or none.
fn ids(client: &Client, asked: &[String]) -> anyhow::Result<Vec<String>> {
    let mut open = None;
    let mut ids = Vec::new();
    for asked in asked {
        if is_id(asked) {
            ids.push(asked.clone());
            continue;
        }
        let open = match &open {
            Some(open) => open,
            None => open.insert(client.get::<AlertList>(&format!("{ALERTS}/active"))?),
        };
        let alert = open.meant(asked).map_err(|near| unknown("open alert", asked, &near))?;
        ids.push(alert.id.clone());
    }
    Ok(ids)
}

fn unknown(what: &str, asked: &str, near: &[String]) -> anyhow::Error {
    let asked = visible(asked);
    let near: Vec<_> = near.iter().map(|n| visible(n)).collect();
    if near.is_empty() {
        anyhow::anyhow!("no {what} is called '{asked}'; `keepwell alerts --all` lists them")
    } else {
        anyhow::anyhow!("no {what} is called '{asked}'; did you mean {}?", near.join(" or "))
    }
}

fn acknowledgement(id: &str) -> String {
    format!("{ALERTS}/{id}/acknowledge")
}

fn acknowledge(client: &Client, args: &AckArgs) -> anyhow::Result<ExitCode> {
    let ids = if args.all {
        let ids = every(&client.get(&format!("{ALERTS}/active"))?, |a| a.ack.is_none());
        if ids.is_empty() {
            terminal::print("Nothing is open that nobody has acknowledged.\n")?;
        }
        ids
    } else {
        ids(client, &args.alerts)?
    };
    let body = AcknowledgeBody { seconds: args.lasts.map(|l| l.as_secs()), why: args.why.clone() };
    each(ids, |id| client.act("POST", &acknowledgement(id), &body))
}

fn unacknowledge(client: &Client, args: &UnackArgs) -> anyhow::Result<ExitCode> {
    let ids = if args.all {
        let ids = every(&client.get(&format!("{ALERTS}/active"))?, |a| a.ack.is_some());
        if ids.is_empty() {
            terminal::print("Nothing that is open is acknowledged.\n")?;
        }
        ids
    } else {
        ids(client, &args.alerts)?
    };
    each(ids, |id| client.act("DELETE", &acknowledgement(id), &()))
}

/// The ids of the open alerts of which this holds.
fn every(list: &AlertList, wanted: impl Fn(&AlertReport) -> bool) -> Vec<String> {
    let open = list.alerts.iter().filter(|a| a.resolved.is_none() && wanted(a));
    open.map(|a| a.id.clone()).collect()
}

/// Does the same with each, and goes on when one is refused.
fn each(
    ids: Vec<String>,
    act: impl Fn(&str) -> Result<String, ClientError>,
) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for id in ids {
        match act(&id) {
            Ok(said) => terminal::print(&format!("{}\n", visible(&said)))?,
            Err(ClientError::Refused(text)) => {
                terminal::complain(&text);
                code = ExitCode::from(UNKNOWN);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(code)
}

fn silence(client: &Client, args: &SilenceArgs) -> anyhow::Result<ExitCode> {
    let checks: Vec<String> =
        args.checks.iter().map(|c| if c == "all" { "*".to_owned() } else { c.clone() }).collect();
    let body = SilenceBody {
        checks,
        severity: args.severity,
        labels: Default::default(),
        seconds: args.lasts.as_secs(),
        why: args.why.clone(),
    };
    body.matcher().map_err(anyhow::Error::msg)?;
    let said = client.act("POST", SILENCES, &body)?;
    terminal::print(&format!("{}\n", visible(&said)))?;
    for text in client.status()?.doubts(&body.checks) {
        terminal::complain(&visible(&text));
    }
    Ok(ExitCode::SUCCESS)
}

fn unsilence(client: &Client, args: &UnsilenceArgs) -> anyhow::Result<ExitCode> {
    let all: SilenceList = client.get(SILENCES)?;
    let known: Vec<String> = all.silences.into_iter().map(|s| s.id).collect();
    let wanted = if args.ids.iter().any(|id| id == "all") {
        if known.is_empty() {
            terminal::print("Nothing is silenced.\n")?;
            return Ok(ExitCode::SUCCESS);
        }
        known
    } else {
        if let Some(id) = args.ids.iter().find(|id| !known.contains(id)) {
            let near = near_names(known.iter().map(String::as_str), id);
            let near = match near[..] {
                [] => "`keepwell alerts silences` lists them".to_owned(),
                _ => format!("did you mean {}?", near.join(" or ")),
            };
            anyhow::bail!("no silence is called '{}'; {}", visible(id), visible(&near));
        }
        args.ids.clone()
    };
    each(wanted, |id| client.act("DELETE", &format!("{SILENCES}/{id}"), &()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surfaces::report::{Lines, Stamp};
    use crate::surfaces::sample;

    #[test]
    fn ids_are_told_from_names() {
        assert!(is_id("a12") && is_id("a0"));
        for name in ["a", "apache", "a12.service", "12", "nginx", "a-1", "aa1", "a1/../x"] {
            assert!(!is_id(name), "{name}");
        }
    }

    #[test]
    fn all_are_those_that_it_is_about() {
        let busy = sample::busy();
        let alerts = busy.alerts.iter().chain(&busy.recent);
        let list = AlertList {
            timestamp: Stamp(busy.at),
            alerts: alerts.map(|a| AlertReport::of(a, &busy, Lines::Hidden)).collect(),
        };
        assert_eq!(every(&list, |a| a.ack.is_some()), ["a12"]);
        assert_eq!(every(&list, |a| a.ack.is_none()), ["a11", "a13", "a14"]);
    }

    #[test]
    fn unack_takes_ids_or_all() {
        use clap::Parser;
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            args: AlertsArgs,
        }
        let parses = |line: &[&str]| {
            let words = ["keepwell", "unack"].iter().chain(line);
            Line::try_parse_from(words).is_ok_and(|l| l.args.command.is_some())
        };
        assert!(parses(&["--all"]) && parses(&["a1", "a2"]));
        assert!(!parses(&[]) && !parses(&["a1", "--all"]));
    }

    #[test]
    fn near_misses_are_offered() {
        let text = unknown("open alert", "x\u{1b}", &["a12".to_owned()]).to_string();
        assert_eq!(text, "no open alert is called 'x\\u{1b}'; did you mean a12?");
        let text = unknown("alert", "zzz", &[]).to_string();
        assert!(text.ends_with("`keepwell alerts --all` lists them"), "{text}");
    }
}
