//! Kills for want of memory, each told once. The kernel counts them for the whole host; a unit or a
//! container says when one was its own. What leads to an alert of theirs is no news of the host;
//! what they get over without one still is.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::alert::AlertKey;
use super::desk::Desk;
use super::host;
use super::time::Boot;
use super::timers::Timer;
use super::words::{AlertKind, CheckId};

/// Whose a kill was is known this long after the kernel has counted it.
const WHOSE: Duration = Duration::from_secs(5);

/// An alert that opens when its time has come opens within this.
const MOMENT: Duration = Duration::from_secs(5);

/// So many whose kills are not settled are remembered.
const MOST: usize = 256;

/// So many of those whose they were are named.
const NAMED: usize = 3;

/// A unit or a container that lost a process, and by when there is an alert of that or none.
type Claim = (CheckId, Boot);

/// What must be remembered of kills.
#[derive(Debug, Default)]
pub(super) struct Kills {
    counted: Option<u64>,
    /// Since the kernel's count was last read; and whether that was all processes of it at once.
    claims: VecDeque<(Claim, bool)>,
    /// Of the last count: whose they were nobody has said, and until when that is waited for.
    unclaimed: (u64, Boot),
    /// Whose they were.
    waiting: VecDeque<Claim>,
}

/// The kernel has killed so many since boot.
pub(super) fn counted(kills: u64, desk: &mut Desk) {
    let before = desk.kills.counted.replace(kills);
    let new = before.and_then(|before| kills.checked_sub(before)).unwrap_or(0);
    // Who tells of a kill tells of one that is counted already: what is left over was none.
    let mut claims = std::mem::take(&mut desk.kills.claims);
    let own = usize::try_from(new).unwrap_or(usize::MAX).min(claims.len());
    let mut unclaimed = new - own as u64;
    for (claim, whole) in claims.drain(..own) {
        if whole {
            await_alert(&claim, std::mem::take(&mut unclaimed), desk);
        }
        await_alert(&claim, 1, desk);
    }
    if unclaimed > 0 {
        let (before, until) = desk.kills.unclaimed;
        let waited_for = if desk.now.boot <= until { before } else { 0 };
        let all = unclaimed.saturating_add(waited_for);
        desk.kills.unclaimed = (all, desk.now.boot.after(WHOSE));
        tell(all, "", WHOSE, desk);
    }
}

/// One of them was of this unit or container; `whole`: the kernel kills all its processes at once
/// (`memory.oom.group`), and counts each. `patience`: for how long it may be bad before that is an
/// alert.
pub(super) fn of(check: &CheckId, patience: Duration, whole: bool, desk: &mut Desk) {
    let due = desk.now.boot.after(patience.saturating_add(MOMENT));
    let claim = (check.clone(), due);
    let (unclaimed, until) = desk.kills.unclaimed;
    if unclaimed == 0 || desk.now.boot > until {
        if desk.kills.claims.len() < MOST {
            desk.kills.claims.push_back((claim, whole));
        }
        return;
    }
    let own = if whole { unclaimed } else { 1 };
    desk.kills.unclaimed.0 -= own;
    await_alert(&claim, own, desk);
    let key = AlertKey { check: host::oom(), kind: AlertKind::State };
    match unclaimed - own {
        _ if desk.book.is_open(&key) => {} // It is told already.
        0 => host::no_news(&host::oom(), desk),
        left => tell(left, "", WHOSE, desk),
    }
}

/// So many were of this one.
fn await_alert(claim: &Claim, kills: u64, desk: &mut Desk) {
    for _ in 0..kills.min(MOST as u64) {
        if desk.kills.waiting.len() == MOST {
            desk.kills.waiting.pop_front();
        }
        desk.kills.waiting.push_back(claim.clone());
    }
    arm(desk);
}

/// There is an alert by now of what lost a process, or there will be none.
pub(super) fn due(desk: &mut Desk) {
    let now = desk.now.boot;
    let waiting = std::mem::take(&mut desk.kills.waiting);
    let (due, later): (Vec<_>, _) = waiting.into_iter().partition(|(_, at)| *at <= now);
    desk.kills.waiting = later.into();
    arm(desk);
    let open = |check: &CheckId, kind| desk.book.is_open(&AlertKey { check: check.clone(), kind });
    let told = |check: &CheckId| {
        [AlertKind::State, AlertKind::CrashLoop].into_iter().any(|kind| open(check, kind))
    };
    let untold: Vec<CheckId> =
        due.into_iter().map(|(check, _)| check).filter(|check| !told(check)).collect();
    if untold.is_empty() {
        return;
    }
    let whose: BTreeSet<String> = untold.iter().map(CheckId::to_string).collect();
    let whose: Vec<String> = whose.into_iter().take(NAMED).collect();
    let of = format!(" of {}", whose.join(", "));
    tell(untold.len() as u64, &of, Duration::ZERO, desk);
}

fn arm(desk: &mut Desk) {
    match desk.kills.waiting.iter().map(|(_, at)| *at).min() {
        Some(at) => desk.timers.set(Timer::Kills, at),
        None => desk.timers.clear(&Timer::Kills),
    }
}

/// The host tells of so many.
fn tell(kills: u64, of: &str, wait: Duration, desk: &mut Desk) {
    let processes = if kills == 1 { "process" } else { "processes" };
    let text =
        format!("the kernel killed {kills} {processes}{of} for want of memory; see: journalctl -k");
    host::oom_news(text, wait, desk);
}
