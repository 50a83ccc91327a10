//! Tests of `[telemetry]`, `[otlp]` and `[azure]`: what files and variables say, which weighs more,
//! and what is made of mistakes.

use std::time::Duration;

use super::{Config, good, read, show, wrong};
use crate::config::{Cloud, Identity, Proxy, Signal, Temporality, environment};

mod shown;

const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
const CONNECTION: (&str, &str) =
    ("APPLICATIONINSIGHTS_CONNECTION_STRING", "InstrumentationKey=hunter2");
const AZURE: (&str, &str) = (
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    "https://dce-1.westeurope-1.metrics.ingest.monitor.azure.com/a/b/v1/metrics?x=1",
);

fn with(variables: &[(&str, &str)]) -> Config {
    good(&[], variables)
}

/// Where the two signals go.
fn urls(config: &Config) -> [&str; 2] {
    let otlp = &config.telemetry.otlp;
    [&otlp.metrics, &otlp.logs].map(|signal| signal.as_ref().map_or("", |s| s.url.as_str()))
}

fn headers(signal: &Option<Signal>) -> Vec<(&str, &str)> {
    let headers = &signal.as_ref().unwrap().headers;
    headers.iter().map(|(name, (value, _))| (name.as_str(), value.expose())).collect()
}

fn channels(config: &Config) -> Vec<(&str, &str)> {
    config.channels.iter().map(|c| (&*c.name, c.kind.as_str())).collect()
}

#[test]
fn nothing_is_sent_unless_somebody_says_where_to() {
    let config = with(&[
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_SERVICE_NAME", "shop"),
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_METRICS_EXPORTER", "odd"),
        ("AZURE_AUTHORITY_HOST", "no host"),
        ("AZURE_FEDERATED_TOKEN_FILE", "relative"),
        ("AZURE_CLIENT_SECRET", "hunter2"),
    ]);
    assert_eq!(urls(&config), ["", ""]);
    assert!(config.channels.is_empty() && config.rules.exporters.is_empty());
    assert_eq!(config.warnings.to_string(), "");
    assert_eq!(config.telemetry.service_name, "keepwell");
    assert!(config.telemetry.azure.places.is_empty());
    assert_eq!(config.telemetry.to_string(), "");
}

#[test]
fn every_key_is_read() {
    let text = "[telemetry]\ninterval = \"15s\"\nservice_name = \"kw\"\ncloud = \"none\"\n\
                attributes = { team = \"edge\" }\nbuffer = \"2MiB\"\nwarn_after = \"1m\"\n\
                [otlp]\nendpoint = \"https://c.example.org:4318\"\nheaders = { A = \"1\", b = \"2\" }\n\
                timeout = \"3s\"\ncompression = \"none\"\ntemporality = \"lowmemory\"\n\
                histogram = \"exponential\"\nca = \"/ca.pem\"\nproxy = false\n\
                [otlp.metrics]\nendpoint = \"https://m.example.org/in?k=v\"\ntimeout = \"4s\"\n\
                headers = { a = \"3\" }\ncompression = \"gzip\"\n[otlp.logs]\ntimeout = \"5s\"\n\
                [azure]\nconnection_string = \"InstrumentationKey=k\"\nmetrics = false\n\
                identity = \"client-secret\"\nclient_id = \"c\"\ntenant_id = \"t\"\n\
                client_secret = \"s\"\ntoken_file = \"/token\"\nauthority = \"https://a.example.org/\"\n\
                metadata = \"http://127.0.0.1:8400/\"\ntimeout = \"6s\"\nca = \"/other.pem\"\n\
                proxy = \"http://p.example.org\"\n";
    let config = good(&[text], &[]);
    let telemetry = &config.telemetry;
    let seconds = Duration::from_secs;
    assert_eq!((telemetry.interval, telemetry.warn_after), (seconds(15), seconds(60)));
    assert_eq!((&*telemetry.service_name, telemetry.cloud), ("kw", Cloud::None));
    assert_eq!((&*telemetry.attributes["team"], telemetry.buffer), ("edge", 2 << 20));
    let otlp = &telemetry.otlp;
    let want = ["https://m.example.org/in?k=v", "https://c.example.org:4318/v1/logs"];
    assert_eq!(urls(&config), want);
    assert_eq!(headers(&otlp.metrics), [("a", "3"), ("b", "2")]);
    assert_eq!(headers(&otlp.logs), [("a", "1"), ("b", "2")]);
    let ways = [&otlp.metrics, &otlp.logs].map(|s| s.as_ref().map(|s| (s.timeout, s.gzip)));
    assert_eq!(ways, [Some((seconds(4), true)), Some((seconds(5), false))]);
    assert_eq!((otlp.temporality, otlp.exponential), (Some(Temporality::LowMemory), Some(true)));
    assert_eq!(otlp.outbound.ca.as_ref().unwrap().to_str(), Some("/ca.pem"));
    assert!(otlp.own_ca && otlp.outbound.proxy == Proxy::Off);
    let azure = &telemetry.azure;
    assert_eq!(azure.connection_string.as_ref().unwrap().0.expose(), "InstrumentationKey=k");
    assert_eq!(
        (azure.metrics, azure.alerts, azure.identity),
        (false, true, Identity::ClientSecret)
    );
    assert_eq!([&azure.client_id, &azure.tenant_id].map(|t| t.as_deref()), [Some("c"), Some("t")]);
    assert_eq!(azure.client_secret.as_ref().unwrap().expose(), "s");
    assert_eq!(azure.token_file.as_ref().unwrap().to_str(), Some("/token"));
    let [authority, metadata] = [&azure.authority, &azure.metadata];
    assert_eq!([&**authority, &**metadata], ["https://a.example.org", "http://127.0.0.1:8400"]);
    assert!(azure.timeout == seconds(6) && azure.own_ca && !azure.places.is_empty());
    assert!(matches!(azure.outbound.proxy, Proxy::Url(_)) && config.outbound.ca.is_none());
    assert_eq!(config.rules.exporters, ["otlp".into()]);
    assert_eq!(channels(&config), [("otlp", "otlp"), ("azure", "azure")]);
    assert_eq!(
        telemetry.to_string(),
        "measurements to https://m.example.org; alerts to https://c.example.org:4318 and \
         Application Insights"
    );
}

#[test]
fn every_variable_sets_its_key() {
    let config = with(&[
        ENDPOINT,
        AZURE,
        CONNECTION,
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://l:1/logs/"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "HTTP/protobuf"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "Api-Key=a%20b%2Cc, x = 1=2 ,,empty="),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "x=m"),
        ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "y=l"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "1000"),
        ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "60000"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
        ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "GZIP"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "Delta"),
        (
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
            "base2_exponential_bucket_histogram",
        ),
        ("OTEL_METRIC_EXPORT_INTERVAL", "5000"),
        ("OTEL_METRICS_EXPORTER", "console,otlp"),
        ("OTEL_LOGS_EXPORTER", "otlp"),
        ("OTEL_SDK_DISABLED", "false"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team=caf%C3%A9,deployment.environment.name=prod"),
        ("OTEL_SERVICE_NAME", "shop"),
        ("AZURE_CLIENT_ID", "c"),
        ("AZURE_TENANT_ID", "t"),
        ("AZURE_CLIENT_SECRET", "s"),
        ("AZURE_FEDERATED_TOKEN_FILE", "/token"),
        ("AZURE_AUTHORITY_HOST", "login.example.org/"),
    ]);
    assert_eq!(config.warnings.to_string(), "");
    let (telemetry, otlp) = (&config.telemetry, &config.telemetry.otlp);
    assert_eq!(urls(&config), [AZURE.1, "http://l:1/logs/"], "as they are");
    assert_eq!(headers(&otlp.metrics), [("api-key", "a b,c"), ("x", "m")]);
    assert_eq!(headers(&otlp.logs), [("api-key", "a b,c"), ("x", "1=2"), ("y", "l")]);
    let seconds = Duration::from_secs;
    let ways = [&otlp.metrics, &otlp.logs].map(|s| s.as_ref().map(|s| (s.timeout, s.gzip)));
    assert_eq!(ways, [Some((seconds(1), true)), Some((seconds(60), true))]);
    assert_eq!(otlp.outbound.ca.as_ref().unwrap().to_str(), Some("/ca.pem"));
    assert_eq!((otlp.temporality, otlp.exponential), (Some(Temporality::Delta), Some(true)));
    assert_eq!((telemetry.interval, &*telemetry.service_name), (seconds(5), "shop"));
    assert_eq!(telemetry.attributes["team"], "café");
    let azure = &telemetry.azure;
    assert_eq!([&azure.client_id, &azure.tenant_id].map(|t| t.as_deref()), [Some("c"), Some("t")]);
    assert_eq!(azure.client_secret.as_ref().unwrap().expose(), "s");
    assert_eq!(azure.token_file.as_ref().unwrap().to_str(), Some("/token"));
    assert_eq!(azure.authority, "https://login.example.org");
    assert!(!azure.places.is_empty() && azure.connection_string.is_some());
    assert_eq!(config.rules.exporters, ["otlp".into(), "azure".into()]);
}

#[test]
fn the_path_of_a_signal_goes_below_the_address_for_all() {
    for (endpoint, metrics) in [
        ("http://c:4318", "http://c:4318/v1/metrics"),
        ("http://c:4318/", "http://c:4318/v1/metrics"),
        ("https://c.example.org/otlp", "https://c.example.org/otlp/v1/metrics"),
        ("https://c.example.org/otlp//", "https://c.example.org/otlp/v1/metrics"),
        ("https://c.example.org?key=1/", "https://c.example.org/v1/metrics?key=1/"),
        ("https://c.example.org/otlp/?key=1", "https://c.example.org/otlp/v1/metrics?key=1"),
        ("http://[::1]:4318", "http://[::1]:4318/v1/metrics"),
    ] {
        let config = with(&[(ENDPOINT.0, endpoint)]);
        assert_eq!(urls(&config)[0], metrics);
        assert_eq!(config.warnings.to_string(), "", "{endpoint}");
        let text = format!("[otlp]\nendpoint = \" {endpoint} \"");
        assert_eq!(urls(&good(&[&text], &[]))[0], metrics);
    }
}

#[test]
fn an_address_that_is_meant_for_something_else_is_a_warning() {
    let said = |url| with(&[(ENDPOINT.0, url)]).warnings.to_string();
    let path = said("http://c:4318/v1/metrics/");
    assert!(path.contains("`otlp.endpoint` ends in /v1/metrics"), "{path}");
    for url in ["http://c:4317", "http://c:4317/x?y"] {
        let port = said(url);
        assert!(port.contains("port 4317 is usually that of OTLP over gRPC"), "{port}");
    }
    let own = |url: &str| {
        let text = format!("[otlp.metrics]\nendpoint = \"{url}\"");
        good(&[&text], &[]).warnings.to_string()
    };
    for url in ["http://c:4318", "http://c:4318/"] {
        let path = own(url);
        assert!(path.contains("`otlp.metrics.endpoint` has no path"), "{path}");
        assert!(path.contains("want /v1/metrics"), "{path}");
    }
    for url in ["http://c:4318/in", "http://c:4318?key=a", "http://c:4318/?key=a"] {
        assert_eq!(own(url), "", "{url}");
    }
    assert!(own("http://c:4317/v1/metrics").contains("port 4317"));
    let nowhere = good(&["[otlp]\nmetrics = { timeout = \"3s\" }"], &[]).warnings.to_string();
    assert!(nowhere.contains("0.toml:1:1: warning: [otlp] does not say where to"), "{nowhere}");
    let off = good(&["[otlp]\nmetrics = false\nlogs = false"], &[]).warnings.to_string();
    assert_eq!(off, "");
}

#[test]
fn an_identity_without_otlp_is_a_warning() {
    let said = |text: &str, more: &[(&str, &str)]| good(&[text], more).warnings.to_string();
    let managed = "[azure]\nidentity = \"managed\"";
    for more in [&[][..], &[CONNECTION]] {
        let found = said(managed, more);
        assert!(found.contains("0.toml:2:12: warning: `azure.identity` is of no use"), "{found}");
    }
    assert_eq!(said(managed, &[ENDPOINT]), "");
    assert_eq!(said("[azure]\nidentity = \"none\"", &[]), "");
}

#[test]
fn variables_weigh_more_than_files_key_by_key() {
    let file = "[telemetry]\nservice_name = \"file\"\ninterval = \"20s\"\n\
                attributes = { team = \"edge\", site = \"a\" }\n[otlp]\nendpoint = \"http://file\"\n\
                timeout = \"9s\"\nheaders = { A = \"file\", B = \"file\" }\n[otlp.logs]\n\
                endpoint = \"http://file/logs\"\n[azure]\nconnection_string = \"file\"\n";
    let variables = [
        ENDPOINT,
        ("OTEL_RESOURCE_ATTRIBUTES", "site=b,service.name=attribute,host.name=h"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=variable,c=variable"),
        CONNECTION,
    ];
    let config = good(&[file], &variables);
    let telemetry = &config.telemetry;
    // An address for one signal stays before that for all, also when it is a file's.
    assert_eq!(urls(&config), ["http://collector:4318/v1/metrics", "http://file/logs"]);
    let attributes: Vec<_> = telemetry.attributes.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(attributes, ["host.name=h", "site=b", "team=edge"]);
    assert_eq!(telemetry.service_name, "attribute");
    assert_eq!(telemetry.interval, Duration::from_secs(20));
    let both = [("a", "variable"), ("b", "file"), ("c", "variable")];
    assert_eq!(headers(&telemetry.otlp.metrics), both, "in capitals or not");
    assert_eq!(telemetry.azure.connection_string.as_ref().unwrap().0.expose(), CONNECTION.1);

    let named = [&variables[..], &[("OTEL_SERVICE_NAME", "name")]].concat();
    assert_eq!(good(&[file], &named).telemetry.service_name, "name");
}

#[test]
fn drop_ins_add_up() {
    let files = [
        "[otlp]\nendpoint = \"http://a\"\nheaders = { a = \"1\", b = \"1\" }\nmetrics = false\n",
        "[otlp]\nheaders = { b = \"2\" }\nmetrics = { timeout = \"3s\" }\nlogs = false\n",
    ];
    let config = good(&files, &[]);
    assert_eq!(urls(&config), ["http://a/v1/metrics", ""]);
    assert_eq!(headers(&config.telemetry.otlp.metrics), [("a", "1"), ("b", "2")]);
    assert!(config.channels.is_empty());
}

#[test]
fn a_signal_can_be_turned_off() {
    let off = |signal| {
        let text = format!("[otlp]\nendpoint = \"http://a\"\n{signal} = false");
        good(&[&text], &[])
    };
    let (metrics, logs) = (off("metrics"), off("logs"));
    assert_eq!(urls(&metrics), ["", "http://a/v1/logs"]);
    assert!(metrics.rules.exporters.is_empty() && logs.channels.is_empty());
    assert_eq!(channels(&metrics), [("otlp", "otlp")]);

    // What a file turns off stays off, however a fleet's variables say that it is to be sent.
    let variables = [
        ENDPOINT,
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "1000"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m"),
    ];
    let config = good(&["[otlp]\nmetrics = false"], &variables);
    assert_eq!(urls(&config), ["", "http://collector:4318/v1/logs"]);

    let file = "[otlp.metrics]\nendpoint = \"http://file\"";
    for word in ["none", "prometheus", "console, NONE"] {
        let config = good(&[file], &[ENDPOINT, ("OTEL_METRICS_EXPORTER", word)]);
        assert_eq!(urls(&config), ["", "http://collector:4318/v1/logs"], "{word}");
        assert_eq!(config.warnings.to_string(), "");
    }
    let config = with(&[ENDPOINT, ("OTEL_LOGS_EXPORTER", "none")]);
    assert_eq!(urls(&config), ["http://collector:4318/v1/metrics", ""]);
    let odd = with(&[ENDPOINT, ("OTEL_LOGS_EXPORTER", "carrier-pigeon")]);
    assert!(!urls(&odd)[1].is_empty());
    assert!(odd.warnings.to_string().contains("exporters otlp and none; the variable is left out"));
}

#[test]
fn the_switch_for_all_turns_all_off_and_stops_nobody() {
    let file = "[[channel]]\nname = \"o\"\ntype = \"otlp\"\n[[route]]\nchannels = [\"o\", \"azure\"]\n\
                [report]\nevery = \"1h\"\nchannels = [\"azure\"]";
    let variables = [ENDPOINT, CONNECTION, ("OTEL_SDK_DISABLED", "TRUE")];
    let config = good(&[file], &variables);
    assert_eq!(urls(&config), ["", ""]);
    assert!(config.rules.exporters.is_empty());
    assert_eq!(channels(&config), [("o", "otlp")], "the kind says what becomes of it");
    assert!(!config.telemetry.azure.metrics && !config.telemetry.azure.alerts);
    // Without the variable such a route is an error, which says what to do.
    let said = wrong(&["[[route]]\nchannels = [\"azure\"]"], &[]);
    assert!(said.contains("there is no channel `azure`"), "{said}");
    assert!(said.contains("by itself once `azure.connection_string` is set"), "{said}");
}

#[test]
fn a_collector_for_grpc_is_left_alone() {
    let grpc = |name| (name, "grpc");
    let all = grpc("OTEL_EXPORTER_OTLP_PROTOCOL");
    let secret = ("OTEL_EXPORTER_OTLP_HEADERS", "a=hunter2");
    let config = with(&[ENDPOINT, all, secret]);
    assert_eq!(urls(&config), ["", ""]);
    let said = config.warnings.to_string();
    assert!(said.contains("nothing goes to OTEL_EXPORTER_OTLP_ENDPOINT"), "{said}");
    assert!(said.contains("port for HTTP, usually 4318"), "{said}");

    // What a file says was written for keepwell; that collector's headers are not for it.
    let config = good(&["[otlp]\nendpoint = \"http://file\""], &[ENDPOINT, all, secret]);
    assert_eq!(urls(&config), ["http://file/v1/metrics", "http://file/v1/logs"]);
    assert!(headers(&config.telemetry.otlp.logs).is_empty());

    // A signal by itself, on either side.
    let metrics = grpc("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL");
    let logs = "http://collector:4318/v1/logs";
    assert_eq!(urls(&with(&[ENDPOINT, metrics])), ["", logs]);
    let own = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m");
    assert_eq!(urls(&with(&[ENDPOINT, metrics, own])), ["http://collector:4318/v1/metrics", logs]);
    let http = ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf");
    assert_eq!(urls(&with(&[ENDPOINT, all, own, http])), ["http://m", ""]);
}

#[test]
fn a_variable_that_is_not_understood_counts_as_not_set() {
    let file = "[telemetry]\ninterval = \"20s\"\nservice_name = \"file\"\n[otlp]\n\
                endpoint = \"http://file\"\ntimeout = \"7s\"\ncompression = \"none\"\n\
                temporality = \"delta\"\nca = \"/file.pem\"\nheaders = { a = \"file\" }\n";
    for (name, value, why) in [
        (ENDPOINT.0, "collector:4318", "`otlp.endpoint` must start with https:// or http://"),
        (ENDPOINT.0, "unix:///run/x", "`otlp.endpoint` must start with"),
        (ENDPOINT.0, "http://u:hunter2@c", "`otlp.endpoint` must not hold a user or password"),
        (ENDPOINT.0, "http://c:99999", "`otlp.endpoint` is no valid URL: invalid port number"),
        (ENDPOINT.0, "http://c /", "`otlp.endpoint` must not contain spaces"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "a whole number of milliseconds"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "-1", "a whole number of milliseconds"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "500", "`otlp.timeout` must be between 1 s and 1 min"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0", "`telemetry.interval` must be between 1 s and 1 h"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "`otlp.compression` cannot be \"zstd\""),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "x", "`otlp.temporality` cannot be"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "ca.pem", "`otlp.ca` must be an absolute path"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "b=1,hunter2", "part 2 has no `=`"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "=hunter2", "part 1 has nothing before its `=`"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "b=%ffhunter2", "part 1 is not UTF-8 text"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=1,service.name", "part 2 has no `=`"),
    ] {
        let config = good(&[file], &[(name, value)]);
        let said = config.warnings.to_string();
        assert!(said.contains(&format!("environment: {name}: warning: ")), "{said}");
        assert!(said.contains(why) && said.contains("; the variable is left out"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
        let telemetry = &config.telemetry;
        assert_eq!(urls(&config), ["http://file/v1/metrics", "http://file/v1/logs"], "{value}");
        let metrics = telemetry.otlp.metrics.as_ref().unwrap();
        assert_eq!((metrics.timeout, metrics.gzip), (Duration::from_secs(7), false), "{value}");
        assert_eq!(headers(&telemetry.otlp.metrics), [("a", "file")], "{value}");
        assert_eq!(telemetry.otlp.temporality, Some(Temporality::Delta));
        assert_eq!(telemetry.otlp.outbound.ca.as_ref().unwrap().to_str(), Some("/file.pem"));
        assert_eq!(telemetry.interval, Duration::from_secs(20), "{value}");
        assert_eq!(telemetry.service_name, "file");
        assert!(telemetry.attributes.is_empty());
        // Shown is what is in effect.
        let shown = show::text(&read(&[file], &[(name, value)]));
        assert!(!shown.contains(name) && !shown.contains("hunter2"), "{shown}");
        // Eight keys, and the channel that follows from one of them.
        assert_eq!(shown.matches("# 0.toml:").count(), 10, "{shown}");
    }
    let shown = show::text(&read(&[], &[ENDPOINT, ("OTEL_EXPORTER_OTLP_TIMEOUT", "1")]));
    assert!(shown.contains(&format!("{:44} # default", "timeout = \"10s\"")), "{shown}");
    let said = with(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k")]).warnings.to_string();
    assert!(said.contains("keepwell does not know this variable"), "{said}");
}

#[test]
fn mistakes_in_a_file_are_errors() {
    for (text, why) in [
        ("[otlp]\nendpont = \"x\"", "did you mean `endpoint`?"),
        ("[otlp]\nmetrics = { timout = \"3s\" }", "unknown key `timout` in `otlp.metrics`"),
        ("[otlp]\nmetrics = true", "`otlp.metrics` must be a table, or false for off"),
        ("[otlp]\nendpoint = 4318", "`otlp.endpoint` must be a string"),
        ("[otlp]\nendpoint = \"\"", "`otlp.endpoint` is empty"),
        ("[otlp]\nendpoint = \"http://u@c\"", "must not hold a user or password"),
        ("[otlp]\nendpoint = \"grpc://c\"", "must start with https:// or http://"),
        ("[otlp]\nheaders = [\"a=b\"]", "`otlp.headers` must be a table, not a list"),
        ("[otlp]\nheaders = { a = 1 }", "`otlp.headers.a` must be a string or a table"),
        ("[otlp]\nheaders = { a = { fil = \"/x\" } }", "did you mean `file`?"),
        ("[otlp]\nheaders = { a = \"1\", A = \"2\" }", "the header `a` is there already"),
        ("[otlp]\ntimeout = 10", "`otlp.timeout` must be a duration"),
        ("[otlp]\ntimeout = \"2m\"", "must be between 1 s and 1 min"),
        ("[otlp]\ntemporality = \"Delta\"", "`otlp.temporality` cannot be \"Delta\""),
        ("[otlp]\nca = \"ca.pem\"", "`otlp.ca` must be an absolute path"),
        ("[telemetry]\nbuffer = \"1GiB\"", "`telemetry.buffer` must be between"),
        ("[telemetry]\nattributes = { a = 1 }", "`telemetry.attributes.a` must be a string"),
        ("[telemetry]\nattributes = { \"service.name\" = \"x\" }", "set `telemetry.service_name`"),
        ("[telemetry]\ncloud = \"aws\"", "`telemetry.cloud` cannot be \"aws\""),
        ("[azure]\nidentity = \"manged\"", "did you mean `managed`?"),
        ("[azure]\nalerts = \"no\"", "write false, without quotes"),
        ("[azure]\ntoken_file = \"token\"", "must be an absolute path"),
        ("[azure]\nauthority = \"login.example.org\"", "must start with https:// or http://"),
        (
            "[azure]\nconnection_string = { credential = \"c\" }",
            "$CREDENTIALS_DIRECTORY is not set",
        ),
        ("[[otlp]]\nendpoint = \"http://c\"", "`otlp` must be a table, not a list"),
        ("[otel]\nendpoint = \"http://c\"", "unknown key `otel`"),
    ] {
        let said = wrong(&[text], &[]);
        assert!(said.contains(why), "{text}\n{said}");
        // The same where a variable has its say as well.
        assert!(read(&[text], &[ENDPOINT, CONNECTION]).finish().is_err(), "{text}");
    }
}

#[test]
fn the_identity_of_others_is_looked_at_only_for_azure() {
    let others = [("AZURE_CLIENT_ID", "c"), ("AZURE_FEDERATED_TOKEN_FILE", "relative")];
    let azure = |more: &[(&str, &str)], files: &[&str]| {
        let config = good(files, &[&others[..], more].concat());
        (config.telemetry.azure.client_id, config.warnings.to_string())
    };
    for (more, files) in [(ENDPOINT, ""), (CONNECTION, ""), (ENDPOINT, "[azure]\nalerts = false")] {
        assert_eq!(azure(&[more], &[files]), (None, String::new()));
    }
    for (more, files) in [(AZURE, ""), (ENDPOINT, "[azure]\nidentity = \"workload\"")] {
        let (client, said) = azure(&[more], &[files]);
        assert_eq!(client.as_deref(), Some("c"));
        let name = "environment: AZURE_FEDERATED_TOKEN_FILE: warning: `azure.token_file` must be";
        assert!(said.contains(name), "{said}");
    }
}

#[test]
fn each_variable_is_named_once() {
    let mut names: Vec<&str> = environment::names().collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    for name in ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_SDK_DISABLED", CONNECTION.0] {
        assert!(names.contains(&name), "{name}");
    }
}
