//! Findings of `doctor` about the addresses that keepwell listens on.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::config::Http;
use crate::surfaces::http::{BindError, bind};

use super::super::{Finding, Level};
use super::asked;

const LIMIT: Duration = Duration::from_secs(2);
/// An answer of `/health` is far shorter.
const MOST: u64 = 64 << 10;
const ELSEWHERE: &str = "set [http] listen = \"ADDRESS:PORT\" to a free port";

pub(super) fn find(http: &Http) -> Vec<Finding> {
    let mut findings = Vec::new();
    for address in &http.listen {
        findings.push(port(*address));
        if !address.ip().is_loopback() && http.token.is_none() {
            let text = "other hosts can reach it, and no http.token is set: who can connect sees \
                        the page and the measurements, without log text";
            let remedy = "set http.token, or listen on 127.0.0.1";
            findings.push(Finding::bad(name(*address), Level::Warn, text, remedy));
        }
    }
    findings
}

fn name(address: SocketAddr) -> String {
    format!("port {address}")
}

/// Who has an address.
fn port(address: SocketAddr) -> Finding {
    let name = name(address);
    // The socket needs a runtime.
    let Some(taken) = asked(async { bind::tcp(address).map(drop) }) else {
        return Finding::bad(name, Level::Warn, "could not be tried", "try again");
    };
    match taken {
        Ok(()) => Finding::ok(name, "free: nobody listens on it now"),
        Err(BindError::InUse { by: Some(by), .. }) if by.starts_with("systemd (") => {
            Finding::ok(name, "held by systemd for keepwell (keepwell.socket)")
        }
        Err(error @ BindError::InUse { .. }) => match health(address) {
            Ok(true) => Finding::ok(name, "keepwell answers"),
            Err(why) if is_ours(&error) => {
                let text = format!("keepwell listens and does not answer: {why}");
                Finding::bad(name, Level::Fail, text, "look at `journalctl -u keepwell`")
            }
            _ => Finding::bad(name, Level::Fail, holder(&error), ELSEWHERE),
        },
        Err(BindError::Denied { .. }) => {
            let text = "below 1024: keepwell's user may not listen there";
            Finding::bad(name, Level::Warn, text, ELSEWHERE)
        }
        Err(BindError::NotOurs { .. }) => {
            let text = "this host does not have the address";
            Finding::bad(name, Level::Fail, text, "set [http] listen to one that it has")
        }
        Err(error) => Finding::bad(name, Level::Fail, error.to_string(), ELSEWHERE),
    }
}

fn is_ours(error: &BindError) -> bool {
    matches!(error, BindError::InUse { by: Some(by), .. } if by.starts_with("keepwell ("))
}

fn holder(error: &BindError) -> String {
    match error {
        BindError::InUse { by: Some(by), .. } => format!("taken by {by}"),
        _ => "taken by another program; as root, doctor says which".to_owned(),
    }
}

/// Whether keepwell's `/health` answers there.
fn health(address: SocketAddr) -> std::io::Result<bool> {
    // Who listens on all addresses is reached on this host's own.
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let address = SocketAddr::new(ip, address.port());
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    // In one piece: a formatted write goes out in several.
    let request = format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let Ok(json) = serde_json::from_str::<serde_json::Value>(body) else { return Ok(false) };
    Ok(["status", "host", "ready", "checks"].iter().all(|key| json.get(key).is_some()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn http(listen: &str) -> Http {
        Http { listen: vec![listen.parse().unwrap()], token: None, allowed_hosts: Vec::new() }
    }

    /// Answers one request.
    fn answering(body: &'static str) -> (SocketAddr, thread::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let read = stream.read(&mut request).unwrap();
            assert!(request[..read].starts_with(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1:"));
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: x\r\n\r\n{body}").unwrap();
        });
        (address, server)
    }

    #[test]
    fn another_program_is_told_from_keepwell() {
        let (address, server) =
            answering(r#"{"status":"healthy","host":"h","ready":true,"checks":{}}"#);
        let found = find(&http(&address.to_string()));
        server.join().unwrap();
        assert_eq!(found, [Finding::ok(format!("port {address}"), "keepwell answers")]);

        let (address, server) = answering("<html>hello</html>");
        let found = find(&http(&address.to_string()));
        server.join().unwrap();
        assert_eq!(found[0].level, Level::Fail);
        assert!(found[0].text.starts_with("taken by "), "{found:?}");
        assert_eq!(found[0].remedy.as_deref(), Some(ELSEWHERE));
    }

    #[test]
    fn a_free_port_is_well_and_one_for_other_hosts_wants_a_token() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let found = find(&http(&free.to_string()));
        assert_eq!(found.iter().map(|f| f.level).collect::<Vec<_>>(), [Level::Ok]);
        let open = format!("0.0.0.0:{}", free.port());
        let found = find(&http(&open));
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].level, Level::Warn);
        assert!(found[1].text.contains("no http.token"), "{found:?}");
        let found = find(&http("192.0.2.1:8080"));
        assert!(found[0].text.contains("does not have the address"), "{found:?}");
    }
}
