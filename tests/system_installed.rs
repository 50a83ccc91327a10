//! keepwell as it is installed: its own units as they are shipped, unprivileged and hardened. What it
//! may do and see, where secrets go, what a mistake in the configuration does, who holds the port,
//! and who has the last word when it fails for good.

#[path = "support/scene.rs"]
mod scene;
#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use scene::{LONG, QUICK, UNITS_ONLY, equals, sleeper, watch};
use support::package::{Kind, Packages};
use support::*;

/// What `systemd-analyze security` may say at most, times ten.
const EXPOSURE: &str = "--threshold=16";
const OWN: &str = "unit:keepwell.service";

/// Mount points as a process sees them, without those that hold no data of the host: `/dev`, of which
/// a service with PrivateDevices= has its own, `/proc`, and other services' credentials.
fn mounts(c: &Container, process: &str) -> BTreeSet<String> {
    let text = c.sh(&format!("cat /proc/{process}/mounts"));
    let points = text.lines().filter_map(|line| line.split(' ').nth(1)).map(str::to_owned);
    let others = ["/dev/", "/proc/", "/run/credentials"];
    points.filter(|point| !others.iter().any(|other| point.starts_with(other))).collect()
}

/// Installs the package with this configuration; starts nothing yet. Ends the test where there is no
/// package to be had, which has then been said.
macro_rules! install {
    ($c:ident, $config:expr $(,)?) => {
        let Some(packages) = Packages::get(&$c) else { return };
        let package = $c.package(packages, Kind::Deb, &packages.version);
        $c.configure($config);
        // As an administrator would say it: nothing is to be started now.
        $c.sh("printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d");
        $c.sh(&format!("dpkg --install --force-confold {package} && rm /usr/sbin/policy-rc.d"));
    };
}

/// The configuration is broken, or mended.
fn spoil(c: &Container, config: &str) {
    c.configure(&format!("{config}[agent2]\n"));
}

fn starts(c: &Container) -> usize {
    c.journal(&["--unit=keepwell", "--output=cat", "--grep=^Starting "]).lines().count()
}

on_each_image! {
    fn it_heals_what_it_may_says_what_it_may_not_and_sees_all_mounts(c: Container) {
        let receiver = c.receiver();
        let talker = sleeper("").replace("/bin/sleep", "/bin/sh -c 'echo last words of $0 >&2; exec sleep \"$1\"' %n");
        c.units(&[("mine.service", &talker), ("other.service", &talker)]);
        c.systemctl(&["start", "mine", "other"]);
        c.sh("mkdir -p /srv/ram /home/disk /mnt/late && mount -t tmpfs ram /srv/ram && mount -t tmpfs disk /home/disk");
        let unit = |name| format!("[[unit]]\nname = \"{name}\"\nrestart = true\n{QUICK}\n\n");
        let beat = |point| format!("[[heartbeat]]\nfile = \"{point}/beat\"\nmax_age = \"1h\"\n\n");
        let config = format!("{UNITS_ONLY}{}{}", beat("/home/disk"), beat("/mnt/late"));
        install!(c, &format!("{config}{}{}", Receiver::channel(), unit("mine")));
        // Who is not root may say what is to be restarted; that gives keepwell no right to it.
        c.write("/etc/keepwell/conf.d/other.toml", &unit("other"));
        c.sh("chown keepwell /etc/keepwell/conf.d/other.toml");
        c.start_keepwell();
        assert_eq!(c.sh("ps -o user= -p $(systemctl show -P MainPID keepwell) 2>/dev/null || stat -c %U /proc/$(systemctl show -P MainPID keepwell)").trim(), "keepwell");
        for unit in ["keepwell.service", "keepwell-failed.service"] {
            let judged = c.exec(&["systemd-analyze", "security", EXPOSURE, "--no-pager", unit]);
            assert!(judged.ok(), "{unit}: {}{}", judged.stdout, judged.stderr);
        }

        c.kill("mine", "KILL");
        receiver.wait_for_events("unit:mine.service", "state", &["opened", "resolved"]);
        let message = receiver.accepted().into_iter().find(|m| m.to_string().contains("unit:mine.service")).unwrap();
        assert!(message["alerts"][0]["lines"].to_string().contains("last words of mine.service"), "{message:#}");

        c.kill("other", "KILL");
        let denied = watch(LONG, "the denial is told", || receiver.accepted(), |all| {
            let texts = all.iter().map(ToString::to_string);
            texts.filter(|t| t.contains("unit:other.service")).find(|t| t.contains("may not") || t.contains("not permitted"))
        });
        assert!(!denied.contains("unit:mine.service"), "{denied}");
        let lines: Vec<_> = c.decisions("unit:other.service").into_iter().filter(|d| d.0 == "restart-denied").collect();
        assert!(!lines.is_empty() && !lines[0].1.contains('\n'), "{lines:?}");
        assert_eq!(c.active_state("other"), "failed");

        c.sh("mount -t tmpfs late /mnt/late");
        let pid = c.main_pid("keepwell").to_string();
        for point in ["/home/disk", "/mnt/late"] {
            c.write(&format!("{point}/beat"), "");
            c.wait_for_check(&format!("heartbeat:{point}/beat"), "healthy", "fresh");
        }
        let (all, seen) = (mounts(&c, "self"), mounts(&c, &pid));
        let hidden: Vec<_> = all.difference(&seen).collect();
        assert!(hidden.is_empty(), "keepwell does not see {hidden:?}");
    }

    fn secrets_reach_the_channel_and_appear_nowhere(c: Container) {
        const SECRETS: [&str; 3] = ["s3cr3t-path", "t0ken-of-the-api", "c2lnbjFuZy1rZXktZm9yLXRlc3RzLW9ubHk="];
        let receiver = c.receiver();
        let url = format!("{}/{}", Receiver::url(), SECRETS[0]);
        c.write("/etc/keepwell/credentials/ops-url", &format!("{url}\n"));
        c.sh("chmod -R go= /etc/keepwell/credentials");
        // By the host's key: there is no TPM here.
        c.sh(&format!("printf %s {} | systemd-creds encrypt --with-key=host --name=api-token - /etc/keepwell/credentials/api-token.cred", SECRETS[1]));
        c.sh(&format!("printf whsec_%s {} | systemd-creds encrypt --with-key=host --name=ops-secret - /etc/keepwell/credentials/ops-secret.cred", SECRETS[2]));
        assert!(!c.sh("cat /etc/keepwell/credentials/*.cred").contains(SECRETS[1]));
        install!(
            c,
            &format!(
                "{UNITS_ONLY}[http]\ntoken = {{ credential = \"api-token\" }}\n\n\
                 [[channel]]\nname = \"ops\"\ntype = \"webhook\"\nurl = {{ credential = \"ops-url\" }}\n\
                 secret = {{ credential = \"ops-secret\" }}\n"
            ),
        );
        c.drop_in("keepwell.service", "credentials",
            "[Service]\nLoadCredential=ops-url:/etc/keepwell/credentials/ops-url\n\
             LoadCredentialEncrypted=api-token:/etc/keepwell/credentials/api-token.cred\n\
             LoadCredentialEncrypted=ops-secret:/etc/keepwell/credentials/ops-secret.cred\n");
        c.start_keepwell();
        let tested = c.keepwell(&["test-notification"]);
        assert!(tested.ok(), "{tested:?}");
        let request = receiver.requests().pop().unwrap();
        assert_eq!(request["path"], format!("/hook/{}", SECRETS[0]), "{request:#}");
        assert!(request["headers"]["webhook-signature"].is_string(), "{request:#}");
        let asked = |header: &str| c.get("/api/v1/status", &[header]).status;
        assert_eq!(asked(&format!("Authorization: Bearer {}", SECRETS[1])), 200);
        assert_eq!(asked("Authorization: Bearer wrong"), 401);

        // The receiver fails, so that errors are spoken of as well; and both kinds of reload.
        receiver.mode("status 404");
        c.keepwell(&["test-notification"]);
        c.systemctl(&["reload", "keepwell"]);
        let pid = c.main_pid("keepwell");
        let bearer = format!("Authorization: Bearer {}", SECRETS[1]);
        let places = [
            ("environ", c.sh(&format!("tr '\\0' '\\n' </proc/{pid}/environ"))),
            ("command line", c.sh(&format!("tr '\\0' ' ' </proc/{pid}/cmdline"))),
            ("systemctl show", c.systemctl(&["show", "keepwell"])),
            ("systemctl cat", c.systemctl(&["cat", "keepwell"])),
            // All but what the receiver itself says it got.
            ("journal", c.journal(&["--all", "--output=json", "--unit=keepwell", "--unit=keepwell-failed"])),
            ("metrics", c.metrics()),
            ("page", c.get("/", &[]).body),
            ("status", c.get("/api/v1/status", &[&bearer]).body),
            ("channels", c.get("/api/v1/channels", &[&bearer]).body),
            ("status --json", c.status_json().to_string()),
            ("config show", c.keepwell(&["config", "show"]).stdout),
            ("doctor", c.keepwell(&["doctor"]).stdout),
            ("state", c.sh("cat /var/lib/keepwell/* | tr -d '\\0'")),
        ];
        for (place, text) in &places {
            assert!(text.len() > 50 || *place == "command line", "{place} is empty: {text}");
            for secret in SECRETS {
                assert!(!text.contains(secret), "{place} shows {secret}: {text}");
            }
        }
        assert!(places[0].1.contains("CREDENTIALS_DIRECTORY="), "{}", places[0].1);
    }

    fn a_reload_with_a_mistake_fails_and_names_it(c: Container) {
        let config = format!("{UNITS_ONLY}[[unit]]\nname = \"mine\"\n");
        c.unit("mine.service", &sleeper(""));
        c.systemctl(&["start", "mine"]);
        install!(c, &config);
        c.start_keepwell();
        let run = c.property("keepwell", "InvocationID");
        spoil(&c, &config);
        let refused = c.exec(&["systemctl", "reload", "keepwell"]);
        assert_eq!(refused.code, 1, "{refused:?}");
        let log = c.journal(&["--unit=keepwell", "--output=cat"]);
        assert!(log.contains("keepwell.toml:") && log.contains("agent2"), "{log}");
        assert_eq!(c.active_state("keepwell"), "active");
        assert_eq!(c.property("keepwell", "InvocationID"), run);
        assert_eq!(c.look_at("unit:mine.service")["severity"], "healthy", "the former one stays");

        c.configure(&format!("{config}\n[[unit]]\nname = \"more\"\n"));
        c.systemctl(&["reload", "keepwell"]);
        watch(LONG, "the new one is in force", || c.look_at("unit:more.service"), |check| check.is_object().then_some(()));
    }

    fn a_start_with_a_mistake_has_the_last_word_and_its_end_is_told(c: Container) {
        let receiver = c.receiver();
        c.write("/etc/keepwell/credentials/ops-url", &Receiver::url());
        let config = format!(
            "{UNITS_ONLY}[[channel]]\nname = \"ops\"\ntype = \"webhook\"\nurl = {{ credential = \"ops-url\" }}\n"
        );
        install!(c, &config);
        c.drop_in("keepwell.service", "credentials",
            "[Service]\nLoadCredential=ops-url:/etc/keepwell/credentials/ops-url\n");
        c.start_keepwell();
        spoil(&c, &config);
        assert!(!c.exec(&["systemctl", "restart", "keepwell"]).ok());
        receiver.wait_for_events(OWN, "state", &["opened"]);
        let told = receiver.accepted().remove(0);
        let alert = &told["alerts"][0];
        assert_eq!(alert["severity"], "critical", "{alert:#}");
        assert!(alert["summary"].as_str().unwrap().contains("configuration cannot be used"), "{alert:#}");
        assert!(alert["next"].as_str().unwrap().contains("keepwell config check"), "{alert:#}");
        assert!(alert["lines"].to_string().contains("agent2"), "{alert:#}");
        equals(LONG, "it is done", &"inactive".to_owned(), || c.active_state("keepwell-failed"));

        // Again, at once: the journal is told, and nobody else.
        c.exec(&["systemctl", "start", "keepwell"]);
        let log = watch(LONG, "it is in the journal", || c.journal_json(&["--unit=keepwell-failed", "--priority=crit"]), |all| {
            (all.len() == 2).then(|| all.clone())
        });
        assert!(log.iter().all(|entry| entry["MESSAGE"].as_str().unwrap().contains("its configuration cannot be used")), "{log:#?}");
        assert_eq!(receiver.events(OWN, "state"), ["opened"]);

        c.configure(&config);
        c.start_keepwell();
        receiver.wait_for_events(OWN, "state", &["opened", "resolved"]);
        let ids: BTreeSet<String> = receiver.told().into_iter().filter(|t| t.check == OWN).map(|t| t.id).collect();
        assert_eq!(ids.len(), 1, "one alert from its beginning to its end: {ids:?}");
        c.systemctl(&["restart", "keepwell"]);
        c.systemctl(&["stop", "keepwell"]);
        never(Duration::from_secs(2), "a stop by hand has a last word", || c.active_state("keepwell-failed") != "inactive");
        assert_eq!(receiver.events(OWN, "state"), ["opened", "resolved"]);
    }

    fn a_keepwell_that_systemd_gives_up_has_the_last_word(c: Container) {
        let receiver = c.receiver();
        install!(c, &format!("{UNITS_ONLY}{}", Receiver::channel()));
        c.drop_in("keepwell.service", "limit",
            "[Unit]\nStartLimitBurst=3\n[Service]\nRestartSec=1s\nExecStart=\nExecStart=/bin/sh -c 'echo no more >&2; exit 9'\n");
        c.exec(&["systemctl", "start", "keepwell"]);
        receiver.wait_for_events(OWN, "state", &["opened"]);
        assert_eq!(starts(&c), 3, "not before systemd gave up");
        let told = receiver.told().remove(0);
        assert!(told.summary.contains("given up") && told.summary.contains("exit code 9"), "{told:?}");
        equals(LONG, "it is done", &"inactive".to_owned(), || c.active_state("keepwell-failed"));
        assert_eq!(receiver.events(OWN, "state"), ["opened"]);
    }

    fn with_the_socket_unit_the_port_is_never_refused(c: Container) {
        let receiver = c.receiver();
        let config = format!("{UNITS_ONLY}{}", Receiver::channel());
        install!(c, &config);
        c.systemctl(&["enable", "--now", "--quiet", "keepwell.socket"]);
        c.start_keepwell();
        c.write("/opt/rig/poll", "n=0\nwhile [ ! -e /run/rig-enough ]; do\n\
            curl --silent --output /dev/null --max-time 60 http://127.0.0.1:8080/health; \
            echo $? >>/run/rig-polled\ndone\n");
        let mut poll = c.command(&["sh", "/opt/rig/poll"]).spawn().unwrap();
        let polled = || c.read("/run/rig-polled").unwrap_or_default();
        for _ in 0..3 {
            let before = polled().lines().count();
            c.systemctl(&["restart", "keepwell"]);
            watch(LONG, "it is answered again", polled, |all| (all.lines().count() > before + 3).then_some(()));
        }
        assert!(polled().lines().all(|code| code == "0"), "an orderly restart loses no request: {}", polled());
        c.kill("keepwell", "KILL");
        equals(LONG, "systemd has restarted it", &1, || c.keepwell_restarts());
        let before = polled().lines().count();
        watch(LONG, "it is answered again", polled, |all| (all.lines().count() > before + 3).then_some(()));
        // 7: refused. What was under way when it was killed may be lost.
        assert!(polled().lines().all(|code| code != "7"), "{}", polled());
        c.write("/run/rig-enough", "");
        poll.wait().unwrap();

        // The truth about where it listens, also where the configuration says otherwise.
        c.configure(&format!("{config}[http]\nlisten = \"127.0.0.1:9000\"\n"));
        c.systemctl(&["restart", "keepwell"]);
        let run = format!("_SYSTEMD_INVOCATION_ID={}", c.property("keepwell", "InvocationID"));
        let log = c.journal(&[&run, "--output=cat"]);
        assert!(log.contains("listening on 127.0.0.1:8080 (systemd holds the port)"), "{log}");
        assert_eq!(log.matches("keepwell.socket decides").count(), 1, "{log}");
        assert_eq!(c.health().0, 200);

        // Who connects starts it; with a mistake in the configuration that ends, and is told once.
        spoil(&c, &config);
        c.exec(&["systemctl", "restart", "keepwell"]);
        c.exec(&["curl", "--silent", "--max-time", "20", "http://127.0.0.1:8080/health"]);
        equals(LONG, "the socket unit gives up", &"failed".to_owned(), || c.active_state("keepwell.socket"));
        receiver.wait_for_events(OWN, "state", &["opened"]);
        c.configure(&config);
        c.start_keepwell();
        assert_eq!(c.health().0, 200, "without the socket unit it takes the port itself");
        receiver.wait_for_events(OWN, "state", &["opened", "resolved"]);

        // A socket that it cannot serve is said.
        c.systemctl(&["stop", "keepwell"]);
        c.drop_in("keepwell.socket", "unix", "[Socket]\nListenStream=\nListenStream=/run/rig.sock\n");
        c.systemctl(&["reset-failed", "keepwell.socket"]);
        c.systemctl(&["start", "keepwell.socket"]);
        assert!(!c.exec(&["systemctl", "start", "keepwell"]).ok());
        let log = c.journal(&["--unit=keepwell", "--output=cat", "--lines=30"]);
        assert!(log.contains("it is a unix socket; keepwell makes its own"), "{log}");
    }
}
