//! Writes the manual pages (`man1/`) and the completions of bash, zsh and fish, all from the
//! command line's own definition, into a folder: `scripts/package` puts them into the packages.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

fn main() -> anyhow::Result<ExitCode> {
    let Some(out) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: manual FOLDER");
        return Ok(ExitCode::from(64));
    };
    let man = out.join("man1");
    // Pages of commands that are no more must not stay.
    let _ = fs::remove_dir_all(&man);
    fs::create_dir_all(&man).with_context(|| format!("{}", man.display()))?;
    let mut command = keepwell::cli::command().disable_help_subcommand(true);
    let mut built = command.clone();
    built.build();
    page(&built, "keepwell", &man)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, "keepwell", &out)
            .with_context(|| format!("completions of {shell}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The page of a command and of all below it. What stands after the help becomes sections of its
/// own, examples as they are typed.
fn page(command: &clap::Command, name: &str, dir: &Path) -> anyhow::Result<()> {
    let man = Man::new(command.clone());
    // Without a date, which its own title cannot do: the same sources make the same page.
    let version = env!("CARGO_PKG_VERSION");
    let mut text = Vec::new();
    writeln!(text, ".TH {} 1 \"\" \"keepwell {version}\" keepwell", name.to_uppercase())?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let mut roff = Roff::new();
    for part in after.split("\n\n").filter(|part| !part.is_empty()) {
        if let Some(examples) = part.strip_prefix("Examples:\n") {
            roff.control("SH", ["EXAMPLES"]).control("nf", []);
            roff.text(
                examples
                    .lines()
                    .map(|line| roman(format!("{}\n", line.trim_start())))
                    .collect::<Vec<_>>(),
            );
            roff.control("fi", []);
        } else if let Some(codes) = part.strip_prefix("Exit codes: ") {
            roff.control("SH", ["EXIT STATUS"]).text([roman(codes)]);
        } else {
            roff.control("SH", ["NOTES"]).text([roman(part)]);
        }
    }
    roff.to_writer(&mut text)?;
    let path = dir.join(format!("{name}.1"));
    fs::write(&path, text).with_context(|| format!("{}", path.display()))?;
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        page(below, &format!("{name}-{}", below.get_name()), dir)?;
    }
    Ok(())
}
