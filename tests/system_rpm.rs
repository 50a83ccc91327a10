//! The RPM package, installed by rpm on a booted Debian: no Fedora was had. rpm does not know there
//! which packages Debian has, so what the package asks for is only read.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "support/mod.rs"]
mod support;

use support::*;

const CONFIG: &str = "/etc/keepwell/keepwell.toml";
const RULE: &str = "/etc/polkit-1/rules.d/60-keepwell.rules";

fn boot() -> Option<Container> {
    Container::boot("trixie", Options { packages: vec!["rpm"], ..Options::default() })
}

#[track_caller]
fn rpm(c: &Container, what: &str, path: &str) {
    // Debian's rpm knows of none of the packages that are there.
    let out = c.exec(&["rpm", what, "--nodeps", path]);
    assert!(out.ok(), "rpm {what}: {}{}", out.stdout, out.stderr);
    // It may say where the edited configuration went; a script that fails is a warning as well.
    for line in out.stderr.lines().filter(|line| line.starts_with("warning:")) {
        assert!(line.contains("keepwell.toml."), "{line}");
    }
}

fn is_enabled(c: &Container) -> String {
    c.exec(&["systemctl", "is-enabled", "keepwell"]).stdout.trim().to_owned()
}

#[test]
fn installed_upgraded_and_erased() {
    let Some(c) = boot() else { return };
    let Some(packages) = Packages::get(&c) else { return };
    let first = c.package(packages, Kind::Rpm, &packages.version);
    let next = c.package(packages, Kind::Rpm, &packages.next);

    // What it asks for is there on every Fedora and RHEL 9.
    for need in c.sh(&format!("rpm -qpR {first}")).lines() {
        let known =
            ["/bin/sh", "systemd", "config(keepwell)", "rpmlib(", "lib", "ld-linux", "rtld("];
        assert!(known.iter().any(|known| need.starts_with(known)), "it needs {need}");
    }

    // Fedora's preset: what is installed is not started, and not at the next boot.
    c.write("/etc/systemd/system-preset/99-default-disable.preset", "disable *\n");
    rpm(&c, "-i", &first);
    assert_eq!(
        (is_enabled(&c), c.active_state("keepwell")),
        ("disabled".into(), "inactive".into())
    );
    c.sh("id keepwell");
    c.systemctl(&["enable", "--now", "--quiet", "keepwell"]);
    assert_eq!(c.health().0, 200);

    c.write(CONFIG, "# mine\n[units]\nall = false\n");
    let before = c.main_pid("keepwell");
    rpm(&c, "-U", &next);
    assert_eq!((is_enabled(&c), c.active_state("keepwell")), ("enabled".into(), "active".into()));
    assert_ne!(c.main_pid("keepwell"), before, "it was not restarted");
    assert!(c.read(CONFIG).unwrap().starts_with("# mine\n"));
    assert!(c.read(&format!("{CONFIG}.rpmnew")).unwrap().contains(support::package::NEWER));
    assert_eq!(
        c.sh("rpm -q keepwell"),
        format!("keepwell-{}.{}", packages.next, std::env::consts::ARCH)
    );
    assert_eq!(c.health().0, 200);

    c.systemctl(&["disable", "--now", "--quiet", "keepwell"]);
    let out = c.exec(&["rpm", "-U", "--oldpackage", "--nodeps", &first]);
    assert!(out.ok(), "{}", out.stderr);
    assert_eq!(
        (is_enabled(&c), c.active_state("keepwell")),
        ("disabled".into(), "inactive".into())
    );

    c.systemctl(&["enable", "--now", "--quiet", "keepwell"]);
    c.write(RULE, "// made at a start\n");
    rpm(&c, "-e", "keepwell");
    assert_eq!(c.read("/usr/bin/keepwell"), None);
    assert_eq!(c.read(RULE), None, "what let it restart units is left");
    assert_eq!(c.exec(&["systemctl", "is-active", "keepwell"]).stdout.trim(), "inactive");
    assert!(c.read("/var/lib/keepwell/keepwell.db").is_some(), "rpm has no purge: state stays");
    assert!(c.read(&format!("{CONFIG}.rpmsave")).unwrap().starts_with("# mine\n"));
    assert_eq!(c.sh("find /etc/systemd/system -name 'keepwell*'"), "");
}
