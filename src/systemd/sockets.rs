//! Sockets that systemd holds for keepwell and hands over at each start (`keepwell.socket`): the
//! port stays open while keepwell restarts, and who connects meanwhile waits.

use std::net::TcpListener;

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;

/// systemd hands over what keepwell cannot serve.
#[derive(Debug, thiserror::Error)]
#[error(
    "systemd hands keepwell a socket ({name}) that it cannot serve: {what}; the socket unit may \
     only have ListenStream=ADDRESS:PORT, look at: systemctl cat keepwell.socket"
)]
pub struct SocketError {
    /// As `FileDescriptorName=` says, usually the unit's name.
    name: String,
    /// What is wrong with it.
    what: String,
}

/// The TCP sockets that systemd holds for this process; none where it holds none. To be asked once:
/// they are then taken, and children do not get them.
///
/// # Errors
/// When one of them is no TCP socket that listens: to serve the others only would look as if all
/// were well.
pub fn inherited() -> Result<Vec<TcpListener>, SocketError> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    take(ListenFd::from_env(), &names)
}

fn take(mut held: ListenFd, names: &str) -> Result<Vec<TcpListener>, SocketError> {
    let names: Vec<&str> = names.split(':').collect();
    let mut sockets = Vec::new();
    for i in 0..held.len() {
        let fault = |what: String| {
            let name = names.get(i).filter(|name| !name.is_empty()).unwrap_or(&"unnamed");
            SocketError { name: (*name).to_owned(), what }
        };
        let socket = match held.take_tcp_listener(i) {
            Ok(Some(socket)) => socket,
            Ok(None) => continue,
            Err(_) if held.take_unix_listener(i).is_ok() => {
                return Err(fault("it is a unix socket; keepwell makes its own".into()));
            }
            Err(_) if held.take_udp_socket(i).is_ok() => {
                return Err(fault("it takes datagrams".into()));
            }
            Err(error) => return Err(fault(error.to_string())),
        };
        match socket_acceptconn(&socket) {
            Ok(true) => {}
            // As with Accept=yes.
            Ok(false) => return Err(fault("it does not listen".into())),
            Err(error) => return Err(fault(error.to_string())),
        }
        socket.set_nonblocking(true).map_err(|error| fault(error.to_string()))?;
        sockets.push(socket);
    }
    Ok(sockets)
}
