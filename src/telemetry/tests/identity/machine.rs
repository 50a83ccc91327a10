//! The identity of the machine: when a token is fetched, how long it is used, and what is said where
//! there is none.

use std::process::Command;
use std::time::Duration;

use opentelemetry_sdk::metrics::Temporality;

use super::*;
use crate::outbound::Retry;

#[test]
fn a_token_of_the_machine_goes_with_a_whole_body() {
    let (metadata, endpoint) = (metadata([token("t1", 0, 24 * HOUR)]), ingestion([ok()]));
    let made = managed(&endpoint, &metadata);
    assert_eq!(post(&made, START).unwrap().said, "200 OK");
    let [asked] = &metadata.requests()[..] else { panic!() };
    assert_eq!(
        asked.target,
        "/metadata/identity/oauth2/token?api-version=2018-02-01\
         &resource=https%3A%2F%2Fmonitor.azure.com%2F"
    );
    assert_eq!(asked.headers["metadata"], "true");
    let [request] = &endpoint.requests()[..] else { panic!() };
    assert_eq!((&*request.method, &*request.target), ("POST", PATH));
    assert_eq!(request.headers["authorization"], "Bearer t1");
    assert_eq!(request.headers["content-length"], request.body.len().to_string());
    assert_eq!(request.headers["content-encoding"], "gzip");
    assert_eq!(made.exporters[0].temporality, Temporality::Delta);
    assert!(made.exporters[0].exponential);
}

#[test]
fn a_token_is_kept_and_fetched_anew_before_its_end() {
    let answers = [token("t1", 0, HOUR), token("t2", 3300, 300), token("t3", 3450, 24 * HOUR)];
    let (metadata, endpoint) = (metadata(answers), ingestion([ok()]));
    let made = managed(&endpoint, &metadata);
    // The hour's last tenth is more than 5 min. Of 5 min the last half counts.
    for (second, fetched) in [
        (0, 1),
        (1800, 1),
        (3239, 1),
        (3240, 2),
        (3389, 2),
        (3390, 3),
        // A tenth of a day.
        (3390 + 77_000, 3),
    ] {
        post(&made, at(second)).unwrap();
        assert_eq!(metadata.requests().len(), fetched, "at {second} s");
    }
    assert_eq!(bearers(&endpoint), ["t1", "t1", "t1", "t2", "t2", "t3", "t3"]);
}

#[test]
fn a_token_that_cannot_be_renewed_is_used_while_it_is_good() {
    let no = || refusal("500 Internal Server Error", "unknown", "Failed to retrieve token");
    let answers = [token("t1", 0, HOUR), no(), no(), no(), no(), token("t2", 3700, HOUR)];
    let (metadata, endpoint) = (metadata(answers), ingestion([ok()]));
    let made = managed(&endpoint, &metadata);
    post(&made, at(0)).unwrap();
    // Not asked again before a minute has passed.
    for (second, asked) in [(3250, 2), (3300, 2), (3310, 3), (3599, 4)] {
        post(&made, at(second)).unwrap();
        assert_eq!(metadata.requests().len(), asked, "at {second} s");
    }
    // That rest holds beyond the token's end.
    let error = post(&made, at(3600)).unwrap_err();
    assert_eq!(error.retry, Retry::Later(Some(Duration::from_secs(59))));
    assert!(error.text.contains("Failed to retrieve token"), "{error}");
    let error = post(&made, at(3660)).unwrap_err();
    assert_eq!(error.retry, Retry::Later(None));
    assert_eq!(bearers(&endpoint).len(), 5, "nothing goes out without a token");
    post(&made, at(3700)).unwrap();
    assert_eq!(bearers(&endpoint).last().unwrap(), "t2");
}

#[test]
fn a_refused_token_is_replaced_once_and_then_it_is_an_error() {
    let no = || Reply::new("401 Unauthorized", "");
    let answers = [token("t1", 0, HOUR), token("t2", 0, HOUR), token("t3", 0, HOUR)];
    let (metadata, endpoint) = (metadata(answers), ingestion([no(), ok(), no(), no(), ok()]));
    let made = managed(&endpoint, &metadata);
    post(&made, START).unwrap();
    assert_eq!(bearers(&endpoint), ["t1", "t2"]);
    // Twice in a row: the exporter tries again later, with another token.
    let error = post(&made, at(60)).unwrap_err();
    assert_eq!(error.retry, Retry::Later(None));
    assert!(error.text.contains("the token was refused"), "{error}");
    assert_eq!(bearers(&endpoint), ["t1", "t2", "t2", "t3"]);
    post(&made, at(120)).unwrap();
    assert_eq!(metadata.requests().len(), 4);
}

#[test]
fn two_who_need_a_token_at_once_fetch_it_once() {
    let endpoint = ingestion([ok()]);
    let other = ingestion([ok()]);
    let metadata = metadata([token("t1", 0, HOUR)]);
    let text = format!(
        "{}metadata = \"{}\"\nidentity = \"managed\"\n[otlp.logs]\nendpoint = \"{}\"\n",
        toml(&endpoint, ""),
        metadata.url(""),
        other.url("/logs")
    );
    let made = load(&text);
    let logs = made.otlp_logs.clone().unwrap();
    block(async {
        let records = [record(&logs)];
        let (one, two) = tokio::join!(post_on(&made, START), logs.send(&records, START));
        assert_eq!(one.unwrap().said, "200 OK");
        assert_eq!(two.unwrap(), "200 OK");
    });
    assert_eq!(metadata.requests().len(), 1);
    assert_eq!((bearers(&endpoint), bearers(&other)), (vec!["t1".into()], vec!["t1".into()]));
    // Nor do they ask twice when there is none.
    let text = text.replace("[azure]", "[azure]\nclient_id = \"u1\"");
    let made = load(&text);
    let logs = made.otlp_logs.clone().unwrap();
    metadata.restart([refusal("503 Service Unavailable", "busy", "busy")]);
    block(async {
        let records = [record(&logs)];
        let (one, two) = tokio::join!(post_on(&made, START), logs.send(&records, START));
        assert_eq!(one.unwrap_err(), two.unwrap_err());
    });
    assert_eq!(metadata.requests().len(), 1);
}

#[test]
fn what_the_endpoint_says_is_tried_again_or_not() {
    let later = Retry::Later(None);
    let table = [
        ("403 Forbidden", "", later, "Monitoring Metrics Publisher"),
        ("404 Not Found", "", later, "check the host, the id of the rule and the stream"),
        ("410 Gone", "", later, "410 Gone"),
        ("500 Internal Server Error", "", later, "500"),
        ("503 Service Unavailable", "", later, "503"),
        (
            "429 Too Many Requests\r\nRetry-After: 17",
            "",
            Retry::Later(Some(Duration::from_secs(17))),
            "429",
        ),
        (
            "400 Bad Request",
            r#"{"error":{"code":"InvalidStream","message":"Data collection rule has no stream"}}"#,
            Retry::Never,
            "no stream of the name in the URL",
        ),
        ("400 Bad Request", "garbled", Retry::Never, "garbled"),
        ("413 Payload Too Large", "", Retry::Never, "smaller"),
        ("415 Unsupported Media Type", "", Retry::Never, "does not take protobuf"),
    ];
    let metadata = metadata([token("t1", 0, HOUR)]);
    for (head, body, retry, words) in table {
        let endpoint = ingestion([Reply::new(head, body)]);
        let error = post(&managed(&endpoint, &metadata), START).unwrap_err();
        assert_eq!(error.retry, retry, "{head}");
        assert!(error.text.contains(words), "{head}: {error}");
        assert!(!error.text.contains("dcr-01234"), "{error}");
    }
}

#[test]
fn what_the_metadata_service_says_instead_of_a_token() {
    let later = Retry::Later(None);
    let table = [
        ("400 Bad Request", "Identity not found", "", "no identity of its own"),
        ("400 Bad Request", "Identity not found", "u1", "no identity with this `azure.client_id`"),
        (
            "400 Bad Request",
            "Multiple user assigned identities exist, please specify the clientId",
            "",
            "several identities",
        ),
        ("404 Not Found", "", "", "being updated"),
        ("410 Gone", "", "", "for 70 s at most"),
        ("500 Internal Server Error", "", "", "500"),
    ];
    let endpoint = ingestion([ok()]);
    for (head, said, client_id, words) in table {
        let metadata = metadata([refusal(head, "invalid_request", said)]);
        let mut azure = format!("identity = \"managed\"\nmetadata = \"{}\"\n", metadata.url(""));
        if !client_id.is_empty() {
            azure.push_str(&format!("client_id = \"{client_id}\"\n"));
        }
        let error = post(&load(&toml(&endpoint, &azure)), START).unwrap_err();
        assert_eq!(error.retry, later, "{head}: {said}");
        assert!(error.text.starts_with("no token for Azure Monitor: http://127"), "{error}");
        assert!(error.text.contains(words) && error.text.contains(said), "{error}");
    }
    for (reply, words) in [
        (Reply::new("200 OK", "<html>"), "no valid JSON"),
        (Reply::new("200 OK", "{\"expires_in\":\"3600\"}"), "no access_token"),
        (token("a\\nb", 0, HOUR), "cannot be sent"),
        (Reply::Hang, "did not answer within 1 s; this service is there on virtual machines"),
        (Reply::Reset, "this service is there on virtual machines of Azure only"),
    ] {
        let error = post(&managed(&endpoint, &metadata([reply])), START).unwrap_err();
        assert_eq!(error.retry, later);
        assert!(error.text.contains(words), "{error}");
    }
    assert_eq!(endpoint.requests().len(), 0);
}

#[test]
fn the_metadata_service_is_left_alone_as_long_as_it_asks() {
    let busy = refusal("429 Too Many Requests\r\nRetry-After: 20", "busy", "too many");
    let metadata = metadata([busy, token("t1", 0, HOUR)]);
    let endpoint = ingestion([ok()]);
    let made = managed(&endpoint, &metadata);
    let left = |result: Result<Taken, SendError>| match result.unwrap_err().retry {
        Retry::Later(Some(left)) => left.as_secs(),
        other => panic!("{other:?}"),
    };
    assert_eq!(left(post(&made, at(0))), 20);
    assert_eq!(left(post(&made, at(5))), 15);
    assert_eq!(metadata.requests().len(), 1);
    post(&made, at(20)).unwrap();
    assert_eq!(metadata.requests().len(), 2);
}

#[test]
fn one_of_several_identities_is_named_by_its_id() {
    let (metadata, endpoint) = (metadata([token("t1", 0, HOUR)]), ingestion([ok()]));
    let azure = format!(
        "identity = \"managed\"\nmetadata = \"{}\"\nclient_id = \"2f2e5c1a-77\"",
        metadata.url("")
    );
    post(&load(&toml(&endpoint, &azure)), START).unwrap();
    assert!(metadata.requests()[0].target.ends_with("&client_id=2f2e5c1a-77"));
}

/// Names the configuration of a process of its own.
const CHILD: &str = "KEEPWELL_TEST_IDENTITY";

#[test]
fn a_process_of_its_own_posts() {
    let Ok(toml) = std::env::var(CHILD) else { return };
    let (made, result) = load_with(&toml, &[], false);
    result.unwrap();
    // Its proxy leads nowhere.
    post(&made, START).unwrap_err();
}

#[test]
fn the_metadata_service_is_asked_directly_whatever_the_variables_say() {
    let metadata = metadata([token("t1", 0, HOUR)]);
    let proxy = Receiver::new([Reply::new("502 Bad Gateway", "")]);
    let toml = format!(
        "[otlp.metrics]\nendpoint = \"https://collector.example/m\"\n[azure]\n\
         identity = \"managed\"\nmetadata = \"{}\"",
        metadata.url("")
    );
    // Also where the configuration itself names one.
    let all = [toml.clone(), format!("[outbound]\nproxy = \"{}\"\n{toml}", proxy.url(""))];
    for (i, toml) in all.iter().enumerate() {
        let mut child = Command::new(std::env::current_exe().unwrap());
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            child.env(name, proxy.url("")).env(name.to_lowercase(), proxy.url(""));
        }
        let name = "telemetry::tests::identity::machine::a_process_of_its_own_posts";
        let child =
            child.env_remove("NO_PROXY").env_remove("no_proxy").env_remove("REQUEST_METHOD");
        let out = child.args(["--exact", name]).env(CHILD, toml).output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success() && text.contains("1 passed"), "{text}");
        assert_eq!(metadata.requests().len(), i + 1);
    }
    // What is sent goes by the proxy, so the variables were there.
    let targets: Vec<String> = proxy.requests().into_iter().map(|r| r.target).collect();
    assert_eq!(targets, ["collector.example:443"; 2]);
}
