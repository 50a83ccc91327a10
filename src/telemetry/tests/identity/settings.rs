//! Which identity is used for which endpoint, and what is wrong with a configuration.

use opentelemetry_sdk::metrics::Temporality;

use super::*;

#[track_caller]
fn wrong(toml: &str) -> String {
    load_with(toml, &[], false).1.expect_err("something is wrong with it")
}

#[test]
fn an_address_arrives_as_it_is_written() {
    let metadata = metadata([token("t1", 0, HOUR)]);
    let endpoint = ingestion([ok()]);
    for target in [
        PATH,
        "/dataCollectionRules/dcr-1/streams/Microsoft-OTLP-Logs/otlp/v1/logs/",
        "/a//b/?api-version=2023-01-01&x=%2F%3a&y=a+b&z=",
        "/?",
        "/a;b=1,2/(c)'~",
    ] {
        let azure = format!("identity = \"managed\"\nmetadata = \"{}\"", metadata.url(""));
        let text = toml(&endpoint, &azure).replace(PATH, target);
        post(&load(&text), START).unwrap();
        assert_eq!(endpoint.requests().pop().unwrap().target, target);
    }
}

#[test]
fn whose_token_it_is_is_decided_for_each_endpoint() {
    let azure = "https://x-1.westeurope-1.metrics.ingest.monitor.azure.com/a";
    let tokens = |text: &str, variables: &[(&str, &str)]| {
        let (made, result) = load_with(text, variables, false);
        assert_eq!(result, Ok(()), "{text}");
        (made.exporters[0].temporality == Temporality::Delta, made.exporters[0].exponential)
    };
    let of = |url: &str| format!("[otlp.metrics]\nendpoint = \"{url}\"\n");
    assert_eq!(tokens(&of(azure), &[]), (true, true));
    assert_eq!(tokens(&of("https://collector.example/v1/metrics"), &[]), (false, false));
    // Names that only look like it.
    for host in ["ingest.monitor.azure.com.evil.example", "evilingest.monitor.azure.com"] {
        assert_eq!(tokens(&of(&format!("https://{host}/a")), &[]), (false, false), "{host}");
    }
    let said =
        format!("{}[otlp]\ntemporality = \"cumulative\"\nhistogram = \"explicit\"\n", of(azure));
    assert_eq!(tokens(&said, &[]), (false, false));
}

#[test]
fn a_collector_beside_azure_gets_no_token() {
    let metadata = metadata([token("t1", 0, HOUR)]);
    let collector = Receiver::new([ok()]);
    // Nothing answers at Azure's address here; only its token is looked at.
    let text = format!(
        "[otlp.metrics]\nendpoint = \"https://x.ingest.monitor.azure.com/m\"\ntimeout = \"1s\"\n\
         [otlp.logs]\nendpoint = \"{}\"\n[azure]\nmetadata = \"{}\"\n",
        collector.url("/v1/logs"),
        metadata.url("")
    );
    let made = load(&text);
    let logs = made.otlp_logs.clone().unwrap();
    block(async { logs.send(&[record(&logs)], START).await }).unwrap();
    assert!(!collector.requests()[0].headers.contains_key("authorization"));
    assert_eq!(metadata.requests().len(), 0);
}

#[test]
fn what_is_set_decides_which_identity_is_meant() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "eyJ.one").unwrap();
    let file = file.display().to_string();
    let metadata = metadata([token("machine", 0, HOUR)]);
    let authority = Receiver::new([entra("entra", HOUR)]);
    let (here, there) = (metadata.url(""), authority.url(""));
    // The real name of the endpoint; what stands for it is reached as its proxy.
    let proxy = Receiver::guarded(|_| None, [Reply::new("502 Bad Gateway", "")]);
    let text = format!(
        "[outbound]\nproxy = false\n[otlp]\nproxy = \"{}\"\ntimeout = \"1s\"\n[otlp.metrics]\n\
         endpoint = \"https://x.ingest.monitor.azure.com/m\"\n[azure]\nmetadata = \"{here}\"\n",
        proxy.url("")
    );
    let all = [
        ("AZURE_TENANT_ID", "t-1"),
        ("AZURE_CLIENT_ID", "app-1"),
        ("AZURE_CLIENT_SECRET", "s3cr3t"),
        ("AZURE_FEDERATED_TOKEN_FILE", &file),
        ("AZURE_AUTHORITY_HOST", &there),
    ];
    let asked = |variables: &[(&str, &str)]| {
        metadata.restart([token("machine", 0, HOUR)]);
        authority.restart([entra("entra", HOUR)]);
        let (made, result) = load_with(&text, variables, false);
        assert_eq!(result, Ok(()));
        post(&made, START).unwrap_err();
        let form = authority.requests().first().map(form).unwrap_or_default();
        let machine = metadata.requests().first().map(|r| r.target.clone());
        (machine, form.last().map(|(key, _)| key.clone()))
    };
    assert_eq!(asked(&all), (None, Some("client_assertion".into())));
    let without = |name: &str| all.into_iter().filter(|(n, _)| *n != name).collect::<Vec<_>>();
    let secret = without("AZURE_FEDERATED_TOKEN_FILE");
    assert_eq!(asked(&secret), (None, Some("client_secret".into())));
    let (machine, form) = asked(&all[1..2]);
    assert!(machine.unwrap().ends_with("client_id=app-1") && form.is_none());
    let (machine, form) = asked(&[]);
    assert!(machine.unwrap().ends_with("azure.com%2F") && form.is_none());
}

#[test]
fn half_an_identity_and_open_ways_are_errors_at_their_place() {
    let of =
        |url: &str, rest: &str| wrong(&format!("[otlp.metrics]\nendpoint = \"{url}\"\n{rest}"));
    let https = "https://x.ingest.monitor.azure.com/m";
    let all = [
        of(https, "[azure]\nidentity = \"workload\"\nclient_id = \"c\"\n"),
        of(https, "[azure]\nidentity = \"client-secret\"\ntenant_id = \"t\"\nclient_id = \"c\"\n"),
        of("http://x.ingest.monitor.azure.com/m", ""),
        of("http://collector.example/v1/metrics", "[azure]\nidentity = \"managed\"\n"),
        of(
            https,
            "[otlp]\nheaders = { Authorization = \"Bearer mine\" }\n[azure]\nidentity = \"managed\"\n",
        ),
        of(
            https,
            "[azure]\ntenant_id = \"t/../x\"\nclient_id = \"c\"\nclient_secret = \"s3cr3t\"\n",
        ),
        of(
            https,
            "[azure]\ntenant_id = \"t\"\nclient_id = \"c\"\nclient_secret = \"s3cr3t\"\n\
             authority = \"http://login.example\"\n",
        ),
    ];
    assert!(all.iter().all(|text| !text.contains("s3cr3t") && !text.contains("Bearer mine")));
    insta::assert_snapshot!(all.join("\n---\n"));
}

#[test]
fn who_brings_a_token_needs_no_identity() {
    let text = "[otlp]\nheaders = { Authorization = \"Bearer mine\" }\n[otlp.metrics]\n\
                endpoint = \"https://x.ingest.monitor.azure.com/m\"\n";
    let made = load(text);
    assert_eq!(made.exporters[0].temporality, Temporality::Delta);
}

#[test]
fn a_secret_that_only_the_service_sees_is_no_error_of_config_check() {
    let text = "[otlp.metrics]\nendpoint = \"https://x.ingest.monitor.azure.com/m\"\n[azure]\n\
                tenant_id = \"t\"\nclient_id = \"c\"\nclient_secret = { credential = \"s\" }\n";
    assert_eq!(load_with(text, &[], true).1, Ok(()));
}

#[test]
fn each_cloud_has_tokens_of_its_own() {
    let metadata = metadata([token("t1", 0, HOUR)]);
    // The real names of the endpoints; what stands for them is reached as their proxy.
    let proxy = Receiver::new([Reply::new("502 Bad Gateway", "")]);
    let text = |metrics: &str, logs: &str| {
        format!(
            "[otlp]\nproxy = \"{}\"\n[otlp.metrics]\nendpoint = \"https://{metrics}/m\"\n\
             [otlp.logs]\nendpoint = \"https://{logs}/l\"\n[azure]\nidentity = \"managed\"\n\
             metadata = \"{}\"\n",
            proxy.url(""),
            metadata.url("")
        )
    };
    let asked = |metrics: &str, logs: &str| {
        metadata.restart([token("t1", 0, HOUR)]);
        let made = load(&text(metrics, logs));
        let receiver = made.otlp_logs.clone().unwrap();
        post(&made, START).unwrap_err();
        block(async { receiver.send(&[record(&receiver)], START).await }).unwrap_err();
        let of = |request: Request| {
            request.target.split("monitor.azure.").nth(1).unwrap()[..3].to_owned()
        };
        metadata.requests().into_iter().map(of).collect::<Vec<_>>()
    };
    let host = |cloud: &str| format!("x.ingest.monitor.azure.{cloud}");
    assert_eq!(asked(&host("us"), &host("com")), ["us%", "com"]);
    assert_eq!(asked(&host("cn"), &host("cn")), ["cn%"]);
    assert_eq!(asked("gateway.example", &host("com")), ["com"]);
}

#[test]
fn a_token_for_this_host_does_not_pass_a_proxy() {
    let metadata = metadata([token("t1", 0, HOUR)]);
    let endpoint = ingestion([ok()]);
    let proxy = Receiver::new([ok()]);
    let text = format!(
        "[outbound]\nproxy = \"{}\"\n{}",
        proxy.url(""),
        toml(&endpoint, &format!("identity = \"managed\"\nmetadata = \"{}\"", metadata.url("")))
    );
    post(&load(&text), START).unwrap();
    assert_eq!(proxy.requests().len(), 0, "{:?}", proxy.requests());
    assert_eq!(bearers(&endpoint), ["t1"]);
}
