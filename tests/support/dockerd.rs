//! A Docker daemon of a test's own, with a containerd of its own: see `nest.rs`, which a test has
//! to name as well.
//!
//! ```ignore
//! #[path = "support/nest.rs"]
//! mod nest;
//! #[path = "support/dockerd.rs"]
//! mod dockerd;
//!
//! let Some(mut docker) = Dockerd::start() else { return };
//! let id = docker.run("web", &["--restart", "always"], &["sleep", "1000"]);
//! docker.kill_daemon(); // its containers live on
//! docker.start_daemon();
//! ```

#![allow(dead_code, clippy::unwrap_used, reason = "this is a part of tests; no test uses it all")]

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::nest::{Daemon, Done, IMAGE, Nest, get, leave_out, program, skip};

const LOG: &str = "dockerd.log";

/// The daemon, and what it has. Dropping it ends both.
#[derive(Debug)]
pub(crate) struct Dockerd {
    daemon: Option<Daemon>,
    /// Containers can have a network: a bridge can be made here.
    bridge: bool,
    arguments: Vec<String>,
    nest: Nest,
}

impl Dockerd {
    /// Starts one that has the image [`IMAGE`]; `None` where it cannot be had, and `SKIPPED` has
    /// been said.
    #[track_caller]
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// Starts one with more arguments, say `--live-restore`.
    #[track_caller]
    pub(crate) fn start_with(arguments: &[&str]) -> Option<Self> {
        match Self::try_start(arguments) {
            Ok(docker) => Some(docker),
            Err(why) => {
                skip(&format!("no Docker daemon: {why}"));
                None
            }
        }
    }

    fn try_start(arguments: &[&str]) -> Result<Self, String> {
        let nest = Nest::new(&["dockerd", "docker", "containerd", "runc", "busybox"])?;
        let bridge = ["add", "del"].iter().all(|verb| {
            nest.run(&["busybox", "ip", "link", verb, "kw-probe", "type", "bridge"]).ok
        });
        let arguments = arguments.iter().map(|&word| word.to_owned()).collect();
        let mut docker = Self { daemon: None, bridge, arguments, nest };
        docker.try_start_daemon()?;
        let archive = docker.nest.image()?;
        let import = Done::of(
            docker
                .command()
                .args(["import", "--change", "CMD [\"/bin/sleep\",\"100000\"]"])
                .arg(&archive)
                .arg(IMAGE),
        );
        if import.ok { Ok(docker) } else { Err(format!("docker import: {}", import.stderr)) }
    }

    fn try_start_daemon(&mut self) -> Result<(), String> {
        let path = |name: &str| self.nest.path(name).display().to_string();
        // In place of this machine's /etc/docker/daemon.json.
        std::fs::write(self.nest.path("daemon.json"), "{}").map_err(|e| e.to_string())?;
        let dockerd = program("dockerd").ok_or("dockerd is not installed")?;
        let mut command = self.nest.command(&[dockerd]);
        command
            .arg(format!("--host={}", self.address()))
            .arg(format!("--data-root={}", path("data")))
            .arg(format!("--exec-root={}", path("exec")))
            .arg(format!("--pidfile={}", path("dockerd.pid")))
            .arg(format!("--config-file={}", path("daemon.json")))
            .arg(format!("--cgroup-parent=/{}", self.nest.id()))
            .args(["--exec-opt", "native.cgroupdriver=cgroupfs"])
            .args(["--iptables=false", "--ip6tables=false", "--ip-forward=false"])
            .args(&self.arguments);
        if !self.bridge {
            command.arg("--bridge=none");
        }
        // One that was killed leaves it, and in a namespace numbers come again soon.
        let _ = std::fs::remove_file(self.nest.path("dockerd.pid"));
        let daemon = self.nest.daemon(command, LOG)?;
        self.nest.wait_for_engine(&daemon, LOG)?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// Where its API is.
    pub(crate) fn socket(&self) -> PathBuf {
        self.nest.socket()
    }

    /// The same as keepwell and `DOCKER_HOST` want it.
    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// The room that it is in: its folder, its `/proc`, commands inside.
    pub(crate) fn nest(&self) -> &Nest {
        &self.nest
    }

    /// Whether a container may have a network of its own (`--network none` always goes).
    pub(crate) fn has_network(&self) -> bool {
        self.bridge
    }

    fn command(&self) -> Command {
        let mut command = Command::new("docker");
        command
            .env("DOCKER_HOST", self.address())
            .env("DOCKER_CONFIG", self.nest.path("home/.docker"))
            .env_remove("DOCKER_CONTEXT");
        command
    }

    /// `docker ARGS`.
    pub(crate) fn docker(&self, args: &[&str]) -> Done {
        Done::of(self.command().args(args))
    }

    /// `docker ARGS`, which has to succeed; what it printed.
    #[track_caller]
    pub(crate) fn must(&self, args: &[&str]) -> String {
        let done = self.docker(args);
        assert!(done.ok, "docker {args:?}: {}\n{}", done.stderr, self.log());
        done.stdout
    }

    /// Starts a container without network of [`IMAGE`] in the background; its id.
    #[track_caller]
    pub(crate) fn run(&self, name: &str, options: &[&str], command: &[&str]) -> String {
        let network = if options.iter().any(|word| word.starts_with("--network")) {
            &[][..]
        } else {
            &["--network", "none"][..]
        };
        let words = [&["run", "--detach", "--name", name][..], network, options, &[IMAGE], command];
        let printed = self.must(&words.concat());
        printed.lines().last().unwrap_or_default().to_owned()
    }

    /// What `docker inspect` says of a container; null where there is none.
    pub(crate) fn inspect(&self, name: &str) -> Value {
        get(&self.socket(), &format!("/containers/{name}/json"))
            .filter(|answer| answer["Id"].is_string())
            .unwrap_or_default()
    }

    /// `State.Status` of a container, as `running`; empty where there is none.
    pub(crate) fn status(&self, name: &str) -> String {
        self.inspect(name)["State"]["Status"].as_str().unwrap_or_default().to_owned()
    }

    /// The daemon's own process, as this machine numbers it.
    #[track_caller]
    pub(crate) fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("the daemon runs").pid
    }

    /// Kills the daemon alone: containers live on until it is started again (and after that, with
    /// `--live-restore`).
    #[track_caller]
    pub(crate) fn kill_daemon(&mut self) {
        let mut daemon = self.daemon.take().expect("the daemon runs");
        daemon.signal("KILL");
        daemon.wait();
    }

    /// Ends the daemon in good order, and its containers with it (not with `--live-restore`).
    #[track_caller]
    pub(crate) fn stop_daemon(&mut self) {
        let mut daemon = self.daemon.take().expect("the daemon runs");
        daemon.signal("TERM");
        daemon.wait();
    }

    /// Starts it again with what it had.
    #[track_caller]
    pub(crate) fn start_daemon(&mut self) {
        assert!(self.daemon.is_none(), "the daemon runs already");
        self.try_start_daemon().unwrap_or_else(|why| panic!("no Docker daemon: {why}"));
    }

    /// Lets it hang: it takes connections, and answers none.
    #[track_caller]
    pub(crate) fn freeze(&self) {
        self.daemon.as_ref().expect("the daemon runs").freeze();
    }

    /// Ends [`Self::freeze`].
    #[track_caller]
    pub(crate) fn thaw(&self) {
        self.daemon.as_ref().expect("the daemon runs").thaw();
    }

    /// Whether a container that takes too much memory is ended here, and said to be; where not,
    /// `SKIPPED` has been said for that part.
    pub(crate) fn oom_kills(&self) -> bool {
        let words = ["run", "--name", "oom-probe", "--network", "none", "--memory", "16m"];
        let _ = self.docker(&[&words[..], &[IMAGE, "tail", "/dev/zero"]].concat());
        let killed = self.inspect("oom-probe")["State"]["OOMKilled"] == true;
        let _ = self.docker(&["rm", "--force", "oom-probe"]);
        if !killed {
            leave_out("memory of containers is not limited on this machine: no OOM kill");
        }
        killed
    }

    /// What the daemon has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.nest.path(LOG)).unwrap_or_default()
    }
}
