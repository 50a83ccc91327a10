//! The SMTP server of the tests, and certificates made by openssl.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};

use super::*;

/// Ends with the value.
pub(super) struct Server {
    child: Child,
    lines: Receiver<Value>,
    pub port: u64,
}

impl Server {
    /// `None`: there is no aiosmtpd here, and that has been said.
    #[track_caller]
    pub(super) fn start(settings: Value) -> Option<Self> {
        let Some(python) = python() else {
            let why = "no Python with aiosmtpd (package python3-aiosmtpd), or no openssl";
            let required = std::env::var_os("KEEPWELL_REQUIRE_SYSTEMD");
            assert!(required.is_none_or(|v| v != "1"), "{why}");
            println!("SKIPPED: no SMTP server: {why}");
            return None;
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/smtp.py");
        let mut child = Command::new(python)
            .arg(script)
            .arg(settings.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        let first: Value = lines.recv_timeout(LIMIT).expect("the server starts");
        Some(Self { child, lines, port: first["port"].as_u64().unwrap() })
    }

    /// The next mail that it took.
    #[track_caller]
    pub(super) fn mail(&self) -> Value {
        self.lines.recv_timeout(LIMIT).expect("a mail was taken")
    }

    /// That it took no further one.
    #[track_caller]
    pub(super) fn no_mail(&self) {
        let mail = self.lines.try_recv();
        assert!(mail.is_err(), "{mail:?}");
    }
}

const LIMIT: Duration = Duration::from_secs(120);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The one that has aiosmtpd: the distribution's, where another one comes first.
fn python() -> Option<&'static str> {
    let runs = |program: &str, arguments: &[&str]| {
        let out = Command::new(program).args(arguments).output();
        out.is_ok_and(|out| out.status.success())
    };
    if !runs("openssl", &["version"]) {
        return None;
    }
    ["/usr/bin/python3", "python3"].into_iter().find(|p| runs(p, &["-c", "import aiosmtpd.smtp"]))
}

/// A certificate authority of its own, in a folder of its own.
pub(super) struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let new = Self { folder };
        std::fs::write(new.path("ca.cnf"), CONFIGURATION).unwrap();
        std::fs::write(new.path("index"), "").unwrap();
        std::fs::write(new.path("serial"), "01\n").unwrap();
        new.openssl(
            "req -x509 -config ca.cnf -extensions root -newkey ec -pkeyopt \
             ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 30 -subj /CN=test-ca",
        );
        new
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The key `ca` of a channel that trusts this authority.
    pub(super) fn trusted(&self) -> String {
        format!("ca = \"{}\"\n", self.path("ca.pem").display())
    }

    /// Settings of a server with a certificate for `names`, valid from, to (`20200101000000Z`).
    pub(super) fn server(&self, tls: &str, names: &str, from: &str, to: &str) -> Value {
        self.openssl(
            "req -config ca.cnf -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout s.key \
             -out s.csr -subj /CN=server",
        );
        let extensions = format!("basicConstraints=CA:FALSE\nsubjectAltName={names}\n");
        std::fs::write(self.path("server.ext"), extensions).unwrap();
        self.openssl(&format!(
            "ca -config ca.cnf -batch -notext -in s.csr -out s.pem -startdate {from} -enddate {to} \
             -extfile server.ext"
        ));
        json!({ "tls": tls, "cert": self.path("s.pem"), "key": self.path("s.key") })
    }

    /// As [`Self::server`], valid for `localhost` and for long.
    pub(super) fn good(&self, tls: &str) -> Value {
        self.server(tls, "DNS:localhost,IP:127.0.0.1", "20200101000000Z", "20991231000000Z")
    }

    fn openssl(&self, arguments: &str) {
        let out = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
}

const CONFIGURATION: &str = "\
[req]
distinguished_name = name
[name]
[root]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
[ca]
default_ca = own
[own]
certificate = ca.pem
private_key = ca.key
database = index
serial = serial
new_certs_dir = .
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
";
