//! Where a replica stands: for an operator, and for whoever compares replicas.

use bytes::Bytes;
use openraft::async_runtime::WatchReceiver as _;
use tessera_tenancy::NodeId;

use crate::error::ReadError;
use crate::members::Members;
use crate::raft_types::LogId;
use crate::replica::Replica;

/// A place in a group's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPosition {
    /// The term of the leader that wrote the entry.
    pub term: u64,
    /// The entry's index.
    pub index: u64,
}

/// Where this node's replica of a shard stands, as far as this node knows. It may be stale: decide
/// nothing by it that must hold cluster-wide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardStatus {
    /// The latest term that the replica knows.
    pub term: u64,
    /// The node that leads the shard.
    pub leader: Option<NodeId>,
    /// Whether this replica was elected in `term` and has heard of no later one.
    pub is_leader: bool,
    /// The last entry of its log, which may not be on disk yet.
    pub last: Option<LogPosition>,
    /// The last entry that it knows to be committed.
    pub committed: Option<LogPosition>,
    /// The last entry that it has applied.
    pub applied: Option<LogPosition>,
    /// The last entry that it has purged from its log.
    pub purged: Option<LogPosition>,
    /// Who is in the group.
    pub members: Members,
    /// Version of the range: a split raises it.
    pub epoch: u64,
    /// The first key of the range.
    pub start: Bytes,
    /// The first key after the range; `None` if it has no end.
    pub end: Option<Bytes>,
}

/// An entry of a replica's log file, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogChecksum {
    /// Where it is.
    pub position: LogPosition,
    /// CRC32 over what is stored of it: the same on every replica that has the entry.
    pub checksum: u32,
}

impl Replica {
    /// Where the replica stands.
    pub(crate) fn status(&self) -> ShardStatus {
        let last = self.raft.data_metrics().borrow_watched().last_log;
        let metrics = self.raft.metrics().borrow_watched().clone();
        let extent = self.state.group.extent();
        let position = |id: Option<LogId>| id.map(LogPosition::of);
        ShardStatus {
            term: metrics.current_term,
            leader: metrics.current_leader.map(NodeId),
            is_leader: metrics.state.is_leader(),
            last: position(last),
            committed: position(metrics.local_committed),
            applied: position(metrics.last_applied),
            purged: position(metrics.purged),
            members: Members::of(&metrics.membership_config),
            epoch: extent.epoch,
            start: Bytes::copy_from_slice(extent.range.start()),
            end: extent.range.end().map(Bytes::copy_from_slice),
        }
    }

    /// What the log file holds of `from..=upto`.
    pub(crate) async fn log_checksums(
        &self,
        from: u64,
        upto: u64,
    ) -> Result<Vec<LogChecksum>, ReadError> {
        if self.fence.is_tripped() {
            return Err(ReadError::Fenced);
        }
        let log = self.state.log.clone();
        let read = move || log.checksums(from, upto);
        let read = self.link.link.workers.run(read).await;
        if self.state.group.is_retired() {
            return Err(ReadError::NotLeader { leader: None });
        }
        read.ok_or(ReadError::Closed)?
    }
}

impl LogPosition {
    pub(crate) const fn of(id: LogId) -> Self {
        Self {
            term: id.leader_id.term,
            index: id.index,
        }
    }
}
