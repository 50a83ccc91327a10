//! Where the log goes: to the journal, with fields, when systemd started us; else to standard
//! error, readable. No log files: rotation is the journal's.
//!
//! A field `check` becomes `KEEPWELL_CHECK`, `reason` `KEEPWELL_REASON`, and so on:
//! `journalctl -t keepwell KEEPWELL_REASON=restart-done`.

use std::io::IsTerminal;

use tracing::Level;
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use super::terminal::colours_wanted;

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// What was asked for cannot be read.
    #[error(
        "{from} '{text}' is not a log level: use error, warn, info, debug or trace, or PART=LEVEL such as info,keepwell::sources=debug"
    )]
    Filter {
        /// Where it stands: `--log-level`, `KEEPWELL_LOG`.
        from: &'static str,
        /// What it says.
        text: String,
    },
    /// Something else logs already.
    #[error("the log is set up twice: {0}")]
    Twice(#[from] TryInitError),
}

/// Sets the log up for the whole process, once. The level is the flag's, else `KEEPWELL_LOG`'s,
/// else `RUST_LOG`'s, else info for the daemon and warn for a command.
///
/// # Errors
/// When the level cannot be read, or this is called twice.
pub fn init(flag: Option<&str>, daemon: bool, no_color: bool) -> Result<(), LoggingError> {
    let asked = [
        ("--log-level", flag.map(str::to_owned)),
        ("KEEPWELL_LOG", std::env::var("KEEPWELL_LOG").ok()),
        ("RUST_LOG", std::env::var("RUST_LOG").ok()),
    ];
    let filter = quieter(filter(asked, daemon)?);
    let registry = tracing_subscriber::registry().with(filter);
    if stderr_is_the_journal()
        && let Ok(journal) = tracing_journald::layer()
    {
        let mappings = PriorityMappings {
            error: Priority::Error,
            warn: Priority::Warning,
            info: Priority::Informational,
            debug: Priority::Debug,
            trace: Priority::Debug,
        };
        let journal = journal
            .with_field_prefix(Some("KEEPWELL".to_owned()))
            .with_priority_mappings(mappings)
            .with_syslog_identifier("keepwell".to_owned());
        return Ok(registry.with(journal).try_init()?);
    }
    let terminal = std::io::stderr().is_terminal();
    let text = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(terminal && colours_wanted(no_color))
        .with_target(false);
    Ok(registry.with(text).try_init()?)
}

fn filter(
    asked: [(&'static str, Option<String>); 3],
    daemon: bool,
) -> Result<Targets, LoggingError> {
    for (from, text) in asked {
        if let Some(text) = text.filter(|t| !t.trim().is_empty()) {
            // A word that is no level would be taken for a part's name, and silence all else.
            let words = text.split(',').all(|w| w.contains('=') || is_level(w.trim()));
            return words
                .then(|| text.parse().ok())
                .flatten()
                .ok_or(LoggingError::Filter { from, text });
        }
    }
    Ok(Targets::new().with_default(if daemon { Level::INFO } else { Level::WARN }))
}

/// What the libraries of OpenTelemetry say of their own inside at `info` is nobody's news, unless
/// they are asked for by name.
fn quieter(filter: Targets) -> Targets {
    const THEIRS: &str = "opentelemetry";
    let named = filter.iter().any(|(target, _)| target.starts_with(THEIRS));
    if named || !filter.would_enable(THEIRS, &Level::INFO) {
        return filter;
    }
    filter.with_target(THEIRS, Level::WARN)
}

fn is_level(word: &str) -> bool {
    ["off", "error", "warn", "info", "debug", "trace"].iter().any(|l| l.eq_ignore_ascii_case(word))
}

/// systemd tells in `JOURNAL_STREAM` which file the journal is (device and inode). When standard
/// error is that very file, nobody has redirected it.
pub(super) fn stderr_is_the_journal() -> bool {
    let Ok(told) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(stderr) = rustix::fs::fstat(std::io::stderr()) else { return false };
    told == format!("{}:{}", stderr.st_dev, stderr.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(flag: Option<&str>, env: Option<&str>) -> Result<String, String> {
        let asked = [
            ("--log-level", flag.map(str::to_owned)),
            ("KEEPWELL_LOG", env.map(str::to_owned)),
            ("RUST_LOG", None),
        ];
        filter(asked, true).map(|f| f.to_string()).map_err(|e| e.to_string())
    }

    #[test]
    fn the_flag_wins_over_the_environment() {
        assert_eq!(asked(Some("debug"), Some("warn")).as_deref(), Ok("debug"));
        assert_eq!(asked(None, Some("warn")).as_deref(), Ok("warn"));
        assert_eq!(asked(None, Some("")).as_deref(), Ok("info"));
        let parts = asked(Some("info,keepwell::sources=debug"), None).unwrap();
        assert!(parts.contains("keepwell::sources=debug") && parts.contains("info"), "{parts}");
    }

    #[test]
    fn libraries_of_telemetry_are_quiet_unless_named() {
        let enabled = |text: &str, level| {
            let targets: Targets = text.parse().unwrap();
            quieter(targets).would_enable("opentelemetry_sdk", &level)
        };
        for text in ["info", "debug", "info,keepwell=trace"] {
            assert!(!enabled(text, Level::INFO) && enabled(text, Level::WARN), "{text}");
        }
        assert!(enabled("info,opentelemetry_sdk=debug", Level::DEBUG));
        assert!(!enabled("error", Level::WARN));
        let ours = quieter("info".parse().unwrap());
        assert!(ours.would_enable("keepwell::app", &Level::INFO));
    }

    #[test]
    fn a_level_that_is_none_is_refused() {
        for wrong in ["loud", "info,loud", "keepwell=loud"] {
            let error = asked(Some(wrong), None).unwrap_err();
            assert!(
                error.starts_with(&format!("--log-level '{wrong}' is not a log level")),
                "{error}"
            );
        }
    }
}
