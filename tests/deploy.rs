//! The scripts for deployment, as far as no host is needed: what they accept, what they give to the
//! Azure CLI and make of its answers. On real hosts: `system_deploy.rs`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "support/azure.rs"]
mod azure;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use azure::Azure;

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name)
}

/// Exit code, standard output, standard error.
fn run(command: &mut Command) -> (i32, String, String) {
    let out = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code().unwrap_or(-1), text(&out.stdout), text(&out.stderr))
}

#[test]
fn each_script_says_how_it_is_used() {
    for (name, word) in [
        ("deploy.sh", "--unit NAME"),
        ("azure_deploy.sh", "--resource-group NAME"),
        ("vm_health.sh", "--restart"),
    ] {
        let (code, out, err) = run(Command::new(script(name)).arg("--help"));
        assert_eq!((code, err.as_str()), (0, ""), "{name}");
        assert!(out.contains(word) && out.contains("Exit code"), "{name}: {out}");
        let (code, out, err) = run(Command::new(script(name)).arg("--nonsense"));
        assert_eq!((code, out.as_str()), (64, ""), "{name}");
        assert!(err.contains("--nonsense") && err.contains("--help"), "{name}: {err}");
    }
}

/// What the environment says of keepwell is taken along; what it says of collectors and of Azure
/// identities is often meant for the one who deploys.
#[test]
fn the_variables_are_those_that_keepwell_knows() {
    let text = fs::read_to_string(script("deploy.sh")).unwrap();
    let listed: BTreeSet<&str> = text
        .lines()
        .skip_while(|line| !line.starts_with("# Variables that"))
        .take_while(|line| !line.starts_with("# sudo"))
        .filter_map(|line| line.strip_prefix("#   "))
        .flat_map(str::split_whitespace)
        .collect();
    let known: BTreeSet<&str> = keepwell::config::environment::names()
        .filter(|name| *name == "APPLICATIONINSIGHTS_CONNECTION_STRING" || !for_many(name))
        .collect();
    assert_eq!(listed, known);
}

fn for_many(name: &str) -> bool {
    // The last is for containers: a package sees the host as it is.
    name.starts_with("OTEL_")
        || name.starts_with("AZURE_")
        || ["KEEPWELL_CONFIG", "KEEPWELL_HOST_ROOT"].contains(&name)
}

/// Where shellcheck is not installed, this says so and passes.
#[test]
fn shellcheck_finds_nothing() {
    let scripts = ["deploy.sh", "azure_deploy.sh", "vm_health.sh"].map(script);
    let Ok(out) = Command::new("shellcheck").args(scripts).output() else {
        eprintln!("SKIPPED: shellcheck is not installed");
        return;
    };
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
}

#[test]
fn vm_health_passes_flags_and_exit_codes_on() {
    let folder = tempfile::tempdir().unwrap();
    let keepwell = folder.path().join("keepwell");
    fs::write(&keepwell, "#!/bin/sh\necho \"$*\"\nexit $STUB_CODE\n").unwrap();
    executable(&keepwell);
    for (flags, words) in [
        (&[][..], "check --sections"),
        (&["--restart", "--alert"][..], "check --sections --restart --alert"),
        (&["--json"][..], "check --json"),
        (&["--no-color", "--config", "a b"][..], "--no-color --config a b check --sections"),
    ] {
        for code in 0..=3 {
            let mut command = Command::new(script("vm_health.sh"));
            command.env("KEEPWELL", &keepwell).env("STUB_CODE", code.to_string()).args(flags);
            assert_eq!(run(&mut command), (code, format!("{words}\n"), String::new()));
        }
    }
    let mut dry = Command::new(script("vm_health.sh"));
    let (code, out, _) = run(dry.env("KEEPWELL", &keepwell).args(["--dry-run", "--alert"]));
    assert_eq!(code, 0);
    assert_eq!(out.trim_end(), format!("{} check --sections --alert", keepwell.display()));
    let mut none = Command::new(script("vm_health.sh"));
    let (code, out, err) = run(none.env("KEEPWELL", folder.path().join("none")));
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(err.contains("is not installed here"), "{err}");
}

fn executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

const SUM: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const SECRET: &str = "s3cr3t \"quoted\" $dollar 'single' \\back";

/// A deployment that fetches the package from a given address.
fn by_address(azure: &Azure) -> Command {
    let mut command = azure.deploy();
    command.args(["--resource-group", "prod", "--vm-name", "web-1"]).args([
        "--package-url=https://example.org/keepwell_1.0-1_amd64.deb?sig=SIGNED%2F",
        "--sha256",
        SUM,
    ]);
    command
}

#[test]
fn what_azure_is_asked_is_exactly_this() {
    let azure = Azure::new();
    azure.will_say(0, "deploy: keepwell 1.0-1 runs\n");
    let mut command = by_address(&azure);
    command.args(["--unit", "web@*", "--unit", "shop", "--timeout", "30", "--subscription", "s1"]);
    command.env("SMTP_PASSWORD", SECRET).env("ALERT_COOLDOWN", "").env("OTHER", "not taken");
    let (code, out, err) = run(&mut command);
    assert_eq!(code, 0, "{out}{err}");
    assert!(!format!("{out}{err}").contains("s3cr3t") && !azure.seen_by_all().contains("s3cr3t"));
    assert!(!azure.seen_by_all().contains("SIGNED"));

    let run_command = |verb: &str| {
        format!("vm run-command {verb} --resource-group prod --vm-name web-1 --name RUN")
    };
    let look = format!("{} --instance-view", run_command("show"));
    let tail = "--subscription s1 --only-show-errors";
    let create = format!(
        "{} --location westeurope --script @FILE --protected-parameters SMTP_PASSWORD=@FILE \
         KEEPWELL_DEPLOY_URL=@FILE --async-execution false --timeout-in-seconds 1800 --output none {tail}",
        run_command("create"),
    );
    assert_eq!(
        azure.calls(),
        [
            format!("account show --query id --output tsv {tail}"),
            format!(
                "vm show --resource-group prod --name web-1 --query location --output tsv {tail}"
            ),
            create,
            format!("{look} --query instanceView.output --output tsv {tail}"),
            format!("{look} --query instanceView.error --output tsv {tail}"),
            format!(
                "{look} --query [instanceView.executionState, instanceView.exitCode] --output tsv {tail}"
            ),
            format!("{} --yes --output none {tail}", run_command("delete")),
        ]
    );
    let given = azure.variables();
    assert_eq!(given["SMTP_PASSWORD"], SECRET);
    assert_eq!(
        given["KEEPWELL_DEPLOY_URL"],
        "https://example.org/keepwell_1.0-1_amd64.deb?sig=SIGNED%2F"
    );
    assert_eq!(given.as_object().unwrap().len(), 2, "{given}");
    let sent = azure.script();
    let last = sent.lines().last().unwrap();
    assert_eq!(last, "bash deploy.sh \"$folder/$name\" --unit web@\\* --unit shop --timeout 30");
    assert!(sent.contains("\nexport ALERT_COOLDOWN=\n"), "one that is empty is to be taken out");
    assert!(!sent.contains("s3cr3t") && !sent.contains("SIGNED") && !sent.contains("not taken"));
    assert!(sent.contains(&fs::read_to_string(script("deploy.sh")).unwrap()));
    assert!(sent.len() < 100_000, "{} bytes: the agent takes 256 KiB", sent.len());
}

#[test]
fn the_words_and_the_exit_code_of_the_machine_come_back() {
    for code in [1, 2, 75] {
        let azure = Azure::new();
        azure.will_say(code, "deploy: rolled back\n");
        let (ended, out, err) = run(&mut by_address(&azure));
        assert_eq!(ended, code, "{out}{err}");
        assert!(out.contains("\n  deploy: rolled back\n"), "{out}");
        assert!(err.contains(&format!("it failed on web-1 (exit code {code})")), "{err}");
        assert!(azure.calls().last().unwrap().contains("run-command delete"));
    }
}

#[test]
fn a_package_of_this_machine_travels_through_a_container_and_is_removed_there() {
    let azure = Azure::new();
    azure.will_say(0, "");
    let package = azure.folder().join("keepwell_1.0-1_amd64.deb");
    fs::write(&package, "test").unwrap();
    let mut command = azure.deploy();
    command.args(["--resource-group=prod", "--vm-name=web-1", "--storage-account=store"]);
    command.args(["--container=packages", "--package"]).arg(&package);
    let (code, out, err) = run(&mut command);
    assert_eq!(code, 0, "{out}{err}");
    let calls = azure.calls();
    let blob = format!(
        "--account-name store --container-name packages --name keepwell/{SUM}/keepwell_1.0-1_amd64.deb"
    );
    assert_eq!(
        calls[2],
        format!(
            "storage blob upload {blob} --file {} --overwrite true --no-progress --auth-mode login \
             --output none --only-show-errors",
            package.display()
        )
    );
    assert!(
        calls[3]
            .starts_with(&format!("storage blob generate-sas {blob} --permissions r --expiry 20"))
    );
    assert!(calls[3].ends_with(
        "Z --https-only --as-user --auth-mode login --full-uri --output tsv --only-show-errors"
    ));
    assert_eq!(
        calls.last().unwrap(),
        &format!("storage blob delete {blob} --auth-mode login --output none --only-show-errors")
    );
    assert_eq!(
        azure.variables()["KEEPWELL_DEPLOY_URL"],
        azure::LINK.to_owned() + "keepwell_1.0-1_amd64.deb"
    );
    assert!(azure.script().contains(&format!("\nsum={SUM}\n")));
}

#[test]
fn who_is_not_logged_in_is_told_how() {
    let azure = Azure::new();
    azure.log_out();
    let (code, out, err) = run(&mut by_address(&azure));
    assert_eq!((code, out.as_str()), (69, ""));
    assert!(
        err.contains("Please run 'az login'") && err.contains("log in with: az login"),
        "{err}"
    );
    assert_eq!(azure.calls().len(), 1);
}

#[test]
fn a_machine_that_is_not_there_is_said() {
    let azure = Azure::new();
    let mut command = by_address(&azure);
    let (code, _, err) = run(command.args(["--vm-name", "gone"]));
    assert_eq!(code, 69);
    assert!(err.contains("(ResourceNotFound)"), "{err}");
}

#[test]
fn what_is_throttled_is_tried_again_and_not_for_ever() {
    let azure = Azure::new();
    azure.will_say(0, "");
    azure.throttle(3);
    let (code, out, err) = run(&mut by_address(&azure));
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(err.matches("too many requests; again in").count(), 3, "{err}");
    let created = azure.calls().iter().filter(|c| c.contains("run-command create")).count();
    assert_eq!(created, 4);

    let azure = Azure::new();
    azure.throttle(100);
    let (code, _, err) = run(&mut by_address(&azure));
    assert_eq!(code, 69);
    assert!(err.contains("az vm run-command create failed"), "{err}");
    assert!(err.contains("to remove it:"), "{err}");
}

#[test]
fn mistakes_are_found_before_azure_is_asked() {
    for (arguments, said) in [
        (&["--vm-name", "v"][..], "--resource-group is missing"),
        (&["--resource-group", "g"][..], "--vm-name is missing"),
        (&["--resource-group=g", "--vm-name=v"][..], "how the package gets to the machine"),
        (
            &["--resource-group=g", "--vm-name=v", "--package-url=http://x/k.deb"][..],
            "must begin with https://",
        ),
        (
            &["--resource-group=g", "--vm-name=v", "--package-url=https://x/k.deb"][..],
            "needs --sha256",
        ),
        (
            &[
                "--resource-group=g",
                "--vm-name=v",
                "--package-url=https://x/k.zip",
                "--sha256",
                SUM,
            ][..],
            "neither a .deb nor an .rpm",
        ),
        (
            &["--resource-group=g", "--vm-name=v", "--unit=a b"][..],
            "'a b' is not the name of a unit",
        ),
    ] {
        let azure = Azure::new();
        let (code, out, err) = run(azure.deploy().args(arguments));
        assert_eq!((code, out.as_str()), (64, ""), "{arguments:?}");
        assert!(err.contains(said), "{arguments:?}: {err}");
        assert!(azure.calls().is_empty());
    }
}
