//! Lines of a file as they may be shown: found by byte, cut to a width, free of control characters
//! and of secrets. Prefers to hide too much.

use super::diagnostic::Snippet;

/// Widest line that is shown whole.
const WIDTH: usize = 120;
/// What stands in place of what is hidden.
const HIDDEN: char = '…';

/// Whether a value under this key is not for showing. Also true for keys that look like one of
/// those with a slip of the pen.
pub(super) fn is_secret_key(key: &str) -> bool {
    const PARTS: [&str; 17] = [
        "token",
        "secret",
        "passw",
        "passphrase",
        "pwd",
        "url",
        "uri",
        "dsn",
        "auth",
        "connection",
        "header",
        "api_key",
        "apikey",
        "private",
        "credential",
        "webhook",
        "proxy",
    ];
    const WORDS: [&str; 6] = ["token", "secret", "password", "pass", "key", "url"];
    let key = key.to_ascii_lowercase();
    PARTS.iter().any(|part| key.contains(part))
        || WORDS.iter().any(|word| strsim::damerau_levenshtein(&key, word) <= 1)
}

/// Where every line of a text starts, so that many places are found quickly.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(n, _)| n + 1)).collect())
    }

    /// Line and column (in characters), counted from 1, of a byte of the text.
    pub(super) fn position(&self, text: &str, at: usize) -> (usize, usize) {
        let at = floor(text, at);
        // The first line starts at 0, so there is always one at or before `at`.
        let line = self.0.partition_point(|start| *start <= at);
        let start = self.0[line - 1];
        (line, text[start..at].chars().count() + 1)
    }
}

/// The line at byte `start`, with a mark from there to `end` or the end of the line.
/// `hide` shows nothing after the mark: the value of a key that nobody knows may be a secret.
pub(super) fn cut(text: &str, start: usize, end: usize, hide: bool) -> Snippet {
    let start = floor(text, start);
    let end = floor(text, end.max(start));
    let from = line_start(text, start);
    let to = text[from..].find('\n').map_or(text.len(), |n| from + n);
    let line = text[from..to].trim_end_matches('\r');
    let shown = if is_secret_line(text, from, line) {
        head(line)
    } else if hide {
        // The key and its `=`; all of the line where it has none, as in `[table]`.
        let after = floor(line, end - from);
        line[after..].find('=').map_or(line.len(), |n| {
            let equals = after + n + 1;
            equals + usize::from(line[equals..].starts_with(' '))
        })
    } else {
        line.len()
    };
    let shown = floor(line, shown);

    let mut snippet = Snippet { text: String::new(), start: 0, length: 0 };
    let mut count = 0;
    for (n, c) in line[..shown].char_indices() {
        let wide = if c == '\t' { 4 } else { 1 };
        if from + n < start {
            snippet.start += wide;
        } else if from + n < end {
            snippet.length += wide;
        }
        match c {
            '\t' => snippet.text.push_str("    "),
            c if c.is_control() => snippet.text.push('\u{fffd}'),
            c => snippet.text.push(c),
        }
        count += wide;
    }
    if shown < line.len() {
        snippet.text.push(HIDDEN);
        if start >= from + shown {
            (snippet.start, snippet.length) = (count, 1);
        }
    }
    snippet.length = snippet.length.max(1);
    narrow(snippet)
}

/// Keeps the part around the mark of a line that is too long to show.
fn narrow(snippet: Snippet) -> Snippet {
    let count = snippet.text.chars().count();
    if count <= WIDTH {
        return snippet;
    }
    let skip = snippet.start.saturating_sub(WIDTH / 3);
    let mut text: String = snippet.text.chars().skip(skip).take(WIDTH).collect();
    if skip + WIDTH < count {
        text.push(HIDDEN);
    }
    let mut start = snippet.start - skip;
    if skip > 0 {
        text.insert(0, HIDDEN);
        start += 1;
    }
    let room = text.chars().count().saturating_sub(start).max(1);
    Snippet { text, start, length: snippet.length.min(room) }
}

/// How much of a line can be shown that holds a secret: up to and with its first `=`.
fn head(line: &str) -> usize {
    match line.split_once('=') {
        Some((key, value)) if key.len() < 60 => key.len() + 1 + usize::from(value.starts_with(' ')),
        _ => 0,
    }
}

/// Whether a line sets a secret, holds an address, or lies inside a value that began on such a line.
fn is_secret_line(text: &str, from: usize, line: &str) -> bool {
    if line.contains("://") || names_secret(line) {
        return true;
    }
    // Inside a string of many lines, the key is on the line that opens it.
    let mut opener: Option<(&str, &str)> = None;
    for earlier in text[..from].lines() {
        for quotes in ["\"\"\"", "'''"] {
            if opener.is_none_or(|(_, by)| by == quotes) && earlier.matches(quotes).count() % 2 == 1
            {
                opener = if opener.is_some() { None } else { Some((earlier, quotes)) };
                break;
            }
        }
    }
    if opener.is_some() {
        return true;
    }
    // A line of a list of many lines has no key of its own; neither has the head of a table.
    let bare = |c: char| c.is_ascii_alphanumeric() || "_-.[] ".contains(c);
    let is_header = line.starts_with('[') && line.trim_end().chars().all(bare);
    !line.contains('=')
        && !is_header
        && text[..from]
            .lines()
            .rev()
            .find(|l| l.contains('=') || l.trim_start().starts_with('['))
            .is_some_and(names_secret)
}

/// Whether any `key =` of the line is that of a secret.
fn names_secret(line: &str) -> bool {
    line.match_indices('=').any(|(at, _)| {
        let before = line[..at].trim_end().trim_end_matches(['"', '\'']);
        let word = before
            .rsplit(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'))
            .next()
            .unwrap_or_default();
        is_secret_key(word)
    })
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |n| n + 1)
}

/// The nearest byte at or before `at` where a character starts.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, part: &str) -> (String, String) {
        let start = text.find(part).unwrap();
        let s = cut(text, start, start + part.len(), false);
        let marked = s.text.chars().skip(s.start).take(s.length).collect();
        (s.text, marked)
    }

    #[test]
    fn a_line_is_shown_with_its_mark() {
        let (text, mark) = shown("a = 1\n\tüb = \"x\" # c\n", "\"x\"");
        assert_eq!((text.as_str(), mark.as_str()), ("    üb = \"x\" # c", "\"x\""));
        let position = |text: &str, at| Lines::of(text).position(text, at);
        assert_eq!(position("a\nüb = 1", 7), (2, 5));
        assert_eq!(position("a\nb\n", 1), (1, 2));
        assert_eq!(position("a\nb\n", 4), (3, 1));
        assert_eq!(position("", 99), (1, 1));
    }

    #[test]
    fn secrets_are_hidden() {
        for (text, part, want) in [
            ("token = \"hunter2\"\n", "\"hunter2\"", "token = …"),
            ("tokne = \"hunter2\"\n", "tokne", "tokne = …"),
            ("x = { pasword = \"hunter2\" }", "pasword", "x = …"),
            ("api_url = 'hunter2'", "api_url", "api_url = …"),
            ("hook = \"https://h/hunter2\"", "hook", "hook = …"),
            ("urls = [\n  \"hunter2\",\n]", "\"hunter2\"", "…"),
            ("token = \"\"\"\nhunter2\n\"\"\"", "hunter2", "…"),
            ("x = '''\nhunter2 = 3\n'''", "hunter2", "hunter2 = …"),
        ] {
            assert_eq!(shown(text, part).0, want, "{text:?}");
        }
        assert_eq!(shown("name = \"web\"\n", "web").0, "name = \"web\"");
        assert_eq!(shown("url = \"hunter2\"\n[[channel]]\n", "channel").0, "[[channel]]");
    }

    #[test]
    fn after_an_unknown_key_nothing_is_shown() {
        for (text, part, want) in [
            ("a = { b = 1, hunter = 'hunter2' }", "hunter", "a = { b = 1, hunter = …"),
            ("hunter='2'", "hunter", "hunter=…"),
            ("[agnet]", "agnet", "[agnet]"),
        ] {
            let start = text.find(part).unwrap();
            assert_eq!(cut(text, start, start + part.len(), true).text, want);
        }
    }

    #[test]
    fn a_long_line_is_cut_around_the_mark() {
        let text = format!("{}MARK{}", "a".repeat(500), "b".repeat(500));
        let (text, mark) = shown(&text, "MARK");
        assert_eq!(mark, "MARK");
        assert!(text.chars().count() <= WIDTH + 2, "{text}");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(shown("a = \u{1b}[31m\r\n", "a").0, "a = \u{fffd}[31m");
    }
}
