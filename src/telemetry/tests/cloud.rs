//! Where a host of Azure runs, against a stand-in of the metadata service on the loopback.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_sdk::Resource;

use super::super::azure::asker;
use super::super::origin::{Host, Origin};
use crate::config::{self, Input, Options};
use crate::engine::{Boot, Now, Wall};
use crate::outbound::tests::receiver::{Receiver, Reply, block};

const NOW: Now = Now { boot: Boot(9_000_000_000), wall: Wall(1_795_262_400_000_000) };

/// As the metadata service answers, with more in it than is used; far more than 4 KiB.
fn compute() -> String {
    let keys: Vec<_> = (0..8)
        .map(
            |n| serde_json::json!({"keyData": "ssh-rsa ".to_owned() + &"A".repeat(800), "path": n}),
        )
        .collect();
    serde_json::json!({
        "azEnvironment": "AzurePublicCloud",
        "publicKeys": keys,
        "location": "westeurope",
        "name": "web1",
        "resourceGroupName": "shop",
        "resourceId": "/subscriptions/8d10da13/resourceGroups/shop/providers/Microsoft.Compute/virtualMachines/web1",
        "subscriptionId": "8d10da13",
        "vmId": "13f56399-bd52-4150-9748-7190aae1ff21",
        "vmSize": "Standard_B2s",
        "zone": "",
    })
    .to_string()
}

fn origin(metadata: &Receiver, telemetry: &str) -> Origin {
    let text = format!(
        "[telemetry]\ncloud = \"azure\"\n{telemetry}\n[azure]\nmetadata = \"{}\"\n",
        metadata.url("")
    );
    let options = Options::new(None, Default::default(), true, "web1".into());
    let loaded = config::load_from(vec![Input::memory("k.toml", text)], &options);
    let config = loaded.finish().unwrap();
    let none = tempfile::tempdir().unwrap();
    let ask = asker(&config.telemetry, none.path());
    assert!(ask.is_some());
    Origin::new(&config.telemetry, &config.rules, &Host { key: Arc::from("k3y") }, ask)
}

fn get(resource: &Resource, key: &'static str) -> Option<String> {
    resource.get(&key.into()).map(|value| value.to_string())
}

#[test]
fn azure_says_where_the_host_runs() {
    let metadata = Receiver::new([Reply::new("200 OK", &compute())]);
    let origin = origin(&metadata, "");
    let resource = block(origin.resource(NOW));
    let found = [
        "cloud.provider",
        "cloud.platform",
        "cloud.region",
        "cloud.account.id",
        "cloud.availability_zone",
        "cloud.resource_id",
        "host.id",
        "host.type",
        "service.instance.id",
    ]
    .map(|key| get(&resource, key));
    let id = "/subscriptions/8d10da13/resourceGroups/shop/providers/Microsoft.Compute/virtualMachines/web1";
    let expected = [
        Some("azure"),
        Some("azure.vm"),
        Some("westeurope"),
        Some("8d10da13"),
        None,
        Some(id),
        Some("13f56399-bd52-4150-9748-7190aae1ff21"),
        Some("Standard_B2s"),
        Some("k3y"),
    ];
    assert_eq!(found, expected.map(|text| text.map(str::to_owned)));
    let [request] = &metadata.requests()[..] else { panic!() };
    assert_eq!(request.target, "/metadata/instance/compute?api-version=2021-02-01&format=json");
    assert_eq!(request.headers["metadata"], "true");
    // It does not move.
    block(origin.resource(NOW.after(Duration::from_secs(86_400))));
    assert_eq!(metadata.requests().len(), 1);
}

#[test]
fn what_the_user_says_weighs_more() {
    let metadata = Receiver::new([Reply::new("200 OK", &compute())]);
    let origin =
        origin(&metadata, "attributes = { \"host.id\" = \"mine\", \"cloud.region\" = \"moon\" }");
    let resource = block(origin.resource(NOW));
    assert_eq!(get(&resource, "host.id").as_deref(), Some("mine"));
    assert_eq!(get(&resource, "cloud.region").as_deref(), Some("moon"));
    assert_eq!(get(&resource, "cloud.provider").as_deref(), Some("azure"));
}

#[test]
fn a_service_that_does_not_say_is_asked_again_later() {
    let replies = [
        Reply::new("404 Not Found", ""),
        Reply::new("200 OK", "no json"),
        Reply::Hang,
        Reply::new("200 OK", &compute()),
    ];
    let metadata = Receiver::new(replies);
    let origin = origin(&metadata, "");
    for (minute, asked, known) in
        [(0, 1, false), (4, 1, false), (5, 2, false), (10, 3, false), (15, 4, true)]
    {
        let resource = block(origin.resource(NOW.after(Duration::from_secs(60 * minute))));
        assert_eq!(metadata.requests().len(), asked, "minute {minute}");
        assert_eq!(get(&resource, "cloud.region").is_some(), known, "minute {minute}");
        let id = if known { "13f56399-bd52-4150-9748-7190aae1ff21" } else { "k3y" };
        assert_eq!(get(&resource, "host.id").as_deref(), Some(id));
    }
}

#[test]
fn it_is_asked_only_where_that_makes_sense() {
    let asks = |cloud: &str| {
        let text = format!("[telemetry]\ncloud = \"{cloud}\"\n");
        let options = Options::new(None, Default::default(), true, "web1".into());
        let loaded = config::load_from(vec![Input::memory("k.toml", text)], &options);
        let config = loaded.finish().unwrap();
        let sys = tempfile::tempdir().unwrap();
        let id = sys.path().join("class/dmi/id");
        std::fs::create_dir_all(&id).unwrap();
        let elsewhere = asker(&config.telemetry, sys.path()).is_some();
        std::fs::write(id.join("sys_vendor"), "Microsoft Corporation\n").unwrap();
        (elsewhere, asker(&config.telemetry, sys.path()).is_some())
    };
    assert_eq!(asks("auto"), (false, true));
    assert_eq!(asks("azure"), (true, true));
    assert_eq!(asks("none"), (false, false));
}
