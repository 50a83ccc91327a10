//! Random histories against the invariants of the engine.
//!
//! A small model of systemd (runs, jobs, automatic restarts, a journal) plays random acts of
//! services, operators and time, and feeds the engine what a source would. After every step the
//! invariants are checked against what the model knows to be true.
//!
//! A million events by default, the same each time so that a failure is news of the change at hand;
//! `KEEPWELL_SEED=random KEEPWELL_EVENTS=10000000` looks further.

#[allow(unreachable_pub)]
mod model;

use model::{Op, World};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

const HISTORY: usize = 400;

/// What the histories of a normal run are made from.
const SEED: [u8; 32] = *b"keepwell keeps a Linux host well";

fn op() -> impl Strategy<Value = Op> {
    let unit = 0..World::UNITS;
    prop_oneof![
        12 => (1u32..4_000).prop_map(Op::Millis),
        6 => (4u32..900).prop_map(Op::Seconds),
        1 => (1u32..40).prop_map(Op::Minutes),
        10 => unit.clone().prop_map(Op::Crash),
        3 => unit.clone().prop_map(Op::Stop),
        2 => unit.clone().prop_map(Op::StopBadly),
        4 => unit.clone().prop_map(Op::Start),
        3 => unit.clone().prop_map(Op::Restart),
        2 => unit.clone().prop_map(Op::ResetFailed),
        1 => unit.clone().prop_map(Op::Mask),
        1 => unit.clone().prop_map(Op::Unmask),
        1 => (unit.clone(), 1u32..2_000).prop_map(|(u, s)| Op::Hold(u, s)),
        1 => unit.clone().prop_map(Op::Release),
        2 => unit.prop_map(Op::Errors),
        2 => (0u8..=100).prop_map(Op::Disk),
        1 => (0u32..2_000).prop_map(Op::Heartbeat),
        1 => any::<bool>().prop_map(Op::Manager),
        1 => any::<bool>().prop_map(Op::Bus),
        2 => (0u32..600).prop_map(Op::KillKeepwell),
        1 => Just(Op::Reboot),
        2 => Just(Op::Resync),
        1 => (-100_000i32..100_000).prop_map(Op::ClockJump),
        3 => (0..3usize, any::<bool>()).prop_map(|(c, up)| Op::Receiver(c, up)),
        1 => any::<bool>().prop_map(Op::Sleep),
        1 => any::<bool>().prop_map(Op::Packages),
        1 => (0u32..2_000).prop_map(Op::Acknowledge),
        1 => (0..World::UNITS, 0u32..2_000).prop_map(|(u, s)| Op::Silence(u, s)),
    ]
}

#[test]
fn no_history_breaks_an_invariant() {
    let wanted: usize =
        std::env::var("KEEPWELL_EVENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let seen = std::cell::Cell::new(0usize);
    let mut config = Config::with_cases(u32::MAX);
    config.failure_persistence = None;
    config.max_shrink_iters = 20_000;
    let mut runner = match std::env::var("KEEPWELL_SEED").as_deref() {
        Ok("random") => TestRunner::new(config),
        _ => {
            let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &SEED);
            TestRunner::new_with_rng(config, rng)
        }
    };
    let history = proptest::collection::vec(op(), 1..HISTORY);
    while seen.get() < wanted {
        let tree = history.new_tree(&mut runner).expect("the strategy makes histories");
        let result = runner.run_one(tree, |ops| {
            let events = World::play(&ops).map_err(TestCaseError::fail)?;
            seen.set(seen.get() + events);
            Ok(())
        });
        if let Err(error) = result {
            panic!("{}", format!("{error}").replace(",\n    ", ", "));
        }
    }
    println!("{} events", seen.get());
}
