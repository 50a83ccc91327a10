//! The blocks of the documentation that are marked so are run, in a container, as a reader would.
//! In the pages that lead through something step by step, each block says whether it is.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "no test uses all of it")]
#[path = "documents/blocks.rs"]
mod blocks;
#[path = "support/docker_host.rs"]
mod docker_host;
#[allow(dead_code, reason = "no test uses all of it")]
#[path = "documents/reader.rs"]
mod reader;
#[path = "support/mod.rs"]
mod support;

use std::path::Path;

use reader::Reader;
use support::*;

/// Pages whose every shell block is run, or says why it is not.
const MARKED: &[&str] = &[
    "README.md",
    "docs/containers.md",
    "docs/getting-started.md",
    "docs/operations.md",
    "docs/uptimerobot.md",
];
/// Those of the README that show the repository itself, not a host.
const REPOSITORY: &str = "scripts/demo";

#[test]
fn each_block_of_these_pages_says_whether_it_is_run() {
    for page in MARKED {
        for block in blocks::blocks(Path::new(page)).iter().filter(|b| b.is_shell()) {
            let shown = block.text.starts_with(REPOSITORY);
            assert!(block.mark.is_some() || shown, "{}: put `<!-- run -->` before it", block.at);
        }
    }
}

#[test]
fn pages_that_are_run_are_known() {
    for page in blocks::documents() {
        let marked = blocks::blocks(&page).iter().any(blocks::Block::is_run);
        let name = page.display().to_string();
        assert!(!marked || MARKED.contains(&name.as_str()), "{name}: no test runs its blocks");
    }
}

#[test]
fn containers() {
    let Some(c) = docker_host::boot() else { return };
    c.docker_run("web", "");
    let Some(mut reader) = Reader::new(&c, "") else { return };
    c.sh("apt-get install -qq /root/reader/keepwell_*.deb");
    docker_host::rootless(&c);
    // What the page has this user do; its folder is made as the page says.
    c.write("/etc/tmpfiles.d/podman-app.conf", "d /run/podman-app 2750 app keepwell\n");
    c.sh("systemd-tmpfiles --create podman-app.conf && cd / && rm /etc/tmpfiles.d/podman-app.conf");
    docker_host::share_podman(&c);
    c.sh(&format!(
        "cd / && {} podman run --quiet --detach --name worker --network none localhost/busybox",
        docker_host::ROOTLESS
    ));
    assert!(reader.follows("docs/containers.md") >= 9);
    assert_eq!(c.sh("systemctl is-active keepwell"), "active");
}

on_each_image! {
    fn getting_started(c: Container) {
        let Some(mut reader) = Reader::new(&c, "") else { return };
        assert!(reader.follows("docs/getting-started.md") >= 10);
        let seen = reader.seen();
        for promised in ["not-configured", "cooldown", "restart-scheduled", "killed by SIGKILL"] {
            assert!(seen.contains(promised), "{promised}\n{seen}");
        }
        // What was made for practice is gone again.
        let left = c.exec(&["grep", "-r", "practice", "/etc/keepwell", "/etc/systemd", "/etc/polkit-1"]);
        assert_eq!((left.code, left.stdout.as_str()), (1, ""));
    }

    fn operations_and_the_monitor_outside(c: Container) {
        let Some(mut reader) = Reader::new(&c, "") else { return };
        c.unit("shop.service", "[Service]\nExecStart=/bin/sleep infinity\n");
        c.systemctl(&["start", "shop"]);
        c.sh("apt-get install -qq /root/reader/keepwell_*.deb");
        reader.follows("docs/uptimerobot.md");
        assert!(reader.seen().contains("\"status\":\"healthy\""), "{}", reader.seen());
        assert!(reader.follows("docs/operations.md") >= 6);
        for gone in ["/usr/bin/keepwell", "/var/lib/keepwell", "/etc/keepwell", "/etc/polkit-1/rules.d/60-keepwell.rules"] {
            assert!(!c.exec(&["test", "-e", gone]).ok(), "{gone} is still there");
        }
    }
}
