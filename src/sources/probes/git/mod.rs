//! A checkout that is to be at its branch of a remote. git is asked, read-only: the remote for one
//! branch (nothing is fetched), the checkout for what differs.
//!
//! Who can write to a repository could make git run any program by its configuration, filters or
//! hooks. So git never sees these: it is shown a view of the repository without them (`layout`),
//! and asks the remote by an address that keepwell hands it (`address`). What was found is judged
//! in `judge`.

use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use tokio::process::Command;

use crate::engine::observation::{Finding, ProbeOutcome};
use crate::engine::{Human, Reason};
use crate::sources::heartbeats::refusal::Looker;
use crate::sources::host::blocking::{Blocking, Lane, Reply};

use super::program::{Ended, Programs, Ran, command};
use super::{Kind, Looking, Probe, bad, unclear};

mod address;
mod config;
mod judge;
mod layout;
mod settings;
#[cfg(test)]
mod tests;

use address::{Address, complaint, tidy};
use config::Config;
use judge::{Count, Facts, Fault, Stand, judge};
use layout::{Format, Layout, View};
use settings::{KEYS, Settings, read};

pub(super) const KIND: Kind = Kind {
    name: "git",
    doc: "a checkout that is to be at its branch of a remote",
    keys: KEYS,
    interval: Duration::from_secs(300),
    read,
};

/// Files of one sort that are counted at most.
const MOST: u64 = 10_000;

/// How far a remote may be: what keepwell speaks to, and no program that a repository names.
const PROTOCOLS: &str = "git:http:https:ssh";

/// No questions, and nothing left behind.
const SSH: &str = "ssh -oBatchMode=yes -oControlMaster=no -oControlPath=none \
    -oPermitLocalCommand=no -oClearAllForwardings=yes";

/// What is read off the runtime: it may never come back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Question {
    Checkout(PathBuf),
    Remote(PathBuf),
}

/// How far a look has come.
#[derive(Debug, Default)]
enum Stage {
    /// Files are read, by keepwell or git.
    #[default]
    Files,
    /// The remote is asked.
    Remote(String),
}

struct Git {
    settings: Settings,
    files: Blocking<Question, Result<Layout, Finding>>,
    programs: Programs,
    stage: Stage,
    facts: Facts,
    /// Views made so far: each has a name of its own.
    made: u64,
}

impl Git {
    fn new(settings: Settings) -> Self {
        let looker = Looker::this_process(Path::new("/"));
        // The limit of a look is that of the source.
        let limit = Duration::from_secs(3600);
        let files = Blocking::new("kw-git", limit, move |question: &Question| match question {
            Question::Checkout(path) => layout::checkout(path, &looker),
            Question::Remote(path) => layout::remote(path, &looker),
        });
        Self {
            settings,
            files,
            programs: Programs::default(),
            stage: Stage::default(),
            facts: Facts::default(),
            made: 0,
        }
    }

    async fn layout(&mut self, question: Question) -> Result<Layout, Finding> {
        match self.files.ask(&[(question, Lane::Own)]).await.pop() {
            Some(Reply::Answer(layout)) => layout,
            Some(Reply::NotAsked(why)) => Err(bad(Reason::Hangs, why)),
            Some(Reply::Hangs) | None => Err(self.hangs()),
        }
    }

    fn hangs(&self) -> Finding {
        let shown = self.settings.path.display();
        bad(Reason::ProbeTimeout, format!("the file system of {shown} does not answer"))
    }

    fn view(&mut self, layout: &Layout, format: &Format) -> Result<View, Finding> {
        self.made += 1;
        let (own, made) = (process::id(), self.made);
        let salt = super::chance().to_bits();
        let name = format!("probe-{}-{own}-{made}-{salt:x}", self.settings.name);
        View::make(layout, format, &self.settings.places, &name).map_err(|error| {
            let text = format!("no folder for a view of the repository can be made: {error}");
            unclear(Reason::Broken, text)
        })
    }

    /// Looks; what is found goes into the facts as it is found.
    async fn found(&mut self) -> Result<(), Finding> {
        self.facts = Facts::default();
        self.stage = Stage::Files;
        if self.programs.hangs() {
            return Err(self.hangs());
        }
        let layout = self.layout(Question::Checkout(self.settings.path.clone())).await?;
        let config = self.config(&layout).await?;
        let view = self.view(&layout, &config.format)?;
        if let (Some(made), Some(fetched)) = (view.made, layout.fetched) {
            self.facts.fetched = made.duration_since(fetched).ok();
        }
        let Some(head) = self.one(&view, &["rev-parse", "-q", "--verify", "HEAD"]).await? else {
            let text = "the repository has no commit yet: nothing is checked out";
            return Err(bad(Reason::NotACheckout, text));
        };
        if !self.knows(&view, &head).await? {
            let text = "the commit that is checked out is missing: the repository is damaged";
            return Err(bad(Reason::Unreadable, text));
        }
        self.differing(&view).await?;
        let branch = self.one(&view, &["symbolic-ref", "-q", "HEAD"]).await?;
        let Some((remote, branch)) = self.target(&config, branch.as_deref()) else {
            self.facts.stand = Stand::Detached(head.chars().take(10).collect());
            return Ok(());
        };
        self.facts.branch = tidy(&format!("{remote}/{branch}"));
        let Some(url) = config.url(&remote) else {
            let text = format!("the repository has no remote {} with a URL", tidy(&remote));
            return Err(bad(Reason::NoRemote, text));
        };
        let address = Address::new(url);
        let theirs = self.theirs(&layout, &view, &remote, &branch, &address).await?;
        self.stage = Stage::Files;
        let Some(theirs) = theirs else { return Ok(()) };
        self.facts.stand = self.stand(&layout, &view, &head, &theirs, &remote, &branch).await?;
        Ok(())
    }

    /// What the repository's configuration says, as far as that is asked. What other files it
    /// includes is left out.
    async fn config(&mut self, layout: &Layout) -> Result<Config, Finding> {
        let mut git = self.git(layout::run_as(layout), "none");
        git.env("GIT_DIR", "/nonexistent").args(["config", "--file"]);
        git.arg(layout::config_file(layout)).args(["--no-includes", "--null", "--list"]);
        let (ended, out) = self.programs.answer(&mut git).await.map_err(|e| cannot_run(&e))?;
        match ended.status.success() {
            true => Ok(Config::parse(&String::from_utf8_lossy(&out))),
            false => Err(refused(&ended)),
        }
    }

    /// Remote and branch to be compared with; `None` when no branch is checked out and none is
    /// configured.
    fn target(&self, config: &Config, checked_out: Option<&str>) -> Option<(String, String)> {
        let local = checked_out.and_then(|full| full.strip_prefix("refs/heads/"));
        let upstream = local.and_then(|name| config.upstream(name));
        let Settings { remote, branch, .. } = &self.settings;
        let follows = upstream.filter(|(of, _)| remote.as_ref().is_none_or(|own| own == of));
        let branch = branch.as_deref().or(follows.map(|(_, merge)| merge)).or(local)?;
        let remote = remote.as_deref().or(upstream.map(|(of, _)| of)).unwrap_or("origin");
        Some((remote.to_owned(), branch.to_owned()))
    }

    /// Counts what differs from what is committed.
    async fn differing(&mut self, view: &View) -> Result<(), Finding> {
        let ignored = |fault| self.settings.ignore.contains(&fault);
        let (changed, untracked) = (!ignored(Fault::Dirty), !ignored(Fault::Untracked));
        if !changed && !untracked {
            return Ok(());
        }
        let mut git = self.local(view);
        git.args(["status", "--porcelain=v2", "--no-renames", "--ignore-submodules=all"]);
        git.arg(if untracked { "--untracked-files=normal" } else { "--untracked-files=no" });
        let mut lines = Lines::default();
        let ran = self.programs.run(&mut git, |bytes| lines.take(bytes));
        let more = match ran.await.map_err(|e| cannot_run(&e))? {
            Ran::Ended(ended) if !ended.status.success() => return Err(refused(&ended)),
            Ran::Ended(_) => false,
            Ran::Enough => true,
        };
        let count = |n| Count { n, more: more && n >= MOST };
        self.facts.changed = changed.then(|| count(lines.changed));
        self.facts.untracked = untracked.then(|| count(lines.untracked));
        Ok(())
    }

    /// The commit of the branch at the remote; `None` when what came of it is in the facts.
    async fn theirs(
        &mut self,
        layout: &Layout,
        view: &View,
        remote: &str,
        branch: &str,
        address: &Address,
    ) -> Result<Option<String>, Finding> {
        let place = format!("{} ({})", tidy(remote), address.shown());
        let full = format!("refs/heads/{branch}");
        self.stage = Stage::Remote(place.clone());
        let base = view.work_tree().unwrap_or(Path::new("/"));
        let found = match address.folder(base) {
            Some(folder) => self.beside(layout, folder, &full).await?,
            None => {
                let mut git = self.git(view.run_as, PROTOCOLS);
                git.env("GIT_DIR", view.dir()).env("GIT_OBJECT_DIRECTORY", view.objects());
                // What root says of proxies, certificates and logins holds.
                git.env_remove("GIT_CONFIG_NOSYSTEM").env_remove("GIT_CONFIG_GLOBAL");
                git.env("GIT_SSH_COMMAND", SSH);
                git.envs(self.settings.proxies.iter().map(|(name, value)| (name, value)));
                if let (Some(home), None) = (&self.settings.home, view.run_as) {
                    git.env("HOME", home);
                }
                git.args(["ls-remote", "--", address.expose(), &full]);
                let answer = self.programs.answer(&mut git).await;
                let (ended, out) = answer.map_err(|e| cannot_run(&e))?;
                match ended.status.success() {
                    true => Ok(listed(&String::from_utf8_lossy(&out), &full)),
                    false => Err(address.complaint(&ended.complaints)),
                }
            }
        };
        Ok(match found {
            Ok(Some(commit)) => Some(commit),
            Ok(None) => {
                self.facts.stand = Stand::NoBranch;
                None
            }
            Err(why) => {
                self.facts.stand = Stand::Unreachable { place, why };
                None
            }
        })
    }

    /// The commit of a branch in another repository of this host. No program of git's is run with
    /// the configuration of that one either.
    async fn beside(
        &mut self,
        own: &Layout,
        folder: PathBuf,
        full: &str,
    ) -> Result<Result<Option<String>, String>, Finding> {
        let layout = match self.layout(Question::Remote(folder)).await {
            Ok(layout) => layout.seen_by(own),
            Err(finding) => return Ok(Err(finding.summary)),
        };
        let format = match self.config(&layout).await {
            Ok(config) => config.format,
            Err(finding) => return Ok(Err(finding.summary)),
        };
        let view = self.view(&layout, &format)?;
        Ok(match self.one(&view, &["rev-parse", "-q", "--verify", full]).await {
            Ok(commit) => Ok(commit),
            Err(finding) => Err(finding.summary),
        })
    }

    async fn stand(
        &mut self,
        layout: &Layout,
        view: &View,
        head: &str,
        theirs: &str,
        remote: &str,
        branch: &str,
    ) -> Result<Stand, Finding> {
        if head == theirs {
            return Ok(Stand::Apart { ahead: 0, behind: 0 });
        }
        if self.knows(view, theirs).await? {
            let between = format!("{head}...{theirs}");
            let args = ["rev-list", "--left-right", "--count", &between, "--"];
            let counts = self.one(view, &args).await?.unwrap_or_default();
            let mut counts = counts.split_whitespace().map(|n| n.parse().unwrap_or(0));
            let (ahead, behind) = (counts.next().unwrap_or(0), counts.next().unwrap_or(0));
            let apart = ahead > 0 && behind > 0;
            if apart && layout.shallow && !self.test(view, &["merge-base", head, theirs]).await? {
                return Ok(Stand::Unrelated);
            }
            return Ok(Stand::Apart { ahead, behind });
        }
        // What the remote had when it was last fetched.
        let tracking = format!("refs/remotes/{remote}/{branch}");
        let args = ["rev-parse", "-q", "--verify", &tracking];
        let own = match self.one(view, &args).await? {
            Some(then) => !self.test(view, &["merge-base", "--is-ancestor", head, &then]).await?,
            None => false,
        };
        Ok(Stand::Unfetched { own })
    }

    /// Whether a commit is there.
    async fn knows(&mut self, view: &View, commit: &str) -> Result<bool, Finding> {
        self.test(view, &["cat-file", "-e", &format!("{commit}^{{commit}}")]).await
    }

    async fn test(&mut self, view: &View, args: &[&str]) -> Result<bool, Finding> {
        let answer = self.programs.answer(self.local(view).args(args)).await;
        Ok(answer.map_err(|error| cannot_run(&error))?.0.status.success())
    }

    /// The one line that git answers; `None` when it says no without a word.
    async fn one(&mut self, view: &View, args: &[&str]) -> Result<Option<String>, Finding> {
        let answer = self.programs.answer(self.local(view).args(args)).await;
        let (ended, out) = answer.map_err(|error| cannot_run(&error))?;
        let line = String::from_utf8_lossy(&out).trim().to_owned();
        match ended.status.code() {
            Some(0) if !line.is_empty() => Ok(Some(line)),
            Some(0 | 1) if ended.complaints.trim().is_empty() => Ok(None),
            _ => Err(refused(&ended)),
        }
    }

    /// git on the repository of a view. It needs no network for that.
    fn local(&self, view: &View) -> Command {
        let mut git = self.git(view.run_as, "none");
        git.env("GIT_DIR", view.dir()).env("GIT_OBJECT_DIRECTORY", view.objects());
        if let Some(tree) = view.work_tree() {
            git.env("GIT_WORK_TREE", tree);
        }
        git
    }

    /// git by itself, which neither asks nor writes nor starts anything.
    fn git(&self, run_as: Option<(u32, u32)>, protocols: &str) -> Command {
        let mut git = command("git", self.settings.search.as_deref());
        if let Some((uid, gid)) = run_as {
            git.uid(uid).gid(gid);
        }
        git.env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ALLOW_PROTOCOL", protocols)
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_NO_REPLACE_OBJECTS", "1");
        for setting in [
            "core.fsmonitor=false",
            "core.hooksPath=/dev/null",
            // A checkout may be large, and keepwell is not to be.
            "core.preloadIndex=false",
            "index.threads=1",
            "core.deltaBaseCacheLimit=4m",
        ] {
            git.args(["-c", setting]);
        }
        git
    }
}

impl Probe for Git {
    fn look(&mut self) -> Looking<'_> {
        Box::pin(async move {
            match self.found().await {
                Ok(()) => judge(&self.facts, &self.settings.ignore),
                Err(finding) => finding,
            }
        })
    }

    fn late(&mut self, limit: Duration) -> Finding {
        let limit = Human(limit);
        match std::mem::take(&mut self.stage) {
            Stage::Remote(place) => {
                let why = format!("no answer within {limit}");
                self.facts.stand = Stand::Unreachable { place, why };
                judge(&self.facts, &self.settings.ignore)
            }
            Stage::Files => {
                let shown = self.settings.path.display();
                let text = format!(
                    "{shown} was not looked through within {limit}: it is large, or its file \
                     system is slow"
                );
                bad(Reason::ProbeTimeout, text)
            }
        }
    }
}

/// git could not be started, or said too much.
fn cannot_run(error: &io::Error) -> Finding {
    match error.kind() {
        io::ErrorKind::NotFound => {
            unclear(Reason::ProgramMissing, "git was not found: install the package git")
        }
        _ => unclear(Reason::Broken, format!("git cannot be run: {error}")),
    }
}

/// git ended with an error that has nothing to do with a remote.
fn refused(ended: &Ended) -> Finding {
    let why = complaint(&ended.complaints);
    if ended.complaints.contains("ermission denied") {
        return unclear(Reason::NoPermission, why);
    }
    let text = match ended.status.code() {
        Some(_) => format!("git cannot read the repository: {why}"),
        None => format!("git did not end by itself ({})", ended.status),
    };
    super::finding(ProbeOutcome::Bad, Reason::Unreadable, text)
}

/// The commit of exactly this ref: the pattern of `ls-remote` fits the ends of others as well.
fn listed(out: &str, full: &str) -> Option<String> {
    out.lines().find_map(|line| {
        let (commit, name) = line.split_once('\t')?;
        let is_commit =
            matches!(commit.len(), 40 | 64) && commit.bytes().all(|b| b.is_ascii_hexdigit());
        (name == full && is_commit).then(|| commit.to_owned())
    })
}

/// Counts lines by their first character, and keeps none of them.
#[derive(Debug, Default)]
struct Lines {
    within: bool,
    changed: u64,
    untracked: u64,
}

impl Lines {
    /// Whether to read on.
    fn take(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            match byte {
                b'1' | b'2' | b'u' if !self.within => self.changed += 1,
                b'?' if !self.within => self.untracked += 1,
                _ => {}
            }
            self.within = *byte != b'\n';
        }
        self.changed < MOST && self.untracked < MOST
    }
}
