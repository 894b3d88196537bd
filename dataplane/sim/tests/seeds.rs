//! Fixed seeds pass, and a seed decides on everything. Briefly, for debug builds: whole runs of many
//! seeds are a stage of their own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that fails says where"
)]

use tessera_sim::{Course, FaultKind, Outcome, Tally, run_seed};

/// Of each size of cluster several.
const SEEDS: std::ops::Range<u64> = 0..10;
/// Fewer: each runs twice, and keeps a line for each event.
const SEEDS_TWICE: std::ops::Range<u64> = 0..2;

#[test]
fn fixed_seeds_hold_every_invariant_under_faults() {
    let mut tally = Tally::default();
    for seed in SEEDS {
        let outcome = run_seed(seed, Course::Brief, false).unwrap();
        assert_eq!(outcome.violation, None, "seed {seed}");
        tally.add(&outcome);
    }
    assert!(tally.acknowledged > 1_000, "{tally:?}");
    assert!(
        tally.missing().len() < FaultKind::ALL.len() / 2,
        "{tally:?}"
    );
    assert!(tally.appends > 1_000, "appends are understood: {tally:?}");
}

#[test]
fn without_faults_every_operation_is_acknowledged() {
    for seed in SEEDS_TWICE {
        let outcome = run_seed(seed, Course::BriefWithoutFaults, false).unwrap();
        assert_eq!(outcome.violation, None, "seed {seed}");
        assert_eq!(outcome.unknown, 0, "seed {seed}");
    }
}

#[test]
fn a_seed_run_twice_leaves_the_same_trace() {
    let traced = |seed| run_seed(seed, Course::Brief, true).unwrap();
    let mut hashes = Vec::new();
    for seed in SEEDS_TWICE {
        let (first, second) = (traced(seed), traced(seed));
        assert_eq!(difference(&first, &second), None, "seed {seed}");
        assert_eq!(first, second, "seed {seed}");
        hashes.push(first.trace_hash);
    }
    hashes.dedup();
    assert_eq!(hashes.len(), 2, "another seed is another run");
}

/// The first line in which two traces differ.
fn difference(first: &Outcome, second: &Outcome) -> Option<(usize, String, String)> {
    let lines = first.lines.iter().zip(&second.lines);
    let mut differing = lines.enumerate().filter(|(_, (a, b))| a != b);
    differing
        .next()
        .map(|(at, (a, b))| (at, a.clone(), b.clone()))
}
