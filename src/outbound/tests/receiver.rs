//! A receiver on the loopback that keeps every request whole and gives the answers it was told to:
//! also none, a broken one, or a reset.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

/// What comes after a request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// These bytes, and the end of the connection.
    Bytes(Vec<u8>),
    /// Nothing, until the client goes away.
    Hang,
    /// The connection is reset.
    Reset,
}

impl Reply {
    /// An answer with a body; `head` is the status and further headers, `\r\n` between them:
    /// `"429 Too Many Requests\r\nRetry-After: 3"`.
    pub(crate) fn new(head: &str, body: &str) -> Self {
        // 204 and 304 have no length.
        let length = match body {
            "" if head.starts_with("204") => String::new(),
            body => format!("Content-Length: {}\r\n", body.len()),
        };
        let text = format!("HTTP/1.1 {head}\r\n{length}Connection: close\r\n\r\n{body}");
        Self::Bytes(text.into_bytes())
    }
}

/// One request, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// `HTTP/1.1`
    pub(crate) version: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// For golden files: the line, the headers that say something, the body (JSON with line breaks).
    pub(crate) fn golden(&self) -> String {
        let mut out = format!("{} {}\n", self.method, self.target);
        for (name, value) in &self.headers {
            if !["host", "content-length", "user-agent", "accept"].contains(&name.as_str()) {
                writeln!(out, "{name}: {value}").unwrap();
            }
        }
        match serde_json::from_slice::<Value>(&self.body) {
            Ok(json) => write!(out, "\n{json:#}").unwrap(),
            Err(_) => write!(out, "\n{}", String::from_utf8_lossy(&self.body)).unwrap(),
        }
        out
    }
}

/// See the top of this file.
pub(crate) struct Receiver {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    /// Gives these answers, one a request, and then the last one again and again.
    pub(crate) fn new(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::guarded(|_| None, replies)
    }

    /// As [`Self::new`], but what the guard does not let pass gets its answer and none of these.
    pub(crate) fn guarded(
        guard: fn(&Request) -> Option<Reply>,
        replies: impl IntoIterator<Item = Reply>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let replies: Arc<Mutex<VecDeque<Reply>>> =
            Arc::new(Mutex::new(replies.into_iter().collect()));
        let (kept, stopped, script) = (requests.clone(), stop.clone(), replies.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let mut stream = stream.unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                // A client that connects and says nothing is no request.
                let Some(request) = take(&mut stream) else { continue };
                let refusal = guard(&request);
                kept.lock().unwrap().push(request);
                let reply = if let Some(refusal) = refusal {
                    refusal
                } else {
                    let mut script = script.lock().unwrap();
                    if script.len() > 1 { script.pop_front().unwrap() } else { script[0].clone() }
                };
                give(stream, &reply);
            }
        });
        Self { address, requests, replies, stop, thread: Some(thread) }
    }

    /// `http://127.0.0.1:PORT` and this path and query.
    pub(crate) fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.address)
    }

    /// From now on gives these answers, and forgets what came before.
    pub(crate) fn restart(&self, replies: impl IntoIterator<Item = Reply>) {
        *self.replies.lock().unwrap() = replies.into_iter().collect();
        self.requests.lock().unwrap().clear();
    }

    /// What came so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread from its wait for the next connection.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the receiver itself failed");
        }
    }
}

/// Reads one request; `None` for a client that says none.
pub(crate) fn take(stream: &mut impl Read) -> Option<Request> {
    let mut bytes = Vec::new();
    let mut more = |bytes: &mut Vec<u8>| {
        let mut chunk = [0; 16 * 1024];
        let n = stream.read(&mut chunk).ok()?;
        bytes.extend_from_slice(&chunk[..n]);
        (n > 0).then_some(())
    };
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end + 4;
        }
        more(&mut bytes)?;
    };
    let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
    let mut lines = text.lines();
    let mut words = lines.next()?.split(' ');
    let mut word = || words.next().map(str::to_owned);
    let (method, target, version) = (word()?, word()?, word()?);
    let headers: BTreeMap<_, _> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers.get("content-length").map_or(0, |n| n.parse().unwrap());
    while bytes.len() < head + length {
        more(&mut bytes)?;
    }
    Some(Request { method, target, version, headers, body: bytes[head..].to_vec() })
}

fn give(mut stream: TcpStream, reply: &Reply) {
    match reply {
        Reply::Bytes(bytes) => {
            // The client may not wait for all of it.
            let _ = stream.write_all(bytes).and_then(|()| stream.flush());
        }
        Reply::Hang => {
            let _ = stream.read(&mut [0; 1]);
        }
        Reply::Reset => {
            let none = Some(Duration::ZERO);
            rustix::net::sockopt::set_socket_linger(&stream, none).unwrap();
        }
    }
}

/// Runs a future of a test to its end, on a runtime of its own.
pub(crate) fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
