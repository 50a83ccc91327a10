//! What is known of an engine's containers, and which of them are still to be looked at. A look
//! during which something happened to its container is made again, so that what is told of a
//! container is never older than the events told before it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::docker::Heard;
use crate::engine::observation::{
    ContainerEvent, ContainerSeen, ContainerStatus, ContainerWhat, Health,
};

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
    /// Podman has told of a health check, which it may do before it has written down what it found.
    checked: bool,
    /// It may not be looked at.
    hidden: bool,
    /// How its health check was, as it was last told or seen in this run.
    health: Option<Health>,
    /// Looks once more that wait.
    waiting: u32,
    /// Looks in a row that could not be made.
    missed: u32,
    /// Another try waits.
    put_off: bool,
    /// It uses the network of the host, or of another container.
    shares_network: bool,
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
    /// The engine tells of each health check what it has found: the same again is no news.
    tells_health: bool,
}

/// What came of a look.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// To be told.
    Fresh,
    /// To be told, and to be looked at once more: Docker does not tell of a start that failed, nor
    /// Podman of when a health check is written down.
    Unsure,
    /// Something happened meanwhile: it is looked at again.
    Stale,
}

impl Track {
    /// Knows of none. `tells_health`: the engine tells of each health check what it has found.
    pub(super) fn new(tells_health: bool) -> Self {
        Self { tells_health, ..Self::default() }
    }

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
            None if self.tells_health && heard.health.is_some() => {
                if known.health == heard.health {
                    return None;
                }
                heard.health.map(ContainerWhat::Health)
            }
            // Podman says so before the end, as often as after it.
            Some(ContainerWhat::Stopped) if podman && !known.ended => {
                Some(ContainerWhat::Killed { signal: 15 })
            }
            what => what,
        };
        match what {
            None if podman => known.checked = true,
            Some(ContainerWhat::Health(health)) => known.health = Some(health),
            Some(ContainerWhat::Died { .. }) => known.ended = true,
            Some(ContainerWhat::Started | ContainerWhat::Created) => {
                (known.ended, known.health) = (false, None);
            }
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
        known.missed = 0;
        if known.due {
            self.due.push_back(id.clone());
            return Look::Stale;
        }
        let running = seen.filter(|seen| {
            seen.pid != 0
                && matches!(seen.status, ContainerStatus::Running | ContainerStatus::Paused)
        });
        known.pid = running.map(|seen| seen.pid);
        known.hidden = false;
        known.health = seen.and_then(|seen| Some(seen.health.as_ref()?.status));
        let made = seen.is_some_and(|seen| {
            seen.status == ContainerStatus::Created && seen.error.is_empty() && !known.again
        });
        known.again |= made;
        let unsure = std::mem::take(&mut known.checked) || made;
        if let Some(left) = &mut self.left {
            left.remove(id);
        }
        known.waiting += u32::from(unsure);
        if unsure { Look::Unsure } else { Look::Fresh }
    }

    /// A container is to be looked at once more, if it is still there.
    pub(super) fn look_again(&mut self, id: Arc<str>) {
        let Some(known) = self.all.get_mut(&id) else { return };
        known.waiting = known.waiting.saturating_sub(1);
        // One that is due later sees what this would.
        if known.waiting == 0 {
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
            known.missed += 1;
            if known.due {
                self.due.push_back(id.clone());
            }
        }
        if let Some(left) = &mut self.left {
            left.remove(id);
        }
    }

    /// Whether a look that could not be made is to be put off, and how many could not be made in a
    /// row.
    pub(super) fn put_off(&mut self, id: &Arc<str>) -> Option<u32> {
        let known = self.all.get_mut(id).filter(|known| !known.due && !known.put_off)?;
        known.put_off = true;
        Some(known.missed)
    }

    /// A look that was put off is to be made, unless another has been made.
    pub(super) fn try_again(&mut self, id: Arc<str>) {
        let Some(known) = self.all.get_mut(&id) else { return };
        known.put_off = false;
        if known.missed > 0 {
            self.want(id);
        }
    }

    /// Containers wait to be looked at.
    pub(super) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// A look at some of them could not be made.
    pub(super) fn misses_some(&self) -> bool {
        self.all.values().any(|known| known.missed > 0)
    }

    /// Whether a container uses the network of the host, or of another container.
    pub(super) fn network(&mut self, id: &Arc<str>, shared: bool) {
        if let Some(known) = self.all.get_mut(id) {
            known.shares_network = shared;
        }
    }

    /// What it sends and receives is not its own.
    pub(super) fn shares_network(&self, id: &str) -> bool {
        self.all.get(id).is_some_and(|known| known.shares_network)
    }

    /// A look was refused. Whether that is news of this container.
    pub(super) fn refused(&mut self, id: &Arc<str>) -> bool {
        self.missed(id);
        self.all.get_mut(id).is_some_and(|known| !std::mem::replace(&mut known.hidden, true))
    }

    /// How many may not be looked at, and whether that is all of them.
    pub(super) fn hidden(&self) -> (usize, bool) {
        let hidden = self.all.values().filter(|known| known.hidden).count();
        (hidden, hidden > 0 && hidden == self.all.len())
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
        labels: heard.labels,
        replayed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Wall;
    use crate::engine::observation::HealthSeen;

    fn heard(id: &str, what: Option<ContainerWhat>) -> Heard {
        let (id, image) = (id.to_owned(), "image".to_owned());
        let labels = BTreeMap::new();
        Heard { name: id.clone(), id, image, at: Wall(1), what, health: None, labels }
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
    fn what_may_not_be_looked_at_is_counted_until_it_may_be_or_is_gone() {
        let mut track = Track::default();
        track.listed(vec!["a".into(), "b".into()]);
        assert_eq!(ids(&mut track), ["a", "b"]);
        assert!(track.refused(&"a".into()), "news");
        assert_eq!(track.hidden(), (1, false));
        assert!(track.refused(&"b".into()));
        assert_eq!(track.hidden(), (2, true));
        assert_eq!(track.complete().map(|all| all.len()), Some(2), "both are there");
        track.hear(&heard("a", STARTED), false);
        assert_eq!(ids(&mut track), ["a"]);
        assert!(!track.refused(&"a".into()));
        track.look_again("a".into());
        track.next();
        track.looked(&"a".into(), Some(&running()));
        assert_eq!(track.hidden(), (1, false));
        track.forget(&"b".into());
        assert_eq!(track.hidden(), (0, false));
    }

    #[test]
    fn a_look_that_could_not_be_made_is_put_off_once_at_a_time() {
        let (mut track, a): (_, Arc<str>) = (Track::default(), "a".into());
        track.hear(&heard("a", STARTED), false);
        assert_eq!(ids(&mut track), ["a"]);
        track.hear(&heard("a", DIED), false);
        track.missed(&a);
        assert_eq!(track.put_off(&a), None, "it is due already");
        assert_eq!(ids(&mut track), ["a"]);
        track.missed(&a);
        assert_eq!(track.put_off(&a), Some(2));
        track.hear(&heard("a", DIED), false);
        assert_eq!(ids(&mut track), ["a"]);
        track.missed(&a);
        assert_eq!(track.put_off(&a), None, "one is put off");
        assert!(track.misses_some());
        track.try_again(a.clone());
        assert_eq!(ids(&mut track), ["a"]);
        track.missed(&a);
        assert_eq!(track.put_off(&a), Some(4));
        track.look_again(a.clone());
        assert_eq!(ids(&mut track), ["a"]);
        assert_eq!(track.looked(&a, Some(&running())), Look::Fresh);
        assert!(!track.misses_some());
        track.try_again(a);
        assert_eq!(ids(&mut track), [""; 0], "it has been looked at meanwhile");
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
    fn a_check_that_podman_tells_before_it_is_written_down_is_looked_at_once_more() {
        let mut track = Track::default();
        track.hear(&heard("a", None), true);
        assert_eq!(ids(&mut track), ["a"]);
        track.hear(&heard("a", STARTED), true);
        assert_eq!(track.looked(&"a".into(), Some(&running())), Look::Stale);
        assert_eq!(ids(&mut track), ["a"]);
        assert_eq!(track.looked(&"a".into(), Some(&running())), Look::Unsure);
        track.look_again("a".into());
        assert_eq!(ids(&mut track), ["a"]);
        assert_eq!(track.looked(&"a".into(), Some(&running())), Look::Fresh, "once");
        track.hear(&heard("a", None), false);
        assert_eq!(ids(&mut track), ["a"]);
        assert_eq!(track.looked(&"a".into(), Some(&running())), Look::Fresh, "Docker waits");
    }

    #[test]
    fn many_checks_are_looked_at_once_more_after_the_last() {
        let mut track = Track::default();
        for _ in 0..3 {
            track.hear(&heard("a", None), true);
            assert_eq!(ids(&mut track), ["a"]);
            assert_eq!(track.looked(&"a".into(), Some(&running())), Look::Unsure);
        }
        for wanted in [&[][..], &[], &["a"]] {
            track.look_again("a".into());
            assert_eq!(ids(&mut track), wanted);
        }
    }

    #[test]
    fn a_check_that_finds_the_same_again_is_no_news_where_it_says_so() {
        let check = |health| Heard { health: Some(health), ..heard("a", None) };
        let told = |health| Some(ContainerWhat::Health(health));
        let mut track = Track::new(true);
        let mut hear = |heard: &Heard| (track.hear(heard, true), ids(&mut track).len());
        assert_eq!(hear(&check(Health::Healthy)), (told(Health::Healthy), 1));
        assert_eq!(hear(&check(Health::Healthy)), (None, 0));
        assert_eq!(
            hear(&check(Health::Unhealthy)),
            (told(Health::Unhealthy), 0),
            "it is under way"
        );
        assert_eq!(track.looked(&"a".into(), Some(&running())), Look::Stale);
        assert_eq!(ids(&mut track), ["a"]);
        assert_eq!(track.looked(&"a".into(), Some(&running())), Look::Fresh);
        // Another run, and one in which the look has found it.
        track.hear(&heard("a", STARTED), true);
        assert_eq!(track.hear(&check(Health::Healthy), true), told(Health::Healthy));
        assert_eq!(ids(&mut track), ["a"]);
        let health = Some(HealthSeen { status: Health::Healthy, failing: 0, output: "".into() });
        track.looked(&"a".into(), Some(&ContainerSeen { health, ..running() }));
        assert_eq!(track.hear(&check(Health::Healthy), true), None);
        // Podman before 5 says what the check before it found.
        let mut old = Track::default();
        assert_eq!(old.hear(&check(Health::Healthy), true), None);
        assert_eq!(ids(&mut old), ["a"]);
        assert_eq!(old.looked(&"a".into(), Some(&running())), Look::Unsure);
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
