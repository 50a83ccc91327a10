//! A restart loop that ends down: its alert goes on, and those who know of it are told so once.

use std::collections::BTreeMap;

use super::{Book, Pen};
use crate::engine::alert::AlertKey;
use crate::engine::time::Wall;
use crate::engine::words::{AlertKind, CheckId, Reason};

impl Book {
    /// The alert in which the state of a check is told: its own, or that of the restart loop after
    /// which it ended down.
    pub(in crate::engine) fn carrier(&self, check: &CheckId) -> AlertKey {
        let key = |kind| AlertKey { check: check.clone(), kind };
        let (state, of_loop) = (key(AlertKind::State), key(AlertKind::CrashLoop));
        let ended = self.reason(&of_loop).is_some_and(|reason| reason != Reason::CrashLoop);
        if ended && !self.is_open(&state) { of_loop } else { state }
    }
}

/// Whether people are to hear that a restart loop has ended down, or did a short while ago.
pub(super) fn down_is_news(
    told: &mut BTreeMap<AlertKey, Wall>,
    check: &CheckId,
    pen: &Pen<'_>,
) -> bool {
    let state = AlertKey { check: check.clone(), kind: AlertKind::State };
    let now = pen.now.wall;
    let news = told.get(&state).is_none_or(|at| now.since(*at) >= pen.rules.cooldown(check));
    if news {
        told.insert(state, now);
    }
    news
}
