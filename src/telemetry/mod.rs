//! Measurements and alerts for collectors: OTLP, and Azure Monitor in both of its ways.
//!
//! [`instruments`] turns a snapshot into measurements, a [`Wire`] gives them the shape of one
//! receiver and posts them, and the [`Exporter`] decides when, keeps what waits, and says how it
//! goes. Alerts go over the same wires as log records; when they are sent is decided as for every
//! other channel (`notify`).

mod azure;
mod exporter;
#[cfg(feature = "application-insights")]
mod insights;
mod instruments;
mod logs;
mod origin;
mod otlp;
mod plan;
mod probe;
#[cfg(test)]
pub(crate) mod tests;
mod wire;

pub use exporter::{ExportContext, Exporter};
pub use instruments::document;
pub(crate) use logs::LogReceiver;
pub use plan::Receivers;
pub(crate) use plan::receivers;
