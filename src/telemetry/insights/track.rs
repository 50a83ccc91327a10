//! What `/v2/track` says of each item.

use std::collections::BTreeSet;

use serde::Deserialize;

/// An answer of the service, also with some errors.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Track {
    #[serde(default)]
    items_received: usize,
    #[serde(default)]
    items_accepted: usize,
    #[serde(default)]
    errors: Vec<Item>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    index: usize,
    status_code: u16,
    #[serde(default)]
    message: Option<String>,
}

impl Item {
    fn message(&self) -> &str {
        self.message.as_deref().unwrap_or_default()
    }

    /// The resource's own sampling has left it out: it would again.
    fn sampled_out(&self) -> bool {
        self.message().to_ascii_lowercase().contains("sampled out")
    }

    fn again(&self) -> bool {
        let passing = [206, 401, 402, 403, 408, 429, 439, 500, 502, 503, 504];
        passing.contains(&self.status_code) && !self.sampled_out()
    }
}

/// What became of the items of one request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) accepted: usize,
    /// The numbers of those to be sent again.
    pub(super) again: BTreeSet<usize>,
    /// So many are lost.
    pub(super) lost: usize,
    /// What was said of the first that was lost, or else of the first to be sent again.
    pub(super) why: Option<String>,
}

impl Track {
    /// `None` where it is not such an answer.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let value: serde_json::Value = serde_json::from_slice(body).ok()?;
        value.get("itemsReceived")?;
        serde_json::from_value(value).ok()
    }

    /// Some were taken and others were not.
    pub(super) fn mixed(&self) -> bool {
        self.items_accepted > 0 && self.items_accepted < self.items_received
    }

    /// The first message.
    pub(super) fn message(&self) -> Option<&str> {
        self.errors.iter().map(Item::message).find(|message| !message.is_empty())
    }

    /// `sent` items were in the request.
    pub(super) fn verdict(&self, sent: usize) -> Verdict {
        let (again, lost): (Vec<&Item>, Vec<&Item>) =
            self.errors.iter().filter(|e| e.index < sent).partition(|item| item.again());
        let numbers: BTreeSet<usize> = again.iter().map(|item| item.index).collect();
        let finally: BTreeSet<usize> = lost.iter().map(|item| item.index).collect();
        let accepted = self.items_accepted.min(sent);
        let missing = self.items_received.min(sent).saturating_sub(accepted);
        let why = lost.first().or(again.first()).map(|item| {
            let hint = if item.sampled_out() {
                " (turn off ingestion sampling at the resource)"
            } else {
                ""
            };
            format!("{} {}{hint}", item.status_code, item.message())
        });
        Verdict {
            accepted,
            lost: missing.saturating_sub(numbers.len()).max(finally.len()),
            again: numbers,
            why,
        }
    }
}
