//! The connection string of an Application Insights resource.

use reqwest::Url;

use crate::config::Secret;

/// Where telemetry goes when the string does not say so.
const EVERYWHERE: &str = "https://dc.services.visualstudio.com";
/// Longer ones are not carried.
const LONGEST_KEY: usize = 40;

/// What is used of a connection string.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    /// Which resource: whoever knows it can write there.
    pub(super) key: Secret,
    /// `…/v2/track`
    pub(super) track: Url,
    /// The string itself says where to.
    pub(super) has_endpoint: bool,
}

/// What is wrong with a connection string, without anything of it, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) message: String,
    pub(super) hint: &'static str,
}

pub(super) const COPY: &str = "copy the whole connection string from the overview page of the \
                               resource: InstrumentationKey=…;IngestionEndpoint=https://…";
const IDENTITY: &str = "leave Authorization out; or, where the resource wants an identity, send \
                        OTLP to Azure Monitor with `otlp.endpoint` and `azure.identity`";

impl Connection {
    /// Parts are `Name=value`, with `;` between them; case does not matter in names. Parts that
    /// are not known are left alone.
    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        let (mut key, mut endpoint, mut suffix, mut location) = (None, None, None, None);
        for (i, part) in text.split(';').enumerate() {
            let part = part.trim();
            if part.is_empty() {
                continue;
            }
            let Some((name, value)) = part.split_once('=') else {
                return Err(wrong(format!("part {} of the connection string has no `=`", i + 1)));
            };
            let value = value.trim();
            match name.trim().to_ascii_lowercase().as_str() {
                "instrumentationkey" => key = Some(value),
                "ingestionendpoint" => endpoint = Some(value),
                "endpointsuffix" => suffix = Some(value),
                "location" => location = Some(value),
                "authorization" if !value.eq_ignore_ascii_case("ikey") => {
                    let message = "the connection string asks for an Authorization other than \
                                   ikey, which is not supported";
                    return Err(Wrong { message: message.into(), hint: IDENTITY });
                }
                _ => {}
            }
        }
        let Some(key) = key.filter(|key| !key.is_empty()) else {
            return Err(wrong("the connection string has no InstrumentationKey".into()));
        };
        if key.len() > LONGEST_KEY || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            let message = format!(
                "the InstrumentationKey is none: it has up to {LONGEST_KEY} letters, digits and \
                 hyphens"
            );
            return Err(wrong(message));
        }
        let (from, address) = match (endpoint, suffix) {
            (Some(endpoint), _) => ("IngestionEndpoint", endpoint.to_owned()),
            (None, Some(suffix)) => {
                let location = location.map(|l| format!("{l}.")).unwrap_or_default();
                ("EndpointSuffix", format!("https://{location}dc.{suffix}"))
            }
            (None, None) => ("", EVERYWHERE.to_owned()),
        };
        let Some(track) = track(&address) else {
            let message =
                format!("{from} in the connection string is no address of the form https://host");
            return Err(wrong(message));
        };
        Ok(Self { key: Secret::new(key), track, has_endpoint: !from.is_empty() })
    }
}

fn wrong(message: String) -> Wrong {
    Wrong { message, hint: COPY }
}

/// Always by TLS, as there is a key in what is sent.
fn track(address: &str) -> Option<Url> {
    let (scheme, rest) = address.split_once("://").unwrap_or(("https", address));
    if !["https", "http"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return None;
    }
    let url = Url::parse(&format!("https://{}/v2/track", rest.trim_end_matches('/'))).ok()?;
    let plain = url.username().is_empty() && url.password().is_none();
    (plain && url.query().is_none() && url.fragment().is_none()).then_some(url)
}
