//! E-mail by SMTP: what a mail says and looks like (`compose`, `page`), how it is kept in one
//! thread with those before it (`thread`), how it is handed to a relay (`deliver`), and what the
//! relay's answers mean (`answer`).
//!
//! One connection per mail: alerts are rare, and a connection that is kept open breaks unnoticed.

mod answer;
mod compose;
mod deliver;
mod page;
mod settings;
#[cfg(test)]
#[path = "../tests/email/mod.rs"]
mod tests;
mod thread;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lettre::Address;

use super::template::Templates;
use super::{BoxFuture, Channel, Kind, Outgoing, Reading, Retry, SendError};
use answer::Refusal;
use compose::Form;
use deliver::{Receipt, Relay};
use settings::{KEYS, Settings, TEMPLATE_NAMES};

pub(super) const KIND: Kind = Kind {
    name: "email",
    doc: "sends mail in HTML and text through an SMTP relay",
    keys: KEYS,
    read,
};

/// After so many tries a recipient who is refused for now no longer holds up what the others are
/// to be told next.
const STRAGGLERS: u32 = 4;
/// How long the short form of a mail may take; with the longest time limit of the full one it is
/// less than the lane gives to a try.
const SHORT: Duration = Duration::from_secs(15);

/// A mailbox, or several, ready to be written to.
pub(super) struct Email {
    name: Arc<str>,
    settings: Settings,
    templates: Templates,
    relay: Relay,
    /// Who has got the message under way, when the relay took it for some and not yet for others.
    partly: Mutex<Partly>,
}

#[derive(Default)]
struct Partly {
    key: String,
    done: Vec<Address>,
    tries: u32,
}

impl Email {
    fn new(name: Arc<str>, settings: Settings, templates: Templates) -> Self {
        let relay = Relay::new(&settings);
        Self { name, settings, templates, relay, partly: Mutex::default() }
    }

    async fn mail(&self, message: &Outgoing) -> Result<String, SendError> {
        let known = self.done_for(&message.key);
        let recipients: Vec<Address> =
            self.settings.recipients().filter(|a| !known.contains(a)).cloned().collect();
        if recipients.is_empty() {
            // All have it: only the word of it was lost.
            return Ok("all recipients have it already".into());
        }
        match self.attempt(message, &recipients).await {
            Ok(receipt) => self.judge(message, receipt),
            // The others have it, so it is no failure of the channel.
            Err(Refusal::Nobody(refused)) if !known.is_empty() => {
                self.judge(message, Receipt::new("the others have it".into(), Vec::new(), refused))
            }
            Err(refusal) => Err(answer::judge(refusal, &self.settings)),
        }
    }

    /// The whole mail first; when the relay does not want its content, a short plain one.
    async fn attempt(
        &self,
        message: &Outgoing,
        recipients: &[Address],
    ) -> Result<Receipt, Refusal> {
        let sender = self.settings.sender(message);
        let hello = self.settings.hello(message);
        let full = compose::mail(&self.settings, &self.templates, message, Form::Full)?;
        let limit = self.settings.timeout;
        let refusal = match self.relay.deliver(&hello, &sender, recipients, &full, limit).await {
            Err(refusal) if refusal.is_about_content() => refusal,
            other => return other,
        };
        let short = compose::mail(&self.settings, &self.templates, message, Form::Short)?;
        let mut receipt = self.relay.deliver(&hello, &sender, recipients, &short, SHORT).await?;
        receipt.remarks.push(format!(
            "only the short form was taken; of the full one the relay said: {}",
            refusal.said()
        ));
        Ok(receipt)
    }

    /// Delivered, unless some recipients are still to be tried.
    fn judge(&self, message: &Outgoing, receipt: Receipt) -> Result<String, SendError> {
        if !receipt.later.is_empty() {
            let tries = self.remember(&message.key, &receipt.taken);
            if tries < STRAGGLERS {
                let later = receipt.later.join(", ");
                let text =
                    format!("{} took the mail for some; not yet for {later}", self.relay.shown());
                let text = answer::without_secrets(text, &self.settings);
                return Err(SendError { retry: Retry::Later(Some(answer::GREYLISTED)), text });
            }
        }
        // A relay may repeat what it was told.
        Ok(answer::without_secrets(receipt.into_text(), &self.settings))
    }

    fn done_for(&self, key: &str) -> Vec<Address> {
        let partly = self.partly.lock().unwrap_or_else(PoisonError::into_inner);
        if partly.key == key { partly.done.clone() } else { Vec::new() }
    }

    /// Notes who has got the message; how often it was tried by now.
    fn remember(&self, key: &str, taken: &[Address]) -> u32 {
        let mut partly = self.partly.lock().unwrap_or_else(PoisonError::into_inner);
        if partly.key != key {
            *partly = Partly { key: key.to_owned(), ..Partly::default() };
        }
        partly.done.extend(taken.iter().cloned());
        partly.tries += 1;
        partly.tries
    }
}

fn read(reading: &mut Reading<'_>) -> Option<Arc<dyn Channel>> {
    let Reading { section, clients, sink, .. } = reading;
    let mut reader = section.section.read(sink);
    let templates = Templates::read(&mut reader, TEMPLATE_NAMES);
    let settings = settings::read(&mut reader, clients.ca());
    reader.finish();
    Some(Arc::new(Email::new(section.name.clone(), settings?, templates)))
}

impl Channel for Email {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn send<'a>(&'a self, message: &'a Outgoing) -> BoxFuture<'a, Result<String, SendError>> {
        Box::pin(self.mail(message))
    }
}
