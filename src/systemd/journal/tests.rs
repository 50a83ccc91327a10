//! The client against a stand-in for `journalctl`, and against the host's real journal.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::engine::observation::{Invocation, LifeWhat};

fn program(dir: &Path, text: &str) -> Journal {
    let path = dir.join("journalctl");
    std::fs::write(&path, format!("echo \"$*\" >>{}/calls\n{text}\n", dir.display())).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    Journal::with_args("/bin/sh", [path])
}

fn calls(dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(dir.join("calls")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

const RUN: &str = "75161462e9314baa99383df789ad2621";

fn run() -> Invocation {
    RUN.parse().unwrap()
}

fn line(cursor: &str, at: u64, id: &str) -> String {
    format!(
        r#"{{"__CURSOR":"{cursor}","__REALTIME_TIMESTAMP":"{at}","MESSAGE_ID":"{id}","UNIT":"a.service","INVOCATION_ID":"{RUN}","MESSAGE":"text","SYSLOG_IDENTIFIER":"systemd"}}"#
    )
}

const FAILED: &str = "d9b373ed55a64feb8242e02dbe79a49c";

/// `tail`, `place` and `lives` answer the three questions of one [`Journal::lives`].
fn answers(tail: &str, place: &str, lives: &str) -> String {
    format!(
        "case \"$*\" in *MESSAGE_ID=*) cat <<'E'\n{lives}\nE\n;; *--cursor=*) cat <<'E'\n{place}\nE\n;; *) cat <<'E'\n{tail}\nE\n;; esac"
    )
}

#[tokio::test]
async fn the_gap_is_read_after_the_cursor_and_closed() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (line("c1", 10, FAILED), line("c2", 20, FAILED));
    let tail = line("c9", 90, "x");
    let journal = program(dir.path(), &answers(&tail, &old, &format!("{old}\n{new}")));
    let lives = journal.lives(&After::Cursor("c1".into())).await.unwrap();
    assert!(lives.exact);
    assert_eq!(lives.cursor.as_deref(), Some("c9"), "the end of the journal, not of what matched");
    assert_eq!(lives.entries.len(), 1, "the cursor's own entry was read before");
    let life = &lives.entries[0];
    assert_eq!((&*life.unit, life.invocation, life.at.0), ("a.service", run(), 20));
    assert_eq!(life.what, LifeWhat::Failed);
    let asked = &calls(dir.path())[2];
    for part in ["--cursor=c1", "--output=json", "--quiet", "_PID=1", "--no-pager", FAILED] {
        assert!(asked.contains(part), "{part} in {asked}");
    }
    assert!(!asked.contains("after-cursor"), "it loses an entry on systemd 252");
}

#[tokio::test]
async fn a_gap_without_entries_still_moves_the_cursor() {
    let dir = tempfile::tempdir().unwrap();
    let tail = line("c9", 90, "x");
    let text = format!("case \"$*\" in *MESSAGE_ID=*) exit 1;; *) cat <<'E'\n{tail}\nE\n;; esac");
    let lives = program(dir.path(), &text).lives(&After::Since(Wall(1_500_000))).await.unwrap();
    assert_eq!((lives.entries.len(), lives.cursor.as_deref(), lives.exact), (0, Some("c9"), true));
    assert!(calls(dir.path())[1].contains("--since=@1.500000"));
}

#[tokio::test]
async fn a_cursor_that_the_journal_no_longer_knows_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let tail = line("c9", 90, "x");
    // Vacuumed: another entry is the nearest.
    let journal = program(dir.path(), &answers(&tail, &tail, &line("c8", 80, FAILED)));
    let lives = journal.lives(&After::Cursor("c1".into())).await.unwrap();
    assert_eq!((lives.exact, lives.entries.len()), (false, 1));
    assert!(calls(dir.path())[2].contains("--cursor=c1"));

    // Ahead of all: nothing follows it, so this boot is read.
    let text = format!("case \"$*\" in *--cursor=*) ;; *) cat <<'E'\n{tail}\nE\n;; esac");
    let lives = program(dir.path(), &text).lives(&After::Cursor("c1".into())).await.unwrap();
    assert!(!lives.exact);
    assert!(calls(dir.path()).last().unwrap().contains("--boot"));

    // No cursor at all.
    let text = format!(
        "case \"$*\" in *--cursor=*) echo 'Failed to seek to cursor: Invalid argument' >&2; exit 1;; *) cat <<'E'\n{tail}\nE\n;; esac"
    );
    let lives = program(dir.path(), &text).lives(&After::Cursor("junk".into())).await.unwrap();
    assert_eq!((lives.exact, lives.cursor.as_deref()), (false, Some("c9")));
}

#[tokio::test]
async fn an_empty_journal_is_no_fault() {
    let dir = tempfile::tempdir().unwrap();
    let lives = program(dir.path(), "exit 0").lives(&After::Boot).await.unwrap();
    assert_eq!(lives, Lives { exact: true, ..Lives::default() });
    assert!(program(dir.path(), "exit 1").tail().await.unwrap().is_none());
}

#[tokio::test]
async fn an_excerpt_is_read_again_until_the_end_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let (own, end) = (line("c1", 1, "x"), line("c2", 2, FAILED));
    let text = format!(
        "cat <<'E'\n{own}\nE\nif [ $(wc -l <{0}/calls) -ge 2 ]; then cat <<'E'\n{end}\nE\nfi",
        dir.path().display()
    );
    let journal = program(dir.path(), &text);
    let lines = journal.excerpt("a.service", Some(run()), 20).await.unwrap();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].ends_with(" systemd: text"), "{lines:?}");
    let asked = calls(dir.path());
    assert_eq!(asked.len(), 2);
    assert!(asked[0].contains(&format!(
        "_SYSTEMD_INVOCATION_ID={RUN} + _PID=1 UNIT=a.service INVOCATION_ID={RUN}"
    )));

    let never = program(dir.path(), &format!("cat <<'E'\n{own}\nE"));
    assert_eq!(never.excerpt("a.service", Some(run()), 20).await.unwrap().len(), 1);
    assert_eq!(calls(dir.path()).len(), 2 + 3, "and then no more");

    let any = never.excerpt("a.service", None, 5).await.unwrap();
    assert_eq!(any.len(), 1);
    let asked = calls(dir.path()).pop().unwrap();
    assert!(asked.contains("--lines=5") && asked.contains("--boot"), "{asked}");
}

#[tokio::test]
async fn faults_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let fault = async |text: &str| {
        let journal = program(dir.path(), text).with_limit(Duration::from_secs(120));
        journal.tail().await.unwrap_err()
    };
    let hangs = program(dir.path(), "exec sleep 1000").with_limit(Duration::from_millis(50));
    assert!(matches!(hangs.tail().await, Err(JournalError::TimedOut { .. })));
    let error = fault("echo >&2; echo 'Bad \u{1b}[1mthing' >&2; echo more >&2; exit 3").await;
    assert_eq!(error.to_string(), "journalctl failed (exit status: 3): Bad thing");
    let error = fault("kill -9 $$").await;
    assert!(error.to_string().contains("signal: 9") && !error.is_absent(), "{error}");
    let error =
        fault("echo 'No journal files were opened due to insufficient permissions.' >&2; exit 1")
            .await;
    assert!(error.to_string().contains("group systemd-journal"), "{error}");
    assert!(fault("echo 'No journal files were found.' >&2; exit 1").await.is_absent());
    let none = Journal::with_args(dir.path().join("none"), [""; 0]);
    assert!(none.tail().await.unwrap_err().is_absent());
    let nowhere = Journal { places: vec![dir.path().join("nowhere")], ..none };
    assert!(matches!(nowhere.tail().await, Err(JournalError::NoJournal)));
}

#[tokio::test]
async fn garbage_and_floods_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let good = line("c2", 2, FAILED);
    // Not JSON, one line of 1 MB, an empty one, a good one, and one that is cut off.
    let text = format!(
        "echo garbage; head -c 1000000 /dev/zero | tr '\\0' x; echo; echo; cat <<'E'\n{good}\nE\nprintf '{{\"__CURSOR\":\"c3\"'"
    );
    let journal = program(dir.path(), &text);
    let mut seen = Vec::new();
    journal
        .read(&[], &Place::Boot, |entry| {
            seen.push(entry.cursor);
            ControlFlow::Continue(())
        })
        .await
        .unwrap();
    assert_eq!(seen, ["c2"]);
}

#[tokio::test]
async fn a_dropped_stream_ends_its_child() {
    let dir = tempfile::tempdir().unwrap();
    let pid = dir.path().join("pid");
    let text =
        format!("case \"$*\" in *--follow*) echo $$ >{}; exec sleep 1000;; esac", pid.display());
    let journal = program(dir.path(), &text);
    let mut follow = journal.follow(vec!["X=1".into()], None);
    assert!(matches!(follow.next().await, Followed::Works));
    let child: i32 = std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
    drop(follow);
    let gone = async {
        while std::fs::read_to_string(format!("/proc/{child}/stat"))
            .is_ok_and(|stat| !stat.contains(") Z "))
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), gone).await.expect("the child is gone");
    assert!(calls(dir.path()).iter().any(|call| call.contains("--follow --all --lines=0 X=1")));
}

/// The host's own journal, where there is one.
#[tokio::test]
async fn the_real_journal_is_read() {
    let journal = Journal::new();
    let tail = match journal.tail().await {
        Ok(Some(tail)) => tail,
        other => {
            println!("SKIPPED: no journal to read: {other:?}");
            return;
        }
    };
    let lives = journal.lives(&After::Boot).await.unwrap();
    assert!(lives.exact && lives.cursor.is_some());
    assert!(lives.entries.is_sorted_by_key(|life| life.at));
    let again = journal.lives(&After::Cursor(lives.cursor.clone().unwrap())).await.unwrap();
    assert!(again.exact, "the place is still known");
    let unknown = tail.0.replace("s=", "s=0").replace(";t=", ";t=f");
    assert!(!journal.lives(&After::Cursor(unknown)).await.unwrap().exact);
    println!("{} lives, last {:?}", lives.entries.len(), lives.entries.last());
    if let Some(life) = lives.entries.iter().rfind(|life| life.what == LifeWhat::Failed) {
        let lines = journal.excerpt(&life.unit, Some(life.invocation), 20).await.unwrap();
        assert!(lines.iter().any(|line| line.contains("Failed with result")), "{lines:?}");
        println!("{lines:#?}");
    }
    let mut follow = journal.follow(vec!["_PID=1".into()], None);
    assert!(matches!(follow.next().await, Followed::Works));
}

/// On a real systemd: the end of a run that has just printed a lot is waited for.
#[tokio::test]
#[ignore = "starts transient units: for a throw-away systemd only"]
async fn a_real_excerpt_is_complete_right_after_the_end() {
    let journal = Journal::new();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run");
    let script = format!(
        "echo $INVOCATION_ID >{}; for i in $(seq 500); do echo line $i >&2; done; echo last words; exit 3",
        file.display()
    );
    let (mut complete, rounds) = (0, 30);
    for n in 0..rounds {
        let unit = format!("kw-chatty-{}-{n}.service", std::process::id());
        let run = tokio::process::Command::new("systemd-run")
            .args(["--quiet", "--collect", "--wait", "--unit", &unit, "/bin/sh", "-c", &script])
            .status();
        assert_eq!(run.await.unwrap().code(), Some(3));
        let run: Invocation = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        let lines = journal.excerpt(&unit, Some(run), 20).await.unwrap();
        let has = |text: &str| lines.iter().any(|line| line.contains(text));
        complete += usize::from(has("last words") && has("Failed with result"));
    }
    println!("{complete} of {rounds} complete");
    assert!(complete + 1 >= rounds, "{complete} of {rounds}");
}
