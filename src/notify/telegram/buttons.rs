//! Buttons: what stands in them, and what a pressed one asks for.
//!
//! A button carries 64 bytes: `k1:SEAL:a:a12` to acknowledge, `k1:SEAL:r:a12:unit:nginx.service` to
//! restart, with `s` to silence. The seal tells the buttons of this bot on this host from all
//! others, so what a button says can be believed, also by a keepwell that was started since. A check
//! whose name is too long stands there as `#` and a hash, and is remembered for a while.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::config::Secret;
use crate::engine::alert::AlertRecord;
use crate::engine::event::Act;
use crate::engine::matcher::Matcher;
use crate::engine::words::{AlertKind, CheckId, CheckKind};

/// Bytes that a button carries.
const MOST: usize = 64;
/// Names of checks that are remembered because they are too long.
const LONG: usize = 256;
/// Bytes of the seal, before base64.
const SEAL: usize = 6;
const VERSION: &str = "k1";
/// How long the button silences.
pub(super) const SILENCE: Duration = Duration::from_secs(3600);

/// What a button does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Acknowledge,
    Silence,
    Restart,
}

impl Deed {
    const ALL: [Self; 3] = [Self::Acknowledge, Self::Silence, Self::Restart];

    fn letter(self) -> &'static str {
        match self {
            Self::Acknowledge => "a",
            Self::Silence => "s",
            Self::Restart => "r",
        }
    }

    /// What stands on the button.
    fn label(self) -> &'static str {
        match self {
            Self::Acknowledge => "Acknowledge",
            Self::Silence => "Silence 1 h",
            Self::Restart => "Restart",
        }
    }

    /// What was done: `Acknowledged by …`.
    pub(super) fn done(self) -> &'static str {
        match self {
            Self::Acknowledge => "Acknowledged",
            Self::Silence => "Silenced for 1 h",
            Self::Restart => "Restart asked for",
        }
    }
}

/// What a pressed button asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) deed: Deed,
    pub(super) alert: Arc<str>,
    /// `None` only of [`Deed::Acknowledge`].
    check: Option<CheckId>,
}

/// Why a pressed button asks for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It is none of keepwell's.
    Unknown,
    /// It was made by another host, or with another token.
    Foreign,
    /// What it is about is not remembered any more.
    Forgotten,
}

impl Wrong {
    /// For the person who pressed it.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Unknown => "keepwell does not know this button.",
            Self::Foreign => {
                "This button belongs to keepwell on another host, or to an earlier token. Each \
                 host needs a bot of its own for buttons."
            }
            Self::Forgotten => {
                "This button is too old: keepwell was started anew since. On the host: keepwell \
                 alerts silence"
            }
        }
    }
}

/// Makes buttons and reads them.
pub(super) struct Buttons {
    key: Hmac<Sha256>,
    /// Checks whose names do not fit into a button, by hash, the newest last.
    long: Mutex<VecDeque<(String, CheckId)>>,
}

impl Buttons {
    /// `host` tells this host from others.
    pub(super) fn new(token: &Secret, host: &str) -> Self {
        let mut key = Hmac::<Sha256>::new_from_slice(token.expose().as_bytes())
            // Invariant: HMAC takes keys of any length.
            .expect("HMAC takes keys of any length");
        key.update(b"keepwell button 1\n");
        key.update(host.as_bytes());
        key.update(b"\n");
        Self { key, long: Mutex::default() }
    }

    /// The buttons of an alert, in one row. `number` stands before each where there are several
    /// rows.
    pub(super) fn row(&self, alert: &AlertRecord, number: Option<usize>) -> Vec<Value> {
        let about = &alert.key;
        let offered = |deed: &Deed| match deed {
            Deed::Acknowledge => alert.ack.is_none(),
            Deed::Silence => true,
            // What is only wrong with the log of a unit is no reason to offer it.
            Deed::Restart => subject(&about.check).is_some() && about.kind != AlertKind::Errors,
        };
        let button = |deed: Deed| {
            let label = match (number, deed) {
                // Three in a row leave little room.
                (Some(number), Deed::Acknowledge) => format!("{number}: Ack"),
                (Some(number), deed) => format!("{number}: {}", deed.label()),
                (None, deed) => deed.label().to_owned(),
            };
            let data = self.data(deed, &alert.id, &about.check)?;
            Some(json!({ "text": label, "callback_data": data }))
        };
        Deed::ALL.into_iter().filter(offered).filter_map(button).collect()
    }

    /// What a button carries; `None` for an alert whose id is too long for any.
    fn data(&self, deed: Deed, alert: &str, check: &CheckId) -> Option<String> {
        let write = |about: &str| {
            let said = format!("{}:{alert}{about}", deed.letter());
            let data = format!("{VERSION}:{}:{said}", self.seal(&said));
            (data.len() <= MOST).then_some(data)
        };
        if deed == Deed::Acknowledge {
            return write("");
        }
        write(&format!(":{check}")).or_else(|| {
            let hash = hash(check);
            let data = write(&format!(":#{hash}"))?;
            let mut long = self.long.lock().unwrap_or_else(PoisonError::into_inner);
            long.retain(|(known, _)| *known != hash);
            if long.len() == LONG {
                long.pop_front();
            }
            long.push_back((hash, check.clone()));
            Some(data)
        })
    }

    fn seal(&self, said: &str) -> String {
        let mut key = self.key.clone();
        key.update(said.as_bytes());
        URL_SAFE_NO_PAD.encode(&key.finalize().into_bytes()[..SEAL])
    }

    /// Reads what a pressed button carries.
    pub(super) fn read(&self, data: &str) -> Result<Order, Wrong> {
        let mut fields = data.splitn(3, ':');
        let (Some(VERSION), Some(seal), Some(said)) = (fields.next(), fields.next(), fields.next())
        else {
            return Err(Wrong::Unknown);
        };
        if seal != self.seal(said) {
            return Err(Wrong::Foreign);
        }
        let mut fields = said.splitn(3, ':');
        let letter = fields.next().unwrap_or_default();
        let deed = Deed::ALL.into_iter().find(|d| d.letter() == letter).ok_or(Wrong::Unknown)?;
        let alert = fields.next().ok_or(Wrong::Unknown)?.into();
        let check = match (deed, fields.next()) {
            (Deed::Acknowledge, _) => None,
            (_, None) => return Err(Wrong::Unknown),
            (_, Some(about)) => Some(match about.strip_prefix('#') {
                Some(hash) => self.remembered(hash).ok_or(Wrong::Forgotten)?,
                None => about.parse().map_err(|_| Wrong::Unknown)?,
            }),
        };
        Ok(Order { deed, alert, check })
    }

    fn remembered(&self, hash: &str) -> Option<CheckId> {
        let long = self.long.lock().unwrap_or_else(PoisonError::into_inner);
        long.iter().find(|(known, _)| known == hash).map(|(_, check)| check.clone())
    }
}

impl Order {
    /// As the engine takes it.
    pub(super) fn act(&self) -> Result<Act, Wrong> {
        let check = self.check.as_ref().ok_or(Wrong::Unknown);
        let why = Some("a button in Telegram".to_owned());
        Ok(match self.deed {
            Deed::Acknowledge => {
                Act::Acknowledge { alert: self.alert.clone(), lasts: None, why: None }
            }
            Deed::Silence => {
                let CheckId { kind, name } = check?;
                // This check and no other, whatever signs of a pattern its name has.
                let text = match &**name {
                    "" => kind.as_str().to_owned(),
                    name => format!("{}:{}", kind.as_str(), glob::Pattern::escape(name)),
                };
                let matcher = Matcher::check(&text).map_err(|_| Wrong::Unknown)?;
                Act::Silence { matcher, lasts: SILENCE, why }
            }
            Deed::Restart => Act::Restart { unit: subject(check?).ok_or(Wrong::Unknown)? },
        })
    }
}

/// As acts call what can be restarted: a unit by its name, a container as its check.
fn subject(check: &CheckId) -> Option<Arc<str>> {
    match check.kind {
        CheckKind::Unit => Some(check.name.clone()),
        CheckKind::Container => Some(check.to_string().into()),
        _ => None,
    }
}

/// 64 bits of a check's name.
fn hash(check: &CheckId) -> String {
    let digest = Sha256::digest(check.to_string().as_bytes());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
