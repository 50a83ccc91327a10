//! The tables: their shape, reading them, and writing a picture. No file handling here.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::de::DeserializeOwned;

use super::OutboxRow;
use super::picture::{Picture, RowChange};
use crate::engine::alert::AlertRecord;
use crate::engine::saved::{AgentRecord, Saved};
use crate::engine::time::Wall;

/// The schema that this keepwell writes, in `PRAGMA user_version`. Step N of [`MIGRATIONS`] leads
/// from N to N + 1.
pub(super) const SCHEMA: i64 = MIGRATIONS.len() as i64;

pub(super) const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
    CREATE TABLE alerts (
        id TEXT PRIMARY KEY, check_id TEXT NOT NULL, kind TEXT NOT NULL, severity TEXT NOT NULL,
        opened INTEGER NOT NULL, resolved INTEGER, record TEXT NOT NULL
    ) STRICT;
    CREATE INDEX alerts_resolved ON alerts (resolved);
    CREATE TABLE counts (unit TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
    CREATE TABLE holds (number INTEGER PRIMARY KEY, record TEXT NOT NULL) STRICT;
    CREATE TABLE outbox (
        channel TEXT NOT NULL, subject TEXT NOT NULL, id TEXT NOT NULL, revision INTEGER NOT NULL,
        opening INTEGER NOT NULL, attempts INTEGER NOT NULL, next_at INTEGER NOT NULL,
        created INTEGER NOT NULL, notification TEXT NOT NULL,
        PRIMARY KEY (channel, subject)
    ) STRICT;
"];

/// How long after their end alerts are read back: longer than any cooldown.
const RECENT_US: i64 = 24 * 3600 * 1_000_000;
/// At most so many resolved alerts are read back.
const RECENT_MAX: i64 = 1000;

/// What the tables hold.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) saved: Saved,
    pub(super) outbox: Vec<OutboxRow>,
    /// Of the last transaction.
    pub(super) seq: u64,
    /// Of the last change of `state.json` that the last transaction knew of.
    pub(super) state_seq: u64,
    /// Records that this version does not understand; they stay where they are.
    pub(super) not_understood: usize,
}

/// Reads all tables.
pub(super) fn load(conn: &Connection, now: Wall) -> rusqlite::Result<Loaded> {
    let mut loaded = Loaded::default();
    for step in STEPS {
        step(conn, now, &mut loaded)?;
    }
    Ok(loaded)
}

/// Reads what can still be read of a damaged database.
pub(super) fn salvage(conn: &Connection, now: Wall) -> Loaded {
    let mut loaded = Loaded::default();
    for step in STEPS {
        // What was read before the damage was met stays.
        let _ = step(conn, now, &mut loaded);
    }
    loaded
}

type Step = fn(&Connection, Wall, &mut Loaded) -> rusqlite::Result<()>;

const STEPS: [Step; 5] = [load_meta, load_alerts, load_counts, load_holds, load_outbox];

fn load_meta(conn: &Connection, _: Wall, loaded: &mut Loaded) -> rusqlite::Result<()> {
    loaded.seq = number(conn, "seq")?;
    loaded.state_seq = number(conn, "state_seq")?;
    loaded.saved.cursor = text(conn, "cursor")?;
    loaded.saved.errors_cursor = text(conn, "errors_cursor")?;
    if let Some(agent) = text(conn, "agent")? {
        loaded.saved.agent = parse::<AgentRecord>(&agent, &mut loaded.not_understood);
    }
    Ok(())
}

fn load_alerts(conn: &Connection, now: Wall, loaded: &mut Loaded) -> rusqlite::Result<()> {
    let mut open = conn.prepare("SELECT record FROM alerts WHERE resolved IS NULL")?;
    each(&mut open.query([])?, &mut loaded.saved.alerts, &mut loaded.not_understood)?;
    let mut recent = conn
        .prepare("SELECT record FROM alerts WHERE resolved > ?1 ORDER BY resolved DESC LIMIT ?2")?;
    let mut rows = recent.query(params![now.0.saturating_sub(RECENT_US), RECENT_MAX])?;
    each(&mut rows, &mut loaded.saved.alerts, &mut loaded.not_understood)?;
    loaded.saved.alerts.sort_by(|a, b| (a.opened, &a.id).cmp(&(b.opened, &b.id)));
    Ok(())
}

fn load_counts(conn: &Connection, _: Wall, loaded: &mut Loaded) -> rusqlite::Result<()> {
    let mut select = conn.prepare("SELECT record FROM counts ORDER BY unit")?;
    each(&mut select.query([])?, &mut loaded.saved.counts, &mut loaded.not_understood)
}

fn load_holds(conn: &Connection, _: Wall, loaded: &mut Loaded) -> rusqlite::Result<()> {
    let mut select = conn.prepare("SELECT record FROM holds ORDER BY number")?;
    each(&mut select.query([])?, &mut loaded.saved.holds, &mut loaded.not_understood)
}

fn load_outbox(conn: &Connection, _: Wall, loaded: &mut Loaded) -> rusqlite::Result<()> {
    let mut select = conn.prepare(
        "SELECT notification, channel, subject, id, revision, opening, attempts, next_at, created
         FROM outbox ORDER BY created, subject",
    )?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let notification = parse(text_of(row, 0)?, &mut loaded.not_understood);
        let Some(notification) = notification else { continue };
        loaded.outbox.push(OutboxRow {
            channel: text_of(row, 1)?.into(),
            subject: text_of(row, 2)?.into(),
            id: text_of(row, 3)?.into(),
            revision: row.get(4)?,
            opening: row.get(5)?,
            attempts: row.get(6)?,
            next_at: Wall(row.get(7)?),
            created: Wall(row.get(8)?),
            notification: Arc::new(notification),
        });
    }
    Ok(())
}

fn each<T: DeserializeOwned>(
    rows: &mut rusqlite::Rows<'_>,
    into: &mut Vec<T>,
    not_understood: &mut usize,
) -> rusqlite::Result<()> {
    while let Some(row) = rows.next()? {
        into.extend(parse(text_of(row, 0)?, not_understood));
    }
    Ok(())
}

/// A text column, borrowed. STRICT tables hold nothing else, but a damaged one may.
fn text_of<'r>(row: &'r Row<'_>, column: usize) -> rusqlite::Result<&'r str> {
    Ok(row.get_ref(column)?.as_str()?)
}

fn parse<T: DeserializeOwned>(json: &str, not_understood: &mut usize) -> Option<T> {
    let parsed = serde_json::from_str(json).ok();
    *not_understood += usize::from(parsed.is_none());
    parsed
}

/// A number in `meta`; 0 when it is not there.
pub(super) fn number(conn: &Connection, key: &str) -> rusqlite::Result<u64> {
    let value: Option<i64> = conn
        .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
        .optional()?;
    Ok(value.and_then(|v| u64::try_from(v).ok()).unwrap_or(0))
}

fn text(conn: &Connection, key: &str) -> rusqlite::Result<Option<String>> {
    conn.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()
}

/// Puts one value into `meta`.
pub(super) fn set(
    conn: &Connection,
    key: &str,
    value: impl rusqlite::ToSql,
) -> rusqlite::Result<()> {
    conn.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?
        .execute(params![key, value])
        .map(drop)
}

/// Writes a picture. All or nothing is the caller's transaction.
pub(super) fn write(tx: &Transaction<'_>, picture: &Picture) -> rusqlite::Result<()> {
    for alert in picture.alerts.values() {
        write_alert(tx, alert)?;
    }
    for (unit, count) in &picture.counts {
        tx.prepare_cached("INSERT OR REPLACE INTO counts (unit, record) VALUES (?1, ?2)")?
            .execute(params![&**unit, json(count)?])?;
    }
    if let Some(holds) = &picture.holds {
        tx.execute("DELETE FROM holds", [])?;
        for hold in holds {
            tx.execute("INSERT INTO holds (record) VALUES (?1)", [json(hold)?])?;
        }
    }
    if let Some(cursor) = &picture.errors_cursor {
        set(tx, "errors_cursor", cursor)?;
    }
    if let Some(cursor) = &picture.cursor {
        set(tx, "cursor", cursor)?;
    }
    if let Some(agent) = &picture.agent {
        set(tx, "agent", json(agent)?)?;
    }
    for channel in &picture.dropped_channels {
        tx.execute("DELETE FROM outbox WHERE channel = ?1", [&**channel])?;
    }
    picture.outbox.values().flatten().try_for_each(|change| write_row(tx, change))
}

fn write_alert(tx: &Transaction<'_>, alert: &AlertRecord) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT OR REPLACE INTO alerts (id, check_id, kind, severity, opened, resolved, record)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        &*alert.id,
        alert.key.check.to_string(),
        alert.key.kind.as_str(),
        alert.severity.as_str(),
        alert.opened.0,
        alert.resolved.map(|at| at.0),
        json(alert)?,
    ])
    .map(drop)
}

fn write_row(tx: &Transaction<'_>, change: &RowChange) -> rusqlite::Result<()> {
    match change {
        RowChange::Put { row, inherit } => tx
            .prepare_cached(
                "INSERT INTO outbox (channel, subject, id, revision, opening, attempts, next_at,
                                     created, notification)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                 ON CONFLICT (channel, subject) DO UPDATE SET id = excluded.id,
                     revision = excluded.revision,
                     opening = excluded.opening OR (?10 AND outbox.opening),
                     attempts = excluded.attempts, next_at = excluded.next_at,
                     created = iif(?10, min(excluded.created, outbox.created), excluded.created),
                     notification = excluded.notification",
            )?
            .execute(params![
                &*row.channel,
                &*row.subject,
                &*row.id,
                row.revision,
                row.opening,
                row.attempts,
                row.next_at.0,
                row.created.0,
                json(&*row.notification)?,
                inherit,
            ])?,
        RowChange::Delivered(key) => {
            // An earlier message about the subject is told with the later one.
            tx.prepare_cached(
                "DELETE FROM outbox WHERE channel = ?1 AND subject = ?2
                 AND (revision < ?4 OR (revision = ?4 AND id = ?3))",
            )?
            .execute(params![&*key.channel, &*key.subject, &*key.id, key.revision])?;
            tx.prepare_cached(
                "UPDATE outbox SET opening = 0 WHERE channel = ?1 AND subject = ?2 AND opening",
            )?
            .execute([&*key.channel, &*key.subject])?
        }
        RowChange::Attempt { key, attempts, next_at } => tx
            .prepare_cached(
                "UPDATE outbox SET attempts = ?5, next_at = ?6
                 WHERE channel = ?1 AND subject = ?2 AND id = ?3 AND revision = ?4",
            )?
            .execute(params![
                &*key.channel,
                &*key.subject,
                &*key.id,
                key.revision,
                attempts,
                next_at.0
            ])?,
    };
    Ok(())
}

fn json<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))
}
