//! A story as plain text, for services and people that know no markup.

use std::fmt::Write;

use super::{Part, Story};

/// About so many lines and bytes: more is not read, and some receivers refuse it.
const MOST: (usize, usize) = (96, 18 * 1024);

/// The whole story as plain text: the title, then what is known, one fact a line. Of very many
/// parts the last ones are only counted.
pub fn text(story: &Story) -> String {
    let mut out = format!("{}\n", story.title);
    story.remarks.iter().for_each(|remark| line(&mut out, "", remark));
    let mut lines = out.lines().count();
    for (n, one) in story.parts.iter().enumerate() {
        let mut told = part(one, story.single, true);
        let fits =
            |told: &str| lines + told.lines().count() <= MOST.0 && out.len() + told.len() <= MOST.1;
        if !fits(&told) {
            told = part(one, story.single, false);
        }
        if n > 0 && !fits(&told) {
            line(&mut out, "", &format!("and {} more", story.parts.len() - n));
            break;
        }
        lines += told.lines().count();
        out.push_str(&told);
    }
    line(&mut out, "", &format!("Host: {}", story.footer));
    out.truncate(out.trim_end().len());
    out
}

fn part(part: &Part, single: bool, with_log: bool) -> String {
    let mut out = String::new();
    let indent = match (single, part.beneath) {
        (true, _) => "",
        (false, false) => "  ",
        (false, true) => "    ",
    };
    if !single {
        let outer = if part.beneath { "  " } else { "" };
        line(&mut out, outer, &format!("- {}", part.heading));
    }
    for fact in &part.facts {
        line(&mut out, indent, &format!("{}: {}", fact.label, fact.text));
    }
    if with_log && !part.lines.is_empty() {
        line(&mut out, indent, "Last log lines:");
        part.lines.iter().for_each(|text| line(&mut out, indent, &format!("    {text}")));
    }
    if let Some(command) = &part.command {
        line(&mut out, indent, &format!("Look: {command}"));
    }
    out
}

fn line(out: &mut String, indent: &str, text: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{indent}{text}");
}
