//! From a configuration to what runs: the rules, the sources, the channels. `config check`, `run`,
//! `check` and a reload all come through here, so that what one accepts the others do.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{self, Config, Diagnostics, Loaded, Options};
use crate::docker::Engines;
use crate::engine::observation::SourceKind;
use crate::engine::rules::UnitPattern;
use crate::notify::hooks::{self, Hook};
use crate::notify::{self, Channel};
use crate::outbound::Clients;
use crate::sources::Source;
use crate::sources::containers::{self, ContainersSource, ContainersWatch, Places};
use crate::sources::heartbeats::{FilePattern, HeartbeatSource, HeartbeatWatch};
use crate::sources::host::{DiskFilter, HostSource, HostWatch};
use crate::sources::journal::{JournalSource, JournalWatch};
use crate::sources::probes::{self, ProbePlan, ProbeSource};
use crate::sources::units::{LifeReader, UnitsSource, UnitsWatch};
use crate::systemd::bus::BusAddress;
use crate::systemd::journal::{After, Journal};
use crate::telemetry::{self, Exporter};

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
    /// Its hooks.
    pub hooks: Vec<Arc<dyn Hook>>,
    /// Its exporters of measurements.
    pub exporters: Vec<Arc<Exporter>>,
    heartbeats: Vec<(usize, FilePattern)>,
    probes: Vec<ProbePlan>,
    disks: DiskFilter,
    /// Where container engines are looked for.
    pub places: Places,
}

/// Lets every kind read its own section; what is wrong goes into the sink.
pub fn check_kinds(loaded: &mut Loaded) {
    let _ = kinds(loaded);
}

/// What the kinds made of their sections.
struct Kinds {
    channels: Vec<Arc<dyn Channel>>,
    hooks: Vec<Arc<dyn Hook>>,
    exporters: Vec<Arc<Exporter>>,
    heartbeats: Vec<(usize, FilePattern)>,
    probes: Vec<ProbePlan>,
    disks: DiskFilter,
}

fn kinds(loaded: &mut Loaded) -> Kinds {
    let Loaded { config, sink, .. } = loaded;
    let mut clients = Clients::new(config.outbound.clone());
    let receivers = telemetry::receivers(config, &mut clients, sink);
    let channels = notify::channels(&config.channels, &receivers, &mut clients, sink);
    let hooks = hooks::hooks(&mut config.hooks, &mut clients, sink);
    if sink.has_left_out() {
        // Nobody is to wait for what a variable asks for in vain.
        let rules = &mut config.rules;
        rules.channels.retain(|rule| channels.iter().any(|c| *c.name() == rule.name));
        rules.exporters.retain(|name| receivers.exporters.iter().any(|e| e.name() == name));
        config.channels.retain(|section| channels.iter().any(|c| *c.name() == section.name));
        config.hooks.retain(|section| hooks.iter().any(|h| *h.name() == section.name));
        let azure = &mut config.telemetry.azure;
        azure.metrics &= rules.exporters.iter().any(|name| **name == *"azure");
        azure.alerts &= config.channels.iter().any(|channel| channel.kind == "azure");
    }
    // With what each kind tells where nothing was said.
    config.rules.hooks = config.hooks.iter().map(|section| section.rule.clone()).collect();
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
    let probes = probes::probes(&config.probes, sink);
    let mounts: Vec<String> =
        config.host.ignore_mounts.iter().map(|p| p.as_str().to_owned()).collect();
    // The patterns were read as globs already.
    let disks = DiskFilter::try_new(&mounts, &config.host.ignore_types).unwrap_or_default();
    Kinds { channels, hooks, exporters: receivers.exporters, heartbeats, probes, disks }
}

/// Reads the configuration and plans.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(options: &Options) -> Result<Plan, Diagnostics> {
    let mut loaded = config::load(options);
    let Kinds { channels, hooks, exporters, heartbeats, probes, disks } = kinds(&mut loaded);
    let places = Places::new(&options.environment);
    let config = loaded.finish()?;
    Ok(Plan { config, channels, hooks, exporters, heartbeats, probes, disks, places })
}

/// Whom a configuration can tell at all, also one that cannot be used.
pub(super) struct Reach {
    /// Where something is wrong, the default stands.
    pub(super) config: Config,
    pub(super) channels: Vec<Arc<dyn Channel>>,
    /// keepwell could run with it.
    pub(super) usable: bool,
}

/// Reads what can be read.
pub(super) fn reach(options: &Options) -> Reach {
    let mut loaded = config::load(options);
    let Kinds { channels, .. } = kinds(&mut loaded);
    let config = loaded.config.clone();
    Reach { config, channels, usable: loaded.finish().is_ok() }
}

impl Plan {
    /// The sources that this configuration needs before it is ready. Probes are none of them: a
    /// remote that does not answer is not to hold up the start.
    pub(super) fn expected(&self) -> BTreeSet<SourceKind> {
        let mut expected =
            BTreeSet::from([SourceKind::Units, SourceKind::Host, SourceKind::Heartbeats]);
        // Their source says after 5 s at the latest that its first look is over.
        if !containers::engines(&self.config.containers, &self.places).is_empty() {
            expected.insert(SourceKind::Containers);
        }
        expected
    }

    /// Makes the sources. `also`: units of which something is remembered. The cursors say up to
    /// where the journal has been read. Container engines that are found go into `engines`.
    pub(super) fn sources(
        &self,
        scope: &Scope,
        bus: &BusAddress,
        engines: &Engines,
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
            host: self.config.host.root.clone(),
            disks: self.disks.clone(),
            ..HostWatch::default()
        });
        let mut watch = HeartbeatWatch::new(self.heartbeats.clone());
        watch.interval = interval;
        let heartbeats = HeartbeatSource::new(watch);
        let mut sources: Vec<Box<dyn Source>> =
            vec![Box::new(units), Box::new(host), Box::new(heartbeats)];
        if !self.config.containers.off {
            let wanted = rules.containers.names_any() || !rules.hooks.is_empty();
            let settings = containers::Settings { interval, ..Default::default() };
            let config = self.config.containers.clone();
            let places = self.places.clone();
            let watch = ContainersWatch { config, places, wanted, settings };
            sources.push(Box::new(ContainersSource::new(watch, engines.clone())));
        }
        if !self.probes.is_empty() {
            sources.push(Box::new(ProbeSource::new(&self.probes)));
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Input;

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");

    /// What is made of a configuration: its channels, those that the engine knows of, exporters and
    /// warnings.
    fn made(text: &str, variables: &[(&str, &str)]) -> (Vec<String>, Vec<String>, usize, String) {
        let environment = variables.iter().copied().collect();
        let options = Options::new(None, environment, true, "host".into());
        let mut loaded = config::load_from(vec![Input::memory("a", text)], &options);
        let kinds = kinds(&mut loaded);
        let config = loaded.finish().unwrap_or_else(|found| panic!("{found}"));
        let rules = &config.rules;
        assert_eq!(rules.exporters.len(), kinds.exporters.len());
        (
            kinds.channels.iter().map(|c| c.name().to_string()).collect(),
            rules.channels.iter().map(|c| c.name.to_string()).collect(),
            kinds.exporters.len(),
            config.warnings.to_string(),
        )
    }

    #[test]
    fn what_variables_ask_for_in_vain_is_left_out_and_the_rest_runs() {
        let ops = "[[channel]]\nname = \"ops\"\ntype = \"webhook\"\nurl = \"http://a\"\n";
        let file = format!(
            "{ops}[[channel]]\nname = \"records\"\ntype = \"otlp\"\n[[route]]\n\
             channels = [\"ops\", \"records\"]"
        );
        let both = vec!["ops".to_owned(), "records".to_owned()];
        assert_eq!(made(&file, &[ENDPOINT]), (both.clone(), both, 1, String::new()));

        let one = vec!["ops".to_owned()];
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_SDK_DISABLED", "true"),
            (ENDPOINT.0, "collector:4317"),
        ] {
            let (channels, known, exporters, said) = made(&file, &[ENDPOINT, (name, value)]);
            assert_eq!((channels, known, exporters), (one.clone(), one.clone(), 0), "{name}");
            assert!(
                said.contains("warning: this channel is told nothing: nowhere is said"),
                "{said}"
            );
        }
        let (channels, _, exporters, said) =
            made(ops, &[ENDPOINT, ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem")]);
        assert_eq!((channels.len(), exporters), (2, 1));
        assert!(said.contains("OTEL_EXPORTER_OTLP_CERTIFICATE: warning: "), "{said}");
    }

    #[test]
    fn a_channel_that_a_file_asks_for_in_vain_is_an_error() {
        let options = Options::new(None, Default::default(), true, "host".into());
        let text = "[[channel]]\nname = \"records\"\ntype = \"otlp\"";
        let mut loaded = config::load_from(vec![Input::memory("a", text)], &options);
        check_kinds(&mut loaded);
        let said = loaded.finish().unwrap_err().to_string();
        assert!(said.contains("a:1:1: nowhere is said where alerts go by OTLP"), "{said}");
        assert!(said.contains("set `otlp.endpoint` or `otlp.logs.endpoint`"), "{said}");
    }
}
