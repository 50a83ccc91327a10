//! Single calls to systemd, each with a time limit.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::time::Duration;

use futures_core::Stream;
use serde::Serialize;
use zbus::message::{Message, Type};
use zbus::{Connection, DynamicType, MatchRule, MessageStream, OwnedObjectPath};

use super::decode::{self, Half, Row, Words};
use super::path::unit_path;
use super::{
    BusAddress, BusError, CALL_LIMIT, MANAGER, MANAGER_PATH, PROPERTIES, SERVICE, SYSTEMD, UNIT,
    dial,
};
use crate::engine::observation::{ServiceSeen, UnitSeen};

/// How systemd as a whole is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemState {
    /// Still booting.
    Starting,
    /// Booted, with (`degraded`) or without failed units, or in a rescue mode.
    Running,
    /// Shutting down.
    Stopping,
}

impl SystemState {
    /// From systemd's word.
    pub fn from_systemd(word: &str) -> Self {
        match word {
            "initializing" | "starting" => Self::Starting,
            "stopping" => Self::Stopping,
            _ => Self::Running,
        }
    }
}

/// A connection for single calls. Cheap to clone; calls may run side by side.
#[derive(Clone, Debug)]
pub struct Bus {
    connection: Connection,
    address: BusAddress,
    limit: Duration,
}

impl Bus {
    /// Connects, and makes sure that systemd is there.
    ///
    /// # Errors
    /// [`BusError::Absent`] on a host without systemd, [`BusError::Unreachable`] when there is no
    /// bus, or no systemd on it.
    pub async fn connect(address: &BusAddress) -> Result<Self, BusError> {
        Self::connect_within(address, CALL_LIMIT).await
    }

    /// As [`Bus::connect`], with another time limit for this and each later call.
    ///
    /// # Errors
    /// As [`Bus::connect`].
    pub async fn connect_within(address: &BusAddress, limit: Duration) -> Result<Self, BusError> {
        let connection = dial(address, limit).await?;
        let bus = Self { connection, address: address.clone(), limit };
        // Also what makes systemd send JobRemoved to this connection.
        bus.manager("Subscribe", &()).await?;
        Ok(bus)
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.connection.is_closed()
    }

    /// Units by their names, loading them where needed, in the order of `names`. One that does not
    /// exist is [`LoadState::NotFound`](crate::engine::observation::LoadState::NotFound); an alias
    /// is answered with the primary name.
    ///
    /// # Errors
    /// As of any call.
    pub async fn units_by_name(&self, names: &[&str]) -> Result<Vec<Row>, BusError> {
        let call = "ListUnitsByNames";
        let reply = self.manager(call, &(names,)).await?;
        decode::rows(&reply.body(), &mut Words::default()).map_err(|e| decode::unreadable(call, &e))
    }

    /// Loaded units that are in one of `states` (of load, active or sub; none: any) and fit one of
    /// `patterns` (none: any).
    ///
    /// # Errors
    /// As of any call.
    pub async fn units_by_pattern(
        &self,
        states: &[&str],
        patterns: &[&str],
    ) -> Result<Vec<Row>, BusError> {
        let call = "ListUnitsByPatterns";
        let reply = self.manager(call, &(states, patterns)).await?;
        decode::rows(&reply.body(), &mut Words::default()).map_err(|e| decode::unreadable(call, &e))
    }

    /// One unit in full, its details too. Not for sweeps: it costs systemd over a millisecond.
    ///
    /// # Errors
    /// As of any call.
    pub async fn unit(&self, name: &str) -> Result<UnitSeen, BusError> {
        let path = unit_path(name);
        let mut words = Words::default();
        let service = if name.ends_with(".service") {
            match self.get_all(&path, SERVICE, &mut words).await? {
                Half::Service(half) => Some(half),
                _ => None,
            }
        } else {
            None
        };
        let mut seen = UnitSeen { name: name.into(), ..UnitSeen::default() };
        if let Half::Unit(unit) = self.get_all(&path, UNIT, &mut words).await? {
            unit.apply(&mut seen);
            seen.details = decode::details(&unit, service.as_ref());
        }
        if let Some(half) = service {
            half.apply(seen.service.insert(ServiceSeen::default()));
        }
        Ok(seen)
    }

    /// Starting, running or stopping.
    ///
    /// # Errors
    /// As of any call.
    pub async fn system_state(&self) -> Result<SystemState, BusError> {
        let body = self.get(MANAGER_PATH, MANAGER, "SystemState").await?.body();
        let word = decode::text_property(&body).unwrap_or_default();
        Ok(SystemState::from_systemd(&word))
    }

    /// systemd's version, such as `257.9-1~deb13u1`.
    ///
    /// # Errors
    /// As of any call.
    pub async fn version(&self) -> Result<String, BusError> {
        let body = self.get(MANAGER_PATH, MANAGER, "Version").await?.body();
        Ok(decode::text_property(&body).unwrap_or_default())
    }

    /// How many unit names systemd has loaded.
    ///
    /// # Errors
    /// As of any call.
    pub async fn unit_count(&self) -> Result<Option<u32>, BusError> {
        let body = self.get(MANAGER_PATH, MANAGER, "NNames").await?.body();
        Ok(decode::number_property(&body))
    }

    /// Clears the failed state, and with it the start limit. Nothing to do for a unit that is not
    /// loaded.
    ///
    /// # Errors
    /// As of any call; [`BusError::Denied`] with the remedy.
    pub async fn reset_failed(&self, name: &str) -> Result<(), BusError> {
        match self.manager("ResetFailedUnit", &(name,)).await {
            Err(error) if error.name() == "NoSuchUnit" => Ok(()),
            other => other.map(drop),
        }
    }

    /// Restarts a unit (mode `replace`) and waits until systemd's job is gone. Returns the job's
    /// result in systemd's words (`done`, `failed`, `canceled`, `dependency`, `skipped`...), or
    /// `timeout` when it was not gone within `limit`.
    ///
    /// # Errors
    /// As of any call; [`BusError::Denied`] with the remedy.
    pub async fn restart(&self, name: &str, limit: Duration) -> Result<String, BusError> {
        self.job("RestartUnit", name, limit).await
    }

    /// Asks for a job on a unit (mode `replace`) and waits until it is gone, as [`Bus::restart`].
    pub(super) async fn job(
        &self,
        method: &str,
        name: &str,
        limit: Duration,
    ) -> Result<String, BusError> {
        // The rule stands before the call, or a quick job is missed.
        let mut removed = self.removed_jobs().await?;
        let mut early: Vec<(OwnedObjectPath, String)> = Vec::new();
        let body = (name, "replace");
        let mut call = pin!(self.manager(method, &body));
        // The stream is read while the call waits: a full one would hold up the answer.
        let job = loop {
            tokio::select! {
                reply = &mut call => {
                    let reply = reply?;
                    let path: OwnedObjectPath = reply
                        .body()
                        .deserialize()
                        .map_err(|e| decode::unreadable(method, &e))?;
                    break path;
                }
                message = next(&mut removed) => early.extend(job_removed(message)?),
            }
        };
        if let Some((_, result)) = early.into_iter().find(|(path, _)| *path == job) {
            return Ok(result);
        }
        let wait = async {
            loop {
                if let Some((path, result)) = job_removed(next(&mut removed).await)?
                    && path == job
                {
                    return Ok(result);
                }
            }
        };
        tokio::time::timeout(limit, wait).await.unwrap_or_else(|_| Ok("timeout".into()))
    }

    async fn removed_jobs(&self) -> Result<MessageStream, BusError> {
        let call = "AddMatch";
        let rule = MatchRule::builder()
            .msg_type(Type::Signal)
            .interface(MANAGER)
            .member("JobRemoved")
            .build()
            .map_err(|e| BusError::of_call(call, &e))?;
        let add = MessageStream::for_match_rule(rule, &self.connection, None);
        self.limited(call, add).await
    }

    async fn get_all(
        &self,
        path: &str,
        interface: &str,
        words: &mut Words,
    ) -> Result<Half, BusError> {
        let reply = self.call(path, PROPERTIES, "GetAll", &(interface,)).await?;
        decode::all_properties(&reply.body(), interface, words)
            .map_err(|e| decode::unreadable("GetAll", &e))
    }

    async fn get(&self, path: &str, interface: &str, name: &str) -> Result<Message, BusError> {
        self.call(path, PROPERTIES, "Get", &(interface, name)).await
    }

    pub(super) async fn manager<B>(&self, method: &str, body: &B) -> Result<Message, BusError>
    where
        B: Serialize + DynamicType,
    {
        self.call(MANAGER_PATH, MANAGER, method, body).await
    }

    pub(super) async fn call<B>(
        &self,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> Result<Message, BusError>
    where
        B: Serialize + DynamicType,
    {
        let call = self.connection.call_method(Some(SYSTEMD), path, Some(interface), method, body);
        self.limited(method, call).await.map_err(|error| error.or_absent(&self.address))
    }

    async fn limited<T>(
        &self,
        call: &str,
        future: impl Future<Output = zbus::Result<T>>,
    ) -> Result<T, BusError> {
        match tokio::time::timeout(self.limit, future).await {
            Ok(result) => result.map_err(|error| BusError::of_call(call, &error)),
            Err(_) => Err(BusError::TimedOut { call: call.to_owned(), limit: self.limit }),
        }
    }
}

/// The next message of a stream; `None` when the connection has closed.
pub(crate) async fn next(stream: &mut MessageStream) -> Option<zbus::Result<Message>> {
    poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}

/// The job's path and its result, where the message is one that can be read.
fn job_removed(
    message: Option<zbus::Result<Message>>,
) -> Result<Option<(OwnedObjectPath, String)>, BusError> {
    let message = message
        .ok_or_else(|| BusError::Lost("the bus closed it".into()))?
        .map_err(|e| BusError::of_call("JobRemoved", &e))?;
    // One sent to this connection alone is not systemd's.
    if message.header().destination().is_some() {
        return Ok(None);
    }
    let body = message.body();
    let parsed = body.deserialize::<(u32, OwnedObjectPath, String, String)>();
    Ok(parsed.ok().map(|(_, path, _, result)| (path, result)))
}
