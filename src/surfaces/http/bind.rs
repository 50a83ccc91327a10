//! Where keepwell listens: TCP ports and the unix socket, taken before anything else starts, so
//! that a port which is taken ends the start with one clear line. A port may also come from systemd.
//!
//! The socket has mode 0666: every local user may connect, and the kernel says who it is. What a
//! user may see and do is decided by that (see [`super::gate`]), not by the file's mode; this is
//! how `keepwell status` works for everybody.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpSocket, UnixListener};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// One place to listen at.
#[derive(Debug)]
pub enum Listener {
    /// A TCP port.
    Tcp(TcpListener),
    /// A unix socket, and its file, which goes when the listener goes.
    Unix(UnixListener, SocketFile),
}

impl Listener {
    /// The address of a TCP port.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }
}

/// The file of a unix socket that is ours; dropping this removes it.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may be gone already, with the whole runtime folder; either way it is of no use now.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Why keepwell cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another program has the port.
    #[error("cannot listen on {address}: already in use{}; set [http] listen = \"ADDRESS:PORT\"", holder_text(.by))]
    InUse {
        /// Where.
        address: SocketAddr,
        /// Which program, where it could be found out: `nginx (pid 812)`.
        by: Option<String>,
    },
    /// A port below 1024.
    #[error(
        "cannot listen on {address}: permission denied; ports below 1024 need CAP_NET_BIND_SERVICE, set [http] listen to a higher port"
    )]
    Denied {
        /// Where.
        address: SocketAddr,
    },
    /// No interface has the address.
    #[error(
        "cannot listen on {address}: this host does not have the address; set [http] listen to one that it has, or to 127.0.0.1"
    )]
    NotOurs {
        /// Where.
        address: SocketAddr,
    },
    /// Another error.
    #[error("cannot listen on {address}: {source}")]
    Tcp {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Another keepwell listens on the socket.
    #[error("cannot listen on {}: another keepwell answers there; stop it first", path.display())]
    SocketInUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is not a socket stands in the way.
    #[error("cannot listen on {}: there is something else than a socket; move it away", path.display())]
    NotASocket {
        /// What is in the way.
        path: PathBuf,
    },
    /// Another error.
    #[error("cannot listen on {}: {source}; check that its folder exists and that keepwell may write to it", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn holder_text(program: &Option<String>) -> String {
    // Whose it is, only its owner and root can see.
    program.as_ref().map_or_else(
        || " (`sudo keepwell doctor` says by whom)".to_owned(),
        |program| format!(" by {program}"),
    )
}

/// Takes a TCP port.
///
/// # Errors
/// One clear line about what is in the way and what to do.
pub fn tcp(address: SocketAddr) -> Result<Listener, BindError> {
    let listen = || -> io::Result<TcpListener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // So that a restart need not wait for the old connections' TIME_WAIT.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map(Listener::Tcp).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { address, by: holder(address.port()) },
        io::ErrorKind::PermissionDenied => BindError::Denied { address },
        io::ErrorKind::AddrNotAvailable => BindError::NotOurs { address },
        _ => BindError::Tcp { address, source },
    })
}

/// Takes over a TCP socket that listens already and does not block. When it is dropped, it goes on
/// listening for whoever holds it as well.
///
/// # Errors
/// When it cannot be waited for.
pub fn handed_over(socket: std::net::TcpListener) -> io::Result<Listener> {
    TcpListener::from_std(socket).map(Listener::Tcp)
}

/// Takes a unix socket. A file that a killed keepwell left behind is removed, but only when nobody
/// listens on it.
///
/// # Errors
/// When another keepwell answers there, something else is in the way, or the folder refuses.
pub fn unix(path: &Path) -> Result<Listener, BindError> {
    let failed = |source| BindError::Socket { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            match std::os::unix::net::UnixStream::connect(path) {
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path).map_err(failed)?;
                }
                // Also an error such as "permission denied" means that somebody may be there.
                Ok(_) => return Err(BindError::SocketInUse { path: path.to_owned() }),
                Err(e) => return Err(failed(e)),
            }
        }
        Ok(_) => return Err(BindError::NotASocket { path: path.to_owned() }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(failed(e)),
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    let file = SocketFile(path.to_owned());
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).map_err(failed)?;
    Ok(Listener::Unix(listener, file))
}

/// The program that listens on a port, as far as `/proc` tells this user.
fn holder(port: u16) -> Option<String> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .find_map(|table| listening_inode(&table, port).map(str::to_owned))?;
    let link = format!("socket:[{inode}]");
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let mut links = files.flatten().filter_map(|f| std::fs::read_link(f.path()).ok());
        if links.any(|l| l.as_os_str() == link.as_str()) {
            let comm = std::fs::read_to_string(process.path().join("comm")).ok()?;
            return Some(format!("{} (pid {pid})", comm.trim()));
        }
    }
    None
}

/// The inode of the socket that listens on a port, from the text of `/proc/net/tcp`.
fn listening_inode(table: &str, port: u16) -> Option<&str> {
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (_, hex) = columns.get(1)?.rsplit_once(':')?;
        let listens = *columns.get(3)? == "0A";
        (listens && u16::from_str_radix(hex, 16) == Ok(port)).then(|| columns.get(9).copied())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_is_taken_is_said_in_one_line() {
        let Listener::Tcp(first) = tcp("127.0.0.1:0".parse().unwrap()).unwrap() else {
            panic!("not a TCP listener")
        };
        let address = first.local_addr().unwrap();
        let error = tcp(address).unwrap_err().to_string();
        let start = format!("cannot listen on {address}: already in use");
        assert!(error.starts_with(&start), "{error}");
        assert!(error.ends_with("; set [http] listen = \"ADDRESS:PORT\""), "{error}");
        assert!(error.contains(&format!("(pid {})", std::process::id())), "{error}");
    }

    #[tokio::test]
    async fn an_address_of_another_host_is_refused() {
        let error = tcp("192.0.2.1:8080".parse().unwrap()).unwrap_err();
        assert!(matches!(error, BindError::NotOurs { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keepwell.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let live = unix(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o666);
        assert!(matches!(unix(&path).unwrap_err(), BindError::SocketInUse { .. }));
        drop(live);
        assert!(!path.exists());
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(unix(&path).unwrap_err(), BindError::NotASocket { .. }));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        let nowhere = unix(&folder.path().join("no/such.sock")).unwrap_err();
        assert!(nowhere.to_string().contains("check that its folder exists"), "{nowhere}");
    }
}
