//! A state folder on a disk without room: services are told all the same, and nothing is lost or
//! told as if it were something new, also when keepwell is killed before there is room.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::dockerd::Dockerd;
use super::{Agent, text};

/// A mount namespace where a folder is a disk of 1 MiB; it ends with the value.
struct Disk {
    holder: Child,
    folder: PathBuf,
}

impl Disk {
    fn new(agent: &Agent) -> Self {
        let ready = agent.path("mounted");
        let script = r#"mount -t tmpfs -o size=1M state "$1" && touch "$2" && exec sleep 100000"#;
        let holder = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--mount", "sh", "-c", script, "disk"])
            .arg(agent.path("state"))
            .arg(&ready)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        agent.wait("it is mounted", || ready.exists().then_some(()));
        let folder = format!("/proc/{}/root{}", holder.id(), text(&agent.path("state")));
        Self { holder, folder: folder.into() }
    }

    /// What goes before a command that is to see it.
    fn way(&self) -> [String; 3] {
        ["nsenter".into(), format!("--mount=/proc/{}/ns/mnt", self.holder.id()), "--".into()]
    }

    /// Not a byte is left.
    fn fill(&self) {
        let mut file = File::create(self.folder.join("filler")).unwrap();
        while file.write_all(&[1; 512]).is_ok() {}
    }

    fn clear(&self) {
        fs::remove_file(self.folder.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A service that is told, and may be out of order: what it has taken, as `event name` and key.
struct Service {
    port: u16,
    broken: Arc<AtomicBool>,
    taken: Arc<Mutex<Vec<(String, String)>>>,
    asked: Arc<Mutex<usize>>,
}

impl Service {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let service =
            Self { port, broken: Arc::default(), taken: Arc::default(), asked: Arc::default() };
        let (broken, taken, asked) =
            (service.broken.clone(), service.taken.clone(), service.asked.clone());
        // It ends with the process.
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let mut reader = BufReader::new(client.unwrap());
                let mut head = Vec::new();
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                    head.push(std::mem::take(&mut line));
                }
                let what = head.first().and_then(|line| line.split(' ').nth(1));
                let key = head.iter().find_map(|line| line.strip_prefix("idempotency-key: "));
                let (Some(what), Some(key)) = (what, key) else { continue };
                let what = what.trim_start_matches('/').replace('/', " ");
                *asked.lock().unwrap() += 1;
                let answer = if broken.load(Ordering::SeqCst) {
                    "503 Out Of Order"
                } else {
                    taken.lock().unwrap().push((what, key.trim().to_owned()));
                    "204 No Content"
                };
                let answer = format!("HTTP/1.1 {answer}\r\nConnection: close\r\n\r\n");
                let _ = reader.into_inner().write_all(answer.as_bytes());
            }
        });
        service
    }

    /// What was told of a container, each key once, in its order.
    fn of(&self, name: &str) -> Vec<String> {
        let mut keys = Vec::new();
        let mut told = Vec::new();
        for (what, key) in self.taken.lock().unwrap().iter() {
            if what.ends_with(&format!(" {name}")) && !keys.contains(key) {
                keys.push(key.clone());
                told.push(what.split(' ').next().unwrap_or_default().to_owned());
            }
        }
        told
    }

    /// A key names one call, and a call has one key.
    #[track_caller]
    fn no_key_is_of_two(&self) {
        let (mut keys, mut calls) = (BTreeMap::new(), BTreeMap::new());
        let taken = self.taken.lock().unwrap();
        for (what, key) in taken.iter() {
            let first = *keys.entry(key).or_insert(what);
            assert_eq!(first, what, "{key} is of two: {taken:#?}");
            let first = *calls.entry(what).or_insert(key);
            assert_eq!(first, key, "{what} was told as two: {taken:#?}");
        }
    }
}

#[test]
fn on_a_full_disk_nothing_is_lost_or_told_as_something_new() {
    let Some(docker) = Dockerd::start() else { return };
    let service = Service::new();
    let mut agent = Agent::new();
    let disk = Disk::new(&agent);
    let way = disk.way();
    let way = way.each_ref().map(String::as_str);
    agent.configure(
        &docker.address(),
        &format!(
            "[[hook]]\nname = \"all\"\ntype = \"http\"\nmethod = \"GET\"\nproxy = false\n\
             url = \"http://127.0.0.1:{}/{{{{ event }}}}/{{{{ container.name }}}}\"\n",
            service.port
        ),
    );
    agent.start(&way);
    agent.wait("docker is found", || (!agent.check("agent:engine-docker").is_null()).then_some(()));
    let heard = |agent: &Agent, name: &str, events: &[&str]| {
        agent.wait(&format!("{name}: {events:?}; {:?}", service.taken.lock().unwrap()), || {
            (service.of(name) == events).then_some(())
        });
    };
    docker.run("before", &[], &[]);
    heard(&agent, "before", &["created", "started"]);

    // Without room it is told from memory, and that the disk is full is said.
    disk.fill();
    docker.run("first", &[], &[]);
    heard(&agent, "first", &["created", "started"]);
    let said = agent.wait_for_check("agent:database", "warning");
    assert!(said.contains("Free some space"), "{said}");

    // What cannot be told yet waits, and arrives in order when there is room again.
    service.broken.store(true, Ordering::SeqCst);
    let before = *service.asked.lock().unwrap();
    docker.run("second", &[], &[]);
    agent.wait("it was tried", || (*service.asked.lock().unwrap() > before).then_some(()));
    docker.must(&["rm", "--force", "first"]);
    docker.must(&["rm", "--force", "second"]);
    disk.clear();
    assert_eq!(agent.wait_for_check("agent:database", "healthy"), "it works");
    service.broken.store(false, Ordering::SeqCst);
    heard(&agent, "first", &["created", "started", "stopped", "removed"]);
    heard(&agent, "second", &["created", "started", "stopped", "removed"]);

    // Killed before there is room: what it told it tells again, or not; and nothing else as that.
    disk.fill();
    for name in ["brief", "late"] {
        docker.run(name, &[], &[]);
        heard(&agent, name, &["created", "started"]);
    }
    docker.must(&["rm", "--force", "brief"]);
    heard(&agent, "brief", &["created", "started", "stopped", "removed"]);
    agent.wait_for_check("agent:database", "warning");
    agent.kill();
    docker.must(&["kill", "before"]);
    agent.start(&way);
    heard(&agent, "before", &["created", "started", "stopped"]);
    docker.run("last", &[], &[]);
    heard(&agent, "last", &["created", "started"]);
    service.no_key_is_of_two();
    disk.clear();
    agent.wait_for_check("agent:database", "healthy");
    agent.kill();
    agent.start(&way);
    docker.must(&["rm", "--force", "last"]);
    heard(&agent, "last", &["created", "started", "stopped", "removed"]);
    heard(&agent, "late", &["created", "started"]);
    heard(&agent, "brief", &["created", "started", "stopped", "removed"]);
    service.no_key_is_of_two();
}
