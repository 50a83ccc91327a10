//! What an instrument is, and how one is described in the lists beside this file.

use opentelemetry::KeyValue;

use crate::engine::{CheckKind, Snapshot};

/// Takes one value and the attributes that tell it apart, in the order of their names.
pub(super) type Observe<'a> = dyn FnMut(f64, &[KeyValue]) + 'a;

/// Reads the values of an instrument from a snapshot.
pub(super) type Fill = fn(&Snapshot, &mut Observe<'_>);

/// What the values of an instrument are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// How it is now.
    Gauge,
    /// How much there is now, which can be added up.
    UpDownCounter,
    /// Only rises.
    Counter(Beginning),
    /// How values are spread.
    Histogram,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::UpDownCounter => "up-down counter",
            Self::Counter(_) => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// What a count means that a series has when it is first seen, later than all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beginning {
    /// It was counted by this keepwell: the series began at 0.
    Here,
    /// It may have been counted long ago: only what is added from now on counts.
    Before,
}

/// What numbers the values are sent as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    Real,
    Whole,
}

/// What limits how many series there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    One,
    /// The words that the code has for it.
    Words,
    Resources,
    Mounts,
    MountStates,
    Heartbeats,
    Units,
    UnitStates,
    Containers,
    ContainerDirections,
    Checks,
    Channels,
    Exporters,
}

impl Bound {
    /// Series beyond this become one, with the attribute `otel.metric.overflow`. It also decides
    /// how much room the SDK takes in advance.
    pub(super) fn limit(self) -> usize {
        match self {
            Self::One => 1,
            Self::Words | Self::Resources | Self::Exporters => 16,
            Self::Channels => 64,
            Self::Mounts => 256,
            Self::MountStates => 512,
            Self::Heartbeats => 512,
            Self::Containers => 1_000,
            Self::Units | Self::ContainerDirections => 2_000,
            Self::Checks => 3_000,
            Self::UnitStates => 14_000,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::One => "1",
            Self::Words => "the values of its attributes",
            Self::Resources => "cpu, memory, io",
            Self::Mounts => "file systems watched",
            Self::MountStates => "file systems watched × 2",
            Self::Heartbeats => "heartbeat files",
            Self::Units => "units watched",
            Self::UnitStates => "units that are named or fail × 7",
            Self::Containers => "containers watched",
            Self::ContainerDirections => "containers watched × 2",
            Self::Checks => "checks",
            Self::Channels => "channels configured",
            Self::Exporters => "exporters configured",
        }
    }
}

/// A known instrument.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spec {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) number: Number,
    /// As UCUM writes it.
    pub(super) unit: &'static str,
    pub(super) help: &'static str,
    pub(super) attributes: &'static [&'static str],
    pub(super) bound: Bound,
    pub(super) fill: Fill,
}

impl Spec {
    const fn new(
        name: &'static str,
        kind: Kind,
        unit: &'static str,
        help: &'static str,
        fill: Fill,
    ) -> Self {
        let (number, attributes, bound): (_, &[&str], _) = (Number::Real, &[], Bound::One);
        Self { name, kind, number, unit, help, attributes, bound, fill }
    }

    pub(super) const fn gauge(
        name: &'static str,
        unit: &'static str,
        help: &'static str,
        fill: Fill,
    ) -> Self {
        Self::new(name, Kind::Gauge, unit, help, fill)
    }

    /// Of whole numbers.
    pub(super) const fn amount(
        name: &'static str,
        unit: &'static str,
        help: &'static str,
        fill: Fill,
    ) -> Self {
        Self::new(name, Kind::UpDownCounter, unit, help, fill).whole()
    }

    pub(super) const fn counter(
        name: &'static str,
        beginning: Beginning,
        unit: &'static str,
        help: &'static str,
        fill: Fill,
    ) -> Self {
        Self::new(name, Kind::Counter(beginning), unit, help, fill)
    }

    /// What is recorded when it happens: no snapshot holds it.
    pub(super) const fn histogram(
        name: &'static str,
        unit: &'static str,
        help: &'static str,
    ) -> Self {
        Self::new(name, Kind::Histogram, unit, help, |_, _| {})
    }

    pub(super) const fn whole(mut self) -> Self {
        self.number = Number::Whole;
        self
    }

    pub(super) const fn by(mut self, attributes: &'static [&'static str], bound: Bound) -> Self {
        self.attributes = attributes;
        self.bound = bound;
        self
    }

    /// Its row of the table of all instruments.
    pub(super) fn row(&self) -> String {
        let attributes: Vec<String> = self.attributes.iter().map(|a| format!("`{a}`")).collect();
        format!(
            "| `{}` | {} | `{}` | {} | {} | {} |\n",
            self.name,
            self.kind.as_str(),
            self.unit,
            attributes.join(", "),
            self.help,
            self.bound.words()
        )
    }
}

/// A value that the checks of one kind measured, each with the check's name.
pub(super) fn measured<'a>(
    snapshot: &'a Snapshot,
    kind: CheckKind,
    value: &'static str,
) -> impl Iterator<Item = (&'a std::sync::Arc<str>, f64)> {
    let checks = snapshot.checks.iter().filter(move |check| check.id.kind == kind);
    checks.filter_map(move |check| {
        let found = check.values.iter().find(|v| v.name == value)?;
        Some((&check.id.name, found.value))
    })
}

/// As [`measured`], of what there is only one.
pub(super) fn only(
    snapshot: &Snapshot,
    kind: CheckKind,
    value: &'static str,
    mut then: impl FnMut(f64),
) {
    if let Some((_, value)) = measured(snapshot, kind, value).next() {
        then(value);
    }
}

/// 1 or 0.
pub(super) fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}
