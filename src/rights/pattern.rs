//! A glob of the configuration as a regular expression of JavaScript that fits the same unit names.
//! Only the signs that a unit name can hold come in, which the rule makes sure of first.

use std::fmt::Write;

/// The signs of a unit name, as systemd has them.
pub(super) const SIGNS: &str =
    "-.0123456789:@ABCDEFGHIJKLMNOPQRSTUVWXYZ\\_abcdefghijklmnopqrstuvwxyz";

/// Fits exactly what is a unit name.
pub(super) const UNIT_NAME: &str = r"^[-.0-9:@A-Z\\_a-z]{1,255}$";

/// One part of a glob.
enum Token {
    /// Any number of signs.
    Star,
    /// One of these signs.
    OneOf(Vec<char>),
}

/// How stretches between two stars are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Middle {
    /// Found once, at the first place where each fits, and never again: a name that fits nowhere
    /// costs a few hundred steps however many stars there are, and nobody can keep polkit busy
    /// with it.
    Once,
    /// As a plain expression, for a matcher that knows no look-ahead.
    #[cfg(test)]
    Plain,
}

/// The expression, without the slashes around it; `None` when no unit name fits the glob. `glob`
/// is one that [`glob::Pattern`] takes.
pub(super) fn expression(glob: &str, middle: Middle) -> Option<String> {
    let tokens = tokens(glob);
    if tokens.iter().any(|token| matches!(token, Token::OneOf(signs) if signs.is_empty())) {
        return None;
    }
    let stretches: Vec<String> = tokens
        .split(|token| matches!(token, Token::Star))
        .map(|stretch| stretch.iter().map(one).collect())
        .collect();
    let last = stretches.len() - 1;
    let between = stretches.iter().take(last).skip(1).filter(|s| !s.is_empty()).count();
    let mut out = String::from("^");
    let mut group = 0;
    for (n, stretch) in stretches.iter().enumerate() {
        if n == 0 {
            out.push_str(stretch);
        } else if n == last {
            out.push_str(".*");
            out.push_str(stretch);
        } else if stretch.is_empty() {
            // Two stars side by side are one.
        } else if between > 1 && middle == Middle::Once {
            group += 1;
            // What a look-ahead has found is not looked for again. Writing to a string cannot fail.
            let _ = write!(out, r"(?=(.*?{stretch}))(?:\{group})");
        } else {
            out.push_str(".*?");
            out.push_str(stretch);
        }
    }
    out.push('$');
    Some(out)
}

/// Reads a glob as the `glob` crate does: `*`, `?`, `[abc]`, `[a-z]`, `[!a-z]`; the first sign in
/// brackets stands for itself, and so does a backslash anywhere.
fn tokens(glob: &str) -> Vec<Token> {
    let signs: Vec<char> = glob.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < signs.len() {
        match signs[at] {
            '*' => tokens.push(Token::Star),
            '?' => tokens.push(Token::OneOf(SIGNS.chars().collect())),
            '[' => {
                let except = signs.get(at + 1) == Some(&'!');
                let first = at + 1 + usize::from(except);
                let rest = signs.get(first + 1..).unwrap_or_default();
                let Some(end) = rest.iter().position(|c| *c == ']').map(|n| first + 1 + n) else {
                    // The glob crate takes no such pattern; one that fits nothing is the safe side.
                    return vec![Token::OneOf(Vec::new())];
                };
                let inside = &signs[first..end];
                let fits = |c: char| is_in(inside, c) != except;
                tokens.push(Token::OneOf(SIGNS.chars().filter(|c| fits(*c)).collect()));
                at = end;
            }
            c => tokens.push(Token::OneOf(SIGNS.chars().filter(|s| *s == c).collect())),
        }
        at += 1;
    }
    tokens
}

/// Whether what stands in brackets names this sign.
fn is_in(inside: &[char], sign: char) -> bool {
    let mut at = 0;
    while at < inside.len() {
        if at + 3 <= inside.len() && inside[at + 1] == '-' {
            if (inside[at]..=inside[at + 2]).contains(&sign) {
                return true;
            }
            at += 3;
        } else {
            if inside[at] == sign {
                return true;
            }
            at += 1;
        }
    }
    false
}

/// One sign of an expression.
fn one(token: &Token) -> String {
    let Token::OneOf(signs) = token else { return String::new() };
    let all = SIGNS.chars().count();
    match signs.as_slice() {
        [sign] => quoted(*sign),
        signs if signs.len() == all => ".".to_owned(),
        signs if signs.len() * 2 > all => {
            let others: Vec<char> = SIGNS.chars().filter(|c| !signs.contains(c)).collect();
            format!("[^{}]", ranges(&others))
        }
        signs => format!("[{}]", ranges(signs)),
    }
}

/// Signs in rising order, three or more in a row as a range.
fn ranges(signs: &[char]) -> String {
    let mut out = String::new();
    let mut at = 0;
    while at < signs.len() {
        let follows =
            |n: usize| n + 1 < signs.len() && u32::from(signs[n]) + 1 == u32::from(signs[n + 1]);
        let mut end = at;
        while follows(end) {
            end += 1;
        }
        if end - at >= 2 {
            out.push_str(&format!("{}-{}", quoted(signs[at]), quoted(signs[end])));
            at = end + 1;
        } else {
            out.push_str(&quoted(signs[at]));
            at += 1;
        }
    }
    out
}

fn quoted(sign: char) -> String {
    match sign {
        '\\' | '.' | '-' => format!("\\{sign}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::rules::UnitPattern;

    fn written(glob: &str) -> String {
        expression(glob, Middle::Once).unwrap_or_else(|| "nothing".into())
    }

    fn fits(glob: &str, name: &str) -> bool {
        expression(glob, Middle::Plain)
            .is_some_and(|text| regex_lite::Regex::new(&text).unwrap().is_match(name))
    }

    #[test]
    fn the_signs_are_those_of_the_expression_for_a_name() {
        let name = regex_lite::Regex::new(UNIT_NAME).unwrap();
        for sign in (0..=0x2ff).filter_map(char::from_u32) {
            assert_eq!(name.is_match(&sign.to_string()), SIGNS.contains(sign), "{sign:?}");
        }
        assert!(SIGNS.is_ascii() && SIGNS.chars().is_sorted());
        assert!(!name.is_match("") && !name.is_match("a\n") && !name.is_match(&"a".repeat(256)));
    }

    #[test]
    fn globs_are_written_as_people_would() {
        for (glob, text) in [
            ("worker@*.service", r"^worker@.*\.service$"),
            ("*", "^.*$"),
            ("**", "^.*$"),
            ("web-?.service", r"^web\-.\.service$"),
            ("web[0-9].service", r"^web[0-9]\.service$"),
            ("web[!0-9].service", r"^web[^0-9]\.service$"),
            ("web[135]*", "^web[135].*$"),
            ("web[]a]*", "^weba.*$"),
            ("web[a-]*", r"^web[\-a].*$"),
            ("web[z-a]*", "nothing"),
            ("web[z-ab]*", "^webb.*$"),
            (r"a\x2d*", r"^a\\x2d.*$"),
            ("*web*", "^.*?web.*$"),
            ("a*b*c*d", r"^a(?=(.*?b))(?:\1)(?=(.*?c))(?:\2).*d$"),
            ("a[!b]*", "^a[^b].*$"),
            ("a!b*", "nothing"),
        ] {
            assert_eq!(written(glob), text, "{glob}");
        }
    }

    #[test]
    fn a_number_after_a_group_is_not_taken_for_a_longer_one() {
        // `\1` before `2` must not become the twelfth group.
        assert_eq!(written("*1*2*"), r"^(?=(.*?1))(?:\1)(?=(.*?2))(?:\2).*$");
    }

    fn glob_text() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            4 => "[ab1.@-]",
            2 => Just("*".to_owned()),
            1 => Just("?".to_owned()),
            1 => "\\[!?[]ab1.!@\\\\*?-]{1,4}\\]",
            1 => Just("\\".to_owned()),
            1 => Just("!".to_owned()),
            1 => Just("]".to_owned()),
            1 => "[a-zA-Z0-9:_.@-]{1,3}",
        ];
        proptest::collection::vec(part, 1..8).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        #[test]
        fn the_expression_fits_what_the_configuration_fits(
            glob in glob_text(),
            names in proptest::collection::vec("[ab1.@:_\\\\-]{1,7}|[a-zA-Z0-9:_.@\\\\-]{1,12}", 8),
        ) {
            let Ok(pattern) = UnitPattern::try_new(&glob) else { return Ok(()) };
            if pattern.exact().is_some() {
                return Ok(());
            }
            for name in &names {
                prop_assert_eq!(fits(&glob, name), pattern.matches(name), "{} {}", &glob, name);
            }
        }

        #[test]
        fn what_was_made_to_fit_fits(
            parts in proptest::collection::vec(
                prop_oneof![
                    "[a-z@.]{1,3}".prop_map(|s| (s.clone(), s)),
                    "[a-z1-9.]{0,4}".prop_map(|s| ("*".to_owned(), s)),
                    "[a-z1-9.]".prop_map(|s| ("?".to_owned(), s)),
                    "[b-y]".prop_map(|s| ("[a-z]".to_owned(), s)),
                    "[b-y]".prop_map(|s| ("[!0-9]".to_owned(), s)),
                ],
                1..8,
            ),
        ) {
            let glob: String = parts.iter().map(|(glob, _)| glob.as_str()).collect();
            let name: String = parts.iter().map(|(_, name)| name.as_str()).collect();
            let Ok(pattern) = UnitPattern::try_new(&glob) else { return Ok(()) };
            if pattern.exact().is_some() {
                return Ok(());
            }
            prop_assert!(pattern.matches(&name));
            prop_assert!(fits(&glob, &name), "{} {}", glob, name);
        }
    }
}
