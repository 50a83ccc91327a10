//! A discovery service: where each container is, and whether it is up.

use std::sync::Arc;

use reqwest::{Method, Url};
use serde::Serialize;

use super::receiver::{HEADERS, LIMIT, Receiver, Request, TOKEN, json, url, url_key};
use super::{Hook, Kind, Outgoing};
use crate::config::{HookSection, Sink};
use crate::engine::hook::{HookContainer, Transition};
use crate::outbound::{self as http, Clients, Retry, SendError};

pub(super) const KIND: Kind = Kind {
    name: "discovery",
    doc: "Registers containers that run with a discovery service, and takes them out again",
    keys: &[
        url_key(
            "\"http://registry.example.org:8500\"",
            "The service; /registry/endpoints is put behind it. Required.",
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

/// What is registered; the order is part of the contract.
#[derive(Serialize)]
struct Endpoint<'a> {
    id: &'a str,
    image_id: &'a str,
    host: &'a str,
    port: u16,
    caps: Caps,
}

#[derive(Serialize)]
struct Caps {
    cpu: String,
    mem: String,
}

fn read(section: &HookSection, clients: &mut Clients, sink: &mut Sink) -> Option<Arc<dyn Hook>> {
    let mut reader = section.section.read(sink);
    let receiver = Receiver::read(&mut reader, clients);
    let base = url(&mut reader, "\"http://registry.example.org:8500\"");
    reader.finish();
    let (base, receiver) = (base?, receiver?);
    let address = base.to_string();
    Some(receiver.told(&section.name, address, move |call| request(&base, call)))
}

/// `BASE/registry/endpoints`, with what is said further behind it.
fn address(base: &Url, further: &[&str]) -> Url {
    let mut url = base.clone();
    url.set_fragment(None);
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(["registry", "endpoints"]).extend(further);
    }
    url
}

fn request(base: &Url, outgoing: &Outgoing) -> Result<Request, SendError> {
    let call = &outgoing.call;
    let container = &call.container;
    // With such an id a URL would be about all containers.
    if ["", ".", ".."].contains(&&*container.id) {
        let text = format!("\"{}\" is no id of a container", container.id);
        return Err(SendError { retry: Retry::Never, text });
    }
    Ok(match call.transition {
        Transition::Started => {
            let endpoint = Endpoint {
                id: &container.id,
                image_id: &container.image,
                host: &call.host,
                port: container.port.unwrap_or(0),
                caps: caps(container),
            };
            let body = Some(json(&endpoint)?);
            Request { method: Method::POST, url: address(base, &[]), body, known: &[409] }
        }
        Transition::Removed => {
            let url = address(base, &[&container.id]);
            Request { method: Method::DELETE, url, body: None, known: &[404, 410] }
        }
        _ => {
            let mut url = address(base, &[&container.id, "status"]);
            url.query_pairs_mut().append_pair("status", "DOWN");
            Request { method: Method::PUT, url, body: None, known: &[404, 410] }
        }
    })
}

fn caps(container: &HookContainer) -> Caps {
    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * KIB;
    // Engines say it in billionths of a processor.
    let cpus = (container.cpus.max(0.0) * 1e9).round() / 1e9;
    let memory = container.memory;
    let mem = if memory.is_multiple_of(MIB) {
        format!("{}m", memory / MIB)
    } else if memory.is_multiple_of(KIB) {
        format!("{}k", memory / KIB)
    } else {
        memory.to_string()
    };
    Caps { cpu: if cpus.is_finite() { cpus.to_string() } else { "0".into() }, mem }
}
