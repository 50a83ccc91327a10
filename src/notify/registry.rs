//! From a configuration's `[[channel]]` sections to channels: each kind reads its own keys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;

use super::{Channel, KINDS, Webhook, WebhookSettings, http_client, webhook};
use crate::config::{ChannelSection, Sink};

const SECOND: Duration = Duration::from_secs(1);

/// Makes the channels of a configuration; what is wrong with a section goes into the sink.
pub fn channels(sections: &[ChannelSection], sink: &mut Sink) -> Vec<Arc<dyn Channel>> {
    if sections.is_empty() {
        return Vec::new(); // The client costs memory; without channels there is none.
    }
    let client = match http_client() {
        Ok(client) => client,
        Err(error) => {
            sink.error(sections[0].section.place(), error);
            return Vec::new();
        }
    };
    sections.iter().filter_map(|section| channel(section, &client, sink)).collect()
}

fn channel(section: &ChannelSection, client: &Client, sink: &mut Sink) -> Option<Arc<dyn Channel>> {
    if section.kind == webhook::KIND.name {
        return webhook(section, client, sink);
    }
    let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    section.unknown_kind(&known, sink);
    None
}

fn webhook(section: &ChannelSection, client: &Client, sink: &mut Sink) -> Option<Arc<dyn Channel>> {
    let mut reader = section.section.read(sink);
    reader.require("url", "{ credential = \"NAME\" }");
    let url = reader.url("url");
    let secret = reader.secret("secret");
    let timeout = reader.duration("timeout", SECOND, 60 * SECOND);
    let headers = reader.text_map("headers").unwrap_or_default();
    let [at_url, at_secret, at_headers] =
        ["url", "secret", "headers"].map(|key| reader.place_of(key));
    reader.finish();
    let (Some(url), true) = (url, secret.as_ref().is_none_or(|s| s.is_resolved())) else {
        return None;
    };
    if !url.is_resolved() {
        return None; // `config check` by another user than the service; it has warned.
    }
    let settings = WebhookSettings {
        url: url.expose().to_owned(),
        secret: secret.map(|s| s.expose().to_owned()),
        headers: headers.into_iter().map(|(k, (v, _))| (k, v)).collect::<BTreeMap<_, _>>(),
        timeout: timeout.unwrap_or(WebhookSettings::TIMEOUT),
    };
    match Webhook::new(section.name.clone(), settings, client.clone()) {
        Ok(webhook) => Some(Arc::new(webhook)),
        Err(error) => {
            let at = match error.key {
                "secret" => at_secret,
                "headers" => at_headers,
                _ => at_url,
            };
            sink.error(at, error.text);
            None
        }
    }
}
