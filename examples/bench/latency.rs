//! From `kill -9` to the verdict, and to the webhook's receipt.
//!
//! A shell inside notes CLOCK_REALTIME just before each kill. keepwell's verdict is
//! `checks[].unit.judged_us` of `keepwell status --json`; the floor notes when the signal came in.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::Settings;
use super::contestant::{Contestant, TEMPLATE, start_victims};
use super::report::{progress, quantile, row, say, table};
use super::support::{Container, Options, wait_until};

const VICTIMS: usize = 20;

/// Latencies of one contestant in ms, and how many kills it did not tell of.
#[derive(Default)]
struct Seen {
    ms: Vec<f64>,
    missed: usize,
}

impl Seen {
    fn add(&mut self, killed: i64, seen: Option<i64>) {
        match seen.filter(|seen| *seen >= killed) {
            Some(seen) => self.ms.push((seen - killed) as f64 / 1000.0),
            None => self.missed += 1,
        }
    }

    fn show(mut self, who: &str, what: &str) {
        self.ms.sort_by(f64::total_cmp);
        let ms = |part| format!("{:.2}", quantile(&self.ms, part));
        let count = self.ms.len().to_string();
        row(&[
            who,
            what,
            &count,
            &self.missed.to_string(),
            &ms(0.5),
            &ms(0.9),
            &ms(0.99),
            &ms(1.0),
        ]);
    }
}

pub(crate) fn measure(settings: &Settings) -> Result<(), String> {
    let c = Container::boot("bookworm", Options::default()).ok_or("no container")?;
    start_victims(&c, VICTIMS);
    let receiver = c.receiver();
    say("## Latency\n");
    say(&format!(
        "{} kills of {VICTIMS} `Restart=no` services, one every 150 ms. In ms.\n",
        settings.kills
    ));
    table(&["who", "from kill to", "seen", "missed", "median", "p90", "p99", "max"]);

    if settings.wants("floor") {
        progress("latency: floor");
        Contestant::Floor.install(&c, VICTIMS);
        c.systemctl(&["start", "floor"]);
        let mut signal = Seen::default();
        for kills in rounds(&c, settings.kills, |_| {}) {
            let log = c.read("/run/floor.log").unwrap_or_default();
            for (victim, killed) in kills {
                // victim@7.service, escaped as in object paths.
                let end = format!("/victim_40{victim}_2eservice");
                let at =
                    log.lines().filter_map(|line| line.split_once(' ')).find_map(|(at, path)| {
                        let at: i64 = at.parse().ok()?;
                        (path.ends_with(&end) && at >= killed).then_some(at)
                    });
                signal.add(killed, at);
            }
        }
        c.systemctl(&["stop", "floor"]);
        signal.show("floor", "signal received");
    }

    if settings.wants("keepwell") {
        progress("latency: keepwell");
        Contestant::Keepwell.install(&c, VICTIMS);
        c.start_keepwell();
        let (mut verdict, mut hook) = (Seen::default(), Seen::default());
        let mut judged: BTreeMap<(usize, i64), i64> = BTreeMap::new();
        let all = rounds(&c, settings.kills, |kills| {
            // Once a round, when all of it has been judged; the next one overwrites it.
            let status = c.status_json();
            for (victim, killed) in kills {
                let id = format!("unit:{TEMPLATE}{victim}.service");
                let check = status["checks"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .find(|c| c["id"] == id.as_str());
                let bad = check.filter(|check| check["severity"] == "critical");
                if let Some(at) = bad.and_then(|check| check["unit"]["judged_us"].as_i64()) {
                    judged.insert((*victim, *killed), at);
                }
            }
        });
        // The last messages may still be on their way.
        let wanted = all.iter().map(Vec::len).sum::<usize>();
        let opened = || receiver.requests().iter().filter(|r| tells(r).count() > 0).count();
        let mut last = 0;
        wait_until(Duration::from_secs(30), "the webhook's messages", || {
            let now = opened();
            let settled = now >= wanted || now == last && now > 0;
            last = now;
            std::thread::sleep(Duration::from_secs(1));
            settled
        });
        let requests = receiver.requests();
        for (victim, killed) in all.iter().flatten() {
            verdict.add(*killed, judged.get(&(*victim, *killed)).copied());
            let unit = format!("unit:{TEMPLATE}{victim}.service");
            let next = all.iter().flatten().find(|(v, at)| v == victim && at > killed);
            let received = requests.iter().find_map(|request| {
                let at = request["at_us"].as_i64()?;
                let within = at >= *killed && next.is_none_or(|(_, next)| at < *next);
                (within && tells(request).any(|check| check == unit)).then_some(at)
            });
            hook.add(*killed, received);
        }
        verdict.show("keepwell", "verdict");
        hook.show("keepwell", "webhook received");
    }
    say("");
    Ok(())
}

/// The checks that a message tells the beginning of.
fn tells(request: &Value) -> impl Iterator<Item = &str> {
    let opened = request["body"].to_string().contains("\"opened\"");
    let alerts = request["body"]["alerts"].as_array().filter(|_| opened);
    alerts.into_iter().flatten().filter_map(|alert| alert["check"].as_str())
}

/// Kills all victims again and again, starting them anew in between; after each round `seen` looks
/// at what became of it. Victims and moments (µs), by round.
fn rounds(
    c: &Container,
    kills: usize,
    mut seen: impl FnMut(&[(usize, i64)]),
) -> Vec<Vec<(usize, i64)>> {
    let script = format!(
        "for n in $(seq {VICTIMS}); do pid[n]=$(systemctl show -P MainPID {TEMPLATE}$n); done\n\
         exec 3<> <(:)\n\
         for n in $(seq {VICTIMS}); do at=$EPOCHREALTIME; kill -9 ${{pid[n]}}; echo $n ${{at/./}}; \
         read -r -t 0.15 -u 3; done; true"
    );
    let mut all = Vec::new();
    while all.len() * VICTIMS < kills {
        let out = c.exec(&["bash", "-c", &script]).stdout;
        let round: Vec<(usize, i64)> = out
            .lines()
            .filter_map(|line| line.split_once(' '))
            .filter_map(|(n, at)| Some((n.parse().ok()?, at.parse().ok()?)))
            .collect();
        wait_until(Duration::from_secs(20), "all victims have failed", || {
            c.sh("systemctl list-units --state=failed --plain --no-legend 'victim@*' | wc -l")
                == VICTIMS.to_string()
        });
        seen(&round);
        all.push(round);
        c.sh(&format!("seq -f '{TEMPLATE}%g' {VICTIMS} | xargs systemctl start"));
        // What comes up must have settled (250 ms) before it is killed again.
        std::thread::sleep(Duration::from_secs(1));
    }
    all
}
