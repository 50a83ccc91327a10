//! What keepwell costs on a host with N containers when nothing happens: start-up, CPU time and
//! memory, and what it makes Docker and its containerd spend, beside a host where nobody watches.

use std::thread;
use std::time::Duration;

use super::Settings;
use super::contestant::Contestant;
use super::docker_host;
use super::footprint::{cpu_us, memory};
use super::report::{progress, row, say, table};
use super::support::clock::monotonic;
use super::support::{Container, User, wait_until};

/// Whose work rises with what keepwell asks of them; the shims of all containers are the second's.
const ENGINE: [&str; 2] = ["docker.service", "containerd.service"];
/// As many at a time, for one command may take two minutes at most.
const BATCH: usize = 20;

struct Host {
    container: Container,
    who: Contestant,
    start: Duration,
    before: [u64; 3],
}

pub(crate) fn measure(settings: &Settings) -> Result<(), String> {
    say("## Containers\n");
    say(&format!(
        "{} containers of Docker (Debian 13's) that sleep, without health checks; nothing happens \
         for {} s. Two hosts run at once, on one of them keepwell, with access by group docker and its default \
         configuration. CPU in seconds per hour: its own, and what it makes dockerd and containerd \
         (with the shims) spend beyond the other host. Memory in MB.\n",
        settings.containers, settings.window
    ));
    table(&[
        "containers",
        "who",
        "start-up ms",
        "CPU own",
        "dockerd",
        "containerd",
        "CPU in all",
        "RSS",
        "anonymous",
        "peak",
    ]);
    let mut hosts = Vec::new();
    for who in [Contestant::Idle, Contestant::Keepwell] {
        progress(&format!("containers: a host with {} ({})", settings.containers, who.name()));
        let container = docker_host::boot().ok_or("no container")?;
        container.sh("systemctl stop '*.timer'");
        fill(&container, settings.containers);
        hosts.push(Host { container, who, start: Duration::ZERO, before: [0; 3] });
    }
    for host in &mut hosts {
        if host.who == Contestant::Keepwell {
            host.start = start(&host.container, settings.containers);
        }
    }
    // What follows the start (first look, caches) is no part of the running cost.
    thread::sleep(Duration::from_secs(30));
    progress(&format!("containers: measuring for {} s", settings.window));
    for host in &mut hosts {
        host.before = spent(host);
    }
    let begin = monotonic();
    thread::sleep(Duration::from_secs(settings.window));
    let hour = 3600.0 / (monotonic() - begin).as_secs_f64();
    let used = hosts.iter().map(|host| {
        let after = spent(host);
        let used = |n: usize| after[n].saturating_sub(host.before[n]) as f64 / 1e6 * hour;
        [used(0), used(1), used(2)]
    });
    let used: Vec<[f64; 3]> = used.collect();
    let idle = used[0];
    for (host, used) in hosts.iter().zip(&used) {
        let watched = host.who == Contestant::Keepwell;
        let beyond = |n: usize| if watched { used[n] - idle[n] } else { used[n] };
        let memory = memory(&host.container, host.who);
        let peak = if watched { peak(&host.container) } else { "-".into() };
        row(&[
            settings.containers.to_string(),
            host.who.name().to_owned(),
            if watched { format!("{:.0}", host.start.as_secs_f64() * 1000.0) } else { "-".into() },
            format!("{:.2}", used[0]),
            format!("{:.2}", beyond(1)),
            format!("{:.2}", beyond(2)),
            format!("{:.2}", used[0] + beyond(1) + beyond(2)),
            format!("{:.1}", memory.rss as f64 / 1e3),
            format!("{:.1}", memory.anonymous as f64 / 1e3),
            peak,
        ]);
    }
    say("");
    Ok(())
}

fn fill(c: &Container, containers: usize) {
    for first in (1..=containers).step_by(BATCH) {
        let last = (first + BATCH - 1).min(containers);
        c.sh(&format!(
            "seq {first} {last} | xargs -P 4 -I@ \
             docker run --detach --name victim-@ --network none busybox >/dev/null"
        ));
    }
}

/// Until systemd has READY=1, by which time every container was looked at.
fn start(c: &Container, containers: usize) -> Duration {
    c.install_keepwell("", User::Keepwell);
    c.install_ways_to_docker();
    c.sh("install -D -m 644 /usr/share/keepwell/docker.conf \
          /etc/systemd/system/keepwell.service.d/docker.conf");
    c.systemctl(&["daemon-reload"]);
    let begin = monotonic();
    c.systemctl(&["start", "keepwell"]);
    let took = monotonic() - begin;
    wait_until(Duration::from_secs(60), "all containers are known", || {
        let status = c.keepwell(&["status", "--all", "--json"]).stdout;
        status.matches("\"container:victim-").count() >= containers
    });
    took
}

fn spent(host: &Host) -> [u64; 3] {
    let of = |unit: &str| cpu_us(&host.container.unit_cgroup(unit));
    [host.who.unit().map_or(0, of), of(ENGINE[0]), of(ENGINE[1])]
}

/// The most memory that keepwell had at once, in MB.
fn peak(c: &Container) -> String {
    let pid = c.main_pid("keepwell");
    let status = c.sh(&format!("cat /proc/{pid}/status"));
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kb = line.and_then(|l| l.split_whitespace().next()).and_then(|kb| kb.parse::<f64>().ok());
    kb.map_or_else(|| "?".into(), |kb| format!("{:.1}", kb / 1e3))
}
