//! One connection from start to end: reads the feed, keeps what is known up to date, asks where
//! that does not suffice, and hands the observations on.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::time::sleep;

use super::reads::{Reads, Ticket};
use super::table::{Table, Todo};
use super::{LifeReader, Lives, Reading, read};
use crate::engine::Observation;
use crate::engine::observation::{Life, ManagerSeen, Part, PartSeen, PartState, Round, SourceKind};
use crate::sources::SourceContext;
use crate::systemd::bus::{
    Answer, Ask, BusAddress, BusError, CALL_LIMIT, Event, Feed, SystemState,
};

/// How often to compare with what systemd lists.
const RESYNC_EVERY: Duration = Duration::from_secs(60);
/// How often the journal cursor is brought up to date.
const LIVES_EVERY: Duration = Duration::from_secs(3600);
/// When to look again after systemd was not there for a moment.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How long to read on when the connection has ended for writing.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// So often in a row, then the connection is given up.
const MOST_LOOKS: u32 = 25;
/// Observations that wait for a slow driver. When there are more they are dropped, and everything
/// is read afresh once it has caught up.
const MOST_WAITING: usize = 16_384;
/// What is failing, in systemd's load, active and sub states.
const FAILING: [&str; 3] = ["failed", "auto-restart", "auto-restart-queued"];

/// Why a session ended.
pub(super) enum Ended {
    /// Because it should.
    Stopped,
    /// The connection is of no more use.
    Lost(BusError),
}

pub(super) struct Session {
    feed: Feed,
    tickets: HashMap<u32, Ticket>,
    reads: Reads,
    resync: Option<Resync>,
    /// Another resync is due when this one is done.
    again: bool,
    /// Nothing is sent before the journal has been read.
    gap: bool,
    overflowed: bool,
    out: VecDeque<Observation>,
    manager: ManagerSeen,
    said: Option<ManagerSeen>,
    shutdown_job: bool,
    journal_broken: bool,
    looks: u32,
    look_again: bool,
    rounds: u64,
    full: bool,
}

/// A resync that is under way.
#[derive(Debug, Default)]
struct Resync {
    owed: usize,
    total: Option<u32>,
}

impl Session {
    /// Connects and subscribes.
    pub(super) async fn open(address: &BusAddress) -> Result<Self, BusError> {
        let (mut feed, ticket) = Feed::open(address).await?;
        let subscribed = async {
            loop {
                match feed.next().await? {
                    Event::Answer(of, answer) if of == ticket => return answer.map(drop),
                    // What comes earlier is older than the first reading.
                    _ => {}
                }
            }
        };
        tokio::time::timeout(CALL_LIMIT, subscribed).await.unwrap_or_else(|_| {
            Err(BusError::TimedOut { call: "Subscribe".into(), limit: CALL_LIMIT })
        })?;
        Ok(Self {
            feed,
            tickets: HashMap::new(),
            reads: Reads::default(),
            resync: None,
            again: false,
            gap: true,
            overflowed: false,
            out: VecDeque::new(),
            manager: ManagerSeen::default(),
            said: None,
            shutdown_job: false,
            journal_broken: false,
            looks: 0,
            look_again: false,
            rounds: 0,
            full: false,
        })
    }

    /// Observes until the connection ends or the source is to stop; once: until the first round.
    /// What was seen before the connection ended is still handed on.
    pub(super) async fn run(
        &mut self,
        table: &mut Table,
        lives: Option<&mut LifeReader>,
        context: &SourceContext,
    ) -> Ended {
        let ended = self.observe(table, lives, context).await;
        if matches!(ended, Ended::Lost(_)) {
            // Signals may be waiting to be read although nothing can be asked any more.
            while let Ok(Ok(event)) = tokio::time::timeout(LAST_WORDS, self.feed.next()).await {
                if !matches!(event, Event::Answer(..)) {
                    let _ = self.take(event, table);
                }
            }
            table.release();
            self.collect(table);
            // In a gap the journal has not been read, and will tell the same.
            while !self.gap
                && let Some(seen) = self.out.pop_front()
            {
                tokio::select! {
                    () = context.stop.cancelled() => return Ended::Stopped,
                    sent = context.send(seen) => if sent.is_err() {
                        return Ended::Stopped;
                    }
                }
            }
        }
        ended
    }

    async fn observe(
        &mut self,
        table: &mut Table,
        mut lives: Option<&mut LifeReader>,
        context: &SourceContext,
    ) -> Ended {
        let mut reading: Option<Reading> = None;
        let mut resync_due = pin!(sleep(RESYNC_EVERY));
        let mut lives_due = pin!(sleep(LIVES_EVERY));
        let mut look_due = pin!(sleep(LOOK_AGAIN));
        let mut answer_due = pin!(sleep(CALL_LIMIT));
        let mut wanted = pin!(context.resync.notified());
        let mut waited = false;
        let names = table.names();
        let begun = if lives.is_some() && !names.is_empty() {
            // The journal knows primary names only.
            self.ask(Ticket::Aliases(names.clone()), Ask::Names(names)).await
        } else {
            self.begin(table, lives.as_deref_mut(), &mut reading).await
        };
        if let Err(error) = begun {
            return Ended::Lost(error);
        }
        loop {
            if self.overflowed && self.out.is_empty() && reading.is_none() {
                self.overflowed = false;
                self.gap = true;
                table.gap();
                if let Err(error) = self.begin(table, lives.as_deref_mut(), &mut reading).await {
                    return Ended::Lost(error);
                }
            }
            if let Err(error) = self.ask_next(table).await {
                return Ended::Lost(error);
            }
            self.finish_round(table);
            self.collect(table);
            if self.hand_on(context).is_err() {
                return Ended::Stopped;
            }
            if self.again && self.resync.is_none() && !self.gap {
                self.again = false;
                if let Err(error) = self.start_resync(table).await {
                    return Ended::Lost(error);
                }
            }
            if context.once && self.rounds > 0 && self.out.is_empty() {
                return Ended::Stopped;
            }
            if self.feed.waits() && !waited {
                answer_due.set(sleep(CALL_LIMIT));
            }
            waited = self.feed.waits();
            tokio::select! {
                biased;
                () = context.stop.cancelled() => return Ended::Stopped,
                event = self.feed.next() => {
                    let event = match event {
                        Ok(event) => event,
                        Err(error) => return Ended::Lost(error),
                    };
                    if matches!(event, Event::Answer(..)) {
                        answer_due.set(sleep(CALL_LIMIT));
                    }
                    match self.take(event, table) {
                        Ok(After::Nothing) => {}
                        Ok(After::Begin) => {
                            let lives = lives.as_deref_mut();
                            if let Err(error) = self.begin(table, lives, &mut reading).await {
                                return Ended::Lost(error);
                            }
                        }
                        Ok(After::Look) => {
                            self.look_again = true;
                            look_due.set(sleep(LOOK_AGAIN));
                        }
                        Err(error) => return Ended::Lost(error),
                    }
                }
                () = answer_due.as_mut(), if waited => {
                    let call = self.feed.waits_for().to_owned();
                    return Ended::Lost(BusError::TimedOut { call, limit: CALL_LIMIT });
                }
                permit = context.out.reserve(), if self.blocked() => {
                    let Ok(permit) = permit else { return Ended::Stopped };
                    if let Some(first) = self.out.pop_front() {
                        permit.send(first);
                    }
                }
                told = async { match reading.as_mut() {
                    Some(reading) => reading.await,
                    None => std::future::pending().await,
                }}, if reading.is_some() => {
                    reading = None;
                    self.lives_read(told, table);
                    if self.gap {
                        self.gap = false;
                        self.again = true;
                    }
                }
                () = wanted.as_mut() => {
                    self.again = true;
                    wanted.set(context.resync.notified());
                }
                () = look_due.as_mut(), if self.look_again => {
                    self.look_again = false;
                    self.again = true;
                }
                () = resync_due.as_mut() => {
                    self.again = true;
                    resync_due.set(sleep(RESYNC_EVERY));
                }
                () = lives_due.as_mut(), if reading.is_none() => {
                    reading = lives.as_deref_mut().map(read);
                    lives_due.set(sleep(LIVES_EVERY));
                }
            }
        }
    }

    /// Reads the journal, where there is one; then the resync follows.
    async fn begin(
        &mut self,
        table: &mut Table,
        lives: Option<&mut LifeReader>,
        reading: &mut Option<Reading>,
    ) -> Result<(), BusError> {
        match lives {
            Some(lives) => *reading = Some(read(lives)),
            None => {
                self.gap = false;
                self.start_resync(table).await?;
            }
        }
        Ok(())
    }

    async fn ask(&mut self, ticket: Ticket, ask: Ask) -> Result<(), BusError> {
        let serial = self.feed.ask(ask).await?;
        self.tickets.insert(serial, ticket);
        Ok(())
    }

    async fn start_resync(&mut self, table: &Table) -> Result<(), BusError> {
        let mut asks = vec![(Ticket::State, Ask::State), (Ticket::Count, Ask::Count)];
        let names = table.names();
        if !names.is_empty() {
            asks.push((Ticket::Names(names.clone()), Ask::Names(names)));
        }
        if table.all_failed() {
            asks.push((Ticket::Failed, Ask::Patterns(FAILING.to_vec(), Vec::new())));
        }
        let globs = table.globs();
        if !globs.is_empty() {
            asks.push((Ticket::Globs, Ask::Patterns(Vec::new(), globs)));
        }
        self.resync = Some(Resync { owed: asks.len(), total: None });
        for (ticket, ask) in asks {
            self.ask(ticket, ask).await?;
        }
        Ok(())
    }

    /// Asks what is due by now.
    async fn ask_next(&mut self, table: &mut Table) -> Result<(), BusError> {
        for path in table.wanted.drain(..) {
            self.reads.want(path);
        }
        while let Some((ticket, asks)) = self.reads.next(|path| table.prefetching(path)) {
            for ask in asks {
                self.ask(ticket.clone(), ask).await?;
            }
        }
        Ok(())
    }

    /// Takes in one event.
    fn take(&mut self, event: Event, table: &mut Table) -> Result<After, BusError> {
        match event {
            Event::Service { path, half } => table.service(&path, half),
            Event::Unit { path, half } => {
                table.trigger_seen(&path);
                table.unit_changed(&path, &half);
            }
            Event::Removed { path } => {
                if !self.manager.reloading && table.removed(&path) {
                    return Ok(After::Look);
                }
            }
            Event::Reloading(true) => {
                self.manager.reloading = true;
                self.say_manager();
            }
            Event::Reloading(false) | Event::Owner(true) => {
                self.manager.reloading = false;
                self.say_manager();
                table.reloaded();
                self.again = true;
            }
            Event::Owner(false) => {}
            Event::Shutdown(begun) => {
                self.shutdown_job = begun;
                if begun && !self.manager.stopping {
                    self.manager.stopping = true;
                    self.say_manager();
                } else {
                    self.again = true;
                }
            }
            Event::StartupFinished => self.again = true,
            Event::Answer(serial, answer) => {
                if let Some(ticket) = self.tickets.remove(&serial) {
                    return self.answered(ticket, answer, table);
                }
            }
        }
        Ok(After::Nothing)
    }

    fn answered(
        &mut self,
        ticket: Ticket,
        answer: Result<Answer, BusError>,
        table: &mut Table,
    ) -> Result<After, BusError> {
        match (ticket, answer) {
            (Ticket::Read(path), answer) => {
                match answer {
                    Ok(Answer::Service(half)) => table.service(&path, half),
                    Ok(Answer::Unit(half)) => table.unit_read(&path, &half),
                    // What the row said has to do.
                    _ => {}
                }
                if self.reads.read(&path) {
                    table.report(&path);
                }
                return Ok(After::Nothing);
            }
            (Ticket::Details(path), answer) => {
                if let Some(details) = self.reads.detail(&path, answer) {
                    table.details(&path, details);
                }
                return Ok(After::Nothing);
            }
            (Ticket::Aliases(asked), answer) => {
                if let Ok(Answer::Rows(rows)) = answer
                    && rows.len() == asked.len()
                {
                    for (row, asked) in rows.iter().zip(&asked) {
                        if row.name != *asked {
                            table.alias_of(&row.name, asked);
                        }
                    }
                }
                return Ok(After::Begin);
            }
            (_, Err(error)) if error.nobody_there() => {
                // systemd is being re-executed, most likely.
                self.looks += 1;
                if self.looks > MOST_LOOKS {
                    return Err(error);
                }
                self.resync = None;
                self.tickets.retain(|_, ticket| !ticket.of_resync());
                return Ok(After::Look);
            }
            (_, Err(error)) => return Err(error),
            (Ticket::Names(asked), Ok(Answer::Rows(rows))) => {
                let in_order = rows.len() == asked.len();
                for (i, row) in rows.iter().enumerate() {
                    let asked = if in_order { asked.get(i) } else { None };
                    self.todo(table.row(row, asked), &row.name);
                }
                if !in_order {
                    for name in asked.iter().filter(|n| rows.iter().all(|row| row.name != **n)) {
                        table.no_row(name);
                    }
                }
            }
            (Ticket::Failed, Ok(Answer::Rows(rows))) => {
                for row in &rows {
                    self.todo(table.row(row, None), &row.name);
                }
            }
            (Ticket::Globs, Ok(Answer::Rows(rows))) => {
                table.glob_rows(&rows);
                for row in &rows {
                    self.todo(table.row(row, None), &row.name);
                }
            }
            (Ticket::State, Ok(Answer::State(state))) => {
                self.manager.starting = state == SystemState::Starting;
                self.manager.stopping = state == SystemState::Stopping || self.shutdown_job;
                // An answer means that systemd is not in the midst of a reload.
                self.manager.reloading = false;
                self.say_manager();
            }
            (Ticket::Count, Ok(Answer::Count(count))) => {
                if let Some(resync) = &mut self.resync {
                    resync.total = count;
                }
            }
            _ => {}
        }
        self.looks = 0;
        if let Some(resync) = &mut self.resync {
            resync.owed = resync.owed.saturating_sub(1);
        }
        Ok(After::Nothing)
    }

    fn todo(&mut self, todo: Todo, name: &str) {
        if todo == Todo::Read {
            self.reads.add(crate::systemd::bus::unit_path(name).into());
        }
    }

    fn say_manager(&mut self) {
        if self.said != Some(self.manager) {
            self.said = Some(self.manager);
            self.push(Observation::Manager(self.manager));
        }
    }

    fn finish_round(&mut self, table: &mut Table) {
        if let Some(resync) = &self.resync
            && resync.owed == 0
            && self.reads.idle()
            && table.wanted.is_empty()
        {
            let round = Round { source: SourceKind::Units, total: resync.total };
            self.resync = None;
            self.rounds += 1;
            self.collect(table);
            self.push(Observation::Round(round));
            self.reads.prefetch(table.without_details());
        }
    }

    fn lives_read(&mut self, told: Result<Lives, String>, table: &Table) {
        let (lives, cursor) = match told {
            Ok(told) => told,
            Err(error) => {
                if !self.journal_broken {
                    self.journal_broken = true;
                    let state = PartState::Broken(error);
                    self.front(vec![Observation::Part(PartSeen { part: Part::Journal, state })]);
                }
                return;
            }
        };
        let mut first = Vec::with_capacity(lives.len() + 2);
        if self.journal_broken {
            self.journal_broken = false;
            let state = PartState::Works;
            first.push(Observation::Part(PartSeen { part: Part::Journal, state }));
        }
        for life in lives {
            for name in table.names_of(&life.unit) {
                first.push(Observation::Life(Life { unit: name, ..life.clone() }));
            }
        }
        first.extend(cursor.map(Observation::CaughtUp));
        self.front(first);
    }

    /// Before a resync the journal's story precedes what signals brought meanwhile; later on it
    /// takes its turn.
    fn front(&mut self, first: Vec<Observation>) {
        if self.gap {
            let later = std::mem::replace(&mut self.out, first.into());
            self.out.extend(later);
        } else {
            self.out.extend(first);
        }
    }

    fn push(&mut self, seen: Observation) {
        if self.out.len() < MOST_WAITING {
            self.out.push_back(seen);
        } else if !self.overflowed {
            tracing::warn!(
                waiting = self.out.len(),
                "the driver is too far behind; units are read afresh when it has caught up"
            );
            self.overflowed = true;
        }
    }

    fn collect(&mut self, table: &mut Table) {
        while let Some(seen) = table.out.pop_front() {
            self.push(Observation::Unit(Box::new(seen)));
        }
    }

    fn blocked(&self) -> bool {
        self.full && !self.gap && !self.out.is_empty()
    }

    /// Hands on as much as the driver takes now.
    fn hand_on(&mut self, context: &SourceContext) -> Result<(), ()> {
        self.full = false;
        while !self.gap
            && let Some(first) = self.out.pop_front()
        {
            match context.out.try_send(first) {
                Ok(()) => {}
                Err(TrySendError::Full(first)) => {
                    self.out.push_front(first);
                    self.full = true;
                    break;
                }
                Err(TrySendError::Closed(_)) => return Err(()),
            }
        }
        Ok(())
    }
}

/// What follows an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Nothing,
    /// The names are known: read the journal.
    Begin,
    /// Look again in a moment.
    Look,
}
