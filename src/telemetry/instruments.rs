//! Measurements of a snapshot by OpenTelemetry's instruments. The lists of them are in `units`,
//! `containers`, `system` and `own`, what an entry says in `spec`. Nothing is sampled here: when measurements
//! are due, the instruments read the last snapshot.

mod containers;
mod own;
mod rise;
mod spec;
mod system;
mod units;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use opentelemetry::metrics::{Histogram, Meter, MeterProvider};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{
    Aggregation, Instrument, InstrumentKind, ManualReader, Pipeline, SdkMeterProvider, Stream,
    Temporality,
};

use crate::engine::Snapshot;

use rise::Rises;
use spec::{Kind, Number, Spec};

/// Of latencies, in seconds: from what a chat takes to what an outage of an hour takes.
const BOUNDARIES: [f64; 15] =
    [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];

/// Every instrument there is.
fn all() -> impl Iterator<Item = &'static Spec> {
    units::ALL.iter().chain(containers::ALL).chain(system::ALL).chain(own::ALL)
}

/// Every instrument, as a section of `docs/metrics.md`.
pub fn document() -> String {
    let head = "## What is sent by OTLP and to Application Insights\n\n\
                Beyond the most series of an instrument, the rest of a counter is added \
                up as one with the attribute `otel.metric.overflow`; of other instruments one of \
                the rest stands there. What else is sent with each, and as whom: \
                [telemetry.md](telemetry.md).\n\n\
                | name | kind | unit | attributes | what it says | series |\n\
                |---|---|---|---|---|---|\n";
    all().map(Spec::row).fold(head.to_owned(), |table, row| table + &row)
}

/// All instruments, and who reads them.
pub(super) struct Instruments {
    reader: Shared,
    /// Holds the instruments.
    _provider: SdkMeterProvider,
    /// What they observe.
    picture: Arc<Mutex<Picture>>,
    /// How long messages took.
    latency: Histogram<f64>,
    /// How many messages each channel had delivered; `None` before the first snapshot.
    delivered: Option<BTreeMap<Arc<str>, u64>>,
}

/// What instruments observe.
struct Picture {
    snapshot: Option<Arc<Snapshot>>,
    /// What each counter has risen by, by name.
    rises: BTreeMap<&'static str, Rises>,
}

impl Picture {
    fn see(&mut self, snapshot: &Snapshot) {
        for spec in all() {
            if let Some(rises) = self.rises.get_mut(spec.name) {
                rises.next();
                (spec.fill)(snapshot, &mut |value, attributes| {
                    if value.is_finite() {
                        rises.see(value, attributes);
                    }
                });
                rises.done();
            }
        }
    }

    fn observe(&self, spec: &Spec, mut observe: impl FnMut(f64, &[KeyValue])) {
        match (self.rises.get(spec.name), &self.snapshot) {
            (Some(rises), _) => rises.present().for_each(|(a, total)| observe(total, a)),
            (None, Some(snapshot)) => (spec.fill)(snapshot, &mut |value, attributes| {
                // As a whole number, what is none would be 0.
                if value.is_finite() {
                    observe(value, attributes);
                }
            }),
            (None, None) => {}
        }
    }
}

/// The SDK owns its reader; this one is read from outside.
#[derive(Clone)]
struct Shared(Arc<ManualReader>);

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

impl MetricReader for Shared {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, rm: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(rm)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}

impl Instruments {
    /// Instruments that nothing has been observed with yet.
    pub(super) fn new(temporality: Temporality, exponential: bool) -> Self {
        let reader =
            Shared(Arc::new(ManualReader::builder().with_temporality(temporality).build()));
        let provider = SdkMeterProvider::builder()
            .with_resource(Resource::builder_empty().build())
            .with_reader(reader.clone())
            .with_view(move |instrument: &Instrument| view(instrument, exponential))
            .build();
        let rises = all().filter_map(|spec| match spec.kind {
            Kind::Counter(beginning) => {
                Some((spec.name, Rises::new(beginning, spec.bound.limit())))
            }
            _ => None,
        });
        let picture = Picture { snapshot: None, rises: rises.collect() };
        let picture = Arc::new(Mutex::new(picture));
        let scope = InstrumentationScope::builder("keepwell")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        let meter = provider.meter_with_scope(scope);
        for spec in all().filter(|spec| spec.kind != Kind::Histogram) {
            register(&meter, spec, &picture);
        }
        let latency = all().find(|spec| spec.name == own::LATENCY);
        let (unit, help) = latency.map(|spec| (spec.unit, spec.help)).unwrap_or_default();
        let latency =
            meter.f64_histogram(own::LATENCY).with_unit(unit).with_description(help).build();
        Self { reader, _provider: provider, picture, latency, delivered: None }
    }

    /// Records what passes from snapshot to snapshot and would be lost between two collections:
    /// how long messages took. It is called for each snapshot, so it looks at nothing else.
    pub(super) fn saw(&mut self, snapshot: &Snapshot) {
        for channel in &snapshot.channels {
            let Some(delivered) = &self.delivered else { break };
            let before = delivered.get(&channel.name).copied().unwrap_or(0);
            // Of several within one snapshot only the last one's time is known.
            if let Some(took) = channel.last_latency.filter(|_| channel.sent > before) {
                self.latency.record(took as f64 / 1e6, &own::of_channel(channel));
            }
        }
        let delivered = snapshot.channels.iter().map(|c| (c.name.clone(), c.sent));
        self.delivered = Some(delivered.collect());
    }

    /// What there is to tell now.
    ///
    /// # Errors
    /// In words.
    pub(super) fn collect(&mut self, snapshot: Arc<Snapshot>) -> Result<ResourceMetrics, String> {
        self.saw(&snapshot);
        let mut picture = self.picture.lock().unwrap_or_else(PoisonError::into_inner);
        picture.see(&snapshot);
        picture.snapshot = Some(snapshot);
        drop(picture);
        let mut metrics = ResourceMetrics::default();
        self.reader.collect(&mut metrics).map_err(|error| error.to_string())?;
        Ok(metrics)
    }
}

/// How many series an instrument may have, and the shape of histograms.
fn view(instrument: &Instrument, exponential: bool) -> Option<Stream> {
    let spec = all().find(|spec| spec.name == instrument.name())?;
    let mut stream = Stream::builder().with_cardinality_limit(spec.bound.limit());
    if spec.kind == Kind::Histogram {
        stream = stream.with_aggregation(if exponential {
            // The SDK's own defaults: at most 160 buckets, as fine as they can be.
            Aggregation::Base2ExponentialHistogram {
                max_size: 160,
                max_scale: 20,
                record_min_max: true,
            }
        } else {
            Aggregation::ExplicitBucketHistogram {
                boundaries: BOUNDARIES.to_vec(),
                record_min_max: true,
            }
        });
    }
    stream.build().ok()
}

/// Makes an instrument that reads the picture.
fn register(meter: &Meter, spec: &'static Spec, picture: &Arc<Mutex<Picture>>) {
    let picture = picture.clone();
    macro_rules! observable {
        ($make:ident, $number:ty) => {{
            // The handle need not be kept: the provider has the callback.
            meter
                .$make(spec.name)
                .with_unit(spec.unit)
                .with_description(spec.help)
                .with_callback(move |observer| {
                    let picture = picture.lock().unwrap_or_else(PoisonError::into_inner);
                    picture.observe(spec, |value, attributes| {
                        observer.observe(value as $number, attributes);
                    });
                })
                .build();
        }};
    }
    match (spec.kind, spec.number) {
        (Kind::Gauge, Number::Real) => observable!(f64_observable_gauge, f64),
        (Kind::Gauge, Number::Whole) => observable!(u64_observable_gauge, u64),
        (Kind::UpDownCounter, Number::Real) => {
            observable!(f64_observable_up_down_counter, f64);
        }
        (Kind::UpDownCounter, Number::Whole) => {
            observable!(i64_observable_up_down_counter, i64);
        }
        (Kind::Counter(_), Number::Real) => observable!(f64_observable_counter, f64),
        (Kind::Counter(_), Number::Whole) => observable!(u64_observable_counter, u64),
        (Kind::Histogram, _) => {}
    }
}
