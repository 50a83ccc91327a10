//! Other parties at work: a receiver in Python with the protobuf classes that the OpenTelemetry
//! project publishes (`tests/support/otlp.py`), and a collector that others have written (rotel).
//! `scripts/need otlp` brings both.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

/// The folder of what `scripts/need otlp` has brought. `None`: there is none, and that has been
/// said.
#[track_caller]
fn folder() -> Option<PathBuf> {
    let rig = std::env::var_os("KEEPWELL_RIG_DIR").unwrap_or("/var/tmp/keepwell-rig".into());
    let folder = Path::new(&rig).join("otlp");
    if folder.join("complete").exists() {
        return Some(folder);
    }
    let why = "no other party's OTLP here; get it with: scripts/need otlp";
    let required = std::env::var_os("KEEPWELL_REQUIRE_SYSTEMD");
    assert!(required.is_none_or(|v| v != "1"), "{why}");
    println!("SKIPPED: no OTLP receiver: {why}");
    None
}

/// The receiver in Python. Ends with the value.
pub(crate) struct Decoder {
    child: Child,
    lines: Receiver<Value>,
    port: u64,
}

impl Decoder {
    /// With settings as `otlp.py` has them. `None`: it cannot be had, and that has been said.
    #[track_caller]
    pub(crate) fn start(settings: &Value) -> Option<Self> {
        let python = folder()?.join("bin/python");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/otlp.py");
        let mut child = Command::new(python)
            .args([script.as_os_str(), settings.to_string().as_ref()])
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
        let first: Value = lines.recv_timeout(LIMIT).expect("the receiver starts");
        Some(Self { child, lines, port: first["port"].as_u64().unwrap() })
    }

    /// What the generic endpoint is.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The next request: `path`, `headers`, `bytes` and, written out, `text`.
    #[track_caller]
    pub(crate) fn request(&self) -> Value {
        self.lines.recv_timeout(LIMIT).expect("a request comes, and can be decoded")
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A collector that throws away what it has taken, and logs what it was. Ends with the value.
pub(crate) struct Rotel {
    child: Child,
    port: u16,
    log: Arc<Mutex<String>>,
    _files: tempfile::TempDir,
}

impl Rotel {
    /// `None`: it cannot be had, and that has been said.
    #[track_caller]
    pub(crate) fn start() -> Option<Self> {
        let program = folder()?.join("rotel-agent");
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (http, grpc) = (free(), free());
        let port = http.local_addr().unwrap().port();
        let files = tempfile::tempdir().unwrap();
        let grpc_port = grpc.local_addr().unwrap().port();
        drop((http, grpc));
        let mut child = Command::new(program)
            .args(["start", "--exporter", "blackhole"])
            .args(["--debug-log", "metrics", "--debug-log", "logs"])
            .args(["--debug-log-verbosity", "detailed"])
            .args(["--otlp-http-endpoint", &format!("127.0.0.1:{port}")])
            .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc_port}")])
            .arg("--pid-file")
            .arg(files.path().join("pid"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut out = child.stdout.take().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let kept = log.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = out.read(&mut bytes) {
                kept.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..n]));
            }
        });
        let rotel = Self { child, port, log, _files: files };
        rotel.until("it listens", |_| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Some(rotel)
    }

    /// What the generic endpoint is.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Waits until its log says so.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, says: impl Fn(&str) -> bool) {
        let limit = tokio::time::Instant::now() + LIMIT;
        while !says(&self.log.lock().unwrap()) {
            let log = self.log.lock().unwrap();
            assert!(tokio::time::Instant::now() < limit, "not in time: {what}\n{log}");
            drop(log);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Rotel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
