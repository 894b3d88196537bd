//! Errors, an enum per operation.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tessera_tenancy::{ClusterId, Incarnation, NodeId};

use crate::range::{ShardId, StoreKind};

/// Why rows could not be read or written. Inside `apply` it fences the node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// The storage failed.
    #[error("storage failed: {0}")]
    Storage(Arc<str>),
    /// What is stored is not what was written: a checksum does not fit, or it does not decode.
    #[error("stored data is damaged: {what}")]
    Corrupt {
        /// Which kind of row.
        what: &'static str,
    },
    /// A scan took longer than a reader may: 10 s. Read in smaller steps.
    #[error("the scan took too long")]
    TooSlow,
    /// The key does not belong to the shard.
    #[error("the key is outside the key range of shard {shard}")]
    OutsideRange {
        /// The shard that was asked.
        shard: ShardId,
    },
    /// A command tried to write rows of another tenant than its scope says.
    #[error("the key is outside the scope of its command")]
    OutsideScope,
    /// A key or value is longer than [`KEY_BYTES_MAX`](crate::KEY_BYTES_MAX) or
    /// [`VALUE_BYTES_MAX`](crate::VALUE_BYTES_MAX).
    #[error("{bytes} bytes for a key or value, at most {limit_bytes}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The bound.
        limit_bytes: usize,
    },
}

impl RowError {
    /// A row that is whole but does not decode as `what`.
    pub const fn undecodable(what: &'static str) -> Self {
        Self::Corrupt { what }
    }

    pub(crate) fn storage(error: impl Into<redb::Error>) -> Self {
        Self::Storage(error.into().to_string().into())
    }
}

/// Why a command was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// The shard's queue is full: back-pressure, try again later. The command was not taken.
    #[error("the shard's queue holds {queued_bytes} bytes, at most {limit_bytes}")]
    Busy {
        /// Bytes that wait now.
        queued_bytes: usize,
        /// The bound.
        limit_bytes: usize,
    },
    /// The command alone is larger than a log entry may be. It was not taken.
    #[error("a command of {bytes} bytes, at most {limit_bytes}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The bound.
        limit_bytes: usize,
    },
    /// The scope's tenant has no key in this shard's range. The command was not taken.
    #[error("the tenant is outside the key range of shard {shard}")]
    OutsideRange {
        /// The shard that was asked.
        shard: ShardId,
    },
    /// The disk is full: only what frees is taken, until there is room. The command was not taken.
    #[error("the disk is full")]
    DiskFull,
    /// Nothing of this shard was answered for the engine's
    /// [`propose_timeout`](crate::EngineOptions::propose_timeout): no leader is known, or it cannot
    /// commit. Whether the command takes effect is unknown.
    #[error("the shard answers nothing now")]
    Unavailable,
    /// The range was split or moved since: look for the key's shard again. The command was not
    /// applied.
    #[error("the range of shard {shard} has changed")]
    RangeMoved {
        /// The shard that was asked.
        shard: ShardId,
    },
    /// The command was applied before, by the same batch number, and its answer is not kept.
    #[error("applied before, the answer is no longer kept")]
    AnswerForgotten,
    /// The storage failed and the node is fenced. Whether the command took effect is unknown
    /// until a restart.
    #[error("the node is fenced after a storage failure")]
    Fenced,
    /// The engine was shut down. Whether a command that was taken took effect is unknown.
    #[error("the engine is shut down")]
    Closed,
}

/// Why a shard could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The rows could not be read.
    #[error(transparent)]
    Rows(#[from] RowError),
    /// A snapshot is taking the place of the rows: it is over soon.
    #[error("the replica is taking in a snapshot")]
    Installing,
    /// Another node leads the shard, or none; or the replica was removed from its group.
    #[error("no leader of the shard confirms the read")]
    NotLeader {
        /// Who leads, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// The storage failed and the node is fenced.
    #[error("the node is fenced after a storage failure")]
    Fenced,
    /// The engine was shut down.
    #[error("the engine is shut down")]
    Closed,
}

/// Why the members of a group were not changed, or its range not split.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Another node leads the shard, or none: ask there.
    #[error("this node does not lead the shard")]
    NotLeader {
        /// Who leads, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// Another change of the group is under way.
    #[error("another change of the group is under way")]
    InProgress,
    /// The node is the leader: transfer that first.
    #[error("node {node} leads the shard")]
    Leads {
        /// The node.
        node: NodeId,
    },
    /// The node is not a member as the change needs it to be.
    #[error("node {node} is not a member that this can be done to")]
    NotMember {
        /// The node.
        node: NodeId,
    },
    /// The learner has not got everything yet that was committed before: try again later. A voter
    /// without it would count for what it does not have.
    #[error("node {node} has not caught up with the log")]
    NotCaughtUp {
        /// The node.
        node: NodeId,
    },
    /// The range was not split: the key is not inside it, it was split meanwhile, or its members
    /// are changing.
    #[error("the range was not split")]
    NotSplit,
    /// The change was not answered in time, or its leader was replaced: whether it takes effect is
    /// unknown.
    #[error("the change was not answered")]
    Unavailable,
    /// The storage failed and the node is fenced.
    #[error("the node is fenced after a storage failure")]
    Fenced,
    /// The engine was shut down.
    #[error("the engine is shut down")]
    Closed,
}

/// Why the engine or a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file or folder could not be used.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has the folder.
    #[error("{} is in use by another process", folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder was written by a newer version.
    #[error(
        "{} has storage format {found}, this version reads up to {supported}: use the newer version",
        folder.display()
    )]
    NewerFormat {
        /// The folder.
        folder: PathBuf,
        /// Its format.
        found: u32,
        /// The newest that this version reads.
        supported: u32,
    },
    /// The folder belongs to another node or cluster.
    #[error("the folder belongs to node {node} of cluster {cluster}")]
    Foreign {
        /// Whose it is.
        node: NodeId,
        /// Of which cluster.
        cluster: ClusterId,
    },
    /// An incarnation was used before: each start needs a larger one.
    #[error("incarnation {given} is not above {last}, the last one of this folder")]
    StaleIncarnation {
        /// What the options say.
        given: Incarnation,
        /// What the folder has seen.
        last: Incarnation,
    },
    /// The store was opened before by this engine.
    #[error("the store {kind} is open already")]
    AlreadyOpen {
        /// Which.
        kind: StoreKind,
    },
    /// The store has ranges already: they are made once.
    #[error("the store {kind} has ranges already")]
    HasRanges {
        /// Which.
        kind: StoreKind,
    },
    /// This node is not among the members that a store is to begin with.
    #[error("node {node} is not among the first members of the store")]
    NotFounder {
        /// This node.
        node: NodeId,
    },
    /// The number of ranges is not one to cut the first byte into.
    #[error("a store starts with 1 to 256 ranges, not {given}")]
    RangeCount {
        /// What was asked.
        given: usize,
    },
    /// The state is behind what the log still has: entries are missing between the two.
    #[error("shard {shard} has state up to {applied} but a log that starts after {purged}")]
    StateBehindLog {
        /// Which shard.
        shard: ShardId,
        /// The last index in the state.
        applied: u64,
        /// The last index that the log no longer has.
        purged: u64,
    },
    /// There are state files of the store, but the log file does not know it: the log was lost,
    /// and with it what was acknowledged last.
    #[error("{} is there, but the log does not know the store {kind}: was the log removed?", path.display())]
    LogLost {
        /// Which store.
        kind: StoreKind,
        /// One of its state files.
        path: PathBuf,
    },
    /// A snapshot was being installed when the process ended, and its file is not there or damaged:
    /// the rows are half replaced.
    #[error("shard {shard} was interrupted while it took in a snapshot, which is lost")]
    InterruptedInstall {
        /// Which shard.
        shard: ShardId,
    },
    /// Stored data is damaged or could not be read.
    #[error(transparent)]
    Rows(#[from] RowError),
    /// A database file could not be opened.
    #[error("{}: {text}", path.display())]
    Database {
        /// Which.
        path: PathBuf,
        /// Why.
        text: String,
    },
    /// Raft could not start.
    #[error("shard {shard} could not start: {text}")]
    Raft {
        /// Which shard.
        shard: ShardId,
        /// Why.
        text: String,
    },
    /// The storage failed while opening.
    #[error("the node is fenced after a storage failure")]
    Fenced,
    /// The engine was shut down.
    #[error("the engine is shut down")]
    Closed,
}

impl OpenError {
    pub(crate) fn io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io {
            path: path.into(),
            source,
        }
    }
}
