//! Whether the disk is so late with what is to be kept that people are told: a moment's stall,
//! which busy hosts have at times, is no news.

use std::time::Duration;

use crate::engine::Boot;

/// What was handed to the disk is told to be late after this.
const LATE: Duration = Duration::from_secs(10);

/// What went on from memory because the disk was late with it.
#[derive(Debug, Default)]
pub(super) struct Late(Option<Unsaved>);

#[derive(Debug)]
struct Unsaved {
    /// The last of it, and when the first was handed over.
    seq: u64,
    since: Boot,
    told: bool,
}

impl Late {
    /// This was handed over then, and is not saved yet.
    pub(super) fn waits(&mut self, seq: u64, since: Boot) {
        self.0.get_or_insert(Unsaved { seq, since, told: false }).seq = seq;
    }

    /// When people are to be told, unless it is saved before.
    pub(super) fn due(&self) -> Option<Boot> {
        self.0.as_ref().filter(|late| !late.told).map(|late| late.since.after(LATE))
    }

    /// Whether people are to be told now; once.
    pub(super) fn tell(&mut self, now: Boot) -> bool {
        let due = self.due().is_some_and(|at| at <= now);
        if let Some(late) = self.0.as_mut() {
            late.told |= due;
        }
        due
    }

    /// All up to this one is saved. Whether people must hear that it is over.
    pub(super) fn saved(&mut self, seq: u64) -> bool {
        self.0.take_if(|late| late.seq <= seq).is_some_and(|late| late.told)
    }

    /// Up to this one the store has said itself why it saves nothing.
    pub(super) fn said(&mut self, seq: u64) {
        self.0.take_if(|late| late.seq <= seq && !late.told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Boot {
        Boot(seconds * 1_000_000)
    }

    #[test]
    fn a_stall_is_no_news() {
        let mut late = Late::default();
        assert_eq!(late.due(), None);
        late.waits(1, at(100));
        late.waits(3, at(104));
        assert_eq!(late.due(), Some(at(110)));
        assert!(!late.tell(at(109)));
        assert!(!late.saved(2), "the third is not saved yet");
        assert_eq!(late.due(), Some(at(110)));
        assert!(!late.saved(3), "nobody was told");
        assert_eq!(late.due(), None);
        assert!(!late.tell(at(200)));
    }

    #[test]
    fn what_lasts_is_told_once_with_its_end() {
        let mut late = Late::default();
        late.waits(1, at(100));
        assert!(late.tell(at(110)));
        assert!(!late.tell(at(111)), "once");
        late.waits(2, at(115));
        assert!(!late.tell(at(130)), "it is the same story");
        late.said(2);
        assert!(!late.saved(1));
        assert!(late.saved(2), "who was told hears of the end");
        assert!(!late.saved(3));
    }

    #[test]
    fn why_nothing_is_saved_is_told_by_the_store_alone() {
        let mut late = Late::default();
        late.waits(1, at(100));
        late.waits(2, at(101));
        late.said(1);
        assert_eq!(late.due(), Some(at(110)), "the second may only be late");
        late.said(2);
        assert!(!late.tell(at(200)));
    }
}
