//! The tables of alerts and of silences.

use std::fmt::Write;

use crate::engine::{Severity, Wall};
use crate::surfaces::report::{AlertList, AlertReport, MaintenanceReport, SilenceList, meaning};
use crate::surfaces::visible;

use crate::cli::columns::{Columns, Row};
use crate::cli::table::age;
use crate::cli::terminal::Look;

/// The table of `keepwell alerts`. `now` is what ages are counted from.
pub(super) fn alerts(list: &AlertList, now: Wall, look: Look) -> String {
    if list.alerts.is_empty() {
        return "No alert is open.\n".to_owned();
    }
    let mut out = String::new();
    let rows: Vec<Row> = list.alerts.iter().map(|a| row(a, now)).collect();
    let titles = &["ID", "STATE", "CHECK", "FOR", "WHAT"];
    Columns { titles, painted: 1, gives_way: 2 }.draw(&mut out, &rows, look);
    out
}

fn row(alert: &AlertReport, now: Wall) -> Row {
    let (state, severity, until) = match alert.resolved {
        Some(at) => ("over", Severity::Healthy, at.0),
        None => (alert.severity.as_str(), alert.severity, now),
    };
    let mut what = vec![alert.summary.clone()];
    what.extend(alert.marks());
    what.push(alert.telling());
    let cells = [&alert.id, state, &alert.what(), &age(alert.opened, until), &what.join("; ")];
    Row { cells: cells.map(|c| visible(c).into_owned()).to_vec(), severity }
}

/// The table of `keepwell alerts silences`, and what else keeps messages back.
pub(super) fn silences(list: &SilenceList, look: Look) -> String {
    let mut out = String::new();
    if list.silences.is_empty() {
        out.push_str("Nothing is silenced.\n");
    } else {
        let rows = list.silences.iter().map(|s| {
            let why = s.why.as_deref().unwrap_or_default();
            let cells = [&*s.id, &s.of, &s.until.readable(), &s.actor, why];
            let cells = cells.map(|c| visible(c).into_owned()).to_vec();
            Row { cells, severity: Severity::Unknown }
        });
        let titles = &["ID", "OF", "UNTIL", "BY", "WHY"];
        let rows: Vec<Row> = rows.collect();
        Columns { titles, painted: 0, gives_way: 1 }.draw(&mut out, &rows, look);
    }
    // Writing to a string cannot fail.
    for window in list.maintenance.iter().map(MaintenanceReport::line) {
        let _ = writeln!(out, "Maintenance: {}", visible(&window));
    }
    if let Some(why) = &list.quiet {
        let _ = writeln!(out, "Messages wait: {}", visible(meaning(why).unwrap_or(why)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Snapshot;
    use crate::surfaces::report::{Lines, SilenceReport, Stamp};
    use crate::surfaces::sample;

    const PIPE: Look = Look { colour: false, width: None };

    fn all(snapshot: &Snapshot) -> AlertList {
        let both = snapshot.alerts.iter().chain(&snapshot.recent);
        AlertList {
            timestamp: Stamp(snapshot.at),
            alerts: both.map(|a| AlertReport::of(a, snapshot, Lines::Hidden)).collect(),
        }
    }

    #[test]
    fn golden_tables_of_alerts() {
        let list = all(&sample::busy());
        insta::assert_snapshot!("alerts", alerts(&list, sample::AT, PIPE));
        let narrow = Look { colour: false, width: Some(80) };
        insta::assert_snapshot!("alerts_narrow", alerts(&list, sample::AT, narrow));
        assert_eq!(alerts(&all(&sample::healthy()), sample::AT, PIPE), "No alert is open.\n");
    }

    #[test]
    fn golden_table_of_silences() {
        let snapshot = sample::busy();
        let list = SilenceList {
            timestamp: Stamp(snapshot.at),
            silences: snapshot.silences.iter().map(SilenceReport::from).collect(),
            maintenance: MaintenanceReport::all(&snapshot),
            quiet: snapshot.quiet.map(|r| r.as_str().to_owned()),
        };
        insta::assert_snapshot!("silences", silences(&list, PIPE));
        let none =
            SilenceList { silences: Vec::new(), maintenance: Vec::new(), quiet: None, ..list };
        assert_eq!(silences(&none, PIPE), "Nothing is silenced.\n");
    }

    #[test]
    fn hostile_texts_steer_no_terminal() {
        let text = alerts(&all(&sample::hostile()), sample::AT, PIPE);
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        assert!(text.contains("\\u{1b}[2J"), "{text}");
    }
}
