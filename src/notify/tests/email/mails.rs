//! What a mail holds: golden files of what Python's own parser makes of it.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::engine::alert::{Gist, Happening, Item};

fn golden(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("golden");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// Sends the messages over one server and gives the mails that came out.
fn mails(messages: Vec<Notification>) -> Option<Vec<Value>> {
    let server = Server::start(json!({}))?;
    let channel = to(&server, "cc = \"Boss <boss@example.org>\"\nreply_to = \"desk@example.org\"");
    let messages = messages.into_iter().zip(12..);
    let mails = messages.map(|(message, n)| {
        assert_eq!(send(&channel, &outgoing(n, message)).unwrap(), "250 2.0.0 queued as 4242");
        server.mail()
    });
    Some(mails.collect())
}

/// What holds for every mail, whatever it tells.
#[track_caller]
fn is_sound(mail: &Value) {
    let found = &mail["mail"];
    assert_eq!(found["defects"], json!([]));
    assert_eq!(found["bare_line_ends"], 0);
    assert_eq!(found["ascii"], true);
    assert!(found["longest_line"].as_u64().unwrap() <= 998, "{}", found["longest_line"]);
    assert!(found["bytes"].as_u64().unwrap() < 500 * 1024, "{}", found["bytes"]);
    let names: Vec<&str> =
        found["headers"].as_array().unwrap().iter().map(|h| h[0].as_str().unwrap()).collect();
    let known: BTreeSet<&str> = HEADERS.into();
    assert!(names.iter().all(|n| known.contains(n)), "{names:?}");
    assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len(), "{names:?}");
    assert_eq!(header(mail, "To"), Some("ops@example.org"));
    let html = html(mail);
    let tags: BTreeSet<&str> = texts(&html["tags"]).into_iter().collect();
    assert!(tags.is_subset(&TAGS.into()), "{tags:?}");
    let attributes: BTreeSet<&str> = texts(&html["attributes"]).into_iter().collect();
    assert!(attributes.is_subset(&ATTRIBUTES.into()), "{attributes:?}");
    let page = html["text"].as_str().unwrap();
    assert!(page.len() < 100 * 1024, "{}", page.len());
    assert!(!page.contains("url("), "{page}");
}

const HEADERS: [&str; 19] = [
    "From",
    "Date",
    "Message-ID",
    "Subject",
    "To",
    "Cc",
    "Reply-To",
    "In-Reply-To",
    "References",
    "Auto-Submitted",
    "X-Auto-Response-Suppress",
    "List-Id",
    "X-Keepwell-Event",
    "X-Keepwell-Id",
    "X-Priority",
    "Importance",
    "MIME-Version",
    "Content-Transfer-Encoding",
    "Content-Disposition",
];
const TAGS: [&str; 14] = [
    "html", "head", "meta", "title", "style", "body", "table", "tr", "td", "th", "div", "pre",
    "span", "p",
];
const ATTRIBUTES: [&str; 12] = [
    "align",
    "cellpadding",
    "cellspacing",
    "charset",
    "class",
    "content",
    "lang",
    "name",
    "role",
    "style",
    "valign",
    "width",
];

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect()
}

/// All parts that hold no others.
fn parts(mail: &Value) -> Vec<&Value> {
    fn collect<'a>(part: &'a Value, all: &mut Vec<&'a Value>) {
        match part["parts"].as_array() {
            Some(parts) => parts.iter().for_each(|p| collect(p, all)),
            None => all.push(part),
        }
    }
    let mut all = Vec::new();
    collect(&mail["mail"]["body"], &mut all);
    all
}

fn html(mail: &Value) -> &Value {
    parts(mail).into_iter().find(|p| p["type"] == "text/html").expect("there is HTML")
}

fn attachments(mail: &Value) -> BTreeMap<&str, &str> {
    let named = parts(mail).into_iter().filter_map(|p| Some((p["attachment"].as_str()?, p)));
    named.map(|(name, p)| (name, p["text"].as_str().unwrap())).collect()
}

/// Without what is in other golden files or may differ.
fn brief(mut mail: Value) -> Value {
    fn strip(part: &mut Value) {
        let part = part.as_object_mut().unwrap();
        for inner in part.get_mut("parts").and_then(Value::as_array_mut).into_iter().flatten() {
            strip(inner);
        }
        if part["type"] == "text/html" {
            part.retain(|key, _| !["text", "tags", "attributes"].contains(&key.as_str()));
        }
        if let Some(Value::String(text)) = part.get("text") {
            let lines: Vec<&str> = text.lines().collect();
            part.insert("text".into(), json!(lines));
        }
    }
    strip(&mut mail["mail"]["body"]);
    let found = mail["mail"].as_object_mut().unwrap();
    found.retain(|key, _| ["headers", "body"].contains(&key.as_str()));
    mail
}

#[test]
fn every_kind_of_message_is_read_as_it_was_meant() {
    let (names, messages): (Vec<_>, Vec<_>) = sample::all().into_iter().unzip();
    let Some(mails) = mails(messages) else { return };
    for (name, mail) in names.into_iter().zip(mails) {
        is_sound(&mail);
        if name == "grouped" {
            golden("grouped.html", html(&mail)["text"].as_str().unwrap());
        }
        golden(name, &serde_json::to_string_pretty(&brief(mail)).unwrap());
    }
}

#[test]
fn hostile_text_arrives_as_text() {
    let Some(mails) = mails(vec![sample::hostile()]) else { return };
    let mail = &mails[0];
    is_sound(mail);
    let subject = header(mail, "Subject").unwrap();
    assert!(subject.starts_with("[CRITICAL] web<1>&: a<b>&'\"@everyone.service: <script>"));
    assert_eq!(subject.chars().count(), 200, "{subject}");
    assert_eq!(header(mail, "From"), Some("\"keepwell on web<1>&\" <keepwell@web.1>"));
    let seen = texts(&html(mail)["seen"]).join("\n");
    assert!(seen.contains("<script>alert(1)</script> &amp; </pre><img src=x onerror=alert(1)>"));
    assert!(seen.contains("{{ 7 * 7 }} {% raw %} ${HOME} $(id)"), "{seen}");
    assert!(seen.contains("</b>*`restart`*"), "{seen}");
    let log = attachments(mail)["log-a7.txt"];
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines.len(), 6);
    assert_eq!(lines[3], "red   reversed  nul  tab  cr  lf  end");
    assert!(lines[5].len() <= 8 * 1024 && lines[5].ends_with("x…"), "{}", lines[5].len());
    for text in [seen.as_str(), log, parts(mail)[0]["text"].as_str().unwrap()] {
        let steers = |c: char| (c.is_control() && c != '\n') || "\u{202e}\u{2066}".contains(c);
        assert!(!text.contains(steers), "{text:?}");
    }
}

#[test]
fn a_storm_is_one_mail_of_bearable_size() {
    let mut long = sample::storm(300);
    for item in &mut long.items {
        item.alert.lines = vec!["y".repeat(300); 200];
    }
    let messages =
        vec![Notification { gist: Gist::Summary, omitted: 3, ..sample::storm(300) }, long];
    let Some(mails) = mails(messages) else { return };
    mails.iter().for_each(is_sound);
    let text = parts(&mails[0])[0]["text"].as_str().unwrap();
    assert!(text.contains("\nAnd 250 more; to see all: keepwell status\n"), "{text}");
    let seen = texts(&html(&mails[0])["seen"]);
    assert!(seen.contains(&"and 250 more; to see all: keepwell status"));
    assert_eq!(seen.iter().filter(|s| **s == "CRITICAL").count(), 50);
    assert_eq!(attachments(&mails[0]).len(), 20);
    assert_eq!(header(&mails[0], "References").unwrap().split(' ').count(), 10);
    // Lines of the first ones, the newest of each, until the whole is 256 KiB.
    let logs = attachments(&mails[1]);
    let bytes: usize = logs.values().map(|text| text.len()).sum();
    assert!((250 * 1024..=256 * 1024).contains(&bytes), "{bytes}");
    assert_eq!(logs["log-a0.txt"].lines().count(), 200);
    let cut: Vec<_> = logs.values().filter(|t| t.starts_with("(earlier lines")).collect();
    assert_eq!(cut.len(), 1, "{:?}", logs.keys());
}

#[test]
fn who_has_seen_the_beginning_finds_the_end_in_the_same_thread() {
    let group = sample::grouped();
    let end = |n: usize| {
        let mut alert = group.items[n].alert.clone();
        alert.resolved = Some(sample::AT.after(Duration::from_secs(60)));
        sample::of(Happening::Resolved, alert)
    };
    let again = Item { opening: false, ..group.items[0].clone() };
    let elsewhere = Notification { channel: "boss".into(), ..group.clone() };
    let reminder = Notification { items: vec![again], ..sample::bare(Gist::Alerts) };
    let mut other = group.items[0].alert.clone();
    other.opened = sample::AT.after(Duration::from_secs(3600));
    let alone = sample::of(Happening::Opened, group.items[1].alert.clone());
    let messages = vec![
        group.clone(),
        end(0),
        end(2),
        alone,
        end(1),
        reminder,
        sample::of(Happening::Opened, other),
        elsewhere,
    ];
    let Some(mails) = mails(messages) else { return };
    let references = |n: usize| -> BTreeSet<&str> {
        header(&mails[n], "References").unwrap_or_default().split_whitespace().collect()
    };
    let own = |n: usize| header(&mails[n], "Message-ID").unwrap();
    let shared = |a, b| references(a).intersection(&references(b)).count();
    assert_eq!(references(0).len(), 4);
    assert_eq!((shared(0, 1), shared(0, 2), shared(1, 2)), (1, 1, 0));
    // What an alert has to itself: its first mail is the thread's beginning.
    assert_eq!(references(3), BTreeSet::new());
    assert_eq!(references(4), BTreeSet::from([own(3)]));
    assert_eq!(header(&mails[4], "In-Reply-To"), Some(own(3)));
    // A reminder joins; the next time the same check fails, and another channel, do not.
    assert_eq!(references(5), references(1));
    assert!(!references(0).contains(own(6)));
    assert_eq!(shared(0, 7), 0);
    // No two mails have the same id.
    let ids: BTreeSet<&str> = (0..mails.len()).map(own).collect();
    assert_eq!(ids.len(), mails.len());
}

#[test]
fn a_user_may_say_it_in_other_words() {
    let Some(server) = Server::start(json!({})) else { return };
    let words = r#"
[channel.template]
subject = "One\r\nBcc: boss@example.org {{ host }}"
text = "{{ alerts | length }} of\n\t{{ host }}\u0007"
html = "<p>{{ title | html }}</p>"
"#;
    let channel = to(&server, words);
    send(&channel, &outgoing(12, sample::hostile())).unwrap();
    let mail = server.mail();
    assert_eq!(header(&mail, "Subject"), Some("One Bcc: boss@example.org web<1>&"));
    assert_eq!(header(&mail, "Bcc"), None);
    assert_eq!(mail["to"], json!(["ops@example.org"]));
    assert_eq!(parts(&mail)[0]["text"], "1 of\n\tweb<1>& ");
    let page = html(&mail)["text"].as_str().unwrap();
    assert!(page.starts_with("<p>[CRITICAL] web&lt;1&gt;&amp;: a&lt;b&gt;"), "{page}");
    assert_eq!(attachments(&mail).len(), 1);
}

#[test]
fn ids_hold_whatever_the_host_is_called() {
    use super::super::thread::{atom, domain};
    for (host, expected) in [
        ("web1", "web1"),
        ("Web1.Example.ORG", "web1.example.org"),
        ("web<1>&", "web.1"),
        ("-a-..b_c-", "a.b.c"),
        ("", "localhost"),
        ("ö", "localhost"),
    ] {
        assert_eq!(domain(host), expected);
    }
    let long = format!("{}.{}.{}", "a".repeat(80), "b".repeat(63), "c".repeat(63));
    assert_eq!(domain(&long), "a".repeat(63));
    assert_eq!(atom("a..b@c\r\nd"), "a.b.c.d");
}
