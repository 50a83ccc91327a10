//! keepwell inside a container: installed from this repository's own unit file, started, asked.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;
use std::time::Duration;

use serde_json::Value;

use super::clock::{monotonic, wait_until};
use super::container::{Container, Output};

/// Port that keepwell listens on when the configuration does not say otherwise.
const PORT: u16 = 8080;

/// Who keepwell runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    /// As packages set it up: its own user, hardened. It may not restart anything until
    /// [`Container::allow_restarts`] has made the polkit rule.
    Keepwell,
    /// Root without hardening: for tests of what needs rights that are not their subject.
    Root,
}

/// The answer to an HTTP request.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// Status; 0 when nobody answered.
    pub(crate) status: u16,
    /// The header block, as sent.
    pub(crate) head: String,
    /// The body.
    pub(crate) body: String,
}

impl Answer {
    /// The body as JSON; null when it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }
}

/// `keepwell`, or an example, as cargo built it; `KEEPWELL_BIN` names another keepwell.
pub(crate) fn built(name: &str) -> PathBuf {
    if let Some(other) = std::env::var_os("KEEPWELL_BIN").filter(|_| name == "keepwell") {
        return other.into();
    }
    let Some(keepwell) = option_env!("CARGO_BIN_EXE_keepwell").map(Path::new) else {
        // Not a test: demo and bench are examples, which stand beside the others.
        let own = std::env::current_exe().expect("a running program has a path");
        let examples = own.parent().expect("target/PROFILE/examples");
        return if name == "keepwell" {
            examples.with_file_name(name)
        } else {
            examples.join(name)
        };
    };
    if name == "keepwell" {
        return keepwell.to_owned();
    }
    // `cargo test --test` builds no examples, and `--all-targets` only their tests.
    static EXAMPLES: Once = Once::new();
    let dir = keepwell.parent().expect("target/PROFILE");
    EXAMPLES.call_once(|| {
        let profile = dir.file_name().expect("target/PROFILE").to_string_lossy();
        let profile = if profile == "debug" { "dev" } else { &profile };
        let mut build = Command::new(env!("CARGO"));
        build
            .args(["build", "--quiet", "--example", "receiver", "--profile", profile])
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        // What cargo has told this test about itself would have build scripts run anew.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if ["PKG", "MANIFEST", "BIN", "CRATE", "PRIMARY"]
                .iter()
                .any(|what| name.starts_with(&format!("CARGO_{what}_")))
            {
                build.env_remove(name);
            }
        }
        let built = build.status();
        assert!(built.is_ok_and(|status| status.success()), "the examples cannot be built");
    });
    dir.join("examples").join(name)
}

/// A file of this repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

impl Container {
    /// Installs the binary, the unit file, the user and the configuration; starts nothing.
    #[track_caller]
    pub(crate) fn install_keepwell(&self, config: &str, user: User) {
        self.install_program(&built("keepwell"), "/usr/bin/keepwell");
        self.copy_in(
            &repository("systemd/keepwell.sysusers"),
            "/usr/lib/sysusers.d/keepwell.conf",
            0o644,
        );
        self.sh("systemd-sysusers keepwell.conf");
        self.configure(config);
        for unit in ["keepwell.service", "keepwell.socket", "keepwell-failed.service"] {
            let here = repository("systemd").join(unit);
            self.copy_in(&here, &format!("/usr/lib/systemd/system/{unit}"), 0o644);
        }
        let drop_ins = "/usr/lib/systemd/system/keepwell-failed.service.d";
        self.sh(&format!(
            "mkdir -p {drop_ins} && \
             ln -sfn /etc/systemd/system/keepwell.service.d/credentials.conf {drop_ins}/"
        ));
        if user == User::Root {
            self.write(
                "/etc/systemd/system/keepwell.service.d/root.conf",
                "[Service]\nUser=root\nGroup=root\nCapabilityBoundingSet=~\n",
            );
        }
        self.systemctl(&["daemon-reload"]);
    }

    /// Puts a program where a package would. Where this machine's C library is newer than the
    /// container's, its own comes along, or the program would not start.
    #[track_caller]
    pub(crate) fn install_program(&self, here: &Path, inside: &str) {
        if !needs_own_libc(self) {
            self.copy_in(here, inside, 0o755);
            return;
        }
        let real = format!("/opt/rig/bin{inside}");
        self.copy_in(here, &real, 0o755);
        let out = Command::new("ldd").arg(here).output().expect("ldd can be run");
        let list = String::from_utf8_lossy(&out.stdout).into_owned();
        let mut loader = None;
        for library in list.split_whitespace().filter(|word| word.starts_with('/')) {
            let path = Path::new(library);
            let name = path.file_name().expect("ldd prints files").to_string_lossy().into_owned();
            self.copy_in(path, &format!("/opt/rig/lib/{name}"), 0o755);
            if name.starts_with("ld-") {
                loader = Some(name);
            }
        }
        let loader = loader.expect("a dynamic program has a loader");
        self.write(
            inside,
            &format!(
                "#!/bin/sh\nexec /opt/rig/lib/{loader} --library-path /opt/rig/lib {real} \"$@\"\n"
            ),
        );
        self.sh(&format!("chmod 755 {inside}"));
    }

    /// Writes `/etc/keepwell/keepwell.toml`.
    #[track_caller]
    pub(crate) fn configure(&self, config: &str) {
        self.write("/etc/keepwell/keepwell.toml", config);
    }

    /// Lets the user keepwell restart the units that have `restart = true` in the configuration.
    #[track_caller]
    pub(crate) fn allow_restarts(&self) {
        let made = self.keepwell(&["polkit"]);
        assert!(made.ok(), "keepwell polkit: {}{}", made.stdout, made.stderr);
        // It watches the folder, but only from the next turn of its loop on.
        self.systemctl(&["try-restart", "polkit.service"]);
    }

    /// Starts keepwell and waits for READY=1; panics with its log when it does not come up.
    #[track_caller]
    pub(crate) fn start_keepwell(&self) {
        let started = self.exec(&["systemctl", "start", "keepwell"]);
        assert!(
            started.ok(),
            "keepwell did not start: {}\n{}",
            started.stderr,
            self.journal(&["--unit=keepwell", "--lines=50"])
        );
    }

    /// keepwell's command line, as root.
    pub(crate) fn keepwell(&self, args: &[&str]) -> Output {
        let command: Vec<&str> = ["keepwell"].iter().chain(args).copied().collect();
        self.exec(&command)
    }

    /// `keepwell status --json` of the running daemon. The command waits 5 s for an answer, which
    /// may be too short on a busy machine: it is asked again.
    #[track_caller]
    pub(crate) fn status_json(&self) -> Value {
        let end = monotonic() + Duration::from_secs(60);
        loop {
            let out = self.keepwell(&["status", "--json"]);
            match serde_json::from_str(&out.stdout) {
                Ok(status) => return status,
                Err(_) if monotonic() < end => {}
                Err(e) => {
                    panic!(
                        "keepwell status --json ({}): {e}\n{}{}",
                        out.code, out.stdout, out.stderr
                    )
                }
            }
        }
    }

    /// One check of [`Self::status_json`], such as `unit:nginx.service`; null when there is none.
    #[track_caller]
    pub(crate) fn check(&self, id: &str) -> Value {
        let status = self.status_json();
        let checks = status["checks"].as_array().cloned().unwrap_or_default();
        checks.into_iter().find(|check| check["id"] == id).unwrap_or(Value::Null)
    }

    /// A GET to keepwell's own port, with more headers (`Accept: text/plain`).
    pub(crate) fn get(&self, path: &str, headers: &[&str]) -> Answer {
        let url = format!("http://127.0.0.1:{PORT}{path}");
        let mut command = vec!["curl", "--silent", "--include", "--max-time", "30", &url];
        for header in headers {
            command.extend(["--header", header]);
        }
        let out = self.exec(&command);
        let (head, body) = out.stdout.split_once("\r\n\r\n").unwrap_or(("", ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// `/health`: status code and JSON.
    pub(crate) fn health(&self) -> (u16, Value) {
        let answer = self.get("/health", &[]);
        (answer.status, answer.json())
    }

    /// `/metrics` in Prometheus' text format.
    pub(crate) fn metrics(&self) -> String {
        self.get("/metrics?format=prometheus", &[]).body
    }

    /// The value of one sample of [`Self::metrics`], written as in the text:
    /// `keepwell_restarts_total{unit="a.service"}`. Labels may stand in any order, more are allowed.
    pub(crate) fn metric(&self, sample: &str) -> Option<f64> {
        find_sample(&self.metrics(), sample)
    }

    /// Waits until `/health` says this status (`healthy`, `critical`...).
    #[track_caller]
    pub(crate) fn wait_for_health(&self, status: &str, limit: Duration) {
        wait_until(limit, &format!("/health with status {status}"), || {
            self.health().1["status"] == status
        });
    }
}

/// The value of a sample in Prometheus' text.
pub(crate) fn find_sample(text: &str, sample: &str) -> Option<f64> {
    let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
    let wanted: Vec<&str> =
        labels.trim_end_matches('}').split(',').map(str::trim).filter(|l| !l.is_empty()).collect();
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (line_name, line_labels) = series.split_once('{').unwrap_or((series, ""));
        let all = line_name == name && wanted.iter().all(|label| line_labels.contains(label));
        all.then(|| value.parse().ok()).flatten()
    })
}

/// Whether a program built here could miss symbols in the container's C library.
fn needs_own_libc(container: &Container) -> bool {
    if std::env::var_os("KEEPWELL_RIG_OWN_LIBC").is_some() {
        return true;
    }
    let version = |text: &str| -> Option<(u32, u32)> {
        let last = text.lines().next()?.rsplit(' ').next()?;
        let (major, minor) = last.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let here = Command::new("ldd").arg("--version").output().ok();
    let here = here.and_then(|out| version(&String::from_utf8_lossy(&out.stdout)));
    here > version(&container.exec(&["ldd", "--version"]).stdout)
}
