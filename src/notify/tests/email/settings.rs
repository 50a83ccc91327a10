//! What a configuration may say, and what is said of one that makes no sense.

use super::*;

#[track_caller]
fn refused(keys: &str, words: &[&str]) {
    let Err(error) = channel(keys) else { panic!("it should be refused: {keys}") };
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "no '{word}' in:\n{text}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_a_hint() {
    for (keys, expected) in [
        (
            "host = \"mail.example.org\"",
            &["needs the key `to`", "add to = [\"ops@example.org\"]"][..],
        ),
        ("to = \"ops@example.org\"", &["needs the relay's `host`, or a `preset`", "\"gmail\""]),
        (
            "to = \"ops at example.org\"\nhost = \"m\"",
            &["keepwell.toml:4:6", "`to` holds no e-mail address"],
        ),
        ("to = []\nhost = \"m\"", &["`to` is empty"]),
        (
            "to = [\"a@b.org\", \"x\\r\\nBcc: y@b.org\"]\nhost = \"m\"",
            &["`to` has control characters"],
        ),
        ("to = \"ö@example.org\"\nhost = \"m\"", &["ASCII"]),
        (
            "to = \"a@b.org\"\nfrom = \"a@b.org, c@d.org\"\nhost = \"m\"",
            &["`from` must be one address"],
        ),
        (
            "to = \"a@b.org\"\nhost = \"smtp://m\"",
            &["`host` must be the relay's name", "port = 587"],
        ),
        ("to = \"a@b.org\"\nhost = \"m:25\"", &["`host` must be the relay's name"]),
        (
            "to = \"a@b.org\"\npreset = \"gmial\"",
            &["`channel.preset` cannot be \"gmial\"", "did you mean `gmail`?"],
        ),
        ("to = \"a@b.org\"\npreset = \"gmail\"", &["Gmail needs `user`: the login"]),
        (
            "to = \"a@b.org\"\npreset = \"gmail\"\nuser = \"a@gmail.com\"",
            &["Gmail needs `password`: an app password", "credential"],
        ),
        (
            "to = \"a@b.org\"\npreset = \"sendgrid\"\npassword = \"SG.x\"",
            &["SendGrid needs `from`"],
        ),
        ("to = \"a@b.org\"\nhost = \"m\"\npassword = \"x\"", &["`password` without `user`"]),
        ("to = \"a@b.org\"\nhost = \"m\"\nuser = \"x\"", &["`user` without `password`"]),
        (
            "to = \"a@b.org\"\nhost = \"m\"\ntls = \"none\"\nuser = \"x\"\npassword = \"y\"",
            &["would cross the network in plain text"],
        ),
        (
            "to = \"a@b.org\"\nhost = \"m\"\ntls = \"opportunistic\"",
            &["`channel.tls` cannot be", "starttls, implicit, none"],
        ),
        (
            "to = \"a@b.org\"\nhost = \"m\"\nport = 0",
            &["`channel.port` must be between 1 and 65535"],
        ),
        (
            "to = \"a@b.org\"\nhost = \"m\"\nca = \"/none/such.pem\"",
            &["`ca`: /none/such.pem cannot be read"],
        ),
        ("to = \"a@b.org\"\nhost = \"m\"\nhello = \"a b\"", &["`hello` must be a host's name"]),
        (
            "to = \"a@b.org\"\nhost = \"m\"\ntimeout = \"2m\"",
            &["`channel.timeout` must be between 1 s and 40 s"],
        ),
        ("to = \"a@b.org\"\nhost = \"m\"\nsubject = \"x\"", &["unknown key `subject`"]),
    ] {
        refused(keys, expected);
    }
    // All that is wrong at once, and each once.
    let Err(all) = channel("to = \"x\"\nfrom = \"y\"\nhost = \"a b\"\nport = -1") else { panic!() };
    assert_eq!(all.found.len(), 4, "{all}");
}

#[test]
fn a_file_without_certificates_is_no_ca() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
        .unwrap();
    let ca = format!("to = \"a@b.org\"\nhost = \"m\"\nca = \"{}\"", path.display());
    refused(&ca, &["holds no certificate in PEM form"]);
}

#[test]
fn plain_text_over_the_network_is_warned_of() {
    let (_, warnings) = channel("to = \"a@b.org\"\nhost = \"m\"\ntls = \"none\"").unwrap();
    assert!(warnings.contains("will cross the network in plain text"), "{warnings}");
    for quiet in ["host = \"localhost\"", "host = \"m\"", "host = \"::1\"\ntls = \"none\""] {
        let (_, warnings) = channel(&format!("to = \"a@b.org\"\n{quiet}")).unwrap();
        assert_eq!(warnings, "", "{quiet}");
    }
}

/// Reads the keys and gives the settings themselves.
fn read(keys: &str) -> super::super::Settings {
    let text = format!("[[channel]]\nname = \"ops\"\ntype = \"email\"\nto = \"a@b.org\"\n{keys}\n");
    let mut loaded = load(text);
    let section = loaded.config.channels.remove(0);
    let mut reader = section.section.read(&mut loaded.sink);
    let settings = super::super::settings::read(&mut reader, None);
    reader.finish();
    loaded.finish().unwrap();
    settings.unwrap()
}

#[test]
fn port_and_encryption_follow_from_each_other() {
    use super::super::settings::Tls::{self, Implicit, None, Starttls};
    for (keys, port, tls) in [
        ("host = \"m\"", 587, Starttls),
        ("host = \"m\"\nport = 25", 25, Starttls),
        ("host = \"m\"\nport = 465", 465, Implicit),
        ("host = \"m\"\ntls = \"implicit\"", 465, Implicit),
        ("host = \"m\"\nport = 2465\ntls = \"implicit\"", 2465, Implicit),
        ("host = \"m\"\ntls = \"none\"", 25, None),
        ("host = \"localhost\"", 25, None),
        ("host = \"127.0.0.1\"\nport = 2525", 2525, None),
        ("host = \"[::1]\"\nport = 587", 587, Starttls),
        ("host = \"localhost\"\ntls = \"starttls\"", 587, Starttls),
        ("preset = \"mailgun\"\nuser = \"u@d.org\"\npassword = \"p\"\nport = 465", 465, Implicit),
    ] {
        let found: (u16, Tls) = (read(keys).port, read(keys).tls);
        assert_eq!(found, (port, tls), "{keys}");
    }
}

#[test]
fn presets_fill_in_what_the_provider_wants() {
    let login = "user = \"me@gmail.com\"\npassword = \"abcd efgh ijkl mnop\"";
    let gmail = read(&format!("preset = \"gmail\"\n{login}"));
    assert_eq!((gmail.host.as_str(), gmail.port), ("smtp.gmail.com", 587));
    assert_eq!(gmail.login.as_ref().unwrap().1.expose(), "abcdefghijklmnop");
    assert_eq!(gmail.from.unwrap().email.to_string(), "me@gmail.com");
    let sendgrid = read("preset = \"sendgrid\"\npassword = \"SG.x\"\nfrom = \"a@b.org\"");
    assert_eq!(sendgrid.login.as_ref().unwrap().0, "apikey");
    assert_eq!(sendgrid.host, "smtp.sendgrid.net");
    let eu = "preset = \"mailgun\"\nhost = \"smtp.eu.mailgun.org\"\nuser = \"a@b.org\"\npassword = \"x\"";
    assert_eq!(read(eu).host, "smtp.eu.mailgun.org");
    let outlook = read("preset = \"outlook\"\nuser = \"a@b.org\"\npassword = \"s3cr3t\"");
    assert_eq!(outlook.host, "smtp.office365.com");
    assert!(!format!("{outlook:?}").contains("s3cr3t"), "{outlook:?}");
}

#[test]
fn addresses_may_have_names_and_stand_in_one_text() {
    let settings = read("cc = \"Ops <ops@b.org>, boss@b.org, a@b.org\"\nhost = \"m\"");
    let all: Vec<String> = settings.recipients().map(ToString::to_string).collect();
    assert_eq!(all, ["a@b.org", "ops@b.org", "boss@b.org"]);
    let outgoing = opened();
    assert_eq!(settings.from(&outgoing).to_string(), "keepwell on web1 <keepwell@web1>");
    assert_eq!(settings.hello(&outgoing), "web1");
    let named = read("from = \"Alerts <al@b.org>\"\nhost = \"m\"");
    assert_eq!(named.from(&outgoing).to_string(), "Alerts <al@b.org>");
}

#[test]
fn the_documentation_says_what_can_be_written() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/channels/email.md");
    let text = std::fs::read_to_string(path).unwrap();
    let blocks: Vec<&str> =
        text.split("```toml\n").skip(1).map(|b| b.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 6, "{blocks:?}");
    for block in blocks {
        let mut loaded = load_leniently(block.to_owned());
        crate::notify::tests::load::made(&mut loaded, &Outbound::default());
        let found = loaded.finish().map(|config| config.warnings.to_string());
        assert!(found.as_ref().is_ok_and(|w| w.lines().count() < 6), "{block}\n{found:?}");
    }
    for key in super::super::settings::KEYS {
        assert!(text.contains(&format!("`{}`", key.name)), "{}", key.name);
    }
}
