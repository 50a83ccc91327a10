//! Every sample message, word for word: the plain text of each, and the whole request that the
//! webhook makes of it. After a change of words on purpose: `INSTA_UPDATE=always cargo test golden`,
//! then read what has changed.

use super::*;

/// Samples of every happening and gist, and two that try to break out: by what they hold, and by
/// how many they are.
pub(super) fn samples() -> Vec<(&'static str, Notification)> {
    let mut all = sample::all();
    all.push(("hostile", sample::hostile()));
    all.push(("storm", sample::storm(1000)));
    all
}

#[test]
fn plain_text() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("golden/text");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for (name, message) in samples() {
            insta::assert_snapshot!(name, story::text(&story::compose(&sample::outgoing(message))));
        }
    });
}
