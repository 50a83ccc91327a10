//! `/proc/self/mountinfo` as the kernel writes it: its lines, and which mounts lie on which. What of
//! it is looked at is decided in `mounts`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::proc_file::{Content, ReadError, parse};

/// One line of mountinfo.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub(super) id: u64,
    pub(super) parent: u64,
    pub(super) device: (u32, u32),
    /// Which folder of the file system is mounted here.
    pub(super) root: Cow<'a, [u8]>,
    pub(super) point: Cow<'a, Path>,
    pub(super) fstype: Cow<'a, str>,
    pub(super) source: Cow<'a, str>,
    /// Options of the file system itself. Those of the mount are not read: within a unit with
    /// `ProtectSystem=strict` all mounts look read-only.
    pub(super) options: &'a [u8],
}

/// All lines, and the first that could not be understood and was left out.
pub(super) fn rows<'a>(file: &Content<'a>) -> (Vec<Row<'a>>, Option<ReadError>) {
    let mut problem = None;
    let mut rows = Vec::new();
    for (n, line) in file.lines().filter(|(_, line)| !line.is_empty()) {
        match row(line) {
            Some(row) => rows.push(row),
            None => {
                problem.get_or_insert_with(|| file.malformed(n, "a mount", line));
            }
        }
    }
    (rows, problem)
}

impl<'a> Row<'a> {
    /// The value of an option of the file system; empty for one without.
    pub(super) fn option(&self, name: &str) -> Option<&'a [u8]> {
        self.options.split(|b| *b == b',').find_map(|option| {
            match option.strip_prefix(name.as_bytes())? {
                [] => Some(&[][..]),
                [b'=', value @ ..] => Some(value),
                _ => None,
            }
        })
    }
}

/// Which mounts lie on which.
pub(super) struct Tree<'a> {
    rows: &'a [Row<'a>],
    by_id: HashMap<u64, usize>,
    by_parent: HashMap<u64, Vec<usize>>,
}

impl<'a> Tree<'a> {
    pub(super) fn of(rows: &'a [Row<'a>]) -> Self {
        let mut tree = Self { rows, by_id: HashMap::new(), by_parent: HashMap::new() };
        for (i, row) in rows.iter().enumerate() {
            tree.by_id.insert(row.id, i);
            tree.by_parent.entry(row.parent).or_default().push(i);
        }
        tree
    }

    /// Whether another mount lies over this one, so that its path leads elsewhere.
    pub(super) fn hides(&self, row: usize) -> bool {
        let point = &self.rows[row].point;
        if self.children(self.rows[row].id).any(|i| i != row && self.rows[i].point == *point) {
            return true;
        }
        let mut at = row;
        // A mount cannot lie deeper than there are mounts; the table may be anything.
        for _ in 0..self.rows.len() {
            let here = &self.rows[at];
            // A mount at the same place or above it, on the same parent: the way leads there. One
            // that came before this one would have become its parent.
            let over = |i: usize| {
                let other = &self.rows[i];
                i != at
                    && here.point.starts_with(&other.point)
                    && (i > at || other.point != here.point)
            };
            if self.children(here.parent).any(over) {
                return true;
            }
            match self.by_id.get(&here.parent) {
                Some(parent) if *parent != at => at = *parent,
                _ => return false,
            }
        }
        false
    }

    /// The mounts that this one lies on, nearest first.
    pub(super) fn above(&self, row: usize) -> Vec<&'a Row<'a>> {
        let mut rows = Vec::new();
        let mut at = row;
        while let Some(parent) = self.by_id.get(&self.rows[at].parent)
            && rows.len() < self.rows.len()
        {
            at = *parent;
            rows.push(&self.rows[at]);
        }
        rows
    }

    fn children(&self, of: u64) -> impl Iterator<Item = usize> {
        self.by_parent.get(&of).into_iter().flatten().copied()
    }
}

fn row(line: &[u8]) -> Option<Row<'_>> {
    // Not by white space: an empty source leaves an empty field.
    let mut fields = line.split(|b| *b == b' ');
    let id = parse(fields.next()?)?;
    let parent = parse(fields.next()?)?;
    let device = fields.next()?;
    let colon = device.iter().position(|b| *b == b':')?;
    let device = (parse(&device[..colon])?, parse(&device[colon + 1..])?);
    let root = unescape(fields.next()?);
    let point = match unescape(fields.next()?) {
        Cow::Borrowed(bytes) => Cow::Borrowed(Path::new(OsStr::from_bytes(bytes))),
        Cow::Owned(bytes) => Cow::Owned(PathBuf::from(OsStr::from_bytes(&bytes))),
    };
    let _options_of_the_mount = fields.next()?;
    fields.find(|field| *field == b"-")?;
    let fstype = String::from_utf8_lossy(fields.next()?);
    let source = match unescape(fields.next()?) {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    };
    let options = fields.next()?;
    point.is_absolute().then_some(Row { id, parent, device, root, point, fstype, source, options })
}

/// Undoes `\040` and the like.
fn unescape(field: &[u8]) -> Cow<'_, [u8]> {
    if !field.contains(&b'\\') {
        return Cow::Borrowed(field);
    }
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, more @ ..] = rest {
        match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] => {
                plain.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = after;
            }
            _ => {
                plain.push(*first);
                rest = more;
            }
        }
    }
    Cow::Owned(plain)
}
