//! Entra ID, for applications with a secret and for workloads.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::outbound::Retry;

#[test]
fn an_application_shows_its_secret() {
    let (authority, endpoint) = (Receiver::new([entra("t1", HOUR)]), ingestion([ok()]));
    let azure = format!(
        "identity = \"client-secret\"\nauthority = \"{}\"\ntenant_id = \"contoso.example\"\n\
         client_id = \"app-1\"\nclient_secret = \"s3cr3t+/&=~ä\"",
        authority.url("/")
    );
    post(&load(&toml(&endpoint, &azure)), START).unwrap();
    let [request] = &authority.requests()[..] else { panic!() };
    assert_eq!(request.target, "/contoso.example/oauth2/v2.0/token");
    assert_eq!(request.headers["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(request.headers["content-length"], request.body.len().to_string());
    let said = [
        ("client_id", "app-1"),
        ("grant_type", "client_credentials"),
        ("scope", "https://monitor.azure.com/.default"),
        ("client_secret", "s3cr3t+/&=~ä"),
    ];
    assert_eq!(form(request), said.map(|(k, v)| (k.to_owned(), v.to_owned())));
    assert_eq!(bearers(&endpoint), ["t1"]);
}

#[test]
fn a_workload_shows_what_is_in_its_file_now() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let (authority, endpoint) = (Receiver::new([entra("t1", HOUR)]), ingestion([ok()]));
    let azure = format!(
        "identity = \"workload\"\nauthority = \"{}\"\ntenant_id = \"t-1\"\nclient_id = \"app-1\"\n\
         token_file = \"{}\"",
        authority.url(""),
        file.display()
    );
    // It may come after keepwell.
    let made = load(&toml(&endpoint, &azure));
    let error = post(&made, START).unwrap_err();
    assert_eq!(error.retry, Retry::Later(None));
    assert!(error.text.contains("`azure.token_file`") && error.text.contains("cannot be read"));
    std::fs::write(&file, "\n").unwrap();
    assert!(post(&made, START).unwrap_err().text.contains("is empty"));
    for (text, second) in [("eyJ.one\n", 0), ("eyJ.two", HOUR)] {
        std::fs::write(&file, text).unwrap();
        post(&made, at(second)).unwrap();
        let request = authority.requests().pop().unwrap();
        let said = form(&request);
        let jwt = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        assert!(said.contains(&("client_assertion_type".into(), jwt.into())), "{said:?}");
        assert!(said.contains(&("client_assertion".into(), text.trim().into())), "{said:?}");
        assert!(said.iter().all(|(key, _)| key != "client_secret"), "{said:?}");
    }
    assert_eq!(authority.requests().len(), 2);
}

#[test]
fn what_entra_id_says_instead_of_a_token() {
    let endpoint = ingestion([ok()]);
    let table = [
        (
            "401 Unauthorized",
            "AADSTS7000215: Invalid client secret provided. Trace ID: 1234 Correlation ID: 5",
            Retry::Stop,
            "must be the value of the secret",
        ),
        ("401 Unauthorized", "AADSTS7000222: The keys are expired.", Retry::Stop, "make a new"),
        (
            "400 Bad Request",
            "AADSTS700016: Application with identifier 'x' was not found",
            Retry::Later(None),
            "check `azure.client_id` and `azure.tenant_id`",
        ),
        ("400 Bad Request", "AADSTS90002: Tenant", Retry::Later(None), "check `azure.tenant_id`"),
        ("503 Service Unavailable\r\nRetry-After: 9", "busy", secs(9), "503"),
    ];
    for (head, said, retry, words) in table {
        let authority = Receiver::new([refusal(head, "invalid_client", said)]);
        let azure = format!(
            "identity = \"client-secret\"\nauthority = \"{}\"\ntenant_id = \"t-1\"\n\
             client_id = \"app-1\"\nclient_secret = \"s3cr3t\"",
            authority.url("")
        );
        let error = post(&load(&toml(&endpoint, &azure)), START).unwrap_err();
        assert_eq!(error.retry, retry, "{said}");
        assert!(error.text.contains(words) && !error.text.contains("Correlation"), "{error}");
    }
}

fn secs(seconds: u64) -> Retry {
    Retry::Later(Some(Duration::from_secs(seconds)))
}

/// What is logged, from all libraries and at every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn no_error_and_no_log_holds_a_token_or_a_secret() {
    let secret = "Zx8~vErYsEcReT.value";
    let first = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.first.sig";
    let second = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.second.sig";
    let echo = |head: &str, what: &str| Reply::new(head, &format!("you said {what}"));
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let mut errors = Vec::new();
    tracing::subscriber::with_default(subscriber, || {
        let authority = Receiver::new([
            entra(first, HOUR),
            entra(second, HOUR),
            echo("500 Error", secret),
            entra(second, HOUR),
            echo("200 OK", secret),
        ]);
        let both = format!("{first} {second}");
        let endpoint = ingestion([
            echo("401 No", first),
            echo("401 No", &both),
            ok(),
            echo("403 No", second),
            echo("400 InvalidStream", second),
        ]);
        let azure = format!(
            "identity = \"client-secret\"\nauthority = \"{}\"\ntenant_id = \"t-1\"\n\
             client_id = \"app-1\"\nclient_secret = \"{secret}\"",
            authority.url("")
        );
        let made = load(&toml(&endpoint, &azure));
        for second in [0, 1, 2, 3, 4, 2 * HOUR] {
            errors.extend(post(&made, at(second)).err());
        }
        assert_eq!(bearers(&endpoint), [first, second, second, second, second]);
        let broken = [token(first, 0, HOUR), echo("500 No", ""), echo("200 OK", second)];
        let (metadata, endpoint) = (metadata(broken), ingestion([ok()]));
        let made = managed(&endpoint, &metadata);
        for second in [0, 3500, 2 * HOUR] {
            errors.extend(post(&made, at(second)).err());
        }
    });
    assert_eq!(errors.len(), 6, "{errors:?}");
    let errors = format!("{errors:?}");
    assert!(errors.contains("401 Unauthorized") && errors.contains("no valid JSON"), "{errors}");
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("the token cannot be renewed yet"), "{log}");
    for hidden in [secret, "vErYsEcReT", first, second, "first.sig", "second.sig"] {
        assert!(!errors.contains(hidden), "{hidden} in {errors}");
        assert!(!log.contains(hidden), "{hidden} in {log}");
    }
}
