//! Findings of `doctor` about what keepwell may restart.

use std::path::Path;

use crate::engine::rules::UnitRule;
use crate::rights::{self, Installed, Judge, Permission, Place, Polkit, RULE, Wanted};

use super::super::{Finding, Level};

const NAME: &str = "polkit";
/// systemd reads it for every command of the service.
const ENVIRONMENT: &str = "/etc/keepwell/environment";
const REFRESH: &str = "`sudo keepwell polkit`";
/// polkit is asked about so many units.
const MOST: usize = 32;

/// `units`: what the daemon's configuration says; the rule is made from root's files only.
pub(super) fn find(place: &Place, units: &[UnitRule]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(reason) = rights::distrusted(place, Path::new(ENVIRONMENT)) {
        let text = format!(
            "{ENVIRONMENT}: {reason}; what is in it reaches the step of the service that runs as root"
        );
        let remedy = format!("`sudo chown root: {ENVIRONMENT} && sudo chmod go-w {ENVIRONMENT}`");
        findings.push(Finding::bad("environment", Level::Fail, text, remedy));
    }
    findings.extend(of_polkit(place, units));
    findings
}

fn of_polkit(place: &Place, units: &[UnitRule]) -> Vec<Finding> {
    let wanted = match rights::wanted(place) {
        Ok(wanted) => wanted,
        Err(error) => {
            let text = error.to_string().lines().next().unwrap_or_default().to_owned();
            let text = text.trim_end_matches(':');
            return vec![Finding::bad(NAME, Level::Warn, text, "run: keepwell config check")];
        }
    };
    let mut findings: Vec<Finding> = wanted
        .left_out
        .iter()
        .map(|file| {
            let path = file.path.display();
            let text = format!("{path} has no say in what may be restarted: {}", file.reason);
            let remedy = format!("`sudo chown root: {path} && sudo chmod go-w {path}`, {REFRESH}");
            Finding::bad(NAME, Level::Warn, text, remedy)
        })
        .collect();
    if wanted.count() == 0 && !units.iter().any(|unit| unit.restart) {
        findings.push(match rights::installed(place, &wanted) {
            Installed::Outdated => {
                let text = format!("no unit has restart = true, but {RULE} is there");
                Finding::bad(NAME, Level::Warn, text, format!("{REFRESH} removes it"))
            }
            _ => Finding::ok(NAME, "no unit has restart = true, so none may be restarted"),
        });
        return findings;
    }
    findings.extend(usable(place));
    if findings.iter().any(|finding| finding.level == Level::Fail) {
        return findings;
    }
    findings.push(rule(place, &wanted));
    if rights::installed(place, &wanted) == Installed::Current {
        let asked = wanted.units.iter().filter(|unit| unit.restart);
        let asked = asked.filter_map(|unit| unit.pattern.exact()).take(MOST);
        findings
            .extend(asked.filter_map(|unit| judged(unit, &rights::permitted(place, unit).ok()?)));
    }
    findings
}

/// What is wrong with polkit itself.
fn usable(place: &Place) -> Option<Finding> {
    let fail = |polkit: Polkit| {
        let text = polkit.to_string();
        let (text, remedy) = text.split_once(": ").unwrap_or((&text, REFRESH));
        Finding::bad(NAME, Level::Fail, text, remedy)
    };
    match Polkit::of(place) {
        Polkit::Ready => {}
        other => return Some(fail(other)),
    }
    match rights::version(place) {
        Ok(version) if rights::is_too_old(&version) => Some(fail(Polkit::TooOld)),
        Ok(_) => None,
        Err(error) => {
            let remedy = "look at: systemctl status polkit";
            Some(Finding::bad(NAME, Level::Warn, error.to_string(), remedy))
        }
    }
}

fn rule(place: &Place, wanted: &Wanted) -> Finding {
    match rights::installed(place, wanted) {
        Installed::Current => {
            let text = format!("{RULE} is what the configuration says");
            Finding::ok(NAME, text)
        }
        Installed::Outdated => {
            let text = format!("{RULE} is not what the configuration says");
            Finding::bad(NAME, Level::Fail, text, REFRESH)
        }
        Installed::Missing => {
            let text = format!("units have restart = true, but there is no {RULE}");
            Finding::bad(NAME, Level::Fail, text, REFRESH)
        }
        Installed::Hidden => {
            let text = format!("this user may not look at {RULE}");
            Finding {
                name: NAME.into(),
                level: Level::Ok,
                text,
                remedy: Some("as root: `sudo keepwell doctor`".into()),
            }
        }
    }
}

/// A unit that may not be restarted although the rule should let it be.
fn judged(asked: &str, permission: &Permission) -> Option<Finding> {
    if permission.permitted {
        return None;
    }
    let name = format!("{NAME} {asked}");
    if permission.unit != asked {
        let text =
            format!("{asked} is another name of {}, and polkit is told that one", permission.unit);
        let remedy = format!("write {} in [[unit]] name, then {REFRESH}", permission.unit);
        return Some(Finding::bad(name, Level::Fail, text, remedy));
    }
    let remedy = match permission.judge {
        Judge::Polkit => {
            "another rule of polkit may deny it: look into /etc/polkit-1/rules.d for one whose \
             name sorts before 60-keepwell.rules"
        }
        Judge::Rule(_) | Judge::NoPolkit(_) => REFRESH,
    };
    Some(Finding::bad(name, Level::Fail, permission.to_string(), remedy))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::systemd::bus::BusAddress;

    fn write(place: &Place, path: &str, text: &str) {
        let path = place.path(path);
        for folder in path.parent().unwrap().ancestors().take(3) {
            fs::create_dir_all(folder).unwrap();
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }

    fn shown(place: &Place) -> Vec<String> {
        let units = rights::wanted(place).map(|wanted| wanted.units).unwrap_or_default();
        find(place, &units)
            .into_iter()
            .map(|f| {
                let remedy = f.remedy.map(|r| format!(" → {r}")).unwrap_or_default();
                format!("{:?} {}: {}{remedy}", f.level, f.name, f.text)
            })
            .collect()
    }

    #[test]
    fn each_trouble_is_told_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let nobody = BusAddress::Address("unix:path=/nowhere/bus".into());
        let place = Place::below(folder.path(), nobody);
        assert_eq!(
            shown(&place),
            ["Ok polkit: no unit has restart = true, so none may be restarted"]
        );
        write(&place, "/etc/keepwell/keepwell.toml", "[[unit]]\nname = \"a\"\nrestart = true\n");
        let all = shown(&place);
        assert!(all[0].starts_with("Fail polkit: polkit is not installed"), "{all:?}");
        assert!(all[0].contains("→ install it (package polkitd"), "{all:?}");

        let service = "/usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service";
        write(&place, service, "");
        let all = shown(&place);
        assert!(all[0].starts_with("Warn polkit: cannot reach the bus"), "{all:?}");
        assert_eq!(
            all[1],
            format!("Fail polkit: units have restart = true, but there is no {RULE} → {REFRESH}")
        );

        rights::refresh(&place).unwrap();
        let all = shown(&place);
        assert_eq!(all[1..], [format!("Ok polkit: {RULE} is what the configuration says")]);

        write(&place, "/etc/keepwell/keepwell.toml", "");
        let all = shown(&place);
        assert!(all[0].contains("but /etc/polkit-1/rules.d/60-keepwell.rules is there"), "{all:?}");

        let loose = "/etc/keepwell/conf.d/b.toml";
        write(&place, loose, "[[unit]]\nname = \"b\"\nrestart = true\n");
        fs::set_permissions(place.path(loose), fs::Permissions::from_mode(0o664)).unwrap();
        let all = shown(&place);
        assert!(all[0].contains("b.toml has no say in what may be restarted"), "{all:?}");
        assert!(all[0].contains("sudo chmod go-w /etc/keepwell/conf.d/b.toml"), "{all:?}");

        write(&place, ENVIRONMENT, "LD_PRELOAD=/tmp/a.so\n");
        assert!(!shown(&place)[0].contains("environment"));
        fs::set_permissions(place.path(ENVIRONMENT), fs::Permissions::from_mode(0o620)).unwrap();
        let all = shown(&place);
        assert!(all[0].starts_with(
            "Fail environment: /etc/keepwell/environment: it can be written by its group"
        ));
    }

    #[test]
    fn a_unit_by_another_name_is_told_from_one_that_a_rule_denies() {
        let permission = |unit: &str, permitted| Permission {
            unit: unit.into(),
            permitted,
            judge: Judge::Polkit,
        };
        assert_eq!(judged("a.service", &permission("a.service", true)), None);
        let denied = judged("a.service", &permission("a.service", false)).unwrap();
        assert!(denied.remedy.unwrap().contains("another rule"));
        let alias = judged("a.service", &permission("b.service", false)).unwrap();
        assert_eq!(
            alias.text,
            "a.service is another name of b.service, and polkit is told that one"
        );
        assert!(alias.remedy.unwrap().starts_with("write b.service in"));
    }
}
