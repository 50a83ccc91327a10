//! The webhook receiver (`examples/receiver.rs`) as a service inside a container.

use serde_json::Value;

use super::container::Container;
use super::keepwell::built;

const PORT: u16 = 9901;
const LOG: &str = "/var/lib/rig/received.jsonl";
const MODE: &str = "/var/lib/rig/receiver.mode";

/// A running receiver.
#[derive(Debug)]
pub(crate) struct Receiver<'c> {
    container: &'c Container,
}

/// A message without what the kernel's count of kills for want of memory tells: that is the count of
/// the whole machine, on which other tests starve what they have. `None`: nothing is left of it.
fn without_kills(mut body: Value) -> Option<Value> {
    if let Some(alerts) = body.get_mut("alerts").and_then(Value::as_array_mut)
        && !alerts.is_empty()
    {
        alerts.retain(|alert| alert["check"] != "host:oom-kill");
        if alerts.is_empty() {
            return None;
        }
    }
    Some(body)
}

impl Container {
    /// Installs and starts the receiver; it comes back after a reboot. It answers 200 until told
    /// otherwise.
    #[track_caller]
    pub(crate) fn receiver(&self) -> Receiver<'_> {
        self.install_program(&built("receiver"), "/opt/rig/receiver");
        self.write(MODE, "ok\n");
        self.unit(
            "rig-receiver.service",
            &format!(
                "[Service]\nExecStart=/opt/rig/receiver --listen 127.0.0.1:{PORT} --log {LOG} \
                 --mode-file {MODE} --notify\nType=notify\nNotifyAccess=all\nTimeoutStopSec=1\n\n\
                 [Install]\nWantedBy=multi-user.target\n"
            ),
        );
        self.systemctl(&["enable", "--now", "--quiet", "rig-receiver"]);
        Receiver { container: self }
    }

    /// The receiver that [`Self::receiver`] started before, say before a reboot.
    pub(crate) fn receiver_again(&self) -> Receiver<'_> {
        Receiver { container: self }
    }
}

impl Receiver<'_> {
    /// The URL to put into keepwell's configuration.
    pub(crate) fn url() -> String {
        format!("http://127.0.0.1:{PORT}/hook")
    }

    /// A `[[channel]]` named `ops` that sends to it.
    pub(crate) fn channel() -> String {
        format!("[[channel]]\nname = \"ops\"\ntype = \"webhook\"\nurl = \"{}\"\n", Self::url())
    }

    /// How it answers from the next request on: `ok`, `status 503`, `status 429 7` (with
    /// Retry-After), `delay 2000` (ms, then ok), `hang`.
    #[track_caller]
    pub(crate) fn mode(&self, mode: &str) {
        self.container.write(MODE, &format!("{mode}\n"));
    }

    /// All requests so far, oldest first: `at_us`, `method`, `path`, `headers` (lower-case names),
    /// `body` (JSON where it is such, else text), `answer` (the status given, 0 for hang).
    pub(crate) fn requests(&self) -> Vec<Value> {
        let text = self.container.read(LOG).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Bodies of the requests that were answered with 2xx.
    pub(crate) fn accepted(&self) -> Vec<Value> {
        let all = self.requests().into_iter();
        all.filter(|r| r["answer"].as_u64().is_some_and(|a| (200..300).contains(&a)))
            .filter_map(|mut r| without_kills(r["body"].take()))
            .collect()
    }

    /// Forgets what it has recorded.
    #[track_caller]
    pub(crate) fn clear(&self) {
        self.container.write(LOG, "");
    }
}
