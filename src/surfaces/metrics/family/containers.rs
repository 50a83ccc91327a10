//! What there is of each container.

use crate::engine::CheckView;
use crate::engine::observation::{ContainerStatus, Health, UsageSeen};
use crate::engine::view::ContainerView;
use crate::surfaces::report::{cpu_ratio, memory_ratio};

use super::shown::Shown;
use super::{Sample, labelled, phase, sample, seconds, truth};

/// The samples of a metric about containers; `None` when the name is of another sort.
pub(super) fn fill<'a>(name: &str, shown: &Shown<'a>) -> Option<Vec<Sample<'a>>> {
    let each = |value: fn(&ContainerView) -> f64| numbers(shown, move |c| Some(value(c)));
    let used = |value: fn(&UsageSeen) -> Option<u64>| {
        numbers(shown, move |c| c.usage.as_ref().and_then(value).map(|n| n as f64))
    };
    let up = |c: &ContainerView| c.seen.status.is_up();
    Some(match name {
        "keepwell_container_info" => containers(shown).map(|(check, c)| info(check, c)).collect(),
        "keepwell_container_up" => numbers(shown, |c| Some(truth(up(c)))),
        "keepwell_container_state" => containers(shown)
            .map(|(check, c)| worded(check, "state", c.seen.status.as_str()))
            .collect(),
        "keepwell_container_cause" => containers(shown)
            .map(|(check, _)| worded(check, "cause", check.reason.as_str()))
            .collect(),
        "keepwell_container_healthy" => numbers(shown, |c| healthy(c).map(truth)),
        "keepwell_container_start_time_seconds" => {
            numbers(shown, |c| c.seen.started.filter(|_| up(c)).map(seconds))
        }
        "keepwell_container_exit_code" => numbers(shown, |c| {
            c.seen.finished.filter(|_| !up(c)).map(|_| f64::from(c.seen.exit_code))
        }),
        "keepwell_container_oom_killed" => each(|c| truth(c.seen.oom_killed)),
        "keepwell_container_restarts_total" => each(|c| c.restarts as f64),
        "keepwell_container_restarts_in_window" => each(|c| f64::from(c.restarts_in_window)),
        "keepwell_container_crashes_total" => each(|c| c.crashes as f64),
        "keepwell_container_healed_total" => each(|c| c.healed as f64),
        "keepwell_container_backoff_step" => each(|c| f64::from(c.step)),
        "keepwell_container_healing" => containers(shown)
            .filter(|(_, c)| c.restart)
            .map(|(check, c)| {
                let state = (c.restarting, c.gave_up, c.next_attempt);
                let phase = phase(shown.snapshot, &check.id.to_string(), state);
                worded(check, "phase", phase)
            })
            .collect(),
        "keepwell_container_next_attempt_timestamp_seconds" => {
            numbers(shown, |c| c.next_attempt.filter(|_| c.restart).map(seconds))
        }
        "keepwell_container_cpu_seconds_total" => {
            numbers(shown, |c| counted(c.usage.as_ref()?.cpu_seconds?))
        }
        "keepwell_container_cpu_used_ratio" => numbers(shown, cpu_ratio),
        "keepwell_container_cpu_limit_processors" => numbers(shown, |c| c.seen.cpu_limit),
        "keepwell_container_memory_used_bytes" => used(|u| u.memory),
        "keepwell_container_memory_used_ratio" => numbers(shown, memory_ratio),
        "keepwell_container_memory_limit_bytes" => {
            numbers(shown, |c| c.seen.memory_limit.map(|n| n as f64))
        }
        "keepwell_container_network_received_bytes_total" => used(|u| u.received),
        "keepwell_container_network_sent_bytes_total" => used(|u| u.sent),
        "keepwell_container_block_read_bytes_total" => used(|u| u.read),
        "keepwell_container_block_written_bytes_total" => used(|u| u.written),
        "keepwell_container_pids" => used(|u| u.pids),
        _ => return None,
    })
}

fn containers<'a>(shown: &Shown<'a>) -> impl Iterator<Item = (&'a CheckView, &'a ContainerView)> {
    shown.checks.iter().filter_map(|check| check.container.as_deref().map(|c| (*check, c)))
}

fn numbers<'a>(
    shown: &Shown<'a>,
    value: impl Fn(&ContainerView) -> Option<f64>,
) -> Vec<Sample<'a>> {
    containers(shown)
        .filter_map(|(check, c)| Some(labelled("name", &check.id.name, value(c)?)))
        .collect()
}

fn worded<'a>(check: &'a CheckView, label: &'static str, word: &'static str) -> Sample<'a> {
    sample([("name", &*check.id.name), (label, word)], 1.0)
}

fn info<'a>(check: &'a CheckView, container: &'a ContainerView) -> Sample<'a> {
    let seen = &container.seen;
    let labels = [
        ("name", &*check.id.name),
        ("engine", &*seen.engine),
        ("image", &*seen.image),
        ("project", seen.project().unwrap_or_default()),
        ("service", seen.service().unwrap_or_default()),
    ];
    sample(labels, 1.0)
}

fn healthy(container: &ContainerView) -> Option<bool> {
    let health = container.seen.health.as_ref()?;
    match (container.seen.status, health.status) {
        (ContainerStatus::Running, Health::Healthy) => Some(true),
        (ContainerStatus::Running, Health::Unhealthy) => Some(false),
        _ => None,
    }
}

/// Those who read OpenMetrics may refuse the whole text for a counter that is none.
fn counted(value: f64) -> Option<f64> {
    (value.is_finite() && value >= 0.0).then_some(value)
}
