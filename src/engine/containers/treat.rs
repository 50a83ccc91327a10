//! How a container is treated: by the rule that names it, or by the default, and by its own labels.

use std::collections::BTreeMap;

use crate::engine::observation::ContainerSeen;
use crate::engine::rules::{ContainerRule, ContainerRules};
use crate::engine::words::Severity;

/// What labels of keepwell begin with.
const PREFIX: &str = "keepwell.";

/// So many labels that make no sense are said; who writes labels is not to fill the log.
const FAULTS: usize = 8;

/// How one container is treated.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Treat {
    pub(super) rule: ContainerRule,
    /// Somebody named it, in the configuration or by a label.
    pub(super) named: bool,
    /// It is looked at at all.
    pub(super) watched: bool,
    /// Labels that make no sense, and are ignored.
    pub(super) faults: Vec<String>,
}

impl Treat {
    pub(super) fn of(rules: &ContainerRules, seen: &ContainerSeen) -> Self {
        let named = rules.named(seen);
        let mut treat = Self {
            rule: named.unwrap_or(&rules.default).clone(),
            named: named.is_some(),
            watched: named.is_some()
                || rules.all && !rules.ignore.iter().any(|glob| glob.matches(&seen.name)),
            faults: Vec::new(),
        };
        if rules.labels {
            treat.labels(&seen.labels);
        }
        if named.is_some_and(|rule| rule.who.exact() == Some(&*seen.name)) && !treat.watched {
            // Labels come with images, too; who named it wants it watched.
            treat.watched = true;
            treat
                .faults
                .push("its label keepwell.enable is ignored: a [[container]] names it".into());
        }
        treat.rule.restart &= !rules.look_only;
        treat
    }

    fn labels(&mut self, labels: &BTreeMap<String, String>) {
        let own = labels.range(PREFIX.to_owned()..).take_while(|(key, _)| key.starts_with(PREFIX));
        for (key, value) in own {
            let value = value.trim();
            let word = &key[PREFIX.len()..];
            let known = match word {
                "enable" => truth(value).map(|on| {
                    self.watched = on;
                    self.named |= on;
                }),
                "restart" => truth(value).map(|on| {
                    self.rule.restart = on;
                    self.named |= on;
                }),
                "required" => truth(value).map(|on| {
                    self.rule.required = on;
                    self.named |= on;
                }),
                "severity" => severity(value).map(|s| self.rule.severity = Some(s)),
                "hooks" => truth(value).map(|_| ()),
                "port" => port(value).map(|_| ()),
                _ => None,
            };
            if known.is_none() && self.faults.len() < FAULTS {
                let text = format!(
                    "its label {}={} is ignored: {}",
                    clipped(key),
                    clipped(value),
                    takes(word)
                );
                self.faults.push(text);
            }
        }
    }
}

/// What may stand in a label.
fn takes(word: &str) -> &'static str {
    match word {
        "enable" | "restart" | "required" | "hooks" => "it takes true or false",
        "severity" => "it takes warning or critical",
        "port" => "it takes a number from 1 to 65535",
        _ => "there is no such label; see docs/containers.md",
    }
}

/// Whether its labels let hooks be told of it.
pub(super) fn hooks_are_told(labels: &BTreeMap<String, String>) -> bool {
    labels.get("keepwell.hooks").and_then(|value| truth(value.trim())).unwrap_or(true)
}

/// The port that its label names.
pub(super) fn port_of(labels: &BTreeMap<String, String>) -> Option<u16> {
    labels.get("keepwell.port").and_then(|value| port(value.trim()))
}

fn truth(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

fn severity(value: &str) -> Option<Severity> {
    [Severity::Warning, Severity::Critical].into_iter().find(|s| s.as_str() == value)
}

fn port(value: &str) -> Option<u16> {
    value.parse().ok().filter(|port| *port > 0)
}

fn clipped(value: &str) -> String {
    value.chars().filter(|c| !c.is_control()).take(40).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::rules::Selector;

    fn treat(rules: &ContainerRules, labels: &[(&str, &str)]) -> Treat {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let seen = ContainerSeen {
            name: "web".into(),
            labels: Arc::new(labels),
            ..ContainerSeen::default()
        };
        Treat::of(rules, &seen)
    }

    #[test]
    fn labels_change_what_the_rule_says() {
        let rules = ContainerRules::default();
        let plain = treat(&rules, &[("app", "x")]);
        assert!(plain.watched && !plain.named && !plain.rule.restart && plain.faults.is_empty());
        let labelled = treat(
            &rules,
            &[
                ("keepwell.restart", "true"),
                ("keepwell.required", "yes"),
                ("keepwell.severity", "warning"),
            ],
        );
        assert!(labelled.named && labelled.rule.restart && labelled.rule.required);
        assert_eq!(labelled.rule.severity(), Severity::Warning);
        assert!(!treat(&rules, &[("keepwell.enable", "false")]).watched);
        let off = ContainerRules { all: false, ..ContainerRules::default() };
        assert!(!treat(&off, &[]).watched);
        assert!(treat(&off, &[("keepwell.enable", "true")]).watched);
        let deaf = ContainerRules { labels: false, ..ContainerRules::default() };
        assert!(!treat(&deaf, &[("keepwell.restart", "true")]).rule.restart);
    }

    #[test]
    fn a_label_that_makes_no_sense_is_said_and_ignored() {
        let odd = [
            ("keepwell.port", "0"),
            ("keepwell.restart", "maybe"),
            ("keepwell.severity", "bad"),
            ("keepwell.x", ""),
        ];
        let treat = treat(&ContainerRules::default(), &odd);
        assert_eq!(treat.faults.len(), odd.len());
        assert!(!treat.rule.restart);
        assert!(treat.faults[3].ends_with("there is no such label; see docs/containers.md"));
        assert_eq!(
            treat.faults[1],
            "its label keepwell.restart=maybe is ignored: it takes true or false"
        );
    }

    #[test]
    fn what_is_named_is_watched_whatever_its_image_says() {
        let rule = |name: &str| {
            ContainerRule::new(Selector {
                name: Some(glob::Pattern::new(name).unwrap()),
                ..Selector::default()
            })
        };
        let watched = |name: &str| {
            let rules = ContainerRules { list: vec![rule(name)], ..ContainerRules::default() };
            let treat = treat(&rules, &[("keepwell.enable", "false")]);
            (treat.watched, treat.faults.len())
        };
        assert_eq!(watched("web"), (true, 1));
        assert_eq!(watched("w*"), (false, 0));
    }

    #[test]
    fn labels_do_not_write_into_the_log() {
        let key = format!("keepwell.a\nforged: all is well\u{1b}[2J{}", "x".repeat(5000));
        let odd = treat(&ContainerRules::default(), &[(&key, "b\nc")]);
        let text = &odd.faults[0];
        assert!(!text.contains(char::is_control) && text.len() < 120, "{text}");
        let keys: Vec<String> = (0..1000).map(|n| format!("keepwell.{n}")).collect();
        let many: Vec<(&str, &str)> = keys.iter().map(|key| (&**key, "x")).collect();
        assert_eq!(treat(&ContainerRules::default(), &many).faults.len(), FAULTS);
    }

    #[test]
    fn who_only_looks_restarts_nothing_whatever_labels_say() {
        let rules = ContainerRules { look_only: true, ..ContainerRules::default() };
        let labelled = treat(&rules, &[("keepwell.restart", "true")]);
        assert!(labelled.named && !labelled.rule.restart);
    }

    #[test]
    fn an_exact_name_beats_a_glob_and_a_rule_beats_the_default() {
        let rule = |name: &str, restart| ContainerRule {
            restart,
            ..ContainerRule::new(Selector {
                name: Some(glob::Pattern::new(name).unwrap()),
                ..Selector::default()
            })
        };
        let list = vec![rule("w*", false), rule("web", true)];
        let rules = ContainerRules { list, all: false, ..ContainerRules::default() };
        let treat = treat(&rules, &[]);
        assert!(treat.named && treat.watched && treat.rule.restart);
    }
}
