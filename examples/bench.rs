//! What `scripts/bench` runs: measures keepwell on a real systemd beside a bare subscriber (the floor),
//! monit and node_exporter (peers), and writes Markdown to standard output. Progress goes to standard error.
//!
//! ```text
//! bench [latency] [storm] [footprint] [http] [containers] [size] [--window SECONDS] [--kills N]
//!       [--units N,N,...] [--containers N]
//!       [--seconds N]        of load on each path, for http
//!       [--only NAME,NAME]   contestants of footprint: floor, keepwell, monit-pid, monit-systemctl
//! ```
//!
//! `KEEPWELL_BIN` and `KEEPWELL_FLOOR` name the programs to measure: release builds, stripped.

#[path = "bench/containers.rs"]
mod containers;
#[path = "bench/contestant.rs"]
mod contestant;
#[path = "../tests/support/docker_host.rs"]
mod docker_host;
#[path = "bench/footprint.rs"]
mod footprint;
#[path = "bench/http.rs"]
mod http;
#[path = "bench/latency.rs"]
mod latency;
#[path = "bench/report.rs"]
mod report;
#[path = "bench/storm.rs"]
mod storm;
#[path = "../tests/support/mod.rs"]
mod support;

use std::process::ExitCode;

use report::{progress, say};

/// What to measure and how long.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    sections: Vec<String>,
    /// Seconds over which CPU time is measured.
    pub(crate) window: u64,
    /// Seconds of load on each path.
    pub(crate) seconds: u64,
    /// How many services are killed.
    pub(crate) kills: usize,
    /// Numbers of watched units.
    pub(crate) units: Vec<usize>,
    /// How many containers of Docker.
    pub(crate) containers: usize,
    /// Only these contestants; empty: all.
    pub(crate) only: Vec<String>,
}

impl Settings {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut settings = Self {
            sections: Vec::new(),
            window: 240,
            seconds: 10,
            kills: 200,
            units: vec![10, 100, 1000],
            containers: 200,
            only: Vec::new(),
        };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            let number = |text: String| text.parse().map_err(|e| format!("{text}: {e}"));
            match argument.as_str() {
                "latency" | "footprint" | "http" | "size" | "storm" | "containers" => {
                    settings.sections.push(argument)
                }
                "--window" => settings.window = number(value()?)? as u64,
                "--seconds" => settings.seconds = number(value()?)? as u64,
                "--containers" => settings.containers = number(value()?)?,
                "--kills" => settings.kills = number(value()?)?,
                "--units" => {
                    let all = value()?;
                    settings.units =
                        all.split(',').map(|n| number(n.to_owned())).collect::<Result<_, _>>()?;
                }
                "--only" => settings.only = value()?.split(',').map(str::to_owned).collect(),
                _ => return Err(format!("unknown argument {argument}")),
            }
        }
        if settings.sections.is_empty() {
            settings.sections = ["size", "latency", "storm", "http", "footprint", "containers"]
                .map(str::to_owned)
                .to_vec();
        }
        Ok(settings)
    }

    /// Whether this contestant takes part.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

fn main() -> ExitCode {
    let settings = match Settings::read(std::env::args().skip(1)) {
        Ok(settings) => settings,
        Err(e) => {
            progress(&format!("bench: {e}"));
            return ExitCode::from(64);
        }
    };
    say("## Conditions\n");
    report::conditions(&settings);
    for section in &settings.sections {
        let done = match section.as_str() {
            "size" => report::size(),
            "latency" => latency::measure(&settings),
            "http" => http::measure(&settings),
            "storm" => storm::measure(&settings),
            "containers" => containers::measure(&settings),
            _ => footprint::measure(&settings),
        };
        if let Err(e) = done {
            progress(&format!("bench: {section}: {e}"));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
