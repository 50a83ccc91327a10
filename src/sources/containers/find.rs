//! Which container engines there are: those that the configuration names, else those whose sockets
//! are where they usually are.

use std::collections::BTreeSet;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{Containers, Environment};
use crate::docker::{Address, Endpoint};

/// Where engines are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// `/`, except in tests.
    pub root: PathBuf,
    /// `XDG_RUNTIME_DIR`
    pub runtime: Option<PathBuf>,
    /// `DOCKER_HOST`
    pub docker_host: Option<String>,
}

impl Places {
    /// Of this host, as the environment says.
    pub fn new(environment: &Environment) -> Self {
        let runtime = environment.get("XDG_RUNTIME_DIR").map(PathBuf::from);
        let docker_host = environment.get("DOCKER_HOST").map(str::to_owned);
        Self { root: "/".into(), runtime, docker_host }
    }
}

/// An engine, and whether somebody said that it is there: then it is missed when it is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its address.
    pub address: Address,
    /// What it is called, until another is called so.
    pub name: Arc<str>,
    /// The configuration or the environment names it.
    pub said: bool,
}

/// The engines to be watched, in the order in which they are named.
pub fn engines(config: &Containers, places: &Places) -> Vec<Found> {
    if config.off {
        return Vec::new();
    }
    if let Some(named) = &config.engines {
        let found = named.iter().filter_map(|engine| {
            let address = address(&engine.url)?;
            Some(Found { address, name: engine.name.clone(), said: true })
        });
        return found.collect();
    }
    let mut all: Vec<Found> = Vec::new();
    let mut paths: BTreeSet<PathBuf> = BTreeSet::new();
    let mut socket = |path: PathBuf, name: &str, all: &mut Vec<Found>| {
        // /var/run is usually another name of /run.
        let real = path.canonicalize().unwrap_or_else(|_| path.clone());
        if is_socket(&path) && paths.insert(real) {
            all.push(Found { address: Address::Unix(path), name: name.into(), said: false });
        }
    };
    for (name, paths) in usual(places) {
        paths.into_iter().for_each(|path| socket(path, &name, &mut all));
    }
    if let Some(address) = places.docker_host.as_deref().and_then(address) {
        let same = |found: &&mut Found| match (&found.address, &address) {
            (Address::Unix(one), Address::Unix(other)) => {
                one == other
                    || one
                        .canonicalize()
                        .ok()
                        .is_some_and(|one| other.canonicalize().ok() == Some(one))
            }
            (one, other) => one == other,
        };
        match all.iter_mut().find(same) {
            Some(found) => found.said = true,
            None => all.push(Found { address, name: "docker".into(), said: true }),
        }
    }
    all
}

/// The same, with what is missed where it is not: engines that have been heard before (`known`), and
/// Docker where somebody counts on containers (`wanted`) and no engine is found.
pub(super) fn missed(
    config: &Containers,
    places: &Places,
    known: &BTreeSet<Arc<str>>,
    wanted: bool,
) -> Vec<Found> {
    let mut all = engines(config, places);
    if config.off || config.engines.is_some() {
        return all;
    }
    let mut at = 0;
    for (name, mut paths) in usual(places) {
        // In the usual order, so that the first one keeps the plain names.
        if let Some(there) = all.iter().position(|found| *found.name == *name) {
            at = there + 1;
        } else if known.contains(&*name) || wanted && all.is_empty() && name == "docker" {
            let address = Address::Unix(paths.swap_remove(0));
            all.insert(at, Found { address, name: name.into(), said: true });
            at += 1;
        }
    }
    all
}

/// What engines are usually called, and where their sockets are; the first place is the one they
/// are missed at.
fn usual(places: &Places) -> Vec<(String, Vec<PathBuf>)> {
    let at = |paths: &[&str]| paths.iter().map(|path| places.root.join(path)).collect();
    let mut all = vec![
        ("docker".to_owned(), at(&["run/docker.sock", "var/run/docker.sock"])),
        ("podman".to_owned(), at(&["run/podman/podman.sock"])),
    ];
    if let Some(runtime) = &places.runtime {
        let user = user(runtime);
        all.push((format!("podman-{user}"), vec![runtime.join("podman/podman.sock")]));
        all.push((format!("docker-{user}"), vec![runtime.join("docker.sock")]));
    }
    all
}

/// Whether the configuration or the environment names an engine.
pub(super) fn names(config: &Containers, places: &Places, engine: &Address) -> bool {
    engines(config, places).iter().any(|found| found.said && found.address == *engine)
}

/// Makes endpoints of what was found, beside those that there are: the first of all has the plain
/// names.
pub(super) fn endpoint(found: &Found, others: &[Endpoint]) -> Endpoint {
    let taken = |name: &str| others.iter().any(|other| *other.name == *name);
    let mut name = found.name.clone();
    let mut number = 2;
    while taken(&name) {
        name = format!("{}-{number}", found.name).into();
        number += 1;
    }
    let prefix = if others.is_empty() { "".into() } else { format!("{name}/").into() };
    Endpoint { name, prefix, address: found.address.clone() }
}

/// `unix:///PATH` or `tcp://HOST:PORT`; the port of Docker where none is said.
fn address(url: &str) -> Option<Address> {
    if let Some(path) = url.strip_prefix("unix://") {
        return path.starts_with('/').then(|| Address::Unix(path.into()));
    }
    let to = url.strip_prefix("tcp://")?.trim_end_matches('/');
    if to.is_empty() || to.contains('/') {
        return None;
    }
    let port = to.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Some(Address::Tcp(if port { to.to_owned() } else { format!("{to}:2375") }))
}

/// Whose runtime folder it is: `1000` of `/run/user/1000`.
fn user(runtime: &Path) -> String {
    runtime.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn is_socket(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.file_type().is_socket())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::config::{EngineAddress, Input, Options, load_from};

    fn places(root: &Path) -> Places {
        Places { root: root.into(), runtime: None, docker_host: None }
    }

    fn listen(root: &Path, at: &str) -> UnixListener {
        let path = root.join(at);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        UnixListener::bind(path).unwrap()
    }

    fn shown(found: &[Found], root: &Path) -> Vec<String> {
        let mut endpoints: Vec<Endpoint> = Vec::new();
        let mut shown = Vec::new();
        for one in found {
            let made = endpoint(one, &endpoints);
            let address = made.address.to_string().replace(&*root.to_string_lossy(), "");
            let said = if one.said { " (said)" } else { "" };
            shown.push(format!("{} {:?} {address}{said}", made.name, made.prefix));
            endpoints.push(made);
        }
        shown
    }

    #[test]
    fn the_usual_sockets_are_found_once_each() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let none = Containers::default();
        assert_eq!(engines(&none, &places(root)), []);
        let _docker = listen(root, "run/docker.sock");
        fs::create_dir(root.join("var")).unwrap();
        std::os::unix::fs::symlink("../run", root.join("var/run")).unwrap();
        let _podman = listen(root, "run/podman/podman.sock");
        let _user = listen(root, "run/user/1000/podman/podman.sock");
        let mut places = places(root);
        places.runtime = Some(root.join("run/user/1000"));
        places.docker_host = Some("tcp://127.0.0.1".into());
        assert_eq!(
            shown(&engines(&none, &places), root),
            [
                "docker \"\" unix:///run/docker.sock",
                "podman \"podman/\" unix:///run/podman/podman.sock",
                "podman-1000 \"podman-1000/\" unix:///run/user/1000/podman/podman.sock",
                "docker-2 \"docker-2/\" tcp://127.0.0.1:2375 (said)",
            ]
        );
        places.docker_host = Some(format!("unix://{}/var/run/docker.sock", root.display()));
        assert_eq!(
            shown(&engines(&none, &places), root)[0],
            "docker \"\" unix:///run/docker.sock (said)"
        );
        let off = Containers { off: true, ..none };
        assert_eq!(engines(&off, &places), []);
    }

    #[test]
    fn what_was_there_before_is_missed_in_its_usual_place() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let _podman = listen(root, "run/podman/podman.sock");
        let mut places = places(root);
        places.runtime = Some(root.join("run/user/7"));
        let names = |known: &[&str], wanted| {
            let known = known.iter().map(|name| Arc::from(*name)).collect();
            let all = missed(&Containers::default(), &places, &known, wanted);
            all.iter().map(|found| format!("{} {}", found.name, found.said)).collect::<Vec<_>>()
        };
        assert_eq!(names(&[], true), ["podman false"]);
        let all = ["docker true", "podman false", "podman-7 true"];
        assert_eq!(names(&["docker", "podman-7", "docker-2"], false), all);
        drop(_podman);
        std::fs::remove_file(root.join("run/podman/podman.sock")).unwrap();
        assert_eq!(names(&[], false), [""; 0]);
        assert_eq!(names(&[], true), ["docker true"]);
    }

    #[test]
    fn what_is_no_socket_and_what_is_no_address_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("run")).unwrap();
        fs::write(dir.path().join("run/docker.sock"), "").unwrap();
        let mut places = places(dir.path());
        for url in ["ssh://host", "tcp://", "unix://relative", "tcp://host/path", "", "fd://"] {
            places.docker_host = Some(url.into());
            assert_eq!(engines(&Containers::default(), &places), [], "{url}");
        }
    }

    #[test]
    fn named_engines_are_watched_whether_they_are_there_or_not() {
        let options = Options::new(None, Default::default(), true, "host".into());
        let text = "[[heartbeat]]\nfile = \"/a\"";
        let mut loaded = load_from(vec![Input::memory("a", text)], &options);
        let at = loaded.config.heartbeat_places.pop().unwrap();
        let engine =
            |name: &str, url: &str| EngineAddress { name: name.into(), url: url.into(), at };
        let named = vec![engine("podman", "unix:///nowhere/p.sock"), engine("far", "tcp://a:1")];
        let config = Containers { off: false, engines: Some(named) };
        assert_eq!(
            shown(&engines(&config, &places("/".as_ref())), "\0".as_ref()),
            ["podman \"\" unix:///nowhere/p.sock (said)", "far \"far/\" tcp://a:1 (said)"]
        );
    }
}
