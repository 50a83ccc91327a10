//! Blanks what looks like a secret in a line of text that is to be shown, stored or sent.
//!
//! It errs on the side of blanking, but words such as `password accepted` stay: a value must follow
//! a `:`, a `=` or a flag. What is blanked reads `***`. It cannot know a secret that looks like any
//! other word; services that print such secrets should not.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex_lite::{Captures, Regex};

/// `text` without secrets. Does not allocate when nothing in it is suspicious.
pub fn redact(text: &str) -> Cow<'_, str> {
    if !suspicious(text) {
        return Cow::Borrowed(text);
    }
    let mut out = Cow::Borrowed(text);
    for rule in RULES.iter() {
        if let Cow::Owned(new) = rule.regex.replace_all(&out, |c: &Captures<'_>| (rule.blank)(c)) {
            out = Cow::Owned(new);
        }
    }
    out
}

/// Redacts line after line of one log: a private key begins on one line and ends on another.
#[derive(Debug, Default)]
pub struct Redactor {
    in_key: bool,
}

impl Redactor {
    /// The next line without secrets.
    pub fn line<'a>(&mut self, text: &'a str) -> Cow<'a, str> {
        const GONE: Cow<'static, str> = Cow::Borrowed("[private key removed]");
        if self.in_key {
            self.in_key = !text.contains("-----END");
            return GONE;
        }
        if is_key_body(text.trim()) {
            return GONE;
        }
        if let Some(at) = text.find("PRIVATE KEY-----") {
            self.in_key = !text[at..].contains("-----END");
        }
        redact(text)
    }
}

/// A whole line of base64 as PEM files have it: an excerpt may begin in the middle of a key.
fn is_key_body(line: &str) -> bool {
    line.len() >= 60
        && line.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
        && line.bytes().any(|b| b.is_ascii_uppercase())
        && line.bytes().any(|b| b.is_ascii_lowercase())
        && line.bytes().any(|b| b.is_ascii_digit())
}

/// One pass over the bytes for the beginnings of all that the rules look for.
fn suspicious(text: &str) -> bool {
    const WORDS: [&str; 26] = [
        "pass",
        "pwd",
        "secret",
        "token",
        "key",
        "auth",
        "bearer",
        "basic",
        "://",
        "sig",
        "cookie",
        "cred",
        "identified",
        "eyj",
        "akia",
        "asia",
        "xox",
        "ghp_",
        "gho_",
        "ghs_",
        "ghu_",
        "github_pat",
        "glpat-",
        "sk_",
        "sk-",
        "bot",
    ];
    let bytes = text.as_bytes();
    (0..bytes.len()).any(|at| {
        WORDS.iter().any(|word| {
            bytes[at].eq_ignore_ascii_case(&word.as_bytes()[0])
                && bytes[at..].len() >= word.len()
                && bytes[at..at + word.len()].eq_ignore_ascii_case(word.as_bytes())
        })
    }) || text.contains("hooks.")
        || text.contains("webhook")
        || text.contains("AIza")
        || text.contains("npm_")
}

struct Rule {
    regex: Regex,
    blank: fn(&Captures<'_>) -> String,
}

/// A capture's text; empty when it took no part.
fn part<'a>(captures: &'a Captures<'_>, n: usize) -> &'a str {
    captures.get(n).map_or("", |m| m.as_str())
}

fn whole(captures: &Captures<'_>) -> String {
    part(captures, 0).to_owned()
}

/// In this order: whole shapes first, so that a `key=value` rule does not cut them in two.
static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let rule = |pattern: &str, blank: fn(&Captures<'_>) -> String| Rule {
        // A pattern is a literal of this file, and the tests below use each.
        #[allow(clippy::unwrap_used)]
        regex: Regex::new(pattern).unwrap(),
        blank,
    };
    vec![
        rule(
            r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----(?:.*?-----END [A-Z0-9 ]*PRIVATE KEY-----|.*)",
            |_| "[private key removed]".into(),
        ),
        // Webhooks: who knows the URL may post.
        rule(r"(hooks\.slack(?:-gov)?\.com/[a-z]+/)[^\s'\x22<>]+", |c| {
            format!("{}***", part(c, 1))
        }),
        rule(r"(discord(?:app)?\.com/api/(?:v\d+/)?webhooks/\d+/)[\w-]+", |c| {
            format!("{}***", part(c, 1))
        }),
        rule(r"(webhook\.office(?:365)?\.com/[\w/]*?)[\w-]+@[^\s'\x22<>]+", |c| {
            format!("{}***", part(c, 1))
        }),
        rule(r"\b(bot)\d{5,}:[\w-]{20,}", |c| format!("{}***", part(c, 1))),
        // Credentials in a URL: user:password@, or a token in the user's place.
        rule(r"([A-Za-z][A-Za-z0-9+.-]*://)([^\s/?#'\x22<>]+)@", |c| {
            match part(c, 2).split_once(':') {
                Some((user, _)) => format!("{}{user}:***@", part(c, 1)),
                None if part(c, 2).len() >= 16 => format!("{}***@", part(c, 1)),
                None => whole(c),
            }
        }),
        // Parameters that sign a URL.
        rule(
            r"(?i)([?&;](?:x-amz-|x-goog-)?(?:sig|signature|token|access_token|refresh_token|id_token|key|api-?key|api_key|subscription-key|auth|code|credential|security-token|password|secret|client_secret)=)([^&\s'\x22<>#]+)",
            |c| format!("{}***", part(c, 1)),
        ),
        // Headers.
        rule(
            r"(?i)(authorization(?:\\?['\x22])?\s*[:=]\s*(?:\\?['\x22])?)(digest|aws4-hmac-sha256|hawk|oauth)\s[^\r\n]+",
            |c| format!("{}{} ***", part(c, 1), part(c, 2)),
        ),
        rule(
            r"(?i)(authorization(?:\\?['\x22])?\s*[:=]\s*(?:\\?['\x22])?)(bearer|basic|token|negotiate|ntlm|apikey|key|bot)\s+[^\s'\x22,\\]+",
            |c| format!("{}{} ***", part(c, 1), part(c, 2)),
        ),
        rule(
            r"(?i)(authorization(?:\\?['\x22])?\s*[:=]\s*(?:\\?['\x22])?)([^\s'\x22,\\]{8,})",
            |c| {
                if mixed(part(c, 2)) { format!("{}***", part(c, 1)) } else { whole(c) }
            },
        ),
        rule(r"(?i)\b(bearer|basic)\s+([A-Za-z0-9._~+/-]{8,}=*)", |c| {
            if mixed(part(c, 2)) { format!("{} ***", part(c, 1)) } else { whole(c) }
        }),
        rule(r"(?i)\b((?:set-)?cookie:\s*)[^\s=;]+=[^\r\n]*", |c| format!("{}***", part(c, 1))),
        // Shapes that are secrets wherever they stand.
        rule(r"\beyJ[\w-]{5,}\.[\w-]{5,}(?:\.[\w-]*)?", |_| "***".into()),
        rule(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b", |c| format!("{}***", part(c, 1))),
        rule(
            r"\b(gh[opsu]_|github_pat_|glpat-|xox[abeprs]-|sk_live_|sk_test_|rk_live_|sk-|AIza|npm_)[\w-]{16,}",
            |c| format!("{}***", part(c, 1)),
        ),
        // --password VALUE, IDENTIFIED BY 'VALUE'
        rule(
            r"(?i)(--[a-z-]*(?:password|passwd|passphrase|secret|token|api-?key|access-?key|credentials?)\s+)([^\s-]\S*)",
            |c| format!("{}***", part(c, 1)),
        ),
        rule(r"(?i)\b((?:identified by|password)\s+)'[^']*'?", |c| format!("{}'***'", part(c, 1))),
        rule(PAIR, pair),
    ]
});

/// `key: value`, `key=value`, `"key":"value"`, also within escaped JSON.
const PAIR: &str = r#"(?ix)
    ( unexpected\s+ )?
    ( [a-z0-9_.-]* (?: password | passwd | passphrase | secret | token | credentials?
        | [a-z0-9]+[_.-]pass | pwd
        | (?: api | access | secret | private | encryption | signing | shared | account | master | auth )[\ _-]?key )
      (?: \\?['"] )? \s* [:=]>? )
    ( \s* )
    ( \\" (?: [^"\\] | \\[^"] )* (?: \\" )?
    | " (?: [^"\\] | \\. )* "?
    | ' (?: [^'\\] | \\. )* '?
    | [^\s;&"'<>\\]+ )
"#;

fn pair(captures: &Captures<'_>) -> String {
    let (unexpected, key, space, value) =
        (part(captures, 1), part(captures, 2), part(captures, 3), part(captures, 4));
    let quote = ["\\\"", "\"", "'"].into_iter().find(|q| value.starts_with(q)).unwrap_or_default();
    let inner = &value[quote.len()..];
    let inner = inner.strip_suffix(quote).unwrap_or(inner);
    let is_pwd_path = key[..key.len() - 1].eq_ignore_ascii_case("pwd") && inner.starts_with('/');
    if !unexpected.is_empty()
        || is_pwd_path
        || is_no_secret(inner, quote.is_empty(), !space.is_empty())
    {
        return whole(captures);
    }
    if !quote.is_empty() {
        let closed = if value.len() > quote.len() && value.ends_with(quote) { quote } else { "" };
        return format!("{key}{space}{quote}***{closed}");
    }
    // Not quoted: what follows in brackets or after a comma may be the next pair.
    let end = inner
        .char_indices()
        .find(|(at, c)| *c == ',' && inner[at + 1..].contains(['=', ':']))
        .map_or(inner.len(), |(at, _)| at);
    let end = inner[..end].trim_end_matches([')', ']', '}', ',', '.']).len();
    format!("{key}{space}***{}", &inner[end..])
}

/// Values that say something about a secret and are none.
fn is_no_secret(value: &str, bare: bool, spaced: bool) -> bool {
    const NEVER: [&str; 13] = [
        "",
        "null",
        "none",
        "nil",
        "undefined",
        "true",
        "false",
        "yes",
        "no",
        "***",
        "(null)",
        "{",
        "[",
    ];
    // After `: ` a sentence may follow.
    const SENTENCE: [&str; 38] = [
        "incorrect",
        "invalid",
        "wrong",
        "expired",
        "missing",
        "required",
        "too",
        "not",
        "must",
        "is",
        "was",
        "has",
        "have",
        "cannot",
        "can't",
        "empty",
        "failed",
        "failure",
        "rejected",
        "accepted",
        "unknown",
        "mismatch",
        "mismatched",
        "authentication",
        "error",
        "unset",
        "revoked",
        "unable",
        "could",
        "does",
        "did",
        "the",
        "a",
        "no",
        "permission",
        "access",
        "denied",
        "unauthorized",
    ];
    let word = value.trim_end_matches([',', '.', ';', ')', ']', '}', '!']);
    let is = |list: &[&str]| list.iter().any(|known| word.eq_ignore_ascii_case(known));
    value.starts_with("***") || is(&NEVER) || (bare && spaced && is(&SENTENCE))
}

/// Looks made up by a machine: has a digit, or upper case after lower case, or `=` at its end.
fn mixed(text: &str) -> bool {
    text.bytes().any(|b| b.is_ascii_digit())
        || text.ends_with('=')
        || text
            .as_bytes()
            .windows(2)
            .any(|w| w[0].is_ascii_lowercase() && w[1].is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_blanked() {
        for (text, expected) in [
            ("password=hunter2", "password=***"),
            ("login with Password: hunter2 failed", "login with Password: *** failed"),
            ("passwd:x1 next", "passwd:*** next"),
            ("DB_PASSWORD=a,b DB_HOST=h", "DB_PASSWORD=*** DB_HOST=h"),
            ("user=u,password=p1,host=h", "user=u,password=***,host=h"),
            ("config(secret=abc)", "config(secret=***)"),
            ("SMTP_PASS=abc", "SMTP_PASS=***"),
            ("Server=db;Pwd=abc;Timeout=5", "Server=db;Pwd=***;Timeout=5"),
            ("api_key: abcd", "api_key: ***"),
            ("apikey=abcd api-key=x access_key=y", "apikey=*** api-key=*** access_key=***"),
            ("aws_secret_access_key = wJalr/K7", "aws_secret_access_key = ***"),
            (r#"{"password":"a \" b","n":1}"#, r#"{"password":"***","n":1}"#),
            (r#"{"user":"u","token": "x"}"#, r#"{"user":"u","token": "***"}"#),
            (r#"body {\"password\":\"abc\",\"n\":1}"#, r#"body {\"password\":\"***\",\"n\":1}"#),
            ("password='two words' rest", "password='***' rest"),
            ("password=\"cut off", "password=\"***"),
            (":password => 'abc'", ":password => '***'"),
            ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
            ("authorization: basic dXNlcjpwYXNz", "authorization: basic ***"),
            (r#""Authorization":"Bearer abc""#, r#""Authorization":"Bearer ***""#),
            ("Authorization: Digest username=\"u\", response=\"r\"", "Authorization: Digest ***"),
            ("Authorization: 0123456789abcdef", "Authorization: ***"),
            ("sent Bearer abcdef0123456789", "sent Bearer ***"),
            ("Cookie: sid=abc; theme=dark", "Cookie: ***"),
            ("postgres://app:s3cr3t@db:5432/x", "postgres://app:***@db:5432/x"),
            ("amqp://u:p@ss@mq", "amqp://u:***@mq"),
            ("https://ghtoken0123456789@github.com/x", "https://***@github.com/x"),
            ("GET /b?sv=1&sig=aB%2F&x=1", "GET /b?sv=1&sig=***&x=1"),
            ("GET /b?token=abc#top", "GET /b?token=***#top"),
            ("?X-Amz-Signature=abc&X-Amz-Date=1", "?X-Amz-Signature=***&X-Amz-Date=1"),
            (
                "POST https://hooks.slack.com/services/T0/B0/abc failed",
                "POST https://hooks.slack.com/services/*** failed",
            ),
            (
                "https://discord.com/api/webhooks/123456/abc-DEF",
                "https://discord.com/api/webhooks/123456/***",
            ),
            (
                "https://x.webhook.office.com/webhookb2/abc@def/IncomingWebhook/1",
                "https://x.webhook.office.com/webhookb2/***",
            ),
            (
                "https://api.telegram.org/bot123456789:AAbbCCddEEffGGhhIIjjKK/sendMessage",
                "https://api.telegram.org/bot***/sendMessage",
            ),
            ("id AKIAIOSFODNN7EXAMPLE used", "id AKIA*** used"),
            ("jwt eyJhbGciOi.eyJzdWIiOi.SflKx-w ok", "jwt *** ok"),
            ("push with ghp_0123456789abcdefghij", "push with ghp_***"),
            ("xoxb-123456789012-abcdef", "xoxb-***"),
            ("run --password hunter2 --user u", "run --password *** --user u"),
            ("run --api-key=abc", "run --api-key=***"),
            ("ALTER USER u IDENTIFIED BY 'abc'", "ALTER USER u IDENTIFIED BY '***'"),
            (
                "key -----BEGIN RSA PRIVATE KEY----- MIIE -----END RSA PRIVATE KEY----- ok",
                "key [private key removed] ok",
            ),
            ("-----BEGIN PRIVATE KEY----- MIIEcut", "[private key removed]"),
        ] {
            assert_eq!(redact(text), expected);
            assert_eq!(redact(expected), expected, "redacted twice");
        }
    }

    #[test]
    fn what_is_no_secret_stays_readable() {
        for text in [
            "password accepted for user root",
            "Failed password for root from 10.0.0.1 port 22 ssh2",
            "token expired",
            "token: expired, log in again",
            "password: incorrect",
            "Invalid password: must have 8 characters",
            "unexpected token: foo",
            "Unexpected token < in JSON at position 0",
            "max_tokens: 100, tokens=512",
            "password=null token=none",
            "Bearer token expired",
            "basic authentication failed",
            "Authorization failed for user u",
            "Authorization: required",
            "ssh://git@github.com/x",
            "http://localhost:8080/path@2x.png",
            "killed by sig=9 code=1",
            "PWD=/srv/app",
            "Cookie rejected",
            "key not found: user_id",
            "monkey=5 keyboard: us",
            "-----BEGIN CERTIFICATE-----",
            "robot started, sk-learn 1.0",
            "secret mounted at /run/secrets",
            "author: anna",
            "3 passwords changed",
            "",
        ] {
            assert_eq!(redact(text), text);
        }
    }

    #[test]
    fn plain_lines_cost_no_allocation() {
        assert!(matches!(redact("GET /index.html 200 in 3 ms"), Cow::Borrowed(_)));
        assert!(matches!(redact("password accepted"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_private_key_is_removed_over_many_lines() {
        let body = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj";
        let mut redactor = Redactor::default();
        let lines = [
            "loading key",
            "-----BEGIN PRIVATE KEY-----",
            "short",
            "-----END PRIVATE KEY-----",
            "loaded",
            body,
            "-----BEGIN CERTIFICATE-----",
            "d2a84f4b8b650937ec8f73cd8be2c74add5a911ba64df27458ed8229da804a26",
        ];
        let shown: Vec<String> = lines.iter().map(|l| redactor.line(l).into_owned()).collect();
        let gone = "[private key removed]";
        assert_eq!(shown, [lines[0], gone, gone, gone, lines[4], gone, lines[6], lines[7]]);
    }

    #[test]
    fn odd_text_does_no_harm() {
        for text in
            ["password=", "token:", "://@", "password=\\", "é password=é", "secret=\"", "pwd=''"]
        {
            let _ = redact(text);
        }
        assert_eq!(redact("é password=éé ü"), "é password=*** ü");
    }
}
