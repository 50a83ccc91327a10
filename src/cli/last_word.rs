//! `keepwell last-word`: what `keepwell-failed.service` runs.

use std::process::ExitCode;

use crate::app::last_word::{Heard, Said, code};

use super::{Global, Hooks, logging, terminal};

/// systemd's priorities (`sd-daemon(3)`): nobody heard it, keepwell has failed, and all else.
const EMERGENCY: u8 = 0;
const CRITICAL: u8 = 2;
const INFO: u8 = 6;

pub(super) fn last_word(global: &Global, hooks: &Hooks) -> anyhow::Result<ExitCode> {
    let said = (hooks.last_word)(global.config.clone())?;
    let in_journal = logging::stderr_is_the_journal();
    for (priority, text) in report(&said) {
        let prefix = if in_journal { format!("<{priority}>") } else { String::new() };
        terminal::complain_as(&prefix, &text);
    }
    Ok(code(&said))
}

/// What the journal is told, each line with its priority.
fn report(said: &Said) -> Vec<(u8, String)> {
    let tried = match &said.heard {
        Heard::Tried(tried) => tried,
        Heard::Well => return vec![(INFO, said.text.clone())],
        Heard::Before(why) => {
            return vec![(CRITICAL, format!("{} (nobody is told again: {why})", said.text))];
        }
    };
    let heard = tried.iter().any(|(_, sent)| sent.is_ok());
    let mut lines = if heard {
        vec![(CRITICAL, said.text.clone())]
    } else {
        let why = if tried.is_empty() { "no channel is known" } else { "no channel took it" };
        vec![(EMERGENCY, format!("{} (nobody could be told: {why})", said.text))]
    };
    for (channel, sent) in tried {
        lines.push(match sent {
            Ok(answer) => (INFO, format!("told channel {channel}: {answer}")),
            Err(error) => (CRITICAL, format!("channel {channel} was not told: {error}")),
        });
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_heard_is_an_emergency() {
        let of = |heard| report(&Said { text: "it is down".into(), heard });
        let heard = of(Heard::Tried(vec![
            ("ops".into(), Ok("200 OK".into())),
            ("pager".into(), Err("no route".into())),
        ]));
        assert_eq!(
            heard,
            [
                (2, "it is down".into()),
                (6, "told channel ops: 200 OK".into()),
                (2, "channel pager was not told: no route".into()),
            ]
        );
        let none = of(Heard::Tried(Vec::new()));
        assert_eq!(none, [(0, "it is down (nobody could be told: no channel is known)".into())]);
        assert_eq!(of(Heard::Tried(vec![("ops".into(), Err("x".into()))]))[0].0, 0);
        assert_eq!(of(Heard::Before("it was told".into()))[0].0, 2);
    }
}
