//! What is known of an engine's containers, and which of them are still to be looked at. A look
//! during which something happened to its container is made again, so that what is told of a
//! container is never older than the events told before it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::docker::Heard;
use crate::engine::observation::{ContainerEvent, ContainerSeen, ContainerStatus, ContainerWhat};

/// One container.
#[derive(Debug, Default)]
struct Known {
    /// It is to be looked at (again).
    due: bool,
    /// It is being looked at.
    under_way: bool,
    /// The last that was heard of it is that it ended.
    ended: bool,
    /// Its process, while it runs.
    pid: Option<u32>,
    /// It was looked at again without having been heard of.
    again: bool,
}

/// All containers of one engine.
#[derive(Debug, Default)]
pub(super) struct Track {
    all: BTreeMap<Arc<str>, Known>,
    due: VecDeque<Arc<str>>,
    /// Of the list that is being gone through: those of which no look has come back. `None`: none
    /// is being gone through.
    left: Option<BTreeSet<Arc<str>>>,
    /// A list has been asked for and has not come.
    listing: bool,
    /// What was heard of since.
    heard: BTreeSet<Arc<str>>,
}

/// What came of a look.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// To be told.
    Fresh,
    /// To be told, and to be looked at once more: Docker does not tell of a start that failed.
    Unsure,
    /// Something happened meanwhile: it is looked at again.
    Stale,
}

impl Track {
    /// Takes in an event. Gives what is to be told of it; in any case the container is looked at.
    pub(super) fn hear(&mut self, heard: &Heard, podman: bool) -> Option<ContainerWhat> {
        let id: Arc<str> = heard.id.as_str().into();
        if self.listing {
            self.heard.insert(id.clone());
        }
        if heard.what == Some(ContainerWhat::Removed) {
            self.forget(&id);
            self.heard.remove(&id);
            return heard.what;
        }
        let known = self.all.entry(id.clone()).or_default();
        known.again = false;
        let what = match heard.what {
            // Podman says so before the end, as often as after it.
            Some(ContainerWhat::Stopped) if podman && !known.ended => {
                Some(ContainerWhat::Killed { signal: 15 })
            }
            what => what,
        };
        match heard.what {
            Some(ContainerWhat::Died { .. }) => known.ended = true,
            Some(ContainerWhat::Started | ContainerWhat::Created) => known.ended = false,
            _ => {}
        }
        self.want(id);
        what
    }

    /// The container is to be looked at.
    fn want(&mut self, id: Arc<str>) {
        let known = self.all.entry(id.clone()).or_default();
        if !known.due {
            known.due = true;
            if !known.under_way {
                self.due.push_back(id);
            }
        }
    }

    /// The next container to be looked at, which is then under way.
    pub(super) fn next(&mut self) -> Option<Arc<str>> {
        while let Some(id) = self.due.pop_front() {
            if let Some(known) = self.all.get_mut(&id).filter(|known| known.due) {
                known.due = false;
                known.under_way = true;
                return Some(id);
            }
        }
        None
    }

    /// A look has come back.
    pub(super) fn looked(&mut self, id: &Arc<str>, seen: Option<&ContainerSeen>) -> Look {
        let Some(known) = self.all.get_mut(id) else { return Look::Stale };
        known.under_way = false;
        if known.due {
            self.due.push_back(id.clone());
            return Look::Stale;
        }
        let running = seen.filter(|seen| {
            seen.pid != 0
                && matches!(seen.status, ContainerStatus::Running | ContainerStatus::Paused)
        });
        known.pid = running.map(|seen| seen.pid);
        let unsure = seen.is_some_and(|seen| {
            seen.status == ContainerStatus::Created && seen.error.is_empty() && !known.again
        });
        known.again |= unsure;
        if let Some(left) = &mut self.left {
            left.remove(id);
        }
        if unsure { Look::Unsure } else { Look::Fresh }
    }

    /// A container is to be looked at once more, if it is still there.
    pub(super) fn look_again(&mut self, id: Arc<str>) {
        if self.all.contains_key(&id) {
            self.want(id);
        }
    }

    /// The container is gone.
    pub(super) fn forget(&mut self, id: &Arc<str>) {
        self.all.remove(id);
        if let Some(left) = &mut self.left {
            left.remove(id);
        }
    }

    /// A list is asked for.
    pub(super) fn list_begins(&mut self) {
        self.left = None;
        self.listing = true;
        self.heard.clear();
    }

    /// A list is under way, or what came of it is being looked at.
    pub(super) fn is_listing(&self) -> bool {
        self.listing || self.left.is_some()
    }

    /// The list has come: what is not in it is gone, but for what was heard of meanwhile; all else
    /// is looked at.
    pub(super) fn listed(&mut self, ids: Vec<String>) {
        let heard = std::mem::take(&mut self.heard);
        self.listing = false;
        let ids: BTreeSet<Arc<str>> = ids.into_iter().map(Into::into).collect();
        self.all.retain(|id, _| ids.contains(id) || heard.contains(id));
        ids.iter().for_each(|id| self.want(id.clone()));
        self.left = Some(self.all.keys().cloned().collect());
    }

    /// The ids of all containers, once all of a list have been looked at; then not again until the
    /// next list.
    pub(super) fn complete(&mut self) -> Option<Vec<Arc<str>>> {
        self.left.as_ref().is_some_and(BTreeSet::is_empty).then(|| {
            self.left = None;
            self.all.keys().cloned().collect()
        })
    }

    /// A look could not be made; the container stays as it is.
    pub(super) fn missed(&mut self, id: &Arc<str>) {
        if let Some(known) = self.all.get_mut(id) {
            known.under_way = false;
            if known.due {
                self.due.push_back(id.clone());
            }
        }
        if let Some(left) = &mut self.left {
            left.remove(id);
        }
    }

    /// Those that run, with their processes.
    pub(super) fn running(&self) -> Vec<(Arc<str>, u32)> {
        self.all.iter().filter_map(|(id, known)| Some((id.clone(), known.pid?))).collect()
    }
}

/// As the engine is told of it.
pub(super) fn event(
    heard: Heard,
    what: ContainerWhat,
    endpoint: &crate::docker::Endpoint,
    replayed: bool,
) -> ContainerEvent {
    ContainerEvent {
        name: endpoint.named(&heard.name),
        engine: endpoint.name.clone(),
        id: heard.id.into(),
        image: heard.image.into(),
        at: heard.at,
        what,
        replayed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Wall;

    fn heard(id: &str, what: Option<ContainerWhat>) -> Heard {
        let (id, image) = (id.to_owned(), "image".to_owned());
        Heard { name: id.clone(), id, image, at: Wall(1), what }
    }

    fn ids(track: &mut Track) -> Vec<String> {
        std::iter::from_fn(|| track.next()).map(|id| id.to_string()).collect()
    }

    fn running() -> ContainerSeen {
        let status = ContainerStatus::Running;
        ContainerSeen { status, pid: 7, ..ContainerSeen::default() }
    }

    const STARTED: Option<ContainerWhat> = Some(ContainerWhat::Started);
    const DIED: Option<ContainerWhat> = Some(ContainerWhat::Died { exit_code: 1 });

    #[test]
    fn many_events_are_one_look_and_one_meanwhile_is_another() {
        let mut track = Track::default();
        for what in [STARTED, DIED, STARTED] {
            assert_eq!(track.hear(&heard("a", what), false), what);
        }
        assert_eq!(ids(&mut track), ["a"]);
        track.hear(&heard("a", DIED), false);
        assert_eq!(ids(&mut track), [""; 0], "one look at a time");
        assert_eq!(track.looked(&"a".into(), Some(&running())), Look::Stale);
        assert!(track.running().is_empty());
        assert_eq!(ids(&mut track), ["a"]);
        assert_eq!(track.looked(&"a".into(), Some(&running())), Look::Fresh);
        assert_eq!(track.running(), [("a".into(), 7)]);
    }

    #[test]
    fn a_list_is_complete_when_each_has_been_looked_at() {
        let mut track = Track::default();
        track.list_begins();
        assert!(track.is_listing());
        // One is made, and one goes, while the list is on its way.
        track.hear(&heard("new", STARTED), false);
        track.hear(&heard("gone", Some(ContainerWhat::Removed)), false);
        track.listed(vec!["a".into(), "gone".into()]);
        assert_eq!(track.complete(), None);
        assert_eq!(ids(&mut track), ["new", "a", "gone"]);
        track.looked(&"a".into(), Some(&running()));
        track.looked(&"new".into(), Some(&running()));
        assert_eq!(track.complete(), None);
        track.forget(&"gone".into());
        let all: Vec<Arc<str>> = vec!["a".into(), "new".into()];
        assert_eq!(track.complete(), Some(all));
        assert_eq!(track.complete(), None, "once");
        track.list_begins();
        track.listed(vec!["a".into()]);
        assert_eq!(ids(&mut track), ["a"]);
        track.missed(&"a".into());
        assert_eq!(track.complete(), Some(vec!["a".into()]), "what cannot be seen is there");
    }

    #[test]
    fn what_was_just_made_is_looked_at_once_more() {
        let mut track = Track::default();
        let made = ContainerSeen { status: ContainerStatus::Created, ..running() };
        track.hear(&heard("a", Some(ContainerWhat::Created)), false);
        assert_eq!(ids(&mut track), ["a"]);
        assert_eq!(track.looked(&"a".into(), Some(&made)), Look::Unsure);
        track.look_again("a".into());
        track.look_again("b".into());
        assert_eq!(ids(&mut track), ["a"]);
        assert_eq!(track.looked(&"a".into(), Some(&made)), Look::Fresh);
    }

    #[test]
    fn a_stop_that_podman_tells_before_the_end_is_the_signal_of_it() {
        let stopped = Some(ContainerWhat::Stopped);
        let mut track = Track::default();
        let signal = Some(ContainerWhat::Killed { signal: 15 });
        assert_eq!(track.hear(&heard("a", stopped), true), signal);
        track.hear(&heard("a", DIED), true);
        assert_eq!(track.hear(&heard("a", stopped), true), stopped);
        track.hear(&heard("a", STARTED), true);
        assert_eq!(track.hear(&heard("a", stopped), false), stopped);
    }
}
