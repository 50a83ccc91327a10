//! What is known of the units that matter: merges the two halves of a change, decides what is
//! sent and what is not, and forgets units that nobody named once they are well. No I/O.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::graph::Graph;
use super::watch::Watch;
use crate::engine::observation::{ActiveState, Details, LoadState, ServiceSeen, UnitSeen};
use crate::systemd::bus::{Row, ServiceHalf, UnitHalf, unit_name, unit_path};

/// Timers, sockets and paths of which it is kept that they have been asked what they start.
const MOST_TRIGGERS: usize = 4096;
/// States of a unit that wait for their details; older ones go first when there are more.
const MOST_HELD: usize = 64;

/// What is to be done about a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Todo {
    /// It is as known, or nobody cares.
    Nothing,
    /// It was sent; the row says all there is.
    Reported,
    /// The unit is to be read, and then reported with [`Table::report`].
    Read,
}

/// All that is known.
#[derive(Debug)]
pub(super) struct Table {
    watch: Watch,
    units: HashMap<Arc<str>, Tracked>,
    /// The Service half of a change of a unit that is not tracked: its Unit half comes next.
    half: Option<(Arc<str>, ServiceHalf)>,
    /// Globs that were sent as matching nothing.
    empty: HashSet<Arc<str>>,
    /// Names that no row came for.
    missing: HashSet<Arc<str>>,
    /// To be sent, in order.
    pub(super) out: VecDeque<UnitSeen>,
    /// Paths of units whose details are wanted now.
    pub(super) wanted: Vec<Arc<str>>,
    graph: Graph,
    /// Paths of units of which it is wanted now what they require.
    pub(super) needed: Vec<Arc<str>>,
    /// Timers, sockets and paths that have been asked what they start.
    triggers: HashSet<Arc<str>>,
    /// Paths of those that are to be asked.
    pub(super) to_trigger: Vec<Arc<str>>,
}

#[derive(Debug)]
struct Tracked {
    seen: UnitSeen,
    sent: Option<UnitSeen>,
    /// Names it goes by: its own, aliases that somebody named, or both.
    names: Vec<Arc<str>>,
    kind: Kind,
    /// Its present is to be sent whatever it is.
    owed: bool,
    details: Known<Option<Details>>,
    /// What it cannot do without; looked for when it is down.
    needs: Known<Vec<Arc<str>>>,
    /// Sent as soon as the details and the needs are there.
    held: VecDeque<UnitSeen>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Exact,
    Glob,
    Unnamed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Known<T> {
    No,
    Asked,
    Yes(T),
}

impl<T> Known<T> {
    /// What is known may no longer be so.
    fn doubt(&mut self) {
        if matches!(self, Self::Yes(_)) {
            *self = Self::No;
        }
    }
}

impl Tracked {
    /// `seen` with what is known besides.
    fn explain(&self, mut seen: UnitSeen) -> UnitSeen {
        if let Known::Yes(details) = &self.details {
            seen.details.clone_from(details);
        }
        if let (Some(details), Known::Yes(needs)) = (&mut seen.details, &self.needs) {
            details.requires.clone_from(needs);
        }
        seen
    }
}

impl Table {
    pub(super) fn new(watch: Watch) -> Self {
        let mut table = Self {
            watch,
            units: HashMap::new(),
            half: None,
            empty: HashSet::new(),
            missing: HashSet::new(),
            out: VecDeque::new(),
            wanted: Vec::new(),
            graph: Graph::default(),
            needed: Vec::new(),
            triggers: HashSet::new(),
            to_trigger: Vec::new(),
        };
        for name in table.watch.config.exact.clone() {
            table.track(unit_path(&name).into(), Arc::clone(&name), name, Kind::Exact);
        }
        for name in table.watch.config.also.clone() {
            let path: Arc<str> = unit_path(&name).into();
            if !table.units.contains_key(&path) {
                let kind = if table.watch.by_glob(&name) { Kind::Glob } else { Kind::Unnamed };
                table.track(path, Arc::clone(&name), name, kind);
            }
        }
        table
    }

    pub(super) fn globs(&self) -> Vec<String> {
        self.watch.config.globs.iter().map(|g| g.as_str().to_owned()).collect()
    }

    pub(super) fn all_failed(&self) -> bool {
        self.watch.config.all_failed
    }

    /// The names that a resync asks for one by one.
    pub(super) fn names(&self) -> Vec<Arc<str>> {
        let mut names = self.watch.config.exact.clone();
        // An entry whose names are all aliases is covered by them.
        let others = self.units.values().filter(|unit| unit.kind != Kind::Exact);
        names.extend(others.flat_map(|unit| unit.names.iter().cloned()));
        names
    }

    /// The names that journal entries about the unit `primary` are to go by.
    pub(super) fn names_of(&self, primary: &Arc<str>) -> Vec<Arc<str>> {
        match self.units.get(unit_path(primary).as_str()) {
            Some(unit) if !unit.names.is_empty() => unit.names.clone(),
            _ => vec![Arc::clone(primary)],
        }
    }

    /// Units named exactly whose details are not known yet.
    pub(super) fn without_details(&self) -> Vec<Arc<str>> {
        let wanting = |unit: &Tracked| {
            unit.kind == Kind::Exact
                && unit.details == Known::No
                && unit.seen.load == LoadState::Loaded
                && unit.sent.is_some()
        };
        self.units.iter().filter(|(_, u)| wanting(u)).map(|(path, _)| Arc::clone(path)).collect()
    }

    /// Nobody listened for a while: all that is known is doubted and sent again.
    pub(super) fn gap(&mut self) {
        self.half = None;
        self.empty.clear();
        self.missing.clear();
        self.out.clear();
        self.wanted.clear();
        self.graph.gap();
        self.needed.clear();
        self.triggers.clear();
        self.to_trigger.clear();
        for unit in self.units.values_mut() {
            unit.sent = None;
            unit.owed = true;
            unit.held.clear();
            unit.details = Known::No;
            unit.needs = Known::No;
        }
    }

    /// No details will come any more: what waits for them is sent without.
    pub(super) fn release(&mut self) {
        for unit in self.units.values_mut() {
            for seen in std::mem::take(&mut unit.held) {
                push(&mut self.out, &unit.names, unit.explain(seen));
            }
        }
    }

    /// Unit files may have changed.
    pub(super) fn reloaded(&mut self) {
        for unit in self.units.values_mut() {
            unit.details.doubt();
            unit.needs.doubt();
        }
        self.graph.reloaded();
        self.triggers.clear();
    }

    /// A timer, socket or path was seen to change. When systemd loads one, the service that it
    /// starts becomes a triggered one without any signal of its own: the first time, it is asked
    /// which service that is.
    pub(super) fn trigger_seen(&mut self, path: &Arc<str>) {
        if !["_2etimer", "_2esocket", "_2epath"].iter().any(|kind| path.ends_with(kind)) {
            return;
        }
        if self.triggers.len() >= MOST_TRIGGERS {
            self.triggers.clear();
        }
        if self.triggers.insert(Arc::clone(path)) {
            self.to_trigger.push(Arc::clone(path));
        }
    }

    /// A timer, socket or path starts the unit `name`.
    pub(super) fn triggered(&mut self, name: &str) {
        if let Some(unit) = self.units.get_mut(unit_path(name).as_str())
            && matches!(&unit.details, Known::Yes(Some(details)) if !details.triggered)
        {
            unit.details = Known::No;
        }
    }

    /// The Service half of a change or of a reading.
    pub(super) fn service(&mut self, path: &Arc<str>, half: ServiceHalf) {
        match self.units.get_mut(path) {
            Some(unit) => half.apply(unit.seen.service.get_or_insert_default()),
            None => self.half = Some((Arc::clone(path), half)),
        }
    }

    /// The Unit half of a reading; [`Table::report`] follows.
    pub(super) fn unit_read(&mut self, path: &Arc<str>, half: &UnitHalf) {
        if let Some(unit) = self.units.get_mut(path) {
            half.apply(&mut unit.seen);
        }
        if half.requires.is_some() {
            self.learn(path, half.requires.clone());
        }
    }

    /// The Unit half of a change, which completes it.
    pub(super) fn unit_changed(&mut self, path: &Arc<str>, half: &UnitHalf) {
        let service = self.half.take().filter(|(of, _)| of == path).map(|(_, half)| half);
        if let Some(unit) = self.units.get_mut(path) {
            half.apply(&mut unit.seen);
        } else {
            let Some(name) = unit_name(path) else { return };
            let mut seen = UnitSeen::default();
            half.apply(&mut seen);
            if let Some(half) = service {
                half.apply(seen.service.get_or_insert_default());
            }
            let kind = if self.watch.by_glob(&name) {
                Kind::Glob
            } else if bad(&seen) && self.watch.on_failure(&name) {
                Kind::Unnamed
            } else {
                return;
            };
            let name: Arc<str> = name.into();
            let unit = self.track(Arc::clone(path), Arc::clone(&name), name, kind);
            seen.name = Arc::clone(&unit.seen.name);
            unit.seen = seen;
            unit.owed = false;
        }
        self.report(path);
    }

    /// The answer about one unit: one that was asked for by the name `asked`, or one of a list.
    pub(super) fn row(&mut self, row: &Row, asked: Option<&Arc<str>>) -> Todo {
        let path: Arc<str> = unit_path(&row.name).into();
        if let Some(asked) = asked
            && *asked != row.name
        {
            self.alias(&path, &row.name, asked);
        }
        if !self.units.contains_key(&path) {
            let kind = if self.watch.exact(&row.name) {
                Kind::Exact
            } else if self.watch.by_glob(&row.name) {
                Kind::Glob
            } else if failing(row.active, &row.sub) && self.watch.on_failure(&row.name) {
                Kind::Unnamed
            } else {
                return Todo::Nothing;
            };
            self.track(Arc::clone(&path), Arc::clone(&row.name), Arc::clone(&row.name), kind);
        }
        let Some(unit) = self.units.get_mut(&path) else { return Todo::Nothing };
        let seen = &mut unit.seen;
        let same = seen.load == row.load
            && seen.active == row.active
            && seen.sub == row.sub
            && seen.job == row.job;
        if same && !unit.owed && unit.sent.is_some() {
            return Todo::Nothing;
        }
        seen.load = row.load;
        seen.active = row.active;
        seen.sub = Arc::clone(&row.sub);
        seen.job = row.job;
        if row.load != LoadState::Loaded && row.active == ActiveState::Inactive {
            self.report(&path);
            return Todo::Reported;
        }
        Todo::Read
    }

    /// A name that systemd said nothing about.
    pub(super) fn no_row(&mut self, name: &Arc<str>) {
        if self.missing.insert(Arc::clone(name)) {
            self.out.push_back(nothing(name));
        }
    }

    /// `asked` is an alias of the unit `primary`.
    pub(super) fn alias_of(&mut self, primary: &Arc<str>, asked: &Arc<str>) {
        self.alias(&unit_path(primary).into(), primary, asked);
    }

    /// What the globs match by now, which may be nothing.
    pub(super) fn glob_rows(&mut self, rows: &[Row]) {
        for glob in &self.watch.config.globs {
            let text: Arc<str> = glob.as_str().into();
            if rows.iter().any(|row| glob.matches(&row.name)) {
                self.empty.remove(&text);
            } else if self.empty.insert(Arc::clone(&text)) {
                self.out.push_back(nothing(&text));
            }
        }
    }

    /// systemd has unloaded a unit. True when that does not fit what is known, so that it must be
    /// looked at: a unit that is not at rest is unloaded only to be loaded again.
    pub(super) fn removed(&mut self, path: &Arc<str>) -> bool {
        let Some(unit) = self.units.get(path) else { return false };
        if unit.seen.active != ActiveState::Inactive {
            return true;
        }
        if unit.kind != Kind::Exact && unit.held.is_empty() && unit.sent.is_some() {
            self.units.remove(path);
        }
        false
    }

    /// The details of a unit, or that they cannot be had.
    pub(super) fn details(&mut self, path: &Arc<str>, details: Option<Details>) {
        let Some(unit) = self.units.get_mut(path) else { return };
        unit.details = Known::Yes(details);
        self.flush(path);
    }

    /// What the unit at `path` requires (`None`: that cannot be had): those that waited for it get
    /// on.
    pub(super) fn learn(&mut self, path: &Arc<str>, direct: Option<Vec<Arc<str>>>) {
        let Some(name) = unit_name(path) else { return };
        for waiting in self.graph.learn(&name.into(), direct) {
            let path: Arc<str> = unit_path(&waiting).into();
            if self.units.get(&path).is_some_and(|unit| unit.needs == Known::Asked) {
                self.find_needs(&path, &waiting);
                self.flush(&path);
            }
        }
    }

    /// Finds out what the unit at `path` needs, as far as is known.
    fn find_needs(&mut self, path: &Arc<str>, name: &Arc<str>) {
        let mut to_read = Vec::new();
        let needs = self.graph.needs(name, &mut to_read);
        self.needed.extend(to_read.iter().map(|name| Arc::from(unit_path(name))));
        let known = match needs {
            // Each goes by the names that it was named with.
            Some(needs) => Known::Yes(needs.iter().flat_map(|name| self.names_of(name)).collect()),
            None => Known::Asked,
        };
        if let Some(unit) = self.units.get_mut(path) {
            unit.needs = known;
        }
    }

    /// Sends what was held when nothing is waited for any more.
    fn flush(&mut self, path: &Arc<str>) {
        let Some(unit) = self.units.get_mut(path) else { return };
        if unit.details == Known::Asked || unit.needs == Known::Asked {
            return;
        }
        for seen in std::mem::take(&mut unit.held) {
            push(&mut self.out, &unit.names, unit.explain(seen));
        }
        self.forget_if_well(path);
    }

    /// Sends the present state of a unit, if it is new and somebody wants it.
    pub(super) fn report(&mut self, path: &Arc<str>) {
        let Some(unit) = self.units.get_mut(path) else { return };
        let fresh = unit.sent.as_ref() != Some(&unit.seen);
        if fresh || unit.owed {
            unit.owed = false;
            unit.sent = Some(unit.seen.clone());
            let seen = unit.seen.clone();
            // While something is on its way, all that follows waits behind what asked for it, so
            // that the order stays.
            let plain = plainly_active(&seen) || seen.load != LoadState::Loaded;
            if plain && unit.held.is_empty() {
                push(&mut self.out, &unit.names, unit.explain(seen));
            } else {
                let name = Arc::clone(&seen.name);
                let look = unit.needs == Known::No && down(&seen, unit.kind);
                if unit.details == Known::No && !plain {
                    unit.details = Known::Asked;
                    self.wanted.push(Arc::clone(path));
                }
                if unit.held.len() == MOST_HELD {
                    unit.held.pop_front();
                }
                unit.held.push_back(seen);
                if look {
                    self.find_needs(path, &name);
                }
                self.flush(path);
            }
        }
        self.forget_if_well(path);
    }

    /// Details are being asked for without anybody waiting for them. False when it is pointless.
    pub(super) fn prefetching(&mut self, path: &Arc<str>) -> bool {
        match self.units.get_mut(path) {
            Some(unit) if unit.details == Known::No => {
                unit.details = Known::Asked;
                true
            }
            _ => false,
        }
    }

    fn forget_if_well(&mut self, path: &Arc<str>) {
        let well = |unit: &Tracked| {
            unit.kind == Kind::Unnamed
                && unit.held.is_empty()
                && unit.sent.is_some()
                && settled_well(&unit.seen)
        };
        if self.units.get(path).is_some_and(well) {
            self.units.remove(path);
        }
    }

    fn track(&mut self, path: Arc<str>, id: Arc<str>, name: Arc<str>, kind: Kind) -> &mut Tracked {
        self.units.entry(path).or_insert_with(|| Tracked {
            seen: UnitSeen { name: id, ..UnitSeen::default() },
            sent: None,
            names: vec![name],
            kind,
            owed: true,
            details: Known::No,
            needs: Known::No,
            held: VecDeque::new(),
        })
    }

    /// `asked` is another name of the unit `primary`: what happens to it goes by that name too.
    fn alias(&mut self, path: &Arc<str>, primary: &Arc<str>, asked: &Arc<str>) {
        let old = self.units.remove(unit_path(asked).as_str());
        let kind = old.map_or(Kind::Unnamed, |unit| unit.kind);
        let named = self.watch.exact(primary) || self.watch.by_glob(primary);
        match self.units.get_mut(path) {
            Some(unit) => {
                if !unit.names.contains(asked) {
                    unit.names.push(Arc::clone(asked));
                    unit.owed = true;
                }
                if kind == Kind::Exact {
                    unit.kind = Kind::Exact;
                }
            }
            None => {
                let unit =
                    self.track(Arc::clone(path), Arc::clone(primary), Arc::clone(asked), kind);
                if named {
                    unit.names.push(Arc::clone(primary));
                }
            }
        }
    }
}

/// What says that nothing of this name is there.
fn nothing(name: &Arc<str>) -> UnitSeen {
    UnitSeen {
        name: Arc::clone(name),
        load: LoadState::NotFound,
        sub: "dead".into(),
        ..UnitSeen::default()
    }
}

fn push(out: &mut VecDeque<UnitSeen>, names: &[Arc<str>], mut seen: UnitSeen) {
    if let Some((last, others)) = names.split_last() {
        for name in others {
            out.push_back(UnitSeen { name: Arc::clone(name), ..seen.clone() });
        }
        seen.name = Arc::clone(last);
        out.push_back(seen);
    }
}

fn failing(active: ActiveState, sub: &str) -> bool {
    active == ActiveState::Failed || sub.contains("auto-restart")
}

/// What it needs may be why it is not up.
fn down(seen: &UnitSeen, kind: Kind) -> bool {
    let off = seen.active == ActiveState::Inactive && !seen.job && kind == Kind::Exact;
    failing(seen.active, &seen.sub) || off
}

fn bad(seen: &UnitSeen) -> bool {
    // `exec-condition` is a start that was skipped, not one that failed.
    let ended_badly = |s: &ServiceSeen| !matches!(&*s.result, "" | "success" | "exec-condition");
    failing(seen.active, &seen.sub) || seen.service.as_ref().is_some_and(ended_badly)
}

fn settled_well(seen: &UnitSeen) -> bool {
    !bad(seen) && !seen.job && matches!(seen.active, ActiveState::Active | ActiveState::Inactive)
}

/// Nothing that details would explain. For a service that means that it runs.
fn plainly_active(seen: &UnitSeen) -> bool {
    seen.active == ActiveState::Active
        && !seen.job
        && (!seen.name.ends_with(".service") || &*seen.sub == "running")
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
