//! Whom the HTTP clients trust, and by which way they go: against TLS servers and proxies on the
//! loopback. Certificates are made by the command `openssl`; where it is missing, those tests say
//! that they were skipped. Variables are tried in a process of their own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::load::{load, load_with, one, wrong};
use super::receiver::{Receiver, Reply, block};
use super::*;
use crate::config::{Outbound, Proxy, Secret};

/// An authority, and certificates signed by it.
struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Option<Self> {
        let made = Self { folder: tempfile::tempdir().unwrap() };
        if Command::new("openssl").arg("version").output().is_err() {
            println!("SKIPPED: there is no command openssl");
            return None;
        }
        let config = "[ca]\ndefault_ca = a\n[a]\ndatabase = index\nunique_subject = no\nnew_certs_dir = .\nserial = serial\n\
                      default_md = sha256\npolicy = p\ncopy_extensions = copy\n[p]\ncommonName = supplied\n";
        std::fs::write(made.path("ca.cnf"), config).unwrap();
        std::fs::write(made.path("index"), "").unwrap();
        std::fs::write(made.path("serial"), "01\n").unwrap();
        made.own("ca", "CA:TRUE");
        Some(made)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn openssl(&self, arguments: &str) {
        let arguments = arguments.split_whitespace();
        let out =
            Command::new("openssl").args(arguments).current_dir(&self.folder).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }

    /// A certificate that is its own issuer.
    fn own(&self, name: &str, constraint: &str) {
        self.openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj \
             /CN=keepwell-test -keyout {name}.key -out {name}.pem \
             -addext basicConstraints=critical,{constraint} -addext subjectAltName=DNS:localhost"
        ));
    }

    /// A certificate of the authority, for `localhost`.
    fn signed(&self, name: &str, from: &str, to: &str) {
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost \
             -keyout {name}.key -out {name}.csr -addext subjectAltName=DNS:localhost"
        ));
        self.openssl(&format!(
            "ca -batch -config ca.cnf -cert ca.pem -keyfile ca.key -in {name}.csr -out {name}.pem \
             -notext -startdate {from} -enddate {to}"
        ));
    }

    /// An HTTPS server with this certificate; it takes one request for each answer.
    fn serve(&self, name: &str) -> Server {
        let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).unwrap();
        let certificate = CertificateDer::from_pem_file(self.path(&format!("{name}.pem"))).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let config = Arc::new(config);
        Server::new(move |stream| {
            let connection = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream);
            let head = head(&mut stream)?;
            let _ = stream.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
            let _ = stream.flush();
            Some(head)
        })
    }
}

/// Does the same with every connection, and keeps what comes of it.
struct Server {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// The thread waits for connections until the tests end.
    fn new(mut serve: impl FnMut(TcpStream) -> Option<String> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = heads.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                kept.lock().unwrap().extend(serve(stream));
            }
        });
        Self { address, heads }
    }

    /// An HTTP proxy: it connects to where it is told to, and answers plain requests itself.
    /// Without this login it does neither.
    fn proxy(login: Option<&'static str>) -> Self {
        Self::new(move |mut stream| {
            let head = head(&mut stream)?;
            let allowed = login.is_none_or(|login| head.contains(&format!("asic {login}")));
            if !allowed {
                let _ = stream.write_all(
                    b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
                );
            } else if let Some(rest) = head.strip_prefix("CONNECT ") {
                let to = rest.split(' ').next()?.replace("localhost", "127.0.0.1");
                let there = TcpStream::connect(to).unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
                join(stream, there);
            } else {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nby proxy!");
            }
            Some(head)
        })
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The heads of all requests so far, and none any more.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.heads.lock().unwrap())
    }
}

/// Carries bytes both ways until one side ends.
fn join(a: TcpStream, b: TcpStream) {
    let (mut from, mut to) = (a.try_clone().unwrap(), b.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
    std::thread::spawn(move || {
        let (mut from, mut to) = (b, a);
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
}

/// The head of a request, after its body has come too.
fn head(stream: &mut impl Read) -> Option<String> {
    let mut bytes = Vec::new();
    let mut more = |bytes: &mut Vec<u8>| {
        let mut chunk = [0; 16 * 1024];
        let n = stream.read(&mut chunk).ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&chunk[..n]);
        Some(())
    };
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end + 4;
        }
        more(&mut bytes)?;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length =
        head.lines().find_map(|l| l.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    while bytes.len() < end + length.unwrap_or(0) {
        more(&mut bytes)?;
    }
    Some(head)
}

fn toml(url: &str, more: &str) -> String {
    format!("[[channel]]\nname = \"ops\"\ntype = \"webhook\"\nurl = \"{url}\"\n{more}\n")
}

fn send(url: &str, more: &str) -> Result<String, SendError> {
    let message = sample::outgoing(notification("m1", Happening::Opened));
    block(one(&toml(url, more)).send(&message))
}

fn ca(path: &Path) -> String {
    format!("proxy = \"none\"\nca = \"{}\"", path.display())
}

const PAST: &str = "20200101000000Z";
const FUTURE: &str = "20990101000000Z";

#[test]
fn a_private_authority_is_trusted_by_those_who_say_so() {
    let Some(authority) = Authority::new() else { return };
    authority.signed("good", PAST, FUTURE);
    let server = authority.serve("good");
    let url = format!("https://localhost:{}/hook", server.address.port());
    let trusted = ca(&authority.path("ca.pem"));
    assert_eq!(send(&url, &trusted).unwrap(), "202 Accepted");
    assert!(server.take()[0].starts_with("POST /hook HTTP/1.1\r\n"));

    // For all channels.
    let outbound =
        Outbound { ca: Some(authority.path("ca.pem")), proxy: Proxy::Off, ..Outbound::default() };
    let all = load_with(&toml(&url, ""), &outbound).unwrap();
    let message = sample::outgoing(notification("m1", Happening::Opened));
    assert_eq!(block(all[0].send(&message)).unwrap(), "202 Accepted");

    let begin = format!("cannot connect to https://localhost:{}: ", server.address.port());
    let error = send(&url, "proxy = \"none\"").unwrap_err();
    assert_eq!(error.retry, Retry::Later(None));
    assert_eq!(
        error.text.strip_prefix(&begin).unwrap(),
        "its certificate is signed by nobody this host trusts: set `ca` to a PEM file with the \
         certificate of its issuer; if the host has no root certificates at all, install the \
         package ca-certificates"
    );
    let error = send(&url.replace("localhost", "127.0.0.1"), &trusted).unwrap_err();
    assert!(
        error
            .text
            .ends_with(": its certificate is for localhost and not for 127.0.0.1: check the URL"),
        "{error}"
    );
}

#[test]
fn a_certificate_out_of_its_time_is_called_so() {
    let Some(authority) = Authority::new() else { return };
    let trusted = ca(&authority.path("ca.pem"));
    let why = |name: &str| {
        let server = authority.serve(name);
        let url = format!("https://localhost:{}/", server.address.port());
        let error = send(&url, &trusted).unwrap_err();
        assert_eq!(error.retry, Retry::Later(None));
        error.text.split_once(": its ").unwrap().1.to_owned()
    };
    authority.signed("old", PAST, "20210203040506Z");
    assert_eq!(
        why("old"),
        "certificate expired on 2021-02-03 04:05:06 UTC, or the clock of this host is wrong"
    );
    authority.signed("new", "20980101000000Z", FUTURE);
    assert_eq!(
        why("new"),
        "certificate is not valid before 2098-01-01 00:00:00 UTC, or the clock of this host is wrong"
    );
}

#[test]
fn a_server_without_tls_is_called_so() {
    let server = Server::new(|mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        None
    });
    let url = server.url().replace("http:", "https:");
    let error = send(&url, "proxy = false").unwrap_err();
    assert_eq!(error.retry, Retry::Later(None));
    let end = "; it does not speak TLS there: check the port, or write http:// in the URL";
    assert!(error.text.ends_with(end), "{error}");
    assert!(!error.text.contains("client error"), "{error}");
}

#[test]
fn a_server_of_grpc_is_called_so() {
    // Its first frame: settings of HTTP/2, with nothing set.
    let server = Server::new(|mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"\0\0\0\x04\0\0\0\0\0");
        None
    });
    let error = send(&server.url(), "proxy = false").unwrap_err();
    assert_eq!(error.retry, Retry::Later(None));
    let end = "; it does not speak HTTP/1.1 there (gRPC, perhaps): check the port";
    assert!(error.text.ends_with(end), "{error}");
}

#[test]
fn a_name_that_nobody_knows_is_said_in_few_words() {
    let error = send("http://no-such-host.invalid/", "proxy = false").unwrap_err();
    let begin =
        "cannot connect to http://no-such-host.invalid: failed to lookup address information: ";
    assert!(error.text.starts_with(begin), "{error}");
}

#[test]
fn a_certificate_that_vouches_for_itself_can_be_trusted() {
    let Some(authority) = Authority::new() else { return };
    authority.own("self", "CA:FALSE");
    let server = authority.serve("self");
    let url = format!("https://localhost:{}/", server.address.port());
    assert_eq!(send(&url, &ca(&authority.path("self.pem"))).unwrap(), "202 Accepted");
    let server = authority.serve("ca");
    let url = format!("https://localhost:{}/", server.address.port());
    let error = send(&url, &ca(&authority.path("ca.pem"))).unwrap_err();
    assert!(
        error.text.contains("a certificate that is its own issuer must say CA:FALSE"),
        "{error}"
    );
}

#[test]
fn a_file_of_certificates_that_is_none_is_found_out_at_load() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let text = toml("http://h.example/", &format!("ca = \"{}\"", path.display()));
    let found = wrong(&text);
    assert!(found.contains("k.toml:5:6: `ca`: "), "{found}");
    assert!(found.contains("ca.pem cannot be read: No such file"), "{found}");
    std::fs::write(&path, "no certificate\n").unwrap();
    assert!(wrong(&text).contains("`ca`: there is no certificate in "), "{}", wrong(&text));
    for damaged in ["%%", "AAAA"] {
        let pem = format!("-----BEGIN CERTIFICATE-----\n{damaged}\n-----END CERTIFICATE-----\n");
        std::fs::write(&path, pem).unwrap();
        let found = wrong(&text);
        assert!(found.contains("k.toml:5:6: `ca`: certificate 1 in "), "{found}");
        assert!(found.contains(" cannot be used: "), "{found}");
    }
    std::fs::write(&path, vec![b'a'; 2 << 20]).unwrap();
    assert!(wrong(&text).contains("it is larger than 1024 KiB"));
    assert!(
        wrong(&toml("http://h.example/", "ca = \"ca.pem\"")).contains("must be an absolute path")
    );
    // Of all channels: said once, and where it stands.
    for kinds in ["webhook webhook", "email webhook", "webhook email"] {
        let kinds: Vec<String> = kinds
            .split(' ')
            .enumerate()
            .map(|(n, kind)| {
                let rest = match kind {
                    "email" => "host = \"localhost\"\nto = \"a@example.org\"",
                    _ => "url = \"http://h.example/\"",
                };
                format!("[[channel]]\nname = \"c{n}\"\ntype = \"{kind}\"\n{rest}\n")
            })
            .collect();
        let text = format!("[outbound]\nca = \"/nonexistent\"\n{}", kinds.concat());
        let found = super::load::wrong_in_all(&text);
        assert!(found.starts_with("k.toml:2:6: `outbound.ca`: /nonexistent cannot be"), "{found}");
        assert_eq!(found.matches("/nonexistent cannot be read").count(), 1, "{found}");
    }
    let outbound = Outbound { ca: Some("/nonexistent".into()), ..Outbound::default() };
    let two = [toml("http://h.example/", ""), toml("http://h.example/", "").replace("ops", "dev")];
    let found = load_with(&two.concat(), &outbound).err().unwrap();
    assert_eq!(found.matches("`outbound.ca`: /nonexistent cannot be read").count(), 1, "{found}");
}

#[test]
fn a_proxy_is_used_for_http_and_https() {
    // user:p@ss
    let proxy = Server::proxy(Some("dXNlcjpwQHNz"));
    let url = format!("http://user:p%40ss@{}", proxy.address);
    let by = format!("proxy = \"{url}\"");
    assert_eq!(send("http://h.invalid/hook?t=s3cr3t", &by).unwrap(), "200 OK: by proxy!");
    let [head] = &proxy.take()[..] else { panic!() };
    assert!(head.starts_with("POST http://h.invalid/hook?t=s3cr3t HTTP/1.1\r\n"), "{head}");

    let outbound = Outbound { proxy: Proxy::Url(Secret::new(&*url)), ..Outbound::default() };
    let all = load_with(&toml("http://h.invalid/hook", ""), &outbound).unwrap();
    let message = sample::outgoing(notification("m1", Happening::Opened));
    assert_eq!(block(all[0].send(&message)).unwrap(), "200 OK: by proxy!");

    // The login is wrong: all messages would fail.
    let closed = format!("proxy = \"{}\"", proxy.url());
    for url in ["http://h.invalid/s3cr3t", "https://h.invalid/s3cr3t"] {
        let error = send(url, &closed).unwrap_err();
        assert_eq!(error.retry, Retry::Stop, "{error}");
        assert!(
            error.text.ends_with("; set the user and password in the URL of the proxy"),
            "{error}"
        );
        assert!(!error.text.contains("s3cr3t"));
    }
    proxy.take();

    // Nobody is there.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error =
        send("https://h.invalid/", &format!("proxy = \"http://u:s3cr3t@{gone}\"")).unwrap_err();
    assert_eq!(error.retry, Retry::Later(None));
    assert!(error.text.contains("Connection refused") && !error.text.contains("s3cr3t"), "{error}");

    let Some(authority) = Authority::new() else { return };
    authority.signed("good", PAST, FUTURE);
    let server = authority.serve("good");
    let url = format!("https://localhost:{}/hook", server.address.port());
    let both = format!("ca = \"{}\"\n{by}", authority.path("ca.pem").display());
    assert_eq!(send(&url, &both).unwrap(), "202 Accepted");
    let [head] = &proxy.take()[..] else { panic!() };
    let begin = format!("CONNECT localhost:{} HTTP/1.1\r\n", server.address.port());
    assert!(head.starts_with(&begin), "{head}");
    assert!(server.take()[0].starts_with("POST /hook HTTP/1.1\r\n"), "the proxy sees none of it");
}

#[test]
fn a_proxy_that_is_none_is_found_out_at_load_and_never_shown() {
    for proxy in ["socks5://u:s3cr3t@h.example", "h.example:3128", "http://"] {
        let found = wrong(&toml("http://h.example/", &format!("proxy = \"{proxy}\"")));
        assert!(found.contains("`channel.proxy` "), "{found}");
        assert!(!found.contains("s3cr3t"), "{found}");
    }
    assert!(wrong(&toml("http://h.example/", "proxy = true")).contains("proxy"));
    assert!(load(&toml("http://h.example/", "proxy = false")).is_ok());
    let secret =
        Outbound { proxy: Proxy::Url(Secret::new("http://u:s3cr3t@h")), ..Outbound::default() };
    assert!(!format!("{secret:?}").contains("s3cr3t"));
}

const CHILD: &str = "KEEPWELL_TEST_SEND";

/// What another process is made to do, with variables of its own: to send to the channels of this
/// variable, and to print what becomes of it.
#[test]
fn a_process_of_its_own_sends() {
    let Ok(text) = std::env::var(CHILD) else { return };
    let message = sample::outgoing(notification("m1", Happening::Opened));
    for channel in load(&text).unwrap() {
        match block(channel.send(&message)) {
            Ok(said) => println!("said: {said}"),
            Err(error) => println!("said: {:?} {error}", error.retry),
        }
    }
}

/// What becomes of a message in a process with these variables.
fn with(variables: &[(&str, &str)], toml: &str) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap());
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD"] {
        child.env_remove(name).env_remove(name.to_lowercase());
    }
    let out = child
        .args(["--exact", "--nocapture", "notify::tests::network::a_process_of_its_own_sends"])
        .env(CHILD, toml)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success() && text.contains("1 passed"), "{text}");
    text.lines().filter_map(|l| Some(l.split_once("said: ")?.1.to_owned())).collect()
}

#[test]
fn the_usual_variables_are_honoured() {
    let proxy = Server::proxy(None);
    let there = proxy.url();
    let far = toml("http://h.invalid/", "");
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        assert_eq!(with(&[(name, &there)], &far), ["200 OK: by proxy!"], "{name}");
        assert_eq!(proxy.take().len(), 1, "{name}");
    }
    let receiver = Receiver::new([Reply::new("204 No Content", "")]);
    let near = toml(&receiver.url("/"), "");
    for name in ["NO_PROXY", "no_proxy"] {
        let variables = [("HTTP_PROXY", &*there), (name, "example.org, 127.0.0.1")];
        assert_eq!(with(&variables, &near), ["204 No Content"], "{name}");
    }
    // What the configuration says comes before what the variables say.
    for off in ["proxy = false", "proxy = \"none\""] {
        let direct = toml(&receiver.url("/"), off);
        assert_eq!(with(&[("ALL_PROXY", &there)], &direct), ["204 No Content"], "{off}");
    }
    assert_eq!(proxy.take().len(), 0);
    let mine = toml(&receiver.url("/"), &format!("proxy = \"{there}\""));
    assert_eq!(with(&[("NO_PROXY", "*")], &mine), ["200 OK: by proxy!"]);
    proxy.take();

    let Some(authority) = Authority::new() else { return };
    authority.signed("good", PAST, FUTURE);
    let server = authority.serve("good");
    let url = format!("https://localhost:{}/", server.address.port());
    let secure = toml(&url, &format!("ca = \"{}\"", authority.path("ca.pem").display()));
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        assert_eq!(with(&[(name, &there)], &secure), ["202 Accepted"], "{name}");
        let heads = proxy.take();
        assert!(
            heads.len() == 1 && heads[0].starts_with("CONNECT localhost:"),
            "{name}: {heads:?}"
        );
    }
    assert_eq!(with(&[("HTTP_PROXY", &there)], &secure), ["202 Accepted"]);
    assert_eq!(proxy.take().len(), 0, "that variable is not for https");
}

#[test]
fn a_host_without_root_certificates_speaks_http_and_trusts_what_it_is_told_to() {
    let none = [("SSL_CERT_FILE", "/nonexistent/file"), ("SSL_CERT_DIR", "/nonexistent/folder")];
    let receiver = Receiver::new([Reply::new("204 No Content", "")]);
    assert_eq!(with(&none, &toml(&receiver.url("/"), "")), ["204 No Content"]);
    let Some(authority) = Authority::new() else { return };
    authority.signed("good", PAST, FUTURE);
    let server = authority.serve("good");
    let url = format!("https://localhost:{}/", server.address.port());
    let told = toml(&url, &format!("ca = \"{}\"", authority.path("ca.pem").display()));
    assert_eq!(with(&none, &told), ["202 Accepted"]);
    let said = with(&none, &toml(&url, "")).remove(0);
    assert!(said.contains("install the package ca-certificates"), "{said}");
}

#[test]
fn channels_that_need_the_same_share_a_client() {
    let text = |name: &str, more: &str| {
        toml("http://h.example/", more).replace("\"ops\"", &format!("\"{name}\""))
    };
    let all = [
        text("a", ""),
        text("b", ""),
        text("c", "proxy = false"),
        text("d", "proxy = \"none\""),
        text("e", "proxy = \"http://p.example\""),
        text("f", "proxy = \"http://p.example\""),
    ];
    let options = crate::config::Options::new(None, Default::default(), true, "web1".into());
    let input = crate::config::Input::memory("k.toml", all.concat());
    let mut loaded = crate::config::load_from(vec![input], &options);
    let mut clients = Clients::default();
    for section in &loaded.config.channels {
        let mut reader = section.section.read(&mut loaded.sink);
        assert!(http::way(&mut reader, &mut clients).is_some());
    }
    assert_eq!(clients.len(), 3);
}
