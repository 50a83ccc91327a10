//! What the pictures in the README show: a container with a shop on it, of which a service has
//! crashed, and what keepwell's page and command line say of it. Writes HTML to `target/pictures`;
//! `scripts/pictures` makes the pictures of it.

#[path = "../tests/support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use support::{Container, Options, Receiver, User, wait_until};

const CONFIGURATION: &str = r#"
[agent]
hostname = "web-1"
labels = { env = "prod" }

[[unit]]
name = "shop"
restart = true
backoff = { first = "25s" }

[[unit]]
name = "worker@*"
restart = true

[[unit]]
name = "postgresql"

[[unit]]
name = "nginx"

[host]
ignore_mounts = ["/run/host/*"]

[[heartbeat]]
file = "/run/worker.beat"
"#;

const SHOP: &str = r#"[Unit]
Description=The shop
[Service]
ExecStart=/bin/bash -c 'echo "shop: listening on port 3000"; sleep 4; \
 echo "shop: cannot reach postgres://app:hunter2@db/shop: connection refused" >&2; \
 echo "shop: giving up after 3 tries" >&2; exit 3'
"#;
const STAYS: &str = "[Service]\nExecStart=/bin/sleep infinity\n";
const BACKUP: &str = "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo \"backup: no space left on \
                      /mnt/backup\" >&2; exit 1'\n";

fn main() -> ExitCode {
    let Some(c) = Container::boot("bookworm", Options::default()) else {
        return ExitCode::FAILURE;
    };
    let receiver = c.receiver();
    c.install_keepwell(&format!("{CONFIGURATION}\n{}", Receiver::channel()), User::Keepwell);
    c.allow_restarts();
    c.units(&[
        ("shop.service", SHOP),
        ("worker@.service", STAYS),
        ("postgresql.service", STAYS),
        ("nginx.service", STAYS),
        ("backup.service", BACKUP),
    ]);
    c.sh("touch /run/worker.beat; systemctl start worker@1 worker@2 postgresql nginx shop");
    c.start_keepwell();
    c.exec(&["systemctl", "start", "backup"]);
    wait_until(Duration::from_secs(60), "the alert", || {
        receiver.accepted().iter().any(|body| body.to_string().contains("shop.service"))
            && c.sh("keepwell explain shop").contains("restart-scheduled")
    });
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pictures");
    std::fs::create_dir_all(&target).expect("target/ can be written");
    let put = |name: &str, text: &str| {
        std::fs::write(target.join(name), text).expect("target/pictures can be written");
    };
    put("page.html", &c.sh("curl -s http://127.0.0.1:8080/"));
    put("style.css", &c.sh("curl -s http://127.0.0.1:8080/style.css"));
    let mut screen = "\u{1b}[1m$ sudo keepwell explain shop\u{1b}[0m\n".to_owned();
    // Colours are for terminals only.
    let command = "stty cols 104 rows 50; keepwell explain shop";
    screen.push_str(&c.sh(&format!("TERM=xterm script -qec '{command}' /dev/null")));
    put("terminal.html", &terminal(screen.trim_end()));
    ExitCode::SUCCESS
}

/// A terminal as a page: of all codes there are, the colours and weights that keepwell uses.
fn terminal(text: &str) -> String {
    let escaped = text.replace('\r', "").replace('&', "&amp;").replace('<', "&lt;");
    let mut body = String::new();
    let mut open = 0;
    let mut parts = escaped.split("\u{1b}[");
    body.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (codes, rest) = part.split_once('m').unwrap_or(("", part));
        let style: String = codes
            .split(';')
            .map(|code| match code {
                "1" => "font-weight:bold;",
                "2" => "opacity:.65;",
                "31" => "color:#ff6b68;",
                "32" => "color:#6cc070;",
                "33" => "color:#e5b454;",
                "35" => "color:#c792ea;",
                _ => "",
            })
            .collect();
        if style.is_empty() {
            body.push_str(&"</span>".repeat(open));
            open = 0;
        } else {
            let _ = write!(body, "<span style=\"{style}\">");
            open += 1;
        }
        body.push_str(rest);
    }
    format!(
        "<!doctype html><meta charset=utf-8><body style=\"margin:0;background:#1d2026;\
         color:#e4e6eb;padding:18px 22px\"><pre style=\"margin:0;font:14px/1.42 'DejaVu Sans \
         Mono',monospace\">{body}</pre>"
    )
}
