//! What a seed chooses: nodes, clients, and what goes wrong.

use std::time::Duration;

use crate::disk::DiskProfile;
use crate::net::NetFaults;
use crate::plan::{EngineChoices, net_faults};
use crate::rng::Rng;
use crate::service::faults::Fault;

/// One seed's choices.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Each has a replica of every shard.
    pub(crate) nodes: u64,
    /// Ranges that each store begins with.
    pub(crate) ranges: usize,
    pub(crate) engine: EngineChoices,
    pub(crate) disk: DiskProfile,
    pub(crate) net: NetFaults,
    /// Those that may happen.
    pub(crate) faults: Vec<Fault>,
    /// Mean time between two faults.
    pub(crate) fault_gap: Duration,
    /// How long clients work and faults happen.
    pub(crate) work_for: Duration,
    /// Clients of each tenant.
    pub(crate) clients: u32,
    /// Mean pause of a client between two actions.
    pub(crate) pause: Duration,
    /// What may be on its way between a client and its node.
    pub(crate) pipe_bytes: Vec<usize>,
}

impl Plan {
    /// What the seed chooses.
    pub(crate) fn of(seed: u64) -> Self {
        let rng = &mut Rng::of_part(seed, 1);
        let mut engine = EngineChoices::of(rng);
        engine.skew_ms_max = rng.pick(&[0, 50]);
        engine.in_flight_bytes_max = engine.in_flight_bytes_max.max(100_000);
        Self {
            seed,
            nodes: rng.pick(&[1, 1, 3, 3, 3]),
            ranges: rng.pick(&[1, 1, 2]),
            engine,
            disk: DiskProfile {
                sector: rng.pick(&[512, 4096]),
                sync: rng.micros(100, 4_000),
            },
            net: net_faults(rng),
            faults: Fault::ALL.into_iter().filter(|_| rng.chance(500)).collect(),
            fault_gap: rng.millis(500, 2_500),
            work_for: rng.millis(2_000, 7_000),
            clients: u32::try_from(rng.between(4, 7)).unwrap_or(4),
            pause: rng.millis(10, 60),
            pipe_bytes: vec![200, 4_000, 100_000],
        }
    }

    /// The same in a third of the time.
    pub(crate) fn briefly(mut self) -> Self {
        self.work_for /= 3;
        self
    }

    /// The same without anything that goes wrong until the lights go out.
    pub(crate) fn without_faults(mut self) -> Self {
        self.net = NetFaults::none(self.net.usual_max);
        self.faults.clear();
        self
    }
}
