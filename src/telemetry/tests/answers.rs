//! What collectors answer, and what becomes of it.

use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use prost::Message;

use super::loaded;
use crate::engine::{Boot, Now, Wall};
use crate::outbound::Clients;
use crate::outbound::tests::receiver::{Receiver, Reply, block};
use crate::telemetry::receivers;
use crate::telemetry::wire::{Batch, Taken};

/// What a collector at `url` made of measurements, and of what they were made.
fn posted(collector: &Receiver) -> (Taken, Batch) {
    let text = format!("[otlp]\nproxy = false\nendpoint = \"{}\"", collector.url(""));
    let mut loaded = loaded(&text, Default::default());
    let made = receivers(&loaded.config, &mut Clients::default(), &mut loaded.sink);
    let wire = &made.exporters[0].wire;
    let resource = Resource::builder_empty().build();
    let batch = wire.metrics(&ResourceMetrics::default(), &resource).unwrap();
    let now = Now { boot: Boot(1), wall: Wall(1) };
    (block(async { wire.post(&batch, now).await }).unwrap(), batch)
}

#[test]
fn a_long_reason_hides_nothing_of_what_was_refused() {
    let answer = ExportMetricsServiceResponse {
        partial_success: Some(ExportMetricsPartialSuccess {
            rejected_data_points: 7,
            error_message: "series 17: the sample is too old; ".repeat(500),
        }),
    };
    let body = answer.encode_to_vec();
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let collector = Receiver::new([Reply::Bytes([head.into_bytes(), body].concat())]);
    let (taken, _) = posted(&collector);
    assert_eq!(taken.rejected, 7);
    let note = taken.note.unwrap();
    assert!(note.starts_with("series 17: ") && note.chars().count() < 300, "{note}");
}

#[test]
fn what_waits_takes_no_more_room_than_it_counts_for() {
    let collector = Receiver::new([Reply::new("200 OK", "")]);
    let (_, batch) = posted(&collector);
    let length = batch.body.len();
    let room = batch.body.try_into_mut().unwrap().capacity();
    assert_eq!(room, length);
}
