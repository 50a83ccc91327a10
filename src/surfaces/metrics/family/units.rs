//! What there is of each unit.

use crate::engine::CheckView;
use crate::engine::observation::ActiveState;
use crate::engine::view::UnitView;

use super::shown::Shown;
use super::{Sample, labelled, phase, sample, seconds, truth};

/// The states that `keepwell_unit_state` tells apart.
const STATES: [ActiveState; 7] = [
    ActiveState::Active,
    ActiveState::Reloading,
    ActiveState::Activating,
    ActiveState::Inactive,
    ActiveState::Deactivating,
    ActiveState::Failed,
    ActiveState::Maintenance,
];

/// The samples of a metric about units; `None` when the name is of another sort.
pub(super) fn fill<'a>(name: &str, shown: &Shown<'a>) -> Option<Vec<Sample<'a>>> {
    let each = |value: fn(&UnitView) -> f64| numbers(shown, move |u| Some(value(u)));
    Some(match name {
        "keepwell_unit_active" => each(|u| truth(is_up(u))),
        "keepwell_unit_state" => of_units(shown).flat_map(|(c, u)| states(c, u)).collect(),
        "keepwell_unit_cause" => of_units(shown)
            .map(|(c, _)| sample([("name", &*c.id.name), ("cause", c.reason.as_str())], 1.0))
            .collect(),
        "keepwell_unit_start_time_seconds" => {
            numbers(shown, |u| u.seen.active_since.filter(|_| is_up(u)).map(seconds))
        }
        "keepwell_unit_restarts_total" => each(|u| u.restarts as f64),
        "keepwell_unit_restarts_in_window" => each(|u| f64::from(u.restarts_in_window)),
        "keepwell_unit_crashes_total" => each(|u| u.crashes as f64),
        "keepwell_unit_healed_total" => each(|u| u.healed as f64),
        "keepwell_unit_backoff_step" => each(|u| f64::from(u.step)),
        "keepwell_unit_healing" => of_units(shown)
            .filter(|(_, u)| u.restart)
            .map(|(c, u)| {
                let state = (u.restarting, u.gave_up, u.next_attempt);
                let phase = phase(shown.snapshot, &u.seen.name, state);
                sample([("name", &*c.id.name), ("phase", phase)], 1.0)
            })
            .collect(),
        "keepwell_unit_next_attempt_timestamp_seconds" => {
            numbers(shown, |u| u.next_attempt.filter(|_| u.restart).map(seconds))
        }
        _ => return None,
    })
}

fn of_units<'a>(shown: &Shown<'a>) -> impl Iterator<Item = (&'a CheckView, &'a UnitView)> {
    shown.checks.iter().filter_map(|c| c.unit.as_ref().map(|u| (*c, u)))
}

fn numbers<'a>(shown: &Shown<'a>, value: impl Fn(&UnitView) -> Option<f64>) -> Vec<Sample<'a>> {
    of_units(shown)
        .filter_map(|(check, unit)| Some(labelled("name", &check.id.name, value(unit)?)))
        .collect()
}

fn is_up(unit: &UnitView) -> bool {
    matches!(unit.seen.active, ActiveState::Active | ActiveState::Reloading)
}

fn states<'a>(check: &'a CheckView, unit: &UnitView) -> impl Iterator<Item = Sample<'a>> {
    let active = unit.seen.active;
    STATES.into_iter().map(move |state| {
        let labels = [("name", &*check.id.name), ("state", state.as_str())];
        sample(labels, truth(active == state))
    })
}
