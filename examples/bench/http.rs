//! How many requests a second keepwell serves, with 100 watched units; by wrk over loopback.

use std::process::Command;

use super::contestant::{Contestant, start_victims};
use super::report::{progress, row, say, table};
use super::support::{Container, Options};

const UNITS: usize = 100;

pub(crate) fn measure() -> Result<(), String> {
    let c = Container::boot("bookworm", Options::default()).ok_or("no container")?;
    start_victims(&c, UNITS);
    let _receiver = c.receiver();
    Contestant::Keepwell.install(&c, UNITS);
    c.start_keepwell();
    say("## HTTP\n");
    say(&format!("{UNITS} watched units; wrk with 1 thread, 16 connections, 10 s each.\n"));
    table(&["path", "Accept", "bytes", "requests/s", "p50", "p99", "errors"]);
    for (path, accept) in [
        ("/health", "*/*"),
        ("/metrics", "*/*"),
        ("/metrics", "application/openmetrics-text; version=1.0.0"),
        ("/metrics", "text/plain; version=0.0.4"),
        ("/", "text/html"),
    ] {
        progress(&format!("http: {path} as {accept}"));
        let header = format!("Accept: {accept}");
        let size = c.get(path, &[&header]).body.len();
        let url = format!("http://127.0.0.1:8080{path}");
        let out = Command::new("nsenter")
            .args(["--target", &c.leader().to_string(), "--net"])
            .args(["wrk", "-t1", "-c16", "-d10s", "--latency", "-H", &header, &url])
            .output()
            .map_err(|e| format!("nsenter: {e}"))?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let after = |key: &str| {
            text.lines()
                .find_map(|line| line.trim().strip_prefix(key))
                .map_or("-".to_owned(), |value| value.trim().to_owned())
        };
        let errors = match (after("Non-2xx or 3xx responses:"), after("Socket errors:")) {
            (a, b) if a == "-" && b == "-" => "0".to_owned(),
            (a, b) => format!("{a} {b}"),
        };
        let accept = accept.split(';').next().unwrap_or(accept);
        row(&[
            path,
            accept,
            &size.to_string(),
            &after("Requests/sec:"),
            &after("50%"),
            &after("99%"),
            &errors,
        ]);
    }
    say("");
    Ok(())
}
