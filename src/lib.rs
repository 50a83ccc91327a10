//! keepwell: a systemd-native agent that keeps a Linux host well.
//!
//! The way through is one: sources see, the engine decides, the store keeps, actions heal, notify
//! tells and surfaces show. `docs/architecture.md` has the diagram and the rules.

pub mod actions;
pub mod app;
pub mod cli;
pub mod config;
pub mod docker;
pub mod engine;
pub mod notify;
pub mod outbound;
pub mod rights;
pub mod sources;
pub mod store;
pub mod surfaces;
pub mod systemd;
pub mod telemetry;
