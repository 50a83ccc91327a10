//! Whether there is a polkit on a host, and one that reads rules. Told from files, because asking
//! polkit would start it.

use std::fmt;
use std::fs;

use super::Place;

/// What every polkit brings along, wherever its program is.
const SERVICE: &str = "usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service";
/// What only versions before 0.106, or an addition to newer ones, look into.
const LOCAL_AUTHORITY: &str = "etc/polkit-1/localauthority.conf.d";
/// Rules by JavaScript came with it.
const FIRST_WITH_RULES: u32 = 106;

/// The polkit of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polkit {
    /// It reads rules.
    Ready,
    /// There is none.
    Missing,
    /// It is older than 0.106 and reads no rules.
    TooOld,
}

impl Polkit {
    /// That of a place.
    pub fn of(place: &Place) -> Self {
        if !place.path(SERVICE).exists() {
            return Self::Missing;
        }
        // From 0.106 on it runs as a user of its own; before that, as root.
        let own_user = fs::read_to_string(place.path("etc/passwd"))
            .is_ok_and(|text| text.lines().any(|line| line.starts_with("polkitd:")));
        if !own_user && place.path(LOCAL_AUTHORITY).is_dir() { Self::TooOld } else { Self::Ready }
    }
}

impl fmt::Display for Polkit {
    /// With what to do about it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "polkit is installed and reads rules",
            Self::Missing => {
                "polkit is not installed, so keepwell may restart nothing: install it (package \
                 polkitd, polkit or policykit-1), then run 'sudo keepwell polkit'"
            }
            Self::TooOld => {
                "polkit is older than 0.106 and reads no rules, so keepwell may restart nothing: \
                 docs/security.md says what can be done instead"
            }
        })
    }
}

/// Whether a version as polkit writes it (`0.105`, `122`, `126`) is from before the rules.
pub fn is_too_old(version: &str) -> bool {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(0)), Some(Ok(minor))) => minor < FIRST_WITH_RULES,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::systemd::bus::BusAddress;

    #[test]
    fn versions_with_and_without_a_leading_zero() {
        assert!(is_too_old("0.105") && is_too_old("0.105-31"));
        assert!(!is_too_old("0.106") && !is_too_old("0.119") && !is_too_old("122"));
        assert!(!is_too_old("126") && !is_too_old(""));
    }

    #[test]
    fn an_old_polkit_is_told_from_a_new_one_with_an_addition() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::below(folder.path(), BusAddress::System);
        assert_eq!(Polkit::of(&place), Polkit::Missing);
        let service = place.path(SERVICE);
        fs::create_dir_all(service.parent().unwrap()).unwrap();
        fs::write(service, "").unwrap();
        fs::create_dir_all(place.path("etc/polkit-1/rules.d")).unwrap();
        assert_eq!(Polkit::of(&place), Polkit::Ready);
        fs::create_dir_all(place.path(LOCAL_AUTHORITY)).unwrap();
        fs::write(place.path("etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
        assert_eq!(Polkit::of(&place), Polkit::TooOld);
        fs::write(place.path("etc/passwd"), "polkitd:x:9:9::/:/bin/false\n").unwrap();
        assert_eq!(Polkit::of(&place), Polkit::Ready);
    }
}
