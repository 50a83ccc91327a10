//! HTTP as clients meet it: the router in-process, and real sockets where the connection matters.

mod containers;
mod packed;
mod people;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::serve::serve_within;
use super::*;
use crate::engine::{Act, Severity};
use crate::surfaces::sample;

struct Rig {
    shared: Arc<Shared>,
    router: Router,
    publish: watch::Sender<Arc<Snapshot>>,
    commands: mpsc::Receiver<CommandRequest>,
}

fn rig(snapshot: Snapshot) -> Rig {
    let (publish, latest) = watch::channel(Arc::new(snapshot));
    let (sender, commands) = mpsc::channel(4);
    let agent = AgentInfo { version: "0.1.0", url: "http://127.0.0.1:8080".into() };
    let access = Access { token: Token::new("s3cret"), hosts: vec!["web-1".into()] };
    let shared = Arc::new(Shared::new(latest, sender, agent, access));
    Rig { router: answer::router(shared.clone()), shared, publish, commands }
}

impl Rig {
    async fn ask(&self, peer: Peer, request: Request) -> Response {
        answer::answer(&self.shared, self.router.clone(), peer, request).await
    }

    /// Over TCP without a token.
    async fn get(&self, path: &str) -> (StatusCode, String) {
        text(self.ask(Peer::Tcp, request("GET", path, &[], "")).await).await
    }
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Request {
    let mut request = Request::builder().method(method).uri(path);
    if headers.iter().all(|(name, _)| *name != "host") {
        request = request.header("host", "localhost:8080");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::from(body.to_owned())).unwrap()
}

async fn text(response: Response) -> (StatusCode, String) {
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |v| v.to_str().unwrap())
}

const TOKEN: (&str, &str) = ("authorization", "Bearer s3cret");
const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn health_is_503_only_for_critical_and_before_the_first_round() {
    for (snapshot, code, word) in [
        (sample::healthy(), 200, "healthy"),
        (sample::failing(), 503, "critical"),
        (sample::before_first_round(), 503, "unknown"),
    ] {
        let (status, body) = rig(snapshot).get("/health").await;
        assert_eq!(status, code);
        assert!(
            body.starts_with(&format!("{{\"status\":\"{word}\",\"timestamp\":\"2026-")),
            "{body}"
        );
    }
    for severity in [Severity::Warning, Severity::Unknown] {
        let mut snapshot = sample::healthy();
        snapshot.severity = severity;
        assert_eq!(rig(snapshot).get("/health").await.0, 200);
    }
    let starting = rig(sample::before_first_round());
    assert_eq!(starting.get("/livez").await, (StatusCode::OK, "alive\n".into()));
    assert_eq!(starting.get("/readyz").await.0, 503);
    assert_eq!(rig(sample::failing()).get("/readyz").await, (StatusCode::OK, "ready\n".into()));
}

#[tokio::test]
async fn health_json_of_the_draft_comes_to_those_who_ask() {
    let rig = rig(sample::failing());
    let ask = request("GET", "/health", &[("accept", "application/health+json")], "");
    let response = rig.ask(Peer::Tcp, ask).await;
    assert_eq!(header(&response, "content-type"), "application/health+json");
    let (status, body) = text(response).await;
    assert_eq!(status, 503);
    assert!(body.starts_with("{\"status\":\"fail\""), "{body}");
}

#[tokio::test]
async fn head_says_what_get_says_without_the_body() {
    let rig = rig(sample::failing());
    for path in [
        "/",
        "/health",
        "/health/detailed",
        "/metrics",
        "/livez",
        "/readyz",
        "/api/v1/status",
        "/nothing",
    ] {
        let get = rig.ask(Peer::Tcp, request("GET", path, &[], "")).await;
        let head = rig.ask(Peer::Tcp, request("HEAD", path, &[], "")).await;
        assert_eq!(get.status(), head.status(), "{path}");
        assert_eq!(header(&get, "content-type"), header(&head, "content-type"), "{path}");
        let length = get.into_body().collect().await.unwrap().to_bytes().len();
        if path != "/nothing" && path != "/api/v1/status" {
            assert_eq!(header(&head, "content-length"), length.to_string(), "{path}");
            assert_eq!(text(head).await.1, "", "{path}");
        }
    }
}

#[tokio::test]
async fn a_body_is_rendered_once_per_snapshot() {
    let rig = rig(sample::healthy());
    let render = || {
        rig.shared.cache.current(&rig.shared.snapshot).body(cache::Body::Health, &rig.shared.agent)
    };
    let (first, second) = (render(), render());
    assert_eq!(first.as_ptr(), second.as_ptr());
    rig.publish.send(Arc::new(sample::failing())).unwrap();
    let third = render();
    assert_ne!(first.as_ptr(), third.as_ptr());
    assert!(third.starts_with(b"{\"status\":\"critical\""));
}

#[tokio::test]
async fn pages_and_errors_carry_the_protecting_headers() {
    let rig = rig(sample::failing());
    let response = rig.ask(Peer::Tcp, request("GET", "/", &[], "")).await;
    assert_eq!(header(&response, "content-type"), "text/html; charset=utf-8");
    assert!(header(&response, "content-security-policy").contains("style-src 'self'"));
    assert!(!header(&response, "content-security-policy").contains("unsafe"));
    for path in ["/", "/nothing", "/metrics"] {
        let response = rig.ask(Peer::Tcp, request("GET", path, &[], "")).await;
        assert_eq!(header(&response, "x-content-type-options"), "nosniff");
        assert_eq!(header(&response, "cache-control"), "no-store");
        assert_eq!(header(&response, "referrer-policy"), "no-referrer");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_said_in_json() {
    let rig = rig(sample::healthy());
    let (status, body) = rig.get("/nothing").await;
    assert_eq!(status, 404);
    assert_eq!(body, r#"{"error":"nothing is at /nothing; the page at / lists what there is"}"#);
    let response = rig.ask(Peer::Tcp, request("POST", "/health", &[], "")).await;
    assert_eq!(response.status(), 405);
    assert_eq!(header(&response, "allow"), "GET,HEAD");
    assert!(text(response).await.1.contains("does not take POST"));
}

#[tokio::test]
async fn the_api_needs_a_token_over_tcp_and_hides_log_text_from_other_users() {
    let rig = rig(sample::failing());
    let other = Peer::Unix { uid: rig.shared.uid + 12_345 };
    for path in [
        "/api/v1/status",
        "/api/v1/units",
        "/api/v1/alerts",
        "/api/v1/alerts/active",
        "/api/v1/holds",
        "/api/v1/explain?check=nginx",
    ] {
        let response = rig.ask(Peer::Tcp, request("GET", path, &[], "")).await;
        assert_eq!(response.status(), 401, "{path}");
        assert!(header(&response, "www-authenticate").starts_with("Bearer"));
        let wrong = ("authorization", "Bearer s3cre");
        assert_eq!(rig.ask(Peer::Tcp, request("GET", path, &[wrong], "")).await.status(), 401);
        for (peer, headers, sees_lines) in [
            (Peer::Tcp, vec![TOKEN], true),
            (Peer::Unix { uid: 0 }, vec![], true),
            (Peer::Unix { uid: rig.shared.uid }, vec![], true),
            (other, vec![], false),
            (other, vec![TOKEN], true),
        ] {
            let (status, body) =
                text(rig.ask(peer, request("GET", path, &headers, "")).await).await;
            assert_eq!(status, 200, "{path} {peer:?}");
            let has_alerts =
                path.contains("alerts") || path.contains("status") || path.contains("explain");
            assert_eq!(
                body.contains("[emerg]"),
                sees_lines && has_alerts,
                "{path} {peer:?} {body}"
            );
        }
    }
    for open in ["/", "/health/detailed", "/metrics", "/metrics?format=prometheus"] {
        assert!(!rig.get(open).await.1.contains("[emerg]"), "{open}");
    }
    rig.shared.set_access(Access::default());
    let (status, body) =
        text(rig.ask(Peer::Tcp, request("GET", "/api/v1/status", &[TOKEN], "")).await).await;
    assert_eq!(status, 401);
    assert!(body.contains("none is configured: set [http] token"), "{body}");
}

#[tokio::test]
async fn explain_says_what_comes_near() {
    let rig = rig(sample::failing());
    let ask = |check: &str| request("GET", &format!("/api/v1/explain{check}"), &[TOKEN], "");
    let (status, body) = text(rig.ask(Peer::Tcp, ask("?check=ngnix")).await).await;
    assert_eq!(status, 404);
    assert_eq!(
        body,
        r#"{"did_you_mean":["unit:nginx.service"],"error":"no check is called 'ngnix'"}"#
    );
    let (status, body) = text(rig.ask(Peer::Tcp, ask("?check=unit%3Anginx.service")).await).await;
    assert_eq!(status, 200);
    assert!(body.contains("it ended with an error code"), "{body}");
    assert_eq!(rig.ask(Peer::Tcp, ask("")).await.status(), 400);
}

#[tokio::test]
async fn foreign_host_names_are_refused() {
    let rig = rig(sample::healthy());
    for (host, code) in
        [("localhost", 200), ("web-1:8080", 200), ("[::1]:8080", 200), ("evil.example", 421)]
    {
        let response = rig.ask(Peer::Tcp, request("GET", "/health", &[("host", host)], "")).await;
        assert_eq!(response.status(), code, "{host}");
    }
    let twice = request("GET", "/health", &[("host", "localhost"), ("host", "localhost")], "");
    assert_eq!(rig.ask(Peer::Tcp, twice).await.status(), 400);
    let none = Request::builder().uri("/health").body(Body::empty()).unwrap();
    assert_eq!(rig.ask(Peer::Tcp, none).await.status(), 400);
    let absolute = request("GET", "http://evil.example/health", &[], "");
    assert_eq!(rig.ask(Peer::Tcp, absolute).await.status(), 421);
    let (_, body) =
        text(rig.ask(Peer::Tcp, request("GET", "/", &[("host", "evil.example")], "")).await).await;
    assert!(body.contains("[http] allowed_hosts"), "{body}");
}

#[tokio::test]
async fn an_act_reaches_the_driver_with_its_actor_and_the_answer_comes_back() {
    let mut rig = rig(sample::healthy());
    let body = r#"{"unit":"nginx.service","seconds":3600,"why":"migration"}"#;
    let post = request("POST", "/api/v1/holds", &[JSON], body);
    let mut commands = std::mem::replace(&mut rig.commands, mpsc::channel(1).1);
    let driver = async {
        let asked = commands.recv().await.unwrap();
        asked.reply.send(Ok("on hold until noon".into())).unwrap();
        asked.command
    };
    let (response, command) = tokio::join!(rig.ask(Peer::Unix { uid: 0 }, post), driver);
    assert_eq!(
        text(response).await,
        (StatusCode::OK, r#"{"message":"on hold until noon"}"#.into())
    );
    assert_eq!(command.actor.0, "root (uid 0)");
    let hour = Duration::from_secs(3600);
    let act = Act::Hold {
        unit: Some("nginx.service".into()),
        lasts: hour,
        why: Some("migration".into()),
    };
    assert_eq!(command.act, act);

    let delete = request("DELETE", "/api/v1/holds", &[TOKEN, JSON], r#"{"unit":null}"#);
    let driver = async {
        let asked = commands.recv().await.unwrap();
        asked.reply.send(Err("nothing is on hold".into())).unwrap();
        asked.command
    };
    let (response, command) = tokio::join!(rig.ask(Peer::Tcp, delete), driver);
    assert_eq!(
        text(response).await,
        (StatusCode::CONFLICT, r#"{"error":"nothing is on hold"}"#.into())
    );
    assert_eq!(command.act, Act::Release { unit: None });
    assert_eq!(command.actor.0, "holder of the API token");
}

#[tokio::test]
async fn acts_are_refused_to_strangers_foreign_pages_and_nonsense() {
    let rig = rig(sample::healthy());
    let body = r#"{"unit":null,"seconds":60}"#;
    let stranger = Peer::Unix { uid: rig.shared.uid + 12_345 };
    let origin = |o| ("origin", o);
    for (peer, headers, body, code, says) in [
        (Peer::Tcp, vec![JSON], body, 401, "needs the API token"),
        (stranger, vec![JSON], body, 403, "may look but not act"),
        (Peer::Tcp, vec![TOKEN, JSON, origin("http://evil.example")], body, 403, "Origin"),
        (Peer::Tcp, vec![TOKEN, JSON, origin("null")], body, 403, "Origin"),
        (
            Peer::Tcp,
            vec![TOKEN, JSON, ("sec-fetch-site", "cross-site")],
            body,
            403,
            "other web pages",
        ),
        (Peer::Tcp, vec![TOKEN], body, 415, "application/json"),
        (Peer::Tcp, vec![TOKEN, ("content-type", "text/plain")], body, 415, "application/json"),
        (Peer::Tcp, vec![TOKEN, JSON], "{", 400, "EOF"),
        (Peer::Tcp, vec![TOKEN, JSON], r#"{"unit":null,"seconds":0}"#, 400, "between 1 and"),
        (Peer::Tcp, vec![TOKEN, JSON], r#"{"unit":"a b","seconds":1}"#, 400, "full name"),
        (Peer::Tcp, vec![TOKEN, JSON], r#"{"unit":null,"minutes":1}"#, 400, "unknown field"),
    ] {
        let (status, said) =
            text(rig.ask(peer, request("POST", "/api/v1/holds", &headers, body)).await).await;
        assert_eq!(status, code, "{headers:?} {said}");
        assert!(said.contains(says), "{says} in {said}");
    }
    let long = format!("{{\"unit\":null,\"seconds\":60,\"why\":\"{}\"}}", "x".repeat(70_000));
    let large = request("POST", "/api/v1/holds", &[TOKEN, JSON], &long);
    assert_eq!(rig.ask(Peer::Tcp, large).await.status(), 413);
    let declared = request("GET", "/health", &[("content-length", "70000")], "");
    assert_eq!(rig.ask(Peer::Tcp, declared).await.status(), 413);
}

#[tokio::test]
async fn an_act_that_the_driver_cannot_take_is_said_to_be_so() {
    let rig = rig(sample::healthy());
    drop(rig.commands);
    let post = request("POST", "/api/v1/holds", &[TOKEN, JSON], r#"{"unit":null,"seconds":60}"#);
    let response = answer::answer(&rig.shared, rig.router, Peer::Tcp, post).await;
    assert_eq!(response.status(), 503);
}

/// A server on loopback, ended with the test.
struct Server {
    address: std::net::SocketAddr,
    tasks: JoinSet<()>,
    stop: CancellationToken,
    _rig: Rig,
}

fn server(limits: Limits) -> Server {
    let rig = rig(sample::healthy());
    let listener = bind::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let Listener::Tcp(tcp) = &listener else { panic!("not a TCP listener") };
    let address = tcp.local_addr().unwrap();
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(serve_within(listener, rig.shared.clone(), stop.clone(), limits));
    Server { address, tasks, stop, _rig: rig }
}

fn limits() -> Limits {
    Limits {
        connections: 8,
        headers: Duration::from_secs(2),
        header_bytes: 16 * 1024,
        stall: Duration::from_secs(2),
        first: Duration::from_secs(1),
        ending: Duration::from_secs(2),
    }
}

/// Sends these bytes and reads until the server closes.
async fn exchange(
    stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin),
    bytes: &[u8],
) -> String {
    let talk = async {
        // The server may have closed already; what it said then still counts.
        let _ = stream.write_all(bytes).await;
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said).await;
        String::from_utf8_lossy(&said).into_owned()
    };
    tokio::time::timeout(Duration::from_secs(120), talk).await.expect("the server closes")
}

const GET: &[u8] = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn clients_that_never_finish_are_closed_and_hold_up_nobody() {
    let server = server(limits());
    // Three times as many as there is room for, each with half a request.
    let mut slow = Vec::new();
    for _ in 0..24 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: local").await.unwrap();
        slow.push(stream);
    }
    let mut good = TcpStream::connect(server.address).await.unwrap();
    assert!(exchange(&mut good, GET).await.starts_with("HTTP/1.1 200 OK\r\n"));
    for mut stream in slow {
        let said = exchange(&mut stream, b"").await;
        assert!(!said.contains("200 OK"), "{said}");
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_used_one_is_kept() {
    let server = server(limits());
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let ask = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for _ in 0..2 {
        stream.write_all(ask).await.unwrap();
        let mut said = [0; 1024];
        let length = stream.read(&mut said).await.unwrap();
        assert!(said[..length].ends_with(b"alive\n"));
    }
    assert!(!exchange(&mut stream, b"").await.contains("200 OK"));
}

#[tokio::test]
async fn oversize_headers_and_bodies_are_refused() {
    let server = server(limits());
    let mut long = b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ".to_vec();
    long.resize(40_000, b'x');
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    assert!(exchange(&mut stream, &long).await.starts_with("HTTP/1.1 431 "));
    let mut many = b"GET /health HTTP/1.1\r\nHost: localhost\r\n".to_vec();
    for i in 0..200 {
        many.extend_from_slice(format!("X-{i}: y\r\n").as_bytes());
    }
    many.extend_from_slice(b"\r\n");
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    assert!(exchange(&mut stream, &many).await.starts_with("HTTP/1.1 431 "));
    let body = b"POST /api/v1/holds HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n";
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    assert!(exchange(&mut stream, body).await.starts_with("HTTP/1.1 413 "));
}

#[tokio::test]
async fn it_ends_within_its_deadline_and_lets_go_of_the_port() {
    let mut server = server(limits());
    let mut half = TcpStream::connect(server.address).await.unwrap();
    half.write_all(b"GET /health HTTP/1.1\r\n").await.unwrap();
    server.stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(10), server.tasks.join_next()).await;
    assert!(ended.expect("within the deadline").unwrap().is_ok());
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn who_was_let_in_before_the_end_is_answered() {
    let long = Duration::from_secs(600);
    let server = server(Limits { headers: long, first: long, ending: long, ..limits() });
    let mut early = TcpStream::connect(server.address).await.unwrap();
    // Connections are accepted in order: with this one the other has been.
    let ask = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut other = TcpStream::connect(server.address).await.unwrap();
    assert!(exchange(&mut other, ask).await.starts_with("HTTP/1.1 200 "));
    server.stop.cancel();
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(exchange(&mut early, ask).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn the_unix_socket_knows_its_user() {
    let rig = rig(sample::failing());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keepwell.sock");
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(bind::unix(&path).unwrap(), rig.shared.clone(), stop.clone()));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    // No token and a strange Host: the test runs as the user that the server runs as.
    let ask = b"GET /api/v1/status HTTP/1.1\r\nHost: keepwell\r\nConnection: close\r\n\r\n";
    let said = exchange(&mut stream, ask).await;
    assert!(said.starts_with("HTTP/1.1 200 OK\r\n") && said.contains("[emerg]"), "{said}");
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(120), tasks.join_next()).await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn a_flood_of_silent_clients_pushes_out_itself_and_not_a_monitor() {
    // Nothing times out here: only making room can let the monitor in.
    let server = server(Limits { headers: Duration::from_secs(600), ..limits() });
    let mut silent = Vec::new();
    for _ in 0..24 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    let mut monitor = TcpStream::connect(server.address).await.unwrap();
    assert!(exchange(&mut monitor, GET).await.starts_with("HTTP/1.1 200 OK\r\n"));
    // The oldest had to go, without a word.
    assert_eq!(exchange(&mut silent[0], b"").await, "");
}

#[tokio::test]
async fn another_user_of_the_host_may_look_and_not_act() {
    use std::os::unix::fs::PermissionsExt;
    let rig = rig(sample::failing());
    if rig.shared.uid != 0 {
        eprintln!("SKIPPED: only root can become another user");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = folder.path().join("keepwell.sock");
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(bind::unix(&path).unwrap(), rig.shared.clone(), CancellationToken::new()));
    let curl = async |arguments: &[&str]| {
        let mut command = tokio::process::Command::new("curl");
        command.args(["-s", "--max-time", "10", "--unix-socket"]).arg(&path);
        command.args(arguments).uid(65_534).gid(65_534).current_dir("/");
        Some(String::from_utf8(command.output().await.ok()?.stdout).unwrap())
    };
    let Some(status) = curl(&["http://localhost/api/v1/status"]).await else {
        eprintln!("SKIPPED: curl is not there");
        return;
    };
    assert!(status.contains("unit:nginx.service") && !status.contains("[emerg]"), "{status}");
    let body = r#"{"unit":null,"seconds":60}"#;
    let act = ["-H", "content-type: application/json", "-d", body, "http://localhost/api/v1/holds"];
    let said = curl(&act).await.unwrap();
    assert!(said.contains("user id 65534 may look but not act"), "{said}");
}
