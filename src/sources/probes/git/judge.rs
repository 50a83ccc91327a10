//! What was found of a checkout, and what that means. Pure.

use std::time::Duration;

use crate::engine::observation::{Finding, ProbeOutcome};
use crate::engine::view::Value;
use crate::engine::{Human, Reason};

/// What need not count, by its word in `ignore`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    Diverged,
    Behind,
    NoBranch,
    Unreachable,
    Ahead,
    Detached,
    Dirty,
    Untracked,
}

/// Each with its word. That the remote has no such branch always counts.
pub(super) const WORDS: [(&str, Fault); 7] = [
    ("behind", Fault::Behind),
    ("ahead", Fault::Ahead),
    ("diverged", Fault::Diverged),
    ("dirty", Fault::Dirty),
    ("untracked", Fault::Untracked),
    ("detached", Fault::Detached),
    ("unreachable", Fault::Unreachable),
];

impl Fault {
    fn reason(self) -> Reason {
        match self {
            Self::Diverged => Reason::Diverged,
            Self::Behind => Reason::Behind,
            Self::NoBranch => Reason::NoRemoteBranch,
            Self::Unreachable => Reason::RemoteUnreachable,
            Self::Ahead => Reason::Ahead,
            Self::Detached => Reason::Detached,
            Self::Dirty => Reason::Dirty,
            Self::Untracked => Reason::Untracked,
        }
    }
}

/// Lines of one sort that git printed; at most so many are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) n: u64,
    /// There may be more.
    pub(super) more: bool,
}

/// How the checkout stands to the branch of the remote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Stand {
    /// Not asked (yet).
    #[default]
    Unknown,
    /// No branch is checked out, at this commit, and none is configured.
    Detached(String),
    /// The remote does not answer: where it is and why.
    Unreachable { place: String, why: String },
    /// It has no such branch.
    NoBranch,
    /// The commit of the remote is here.
    Apart { ahead: u64, behind: u64 },
    /// So it is, but what lies between was cut off.
    Unrelated,
    /// The commit of the remote has not been fetched, and the checkout has, or has not, commits of
    /// its own.
    Unfetched { own: bool },
}

/// All that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Such as `origin/main`.
    pub(super) branch: String,
    pub(super) stand: Stand,
    /// Files that differ from what is committed.
    pub(super) changed: Option<Count>,
    pub(super) untracked: Option<Count>,
    /// How long ago it last fetched.
    pub(super) fetched: Option<Duration>,
}

/// What that means, when some of it need not count.
pub(super) fn judge(facts: &Facts, ignore: &[Fault]) -> Finding {
    let branch = &facts.branch;
    let mut said: Vec<(Option<Fault>, String)> = Vec::new();
    let mut values = Vec::new();
    let mut value = |name, value: f64| values.push(Value { name, value });
    let mut old = false;
    match &facts.stand {
        Stand::Unknown => {}
        Stand::Detached(commit) => {
            let text = format!("no branch is checked out (HEAD is at {commit})");
            said.push((Some(Fault::Detached), text));
        }
        Stand::Unreachable { place, why } => {
            said.push((Some(Fault::Unreachable), format!("{place} cannot be reached: {why}")));
        }
        Stand::NoBranch => {
            said.push((Some(Fault::NoBranch), format!("the remote has no branch {branch}")));
        }
        Stand::Apart { ahead, behind } => {
            value("git_behind_commits", *behind as f64);
            value("git_ahead_commits", *ahead as f64);
            old = *behind > 0;
            said.push(match (*ahead, *behind) {
                (0, 0) => (None, format!("at {branch}")),
                (0, n) => (Some(Fault::Behind), format!("{} behind {branch}", commits(n))),
                (n, 0) => (Some(Fault::Ahead), format!("{} ahead of {branch}", commits(n))),
                (own, theirs) => {
                    let text =
                        format!("diverged from {branch}: {} ahead, {theirs} behind", commits(own));
                    (Some(Fault::Diverged), text)
                }
            });
        }
        Stand::Unrelated => {
            let text =
                format!("not at {branch}; how far from it cannot be told of a shallow clone");
            said.push((Some(Fault::Behind), text));
        }
        Stand::Unfetched { own: false } => {
            old = true;
            let text = format!("behind {branch}, whose new commits are not fetched");
            said.push((Some(Fault::Behind), text));
        }
        Stand::Unfetched { own: true } => {
            old = true;
            let text = format!(
                "diverged from {branch}: it has commits of its own, and those of the remote are \
                 not fetched"
            );
            said.push((Some(Fault::Diverged), text));
        }
    }
    if let Some(count) = facts.changed {
        value("git_changed_files", count.n as f64);
        if count.n > 0 {
            said.push((Some(Fault::Dirty), files(count, "changed")));
        }
    }
    if let Some(count) = facts.untracked {
        value("git_untracked_files", count.n as f64);
        if count.n > 0 {
            said.push((Some(Fault::Untracked), files(count, "untracked")));
        }
    }
    if let Some(age) = facts.fetched {
        value("git_fetched_age_seconds", age.as_secs_f64());
        if old {
            said.push((None, format!("last fetched {} ago", Human(age))));
        }
    }
    let counts = |fault: &Fault| !ignore.contains(fault);
    let worst = said.iter().filter_map(|(fault, _)| *fault).filter(counts).min();
    let (outcome, reason) = match worst {
        Some(fault) => (ProbeOutcome::Bad, fault.reason()),
        None => (ProbeOutcome::Good, Reason::ProbeOk),
    };
    let texts: Vec<String> = said.into_iter().map(|(_, text)| text).collect();
    let summary = if texts.is_empty() { "nothing is changed".into() } else { texts.join(", ") };
    Finding { outcome, reason, summary, values }
}

fn commits(n: u64) -> String {
    format!("{n} commit{}", if n == 1 { "" } else { "s" })
}

fn files(Count { n, more }: Count, what: &str) -> String {
    let over = if more { "over " } else { "" };
    format!("{over}{n} {what} file{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(stand: Stand) -> Facts {
        let fetched = Some(Duration::from_secs(7200));
        Facts { branch: "origin/main".into(), stand, fetched, ..Facts::default() }
    }

    fn of(facts: &Facts, ignore: &[Fault]) -> (ProbeOutcome, &'static str, String) {
        let found = judge(facts, ignore);
        (found.outcome, found.reason.as_str(), found.summary)
    }

    #[test]
    fn each_stand_has_its_words() {
        use ProbeOutcome::{Bad, Good};
        let unreachable =
            Stand::Unreachable { place: "origin (ssh://h/x)".into(), why: "no route".into() };
        for (stand, outcome, reason, text) in [
            (Stand::Apart { ahead: 0, behind: 0 }, Good, "probe-ok", "at origin/main"),
            (
                Stand::Apart { ahead: 0, behind: 3 },
                Bad,
                "behind",
                "3 commits behind origin/main, last fetched 2 h ago",
            ),
            (Stand::Apart { ahead: 1, behind: 0 }, Bad, "ahead", "1 commit ahead of origin/main"),
            (
                Stand::Apart { ahead: 1, behind: 2 },
                Bad,
                "diverged",
                "diverged from origin/main: 1 commit ahead, 2 behind, last fetched 2 h ago",
            ),
            (
                Stand::Unfetched { own: false },
                Bad,
                "behind",
                "behind origin/main, whose new commits are not fetched, last fetched 2 h ago",
            ),
            (
                Stand::Unfetched { own: true },
                Bad,
                "diverged",
                "diverged from origin/main: it has commits of its own, and those of the remote \
                 are not fetched, last fetched 2 h ago",
            ),
            (Stand::NoBranch, Bad, "no-remote-branch", "the remote has no branch origin/main"),
            (
                unreachable,
                Bad,
                "remote-unreachable",
                "origin (ssh://h/x) cannot be reached: no route",
            ),
            (
                Stand::Detached("1234567".into()),
                Bad,
                "detached",
                "no branch is checked out (HEAD is at 1234567)",
            ),
        ] {
            assert_eq!(of(&facts(stand), &[]), (outcome, reason, text.to_owned()));
        }
    }

    #[test]
    fn the_worst_that_counts_gives_the_reason_and_all_is_said() {
        let mut found = facts(Stand::Apart { ahead: 2, behind: 0 });
        found.changed = Some(Count { n: 1, more: false });
        found.untracked = Some(Count { n: 1000, more: true });
        let text =
            "2 commits ahead of origin/main, 1 changed file, over 1000 untracked files".to_owned();
        assert_eq!(of(&found, &[]), (ProbeOutcome::Bad, "ahead", text.clone()));
        assert_eq!(of(&found, &[Fault::Ahead]), (ProbeOutcome::Bad, "dirty", text.clone()));
        let all = [Fault::Ahead, Fault::Dirty, Fault::Untracked];
        assert_eq!(of(&found, &all), (ProbeOutcome::Good, "probe-ok", text));
        let names: Vec<&str> = judge(&found, &[]).values.iter().map(|v| v.name).collect();
        assert_eq!(
            names,
            [
                "git_behind_commits",
                "git_ahead_commits",
                "git_changed_files",
                "git_untracked_files",
                "git_fetched_age_seconds"
            ]
        );
    }

    #[test]
    fn every_fault_but_a_missing_branch_can_be_ignored() {
        let all = WORDS.map(|(_, fault)| fault);
        for stand in [
            Stand::Apart { ahead: 1, behind: 1 },
            Stand::Unfetched { own: false },
            Stand::Unrelated,
            Stand::Detached("1".into()),
        ] {
            assert_eq!(judge(&facts(stand), &all).outcome, ProbeOutcome::Good);
        }
        assert_eq!(judge(&facts(Stand::NoBranch), &all).outcome, ProbeOutcome::Bad);
    }
}
