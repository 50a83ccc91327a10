//! A billing service: when each container began to run, ended and was removed.

use std::sync::Arc;

use reqwest::{Method, Url};
use serde::Serialize;

use super::receiver::{HEADERS, LIMIT, Receiver, Request, TOKEN, json, url, url_key};
use super::{Hook, Kind, Outgoing};
use crate::config::{HookSection, Sink};
use crate::engine::hook::Transition;
use crate::engine::time::Wall;
use crate::outbound::{self as http, Clients, SendError};

pub(super) const KIND: Kind = Kind {
    name: "billing",
    doc: "Posts to a billing service that a container has started, stopped, been removed",
    keys: &[
        url_key(
            "\"http://billing.example.org/events\"",
            "Where events are posted to, used as it is. Required.",
        ),
        TOKEN,
        HEADERS,
        LIMIT,
        http::CA,
        http::PROXY,
    ],
    events: &[Transition::Started, Transition::Stopped, Transition::Died, Transition::Removed],
    read,
};

/// What is posted; the order is part of the contract.
#[derive(Serialize)]
struct Event<'a> {
    event: &'a str,
    container_id: &'a str,
    image: &'a str,
    timestamp: String,
    host: &'a str,
}

fn read(section: &HookSection, clients: &mut Clients, sink: &mut Sink) -> Option<Arc<dyn Hook>> {
    let mut reader = section.section.read(sink);
    let receiver = Receiver::read(&mut reader, clients);
    let url = url(&mut reader, "\"http://billing.example.org/events\"");
    reader.finish();
    let (url, receiver) = (url?, receiver?);
    let address = url.to_string();
    Some(receiver.told(&section.name, address, move |call| request(&url, call)))
}

/// With milliseconds and an offset, as in `2025-08-19T07:17:22.193+00:00`.
pub(super) fn timestamp(at: Wall) -> String {
    at.written("%Y-%m-%dT%H:%M:%S%.3f+00:00")
}

fn request(url: &Url, outgoing: &Outgoing) -> Result<Request, SendError> {
    let call = &outgoing.call;
    let event = Event {
        event: match call.transition {
            // Nobody is charged for how it ended.
            Transition::Died => Transition::Stopped.as_str(),
            other => other.as_str(),
        },
        container_id: &call.container.id,
        image: &call.container.image,
        timestamp: timestamp(call.at),
        host: &call.host,
    };
    let body = Some(json(&event)?);
    Ok(Request { method: Method::POST, url: url.clone(), body, known: &[409] })
}
