//! Which files make up the configuration, and reading them.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::environment::{self, Environment};

/// The folder of the host's configuration.
pub const SYSTEM: &str = "/etc/keepwell";

/// A larger file is no configuration.
const MOST: u64 = 1 << 20;

const MUST_BE_READABLE: &str =
    "it must be readable by the user who runs keepwell: chgrp keepwell, chmod 640";

/// Where to look, and in what environment.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only this file (`--config` or `$KEEPWELL_CONFIG`).
    pub explicit: Option<PathBuf>,
    /// Holds `keepwell.toml` and `conf.d/*.toml`.
    pub system: PathBuf,
    /// The user's own file, read when there is none of the host.
    pub user: Option<PathBuf>,
    /// The environment.
    pub environment: Environment,
    /// A secret that only the service can see is a warning, not an error.
    pub lenient: bool,
    /// What can be understood of a file with a syntax error is read all the same.
    pub salvage: bool,
    /// The host's name unless configured otherwise.
    pub hostname: String,
}

impl Options {
    /// Those of this process.
    pub fn from_process(explicit: Option<&Path>) -> Self {
        let root = rustix::process::geteuid().is_root();
        let name = rustix::system::uname();
        let hostname = match name.nodename().to_string_lossy() {
            name if name.is_empty() || name == "(none)" => "localhost".to_owned(),
            name => name.into_owned(),
        };
        Self::new(explicit, Environment::from_process(), root, hostname)
    }

    /// Those of a process with this environment.
    pub fn new(
        explicit: Option<&Path>,
        environment: Environment,
        root: bool,
        hostname: String,
    ) -> Self {
        let explicit = explicit
            .map(Path::to_owned)
            .or_else(|| environment.get(environment::CONFIG).map(PathBuf::from));
        let user = environment
            .get("XDG_CONFIG_HOME")
            .filter(|path| path.starts_with('/'))
            .map(PathBuf::from)
            .or_else(|| environment.get("HOME").map(|home| Path::new(home).join(".config")))
            .map(|folder| folder.join("keepwell/keepwell.toml"))
            .filter(|_| !root);
        Self {
            explicit,
            system: SYSTEM.into(),
            user,
            environment,
            lenient: false,
            salvage: false,
            hostname,
        }
    }

    /// For `config check` in a shell: secrets that only the service can see may be missing.
    pub fn lenient(mut self) -> Self {
        self.lenient = true;
        self
    }

    /// For the last word: a configuration that cannot be used may still say who is to be told.
    pub fn salvage(mut self) -> Self {
        self.salvage = true;
        self
    }
}

/// A file that belongs to the configuration.
#[derive(Debug)]
pub struct Input {
    /// Its path, as shown.
    pub path: PathBuf,
    /// What is in it.
    pub bytes: Result<Vec<u8>, Unreadable>,
    /// Every user of the host can read it.
    pub world_readable: bool,
}

/// Why a file could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unreadable {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Input {
    /// A file that is in memory already.
    pub fn memory(path: impl Into<PathBuf>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), bytes: Ok(bytes.into()), world_readable: false }
    }

    fn read(path: PathBuf) -> Self {
        match read(&path) {
            Ok((bytes, world_readable)) => Self { path, bytes: Ok(bytes), world_readable },
            Err(error) => {
                let hint = match error.kind() {
                    ErrorKind::NotFound => Some("check the path; no file is needed at all".into()),
                    ErrorKind::PermissionDenied => Some(MUST_BE_READABLE.into()),
                    ErrorKind::IsADirectory => Some("name the file in it".into()),
                    _ => None,
                };
                let message = match error.kind() {
                    ErrorKind::NotFound => "there is no such file".into(),
                    ErrorKind::PermissionDenied => "it cannot be read: no permission".into(),
                    ErrorKind::IsADirectory => "this is a folder, not a file".into(),
                    _ => format!("it cannot be read: {error}"),
                };
                Self { path, bytes: Err(Unreadable { message, hint }), world_readable: false }
            }
        }
    }
}

fn read(path: &Path) -> io::Result<(Vec<u8>, bool)> {
    // Looked at first: opening a pipe could wait for ever.
    let kind = fs::metadata(path)?;
    if kind.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    if !kind.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let file = File::open(path)?;
    let world_readable = file.metadata()?.permissions().mode() & 0o004 != 0;
    let mut bytes = Vec::new();
    file.take(MOST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok((bytes, world_readable))
}

/// Finds and reads the files, in rising weight.
pub fn find(options: &Options) -> Vec<Input> {
    if let Some(path) = &options.explicit {
        return vec![Input::read(path.clone())];
    }
    let mut inputs = Vec::new();
    let main = options.system.join("keepwell.toml");
    if present(&main) {
        inputs.push(Input::read(main));
    }
    let folder = options.system.join("conf.d");
    match fs::read_dir(&folder) {
        Ok(entries) => {
            let mut paths: Vec<PathBuf> = entries
                .filter_map(|entry| Some(entry.ok()?.path()))
                .filter(|path| is_drop_in(path))
                .collect();
            paths.sort();
            inputs.extend(paths.into_iter().map(Input::read));
        }
        Err(error) if missing(&error) => {}
        Err(error) => {
            let message = format!("the drop-ins cannot be listed: {error}");
            let hint = Some(MUST_BE_READABLE.into());
            let bytes = Err(Unreadable { message, hint });
            inputs.push(Input { path: folder, bytes, world_readable: false });
        }
    }
    if inputs.is_empty()
        && let Some(path) = &options.user
        && present(path)
    {
        inputs.push(Input::read(path.clone()));
    }
    inputs
}

/// Whether a file of this name in `conf.d` belongs to the configuration.
pub fn is_drop_in(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && path.extension().is_some_and(|e| e == "toml")
}

/// Whether there is something to read or to complain about.
fn present(path: &Path) -> bool {
    // A link that leads nowhere is present: somebody meant a file to be there.
    !matches!(fs::symlink_metadata(path), Err(error) if missing(&error))
}

fn missing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(folder: &Path, variables: &[(&str, &str)]) -> Options {
        let environment = variables.iter().copied().collect();
        let mut options = Options::new(None, environment, false, "host".into());
        options.system = folder.join("etc");
        options
    }

    fn names(options: &Options) -> Vec<String> {
        find(options)
            .iter()
            .map(|input| input.path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn drop_ins_come_after_the_main_file_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::create_dir_all(path.join("etc/conf.d")).unwrap();
        fs::create_dir_all(path.join("home/keepwell")).unwrap();
        let home = path.join("home");
        let options = options(path, &[("XDG_CONFIG_HOME", home.to_str().unwrap())]);
        assert!(names(&options).is_empty(), "no file is needed");

        fs::write(home.join("keepwell/keepwell.toml"), "").unwrap();
        assert_eq!(find(&options)[0].path, home.join("keepwell/keepwell.toml"));

        for name in ["20-b.toml", "10-a.toml", "x.toml.bak", ".hidden.toml"] {
            fs::write(path.join("etc/conf.d").join(name), "").unwrap();
        }
        assert_eq!(names(&options), ["10-a.toml", "20-b.toml"], "the user's file is left out");
        fs::write(path.join("etc/keepwell.toml"), "").unwrap();
        assert_eq!(names(&options), ["keepwell.toml", "10-a.toml", "20-b.toml"]);
    }

    #[test]
    fn an_explicit_file_stands_alone_and_must_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(folder.path(), &[("KEEPWELL_CONFIG", "/nowhere/x.toml")]);
        let inputs = find(&options);
        assert_eq!(inputs.len(), 1);
        let error = inputs[0].bytes.as_ref().unwrap_err();
        assert_eq!(error.to_string(), "there is no such file");

        let flag = Options::new(Some(folder.path()), Environment::default(), true, String::new());
        let error = find(&flag).remove(0).bytes.unwrap_err();
        assert_eq!(error.to_string(), "this is a folder, not a file");
    }

    #[test]
    fn a_link_that_leads_nowhere_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("/nowhere", folder.path().join("etc/keepwell.toml")).unwrap();
        let inputs = find(&options(folder.path(), &[]));
        assert_eq!(inputs.len(), 1);
        assert!(inputs[0].bytes.is_err());
    }
}
