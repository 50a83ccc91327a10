//! `keepwell alerts show`: all that is known of one alert.

use std::fmt::Write;

use crate::engine::Wall;
use crate::surfaces::report::{ActReport, AlertDetail, AlertReport, PendingReport, Related, Stamp};
use crate::surfaces::visible;

use crate::cli::explain::because;
use crate::cli::table::age;
use crate::cli::terminal::Look;

/// The whole text. `now` is what ages are counted from.
pub(super) fn render(detail: &AlertDetail, now: Wall, look: Look) -> String {
    let alert = &detail.alert;
    let mut out = String::new();
    let state = match alert.resolved {
        Some(_) => "over".to_owned(),
        None => look.paint(alert.severity, alert.severity.as_str()),
    };
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(
        out,
        "{} is {state}: {} {}",
        look.bold(&visible(&alert.id)),
        visible(&alert.what()),
        visible(&alert.summary)
    );
    for (name, text) in facts(detail, now) {
        let _ = writeln!(out, "  {}  {}", look.dim(&format!("{name:<12}")), visible(&text));
    }
    section(&mut out, "What was done", alert.acts.iter().map(ActReport::line), look);
    section(&mut out, "Last log lines", alert.lines.iter().cloned(), look);
    out
}

fn section(out: &mut String, title: &str, lines: impl Iterator<Item = String>, look: Look) {
    for (i, line) in lines.enumerate() {
        if i == 0 {
            let _ = writeln!(out, "\n{}", look.bold(title));
        }
        let _ = writeln!(out, "  {}", visible(&line));
    }
}

fn facts(detail: &AlertDetail, now: Wall) -> Vec<(&'static str, String)> {
    let alert = &detail.alert;
    let ago = |at: Stamp| format!("{} ({} ago)", at.readable(), age(at, now));
    let mut facts = vec![("reason", because(&alert.reason)), ("opened", ago(alert.opened))];
    if let Some(at) = alert.resolved {
        let why = alert.ended.as_ref().map(|why| format!("; {}", because(why)));
        facts.push(("ended", ago(at) + &why.unwrap_or_default()));
        facts.push(("lasted", age(alert.opened, at.0)));
        facts.push(("severity", format!("{} before it ended", alert.severity)));
    }
    facts.push(("told", told(alert)));
    if let Some(at) = alert.last_told {
        facts.push(("last message", ago(at)));
    }
    facts.extend(to_be_told(alert).map(|text| ("to be told", text)));
    if let Some(why) = detail.quiet.as_ref().filter(|_| alert.resolved.is_none()) {
        facts.push(("waits", because(why)));
    }
    if let Some(ack) = &alert.ack {
        let until =
            ack.until.map_or("until it ends".to_owned(), |u| format!("until {}", u.readable()));
        let why = ack.why.as_ref().map(|w| format!(": {w}")).unwrap_or_default();
        let text = format!("by {} at {}, {until}{why}", ack.actor, ack.at.readable());
        facts.push(("acknowledged", text));
    }
    if let Some(s) = &alert.silenced {
        let text = format!("until {} by {} ({})", s.until.readable(), s.actor, s.id);
        facts.push(("silenced", text));
    }
    if alert.flapping {
        facts.push(("flapping", "it is over when it has been well for longer".to_owned()));
    }
    match alert.escalated {
        0 => {}
        1 => facts.push(("escalated", "once".to_owned())),
        n => facts.push(("escalated", format!("{n} times"))),
    }
    match (&detail.cause, &alert.cause) {
        (Some(cause), _) => facts.push(("cause", related(cause))),
        (None, Some(id)) => facts.push(("cause", id.clone())),
        (None, None) => {}
    }
    facts.extend(detail.dependants.iter().map(|d| ("beneath it", related(d))));
    if let Some(next) = &alert.next {
        facts.push(("next", next.clone()));
    }
    facts
}

/// What waits to be told, and to whom: `acknowledged (ops, mail), since …`.
fn to_be_told(alert: &AlertReport) -> impl Iterator<Item = String> {
    let mut kinds: Vec<(&str, Vec<&str>, Stamp)> = Vec::new();
    for PendingReport { channel, happening, since } in &alert.pending {
        match kinds.iter_mut().find(|(known, ..)| known == happening) {
            Some((_, channels, first)) => {
                channels.push(channel);
                *first = (*first).min(*since);
            }
            None => kinds.push((happening, vec![channel], *since)),
        }
    }
    kinds.into_iter().map(|(happening, channels, since)| {
        format!("{happening} ({}), since {}", channels.join(", "), since.readable())
    })
}

fn told(alert: &AlertReport) -> String {
    if !alert.told.is_empty() {
        return alert.telling().trim_start_matches("told: ").to_owned();
    }
    if !alert.refused.is_empty() {
        return format!("nobody; refused by {}", alert.refused.join(", "));
    }
    match &alert.untold {
        Some(why) => format!("nobody; {}", because(why)),
        None if alert.pending.is_empty() => "nobody".to_owned(),
        None => "nobody yet".to_owned(),
    }
}

fn related(other: &Related) -> String {
    format!("{} {} {}: {}", other.id, other.severity, other.check, other.summary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surfaces::report::Lines;
    use crate::surfaces::sample;

    const PIPE: Look = Look { colour: false, width: None };

    #[test]
    fn golden_alerts() {
        let busy = sample::busy();
        let of = |id| render(&AlertDetail::of(&busy, id, Lines::Shown).unwrap(), sample::AT, PIPE);
        insta::assert_snapshot!("alert_acknowledged", of("a12"));
        insta::assert_snapshot!("alert_beneath_its_cause", of("a13"));
        insta::assert_snapshot!("alert_silenced", of("a14"));
        insta::assert_snapshot!("alert_that_is_over", of("a9"));
    }

    #[test]
    fn what_is_to_be_told_is_said_once_for_all_channels() {
        let busy = sample::busy();
        let mut detail = AlertDetail::of(&busy, "a12", Lines::Hidden).unwrap();
        let pending = |channel: &str, happening: &str| PendingReport {
            channel: channel.into(),
            happening: happening.into(),
            since: Stamp(sample::AT),
        };
        detail.alert.pending = vec![
            pending("ops", "acknowledged"),
            pending("pager", "opened"),
            pending("mail", "acknowledged"),
        ];
        let text = render(&detail, sample::AT, PIPE);
        let lines: Vec<_> = text.lines().filter(|l| l.contains("to be told")).collect();
        assert_eq!(
            lines,
            [
                "  to be told    acknowledged (ops, mail), since 2026-01-31 07:17:22 UTC",
                "  to be told    opened (pager), since 2026-01-31 07:17:22 UTC"
            ]
        );
    }

    #[test]
    fn hostile_texts_steer_no_terminal() {
        let detail = AlertDetail::of(&sample::hostile(), "a1", Lines::Shown).unwrap();
        let text = render(&detail, sample::AT, PIPE);
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    }
}
