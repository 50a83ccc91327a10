//! Deployment on booted hosts: a fresh one, one that is to stay as it is, one where what was
//! deployed is not well, one that was left in the middle of it; the same through (a stand-in for)
//! Azure; and `vm_health.sh` on hosts in each state.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "support/azure.rs"]
mod azure;
#[path = "support/scene.rs"]
mod scene;
#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use azure::Azure;
use scene::{LONG, UNITS_ONLY, sleeper, watch};
use support::package::{Kind, Packages};
use support::*;

const SCRIPTS: &str = "/opt/rig/scripts";
const UNITS: &str = "/etc/keepwell/conf.d/50-deploy.toml";
const ENVIRONMENT: &str = "/etc/keepwell/environment";
/// A secret with all that a shell and systemd give a meaning to.
const SECRET: &str = "http://127.0.0.1:9/x?key=S3cr3t$HOME`\"\\";
/// What a host has where keepwell would put something. The user stays: files may be his.
const LISTED: &str = "ls -A /etc /etc/systemd/system /etc/polkit-1/rules.d /var/lib /usr/bin | \
    grep -vE '^((sub|g)?(u|g)id|passwd|group|g?shadow)-?$|^keepwell-deploy$'";
/// A service that does not come up.
const BROKEN: &str = "[Service]\nExecStart=/bin/false\n";

/// Both packages, and a host with the scripts, a service and a configuration to deploy.
struct Stage<'c> {
    c: &'c Container,
    old: String,
    new: String,
    packages: &'static Packages,
}

#[allow(clippy::unwrap_used, reason = "part of a test")]
impl<'c> Stage<'c> {
    fn set(c: &'c Container) -> Option<Self> {
        let packages = Packages::get(c)?;
        for name in ["deploy.sh", "vm_health.sh"] {
            c.copy_in(
                &keepwell::repository(&format!("scripts/{name}")),
                &format!("{SCRIPTS}/{name}"),
                0o755,
            );
        }
        c.units(&[("shop.service", &sleeper("")), ("broken.service", BROKEN)]);
        c.systemctl(&["start", "shop"]);
        c.write("/root/keepwell.toml", UNITS_ONLY);
        let old = c.package(packages, Kind::Deb, &packages.version);
        let new = c.package(packages, Kind::Deb, &packages.next);
        Some(Self { c, old, new, packages })
    }

    /// `deploy.sh` with these variables and arguments.
    fn deploy(&self, variables: &[&str], arguments: &[&str]) -> Output {
        let script = format!("{SCRIPTS}/deploy.sh");
        let command: Vec<&str> = ["env"]
            .iter()
            .chain(variables)
            .chain(&[script.as_str()])
            .chain(arguments)
            .copied()
            .collect();
        self.c.exec(&command)
    }

    /// The version that is installed; empty when none is.
    fn version(&self) -> String {
        let out =
            self.c.exec(&["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", "keepwell"]);
        out.stdout.strip_prefix("installed ").unwrap_or_default().to_owned()
    }

    /// Everything that a deployment may touch: each file with its text, rights and times, and which
    /// run of the service this is.
    fn state(&self) -> BTreeSet<String> {
        let list = self.c.sh(
            "cd /; for dir in etc/keepwell etc/systemd/system var/lib/keepwell-deploy usr/bin/keepwell; do \
                 [ ! -e $dir ] || find $dir ! -type d -printf '%p %m %U:%G %T@ %s\\n'; \
             done; \
             find etc/keepwell -type f -exec sha256sum {} + 2>/dev/null; getent passwd keepwell; \
             ls -d etc/keepwell var/lib/keepwell-deploy 2>/dev/null; \
             systemctl show -p InvocationID -p UnitFileState -p ActiveState keepwell; \
             dpkg-query -W keepwell 2>/dev/null; true",
        );
        list.lines().map(str::to_owned).collect()
    }
}

/// It ended well, and this was said.
#[track_caller]
fn went_well(out: &Output, said: &str) {
    assert!(out.ok() && out.stdout.contains(said), "{out:#?}");
}

/// It failed so, and all of this was said.
#[track_caller]
fn failed(out: &Output, code: i32, said: &[&str]) {
    assert_eq!(out.code, code, "{out:#?}");
    for said in said {
        assert!(out.stderr.contains(said), "'{said}' was not said: {out:#?}");
    }
}

on_each_image! {
    fn a_host_is_deployed_kept_upgraded_and_rolled_back(c: Container) {
        let Some(stage) = Stage::set(&c) else { return };
        let version = &stage.packages.version;
        let webhook = format!("ALERT_WEBHOOK_URL={SECRET}");
        let variables = [webhook.as_str(), "ALERT_COOLDOWN=60"];
        let first = ["--config", "/root/keepwell.toml", "--unit", "shop", "--timeout", "120", &stage.old];

        // Said, and not done.
        let before = stage.state();
        let dry: Vec<&str> = first.iter().chain(&["--dry-run"]).copied().collect();
        let out = stage.deploy(&variables, &dry);
        went_well(&out, "dry run: nothing was changed");
        assert!(out.stdout.contains(&format!("(none) -> {version}")), "{out:#?}");
        assert!(out.stdout.contains("keepwell.toml environment conf.d/50-deploy.toml"), "{out:#?}");
        assert_eq!(stage.state(), before);

        // Done.
        let out = stage.deploy(&variables, &first);
        went_well(&out, "/health answers 200");
        assert!(!format!("{out:?}").contains("S3cr3t"), "{out:#?}");
        assert_eq!(&stage.version(), version);
        assert_eq!(c.health().0, 200);
        assert_eq!(c.sh("systemctl is-enabled keepwell"), "enabled");
        assert_eq!(c.sh(&format!("stat -c '%a %U:%G' {ENVIRONMENT}")), "600 root:root");
        assert_eq!(
            c.sh("stat -c '%a %U:%G' /etc/keepwell/keepwell.toml"), "640 root:keepwell"
        );
        assert_eq!(c.check("unit:shop.service")["unit"]["restart"], true);
        // The service has each value as it was, down to the last quote.
        let environ = c.read(&format!("/proc/{}/environ", c.main_pid("keepwell"))).unwrap();
        let environ: Vec<&str> = environ.split('\0').collect();
        assert!(variables.iter().all(|v| environ.contains(v)), "{environ:?}");

        // The same again: nothing is done.
        let before = stage.state();
        went_well(&stage.deploy(&variables, &first), "nothing to do");
        went_well(&stage.deploy(&[], &[&stage.old]), "nothing to do");
        assert_eq!(stage.state(), before);

        // What keepwell would not accept never gets there.
        c.write("/root/wrong.toml", "[agent]\nintervall = \"3s\"\n");
        let out = stage.deploy(&[], &["--config", "/root/wrong.toml", &stage.new]);
        failed(&out, 1, &["keepwell.toml:2:1: unknown key `intervall`", "nothing was changed"]);
        assert_eq!(stage.state(), before);

        // A unit that does not come up: back to the former package and configuration.
        let etc = |c: &Container| c.sh("cd /etc/keepwell && find . -type f -exec sha256sum {} + | sort");
        let former = etc(&c);
        let out = stage.deploy(
            &["ALERT_COOLDOWN=70"],
            &["--unit", "shop", "--unit", "broken", "--timeout", "3", &stage.new],
        );
        failed(&out, 1, &[
            "the health gate failed, after 3 s",
            "broken is inactive (dead)",
            &format!("rolling back to {version}"),
            &format!("rolled back: keepwell {version}, active, /health answers 200"),
        ]);
        assert_eq!(&stage.version(), version);
        assert_eq!(etc(&c), former);
        assert_eq!(c.health().0, 200);
        went_well(&stage.deploy(&[], &[&stage.old]), "nothing to do");

        // The upgrade; a variable that is empty goes, what somebody else wrote there stays.
        c.sh(&format!("printf '# by hand\\nHEALTH_RETENTION_DAYS=9\\n' >>{ENVIRONMENT}"));
        went_well(&stage.deploy(&["ALERT_COOLDOWN="], &[&stage.new]), "/health answers 200");
        assert_eq!(stage.version(), stage.packages.next);
        let environment = c.read(ENVIRONMENT).unwrap();
        assert!(environment.contains("\n# by hand\nHEALTH_RETENTION_DAYS=9\n"), "{environment}");
        assert!(!environment.contains("ALERT_COOLDOWN"), "{environment}");
        assert!(c.read(UNITS).unwrap().contains("'shop'"));

        // Back by hand, with what was kept.
        went_well(&stage.deploy(&[], &["/var/lib/keepwell-deploy/former.deb"]), "/health answers 200");
        assert_eq!(&stage.version(), version);
    }

    fn a_first_installation_that_fails_leaves_nothing(c: Container) {
        let Some(stage) = Stage::set(&c) else { return };
        let before = c.sh(LISTED);

        let arguments =
            ["--config", "/root/keepwell.toml", "--unit", "broken", "--timeout", "3", &stage.new];
        let out = stage.deploy(&[], &arguments);
        failed(&out, 1, &["broken is inactive (dead)", "rolled back: keepwell is removed again"]);
        assert_eq!(stage.version(), "");
        assert_eq!(c.property("keepwell.service", "LoadState"), "not-found");
        let after = c.sh(LISTED);
        assert_eq!(after, before);

        // What keepwell finds critical by itself holds the gate shut too; it says what that is.
        c.exec(&["systemctl", "start", "broken"]);
        wait_until(LONG, "it fails", || c.active_state("broken") == "failed");
        c.write("/root/keepwell.toml", &format!("{UNITS_ONLY}[[unit]]\nname = \"broken\"\n"));
        let out = stage.deploy(&[], &["--config", "/root/keepwell.toml", "--timeout", "3", &stage.new]);
        failed(
            &out,
            1,
            &["answers 503, not 200", "critical  unit:broken.service", "keepwell is removed again"],
        );
        assert_eq!(stage.version(), "");
        c.systemctl(&["reset-failed", "broken"]);
        let out = stage.deploy(&[], &["--config", "/root/keepwell.toml", "--timeout", "120", &stage.new]);
        went_well(&out, "/health answers 200");
    }

    fn one_at_a_time_and_what_was_cut_off_is_put_back(c: Container) {
        let Some(stage) = Stage::set(&c) else { return };
        let good = ["--config", "/root/keepwell.toml", "--unit", "shop", "--timeout", "120"];
        let first: Vec<&str> = good.iter().chain(&[stage.old.as_str()]).copied().collect();
        went_well(&stage.deploy(&[], &first), "/health answers 200");
        let version = stage.packages.version.clone();
        let former = c.read(UNITS).unwrap();

        // One that waits before a gate that does not open.
        let script = format!("{SCRIPTS}/deploy.sh");
        let stuck = |timeout: &'static str| {
            let arguments =
                [script.as_str(), "--unit", "broken", "--timeout", timeout, stage.new.as_str()];
            c.command(&arguments).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap()
        };
        let waits = |c: &Container| {
            watch(LONG, "the new version runs", || stage.version(), |v| (*v == stage.packages.next).then_some(()));
            wait_until(LONG, "it is up", || c.active_state("keepwell") == "active");
        };
        let mut one = stuck("600");
        waits(&c);
        failed(&stage.deploy(&[], &[&stage.old]), 75, &["another deployment is under way"]);
        // Ctrl-C: back to what was.
        c.sh("kill -INT $(cat /run/keepwell-deploy.lock)");
        let ended = one.wait().unwrap();
        assert_eq!(ended.code(), Some(1));
        assert_eq!(stage.version(), version);
        assert_eq!(c.read(UNITS).unwrap(), former);
        assert_eq!(c.health().0, 200);

        // Killed: the next one puts it back before it does anything.
        let mut two = stuck("600");
        waits(&c);
        c.sh("kill -KILL $(cat /run/keepwell-deploy.lock)");
        two.wait().unwrap();
        assert_eq!(stage.version(), stage.packages.next);
        assert!(c.read(UNITS).unwrap().contains("'broken'"));
        // A question to systemd that was under way holds the lock to its end.
        let out = watch(LONG, "the lock is free", || stage.deploy(&[], &[&stage.old]), |out| {
            (out.code != 75).then(|| out.clone())
        });
        failed(&out, 0, &["an earlier deployment did not come to its end", "rolling back to"]);
        went_well(&out, "nothing to do");
        assert_eq!(stage.version(), version);
        assert_eq!(c.read(UNITS).unwrap(), former);

        // A former package that is nowhere: said before, and the configuration goes back alone.
        c.sh("rm -f /var/lib/keepwell-deploy/*.deb");
        let out = stage.deploy(&[], &["--unit", "broken", "--timeout", "3", &stage.new]);
        failed(&out, 2, &[
            "is not on this host: if this fails, only the configuration can be put back",
            "only the configuration was put back",
            &format!("get keepwell {version} and run"),
        ]);
        assert_eq!(stage.version(), stage.packages.next);
        assert_eq!(c.read(UNITS).unwrap(), former);
        assert_eq!(c.health().0, 200);
    }

    fn a_machine_at_azure_is_deployed_with_the_same_result(c: Container) {
        let Some(stage) = Stage::set(&c) else { return };
        let azure = Azure::new();
        azure.machine(&format!(
            "nsenter --target={} --mount --uts --ipc --pid --net --cgroup",
            c.leader()
        ));
        // What stands in for the storage account: HTTPS with a certificate that the host trusts.
        c.sh("mkdir -p /srv/store && cd /srv && \
              openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=store.test \
                  -addext subjectAltName=DNS:store.test -keyout key.pem -out cert.pem 2>/dev/null && \
              cp cert.pem /usr/local/share/ca-certificates/store.crt && \
              update-ca-certificates >/dev/null 2>&1 && echo 127.0.0.1 store.test >>/etc/hosts");
        c.unit(
            "store.service",
            "[Service]\nWorkingDirectory=/srv/store\n\
             ExecStart=/usr/bin/openssl s_server -WWW -accept 443 -cert ../cert.pem -key ../key.pem\n",
        );
        c.systemctl(&["start", "store"]);
        azure.serves(&c.path("/srv/store"), "https://store.test/");
        let here = |version: &str| stage.packages.path(Kind::Deb, version);
        let config = azure.folder().join("keepwell.toml");
        fs::write(&config, UNITS_ONLY).unwrap();
        let deploy = |package: &Path, more: &[&str]| {
            let mut command = azure.deploy();
            command
                .args(["--resource-group", "prod", "--vm-name", "web-1"])
                .args(["--storage-account", "store", "--container", "packages"])
                .arg("--package").arg(package)
                .arg("--config").arg(&config)
                .env("ALERT_WEBHOOK_URL", SECRET)
                .args(more);
            output(&mut command)
        };

        let out = deploy(&here(&stage.packages.version), &["--unit", "shop", "--timeout", "120"]);
        went_well(&out, "done: web-1");
        assert!(out.stdout.contains("  deploy: keepwell (none) -> "), "{out:#?}");
        assert_eq!(stage.version(), stage.packages.version);
        assert_eq!(c.health().0, 200);
        assert_eq!(c.read("/etc/keepwell/keepwell.toml").unwrap(), UNITS_ONLY);
        let environ = c.read(&format!("/proc/{}/environ", c.main_pid("keepwell"))).unwrap();
        assert!(environ.split('\0').any(|v| v == format!("ALERT_WEBHOOK_URL={SECRET}")));
        for public in [azure.seen_by_all(), azure.script(), format!("{out:?}")] {
            assert!(!public.contains("S3cr3t"), "{public}");
        }
        assert_eq!(c.sh("ls /var/tmp | grep -v ^systemd-private || true"), "", "nothing of the package or of secrets is left");

        let before = stage.state();
        let out = deploy(&here(&stage.packages.version), &["--unit", "shop"]);
        assert!(out.ok() && out.stdout.contains("nothing to do"), "{out:#?}");
        assert_eq!(stage.state(), before);

        let out = deploy(&here(&stage.packages.next), &["--unit", "broken", "--timeout", "3"]);
        failed(&out, 1, &[
            "  deploy:   broken is inactive (dead)",
            "  deploy: rolled back: keepwell",
            "it failed on web-1 (exit code 1)",
        ]);
        assert_eq!(stage.version(), stage.packages.version);

        // Another file under that address is not installed.
        let mut command = azure.deploy();
        command.args(["--resource-group", "prod", "--vm-name", "web-1", "--sha256", &"0".repeat(64)]);
        c.sh(&format!("cp {} /srv/store/other.deb", stage.new));
        let out = output(command.args(["--package-url", "https://store.test/other.deb"]));
        failed(&out, 69, &["is not the package that was meant", "nothing was changed"]);
        let mut command = azure.deploy();
        command.args(["--resource-group", "prod", "--vm-name", "web-1", "--sha256", &"0".repeat(64)]);
        let out = output(command.args(["--package-url", "https://store.test/none.deb"]));
        failed(&out, 69, &["nothing was changed"]);
        assert_eq!(stage.version(), stage.packages.version);
    }

    fn vm_health_tells_each_state_of_a_host(c: Container) {
        c.copy_in(&keepwell::repository("scripts/vm_health.sh"), "/opt/rig/vm_health", 0o755);
        let look = |arguments: &[&str]| {
            let command: Vec<&str> = ["/opt/rig/vm_health"].iter().chain(arguments).copied().collect();
            c.exec(&command)
        };
        let out = look(&[]);
        failed(&out, 3, &["keepwell is not installed here"]);

        c.units(&[("shop.service", &sleeper("")), ("broken.service", BROKEN)]);
        c.systemctl(&["start", "shop"]);
        c.write("/run/beat", "");
        let config = format!(
            "{UNITS_ONLY}[[unit]]\nname = \"shop.service\"\nrestart = true\nrequired = true\n{}\n\n\
             [[unit]]\nname = \"broken.service\"\n\n\
             [[heartbeat]]\nfile = \"/run/beat\"\nmax_age = \"1h\"\n",
            scene::QUICK
        );
        c.install_keepwell(&config, User::Root);
        // Without the daemon it looks for itself; that restarts what may be restarted.
        let out = look(&[]);
        assert_eq!(out.code, 0, "{out:#?}");
        for title in ["Services", "Disk", "Memory and processors", "Recent errors", "Git sync", "Heartbeats"] {
            assert!(out.stdout.contains(&format!("== {title}")), "{title}: {out:#?}");
        }
        assert!(!out.stdout.contains('\u{1b}'), "a pipe has no colours");
        c.systemctl(&["kill", "--signal=KILL", "shop"]);
        wait_until(LONG, "it fails", || c.active_state("shop") == "failed");
        let out = look(&[]);
        assert_eq!(out.code, 2, "{out:#?}");
        assert_eq!(c.active_state("shop"), "failed");
        look(&["--restart"]);
        assert_eq!(c.active_state("shop"), "active");

        // With the daemon it asks.
        c.start_keepwell();
        watch(LONG, "healthy", || look(&[]), |out| (out.code == 0).then_some(()));
        c.sh("rm /run/beat");
        let out = watch(LONG, "warning", || look(&[]), |out| (out.code == 1).then(|| out.clone()));
        assert!(out.stdout.contains("== Heartbeats: warning"), "{out:#?}");
        c.exec(&["systemctl", "start", "broken"]);
        let out = watch(LONG, "critical", || look(&[]), |out| (out.code == 2).then(|| out.clone()));
        assert!(out.stdout.contains("== Services: critical"), "{out:#?}");
        let json: serde_json::Value = serde_json::from_str(&look(&["--json"]).stdout).unwrap();
        assert_eq!(json["status"], "critical");
        // On a terminal there are colours, unless they are not wanted.
        let terminal = |flags: &str| {
            c.exec(&["script", "--quiet", "--command", &format!("/opt/rig/vm_health {flags}"), "/dev/null"]).stdout
        };
        assert!(terminal("").contains("\u{1b}[1;31mcritical"));
        assert!(!terminal("--no-color").contains("\u{1b}[1;31m"));
    }
}

fn output(command: &mut Command) -> Output {
    let out = command.output().unwrap();
    Output {
        code: out.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
    }
}
