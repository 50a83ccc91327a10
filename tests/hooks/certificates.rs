//! Receivers whose certificate is not right: what is told of it, and that nothing is lost by it.
//! Certificates are made by the command `openssl`.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::dockerd::Dockerd;
use super::{Agent, nest, text};

/// An authority, and certificates of it.
struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Option<Self> {
        if nest::program("openssl").is_none() {
            nest::skip("there is no command openssl");
            return None;
        }
        let made = Self { folder: tempfile::tempdir().unwrap() };
        let config = "[ca]\ndefault_ca = a\n[a]\ndatabase = index\nunique_subject = no\n\
                      new_certs_dir = .\nserial = serial\ndefault_md = sha256\npolicy = p\n\
                      copy_extensions = copy\n[p]\ncommonName = supplied\n";
        for (name, text) in [("ca.cnf", config), ("index", ""), ("serial", "01\n")] {
            fs::write(made.path(name), text).unwrap();
        }
        made.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
             -subj /CN=authority -keyout ca.key -out ca.pem \
             -addext basicConstraints=critical,CA:TRUE",
        );
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

    /// A certificate for this host, good until then.
    fn sign(&self, name: &str, host: &str, until: &str) -> Arc<ServerConfig> {
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={host} \
             -keyout {name}.key -out {name}.csr -addext subjectAltName=DNS:{host}"
        ));
        self.openssl(&format!(
            "ca -batch -config ca.cnf -cert ca.pem -keyfile ca.key -in {name}.csr -out {name}.pem \
             -notext -startdate 20200101000000Z -enddate {until}"
        ));
        let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).unwrap();
        let certificate = CertificateDer::from_pem_file(self.path(&format!("{name}.pem"))).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key);
        Arc::new(config.unwrap())
    }
}

/// An HTTPS server that takes all it is told, with a certificate that may change.
struct Server {
    port: u16,
    shows: Arc<Mutex<Arc<ServerConfig>>>,
    /// The first line of each request; `None`: it did not come to one.
    came: Arc<Mutex<Vec<Option<String>>>>,
}

impl Server {
    fn new(config: &Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (shows, came) = (Arc::new(Mutex::new(config.clone())), Arc::<Mutex<Vec<_>>>::default());
        let (shown, kept) = (shows.clone(), came.clone());
        // It ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (config, kept) = (shown.lock().unwrap().clone(), kept.clone());
                std::thread::spawn(move || {
                    let request = serve(stream.unwrap(), config);
                    kept.lock().unwrap().push(request);
                });
            }
        });
        Self { port, shows, came }
    }

    fn show(&self, config: &Arc<ServerConfig>) {
        *self.shows.lock().unwrap() = config.clone();
    }

    /// The requests so far.
    fn requests(&self) -> Vec<String> {
        self.came.lock().unwrap().iter().flatten().cloned().collect()
    }

    /// How many connections came to nothing.
    fn refused(&self) -> usize {
        self.came.lock().unwrap().iter().filter(|one| one.is_none()).count()
    }
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>) -> Option<String> {
    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    // The body is known by its last brace.
    while !bytes.ends_with(b"}") {
        let n = stream.read(&mut chunk).ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&chunk[..n]);
    }
    let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
    stream.write_all(answer).and_then(|()| stream.flush()).ok()?;
    stream.conn.send_close_notify();
    let _ = stream.flush();
    String::from_utf8_lossy(&bytes).lines().next().map(str::to_owned)
}

#[test]
fn calls_wait_for_a_receiver_whose_certificate_is_bad_and_people_are_told_why() {
    let Some(authority) = Authority::new() else { return };
    let Some(docker) = Dockerd::start() else { return };
    let later = "20980101000000Z";
    let good = authority.sign("good", "localhost", later);
    let old = authority.sign("old", "localhost", "20210203040506Z");
    let other = authority.sign("other", "elsewhere.example", later);
    let servers = [("strange", &good), ("other", &other), ("old", &old), ("late", &old)]
        .map(|(name, config)| (name, Server::new(config)));
    let ca = text(&authority.path("ca.pem"));
    let hooks = |strangers: bool| {
        let hook = |(name, server): &(&str, Server)| {
            let trusted = *name != "strange" || !strangers;
            let ca = if trusted { format!("ca = \"{ca}\"\n") } else { String::new() };
            let port = server.port;
            format!(
                "[[hook]]\nname = \"{name}\"\ntype = \"billing\"\nproxy = false\n\
                 url = \"https://localhost:{port}/events\"\n{ca}\n"
            )
        };
        servers.iter().map(hook).collect::<String>()
    };
    let mut agent = Agent::new();
    agent.configure(&docker.address(), &hooks(true));
    agent.start(&[]);
    agent.wait("docker is found", || (!agent.check("agent:engine-docker").is_null()).then_some(()));
    docker.run("web", &[], &[]);

    // One that is mended soon has the call as soon as it is tried again.
    let [strange, other_host, expired, late] = servers.each_ref().map(|(_, server)| server);
    agent.wait("it was tried twice", || (late.refused() >= 2).then_some(()));
    late.show(&good);
    let once = |server: &Server| match server.requests().as_slice() {
        [] => None,
        [one] if one == "POST /events HTTP/1.1" => Some(()),
        more => panic!("{more:?}"),
    };
    agent.wait("the call arrives by itself", || once(late));

    // Of the others it is told what is wrong, where, and what to do.
    for (name, server, words) in [
        (
            "strange",
            strange,
            "its certificate is signed by nobody this host trusts: set `ca` to a PEM file with the \
             certificate of its issuer",
        ),
        (
            "other",
            other_host,
            "its certificate is for elsewhere.example and not for localhost: check the URL",
        ),
        (
            "old",
            expired,
            "its certificate expired on 2021-02-03 04:05:06 UTC, or the clock of this host is wrong",
        ),
    ] {
        let said = agent.wait_for_check(&format!("agent:hook-{name}"), "warning");
        let place = format!("https://localhost:{}: {words}", server.port);
        assert!(said.contains(&place), "{said}");
        assert_eq!(server.requests(), Vec::<String>::new());
    }
    assert_eq!(agent.check("agent:hook-late")["severity"], "healthy");

    // All is mended: by the receivers, and by who trusts.
    other_host.show(&good);
    expired.show(&good);
    agent.configure(&docker.address(), &hooks(false));
    agent.reload();
    for (name, server) in &servers {
        agent.wait(&format!("{name} has the call"), || once(server));
        agent.wait_for_check(&format!("agent:hook-{name}"), "healthy");
    }
}
