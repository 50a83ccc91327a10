//! Faults that the real systemd will not produce when asked, from the fake one in `systemd`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::time::Duration;

use keepwell::actions::Restarter;
use keepwell::engine::Observation;
use keepwell::engine::event::RestartResult;
use keepwell::engine::observation::{
    Invocation, Life, LifeWhat, ManagerSeen, Part, PartSeen, PartState, Round, SourceKind,
};
use keepwell::engine::time::Wall;
use keepwell::engine::words::Reason;
use keepwell::sources::units::{LifeReader, UnitsSource, UnitsWatch};
use keepwell::sources::{Source, SourceContext};
use keepwell::systemd::bus::{Bus, BusAddress, BusError};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use zbus::object_server::SignalEmitter;

#[path = "fake_systemd/systemd.rs"]
mod systemd;

use systemd::{Fake, Fault, Logind, Manager};

async fn restart(fault: Fault) -> (RestartResult, Vec<String>) {
    let Fake { address, calls, ends: _ends, .. } = Fake::new(fault);
    // Short only where it is waited for: a busy machine takes its time for all the rest.
    let [short, long] = [2, 120].map(Duration::from_secs);
    let restarter = match fault {
        Fault::Hangs => Restarter::with_limits(address, short, long),
        Fault::NoEnd => Restarter::with_limits(address, long, short),
        _ => Restarter::with_limits(address, long, long),
    };
    let result = restarter.restart("a.service", None, false).await;
    let calls = calls.lock().unwrap().clone();
    (result, calls)
}

#[tokio::test]
async fn a_restart_is_judged_by_its_job() {
    let (result, calls) = restart(Fault::None).await;
    assert_eq!(result, RestartResult::Done);
    assert_eq!(calls, ["ResetFailedUnit a.service", "RestartUnit a.service replace"]);
    assert_eq!(restart(Fault::Job("failed")).await.0, RestartResult::JobFailed("failed".into()));
    assert_eq!(
        restart(Fault::Job("dependency")).await.0,
        RestartResult::JobFailed("dependency".into())
    );
    assert_eq!(restart(Fault::NoEnd).await.0, RestartResult::JobFailed("timeout".into()));
}

#[tokio::test]
async fn a_call_that_hangs_has_a_limit() {
    assert_eq!(
        restart(Fault::Hangs).await.0,
        RestartResult::Failed("systemd did not answer RestartUnit within 2 s".into())
    );
}

#[tokio::test]
async fn each_refusal_says_what_to_do() {
    let text = |result| match result {
        RestartResult::Denied(text) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        text(restart(Fault::NoPolkitRule).await.0),
        "RestartUnit was refused (InteractiveAuthorizationRequired): no polkit rule lets keepwell \
         do it; run 'sudo keepwell polkit', and 'sudo keepwell doctor' if that does not help"
    );
    assert!(text(restart(Fault::PolkitDenies).await.0).contains("a polkit rule denies it"));
    assert!(text(restart(Fault::PolkitMasked).await.0).contains("unmask polkit.service"));
    let masked = restart(Fault::UnitMasked).await.0;
    assert_eq!(masked, RestartResult::Declined(Reason::Masked));
}

#[tokio::test]
async fn nothing_is_restarted_while_the_host_goes_down() {
    let (result, calls) = restart(Fault::Stopping).await;
    assert_eq!(result, RestartResult::Declined(Reason::HostShutdown));
    assert_eq!(calls, Vec::<String>::new());
}

#[tokio::test]
async fn several_restarts_run_side_by_side() {
    let Fake { address, calls, ends: _ends, .. } = Fake::new(Fault::None);
    let restarter = Restarter::new(address);
    let one = || restarter.restart("a.service", None, false);
    let results = tokio::join!(one(), one(), one());
    let done = RestartResult::Done;
    assert_eq!(results, (done.clone(), done.clone(), done));
    assert_eq!(calls.lock().unwrap().len(), 6);
}

#[tokio::test]
async fn a_bus_that_is_not_there_is_said_so() {
    let address = BusAddress::Address("unix:path=/nonexistent/bus".into());
    let error = Bus::connect(&address).await.unwrap_err();
    assert!(matches!(error, BusError::Unreachable { .. }), "{error:?}");
    let restarter = Restarter::new(address.clone());
    let RestartResult::Failed(text) = restarter.restart("a.service", None, false).await else {
        panic!("it was restarted")
    };
    assert_eq!(
        text,
        "cannot reach the bus at unix:path=/nonexistent/bus: the socket does not exist; check the \
         address and that keepwell may open its socket"
    );
    // The source says so and ends its one round.
    let seen = once(UnitsSource::new(address, UnitsWatch::default(), None)).await;
    let state = PartState::Broken(text);
    assert_eq!(
        seen,
        [
            Observation::Part(PartSeen { part: Part::Bus, state }),
            Observation::Round(Round { source: SourceKind::Units, total: None }),
        ]
    );
}

async fn once(mut source: UnitsSource) -> Vec<Observation> {
    let (out, mut from) = mpsc::channel(2);
    let stop = CancellationToken::new();
    let context = SourceContext { out, stop, resync: Arc::new(Notify::new()), once: true };
    let mut seen = Vec::new();
    let drain = async {
        while let Some(one) = from.recv().await {
            seen.push(one);
        }
    };
    let (ran, ()) = tokio::join!(source.run(context), drain);
    ran.unwrap();
    seen
}

#[tokio::test]
async fn the_journals_story_comes_before_the_present() {
    let Fake { address, ends: _ends, .. } = Fake::new(Fault::None);
    let life = |what| Life {
        boot_id: "boot".into(),
        unit: "a.service".into(),
        invocation: Invocation([9; 16]),
        at: Wall(5),
        what,
    };
    let told = vec![life(LifeWhat::Failed), life(LifeWhat::RestartScheduled)];
    let copy = told.clone();
    let reader: LifeReader = Box::new(move || {
        let told = told.clone();
        Box::pin(async move { Ok((told, Some("cursor".to_owned()))) })
    });
    let watch = UnitsWatch { exact: vec!["a.service".into()], ..UnitsWatch::default() };
    let seen = once(UnitsSource::new(address, watch, Some(reader))).await;
    let works = PartSeen { part: Part::Bus, state: PartState::Works };
    assert_eq!(seen[0], Observation::Part(works));
    assert_eq!(seen[1], Observation::Life(copy[0].clone()));
    assert_eq!(seen[2], Observation::Life(copy[1].clone()));
    assert_eq!(seen[3], Observation::CaughtUp("cursor".into()));
    assert!(matches!(seen[4], Observation::Manager(m) if !m.starting && !m.stopping));
    let Observation::Unit(unit) = &seen[5] else { panic!("{seen:#?}") };
    assert_eq!(unit.invocation, Some(Invocation([1; 16])));
    assert_eq!(&*unit.service.as_ref().unwrap().result, "exit-code");
    let details = unit.details.as_ref().unwrap();
    assert_eq!((&*details.restart, &*details.kind, details.triggered), ("no", "oneshot", true));
    let round = Round { source: SourceKind::Units, total: Some(7) };
    assert_eq!(seen[6..], [Observation::Round(round)]);
}

#[tokio::test]
async fn a_journal_that_fails_holds_nothing_up() {
    let Fake { address, ends: _ends, .. } = Fake::new(Fault::None);
    let reader: LifeReader =
        Box::new(|| Box::pin(async { Err("no permission to read the journal".to_owned()) }));
    let watch = UnitsWatch { exact: vec!["a.service".into()], ..UnitsWatch::default() };
    let seen = once(UnitsSource::new(address, watch, Some(reader))).await;
    let state = PartState::Broken("no permission to read the journal".into());
    assert_eq!(seen[1], Observation::Part(PartSeen { part: Part::Journal, state }));
    assert!(matches!(&seen[3], Observation::Unit(unit) if &*unit.name == "a.service"));
    assert!(matches!(seen.last(), Some(Observation::Round(_))));
}

#[tokio::test]
async fn a_failure_says_what_the_unit_needs_and_reads_each_once() {
    let Fake { address, reads, ends: _ends, .. } = Fake::new(Fault::None);
    let watch = UnitsWatch { exact: vec!["a.service".into()], ..UnitsWatch::default() };
    let seen = once(UnitsSource::new(address, watch, None)).await;
    let requires = seen.iter().find_map(|seen| match seen {
        Observation::Unit(unit) => Some(unit.details.as_ref().unwrap().requires.join(" ")),
        _ => None,
    });
    assert_eq!(requires.unwrap(), "a.socket b.service db.service");
    let mut reads = reads.lock().unwrap().clone();
    reads.sort();
    assert_eq!(reads, ["a.service", "b.service", "db.service"]);
}

/// The source at work on the fake, and what is said of the host.
async fn host(
    fault: Fault,
    test: impl AsyncFnOnce(&zbus::Connection, &mut mpsc::Receiver<Observation>),
) {
    let Fake { address, ends, .. } = Fake::new(fault);
    let (out, mut from) = mpsc::channel(64);
    let stop = CancellationToken::new();
    let context =
        SourceContext { out, stop: stop.clone(), resync: Arc::new(Notify::new()), once: false };
    let mut source = UnitsSource::new(address, UnitsWatch::default(), None);
    let drive = async {
        while !matches!(from.recv().await, Some(Observation::Part(_))) {}
        let server = ends.lock().unwrap()[0].clone();
        test(&server, &mut from).await;
        stop.cancel();
    };
    let (ran, ()) = tokio::join!(source.run(context), drive);
    ran.unwrap();
}

async fn manager(from: &mut mpsc::Receiver<Observation>) -> ManagerSeen {
    let limit = Duration::from_secs(120);
    let next = async {
        loop {
            if let Observation::Manager(seen) = from.recv().await.unwrap() {
                return seen;
            }
        }
    };
    tokio::time::timeout(limit, next).await.expect("nothing more is said of the host")
}

const WELL: ManagerSeen =
    ManagerSeen { reloading: false, stopping: false, starting: false, sleeping: false };

#[tokio::test]
async fn logind_says_that_the_host_sleeps_or_stops() {
    host(Fault::Asleep, async |server, from| {
        assert_eq!(manager(from).await, WELL);
        let asleep = ManagerSeen { sleeping: true, ..WELL };
        assert_eq!(manager(from).await, asleep, "it was so before");
        let logind = SignalEmitter::new(server, "/org/freedesktop/login1").unwrap();
        Logind::prepare_for_sleep(&logind, false).await.unwrap();
        assert_eq!(manager(from).await, WELL);
        for stopping in [true, false] {
            Logind::prepare_for_shutdown(&logind, stopping).await.unwrap();
            assert_eq!(manager(from).await, ManagerSeen { stopping, ..WELL });
        }
    })
    .await;
}

#[tokio::test]
async fn a_logind_that_hangs_holds_nothing_up() {
    host(Fault::LogindHangs, async |server, from| {
        assert_eq!(manager(from).await, WELL);
        let logind = SignalEmitter::new(server, "/org/freedesktop/login1").unwrap();
        Logind::prepare_for_shutdown(&logind, true).await.unwrap();
        assert_eq!(manager(from).await, ManagerSeen { stopping: true, ..WELL });
    })
    .await;
}

#[tokio::test]
async fn the_end_of_the_boot_is_said_by_its_signal() {
    host(Fault::Booting, async |server, from| {
        let booting = ManagerSeen { starting: true, ..WELL };
        assert_eq!(manager(from).await, booting);
        let systemd = SignalEmitter::new(server, "/org/freedesktop/systemd1").unwrap();
        Manager::startup_finished(&systemd, 0, 0, 0, 0, 0, 0).await.unwrap();
        assert_eq!(manager(from).await, WELL);
    })
    .await;
}

#[tokio::test]
async fn a_signal_to_keepwell_alone_is_nobodys() {
    host(Fault::None, async |server, from| {
        assert_eq!(manager(from).await, WELL);
        let logind = SignalEmitter::new(server, "/org/freedesktop/login1").unwrap();
        let forged = logind.clone().set_destination(":1.7".try_into().unwrap());
        Logind::prepare_for_shutdown(&forged, true).await.unwrap();
        Logind::prepare_for_sleep(&logind, true).await.unwrap();
        let asleep = ManagerSeen { sleeping: true, ..WELL };
        assert_eq!(manager(from).await, asleep, "the forged one is passed over");
    })
    .await;
}
