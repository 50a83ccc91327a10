//! The exporter itself, to its end.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::super::ingestion::{all, answer};
use super::*;
use crate::engine::event::{Event, Export, Outcome};
use crate::engine::{Engine, Mode, Saved, Snapshot};
use crate::outbound::tests::receiver::Reply;
use crate::telemetry::ExportContext;

/// An exporter under way, with one picture of a host.
struct Running {
    stop: CancellationToken,
    events: mpsc::UnboundedReceiver<Event>,
    task: tokio::task::JoinSet<()>,
    _snapshots: watch::Sender<Arc<Snapshot>>,
}

impl Running {
    fn new(rig: &Rig, flush: Duration) -> Self {
        let rules = rig.loaded.config.rules.clone();
        let (mut engine, _) =
            Engine::new(rules, Saved::default(), "b".into(), Mode::default(), now());
        let snapshot = Snapshot { ready: true, ..engine.snapshot(now()) };
        let (sender, snapshots) = watch::channel(Arc::new(snapshot));
        let (events, received) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let context = ExportContext { snapshots, events, now, flush, stop: stop.clone() };
        let mut task = tokio::task::JoinSet::new();
        task.spawn(rig.receivers.exporters[0].clone().run(context));
        Self { stop, events: received, task, _snapshots: sender }
    }

    /// The next thing that it did.
    async fn next(&mut self) -> Option<Export> {
        loop {
            match self.events.recv().await? {
                Event::Outcome(Outcome::Export { exporter, done }) => {
                    assert_eq!(&*exporter, "azure");
                    return Some(done);
                }
                _ => continue,
            }
        }
    }
}

/// Far more than it takes.
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_exporter_sends_the_rest_again_and_all_that_is_left_at_the_end() {
    let some = r#"{"itemsReceived":1,"itemsAccepted":0,"errors":[{"index":0,"statusCode":503}]}"#;
    let script = [answer("206 Partial Content\r\nRetry-After: 1", some), all()];
    let Some(rig) = Rig::with(script, "[telemetry]\ninterval = \"1h\"") else { return };
    let mut running = Running::new(&rig, LIMIT);
    let seen = async {
        assert_eq!(running.next().await.unwrap().failed, 1);
        assert_eq!(running.next().await.unwrap().sent, 1);
        running.stop.cancel();
        assert_eq!(running.next().await.unwrap().sent, 1, "what there is at the end");
        running.task.join_next().await.unwrap().unwrap();
    };
    tokio::time::timeout(LIMIT, seen).await.unwrap();
    let requests = rig.ingestion.requests();
    assert_eq!(requests.len(), 3);
    assert_eq!(requests[0].body, requests[1].body);
    for envelope in requests.iter().flat_map(|r| r.envelopes()) {
        let base = &envelope["data"]["baseData"];
        assert_eq!(envelope["data"]["baseType"], "MetricData");
        assert!(base["metrics"][0]["name"].is_string(), "{envelope}");
        assert_eq!(base["properties"]["host.name"], "web1");
        assert_eq!(base["properties"]["env"], "prod");
        assert_eq!(envelope["tags"]["ai.cloud.role"], "keepwell");
    }
}

#[tokio::test]
async fn an_endpoint_that_hangs_does_not_hold_the_end_up() {
    let more = "timeout = \"1m\"\n[telemetry]\ninterval = \"1h\"";
    let Some(rig) = Rig::with([Reply::Hang], more) else { return };
    let mut running = Running::new(&rig, Duration::from_millis(200));
    while rig.ingestion.requests().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    running.stop.cancel();
    let half = Duration::from_secs(30);
    tokio::time::timeout(half, running.task.join_next()).await.unwrap().unwrap().unwrap();
    let mut dropped = 0;
    while let Some(done) = running.next().await {
        assert_eq!(done.sent, 0);
        dropped += done.dropped;
    }
    assert_eq!(dropped, 2, "the one under way, and the last one");
}
