//! The tables: their shape, reading them, and writing a picture. No file handling here.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::picture::{CallChange, ContainerChange, Picture, RowChange};
use super::{CallRow, OutboxRow, RowKey};
use crate::engine::alert::AlertRecord;
use crate::engine::hook::HookCall;
use crate::engine::saved::{AgentRecord, Saved};
use crate::engine::time::Wall;

/// The schema that this keepwell writes, in `PRAGMA user_version`. Step N of [`MIGRATIONS`] leads
/// from N to N + 1.
pub(super) const SCHEMA: i64 = MIGRATIONS.len() as i64;

pub(super) const MIGRATIONS: [&str; 3] = [
    "
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
",
    // What waits is now a message of its own, not the latest word on a subject: the one cannot be
    // made out of the other.
    "
    DROP TABLE outbox;
    CREATE TABLE outbox (
        channel TEXT NOT NULL, id TEXT NOT NULL, attempts INTEGER NOT NULL,
        next_at INTEGER NOT NULL, created INTEGER NOT NULL, notification TEXT NOT NULL,
        PRIMARY KEY (channel, id)
    ) STRICT;
    CREATE TABLE silences (number INTEGER PRIMARY KEY, record TEXT NOT NULL) STRICT;
    ALTER TABLE alerts ADD COLUMN pending INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX alerts_pending ON alerts (pending) WHERE pending > 0;
",
    "
    CREATE TABLE containers (id TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
    CREATE TABLE calls (
        number INTEGER PRIMARY KEY, hook TEXT NOT NULL, attempts INTEGER NOT NULL,
        next_at INTEGER NOT NULL, call TEXT NOT NULL
    ) STRICT;
",
];

/// How long after their end alerts are read back: longer than any cooldown.
const RECENT_US: i64 = 24 * 3600 * 1_000_000;
/// At most so many resolved alerts are read back.
const RECENT_MAX: i64 = 1000;

/// What the tables hold.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) saved: Saved,
    pub(super) outbox: Vec<OutboxRow>,
    /// By their number.
    pub(super) calls: Vec<CallRow>,
    /// The schema of the file; an older one than [`SCHEMA`] where it could not be migrated.
    schema: i64,
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

const STEPS: [Step; 8] = [
    load_meta,
    load_alerts,
    load_counts,
    load_holds,
    load_silences,
    load_outbox,
    load_containers,
    load_calls,
];

fn load_meta(conn: &Connection, _: Wall, loaded: &mut Loaded) -> rusqlite::Result<()> {
    loaded.schema = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
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
    each_alert(&mut open.query([])?, loaded)?;
    let mut told = "";
    if loaded.schema >= 2 {
        // Whoever is still to be told of an end is told, however long ago it was.
        let mut untold =
            conn.prepare("SELECT record FROM alerts WHERE pending > 0 AND resolved IS NOT NULL")?;
        each_alert(&mut untold.query([])?, loaded)?;
        told = "AND pending = 0";
    }
    let mut recent = conn.prepare(&format!(
        "SELECT record FROM alerts WHERE resolved > ?1 {told} ORDER BY resolved DESC LIMIT ?2",
    ))?;
    each_alert(&mut recent.query(params![now.0.saturating_sub(RECENT_US), RECENT_MAX])?, loaded)?;
    loaded.saved.alerts.sort_by(|a, b| (a.opened, &a.id).cmp(&(b.opened, &b.id)));
    Ok(())
}

fn each_alert(rows: &mut rusqlite::Rows<'_>, loaded: &mut Loaded) -> rusqlite::Result<()> {
    while let Some(row) = rows.next()? {
        let json = text_of(row, 0)?;
        let alert = serde_json::from_str(json).ok().or_else(|| old_alert(json));
        loaded.not_understood += usize::from(alert.is_none());
        loaded.saved.alerts.extend(alert);
    }
    Ok(())
}

/// An alert as schema 1 wrote it: what was done about it was plain text without a time.
fn old_alert(json: &str) -> Option<AlertRecord> {
    let mut value: Value = serde_json::from_str(json).ok()?;
    let opened = value.get("opened")?.clone();
    for act in value.get_mut("acts")?.as_array_mut()? {
        if act.is_string() {
            *act = json!({ "at": opened, "text": act.take() });
        }
    }
    serde_json::from_value(value).ok()
}

fn load_counts(conn: &Connection, _: Wall, loaded: &mut Loaded) -> rusqlite::Result<()> {
    let select = "SELECT record FROM counts ORDER BY unit";
    each(conn, select, &mut loaded.saved.counts, &mut loaded.not_understood)
}

fn load_holds(conn: &Connection, _: Wall, loaded: &mut Loaded) -> rusqlite::Result<()> {
    let select = "SELECT record FROM holds ORDER BY number";
    each(conn, select, &mut loaded.saved.holds, &mut loaded.not_understood)
}

fn load_silences(conn: &Connection, _: Wall, loaded: &mut Loaded) -> rusqlite::Result<()> {
    if loaded.schema < 2 {
        return Ok(());
    }
    let select = "SELECT record FROM silences ORDER BY number";
    each(conn, select, &mut loaded.saved.silences, &mut loaded.not_understood)
}

fn load_outbox(conn: &Connection, _: Wall, loaded: &mut Loaded) -> rusqlite::Result<()> {
    if loaded.schema < 2 {
        return Ok(());
    }
    let mut select = conn.prepare(
        "SELECT notification, channel, id, attempts, next_at, created
         FROM outbox ORDER BY created, channel, id",
    )?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let notification = parse(text_of(row, 0)?, &mut loaded.not_understood);
        let Some(notification) = notification.map(Arc::new) else { continue };
        loaded.saved.outbox.push(Arc::clone(&notification));
        loaded.outbox.push(OutboxRow {
            channel: text_of(row, 1)?.into(),
            id: text_of(row, 2)?.into(),
            attempts: row.get(3)?,
            next_at: Wall(row.get(4)?),
            created: Wall(row.get(5)?),
            notification,
        });
    }
    Ok(())
}

fn load_containers(conn: &Connection, _: Wall, loaded: &mut Loaded) -> rusqlite::Result<()> {
    if loaded.schema < 3 {
        return Ok(());
    }
    let select = "SELECT record FROM containers ORDER BY id";
    each(conn, select, &mut loaded.saved.containers, &mut loaded.not_understood)
}

fn load_calls(conn: &Connection, _: Wall, loaded: &mut Loaded) -> rusqlite::Result<()> {
    if loaded.schema < 3 {
        return Ok(());
    }
    let mut select = conn.prepare("SELECT call, attempts, next_at FROM calls ORDER BY number")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let call = parse::<HookCall>(text_of(row, 0)?, &mut loaded.not_understood);
        let Some(call) = call.map(Arc::new) else { continue };
        loaded.saved.last_call = loaded.saved.last_call.max(call.number);
        loaded.calls.push(CallRow { call, attempts: row.get(1)?, next_at: Wall(row.get(2)?) });
    }
    Ok(())
}

fn each<T: DeserializeOwned>(
    conn: &Connection,
    select: &str,
    into: &mut Vec<T>,
    not_understood: &mut usize,
) -> rusqlite::Result<()> {
    let mut select = conn.prepare(select)?;
    let mut rows = select.query([])?;
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
        let Some(count) = count else {
            tx.prepare_cached("DELETE FROM counts WHERE unit = ?1")?.execute([&**unit])?;
            continue;
        };
        tx.prepare_cached("INSERT OR REPLACE INTO counts (unit, record) VALUES (?1, ?2)")?
            .execute(params![&**unit, to_json(count)?])?;
    }
    if let Some(holds) = &picture.holds {
        tx.execute("DELETE FROM holds", [])?;
        for hold in holds {
            tx.execute("INSERT INTO holds (record) VALUES (?1)", [to_json(hold)?])?;
        }
    }
    if let Some(silences) = &picture.silences {
        tx.execute("DELETE FROM silences", [])?;
        for silence in silences {
            tx.execute("INSERT INTO silences (record) VALUES (?1)", [to_json(silence)?])?;
        }
    }
    if let Some(cursor) = &picture.errors_cursor {
        set(tx, "errors_cursor", cursor)?;
    }
    if let Some(cursor) = &picture.cursor {
        set(tx, "cursor", cursor)?;
    }
    if let Some(agent) = &picture.agent {
        set(tx, "agent", to_json(agent)?)?;
    }
    for channel in &picture.dropped_channels {
        tx.execute("DELETE FROM outbox WHERE channel = ?1", [&**channel])?;
    }
    picture.outbox.iter().try_for_each(|(key, change)| write_row(tx, key, change))?;
    for (id, change) in &picture.containers {
        match change {
            ContainerChange::Put(record) => tx
                .prepare_cached("INSERT OR REPLACE INTO containers (id, record) VALUES (?1, ?2)")?
                .execute(params![&**id, to_json(record)?])?,
            ContainerChange::Gone { .. } => {
                tx.prepare_cached("DELETE FROM containers WHERE id = ?1")?.execute([&**id])?
            }
        };
    }
    for hook in &picture.dropped_hooks {
        tx.execute("DELETE FROM calls WHERE hook = ?1", [&**hook])?;
    }
    picture.calls.iter().try_for_each(|(number, change)| write_call(tx, *number, change))
}

fn write_call(tx: &Transaction<'_>, number: u64, change: &CallChange) -> rusqlite::Result<()> {
    let number = i64::try_from(number).unwrap_or(i64::MAX);
    match change {
        CallChange::Put(row) => tx
            .prepare_cached(
                "INSERT OR REPLACE INTO calls (number, hook, attempts, next_at, call)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                number,
                &*row.call.hook,
                row.attempts,
                row.next_at.0,
                to_json(&*row.call)?,
            ])?,
        CallChange::Gone { .. } => {
            tx.prepare_cached("DELETE FROM calls WHERE number = ?1")?.execute([number])?
        }
        CallChange::Attempt { attempts, next_at } => tx
            .prepare_cached("UPDATE calls SET attempts = ?2, next_at = ?3 WHERE number = ?1")?
            .execute(params![number, attempts, next_at.0])?,
    };
    Ok(())
}

fn write_alert(tx: &Transaction<'_>, alert: &AlertRecord) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT OR REPLACE INTO alerts
             (id, check_id, kind, severity, opened, resolved, pending, record)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        &*alert.id,
        alert.key.check.to_string(),
        alert.key.kind.as_str(),
        alert.severity.as_str(),
        alert.opened.0,
        alert.resolved.map(|at| at.0),
        u32::try_from(alert.pending.len()).unwrap_or(u32::MAX),
        to_json(alert)?,
    ])
    .map(drop)
}

fn write_row(tx: &Transaction<'_>, key: &RowKey, change: &RowChange) -> rusqlite::Result<()> {
    let (channel, id) = (&*key.channel, &*key.id);
    match change {
        RowChange::Put(row) => tx
            .prepare_cached(
                "INSERT OR REPLACE INTO outbox
                     (channel, id, attempts, next_at, created, notification)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                channel,
                id,
                row.attempts,
                row.next_at.0,
                row.created.0,
                to_json(&*row.notification)?,
            ])?,
        RowChange::Gone => tx
            .prepare_cached("DELETE FROM outbox WHERE channel = ?1 AND id = ?2")?
            .execute([channel, id])?,
        RowChange::Attempt { attempts, next_at } => tx
            .prepare_cached(
                "UPDATE outbox SET attempts = ?3, next_at = ?4 WHERE channel = ?1 AND id = ?2",
            )?
            .execute(params![channel, id, attempts, next_at.0])?,
    };
    Ok(())
}

fn to_json<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))
}
