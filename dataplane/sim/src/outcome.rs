//! What a seed came to, and what many came to.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use crate::journal::{FaultKind, Violation};
use crate::plan::Plan;
use crate::run::{Ran, run};

/// What one seed came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The first invariant that broke.
    pub violation: Option<Violation>,
    /// A hash over everything that happened, with the times: messages, writes, elections, answers.
    pub trace_hash: u64,
    /// How many events that were.
    pub events: u64,
    /// A line for each event, if they were asked for.
    pub lines: Vec<String>,
    /// Operations that were acknowledged.
    pub acknowledged: u64,
    /// Operations of which nobody knows whether they took effect.
    pub unknown: u64,
    /// Faults that happened.
    pub faults: BTreeMap<FaultKind, u64>,
    /// Terms of shards in which somebody was seen to lead.
    pub elections: u64,
    /// Ranges that were split.
    pub splits: u64,
    /// Appends of leaders that were read off the wire.
    pub appends: u64,
    /// Simulated time.
    pub simulated: Duration,
}

/// How much of what a seed chooses is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// All of it.
    Full,
    /// A quarter of the load and of the time for faults: for debug builds.
    Brief,
    /// A quarter of the load, and nothing goes wrong until the lights go out.
    BriefWithoutFaults,
}

/// Runs a seed. With `is_traced` the outcome has a line for each event. An error if there is no
/// runtime to run it on.
pub fn run_seed(seed: u64, course: Course, is_traced: bool) -> io::Result<Outcome> {
    let plan = Plan::of(seed);
    let plan = match course {
        Course::Full => plan,
        Course::Brief => plan.briefly(),
        Course::BriefWithoutFaults => plan.briefly().without_faults(),
    };
    run(plan, is_traced).map(|ran| Outcome::of(seed, ran))
}

impl Outcome {
    fn of(seed: u64, ran: Ran) -> Self {
        Self {
            seed,
            violation: ran.record.violation,
            trace_hash: ran.record.hash,
            events: ran.record.events,
            lines: ran.record.lines,
            acknowledged: ran.acknowledged,
            unknown: ran.unknown,
            faults: ran.record.faults,
            elections: ran.record.elections,
            splits: ran.record.splits,
            appends: ran.record.appends,
            simulated: ran.simulated,
        }
    }
}

/// The sum of many outcomes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Seeds that passed.
    pub passed: u64,
    /// Seeds that failed.
    pub failed: Vec<u64>,
    /// See [`Outcome::acknowledged`].
    pub acknowledged: u64,
    /// See [`Outcome::unknown`].
    pub unknown: u64,
    /// See [`Outcome::events`].
    pub events: u64,
    /// See [`Outcome::faults`].
    pub faults: BTreeMap<FaultKind, u64>,
    /// See [`Outcome::elections`].
    pub elections: u64,
    /// See [`Outcome::splits`].
    pub splits: u64,
    /// See [`Outcome::appends`].
    pub appends: u64,
    /// See [`Outcome::simulated`].
    pub simulated: Duration,
}

impl Tally {
    /// Adds a seed's outcome.
    pub fn add(&mut self, outcome: &Outcome) {
        if outcome.violation.is_some() {
            self.failed.push(outcome.seed);
        } else {
            self.passed += 1;
        }
        self.acknowledged += outcome.acknowledged;
        self.unknown += outcome.unknown;
        self.events += outcome.events;
        self.elections += outcome.elections;
        self.splits += outcome.splits;
        self.appends += outcome.appends;
        self.simulated += outcome.simulated;
        for (fault, times) in &outcome.faults {
            *self.faults.entry(*fault).or_default() += times;
        }
    }

    /// How often a fault happened.
    pub fn times(&self, fault: FaultKind) -> u64 {
        self.faults.get(&fault).copied().unwrap_or(0)
    }

    /// The names of what never happened although seeds choose it.
    pub fn missing(&self) -> Vec<&'static str> {
        let faults = FaultKind::ALL.into_iter();
        let faults = faults.filter(|fault| self.times(*fault) == 0);
        let others = [("split", self.splits), ("election", self.elections)];
        let others = others.into_iter().filter(|(_, times)| *times == 0);
        let names = others.map(|(name, _)| name);
        faults.map(FaultKind::name).chain(names).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_happened_is_named() {
        let mut tally = Tally {
            faults: FaultKind::ALL.into_iter().map(|fault| (fault, 1)).collect(),
            splits: 1,
            elections: 1,
            ..Tally::default()
        };
        assert_eq!(tally.missing(), Vec::<&str>::new());
        tally.faults.remove(&FaultKind::NodeReplaced);
        tally.faults.insert(FaultKind::PowerCut, 0);
        tally.splits = 0;
        assert_eq!(tally.missing(), ["power cut", "node replaced", "split"]);
    }
}
