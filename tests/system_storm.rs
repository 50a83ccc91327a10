//! A thousand units fail at once: a handful of messages that name them all, a keepwell that goes
//! on answering and pinging, and bounded memory.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]
#![allow(clippy::print_stdout, reason = "figures, for those who ask for them")]

#[path = "support/scene.rs"]
mod scene;
#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use scene::{LONG, UNITS_ONLY, sleeper, watch};
use support::clock::monotonic;
use support::package::{Kind, Packages};
use support::*;

const UNITS: usize = 1000;
/// Messages that a storm of 50 s may cost one channel, for its beginning and for its end.
const HANDFUL: usize = 6;
/// Alerts of a message of a storm, at least; what it tells in smaller ones comes 10 s apart.
const STORM: usize = 20;

/// Whether these messages are a handful, also where a slow machine makes a long storm of it: those of
/// a storm come 1, 3, 9, 10 and then 30 s apart. `more`: so many on top.
#[track_caller]
fn are_a_handful(messages: &[serde_json::Value], more: usize) {
    let at = |message: Option<&serde_json::Value>| message.and_then(|m| m["at_us"].as_u64());
    let lasted = at(messages.last()).unwrap_or(0) - at(messages.first()).unwrap_or(0);
    let lasted = lasted.div_ceil(1_000_000) as usize;
    let sizes: Vec<(u64, usize)> = messages
        .iter()
        .map(|m| (at(Some(m)).unwrap_or(0), m["body"]["alerts"].as_array().map_or(0, Vec::len)))
        .collect();
    let large = sizes.iter().filter(|(_, alerts)| *alerts > STORM).count();
    let most = more + HANDFUL.max(5 + lasted.saturating_sub(20) / 30);
    assert!(large <= most, "{large} messages for a storm of {lasted} s: {sizes:?}");
    let most = more + HANDFUL.max(5 + lasted / 10);
    assert!(sizes.len() <= most, "{} messages within {lasted} s: {sizes:?}", sizes.len());
}

/// Memory of keepwell as it is shipped, in KiB: where its unit file has the kernel slow it down.
const RESIDENT: u64 = 48 * 1024;
/// The part of it that is not pages of the program's file, of which a debug build has 33 MiB: held
/// whichever program it is.
const ANONYMOUS: u64 = 24 * 1024;
/// Half of what is shipped; much less, and a machine that is busy is taken for a keepwell that hangs.
const WATCHDOG: &str = "[Service]\nWatchdogSec=15s\n";

/// What was seen of keepwell while something went on.
#[derive(Debug, Default)]
struct Watched {
    asked: usize,
    unanswered: usize,
    slowest: Duration,
    pings: BTreeSet<u64>,
    resident: u64,
    anonymous: u64,
}

impl Watched {
    fn look(&mut self, c: &Container) {
        let before = monotonic();
        let answer = c.get("/health", &[]);
        self.slowest = self.slowest.max(monotonic() - before);
        self.asked += 1;
        self.unanswered += usize::from(!matches!(answer.status, 200 | 503));
        let ping = c.property("keepwell", "WatchdogTimestampMonotonic");
        self.pings.insert(ping.parse().unwrap());
        let pid = c.main_pid("keepwell");
        let status = c.read(&format!("/proc/{pid}/status")).unwrap_or_default();
        let kib = |name: &str| -> u64 {
            let value = status.lines().find_map(|l| l.strip_prefix(name));
            value.and_then(|v| v.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        self.resident = self.resident.max(kib("VmRSS:"));
        self.anonymous = self.anonymous.max(kib("RssAnon:"));
    }
}

/// One storm after the other: the first part of one is systemd's work, on all processors.
static ALONE: Mutex<()> = Mutex::new(());

on_each_image! {
    fn a_thousand_failures_at_once_are_a_handful_of_messages(c: Container) {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = c.receiver();
        c.unit("storm@.service", &sleeper(""));
        let names: Vec<String> = (0..UNITS).map(|n| format!("storm@{n}.service")).collect();
        for part in names.chunks(250) {
            let mut start = vec!["start", "--no-block"];
            start.extend(part.iter().map(String::as_str));
            c.systemctl(&start);
        }
        watch(LONG, "all units run", || c.runs("storm@*.service").len(), |n| (*n == UNITS).then_some(()));
        c.install_keepwell(
            &format!(
                "{UNITS_ONLY}{}[[unit]]\nname = \"storm@*.service\"\nerrors = false\n",
                Receiver::channel()
            ),
            User::Keepwell,
        );
        let shipped = std::env::var_os("KEEPWELL_DIST").is_some();
        if shipped {
            let Some(packages) = Packages::get(&c) else { return };
            let package = c.package(packages, Kind::Deb, &packages.version);
            c.sh(&format!("dpkg-deb --fsys-tarfile {package} | tar -x -C / ./usr/bin/keepwell"));
        }
        c.drop_in("keepwell.service", "watchdog", WATCHDOG);
        c.start_keepwell();
        watch(LONG, "all units are watched", || c.checks().len(), |n| (*n > UNITS).then_some(()));

        c.systemctl(&["kill", "--kill-whom=main", "--signal=KILL", "storm@*.service"]);
        let mut watched = Watched::default();
        let named = |event: &str| -> BTreeSet<String> {
            let told = receiver.told().into_iter();
            told.filter(|t| t.event == event).map(|t| t.check).collect()
        };
        watch(LONG * 3, "all failures are told", || { watched.look(&c); named("opened").len() }, |n| (*n == UNITS).then_some(()));
        let requests = receiver.requests();
        let opening = requests.len();
        are_a_handful(&requests, 0);

        for part in names.chunks(250) {
            let mut start = vec!["start", "--no-block"];
            start.extend(part.iter().map(String::as_str));
            c.systemctl(&start);
        }
        watch(LONG * 3, "all ends are told", || { watched.look(&c); named("resolved").len() }, |n| (*n == UNITS).then_some(()));
        let requests = receiver.requests().split_off(opening);
        let ends = requests.len();
        println!("{opening} messages of failures, {ends} of ends; {watched:?}");
        are_a_handful(&requests, HANDFUL);
        watch(LONG, "a ping goes out", || { watched.look(&c); watched.pings.len() }, |n| (*n > 1).then_some(()));

        assert_eq!(watched.unanswered, 0, "/health always answers: {watched:?}");
        assert!(watched.anonymous > 0 && watched.anonymous < ANONYMOUS, "memory is bounded: {watched:?}");
        assert!(!shipped || watched.resident < RESIDENT, "memory is bounded: {watched:?}");
        // A ping that is late is one that systemd no longer waits for.
        assert!(!c.journal(&["--unit=keepwell"]).contains("Watchdog timeout"));
        assert_eq!(c.keepwell_restarts(), 0);
    }
}
