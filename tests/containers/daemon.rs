//! keepwell itself, beside an engine of the test; it ends with the test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

pub(crate) struct Daemon {
    process: Child,
    log: PathBuf,
}

impl Daemon {
    /// Runs it with all that it has in this folder. `rest` of its configuration begins with what
    /// `[agent]` has besides.
    pub(crate) fn start(folder: &Path, rest: &str) -> Self {
        let [config, state, log] = ["keepwell.toml", "state", "log"].map(|name| folder.join(name));
        fs::create_dir(&state).unwrap();
        let text = format!(
            "[agent]\nstate_dir = \"{}\"\n{rest}\n[http]\nlisten = \"127.0.0.1:0\"\n",
            state.display()
        );
        fs::write(&config, text).unwrap();
        let out = File::create(&log).unwrap();
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_keepwell"), "run", "--socket"])
            .arg(folder.join("keepwell.sock"))
            .arg("--config")
            .arg(&config)
            .env_remove("DOCKER_HOST")
            .stderr(out.try_clone().unwrap())
            .stdout(out)
            .spawn()
            .unwrap();
        Self { process, log }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
