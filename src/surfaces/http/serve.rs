//! Connections: accepted, limited, ended. Owns a task per connection, so that a slow one holds up
//! nobody and all of them end with the listener.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::answer::{answer, router};
use super::stall::Stall;
use super::{Listener, Peer, Shared};

/// Limits of one listener.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time. When one more comes, the oldest that is not being served goes.
    pub connections: usize,
    /// Time for a request's headers to arrive; also how long a connection may idle between two.
    pub headers: Duration,
    /// Size of a request's headers, bytes.
    pub header_bytes: usize,
    /// How long a client may take no byte of a response.
    pub stall: Duration,
    /// How long a connection that has brought no request yet is waited for once the listener is to
    /// end: its client is about to send one.
    pub first: Duration,
    /// How long requests under way may still take once the listener is to end.
    pub ending: Duration,
}

impl Limits {
    const TCP: Self = Self {
        connections: 256,
        headers: Duration::from_secs(5),
        header_bytes: 16 * 1024,
        stall: Duration::from_secs(10),
        first: Duration::from_millis(500),
        ending: Duration::from_secs(2),
    };
    const UNIX: Self = Self { connections: 64, ..Self::TCP };
}

/// Serves one listener until `stop`; then requests under way are finished, within a limit, and
/// the listener is closed (a unix socket's file removed).
pub async fn serve(listener: Listener, shared: Arc<Shared>, stop: CancellationToken) {
    let limits = if matches!(listener, Listener::Tcp(_)) { Limits::TCP } else { Limits::UNIX };
    serve_within(listener, shared, stop, limits).await;
}

/// As [`serve`], with limits of one's own.
pub(super) async fn serve_within(
    listener: Listener,
    shared: Arc<Shared>,
    stop: CancellationToken,
    limits: Limits,
) {
    let router = router(shared.clone());
    let mut pool = Pool { limits, tasks: JoinSet::new(), open: VecDeque::new() };
    let mut trouble = Trouble::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = pool.tasks.join_next(), if !pool.tasks.is_empty() => {
                report(ended);
                continue;
            }
            accepted = accept(&listener) => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                trouble.over();
                pool.admit(stream, peer, &shared, &router, &stop);
            }
            // The client went away before it was its turn.
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                ) => {}
            Err(e) => {
                // Out of file descriptors, most likely: give one back, and wait, as the
                // connection that could not be accepted is still there and would spin this loop.
                pool.evict();
                let wait = trouble.next(&e);
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
    }
    drop(listener);
    let ending = async {
        while let Some(ended) = pool.tasks.join_next().await {
            report(ended);
        }
    };
    if tokio::time::timeout(limits.ending, ending).await.is_err() {
        tracing::debug!(connections = pool.tasks.len(), "HTTP connections cut off at the end");
    }
    pool.tasks.shutdown().await;
}

/// Says that accepting fails once, waits longer each time, and says when it works again.
#[derive(Default)]
struct Trouble {
    failures: u32,
}

impl Trouble {
    fn next(&mut self, error: &io::Error) -> Duration {
        if self.failures == 0 {
            tracing::warn!(%error, "HTTP connections cannot be accepted; trying on");
        }
        self.failures = self.failures.saturating_add(1);
        Duration::from_millis(10 << self.failures.min(7)).min(Duration::from_secs(1))
    }

    fn over(&mut self) {
        if self.failures > 0 {
            tracing::info!("HTTP connections are accepted again");
            self.failures = 0;
        }
    }
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

async fn accept(listener: &Listener) -> io::Result<(Stream, Peer)> {
    match listener {
        Listener::Tcp(listener) => {
            let (stream, _) = listener.accept().await?;
            // Small answers should not wait for more; when it cannot be set, they are only slower.
            let _ = stream.set_nodelay(true);
            Ok((Stream::Tcp(stream), Peer::Tcp))
        }
        Listener::Unix(listener, _) => {
            let (stream, _) = listener.accept().await?;
            // Whom the kernel does not name has the fewest rights: the user "nobody".
            let uid = stream.peer_cred().map_or(65_534, |c| c.uid());
            Ok((Stream::Unix(stream), Peer::Unix { uid }))
        }
    }
}

/// The open connections of a listener, oldest first.
struct Pool {
    limits: Limits,
    tasks: JoinSet<()>,
    open: VecDeque<(Arc<AtomicBool>, AbortHandle)>,
}

impl Pool {
    /// Serves a new connection in a task of its own. When there are too many, the oldest one that
    /// is waiting for a request, or still sending one, has to go: a flood of clients that send
    /// nothing then pushes out itself, and a monitor's request is still answered.
    fn admit(
        &mut self,
        stream: Stream,
        peer: Peer,
        shared: &Arc<Shared>,
        router: &Router,
        stop: &CancellationToken,
    ) {
        if self.tasks.len() >= self.limits.connections {
            self.open.retain(|(_, task)| !task.is_finished());
            if self.open.len() >= self.limits.connections && !self.evict() {
                refuse(&stream);
                return;
            }
        }
        let busy = Arc::new(AtomicBool::new(false));
        let context = Context {
            shared: shared.clone(),
            router: router.clone(),
            peer,
            busy: busy.clone(),
            stop: stop.clone(),
            limits: self.limits,
        };
        let task = match stream {
            Stream::Tcp(stream) => self.tasks.spawn(context.run(stream)),
            Stream::Unix(stream) => self.tasks.spawn(context.run(stream)),
        };
        self.open.push_back((busy, task));
        if self.open.len() > 2 * self.limits.connections {
            self.open.retain(|(_, task)| !task.is_finished());
        }
    }

    /// Ends the oldest connection that is not being served; `false` when all are.
    fn evict(&mut self) -> bool {
        self.open.retain(|(_, task)| !task.is_finished());
        let Some(idle) = self.open.iter().position(|(busy, _)| !busy.load(Ordering::Relaxed))
        else {
            return false;
        };
        if let Some((_, task)) = self.open.remove(idle) {
            task.abort();
        }
        true
    }
}

/// Tells the client why, as far as that is possible without waiting for it.
fn refuse(stream: &Stream) {
    let busy = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    // Best effort: whether it arrives or not, the connection ends here.
    let _ = match stream {
        Stream::Tcp(stream) => stream.try_write(busy),
        Stream::Unix(stream) => stream.try_write(busy),
    };
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "an HTTP connection ended by a fault in keepwell; please report it");
    }
}

/// What one connection needs.
struct Context {
    shared: Arc<Shared>,
    router: Router,
    peer: Peer,
    busy: Arc<AtomicBool>,
    stop: CancellationToken,
    limits: Limits,
}

/// Marks a connection as being served for as long as it lives.
struct Busy(Arc<AtomicBool>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Context {
    async fn run(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Self { shared, router, peer, busy, stop, limits } = self;
        let asked = CancellationToken::new();
        let begun = asked.clone();
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            begun.cancel();
            busy.store(true, Ordering::Relaxed);
            let busy = Busy(busy.clone());
            let (shared, router) = (shared.clone(), router.clone());
            async move {
                let _busy = busy;
                Ok::<_, Infallible>(answer(&shared, router, peer, request.map(Body::new)).await)
            }
        });
        // hyper's limit of 100 header lines stays as it is: setting it costs an allocation.
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.headers)
            .max_buf_size(limits.header_bytes)
            .half_close(false)
            .serve_connection(TokioIo::new(Stall::new(stream, limits.stall)), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                let request = tokio::time::timeout(limits.first, asked.cancelled());
                tokio::select! {
                    ended = connection.as_mut() => ended,
                    _ = request => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                }
            }
        };
        if let Err(error) = ended {
            // Clients that hang up, stall or speak nonsense are not keepwell's trouble.
            tracing::trace!(%error, "an HTTP connection ended early");
        }
    }
}
