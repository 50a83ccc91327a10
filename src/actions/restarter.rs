//! Restarts units through systemd: reads once more, clears the start limit, restarts, waits for
//! the job. Whether the unit stays up is for the engine to see.

use std::time::Duration;

use tokio::sync::Mutex;

use crate::engine::event::RestartResult;
use crate::engine::observation::{ActiveState, Invocation, LoadState, UnitSeen};
use crate::engine::words::Reason;
use crate::systemd::bus::{Bus, BusAddress, BusError, CALL_LIMIT, SystemState};

/// How long systemd's job may take: longer than any sensible `TimeoutStartSec=`.
const JOB_LIMIT: Duration = Duration::from_secs(300);

/// Restarts units, several at a time if asked to, over one connection that is made when it is first
/// needed and made anew when it breaks.
#[derive(Debug)]
pub struct Restarter {
    address: BusAddress,
    bus: Mutex<Option<Bus>>,
    call_limit: Duration,
    job_limit: Duration,
}

impl Restarter {
    /// Restarts units of the systemd at `address`.
    pub fn new(address: BusAddress) -> Self {
        Self::with_limits(address, CALL_LIMIT, JOB_LIMIT)
    }

    /// As [`Restarter::new`], with other time limits for one call and for systemd's job.
    pub fn with_limits(address: BusAddress, call_limit: Duration, job_limit: Duration) -> Self {
        Self { address, bus: Mutex::new(None), call_limit, job_limit }
    }

    /// Restarts `unit` if it is still to be restarted: it has failed, or it is inactive and
    /// `allow_inactive` says that it has to run. `invocation` is the run that ended, where known.
    pub async fn restart(
        &self,
        unit: &str,
        invocation: Option<Invocation>,
        allow_inactive: bool,
    ) -> RestartResult {
        match self.try_restart(unit, invocation, allow_inactive).await {
            Ok(result) => result,
            Err(error) => {
                if error.lost() {
                    *self.bus.lock().await = None;
                }
                match error {
                    BusError::Denied { .. } => RestartResult::Denied(error.to_string()),
                    _ if error.name() == "UnitMasked" => RestartResult::Declined(Reason::Masked),
                    _ => RestartResult::Failed(error.to_string()),
                }
            }
        }
    }

    async fn try_restart(
        &self,
        unit: &str,
        invocation: Option<Invocation>,
        allow_inactive: bool,
    ) -> Result<RestartResult, BusError> {
        let bus = self.connection().await?;
        let (seen, state) = tokio::try_join!(bus.unit(unit), bus.system_state())?;
        if state == SystemState::Stopping {
            return Ok(RestartResult::Declined(Reason::HostShutdown));
        }
        if let Some(reason) = not_needed(&seen, invocation, allow_inactive) {
            return Ok(RestartResult::Declined(reason));
        }
        // Restarts count against the start limit, and so do the crashes before.
        bus.reset_failed(unit).await?;
        let result = bus.restart(unit, self.job_limit).await?;
        Ok(if result == "done" { RestartResult::Done } else { RestartResult::JobFailed(result) })
    }

    async fn connection(&self) -> Result<Bus, BusError> {
        let mut bus = self.bus.lock().await;
        match &*bus {
            Some(bus) if !bus.is_closed() => Ok(bus.clone()),
            _ => {
                let new = Bus::connect_within(&self.address, self.call_limit).await?;
                *bus = Some(new.clone());
                Ok(new)
            }
        }
    }
}

/// Why a unit as it is now needs no restart; `None`: it does.
fn not_needed(
    seen: &UnitSeen,
    invocation: Option<Invocation>,
    allow_inactive: bool,
) -> Option<Reason> {
    match seen.load {
        LoadState::Masked => return Some(Reason::Masked),
        LoadState::NotFound => return Some(Reason::NotFound),
        LoadState::BadSetting | LoadState::Error => return Some(Reason::BadUnitFile),
        LoadState::Loaded => {}
    }
    // Also the short `failed` before an automatic restart, which systemd 257 names so.
    if seen.sub.contains("auto-restart") {
        return Some(Reason::AutoRestart);
    }
    if seen.job {
        return Some(Reason::PendingJob);
    }
    let another_run =
        || invocation.is_some() && seen.invocation.is_some_and(|i| Some(i) != invocation);
    match seen.active {
        // A later run failed, or was stopped and did not like it: to be judged afresh.
        _ if another_run() => Some(Reason::NoLongerNeeded),
        ActiveState::Failed => None,
        ActiveState::Inactive if allow_inactive => None,
        _ => Some(Reason::NoLongerNeeded),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: Invocation = Invocation([1; 16]);

    fn unit(active: ActiveState, sub: &str) -> UnitSeen {
        UnitSeen {
            name: "a.service".into(),
            active,
            sub: sub.into(),
            invocation: Some(RUN),
            ..UnitSeen::default()
        }
    }

    #[test]
    fn only_what_is_down_is_restarted() {
        let failed = unit(ActiveState::Failed, "failed");
        assert_eq!(not_needed(&failed, Some(RUN), false), None);
        let other = not_needed(&failed, Some(Invocation([2; 16])), false);
        assert_eq!(other, Some(Reason::NoLongerNeeded), "a later run is judged afresh");
        let up = unit(ActiveState::Active, "running");
        assert_eq!(not_needed(&up, Some(RUN), true), Some(Reason::NoLongerNeeded));
    }

    #[test]
    fn what_is_inactive_is_restarted_only_when_it_has_to_run() {
        let dead = unit(ActiveState::Inactive, "dead");
        assert_eq!(not_needed(&dead, Some(RUN), false), Some(Reason::NoLongerNeeded));
        assert_eq!(not_needed(&dead, Some(RUN), true), None);
        assert_eq!(not_needed(&dead, None, true), None);
        // Somebody started and stopped it in the meantime.
        let other = Some(Invocation([2; 16]));
        assert_eq!(not_needed(&dead, other, true), Some(Reason::NoLongerNeeded));
        // systemd unloaded it and forgot the run.
        let unloaded = UnitSeen { invocation: None, ..dead };
        assert_eq!(not_needed(&unloaded, Some(RUN), true), None);
    }

    #[test]
    fn systemd_and_the_operator_come_first() {
        let job = UnitSeen { job: true, ..unit(ActiveState::Failed, "failed") };
        assert_eq!(not_needed(&job, Some(RUN), false), Some(Reason::PendingJob));
        let auto = unit(ActiveState::Activating, "auto-restart");
        assert_eq!(not_needed(&auto, Some(RUN), false), Some(Reason::AutoRestart));
        let newer = unit(ActiveState::Failed, "failed-before-auto-restart");
        assert_eq!(not_needed(&newer, Some(RUN), false), Some(Reason::AutoRestart));
        let masked = UnitSeen { load: LoadState::Masked, ..unit(ActiveState::Failed, "failed") };
        assert_eq!(not_needed(&masked, Some(RUN), false), Some(Reason::Masked));
        let gone = UnitSeen { load: LoadState::NotFound, ..unit(ActiveState::Inactive, "dead") };
        assert_eq!(not_needed(&gone, Some(RUN), true), Some(Reason::NotFound));
    }
}
