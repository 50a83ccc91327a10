//! The last lines of a container's log.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::engine::{Human, Wall};

use super::client::Client;
use super::error::DockerError;
use super::lines::{Cut, Frames, Lines};

/// How much of one line is taken in, in bytes: more than is shown of it.
const LINE: usize = 8 * 1024;

/// Engines keep a longer line in pieces of this size, in bytes, and count each as a line.
const PIECE: usize = 16 * 1024;

/// How much of a log is read at a time, in bytes: what is asked for are its last lines, but they may
/// be long.
const LOG: usize = 32 * 1024 * 1024;

/// So often is it asked for more, or for less.
const READS: u32 = 5;

/// How long reading may take, in all.
const LIMIT: Duration = Duration::from_secs(10);

/// A line of a container's log as it was printed, or its beginning: it may hold secrets.
#[derive(Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When, where the log says.
    pub at: Option<Wall>,
    /// Its text.
    pub text: String,
}

impl Client {
    /// The last lines of a container's log, at most `lines`, oldest first; with `since` only those
    /// from then on. They are as they were printed; of long ones only the beginning. Where they are
    /// very long they are fewer.
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
        let end = Instant::now() + LIMIT;
        let mut tail = lines;
        // What came of asking for fewer.
        let mut before: Option<Last> = None;
        let mut reads = 0;
        loop {
            reads += 1;
            let mut last = Last::new(lines);
            let read = timeout_at(end, self.read(id, tail, since, tty, &mut last)).await;
            match (read, before) {
                (Ok(Ok(true)), former) => {
                    let more = last.would_take();
                    // Fewer were asked for than there are, as there was too much.
                    let fewer = tail < lines;
                    let enough = last.lines.len() >= lines || !last.long || fewer;
                    let no_more =
                        former.is_some_and(|former| former.lines.len() >= last.lines.len());
                    if enough || no_more || more <= tail || reads >= READS {
                        return Ok(last.lines.into());
                    }
                    (tail, before) = (more, Some(last));
                }
                (_, Some(before)) => return Ok(before.lines.into()),
                // The newest were not reached.
                (Ok(Ok(false)), None) if tail > 1 && reads < READS => {
                    (tail, before) = ((tail / 8).max(1), None);
                }
                (Ok(Err(error)), None) => return Err(error),
                (Err(_), None) if last.lines.is_empty() => {
                    let at = self.endpoint().address.to_string();
                    let what = "the request for a container's log";
                    return Err(DockerError::Hangs { at, what, limit: LIMIT });
                }
                // What has come is better than nothing.
                (Ok(Ok(false)) | Err(_), None) => {
                    let text = format!("(what follows did not come within {})", Human(LIMIT));
                    last.push(LogLine { at: None, text });
                    return Ok(last.lines.into());
                }
            }
        }
    }

    /// Reads the last `tail` pieces. Whether that was all of them: not when there was too much.
    async fn read(
        &self,
        id: &str,
        tail: usize,
        since: Option<Wall>,
        tty: bool,
        last: &mut Last,
    ) -> Result<bool, DockerError> {
        let mut answer = self.open_log(id, tail, since).await?;
        // One for output and one for errors: a line of one may stand in the middle of another's.
        let mut streams = [Lines::new(LINE), Lines::new(LINE)];
        let mut frames = Frames::default();
        while let Some(piece) = answer.next().await {
            let piece = piece?;
            last.taken += piece.len();
            if last.taken > LOG {
                return Ok(false);
            }
            if tty {
                streams[0].take(&piece, |cut| last.take(cut));
            } else {
                frames.take(&piece, |stream, part| {
                    streams[stream].take(part, |cut| last.take(cut));
                });
            }
        }
        for stream in &mut streams {
            stream.flush(&mut |cut| last.take(cut));
        }
        Ok(true)
    }
}

/// Keeps the last lines.
struct Last {
    most: usize,
    lines: VecDeque<LogLine>,
    /// Bytes read.
    taken: usize,
    /// One was longer than is taken in.
    long: bool,
}

impl Last {
    fn new(most: usize) -> Self {
        Self { most, lines: VecDeque::new(), taken: 0, long: false }
    }

    fn take(&mut self, cut: Cut) {
        let (Cut::Line(line) | Cut::TooLong(line)) = &cut;
        self.long |= matches!(cut, Cut::TooLong(_));
        self.push(parsed(&String::from_utf8_lossy(line)));
    }

    fn push(&mut self, line: LogLine) {
        if self.lines.len() >= self.most {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// So many pieces would be all lines that are wanted, if all were as long as these; at most so
    /// many as can be read.
    fn would_take(&self) -> usize {
        let of_one = self.taken / self.lines.len().max(1) / PIECE + 2;
        (self.most * of_one).min(LOG / PIECE * 3 / 4)
    }
}

/// A line with the time before it that was asked for.
fn parsed(line: &str) -> LogLine {
    let line = line.trim_end_matches('\r');
    let with_time = line.split_once(' ').unwrap_or((line, ""));
    match super::model::time(with_time.0) {
        Some(at) => LogLine { at: Some(at), text: with_time.1.to_owned() },
        None => LogLine { at: None, text: line.to_owned() },
    }
}
