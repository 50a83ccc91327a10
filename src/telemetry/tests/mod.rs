//! Tests of what is sent to collectors.

mod answers;
mod cloud;
mod exporter;
mod fixture;
mod identity;
#[cfg(feature = "application-insights")]
pub(crate) mod ingestion;
#[cfg(feature = "application-insights")]
mod insights;
mod instruments;
pub(crate) mod party;
mod stream;

use std::path::Path;

use crate::config::{self, Environment, Input, Loaded, Options};

fn loaded(text: &str, environment: Environment) -> Loaded {
    let mut options = Options::new(Some(Path::new("k.toml")), environment, true, "web1".into());
    // As `config check`.
    options.lenient = true;
    config::load_from(vec![Input::memory("k.toml", text)], &options)
}

/// What is said of this connection string: errors, or else warnings.
fn said_of(string: &str) -> String {
    use crate::outbound::Clients;
    let environment = Environment::from_iter([("APPLICATIONINSIGHTS_CONNECTION_STRING", string)]);
    let mut loaded = loaded("", environment);
    let Loaded { config, sink, .. } = &mut loaded;
    let mut clients = Clients::new(config.outbound.clone());
    crate::telemetry::receivers(config, &mut clients, sink);
    match loaded.finish() {
        Ok(config) => config.warnings.to_string(),
        Err(wrong) => wrong.to_string(),
    }
}

#[cfg(not(feature = "application-insights"))]
#[test]
fn a_build_without_it_says_so() {
    let said = said_of("InstrumentationKey=0f9a3c71");
    assert!(said.contains("this keepwell is built without Application Insights"), "{said}");
    assert!(said.contains("APPLICATIONINSIGHTS_CONNECTION_STRING"), "{said}");
    assert!(!said.contains("0f9a3c71"), "{said}");
}
