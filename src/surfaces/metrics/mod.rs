//! `/metrics`: a snapshot as Prometheus text, OpenMetrics or JSON.
//!
//! [`registry`] names what there is, [`family`] fills it from a snapshot, and [`text`] and [`json`]
//! write it out. Values that sources measure pass through by name: a new one needs no line here,
//! only a better help text in the registry.

mod document;
mod family;
mod json;
mod registry;
mod text;

#[cfg(test)]
mod tests;

use crate::engine::Snapshot;

pub use document::document;
pub use registry::{Entry, Kind, LABELS, Label, Of, known};

/// A shape of `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JSON, for scripts and people; the default.
    Json,
    /// Prometheus text 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// Every format, with the name that `?format=` takes.
    pub const ALL: &'static [(&'static str, Self)] = &[
        ("json", Self::Json),
        ("prometheus", Self::Prometheus),
        ("openmetrics", Self::OpenMetrics),
    ];

    /// Its `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The whole body. `version` is keepwell's.
pub fn render(snapshot: &Snapshot, version: &str, format: Format) -> Vec<u8> {
    let families = family::all(snapshot, version);
    match format {
        Format::Json => json::write(snapshot, &families),
        Format::Prometheus => text::write(&families, text::Dialect::Prometheus).into_bytes(),
        Format::OpenMetrics => text::write(&families, text::Dialect::OpenMetrics).into_bytes(),
    }
}
