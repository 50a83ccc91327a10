//! Probes as installed: keepwell, as its own user and in its own unit, watches the checkout of
//! another user, and nothing that the repository names is run.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "support/scene.rs"]
mod scene;
#[path = "support/mod.rs"]
mod support;

use scene::{LONG, UNITS_ONLY, watch};
use support::*;

/// As the user that owns the checkout.
const GIT: &str = "runuser -u deploy -- git -c user.name=d -c user.email=d@d";

fn config() -> String {
    format!(
        "{UNITS_ONLY}{}[[probe]]\nname = \"site\"\ntype = \"git\"\npath = \"/srv/site\"\n\
         interval = \"10s\"\n\n[[probe]]\nname = \"closed\"\ntype = \"git\"\n\
         path = \"/home/deploy/closed\"\ninterval = \"10s\"\n",
        Receiver::channel()
    )
}

/// A remote behind `git daemon`, and two checkouts of it, one of them in a closed folder. The
/// repository of the first names a trap wherever git would run one.
fn scene(c: &Container) {
    c.sh(
        "useradd --create-home deploy && mkdir -p /srv && chmod 755 /srv && chmod 700 /home/deploy \
          && install -d -o deploy /srv/origin /srv/site /srv/other /srv/trap",
    );
    c.sh(&format!(
        "cd / && {GIT} init -q --bare /srv/origin && touch /srv/origin/git-daemon-export-ok && \
         {GIT} -C /srv/origin symbolic-ref HEAD refs/heads/main && \
         {GIT} clone -q /srv/origin /srv/other 2>&1 && {GIT} -C /srv/other checkout -q -b main"
    ));
    push(c, "first");
    c.unit(
        "rig-git.service",
        "[Service]\nUser=deploy\nExecStart=/usr/bin/git daemon --listen=127.0.0.1 --base-path=/srv\n",
    );
    c.systemctl(&["start", "rig-git"]);
    watch(
        LONG,
        "git daemon answers",
        || c.exec(&["git", "ls-remote", "git://127.0.0.1/origin"]),
        |o| o.ok().then_some(()),
    );
    c.sh(&format!(
        "cd / && for to in /srv/site /home/deploy/closed; do \
         {GIT} clone -q git://127.0.0.1/origin $to; done"
    ));
    c.write(
        "/srv/trap/run",
        "#!/bin/sh\ntouch /tmp/trap-$(id -un)\necho ran >>/srv/trap/ran\nexit 1\n",
    );
    c.sh("chmod 755 /srv/trap/run && chmod 777 /srv/trap");
    for key in [
        "core.fsmonitor",
        "core.sshCommand",
        "core.gitProxy",
        "credential.helper",
        "filter.evil.clean",
        "filter.evil.process",
        "remote.origin.uploadpack",
        "diff.external",
    ] {
        c.sh(&format!("{GIT} -C /srv/site config {key} /srv/trap/run"));
    }
    c.sh("cd /srv/site && echo '* filter=evil' >.git/info/attributes && \
          for hook in post-index-change reference-transaction; do \
          install -m 755 /srv/trap/run .git/hooks/$hook; done && chown -R deploy .");
}

fn push(c: &Container, file: &str) {
    c.sh(&format!(
        "cd /srv/other && runuser -u deploy -- touch {file} && {GIT} add {file} && \
         {GIT} commit -q -m {file} && {GIT} push -q origin main"
    ));
}

fn behaves(c: Container) {
    let receiver = c.receiver();
    scene(&c);
    c.install_keepwell(&config(), User::Keepwell);
    c.start_keepwell();
    let well = c.wait_for_check("probe:site", "healthy", "probe-ok");
    assert_eq!(well["summary"], "at origin/main", "{well}");
    let closed = c.wait_for_check("probe:closed", "unknown", "no-permission");
    let said = closed["summary"].as_str().unwrap();
    assert!(said.contains("user keepwell may not enter /home/deploy"), "{said}");

    push(&c, "second");
    let behind = c.wait_for_check("probe:site", "warning", "behind");
    let said = behind["summary"].as_str().unwrap();
    assert!(said.contains("behind origin/main, whose new commits are not fetched"), "{said}");
    receiver.wait_for_events("probe:site", "state", &["opened"]);
    assert_eq!(c.metric("keepwell_probe_success{probe=\"site\"}"), Some(0.0));
    let explained = c.keepwell(&["explain", "probe:site"]);
    assert!(explained.stdout.contains("behind"), "{}{}", explained.stdout, explained.stderr);

    // It is told of once, over a restart of keepwell.
    c.systemctl(&["restart", "keepwell"]);
    c.wait_for_check("probe:site", "warning", "behind");
    c.sh("cd /srv/site && runuser -u deploy -- touch first && echo changed >first");
    c.sh("cd /srv/other && git -c safe.directory=* rev-parse HEAD >/srv/site/.git/refs/heads/main");
    c.sh("chown deploy /srv/site/.git/refs/heads/main");
    // The commit is not in the checkout: damaged, and told so, not taken for well.
    c.wait_for_check("probe:site", "warning", "unreadable");
    c.sh("rm -rf /srv/site/.git/hooks && runuser -u deploy -- sed -i \
          '/fsmonitor\\|sshCommand\\|gitProxy\\|helper\\|filter\\|clean\\|process\\|uploadpack\\|external/d' \
          /srv/site/.git/config && rm /srv/site/.git/info/attributes");
    c.sh(&format!("{GIT} -C /srv/site fetch -q && {GIT} -C /srv/site reset -q --hard origin/main"));
    c.wait_for_check("probe:site", "healthy", "probe-ok");
    receiver.wait_for_events("probe:site", "state", &["opened", "resolved"]);

    // A server that takes the question and gives no answer: at the limit it is told.
    c.systemctl(&["kill", "--signal=STOP", "rig-git"]);
    c.wait_for_check("probe:site", "warning", "remote-unreachable");
    c.systemctl(&["kill", "--signal=CONT", "rig-git"]);
    c.wait_for_check("probe:site", "healthy", "probe-ok");

    // One round by hand, as root: git is run as the owner.
    c.systemctl(&["stop", "keepwell"]);
    let round = c.keepwell(&["check", "--json"]);
    let checks: serde_json::Value = serde_json::from_str(&round.stdout).unwrap();
    let probes: Vec<String> = checks["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["id"].as_str().unwrap().starts_with("probe:"))
        .map(|check| {
            format!("{} {}", check["id"].as_str().unwrap(), check["reason"].as_str().unwrap())
        })
        .collect();
    // Root may look into the closed folder: nothing was fetched there since the first commit.
    assert_eq!(probes, ["probe:closed behind", "probe:site probe-ok"], "{}", round.stderr);
    assert_eq!(c.read("/srv/trap/ran"), None, "a trap was run");
    assert_eq!(c.sh("ls -A /run/keepwell /tmp | grep -c 'probe-\\|trap-' || true").trim(), "0");
}

#[test]
fn bookworm() {
    let options = Options { packages: vec!["git"], ..Options::default() };
    if let Some(container) = Container::boot("bookworm", options) {
        behaves(container);
    }
}

#[test]
fn trixie() {
    let options = Options { packages: vec!["git"], ..Options::default() };
    if let Some(container) = Container::boot("trixie", options) {
        behaves(container);
    }
}
