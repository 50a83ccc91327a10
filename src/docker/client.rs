//! The questions that keepwell asks a container engine. Each is a connection of its own; the engine
//! closes what is not used, and a question that hangs holds up no other.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::engine::Wall;

use super::Endpoint;
use super::error::{Call, DockerError};
use super::event::{self, Heard};
use super::lines::{Cut, Lines};
use super::model::{self, InfoBody, Inspected, Lax, Listed, Version};
use super::plain;
use super::stats::Stats;
use super::wire::{self, Answer};

/// The newest API that keepwell knows, as major and minor number.
const API: (u32, u32) = (1, 41);

/// How long an answer may be, in bytes: 10,000 containers are listed within it.
const BODY: usize = 32 * 1024 * 1024;

/// How long an answer about one container may be, in bytes. Many are asked for at a time.
const ONE: usize = 1024 * 1024;

/// How long one event may be; it carries the container's labels.
const EVENT: usize = 512 * 1024;

/// What of a path is written as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Containers that are asked about to know whether they may be looked at at all.
const LOOKS: usize = 8;

/// What a look at one container may take before it counts as allowed: it can hang, and all others
/// be served.
const GLANCE: Duration = Duration::from_secs(1);

/// The id of no container, as ids are random. It has the shape of one: proxies look at that.
const NOBODY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// How long the engine may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// To answer what it knows by heart.
    pub quick: Duration,
    /// To send all of a long answer.
    pub body: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { quick: Duration::from_secs(5), body: Duration::from_secs(15) }
    }
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its version, such as `20.10.24`.
    pub version: String,
    /// It is Podman.
    pub podman: bool,
    /// The API that is spoken with it.
    api: (u32, u32),
    /// The time there, in whole seconds.
    pub time: Option<Wall>,
}

impl Peer {
    /// It tells of a health check what that has found, when it is written down. Podman before 5 does
    /// neither; Docker tells of changes only.
    pub fn tells_health(&self) -> bool {
        self.podman && numbers(&self.version).is_some_and(|(major, _)| major >= 5)
    }
}

/// What the engine's host has, and its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Info {
    /// Processors; 0: not known.
    pub cpus: u32,
    /// Memory in bytes; 0: not known.
    pub memory: u64,
    /// The time there.
    pub time: Option<Wall>,
}

/// Asks one container engine.
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    limits: Limits,
    peer: Mutex<Option<Peer>>,
}

impl Client {
    /// Asks nothing yet.
    pub fn new(endpoint: Endpoint) -> Self {
        Self::with_limits(endpoint, Limits::default())
    }

    /// As [`Client::new`], with other limits.
    pub fn with_limits(endpoint: Endpoint, limits: Limits) -> Self {
        Self { endpoint, limits, peer: Mutex::new(None) }
    }

    /// Which engine.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Asks who is there, and settles on an API that both speak: of an engine that has been
    /// replaced by another version, what was settled before does not count.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn greet(&self) -> Result<Peer, DockerError> {
        let call = Call { what: "the request for its version", allow: "GET /version" };
        let (version, date) = match self.get::<Version>("/version", call, ONE).await {
            Ok(answered) => answered,
            // A proxy may let pings through and nothing else: their head has the version of the API.
            Err(DockerError::Forbidden { .. }) => self.pinged().await?,
            Err(error) => return Err(error),
        };
        let numbers = |field: &Lax<String>| field.seen().and_then(|text| numbers(text));
        let newest = numbers(&version.api_version).unwrap_or(API);
        let oldest = numbers(&version.min_api_version).unwrap_or((1, 24));
        let peer = Peer {
            podman: version.is_podman(),
            version: version.version.get().unwrap_or_else(|| "unknown".into()),
            api: API.min(newest).max(oldest.min(newest)),
            time: date,
        };
        *self.peer.lock().unwrap_or_else(PoisonError::into_inner) = Some(peer.clone());
        Ok(peer)
    }

    async fn pinged(&self) -> Result<(Version, Option<Wall>), DockerError> {
        let answer = self.ping_for_head().await?;
        let podman = answer.header("server").starts_with("Libpod");
        let version = Version::of_ping(answer.header("api-version"), podman);
        Ok((version, model::date(answer.header("date"))))
    }

    /// Asks whether it still answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), DockerError> {
        match self.ping_for_head().await {
            // A proxy that lets no pings through lets this through: it was asked at first.
            Err(DockerError::Forbidden { .. }) => self.greet().await.map(|_| ()),
            answer => answer.map(|_| ()),
        }
    }

    async fn ping_for_head(&self) -> Result<Answer, DockerError> {
        let call = Call { what: "a ping", allow: "GET /_ping" };
        let at = &self.endpoint.address;
        wire::ask(at, Method::GET, "/_ping", call, self.limits.quick).await
    }

    /// What its host has.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn info(&self) -> Result<Info, DockerError> {
        let call = Call { what: "the request about its host", allow: "GET /info" };
        let body: InfoBody = self.ask_for("/info", call, ONE).await?;
        Ok(Info {
            cpus: body.cpus.or_default(),
            memory: body.mem_total.or_default(),
            time: body.system_time.get().and_then(|text| model::time(&text)),
        })
    }

    /// What tells this engine from others, as far as it says: its id; of Podman, which makes up a new
    /// one each time, its host and storage.
    ///
    /// # Errors
    /// When it cannot be asked, or does not say.
    pub async fn identity(&self) -> Result<String, DockerError> {
        let call = Call { what: "the request about its host", allow: "GET /info" };
        let body: InfoBody = self.ask_for("/info", call, ONE).await?;
        let said = if self.is_podman() {
            let host = body.name.get().zip(body.docker_root_dir.get());
            host.map(|(host, storage)| format!("{host}:{storage}"))
        } else {
            body.id.get().filter(|id| !id.is_empty())
        };
        said.ok_or_else(|| DockerError::Unreadable {
            at: self.endpoint.address.to_string(),
            what: call.what,
            why: "it has no id".into(),
        })
    }

    /// The ids of all containers, running or not.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn list(&self) -> Result<Vec<String>, DockerError> {
        let call = Call { what: "the request for its containers", allow: "GET /containers/json" };
        let all: Option<Vec<Lax<Listed>>> =
            self.ask_for("/containers/json?all=1", call, BODY).await?;
        let all = all.unwrap_or_default().into_iter();
        let ids = all.filter_map(|one| one.get()?.id.get());
        Ok(ids.filter(|id| plain::is_id(id)).collect())
    }

    /// One container.
    ///
    /// # Errors
    /// [`DockerError::NotFound`] when it is gone; else when it cannot be asked.
    pub async fn inspect(&self, id: &str) -> Result<Inspected, DockerError> {
        let call = Call { what: "the request for a container", allow: "GET /containers/*/json" };
        self.ask_for(&format!("/containers/{}/json", encoded(id)), call, ONE).await
    }

    /// Whether containers may be looked at, as the first of these tell: a proxy refuses all or none,
    /// an engine with rules of its own may refuse some.
    ///
    /// # Errors
    /// [`DockerError::Forbidden`] when they may not.
    pub async fn may_look(&self, ids: &[String]) -> Result<(), DockerError> {
        let nobody = [NOBODY.to_owned()];
        let ids = if ids.is_empty() { &nobody[..] } else { ids };
        let mut refused = Ok(());
        for id in ids.iter().take(LOOKS) {
            match timeout(GLANCE, self.inspect(id)).await {
                Ok(Err(error @ DockerError::Forbidden { .. })) => refused = Err(error),
                _ => return Ok(()),
            }
        }
        refused
    }

    /// Whether events may be heard. Podman says so only with the first one, where it streams them.
    ///
    /// # Errors
    /// [`DockerError::Forbidden`] when they may not.
    pub async fn may_hear(&self, now: Option<Wall>) -> Result<(), DockerError> {
        let then = match now {
            Some(now) => now,
            // All that there was since then would be much.
            None if self.is_podman() => return Ok(()),
            None => Wall(1_000_000),
        };
        match self.past(then, then).await {
            Err(error @ DockerError::Forbidden { .. }) => Err(error),
            _ => Ok(()),
        }
    }

    /// What is refused of what keepwell can do without, in a word each.
    pub async fn withheld(&self) -> Vec<&'static str> {
        let refused = |error: Option<DockerError>, word| {
            error.filter(|error| matches!(error, DockerError::Forbidden { .. })).map(|_| word)
        };
        let logs = refused(self.open_log(NOBODY, 1, None).await.err(), "logs");
        let usage = refused(self.stats(NOBODY).await.err(), "statistics");
        logs.into_iter().chain(usage).collect()
    }

    /// What one container uses now; a single sample.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn stats(&self, id: &str) -> Result<Stats, DockerError> {
        let call = Call {
            what: "the request for what a container uses",
            allow: "GET /containers/*/stats",
        };
        let path = format!("/containers/{}/stats?stream=false&one-shot=true", encoded(id));
        self.ask_for(&path, call, ONE).await
    }

    /// Restarts a container: stops it in its own way, and starts it. Done when the engine says so.
    ///
    /// # Errors
    /// When it cannot be done.
    pub async fn restart(&self, id: &str, limit: Duration) -> Result<(), DockerError> {
        let call = Call {
            what: "the request to restart a container",
            allow: "POST /containers/*/restart",
        };
        let path = self.path(&format!("/containers/{}/restart", encoded(id))).await?;
        wire::ask(&self.endpoint.address, Method::POST, &path, call, limit).await.map(|_| ())
    }

    /// Whether restarts are let through at all: asks for one of a container that there is none of.
    ///
    /// # Errors
    /// [`DockerError::Forbidden`] when they are not; else when it cannot be asked.
    pub async fn may_restart(&self, limit: Duration) -> Result<(), DockerError> {
        match self.restart(NOBODY, limit).await {
            Err(DockerError::NotFound { .. }) => Ok(()),
            answer => answer,
        }
    }

    /// What happens to containers from now on, and what has happened since `since`.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn events(&self, since: Option<Wall>) -> Result<Events, DockerError> {
        let mut query = String::new();
        if let Some(since) = since {
            query.push_str(&format!("&since={}", seconds(since)));
        }
        self.subscribe(&query, &event::ASKED).await
    }

    /// What has happened to containers since `since` and before `until`, oldest first, as far as
    /// the engine remembers it: Docker keeps its last 256 events.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn past(&self, since: Wall, until: Wall) -> Result<Vec<Heard>, DockerError> {
        // Podman takes `until` for "wait until then and say nothing"; Docker does not know `stream`.
        let podman = self.is_podman();
        let end =
            if podman { "&stream=false".to_owned() } else { format!("&until={}", seconds(until)) };
        // Podman remembers each health check of days, and takes long to hand them all out. How it is
        // now, a look tells.
        let mut asked = event::ASKED.to_vec();
        asked.retain(|word| !podman || *word != "health_status");
        let read = async {
            let mut events =
                self.subscribe(&format!("&since={}{end}", seconds(since)), &asked).await?;
            let mut all = Vec::new();
            loop {
                match events.next().await {
                    Ok(Some(heard)) if heard.at < until => all.push(heard),
                    Ok(_) => {}
                    Err(DockerError::Broken { .. }) if events.ended => return Ok(all),
                    Err(error) => return Err(error),
                }
            }
        };
        let at = self.endpoint.address.to_string();
        let hangs = DockerError::Hangs { at, what: EVENTS.what, limit: self.limits.body };
        timeout(self.limits.body, read).await.unwrap_or(Err(hangs))
    }

    async fn subscribe(&self, query: &str, asked: &[&str]) -> Result<Events, DockerError> {
        let filters = serde_json::json!({ "type": ["container"], "event": asked });
        let filters = utf8_percent_encode(&filters.to_string(), PLAIN).to_string();
        let path = self.path(&format!("/events?filters={filters}{query}")).await?;
        let podman = self.is_podman();
        let stream = if podman {
            // It sends the head with its first event, which may be hours away.
            let address = self.endpoint.address.clone();
            Stream::Asked(Box::pin(async move {
                wire::ask(&address, Method::GET, &path, EVENTS, FOREVER).await
            }))
        } else {
            let (at, limit) = (&self.endpoint.address, self.limits.quick);
            Stream::Open(wire::ask(at, Method::GET, &path, EVENTS, limit).await?)
        };
        Ok(Events::new(stream, podman))
    }

    fn is_podman(&self) -> bool {
        self.with_peer(|peer| peer.podman).unwrap_or_default()
    }

    /// Of who answers, once that is known.
    fn with_peer<T>(&self, of: impl FnOnce(&Peer) -> T) -> Option<T> {
        self.peer.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(of)
    }

    /// The path with the version that both speak before it.
    async fn path(&self, path: &str) -> Result<String, DockerError> {
        let settled = self.with_peer(|peer| peer.api);
        let (major, minor) = match settled {
            Some(api) => api,
            None => self.greet().await?.api,
        };
        Ok(format!("/v{major}.{minor}{path}"))
    }

    /// An answer of at most `most` bytes.
    async fn ask_for<T: DeserializeOwned>(
        &self,
        path: &str,
        call: Call,
        most: usize,
    ) -> Result<T, DockerError> {
        let path = self.path(path).await?;
        self.get(&path, call, most).await.map(|(answered, _)| answered)
    }

    /// Also says when it was answered, by the engine's clock.
    async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        call: Call,
        most: usize,
    ) -> Result<(T, Option<Wall>), DockerError> {
        let answer = self.open(path, call).await?;
        let date = model::date(answer.header("date"));
        let body = answer.whole(most, self.limits.body).await?;
        match serde_json::from_slice(&body) {
            Ok(answered) => Ok((answered, date)),
            Err(error) => {
                let at = self.endpoint.address.to_string();
                Err(DockerError::Unreadable { at, what: call.what, why: error.to_string() })
            }
        }
    }

    async fn open(&self, path: &str, call: Call) -> Result<Answer, DockerError> {
        // The engine may have to read much before it begins to answer.
        wire::ask(&self.endpoint.address, Method::GET, path, call, self.limits.body).await
    }

    /// Opens a container's log: the lines since `since`, at most `lines` of them.
    pub(super) async fn open_log(
        &self,
        id: &str,
        lines: usize,
        since: Option<Wall>,
    ) -> Result<Answer, DockerError> {
        let since = since.map(|at| format!("&since={}", seconds(at))).unwrap_or_default();
        let query = format!("stdout=1&stderr=1&timestamps=1&tail={lines}{since}");
        let path = self.path(&format!("/containers/{}/logs?{query}", encoded(id))).await?;
        let call =
            Call { what: "the request for a container's log", allow: "GET /containers/*/logs" };
        self.open(&path, call).await
    }
}

const EVENTS: Call = Call { what: "the request for its events", allow: "GET /events" };

/// Longer than any stream lasts.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

enum Stream {
    Asked(std::pin::Pin<Box<dyn Future<Output = Result<Answer, DockerError>> + Send>>),
    Open(Answer),
}

/// The events of an engine as they happen.
pub struct Events {
    stream: Stream,
    podman: bool,
    lines: Lines,
    waiting: std::collections::VecDeque<Cut>,
    /// The engine has ended the stream in an orderly way.
    ended: bool,
}

impl Events {
    fn new(stream: Stream, podman: bool) -> Self {
        let waiting = Default::default();
        Self { stream, podman, lines: Lines::new(EVENT), waiting, ended: false }
    }

    /// The next event; `None`: there was one that cannot be read. Cancel safe.
    ///
    /// # Errors
    /// When the stream has ended.
    pub async fn next(&mut self) -> Result<Option<Heard>, DockerError> {
        loop {
            while let Some(cut) = self.waiting.pop_front() {
                let Cut::Line(line) = cut else { return Ok(None) };
                match event::heard(&line, self.podman) {
                    Ok(Some(heard)) => return Ok(Some(heard)),
                    Ok(None) => {}
                    Err(_) => return Ok(None),
                }
            }
            let answer = match &mut self.stream {
                Stream::Open(answer) => answer,
                Stream::Asked(asked) => {
                    let answer = asked.as_mut().await?;
                    self.stream = Stream::Open(answer);
                    continue;
                }
            };
            match answer.next().await {
                Some(piece) => {
                    let waiting = &mut self.waiting;
                    self.lines.take(&piece?, |cut| waiting.push_back(cut));
                }
                None => {
                    self.ended = true;
                    return Err(answer.broken("it ended the stream".into()));
                }
            }
        }
    }
}

/// `1.41` as two numbers.
fn numbers(text: &str) -> Option<(u32, u32)> {
    let (major, rest) = text.split_once('.')?;
    let minor = rest.split('.').next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// A time as queries have it.
fn seconds(at: Wall) -> String {
    format!("{}.{:06}000", at.0.div_euclid(1_000_000), at.0.rem_euclid(1_000_000))
}

fn encoded(id: &str) -> String {
    utf8_percent_encode(id, PLAIN).to_string()
}

#[cfg(test)]
mod tests;
