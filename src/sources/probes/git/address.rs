//! Where a remote is, as its repository says: what of that may be shown, and what git complains of,
//! in one line without secrets.

use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

use crate::systemd::redact::redact;

/// Longer than this is no help to anybody, in characters.
const LONGEST: usize = 200;
/// What git says first and what does not say why.
const BESIDE: [&str; 4] = ["warning:", "hint:", "remote:", "Warning:"];

/// Where a remote is.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Address {
    raw: String,
    /// Logins, whole and in parts.
    secrets: Vec<String>,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Address").field(&self.shown()).finish()
    }
}

impl Address {
    pub(super) fn new(raw: &str) -> Self {
        let mut secrets = Vec::new();
        if let Some((scheme, login)) = login(raw) {
            let (user, password) = match login.split_once(':') {
                Some((user, password)) => (user, Some(password)),
                None => (login, None),
            };
            let web = scheme.starts_with("http");
            // A token may stand in the place of the user; the user of ssh is no secret.
            for part in [web.then_some(login), password, web.then_some(user)] {
                let Some(part) = part.filter(|part| !part.is_empty()) else { continue };
                secrets.push(part.to_owned());
                secrets.push(percent_decode_str(part).decode_utf8_lossy().into_owned());
            }
        }
        if let Some((_, query)) = raw.split_once('?') {
            secrets.push(query.to_owned());
            let values = query.split(['&', '#']).filter_map(|part| part.split_once('='));
            secrets.extend(values.map(|(_, value)| value.to_owned()));
        }
        secrets.retain(|secret| !secret.is_empty());
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self { raw: raw.to_owned(), secrets }
    }

    /// As it is, for git alone.
    pub(super) fn expose(&self) -> &str {
        &self.raw
    }

    /// The folder that it means, when it is one of this host; `base` is where a relative one begins.
    pub(super) fn folder(&self, base: &Path) -> Option<PathBuf> {
        if let Some(rest) = self.raw.strip_prefix("file://") {
            let path = &rest[rest.find('/')?..];
            return Some(PathBuf::from(percent_decode_str(path).decode_utf8().ok()?.as_ref()));
        }
        // As git has it: a colon before the first slash makes it somewhere else.
        let colon = self.raw.find(':');
        let local = colon.is_none_or(|at| self.raw[..at].contains('/'));
        (local && !self.raw.contains("://")).then(|| base.join(&self.raw))
    }

    /// Without login and query.
    pub(super) fn shown(&self) -> String {
        let mut text = self.raw.split(['?', '#']).next().unwrap_or_default().to_owned();
        if let Some((scheme, login)) = login(&self.raw) {
            let kept = match login.split_once(':') {
                _ if scheme.starts_with("http") => String::new(),
                Some((user, _)) => format!("{user}@"),
                None => format!("{login}@"),
            };
            text = text.replacen(&format!("://{login}@"), &format!("://{kept}"), 1);
        }
        tidy(&redact(&text))
    }

    /// What git complains of.
    pub(super) fn complaint(&self, text: &str) -> String {
        let text = text.replace(&self.raw, &self.shown());
        let text = self.secrets.iter().fold(text, |text, secret| text.replace(secret, "***"));
        complaint(&text)
    }
}

/// Scheme, and what stands before the `@` of a URL.
fn login(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    Some((scheme, authority.rsplit_once('@')?.0))
}

/// The line that says why, without secrets.
pub(super) fn complaint(text: &str) -> String {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let telling = lines().find(|line| !BESIDE.iter().any(|word| line.starts_with(word)));
    let line = telling.or_else(|| lines().next()).unwrap_or("git gives no reason");
    let line =
        line.strip_prefix("fatal: ").or_else(|| line.strip_prefix("error: ")).unwrap_or(line);
    tidy(&redact(line))
}

/// For one line of a summary: what a repository names can be anything.
pub(super) fn tidy(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = plain.take(LONGEST + 1).collect();
    if short.chars().count() > LONGEST {
        short = short.chars().take(LONGEST - 1).chain(['…']).collect();
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_never_shown() {
        for (raw, shown) in [
            ("https://me:hunter2@h.example/x.git", "https://h.example/x.git"),
            ("https://hunter2@h.example/x.git", "https://h.example/x.git"),
            ("https://h.example/x.git?key=hunter2#a", "https://h.example/x.git"),
            ("ssh://git:hunter2@h.example:22/x", "ssh://git@h.example:22/x"),
            ("git@h.example:x.git", "git@h.example:x.git"),
            ("https://a@b:hunter2@h.example/x", "https://h.example/x"),
        ] {
            let address = Address::new(raw);
            assert_eq!(address.shown(), shown);
            assert!(!format!("{address:?}").contains("hunter2"));
            let text = format!("fatal: unable to access '{raw}/': login 'hunter2' failed");
            let said = address.complaint(&text);
            assert!(!said.contains("hunter2") || raw.starts_with("git@"), "{said}");
            assert!(said.starts_with("unable to access"), "{said}");
        }
        let escaped = Address::new("https://me:hun%40ter@h/x");
        assert_eq!(escaped.complaint("fatal: bad login hun@ter"), "bad login ***");
    }

    #[test]
    fn a_folder_is_told_from_a_host() {
        let folder = |raw: &str| Address::new(raw).folder(Path::new("/srv/site"));
        assert_eq!(folder("/srv/x.git"), Some("/srv/x.git".into()));
        assert_eq!(folder("file:///srv/a%20b"), Some("/srv/a b".into()));
        assert_eq!(folder("file://host/srv/x"), Some("/srv/x".into()));
        assert_eq!(folder("../x"), Some("/srv/site/../x".into()));
        assert_eq!(folder("./a:b"), Some("/srv/site/./a:b".into()));
        for elsewhere in ["host:x.git", "https://h/x", "ssh://h/x", "ext::sh -c id", "git://h/x"] {
            assert_eq!(folder(elsewhere), None, "{elsewhere}");
        }
    }

    #[test]
    fn a_complaint_is_one_line_that_says_why() {
        let text = "warning: redirecting\nHost key verification failed.\r\nfatal: Could not read";
        assert_eq!(complaint(text), "Host key verification failed.");
        assert_eq!(complaint("\n"), "git gives no reason");
        assert_eq!(complaint("fatal: a\u{1b}[31mb"), "a [31mb");
        assert_eq!(complaint(&"x".repeat(900)).chars().count(), LONGEST);
    }
}
