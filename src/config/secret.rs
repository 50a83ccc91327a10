//! Values that must not be seen: tokens, passwords, addresses with a key in them. Where they come
//! from (the text itself, a systemd credential, a variable, a file) and what is said when they
//! cannot be had.

use std::fmt;
use std::io::Read;
use std::path::Path;

use serde::{Serialize, Serializer};

use super::environment::Environment;

/// Shown in place of every secret.
pub const REDACTED: &str = "[secret]";

/// Larger files are no secrets.
const MOST: u64 = 64 * 1024;

/// A text that shows itself to nobody: `Debug`, `Display` and `Serialize` give [`REDACTED`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    text: String,
    resolved: bool,
}

impl Secret {
    /// A secret with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), resolved: true }
    }

    /// Stands for a secret that this process cannot see and the service can.
    pub(super) fn unresolved() -> Self {
        Self { text: String::new(), resolved: false }
    }

    /// The text itself; only for the one place that uses it.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// False where `config check` could not see the secret: then its text is empty and says nothing
    /// about the one the service will see.
    pub fn is_resolved(&self) -> bool {
        self.resolved
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

/// Why a secret cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unavailable {
    pub(super) message: String,
    pub(super) hint: String,
    /// The service may well see it where this process does not.
    pub(super) perhaps_elsewhere: bool,
}

/// Reads a systemd credential.
pub(super) fn credential(name: &str, environment: &Environment) -> Result<Secret, Unavailable> {
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err(Unavailable {
            message: format!("`{}` is not the name of a credential", super::values::brief(name)),
            hint: "a credential has a name like \"slack-url\", without a path".into(),
            perhaps_elsewhere: false,
        });
    }
    let Some(folder) = environment.get("CREDENTIALS_DIRECTORY") else {
        return Err(Unavailable {
            message: format!(
                "the credential `{name}` is not there: $CREDENTIALS_DIRECTORY is not set"
            ),
            hint: format!(
                "only systemd sets it: run keepwell as a service with \
                 LoadCredential={name}:/etc/keepwell/credentials/{name}"
            ),
            perhaps_elsewhere: true,
        });
    };
    read(&Path::new(folder).join(name)).map_err(|error| Unavailable {
        message: format!("the credential `{name}` cannot be read: {error}"),
        hint: format!(
            "add LoadCredential={name}:/etc/keepwell/credentials/{name} to the service, then \
             restart it"
        ),
        perhaps_elsewhere: false,
    })
}

/// Reads a secret from a variable.
pub(super) fn variable(name: &str, environment: &Environment) -> Result<Secret, Unavailable> {
    match environment.get(name) {
        Some(text) => Ok(Secret::new(text)),
        None => Err(Unavailable {
            message: format!(
                "the environment variable `{}` is not set",
                super::values::brief(name)
            ),
            hint: "set it in the service with EnvironmentFile=, or better use a credential".into(),
            perhaps_elsewhere: true,
        }),
    }
}

/// Reads a secret from a file.
pub(super) fn file(path: &str) -> Result<Secret, Unavailable> {
    if !path.starts_with('/') {
        return Err(Unavailable {
            message: "the file of a secret must be an absolute path".into(),
            hint: format!("write \"/etc/keepwell/{}\"", super::values::brief(path)),
            perhaps_elsewhere: false,
        });
    }
    read(Path::new(path)).map_err(|error| {
        let denied = error.kind() == std::io::ErrorKind::PermissionDenied;
        Unavailable {
            message: format!("the file {path} cannot be read: {error}"),
            hint: if denied {
                format!("chown root:keepwell {path} && chmod 640 {path}")
            } else {
                "put the secret there, readable by keepwell's user only".into()
            },
            perhaps_elsewhere: denied,
        }
    })
}

fn read(path: &Path) -> std::io::Result<Secret> {
    let file = std::fs::File::open(path)?;
    // A pipe or a device could keep the start waiting for ever.
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    file.take(MOST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST {
        return Err(std::io::Error::other("it is larger than 64 KiB"));
    }
    // Editors and `echo` end a file with a newline that is no part of the secret.
    let trimmed = text.trim_end_matches(['\n', '\r']);
    if trimmed.is_empty() {
        return Err(std::io::Error::other("it is empty"));
    }
    Ok(Secret::new(trimmed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_itself_to_nobody() {
        let secret = Secret::new("hunter2");
        let shown = format!("{secret} {secret:?} {}", serde_json::to_string(&secret).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn a_credential_loses_its_last_newline_only() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "two\nlines\n").unwrap();
        std::fs::write(folder.path().join("b"), "\n").unwrap();
        let environment =
            Environment::from_iter([("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())]);
        assert_eq!(credential("a", &environment).unwrap().expose(), "two\nlines");
        assert!(credential("b", &environment).unwrap_err().message.contains("it is empty"));
        assert!(credential("c", &environment).unwrap_err().hint.contains("LoadCredential=c:"));
        assert!(credential("../a", &environment).is_err());
    }
}
