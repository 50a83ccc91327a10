//! Writes families as Prometheus text 0.0.4 or OpenMetrics 1.0.

use std::fmt::Write;

use super::family::Family;
use super::registry::{self, Kind};
use crate::surfaces::visible::steers;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Prometheus text 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0: a family is named without its suffix, and `# EOF` ends it all.
    OpenMetrics,
}

/// The whole text.
pub(super) fn write(families: &[Family<'_>], dialect: Dialect) -> String {
    let samples: usize = families.iter().map(|f| f.samples.len() + 2).sum();
    let mut out = String::with_capacity(samples * 80);
    for family in families {
        head(&mut out, family, dialect);
        for sample in &family.samples {
            out.push_str(&family.name);
            for (i, (name, value)) in sample.labels.iter().enumerate() {
                out.push(if i == 0 { '{' } else { ',' });
                out.push_str(name);
                out.push_str("=\"");
                escape(&mut out, value, true);
                out.push('"');
            }
            if !sample.labels.is_empty() {
                out.push('}');
            }
            out.push(' ');
            number(&mut out, sample.value);
            out.push('\n');
        }
    }
    if dialect == Dialect::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

fn head(out: &mut String, family: &Family<'_>, dialect: Dialect) {
    let full: &str = &family.name;
    let (name, kind) = match (dialect, family.kind) {
        (Dialect::Prometheus, Kind::Counter) => (full, "counter"),
        (Dialect::Prometheus, _) => (full, "gauge"),
        (Dialect::OpenMetrics, Kind::Counter) => {
            (full.strip_suffix("_total").unwrap_or(full), "counter")
        }
        (Dialect::OpenMetrics, Kind::Info) => (full.strip_suffix("_info").unwrap_or(full), "info"),
        (Dialect::OpenMetrics, Kind::Gauge) => (full, "gauge"),
    };
    out.push_str("# HELP ");
    out.push_str(name);
    out.push(' ');
    escape(out, &family.help, dialect == Dialect::OpenMetrics);
    // Writing to a string cannot fail.
    let _ = writeln!(out, "\n# TYPE {name} {kind}");
    if dialect == Dialect::OpenMetrics
        && let Some(unit) = registry::unit(full)
    {
        let _ = writeln!(out, "# UNIT {name} {unit}");
    }
}

fn escape(out: &mut String, text: &str, quotes: bool) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            // Neither format has an escape for it: it becomes text.
            _ if steers(c) => {
                out.push('\\');
                out.extend(c.escape_default());
            }
            _ => out.push(c),
        }
    }
}

fn number(out: &mut String, value: f64) {
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else {
        // Writing to a string cannot fail.
        let _ = write!(out, "{value}");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::super::{Format, render};
    use crate::engine::Snapshot;
    use crate::engine::view::Value;
    use crate::surfaces::sample;

    fn text(snapshot: &Snapshot, format: Format) -> String {
        String::from_utf8(render(snapshot, "0.1.0", format)).unwrap()
    }

    /// Reads the text back as a scraper does: every sample belongs to the family above it, no
    /// sample is there twice. Gives each sample's value by its name and labels.
    fn parse(text: &str) -> BTreeMap<String, f64> {
        let mut samples = BTreeMap::new();
        let mut families = BTreeSet::new();
        let (mut helped, mut family, mut kind) = (String::new(), String::new(), String::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("HELP has a text");
                assert!(!help.is_empty());
                helped = name.to_owned();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, type_) = rest.split_once(' ').expect("TYPE has a type");
                assert_eq!(name, helped, "HELP comes before TYPE");
                assert!(families.insert(name.to_owned()), "{name} comes in two places");
                (family, kind) = (name.to_owned(), type_.to_owned());
            } else if let Some(rest) = line.strip_prefix("# UNIT ") {
                let (name, unit) = rest.split_once(' ').expect("UNIT has a unit");
                assert_eq!(name, family, "UNIT comes after TYPE");
                assert!(name.ends_with(&format!("_{unit}")), "{line}");
            } else if line != "# EOF" {
                let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
                let name = series.split('{').next().unwrap();
                let fits = match kind.as_str() {
                    "counter" => name.ends_with("_total") && name.starts_with(&family),
                    "info" => name == format!("{family}_info"),
                    _ => name == family,
                };
                assert!(fits, "{name} stands below {family} ({kind})");
                let value = value.parse().expect("a value is a number");
                assert!(samples.insert(series.to_owned(), value).is_none(), "{series} twice");
            }
        }
        samples
    }

    #[test]
    fn prometheus_text_has_what_the_snapshot_has() {
        let text = text(&sample::failing(), Format::Prometheus);
        let samples = parse(&text);
        let arch = std::env::consts::ARCH;
        let build = format!("keepwell_build_info{{version=\"0.1.0\",arch=\"{arch}\"}}");
        for (series, value) in [
            (build.as_str(), 1.0),
            ("keepwell_host_info{host=\"web-1\",env=\"prod\"}", 1.0),
            ("keepwell_ready", 1.0),
            ("keepwell_severity", 3.0),
            ("keepwell_check_severity{check=\"unit:nginx.service\",kind=\"unit\"}", 3.0),
            ("keepwell_check_severity{check=\"memory\",kind=\"memory\"}", 0.0),
            ("keepwell_unit_active{name=\"nginx.service\"}", 0.0),
            ("keepwell_unit_state{name=\"nginx.service\",state=\"failed\"}", 1.0),
            ("keepwell_unit_state{name=\"nginx.service\",state=\"active\"}", 0.0),
            ("keepwell_unit_restarts_total{name=\"nginx.service\"}", 3.0),
            ("keepwell_unit_crashes_total{name=\"nginx.service\"}", 4.0),
            ("keepwell_unit_healed_total{name=\"nginx.service\"}", 2.0),
            ("keepwell_unit_backoff_step{name=\"nginx.service\"}", 2.0),
            ("keepwell_unit_cause{name=\"nginx.service\",cause=\"exit-code\"}", 1.0),
            ("keepwell_unit_restarts_in_window{name=\"nginx.service\"}", 2.0),
            ("keepwell_unit_start_time_seconds{name=\"web@2.service\"}", 1_769_843_717.5),
            ("keepwell_unit_healing{name=\"web@2.service\",phase=\"held\"}", 1.0),
            (
                "keepwell_unit_next_attempt_timestamp_seconds{name=\"nginx.service\"}",
                1_769_843_862.5,
            ),
            ("keepwell_disk_used_ratio{mount=\"/var\"}", 0.84),
            ("keepwell_disk_size_bytes{mount=\"/\"}", 1e11),
            ("keepwell_memory_used_ratio", 0.31),
            ("keepwell_heartbeat_age_seconds{file=\"/run/job/beat\"}", 12.0),
            ("keepwell_alerts_open{severity=\"critical\"}", 1.0),
            ("keepwell_start_time_seconds", 1_769_840_242.5),
            ("keepwell_units_loaded", 180.0),
        ] {
            assert_eq!(samples.get(series), Some(&value), "{series} in\n{text}");
        }
        assert!(text.contains("# TYPE keepwell_unit_restarts_total counter\n"));
        // Comments of other sorts are for OpenMetrics.
        assert!(!text.contains("# EOF") && !text.contains("# UNIT"));
    }

    #[test]
    fn channels_and_the_care_for_alerts_are_measured() {
        let text = text(&sample::busy(), Format::Prometheus);
        let samples = parse(&text);
        for (series, value) in [
            ("keepwell_alerts{severity=\"critical\",state=\"active\"}", 2.0),
            ("keepwell_alerts{severity=\"critical\",state=\"acknowledged\"}", 1.0),
            ("keepwell_alerts{severity=\"critical\",state=\"silenced\"}", 0.0),
            ("keepwell_alerts{severity=\"warning\",state=\"silenced\"}", 1.0),
            ("keepwell_alerts_open{severity=\"critical\"}", 3.0),
            ("keepwell_silences", 1.0),
            ("keepwell_maintenance", 1.0),
            ("keepwell_quiet", 1.0),
            ("keepwell_loop_lag_seconds", 0.0045),
            ("keepwell_bus_reconnects_total", 2.0),
            ("keepwell_export_sent_total{exporter=\"otlp\"}", 240.0),
            ("keepwell_export_failed_total{exporter=\"otlp\"}", 5.0),
            ("keepwell_export_dropped_total{exporter=\"otlp\"}", 2.0),
            ("keepwell_export_rejected_total{exporter=\"otlp\"}", 1.0),
            ("keepwell_export_queued{exporter=\"otlp\"}", 3.0),
            ("keepwell_export_last_success_timestamp_seconds{exporter=\"otlp\"}", 1_769_843_812.5),
            ("keepwell_channel_up{channel=\"ops\",type=\"slack\"}", 1.0),
            ("keepwell_channel_up{channel=\"pager\",type=\"webhook\"}", 0.0),
            ("keepwell_channel_up{channel=\"mail\",type=\"email\"}", 0.0),
            ("keepwell_channel_up{channel=\"chat\",type=\"telegram\"}", 1.0),
            ("keepwell_channel_sent_total{channel=\"ops\",type=\"slack\"}", 12.0),
            ("keepwell_channel_failed_total{channel=\"mail\",type=\"email\"}", 4.0),
            ("keepwell_channel_queued{channel=\"pager\",type=\"webhook\"}", 3.0),
            ("keepwell_channel_latency_seconds{channel=\"ops\",type=\"slack\"}", 1.25),
            (
                "keepwell_channel_last_success_timestamp_seconds{channel=\"ops\",type=\"slack\"}",
                1_769_843_718.5,
            ),
        ] {
            assert_eq!(samples.get(series), Some(&value), "{series} in\n{text}");
        }
        let absent = "keepwell_channel_latency_seconds{channel=\"chat\",type=\"telegram\"}";
        assert_eq!(samples.get(absent), None);
    }

    #[test]
    fn openmetrics_names_families_without_suffix_and_ends_in_eof() {
        let text = text(&sample::failing(), Format::OpenMetrics);
        parse(&text);
        assert!(text.contains("# TYPE keepwell_unit_restarts counter\n"), "{text}");
        assert!(text.contains("# TYPE keepwell_build info\n"), "{text}");
        assert!(text.contains("\nkeepwell_build_info{version="), "{text}");
        for unit in [
            "keepwell_agent_cpu_seconds seconds",
            "keepwell_disk_size_bytes bytes",
            "keepwell_disk_used_ratio ratio",
        ] {
            let (name, _) = unit.split_once(' ').unwrap();
            let is_there = text.contains(&format!("# TYPE {name} "));
            assert_eq!(text.contains(&format!("# UNIT {unit}\n")), is_there, "{unit}");
        }
        assert_eq!(text.matches("# EOF").count(), 1);
        assert!(text.ends_with("\n# EOF\n"));
    }

    #[test]
    fn hostile_names_stay_within_their_quotes() {
        let text = text(&sample::hostile(), Format::Prometheus);
        parse(&text);
        let name = r#"keepwell_unit_active{name="x\"><script>alert(1)</script>\\\n"#;
        assert!(text.contains(name), "{text}");
    }

    #[test]
    fn what_steers_a_display_is_shown_in_every_format() {
        let mut snapshot = sample::healthy();
        let evil = "prod\u{202e}\u{2066}\u{200b}\u{1b}".to_owned();
        snapshot.labels = std::sync::Arc::new([("env".to_owned(), evil.clone())].into());
        for format in [Format::Prometheus, Format::OpenMetrics] {
            let text = text(&snapshot, format);
            assert!(text.contains(r#"env="prod\\u{202e}\\u{2066}\\u{200b}\\u{1b}""#), "{text}");
            parse(&text);
        }
        let json = text(&snapshot, Format::Json);
        assert!(json.contains(r"prod\u202e\u2066\u200b\u001b"), "{json}");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["metrics"]["keepwell_host_info"][0]["labels"]["env"], evil);
    }

    #[test]
    fn odd_values_and_names_do_not_spoil_the_scrape() {
        let mut snapshot = sample::healthy();
        let mut unit = (*snapshot.checks[0]).clone();
        unit.values = [("crashes_total", 9.0), ("odd-name", f64::NAN), ("odd-name", 1.0)]
            .map(|(name, value)| Value { name, value })
            .to_vec();
        snapshot.checks[0] = std::sync::Arc::new(unit);
        let odd = ["down_total", "up_total", "back_total"];
        let odd = odd.into_iter().zip([f64::NAN, f64::INFINITY, -1.0]);
        let mut disk = (*snapshot.checks[1]).clone();
        disk.values.extend(odd.map(|(name, value)| Value { name, value }));
        snapshot.checks[1] = std::sync::Arc::new(disk);
        assert!(!text(&snapshot, Format::OpenMetrics).contains("_total{mount"), "no counters");
        let text = text(&snapshot, Format::Prometheus);
        let samples = parse(&text);
        assert_eq!(samples["keepwell_unit_crashes_total{name=\"nginx.service\"}"], 0.0);
        assert!(samples["keepwell_unit_odd_name{name=\"nginx.service\"}"].is_nan());
        assert!(text.contains("# HELP keepwell_unit_odd_name Measured by a check of keepwell"));
    }

    #[test]
    fn promtool_finds_nothing_to_say() {
        // `scripts/test` names the one that it has.
        let promtool = std::env::var_os("KEEPWELL_PROMTOOL").unwrap_or_else(|| "promtool".into());
        let all =
            [sample::failing(), sample::busy(), sample::before_first_round(), sample::hostile()];
        for snapshot in all {
            let run = Command::new(&promtool)
                .args(["check", "metrics"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn();
            let Ok(mut child) = run else {
                eprintln!("SKIPPED: promtool is not there (Debian package prometheus)");
                return;
            };
            let body = text(&snapshot, Format::Prometheus);
            child.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned()
                + &String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.trim().is_empty(), "{said}\n{body}");
        }
    }
}
