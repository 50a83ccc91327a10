//! Where keepwell keeps its state, and where its socket is: for the daemon, and for the command
//! line that looks for the daemon.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::environment::Environment;

const SOCKET: &str = "keepwell.sock";
const SYSTEM_RUNTIME: &str = "/run/keepwell";
const SYSTEM_STATE: &str = "/var/lib/keepwell";

/// The folders of one keepwell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    state: PathBuf,
    runtime: PathBuf,
    /// The runtime folder lies where others can write, so whose it is must be checked.
    shared: bool,
    uid: u32,
}

/// Why there is no folder to use.
#[derive(Debug, thiserror::Error)]
pub enum PathsError {
    /// Nothing says where.
    #[error(
        "there is no place for keepwell's state: neither $STATE_DIRECTORY, $XDG_STATE_HOME nor \
         $HOME is set; set [agent] state_dir"
    )]
    Nowhere,
    /// A folder could not be made.
    #[error("the folder {} cannot be made: {source}", path.display())]
    Create {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A folder in a place that all can write to belongs to somebody else or is open to others.
    #[error(
        "the folder {} is not safe to use: {reason}; remove it, or set $XDG_RUNTIME_DIR",
        path.display()
    )]
    NotPrivate {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl Paths {
    /// Those of this process; `state_dir` is the one that was configured.
    ///
    /// # Errors
    /// [`PathsError::Nowhere`].
    pub fn find(environment: &Environment, state_dir: Option<&Path>) -> Result<Self, PathsError> {
        let uid = rustix::process::geteuid().as_raw();
        Self::find_for(uid, environment, state_dir)
    }

    /// Those of a process of this user.
    ///
    /// # Errors
    /// [`PathsError::Nowhere`].
    pub fn find_for(
        uid: u32,
        environment: &Environment,
        state_dir: Option<&Path>,
    ) -> Result<Self, PathsError> {
        let state = match state_dir
            .map(Path::to_owned)
            .or_else(|| unit_folder(environment, "STATE_DIRECTORY"))
        {
            Some(path) => path,
            None if uid == 0 => SYSTEM_STATE.into(),
            None => absolute(environment, "XDG_STATE_HOME")
                .or_else(|| absolute(environment, "HOME").map(|home| home.join(".local/state")))
                .ok_or(PathsError::Nowhere)?
                .join("keepwell"),
        };
        let (runtime, shared) = match unit_folder(environment, "RUNTIME_DIRECTORY") {
            Some(path) => (path, false),
            None if uid == 0 => (SYSTEM_RUNTIME.into(), false),
            None => own_runtime(uid, environment),
        };
        Ok(Self { state, runtime, shared, uid })
    }

    /// The folder of the state.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The folder of the socket.
    pub fn runtime(&self) -> &Path {
        &self.runtime
    }

    /// The socket of the daemon.
    pub fn socket(&self) -> PathBuf {
        self.runtime.join(SOCKET)
    }

    /// Makes the folder of the state, for this user only where it is new.
    ///
    /// # Errors
    /// [`PathsError::Create`].
    pub fn make_state(&self) -> Result<(), PathsError> {
        make(&self.state)
    }

    /// Makes the folder of the socket, and checks that nobody else has a hand in it.
    ///
    /// # Errors
    /// [`PathsError::Create`] and [`PathsError::NotPrivate`].
    pub fn make_runtime(&self) -> Result<(), PathsError> {
        make(&self.runtime)?;
        if self.shared { check_private(&self.runtime, self.uid) } else { Ok(()) }
    }

    /// Where the command line looks for the socket of a daemon that somebody else may have
    /// started, best first.
    pub fn socket_candidates(environment: &Environment) -> Vec<PathBuf> {
        Self::socket_candidates_for(rustix::process::geteuid().as_raw(), environment)
    }

    /// As [`Self::socket_candidates`], for a process of this user.
    pub fn socket_candidates_for(uid: u32, environment: &Environment) -> Vec<PathBuf> {
        if let Some(path) = environment.get("KEEPWELL_SOCKET") {
            return vec![path.into()];
        }
        let mut folders: Vec<PathBuf> = Vec::new();
        folders.extend(unit_folder(environment, "RUNTIME_DIRECTORY"));
        if uid != 0 {
            let (own, shared) = own_runtime(uid, environment);
            // Anybody could have put a socket there that answers in keepwell's name.
            if !shared || check_private(&own, uid).is_ok() {
                folders.push(own);
            }
        }
        folders.push(SYSTEM_RUNTIME.into());
        folders.dedup();
        folders.into_iter().map(|folder| folder.join(SOCKET)).collect()
    }
}

/// A folder that systemd made for the unit; the first of the list.
fn unit_folder(environment: &Environment, name: &str) -> Option<PathBuf> {
    let first = environment.get(name)?.split(':').next()?;
    Some(PathBuf::from(first)).filter(|path| path.is_absolute())
}

/// The specification of these variables says that a relative path is to be ignored.
fn absolute(environment: &Environment, name: &str) -> Option<PathBuf> {
    environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// The runtime folder of a user, and whether it lies where others can write.
fn own_runtime(uid: u32, environment: &Environment) -> (PathBuf, bool) {
    match absolute(environment, "XDG_RUNTIME_DIR") {
        Some(path) => (path.join("keepwell"), false),
        None => {
            let temporary = absolute(environment, "TMPDIR").unwrap_or_else(|| "/tmp".into());
            (temporary.join(format!("keepwell-{uid}")), true)
        }
    }
}

fn make(path: &Path) -> Result<(), PathsError> {
    // The mode is for folders that are made now; one that is there keeps its own.
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| PathsError::Create { path: path.to_owned(), source })
}

fn check_private(path: &Path, uid: u32) -> Result<(), PathsError> {
    let no = |reason| PathsError::NotPrivate { path: path.to_owned(), reason };
    let found = fs::symlink_metadata(path).map_err(|_| no("it cannot be looked at"))?;
    if !found.is_dir() {
        return Err(no("it is not a folder"));
    }
    if found.uid() != uid {
        return Err(no("it belongs to another user"));
    }
    if found.mode() & 0o077 != 0 {
        return Err(no("other users can open it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        variables.iter().copied().collect()
    }

    fn found(uid: u32, variables: &[(&str, &str)]) -> (String, String) {
        let paths = Paths::find_for(uid, &environment(variables), None).unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        (text(paths.state()), text(&paths.socket()))
    }

    #[test]
    fn what_systemd_made_comes_first() {
        let variables = [
            ("STATE_DIRECTORY", "/var/lib/a:/var/lib/b"),
            ("RUNTIME_DIRECTORY", "/run/a"),
            ("HOME", "/h"),
        ];
        assert_eq!(found(0, &variables), ("/var/lib/a".into(), "/run/a/keepwell.sock".into()));
        assert_eq!(found(7, &variables), ("/var/lib/a".into(), "/run/a/keepwell.sock".into()));
    }

    #[test]
    fn root_has_the_folders_of_the_system_and_a_user_their_own() {
        let root = found(0, &[("HOME", "/root"), ("XDG_RUNTIME_DIR", "/run/user/0")]);
        assert_eq!(root, ("/var/lib/keepwell".into(), "/run/keepwell/keepwell.sock".into()));
        let user = found(7, &[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/run/user/7")]);
        assert_eq!(
            user,
            ("/h/.local/state/keepwell".into(), "/run/user/7/keepwell/keepwell.sock".into())
        );
        let state = found(7, &[("HOME", "/h"), ("XDG_STATE_HOME", "/s"), ("TMPDIR", "/t")]);
        assert_eq!(state, ("/s/keepwell".into(), "/t/keepwell-7/keepwell.sock".into()));
        assert!(matches!(Paths::find_for(7, &environment(&[]), None), Err(PathsError::Nowhere)));
        let configured = Paths::find_for(7, &environment(&[]), Some(Path::new("/srv/k"))).unwrap();
        assert_eq!(configured.state(), Path::new("/srv/k"));
    }

    #[test]
    fn a_folder_under_tmp_must_be_private() {
        let folder = tempfile::tempdir().unwrap();
        let uid = fs::metadata(folder.path()).unwrap().uid();
        let tmp = folder.path().to_str().unwrap();
        let variables = environment(&[("TMPDIR", tmp), ("HOME", "/h")]);
        // As a user that is not root, whoever runs the test.
        let mut paths = Paths::find_for(7, &variables, None).unwrap();
        paths.uid = uid;
        paths.make_runtime().unwrap();
        assert_eq!(fs::metadata(paths.runtime()).unwrap().mode() & 0o777, 0o700);

        fs::set_permissions(paths.runtime(), fs::Permissions::from_mode(0o755)).unwrap();
        let error = paths.make_runtime().unwrap_err().to_string();
        assert!(error.contains("other users can open it"), "{error}");
        fs::set_permissions(paths.runtime(), fs::Permissions::from_mode(0o700)).unwrap();
        paths.uid = uid + 1;
        let error = paths.make_runtime().unwrap_err().to_string();
        assert!(error.contains("belongs to another user"), "{error}");
    }

    #[test]
    fn the_command_line_looks_where_a_daemon_could_be() {
        let of = |uid, variables: &[(&str, &str)]| -> Vec<String> {
            Paths::socket_candidates_for(uid, &environment(variables))
                .into_iter()
                .map(|path| path.to_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(of(0, &[]), ["/run/keepwell/keepwell.sock"]);
        assert_eq!(of(7, &[("KEEPWELL_SOCKET", "/x")]), ["/x"]);
        assert_eq!(
            of(7, &[("XDG_RUNTIME_DIR", "/run/user/7")]),
            ["/run/user/7/keepwell/keepwell.sock", "/run/keepwell/keepwell.sock"]
        );
        // Not ours, or not there: not asked.
        assert_eq!(of(7, &[("TMPDIR", "/nowhere")]), ["/run/keepwell/keepwell.sock"]);
    }
}
