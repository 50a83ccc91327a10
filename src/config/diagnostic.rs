//! One thing that is wrong with a configuration, and how it is shown: `path:line:column: message`,
//! the line with a mark under the place, and what to do about it.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// An environment variable.
    Environment(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment: {name}"),
        }
    }
}

/// A line of a file, secrets removed, and the part of it that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snippet {
    /// The line, fit for a terminal.
    pub text: String,
    /// Where the mark starts, in characters of `text`.
    pub start: usize,
    /// How long the mark is, at least 1.
    pub length: usize,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Only worth a warning: the configuration is used all the same.
    pub warning: bool,
    /// Where the value came from.
    pub origin: Origin,
    /// Line and column, counted from 1; none for a whole file and for the environment.
    pub position: Option<(usize, usize)>,
    /// What is wrong.
    pub message: String,
    /// The line it is about.
    pub snippet: Option<Snippet>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// Says what to do about it.
    pub fn hint(&mut self, text: impl Into<String>) {
        self.hint = Some(text.into());
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.origin)?;
        if let Some((line, column)) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        let grade = if self.warning { "warning: " } else { "" };
        write!(f, ": {grade}{}", self.message)?;
        if let (Some(snippet), Some((line, _))) = (&self.snippet, self.position) {
            let width = line.to_string().len();
            let mark = "^".repeat(snippet.length.max(1));
            write!(f, "\n{line} | {}", snippet.text)?;
            write!(f, "\n{:width$} | {:start$}{mark}", "", "", start = snippet.start)?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// Everything that is wrong, in the order of files and lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics {
    /// At most a hundred.
    pub found: Vec<Diagnostic>,
    /// How many more there are that are not told.
    pub more: usize,
}

impl Diagnostics {
    /// Whether any of it is more than a warning.
    pub fn has_errors(&self) -> bool {
        self.more > 0 || self.found.iter().any(|d| !d.warning)
    }
}

impl fmt::Display for Diagnostics {
    /// One after the other, a line apart, without a newline at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, diagnostic) in self.found.iter().enumerate() {
            write!(f, "{}{diagnostic}", if n > 0 { "\n\n" } else { "" })?;
        }
        if self.more > 0 {
            write!(f, "\n\nand {} more", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_shows_place_line_mark_and_hint() {
        let mut one = Diagnostic {
            warning: false,
            origin: Origin::File("/etc/keepwell/keepwell.toml".into()),
            position: Some((12, 3)),
            message: "unknown key `restat` in [[unit]]".into(),
            snippet: Some(Snippet { text: "  restat = true".into(), start: 2, length: 6 }),
            hint: None,
        };
        one.hint("did you mean `restart`?");
        assert_eq!(
            one.to_string(),
            "/etc/keepwell/keepwell.toml:12:3: unknown key `restat` in [[unit]]\n\
             12 |   restat = true\n\
             \x20  |   ^^^^^^\n\
             \x20 hint: did you mean `restart`?"
        );
    }

    #[test]
    fn the_environment_has_no_line() {
        let one = Diagnostic {
            warning: true,
            origin: Origin::Environment("MONITOR_INTERVAL"),
            position: None,
            message: "is odd".into(),
            snippet: None,
            hint: None,
        };
        assert_eq!(one.to_string(), "environment: MONITOR_INTERVAL: warning: is odd");
    }
}
