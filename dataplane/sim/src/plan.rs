//! What a seed chooses: the cluster, its load, and what goes wrong.

use std::time::Duration;

use tessera_shard::RaftTiming;

use crate::disk::DiskProfile;
use crate::net::NetFaults;
use crate::rng::Rng;

/// Operations on one register, on average: what a search for an order takes easily.
const OPS_PER_KEY: usize = 50;

/// What a brief run is shorter by.
const BRIEF: u8 = 4;

/// One seed's choices.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Members of every group.
    pub(crate) nodes: u64,
    /// Nodes that may take the place of a member.
    pub(crate) spares: u64,
    pub(crate) ranges: usize,
    pub(crate) engine: EngineChoices,
    pub(crate) disk: DiskProfile,
    pub(crate) load: Load,
    pub(crate) net: NetFaults,
    /// Those that may happen, by [`crate::faults::Fault`].
    pub(crate) faults: Vec<crate::faults::Fault>,
    /// Mean time between two faults.
    pub(crate) fault_gap: Duration,
    /// How long faults happen.
    pub(crate) faults_for: Duration,
    /// Rows of the machine that each range has from its first command on: with many, a snapshot is
    /// taken in by several steps.
    pub(crate) ballast: u16,
}

/// Options of the engines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EngineChoices {
    pub(crate) stripes: usize,
    pub(crate) checkpoint_interval: Duration,
    pub(crate) checkpoint_bytes: usize,
    pub(crate) cache_bytes: usize,
    pub(crate) in_flight_bytes_max: usize,
    pub(crate) queue_bytes_max: usize,
    pub(crate) propose_timeout: Duration,
    /// Log that is kept for a replica that is behind; past it, the replica gets a snapshot.
    pub(crate) laggard_log_bytes_max: u64,
    pub(crate) timing: RaftTiming,
    /// Clocks of nodes are apart by up to this, in milliseconds.
    pub(crate) skew_ms_max: u64,
}

/// What the clients do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) clients: usize,
    pub(crate) ops_per_client: usize,
    pub(crate) tenants: u8,
    pub(crate) registers: u16,
    /// Mean pause of a client between two operations.
    pub(crate) think: Duration,
    pub(crate) padding_max: u64,
    pub(crate) reads_per_mille: u64,
}

impl Plan {
    /// What the seed chooses.
    pub(crate) fn of(seed: u64) -> Self {
        let rng = &mut Rng::of_part(seed, 1);
        let nodes = rng.pick(&[1, 1, 3, 3, 3, 3, 5]);
        let most_ranges = if nodes == 5 { 2 } else { 4 };
        let faults_for = rng.millis(6_000, 16_000);
        Self {
            seed,
            nodes,
            spares: if nodes == 1 { 0 } else { 3 },
            ranges: usize::try_from(rng.between(1, most_ranges)).unwrap_or(1),
            engine: EngineChoices::of(rng),
            disk: DiskProfile {
                sector: rng.pick(&[512, 4096]),
                sync: rng.micros(100, 4_000),
            },
            load: Load::of(rng, faults_for),
            net: net_faults(rng),
            faults: crate::faults::Fault::ALL
                .into_iter()
                .filter(|_| rng.chance(600))
                .collect(),
            fault_gap: rng.millis(250, 2_000),
            faults_for,
            ballast: rng.pick(&[0, 0, 0, 2_500]),
        }
    }

    /// The same in a quarter of the time, with a quarter of the operations.
    pub(crate) fn briefly(mut self) -> Self {
        self.faults_for /= u32::from(BRIEF);
        self.load.ops_per_client = self.load.ops_per_client.div_ceil(usize::from(BRIEF));
        self
    }

    /// The same without anything that goes wrong.
    pub(crate) fn without_faults(mut self) -> Self {
        self.net = NetFaults::none(self.net.usual_max);
        self.faults.clear();
        self
    }
}

impl EngineChoices {
    pub(crate) fn of(rng: &mut Rng) -> Self {
        let heartbeat = rng.millis(80, 150);
        Self {
            stripes: usize::try_from(rng.between(1, 3)).unwrap_or(1),
            checkpoint_interval: rng.pick(&[50, 300, 1_000, 5_000].map(Duration::from_millis)),
            checkpoint_bytes: rng.pick(&[2_000, 100_000, 4_000_000]),
            cache_bytes: rng.pick(&[0, 100_000, 4_000_000]),
            in_flight_bytes_max: rng.pick(&[1_000, 100_000, 4_000_000]),
            queue_bytes_max: rng.pick(&[3_000, 100_000, 4_000_000]),
            propose_timeout: rng.millis(1_000, 4_000),
            laggard_log_bytes_max: rng.pick(&[0, 20_000, 1 << 30]),
            timing: RaftTiming {
                heartbeat,
                election_min: heartbeat * 4,
                election_max: heartbeat * 8,
            },
            skew_ms_max: rng.pick(&[0, 50, 10_000]),
        }
    }
}

impl Load {
    fn of(rng: &mut Rng, faults_for: Duration) -> Self {
        let clients = usize::try_from(rng.between(2, 10)).unwrap_or(2);
        let ops_per_client = usize::try_from(rng.between(20, 80)).unwrap_or(20);
        let tenants = u8::try_from(rng.between(1, 6)).unwrap_or(1);
        let keys = (clients * ops_per_client).div_ceil(OPS_PER_KEY);
        let registers = keys.div_ceil(usize::from(tenants));
        let ops = u32::try_from(ops_per_client).unwrap_or(1);
        Self {
            clients,
            ops_per_client,
            tenants,
            registers: u16::try_from(registers).unwrap_or(u16::MAX),
            think: faults_for / ops,
            padding_max: rng.pick(&[8, 200, 200, 2_000, 20_000]),
            reads_per_mille: rng.between(100, 500),
        }
    }
}

pub(crate) fn net_faults(rng: &mut Rng) -> NetFaults {
    NetFaults {
        lost_per_mille: rng.pick(&[0, 0, 5, 30, 100]),
        doubled_per_mille: rng.pick(&[0, 10, 100]),
        delayed_per_mille: rng.pick(&[0, 10, 50]),
        usual_max: rng.pick(&[1, 4, 15].map(Duration::from_millis)),
        delay_max: rng.pick(&[60, 300, 1_500].map(Duration::from_millis)),
    }
}
