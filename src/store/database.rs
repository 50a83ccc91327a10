//! The file `keepwell.db`: opening it, writing to it, and what happens when it is damaged, newer,
//! full or gone. The tables are in `rows`, SQLite's settings and errors in `sqlite`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::picture::Picture;
use super::rows::{self, Loaded, SCHEMA};
use super::set_aside::set_aside;
use super::sqlite::{
    at_cap, connect, delete_resolved, drain, explain, is_corrupt, make_room, migrate, pages,
    pragma, set_up, write,
};
use super::{Limits, lock};
use crate::engine::time::Wall;

/// SQLite's files beside the database.
const COMPANIONS: [&str; 2] = ["-wal", "-shm"];
/// How often room is made for one transaction before it counts as failed.
const MAKE_ROOM: usize = 8;

/// The database, or what keeps keepwell from it.
pub(super) struct Database {
    path: PathBuf,
    max_bytes: u64,
    retention: Duration,
    access: Access,
    /// What is in the file was read, or there was none: writing into it loses nothing.
    seen: bool,
    /// This run has marked the file as in use.
    marked: bool,
}

enum Access {
    /// Open; with device and inode, to notice when somebody removes or replaces the file.
    Ready(Connection, Option<(u64, u64)>),
    /// Not open; opened again with the next write.
    Down,
    /// Not to be written in this run.
    Refused(String),
}

/// Something about the database that people are to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) text: String,
    /// It is over already: the damaged file was set aside and a new one works.
    pub(super) over: bool,
}

/// Why the database cannot be used.
enum Trouble {
    /// Damaged, or no database of ours.
    Corrupt(String),
    /// Written by a newer keepwell.
    Newer(i64),
    /// All else.
    Other(String),
}

impl Database {
    /// Opens the database of a folder and reads it. What was salvaged from a damaged one goes
    /// into `picture`, to be written anew.
    pub(super) fn open(
        dir: &Path,
        limits: &Limits,
        now: Wall,
        picture: &mut Picture,
    ) -> (Self, Loaded, Option<Fault>) {
        let mut db = Self {
            path: dir.join("keepwell.db"),
            max_bytes: limits.max_bytes,
            retention: limits.retention,
            access: Access::Down,
            seen: false,
            marked: false,
        };
        let created = lock::create_dir(dir);
        let trouble = match db.connect_and_load(now) {
            Ok((conn, loaded)) => {
                db.ready(conn);
                return (db, loaded, None);
            }
            Err(trouble) => trouble,
        };
        let (loaded, fault) = match trouble {
            Trouble::Corrupt(why) => {
                let loaded = db.salvage();
                let fault = db.replace(&why, now);
                picture.underlay(&loaded);
                (loaded, fault)
            }
            Trouble::Newer(version) => {
                let text = db.refuse(version);
                (db.read_only(now), Fault { text, over: false })
            }
            Trouble::Other(text) => {
                let loaded = db.read_only(now);
                // The folder's own error says more than "cannot open".
                let text = match created {
                    Err(error) => format!(
                        "cannot create the state folder {}: {error}; keepwell goes on in memory, \
                         and a restart of it forgets what happened. Check the path and its owner",
                        dir.display()
                    ),
                    Ok(()) => text,
                };
                (loaded, Fault { text, over: false })
            }
        };
        (db, loaded, Some(fault))
    }

    /// Whether trying again makes sense although nothing waits.
    pub(super) fn is_down(&self) -> bool {
        matches!(self.access, Access::Down)
    }

    /// Whether nothing will be written in this run, whatever happens.
    pub(super) fn is_refused(&self) -> bool {
        matches!(self.access, Access::Refused(_))
    }

    /// Writes a picture and empties it. What had to be repaired on the way is returned.
    pub(super) fn write(
        &mut self,
        picture: &mut Picture,
        seq: u64,
        state_seq: u64,
        now: Wall,
    ) -> Result<Option<Fault>, String> {
        let mut fault = self.reopen(picture, now)?;
        if picture.is_empty() {
            return Ok(fault);
        }
        for attempt in 0.. {
            let Access::Ready(conn, _) = &mut self.access else { break };
            let error = match write(conn, picture, seq, state_seq) {
                Ok(()) => {
                    *picture = Picture::default();
                    self.marked = true;
                    return Ok(fault);
                }
                Err(error) => error,
            };
            let code = error.sqlite_error_code();
            if code == Some(ErrorCode::DiskFull) && at_cap(conn) {
                let freed = make_room(conn);
                if attempt < MAKE_ROOM && freed.as_ref().is_ok_and(|n| *n > 0) {
                    continue;
                }
                return Err(format!(
                    "{} has reached its limit of {} MiB with nothing old left to delete; keepwell \
                     goes on in memory. Raise the limit",
                    self.path.display(),
                    self.max_bytes / (1024 * 1024)
                ));
            }
            if is_corrupt(&error) && attempt == 0 {
                let found = rows::salvage(conn, now);
                picture.underlay(&found);
                let repaired = self.replace(&error.to_string(), now);
                if !repaired.over {
                    return Err(repaired.text);
                }
                fault = Some(repaired);
                continue;
            }
            let text = explain(&error, &self.path);
            // After a full disk or a busy neighbour the connection is as good as before.
            if !matches!(code, Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy)) {
                self.access = Access::Down;
            }
            return Err(text);
        }
        Err(format!("cannot write {}", self.path.display()))
    }

    /// Sees to it that the database is open, and is still the file of its name.
    fn reopen(&mut self, picture: &mut Picture, now: Wall) -> Result<Option<Fault>, String> {
        let mut fault = None;
        match &self.access {
            Access::Refused(why) => return Err(why.clone()),
            Access::Ready(conn, inode) => {
                if *inode == inode_of(&self.path) {
                    return Ok(None);
                }
                picture.underlay(&rows::salvage(conn, now));
                self.access = Access::Down;
                fault = Some(Fault {
                    text: format!(
                        "{} was removed or replaced while keepwell ran; a new one has been \
                         written. To start afresh, stop keepwell first",
                        self.path.display()
                    ),
                    over: true,
                });
                if self.path.exists() {
                    self.seen = false;
                }
            }
            Access::Down => {}
        }
        lock::create_dir(self.path.parent().unwrap_or(Path::new(".")))
            .map_err(|e| format!("cannot create the folder of {}: {e}", self.path.display()))?;
        if !self.seen && self.path.exists() {
            let kept = set_aside(&self.path, "unread", now, &COMPANIONS).map_err(|e| {
                format!("cannot read {} nor set it aside: {e}", self.path.display())
            })?;
            fault = Some(Fault {
                text: format!(
                    "{} could not be read when keepwell started and was set aside as {}; a new \
                     one has been started",
                    self.path.display(),
                    kept.display()
                ),
                over: true,
            });
        }
        match self.connect_and_load(now) {
            Ok((conn, _)) => {
                self.ready(conn);
                Ok(fault)
            }
            Err(Trouble::Corrupt(why)) => {
                picture.underlay(&self.salvage());
                let repaired = self.replace(&why, now);
                if repaired.over { Ok(Some(repaired)) } else { Err(repaired.text) }
            }
            Err(Trouble::Newer(version)) => Err(self.refuse(version)),
            Err(Trouble::Other(text)) => Err(text),
        }
    }

    /// Deletes what is older than the retention, gives free pages back, and empties the log.
    pub(super) fn maintain(&mut self, now: Wall) {
        let oldest = now.before(self.retention).0;
        let Access::Ready(conn, _) = &mut self.access else { return };
        // What goes wrong here goes wrong with the next write as well, and is reported there.
        let _ = (|| -> rusqlite::Result<()> {
            while delete_resolved(conn, oldest, 500)? == 500 {}
            let used = pages(conn)?.saturating_sub(pragma(conn, "freelist_count")?);
            if used * 10 > pragma(conn, "max_page_count")? * 9 {
                make_room(conn)?;
            }
            drain(conn, "PRAGMA incremental_vacuum(1024)")?;
            drain(conn, "PRAGMA wal_checkpoint(TRUNCATE)")
        })();
    }

    /// Marks the stop as orderly and closes the file.
    pub(super) fn close(&mut self) {
        if let Access::Ready(conn, _) = std::mem::replace(&mut self.access, Access::Down) {
            if self.marked {
                // If this fails, the next start checks the file, and that is all.
                let _ = rows::set(&conn, "clean", 1);
            }
            let _ = drain(&conn, "PRAGMA wal_checkpoint(TRUNCATE)");
        }
    }

    fn ready(&mut self, conn: Connection) {
        self.access = Access::Ready(conn, inode_of(&self.path));
        self.seen = true;
        self.marked = false;
    }

    fn refuse(&mut self, version: i64) -> String {
        let text = format!(
            "{} was written by a newer keepwell (schema {version}; this one knows up to {SCHEMA}): \
             nothing is written to it, and keepwell goes on in memory. Install the newer version \
             again, or move the file away",
            self.path.display()
        );
        self.access = Access::Refused(text.clone());
        text
    }

    fn connect_and_load(&self, now: Wall) -> Result<(Connection, Loaded), Trouble> {
        let of = |error: rusqlite::Error| {
            if is_corrupt(&error) {
                Trouble::Corrupt(error.to_string())
            } else {
                Trouble::Other(explain(&error, &self.path))
            }
        };
        let mut conn = connect(&self.path).map_err(of)?;
        let version: i64 =
            conn.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(of)?;
        if version > SCHEMA {
            return Err(Trouble::Newer(version));
        }
        set_up(&conn, version == 0, self.max_bytes).map_err(of)?;
        migrate(&mut conn, version).map_err(of)?;
        if version > 0 && rows::number(&conn, "clean").map_err(of)? != 1 {
            let verdict: String =
                conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(of)?;
            if verdict != "ok" {
                return Err(Trouble::Corrupt(verdict.replace('\n', " ")));
            }
        }
        let loaded = rows::load(&conn, now).map_err(of)?;
        Ok((conn, loaded))
    }

    /// What can be read of a damaged file.
    fn salvage(&self) -> Loaded {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(&self.path, flags)
            // Recent ends only serve the cooldown: not worth trusting a damaged file for.
            .map(|conn| rows::salvage(&conn, Wall(i64::MAX)))
            .unwrap_or_default()
    }

    /// What can be read where nothing can be written.
    fn read_only(&mut self, now: Wall) -> Loaded {
        if matches!(self.path.try_exists(), Ok(false)) {
            self.seen = true;
            return Loaded::default();
        }
        let base = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let plain =
            Connection::open_with_flags(&self.path, base).and_then(|conn| rows::load(&conn, now));
        // Without leave to create the log's index, SQLite reads a file only if told that nobody
        // writes it, and that is so: keepwell holds the folder's lock.
        let loaded = plain.or_else(|_| {
            let uri = format!("file:{}?immutable=1", escape(&self.path));
            Connection::open_with_flags(uri, base | OpenFlags::SQLITE_OPEN_URI)
                .and_then(|conn| rows::load(&conn, now))
        });
        self.seen = loaded.is_ok();
        loaded.unwrap_or_default()
    }

    /// Sets a damaged file aside and starts a new one.
    fn replace(&mut self, why: &str, now: Wall) -> Fault {
        self.access = Access::Down;
        let path = self.path.display().to_string();
        let kept = match set_aside(&self.path, "corrupt", now, &COMPANIONS) {
            Ok(kept) => kept,
            Err(error) => {
                return Fault {
                    text: format!(
                        "{path} is corrupt ({why}) and could not be set aside: {error}; keepwell \
                         goes on in memory. Check the folder's permissions and the disk"
                    ),
                    over: false,
                };
            }
        };
        let text = format!(
            "{path} is corrupt ({why}) and was set aside as {}; a new one has been started with \
             what could still be read. Check the disk; delete the copy when you have looked at it",
            kept.display()
        );
        match self.connect_and_load(now) {
            Ok((conn, _)) => {
                self.ready(conn);
                Fault { text, over: true }
            }
            Err(Trouble::Corrupt(why) | Trouble::Other(why)) => Fault {
                text: format!("{text}. The new one does not work either: {why}"),
                over: false,
            },
            Err(Trouble::Newer(version)) => Fault { text: self.refuse(version), over: false },
        }
    }
}

fn inode_of(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|m| (m.dev(), m.ino()))
}

/// A path as part of a URI.
fn escape(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut out = String::new();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                out.push(char::from(*byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}
