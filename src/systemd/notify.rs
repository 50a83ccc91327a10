//! `sd_notify`: tells the service manager how this process is. The words are the crate `sd-notify`'s;
//! sending is done here, because its sending blocks, and a service manager that reads nothing must
//! not stop the driver.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;

/// Speaks to the service manager. Does nothing where there is none (`NOTIFY_SOCKET` is not set).
#[derive(Debug)]
pub struct Notifier {
    socket: Option<OsString>,
    /// The last message could not be sent, and this was said.
    failing: AtomicBool,
}

impl Notifier {
    /// As the environment says. `NOTIFY_SOCKET` is left in it: children are started without it.
    pub fn from_env() -> Self {
        Self::to(std::env::var_os("NOTIFY_SOCKET"))
    }

    /// To a socket by path, or by `@name` for an abstract one; `None`: to nobody.
    pub fn to(socket: Option<OsString>) -> Self {
        Self { socket: socket.filter(|s| !s.is_empty()), failing: AtomicBool::new(false) }
    }

    /// Whether anybody listens.
    pub fn is_on(&self) -> bool {
        self.socket.is_some()
    }

    /// Start-up, or a reload, is done.
    pub fn ready(&self) {
        self.send(&[NotifyState::Ready]);
    }

    /// One line for `systemctl status`. Each change costs a signal on the bus: the caller throttles.
    pub fn status(&self, text: &str) {
        // A line break would begin a message of its own.
        let text = text.replace(['\n', '\r', '\0'], " ");
        self.send(&[NotifyState::Status(&text)]);
    }

    /// It lives.
    pub fn watchdog(&self) {
        self.send(&[NotifyState::Watchdog]);
    }

    /// A reload begins; [`Self::ready`] ends it.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.send(&[NotifyState::Reloading, now]),
            Err(_) => self.send(&[NotifyState::Reloading]),
        }
    }

    /// The end begins.
    pub fn stopping(&self) {
        self.send(&[NotifyState::Stopping]);
    }

    /// Starting, reloading or stopping takes up to `by` longer from now on.
    pub fn extend_timeout(&self, by: Duration) {
        let usec = u32::try_from(by.as_micros()).unwrap_or(u32::MAX);
        self.send(&[NotifyState::ExtendTimeoutUsec(usec)]);
    }

    /// How often at least [`Self::watchdog`] is expected (`WATCHDOG_USEC`), where this very process
    /// is watched (`WATCHDOG_PID`).
    pub fn watchdog_interval(&self) -> Option<Duration> {
        sd_notify::watchdog_enabled().filter(|every| !every.is_zero())
    }

    fn send(&self, states: &[NotifyState<'_>]) {
        let Some(socket) = &self.socket else { return };
        let text: String = states.iter().map(|state| format!("{state}\n")).collect();
        match send_to(socket, text.as_bytes()) {
            Ok(()) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("the service manager takes messages again");
                }
            }
            Err(error) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        socket = %socket.to_string_lossy(), %error,
                        "cannot tell the service manager how keepwell is"
                    );
                }
            }
        }
    }
}

/// A new socket for each message, so that a service manager that was executed anew is found again.
fn send_to(socket: &OsStr, message: &[u8]) -> io::Result<()> {
    let to = match socket.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    let from = UnixDatagram::unbound()?;
    from.set_nonblocking(true)?;
    from.send_to_addr(message, &to).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 512];
        let n = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..n].to_vec()).unwrap()
    }

    #[test]
    fn each_message_arrives_as_systemd_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::to(Some(path.into()));
        notifier.ready();
        assert_eq!(received(&socket), "READY=1\n");
        notifier.status("3 checks\nREADY=1");
        assert_eq!(received(&socket), "STATUS=3 checks READY=1\n");
        notifier.watchdog();
        assert_eq!(received(&socket), "WATCHDOG=1\n");
        notifier.stopping();
        assert_eq!(received(&socket), "STOPPING=1\n");
        notifier.extend_timeout(Duration::from_secs(15));
        assert_eq!(received(&socket), "EXTEND_TIMEOUT_USEC=15000000\n");
        notifier.reloading();
        let text = received(&socket);
        let usec = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end();
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let usec: i64 = usec.parse().unwrap();
        assert!(usec > 0 && usec <= now.tv_sec * 1_000_000 + now.tv_nsec / 1000);
    }

    #[test]
    fn an_abstract_socket_is_found() {
        let name = format!("keepwell-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        Notifier::to(Some(format!("@{name}").into())).ready();
        assert_eq!(received(&socket), "READY=1\n");
    }

    #[test]
    fn nobody_there_is_no_harm() {
        let off = Notifier::to(None);
        assert!(!off.is_on() && !Notifier::to(Some("".into())).is_on());
        off.ready();
        let dir = tempfile::tempdir().unwrap();
        let gone = Notifier::to(Some(dir.path().join("gone").into()));
        gone.watchdog();
        assert!(gone.failing.load(Ordering::Relaxed));
    }

    #[test]
    fn a_manager_that_reads_nothing_does_not_block() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::to(Some(path.into()));
        // Far more than a datagram queue holds.
        for _ in 0..10_000 {
            notifier.watchdog();
        }
        assert!(notifier.failing.load(Ordering::Relaxed));
        socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 64];
        while socket.recv(&mut buffer).is_ok() {}
        notifier.watchdog();
        assert!(!notifier.failing.load(Ordering::Relaxed), "it goes on when it is read again");
    }
}
