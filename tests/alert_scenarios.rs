//! The life of an alert, as a table of scenarios: this file is the specification of who is told
//! what, and when. Each plays on simulated time against the real engine; the messages that go out
//! must be exactly those that are written down.
//!
//! How to read a scenario: `10s db fails` is an act at a time, `11s ops < opened db` a message
//! that channel `ops` gets then. `a + b` is b beneath its cause a. `resolved! x` tells an end to
//! somebody who was not told of the beginning. The default rules: services web, db, api and worker
//! are named (critical when down), `other` is not (warning); channels ops, mail and pager are
//! there when a scenario asks for them; a unit counts as well when it has been up for 5 s.

mod dock;
mod scenario;

use std::time::Duration;

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use keepwell::engine::calendar::Weekly;
use keepwell::engine::rules::*;
use keepwell::engine::{Rules, Severity};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn rules(channels: &[&str]) -> Rules {
    let named = |name: &str| UnitRule::new(UnitPattern::try_new(name).expect("a unit's name"));
    Rules {
        units: ["web", "db", "api", "worker"].map(named).into(),
        channels: channels.iter().map(|name| ChannelRule::new(*name, "webhook")).collect(),
        ..Rules::default()
    }
}

fn ops() -> Rules {
    rules(&["ops"])
}

fn with(mut rules: Rules, change: impl FnOnce(&mut Rules)) -> Rules {
    change(&mut rules);
    rules
}

fn check(text: &str) -> Matcher {
    Matcher::check(text).expect("a check")
}

fn at_least(min_severity: Severity) -> Matcher {
    Matcher { min_severity: Some(min_severity), ..Matcher::all() }
}

fn route(matcher: Matcher, channels: &[&str]) -> Route {
    let channels = channels.iter().map(|c| (*c).into()).collect();
    Route { matcher, times: Vec::new(), channels, go_on: false }
}

fn hours(days: &[Weekday], from: i8, to: i8) -> Weekly {
    let time = |hour| Time::constant(hour, 0, 0, 0);
    Weekly::new(days, time(from), time(to), TimeZone::UTC)
}

fn escalation(after: Duration, channel: &str) -> Escalation {
    Escalation { after, matcher: Matcher::all(), channels: vec![channel.into()] }
}

fn healing(rules: Rules) -> Rules {
    with(rules, |r| r.units.iter_mut().for_each(|u| u.restart = true))
}

fn noticing() -> Rules {
    with(ops(), |r| r.channels[0].notices = true)
}

fn beating(confirm: Confirm) -> Rules {
    with(ops(), |r| {
        r.heartbeats = vec![HeartbeatRule {
            path: "/beat".into(),
            max_age: 5 * MINUTE,
            severity: Severity::Warning,
            confirm,
        }];
    })
}

fn maintained(matcher: Matcher, times: Weekly) -> Rules {
    with(ops(), |r| {
        r.alerts.maintenance =
            vec![Maintenance { name: "backup".into(), matcher, times: vec![times] }];
    })
}

fn reporting(when: ReportTimes) -> Rules {
    with(ops(), |r| r.alerts.report = Some(ReportRule { when, channels: Vec::new() }))
}

type Scenario = (&'static str, fn() -> Rules, &'static str);

#[rustfmt::skip]
const SCENARIOS: &[Scenario] = &[
    ("a kill for want of memory is told of the unit that it hit, and of no one else", ops, "
        10s   web starves
        11s   ops < opened web
        1h
    "),
    ("all its processes are its own where the kernel kills them at once", ops, "
        5s    web dies whole
        10s   web starves
        10s   the kernel starves somebody
        10s   the kernel starves somebody
        11s   ops < opened web
        1h
    "),
    ("that of a process of no unit is the host's", ops, "
        10s   the kernel starves somebody
        26s   ops < opened host:oom-kill
        15m21s ops < resolved host:oom-kill
    "),
    // Opening and ending.
    ("a service that fails is told after the group wait, and its end when it has stayed up", ops, "
        10s   db fails
        11s   ops < opened db
        1m    db recovers
        1m6s  ops < resolved db
    "),
    ("a unit that nobody named is told too", ops, "
        10s   other fails
        11s   ops < opened other
    "),
    ("an operator's stop is no alert", ops, "
        10s   db is stopped
        1h
    "),
    ("a failure that an operator ends by stopping the unit is over", ops, "
        10s   db fails
        11s   ops < opened db
        1m    db is stopped
        1m6s  ops < resolved db
    "),
    ("a recovery that does not last is none", ops, "
        10s   db fails
        11s   ops < opened db
        1m    db recovers
        1m3s  db fails
        10m   db recovers
        10m6s ops < resolved db
    "),
    ("without a channel nothing is sent", || rules(&[]), "
        10s   db fails
        1m    db recovers
    "),

    // Grouping.
    ("what opens within a second is one message, the worst first", ops, "
        10s   other fails
        10.4s db fails
        10.8s web fails
        11s   ops < opened db, opened web, opened other
    "),
    ("ends within a second are one message", ops, "
        10s   db fails
        10s   web fails
        11s   ops < opened db, opened web
        1m    db recovers
        1m    web recovers
        1m6s  ops < resolved db, resolved web
    "),
    ("what opens later is another message", ops, "
        10s   db fails
        11s   ops < opened db
        12s   web fails
        13s   ops < opened web
    "),
    ("a longer wait groups more", || with(ops(), |r| r.alerts.group_wait = 10 * Duration::from_secs(1)), "
        10s   db fails
        19s   web fails
        20s   ops < opened db, opened web
    "),
    ("no wait at all still waits for the log lines", || with(ops(), |r| r.alerts.group_wait = Duration::ZERO), "
        10s   db fails
        10s   ops < opened db
    "),
    ("what begins while an end goes out is the next message", ops, "
        10s   db fails
        11s   ops < opened db
        1m    db recovers
        1m5.5s web fails
        1m6s  ops < resolved db
        1m7s  ops < opened web
    "),

    // Severity.
    ("worse is told at once, better and the end too", ops, "
        10s   disk 85%
        11s   ops < opened disk:/
        1m    disk 95%
        1m    ops < worse disk:/
        2m    disk 85%
        2m1s  ops < better disk:/
        3m    disk 50%
        3m1s  ops < resolved disk:/
    "),
    ("worse before the first message is just the beginning", ops, "
        10s   disk 85%
        10.5s disk 95%
        10s   ops < opened disk:/
    "),
    ("a channel that wants only what is critical hears when it becomes so", || with(rules(&["ops", "pager"]), |r| r.channels[1].min_severity = Severity::Critical), "
        10s   disk 85%
        11s   ops < opened disk:/
        1m    disk 95%
        1m    ops < worse disk:/
        1m    pager < worse! disk:/
        2m    disk 50%
        2m1s  ops < resolved disk:/
        2m1s  pager < resolved disk:/
    "),
    ("a channel that wants no ends gets none", || with(ops(), |r| r.channels[0].send_resolved = false), "
        10s   db fails
        11s   ops < opened db
        1m    db recovers
        10m
    "),

    // Confirmation.
    ("a condition must last as long as its rule says", || with(ops(), |r| {
        r.disk = Levels::try_new(Some(0.8), Some(0.9), Confirm::lasting(2 * MINUTE)).expect("levels");
    }), "
        20s   disk 85%
        1m    disk 50%
        2m    disk 85%
        4m1s  ops < opened disk:/
        5m    disk 50%
        7m1s  ops < resolved disk:/
    "),
    ("failures are counted in a row", || beating(Confirm { failures: 3, ..Confirm::default() }), "
        6m21s ops < opened heartbeat:/beat
        7m    beat
        7m1s  ops < resolved heartbeat:/beat
    "),
    ("successes are counted in a row", || beating(Confirm { successes: 3, ..Confirm::default() }), "
        5m21s ops < opened heartbeat:/beat
        7m    beat
        7m51s ops < resolved heartbeat:/beat
    "),
    ("a unit may be given time before it counts as down", || with(ops(), |r| r.units[1].confirm.lasting = MINUTE), "
        10s   db fails
        40s   db recovers
        2m    db fails
        3m1s  ops < opened db
    "),
    ("a unit may have to be well for longer", || with(ops(), |r| r.units[1].confirm.recovery = MINUTE), "
        10s   db fails
        11s   ops < opened db
        1m    db recovers
        2m1s  ops < resolved db
    "),

    // Cooldown and flapping.
    ("a repeat within the cooldown is muted; if it lasts it is told afterwards", ops, "
        10s   db fails
        11s   ops < opened db
        1m    db recovers
        1m6s  ops < resolved db
        2m    db fails
        15m11s ops < opened db
    "),
    ("a repeat that is over within the cooldown is never told", ops, "
        10s   db fails
        11s   ops < opened db
        1m    db recovers
        1m6s  ops < resolved db
        2m    db fails
        3m    db recovers
        1h
    "),
    ("a repeat that is worse than a cooldown is told", ops, "
        10s   disk 85%
        11s   ops < opened disk:/
        1m    disk 50%
        1m1s  ops < resolved disk:/
        2m    disk 85%
        3m    disk 95%
        3m    ops < opened disk:/
    "),
    ("after the cooldown a repeat is news", ops, "
        10s   db fails
        11s   ops < opened db
        1m    db recovers
        1m6s  ops < resolved db
        20m   db fails
        20m1s ops < opened db
    "),
    ("the cooldown is per check", ops, "
        10s   db fails
        11s   ops < opened db
        20s   web fails
        21s   ops < opened web
    "),
    ("the cooldown may be off", || with(ops(), |r| r.alerts.cooldown = Duration::ZERO), "
        10s   db fails
        11s   ops < opened db
        1m    db recovers
        1m6s  ops < resolved db
        2m    db fails
        2m1s  ops < opened db
    "),
    ("what comes and goes is told to be flapping, and is over when it has been well for long", ops, "
        0s    db flaps 3 times
        1s    ops < opened db
        16s   ops < resolved db
        1m    db fails
        1m1s  ops < opened db flapping
        2m    db recovers
        10m   db fails
        12m   db recovers
        27m1s ops < resolved db flapping
    "),

    // Causes.
    ("a database and what needs it are one message, the cause first", ops, "
        0s    api needs db
        0s    worker needs db
        10s   api fails
        10.2s worker fails
        10.5s db fails
        11s   ops < opened db + opened api + opened worker
        1m    db recovers
        1m    api recovers
        1m    worker recovers
        1m6s  ops < resolved db + resolved api + resolved worker
    "),
    ("what needs a unit that is known to be down is not told", ops, "
        0s    api needs db
        10s   db fails
        11s   ops < opened db
        1m    api fails
        5m    db recovers
        5m    api recovers
        5m6s  ops < resolved db
    "),
    ("what stays down when its cause is well is told then", ops, "
        0s    api needs db
        10s   db fails
        11s   ops < opened db
        1m    api fails
        5m    db recovers
        5m6s  ops < resolved db
        5m35s ops < opened api
    "),
    ("a cause of a cause is the one that counts", ops, "
        0s    api needs db
        0s    worker needs api
        10s   worker fails
        10s   api fails
        10s   db fails
        11s   ops < opened db + opened worker + opened api
    "),
    ("units that need each other are one message and no loop", ops, "
        0s    api needs db
        0s    db needs api
        10s   api fails
        10s   db fails
        11s   ops < opened api + opened db
    "),
    ("a silenced cause silences what needs it", ops, "
        0s    api needs db
        5s    silence db for 1h
        10s   db fails
        10s   api fails
        30m
    "),
    ("errors that a unit logs while it is down are beneath its being down", ops, "
        10s   db fails
        10.2s db logs errors
        11s   ops < opened db + opened db (errors)
    "),
    ("a cause that nobody wants to hear of does not hide what needs it", || with(ops(), |r| {
        r.alerts.routes = vec![route(check("db"), &[])];
    }), "
        0s    api needs db
        10s   db fails
        10s   api fails
        11s   ops < opened api
    "),

    // People.
    ("an acknowledgement is told, ends reminders, and goes with the end", ops, "
        10s   db fails
        11s   ops < opened db
        1m    ack db
        1m1s  ops < acknowledged db
        3d    db recovers
        3d6s  ops < resolved db
    "),
    ("an alert that nobody acknowledges is reminded of once a day", ops, "
        10s   db fails
        11s   ops < opened db
        1d12s ops < reminded db
        2d12s ops < reminded db
        2d12h db recovers
        2d12h6s ops < resolved db
    "),
    ("reminders may be off", || with(ops(), |r| r.alerts.remind = None), "
        10s   db fails
        11s   ops < opened db
        3d
    "),
    ("an acknowledgement that runs out lets reminders go on", || with(ops(), |r| r.alerts.remind = Some(HOUR)), "
        10s   db fails
        11s   ops < opened db
        1m    ack db for 3h
        1m1s  ops < acknowledged db
        3h1m1s ops < reminded db
    "),
    ("an acknowledgement can be taken back", || with(ops(), |r| r.alerts.remind = Some(HOUR)), "
        10s   db fails
        11s   ops < opened db
        1m    ack db
        1m1s  ops < acknowledged db
        10m   unack db
        1h12s ops < reminded db
    "),
    ("a rise ends the acknowledgement", || with(ops(), |r| r.alerts.remind = Some(HOUR)), "
        10s   disk 85%
        11s   ops < opened disk:/
        30s   ack disk:/
        31s   ops < acknowledged disk:/
        1m    disk 95%
        1m    ops < worse disk:/
        1h1m1s ops < reminded disk:/
    "),
    ("what nobody acknowledges goes to further people", || with(rules(&["ops", "pager"]), |r| {
        r.alerts.escalations = vec![escalation(15 * MINUTE, "pager")];
    }), "
        10s   db fails
        11s   ops < opened db
        15m12s pager < escalated! db
        20m   db recovers
        20m6s ops < resolved db
        20m6s pager < resolved db
    "),
    ("what somebody acknowledged does not", || with(rules(&["ops", "pager"]), |r| {
        r.alerts.escalations = vec![escalation(15 * MINUTE, "pager")];
    }), "
        10s   db fails
        11s   ops < opened db
        5m    ack db
        5m1s  ops < acknowledged db
        20m   db recovers
        20m6s ops < resolved db
    "),
    ("escalation goes step by step", || with(rules(&["ops", "pager", "boss"]), |r| {
        r.alerts.escalations = vec![escalation(15 * MINUTE, "pager"), escalation(HOUR, "boss")];
    }), "
        10s   db fails
        11s   ops < opened db
        15m12s pager < escalated! db
        1h12s boss < escalated! db
    "),
    ("escalation may be about some checks only", || with(rules(&["ops", "pager"]), |r| {
        r.alerts.escalations = vec![Escalation { matcher: check("web"), ..escalation(15 * MINUTE, "pager") }];
    }), "
        10s   db fails
        10s   web fails
        11s   ops < opened db, opened web
        15m12s pager < escalated! web
    "),
    ("a silence mutes; what is still so when it ends is told", ops, "
        5s    silence db for 1h
        10s   db fails
        1h5s  ops < opened db
    "),
    ("what is over before the silence ends is never told", ops, "
        5s    silence db for 1h
        10s   db fails
        30m   db recovers
        2h
    "),
    ("the end of what was told is told also in a silence", ops, "
        10s   db fails
        11s   ops < opened db
        1m    silence db for 1h
        2m    db recovers
        2m6s  ops < resolved db
    "),
    ("a rise within a silence is told after it", ops, "
        10s   disk 85%
        11s   ops < opened disk:/
        1m    silence disk for 1h
        2m    disk 95%
        1h1m  ops < worse disk:/
    "),
    ("a silence can be ended", ops, "
        5s    silence db for 1h
        10s   db fails
        10m   unsilence
        10m   ops < opened db
    "),
    ("a silence is about what it names and nothing else", ops, "
        5s    silence db for 1h
        10s   db fails
        10s   web fails
        11s   ops < opened web
    "),
    ("a silence holds reminders back", || with(ops(), |r| r.alerts.remind = Some(HOUR)), "
        10s   db fails
        11s   ops < opened db
        30m   silence db for 2h
        2h30m1s ops < reminded db
    "),
    ("a maintenance window mutes; what is still so afterwards is told", || maintained(check("db"), hours(&[], 1, 2)), "
        1h30m db fails
        2h    ops < opened db
    "),
    ("outside of the window it is told at once", || maintained(check("db"), hours(&[], 1, 2)), "
        30m   db fails
        30m1s ops < opened db
    "),
    ("a window on Sundays is not one on Saturdays", || maintained(Matcher::all(), hours(&[Weekday::Sunday], 1, 2)), "
        1h30m db fails
        1h30m1s ops < opened db
        1h40m db recovers
        1h40m6s ops < resolved db
        1d1h30m web fails
        1d2h  ops < opened web
    "),

    // Quiet times that nobody has to name.
    ("an upgrade that restarts a service is silent", ops, "
        10s   dpkg begins
        11s   db fails
        20s   db recovers
        30s   dpkg ends
        10m
    "),
    ("what an upgrade has broken is told when it is done", ops, "
        10s   dpkg begins
        11s   db fails
        1m    dpkg ends
        1m5s  ops < opened db
    "),
    ("an upgrade does not hide a full disk", ops, "
        10s   dpkg begins
        11s   disk 95%
        12s   ops < opened disk:/
    "),
    ("an upgrade that waits for a person for half an hour hides nothing any more", ops, "
        10s   dpkg begins
        11s   db fails
        30m12s ops < opened db
    "),
    ("a shutdown is silent", ops, "
        10s   shutdown begins
        11s   db fails
        12s   web fails
        5m
    "),
    ("a shutdown that is cancelled tells what is down", ops, "
        10s   shutdown begins
        11s   db fails
        5m    shutdown is cancelled
        5m    ops < opened db
    "),
    ("a sleep and the time after it are silent", ops, "
        10s   host sleeps
        11s   db fails
        2h    host wakes
        2h20s db recovers
        3h
    "),
    ("what is still down half a minute after a sleep is told", ops, "
        10s   host sleeps
        11s   db fails
        2h    host wakes
        2h30s ops < opened db
    "),
    ("booting is silent until it has settled", ops, "
        1s    host boots
        10s   db fails
        20s   db recovers
        30s   host has booted
        10m
    "),
    ("what is down when the boot is over is told", ops, "
        1s    host boots
        10s   db fails
        30s   host has booted
        30s   ops < opened db
    "),
    ("what recovers in a quiet time, and only has to stay so, is not told when that ends", ops, "
        1s    host boots
        10s   db fails
        28s   db recovers
        30s   host has booted
        10m
    "),
    ("unless it does not stay so", ops, "
        1s    host boots
        10s   db fails
        28s   db recovers
        30s   host has booted
        31s   db fails
        31s   ops < opened db
    "),
    ("a boot that does not end hides nothing after two minutes", ops, "
        1s    host boots
        10s   db fails
        2m1s  ops < opened db
    "),
    ("a reload of systemd holds units back, not the disk", ops, "
        10s   systemd reloads
        11s   db fails
        11s   disk 95%
        12s   ops < opened disk:/
        20s   systemd has reloaded
        20s   ops < opened db
    "),

    // Routes.
    ("a route sends some checks to some channels", || with(rules(&["ops", "mail"]), |r| {
        r.alerts.routes = vec![route(check("disk:*"), &["mail"])];
    }), "
        10s   db fails
        10s   disk 95%
        11s   mail < opened db, opened disk:/
        11s   ops < opened db
    "),
    ("the first route that matches counts", || with(rules(&["ops", "mail"]), |r| {
        r.alerts.routes = vec![route(check("db"), &["ops"]), route(Matcher::all(), &["mail"])];
    }), "
        10s   db fails
        11s   ops < opened db
        1m    web fails
        1m1s  mail < opened web
    "),
    ("unless it says to go on", || with(rules(&["ops", "mail"]), |r| {
        let first = Route { go_on: true, ..route(check("db"), &["ops"]) };
        r.alerts.routes = vec![first, route(Matcher::all(), &["mail"])];
    }), "
        10s   db fails
        11s   mail < opened db
        11s   ops < opened db
    "),
    ("a route by severity", || with(rules(&["ops", "pager"]), |r| {
        r.alerts.routes = vec![route(at_least(Severity::Critical), &["pager"]), route(Matcher::all(), &["ops"])];
    }), "
        10s   db fails
        10s   other fails
        11s   ops < opened other
        11s   pager < opened db
    "),
    ("a route by the time of day", || with(rules(&["ops", "pager"]), |r| {
        let night = Route { times: vec![hours(&[], 0, 8)], ..route(Matcher::all(), &["pager"]) };
        r.alerts.routes = vec![night, route(Matcher::all(), &["ops"])];
    }), "
        1h    db fails
        1h1s  pager < opened db
        9h    web fails
        9h1s  ops < opened web
        10h   db recovers
        10h6s pager < resolved db
    "),
    ("who is told at night only hears in the evening of what lasts", || with(ops(), |r| {
        r.alerts.routes = vec![
            Route { times: vec![hours(&[], 20, 6)], ..route(Matcher::all(), &["ops"]) },
            route(Matcher::all(), &[]),
        ];
    }), "
        10h   db fails
        20h   ops < opened db
    "),

    ("failures that go on and on are a handful of messages", ops, "
        10s   db fails
        11s   ops < opened db
        11.5s web fails
        12s   ops < opened web
        13s   api fails
        14.5s worker fails
        14.7s other fails
        15s   ops < opened api, opened worker, opened other
        17s   disk 95%
        24s   ops < opened disk:/
    "),

    // Channels.
    ("a channel that is down gets one message when it is back, with what is still so", ops, "
        5s    ops is down
        10s   db fails
        1m    web fails
        2m    disk 95%
        1h    ops is up
        1h    ops < opened db
        1h    ops < opened web, opened disk:/
    "),
    ("what began and ended while a channel was down is told as such", ops, "
        5s    ops is down
        10s   db fails
        1m    web fails
        2m    web recovers
        10m   db recovers
        1h    ops is up
        1h    ops < opened db
        1h    ops < resolved db, resolved! web
    "),
    ("a slow channel holds no other up", || rules(&["ops", "mail"]), "
        5s    mail is down
        10s   db fails
        11s   ops < opened db
        1m    web fails
        1m1s  ops < opened web
        2m    mail is up
        2m    mail < opened db
        2m    mail < opened web
    "),
    ("a channel gets at most so many messages a minute; the rest is a summary", || with(ops(), |r| r.channels[0].max_per_minute = 2), "
        10s   db fails
        11s   ops < opened db
        15s   web fails
        16s   ops < opened web
        20s   api fails
        25s   worker fails
        30s   other fails
        1m11s ops < summary: opened api, opened worker, opened other
    "),
    ("a digest gathers what is not critical", || with(ops(), |r| r.channels[0].digest = Some(5 * MINUTE)), "
        10s   other fails
        1m    disk 85%
        5m11s ops < opened other, opened disk:/
    "),
    ("a digest does not hold back what is critical, and takes along what waits", || with(ops(), |r| r.channels[0].digest = Some(5 * MINUTE)), "
        10s   other fails
        1m    db fails
        1m1s  ops < opened db, opened other
    "),
    ("a channel that is gone is told of by the others", || rules(&["ops", "mail"]), "
        5s    mail is down
        10s   db fails
        11s   ops < opened db
        12s   mail is gone
        13s   ops < opened agent:channel-mail
    "),
    ("a message that is refused is not repeated, and neither is its end told", ops, "
        5s    ops is down
        10s   db fails
        12s   ops refuses
        13s   ops is up
        1m    db recovers
        10m
    "),

    // Healing and notices.
    ("keepwell's own restart ends the alert without further words", || healing(ops()), "
        10s   db fails
        11s   ops < opened db
        26s   ops < resolved db
        1m
    "),
    ("a restart that fails leaves it as down as before, and is tried again", || healing(ops()), "
        5s    restarts fail
        10s   db fails
        11s   ops < opened db
        25s   restarts work
        46s   ops < resolved db
    "),
    ("who asks for notices hears of starts, stops and restarts", noticing, "
        10s   web is stopped
        11s   ops < stopped web
        1m    web starts
        1m1s  ops < started web
    "),
    ("a restart is a part of its alert's story", || healing(noticing()), "
        10s   db fails
        11s   ops < opened db, restarting db
        21s   ops < restarted db
        26s   ops < resolved db, restored db
    "),
    ("who does not ask for notices hears nothing of them", ops, "
        10s   web is stopped
        1m    web starts
        10m
    "),
    ("a person's restart is made at once", || healing(with(ops(), |r| r.units.iter_mut().for_each(|u| {
        u.backoff = Backoff::try_new(HOUR, 1.0, HOUR, HOUR, Duration::from_secs(5), None).expect("a backoff");
    }))), "
        10s   db fails
        11s   ops < opened db
        1m    restart db
        1m6s  ops < resolved db
    "),
    ("a person cannot restart what runs", || healing(ops()), "
        10s   restart db
        10s   refused: db.service is running; to restart it all the same: systemctl restart db.service
    "),

    // keepwell's own life.
    ("what is failing when keepwell first comes to a host is one digest", ops, "
        5s    db fails
        6s    ops < opened db
        6.5s  web fails
        6.6s  keepwell is new
        7s    ops < digest: opened db, opened web
    "),
    ("an alert goes on when keepwell is killed", ops, "
        10s   db fails
        11s   ops < opened db
        1m    keepwell is killed
        2m    db recovers
        2m6s  ops < resolved db
    "),
    ("killed before it was told, it is told afterwards", ops, "
        10s   db fails
        10.5s keepwell is killed
        10s   ops < opened db
    "),
    ("what was under way when keepwell was killed is sent again, and nothing twice", ops, "
        5s    ops is down
        10s   db fails
        12s   keepwell is killed
        20s   ops is up
        20s   ops < opened db
        1m    keepwell is killed
        2m    db recovers
        2m6s  ops < resolved db
    "),
    ("what ended while keepwell was down is resolved at its start", ops, "
        10s   db fails
        11s   ops < opened db
        1m    host reboots
        1m30s ops < opened host:reboot
        1m36s ops < resolved db
    "),
    ("a cooldown outlasts keepwell", ops, "
        10s   db fails
        11s   ops < opened db
        1m    db recovers
        1m6s  ops < resolved db
        2m    keepwell is killed
        3m    db fails
        15m11s ops < opened db
    "),
    ("an acknowledgement and a silence outlast keepwell", || with(ops(), |r| r.alerts.remind = Some(HOUR)), "
        10s   db fails
        11s   ops < opened db
        1m    ack db
        1m1s  ops < acknowledged db
        2m    silence web for 1h
        3m    keepwell is killed
        4m    web fails
        1h2m  ops < opened web
        1h30m
    "),

    // Reports, over thirty days.
    ("a report every six hours, also when all is well", || reporting(ReportTimes::Every(6 * HOUR)), "
        1h    db fails
        1h1s  ops < opened db
        2h    db recovers
        2h6s  ops < resolved db
        6h    ops < report: 7 healthy 0 unknown 0 warning 0 critical, 1 opened 1 resolved 0 restarts
        11h   web fails
        11h1s ops < opened web
        12h   ops < report: 6 healthy 0 unknown 0 warning 1 critical, 1 opened 0 resolved 0 restarts
    "),
    ("a report at a time of day, whatever happens to keepwell", || reporting(ReportTimes::At(vec![Time::constant(8, 0, 0, 0)], TimeZone::UTC)), "
        8h    ops < report: 7 healthy 0 unknown 0 warning 0 critical, 0 opened 0 resolved 0 restarts
        1d    keepwell is killed
        1d8h  ops < report: 7 healthy 0 unknown 0 warning 0 critical, 0 opened 0 resolved 0 restarts
    "),

    // Where it is easy to go wrong.
    ("a channel that takes the place of another is told of what is open", ops, "
        10s db fails
        11s ops < opened db
        1m reload with mail
        15m11s mail < opened db
        20m db recovers
        20m6s mail < resolved db
    "),
    ("an escalation that fell due in a reboot waits until it is known whether it is still so", || with(rules(&["ops", "pager"]), |r| r.alerts.escalations = vec![escalation(15 * MINUTE, "pager")]), "
        10s db fails
        11s ops < opened db
        15m host reboots
        15m30s ops < opened host:reboot
        15m36s ops < resolved db
    "),
    ("what is well and must stay so is not escalated", || with(rules(&["ops", "pager"]), |r| { r.alerts.escalations = vec![escalation(15 * MINUTE, "pager")]; r.units[1].confirm.recovery = 10 * MINUTE; }), "
        10s db fails
        11s ops < opened db
        10m db recovers
        20m1s ops < resolved db
    "),
    ("better than what was never told is no news", ops, "
        10s disk 85%
        11s ops < opened disk:/
        1m silence disk for 1h
        2m disk 95%
        3m disk 85%
        2h
    "),
    ("giving up is silent in a silence", || healing(with(ops(), |r| r.units.iter_mut().for_each(|u| { u.backoff = Backoff::try_new(MINUTE, 1.0, HOUR, HOUR, Duration::from_secs(5), Some(1)).expect("b"); }))), "
        10s db fails
        11s ops < opened db
        20s silence db for 1h
        1m11s db fails
        2h
    "),
    ("notices are silent in a silence", noticing, "
        5s silence web for 1h
        10s web is stopped
        1m web starts
    "),
    ("a clock that is set back does not stretch a cooldown", || with(ops(), |r| r.alerts.remind = None), "
        31d db fails
        31d1s ops < opened db
        31d1m db recovers
        31d1m6s ops < resolved db
        31d2m clock jumps back 30d
        1d1h db fails
        1d1h15m1s ops < opened db
        3d
    "),
    ("nor a silence", || with(ops(), |r| r.alerts.remind = None), "
        31d silence db for 1h
        31d1m clock jumps back 30d
        1d3h db fails
        1d4h1s ops < opened db
        3d
    "),
    ("nor the time to the next report", || reporting(ReportTimes::Every(6 * HOUR)), "
        6h ops < report: 7 healthy 0 unknown 0 warning 0 critical, 0 opened 0 resolved 0 restarts
        8h disk 50%
        9h clock jumps back 5h
        10h15m ops < report: 7 healthy 0 unknown 0 warning 0 critical, 0 opened 0 resolved 0 restarts
        11h
    "),
    ("a second upgrade is as silent as the first", ops, "
        10s dpkg begins
        11s db fails
        15s db recovers
        30s dpkg ends
        2h dpkg begins
        2h1s db fails
        2h10s db recovers
        2h30s dpkg ends
        3h
    "),
    ("an upgrade long ago holds nothing back", || with(rules(&["ops", "pager"]), |r| r.alerts.escalations = vec![escalation(15 * MINUTE, "pager")]), "
        5s web fails
        6s ops < opened web
        10s dpkg begins
        11s db fails
        15s db recovers
        30s dpkg ends
        15m7s pager < escalated! web
        40m
    "),
    ("a digest is called so once, and only where there was one", || with(rules(&["ops", "pager"]), |r| r.channels[1].min_severity = Severity::Critical), "
        5s other fails
        5s disk 85%
        6s ops < opened other, opened disk:/
        7s keepwell is new
        8s ops < digest: opened other, opened disk:/
        5h db fails
        5h1s ops < opened db
        5h1s pager < opened db
    "),
    ("errors that were logged are told also after a kill", ops, "
        10s db logs errors
        10.5s keepwell is killed
        10s ops < opened db (errors)
        30s
    "),
    ("and after a silence that outlasted keepwell", ops, "
        5s silence db for 5m
        10s db logs errors
        1m keepwell is killed
        5m5s ops < opened db (errors)
    "),
    ("a silenced dependant is not told beneath its cause", ops, "
        0s api needs db
        5s silence api for 1h
        10s db fails
        10s api fails
        11s ops < opened db
    "),
    ("nor one in its maintenance window", || maintained(check("api"), hours(&[], 0, 2)), "
        0s api needs db
        10s db fails
        10s api fails
        11s ops < opened db
        1h db recovers
        1h api recovers
        1h6s ops < resolved db
        3h
    "),
    ("an acknowledgement of the cause is none of what stays down without it", || with(rules(&["ops", "pager"]), |r| r.alerts.escalations = vec![escalation(15 * MINUTE, "pager")]), "
        0s api needs db
        10s db fails
        11s ops < opened db
        1m api fails
        2m ack db
        2m1s ops < acknowledged db
        5m db recovers
        5m6s ops < resolved db
        5m35s ops < opened api
        20m36s pager < escalated! api
        1d
    "),
    ("what was refused is not told again with something else", ops, "
        5s ops is down
        10s db fails
        12s ops refuses
        13s ops is up
        20m web fails
        20m1s ops < opened web
    "),
    ("a step that was not about it is taken when it becomes so", || with(rules(&["ops", "pager", "boss"]), |r| r.alerts.escalations = vec![Escalation { matcher: at_least(Severity::Critical), ..escalation(15 * MINUTE, "pager") }, escalation(HOUR, "boss")]), "
        10s disk 85%
        11s ops < opened disk:/
        1h12s boss < escalated! disk:/
        3h disk 95%
        3h boss < worse disk:/
        3h ops < worse disk:/
        3h1s pager < escalated! disk:/
    "),
    ("steps are taken in the order of their times", || with(rules(&["ops", "pager", "boss"]), |r| r.alerts.escalations = vec![escalation(HOUR, "boss"), escalation(15 * MINUTE, "pager")]), "
        10s db fails
        11s ops < opened db
        15m12s pager < escalated! db
        1h12s boss < escalated! db
    "),
    ("after a rise that ends an acknowledgement the time to escalate counts anew", || with(rules(&["ops", "pager"]), |r| r.alerts.escalations = vec![escalation(15 * MINUTE, "pager")]), "
        10s disk 85%
        11s ops < opened disk:/
        1m ack disk:/
        1m1s ops < acknowledged disk:/
        3h disk 95%
        3h ops < worse disk:/
        3h15m1s pager < escalated! disk:/
    "),
    ("what is unknown in between counts for neither", || beating(Confirm { successes: 3, ..Confirm::default() }), "
        5m21s ops < opened heartbeat:/beat
        8m1s beat unreadable
        8m2s beat
        8m51s ops < resolved heartbeat:/beat
    "),
    ("a report counts over a kill", || reporting(ReportTimes::Every(6 * HOUR)), "
        1h db fails
        1h1s ops < opened db
        2h db recovers
        2h6s ops < resolved db
        3h keepwell is killed
        6h ops < report: 7 healthy 0 unknown 0 warning 0 critical, 1 opened 1 resolved 0 restarts
    "),
    ("those whom a dependant's own route names learn of it when it outlasts its cause", || with(rules(&["ops", "pager"]), |r| { r.alerts.routes = vec![route(check("api"), &["pager"]), route(Matcher::all(), &["ops"])]; }), "
        0s api needs db
        10s db fails
        10s api fails
        11s ops < opened db + opened api
        5m db recovers
        5m6s ops < resolved db
        5m35s pager < opened api
    "),
    ("a dependant is told to those who want its severity", || with(rules(&["ops", "pager"]), |r| r.channels[1].min_severity = Severity::Critical), "
        0s other needs db
        10s db fails
        10s other fails
        11s ops < opened db + opened other
        11s pager < opened db
    "),
    ("what waited for a shutdown goes out when it is cancelled", ops, "
        10s db fails
        11s ops < opened db
        1m shutdown begins
        1m1s db recovers
        1m20s shutdown is cancelled
        1m20s ops < resolved db
        5m
    "),
    ("news of the host outlast keepwell", ops, "
        10s host reboots
        40s ops < opened host:reboot
        10m keepwell is killed
        20m
    "),
    ("what flaps is not reminded of while it is well", || with(ops(), |r| r.alerts.remind = Some(5*MINUTE)), "
        0s db flaps 3 times
        1s ops < opened db
        16s ops < resolved db
        1m db fails
        1m1s ops < opened db flapping
        2m db recovers
        17m1s ops < resolved db flapping
    "),
    ("the time after a cause outlasts keepwell", ops, "
        0s api needs db
        10s db fails
        11s ops < opened db
        1m api fails
        5m db recovers
        5m6s ops < resolved db
        5m7s keepwell is killed
        5m20s api recovers
        7m
    "),
    ("flapping is told also after a kill", ops, "
        0s db flaps 3 times
        1s ops < opened db
        16s ops < resolved db
        1m db fails
        1m0.5s keepwell is killed
        1m ops < opened db flapping
    "),
    ("that a channel is gone is not over because keepwell was restarted", || rules(&["ops", "mail"]), "
        5s mail is down
        10s db fails
        11s ops < opened db
        12s mail is gone
        13s ops < opened agent:channel-mail
        1m keepwell is killed
        2m
    "),
    ("errors that an upgrade causes are not told", ops, "
        10s dpkg begins
        11s db logs errors
        20s dpkg ends
        1h
    "),
    ("errors from before a recovery are not told after it", ops, "
        10s db fails
        11s ops < opened db
        30s db logs errors
        1m db recovers
        1m6s ops < resolved db
        12m
    "),
    ("a reminder that a silence held back comes when that is ended", || with(ops(), |r| r.alerts.remind = Some(HOUR)), "
        10s db fails
        11s ops < opened db
        30m silence db for 5h
        1h1m unsilence
        1h1m1s ops < reminded db
        1h30m
    "),
];

#[test]
fn every_scenario_tells_what_it_says() {
    let mut faults = Vec::new();
    let mut simulated = Duration::ZERO;
    for (name, rules, script) in SCENARIOS {
        match scenario::play(rules(), script) {
            Ok(lasted) => simulated += lasted,
            Err(fault) => faults.push(format!("{name}:\n  {fault}")),
        }
    }
    assert!(faults.is_empty(), "{} scenarios differ\n\n{}", faults.len(), faults.join("\n"));
    assert!(SCENARIOS.len() >= 60);
    println!("{} scenarios, {} h of simulated time", SCENARIOS.len(), simulated.as_secs() / 3600);
}

/// A month in the life of a host: a service that fails each night, in the window and outside of
/// it, a weekly report, a disk that fills and is emptied, and people who look once a day.
#[test]
fn thirty_days_of_one_host() {
    let rules = with(rules(&["ops", "pager"]), |r| {
        r.alerts.maintenance = vec![Maintenance {
            name: "backup".into(),
            matcher: check("db"),
            times: vec![hours(&[], 2, 3)],
        }];
        r.alerts.escalations = vec![escalation(8 * HOUR, "pager")];
    });
    let mut script = String::new();
    for day in 0..30 {
        // In the window, and over before its end: silent.
        script.push_str(&format!("{day}d2h10m db fails\n{day}d2h20m db recovers\n"));
        // By day: told to ops, acknowledged.
        script.push_str(&format!("{day}d10h web fails\n{day}d10h1s ops < opened web\n"));
        script.push_str(&format!("{day}d11h ack web\n{day}d11h1s ops < acknowledged web\n"));
        script.push_str(&format!("{day}d20h web recovers\n{day}d20h6s ops < resolved web\n"));
        if day % 10 == 5 {
            // Nobody looks: further people are told.
            script.push_str(&format!("{day}d21h disk 95%\n{day}d21h1s ops < opened disk:/\n"));
            let next = day + 1;
            script.push_str(&format!("{next}d5h2s pager < escalated! disk:/\n"));
            script.push_str(&format!("{next}d6h disk 50%\n{next}d6h1s ops < resolved disk:/\n"));
            script.push_str(&format!("{next}d6h1s pager < resolved disk:/\n"));
        }
    }
    let mut lines: Vec<&str> = script.lines().collect();
    lines.sort_by_key(|line| scenario::time(line.split(' ').next().unwrap_or_default()));
    if let Err(fault) = scenario::play(rules, &lines.join("\n")) {
        panic!("{fault}");
    }
}

/// Ten units fail each second, for 50 s: six messages, at growing distances, name all of them.
#[test]
fn a_storm_that_goes_on_for_fifty_seconds_is_six_messages() {
    let mut script = "1s crowd 500\n".to_owned();
    for n in 0..500 {
        script.push_str(&format!("{:.1}s s{n} fails\n", 10.0 + f64::from(n) / 10.0));
    }
    let mut told = 0;
    for (at, failed) in [(11, 10), (12, 20), (15, 50), (24, 130), (34, 230), (64, 500)] {
        let opened: Vec<String> = (told..failed).map(|n| format!("opened s{n}")).collect();
        script.push_str(&format!("{at}s ops < {}\n", opened.join(", ")));
        told = failed;
    }
    let mut lines: Vec<&str> = script.lines().collect();
    lines.sort_by_key(|line| scenario::time(line.split(' ').next().unwrap_or_default()));
    if let Err(fault) = scenario::play(ops(), &lines.join("\n")) {
        panic!("{fault}");
    }
}
