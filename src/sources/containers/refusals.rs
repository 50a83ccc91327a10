//! What is refused of what an engine can be watched without: each said once in the log, with what to
//! do, and when it is over.

use std::collections::BTreeSet;

use crate::docker::DockerError;
use crate::systemd::redact::redact;

/// What is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    /// A look at some of the containers.
    Looks,
    /// An answer to looks at some of the containers: the engine hangs or fails there.
    Answers,
    /// What containers use, where only the engine can say it.
    Usage,
    /// What an engine's host has, where only the engine can say it.
    Host,
}

/// What one engine refuses, as far as it has been said.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    said: BTreeSet<What>,
}

impl Refusals {
    /// It is refused. Whether that was news.
    pub(super) fn refused(&mut self, engine: &str, what: What, error: &DockerError) -> bool {
        let news = self.said.insert(what);
        if news {
            let why = redact(&error.to_string()).into_owned();
            match what {
                What::Looks | What::Answers => {
                    tracing::warn!(engine, why, "some containers cannot be looked at");
                }
                What::Usage => tracing::warn!(engine, why, "what containers use is not known"),
                What::Host => {
                    tracing::warn!(engine, why, "what the engine's host has is not known");
                }
            }
        }
        news
    }

    /// A container cannot be looked at, time and again.
    pub(super) fn unanswered(&mut self, engine: &str, container: &str, why: &str) {
        if self.said.insert(What::Answers) {
            let why = &*redact(why);
            let text = "a container cannot be looked at; what is known of it may be old";
            tracing::warn!(engine, container, why, "{text}");
        }
    }

    /// It was said that this is refused.
    pub(super) fn has(&self, what: What) -> bool {
        self.said.contains(&what)
    }

    /// It is allowed. Whether that was news.
    pub(super) fn allowed(&mut self, engine: &str, what: What) -> bool {
        let news = self.said.remove(&what);
        if news {
            match what {
                What::Looks | What::Answers => {
                    tracing::info!(engine, "all containers can be looked at again");
                }
                What::Usage => tracing::info!(engine, "what containers use is known again"),
                What::Host => tracing::info!(engine, "what the engine's host has is known again"),
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_said_once_until_it_is_over() {
        let error = DockerError::NotFound { at: "unix:///d.sock".into() };
        let mut all = Refusals::default();
        assert!(!all.allowed("docker", What::Usage), "nothing was said");
        assert!(all.refused("docker", What::Usage, &error));
        assert!(!all.refused("docker", What::Usage, &error));
        assert!(all.refused("docker", What::Looks, &error), "another");
        assert!(all.allowed("docker", What::Usage));
        assert!(all.refused("docker", What::Usage, &error));
    }
}
