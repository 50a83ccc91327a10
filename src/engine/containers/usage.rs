//! What containers use: memory and processors, as parts of their limits or of the host.

use std::sync::Arc;

use super::Containers;
use super::life::Life;
use crate::engine::desk::{Desk, Lasting};
use crate::engine::host::{level, percent};
use crate::engine::observation::UsageSeen;
use crate::engine::rules::Levels;
use crate::engine::words::{AlertKind, Reason, Severity, Verdict};
use crate::engine::{AlertKey, bytes};

impl Containers {
    /// One sampling of what containers use.
    pub(in crate::engine) fn usage(&mut self, all: Vec<UsageSeen>, desk: &mut Desk) {
        for usage in all {
            let id = usage.id.clone();
            let Some(life) = self.lives.get_mut(&id).filter(|l| l.is_up()) else { continue };
            life.dies_whole = usage.dies_whole;
            life.usage = Some(usage);
            self.judge_usage(&id, desk);
        }
    }

    fn judge_usage(&mut self, id: &Arc<str>, desk: &mut Desk) {
        let Some(life) = self.lives.get(id) else { return };
        let host = self.endpoints.get(&life.record.container.engine).and_then(|e| e.host);
        let (memory, cpu) = (memory(life, host), cpu(life, host));
        let Some(container) = self.current(id) else { return };
        let Some(treat) = container.treat.as_ref().filter(|t| t.watched) else { return };
        let id = container.chart.id.clone();
        let kinds = [
            (AlertKind::Memory, memory, &treat.rule.memory, "memory"),
            (AlertKind::Cpu, cpu, &treat.rule.cpu, "its processors"),
        ];
        for (kind, measured, levels, what) in kinds {
            let Some((ratio, of)) = measured else { continue };
            let key = AlertKey { check: id.clone(), kind };
            let wanted = levels.warning().or(levels.critical()).is_some();
            if wanted || desk.book.is_open(&key) {
                let text = format!("uses {} of {what}{of}", percent(ratio));
                let before = desk.condition(&id, kind);
                desk.rule_on(&id, kind, judged(ratio, text, levels, before), lasting(levels));
            }
        }
        desk.touch(&id);
    }

    /// What does not run uses nothing.
    pub(super) fn unused(&mut self, id: &Arc<str>, desk: &mut Desk) {
        let Some(life) = self.lives.get(id) else { return };
        if life.is_up() || !life.fresh {
            return;
        }
        let Some(container) = self.current(id) else { return };
        let id = container.chart.id.clone();
        for kind in [AlertKind::Memory, AlertKind::Cpu] {
            let key = AlertKey { check: id.clone(), kind };
            if desk.condition(&id, kind).alerts() || desk.book.is_open(&key) {
                let verdict = Verdict::new(Severity::Healthy, Reason::WithinLimits, "not running");
                desk.rule_on(&id, kind, verdict, Lasting::default());
            }
        }
    }
}

fn lasting(levels: &Levels) -> Lasting {
    Lasting { needs_time: true, ..Lasting::confirmed(levels.confirm()) }
}

fn judged(ratio: f64, text: String, levels: &Levels, before: Severity) -> Verdict {
    let severity = level(ratio, levels, before);
    let limit = match severity {
        Severity::Critical => levels.critical(),
        Severity::Warning => levels.warning(),
        _ => None,
    };
    match limit {
        Some(limit) => {
            let text = format!("{text} (over {})", percent(limit));
            Verdict::new(severity, Reason::OverThreshold, text)
        }
        None => Verdict::new(Severity::Healthy, Reason::WithinLimits, text),
    }
}

/// The part of its memory in use, and what that is a part of.
fn memory(life: &Life, host: Option<(u32, u64)>) -> Option<(f64, String)> {
    let (used, seen) = (life.usage.as_ref()?.memory?, life.seen.as_ref()?);
    let (of, whose) = match seen.memory_limit {
        Some(limit) => (limit, "its limit"),
        None => (host?.1, "the host"),
    };
    (of > 0).then(|| (used as f64 / of as f64, format!(", {} of {whose}", bytes(of))))
}

/// The part of its processors in use.
fn cpu(life: &Life, host: Option<(u32, u64)>) -> Option<(f64, String)> {
    let (used, seen) = (life.usage.as_ref()?.cpus?, life.seen.as_ref()?);
    let of = match seen.cpu_limit {
        Some(limit) => limit,
        None => f64::from(host?.0),
    };
    (of > 0.0).then(|| (used / of, format!(", {used:.1} of {of}")))
}
