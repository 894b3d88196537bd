//! The replicas of a store kind on this node: Raft, its log and state, and what keeps them going.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use openraft::error::{LinearizableReadError, RaftError};
use openraft::impls::EmptyNode;
use openraft::{Config, ReadPolicy, SnapshotPolicy};
use parking_lot::Mutex;
use tessera_tenancy::NodeId;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::batch::ProposerId;
use crate::database::Disk;
use crate::error::{OpenError, ReadError, RowError};
use crate::fence::Fence;
use crate::folder::sync_names;
use crate::log::{GroupLog, LogHandle, NodeLog};
use crate::machine::{Rows, StateMachine};
use crate::options::EngineOptions;
use crate::proposer::{Proposer, ProposerLimits, Raft};
use crate::range::{RangeRecord, ShardId, StoreKind};
use crate::state::{CheckpointPolicy, Extent, StateHandle, Stripe, View};
use crate::transport::NoPeers;

/// How long an opening waits for this node to lead a shard.
const LEADER_WAIT: Duration = Duration::from_secs(30);
/// How long a purge waits for Raft to take note of a snapshot before it leaves it to the next one.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(5);
/// How long a shutdown waits for proposals in flight.
const DRAIN_WAIT: Duration = Duration::from_secs(10);

/// What replicas are opened with.
#[derive(Debug, Clone)]
pub(crate) struct ReplicaSetup {
    pub(crate) options: EngineOptions,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) fence: Fence,
    pub(crate) log: NodeLog,
}

/// This node's replica of one shard.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) extent: Extent,
    pub(crate) proposer: Arc<Proposer>,
    pub(crate) raft: Raft,
    pub(crate) state: StateHandle,
    fence: Fence,
}

/// The replicas of one kind, their files and tasks.
#[derive(Debug)]
pub(crate) struct OpenStore {
    kind: StoreKind,
    replicas: Vec<Arc<Replica>>,
    stripes: Vec<Stripe>,
    tasks: Mutex<Tasks>,
}

#[derive(Debug, Default)]
struct Tasks {
    proposers: Vec<JoinHandle<()>>,
    keeper: Option<JoinHandle<()>>,
}

impl OpenStore {
    /// Opens the replicas of `members` and returns once this node leads all of them.
    pub(crate) async fn open(
        setup: &ReplicaSetup,
        kind: StoreKind,
        members: Vec<(RangeRecord, Arc<dyn StateMachine>)>,
    ) -> Result<Self, OpenError> {
        let advanced = Arc::new(Notify::new());
        let ranges = members.iter().map(|(record, _)| record.stripe).collect();
        let stripes = open_stripes(setup, kind, ranges, &advanced).await?;
        let mut store = Self {
            kind,
            replicas: Vec::new(),
            stripes,
            tasks: Mutex::default(),
        };
        match store.start(setup, members).await {
            Ok(()) => {
                store.spawn(setup, advanced);
                Ok(store)
            }
            Err(error) => {
                store.shutdown().await;
                Err(error)
            }
        }
    }

    pub(crate) const fn kind(&self) -> StoreKind {
        self.kind
    }

    /// In key order.
    pub(crate) fn replicas(&self) -> &[Arc<Replica>] {
        &self.replicas
    }

    async fn start(
        &mut self,
        setup: &ReplicaSetup,
        members: Vec<(RangeRecord, Arc<dyn StateMachine>)>,
    ) -> Result<(), OpenError> {
        let folder = &setup.options.folder;
        sync_names(folder).map_err(|source| OpenError::io(folder, source))?;
        for (record, machine) in members {
            let stripe = self.stripes.get(usize::from(record.stripe)).cloned();
            let stripe = stripe.ok_or(RowError::undecodable("key range: its stripe"))?;
            let replica = Replica::start(setup, stripe, record, machine).await?;
            self.replicas.push(Arc::new(replica));
        }
        for replica in &self.replicas {
            replica.lead(setup.options.node).await?;
        }
        Ok(())
    }

    fn spawn(&self, setup: &ReplicaSetup, advanced: Arc<Notify>) {
        let options = &setup.options;
        let id = ProposerId {
            node: options.node,
            incarnation: options.incarnation,
        };
        let mut tasks = self.tasks.lock();
        for replica in &self.replicas {
            let proposer = Arc::clone(&replica.proposer);
            let run = proposer.run(replica.raft.clone(), id, Arc::clone(&options.clock));
            tasks.proposers.push(tokio::spawn(run));
        }
        let keep = keep(self.replicas.clone(), advanced, setup.fence.clone());
        tasks.keeper = Some(tokio::spawn(keep));
    }

    /// Takes no more proposals, finishes those in flight, ends Raft, makes state durable.
    pub(crate) async fn shutdown(&self) {
        for replica in &self.replicas {
            replica.proposer.close();
        }
        let Tasks { proposers, keeper } = std::mem::take(&mut *self.tasks.lock());
        let drained = tokio::time::timeout(DRAIN_WAIT, join_all(proposers)).await;
        if drained.is_err() {
            tracing::warn!(kind = %self.kind, "proposals were still in flight at the shutdown");
        }
        if let Some(keeper) = keeper {
            keeper.abort();
        }
        for replica in &self.replicas {
            replica.stop().await;
        }
        let stripes = self.stripes.clone();
        let closed = tokio::task::spawn_blocking(move || stripes.iter().for_each(Stripe::close));
        if let Err(error) = closed.await {
            tracing::error!(%error, "closing state files panicked");
        }
    }
}

impl Drop for OpenStore {
    fn drop(&mut self) {
        let tasks = self.tasks.get_mut();
        tasks
            .proposers
            .drain(..)
            .chain(tasks.keeper.take())
            .for_each(|task| task.abort());
        self.stripes.iter().for_each(Stripe::begin_close);
    }
}

impl Replica {
    async fn start(
        setup: &ReplicaSetup,
        stripe: Stripe,
        record: RangeRecord,
        machine: Arc<dyn StateMachine>,
    ) -> Result<Self, OpenError> {
        let shard = record.shard;
        let extent = Extent {
            shard,
            range: Arc::new(record.range),
        };
        let state = load_state(setup, stripe, extent.clone(), machine).await?;
        check_log_reaches_state(&state, shard)?;
        let node = setup.options.node.0;
        let (config, log) = (raft_config(shard)?, LogHandle(Arc::clone(&state.log)));
        let raft = Raft::new(node, config, NoPeers, log, state.clone())
            .await
            .map_err(|error| raft_error(shard, &error))?;
        let limits = ProposerLimits {
            queue_bytes_max: setup.options.queue_bytes_max,
            in_flight_bytes_max: setup.options.in_flight_bytes_max,
        };
        let proposer = Arc::new(Proposer::new(extent.clone(), setup.fence.clone(), limits));
        Ok(Self {
            extent,
            proposer,
            raft,
            state,
            fence: setup.fence.clone(),
        })
    }

    /// Makes this node the leader of its group of one voter, and waits until everything that was
    /// committed in an earlier life is applied.
    async fn lead(&self, node: NodeId) -> Result<(), OpenError> {
        let shard = self.extent.shard;
        let failed = |error: &dyn std::fmt::Display| {
            if self.fence.is_tripped() {
                OpenError::Fenced
            } else {
                raft_error(shard, error)
            }
        };
        if self
            .raft
            .is_initialized()
            .await
            .map_err(|error| failed(&error))?
        {
            self.raft
                .trigger()
                .elect(false)
                .await
                .map_err(|error| failed(&error))?;
        } else {
            let members = BTreeMap::from([(node.0, EmptyNode {})]);
            self.raft
                .initialize(members)
                .await
                .map_err(|error| failed(&error))?;
        }
        let wait = self.raft.wait(Some(LEADER_WAIT));
        wait.current_leader(node.0, "to lead")
            .await
            .map_err(|error| failed(&error))?;
        let ready = self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await;
        ready.map(drop).map_err(|error| failed(&error))
    }

    /// What this node has applied.
    pub(crate) fn read<R>(
        &self,
        read: impl FnOnce(&dyn Rows) -> Result<R, RowError>,
    ) -> Result<R, ReadError> {
        if self.fence.is_tripped() {
            return Err(ReadError::Fenced);
        }
        let database = self
            .state
            .stripe
            .database()
            .get()
            .ok_or(ReadError::Closed)?;
        let view = View::now(&database, self.extent.clone())?;
        Ok(read(&view)?)
    }

    /// Returns once this node is confirmed to lead and has applied what was committed before.
    pub(crate) async fn confirm(&self) -> Result<(), ReadError> {
        match self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await {
            Ok(_applied) => Ok(()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(ReadError::NotLeader {
                    leader: forward.leader_id.map(NodeId),
                })
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                Err(ReadError::NotLeader { leader: None })
            }
            Err(RaftError::Fatal(_)) if self.fence.is_tripped() => Err(ReadError::Fenced),
            Err(RaftError::Fatal(_)) => Err(ReadError::Closed),
        }
    }

    /// Purges the log up to what is durable in the state and known to every replica.
    async fn purge(&self) {
        let Some(durable) = self.state.group.durable_index() else {
            return;
        };
        if self
            .state
            .log
            .purged()
            .is_some_and(|purged| purged >= durable)
        {
            return;
        }
        // Raft purges only what a snapshot covers, and a snapshot is what is durable.
        if self.raft.trigger().snapshot().await.is_err() {
            return;
        }
        let wait = self.raft.wait(Some(SNAPSHOT_WAIT));
        let is_known = |snapshot: Option<u64>| snapshot.is_some_and(|index| index >= durable);
        let metrics = wait
            .metrics(
                |metrics| is_known(metrics.snapshot.map(|id| id.index)),
                "a snapshot",
            )
            .await;
        let Ok(metrics) = metrics else { return };
        let matched = metrics.replication.iter().flatten();
        let slowest = matched.map(|(_, id)| id.map_or(0, |id| id.index)).min();
        let upto = durable.min(slowest.unwrap_or(durable));
        // Raft has ended: nothing is left to purge.
        drop(self.raft.trigger().purge_log(upto).await);
    }

    async fn stop(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::error!(shard = %self.extent.shard, %error, "Raft ended by a panic");
        }
    }
}

/// After each checkpoint purges logs; when the node is fenced ends Raft, so that no proposal hangs.
async fn keep(replicas: Vec<Arc<Replica>>, advanced: Arc<Notify>, fence: Fence) {
    loop {
        tokio::select! {
            () = advanced.notified() => {}
            () = fence.tripped() => break,
        }
        for replica in &replicas {
            replica.purge().await;
        }
    }
    for replica in &replicas {
        replica.stop().await;
    }
}

async fn join_all(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        if let Err(error) = task.await {
            tracing::error!(%error, "a proposer panicked");
        }
    }
}

async fn open_stripes(
    setup: &ReplicaSetup,
    kind: StoreKind,
    used: Vec<u8>,
    advanced: &Arc<Notify>,
) -> Result<Vec<Stripe>, OpenError> {
    let (setup, advanced) = (setup.clone(), Arc::clone(advanced));
    let count = used.into_iter().max().map_or(0, |last| last + 1);
    let open = move || {
        let policy = CheckpointPolicy {
            interval: setup.options.checkpoint_interval,
            bytes: setup.options.checkpoint_bytes,
        };
        let open_one = |stripe: u8| {
            let path = stripe_path(&setup.options.folder, kind, stripe);
            let (cache, fence) = (setup.options.state_cache_bytes, setup.fence.clone());
            Stripe::open(
                &*setup.disk,
                &path,
                cache,
                policy,
                fence,
                Arc::clone(&advanced),
            )
        };
        let mut stripes = Vec::new();
        for stripe in 0..count {
            match open_one(stripe) {
                Ok(stripe) => stripes.push(stripe),
                Err(error) => {
                    stripes.iter().for_each(Stripe::close);
                    return Err(error);
                }
            }
        }
        Ok(stripes)
    };
    tokio::task::spawn_blocking(open)
        .await
        .map_err(|_panicked| OpenError::Fenced)?
}

/// The file of a stripe; the first is there as soon as the store was opened once.
pub(crate) fn stripe_path(folder: &Path, kind: StoreKind, stripe: u8) -> PathBuf {
    folder.join(format!("state-{kind}-{stripe}.redb"))
}

async fn load_state(
    setup: &ReplicaSetup,
    stripe: Stripe,
    extent: Extent,
    machine: Arc<dyn StateMachine>,
) -> Result<StateHandle, OpenError> {
    let node_log = setup.log.clone();
    let load = move || {
        let log = GroupLog::load(&node_log, extent.shard)?;
        let group = stripe.add_group(extent, machine)?;
        Ok(StateHandle { group, stripe, log })
    };
    tokio::task::spawn_blocking(load)
        .await
        .map_err(|_panicked| OpenError::Fenced)?
}

/// The log must begin at or before where the state ends, else entries are missing between.
fn check_log_reaches_state(state: &StateHandle, shard: ShardId) -> Result<(), OpenError> {
    let (applied, _) = state.group.applied();
    let applied = applied.map(|id| id.index);
    match state.log.purged() {
        Some(purged) if applied < Some(purged) => Err(OpenError::StateBehindLog {
            shard,
            applied: applied.unwrap_or(0),
            purged,
        }),
        Some(_) | None => Ok(()),
    }
}

fn raft_config(shard: ShardId) -> Result<Arc<Config>, OpenError> {
    let config = Config {
        cluster_name: shard.to_string(),
        heartbeat_interval: 500,
        election_timeout_min: 1500,
        election_timeout_max: 3000,
        // Both are ours: a snapshot costs nothing, and only a durable one allows a purge.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        enable_pre_vote: Some(true),
        // A restarted leader is elected anew: a term is one life of one leader.
        enable_leader_restore: Some(false),
        ..Config::default()
    };
    config
        .validate()
        .map(Arc::new)
        .map_err(|error| raft_error(shard, &error))
}

fn raft_error(shard: ShardId, error: &dyn std::fmt::Display) -> OpenError {
    OpenError::Raft {
        shard,
        text: error.to_string(),
    }
}
