//! Events of a container engine: what one line of the stream says.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::engine::Wall;
use crate::engine::observation::{ContainerWhat, Health};

use super::model::{Lax, health, signal};
use super::plain;

/// What is asked for. The words are beginnings: `health_status` lets `health_status: healthy`
/// through. The checks themselves (`exec_...`) would be most of the stream.
pub(super) const ASKED: [&str; 15] = [
    "create",
    "start",
    "kill",
    "oom",
    "die",
    "died",
    "stop",
    "restart",
    "health_status",
    "pause",
    "unpause",
    "rename",
    "update",
    "destroy",
    "remove",
];

/// One event of a container.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// The container.
    pub id: String,
    /// Its name at that time.
    pub name: String,
    /// Its image.
    pub image: String,
    /// When, by the engine's clock.
    pub at: Wall,
    /// What; `None`: something that only a look at the container can tell.
    pub what: Option<ContainerWhat>,
    /// What Podman says of a health check: before 5 what the one before it found.
    pub health: Option<Health>,
    /// Its labels, where the engine sends them with this event.
    pub labels: BTreeMap<String, String>,
}

/// What an engine says in an event beside the labels; a label of such a name is not told apart.
const OWN: [&str; 10] = [
    "name",
    "oldName",
    "image",
    "signal",
    "exitCode",
    "execDuration",
    "execID",
    "podId",
    "containerExitCode",
    "containerInspectData",
];

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    #[serde(rename = "Type")]
    kind: Lax<String>,
    #[serde(rename = "Action")]
    action: Lax<String>,
    #[serde(rename = "Actor")]
    actor: Lax<Actor>,
    status: Lax<String>,
    id: Lax<String>,
    from: Lax<String>,
    time: Lax<i64>,
    #[serde(rename = "timeNano")]
    time_nano: Lax<i64>,
    #[serde(rename = "HealthStatus")]
    health: Lax<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Actor {
    #[serde(rename = "ID")]
    id: Lax<String>,
    #[serde(rename = "Attributes")]
    attributes: Lax<BTreeMap<String, Lax<String>>>,
}

/// What one line says; `Ok(None)`: nothing that matters here.
///
/// # Errors
/// When the line is no event.
pub(super) fn heard(line: &[u8], podman: bool) -> Result<Option<Heard>, serde_json::Error> {
    let line: Line = serde_json::from_slice(line)?;
    if line.kind.seen().is_some_and(|kind| kind != "container") {
        return Ok(None);
    }
    let Some(action) = line.action.get().or(line.status.get()) else { return Ok(None) };
    let actor = line.actor.or_default();
    let Some(id) = actor.id.get().or(line.id.get()).filter(|id| plain::is_id(id)) else {
        return Ok(None);
    };
    let mut attributes = actor.attributes.or_default();
    let mut attribute = |name: &str| attributes.remove(name).and_then(Lax::get);
    let what = match action.as_str() {
        "create" => Some(ContainerWhat::Created),
        "start" => Some(ContainerWhat::Started),
        // Podman does not say which signal; `podman kill` sends SIGKILL unless told otherwise.
        "kill" => {
            let number = attribute("signal").and_then(|text| signal(&text)).unwrap_or(9);
            Some(ContainerWhat::Killed { signal: number })
        }
        "oom" => Some(ContainerWhat::OutOfMemory),
        "die" | "died" => {
            let code = attribute("exitCode").or_else(|| attribute("containerExitCode"));
            let code = code.and_then(|text| text.parse::<i64>().ok()).unwrap_or_default();
            Some(ContainerWhat::Died { exit_code: code as i32 })
        }
        "stop" => Some(ContainerWhat::Stopped),
        // Podman says so of restarts by policy too, and before the start.
        "restart" if podman => None,
        "restart" => Some(ContainerWhat::Restarted),
        "pause" => Some(ContainerWhat::Paused),
        "unpause" => Some(ContainerWhat::Unpaused),
        "rename" => Some(ContainerWhat::Renamed),
        "destroy" | "remove" => Some(ContainerWhat::Removed),
        // Podman tells of every check.
        "health_status" | "update" => None,
        other => match other.strip_prefix("health_status: ").and_then(health) {
            Some(health) => Some(ContainerWhat::Health(health)),
            None => return Ok(None),
        },
    };
    let micros = match line.time_nano.get().filter(|nanos| *nanos > 0) {
        Some(nanos) => nanos / 1000,
        None => line.time.or_default().saturating_mul(1_000_000),
    };
    let name = attribute("name").unwrap_or_default();
    let image = plain::short(&attribute("image").or(line.from.get()).unwrap_or_default());
    let name = plain::name(name.strip_prefix('/').unwrap_or(&name), &id).to_owned();
    let labels = attributes.into_iter().filter(|(key, _)| !OWN.contains(&key.as_str()));
    let labels = labels.filter_map(|(key, value)| Some((key, value.get()?))).collect();
    let labels = plain::labels(labels);
    let health = line.health.seen().and_then(|text| health(text));
    Ok(Some(Heard { id, name, image, at: Wall(micros), what, health, labels }))
}
