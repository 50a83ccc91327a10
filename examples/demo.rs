//! The story that `scripts/demo` tells: keepwell at work on a real systemd, every step of it checked.
//!
//! A sample service crashes twice and then stays up. Shown and checked are the crash, how long
//! keepwell took to judge it, the cause, the growing backoff, the alert as a webhook received it,
//! the recovery, and `/health` before, during and after.
//!
//! `--once` tells it once and ends with exit code 0 only if all was seen; `--user` plays on the
//! caller's own `systemd --user` instead of a container.

#[path = "demo/stage.rs"]
mod stage;
#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use stage::{FLAKY, Stage};
use support::clock::monotonic;

/// What a part of the story needs at most on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// Ctrl-C was pressed.
static STOPPED: AtomicBool = AtomicBool::new(false);

/// Something that should have been seen was not; or the person has had enough.
#[derive(Debug)]
enum End {
    NotSeen(String),
    Stopped,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|a| a == flag);
    // A second Ctrl-C ends at once; what is left is swept up by the next run.
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Ok(runtime) = runtime {
            let _ = runtime.block_on(tokio::signal::ctrl_c());
            if STOPPED.swap(true, Ordering::Relaxed) {
                std::process::abort();
            }
        }
    });
    let told = Stage::set(has("--user"))
        .map_err(End::NotSeen)
        .and_then(|stage| Story::new(&stage).tell(has("--once")));
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(End::Stopped) => {
            say("\nstopped; nothing is left behind");
            ExitCode::SUCCESS
        }
        Err(End::NotSeen(what)) => {
            say(&paint("31;1", &format!("NOT SEEN: {what}")));
            ExitCode::FAILURE
        }
    }
}

struct Story<'s> {
    stage: &'s Stage,
    begin: Duration,
    /// Requests of the webhook that have been told of.
    read: usize,
}

impl<'s> Story<'s> {
    fn new(stage: &'s Stage) -> Self {
        Self { stage, begin: monotonic(), read: 0 }
    }

    fn tell(mut self, once: bool) -> Result<(), End> {
        let stage = self.stage;
        self.head(&format!("{} is up", stage.description()));
        stage.start_receiver().map_err(End::NotSeen)?;
        stage.install_flaky();
        let begin = monotonic();
        stage.start_keepwell().map_err(End::NotSeen)?;
        self.head(&format!(
            "{} runs there as a service, ready after {}",
            stage.keepwell(&["--version"]).stdout.trim(),
            ms(monotonic() - begin)
        ));
        self.wait("/health with 200 healthy", |story| story.health(200, "healthy"))?;
        stage.start_flaky().map_err(End::NotSeen)?;

        let first = self.crash("exit-code", "with exit code 3")?;
        let second = self.crash("signal", "by signal KILL")?;
        if second < first + first / 2 {
            return Err(End::NotSeen(format!(
                "a second wait longer than the first ({} after {})",
                ms(second),
                ms(first)
            )));
        }
        self.recovery()?;
        say("\nkeepwell's own log:");
        for line in stage.log().lines() {
            say(&format!("  {}", paint("2", line)));
        }
        if once {
            say(&paint("32;1", "\nall of it was seen"));
            return Ok(());
        }
        say(&format!("\nLook around with:  {}", stage.way_in()));
        say("The service crashes again every half minute. Ctrl-C ends it all.");
        loop {
            let next = monotonic() + Duration::from_secs(30);
            self.wait_until(next)?;
            stage.flaky_crashes(1).map_err(End::NotSeen)?;
            self.crash("exit-code", "with exit code 3")?;
            self.recovery()?;
        }
    }

    /// One crash, from its moment to keepwell's restart; how long keepwell waited in between.
    fn crash(&mut self, reason: &str, how: &str) -> Result<Duration, End> {
        let crashed = self.wait("a crash", |story| story.stage.take_crash())?;
        self.head(&format!("{FLAKY} crashes {how}"));
        let check = self.wait("keepwell's verdict", |story| {
            let check = story.stage.check()?;
            let bad = check["severity"] == "critical" && check["unit"]["judged_us"].is_i64();
            (bad && judged_us(&check) >= crashed).then_some(check)
        })?;
        self.line(
            "seen",
            &format!(
                "after {}: {} ({})",
                ms(Duration::from_micros(judged_us(&check).abs_diff(crashed))),
                check["severity"].as_str().unwrap_or("?"),
                check["reason"].as_str().unwrap_or("?")
            ),
        );
        if check["reason"] != reason {
            return Err(End::NotSeen(format!("the cause {reason}: {check}")));
        }
        self.line("cause", check["summary"].as_str().unwrap_or("?"));
        self.wait("/health with 503 critical", |story| story.health(503, "critical"))?;
        // Repeats within the cooldown are muted: only the first crash is told at once.
        if self.read == 0 || self.was_told_of_the_end() {
            let alert = self.message("opened")?;
            let after = alert["at_us"].as_i64().unwrap_or_default().abs_diff(crashed);
            self.line(
                "webhook",
                &format!(
                    "received after {}: {}",
                    ms(Duration::from_micros(after)),
                    alert["body"]["text"].as_str().unwrap_or("?").lines().next().unwrap_or("?")
                ),
            );
            for line in lines_of(&alert["body"]) {
                self.line("its log", &line);
            }
        }
        let started =
            self.wait("the restart by keepwell", |story| story.stage.restarted(crashed))?;
        let waited = Duration::from_micros(started.abs_diff(crashed));
        let attempts = self.stage.check().map_or(0, |c| c["unit"]["step"].as_u64().unwrap_or(0));
        self.head(&format!("keepwell restarts it after {} (attempt {attempts})", ms(waited)));
        Ok(waited)
    }

    fn recovery(&mut self) -> Result<(), End> {
        let end = self.message("resolved")?;
        self.head(&format!("{FLAKY} has stayed up"));
        let text = end["body"]["text"].as_str().unwrap_or("?");
        self.line("webhook", &format!("received: {}", text.lines().next().unwrap_or("?")));
        self.wait("/health with 200 healthy", |story| story.health(200, "healthy"))
    }

    /// `/health` says this; shown when it does.
    fn health(&self, status: u16, word: &str) -> Option<()> {
        let (code, body) = self.stage.health();
        let said = code == status && body["status"] == word;
        said.then(|| {
            let color = if code == 200 { "32" } else { "31" };
            self.line("/health", &paint(color, &format!("{code} {word}")));
        })
    }

    /// The next message of the webhook that tells this of the sample service.
    fn message(&mut self, happening: &str) -> Result<Value, End> {
        let begin = self.read;
        let (at, found) = self.wait(&format!("the webhook's message '{happening}'"), |story| {
            let all = story.stage.requests();
            let at = all.iter().skip(begin).position(|request| {
                let body = &request["body"];
                body["event"] == happening && body.to_string().contains(FLAKY)
            })?;
            Some((begin + at, all[begin + at].clone()))
        })?;
        self.read = at + 1;
        Ok(found)
    }

    fn was_told_of_the_end(&self) -> bool {
        let all = self.stage.requests();
        let last = self.read.checked_sub(1).and_then(|i| all.get(i));
        last.is_some_and(|request| request["body"]["event"] == "resolved")
    }

    fn wait<T>(&self, what: &str, mut ask: impl FnMut(&Self) -> Option<T>) -> Result<T, End> {
        let end = monotonic() + LIMIT;
        loop {
            if STOPPED.load(Ordering::Relaxed) {
                return Err(End::Stopped);
            }
            if let Some(answer) = ask(self) {
                return Ok(answer);
            }
            if monotonic() > end {
                say(&self.stage.log());
                return Err(End::NotSeen(what.to_owned()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn wait_until(&self, end: Duration) -> Result<(), End> {
        while monotonic() < end {
            if STOPPED.load(Ordering::Relaxed) {
                return Err(End::Stopped);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn head(&self, text: &str) {
        let at = (monotonic() - self.begin).as_secs_f64();
        say(&format!("\n{} {}", paint("2", &format!("{at:6.1} s")), paint("1", text)));
    }

    fn line(&self, what: &str, text: &str) {
        say(&format!("{:9}{what:8} {text}", ""));
    }
}

/// When keepwell came to its verdict, µs after the epoch.
fn judged_us(check: &Value) -> i64 {
    check["unit"]["judged_us"].as_i64().unwrap_or_default()
}

/// The log lines that a message carries.
fn lines_of(body: &Value) -> Vec<String> {
    let alerts = body["alerts"].as_array().cloned().unwrap_or_default();
    let lines = alerts.iter().filter_map(|alert| alert["lines"].as_array()).flatten();
    lines
        .filter_map(Value::as_str)
        .filter(|line| line.contains("flaky:"))
        .map(str::to_owned)
        .collect()
}

fn ms(duration: Duration) -> String {
    match duration.as_secs_f64() * 1000.0 {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1000.0),
    }
}

fn paint(code: &str, text: &str) -> String {
    let plain = std::env::var_os("NO_COLOR").is_some() || !std::io::stdout().is_terminal();
    if plain { text.to_owned() } else { format!("\x1b[{code}m{text}\x1b[0m") }
}

fn say(text: &str) {
    // Nobody reads any more: the story is still told to its end, for the exit code.
    let _ = writeln!(std::io::stdout(), "{text}");
}
