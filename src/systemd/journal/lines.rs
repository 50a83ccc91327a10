//! Lines of a child's output, bounded: a line that is too long is left out, the others stay whole.

use std::io;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::ChildStdout;

/// The longest line taken. journald cuts what a service prints at 48 KiB; as an array of numbers
/// that is up to 240 KiB of JSON.
const LONGEST: usize = 256 * 1024;

/// A line reader that loses nothing when its future is dropped half-way.
#[derive(Debug)]
pub(super) struct Lines {
    from: Option<BufReader<ChildStdout>>,
    line: Vec<u8>,
    /// `line` was handed out and is to be cleared.
    given: bool,
    /// The present line is too long.
    too_long: bool,
}

impl Lines {
    pub(super) fn new(from: Option<ChildStdout>) -> Self {
        Self { from: from.map(BufReader::new), line: Vec::new(), given: false, too_long: false }
    }

    /// The next line without its end; `None` at the end of the output. Cancel safe.
    pub(super) async fn next(&mut self) -> io::Result<Option<&[u8]>> {
        if self.given {
            self.given = false;
            self.line.clear();
            // One long line must not hold its memory for ever.
            self.line.shrink_to(4096);
        }
        let Some(from) = &mut self.from else { return Ok(None) };
        loop {
            let got = from.fill_buf().await?;
            if got.is_empty() {
                // A last line without an end was cut off: it is not whole.
                self.line.clear();
                return Ok(None);
            }
            let end = got.iter().position(|b| *b == b'\n');
            let part = &got[..end.unwrap_or(got.len())];
            if self.line.len() + part.len() > LONGEST {
                self.too_long = true;
                self.line.clear();
            }
            if !self.too_long {
                self.line.extend_from_slice(part);
            }
            let used = end.map_or(got.len(), |at| at + 1);
            from.consume(used);
            if end.is_some() {
                if std::mem::take(&mut self.too_long) {
                    self.line.clear();
                } else if !self.line.is_empty() {
                    self.given = true;
                    return Ok(Some(&self.line));
                }
            }
        }
    }
}
