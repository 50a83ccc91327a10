//! The text of the polkit rule, made from what the configuration says of units.

use std::fmt::Write;
use std::path::Path;

use crate::engine::rules::UnitRule;

use super::pattern::{self, Middle};

/// The verbs that a restart needs, as polkit is told them: `RestartUnit` and `ResetFailedUnit`.
pub(super) const VERBS: [&str; 2] = ["restart", "reset-failed"];
/// The user that the rule is for.
pub(super) const USER: &str = "keepwell";
/// The action that systemd asks about.
pub(super) const ACTION: &str = "org.freedesktop.systemd1.manage-units";

/// One line of the rule.
struct Line {
    /// A string or an expression of JavaScript.
    unit: String,
    restart: bool,
}

/// The rule that lets keepwell restart the units that `units` says, in the order of the
/// configuration; `None` when it may restart none. `files` are those that were read.
pub(super) fn text(units: &[UnitRule], files: &[impl AsRef<Path>]) -> Option<String> {
    let lines = lines(units, Middle::Once);
    if lines.is_empty() {
        return None;
    }
    let mut out =
        String::from("// Made by 'keepwell polkit' from these files, which belong to root:\n");
    // Writing to a string cannot fail.
    for file in files {
        // Escaped: a name with a new line in it must not end the comment.
        let name = file.as_ref().to_string_lossy();
        let _ = writeln!(out, "//   {}", name.escape_debug());
    }
    let _ = write!(
        out,
        "// Do not edit: it is made anew whenever keepwell starts or reloads.\n\
         //\n\
         // Lets the user {USER} restart the units that have restart = true. What is not said here\n\
         // is left to other rules.\n\
         polkit.addRule(function(action, subject) {{\n\
         \x20   if (action.id != \"{ACTION}\" ||\n\
         \x20       subject.user != \"{USER}\") {{\n\
         \x20       return polkit.Result.NOT_HANDLED;\n\
         \x20   }}\n\
         \x20   var verb = action.lookup(\"verb\");\n\
         \x20   if (verb != \"{}\" && verb != \"{}\") {{\n\
         \x20       return polkit.Result.NOT_HANDLED;\n\
         \x20   }}\n\
         \x20   var unit = action.lookup(\"unit\");\n\
         \x20   if (typeof unit != \"string\" || !/{}/.test(unit)) {{\n\
         \x20       return polkit.Result.NOT_HANDLED;\n\
         \x20   }}\n\
         \x20   // The first that fits decides: full names, then patterns.\n\
         \x20   var units = [\n",
        VERBS[0],
        VERBS[1],
        pattern::UNIT_NAME,
    );
    let last = lines.len() - 1;
    for (n, Line { unit, restart }) in lines.iter().enumerate() {
        let comma = if n == last { "" } else { "," };
        let _ = writeln!(out, "        [{unit}, {restart}]{comma}");
    }
    out.push_str(
        "    ];\n\
         \x20   for (var i = 0; i < units.length; i++) {\n\
         \x20       var name = units[i][0];\n\
         \x20       if (typeof name == \"string\" ? name === unit : name.test(unit)) {\n\
         \x20           return units[i][1] ? polkit.Result.YES : polkit.Result.NOT_HANDLED;\n\
         \x20       }\n\
         \x20   }\n\
         \x20   return polkit.Result.NOT_HANDLED;\n\
         });\n",
    );
    Some(out)
}

/// Full names first, for they beat patterns. What comes after the last line that says yes says
/// nothing new.
fn lines(units: &[UnitRule], middle: Middle) -> Vec<Line> {
    let exact = units.iter().filter_map(|rule| {
        let unit = serde_json::Value::from(rule.pattern.exact()?).to_string();
        Some(Line { unit, restart: rule.restart })
    });
    let globs = units.iter().filter(|rule| rule.pattern.exact().is_none()).filter_map(|rule| {
        let unit = pattern::expression(rule.pattern.as_str(), middle)?;
        Some(Line { unit: format!("/{unit}/"), restart: rule.restart })
    });
    let mut lines: Vec<Line> = exact.chain(globs).collect();
    let kept = lines.iter().rposition(|line| line.restart).map_or(0, |n| n + 1);
    lines.truncate(kept);
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::rules::{Rules, UnitPattern};

    fn units(said: &[(&str, bool)]) -> Vec<UnitRule> {
        let rule = |(name, restart): &(&str, bool)| UnitRule {
            restart: *restart,
            ..UnitRule::new(UnitPattern::try_new(name).unwrap())
        };
        said.iter().map(rule).collect()
    }

    /// What the lines say, read as the rule reads them.
    fn permits(lines: &[Line], unit: &str) -> bool {
        let fits = |text: &str| match text.strip_prefix('/').and_then(|t| t.strip_suffix('/')) {
            Some(expression) => regex_lite::Regex::new(expression).unwrap().is_match(unit),
            None => serde_json::from_str::<String>(text).unwrap() == unit,
        };
        lines.iter().find(|line| fits(&line.unit)).is_some_and(|line| line.restart)
    }

    #[test]
    fn golden_rule() {
        let units = units(&[
            ("worker@9.service", false),
            ("worker@[0-9]*.service", true),
            ("shop", true),
            (r"home-a\x2db.mount", true),
            ("*backup*.service", false),
            ("a*b*c*.timer", true),
            ("*", false),
        ]);
        let files = ["/etc/keepwell/keepwell.toml", "/etc/keepwell/conf.d/a\n}b.toml"];
        insta::assert_snapshot!("rule", text(&units, &files).unwrap());
    }

    #[test]
    fn without_a_unit_to_restart_there_is_no_rule() {
        assert_eq!(text(&[], &["a"]), None);
        assert_eq!(text(&units(&[("a", false), ("*", false)]), &["a"]), None);
        // Nothing can have such a name.
        assert_eq!(text(&units(&[("a[z-b]*", true)]), &["a"]), None);
    }

    #[test]
    fn the_order_of_the_configuration_decides() {
        let lines = lines(
            &units(&[("web@*", false), ("web@1.service", true), ("*", true), ("db", false)]),
            Middle::Plain,
        );
        assert!(permits(&lines, "web@1.service") && !permits(&lines, "web@2.service"));
        assert!(permits(&lines, "mail.service") && !permits(&lines, "db.service"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn the_lines_say_what_the_configuration_says(
            said in proptest::collection::vec(("[ab@]{0,2}[*?]?[ab.]{0,2}(\\*|\\[!a\\])?", any::<bool>()), 1..6),
            names in proptest::collection::vec("[ab@]{1,4}(\\.service)?", 8),
        ) {
            let rule = |(name, restart): (String, bool)| {
                Some(UnitRule { restart, ..UnitRule::new(UnitPattern::try_new(&name).ok()?) })
            };
            let units: Vec<UnitRule> = said.into_iter().filter_map(rule).collect();
            let lines = lines(&units, Middle::Plain);
            let rules = Rules { units, ..Rules::default() };
            for name in &names {
                let expected = rules.unit(name).is_some_and(|rule| rule.restart);
                prop_assert_eq!(permits(&lines, name), expected, "{}", name);
            }
        }
    }
}
