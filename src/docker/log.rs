//! The last lines of a container's log.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::timeout;

use crate::engine::Wall;

use super::client::Client;
use super::error::DockerError;
use super::lines::{Cut, Frames, Lines};

/// How much of one line is taken in, in bytes.
const LINE: usize = 16 * 1024;

/// How much of a log is read, in bytes: what is asked for are its last lines, but they may be long.
const LOG: usize = 16 * 1024 * 1024;

/// How long reading may take.
const LIMIT: Duration = Duration::from_secs(10);

/// A line of a container's log as it was printed: it may hold secrets.
#[derive(Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When, where the log says.
    pub at: Option<Wall>,
    /// Its text; `None`: it is too long to be taken in.
    pub text: Option<String>,
}

impl Client {
    /// The last lines of a container's log, at most `lines`, oldest first; with `since` only those
    /// from then on. They are as they were printed.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn log(
        &self,
        id: &str,
        lines: usize,
        since: Option<Wall>,
    ) -> Result<Vec<LogLine>, DockerError> {
        if lines == 0 {
            return Ok(Vec::new());
        }
        let tty = self.inspect(id).await?.tty();
        let mut answer = self.open_log(id, lines, since).await?;
        let mut last = Last { most: lines, lines: VecDeque::new() };
        // One for output and one for errors: a line of one may stand in the middle of another's.
        let mut streams = [Lines::new(LINE), Lines::new(LINE)];
        let mut frames = Frames::default();
        let read = async {
            let mut taken = 0;
            while let Some(piece) = answer.next().await {
                let piece = piece?;
                if tty {
                    streams[0].take(&piece, |cut| last.take(cut));
                } else {
                    frames.take(&piece, |stream, part| {
                        streams[stream].take(part, |cut| last.take(cut));
                    });
                }
                taken += piece.len();
                if taken > LOG {
                    break;
                }
            }
            Ok(())
        };
        match timeout(LIMIT, read).await {
            Ok(read) => read?,
            // What has come is better than nothing.
            Err(_) if !last.lines.is_empty() => {}
            Err(_) => return Err(answer.hangs(LIMIT)),
        }
        for stream in &mut streams {
            stream.flush(&mut |cut| last.take(cut));
        }
        Ok(last.lines.into())
    }
}

/// Keeps the last lines.
struct Last {
    most: usize,
    lines: VecDeque<LogLine>,
}

impl Last {
    fn take(&mut self, cut: Cut) {
        if self.lines.len() >= self.most {
            self.lines.pop_front();
        }
        self.lines.push_back(match cut {
            Cut::TooLong => LogLine { at: None, text: None },
            Cut::Line(line) => parsed(&String::from_utf8_lossy(&line)),
        });
    }
}

/// A line with the time before it that was asked for.
fn parsed(line: &str) -> LogLine {
    let line = line.trim_end_matches('\r');
    let with_time = line.split_once(' ').unwrap_or((line, ""));
    match super::model::time(with_time.0) {
        Some(at) => LogLine { at: Some(at), text: Some(with_time.1.to_owned()) },
        None => LogLine { at: None, text: Some(line.to_owned()) },
    }
}
