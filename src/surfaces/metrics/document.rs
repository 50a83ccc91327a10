//! The registry as a page of documentation: `docs/metrics.md`.

use std::fmt::Write;

use super::registry::{self, Entry, FIXED, LABELS, MEASURED, Of};

const INTRO: &str = "\
# Metrics

Every metric that keepwell has. This page is written from the lists in the code, and a test holds it to them. How to scrape, what to alert on, and the dashboard: [prometheus.md](prometheus.md).

## What `/metrics` serves

The type is that of OpenMetrics; in Prometheus' own text an `info` is a gauge. Times are Unix seconds. A ratio goes from 0 to 1. \"Series\" says how many there are at most.

";

const BOUNDS: &str = "\
- Of each kind of check at most 2000 have series: the worst first, then those that the configuration names, then by name. `keepwell_checks_left_out` says how many have none. The overall numbers (`keepwell_checks`, `keepwell_alerts`, `keepwell_severity`) count all.
- No label holds a number that rises, a time, a log line, an alert's id or a run's id.
- A unit that nobody named has series as long as it has a problem. On a host where units with random names fail again and again (`run-u1234.service`), each leaves a few series behind in Prometheus; [prometheus.md](prometheus.md#how-much-it-stores) shows how to drop them.
- Containers go by their names, so one that is made anew goes on in the same series; an id is in no label. Its image, engine, and Compose project and service are on `keepwell_container_info` only: `keepwell_container_memory_used_ratio * on (instance, name) group_left (project, image) keepwell_container_info`. Containers that `docker run` gives random names leave series behind, as units with random names do; name them.
- The labels of `agent.labels` are on `keepwell_host_info` only.

| label | values | at most |
|---|---|---|
";

/// The page, but for what other ways out have.
pub fn document() -> String {
    let mut out = String::from(INTRO);
    table(&mut out, "Host and keepwell itself", FIXED, |e| matches!(e.of, Of::Host));
    table(&mut out, "Checks", FIXED, |e| matches!(e.of, Of::Check | Of::Condition));
    table(&mut out, "Units", FIXED, |e| matches!(e.of, Of::Unit | Of::Restarted));
    table(&mut out, "Containers", FIXED, |e| matches!(e.of, Of::Container | Of::HealedContainer));
    table(&mut out, "Channels, exporters and hooks", FIXED, |e| {
        matches!(e.of, Of::Channel | Of::Exporter | Of::Hook)
    });
    table(&mut out, "Measured", MEASURED, |_| true);
    out.push_str(
        "A check that measures what is not listed here comes out as `keepwell_KIND_VALUE` all the same.\n\n",
    );
    sums(&mut out);
    out.push_str(BOUNDS);
    for label in LABELS {
        line(&mut out, &[&format!("`{}`", label.name), label.meaning, label.bound]);
    }
    out
}

fn table(out: &mut String, title: &str, entries: &[Entry], fits: impl Fn(&Entry) -> bool) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "### {title}\n\n| name | type | unit | labels | series | meaning |");
    out.push_str("|---|---|---|---|---|---|\n");
    for entry in entries.iter().filter(|e| fits(e)) {
        let labels: Vec<String> = entry.labels.iter().map(|l| format!("`{l}`")).collect();
        let mut labels = labels.join(", ");
        if entry.name == registry::HOST_INFO {
            labels.push_str(", `agent.labels`");
        }
        let series = format!("{} {}", entry.each, entry.of.as_str());
        line(
            out,
            &[
                &format!("`{}`", entry.name),
                entry.kind.as_str(),
                entry.unit().unwrap_or(""),
                &labels,
                series.trim_end(),
                entry.help.trim_end_matches('.'),
            ],
        );
    }
    out.push('\n');
}

/// How many series each thing brings.
fn sums(out: &mut String) {
    out.push_str("### How many series there are\n\n| for | at most |\n|---|---|\n");
    for of in Of::ALL {
        let sum: usize = registry::known().filter(|e| e.of == of).map(|e| e.each).sum();
        let thing = match of.as_str() {
            "" => "the host and keepwell itself",
            thing => thing,
        };
        line(out, &[thing, &sum.to_string()]);
    }
    out.push('\n');
}

fn line(out: &mut String, cells: &[&str]) {
    for cell in cells {
        out.push_str("| ");
        out.push_str(cell);
        if !cell.is_empty() {
            out.push(' ');
        }
    }
    out.push_str("|\n");
}
