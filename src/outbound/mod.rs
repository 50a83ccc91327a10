//! The way out: HTTP clients for all that keepwell sends, whom they trust and by which proxy they
//! go. What comes back over them, and what errors mean in words, is in `answer`.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Certificate, Client, ClientBuilder, Url, redirect};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::Sha256;

use crate::config::sink::Place;
use crate::config::{Key, KeyKind, Outbound, Proxy, Reader, Sink};

mod answer;
pub(crate) mod file;
mod secrets;
#[cfg(test)]
pub(crate) mod tests;

use answer::chain;
pub(crate) use answer::{Answer, plain, request_error, shown};
pub(crate) use secrets::Secrets;

/// A delivery failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct SendError {
    /// Whether and when to try again.
    pub retry: Retry,
    /// What, where (without secrets), why, and what to do.
    pub text: String,
}

/// What a failed delivery says about the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// This message will never be taken.
    Never,
    /// The receiver takes no message any more (it is gone, or the address or the credentials are
    /// wrong): the channel rests until the configuration is loaded again; the message waits.
    Stop,
    /// Later; the receiver may have said how much later.
    Later(Option<Duration>),
}

/// Files of certificates are not larger: that of a whole distribution has 220 KiB.
const MOST_CERTIFICATES: usize = 1024 * 1024;

/// The key `ca`, which every channel over HTTP has.
pub(crate) const CA: Key = Key {
    name: "ca",
    kind: KeyKind::Text,
    default: "",
    example: "\"/etc/keepwell/ca.pem\"",
    doc: "A PEM file of certificates that are trusted besides the host's, an absolute path; `outbound.ca` by default.",
};

/// The key `proxy`, which every channel over HTTP has.
pub(crate) const PROXY: Key = Key {
    name: "proxy",
    kind: KeyKind::SecretOrOff,
    default: "",
    example: "\"http://proxy.example.org:3128\"",
    doc: "The HTTP proxy for this channel; false is none; `outbound.proxy` by default.",
};

/// The variables that name a proxy where the configuration does not.
const VARIABLES: [&str; 3] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];

/// This host among all that send: derived from the machine id, from which it cannot be told
/// (machine-id(5) asks that the id itself is not shown to others).
pub fn host_key(machine_id: &str) -> Arc<str> {
    let mut mac = Hmac::<Sha256>::new_from_slice(machine_id.trim().as_bytes())
        // Invariant: HMAC takes keys of any length.
        .expect("HMAC takes keys of any length");
    mac.update(b"keepwell idempotency key 1");
    let digest = mac.finalize().into_bytes();
    digest.iter().take(8).map(|b| format!("{b:02x}")).collect::<String>().into()
}

/// A boxed future, sendable so that it runs on any executor.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The way out of a channel.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    pub(crate) client: Client,
    /// Of the proxy.
    pub(crate) secrets: Secrets,
}

/// The clients of all channels, made when first needed: one for all that need the same.
#[derive(Default)]
pub(crate) struct Clients {
    outbound: Outbound,
    /// `None` is one that cannot be made; that has been reported.
    made: Vec<(Outbound, Option<Client>)>,
}

impl Clients {
    /// Clients that reach the network as `outbound` says.
    pub(crate) fn new(outbound: Outbound) -> Self {
        Self { outbound, made: Vec::new() }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.made.len()
    }

    /// The file of certificates that all channels trust and where it is named, for those that do
    /// not speak HTTP.
    pub(crate) fn ca(&self) -> Option<(&Path, Option<Place>)> {
        Some((self.outbound.ca.as_deref()?, self.outbound.ca_at))
    }

    /// The client for these settings. What is wrong with the file of certificates is reported once.
    fn get(
        &mut self,
        settings: &Outbound,
        own_ca: bool,
        at: [Place; 2],
        sink: &mut Sink,
    ) -> Option<Client> {
        if let Some((_, made)) = self.made.iter().find(|(known, _)| known == settings) {
            return made.clone();
        }
        let [at_ca, at_proxy] = at;
        let what = if own_ca { "`ca`" } else { "`outbound.ca`" };
        let certificates = match &settings.ca {
            None => Some(Vec::new()),
            Some(path) => certificates(path, what, at_ca, sink),
        };
        let client = certificates.and_then(|certificates| {
            http_client(&certificates, &settings.proxy)
                .map_err(|error| sink.error(at_proxy, error))
                .ok()
        });
        self.made.push((settings.clone(), client.clone()));
        client
    }
}

/// Reads `ca` and `proxy`, the keys that every channel over HTTP has, and gives the way for them.
/// What is wrong goes into the reader's sink.
pub(crate) fn way(reader: &mut Reader<'_>, clients: &mut Clients) -> Option<Way> {
    let mut settings = clients.outbound.clone();
    let own_ca = reader.path("ca");
    let wrong_ca = own_ca.is_none() && reader.has("ca");
    let proxy = reader.proxy("proxy");
    let wrong_proxy = proxy.is_none() && reader.has("proxy");
    settings.proxy = proxy.unwrap_or(settings.proxy);
    let at =
        [("ca", settings.ca_at), ("proxy", settings.proxy_at)].map(|(key, of_all)| match of_all {
            Some(at) if !reader.has(key) => at,
            _ => reader.place_of(key),
        });
    let own = own_ca.is_some();
    settings.ca = own_ca.or(settings.ca);
    if wrong_ca || wrong_proxy {
        return None;
    }
    let client = clients.get(&settings, own, at, reader.sink())?;
    Some(Way { client, secrets: login(&settings.proxy, reader.sink()) })
}

/// The way for settings that have been read already; `own_ca` says that the section has a `ca` of
/// its own. What is wrong is reported where `ca` or `proxy` stands, or else at `at`.
pub(crate) fn way_of(
    settings: &Outbound,
    own_ca: bool,
    at: Place,
    clients: &mut Clients,
    sink: &mut Sink,
) -> Option<Way> {
    let places = [settings.ca_at.unwrap_or(at), settings.proxy_at.unwrap_or(at)];
    let client = clients.get(settings, own_ca, places, sink)?;
    Some(Way { client, secrets: login(&settings.proxy, sink) })
}

/// User and password of the proxy.
fn login(proxy: &Proxy, sink: &Sink) -> Secrets {
    let named: Vec<String> = match proxy {
        Proxy::Off => Vec::new(),
        Proxy::Url(url) => vec![url.expose().to_owned()],
        Proxy::Usual => {
            let names = VARIABLES.iter().flat_map(|name| [name.to_string(), name.to_lowercase()]);
            names.filter_map(|name| sink.environment().get(&name).map(str::to_owned)).collect()
        }
    };
    let mut secrets = Secrets::default();
    for url in named.iter().filter_map(|text| Url::parse(text.trim()).ok()) {
        secrets.add_login(&url);
    }
    secrets
}

/// The certificates of a PEM file; at least one, or the sink knows why.
fn certificates(path: &Path, what: &str, at: Place, sink: &mut Sink) -> Option<Vec<Certificate>> {
    let bytes = match file::read(path, MOST_CERTIFICATES) {
        Ok(bytes) => bytes,
        Err(error) => {
            file::unreadable(sink, at, what, path, &error);
            return None;
        }
    };
    let shown = path.display();
    let mut certificates = Vec::new();
    for one in CertificateDer::pem_slice_iter(&bytes) {
        let used = one
            .map_err(|error| error.to_string())
            // Tried here, where it is known in which file it stands.
            .and_then(|der| match RootCertStore::empty().add(der.clone()) {
                Ok(()) => Ok(der),
                Err(error) => Err(error.to_string()),
            })
            .and_then(|der| Certificate::from_der(&der).map_err(|error| chain(&error)));
        match used {
            Ok(certificate) => certificates.push(certificate),
            Err(error) => {
                let number = certificates.len() + 1;
                let message =
                    format!("{what}: certificate {number} in {shown} cannot be used: {error}");
                sink.error(at, message);
                return None;
            }
        }
    }
    if certificates.is_empty() {
        sink.error(at, format!("{what}: there is no certificate in {shown}"))
            .hint("it must have a block that begins with -----BEGIN CERTIFICATE-----");
        return None;
    }
    Some(certificates)
}

/// Builds a client; each loads the host's root certificates anew. It follows no redirect.
///
/// On a host without root certificates it still speaks plain HTTP, and HTTPS to those whom
/// `certificates` vouch for; other HTTPS then fails with an error that says so.
///
/// # Errors
/// When the system gives no resources for it, a certificate is damaged, or the proxy's URL is none;
/// in words, without secrets.
pub(crate) fn http_client(certificates: &[Certificate], proxy: &Proxy) -> Result<Client, String> {
    // It is an error to install one twice, and it does no harm.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let proxy = match proxy {
        Proxy::Usual => None,
        Proxy::Off => Some(None),
        Proxy::Url(url) => {
            Some(Some(reqwest::Proxy::all(url.expose().trim()).map_err(|error| {
                format!("the URL of the proxy is not valid: {}", chain(&error.without_url()))
            })?))
        }
    };
    let builder = || match &proxy {
        None => builder(),
        Some(None) => builder().no_proxy(),
        Some(Some(proxy)) => builder().proxy(proxy.clone()),
    };
    let own = || certificates.iter().cloned();
    builder()
        .tls_certs_merge(own())
        .build()
        .or_else(|_| builder().tls_certs_only(own()).build())
        .map_err(|error| format!("cannot set up the HTTP client: {}", chain(&error)))
}

/// A client for plain HTTP within this machine: it uses no proxy, whatever the variables say, and
/// knows no certificates, which would only cost memory.
///
/// # Errors
/// When the system gives no resources for it; in words.
pub(crate) fn local_client() -> Result<Client, String> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    builder()
        .no_proxy()
        .tls_certs_only([])
        .build()
        .map_err(|error| format!("cannot set up the HTTP client: {}", chain(&error)))
}

/// What all clients have in common.
fn builder() -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("keepwell/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10))
        .pool_max_idle_per_host(1)
        .pool_idle_timeout(Duration::from_secs(30))
}
