//! The documentation of templates and of the webhook is true: its configurations load, its
//! templates work with every sample, and its receiver checks signatures.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use super::load::{load, one};
use super::receiver::block;
use super::*;

const TEMPLATES: &str = include_str!("../../../docs/templates.md");
const WEBHOOK: &str = include_str!("../../../docs/channels/webhook.md");

/// The blocks of a language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let begin = format!("```{language}\n");
    text.split(&begin).skip(1).map(|rest| rest.split("```\n").next().unwrap()).collect()
}

#[test]
fn every_configuration_loads() {
    let mut loaded = 0;
    for block in blocks(TEMPLATES, "toml").into_iter().chain(blocks(WEBHOOK, "toml")) {
        let kind = block.split("type = \"").nth(1).unwrap().split('"').next().unwrap();
        // Secrets as the service has them.
        let mut text = String::new();
        for line in block.lines() {
            match line.split_once(" = { credential = ") {
                Some(("secret", _)) => {
                    text.push_str(
                        "secret = \"whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"",
                    );
                }
                Some(("token", _)) => {
                    text.push_str("token = \"123456789:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"")
                }
                Some((key, _)) => text.push_str(&format!("{key} = \"https://h.example/hook\"")),
                None => text.push_str(line),
            }
            text.push('\n');
        }
        if !KINDS.iter().any(|k| k.name == kind) {
            println!("SKIPPED: this build has no channel type {kind}");
            continue;
        }
        if let Err(wrong) = load(&text) {
            panic!("{wrong}");
        }
        loaded += 1;
    }
    assert!(loaded >= 6, "only {loaded}");
}

#[test]
fn every_name_in_the_tables_exists_and_every_name_there_is_has_its_row() {
    let message = sample::outgoing(sample::grouped());
    let context = fields::context(&message, &story::compose(&message));
    let names = |section: &str| -> std::collections::BTreeSet<String> {
        let rows = section.lines().filter_map(|l| l.strip_prefix("| `")?.split(" | ").next());
        rows.flat_map(|cell| cell.split('`'))
            .filter(|n| n.chars().all(|c| c.is_ascii_lowercase() || c == '_') && !n.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let section = TEMPLATES.split("## What there is").nth(1).unwrap();
    let (all, rest) = section.split_once("Each of `alerts`").unwrap();
    let (alerts, _) = rest.split_once("Each of `parts`").unwrap();
    let keys = |value: &serde_json::Value| {
        value.as_object().unwrap().keys().cloned().collect::<std::collections::BTreeSet<_>>()
    };
    let mut expected = keys(&context);
    expected.insert("message".into());
    assert_eq!(names(all), expected);
    assert_eq!(names(alerts), keys(&context["alerts"][0]));
    for filter in template::FILTERS {
        assert!(TEMPLATES.contains(&format!("| `{filter}` | ")), "{filter}");
    }
}

#[test]
fn every_field_of_the_webhook_is_documented() {
    let story = |m: &Outgoing| story::compose(m);
    for (name, message) in sample::all() {
        let message = sample::outgoing(message);
        let body = webhook_body(&message, &story(&message));
        let fields = body.as_object().unwrap().keys().cloned();
        let of_alerts = body["alerts"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|a| a.as_object().unwrap().keys().cloned());
        for field in fields.chain(of_alerts) {
            let said = WEBHOOK.contains(&format!("`{field}`")) || field == "agent";
            assert!(said, "{name}: {field}");
        }
    }
}

fn webhook_body(message: &Outgoing, story: &story::Story) -> serde_json::Value {
    super::super::webhook::body::full(message, story, false)
}

/// The program of the documentation, as somebody would run it.
#[test]
fn the_receiver_of_the_documentation_tells_forgeries() {
    let program = blocks(WEBHOOK, "python").remove(0);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let child = Command::new("python3")
        .args(["-c", program, &port.to_string()])
        .env("WEBHOOK_SECRET", "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else {
        println!("SKIPPED: there is no command python3");
        return;
    };
    let mut printed = BufReader::new(child.stdout.take().unwrap());
    let begin = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let real = |secret: &str| {
        let toml = format!(
            "[[channel]]\nname = \"a\"\ntype = \"webhook\"\nurl = \"http://127.0.0.1:{port}/\"\n\
             secret = \"{secret}\"\nproxy = false\n"
        );
        let mut message = sample::outgoing(notification("m1", Happening::Opened));
        message.now.wall = crate::engine::Wall(i64::try_from(begin.as_micros()).unwrap());
        let channel = one(&toml);
        block(async {
            let mut tries = 0;
            loop {
                match channel.send(&message).await {
                    // It has not begun to listen yet.
                    Err(error) if error.text.contains("Connection refused") && tries < 1000 => {
                        tries += 1;
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    other => return other,
                }
            }
        })
    };
    let good = real("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
    let again = real("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
    let forged = real("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWE=");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!((good.unwrap(), again.unwrap()), ("204 No Content".into(), "204 No Content".into()));
    assert_eq!(forged.unwrap_err().retry, Retry::Stop);
    let mut line = String::new();
    printed.read_line(&mut line).unwrap();
    let body: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(body["alerts"][0]["unit"], "nginx.service");
    let mut rest = String::new();
    printed.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "a repeat is known by its id");
}
