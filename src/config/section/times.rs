//! Reading days, times of day and time zones. The zones are those of the host's own database, looked
//! up here once, so that whoever decides by them reads no file.

use jiff::civil::{Time, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::super::sink::Sink;
use super::super::tree::{Node, Value};
use super::super::values::brief;
use super::{Reader, expected, text};

const DAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
    ("sunday", Weekday::Sunday),
];
const TIME_HINT: &str = "hours and minutes from 00:00 to 23:59, such as \"08:30\"";
const ZONE_HINT: &str =
    "a name as `timedatectl list-timezones` shows it, such as \"Europe/Berlin\"";

impl Reader<'_> {
    /// A time of day at which something begins.
    pub(in crate::config) fn time(&mut self, key: &'static str) -> Option<Time> {
        self.value(key, |name, node, sink| time(sink, name, node, false))
    }

    /// A time of day at which something ends; `24:00` is the end of the day.
    pub(in crate::config) fn end_time(&mut self, key: &'static str) -> Option<Time> {
        self.value(key, |name, node, sink| time(sink, name, node, true))
    }

    /// Times of day in their order, each once; a single one is a list of one.
    pub(in crate::config) fn times(&mut self, key: &'static str) -> Option<Vec<Time>> {
        self.value(key, |name, node, sink| {
            let nodes = match &node.value {
                Value::List(list) => &list[..],
                _ => std::slice::from_ref(node),
            };
            let mut all: Vec<Time> =
                nodes.iter().filter_map(|node| time(sink, name, node, false)).collect();
            all.sort();
            all.dedup();
            Some(all)
        })
    }

    /// Days of the week, also as ranges; a single one is a list of one. At least one.
    pub(in crate::config) fn days(&mut self, key: &'static str) -> Option<Vec<Weekday>> {
        self.value(key, |name, node, sink| {
            let nodes = match &node.value {
                Value::List(list) if list.is_empty() => {
                    sink.error(node.at, format!("`{name}` is an empty list"))
                        .hint("for every day, leave it out");
                    return None;
                }
                Value::List(list) => &list[..],
                _ => std::slice::from_ref(node),
            };
            let mut all = Vec::new();
            for node in nodes {
                let Some(text) = text(sink, name, node) else { continue };
                match days(&text) {
                    Some(days) => all.extend(days),
                    None => {
                        let message =
                            format!("`{name}`: \"{}\" is no day of the week", brief(&text));
                        sink.error(node.at, message)
                            .hint("mon, tue, wed, thu, fri, sat, sun, or a range such as mon-fri");
                    }
                }
            }
            Some(all)
        })
    }

    /// A time zone of the host's database.
    pub(in crate::config) fn zone(&mut self, key: &'static str) -> Option<TimeZone> {
        self.value(key, |name, node, sink| {
            let text = text(sink, name, node)?;
            match find(jiff::tz::db(), text.trim()) {
                Ok(zone) => Some(zone),
                Err((why, hint)) => {
                    sink.error(node.at, format!("`{name}`: {why}")).hint(hint);
                    None
                }
            }
        })
    }
}

fn time(sink: &mut Sink, name: &str, node: &Node, end: bool) -> Option<Time> {
    match &node.value {
        Value::Text(text) => {
            let found = parse(text.trim(), end);
            if found.is_none() {
                let message = format!("`{name}`: \"{}\" is no time of day", brief(text));
                sink.error(node.at, message).hint(TIME_HINT);
            }
            found
        }
        value => {
            let hint = match value {
                Value::Date(text) if parse(text, end).is_some() => format!("write \"{text}\""),
                Value::Integer(hour @ 0..=23) => format!("write \"{hour:02}:00\""),
                _ => TIME_HINT.to_owned(),
            };
            expected(sink, name, node, "a time of day").hint(hint);
            None
        }
    }
}

/// `8:30`, `08:30` or `08:30:15`; `24:00` only where a day may end.
fn parse(text: &str, end: bool) -> Option<Time> {
    let mut parts = [0i8; 3];
    let mut count = 0;
    for part in text.split(':') {
        if part.is_empty() || part.len() > 2 || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        // Minutes and seconds always have two digits.
        if count > 0 && part.len() != 2 {
            return None;
        }
        *parts.get_mut(count)? = part.parse().ok()?;
        count += 1;
    }
    let [hour, minute, second] = parts;
    match (count, parts) {
        (2 | 3, [24, 0, 0]) if end => Some(Time::midnight()),
        (2 | 3, _) => Time::new(hour, minute, second, 0).ok(),
        _ => None,
    }
}

/// `mon`, `Monday`, or `fri-mon` with all days between.
fn days(text: &str) -> Option<Vec<Weekday>> {
    let day = |text: &str| {
        let text = text.trim().to_lowercase();
        let index = DAYS.iter().position(|(name, _)| text.len() >= 3 && name.starts_with(&text))?;
        Some(index)
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (day(first)?, day(last)?),
        None => (day(text)?, day(text)?),
    };
    let count = (last + 7 - first) % 7 + 1;
    Some((first..first + count).map(|n| DAYS[n % 7].1).collect())
}

/// A zone by its name, or why there is none and what to do.
fn find(database: &TimeZoneDatabase, name: &str) -> Result<TimeZone, (String, String)> {
    if name.eq_ignore_ascii_case("utc") {
        return Ok(TimeZone::UTC);
    }
    if let Ok(zone) = database.get(name) {
        return Ok(zone);
    }
    let known: Vec<String> = database.available().map(|name| name.to_string()).collect();
    if known.is_empty() {
        let why = format!("\"{}\" is unknown: this host has no time zones", brief(name));
        let hint = "install the package tzdata, then restart keepwell; \"UTC\" works without it";
        return Err((why, hint.to_owned()));
    }
    let near = near(name, &known);
    let hint = if near.is_empty() {
        ZONE_HINT.to_owned()
    } else {
        format!("did you mean {}?", near.join(" or "))
    };
    Err((format!("there is no time zone \"{}\"", brief(name)), hint))
}

/// The names that are most like one, quoted; a city may stand without its continent.
fn near(name: &str, known: &[String]) -> Vec<String> {
    let city = |name: &str| name.rsplit('/').next().unwrap_or_default().replace(' ', "_");
    let (whole, last) = (name.to_lowercase().replace(' ', "_"), city(&name.to_lowercase()));
    let mut all: Vec<(f64, &String)> = known
        .iter()
        .map(|known| {
            let lower = known.to_lowercase();
            let whole = strsim::jaro_winkler(&whole, &lower);
            (whole.max(strsim::jaro_winkler(&last, &city(&lower))), known)
        })
        .filter(|(likeness, _)| *likeness >= 0.9)
        .collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    let best = all.first().map_or(0.0, |(likeness, _)| *likeness);
    let alike = all.into_iter().take_while(|(likeness, _)| *likeness > best - 0.01);
    alike.take(2).map(|(_, name)| format!("\"{name}\"")).collect()
}

/// The host's own zone. The text says what is odd when it has one that cannot be read; UTC stands
/// in its place then, and also where nothing was ever set, as everywhere on such a host.
pub(in crate::config) fn local() -> (TimeZone, Option<&'static str>) {
    const ODD: &str = "the time zone of this host cannot be read, so UTC is taken";
    match TimeZone::try_system() {
        Ok(zone) => (zone, None),
        Err(_) => {
            let set = std::env::var_os("TZ").is_some()
                || std::fs::symlink_metadata("/etc/localtime").is_ok();
            (TimeZone::UTC, set.then_some(ODD))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_are_read() {
        let at = |hour, minute, second| Some(Time::constant(hour, minute, second, 0));
        assert_eq!(parse("08:30", false), at(8, 30, 0));
        assert_eq!(parse("8:05", false), at(8, 5, 0));
        assert_eq!(parse("23:59:58", false), at(23, 59, 58));
        assert_eq!(parse("24:00", true), at(0, 0, 0));
        for wrong in ["24:00", "8", "8:5", "08:60", "", ":", "08:00:00:00", "-8:00", "8am", "٠٨:٠٠"]
        {
            assert_eq!(parse(wrong, false), None, "{wrong}");
        }
        assert_eq!(parse("24:01", true), None);
    }

    #[test]
    fn days_are_names_or_ranges() {
        use Weekday::*;
        assert_eq!(days("mon"), Some(vec![Monday]));
        assert_eq!(days("Tues"), Some(vec![Tuesday]));
        assert_eq!(days("fri-mon"), Some(vec![Friday, Saturday, Sunday, Monday]));
        assert_eq!(days("sunday - sunday"), Some(vec![Sunday]));
        for wrong in ["mo", "", "mon-", "mon-fri-sun", "weekend", "montag", "é"] {
            assert_eq!(days(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_zone_is_found_or_a_near_one_is_named() {
        assert_eq!(find(&TimeZoneDatabase::none(), "UTC").unwrap(), TimeZone::UTC);
        let (why, hint) = find(&TimeZoneDatabase::none(), "Europe/Berlin").unwrap_err();
        assert_eq!(why, "\"Europe/Berlin\" is unknown: this host has no time zones");
        assert!(hint.starts_with("install the package tzdata"), "{hint}");

        let known = ["Africa/Abidjan", "Europe/Berlin", "Europe/Madrid", "America/New_York"];
        let known = known.map(String::from);
        assert_eq!(near("Europe/Madird", &known)[0], "\"Europe/Madrid\"");
        assert_eq!(near("berlin", &known), ["\"Europe/Berlin\""]);
        assert_eq!(near("new york", &known), ["\"America/New_York\""]);
        assert!(near("x", &known).is_empty());
    }
}
