//! A newcomer on a fresh host, with the package and the README: from nothing to the first alert
//! received, by the commands of the page alone. Only the address of the example is replaced.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "no test uses all of it")]
#[path = "documents/blocks.rs"]
mod blocks;
#[allow(dead_code, reason = "no test uses all of it")]
#[path = "documents/reader.rs"]
mod reader;
#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use reader::Reader;
use support::*;

/// What any one thing may take on a busy machine.
const LONG: Duration = Duration::from_secs(180);

on_each_image! {
    fn the_readme_leads_to_the_first_alert(c: Container) {
        // The service that the newcomer has.
        c.unit("shop.service", "[Service]\nExecStart=/bin/sleep infinity\n");
        c.systemctl(&["start", "shop"]);
        let Some(mut newcomer) = Reader::new(&c, "dist") else { return };
        let run = newcomer.follows("README.md");
        assert!(run >= 4, "only {run} blocks of the README are run");

        // As promised: told once of what broke, why it was not restarted, and that it is over.
        let received = newcomer.received();
        let told = received.lines().any(|l| l.contains("try-me.service") && l.contains("exit code 1"));
        assert!(told, "{received}");
        assert!(newcomer.seen().contains("not-configured"), "{}", newcomer.seen());
        // And what was put into its care is restarted from now on.
        let before = c.property("shop", "InvocationID");
        c.kill("shop", "KILL");
        wait_until(LONG, "shop.service is restarted", || {
            c.active_state("shop") == "active" && c.property("shop", "InvocationID") != before
        });
        wait_until(LONG, "the alert about shop.service", || {
            let received = newcomer.received();
            received.lines().any(|l| l.contains("shop.service") && l.contains("SIGKILL"))
        });
        // Nothing else was touched, and nothing is wrong with keepwell itself.
        assert_eq!(c.sh("systemctl is-active keepwell"), "active");
        assert_eq!(c.property("keepwell", "User"), "keepwell");
    }
}
