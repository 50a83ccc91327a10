//! What is linked into keepwell: licences, bans and sources, as `deny.toml` says. It needs cargo only,
//! so it runs where cargo-deny is not installed.

use std::process::Command;

use serde_json::Value;

/// The part of `deny.toml` that is checked here.
struct Policy {
    banned: Vec<(String, String)>,
    licences: Vec<String>,
}

impl Policy {
    fn load() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deny.toml");
        let text = std::fs::read_to_string(path).expect("deny.toml is readable");
        let table: toml::Table = text.parse().expect("deny.toml is TOML");
        let word = |value: &toml::Value| value.as_str().expect("a string").to_owned();
        let list = |section: &str, key: &str| {
            table[section][key].as_array().expect("a list in deny.toml").clone()
        };
        Self {
            banned: list("bans", "deny")
                .iter()
                .map(|entry| (word(&entry["crate"]), word(&entry["reason"])))
                .collect(),
            licences: list("licenses", "allow").iter().map(word).collect(),
        }
    }

    /// Whether an SPDX expression can be met with allowed licences alone.
    fn allows(&self, expression: &str) -> bool {
        // `A/B` is the old way to write `A OR B`.
        let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        let mut at = 0;
        let met = self.either(&words, &mut at);
        met && at == words.len()
    }

    fn either(&self, words: &[&str], at: &mut usize) -> bool {
        let mut met = self.both(words, at);
        while words.get(*at) == Some(&"OR") {
            *at += 1;
            met |= self.both(words, at);
        }
        met
    }

    fn both(&self, words: &[&str], at: &mut usize) -> bool {
        let mut met = self.one(words, at);
        while words.get(*at) == Some(&"AND") {
            *at += 1;
            met &= self.one(words, at);
        }
        met
    }

    fn one(&self, words: &[&str], at: &mut usize) -> bool {
        let Some(word) = words.get(*at) else { return false };
        *at += 1;
        if *word == "(" {
            let met = self.either(words, at);
            *at += 1;
            return met;
        }
        let mut name = (*word).to_owned();
        if words.get(*at) == Some(&"WITH") {
            name = format!("{name} WITH {}", words.get(*at + 1).unwrap_or(&""));
            *at += 2;
        }
        self.licences.contains(&name)
    }
}

/// All packages that a Linux build or test of keepwell links, without keepwell itself.
fn packages() -> Vec<Value> {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--locked", "--format-version=1"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo can be run");
    assert!(out.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&out.stderr));
    let all: Value = serde_json::from_slice(&out.stdout).expect("cargo prints JSON");
    let linked: Vec<&str> = all["resolve"]["nodes"]
        .as_array()
        .expect("a list of nodes")
        .iter()
        .filter_map(|node| node["id"].as_str())
        .collect();
    let packages = all["packages"].as_array().expect("a list of packages").iter();
    packages
        .filter(|p| {
            p["name"] != "keepwell" && p["id"].as_str().is_some_and(|id| linked.contains(&id))
        })
        .cloned()
        .collect()
}

fn text<'v>(package: &'v Value, key: &str) -> &'v str {
    package[key].as_str().unwrap_or_default()
}

#[test]
fn all_that_is_linked_is_allowed() {
    let policy = Policy::load();
    let packages = packages();
    assert!(packages.len() > 50, "cargo told of only {} packages", packages.len());
    let mut faults = Vec::new();
    for package in &packages {
        let (name, version) = (text(package, "name"), text(package, "version"));
        let licence = text(package, "license");
        if !policy.allows(licence) {
            faults.push(format!("{name} {version}: licence '{licence}' is not in deny.toml"));
        }
        if let Some((_, why)) = policy.banned.iter().find(|(banned, _)| banned == name) {
            faults.push(format!("{name} {version} is banned: {why}"));
        }
        if !text(package, "source").starts_with("registry+") {
            faults.push(format!("{name} {version} does not come from the registry"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn licence_expressions_are_read_as_spdx_means_them() {
    let policy = Policy { banned: vec![], licences: vec!["MIT".into(), "A WITH X".into()] };
    for good in
        ["MIT", "GPL-3.0 OR MIT", "GPL-3.0/MIT", "(GPL OR MIT) AND (MIT)", "A WITH X AND MIT"]
    {
        assert!(policy.allows(good), "{good}");
    }
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR GPL) AND GPL", "A", "GPL OR (MIT AND A)"]
    {
        assert!(!policy.allows(bad), "{bad}");
    }
}
