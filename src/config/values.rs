//! How durations, ratios and sizes are written: text in, value or the reason out.

use std::time::Duration;

/// `500ms`, `30s`, `2m`, `1h30m`, `1.5h`, `30d`.
///
/// # Errors
/// What is wrong with it, for people.
pub fn duration(text: &str) -> Result<Duration, String> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("it is empty".into());
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, after) = number(rest)?;
        let after = after.trim_start();
        let letters = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let ms: u64 = match unit {
            "ms" => 1,
            "s" | "sec" | "second" | "seconds" => 1000,
            "m" | "min" | "minute" | "minutes" => 60_000,
            "h" | "hour" | "hours" => 3_600_000,
            "d" | "day" | "days" => 86_400_000,
            "w" | "week" | "weeks" => 7 * 86_400_000,
            "" => return Err(format!("the number {number} has no unit")),
            other => return Err(format!("`{}` is not a unit of time", brief(other))),
        };
        let part = match number.parse::<u64>() {
            Ok(whole) => whole.checked_mul(ms).map(Duration::from_millis),
            Err(_) => number
                .parse::<f64>()
                .ok()
                .and_then(|n| Duration::try_from_secs_f64(n * ms as f64 / 1000.0).ok()),
        };
        total =
            part.and_then(|part| total.checked_add(part)).ok_or("the number is far too large")?;
        rest = after.trim_start();
    }
    Ok(total)
}

/// `80%` or `0.8`, as a ratio.
///
/// # Errors
/// What is wrong with it, for people.
pub fn ratio(text: &str) -> Result<f64, String> {
    let text = text.trim();
    let (number, scale) = match text.strip_suffix('%') {
        Some(percent) => (percent.trim_end(), 100.0),
        None => (text, 1.0),
    };
    match number.parse::<f64>() {
        Ok(n) if n.is_finite() => Ok(n / scale),
        _ => Err("it is not a number with a percent sign".into()),
    }
}

/// `512KiB`, `64MiB`, `1.5GiB`, `100MB`, in bytes.
///
/// # Errors
/// What is wrong with it, for people.
pub fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = number(text.trim())?;
    let factor: u64 = match unit.trim_start() {
        "B" => 1,
        "KiB" | "K" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        "GiB" | "G" => 1 << 30,
        "TiB" | "T" => 1 << 40,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "" => return Err(format!("the number {number} has no unit")),
        other => return Err(format!("`{}` is not a unit of size", brief(other))),
    };
    let bytes = match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(factor),
        Err(_) => number
            .parse::<f64>()
            .ok()
            .map(|n| n * factor as f64)
            .filter(|n| *n < 2f64.powi(63))
            .map(|n| n as u64),
    };
    bytes.ok_or_else(|| "the number is far too large".into())
}

/// The number at the start of the text, and what follows it.
fn number(text: &str) -> Result<(&str, &str), String> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    if number.is_empty() {
        return Err(format!("`{}` does not start with a number", brief(text)));
    }
    if number.parse::<f64>().is_err() {
        return Err(format!("`{}` is not a number", brief(number)));
    }
    Ok((number, rest))
}

/// At most 24 characters of a text, fit for a terminal.
pub(super) fn brief(text: &str) -> String {
    let mut out: String =
        text.chars().take(24).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(24).is_some() {
        out.push('…');
    }
    out
}

/// A size for people: `64 MiB`.
pub(super) fn human_size(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes, "B");
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024 || !value.is_multiple_of(1024) {
            break;
        }
        (value, unit) = (value / 1024, next);
    }
    format!("{value} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, ms) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("1h 30 min", 5_400_000),
            ("1.5h", 5_400_000),
            ("30d", 30 * 86_400_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(duration("30").unwrap_err(), "the number 30 has no unit");
        assert_eq!(duration("30x").unwrap_err(), "`x` is not a unit of time");
        assert_eq!(duration("soon").unwrap_err(), "`soon` does not start with a number");
        assert_eq!(duration("-3s").unwrap_err(), "`-3s` does not start with a number");
        assert_eq!(duration("1.2.3s").unwrap_err(), "`1.2.3` is not a number");
        assert!(duration("").is_err() && duration("999999999999999999d").is_err());
        assert!(duration("99999999999999999999999d").is_err());
    }

    #[test]
    fn ratios_and_sizes_are_read() {
        assert_eq!(ratio("80%"), Ok(0.8));
        assert_eq!(ratio("0.8"), Ok(0.8));
        assert!(ratio("lots").is_err() && ratio("inf%").is_err() && ratio("%").is_err());
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(size("1.5 GiB"), Ok(3 << 29));
        assert_eq!(size("100MB"), Ok(100_000_000));
        assert_eq!(size("64").unwrap_err(), "the number 64 has no unit");
        assert!(size("64 apples").is_err() && size("99999999999999999TiB").is_err());
        assert_eq!(human_size(64 << 20), "64 MiB");
        assert_eq!(human_size(1500), "1500 B");
    }
}
