//! What must not be seen though a receiver repeats what it was asked: which texts these are, and
//! how they are taken out of an answer. Prefers to hide too much.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;

/// What stands in place of a secret.
const HIDDEN: &str = "[…]";
/// A shorter text is no secret, and without it an answer could not be read.
const WHOLE: usize = 3;
/// A word of a secret counts by itself from this length on.
const WORD: usize = 5;

/// Texts that are hidden in what a receiver answers.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Vec<String>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

impl Secrets {
    /// Hides this text and each of its longer words (`Bearer …`, `a=…; b=…`); of a login in base64
    /// also what it says.
    pub(crate) fn add(&mut self, text: &str) {
        let text = text.trim();
        self.whole(text);
        for word in text.split_whitespace() {
            self.word(word);
            word.split(['=', ';', ',', ':', '&', '"', '\'']).for_each(|part| self.word(part));
        }
        if let Some(login) = text.strip_prefix("Basic ")
            && let Ok(login) = STANDARD.decode(login.trim())
            && let Ok(login) = String::from_utf8(login)
            && let Some((user, password)) = login.split_once(':')
        {
            [user, password, &login].into_iter().for_each(|part| self.whole(part));
        }
    }

    /// Hides user and password of a URL, as they are written, as they are meant, and as they are
    /// sent.
    pub(crate) fn add_login(&mut self, url: &Url) {
        let (user, password) = (url.username(), url.password().unwrap_or_default());
        if user.is_empty() && password.is_empty() {
            return;
        }
        let meant = [user, password].map(decoded);
        for part in [user, password, &meant[0], &meant[1]] {
            self.whole(part);
        }
        let login = meant.join(":");
        self.whole(&login);
        self.whole(STANDARD.encode(login).trim_end_matches('='));
    }

    /// Hides all of a URL but scheme, host and port.
    pub(crate) fn add_url(&mut self, url: &Url) {
        self.add_login(url);
        for whole in [url.query().unwrap_or_default(), url.path()] {
            if whole.len() > 1 {
                self.0.push(whole.to_owned());
            }
            for part in whole.split(['/', '&', '=']) {
                self.word(part);
                self.word(&decoded(part));
            }
        }
    }

    /// Hides those of another as well.
    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// A text without them.
    pub(crate) fn hide(&self, mut text: String) -> String {
        let mut all: Vec<&str> = self.0.iter().map(String::as_str).collect();
        // What is part of another comes after it, or the rest of that would stay.
        all.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        all.dedup();
        for secret in all {
            if text.contains(secret) {
                text = text.replace(secret, HIDDEN);
            }
        }
        text
    }

    fn whole(&mut self, text: &str) {
        if text.len() < WHOLE {
            return;
        }
        self.0.push(text.to_owned());
        // As an answer in JSON repeats it.
        if text.contains(['"', '\\', '/']) {
            let inner = text.replace('\\', "\\\\").replace('"', "\\\"");
            self.0.push(inner.replace('/', "\\/"));
            self.0.push(inner);
        }
    }

    fn word(&mut self, text: &str) {
        if text.len() >= WORD {
            self.whole(text);
        }
    }
}

/// A part of a URL without `%xx`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = (*first == b'%').then(|| after.get(..2)).flatten();
        let byte = digits
            .and_then(|two| std::str::from_utf8(two).ok())
            .and_then(|two| u8::from_str_radix(two, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_hidden_in_each_of_its_forms() {
        let mut secrets = Secrets::default();
        secrets.add("Bearer abc/\"defg");
        secrets.add("session=c00kie; theme=1");
        secrets.add("Basic YW5uYTpodW50ZXIy");
        secrets.add("1");
        secrets.add_url(&Url::parse("https://olga:p%40ss@h.example/hook/k%2Fey99?t=q").unwrap());
        let said = "Bearer abc/\"defg | abc/\"defg | abc\\/\\\"defg | c00kie | YW5uYTpodW50ZXIy | \
                    anna | hunter2 | olga | p%40ss | p@ss | b2xnYTpwQHNz | k%2Fey99 | k/ey99 | 201";
        let hidden = secrets.hide(said.to_owned());
        let mut parts: Vec<&str> = hidden.split(" | ").collect();
        assert_eq!(parts.pop(), Some("201"), "{hidden}");
        assert!(parts.iter().all(|part| part.replace(HIDDEN, "").len() < 4), "{hidden}");
        assert!(!hidden.contains("efg"), "{hidden}");
        assert_eq!(format!("{secrets:?}").split(' ').nth(1), Some("secrets"));
    }

    #[test]
    fn what_is_no_escape_stays() {
        assert_eq!(decoded("100%"), "100%");
        assert_eq!(decoded("%zz%4"), "%zz%4");
        assert_eq!(decoded("a%20b%C3%A9"), "a bé");
    }
}
