//! Slack: whole requests, its limits, its answers.

use serde_json::Value;

use super::chats::{self, Bench, configured, length, messages, story};
use super::receiver::Reply;
use super::*;
use crate::notify::slack::full;

const TARGET: &str = "/services/T00000000/B00000000/abcdefghijklmnop";

fn ok() -> Reply {
    Reply::new("200 OK\r\nContent-Type: text/html", "ok")
}

#[test]
fn whole_requests_are_as_documented_and_within_the_limits() {
    for (name, request) in chats::golden("slack", TARGET, ok()) {
        within_limits(name, &request.json());
    }
}

fn within_limits(name: &str, body: &Value) {
    assert!((1..=3000).contains(&length(&body["text"])), "{name}");
    let [attachment] = &body["attachments"].as_array().unwrap()[..] else { panic!("{name}") };
    assert!(attachment["color"].as_str().unwrap().starts_with('#'), "{name}");
    let blocks = attachment["blocks"].as_array().unwrap();
    assert!(!blocks.is_empty() && blocks.len() <= 20, "{name}: {}", blocks.len());
    let mut all = 0;
    for block in blocks {
        let n = match block["type"].as_str().unwrap() {
            "section" => length(&block["text"]["text"]),
            "context" => length(&block["elements"][0]["text"]),
            other => panic!("{name}: {other}"),
        };
        assert!((1..=3000).contains(&n), "{name}: {n}");
        all += n;
    }
    assert!(all <= 8000, "{name}: {all}");
}

/// Slack's markup only where it is ours: in code blocks, whose content cannot end them.
#[test]
fn hostile_text_is_inert() {
    for (name, message) in messages() {
        let body = full(&story(message), None, None);
        for text in chats::texts(&body) {
            let mut rest = text.as_str();
            while let Some(at) = rest.find('&') {
                rest = &rest[at..];
                let entity = ["&amp;", "&lt;", "&gt;"].iter().any(|e| rest.starts_with(e));
                assert!(entity, "{name}: {text}");
                rest = &rest[1..];
            }
            assert!(!text.contains(['<', '>']), "{name}: {text}");
        }
        assert_eq!(body["mrkdwn"], false);
        for block in body["attachments"][0]["blocks"].as_array().unwrap() {
            if block["text"]["type"] == "mrkdwn" {
                let text = block["text"]["text"].as_str().unwrap();
                let inside = text.strip_prefix("```\n").and_then(|t| t.strip_suffix("\n```"));
                assert!(!inside.unwrap().contains("``"), "{name}: {text}");
            }
        }
    }
}

#[test]
fn all_that_fits_is_told() {
    let body = full(&story(sample::storm(300)), None, None);
    let all = chats::texts(&body).join("\n");
    assert!(all.contains("worker@0.service") && all.contains("worker@100.service"), "{all}");
    assert!(all.contains("… and "), "{all}");
}

#[test]
fn answers_are_judged() {
    let bench = Bench::new("slack", TARGET);
    chats::common_answers_are_judged(&bench);
    chats::an_absent_service_is_tried_later("slack", TARGET);
    let of = |head, body| bench.answer(head, body);
    assert_eq!(of("200 OK", "ok"), Ok("200 OK: ok".into()));
    for (head, body) in [("200 OK", "<html>log in</html>"), ("202 Accepted", ""), ("204 None", "")]
    {
        let error = of(head, body).unwrap_err();
        assert_eq!(error.retry, Retry::Later(None), "{error}");
        assert!(error.text.contains("Slack would answer 200 and \"ok\""), "{error}");
    }
    for (head, word, hint) in [
        ("403 Forbidden", "action_prohibited", "ask its administrator"),
        ("403 Forbidden", "invalid_token", "make a new one and set its URL"),
        ("404 Not Found", "channel_not_found", "make a webhook for another one"),
        ("404 Not Found", "no_service", "make a new one and set its URL"),
        ("410 Gone", "channel_is_archived", "make a webhook for another one"),
        ("400 Bad Request", "user_not_found", "make a new webhook"),
    ] {
        let error = of(head, word).unwrap_err();
        assert_eq!(error.retry, Retry::Stop, "{error}");
        assert!(error.text.contains(word) && error.text.ends_with(hint), "{error}");
    }
}

#[test]
fn what_slack_refuses_goes_out_once_more_as_plain_text() {
    let bench = Bench::new("slack", TARGET);
    let refused = Reply::new("400 Bad Request", "invalid_payload");
    let (result, requests) = bench.outcome(&[refused.clone(), ok()]);
    assert_eq!(
        result.unwrap(),
        "200 OK: ok, in plain form, for SERVICE answered 400 Bad Request: invalid_payload"
    );
    let [_, plain] = &requests[..] else { panic!() };
    let body = plain.json();
    assert!(body["text"].as_str().unwrap().starts_with("[CRITICAL] web1: nginx.service: failed"));
    assert!(body.get("attachments").is_none() && length(&body["text"]) <= 4000);

    let (result, _) = bench.outcome(&[refused.clone(), refused.clone()]);
    let error = result.unwrap_err();
    assert_eq!(error.retry, Retry::Never);
    assert_eq!(
        error.text,
        "SERVICE answered 400 Bad Request: invalid_payload; and it took no plain text either"
    );
    let busy = Reply::new("429 Slow\r\nRetry-After: 1", "");
    let (result, _) = bench.outcome(&[refused, busy]);
    assert_eq!(result.unwrap_err().retry, Retry::Later(Some(Duration::from_secs(1))));
}

#[test]
fn plain_text_is_short_and_escaped_as_well() {
    let refused = Reply::new("400 Bad Request", "invalid_blocks");
    let bench = Bench::new("slack", TARGET);
    for (name, message) in messages() {
        let (result, requests) = bench.send(message, std::slice::from_ref(&refused));
        assert_eq!(result.unwrap_err().retry, Retry::Never);
        let body = requests[1].json();
        assert!((1..=4000).contains(&length(&body["text"])), "{name}");
        assert!(!body["text"].as_str().unwrap().contains(['<', '>']), "{name}");
        assert_eq!(body["mrkdwn"], false);
    }
}

#[test]
fn the_users_words_stand_in_their_place_and_are_cut() {
    let story = story(sample::of(Happening::Opened, sample::alert()));
    let body = full(&story, Some("*down*"), Some("<https://example.org|look> *now*"));
    assert_eq!(body["text"], "*down*");
    assert_eq!(body.get("mrkdwn"), None, "the user's markup is meant");
    let blocks = &body["attachments"][0]["blocks"];
    assert_eq!(blocks[0]["text"]["text"], "<https://example.org|look> *now*");
    assert_eq!(blocks[1]["elements"][0]["text"], "web1 · env=prod");
    assert_eq!(blocks.as_array().unwrap().len(), 2);
    let long = "word &amp; ".repeat(2000);
    within_limits("long", &full(&story, Some(&long), Some(&long)));
}

#[test]
fn wrong_addresses_are_told_when_the_configuration_is_read() {
    let of = |url: &str| configured("slack", &format!("url = \"{url}\"")).map(|(_, warned)| warned);
    assert_eq!(of("https://hooks.slack.com/services/T0/B0/x").unwrap(), "");
    assert_eq!(of("https://chat.example.org/hooks/x").unwrap(), "", "others speak it too");
    let warned = of("https://discord.com/api/webhooks/1/abc").unwrap();
    assert!(
        warned.contains("`channel.url` looks like an address of Discord, not of Slack"),
        "{warned}"
    );
    assert!(warned.contains("set type = \"discord\""), "{warned}");
    assert!(!warned.contains("abc"), "{warned}");
    let missing = configured("slack", "").err().unwrap();
    assert!(missing.contains("needs the key `url`"), "{missing}");
}

#[test]
fn the_users_words_come_from_the_configuration() {
    let template = "{ title = '*down* {{ host | slack }}', text = '_one_ two' }";
    let body = chats::with_template("slack", template, ok());
    assert_eq!(body["text"], "*down* web&lt;1&gt;&amp;");
    assert_eq!(body["attachments"][0]["blocks"][0]["text"]["text"], "_one_ two");
    let blank = chats::with_template("slack", "{ title = '{{ \"\" }}' }", ok());
    assert!(chats::texts(&blank).iter().any(|t| t.contains("[CRITICAL]")), "{blank}");
}
