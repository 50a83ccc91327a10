//! Unit names in object paths: every byte that is no letter or digit is written as `_` and two
//! hexadecimal digits, also a digit that comes first.

use std::fmt::Write;

const PREFIX: &str = "/org/freedesktop/systemd1/unit/";

/// The object path of the unit `name`.
pub fn unit_path(name: &str) -> String {
    let mut path = String::with_capacity(PREFIX.len() + name.len() + 16);
    path.push_str(PREFIX);
    if name.is_empty() {
        path.push('_');
    }
    for (i, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (i > 0 && byte.is_ascii_digit()) {
            path.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(path, "_{byte:02x}");
        }
    }
    path
}

/// The name of the unit at an object path; `None` when it is not the path of a unit.
pub fn unit_name(path: &str) -> Option<String> {
    let label = path.strip_prefix(PREFIX)?.as_bytes();
    if label.is_empty() || label == b"_" {
        return None;
    }
    let mut name = Vec::with_capacity(label.len());
    let mut rest = label;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'_' {
            name.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let hex = |digit: u8| char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok());
        name.push(hex(digits[0])? * 16 + hex(digits[1])?);
        rest = after;
    }
    String::from_utf8(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_paths_and_back() {
        for (name, label) in [
            ("nginx.service", "nginx_2eservice"),
            ("worker@7.service", "worker_407_2eservice"),
            ("7zip.service", "_37zip_2eservice"),
            ("a_b-c.timer", "a_5fb_2dc_2etimer"),
            ("dev-disk-by\\x2did.device", "dev_2ddisk_2dby_5cx2did_2edevice"),
        ] {
            assert_eq!(unit_path(name), format!("{PREFIX}{label}"));
            assert_eq!(unit_name(&unit_path(name)).as_deref(), Some(name));
        }
    }

    #[test]
    fn what_is_no_unit_path_has_no_name() {
        for path in [
            "/org/freedesktop/systemd1",
            "/org/freedesktop/systemd1/unit/",
            "/org/freedesktop/systemd1/unit/_",
            "/org/freedesktop/systemd1/unit/a_2",
            "/org/freedesktop/systemd1/unit/a_zz",
            "/org/freedesktop/systemd1/unit/a_+1",
            "/org/freedesktop/systemd1/unit/_ff",
            "/org/freedesktop/systemd1/job/7",
        ] {
            assert_eq!(unit_name(path), None, "{path}");
        }
    }
}
