//! Labels: what each says, and what keeps the number of its values small.

/// A label that metrics have.
#[derive(Debug, Clone, Copy)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// What its values are.
    pub meaning: &'static str,
    /// What bounds how many there are at a time.
    pub bound: &'static str,
}

const fn label(name: &'static str, meaning: &'static str, bound: &'static str) -> Label {
    Label { name, meaning, bound }
}

/// Every label, but for those that the user gives by `agent.labels`.
pub const LABELS: &[Label] = &[
    label("arch", "processor that keepwell was built for, such as `x86_64`", "one"),
    label("version", "keepwell's version", "one"),
    label("host", "`agent.hostname`, or the host's own name", "one"),
    label("severity", "`healthy`, `unknown`, `warning`, `critical`", "these"),
    label(
        "state",
        "of alerts `active`, `acknowledged`, `silenced`; of units `active`, `reloading`, `inactive`, `failed`, `activating`, `deactivating`, `maintenance`; of containers `created`, `running`, `paused`, `restarting`, `stopping`, `removing`, `exited`, `dead`, `other`",
        "these",
    ),
    label(
        "check",
        "a check as `keepwell status` names it: `unit:shop.service`, `disk:/var`, `memory`",
        "2000 of a kind",
    ),
    label("kind", "the first half of `check`", "14"),
    label("condition", "`state`, `crash-loop`, `errors`, `memory`, `cpu`", "these"),
    label(
        "name",
        "a unit: those that the configuration names or matches, and those that have a problem; or a container, of further engines with the engine before it: `podman/web`",
        "2000 of each",
    ),
    label("engine", "the container engine that has it: `docker`, `podman`", "one for a container"),
    label("image", "a container's image as it was asked for", "one at a time for a container"),
    label("project", "a container's Compose project", "one at a time for a container"),
    label("service", "a container's Compose service", "one at a time for a container"),
    label(
        "cause",
        "a reason as `keepwell explain` and the journal's `KEEPWELL_REASON` have it: `running`, `exit-code`, `out-of-memory`",
        "one at a time for a unit or container, of a fixed list",
    ),
    label(
        "phase",
        "`idle`, `waiting` (a restart waits for its backoff), `restarting`, `held`, `gave-up`",
        "one at a time for a unit or container",
    ),
    label("mount", "where a file system is mounted", "2000"),
    label("resource", "`cpu`, `memory`, `io`", "these"),
    label(
        "file",
        "a heartbeat file: those that the configuration names or matches",
        "2000; of each pattern 1000",
    ),
    label("probe", "a probe's name", "the configuration"),
    label("channel", "a channel's name", "the configuration"),
    label("type", "a channel's or a hook's type", "one for each"),
    label("hook", "a hook's name", "the configuration"),
    label("exporter", "an exporter's name: `otlp`, `azure`", "the configuration"),
];
