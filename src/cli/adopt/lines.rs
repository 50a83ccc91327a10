//! The lines of the drop-in that `adopt` offers for a service, what each does and risks, and which
//! of them a service can be given.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::engine::Wall;
use crate::systemd::bus::UnitFacts;

use super::places::header;

/// A line of the drop-in, or two that belong together, in the order of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Line {
    Starts,
    Memory,
    Cpu,
    Watchdog,
}

/// What becomes of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Offer {
    /// It can be taken.
    Open,
    /// The drop-in has it already.
    Taken,
    /// The unit has a limit of its own, which stays.
    Own(String),
    /// It would do harm, for this reason.
    Refused(String),
}

/// The watchdog's time.
const WATCHDOG_US: u64 = 300_000_000;
/// A ping so soon after the start may be one that is never repeated.
const SETTLED_US: u64 = 5_000_000;
const SECOND_US: u64 = 1_000_000;

impl Line {
    const ALL: [Self; 4] = [Self::Starts, Self::Memory, Self::Cpu, Self::Watchdog];

    /// As it stands in the file.
    pub(super) fn settings(self) -> &'static [&'static str] {
        match self {
            Self::Starts => &["StartLimitIntervalSec=5min", "StartLimitBurst=5"],
            Self::Memory => &["MemoryMax=4G"],
            Self::Cpu => &["CPUQuota=200%"],
            Self::Watchdog => &["WatchdogSec=5min"],
        }
    }

    /// What it does.
    pub(super) fn means(self) -> &'static str {
        match self {
            Self::Starts => "systemd starts it at most 5 times in 5 min",
            Self::Memory => "it gets at most 4 GiB of memory",
            Self::Cpu => "it gets at most as much processor time as 2 whole processors",
            Self::Watchdog => {
                "systemd takes it for hung and kills it when it has not pinged for 5 min"
            }
        }
    }

    /// What it may do that is not wanted.
    pub(super) fn risk(self) -> &'static str {
        match self {
            Self::Starts => {
                "after that systemd gives up on it until `systemctl reset-failed`, for starts by \
                 hand too; keepwell goes on with its own waits"
            }
            Self::Memory => "it is killed when it needs more, also at the busiest hour of the year",
            Self::Cpu => "it is slower than it could be on a host with more processors",
            Self::Watchdog => {
                "it is killed when it is only slow: when one ping comes later than 5 min"
            }
        }
    }

    /// When it counts, where that is not at once.
    pub(super) fn when(self) -> Option<&'static str> {
        (self == Self::Watchdog).then_some("from its next start on")
    }
}

/// Which lines are asked for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wanted {
    pub(super) limits: bool,
    pub(super) watchdog: bool,
}

/// What can be given to this service; `text` is the drop-in as it is now.
pub(super) fn offers(
    facts: &UnitFacts,
    wanted: Wanted,
    text: &str,
    now: Wall,
) -> Vec<(Line, Offer)> {
    let has = taken(text);
    let limits = &facts.limits;
    let own = |line: Line| match line {
        Line::Starts => limits.starts.map(|(burst, interval)| match (burst, interval) {
            (0, _) | (_, 0) => "no limit at all".to_owned(),
            _ => format!("at most {burst} starts in {}", time(interval)),
        }),
        Line::Memory => limits.memory.map(|bytes| format!("MemoryMax={}", size(bytes))),
        Line::Cpu => limits.cpu.map(|us| format!("CPUQuota={}%", us / 10_000)),
        // A longer one shows that it pings, and can be made shorter.
        Line::Watchdog => limits
            .watchdog
            .filter(|us| *us <= WATCHDOG_US)
            .map(|us| format!("WatchdogSec={}", time(us))),
    };
    let asked = |line: &Line| match line {
        Line::Starts => true,
        Line::Memory | Line::Cpu => wanted.limits,
        Line::Watchdog => wanted.watchdog,
    };
    let offer = |line: Line| {
        if has.contains(&line) {
            return (line, Offer::Taken);
        }
        if let Some(own) = own(line) {
            return (line, Offer::Own(own));
        }
        match pings(facts, now) {
            Err(why) if line == Line::Watchdog => (line, Offer::Refused(why)),
            _ => (line, Offer::Open),
        }
    };
    Line::ALL.into_iter().filter(asked).map(offer).collect()
}

/// Whether the service has shown that it pings, and goes on doing so. systemd keeps no record of
/// pings where no watchdog is set, so only one with a longer watchdog of its own can show it.
fn pings(facts: &UnitFacts, now: Wall) -> Result<(), String> {
    let (name, kind) = (&facts.name, &facts.kind);
    let killed = "one that does not ping would be killed every 5 min";
    if facts.limits.watchdog.is_none() {
        return Err(format!(
            "nothing shows that {name} (Type={kind}) pings, and {killed}; when its documentation \
             says that it supports systemd's watchdog, set WatchdogSec= with \
             `sudo systemctl edit {name}`"
        ));
    }
    if facts.active != "active" {
        return Err(format!("{name} does not run, so nothing shows that it pings; start it first"));
    }
    // A start counts as a ping to systemd; it comes before the service is active.
    if facts.fed.saturating_sub(facts.active_since) < SETTLED_US {
        return Err(format!(
            "{name} has not pinged since {} after its start, and {killed}; if it started just \
             now, try again later",
            time(SETTLED_US)
        ));
    }
    let ago = u64::try_from(now.0).unwrap_or(0).saturating_sub(facts.fed_wall);
    if ago > WATCHDOG_US / 2 {
        return Err(format!(
            "{name} pinged last {} ago: too seldom for a watchdog of 5 min",
            time(ago / SECOND_US * SECOND_US)
        ));
    }
    Ok(())
}

/// The lines that a drop-in has.
pub(super) fn taken(text: &str) -> BTreeSet<Line> {
    let has = |line: &Line| line.settings().iter().all(|s| text.lines().any(|l| l == *s));
    Line::ALL.into_iter().filter(has).collect()
}

/// The drop-in with these lines.
pub(super) fn render(unit: &str, lines: &BTreeSet<Line>) -> String {
    let mut out = header(unit);
    let mut section = "";
    for line in lines {
        let own = if *line == Line::Starts { "[Unit]" } else { "[Service]" };
        if section != own {
            section = own;
            // Writing to a string cannot fail.
            let _ = write!(out, "\n{section}\n");
        }
        let when = line.when().map(|when| format!(", {when}")).unwrap_or_default();
        let _ = write!(out, "# {}{when}.\n# Risk: {}.\n", line.means(), line.risk());
        for setting in line.settings() {
            let _ = writeln!(out, "{setting}");
        }
    }
    out
}

/// µs as systemd writes them, in the largest unit that leaves nothing over.
fn time(us: u64) -> String {
    for (size, unit) in [(3600 * SECOND_US, "h"), (60 * SECOND_US, "min"), (SECOND_US, "s")] {
        if us >= size && us.is_multiple_of(size) {
            return format!("{} {unit}", us / size);
        }
    }
    if us == u64::MAX { "infinity".into() } else { format!("{} ms", us / 1000) }
}

/// Bytes, likewise.
fn size(bytes: u64) -> String {
    for (size, unit) in [(1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")] {
        if bytes >= size && bytes.is_multiple_of(size) {
            return format!("{}{unit}", bytes / size);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::systemd::bus::UnitLimits;

    const ALL: Wanted = Wanted { limits: true, watchdog: true };
    const NOW: Wall = Wall(2_000_000_000_000_000);

    fn pinging() -> UnitFacts {
        UnitFacts {
            name: "shop.service".into(),
            active: "active".into(),
            kind: "notify".into(),
            limits: UnitLimits { watchdog: Some(2 * WATCHDOG_US), ..UnitLimits::default() },
            active_since: 100 * SECOND_US,
            fed: 160 * SECOND_US,
            fed_wall: u64::try_from(NOW.0).unwrap() - 10 * SECOND_US,
            ..UnitFacts::default()
        }
    }

    fn watchdog(facts: &UnitFacts) -> Offer {
        offers(facts, ALL, "", NOW).pop().unwrap().1
    }

    #[test]
    fn golden_drop_in() {
        let all = Line::ALL.into_iter().collect();
        let text = render("shop.service", &all);
        assert_eq!(taken(&text), all);
        insta::assert_snapshot!("drop_in", text);
        let starts = BTreeSet::from([Line::Starts]);
        assert_eq!(taken(&render("shop.service", &starts)), starts);
    }

    #[test]
    fn the_example_says_the_same() {
        let example = include_str!("../../../systemd/watched-service.conf.example");
        let lines = example.lines().map(|l| l.trim_start_matches("# "));
        let words = lines.clone().collect::<Vec<_>>().join(" ");
        for line in Line::ALL {
            // The watchdog is for somebody who has looked whether the service pings.
            let (mark, risk) = match line {
                Line::Watchdog => ("#", "a service that does not ping is killed every 5 min"),
                line => ("", line.risk()),
            };
            for setting in line.settings() {
                let wanted = format!("{mark}{setting}");
                assert!(lines.clone().any(|l| l == wanted), "{wanted}");
            }
            assert!(words.contains(line.means()), "{}", line.means());
            assert!(words.contains(risk), "{risk}");
        }
    }

    #[test]
    fn only_what_is_asked_for_is_offered() {
        let facts = pinging();
        let lines = |wanted| offers(&facts, wanted, "", NOW);
        assert_eq!(lines(Wanted::default()), [(Line::Starts, Offer::Open)]);
        assert_eq!(lines(ALL), Line::ALL.map(|line| (line, Offer::Open)));
    }

    #[test]
    fn what_the_drop_in_has_is_taken_and_what_the_unit_has_stays() {
        let own = UnitLimits {
            starts: Some((3, 90 * SECOND_US)),
            memory: Some(512 << 20),
            cpu: Some(500_000),
            watchdog: Some(30 * SECOND_US),
        };
        let facts = UnitFacts { limits: own, ..pinging() };
        let text = render("shop.service", &BTreeSet::from([Line::Starts]));
        let said: Vec<String> =
            offers(&facts, ALL, &text, NOW).into_iter().map(|o| format!("{o:?}")).collect();
        assert_eq!(
            said,
            [
                "(Starts, Taken)",
                "(Memory, Own(\"MemoryMax=512M\"))",
                "(Cpu, Own(\"CPUQuota=50%\"))",
                "(Watchdog, Own(\"WatchdogSec=30 s\"))"
            ]
        );
        let starts = offers(&facts, Wanted::default(), "", NOW);
        assert_eq!(starts[0].1, Offer::Own("at most 3 starts in 90 s".into()));
        let unlimited = UnitLimits { starts: Some((5, 0)), ..UnitLimits::default() };
        let starts =
            offers(&UnitFacts { limits: unlimited, ..pinging() }, Wanted::default(), "", NOW);
        assert_eq!(starts[0].1, Offer::Own("no limit at all".into()));
    }

    #[test]
    fn a_watchdog_is_only_for_who_pings() {
        assert_eq!(watchdog(&pinging()), Offer::Open);
        let refused = |facts: UnitFacts| match watchdog(&facts) {
            Offer::Refused(why) => why,
            other => panic!("{other:?}"),
        };
        let stopped = refused(UnitFacts { active: "inactive".into(), ..pinging() });
        assert!(stopped.contains("does not run"), "{stopped}");
        let unknown =
            UnitFacts { limits: UnitLimits::default(), kind: "simple".into(), ..pinging() };
        let unknown = refused(unknown);
        assert!(unknown.contains("shop.service (Type=simple) pings, and one that"), "{unknown}");
        // A start counts as feeding, and comes before the unit is active.
        for fed in [99, 101] {
            let never = refused(UnitFacts { fed: fed * SECOND_US, ..pinging() });
            assert!(never.contains("has not pinged since 5 s after its start"), "{never}");
        }
        let long_ago = u64::try_from(NOW.0).unwrap() - 7 * 60 * SECOND_US;
        let seldom = refused(UnitFacts { fed_wall: long_ago, ..pinging() });
        assert!(seldom.contains("pinged last 7 min ago"), "{seldom}");
    }
}
