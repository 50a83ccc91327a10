//! Actions carry out what the engine decided and say what became of it. They decide nothing but
//! whether the thing is still to be done.

mod containers;
pub mod packages;
mod restarter;

pub use containers::{ContainerRestarter, NoLog};
pub use restarter::Restarter;
