//! What becomes known of the container that has a name: its runs are counted, and who has the name
//! changes.

use std::sync::Arc;
use std::time::Duration;

use super::container::Container;
use super::fact::{Fact, What, Why};
use super::life::Life;
use crate::engine::alert::NoticeKind;
use crate::engine::desk::Desk;
use crate::engine::heal::Patient;
use crate::engine::kills;
use crate::engine::observation::{ContainerSeen, Invocation};
use crate::engine::saved::{ContainerRecord, Phase};
use crate::engine::time::Wall;
use crate::engine::timers::Timer;
use crate::engine::words::Reason;

/// A kill that is older is not one that the kernel's count has only just shown.
const NEWS: Duration = Duration::from_secs(60);

/// The last run of a container, and how it ended: it goes with the container when that is renamed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LastRun {
    run: Option<Invocation>,
    boot_id: Arc<str>,
    badly: bool,
    stopped: bool,
    crashed: Option<Invocation>,
}

impl Container {
    /// Another container has the name now: what became of the former one is no story of this one.
    pub(super) fn anew(&mut self, id: &Arc<str>, desk: &mut Desk) {
        if self.cid.as_ref() == Some(id) {
            return;
        }
        let former = self.cid.replace(id.clone()).is_some();
        let of_this = self.chart.lives.record.invocation.is_some_and(|run| is_of(run, id));
        if !former && of_this {
            return; // It was known before keepwell came up.
        }
        self.sight = None;
        self.unsettle(desk);
        self.over = None;
        let record = &mut self.chart.lives.record;
        let changed = record.ended_badly || record.stopped || record.crashed.is_some();
        (record.ended_badly, record.stopped, record.crashed) = (false, false, None);
        if changed {
            self.chart.keep_counts(desk);
        }
        if !matches!(self.chart.healing.record.phase, Phase::Idle) {
            let before = self.chart.healing.record.clone();
            self.chart.healing.reset();
            self.replan(desk);
            self.chart.keep_if_changed(&before, desk);
        }
    }

    /// Nothing has the name any more.
    pub(super) fn lost(&mut self, desk: &mut Desk) {
        self.cid = None;
        self.sight = None;
        self.unsettle(desk);
        if !matches!(self.chart.healing.record.phase, Phase::Idle) {
            let before = self.chart.healing.record.clone();
            self.chart.healing.reset();
            self.replan(desk);
            self.chart.keep_if_changed(&before, desk);
        }
        desk.touch(&self.chart.id);
    }

    /// What was waited for was about a container that has the name no more.
    fn unsettle(&mut self, desk: &mut Desk) {
        self.settling = None;
        for timer in [Timer::Settle, Timer::Look] {
            desk.timers.clear(&timer(self.chart.id.clone()));
        }
    }

    /// Whether something is remembered of the container of this id that ended badly here.
    pub(super) fn crashed(&self, id: &str) -> bool {
        let record = &self.chart.lives.record;
        record.crashed.is_some()
            && record.crashed == record.invocation
            && record.invocation.is_some_and(|run| is_of(run, id))
    }

    /// Something has become known of the container that has the name.
    pub(super) fn learn(&mut self, fact: Fact, life: &mut Life, desk: &mut Desk) {
        let at = fact.at;
        let run = self.chart.lives.record.invocation;
        match fact.what {
            What::Started => {
                let crashed = self.chart.lives.ended_badly() && !self.chart.lives.stopped();
                if life.is_owed() {
                    self.chart.lives.record.ended_badly = false;
                }
                let run = run_of(&life.record, at);
                let mut restarts = 0;
                if let Some(run) = run {
                    let boot_id = desk.boot_id.clone();
                    let counted = self.chart.lives.began(run, at, &boot_id, false, false);
                    restarts = counted.restarts;
                    self.chart.keep_counts(desk);
                }
                if matches!(self.chart.healing.record.phase, Phase::Up { .. }) {
                    self.up_anew(desk);
                }
                if restarts > 0 {
                    self.too_often(desk);
                }
                if !self.ours(at) && !crashed {
                    self.announced = false;
                    self.announce(desk);
                }
                if self.ours(at) {
                    // With the start it is done: what ends it from now on is somebody else.
                    self.acted = self.acted.map(|(from, _)| (from, Some(at)));
                }
            }
            What::Ended { code, why } => {
                let Some(run) = run else { return };
                let lives = &mut self.chart.lives;
                let same_boot = lives.record.boot_id == desk.boot_id;
                match why {
                    Why::Person => {
                        lives.stopping(run);
                    }
                    // No crash of its own; whether it is down is judged.
                    Why::Engine => {}
                    Why::Ours => {
                        lives.ended(run, at, true, false, false);
                    }
                    Why::Memory => {
                        lives.ended(run, at, true, false, same_boot);
                    }
                    Why::Itself if code.is_some_and(|code| code != 0) => {
                        lives.ended(run, at, true, false, same_boot);
                    }
                    Why::Itself => {
                        if self.is_watched() && !desk.severity(&self.chart.id).alerts() {
                            let text = "ended (exit code 0)";
                            desk.notice(&self.chart.id, NoticeKind::Stopped, text);
                        }
                    }
                }
                self.chart.keep_counts(desk);
            }
            What::AskedFor => self.asked_for(desk),
            What::Restarts(n) => {
                self.chart.lives.more(n, desk.now.wall);
                self.chart.keep_counts(desk);
                self.too_often(desk);
            }
            What::Starved if desk.now.wall.since(at) < NEWS => {
                if let Some(treat) = self.treat.as_ref().filter(|t| t.watched) {
                    let patience = treat.rule.confirm.lasting;
                    kills::of(&self.chart.id, patience, life.dies_whole, desk);
                }
            }
            What::ChildKilled if self.is_watched() => {
                let text = "the kernel killed a process of it for want of memory";
                desk.decide(&self.chart.id, Reason::OomKill, text);
            }
            _ => {}
        }
        desk.touch(&self.chart.id);
    }

    /// Tells of its start, once it is known whether it is looked at.
    pub(super) fn announce(&mut self, desk: &mut Desk) {
        let waits = self.treat.is_some() && !std::mem::replace(&mut self.announced, true);
        if waits && self.is_watched() {
            desk.notice(&self.chart.id, NoticeKind::Started, "started");
        }
    }

    /// A person wanted the end that is known already.
    pub(super) fn asked_for(&mut self, desk: &mut Desk) {
        let lives = &mut self.chart.lives;
        let changed = match lives.record.invocation {
            Some(run) => lives.recalled(run),
            // Nothing was known of the run.
            None => !std::mem::replace(&mut lives.record.stopped, true),
        };
        if changed {
            self.chart.keep_counts(desk);
        }
    }

    /// A container that has the name now, and ran before keepwell knew it.
    pub(super) fn meet(&mut self, record: &ContainerRecord, desk: &mut Desk) {
        let known = self.chart.lives.record.invocation;
        let Some(run) = record.started.and_then(|at| run_of(record, at)) else { return };
        if known.is_none_or(|known| !is_of(known, &record.container.id)) {
            let boot_id = desk.boot_id.clone();
            self.chart.lives.began(run, desk.now.wall, &boot_id, false, false);
            self.chart.keep_counts(desk);
        }
    }

    /// Its present or last run.
    pub(super) fn last_run(&self) -> LastRun {
        let record = &self.chart.lives.record;
        LastRun {
            run: record.invocation,
            boot_id: record.boot_id.clone(),
            badly: record.ended_badly,
            stopped: record.stopped,
            crashed: record.crashed.filter(|run| record.invocation == Some(*run)),
        }
    }

    /// The container that has the name now had this run under its former name.
    pub(super) fn takes_over(&mut self, last: LastRun, desk: &mut Desk) {
        if last.run.is_none() || self.last_run() == last {
            return;
        }
        let LastRun { run, boot_id, badly, stopped, crashed } = last;
        let record = &mut self.chart.lives.record;
        (record.invocation, record.boot_id) = (run, boot_id);
        (record.ended_badly, record.stopped, record.crashed) = (badly, stopped, crashed);
        self.chart.keep_counts(desk);
    }
}

/// A run that a transition tells of, in the manner of [`ContainerSeen::run`].
fn run_of(record: &ContainerRecord, at: Wall) -> Option<Invocation> {
    let id = record.container.id.clone();
    ContainerSeen { id, started: Some(at), ..ContainerSeen::default() }.run()
}

/// Whether a run is one of the container of this id.
fn is_of(run: Invocation, id: &str) -> bool {
    let id = Arc::from(id);
    let other = ContainerSeen { id, started: Some(Wall(0)), ..ContainerSeen::default() }.run();
    other.is_some_and(|other| other.0[..8] == run.0[..8])
}
