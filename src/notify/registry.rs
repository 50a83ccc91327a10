//! From a configuration's `[[channel]]` sections to channels: each kind reads its own keys.

use std::sync::Arc;

use super::{Channel, Clients, KINDS, Reading};
use crate::config::{ChannelSection, Sink};
use crate::telemetry::Receivers;

/// Makes the channels of a configuration; what is wrong with a section goes into the sink.
pub(crate) fn channels(
    sections: &[ChannelSection],
    receivers: &Receivers,
    clients: &mut Clients,
    sink: &mut Sink,
) -> Vec<Arc<dyn Channel>> {
    sections.iter().filter_map(|section| channel(section, receivers, clients, sink)).collect()
}

fn channel(
    section: &ChannelSection,
    receivers: &Receivers,
    clients: &mut Clients,
    sink: &mut Sink,
) -> Option<Arc<dyn Channel>> {
    let Some(kind) = KINDS.iter().find(|kind| section.kind == kind.name) else {
        let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        section.unknown_kind(&known, sink);
        return None;
    };
    (kind.read)(&mut Reading { section, receivers, clients, sink })
}
