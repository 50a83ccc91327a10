//! What is said, when, and how much of it. The whole texts are in the golden files of `notify`.

use std::time::Duration;

use super::*;
use crate::engine::alert::{ActNote, AlertRecord, Gist, NoticeKind};
use crate::engine::event::Actor;
use crate::engine::words::{AlertKind, CheckId};
use crate::notify::sample::{self, AT};

fn story(notification: Notification) -> Story {
    compose(&sample::outgoing(notification))
}

fn title_of(notification: Notification) -> String {
    story(notification).title
}

fn one(happening: Happening, change: impl FnOnce(&mut Item)) -> Notification {
    let mut message = sample::of(happening, sample::alert());
    change(&mut message.items[0]);
    message
}

fn facts(story: &Story, label: &str) -> Vec<String> {
    let all = story.parts.iter().flat_map(|p| &p.facts);
    all.filter(|f| f.label == label).map(|f| f.text.clone()).collect()
}

#[test]
fn a_change_is_the_beginning_to_those_who_know_of_none() {
    for happening in [Happening::Worse, Happening::Better, Happening::Reminded] {
        let fresh = one(happening, |i| i.opening = true);
        assert_eq!(title_of(fresh), title_of(one(Happening::Opened, |_| {})), "{happening:?}");
    }
    let late = one(Happening::Resolved, |i| {
        i.opening = true;
        i.alert.resolved = Some(AT.after(Duration::from_secs(3)));
    });
    assert_eq!(
        facts(&story(late), "Note"),
        ["it began and ended before this channel could be told"]
    );
}

#[test]
fn what_lasts_says_for_how_long() {
    let hour = Duration::from_secs(3600);
    let at = |happening| Notification { at: AT.after(2 * hour), ..one(happening, |_| {}) };
    assert!(
        title_of(at(Happening::Reminded)).ends_with("still failed: exited with status 3 (for 2 h)")
    );
    assert!(title_of(at(Happening::Escalated)).ends_with("(nobody has acknowledged it for 2 h)"));
    assert_eq!(facts(&story(at(Happening::Opened)), "Since"), ["2026-11-21 06:41:23 UTC, for 2 h"]);
    let fresh = story(one(Happening::Opened, |_| {}));
    assert_eq!(facts(&fresh, "Since"), ["2026-11-21 06:41:23 UTC"]);
}

#[test]
fn only_what_somebody_has_to_look_after_is_loud() {
    let word = |n: Notification| {
        let story = story(n);
        let word = story.title.split(' ').next().unwrap().to_owned();
        (word, story.tone)
    };
    let of = |happening| one(happening, |_| {});
    assert_eq!(word(of(Happening::Opened)), ("[CRITICAL]".into(), Tone::Critical));
    assert_eq!(word(of(Happening::Acknowledged)), ("[ACKNOWLEDGED]".into(), Tone::Info));
    assert_eq!(word(of(Happening::Restarted)), ("[RESTARTED]".into(), Tone::Info));
    assert_eq!(word(of(Happening::Resolved)), ("[RESOLVED]".into(), Tone::Good));
    let mut mixed = of(Happening::Acknowledged);
    mixed.items.extend(of(Happening::Resolved).items);
    assert_eq!(word(mixed.clone()), ("[INFO]".into(), Tone::Info));
    mixed.items.extend(of(Happening::Reminded).items);
    assert_eq!(word(mixed), ("[CRITICAL]".into(), Tone::Critical));
}

#[test]
fn a_cause_is_named_before_what_is_down_with_it() {
    let grouped = sample::grouped();
    assert_eq!(
        title_of(grouped.clone()),
        "[CRITICAL] web1: 4 problems: postgresql.service (and 2 with it), disk /var"
    );
    let mut only = grouped.clone();
    only.items.pop();
    assert_eq!(
        title_of(only.clone()),
        "[CRITICAL] web1: postgresql.service: failed: exited with status 3, and 2 with it"
    );
    // One of them is well already: that is not "with it".
    only.items[2].happening = Happening::Resolved;
    assert_eq!(
        title_of(only),
        "[CRITICAL] web1: 2 problems, 1 over: postgresql.service (and 2 with it)"
    );
    // The cause was told before.
    let mut later = grouped;
    later.items = vec![later.items.remove(1)];
    later.items[0].beneath = false;
    assert_eq!(facts(&story(later), "Cause"), ["alert a7"]);
}

#[test]
fn a_cause_is_told_in_full_however_many_depend_on_it() {
    let mut message = sample::grouped();
    message.items.truncate(1);
    for n in 0..20 {
        let mut beneath = message.items[0].clone();
        beneath.beneath = true;
        beneath.alert.id = format!("b{n}").into();
        message.items.push(beneath);
    }
    let story = story(message);
    assert_eq!(story.parts.len(), 21);
    assert!(!story.parts[0].facts.is_empty() && story.parts[0].command.is_some());
    assert!(story.parts[1..].iter().all(|p| p.beneath && p.facts.is_empty()));
}

#[test]
fn an_end_without_recovery_is_not_called_one() {
    let gone = |why: Reason| {
        one(Happening::Resolved, |i| {
            i.alert.resolved = Some(AT.after(Duration::from_secs(60)));
            i.alert.ended = Some(why);
        })
    };
    let title = title_of(gone(Reason::NoLongerWatched));
    assert_eq!(title, "[RESOLVED] web1: nginx.service: no longer watched after 1 min");
    let title = title_of(gone(Reason::Removed));
    assert_eq!(title, "[RESOLVED] web1: nginx.service: removed after 1 min");
}

#[test]
fn acts_say_when_and_who_if_not_keepwell() {
    let acted = one(Happening::Opened, |i| {
        let at = |days: u64| AT.after(Duration::from_secs(days * 86_400));
        let by = Some(Actor("telegram @ann".into()));
        i.alert.acts =
            (0..6).map(|n| ActNote { at: AT, by: None, text: format!("act {n}") }).collect();
        i.alert.acts.push(ActNote { at: at(1), by, text: "silenced for 1 h".into() });
    });
    assert_eq!(
        facts(&story(acted), "Done"),
        [
            "06:41:23 act 3",
            "06:41:23 act 4",
            "06:41:23 act 5",
            "2026-11-22 06:41:23 UTC telegram @ann: silenced for 1 h"
        ]
    );
}

#[test]
fn the_command_looks_at_the_right_time() {
    let look = |change: fn(&mut AlertRecord)| {
        let mut alert = sample::alert();
        change(&mut alert);
        command(&alert)
    };
    let of = |check: &'static str| {
        let mut alert = sample::alert();
        alert.key.check = check.parse().unwrap();
        command(&alert)
    };
    assert_eq!(
        look(|_| {}).unwrap(),
        "journalctl -u nginx.service --since \"2026-11-21 06:40:23 UTC\""
    );
    assert_eq!(
        look(|a| a.resolved = Some(AT.after(Duration::from_secs(3600)))).unwrap(),
        "journalctl -u nginx.service --since \"2026-11-21 06:40:23 UTC\" \
         --until \"2026-11-21 07:42:23 UTC\""
    );
    assert_eq!(
        look(|a| a.key.kind = AlertKind::CrashLoop).unwrap(),
        "journalctl -u nginx.service --since \"2026-11-21 06:26:23 UTC\""
    );
    assert_eq!(
        look(|a| a.key.check = CheckId::unit("a'; rm -rf $HOME\n.service")).unwrap(),
        "journalctl -u 'a'\\''; rm -rf $HOME .service' --since \"2026-11-21 06:40:23 UTC\""
    );
    assert_eq!(of("disk:/my data").as_deref(), Some("df -h '/my data'"));
    assert_eq!(of("host:reboot").as_deref(), Some("journalctl -b -1 -e"));
    assert_eq!(
        of("host:oom-kill").as_deref(),
        Some("journalctl -k --since \"2026-11-21 06:40:23 UTC\"")
    );
    assert_eq!(of("host:other"), None);
}

#[test]
fn texts_are_clean_and_bounded() {
    assert_eq!(
        clean("\u{1b}[1;31mred\u{1b}[0m \u{1b}]0;x\u{7} a\u{200b}b\u{202e}c"),
        "red ]0;x  ab c"
    );
    assert_eq!(clean("\u{1b}[31"), "[31");
    assert_eq!(short("ab", 2), "ab");
    assert_eq!(short("abc", 2), "ab…");
    assert_eq!(short(&"\u{1b}[0m".repeat(1 << 20), 10), "…");
    assert_eq!(short(&"€".repeat(1 << 20), 3), "€€€…");
}

#[test]
fn however_much_there_is_the_text_is_short() {
    let wide = "\u{1f534}".repeat(1 << 20);
    let mut worst = sample::storm(5);
    for item in &mut worst.items {
        item.happening = Happening::Opened;
        item.alert.summary.clone_from(&wide);
        item.alert.lines = vec![wide.clone(); 20];
        item.alert.next = Some(wide.clone());
        item.alert.acts =
            vec![ActNote { at: AT, by: Some(Actor(wide.clone())), text: wide.clone() }; 12];
    }
    for (n, message) in [sample::storm(1000), sample::hostile(), worst].into_iter().enumerate() {
        let text = text(&story(message));
        assert!(text.lines().count() <= 100, "{n}: {} lines", text.lines().count());
        assert!(text.len() <= 24 * 1024, "{n}: {} bytes", text.len());
    }
    let text = text(&story(sample::storm(1000)));
    assert!(text.contains("\nand 905 more\nHost: "), "{text}");
}

#[test]
fn a_title_that_says_it_all_is_not_repeated() {
    let lines = |n| text(&story(n));
    let mut digest = sample::grouped();
    digest.gist = Gist::Digest;
    digest.items.truncate(1);
    assert!(lines(digest).contains("\n- CRITICAL postgresql.service: failed"));
    // What the outside says does not decide how it looks.
    let odd = one(Happening::Opened, |i| i.alert.summary = "failed: notices".into());
    assert!(!lines(odd).contains("\n- "));
    let mut notice = sample::bare(Gist::Alerts);
    notice.notices = vec![Notice {
        at: AT,
        check: CheckId::unit("a.service"),
        event: NoticeKind::Started,
        text: "active (running)".into(),
    }];
    assert_eq!(
        lines(notice),
        "[INFO] web1: a.service: active (running)\nAt: 2026-11-21 06:41:23 UTC\nHost: web1 · env=prod"
    );
}

#[test]
fn nothing_to_tell_is_told_in_words_too() {
    let mut empty = sample::bare(Gist::Summary);
    empty.omitted = 1;
    let story = story(empty);
    assert_eq!(story.title, "[INFO] web1: alerts that are over already");
    assert_eq!(story.remarks[1], "1 more alert began and ended before this channel could be told");
}

#[test]
fn the_same_message_gives_the_same_story() {
    for (name, message) in sample::all() {
        let late = || {
            let mut out = sample::outgoing(message.clone());
            out.delayed = Some(Duration::from_secs(1500));
            compose(&out)
        };
        assert_eq!(late(), late(), "{name}");
        assert_eq!(late().remarks[0], "Delayed: decided 25 min ago, and not delivered until now");
    }
}

#[test]
fn a_channel_and_another_part_of_keepwell_are_called_by_their_names() {
    let called = |name: &str| name_of(&format!("agent:{name}").parse().unwrap());
    assert_eq!(called("channel-ops"), "keepwell's channel ops");
    assert_eq!(called("bus"), "keepwell's own bus");
}

#[test]
fn a_container_has_the_command_of_the_engine_that_has_it() {
    use crate::engine::alert::ContainerFacts;
    use crate::engine::words::CheckKind;
    let of = |name: &str, engine: &str, kind| {
        let mut alert = sample::alert();
        alert.key.check = CheckId::new(CheckKind::Container, name);
        alert.key.kind = kind;
        let facts = ContainerFacts { engine: engine.into(), ..ContainerFacts::default() };
        alert.container = Some(Box::new(facts));
        command(&alert).unwrap()
    };
    let since = "--since 2026-11-21T06:40:23Z";
    assert_eq!(of("web", "docker", AlertKind::State), format!("docker logs {since} web"));
    assert_eq!(of("podman/web", "podman", AlertKind::State), format!("podman logs {since} web"));
    assert_eq!(of("web", "docker", AlertKind::Memory), "docker stats --no-stream web");
    // The first engine's names have nothing before them, whatever the engine.
    assert_eq!(of("web", "podman", AlertKind::Cpu), "podman stats --no-stream web");
    // What another user's engine has, the command of root does not see.
    let other = of("podman-1000/web", "podman-1000", AlertKind::State);
    assert_eq!(other, "keepwell explain container:podman-1000/web");
    // Unless it is known how it is reached.
    let facts = ContainerFacts {
        engine: "podman-1000".into(),
        command: "podman --url unix:///run/user/1000/podman/podman.sock".into(),
        ..ContainerFacts::default()
    };
    let mut reached = sample::alert();
    reached.key.check = CheckId::new(CheckKind::Container, "podman-1000/web");
    reached.container = Some(Box::new(facts));
    let url = "--url unix:///run/user/1000/podman/podman.sock";
    assert_eq!(command(&reached).unwrap(), format!("podman {url} logs {since} web"));
    // It counts as down after a minute; what is wanted is from before its end.
    let mut late = sample::alert();
    late.key.check = CheckId::new(CheckKind::Container, "web");
    let ended = Some(late.opened.before(Duration::from_secs(61)));
    let facts = ContainerFacts { engine: "docker".into(), ended, ..ContainerFacts::default() };
    late.container = Some(Box::new(facts));
    assert_eq!(command(&late).unwrap(), "docker logs --since 2026-11-21T06:39:22Z web");
    assert!(of("a b'c", "docker", AlertKind::State).ends_with(r"'a b'\''c'"));
}
