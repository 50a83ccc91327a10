//! From `APPLICATIONINSIGHTS_CONNECTION_STRING` alone to a metric and a trace at a stand-in of the
//! service, the trace by the channel `azure` on a lane.

use std::path::Path;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::{self, Environment, Input, Loaded, Options};
use crate::engine::event::{Delivery, Event, Outcome};
use crate::engine::{Engine, Mode, Saved, Snapshot};
use crate::outbound::Clients;
use crate::telemetry::tests::ingestion::{Ingestion, KEY, all, answer};
use crate::telemetry::{ExportContext, Exporter};

const LIMIT: Duration = Duration::from_secs(60);

/// All that a configuration makes which says no more than whom to trust.
fn made(ingestion: &Ingestion) -> (Vec<Arc<dyn Channel>>, Vec<Arc<Exporter>>, config::Config) {
    let ca = ingestion.ca();
    let text = format!("[outbound]\nproxy = false\nca = \"{}\"\n", ca.display());
    let environment = Environment::from_iter([(
        "APPLICATIONINSIGHTS_CONNECTION_STRING",
        ingestion.connection_string(),
    )]);
    let options = Options::new(Some(Path::new("k.toml")), environment, false, "web1".into());
    let mut loaded = config::load_from(vec![Input::memory("k.toml", text)], &options);
    let Loaded { config, sink, .. } = &mut loaded;
    let mut clients = Clients::new(config.outbound.clone());
    let receivers = crate::telemetry::receivers(config, &mut clients, sink);
    let channels = channels(&config.channels, &receivers, &mut clients, sink);
    (channels, receivers.exporters, loaded.finish().unwrap())
}

#[tokio::test]
async fn the_variable_alone_brings_metrics_and_traces() {
    let Some(ingestion) = Ingestion::new([all()]) else { return };
    let (channels, exporters, config) = made(&ingestion);
    let names: Vec<&str> = channels.iter().map(|c| &**c.name()).collect();
    assert_eq!(names, ["azure"]);
    assert_eq!(exporters.iter().map(|e| e.name().to_string()).collect::<Vec<_>>(), ["azure"]);

    let (events, mut heard) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let mut tasks = tokio::task::JoinSet::new();
    let (mut engine, _) =
        Engine::new(config.rules, Saved::default(), "b".into(), Mode::default(), now());
    let snapshot = Snapshot { ready: true, ..engine.snapshot(now()) };
    let (_sender, snapshots) = watch::channel(Arc::new(snapshot));
    let context =
        ExportContext { snapshots, events: events.clone(), now, flush: LIMIT, stop: stop.clone() };
    tasks.spawn(exporters[0].clone().run(context));
    let context = Context { host_key: "0011".into(), store: None, events, now, flush: LIMIT };
    let lane = Lane::new(channels[0].clone(), Vec::new(), context);
    let (jobs, received) = mpsc::unbounded_channel();
    let lane_stop = stop.clone();
    tasks.spawn(async move {
        let left = lane.run(received, lane_stop).await;
        assert_eq!(left, []);
    });
    let message = Notification { at: now().wall, ..notification("m1", Happening::Opened) };
    jobs.send(LaneJob::Deliver(Arc::new(message))).unwrap();

    let (mut delivered, mut sent) = (false, false);
    let both = async {
        while !(delivered && sent) {
            match heard.recv().await.unwrap() {
                Event::Outcome(Outcome::Delivery { channel, id, result }) => {
                    assert_eq!((&*channel, &*id), ("azure", "m1"));
                    assert_eq!(result, Delivery::Delivered);
                    delivered = true;
                }
                Event::Outcome(Outcome::Export { done, .. }) => {
                    assert_eq!((done.failed, done.rejected), (0, 0));
                    sent |= done.sent > 0;
                }
                _ => {}
            }
        }
    };
    tokio::time::timeout(LIMIT, both).await.unwrap();
    stop.cancel();
    while let Some(ended) = tokio::time::timeout(LIMIT, tasks.join_next()).await.unwrap() {
        ended.unwrap();
    }

    let envelopes: Vec<_> = ingestion.requests().iter().flat_map(|r| r.envelopes()).collect();
    let of = |kind: &str| {
        let found = envelopes.iter().filter(|e| e["data"]["baseType"] == kind);
        found.cloned().collect::<Vec<_>>()
    };
    let [trace] = &of("MessageData")[..] else { panic!("{envelopes:#?}") };
    assert_eq!(trace["name"], "Microsoft.ApplicationInsights.Message");
    assert_eq!(trace["iKey"], KEY);
    let base = &trace["data"]["baseData"];
    assert!(!base["message"].as_str().unwrap().is_empty(), "{trace}");
    assert!(base["severityLevel"].is_u64(), "{trace}");
    assert_eq!(base["properties"]["host.name"], "web1");
    let metrics = of("MetricData");
    assert!(!metrics.is_empty());
    assert!(metrics.iter().all(|m| m["iKey"] == KEY), "{metrics:#?}");
}

#[tokio::test]
async fn an_alert_that_is_left_out_by_sampling_is_not_taken_for_delivered() {
    let Some(ingestion) = Ingestion::new([all()]) else { return };
    let (channels, _, _) = made(&ingestion);
    let message = sample::outgoing(notification("m1", Happening::Opened));
    let errors = |code: u16, text: &str| {
        format!(
            r#"{{"itemsReceived":1,"itemsAccepted":0,
                "errors":[{{"index":0,"statusCode":{code},"message":"{text}"}}]}}"#
        )
    };
    ingestion.restart([answer("206 Partial Content", &errors(206, "Telemetry sampled out."))]);
    let error = channels[0].send(&message).await.unwrap_err();
    assert_eq!(error.retry, Retry::Never);
    assert_eq!(
        error.text,
        "1 of 1 records refused: 206 Telemetry sampled out. (turn off ingestion sampling at the \
         resource)"
    );
    ingestion.restart([answer("206 Partial Content\r\nRetry-After: 9", &errors(503, "busy"))]);
    let error = channels[0].send(&message).await.unwrap_err();
    assert_eq!(error.retry, Retry::Later(Some(Duration::from_secs(9))));
    ingestion.restart([answer("439 Quota\r\nRetry-After: 3600", "")]);
    let error = channels[0].send(&message).await.unwrap_err();
    assert_eq!(error.retry, Retry::Later(Some(Duration::from_secs(3600))));
    ingestion.restart([all()]);
    assert_eq!(channels[0].send(&message).await.unwrap(), "200 OK");
}
