//! `keepwell config`: checks the configuration, shows the one in effect, prints its schema.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::config::{self, Loaded, Options, schema, show};
use crate::notify::{KINDS, hooks};
use crate::sources::probes;

/// What to do with the configuration.
#[derive(Debug, clap::Subcommand)]
pub enum ConfigCommand {
    /// Read the configuration, or FILE alone, and say everything that is wrong with it.
    #[command(after_help = "Exit code: 0 when it can be used, 3 when it cannot.\n\n\
        Examples:\n  keepwell config check\n  keepwell config check ./keepwell.toml")]
    Check {
        /// Only this file instead of the configuration of the host.
        file: Option<PathBuf>,
    },
    /// Show the configuration in effect: every value, where it comes from, no secrets.
    #[command(after_help = "Examples:\n  keepwell config show\n  \
        keepwell --config ./keepwell.toml config show")]
    Show,
    /// Print the JSON schema of the configuration, for editors.
    #[command(after_help = "Example:\n  keepwell config schema > keepwell.schema.json")]
    Schema,
}

/// The exit code for a configuration that cannot be used.
pub(super) const UNUSABLE: u8 = 3;

/// Runs the command. `explicit` is the global `--config FILE`; `check_kinds` lets the channel kinds
/// read their sections, the same that `run` does.
///
/// # Errors
/// When the output cannot be written.
pub(super) fn run(
    command: ConfigCommand,
    explicit: Option<&Path>,
    check_kinds: impl FnOnce(&mut Loaded),
) -> anyhow::Result<ExitCode> {
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    let code = match command {
        ConfigCommand::Check { file } => {
            let options = Options::from_process(file.as_deref().or(explicit)).lenient();
            check(&options, check_kinds, &mut out, &mut err)
        }
        ConfigCommand::Show => {
            let options = Options::from_process(explicit).lenient();
            shown(&options, check_kinds, &mut out, &mut err)
        }
        ConfigCommand::Schema => {
            let kinds: Vec<_> = KINDS.iter().map(|kind| (kind.name, kind.keys)).collect();
            let probes: Vec<_> = probes::KINDS.iter().map(|kind| (kind.name, kind.keys)).collect();
            let hooks: Vec<_> = hooks::KINDS.iter().map(|kind| (kind.name, kind.keys)).collect();
            let all = [("channel", kinds), ("probe", probes), ("hook", hooks)];
            writeln!(out, "{:#}", schema::json(&all)).map(|()| ExitCode::SUCCESS)
        }
    };
    // A reader that has seen enough (`| head`) is no fault.
    match code {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        code => Ok(code?),
    }
}

/// Reads and reports.
fn check(
    options: &Options,
    check_kinds: impl FnOnce(&mut Loaded),
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<ExitCode> {
    let mut loaded = config::load(options);
    check_kinds(&mut loaded);
    match loaded.finish() {
        Ok(config) => {
            if !config.warnings.found.is_empty() {
                writeln!(err, "{}\n", config.warnings)?;
            }
            let found = [
                (config.rules.units.len(), "unit", true),
                (config.rules.containers.list.len(), "container", false),
                (config.rules.heartbeats.len(), "heartbeat", true),
                (config.channels.len(), "channel", true),
                (config.hooks.len(), "hook", false),
                (config.files.len(), "file", true),
            ];
            // Not every host has containers.
            let said = found.iter().filter(|(number, _, always)| *always || *number > 0);
            let said: Vec<String> = said.map(|(number, what, _)| count(*number, what)).collect();
            writeln!(out, "OK: {}", said.join(", "))?;
            let sent = config.telemetry.to_string();
            if !sent.is_empty() {
                writeln!(out, "Sends {sent}")?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(found) => unusable(&found, err),
    }
}

fn shown(
    options: &Options,
    check_kinds: impl FnOnce(&mut Loaded),
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<ExitCode> {
    let mut loaded = config::load(options);
    check_kinds(&mut loaded);
    let text = show::text(&loaded);
    match loaded.finish() {
        Ok(_) => out.write_all(text.as_bytes()).map(|()| ExitCode::SUCCESS),
        Err(found) => unusable(&found, err),
    }
}

fn unusable(found: &config::Diagnostics, err: &mut impl Write) -> io::Result<ExitCode> {
    let errors = found.found.iter().filter(|d| !d.warning).count() + found.more;
    writeln!(err, "{found}\n\n{} in the configuration", count(errors, "error"))?;
    Ok(ExitCode::from(UNUSABLE))
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;

    fn run_on(text: &str, command: fn(&Options, &mut Vec<u8>, &mut Vec<u8>)) -> (String, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k.toml");
        std::fs::write(&path, text).unwrap();
        let environment = Environment::default();
        let options = Options::new(Some(&path), environment, true, "host".into()).lenient();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        command(&options, &mut out, &mut err);
        (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn check_counts_what_it_found() {
        let text = "[[unit]]\nname = \"a\"\n[[unit]]\nname = \"b\"\n";
        let (out, err) = run_on(text, |options, out, err| {
            assert_eq!(check(options, |_| {}, out, err).unwrap(), ExitCode::SUCCESS);
        });
        assert_eq!(out, "OK: 2 units, 0 heartbeats, 0 channels, 1 file\n");
        assert_eq!(err, "");
        let text = "[[container]]\nname = \"web\"\n[[hook]]\nname = \"h\"\ntype = \"billing\"\n\
                    url = \"http://x\"\n";
        let (out, _) = run_on(text, |options, out, err| {
            assert_eq!(check(options, |_| {}, out, err).unwrap(), ExitCode::SUCCESS);
        });
        assert_eq!(out, "OK: 0 units, 1 container, 0 heartbeats, 0 channels, 1 hook, 1 file\n");
    }

    #[test]
    fn check_says_everything_that_is_wrong() {
        let (out, err) = run_on("[agent]\ninterval = 3\nhostnam = \"x\"\n", |options, out, err| {
            assert_eq!(check(options, |_| {}, out, err).unwrap(), ExitCode::from(3));
        });
        assert_eq!(out, "");
        assert!(err.contains("k.toml:2:12: `agent.interval` must be a duration"), "{err}");
        assert!(err.contains("did you mean `hostname`?"), "{err}");
        assert!(err.ends_with("\n\n2 errors in the configuration\n"), "{err}");
    }

    #[test]
    fn show_hides_secrets_and_says_where_values_come_from() {
        let text = "[agent]\ninterval = \"10s\"\n[http]\ntoken = \"hunter2\"\n[[channel]]\n\
                    name = \"ops\"\ntype = \"webhook\"\nurl = \"https://x/hunter2\"\n";
        let (out, err) = run_on(text, |options, out, err| {
            assert_eq!(shown(options, |_| {}, out, err).unwrap(), ExitCode::SUCCESS);
        });
        assert_eq!(err, "");
        assert!(!out.contains("hunter2"), "{out}");
        assert!(out.contains("interval = \"10s\""), "{out}");
        assert!(out.contains("k.toml:2\n") && out.contains("# default\n"), "{out}");
        assert!(out.contains("url = \"[secret]\""), "{out}");
    }
}
