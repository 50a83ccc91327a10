//! Azure Monitor by OTLP: who we are there, and what Azure knows of this machine. Azure takes
//! nothing without a token; whose it is and how it is had is decided here, once for each
//! configuration.

mod cache;
mod cloud;
mod exchange;
mod managed;
mod token;

use std::sync::Arc;

use reqwest::header::HeaderName;
use reqwest::{Client, Url};

pub(super) use cloud::asker;

use super::otlp::Tokens;
use crate::config::sink::Place;
use crate::config::{Azure, Identity, Outbound, Proxy, Signal, Sink};
use crate::outbound::{self, Clients, Way, file, shown};

use cache::{Cached, Source};
use exchange::{Exchange, Proof};
use managed::Managed;

/// Endpoints for which an identity is used without being asked for.
const ENDPOINTS: &str = ".ingest.monitor.azure.com";
/// Files of tokens are not larger.
const MOST_OF_A_FILE: usize = 64 * 1024;

/// Whom tokens are for: Azure Monitor of the cloud that the endpoint belongs to.
fn audience(endpoint: &Url) -> &'static str {
    let host = endpoint.host_str().unwrap_or_default();
    if host.ends_with(".monitor.azure.us") {
        "https://monitor.azure.us"
    } else if host.ends_with(".monitor.azure.cn") {
        "https://monitor.azure.cn"
    } else {
        "https://monitor.azure.com"
    }
}

/// Whether this is Azure Monitor itself, of the public cloud.
pub(super) fn is_endpoint(url: &Url) -> bool {
    url.host_str().is_some_and(|host| host.ends_with(ENDPOINTS))
}

/// Whether nobody outside of this machine sees what is sent there as plain text.
fn is_private(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    url.scheme() == "https"
        || host == "localhost"
        || literal.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The way for tokens and what they are had for: what goes as plain text stays on this machine, past
/// every proxy.
pub(super) fn guarded(way: &Way, url: &Url, at: Place, sink: &mut Sink) -> Option<Way> {
    if url.scheme() == "https" {
        return Some(way.clone());
    }
    let client = outbound::local_client().map_err(|error| sink.error(at, error)).ok()?;
    Some(Way { client, ..way.clone() })
}

/// As whom we send: one identity for all signals of an audience.
pub(super) struct Identities<'a> {
    azure: &'a Azure,
    made: Vec<(&'static str, Option<Arc<dyn Tokens>>)>,
}

impl<'a> Identities<'a> {
    pub(super) fn new(azure: &'a Azure) -> Self {
        Self { azure, made: Vec::new() }
    }

    /// Who gives the tokens for this signal; nobody where it needs none, and where something is
    /// wrong, which the sink knows then.
    pub(super) fn tokens(
        &mut self,
        signal: &Signal,
        endpoint: &Url,
        clients: &mut Clients,
        sink: &mut Sink,
    ) -> Option<Arc<dyn Tokens>> {
        let own = signal.headers.iter().find(|(name, _)| {
            HeaderName::try_from(name.as_str()).is_ok_and(|name| name == "authorization")
        });
        match (self.azure.identity, own) {
            (Identity::None, _) => return None,
            (Identity::Auto, _) if !is_endpoint(endpoint) => return None,
            // Whoever brings a token of their own needs no other.
            (Identity::Auto, Some(_)) => return None,
            (_, Some((_, (_, at)))) => {
                sink.error(*at, "the header authorization is set by `azure.identity`")
                    .hint("remove one of the two");
                return None;
            }
            (_, None) => {}
        }
        if !is_private(endpoint) {
            let message = format!("a token would go to {} unencrypted", shown(endpoint));
            sink.error(signal.at, message)
                .hint("write https://, or set `azure.identity` to \"none\"");
            return None;
        }
        let audience = audience(endpoint);
        if let Some((_, made)) = self.made.iter().find(|(known, _)| *known == audience) {
            return made.clone();
        }
        let made = source(self.azure, audience, signal.at, clients, sink)
            .map(|source| Arc::new(Cached::new(source)) as Arc<dyn Tokens>);
        self.made.push((audience, made.clone()));
        made
    }
}

/// Who gives the tokens; what is wrong is reported where the identity is named, or else at `at`.
fn source(
    azure: &Azure,
    audience: &'static str,
    at: Place,
    clients: &mut Clients,
    sink: &mut Sink,
) -> Option<Source> {
    let place = |keys: &[&str]| azure.place_of(keys).unwrap_or(at);
    let named = place(&["identity", "client_id", "tenant_id", "client_secret", "token_file"]);
    let Azure { client_id, tenant_id, client_secret, token_file, .. } = azure;
    let both = client_id.is_some() && tenant_id.is_some();
    let identity = match azure.identity {
        Identity::Auto if both && token_file.is_some() => Identity::Workload,
        Identity::Auto if both && client_secret.is_some() => Identity::ClientSecret,
        Identity::Auto => {
            // Half of an identity is a mistake; that of the machine may still be the right one.
            let half =
                [(client_secret.is_some(), "client_secret"), (token_file.is_some(), "token_file")];
            for (_, name) in half.into_iter().filter(|(set, _)| *set) {
                let message = format!("`azure.{name}` is not used: it is no identity by itself");
                sink.warning(place(&[name]), message)
                    .hint("set `azure.tenant_id` and `azure.client_id` too");
            }
            Identity::Managed
        }
        explicit => explicit,
    };
    let proof = match identity {
        Identity::Auto | Identity::None | Identity::Managed => {
            return managed(azure, audience, named, clients, sink).map(Source::Managed);
        }
        Identity::Workload => token_file.clone().map(Proof::File),
        Identity::ClientSecret => client_secret.clone().map(Proof::Secret),
    };
    let (name, variable, word) = match identity {
        Identity::Workload => ("token_file", "AZURE_FEDERATED_TOKEN_FILE", "workload"),
        _ => ("client_secret", "AZURE_CLIENT_SECRET", "client-secret"),
    };
    let needed = [
        (tenant_id.is_none(), "tenant_id", "AZURE_TENANT_ID"),
        (client_id.is_none(), "client_id", "AZURE_CLIENT_ID"),
        (proof.is_none(), name, variable),
    ];
    let missing: Vec<_> = needed.iter().filter(|(missing, ..)| *missing).collect();
    let (Some(tenant), Some(client_id), Some(proof)) = (tenant_id, client_id, proof) else {
        let keys: Vec<_> = missing.iter().map(|(_, key, _)| format!("`azure.{key}`")).collect();
        let variables: Vec<_> = missing.iter().map(|(.., variable)| *variable).collect();
        let message = format!("the identity \"{word}\" needs {}", keys.join(" and "));
        let hint = format!("set it in [azure], or by {}", variables.join(" and "));
        sink.error(named, message).hint(hint);
        return None;
    };
    if !tenant.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)) {
        sink.error(place(&["tenant_id"]), "`azure.tenant_id` is neither an id nor a domain").hint(
            "`az account show --query tenantId` says it: 9c3a7b10-0000-4000-8000-000000000000",
        );
        return None;
    }
    let at_authority = azure.place_of(&["authority"]).unwrap_or(named);
    let authority = parse(&azure.authority, "azure.authority", at_authority, sink)?;
    if !is_private(&authority) {
        let message = format!("the identity would go to {} unencrypted", shown(&authority));
        sink.error(at_authority, message).hint("write https:// in `azure.authority`");
        return None;
    }
    if let Proof::File(path) = &proof
        && let Err(error) = file::read(path, MOST_OF_A_FILE)
    {
        // It may come later: it is read anew for each token.
        let message = format!("`azure.token_file`: {} cannot be read: {error}", path.display());
        sink.warning(place(&["token_file"]), message);
    }
    let way = outbound::way_of(&azure.outbound, azure.own_ca, named, clients, sink)?;
    let way = guarded(&way, &authority, at_authority, sink)?;
    let address = format!("{}/{tenant}/oauth2/v2.0/token", azure.authority);
    Some(Source::Exchange(Exchange {
        url: parse(&address, "azure.authority", at_authority, sink)?,
        client_id: client_id.clone(),
        audience,
        proof,
        way,
        timeout: azure.timeout,
    }))
}

fn managed(
    azure: &Azure,
    audience: &'static str,
    at: Place,
    clients: &mut Clients,
    sink: &mut Sink,
) -> Option<Managed> {
    let client = metadata_client(azure, at, clients, sink)?;
    let address = format!("{}/metadata/identity/oauth2/token", azure.metadata);
    let mut url =
        parse(&address, "azure.metadata", azure.place_of(&["metadata"]).unwrap_or(at), sink)?;
    let client_id = azure.client_id.clone();
    url.query_pairs_mut()
        .append_pair("api-version", "2018-02-01")
        .append_pair("resource", &format!("{audience}/"))
        .extend_pairs(client_id.iter().map(|id| ("client_id", id)));
    Some(Managed { url, client_id, client, timeout: azure.timeout })
}

/// The client for the metadata service, which is never asked through a proxy: a proxy is another
/// machine.
fn metadata_client(
    azure: &Azure,
    at: Place,
    clients: &mut Clients,
    sink: &mut Sink,
) -> Option<Client> {
    if azure.metadata.starts_with("https:") {
        let direct = Outbound { proxy: Proxy::Off, ..azure.outbound.clone() };
        let way = outbound::way_of(&direct, azure.own_ca, at, clients, sink);
        return way.map(|Way { client, .. }| client);
    }
    outbound::local_client().map_err(|error| sink.error(at, error)).ok()
}

fn parse(text: &str, name: &str, at: Place, sink: &mut Sink) -> Option<Url> {
    Url::parse(text)
        .map_err(|error| sink.error(at, format!("`{name}` is no valid URL: {error}")))
        .ok()
}
