//! Asks polkit on the bus what it would say to keepwell, and where that cannot be asked, judges by
//! the rule that is there.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use zbus::Connection;
use zbus::Variant;

use crate::engine::rules::UnitPattern;
use crate::systemd::bus::{Bus, BusError, dial};

use super::rule::{ACTION, VERBS};
use super::{Installed, Place, Polkit, RightsError, Wanted, installed, wanted};

const NAME: &str = "org.freedesktop.PolicyKit1";
const PATH: &str = "/org/freedesktop/PolicyKit1/Authority";
const AUTHORITY: &str = "org.freedesktop.PolicyKit1.Authority";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// polkit may have to be started for the answer.
const LIMIT: Duration = Duration::from_secs(10);
/// A rule that was written a moment ago is read in polkit's next turn: asked again so often.
const AGAIN: u32 = 15;
const PAUSE: Duration = Duration::from_millis(200);

/// The unit that keepwell runs as.
const SERVICE: &str = "keepwell.service";

/// Who said whether a restart is permitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judge {
    /// polkit, asked about the daemon's own process.
    Polkit,
    /// The rule that is there; the text says why polkit was not asked.
    Rule(String),
    /// Nobody: without a polkit that reads rules only root may.
    NoPolkit(Polkit),
}

/// Whether keepwell may restart a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// The unit by the name that polkit is told: for an alias, the name it stands for.
    pub unit: String,
    /// It may.
    pub permitted: bool,
    /// Who said so.
    pub judge: Judge,
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unit, permitted, judge } = self;
        let not = if *permitted { "" } else { "not " };
        match judge {
            Judge::Polkit => write!(f, "restarting {unit} is {not}permitted, says polkit"),
            Judge::Rule(why) => write!(
                f,
                "restarting {unit} is {not}permitted, by the rule that is there ({why}, so polkit \
                 was not asked)"
            ),
            Judge::NoPolkit(polkit) => write!(f, "restarting {unit} is {not}permitted: {polkit}"),
        }
    }
}

/// Whether keepwell may restart `unit`. Only root may ask. Waits for the answer, and a moment
/// longer when a new rule should say yes.
///
/// # Errors
/// When `unit` is no name of a unit, or it could not be found out.
pub fn permitted(place: &Place, unit: &str) -> Result<Permission, RightsError> {
    let unit = match UnitPattern::try_new(unit) {
        Ok(pattern) => match pattern.exact() {
            Some(name) => name.to_owned(),
            None => {
                let why = format!("{unit} is a pattern; name one unit");
                return Err(RightsError::Unknown(why));
            }
        },
        Err(why) => return Err(RightsError::Unknown(why)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| RightsError::Unknown(format!("cannot wait for an answer: {error}")))?;
    let wanted = wanted(place);
    runtime.block_on(ask(place, unit, wanted.as_ref()))
}

/// The version of the polkit that runs, which is started for it.
///
/// # Errors
/// When it does not answer.
pub fn version(place: &Place) -> Result<String, RightsError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| RightsError::Unknown(format!("cannot wait for an answer: {error}")))?;
    runtime.block_on(async {
        let connection = connect(place).await?;
        let asked = connection.call_method(
            Some(NAME),
            PATH,
            Some(PROPERTIES),
            "Get",
            &(AUTHORITY, "BackendVersion"),
        );
        let reply = limited(asked).await?;
        let body = reply.body();
        let value: Variant<'_> = body.deserialize().map_err(|error| unclear(&error))?;
        String::try_from(value).map_err(|error| unclear(&error))
    })
}

fn unclear(error: &dyn fmt::Display) -> RightsError {
    RightsError::Unknown(format!("polkit's answer cannot be read: {error}"))
}

async fn connect(place: &Place) -> Result<Connection, RightsError> {
    dial(&place.bus, LIMIT).await.map_err(|error| RightsError::Unknown(error.to_string()))
}

async fn limited(
    call: impl Future<Output = zbus::Result<zbus::Message>>,
) -> Result<zbus::Message, RightsError> {
    match tokio::time::timeout(LIMIT, call).await {
        Ok(Ok(message)) => Ok(message),
        Ok(Err(error)) => Err(RightsError::Unknown(words(&error))),
        Err(_) => {
            let why = format!("polkit did not answer within {} s", LIMIT.as_secs());
            Err(RightsError::Unknown(why))
        }
    }
}

/// What polkit's refusal to answer means.
fn words(error: &zbus::Error) -> String {
    let zbus::Error::MethodError(name, text, _) = error else {
        return format!("polkit could not be asked: {error}");
    };
    if name.ends_with(".Error.NotAuthorized") {
        return "only root may ask polkit about another process: run it with sudo".to_owned();
    }
    let text = text.as_deref().unwrap_or_default();
    format!("polkit could not be asked: {text} ({name})")
}

async fn ask(
    place: &Place,
    unit: String,
    wanted: Result<&Wanted, &RightsError>,
) -> Result<Permission, RightsError> {
    let (unit, daemon) = match of_systemd(place, &unit).await {
        Ok(found) => found,
        Err(error) => return by_rule(place, unit, wanted, &error.to_string()),
    };
    let polkit = Polkit::of(place);
    if polkit != Polkit::Ready {
        return Ok(Permission { unit, permitted: false, judge: Judge::NoPolkit(polkit) });
    }
    let Some(daemon) = daemon else {
        return by_rule(place, unit, wanted, "keepwell does not run");
    };
    let connection = connect(place).await?;
    let expected =
        |wanted: &Wanted| wanted.permits(&unit) && installed(place, wanted) == Installed::Current;
    let tries = if wanted.is_ok_and(expected) { AGAIN } else { 1 };
    let mut permitted = false;
    for n in 0..tries {
        if n > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        permitted = both_verbs(&connection, &unit, daemon).await?;
        if permitted {
            break;
        }
    }
    Ok(Permission { unit, permitted, judge: Judge::Polkit })
}

/// The unit by its first name, and the daemon's process, if it runs.
async fn of_systemd(place: &Place, unit: &str) -> Result<(String, Option<u32>), BusError> {
    let bus = Bus::connect(&place.bus).await?;
    let names = [unit];
    let (rows, keepwell) = tokio::try_join!(bus.units_by_name(&names), bus.unit(SERVICE))?;
    let unit = rows.first().map_or(unit, |row| &*row.name).to_owned();
    let pid = keepwell.service.map(|service| service.main_pid).filter(|pid| *pid != 0);
    Ok((unit, pid))
}

async fn both_verbs(connection: &Connection, unit: &str, daemon: u32) -> Result<bool, RightsError> {
    for verb in VERBS {
        // A start time of 0 lets polkit look it up.
        let process =
            HashMap::from([("pid", Variant::from(daemon)), ("start-time", Variant::from(0_u64))]);
        let details = HashMap::from([("unit", unit), ("verb", verb)]);
        let body = (("unix-process", process), ACTION, details, 0_u32, "");
        let asked =
            connection.call_method(Some(NAME), PATH, Some(AUTHORITY), "CheckAuthorization", &body);
        let reply = limited(asked).await?;
        let body = reply.body();
        let answer: (bool, bool, HashMap<String, String>) =
            body.deserialize().map_err(|error| unclear(&error))?;
        if !answer.0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Judges without polkit: by the rule that is there, if that is the one the configuration gives.
fn by_rule(
    place: &Place,
    unit: String,
    wanted: Result<&Wanted, &RightsError>,
    why: &str,
) -> Result<Permission, RightsError> {
    let polkit = Polkit::of(place);
    if polkit != Polkit::Ready {
        return Ok(Permission { unit, permitted: false, judge: Judge::NoPolkit(polkit) });
    }
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(error) => {
            let text = format!("{why}, so polkit was not asked; and {error}");
            return Err(RightsError::Unknown(text));
        }
    };
    let judge = Judge::Rule(why.to_owned());
    let unclear = |what: &str| {
        Err(RightsError::Unknown(format!("{why}, so polkit was not asked; and the rule {what}")))
    };
    match installed(place, wanted) {
        Installed::Current => {
            let permitted = wanted.permits(&unit);
            Ok(Permission { unit, permitted, judge })
        }
        Installed::Missing => Ok(Permission { unit, permitted: false, judge }),
        Installed::Outdated => {
            unclear("is not what the configuration says: run 'sudo keepwell polkit' first")
        }
        Installed::Hidden => unclear("cannot be read: run it with sudo"),
    }
}
