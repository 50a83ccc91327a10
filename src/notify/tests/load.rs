//! Channels from the words of a configuration, as `config check` and the daemon make them.

use std::path::Path;

use crate::config::Outbound;
use crate::config::{self, Environment, Input, Options};
use crate::notify::{Channel, channels};
use std::sync::Arc;

/// The channels, or all that is wrong, as a person reads it.
pub(in crate::notify) fn load(text: &str) -> Result<Vec<Arc<dyn Channel>>, String> {
    load_with(text, &Outbound::default())
}

/// As [`load`], with `[outbound]`.
pub(in crate::notify) fn load_with(
    text: &str,
    outbound: &Outbound,
) -> Result<Vec<Arc<dyn Channel>>, String> {
    let environment = Environment::from_iter([("TOKEN", "t0k3n-of-the-environment")]);
    let options = Options::new(Some(Path::new("k.toml")), environment, true, "web1".into());
    let mut loaded = config::load_from(vec![Input::memory("k.toml", text)], &options);
    let made = channels(&loaded.config.channels, outbound, &mut loaded.sink);
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
    channels(&loaded.config.channels, &outbound, &mut loaded.sink);
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
