//! The least that an agent of this kind can cost: a bare subscriber to systemd's signals, with one
//! `ListUnitsByPatterns` a minute. `scripts/bench` measures keepwell beside it.
//!
//! For each unit that turns `failed` it writes a line `MICROSECONDS OBJECT_PATH` to the file that is
//! its only argument, if there is one.

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::future::poll_fn;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use zbus::export::futures_core::Stream as _;

use zbus::{Connection, MatchRule, MessageStream, OwnedObjectPath, OwnedVariant, Variant, message};

const SYSTEMD: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";

type UnitRow =
    (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut log = std::env::args().nth(1).map(File::create).transpose()?;
    let connection = Connection::system().await?;
    let rule = MatchRule::builder()
        .msg_type(message::Type::Signal)
        .interface("org.freedesktop.DBus.Properties")
        .path_namespace("/org/freedesktop/systemd1/unit")
        .build()?;
    let mut signals =
        MessageStream::for_match_rule(rule, &connection, NonZeroUsize::new(4096)).await?;
    connection.call_method(Some(SYSTEMD), PATH, Some(MANAGER), "Subscribe", &()).await?;
    list(&connection).await?;
    sd_notify::notify(&[sd_notify::NotifyState::Ready])?;

    let mut minute = tokio::time::interval(Duration::from_secs(60));
    loop {
        let message = tokio::select! {
            message = poll_fn(|cx| Pin::new(&mut signals).poll_next(cx)) => message,
            _ = minute.tick() => {
                list(&connection).await?;
                continue;
            }
        };
        let Some(message) = message else { return Err("the bus is gone".into()) };
        let message = message?;
        let body = message.body();
        let (interface, changed, _): (String, HashMap<String, OwnedVariant>, Vec<String>) =
            body.deserialize()?;
        let state = changed.get("ActiveState").map(|value| &**value);
        if interface == UNIT
            && let Some(Variant::Str(state)) = state
            && state.as_str() == "failed"
            && let Some(log) = &mut log
        {
            let at = clock_gettime(ClockId::Realtime);
            let at = at.tv_sec * 1_000_000 + at.tv_nsec / 1_000;
            let path = message.header().path().map(ToString::to_string).unwrap_or_default();
            log.write_all(format!("{at} {path}\n").as_bytes())?;
        }
    }
}

/// How many units have failed.
async fn list(connection: &Connection) -> Result<usize, Box<dyn Error>> {
    let patterns: Vec<String> = Vec::new();
    let reply = connection
        .call_method(
            Some(SYSTEMD),
            PATH,
            Some(MANAGER),
            "ListUnitsByPatterns",
            &(vec!["failed".to_owned()], patterns),
        )
        .await?;
    let units: Vec<UnitRow> = reply.body().deserialize()?;
    Ok(units.len())
}
