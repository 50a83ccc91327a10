//! The whole way from files to the rule, in a folder that looks like a host.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::*;

const MAIN: &str = "/etc/keepwell/keepwell.toml";
const DROP_IN: &str = "/etc/keepwell/conf.d/10-shop.toml";
const SHOP: &str = "[[unit]]\nname = \"shop\"\nrestart = true\n";

struct Host {
    _folder: tempfile::TempDir,
    place: Place,
}

impl Host {
    /// With a polkit that reads rules.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::below(folder.path(), BusAddress::Address("unix:path=/nowhere".into()));
        let host = Self { _folder: folder, place };
        host.write("/usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service", "");
        host.write("/etc/polkit-1/rules.d/50-other.rules", "");
        host.write(MAIN, "");
        host
    }

    fn write(&self, path: &str, text: &str) {
        let full = self.place.path(path);
        let mut folder = self.place.root.clone();
        for step in Path::new(path.trim_start_matches('/')).parent().unwrap() {
            folder.push(step);
            if !folder.exists() {
                fs::create_dir(&folder).unwrap();
                fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        fs::write(full, text).unwrap();
        self.mode(path, 0o644);
    }

    fn mode(&self, path: &str, mode: u32) {
        fs::set_permissions(self.place.path(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn rule(&self) -> Option<String> {
        fs::read_to_string(self.place.path(RULE)).ok()
    }

    fn change(&self) -> Change {
        refresh(&self.place).unwrap().change
    }
}

#[test]
fn the_rule_is_written_when_it_changes_and_removed_when_nothing_is_left() {
    let host = Host::new();
    assert_eq!(host.change(), Change::NotNeeded);
    host.write(DROP_IN, SHOP);
    assert_eq!(host.change(), Change::Written);
    let rule = host.rule().unwrap();
    assert!(rule.contains("[\"shop.service\", true]"), "{rule}");
    assert!(rule.contains(DROP_IN) && rule.contains(MAIN), "{rule}");
    let file = fs::metadata(host.place.path(RULE)).unwrap();
    assert_eq!(file.mode() & 0o7777, 0o644);

    assert_eq!(host.change(), Change::Unchanged);
    assert_eq!(fs::metadata(host.place.path(RULE)).unwrap().ino(), file.ino(), "not written anew");
    host.mode(RULE, 0o600);
    assert_eq!(host.change(), Change::Written, "polkit could not read it");
    host.write(RULE, "// by hand\n");
    assert_eq!(host.change(), Change::Written);
    assert_eq!(host.rule().unwrap(), rule);

    fs::remove_file(host.place.path(DROP_IN)).unwrap();
    assert_eq!(host.change(), Change::Removed);
    assert_eq!(host.rule(), None);
    assert_eq!(host.change(), Change::NotNeeded);
    assert!(!remove(&host.place).unwrap());
    let left: Vec<_> = fs::read_dir(host.place.path("/etc/polkit-1/rules.d")).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing is left behind: {left:?}");
}

#[test]
fn an_invalid_configuration_leaves_the_rule_as_it_is() {
    let host = Host::new();
    host.write(DROP_IN, SHOP);
    assert_eq!(host.change(), Change::Written);
    let rule = host.rule();
    for bad in [
        "[[unit]]\nname = \"other\"\nrestart = \"yes\"\n",
        "[[unit]\n",
        "[[units]]\nname = \"other\"\n",
        "[[unit]]\nname = \"shop\"\n",
    ] {
        host.write(MAIN, bad);
        let error = refresh(&host.place).unwrap_err();
        assert!(matches!(error, RightsError::Invalid(_)), "{bad}");
        let text = error.to_string();
        assert!(text.starts_with("the configuration is not valid, so the polkit rule stays"));
        assert!(text.contains(MAIN) || text.contains(DROP_IN), "{text}");
        assert_eq!(host.rule(), rule);
    }
    // What is not about units has no say, and no secret is looked for.
    host.write(
        MAIN,
        "[http]\ntoken = { file = \"/nowhere\" }\n[[channel]]\nname = \"ops\"\ntype = \"slack\"\n\
         url = { credential = \"none\" }\n",
    );
    assert_eq!(host.change(), Change::Unchanged);
}

#[test]
fn a_file_that_others_can_write_has_no_say() {
    let host = Host::new();
    host.write(DROP_IN, SHOP);
    host.write("/etc/keepwell/conf.d/20-b.toml", "[[unit]]\nname = \"b\"\nrestart = true\n");
    host.mode("/etc/keepwell/conf.d/20-b.toml", 0o664);
    symlink("/nowhere", host.place.path("/etc/keepwell/conf.d/30-c.toml")).unwrap();
    let done = refresh(&host.place).unwrap();
    assert_eq!(done.change, Change::Written);
    let left_out: Vec<String> = done.wanted.left_out.iter().map(ToString::to_string).collect();
    assert!(left_out[0].starts_with(
        "/etc/keepwell/conf.d/20-b.toml is left out: it can be written by its group (mode 0664); "
    ));
    assert!(left_out[1].contains("30-c.toml is left out: there is no such file"));
    assert!(done.wanted.permits("shop.service") && !done.wanted.permits("b.service"));
    let rule = host.rule().unwrap();
    assert!(rule.contains("shop.service") && !rule.contains("b.service\""), "{rule}");
    assert!(!rule.contains("20-b.toml"), "{rule}");

    // What is in it need not even be a configuration.
    host.write("/etc/keepwell/conf.d/20-b.toml", "]");
    host.mode("/etc/keepwell/conf.d/20-b.toml", 0o666);
    assert_eq!(host.change(), Change::Unchanged);

    // Others could put files into the folder.
    host.mode("/etc/keepwell/conf.d", 0o777);
    let done = refresh(&host.place).unwrap();
    assert_eq!(done.change, Change::Removed);
    assert_eq!(done.wanted.left_out[0].path, Path::new("/etc/keepwell/conf.d"));
}

#[test]
fn a_file_that_was_named_stands_alone() {
    let host = Host::new();
    host.write(DROP_IN, SHOP);
    host.write("/srv/k.toml", "[[unit]]\nname = \"other\"\nrestart = true\n");
    let place = host.place.clone().with_config(Some("/srv/k.toml".into()));
    let wanted = wanted(&place).unwrap();
    assert!(wanted.permits("other.service") && !wanted.permits("shop.service"));

    assert_eq!(host.change(), Change::Written);
    let mistyped = host.place.clone().with_config(Some("/srv/kk.toml".into()));
    let error = refresh(&mistyped).unwrap_err().to_string();
    assert_eq!(error, "/srv/kk.toml: there is no such file; nothing was changed");
    assert!(host.rule().is_some());
}

#[test]
fn who_may_look_into_the_folder_cannot_hold_it_up() {
    let host = Host::new();
    host.write(DROP_IN, SHOP);
    let other = fs::File::open(host.place.path("/etc/polkit-1/rules.d")).unwrap();
    rustix::fs::flock(&other, rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert_eq!(host.change(), Change::Written);
}

#[test]
fn where_no_polkit_reads_rules_none_is_written() {
    let host = Host::new();
    host.write(DROP_IN, SHOP);
    let service = "/usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service";
    fs::remove_file(host.place.path(service)).unwrap();
    let done = refresh(&host.place).unwrap();
    assert_eq!(done.change, Change::NoPolkit(Polkit::Missing));
    assert_eq!(host.rule(), None);
}

#[test]
fn the_folder_of_the_rules_is_made_where_it_is_missing() {
    let host = Host::new();
    host.write(DROP_IN, SHOP);
    fs::remove_dir_all(host.place.path("/etc/polkit-1")).unwrap();
    let done = refresh(&host.place).unwrap();
    assert!(done.change == Change::Written && done.new_folder);
    assert!(host.rule().is_some());
    for folder in ["/etc/polkit-1", "/etc/polkit-1/rules.d"] {
        let mode = fs::metadata(host.place.path(folder)).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o755, "polkit's own user reads {folder}");
    }
}

#[test]
fn the_umask_of_the_service_has_no_say() {
    // In a process of its own: a umask is for all threads.
    let again = "rights::tests::the_folder_of_the_rules_is_made_where_it_is_missing";
    let ended = std::process::Command::new("sh")
        .args(["-c", "umask 0077 && exec \"$0\" --exact \"$1\""])
        .arg(std::env::current_exe().unwrap())
        .arg(again)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn the_rule_never_goes_through_a_link() {
    let host = Host::new();
    host.write(DROP_IN, SHOP);
    host.write("/srv/precious", "precious");
    let beside = "/etc/polkit-1/rules.d/.60-keepwell.rules.new";
    for link in [RULE, beside] {
        symlink(host.place.path("/srv/precious"), host.place.path(link)).unwrap();
    }
    assert_eq!(host.change(), Change::Written);
    assert_eq!(fs::read_to_string(host.place.path("/srv/precious")).unwrap(), "precious");
    assert!(fs::symlink_metadata(host.place.path(RULE)).unwrap().is_file());
    assert!(fs::symlink_metadata(host.place.path(beside)).is_err());
}

#[test]
fn without_a_bus_the_rule_that_is_there_decides() {
    let host = Host::new();
    host.write(DROP_IN, SHOP);
    let asked = || permitted(&host.place, "shop").map_err(|error| error.to_string());
    let before = asked().unwrap();
    assert!(!before.permitted && matches!(before.judge, Judge::Rule(_)), "{before}");
    refresh(&host.place).unwrap();
    let after = asked().unwrap();
    assert!(after.permitted, "{after}");
    assert!(after.to_string().starts_with(
        "restarting shop.service is permitted, by the rule that is there (cannot reach the bus"
    ));
    assert!(!permitted(&host.place, "other.service").unwrap().permitted);
    host.write(DROP_IN, "");
    assert!(asked().unwrap_err().contains("is not what the configuration says"));
    assert!(permitted(&host.place, "shop*").unwrap_err().to_string().contains("name one unit"));
    host.write(DROP_IN, "]");
    assert!(asked().unwrap_err().contains("the configuration is not valid"));
}

#[test]
fn a_rule_is_current_also_when_a_file_without_units_has_come() {
    let host = Host::new();
    host.write(DROP_IN, SHOP);
    let rule = wanted(&host.place).unwrap().rule().unwrap();
    host.write(RULE, &rule);
    host.write("/etc/keepwell/conf.d/ops.toml", "# a channel\n");
    let now = wanted(&host.place).unwrap();
    assert_ne!(now.rule().unwrap(), rule, "it names the files that it is made of");
    assert_eq!(installed(&host.place, &now), Installed::Current);
    host.write(DROP_IN, &SHOP.replace("shop", "web"));
    assert_eq!(installed(&host.place, &wanted(&host.place).unwrap()), Installed::Outdated);
}
