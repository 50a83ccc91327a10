//! A stand-in of Application Insights' ingestion endpoint on the loopback, with TLS: it keeps each
//! request and gives the answers it was told to. Its certificate is made by the command `openssl`;
//! where that is missing, tests say that they were skipped.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flate2::read::GzDecoder;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;

use crate::outbound::tests::receiver::{Reply, Request, take};

/// The instrumentation key of the resource.
pub(crate) const KEY: &str = "0f9a3c71-5d3e-4B8E-9d61-2f00c0ffee01";

/// As [`Reply::new`].
pub(crate) fn answer(head: &str, body: &str) -> Reply {
    Reply::new(head, body)
}

/// That all of it is there.
pub(crate) fn all() -> Reply {
    answer("200 OK", r#"{"itemsReceived":1,"itemsAccepted":1,"appId":null,"errors":[]}"#)
}

impl Request {
    /// The items within.
    #[track_caller]
    pub(crate) fn envelopes(&self) -> Vec<Value> {
        let mut text = String::new();
        GzDecoder::new(&self.body[..]).read_to_string(&mut text).expect("the body is gzip");
        serde_json::from_str(&text).expect("the body is an array in JSON")
    }
}

/// See the top of this file.
pub(crate) struct Ingestion {
    folder: Arc<tempfile::TempDir>,
    port: u16,
    seen: Arc<Mutex<Vec<Request>>>,
    script: Arc<Mutex<VecDeque<Reply>>>,
}

impl Ingestion {
    /// Gives these answers, one a request, and then the last one again and again.
    pub(crate) fn new(script: impl IntoIterator<Item = Reply>) -> Option<Self> {
        if Command::new("openssl").arg("version").output().is_err() {
            println!("SKIPPED: there is no command openssl");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
                         -subj /CN=keepwell-test -keyout own.key -out own.pem -addext \
                         basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:localhost";
        let made = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(&folder)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Some(Self::within(Arc::new(folder), script))
    }

    /// Another one with the same certificate.
    pub(crate) fn beside(&self, script: impl IntoIterator<Item = Reply>) -> Self {
        Self::within(self.folder.clone(), script)
    }

    /// Its thread waits for connections until the tests end.
    fn within(folder: Arc<tempfile::TempDir>, script: impl IntoIterator<Item = Reply>) -> Self {
        let key = PrivateKeyDer::from_pem_file(folder.path().join("own.key")).unwrap();
        let certificate = CertificateDer::from_pem_file(folder.path().join("own.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
        let script: Arc<Mutex<VecDeque<_>>> = Arc::new(Mutex::new(script.into_iter().collect()));
        let (kept, told) = (seen.clone(), script.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let (config, kept, told) = (config.clone(), kept.clone(), told.clone());
                std::thread::spawn(move || serve(stream, config, &kept, &told));
            }
        });
        Self { folder, port, seen, script }
    }

    /// `https://localhost:PORT`
    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// As the portal shows it.
    pub(crate) fn connection_string(&self) -> String {
        format!(
            "InstrumentationKey={KEY};IngestionEndpoint={url}/;LiveEndpoint={url}/;\
             ApplicationId=6e1d0f64-aaaa-bbbb-cccc-0123456789ab",
            url = self.url()
        )
    }

    /// What must be trusted.
    pub(crate) fn ca(&self) -> PathBuf {
        Path::join(self.folder.path(), "own.pem")
    }

    /// From now on gives these answers, and forgets what came before.
    pub(crate) fn restart(&self, script: impl IntoIterator<Item = Reply>) {
        *self.script.lock().unwrap() = script.into_iter().collect();
        self.seen.lock().unwrap().clear();
    }

    /// What came so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(
    stream: TcpStream,
    config: Arc<rustls::ServerConfig>,
    kept: &Mutex<Vec<Request>>,
    told: &Mutex<VecDeque<Reply>>,
) {
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let connection = rustls::ServerConnection::new(config).unwrap();
    let mut stream = rustls::StreamOwned::new(connection, stream);
    // As the service, it wants to be told how long a body is.
    let request = take(&mut stream);
    let told_how_long = |r: &Request| r.headers.contains_key("content-length");
    let Some(request) = request.filter(told_how_long) else { return };
    kept.lock().unwrap().push(request);
    let answer = {
        let mut script = told.lock().unwrap();
        if script.len() > 1 { script.pop_front().unwrap() } else { script[0].clone() }
    };
    match answer {
        Reply::Bytes(bytes) => {
            let _ = stream.write_all(&bytes).and_then(|()| stream.flush());
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
        Reply::Hang | Reply::Reset => {
            let _ = stream.read(&mut [0]);
        }
    }
}
