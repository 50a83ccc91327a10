//! The packages as `scripts/package` makes them, for tests that install them: those of the folder
//! `KEEPWELL_DIST` names (what is shipped), else the program that cargo has built for this test.
//! A second, newer version of the same program is made for upgrades.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::container::Container;
use super::host::skip;
use super::keepwell::built;

/// What stands in the configuration of the newer version only.
pub(crate) const NEWER: &str = "# new in the next version";

/// A kind of package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Deb,
    Rpm,
}

/// The packages of this build. Versions are as packages have them, `0.1.0-1`.
#[derive(Debug, Clone)]
pub(crate) struct Packages {
    /// The version of this build.
    pub(crate) version: String,
    /// A newer one.
    pub(crate) next: String,
    /// Both are here.
    dir: PathBuf,
    /// The C library that the program needs at least.
    libc: (u32, u32),
}

impl Packages {
    /// Made once a process. `None`: they cannot be had here, or not run in this container, and
    /// `SKIPPED` has been said.
    #[track_caller]
    pub(crate) fn get(container: &Container) -> Option<&'static Self> {
        static PACKAGES: OnceLock<Result<Packages, String>> = OnceLock::new();
        let packages = match PACKAGES.get_or_init(Self::make) {
            Ok(packages) => packages,
            Err(why) => {
                skip(why);
                return None;
            }
        };
        let there = container.sh("ldd --version");
        let there = there.lines().next().and_then(|line| numbers(line.rsplit(' ').next()?));
        if there < Some(packages.libc) {
            // What is built for this machine need not run on an older one: releases do.
            let test = std::thread::current().name().unwrap_or("test").to_owned();
            eprintln!("SKIPPED: {test}: the program needs a newer C library (set KEEPWELL_DIST)");
            return None;
        }
        Some(packages)
    }

    /// The path of a package.
    pub(crate) fn path(&self, kind: Kind, version: &str) -> PathBuf {
        self.dir.join(file_name(kind, version))
    }

    fn make() -> Result<Self, String> {
        for tool in ["dh", "rpmbuild", "dpkg-deb"] {
            let found = std::env::var_os("PATH").is_some_and(|path| {
                std::env::split_paths(&path).any(|dir| dir.join(tool).is_file())
            });
            if !found {
                return Err(format!("{tool} is not installed (scripts/test installs it)"));
            }
        }
        // Examples use this rig too, but none of them installs a package.
        let tmp = option_env!("CARGO_TARGET_TMPDIR").ok_or("only for tests")?;
        let target = Path::new(tmp).parent().expect("target/tmp");
        let all = target.join("package/tests");
        // Several test programs run at once: what one reads no other may be writing.
        let dir = all.join(std::process::id().to_string());
        fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        sweep(&all);
        // And one after the other, for what they are made with is the same.
        let lock = File::create(all.join(".lock")).map_err(|e| e.to_string())?;
        lock.lock().map_err(|e| e.to_string())?;

        let version = env!("CARGO_PKG_VERSION").replacen('-', "~", 1);
        let next = format!("{version}+next");
        let dist = std::env::var_os("KEEPWELL_DIST").map(PathBuf::from);
        let binary = match &dist {
            None => built("keepwell"),
            Some(dist) => {
                let unpacked = dir.join("dist");
                let _ = fs::remove_dir_all(&unpacked);
                for kind in [Kind::Deb, Kind::Rpm] {
                    let name = file_name(kind, &format!("{version}-1"));
                    fs::copy(dist.join(&name), dir.join(&name))
                        .map_err(|e| format!("KEEPWELL_DIST: {name}: {e}"))?;
                }
                let deb = dir.join(file_name(Kind::Deb, &format!("{version}-1")));
                run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(&unpacked))?;
                unpacked.join("usr/bin/keepwell")
            }
        };
        let pack = |version: &str, config: &Path| {
            let mut script = script();
            script.args(["--fast", "--version", version, "--binary"]).arg(&binary);
            script.arg("--config").arg(config).arg("--out").arg(&dir);
            run(&mut script)
        };
        let config = super::keepwell::repository("packaging/keepwell.toml");
        if dist.is_none() {
            pack(&version, &config)?;
        }
        // The newer one has other words in its configuration, as real ones will.
        let text = fs::read_to_string(&config).map_err(|e| e.to_string())?;
        let newer = dir.join("newer.toml");
        fs::write(&newer, format!("{text}\n{NEWER}\n")).map_err(|e| e.to_string())?;
        pack(&next, &newer)?;
        let version = format!("{version}-1");
        let deb = dir.join(file_name(Kind::Deb, &version));
        let depends = run(Command::new("dpkg-deb").arg("-f").arg(deb).arg("Depends"))?;
        let libc =
            depends.split("libc6 (>= ").nth(1).and_then(|rest| numbers(rest.split(')').next()?));
        let libc = libc.ok_or_else(|| format!("no C library in: {depends}"))?;
        Ok(Self { version, next: format!("{next}-1"), dir, libc })
    }
}

impl Container {
    /// Copies a package in; its path there.
    #[track_caller]
    pub(crate) fn package(&self, packages: &Packages, kind: Kind, version: &str) -> String {
        let here = packages.path(kind, version);
        let inside = format!("/opt/rig/{}", file_name(kind, version));
        self.copy_in(&here, &inside, 0o644);
        inside
    }
}

/// Removes what programs that are over have left.
fn sweep(all: &Path) {
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        let owner = entry.file_name();
        let is_ours = owner.to_str().is_some_and(|name| name.parse::<u32>().is_ok());
        if is_ours && !Path::new("/proc").join(&owner).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn file_name(kind: Kind, version: &str) -> String {
    let arm = cfg!(target_arch = "aarch64");
    match kind {
        Kind::Deb => format!("keepwell_{version}_{}.deb", if arm { "arm64" } else { "amd64" }),
        Kind::Rpm => format!("keepwell-{version}.{}.rpm", std::env::consts::ARCH),
    }
}

/// `scripts/package`, without what cargo has told this test about itself: that would have build
/// scripts run anew.
fn script() -> Command {
    let mut command = Command::new(super::keepwell::repository("scripts/package"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if ["PKG", "MANIFEST", "BIN", "CRATE", "PRIMARY"]
            .iter()
            .any(|what| name.starts_with(&format!("CARGO_{what}_")))
        {
            command.env_remove(name);
        }
    }
    command
}

fn run(command: &mut Command) -> Result<String, String> {
    let out = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    let text = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    if out.status.success() {
        Ok(text)
    } else {
        Err(format!("{command:?}: {text}{}", String::from_utf8_lossy(&out.stderr)))
    }
}

fn numbers(version: &str) -> Option<(u32, u32)> {
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}
