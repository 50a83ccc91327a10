//! Lanes as the daemon has them: tests by people, listeners, and what comes during a reload.

use std::future::pending;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::app::driver::{Control, Driver, Inlets, Outlets, Task};
use crate::engine::observation::{
    ActiveState, Details, PackagesSeen, Round, ServiceSeen, SourceKind, UnitSeen,
};
use crate::engine::rules::{ChannelRule, UnitPattern, UnitRule};
use crate::engine::saved::Saved;
use crate::engine::{Act, Actor, Command, Engine, Mode, Observation};
use crate::notify::{BoxFuture, Outgoing, Retry, SendError};

/// A channel that takes all, or refuses all; it may listen as well.
struct Fake {
    name: Arc<str>,
    refuses: bool,
    got: Mutex<Vec<Outgoing>>,
    /// How often it was asked to listen: the first time it crashes, the second time it ends, then it
    /// does one act.
    listens: Option<AtomicUsize>,
    answers: Mutex<Vec<Result<String, String>>>,
}

impl Fake {
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            refuses: false,
            got: Mutex::default(),
            listens: None,
            answers: Mutex::default(),
        }
    }
}

impl Channel for Fake {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn send<'a>(&'a self, message: &'a Outgoing) -> BoxFuture<'a, Result<String, SendError>> {
        self.got.lock().unwrap().push(message.clone());
        let no = SendError { retry: Retry::Never, text: "no such room".into() };
        let result = if self.refuses { Err(no) } else { Ok("200 OK".into()) };
        Box::pin(async { result })
    }

    fn listen(self: Arc<Self>, acts: Acts) -> Option<BoxFuture<'static, ()>> {
        let times = self.listens.as_ref()?.fetch_add(1, Ordering::Relaxed);
        Some(Box::pin(async move {
            match times {
                0 => panic!("not today"),
                1 => {}
                _ => {
                    let actor = Actor("telegram:@anna".into());
                    let act = Act::Release { unit: None };
                    let answer = acts(Command { actor, act }).await;
                    self.answers.lock().unwrap().push(answer);
                    pending().await
                }
            }
        }))
    }
}

/// Lanes of these channels.
struct Rig {
    supervisor: Supervisor,
    stop: CancellationToken,
    events: mpsc::UnboundedReceiver<Event>,
    left: Rc<RefCell<Vec<OutboxRow>>>,
}

impl Rig {
    fn new(channels: &[Arc<Fake>]) -> (Self, Lanes) {
        let channels: Vec<Arc<dyn Channel>> = channels.iter().map(|c| c.clone() as _).collect();
        let (events, received) = mpsc::unbounded_channel();
        let mut rig = Self {
            supervisor: Supervisor::default(),
            stop: CancellationToken::new(),
            events: received,
            left: Rc::default(),
        };
        let setup = LaneSetup {
            store: None,
            events,
            flush: Duration::from_secs(1),
            stop: rig.stop.clone(),
            left: rig.left.clone(),
        };
        let rules = Rules {
            host: "web1".into(),
            labels: [("env".to_owned(), "prod".to_owned())].into(),
            ..Rules::default()
        };
        let (lanes, rest) = Lanes::start(&channels, &rules, Vec::new(), setup, &mut rig.supervisor);
        assert_eq!(rest, []);
        (rig, lanes)
    }

    async fn end(&mut self) {
        self.stop.cancel();
        assert!(self.supervisor.wait_for(&["channel "], Duration::from_secs(5)).await);
    }
}

fn local(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

fn message(channel: &str, id: &str) -> Arc<Notification> {
    let labels = Arc::new(BTreeMap::new());
    let at = clock::now().wall;
    Arc::new(Notification::test(id, channel.into(), "web1".into(), labels, at))
}

#[test]
fn a_test_is_sent_to_one_or_to_all_and_answered() {
    local(async {
        let ops = Arc::new(Fake::new("ops"));
        let night = Arc::new(Fake { refuses: true, ..Fake::new("night") });
        let (mut rig, lanes) = Rig::new(&[ops.clone(), night.clone()]);
        let all = test_channels(lanes.clone(), None).await;
        let no = Err("no such room".to_owned());
        assert_eq!(all, [("night".into(), no), ("ops".into(), Ok("200 OK".into()))]);
        let one = test_channels(lanes.clone(), Some("ops".into())).await;
        assert_eq!(one, [("ops".into(), Ok("200 OK".into()))]);
        let unknown = test_channels(lanes.clone(), Some("opps".into())).await;
        let text = "there is no such channel; there are: night, ops";
        assert_eq!(unknown, [("opps".into(), Err(text.into()))]);
        let none = test_channels(Lanes::default(), Some("ops".into())).await;
        assert_eq!(none, [("ops".into(), Err("no channel is configured".into()))]);
        {
            let got = ops.got.lock().unwrap();
            let said = &got[0].notification;
            assert_eq!((&*said.host, &*said.labels["env"]), ("web1", "prod"));
            assert_ne!(got[0].key, got[1].key, "a second test is no repeat of the first");
            assert_ne!(got[0].key, night.got.lock().unwrap()[0].key);
        }
        rig.end().await;
        let late = test_channels(lanes, Some("ops".into())).await;
        let text = "the channel has just been stopped; try again";
        assert_eq!(late, [("ops".into(), Err(text.into()))]);
        assert!(rig.left.borrow().is_empty(), "a test is not kept");
    });
}

#[test]
fn without_a_running_keepwell_a_test_goes_straight_out() {
    local(async {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keepwell.toml");
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let text = format!(
            "[[channel]]\nname = \"ops\"\ntype = \"webhook\"\nurl = \"http://{gone}/s3cr3t\"\n"
        );
        std::fs::write(&file, text).unwrap();
        let options = Options {
            explicit: Some(file),
            system: dir.path().into(),
            user: None,
            environment: std::iter::empty::<(String, String)>().collect(),
            lenient: false,
            salvage: false,
            hostname: "web1".into(),
        };
        let tried = test_directly(&options, None).await.unwrap();
        let [(name, Err(why))] = &tried[..] else { panic!("{tried:?}") };
        assert!(&**name == "ops" && why.starts_with("cannot connect to http://127.0.0.1"), "{why}");
        let tried = test_directly(&options, Some("night".into())).await.unwrap();
        let text = "there is no such channel; there are: ops";
        assert_eq!(tried, [("night".into(), Err(text.into()))]);
    });
}

#[tokio::test(start_paused = true)]
async fn a_listener_is_started_again_and_its_acts_are_answered() {
    let here = tokio::task::LocalSet::new();
    here.run_until(async {
        let deaf = Arc::new(Fake::new("deaf"));
        let hears = Arc::new(Fake { listens: Some(AtomicUsize::new(0)), ..Fake::new("ops") });
        let channels: [Arc<dyn Channel>; 2] = [deaf, hears.clone()];
        let (commands, mut received) = mpsc::channel(1);
        let mut supervisor = Supervisor::default();
        let stop = CancellationToken::new();
        listen(&channels, &acts(commands), &stop, &mut supervisor);
        assert_eq!(supervisor.running(), ["listener ops"]);
        let request: CommandRequest = received.recv().await.unwrap();
        assert_eq!(request.command.act, Act::Release { unit: None });
        assert_eq!(request.command.actor.0, "telegram:@anna");
        request.reply.send(Ok("done".into())).unwrap();
        while hears.answers.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(*hears.answers.lock().unwrap(), [Ok("done".into())]);
        stop.cancel();
        assert!(supervisor.wait_for(&["listener "], Duration::from_secs(1)).await);
    })
    .await;
}

#[tokio::test]
async fn lanes_and_listeners_that_end_together_are_no_news() {
    tokio::task::LocalSet::new()
        .run_until(async {
            let mut supervisor = Supervisor::default();
            let stop = CancellationToken::new();
            for name in ["channel ops", "listener phone", "channel night"] {
                let stop = stop.clone();
                supervisor.spawn(name, async move { stop.cancelled().await });
            }
            stop.cancel();
            let both = ["listener ", "channel "];
            assert!(supervisor.wait_for(&both, Duration::from_secs(5)).await);
            // A reload must not take the end of one, while it waited for the other, for a crash.
            assert!(supervisor.ended().await.is_none());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn who_acts_is_answered_within_5_s() {
    let (commands, mut received) = mpsc::channel(1);
    let acts = acts(commands);
    let act = || Command { actor: Actor("anna".into()), act: Act::Release { unit: None } };
    let begin = tokio::time::Instant::now();
    let text = "keepwell did not answer within 5 s; see its log";
    assert_eq!(acts(act()).await, Err(text.into()));
    assert_eq!(begin.elapsed().as_secs(), 5);
    received.close();
    assert_eq!(acts(act()).await, Err("keepwell stops; nothing was done".into()));
}

#[test]
fn what_comes_while_lanes_are_changed_is_not_lost() {
    local(async {
        let ops = Arc::new(Fake::new("ops"));
        let (mut rig, lanes) = Rig::new(std::slice::from_ref(&ops));
        assert!(lanes.deliver(message("gone", "m0")).is_ok(), "nobody is to have it");
        assert!(lanes.deliver(message("ops", "m1")).is_ok());
        rig.end().await;
        assert_eq!(ops.got.lock().unwrap().len(), 1);
        assert_eq!(lanes.deliver(message("ops", "m2")).unwrap_err().id, "m2".into());
        drop(lanes);

        // The same by the driver: what it decides between the end of the former lanes and the
        // reload goes to those that come.
        let (mut former, lanes) = Rig::new(std::slice::from_ref(&ops));
        former.end().await;
        let named = UnitRule::new(UnitPattern::try_new("w.service").unwrap());
        let rules = Rules {
            units: vec![named],
            channels: vec![ChannelRule::new("ops", "webhook")],
            ..Rules::default()
        };
        let mode = Mode { expected: [SourceKind::Units].into(), ..Mode::default() };
        let (engine, first) =
            Engine::new(rules.clone(), Saved::default(), "b".into(), mode.clone(), clock::now());
        let (observations, observed) = mpsc::channel(16);
        let (events, events_in) = mpsc::unbounded_channel();
        let (control, control_in) = mpsc::unbounded_channel();
        let (tasks, mut tasks_in) = mpsc::unbounded_channel();
        let inlets = Inlets {
            observations: observed,
            events: events_in,
            commands: mpsc::channel(1).1,
            control: control_in,
            stored: mpsc::unbounded_channel().1,
        };
        let outlets = Outlets { lanes, hooks: Default::default(), tasks, resync: Arc::default() };
        let (driver, mut snapshots) =
            Driver::new(engine, first, rules.clone(), inlets, outlets, None, clock::now);
        let mut supervisor = Supervisor::default();
        supervisor.spawn("driver", async move {
            driver.run().await;
        });
        let out = observations.clone();
        supervisor.spawn("worker", async move {
            while let Some(task) = tasks_in.recv().await {
                if matches!(task, Task::LookAtPackages) {
                    let _ = out.send(Observation::Packages(PackagesSeen::default())).await;
                }
            }
        });
        let down = UnitSeen {
            name: "w.service".into(),
            active: ActiveState::Failed,
            sub: "failed".into(),
            service: Some(ServiceSeen { result: "exit-code".into(), ..ServiceSeen::default() }),
            details: Some(Details { restart: "no".into(), ..Details::default() }),
            ..UnitSeen::default()
        };
        observations.send(Observation::Unit(Box::new(down))).await.unwrap();
        let round = Round { source: SourceKind::Units, total: Some(1) };
        observations.send(Observation::Round(round)).await.unwrap();
        // It is under way, says the engine; but there is no lane.
        let told = |s: &Arc<crate::engine::Snapshot>| s.alerts.iter().any(|a| !a.told.is_empty());
        timeout(Duration::from_secs(20), snapshots.wait_for(told)).await.unwrap().unwrap();
        let (mut rig, lanes) = Rig::new(std::slice::from_ref(&ops));
        let (done, remembered) = oneshot::channel();
        let (rules, expected) = (Box::new(rules), mode.expected);
        control
            .send(Control::Reload { rules, expected, lanes, hooks: Default::default(), done })
            .ok()
            .unwrap();
        remembered.await.unwrap();
        let outcome = timeout(Duration::from_secs(20), rig.events.recv()).await.unwrap();
        assert!(matches!(outcome, Some(Event::Outcome(_))), "{outcome:?}");
        assert_eq!(ops.got.lock().unwrap().len(), 2);
        control.send(Control::Stop).ok().unwrap();
        assert!(supervisor.wait_for(&["driver"], Duration::from_secs(5)).await);
        rig.end().await;
        drop(events);
    });
}

#[test]
fn who_ends_while_others_are_waited_for_is_heard_of_later() {
    local(async {
        let mut supervisor = Supervisor::default();
        let (go, gone) = oneshot::channel::<()>();
        supervisor.spawn("driver", async {});
        supervisor.spawn("channel ops", async move { drop(gone.await) });
        supervisor.spawn("channel night", async { panic!("not today") });
        drop(go);
        assert!(supervisor.wait_for(&["channel "], Duration::from_secs(5)).await);
        let mut heard = [supervisor.ended().await.unwrap(), supervisor.ended().await.unwrap()];
        heard.sort_by(|a, b| a.name.cmp(&b.name));
        let heard = heard.map(|e| (e.name, e.panic));
        assert_eq!(
            heard,
            [("channel night".into(), Some("not today".into())), ("driver".into(), None)]
        );
    });
}
