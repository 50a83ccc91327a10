//! Fits a story into what a service takes: shortens it step by step, at sensible places, until its
//! rendered form fits. Pure.
//!
//! Only plain texts are cut, before a channel escapes them; so no cut ever falls into an escape or
//! an entity. Whether a form fits is measured on the rendered form, by the channel that knows its
//! service's limits.

use std::borrow::Cow;

use super::story::{Part, Story};

/// Longer texts are cut in every message: nobody reads on.
const LONGEST: usize = 1000;

/// How much of a story stays. The steps go from much to little, first what is missed least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    /// Characters (UTF-16 units) of each text.
    text: usize,
    /// Log lines of each part; the newest stay.
    lines: usize,
    /// Facts of each part, by [`rank`].
    facts: usize,
}

const fn step(text: usize, lines: usize, facts: usize) -> Step {
    Step { text, lines, facts }
}

/// With all parts.
const STEPS: &[Step] = &[
    step(LONGEST, usize::MAX, usize::MAX),
    step(LONGEST, 6, usize::MAX),
    step(LONGEST, 3, usize::MAX),
    step(300, 3, usize::MAX),
    step(300, 1, usize::MAX),
    step(300, 0, usize::MAX),
    step(300, 0, 5),
    step(300, 0, 3),
    step(200, 0, 2),
    step(200, 0, 0),
];

/// With fewer and fewer parts, and at last with nothing but the title and the first heading.
const LINE: Step = step(120, 0, 0);
const LAST: &[usize] = &[60, 30, 15];

/// The fullest form of a story that fits, as `render` makes it. First log lines go, then facts,
/// then all but one line of each part, then parts, for which `… and 12 more` stands; the title and
/// the first part's heading always stay, cut if need be. If not even the shortest form fits, that
/// one is given.
pub(super) fn fit<T>(
    story: &Story,
    mut render: impl FnMut(&Story) -> T,
    fits: impl Fn(&T) -> bool,
) -> T {
    let all = story.parts.len();
    let mut last = None;
    for step in STEPS {
        let shorter = reduced(story, *step, all);
        // Of very many parts each has one line from the beginning, and no step changes it.
        if last.as_ref() == Some(&shorter) {
            continue;
        }
        let form = render(&shorter);
        if fits(&form) {
            return form;
        }
        last = Some(shorter);
    }
    let mut attempt = |step: Step, parts: usize| render(&reduced(story, step, parts));
    let first = all.min(1);
    // The number of parts that fits is sought between `low`, which fits, and `high`, which does not.
    let mut best = attempt(LINE, first);
    if fits(&best) {
        let (mut low, mut high) = (first, all + 1);
        while high - low > 1 {
            let middle = low.midpoint(high);
            let form = attempt(LINE, middle);
            if fits(&form) {
                (low, best) = (middle, form);
            } else {
                high = middle;
            }
        }
        return best;
    }
    for text in LAST {
        best = attempt(step(*text, 0, 0), first);
        if fits(&best) {
            break;
        }
    }
    best
}

fn reduced(story: &Story, step: Step, parts: usize) -> Story {
    let short = |text: &String| cut(text, step.text).into_owned();
    let mut kept: Vec<Part> = story.parts[..parts].iter().map(|p| part(p, step)).collect();
    let more = story.parts.len() - parts;
    if more > 0 {
        kept.push(Part {
            heading: format!("… and {more} more"),
            tone: story.parts[parts..].iter().map(|p| p.tone).max().unwrap_or(story.tone),
            beneath: false,
            facts: Vec::new(),
            lines: Vec::new(),
            command: None,
            alert: None,
            unit: None,
        });
    }
    Story {
        title: short(&story.title),
        tone: story.tone,
        remarks: story.remarks.iter().map(short).collect(),
        parts: kept,
        footer: short(&story.footer),
        single: story.single && more == 0,
    }
}

fn part(part: &Part, step: Step) -> Part {
    let mut ranked: Vec<usize> = (0..part.facts.len()).collect();
    // Of those of the same rank the later ones are the newer ones, and worth more.
    ranked.sort_by_key(|i| (rank(part.facts[*i].label), std::cmp::Reverse(*i)));
    ranked.truncate(step.facts);
    ranked.sort_unstable();
    let facts = ranked.iter().map(|i| {
        let mut fact = part.facts[*i].clone();
        fact.text = cut(&fact.text, step.text).into_owned();
        fact
    });
    let lines = &part.lines[part.lines.len().saturating_sub(step.lines)..];
    Part {
        heading: cut(&part.heading, step.text).into_owned(),
        tone: part.tone,
        beneath: part.beneath,
        facts: facts.collect(),
        lines: lines.iter().map(|line| cut(line, step.text).into_owned()).collect(),
        // Half a command does harm.
        command: part.command.clone().filter(|c| step.facts > 0 && units(c) <= step.text),
        alert: part.alert.clone(),
        unit: part.unit.clone(),
    }
}

/// What is missed most comes first.
fn rank(label: &str) -> u8 {
    match label {
        "Since" | "Lasted" | "Began" | "At" => 0,
        "Next" | "Was" => 1,
        "Why" | "What" => 2,
        "Acknowledged" | "Cause" => 3,
        "Done" => 5,
        _ => 4,
    }
}

/// The length of a text as services count it: in UTF-16 units, which are never fewer than
/// characters.
pub(super) fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// The beginning of a plain text, at most so many UTF-16 units, the `…` at its end included.
pub(super) fn cut(text: &str, most: usize) -> Cow<'_, str> {
    // A unit is at least one byte of UTF-8, so most texts need not be counted.
    if text.len() <= most || units(text) <= most {
        return Cow::Borrowed(text);
    }
    let mut kept = prefix(text, most.saturating_sub(1)).trim_end().to_owned();
    if most > 0 {
        kept.push('…');
    }
    Cow::Owned(kept)
}

/// The beginning of a plain text as `escape` makes it, so that no more than `most` UTF-16 units come
/// out. Each character is to come out of it at its own place.
pub(super) fn cut_escaped(text: &str, most: usize, escape: impl Fn(&str) -> String) -> String {
    let mut room = most;
    loop {
        let escaped = escape(&cut(text, room));
        let over = units(&escaped).saturating_sub(most);
        if over == 0 || room == 0 {
            return escaped;
        }
        // An escape makes at most six of one; to cut a sixth of what is over never cuts too much.
        room = room.saturating_sub(over.div_ceil(6));
    }
}

/// As [`cut`] for what has markup of its own, such as the result of a user's template: the cut falls
/// at the end of a line if one is near, never into an entity (`&amp;`), an escape (`\*`) or a tag or
/// link in angle brackets, and a code block that it leaves open is closed.
pub(super) fn cut_markup(text: &str, most: usize) -> Cow<'_, str> {
    const CLOSED: &str = "\n```";
    if text.len() <= most || units(text) <= most {
        return Cow::Borrowed(text);
    }
    let mut kept = prefix(text, most.saturating_sub(2 + CLOSED.len()));
    if let Some(end) = kept.rfind('\n')
        && end >= kept.len() / 2
    {
        kept = &kept[..end];
    }
    for (open, close, reach) in [('&', ';', 12), ('<', '>', usize::MAX)] {
        if let Some(at) = kept.rfind(open)
            && !kept[at..].contains(close)
            && kept.len() - at <= reach
        {
            kept = &kept[..at];
        }
    }
    if kept.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1 {
        kept = &kept[..kept.len() - 1];
    }
    let mut kept = kept.trim_end().to_owned();
    // A run of backquotes at the very end may be half a fence.
    kept.truncate(kept.trim_end_matches('`').len());
    let open = kept.matches("```").count() % 2 == 1;
    kept.push_str("\n…");
    if open {
        kept.push_str(CLOSED);
    }
    Cow::Owned(prefix(&kept, most).to_owned())
}

fn prefix(text: &str, most: usize) -> &str {
    let mut count = 0;
    let end = text.char_indices().find(|(_, c)| {
        count += c.len_utf16();
        count > most
    });
    end.map_or(text, |(at, _)| &text[..at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::{sample, story};

    /// Every form with its length in characters, on the way to `most`.
    fn fitted(story: &Story, most: usize) -> (Story, String) {
        fit(story, |s| (s.clone(), story::text(s)), |(_, text)| text.chars().count() <= most)
    }

    fn story_of(n: crate::engine::alert::Notification) -> Story {
        story::compose(&sample::outgoing(n))
    }

    #[test]
    fn log_lines_go_first_then_facts_then_parts() {
        let mut alert = sample::alert();
        alert.lines = (0..10).map(|i| format!("line {i} {}", "y".repeat(100))).collect();
        let story = story_of(sample::of(crate::engine::alert::Happening::Opened, alert));
        assert_eq!(fitted(&story, 5000).0, story, "what fits stays as it is");

        let (shorter, _) = fitted(&story, 800);
        assert_eq!(shorter.parts[0].lines.len(), 3);
        assert!(shorter.parts[0].lines[2].starts_with("line 9 "), "the newest stay");
        assert_eq!(shorter.parts[0].facts, story.parts[0].facts);

        let (shorter, _) = fitted(&story, 250);
        let labels: Vec<_> = shorter.parts[0].facts.iter().map(|f| f.label).collect();
        assert_eq!((shorter.parts[0].lines.len(), labels), (0, vec!["Since", "Next"]));

        let (shorter, _) = fitted(&story, 120);
        assert!(shorter.parts[0].facts.is_empty() && shorter.parts[0].command.is_none());
        assert_eq!(shorter.title, story.title);

        let story = story_of(sample::storm(300));
        let (shorter, text) = fitted(&story, 4000);
        let left = shorter.parts.len() - 1;
        assert_eq!(shorter.parts[left].heading, format!("… and {} more", 300 - left));
        assert!((3900..=4000).contains(&text.chars().count()), "as many as fit: {left}");
    }

    #[test]
    fn title_and_first_heading_stay_however_little_fits() {
        for story in [story_of(sample::hostile()), story_of(sample::storm(2000))] {
            for most in [3000, 500, 200, 100, 0] {
                let (shorter, text) = fitted(&story, most);
                assert!(most < 200 || text.chars().count() <= most, "{most}: {text}");
                let same = |short: &str, whole: &str| {
                    whole.starts_with(short.trim_end_matches('…')) && short.chars().count() > 10
                };
                assert!(same(&shorter.title, &story.title), "{}", shorter.title);
                assert!(same(&shorter.parts[0].heading, &story.parts[0].heading));
            }
        }
    }

    #[test]
    fn a_cut_falls_between_characters_and_counts_as_services_do() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
        assert_eq!(cut("a cd", 3), "a…");
        assert_eq!(cut("🔴🔴", 4), "🔴🔴");
        assert_eq!(cut("🔴🔴🔴", 4), "🔴…");
        assert_eq!(cut("äöü", 0), "");
        assert_eq!(cut_escaped("a&b&c", 9, |s| s.replace('&', "&amp;")), "a&amp;b…");
        let text = "ä🔴x\u{fffd}".repeat(50);
        for most in 0..250 {
            assert!(units(&cut(&text, most)) <= most);
        }
    }

    #[test]
    fn a_cut_in_markup_leaves_nothing_open() {
        let x = "x".repeat(20);
        assert_eq!(cut_markup(&format!("{x}&amp; more text"), 30), format!("{x}\n…"));
        assert_eq!(cut_markup(&format!("{x} <https://example.org|it>"), 30), format!("{x}\n…"));
        assert_eq!(cut_markup(&format!("{x}y\\*bold, and so on"), 28), format!("{x}y\n…"));
        assert_eq!(cut_markup(&format!("{x}\nnext line here"), 30), format!("{x}\n…"));
        let fence = cut_markup("```\nline one\nline two\nline three\n```", 24).into_owned();
        assert_eq!(fence, "```\nline one\n…\n```");
        let text = "a & <b> \\* ```\nä🔴&lt;\n".repeat(10);
        for most in 0..200 {
            assert!(units(&cut_markup(&text, most)) <= most);
        }
    }
}
