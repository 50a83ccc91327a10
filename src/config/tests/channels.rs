//! Tests of the channels that the environment makes, and of how channels reach the network.

use super::super::tree::{Node, Table, Value};
use super::{Loaded, Proxy, good, read, show, wrong};

/// The only channel as `key = value` by key, and what is odd.
fn channel(texts: &[&str], variables: &[(&str, &str)]) -> (Vec<String>, String) {
    let loaded = read(texts, variables);
    let written = section(&loaded);
    (written, loaded.finish().unwrap().warnings.to_string())
}

fn section(loaded: &Loaded) -> Vec<String> {
    fn text(node: &Node) -> String {
        match &node.value {
            Value::Text(text) => text.clone(),
            Value::Integer(n) => n.to_string(),
            Value::List(list) => list.iter().map(text).collect::<Vec<_>>().join("+"),
            value => value.kind().to_owned(),
        }
    }
    let of = |table: &Table| {
        table.iter().map(|(key, entry)| format!("{key} = {}", text(&entry.node))).collect()
    };
    match loaded.document.get("channel").map(|entry| &entry.node.value) {
        Some(Value::List(list)) => match &list[..] {
            [Node { value: Value::Table(table), .. }] => of(table),
            _ => panic!("{} channels", list.len()),
        },
        _ => panic!("no channel"),
    }
}

#[test]
fn a_webhook_is_of_the_type_that_its_address_says() {
    let made = |url| {
        let config = good(&[], &[("ALERT_WEBHOOK_URL", url)]);
        (config.channels[0].name.to_string(), config.channels[0].kind.clone())
    };
    let pair = |kind: &str| ("webhook".to_owned(), kind.to_owned());
    assert_eq!(made("https://hooks.slack.com/services/x"), pair("slack"));
    assert_eq!(made("https://discord.com/api/webhooks/1/x"), pair("discord"));
    assert_eq!(made("https://a.environment.api.powerplatform.com/x"), pair("teams"));
    assert_eq!(made("https://example.org/x"), pair("webhook"));
}

#[test]
fn mail_is_made_from_its_variables() {
    let (written, odd) = channel(
        &[],
        &[
            ("ALERT_EMAIL", "ops@example.org, on-call@example.org"),
            ("ADMIN_EMAIL", "Ops@example.org;root@example.org"),
            ("SMTP_HOST", "smtp.example.org"),
            ("SMTP_PORT", "587"),
            ("SMTP_USER", "keepwell@example.org"),
            ("SMTP_PASSWORD", "hunter2"),
        ],
    );
    assert_eq!(
        written,
        [
            "host = smtp.example.org",
            "name = email",
            "password = hunter2",
            "port = 587",
            "to = ops@example.org+on-call@example.org+root@example.org",
            "type = email",
            "user = keepwell@example.org",
        ]
    );
    assert_eq!(odd, "");
}

#[test]
fn without_a_mail_server_the_host_s_own_is_taken() {
    let (written, odd) = channel(&[], &[("ADMIN_EMAIL", "root@example.org")]);
    let want = ["host = localhost", "name = email", "to = root@example.org", "type = email"];
    assert_eq!(written, want);
    assert!(odd.starts_with("environment: ADMIN_EMAIL: warning: SMTP_HOST is not set"), "{odd}");

    let (named, odd) =
        channel(&[], &[("ALERT_EMAIL", "root@example.org"), ("SMTP_HOST", "localhost")]);
    assert_eq!((named, odd), (written, String::new()));
    // What is no number is left for the kind to refuse.
    let (other, _) = channel(&[], &[("ALERT_EMAIL", "a@example.org"), ("SMTP_PORT", "smtp")]);
    assert!(other.contains(&"port = smtp".into()), "{other:?}");
}

#[test]
fn a_file_says_more_of_a_channel_that_variables_make() {
    let (written, odd) = channel(
        &["[[channel]]\nname = \"email\"\nmin_severity = \"critical\"\nport = 2525\n"],
        &[("ALERT_EMAIL", "a@example.org"), ("SMTP_HOST", "smtp.example.org")],
    );
    let want = ["host = smtp.example.org", "min_severity = critical", "name = email"];
    let rest = ["port = 2525", "to = a@example.org", "type = email"];
    assert_eq!(written, [want, rest].concat());
    assert_eq!(odd, "");

    // What a variable says wins, and what the file says must be right all the same.
    let file =
        "[[channel]]\nname = \"webhook\"\ntype = \"webhook\"\nurl = \"https://a.example.org\"";
    let slack = [("ALERT_WEBHOOK_URL", "https://hooks.slack.com/x")];
    let (written, _) = channel(&[file], &slack);
    let kept = "type = webhook";
    assert!(written.contains(&kept.into()), "the type of the file stays: {written:?}");
    assert!(written.contains(&"url = https://hooks.slack.com/x".into()), "{written:?}");

    let server = "[[channel]]\nname = \"email\"\ntype = \"email\"\nhost = \"mail.example.org\"";
    let (written, odd) = channel(&[server], &[("ALERT_EMAIL", "a@example.org")]);
    assert!(written.contains(&"host = mail.example.org".into()) && odd.is_empty(), "{odd}");
    let preset = "[[channel]]\nname = \"email\"\npreset = \"gmail\"";
    let (written, odd) = channel(&[preset], &[("ALERT_EMAIL", "a@example.org")]);
    assert!(!written.iter().any(|line| line.starts_with("host")) && odd.is_empty(), "{odd}");
}

#[test]
fn a_channel_of_another_type_with_that_name_is_an_error() {
    let file = "[[channel]]\nname = \"telegram\"\ntype = \"webhook\"";
    let said = wrong(&[file], &[("TELEGRAM_BOT_TOKEN", "hunter2"), ("TELEGRAM_CHAT_ID", "1")]);
    let want =
        "environment: TELEGRAM_BOT_TOKEN: the channel `telegram` is there already, at 0.toml:2";
    assert!(said.contains(want), "{said}");
}

#[test]
fn telegram_needs_both_of_its_variables() {
    let both = [("TELEGRAM_BOT_TOKEN", "1:hunter2"), ("TELEGRAM_CHAT_ID", "-1001")];
    let (written, odd) = channel(&[], &both);
    let want = ["chat_id = -1001", "name = telegram", "token = 1:hunter2", "type = telegram"];
    assert_eq!((written, odd), (want.map(String::from).to_vec(), String::new()));

    for (one, other) in [(both[0], "TELEGRAM_CHAT_ID"), (both[1], "TELEGRAM_BOT_TOKEN")] {
        let config = good(&[], &[one]);
        assert!(config.channels.is_empty());
        let said = config.warnings.to_string();
        assert!(said.contains(&format!("environment: {}: warning: this alone", one.0)), "{said}");
        assert!(said.contains(&format!("set {other} as well")), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    let file = "[[channel]]\nname = \"telegram\"\ntype = \"telegram\"\nchat_id = \"7\"";
    let (written, odd) = channel(&[file], &both[..1]);
    assert!(written.contains(&"token = 1:hunter2".into()) && odd.is_empty(), "{odd}");
}

#[test]
fn a_mail_server_without_anybody_to_write_to_is_a_warning() {
    let config = good(&[], &[("SMTP_HOST", "smtp.example.org"), ("ALERT_EMAIL", " , ")]);
    assert!(config.channels.is_empty());
    let said = config.warnings.to_string();
    assert!(said.contains("environment: SMTP_HOST: warning: this names a mail server"), "{said}");
}

#[test]
fn the_network_is_reached_as_written() {
    let proxy = |text: &str| good(&[text], &[]).outbound.proxy;
    assert_eq!(proxy(""), Proxy::Usual);
    assert_eq!(proxy("[outbound]\nproxy = false"), Proxy::Off);
    let Proxy::Url(url) = proxy("[outbound]\nproxy = \"http://u:hunter2@p.example.org:3128\"")
    else {
        panic!("a proxy")
    };
    assert_eq!(url.expose(), "http://u:hunter2@p.example.org:3128");
    // A drop-in takes back what an earlier file says, and the other way round.
    let files = ["[outbound]\nproxy = false", "[outbound]\nproxy = \"http://p.example.org\""];
    assert!(matches!(good(&files, &[]).outbound.proxy, Proxy::Url(_)));
    let config = good(&["[outbound]\nca = \"/etc/ssl/private-ca.pem\""], &[]);
    assert_eq!(config.outbound.ca.unwrap().to_str(), Some("/etc/ssl/private-ca.pem"));
}

#[test]
fn no_secret_of_a_channel_is_shown() {
    let text = "[outbound]\nproxy = \"http://u:hunter2@p.example.org:3128\"\n[[channel]]\n\
                name = \"a\"\ntype = \"b\"\nproxy = \"http://u:hunter2@p.example.org\"\n\
                password = \"hunter2\"\ntoken = \"hunter2\"\n\
                headers = { Cookie = \"id=hunter2\", env = \"{{ host }} hunter2\", X = [1] }";
    let variables = [
        ("TELEGRAM_BOT_TOKEN", "1:hunter2"),
        ("TELEGRAM_CHAT_ID", "1"),
        ("ALERT_EMAIL", "a@example.org"),
        ("SMTP_PASSWORD", "hunter2"),
        ("ALERT_WEBHOOK_URL", "https://example.org/hunter2"),
    ];
    let loaded = read(&[text], &variables);
    let shown = show::text(&loaded);
    assert!(!format!("{shown}{loaded:?}").contains("hunter2"), "{shown}");
    let headers = "headers = { Cookie = \"[secret]\", X = \"[secret]\", env = \"[secret]\" }";
    assert!(shown.contains(headers), "{shown}");
    assert!(shown.contains("# $SMTP_PASSWORD") && shown.contains("# $TELEGRAM_CHAT_ID"), "{shown}");
    let said = wrong(&["[outbound]\nproxy = \"u:hunter2@p.example.org:3128\""], &[]);
    assert!(said.contains("`outbound.proxy` must start with https:// or http://"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn a_header_that_is_env_alone_is_no_reference() {
    let text = "[[channel]]\nname = \"a\"\ntype = \"b\"\nheaders = { env = \"hunter2\" }";
    let shown = show::text(&read(&[text], &[]));
    assert!(shown.contains("headers = { env = \"[secret]\" }"), "{shown}");
}
