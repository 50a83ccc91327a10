//! Time as the engine knows it: two readings that the driver passes in with each event.
//!
//! Durations are measured by `CLOCK_BOOTTIME` ([`Boot`]), which runs on through suspend and never
//! jumps; [`Wall`] is for people and for what must be comparable across a reboot. Nothing here
//! reads a clock.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Microseconds of `CLOCK_BOOTTIME`: time since this boot of the host, suspend included.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Boot(pub u64);

/// Microseconds since the Unix epoch by the host's wall clock, which may jump.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Wall(pub i64);

/// Both clocks, read at the same moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Now {
    /// For durations.
    pub boot: Boot,
    /// For people.
    pub wall: Wall,
}

impl Boot {
    /// This moment and `by` later, saturating.
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(micros(by)))
    }

    /// This moment less `by`; the boot itself where that lies before it.
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(micros(by)))
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Wall {
    /// This moment and `by` later, saturating.
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add_unsigned(micros(by)))
    }

    /// In UTC, as `strftime` would write it; a time that no calendar has, as its number.
    pub fn written(self, format: &str) -> String {
        jiff::Timestamp::from_microsecond(self.0)
            .map_or_else(|_| self.0.to_string(), |t| t.strftime(format).to_string())
    }

    /// This moment less `by`, saturating.
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub_unsigned(micros(by)))
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Now {
    /// Both clocks moved on by `by`: what simulated histories are made with.
    pub fn after(self, by: Duration) -> Self {
        Self { boot: self.boot.after(by), wall: self.wall.after(by) }
    }
}

fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}

/// A duration in the words people use: `350 ms`, `10 s`, `2 min 5 s`, `3 h`, `2 d 4 h`.
#[derive(Clone, Copy)]
pub struct Human(pub Duration);

impl fmt::Display for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        let s = self.0.as_secs();
        if ms == 0 {
            write!(f, "0 s")
        } else if ms < 1000 {
            write!(f, "{ms} ms")
        } else if s < 10 && ms % 1000 >= 100 {
            write!(f, "{}.{} s", s, (ms % 1000) / 100)
        } else if s < 60 {
            write!(f, "{s} s")
        } else {
            let (big, unit, rest, small) = match s {
                0..3600 => (s / 60, "min", s % 60, "s"),
                3600..86_400 => (s / 3600, "h", s % 3600 / 60, "min"),
                _ => (s / 86_400, "d", s % 86_400 / 3600, "h"),
            };
            write!(f, "{big} {unit}")?;
            if rest > 0 {
                write!(f, " {rest} {small}")?;
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_say_them() {
        let of = |ms| Human(Duration::from_millis(ms)).to_string();
        assert_eq!(of(0), "0 s");
        assert_eq!(of(350), "350 ms");
        assert_eq!(of(1_500), "1.5 s");
        assert_eq!(of(10_000), "10 s");
        assert_eq!(of(125_000), "2 min 5 s");
        assert_eq!(of(7_200_000), "2 h");
        assert_eq!(of(90_000_000), "1 d 1 h");
    }
}
