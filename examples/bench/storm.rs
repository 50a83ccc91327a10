//! A thousand units die at once: how many messages that makes, how soon all are told, how `/health`
//! answers meanwhile, and how much memory it takes.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Settings;
use super::contestant::{Contestant, TEMPLATE, start_victims};
use super::report::{progress, quantile, row, say, table};
use super::support::{Container, Options, wait_until};

/// How long `/health` is asked, s.
const ASKED: u64 = 20;

pub(crate) fn measure(settings: &Settings) -> Result<(), String> {
    let units = settings.units.iter().copied().max().unwrap_or(1000);
    let c = Container::boot("bookworm", Options::default()).ok_or("no container")?;
    start_victims(&c, units);
    let receiver = c.receiver();
    Contestant::Keepwell.install(&c, units);
    c.start_keepwell();
    wait_until(Duration::from_secs(120), "all units are watched", || {
        c.status_json()["checks"].as_array().is_some_and(|checks| checks.len() > units)
    });
    progress(&format!("storm: {units} units"));
    let pid = c.main_pid("keepwell");
    // Each answer as `status seconds`, every 20 ms, while all die; then the peak of memory.
    let script = format!(
        "exec 3<> <(:)\n\
         ask() {{ end=$((SECONDS + {ASKED})); while [ $SECONDS -lt $end ]; do \
         curl -s -o /dev/null -w '%{{http_code}} %{{time_total}}\\n' -m 5 http://127.0.0.1:8080/health; \
         read -r -t 0.02 -u 3; done; }}\n\
         ask & asking=$!\n\
         read -r -t 1 -u 3\n\
         echo at ${{EPOCHREALTIME/./}}\n\
         systemctl kill --kill-whom=main --signal=KILL '{TEMPLATE}*'\n\
         wait $asking\n\
         grep VmHWM /proc/{pid}/status"
    );
    let out = c.exec(&["bash", "-c", &script]).stdout;
    let told = |checks: &mut BTreeSet<String>| {
        let mut last = None;
        for request in receiver.requests() {
            for alert in request["body"]["alerts"].as_array().into_iter().flatten() {
                if alert["event"] == "opened" {
                    checks.extend(alert["check"].as_str().map(str::to_owned));
                    last = request["at_us"].as_i64();
                }
            }
        }
        last
    };
    let (mut checks, mut last) = (BTreeSet::new(), None);
    wait_until(Duration::from_secs(120), "all failures are told", || {
        last = told(&mut checks);
        checks.len() >= units
    });
    let field = |key: &str| out.lines().find_map(|l| l.strip_prefix(key)).unwrap_or("").trim();
    let killed: i64 = field("at ").parse().map_err(|e| format!("no time of the kill: {e}"))?;
    let mut ms: Vec<f64> = Vec::new();
    let mut silent = 0;
    for (status, seconds) in out.lines().filter_map(|line| line.split_once(' ')) {
        match (status, seconds.parse::<f64>()) {
            ("200" | "503", Ok(seconds)) => ms.push(seconds * 1000.0),
            ("000", _) => silent += 1,
            _ => {}
        }
    }
    ms.sort_by(f64::total_cmp);
    let after = last.map_or(f64::NAN, |at| (at - killed) as f64 / 1e6);
    say("## A storm\n");
    say(&format!(
        "{units} named `Restart=no` services killed at once; `/health` asked every 20 ms or so for {ASKED} s.\n"
    ));
    table(&[
        "messages",
        "all told after",
        "/health asked",
        "not answered",
        "median",
        "p99",
        "max",
        "peak RSS",
    ]);
    row(&[
        receiver.requests().len().to_string(),
        format!("{after:.1} s"),
        (ms.len() + silent).to_string(),
        silent.to_string(),
        format!("{:.2} ms", quantile(&ms, 0.5)),
        format!("{:.2} ms", quantile(&ms, 0.99)),
        format!("{:.2} ms", quantile(&ms, 1.0)),
        field("VmHWM:").to_owned(),
    ]);
    say("");
    Ok(())
}
