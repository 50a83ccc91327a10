//! The rig for tests on a real systemd: throw-away Debian containers booted by systemd-nspawn, with
//! keepwell and a webhook receiver in them. Used by `tests/system_*.rs`, the demo and the bench:
//!
//! ```ignore
//! #[path = "support/mod.rs"]
//! mod support;
//! use support::*;
//!
//! on_each_image! {
//!     fn a_killed_service_is_seen(c: Container) {
//!         c.install_keepwell("[[unit]]\nname = \"flaky\"\n", User::Keepwell);
//!         c.start_keepwell();
//!         ...
//!     }
//! }
//! ```
//!
//! Each container is a host of its own: any number of tests may run at once. Where one cannot be
//! had, the test says `SKIPPED: why` and passes, unless `KEEPWELL_REQUIRE_SYSTEMD=1`.
//!
//! A `Container` ends with the value, also on panic, and also when the test process is killed;
//! when a test fails, keepwell's log and the console are printed. `KEEPWELL_RIG_LOG=1` prints the
//! log always.

#![allow(dead_code, unused_imports, reason = "no test uses all of the rig")]

pub(crate) mod clock;
pub(crate) mod container;
pub(crate) mod host;
pub(crate) mod keepwell;
pub(crate) mod package;
pub(crate) mod receiver;

pub(crate) use clock::{never, wait_for, wait_until, wall_us};
pub(crate) use container::{Container, Options, Output};
pub(crate) use keepwell::User;
pub(crate) use package::{Kind, Packages};
pub(crate) use receiver::Receiver;

/// Makes each function a module with one test for each image, so that both run at once.
#[allow(unused_macros, reason = "not used by demo and bench")]
macro_rules! on_each_image {
    ($($(#[$meta:meta])* fn $name:ident($c:ident: Container) $body:block)+) => {$(
        $(#[$meta])*
        mod $name {
            #![allow(clippy::unwrap_used, reason = "clippy does not see that this is a test")]
            #[allow(unused_imports, reason = "not every test needs all that its file imports")]
            use super::*;

            fn scenario($c: Container) $body

            #[test]
            fn bookworm() {
                if let Some(container) = Container::boot("bookworm", Options::default()) {
                    scenario(container);
                }
            }

            #[test]
            fn trixie() {
                if let Some(container) = Container::boot("trixie", Options::default()) {
                    scenario(container);
                }
            }
        }
    )+};
}
#[allow(unused_imports, reason = "not used by demo and bench")]
pub(crate) use on_each_image;
