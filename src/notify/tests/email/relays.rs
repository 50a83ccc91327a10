//! How it goes with relays of every temper.

use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const LOGIN: &str = "user = \"me@example.org\"\npassword = \"s3cr3t-pass\"\n";

/// The channel that leads to `localhost` with TLS.
fn over(server: &Server, tls: &str, keys: &str) -> Arc<dyn Channel> {
    let port = server.port;
    let base = "to = \"ops@example.org\"\nhost = \"localhost\"\n";
    channel(&format!("{base}port = {port}\ntls = \"{tls}\"\n{keys}")).unwrap().0
}

fn with(mut settings: Value, more: Value) -> Value {
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    settings
}

#[test]
fn starttls_and_implicit_tls_with_a_login() {
    for tls in ["starttls", "implicit"] {
        let certificates = Certificates::new();
        let login = json!({ "login": ["me@example.org", "s3cr3t-pass"] });
        let Some(server) = Server::start(with(certificates.good(tls), login)) else { return };
        let keys = format!("{LOGIN}hello = \"web1.example.org\"\n{}", certificates.trusted());
        let channel = over(&server, tls, &keys);
        assert_eq!(send(&channel, &opened()).unwrap(), "250 2.0.0 queued as 4242");
        let mail = server.mail();
        assert_eq!(mail["tls"], true);
        assert_eq!(mail["login"], "me@example.org");
        assert_eq!(mail["hello"], "web1.example.org");
        assert_eq!(mail["from"], "me@example.org");
        assert_eq!(mail["to"], json!(["ops@example.org"]));
        assert_eq!(header(&mail, "From"), Some("keepwell on web1 <me@example.org>"));
    }
}

#[test]
fn a_private_authority_may_be_trusted_by_all_channels() {
    let certificates = Certificates::new();
    let Some(server) = Server::start(certificates.good("implicit")) else { return };
    let port = server.port;
    let keys = format!(
        "to = \"ops@example.org\"\nhost = \"localhost\"\nport = {port}\ntls = \"implicit\""
    );
    let ca = Some(certificates.path("ca.pem"));
    let (channel, _) = channel_with(&keys, Outbound { ca, ..Outbound::default() }).unwrap();
    send(&channel, &opened()).unwrap();
    assert_eq!(server.mail()["tls"], true);
}

#[test]
fn a_server_that_knows_only_the_old_login() {
    let login = json!({ "login": ["me@example.org", "s3cr3t-pass"], "auth": ["LOGIN"] });
    let certificates = Certificates::new();
    let Some(server) = Server::start(with(certificates.good("starttls"), login)) else { return };
    let channel = over(&server, "starttls", &format!("{LOGIN}{}", certificates.trusted()));
    send(&channel, &opened()).unwrap();
    assert_eq!(server.mail()["login"], "me@example.org");
}

#[test]
fn a_refused_login_stops_the_channel() {
    let certificates = Certificates::new();
    let login = json!({ "login": ["me@example.org", "another"] });
    let Some(server) = Server::start(with(certificates.good("starttls"), login)) else { return };
    let keys = format!("{LOGIN}{}", certificates.trusted());
    let refused = send(&over(&server, "starttls", &keys), &opened());
    fails(refused, Retry::Stop, &["logging in: 535 5.7.8", "check user and password"]);
    let gmail = over(&server, "starttls", &format!("preset = \"gmail\"\n{keys}"));
    fails(send(&gmail, &opened()), Retry::Stop, &["apppasswords"]);
    server.no_mail();
}

#[test]
fn answers_to_a_login_are_told_apart() {
    let certificates = Certificates::new();
    // "czNjcjN0LXBhc3M=" is the password in base64.
    let answers = json!([
        "454 4.7.0 Temporary authentication failure",
        "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled",
        "534 5.7.9 Application-specific password required",
        "535 5.7.8 not good: s3cr3t-pass czNjcjN0LXBhc3M=",
    ]);
    let script = json!({ "login": ["x", "y"], "replies": { "AUTH": answers } });
    let Some(server) = Server::start(with(certificates.good("starttls"), script)) else { return };
    let channel = over(&server, "starttls", &format!("{LOGIN}{}", certificates.trusted()));
    for (retry, word) in [
        (Retry::Later(None), "454 4.7.0"),
        (Retry::Stop, "an administrator must enable authenticated SMTP"),
        (Retry::Stop, "app password"),
        (Retry::Stop, "not good: […] […]"),
    ] {
        fails(send(&channel, &opened()), retry, &[word]);
    }
}

#[test]
fn a_login_that_is_not_offered() {
    let login = json!({ "login": ["me@example.org", "s3cr3t-pass"] });
    let Some(server) = Server::start(login) else { return };
    // aiosmtpd offers it over TLS only, as most do.
    let words = ["offers no login by password", "many do so over TLS only"];
    fails(send(&to(&server, LOGIN), &opened()), Retry::Stop, &words);
    let words = ["naming the sender: 530 5.7.0", "it wants a login: set user and password"];
    fails(send(&to(&server, ""), &opened()), Retry::Stop, &words);
}

#[test]
fn a_login_in_plain_text_stays_on_this_host() {
    let login = json!({ "login": ["me@example.org", "s3cr3t-pass"], "plain": true });
    let Some(server) = Server::start(login) else { return };
    send(&to(&server, LOGIN), &opened()).unwrap();
    let mail = server.mail();
    assert_eq!((&mail["tls"], &mail["login"]), (&json!(false), &json!("me@example.org")));
}

#[test]
fn certificates_that_are_not_to_be_trusted() {
    for tls in ["starttls", "implicit"] {
        let certificates = Certificates::new();
        let (long_ago, ago, far) = ("20200101000000Z", "20200201000000Z", "20991231000000Z");
        for (names, from, to, trusted, words) in [
            ("DNS:localhost", long_ago, ago, true, "its certificate has expired"),
            ("DNS:localhost", "20901231000000Z", far, true, "is not valid yet"),
            ("DNS:other.example.org", long_ago, far, true, "its certificate is for another name"),
            (
                "DNS:localhost",
                long_ago,
                far,
                false,
                "signed by nobody this host trusts; for a private CA set `ca`",
            ),
        ] {
            let settings = certificates.server(tls, names, from, to);
            let Some(server) = Server::start(settings) else { return };
            let ca = if trusted { certificates.trusted() } else { String::new() };
            let refused = send(&over(&server, tls, &ca), &opened());
            let expected = [format!("localhost:{} is not trusted", server.port), words.into()];
            fails(refused, Retry::Later(None), &expected.each_ref().map(String::as_str));
            server.no_mail();
        }
    }
}

#[test]
fn nothing_is_said_in_plain_text_where_tls_is_wanted() {
    let Some(server) = Server::start(json!({})) else { return };
    let refused = send(&over(&server, "starttls", LOGIN), &opened());
    fails(refused, Retry::Later(None), &["does not offer STARTTLS", "tls = \"none\""]);
    let refused = send(&over(&server, "implicit", ""), &opened());
    fails(refused, Retry::Later(None), &["cannot connect to localhost", "tls = \"starttls\""]);
    server.no_mail();
}

#[test]
fn a_greylisting_relay_gets_the_same_mail_again() {
    let address = "ops@example.org";
    let Some(server) = Server::start(json!({ "replies": {
        address: ["451 4.7.1 Greylisted, please come back", "450 4.2.0 try again in 5 minutes"],
        "DATA": ["451 4.3.0 busy, try again in 10 seconds"],
    }})) else {
        return;
    };
    let channel = to(&server, "");
    let words = ["ops@example.org: 451 4.7.1 Greylisted"];
    fails(send(&channel, &opened()), Retry::Later(Some(MINUTE)), &words);
    fails(send(&channel, &opened()), Retry::Later(Some(5 * MINUTE)), &["450 4.2.0"]);
    fails(send(&channel, &opened()), Retry::Later(Some(MINUTE)), &["handing over the mail: 451"]);
    let mut late = opened();
    late.delayed = Some(12 * MINUTE);
    send(&channel, &late).unwrap();
    let mail = server.mail();
    assert_eq!(header(&mail, "X-Keepwell-Id"), Some(late.key.as_str()));
    assert_eq!(header(&mail, "Message-ID").unwrap(), super::super::thread::ids(&opened()).own);
    server.no_mail();
}

#[test]
fn connections_that_break_or_hang() {
    let script = json!({ "replies": { "MAIL": ["drop", "hang"], "DATA": ["drop", "hang"] } });
    let Some(server) = Server::start(script) else { return };
    let channel = to(&server, "timeout = \"1s\"");
    let relay = format!("127.0.0.1:{}", server.port);
    for doing in ["naming the sender", "handing over the mail"] {
        let broke = send(&channel, &opened());
        let expected = format!("the connection broke to {relay} while {doing}: ");
        fails(broke, Retry::Later(None), &[&expected]);
        if doing == "naming the sender" {
            let hung = send(&channel, &opened());
            let expected = format!("{relay} did not answer within 1 s, {doing}");
            fails(hung, Retry::Later(None), &[&expected]);
        }
    }
    let hung = send(&channel, &opened());
    fails(hung, Retry::Later(None), &["did not answer within 1 s, handing over the mail"]);
    send(&channel, &opened()).unwrap();
    server.mail();
}

#[test]
fn what_is_no_smtp_relay() {
    let raw = |lines: &[&str], hang| Server::start(json!({ "raw": lines, "hang": hang }));
    let Some(http) = raw(&["HTTP/1.1 400 Bad Request", ""], false) else { return };
    fails(send(&to(&http, ""), &opened()), Retry::Later(None), &["its answer is not SMTP"]);
    let listed = raw(&["554 5.7.1 your address is on a list"], false).unwrap();
    let words = ["waiting for its greeting: 554 5.7.1 your address"];
    fails(send(&to(&listed, ""), &opened()), Retry::Later(Some(10 * MINUTE)), &words);
    let closing = raw(&["421 4.3.2 shutting down"], false).unwrap();
    fails(send(&to(&closing, ""), &opened()), Retry::Later(None), &["421 4.3.2"]);
    let mute = raw(&[], true).unwrap();
    let waits = send(&over(&mute, "starttls", "timeout = \"1s\""), &opened());
    let words = ["within 1 s, waiting for its greeting", "tls = \"implicit\""];
    fails(waits, Retry::Later(None), &words);
    let gone = raw(&[], false).unwrap();
    let closed = send(&to(&gone, ""), &opened());
    fails(closed, Retry::Later(None), &["it closed the connection"]);
    let nobody = to(&gone, "");
    drop(gone);
    let words = ["cannot connect to 127.0.0.1", "refused"];
    fails(send(&nobody, &opened()), Retry::Later(None), &words);
}

#[test]
fn a_name_that_does_not_resolve() {
    let (nowhere, _) = channel("to = \"a@b.org\"\nhost = \"no..such.host\"").unwrap();
    let words = ["cannot connect to no..such.host:587", "lookup"];
    fails(send(&nowhere, &opened()), Retry::Later(None), &words);
}

#[test]
fn a_refused_recipient_does_not_keep_the_others_from_theirs() {
    let Some(server) = Server::start(json!({ "replies": {
        "gone@example.org": ["550 5.1.1 no such user", "550 5.1.1 no such user"],
        "ops@example.org": [null, "553 5.1.3 bad address"],
    }})) else {
        return;
    };
    let channel = to(&server, "cc = \"gone@example.org\"");
    let answer = send(&channel, &opened()).unwrap();
    let expected =
        "250 2.0.0 queued as 4242; refused for good: gone@example.org: 550 5.1.1 no such user";
    assert_eq!(answer, expected);
    assert_eq!(server.mail()["to"], json!(["ops@example.org"]));
    let words = ["refuses every recipient: ops@example.org: 553", "check the addresses in `to`"];
    fails(send(&channel, &opened()), Retry::Stop, &words);
}

#[test]
fn a_relay_that_relays_for_those_it_knows() {
    let denied = json!(["554 5.7.1 Relay access denied"]);
    let Some(server) = Server::start(json!({ "replies": { "ops@example.org": denied } })) else {
        return;
    };
    let words = ["Relay access denied", "set user and password"];
    fails(send(&to(&server, ""), &opened()), Retry::Stop, &words);
}

#[test]
fn nobody_gets_the_mail_twice_when_another_is_greylisted() {
    let grey = "451 4.7.1 Greylisted";
    let Some(server) = Server::start(json!({ "replies": {
        "slow@example.org": [grey, grey, null, grey, grey, grey, grey, grey, "550 5.1.1 gone"],
    }})) else {
        return;
    };
    let channel = to(&server, "cc = \"slow@example.org\"");
    let words = ["took the mail for some; not yet for slow@example.org: 451"];
    for _ in 0..2 {
        fails(send(&channel, &opened()), Retry::Later(Some(MINUTE)), &words);
    }
    assert_eq!(server.mail()["to"], json!(["ops@example.org"]));
    send(&channel, &opened()).unwrap();
    assert_eq!(server.mail()["to"], json!(["slow@example.org"]));
    // The next one is held up for a while and no longer.
    let next = outgoing(13, sample::grouped());
    for _ in 0..3 {
        fails(send(&channel, &next), Retry::Later(Some(MINUTE)), &words);
    }
    let answer = send(&channel, &next).unwrap();
    assert_eq!(answer, "the others have it; slow@example.org: 451 4.7.1 Greylisted");
    assert_eq!(server.mail()["to"], json!(["ops@example.org"]));
    // Refused for good at last: all others have it.
    let last = outgoing(14, sample::grouped());
    fails(send(&channel, &last), Retry::Later(Some(MINUTE)), &words);
    let answer = send(&channel, &last).unwrap();
    assert_eq!(answer, "the others have it; refused for good: slow@example.org: 550 5.1.1 gone");
    server.mail();
    server.no_mail();
}

#[test]
fn a_sender_or_a_content_that_is_not_wanted() {
    let Some(server) = Server::start(json!({ "replies": {
        "MAIL": ["553 5.7.1 not owned by user"],
        "DATA": [
            "552 5.3.4 message too big",
            null,
            "554 5.6.0 looks like spam",
            "550 5.7.1 still does",
            "550 The from address does not match a verified Sender Identity",
            "550 5.4.5 Daily user sending limit exceeded",
        ],
    }})) else {
        return;
    };
    let channel = to(&server, "");
    let words = ["naming the sender: 553 5.7.1", "set `from` to an address of your domain"];
    fails(send(&channel, &opened()), Retry::Stop, &words);
    let answer = send(&channel, &opened()).unwrap();
    assert!(answer.contains("only the short form was taken"), "{answer}");
    assert!(answer.contains("552 5.3.4 message too big"), "{answer}");
    let mail = server.mail();
    assert_eq!(mail["mail"]["body"]["type"], "text/plain");
    let text = mail["mail"]["body"]["text"].as_str().unwrap();
    assert!(text.starts_with("[CRITICAL] web1: nginx.service: failed"), "{text}");
    let words = ["550 5.7.1 still does", "the short plain form was refused as well"];
    fails(send(&channel, &opened()), Retry::Never, &words);
    fails(send(&channel, &opened()), Retry::Stop, &["verified Sender Identity", "set `from`"]);
    fails(send(&channel, &opened()), Retry::Later(Some(10 * MINUTE)), &["5.4.5 Daily"]);
}
