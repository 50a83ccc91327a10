//! What every reader of a section needs at hand: the texts for the snippets, the environment for
//! secrets, and the list that errors and warnings are added to.

use std::path::PathBuf;

use super::diagnostic::{Diagnostic, Diagnostics, Origin};
use super::environment::Environment;
use super::snippet::{self, Lines};

/// More errors than this help nobody.
const MOST: usize = 100;

/// Where a key or value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    source: usize,
    start: usize,
    end: usize,
}

impl Place {
    pub(super) fn new(source: usize, span: std::ops::Range<usize>) -> Self {
        Self { source, start: span.start, end: span.end }
    }
}

/// One file, or one environment variable.
struct Source {
    origin: Origin,
    text: Option<(String, Lines)>,
    world_readable: bool,
    /// A variable that is set for other programs as well.
    shared: bool,
}

/// Collects what is wrong.
pub struct Sink {
    sources: Vec<Source>,
    found: Vec<(Place, Diagnostic)>,
    /// How many there were beyond [`MOST`], and the last of them, which is not shown.
    more: usize,
    beyond: Option<Diagnostic>,
    environment: Environment,
    lenient: bool,
    /// A shared variable says that something is not to be sent.
    turned_off: bool,
    /// Shared variables that were not understood.
    left_out: Vec<Place>,
    /// Every key that a reader asked for: lets a test compare the readers with the table of keys.
    #[cfg(test)]
    pub(super) asked: std::collections::BTreeSet<String>,
}

impl std::fmt::Debug for Sink {
    /// The texts stay out: they may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sink").field("found", &self.found).finish_non_exhaustive()
    }
}

impl Sink {
    pub(super) fn new(environment: Environment, lenient: bool) -> Self {
        Self {
            sources: Vec::new(),
            found: Vec::new(),
            more: 0,
            beyond: None,
            environment,
            lenient,
            turned_off: false,
            left_out: Vec::new(),
            #[cfg(test)]
            asked: Default::default(),
        }
    }

    pub(super) fn add_file(&mut self, path: PathBuf, text: String, world_readable: bool) -> usize {
        let origin = Origin::File(path);
        let lines = Lines::of(&text);
        self.sources.push(Source {
            origin,
            text: Some((text, lines)),
            world_readable,
            shared: false,
        });
        self.sources.len() - 1
    }

    /// The place of an environment variable.
    pub(super) fn add_variable(&mut self, name: &'static str) -> Place {
        self.add_source(Origin::Environment(name), false)
    }

    /// The place of a variable that is set for other programs as well. What is wrong with it is a
    /// warning and it counts as not set: what a fleet is told must not stop keepwell.
    pub(super) fn add_shared_variable(&mut self, name: &'static str) -> Place {
        self.add_source(Origin::Environment(name), true)
    }

    fn add_source(&mut self, origin: Origin, shared: bool) -> Place {
        self.sources.push(Source { origin, text: None, world_readable: false, shared });
        Place::new(self.sources.len() - 1, 0..0)
    }

    /// Whether a variable that is set for other programs as well stands there.
    pub(crate) fn is_shared(&self, at: Place) -> bool {
        self.sources[at.source].shared
    }

    /// Remembers that a shared variable says that something is not to be sent.
    pub(super) fn turn_off(&mut self) {
        self.turned_off = true;
    }

    /// Whether what stands there counts as not set.
    pub(super) fn is_left_out(&self, at: Place) -> bool {
        self.left_out.contains(&at)
    }

    /// Whether a shared variable took something away: it was not understood, or says that nothing
    /// is to be sent. What is then missing is worth a warning only.
    pub(crate) fn has_left_out(&self) -> bool {
        self.turned_off || !self.left_out.is_empty()
    }

    /// Reports an error at a place; a hint can be added to what it returns.
    pub fn error(&mut self, at: Place, message: impl Into<String>) -> &mut Diagnostic {
        self.add(at, message.into(), false, false)
    }

    /// Reports something that is odd and does no harm to the rest.
    pub fn warning(&mut self, at: Place, message: impl Into<String>) -> &mut Diagnostic {
        self.add(at, message.into(), true, false)
    }

    /// As [`Self::error`], for a key nobody knows: what it holds may be a secret.
    pub(super) fn error_of_key(&mut self, at: Place, message: String) -> &mut Diagnostic {
        self.add(at, message, false, true)
    }

    /// An error of a whole file that could not be read as text.
    pub(super) fn error_of_file(&mut self, path: PathBuf, message: String) -> &mut Diagnostic {
        let at = self.add_source(Origin::File(path), false);
        self.add(at, message, false, false)
    }

    fn add(
        &mut self,
        at: Place,
        mut message: String,
        mut warning: bool,
        hide: bool,
    ) -> &mut Diagnostic {
        if !warning && self.is_shared(at) {
            message.push_str("; the variable is left out");
            warning = true;
            self.left_out.push(at);
        }
        // Of what all channels share, each may find the same fault.
        let same = |(place, d): &(Place, Diagnostic)| *place == at && d.message == message;
        if let Some(n) = self.found.iter().position(same) {
            return &mut self.found[n].1;
        }
        let source = &self.sources[at.source];
        let full = self.found.len() >= MOST;
        let text = source.text.as_ref().filter(|_| !full);
        let diagnostic = Diagnostic {
            warning,
            origin: source.origin.clone(),
            position: text.map(|(text, lines)| lines.position(text, at.start)),
            message,
            snippet: text.map(|(text, _)| snippet::cut(text, at.start, at.end, hide)),
            hint: None,
        };
        if full {
            self.more += 1;
            return self.beyond.insert(diagnostic);
        }
        let n = self.found.len();
        self.found.push((at, diagnostic));
        &mut self.found[n].1
    }

    /// A place in words: `/etc/keepwell/keepwell.toml:3` or the name of the variable.
    pub fn describe(&self, at: Place) -> String {
        let source = &self.sources[at.source];
        match (&source.origin, &source.text) {
            (Origin::File(path), Some((text, lines))) => {
                format!("{}:{}", path.display(), lines.position(text, at.start).0)
            }
            (Origin::File(path), None) => path.display().to_string(),
            (Origin::Environment(name), _) => format!("${name}"),
        }
    }

    /// Whether every user of the host can read what stands there.
    fn world_readable(&self, at: Place) -> bool {
        self.sources[at.source].world_readable
    }

    /// Warns when every user of the host can read a secret that stands there; the hint adds what
    /// else can be done than to close the file (`, or …`).
    pub(crate) fn guard_secret(&mut self, at: Place, name: &str, or: &str) {
        if self.world_readable(at) {
            let message = format!("`{name}` is a secret in a file that every user can read");
            self.warning(at, message).hint(format!("chmod 640 the file{or}"));
        }
    }

    /// The environment the configuration is read in.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Whether a secret that only the service can see may be missing (`config check` in a shell).
    pub fn lenient(&self) -> bool {
        self.lenient
    }

    /// Whether anything is wrong so far.
    pub fn has_errors(&self) -> bool {
        self.more > 0 || self.found.iter().any(|(_, d)| !d.warning)
    }

    pub(super) fn into_found(mut self) -> Diagnostics {
        self.found.sort_by_key(|(at, _)| (at.source, at.start));
        let found = self.found.into_iter().map(|(_, d)| d).collect();
        Diagnostics { found, more: self.more }
    }
}
