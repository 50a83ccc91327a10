//! What `adopt` says of a unit: what it is, why it cannot be adopted, what is risky about it.

use std::fmt::Write;

use crate::engine::observation::LoadState;
use crate::engine::rules::UnitPattern;
use crate::surfaces::report::near_names;
use crate::surfaces::visible;
use crate::systemd::bus::UnitFacts;

/// The service that keepwell runs as.
pub(super) const KEEPWELL: &str = "keepwell.service";

/// Kinds of units that can fail and be restarted.
const KINDS: [&str; 5] = [".service", ".socket", ".timer", ".path", ".mount"];

/// The name as systemd has it: `.service` is added as `systemctl` does.
pub(super) fn name(typed: &str) -> Result<String, String> {
    let typed = typed.strip_prefix("unit:").unwrap_or(typed);
    if typed.contains(['*', '?', '[']) {
        return Err(format!(
            "'{}' is a pattern, and this takes one unit by its name; for a pattern, write a \
             [[unit]] into /etc/keepwell/conf.d yourself",
            visible(typed)
        ));
    }
    let pattern = UnitPattern::try_new(typed)?;
    let name = pattern.as_str();
    if !KINDS.iter().any(|kind| name.ends_with(kind)) {
        return Err(format!(
            "{name} cannot be adopted: keepwell restarts services, sockets, timers, paths and \
             mounts"
        ));
    }
    Ok(name.to_owned())
}

/// The template that a name is, when it is one.
pub(super) fn template(typed: &str) -> Option<String> {
    let typed = typed.strip_prefix("unit:").unwrap_or(typed);
    let full = if typed.ends_with('@') { format!("{typed}.service") } else { typed.to_owned() };
    (full.contains("@.") && !full.contains(['*', '?', '['])).then_some(full)
}

/// That a template is no unit, and which instances there are.
pub(super) fn template_refusal(name: &str, instances: &[String]) -> String {
    let example = || name.replacen("@.", "@NAME.", 1);
    let named = match instances {
        [] => format!("such as {}", example()),
        some => some.iter().take(5).cloned().collect::<Vec<_>>().join(", "),
    };
    format!("{name} is a template: adopt an instance of it: {named}")
}

/// Why a unit cannot be adopted; `names` are those that there are.
pub(super) fn refusal(facts: &UnitFacts, names: &[String]) -> Option<String> {
    let name = visible(&facts.name);
    match facts.load {
        LoadState::NotFound => {
            return Some(match &alike(&facts.name, names)[..] {
                [] => format!("there is no unit {name}; `systemctl list-unit-files` lists them"),
                near => format!("there is no unit {name}; did you mean {}?", near.join(" or ")),
            });
        }
        LoadState::Masked => {
            return Some(format!(
                "{name} is masked: nobody can start it; `sudo systemctl unmask {name}` first"
            ));
        }
        LoadState::BadSetting | LoadState::Error => {
            let why = match facts.load_error.as_str() {
                "" => String::new(),
                why => format!(" ({})", visible(why)),
            };
            return Some(format!(
                "systemd cannot load {name}{why}: correct its unit file; `systemd-analyze verify \
                 {name}` says what is wrong"
            ));
        }
        LoadState::Loaded => {}
    }
    if facts.name == KEEPWELL {
        return Some("keepwell does not restart itself: systemd does (Restart=always)".into());
    }
    if facts.transient {
        return Some(format!(
            "{name} is transient: made by a program such as systemd-run, and gone when it ends; \
             write a unit file for it"
        ));
    }
    let refuses = [("Start", facts.refuse_start), ("Stop", facts.refuse_stop)];
    if let Some((what, _)) = refuses.iter().find(|(_, refuses)| *refuses) {
        return Some(format!(
            "{name} says RefuseManual{what}=yes: systemd refuses to restart it for anybody"
        ));
    }
    None
}

/// Units of the same kind whose names come near to this one.
fn alike(name: &str, names: &[String]) -> Vec<String> {
    let Some((base, kind)) = name.rsplit_once('.') else { return Vec::new() };
    // The kind, which they have in common, is left out: it would make all of them alike.
    let bases = names.iter().filter_map(|n| n.rsplit_once('.').filter(|(_, k)| *k == kind));
    let near = near_names(bases.map(|(base, _)| base), base);
    near.into_iter().map(|base| format!("{base}.{kind}")).collect()
}

/// What it is, in a few lines.
pub(super) fn describe(facts: &UnitFacts) -> String {
    let name = visible(&facts.name);
    let mut out = match facts.description.as_str() {
        "" => format!("{name}\n"),
        text if text == facts.name => format!("{name}\n"),
        text => format!("{name}: {}\n", visible(text)),
    };
    let mut what = vec![format!("{} ({})", facts.active, facts.sub)];
    what.extend((!facts.kind.is_empty()).then(|| format!("Type={}", facts.kind)));
    what.extend((!facts.restart.is_empty()).then(|| format!("Restart={}", facts.restart)));
    what.extend((!facts.file_state.is_empty()).then(|| facts.file_state.clone()));
    what.extend((!facts.fragment.is_empty()).then(|| visible(&facts.fragment).into_owned()));
    // Writing to a string cannot fail.
    let _ = writeln!(out, "  {}", what.join(", "));
    let restart = match facts.restart.as_str() {
        "" => None,
        "no" => Some("systemd does not restart it by itself: keepwell will".to_owned()),
        _ => Some("systemd restarts it first; keepwell will when systemd has given up".to_owned()),
    };
    let state = match facts.active.as_str() {
        "failed" => Some("it has failed: keepwell will restart it soon".to_owned()),
        "inactive" => Some(
            "it does not run: keepwell restarts what fails, and leaves alone what was stopped"
                .to_owned(),
        ),
        _ => None,
    };
    for line in restart.into_iter().chain(state) {
        let _ = writeln!(out, "  {line}");
    }
    for risk in risks(facts) {
        let _ = writeln!(out, "  Risk: {risk}");
    }
    out
}

/// What may go otherwise than expected.
fn risks(facts: &UnitFacts) -> Vec<String> {
    let mut risks = Vec::new();
    risks.extend(critical(&facts.name).map(str::to_owned));
    let timers: Vec<&str> =
        facts.triggered_by.iter().map(String::as_str).filter(|n| n.ends_with(".timer")).collect();
    if !timers.is_empty() {
        risks.push(format!(
            "{} starts it: a run that failed is repeated soon, and not only at the next time",
            visible(&timers.join(", "))
        ));
    } else if facts.kind == "oneshot" {
        risks.push(
            "it is a job that ends (Type=oneshot): one that failed is done once more, also the \
             part that was done already"
                .into(),
        );
    }
    if facts.file_state == "generated" || facts.fragment.contains("/generator") {
        let from = match facts.source.as_str() {
            "" => "a generator".to_owned(),
            source => visible(source).into_owned(),
        };
        risks.push(format!("its unit file is made at each boot from {from}, and may change"));
    }
    if facts.needs_reload {
        risks.push(
            "its files have changed since systemd read them; `systemctl daemon-reload`, which a \
             drop-in from here brings too, makes that count"
                .into(),
        );
    }
    risks
}

/// What a restart of a part of the system itself does to others.
fn critical(name: &str) -> Option<&'static str> {
    let base = name.rsplit_once('.').map_or(name, |(base, _)| base);
    match base {
        "dbus" | "dbus-broker" => Some(
            "it is the message bus: a restart of it cuts off everybody who uses it, and can \
             end sessions",
        ),
        "polkit" => Some("without it keepwell may restart nothing, not even this"),
        "ssh" | "sshd" => Some(
            "it is how people get in: a restart takes over whatever its configuration says by \
             then; sessions that are open go on",
        ),
        "init" | "getty" | "console-getty" => Some("it is a part of the system itself"),
        "systemd-journald" => Some("what others log while it restarts can be lost"),
        "systemd-logind" => Some("it holds all logins: a restart of it can end sessions"),
        "systemd-networkd" | "NetworkManager" | "networking" => {
            Some("it is the network: a restart of it can cut off connections, this one too")
        }
        _ if base.starts_with("systemd-") || base.starts_with("user@") => {
            Some("it is a part of the system itself; systemd restarts most of these on its own")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shop() -> UnitFacts {
        UnitFacts {
            name: "shop.service".into(),
            description: "The shop".into(),
            active: "active".into(),
            sub: "running".into(),
            kind: "simple".into(),
            restart: "no".into(),
            file_state: "enabled".into(),
            fragment: "/etc/systemd/system/shop.service".into(),
            ..UnitFacts::default()
        }
    }

    #[test]
    fn names_are_those_of_single_units() {
        assert_eq!(name("shop").unwrap(), "shop.service");
        assert_eq!(name("unit:w@1.service").unwrap(), "w@1.service");
        assert!(name("w@*").unwrap_err().contains("is a pattern"));
        assert!(name("multi-user.target").unwrap_err().contains("cannot be adopted"));
        assert!(name("../x").unwrap_err().contains("cannot contain '/'"));
        assert_eq!(template("w@").as_deref(), Some("w@.service"));
        assert_eq!(template("w@.timer").as_deref(), Some("w@.timer"));
        assert_eq!(template("w@1"), None);
    }

    #[test]
    fn golden_descriptions() {
        let mut out = describe(&shop());
        for facts in [
            UnitFacts { active: "failed".into(), sub: "failed".into(), ..shop() },
            UnitFacts {
                name: "backup.service".into(),
                description: "backup.service".into(),
                active: "inactive".into(),
                sub: "dead".into(),
                kind: "oneshot".into(),
                triggered_by: vec!["backup.timer".into()],
                needs_reload: true,
                ..shop()
            },
            UnitFacts { kind: "oneshot".into(), restart: "on-failure".into(), ..shop() },
            UnitFacts {
                file_state: "generated".into(),
                fragment: "/run/systemd/generator.late/old.service".into(),
                source: "/etc/init.d/old".into(),
                ..shop()
            },
            UnitFacts { name: "dbus.service".into(), ..shop() },
            UnitFacts { name: "systemd-resolved.service".into(), ..shop() },
            UnitFacts { name: "ssh.service".into(), description: "a\u{1b}[2J".into(), ..shop() },
            UnitFacts {
                name: "data.mount".into(),
                kind: String::new(),
                restart: String::new(),
                ..shop()
            },
        ] {
            out.push_str(&describe(&facts));
        }
        insta::assert_snapshot!("descriptions", out);
    }

    #[test]
    fn golden_refusals() {
        let names = ["shop.service", "shopper.timer", "nginx.service"].map(str::to_owned);
        let of = |facts: UnitFacts| refusal(&facts, &names).unwrap();
        let out = [
            of(UnitFacts { name: "shpo.service".into(), load: LoadState::NotFound, ..shop() }),
            of(UnitFacts { name: "zzz.mount".into(), load: LoadState::NotFound, ..shop() }),
            of(UnitFacts { load: LoadState::Masked, ..shop() }),
            of(UnitFacts {
                load: LoadState::BadSetting,
                load_error: "Unit shop.service has a bad unit file setting.".into(),
                ..shop()
            }),
            of(UnitFacts { name: KEEPWELL.into(), ..shop() }),
            of(UnitFacts { transient: true, ..shop() }),
            of(UnitFacts { refuse_stop: true, ..shop() }),
            template_refusal("w@.service", &[]),
            template_refusal("w@.service", &["w@1.service".into(), "w@2.service".into()]),
        ];
        insta::assert_snapshot!("refusals", out.join("\n"));
        assert_eq!(refusal(&shop(), &names), None);
    }
}
