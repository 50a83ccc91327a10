//! Containers, and the hooks that are told of their life.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Backoff, Confirm, CrashLoop, Levels};
use crate::engine::observation::ContainerSeen;
use crate::engine::words::Severity;

/// How containers are treated.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerRules {
    /// No container engine is watched at all.
    pub off: bool,
    /// Also report containers that nobody named when they go down (on by default).
    pub all: bool,
    /// Left out of `all`.
    pub ignore: Vec<glob::Pattern>,
    /// Named ones; an exact name beats the rest, then the first that fits.
    pub list: Vec<ContainerRule>,
    /// What those get that nobody named, and what labels change.
    pub default: ContainerRule,
    /// How long a repeat of the same alert about a container is muted.
    pub cooldown: Duration,
    /// A container's own labels (`keepwell.restart` and others) count.
    pub labels: bool,
    /// None is restarted, whatever rules and labels say: nobody asked for it.
    pub look_only: bool,
}

impl Default for ContainerRules {
    fn default() -> Self {
        Self {
            off: false,
            all: true,
            ignore: Vec::new(),
            list: Vec::new(),
            default: ContainerRule::new(Selector::default()),
            cooldown: Duration::from_secs(5 * 60),
            labels: true,
            look_only: false,
        }
    }
}

/// Which containers: all that is said must fit.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Selector {
    /// By name, as a glob; `None`: any.
    pub name: Option<glob::Pattern>,
    /// By image as it was asked for, as a glob.
    pub image: Option<glob::Pattern>,
    /// By labels: each must be there, with a value that fits the glob.
    pub labels: BTreeMap<String, glob::Pattern>,
}

impl Selector {
    /// Whether it fits a container of this name, image and labels.
    pub fn matches(&self, name: &str, image: &str, labels: &BTreeMap<String, String>) -> bool {
        self.name.as_ref().is_none_or(|glob| glob.matches(name))
            && self.image.as_ref().is_none_or(|glob| glob.matches(image))
            && self
                .labels
                .iter()
                .all(|(key, glob)| labels.get(key).is_some_and(|value| glob.matches(value)))
    }

    /// The name, where it is said and is no glob.
    pub fn exact(&self) -> Option<&str> {
        let name = self.name.as_ref()?.as_str();
        (!name.contains(['*', '?', '['])).then_some(name)
    }
}

/// In words, the same for those that mean the same: `web*, project shop`.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.iter().map(|name| name.to_string());
        let image = self.image.iter().map(|image| format!("image {image}"));
        let labels = self.labels.iter().map(|(key, value)| match key.as_str() {
            "com.docker.compose.project" => format!("project {value}"),
            "com.docker.compose.service" => format!("service {value}"),
            key => format!("label {key}={value}"),
        });
        f.write_str(&name.chain(image).chain(labels).collect::<Vec<_>>().join(", "))
    }
}

/// How some containers are treated.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerRule {
    /// Which.
    pub who: Selector,
    /// Restart one that is down or unhealthy (off by default).
    pub restart: bool,
    /// It must be running: also an end without an error is a fault; and what is wrong with it is
    /// critical where `severity` does not say otherwise.
    pub required: bool,
    /// How bad it is when it is down; `None`: critical when required, else warning.
    pub severity: Option<Severity>,
    /// When to restart.
    pub backoff: Backoff,
    /// When restarts are too many.
    pub restart_loop: CrashLoop,
    /// When its being down counts. An unhealthy one counts at once: its engine has asked often
    /// enough already.
    pub confirm: Confirm,
    /// Memory in use, as a part of its limit, or of the host's where it has none.
    pub memory: Levels,
    /// Processors in use, as a part of its limit, or of the host's where it has none.
    pub cpu: Levels,
}

impl ContainerRule {
    /// What a container gets of which nothing else is said.
    pub fn new(who: Selector) -> Self {
        Self {
            who,
            restart: false,
            required: false,
            severity: None,
            backoff: Backoff::default(),
            restart_loop: CrashLoop { max: 3, window: Duration::from_secs(300) },
            confirm: Confirm { lasting: Duration::from_secs(60), ..Confirm::default() },
            memory: Levels::of(Some(0.90), None, Duration::from_secs(120)),
            cpu: Levels::of(None, None, Duration::from_secs(120)),
        }
    }

    /// How bad it is when it is down.
    pub fn severity(&self) -> Severity {
        let usual = if self.required { Severity::Critical } else { Severity::Warning };
        self.severity.unwrap_or(usual)
    }
}

impl ContainerRules {
    /// Whether a configuration says anything about single containers.
    pub fn names_any(&self) -> bool {
        !self.list.is_empty()
    }

    /// The rule of a container that somebody named.
    pub fn named(&self, seen: &ContainerSeen) -> Option<&ContainerRule> {
        let fits = |rule: &&ContainerRule| rule.who.matches(&seen.name, &seen.image, &seen.labels);
        let exact = |rule: &&ContainerRule| rule.who.exact() == Some(&*seen.name);
        self.list
            .iter()
            .find(|rule| exact(rule) && fits(rule))
            .or_else(|| self.list.iter().find(fits))
    }
}

/// A service that is told of the life of containers, as far as the engine cares.
#[derive(Debug, Clone, PartialEq)]
pub struct HookRule {
    /// Its name.
    pub name: Arc<str>,
    /// Its type, such as `discovery`.
    pub kind: Arc<str>,
    /// Of what it is told.
    pub events: BTreeSet<crate::engine::hook::Transition>,
    /// Of which containers; empty: all. One that fits is enough.
    pub who: Vec<Selector>,
    /// Stands for where it tells: another receiver has heard of nothing. Empty: not known.
    pub receiver: Arc<str>,
}
