//! One connection from start to end: reads the feed, keeps what is known up to date, asks where
//! that does not suffice, and hands the observations on.

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use tokio::time::sleep;

use super::manager::Manager;
use super::queue::Queue;
use super::reads::{Reads, Ticket};
use super::table::{Table, Todo};
use super::{LifeReader, Lives, Reading, read};
use crate::engine::Observation;
use crate::engine::observation::{Life, Part, PartSeen, PartState, Round, SourceKind};
use crate::sources::SourceContext;
use crate::systemd::bus::{Answer, Ask, BusAddress, BusError, CALL_LIMIT, Event, Feed, Prepare};

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
    out: Queue,
    manager: Manager,
    journal_broken: bool,
    looks: u32,
    look_again: bool,
    /// logind is to be asked how things are.
    logind_came: bool,
    rounds: u64,
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
            out: Queue::default(),
            manager: Manager::default(),
            journal_broken: false,
            looks: 0,
            look_again: false,
            logind_came: false,
            rounds: 0,
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
                && let Some(seen) = self.out.pop()
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
        // How the host is stands before what units do: asked now, it is known first.
        if let Err(error) = self.ask_host().await {
            return Ended::Lost(error);
        }
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
            if reading.is_none() && self.out.caught_up() {
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
            if !self.gap && self.out.hand_on(context).is_err() {
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
                permit = context.out.reserve(), if !self.gap && self.out.blocked() => {
                    let Ok(permit) = permit else { return Ended::Stopped };
                    if let Some(first) = self.out.pop() {
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

    async fn ask_host(&mut self) -> Result<(), BusError> {
        self.ask(Ticket::Host, Ask::State).await?;
        self.ask_logind().await
    }

    async fn ask_logind(&mut self) -> Result<(), BusError> {
        self.ask(Ticket::Host, Ask::Preparing(Prepare::Shutdown)).await?;
        self.ask(Ticket::Host, Ask::Preparing(Prepare::Sleep)).await
    }

    async fn start_resync(&mut self, table: &Table) -> Result<(), BusError> {
        if self.manager.is_announced() {
            self.ask_logind().await?;
        }
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
            let before = table.needed.len();
            table.needed.retain(|needed| *needed != path);
            self.reads.want(path, table.needed.len() < before);
        }
        for path in table.needed.drain(..) {
            self.reads.want_needs(path);
        }
        for path in table.to_trigger.drain(..) {
            self.reads.want_triggers(path);
        }
        if std::mem::take(&mut self.logind_came) {
            self.ask_logind().await?;
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
                if !self.manager.is_reloading() && table.removed(&path) {
                    return Ok(After::Look);
                }
            }
            Event::Reloading(true) => self.manager.reloading(true),
            Event::Reloading(false) | Event::Owner(true) => {
                self.manager.reloading(false);
                table.reloaded();
                self.again = true;
            }
            Event::Owner(false) => {}
            Event::Shutdown(begun) => {
                self.manager.shutdown_job(begun);
                self.again |= !begun;
            }
            Event::Preparing(what, begun) => self.manager.prepares(what, begun),
            Event::Logind(true) => self.logind_came = true,
            Event::Logind(false) => {
                self.manager.logind_gone();
                self.again |= self.manager.is_announced();
            }
            Event::StartupFinished => {
                self.manager.started();
                self.again = true;
            }
            Event::Answer(serial, answer) => {
                if let Some(ticket) = self.tickets.remove(&serial) {
                    return self.answered(ticket, answer, table);
                }
            }
        }
        self.say_manager();
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
                if let Some(done) = self.reads.detail(&path, answer) {
                    if let Some(direct) = done.direct {
                        table.learn(&path, direct);
                    }
                    table.details(&path, done.details);
                }
                return Ok(After::Nothing);
            }
            (Ticket::Needs(path), answer) => {
                if let Some(direct) = self.reads.needed(&path, answer) {
                    table.learn(&path, direct);
                }
                return Ok(After::Nothing);
            }
            (Ticket::Triggers, answer) => {
                self.reads.triggered();
                if let Ok(Answer::Unit(half)) = answer {
                    half.triggers.unwrap_or_default().iter().for_each(|name| table.triggered(name));
                }
                return Ok(After::Nothing);
            }
            (Ticket::Host, answer) => {
                match answer {
                    Ok(Answer::State(state)) => self.manager.state(state),
                    Ok(Answer::Preparing(what, begun)) => self.manager.prepares(what, begun),
                    // No logind, or systemd is not there for a moment, which a resync will find.
                    _ => {}
                }
                self.say_manager();
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
                self.manager.state(state);
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
        if let Some(seen) = self.manager.news() {
            self.push(Observation::Manager(seen));
        }
    }

    fn finish_round(&mut self, table: &mut Table) {
        if let Some(resync) = &self.resync
            && resync.owed == 0
            && self.reads.idle()
            && table.wanted.is_empty()
            && table.needed.is_empty()
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
            self.out.put_first(first);
        } else {
            self.out.extend(first);
        }
    }

    fn push(&mut self, seen: Observation) {
        self.out.push(seen);
    }

    fn collect(&mut self, table: &mut Table) {
        while let Some(seen) = table.out.pop_front() {
            self.push(Observation::Unit(Box::new(seen)));
        }
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
