//! The last word: `keepwell-failed.service` runs it when keepwell has failed and systemd does not
//! start it any more. It needs neither the daemon nor its database nor a valid configuration: it
//! reads what can be read, tells every channel once, and notes whom it told. The next keepwell that
//! comes up takes the alert over as its own, and so its end is told to the same people.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::clock;
use super::lanes::host_key;
use super::plan::{self, Reach, Scope};
use crate::config::{Config, Environment, Options, Paths};
use crate::engine::alert::{AlertKey, AlertRecord, Gist, Happening, Item, Notification, Pending};
use crate::engine::observation::{ActiveState, Invocation, UnitSeen};
use crate::engine::saved::{Change, Saved};
use crate::engine::words::{AlertKind, CheckId, CheckKind};
use crate::engine::{Reason, Severity, Wall};
use crate::notify::{self, Channel};
use crate::store::LastWord;
use crate::surfaces::http::Tried;
use crate::systemd::bus::{Bus, BusAddress};

/// The unit that has failed.
const UNIT: &str = "keepwell.service";
/// Its exit code when the configuration cannot be used.
const BAD_CONFIG: &str = "78";
/// What is asked of the bus and the journal may take so long each.
const ASK: Duration = Duration::from_secs(5);
/// A channel that cannot be reached is tried again after these waits: at boot the network may not be
/// up yet.
const AGAIN: [Duration; 3] =
    [Duration::from_secs(2), Duration::from_secs(8), Duration::from_secs(20)];
/// All tries together: less than the unit's TimeoutStartSec=.
const LIMIT: Duration = Duration::from_secs(70);
/// The same failure is told again after this, when somebody or something has tried to start keepwell.
const REPEAT: Duration = Duration::from_secs(3600);
/// However often keepwell comes up and fails again, so many messages go out within [`REPEAT`].
const MOST: usize = 4;

/// What became of it.
pub struct Said {
    /// One line: what happened to keepwell.
    pub text: String,
    /// Who was told.
    pub heard: Heard,
}

/// Who was told.
pub enum Heard {
    /// Of each channel, what came of telling it.
    Tried(Tried),
    /// Nobody this time, and why.
    Before(String),
    /// Nobody: keepwell runs.
    Well,
}

/// How a run of keepwell ended.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct End {
    /// systemd's `Result`.
    result: String,
    /// Exit code, or name or number of the signal.
    status: String,
    run: Option<Invocation>,
}

impl End {
    /// From what systemd (251 and newer) tells the unit that `OnFailure=` starts.
    fn told(environment: &Environment) -> Option<Self> {
        let of = |name| environment.get(name).map(str::to_owned);
        Some(Self {
            result: of("MONITOR_SERVICE_RESULT")?,
            status: of("MONITOR_EXIT_STATUS").unwrap_or_default(),
            run: of("MONITOR_INVOCATION_ID").and_then(|id| id.parse().ok()),
        })
    }

    fn seen(unit: &UnitSeen) -> Self {
        let service = unit.service.clone().unwrap_or_default();
        Self {
            result: service.result.to_string(),
            status: service.exit_status.to_string(),
            run: unit.invocation,
        }
    }

    fn is_bad_config(&self) -> bool {
        self.result == "exit-code" && self.status == BAD_CONFIG
    }

    fn reason(&self) -> Reason {
        match &*self.result {
            "exit-code" => Reason::ExitCode,
            "signal" => Reason::Signal,
            "core-dump" => Reason::CoreDump,
            "watchdog" => Reason::WatchdogTimeout,
            "timeout" => Reason::Timeout,
            "oom-kill" => Reason::OutOfMemory,
            "start-limit-hit" => Reason::StartLimit,
            _ => Reason::Failed,
        }
    }

    fn summary(&self) -> String {
        if self.is_bad_config() {
            return "not running any more: its configuration cannot be used".to_owned();
        }
        let how = match self.reason() {
            Reason::ExitCode => format!("exit code {}", self.status),
            Reason::Signal => format!("killed by signal {}", self.status),
            Reason::CoreDump => format!("crashed with signal {}", self.status),
            reason => reason.meaning().to_owned(),
        };
        format!("not running any more, and systemd has given up starting it: {how}")
    }

    fn remedy(&self) -> &'static str {
        if self.is_bad_config() {
            "nothing watches this host until the configuration is mended (keepwell config check \
             says what is wrong) and keepwell is started: systemctl restart keepwell"
        } else {
            "nothing watches this host until keepwell is started: systemctl reset-failed keepwell, \
             then systemctl restart keepwell"
        }
    }
}

/// Says it. `config` is `--config FILE`.
///
/// # Errors
/// When not even that can be run.
pub fn say(config: Option<PathBuf>) -> anyhow::Result<Said> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let options = Options::from_process(config.as_deref()).salvage();
    let said = runtime.block_on(say_here(&options));
    // A name look-up that hangs must not keep the process.
    runtime.shutdown_background();
    Ok(said)
}

/// The exit code: 0 when somebody was told or nobody was to be, else 1.
pub fn code(said: &Said) -> ExitCode {
    match &said.heard {
        Heard::Tried(tried) if tried.iter().all(|(_, sent)| sent.is_err()) => ExitCode::FAILURE,
        Heard::Tried(_) | Heard::Before(_) | Heard::Well => ExitCode::SUCCESS,
    }
}

async fn say_here(options: &Options) -> Said {
    let seen = timeout(ASK, look()).await.ok().flatten();
    let Reach { config, channels, usable } = plan::reach(options);
    if let Some(unit) = seen.as_ref().filter(|unit| is_coming(unit, usable)) {
        let text = format!("keepwell is {}: there is nothing to tell", word(unit));
        return Said { text, heard: Heard::Well };
    }
    let end = End::told(&options.environment)
        .or_else(|| seen.as_ref().map(End::seen))
        .unwrap_or_default();
    let host = &config.rules.host;
    let text = format!("keepwell on {host} is {}; {}", end.summary(), end.remedy());
    let state = Paths::find(&options.environment, config.agent.state_dir.as_deref());
    let state = state.ok().map(|paths| paths.state().to_owned());
    let mut kept = state.as_deref().map(LastWord::read).unwrap_or_default();
    let now = clock::now().wall;
    if let Some(why) = hush(&mut kept, now) {
        return Said { text, heard: Heard::Before(why) };
    }
    let journal = Scope::System.journal().with_limit(ASK);
    let lines = journal.excerpt(UNIT, end.run, config.journal.lines).await.unwrap_or_default();
    let mut alert = record(&end, lines, now);
    if let Some(open) = kept.open.take() {
        // It has not been well since: the same alert.
        (alert.id, alert.opened, alert.told) = (open.id, open.opened, open.told);
    }
    let tried = tell(&config, &channels, &alert, now).await;
    for (channel, sent) in &tried {
        if sent.is_err() {
            // The next keepwell will get it through.
            let (channel, happening) = (channel.clone(), Happening::Opened);
            alert.pending.push(Pending { channel, happening, opening: true, since: now });
        } else if !alert.told.contains(channel) {
            alert.told.push(channel.clone());
        }
    }
    alert.pending.retain(|pending| !alert.told.contains(&pending.channel));
    kept.said.push(now);
    kept.open = Some(alert);
    if let Some(Err(error)) = state.map(|dir| kept.write(&dir)) {
        tracing::warn!(%error, "whom the last word told cannot be kept");
    }
    Said { text, heard: Heard::Tried(tried) }
}

/// How keepwell's unit is, where the bus tells.
async fn look() -> Option<UnitSeen> {
    let bus = Bus::connect_within(&BusAddress::System, ASK).await.ok()?;
    bus.unit(UNIT).await.ok()
}

/// It runs, or is about to: somebody was quicker. With a configuration that cannot be used, to be
/// started leads nowhere.
fn is_coming(unit: &UnitSeen, usable: bool) -> bool {
    use ActiveState::{Activating, Active, Reloading};
    match unit.active {
        Active | Reloading => true,
        Activating => usable,
        _ => usable && unit.job,
    }
}

fn word(unit: &UnitSeen) -> &'static str {
    if unit.active == ActiveState::Active { "running" } else { "being started" }
}

/// Why nobody is told this time.
fn hush(kept: &mut LastWord, now: Wall) -> Option<String> {
    // A time that lies ahead was written before the clock was set.
    kept.said.retain(|at| *at <= now && now.since(*at) < REPEAT);
    match (&kept.open, kept.said.len()) {
        (_, 0) => None,
        (Some(_), _) => Some("it was told within the last hour".into()),
        (None, MOST..) => Some(format!("it was told {MOST} times within the last hour")),
        (None, _) => None,
    }
}

fn key() -> AlertKey {
    AlertKey { check: CheckId::new(CheckKind::Unit, UNIT), kind: AlertKind::State }
}

fn record(end: &End, lines: Vec<String>, now: Wall) -> AlertRecord {
    AlertRecord {
        // No number: the daemon, which counts them, is not there to be asked.
        id: format!("w{}", now.0 / 1_000_000).into(),
        key: key(),
        severity: Severity::Critical,
        reason: end.reason(),
        summary: end.summary(),
        opened: now,
        resolved: None,
        told: Vec::new(),
        pending: Vec::new(),
        untold: None,
        first_told: Some(now),
        last_told: Some(now),
        told_severity: Some(Severity::Critical),
        lines,
        acts: Vec::new(),
        next: Some(end.remedy().to_owned()),
        ack: None,
        flapping: false,
        cause: None,
        escalated: 0,
        ended: None,
        container: None,
    }
}

/// Tells all channels at once, each until it has taken the message or time is up.
async fn tell(
    config: &Config,
    channels: &[Arc<dyn Channel>],
    alert: &AlertRecord,
    now: Wall,
) -> Tried {
    let host_key = host_key();
    let labels = Arc::new(config.rules.labels.clone());
    let mut sends = JoinSet::new();
    for (number, channel) in channels.iter().cloned().enumerate() {
        let message = Arc::new(Notification {
            id: format!("w{}.{number}", now.0).into(),
            channel: channel.name().clone(),
            gist: Gist::Alerts,
            at: now,
            host: config.rules.host.clone(),
            labels: labels.clone(),
            items: vec![Item {
                happening: Happening::Opened,
                opening: true,
                since: now,
                beneath: false,
                alert: alert.clone(),
            }],
            notices: Vec::new(),
            omitted: 0,
            report: None,
        });
        let host_key = host_key.clone();
        sends.spawn(async move {
            let name = channel.name().clone();
            let mut last = Err("there was no time to try".to_owned());
            let tries = async {
                for wait in AGAIN.iter().map(Some).chain([None]) {
                    let message = message.clone();
                    last = notify::send_once(&*channel, message, &host_key, clock::now()).await;
                    match wait {
                        Some(wait) if last.is_err() => sleep(*wait).await,
                        _ => break,
                    }
                }
            };
            // What was tried last says more than that time was up.
            let _ = timeout(LIMIT, tries).await;
            (name, last)
        });
    }
    let mut tried = sends.join_all().await;
    tried.sort_by(|a, b| a.0.cmp(&b.0));
    tried
}

/// An alert of the last word on its way into the hands of a keepwell that runs.
pub(super) struct TakenUp {
    dir: PathBuf,
    kept: LastWord,
    /// What is to be stored of it.
    alert: Option<AlertRecord>,
}

/// Adds what the last word told to what was saved.
pub(super) fn take_up(dir: &Path, saved: &mut Saved) -> Option<TakenUp> {
    let mut kept = LastWord::read(dir);
    let mut alert = kept.open.take()?;
    alert.next = None;
    let same = |a: &&mut AlertRecord| a.key == alert.key && a.resolved.is_none();
    let mut stored = None;
    if saved.alerts.iter().any(|known| known.id == alert.id) {
        // Taken over before, by a keepwell that did not live long enough to say so: what has become
        // of it since is stored already.
    } else if let Some(open) = saved.alerts.iter_mut().find(same) {
        // `keepwell check --alert` has told of it as well: one alert, one end.
        for channel in alert.told.drain(..) {
            if !open.told.contains(&channel) {
                open.told.push(channel);
            }
        }
        for pending in alert.pending.drain(..) {
            let knows = open.told.contains(&pending.channel)
                || open.pending.iter().any(|other| other.channel == pending.channel);
            if !knows {
                open.pending.push(pending);
            }
        }
        stored = Some(open.clone());
    } else {
        saved.alerts.push(alert.clone());
        stored = Some(alert);
    }
    Some(TakenUp { dir: dir.to_owned(), kept, alert: stored })
}

impl TakenUp {
    /// What is to be stored of it.
    pub(super) fn change(&self) -> Option<Change> {
        self.alert.clone().map(Change::Alert)
    }

    /// It is stored: the file need not hold it any more.
    pub(super) fn done(self) {
        if let Err(error) = self.kept.write(&self.dir) {
            tracing::warn!(%error, "what the last word said is kept a second time");
        }
    }
}
