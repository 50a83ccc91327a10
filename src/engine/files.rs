//! Heartbeats, and keepwell's own parts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::desk::{Desk, Lasting};
use super::observation::{HeartbeatSeen, HeartbeatState, Part, PartSeen, PartState};
use super::time::{Boot, Human, Now, Wall};
use super::view::Value;
use super::words::{AlertKind, CheckId, CheckKind, Reason, Severity, Verdict};

/// How long the bus or a container engine may be away before it is told: a restart of its daemon is
/// over in less.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the names of such checks begin with.
pub(super) const CHANNEL: &str = "channel-";
pub(super) const HOOK: &str = "hook-";

/// What is remembered of a heartbeat: its age is the boot time since its mtime last changed, so
/// that a clock that jumps raises no alarm.
#[derive(Debug, Clone, Copy)]
struct Beat {
    mtime: Wall,
    /// How old it already was when this mtime was first seen.
    age: Duration,
    seen: Boot,
    looked: Boot,
}

/// All heartbeats.
#[derive(Debug, Default)]
pub(super) struct Heartbeats {
    beats: BTreeMap<Arc<str>, Option<Beat>>,
}

impl Heartbeats {
    pub(super) fn sampled(&mut self, seen: &[HeartbeatSeen], desk: &mut Desk) {
        for file in seen {
            self.file(file, desk);
        }
        let gone: Vec<Arc<str>> = self
            .beats
            .keys()
            .filter(|path| !seen.iter().any(|s| s.path == **path))
            .cloned()
            .collect();
        for path in gone {
            self.beats.remove(&path);
            let why = "the file is gone and nothing says that it must be there";
            desk.drop_check(&CheckId::new(CheckKind::Heartbeat, path), why);
        }
    }

    fn file(&mut self, file: &HeartbeatSeen, desk: &mut Desk) {
        let Some(rule) = desk.rules.heartbeats.get(file.rule).cloned() else { return };
        let id = CheckId::new(CheckKind::Heartbeat, file.path.clone());
        let beat = self.beats.entry(file.path.clone()).or_default();
        let (verdict, values) = match &file.state {
            HeartbeatState::Present(mtime) => {
                let age = age(beat, *mtime, desk.now);
                let values = vec![
                    Value { name: "age_seconds", value: age.as_secs_f64() },
                    Value { name: "max_age_seconds", value: rule.max_age.as_secs_f64() },
                ];
                let verdict = if age > rule.max_age {
                    let text =
                        format!("last touched {} ago (over {})", Human(age), Human(rule.max_age));
                    Verdict::new(rule.severity, Reason::Stale, text)
                } else {
                    let text = format!("touched within {}", Human(rule.max_age));
                    Verdict::new(Severity::Healthy, Reason::Fresh, text)
                };
                (verdict, values)
            }
            HeartbeatState::Missing => {
                *beat = None;
                let text = "the file does not exist; does the program that touches it run?";
                (Verdict::new(rule.severity, Reason::Missing, text), Vec::new())
            }
            HeartbeatState::NoPermission(why) => {
                (Verdict::new(Severity::Unknown, Reason::NoPermission, why.clone()), Vec::new())
            }
            HeartbeatState::Error(why) => {
                (Verdict::new(Severity::Unknown, Reason::Unreadable, why.clone()), Vec::new())
            }
        };
        desk.rule_on(&id, AlertKind::State, verdict, Lasting::confirmed(rule.confirm));
        desk.values(&id, values);
    }
}

fn age(beat: &mut Option<Beat>, mtime: Wall, now: Now) -> Duration {
    let known = match beat {
        Some(known) if known.mtime == mtime => known,
        _ => {
            // At first sight only the wall clock can tell. Later a changed mtime means that it was
            // touched since the last look, whatever the wall clock says.
            let by_clock = now.wall.since(mtime);
            let age = match beat {
                None => by_clock,
                Some(last) => by_clock.min(now.boot.since(last.looked)),
            };
            beat.insert(Beat { mtime, age, seen: now.boot, looked: now.boot })
        }
    };
    known.looked = now.boot;
    known.age + now.boot.since(known.seen)
}

/// Whether a check is about a hook.
pub(super) fn is_hook(check: &CheckId) -> bool {
    check.kind == CheckKind::Agent && check.name.starts_with(HOOK)
}

/// Whether a check is about one of the channels.
pub(super) fn is_channel(check: &CheckId) -> bool {
    check.kind == CheckKind::Agent && check.name.starts_with(CHANNEL)
}

/// How one of keepwell's own parts is.
pub(super) fn part(seen: PartSeen, desk: &mut Desk) {
    let id = CheckId::new(CheckKind::Agent, seen.part.name());
    let waits = matches!(seen.part, Part::Bus | Part::Engine(_));
    let patience = if waits { PATIENCE } else { Duration::ZERO };
    let engine = matches!(seen.part, Part::Engine(_));
    let verdict = match seen.state {
        PartState::Works => Verdict::new(Severity::Healthy, Reason::Works, Reason::Works.meaning()),
        PartState::Broken(why) => Verdict::new(Severity::Warning, Reason::Broken, why),
        // One that keepwell may not look at, and that nobody said it should.
        PartState::Absent(why) if engine => {
            Verdict::new(Severity::Healthy, Reason::NoPermission, why)
        }
        PartState::Absent(why) => Verdict::new(Severity::Unknown, Reason::NoSystemd, why),
    };
    let lasting = Lasting { bad: patience, show: true, ..Lasting::default() };
    desk.rule_on(&id, AlertKind::State, verdict, lasting);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(boot: u64, wall: i64) -> Now {
        Now { boot: Boot(boot * 1_000_000), wall: Wall(wall * 1_000_000) }
    }

    fn wall(s: i64) -> Wall {
        Wall(s * 1_000_000)
    }

    #[test]
    fn a_clock_that_jumps_does_not_age_a_heartbeat() {
        let mut beat = None;
        assert_eq!(age(&mut beat, wall(990), at(100, 1000)).as_secs(), 10);
        // The clock jumps a day ahead; 30 s have passed.
        assert_eq!(age(&mut beat, wall(990), at(130, 87_430)).as_secs(), 40);
        // It was touched before the jump back, so its mtime lies in the future.
        assert_eq!(age(&mut beat, wall(87_440), at(160, 1060)).as_secs(), 0);
        assert_eq!(age(&mut beat, wall(87_440), at(190, 1090)).as_secs(), 30);
        // Touched after a jump that makes it look a day old: it is at most as old as the last look.
        assert_eq!(age(&mut beat, wall(1100), at(220, 87_500)).as_secs(), 30);
    }
}
