//! What the book works with while it handles one event.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::alert::AlertRecord;
use crate::engine::event::Effect;
use crate::engine::quiet::Quiet;
use crate::engine::rules::{ChannelRule, Rules};
use crate::engine::saved::Change;
use crate::engine::time::{Boot, Now};
use crate::engine::timers::Timers;
use crate::engine::words::{CheckId, Reason};

/// What the book works with while it handles one event.
pub(in crate::engine) struct Pen<'a> {
    pub(in crate::engine) rules: &'a Rules,
    pub(in crate::engine) labels: &'a Arc<BTreeMap<String, String>>,
    pub(in crate::engine) timers: &'a mut Timers,
    pub(in crate::engine) effects: &'a mut Vec<Effect>,
    pub(in crate::engine) changes: &'a mut Vec<Change>,
    pub(in crate::engine) quiet: &'a mut Quiet,
    /// Decisions, for the log.
    pub(in crate::engine) log: Vec<(CheckId, Reason, String)>,
    pub(in crate::engine) now: Now,
    /// Ignore cooldowns (`check --force`).
    pub(in crate::engine) force: bool,
    /// Do not wait for more (a one-shot check).
    pub(in crate::engine) eager: bool,
    /// The first round is over, or has taken too long.
    pub(in crate::engine) ready: bool,
    /// When it will have taken too long; `None`: it is waited for.
    pub(in crate::engine) patience: Option<Boot>,
}

impl Pen<'_> {
    pub(super) fn keep(&mut self, record: &AlertRecord) {
        self.changes.push(Change::Alert(record.clone()));
    }

    pub(super) fn log(&mut self, check: &CheckId, reason: Reason, text: impl Into<String>) {
        self.log.push((check.clone(), reason, text.into()));
    }

    pub(super) fn channel(&self, name: &str) -> Option<&ChannelRule> {
        self.rules.channels.iter().find(|c| *c.name == *name)
    }

    pub(super) fn group_wait(&self) -> Duration {
        if self.eager { Duration::ZERO } else { self.rules.alerts.group_wait }
    }
}
