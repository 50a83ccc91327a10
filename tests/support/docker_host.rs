//! A booted Debian 13 with Docker, Podman and what stands between them and keepwell, and an image
//! made of busybox.

#![allow(dead_code, reason = "no test uses all of it")]

use serde_json::Value;

use crate::support::keepwell::repository;
use crate::support::{Container, Options};

/// What it has beyond the rig's image: one image for all tests.
pub(crate) const PACKAGES: [&str; 11] = [
    "docker.io",
    "docker-cli",
    "docker-compose",
    "docker-buildx",
    "haproxy",
    "podman",
    "uidmap",
    "crun",
    "acl",
    "dbus-user-session",
    "busybox-static",
];

/// Makes an archive of the image `busybox` inside.
const IMAGE: &str = r#"
mkdir -p /opt/rig/image/bin && cp /bin/busybox /opt/rig/image/bin/ && cd /opt/rig/image/bin
for name in $(./busybox --list); do [ "$name" = busybox ] || ln -sf busybox "$name"; done
tar --create --file=/opt/rig/busybox.tar --directory=/opt/rig/image .
"#;

/// Boots one, with the Docker daemon running; `None` where it cannot be had.
#[track_caller]
pub(crate) fn boot() -> Option<Container> {
    let packages = PACKAGES.to_vec();
    let c = Container::boot("trixie", Options { packages, docker: true, ..Options::default() })?;
    // Debian starts its own with a configuration of its own.
    c.systemctl(&["disable", "--now", "--quiet", "haproxy"]);
    c.systemctl(&["start", "docker.service"]);
    c.sh(IMAGE);
    c.sh("docker import --change 'CMD [\"/bin/sleep\",\"100000\"]' /opt/rig/busybox.tar busybox");
    Some(c)
}

impl Container {
    /// `docker run --detach` of a container without network of the image `busybox`; its id. `words`
    /// are options, the image and the command: `"--restart always busybox sleep 5"`.
    #[track_caller]
    pub(crate) fn docker_run(&self, name: &str, words: &str) -> String {
        let words = if words.is_empty() { "busybox" } else { words };
        self.sh(&format!("docker run --detach --name {name} --network none {words}"))
            .trim()
            .to_owned()
    }

    /// What `docker inspect` says at this path, such as `.State`; null where there is none.
    pub(crate) fn docker_inspect(&self, name: &str, path: &str) -> Value {
        let format = format!("--format={{{{json {path}}}}}");
        let out = self.exec(&["docker", "inspect", "--type=container", &format, name]);
        serde_json::from_str(&out.stdout).unwrap_or_default()
    }

    /// Lets the main process of a container end by itself, with this exit code: no signal and no
    /// request of a person. It must run `sh -c` [`UNTIL_TOLD`].
    #[track_caller]
    pub(crate) fn docker_crash(&self, name: &str, code: i32) {
        self.sh(&format!("docker exec {name} sh -c 'echo {code} >/end'"));
    }
}

/// A command of a container that runs until [`Container::docker_crash`], and again when restarted.
pub(crate) const UNTIL_TOLD: &str = "busybox sh -c 'while ! [ -s /end ]; do sleep 0.1; done; code=$(cat /end); rm /end; echo it broke on purpose; exit $code'";

/// A command of the user `app`, who has Podman without being root.
pub(crate) const ROOTLESS: &str = "setpriv --reuid=app --regid=app --init-groups env \
    XDG_RUNTIME_DIR=/run/user/1000 HOME=/home/app USER=app";

/// Makes the user `app` with a systemd of its own, and gives it the image. Layers cannot be on
/// layers, as a home is here; and there are no controllers for its limits.
#[track_caller]
pub(crate) fn rootless(c: &Container) {
    c.sh("useradd --create-home --uid 1000 --shell /bin/bash app");
    // As lingering would: nobody logs in here.
    c.systemctl(&["start", "user@1000"]);
    c.sh(&format!(
        "{ROOTLESS} sh -c 'mkdir -p ~/.config/containers && cd ~ &&
           printf \"[storage]\\ndriver = \\\"vfs\\\"\\n\" >.config/containers/storage.conf &&
           printf \"[containers]\\ncgroups = \\\"disabled\\\"\\n\" >.config/containers/containers.conf'"
    ));
    let import = "podman import --quiet --change 'CMD [\"/bin/sleep\",\"100000\"]' \
                  /opt/rig/busybox.tar localhost/busybox";
    c.sh(&format!("cd / && {ROOTLESS} {import}"));
}

/// Gives Podman's socket another place, `/run/podman-app`, as docs/containers.md has a user do.
#[track_caller]
pub(crate) fn share_podman(c: &Container) {
    c.sh(&format!(
        "{ROOTLESS} sh -c 'mkdir -p ~/.config/systemd/user/podman.socket.d &&
           printf \"[Socket]\\nListenStream=\\nListenStream=/run/podman-app/podman.sock\\n\" \
           >~/.config/systemd/user/podman.socket.d/keepwell.conf'
         {ROOTLESS} systemctl --user daemon-reload
         {ROOTLESS} systemctl --user enable --now podman.socket"
    ));
}

impl Container {
    /// What the packages have for containers, where [`Self::install_keepwell`] was used.
    #[track_caller]
    pub(crate) fn install_ways_to_docker(&self) {
        for (here, there) in [
            ("keepwell-docker.conf", "/usr/share/keepwell/docker.conf"),
            ("keepwell-docker-proxy.cfg", "/usr/share/keepwell/keepwell-docker-proxy.cfg"),
            (
                "keepwell-docker-proxy.service",
                "/usr/lib/systemd/system/keepwell-docker-proxy.service",
            ),
        ] {
            self.copy_in(&repository("systemd").join(here), there, 0o644);
        }
        self.systemctl(&["daemon-reload"]);
    }
}
