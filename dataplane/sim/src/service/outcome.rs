//! What a seed of the whole data plane came to, and what many came to.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use crate::journal::{FaultKind, Violation};
use crate::outcome::Course;
use crate::service::plan::Plan;
use crate::service::run::{Counts, Ran, run};

/// What one seed came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceOutcome {
    /// The seed.
    pub seed: u64,
    /// The first thing that broke: a clause of the contract, or what else must hold.
    pub violation: Option<Violation>,
    /// A hash over everything that happened, with the times.
    pub trace_hash: u64,
    /// How many events that were.
    pub events: u64,
    /// A line for each event, if they were asked for.
    pub lines: Vec<String>,
    /// What happened to clients.
    pub counts: Counts,
    /// Faults that happened.
    pub faults: BTreeMap<FaultKind, u64>,
    /// Ranges that were split.
    pub splits: u64,
    /// Simulated time.
    pub simulated: Duration,
}

/// Runs the whole data plane from a seed. With `is_traced` the outcome has a line for each event. An
/// error if there is no runtime to run it on.
pub fn run_service_seed(seed: u64, course: Course, is_traced: bool) -> io::Result<ServiceOutcome> {
    let plan = Plan::of(seed);
    let plan = match course {
        Course::Full => plan,
        Course::Brief => plan.briefly(),
        Course::BriefWithoutFaults => plan.briefly().without_faults(),
    };
    run(plan, is_traced).map(|ran| ServiceOutcome::of(seed, ran))
}

impl ServiceOutcome {
    fn of(seed: u64, ran: Ran) -> Self {
        Self {
            seed,
            violation: ran.record.violation,
            trace_hash: ran.record.hash,
            events: ran.record.events,
            lines: ran.record.lines,
            counts: ran.counts,
            faults: ran.record.faults,
            splits: ran.record.splits,
            simulated: ran.simulated,
        }
    }
}

/// The sum of many outcomes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceTally {
    /// Seeds that passed.
    pub passed: u64,
    /// Seeds that failed.
    pub failed: Vec<u64>,
    /// See [`ServiceOutcome::counts`].
    pub counts: Counts,
    /// See [`ServiceOutcome::events`].
    pub events: u64,
    /// See [`ServiceOutcome::faults`].
    pub faults: BTreeMap<FaultKind, u64>,
    /// See [`ServiceOutcome::splits`].
    pub splits: u64,
    /// See [`ServiceOutcome::simulated`].
    pub simulated: Duration,
}

impl ServiceTally {
    /// Adds a seed's outcome.
    pub fn add(&mut self, outcome: &ServiceOutcome) {
        if outcome.violation.is_some() {
            self.failed.push(outcome.seed);
        } else {
            self.passed += 1;
        }
        self.counts.add(&outcome.counts);
        self.events += outcome.events;
        self.splits += outcome.splits;
        self.simulated += outcome.simulated;
        for (fault, times) in &outcome.faults {
            *self.faults.entry(*fault).or_default() += times;
        }
    }
}
