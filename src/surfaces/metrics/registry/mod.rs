//! The one list of metrics: name, type, labels, how many series there can be, and help text.
//! `docs/metrics.md`, the alert rules and the dashboard are held to it by tests.

mod fixed;
mod labels;
mod measured;

use std::borrow::Cow;

pub(super) use fixed::FIXED;
pub use labels::{LABELS, Label};
pub(super) use measured::MEASURED;

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only rises; its name ends in `_total`.
    Counter,
    /// Always 1, what it says is in its labels; its name ends in `_info`.
    Info,
}

impl Kind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Info => "info",
        }
    }
}

/// Of what a metric has series: this bounds how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// The whole host.
    Host,
    /// Each check.
    Check,
    /// Each condition of a check.
    Condition,
    /// Each unit that is watched, or that has a problem.
    Unit,
    /// Each unit that keepwell may restart.
    Restarted,
    /// Each container.
    Container,
    /// Each container that keepwell may restart.
    HealedContainer,
    /// Each file system.
    Mount,
    /// Each resource of which the kernel tells the pressure.
    Resource,
    /// Each heartbeat file.
    File,
    /// Each probe of the configuration.
    Probe,
    /// Each channel of the configuration.
    Channel,
    /// Each exporter of the configuration.
    Exporter,
    /// Each hook of the configuration.
    Hook,
}

impl Of {
    /// Every one.
    pub const ALL: [Self; 14] = [
        Self::Host,
        Self::Check,
        Self::Condition,
        Self::Unit,
        Self::Restarted,
        Self::Container,
        Self::HealedContainer,
        Self::Mount,
        Self::Resource,
        Self::File,
        Self::Probe,
        Self::Channel,
        Self::Exporter,
        Self::Hook,
    ];

    /// For people, after a number: `1 a unit`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Host => "",
            Self::Check => "a check",
            Self::Condition => "a condition",
            Self::Unit => "a unit",
            Self::Restarted => "a unit with `restart = true`",
            Self::Container => "a container",
            Self::HealedContainer => "a container with `restart = true`",
            Self::Mount => "a file system",
            Self::Resource => "a resource",
            Self::File => "a heartbeat file",
            Self::Probe => "a probe",
            Self::Channel => "a channel",
            Self::Exporter => "an exporter",
            Self::Hook => "a hook",
        }
    }
}

/// A known metric.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its full name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The labels of each of its series.
    pub labels: &'static [&'static str],
    /// Of what it has series.
    pub of: Of,
    /// How many at most of each.
    pub each: usize,
    /// What it says, in one sentence.
    pub help: &'static str,
}

impl Entry {
    /// Its unit, as its name says: `seconds`, `bytes`, `ratio`.
    pub fn unit(&self) -> Option<&'static str> {
        unit(self.name)
    }

    /// With these labels, and so many series of each such thing.
    const fn of(mut self, of: Of, each: usize, labels: &'static [&'static str]) -> Self {
        self.of = of;
        self.each = each;
        self.labels = labels;
        self
    }
}

const fn entry(name: &'static str, kind: Kind, help: &'static str) -> Entry {
    Entry { name, kind, labels: &[], of: Of::Host, each: 1, help }
}

const fn gauge(name: &'static str, help: &'static str) -> Entry {
    entry(name, Kind::Gauge, help)
}

const fn counter(name: &'static str, help: &'static str) -> Entry {
    entry(name, Kind::Counter, help)
}

const fn info(name: &'static str, help: &'static str) -> Entry {
    entry(name, Kind::Info, help)
}

/// Its labels are those of the user, besides its own.
pub(super) const HOST_INFO: &str = "keepwell_host_info";

/// Every metric that there is: first what is always there, then what checks measure.
pub fn known() -> impl Iterator<Item = &'static Entry> {
    FIXED.iter().chain(MEASURED)
}

/// The unit that a name ends in, before `_total`.
pub(super) fn unit(name: &str) -> Option<&'static str> {
    let name = name.strip_suffix("_total").unwrap_or(name);
    ["seconds", "bytes", "ratio"]
        .into_iter()
        .find(|unit| name.strip_suffix(unit).is_some_and(|before| before.ends_with('_')))
}

/// Type and help of a measured value; from its name alone where the list does not have it.
pub(super) fn of_measured(name: &str) -> (Kind, Cow<'static, str>) {
    if let Some(entry) = MEASURED.iter().find(|e| e.name == name) {
        return (entry.kind, entry.help.into());
    }
    let kind = if name.ends_with("_total") { Kind::Counter } else { Kind::Gauge };
    let words = name.trim_start_matches("keepwell_").trim_end_matches("_total").replace('_', " ");
    (kind, format!("Measured by a check of keepwell: {words}.").into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_shaped_as_prometheus_wants_them() {
        let mut seen = BTreeSet::new();
        for entry in known() {
            assert!(seen.insert(entry.name), "{} is listed twice", entry.name);
            assert!(entry.name.starts_with("keepwell_"), "{}", entry.name);
            let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(entry.name.chars().all(fine), "{}", entry.name);
            assert_eq!(
                entry.name.ends_with("_total"),
                entry.kind == Kind::Counter,
                "{}",
                entry.name
            );
            assert_eq!(entry.name.ends_with("_info"), entry.kind == Kind::Info, "{}", entry.name);
            assert!(entry.help.ends_with('.'), "{}", entry.name);
            assert!(entry.each > 0, "{}", entry.name);
            // More than one series of a thing need a label that tells them apart.
            let alone = entry.of == Of::Host && entry.each == 1 && entry.kind != Kind::Info;
            assert_eq!(alone, entry.labels.is_empty(), "{}", entry.name);
        }
    }

    /// OpenMetrics names families without their suffix and keeps some endings for itself: what one
    /// family may be called no other may.
    #[test]
    fn no_family_stands_in_the_way_of_another() {
        let family = |entry: &Entry| match entry.kind {
            Kind::Gauge => entry.name,
            Kind::Counter => entry.name.strip_suffix("_total").unwrap(),
            Kind::Info => entry.name.strip_suffix("_info").unwrap(),
        };
        let mut taken = BTreeSet::new();
        for entry in known() {
            let name = family(entry).to_owned();
            let endings: &[&str] = match entry.kind {
                Kind::Gauge => &[""],
                Kind::Counter => &["", "_total", "_created"],
                Kind::Info => &["", "_info"],
            };
            for ending in endings {
                let name = format!("{name}{ending}");
                assert!(taken.insert(name.clone()), "{name} is taken already");
            }
        }
        for ending in ["_total", "_created", "_bucket", "_count", "_sum", "_info"] {
            let wrong = known().find(|e| e.kind == Kind::Gauge && e.name.ends_with(ending));
            assert!(wrong.is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn each_label_that_is_used_is_explained_and_each_that_is_explained_is_used() {
        let used: BTreeSet<&str> = known().flat_map(|e| e.labels).copied().collect();
        let explained: BTreeSet<&str> = LABELS.iter().map(|l| l.name).collect();
        assert_eq!(used, explained);
        assert_eq!(explained.len(), LABELS.len(), "one is explained twice");
        // Prometheus puts these on every series by itself.
        assert!(!used.contains("instance") && !used.contains("job"));
    }

    #[test]
    fn a_unit_is_what_the_name_ends_in() {
        for (name, wanted) in [
            ("keepwell_disk_used_ratio", Some("ratio")),
            ("keepwell_disk_size_bytes", Some("bytes")),
            ("keepwell_agent_cpu_seconds_total", Some("seconds")),
            ("keepwell_unit_restarts_total", None),
            ("keepwell_load_average_1m", None),
            ("seconds", None),
        ] {
            assert_eq!(unit(name), wanted, "{name}");
        }
    }

    #[test]
    fn an_unknown_value_still_has_a_type_and_a_help_text() {
        let (kind, help) = of_measured("keepwell_swap_pages_in_total");
        assert_eq!(kind, Kind::Counter);
        assert_eq!(help, "Measured by a check of keepwell: swap pages in.");
        assert_eq!(of_measured("keepwell_cpu_steal_ratio").0, Kind::Gauge);
    }
}
