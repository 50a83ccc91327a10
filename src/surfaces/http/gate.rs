//! Who may see and do what.
//!
//! | who | health, metrics, page | status, units, containers, alerts, explain | log text | acts |
//! |---|---|---|---|---|
//! | anybody over TCP, loopback too | yes | no | no | no |
//! | whoever has the token | yes | yes | yes | yes |
//! | root, or keepwell's own user, on the unix socket | yes | yes | yes | yes |
//! | any other user on the unix socket | yes | yes | no | no |
//!
//! A name in `Host` that is not ours is refused (DNS rebinding), and so is an act that a web page
//! of another origin sends (CSRF).

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{Method, StatusCode, Version};
use axum::response::Response;
use sha2::{Digest, Sha256};

use crate::engine::Actor;
use crate::surfaces::report::Lines;

use super::answer::error;
use super::{Access, Peer, Shared, Token};

/// What a caller may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Caller {
    /// See what is open.
    Anybody,
    /// See all but log text.
    Reader { uid: u32 },
    /// See and do all.
    Operator(Actor),
}

impl Caller {
    /// Whether log lines are for this caller.
    pub(super) fn lines(&self) -> Lines {
        if matches!(self, Self::Operator(_)) { Lines::Shown } else { Lines::Hidden }
    }
}

/// Who asks. A wrong token is no token.
pub(super) fn caller(shared: &Shared, request: &Request) -> Caller {
    let peer = request.extensions().get::<Peer>().copied().unwrap_or(Peer::Tcp);
    if let Peer::Unix { uid } = peer
        && (uid == 0 || uid == shared.uid)
    {
        let name = if uid == 0 { "root" } else { "keepwell's own user" };
        return Caller::Operator(Actor(format!("{name} (uid {uid})")));
    }
    if let Some(token) = &shared.access().token
        && bearer(request.headers()).is_some_and(|given| same(token, given))
    {
        let actor = match peer {
            Peer::Tcp => "holder of the API token".to_owned(),
            Peer::Unix { uid } => format!("holder of the API token (uid {uid})"),
        };
        return Caller::Operator(Actor(actor));
    }
    match peer {
        Peer::Tcp => Caller::Anybody,
        Peer::Unix { uid } => Caller::Reader { uid },
    }
}

/// The caller, if it may see more than what is open.
pub(super) fn reader(shared: &Shared, request: &Request) -> Result<Caller, Box<Response>> {
    match caller(shared, request) {
        Caller::Anybody => Err(Box::new(unauthorized(shared))),
        caller => Ok(caller),
    }
}

/// Lets through who may read logs.
pub(super) fn log_reader(shared: &Shared, request: &Request) -> Result<(), Box<Response>> {
    match reader(shared, request)? {
        Caller::Reader { uid } => {
            let text = format!(
                "user id {uid} may look but not read logs; run it as root (sudo) or as keepwell's own user"
            );
            Err(Box::new(error(StatusCode::FORBIDDEN, text)))
        }
        _ => Ok(()),
    }
}

/// The person who acts, if the caller may act and no foreign web page made it do so.
pub(super) fn operator(shared: &Shared, request: &Request) -> Result<Actor, Box<Response>> {
    let actor = match caller(shared, request) {
        Caller::Operator(actor) => actor,
        Caller::Anybody => return Err(Box::new(unauthorized(shared))),
        Caller::Reader { uid } => {
            let text = format!(
                "user id {uid} may look but not act; run it as root (sudo) or as keepwell's own user"
            );
            return Err(Box::new(error(StatusCode::FORBIDDEN, text)));
        }
    };
    same_origin(request.method(), request.headers())?;
    Ok(actor)
}

fn unauthorized(shared: &Shared) -> Response {
    let text = if shared.access().token.is_some() {
        "this needs the API token: send 'Authorization: Bearer TOKEN', or use the keepwell command on the host itself"
    } else {
        "this needs an API token and none is configured: set [http] token, or use the keepwell command on the host itself"
    };
    let mut response = error(StatusCode::UNAUTHORIZED, text);
    let scheme = HeaderValue::from_static("Bearer realm=\"keepwell\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
    response
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Takes the same time wherever the two differ: digests are compared, and all bytes of them.
fn same(token: &Token, given: &str) -> bool {
    let (ours, theirs) = (Sha256::digest(token.0.trim()), Sha256::digest(given));
    ours.iter().zip(theirs.iter()).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

/// Refuses a request that names another host than this one.
pub(super) fn host(access: &Access, request: &Request) -> Result<(), Box<Response>> {
    let mut lines = request.headers().get_all(header::HOST).iter();
    let named = match (lines.next(), lines.next()) {
        (Some(one), None) => one.to_str().ok(),
        (None, _) if request.version() <= Version::HTTP_10 => return Ok(()),
        (None, _) => {
            return Err(Box::new(error(StatusCode::BAD_REQUEST, "the request has no Host header")));
        }
        (Some(_), Some(_)) => {
            return Err(Box::new(error(
                StatusCode::BAD_REQUEST,
                "the request has two Host headers",
            )));
        }
    };
    // An absolute request target overrules the header, so both must be ours.
    let target = request.uri().authority().map(|a| a.as_str());
    if [named, target.or(named)].iter().all(|n| n.is_some_and(|n| ours(access, n))) {
        return Ok(());
    }
    let text = "the Host header names a host that is not this one; if it should be served under that name, add the name to [http] allowed_hosts";
    Err(Box::new(error(StatusCode::MISDIRECTED_REQUEST, text)))
}

/// An address is fine: to trick a browser by DNS takes a name.
fn ours(access: &Access, named: &str) -> bool {
    let name = without_port(named).trim_end_matches('.');
    name.eq_ignore_ascii_case("localhost")
        || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
        || access
            .hosts
            .iter()
            .any(|h| h == "*" || h.trim_end_matches('.').eq_ignore_ascii_case(name))
}

fn without_port(named: &str) -> &str {
    match named.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') && !name.is_empty() => name,
        _ => named,
    }
}

/// Refuses what a web page of another origin sends. Programs send no `Origin`. A form can only
/// `POST`, and not JSON; a browser asks before anything else, and is not answered.
fn same_origin(method: &Method, headers: &HeaderMap) -> Result<(), Box<Response>> {
    let refuse = |status, text: &str| Err(Box::new(error(status, text)));
    if let Some(origin) = headers.get(header::ORIGIN) {
        let host = headers.get(header::HOST).and_then(|h| h.to_str().ok());
        let origin = origin.to_str().ok().and_then(|o| o.split_once("://")).map(|(_, host)| host);
        if origin.is_none() || origin != host {
            return refuse(
                StatusCode::FORBIDDEN,
                "the Origin header is not this host: acts from other web pages are refused",
            );
        }
    }
    if headers.get("sec-fetch-site").is_some_and(|s| s == "cross-site" || s == "same-site") {
        return refuse(StatusCode::FORBIDDEN, "acts from other web pages are refused");
    }
    if method == Method::DELETE && !headers.contains_key(header::CONTENT_TYPE) {
        return Ok(());
    }
    let mime = headers.get(header::CONTENT_TYPE).and_then(|m| m.to_str().ok()).unwrap_or_default();
    let mime = mime.split(';').next().unwrap_or_default().trim();
    if !mime.eq_ignore_ascii_case("application/json") {
        return refuse(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send the body as Content-Type: application/json",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_known_names_are_ours_and_others_are_not() {
        let access =
            Access { token: None, hosts: vec!["web-1".into(), "status.example.org".into()] };
        for fine in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:8080",
            "[::1]:8080",
            "[::1]",
            "10.1.2.3",
            "web-1:8080",
            "Status.Example.Org",
            "status.example.org.:443",
        ] {
            assert!(ours(&access, fine), "{fine}");
        }
        for foreign in
            ["evil.example", "evil.example:8080", "localhost.evil.example", "", ":80", "web-1.evil"]
        {
            assert!(!ours(&access, foreign), "{foreign}");
        }
        assert!(ours(&Access { token: None, hosts: vec!["*".into()] }, "anything.example"));
    }

    #[test]
    fn only_the_token_itself_is_the_token() {
        let token = Token::new("s3cret\n").unwrap();
        assert!(same(&token, "s3cret"));
        assert!(!same(&token, "s3cre") && !same(&token, "s3cret2") && !same(&token, ""));
        assert!(Token::new(" \n").is_none());
        assert_eq!(format!("{token:?}"), "Token(…)");
    }
}
