//! Text from elsewhere (unit names, paths, log lines) made safe to show in a terminal, a page or
//! one line: what would steer the display becomes visible instead.

use std::borrow::Cow;
use std::fmt::Write;

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

pub(super) fn steers(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// JSON that says the same and steers no display: what [`visible`] would show is escaped. Characters
/// beyond ASCII stand within strings only, and those below the space are escaped already.
pub(super) fn inert(json: Vec<u8>) -> Vec<u8> {
    if json.iter().all(|b| b.is_ascii() && *b != 0x7f) {
        return json;
    }
    let Ok(text) = std::str::from_utf8(&json) else { return json };
    if !text.chars().any(|c| steers(c) && c >= '\u{7f}') {
        return json;
    }
    let mut out = String::with_capacity(text.len() + 64);
    for c in text.chars() {
        if steers(c) && c >= '\u{7f}' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_display_becomes_visible() {
        assert_eq!(visible("a\u{1b}[2J\n\u{202e}b\u{9b}"), "a\\u{1b}[2J\\n\\u{202e}b\\u{9b}");
        assert_eq!(visible("a\u{ad}\u{61c}b\u{e0041}"), "a\\u{ad}\\u{61c}b\\u{e0041}");
        assert!(matches!(visible("Zürich – 日本"), Cow::Borrowed("Zürich – 日本")));
    }

    #[test]
    fn json_says_the_same_and_steers_nothing() {
        let text = "Zürich \u{202e}evil\u{9b}\u{7f}\u{e0041}\n\u{1b}";
        let body = inert(serde_json::to_vec(&serde_json::json!({ text: [text, 1] })).unwrap());
        let said = String::from_utf8(body.clone()).unwrap();
        assert!(!said.chars().any(steers), "{said}");
        assert!(said.contains("Zürich \\u202eevil\\u009b\\u007f\\udb40\\udc41\\n"), "{said}");
        let back: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(back, serde_json::json!({ text: [text, 1] }));
    }
}
