//! One request to a container engine over a connection of its own, and its answer: connecting,
//! limits of time and size, errors. What is asked and what answers mean lives elsewhere.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::Address;
use super::error::{Call, DockerError};

/// How much of an answer that says no is read.
const REFUSAL: usize = 16 * 1024;

/// A connection of either kind.
trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

type Connection = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// An answer whose body is on its way. Its connection is driven while it is read, and ends with it.
pub(super) struct Answer {
    connection: Option<Connection>,
    body: Pin<Box<Incoming>>,
    parts: http::response::Parts,
    at: Address,
    call: Call,
}

/// Sends a request, and waits for the head of the answer, both within `limit`. An answer that says
/// no is an error.
pub(super) async fn ask(
    at: &Address,
    method: Method,
    path: &str,
    call: Call,
    limit: Duration,
) -> Result<Answer, DockerError> {
    let asked = timeout(limit, async {
        let (connection, response) = send(at, method, path, call).await?;
        let (parts, body) = response.into_parts();
        let body = Box::pin(body);
        let mut answer = Answer { connection, body, parts, at: at.clone(), call };
        let status = answer.parts.status;
        if status.is_success() || status == hyper::StatusCode::NOT_MODIFIED {
            return Ok(answer);
        }
        // What cannot be read says nothing more than the status does.
        let text = answer.start(REFUSAL).await;
        Err(DockerError::of_status(at, call, status.as_u16(), &message(&text)))
    });
    let hangs = || DockerError::Hangs { at: at.to_string(), what: call.what, limit };
    asked.await.unwrap_or_else(|_| Err(hangs()))
}

async fn send(
    at: &Address,
    method: Method,
    path: &str,
    call: Call,
) -> Result<(Option<Connection>, Response<Incoming>), DockerError> {
    let wire: Box<dyn Wire> = match at {
        Address::Unix(path) => {
            Box::new(UnixStream::connect(path).await.map_err(|e| DockerError::connecting(at, &e))?)
        }
        Address::Tcp(to) => {
            Box::new(TcpStream::connect(to).await.map_err(|e| DockerError::connecting(at, &e))?)
        }
    };
    let broken = |e: hyper::Error| DockerError::Broken {
        at: at.to_string(),
        what: call.what,
        why: whole(&e),
    };
    let host = match at {
        Address::Unix(_) => "localhost",
        Address::Tcp(to) => to,
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(hyper::header::HOST, host)
        .header(hyper::header::USER_AGENT, concat!("keepwell/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|e| DockerError::Unreachable { at: at.to_string(), why: e.to_string() })?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(64 * 1024)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(wire))
        .await
        .map_err(broken)?;
    let mut connection: Option<Connection> = Some(Box::pin(connection));
    let mut answer = pin!(sender.send_request(request));
    let response = std::future::poll_fn(|cx| {
        turn(&mut connection, cx);
        answer.as_mut().poll(cx)
    });
    let response = response.await.map_err(broken)?;
    Ok((connection, response))
}

/// Lets a connection do what it can. Its own errors come out of what is read over it.
fn turn(connection: &mut Option<Connection>, cx: &mut Context<'_>) {
    if connection.as_mut().is_some_and(|c| c.as_mut().poll(cx).is_ready()) {
        *connection = None;
    }
}

impl Answer {
    /// A header's text; empty where there is none.
    pub(super) fn header(&self, name: &str) -> &str {
        self.parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The next piece of the body; `None`: that was all. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, DockerError>> {
        loop {
            let (connection, body) = (&mut self.connection, &mut self.body);
            let frame = std::future::poll_fn(|cx| {
                turn(connection, cx);
                match body.as_mut().poll_frame(cx) {
                    // What the connection has put there meanwhile has woken this task.
                    Poll::Pending => Poll::Pending,
                    ready => ready,
                }
            });
            match frame.await? {
                Ok(frame) => match frame.into_data() {
                    Ok(data) => return Some(Ok(data)),
                    // Trailers.
                    Err(_) => continue,
                },
                Err(e) => return Some(Err(self.broken(whole(&e)))),
            }
        }
    }

    /// The whole body, at most `most` bytes of it, within `limit`.
    pub(super) async fn whole(
        mut self,
        most: usize,
        limit: Duration,
    ) -> Result<Vec<u8>, DockerError> {
        let read = async {
            let mut all = Vec::new();
            while let Some(piece) = self.next().await {
                let piece = piece?;
                if all.len() + piece.len() > most {
                    return Err(self.unreadable(format!("it is longer than {most} bytes")));
                }
                all.extend_from_slice(&piece);
            }
            Ok(all)
        };
        match timeout(limit, read).await {
            Ok(read) => read,
            Err(_) => Err(self.hangs(limit)),
        }
    }

    /// The beginning of the body, as far as it can be had.
    async fn start(&mut self, most: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(Ok(piece)) = self.next().await {
            all.extend_from_slice(&piece[..piece.len().min(most - all.len())]);
            if all.len() >= most {
                break;
            }
        }
        all
    }

    pub(super) fn unreadable(&self, why: String) -> DockerError {
        DockerError::Unreadable { at: self.at.to_string(), what: self.call.what, why }
    }

    pub(super) fn broken(&self, why: String) -> DockerError {
        DockerError::Broken { at: self.at.to_string(), what: self.call.what, why }
    }

    pub(super) fn hangs(&self, limit: Duration) -> DockerError {
        DockerError::Hangs { at: self.at.to_string(), what: self.call.what, limit }
    }
}

/// The engine's words in an answer that says no: the `message` of JSON, else the text.
fn message(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Said {
        message: String,
    }
    match serde_json::from_slice::<Said>(body) {
        Ok(said) => said.message,
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    }
}

/// An error of the connection with what is behind it.
fn whole(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error} ({source})"),
        None => error.to_string(),
    }
}
