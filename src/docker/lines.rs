//! Cutting what comes in pieces: lines of a stream, and the frames that a container's log comes in.

/// Cuts a stream into lines of bounded length.
#[derive(Debug)]
pub(super) struct Lines {
    most: usize,
    held: Vec<u8>,
    /// The line under way is too long; its rest is dropped.
    over: bool,
}

/// A line that was cut out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cut {
    Line(Vec<u8>),
    /// It was longer than is read: its beginning.
    TooLong(Vec<u8>),
}

impl Lines {
    pub(super) fn new(most: usize) -> Self {
        Self { most, held: Vec::new(), over: false }
    }

    /// Takes in a piece, and hands out each line that ends in it. Empty lines are none.
    pub(super) fn take(&mut self, mut piece: &[u8], mut out: impl FnMut(Cut)) {
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            self.hold(&piece[..end]);
            piece = &piece[end + 1..];
            self.flush(&mut out);
        }
        self.hold(piece);
    }

    /// What stands behind the last line end.
    pub(super) fn flush(&mut self, out: &mut impl FnMut(Cut)) {
        let line = std::mem::take(&mut self.held);
        if std::mem::take(&mut self.over) {
            out(Cut::TooLong(line));
        } else if !line.trim_ascii().is_empty() {
            out(Cut::Line(line));
        }
    }

    fn hold(&mut self, piece: &[u8]) {
        let room = self.most.saturating_sub(self.held.len()).min(piece.len());
        self.over |= room < piece.len();
        self.held.extend_from_slice(&piece[..room]);
    }
}

/// Takes the frames off a log that comes in them: of each, 8 bytes, of which the first says which
/// stream (1 or 2) and the last four how many bytes follow.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: Vec<u8>,
    left: usize,
    stream: usize,
}

impl Frames {
    /// Takes in a piece, and hands out what it holds of a stream: 0 for output, 1 for errors.
    pub(super) fn take(&mut self, mut piece: &[u8], mut out: impl FnMut(usize, &[u8])) {
        while !piece.is_empty() {
            if self.left > 0 {
                let now = self.left.min(piece.len());
                out(self.stream, &piece[..now]);
                self.left -= now;
                piece = &piece[now..];
                continue;
            }
            let wanted = (8 - self.head.len()).min(piece.len());
            self.head.extend_from_slice(&piece[..wanted]);
            piece = &piece[wanted..];
            if let [kind, _, _, _, a, b, c, d] = *self.head {
                self.stream = usize::from(kind == 2);
                self.left = u32::from_be_bytes([a, b, c, d]) as usize;
                self.head.clear();
            }
        }
    }
}
