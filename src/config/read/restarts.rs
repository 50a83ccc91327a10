//! Reading when to restart, and when restarts are too many: the same for units and containers.

use std::time::Duration;

use crate::engine::rules::{Backoff, CrashLoop};

use super::super::section::{Reader, integer};
use super::super::tree::Value;
use super::FOREVER;

/// The parts of a [`Backoff`], so that a unit or a container can set
/// some and take the rest from the table for all.
#[derive(Clone, Copy)]
pub(super) struct Waits {
    first: Duration,
    factor: f64,
    max: Duration,
    stable: Duration,
    verify: Duration,
    give_up_after: Option<u32>,
}

impl Default for Waits {
    fn default() -> Self {
        let backoff = Backoff::default();
        Self {
            first: backoff.delay(0),
            factor: 2.0,
            max: backoff.delay(u32::MAX),
            stable: backoff.stable(),
            verify: backoff.verify(),
            give_up_after: backoff.give_up_after(),
        }
    }
}

/// Reads waits over others; what makes no sense is reported and leaves the others.
pub(super) fn waits(reader: &mut Reader<'_>, before: Waits) -> (Waits, Option<Backoff>) {
    let waits = Waits {
        first: reader.duration("first", Duration::ZERO, FOREVER).unwrap_or(before.first),
        factor: reader.number("factor").unwrap_or(before.factor),
        max: reader.duration("max", Duration::ZERO, FOREVER).unwrap_or(before.max),
        stable: reader.duration("stable", Duration::ZERO, FOREVER).unwrap_or(before.stable),
        verify: reader.duration("verify", Duration::ZERO, FOREVER).unwrap_or(before.verify),
        give_up_after: reader
            .value("give_up_after", |name, node, sink| match node.value {
                Value::Bool(false) => Some(None),
                _ => integer(sink, name, node, 0, u32::MAX.into())
                    .and_then(|n| u32::try_from(n).ok())
                    .map(Some),
            })
            .unwrap_or(before.give_up_after),
    };
    let mut sound = waits;
    // Each round takes back one wrong value, so that the next one is found as well.
    for _ in 0..5 {
        let Waits { first, factor, max, stable, verify, give_up_after } = sound;
        let Err(why) = Backoff::try_new(first, factor, max, stable, verify, give_up_after) else {
            break;
        };
        // The engine's words name the value; the mark goes to its key, or to its partner when only
        // that one was written.
        let keys: &[&str] = if why.starts_with("the first") {
            sound.first = before.first;
            &["first"]
        } else if why.starts_with("the factor") {
            sound.factor = before.factor;
            &["factor"]
        } else if why.starts_with("the longest") {
            (sound.first, sound.max) = (before.first, before.max);
            &["max", "first"]
        } else if why.starts_with("the stable") {
            (sound.stable, sound.verify) = (before.stable, before.verify);
            &["stable", "verify"]
        } else {
            sound.give_up_after = before.give_up_after;
            &["give_up_after"]
        };
        let key = keys.iter().find(|key| reader.has(key)).unwrap_or(&keys[0]);
        let at = reader.place_of(key);
        reader.sink().error(at, why);
    }
    let Waits { first, factor, max, stable, verify, give_up_after } = sound;
    match Backoff::try_new(first, factor, max, stable, verify, give_up_after) {
        Ok(backoff) => (sound, Some(backoff)),
        Err(_) => (before, None),
    }
}

pub(super) fn crash_loop(reader: &mut Reader<'_>, before: &CrashLoop) -> CrashLoop {
    let max = reader
        .integer("max", 0, u32::MAX.into())
        .and_then(|n| u32::try_from(n).ok())
        .unwrap_or(before.max());
    let window = reader.duration("window", Duration::ZERO, FOREVER).unwrap_or(before.window());
    // One after the other, so that both are reported.
    for (key, max, window) in [("max", max, before.window()), ("window", before.max(), window)] {
        if let Err(why) = CrashLoop::try_new(max, window) {
            let at = reader.place_of(key);
            reader.sink().error(at, why);
        }
    }
    CrashLoop::try_new(max, window).unwrap_or_else(|_| before.clone())
}
