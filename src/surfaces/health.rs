//! The bodies of `/health`: keepwell's own small JSON and `application/health+json`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::engine::{CheckView, Severity, Snapshot};

use super::report::{Counts, Stamp};
use super::visible::inert;

/// Whether a monitor should take the host for up: warnings are, and what could not be found out
/// is; critical is not, and neither is a keepwell that has not looked yet.
pub(super) fn is_up(snapshot: &Snapshot) -> bool {
    snapshot.ready && snapshot.severity != Severity::Critical
}

/// `{"status":"healthy","timestamp":"…","host":"…","ready":true,"checks":{…}}`.
pub(super) fn plain(snapshot: &Snapshot) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a> {
        status: Severity,
        timestamp: Stamp,
        host: &'a str,
        ready: bool,
        checks: Counts,
    }
    json(&Body {
        status: snapshot.severity,
        timestamp: Stamp(snapshot.at),
        host: &snapshot.host,
        ready: snapshot.ready,
        checks: Counts::of(snapshot),
    })
}

/// The body for those who ask for `application/health+json` (draft-inadarei-api-health-check-06).
pub(super) fn draft(snapshot: &Snapshot, version: &str) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        status: &'static str,
        version: &'static str,
        release_id: &'a str,
        service_id: &'a str,
        description: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        output: Option<&'static str>,
        checks: BTreeMap<String, Vec<Entry<'a>>>,
    }
    let mut checks = BTreeMap::new();
    for check in &snapshot.checks {
        for (key, entry) in entries(check) {
            checks.entry(key).or_insert_with(Vec::new).push(entry);
        }
    }
    json(&Body {
        status: if snapshot.ready { word(snapshot.severity) } else { "fail" },
        version: "1",
        release_id: version,
        service_id: &snapshot.host,
        description: "health of a host and its services, as keepwell sees it",
        output: (!snapshot.ready).then_some("the first look at units and host is not done yet"),
        checks,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    component_id: String,
    component_type: &'static str,
    observed_value: Observed,
    #[serde(skip_serializing_if = "Option::is_none")]
    observed_unit: Option<&'static str>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Stamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Observed {
    Word(&'static str),
    Number(f64),
}

/// One entry for each value that a check measured, or one for its reason when it measured none.
fn entries(check: &CheckView) -> Vec<(String, Entry<'_>)> {
    // A key is component:measurement, and the component itself may hold no colon.
    let component = check.id.to_string().replace(':', " ");
    let entry = |value, unit| Entry {
        component_id: check.id.to_string(),
        component_type: "system",
        observed_value: value,
        observed_unit: unit,
        status: word(check.severity),
        time: check.last_check.map(Stamp),
        output: (check.severity != Severity::Healthy).then_some(check.summary.as_str()),
    };
    if check.values.is_empty() {
        let value = Observed::Word(check.reason.as_str());
        return vec![(format!("{component}:state"), entry(value, None))];
    }
    check
        .values
        .iter()
        .map(|v| {
            let unit = match v.name.rsplit('_').next() {
                Some("seconds") => Some("s"),
                Some("bytes") => Some("By"),
                Some("ratio") => Some("1"),
                _ => None,
            };
            (format!("{component}:{}", v.name), entry(Observed::Number(v.value), unit))
        })
        .collect()
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Healthy => "pass",
        Severity::Unknown | Severity::Warning => "warn",
        Severity::Critical => "fail",
    }
}

/// Serializes what cannot fail: string keys, and numbers (those that are not finite become null).
/// What would steer a display is escaped.
pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    inert(serde_json::to_vec(value).unwrap_or_else(|_| b"null".to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surfaces::sample;

    fn parsed(body: Vec<u8>) -> serde_json::Value {
        serde_json::from_slice(&body).unwrap()
    }

    #[test]
    fn the_small_body_says_status_and_time() {
        assert_eq!(
            parsed(plain(&sample::failing())),
            serde_json::json!({
                "status": "critical", "timestamp": "2026-01-31T07:17:22.5Z", "host": "web-1",
                "ready": true,
                "checks": {"healthy": 5, "unknown": 1, "warning": 1, "critical": 1},
            })
        );
    }

    #[test]
    fn the_draft_body_has_one_entry_per_measurement() {
        let body = parsed(draft(&sample::failing(), "0.1.0"));
        assert_eq!(body["status"], "fail");
        assert_eq!(body["checks"]["disk /var:used_ratio"][0]["observedValue"], 0.84);
        assert_eq!(body["checks"]["disk /var:used_ratio"][0]["status"], "warn");
        let nginx = &body["checks"]["unit nginx.service:state"][0];
        assert_eq!(nginx["observedValue"], "exit-code");
        assert_eq!(nginx["componentId"], "unit:nginx.service");
        assert_eq!(nginx["output"], "failed: exit code 1");
        assert_eq!(body["checks"]["heartbeat /srv/beat:state"][0]["status"], "warn");
        assert!(body["checks"]["memory:used_ratio"][0].get("output").is_none());
        assert_eq!(parsed(draft(&sample::before_first_round(), "1"))["status"], "fail");
    }
}
