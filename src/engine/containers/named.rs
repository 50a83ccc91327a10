//! Containers that somebody named and that are not there, or cannot be seen.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::container::{Container, Over};
use super::{Containers, Endpoint, Reach};
use crate::engine::desk::{Desk, Lasting};
use crate::engine::observation::ContainerSeen;
use crate::engine::rules::{ContainerRule, Rules};
use crate::engine::words::{AlertKind, CheckId, CheckKind, Reason, Severity, Verdict};

/// Whether a rule names exactly this container.
pub(super) fn is_exact(rules: &Rules, name: &str) -> bool {
    rules.containers.list.iter().any(|rule| rule.who.exact() == Some(name))
}

impl Containers {
    /// Shows what is named and not there.
    pub(in crate::engine) fn name_unseen(&mut self, desk: &mut Desk) {
        self.name_remembered(desk);
        let all_listed =
            !self.endpoints.is_empty() && self.endpoints.values().all(|e| e.reach == Reach::Listed);
        let all_looked_at = self.endpoints.values().all(|e| e.unlooked.is_empty());
        if !all_listed && !desk.ready {
            return; // It may be seen in a moment.
        }
        let rules = desk.rules.containers.list.clone();
        let exact = rules.iter().filter_map(|r| Some((Arc::<str>::from(r.who.exact()?), r)));
        for (name, rule) in exact {
            let container = self.names.entry(name.clone()).or_insert_with(|| Container::new(&name));
            let known = container.cid.as_ref().and_then(|id| self.lives.get(id));
            if known.is_some_and(|life| life.seen.is_some()) {
                continue;
            }
            let verdict = if let Some(life) = known {
                unseen(not_shown(&self.endpoints, &life.record.container.engine))
            } else if !all_listed {
                unseen(match self.endpoints.is_empty() {
                    true => "not known: no container engine was found",
                    false => "not known: a container engine cannot be reached",
                })
            } else if !all_looked_at {
                unseen("not known: a container engine lists containers that it does not show")
            } else {
                missing(rule, container.chart.kept)
            };
            let lasting = Lasting {
                bad: rule.confirm.lasting,
                good: rule.backoff.verify(),
                show: true,
                ..Lasting::default()
            };
            desk.rule_on(&container.chart.id, AlertKind::State, verdict, lasting);
        }
        // Those that are named no more.
        let gone: Vec<Arc<str>> = self
            .names
            .iter()
            .filter(|(name, c)| {
                c.cid.is_none() && !is_exact(&desk.rules, name) && !c.has_alert(desk)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            self.drop_name(&name, &Over::by(Reason::NoLongerWatched), desk);
        }
        self.name_patterns(&rules, all_listed && all_looked_at, desk);
    }

    /// Patterns, images and labels that nothing fits.
    fn name_patterns(&mut self, rules: &[ContainerRule], all_known: bool, desk: &mut Desk) {
        let mut unmatched = std::collections::BTreeSet::new();
        for rule in rules.iter().filter(|rule| all_known && rule.who.exact().is_none()) {
            let fits =
                |seen: &ContainerSeen| rule.who.matches(&seen.name, &seen.image, &seen.labels);
            if !self.lives.values().filter_map(|l| l.seen.as_deref()).any(fits) {
                unmatched.insert(Arc::<str>::from(rule.who.to_string()));
            }
        }
        for name in self.unmatched.difference(&unmatched) {
            desk.drop_check(&pattern(name), FITS);
        }
        for name in &unmatched {
            let text = "no container fits this";
            let verdict = Verdict::new(Severity::Unknown, Reason::NoMatch, text);
            desk.rule_on(&pattern(name), AlertKind::State, verdict, Lasting::default());
        }
        self.unmatched = unmatched;
    }

    /// A pattern that fitted nothing so far gives way to what fits it.
    pub(super) fn matched(&mut self, seen: &ContainerSeen, desk: &mut Desk) {
        if self.unmatched.is_empty() {
            return;
        }
        let fits = |rule: &&ContainerRule| rule.who.matches(&seen.name, &seen.image, &seen.labels);
        let list = &desk.rules.containers.list;
        let fitting: Vec<Arc<str>> =
            list.iter().filter(fits).map(|rule| Arc::from(rule.who.to_string())).collect();
        for who in fitting {
            if self.unmatched.remove(&who) {
                desk.drop_check(&pattern(&who), FITS);
            }
        }
    }

    /// Containers of a former run of keepwell whose engine has not been reached since.
    fn name_remembered(&mut self, desk: &mut Desk) {
        if !desk.ready {
            return;
        }
        for (id, life) in self.lives.iter().filter(|(_, l)| l.seen.is_none()) {
            let known = &life.record.container;
            let Some(container) = self.names.get(&known.name) else { continue };
            if container.cid.as_ref() != Some(id) || desk.checks.contains_key(container.id()) {
                continue;
            }
            let seen = ContainerSeen {
                name: known.name.clone(),
                image: known.image.clone(),
                labels: Arc::new(known.labels.clone()),
                ..ContainerSeen::default()
            };
            if super::Treat::of(&desk.rules.containers, &seen).watched {
                let verdict = unseen(not_shown(&self.endpoints, &known.engine));
                let check = container.id().clone();
                desk.rule_on(&check, AlertKind::State, verdict, Lasting::default());
            }
        }
    }
}

/// Why the check of what nothing fitted goes.
const FITS: &str = "a container fits now";

fn pattern(who: &Arc<str>) -> CheckId {
    CheckId::new(CheckKind::Container, who.clone())
}

fn missing(rule: &ContainerRule, known: bool) -> Verdict {
    if rule.required {
        let text = "no container of this name exists, though it is marked as required";
        return Verdict::new(rule.severity(), Reason::NotFound, text);
    }
    if known {
        return Verdict::new(Severity::Healthy, Reason::Removed, Reason::Removed.meaning());
    }
    let text = "no container of this name exists; check the name, or make it";
    Verdict::new(Severity::Warning, Reason::NotFound, text)
}

/// A container that has not been looked at.
fn not_shown(endpoints: &BTreeMap<Arc<str>, Endpoint>, engine: &Arc<str>) -> String {
    if endpoints.get(engine).is_some_and(|e| e.reach == Reach::Listed) {
        format!("not known: {engine} does not show it")
    } else {
        format!("not known: {engine} cannot be reached")
    }
}

fn unseen(text: impl Into<String>) -> Verdict {
    Verdict::new(Severity::Unknown, Reason::Unreachable, text)
}
