//! What the table sends and what it keeps to itself.

use super::*;
use crate::engine::observation::Invocation;
use crate::engine::rules::UnitPattern;
use crate::sources::units::UnitsWatch;

fn table(exact: &[&str], globs: &[&str]) -> Table {
    let pattern = |text: &&str| UnitPattern::try_new(text).unwrap();
    Table::new(Watch::new(UnitsWatch {
        exact: exact.iter().map(|n| Arc::from(*n)).collect(),
        globs: globs.iter().map(pattern).collect(),
        all_failed: true,
        ignore: vec![pattern(&"noisy-*.service")],
        also: Vec::new(),
    }))
}

fn path(name: &str) -> Arc<str> {
    unit_path(name).into()
}

/// One change as systemd sends it: the Service half, then the Unit half.
fn change(table: &mut Table, name: &str, active: ActiveState, sub: &str, result: &str) {
    let service = ServiceHalf { result: Some(result.into()), main_pid: Some(0), ..<_>::default() };
    table.service(&path(name), service);
    let unit = UnitHalf {
        active: Some(active),
        sub: Some(sub.into()),
        job: Some(false),
        invocation: Some(Some(Invocation([1; 16]))),
        ..UnitHalf::default()
    };
    table.unit_changed(&path(name), &unit);
}

fn details(table: &mut Table, name: &str) {
    needs(table, name, &[]);
    only_details(table, name);
}

/// Answers what `name` itself requires, where that is asked.
fn needs(table: &mut Table, name: &str, direct: &[&str]) {
    if let Some(at) = table.needed.iter().position(|needed| *needed == path(name)) {
        table.needed.remove(at);
        table.learn(&path(name), Some(direct.iter().map(|n| Arc::from(*n)).collect()));
    }
}

fn only_details(table: &mut Table, name: &str) {
    assert_eq!(std::mem::take(&mut table.wanted), [path(name)]);
    let details = Details { restart: "no".into(), kind: "simple".into(), ..Details::default() };
    table.details(&path(name), Some(details));
}

/// What was sent: name, active state, result.
fn sent(table: &mut Table) -> Vec<(String, &'static str, String)> {
    table
        .out
        .drain(..)
        .map(|u| {
            let result = u.service.map_or(String::new(), |s| s.result.to_string());
            (u.name.to_string(), u.active.as_str(), result)
        })
        .collect()
}

fn one(name: &str, active: &'static str, result: &str) -> (String, &'static str, String) {
    (name.into(), active, result.into())
}

fn row(name: &str, active: ActiveState, sub: &str) -> Row {
    Row { name: name.into(), load: LoadState::Loaded, active, sub: sub.into(), job: false }
}

#[test]
fn a_service_half_by_itself_sends_nothing() {
    let mut table = table(&["a.service"], &[]);
    table.service(&path("a.service"), ServiceHalf::default());
    assert!(table.out.is_empty());
}

#[test]
fn a_failure_waits_for_its_details_and_keeps_the_order() {
    let mut table = table(&["a.service"], &[]);
    change(&mut table, "a.service", ActiveState::Failed, "failed", "signal");
    change(&mut table, "a.service", ActiveState::Active, "running", "success");
    assert!(table.out.is_empty());
    details(&mut table, "a.service");
    assert_eq!(table.out[0].details.as_ref().unwrap().restart, "no".into());
    let want = [one("a.service", "failed", "signal"), one("a.service", "active", "success")];
    assert_eq!(sent(&mut table), want);
    // Known details cost no further question, until unit files may have changed.
    change(&mut table, "a.service", ActiveState::Failed, "failed", "signal");
    assert_eq!(sent(&mut table), [one("a.service", "failed", "signal")]);
    table.reloaded();
    change(&mut table, "a.service", ActiveState::Failed, "failed", "exit-code");
    assert!(table.out.is_empty());
    details(&mut table, "a.service");
    assert_eq!(sent(&mut table), [one("a.service", "failed", "exit-code")]);
}

#[test]
fn a_failure_is_sent_at_once_when_the_details_were_prefetched() {
    let mut table = table(&["a.service"], &[]);
    change(&mut table, "a.service", ActiveState::Active, "running", "success");
    assert_eq!(table.without_details(), [path("a.service")]);
    assert!(table.prefetching(&path("a.service")));
    table.details(&path("a.service"), None);
    table.out.clear();
    assert!(table.needed.is_empty(), "what a unit needs is looked for when it is down");
    change(&mut table, "a.service", ActiveState::Failed, "failed", "signal");
    assert!(sent(&mut table).is_empty());
    needs(&mut table, "a.service", &[]);
    assert_eq!(sent(&mut table), [one("a.service", "failed", "signal")]);
    change(&mut table, "a.service", ActiveState::Failed, "failed", "exit-code");
    assert_eq!(sent(&mut table), [one("a.service", "failed", "exit-code")]);
    assert!(table.wanted.is_empty() && table.needed.is_empty());
}

#[test]
fn a_change_that_changes_nothing_is_not_sent() {
    let mut table = table(&["a.service"], &[]);
    for _ in 0..3 {
        change(&mut table, "a.service", ActiveState::Active, "running", "success");
    }
    assert_eq!(sent(&mut table), [one("a.service", "active", "success")]);
}

#[test]
fn a_unit_that_nobody_named_is_sent_from_its_failure_to_its_recovery() {
    let mut table = table(&[], &[]);
    change(&mut table, "x.service", ActiveState::Active, "running", "success");
    change(&mut table, "noisy-1.service", ActiveState::Failed, "failed", "signal");
    assert!(sent(&mut table).is_empty() && table.units.is_empty());

    change(&mut table, "x.service", ActiveState::Failed, "failed", "signal");
    details(&mut table, "x.service");
    change(&mut table, "x.service", ActiveState::Activating, "start", "success");
    change(&mut table, "x.service", ActiveState::Active, "running", "success");
    change(&mut table, "x.service", ActiveState::Deactivating, "stop", "success");
    let want = [
        one("x.service", "failed", "signal"),
        one("x.service", "activating", "success"),
        one("x.service", "active", "success"),
    ];
    assert_eq!(sent(&mut table), want);
    assert!(table.units.is_empty(), "it is forgotten");
}

#[test]
fn a_skipped_start_is_no_failure() {
    let mut table = table(&[], &[]);
    change(&mut table, "x.service", ActiveState::Inactive, "dead", "exec-condition");
    assert!(sent(&mut table).is_empty() && table.units.is_empty());
}

#[test]
fn each_instance_of_a_glob_is_sent_and_forgotten_with_its_unloading() {
    let mut table = table(&[], &["w@*.service"]);
    change(&mut table, "w@1.service", ActiveState::Active, "running", "success");
    change(&mut table, "w@1.service", ActiveState::Inactive, "dead", "success");
    details(&mut table, "w@1.service");
    let want = [one("w@1.service", "active", "success"), one("w@1.service", "inactive", "success")];
    assert_eq!(sent(&mut table), want);
    assert!(!table.removed(&path("w@1.service")));
    assert!(table.units.is_empty());
}

#[test]
fn an_unloading_that_cannot_be_is_looked_at() {
    let mut table = table(&["a.service"], &[]);
    change(&mut table, "a.service", ActiveState::Active, "running", "success");
    assert!(table.removed(&path("a.service")));
    assert!(!table.removed(&path("unknown.service")));
}

#[test]
fn a_row_is_followed_by_a_reading_only_when_it_is_news() {
    let mut table = table(&["a.service"], &[]);
    let name: Arc<str> = "a.service".into();
    let up = row("a.service", ActiveState::Active, "running");
    assert_eq!(table.row(&up, Some(&name)), Todo::Read);
    table.report(&path("a.service"));
    assert_eq!(sent(&mut table).len(), 1);
    assert_eq!(table.row(&up, Some(&name)), Todo::Nothing);
    let down = row("a.service", ActiveState::Failed, "failed");
    assert_eq!(table.row(&down, Some(&name)), Todo::Read);
    // After a gap even the same is news: it may be another run.
    table.gap();
    assert_eq!(table.row(&down, Some(&name)), Todo::Read);
}

#[test]
fn what_is_not_there_is_said_once() {
    let mut table = table(&["gone.service"], &["none-*.service"]);
    let name: Arc<str> = "gone.service".into();
    let gone =
        Row { load: LoadState::NotFound, ..row("gone.service", ActiveState::Inactive, "dead") };
    assert_eq!(table.row(&gone, Some(&name)), Todo::Reported);
    table.glob_rows(&[]);
    let loads: Vec<_> = table.out.iter().map(|u| (&*u.name, u.load)).collect();
    let absent = LoadState::NotFound;
    assert_eq!(loads, [("gone.service", absent), ("none-*.service", absent)]);
    table.out.clear();
    assert_eq!(table.row(&gone, Some(&name)), Todo::Nothing);
    table.glob_rows(&[]);
    assert!(table.out.is_empty());
}

#[test]
fn an_alias_goes_by_the_name_it_was_named_with() {
    let mut table = table(&["alias.service"], &[]);
    let asked: Arc<str> = "alias.service".into();
    let up = row("real.service", ActiveState::Active, "running");
    assert_eq!(table.row(&up, Some(&asked)), Todo::Read);
    table.report(&path("real.service"));
    assert_eq!(sent(&mut table), [one("alias.service", "active", "")]);
    assert_eq!(table.names_of(&"real.service".into()), [asked]);
    assert_eq!(table.row(&up, Some(&"alias.service".into())), Todo::Nothing);
}

#[test]
fn what_is_kept_from_before_is_sent_once_whatever_it_is() {
    let mut table = Table::new(Watch::new(UnitsWatch {
        also: vec!["old.service".into()],
        ..UnitsWatch::default()
    }));
    let name: Arc<str> = "old.service".into();
    let up = row("old.service", ActiveState::Active, "running");
    assert_eq!(table.row(&up, Some(&name)), Todo::Read);
    table.report(&path("old.service"));
    assert_eq!(sent(&mut table), [one("old.service", "active", "")]);
    assert!(table.units.is_empty());
}

#[test]
fn a_failure_tells_what_the_unit_needs_through_others() {
    let mut table = table(&["app.service", "alias.service"], &[]);
    table.alias_of(&"db.service".into(), &"alias.service".into());
    change(&mut table, "app.service", ActiveState::Failed, "failed", "exit-code");
    needs(&mut table, "app.service", &["pool.service", "dev-sdb.device"]);
    only_details(&mut table, "app.service");
    change(&mut table, "app.service", ActiveState::Active, "running", "success");
    assert!(table.out.is_empty(), "the order stays");
    assert_eq!(table.needed, [path("pool.service")]);
    needs(&mut table, "pool.service", &["db.service", "app.service"]);
    needs(&mut table, "db.service", &["data.mount"]);
    table.learn(&path("data.mount"), None);
    let requires = |seen: &UnitSeen| seen.details.as_ref().unwrap().requires.join(" ");
    let all: Vec<_> = table.out.drain(..).map(|s| (s.active.as_str(), requires(&s))).collect();
    let want = "dev-sdb.device pool.service alias.service data.mount";
    assert_eq!(all, [("failed", want.to_owned()), ("active", want.to_owned())]);

    // Others know what was read for this one.
    table.needed.clear();
    change(&mut table, "pool.service", ActiveState::Failed, "failed", "signal");
    only_details(&mut table, "pool.service");
    assert_eq!(requires(&table.out[0]), "app.service alias.service data.mount dev-sdb.device");
    assert!(table.needed.is_empty());
    table.out.clear();

    table.reloaded();
    change(&mut table, "app.service", ActiveState::Failed, "failed", "exit-code");
    assert_eq!(table.needed, [path("app.service")], "it is asked anew");
}

#[test]
fn a_unit_that_is_stopped_tells_what_it_needs_only_where_it_was_named() {
    let mut table = table(&["app.service"], &["w@*.service"]);
    for name in ["app.service", "w@1.service"] {
        change(&mut table, name, ActiveState::Active, "running", "success");
        change(&mut table, name, ActiveState::Inactive, "dead", "success");
    }
    assert_eq!(table.needed, [path("app.service")]);
}

#[test]
fn what_a_full_reading_says_need_not_be_asked() {
    let mut table = table(&["app.service"], &[]);
    let down = row("app.service", ActiveState::Failed, "failed");
    assert_eq!(table.row(&down, Some(&"app.service".into())), Todo::Read);
    let requires = Some(vec!["srv.mount".into()]);
    table.unit_read(&path("app.service"), &UnitHalf { requires, ..UnitHalf::default() });
    table.report(&path("app.service"));
    assert_eq!(table.needed, [path("srv.mount")]);
}

#[test]
fn a_timer_is_asked_once_what_it_starts() {
    let mut table = table(&["job.service"], &[]);
    change(&mut table, "job.service", ActiveState::Inactive, "dead", "success");
    details(&mut table, "job.service");
    for name in ["other.timer", "other.timer", "job.service"] {
        table.trigger_seen(&path(name));
    }
    assert_eq!(table.to_trigger, [path("other.timer")]);
    table.triggered("job.service");
    change(&mut table, "job.service", ActiveState::Failed, "failed", "exit-code");
    assert_eq!(table.wanted, [path("job.service")], "the details are read anew");
    table.reloaded();
    table.trigger_seen(&path("other.timer"));
    assert_eq!(table.to_trigger.len(), 2);
}
