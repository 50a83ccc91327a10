//! Findings of `doctor` about the receivers of telemetry: where things go, and whether a receiver
//! of measurements answers. Alerts are tried with `keepwell test-notification`.

use crate::app::clock;
use crate::app::plan::Plan;
use crate::outbound::Retry;

use super::super::{Finding, Level};
use super::asked;

pub(super) fn find(plan: &Plan) -> Vec<Finding> {
    let settings = &plan.config.telemetry;
    let mut findings = Vec::new();
    if let Some(signal) = &settings.otlp.metrics {
        let to = signal.shown();
        let name = "telemetry otlp";
        // Without the headers that only the service can see, it would be refused.
        let hidden = signal.headers.values().any(|(value, _)| !value.is_resolved());
        let exporter = plan.exporters.iter().find(|e| **e.name() == *"otlp");
        if hidden {
            let text =
                format!("measurements go to {to}; not tried: only the service sees its headers");
            findings.push(Finding::ok(name, text));
        } else if let Some(answer) =
            exporter.and_then(|exporter| asked(exporter.probe(clock::now())))
        {
            findings.push(match answer {
                Ok(said) => Finding::ok(name, format!("{to} takes measurements: {said}")),
                Err(error) => {
                    let text = format!("measurements: {}", error.text);
                    Finding::bad(name, Level::Warn, text, remedy(&error.retry))
                }
            });
        }
    }
    let elsewhere = settings.azure.connection_string.is_some();
    if elsewhere && (settings.azure.metrics || settings.azure.alerts) {
        let what = match (settings.azure.metrics, settings.azure.alerts) {
            (true, true) => "measurements and alerts go",
            (true, false) => "measurements go",
            _ => "alerts go",
        };
        // It takes no request without content.
        let tried = if settings.azure.alerts {
            "`keepwell test-notification azure` tries it"
        } else {
            "not tried"
        };
        let text = format!("{what} to Application Insights; {tried}");
        findings.push(Finding::ok("telemetry azure", text));
    }
    findings
}

fn remedy(retry: &Retry) -> &'static str {
    match retry {
        Retry::Never => {
            "what is refused like this is given up; look at the address and the receiver"
        }
        Retry::Later(_) | Retry::Stop => {
            "they wait and are tried again by themselves; if it stays so, look at the address, the \
             key and the receiver"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::findings::tests::plan;

    fn findings(text: &str) -> Vec<Finding> {
        find(&plan(text))
    }

    #[test]
    fn a_collector_is_asked_unless_its_key_cannot_be_seen() {
        assert_eq!(findings(""), []);
        // Nobody listens at port 9 of this host.
        let otlp = "[otlp]\nendpoint = \"http://127.0.0.1:9/hunter2\"\nproxy = false\n";
        let found = findings(otlp);
        let [one] = &found[..] else { panic!("{found:?}") };
        assert_eq!((&*one.name, one.level), ("telemetry otlp", Level::Warn));
        assert!(one.text.contains("cannot connect to http://127.0.0.1:9: "), "{}", one.text);
        assert_eq!(one.remedy.as_deref(), Some(remedy(&Retry::Later(None))));
        assert!(!format!("{one:?}").contains("hunter2"));
        assert!(
            remedy(&Retry::Stop).contains("wait") && remedy(&Retry::Never).contains("given up")
        );

        let found = findings(&format!("{otlp}headers = {{ a = {{ credential = \"k\" }} }}"));
        let text = "measurements go to http://127.0.0.1:9; not tried: only the service sees its \
                    headers";
        assert_eq!(found, [Finding::ok("telemetry otlp", text)]);
        assert_eq!(findings(&format!("{otlp}metrics = false")), []);

        let azure = "[azure]\nconnection_string = \"InstrumentationKey=00000000-0000-0000-0000-\
                     000000000000;IngestionEndpoint=https://a.example.org/\"\n";
        let of = |more: &str| findings(&format!("{azure}{more}")).remove(0).text;
        assert!(of("").ends_with("; `keepwell test-notification azure` tries it"), "{}", of(""));
        assert_eq!(of("alerts = false"), "measurements go to Application Insights; not tried");
    }
}
