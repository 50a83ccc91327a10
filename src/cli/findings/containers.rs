//! Findings of `doctor` about container engines: which there are, whether they can be asked, and
//! whether they take a restart.

use std::time::Duration;

use crate::app::plan::Plan;
use crate::docker::{Address, Client, DockerError, Endpoint};
use crate::sources::containers::{Found, engines};

use super::super::{Finding, Level};
use super::{asked, count};

const LIMIT: Duration = Duration::from_secs(5);

/// What the plan wants of containers.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    /// Rules and hooks that are about containers.
    any: bool,
    /// Some may be restarted.
    restarts: bool,
}

pub(super) fn find(plan: &Plan) -> Vec<Finding> {
    let rules = &plan.config.rules;
    let wanted = Wanted {
        any: rules.containers.names_any() || !rules.hooks.is_empty(),
        restarts: rules.containers.list.iter().any(|rule| rule.restart),
    };
    if plan.config.containers.off {
        return vec![off(wanted)];
    }
    let found = engines(&plan.config.containers, &plan.places);
    if found.is_empty() && wanted.any {
        let text = "the configuration counts on containers, and there is no container engine";
        let remedy = "`systemctl start docker` or `systemctl start podman.socket`; where it listens \
                      elsewhere set containers.engines";
        return vec![Finding::bad("containers", Level::Warn, text, remedy)];
    }
    let findings = asked(async {
        let mut findings = Vec::new();
        for engine in &found {
            findings.push(judged(engine, ask(engine).await, wanted));
        }
        findings
    });
    findings.unwrap_or_default()
}

fn off(wanted: Wanted) -> Finding {
    if wanted.any {
        let text = "none is watched: `enabled = false` in [containers]; hooks are told nothing";
        return Finding::bad("containers", Level::Warn, text, "take `enabled = false` away");
    }
    Finding::ok("containers", "none is watched: `enabled = false` in [containers]")
}

/// What an engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    /// `Docker 20.10.24`.
    who: String,
    /// Containers that it has.
    containers: usize,
    /// Why it takes no restart, if it does not.
    no_restart: Option<DockerError>,
    /// What else it refuses.
    withheld: Vec<&'static str>,
}

async fn ask(found: &Found) -> Result<Answer, DockerError> {
    let (name, address) = (found.name.clone(), found.address.clone());
    let client = Client::new(Endpoint { name, prefix: "".into(), address });
    let peer = client.greet().await?;
    let ids = client.list().await?;
    client.may_look(&ids).await?;
    client.may_hear(peer.time).await?;
    let refused = client.may_restart(LIMIT).await.err();
    let no_restart = refused.filter(|error| matches!(error, DockerError::Forbidden { .. }));
    let withheld = client.withheld().await;
    let who = if peer.podman { "Podman" } else { "Docker" };
    let who = format!("{who} {}", peer.version);
    Ok(Answer { who, containers: ids.len(), no_restart, withheld })
}

fn judged(found: &Found, answer: Result<Answer, DockerError>, wanted: Wanted) -> Finding {
    let name = format!("engine {}", found.name);
    let missed = found.said || wanted.any;
    match answer {
        Ok(Answer { no_restart: Some(error), who, .. }) if wanted.restarts => {
            let text = format!("{who}: containers are seen and cannot be restarted: {error}");
            let remedy = "until it is allowed, keepwell tells of containers and heals none; without \
                          `restart = true` this is as it should be";
            Finding::bad(name, Level::Warn, text, remedy)
        }
        Ok(Answer { who, containers, no_restart, withheld }) => {
            let read_only = if no_restart.is_some() { ", read-only" } else { "" };
            let without: String = withheld.iter().map(|word| format!(", without {word}")).collect();
            let containers = count(containers, "container");
            let text = format!(
                "{who} at {}: {containers}{read_only}{without}{}",
                found.address,
                asker(found)
            );
            Finding::ok(name, text)
        }
        Err(DockerError::Permission { at }) => {
            let text = format!("this user may not open {at}: its containers are not watched");
            let remedy = "docs/containers.md has the ways: rootless Podman or keepwell-docker-proxy \
                          give little away; the drop-in /usr/share/keepwell/docker.conf adds the \
                          group docker, which is as good as root";
            Finding::bad(name, if missed { Level::Fail } else { Level::Warn }, text, remedy)
        }
        // What to do is part of these words.
        Err(error) => Finding {
            name,
            level: if missed { Level::Fail } else { Level::Warn },
            text: error.to_string(),
            remedy: None,
        },
    }
}

/// Root may open what the service may not.
fn asker(found: &Found) -> &'static str {
    let root = rustix::process::geteuid().is_root();
    if root && matches!(found.address, Address::Unix(_)) {
        " (asked as root; what the daemon says of it counts)"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::cli::findings::tests::plan;

    fn findings(text: &str) -> Vec<Finding> {
        find(&plan(text))
    }

    #[test]
    fn what_is_off_and_what_is_away_is_said() {
        let off = findings("[containers]\nenabled = false");
        assert_eq!((off.len(), off[0].level), (1, Level::Ok));
        let missed = findings("[containers]\nenabled = false\n[[container]]\nname = \"web\"");
        assert_eq!(missed[0].level, Level::Warn);
        let away = findings("[containers]\nengines = [\"unix:///nowhere/docker.sock\"]");
        let [one] = &away[..] else { panic!("{away:?}") };
        assert_eq!((&*one.name, one.level), ("engine docker", Level::Fail));
        assert!(one.text.contains("no such socket"), "{}", one.text);
    }

    /// An engine behind a proxy that lets nobody change anything, nor what else is said; it is asked
    /// so many questions.
    fn read_only(listener: &UnixListener, questions: usize, denied: &str) {
        for _ in 0..questions {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            let (status, body) = match head.split(' ').nth(1).unwrap() {
                "/version" => (
                    "200 OK",
                    r#"{"Version":"20.10.24","ApiVersion":"1.41","MinAPIVersion":"1.12"}"#,
                ),
                path if !denied.is_empty() && path.contains(denied) => ("403 Forbidden", ""),
                path if path.contains("/events") => ("200 OK", ""),
                path if path.contains("/containers/aa/json") => ("200 OK", "{}"),
                path if path.contains("/containers/json") => {
                    ("200 OK", r#"[{"Id":"aa"},{"Id":"bb"}]"#)
                }
                _ => ("403 Forbidden", ""),
            };
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            stream.write_all(answer.as_bytes()).unwrap();
        }
    }

    #[test]
    fn a_proxy_that_refuses_restarts_matters_only_where_they_are_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("p.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let served = std::thread::spawn(move || {
            for (questions, denied) in [(7, ""), (7, ""), (4, "/aa/json"), (4, "/events")] {
                read_only(&listener, questions, denied);
            }
        });
        let engines = format!("[containers]\nengines = [\"unix://{}\"]\n", socket.display());
        let seen = findings(&engines).remove(0);
        assert_eq!(seen.level, Level::Ok, "{seen:?}");
        assert!(seen.text.starts_with("Docker 20.10.24 at unix://"), "{}", seen.text);
        let said = ": 2 containers, read-only, without logs, without statistics";
        assert!(seen.text.contains(said), "{}", seen.text);
        let wanted = format!("{engines}[[container]]\nname = \"web\"\nrestart = true\n");
        let refused = findings(&wanted).remove(0);
        assert_eq!(refused.level, Level::Warn, "{refused:?}");
        assert!(refused.text.contains("POST /containers/*/restart"), "{}", refused.text);
        // What it cannot be watched without.
        for path in ["GET /containers/*/json", "GET /events"] {
            let blind = findings(&engines).remove(0);
            assert_eq!(blind.level, Level::Fail, "{blind:?}");
            assert!(blind.text.ends_with(&format!("allow {path} there")), "{}", blind.text);
        }
        served.join().unwrap();
    }

    #[test]
    fn a_socket_that_may_not_be_opened_has_a_remedy() {
        let found = |said| Found {
            address: Address::Unix("/run/docker.sock".into()),
            name: "docker".into(),
            said,
        };
        let denied = || Err(DockerError::Permission { at: "unix:///run/docker.sock".into() });
        let nothing = Wanted { any: false, restarts: false };
        let one = judged(&found(false), denied(), nothing);
        assert_eq!(one.level, Level::Warn);
        assert!(one.remedy.unwrap().contains("as good as root"));
        assert_eq!(judged(&found(true), denied(), nothing).level, Level::Fail);
        let some = Wanted { any: true, restarts: false };
        assert_eq!(judged(&found(false), denied(), some).level, Level::Fail);
    }
}
