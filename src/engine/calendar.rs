//! Recurring times of the week, in a time zone: when a route applies, when maintenance is.
//! Pure: the zone was looked up when the configuration was read.

use std::fmt;

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

use super::time::Wall;

/// A span of the day on some days of the week. One whose end is not after its beginning lasts into
/// the next day; beginning and end at the same time of day is the whole day.
#[derive(Clone, PartialEq)]
pub struct Weekly {
    /// Monday first.
    days: [bool; 7],
    from: Time,
    to: Time,
    zone: TimeZone,
}

impl fmt::Debug for Weekly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}–{} {:?}", self.days, self.from, self.to, self.zone.iana_name())
    }
}

impl Weekly {
    /// `days`: none is every day.
    pub fn new(days: &[Weekday], from: Time, to: Time, zone: TimeZone) -> Self {
        let mut set = [days.is_empty(); 7];
        for day in days {
            set[day_index(*day)] = true;
        }
        Self { days: set, from, to, zone }
    }

    /// Whether this moment lies within it; if so, when it ends.
    pub fn ends(&self, at: Wall) -> Option<Wall> {
        let now = self.zoned(at)?;
        // The span that began today, or the one that began yesterday and lasts into today.
        [0, 1].into_iter().find_map(|back| {
            let day = now.date().checked_sub(back.days()).ok()?;
            if !self.days[day_index(day.weekday())] {
                return None;
            }
            let begin = day.to_datetime(self.from);
            let mut end = day.to_datetime(self.to);
            if self.to <= self.from {
                end = end.checked_add(1.day()).ok()?;
            }
            let begin = begin.to_zoned(self.zone.clone()).ok()?;
            let end = end.to_zoned(self.zone.clone()).ok()?;
            (begin <= now && now < end).then(|| wall(&end))
        })
    }

    /// When it next begins, after this moment.
    pub fn next_start(&self, at: Wall) -> Option<Wall> {
        next(at, &self.zone, |day| self.days[day_index(day)], &[self.from])
    }

    fn zoned(&self, at: Wall) -> Option<Zoned> {
        Some(Timestamp::from_microsecond(at.0).ok()?.to_zoned(self.zone.clone()))
    }
}

/// When one of these times of day is next, after this moment.
pub fn next_time(at: Wall, times: &[Time], zone: &TimeZone) -> Option<Wall> {
    next(at, zone, |_| true, times)
}

fn next(at: Wall, zone: &TimeZone, on: impl Fn(Weekday) -> bool, times: &[Time]) -> Option<Wall> {
    let now = Timestamp::from_microsecond(at.0).ok()?.to_zoned(zone.clone());
    // A week and a day: the same day of the next week may be the first.
    (0..=8i64).find_map(|ahead| {
        let day = now.date().checked_add(ahead.days()).ok()?;
        if !on(day.weekday()) {
            return None;
        }
        let moments = times.iter().filter_map(|t| day.to_datetime(*t).to_zoned(zone.clone()).ok());
        moments.filter(|m| *m > now).min().map(|m| wall(&m))
    })
}

fn wall(at: &Zoned) -> Wall {
    Wall(at.timestamp().as_microsecond())
}

fn day_index(day: Weekday) -> usize {
    // From 0 to 6.
    usize::try_from(day.to_monday_zero_offset()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Wall {
        Wall(text.parse::<Timestamp>().unwrap().as_microsecond())
    }

    fn weekly(days: &[Weekday], from: (i8, i8), to: (i8, i8), zone: TimeZone) -> Weekly {
        Weekly::new(
            days,
            Time::constant(from.0, from.1, 0, 0),
            Time::constant(to.0, to.1, 0, 0),
            zone,
        )
    }

    #[test]
    fn a_span_may_last_into_the_next_day() {
        // 2026-11-21 is a Saturday.
        let night = weekly(&[Weekday::Saturday], (22, 0), (4, 0), TimeZone::UTC);
        assert_eq!(night.ends(at("2026-11-21T21:59:59Z")), None);
        assert_eq!(night.ends(at("2026-11-21T22:00:00Z")), Some(at("2026-11-22T04:00:00Z")));
        assert_eq!(night.ends(at("2026-11-22T03:59:59Z")), Some(at("2026-11-22T04:00:00Z")));
        assert_eq!(night.ends(at("2026-11-22T22:30:00Z")), None);
        assert_eq!(night.next_start(at("2026-11-21T22:00:00Z")), Some(at("2026-11-28T22:00:00Z")));
        let always = weekly(&[], (0, 0), (0, 0), TimeZone::UTC);
        assert_eq!(always.ends(at("2026-11-21T12:00:00Z")), Some(at("2026-11-22T00:00:00Z")));
    }

    #[test]
    fn times_are_those_of_the_zone() {
        let east = TimeZone::fixed(jiff::tz::offset(2));
        let morning = weekly(&[], (8, 0), (9, 0), east.clone());
        assert_eq!(morning.ends(at("2026-11-21T06:30:00Z")), Some(at("2026-11-21T07:00:00Z")));
        let times = [Time::constant(8, 0, 0, 0), Time::constant(20, 0, 0, 0)];
        assert_eq!(
            next_time(at("2026-11-21T06:00:00Z"), &times, &east),
            Some(at("2026-11-21T18:00:00Z"))
        );
    }
}
