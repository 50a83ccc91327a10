//! The terminal: its width, whether it takes colours, and writing to it.

use std::io::{self, IsTerminal, Write};

use crate::engine::Severity;

/// How to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// Use colours.
    pub(super) colour: bool,
    /// Columns to fit into; `None` for a file or a pipe, where lines may be as long as they are.
    pub(super) width: Option<usize>,
}

impl Look {
    /// Of standard output.
    pub(super) fn of_stdout(no_color: bool) -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let size = terminal.then(|| rustix::termios::tcgetwinsize(&stdout).ok()).flatten();
        Self {
            colour: terminal && colours_wanted(no_color),
            width: size.map(|s| usize::from(s.ws_col)).filter(|w| *w > 0),
        }
    }

    /// The text in the colour of a severity.
    pub(super) fn paint(self, severity: Severity, text: &str) -> String {
        let code = match severity {
            Severity::Healthy => "32",
            Severity::Unknown => "35",
            Severity::Warning => "33",
            Severity::Critical => "1;31",
        };
        self.coded(code, text)
    }

    /// The text, dim.
    pub(super) fn dim(self, text: &str) -> String {
        self.coded("2", text)
    }

    /// The text, bold.
    pub(super) fn bold(self, text: &str) -> String {
        self.coded("1", text)
    }

    fn coded(self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Neither the flag nor NO_COLOR (<https://no-color.org>) nor a dumb terminal speaks against it.
pub(super) fn colours_wanted(no_color: bool) -> bool {
    let no_env = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    !no_color && no_env && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
}

/// The text in at most so many columns, counted as characters; what does not fit ends in `…`.
pub(super) fn fit(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    text.chars().take(columns.saturating_sub(1)).chain(['…']).collect()
}

/// Writes to standard output. Nobody reading any more (`| head`) is no error.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Writes one line to standard error.
pub(super) fn complain(text: &str) {
    complain_as("", &format!("keepwell: {text}"));
}

/// Writes one line to standard error, with the priority that the journal is to give it (`<2>`).
pub(super) fn complain_as(priority: &str, text: &str) {
    // There is nowhere left to say that standard error cannot be written.
    let _ = writeln!(io::stderr().lock(), "{priority}{text}");
}
