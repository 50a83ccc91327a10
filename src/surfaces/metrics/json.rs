//! Writes families as JSON: `{"metrics":{"keepwell_disk_used_ratio":[{"labels":{…},"value":0.4}]}}`.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::engine::{Severity, Snapshot};
use crate::surfaces::health;
use crate::surfaces::report::Stamp;

use super::family::{Family, Sample};

/// The whole body.
pub(super) fn write(snapshot: &Snapshot, families: &[Family<'_>]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a> {
        timestamp: Stamp,
        host: &'a str,
        status: Severity,
        metrics: Families<'a>,
    }
    health::json(&Body {
        timestamp: Stamp(snapshot.at),
        host: &snapshot.host,
        status: snapshot.severity,
        metrics: Families(families),
    })
}

struct Families<'a>(&'a [Family<'a>]);

impl Serialize for Families<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self.0.iter().map(|f| (&f.name, &f.samples)))
    }
}

impl Serialize for Sample<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        struct Labels<'a>(&'a Sample<'a>);
        impl Serialize for Labels<'_> {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_map(self.0.labels.iter().map(|(name, value)| (name, value)))
            }
        }
        let mut map = s.serialize_map(None)?;
        if !self.labels.is_empty() {
            map.serialize_entry("labels", &Labels(self))?;
        }
        map.serialize_entry("value", &self.value)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Format, render};
    use crate::surfaces::sample;

    #[test]
    fn each_metric_is_a_list_of_labelled_values() {
        let body = render(&sample::failing(), "0.1.0", Format::Json);
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["status"], "critical");
        assert_eq!(body["timestamp"], "2026-01-31T07:17:22.5Z");
        assert_eq!(
            body["metrics"]["keepwell_disk_used_ratio"],
            serde_json::json!([
                {"labels": {"mount": "/"}, "value": 0.42},
                {"labels": {"mount": "/var"}, "value": 0.84},
            ])
        );
        assert_eq!(body["metrics"]["keepwell_ready"], serde_json::json!([{"value": 1.0}]));
    }
}
