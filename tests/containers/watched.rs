//! The source of containers, run on a thread of its own, and what it has sent.

#![allow(dead_code, reason = "no test uses it all")]

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use keepwell::config::Containers;
use keepwell::docker::Engines;
use keepwell::engine::Observation;
use keepwell::engine::observation::{
    ContainerEvent, ContainerSeen, ContainerWhat, ContainersSeen, PartState, UsageSeen,
};
use keepwell::sources::containers::{ContainersSource, ContainersWatch, Places, Settings};
use keepwell::sources::{Source, SourceContext};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::clock::wait_for;

pub(crate) const SOON: Duration = Duration::from_secs(120);

/// A source under way.
pub(crate) struct Watched {
    pub(crate) engines: Engines,
    pub(crate) resync: Arc<Notify>,
    seen: Arc<Mutex<Vec<Observation>>>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// Settings for tests: nothing is waited for long, but for the first look, which a busy machine
/// makes slow.
pub(crate) fn settings() -> Settings {
    Settings {
        round: Duration::from_secs(3600),
        interval: Duration::from_millis(300),
        patience: Duration::from_millis(700),
        ..Settings::default()
    }
}

impl Watched {
    /// Watches the engine at this address.
    pub(crate) fn at(address: &str) -> Self {
        Self::with(address, settings(), Engines::default(), false)
    }

    pub(crate) fn with(address: &str, settings: Settings, engines: Engines, once: bool) -> Self {
        let nowhere = "/nowhere".into();
        let docker_host = Some(address.to_owned());
        let places = Places { root: nowhere, runtime: None, docker_host };
        Self::in_places(places, settings, engines, once)
    }

    pub(crate) fn in_places(
        places: Places,
        settings: Settings,
        engines: Engines,
        once: bool,
    ) -> Self {
        let watch =
            ContainersWatch { config: Containers::default(), places, wanted: false, settings };
        let mut source = ContainersSource::new(watch, engines.clone());
        let (out, mut sent) = mpsc::channel(64);
        let (stop, resync) = (CancellationToken::new(), Arc::new(Notify::new()));
        let context = SourceContext { out, stop: stop.clone(), resync: resync.clone(), once };
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = seen.clone();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let keep = async {
                    while let Some(one) = sent.recv().await {
                        kept.lock().unwrap().push(one);
                    }
                };
                let (ended, ()) = tokio::join!(source.run(context), keep);
                ended.unwrap();
            });
        });
        Self { engines, resync, seen, stop, thread: Some(thread) }
    }

    pub(crate) fn all(&self) -> Vec<Observation> {
        self.seen.lock().unwrap().clone()
    }

    /// How much has been sent by now.
    pub(crate) fn mark(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// Waits until what was sent says so.
    #[track_caller]
    pub(crate) fn wait<T>(
        &self,
        what: &str,
        mut ask: impl FnMut(&[Observation]) -> Option<T>,
    ) -> T {
        self.wait_from(0, what, |all| ask(all))
    }

    /// The same, of what was sent after a mark.
    #[track_caller]
    pub(crate) fn wait_from<T>(
        &self,
        mark: usize,
        what: &str,
        mut ask: impl FnMut(&[Observation]) -> Option<T>,
    ) -> T {
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for(SOON, what, || ask(&self.seen.lock().unwrap()[mark..]))
        }));
        told.unwrap_or_else(|_| panic!("not seen: {what}\n{}", self.shown()))
    }

    /// Waits for the first round.
    #[track_caller]
    pub(crate) fn round(&self) {
        self.wait("the first round", |all| {
            all.iter().any(|one| matches!(one, Observation::Round(_))).then_some(())
        });
    }

    /// Waits until a container is so.
    #[track_caller]
    pub(crate) fn container(
        &self,
        name: &str,
        what: &str,
        so: impl Fn(&ContainerSeen) -> bool,
    ) -> ContainerSeen {
        self.wait(&format!("{name} {what}"), |all| {
            containers(all, name).last().filter(|c| so(c)).cloned().cloned()
        })
    }

    /// Waits until so many events of a container have come; they are what `story` shows.
    #[track_caller]
    pub(crate) fn events(&self, name: &str, last: &str) -> Vec<String> {
        self.wait(&format!("{name}: {last}"), |all| {
            let told = story(all, name);
            told.iter().any(|one| one == last).then_some(told)
        })
    }

    /// Waits until the engine is as said; gives the words.
    #[track_caller]
    pub(crate) fn part(&self, mark: usize, wanted: &str) -> String {
        self.wait_from(mark, wanted, |all| {
            all.iter().find_map(|one| match one {
                Observation::Part(seen) => match (&seen.state, wanted) {
                    (PartState::Works, "works") => Some(String::new()),
                    (PartState::Broken(why), "broken") | (PartState::Absent(why), "absent") => {
                        Some(why.clone())
                    }
                    _ => None,
                },
                _ => None,
            })
        })
    }

    /// Everything in short, for when a test fails.
    pub(crate) fn shown(&self) -> String {
        let mut text = String::new();
        for one in self.seen.lock().unwrap().iter() {
            let _ = match one {
                Observation::ContainerUsage(_) => continue,
                Observation::Container(c) => writeln!(text, "{} is {}", c.name, c.status),
                other => writeln!(text, "{other:?}"),
            };
        }
        text
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the source has crashed");
        }
    }
}

/// What was sent of a container's state.
pub(crate) fn containers<'a>(all: &'a [Observation], name: &str) -> Vec<&'a ContainerSeen> {
    let of = all.iter().filter_map(|one| match one {
        Observation::Container(seen) if *seen.name == *name => Some(&**seen),
        _ => None,
    });
    of.collect()
}

pub(crate) fn events<'a>(all: &'a [Observation], name: &str) -> Vec<&'a ContainerEvent> {
    let of = all.iter().filter_map(|one| match one {
        Observation::ContainerEvent(event) if *event.name == *name => Some(event),
        _ => None,
    });
    of.collect()
}

pub(crate) fn lists(all: &[Observation]) -> Vec<&ContainersSeen> {
    let of = all.iter().filter_map(|one| match one {
        Observation::Containers(seen) => Some(seen),
        _ => None,
    });
    of.collect()
}

/// The last of each container's samplings.
pub(crate) fn usage(all: &[Observation], id: &str) -> Option<UsageSeen> {
    let of = all.iter().rev().filter_map(|one| match one {
        Observation::ContainerUsage(seen) => seen.iter().find(|one| *one.id == *id),
        _ => None,
    });
    let mut of = of;
    of.next().cloned()
}

/// The events of a container in short.
pub(crate) fn story(all: &[Observation], name: &str) -> Vec<String> {
    let short = |event: &ContainerEvent| match event.what {
        ContainerWhat::Killed { signal } => format!("killed {signal}"),
        ContainerWhat::Died { exit_code } => format!("died {exit_code}"),
        ContainerWhat::Health(health) => health.as_str().to_owned(),
        ContainerWhat::OutOfMemory => "oom".to_owned(),
        other => format!("{other:?}").to_lowercase(),
    };
    events(all, name).into_iter().map(short).collect()
}
