//! Surfaces show what the engine knows: HTTP (health, metrics, API, page) and the status line.
//!
//! Everything here reads an immutable [`crate::engine::Snapshot`]; nothing here decides, asks
//! systemd, or holds a lock that the driver waits for.

mod health;
pub mod http;
pub mod metrics;
mod page;
pub mod report;
mod status;
mod visible;

#[cfg(test)]
pub(crate) mod sample;

pub use status::status_line;
pub use visible::visible;
