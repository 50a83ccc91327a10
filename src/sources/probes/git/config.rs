//! What of a repository's own configuration is used: where its remotes are, what its branches
//! follow, and words that change how files are compared. All else is left out.

use std::collections::BTreeMap;

use super::layout::Format;

/// Settings whose words are handed on to git.
const FORMAT: [(&str, &str, &str); 10] = [
    ("core.filemode", "core", "filemode"),
    ("core.autocrlf", "core", "autocrlf"),
    ("core.eol", "core", "eol"),
    ("core.symlinks", "core", "symlinks"),
    ("core.ignorecase", "core", "ignorecase"),
    ("core.trustctime", "core", "trustctime"),
    ("core.checkstat", "core", "checkstat"),
    ("core.sparsecheckout", "core", "sparsecheckout"),
    ("extensions.objectformat", "extensions", "objectformat"),
    ("extensions.refstorage", "extensions", "refstorage"),
];

/// What was read. It has no telling `Debug`: addresses may hold logins.
#[derive(Default)]
pub(super) struct Config {
    values: BTreeMap<String, String>,
    pub(super) format: Format,
}

impl Config {
    /// From what `git config --null --list` prints.
    pub(super) fn parse(text: &str) -> Self {
        let mut config = Self::default();
        let mut format = BTreeMap::new();
        for entry in text.split('\0') {
            let (key, value) = entry.split_once('\n').unwrap_or((entry, "true"));
            if let Some((_, section, name)) = FORMAT.iter().find(|(known, ..)| *known == key) {
                let word = !value.is_empty()
                    && value.len() <= 32
                    && value.bytes().all(|b| b.is_ascii_alphanumeric());
                if word {
                    format.insert((*section, *name), value.to_owned());
                }
            }
            let named = key.starts_with("remote.") || key.starts_with("branch.");
            if named && !value.is_empty() {
                // Of several addresses the first is the one that is fetched from; of all else the
                // last counts.
                if key.ends_with(".url") {
                    config.values.entry(key.to_owned()).or_insert_with(|| value.to_owned());
                } else {
                    config.values.insert(key.to_owned(), value.to_owned());
                }
            }
        }
        let keys = format.into_iter().map(|((section, name), word)| (section, name, word));
        config.format.keys = keys.collect();
        config
    }

    /// Where a remote is.
    pub(super) fn url(&self, remote: &str) -> Option<&str> {
        self.values.get(&format!("remote.{remote}.url")).map(String::as_str)
    }

    /// Remote and branch that a branch follows; none where it follows another of this repository.
    pub(super) fn upstream(&self, branch: &str) -> Option<(&str, &str)> {
        let of = |key: &str| self.values.get(&format!("branch.{branch}.{key}"));
        let remote = of("remote").filter(|remote| *remote != ".")?;
        let merge = of("merge")?.strip_prefix("refs/heads/")?;
        Some((remote, merge))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_to_be_harmless_is_handed_on() {
        let text = "core.filemode\nfalse\0core.fsmonitor\n/tmp/evil\0core.autocrlf\ninput\0\
                    core.eol\nlf]\n[core]\n\tfsmonitor=x\0filter.a.clean\nevil\0\
                    extensions.objectformat\nsha256\0core.symlinks\0extensions.partialclone\no\0";
        let keys = Config::parse(text).format.keys;
        let keys: Vec<String> = keys.iter().map(|(s, k, v)| format!("{s}.{k}={v}")).collect();
        assert_eq!(
            keys,
            [
                "core.autocrlf=input",
                "core.filemode=false",
                "core.symlinks=true",
                "extensions.objectformat=sha256"
            ]
        );
    }

    #[test]
    fn remotes_and_upstreams_are_found_by_their_names() {
        let text = "remote.a.b.url\nssh://h/x\0remote.a.b.url\nssh://h/second\0\
                    branch.v1.0.remote\na.b\0branch.v1.0.merge\nrefs/heads/release\0\
                    branch.own.remote\n.\0branch.own.merge\nrefs/heads/main\0";
        let config = Config::parse(text);
        assert_eq!(config.url("a.b"), Some("ssh://h/x"));
        assert_eq!(config.url("origin"), None);
        assert_eq!(config.upstream("v1.0"), Some(("a.b", "release")));
        assert_eq!(config.upstream("own"), None);
    }
}
