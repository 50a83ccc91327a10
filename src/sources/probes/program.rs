//! A program that a probe runs: with an environment of its own, its output bounded, and ended
//! together with all that it has started when nobody waits for it any more.

use std::ffi::OsStr;
use std::io;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

/// What is kept of a program's complaints, in bytes.
const COMPLAINTS: usize = 4096;
/// What is kept of a program's short answer, in bytes.
const ANSWER: usize = 1024 * 1024;
/// Where programs are looked for unless keepwell itself was told.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How a program ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    /// What it wrote on standard error, its beginning.
    pub(super) complaints: String,
}

/// What came of a program.
#[derive(Debug)]
pub(super) enum Ran {
    /// It ended by itself.
    Ended(Ended),
    /// Enough was read of it, and it was ended.
    Enough,
}

/// Remembers the program that was ended last: what hangs in the kernel outlasts its end.
#[derive(Debug, Default)]
pub(super) struct Programs {
    last: Option<Pid>,
}

/// Kills a program and what it has started.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // It has ended meanwhile, or is ended now; there is nothing else to be done about it.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// A command whose environment has nothing of keepwell's in it, run from the root folder.
pub(super) fn command(program: impl AsRef<OsStr>, path: Option<&str>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", path.unwrap_or(PATH)).env("LC_ALL", "C");
    command.current_dir("/");
    command
}

impl Programs {
    /// Whether a program that was ended is still there: its file system hangs.
    pub(super) fn hangs(&self) -> bool {
        self.last.is_some_and(|pid| test_kill_process_group(pid).is_ok())
    }

    /// Runs a program, and hands what it prints to `each`, which says whether to read on.
    ///
    /// # Errors
    /// When it cannot be started, or not be read.
    pub(super) async fn run(
        &mut self,
        command: &mut Command,
        mut each: impl FnMut(&[u8]) -> bool,
    ) -> io::Result<Ran> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        self.last = pid;
        let mut group = Group(pid);
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let reading = async {
            let Some(mut out) = out else { return Ok(true) };
            let mut buffer = [0; 4096];
            loop {
                match out.read(&mut buffer).await? {
                    0 => return Ok::<bool, io::Error>(true),
                    n if !each(&buffer[..n]) => return Ok(false),
                    _ => {}
                }
            }
        };
        let complaining = complaints(err);
        tokio::pin!(reading, complaining);
        let mut said = None;
        let whole = loop {
            tokio::select! {
                text = &mut complaining, if said.is_none() => said = Some(text),
                whole = &mut reading => break whole?,
            }
        };
        if !whole {
            return Ok(Ran::Enough);
        }
        let complaints = match said {
            Some(text) => text,
            None => complaining.await,
        };
        let status = child.wait().await?;
        // Its number may be another's from now on.
        (group.0, self.last) = (None, None);
        Ok(Ran::Ended(Ended { status, complaints }))
    }

    /// Runs a program to its end, and gives what it printed.
    ///
    /// # Errors
    /// When it cannot be started or not be read, or prints far too much.
    pub(super) async fn answer(&mut self, command: &mut Command) -> io::Result<(Ended, Vec<u8>)> {
        let mut all = Vec::new();
        let ran = self.run(command, |bytes| {
            all.extend_from_slice(bytes);
            all.len() <= ANSWER
        });
        match ran.await? {
            Ran::Ended(ended) => Ok((ended, all)),
            Ran::Enough => Err(io::Error::other("it prints far too much")),
        }
    }
}

/// What a program says on standard error: its beginning is kept, the rest is read and dropped.
async fn complaints(from: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut from) = from else { return String::new() };
    let (mut all, mut buffer) = (Vec::new(), [0; 1024]);
    // What cannot be read is as good as nothing said.
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        let room = COMPLAINTS.saturating_sub(all.len()).min(n);
        all.extend_from_slice(&buffer[..room]);
    }
    String::from_utf8_lossy(&all).into_owned()
}
