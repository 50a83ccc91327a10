//! SQLite as keepwell uses it: settings, migration, one transaction, room, and errors in words.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use super::picture::Picture;
use super::rows::{self, MIGRATIONS, SCHEMA};

const PAGE: u64 = 4096;

pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    // SQLite would let everybody read it, and log lines are in it. Its companions follow it. If
    // this fails, SQLite says why.
    let _ = OpenOptions::new().append(true).create(true).mode(0o640).open(path);
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.busy_timeout(Duration::from_secs(2))?;
    Ok(conn)
}

/// Settings of the connection. The page cache stays small, for keepwell is to stay small; what
/// must survive is written once and hardly ever read.
pub(super) fn set_up(conn: &Connection, new: bool, max_bytes: u64) -> rusqlite::Result<()> {
    if new {
        // Both must be set before the first table.
        conn.execute_batch(&format!(
            "PRAGMA page_size = {PAGE}; PRAGMA auto_vacuum = INCREMENTAL;"
        ))?;
    }
    drain(conn, "PRAGMA journal_mode = WAL")?;
    // FULL: with NORMAL a power cut could take back what Stored has promised.
    conn.execute_batch(
        "PRAGMA synchronous = FULL;
         PRAGMA cache_size = -128;
         PRAGMA temp_store = MEMORY;
         PRAGMA trusted_schema = OFF;",
    )?;
    for pragma in [
        "mmap_size = 0".to_owned(),
        "wal_autocheckpoint = 256".to_owned(),
        "journal_size_limit = 1048576".to_owned(),
        format!("max_page_count = {}", (max_bytes / PAGE).max(64)),
    ] {
        drain(conn, &format!("PRAGMA {pragma}"))?;
    }
    conn.set_prepared_statement_cache_capacity(16);
    Ok(())
}

pub(super) fn migrate(conn: &mut Connection, from: i64) -> rusqlite::Result<()> {
    let done = usize::try_from(from).unwrap_or(0);
    if done >= MIGRATIONS.len() {
        return Ok(());
    }
    let tx = conn.transaction()?;
    for step in &MIGRATIONS[done..] {
        tx.execute_batch(step)?;
    }
    tx.pragma_update(None, "user_version", SCHEMA)?;
    tx.commit()
}

pub(super) fn write(
    conn: &mut Connection,
    picture: &Picture,
    seq: u64,
    state_seq: u64,
) -> rusqlite::Result<()> {
    let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    rows::write(&tx, picture)?;
    rows::set(&tx, "seq", seq.min(i64::MAX as u64) as i64)?;
    rows::set(&tx, "state_seq", state_seq.min(i64::MAX as u64) as i64)?;
    rows::set(&tx, "clean", 0)?;
    tx.commit()
}

/// Whether the limit on the file's size is what is full, and not the disk.
pub(super) fn at_cap(conn: &Connection) -> bool {
    let room =
        || -> rusqlite::Result<bool> { Ok(pages(conn)? + 64 >= pragma(conn, "max_page_count")?) };
    room().unwrap_or(false)
}

/// Deletes the oldest tenth of the resolved alerts; returns how many.
pub(super) fn make_room(conn: &mut Connection) -> rusqlite::Result<usize> {
    let resolved: i64 = conn.query_row(
        "SELECT count(*) FROM alerts WHERE resolved IS NOT NULL AND pending = 0",
        [],
        |row| row.get(0),
    )?;
    delete_resolved(conn, i64::MAX, (resolved / 10).max(64))
}

/// Deletes the oldest alerts that were resolved before a time, at most so many. One whose end is
/// still to be told stays.
pub(super) fn delete_resolved(
    conn: &mut Connection,
    before: i64,
    most: i64,
) -> rusqlite::Result<usize> {
    conn.prepare_cached(
        "DELETE FROM alerts WHERE rowid IN
             (SELECT rowid FROM alerts WHERE resolved < ?1 AND pending = 0
              ORDER BY resolved LIMIT ?2)",
    )?
    .execute(params![before, most])
}

pub(super) fn pages(conn: &Connection) -> rusqlite::Result<i64> {
    pragma(conn, "page_count")
}

pub(super) fn pragma(conn: &Connection, name: &str) -> rusqlite::Result<i64> {
    conn.pragma_query_value(None, name, |row| row.get(0))
}

/// Runs a statement whose rows do not matter.
pub(super) fn drain(conn: &Connection, sql: &str) -> rusqlite::Result<()> {
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

/// Whether the file is damaged or is no database of ours (`Unknown`: a table is missing, or there
/// are tables that keepwell did not make).
pub(super) fn is_corrupt(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown)
    ) || matches!(
        error,
        rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
    )
}

/// An error in words: what, where, why, and what to do.
pub(super) fn explain(error: &rusqlite::Error, path: &Path) -> String {
    let path = path.display();
    let then = "keepwell goes on in memory and writes everything once it can";
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            format!("cannot write {path}: the disk is full; {then}. Free some space")
        }
        Some(ErrorCode::ReadOnly) => format!(
            "cannot write {path}: it is read-only; {then}. Check the file's owner and whether the \
             file system was mounted or turned read-only"
        ),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => format!(
            "cannot open {path}: {}; {then}. Check that the folder exists, is writable and \
             belongs to keepwell's user",
            detail(error)
        ),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => format!(
            "cannot write {path}: another program has locked it; {then}. Close that program"
        ),
        _ => format!("cannot write {path}: {}; {then}. Check the disk", detail(error)),
    }
}

fn detail(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(code, Some(text)) => {
            format!("{text} (SQLite error {})", code.extended_code)
        }
        other => other.to_string(),
    }
}
