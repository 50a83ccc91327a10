//! A reader who does what a page says, in a container: runs the blocks that are marked, in their
//! order, and waits for the messages that the page promises.

use std::path::Path;
use std::time::Duration;

use super::blocks::{self, Block, Mark};
use super::support::package::{Kind, Packages};
use super::support::{Container, Receiver, wait_until};

/// The one thing that a reader puts in place of an example.
pub(crate) const EXAMPLE: &str = "https://hooks.slack.com/services/T00/B00/XXXX";

/// Where the reader works.
const HOME: &str = "/root/reader";

/// How long a reader has patience; the machine may be busy.
const LIMIT: Duration = Duration::from_secs(180);

/// What `sudo` is for somebody who is root already; minimal systems have none.
const SUDO: &str = "#!/bin/bash
[ \"$1\" = -u ] && { user=$2; shift 2; exec setpriv --reuid=\"$user\" --init-groups \"$@\"; }
exec \"$@\"
";

/// Somebody at a fresh host with nothing but the package.
pub(crate) struct Reader<'c> {
    container: &'c Container,
    receiver: Receiver<'c>,
    /// All that was printed, with the commands: for the message of a failure.
    seen: String,
}

impl<'c> Reader<'c> {
    /// `None`: there is no package to be had here, and `SKIPPED` has been said.
    #[track_caller]
    pub(crate) fn new(container: &'c Container, package: &str) -> Option<Self> {
        let packages = Packages::get(container)?;
        container.write("/usr/local/bin/sudo", SUDO);
        container.sh("chmod 755 /usr/local/bin/sudo");
        // Whoever is asked says yes.
        container.write("/etc/apt/apt.conf.d/90reader", "APT::Get::Assume-Yes \"true\";\n");
        let from = container.package(packages, Kind::Deb, &packages.version);
        container.sh(&format!("mkdir -p {HOME}/{package} && cp {from} {HOME}/{package}"));
        Some(Self { container, receiver: container.receiver(), seen: String::new() })
    }

    /// Follows a page from its beginning to its end; how many blocks were run.
    #[track_caller]
    pub(crate) fn follows(&mut self, page: &str) -> usize {
        let mut run = 0;
        for block in blocks::blocks(Path::new(page)).iter().filter(|b| b.is_shell()) {
            run += usize::from(block.is_run());
            match &block.mark {
                Some(Mark::Run(code)) => self.runs(block, *code),
                Some(Mark::RunAndWait(text)) => {
                    let before = self.receiver.accepted().len();
                    self.runs(block, 0);
                    self.waits_for(block, text, before);
                }
                Some(Mark::RunUntil(text)) => {
                    wait_until(LIMIT, &format!("{}: it shows \"{text}\"", block.at), || {
                        self.types(block).1.contains(text)
                    });
                }
                Some(Mark::Not(_)) | None => {}
            }
        }
        run
    }

    #[track_caller]
    fn runs(&mut self, block: &Block, code: i32) {
        let (ended, _) = self.types(block);
        assert_eq!(ended, code, "{}: its exit code\n{}", block.at, self.seen);
    }

    /// The exit code, and what it prints.
    fn types(&mut self, block: &Block) -> (i32, String) {
        let script = block.commands().replace(EXAMPLE, &Receiver::url());
        let script = format!("set -euo pipefail; cd {HOME}\n{script}");
        let out = self.container.exec(&["bash", "-c", &script]);
        self.seen.push_str(&format!("== {}\n{}{}{}", block.at, block.text, out.stdout, out.stderr));
        (out.code, out.stdout)
    }

    #[track_caller]
    fn waits_for(&self, block: &Block, text: &str, before: usize) {
        let what = format!("{}: a message with \"{text}\"\n{}", block.at, self.seen);
        wait_until(LIMIT, &what, || {
            self.receiver.accepted().iter().skip(before).any(|body| body.to_string().contains(text))
        });
    }

    /// What was printed so far.
    pub(crate) fn seen(&self) -> &str {
        &self.seen
    }

    /// All that was received, as one text.
    pub(crate) fn received(&self) -> String {
        self.receiver.accepted().iter().map(|body| format!("{body}\n")).collect()
    }
}
