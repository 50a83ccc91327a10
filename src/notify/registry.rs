//! From a configuration's `[[channel]]` sections to channels: each kind reads its own keys.

use std::sync::Arc;

use super::{Channel, Clients, KINDS, Reading};
use crate::config::{ChannelSection, Outbound, Sink};

/// Makes the channels of a configuration, which reach the network as `outbound` says; what is wrong
/// with a section goes into the sink.
pub fn channels(
    sections: &[ChannelSection],
    outbound: &Outbound,
    sink: &mut Sink,
) -> Vec<Arc<dyn Channel>> {
    let mut clients = Clients::new(outbound.clone());
    sections.iter().filter_map(|section| channel(section, &mut clients, sink)).collect()
}

fn channel(
    section: &ChannelSection,
    clients: &mut Clients,
    sink: &mut Sink,
) -> Option<Arc<dyn Channel>> {
    let Some(kind) = KINDS.iter().find(|kind| section.kind == kind.name) else {
        let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        section.unknown_kind(&known, sink);
        return None;
    };
    (kind.read)(&mut Reading { section, clients, sink })
}
