//! Acts of people: holds, restarts, and what the alert book does on their word.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::event::{Act, Actor, Command};
use super::rules::UnitPattern;
use super::saved::{Change, Hold};
use super::time::Human;
use super::timers::Timer;
use super::words::{CheckId, Reason};

impl Engine {
    pub(super) fn command(&mut self, command: Command) {
        let Command { actor, act } = command;
        let reply = match act {
            Act::Hold { unit, lasts, why } => self.hold(unit, lasts, why, actor),
            Act::Release { unit } => self.release(unit.as_ref(), &actor),
            Act::Acknowledge { alert, lasts, why } => {
                self.desk.with_book(|book, pen| book.acknowledge(&alert, lasts, why, &actor, pen))
            }
            Act::Unacknowledge { alert } => {
                self.desk.with_book(|book, pen| book.unacknowledge(&alert, &actor, pen))
            }
            Act::Silence { matcher, lasts, why } => {
                self.desk.with_book(|book, pen| book.silence(matcher, lasts, why, &actor, pen))
            }
            Act::Unsilence { id } => self.desk.with_book(|book, pen| book.unsilence(&id, pen)),
            Act::Restart { unit } => self.restart_now(&unit, actor),
        };
        self.desk.out.reply = Some(reply);
        self.desk.out.dirty = true;
    }

    fn restart_now(&mut self, unit: &str, actor: Actor) -> Result<String, String> {
        let name = self.known(unit)?;
        let Self { units, desk, .. } = self;
        let unit = units.get_mut(&name).ok_or_else(|| format!("{name} has not been seen yet"))?;
        unit.restart_now(actor, desk)
    }

    fn hold(
        &mut self,
        unit: Option<Arc<str>>,
        lasts: Duration,
        why: Option<String>,
        actor: Actor,
    ) -> Result<String, String> {
        let unit = unit.map(|u| self.known(&u)).transpose()?;
        if lasts.is_zero() || lasts > Duration::from_secs(366 * 86_400) {
            return Err("a hold lasts between 1 s and 366 d".into());
        }
        let until = self.desk.now.wall.after(lasts);
        let what = unit.clone().unwrap_or_else(|| "all units".into());
        self.desk.holds.retain(|h| h.unit != unit);
        let text = format!("held by {} for {}", actor.0, Human(lasts));
        self.desk.holds.push(Hold { unit: unit.clone(), until, actor, why });
        self.desk.keep(Change::Holds(self.desk.holds.clone()));
        self.arm_hold();
        if let Some(unit) = unit {
            self.desk.decide(&CheckId::unit(unit), Reason::Held, text);
        }
        Ok(format!("keepwell leaves {what} alone for {}", Human(lasts)))
    }

    fn release(&mut self, unit: Option<&Arc<str>>, actor: &Actor) -> Result<String, String> {
        let unit = unit.map(|u| self.known(u)).transpose()?;
        let before = self.desk.holds.len();
        self.desk.holds.retain(|h| h.unit != unit);
        let what = unit.clone().unwrap_or_else(|| "all units".into());
        if self.desk.holds.len() == before {
            return Err(format!("{what} was not held"));
        }
        self.desk.keep(Change::Holds(self.desk.holds.clone()));
        if let Some(unit) = unit {
            let text = format!("released by {}", actor.0);
            self.desk.decide(&CheckId::unit(unit), Reason::Held, text);
        }
        self.replan_all();
        Ok(format!("keepwell looks after {what} again"))
    }

    /// The full name of a unit that is watched.
    fn known(&self, name: &str) -> Result<Arc<str>, String> {
        let pattern = UnitPattern::try_new(name)?;
        let full = pattern
            .exact()
            .ok_or_else(|| format!("'{name}' is a pattern; name one unit, or all"))?;
        if self.desk.rules.unit(full).is_none() && !self.units.contains_key(full) {
            return Err(format!("keepwell does not watch {full}; see: keepwell status"));
        }
        Ok(full.into())
    }

    pub(super) fn holds_over(&mut self) {
        let now = self.desk.now.wall;
        self.desk.holds.retain(|h| h.until > now);
        self.desk.keep(Change::Holds(self.desk.holds.clone()));
        self.desk.out.dirty = true;
        self.arm_hold();
        self.replan_all();
    }

    pub(super) fn arm_hold(&mut self) {
        let now = self.desk.now;
        match self.desk.holds.iter().map(|h| h.until).min() {
            Some(until) => {
                let at = now.boot.after(until.since(now.wall));
                self.desk.timers.set(Timer::Hold, at);
            }
            None => self.desk.timers.clear(&Timer::Hold),
        }
    }

    pub(super) fn replan_all(&mut self) {
        for unit in self.units.values_mut() {
            unit.replan(&mut self.desk);
        }
    }
}
