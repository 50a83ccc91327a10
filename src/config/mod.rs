//! What the user configured: TOML files, drop-ins, the environment and credentials, read into the
//! engine's rules and the settings of the other rooms; every error of every file at once.
//!
//! The way through: [`files`] finds and reads, [`tree`] parses and merges with every value's place
//! kept, [`environment`] adds its variables as one more document, [`settings`] turns sections into
//! typed values by way of [`section::Reader`], and everything that is wrong lands in the [`Sink`].
//! [`keys`] is the one table of what can be written; schema, `config show` and the tests of the
//! documentation come from it. What a channel kind's own keys mean is not known here: the kind
//! reads its [`Section`] itself.

pub mod diagnostic;
pub mod environment;
pub mod files;
pub mod keys;
pub mod paths;
mod read;
pub mod schema;
pub mod secret;
pub mod section;
pub mod settings;
pub mod show;
pub mod sink;
mod snippet;
#[cfg(test)]
mod tests;
pub mod tree;
pub mod values;

use crate::engine::rules::UnitRule;

pub use diagnostic::{Diagnostic, Diagnostics, Origin};
pub use environment::Environment;
pub use files::{Input, Options};
pub use keys::{Key, Kind as KeyKind};
pub use paths::{Paths, PathsError};
pub use secret::Secret;
pub use section::{Reader, Section};
pub use settings::{
    Agent, Azure, ChannelSection, Cloud, Config, Containers, EngineAddress, HookSection,
    HostFilters, Http, Identity, Journal, Otlp, Outbound, ProbeSection, Proxy, Signal, Store,
    Telemetry, Temporality,
};
pub use sink::Sink;

/// A configuration that has been read, and what was wrong with it so far. `app::plan` lets the
/// channel kinds read their sections, which may add to `sink`; then [`Loaded::finish`].
#[derive(Debug)]
pub struct Loaded {
    /// What was read; where something was wrong, the default stands in its place.
    pub config: Config,
    /// Where errors and warnings go.
    pub sink: Sink,
    /// What the files and the environment said, merged: for `config show`.
    pub document: tree::Table,
}

impl Loaded {
    /// The configuration, with its warnings, if nothing was wrong with it.
    ///
    /// # Errors
    /// Everything that was wrong, in the order of files and lines, warnings included.
    pub fn finish(mut self) -> Result<Config, Diagnostics> {
        let found = self.sink.into_found();
        if found.has_errors() {
            return Err(found);
        }
        self.config.warnings = found;
        Ok(self.config)
    }
}

/// Finds and reads the configuration. Never fails: what is wrong is in [`Loaded::sink`].
pub fn load(options: &Options) -> Loaded {
    load_from(files::find(options), options)
}

/// Reads a configuration from files that are in memory already, in the order of their weight.
pub fn load_from(inputs: Vec<Input>, options: &Options) -> Loaded {
    let mut sink = Sink::new(options.environment.clone(), options.lenient);
    let mut document = tree::Table::new();
    let mut names = Vec::new();
    for input in inputs {
        names.push(input.path.clone());
        if let Some(table) = tree::parse(input, options.salvage, &mut sink) {
            tree::merge(&mut document, table, keys::ROOT);
        }
    }
    environment::merge_into(&mut document, &mut sink);
    let mut config = read::config(&document, options, &mut sink);
    config.files = names;
    Loaded { config, sink, document }
}

/// What files that are in memory, in the order of their weight, say of units, and nothing else of
/// them: no secret is looked for, and the environment has no say.
///
/// # Errors
/// Everything that is wrong with the files as TOML, with their sections' names, or with what they
/// say of units.
pub fn units(inputs: Vec<Input>) -> Result<Vec<UnitRule>, Diagnostics> {
    let mut sink = Sink::new(Environment::default(), true);
    let mut document = tree::Table::new();
    for input in inputs {
        if let Some(table) = tree::parse(input, false, &mut sink) {
            tree::merge(&mut document, table, keys::ROOT);
        }
    }
    let units = read::units_alone(&document, &mut sink);
    let found = sink.into_found();
    if found.has_errors() { Err(found) } else { Ok(units) }
}
