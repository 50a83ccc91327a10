//! Channels as typed JSON, and how a test of them went.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::view::{ChannelState, ChannelView};

use super::Stamp;

/// Who can be told, and how that goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChannelReport {
    /// Its name.
    pub name: String,
    /// Its type, such as `slack`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Gets this severity and worse: `info`, `warning`, `critical`.
    pub min_severity: String,
    /// How it does: `untried`, `works`, `failing`, `refused`, `stopped`.
    pub state: String,
    /// Alerts, notices and reports that wait to be told.
    pub queued: usize,
    /// Messages delivered since keepwell started.
    pub sent: u64,
    /// Tries that failed since keepwell started.
    pub failed: u64,
    /// When a message was last delivered.
    #[serde(default)]
    pub last_success: Option<Stamp>,
    /// When a try last failed.
    #[serde(default)]
    pub last_failure: Option<Stamp>,
    /// Why the last try failed; `null` once one worked.
    #[serde(default)]
    pub last_error: Option<String>,
    /// How long the last message took from decision to delivery, seconds.
    #[serde(default)]
    pub last_latency_seconds: Option<f64>,
}

impl From<&ChannelView> for ChannelReport {
    fn from(view: &ChannelView) -> Self {
        let least = if view.notices { "info" } else { view.min_severity.as_str() };
        Self {
            name: view.name.to_string(),
            kind: view.kind.to_string(),
            min_severity: least.to_owned(),
            state: view.state.as_str().to_owned(),
            queued: view.queued,
            sent: view.sent,
            failed: view.failed,
            last_success: view.last_success.map(Stamp),
            last_failure: view.last_failure.map(Stamp),
            last_error: view.last_error.as_deref().map(str::to_owned),
            last_latency_seconds: view.last_latency.map(|us| us as f64 / 1e6),
        }
    }
}

impl ChannelReport {
    /// The last try failed, the last message was refused, or the channel is stopped.
    pub fn is_down(&self) -> bool {
        [ChannelState::Failing, ChannelState::Refused, ChannelState::Stopped]
            .iter()
            .any(|s| self.state == s.as_str())
    }

    /// The last message was refused for good and given up.
    pub fn is_refused(&self) -> bool {
        self.state == ChannelState::Refused.as_str()
    }

    /// It takes no more until the configuration is loaded again.
    pub fn is_stopped(&self) -> bool {
        self.state == ChannelState::Stopped.as_str()
    }

    /// Nothing has been sent since keepwell started.
    pub fn is_untried(&self) -> bool {
        self.state == ChannelState::Untried.as_str()
    }

    /// What is wrong, for one that is down: `the last try failed: … (3 waiting)`.
    pub fn trouble(&self) -> String {
        let what = match (self.is_stopped(), self.is_refused()) {
            (true, _) => "stopped",
            (_, true) => "the last message was refused for good and given up",
            _ => "the last try failed",
        };
        let why = self.last_error.as_ref().map(|e| format!(": {e}")).unwrap_or_default();
        match self.queued {
            0 => format!("{what}{why}"),
            n => format!("{what}{why} ({n} waiting)"),
        }
    }
}

/// `/api/v1/channels`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChannelList {
    /// When this picture was taken.
    pub timestamp: Stamp,
    /// In the order of the configuration.
    pub channels: Vec<ChannelReport>,
}

/// `/api/v1/test-notification`: how it went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestReport {
    /// Each channel that was tried.
    pub results: Vec<TestResult>,
}

/// How the test of one channel went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestResult {
    /// The channel.
    pub channel: String,
    /// The service took the message.
    pub ok: bool,
    /// What the service said, or why it could not be asked.
    pub answer: String,
}

impl TestReport {
    /// From what each channel's service said, or why it failed.
    pub fn of(results: impl IntoIterator<Item = (Arc<str>, Result<String, String>)>) -> Self {
        let result = |(channel, outcome): (Arc<str>, Result<String, String>)| {
            let ok = outcome.is_ok();
            let answer = outcome.unwrap_or_else(|error| error);
            TestResult { channel: channel.to_string(), ok, answer }
        };
        Self { results: results.into_iter().map(result).collect() }
    }
}

/// Of these names those that come near to `asked`, best first, at most three.
pub fn near_names<'a>(names: impl Iterator<Item = &'a str>, asked: &str) -> Vec<String> {
    let mut scored: Vec<(f64, &str)> = names
        .map(|name| (strsim::jaro_winkler(name, asked), name))
        .filter(|(score, _)| *score > 0.7)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
}
