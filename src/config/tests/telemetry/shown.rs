//! Tests of the channels that come by themselves, and of what is shown of telemetry and its secrets.

use super::super::{Input, Loaded, good, load_from, options, read, show};
use super::{CONNECTION, ENDPOINT, channels, headers, urls, with};

#[test]
fn channels_come_by_themselves_once() {
    let both = [ENDPOINT, CONNECTION];
    assert_eq!(channels(&with(&both)), [("otlp", "otlp"), ("azure", "azure")]);
    let config = good(&["[[route]]\nchannels = [\"otlp\"]"], &both);
    assert_eq!(config.rules.channels.len(), 2);
    assert_eq!(&*config.rules.alerts.routes[0].channels[0], "otlp");
    assert_eq!(&*config.rules.channels[0].kind, "otlp");

    let own = "[[channel]]\nname = \"records\"\ntype = \"otlp\"\nmin_severity = \"critical\"";
    let config = good(&[own], &both);
    assert_eq!(channels(&config), [("records", "otlp"), ("azure", "azure")]);

    let taken = "[[channel]]\nname = \"otlp\"\ntype = \"webhook\"";
    let config = good(&[taken], &both);
    assert_eq!(channels(&config), [("otlp", "webhook"), ("azure", "azure")]);
    let said = config.warnings.to_string();
    assert!(said.contains("`otlp` is the name of another channel"), "{said}");
    assert!(said.contains("add a [[channel]] of type \"otlp\" under another name"), "{said}");

    let off = good(&["[azure]\nalerts = false\n[otlp]\nlogs = false"], &both);
    assert!(off.channels.is_empty() && off.rules.exporters.len() == 2);
}

#[test]
fn no_secret_of_telemetry_is_shown() {
    let text = "[otlp]\nendpoint = \"https://c.example.org/x?key=hunter2\"\n\
                headers = { a = \"hunter2\", env = \"hunter2\" }\n\
                metrics = { endpoint = \"https://m.example.org?hunter2\", headers = { b = \"hunter2\" } }\n\
                proxy = \"http://u:hunter2@p.example.org\"\n[azure]\nclient_secret = \"hunter2\"\n\
                connection_string = \"hunter2\"\n";
    let mut input = Input::memory("a.toml", text);
    input.world_readable = true;
    let variables = [
        CONNECTION,
        ("OTEL_EXPORTER_OTLP_HEADERS", "c=hunter2"),
        ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "c=hunter2"),
        ("AZURE_CLIENT_SECRET", "hunter2"),
    ];
    let loaded = load_from(vec![input], &options(&variables));
    let shown = show::text(&loaded);
    let debug = format!("{loaded:?}");
    assert!(debug.contains("https://m.example.org"), "{debug}");
    assert!(!shown.contains("hunter2") && !debug.contains("hunter2"), "{shown}\n{debug}");
    assert!(shown.contains("endpoint = \"https://c.example.org/x?[secret]\""), "{shown}");
    assert!(shown.contains("# $APPLICATIONINSIGHTS_CONNECTION_STRING"), "{shown}");
    let said = loaded.finish().unwrap().warnings.to_string();
    assert!(!said.contains("hunter2"), "{said}");
    // What is written down for all to read is a warning; what a variable holds is not.
    assert!(said.contains("`otlp.headers.a` is a secret in a file"), "{said}");
    assert!(said.contains("`otlp.metrics.headers.b` is a secret in a file"), "{said}");
    assert!(!said.contains("headers.c"), "{said}");
}

#[test]
fn a_header_can_be_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("otlp-key"), "from-systemd\n").unwrap();
    let variables = [("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap()), ("K", "from-env")];
    let text = "[otlp]\nendpoint = \"http://c\"\n\
                headers = { a = { credential = \"otlp-key\" }, b = { env = \"K\" } }";
    let config = good(&[text], &variables);
    assert_eq!(headers(&config.telemetry.otlp.metrics), [("a", "from-systemd"), ("b", "from-env")]);
    let lenient = options(&[]).lenient();
    let config = load_from(vec![Input::memory("a", text)], &lenient).finish().unwrap();
    let metrics = config.telemetry.otlp.metrics.unwrap();
    assert!(metrics.headers.values().all(|(value, _)| !value.is_resolved()));
}

#[test]
fn what_is_shown_has_the_channels_that_came_by_themselves() {
    let shown = |loaded: &Loaded| show::text(loaded);
    let first = read(&["[otlp]\nlogs = { timeout = \"3s\" }"], &[ENDPOINT]);
    let text = shown(&first);
    let line = format!("{:44} # $OTEL_EXPORTER_OTLP_ENDPOINT", "type = \"otlp\"");
    assert!(text.contains(&format!("\n[[channel]]\nname = \"otlp\" {}", " ".repeat(30))), "{text}");
    assert!(text.contains(&line), "{text}");
    // And reads back as the same.
    let again = good(&[&text], &[]);
    let first = first.finish().unwrap();
    assert_eq!(channels(&again), channels(&first));
    assert_eq!(again.rules, first.rules);
    assert_eq!(urls(&again), urls(&first));
    assert!(!shown(&read(&[], &[])).contains("[[channel]]"));
}
