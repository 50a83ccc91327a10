//! What the bench prints: Markdown tables, the conditions of the measurement, quantiles.

use std::fs;
use std::io::Write as _;
use std::process::Command;

use super::Settings;
use super::support::keepwell::built;

/// To standard output: the report.
pub(crate) fn say(text: &str) {
    // Nobody reads any more: the exit code still tells.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// To standard error: what is going on.
pub(crate) fn progress(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A row of a table.
pub(crate) fn row<S: AsRef<str>>(cells: &[S]) {
    let cells: Vec<&str> = cells.iter().map(AsRef::as_ref).collect();
    say(&format!("| {} |", cells.join(" | ")));
}

/// The head of a table.
pub(crate) fn table(cells: &[&str]) {
    row(cells);
    say(&format!("|{}", "---|".repeat(cells.len())));
}

/// The value below which this part (0 to 1) of the sorted values lies; NaN of none.
pub(crate) fn quantile(sorted: &[f64], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * part).round() as usize).copied().unwrap_or(f64::NAN)
}

/// What the figures depend on.
pub(crate) fn conditions(settings: &Settings) {
    let line = |text: &str, key: &str| {
        text.lines()
            .find(|line| line.starts_with(key))
            .and_then(|line| line.split_once(':'))
            .map_or("?".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let ran = |program: &str, args: &[&str]| {
        let out = Command::new(program).args(args).output();
        out.map_or_else(|_| String::new(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
    };
    let cpu = line(&read("/proc/cpuinfo"), "model name");
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = line(&read("/proc/meminfo"), "MemTotal");
    let load = read("/proc/loadavg");
    let load = load.split(' ').take(3).collect::<Vec<_>>().join(" ");
    say(&format!("- {cpus} processors ({cpu}), {memory} memory, kernel {}", ran("uname", &["-r"])));
    say("- Debian 12 in a systemd-nspawn container, without cgroup controllers (no CPUQuota=)");
    say(&format!(
        "- load average at the start {load}; {}",
        ran("date", &["-u", "+%Y-%m-%d %H:%M UTC"])
    ));
    say(&format!(
        "- keepwell at {}, run as its own unit file says: {}\n",
        ran("git", &["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"]),
        built("keepwell").strip_prefix(env!("CARGO_MANIFEST_DIR")).map_or_else(
            |_| built("keepwell").display().to_string(),
            |path| path.display().to_string()
        )
    ));
    progress(&format!("measuring: {settings:?}"));
}

/// How large the program is.
pub(crate) fn size() -> Result<(), String> {
    let path = built("keepwell");
    let bytes = fs::metadata(&path).map_err(|e| format!("{}: {e}", path.display()))?.len();
    let bytes_text = fs::read(&path).map_err(|e| e.to_string())?;
    // The section that `strip` takes away.
    let stripped = !bytes_text.windows(8).any(|w| w == b".symtab\0");
    say("## Size\n");
    say(&format!(
        "The binary has {:.2} MB ({bytes} bytes, {}); aim: at most 6.5 MB stripped.\n",
        bytes as f64 / 1e6,
        if stripped { "stripped" } else { "NOT stripped" }
    ));
    Ok(())
}
