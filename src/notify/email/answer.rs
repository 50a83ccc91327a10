//! What a relay's answers and the failures of a connection mean: whether to try again, and what
//! to tell a person, without secrets.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lettre::Address;
use lettre::transport::smtp::Error;
use rustls::CertificateError;

use super::deliver::{Stage, shown};
use super::settings::{Preset, Settings, Tls, is_loopback};
use crate::engine::time::Human;
use crate::notify::{Retry, SendError};

/// A greylisting relay takes nothing sooner than this.
pub(super) const GREYLISTED: Duration = Duration::from_secs(60);
/// Where a quota is used up or the address has a bad name, trying often makes it worse.
const LONG: Duration = Duration::from_secs(600);
/// Characters of an answer that are shown.
const SHOWN: usize = 300;

/// Why a mail was taken for nobody.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The relay said no.
    Said(Stage, Said),
    /// Every recipient was refused.
    Nobody(Vec<(Address, Said)>),
    /// The configuration asks for STARTTLS and the relay does not offer it.
    NoStarttls,
    /// There is a login and the relay offers no way to use it.
    NoLogin,
    /// The certificate of the relay is not to be trusted.
    Certificate(CertificateError),
    /// The connection could not be made or broke, in words.
    Broken(Stage, String),
    /// No answer within the time limit.
    Slow(Stage),
    /// The mail, or what TLS needs, could not be put together.
    Unmade(String),
}

/// A negative answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub code: u16,
    /// Its lines as one, not yet fit to be shown.
    pub text: String,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, brief(&self.text))
    }
}

impl Said {
    /// The answer in an error, where it is one.
    pub(super) fn of(error: &Error) -> Option<Self> {
        let code = u16::from(error.status()?);
        Some(Self { code, text: error.source().map(ToString::to_string).unwrap_or_default() })
    }

    /// Whether the same may be taken later. A full mailbox is emptied some day, a quota renewed.
    pub(super) fn is_passing(&self) -> bool {
        (400..500).contains(&self.code) || self.has(&["5.2.2", "5.4.5"])
    }

    fn has(&self, words: &[&str]) -> bool {
        let text = self.text.to_lowercase();
        words.iter().any(|word| text.contains(word))
    }

    /// When to come again, where the relay says or implies it.
    fn wait(&self) -> Option<Duration> {
        if self.has(&["5.4.5"]) {
            return Some(LONG);
        }
        let asked = asked(&self.text.to_lowercase());
        match self.code {
            450..=452 => Some(asked.unwrap_or(GREYLISTED).max(GREYLISTED)),
            _ => asked,
        }
    }
}

/// `… in 300 seconds`, `… after 5 minutes`.
fn asked(text: &str) -> Option<Duration> {
    let words: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    words.windows(3).find_map(|w| {
        let [before, number, unit] = w else { return None };
        let number: u64 = number.parse().ok().filter(|_| matches!(*before, "in" | "after"))?;
        let seconds = match unit.trim_end_matches('s') {
            "second" | "sec" => number,
            "minute" | "min" => number.saturating_mul(60),
            _ => return None,
        };
        Some(Duration::from_secs(seconds.min(3600)))
    })
}

impl Refusal {
    /// What an error at a stage is.
    pub(super) fn of(stage: Stage, error: &Error) -> Self {
        if let Some(said) = Said::of(error) {
            return Self::Said(stage, said);
        }
        let mut cause = error.source();
        while let Some(inner) = cause {
            let io = inner.downcast_ref::<io::Error>();
            let tls = io.and_then(io::Error::get_ref).and_then(|e| e.downcast_ref());
            match tls.or_else(|| inner.downcast_ref()) {
                Some(rustls::Error::InvalidCertificate(why)) => {
                    return Self::Certificate(why.clone());
                }
                Some(other) => return Self::Broken(stage, format!("TLS failed: {other}")),
                None => {}
            }
            if io.is_some_and(|e| e.kind() == io::ErrorKind::TimedOut) {
                return Self::Broken(stage, "it takes no connections (time limit)".into());
            }
            cause = inner.source();
        }
        if error.is_response() {
            let why = error.source().map(ToString::to_string).unwrap_or_default();
            let text = if why == "incomplete response" {
                "it closed the connection".to_owned()
            } else {
                format!("its answer is not SMTP: {why}")
            };
            return Self::Broken(stage, text);
        }
        let text = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        Self::Broken(stage, text)
    }

    /// Whether another form of the same message may be taken.
    pub(super) fn is_about_content(&self) -> bool {
        match self {
            Self::Said(Stage::Content, said) => {
                said.code >= 500 && !said.is_passing() && !is_about_sender(said)
            }
            // Too large, by the declared size.
            Self::Said(Stage::Sender, said) => said.code == 552,
            _ => false,
        }
    }

    /// What the relay said, for a remark.
    pub(super) fn said(&self) -> String {
        match self {
            Self::Said(_, said) => said.to_string(),
            _ => String::new(),
        }
    }
}

/// What a refusal says of the next try.
pub(super) fn judge(refusal: Refusal, settings: &Settings) -> SendError {
    let relay = shown(&settings.host, settings.port);
    let (retry, text) = match refusal {
        Refusal::Said(stage, said) => of_answer(stage, &said, &relay, settings),
        Refusal::Nobody(refused) => of_nobody(&refused, &relay, settings),
        Refusal::NoStarttls => (
            Retry::Later(None),
            format!(
                "{relay} does not offer STARTTLS, and nothing was sent in plain text; for a relay \
                 with TLS from the first byte write tls = \"implicit\"{}",
                if is_loopback(&settings.host) {
                    ", for one without any tls = \"none\""
                } else {
                    ""
                }
            ),
        ),
        Refusal::NoLogin => (
            Retry::Stop,
            format!(
                "{relay} offers no login by password (AUTH PLAIN or LOGIN){}",
                if settings.tls == Tls::None {
                    "; many do so over TLS only: set tls, or leave out user and password"
                } else {
                    "; leave out user and password, if it wants none"
                }
            ),
        ),
        Refusal::Certificate(why) => {
            (Retry::Later(None), format!("{relay} is not trusted: {}", of_certificate(&why)))
        }
        Refusal::Broken(stage, why) => {
            let what = match stage {
                Stage::Connect => "cannot connect to",
                _ => "the connection broke to",
            };
            let doing = match stage {
                Stage::Connect => String::new(),
                stage => format!(" while {}", stage.doing()),
            };
            let hint = if why.contains("TLS failed") && settings.tls == Tls::Implicit {
                "; if it begins in plain text (port 587), write tls = \"starttls\""
            } else {
                ""
            };
            (Retry::Later(None), format!("{what} {relay}{doing}: {}{hint}", brief(&why)))
        }
        Refusal::Slow(stage) => {
            let hint = match (stage, settings.tls) {
                (Stage::Connect, Tls::Implicit) | (_, Tls::None) => "",
                (Stage::Connect, Tls::Starttls) => {
                    "; if it speaks TLS from the first byte (port 465), write tls = \"implicit\""
                }
                _ => "",
            };
            let limit = Human(settings.timeout);
            let text = format!("{relay} did not answer within {limit}, {}{hint}", stage.doing());
            (Retry::Later(None), text)
        }
        Refusal::Unmade(why) => {
            (Retry::Never, format!("the mail cannot be put together: {}", brief(&why)))
        }
    };
    SendError { retry, text: without_secrets(text, settings) }
}

fn of_answer(stage: Stage, said: &Said, relay: &str, settings: &Settings) -> (Retry, String) {
    let text = |hint: &str| {
        let hint = if hint.is_empty() { String::new() } else { format!("; {hint}") };
        format!("{relay} answered, {}: {said}{hint}", stage.doing())
    };
    if said.is_passing() {
        return (Retry::Later(said.wait()), text(""));
    }
    if matches!(said.code, 530 | 534 | 535 | 538) || said.has(&["5.7.30"]) {
        return (Retry::Stop, text(hint_for_login(said, settings)));
    }
    match stage {
        Stage::Login => (Retry::Stop, text(hint_for_login(said, settings))),
        // A relay that turns a host away as a whole may have it in a list of bad ones for a while.
        Stage::Connect | Stage::Starttls => (Retry::Later(Some(LONG)), text("")),
        Stage::Sender if said.code != 552 => (Retry::Stop, text(hint_for_sender(settings))),
        Stage::Content if is_about_sender(said) => (Retry::Stop, text(hint_for_sender(settings))),
        Stage::Sender | Stage::Recipients | Stage::Content => {
            (Retry::Never, text("the short plain form was refused as well"))
        }
    }
}

fn of_nobody(refused: &[(Address, Said)], relay: &str, settings: &Settings) -> (Retry, String) {
    let each: Vec<String> =
        refused.iter().take(5).map(|(who, said)| format!("{who}: {said}")).collect();
    let more = refused.len().saturating_sub(each.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let each = format!("{}{more}", each.join(", "));
    if refused.iter().any(|(_, said)| said.is_passing()) {
        let wait = refused.iter().filter_map(|(_, said)| said.wait()).max();
        return (Retry::Later(wait), format!("{relay} takes it for nobody yet: {each}"));
    }
    let relaying = refused.iter().any(|(_, s)| s.has(&["relay", "5.7.1"]));
    let hint = match (&settings.login, relaying) {
        (None, true) => "; it does so for those who log in: set user and password",
        (Some(_), true) => "; it may not let this login write to such addresses",
        _ => "; check the addresses in `to`",
    };
    (Retry::Stop, format!("{relay} refuses every recipient: {each}{hint}"))
}

/// Whether the relay does not want mail from this sender, whatever is in it.
fn is_about_sender(said: &Said) -> bool {
    said.has(&[
        "sendasdenied",
        "verified sender",
        "sender identity",
        "5.7.60",
        "not allowed to send as",
    ])
}

fn hint_for_sender(settings: &Settings) -> &'static str {
    match settings.from {
        Some(_) => "set `from` to an address that this login may send from",
        None => "it does not take the sender: set `from` to an address of your domain",
    }
}

fn hint_for_login(said: &Said, settings: &Settings) -> &'static str {
    if settings.login.is_none() {
        return "it wants a login: set user and password";
    }
    if said.has(&["5.7.139", "5.7.30", "basic authentication"]) {
        return "the tenant or the mailbox does not allow a login by password over SMTP: an \
                administrator must enable authenticated SMTP for it, or another relay is needed";
    }
    match settings.preset {
        Some(Preset::Gmail) => {
            "Gmail wants an app password (myaccount.google.com/apppasswords), not the account's"
        }
        Some(Preset::Outlook) => {
            "check user and password; authenticated SMTP must be enabled for the mailbox"
        }
        Some(Preset::Sendgrid) => "the password must be an API key that may send mail",
        Some(Preset::Mailgun) => {
            "user and password are those of an SMTP login of the domain; for one in the EU write \
             host = \"smtp.eu.mailgun.org\""
        }
        None if said.has(&["application-specific", "app password"]) => {
            "the provider wants an app password"
        }
        None => "check user and password",
    }
}

fn of_certificate(why: &CertificateError) -> String {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired; it must be renewed there, or this host's clock is wrong"
                .into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; is this host's clock right?".into()
        }
        CertificateError::UnknownIssuer => {
            "its certificate is signed by nobody this host trusts; for a private CA set `ca`, and \
             if the host has no root certificates, install the package ca-certificates"
                .into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another name; set `host` to the name in the certificate".into()
        }
        CertificateError::Revoked => "its certificate has been revoked".into(),
        other => format!("its certificate is not valid ({})", brief(&other.to_string())),
    }
}

/// One line without control characters, not too long.
pub(super) fn brief(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.chars().count() > SHOWN {
        words.chars().take(SHOWN).chain(['…']).collect()
    } else {
        words
    }
}

/// The text without what the relay repeats of the login.
pub(super) fn without_secrets(mut text: String, settings: &Settings) -> String {
    let Some((user, password)) = &settings.login else { return text };
    let password = password.expose();
    let forms = [
        STANDARD.encode(format!("\0{user}\0{password}")),
        STANDARD.encode(password),
        password.to_owned(),
    ];
    for form in forms.iter().filter(|f| f.len() > 3) {
        text = text.replace(form, "[…]");
    }
    text
}
