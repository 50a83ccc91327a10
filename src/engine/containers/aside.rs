//! Containers whose engine the configuration leaves out for a while: should it come back, nothing of
//! their life is told anew, and what changed meanwhile is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::life::Life;
use crate::engine::observation::ContainerSeen;
use crate::engine::saved::ContainerRecord;
use crate::engine::time::Boot;

/// For so long, as events of an engine that was away are asked for.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// So many at most.
const MOST: usize = 1000;

/// By id: since when, and what was known.
#[derive(Debug, Default)]
pub(super) struct Aside(BTreeMap<Arc<str>, (Boot, ContainerRecord)>);

impl Aside {
    pub(super) fn put(&mut self, record: ContainerRecord, now: Boot) {
        self.forget(now);
        if self.0.len() < MOST {
            self.0.insert(record.container.id.clone(), (now, record));
        }
    }

    /// What was known of each.
    pub(super) fn records(&mut self) -> impl Iterator<Item = &mut ContainerRecord> {
        self.0.values_mut().map(|(_, record)| record)
    }

    /// The life of one that is there again.
    pub(super) fn take(&mut self, seen: &ContainerSeen, now: Boot) -> Option<Life> {
        self.forget(now);
        let (_, mut record) = self.0.remove(&seen.id)?;
        // Its engine may be called otherwise now, and so may it.
        record.container.name = seen.name.clone();
        record.container.engine = seen.engine.clone();
        Some(Life::put_aside(record))
    }

    /// Those of an engine that are not there any more.
    pub(super) fn gone(
        &mut self,
        engine: &str,
        there: &BTreeSet<&Arc<str>>,
        now: Boot,
    ) -> Vec<Life> {
        self.forget(now);
        let gone = |id: &Arc<str>, (_, record): &mut (Boot, ContainerRecord)| {
            *record.container.engine == *engine && !there.contains(id)
        };
        self.0.extract_if(.., gone).map(|(_, (_, record))| Life::put_aside(record)).collect()
    }

    fn forget(&mut self, now: Boot) {
        self.0.retain(|_, (since, _)| now.since(*since) < LONG);
    }
}
