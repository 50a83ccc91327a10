//! Asks the running daemon over its unix socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::config::{Environment, Paths};
use crate::surfaces::report::StatusReport;
use crate::surfaces::visible;

const TIME_LIMIT: Duration = Duration::from_secs(5);
/// Everything about ten thousand units is shorter. Who listens may be anybody: root asks too.
const MOST: usize = 64 << 20;

/// Why the daemon could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("keepwell is not running (no socket at {}); start it with `systemctl start keepwell`, or use `keepwell check`", .0.display())]
    NotRunning(PathBuf),
    /// The socket is there, but refuses.
    #[error("cannot connect to {}: {source}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It took too long.
    #[error("keepwell did not answer within {} s at {}; look at `systemctl status keepwell`", limit.as_secs(), path.display())]
    Timeout {
        /// The socket.
        path: PathBuf,
        /// How long was waited.
        limit: Duration,
    },
    /// The connection broke.
    #[error("the connection to keepwell broke: {0}")]
    Broken(#[from] hyper::Error),
    /// It refused, in its own words.
    #[error("{0}")]
    Refused(String),
    /// An answer that this version does not understand.
    #[error(
        "keepwell's answer cannot be read ({0}); the daemon may be of another version: restart it"
    )]
    Garbled(#[from] serde_json::Error),
    /// No runtime for the request.
    #[error("cannot start: {0}")]
    Runtime(io::Error),
}

/// Where a daemon's socket may be, best first.
fn places() -> Vec<PathBuf> {
    Paths::socket_candidates(&Environment::from_process())
}

/// A way to the daemon.
#[derive(Debug)]
pub(super) struct Client {
    places: Vec<PathBuf>,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    /// By the socket that was named, or by the usual ones.
    pub(super) fn new(socket: Option<&Path>) -> Result<Self, ClientError> {
        let places = socket.map_or_else(places, |s| vec![s.to_owned()]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Self { places, runtime: runtime.map_err(ClientError::Runtime)? })
    }

    /// Everything that the daemon knows.
    pub(super) fn status(&self) -> Result<StatusReport, ClientError> {
        self.get("/api/v1/status")
    }

    /// What is at a path.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        Ok(serde_json::from_slice(&self.ask("GET", path, &(), TIME_LIMIT)?)?)
    }

    /// An act that takes its time; gives what came of it.
    pub(super) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        limit: Duration,
    ) -> Result<T, ClientError> {
        Ok(serde_json::from_slice(&self.ask("POST", path, body, limit)?)?)
    }

    /// An act; gives the daemon's words for the person.
    pub(super) fn act(
        &self,
        method: &str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<String, ClientError> {
        let said = self.ask(method, path, body, TIME_LIMIT)?;
        let said: serde_json::Value = serde_json::from_slice(&said)?;
        Ok(said["message"].as_str().unwrap_or("done").to_owned())
    }

    fn ask(
        &self,
        method: &str,
        path: &str,
        body: &impl Serialize,
        limit: Duration,
    ) -> Result<Bytes, ClientError> {
        let mut body = serde_json::to_vec(body)?;
        if body == b"null" {
            body.clear();
        }
        self.runtime.block_on(async {
            let (place, stream) = self.connect().await?;
            let exchange = exchange(stream, method, path, body.into());
            match tokio::time::timeout(limit, exchange).await {
                Ok(answer) => answer,
                Err(_) => Err(ClientError::Timeout { path: place, limit }),
            }
        })
    }

    async fn connect(&self) -> Result<(PathBuf, UnixStream), ClientError> {
        let mut trouble = None;
        for place in &self.places {
            match UnixStream::connect(place).await {
                Ok(stream) => return Ok((place.clone(), stream)),
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                    ) => {}
                Err(source) => trouble = Some(ClientError::Connect { path: place.clone(), source }),
            }
        }
        let usual = self.places.last().cloned().unwrap_or_default();
        Err(trouble.unwrap_or(ClientError::NotRunning(usual)))
    }
}

async fn exchange(
    stream: UnixStream,
    method: &str,
    path: &str,
    body: Bytes,
) -> Result<Bytes, ClientError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(body))
        // Invariant: methods and paths are constants of this folder, and what is put into a path
        // is an id of letters and digits, so they are well formed.
        .map_err(|e| ClientError::Refused(e.to_string()))?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MOST).collect().await;
        match body.map_err(|e| e.downcast::<hyper::Error>()) {
            Ok(body) => Ok((status, body.to_bytes())),
            Err(Ok(broken)) => Err(ClientError::Broken(*broken)),
            Err(Err(_)) => Err(ClientError::Refused(format!(
                "keepwell's answer is longer than {} MiB",
                MOST >> 20
            ))),
        }
    };
    // The connection moves only while it is polled, also after it has delivered all.
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(answer);
    let mut open = true;
    let (status, body) = loop {
        tokio::select! {
            answer = answer.as_mut() => break answer?,
            _ = connection.as_mut(), if open => open = false,
        }
    };
    if status == StatusCode::OK {
        return Ok(body);
    }
    let said: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
    let Some(text) = said.as_ref().and_then(|s| s["error"].as_str()) else {
        return Err(ClientError::Refused(format!("keepwell answered {status}")));
    };
    let near = said.as_ref().and_then(|s| s["did_you_mean"].as_array());
    let near: Vec<&str> = near.into_iter().flatten().filter_map(|n| n.as_str()).collect();
    Err(ClientError::Refused(match near[..] {
        [] => visible(text).into_owned(),
        _ => visible(&format!("{text}; did you mean {}?", near.join(" or "))).into_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surfaces::http::{Access, AgentInfo, Shared, bind, serve};
    use crate::surfaces::report::Lines;
    use crate::surfaces::sample;
    use std::sync::Arc;
    use tokio::sync::{mpsc, watch};
    use tokio_util::sync::CancellationToken;

    #[test]
    fn no_daemon_is_said_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keepwell.sock");
        let error = Client::new(Some(&path)).unwrap().status().unwrap_err().to_string();
        let wanted = format!("keepwell is not running (no socket at {}); start it", path.display());
        assert!(error.starts_with(&wanted), "{error}");
    }

    #[test]
    fn an_answer_without_end_is_not_read_to_the_end() {
        use std::io::{Read, Write};

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keepwell.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            let some = vec![b' '; 1 << 20];
            while stream.write_all(&some).is_ok() {}
        });
        let error = Client::new(Some(&path)).unwrap().status().unwrap_err().to_string();
        assert_eq!(error, "keepwell's answer is longer than 64 MiB");
        server.join().unwrap();
    }

    #[test]
    fn it_reads_what_the_daemon_tells_and_does_what_it_allows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keepwell.sock");
        let stop = CancellationToken::new();
        let (place, ended) = (path.clone(), stop.clone());
        // The daemon has a thread of its own, as the client blocks this one.
        let (up, ready) = std::sync::mpsc::channel();
        let daemon = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (_publish, latest) = watch::channel(Arc::new(sample::failing()));
                let (sender, mut commands) = mpsc::channel(1);
                let agent = AgentInfo { version: "0.1.0", url: String::new() };
                let shared = Arc::new(Shared::new(latest, sender, agent, Access::default()));
                let listener = bind::unix(&place).unwrap();
                up.send(()).unwrap();
                let driver = async {
                    while let Some(asked) = commands.recv().await {
                        asked.reply.send(Ok("on hold".into())).unwrap();
                    }
                };
                tokio::select! {
                    () = serve(listener, shared, ended) => {}
                    () = driver => {}
                }
            });
        });
        ready.recv().unwrap();
        let client = Client::new(Some(&path)).unwrap();
        let report = client.status().unwrap();
        assert_eq!(report, StatusReport::of(&sample::failing(), "0.1.0", Lines::Shown));
        let body = serde_json::json!({ "unit": null, "seconds": 60 });
        assert_eq!(client.act("POST", "/api/v1/holds", &body).unwrap(), "on hold");
        let none = serde_json::json!({ "unit": null, "seconds": 0 });
        let error = client.act("POST", "/api/v1/holds", &none).unwrap_err().to_string();
        assert!(error.starts_with("seconds is between 1 and"), "{error}");
        // What comes near is offered, and what a name brings with it steers no terminal.
        let error = client.act("POST", "/api/v1/alerts/a13/acknowledge", &()).unwrap_err();
        assert_eq!(error.to_string(), "no open alert is called 'a13'; did you mean a12?");
        let gone = client.get::<serde_json::Value>("/api/v1/alerts/%1b").unwrap_err();
        assert_eq!(gone.to_string(), "no alert is called '\\u{1b}'");
        let test = serde_json::json!({ "channel": "ops" });
        let limit = Duration::from_secs(5);
        let post = client.post::<serde_json::Value>("/api/v1/test-notification", &test, limit);
        let error = post.unwrap_err().to_string();
        assert!(error.starts_with("no channel is configured"), "{error}");
        stop.cancel();
        daemon.join().unwrap();
    }
}
