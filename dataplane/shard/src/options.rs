//! What the engine is opened with, and its bounds.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tessera_tenancy::{ClusterId, Incarnation, NodeId};

use crate::disk::{Disk, Storage};
use crate::range::STRIPES_MAX;
use crate::runtime::Random;
use crate::space::Capacity;
use crate::transport::Transport;
use crate::workers::Workers;

/// Unix milliseconds from wherever the process takes its time.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// How an engine is opened. Fields not given by [`EngineOptions::new`] have defaults.
#[derive(Clone)]
pub struct EngineOptions {
    /// Everything that the engine stores is in here. Made if it is not there.
    pub folder: PathBuf,
    /// This node. A folder never changes hands.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// This life of the process: larger at each opening of the same folder.
    pub incarnation: Incarnation,
    /// Where batches take their time from.
    pub clock: Clock,
    /// How other nodes are reached. Default none: every other node is unreachable.
    pub transport: Option<Arc<dyn Transport>>,
    /// When a group looks for another leader.
    pub timing: RaftTiming,
    /// How long a shard may answer nothing before whoever waits is told that it is unavailable.
    /// Default 10 s.
    pub propose_timeout: Duration,
    /// Commands that wait to be proposed, per shard. Default 32 mebibytes; past it a proposal is
    /// refused as busy. Worst case memory: this times the shards of the node.
    pub queue_bytes_max: usize,
    /// Bytes of batches on their way through a shard's log. Default 4 mebibytes: what does not fit
    /// waits in the per-tenant queues, where it is served fairly, not in Raft.
    pub in_flight_bytes_max: usize,
    /// How long applied changes may be in the log only. Default 5 s: bounds the log that a
    /// restart replays.
    pub checkpoint_interval: Duration,
    /// How many bytes of applied commands may be in the log only, per stripe, about. Default
    /// 4 mebibytes: applying stands still while they are written.
    pub checkpoint_bytes: usize,
    /// Log of a group that a leader keeps for a replica that is behind, in bytes since the node was
    /// opened. Default 1 gibibyte; one that is further behind gets a snapshot.
    pub laggard_log_bytes_max: u64,
    /// State files that a new store is dealt over, 1 to 8. Default one per core.
    pub stripes: usize,
    /// How much may be stored. Default what the file system has.
    pub capacity: Capacity,
    /// Read cache of each state file. Default 64 mebibytes.
    pub state_cache_bytes: usize,
    /// Cache of the log file. Default 32 mebibytes.
    pub log_cache_bytes: usize,
    /// What a simulation replaces.
    pub seams: Seams,
}

impl EngineOptions {
    /// Options with every bound at its default.
    pub fn new(
        folder: impl Into<PathBuf>,
        node: NodeId,
        cluster: ClusterId,
        incarnation: Incarnation,
        clock: Clock,
    ) -> Self {
        const MIB: usize = 1024 * 1024;
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            folder: folder.into(),
            node,
            cluster,
            incarnation,
            clock,
            transport: None,
            timing: RaftTiming::default(),
            propose_timeout: Duration::from_secs(10),
            queue_bytes_max: 32 * MIB,
            in_flight_bytes_max: 4 * MIB,
            checkpoint_interval: Duration::from_secs(5),
            checkpoint_bytes: 4 * MIB,
            laggard_log_bytes_max: 1024 * 1024 * 1024,
            stripes: cores.min(STRIPES_MAX),
            capacity: Capacity::Measured,
            state_cache_bytes: 64 * MIB,
            log_cache_bytes: 32 * MIB,
            seams: Seams::default(),
        }
    }
}

impl fmt::Debug for EngineOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineOptions")
            .field("folder", &self.folder)
            .field("node", &self.node)
            .field("cluster", &self.cluster)
            .field("incarnation", &self.incarnation)
            .finish_non_exhaustive()
    }
}

/// When a leader is heard and when it is given up. In milliseconds, as Raft counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RaftTiming {
    /// A leader says that it is there this often; also how long it waits for an answer to an
    /// append. Default 500 ms.
    pub heartbeat: Duration,
    /// A follower that heard nothing for this long or longer, up to
    /// [`election_max`](Self::election_max), by chance, asks for votes. Default 1.5 s.
    pub election_min: Duration,
    /// See [`election_min`](Self::election_min). Default 3 s.
    pub election_max: Duration,
}

impl Default for RaftTiming {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(500),
            election_min: Duration::from_millis(1500),
            election_max: Duration::from_secs(3),
        }
    }
}

/// What an engine takes from the machine it runs on, for a simulation to replace. The default is
/// the machine.
///
/// With [`Workers::Tasks`], a [`Disk`] in memory, [`Random`] from a seed, a clock that follows
/// tokio's, and a runtime of one thread with paused time, everything that an engine does follows
/// from the seed.
#[derive(Clone, Default)]
pub struct Seams {
    /// How writers run.
    pub workers: Workers,
    /// Where files are. Default: real ones, in the engine's folder.
    pub disk: Option<Arc<dyn Disk>>,
    /// Where election timeouts are drawn from. Default: the thread's own.
    pub random: Option<Random>,
}

impl Seams {
    pub(crate) fn storage(&self) -> Storage {
        self.disk.clone().map_or(Storage::Files, Storage::Other)
    }
}

impl fmt::Debug for Seams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seams")
            .field("workers", &self.workers)
            .field("disk", &self.disk)
            .finish_non_exhaustive()
    }
}

/// Bytes of one key, the tenant included.
pub const KEY_BYTES_MAX: usize = 128 * 1024;

/// Bytes of one value.
pub const VALUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of one command. Larger than the largest MQTT message that a plan allows.
pub const COMMAND_BYTES_MAX: usize = 16 * 1024 * 1024;
