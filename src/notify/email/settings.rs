//! What a configuration says of an e-mail channel: its keys, the presets of providers, and what is
//! said of settings that make no sense.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use lettre::Address;
use lettre::message::{Mailbox, Mailboxes};
use lettre::transport::smtp::client::Certificate;

use super::thread::domain;
use crate::config::sink::Place;
use crate::config::{Key, KeyKind, Reader, Secret};
use crate::notify::{Outgoing, file, story, template};

const fn key(
    name: &'static str,
    kind: KeyKind,
    default: &'static str,
    example: &'static str,
    doc: &'static str,
) -> Key {
    Key { name, kind, default, example, doc }
}

const TLS: &[&str] = &["starttls", "implicit", "none"];
const PRESETS: &[&str] = &["gmail", "outlook", "sendgrid", "mailgun"];

/// The keys of an e-mail channel.
pub(super) const KEYS: &[Key] = &[
    key(
        "to",
        KeyKind::TextList,
        "",
        "[\"ops@example.org\"]",
        "Who gets the mail: one address or several, also as `\"Ops <ops@example.org>\"`. Required.",
    ),
    key("cc", KeyKind::TextList, "[]", "[\"boss@example.org\"]", "Who gets a copy."),
    key(
        "from",
        KeyKind::Text,
        "",
        "\"keepwell <alerts@example.org>\"",
        "The sender; by default the login, where it is an address, else keepwell@HOST.",
    ),
    key("reply_to", KeyKind::Text, "", "\"ops@example.org\"", "Where answers go."),
    key(
        "preset",
        KeyKind::OneOf(PRESETS),
        "",
        "\"gmail\"",
        "A provider: sets host, port, tls and, for SendGrid, the login.",
    ),
    key(
        "host",
        KeyKind::Text,
        "",
        "\"mail.example.org\"",
        "The relay: a name or an address; needed without `preset`.",
    ),
    key(
        "port",
        KeyKind::Integer(1, 65535),
        "",
        "587",
        "Its port; by default 587, with implicit TLS 465, with none 25.",
    ),
    key(
        "tls",
        KeyKind::OneOf(TLS),
        "",
        "\"implicit\"",
        "How the connection is encrypted; by default `starttls`, on port 465 `implicit`, and for a \
         relay on this host `none` unless the port says otherwise.",
    ),
    key(
        "user",
        KeyKind::Text,
        "",
        "\"alerts@example.org\"",
        "The login, where the relay wants one.",
    ),
    key(
        "password",
        KeyKind::Secret,
        "",
        "{ credential = \"smtp-password\" }",
        "Its password, app password or API key.",
    ),
    key(
        "ca",
        KeyKind::Text,
        "",
        "\"/etc/keepwell/ca.pem\"",
        "A PEM file of certificates that are trusted besides the host's, an absolute path; `outbound.ca` by default.",
    ),
    key(
        "hello",
        KeyKind::Text,
        "",
        "\"web1.example.org\"",
        "The name by which the host greets the relay; the host's own name by default.",
    ),
    Key {
        name: "template",
        kind: KeyKind::Table(TEMPLATES),
        default: "",
        example: "",
        doc: "Your own words in place of keepwell's.",
    },
    key(
        "timeout",
        KeyKind::Duration,
        "\"30s\"",
        "\"20s\"",
        "How long one try may take, 1s to 40s.",
    ),
];

/// The names of the templates.
pub(super) const TEMPLATE_NAMES: &[&str] = &["subject", "text", "html"];

const TEMPLATES: &[Key] = &[
    template::key("subject", "\"{{ host }}: {{ title }}\"", "The subject."),
    template::key("text", "\"{{ text }}\"", "The plain text."),
    template::key("html", "\"<p>{{ title | html }}</p>\"", "The HTML."),
];

/// Files of certificates are not larger: that of a whole distribution has 220 KiB.
const MOST_CERTIFICATES: usize = 1024 * 1024;

/// How the connection is encrypted. There is no "if the relay offers it": whoever sits between
/// could take the offer away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tls {
    /// Begins in plain text and must be encrypted before anything is said.
    Starttls,
    /// Encrypted from the first byte.
    Implicit,
    /// Not at all.
    None,
}

/// A provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preset {
    Gmail,
    Outlook,
    Sendgrid,
    Mailgun,
}

impl Preset {
    fn host(self) -> &'static str {
        match self {
            Self::Gmail => "smtp.gmail.com",
            Self::Outlook => "smtp.office365.com",
            Self::Sendgrid => "smtp.sendgrid.net",
            Self::Mailgun => "smtp.mailgun.org",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gmail => "Gmail",
            Self::Outlook => "Outlook",
            Self::Sendgrid => "SendGrid",
            Self::Mailgun => "Mailgun",
        }
    }

    /// What the provider takes as a password.
    fn password(self) -> &'static str {
        match self {
            Self::Gmail => "an app password",
            Self::Outlook => "the mailbox's password",
            Self::Sendgrid => "an API key with the right to send mail",
            Self::Mailgun => "the password of an SMTP login of your domain",
        }
    }
}

/// An e-mail channel's settings, checked. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub to: Vec<Mailbox>,
    pub cc: Vec<Mailbox>,
    pub from: Option<Mailbox>,
    pub reply_to: Option<Mailbox>,
    pub preset: Option<Preset>,
    pub host: String,
    pub port: u16,
    pub tls: Tls,
    pub login: Option<(String, Secret)>,
    /// Certificates that are trusted besides those of the host.
    pub roots: Vec<Certificate>,
    pub hello: Option<String>,
    /// For one try as a whole.
    pub timeout: Duration,
}

impl Settings {
    pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

    /// Who gets the mail, each address once.
    pub(super) fn recipients(&self) -> impl Iterator<Item = &Address> {
        let all = || self.to.iter().chain(&self.cc).map(|m| &m.email);
        all().enumerate().filter(move |(n, a)| !all().take(*n).any(|b| b == *a)).map(|(_, a)| a)
    }

    /// The `From` header of a message.
    pub(super) fn from(&self, message: &Outgoing) -> Mailbox {
        match &self.from {
            Some(Mailbox { name: Some(_), .. }) => self.from.clone(),
            _ => None,
        }
        .unwrap_or_else(|| {
            let host: String = story::clean(&message.notification.host).chars().take(64).collect();
            Mailbox::new(Some(format!("keepwell on {host}")), self.sender(message))
        })
    }

    /// The sender of the envelope: where the relay sends what it cannot deliver.
    pub(super) fn sender(&self, message: &Outgoing) -> Address {
        if let Some(from) = &self.from {
            return from.email.clone();
        }
        Address::new("keepwell", domain(&message.notification.host))
            // `domain` gives what may stand in an address; should lettre think otherwise, this may.
            .unwrap_or_else(|_| Address::new_dangerous("keepwell", "localhost"))
    }

    /// How the host greets the relay.
    pub(super) fn hello(&self, message: &Outgoing) -> String {
        self.hello.clone().unwrap_or_else(|| domain(&message.notification.host))
    }
}

/// Reads the keys; what is wrong goes into the reader's sink. `ca` is the file of certificates that
/// all channels trust, unless they have one of their own.
pub(super) fn read(
    reader: &mut Reader<'_>,
    ca: Option<(&Path, Option<Place>)>,
) -> Option<Settings> {
    reader.require("to", "[\"ops@example.org\"]");
    let to = mailboxes(reader, "to");
    let cc = if reader.has("cc") { mailboxes(reader, "cc") } else { Some(Vec::new()) };
    let from = optional(reader, "from", mailbox);
    let reply_to = optional(reader, "reply_to", mailbox);
    let preset = optional(reader, "preset", |reader, key| {
        reader.one_of(
            key,
            &[
                ("gmail", Preset::Gmail),
                ("outlook", Preset::Outlook),
                ("sendgrid", Preset::Sendgrid),
                ("mailgun", Preset::Mailgun),
            ],
        )
    });
    let host = if reader.has("host") {
        host(reader)
    } else if reader.has("preset") {
        reader.text("host");
        preset.flatten().map(|p| p.host().to_owned())
    } else {
        let presets = PRESETS.join("\", \"");
        reader.text("host");
        let at = reader.place_of("host");
        reader
            .sink()
            .error(at, "an e-mail channel needs the relay's `host`, or a `preset`")
            .hint(format!("add host = \"mail.example.org\", or preset = one of \"{presets}\""));
        None
    };
    let port = optional(reader, "port", |reader, key| {
        reader.integer(key, 1, 65535).and_then(|n| u16::try_from(n).ok())
    });
    let tls = optional(reader, "tls", |reader, key| {
        reader.one_of(
            key,
            &[("starttls", Tls::Starttls), ("implicit", Tls::Implicit), ("none", Tls::None)],
        )
    });
    let login = login(reader, preset.flatten());
    let roots = roots(reader, ca);
    let hello = optional(reader, "hello", hello);
    let second = Duration::from_secs(1);
    let timeout = optional(reader, "timeout", |r, key| r.duration(key, second, 40 * second));

    // What is given by no key comes from others; only when all of those were right.
    let (host, port, tls) = (host?, port?, tls?);
    let local = is_loopback(&host);
    let tls = tls.unwrap_or(match port {
        Some(465) => Tls::Implicit,
        None if local => Tls::None,
        Some(port) if local && port != 587 => Tls::None,
        _ => Tls::Starttls,
    });
    let port = port.unwrap_or(match tls {
        Tls::Starttls => 587,
        Tls::Implicit => 465,
        Tls::None => 25,
    });
    let login = login?;
    if tls == Tls::None && !local {
        let at = reader.place_of("tls");
        if login.is_some() {
            reader
                .sink()
                .error(at, "the password would cross the network in plain text")
                .hint("write tls = \"starttls\" or \"implicit\", or leave out user and password");
            return None;
        }
        reader.sink().warning(at, "mails will cross the network in plain text");
    }
    let (preset, from) = (preset?, from?);
    let from = match (from, &login) {
        (None, Some((user, _))) => user.parse().ok().map(|email| Mailbox::new(None, email)),
        (from, _) => from,
    };
    if preset == Some(Preset::Sendgrid) && from.is_none() {
        let at = reader.place_of("from");
        reader
            .sink()
            .error(at, "SendGrid needs `from`: a sender that is verified there")
            .hint("add from = \"alerts@example.org\"");
        return None;
    }
    let password_seen = login.as_ref().is_none_or(|(_, password)| password.is_resolved());
    let settings = Settings {
        to: to?,
        cc: cc?,
        from,
        reply_to: reply_to?,
        preset,
        host,
        port,
        tls,
        login,
        roots: roots?,
        hello: hello?,
        timeout: timeout?.unwrap_or(Settings::TIMEOUT),
    };
    // `config check` by another user than the service: it has warned.
    password_seen.then_some(settings)
}

/// `Some(None)`: the key is absent; `None`: it is wrong, and that has been said.
fn optional<T>(
    reader: &mut Reader<'_>,
    key: &'static str,
    read: impl FnOnce(&mut Reader<'_>, &'static str) -> Option<T>,
) -> Option<Option<T>> {
    let there = reader.has(key);
    match read(reader, key) {
        Some(value) => Some(Some(value)),
        None if there => None,
        None => Some(None),
    }
}

/// User and password: both or none. A preset wants both.
#[allow(clippy::option_option, reason = "none and wrong are not the same")]
fn login(reader: &mut Reader<'_>, preset: Option<Preset>) -> Option<Option<(String, Secret)>> {
    let user = optional(reader, "user", |r, key| r.text(key));
    let password = optional(reader, "password", |r, key| r.secret(key));
    let (user, password) = (user?, password?);
    let usual = (preset == Some(Preset::Sendgrid)).then(|| "apikey".to_owned());
    let at = ["user", "password"].map(|key| reader.place_of(key));
    match (user.or(usual), password) {
        (Some(user), Some(password)) => {
            // Google shows app passwords in four groups, and people paste what they see.
            let spaced = preset == Some(Preset::Gmail) && password.is_resolved();
            let password = if spaced {
                Secret::new(password.expose().split_whitespace().collect::<String>())
            } else {
                password
            };
            Some(Some((user, password)))
        }
        (None, None) if preset.is_none() => Some(None),
        (None, _) => {
            let (at, message) = match preset {
                Some(p) => (at[0], format!("{} needs `user`: the login", p.name())),
                None => (at[1], "`password` without `user`".to_owned()),
            };
            reader.sink().error(at, message).hint("add user = \"alerts@example.org\"");
            None
        }
        (Some(_), None) => {
            let message = match preset {
                Some(p) => format!("{} needs `password`: {}", p.name(), p.password()),
                None => "`user` without `password`".to_owned(),
            };
            reader
                .sink()
                .error(at[0], message)
                .hint("add password = { credential = \"smtp-password\" }");
            None
        }
    }
}

fn mailbox(reader: &mut Reader<'_>, key: &'static str) -> Option<Mailbox> {
    let (text, at) = reader.text_at(key)?;
    match parse(&text) {
        Ok(list) if list.len() == 1 => list.into_iter().next(),
        Ok(_) => {
            reader.sink().error(at, format!("`{key}` must be one address"));
            None
        }
        Err(why) => {
            reader.sink().error(at, format!("`{key}` {why}")).hint(ADDRESS);
            None
        }
    }
}

const ADDRESS: &str = "write \"ops@example.org\" or \"Ops <ops@example.org>\"";

fn mailboxes(reader: &mut Reader<'_>, key: &'static str) -> Option<Vec<Mailbox>> {
    let texts = reader.texts(key)?;
    let mut all = Vec::new();
    let mut wrong = texts.is_empty();
    if texts.is_empty() {
        let at = reader.place_of(key);
        reader.sink().error(at, format!("`{key}` is empty")).hint(ADDRESS);
    }
    for (text, at) in texts {
        match parse(&text) {
            Ok(list) => all.extend(list),
            Err(why) => {
                wrong = true;
                reader.sink().error(at, format!("`{key}` {why}")).hint(ADDRESS);
            }
        }
    }
    (!wrong).then_some(all)
}

/// One address or several with commas between; else what is wrong.
fn parse(text: &str) -> Result<Vec<Mailbox>, String> {
    if text.contains(char::is_control) {
        return Err("has control characters in it".into());
    }
    let list: Mailboxes =
        text.trim().parse().map_err(|_| format!("holds no e-mail address: {text}"))?;
    let list: Vec<Mailbox> = list.into_iter().collect();
    match list.iter().find(|m| !m.email.to_string().is_ascii()) {
        Some(one) => Err(format!("may have ASCII characters only, and {} has others", one.email)),
        None if list.is_empty() => Err("holds no e-mail address".into()),
        None => Ok(list),
    }
}

fn host(reader: &mut Reader<'_>) -> Option<String> {
    let (text, at) = reader.text_at("host")?;
    let host = text.trim();
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if bare.parse::<IpAddr>().is_ok() || (!host.is_empty() && host.chars().all(name)) {
        return Some(bare.to_owned());
    }
    reader
        .sink()
        .error(at, "`host` must be the relay's name or address and nothing more")
        .hint("write host = \"mail.example.org\", and the port as port = 587");
    None
}

fn hello(reader: &mut Reader<'_>, key: &'static str) -> Option<String> {
    let (text, at) = reader.text_at(key)?;
    if text.chars().all(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(c)) {
        return Some(text);
    }
    reader.sink().error(at, "`hello` must be a host's name").hint("write \"web1.example.org\"");
    None
}

/// The certificates of the key `ca`, or else of the file that all channels trust.
fn roots(reader: &mut Reader<'_>, all: Option<(&Path, Option<Place>)>) -> Option<Vec<Certificate>> {
    let own = optional(reader, "ca", |reader, key| reader.path(key))?;
    let (path, what, at) = match (&own, all) {
        (Some(own), _) => (own.as_path(), "`ca`", None),
        (None, Some((all, at))) => (all, "`outbound.ca`", at),
        (None, None) => return Some(Vec::new()),
    };
    let at = at.unwrap_or_else(|| reader.place_of("ca"));
    let pem = match file::read(path, MOST_CERTIFICATES) {
        Ok(pem) => pem,
        Err(error) => {
            file::unreadable(reader.sink(), at, what, path, &error);
            return None;
        }
    };
    let begins = b"-----BEGIN CERTIFICATE-----";
    let any = pem.windows(begins.len()).any(|w| w == begins);
    match Certificate::from_pem(&pem) {
        Ok(certificates) if any => Some(vec![certificates]),
        _ => {
            let message = format!("{what}: {} holds no certificate in PEM form", path.display());
            reader
                .sink()
                .error(at, message)
                .hint("it must have a block that begins with -----BEGIN CERTIFICATE-----");
            None
        }
    }
}

/// Whether what is said to this host stays on this one.
pub(super) fn is_loopback(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name == "ip6-localhost"
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
