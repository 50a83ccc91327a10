//! Message ids, and how mails about one alert find each other.
//!
//! Each alert has a thread id that any message about it can compute: the mail that opens it alone
//! has that very id, every other one names it in `References`. A mail about several alerts names
//! those of all of them, so the end of one of them joins the mail that opened it in a group:
//! readers put mails with a common reference into one thread, also when no mail has that id.

use sha2::{Digest, Sha256};

use crate::engine::alert::{AlertRecord, Happening, Notification};
use crate::notify::Outgoing;

/// So many alerts of one mail are threaded; a longer header gains nothing.
const MOST: usize = 10;

/// The ids of a mail, each with its angle brackets.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ids {
    /// `Message-ID`: the same over retries.
    pub own: String,
    /// `References`, the nearest one last.
    pub references: Vec<String>,
}

pub(super) fn ids(message: &Outgoing) -> Ids {
    let notification = &*message.notification;
    let mut references: Vec<String> =
        notification.items.iter().take(MOST).map(|item| root(message, &item.alert)).collect();
    if is_first_of_one(notification)
        && let Some(own) = references.pop()
    {
        return Ids { own, references };
    }
    references.reverse();
    let own = format!("<{}@{}>", atom(&message.key), domain(&notification.host));
    Ids { own, references }
}

/// Whether it is the first a receiver hears of one alert: the beginning of its thread.
fn is_first_of_one(notification: &Notification) -> bool {
    notification.notices.is_empty()
        && notification.report.is_none()
        && matches!(
            &notification.items[..],
            [one] if one.opening && one.happening != Happening::Resolved
        )
}

/// The id of an alert's thread. The channel is a part of it: two channels may lead to the same
/// mailbox, and many servers keep only one of two mails with the same id.
fn root(message: &Outgoing, alert: &AlertRecord) -> String {
    let notification = &*message.notification;
    let own = format!("-{}", notification.id);
    let host_key = message.key.strip_suffix(&own).unwrap_or(&message.key);
    let mut hash = Sha256::new();
    for part in [host_key, &notification.channel, &alert.id, &alert.opened.0.to_string()] {
        hash.update(part);
        hash.update([0]);
    }
    let hash: String = hash.finalize().iter().take(10).map(|b| format!("{b:02x}")).collect();
    format!("<{}.{hash}@{}>", atom(&alert.id), domain(&notification.host))
}

/// A host's name as a domain in addresses and ids, whatever it holds.
pub(super) fn domain(host: &str) -> String {
    let name = host.to_ascii_lowercase();
    let labels = name.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let labels = labels.map(|l| l.trim_matches('-')).filter(|l| !l.is_empty());
    let mut domain = String::new();
    for label in labels {
        let label = &label[..label.len().min(63)];
        if domain.len() + label.len() > 120 {
            break;
        }
        if !domain.is_empty() {
            domain.push('.');
        }
        domain.push_str(label);
    }
    if domain.is_empty() { "localhost".to_owned() } else { domain }
}

/// Without what may not stand left of the `@` in an id, or as a word in a header.
pub(super) fn atom(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let words = text.split(|c| !plain(c)).filter(|w| !w.is_empty());
    let atom = words.collect::<Vec<_>>().join(".");
    atom.chars().take(120).collect()
}
