//! Microsoft Teams: whole requests, its limits, its answers.

use serde_json::Value;

use super::chats::{self, Bench, configured, messages, story};
use super::receiver::Reply;
use super::*;
use crate::notify::teams::full;

/// As workflows have it: the signature covers what stands there, byte for byte.
const TARGET: &str = "/workflows/0a1b2c3d/triggers/manual/paths/invoke\
                      ?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=a-B_c%2fd~=";

fn ok() -> Reply {
    Reply::new("202 Accepted", "")
}

#[test]
fn whole_requests_are_as_documented_and_within_the_limits() {
    for (name, request) in chats::golden("teams", TARGET, ok()) {
        assert_eq!(request.target, TARGET);
        assert!(request.body.len() < 20 * 1024, "{name}: {}", request.body.len());
        well_formed(name, &request.json());
    }
}

fn well_formed(name: &str, body: &Value) {
    assert_eq!(body["type"], "message");
    let [attachment] = &body["attachments"].as_array().unwrap()[..] else { panic!("{name}") };
    assert_eq!(attachment["contentType"], "application/vnd.microsoft.card.adaptive");
    assert_eq!(attachment.get("contentUrl"), Some(&Value::Null));
    let card = &attachment["content"];
    assert_eq!((&card["type"], &card["version"]), (&"AdaptiveCard".into(), &"1.2".into()));
    elements(name, card["body"].as_array().unwrap());
}

/// Text from elsewhere only in runs, which know no Markdown; no element without content.
fn elements(name: &str, all: &[Value]) {
    assert!(!all.is_empty(), "{name}");
    for element in all {
        match element["type"].as_str().unwrap() {
            "Container" => elements(name, element["items"].as_array().unwrap()),
            "RichTextBlock" => {
                let runs = element["inlines"].as_array().unwrap();
                assert!(!runs.is_empty(), "{name}");
                for run in runs {
                    assert_eq!(run["type"], "TextRun");
                    let text = run["text"].as_str().unwrap();
                    assert!(!text.is_empty() && !text.contains("{{"), "{name}: {text}");
                }
            }
            other => panic!("{name}: {other}"),
        }
    }
}

#[test]
fn all_that_fits_is_told() {
    let body = full(&story(sample::storm(300)), None, None);
    let all = chats::texts(&body).join("\n");
    assert!(all.contains("worker@0.service") && all.contains("worker@60.service"), "{all}");
    assert!(all.contains("… and "), "{all}");
    let size = full(&story(sample::hostile()), None, None).to_string().len();
    assert!(size < 20_000, "{size}");
}

#[test]
fn log_lines_keep_what_they_begin_with() {
    let mut alert = sample::alert();
    alert.lines = vec!["at".into(), "    deeper".into(), "  ".into()];
    let body = full(&story(sample::of(Happening::Opened, alert)), None, None);
    let texts = chats::texts(&body);
    assert!(texts.contains(&"\u{a0}\u{a0}\u{a0}\u{a0}deeper".into()), "{texts:?}");
    assert!(texts.contains(&"\u{a0}".into()), "{texts:?}");
}

#[test]
fn answers_are_judged() {
    let bench = Bench::new("teams", TARGET);
    chats::common_answers_are_judged(&bench);
    chats::an_absent_service_is_tried_later("teams", TARGET);
    let of = |head, body| bench.answer(head, body);
    assert_eq!(of("200 OK", ""), Ok("200 OK".into()));
    assert_eq!(of("202 Accepted", ""), Ok("202 Accepted".into()));
    assert_eq!(of("204 No Content", ""), Ok("204 No Content".into()));
    for (head, body, hint) in [
        (
            "401 Unauthorized",
            r#"{"error":{"code":"DirectApiAuthorizationRequired"}}"#,
            "does not let anyone trigger it",
        ),
        (
            "404 Not Found",
            r#"{"error":{"code":"WorkflowNotFound"}}"#,
            "make a new one and set its URL",
        ),
        (
            "400 Bad Request",
            r#"{"error":{"code":"WorkflowTriggerIsNotEnabled"}}"#,
            "turn it on in Power Automate",
        ),
    ] {
        let error = of(head, body).unwrap_err();
        assert_eq!(error.retry, Retry::Stop, "{error}");
        assert!(error.text.ends_with(hint), "{error}");
    }
}

#[test]
fn what_teams_refuses_goes_out_once_more_as_plain_text() {
    let bench = Bench::new("teams", TARGET);
    let refused = Reply::new("400 Bad Request", "InvalidCard");
    for (name, message) in messages() {
        let (result, requests) = bench.send(message, std::slice::from_ref(&refused));
        assert_eq!(result.unwrap_err().retry, Retry::Never);
        let body = requests[1].json();
        let card = body["attachments"][0]["content"]["body"].as_array().unwrap();
        assert!(card.len() == 1 && card[0]["type"] == "TextBlock", "{name}");
        assert!(body.to_string().len() <= 5000, "{name}");
    }
    let refused = Reply::new("400 Bad Request", "");
    let (result, _) = bench.outcome(&[refused, ok()]);
    assert_eq!(
        result.unwrap(),
        "202 Accepted, in plain form, for SERVICE answered 400 Bad Request"
    );
}

#[test]
fn the_users_words_stand_in_their_place_and_are_cut() {
    let story = story(sample::of(Happening::Opened, sample::alert()));
    let body = full(&story, Some("**down**"), Some("[look](https://example.org)"));
    let card = &body["attachments"][0]["content"]["body"];
    assert_eq!(card[0]["items"][0]["text"], "**down**");
    assert_eq!(card[1]["text"], "[look](https://example.org)");
    assert_eq!(card.as_array().unwrap().len(), 3);
    for long in ["word ".repeat(10_000), "\"\u{1}🔴".repeat(10_000)] {
        let size = full(&story, Some(&long), Some(&long)).to_string().len();
        assert!((8000..=20_000).contains(&size), "{size}");
    }
}

#[test]
fn wrong_addresses_are_told_when_the_configuration_is_read() {
    let of = |url: &str| configured("teams", &format!("url = \"{url}\"")).map(|(_, warned)| warned);
    assert_eq!(of(&format!("https://prod-1.westeurope.logic.azure.com:443{TARGET}")).unwrap(), "");
    assert_eq!(
        of(&format!("https://0a.1.environment.api.powerplatform.com:443{TARGET}")).unwrap(),
        ""
    );
    for ended in ["example.webhook.office.com", "outlook.office.com"] {
        let wrong =
            of(&format!("https://{ended}/webhookb2/0a@0b/IncomingWebhook/s3cr3t/0c")).unwrap_err();
        assert!(wrong.contains("Office connector; these ended in May 2026"), "{wrong}");
        assert!(wrong.contains("choose \"Send webhook alerts to a channel\""), "{wrong}");
        assert!(!wrong.contains("s3cr3t"), "{wrong}");
    }
    let spoilt = of("https://h.example/a?sig='x'").unwrap_err();
    assert!(spoilt.contains("has characters or dots that an address cannot have"), "{spoilt}");
    assert!(spoilt.contains("copy the whole address"), "{spoilt}");
}

#[test]
fn the_users_words_come_from_the_configuration() {
    let template = "{ title = '*down* {{ host | markdown }}', text = '_one_ two' }";
    let body = chats::with_template("teams", template, ok());
    assert_eq!(
        body["attachments"][0]["content"]["body"][0]["items"][0]["text"],
        r"*down* web\<1>&"
    );
    assert_eq!(body["attachments"][0]["content"]["body"][1]["text"], "_one_ two");
    let blank = chats::with_template("teams", "{ title = '{{ \"\" }}' }", ok());
    assert!(chats::texts(&blank).iter().any(|t| t.contains("[CRITICAL]")), "{blank}");
}
