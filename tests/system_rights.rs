//! What keepwell may do: the generated rule in a real polkit, asked by the user keepwell itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "support/scene.rs"]
mod scene;
#[path = "support/mod.rs"]
mod support;

use scene::{LONG, sleeper};
use support::*;

const RULE: &str = "/etc/polkit-1/rules.d/60-keepwell.rules";
const MANAGER: [&str; 6] = [
    "busctl",
    "call",
    "org.freedesktop.systemd1",
    "/org/freedesktop/systemd1",
    "org.freedesktop.systemd1.Manager",
    "--expect-reply=yes",
];

const CONFIG: &str = "[[unit]]\nname = \"web@*.service\"\nrestart = true\n\n\
    [[unit]]\nname = \"web@2.service\"\n\n\
    [[unit]]\nname = \"w*\"\nrestart = false\n\n\
    [[unit]]\nname = \"*q[0-9]*x[!y]*z*.service\"\nrestart = true\n\n\
    [[unit]]\nname = 'odd\\x2dname'\nrestart = true\n\n\
    [[unit]]\nname = \"*\"\nrestart = false\n";
const DROP_IN: &str = "/etc/keepwell/conf.d/50-named.toml";

fn named(unit: &str) -> String {
    format!("[[unit]]\nname = \"{unit}\"\nrestart = true\n")
}

/// One call to systemd as a user; what came back.
fn call(c: &Container, user: &str, arguments: &str) -> Output {
    let mut command = vec!["setpriv", "--reuid", user, "--regid", user, "--clear-groups"];
    command.extend(MANAGER);
    command.extend(arguments.split(' '));
    c.exec(&command)
}

#[track_caller]
fn passes(c: &Container, arguments: &str) {
    let out = call(c, "keepwell", arguments);
    assert!(out.ok(), "{arguments}: {}{}", out.stdout, out.stderr);
}

/// Refused by polkit, and by nothing else.
#[track_caller]
fn denied_to(c: &Container, user: &str, arguments: &str) {
    let out = call(c, user, arguments);
    let text = out.stderr.to_lowercase();
    assert!(!out.ok(), "{arguments} was let through for {user}");
    let refused = ["access denied", "interactive authentication", "permission denied"];
    assert!(refused.iter().any(|why| text.contains(why)), "{arguments}: {text}");
}

#[track_caller]
fn denied(c: &Container, arguments: &str) {
    denied_to(c, "keepwell", arguments);
}

/// The line of `keepwell doctor` about `what`, and the next one.
fn doctor(c: &Container, what: &str) -> String {
    let out = c.keepwell(&["doctor"]).stdout;
    let lines: Vec<&str> = out.lines().collect();
    let at = lines.iter().position(|line| line.contains(what));
    let at = at.unwrap_or_else(|| panic!("{what} is not in:\n{out}"));
    lines[at..].iter().take(2).copied().collect::<Vec<_>>().join("\n")
}

fn furnish(c: &Container) {
    let text = sleeper("");
    let names = ["named", "web@", "webmail", "unnamed", "aq1bxcz", "aq1bxyz", "odd\\x2dname"];
    let names: Vec<String> = names.iter().map(|name| format!("{name}.service")).collect();
    let units: Vec<(&str, &str)> = names.iter().map(|n| (n.as_str(), text.as_str())).collect();
    c.units(&units);
    c.install_keepwell(CONFIG, User::Keepwell);
    c.write(DROP_IN, &named("named"));
}

on_each_image! {
    fn keepwell_may_do_what_the_configuration_says_and_nothing_else(c: Container) {
        furnish(&c);
        denied(&c, "RestartUnit ss named.service replace");
        let polkit = c.main_pid("polkit.service");
        assert_ne!(polkit, 0, "it was started by the question");

        let made = c.keepwell(&["polkit"]);
        assert_eq!(made.stdout, format!("{RULE}: written, for 4 units or patterns\n"));
        assert!(made.ok() && made.stderr.is_empty(), "{}", made.stderr);
        assert_eq!(c.sh(&format!("stat -c %U:%G:%a {RULE}")), "root:root:644");
        assert_eq!(c.keepwell(&["polkit", "--print"]).stdout, c.read(RULE).unwrap());
        let again = c.keepwell(&["polkit"]);
        assert_eq!(again.stdout, format!("{RULE}: unchanged, for 4 units or patterns\n"));

        // polkit sees by itself that its folder has changed.
        wait_until(LONG, "the rule is read", || {
            call(&c, "keepwell", "RestartUnit ss named.service replace").ok()
        });
        for unit in ["named", "web@1", "web@three", "aq1bxcz", "odd\\x2dname"] {
            passes(&c, &format!("RestartUnit ss {unit}.service replace"));
            passes(&c, &format!("ResetFailedUnit s {unit}.service"));
        }
        let others = ["web@2", "webmail", "unnamed", "aq1bxyz", "polkit", "dbus"];
        // systemd knows of no failure of what is not loaded, and asks nobody.
        c.systemctl(&["start", "web@2", "webmail", "unnamed", "aq1bxyz"]);
        for unit in others {
            denied(&c, &format!("RestartUnit ss {unit}.service replace"));
            denied(&c, &format!("ResetFailedUnit s {unit}.service"));
        }
        denied(&c, "RestartUnit ss keepwell.service replace");
        denied(&c, "RestartUnit ss reboot.target replace");
        for other in [
            "StartUnit ss named.service replace",
            "StopUnit ss named.service replace",
            "ReloadUnit ss named.service replace",
            "TryRestartUnit ss named.service replace",
            "ReloadOrRestartUnit ss named.service replace",
            "KillUnit ssi named.service all 9",
            "SetUnitProperties sba(sv) named.service true 1 Description s x",
            "EnableUnitFiles asbb 1 named.service false false",
            "MaskUnitFiles asbb 1 named.service true false",
            "Reload",
            "Reexecute",
            "ResetFailed",
            "SetEnvironment as 1 A=b",
            "StartTransientUnit ssa(sv)a(sa(sv)) x.service replace 0 0",
        ] {
            denied(&c, other);
        }
        denied_to(&c, "daemon", "RestartUnit ss named.service replace");

        // A name made to keep an expression busy is answered like any other.
        let long = format!("{}.service", "q1x".repeat(80));
        denied(&c, &format!("RestartUnit ss {long} replace"));
        passes(&c, "RestartUnit ss named.service replace");

        c.write(DROP_IN, &named("unnamed"));
        let made = c.keepwell(&["polkit"]);
        assert!(made.stdout.contains("written"), "{}{}", made.stdout, made.stderr);
        wait_until(LONG, "the new rule is read", || {
            call(&c, "keepwell", "RestartUnit ss unnamed.service replace").ok()
        });
        denied(&c, "RestartUnit ss named.service replace");
        assert_eq!(c.main_pid("polkit.service"), polkit, "polkit was not started again");

        let removed = c.keepwell(&["polkit", "--remove"]);
        assert_eq!(removed.stdout, format!("{RULE}: removed\n"));
        wait_until(LONG, "the rule is gone", || {
            !call(&c, "keepwell", "RestartUnit ss unnamed.service replace").ok()
        });
    }

    fn what_is_not_roots_has_no_say_and_is_named(c: Container) {
        furnish(&c);
        let made = c.keepwell(&["polkit"]);
        assert!(made.ok(), "{}", made.stderr);
        c.sh(&format!("chmod 664 {DROP_IN}"));
        let made = c.keepwell(&["polkit"]);
        assert_eq!(made.code, 1);
        assert_eq!(made.stdout, format!("{RULE}: written, for 3 units or patterns\n"));
        assert!(
            made.stderr.starts_with(&format!(
                "keepwell: {DROP_IN} is left out: it can be written by its group (mode 0664); "
            )),
            "{}", made.stderr
        );
        wait_until(LONG, "the rule is read", || {
            call(&c, "keepwell", "RestartUnit ss web@1.service replace").ok()
        });
        denied(&c, "RestartUnit ss named.service replace");
        let said = doctor(&c, "has no say");
        assert!(said.contains(&format!("sudo chown root: {DROP_IN}")), "{said}");

        // keepwell's own user cannot widen its rights.
        c.sh(&format!("chmod 644 {DROP_IN} && chown keepwell: {DROP_IN}"));
        let made = c.keepwell(&["polkit"]);
        assert!(made.code == 1 && made.stderr.contains("does not belong to root"), "{made:?}");
        c.sh(&format!("chown root: {DROP_IN}"));
        let own = c.exec(&["setpriv", "--reuid", "keepwell", "--clear-groups", "keepwell", "polkit"]);
        assert_eq!(own.code, 3);
        assert_eq!(own.stderr, "keepwell: only root may do this: run it with sudo\n");

        // An invalid configuration takes nothing away and gives nothing.
        let before = c.read(RULE);
        c.write(DROP_IN, "[[unit]]\nname = \"unnamed\"\nrestart = 1\n");
        let made = c.keepwell(&["polkit"]);
        assert_eq!(made.code, 3);
        assert!(made.stderr.contains("so the polkit rule stays as it is:\n"), "{}", made.stderr);
        assert!(made.stderr.contains(DROP_IN), "{}", made.stderr);
        assert_eq!(c.read(RULE), before);
    }

    fn it_can_be_asked_what_is_permitted(c: Container) {
        furnish(&c);
        let check = |unit: &str| {
            let out = c.keepwell(&["polkit", "--check", unit]);
            (out.code, format!("{}{}", out.stdout, out.stderr).trim_end().to_owned())
        };
        let by_rule =
            ", by the rule that is there (keepwell does not run, so polkit was not asked)";
        let answer = (1, format!("restarting named.service is not permitted{by_rule}"));
        assert_eq!(check("named"), answer);
        let said = doctor(&c, "there is no /etc/polkit-1");
        assert!(said.contains("FAIL") && said.contains("`sudo keepwell polkit`"), "{said}");
        assert!(c.keepwell(&["polkit"]).ok());
        let answer = (0, format!("restarting named.service is permitted{by_rule}"));
        assert_eq!(check("named"), answer);
        let said = doctor(&c, "port 127.0.0.1:8080");
        assert!(said.contains("ok") && said.contains("free"), "{said}");

        c.start_keepwell();
        let said = |unit: &str, what: &str| format!("restarting {unit} is {what}, says polkit");
        assert_eq!(check("named"), (0, said("named.service", "permitted")));
        assert_eq!(check("web@1.service"), (0, said("web@1.service", "permitted")));
        assert_eq!(check("web@2.service"), (1, said("web@2.service", "not permitted")));
        let said_port = doctor(&c, "port 127.0.0.1:8080");
        assert!(said_port.contains("keepwell answers"), "{said_port}");
        let said_rule = doctor(&c, "is what the configuration says");
        assert!(said_rule.contains("ok"), "{said_rule}");

        // A rule that was made a moment ago counts at once.
        c.write(DROP_IN, &named("unnamed"));
        assert!(c.keepwell(&["polkit"]).ok());
        assert_eq!(check("unnamed"), (0, said("unnamed.service", "permitted")));
        assert_eq!(check("named"), (1, said("named.service", "not permitted")));

        // polkit is told the unit that a name stands for.
        c.sh("ln -s unnamed.service /etc/systemd/system/other-name.service");
        c.systemctl(&["daemon-reload"]);
        c.write(DROP_IN, &named("other-name"));
        assert!(c.keepwell(&["polkit"]).ok());
        assert_eq!(check("other-name"), (1, said("unnamed.service", "not permitted")));
        let said_name = doctor(&c, "other-name.service is another name of unnamed.service");
        assert!(said_name.contains("write unnamed.service in [[unit]] name"), "{said_name}");
        c.write(DROP_IN, &named("unnamed"));
        assert!(c.keepwell(&["polkit"]).ok());

        // Another rule comes first and says no.
        c.write(
            "/etc/polkit-1/rules.d/10-no.rules",
            "polkit.addRule(function(action, subject) {\n\
             if (action.lookup(\"unit\") == \"unnamed.service\") return polkit.Result.NO;\n});\n",
        );
        wait_until(LONG, "the other rule is read", || check("unnamed").0 == 1);
        let said = doctor(&c, "unnamed.service is not permitted");
        assert!(said.contains("another rule of polkit may deny it"), "{said}");

        // Without a polkit nothing is written, and nothing fails.
        assert!(c.keepwell(&["polkit", "--remove"]).ok());
        c.sh("mv /usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service /root");
        let made = c.keepwell(&["polkit"]);
        assert!(made.ok() && made.stdout.starts_with("no rule written: polkit is not installed"));
        assert_eq!(c.read(RULE), None);
        let said = doctor(&c, "polkit is not installed");
        assert!(said.contains("install it"), "{said}");
    }
}
