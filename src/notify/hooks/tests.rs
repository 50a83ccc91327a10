//! Hooks: what they send byte for byte, and how their lanes behave, on real sockets of the loopback
//! and on paused time.

mod contract;
mod lanes;
mod receivers;
mod sections;

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::config::{self, Environment, Input, Options};
use crate::engine::hook::HookContainer;
use crate::engine::time::{Boot, Wall};
use crate::notify::Context;

const AT: Wall = Wall(1_755_587_842_193_999);

/// Follows tokio's clock, so that it stands still and jumps with it.
fn now() -> Now {
    thread_local!(static BASE: tokio::time::Instant = tokio::time::Instant::now());
    let gone = BASE.with(tokio::time::Instant::elapsed);
    Now { boot: Boot(1_000_000_000).after(gone), wall: AT.after(gone) }
}

/// The hooks of a configuration and of variables, with what is told of; or all that is wrong.
fn load(text: &str, variables: &[(&str, &str)]) -> Result<Made, String> {
    let environment: Environment = variables.iter().copied().collect();
    let options = Options::new(Some(Path::new("k.toml")), environment, true, "web1".into());
    let mut loaded = config::load_from(vec![Input::memory("k.toml", text)], &options);
    let mut clients = Clients::new(loaded.config.outbound.clone());
    let hooks = hooks(&mut loaded.config.hooks, &mut clients, &mut loaded.sink);
    match loaded.finish() {
        Ok(config) => Ok(Made { hooks, config }),
        Err(wrong) => Err(wrong.to_string()),
    }
}

struct Made {
    hooks: Vec<Arc<dyn Hook>>,
    config: config::Config,
}

/// The only hook of a configuration that is right.
#[track_caller]
fn one(text: &str) -> Arc<dyn Hook> {
    let mut made = load(text, &[]).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert_eq!(made.hooks.len(), 1);
    made.hooks.remove(0)
}

/// The container of the contract's examples.
fn container() -> HookContainer {
    HookContainer {
        id: "4f5a7c10b2d94e6e8a1f0c3b5d7e9f1123456789abcdef0123456789abcdef01".into(),
        name: "web".into(),
        engine: "docker".into(),
        image: "nginx:alpine".into(),
        port: Some(8000),
        cpus: 0.5,
        memory: 256 << 20,
        labels: [("team".to_owned(), "shop".to_owned())].into(),
        exit_code: None,
    }
}

fn call_of(number: u64, transition: Transition, container: HookContainer) -> Arc<HookCall> {
    Arc::new(HookCall {
        id: format!("h{number}").into(),
        number,
        hook: "registry".into(),
        transition,
        at: AT,
        host: "web1".into(),
        container,
    })
}

fn outgoing(transition: Transition, container: HookContainer) -> Outgoing {
    Outgoing { call: call_of(7, transition, container), key: "0011-h7".into(), now: now() }
}
