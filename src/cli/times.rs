//! Times as people type them: `--for 1h30m`.

use std::time::Duration;

use crate::surfaces::http::LONGEST;

/// `90s`, `10m`, `1h30m`, `2 d`; a unit is needed, so that nobody says seconds who means hours.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is not a time: write 30s, 10m, 1h, 2d or 1h30m");
    let mut seconds: u64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let count: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let factor = match &rest[..letters] {
            "s" | "sec" => 1,
            "m" | "min" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return Err(wrong()),
        };
        seconds =
            count.checked_mul(factor).and_then(|s| s.checked_add(seconds)).ok_or_else(wrong)?;
        rest = rest[letters..].trim_start();
    }
    match seconds {
        0 => Err("it is at least a second".to_owned()),
        s if s > LONGEST => Err("it is at most 30 days".to_owned()),
        s => Ok(Duration::from_secs(s)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, seconds) in
            [("30s", 30), ("10m", 600), ("1h30m", 5400), (" 2 d ", 172_800), ("1h 5min", 3900)]
        {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "60", "h", "1x", "-1h", "0s", "31d", "99999999999999999999d", "1h2", "1ä"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
