//! A fake systemd and logind on the other end of a socket pair, with a fault of choice.

use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use keepwell::systemd::bus::{BusAddress, Dialler, unit_path};
use zbus::object_server::SignalEmitter;
use zbus::{DBusError, Guid, ObjectPath, OwnedObjectPath, connection, interface};

#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Fault {
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

pub(crate) type Calls = Arc<Mutex<Vec<String>>>;

pub(crate) struct Manager {
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
    pub(crate) async fn startup_finished(
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

pub(crate) struct Logind {
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
    pub(crate) async fn prepare_for_shutdown(
        emitter: &SignalEmitter<'_>,
        start: bool,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(crate) async fn prepare_for_sleep(
        emitter: &SignalEmitter<'_>,
        start: bool,
    ) -> zbus::Result<()>;
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
pub(crate) struct Fake {
    pub(crate) address: BusAddress,
    /// What it was told to do.
    pub(crate) calls: Calls,
    /// Units of which it was asked what they require.
    pub(crate) reads: Calls,
    /// Its ends of the connections, to send signals over.
    pub(crate) ends: Arc<Mutex<Vec<zbus::Connection>>>,
}

impl Fake {
    pub(crate) fn new(fault: Fault) -> Self {
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
