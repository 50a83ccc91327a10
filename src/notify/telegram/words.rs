//! The user's own words, which are Telegram's HTML: whether Telegram would take them, and what they
//! are once they fit. Pure.

use super::render::inert;
use crate::notify::shorten::cut;

/// What has a meaning in Telegram's HTML.
const TAGS: &[&str] = &[
    "a",
    "b",
    "blockquote",
    "code",
    "del",
    "em",
    "i",
    "ins",
    "pre",
    "s",
    "span",
    "strike",
    "strong",
    "tg-emoji",
    "tg-spoiler",
    "u",
];
/// What stands for one character.
const ENTITIES: &[(&str, char)] = &[("lt", '<'), ("gt", '>'), ("amp", '&'), ("quot", '"')];

/// Words that Telegram takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::notify) struct Words {
    /// With markup.
    pub(in crate::notify) html: String,
    /// Without.
    pub(in crate::notify) plain: String,
}

impl Words {
    /// Reads words; those beyond `most` UTF-16 units, markup not counted, are cut off, and what is
    /// open there ends.
    ///
    /// # Errors
    /// Why Telegram would not take them.
    pub(in crate::notify) fn read(text: &str, most: usize) -> Result<Self, String> {
        let mut words = Self { html: String::new(), plain: String::new() };
        let mut open: Vec<&str> = Vec::new();
        let mut room = most;
        let mut rest = text.trim();
        while !rest.is_empty() {
            if let Some(tag) = rest.strip_prefix('<') {
                let Some((tag, after)) = tag.split_once('>') else {
                    return Err(said(rest, "begins a tag that does not end"));
                };
                turn(tag, &mut open)?;
                words.html.extend(["<", tag, ">"]);
                rest = after;
                continue;
            }
            let running = rest.split('<').next().unwrap_or(rest);
            rest = &rest[running.len()..];
            let in_code = open.iter().any(|tag| matches!(*tag, "pre" | "code"));
            let running = if in_code { running.to_owned() } else { inert(running) };
            if !words.put(&running, &mut room) {
                // What follows is read all the same, for what is wrong with it.
                let mut left = open.clone();
                check(rest, &mut left)?;
                break;
            }
        }
        if rest.is_empty()
            && let Some(tag) = open.last()
        {
            return Err(format!("<{tag}> is not ended by </{tag}>"));
        }
        words.html.extend(open.iter().rev().flat_map(|tag| ["</", tag, ">"]));
        if words.plain.trim().is_empty() {
            return Err("it makes an empty message".into());
        }
        Ok(words)
    }

    /// Appends running text; false when there was no room for all of it.
    fn put(&mut self, running: &str, room: &mut usize) -> bool {
        let mut rest = running;
        while let Some(first) = rest.chars().next() {
            let (len, c) = entity(rest).unwrap_or((first.len_utf8(), first));
            // One unit is kept for the `…`.
            if c.len_utf16() >= *room {
                self.html.push('…');
                self.plain.push('…');
                return false;
            }
            self.html.push_str(&rest[..len]);
            self.plain.push(c);
            *room -= c.len_utf16();
            rest = &rest[len..];
        }
        true
    }
}

/// `&lt;` or the like at the beginning: its length, and what it stands for.
fn entity(text: &str) -> Option<(usize, char)> {
    let (name, _) = text.strip_prefix('&')?.split_once(';')?;
    let known = ENTITIES.iter().find(|(known, _)| *known == name).map(|(_, c)| *c);
    let numbered = || {
        let number = name.strip_prefix('#')?;
        let code = match number.strip_prefix('x') {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        char::from_u32(code)
    };
    Some((name.len() + 2, known.or_else(numbered)?))
}

/// Opens or ends what a tag says.
fn turn<'a>(tag: &'a str, open: &mut Vec<&'a str>) -> Result<(), String> {
    let (ends, inner) = match tag.strip_prefix('/') {
        Some(inner) => (true, inner.trim_end()),
        None => (false, tag.split_whitespace().next().unwrap_or_default()),
    };
    if !TAGS.contains(&inner) {
        let tag = format!("<{tag}>");
        return Err(said(&tag, "is no tag of Telegram's; for the sign itself write &lt;"));
    }
    if !ends {
        open.push(inner);
        return Ok(());
    }
    match open.pop() {
        Some(last) if last == inner => Ok(()),
        Some(last) => Err(format!("</{inner}> stands where <{last}> should end")),
        None => Err(format!("</{inner}> ends nothing")),
    }
}

/// Whether the rest is well formed, of which nothing will be seen.
fn check<'a>(mut rest: &'a str, open: &mut Vec<&'a str>) -> Result<(), String> {
    while let Some((_, tag)) = rest.split_once('<') {
        let Some((tag, after)) = tag.split_once('>') else {
            return Err(said(rest, "begins a tag that does not end"));
        };
        turn(tag, open)?;
        rest = after;
    }
    match open.last() {
        Some(tag) => Err(format!("<{tag}> is not ended by </{tag}>")),
        None => Ok(()),
    }
}

fn said(text: &str, what: &str) -> String {
    format!("\"{}\" {what}", cut(text, 30))
}
