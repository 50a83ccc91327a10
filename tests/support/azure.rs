//! The stand-in for the Azure CLI (`az.py`), and `azure_deploy.sh` run with it.

#![allow(dead_code, reason = "no test uses all of it")]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

/// Where an uploaded package can be fetched, unless [`Azure::serves`] says otherwise.
pub(crate) const LINK: &str = "https://store.invalid/";

/// An Azure with one machine. Somebody is logged in.
#[derive(Debug)]
pub(crate) struct Azure(TempDir);

impl Azure {
    pub(crate) fn new() -> Self {
        let azure = Self(tempfile::tempdir().expect("a temporary folder can be made"));
        azure.put("account", "");
        azure.put("link", LINK);
        azure
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).expect("the temporary folder is writable");
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.0.path().join(name)).unwrap_or_default()
    }

    /// Its folder: for files of a test.
    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }

    /// Nobody is logged in.
    pub(crate) fn log_out(&self) {
        fs::remove_file(self.0.path().join("account")).expect("somebody was logged in");
    }

    /// So many of the next calls about run commands are refused.
    pub(crate) fn throttle(&self, calls: u32) {
        self.put("throttle", &calls.to_string());
    }

    /// Nothing is run: whatever it is, it says this.
    pub(crate) fn will_say(&self, code: i32, output: &str) {
        self.put("result", &format!("{code}\n{output}"));
    }

    /// Scripts are run behind these words.
    pub(crate) fn machine(&self, prefix: &str) {
        self.put("machine", prefix);
    }

    /// Uploads go to `folder`, and are there to be fetched at `link`.
    pub(crate) fn serves(&self, folder: &Path, link: &str) {
        let www = self.0.path().join("www");
        std::os::unix::fs::symlink(folder, www).expect("it is linked once");
        self.put("link", link);
    }

    /// `azure_deploy.sh` with this Azure, and nothing of this process's environment.
    pub(crate) fn deploy(&self) -> Command {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(root.join("scripts/azure_deploy.sh"));
        command
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("AZ", root.join("tests/support/az.py"))
            .env("AZURE_DEPLOY_PAUSE", "0")
            .env("STAND_IN", self.0.path());
        command
    }

    /// What the CLI was asked, in order, as it stands on its command line; names that differ from
    /// run to run are `RUN` and `@FILE`.
    pub(crate) fn calls(&self) -> Vec<String> {
        let word = |word: &Value| {
            let word = word.as_str().expect("words are texts");
            match word.split_once('@') {
                _ if word.starts_with("keepwell-deploy-20") => "RUN".to_owned(),
                Some((name, path)) if path.starts_with('/') => format!("{name}@FILE"),
                _ => word.to_owned(),
            }
        };
        let words = |line: &str| {
            let call: Value = serde_json::from_str(line).expect("the stand-in writes JSON");
            let words = call["words"].as_array().expect("a list of words");
            words.iter().map(word).collect::<Vec<_>>().join(" ")
        };
        self.text("calls.jsonl").lines().map(words).collect()
    }

    /// Everything that stood on a command line.
    pub(crate) fn seen_by_all(&self) -> String {
        self.text("calls.jsonl")
    }

    /// The script that was sent last.
    pub(crate) fn script(&self) -> String {
        self.text("script")
    }

    /// The protected parameters that were sent last.
    pub(crate) fn variables(&self) -> Value {
        serde_json::from_str(&self.text("variables.json")).unwrap_or(Value::Null)
    }
}
