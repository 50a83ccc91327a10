//! Discord: whole requests, its limits, its answers.

use serde_json::Value;

use super::chats::{self, Bench, configured, length, messages, story};
use super::receiver::Reply;
use super::*;
use crate::notify::discord::full;

const TARGET: &str = "/api/webhooks/100000000000000001/abcdefghijklmnop";
const AT: &str = "2026-11-21T06:41:23.500000Z";

fn ok() -> Reply {
    Reply::new("200 OK", r#"{"id":"100000000000000002","type":0,"content":""}"#)
}

#[test]
fn whole_requests_are_as_documented_and_within_the_limits() {
    let target = format!("{TARGET}?thread_id=100000000000000003");
    for (name, request) in chats::golden("discord", &target, ok()) {
        assert_eq!(request.target, format!("{target}&wait=true"));
        within_limits(name, &request.json());
    }
}

fn within_limits(name: &str, body: &Value) {
    assert_eq!(body["allowed_mentions"], serde_json::json!({ "parse": [] }));
    let embeds = body["embeds"].as_array().unwrap();
    assert!((1..=10).contains(&embeds.len()), "{name}");
    let mut all = 0;
    for embed in embeds {
        let lengths =
            [&embed["title"], &embed["description"], &embed["footer"]["text"]].map(length);
        let [title, description, footer] = lengths;
        assert!(title <= 256 && description <= 4096 && footer <= 2048, "{name}: {lengths:?}");
        assert!(title + description > 0, "{name}: an empty embed");
        assert!(embed["color"].as_u64().is_some_and(|c| c <= 0xff_ffff), "{name}");
        all += lengths.iter().sum::<usize>();
    }
    assert!(all <= 6000, "{name}: {all}");
}

#[test]
fn the_query_of_the_address_stays_and_wait_is_asked_for_once() {
    for (given, sent) in [
        (TARGET.to_owned(), format!("{TARGET}?wait=true")),
        (format!("{TARGET}?wait=false"), format!("{TARGET}?wait=false")),
        (format!("{TARGET}?thread_id=1&x=%2f"), format!("{TARGET}?thread_id=1&x=%2f&wait=true")),
    ] {
        let (result, requests) = Bench::new("discord", &given).outcome(&[ok()]);
        assert_eq!(result.unwrap(), "200 OK: message 100000000000000002");
        assert_eq!(requests[0].target, sent);
    }
}

/// Outside of code blocks what has a meaning has a backslash before it; within them nothing has a
/// meaning, and nothing ends them.
#[test]
fn hostile_text_is_inert() {
    let body = full(&story(sample::hostile()), AT, None, None);
    let title = body["embeds"][0]["title"].as_str().unwrap();
    assert!(title.starts_with(r"🔴 [CRITICAL] web\<1>&: a\<b>&'"), "{title}");
    let description = body["embeds"][0]["description"].as_str().unwrap();
    let pieces: Vec<&str> = description.split("```").collect();
    assert_eq!(pieces.len(), 5, "two blocks, closed: {description}");
    for text in pieces.iter().step_by(2).chain([&title]) {
        // Our own labels, and what is escaped.
        let mut bare = text.replace("**", "");
        while let Some(at) = bare.find('\\') {
            let escaped = bare[at + 1..].chars().next().unwrap();
            bare.replace_range(at..=at + escaped.len_utf8(), " ");
        }
        for markup in ["*", "`", "<", "~~", "||", "](", "@everyone", "@here", " _", "_ "] {
            assert!(!bare.contains(markup), "{markup} in {text}");
        }
    }
}

#[test]
fn each_problem_has_an_embed_of_its_colour() {
    let body = full(&story(sample::grouped()), AT, None, None);
    let colours: Vec<_> = body["embeds"].as_array().unwrap().iter().map(|e| &e["color"]).collect();
    let (red, yellow) = (0xd3_2f2f, 0xed_9f00);
    assert_eq!(colours, [red, red, yellow], "the title, the database with its two, the disk");
    let first = body["embeds"][1]["description"].as_str().unwrap();
    assert!(first.contains("\n↳ 🔴 CRITICAL api.service"), "{first}");
}

#[test]
fn answers_are_judged() {
    let bench = Bench::new("discord", TARGET);
    chats::common_answers_are_judged(&bench);
    chats::an_absent_service_is_tried_later("discord", TARGET);
    let of = |head, body| bench.answer(head, body);
    assert_eq!(of("204 No Content", ""), Ok("204 No Content".into()));
    assert_eq!(of("200 OK", "{}"), Ok("200 OK".into()));
    let long = format!("{{\"content\": \"{}\"}}", "x".repeat(100_000));
    assert_eq!(of("200 OK", &long), Ok("200 OK".into()), "more than is read of an answer");
    for (head, body) in [("200 OK", "<html>log in</html>"), ("202 Accepted", "")] {
        let error = of(head, body).unwrap_err();
        assert_eq!(error.retry, Retry::Later(None), "{error}");
        assert!(error.text.contains("not how Discord answers"), "{error}");
    }
    let gone = of("404 Not Found", r#"{"message": "Unknown Webhook", "code": 10015}"#).unwrap_err();
    assert_eq!(gone.retry, Retry::Stop);
    assert!(gone.text.ends_with("the webhook is gone: make a new one and set its URL"), "{gone}");
    assert!(gone.text.contains("Unknown Webhook"), "{gone}");
    let json = r#"{"message": "forums want a thread_id", "code": 220001}"#;
    let forum = of("400 Bad Request", json).unwrap_err();
    assert_eq!(forum.retry, Retry::Stop);
    assert!(forum.text.ends_with("add ?thread_id= and a thread's id to the URL"), "{forum}");
}

#[test]
fn the_hint_in_the_body_counts() {
    let bench = Bench::new("discord", TARGET);
    let limited = |json: &str, head: &str| bench.answer(head, json).unwrap_err().retry;
    let head = "429 Too Many Requests\r\nRetry-After: 3";
    let later = |ms| Retry::Later(Some(Duration::from_millis(ms)));
    let json =
        r#"{"message": "You are being rate limited.", "retry_after": 2.25, "global": false}"#;
    assert_eq!(limited(json, head), later(2250));
    assert_eq!(limited(r#"{"retry_after": 64}"#, "429 Too Many Requests"), later(64_000));
    for odd in
        [r#"{"retry_after": -1}"#, r#"{"retry_after": "x"}"#, r#"{"retry_after": 1e300}"#, "x"]
    {
        assert_eq!(limited(odd, head), later(3000), "{odd}");
    }
}

#[test]
fn what_discord_refuses_goes_out_once_more_as_plain_text() {
    let refused = Reply::new("400 Bad Request", r#"{"embeds": ["0"]}"#);
    let bench = Bench::new("discord", TARGET);
    for (name, message) in messages() {
        let (result, requests) = bench.send(message, std::slice::from_ref(&refused));
        assert_eq!(result.unwrap_err().retry, Retry::Never);
        let body = requests[1].json();
        assert!((1..=2000).contains(&length(&body["content"])), "{name}");
        assert!(body.get("embeds").is_none());
        assert_eq!(body["allowed_mentions"], serde_json::json!({ "parse": [] }));
    }
    let (result, requests) =
        bench.outcome(&[Reply::new("400 Bad Request", ""), Reply::new("204 None", "")]);
    assert_eq!(requests.len(), 2);
    assert_eq!(
        result.unwrap(),
        "204 No Content, in plain form, for SERVICE answered 400 Bad Request"
    );
}

#[test]
fn the_users_words_stand_in_their_place_and_are_cut() {
    let story = story(sample::of(Happening::Opened, sample::alert()));
    let body = full(&story, AT, Some("**down**"), Some("[look](https://example.org)"));
    assert_eq!(body["embeds"][0]["title"], "**down**");
    assert_eq!(body["embeds"][0]["description"], "[look](https://example.org)");
    assert_eq!(body["embeds"].as_array().unwrap().len(), 1);
    let long = "word ".repeat(5000);
    within_limits("long", &full(&story, AT, Some(&long), Some(&long)));
}

#[test]
fn wrong_addresses_are_told_when_the_configuration_is_read() {
    let of =
        |url: &str| configured("discord", &format!("url = \"{url}\"")).map(|(_, warned)| warned);
    assert_eq!(of("https://discord.com/api/webhooks/1/abc").unwrap(), "");
    assert_eq!(of("https://canary.discord.com/api/webhooks/1/abc?thread_id=5").unwrap(), "");
    let warned = of("https://hooks.slack.com/services/T0/B0/abc").unwrap();
    assert!(
        warned.contains("`channel.url` looks like an address of Slack, not of Discord"),
        "{warned}"
    );
    let wrong = of("https://discord.com/api/webhooks/1/abc/slack").unwrap_err();
    assert!(wrong.contains("remove /slack from its end"), "{wrong}");
}

#[test]
fn the_users_words_come_from_the_configuration() {
    let template = "{ title = '*down* {{ host | markdown }}', text = '_one_ two' }";
    let body = chats::with_template("discord", template, ok());
    assert_eq!(body["embeds"][0]["title"], r"*down* web\<1>&");
    assert_eq!(body["embeds"][0]["description"], "_one_ two");
    let blank = chats::with_template("discord", "{ title = '{{ \"\" }}' }", ok());
    assert!(chats::texts(&blank).iter().any(|t| t.contains("[CRITICAL]")), "{blank}");
}
