//! Which units matter to whom: named exactly, by a glob, or by nobody.

use std::collections::HashSet;
use std::sync::Arc;

use crate::engine::rules::UnitPattern;

/// What is to be watched.
#[derive(Debug, Clone, Default)]
pub struct UnitsWatch {
    /// Units named exactly: each of their changes is sent, and that they are not there is said.
    pub exact: Vec<Arc<str>>,
    /// Globs: each change of each unit that fits is sent.
    pub globs: Vec<UnitPattern>,
    /// Also send units that nobody named, while they fail and until they are well again.
    pub all_failed: bool,
    /// Units left out of `all_failed`.
    pub ignore: Vec<UnitPattern>,
    /// Units of which something is still kept from before: each is sent once at the start,
    /// whatever its state, so that what was open can be closed.
    pub also: Vec<Arc<str>>,
}

/// The same, quick to ask.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) config: UnitsWatch,
    exact: HashSet<Arc<str>>,
}

impl Watch {
    pub(super) fn new(config: UnitsWatch) -> Self {
        let exact = config.exact.iter().cloned().collect();
        Self { config, exact }
    }

    /// Named by its own name.
    pub(super) fn exact(&self, name: &str) -> bool {
        self.exact.contains(name)
    }

    /// Named by a glob.
    pub(super) fn by_glob(&self, name: &str) -> bool {
        self.config.globs.iter().any(|glob| glob.matches(name))
    }

    /// Sent when it fails although nobody named it.
    pub(super) fn on_failure(&self, name: &str) -> bool {
        self.config.all_failed && !self.config.ignore.iter().any(|p| p.matches(name))
    }
}
