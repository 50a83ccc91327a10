//! Containers that somebody named and that are not there, or cannot be seen.

use std::sync::Arc;

use super::container::Container;
use super::{Containers, Reach};
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
        if !all_listed && !desk.ready {
            return; // It may be seen in a moment.
        }
        let rules = desk.rules.containers.list.clone();
        let exact = rules.iter().filter_map(|r| Some((Arc::<str>::from(r.who.exact()?), r)));
        for (name, rule) in exact {
            let container = self.names.entry(name.clone()).or_insert_with(|| Container::new(&name));
            if container.cid.is_some() {
                continue;
            }
            let verdict = if all_listed {
                missing(rule, container.chart.kept)
            } else {
                unseen(self.endpoints.is_empty())
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
            self.drop_name(&name, Reason::NoLongerWatched.meaning(), desk);
        }
        self.name_patterns(&rules, all_listed, desk);
    }

    /// Patterns that nothing fits.
    fn name_patterns(&mut self, rules: &[ContainerRule], all_listed: bool, desk: &mut Desk) {
        let mut unmatched = std::collections::BTreeSet::new();
        for rule in rules.iter().filter(|_| all_listed) {
            let Some(glob) = rule.who.name.as_ref().filter(|_| rule.who.exact().is_none()) else {
                continue;
            };
            let fits =
                |seen: &ContainerSeen| rule.who.matches(&seen.name, &seen.image, &seen.labels);
            if !self.lives.values().filter_map(|l| l.seen.as_deref()).any(fits) {
                unmatched.insert(Arc::<str>::from(glob.as_str()));
            }
        }
        for name in self.unmatched.difference(&unmatched) {
            desk.drop_check(&pattern(name), "a container fits the pattern now");
        }
        for name in &unmatched {
            let text = "no container fits this pattern";
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
        let globs: Vec<Arc<str>> = list
            .iter()
            .filter(fits)
            .filter_map(|rule| Some(Arc::from(rule.who.name.as_ref()?.as_str())))
            .collect();
        for glob in globs {
            if self.unmatched.remove(&glob) {
                desk.drop_check(&pattern(&glob), "a container fits the pattern now");
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
                let text = format!("not known: {} cannot be reached", known.engine);
                let verdict = Verdict::new(Severity::Unknown, Reason::Unreachable, text);
                let check = container.id().clone();
                desk.rule_on(&check, AlertKind::State, verdict, Lasting::default());
            }
        }
    }
}

fn pattern(glob: &Arc<str>) -> CheckId {
    CheckId::new(CheckKind::Container, glob.clone())
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

fn unseen(no_engine: bool) -> Verdict {
    let text = match no_engine {
        true => "not known: no container engine was found",
        false => "not known: a container engine cannot be reached",
    };
    Verdict::new(Severity::Unknown, Reason::Unreachable, text)
}
