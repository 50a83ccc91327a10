//! What each contestant costs with N watched units when nothing happens: start-up, CPU time and
//! memory.
//!
//! CPU time is what the cgroups count (`cpu.stat`, in µs, children that have ended included), over a
//! window in which all contestants run at once, each in a container of its own. What PID 1,
//! dbus-daemon and journald spend is compared with the container in which nobody watches.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::Settings;
use super::contestant::{Contestant, start_victims};
use super::report::{progress, row, say, table};
use super::support::clock::monotonic;
use super::support::{Container, Options};

/// Whose work rises with what a contestant asks of them.
const HOST: [&str; 3] = ["init.scope", "dbus.service", "systemd-journald.service"];

/// One contestant that runs.
struct Running {
    who: Contestant,
    container: Container,
    /// Until `systemctl start` returned.
    start: Duration,
    before: Spent,
}

/// CPU time in µs.
#[derive(Clone, Copy, Default)]
struct Spent {
    own: u64,
    host: [u64; 3],
}

pub(crate) fn measure(settings: &Settings) -> Result<(), String> {
    say("## Footprint\n");
    say(&format!(
        "Nothing happens for {} s; all run at once, each in a container of its own. CPU in seconds per \
         hour: its own with children, and what it makes PID 1, dbus-daemon and journald spend beyond \
         an idle host (what is below 0 is noise). Memory in MB, of all its processes; monit looks every 120 s (Debian's default), \
         keepwell as configured by default.\n",
        settings.window
    ));
    table(&[
        "units",
        "who",
        "start-up ms",
        "CPU own",
        "PID 1",
        "dbus",
        "journald",
        "CPU in all",
        "RSS",
        "anonymous",
        "processes",
    ]);
    for units in &settings.units {
        one(settings, *units)?;
    }
    say("");
    Ok(())
}

fn one(settings: &Settings, units: usize) -> Result<(), String> {
    let wanted =
        Contestant::ALL.into_iter().filter(|w| *w == Contestant::Idle || settings.wants(w.name()));
    let mut running = Vec::new();
    for who in wanted {
        progress(&format!("footprint: {units} units: {}", who.name()));
        let options = Options { packages: vec!["monit"], ..Options::default() };
        let container = Container::boot("bookworm", options).ok_or("no container")?;
        start_victims(&container, units);
        if who == Contestant::Keepwell {
            container.receiver();
        }
        who.install(&container, units);
        let begin = monotonic();
        if let Some(unit) = who.unit() {
            container.systemctl(&["start", unit]);
        }
        let start = monotonic() - begin;
        running.push(Running { who, container, start, before: Spent::default() });
    }
    // What follows the start (first look, caches) is no part of the running cost.
    thread::sleep(Duration::from_secs(20));
    progress(&format!("footprint: {units} units: measuring for {} s", settings.window));
    for one in &mut running {
        one.before = spent(&one.container, one.who);
    }
    let begin = monotonic();
    thread::sleep(Duration::from_secs(settings.window));
    let hour = 3600.0 / (monotonic() - begin).as_secs_f64();
    let used: Vec<Spent> = running
        .iter()
        .map(|one| {
            let after = spent(&one.container, one.who);
            let mut host = after.host;
            host.iter_mut().zip(one.before.host).for_each(|(a, b)| *a -= b);
            Spent { own: after.own - one.before.own, host }
        })
        .collect();
    let idle = used[0].host;
    for (one, used) in running.iter().zip(&used) {
        let per_hour = |us: f64| us / 1e6 * hour;
        let own = per_hour(used.own as f64);
        let is_idle = one.who == Contestant::Idle;
        let host: Vec<f64> = used
            .host
            .iter()
            .zip(idle)
            .map(|(used, idle)| per_hour(*used as f64 - if is_idle { 0.0 } else { idle as f64 }))
            .collect();
        let memory = memory(&one.container, one.who);
        let cpu = |value: f64| format!("{value:.3}");
        row(&[
            units.to_string(),
            one.who.name().to_owned(),
            if is_idle { "-".into() } else { format!("{:.0}", one.start.as_secs_f64() * 1000.0) },
            cpu(own),
            cpu(host[0]),
            cpu(host[1]),
            cpu(host[2]),
            cpu(own + host.iter().sum::<f64>()),
            format!("{:.1}", memory.rss as f64 / 1e3),
            format!("{:.1}", memory.anonymous as f64 / 1e3),
            memory.processes,
        ]);
    }
    Ok(())
}

fn spent(c: &Container, who: Contestant) -> Spent {
    let of = |unit: &str| cpu_us(&c.unit_cgroup(unit));
    Spent { own: who.unit().map_or(0, of), host: HOST.map(of) }
}

/// `usage_usec` of a cgroup; 0 when it is not there.
pub(crate) fn cpu_us(cgroup: &Path) -> u64 {
    let text = fs::read_to_string(cgroup.join("cpu.stat")).unwrap_or_default();
    let usage = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
    usage.and_then(|us| us.parse().ok()).unwrap_or(0)
}

/// Memory in kB of all processes of a contestant.
pub(crate) struct Memory {
    pub(crate) rss: u64,
    pub(crate) anonymous: u64,
    processes: String,
}

pub(crate) fn memory(c: &Container, who: Contestant) -> Memory {
    let mut all = Memory { rss: 0, anonymous: 0, processes: "-".into() };
    let Some(unit) = who.unit() else { return all };
    let pids = fs::read_to_string(c.unit_cgroup(unit).join("cgroup.procs")).unwrap_or_default();
    let mut names = Vec::new();
    for pid in pids.lines() {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let kb = |key: &str| {
            let line = rollup.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse().ok()).unwrap_or(0)
        };
        all.rss += kb("Rss:");
        all.anonymous += kb("Anonymous:");
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        names.push(format!(
            "{} {:.1}/{:.1}",
            name.trim(),
            kb("Rss:") as f64 / 1e3,
            kb("Anonymous:") as f64 / 1e3
        ));
    }
    all.processes = names.join(", ");
    all
}
