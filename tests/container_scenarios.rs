//! What is told, healed and passed on to hooks in the life of containers, as a table of scenarios:
//! read them as those of `alert_scenarios.rs`. `docker …` is an act at a model of a container
//! engine, `restart can` a restart by keepwell, `reg < started can` a call of the hook `reg`;
//! `docker unheard …` happens while keepwell does not run. What a container is called begins with
//! `can`; the rule for `can` is the scenario's.

mod dock;
mod scenario;

use std::collections::BTreeSet;

use keepwell::engine::Rules;
use keepwell::engine::hook::Transition;
use keepwell::engine::rules::*;

fn ops() -> Rules {
    Rules { channels: vec![ChannelRule::new("ops", "webhook")], ..Rules::default() }
}

fn with(mut rules: Rules, change: impl FnOnce(&mut Rules)) -> Rules {
    change(&mut rules);
    rules
}

fn rule(name: &str) -> ContainerRule {
    let name = Some(glob::Pattern::new(name).expect("a pattern"));
    ContainerRule::new(Selector { name, ..Selector::default() })
}

fn named(change: impl FnOnce(&mut ContainerRule)) -> Rules {
    let mut rule = rule("can");
    change(&mut rule);
    with(ops(), |r| r.containers.list = vec![rule])
}

fn healed() -> Rules {
    named(|r| r.restart = true)
}

fn required() -> Rules {
    named(|r| r.required = true)
}

fn noticing(rules: Rules) -> Rules {
    with(rules, |r| r.channels[0].notices = true)
}

fn hook(name: &str, events: &[Transition]) -> HookRule {
    HookRule {
        name: name.into(),
        kind: "http".into(),
        events: events.iter().copied().collect(),
        who: Vec::new(),
    }
}

/// Hook `reg` is told of everything.
fn hooked() -> Rules {
    let all: BTreeSet<Transition> = Transition::ALL.iter().copied().collect();
    with(ops(), |r| {
        r.channels.clear();
        r.hooks = vec![hook("reg", &all.into_iter().collect::<Vec<_>>())];
    })
}

/// Hook `bill` is told of starts and ends.
fn billed() -> Rules {
    use Transition::{Died, Removed, Started, Stopped};
    with(hooked(), |r| r.hooks = vec![hook("bill", &[Started, Stopped, Died, Removed])])
}

type Scenario = (&'static str, fn() -> Rules, &'static str);

#[rustfmt::skip]
const SCENARIOS: &[Scenario] = &[
    // Down.
    ("a crash counts after a minute, and its end when it has stayed up", ops, "
        10s   docker run can
        20s   docker crash can 1
        1m21s ops < opened container:can
        2m    docker start can
        2m6s  ops < resolved container:can
    "),
    ("a stop by a person is no alert", required, "
        10s   docker run can
        20s   docker stop can
        1h
    "),
    ("a kill by a person is none either", required, "
        10s   docker run can
        20s   docker kill can 9
        1h
    "),
    ("a signal that ends nothing, and a crash much later", ops, "
        10s   docker run can
        20s   docker kill can 1
        30s   docker crash can 1
        1m31s ops < opened container:can
    "),
    ("a SIGTERM that it survived says nothing of a crash an hour later", ops, "
        10s   docker run can
        20s   docker kill can 15
        1h    docker crash can 1
        1h1m1s ops < opened container:can
    "),
    ("what ends without an error has finished", ops, "
        10s   docker run can
        20s   docker crash can 0
        1h
    "),
    ("but what is required must run", required, "
        10s   docker run can
        20s   docker crash can 0
        1m21s ops < opened container:can
    "),
    ("a container that is killed for want of memory", ops, "
        10s   docker run can
        20s   docker starve can
        1m21s ops < opened container:can
    "),
    ("what had ended before keepwell came is history, unless somebody named it", ops, "
        0s    keepwell is new
        1s    docker unheard run can
        2s    docker unheard crash can 1
        3s    keepwell is new
        1h
    "),
    ("a named one counts though keepwell never saw it run", || named(|_| ()), "
        1s    docker unheard run can
        2s    docker unheard crash can 1
        3s    keepwell is new
        1m4s  ops < opened container:can
    "),
    ("a crash while keepwell was down is told when it is back", ops, "
        10s   docker run can
        20s   docker unheard crash can 1
        30s   keepwell is killed
        1m31s ops < opened container:can
    "),
    ("a stop while keepwell was down is none", required, "
        10s   docker run can
        20s   docker unheard stop can
        30s   keepwell is killed
        1h
    "),
    ("an alert goes on over a restart of keepwell", ops, "
        10s   docker run can
        20s   docker crash can 1
        1m21s ops < opened container:can
        2m    keepwell is killed
        3m    keepwell is killed
        1h    docker start can
        1h6s  ops < resolved container:can
    "),
    ("a job that fails and goes within the minute is nobody's business", ops, "
        10s   docker run can
        20s   docker crash can 1
        21s   docker rm can
        1h
    "),
    ("what is removed by force was not to run", ops, "
        10s   docker run can
        20s   docker rm can
        1h
    "),
    ("the removal of what is down ends its alert", ops, "
        10s   docker run can
        20s   docker crash can 1
        1m21s ops < opened container:can
        2m    docker rm can
        2m11s ops < resolved container:can
    "),
    ("a repeat within five minutes is muted", ops, "
        10s   docker run can
        20s   docker crash can 1
        1m21s ops < opened container:can
        2m    docker start can
        2m6s  ops < resolved container:can
        3m    docker crash can 1
        6m21s ops < opened container:can
    "),

    // Made anew.
    ("an update of the image is no crash", required, "
        10s   docker run can
        20s   docker is recreated can
        1h
    "),
    ("one that is made anew because it was down, and stays down, is the same story", ops, "
        10s   docker run can
        20s   docker crash can 1
        1m21s ops < opened container:can
        2m    docker rm can
        2m2s  docker run can
        2m5s  docker crash can 1
        5m    docker start can
        5m6s  ops < resolved container:can
    "),
    ("one that is required and gone is told", required, "
        10s   docker run can
        20s   docker rm can
        1m21s ops < opened container:can
        2m    docker run can
        2m6s  ops < resolved container:can
    "),
    ("one that is named and was never there is a warning", || named(|_| ()), "
        1m1s  ops < opened container:can
        2m    docker run can
        2m6s  ops < resolved container:can
    "),
    ("one that is named and was removed is not", || named(|_| ()), "
        10s   docker run can
        20s   docker stop can
        30s   docker rm can
        40s   keepwell is killed
        1h
    "),
    ("a rename takes the check along", ops, "
        10s   docker run can
        20s   docker rename can can2
        30s   docker crash can2 1
        1m31s ops < opened container:can2
    "),
    ("what was stopped and put aside under another name stays stopped", ops, "
        10s   docker run can
        20s   docker stop can
        30s   docker rename can can2
        31s   docker run can
        1h
    "),
    ("what crashed is no less down under another name", ops, "
        10s   docker run can
        20s   docker crash can 1
        21s   docker rename can can2
        1m22s ops < opened container:can2
    "),

    // Health and policy.
    ("an unhealthy one counts at once", ops, "
        10s   docker run can checked
        20s   docker healthy can
        30s   docker unhealthy can
        31s   ops < opened container:can
        1m    docker healthy can
        1m6s  ops < resolved container:can
    "),
    ("its policy starts it again, and that is no alert", ops, "
        10s   docker run can always
        20s   docker crash can 1
        1h
    "),
    ("more than three restarts in five minutes are one, which ends by itself", ops, "
        10s   docker run can always
        20s   docker crash can 1
        30s   docker crash can 1
        40s   docker crash can 1
        50s   docker crash can 1
        51s   ops < opened container:can (crash-loop)
        5m21s ops < resolved container:can (crash-loop)
    "),
    ("a stop while its policy tries is a stop", ops, "
        10s   docker run can always
        20s   docker crash can 1
        20.1s docker stop can
        1h
    "),
    ("a person's restarts are no loop", ops, "
        10s   docker run can
        20s   docker restart can
        21s   docker restart can
        22s   docker restart can
        23s   docker restart can
        24s   docker restart can
        1h
    "),
    ("a paused one is well", required, "
        10s   docker run can
        20s   docker pause can
        1h    docker unpause can
    "),
    ("memory over nine tenths for two minutes", ops, "
        10s   docker run can
        20s   docker uses can 95
        2m    docker uses can 95
        2m21s ops < opened container:can (memory)
        3m    docker uses can 50
        5m    docker uses can 50
        5m1s  ops < resolved container:can (memory)
    "),

    ("of its processors only where that is asked for", ops, "
        10s   docker run can
        20s   docker computes can 4
        5m    docker computes can 4
        1h
    "),
    ("processors over half of the limit for a minute", || named(|r| {
        r.cpu = Levels::try_new(Some(0.5), None, Confirm::lasting(scenario::MINUTE)).expect("valid");
    }), "
        10s   docker run can cpus=2
        20s   docker computes can 0.9
        2m    docker computes can 1.1
        3m    docker computes can 1.2
        3m1s  ops < opened container:can (cpu)
        4m    docker computes can 0.2
        5m    docker computes can 0.1
        5m1s  ops < resolved container:can (cpu)
    "),
    ("processors of the host where it has no limit, and none when it ends", || named(|r| {
        r.cpu = Levels::try_new(Some(0.5), None, Confirm::lasting(scenario::MINUTE)).expect("valid");
    }), "
        10s   docker run can
        20s   docker computes can 0.8
        2m    docker computes can 3
        3m    docker computes can 3
        3m1s  ops < opened container:can (cpu)
        4m    docker stop can
        4m1s  ops < resolved container:can (cpu)
    "),

    // What is said of it.
    ("image, project and exit code, and at the end what it is by then", ops, "
        10s   docker run can project=shop
        20s   docker crash can 3
        1m21s ops < opened container:can
        1m22s docker is said to be nginx:alpine shop exit 3
        2m    docker start can
        2m6s  ops < resolved container:can
        2m7s  docker is said to be nginx:alpine shop restarts 1
    "),
    ("what its health check printed, while it fails", ops, "
        10s   docker run can checked
        20s   docker healthy can
        30s   docker unhealthy can
        31s   ops < opened container:can
        32s   docker is said to be nginx:alpine because no answer
        1m    docker healthy can
        1m6s  ops < resolved container:can
        1m7s  docker is said to be nginx:alpine
    "),

    // Healing.
    ("a crash is healed before it is an alert", healed, "
        10s   docker run can
        20s   docker crash can 1
        30s   restart can
        1h
    "),
    ("an unhealthy one is restarted", healed, "
        10s   docker run can checked
        20s   docker unhealthy can
        21s   ops < opened container:can
        30s   restart can
        40s   docker healthy can
        46s   ops < resolved container:can
    "),
    ("one that is restarted is not well before its health check says so", healed, "
        10s   docker run can checked
        20s   docker unhealthy can
        21s   ops < opened container:can
        30s   restart can
        2m    docker unhealthy can
        2m20s restart can
        4m    docker healthy can
        4m6s  ops < resolved container:can
    "),
    ("keepwell's own restart is no person's stop", healed, "
        10s   docker run can checked
        20s   docker unhealthy can
        21s   ops < opened container:can
        30s   restart can
        31s   docker crash can 1
        51s   restart can
        57s   ops < resolved container:can
    "),
    ("what a person stopped is not restarted", healed, "
        10s   docker run can
        20s   docker crash can 1
        21s   docker start can
        22s   docker stop can
        1h
    "),
    ("what is held is left alone", healed, "
        10s   docker run can
        15s   hold container:can for 2m
        20s   docker crash can 1
        1m21s ops < opened container:can
        2m15s restart can
        2m21s ops < resolved container:can
    "),
    ("a person may ask for a restart", || with(healed(), |r| r.containers.list[0].backoff = Backoff::try_new(10 * scenario::MINUTE, 1.0, 10 * scenario::MINUTE, 10 * scenario::MINUTE, scenario::MINUTE / 12, None).expect("valid")), "
        10s   docker run can
        20s   docker crash can 1
        40s   ask for restart of container:can
        40s   restart can
        1h
    "),
    ("keepwell gives up", || named(|r| {
        r.restart = true;
        r.backoff = Backoff::try_new(scenario::MINUTE / 6, 1.0, scenario::MINUTE, 10 * scenario::MINUTE, scenario::MINUTE / 12, Some(2)).expect("valid");
    }), "
        5s    restarts fail
        10s   docker run can
        20s   docker crash can 1
        30s   restart can
        40s   restart can
        1m21s ops < opened container:can
        1h
    "),
    ("who shares a network follows", || with(ops(), |r| r.containers.list = vec![ContainerRule { restart: true, ..rule("can2") }]), "
        10s   docker run can
        11s   docker run can2 net=can
        20s   docker restart can
        30s   restart can2
        1h
    "),
    ("who shares the network of what is gone must be made anew", || with(ops(), |r| r.containers.list = vec![ContainerRule { restart: true, ..rule("can2") }]), "
        10s   docker run can
        11s   docker run can2 net=can
        20s   docker rm can
        1m21s ops < opened container:can2
        1h
    "),

    // The engine.
    ("a restart of dockerd that leaves its containers running is no news", ops, "
        10s   docker run can
        20s   docker dies
        25s   docker comes back
        1h
    "),
    ("dockerd is killed with its containers: what it starts again is well, the rest is down", ops, "
        10s   docker run can always
        11s   docker run can2
        20s   docker dies with all
        25s   docker comes back
        1m36s ops < opened container:can2
    "),
    ("what dockerd kills when it comes back after a kill -9 was stopped by nobody", || healed(), "
        10s   docker run can
        20s   docker dies by kill
        25s   docker comes back
        45s   restart can
        1h
    "),
    ("what a stop of dockerd ended is down until somebody starts it", || required(), "
        10s   docker run can
        20s   docker dies with all
        30s   docker comes back
        1m41s ops < opened container:can
        2m    docker start can
        2m6s  ops < resolved container:can
    "),
    ("what a person stopped before dockerd was restarted stays down", || healed(), "
        10s   docker run can
        15s   docker stop can
        20s   docker dies with all
        25s   docker comes back
        1h
    "),
    ("what a person stops once dockerd is back stays down", || healed(), "
        10s   docker run can
        20s   docker dies
        25s   docker comes back
        40s   docker stop can
        1h
    "),
    ("what is only made is not started by keepwell, also when it must run", || named(|r| (r.required, r.restart) = (true, true)), "
        10s   docker create can
        1m1s  ops < opened container:can
        1h
    "),
    ("podman tells nothing of a stop that took long, and keepwell leaves it alone", || healed(), "
        10s   docker run can
        20s   docker is silently stopped can
        1h
    "),
    ("a crash is healed also where stops are silent", || healed(), "
        10s   docker run can
        20s   docker crashes silently can
        30s   restart can
        1h
    "),
    ("a dockerd that stays away is a warning, and what was open stays open", ops, "
        10s   docker run can
        20s   docker crash can 1
        1m21s ops < opened container:can
        2m    docker dies
        2m11s ops < opened agent:engine-docker
        1h    docker comes back
        1h1s  ops < resolved agent:engine-docker
        2h    docker start can
        2h6s  ops < resolved container:can
    "),
    ("a shutdown of the host holds everything back", || required(), "
        10s   docker run can
        20s   shutdown begins
        21s   docker crash can 1
        1h
    "),
    ("an upgrade holds everything back", healed, "
        5s    dpkg begins
        10s   docker run can
        20s   docker crash can 1
        5m    dpkg ends
        5m5s  ops < opened container:can
        5m5s  restart can
        5m11s ops < resolved container:can
        1h
    "),

    // Labels.
    ("a label keeps keepwell away", ops, "
        10s   docker run can enable:false
        20s   docker crash can 1
        1h
    "),
    ("labels ask for a restart", ops, "
        10s   docker run can restart:true
        20s   docker crash can 1
        30s   restart can
        1h
    "),
    ("labels make it required", ops, "
        10s   docker run can required:true severity:warning
        20s   docker crash can 0
        1m21s ops < opened container:can
    "),
    ("what is not to be watched is not", || with(ops(), |r| r.containers.all = false), "
        10s   docker run can
        20s   docker crash can 1
        1h
    "),

    // Notices.
    ("who asks for notices hears of starts and stops", || noticing(ops()), "
        10s   docker run can
        11s   ops < started container:can
        20s   docker stop can
        21s   ops < stopped container:can
        30s   docker start can
        31s   ops < started container:can
    "),
    ("and of restarts", || noticing(healed()), "
        10s   docker run can
        11s   ops < started container:can
        20s   docker crash can 1
        21s   ops < restarting container:can
        30s   restart can
        31s   ops < restarted container:can
        40s   ops < restored container:can
    "),

    // Hooks.
    ("a hook is told of each transition, in order", hooked, "
        10s   docker run can checked
        10s   reg < created can
        10s   reg < started can
        11s   docker healthy can
        11s   reg < healthy can
        12s   docker unhealthy can
        12s   reg < unhealthy can
        13s   docker pause can
        13s   reg < paused can
        14s   docker unpause can
        14s   reg < unpaused can
        15s   docker stop can
        15s   reg < stopped can
        16s   docker start can
        16s   reg < started can
        17s   docker crash can 1
        17s   reg < died can
        18s   docker rm can
        18s   reg < removed can
    "),
    ("what is removed by force ended first", billed, "
        10s   docker run can
        10s   bill < started can
        20s   docker rm can
        20s   bill < stopped can
        20s   bill < removed can
    "),
    ("a restart tells both", billed, "
        10s   docker run can
        10s   bill < started can
        20s   docker restart can
        20s   bill < stopped can
        20s   bill < started can
    "),
    ("what happened while keepwell was down is made up for", billed, "
        10s   docker run can
        10s   bill < started can
        20s   docker unheard restart can
        21s   docker unheard crash can 1
        22s   docker unheard run can2
        23s   docker unheard run can3
        24s   docker unheard rm can3
        30s   keepwell is killed
        30s   bill < started can3
        30s   bill < stopped can3
        30s   bill < removed can3
        30s   bill < stopped can
        30s   bill < started can
        30s   bill < died can
        30s   bill < started can2
        1m    keepwell is killed
    "),
    ("what happened while dockerd was down too", billed, "
        10s   docker run can always
        10s   bill < started can
        20s   docker dies with all
        25s   docker comes back
        25s   bill < died can
        25s   bill < started can
    "),
    ("a list that comes twice says nothing new", billed, "
        10s   docker run can
        10s   bill < started can
        20s   docker lists
        30s   docker lists
        40s   keepwell is killed
    "),
    ("what runs when keepwell comes is told to whom it is new", billed, "
        1s    docker unheard run can
        2s    docker unheard run can2
        3s    docker unheard crash can2 1
        4s    keepwell is new
        4s    bill < started can
        1h    keepwell is killed
    "),
    ("labels keep hooks away", billed, "
        10s   docker run can hooks:false
        20s   docker rm can
    "),
];

#[test]
fn every_scenario_tells_what_it_says() {
    let only = std::env::var("KEEPWELL_SCENARIO").unwrap_or_default();
    let mut faults = Vec::new();
    for (name, rules, script) in SCENARIOS.iter().filter(|(name, ..)| name.contains(&only)) {
        // Each has a container engine, also those that it says nothing about.
        let script = format!("0s docker lists\n{script}");
        if let Err(fault) = scenario::play(rules(), &script) {
            faults.push(format!("{name}\n  {fault}"));
        }
    }
    assert!(faults.is_empty(), "{} faults\n\n{}", faults.len(), faults.join("\n"));
}
