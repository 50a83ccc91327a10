//! Reading where container engines listen, and naming them.

use super::super::super::section::Reader;
use super::super::super::sink::{Place, Sink};
use super::super::super::values::brief;
use super::EngineAddress;

const SOCKET: &str = "write \"unix:///run/docker.sock\"";
const TCP: &str = "write \"tcp://127.0.0.1:2375\"";

/// The engines that are named; `None` where nothing is said.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<Vec<EngineAddress>> {
    let hint = "to watch no containers write enabled = false; for the usual sockets leave it out";
    let named = reader.some_texts("engines", hint)?;
    let mut engines: Vec<EngineAddress> = Vec::new();
    for (url, at) in named {
        let url = url.trim().to_owned();
        if let Err((why, hint)) = check(&url) {
            // What stands before an @ may be a password.
            let shown = if url.contains('@') { "the address".into() } else { brief(&url) };
            let message = format!("`containers.engines`: {shown} {why}");
            reader.sink().error(at, message).hint(hint);
        } else if is_new(&url, &engines, at, reader.sink()) {
            engines.push(EngineAddress { name: name(&url, &engines).into(), url, at });
        }
    }
    Some(engines)
}

fn is_new(url: &str, engines: &[EngineAddress], at: Place, sink: &mut Sink) -> bool {
    // One socket has two names on nearly every host.
    let same = |url: &str| url.replacen("unix:///var/run/", "unix:///run/", 1);
    let Some(first) = engines.iter().find(|engine| same(&engine.url) == same(url)) else {
        return true;
    };
    let first = sink.describe(first.at);
    sink.error(at, format!("the engine {} is there already, at {first}", brief(url)))
        .hint("keep one of the two");
    false
}

/// What is wrong with an address, and what to write.
fn check(url: &str) -> Result<(), (&'static str, &'static str)> {
    if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(("contains spaces", SOCKET));
    }
    if let Some(path) = url.strip_prefix("unix://") {
        return match path {
            "" | "/" => Err(("names no socket", SOCKET)),
            path if path.starts_with('/') => Ok(()),
            _ => Err((
                "must hold an absolute path",
                "write three slashes: \"unix:///run/docker.sock\"",
            )),
        };
    }
    if let Some(to) = url.strip_prefix("tcp://") {
        return tcp(to);
    }
    let Some((scheme, _)) = url.split_once("://") else {
        return Err(if url.starts_with('/') {
            ("is a path, not an address", "put unix:// before it")
        } else {
            ("is no address", "write \"unix:///run/docker.sock\" or \"tcp://127.0.0.1:2375\"")
        });
    };
    Err(match scheme {
        "http" => ("must begin with unix:// or tcp://", TCP),
        "https" => (
            "must begin with unix:// or tcp://",
            "keepwell speaks plain HTTP with an engine; put a proxy on this host before one that wants TLS",
        ),
        "ssh" => (
            "must begin with unix:// or tcp://",
            "run keepwell on that host, or forward its socket with ssh -L",
        ),
        _ => ("must begin with unix:// or tcp://", SOCKET),
    })
}

fn tcp(to: &str) -> Result<(), (&'static str, &'static str)> {
    if to.contains('@') {
        return Err(("must not hold a user or a password", TCP));
    }
    let to = to.strip_suffix('/').unwrap_or(to);
    if to.contains(['/', '?', '#']) {
        return Err(("must end with the port", TCP));
    }
    let (host, port) = match to.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) if host.parse::<std::net::Ipv6Addr>().is_ok() => {
            (host, rest.strip_prefix(':'))
        }
        Some(_) => return Err(("has no valid host", TCP)),
        None => match to.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => {
                return Err((
                    "has no valid host",
                    "write an IPv6 address in brackets: \"tcp://[::1]:2375\"",
                ));
            }
            Some((host, port)) => (host, Some(port)),
            None => (to, None),
        },
    };
    if host.is_empty() {
        return Err(("has no host", TCP));
    }
    match port.map(str::parse::<u16>) {
        None => Err(("has no port", TCP)),
        Some(Ok(port)) if port != 0 => Ok(()),
        Some(_) => Err(("has no valid port", "a port is between 1 and 65535")),
    }
}

/// A name for it that no other has: `docker`, `podman`, that of one user's `podman-1000`.
fn name(url: &str, others: &[EngineAddress]) -> String {
    let kind = if url.contains("podman") { "podman" } else { "docker" };
    let user = url.strip_prefix("unix:///run/user/").and_then(|rest| rest.split('/').next());
    let name = match user {
        Some(user) if !user.is_empty() && user.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{kind}-{user}")
        }
        _ => kind.to_owned(),
    };
    let taken = |name: &str| others.iter().any(|engine| *engine.name == *name);
    if !taken(&name) {
        return name;
    }
    (2..).map(|n| format!("{name}-{n}")).find(|name| !taken(name)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_says_what_is_wrong_with_it() {
        for good in [
            "unix:///run/docker.sock",
            "tcp://127.0.0.1:2375",
            "tcp://socket-proxy:2375/",
            "tcp://[::1]:2375",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("unix://run/docker.sock", "absolute path"),
            ("unix://", "no socket"),
            ("/run/docker.sock", "is a path"),
            ("docker", "no address"),
            ("http://127.0.0.1:2375", "must begin with"),
            ("tcp://127.0.0.1", "no port"),
            ("tcp://127.0.0.1:", "no valid port"),
            ("tcp://:2375", "no host"),
            ("tcp://a:70000", "no valid port"),
            ("tcp://::1:2375", "no valid host"),
            ("tcp://u:p@h:1", "password"),
            ("tcp://h:1/v1.41", "end with the port"),
            ("tcp://h h:1", "spaces"),
        ] {
            let (said, _) = check(bad).unwrap_err();
            assert!(said.contains(why), "{bad}: {said}");
        }
    }

    #[test]
    fn engines_get_names_that_tell_them_apart() {
        let mut engines: Vec<EngineAddress> = Vec::new();
        let mut sink = Sink::new(Default::default(), false);
        for url in [
            "unix:///run/docker.sock",
            "tcp://127.0.0.1:2375",
            "unix:///run/podman/podman.sock",
            "unix:///run/user/1000/podman/podman.sock",
            "unix:///run/user/1000/docker.sock",
        ] {
            let at = sink.add_variable("X");
            engines.push(EngineAddress { name: name(url, &engines).into(), url: url.into(), at });
        }
        let names: Vec<&str> = engines.iter().map(|engine| &*engine.name).collect();
        assert_eq!(names, ["docker", "docker-2", "podman", "podman-1000", "docker-1000"]);
    }
}
