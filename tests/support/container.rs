//! A throw-away Debian with systemd as its PID 1, booted by systemd-nspawn from an image that all
//! share: what one container writes goes to an upper layer of its own, which lasts over `reboot`.
//!
//! Not here: what keepwell needs inside (`keepwell.rs`), what the machine must have (`host.rs`).

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::clock::{monotonic, wait_for};
use super::host::{Host, end_cgroup, skip};

/// A boot takes 0.4 to 1.2 s on an idle machine; a busy one gets time.
const BOOT_LIMIT: Duration = Duration::from_secs(300);
/// An orderly end: what does not end by itself within systemd's 90 s is killed by it.
const END_LIMIT: Duration = Duration::from_secs(180);
/// One command inside, in seconds; `timeout` ends what takes longer. Some run beside a whole test.
const COMMAND_LIMIT: &str = "900";

/// Units of a plain Debian that have nothing to do in a container.
const MASKED: [&str; 9] = [
    "console-getty.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "fstrim.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "systemd-firstboot.service",
    "systemd-networkd-wait-online.service",
];

/// What Docker keeps, below `/var/lib`.
const DOCKER: [&str; 2] = ["docker", "containerd"];

/// Nothing of it has to outlast this machine: what is synced inside waits for no disk, where the
/// kernel can have it so, or a disk that others keep busy would be told as a slow one. Such a layer
/// is marked as not to be trusted after a crash of the machine; between two boots there was none.
const MOUNT: &str = r#"rm -rf "$3/work/incompat"
for more in ,volatile ""; do
    mount -t overlay overlay -o "$1$more" "$2" 2>/dev/null && shift 3 && exec "$@"
done
echo "no overlay can be mounted" >&2; exit 1"#;

/// How a container is to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// Packages beyond those of the standard image: another image, made by `scripts/image`.
    pub(crate) packages: Vec<&'static str>,
    /// Files and folders of this machine that appear inside: `(here, there)`. Read-only.
    pub(crate) binds: Vec<(PathBuf, String)>,
    /// A Docker daemon runs inside: it may make containers, and keeps them on this machine's own
    /// file system, for layers cannot be on layers.
    pub(crate) docker: bool,
}

/// What a command did.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    /// Exit code; 124 when it took too long; -1 when a signal ended it.
    pub(crate) code: i32,
    /// What it printed.
    pub(crate) stdout: String,
    /// What it complained of.
    pub(crate) stderr: String,
}

impl Output {
    /// It ended with exit code 0.
    pub(crate) fn ok(&self) -> bool {
        self.code == 0
    }
}

/// One container. Dropping it ends it and removes all that it wrote.
#[derive(Debug)]
pub(crate) struct Container {
    /// Unique on this machine, and its host name.
    pub(crate) id: String,
    /// The release it was made from.
    pub(crate) release: String,
    image: PathBuf,
    options: Options,
    room: PathBuf,
    cgroup: PathBuf,
    run: Option<Run>,
    boots: u32,
    /// Held so that no other run sweeps this one away.
    _lock: File,
}

/// From one boot to its end.
#[derive(Debug)]
struct Run {
    /// The PID of its PID 1, as this machine sees it.
    leader: u32,
    /// Waits for nspawn: a thread of its own, because nspawn dies with the thread that started it.
    guard: JoinHandle<()>,
    ended: mpsc::Receiver<()>,
}

impl Container {
    /// Boots a release (`bookworm`, `trixie`) and waits until its systemd is up. `None`: it cannot
    /// be had here, and `SKIPPED` has been said.
    #[track_caller]
    pub(crate) fn boot(release: &str, options: Options) -> Option<Self> {
        match Self::prepare(release, options) {
            Ok(mut container) => {
                container.start();
                Some(container)
            }
            Err(why) => {
                skip(&why);
                None
            }
        }
    }

    fn prepare(release: &str, options: Options) -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let host = Host::get()?;
        let image = host.image(release, &options.packages)?;
        let id = format!("kw-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let (room, lock) = host.room(&id).map_err(|e| format!("no room for a container: {e}"))?;
        let cgroup = host.cgroup_of(&id);
        let container = Self {
            id,
            release: release.to_owned(),
            image,
            options,
            room,
            cgroup,
            run: None,
            boots: 0,
            _lock: lock,
        };
        container.furnish().map_err(|e| format!("the container's folder: {e}"))?;
        Ok(container)
    }

    /// Lays out the upper layer as it should be before the first boot.
    fn furnish(&self) -> std::io::Result<()> {
        for dir in ["upper/etc/systemd/system", "upper/var/log/journal", "work", "root"] {
            fs::create_dir_all(self.room.join(dir))?;
        }
        let etc = self.room.join("upper/etc");
        if self.options.docker {
            for name in DOCKER {
                fs::create_dir_all(self.room.join(name))?;
            }
            // Nothing leaves this machine: no packets are to be forwarded or filtered.
            fs::create_dir_all(etc.join("docker"))?;
            fs::write(
                etc.join("docker/daemon.json"),
                r#"{ "iptables": false, "ip6tables": false, "ip-forward": false }"#,
            )?;
        }
        // A machine id of its own: systemd then does not take this for a first boot, which would
        // apply presets, and the journal is found again after a reboot.
        let id = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
        fs::write(etc.join("machine-id"), id.replace('-', ""))?;
        fs::write(etc.join("hostname"), format!("{}\n", self.id))?;
        fs::write(etc.join("hosts"), format!("127.0.0.1 localhost {}\n::1 localhost\n", self.id))?;
        for unit in MASKED {
            std::os::unix::fs::symlink("/dev/null", etc.join("systemd/system").join(unit))?;
        }
        // All that tests log at once must be there afterwards, and at once.
        let journald = etc.join("systemd/journald.conf.d");
        fs::create_dir_all(&journald)?;
        fs::write(
            journald.join("rig.conf"),
            "[Journal]\nStorage=persistent\nRateLimitBurst=0\nSystemMaxUse=64M\n",
        )
    }

    fn start(&mut self) {
        assert!(self.run.is_none(), "{} runs already", self.id);
        self.boots += 1;
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.room.join("console.log"))
            .expect("the container's folder is writable");
        let mut nspawn = self.nspawn(&log);
        let (started, pid) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let guard = std::thread::spawn(move || {
            let child = nspawn.spawn();
            let _ = started
                .send(child.as_ref().map(std::process::Child::id).map_err(|e| e.to_string()));
            if let Ok(mut child) = child {
                let _ = child.wait();
            }
            drop(end);
        });
        pid.recv().expect("the thread sends before it ends").expect("nspawn can be started");
        let leader = self.wait_for_leader(&ended);
        self.run = Some(Run { leader, guard, ended });
        self.wait_until_up();
    }

    /// The recipe: a cgroup of its own (containers started from one cgroup share `payload` and
    /// fail in strange ways), dead as soon as its parent thread is, mounts seen by nobody else.
    fn nspawn(&self, log: &File) -> Command {
        let dir = |name: &str| self.room.join(name).display().to_string();
        fs::create_dir_all(&self.cgroup).expect("a cgroup can be made: host.rs has tried");
        let overlay = format!(
            "lowerdir={},upperdir={},workdir={}",
            self.image.display(),
            dir("upper"),
            dir("work")
        );
        let mut command = Command::new("sh");
        command
            .args(["-c", r#"echo $$ >"$1/cgroup.procs" && shift && exec "$@""#, "nspawn"])
            .arg(&self.cgroup)
            .args(["setpriv", "--pdeathsig", "KILL"])
            .args(["unshare", "--pid", "--fork", "--kill-child=KILL", "--mount", "--mount-proc"])
            .args(["sh", "-c", MOUNT, "nspawn", &overlay, &dir("root"), &dir("work")])
            .args(["systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit"])
            .args(["--console=pipe", "--private-network", "--settings=no", "--link-journal=no"])
            .args(["--resolv-conf=off", "--timezone=off"])
            .arg(format!("--machine={}", self.id))
            .arg(format!("--hostname={}", self.id))
            .arg(format!("--directory={}", dir("root")))
            .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
            // Ctrl-C on the terminal is for the demo to obey, not for the container.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be opened twice"))
            .stderr(log.try_clone().expect("a file can be opened twice"));
        for (here, there) in &self.options.binds {
            command.arg(format!("--bind-ro={}:{there}", here.display()));
        }
        if self.options.docker {
            for call in ["add_key", "keyctl", "bpf"] {
                command.arg(format!("--system-call-filter={call}"));
            }
            for name in DOCKER {
                command.arg(format!("--bind={}:/var/lib/{name}", dir(name)));
            }
        }
        if Path::new("/dev/fuse").exists() {
            command.arg("--bind=/dev/fuse"); // for mounts that hang
        }
        command
    }

    fn wait_for_leader(&self, ended: &mpsc::Receiver<()>) -> u32 {
        let procs = self.cgroup.join("payload/init.scope/cgroup.procs");
        let end = monotonic() + BOOT_LIMIT;
        loop {
            let leader = fs::read_to_string(&procs)
                .ok()
                .and_then(|pids| pids.lines().next().and_then(|pid| pid.parse().ok()));
            if let Some(leader) = leader {
                return leader;
            }
            let dead = matches!(ended.try_recv(), Err(mpsc::TryRecvError::Disconnected));
            if dead || monotonic() > end {
                panic!("{} did not boot; its console:\n{}", self.id, self.console());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn wait_until_up(&self) {
        let end = monotonic() + BOOT_LIMIT;
        loop {
            // It waits for the end of the boot; it fails at once while there is no bus yet.
            let state = self.exec(&["systemctl", "is-system-running", "--wait"]);
            match state.stdout.trim() {
                "running" | "degraded" => return,
                _ if monotonic() > end => panic!(
                    "{} did not finish booting ({}{}); its console:\n{}",
                    self.id,
                    state.stdout.trim(),
                    state.stderr.trim(),
                    self.console()
                ),
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Runs a command inside, as root, without any of this process's environment.
    pub(crate) fn exec<S: AsRef<str>>(&self, command: &[S]) -> Output {
        let out = self.command(command).stdin(Stdio::null()).output().expect("nsenter can be run");
        Output {
            code: out.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
        }
    }

    /// The command as something to spawn, for what runs beside the test.
    pub(crate) fn command<S: AsRef<str>>(&self, command: &[S]) -> Command {
        let mut nsenter = Command::new("nsenter");
        nsenter
            .arg(format!("--target={}", self.leader()))
            .args(["--mount", "--uts", "--ipc", "--pid", "--net", "--cgroup"])
            .args(["timeout", "--kill-after=5", COMMAND_LIMIT])
            .args(command.iter().map(AsRef::as_ref))
            .process_group(0)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .env("LANG", "C.UTF-8");
        nsenter
    }

    /// Runs a shell script inside that must succeed; what it printed, without the last newline.
    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> String {
        let out = self.exec(&["sh", "-c", script]);
        assert!(
            out.ok(),
            "in {}: exit code {} of: {script}\n{}{}",
            self.id,
            out.code,
            out.stdout,
            out.stderr
        );
        out.stdout.trim_end().to_owned()
    }

    /// A path inside as this machine sees it. Good for paths without absolute symlinks in them.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        let inside = inside.trim_start_matches('/');
        match &self.run {
            Some(run) => PathBuf::from(format!("/proc/{}/root", run.leader)).join(inside),
            None => self.room.join("upper").join(inside),
        }
    }

    /// The text of a file inside; `None` when it is not there. Works also while it is down, for
    /// what it wrote.
    pub(crate) fn read(&self, inside: &str) -> Option<String> {
        fs::read(self.path(inside)).ok().map(|b| String::from_utf8_lossy(&b).into_owned())
    }

    /// Writes a file inside, with its folders.
    #[track_caller]
    pub(crate) fn write(&self, inside: &str, text: &str) {
        let path = self.path(inside);
        let written = path.parent().map_or(Ok(()), fs::create_dir_all);
        if let Err(e) = written.and_then(|()| fs::write(&path, text)) {
            panic!("{inside} in {} cannot be written: {e}", self.id);
        }
    }

    /// Copies a file of this machine to a path inside.
    #[track_caller]
    pub(crate) fn copy_in(&self, here: &Path, inside: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.path(inside);
        let copied = path
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::copy(here, &path))
            .and_then(|_| fs::set_permissions(&path, fs::Permissions::from_mode(mode)));
        if let Err(e) = copied {
            panic!("{} cannot be copied to {inside} in {}: {e}", here.display(), self.id);
        }
    }

    /// Writes a unit file (`/etc/systemd/system`) and reloads systemd.
    #[track_caller]
    pub(crate) fn unit(&self, name: &str, text: &str) {
        self.units(&[(name, text)]);
    }

    /// Writes several unit files and reloads systemd once.
    #[track_caller]
    pub(crate) fn units(&self, units: &[(&str, &str)]) {
        for (name, text) in units {
            self.write(&format!("/etc/systemd/system/{name}"), text);
        }
        self.systemctl(&["daemon-reload"]);
    }

    /// Writes a drop-in of a unit and reloads systemd.
    #[track_caller]
    pub(crate) fn drop_in(&self, unit: &str, name: &str, text: &str) {
        self.unit(&format!("{unit}.d/{name}.conf"), text);
    }

    /// `systemctl` that must succeed; what it printed.
    #[track_caller]
    pub(crate) fn systemctl(&self, args: &[&str]) -> String {
        let command: Vec<&str> = ["systemctl"].iter().chain(args).copied().collect();
        let out = self.exec(&command);
        assert!(out.ok(), "systemctl {args:?} in {}: {}{}", self.id, out.stdout, out.stderr);
        out.stdout.trim_end().to_owned()
    }

    /// One property of a unit (`systemctl show`).
    #[track_caller]
    pub(crate) fn property(&self, unit: &str, name: &str) -> String {
        self.systemctl(&["show", "--value", "--property", name, unit])
    }

    /// A unit's `ActiveState`.
    #[track_caller]
    pub(crate) fn active_state(&self, unit: &str) -> String {
        self.property(unit, "ActiveState")
    }

    /// The main PID of a service as the container sees it; 0 when it does not run.
    #[track_caller]
    pub(crate) fn main_pid(&self, unit: &str) -> u32 {
        self.property(unit, "MainPID").parse().expect("systemd prints a number")
    }

    /// Sends a signal (`KILL`, `STOP`) to the main process of a service.
    #[track_caller]
    pub(crate) fn kill(&self, unit: &str, signal: &str) {
        self.systemctl(&["kill", "--kill-whom=main", "--signal", signal, unit]);
    }

    /// What `journalctl` prints with these arguments, of all that was logged by now.
    pub(crate) fn journal(&self, args: &[&str]) -> String {
        self.exec(&["timeout", "60", "journalctl", "--sync"]);
        let command: Vec<&str> = ["journalctl", "--no-pager"].iter().chain(args).copied().collect();
        self.exec(&command).stdout
    }

    /// Journal entries as JSON.
    pub(crate) fn journal_json(&self, args: &[&str]) -> Vec<serde_json::Value> {
        let args: Vec<&str> = ["--output=json"].iter().chain(args).copied().collect();
        self.journal(&args).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// A mount whose file system never answers: FUSE, whose daemon opens it and sleeps. Ends with
    /// [`Self::unhang`].
    #[track_caller]
    pub(crate) fn hang_mount(&self, mount_point: &str) {
        self.sh(&format!("mkdir -p {mount_point}"));
        self.unit(
            "rig-hang.service",
            &format!(
                "[Service]\nType=exec\nExecStart=/bin/bash -c 'exec 3<>/dev/fuse; \
                 mount -i -t fuse -o fd=3,rootmode=040000,user_id=0,group_id=0,allow_other hang {mount_point} && \
                 touch /run/rig-hang && exec sleep infinity'\n"
            ),
        );
        self.systemctl(&["start", "rig-hang"]);
        wait_for(Duration::from_secs(60), "the hanging mount", || self.read("/run/rig-hang"));
    }

    /// Ends the daemon of [`Self::hang_mount`]: calls that hang return with an error.
    #[track_caller]
    pub(crate) fn unhang(&self, mount_point: &str) {
        self.systemctl(&["stop", "rig-hang"]);
        self.sh(&format!("umount -l {mount_point}; rm -f /run/rig-hang"));
    }

    /// An orderly reboot: what was written stays, `/run` does not, the boot id is another.
    pub(crate) fn reboot(&mut self) {
        self.systemctl(&["reboot", "--no-wall"]);
        self.ended(END_LIMIT);
        self.start();
    }

    /// An orderly end, asked of systemd itself: logind does not come to know of it.
    pub(crate) fn power_off(&mut self) {
        self.systemctl(&[
            "start",
            "--no-block",
            "--job-mode=replace-irreversibly",
            "poweroff.target",
        ]);
        self.ended(END_LIMIT);
    }

    /// Ends the container at once, as a power cut does (without losing what was not yet synced).
    pub(crate) fn power_off_hard(&mut self) {
        end_cgroup(&self.cgroup);
        self.ended(Duration::from_secs(10));
    }

    /// Boots again after [`Self::power_off_hard`].
    pub(crate) fn power_on(&mut self) {
        self.start();
    }

    fn ended(&mut self, limit: Duration) {
        let Some(run) = self.run.take() else { return };
        // Nothing is ever sent: the end of the thread closes the channel.
        if run.ended.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
            end_cgroup(&self.cgroup);
        }
        let _ = run.guard.join();
        end_cgroup(&self.cgroup);
    }

    /// The cgroup of a unit of `system.slice` as this machine sees it; `init.scope` of PID 1.
    pub(crate) fn unit_cgroup(&self, unit: &str) -> PathBuf {
        let payload = self.cgroup.join("payload");
        if unit == "init.scope" {
            payload.join(unit)
        } else {
            payload.join("system.slice").join(unit)
        }
    }

    /// The PID of its PID 1, as this machine sees it.
    #[track_caller]
    pub(crate) fn leader(&self) -> u32 {
        self.run.as_ref().map_or_else(|| panic!("{} is not running", self.id), |run| run.leader)
    }

    /// What the console has shown so far, over all boots.
    pub(crate) fn console(&self) -> String {
        fs::read(self.room.join("console.log"))
            .map(|b| String::from_utf8_lossy(&b).into_owned())
            .unwrap_or_default()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if std::thread::panicking() || std::env::var_os("KEEPWELL_RIG_LOG").is_some() {
            if self.run.is_some() {
                let log =
                    self.journal(&["--unit=keepwell", "--lines=200", "--output=short-precise"]);
                eprintln!("---- keepwell's log in {} ({})\n{log}", self.id, self.release);
            }
            let console = self.console();
            let lines: Vec<&str> = console.lines().collect();
            let tail = &lines[lines.len().saturating_sub(15)..];
            eprintln!("---- last lines of its console\n{}", tail.join("\n"));
        }
        end_cgroup(&self.cgroup);
        self.ended(Duration::from_secs(10));
        let _ = fs::remove_dir_all(&self.room);
    }
}
