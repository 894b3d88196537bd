//! A store kind on this node, and the handle of one of its shards.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tessera_tenancy::TenantId;

use crate::engine::Engine;
use crate::error::{ProposeError, ReadError, RowError};
use crate::machine::{Rows, Scope, StateMachine};
use crate::proposer::Proposal;
use crate::range::ShardId;
use crate::replica::{OpenStore, Replica};

/// All shards of one kind. Cheap to clone; keeps its engine alive.
pub struct Store<M> {
    /// In key order: each begins where the one before ends.
    shards: Arc<[Shard<M>]>,
}

impl<M: StateMachine> Store<M> {
    pub(crate) fn new(engine: Engine, open: &OpenStore, machines: Vec<Arc<M>>) -> Self {
        let replicas = open.replicas().iter().zip(machines);
        let shard = |(replica, machine): (&Arc<Replica>, Arc<M>)| Shard {
            replica: Arc::clone(replica),
            machine,
            engine: engine.clone(),
        };
        Self {
            shards: replicas.map(shard).collect(),
        }
    }

    /// The shard that owns the key `tenant · key_rest`. Every key has exactly one.
    pub fn shard_for(&self, tenant: TenantId, key_rest: &[u8]) -> &Shard<M> {
        let tenant = tenant.as_bytes().as_slice();
        let begins_at_or_before =
            |shard: &Shard<M>| is_at_or_before(shard.start(), tenant, key_rest);
        let after = self.shards.partition_point(begins_at_or_before);
        // The first range starts at the empty key, so at least one begins at or before any key.
        &self.shards[after.saturating_sub(1)]
    }

    /// Every shard, in key order.
    pub fn shards(&self) -> impl Iterator<Item = &Shard<M>> {
        self.shards.iter()
    }
}

impl<M> Clone for Store<M> {
    fn clone(&self) -> Self {
        Self {
            shards: Arc::clone(&self.shards),
        }
    }
}

impl<M> fmt::Debug for Store<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.shards.iter()).finish()
    }
}

/// One shard. Cheap to clone; keeps its engine alive.
pub struct Shard<M> {
    pub(crate) replica: Arc<Replica>,
    machine: Arc<M>,
    engine: Engine,
}

impl<M: StateMachine> Shard<M> {
    /// Its id.
    pub fn id(&self) -> ShardId {
        self.replica.extent.shard
    }

    /// The state machine, for its derived memory.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// Puts a command in line, in the order of the calls (order is kept within a scope). It is
    /// taken at once or refused; the result comes through the future.
    pub fn submit(&self, scope: Scope, command: Bytes) -> Result<Proposal, ProposeError> {
        self.replica.proposer.submit(scope, command)
    }

    /// [`submit`](Self::submit), then waits: on return the command is durable and applied.
    pub async fn propose(&self, scope: Scope, command: Bytes) -> Result<Bytes, ProposeError> {
        self.submit(scope, command)?.await
    }

    /// Reads what this node has applied. It may be stale: decide nothing by it that must hold
    /// cluster-wide. Runs on the caller's thread; keep long scans off the async workers.
    pub fn read<R>(
        &self,
        read: impl FnOnce(&dyn Rows) -> Result<R, RowError>,
    ) -> Result<R, ReadError> {
        self.replica.read(read)
    }

    /// Confirms leadership (read-index), waits until everything committed before is applied, reads.
    pub async fn read_linearizable<R>(
        &self,
        read: impl FnOnce(&dyn Rows) -> Result<R, RowError>,
    ) -> Result<R, ReadError> {
        self.replica.confirm().await?;
        self.replica.read(read)
    }

    fn start(&self) -> &[u8] {
        self.replica.extent.range.start()
    }
}

impl<M> Clone for Shard<M> {
    fn clone(&self) -> Self {
        Self {
            replica: Arc::clone(&self.replica),
            machine: Arc::clone(&self.machine),
            engine: self.engine.clone(),
        }
    }
}

impl<M> fmt::Debug for Shard<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {}", self.replica.extent.shard)
    }
}

/// Whether `start <= tenant · rest`, without joining the two.
fn is_at_or_before(start: &[u8], tenant: &[u8], rest: &[u8]) -> bool {
    start.iter().le(tenant.iter().chain(rest))
}
