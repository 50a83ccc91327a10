//! What the host's configuration says of a unit already, and whether it stays valid with a new
//! file.

use std::fs;
use std::path::Path;

use anyhow::bail;

use crate::app::plan;
use crate::config::files::{self, Input};
use crate::config::tree::Value;
use crate::config::{self, Loaded, Options};
use crate::engine::rules::UnitPattern;

use super::places::{Places, header};

/// What the configuration says of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    /// Nothing.
    No,
    /// It is restarted: by its name, or by a pattern that it fits. With the place.
    Restarted { by: String, at: String },
    /// Its own [[unit]] says that it is not restarted.
    Exactly { at: String },
    /// It fits a pattern that is not restarted.
    Pattern { by: String, at: String },
}

/// The configuration as keepwell.service reads it: with the variables of its file, not of this
/// shell.
///
/// # Errors
/// When the service reads another configuration.
pub(super) fn options(places: &Places) -> anyhow::Result<Options> {
    // Who may not read it makes a dry run, and does without.
    let text = fs::read_to_string(places.keepwell().join("environment")).unwrap_or_default();
    let mut options = Options::from_process(None).lenient();
    options.environment = variables(&text).collect();
    options.user = None;
    options.system = places.keepwell();
    options.explicit = None;
    if let Some(file) = options.environment.get("KEEPWELL_CONFIG") {
        bail!(
            "keepwell.service reads {file} alone, says /etc/keepwell/environment; what stands in \
             conf.d does not count"
        );
    }
    Ok(options)
}

/// The variables of a file as `EnvironmentFile=` takes it: `NAME=value`, with or without quotes.
fn variables(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])).filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        let value = value.trim();
        let quoted =
            ['"', '\''].iter().find_map(|mark| value.strip_prefix(*mark)?.strip_suffix(*mark));
        Some((name.trim(), quoted.unwrap_or(value)))
    })
}

/// The file that makes keepwell restart a unit.
pub(super) fn render(unit: &str) -> String {
    // No name of a unit has an apostrophe; a backslash means itself in such a string.
    format!("{}\n[[unit]]\nname = '{unit}'\nrestart = true\n", header(unit))
}

/// What the configuration says of a unit, beside the file `ours`.
///
/// # Errors
/// When it is not valid as it is.
pub(super) fn named(options: &Options, unit: &str, ours: &Path) -> anyhow::Result<Named> {
    let mut inputs = files::find(options);
    inputs.retain(|input| input.path != ours);
    let mut loaded = config::load_from(inputs, options);
    let found = said(&loaded, unit);
    plan::check_kinds(&mut loaded);
    if let Err(errors) = loaded.finish() {
        bail!(
            "the configuration is not valid, so nothing was changed; correct it first:\n{errors}"
        );
    }
    Ok(found)
}

fn said(loaded: &Loaded, unit: &str) -> Named {
    let Some(rule) = loaded.config.rules.unit(unit) else { return Named::No };
    let by = rule.pattern.as_str().to_owned();
    let at = place(loaded, &by);
    match (rule.restart, rule.pattern.exact().is_some()) {
        (true, _) => Named::Restarted { by, at },
        (false, true) => Named::Exactly { at },
        (false, false) => Named::Pattern { by, at },
    }
}

/// Where the [[unit]] of this name stands.
fn place(loaded: &Loaded, name: &str) -> String {
    let list = loaded.document.get("unit").map(|entry| &entry.node.value);
    let Some(Value::List(sections)) = list else { return String::new() };
    let at = sections.iter().find_map(|section| {
        let Value::Table(keys) = &section.value else { return None };
        let entry = keys.get("name")?;
        let Value::Text(text) = &entry.node.value else { return None };
        let same = UnitPattern::try_new(text).is_ok_and(|pattern| pattern.as_str() == name);
        same.then_some(entry.node.at)
    });
    at.map(|at| loaded.sink.describe(at)).unwrap_or_default()
}

/// Whether the configuration is valid with this file in it, before it is there.
///
/// # Errors
/// Everything that would be wrong.
pub(super) fn try_with(options: &Options, path: &Path, text: &str) -> anyhow::Result<()> {
    let mut inputs = files::find(options);
    inputs.retain(|input| input.path != path);
    let after = |input: &Input| input.path.parent() == path.parent() && *input.path > *path;
    let at = inputs.iter().position(after).unwrap_or(inputs.len());
    inputs.insert(at, Input::memory(path, text));
    let mut loaded = config::load_from(inputs, options);
    plan::check_kinds(&mut loaded);
    if let Err(errors) = loaded.finish() {
        bail!("the configuration would not be valid with it, so nothing was changed:\n{errors}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host with this configuration.
    fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, Places, Options) {
        let root = tempfile::tempdir().unwrap();
        let places = Places::new(root.path());
        fs::create_dir_all(places.keepwell().join("conf.d")).unwrap();
        for (name, text) in files {
            fs::write(places.keepwell().join(name), text).unwrap();
        }
        let mut options = Options::new(None, Default::default(), true, "host".into());
        options.system = places.keepwell();
        (root, places, options)
    }

    fn of(files: &[(&str, &str)], unit: &str) -> Named {
        let (_root, places, options) = host(files);
        let found = named(&options, unit, &places.configuration(unit)).unwrap();
        let at = |at: String| places.shown(Path::new(&at));
        match found {
            Named::No => Named::No,
            Named::Restarted { by, at: place } => Named::Restarted { by, at: at(place) },
            Named::Exactly { at: place } => Named::Exactly { at: at(place) },
            Named::Pattern { by, at: place } => Named::Pattern { by, at: at(place) },
        }
    }

    #[test]
    fn what_is_said_already_is_found_with_its_place() {
        let main = "[[unit]]\nname = \"web@*\"\nrestart = true\n[[unit]]\nname = \"db\"\n";
        let files = [("keepwell.toml", main), ("conf.d/10.toml", "[[unit]]\nname = \"w*\"\n")];
        assert_eq!(of(&files, "shop.service"), Named::No);
        assert_eq!(
            of(&files, "web@1.service"),
            Named::Restarted { by: "web@*".into(), at: "/etc/keepwell/keepwell.toml:2".into() }
        );
        let at = "/etc/keepwell/keepwell.toml:5".into();
        assert_eq!(of(&files, "db.service"), Named::Exactly { at });
        assert_eq!(
            of(&files, "worker.service"),
            Named::Pattern { by: "w*".into(), at: "/etc/keepwell/conf.d/10.toml:2".into() }
        );
    }

    #[test]
    fn the_file_loads_and_a_unit_with_a_backslash_is_named_as_it_is() {
        let (_root, places, options) = host(&[]);
        let unit = "a\\x2db.service";
        let path = places.configuration(unit);
        try_with(&options, &path, &render(unit)).unwrap();
        super::super::places::write(&path, &render(unit)).unwrap();
        // What `adopt` wrote is not what somebody said already.
        assert_eq!(named(&options, unit, &path).unwrap(), Named::No);
        let elsewhere = places.configuration("other.service");
        let by_all = named(&options, unit, &elsewhere).unwrap();
        assert!(matches!(by_all, Named::Restarted { by, .. } if by == unit));
        insta::assert_snapshot!("configuration", render("shop.service"));
    }

    #[test]
    fn the_services_variables_count_and_this_shells_do_not() {
        let route = "[[route]]\nchannels = [\"webhook\"]\n";
        let set = "# comment\n\nALERT_WEBHOOK_URL=\"https://hooks.example/x\"\n";
        let (_root, places, _) = host(&[("keepwell.toml", route), ("environment", set)]);
        let path = places.configuration("shop.service");
        let found = options(&places).and_then(|options| named(&options, "shop.service", &path));
        assert_eq!(found.unwrap(), Named::No);
        fs::write(places.keepwell().join("environment"), "").unwrap();
        let found = options(&places).and_then(|options| named(&options, "shop.service", &path));
        assert!(found.unwrap_err().to_string().contains("correct it first"));
        let elsewhere = "KEEPWELL_CONFIG='/srv/k.toml'";
        fs::write(places.keepwell().join("environment"), elsewhere).unwrap();
        let said = options(&places).unwrap_err().to_string();
        assert!(said.starts_with("keepwell.service reads /srv/k.toml alone"), "{said}");
    }

    #[test]
    fn what_would_not_be_valid_is_said_and_not_written() {
        let (_root, places, options) =
            host(&[("conf.d/90-late.toml", "[[unit]]\nname = \"shop\"\n")]);
        let path = places.configuration("shop.service");
        let said = try_with(&options, &path, &render("shop.service")).unwrap_err().to_string();
        assert!(said.contains("would not be valid with it, so nothing was changed"), "{said}");
        assert!(said.contains("90-late.toml:2"), "{said}");
        assert!(!path.exists());
        fs::write(places.keepwell().join("keepwell.toml"), "nonsense = 1\n").unwrap();
        let said = named(&options, "shop.service", &path).unwrap_err().to_string();
        assert!(said.contains("correct it first") && said.contains("nonsense"), "{said}");
    }
}
