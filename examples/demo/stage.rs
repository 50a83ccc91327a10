//! Where the demo plays: a container, or the caller's own `systemd --user`; with keepwell, a webhook
//! receiver and the sample service on it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::support::keepwell::built;
use super::support::{Container, Options, Output, User};

/// The sample service.
pub(crate) const FLAKY: &str = "flaky.service";

/// It crashes once for each line of the file `crashes`, in the manner that the line says, and runs
/// for good when there is none. The moment of each crash is written to `crashed`, in µs.
const FLAKY_PROGRAM: &str = r#"#!/bin/bash
cd "$1" || exit 1
echo "$EPOCHREALTIME" | tr -d . > started
manner=$(head -n 1 crashes)
sed -i 1d crashes
if [ -n "$manner" ]; then
    sleep 1.5
    echo "flaky: lost the database at postgres://app:hunter2@db/shop, giving up" >&2
    now=$EPOCHREALTIME
    echo "${now/./}" > crashed
    case $manner in
        signal) kill -KILL $$ ;;
        *) exit 3 ;;
    esac
fi
exec sleep infinity
"#;

/// The stage.
#[derive(Debug)]
pub(crate) struct Stage {
    place: Place,
    /// Where programs and their files are, as the services see it.
    dir: String,
    port: u16,
    hook_port: u16,
}

#[derive(Debug)]
enum Place {
    Container(Box<Container>),
    /// Unit files are in this folder, which does not outlast the login.
    Own(PathBuf),
}

impl Stage {
    /// Boots, or looks for, a systemd.
    pub(crate) fn set(own: bool) -> Result<Self, String> {
        if own {
            let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
            let runtime = runtime.ok_or("XDG_RUNTIME_DIR is not set: no systemd --user here")?;
            let dir = runtime.join("keepwell-demo");
            fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
            let stage = Self {
                place: Place::Own(runtime.join("systemd/user")),
                dir: dir.display().to_string(),
                port: free_port()?,
                hook_port: free_port()?,
            };
            stage.clear();
            fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
            return Ok(stage);
        }
        let container = Container::boot("bookworm", Options::default())
            .ok_or("a container cannot be had here, see above")?;
        Ok(Self {
            place: Place::Container(Box::new(container)),
            dir: "/var/lib/demo".into(),
            port: 8080,
            hook_port: 9901,
        })
    }

    /// keepwell's unit. A user who has keepwell already keeps it.
    fn agent(&self) -> &'static str {
        match &self.place {
            Place::Container(_) => "keepwell.service",
            Place::Own(_) => "keepwell-demo.service",
        }
    }

    /// What it is, for people.
    pub(crate) fn description(&self) -> String {
        let out = self.exec(&["systemctl", "--version"]).stdout;
        let systemd = out.split(' ').nth(1).unwrap_or("?").to_owned();
        match &self.place {
            Place::Container(_) => format!("a throw-away Debian 12 (systemd {systemd})"),
            Place::Own(_) => format!("your own systemd --user ({systemd})"),
        }
    }

    /// How to get at it while the demo runs.
    pub(crate) fn way_in(&self) -> String {
        match &self.place {
            Place::Container(c) => format!("nsenter -t {} -m -u -i -p -n -C bash", c.leader()),
            Place::Own(_) => format!("curl http://127.0.0.1:{}/", self.port),
        }
    }

    /// Starts the webhook receiver.
    pub(crate) fn start_receiver(&self) -> Result<(), String> {
        let program = match &self.place {
            Place::Container(c) => {
                c.install_program(&built("receiver"), "/opt/rig/receiver");
                "/opt/rig/receiver".into()
            }
            Place::Own(_) => built("receiver").display().to_string(),
        };
        self.unit(
            "keepwell-demo-receiver.service",
            &format!(
                "[Service]\nType=notify\nExecStart={program} --listen 127.0.0.1:{} \
                 --log {}/received.jsonl --notify\n",
                self.hook_port, self.dir
            ),
        );
        self.start("keepwell-demo-receiver.service")
    }

    /// Installs keepwell as a service and starts it.
    pub(crate) fn start_keepwell(&self) -> Result<(), String> {
        let config = format!(
            "# The demo is about a service: the state of this machine's disks must not disturb it.\n\
             [host]\ndisk = false\ninodes = false\nmemory = false\nswap = false\ncpu = false\n\n\
             [http]\nlisten = \"127.0.0.1:{}\"\n\n\
             [units]\nall = false\n\n\
             # It goes on for as long as somebody looks on: each crash is to be told and healed.\n\
             [alerts]\ncooldown = \"10s\"\nflapping = false\n\n\
             [[unit]]\nname = \"{FLAKY}\"\nrestart = true\n\
             crash_loop = {{ max = 1000 }}\n\
             backoff = {{ first = \"2s\", max = \"8s\", verify = \"3s\" }}\n\n\
             [[channel]]\nname = \"ops\"\ntype = \"webhook\"\nurl = \"http://127.0.0.1:{}/hook\"\n",
            self.port, self.hook_port
        );
        match &self.place {
            Place::Container(c) => {
                c.install_keepwell(&config, User::Keepwell);
                c.allow_restarts();
            }
            Place::Own(_) => {
                self.write("keepwell.toml", &config);
                // systemd --user speaks the same language, on the user's own bus.
                let text = format!(
                    "[Service]\nType=notify\nExecStart={} --config {dir}/keepwell.toml run\n\
                     Environment=DBUS_SYSTEM_BUS_ADDRESS=unix:path=%t/bus\n\
                     Environment=STATE_DIRECTORY={dir}/state RUNTIME_DIRECTORY={dir}/run\n\
                     WatchdogSec=30\nKillMode=mixed\n",
                    built("keepwell").display(),
                    dir = self.dir
                );
                for folder in ["state", "run"] {
                    fs::create_dir_all(PathBuf::from(&self.dir).join(folder))
                        .map_err(|e| e.to_string())?;
                }
                self.unit(self.agent(), &text);
            }
        }
        self.start(self.agent())
    }

    /// Installs the sample service, which is to crash twice.
    pub(crate) fn install_flaky(&self) {
        self.write("flaky", FLAKY_PROGRAM);
        self.write("crashes", "exit\nsignal\n");
        self.unit(
            FLAKY,
            &format!(
                "[Unit]\nDescription=A sample service that crashes\n\n\
                 [Service]\nExecStart=/bin/bash {dir}/flaky {dir}\n",
                dir = self.dir
            ),
        );
    }

    /// Starts the sample service.
    pub(crate) fn start_flaky(&self) -> Result<(), String> {
        self.start(FLAKY)
    }

    /// Has the sample service crash `times` times more, from now on.
    pub(crate) fn flaky_crashes(&self, times: usize) -> Result<(), String> {
        self.write("crashes", &"exit\n".repeat(times));
        let done = self.systemctl(&["restart", FLAKY]);
        if done.ok() { Ok(()) } else { Err(format!("a restart of {FLAKY}: {}", done.stderr)) }
    }

    /// The moment of a crash that has not been taken yet, µs after the epoch.
    pub(crate) fn take_crash(&self) -> Option<i64> {
        let at = self.read("crashed")?.trim().parse().ok()?;
        self.remove("crashed");
        Some(at)
    }

    /// When the sample service was started, if that was after `crashed`; µs after the epoch.
    pub(crate) fn restarted(&self, crashed: i64) -> Option<i64> {
        let at = self.read("started")?.trim().parse().ok()?;
        (at > crashed).then_some(at)
    }

    /// keepwell's command line.
    pub(crate) fn keepwell(&self, args: &[&str]) -> Output {
        match &self.place {
            Place::Container(c) => c.keepwell(args),
            Place::Own(_) => {
                let program = built("keepwell").display().to_string();
                let runtime = format!("RUNTIME_DIRECTORY={}/run", self.dir);
                let state = format!("STATE_DIRECTORY={}/state", self.dir);
                let command: Vec<&str> =
                    ["env", &runtime, &state, &program].iter().chain(args).copied().collect();
                self.exec(&command)
            }
        }
    }

    /// What `keepwell status` says of the sample service.
    pub(crate) fn check(&self) -> Option<Value> {
        let out = self.keepwell(&["status", "--json"]);
        let status: Value = serde_json::from_str(&out.stdout).ok()?;
        let id = format!("unit:{FLAKY}");
        status["checks"].as_array()?.iter().find(|check| check["id"] == id.as_str()).cloned()
    }

    /// `/health`: status code (0: no answer) and body.
    pub(crate) fn health(&self) -> (u16, Value) {
        let url = format!("http://127.0.0.1:{}/health", self.port);
        let out = self.exec(&["curl", "-s", "-m", "5", "-w", "\n%{http_code}", &url]).stdout;
        let (body, code) = out.rsplit_once('\n').unwrap_or(("", ""));
        (code.parse().unwrap_or(0), serde_json::from_str(body).unwrap_or_default())
    }

    /// What the webhook has received.
    pub(crate) fn requests(&self) -> Vec<Value> {
        let text = self.read("received.jsonl").unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// keepwell's log.
    pub(crate) fn log(&self) -> String {
        let mut command =
            vec!["journalctl", "--no-pager", "--output=short-precise", "--no-hostname"];
        match &self.place {
            Place::Container(_) => command.extend(["--unit", "keepwell", "_COMM=keepwell"]),
            Place::Own(_) => command.extend(["--user-unit", self.agent(), "--lines=40"]),
        }
        self.exec(&command).stdout
    }

    fn exec(&self, command: &[&str]) -> Output {
        match &self.place {
            Place::Container(c) => c.exec(command),
            Place::Own(_) => {
                let out = Command::new(command[0]).args(&command[1..]).output();
                out.map_or_else(
                    |e| Output { code: -1, stdout: String::new(), stderr: e.to_string() },
                    |out| Output {
                        code: out.status.code().unwrap_or(-1),
                        stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
                        stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
                    },
                )
            }
        }
    }

    fn systemctl(&self, args: &[&str]) -> Output {
        let user: &[&str] = match &self.place {
            Place::Container(_) => &[],
            Place::Own(_) => &["--user"],
        };
        let command: Vec<&str> = ["systemctl"].iter().chain(user).chain(args).copied().collect();
        self.exec(&command)
    }

    fn start(&self, unit: &str) -> Result<(), String> {
        let done = self.systemctl(&["start", unit]);
        if done.ok() {
            return Ok(());
        }
        let user: &[&str] = if matches!(self.place, Place::Own(_)) { &["--user"] } else { &[] };
        let command: Vec<&str> = ["journalctl", "--no-pager", "--lines=30", "--unit", unit]
            .iter()
            .chain(user)
            .copied()
            .collect();
        Err(format!("the start of {unit}: {}\n{}", done.stderr, self.exec(&command).stdout))
    }

    fn unit(&self, name: &str, text: &str) {
        match &self.place {
            Place::Container(c) => c.unit(name, text),
            Place::Own(units) => {
                let path = units.join(name);
                fs::create_dir_all(units).expect("the runtime folder is ours");
                fs::write(path, text).expect("the runtime folder is ours");
                self.systemctl(&["daemon-reload"]);
            }
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        let path = format!("{}/{name}", self.dir);
        match &self.place {
            Place::Container(c) => c.path(&path),
            Place::Own(_) => path.into(),
        }
    }

    fn read(&self, name: &str) -> Option<String> {
        // An empty one is being written right now.
        fs::read_to_string(self.file(name)).ok().filter(|text| !text.is_empty())
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.file(name);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        made.and_then(|()| fs::write(&path, text)).expect("the demo's folder is ours");
    }

    fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.file(name));
    }

    /// Takes away all that was put into `systemd --user`; a container goes by itself.
    fn clear(&self) {
        let Place::Own(units) = &self.place else { return };
        let names = [self.agent(), FLAKY, "keepwell-demo-receiver.service"];
        for name in names {
            if units.join(name).exists() {
                self.systemctl(&["stop", name]);
                self.systemctl(&["reset-failed", name]);
                let _ = fs::remove_file(units.join(name));
            }
        }
        self.systemctl(&["daemon-reload"]);
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.clear();
    }
}

fn free_port() -> Result<u16, String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    listener.local_addr().map(|address| address.port()).map_err(|e| e.to_string())
}
