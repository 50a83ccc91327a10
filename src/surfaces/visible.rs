//! Text from elsewhere (unit names, paths, log lines) made safe to show in a terminal, a page or
//! one line: what would steer the display becomes visible instead.

use std::borrow::Cow;

/// Control characters (also line breaks and escape) and those that turn the direction of writing
/// or are invisible come out as `\n` or `\u{1b}`; all else stays.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if steers(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out.into()
}

fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_display_becomes_visible() {
        assert_eq!(visible("a\u{1b}[2J\n\u{202e}b\u{9b}"), "a\\u{1b}[2J\\n\\u{202e}b\\u{9b}");
        assert!(matches!(visible("Zürich – 日本"), Cow::Borrowed("Zürich – 日本")));
    }
}
