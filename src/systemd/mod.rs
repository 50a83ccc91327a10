//! How we speak to systemd: the bus, the journal and `sd_notify`.

pub mod bus;
pub mod journal;
pub mod notify;
pub mod redact;
pub mod sockets;
