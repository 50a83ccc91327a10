//! The ordered stream of what systemd says: signals, and the answers to what was asked on the same
//! connection. Because systemd sends both on one connection, an answer stands between exactly those
//! signals that came before it and after it; nothing read can be older than what is already known.
//!
//! logind's word that the host is about to go down or to sleep comes over the same connection. Where
//! there is no logind, nothing comes of it.
//!
//! The owner must poll [`Feed::next`] all the time: an unread stream holds the connection up.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use serde::Serialize;
use zbus::message::{Flags, Message, Type};
use zbus::{Connection, DynamicType, MessageStream};

use super::client::next;
use super::decode::{self, Half, Row, ServiceHalf, UnitHalf, Words};
use super::{
    BusAddress, BusError, CALL_LIMIT, LOGIND, LOGIND_MANAGER, LOGIND_PATH, MANAGER, MANAGER_PATH,
    PROPERTIES, SERVICE, SYSTEMD, SystemState, UNIT, dial,
};

/// What systemd is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// The first call on a connection: without it there are no signals.
    Subscribe,
    /// Rows of these units; answered in this order.
    Names(Vec<Arc<str>>),
    /// Rows of loaded units in one of the states (none: any) that fit one of the patterns (none:
    /// any).
    Patterns(Vec<&'static str>, Vec<String>),
    /// Everything of the Service interface of the unit at a path.
    AllOfService(Arc<str>),
    /// Everything of the Unit interface of the unit at a path.
    AllOfUnit(Arc<str>),
    /// One property of the Service interface.
    ServiceProperty(Arc<str>, &'static str),
    /// One property of the Unit interface.
    UnitProperty(Arc<str>, &'static str),
    /// `SystemState`.
    State,
    /// `NNames`.
    Count,
    /// Whether the host is about to do this, as logind knows it. Starts no logind; where there is
    /// none, the answer is an error.
    Preparing(Prepare),
}

/// What logind announces before it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prepare {
    /// To go down: power off, reboot, halt, kexec.
    Shutdown,
    /// To sleep: suspend, hibernate.
    Sleep,
}

/// What systemd answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To [`Ask::Subscribe`].
    Subscribed,
    /// To [`Ask::Names`] and [`Ask::Patterns`].
    Rows(Vec<Row>),
    /// To what was asked of the Service interface.
    Service(ServiceHalf),
    /// To what was asked of the Unit interface.
    Unit(UnitHalf),
    /// To [`Ask::State`].
    State(SystemState),
    /// To [`Ask::Count`].
    Count(Option<u32>),
    /// To [`Ask::Preparing`].
    Preparing(Prepare, bool),
}

/// One thing that systemd said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The Service half of a change; the Unit half follows.
    Service {
        /// The unit's object path.
        path: Arc<str>,
        /// What it says now.
        half: ServiceHalf,
    },
    /// The Unit half of a change, which completes it.
    Unit {
        /// The unit's object path.
        path: Arc<str>,
        /// What it says now.
        half: UnitHalf,
    },
    /// A unit was unloaded.
    Removed {
        /// The unit's object path.
        path: Arc<str>,
    },
    /// A reload or re-execution begins (`true`) or is over.
    Reloading(bool),
    /// A job for `shutdown.target` was queued (`true`) or is gone.
    Shutdown(bool),
    /// The boot is complete.
    StartupFinished,
    /// The bus name of systemd has a new owner (`true`) or none.
    Owner(bool),
    /// logind says that the host is about to do this (`true`), or that it is over or was called off.
    Preparing(Prepare, bool),
    /// logind has come (`true`) or gone.
    Logind(bool),
    /// An answer to [`Feed::ask`], by its ticket.
    Answer(u32, Result<Answer, BusError>),
}

/// The connection that everything comes over.
#[derive(Debug)]
pub struct Feed {
    connection: Connection,
    stream: MessageStream,
    asked: HashMap<u32, Ask>,
    words: Words,
    address: BusAddress,
}

/// Enough for the changes of a few units without waking in between.
const QUEUE: NonZeroUsize = NonZeroUsize::new(256).unwrap();

impl Feed {
    /// Connects, asks the bus for the signals and systemd to send them. The answer to that,
    /// [`Answer::Subscribed`] or the reason why not, comes as the first answer.
    ///
    /// # Errors
    /// [`BusError::Absent`] or [`BusError::Unreachable`].
    pub async fn open(address: &BusAddress) -> Result<(Self, u32), BusError> {
        let mut connection = dial(address, CALL_LIMIT).await?;
        connection.set_max_queued(QUEUE);
        if connection.is_bus() {
            add_matches(&connection).await?;
        }
        let stream = MessageStream::from(&connection);
        let mut feed = Self {
            connection,
            stream,
            asked: HashMap::new(),
            words: Words::default(),
            address: address.clone(),
        };
        let ticket = feed.ask(Ask::Subscribe).await?;
        Ok((feed, ticket))
    }

    /// Asks something; the answer comes through [`Feed::next`] with the ticket returned here.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn ask(&mut self, ask: Ask) -> Result<u32, BusError> {
        let message = message(&ask).map_err(|e| BusError::of_call(name(&ask), &e))?;
        let ticket = message.primary_header().serial_num().get();
        match tokio::time::timeout(CALL_LIMIT, self.connection.send(&message)).await {
            Ok(sent) => sent.map_err(|e| BusError::of_call(name(&ask), &e))?,
            Err(_) => {
                let call = name(&ask).to_owned();
                return Err(BusError::TimedOut { call, limit: CALL_LIMIT });
            }
        }
        self.asked.insert(ticket, ask);
        Ok(ticket)
    }

    /// Whether systemd owes an answer.
    pub fn waits(&self) -> bool {
        self.asked.values().any(of_systemd)
    }

    /// What systemd owes an answer to, for the text of a time-out.
    pub fn waits_for(&self) -> &'static str {
        self.asked.values().find(|ask| of_systemd(ask)).map_or("anything", name)
    }

    /// The next thing systemd says. Cancel safe.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn next(&mut self) -> Result<Event, BusError> {
        loop {
            let message = next(&mut self.stream)
                .await
                .ok_or_else(|| BusError::Lost("the bus closed it".into()))?
                .map_err(|e| BusError::Lost(e.to_string()))?;
            if let Some(event) = self.read(&message) {
                return Ok(event);
            }
        }
    }

    /// The shared words, so that what the owner makes up needs no allocation either.
    pub fn words(&mut self) -> &mut Words {
        &mut self.words
    }

    fn read(&mut self, message: &Message) -> Option<Event> {
        match message.message_type() {
            Type::Signal => self.signal(message),
            Type::MethodReturn | Type::Error => {
                let ticket = message.header().reply_serial()?.get();
                let ask = self.asked.remove(&ticket)?;
                Some(Event::Answer(ticket, self.answer(&ask, message)))
            }
            Type::MethodCall => None,
        }
    }

    fn signal(&mut self, message: &Message) -> Option<Event> {
        let header = message.header();
        // What is sent to this connection alone passed by the match rules, and with them by the
        // only check of the sender: anybody on the bus may send such.
        if header.destination().is_some() {
            return None;
        }
        let body = message.body();
        let path = || -> Option<Arc<str>> { Some(header.path()?.as_str().into()) };
        match (header.interface()?.as_str(), header.member()?.as_str()) {
            (PROPERTIES, "PropertiesChanged") => {
                match decode::properties_changed(&body, &mut self.words) {
                    Ok(Half::Unit(half)) => Some(Event::Unit { path: path()?, half }),
                    Ok(Half::Service(half)) => Some(Event::Service { path: path()?, half }),
                    Ok(Half::Other) => None,
                    Err(error) => {
                        tracing::debug!(%error, "a change of a unit cannot be read");
                        None
                    }
                }
            }
            (MANAGER, "UnitRemoved") => {
                let (_, path): (&str, zbus::ObjectPath<'_>) = body.deserialize().ok()?;
                Some(Event::Removed { path: path.as_str().into() })
            }
            (MANAGER, "Reloading") => Some(Event::Reloading(body.deserialize().ok()?)),
            (MANAGER, "StartupFinished") => Some(Event::StartupFinished),
            (MANAGER, "JobNew") => {
                let (_, _, unit): (u32, zbus::ObjectPath<'_>, &str) = body.deserialize().ok()?;
                (unit == SHUTDOWN).then_some(Event::Shutdown(true))
            }
            (MANAGER, "JobRemoved") => {
                let (_, _, unit, _): (u32, zbus::ObjectPath<'_>, &str, &str) =
                    body.deserialize().ok()?;
                (unit == SHUTDOWN).then_some(Event::Shutdown(false))
            }
            (BUS, "NameOwnerChanged") => {
                let (name, _, new): (&str, &str, &str) = body.deserialize().ok()?;
                match name {
                    SYSTEMD => Some(Event::Owner(!new.is_empty())),
                    LOGIND => Some(Event::Logind(!new.is_empty())),
                    _ => None,
                }
            }
            (LOGIND_MANAGER, "PrepareForShutdown") => {
                Some(Event::Preparing(Prepare::Shutdown, body.deserialize().ok()?))
            }
            (LOGIND_MANAGER, "PrepareForSleep") => {
                Some(Event::Preparing(Prepare::Sleep, body.deserialize().ok()?))
            }
            _ => None,
        }
    }

    fn answer(&mut self, ask: &Ask, message: &Message) -> Result<Answer, BusError> {
        let call = name(ask);
        let body = message.body();
        if message.message_type() == Type::Error {
            let header = message.header();
            let error = header.error_name().map_or("", |n| n.as_str());
            let text = body.deserialize::<&str>().unwrap_or_default();
            let error = BusError::of_reply(call, error, text);
            return Err(match ask {
                Ask::Subscribe => error.or_absent(&self.address),
                _ => error,
            });
        }
        let words = &mut self.words;
        let half = match ask {
            Ask::Subscribe => return Ok(Answer::Subscribed),
            Ask::Names(_) | Ask::Patterns(..) => decode::rows(&body, words).map(Answer::Rows),
            Ask::State => {
                let word = decode::text_property(&body).unwrap_or_default();
                return Ok(Answer::State(SystemState::from_systemd(&word)));
            }
            Ask::Count => return Ok(Answer::Count(decode::number_property(&body))),
            Ask::Preparing(what) => {
                let begun = decode::flag_property(&body).unwrap_or_default();
                return Ok(Answer::Preparing(*what, begun));
            }
            Ask::AllOfService(_) => decode::all_properties(&body, SERVICE, words).map(half),
            Ask::AllOfUnit(_) => decode::all_properties(&body, UNIT, words).map(half),
            Ask::ServiceProperty(_, property) => {
                decode::one_property(&body, SERVICE, property, words).map(half)
            }
            Ask::UnitProperty(_, property) => {
                decode::one_property(&body, UNIT, property, words).map(half)
            }
        };
        half.map_err(|error| decode::unreadable(call, &error))
    }
}

const BUS: &str = "org.freedesktop.DBus";
/// What every way of going down (reboot, poweroff, halt, kexec, exit) queues.
const SHUTDOWN: &str = "shutdown.target";

/// Asked of systemd, without whose answers there is no point in going on.
fn of_systemd(ask: &Ask) -> bool {
    !matches!(ask, Ask::Preparing(_))
}

/// An interface that keepwell does not read cannot be answered to what it asks.
fn half(half: Half) -> Answer {
    match half {
        Half::Service(half) => Answer::Service(half),
        Half::Unit(half) => Answer::Unit(half),
        Half::Other => Answer::Unit(UnitHalf::default()),
    }
}

async fn add_matches(connection: &Connection) -> Result<(), BusError> {
    let manager = format!("type='signal',sender='{SYSTEMD}',interface='{MANAGER}'");
    let logind = format!("type='signal',sender='{LOGIND}',interface='{LOGIND_MANAGER}'");
    let owner = format!("type='signal',sender='{BUS}',interface='{BUS}',member='NameOwnerChanged'");
    let rules = [
        format!(
            "type='signal',sender='{SYSTEMD}',interface='{PROPERTIES}',\
             member='PropertiesChanged',path_namespace='{MANAGER_PATH}/unit'"
        ),
        format!("{manager},member='UnitRemoved'"),
        format!("{manager},member='Reloading'"),
        format!("{manager},member='StartupFinished'"),
        format!("{manager},member='JobNew',arg2='{SHUTDOWN}'"),
        format!("{manager},member='JobRemoved',arg2='{SHUTDOWN}'"),
        format!("{logind},member='PrepareForShutdown'"),
        format!("{logind},member='PrepareForSleep'"),
        format!("{owner},arg0='{SYSTEMD}'"),
        format!("{owner},arg0='{LOGIND}'"),
    ];
    for rule in &rules {
        let body = (rule.as_str(),);
        let add = connection.call_method(
            Some(BUS),
            "/org/freedesktop/DBus",
            Some(BUS),
            "AddMatch",
            &body,
        );
        match tokio::time::timeout(CALL_LIMIT, add).await {
            Ok(done) => drop(done.map_err(|e| BusError::of_call("AddMatch", &e))?),
            Err(_) => {
                return Err(BusError::TimedOut { call: "AddMatch".into(), limit: CALL_LIMIT });
            }
        }
    }
    Ok(())
}

fn name(ask: &Ask) -> &'static str {
    match ask {
        Ask::Subscribe => "Subscribe",
        Ask::Names(_) => "ListUnitsByNames",
        Ask::Patterns(..) => "ListUnitsByPatterns",
        Ask::AllOfService(_) | Ask::AllOfUnit(_) => "GetAll",
        Ask::ServiceProperty(..)
        | Ask::UnitProperty(..)
        | Ask::State
        | Ask::Count
        | Ask::Preparing(_) => "Get",
    }
}

fn message(ask: &Ask) -> zbus::Result<Message> {
    fn call<B>(path: &str, interface: &str, method: &str, body: &B) -> zbus::Result<Message>
    where
        B: Serialize + DynamicType,
    {
        Message::method_call(path, method).destination(SYSTEMD).interface(interface).build(body)
    }
    match ask {
        Ask::Subscribe => call(MANAGER_PATH, MANAGER, name(ask), &()),
        Ask::Names(names) => {
            let names: Vec<&str> = names.iter().map(|n| &**n).collect();
            call(MANAGER_PATH, MANAGER, name(ask), &(names,))
        }
        Ask::Patterns(states, patterns) => {
            call(MANAGER_PATH, MANAGER, name(ask), &(states, patterns))
        }
        Ask::AllOfService(path) => call(path, PROPERTIES, name(ask), &(SERVICE,)),
        Ask::AllOfUnit(path) => call(path, PROPERTIES, name(ask), &(UNIT,)),
        Ask::ServiceProperty(path, property) => {
            call(path, PROPERTIES, name(ask), &(SERVICE, property))
        }
        Ask::UnitProperty(path, property) => call(path, PROPERTIES, name(ask), &(UNIT, property)),
        Ask::State => call(MANAGER_PATH, PROPERTIES, name(ask), &(MANAGER, "SystemState")),
        Ask::Count => call(MANAGER_PATH, PROPERTIES, name(ask), &(MANAGER, "NNames")),
        Ask::Preparing(what) => {
            let property = match what {
                Prepare::Shutdown => "PreparingForShutdown",
                Prepare::Sleep => "PreparingForSleep",
            };
            Message::method_call(LOGIND_PATH, name(ask))
                .destination(LOGIND)
                .interface(PROPERTIES)
                .with_flags(Flags::NO_AUTO_START)
                .build(&(LOGIND_MANAGER, property))
        }
    }
}
