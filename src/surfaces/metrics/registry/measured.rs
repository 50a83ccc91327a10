//! What checks are known to measure. Others come out as well, with a general help text.

use super::{Entry, Of, counter, gauge};

const fn mount(name: &'static str, help: &'static str) -> Entry {
    gauge(name, help).of(Of::Mount, 1, &["mount"])
}

const fn resource(name: &'static str, help: &'static str) -> Entry {
    gauge(name, help).of(Of::Resource, 1, &["resource"])
}

const fn file(name: &'static str, help: &'static str) -> Entry {
    gauge(name, help).of(Of::File, 1, &["file"])
}

const fn probe(name: &'static str, help: &'static str) -> Entry {
    gauge(name, help).of(Of::Probe, 1, &["probe"])
}

pub(in crate::surfaces::metrics) const MEASURED: &[Entry] = &[
    mount("keepwell_disk_used_ratio", "Part of a file system's space that is in use, 0 to 1."),
    mount("keepwell_disk_size_bytes", "Size of a file system, without what is reserved for root."),
    mount("keepwell_disk_available_bytes", "Space left to use on a file system."),
    gauge("keepwell_units_failed", "Units that have a problem."),
    mount("keepwell_inodes_used_ratio", "Part of a file system's inodes that is in use, 0 to 1."),
    mount("keepwell_inodes_size", "Inodes of a file system."),
    mount("keepwell_inodes_available", "Inodes left to use on a file system."),
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
    resource(
        "keepwell_pressure_some_ratio",
        "Part of the last 60 s in which some task waited for a resource.",
    ),
    resource(
        "keepwell_pressure_full_ratio",
        "Part of the last 60 s in which all tasks waited for a resource.",
    ),
    gauge("keepwell_load_average_1m", "Load average over 1 minute."),
    gauge("keepwell_load_average_5m", "Load average over 5 minutes."),
    gauge("keepwell_load_average_15m", "Load average over 15 minutes."),
    gauge("keepwell_load_processors", "Processors online."),
    file("keepwell_heartbeat_age_seconds", "Time since a heartbeat file last changed."),
    file("keepwell_heartbeat_max_age_seconds", "Age from which on a heartbeat file is stale."),
    probe(
        "keepwell_probe_success",
        "Whether a probe found all as it should be: 1, or 0; none while it cannot look.",
    ),
    probe("keepwell_probe_duration_seconds", "How long a probe took the last time."),
    probe(
        "keepwell_probe_git_behind_commits",
        "Commits of the remote that a checkout lacks, where they are known.",
    ),
    probe(
        "keepwell_probe_git_ahead_commits",
        "Commits of a checkout that the remote lacks, where they are known.",
    ),
    probe(
        "keepwell_probe_git_changed_files",
        "Files of a checkout that differ from what is committed.",
    ),
    probe(
        "keepwell_probe_git_untracked_files",
        "Files and folders of a checkout that are not in its repository, where they are looked for.",
    ),
    probe("keepwell_probe_git_fetched_age_seconds", "Time since a checkout last fetched."),
    gauge("keepwell_agent_resident_memory_bytes", "Resident memory of keepwell itself."),
    counter("keepwell_agent_cpu_seconds_total", "Processor time that keepwell itself has used."),
    gauge("keepwell_agent_open_fds", "Open file descriptors of keepwell itself."),
    gauge("keepwell_host_uptime_seconds", "Time since the host booted."),
    counter(
        "keepwell_host_oom_kills_total",
        "Processes that the kernel killed for want of memory since boot.",
    ),
];
