//! The one list of metrics: name, type and help text. `docs/metrics` follows it.

use std::borrow::Cow;

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only rises; its name ends in `_total`.
    Counter,
    /// Always 1, what it says is in its labels; its name ends in `_info`.
    Info,
}

/// A known metric.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) help: &'static str,
}

const fn gauge(name: &'static str, help: &'static str) -> Entry {
    Entry { name, kind: Kind::Gauge, help }
}

const fn counter(name: &'static str, help: &'static str) -> Entry {
    Entry { name, kind: Kind::Counter, help }
}

const fn info(name: &'static str, help: &'static str) -> Entry {
    Entry { name, kind: Kind::Info, help }
}

/// What is always there, whatever the checks measure. [`super::family`] fills it by name.
pub(super) const FIXED: &[Entry] = &[
    info("keepwell_build_info", "Version of keepwell that runs."),
    info("keepwell_host_info", "Host name and the labels that the user gave it."),
    gauge("keepwell_ready", "Whether the first look at units and host is done (1) or not (0)."),
    gauge("keepwell_severity", "Worst of all checks: 0 healthy, 1 unknown, 2 warning, 3 critical."),
    gauge("keepwell_start_time_seconds", "When keepwell started, in seconds since the epoch."),
    gauge(
        "keepwell_snapshot_time_seconds",
        "When these values were taken, in seconds since the epoch.",
    ),
    gauge("keepwell_checks", "Checks by severity."),
    gauge("keepwell_alerts_open", "Open alerts by severity."),
    gauge(
        "keepwell_alerts",
        "Open alerts by severity and by who looks after them: active, acknowledged or silenced.",
    ),
    gauge("keepwell_silences", "Silences in force, under which no messages are sent."),
    gauge("keepwell_holds", "Holds in force, under which keepwell does not heal."),
    gauge("keepwell_units_loaded", "Units that systemd has loaded."),
    gauge(
        "keepwell_check_severity",
        "State of a check: 0 healthy, 1 unknown, 2 warning, 3 critical.",
    ),
    gauge(
        "keepwell_check_consecutive_failures",
        "Times in a row that a check was found warning or critical.",
    ),
    gauge("keepwell_unit_active", "Whether a unit is active (1) or not (0)."),
    gauge(
        "keepwell_unit_state",
        "Active state of a unit: 1 for the state that it is in, 0 for the others.",
    ),
    counter("keepwell_unit_restarts_total", "Restarts of a unit after a failure, by whomever."),
    counter("keepwell_unit_crashes_total", "Runs of a unit that ended badly."),
    counter("keepwell_unit_healed_total", "Restarts of a unit by keepwell."),
    gauge("keepwell_unit_backoff_step", "Restarts by keepwell since the unit was last stable."),
    gauge(
        "keepwell_channel_up",
        "Whether a channel works or was not tried (1), or fails or is stopped (0).",
    ),
    counter("keepwell_channel_sent_total", "Messages that a channel delivered."),
    counter("keepwell_channel_failed_total", "Tries of a channel to deliver that failed."),
    gauge(
        "keepwell_channel_queued",
        "Alerts, notices and reports that wait to be told by a channel.",
    ),
    gauge(
        "keepwell_channel_last_success_timestamp_seconds",
        "When a channel last delivered a message, in seconds since the epoch.",
    ),
    gauge(
        "keepwell_channel_latency_seconds",
        "Time that the last message of a channel took from decision to delivery.",
    ),
];

/// What checks are known to measure. Others come out as well, with a general help text.
pub(super) const MEASURED: &[Entry] = &[
    gauge("keepwell_disk_used_ratio", "Part of a file system's space that is in use, 0 to 1."),
    gauge("keepwell_disk_size_bytes", "Size of a file system, without what is reserved for root."),
    gauge("keepwell_disk_available_bytes", "Space left to use on a file system."),
    gauge("keepwell_units_failed", "Units that have a problem."),
    gauge("keepwell_inodes_used_ratio", "Part of a file system's inodes that is in use, 0 to 1."),
    gauge("keepwell_inodes_size", "Inodes of a file system."),
    gauge("keepwell_inodes_available", "Inodes left to use on a file system."),
    gauge("keepwell_memory_used_ratio", "Part of memory that is not available, 0 to 1."),
    gauge("keepwell_memory_size_bytes", "Memory of the host."),
    gauge("keepwell_memory_available_bytes", "Memory that programs can still have."),
    gauge("keepwell_swap_used_ratio", "Part of swap in use, 0 to 1."),
    gauge("keepwell_swap_size_bytes", "Swap of the host."),
    gauge("keepwell_swap_available_bytes", "Swap that is free."),
    gauge(
        "keepwell_cpu_used_ratio",
        "Part of all processor time in use since the last sampling, 0 to 1.",
    ),
    gauge(
        "keepwell_load_per_cpu_ratio",
        "Load average over 5 minutes divided by the number of processors.",
    ),
    gauge(
        "keepwell_pressure_some_ratio",
        "Part of the last 60 s in which some task waited for a resource.",
    ),
    gauge(
        "keepwell_pressure_full_ratio",
        "Part of the last 60 s in which all tasks waited for a resource.",
    ),
    gauge("keepwell_load_average_1m", "Load average over 1 minute."),
    gauge("keepwell_load_average_5m", "Load average over 5 minutes."),
    gauge("keepwell_load_average_15m", "Load average over 15 minutes."),
    gauge("keepwell_load_processors", "Processors online."),
    gauge("keepwell_heartbeat_age_seconds", "Time since a heartbeat file last changed."),
    gauge("keepwell_heartbeat_max_age_seconds", "Age from which on a heartbeat file is stale."),
    gauge("keepwell_agent_resident_memory_bytes", "Resident memory of keepwell itself."),
    counter("keepwell_agent_cpu_seconds_total", "Processor time that keepwell itself has used."),
    gauge("keepwell_agent_open_fds", "Open file descriptors of keepwell itself."),
    gauge("keepwell_host_uptime_seconds", "Time since the host booted."),
    counter(
        "keepwell_host_oom_kills_total",
        "Processes that the kernel killed for want of memory since boot.",
    ),
];

/// Type and help of a measured value; from its name alone where the list does not have it.
pub(super) fn measured(name: &str) -> (Kind, Cow<'static, str>) {
    if let Some(entry) = MEASURED.iter().find(|e| e.name == name) {
        return (entry.kind, entry.help.into());
    }
    let kind = if name.ends_with("_total") { Kind::Counter } else { Kind::Gauge };
    let words = name.trim_start_matches("keepwell_").trim_end_matches("_total").replace('_', " ");
    (kind, format!("Measured by a check of keepwell: {words}.").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_shaped_as_prometheus_wants_them() {
        let mut seen = std::collections::BTreeSet::new();
        for entry in FIXED.iter().chain(MEASURED) {
            assert!(seen.insert(entry.name), "{} is listed twice", entry.name);
            assert!(entry.name.starts_with("keepwell_"), "{}", entry.name);
            let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(entry.name.chars().all(fine), "{}", entry.name);
            assert_eq!(
                entry.name.ends_with("_total"),
                entry.kind == Kind::Counter,
                "{}",
                entry.name
            );
            assert_eq!(entry.name.ends_with("_info"), entry.kind == Kind::Info, "{}", entry.name);
            assert!(entry.help.ends_with('.'), "{}", entry.name);
        }
    }

    #[test]
    fn an_unknown_value_still_has_a_type_and_a_help_text() {
        let (kind, help) = measured("keepwell_swap_pages_in_total");
        assert_eq!(kind, Kind::Counter);
        assert_eq!(help, "Measured by a check of keepwell: swap pages in.");
        assert_eq!(measured("keepwell_cpu_steal_ratio").0, Kind::Gauge);
    }
}
