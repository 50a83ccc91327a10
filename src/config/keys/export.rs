//! The keys of what is sent to collectors: telemetry, OTLP, Azure Monitor.

use super::{Key, Kind, key, table};

pub(super) const TELEMETRY: &[Key] = &[
    key(
        "interval",
        Kind::Duration,
        "\"60s\"",
        "\"30s\"",
        "How often measurements are sent, 1s to 1h. What is sent is what was measured last (`agent.interval`).",
    ),
    key(
        "service_name",
        Kind::Text,
        "\"keepwell\"",
        "\"keepwell-edge\"",
        "The name of the service that sends (`service.name`).",
    ),
    key(
        "attributes",
        Kind::TextMap,
        "{}",
        "{ \"deployment.environment.name\" = \"prod\" }",
        "Further attributes of the resource; `agent.labels` are there already, and `service.name` is `service_name`.",
    ),
    key(
        "cloud",
        Kind::OneOf(&["auto", "azure", "none"]),
        "\"auto\"",
        "\"azure\"",
        "Whether the cloud's metadata service is asked where this host runs; `\"auto\"` asks only where \
         the vendor of the machine is Microsoft.",
    ),
    key(
        "buffer",
        Kind::Size,
        "\"1MiB\"",
        "\"8MiB\"",
        "How much waits in memory, compressed, while a receiver is away, 64KiB to 64MiB; the \
         oldest gives way.",
    ),
    key(
        "warn_after",
        Kind::Duration,
        "\"5m\"",
        "\"30m\"",
        "A receiver that takes nothing for so long is a warning, 10s to 1d.",
    ),
];

const ENDPOINT: Key = key(
    "endpoint",
    Kind::Address,
    "",
    "\"https://collector.example.org/v1/metrics\"",
    "Where to, used as it is; `otlp.endpoint` with /v1/metrics or /v1/logs by default.",
);
const HEADERS: Key = key(
    "headers",
    Kind::SecretMap,
    "{}",
    "{ api-key = { credential = \"otlp-key\" } }",
    "Headers of each request; their values are not shown, and capitals in their names do not count.",
);
const TIMEOUT: Key = key(
    "timeout",
    Kind::Duration,
    "\"10s\"",
    "\"30s\"",
    "How long one request may take, 1s to 1m.",
);
const COMPRESSION: Key = key(
    "compression",
    Kind::OneOf(&["gzip", "none"]),
    "\"gzip\"",
    "\"none\"",
    "How bodies are compressed.",
);
const CA: Key = key(
    "ca",
    Kind::Text,
    "",
    "\"/etc/keepwell/ca.pem\"",
    "A PEM file of certificates that are trusted besides the host's, an absolute path; `outbound.ca` by default.",
);
const PROXY: Key = key(
    "proxy",
    Kind::SecretOrOff,
    "",
    "\"http://proxy.example.org:3128\"",
    "The HTTP proxy; false is none; `outbound.proxy` by default.",
);

/// Without defaults: those of `[otlp]` hold.
const SIGNAL: &[Key] = &[
    ENDPOINT,
    Key {
        default: "",
        doc: "Further headers, and other values for those of [otlp]; their values are not shown.",
        ..HEADERS
    },
    Key {
        default: "",
        doc: "How long one request may take, 1s to 1m; `otlp.timeout` by default.",
        ..TIMEOUT
    },
    Key {
        default: "",
        doc: "How bodies are compressed; `otlp.compression` by default.",
        ..COMPRESSION
    },
];

pub(super) const OTLP: &[Key] = &[
    key(
        "endpoint",
        Kind::Address,
        "",
        "\"http://127.0.0.1:4318\"",
        "The collector: /v1/metrics and /v1/logs are added to its path; without it nothing is sent.",
    ),
    HEADERS,
    TIMEOUT,
    COMPRESSION,
    key(
        "temporality",
        Kind::OneOf(&["cumulative", "delta", "lowmemory"]),
        "",
        "\"delta\"",
        "Whether counters say all since the start or what was added; \
         `\"cumulative\"`, and `\"delta\"` for Azure Monitor, by default.",
    ),
    key(
        "histogram",
        Kind::OneOf(&["explicit", "exponential"]),
        "",
        "\"exponential\"",
        "The shape of histograms; `\"explicit\"`, and `\"exponential\"` for Azure Monitor, by default.",
    ),
    table(
        "metrics",
        Kind::Switch(SIGNAL),
        "Measurements: what differs for them; false sends none.",
    ),
    table(
        "logs",
        Kind::Switch(SIGNAL),
        "Alerts as log records: what differs for them; false sends none.",
    ),
    CA,
    PROXY,
];

pub(super) const AZURE: &[Key] = &[
    key(
        "connection_string",
        Kind::Secret,
        "",
        "{ credential = \"application-insights\" }",
        "Of an Application Insights resource: measurements and alerts go there.",
    ),
    key("metrics", Kind::Bool, "true", "false", "Measurements go there."),
    key("alerts", Kind::Bool, "true", "false", "Alerts go there, as traces."),
    key(
        "identity",
        Kind::OneOf(&["auto", "managed", "workload", "client-secret", "none"]),
        "\"auto\"",
        "\"managed\"",
        "As whom OTLP is sent to Azure Monitor; `\"auto\"` takes what is set below, else the identity of \
         the machine, and only for endpoints of Azure Monitor.",
    ),
    key(
        "client_id",
        Kind::Text,
        "",
        "\"2f2e5c1a-0000-4000-8000-000000000000\"",
        "The client id of the identity; needed where the machine has more than one.",
    ),
    key(
        "tenant_id",
        Kind::Text,
        "",
        "\"9c3a7b10-0000-4000-8000-000000000000\"",
        "The directory, for workload identity and client secret.",
    ),
    key(
        "client_secret",
        Kind::Secret,
        "",
        "{ credential = \"azure-client-secret\" }",
        "The secret of an application.",
    ),
    key(
        "token_file",
        Kind::Text,
        "",
        "\"/var/run/secrets/azure/tokens/azure-identity-token\"",
        "The token of a workload identity, an absolute path; it is read anew each time.",
    ),
    key(
        "authority",
        Kind::Address,
        "\"https://login.microsoftonline.com\"",
        "\"https://login.microsoftonline.us\"",
        "Who gives tokens for workload identity and client secret.",
    ),
    key(
        "metadata",
        Kind::Address,
        "\"http://169.254.169.254\"",
        "\"http://127.0.0.1:8400\"",
        "The metadata service of the machine, which knows where it runs and gives tokens.",
    ),
    TIMEOUT,
    CA,
    PROXY,
];
