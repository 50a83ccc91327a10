//! The client against answers that were taken from real engines (Docker 20.10, Podman 4.3), and
//! against servers that answer nonsense.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::task::JoinSet;

use super::*;
use crate::docker::Address;
use crate::engine::observation::{ContainerSeen, ContainerStatus, ContainerWhat, Health, Policy};

fn plain(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}

fn endpoint(path: &Path) -> Endpoint {
    let address = Address::Unix(path.to_owned());
    Endpoint { name: "docker".into(), prefix: "".into(), address }
}

fn seen(json: &str) -> ContainerSeen {
    let found: Inspected = serde_json::from_str(json).unwrap();
    found.seen(&endpoint("/d.sock".as_ref()), plain).unwrap()
}

#[test]
fn a_container_of_docker_is_understood() {
    let seen = seen(include_str!("captured/docker-unhealthy.json"));
    assert_eq!(&*seen.name, "t2");
    assert_eq!(&seen.id[..12], "268573e2d53e");
    assert_eq!(&*seen.image, "tiny:1");
    assert_eq!(seen.status, ContainerStatus::Running);
    let health = seen.health.as_ref().unwrap();
    assert_eq!((health.status, health.failing), (Health::Unhealthy, 28));
    assert_eq!(&*health.output, "bad token=abcdefgh1234");
    assert_eq!(seen.created.written("%H:%M:%S%.6f"), "19:12:37.294576");
    assert_eq!(seen.started.unwrap().written("%H:%M:%S%.6f"), "19:12:37.707139");
    assert_eq!((seen.finished, seen.exit_code, seen.oom_killed), (None, 0, false));
    assert_eq!((seen.restart_count, seen.policy), (0, Policy::OnFailure(3)));
    assert_eq!((seen.stop_signal, seen.pid, seen.port), (15, 18586, Some(8080)));
    assert_eq!((seen.cpu_limit, seen.memory_limit), (Some(0.5), Some(67_108_864)));
    assert_eq!(seen.network_of, None);
}

#[test]
fn a_container_of_podman_is_understood() {
    let seen = seen(include_str!("captured/podman-paused.json"));
    assert_eq!((&*seen.name, &*seen.image), ("p2", "localhost/tiny:1"));
    assert_eq!((seen.status, seen.stop_signal), (ContainerStatus::Paused, 15));
    assert_eq!(seen.health.as_ref().unwrap().status, Health::Healthy);
    assert_eq!((seen.policy, seen.cpu_limit), (Policy::OnFailure(3), Some(0.5)));
    assert_eq!(seen.port, None);
}

#[test]
fn what_is_missing_null_or_of_another_type_is_not_known() {
    let id = "ab".repeat(32);
    let least = seen(&format!("{{\"Id\":\"{id}\",\"Name\":\"/a\"}}"));
    assert_eq!((least.status, least.started), (ContainerStatus::Other, None));
    assert_eq!((least.stop_signal, least.policy), (15, Policy::No));
    let odd = seen(&format!(
        "{{\"Id\":\"{id}\",\"Name\":\"/a\",\"RestartCount\":-1,\"State\":{{\"Status\":\"sleeping\",\
         \"ExitCode\":4294967295,\"Pid\":\"no\",\"StartedAt\":5,\"Health\":{{\"Status\":\"\",\
         \"Log\":null}}}},\"Config\":{{\"Labels\":null,\"StopSignal\":\"SIGRTMIN+3\",\
         \"ExposedPorts\":{{\"53/udp\":{{}},\"53/tcp\":null,\"x\":1}}}},\"HostConfig\":{{\
         \"Memory\":-1,\"CpuQuota\":150000,\"NetworkMode\":\"container:{id}\",\
         \"RestartPolicy\":null,\"PortBindings\":{{\"80/tcp\":null}}}},\
         \"NetworkSettings\":{{\"Ports\":{{\"443/tcp\":[{{\"HostPort\":\"8443\"}}],\
         \"80/tcp\":[{{\"HostIp\":\"\",\"HostPort\":\"0\"}},null,{{\"HostPort\":\"32768\"}}]}}}}}}"
    ));
    assert_eq!((odd.status, odd.exit_code, odd.pid), (ContainerStatus::Other, -1, 0));
    assert_eq!((odd.restart_count, odd.started), (0, None));
    assert!(odd.health.is_none());
    assert_eq!((odd.stop_signal, odd.cpu_limit, odd.memory_limit), (37, Some(1.5), None));
    assert_eq!((odd.port, odd.network_of.as_deref()), (Some(32768), Some(&*id)));
    let exposed = seen(&format!(
        "{{\"Id\":\"{id}\",\"Name\":\"/a\",\"Config\":{{\"ExposedPorts\":{{\"9000/tcp\":{{}},\
         \"53/udp\":{{}}}}}}}}"
    ));
    assert_eq!(exposed.port, Some(53));
    for nameless in ["{}", "{\"Id\":\"\",\"Name\":\"/a\"}", "{\"Id\":\"a\",\"Name\":\"/\"}"] {
        let found: Inspected = serde_json::from_str(nameless).unwrap();
        assert_eq!(found.seen(&endpoint("/d".as_ref()), plain), None, "{nameless}");
    }
}

#[test]
fn what_whoever_answers_may_choose_stays_within_bounds() {
    let id = "ab".repeat(32);
    let long = "x".repeat(100_000);
    let hostile = |name: &str| {
        let name = serde_json::to_string(name).unwrap();
        seen(&format!(
            "{{\"Id\":\"{id}\",\"Name\":{name},\"Config\":{{\"Image\":\"a\\n{long}\",\"Labels\":{{\
             \"keepwell.port\":\"80\",\"l\":\"{long}\"}}}}}}"
        ))
    };
    for name in ["/\u{1b}[31m", "/a\nERROR forged", &format!("/{long}")] {
        let seen = hostile(name);
        assert_eq!(&*seen.name, id, "it goes by its id");
        assert_eq!(seen.labels.keys().collect::<Vec<_>>(), ["keepwell.port"]);
        assert!(seen.image.starts_with("ax") && seen.image.len() < 1000);
        let event = serde_json::json!({"Action": "start", "id": id, "from": long,
            "Actor": {"Attributes": {"name": name, "l": long, "team": "shop"}}});
        let heard = event::heard(event.to_string().as_bytes(), false).unwrap().unwrap();
        assert_eq!((&*heard.name, heard.labels.len()), (&*id, 1));
        assert!(heard.image.len() < 1000);
    }
    for odd in ["../../x", "a b", &long] {
        let odd =
            format!("{{\"Id\":\"{odd}\",\"Name\":\"/a\",\"id\":\"{odd}\",\"Action\":\"start\"}}");
        let found: Inspected = serde_json::from_str(&odd).unwrap();
        assert_eq!(found.seen(&endpoint("/d".as_ref()), plain), None);
        assert_eq!(event::heard(odd.as_bytes(), false).unwrap(), None);
    }
}

#[test]
fn events_of_docker_are_understood() {
    let lines = include_str!("captured/docker-events.jsonl").lines();
    let all: Vec<String> = lines
        .filter_map(|line| event::heard(line.as_bytes(), false).unwrap())
        .map(|heard| format!("{} {} {:?}", heard.at.0, heard.name, heard.what))
        .collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn events_of_podman_are_understood() {
    let lines = include_str!("captured/podman-events.jsonl").lines();
    let all: Vec<String> = lines
        .filter_map(|line| event::heard(line.as_bytes(), true).unwrap())
        .map(|heard| format!("{} {} {:?}", heard.at.0, heard.name, heard.what))
        .collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn odd_events_are_no_events_or_as_good_as_they_are() {
    let what = |line: &str| event::heard(line.as_bytes(), false).map(|h| h.map(|h| h.what));
    assert!(what("garbage").is_err());
    assert!(what("{\"Type\":\"container\",\"Action\":\"die\"").is_err());
    assert_eq!(what("{}").unwrap(), None);
    assert_eq!(what("{\"Type\":\"network\",\"Action\":\"create\",\"id\":\"a\"}").unwrap(), None);
    assert_eq!(what("{\"Action\":\"explode\",\"id\":\"a\"}").unwrap(), None);
    let heard = event::heard(b"{\"status\":\"died\",\"id\":\"a\",\"time\":5,\"Actor\":null}", true);
    let heard = heard.unwrap().unwrap();
    assert_eq!(
        (heard.at, heard.what),
        (Wall(5_000_000), Some(ContainerWhat::Died { exit_code: 0 }))
    );
    let kill = |signal: &str| {
        let line = format!(
            "{{\"Action\":\"kill\",\"id\":\"a\",\"Actor\":{{\"Attributes\":{{\"signal\":{signal}}}}}}}"
        );
        what(&line).unwrap().flatten()
    };
    assert_eq!(kill("\"SIGHUP\""), Some(ContainerWhat::Killed { signal: 1 }));
    assert_eq!(kill("\"15\""), Some(ContainerWhat::Killed { signal: 15 }));
    assert_eq!(kill("null"), Some(ContainerWhat::Killed { signal: 9 }));
}

#[test]
fn what_containers_use_is_understood() {
    let docker: Stats = serde_json::from_str(include_str!("captured/docker-stats.json")).unwrap();
    assert_eq!(docker.cpu_seconds(), Some(0.695_319_123));
    assert_eq!((docker.memory(), docker.pids()), (Some(671_744), Some(1)));
    assert_eq!((docker.network(), docker.block()), (None, Some((0, 0))));
    let podman: Stats = serde_json::from_str(include_str!("captured/podman-stats.json")).unwrap();
    assert_eq!((podman.memory(), podman.network()), (Some(409_600), Some((0, 0))));
    let other: Stats = serde_json::from_str(
        "{\"memory_stats\":{\"usage\":10,\"stats\":{\"inactive_file\":4}},\"networks\":null,\
         \"blkio_stats\":{\"io_service_bytes_recursive\":[{\"op\":\"Read\",\"value\":3},\
         {\"op\":\"write\",\"value\":4},{\"op\":\"read\",\"value\":1},null]}}",
    )
    .unwrap();
    assert_eq!((other.memory(), other.block()), (Some(6), Some((4, 4))));
}

/// A server that answers each connection with the same bytes, and may hold it open.
struct Server {
    _dir: tempfile::TempDir,
    path: PathBuf,
    _task: JoinSet<()>,
}

impl Server {
    fn new(answer: impl Into<Vec<u8>>, more: Option<Vec<u8>>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let answer: Arc<[u8]> = answer.into().into();
        let more = more.map(Arc::<[u8]>::from);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (answer, more) = (answer.clone(), more.clone());
                open.spawn(async move {
                    let mut request = vec![0; 4096];
                    let _ = stream.read(&mut request).await;
                    let _ = stream.write_all(&answer).await;
                    let Some(more) = more else { return };
                    // An empty end: it is held open and nothing comes.
                    while !more.is_empty() && stream.write_all(&more).await.is_ok() {}
                    std::future::pending::<()>().await;
                });
            }
        });
        Self { _dir: dir, path, _task: task }
    }

    fn client(&self) -> Client {
        let limits = Limits { quick: Duration::from_secs(2), body: Duration::from_secs(4) };
        let client = Client::with_limits(endpoint(&self.path), limits);
        *client.peer.lock().unwrap() =
            Some(Peer { version: "1".into(), podman: false, api: (1, 41), time: None });
        client
    }
}

fn answer(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(work)
}

#[test]
fn the_api_is_one_that_both_speak() {
    let spoken = |version: &'static str| {
        run(async move {
            let server = Server::new(answer("200 OK", version), None);
            server.client().greet().await.unwrap().api
        })
    };
    let old = "{\"ApiVersion\":\"1.40\",\"MinAPIVersion\":\"1.12\"}";
    assert_eq!(spoken(old), (1, 40));
    assert_eq!(spoken("{\"ApiVersion\":\"1.52\",\"MinAPIVersion\":\"1.44\"}"), (1, 44));
    assert_eq!(spoken("{\"ApiVersion\":\"1.47\",\"MinAPIVersion\":\"1.24\"}"), (1, 41));
    assert_eq!(spoken("{}"), (1, 41));
    assert_eq!(spoken("{\"ApiVersion\":null,\"MinAPIVersion\":\"x\"}"), (1, 41));
}

#[test]
fn each_fault_says_what_and_what_to_do() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let mut said = Vec::new();
        let mut note = |error: DockerError, path: &Path| {
            let path = path.display().to_string();
            said.push(error.to_string().replace(&path, "/S"));
        };
        let none = dir.path().join("none");
        note(Client::new(endpoint(&none)).ping().await.unwrap_err(), &none);
        let stale = dir.path().join("stale");
        drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
        note(Client::new(endpoint(&stale)).ping().await.unwrap_err(), &stale);
        let at = Address::Unix("/S".into());
        let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        note(DockerError::connecting(&at, &denied), "/S".as_ref());
        for bytes in [
            answer("403 Forbidden", "<h1>no</h1>\n"),
            answer("404 Not Found", "{\"message\":\"No such container: a\"}"),
            answer("409 Conflict", "{\"message\":\"removal is already in progress\"}"),
            answer("500 Internal Server Error", "{\"message\":\"disk\\nfull \\u001b[1m\"}"),
            answer("200 OK", "<html>"),
            answer("200 OK", "{\"Id\":"),
            b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
            b"".to_vec(),
            b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{".to_vec(),
        ] {
            let server = Server::new(bytes, None);
            let error = server.client().inspect("a").await.unwrap_err();
            note(error, &server.path);
        }
        let proxied = Server::new(answer("403 Forbidden", ""), None);
        let limit = Duration::from_secs(1);
        note(proxied.client().restart("a", limit).await.unwrap_err(), &proxied.path);
        let hangs = Server::new("", Some(Vec::new()));
        note(hangs.client().ping().await.unwrap_err(), &hangs.path);
        let half = Server::new("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", Some(Vec::new()));
        note(half.client().info().await.unwrap_err(), &half.path);
        insta::assert_snapshot!(said.join("\n"));
    });
}

#[test]
fn endless_answers_are_ended() {
    run(async {
        let head = "HTTP/1.1 200 OK\r\n\r\n[";
        let server = Server::new(head, Some(vec![b' '; 65536]));
        let mut client = server.client();
        client.limits.body = Duration::from_secs(60);
        let error = client.list().await.unwrap_err();
        assert!(matches!(error, DockerError::Unreadable { .. }), "{error}");
        // Many containers may be looked at side by side.
        let error = client.inspect("a").await.unwrap_err().to_string();
        assert!(error.contains("it is longer than 1048576 bytes"), "{error}");
        // One that says no, without end.
        let server = Server::new("HTTP/1.1 500 No\r\n\r\n", Some(vec![b'x'; 65536]));
        let error = server.client().list().await.unwrap_err();
        let DockerError::Failed { message, .. } = error else { panic!("{error}") };
        assert_eq!(message.len(), 300);
    });
}

#[test]
fn a_list_with_a_stranger_in_it_is_a_list() {
    run(async {
        let body =
            "[{\"Id\":\"a\",\"State\":7},null,{\"Names\":[]},3,{\"Id\":\"b\"},{\"Id\":\"\"}]";
        let server = Server::new(answer("200 OK", body), None);
        assert_eq!(server.client().list().await.unwrap(), ["a", "b"]);
        let server = Server::new(answer("200 OK", "null"), None);
        assert_eq!(server.client().list().await.unwrap(), [""; 0]);
    });
}

#[test]
fn a_stream_of_events_survives_what_is_none() {
    run(async {
        let mut bytes = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        let event = |action: &str| format!("{{\"Action\":\"{action}\",\"id\":\"a\",\"time\":1}}\n");
        bytes.extend(event("start").bytes());
        bytes.extend(b"\n\r\ngarbage\n");
        bytes.extend(event("exec_start: x").bytes());
        bytes.extend(vec![b'x'; EVENT + 5]);
        bytes.push(b'\n');
        bytes.extend(event("die").bytes());
        bytes.extend(b"{\"Action\":\"sto");
        let server = Server::new(bytes, None);
        let mut events = server.client().events(None).await.unwrap();
        let mut all = Vec::new();
        let error = loop {
            match events.next().await {
                Ok(heard) => all.push(heard.and_then(|heard| heard.what)),
                Err(error) => break error,
            }
        };
        let (started, died) = (ContainerWhat::Started, ContainerWhat::Died { exit_code: 0 });
        assert_eq!(all, [Some(started), None, None, Some(died)]);
        assert!(matches!(error, DockerError::Broken { .. }), "{error}");
    });
}

#[test]
fn logs_come_in_frames_or_as_they_are() {
    let frames = |parts: &[(u8, &str)]| {
        let mut all = Vec::new();
        for (stream, text) in parts {
            all.extend([*stream, 0, 0, 0]);
            all.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
            all.extend(text.as_bytes());
        }
        all
    };
    let cut = |bytes: &[u8], size: usize| {
        let mut frames = crate::docker::lines::Frames::default();
        let mut streams = [Vec::new(), Vec::new()];
        for piece in bytes.chunks(size) {
            frames.take(piece, |stream, part| streams[stream].extend_from_slice(part));
        }
        streams.map(|all| String::from_utf8(all).unwrap())
    };
    let bytes = frames(&[(1, "one\n"), (2, "bad\n"), (1, ""), (1, "two\n")]);
    for size in [1, 3, 8, 1000] {
        assert_eq!(cut(&bytes, size), ["one\ntwo\n", "bad\n"], "{size}");
    }
}
