//! Channels from the words of a configuration, as `config check` and the daemon make them.

use std::path::Path;

use crate::config::Outbound;
use crate::config::{self, Environment, Input, Loaded, Options};
use crate::notify::{Channel, channels};
use crate::outbound::Clients;
use std::sync::Arc;

/// The channels, or all that is wrong, as a person reads it.
pub(in crate::notify) fn load(text: &str) -> Result<Vec<Arc<dyn Channel>>, String> {
    load_with(text, &Outbound::default())
}

/// The channels of a configuration that has been read, as far as they can be made.
pub(in crate::notify) fn made(loaded: &mut Loaded, outbound: &Outbound) -> Vec<Arc<dyn Channel>> {
    let Loaded { config, sink, .. } = loaded;
    let mut clients = Clients::new(outbound.clone());
    let receivers = crate::telemetry::receivers(config, &mut clients, sink);
    channels(&config.channels, &receivers, &mut clients, sink)
}

/// As [`load`], with `[outbound]`.
pub(in crate::notify) fn load_with(
    text: &str,
    outbound: &Outbound,
) -> Result<Vec<Arc<dyn Channel>>, String> {
    let environment = Environment::from_iter([("TOKEN", "t0k3n-of-the-environment")]);
    let options = Options::new(Some(Path::new("k.toml")), environment, true, "web1".into());
    let mut loaded = config::load_from(vec![Input::memory("k.toml", text)], &options);
    let made = made(&mut loaded, outbound);
    match loaded.finish() {
        Ok(_) => Ok(made),
        Err(wrong) => Err(wrong.to_string()),
    }
}

/// What is wrong with a configuration, also with what its own `[outbound]` says.
#[track_caller]
pub(in crate::notify) fn wrong_in_all(text: &str) -> String {
    let options = Options::new(Some(Path::new("k.toml")), Default::default(), true, "web1".into());
    let mut loaded = config::load_from(vec![Input::memory("k.toml", text)], &options);
    let outbound = loaded.config.outbound.clone();
    made(&mut loaded, &outbound);
    loaded.finish().expect_err("something is wrong with it").to_string()
}

/// The only channel of a configuration that is right.
#[track_caller]
pub(in crate::notify) fn one(text: &str) -> Arc<dyn Channel> {
    match load(text) {
        Ok(mut made) if made.len() == 1 => made.remove(0),
        Ok(made) => panic!("{} channels", made.len()),
        Err(wrong) => panic!("{wrong}"),
    }
}

/// What is wrong with a configuration.
#[track_caller]
pub(in crate::notify) fn wrong(text: &str) -> String {
    match load(text) {
        Ok(_) => panic!("nothing is wrong with it"),
        Err(wrong) => wrong,
    }
}
