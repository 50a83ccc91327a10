//! Faults that the real systemd will not produce when asked, from a fake one on the other end of a
//! socket pair.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
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
use keepwell::systemd::bus::{Bus, BusAddress, BusError, Dialler, unit_path};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use zbus::object_server::SignalEmitter;
use zbus::{DBusError, Guid, ObjectPath, OwnedObjectPath, connection, interface};

#[derive(Debug, Clone, Copy, Default)]
enum Fault {
    #[default]
    None,
    /// The job ends with this result.
    Job(&'static str),
    /// Nobody answers the restart.
    Hangs,
    /// The job never ends.
    NoEnd,
    NoPolkitRule,
    PolkitDenies,
    PolkitMasked,
    UnitMasked,
    /// The host is going down.
    Stopping,
    /// The host boots.
    Booting,
    /// The host sleeps.
    Asleep,
    /// logind does not answer.
    LogindHangs,
}

#[derive(Debug, DBusError)]
#[zbus(prefix = "org.freedesktop")]
enum Refusal {
    #[zbus(error)]
    ZBus(zbus::Error),
    #[zbus(name = "systemd1.UnitMasked")]
    UnitMasked(String),
    #[zbus(name = "DBus.Error.AccessDenied")]
    AccessDenied(String),
    #[zbus(name = "DBus.Error.InteractiveAuthorizationRequired")]
    AuthorizationRequired(String),
}

type Calls = Arc<Mutex<Vec<String>>>;

struct Manager {
    fault: Fault,
    calls: Calls,
}

type UnitRow =
    (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    fn subscribe(&self) {}

    #[zbus(property)]
    fn system_state(&self) -> String {
        match self.fault {
            Fault::Stopping => "stopping",
            Fault::Booting => "starting",
            _ => "running",
        }
        .into()
    }

    #[zbus(property, name = "NNames")]
    fn n_names(&self) -> u32 {
        7
    }

    fn list_units_by_names(&self, names: Vec<String>) -> Vec<UnitRow> {
        let path = |p: &str| OwnedObjectPath::try_from(p).unwrap();
        let row = |name: String| {
            let at = path(&unit_path(&name));
            let [load, active, sub] = ["loaded", "failed", "failed"].map(str::to_owned);
            (name, String::new(), load, active, sub, String::new(), at, 0, String::new(), path("/"))
        };
        names.into_iter().map(row).collect()
    }

    fn reset_failed_unit(&self, name: &str) {
        self.calls.lock().unwrap().push(format!("ResetFailedUnit {name}"));
    }

    async fn restart_unit(
        &self,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
        name: &str,
        mode: &str,
    ) -> Result<OwnedObjectPath, Refusal> {
        self.calls.lock().unwrap().push(format!("RestartUnit {name} {mode}"));
        let masked = |unit: &str| Err(Refusal::UnitMasked(format!("Unit {unit} is masked.")));
        match self.fault {
            Fault::Hangs => std::future::pending().await,
            Fault::UnitMasked => masked(name),
            Fault::PolkitMasked => masked("polkit.service"),
            Fault::PolkitDenies => Err(Refusal::AccessDenied("Permission denied".into())),
            Fault::NoPolkitRule => Err(Refusal::AuthorizationRequired("Interactive.".into())),
            Fault::NoEnd => Ok(job(1)),
            _ => {
                let result = if let Fault::Job(result) = self.fault { result } else { "done" };
                // Far more jobs of others than a stream holds come first, and all of them before
                // the answer: the worst order there can be.
                for id in (2..200).rev().chain([1]) {
                    let unit = if id == 1 { name } else { "other.service" };
                    Self::job_removed(&emitter, id, job(id).as_ref(), unit, result).await?;
                }
                Ok(job(1))
            }
        }
    }

    #[zbus(signal)]
    async fn startup_finished(
        emitter: &SignalEmitter<'_>,
        firmware: u64,
        loader: u64,
        kernel: u64,
        initrd: u64,
        userspace: u64,
        total: u64,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn job_removed(
        emitter: &SignalEmitter<'_>,
        id: u32,
        job: ObjectPath<'_>,
        unit: &str,
        result: &str,
    ) -> zbus::Result<()>;
}

fn job(id: u32) -> OwnedObjectPath {
    OwnedObjectPath::try_from(format!("/org/freedesktop/systemd1/job/{id}")).unwrap()
}

struct Logind {
    fault: Fault,
}

#[interface(name = "org.freedesktop.login1.Manager")]
impl Logind {
    #[zbus(property)]
    async fn preparing_for_shutdown(&self) -> bool {
        if matches!(self.fault, Fault::LogindHangs) {
            std::future::pending::<()>().await;
        }
        false
    }

    #[zbus(property)]
    fn preparing_for_sleep(&self) -> bool {
        matches!(self.fault, Fault::Asleep)
    }

    #[zbus(signal)]
    async fn prepare_for_shutdown(emitter: &SignalEmitter<'_>, start: bool) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn prepare_for_sleep(emitter: &SignalEmitter<'_>, start: bool) -> zbus::Result<()>;
}

/// A unit that requires others, and says when it is read.
struct Unit {
    name: &'static str,
    reads: Calls,
}

#[interface(name = "org.freedesktop.systemd1.Unit")]
impl Unit {
    #[zbus(property)]
    fn requires(&self) -> Vec<&str> {
        self.reads.lock().unwrap().push(self.name.to_owned());
        match self.name {
            "a.service" => vec!["system.slice", "sysinit.target", "b.service", "-.mount"],
            "b.service" => vec!["system.slice", "sysinit.target"],
            _ => vec![],
        }
    }

    #[zbus(property)]
    fn requisite(&self) -> Vec<&str> {
        if self.name == "a.service" { vec!["a.socket"] } else { vec![] }
    }

    #[zbus(property)]
    fn binds_to(&self) -> Vec<&str> {
        if self.name == "b.service" { vec!["db.service", "a.service"] } else { vec![] }
    }

    #[zbus(property)]
    fn part_of(&self) -> Vec<&str> {
        if self.name == "a.service" { vec!["b.service", "graphical.target"] } else { vec![] }
    }

    #[zbus(property)]
    fn load_state(&self) -> &str {
        "loaded"
    }

    #[zbus(property)]
    fn active_state(&self) -> &str {
        "failed"
    }

    #[zbus(property)]
    fn sub_state(&self) -> &str {
        "failed"
    }

    #[zbus(property)]
    fn job(&self) -> (u32, OwnedObjectPath) {
        (0, job(0))
    }

    #[zbus(property, name = "InvocationID")]
    fn invocation_id(&self) -> Vec<u8> {
        vec![1; 16]
    }

    #[zbus(property)]
    fn triggered_by(&self) -> Vec<String> {
        vec!["a.timer".into()]
    }
}

struct Service;

#[interface(name = "org.freedesktop.systemd1.Service")]
impl Service {
    #[zbus(property)]
    fn result(&self) -> &str {
        "exit-code"
    }

    #[zbus(property)]
    fn restart(&self) -> &str {
        "no"
    }

    #[zbus(property)]
    fn r#type(&self) -> &str {
        "oneshot"
    }
}

/// A fake systemd with one failed unit, `a.service`.
struct Fake {
    address: BusAddress,
    /// What it was told to do.
    calls: Calls,
    /// Units of which it was asked what they require.
    reads: Calls,
    /// Its ends of the connections, to send signals over.
    ends: Arc<Mutex<Vec<zbus::Connection>>>,
}

impl Fake {
    fn new(fault: Fault) -> Self {
        let (calls, reads) = (Calls::default(), Calls::default());
        let ends = Arc::new(Mutex::new(Vec::new()));
        let all = (Arc::clone(&calls), Arc::clone(&reads), Arc::clone(&ends));
        let dialler = Dialler::new(move || {
            let (calls, reads, ends) = all.clone();
            Box::pin(async move {
                let (ours, theirs) = UnixStream::pair()?;
                let path = unit_path("a.service");
                let unit = |name| Unit { name, reads: Arc::clone(&reads) };
                let server = connection::Builder::unix_stream(theirs)
                    .server(Guid::generate())
                    .p2p()
                    .serve_at("/org/freedesktop/systemd1", Manager { fault, calls })
                    .serve_at("/org/freedesktop/login1", Logind { fault })
                    .serve_at(path.as_str(), unit("a.service"))
                    .serve_at(path.as_str(), Service)
                    .serve_at(unit_path("b.service"), unit("b.service"))
                    .serve_at(unit_path("db.service"), unit("db.service"))
                    .build();
                let client = connection::Builder::unix_stream(ours).p2p().build();
                let (server, client) = tokio::try_join!(server, client)?;
                ends.lock().unwrap().push(server);
                Ok(client)
            })
        });
        Self { address: BusAddress::Dialled(dialler), calls, reads, ends }
    }
}

async fn restart(fault: Fault) -> (RestartResult, Vec<String>) {
    let Fake { address, calls, ends: _ends, .. } = Fake::new(fault);
    let limit = Duration::from_millis(300);
    let restarter = Restarter::with_limits(address, limit, limit);
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
        RestartResult::Failed("systemd did not answer RestartUnit within 0.3 s".into())
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
    let limit = Duration::from_secs(20);
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
