//! The stream of the real exporter, as other parties read it: each name, unit, attribute, value and
//! temporality. After a change on purpose: `INSTA_UPDATE=always cargo test stream`, then read what
//! has changed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::fixture::{AT, full, later};
use super::party::{Decoder, Rotel};
use crate::config::{self, Environment, Input, Options};
use crate::engine::event::{Event, Export, Outcome};
use crate::engine::observation::{Observation, Part, PartSeen, PartState};
use crate::engine::{Boot, Now, Snapshot};
use crate::outbound::Clients;
use crate::telemetry::{ExportContext, Exporter, receivers};

/// What a host says of itself is fixed here.
const HOST: &str = r#"
[telemetry.attributes]
"host.id" = "0011223344556677"
"service.instance.id" = "0011223344556677"
"host.arch" = "amd64"
"deployment.environment.name" = "prod"
"#;

fn now() -> Now {
    Now { boot: Boot(1_000_000_000), wall: AT }
}

/// The exporter of a configuration whose collector is at `url`.
fn exporter(url: &str, otlp: &str) -> Arc<Exporter> {
    let text = format!("[otlp]\nendpoint = \"{url}\"\nproxy = false\n{otlp}\n{HOST}");
    let options =
        Options::new(Some(Path::new("k.toml")), Environment::default(), true, "web1".into());
    let mut loaded = config::load_from(vec![Input::memory("k.toml", text)], &options);
    let mut clients = Clients::new(loaded.config.outbound.clone());
    let mut made = receivers(&loaded.config, &mut clients, &mut loaded.sink);
    assert!(!loaded.sink.has_errors(), "{}", loaded.finish().unwrap_err());
    assert_eq!(made.exporters.len(), 1);
    made.exporters.remove(0)
}

/// An exporter at work.
struct Running {
    snapshots: watch::Sender<Arc<Snapshot>>,
    events: mpsc::UnboundedReceiver<Event>,
    stop: CancellationToken,
    tasks: tokio::task::JoinSet<()>,
}

impl Running {
    fn start(exporter: Arc<Exporter>, first: Snapshot) -> Self {
        let (snapshots, seen) = watch::channel(Arc::new(first));
        let (told, events) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let context = ExportContext {
            snapshots: seen,
            events: told,
            now,
            flush: Duration::from_secs(30),
            stop: stop.clone(),
        };
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(exporter.run(context));
        Self { snapshots, events, stop, tasks }
    }

    /// Waits until a batch has been taken.
    async fn taken(&mut self) -> Export {
        loop {
            match self.events.recv().await.expect("the exporter lives") {
                Event::Outcome(Outcome::Export { done, .. }) => {
                    assert_eq!((done.failed, done.dropped), (0, 0), "{done:?}");
                    if done.sent > 0 {
                        return done;
                    }
                }
                Event::Observed(Observation::Part(PartSeen { part, state })) => {
                    assert_eq!((part, state), (Part::Exporter("otlp".into()), PartState::Works));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// The exporter ends with what there is to tell now.
    async fn end(&mut self, last: Snapshot) -> Export {
        self.snapshots.send_replace(Arc::new(last));
        self.stop.cancel();
        let done = self.taken().await;
        self.tasks.join_next().await.unwrap().unwrap();
        done
    }
}

/// The first snapshot and a later one, sent with these settings.
async fn sent(otlp: &str) -> Option<[Value; 2]> {
    let decoder = Decoder::start(&json!({}))?;
    let mut running = Running::start(exporter(&decoder.url(), otlp), full());
    let clean = Export { sent: 1, queued: 0, ..Export::default() };
    assert_eq!(running.taken().await, clean);
    assert_eq!(running.end(later()).await, clean);
    let requests = [decoder.request(), decoder.request()];
    for request in &requests {
        assert_eq!(request["path"], "/v1/metrics");
        let headers = &request["headers"];
        assert_eq!(headers["content-type"], "application/x-protobuf");
        assert!(headers["content-length"].is_string());
        assert!(headers.get("transfer-encoding").is_none());
        assert_eq!(headers["user-agent"], concat!("keepwell/", env!("CARGO_PKG_VERSION")));
    }
    Some(requests)
}

fn golden(name: &str, request: &Value) {
    let text = request["text"].as_str().unwrap();
    // Text of a log or a name never steers a terminal, not even of whoever reads this.
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'));
    let text = text.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("golden");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[tokio::test]
async fn cumulative_with_explicit_histograms() {
    let Some([first, second]) = sent("headers = { api-key = \"k3y\" }").await else { return };
    assert_eq!(first["headers"]["content-encoding"], "gzip");
    assert_eq!(first["headers"]["api-key"], "k3y");
    golden("cumulative-first", &first);
    golden("cumulative-second", &second);
}

#[tokio::test]
async fn delta_with_exponential_histograms() {
    let otlp = "temporality = \"delta\"\nhistogram = \"exponential\"\ncompression = \"none\"";
    let Some([first, second]) = sent(otlp).await else { return };
    assert!(first["headers"].get("content-encoding").is_none());
    golden("delta-first", &first);
    golden("delta-second", &second);
}

#[tokio::test]
async fn what_is_not_taken_is_counted() {
    let answer = json!({ "rejected": 3, "error": "too old" });
    let Some(decoder) = Decoder::start(&answer) else { return };
    let mut running = Running::start(exporter(&decoder.url(), ""), full());
    assert_eq!(running.taken().await.rejected, 3);
}

#[tokio::test]
async fn a_collector_of_others_takes_the_stream() {
    for (otlp, temporality, histogram) in [
        ("", "TEMPORALITY_CUMULATIVE", "DataType: Histogram"),
        (
            "temporality = \"delta\"\nhistogram = \"exponential\"",
            "TEMPORALITY_DELTA",
            "DataType: ExponentialHistogram",
        ),
    ] {
        let Some(rotel) = Rotel::start() else { return };
        let mut running = Running::start(exporter(&rotel.url(), otlp), full());
        assert_eq!(running.taken().await.rejected, 0, "it answered 200 and took all");
        assert_eq!(running.end(later()).await.rejected, 0);
        rotel.until("both batches", |log| log.matches("health.heartbeat_age").count() == 2);
        rotel.until("the last one whole", |log| log.contains("process.unix.file_descriptor.count"));
        rotel.until("its shape", |log| log.contains(temporality) && log.contains(histogram));
    }
}
