//! Acts of people: holds, restarts, and what the alert book does on their word.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::desk::held_as;
use super::event::{Act, Actor, Command};
use super::heal::Patient as _;
use super::rules::UnitPattern;
use super::saved::{Change, Hold};
use super::time::Human;
use super::timers::Timer;
use super::words::{CheckId, CheckKind, Reason};

/// How acts of people name a container.
const CONTAINER: &str = "container:";

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

    fn restart_now(&mut self, name: &str, actor: Actor) -> Result<String, String> {
        let check = self.known(name)?;
        let Self { units, containers, desk, .. } = self;
        let patient = super::patient(units, containers, &check);
        let patient = patient.ok_or_else(|| format!("{} has not been seen yet", check.name))?;
        patient.restart_now(actor, desk)
    }

    fn hold(
        &mut self,
        unit: Option<Arc<str>>,
        lasts: Duration,
        why: Option<String>,
        actor: Actor,
    ) -> Result<String, String> {
        let check = unit.map(|u| self.known(&u)).transpose()?;
        let unit = check.as_ref().map(held_as);
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
        if let Some(check) = check {
            self.desk.decide(&check, Reason::Held, text);
        }
        Ok(format!("keepwell leaves {what} alone for {}", Human(lasts)))
    }

    fn release(&mut self, unit: Option<&Arc<str>>, actor: &Actor) -> Result<String, String> {
        let check = unit.map(|u| self.known(u)).transpose()?;
        let unit = check.as_ref().map(held_as);
        let before = self.desk.holds.len();
        self.desk.holds.retain(|h| h.unit != unit);
        let what = unit.clone().unwrap_or_else(|| "all units".into());
        if self.desk.holds.len() == before {
            return Err(format!("{what} was not held"));
        }
        self.desk.keep(Change::Holds(self.desk.holds.clone()));
        if let Some(check) = check {
            let text = format!("released by {}", actor.0);
            self.desk.decide(&check, Reason::Held, text);
        }
        self.replan_all();
        Ok(format!("keepwell looks after {what} again"))
    }

    /// The check of a unit, by its name, or of a container, as `container:NAME`, that is watched.
    fn known(&self, name: &str) -> Result<CheckId, String> {
        if let Some(name) = name.strip_prefix(CONTAINER) {
            let check = CheckId::new(CheckKind::Container, name);
            if !self.desk.checks.contains_key(&check) {
                let text =
                    format!("keepwell does not watch a container {name}; see: keepwell status");
                return Err(text);
            }
            return Ok(check);
        }
        let pattern = UnitPattern::try_new(name)?;
        let full = pattern
            .exact()
            .ok_or_else(|| format!("'{name}' is a pattern; name one unit, or all"))?;
        if self.desk.rules.unit(full).is_none() && !self.units.contains_key(full) {
            let container =
                CheckId::new(CheckKind::Container, name.strip_suffix(".service").unwrap_or(name));
            if self.desk.checks.contains_key(&container) {
                return Err(format!(
                    "keepwell watches no unit {full}; the container is {container}"
                ));
            }
            return Err(format!("keepwell does not watch {full}; see: keepwell status"));
        }
        Ok(CheckId::unit(full))
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
        self.containers.replan_all(&mut self.desk);
    }
}
