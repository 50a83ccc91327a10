//! What Azure knows of this machine, from the metadata service.

use std::path::Path;
use std::time::Duration;

use opentelemetry::KeyValue;
use reqwest::{Client, Url};
use serde_json::Value;

use crate::config::{Cloud, Telemetry};
use crate::engine::Wall;
use crate::outbound::{Answer, Secrets};
use crate::telemetry::origin::AskCloud;

/// Nothing is sent while it is asked.
const LIMIT: Duration = Duration::from_secs(1);
/// It also holds keys and tags, of which there may be many.
const MOST: usize = 256 * 1024;
const VENDOR: &str = "Microsoft Corporation";
/// On every virtual machine of Azure, and on no other machine.
const ASSET_TAG: &str = "7783-7084-3265-9085-8269-3286-77";

/// Who asks, if anybody is to. `sys` is `/sys`.
pub(in crate::telemetry) fn asker(settings: &Telemetry, sys: &Path) -> Option<AskCloud> {
    let wanted = match settings.cloud {
        Cloud::None => false,
        Cloud::Azure => true,
        Cloud::Auto => is_azure(sys),
    };
    if !wanted {
        return None;
    }
    let address = format!("{}/metadata/instance/compute", settings.azure.metadata);
    let mut url = Url::parse(&address).ok()?;
    url.query_pairs_mut().append_pair("api-version", "2021-02-01").append_pair("format", "json");
    let client = crate::outbound::local_client().ok()?;
    Some(Box::new(move || Box::pin(ask(client.clone(), url.clone()))))
}

/// Microsoft makes other machines as well, and those of Hyper-V elsewhere have the same vendor:
/// where the tag of the chassis can be read, it must be Azure's.
fn is_azure(sys: &Path) -> bool {
    let read = |name| std::fs::read_to_string(sys.join("class/dmi/id").join(name));
    read("sys_vendor").is_ok_and(|vendor| vendor.trim() == VENDOR)
        && read("chassis_asset_tag").map_or(true, |tag| tag.trim() == ASSET_TAG)
}

async fn ask(client: Client, url: Url) -> Option<Vec<KeyValue>> {
    let request = client.get(url).header("Metadata", "true").timeout(LIMIT);
    let failed = |why: String| {
        tracing::debug!(why, "the metadata service does not say where this host runs");
        None
    };
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) => return failed(error.without_url().to_string()),
    };
    let answer = Answer::read_up_to(MOST, response, Wall(0), Secrets::default()).await;
    if !answer.status.is_success() {
        return failed(answer.status.to_string());
    }
    match serde_json::from_slice(&answer.body) {
        Ok(body) => Some(attributes(&body)),
        Err(error) => failed(error.to_string()),
    }
}

/// By the names of the semantic conventions; what is not said is left out.
fn attributes(compute: &Value) -> Vec<KeyValue> {
    const FIELDS: [(&str, &str); 6] = [
        ("location", "cloud.region"),
        ("zone", "cloud.availability_zone"),
        ("resourceId", "cloud.resource_id"),
        ("subscriptionId", "cloud.account.id"),
        ("vmId", "host.id"),
        ("vmSize", "host.type"),
    ];
    let mut all =
        vec![KeyValue::new("cloud.provider", "azure"), KeyValue::new("cloud.platform", "azure.vm")];
    all.extend(FIELDS.iter().filter_map(|(field, name)| {
        let text = compute.get(field)?.as_str().filter(|text| !text.is_empty())?;
        Some(KeyValue::new(*name, text.to_owned()))
    }));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_of_azure_is_known_by_vendor_and_tag() {
        let machine = |vendor: Option<&str>, tag: Option<&str>| {
            let sys = tempfile::tempdir().unwrap();
            let id = sys.path().join("class/dmi/id");
            std::fs::create_dir_all(&id).unwrap();
            for (name, text) in [("sys_vendor", vendor), ("chassis_asset_tag", tag)] {
                if let Some(text) = text {
                    std::fs::write(id.join(name), format!("{text}\n")).unwrap();
                }
            }
            is_azure(sys.path())
        };
        assert!(machine(Some(VENDOR), Some(ASSET_TAG)));
        assert!(machine(Some(VENDOR), None));
        // Hyper-V on a machine of one's own.
        assert!(!machine(Some(VENDOR), Some("1234-5678")));
        assert!(!machine(Some(VENDOR), Some("")));
        assert!(!machine(Some("QEMU"), Some(ASSET_TAG)));
        assert!(!machine(None, None));
    }
}
