//! What units cannot do without, through up to four of each other: what was read of each unit
//! directly, what is still to be read, and who waits for it. No I/O.
//!
//! It is asked about units that are down only, so a host that is well costs nothing; and each unit is
//! read once, however many need it, until systemd reloads its unit files.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Steps from a unit to the furthest that it is said to need.
const DEPTH: usize = 4;
/// Units that one unit is said to need.
const MOST: usize = 64;
/// Units of which something is kept.
const MOST_KNOWN: usize = 8192;

/// Names throughout, as systemd's `Id`.
#[derive(Debug, Default)]
pub(super) struct Graph {
    known: HashMap<Arc<str>, Arc<[Arc<str>]>>,
    /// Being read, and who waits for it.
    asked: HashMap<Arc<str>, Vec<Arc<str>>>,
}

impl Graph {
    /// What `unit` needs: what it requires itself first, then what those require, and so on, sorted
    /// within each step. While something must be read first, that is added to `to_read` where it is
    /// not under way yet, and `unit` is named by [`Graph::learn`] when it is worth asking again.
    pub(super) fn needs(
        &mut self,
        unit: &Arc<str>,
        to_read: &mut Vec<Arc<str>>,
    ) -> Option<Vec<Arc<str>>> {
        let mut all: Vec<Arc<str>> = Vec::new();
        let mut seen: HashSet<Arc<str>> = HashSet::from([Arc::clone(unit)]);
        let mut step = vec![Arc::clone(unit)];
        for _ in 0..DEPTH {
            let mut next = Vec::new();
            let mut missing = Vec::new();
            for one in &step {
                match self.known.get(one) {
                    Some(direct) => {
                        next.extend(direct.iter().filter(|n| seen.insert(Arc::clone(n))).cloned());
                    }
                    None => missing.push(one),
                }
            }
            if let Some(first) = missing.first() {
                // It is enough to wait for one: the others are then looked for again.
                let first = Arc::clone(first);
                for one in missing {
                    if !self.asked.contains_key(one) {
                        self.asked.insert(Arc::clone(one), Vec::new());
                        to_read.push(Arc::clone(one));
                    }
                }
                self.asked.entry(first).or_default().push(Arc::clone(unit));
                return None;
            }
            next.sort();
            next.truncate(MOST - all.len());
            all.extend(next.iter().cloned());
            step = next.into_iter().filter(|name| leads_on(name)).collect();
            if step.is_empty() || all.len() == MOST {
                break;
            }
        }
        Some(all)
    }

    /// `unit` has been read (`None`: it cannot be). Returns who waited for it.
    pub(super) fn learn(
        &mut self,
        unit: &Arc<str>,
        direct: Option<Vec<Arc<str>>>,
    ) -> Vec<Arc<str>> {
        if self.known.len() >= MOST_KNOWN {
            self.known.clear();
        }
        let mut direct = direct.unwrap_or_default();
        direct.sort();
        direct.dedup();
        self.known.insert(Arc::clone(unit), direct.into());
        self.asked.remove(unit).unwrap_or_default()
    }

    /// Unit files may have changed. What is being read will be answered all the same.
    pub(super) fn reloaded(&mut self) {
        self.known.clear();
    }

    /// No answers will come any more.
    pub(super) fn gap(&mut self) {
        self.known.clear();
        self.asked.clear();
    }
}

/// What it needs in turn is of interest.
fn leads_on(name: &str) -> bool {
    [".service", ".mount", ".socket"].iter().any(|kind| name.ends_with(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Arc<str> {
        text.into()
    }

    /// Answers each question from `edges` until `unit` is resolved; also returns what was asked.
    fn resolve(graph: &mut Graph, edges: &[(&str, &[&str])], unit: &str) -> (String, Vec<String>) {
        let (mut to_read, mut asked) = (Vec::new(), Vec::new());
        loop {
            if let Some(all) = graph.needs(&name(unit), &mut to_read) {
                assert!(to_read.is_empty());
                return (all.join(" "), asked);
            }
            let mut again = false;
            for one in std::mem::take(&mut to_read) {
                asked.push(one.to_string());
                let direct = edges.iter().find(|(of, _)| *of == &*one).map(|(_, to)| *to);
                let direct = direct.map(|to| to.iter().map(|n| name(n)).collect());
                again |= graph.learn(&one, direct).contains(&name(unit));
            }
            assert!(again, "it would wait for ever");
        }
    }

    const EDGES: &[(&str, &[&str])] = &[
        ("a.service", &["b.service", "srv.mount", "b.service"]),
        ("b.service", &["db.service", "a.service"]),
        ("srv.mount", &["dev-sdb.device"]),
        ("db.service", &["data.mount", "db.socket"]),
        ("data.mount", &["dev-sdc.device", "four.service"]),
        ("four.service", &["five.service"]),
    ];

    #[test]
    fn the_nearest_come_first_and_each_once() {
        let mut graph = Graph::default();
        let (needs, asked) = resolve(&mut graph, EDGES, "a.service");
        assert_eq!(
            needs,
            "b.service srv.mount db.service dev-sdb.device data.mount db.socket \
             dev-sdc.device four.service",
            "no further than four steps"
        );
        let reads =
            ["a.service", "b.service", "srv.mount", "db.service", "data.mount", "db.socket"];
        assert_eq!(asked, reads, "devices are not read, nor what is too far away");
        // What is known is not asked again, also for others.
        let (needs, asked) = resolve(&mut graph, EDGES, "b.service");
        assert_eq!(
            needs,
            "a.service db.service data.mount db.socket srv.mount dev-sdb.device dev-sdc.device \
             four.service five.service"
        );
        assert_eq!(asked, ["four.service"]);
        graph.reloaded();
        assert_eq!(resolve(&mut graph, EDGES, "db.service").1.len(), 5);
    }

    #[test]
    fn what_cannot_be_read_needs_nothing() {
        assert_eq!(resolve(&mut Graph::default(), &[], "a.service").0, "");
    }

    #[test]
    fn a_thousand_that_need_the_same_read_it_once() {
        let mut graph = Graph::default();
        let mut to_read = Vec::new();
        let units: Vec<Arc<str>> = (0..1000).map(|i| name(&format!("w@{i}.service"))).collect();
        for unit in &units {
            assert_eq!(graph.needs(unit, &mut to_read), None);
        }
        assert_eq!(to_read.len(), 1000);
        for unit in std::mem::take(&mut to_read) {
            let waiting = graph.learn(&unit, Some(vec![name("db.service")]));
            assert_eq!(waiting, [unit]);
            assert_eq!(graph.needs(&waiting[0], &mut to_read), None);
        }
        assert_eq!(to_read, [name("db.service")]);
        let waiting = graph.learn(&name("db.service"), Some(Vec::new()));
        assert_eq!(waiting, units);
        for unit in &units {
            assert_eq!(graph.needs(unit, &mut to_read), Some(vec![name("db.service")]));
        }
        assert_eq!(to_read.len(), 1);
    }

    #[test]
    fn it_is_bounded() {
        let many: Vec<String> = (0..100).map(|i| format!("m{i:03}.service")).collect();
        let many: Vec<&str> = many.iter().map(|n| &**n).collect();
        let edges: &[(&str, &[&str])] = &[("a.service", &many), ("m000.service", &["z.service"])];
        let (needs, _) = resolve(&mut Graph::default(), edges, "a.service");
        assert_eq!(needs.split(' ').count(), 64);
    }
}
