//! What the engine is opened with, and its bounds.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tessera_tenancy::{ClusterId, Incarnation, NodeId};

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
    /// Read cache of each state file. Default 64 mebibytes.
    pub state_cache_bytes: usize,
    /// Cache of the log file. Default 32 mebibytes.
    pub log_cache_bytes: usize,
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
        Self {
            folder: folder.into(),
            node,
            cluster,
            incarnation,
            clock,
            queue_bytes_max: 32 * MIB,
            in_flight_bytes_max: 4 * MIB,
            checkpoint_interval: Duration::from_secs(5),
            checkpoint_bytes: 4 * MIB,
            state_cache_bytes: 64 * MIB,
            log_cache_bytes: 32 * MIB,
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

/// Bytes of one key, the tenant included.
pub const KEY_BYTES_MAX: usize = 128 * 1024;

/// Bytes of one value.
pub const VALUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of one command. Larger than the largest MQTT message that a plan allows.
pub const COMMAND_BYTES_MAX: usize = 16 * 1024 * 1024;
