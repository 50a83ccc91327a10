//! What a container uses, as the engine tells it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::model::Lax;

/// `GET /containers/{id}/stats`, one sample.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Stats {
    cpu_stats: Lax<Cpu>,
    memory_stats: Lax<Memory>,
    pids_stats: Lax<Pids>,
    networks: Lax<BTreeMap<String, Lax<Network>>>,
    blkio_stats: Lax<Block>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cpu {
    cpu_usage: Lax<CpuUsage>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CpuUsage {
    total_usage: Lax<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Memory {
    usage: Lax<u64>,
    stats: Lax<BTreeMap<String, Lax<u64>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pids {
    current: Lax<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Network {
    rx_bytes: Lax<u64>,
    tx_bytes: Lax<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Block {
    io_service_bytes_recursive: Lax<Vec<Lax<Operation>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Operation {
    op: Lax<String>,
    value: Lax<u64>,
}

impl Stats {
    /// Processor time since its start, in seconds.
    pub fn cpu_seconds(&self) -> Option<f64> {
        let total = self.cpu_stats.seen()?.cpu_usage.seen()?.total_usage.seen()?;
        Some(*total as f64 / 1e9)
    }

    /// Memory in use without inactive pages of files, in bytes.
    pub fn memory(&self) -> Option<u64> {
        let memory = self.memory_stats.seen()?;
        let usage = *memory.usage.seen()?;
        let stat = |name: &str| memory.stats.seen()?.get(name)?.seen().copied();
        let inactive = stat("total_inactive_file").or_else(|| stat("inactive_file"));
        Some(usage.saturating_sub(inactive.unwrap_or_default()))
    }

    /// Processes and threads.
    pub fn pids(&self) -> Option<u64> {
        self.pids_stats.seen()?.current.seen().copied()
    }

    /// Bytes received and sent, over all its interfaces.
    pub fn network(&self) -> Option<(u64, u64)> {
        let all = self.networks.seen()?.values().filter_map(Lax::seen);
        let number = |field: &Lax<u64>| field.seen().copied().unwrap_or_default();
        Some(all.fold((0, 0), |(received, sent), one| {
            (received + number(&one.rx_bytes), sent + number(&one.tx_bytes))
        }))
    }

    /// Bytes read from block devices, and written.
    pub fn block(&self) -> Option<(u64, u64)> {
        let all = self.blkio_stats.seen()?.io_service_bytes_recursive.seen()?;
        let sum = |wanted: &str| {
            let of = all
                .iter()
                .filter_map(Lax::seen)
                .filter(|one| one.op.seen().is_some_and(|op| op.eq_ignore_ascii_case(wanted)));
            of.filter_map(|one| one.value.seen()).sum()
        };
        Some((sum("read"), sum("write")))
    }
}
