//! Any service, by HTTP: the address, the method and the body are the user's.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::Value;
use minijinja::value::Serde;
use reqwest::header::HeaderValue;
use reqwest::{Method, Url};
use serde_json::json;

use super::billing::timestamp;
use super::receiver::{HEADERS, LIMIT, Receiver, Request, TOKEN, json as written, url_key};
use super::{Hook, Kind, Outgoing};
use crate::config::{HookSection, Key, KeyKind, Reader, Secret, Sink};
use crate::engine::hook::{HookCall, HookContainer, Transition};
use crate::engine::time::{Now, Wall};
use crate::notify::template::content::{self, is_json, valid};
use crate::notify::template::{self, Context, Labels, Set};
use crate::outbound::{self as http, Clients, Retry, SendError};

pub(super) const KIND: Kind = Kind {
    name: "http",
    doc: "Tells any service by HTTP, with a URL and a body of your own",
    keys: &[
        url_key(
            "\"https://example.org/containers/{{ container.id }}/{{ event }}\"",
            "Where to, https:// or http://; behind the host it is a template. Required.",
        ),
        Key {
            name: "method",
            kind: KeyKind::OneOf(&["POST", "PUT", "PATCH", "DELETE", "GET"]),
            default: "\"POST\"",
            example: "\"PUT\"",
            doc: "The method of the request; GET and DELETE have no body.",
        },
        TOKEN,
        HEADERS,
        Key {
            name: "template",
            kind: KeyKind::Table(TEMPLATE),
            default: "",
            example: "",
            doc: "A body of your own instead.",
        },
        LIMIT,
        http::CA,
        http::PROXY,
    ],
    events: Transition::ALL,
    read,
};

const TEMPLATE: &[Key] = &[
    template::key("body", "\"{\\\"text\\\": {{ container.name | json }}}\"", "What is sent."),
    content::KEY,
];

const METHODS: [(&str, &str); 5] =
    [("POST", "POST"), ("PUT", "PUT"), ("PATCH", "PATCH"), ("DELETE", "DELETE"), ("GET", "GET")];
const URL: &str = "url";
const BODY: &str = "body";

struct Custom {
    /// The template of the URL, by the name [`URL`].
    url: Set,
    method: Method,
    /// The template of the body, by the name [`BODY`], and what it is.
    body: Option<(Set, HeaderValue)>,
}

fn read(section: &HookSection, clients: &mut Clients, sink: &mut Sink) -> Option<Arc<dyn Hook>> {
    let mut reader = section.section.read(sink);
    let receiver = Receiver::read(&mut reader, clients);
    let (url, address) = address(&mut reader).unzip();
    let method = reader.one_of("method", &METHODS).unwrap_or("POST");
    let body = body(&mut reader);
    if body.is_some() && ["GET", "DELETE"].contains(&method) {
        let at = reader.place_of("template");
        reader.sink().error(at, format!("a request with the method {method} has no body"));
    }
    reader.finish();
    // Invariant: the words above are methods.
    let method = Method::from_bytes(method.as_bytes()).unwrap_or(Method::POST);
    let custom = Custom { url: url?, method, body };
    let receiver = receiver?.into_webhook();
    Some(receiver.told(&section.name, address?, move |call| custom.request(call)))
}

/// Reads `url`. The host stands still: what a container says of itself must not choose it.
fn address(reader: &mut Reader<'_>) -> Option<(Set, String)> {
    reader.require("url", "\"https://example.org/{{ container.id }}\"");
    let secret = reader.secret("url").filter(Secret::is_resolved)?;
    let at = reader.place_of("url");
    let text = secret.expose().trim();
    let Some(rest) = ["https://", "http://"].iter().find_map(|s| text.strip_prefix(s)) else {
        reader
            .sink()
            .error(at, "`hook.url` must start with https:// or http://")
            .hint("write \"https://example.org/{{ container.id }}\"");
        return None;
    };
    let host = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    if host.contains(['{', '}']) {
        reader
            .sink()
            .error(at, "`hook.url`: the host cannot be a template")
            .hint("templates may stand behind it, as in https://example.org/{{ container.id }}");
        return None;
    }
    let mut set = Set::for_urls();
    let check = |text: &str| parsed(text).map(drop);
    match set.add(URL, text.to_owned(), &check, false, &samples) {
        Ok(()) => Some((set, text.to_owned())),
        Err(fault) => {
            let error = reader.sink().error(at, format!("`hook.url`: {}", fault.text));
            // The URL itself may be a secret.
            if !fault.shows {
                error.hint(fault.hint);
            }
            None
        }
    }
}

/// A URL that leads where it says: `..` would lead out of its part of the path, also when it comes
/// of two values that stand side by side.
fn parsed(text: &str) -> Result<Url, String> {
    let path = text.split(['?', '#']).next().unwrap_or_default();
    if let Some(part) = path.split('/').skip(3).find(|part| [".", ".."].contains(part)) {
        return Err(format!("\"{part}\" cannot be a part of its path"));
    }
    Url::parse(text).map_err(|error| error.to_string())
}

/// Reads `template`: the body, and what it is.
fn body(reader: &mut Reader<'_>) -> Option<(Set, HeaderValue)> {
    let section = reader.table("template")?;
    let mut inner = section.read(reader.sink());
    let content_type = content::read(&mut inner);
    inner.require("body", "\"{{ container.name }}\"");
    let source = template::source(&mut inner, "body");
    let made = source.and_then(|(source, at)| {
        let check = |text: &str| if is_json(&content_type) { valid(text) } else { Ok(()) };
        let mut set = Set::new();
        match set.add(BODY, source, &check, true, &samples) {
            Ok(()) => Some(set),
            Err(fault) => {
                let message = format!("`template.body`: {}", fault.text);
                inner.sink().error(at, message).hint(fault.hint);
                None
            }
        }
    });
    inner.finish();
    Some((made?, content_type))
}

impl Custom {
    fn request(&self, outgoing: &Outgoing) -> Result<Request, SendError> {
        let failed = |what: &str, why: String| SendError {
            retry: Retry::Never,
            text: format!("the template of the {what} failed: {why}"),
        };
        let url = self
            .url
            .render(URL, context(outgoing))
            .map_err(|error| failed("URL", template::words(&error)))?;
        let url = parsed(&url).map_err(|why| failed("URL", why))?;
        let body = match &self.body {
            _ if [Method::GET, Method::DELETE].contains(&self.method) => None,
            None => Some(written(&all(outgoing))?),
            Some((set, content_type)) => {
                let text = set
                    .render(BODY, context(outgoing))
                    .map_err(|error| failed("body", template::words(&error)))?;
                if is_json(content_type) {
                    valid(&text).map_err(|why| failed("body", why))?;
                }
                Some((content_type.clone(), text.into_bytes()))
            }
        };
        Ok(Request { method: self.method.clone(), url, body, known: &[] })
    }
}

/// All that is known of a call. Fields are only ever added.
fn all(outgoing: &Outgoing) -> serde_json::Value {
    let HookCall { hook, transition, at, host, container, .. } = &*outgoing.call;
    json!({
        "event": transition,
        "timestamp": timestamp(*at),
        "host": host,
        "hook": hook,
        "id": outgoing.key,
        "container": {
            "id": container.id,
            "name": container.name,
            "engine": container.engine,
            "image": container.image,
            "port": container.port,
            "cpus": container.cpus,
            "memory": container.memory,
            "labels": container.labels,
            "exit_code": container.exit_code,
        },
    })
}

/// The same for templates, where a label that is not there is empty.
fn context(outgoing: &Outgoing) -> Context {
    let mut all = all(outgoing);
    let mut container = values(all["container"].take());
    let labels = Labels(outgoing.call.container.labels.clone());
    container.insert("labels".into(), Value::from_object(labels));
    let mut context = values(all);
    context.insert("container".into(), Value::from(container));
    context
}

fn values(object: serde_json::Value) -> BTreeMap<String, Value> {
    let serde_json::Value::Object(all) = object else { return BTreeMap::new() };
    all.into_iter().map(|(name, value)| (name, Value::from(Serde(value)))).collect()
}

/// What templates are tried with: one of which all is known, and one of which little is.
fn samples() -> Vec<(&'static str, Context)> {
    let odd = HookContainer {
        id: "4f5a7c10b2d94e6e8a1f0c3b5d7e9f1123456789abcdef0123456789abcdef01".into(),
        name: "web-1".into(),
        engine: "docker".into(),
        image: "registry.example.org:5000/shop/\"web\":1.2".into(),
        port: Some(8000),
        cpus: 0.5,
        memory: 256 << 20,
        labels: [("team".to_owned(), "a \"b\" \\ {c}\nd".to_owned())].into(),
        exit_code: Some(137),
    };
    let bare = HookContainer { id: "0".into(), name: "db".into(), ..HookContainer::default() };
    let of = |transition, container| {
        let call = HookCall {
            id: "h1".into(),
            number: 1,
            hook: "hook".into(),
            transition,
            at: Wall(1_755_587_842_193_000),
            host: "web1".into(),
            container,
        };
        let key = "0011223344556677-h1".into();
        context(&Outgoing { call: Arc::new(call), key, now: Now::default() })
    };
    vec![("died", of(Transition::Died, odd)), ("created", of(Transition::Created, bare))]
}
