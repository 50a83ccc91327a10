//! From a configuration to what runs: the rules, the sources, the channels. `config check`, `run`,
//! `check` and a reload all come through here, so that what one accepts the others do.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{self, Config, Diagnostics, Loaded, Options};
use crate::engine::observation::SourceKind;
use crate::engine::rules::UnitPattern;
use crate::notify::{self, Channel};
use crate::sources::Source;
use crate::sources::heartbeats::{FilePattern, HeartbeatSource, HeartbeatWatch};
use crate::sources::host::{DiskFilter, HostSource, HostWatch};
use crate::sources::journal::{JournalSource, JournalWatch};
use crate::sources::units::{LifeReader, UnitsSource, UnitsWatch};
use crate::systemd::bus::BusAddress;
use crate::systemd::journal::{After, Journal};

/// Which systemd.
#[derive(Debug, Clone, Default)]
pub enum Scope {
    /// The host's.
    #[default]
    System,
    /// The user's own (`systemd --user`), on its session bus.
    User,
}

impl Scope {
    /// Where its bus is.
    ///
    /// # Errors
    /// When this process has no session bus; the text says what to do.
    pub fn bus(&self) -> Result<BusAddress, String> {
        match self {
            Self::System => Ok(BusAddress::System),
            Self::User => {
                let address = std::env::var("DBUS_SESSION_BUS_ADDRESS").ok().or_else(|| {
                    let dir = std::env::var_os("XDG_RUNTIME_DIR")?;
                    Some(format!("unix:path={}", PathBuf::from(dir).join("bus").display()))
                });
                address.map(BusAddress::Address).ok_or_else(|| {
                    "--user: there is no session bus; log in with systemd-logind, or set \
                     XDG_RUNTIME_DIR"
                        .to_owned()
                })
            }
        }
    }

    /// Its journal.
    pub fn journal(&self) -> Journal {
        match self {
            Self::System => Journal::new(),
            Self::User => Journal::user(),
        }
    }
}

/// What a configuration asks for, all of it understood.
pub struct Plan {
    /// The configuration.
    pub config: Config,
    /// Its channels.
    pub channels: Vec<Arc<dyn Channel>>,
    heartbeats: Vec<(usize, FilePattern)>,
    disks: DiskFilter,
}

/// Lets every kind read its own section; what is wrong goes into the sink.
pub fn check_kinds(loaded: &mut Loaded) {
    let _ = kinds(loaded);
}

type Kinds = (Vec<Arc<dyn Channel>>, Vec<(usize, FilePattern)>, DiskFilter);

fn kinds(loaded: &mut Loaded) -> Kinds {
    let Loaded { config, sink, .. } = loaded;
    let channels = notify::channels(&config.channels, &config.outbound, sink);
    let mut heartbeats = Vec::new();
    for (i, rule) in config.rules.heartbeats.iter().enumerate() {
        match FilePattern::try_new(&rule.path) {
            Ok(pattern) => heartbeats.push((i, pattern)),
            Err(error) => {
                if let Some(at) = config.heartbeat_places.get(i) {
                    sink.error(*at, error.to_string());
                }
            }
        }
    }
    let mounts: Vec<String> =
        config.host.ignore_mounts.iter().map(|p| p.as_str().to_owned()).collect();
    // The patterns were read as globs already.
    let disks = DiskFilter::try_new(&mounts, &config.host.ignore_types).unwrap_or_default();
    (channels, heartbeats, disks)
}

/// Reads the configuration and plans.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(options: &Options) -> Result<Plan, Diagnostics> {
    let mut loaded = config::load(options);
    let (channels, heartbeats, disks) = kinds(&mut loaded);
    Ok(Plan { config: loaded.finish()?, channels, heartbeats, disks })
}

impl Plan {
    /// The sources that this configuration needs.
    pub(super) fn expected(&self) -> BTreeSet<SourceKind> {
        [SourceKind::Units, SourceKind::Host, SourceKind::Heartbeats].into_iter().collect()
    }

    /// Makes the sources. `also`: units of which something is remembered. The cursors say up to
    /// where the journal has been read.
    pub(super) fn sources(
        &self,
        scope: &Scope,
        bus: &BusAddress,
        also: Vec<Arc<str>>,
        lives: Option<String>,
        errors: Option<String>,
    ) -> Vec<Box<dyn Source>> {
        let rules = &self.config.rules;
        let interval = self.config.agent.interval;
        let named: Vec<&UnitPattern> = rules.units.iter().map(|r| &r.pattern).collect();
        let exact = |p: &&UnitPattern| p.exact().map(Arc::<str>::from);
        let is_glob = |p: &&UnitPattern| p.exact().is_none();
        let watch = UnitsWatch {
            exact: named.iter().filter_map(exact).collect(),
            globs: named.iter().copied().filter(is_glob).cloned().collect(),
            all_failed: rules.all_units,
            ignore: rules.ignore.clone(),
            also,
        };
        let units = UnitsSource::new(bus.clone(), watch, Some(life_reader(scope.journal(), lives)));
        let host = HostSource::new(HostWatch {
            interval,
            disks: self.disks.clone(),
            ..HostWatch::default()
        });
        let mut watch = HeartbeatWatch::new(self.heartbeats.clone());
        watch.interval = interval;
        let heartbeats = HeartbeatSource::new(watch);
        let mut sources: Vec<Box<dyn Source>> =
            vec![Box::new(units), Box::new(host), Box::new(heartbeats)];
        let with_errors: Vec<&UnitPattern> =
            rules.units.iter().filter(|r| r.errors).map(|r| &r.pattern).collect();
        if !with_errors.is_empty() {
            let watch = JournalWatch {
                exact: with_errors.iter().filter_map(exact).collect(),
                globs: with_errors
                    .iter()
                    .filter(|p| is_glob(p))
                    .map(|p| p.as_str().to_owned())
                    .collect(),
                cursor: errors,
                ignore: Vec::new(),
            };
            sources.push(Box::new(JournalSource::new(scope.journal(), watch)));
        }
        sources
    }
}

/// Reads what happened to units since the last time. On a first start nothing before it counts.
fn life_reader(journal: Journal, cursor: Option<String>) -> LifeReader {
    let cursor = std::rc::Rc::new(std::cell::RefCell::new(cursor));
    Box::new(move || {
        let (journal, cursor) = (journal.clone(), cursor.clone());
        Box::pin(async move {
            let known = cursor.borrow().clone();
            let (entries, found) = match known {
                Some(known) => {
                    let lives =
                        journal.lives(&After::Cursor(known)).await.map_err(|e| e.to_string())?;
                    (lives.entries, lives.cursor)
                }
                None => {
                    let tail = journal.tail().await.map_err(|e| e.to_string())?;
                    (Vec::new(), tail.map(|(cursor, _)| cursor))
                }
            };
            if found.is_some() {
                cursor.borrow_mut().clone_from(&found);
            }
            Ok((entries, found))
        })
    })
}
