//! Something that has become known of a container: what, why, and what hooks call it.

use crate::engine::hook::Transition;
use crate::engine::observation::Health;
use crate::engine::time::Wall;

/// Why it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Somebody wanted it to.
    Person,
    /// keepwell restarts it.
    Ours,
    /// Its engine was away: it took its containers with it.
    Engine,
    /// The kernel killed it for want of memory.
    Memory,
    /// By itself.
    Itself,
}

/// What else was going on.
pub(super) struct Around<'a> {
    /// Whether keepwell was restarting it then.
    pub(super) ours: &'a dyn Fn(Wall) -> bool,
    /// When its engine was last away.
    pub(super) away: Option<(Wall, Wall)>,
}

impl Around<'_> {
    pub(super) fn was_away(&self, at: Wall) -> bool {
        self.away.is_some_and(|(from, to)| at >= from && at <= to)
    }

    /// Whether who asked its engine for something then was a person.
    pub(super) fn by_a_person(&self, at: Wall) -> bool {
        !(self.ours)(at) && !self.was_away(at)
    }
}

/// Something that has become known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Created,
    Started,
    Ended {
        code: Option<i32>,
        why: Why,
    },
    /// The end that is known already was asked for.
    AskedFor,
    Restarting,
    Health(Health),
    Paused,
    Unpaused,
    Removed,
    /// Restarts of which nothing else told.
    Restarts(u32),
    /// A process of it was killed for want of memory.
    Starved,
    /// And it lives on.
    ChildKilled,
}

/// The same, with its time by the container engine's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fact {
    pub(super) at: Wall,
    pub(super) what: What,
}

impl Fact {
    /// What hooks call it.
    pub(super) fn transition(self) -> Option<Transition> {
        Some(match self.what {
            What::Created => Transition::Created,
            What::Started => Transition::Started,
            What::Ended { why: Why::Person, .. } => Transition::Stopped,
            What::Ended { why: Why::Memory, .. } => Transition::Died,
            What::Ended { code, .. } if code.is_none_or(|code| code == 0) => Transition::Stopped,
            What::Ended { .. } => Transition::Died,
            What::Restarting => Transition::Restarting,
            What::Health(Health::Healthy) => Transition::Healthy,
            What::Health(Health::Unhealthy) => Transition::Unhealthy,
            What::Paused => Transition::Paused,
            What::Unpaused => Transition::Unpaused,
            What::Removed => Transition::Removed,
            What::Health(Health::Starting)
            | What::AskedFor
            | What::Restarts(_)
            | What::Starved
            | What::ChildKilled => return None,
        })
    }
}
