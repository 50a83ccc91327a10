//! Which alerts a route, a silence or a maintenance window is about.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::words::{CheckId, CheckKind, Severity};

/// A check, or all that a glob matches: `unit:nginx.service`, `disk:*`, `memory`. What has no known
/// kind before a colon is the name of a unit, `.service` being added as `systemctl` does.
#[derive(Clone, PartialEq, Eq)]
pub struct CheckPattern {
    text: Arc<str>,
    glob: glob::Pattern,
}

impl CheckPattern {
    /// # Errors
    /// When it is empty, names no kind of check there is, or is no valid glob.
    pub fn try_new(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("a check cannot be empty; write unit:nginx.service, disk:* or *".into());
        }
        let kind = text.split(':').next().unwrap_or(text);
        let known = CheckKind::ALL.iter().any(|k| k.as_str() == kind);
        let full = if text == "*" || known || kind.contains(['*', '?', '[']) && text.contains(':') {
            text.to_owned()
        } else if text.contains(':') && !text.contains('.') {
            return Err(format!(
                "'{kind}' is no kind of check; write unit:nginx.service, disk:/var"
            ));
        } else if text.contains(['*', '?', '[', '.']) {
            format!("unit:{text}")
        } else {
            format!("unit:{text}.service")
        };
        let glob =
            glob::Pattern::new(&full).map_err(|e| format!("not a valid pattern: {}", e.msg))?;
        Ok(Self { text: full.into(), glob })
    }

    /// With kind and suffix.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it means this check. A kind alone means all checks of the kind.
    pub fn matches(&self, check: &CheckId) -> bool {
        *self.text == *check.kind.as_str() || self.glob.matches(&check.to_string())
    }
}

impl fmt::Debug for CheckPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text, f)
    }
}

impl Serialize for CheckPattern {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for CheckPattern {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::try_new(&String::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

/// Which alerts. What is not set matches all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Matcher {
    /// One of these checks; empty: any.
    pub checks: Vec<CheckPattern>,
    /// This severity or worse.
    pub min_severity: Option<Severity>,
    /// All of these labels of the host have these values.
    pub labels: BTreeMap<String, String>,
}

impl Matcher {
    /// Everything.
    pub fn all() -> Self {
        Self::default()
    }

    /// One check.
    ///
    /// # Errors
    /// As [`CheckPattern::try_new`].
    pub fn check(text: &str) -> Result<Self, String> {
        Ok(Self { checks: vec![CheckPattern::try_new(text)?], ..Self::default() })
    }

    /// Whether it means an alert of this check and severity, on a host with these labels.
    pub fn matches(
        &self,
        check: &CheckId,
        severity: Severity,
        labels: &BTreeMap<String, String>,
    ) -> bool {
        (self.checks.is_empty() || self.checks.iter().any(|c| c.matches(check)))
            && self.min_severity.is_none_or(|least| severity >= least)
            && self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = self.checks.iter().map(|c| c.text.to_string()).collect();
        parts.extend(self.min_severity.map(|s| match s {
            Severity::Critical => s.to_string(), // Nothing is worse.
            _ => format!("{s} and worse"),
        }));
        parts.extend(self.labels.iter().map(|(k, v)| format!("{k}={v}")));
        if parts.is_empty() {
            return f.write_str("everything");
        }
        f.write_str(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_named_as_people_do() {
        let means = |pattern: &str, check: &str| {
            CheckPattern::try_new(pattern).unwrap().matches(&check.parse().unwrap())
        };
        assert!(means("nginx", "unit:nginx.service"));
        assert!(means("nginx.service", "unit:nginx.service"));
        assert!(means("web@*", "unit:web@1.service"));
        assert!(means("unit:web@*", "unit:web@1.service"));
        assert!(means("disk", "disk:/var") && means("disk:*", "disk:/var"));
        assert!(means("memory", "memory") && means("*", "disk:/var"));
        assert!(!means("disk:/", "disk:/var") && !means("nginx", "unit:nginx.socket"));
        assert!(CheckPattern::try_new("disc:/var").unwrap_err().contains("no kind of check"));
        assert!(CheckPattern::try_new("").is_err() && CheckPattern::try_new("unit:[").is_err());
    }

    #[test]
    fn all_that_is_set_must_fit() {
        let mut matcher = Matcher::check("disk:*").unwrap();
        let labels = BTreeMap::from([("env".to_owned(), "prod".to_owned())]);
        let disk: CheckId = "disk:/".parse().unwrap();
        assert!(matcher.matches(&disk, Severity::Warning, &labels));
        matcher.min_severity = Some(Severity::Critical);
        assert!(!matcher.matches(&disk, Severity::Warning, &labels));
        matcher.labels.insert("env".into(), "test".into());
        assert!(!matcher.matches(&disk, Severity::Critical, &labels));
        assert_eq!(matcher.to_string(), "disk:*, critical, env=test");
        let warning = Matcher { min_severity: Some(Severity::Warning), ..Matcher::all() };
        assert_eq!(warning.to_string(), "warning and worse");
        let json = serde_json::to_string(&matcher).unwrap();
        assert_eq!(serde_json::from_str::<Matcher>(&json).unwrap(), matcher);
    }
}
