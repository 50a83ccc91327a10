//! How many requests a second keepwell serves, beside node_exporter with its systemd collector in the
//! same container; by wrk over loopback.

use std::process::Command;
use std::time::Duration;

use super::Settings;
use super::contestant::{Contestant, TEMPLATE, start_victims};
use super::report::{progress, row, say, table};
use super::support::{Container, Options, wait_until};

/// Debian's name of the package, the program and the unit.
pub(crate) const NODE_EXPORTER: &str = "prometheus-node-exporter";

/// How many wrk keeps open.
const CONNECTIONS: usize = 16;

/// Seconds of load, at most, where answers take long.
const LONGEST: u64 = 60;

/// At so many units the aims are set, in requests a second.
const AIM_UNITS: usize = 100;
const AIM_METRICS: f64 = 10_000.0;
const AIM_HEALTH: f64 = 20_000.0;

/// What Prometheus 2.49 to 2.55 asks for (Debian 13 has 2.53): OpenMetrics rather than the text.
const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0;q=0.5,\
    application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
/// What one asks for that knows the older format only.
const TEXT: &str = "text/plain;version=0.0.4;q=1,*/*;q=0.1";

/// Who answers at which URL.
const KEEPWELL: (&str, &str) = ("keepwell", "http://127.0.0.1:8080");
const OTHER: (&str, &str) = ("node_exporter", "http://127.0.0.1:9100");

/// One kind of request.
struct Ask {
    who: (&'static str, &'static str),
    path: &'static str,
    format: &'static str,
    accept: &'static str,
    gzip: bool,
}

const fn metrics(
    who: (&'static str, &'static str),
    format: &'static str,
    accept: &'static str,
    gzip: bool,
) -> Ask {
    Ask { who, path: "/metrics", format, accept, gzip }
}

/// node_exporter comes last: what it still has to do when wrk has gone slows nobody then.
const ASKS: [Ask; 9] = [
    Ask { who: KEEPWELL, path: "/health", format: "JSON", accept: "*/*", gzip: false },
    metrics(KEEPWELL, "text", TEXT, true),
    metrics(KEEPWELL, "text", TEXT, false),
    metrics(KEEPWELL, "OpenMetrics", PROMETHEUS, true),
    metrics(KEEPWELL, "OpenMetrics", PROMETHEUS, false),
    metrics(KEEPWELL, "JSON", "*/*", false),
    Ask { who: KEEPWELL, path: "/", format: "HTML", accept: "text/html", gzip: false },
    metrics(OTHER, "OpenMetrics", PROMETHEUS, true),
    metrics(OTHER, "text", TEXT, false),
];

pub(crate) fn measure(settings: &Settings) -> Result<(), String> {
    say("## HTTP\n");
    say(&format!(
        "keepwell and Debian's node_exporter (with `--collector.systemd`, else as it is configured \
         there) in one container with the same units; wrk with 1 thread and {CONNECTIONS} \
         connections over loopback, one after the other, {} s each, up to {LONGEST} s where an \
         answer takes long. The last column is how many times the requests a second of node_exporter, at its \
         best, it is.\n",
        settings.seconds
    ));
    table(&[
        "units",
        "who",
        "path",
        "format",
        "encoding",
        "bytes",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "requests",
        "errors",
        "× node_exporter",
    ]);
    let mut aims = Vec::new();
    for units in &settings.units {
        aims.extend(one(settings, *units)?);
    }
    say("");
    for aim in aims {
        say(&aim);
    }
    say("");
    Ok(())
}

/// The rows for so many units; what there is to say of the aims.
fn one(settings: &Settings, units: usize) -> Result<Vec<String>, String> {
    let options = Options { packages: vec![NODE_EXPORTER], ..Options::default() };
    let c = Container::boot("bookworm", options).ok_or("no container")?;
    start_victims(&c, units);
    c.write(&format!("/etc/default/{NODE_EXPORTER}"), "ARGS=\"--collector.systemd\"\n");
    c.systemctl(&["restart", NODE_EXPORTER]);
    c.receiver();
    Contestant::Keepwell.install(&c, units);
    c.start_keepwell();
    both_see(&c, units);

    let mut all = Vec::new();
    for ask in &ASKS {
        let encoding = if ask.gzip { "with gzip" } else { "plain" };
        progress(&format!("http: {units} units: {} {} {encoding}", ask.who.0, ask.path));
        all.push((ask, load(&c, ask, settings.seconds)?));
    }
    let theirs = all.iter().filter(|(ask, _)| ask.who == OTHER).map(|(_, seen)| seen.rate);
    let theirs = theirs.fold(f64::NAN, f64::max);
    for (ask, seen) in &all {
        let is_compared = ask.who == KEEPWELL && ask.path == "/metrics";
        row(&[
            &*units.to_string(),
            ask.who.0,
            ask.path,
            ask.format,
            if seen.is_packed { "gzip" } else { "-" },
            &*seen.bytes,
            &short(seen.rate),
            &seen.p50,
            &seen.p99,
            &seen.requests,
            &seen.errors,
            &if is_compared { short(seen.rate / theirs) } else { "-".to_owned() },
        ]);
    }
    let judged = all.iter().filter(|(ask, _)| units == AIM_UNITS && ask.who == KEEPWELL);
    Ok(judged.filter_map(|(ask, seen)| judge(ask, seen)).collect())
}

/// A large number without decimals, a small one with some.
fn short(value: f64) -> String {
    if value < 20.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// Waits until both tell of all the units.
fn both_see(c: &Container, units: usize) {
    let limit = Duration::from_secs(120);
    let count = |url: &str, sample: &str| {
        let text =
            c.exec(&["curl", "-s", "-m", "60", "-H", &format!("Accept: {TEXT}"), url]).stdout;
        let victim = format!("name=\"{TEMPLATE}");
        let this = |line: &&str| line.starts_with(sample) && line.contains(&victim);
        text.lines().filter(this).filter(|l| l.contains("state=\"active\"")).count()
    };
    for ((who, url), sample) in
        [(KEEPWELL, "keepwell_unit_state"), (OTHER, "node_systemd_unit_state")]
    {
        wait_until(limit, &format!("{who} tells of {units} units"), || {
            count(&format!("{url}/metrics"), sample) == units
        });
    }
}

/// What wrk, and one request before it, have seen.
struct Seen {
    is_packed: bool,
    bytes: String,
    rate: f64,
    p50: String,
    p99: String,
    requests: String,
    errors: String,
}

fn load(c: &Container, ask: &Ask, seconds: u64) -> Result<Seen, String> {
    let url = format!("{}{}", ask.who.1, ask.path);
    let accept = format!("Accept: {}", ask.accept);
    let encoding = format!("Accept-Encoding: {}", if ask.gzip { "gzip" } else { "identity" });
    let headers = ["-H", &accept, "-H", &encoding];

    let one = ["curl", "-s", "-m", "60", "-o", "/dev/null", "-D", "/dev/stderr"];
    let wanted = ["-w", "%{size_download} %{time_total}"];
    let one = c.exec(&[&one[..], &wanted, &headers, &[&url]].concat());
    let (bytes, took) = one.stdout.split_once(' ').ok_or(format!("no answer from {url}"))?;
    let took: f64 = took.parse().map_err(|e| format!("curl said it took {took}: {e}"))?;
    // Each connection shall have had a few answers, also where each waits for the others.
    let few = (took * CONNECTIONS as f64 * 3.0).ceil() as u64;
    let seconds = seconds.max(few.min(LONGEST));

    let out = Command::new("nsenter")
        .args(["--target", &c.leader().to_string(), "--net"])
        .args(["wrk", "-t1", &format!("-c{CONNECTIONS}"), "--latency", "--timeout", "60s"])
        .arg(format!("-d{seconds}s"))
        .args(headers)
        .arg(&url)
        .output()
        .map_err(|e| format!("nsenter: {e}"))?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let after = |key: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(key));
        line.map(|value| value.trim().to_owned())
    };
    let rate = after("Requests/sec:").and_then(|rate| rate.parse().ok());
    let requests = text.lines().find_map(|line| line.split_once(" requests in "));
    let errors: Vec<String> =
        ["Non-2xx or 3xx responses:", "Socket errors:"].into_iter().filter_map(after).collect();
    Ok(Seen {
        is_packed: one.stderr.to_lowercase().contains("content-encoding: gzip"),
        bytes: bytes.to_owned(),
        rate: rate.ok_or_else(|| {
            format!("wrk said nothing of {url}: {text}{}", String::from_utf8_lossy(&out.stderr))
        })?,
        p50: ms(after("50%")),
        p99: ms(after("99%")),
        requests: requests.map_or_else(String::new, |(n, _)| n.trim().to_owned()),
        errors: if errors.is_empty() { "0".into() } else { errors.join("; ") },
    })
}

/// wrk's `797.00us`, `1.24s` in ms.
fn ms(text: Option<String>) -> String {
    let text = text.unwrap_or_default();
    let units = [("us", 0.001), ("ms", 1.0), ("s", 1000.0), ("m", 60_000.0)];
    let value = units.iter().find_map(|(unit, factor)| {
        text.strip_suffix(unit)?.parse::<f64>().ok().map(|value| value * factor)
    });
    value.map_or(text, |value| format!("{value:.2}"))
}

fn judge(ask: &Ask, seen: &Seen) -> Option<String> {
    let aim = match (ask.path, ask.format) {
        ("/health", _) => AIM_HEALTH,
        ("/metrics", "text" | "OpenMetrics") => AIM_METRICS,
        _ => return None,
    };
    let encoding = if ask.gzip { ", gzip accepted" } else { "" };
    let reached = if seen.rate >= aim { "reached" } else { "**missed**" };
    Some(format!(
        "- `{}` as {}{encoding}, {AIM_UNITS} units: {:.0} requests/s, aim {aim:.0}: {reached}",
        ask.path, ask.format, seen.rate
    ))
}
