//! The lanes of all hooks: how they are set up and reached. What a lane does is in `notify::hooks`.

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::supervisor::Supervisor;
use crate::engine::HookCall;
use crate::notify::Context;
use crate::notify::hooks::{Hook, HookLane};
use crate::store::CallRow;

/// What waits for one hook takes at most so much.
const MOST: u64 = 8 * 1024 * 1024;

/// The ways to the lanes of one configuration.
#[derive(Default)]
pub(super) struct Hooks {
    queues: BTreeMap<Arc<str>, mpsc::UnboundedSender<Arc<HookCall>>>,
}

/// What lanes of hooks need to be started, and to end.
pub(super) struct HookSetup {
    pub(super) context: Context,
    /// How large the database may grow: a quarter of it is for calls.
    pub(super) max_size: u64,
    pub(super) stop: CancellationToken,
    /// Takes what they had not delivered when they ended.
    pub(super) left: Rc<RefCell<Vec<CallRow>>>,
}

impl Hooks {
    /// Starts a lane for each hook, as a task "hook NAME", with the rows that wait for it. The rows
    /// of hooks that there are not are given back.
    pub(super) fn start(
        hooks: &[Arc<dyn Hook>],
        mut rows: Vec<CallRow>,
        setup: &HookSetup,
        supervisor: &mut Supervisor,
    ) -> (Self, Vec<CallRow>) {
        let share = setup.max_size / 4 / (hooks.len().max(1) as u64);
        let room = usize::try_from(share.min(MOST)).unwrap_or(usize::MAX);
        let mut queues = BTreeMap::new();
        for hook in hooks {
            let name = hook.name().clone();
            let (own, others) = rows.into_iter().partition(|row| row.call.hook == name);
            rows = others;
            let lane = HookLane::new(hook.clone(), own, setup.context.clone(), room);
            let (queue, calls) = mpsc::unbounded_channel();
            let (stop, left) = (setup.stop.clone(), setup.left.clone());
            supervisor.spawn(format!("hook {name}"), async move {
                let rest = lane.run(calls, stop).await;
                left.borrow_mut().extend(rest);
            });
            queues.insert(name, queue);
        }
        (Self { queues }, rows)
    }

    /// Hands a call to the lane of its hook. It comes back when that lane has ended. Where there is
    /// no such hook, its row waits for a keepwell that has one.
    pub(super) fn call(&self, call: Arc<HookCall>) -> Result<(), Arc<HookCall>> {
        let Some(queue) = self.queues.get(&call.hook) else { return Ok(()) };
        queue.send(call).map_err(|unsent| unsent.0)
    }
}
