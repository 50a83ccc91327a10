//! Tests of what says who is told of what and when.

use std::time::Duration;

use crate::engine::rules::{Confirm, ReportTimes, Route};
use crate::engine::{Severity, Wall};

use super::{good, read, wrong};

const OPS: &str = "[[channel]]\nname = \"ops\"\ntype = \"b\"\n[[channel]]\nname = \"dba\"\n\
                   type = \"b\"\n";

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The checks and channels of each route.
fn shape(routes: &[Route]) -> Vec<(String, String)> {
    routes.iter().map(|r| (r.matcher.to_string(), r.channels.join(","))).collect()
}

fn at(text: &str) -> Wall {
    Wall(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
}

#[test]
fn alerts_are_timed_as_written() {
    let text = "[alerts]\ngroup_wait = \"3s\"\nremind = \"4h\"\n\
                flapping = { openings = 6, within = \"30m\" }";
    let alerts = good(&[text], &[]).rules.alerts;
    assert_eq!((alerts.group_wait, alerts.remind), (seconds(3), Some(seconds(4 * 3600))));
    let flapping = &alerts.flapping;
    assert_eq!((flapping.openings, flapping.window), (6, seconds(1800)));
    assert_eq!(flapping.calm, seconds(900), "what is not set keeps its default");
    let alerts = good(&["[alerts]\nremind = false\nflapping = false"], &[]).rules.alerts;
    assert_eq!((alerts.remind, alerts.flapping.openings), (None, 0));
    // A drop-in sets one key of it, or turns it off.
    let second = "[alerts]\nflapping = { calm = \"1h\" }";
    let alerts = good(&[text, second], &[]).rules.alerts;
    assert_eq!((alerts.flapping.openings, alerts.flapping.calm), (6, seconds(3600)));
    assert_eq!(good(&[text, "[alerts]\nflapping = false"], &[]).rules.alerts.flapping.openings, 0);
}

#[test]
fn a_route_is_read_with_its_times_in_its_zone() {
    let text = "[[route]]\nchecks = [\"unit:web@*\", \"disk\", \"nginx\"]\nseverity = \"critical\"\n\
                labels = { env = \"prod\" }\ndays = [\"mon-wed\", \"Friday\"]\nfrom = \"08:00\"\n\
                to = \"18:30\"\ntimezone = \"Asia/Tokyo\"\nchannels = [\"ops\", \"dba\", \"ops\"]\n\
                continue = true\n[[route]]\nchannels = []";
    let routes = good(&[OPS, text], &[]).rules.alerts.routes;
    let [first, second] = &routes[..] else { panic!("{routes:?}") };
    let matcher = "unit:web@*, disk, unit:nginx.service, critical, env=prod";
    assert_eq!(first.matcher.to_string(), matcher);
    assert_eq!(first.channels.join(","), "ops,dba");
    assert!(first.go_on && !second.go_on);
    // 2026-11-20 is a Friday, and Tokyo is 9 hours ahead all year.
    let [times] = &first.times[..] else { panic!("one span") };
    assert_eq!(times.ends(at("2026-11-19T23:00:00Z")), Some(at("2026-11-20T09:30:00Z")));
    assert_eq!(times.ends(at("2026-11-19T05:00:00Z")), None, "Thursday");
    assert!(second.times.is_empty() && second.channels.is_empty());
}

#[test]
fn a_day_may_end_at_24_and_a_night_on_the_next_day() {
    let route = |times: &str| {
        let text = format!("[[route]]\n{times}\ntimezone = \"utc\"\nchannels = \"ops\"");
        good(&[OPS, &text], &[]).rules.alerts.routes[0].times[0].clone()
    };
    let evening = route("from = \"18:00\"\nto = \"24:00\"");
    assert_eq!(evening.ends(at("2026-11-20T19:00:00Z")), Some(at("2026-11-21T00:00:00Z")));
    let night = route("from = \"22:00\"\nto = \"06:00\"");
    assert_eq!(night.ends(at("2026-11-20T05:00:00Z")), Some(at("2026-11-20T06:00:00Z")));
    let sunday = route("days = [\"sun\"]");
    assert_eq!(sunday.ends(at("2026-11-22T05:00:00Z")), Some(at("2026-11-23T00:00:00Z")));
}

#[test]
fn maintenance_and_escalations_are_read() {
    let text = "[[maintenance]]\nname = \"backup\"\nchecks = [\"disk\"]\nfrom = \"02:00\"\n\
                to = \"04:00\"\ntimezone = \"UTC\"\n[[escalation]]\nafter = \"15m\"\n\
                severity = \"critical\"\nchannels = [\"dba\"]\n[[escalation]]\nafter = \"1h\"\n\
                channels = \"dba\"";
    let alerts = good(&[OPS, text], &[]).rules.alerts;
    let [backup] = &alerts.maintenance[..] else { panic!("one") };
    assert_eq!((&*backup.name, backup.matcher.to_string()), ("backup", "disk".into()));
    assert!(backup.times[0].ends(at("2026-11-20T03:00:00Z")).is_some());
    let [first, second] = &alerts.escalations[..] else { panic!("two") };
    assert_eq!((first.after, second.after), (seconds(900), seconds(3600)));
    assert_eq!(first.matcher.min_severity, Some(Severity::Critical));
    assert_eq!(first.channels.join(","), "dba");
}

#[test]
fn a_report_comes_every_so_often_or_at_times_of_day() {
    let report = |text: &str| good(&[OPS, text], &[]).rules.alerts.report;
    assert_eq!(report(""), None);
    assert_eq!(report("[report]\nevery = false"), None);
    let every = report("[report]\nevery = \"6h\"\nchannels = [\"ops\"]").unwrap();
    assert_eq!(every.when, ReportTimes::Every(seconds(6 * 3600)));
    assert_eq!(every.channels.join(","), "ops");
    let at =
        report("[report]\nat = [\"20:00\", \"08:00\", \"8:00\"]\ntimezone = \"Europe/Berlin\"");
    let ReportTimes::At(times, zone) = at.unwrap().when else { panic!("at") };
    assert_eq!(zone.iana_name(), Some("Europe/Berlin"));
    let hours: Vec<i8> = times.iter().map(|time| time.hour()).collect();
    assert_eq!(hours, [8, 20]);
    // A drop-in puts one in place of the other.
    let files = ["[report]\nevery = \"6h\"", "[report]\nevery = false\nat = \"08:00\""];
    let report = good(&files, &[]).rules.alerts.report.unwrap();
    assert!(matches!(report.when, ReportTimes::At(..)));
}

#[test]
fn a_check_can_name_its_channels_itself() {
    let text = "[[unit]]\nname = \"db*\"\nchannels = [\"dba\"]\n\
                heartbeat = { file = \"/run/db.beat\" }\n\
                [[unit]]\nname = \"db-test\"\nchannels = []\n\
                heartbeat = { file = \"/run/test\", channels = [\"ops\"] }\n\
                [[heartbeat]]\nfile = \"/run/app\"\nchannels = [\"ops\"]\n\
                [host]\ndisk = { channels = [\"ops\"] }\npressure = { io = { channels = \"ops\" } }\n\
                [[route]]\nchannels = [\"ops\"]";
    let routes = good(&[OPS, text], &[]).rules.alerts.routes;
    let found = shape(&routes);
    let pair = |checks: &str, channels: &str| (checks.to_owned(), channels.to_owned());
    assert_eq!(
        found,
        [
            pair("disk", "ops"),
            pair("pressure:io", "ops"),
            pair("heartbeat:/run/test", "ops"),
            pair("unit:db-test.service", ""),
            pair("heartbeat:/run/app", "ops"),
            pair("unit:db*, heartbeat:/run/db.beat", "dba"),
            pair("everything", "ops"),
        ]
    );
    assert!(routes.iter().all(|route| !route.go_on));
}

#[test]
fn conditions_are_confirmed_as_written() {
    let text = "[host]\ndisk = { for = \"5m\" }\nmemory = { recovery = \"10m\", failures = 3 }\n\
                cpu = { for = \"1m\", recovery = \"0s\", successes = 2 }\n\
                [[unit]]\nname = \"a\"\nfor = \"30s\"\nrecovery = \"2m\"\n\
                heartbeat = { file = \"/run/a\", for = \"1m\", failures = 2 }\n\
                [[heartbeat]]\nfile = \"/run/b\"\nrecovery = \"1m\"\nsuccesses = 4";
    let rules = good(&[text], &[]).rules;
    let confirm = |lasting, failures, recovery, successes| Confirm {
        lasting: seconds(lasting),
        failures,
        recovery: seconds(recovery),
        successes,
    };
    assert_eq!(rules.disk.confirm(), confirm(300, 1, 300, 1), "recovery is as long");
    assert_eq!(rules.memory.confirm(), confirm(60, 3, 600, 1), "for keeps its default");
    assert_eq!(rules.cpu.confirm(), confirm(60, 1, 0, 2));
    assert_eq!(rules.units[0].confirm, confirm(30, 1, 120, 1));
    assert_eq!(rules.heartbeats[0].confirm, confirm(60, 2, 0, 1), "none of its own");
    assert_eq!(rules.heartbeats[1].confirm, confirm(0, 1, 60, 4));
}

/// What is said of a configuration that is odd and usable.
fn warned(text: &str) -> String {
    good(&[OPS, text], &[]).warnings.to_string()
}

#[test]
fn a_route_that_nothing_comes_to_is_a_warning() {
    let text = "[[route]]\nchannels = \"ops\"\n[[route]]\nchecks = \"disk\"\nchannels = \"dba\"";
    let said = warned(text);
    assert!(said.contains("1.toml:3:1: warning: no alert comes to this route"), "{said}");
    assert!(said.contains("the one at 1.toml:1 takes all"), "{said}");
    for sound in [
        // The first one says to go on, or applies at times, or to some.
        "[[route]]\nchannels = \"ops\"\ncontinue = true\n[[route]]\nchannels = \"dba\"",
        "[[route]]\nchannels = \"ops\"\ndays = \"mon\"\n[[route]]\nchannels = \"dba\"",
        "[[route]]\nchannels = \"ops\"\nseverity = \"critical\"\n[[route]]\nchannels = \"dba\"",
        "[[route]]\nchannels = \"ops\"\nchecks = \"disk\"\n[[route]]\nchannels = \"dba\"",
    ] {
        assert_eq!(warned(sound), "", "{sound}");
    }
    let own = "[[unit]]\nname = \"a\"\nchannels = \"dba\"\n[[route]]\nchecks = [\"a.service\"]\n\
               channels = \"ops\"";
    assert!(warned(own).contains("the one at 1.toml:3 takes all"), "{}", warned(own));
}

#[test]
fn escalations_must_leave_somebody_who_is_told_first() {
    let both = "[[escalation]]\nafter = \"1h\"\nchannels = [\"ops\", \"dba\"]\n";
    let said = warned(both);
    assert!(said.contains("1.toml:3:12: warning: nobody is told first"), "{said}");
    assert_eq!(warned("[[escalation]]\nafter = \"1h\"\nchannels = [\"ops\"]\n"), "");
    assert_eq!(warned(&format!("{both}[[route]]\nchannels = [\"ops\"]")), "");
}

#[test]
fn a_zone_without_times_is_a_warning() {
    let said = warned("[[route]]\ntimezone = \"UTC\"\nchannels = \"ops\"");
    assert!(said.contains("`timezone` does nothing without days, from and to"), "{said}");
    let said = warned("[report]\nevery = \"1h\"\ntimezone = \"UTC\"");
    assert!(said.contains("`timezone` does nothing without `at`"), "{said}");
}

#[test]
fn a_channel_that_is_wrong_is_known_by_its_name() {
    let text = "[[channel]]\nname = \"ops\"\n[[route]]\nchannels = \"ops\"";
    let said = wrong(&[text], &[]);
    assert!(said.contains("needs the key `type`") && !said.contains("no channel"), "{said}");
    // Without any, the hint says how to add one.
    let said = wrong(&["[[route]]\nchannels = \"ops\""], &[]);
    assert!(said.contains("there is none; add a [[channel]] with name = \"ops\""), "{said}");
}

#[test]
fn channels_take_what_all_types_have() {
    let text = "[[channel]]\nname = \"a\"\ntype = \"b\"\nmin_severity = \"info\"\nurl = \"x\"\n\
                send_resolved = false\nmax_per_minute = 60\ndigest = \"5m\"";
    let loaded = read(&[text], &[]);
    let config = loaded.finish().unwrap();
    let rule = &config.rules.channels[0];
    assert_eq!((rule.min_severity, rule.notices), (Severity::Warning, true));
    assert_eq!((rule.send_resolved, rule.max_per_minute), (false, 60));
    assert_eq!(rule.digest, Some(seconds(300)));
    assert_eq!((&*rule.name, &*rule.kind), ("a", "b"));
    let section = &config.channels[0].section;
    assert!(section.place_of("url").is_some() && section.place_of("digest").is_none());
}
