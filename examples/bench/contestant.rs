//! Who is measured, and how each is installed in a container as `contestant.service`-like unit.

use std::path::PathBuf;

use super::support::keepwell::built;
use super::support::{Container, Receiver, User};

/// One of those measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contestant {
    /// Nobody: what the host itself costs.
    Idle,
    /// A bare subscriber.
    Floor,
    /// keepwell, with its own unit file.
    Keepwell,
    /// monit that looks at PID files.
    MonitPid,
    /// monit that asks `systemctl is-active`.
    MonitSystemctl,
}

/// Of the units that are watched.
pub(crate) const TEMPLATE: &str = "victim@";

impl Contestant {
    /// All.
    pub(crate) const ALL: [Self; 5] =
        [Self::Idle, Self::Floor, Self::Keepwell, Self::MonitPid, Self::MonitSystemctl];

    /// As it is called on the command line and in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Floor => "floor",
            Self::Keepwell => "keepwell",
            Self::MonitPid => "monit-pid",
            Self::MonitSystemctl => "monit-systemctl",
        }
    }

    /// Its unit.
    pub(crate) fn unit(self) -> Option<&'static str> {
        match self {
            Self::Idle => None,
            Self::Floor => Some("floor.service"),
            Self::Keepwell => Some("keepwell.service"),
            Self::MonitPid | Self::MonitSystemctl => Some("monit-bench.service"),
        }
    }

    /// Installs it to watch `units` instances of [`TEMPLATE`]; starts nothing.
    pub(crate) fn install(self, c: &Container, units: usize) {
        match self {
            Self::Idle => {}
            Self::Floor => {
                c.install_program(&floor(), "/usr/bin/floor");
                c.unit(
                    "floor.service",
                    "[Service]\nType=notify\nExecStart=/usr/bin/floor /run/floor.log\n",
                );
            }
            Self::Keepwell => c.install_keepwell(&config(), User::Keepwell),
            Self::MonitPid => {
                self.monit(c, units, |n| {
                    format!("check process victim{n} with pidfile /run/pids/{n}.pid\n")
                });
                // Where a daemon would have written its own.
                c.sh(&format!(
                    "mkdir -p /run/pids; for n in $(seq {units}); do \
                     echo {TEMPLATE}$n; done | xargs systemctl show -P MainPID | grep . | \
                     awk '{{ print > (\"/run/pids/\" NR \".pid\") }}'"
                ));
            }
            Self::MonitSystemctl => self.monit(c, units, |n| {
                format!(
                    "check program victim{n} with path \"/usr/bin/systemctl is-active {TEMPLATE}{n}\"\n\
                     \x20 if status != 0 then alert\n"
                )
            }),
        }
    }

    fn monit(self, c: &Container, units: usize, check: impl Fn(usize) -> String) {
        // 120 s is Debian's interval.
        let mut config = String::from(
            "set daemon 120\nset log /var/log/monit.log\nset idfile /var/lib/monit.id\n\
             set statefile /var/lib/monit.state\n",
        );
        for n in 1..=units {
            config.push_str(&check(n));
        }
        c.write("/etc/monit-bench", &config);
        c.sh("chmod 600 /etc/monit-bench");
        c.unit(
            "monit-bench.service",
            "[Service]\nExecStart=/usr/bin/monit -I -c /etc/monit-bench\n",
        );
    }
}

/// keepwell's configuration: what it does by default, with the victims named and a webhook.
pub(crate) fn config() -> String {
    format!(
        "[alerts]\ncooldown = \"0s\"\n\n[[unit]]\nname = \"{TEMPLATE}*.service\"\n\n{}",
        Receiver::channel()
    )
}

/// Installs and starts the victims.
pub(crate) fn start_victims(c: &Container, units: usize) {
    c.unit(
        &format!("{TEMPLATE}.service"),
        "[Unit]\nDescription=Victim %i\n[Service]\nExecStart=/bin/sleep infinity\n",
    );
    // Timers of the host would add their cost to whoever is measured.
    c.sh("systemctl stop '*.timer'; systemctl stop monit 2>/dev/null || true");
    c.sh(&format!("seq -f '{TEMPLATE}%g' {units} | xargs systemctl start"));
}

fn floor() -> PathBuf {
    std::env::var_os("KEEPWELL_FLOOR").map_or_else(|| built("floor"), PathBuf::from)
}
