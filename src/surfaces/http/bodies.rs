//! What the bodies of requests hold, and whether they make sense. The command line writes the same
//! types.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::Severity;
use crate::engine::matcher::{CheckPattern, Matcher};

/// Nobody means to hold, silence or acknowledge for longer than this, s: 30 days.
pub const LONGEST: u64 = 30 * 24 * 3600;

/// Characters of a reason that a person gives.
pub const LONGEST_WHY: usize = 500;

/// Checks that one silence names.
const MOST_CHECKS: usize = 100;

/// Body of `POST /api/v1/holds`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldBody {
    /// The unit; `null` is all.
    pub unit: Option<String>,
    /// For how long from now.
    pub seconds: u64,
    /// Why, in the person's words.
    #[serde(default)]
    pub why: Option<String>,
}

/// Body of `DELETE /api/v1/holds`. It has no default that would release all: see [`ReleaseBody`]'s
/// `Default`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseBody {
    /// The unit; `null` is all.
    pub unit: Option<String>,
}

impl Default for ReleaseBody {
    /// No unit there is, so that a body that was left out by mistake releases nothing.
    fn default() -> Self {
        Self { unit: Some(String::new()) }
    }
}

/// Body of `POST /api/v1/alerts/{id}/acknowledge`; may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AcknowledgeBody {
    /// For how long from now; `null`: until the end of the alert.
    pub seconds: Option<u64>,
    /// Why, in the person's words.
    pub why: Option<String>,
}

/// Body of `POST /api/v1/silences`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SilenceBody {
    /// Of these checks: names or patterns; `*` is all.
    #[serde(default)]
    pub checks: Vec<String>,
    /// Only of this severity and worse: `warning` or `critical`.
    #[serde(default)]
    pub severity: Option<Severity>,
    /// Only where the host has these labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// For how long from now.
    pub seconds: u64,
    /// Why, in the person's words.
    #[serde(default)]
    pub why: Option<String>,
}

impl SilenceBody {
    /// Which alerts it means.
    ///
    /// # Errors
    /// When it names nothing, so that nobody silences a whole host by leaving something out; or
    /// when a name or a severity is none.
    pub fn matcher(&self) -> Result<Matcher, String> {
        if self.checks.is_empty() && self.severity.is_none() && self.labels.is_empty() {
            let text = "say what is to be silent: checks (\"*\" is all), severity or labels";
            return Err(text.to_owned());
        }
        if self.checks.len() > MOST_CHECKS {
            return Err(format!("a silence names at most {MOST_CHECKS} checks"));
        }
        if self.severity.is_some_and(|s| !s.alerts()) {
            return Err("severity is warning or critical".to_owned());
        }
        let everything = self.checks.iter().any(|c| c.trim() == "*");
        let checks: Result<Vec<_>, _> =
            self.checks.iter().map(|c| CheckPattern::try_new(c)).collect();
        Ok(Matcher {
            checks: if everything { Vec::new() } else { checks? },
            min_severity: self.severity,
            labels: self.labels.clone(),
        })
    }
}

/// Body of `POST /api/v1/test-notification`; may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TestBody {
    /// The channel; `null` is each.
    pub channel: Option<String>,
}

/// For paths that say all by themselves.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

pub(super) fn lasting(seconds: u64) -> Result<Duration, String> {
    if seconds == 0 || seconds > LONGEST {
        return Err(format!("seconds is between 1 and {LONGEST} (30 days)"));
    }
    Ok(Duration::from_secs(seconds))
}

/// A reason of blanks only is none.
pub(super) fn checked_why(why: Option<String>) -> Result<Option<String>, String> {
    let Some(why) = why else { return Ok(None) };
    let length = why.trim().chars().count();
    if length > LONGEST_WHY {
        return Err(format!("why has at most {LONGEST_WHY} characters, and this one {length}"));
    }
    Ok((length > 0).then(|| why.trim().to_owned()))
}

pub(super) fn unit(name: Option<String>) -> Result<Option<Arc<str>>, String> {
    let Some(name) = name else { return Ok(None) };
    // What stands before the name of a container of a further engine ends in a slash.
    let slash = name.starts_with("container:");
    let fine =
        |c: char| c.is_ascii_alphanumeric() || ":-_.\\@*?[]".contains(c) || slash && c == '/';
    if name.is_empty() || name.len() > 255 || !name.chars().all(fine) {
        let text = "unit is a unit's full name such as nginx.service, a container's such as \
                    container:web, or null for all";
        return Err(text.to_owned());
    }
    Ok(Some(name.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_held_by_the_name_of_its_check() {
        let of = |name: &str| unit(Some(name.to_owned())).is_ok();
        assert!(of("container:web") && of("container:podman/web") && of("nginx.service"));
        assert!(!of("podman/web") && !of("container:a b") && !of(""));
    }

    #[test]
    fn a_silence_says_what_it_is_about() {
        let of = |body: SilenceBody| body.matcher().map(|m| m.to_string());
        let body = |checks: &[&str]| SilenceBody {
            checks: checks.iter().map(|c| (*c).to_owned()).collect(),
            seconds: 60,
            ..SilenceBody::default()
        };
        assert!(of(body(&[])).unwrap_err().starts_with("say what is to be silent"));
        assert_eq!(of(body(&["nginx", "disk:*"])).unwrap(), "unit:nginx.service, disk:*");
        assert_eq!(of(body(&["*", "nginx"])).unwrap(), "everything");
        assert!(of(body(&["disc:/var"])).unwrap_err().contains("no kind of check"));
        let severe = SilenceBody { severity: Some(Severity::Critical), ..body(&[]) };
        assert_eq!(of(severe).unwrap(), "critical");
        let well = SilenceBody { severity: Some(Severity::Healthy), ..body(&[]) };
        assert_eq!(of(well).unwrap_err(), "severity is warning or critical");
        assert!(of(body(&["memory"; 101])).unwrap_err().contains("at most 100"));
    }

    #[test]
    fn reasons_are_short_and_times_bounded() {
        assert_eq!(checked_why(Some("  moving it ".into())), Ok(Some("moving it".into())));
        assert_eq!(checked_why(Some(" \n".into())), Ok(None));
        let long = checked_why(Some("ä".repeat(501))).unwrap_err();
        assert_eq!(long, "why has at most 500 characters, and this one 501");
        assert!(lasting(0).is_err() && lasting(LONGEST + 1).is_err());
        assert_eq!(unit(ReleaseBody::default().unit).ok(), None);
    }
}
