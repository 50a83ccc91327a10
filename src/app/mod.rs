//! The agent put together: plan, bind, spawn, supervise, reload, stop.
//!
//! `run` is the daemon, `round` one look without it; both use the same `plan`, `driver` and
//! `work`. Only `supervisor` starts tasks, only `clock` reads clocks.

mod agent;
pub mod clock;
mod core;
mod driver;
mod hooks;
mod journal;
mod lag;
mod lanes;
pub mod last_word;
mod late;
mod listen;
mod liveness;
mod logs;
pub mod plan;
pub mod round;
pub mod run;
mod supervisor;
mod work;

pub use core::Core;
pub use lanes::test_directly;
