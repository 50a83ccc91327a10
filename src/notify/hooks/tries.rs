//! What waits for one hook: what may go out next, and when. Of one container strictly in order,
//! containers side by side. A container whose call fails waits by itself; when two fail and none
//! succeeds between, the receiver is away and is asked by one request at a time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::hook::HookCall;
use crate::engine::time::{Boot, Now};
use crate::notify::retry;
use crate::store::CallRow;

/// At most so many requests to one receiver at a time.
pub(super) const SIDE_BY_SIDE: usize = 8;
/// At most so many calls wait for one hook.
pub(super) const MOST_CALLS: usize = 10_000;
/// What a row of an earlier run may still have to wait.
const RESUMED: Duration = Duration::from_secs(5 * 60);
/// A receiver that refuses everybody is asked as seldom as one that has failed so often.
const SELDOM: u32 = 10;
/// After so many failures in a row over so long, or after so long whatever they are, the receiver
/// counts as broken.
const BROKEN_AFTER: (u32, Duration) = (3, Duration::from_secs(60));
const BROKEN_AT_LAST: Duration = Duration::from_secs(5 * 60);
/// What a call takes besides its texts.
const CALL: usize = 400;

/// The numbers of the calls that are too many where no lane sees to it: the oldest of each hook that
/// has more than may wait. `rows` is in the order of their numbers.
pub fn too_many(rows: &[CallRow]) -> Vec<u64> {
    let mut waiting: BTreeMap<&str, usize> = BTreeMap::new();
    let mut over = Vec::new();
    for row in rows.iter().rev() {
        let count = waiting.entry(&row.call.hook).or_default();
        *count += 1;
        if *count > MOST_CALLS {
            over.push(row.call.number);
        }
    }
    over
}

/// The calls of one hook.
pub(super) struct Queue {
    hook: Arc<str>,
    host_key: Arc<str>,
    /// By number.
    calls: BTreeMap<u64, CallRow>,
    /// By container: its calls in order. Each is in `flying`, `ready` or `put_off` with its first.
    lines: BTreeMap<Arc<str>, VecDeque<u64>>,
    flying: BTreeSet<u64>,
    /// Failures and number: what was tried least goes first.
    ready: BTreeSet<(u32, u64)>,
    put_off: BTreeSet<(Boot, u64)>,
    bytes: usize,
    room: usize,
    /// The receiver asked for silence until then.
    silence: Boot,
    away: Option<Away>,
    /// The container whose call was the last to fail, with no success since.
    failed: Option<Arc<str>>,
    /// Failures in a row.
    streak: u32,
    /// Containers whose first call has failed, and since when.
    troubled: BTreeMap<Arc<str>, Boot>,
}

/// The receiver is away.
struct Away {
    tries: u32,
    next: Boot,
}

impl Queue {
    /// What an earlier run left. Calls give way when they take more than `room` bytes.
    pub(super) fn new(
        hook: Arc<str>,
        host_key: Arc<str>,
        rows: Vec<CallRow>,
        room: usize,
        now: Now,
    ) -> Self {
        let mut queue = Self {
            hook,
            host_key,
            calls: BTreeMap::new(),
            lines: BTreeMap::new(),
            flying: BTreeSet::new(),
            ready: BTreeSet::new(),
            put_off: BTreeSet::new(),
            bytes: 0,
            room,
            silence: Boot(0),
            away: None,
            failed: None,
            streak: 0,
            troubled: BTreeMap::new(),
        };
        for row in rows {
            queue.add(row, now);
        }
        queue
    }

    /// Takes in a call; one that is there already is the same.
    pub(super) fn add(&mut self, row: CallRow, now: Now) {
        let number = row.call.number;
        if self.calls.contains_key(&number) {
            return;
        }
        self.bytes += size(&row.call);
        let container = Arc::clone(&row.call.container.id);
        self.calls.insert(number, row);
        let line = self.lines.entry(container).or_default();
        let first = line.front().copied();
        // They come in order, but for what was handed over twice.
        let at = line.partition_point(|other| *other < number);
        let at = if first.is_some_and(|n| self.flying.contains(&n)) { at.max(1) } else { at };
        line.insert(at, number);
        if at == 0 {
            if let Some(first) = first {
                self.lift(first);
            }
            self.place(number, now);
        }
    }

    /// The next call that may go out now. It is under way until it is taken, refused or failed.
    pub(super) fn next(&mut self, now: Boot) -> Option<Arc<HookCall>> {
        if now < self.silence || self.flying.len() >= self.most() {
            return None;
        }
        while let Some((due, number)) = self.put_off.first().copied()
            && due <= now
        {
            self.put_off.pop_first();
            self.ready.insert((self.attempts(number), number));
        }
        if self.away.as_ref().is_some_and(|away| now < away.next) {
            return None;
        }
        let number = match (self.ready.first(), &self.away) {
            (Some((_, number)), _) => *number,
            (None, Some(_)) => self.put_off.first()?.1,
            (None, None) => return None,
        };
        self.lift(number);
        self.flying.insert(number);
        self.calls.get(&number).map(|row| Arc::clone(&row.call))
    }

    /// How long nothing can go out; `None`: until something else happens.
    pub(super) fn rest(&self, now: Boot) -> Option<Duration> {
        if self.flying.len() >= self.most() {
            return None;
        }
        let due = match (&self.away, self.ready.is_empty(), self.put_off.first()) {
            (_, true, None) => return None,
            (Some(away), ..) => away.next,
            (None, false, _) => now,
            (None, true, Some((due, _))) => *due,
        };
        // A timer may end a little early: never turn round without waiting at all.
        Some(due.max(self.silence).since(now).max(Duration::from_millis(1)))
    }

    /// The receiver has a call.
    pub(super) fn taken(&mut self, number: u64, now: Now) {
        self.remove(number, now);
        self.streak = 0;
        self.failed = None;
        if self.away.take().is_some() {
            self.hurry();
        }
    }

    /// A call is given up: which.
    pub(super) fn refused(&mut self, number: u64, now: Now) -> Option<Arc<HookCall>> {
        let call = self.calls.get(&number).map(|row| Arc::clone(&row.call));
        self.remove(number, now);
        call
    }

    /// A call is to be tried again. `asked`: the receiver wants to be left alone for so long;
    /// `everybody`: it refuses whatever it is told. The row as it is now.
    pub(super) fn failed(
        &mut self,
        number: u64,
        asked: Option<Duration>,
        everybody: bool,
        now: Now,
    ) -> Option<&CallRow> {
        self.flying.remove(&number);
        let seldom = if everybody { SELDOM } else { 1 };
        if let Some(asked) = asked {
            let until = now.boot.after(asked.min(retry::LONGEST_ASKED));
            self.silence = self.silence.max(until);
        }
        let row = self.calls.get_mut(&number)?;
        row.attempts = row.attempts.saturating_add(1).max(seldom);
        let wait = retry::delay(&self.hook, &format!("{}-{number}", self.host_key), row.attempts);
        let wait = wait.max(self.silence.since(now.boot));
        row.next_at = now.wall.after(wait);
        self.put_off.insert((now.boot.after(wait), number));
        let container = Arc::clone(&row.call.container.id);
        self.troubled.entry(Arc::clone(&container)).or_insert(now.boot);
        self.streak = self.streak.saturating_add(1);
        let other = self.failed.replace(Arc::clone(&container)).is_some_and(|c| c != container);
        let tries = match &self.away {
            // Those that were under way when it was found to be away say nothing new.
            Some(_) if !self.flying.is_empty() => None,
            Some(away) => Some(away.tries.saturating_add(1).max(seldom)),
            None => other.then_some(seldom),
        };
        if let Some(tries) = tries {
            let next = now.boot.after(retry::delay(&self.hook, &self.host_key, tries));
            self.away = Some(Away { tries, next });
        }
        self.calls.get(&number)
    }

    /// Everything may be tried now, but for a silence that was asked for.
    pub(super) fn hurry(&mut self) {
        if let Some(away) = &mut self.away {
            away.next = Boot(0);
        }
        for (_, number) in std::mem::take(&mut self.put_off) {
            self.ready.insert((self.attempts(number), number));
        }
    }

    /// The oldest call, when there are too many; it is gone.
    pub(super) fn over(&mut self, now: Now) -> Option<Arc<HookCall>> {
        if self.calls.len() <= MOST_CALLS && self.bytes <= self.room {
            return None;
        }
        let oldest = self.calls.iter().find(|(number, _)| !self.flying.contains(number));
        let call = Arc::clone(&oldest?.1.call);
        self.remove(call.number, now);
        Some(call)
    }

    /// How many wait, those under way included.
    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether the call of some container has failed and has not been taken since.
    pub(super) fn in_trouble(&self) -> bool {
        !self.troubled.is_empty()
    }

    /// When that has lasted: the receiver is broken from then on.
    pub(super) fn broken(&self) -> Option<Boot> {
        let since = self.troubled.values().min()?;
        let (times, long) = BROKEN_AFTER;
        Some(since.after(if self.streak >= times { long } else { BROKEN_AT_LAST }))
    }

    /// What still waits, by number. A new configuration may have mended what was wrong: no wait but
    /// one that was asked for.
    pub(super) fn into_rows(self, now: Now) -> Vec<CallRow> {
        let next_at = now.wall.after(self.silence.since(now.boot));
        self.calls.into_values().map(|row| CallRow { next_at, ..row }).collect()
    }

    fn most(&self) -> usize {
        if self.away.is_some() { 1 } else { SIDE_BY_SIDE }
    }

    fn attempts(&self, number: u64) -> u32 {
        self.calls.get(&number).map_or(0, |row| row.attempts)
    }

    /// Puts the first of a line where it belongs.
    fn place(&mut self, number: u64, now: Now) {
        let Some(row) = self.calls.get(&number) else { return };
        // Only what has failed has to wait: the clock of a container engine may be ahead.
        let wait = if row.attempts > 0 { row.next_at.since(now.wall) } else { Duration::ZERO };
        if wait.is_zero() {
            self.ready.insert((row.attempts, number));
        } else {
            self.put_off.insert((now.boot.after(wait.min(RESUMED)), number));
        }
    }

    fn lift(&mut self, number: u64) {
        let attempts = self.attempts(number);
        if !self.ready.remove(&(attempts, number)) {
            self.put_off.retain(|(_, other)| *other != number);
        }
    }

    /// Takes a call out; the next of its container takes its place.
    fn remove(&mut self, number: u64, now: Now) {
        if !self.flying.remove(&number) {
            self.lift(number);
        }
        let Some(row) = self.calls.remove(&number) else { return };
        self.bytes -= size(&row.call);
        let container = &row.call.container.id;
        let Some(line) = self.lines.get_mut(container) else { return };
        let first = line.front() == Some(&number);
        line.retain(|other| *other != number);
        let next = line.front().copied();
        if next.is_none() {
            self.lines.remove(container);
        }
        if first {
            self.troubled.remove(container);
            if let Some(next) = next {
                self.place(next, now);
            }
        }
    }
}

/// About what a call takes in memory and on the disk.
fn size(call: &HookCall) -> usize {
    let container = &call.container;
    let texts = [&container.id, &container.name, &container.engine, &container.image, &call.host];
    let labels = container.labels.iter().map(|(key, value)| key.len() + value.len() + 64);
    CALL + texts.iter().map(|text| text.len()).sum::<usize>() + labels.sum::<usize>()
}
