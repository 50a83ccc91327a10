//! Nothing is lost: keepwell is killed with -9 at random moments 200 times while hundreds of alerts
//! open and close, and its receivers fail a third of the time, though no message more than three
//! times. Whatever is not muted by a recorded reason is told, whoever was told of a beginning is told
//! of the end, and a repeat is known by its id.
//!
//! The engine, the store and the lanes are the real ones, on a real folder and real sockets, in a
//! process of their own: this test's program, started again for [`life`]. What they see is made up.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "it says how much happened")]

#[path = "support/clock.rs"]
#[allow(dead_code, reason = "not all of it is used here")]
mod clock;
#[path = "support/lives.rs"]
mod lives;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clock::monotonic;
use keepwell::app::Core;
use keepwell::app::plan::{self, Plan};
use keepwell::config::Options;
use keepwell::engine::Observation;
use keepwell::engine::observation::{
    ActiveState, Details, Invocation, Round, ServiceSeen, SourceKind, UnitSeen,
};
use keepwell::engine::rules::{Backoff, CrashLoop};
use lives::{Dice, FOLDER, UP, header, kill_again_and_again, live_to_the_end};
use serde_json::Value;

const KILLS: usize = 200;
/// So many alerts at least must have opened.
const ALERTS: usize = 500;
/// A message fails so often at most.
const MOST_FAILURES: u32 = 3;
/// A life ends so long after it began, ms, or, three times of four, after it came up.
const LIFE: u64 = 100;
const UNITS: u64 = 150;
const CHANNELS: [&str; 4] = ["ops", "night", "day", "boss"];

// ---- what the child does -------------------------------------------------------------------------

/// The made-up host: each unit fails and recovers by a rhythm of its own. It follows from the time
/// alone, so that it goes on while keepwell is dead.
fn unit(number: u64, ms: u64, at_rest: bool) -> UnitSeen {
    let period = 3_500 + number * 15;
    let ms = ms + number * 211;
    let (round, phase) = (ms / period, ms % period);
    let down = !at_rest && round > 0 && phase < 1_300 + number * 8;
    // Each run has an id of its own; the one that ended badly is that of the round before.
    let run =
        if down { round - 1 } else { round } * 1000 + number + 1 + u64::from(at_rest) * 1_000_000;
    let mut id = [7; 16];
    id[..8].copy_from_slice(&run.to_be_bytes());
    let service = ServiceSeen {
        result: if down { "exit-code" } else { "success" }.into(),
        exit_code: i32::from(down),
        exit_status: 3 * i32::from(down),
        main_pid: if down { 0 } else { 1000 },
        ..ServiceSeen::default()
    };
    UnitSeen {
        name: format!("w{number}.service").into(),
        active: if down { ActiveState::Failed } else { ActiveState::Active },
        sub: if down { "failed" } else { "running" }.into(),
        invocation: Some(Invocation(id)),
        service: Some(service),
        details: Some(Details {
            restart: "no".into(),
            kind: "simple".into(),
            ..Details::default()
        }),
        ..UnitSeen::default()
    }
}

fn plan(folder: &Path) -> Plan {
    let options = Options {
        explicit: Some(folder.join("keepwell.toml")),
        system: folder.into(),
        user: None,
        environment: std::iter::empty::<(String, String)>().collect(),
        lenient: false,
        salvage: false,
        hostname: "web1".into(),
    };
    let mut plan = plan::load(&options).map_err(|e| e.to_string()).unwrap();
    let rules = &mut plan.config.rules;
    rules.all_units = false;
    // What is up again is over at once, and a unit may fail ever again.
    let [verify, long] = [20, 1000].map(Duration::from_millis);
    rules.units[0].backoff = Backoff::try_new(long, 1.0, long, long, verify, None).unwrap();
    rules.units[0].crash_loop = CrashLoop::try_new(1000, Duration::from_secs(1)).unwrap();
    rules.alerts.group_wait = Duration::from_millis(50);
    // Some repeats are muted.
    rules.alerts.cooldown = Duration::from_secs(4);
    rules.alerts.flapping.openings = 0;
    for channel in &mut rules.channels {
        channel.max_per_minute = 100_000;
    }
    plan
}

/// One life of keepwell, in a process of its own: nothing, unless it was started as that.
#[test]
fn life() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, live(&folder));
}

async fn live(folder: &Path) {
    let began: u64 = std::fs::read_to_string(folder.join("began")).unwrap().parse().unwrap();
    // The parent decides when the host comes to rest; this life then ends by itself.
    let at_rest = folder.join("rest").exists();
    let core = Core::start(&plan(folder), &folder.join("state")).await;
    let mut seen: BTreeMap<u64, UnitSeen> = BTreeMap::new();
    let (mut first, mut up) = (true, false);
    loop {
        let ms = monotonic().as_millis() as u64 - began;
        for number in 0..UNITS {
            let now = unit(number, ms, at_rest);
            if seen.get(&number) != Some(&now) {
                seen.insert(number, now.clone());
                core.observations.send(Observation::Unit(Box::new(now))).await.unwrap();
            }
        }
        if std::mem::take(&mut first) {
            let round = Round { source: SourceKind::Units, total: Some(UNITS as u32) };
            core.observations.send(Observation::Round(round)).await.unwrap();
        }
        if !up && core.snapshots.borrow().ready {
            up = true;
            println!("\n{UP}");
        }
        let over = at_rest && {
            let s = core.snapshots.borrow();
            s.ready && s.alerts.is_empty() && s.channels.iter().all(|c| c.queued == 0 && c.sent > 0)
        };
        if over {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    core.stop().await.unwrap();
}

// ---- who receives --------------------------------------------------------------------------------

/// A message that a receiver has taken.
#[derive(Debug)]
struct Taken {
    channel: String,
    id: String,
    /// Of each alert: its id and what happened.
    alerts: Vec<(String, String)>,
    /// It said so. Otherwise the connection broke before the answer.
    answered: bool,
}

/// How often each message has failed, by channel and id.
type Failures = Mutex<BTreeMap<String, u32>>;

/// Takes two of three messages; of the others it refuses some, resets the connection of some, and
/// takes some without saying so.
struct Receivers {
    url: String,
    taken: Arc<Mutex<Vec<Taken>>>,
    failures: Arc<Failures>,
}

impl Receivers {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (taken, failed) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Failures>::default());
        let (all, failures) = (taken.clone(), failed.clone());
        // It ends with the process.
        std::thread::spawn(move || {
            let mut dice = Dice(3);
            for stream in listener.incoming().map_while(Result::ok) {
                let fate = dice.roll(9);
                let (all, failures) = (all.clone(), failures.clone());
                std::thread::spawn(move || {
                    let taken = serve(stream, fate, &failures);
                    all.lock().unwrap().extend(taken);
                });
            }
        });
        Self { url, taken, failures: failed }
    }
}

/// One request. `None`: it was not taken, or whoever sent it was killed before its end.
fn serve(mut stream: TcpStream, mut fate: u64, failures: &Failures) -> Option<Taken> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 * 1024];
    let (head, length) = loop {
        let n = stream.read(&mut chunk).ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&chunk[..n]);
        let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
        let length = header(&head, "content-length")?.parse::<usize>().unwrap();
        bytes.drain(..end + 4);
        break (head, length);
    };
    let channel = head.split([' ', '/']).nth(2).unwrap().to_owned();
    let id = header(&head, "webhook-id")?.to_owned();
    if fate < 3 {
        let mut failures = failures.lock().unwrap();
        let count = failures.entry(format!("{channel} {id}")).or_default();
        // The wait doubles with each failure: one that never ends would outlast the test's limit.
        if *count < MOST_FAILURES { *count += 1 } else { fate = 3 }
    }
    if fate == 0 {
        // Closed with data that was not read, or with this, the peer gets a reset.
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        return None;
    }
    while bytes.len() < length {
        let n = stream.read(&mut chunk).ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&chunk[..n]);
    }
    if fate == 1 {
        let no = "HTTP/1.1 500 Oh No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let _ = stream.write_all(no.as_bytes());
        return None;
    }
    let body: Value = serde_json::from_slice(&bytes).unwrap();
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    let alerts = body["alerts"].as_array().unwrap().iter();
    let answered = fate > 2 && {
        let yes = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
        stream.write_all(yes.as_bytes()).is_ok()
    };
    Some(Taken {
        channel,
        id,
        alerts: alerts.map(|a| (text(&a["id"]), text(&a["event"]))).collect(),
        answered,
    })
}

// ---- what must hold ------------------------------------------------------------------------------

/// All alerts that keepwell remembers.
fn alerts(folder: &Path) -> Vec<Value> {
    let db = rusqlite::Connection::open(folder.join("state/keepwell.db")).unwrap();
    let mut select = db.prepare("SELECT record FROM alerts").unwrap();
    let records = select.query_map([], |row| row.get::<_, String>(0)).unwrap();
    records.map(|r| serde_json::from_str(&r.unwrap()).unwrap()).collect()
}

/// What keepwell has still to do: alerts that are open, messages that wait and how often they failed.
fn left(folder: &Path) -> String {
    let open = alerts(folder).into_iter().filter(|a| a["resolved"].is_null());
    let mut lines: Vec<String> = open.map(|a| format!("open: {a}")).collect();
    let db = rusqlite::Connection::open(folder.join("state/keepwell.db")).unwrap();
    let mut select = db.prepare("SELECT channel, attempts, next_at FROM outbox").unwrap();
    let waiting = select.query_map([], |row| {
        let (channel, attempts, next): (String, u32, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(format!("waits for {channel}: {attempts} failures, next try at {next}"))
    });
    lines.extend(waiting.unwrap().map(Result::unwrap));
    lines.push(format!("it is now {} µs", clock::wall_us()));
    lines.join("\n")
}

#[test]
fn nothing_is_lost_when_keepwell_is_killed_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let receivers = Receivers::start();
    let mut config = "[[unit]]\nname = \"w*.service\"\nrestart = false\n".to_owned();
    for name in CHANNELS {
        config.push_str(&format!(
            "[[channel]]\nname = \"{name}\"\ntype = \"webhook\"\nurl = \"{}/{name}\"\n",
            receivers.url
        ));
    }
    std::fs::write(folder.join("keepwell.toml"), config).unwrap();
    std::fs::write(folder.join("began"), monotonic().as_millis().to_string()).unwrap();

    // A busy machine takes more of them until enough has happened.
    let kills = kill_again_and_again(folder, LIFE, |kills| {
        kills >= 20 * KILLS || kills >= KILLS && alerts(folder).len() >= ALERTS
    });
    live_to_the_end(folder, || left(folder));

    let alerts = alerts(folder);
    let taken = receivers.taken.lock().unwrap();
    let muted = alerts.iter().filter(|a| !a["untold"].is_null()).count();
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    alerts.iter().for_each(|a| *reasons.entry(a["untold"].to_string()).or_default() += 1);
    println!(
        "{kills} kills, {} alerts, {muted} of them muted {reasons:?}; {} messages taken, {} answered, {} tries failed",
        alerts.len(),
        taken.len(),
        taken.iter().filter(|t| t.answered).count(),
        receivers.failures.lock().unwrap().values().sum::<u32>(),
    );
    assert!(
        alerts.len() >= ALERTS && alerts.len() - muted >= ALERTS / 2,
        "too few to show anything"
    );

    let mut named: BTreeSet<&str> = BTreeSet::new();
    let mut told: BTreeMap<(&str, &str), (bool, bool)> = BTreeMap::new();
    let mut ids: BTreeMap<(&str, &str, &str), BTreeSet<&str>> = BTreeMap::new();
    for message in taken.iter() {
        for (alert, event) in &message.alerts {
            ids.entry((&message.channel, alert, event)).or_default().insert(&message.id);
            let (begun, over) = told.entry((&message.channel, alert)).or_default();
            *begun |= event != "resolved";
            *over |= event == "resolved" && message.answered;
            if message.answered {
                named.insert(alert);
            }
        }
    }
    let mut faults = Vec::new();
    for alert in &alerts {
        let id = alert["id"].as_str().unwrap();
        if alert["resolved"].is_null() {
            faults.push(format!("is open although all is well: {alert}"));
        }
        if alert["untold"].is_null() && !named.contains(id) {
            faults.push(format!("nobody was told, and there is no reason: {alert}"));
        }
    }
    for ((channel, alert), (begun, over)) in told {
        if begun && !over {
            faults.push(format!("{channel} was told of the beginning of {alert}, not of its end"));
        }
    }
    for (what, ids) in ids.iter().filter(|(_, ids)| ids.len() > 1) {
        faults.push(format!("{what:?} was told by different messages: {ids:?}"));
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
