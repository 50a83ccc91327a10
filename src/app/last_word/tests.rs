use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn end(result: &str, status: &str) -> End {
    End { result: result.into(), status: status.into(), run: None }
}

#[test]
fn what_systemd_tells_is_understood() {
    let id = "287860c206f54c028187af59946960a6";
    let environment = Environment::from_iter([
        ("MONITOR_SERVICE_RESULT", "signal"),
        ("MONITOR_EXIT_STATUS", "SEGV"),
        ("MONITOR_INVOCATION_ID", id),
    ]);
    let told = End::told(&environment).unwrap();
    assert_eq!(told.run.map(|run| run.to_string()).as_deref(), Some(id));
    assert!(told.summary().ends_with("given up starting it: killed by signal SEGV"));
    assert_eq!(End::told(&Environment::default()), None);

    let bad = end("exit-code", "78");
    assert!(bad.summary().ends_with("its configuration cannot be used"));
    assert!(bad.remedy().contains("keepwell config check"));
    assert!(end("exit-code", "3").summary().ends_with("exit code 3"));
    assert!(end("watchdog", "6").summary().ends_with("systemd's watchdog in time"));
}

#[test]
fn the_same_failure_is_told_once_an_hour_and_flapping_four_times() {
    let now = clock::now().wall;
    let mut kept = LastWord::default();
    assert_eq!(hush(&mut kept, now), None);
    kept.said.push(now);
    kept.open = Some(record(&end("exit-code", "78"), Vec::new(), now));
    assert!(hush(&mut kept, now.after(HOUR / 2)).is_some());
    assert_eq!(hush(&mut kept.clone(), now.after(HOUR)), None);

    // It came up in between.
    kept.open = None;
    kept.said = vec![now; MOST - 1];
    assert_eq!(hush(&mut kept, now), None);
    kept.said.push(now);
    assert!(hush(&mut kept, now).is_some());
    // The clock was an hour ahead when it was written.
    assert_eq!(hush(&mut kept, now.before(HOUR)), None);
}

#[test]
fn the_alert_is_taken_over_once_and_told_of_in_one_piece() {
    let folder = tempfile::tempdir().unwrap();
    let now = clock::now().wall;
    let mut saved = Saved::default();
    assert!(take_up(folder.path(), &mut saved).is_none(), "nothing was said");

    let mut alert = record(&end("exit-code", "78"), Vec::new(), now);
    alert.told = vec!["ops".into()];
    let kept = LastWord { said: vec![now], open: Some(alert.clone()) };
    kept.write(folder.path()).unwrap();
    let taken = take_up(folder.path(), &mut saved).unwrap();
    assert_eq!(saved.alerts.len(), 1);
    assert_eq!((&saved.alerts[0].told, &saved.alerts[0].next), (&alert.told, &None));
    assert_eq!(taken.change(), Some(Change::Alert(saved.alerts[0].clone())));

    // Killed before it said that it is done: not a second one.
    // What the former one did with it is not undone.
    saved.alerts[0].told.push("pager".into());
    let again = take_up(folder.path(), &mut saved).unwrap();
    assert_eq!((saved.alerts.len(), again.change()), (1, None));
    taken.done();
    assert!(take_up(folder.path(), &mut saved).is_none());
    assert_eq!(LastWord::read(folder.path()).said, [now], "how often it was said stays known");

    // A one-shot check has told another channel.
    let pending = |channel: &str| Pending {
        channel: channel.into(),
        happening: Happening::Opened,
        opening: true,
        since: now,
    };
    let kept = LastWord {
        open: Some(AlertRecord {
            pending: vec![pending("pager"), pending("mail")],
            ..alert.clone()
        }),
        ..kept
    };
    let mut other = alert.clone();
    (other.id, other.told) = ("a7".into(), vec!["pager".into()]);
    let mut saved = Saved { alerts: vec![other], ..Saved::default() };
    kept.write(folder.path()).unwrap();
    take_up(folder.path(), &mut saved).unwrap();
    assert_eq!(saved.alerts.len(), 1);
    assert_eq!(saved.alerts[0].told, ["pager".into(), "ops".into()]);
    assert_eq!(saved.alerts[0].pending, [pending("mail")], "who has not heard of it yet");
}

#[test]
fn who_runs_or_comes_up_has_no_last_word() {
    let unit = |active, job| UnitSeen { active, job, ..UnitSeen::default() };
    assert!(is_coming(&unit(ActiveState::Active, false), true));
    assert!(is_coming(&unit(ActiveState::Active, false), false), "with its former configuration");
    assert!(is_coming(&unit(ActiveState::Activating, true), true));
    assert!(is_coming(&unit(ActiveState::Failed, true), true));
    assert!(!is_coming(&unit(ActiveState::Failed, false), true));
    // A client of the socket unit starts it again and again.
    assert!(!is_coming(&unit(ActiveState::Activating, true), false));
}

#[test]
fn a_broken_file_counts_as_nothing_said() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("last-word.json"), "{").unwrap();
    assert_eq!(LastWord::read(folder.path()), LastWord::default());
}

#[test]
fn channels_are_found_in_a_configuration_that_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("k.toml");
    let channel = "[[channel]]\nname = \"ops\"\ntype = \"webhook\"\nurl = \"http://a/b\"\n";
    let names = |text: String, variables: &[(&str, &str)]| -> Vec<String> {
        std::fs::write(&path, text).unwrap();
        let environment = variables.iter().copied().collect();
        let options = Options::new(Some(&path), environment, true, "host".into()).salvage();
        let reach = plan::reach(&options);
        assert!(!reach.usable);
        reach.channels.iter().map(|c| c.name().to_string()).collect()
    };
    for broken in [
        format!("{channel}[agent]\nintervall = 3\n"),
        format!("{channel}[agent\n"),
        format!("agent = yes\n{channel}"),
        format!("{channel}[[channel]]\nname = \"other\"\ntype = \"slack\"\n"),
    ] {
        assert_eq!(names(broken.clone(), &[]), ["ops"], "{broken}");
    }
    let by_variable = names("= nonsense".into(), &[("ALERT_WEBHOOK_URL", "http://a/b")]);
    assert_eq!(by_variable.len(), 1);
}

#[test]
fn whoever_owns_the_folder_can_read_it_and_leads_it_nowhere_else() {
    use std::os::unix::fs::MetadataExt;

    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("state");
    let precious = folder.path().join("precious");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(&precious, "precious").unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&dir, Some(65_534), Some(65_534)).unwrap();
    }
    std::os::unix::fs::symlink(&precious, dir.join("last-word.json.tmp")).unwrap();
    let kept = LastWord { said: vec![clock::now().wall], open: None };
    kept.write(&dir).unwrap();
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "precious");
    assert_eq!(LastWord::read(&dir), kept);
    let (file, whose) = (dir.join("last-word.json").metadata(), dir.metadata());
    assert_eq!(file.unwrap().uid(), whose.unwrap().uid());
}
