//! Podman's API service of a test's own, with storage of its own: see `nest.rs`, which a test has
//! to name as well. Its health checks wait for systemd's timers, which there are none of here:
//! [`Podman::check_health`] runs one.

#![allow(dead_code, clippy::unwrap_used, reason = "this is a part of tests; no test uses it all")]

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::nest::{Daemon, Done, IMAGE, Nest, get, program, skip};

const LOG: &str = "podman.log";

/// The service, and what it has. Dropping it ends both.
#[derive(Debug)]
pub(crate) struct Podman {
    service: Option<Daemon>,
    nest: Nest,
}

impl Podman {
    /// Starts one that has the image [`IMAGE`]; `None` where it cannot be had, and `SKIPPED` has
    /// been said.
    #[track_caller]
    pub(crate) fn start() -> Option<Self> {
        match Self::try_start() {
            Ok(podman) => Some(podman),
            Err(why) => {
                skip(&format!("no Podman: {why}"));
                None
            }
        }
    }

    fn try_start() -> Result<Self, String> {
        let nest = Nest::new(&["podman", "conmon", "runc", "busybox"])?;
        // It wants to raise its limits to the utmost, which not every machine allows.
        let hard = |which: &str| {
            Done::of(Command::new("bash").args(["-c", &format!("ulimit -H{which}")])).stdout
        };
        let limits = [("nofile", hard("n")), ("nproc", hard("u"))]
            .into_iter()
            .filter(|(_, hard)| hard.parse::<u64>().is_ok())
            .map(|(name, hard)| format!("\"{name}={hard}:{hard}\""));
        let limits: Vec<String> = limits.collect();
        std::fs::write(
            nest.path("containers.conf"),
            format!(
                "[containers]\ndefault_ulimits = [{}]\ncgroup_parent = \"/{}\"\n\
                 [engine]\nruntime = \"runc\"\n",
                limits.join(", "),
                nest.id()
            ),
        )
        .map_err(|e| e.to_string())?;
        let mut podman = Self { service: None, nest };
        podman.try_start_service()?;
        let archive = podman.nest.image()?;
        let import = Done::of(
            podman
                .command()
                .args(["import", "--quiet", "--change", "CMD [\"/bin/sleep\",\"100000\"]"])
                .arg(&archive)
                .arg(IMAGE),
        );
        if import.ok { Ok(podman) } else { Err(format!("podman import: {}", import.stderr)) }
    }

    /// Podman itself, on the same storage. It needs no service.
    fn command(&self) -> Command {
        let program = program("podman").unwrap_or_else(|| PathBuf::from("podman"));
        let mut command = self.nest.command(&[program]);
        command
            .env("CONTAINERS_CONF", self.nest.path("containers.conf"))
            .args(["--cgroup-manager", "cgroupfs", "--events-backend", "file"])
            .arg("--root")
            .arg(self.nest.path("root"))
            .arg("--runroot")
            .arg(self.nest.path("run"))
            .arg("--tmpdir")
            .arg(self.nest.path("tmp"));
        command
    }

    fn try_start_service(&mut self) -> Result<(), String> {
        let mut command = self.command();
        command.args(["system", "service", "--time=0"]).arg(self.address());
        let _ = std::fs::remove_file(self.socket());
        let service = self.nest.daemon(command, LOG)?;
        self.nest.wait_for_engine(&service, LOG)?;
        self.service = Some(service);
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

    /// `podman ARGS`.
    pub(crate) fn podman(&self, args: &[&str]) -> Done {
        Done::of(self.command().args(args))
    }

    /// `podman ARGS`, which has to succeed; what it printed.
    #[track_caller]
    pub(crate) fn must(&self, args: &[&str]) -> String {
        let done = self.podman(args);
        assert!(done.ok, "podman {args:?}: {}", done.stderr);
        done.stdout
    }

    /// Starts a container without network of [`IMAGE`] in the background; its id.
    #[track_caller]
    pub(crate) fn run(&self, name: &str, options: &[&str], command: &[&str]) -> String {
        let words = [&["run", "--detach", "--name", name, "--network", "none"][..], options];
        let printed = self.must(&[&words.concat()[..], &[IMAGE], command].concat());
        printed.lines().last().unwrap_or_default().to_owned()
    }

    /// What the API says of a container, in Docker's words; null where there is none.
    pub(crate) fn inspect(&self, name: &str) -> Value {
        get(&self.socket(), &format!("/v1.40/containers/{name}/json"))
            .filter(|answer| answer["Id"].is_string())
            .unwrap_or_default()
    }

    /// `State.Status` of a container, as `running`; empty where there is none.
    pub(crate) fn status(&self, name: &str) -> String {
        self.inspect(name)["State"]["Status"].as_str().unwrap_or_default().to_owned()
    }

    /// Runs a container's health check once, as systemd's timer does.
    pub(crate) fn check_health(&self, name: &str) -> Done {
        self.podman(&["healthcheck", "run", name])
    }

    /// Kills the service alone: containers live on.
    #[track_caller]
    pub(crate) fn kill_service(&mut self) {
        let mut service = self.service.take().expect("the service runs");
        service.signal("KILL");
        service.wait();
    }

    /// Starts it again.
    #[track_caller]
    pub(crate) fn start_service(&mut self) {
        assert!(self.service.is_none(), "the service runs already");
        self.try_start_service().unwrap_or_else(|why| panic!("no Podman: {why}"));
    }

    /// Lets the service hang: it takes connections, and answers none.
    #[track_caller]
    pub(crate) fn freeze(&self) {
        self.service.as_ref().expect("the service runs").freeze();
    }

    /// Ends [`Self::freeze`].
    #[track_caller]
    pub(crate) fn thaw(&self) {
        self.service.as_ref().expect("the service runs").thaw();
    }
}
