//! The source of units and the restarter against a real `systemd --user`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/user_systemd.rs"]
mod support;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use keepwell::actions::Restarter;
use keepwell::engine::Observation;
use keepwell::engine::event::RestartResult;
use keepwell::engine::observation::{
    ActiveState, LoadState, ManagerSeen, Part, PartState, Round, SourceKind, UnitSeen,
};
use keepwell::engine::rules::UnitPattern;
use keepwell::engine::words::Reason;
use keepwell::sources::units::{UnitsSource, UnitsWatch};
use keepwell::sources::{Source, SourceContext};
use keepwell::systemd::bus::BusAddress;
use support::UserSystemd;
use tokio::sync::{Notify, mpsc};
use tokio::task::{LocalSet, spawn_local};
use tokio_util::sync::CancellationToken;

/// What anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

fn service(more: &str) -> String {
    format!("[Service]\nExecStart=/bin/sleep infinity\n{more}\n")
}

/// The source at work, and what it has sent.
struct Seen {
    from: mpsc::Receiver<Observation>,
    stop: CancellationToken,
    resync: Arc<Notify>,
}

impl Seen {
    fn by(systemd: &UserSystemd, watch: UnitsWatch) -> Self {
        let (out, from) = mpsc::channel(64);
        let stop = CancellationToken::new();
        let resync = Arc::new(Notify::new());
        let context =
            SourceContext { out, stop: stop.clone(), resync: Arc::clone(&resync), once: false };
        let address = BusAddress::Address(systemd.address());
        spawn_local(async move {
            let mut source = UnitsSource::new(address, watch, None);
            source.run(context).await.unwrap();
        });
        Self { from, stop, resync }
    }

    /// What is sent up to and with the first that fits.
    async fn until(&mut self, what: &str, fits: impl Fn(&Observation) -> bool) -> Vec<Observation> {
        let mut all = Vec::new();
        let wait = async {
            while let Some(seen) = self.from.recv().await {
                let done = fits(&seen);
                all.push(seen);
                if done {
                    return;
                }
            }
        };
        let timely = tokio::time::timeout(LIMIT, wait).await.is_ok();
        assert!(timely && all.last().is_some_and(fits), "not seen: {what}; seen: {all:#?}");
        all
    }

    async fn unit(&mut self, name: &str, what: &str, fits: impl Fn(&UnitSeen) -> bool) -> UnitSeen {
        let fits = |seen: &Observation| matches!(seen, Observation::Unit(unit) if &*unit.name == name && fits(unit));
        match self.until(what, fits).await.pop() {
            Some(Observation::Unit(unit)) => *unit,
            _ => unreachable!(),
        }
    }

    async fn round(&mut self) -> Vec<Observation> {
        self.until("a round", |seen| matches!(seen, Observation::Round(_))).await
    }
}

fn units(seen: &[Observation]) -> Vec<&UnitSeen> {
    seen.iter()
        .filter_map(|seen| match seen {
            Observation::Unit(unit) => Some(&**unit),
            _ => None,
        })
        .collect()
}

fn exact(names: &[&str]) -> UnitsWatch {
    UnitsWatch {
        exact: names.iter().map(|name| Arc::from(*name)).collect(),
        all_failed: true,
        ..UnitsWatch::default()
    }
}

fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

fn failed(unit: &UnitSeen) -> bool {
    unit.active == ActiveState::Failed
}

fn running(unit: &UnitSeen) -> bool {
    unit.active == ActiveState::Active && &*unit.sub == "running" && !unit.job
}

#[test]
fn a_killed_service_is_seen_with_its_cause() {
    let (a, b) = (service(""), service(""));
    let Some(systemd) = UserSystemd::start(&[("a.service", &a), ("b.service", &b)]) else {
        return;
    };
    systemd.must(&["start", "a.service", "b.service"]);
    run(async {
        let mut seen = Seen::by(&systemd, exact(&["a.service", "gone.service"]));
        let first = seen.round().await;
        assert!(matches!(&first[0], Observation::Part(part)
            if part.part == Part::Bus && part.state == PartState::Works));
        assert!(matches!(first.last(), Some(Observation::Round(Round {
            source: SourceKind::Units, total: Some(total) })) if *total > 5));
        let [one, two] = units(&first)[..] else { panic!("{first:#?}") };
        let (a, gone) = if &*one.name == "a.service" { (one, two) } else { (two, one) };
        assert!(running(a), "{a:?}");
        assert!(a.invocation.is_some() && a.since.is_some());
        assert_eq!(a.active_since, a.since, "it became active and has stayed so");
        assert!(a.service.as_ref().is_some_and(|s| s.main_pid > 0 && &*s.result == "success"));
        assert_eq!((&*gone.name, gone.load), ("gone.service", LoadState::NotFound));

        let run = a.invocation;
        systemd.kill("a.service");
        let a = seen.unit("a.service", "a failed", failed).await;
        let service = a.service.unwrap();
        assert_eq!(&*service.result, "signal");
        assert_eq!((service.exit_code, service.exit_status, service.main_pid), (2, 9, 0));
        assert_eq!(a.invocation, run);
        assert!(!a.job);
        let details = a.details.expect("the observation of a failure carries the details");
        assert_eq!((&*details.restart, &*details.kind, details.triggered), ("no", "simple", false));

        // Nobody named b: it is seen when it fails, until it is well again, and no longer.
        systemd.kill("b.service");
        let b = seen.unit("b.service", "b failed", failed).await;
        assert_eq!(&*b.details.unwrap().restart, "no");
        systemd.must(&["start", "b.service"]);
        seen.unit("b.service", "b well again", running).await;
        systemd.must(&["stop", "b.service"]);
        systemd.must(&["start", "a.service"]);
        let rest = seen.until("a up again", |s| matches!(s, Observation::Unit(u) if running(u)));
        let rest = rest.await;
        assert!(units(&rest).iter().all(|unit| &*unit.name == "a.service"), "{rest:#?}");
        seen.stop.cancel();
    });
}

#[test]
fn a_failure_says_what_the_unit_needs() {
    let app = service("[Unit]\nRequires=pool.service\nPartOf=other.service");
    let pool = service("[Unit]\nBindsTo=db.service\nRequires=app.service");
    let plain = service("");
    let all = [
        ("app.service", &*app),
        ("pool.service", &pool),
        ("db.service", &plain),
        ("other.service", &plain),
    ];
    let Some(systemd) = UserSystemd::start(&all) else { return };
    systemd.must(&["start", "app.service", "other.service"]);
    run(async {
        let mut seen = Seen::by(&systemd, exact(&["app.service"]));
        seen.round().await;
        systemd.kill("app.service");
        let app = seen.unit("app.service", "app failed", failed).await;
        let requires = app.details.unwrap().requires.join(" ");
        assert_eq!(requires, "other.service pool.service db.service");
        // Nobody named the database; its failure says that it needs nothing.
        systemd.kill("db.service");
        let db = seen.unit("db.service", "db failed", failed).await;
        assert_eq!(db.details.unwrap().requires, []);
        // Unit files are read anew.
        systemd.write_unit("app.service", &plain);
        systemd.must(&["daemon-reload"]);
        systemd.must(&["start", "app.service"]);
        seen.unit("app.service", "up", running).await;
        systemd.kill("app.service");
        let app = seen.unit("app.service", "app failed", failed).await;
        assert_eq!(app.details.unwrap().requires, []);
    });
}

#[test]
fn a_timer_of_another_name_makes_a_service_a_triggered_one() {
    let timer = "[Timer]\nOnActiveSec=1h\nUnit=job.service\n";
    let job = "[Service]\nType=oneshot\nExecStart=/bin/false\n";
    let Some(systemd) = UserSystemd::start(&[("job.service", job), ("often.timer", timer)]) else {
        return;
    };
    run(async {
        let mut seen = Seen::by(&systemd, exact(&["job.service"]));
        seen.round().await;
        systemd.systemctl(&["start", "job.service"]);
        let first = seen.unit("job.service", "failed", failed).await;
        assert!(!first.details.unwrap().triggered, "nobody has loaded the timer");
        systemd.must(&["start", "often.timer"]);
        seen.resync.notify_one();
        seen.round().await;
        systemd.systemctl(&["start", "job.service"]);
        let triggered = |u: &UnitSeen| failed(u) && u.details.as_ref().is_some_and(|d| d.triggered);
        seen.unit("job.service", "failed as a triggered one", triggered).await;
    });
}

#[test]
fn a_crash_loop_shows_each_run() {
    let unit = service("Restart=always\nRestartSec=100ms\n[Unit]\nStartLimitIntervalSec=0");
    let Some(systemd) = UserSystemd::start(&[("loop.service", &unit)]) else { return };
    systemd.must(&["start", "loop.service"]);
    run(async {
        let mut seen = Seen::by(&systemd, exact(&["loop.service"]));
        let mut runs = vec![];
        let first = seen.unit("loop.service", "up", running).await;
        runs.push(first.invocation.unwrap());
        for _ in 0..3 {
            systemd.kill("loop.service");
            let waits =
                seen.unit("loop.service", "auto-restart", |u| u.sub.contains("auto-restart")).await;
            assert_eq!(&*waits.details.unwrap().restart, "always");
            assert_eq!(&*waits.service.unwrap().result, "signal");
            assert_eq!(waits.invocation, runs.last().copied());
            let up = seen.unit("loop.service", "up again", running).await;
            assert!(!runs.contains(&up.invocation.unwrap()));
            runs.push(up.invocation.unwrap());
        }
    });
}

#[test]
fn an_operators_stop_shows_its_job() {
    let unit = service("");
    let Some(systemd) = UserSystemd::start(&[("a.service", &unit)]) else { return };
    systemd.must(&["start", "a.service"]);
    run(async {
        let mut seen = Seen::by(&systemd, exact(&["a.service"]));
        seen.round().await;
        systemd.must(&["stop", "a.service"]);
        let all = seen
            .until("stopped", |s| {
                matches!(s, Observation::Unit(u)
                if u.active == ActiveState::Inactive && !u.job)
            })
            .await;
        let stopping = |u: &&UnitSeen| u.active == ActiveState::Deactivating && u.job;
        assert!(units(&all).iter().any(stopping), "{all:#?}");
        let last = units(&all).pop().unwrap();
        assert_eq!((last.load, &*last.sub), (LoadState::Loaded, "dead"));
        // The unit is unloaded by now, and a resync finds nothing new.
        seen.resync.notify_one();
        let again = seen.round().await;
        assert_eq!(units(&again), Vec::<&UnitSeen>::new());
    });
}

#[test]
fn masks_globs_aliases_and_what_is_kept_from_before() {
    let unit = service("");
    let aliased = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nAlias=other.service\n";
    let all = [("w@.service", &*unit), ("m.service", &unit), ("real.service", aliased)];
    let Some(systemd) = UserSystemd::start(&all) else { return };
    systemd.must(&["enable", "real.service"]);
    systemd.must(&["start", "w@1.service", "w@2.service", "real.service"]);
    systemd.must(&["mask", "--runtime", "masked.service"]);
    run(async {
        let glob = |text| UnitPattern::try_new(text).unwrap();
        let watch = UnitsWatch {
            exact: ["masked.service", "other.service"].map(Arc::from).into(),
            globs: vec![glob("w@*.service"), glob("none-*.service")],
            also: vec!["m.service".into()],
            ..UnitsWatch::default()
        };
        let mut seen = Seen::by(&systemd, watch);
        let first = seen.round().await;
        let mut rows: Vec<_> = units(&first)
            .iter()
            .map(|u| (u.name.to_string(), u.load.as_str(), u.active.as_str()))
            .collect();
        rows.sort();
        let want = [
            ("m.service", "loaded", "inactive"),
            ("masked.service", "masked", "inactive"),
            ("none-*.service", "not-found", "inactive"),
            ("other.service", "loaded", "active"),
            ("w@1.service", "loaded", "active"),
            ("w@2.service", "loaded", "active"),
        ];
        let got: Vec<_> = rows.iter().map(|(n, l, a)| (&**n, *l, *a)).collect();
        assert_eq!(got, want);
        // A new instance is seen although it was not there at the start.
        systemd.must(&["start", "w@3.service"]);
        seen.unit("w@3.service", "the new instance", running).await;
        systemd.kill("real.service");
        seen.unit("other.service", "the alias failed", failed).await;
    });
}

#[test]
fn reload_and_reexec_lose_nothing() {
    let unit = service("");
    let names: Vec<String> = (0..10).map(|i| format!("u{i}.service")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|n| (&**n, &*unit)).collect();
    let Some(systemd) = UserSystemd::start(&files) else { return };
    let names: Vec<&str> = names.iter().map(|n| &**n).collect();
    systemd.must(&[&["start"], &names[..]].concat());
    run(async {
        let mut seen = Seen::by(&systemd, exact(&names));
        seen.round().await;
        for (round, command) in ["daemon-reload", "daemon-reexec"].into_iter().enumerate() {
            let killed = &names[round * 3..round * 3 + 3];
            for name in killed {
                systemd.kill(name);
            }
            systemd.must(&[command]);
            let mut down: Vec<String> = Vec::new();
            let mut manager = Vec::new();
            while down.len() < killed.len() || !manager.ends_with(&[true, false]) {
                match seen.until("any", |_| true).await.pop().unwrap() {
                    Observation::Unit(unit) => {
                        assert!(killed.contains(&&*unit.name), "{command}: {unit:?}");
                        if failed(&unit) && !down.contains(&unit.name.to_string()) {
                            down.push(unit.name.to_string());
                        }
                    }
                    Observation::Manager(ManagerSeen { reloading, .. }) => manager.push(reloading),
                    _ => {}
                }
            }
            // Nothing else is said of units that are as they were.
            let rest = seen.round().await;
            assert_eq!(units(&rest), Vec::<&UnitSeen>::new(), "{command}");
        }
        // Signals still come.
        systemd.kill("u9.service");
        seen.unit("u9.service", "a failure after the re-execution", failed).await;
    });
}

#[test]
fn a_restarted_bus_is_reconnected() {
    let unit = service("");
    let Some(systemd) = UserSystemd::start(&[("a.service", &unit)]) else { return };
    systemd.must(&["start", "a.service"]);
    run(async {
        let mut seen = Seen::by(&systemd, exact(&["a.service"]));
        seen.round().await;
        systemd.must(&["kill", "--signal=KILL", "dbus.service"]);
        let states = seen
            .until("the bus works again", |s| {
                matches!(s, Observation::Part(p)
                if p.state == PartState::Works)
            })
            .await;
        let broken = states.iter().filter(|s| {
            matches!(s, Observation::Part(p)
            if matches!(&p.state, PartState::Broken(text) if text.contains("bus")))
        });
        assert_eq!(broken.count(), 1, "{states:#?}");
        let again = seen.round().await;
        assert!(units(&again).iter().any(|unit| running(unit)), "{again:#?}");
        systemd.kill("a.service");
        seen.unit("a.service", "a failure on the new connection", failed).await;
    });
}

#[test]
fn restarts_what_failed_and_declines_the_rest() {
    // Two starts exhaust the limit: only a restart that clears it works.
    let unit = service("[Unit]\nStartLimitBurst=2\nStartLimitIntervalSec=1h");
    let broken = "[Service]\nType=oneshot\nExecStart=/bin/false\n";
    let all = [("a.service", &*unit), ("broken.service", broken)];
    let Some(systemd) = UserSystemd::start(&all) else { return };
    run(async {
        let mut seen = Seen::by(&systemd, exact(&["a.service", "broken.service"]));
        seen.round().await;
        let restarter = Restarter::new(BusAddress::Address(systemd.address()));
        let mut last = None;
        for _ in 0..2 {
            systemd.must(&["start", "a.service"]);
            let up = seen.unit("a.service", "up", running).await;
            systemd.kill("a.service");
            let down = |u: &UnitSeen| failed(u) && u.invocation == up.invocation;
            last = Some(seen.unit("a.service", "down", down).await);
        }
        let down = last.unwrap();
        assert!(!systemd.systemctl(&["start", "a.service"]).status.success());
        assert_eq!(
            restarter.restart("a.service", down.invocation, false).await,
            RestartResult::Done
        );
        let up = seen.unit("a.service", "up again", running).await;
        assert_ne!(up.invocation, down.invocation);
        assert_eq!(
            restarter.restart("a.service", down.invocation, true).await,
            RestartResult::Declined(Reason::NoLongerNeeded)
        );
        systemd.systemctl(&["start", "broken.service"]);
        assert_eq!(
            restarter.restart("broken.service", None, false).await,
            RestartResult::JobFailed("failed".into())
        );
        systemd.must(&["stop", "a.service"]);
        assert_eq!(restarter.restart("a.service", None, true).await, RestartResult::Done);
        assert_eq!(
            restarter.restart("gone.service", None, true).await,
            RestartResult::Declined(Reason::NotFound)
        );
    });
}

#[test]
fn a_shutdown_is_seen_when_it_begins() {
    // What is ordered after the bus is stopped before it, as keepwell's own unit is.
    let slow = service("ExecStop=/bin/sleep 30\n[Unit]\nAfter=dbus.service dbus.socket");
    let Some(systemd) = UserSystemd::start(&[("slow.service", &slow)]) else { return };
    systemd.must(&["start", "slow.service"]);
    run(async {
        let mut seen = Seen::by(&systemd, exact(&["slow.service"]));
        seen.round().await;
        systemd.must(&["start", "--no-block", "--job-mode=replace-irreversibly", "exit.target"]);
        let all =
            seen.until("stopping", |s| matches!(s, Observation::Manager(m) if m.stopping)).await;
        let down = |u: &&UnitSeen| u.active == ActiveState::Inactive;
        assert!(!units(&all).iter().any(down), "it comes before what it ends: {all:#?}");
    });
}

/// What a burst costs; prints the figures.
#[test]
#[ignore = "takes half a minute; for figures"]
#[allow(clippy::disallowed_methods, reason = "measures, on the clock of the test itself")]
fn a_burst_of_restarts_loses_no_run() {
    const MANY: usize = 500;
    fn cpu() -> Duration {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }
    let unit = service("");
    let Some(systemd) = UserSystemd::start(&[("w@.service", &unit)]) else { return };
    let names: Vec<String> = (0..MANY).map(|i| format!("w@{i}.service")).collect();
    let names: Vec<&str> = names.iter().map(|n| &**n).collect();
    systemd.must(&[&["start"], &names[..]].concat());
    run(async {
        let before = (std::time::Instant::now(), cpu());
        let mut seen = Seen::by(&systemd, exact(&names));
        let first = seen.round().await;
        assert!(units(&first).iter().all(|u| running(u) && u.invocation.is_some()));
        assert_eq!(units(&first).len(), MANY);
        let (wall, used) = (before.0.elapsed(), cpu() - before.1);
        println!("{MANY} units: first round after {wall:?}, {used:?} of processor time");
        let before = (std::time::Instant::now(), cpu());
        systemd.must(&["restart", "--no-block", "w@*.service"]);
        let (mut up, mut sent) = (std::collections::HashSet::new(), 0);
        let old: std::collections::HashSet<_> =
            units(&first).iter().map(|u| u.invocation).collect();
        while up.len() < MANY {
            for one in seen.until("any", |_| true).await {
                sent += 1;
                if let Observation::Unit(u) = one
                    && running(&u)
                    && !old.contains(&u.invocation)
                {
                    up.insert(u.name);
                }
            }
        }
        let (wall, used) = (before.0.elapsed(), cpu() - before.1);
        println!("{MANY} restarts: {sent} observations in {wall:?}, {used:?} of processor time");
    });
}

/// Kill to observation, 100 times; prints the figures. Not a limit to fail by on a busy machine,
/// except for what would be plainly wrong.
#[test]
#[allow(clippy::disallowed_methods, reason = "measures, on the clock of the test itself")]
fn a_kill_is_seen_within_milliseconds() {
    let unit = service("[Unit]\nStartLimitIntervalSec=0");
    let Some(systemd) = UserSystemd::start(&[("a.service", &unit)]) else { return };
    run(async {
        let mut seen = Seen::by(&systemd, exact(&["a.service"]));
        seen.round().await;
        let mut took = Vec::new();
        for _ in 0..100 {
            systemd.must(&["start", "a.service"]);
            seen.unit("a.service", "up", running).await;
            let Some(&[pid]) = systemd.pids("a.service").as_deref() else {
                println!("SKIPPED: the processes' numbers are not known out here");
                return;
            };
            let begun = std::time::Instant::now();
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            seen.unit("a.service", "down", failed).await;
            took.push(begun.elapsed());
        }
        took.sort();
        println!("kill to observation: median {:?}, p99 {:?}", took[50], took[98]);
        assert!(took[50] < Duration::from_millis(100), "{took:?}");
    });
}
