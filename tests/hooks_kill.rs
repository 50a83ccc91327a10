//! No service is left in the dark about a container: keepwell's store and lanes are killed with -9
//! at random moments while containers come and go and the receiver fails a third of the time. Each
//! event arrives, those of a container in their order, and a repeat is known by its id.
//!
//! The store and the lanes are the real ones, on a real folder and real sockets, in a process of
//! their own: this test's program, started again for [`life`]. The events are made up.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "it says how much happened")]

#[path = "support/clock.rs"]
#[allow(dead_code, reason = "not all of it is used here")]
mod clock;
#[path = "support/lives.rs"]
mod lives;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clock::monotonic;
use keepwell::app::plan;
use keepwell::config::Options;
use keepwell::engine::hook::{HookCall, HookContainer, Transition};
use keepwell::engine::observation::PartState;
use keepwell::engine::saved::{ContainerRecord, Stage};
use keepwell::engine::{Boot, Change, Now, Wall};
use keepwell::notify::Context;
use keepwell::notify::hooks::HookLane;
use keepwell::store::{Commit, Limits, Store, StoreEvent};
use lives::{Dice, FOLDER, UP, header, kill_again_and_again, live_to_the_end};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const KILLS: usize = 150;
const CONTAINERS: u64 = 30;
/// A life ends at most so long after it began, ms, or, three times of four, after it came up.
const LIFE: u64 = 250;
/// So many events at least.
const EVENTS: u64 = 1500;
/// A call fails so often at most.
const MOST_FAILURES: u32 = 3;
const HOOKS: [&str; 2] = ["registry", "ledger"];

// ---- what the child does -------------------------------------------------------------------------

fn now() -> Now {
    let boot = Boot(u64::try_from(monotonic().as_micros()).unwrap());
    Now { boot, wall: Wall(clock::wall_us()) }
}

/// One life, in a process of its own: nothing, unless it was started as that.
#[test]
fn life() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(live(&folder));
}

/// What is known of a container: `restart_count` is how many events it has had.
fn record(number: u64, events: u32) -> ContainerRecord {
    ContainerRecord {
        container: HookContainer { id: format!("{number:064x}").into(), ..Default::default() },
        stage: Stage::Running,
        health: None,
        started: None,
        finished: None,
        swept: false,
        restart_count: events,
        seen: Wall(0),
        told: Vec::new(),
        known: Vec::new(),
    }
}

async fn live(folder: &Path) {
    let options = Options {
        explicit: Some(folder.join("keepwell.toml")),
        system: folder.into(),
        user: None,
        environment: std::iter::empty::<(String, String)>().collect(),
        lenient: false,
        salvage: false,
        hostname: "web1".into(),
    };
    let plan = plan::load(&options).map_err(|e| e.to_string()).unwrap();
    let at_rest = folder.join("rest").exists();
    let (store, mut opened) = Store::open(&folder.join("state"), Limits::default(), now);
    assert_eq!(opened.faults, []);
    let mut events: BTreeMap<Arc<str>, u32> = BTreeMap::new();
    for record in &opened.saved.containers {
        events.insert(record.container.id.clone(), record.restart_count);
    }
    // Both hooks are told of each event, so the numbers follow from the events.
    let mut number = 2 * events.values().map(|n| u64::from(*n)).sum::<u64>();
    assert!(opened.saved.last_call <= number, "a call without its container");

    let (told, mut outcomes) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let mut lanes = tokio::task::JoinSet::new();
    let mut queues = BTreeMap::new();
    for hook in &plan.hooks {
        let context = Context {
            host_key: "0011".into(),
            store: Some(store.handle()),
            events: told.clone(),
            now,
            flush: Duration::from_secs(5),
        };
        let own = opened.calls.iter().filter(|row| row.call.hook == *hook.name()).cloned();
        let lane = HookLane::new(hook.clone(), own.collect(), context, 1 << 24);
        let (queue, calls) = mpsc::unbounded_channel();
        lanes.spawn(lane.run(calls, stop.clone()));
        queues.insert(hook.name().clone(), queue);
    }
    let mut waiting: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    for row in &opened.calls {
        *waiting.entry(row.call.hook.clone()).or_default() += 1;
    }
    let mut dice = Dice(number);
    let mut seq = 0;
    let (mut stored, mut held) = (0, BTreeMap::new());
    while !at_rest || waiting.values().any(|n| *n > 0) {
        if !at_rest {
            seq += 1;
            let which = dice.roll(CONTAINERS);
            let count = events.entry(format!("{which:064x}").into()).or_default();
            *count += 1;
            let record = record(which, *count);
            let calls: Vec<_> = HOOKS
                .iter()
                .map(|hook| {
                    number += 1;
                    Arc::new(HookCall {
                        id: format!("h{number}").into(),
                        number,
                        hook: (*hook).into(),
                        transition: Transition::Died,
                        at: Wall(0),
                        host: "web1".into(),
                        container: HookContainer {
                            exit_code: i32::try_from(*count).ok(),
                            ..record.container.clone()
                        },
                    })
                })
                .collect();
            held.insert(seq, calls.clone());
            let changes = vec![Change::Container(record)];
            store.commit(Commit { seq, changes, calls, ..Commit::default() }).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
        while let Ok(event) = opened.events.try_recv() {
            match event {
                StoreEvent::Stored(seq) => {
                    if stored == 0 {
                        println!("\n{UP}");
                    }
                    stored = seq;
                }
                StoreEvent::Part(seen) if seen.state == PartState::Works => {}
                other => panic!("{other:?}"),
            }
        }
        // As the driver does: what is stored goes out, in order.
        while let Some(first) = held.first_entry().filter(|first| *first.key() <= stored) {
            for call in first.remove() {
                queues[&call.hook].send(call).unwrap();
            }
        }
        while let Ok(event) = outcomes.try_recv() {
            if let keepwell::engine::Event::Outcome(keepwell::engine::Outcome::Call {
                hook,
                waiting: now,
                ..
            }) = event
            {
                waiting.insert(hook, now);
            }
        }
    }
    stop.cancel();
    while let Some(left) = lanes.join_next().await {
        assert_eq!(left.unwrap(), []);
    }
    store.close(Duration::from_secs(10)).await.unwrap();
}

// ---- who receives --------------------------------------------------------------------------------

/// A call that the receiver has taken: hook, container, which of its events, key.
type Taken = Vec<(String, String, u64, String)>;

/// How often each call has failed, by its key.
type Failures = Mutex<BTreeMap<String, u32>>;

/// One connection after another request: it refuses some, resets the connection of some, and takes
/// some without saying so.
fn serve(mut stream: TcpStream, dice: &Mutex<Dice>, all: &Mutex<Taken>, failures: &Failures) {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut bytes = Vec::new();
    while let Some((head, body)) = request(&mut stream, &mut bytes) {
        let hook = head.split([' ', '/']).nth(2).unwrap().to_owned();
        let key = header(&head, "idempotency-key").unwrap().to_owned();
        let mut fate = dice.lock().unwrap().roll(9);
        if fate < 3 {
            let mut failures = failures.lock().unwrap();
            let count = failures.entry(format!("{hook} {key}")).or_default();
            // The wait doubles with each failure: one that never ends would outlast the limit.
            if *count < MOST_FAILURES { *count += 1 } else { fate = 3 }
        }
        if fate == 1 {
            let no = "HTTP/1.1 500 Oh No\r\nContent-Length: 0\r\n\r\n";
            if stream.write_all(no.as_bytes()).is_err() {
                return;
            }
            continue;
        }
        if fate > 0 {
            let body: Value = serde_json::from_slice(&body).unwrap();
            let container = &body["container"];
            let id = container["id"].as_str().unwrap().to_owned();
            let number = container["exit_code"].as_u64().unwrap();
            all.lock().unwrap().push((hook, id, number, key));
        }
        if fate < 3 {
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
            return;
        }
        if stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").is_err() {
            return;
        }
    }
}

/// The next request: its head in lower case, and its body.
fn request(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    let mut chunk = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
            let length: usize = header(&head, "content-length").unwrap().parse().unwrap();
            if bytes.len() >= end + 4 + length {
                let body = bytes[end + 4..end + 4 + length].to_vec();
                bytes.drain(..end + 4 + length);
                return Some((head, body));
            }
        }
        let n = stream.read(&mut chunk).ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&chunk[..n]);
    }
}

// ---- what must hold ------------------------------------------------------------------------------

/// How many events each container had, as stored, and how many calls wait.
fn known(folder: &Path) -> (BTreeMap<String, u64>, i64) {
    let db = rusqlite::Connection::open(folder.join("state/keepwell.db")).unwrap();
    let mut select = db.prepare("SELECT id, record FROM containers").unwrap();
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?))).unwrap();
    let events = rows.map(|row| {
        let (id, record): (String, String) = row.unwrap();
        let record: Value = serde_json::from_str(&record).unwrap();
        (id, record["restart_count"].as_u64().unwrap())
    });
    let waiting = db.query_row("SELECT count(*) FROM calls", [], |row| row.get(0)).unwrap();
    (events.collect(), waiting)
}

#[test]
fn every_event_arrives_in_order_though_keepwell_is_killed_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (taken, failures) = (Arc::<Mutex<Taken>>::default(), Arc::<Failures>::default());
    let (all, failed) = (taken.clone(), failures.clone());
    // It ends with the process.
    std::thread::spawn(move || {
        let dice = Arc::new(Mutex::new(Dice(3)));
        for stream in listener.incoming().map_while(Result::ok) {
            let (dice, all, failed) = (dice.clone(), all.clone(), failed.clone());
            std::thread::spawn(move || serve(stream, &dice, &all, &failed));
        }
    });
    let mut config = String::new();
    for name in HOOKS {
        config.push_str(&format!(
            "[[hook]]\nname = \"{name}\"\ntype = \"http\"\nurl = \"{url}/{name}\"\nproxy = false\n"
        ));
    }
    std::fs::write(folder.join("keepwell.toml"), config).unwrap();

    // A busy machine takes more of them until enough has happened.
    let kills = kill_again_and_again(folder, LIFE, |kills| {
        kills >= 20 * KILLS || kills >= KILLS && known(folder).0.values().sum::<u64>() >= EVENTS
    });
    live_to_the_end(folder, || format!("{} calls wait", known(folder).1));

    let (events, waiting) = known(folder);
    assert_eq!(waiting, 0);
    let taken = taken.lock().unwrap();
    let total: u64 = events.values().sum();
    let failed: u32 = failures.lock().unwrap().values().sum();
    println!("{kills} kills, {total} events, {} calls taken, {failed} tries failed", taken.len());
    assert!(total >= EVENTS, "too few to show anything");

    let mut faults = Vec::new();
    let mut keys: BTreeMap<&str, (&str, &str, u64)> = BTreeMap::new();
    let mut heard: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for (hook, id, number, key) in taken.iter() {
        let what = (&**hook, &**id, *number);
        let first = *keys.entry(key).or_insert(what);
        if first != what {
            faults.push(format!("{key} is {first:?} and {what:?}"));
        }
        let before = heard.entry((hook, id)).or_default();
        if *number > *before + 1 {
            faults.push(format!("{what:?} arrived after {before}"));
        }
        *before = number.max(before).to_owned();
    }
    let mut told: BTreeMap<(&str, &str, u64), &str> = BTreeMap::new();
    for (key, what) in &keys {
        if let Some(other) = told.insert(*what, key) {
            faults.push(format!("{what:?} was told as {other} and as {key}"));
        }
    }
    for (id, number) in &events {
        for hook in HOOKS {
            let heard = heard.get(&(hook, id.as_str())).copied().unwrap_or(0);
            if heard != *number {
                faults.push(format!("{hook} heard of {heard} of {number} events of {id}"));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
