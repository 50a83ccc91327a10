//! The source against a stand-in for `journalctl`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::engine::observation::ErrorsSeen;

/// A `journalctl` that runs this shell text; `$*` holds its arguments.
fn program(dir: &Path, text: &str) -> Journal {
    let path = dir.join("journalctl");
    std::fs::write(&path, format!("#!/bin/sh\necho \"$*\" >>{}/calls\n{text}\n", dir.display()))
        .unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    // Run by the shell: a file just written may still be open for writing in a sibling's fork.
    Journal::with_args("/bin/sh", [path])
}

fn calls(dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(dir.join("calls")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn line(n: u32, unit: &str, priority: u8, message: &str) -> String {
    format!(
        r#"{{"__CURSOR":"c{n}","__REALTIME_TIMESTAMP":"{n}","_SYSTEMD_UNIT":"{unit}","PRIORITY":"{priority}","_TRANSPORT":"stdout","SYSLOG_IDENTIFIER":"x","_PID":"77","MESSAGE":"{message}"}}"#
    )
}

struct Rig {
    out: mpsc::Receiver<Observation>,
    context: SourceContext,
}

fn rig(once: bool) -> Rig {
    let (send, out) = mpsc::channel(64);
    let context = SourceContext {
        out: send,
        stop: CancellationToken::new(),
        resync: Arc::new(Notify::new()),
        once,
    };
    Rig { out, context }
}

fn watch(units: &[&str]) -> JournalWatch {
    JournalWatch { exact: units.iter().map(|u| Arc::from(*u)).collect(), ..JournalWatch::default() }
}

async fn next(rig: &mut Rig) -> Observation {
    tokio::time::timeout(Duration::from_secs(120), rig.out.recv())
        .await
        .expect("in time")
        .expect("open")
}

fn errors(seen: Observation) -> ErrorsSeen {
    match seen {
        Observation::Errors(seen) => seen,
        other => panic!("{other:?}"),
    }
}

const ROUND: Observation = Observation::Round(Round { source: SourceKind::Journal, total: None });

fn part(state: PartState) -> Observation {
    Observation::Part(PartSeen { part: Part::Journal, state })
}

#[tokio::test]
async fn once_it_reads_what_is_recent_and_returns() {
    let dir = tempfile::tempdir().unwrap();
    let text = [
        line(1, "a.service", 3, "broken password=abc"),
        line(2, "a.service", 6, "all is well"),
        line(3, "a.service", 6, "fatal: it ended"),
        line(4, "other.service", 3, "not watched"),
        line(5, "w@1.service", 4, "ignore me please"),
        line(6, "w@1.service", 4, "low on space"),
        line(7, "a.service", 3, "x").replace("\"_PID\":\"77\"", "\"_PID\":\"1\""),
        line(8, "a.service", 3, "x").replace(":\"x\",\"_PID", ":\"systemd\",\"_PID"),
        "garbage".to_owned(),
    ]
    .join("\n");
    let journal = program(dir.path(), &format!("cat <<'E'\n{text}\nE"));
    let mut watch = watch(&["a.service"]);
    watch.globs = vec!["w@*".into(), "[".into()];
    watch.ignore = vec![Regex::new("ignore me").unwrap()];
    let mut rig = rig(true);
    JournalSource::new(journal, watch).run(rig.context.clone()).await.unwrap();
    let seen = errors(next(&mut rig).await);
    assert_eq!((&*seen.unit, seen.count), ("a.service", 2));
    assert_eq!(seen.lines, ["broken password=***", "fatal: it ended"]);
    assert_eq!(seen.cursor.as_deref(), Some("c8"));
    let seen = errors(next(&mut rig).await);
    assert_eq!((&*seen.unit, seen.lines), ("w@1.service", vec!["low on space".to_owned()]));
    assert_eq!(next(&mut rig).await, part(PartState::Works));
    assert_eq!(next(&mut rig).await, ROUND);
    let calls = calls(dir.path());
    assert!(
        calls[0].contains("--since=-600s") && !calls[0].contains("_SYSTEMD_UNIT="),
        "{calls:?}"
    );
}

#[tokio::test]
async fn only_named_units_are_asked_for() {
    let source =
        JournalSource::new(Journal::with_args("x", ["y"]), watch(&["a.service", "b.service"]));
    assert_eq!(
        source.matches().join(" "),
        "_SYSTEMD_UNIT=a.service _SYSTEMD_UNIT=b.service PRIORITY=0 PRIORITY=1 PRIORITY=2 PRIORITY=3 \
         PRIORITY=4 + _SYSTEMD_UNIT=a.service _SYSTEMD_UNIT=b.service _TRANSPORT=stdout PRIORITY=5 \
         PRIORITY=6"
    );
}

#[tokio::test]
async fn without_units_no_child_is_started() {
    let dir = tempfile::tempdir().unwrap();
    let journal = program(dir.path(), "");
    let mut rig = rig(false);
    let mut source = JournalSource::new(journal, JournalWatch::default());
    let context = rig.context.clone();
    let stop = context.stop.clone();
    let resync = context.resync.clone();
    let script = async {
        assert_eq!(next(&mut rig).await, ROUND);
        resync.notify_one();
        assert_eq!(next(&mut rig).await, ROUND);
        stop.cancel();
    };
    let (result, ()) = tokio::join!(source.run(context), script);
    result.unwrap();
    assert!(calls(dir.path()).is_empty());
}

/// Follows; answers the look at the end and at the saved place.
fn following(lines: &str, after: &str) -> String {
    let first = line(1, "a.service", 6, "seen before");
    format!(
        "case \"$*\" in *--follow*) cat <<'E'\n{lines}\nE\n{after};; *) cat <<'E'\n{first}\nE\n;; esac"
    )
}

#[tokio::test]
async fn it_follows_and_tells_the_first_error_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let lines = [
        line(1, "a.service", 3, "seen before"),
        line(2, "a.service", 3, "first"),
        line(3, "a.service", 6, "error: second"),
        line(4, "b.service", 3, "all before this was read"),
    ];
    let journal = program(dir.path(), &following(&lines.join("\n"), "exec sleep 1000"));
    let mut rig = rig(false);
    let units = watch(&["a.service", "b.service"]);
    let mut source =
        JournalSource::new(journal, JournalWatch { cursor: Some("c1".into()), ..units });
    let context = rig.context.clone();
    let stop = context.stop.clone();
    let script = async {
        assert_eq!(next(&mut rig).await, part(PartState::Works));
        assert_eq!(next(&mut rig).await, ROUND);
        let mut lines = Vec::new();
        loop {
            let seen = errors(next(&mut rig).await);
            assert_eq!(seen.count as usize, seen.lines.len());
            if &*seen.unit == "b.service" {
                assert_eq!(seen.cursor.as_deref(), Some("c4"));
                break;
            }
            lines.extend(seen.lines);
        }
        assert_eq!(lines[0], "first");
        // What waits for its turn is told at the end.
        stop.cancel();
        if lines.len() == 1 {
            lines.extend(errors(next(&mut rig).await).lines);
        }
        assert_eq!(lines, ["first", "error: second"]);
    };
    let (result, ()) = tokio::join!(source.run(context), script);
    result.unwrap();
    assert!(calls(dir.path()).iter().any(|c| c.contains("--follow") && c.contains("--cursor=c1")));
}

#[tokio::test]
async fn a_stream_that_dies_is_told_and_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let text = following(
        &line(2, "a.service", 3, "one"),
        &format!(
            "if [ -e {0}/second ]; then exec sleep 1000; fi; touch {0}/second; echo 'No space left' >&2; exit 5",
            dir.path().display()
        ),
    );
    let journal = program(dir.path(), &text);
    let mut rig = rig(false);
    let mut source = JournalSource::new(journal, watch(&["a.service"]));
    source.first_wait = Duration::from_millis(10);
    let context = rig.context.clone();
    let stop = context.stop.clone();
    let script = async {
        let mut states = Vec::new();
        let mut errors = 0;
        while states.len() < 3 {
            match next(&mut rig).await {
                Observation::Part(seen) => states.push(seen.state),
                Observation::Errors(seen) => errors += seen.count,
                other => assert_eq!(other, ROUND),
            }
        }
        stop.cancel();
        let PartState::Broken(text) = &states[1] else { panic!("{states:?}") };
        assert_eq!(text, "journalctl failed (exit status: 5): No space left");
        assert_eq!((&states[0], &states[2]), (&PartState::Works, &PartState::Works));
        assert_eq!(errors, 1, "the entry is not read twice");
    };
    let (result, ()) = tokio::join!(source.run(context), script);
    result.unwrap();
    let calls = calls(dir.path());
    let last = calls.iter().rfind(|c| c.contains("--follow")).unwrap();
    assert!(last.contains("--cursor=c2"), "{calls:?}");
}

#[tokio::test]
async fn no_journalctl_is_absent_and_no_rights_are_broken() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Journal::with_args(dir.path().join("none"), [""; 0]);
    let mut seen = rig(true);
    JournalSource::new(missing, watch(&["a.service"])).run(seen.context.clone()).await.unwrap();
    let Observation::Part(PartSeen { state: PartState::Absent(text), .. }) = next(&mut seen).await
    else {
        panic!()
    };
    assert!(text.contains("was not found"), "{text}");
    assert_eq!(next(&mut seen).await, ROUND);

    let denied = program(
        dir.path(),
        "echo 'No journal files were opened due to insufficient permissions.' >&2; exit 1",
    );
    let mut seen = rig(true);
    JournalSource::new(denied, watch(&["a.service"])).run(seen.context.clone()).await.unwrap();
    let Observation::Part(PartSeen { state: PartState::Broken(text), .. }) = next(&mut seen).await
    else {
        panic!()
    };
    assert!(text.contains("add its user to the group systemd-journal"), "{text}");
    assert_eq!(next(&mut seen).await, ROUND);
}

/// On a real systemd: what a service prints on standard error is seen within the second.
#[tokio::test]
#[ignore = "starts a transient unit: for a throw-away systemd only"]
async fn a_real_services_errors_are_seen() {
    let unit = format!("kw-errors-{}.service", std::process::id());
    for globs in [vec![], vec!["kw-errors-*".to_owned()]] {
        let mut watch = watch(&[&unit]);
        if !globs.is_empty() {
            watch = JournalWatch { globs, ..JournalWatch::default() };
        }
        let mut rig = rig(false);
        let mut source = JournalSource::new(Journal::new(), watch);
        let context = rig.context.clone();
        let stop = context.stop.clone();
        let script = async {
            assert_eq!(next(&mut rig).await, part(PartState::Works));
            assert_eq!(next(&mut rig).await, ROUND);
            let run = tokio::process::Command::new("systemd-run")
                .args(["--quiet", "--collect", "--wait", "--unit", &unit, "/bin/sh", "-c"])
                .arg("echo fine; echo 'Error: it broke, password=abc' >&2; exit 3")
                .status();
            assert_eq!(run.await.unwrap().code(), Some(3));
            let seen = errors(next(&mut rig).await);
            assert_eq!((&*seen.unit, seen.count), (&*unit, 1));
            assert_eq!(seen.lines, ["Error: it broke, password=***"]);
            stop.cancel();
        };
        let (result, ()) = tokio::join!(source.run(context), script);
        result.unwrap();
        assert!(rig.out.try_recv().is_err(), "systemd's own lines are no errors of the unit");
    }
}
