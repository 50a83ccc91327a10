//! Restarting containers and reading their logs, directly and past a proxy that lets nothing but
//! questions through.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use keepwell::actions::{ContainerRestarter, NoLog};
use keepwell::docker::{Address, Client, DockerError, Endpoint, Engines};
use keepwell::engine::RestartResult;
use keepwell::engine::observation::ContainerStatus;
use keepwell::engine::words::Reason;

use super::dockerd::Dockerd;
use super::nest;
use super::podman::Podman;
use super::watched::{self, Watched};

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(work)
}

/// What `keepwell doctor` asks: whether a restart is let through.
pub(crate) fn may_restart(socket: &Path) -> Result<(), DockerError> {
    let address = Address::Unix(socket.to_owned());
    let client = Client::new(Endpoint { name: "docker".into(), prefix: "".into(), address });
    run(async {
        client.greet().await?;
        client.may_restart(Duration::from_secs(10)).await
    })
}

fn restarter(socket: &Path) -> ContainerRestarter {
    let engines = Engines::default();
    let address = Address::Unix(socket.to_owned());
    engines.add(Endpoint { name: "docker".into(), prefix: "".into(), address });
    ContainerRestarter::new(engines)
}

#[test]
fn what_is_down_is_restarted_and_what_is_not_is_left() {
    let Some(docker) = Dockerd::start() else { return };
    let seen = Watched::at(&docker.address());
    seen.round();
    let acts = ContainerRestarter::new(seen.engines.clone());
    let script = "test -e /again && exec sleep 1000; touch /again; exit 4";
    let id = docker.run("web", &[], &["sh", "-c", script]);
    let down = seen.container("web", "is down", |c| c.status == ContainerStatus::Exited);
    let done = run(acts.restart("docker", &id, down.run(), false));
    assert_eq!(done, RestartResult::Done);
    let up = seen.container("web", "runs", |c| c.pid > 0);
    assert_ne!(up.run(), down.run());
    let declined = |run_of| run(acts.restart("docker", &id, run_of, false));
    let no = RestartResult::Declined;
    assert_eq!(declined(down.run()), no(Reason::NoLongerNeeded), "another run");
    assert_eq!(declined(up.run()), no(Reason::NoLongerNeeded), "it is well");
    docker.must(&["pause", "web"]);
    assert_eq!(declined(up.run()), no(Reason::Paused));
    docker.must(&["rm", "--force", "web"]);
    assert_eq!(declined(up.run()), no(Reason::Removed));

    // To ask whether it may restart any changes nothing.
    let bystander = docker.run("bystander", &[], &["sleep", "1000"]);
    let before = docker.inspect("bystander")["State"].clone();
    assert_eq!(may_restart(&docker.socket()), Ok(()));
    assert_eq!(docker.inspect("bystander")["State"], before);
    docker.must(&["rm", "--force", &bystander]);

    // One that runs and has lost the network that it shares.
    let base = docker.run("base", &[], &["sleep", "1000"]);
    let side = docker.run("side", &["--network", "container:base"], &["sleep", "1000"]);
    let sharing = seen.container("side", "runs", |c| c.pid > 0);
    assert_eq!(sharing.network_of.as_deref(), Some(&*base));
    let well = run(acts.restart("docker", &side, sharing.run(), true));
    assert_eq!(well, no(Reason::NoLongerNeeded));
    docker.must(&["restart", "--time", "0", "base"]);
    assert_eq!(run(acts.restart("docker", &side, sharing.run(), true)), RestartResult::Done);

    // One that ends at once: what it prints is older than its start by Docker's account.
    docker.run("brief", &[], &["sh", "-c", "echo last words; exit 1"]);
    let brief = seen.container("brief", "has ended", |c| c.exit_code == 1);
    let lines = run(acts.log("docker", &brief.id, 10, brief.started)).unwrap();
    assert!(lines.iter().any(|line| line.ends_with("last words")), "{lines:?}");

    // One that cannot start.
    assert!(!docker.docker(&["run", "--name", "bad", "--network", "none", nest::IMAGE, "/no"]).ok);
    let bad = seen.container("bad", "is there", |c| !c.error.is_empty());
    let failed = run(acts.restart("docker", &bad.id, None, false));
    let RestartResult::JobFailed(why) = failed else { panic!("{failed:?}") };
    assert!(why.contains("/no"), "{why}");
    let elsewhere = run(acts.restart("podman", &side, None, true));
    assert!(matches!(elsewhere, RestartResult::Failed(_)), "{elsewhere:?}");
}

#[test]
fn the_last_lines_of_a_log_are_read_without_secrets() {
    let Some(docker) = Dockerd::start() else { return };
    let acts = restarter(&docker.socket());
    let script = "for i in $(seq 1 50); do echo line $i; done; echo password=hunter2hunter2 >&2; \
                  head -c 40000 /dev/zero | tr '\\0' x; echo; echo last";
    for (name, options) in [("plain", &[][..]), ("terminal", &["--tty"][..])] {
        let id = docker.run(name, options, &["sh", "-c", script]);
        super::clock::wait_until(watched::SOON, "it ends", || docker.status(name) == "exited");
        let lines = run(acts.log("docker", &id, 60, None)).unwrap();
        let texts: Vec<&str> =
            lines.iter().map(|line| line.split_once(' ').map_or(&**line, |(_, t)| t)).collect();
        assert!(texts.contains(&"line 1") && texts.contains(&"line 50"), "{name}: {lines:#?}");
        assert!(texts.contains(&"password=***"), "{name}: {lines:#?}");
        let long = texts.iter().find(|text| text.starts_with("xxxx")).unwrap();
        assert!((400..600).contains(&long.chars().count()), "{name}: its beginning: {long}");
        assert!(!format!("{lines:?}").contains("hunter2"), "{name}");
        assert!(lines.iter().all(|line| line.chars().count() < 600), "{name}");
        let few = run(acts.log("docker", &id, 3, None)).unwrap();
        // What comes by the two streams may change places.
        let last = few.iter().any(|line| line.ends_with(" last"));
        assert!(few.len() <= 3 && last, "{name}: {few:#?}");
    }
    // Docker counts the pieces that it keeps a long line in.
    let script = "x=$(head -c 60000 /dev/zero | tr '\\0' x); \
                  for i in $(seq 1 40); do echo $i $x; done; echo last";
    let id = docker.run("long", &[], &["sh", "-c", script]);
    super::clock::wait_until(watched::SOON, "it ends", || docker.status("long") == "exited");
    let lines = run(acts.log("docker", &id, 30, None)).unwrap();
    assert_eq!(lines.len(), 30, "{lines:#?}");
    assert!(lines[0].contains(" 12 xxx") && lines[29].ends_with(" last"), "{lines:#?}");
    let all = run(acts.log("docker", &id, 500, None)).unwrap();
    assert_eq!(all.len(), 41);
}

#[test]
fn why_a_log_cannot_be_read_is_told_apart() {
    if let Some(docker) = Dockerd::start() {
        let acts = restarter(&docker.socket());
        let why = |id: &str| run(acts.log("docker", id, 3, None)).unwrap_err();
        let none = why(&"ab".repeat(32));
        assert!(
            matches!(&none, NoLog::Removed(why) if why.contains("no such container")),
            "{none}"
        );
        let silent = docker.run("silent", &["--log-driver", "none"], &["sleep", "1000"]);
        let kept = why(&silent);
        assert!(matches!(&kept, NoLog::NotKept(why) if why.contains("driver")), "{kept}");
        let unwatched = run(acts.log("podman", &silent, 3, None)).unwrap_err();
        assert!(matches!(unwatched, NoLog::Failed(_)), "{unwatched}");
    }
    if let Some(podman) = Podman::start() {
        let acts = restarter(&podman.socket());
        let silent = podman.run("silent", &["--log-driver", "none"], &["sleep", "1000"]);
        let kept = run(acts.log("docker", &silent, 3, None)).unwrap_err();
        assert!(matches!(&kept, NoLog::NotKept(why) if why.contains("driver")), "{kept}");
    }
}

/// A proxy that lets GET through, but not for `/info`, and answers all else with 403.
fn proxy(at: PathBuf, to: PathBuf) {
    let listener = UnixListener::bind(at).unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(client), to) = (client, to.clone()) else { return };
            thread::spawn(move || pass(client, &to));
        }
    });
}

fn pass(mut client: UnixStream, to: &Path) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match client.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let line = String::from_utf8_lossy(&head);
    if !line.starts_with("GET ") || line.contains("/info ") {
        let body = "<html><body><h1>403 Forbidden</h1>";
        let length = body.len();
        let _ = write!(client, "HTTP/1.0 403 Forbidden\r\nContent-Length: {length}\r\n\r\n{body}");
        return;
    }
    let Ok(mut engine) = UnixStream::connect(to) else { return };
    let _ = engine.write_all(&head);
    let (mut from, mut back) = (engine.try_clone().unwrap(), client.try_clone().unwrap());
    thread::spawn(move || {
        // When keepwell hangs up, so does the engine.
        let _ = std::io::copy(&mut client, &mut engine);
        let _ = engine.shutdown(std::net::Shutdown::Both);
    });
    let _ = std::io::copy(&mut from, &mut back);
    let _ = back.shutdown(std::net::Shutdown::Both);
}

#[test]
fn past_a_read_only_proxy_all_is_seen_and_nothing_is_done() {
    let Some(docker) = Dockerd::start() else { return };
    let socket = docker.nest().path("proxy.sock");
    proxy(socket.clone(), docker.socket());
    let seen = Watched::at(&format!("unix://{}", socket.display()));
    seen.round();
    let all = seen.all();
    let list = watched::lists(&all)[0];
    assert!(list.cpus > 0 && list.memory > 1 << 20, "the host's own, where it may not be asked");
    let id = docker.run("web", &[], &["sh", "-c", "exit 2"]);
    let down = seen.container("web", "is down", |c| c.status == ContainerStatus::Exited);
    assert_eq!(seen.events("web", "died 2"), ["created", "started", "died 2"]);
    let acts = ContainerRestarter::new(seen.engines.clone());
    let denied = run(acts.restart("docker", &id, down.run(), false));
    let RestartResult::Denied(why) = denied else { panic!("{denied:?}") };
    assert!(why.contains("refuses the request to restart a container (403"), "{why}");
    assert!(why.ends_with("allow POST /containers/*/restart there"), "{why}");
    assert_eq!(docker.status("web"), "exited");
    let asked = may_restart(&socket);
    assert!(matches!(asked, Err(DockerError::Forbidden { .. })), "{asked:?}");
    let broken = seen.all().iter().any(|one| format!("{one:?}").contains("Broken"));
    assert!(!broken, "{}", seen.shown());
}
