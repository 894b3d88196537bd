//! A store kind on this node, and the handle of one of its shards.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tessera_tenancy::{NodeId, TenantId};

use crate::digest::StateDigest;
use crate::engine::Engine;
use crate::error::{ChangeError, ProposeError, ReadError, RowError};
use crate::machine::{Rows, Scope, StateMachine};
use crate::members::Members;
use crate::proposer::Proposal;
use crate::raft::Whole;
use crate::range::{KeyRange, ShardId};
use crate::replica::Replica;
use crate::replicas::{MakeMachine, Replicas};
use crate::state::Extent;
use crate::status::{LogChecksum, ShardStatus};

/// How many milliseconds to wait each time before a key's shard is looked for again: about 5 s in
/// all, in which a split is over.
const MOVE_WAITS_MS: [u64; 9] = [10, 20, 40, 80, 160, 320, 640, 1280, 2560];

/// The shards of one kind that have a replica on this node. Cheap to clone; keeps its engine alive.
pub struct Store<M>(Arc<Inner<M>>);

struct Inner<M> {
    engine: Engine,
    replicas: Arc<Replicas>,
    machines: Machines<M>,
    /// What routing goes by; made anew when the replicas or their ranges have changed.
    routes: RwLock<Routes<M>>,
}

struct Routes<M> {
    version: u64,
    /// In key order.
    routes: Arc<[Route<M>]>,
}

struct Route<M> {
    range: Arc<KeyRange>,
    shard: Shard<M>,
}

/// The machines of a store by shard, with their own type.
pub(crate) struct Machines<M>(Arc<Mutex<BTreeMap<ShardId, Arc<M>>>>);

impl<M: StateMachine> Machines<M> {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    /// Makes machines and remembers them.
    pub(crate) fn maker(&self, make: impl Fn(ShardId) -> M + Send + Sync + 'static) -> MakeMachine {
        let machines = Arc::clone(&self.0);
        Box::new(move |shard| {
            let machine = Arc::new(make(shard));
            machines.lock().insert(shard, Arc::clone(&machine));
            machine
        })
    }
}

impl<M: StateMachine> Store<M> {
    pub(crate) fn new(engine: Engine, replicas: Arc<Replicas>, machines: Machines<M>) -> Self {
        let routes = Routes {
            version: 0,
            routes: Arc::new([]),
        };
        Self(Arc::new(Inner {
            engine,
            replicas,
            machines,
            routes: RwLock::new(routes),
        }))
    }

    /// The shard that owns the key `tenant · key_rest`, of a store that has a replica of every range
    /// here; else the one before it, which refuses the key.
    ///
    /// # Panics
    /// If this node has no replica of the store.
    pub fn shard_for(&self, tenant: TenantId, key_rest: &[u8]) -> Shard<M> {
        let routes = self.routes();
        let tenant = tenant.as_bytes().as_slice();
        let begins_at_or_before =
            |route: &Route<M>| is_at_or_before(route.range.start(), tenant, key_rest);
        let after = routes.partition_point(begins_at_or_before);
        routes[after.saturating_sub(1)].shard.clone()
    }

    /// The shard that owns the key `tenant · key_rest`, if it has a replica here.
    pub fn find_shard(&self, tenant: TenantId, key_rest: &[u8]) -> Option<Shard<M>> {
        let routes = self.routes();
        let key = [tenant.as_bytes(), key_rest].concat();
        let after = routes.partition_point(|route| route.range.start() <= key.as_slice());
        let route = routes.get(after.checked_sub(1)?)?;
        route.range.contains(&key).then(|| route.shard.clone())
    }

    /// Every shard that has a replica here, in key order.
    pub fn shards(&self) -> impl Iterator<Item = Shard<M>> + use<M> {
        let routes = self.routes();
        let shards: Vec<_> = routes.iter().map(|route| route.shard.clone()).collect();
        shards.into_iter()
    }

    /// Proposes a command for the key `tenant · key_rest` to whichever shard has it, and again while
    /// its range moves.
    pub async fn propose(
        &self,
        tenant: TenantId,
        key_rest: &[u8],
        command: Bytes,
    ) -> Result<Bytes, ProposeError> {
        for wait_ms in MOVE_WAITS_MS {
            if let Some(shard) = self.find_shard(tenant, key_rest) {
                let answer = shard.propose(Scope::Tenant(tenant), command.clone()).await;
                let is_moved = matches!(
                    answer,
                    Err(ProposeError::RangeMoved { .. } | ProposeError::OutsideRange { .. })
                );
                if !is_moved {
                    return answer;
                }
            }
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
        Err(ProposeError::Unavailable)
    }

    fn routes(&self) -> Arc<[Route<M>]> {
        let version = self.0.replicas.version();
        {
            let routes = self.0.routes.read();
            if routes.version == version {
                return Arc::clone(&routes.routes);
            }
        }
        let fresh = self.fresh_routes();
        let mut routes = self.0.routes.write();
        if routes.version < version {
            routes.version = version;
            routes.routes = Arc::clone(&fresh);
        }
        fresh
    }

    fn fresh_routes(&self) -> Arc<[Route<M>]> {
        let machines = self.0.machines.0.lock();
        let route = |replica: Arc<Replica>| {
            let machine = Arc::clone(machines.get(&replica.shard())?);
            let Extent { range, epoch, .. } = replica.state.group.extent();
            let engine = self.0.engine.clone();
            let shard = Shard(Arc::new(ShardInner {
                replica,
                machine,
                epoch,
                engine,
            }));
            Some(Route { range, shard })
        };
        let replicas = self.0.replicas.all().into_iter();
        let mut routes: Vec<_> = replicas.filter_map(route).collect();
        routes.sort_by(|a, b| a.range.start().cmp(b.range.start()));
        routes.into()
    }
}

impl<M> Clone for Store<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M: StateMachine> fmt::Debug for Store<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.shards()).finish()
    }
}

/// One shard. Cheap to clone; keeps its engine alive.
pub struct Shard<M>(Arc<ShardInner<M>>);

struct ShardInner<M> {
    replica: Arc<Replica>,
    machine: Arc<M>,
    /// Of the range when this handle was made: it is for the keys that were the shard's then.
    epoch: u64,
    #[expect(dead_code, reason = "keeps the engine alive")]
    engine: Engine,
}

impl<M: StateMachine> Shard<M> {
    /// Its id.
    pub fn id(&self) -> ShardId {
        self.0.replica.shard()
    }

    /// The state machine, for its derived memory.
    pub fn machine(&self) -> &M {
        &self.0.machine
    }

    /// The node that leads the shard, as far as this one knows.
    pub fn leader(&self) -> Option<NodeId> {
        self.0.replica.raft.leader()
    }

    /// Who is in the group, as far as this node knows.
    pub fn members(&self) -> Members {
        self.0.replica.members()
    }

    /// Lets a node follow the log; it gets what was before as well. On the leader.
    pub async fn add_learner(&self, node: NodeId) -> Result<(), ChangeError> {
        self.0.replica.add_learner(node).await
    }

    /// Makes a learner a voter that has everything that was committed, else
    /// [`ChangeError::NotCaughtUp`]. Returns once old and new voters have agreed. On the leader.
    pub async fn promote(&self, node: NodeId) -> Result<(), ChangeError> {
        self.0.replica.promote(node).await
    }

    /// Removes a voter or learner, whose replica then goes. On the leader, which is not removed
    /// itself. Goes on though the caller goes away: the replica is told.
    pub async fn remove(&self, node: NodeId) -> Result<(), ChangeError> {
        let replica = Arc::clone(&self.0.replica);
        Whole::new(async move { replica.remove(node).await }).await
    }

    /// Hands leadership to a voter that has the whole log. On the leader.
    pub async fn transfer_leader(&self, to: NodeId) -> Result<(), ChangeError> {
        self.0.replica.transfer_leader(to).await
    }

    /// Splits the range at a key: a new shard has the keys from there on, on the same nodes and
    /// without moving them. On the leader. Handles of before are told
    /// [`ProposeError::RangeMoved`].
    pub async fn split(&self, at: &[u8]) -> Result<ShardId, ChangeError> {
        self.0.replica.split_at(at).await
    }

    /// Splits the range in the middle of its bytes if it has more than `bytes`. On the leader; reads
    /// the whole range.
    pub async fn split_if_larger(&self, bytes: u64) -> Result<Option<ShardId>, ChangeError> {
        self.0.replica.split_if_larger(bytes).await
    }

    /// Puts a command in line, in the order of the calls (order is kept within a scope). It is
    /// taken at once or refused; the result comes through the future.
    pub fn submit(&self, scope: Scope, command: Bytes) -> Result<Proposal, ProposeError> {
        self.0.replica.proposer.check_room()?;
        self.submit_freeing(scope, command)
    }

    /// [`submit`](Self::submit) of a command that leaves less behind than there was: it is taken
    /// although the disk is full.
    pub fn submit_freeing(&self, scope: Scope, command: Bytes) -> Result<Proposal, ProposeError> {
        self.0.replica.proposer.submit(self.0.epoch, scope, command)
    }

    /// [`submit`](Self::submit), then waits: on return the command is durable and applied.
    pub async fn propose(&self, scope: Scope, command: Bytes) -> Result<Bytes, ProposeError> {
        self.submit(scope, command)?.await
    }

    /// Where this node's replica stands, which may be stale.
    pub fn status(&self) -> ShardStatus {
        self.0.replica.status()
    }

    /// What this node's log file holds of the entries `from..=upto`, each verified: those that are on
    /// disk and not purged, at most 4,096. Off the caller's thread.
    pub async fn log_checksums(&self, from: u64, upto: u64) -> Result<Vec<LogChecksum>, ReadError> {
        self.0.replica.log_checksums(from, upto).await
    }

    /// A digest of what this node has applied, which may be stale; `None` if it is nothing. Reads the
    /// whole range, off the caller's thread.
    pub async fn digest(&self) -> Result<Option<StateDigest>, ReadError> {
        self.0.replica.digest().await
    }

    /// Reads what this node has applied. It may be stale: decide nothing by it that must hold
    /// cluster-wide. Runs on the caller's thread; keep long scans off the async workers.
    pub fn read<R>(
        &self,
        read: impl FnOnce(&dyn Rows) -> Result<R, RowError>,
    ) -> Result<R, ReadError> {
        self.0.replica.read(read)
    }

    /// Runs something that reads for long, as the engine runs its own: off the caller's thread. `None`
    /// if it panicked.
    pub async fn run_reading<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        self.0.replica.link.link.workers.run(work).await
    }

    /// Confirms leadership (read-index), waits until everything committed before is applied, reads.
    pub async fn read_linearizable<R>(
        &self,
        read: impl FnOnce(&dyn Rows) -> Result<R, RowError>,
    ) -> Result<R, ReadError> {
        self.0.replica.confirm().await?;
        self.0.replica.read(read)
    }

    #[cfg(test)]
    pub(crate) fn replica(&self) -> &Replica {
        &self.0.replica
    }
}

impl<M> Clone for Shard<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> fmt::Debug for Shard<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {}", self.0.replica.shard())
    }
}

/// Whether `start <= tenant · rest`, without joining the two.
fn is_at_or_before(start: &[u8], tenant: &[u8], rest: &[u8]) -> bool {
    start.iter().le(tenant.iter().chain(rest))
}
