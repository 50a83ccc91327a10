//! What is known of systemd as a whole and of the host under it, and what of it is news. No I/O.

use crate::engine::observation::ManagerSeen;
use crate::systemd::bus::{Prepare, SystemState};

/// One connection's knowledge.
#[derive(Debug, Default)]
pub(super) struct Manager {
    state: Option<SystemState>,
    reloading: bool,
    /// A job for `shutdown.target` is there.
    shutdown_job: bool,
    /// logind's word comes first: some milliseconds before systemd queues a job, or seconds where a
    /// program has asked for time. Who asks systemd alone for a shutdown passes by logind.
    logind_shutdown: bool,
    logind_sleep: bool,
    /// logind has gone and cannot take back what it announced.
    logind_left: bool,
    said: Option<ManagerSeen>,
}

impl Manager {
    /// systemd answered how it is, so it is not in the midst of a reload.
    pub(super) fn state(&mut self, state: SystemState) {
        self.state = Some(state);
        self.reloading = false;
        if std::mem::take(&mut self.logind_left) {
            self.logind_shutdown = false;
            self.logind_sleep = false;
        }
    }

    /// A reload begins or is over.
    pub(super) fn reloading(&mut self, begun: bool) {
        self.reloading = begun;
    }

    /// Whether a reload is under way.
    pub(super) fn is_reloading(&self) -> bool {
        self.reloading
    }

    /// The boot is complete.
    pub(super) fn started(&mut self) {
        if self.state == Some(SystemState::Starting) {
            self.state = Some(SystemState::Running);
        }
    }

    /// A job for `shutdown.target` was queued or is gone.
    pub(super) fn shutdown_job(&mut self, queued: bool) {
        self.shutdown_job = queued;
    }

    /// What logind says.
    pub(super) fn prepares(&mut self, what: Prepare, begun: bool) {
        self.logind_left = false;
        match what {
            Prepare::Shutdown => self.logind_shutdown = begun,
            Prepare::Sleep => self.logind_sleep = begun,
        }
    }

    /// logind is gone. Whether it crashed, or ends because the host does, is for systemd's state to
    /// tell; and when that cannot be had, because the bus ends too, its word stands.
    pub(super) fn logind_gone(&mut self) {
        self.logind_left = true;
    }

    /// logind has announced something that it has not taken back.
    pub(super) fn is_announced(&self) -> bool {
        self.logind_shutdown || self.logind_sleep
    }

    /// How it all is, when that has not been said. The first word waits for systemd's own.
    pub(super) fn news(&mut self) -> Option<ManagerSeen> {
        let state = self.state?;
        let seen = ManagerSeen {
            reloading: self.reloading,
            stopping: state == SystemState::Stopping || self.shutdown_job || self.logind_shutdown,
            starting: state == SystemState::Starting,
            sleeping: self.logind_sleep,
        };
        (self.said.replace(seen) != Some(seen)).then_some(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: ManagerSeen =
        ManagerSeen { reloading: false, stopping: false, starting: false, sleeping: false };
    const STOPPING: ManagerSeen = ManagerSeen { stopping: true, ..WELL };

    #[test]
    fn logind_announces_and_takes_back() {
        let mut manager = Manager::default();
        manager.prepares(Prepare::Sleep, true);
        assert_eq!(manager.news(), None, "systemd has not answered yet");
        manager.state(SystemState::Running);
        assert_eq!(manager.news(), Some(ManagerSeen { sleeping: true, ..WELL }));
        manager.prepares(Prepare::Sleep, false);
        assert_eq!(manager.news(), Some(WELL));
        manager.prepares(Prepare::Shutdown, true);
        assert_eq!(manager.news(), Some(STOPPING));
        manager.state(SystemState::Running);
        assert_eq!(manager.news(), None, "systemd does not know it yet");
        manager.prepares(Prepare::Shutdown, false);
        assert_eq!(manager.news(), Some(WELL), "it was called off");
    }

    #[test]
    fn a_shutdown_outlives_logind_and_a_crash_of_logind_is_none() {
        let mut manager = Manager::default();
        manager.state(SystemState::Running);
        manager.prepares(Prepare::Shutdown, true);
        assert_eq!(manager.news(), Some(STOPPING));
        manager.logind_gone();
        assert_eq!(manager.news(), None, "the bus may be gone as well");
        manager.state(SystemState::Running);
        assert_eq!(manager.news(), Some(WELL));
        manager.prepares(Prepare::Shutdown, true);
        manager.shutdown_job(true);
        assert_eq!(manager.news(), Some(STOPPING));
        manager.logind_gone();
        manager.state(SystemState::Stopping);
        manager.shutdown_job(false);
        assert_eq!(manager.news(), None);
    }

    #[test]
    fn the_end_of_the_boot_is_said_at_once_and_once() {
        let mut manager = Manager::default();
        manager.state(SystemState::Starting);
        assert_eq!(manager.news(), Some(ManagerSeen { starting: true, ..WELL }));
        manager.started();
        assert_eq!(manager.news(), Some(WELL));
        manager.state(SystemState::Running);
        assert_eq!(manager.news(), None);
        manager.state(SystemState::Stopping);
        manager.started();
        assert_eq!(manager.news(), Some(STOPPING), "it says nothing of the end");
    }
}
