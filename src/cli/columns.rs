//! Rows in columns that fit the terminal: one column gives way, the last takes what is left.

use std::fmt::Write;

use crate::engine::Severity;

use super::terminal::{Look, fit};

/// The column that gives way takes at most so many characters while the terminal is narrow.
const NARROW: usize = 36;

/// A line. Its cells are safe to show.
pub(super) struct Row {
    /// One for each title.
    pub(super) cells: Vec<String>,
    /// The colour of the painted column.
    pub(super) severity: Severity,
}

/// How the columns are drawn.
pub(super) struct Columns<'a> {
    /// Above each column.
    pub(super) titles: &'a [&'a str],
    /// The one that is painted.
    pub(super) painted: usize,
    /// The one that gives way.
    pub(super) gives_way: usize,
}

impl Columns<'_> {
    /// Draws titles and rows.
    pub(super) fn draw(&self, out: &mut String, rows: &[Row], look: Look) {
        let last = self.titles.len() - 1;
        let mut widths: Vec<usize> = self
            .titles
            .iter()
            .enumerate()
            .map(|(i, title)| {
                let cells = rows.iter().map(|r| r.cells[i].chars().count());
                cells.max().unwrap_or(0).max(title.len())
            })
            .collect();
        widths[last] = usize::MAX;
        if let Some(width) = look.width {
            let others: usize =
                (0..last).filter(|i| *i != self.gives_way).map(|i| widths[i] + 2).sum();
            let rest = width.saturating_sub(others + 2);
            let wide = &mut widths[self.gives_way];
            if *wide + 20 > rest {
                *wide = (*wide).min(NARROW.min(rest / 2).max(8));
            }
            widths[last] = rest.saturating_sub(widths[self.gives_way]).max(10);
        }
        let titles: Vec<String> = self.titles.iter().map(|t| (*t).to_owned()).collect();
        let head = self.line(&titles, &widths, |_, text| text);
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{}", look.dim(&head));
        for row in rows {
            let paint = |i, text: String| {
                if i == self.painted { look.paint(row.severity, &text) } else { text }
            };
            let _ = writeln!(out, "{}", self.line(&row.cells, &widths, paint));
        }
    }

    fn line(
        &self,
        cells: &[String],
        widths: &[usize],
        paint: impl Fn(usize, String) -> String,
    ) -> String {
        let last = cells.len() - 1;
        let cells = cells.iter().zip(widths).enumerate().map(|(i, (cell, width))| {
            let cell = fit(cell, *width);
            paint(i, if i == last { cell } else { format!("{cell:width$}") })
        });
        cells.collect::<Vec<_>>().join("  ")
    }
}
