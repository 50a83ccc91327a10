//! The rig itself: does a container boot, keep its state over a reboot, and vanish afterwards?
//! The other `system_*` tests stand on this.

#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use support::*;

on_each_image! {
    fn a_container_is_a_host_of_its_own(c: Container) {
        assert_eq!(c.sh("systemctl is-system-running"), "running", "{}", c.sh("systemctl --failed"));
        assert_eq!(c.sh("hostname"), c.id);
        assert_eq!(c.sh("cat /proc/1/comm"), "systemd");
        assert!(c.sh(". /etc/os-release; echo $VERSION_CODENAME").contains(&c.release));

        let failed = c.exec(&["sh", "-c", "echo out; echo err >&2; exit 3"]);
        assert_eq!((failed.code, failed.stdout.as_str(), failed.stderr.as_str()), (3, "out\n", "err\n"));

        c.unit("a.service", "[Service]\nExecStart=/bin/sleep infinity\n");
        c.systemctl(&["start", "a"]);
        assert_eq!(c.active_state("a"), "active");
        c.kill("a", "KILL");
        wait_until(Duration::from_secs(120), "a.service has failed", || c.active_state("a") == "failed");
        assert_eq!(c.property("a", "Result"), "signal");
        assert!(c.journal(&["-u", "a"]).contains("Main process exited"));
    }

    fn what_is_written_stays_over_reboots(c: Container) {
        let mut c = c;
        c.write("/var/lib/thing/note", "before\n");
        c.write("/run/gone", "");
        c.sh("echo remembered | systemd-cat -t rig; journalctl --sync");
        let boot = c.sh("cat /proc/sys/kernel/random/boot_id");
        let machine = c.sh("cat /etc/machine-id");

        c.reboot();
        assert_eq!(c.read("/var/lib/thing/note").as_deref(), Some("before\n"));
        assert_eq!(c.read("/run/gone"), None);
        assert_ne!(c.sh("cat /proc/sys/kernel/random/boot_id"), boot);
        assert_eq!(c.sh("cat /etc/machine-id"), machine);
        assert!(c.journal(&["--boot=-1", "-t", "rig"]).contains("remembered"));

        c.power_off_hard();
        assert_eq!(c.read("/var/lib/thing/note").as_deref(), Some("before\n"));
        c.power_on();
        assert_eq!(c.sh("cat /var/lib/thing/note"), "before");
    }

    fn the_receiver_records_and_answers_as_told(c: Container) {
        let receiver = c.receiver();
        let post = |data: &str, limit: &str| {
            c.exec(&["curl", "-s", "-m", limit, "-o", "/dev/null", "-w", "%{http_code} %header{retry-after}",
                "-H", "X-Test: Yes", "--data", data, &Receiver::url()])
            .stdout
        };
        assert_eq!(post(r#"{"text":"one"}"#, "60"), "200 ");
        receiver.mode("status 429 7");
        assert_eq!(post("two", "60"), "429 7");
        receiver.mode("delay 10");
        assert_eq!(post("three", "60"), "200 ");
        receiver.mode("hang");
        assert_eq!(post("four", "10"), "000 ");

        let all = receiver.requests();
        let answers: Vec<_> = all.iter().map(|r| r["answer"].as_u64()).collect();
        assert_eq!(answers, [Some(200), Some(429), Some(200), Some(0)]);
        assert_eq!(all[0]["body"]["text"], "one");
        assert_eq!(all[0]["method"], "POST");
        assert_eq!(all[0]["path"], "/hook");
        assert_eq!(all[0]["headers"]["x-test"], "Yes");
        assert!((wall_us() - all[0]["at_us"].as_i64().unwrap()).abs() < 60_000_000);
        assert_eq!(receiver.accepted().len(), 2);
    }

    fn a_hanging_mount_hangs_and_can_be_ended(c: Container) {
        c.hang_mount("/mnt/hang");
        let stuck = c.exec(&["timeout", "0.5", "stat", "-f", "/mnt/hang"]);
        assert_eq!(stuck.code, 124);
        c.unhang("/mnt/hang");
    }

    fn the_unit_file_is_sound_and_hardened(c: Container) {
        c.install_keepwell("", User::Keepwell);
        let verified = c.exec(&["systemd-analyze", "verify", "keepwell.service"]);
        assert!(verified.ok() && verified.stderr.is_empty(), "{}", verified.stderr);
        let score = c.sh("systemd-analyze security --no-pager keepwell.service | tail -n 1");
        let score: f64 = score.split(' ').find_map(|word| word.parse().ok()).unwrap();
        assert!(score <= 2.0, "exposure is {score}");
        assert!(c.sh("id keepwell").contains("systemd-journal"));
    }
}

#[test]
fn samples_are_found_whatever_the_order_of_labels() {
    use support::keepwell::find_sample;
    let text = "# TYPE a counter\na{host=\"h\",unit=\"x.service\"} 3\nab 1\nb 2.5\n";
    assert_eq!(find_sample(text, "a{unit=\"x.service\"}"), Some(3.0));
    assert_eq!(find_sample(text, "a{unit=\"y.service\"}"), None);
    assert_eq!(find_sample(text, "b"), Some(2.5));
}
