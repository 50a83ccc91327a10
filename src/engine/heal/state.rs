//! The restart state: which step of the backoff, what is under way, when is next.
//!
//! ```text
//!            down                due                done               stayed up
//!  Idle ───────────▶ Waiting ──────────▶ Acting ──────────▶ Verifying ──────────▶ Up
//!   ▲                 ▲   │ came up       │ failed            │ down again         │ │
//!   │                 │   └───────────────┼───────────────────┼───────────────────▶│ │ down again
//!   │                 └───────────────────┴───────────────────┴────────────────────┼─┘
//!   └──────────────────────────────── stable ──────────────────────────────────────┘
//! ```
//! The step rises with each attempt and goes back to 0 only from `Up`, after the stable time.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::rules::Backoff;
use crate::engine::saved::{Moment, Phase, RestartRecord};
use crate::engine::time::{Boot, Now};

/// An outcome must come within this; the action itself gives up earlier.
pub(in crate::engine) const ACT_LIMIT: Duration = Duration::from_secs(600);

/// The restart state.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Healing {
    pub(in crate::engine) record: RestartRecord,
}

impl Healing {
    /// From what was saved. A restart that was under way when keepwell ended may or may not have
    /// been made: it counts as made, and must prove itself.
    pub(in crate::engine) fn new(saved: Option<RestartRecord>) -> Self {
        let mut record = saved.unwrap_or(RestartRecord {
            step: 0,
            phase: Phase::Idle,
            last_attempt: None,
            last_invocation: None,
            total: 0,
        });
        if let Phase::Acting { since } = record.phase {
            record.phase = Phase::Verifying { until: since };
        }
        Self { record }
    }

    /// Nothing that is worth keeping.
    pub(in crate::engine) fn is_blank(&self) -> bool {
        self.record.step == 0 && self.record.phase == Phase::Idle && self.record.total == 0
    }

    /// When the phase is due, by this boot's clock.
    pub(in crate::engine) fn due(
        &self,
        backoff: &Backoff,
        boot_id: &str,
        now: Now,
    ) -> Option<Boot> {
        let (moment, longest) = match &self.record.phase {
            Phase::Idle | Phase::GaveUp => return None,
            Phase::Waiting { at } => (at, backoff.delay(self.record.step)),
            Phase::Acting { since } => (since, ACT_LIMIT),
            Phase::Verifying { until } => (until, backoff.verify()),
            Phase::Up { stable_at } => (stable_at, backoff.stable()),
        };
        Some(moment.in_boot(boot_id, now, longest))
    }

    /// It is down: plans the next attempt. `None` when one is planned already.
    pub(in crate::engine) fn plan(
        &mut self,
        backoff: &Backoff,
        boot_id: &Arc<str>,
        now: Now,
        at_once: bool,
    ) -> Option<Boot> {
        if let Phase::Waiting { .. } = self.record.phase {
            // Planned before keepwell came up, and due meanwhile: the timer may have passed unheard.
            let due = self.due(backoff, boot_id, now)?;
            return (at_once || due <= now.boot).then_some(now.boot);
        }
        let wait = if at_once { Duration::ZERO } else { backoff.delay(self.record.step) };
        self.record.phase = Phase::Waiting { at: moment(boot_id, now.after(wait)) };
        Some(now.boot.after(wait))
    }

    /// An attempt is made.
    pub(in crate::engine) fn act(&mut self, boot_id: &Arc<str>, now: Now) {
        self.record.step = self.record.step.saturating_add(1);
        self.record.last_attempt = Some(now.wall);
        self.record.phase = Phase::Acting { since: moment(boot_id, now) };
    }

    /// The attempt was not made after all.
    pub(in crate::engine) fn not_made(&mut self) {
        self.record.step = self.record.step.saturating_sub(1);
    }

    /// It has been restarted; now it must stay up.
    pub(in crate::engine) fn verify(&mut self, backoff: &Backoff, boot_id: &Arc<str>, now: Now) {
        self.record.total += 1;
        self.record.phase =
            Phase::Verifying { until: moment(boot_id, now.after(backoff.verify())) };
    }

    /// It is up (`active`), or stopped on purpose: in both cases nothing is to be restarted, and
    /// the backoff starts afresh after the stable time.
    pub(in crate::engine) fn up(
        &mut self,
        active: bool,
        backoff: &Backoff,
        boot_id: &Arc<str>,
        now: Now,
    ) {
        self.record.phase = if self.record.step == 0 || !active {
            Phase::Idle
        } else {
            Phase::Up { stable_at: moment(boot_id, now.after(backoff.stable())) }
        };
        if !active {
            self.record.step = 0;
        }
    }

    /// It has been stable.
    pub(in crate::engine) fn reset(&mut self) {
        self.record.step = 0;
        self.record.phase = Phase::Idle;
        self.record.last_invocation = None;
    }
}

fn moment(boot_id: &Arc<str>, at: Now) -> Moment {
    Moment { boot_id: boot_id.clone(), boottime: at.boot, wall: at.wall }
}
