//! Who sends: the resource of all measurements and records.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;

use crate::engine::{Boot, Now, Rules};
use crate::outbound::BoxFuture;

/// Asks the cloud where this host runs: its attributes, or `None` when it did not say.
pub(super) type AskCloud = Box<dyn Fn() -> BoxFuture<'static, Option<Vec<KeyValue>>> + Send + Sync>;

/// A cloud that did not answer is asked again after this.
const AGAIN: Duration = Duration::from_secs(5 * 60);

/// What is known of the host that sends.
pub(super) struct Origin {
    known: Vec<KeyValue>,
    /// Unless the cloud knows better: the conventions want its own id of the machine there.
    host_id: KeyValue,
    ask: Option<AskCloud>,
    cloud: Mutex<Cloud>,
}

#[derive(Default)]
struct Cloud {
    found: Option<Vec<KeyValue>>,
    asked: Option<Boot>,
}

/// What the host says of itself.
pub(super) struct Host {
    /// As [`crate::outbound::host_key`] derives it.
    pub(super) key: Arc<str>,
}

impl Host {
    /// This host.
    pub(super) fn read() -> Self {
        let machine_id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
        Self { key: crate::outbound::host_key(&machine_id) }
    }
}

impl Origin {
    /// The user's attributes weigh more than what is found; what the cloud says is added to that.
    pub(super) fn new(
        settings: &crate::config::Telemetry,
        rules: &Rules,
        host: &Host,
        ask: Option<AskCloud>,
    ) -> Self {
        let mut known = vec![
            KeyValue::new("service.name", settings.service_name.clone()),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", host.key.to_string()),
            KeyValue::new("host.name", rules.host.to_string()),
            KeyValue::new("host.arch", arch()),
            KeyValue::new("os.type", "linux"),
        ];
        for (key, value) in rules.labels.iter().chain(&settings.attributes) {
            known.retain(|known| known.key.as_str() != key);
            known.push(KeyValue::new(key.clone(), value.clone()));
        }
        let host_id = KeyValue::new("host.id", host.key.to_string());
        Self { known, host_id, ask, cloud: Mutex::default() }
    }

    /// The resource as far as it is known now. A cloud that has not said yet is asked, which takes
    /// a short time at most.
    pub(super) async fn resource(&self, now: Now) -> Resource {
        let due = {
            let mut cloud = self.cloud.lock().unwrap_or_else(PoisonError::into_inner);
            let due = cloud.found.is_none()
                && cloud.asked.is_none_or(|asked| now.boot.since(asked) >= AGAIN);
            if due {
                cloud.asked = Some(now.boot);
            }
            due
        };
        if due && let Some(ask) = &self.ask {
            let found = ask().await;
            self.cloud.lock().unwrap_or_else(PoisonError::into_inner).found = found;
        }
        let cloud = self.cloud.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = self.known.clone();
        for more in cloud.found.iter().flatten().chain([&self.host_id]) {
            if all.iter().all(|known| known.key != more.key) {
                all.push(more.clone());
            }
        }
        Resource::builder_empty().with_attributes(all).build()
    }
}

/// As the semantic conventions name it.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "arm32",
        "x86" => "x86",
        other => other,
    }
}
