//! Where the parts of a checkout lie, and a view of them that git is shown instead of the repository
//! itself: everything but its configuration and its hooks, which are the work of whoever can write
//! there and could make git run any program.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown, symlink,
};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::OFlags;

use crate::engine::Reason;
use crate::engine::observation::Finding;
use crate::sources::heartbeats::refusal::Looker;
use crate::sources::probes::{bad, unclear};

/// Files of a repository that are read here are one line long.
const LINE: u64 = 4096;
/// Of a split index, git itself keeps but a few.
const SHARED: usize = 16;

/// Where the parts of a repository lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// The files that are checked out; none in a bare repository.
    pub(super) work_tree: Option<PathBuf>,
    /// What belongs to this checkout alone: HEAD, index.
    git_dir: PathBuf,
    /// What it may share with others: objects, refs, configuration.
    common: PathBuf,
    /// The line in HEAD.
    head: String,
    /// Parts of a split index.
    shared: Vec<String>,
    /// Its history is cut off.
    pub(super) shallow: bool,
    /// When it last fetched.
    pub(super) fetched: Option<SystemTime>,
    /// Whose it is.
    owner: (u32, u32),
}

/// The repository of a checkout. Blocks for as long as its file system does.
///
/// # Errors
/// What is to be told instead.
pub(super) fn checkout(path: &Path, looker: &Looker) -> Result<Layout, Finding> {
    let shown = path.display();
    let none = |text: String| bad(Reason::NotACheckout, text);
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(none(format!("{shown} is no folder"))),
        Err(error) => return Err(refused(path, &error, looker)),
    }
    let git = path.join(".git");
    let git_dir = match fs::metadata(&git) {
        Ok(found) if found.is_dir() => git,
        // A linked working tree, or a submodule.
        Ok(_) => {
            let line = line(&git).map_err(|error| refused(&git, &error, looker))?;
            let Some(target) = line.strip_prefix("gitdir: ") else {
                return Err(none(format!("{shown}/.git names no repository")));
            };
            path.join(target)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let bare = path.join("HEAD").exists() && path.join("objects").exists();
            return Err(none(match bare {
                true => format!("{shown} is a bare repository: nothing is checked out in it"),
                false => format!("there is no .git in {shown}: is it the top of a checkout?"),
            }));
        }
        Err(error) => return Err(refused(&git, &error, looker)),
    };
    let mut layout = at(git_dir, looker)?;
    layout.work_tree = Some(path.to_owned());
    Ok(layout)
}

/// The repository that a path names as a remote: a checkout, or a bare one. Blocks likewise.
///
/// # Errors
/// What is to be told instead.
pub(super) fn remote(path: &Path, looker: &Looker) -> Result<Layout, Finding> {
    let mut dotted = path.as_os_str().to_owned();
    dotted.push(".git");
    let places = [path.join(".git"), path.to_owned(), dotted.into()];
    let found = places.into_iter().find(|place| place.join("HEAD").exists());
    at(found.unwrap_or_else(|| path.to_owned()), looker)
}

fn at(git_dir: PathBuf, looker: &Looker) -> Result<Layout, Finding> {
    let head = git_dir.join("HEAD");
    let refused = |path: &Path, error: &io::Error| refused(path, error, looker);
    let owner = fs::metadata(&git_dir).map_err(|error| refused(&git_dir, &error))?;
    let line_of_head = line(&head).map_err(|error| refused(&head, &error))?;
    if !is_head(&line_of_head) {
        let text = format!("{} is damaged: git could not read it either", head.display());
        return Err(bad(Reason::Unreadable, text));
    }
    let common = match line(&git_dir.join("commondir")) {
        Ok(line) => git_dir.join(line),
        Err(_) => git_dir.clone(),
    };
    let objects = common.join("objects");
    fs::read_dir(&objects).map_err(|error| refused(&objects, &error))?;
    let entries = fs::read_dir(&git_dir).map_err(|error| refused(&git_dir, &error))?;
    let shared = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with("sharedindex."))
        .take(SHARED)
        .collect();
    let size = |name: &str| fs::metadata(common.join(name)).map_or(0, |found| found.len());
    let fetched = fs::metadata(git_dir.join("FETCH_HEAD")).and_then(|found| found.modified()).ok();
    Ok(Layout {
        work_tree: None,
        shallow: size("shallow") > 0,
        owner: (owner.uid(), owner.gid()),
        head: line_of_head,
        git_dir,
        common,
        shared,
        fetched,
    })
}

/// A branch or a commit, and nothing that is another file's content.
fn is_head(line: &str) -> bool {
    let commit = matches!(line.len(), 40 | 64) && line.bytes().all(|b| b.is_ascii_hexdigit());
    commit || line.strip_prefix("ref: ").is_some_and(|name| name.starts_with("refs/"))
}

fn refused(path: &Path, error: &io::Error, looker: &Looker) -> Finding {
    let shown = path.display();
    match error.kind() {
        ErrorKind::PermissionDenied => unclear(Reason::NoPermission, looker.may_not_reach(path)),
        ErrorKind::NotFound => bad(Reason::NotACheckout, format!("{shown} does not exist")),
        _ => bad(Reason::Unreadable, format!("{shown} cannot be read: {error}")),
    }
}

/// The first line of a small file. What is no file is not read: a pipe would never end.
fn line(path: &Path) -> io::Result<String> {
    let nonblock = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut text = String::new();
    File::take(file, LINE).read_to_string(&mut text)?;
    Ok(text.lines().next().unwrap_or_default().trim_end().to_owned())
}

/// What of a repository's own configuration is handed on: words that change how files are compared,
/// and no more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Format {
    /// Section, key and value; the value is a plain word.
    pub(super) keys: Vec<(&'static str, &'static str, String)>,
}

impl Layout {
    /// The same, read as the owner of the repository that names it: who cannot read it learns
    /// nothing by way of keepwell.
    pub(super) fn seen_by(self, other: &Self) -> Self {
        Self { owner: other.owner, ..self }
    }
}

/// A repository as git is shown it: a folder of keepwell's own with links to the parts. Removed
/// when dropped.
#[derive(Debug)]
pub(super) struct View {
    dir: PathBuf,
    objects: PathBuf,
    work_tree: Option<PathBuf>,
    /// Whom git runs as, when keepwell is root: never as more than the owner of what it reads.
    pub(super) run_as: Option<(u32, u32)>,
    /// When it was made, by the clock of its file system.
    pub(super) made: Option<SystemTime>,
}

impl View {
    /// Makes it in the first of these folders that takes it. It touches nothing of the repository's.
    ///
    /// # Errors
    /// When none does.
    pub(super) fn make(
        layout: &Layout,
        format: &Format,
        places: &[PathBuf],
        name: &str,
    ) -> io::Result<Self> {
        let mut last = io::Error::other("no folder is known");
        let dir = places.iter().find_map(|place| {
            let dir = place.join(name);
            // One that is there already may be somebody else's.
            DirBuilder::new().mode(0o700).create(&dir).map(|()| dir).map_err(|e| last = e).ok()
        });
        let Some(dir) = dir else { return Err(last) };
        let Layout { git_dir, common, .. } = layout;
        let mut view = Self {
            objects: common.join("objects"),
            work_tree: layout.work_tree.clone(),
            run_as: run_as(layout),
            made: None,
            dir,
        };
        fs::write(view.dir.join("HEAD"), format!("{}\n", layout.head))?;
        for name in ["refs", "packed-refs", "reftable", "shallow", "info"] {
            symlink(common.join(name), view.dir.join(name))?;
        }
        for name in ["index"].into_iter().chain(layout.shared.iter().map(String::as_str)) {
            symlink(git_dir.join(name), view.dir.join(name))?;
        }
        let version = format.keys.iter().any(|(section, ..)| *section == "extensions");
        let mut config = File::create(view.dir.join("config"))?;
        let bare = view.work_tree.is_none();
        let version = u8::from(version);
        writeln!(config, "[core]\n\trepositoryformatversion = {version}\n\tbare = {bare}")?;
        for (section, key, value) in &format.keys {
            writeln!(config, "[{section}]\n\t{key} = {value}")?;
        }
        view.made = config.metadata()?.modified().ok();
        if let Some((uid, gid)) = view.run_as {
            for name in ["", "HEAD", "config"] {
                chown(view.dir.join(name), Some(uid), Some(gid))?;
            }
        }
        Ok(view)
    }

    /// The folder.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the objects are; not by a link, so that what they borrow from others is found.
    pub(super) fn objects(&self) -> &Path {
        &self.objects
    }

    /// The files that are checked out.
    pub(super) fn work_tree(&self) -> Option<&Path> {
        self.work_tree.as_deref()
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // What is left is a few links, in a folder that goes with the service.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The file that holds a repository's own configuration.
pub(super) fn config_file(layout: &Layout) -> PathBuf {
    layout.common.join("config")
}

/// Whom git runs as to read a repository, if not as keepwell.
pub(super) fn run_as(layout: &Layout) -> Option<(u32, u32)> {
    let euid = rustix::process::geteuid().as_raw();
    (euid == 0 && layout.owner.0 != 0).then_some(layout.owner)
}
