//! Scenes: services that are made to fail, and three views of what became of them: what the journal
//! says, what keepwell says, and what the receiver was told. Used by the `system_*` tests.

#![allow(dead_code, reason = "no test uses all of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use crate::support::clock::monotonic;
use crate::support::{Container, Receiver};

/// What any one thing may take on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(180);
/// How often a scene looks again: each look runs a program or two in the container.
const LOOK: Duration = Duration::from_millis(150);

/// systemd's "Started".
const STARTED: &str = "39f53479d3a045ac8e11786248231fbf";
/// systemd's "Failed with result".
const FAILED: &str = "d9b373ed55a64feb8242e02dbe79a49c";

/// Configuration that watches units only, so that how full the test machine is makes no alert.
/// Sampling is quick: keepwell's own parts and heartbeats are seen soon.
pub(crate) const UNITS_ONLY: &str = "[agent]\ninterval = \"1s\"\n\n\
    [host]\ndisk = false\ninodes = false\nmemory = false\nswap = false\ncpu = false\n\n";

/// The backoff of most scenes: 0.2, 0.4, 0.8, 1.6, 2, 2... s. What fails is down for longer than the
/// group wait, so that it is told.
pub(crate) const QUICK: &str = "backoff = { first = \"200ms\", factor = 2, max = \"2s\", \
    stable = \"30m\", verify = \"1200ms\" }";

/// The wait before the attempt after `step` earlier ones, with [`QUICK`].
pub(crate) fn quick(step: u32) -> Duration {
    Duration::from_millis(200 * (1 << step.min(5))).min(Duration::from_secs(2))
}

/// A service that runs until it is killed; `more` are lines of its `[Service]` section.
pub(crate) fn sleeper(more: &str) -> String {
    format!(
        "[Service]\nExecStart=/bin/sleep infinity\n{more}\n\n[Install]\nWantedBy=multi-user.target\n"
    )
}

/// Waits until `ask` has an answer, looking less often than `wait_for`: for what runs a program.
/// The panic says what was seen last.
#[track_caller]
pub(crate) fn watch<T, S: std::fmt::Debug>(
    limit: Duration,
    what: &str,
    mut look: impl FnMut() -> S,
    mut judge: impl FnMut(&S) -> Option<T>,
) -> T {
    let end = monotonic() + limit;
    loop {
        let seen = look();
        if let Some(answer) = judge(&seen) {
            return answer;
        }
        assert!(
            monotonic() < end,
            "not seen within {} s: {what}; last seen: {seen:#?}",
            limit.as_secs_f64()
        );
        std::thread::sleep(LOOK);
    }
}

/// [`watch`] until what is seen equals `wanted`.
#[track_caller]
pub(crate) fn equals<S: std::fmt::Debug + PartialEq>(
    limit: Duration,
    what: &str,
    wanted: &S,
    mut look: impl FnMut() -> S,
) {
    let mut last = None;
    let end = monotonic() + limit;
    while monotonic() < end {
        let seen = look();
        if seen == *wanted {
            return;
        }
        last = Some(seen);
        std::thread::sleep(LOOK);
    }
    assert_eq!(last.as_ref(), Some(wanted), "{what}");
}

/// Crashes and restarts of one unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) crashes: u64,
    pub(crate) restarts: u64,
}

/// When runs of one unit began and ended badly, µs of the wall clock, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Moment {
    Started { at: i64, run: String },
    Failed { at: i64, run: String },
}

impl Container {
    /// What systemd logged of units whose names begin with `prefix`, in all boots.
    ///
    /// Times are those of the sender: the journal may get around to an entry later.
    pub(crate) fn moments(&self, prefix: &str) -> BTreeMap<String, Vec<Moment>> {
        let fields =
            "--output-fields=UNIT,INVOCATION_ID,MESSAGE_ID,_PID,_SOURCE_REALTIME_TIMESTAMP";
        let ids = [format!("MESSAGE_ID={STARTED}"), format!("MESSAGE_ID={FAILED}")];
        let mut all: BTreeMap<String, Vec<Moment>> = BTreeMap::new();
        for entry in self.journal_json(&[fields, &ids[0], &ids[1]]) {
            let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            if entry["_PID"] != "1" || !text("UNIT").starts_with(prefix) {
                continue;
            }
            let at = text("_SOURCE_REALTIME_TIMESTAMP").parse().unwrap_or(0);
            let run = text("INVOCATION_ID");
            let moment = if text("MESSAGE_ID") == STARTED {
                Moment::Started { at, run }
            } else {
                Moment::Failed { at, run }
            };
            all.entry(text("UNIT")).or_default().push(moment);
        }
        all
    }

    /// The counts that follow from the journal for units that were started by hand once: each
    /// failed run is a crash, each further start is a restart. Runs that failed are counted once,
    /// however often systemd says so.
    pub(crate) fn journalled(&self, prefix: &str) -> BTreeMap<String, Counts> {
        let counts = |moments: Vec<Moment>| {
            let (mut started, mut failed) = (BTreeSet::new(), BTreeSet::new());
            for moment in moments {
                match moment {
                    Moment::Started { run, .. } => started.insert(run),
                    Moment::Failed { run, .. } => failed.insert(run),
                };
            }
            Counts { crashes: failed.len() as u64, restarts: started.len() as u64 - 1 }
        };
        self.moments(prefix).into_iter().map(|(unit, moments)| (unit, counts(moments))).collect()
    }

    /// `keepwell status --json`; null while it cannot be had.
    pub(crate) fn snapshot(&self) -> Value {
        let out = self.keepwell(&["status", "--json"]);
        serde_json::from_str(&out.stdout).unwrap_or(Value::Null)
    }

    /// One check; null while it cannot be had.
    pub(crate) fn look_at(&self, id: &str) -> Value {
        self.checks().remove(id).unwrap_or(Value::Null)
    }

    /// All checks by id; empty while keepwell does not answer.
    pub(crate) fn checks(&self) -> BTreeMap<String, Value> {
        let mut snapshot = self.snapshot();
        let checks = snapshot["checks"].as_array_mut().map(std::mem::take).unwrap_or_default();
        checks
            .into_iter()
            .filter_map(|check| Some((check["id"].as_str()?.to_owned(), check)))
            .collect()
    }

    /// What keepwell has counted of units whose names begin with `prefix`.
    pub(crate) fn counted(&self, prefix: &str) -> BTreeMap<String, Counts> {
        let unit = |(id, check): (String, Value)| {
            let name = id.strip_prefix("unit:")?.to_owned();
            let count = |what: &str| check["unit"][what].as_u64();
            let counts = Counts { crashes: count("crashes")?, restarts: count("restarts")? };
            name.starts_with(prefix).then_some((name, counts))
        };
        self.checks().into_iter().filter_map(unit).collect()
    }

    /// Waits until keepwell has counted what the journal tells, and no more.
    #[track_caller]
    pub(crate) fn counts_agree(&self, prefix: &str, what: &str) {
        let mut pair = (BTreeMap::new(), BTreeMap::new());
        let end = monotonic() + LONG;
        while monotonic() < end {
            pair = (self.counted(prefix), self.journalled(prefix));
            if pair.0 == pair.1 && !pair.0.is_empty() {
                return;
            }
            std::thread::sleep(LOOK);
        }
        assert_eq!(pair.0, pair.1, "{what}: keepwell's counts (left), the journal's (right)");
    }

    /// Waits until a check has this severity and reason.
    #[track_caller]
    pub(crate) fn wait_for_check(&self, id: &str, severity: &str, reason: &str) -> Value {
        watch(
            LONG,
            &format!("{id} {severity} ({reason})"),
            || self.look_at(id),
            |check| {
                (check["severity"] == severity && check["reason"] == reason).then(|| check.clone())
            },
        )
    }

    /// `NRestarts` of keepwell: how often systemd had to start it again.
    #[track_caller]
    pub(crate) fn keepwell_restarts(&self) -> u32 {
        self.property("keepwell", "NRestarts").parse().expect("systemd prints a number")
    }

    /// The present run of each unit that matches and is active.
    pub(crate) fn runs(&self, pattern: &str) -> BTreeMap<String, String> {
        let text = self.systemctl(&["show", "--property=Id,ActiveState,InvocationID", pattern]);
        let field = |block: &str, name: &str| {
            block.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
        };
        text.split("\n\n")
            .filter(|block| field(block, "ActiveState").as_deref() == Some("active"))
            .filter_map(|block| Some((field(block, "Id")?, field(block, "InvocationID")?)))
            .collect()
    }

    /// What keepwell logged of a check since it came to this host: reason and text, oldest first.
    pub(crate) fn decisions(&self, check: &str) -> Vec<(String, String)> {
        let this = format!("KEEPWELL_CHECK={check}");
        let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or("").to_owned();
        self.journal_json(&[&this])
            .iter()
            .map(|entry| (text(entry, "KEEPWELL_REASON"), text(entry, "MESSAGE")))
            .collect()
    }

    /// Sends SIGKILL to main processes while something else happens: `during` is a shell command.
    /// Half of them die just before it, half just after it has begun. Needs no bus.
    #[track_caller]
    pub(crate) fn kill_during(&self, units: &[&str], during: &str) {
        let pids: Vec<String> = units.iter().map(|unit| self.main_pid(unit).to_string()).collect();
        assert!(pids.iter().all(|pid| pid != "0"), "not all of {units:?} run");
        let (before, after) = pids.split_at(pids.len() / 2);
        let kill = |pids: &[String]| match pids {
            [] => ":".to_owned(),
            pids => format!("kill -9 {}", pids.join(" ")),
        };
        self.sh(&format!(
            "{}; {{ {during}; }} & other=$!; {}; wait $other",
            kill(before),
            kill(after)
        ));
    }

    /// A second receiver, called `side`, beside [`Container::receiver`]: service and log of its own.
    #[track_caller]
    pub(crate) fn side_receiver(&self) -> Side<'_> {
        self.unit(
            "rig-side.service",
            &format!(
                "[Service]\nExecStart=/opt/rig/receiver --listen 127.0.0.1:{SIDE_PORT} \
                 --log {SIDE_LOG} --mode ok --notify\nType=notify\nNotifyAccess=all\n\
                 TimeoutStopSec=1\n"
            ),
        );
        self.systemctl(&["start", "rig-side"]);
        Side { container: self }
    }
}

const SIDE_PORT: u16 = 9902;
const SIDE_LOG: &str = "/var/lib/rig/side.jsonl";

/// See [`Container::side_receiver`]. It always answers 200.
#[derive(Debug)]
pub(crate) struct Side<'c> {
    container: &'c Container,
}

impl Side<'_> {
    /// A `[[channel]]` named `side` that sends to it.
    pub(crate) fn channel() -> String {
        format!(
            "[[channel]]\nname = \"side\"\ntype = \"webhook\"\n\
             url = \"http://127.0.0.1:{SIDE_PORT}/hook\"\n"
        )
    }

    /// All that it was told.
    pub(crate) fn told(&self) -> Vec<Told> {
        let text = self.container.read(SIDE_LOG).unwrap_or_default();
        let requests = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        flatten(requests.map(|mut request| request["body"].take()))
    }
}

/// One alert of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) event: String,
    pub(crate) check: String,
    pub(crate) kind: String,
    pub(crate) severity: String,
    pub(crate) reason: String,
    pub(crate) summary: String,
    pub(crate) id: String,
    /// The idempotency key of the message.
    pub(crate) key: String,
}

fn flatten(bodies: impl Iterator<Item = Value>) -> Vec<Told> {
    let mut all = Vec::new();
    for body in bodies {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for alert in body["alerts"].as_array().into_iter().flatten() {
            all.push(Told {
                event: text(&alert["event"]),
                check: text(&alert["check"]),
                kind: text(&alert["kind"]),
                severity: text(&alert["severity"]),
                reason: text(&alert["reason"]),
                summary: text(&alert["summary"]),
                id: text(&alert["id"]),
                key: text(&body["id"]),
            });
        }
    }
    all
}

impl Receiver<'_> {
    /// All alerts that it was told of and has accepted, oldest first. A message that came twice
    /// under the same key (delivery is at least once) counts once; two messages under one key are
    /// an error, for a receiver would drop the second.
    #[track_caller]
    pub(crate) fn told(&self) -> Vec<Told> {
        let mut seen: BTreeMap<(String, String), Told> = BTreeMap::new();
        flatten(self.accepted().into_iter())
            .into_iter()
            .filter(|told| match seen.get(&(told.key.clone(), told.id.clone())) {
                Some(first) => {
                    assert_eq!(first, told, "two messages under one key");
                    false
                }
                None => {
                    seen.insert((told.key.clone(), told.id.clone()), told.clone());
                    true
                }
            })
            .collect()
    }

    /// Of [`Self::told`]: those of one check and kind, as the words for what happened.
    pub(crate) fn events(&self, check: &str, kind: &str) -> Vec<String> {
        self.told()
            .into_iter()
            .filter(|told| told.check == check && told.kind == kind)
            .map(|told| told.event)
            .collect()
    }

    /// Waits until exactly this was told of the state of a check.
    #[track_caller]
    pub(crate) fn wait_for_events(&self, check: &str, kind: &str, events: &[&str]) {
        watch(
            LONG,
            &format!("of {check} ({kind}) the receiver was told {events:?}"),
            || self.told(),
            |_| (self.events(check, kind) == events).then_some(()),
        );
    }
}
