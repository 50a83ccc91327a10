//! What is always there, whatever the checks measure. `family` fills it by name.

use super::{Entry, Of, counter, gauge, info};

/// One series a container.
const fn container(entry: Entry) -> Entry {
    entry.of(Of::Container, 1, &["name"])
}

/// One series a hook.
const fn hook(entry: Entry) -> Entry {
    entry.of(Of::Hook, 1, &["hook", "type"])
}

pub(in crate::surfaces::metrics) const FIXED: &[Entry] = &[
    info("keepwell_build_info", "Version of keepwell that runs, and what it was built for.").of(
        Of::Host,
        1,
        &["version", "arch"],
    ),
    info("keepwell_host_info", "Host name and the labels that the user gave it.").of(
        Of::Host,
        1,
        &["host"],
    ),
    gauge("keepwell_ready", "Whether the first look at units and host is done (1) or not (0)."),
    gauge("keepwell_severity", "Worst of all checks: 0 healthy, 1 unknown, 2 warning, 3 critical."),
    gauge("keepwell_start_time_seconds", "When keepwell started, in seconds since the epoch."),
    gauge(
        "keepwell_snapshot_time_seconds",
        "When these values were taken, in seconds since the epoch.",
    ),
    gauge(
        "keepwell_loop_lag_seconds",
        "How late keepwell's loop was at worst with what was due, of the last one to two minutes.",
    ),
    counter(
        "keepwell_bus_reconnects_total",
        "Times that the connection to systemd was lost and came back, since keepwell started.",
    ),
    gauge("keepwell_checks", "Checks by severity.").of(Of::Host, 4, &["severity"]),
    gauge(
        "keepwell_checks_left_out",
        "Checks that have no series here, as there are more than 2000 of their kind.",
    ),
    gauge("keepwell_alerts_open", "Open alerts by severity.").of(Of::Host, 2, &["severity"]),
    gauge(
        "keepwell_alerts",
        "Open alerts by severity and by who looks after them: active, acknowledged or silenced.",
    )
    .of(Of::Host, 6, &["severity", "state"]),
    gauge("keepwell_silences", "Silences in force, under which no messages are sent."),
    gauge("keepwell_maintenance", "Maintenance windows of the configuration that are in force."),
    gauge("keepwell_holds", "Holds in force, under which keepwell does not heal."),
    gauge(
        "keepwell_quiet",
        "Whether messages and restarts wait (1) for a boot, shutdown, sleep or upgrade to end, or not (0).",
    ),
    gauge("keepwell_units_loaded", "Units that systemd has loaded."),
    gauge(
        "keepwell_check_severity",
        "State of a check: 0 healthy, 1 unknown, 2 warning, 3 critical.",
    )
    .of(Of::Check, 1, &["check", "kind"]),
    gauge(
        "keepwell_check_condition_severity",
        "One condition of a check: 0 healthy, 1 unknown, 2 warning, 3 critical.",
    )
    .of(Of::Condition, 1, &["check", "kind", "condition"]),
    gauge(
        "keepwell_check_consecutive_failures",
        "Times in a row that a check was found warning or critical.",
    )
    .of(Of::Check, 1, &["check", "kind"]),
    gauge("keepwell_unit_active", "Whether a unit is active (1) or not (0).").of(
        Of::Unit,
        1,
        &["name"],
    ),
    gauge(
        "keepwell_unit_state",
        "Active state of a unit: 1 for the state that it is in, 0 for the others.",
    )
    .of(Of::Unit, 7, &["name", "state"]),
    gauge("keepwell_unit_cause", "Why a unit is judged as it is: always 1, the reason is a label.")
        .of(Of::Unit, 1, &["name", "cause"]),
    gauge(
        "keepwell_unit_start_time_seconds",
        "When a unit that is active became active, in seconds since the epoch.",
    )
    .of(Of::Unit, 1, &["name"]),
    counter("keepwell_unit_restarts_total", "Restarts of a unit after a failure, by whomever.").of(
        Of::Unit,
        1,
        &["name"],
    ),
    gauge(
        "keepwell_unit_restarts_in_window",
        "Restarts of a unit within the window in which a crash loop is looked for.",
    )
    .of(Of::Unit, 1, &["name"]),
    counter("keepwell_unit_crashes_total", "Runs of a unit that ended badly.").of(
        Of::Unit,
        1,
        &["name"],
    ),
    counter("keepwell_unit_healed_total", "Restarts of a unit by keepwell.").of(
        Of::Unit,
        1,
        &["name"],
    ),
    gauge("keepwell_unit_backoff_step", "Restarts by keepwell since the unit was last stable.").of(
        Of::Unit,
        1,
        &["name"],
    ),
    gauge(
        "keepwell_unit_healing",
        "What keepwell is about with a unit that it may restart: always 1, the phase is a label.",
    )
    .of(Of::Restarted, 1, &["name", "phase"]),
    gauge(
        "keepwell_unit_next_attempt_timestamp_seconds",
        "When keepwell will restart a unit, in seconds since the epoch; absent when it will not.",
    )
    .of(Of::Restarted, 1, &["name"]),
    info(
        "keepwell_container_info",
        "What a container is: its engine, image, and Compose project and service, empty where it has none.",
    )
    .of(Of::Container, 1, &["name", "engine", "image", "project", "service"]),
    container(gauge(
        "keepwell_container_up",
        "Whether a container runs or is paused (1) or not (0).",
    )),
    gauge(
        "keepwell_container_state",
        "State of a container: always 1, the state is a label.",
    )
    .of(Of::Container, 1, &["name", "state"]),
    gauge(
        "keepwell_container_cause",
        "Why a container is judged as it is: always 1, the reason is a label.",
    )
    .of(Of::Container, 1, &["name", "cause"]),
    container(gauge(
        "keepwell_container_healthy",
        "Whether the health check of a container that runs passes (1) or fails (0); absent without one, and until it has said so.",
    )),
    container(gauge(
        "keepwell_container_start_time_seconds",
        "When the present run of a container began, in seconds since the epoch.",
    )),
    container(gauge(
        "keepwell_container_exit_code",
        "Exit code of the last run of a container that does not run.",
    )),
    container(gauge(
        "keepwell_container_oom_killed",
        "Whether the kernel killed a process of the last run for want of memory (1) or not (0).",
    )),
    container(counter(
        "keepwell_container_restarts_total",
        "Restarts of a container after a failure or by its policy, by whomever.",
    )),
    container(gauge(
        "keepwell_container_restarts_in_window",
        "Restarts of a container within the window in which a restart loop is looked for.",
    )),
    container(counter(
        "keepwell_container_crashes_total",
        "Runs of a container that ended badly.",
    )),
    container(counter("keepwell_container_healed_total", "Restarts of a container by keepwell.")),
    container(gauge(
        "keepwell_container_backoff_step",
        "Restarts by keepwell since the container was last stable.",
    )),
    gauge(
        "keepwell_container_healing",
        "What keepwell is about with a container that it may restart: always 1, the phase is a label.",
    )
    .of(Of::HealedContainer, 1, &["name", "phase"]),
    gauge(
        "keepwell_container_next_attempt_timestamp_seconds",
        "When keepwell will restart a container, in seconds since the epoch; absent when it will not.",
    )
    .of(Of::HealedContainer, 1, &["name"]),
    container(counter(
        "keepwell_container_cpu_seconds_total",
        "Processor time that the present run of a container has used.",
    )),
    container(gauge(
        "keepwell_container_cpu_used_ratio",
        "Processors that a container uses, as a part of its limit, or of the host's where it has none.",
    )),
    container(gauge(
        "keepwell_container_cpu_limit_processors",
        "Processors that a container may use; absent where it has no limit.",
    )),
    container(gauge(
        "keepwell_container_memory_used_bytes",
        "Memory that a container uses, without what the kernel would give back at once.",
    )),
    container(gauge(
        "keepwell_container_memory_used_ratio",
        "Memory that a container uses, as a part of its limit, or of the host's where it has none.",
    )),
    container(gauge(
        "keepwell_container_memory_limit_bytes",
        "Memory that a container may use; absent where it has no limit.",
    )),
    container(counter(
        "keepwell_container_network_received_bytes_total",
        "Bytes that the present run of a container has received, but for its loopback.",
    )),
    container(counter(
        "keepwell_container_network_sent_bytes_total",
        "Bytes that the present run of a container has sent, but for its loopback.",
    )),
    container(counter(
        "keepwell_container_block_read_bytes_total",
        "Bytes that the present run of a container has read from block devices.",
    )),
    container(counter(
        "keepwell_container_block_written_bytes_total",
        "Bytes that the present run of a container has written to block devices.",
    )),
    container(gauge("keepwell_container_pids", "Processes and threads of a container.")),
    hook(counter("keepwell_hook_sent_total", "Calls of a hook that its receiver took.")),
    hook(counter("keepwell_hook_failed_total", "Tries of a hook that failed.")),
    hook(counter(
        "keepwell_hook_refused_total",
        "Calls of a hook that were given up, because they were refused for good.",
    )),
    hook(gauge("keepwell_hook_queued", "Calls of a hook that wait.")),
    hook(gauge(
        "keepwell_hook_last_success_timestamp_seconds",
        "When a call of a hook was last taken, in seconds since the epoch.",
    )),
    gauge(
        "keepwell_channel_up",
        "Whether a channel works or was not tried (1), or fails or is stopped (0).",
    )
    .of(Of::Channel, 1, &["channel", "type"]),
    counter("keepwell_channel_sent_total", "Messages that a channel delivered.").of(
        Of::Channel,
        1,
        &["channel", "type"],
    ),
    counter("keepwell_channel_failed_total", "Tries of a channel to deliver that failed.").of(
        Of::Channel,
        1,
        &["channel", "type"],
    ),
    gauge(
        "keepwell_channel_queued",
        "Alerts, notices and reports that wait to be told by a channel.",
    )
    .of(Of::Channel, 1, &["channel", "type"]),
    gauge(
        "keepwell_channel_last_success_timestamp_seconds",
        "When a channel last delivered a message, in seconds since the epoch.",
    )
    .of(Of::Channel, 1, &["channel", "type"]),
    gauge(
        "keepwell_channel_latency_seconds",
        "Time that the last message of a channel took from decision to delivery.",
    )
    .of(Of::Channel, 1, &["channel", "type"]),
    counter("keepwell_export_sent_total", "Batches of measurements that a receiver took.").of(
        Of::Exporter,
        1,
        &["exporter"],
    ),
    counter("keepwell_export_failed_total", "Tries to export a batch that failed.").of(
        Of::Exporter,
        1,
        &["exporter"],
    ),
    counter(
        "keepwell_export_dropped_total",
        "Batches given up: refused for good, or no room for them.",
    )
    .of(Of::Exporter, 1, &["exporter"]),
    counter(
        "keepwell_export_rejected_total",
        "Measurements that a receiver did not take out of a batch that it took.",
    )
    .of(Of::Exporter, 1, &["exporter"]),
    gauge("keepwell_export_queued", "Batches that wait to be exported.").of(
        Of::Exporter,
        1,
        &["exporter"],
    ),
    gauge(
        "keepwell_export_last_success_timestamp_seconds",
        "When a batch was last exported, in seconds since the epoch.",
    )
    .of(Of::Exporter, 1, &["exporter"]),
];
