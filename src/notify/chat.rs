//! What the chat services have in common: an address that is itself the secret, one POST of JSON a
//! message, and a plainer form of the message for when the full one is refused.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Url};
use serde_json::Value;

use super::http::{self, Answer, Secrets};
use super::story::{Part, Story};
use super::template::{self, Templates};
use super::{Outgoing, Reading, Retry, SendError};
use crate::config::{Key, KeyKind};
use crate::engine::time::Wall;

const SECOND: Duration = Duration::from_secs(1);
/// How long one try may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The keys of all of them.
pub(super) const KEYS: &[Key] = &[
    Key {
        name: "url",
        kind: KeyKind::Secret,
        default: "",
        example: "{ credential = \"chat-url\" }",
        doc: "Where messages go; the address the service gave, whole. Required.",
    },
    Key {
        name: "template",
        kind: KeyKind::Table(TEMPLATE),
        default: "",
        example: "",
        doc: "Words of your own, in the service's markup.",
    },
    Key {
        name: "timeout",
        kind: KeyKind::Duration,
        default: "\"10s\"",
        example: "\"5s\"",
        doc: "How long one try may take, 1s to 1m.",
    },
    http::CA,
    http::PROXY,
];

const TEMPLATE: &[Key] = &[
    template::key("title", "\"{{ host }}: {{ title }}\"", "In place of the title."),
    template::key("text", "\"Look at {{ host }}\"", "In place of all that is known."),
];

/// Whose address a host is, where that is plain.
fn owner(host: &str) -> Option<(&'static str, &'static str)> {
    let within = |domain: &str| {
        host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let known = [
        ("slack", "Slack", &["hooks.slack.com", "hooks.slack-gov.com"][..]),
        ("discord", "Discord", &["discord.com", "discordapp.com"]),
        (
            "teams",
            "Microsoft Teams",
            &["webhook.office.com", "logic.azure.com", "powerplatform.com"],
        ),
        ("telegram", "Telegram", &["api.telegram.org"]),
    ];
    let (kind, name, _) = known.iter().find(|(.., domains)| domains.iter().any(|d| within(d)))?;
    Some((kind, name))
}

/// A chat channel's settings, ready to send.
pub(super) struct Chat {
    pub(super) name: Arc<str>,
    pub(super) url: Url,
    templates: Templates,
    client: Client,
    secrets: Secrets,
    timeout: Duration,
}

impl Chat {
    /// Reads the keys that all of them have; `check` says what is wrong with an address, with a
    /// hint. `kind` and `service` are the word after `type =` and the service's name.
    pub(super) fn read(
        reading: &mut Reading<'_>,
        kind: &str,
        service: &str,
        check: impl FnOnce(&Url) -> Result<(), (String, String)>,
    ) -> Option<Self> {
        let Reading { section, clients, sink, .. } = reading;
        let mut reader = section.section.read(sink);
        let way = http::way(&mut reader, clients);
        let templates = Templates::read(&mut reader, &["title", "text"]);
        reader.require("url", "{ credential = \"NAME\" }");
        let url = reader.url("url");
        let timeout = reader.duration("timeout", SECOND, 60 * SECOND).unwrap_or(TIMEOUT);
        let at = reader.place_of("url");
        reader.finish();
        let url = url.filter(|url| url.is_resolved())?;
        let parsed = match address(url.expose()) {
            Ok(parsed) => parsed,
            Err(why) => {
                sink.error(at, why).hint("copy the whole address from where it was made");
                return None;
            }
        };
        if let Some((other, name)) = owner(parsed.host_str().unwrap_or_default())
            && other != kind
        {
            sink.warning(
                at,
                format!("`channel.url` looks like an address of {name}, not of {service}"),
            )
            .hint(format!("set type = \"{other}\""));
        }
        if let Err((why, hint)) = check(&parsed) {
            sink.error(at, why).hint(hint);
            return None;
        }
        let http::Way { client, secrets } = way?;
        let name = section.name.clone();
        Some(Self { name, url: parsed, templates, client, secrets, timeout })
    }

    /// The user's own title and text, where there are any, in the service's markup.
    pub(super) fn own(
        &self,
        message: &Outgoing,
        story: &Story,
    ) -> (Option<String>, Option<String>) {
        let own = |name| self.templates.render(name, message, story);
        // A message without a title is refused, or says nothing on a telephone.
        (own("title").filter(|title| !title.trim().is_empty()), own("text"))
    }

    /// Sends the full form. Where that one will never be taken, the plain form goes out at once, so
    /// that people are told all the same. `judge` says what an answer means.
    pub(super) async fn send(
        &self,
        message: &Outgoing,
        full: &Value,
        plain: impl FnOnce() -> Value,
        judge: impl Fn(Answer) -> Result<String, SendError>,
    ) -> Result<String, SendError> {
        let now = message.now.wall;
        let refused = match self.post(full, now).await.and_then(&judge) {
            Err(error) if error.retry == Retry::Never => error,
            done => return done,
        };
        match self.post(&plain(), now).await.and_then(&judge) {
            Ok(answer) => Ok(format!("{answer}, in plain form, for {refused}")),
            Err(error) if error.retry == Retry::Never => {
                let text = format!("{refused}; and it took no plain text either");
                Err(SendError { retry: Retry::Never, text })
            }
            Err(error) => Err(error),
        }
    }

    async fn post(&self, body: &Value, now: Wall) -> Result<Answer, SendError> {
        let response = self
            .client
            .post(self.url.clone())
            .timeout(self.timeout)
            .header(CONTENT_TYPE, "application/json")
            .body(body.to_string())
            .send()
            .await
            .map_err(|error| http::request_error(error, &self.url, self.timeout))?;
        Ok(Answer::read(response, now, self.secrets.clone()).await)
    }
}

/// Takes an address only if it goes over the wire byte for byte as it was written: a signature in
/// it covers what was written.
fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|e| format!("`channel.url` is not valid: {e}"))?;
    if url.fragment().is_some() {
        return Err("`channel.url` must not contain #".into());
    }
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    let written = rest.find(['/', '?']).map_or("", |at| &rest[at..]);
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let sent = format!("{}{query}", url.path());
    // What has no path gets `/`.
    if written != sent && format!("/{written}") != sent {
        return Err("`channel.url` has characters or dots that an address cannot have".into());
    }
    Ok(url)
}

/// A part's heading as one line, with a sign for how bad it is.
pub(super) fn signed(part: &Part, heading: &str) -> String {
    let indent = if part.beneath { "↳ " } else { "" };
    format!("{indent}{} {heading}", part.tone.sign())
}

/// For a code block between ``` lines: no text can end the block.
pub(super) fn in_fence(text: &str) -> String {
    // Zero-width spaces, which nobody sees, keep backquotes apart.
    let mut out = String::with_capacity(text.len());
    let mut before = ' ';
    for c in text.chars() {
        if c == '`' && before == '`' {
            out.push('\u{200b}');
        }
        out.push(c);
        before = c;
    }
    out
}

/// For one line of Markdown: what has a meaning there gets a backslash, and nothing else does: the
/// `_` of `my_service` has none, and previews show backslashes.
pub(super) fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let mut before = None;
    for (at, c) in text.char_indices() {
        let rest = &text[at + c.len_utf8()..];
        let next = rest.chars().next();
        let word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let special = match c {
            '\\' | '`' | '*' | '<' => true,
            '_' => !(word(before) && word(next)),
            '~' | '|' => before == Some(c) || next == Some(c),
            ']' => matches!(next, Some('(' | '[')),
            '&' => word(next) || next == Some('#'),
            '@' => rest.starts_with("everyone") || rest.starts_with("here"),
            // A list, a heading, a quotation.
            '-' | '+' | '#' | '>' => at == 0,
            '.' | ')' => digits > 0 && at == digits,
            _ => false,
        };
        if special {
            out.push('\\');
        }
        out.push(c);
        before = Some(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_sent_as_it_was_written_or_not_at_all() {
        let signed = "https://prod-1.westeurope.logic.azure.com:443/workflows/0a/triggers/manual/\
                      paths/invoke?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0\
                      &sig=a-b_c%2f~=";
        let url = address(signed).unwrap();
        assert_eq!(
            url.query(),
            Some("api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=a-b_c%2f~=")
        );
        assert_eq!(url.port_or_known_default(), Some(443));
        assert_eq!(url.path(), "/workflows/0a/triggers/manual/paths/invoke");
        for fine in ["http://h.example", "http://h.example?a=b", "http://u:p@h.example:80/?"] {
            assert!(address(fine).is_ok(), "{fine}");
        }
        for wrong in
            ["https://h.example/a?q='b'", "https://h.example/a/../b", "https://h/ü", "https://h/#a"]
        {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_owner_of_an_address_is_told_by_its_host() {
        let of = |host| owner(host).map(|(kind, _)| kind);
        assert_eq!(of("hooks.slack.com"), Some("slack"));
        assert_eq!(of("canary.discord.com"), Some("discord"));
        assert_eq!(of("prod-1.westeurope.logic.azure.com"), Some("teams"));
        assert_eq!(of("notdiscord.com"), None);
        assert_eq!(of("chat.example.org"), None);
    }

    #[test]
    fn markup_loses_its_meaning() {
        let all =
            "my_service@1 *b* _it_ __u__ [a](b) [c] <@1> @everyone ~~x~~ ~y ||z|| | `k` &amp; &";
        assert_eq!(
            markdown(all),
            r"my_service@1 \*b\* \_it\_ \_\_u\_\_ [a\](b) [c] \<@1> \@everyone \~\~x\~\~ ~y \|\|z\|\| | \`k\` \&amp; &"
        );
        assert_eq!(markdown("# a"), r"\# a");
        assert_eq!(markdown("> a > b"), r"\> a > b");
        assert_eq!(markdown("- a-b"), r"\- a-b");
        assert_eq!(markdown("12. a 1.5"), r"12\. a 1.5");
        assert_eq!(markdown(r"\*"), r"\\\*");
        assert_eq!(in_fence("a```b``c`"), "a`\u{200b}`\u{200b}`b`\u{200b}`c`");
    }
}
