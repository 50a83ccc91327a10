//! Shows the lines of the drop-in, asks about each on a terminal, and says what became of those
//! that cannot be taken.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::io::{self, BufRead};

use super::lines::{Line, Offer};

/// Who decides about the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decide {
    /// The person at the terminal, line by line.
    Ask,
    /// Each is taken (`--yes`).
    All,
    /// Nobody is there: none is taken.
    Nobody,
}

/// Goes through the lines; what is taken anew. `say` writes to the person.
pub(super) fn choose(
    offers: &[(Line, Offer)],
    decide: Decide,
    answers: &mut dyn BufRead,
    say: &mut dyn FnMut(&str) -> io::Result<()>,
) -> io::Result<BTreeSet<Line>> {
    let mut chosen = BTreeSet::new();
    for (line, offer) in offers {
        say(&show(*line, offer))?;
        let open = *offer == Offer::Open;
        if open && (decide == Decide::All || decide == Decide::Ask && ask(answers, say)?) {
            chosen.insert(*line);
        }
    }
    Ok(chosen)
}

/// A line with what it does and risks, or why it is not offered.
fn show(line: Line, offer: &Offer) -> String {
    let settings = line.settings().join(", ");
    match offer {
        Offer::Open => {
            let mut out = format!("  {settings}\n    {}", line.means());
            // Writing to a string cannot fail.
            let _ = match line.when() {
                Some(when) => writeln!(out, ", {when}"),
                None => writeln!(out),
            };
            let _ = writeln!(out, "    Risk: {}", line.risk());
            out
        }
        Offer::Taken => format!("  {settings}\n    is there already\n"),
        Offer::Own(own) => format!("  {settings}\n    left out: it has its own: {own}\n"),
        Offer::Refused(why) => format!("  {settings}\n    refused: {why}\n"),
    }
}

/// Yes, on an empty line too; no at the end of the input.
fn ask(answers: &mut dyn BufRead, say: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<bool> {
    loop {
        say("    Add it? [Y/n] ")?;
        let mut answer = String::new();
        if answers.read_line(&mut answer)? == 0 {
            say("\n")?;
            return Ok(false);
        }
        match answer.trim().to_lowercase().as_str() {
            "" | "y" | "yes" => return Ok(true),
            "n" | "no" => return Ok(false),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers() -> Vec<(Line, Offer)> {
        vec![
            (Line::Starts, Offer::Open),
            (Line::Memory, Offer::Own("MemoryMax=512M".into())),
            (Line::Cpu, Offer::Taken),
            (Line::Watchdog, Offer::Open),
        ]
    }

    fn talk(decide: Decide, answers: &str) -> (Vec<Line>, String) {
        let mut out = String::new();
        let mut say = |text: &str| {
            out.push_str(text);
            Ok(())
        };
        let chosen = choose(&offers(), decide, &mut answers.as_bytes(), &mut say).unwrap();
        (chosen.into_iter().collect(), out)
    }

    #[test]
    fn each_line_is_asked_about_with_its_risk() {
        let (chosen, out) = talk(Decide::Ask, "what?\nn\n\n");
        assert_eq!(chosen, [Line::Watchdog]);
        insta::assert_snapshot!("asked", out);
        assert_eq!(talk(Decide::Ask, "YES\nno\n").0, [Line::Starts]);
        assert_eq!(talk(Decide::Ask, "y\n").0, [Line::Starts], "the end of the input is a no");
    }

    #[test]
    fn without_anybody_to_ask_only_yes_takes_lines() {
        assert_eq!(talk(Decide::All, "").0, [Line::Starts, Line::Watchdog]);
        let (chosen, out) = talk(Decide::Nobody, "y\ny\n");
        assert_eq!(chosen, []);
        assert!(!out.contains("[Y/n]"), "{out}");
    }
}
