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

fn of_a_project() -> Rules {
    let mut rule = ContainerRule::new(Selector::default());
    let shop = glob::Pattern::new("shop").expect("a pattern");
    rule.who.labels.insert("com.docker.compose.project".to_owned(), shop);
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
        receiver: "".into(),
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

/// The same, only of the one that is called so.
fn only_can() -> Rules {
    with(billed(), |r| r.hooks[0].who = vec![rule("can").who])
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
    ("a kill for want of memory is told of the container that it hit, and of no one else", ops, "
        10s   docker run can
        20s   docker starve can
        1m21s ops < opened container:can
        1h
    "),
    ("also where the kernel's count is read before the container is heard of", ops, "
        10s   docker run can
        49.9s docker unheard starve can
        51s   docker is heard again
        1m52s ops < opened container:can
        1h
    "),
    ("what its policy mends is told of the host, which says whose it was", ops, "
        10s   docker run can always
        20s   docker starve can
        1m26s ops < opened host:oom-kill
        16m26s ops < resolved host:oom-kill
    "),
    ("the same where only a child of it was killed", ops, "
        10s   docker run can
        20s   docker starve a child of can
        1m26s ops < opened host:oom-kill
        16m26s ops < resolved host:oom-kill
    "),
    ("one of two kills was the container's", ops, "
        10s   docker run can
        20s   docker starve can
        21s   the kernel starves somebody
        56s   ops < opened host:oom-kill
        1m21s ops < opened container:can
        15m51s ops < resolved host:oom-kill
    "),
    ("all its processes are its own where the kernel kills them at once", ops, "
        10s   docker run can
        15s   docker uses can 10 whole
        20s   docker starve can
        20s   the kernel starves somebody
        20s   the kernel starves somebody
        1m21s ops < opened container:can
        1h
    "),
    ("also where the kernel's count of them is read first", ops, "
        10s   docker run can
        15s   docker uses can 10 whole
        49.8s the kernel starves somebody
        49.9s docker unheard starve can
        51s   docker is heard again
        1m52s ops < opened container:can
        1h
    "),
    ("what is not watched is the host's", ops, "
        10s   docker run can enable:false
        20s   docker starve can
        56s   ops < opened host:oom-kill
        15m51s ops < resolved host:oom-kill
    "),
    ("a loop of kills for want of memory is one alert", ops, "
        10s   docker run can always
        20s   docker starve can
        30s   docker starve can
        40s   docker starve can
        50s   docker starve can
        51s   ops < opened container:can (crash-loop)
        5m21s ops < resolved container:can (crash-loop)
        1h
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
        1m3s  ops < opened container:can
    "),
    ("a crash while keepwell was down is told when it is back", ops, "
        10s   docker run can
        20s   docker unheard crash can 1
        30s   keepwell is killed
        1m21s ops < opened container:can
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
        2m11s ops < removed container:can
    "),
    ("so it does when keepwell was not there to hear of it", ops, "
        10s   docker run can
        20s   docker crash can 1
        1m21s ops < opened container:can
        2m    docker unheard rm can
        3m    keepwell is killed
        3m11s ops < removed container:can
    "),
    ("a named one that is down and is removed is over for that reason", || named(|_| ()), "
        10s   docker run can
        20s   docker crash can 1
        1m21s ops < opened container:can
        2m    docker rm can
        2m6s  ops < removed container:can
    "),
    ("one that takes the name of what is down and is not to be watched ends the alert", ops, "
        10s   docker run can
        20s   docker crash can 1
        1m21s ops < opened container:can
        2m    docker rm can
        2m2s  docker run can enable:false
        2m3s  ops < no-longer-watched container:can
    "),
    ("what is down and called otherwise is down under its new name", ops, "
        10s   docker run can
        20s   docker crash can 1
        1m21s ops < opened container:can
        2m    docker rename can can2
        2m1s  ops < opened container:can2
        2m11s ops < removed container:can
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
        1m21s ops < opened container:can2
    "),
    ("nor after a restart of keepwell", ops, "
        10s   docker run can
        20s   docker crash can 1
        21s   docker rename can can2
        1m21s ops < opened container:can2
        2m    keepwell is killed
        1h
    "),

    // Looks that fail.
    ("what events tell is believed when no look comes", ops, "
        10s   docker run can
        20s   docker hides can
        30s   docker crash can 1
        1m31s ops < opened container:can
        2m    docker shows can
        3m    docker start can
        3m6s  ops < resolved container:can
    "),
    ("and then nothing is taken for a stop by a person", ops, "
        10s   docker run can always
        20s   docker hides can
        30s   docker fail to stay can
        1m31s ops < opened container:can
    "),
    ("what is started again while no look succeeds is well again", ops, "
        10s   docker run can
        20s   docker crash can 1
        1m21s ops < opened container:can
        2m    docker hides can
        2m1s  docker start can
        2m27s ops < resolved container:can
    "),
    ("what is listed and cannot be looked at is not missing", required, "
        1s    docker unheard run can
        2s    docker forgets
        3s    docker hides can
        4s    docker is heard again
        1h    docker shows can
        2h    docker crash can 1
        2h1m1s ops < opened container:can
    "),
    ("until it is removed", required, "
        1s    docker unheard run can
        2s    docker forgets
        3s    docker hides can
        4s    docker is heard again
        10s   container can is unknown
        20s   docker rm can
        1m21s ops < opened container:can
    "),
    ("nor what only events have told of", required, "
        1s    docker unheard run can
        2s    docker hides can
        3s    docker is heard again
        10s   container can is unknown
        1h    docker shows can
        1h1s  container can is healthy
    "),
    ("what fits no container is shown by its words", of_a_project, "
        10s   container project shop is unknown
        20s   docker run can project=shop
        21s   container project shop is gone
        30s   docker rm can
        40s   docker lists
        41s   container project shop is unknown
    "),
    ("the minute goes on over a restart of keepwell", ops, "
        10s   docker run can
        20s   docker crash can 1
        1m    keepwell is killed
        1m21s ops < opened container:can
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
    ("one that ends down after a loop is the same story, which says so once", ops, "
        10s   docker run can tries=4
        20s   docker crash can 1
        30s   docker crash can 1
        40s   docker crash can 1
        50s   docker crash can 1
        51s   ops < opened container:can (crash-loop)
        1m    docker crash can 7
        2m1s  ops < worse container:can (crash-loop)
        2m2s  docker is said to be ended with exit code 7, after it was restarted 4 times within 5 min
        10m   docker start can
        10m6s ops < resolved container:can (crash-loop)
        1h
    "),
    ("a restart of keepwell tells nothing of that anew", ops, "
        10s   docker run can tries=4
        20s   docker crash can 1
        30s   docker crash can 1
        40s   docker crash can 1
        50s   docker crash can 1
        51s   ops < opened container:can (crash-loop)
        1m    docker crash can 7
        2m1s  ops < worse container:can (crash-loop)
        3m    keepwell is killed
        10m   keepwell is killed
        20m   docker start can
        20m6s ops < resolved container:can (crash-loop)
        1h
    "),
    ("the loop that a required one ends down after becomes critical", required, "
        10s   docker run can tries=4
        20s   docker crash can 1
        30s   docker crash can 1
        40s   docker crash can 1
        50s   docker crash can 1
        51s   ops < opened container:can (crash-loop)
        1m    docker crash can 1
        2m1s  ops < worse container:can (crash-loop)
        3m    docker start can
        3m6s  ops < better container:can (crash-loop)
        5m31s ops < resolved container:can (crash-loop)
        1h
    "),
    ("what ended down after a loop and is removed is over for that reason", ops, "
        10s   docker run can tries=4
        20s   docker crash can 1
        30s   docker crash can 1
        40s   docker crash can 1
        50s   docker crash can 1
        51s   ops < opened container:can (crash-loop)
        1m    docker crash can 1
        2m1s  ops < worse container:can (crash-loop)
        3m    docker rm can
        3m11s ops < removed container:can (crash-loop)
        1h
    "),
    ("a crash under a new name while keepwell is down is remembered", ops, "
        10s   docker run can
        20s   docker unheard rename can canned
        21s   docker unheard crash canned 1
        30s   keepwell is killed
        1m22s ops < opened container:canned
        2m    keepwell is killed
        10m   docker start canned
        10m6s ops < resolved container:canned
        1h
    "),
    ("one that was renamed and crashed before anybody looked as well", ops, "
        10s   docker create other
        20s   docker unheard start other
        21s   docker unheard rename other can
        22s   docker unheard crash can 1
        30s   keepwell is killed
        1m23s ops < opened container:can
        2m    keepwell is killed
        1h
    "),
    ("an engine that was removed is watched no more, and neither is what it had", ops, "
        10s   docker run can
        20s   docker crash can 1
        1m21s ops < opened container:can
        2m    docker dies
        2m11s ops < opened agent:engine-docker
        24h   docker is purged
        24h1s ops < no-longer-watched container:can, no-longer-watched agent:engine-docker
        48h
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
    ("who shares the network of what is down waits for that", || with(ops(), |r| r.containers.list = vec![ContainerRule { restart: true, ..rule("can2") }]), "
        10s   docker run can
        11s   docker run can2 net=can
        20s   docker crash can 1
        20s   docker crash can2 1
        1m21s ops < opened container:can, opened container:can2
        10m   docker start can
        10m6s ops < resolved container:can
        10m10s restart can2
        10m16s ops < resolved container:can2
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
    ("an engine that is left out for a while tells nothing anew, only what has changed", billed, "
        10s   docker run can
        10s   bill < started can
        11s   docker run can2
        11s   bill < started can2
        12s   docker run can3
        12s   bill < started can3
        20s   containers are left out
        30s   docker unheard restart can2
        31s   docker unheard rm can3
        1h    containers are looked at again
        1h    bill < stopped can3
        1h    bill < removed can3
        1h    bill < stopped can2
        1h    bill < started can2
        1h1m  docker stop can
        1h1m bill < stopped can
    "),
    ("but what it had is not known for ever", billed, "
        10s   docker run can
        10s   bill < started can
        20s   containers are left out
        25h   containers are looked at again
        25h   bill < started can
    "),
    ("labels keep hooks away", billed, "
        10s   docker run can hooks:false
        20s   docker rm can
    "),
    ("also from what came and went while keepwell was down", billed, "
        10s   docker unheard run can hooks:false
        11s   docker unheard rm can
        20s   keepwell is killed
    "),
    ("of what came and went, hooks are told what its labels say and what the host has", billed, "
        10s   docker unheard run can port:8000 cpus=0.5
        11s   docker unheard rm can
        20s   keepwell is killed
        20s   bill < started can
        20s   bill < stopped can
        20s   bill < removed can
        21s   docker is described as 8000 2 4294967296
        30s   keepwell is killed
        40s   docker lists
    "),
    ("a hook for some by their labels is told of those that came and went", || with(billed(), |r| {
        let glob = |text| glob::Pattern::new(text).expect("a pattern");
        let labels = [("keepwell.tier".to_owned(), glob("front*"))].into();
        r.hooks[0].who = vec![Selector { labels, ..Selector::default() }];
    }), "
        10s   docker unheard run can tier:front-1
        11s   docker unheard run can2 tier:back
        12s   docker unheard rm can
        13s   docker unheard rm can2
        20s   keepwell is killed
        20s   bill < started can
        20s   bill < stopped can
        20s   bill < removed can
    "),
    ("who was told that it runs is told its end, whatever it is called by then", only_can, "
        10s   docker run can
        10s   bill < started can
        20s   docker rename can can2
        30s   docker rm can2
        30s   bill < stopped can2
        30s   bill < removed can2
    "),
    ("also when nobody heard of the other name", only_can, "
        10s   docker run can
        10s   bill < started can
        20s   docker unheard rename can can2
        21s   docker unheard rm can2
        30s   keepwell is killed
        30s   bill < stopped can2
        30s   bill < removed can2
    "),
    ("but of no further run, and at last that it is gone", only_can, "
        10s   docker run can
        10s   bill < started can
        20s   docker rename can can2
        30s   docker restart can2
        30s   bill < stopped can2
        40s   keepwell is killed
        50s   docker stop can2
        1m    docker rm can2
        1m    bill < removed can2
    "),
    ("what gets the name while it runs is told as started, and its end once", only_can, "
        10s   docker run can2
        20s   docker rename can2 can
        20s   bill < started can
        30s   docker rm can
        30s   bill < stopped can
        30s   bill < removed can
    "),
    ("what a hook never heard of ends without it", only_can, "
        10s   docker run can2
        20s   docker stop can2
        30s   docker rm can2
    "),
    ("a hook that is for fewer by now is told the end of what it knows", billed, "
        10s   docker run can
        10s   bill < started can
        20s   hook bill is for other
        30s   docker stop can
        30s   bill < stopped can
        40s   docker start can
        50s   docker rm can
        50s   bill < removed can
    "),
    ("a hook that was taken out and put back is told what runs, and of that the end", billed, "
        10s   docker run can
        10s   bill < started can
        11s   docker run can2
        11s   bill < started can2
        20s   hook bill goes
        30s   docker stop can2
        31s   docker run can3
        40s   hook bill comes back
        40s   bill < started can
        40s   bill < started can3
        50s   docker stop can
        50s   bill < stopped can
        1m    docker rm can2
        1m    bill < removed can2
        2m    keepwell is killed
    "),
    ("the same over starts of keepwell, also with no container engine meanwhile", billed, "
        10s   docker run can
        10s   bill < started can
        15s   docker dies
        20s   later hook bill goes
        21s   keepwell is killed
        30s   later hook bill comes back
        31s   keepwell is killed
        40s   docker comes back
        40s   bill < started can
        50s   docker stop can
        50s   bill < stopped can
    "),
    ("a hook with another receiver is told what runs", billed, "
        10s   docker run can
        10s   bill < started can
        11s   docker run can2
        11s   bill < started can2
        12s   docker stop can2
        12s   bill < stopped can2
        20s   hook bill moves to there
        25s   hook bill moves to elsewhere
        25s   bill < started can
        30s   keepwell is killed
        40s   later hook bill moves to there
        41s   keepwell is killed
        41s   bill < started can
        50s   docker stop can
        50s   bill < stopped can
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
