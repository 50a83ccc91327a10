//! What keepwell itself uses: memory, processor time, open files. For its own metrics; nothing is
//! judged by it.

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use crate::engine::observation::OwnSeen;

/// Reads [`OwnSeen`]; it looks at this one process only, without its threads.
pub(super) struct ProcessSelf {
    /// `None` where the host gives no such figures.
    system: Option<(System, Pid)>,
}

impl ProcessSelf {
    /// Reads nothing yet.
    pub(super) fn new() -> Self {
        Self { system: System::new().ok().zip(sysinfo::get_current_pid().ok()) }
    }

    /// What this process uses now; `None` where `/proc` does not say.
    pub(super) fn read(&mut self) -> Option<OwnSeen> {
        let (system, pid) = self.system.as_mut()?;
        let pid = *pid;
        let what = ProcessRefreshKind::nothing().with_memory().with_cpu().without_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, what);
        let process = system.process(pid)?;
        Some(OwnSeen {
            resident: process.memory(),
            cpu_seconds: process.accumulated_cpu_time() as f64 / 1000.0,
            open_files: process.open_files().map(|n| n as u64),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_files() {
        let mut process = ProcessSelf::new();
        let first = process.read().unwrap();
        assert!(first.resident > 500_000, "{first:?}");
        assert!(first.open_files.unwrap() >= 3, "{first:?}");
        let second = process.read().unwrap();
        assert!(second.cpu_seconds >= first.cpu_seconds);
    }
}
