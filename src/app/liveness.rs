//! The proof of life: `WATCHDOG=1` goes out at half of `WATCHDOG_USEC`, and only when the driver's
//! loop has just answered. Waiting for I/O is not hanging: nothing that the driver waits for takes
//! part in the answer.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::driver::Control;
use crate::engine::Snapshot;
use crate::surfaces::status_line;
use crate::systemd::notify::Notifier;

/// The status line is sent at most this often: each one costs PID 1 a signal to all its listeners.
const STATUS_EVERY: Duration = Duration::from_secs(2);

/// Pings systemd's watchdog until told to stop.
pub(super) async fn watchdog(
    notifier: std::rc::Rc<Notifier>,
    driver: mpsc::UnboundedSender<Control>,
    stop: CancellationToken,
) {
    let Some(interval) = notifier.watchdog_interval() else {
        return stop.cancelled().await;
    };
    let half = interval / 2;
    loop {
        let (answer, answered) = oneshot::channel();
        if driver.send(Control::Ping(answer)).is_err() {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            answered = answered => if answered.is_ok() { notifier.watchdog() },
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(half) => {}
        }
    }
}

/// Keeps the status line of `systemctl status` true.
pub(super) async fn status(
    notifier: std::rc::Rc<Notifier>,
    mut snapshots: watch::Receiver<std::sync::Arc<Snapshot>>,
    stop: CancellationToken,
) {
    if !notifier.is_on() {
        return stop.cancelled().await;
    }
    let mut last = String::new();
    loop {
        let line = status_line(&snapshots.borrow_and_update());
        if line != last {
            notifier.status(&line);
            last = line;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(STATUS_EVERY) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = snapshots.changed() => if changed.is_err() { return },
        }
    }
}
