//! Lives of keepwell that end by `kill -9`: the test's own program, started again for its test
//! `life`, and dice that fall the same way each time.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::clock::wait_for;

/// Where a life finds its folder; nothing is to live where it is not set.
pub(crate) const FOLDER: &str = "KEEPWELL_TEST_LIFE";

/// What a life says when it has come up: it has a line of its own.
pub(crate) const UP: &str = "up";

/// What the last life may take: ten seconds are enough where nothing else runs; this is for
/// machines that are busy.
const LAST: Duration = Duration::from_secs(900);

/// The same numbers for the same seed: whom it hits, not when.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A life; it ends with the value at the latest.
pub(crate) struct Life(pub(crate) Child);

impl Drop for Life {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Life {
    /// Begins one in this folder.
    pub(crate) fn begin(folder: &Path) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "life", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder)
            // Reading the host's certificates would be most of what a short life does.
            .envs([("SSL_CERT_FILE", "/nonexistent/file"), ("SSL_CERT_DIR", "/nonexistent/folder")])
            .stdout(Stdio::piped())
            .spawn();
        Self(child.unwrap())
    }

    /// Waits until it has come up.
    #[track_caller]
    pub(crate) fn wait_until_up(&mut self) {
        let lines = BufReader::new(self.0.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line == UP), "it does not come up");
    }
}

/// Lives that are killed one after the other, up to so many ms after they began, or, three times of
/// four, after they came up, until `enough` says that so many were; how many.
#[track_caller]
pub(crate) fn kill_again_and_again(
    folder: &Path,
    most: u64,
    mut enough: impl FnMut(usize) -> bool,
) -> usize {
    let mut dice = Dice(1);
    let mut kills = 0;
    while !enough(kills) {
        kills += 1;
        let mut life = Life::begin(folder);
        if dice.roll(4) > 0 {
            life.wait_until_up();
        }
        // The moment of the kill is the point: it hits whatever is under way.
        std::thread::sleep(Duration::from_millis(dice.roll(most)));
        assert!(life.0.try_wait().unwrap().is_none(), "it ended by itself");
    }
    kills
}

/// A last life, which ends by itself when there is nothing left to do. `left`: what there is, for
/// when it does not end.
#[track_caller]
pub(crate) fn live_to_the_end(folder: &Path, left: impl Fn() -> String) {
    std::fs::write(folder.join("rest"), "").unwrap();
    let mut last = Life::begin(folder);
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_for(LAST, "the end of the last life", || last.0.try_wait().unwrap())
    }));
    let end = ended.unwrap_or_else(|_| panic!("the last life has not ended:\n{}", left()));
    assert!(end.success(), "the last life: {end}");
}

/// A header's value in the lines of a head that is all in lower case.
pub(crate) fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": "))
}
