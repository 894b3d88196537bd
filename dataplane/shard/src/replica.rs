//! This node's replica of one shard: Raft, its log and its state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use openraft::error::{InitializeError, LinearizableReadError, RaftError};
use openraft::impls::EmptyNode;
use openraft::raft::linearizable_read::ReadLogId;
use openraft::{Config, RaftState, ReadPolicy, SnapshotPolicy};
use tessera_tenancy::NodeId;

use crate::batch::{EncodedBatch, ProposerId};
use crate::digest::{StateDigest, digest};
use crate::disk::Storage;
use crate::error::{OpenError, ReadError, RowError};
use crate::fence::Fence;
use crate::log::{GroupLog, LogHandle, NodeLog, read_tombstone};
use crate::machine::{Rows, StateMachine};
use crate::options::{EngineOptions, RaftTiming};
use crate::peer::{CallError, GroupLink, Link};
use crate::proposer::{Courier, Proposer, ProposerLimits, forward};
use crate::raft::{Inner, Raft};
use crate::raft_types::{LogId, Types};
use crate::range::{FIRST_EPOCH, RangeRecord, ShardId, StoreKind};
use crate::runtime::with_random;
use crate::snapshot::Receiver;
use crate::space::SharedGauge;
use crate::state::{Extent, StateHandle, Stripe, View};
use crate::wire::{ForwardOutcome, Request};
use crate::workers::Workers;

/// How long an opening waits for this node to lead a shard that it has alone.
const LEADER_WAIT: Duration = Duration::from_secs(30);
/// How long a purge waits for Raft to take note of a snapshot before it leaves it to the next one.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(5);

/// Log of a group that a follower keeps for others.
pub(crate) const FOLLOWER_LOG_BYTES_KEPT: u64 = 64 * 1024 * 1024;

/// What replicas are opened with.
#[derive(Debug, Clone)]
pub(crate) struct ReplicaSetup {
    pub(crate) options: EngineOptions,
    pub(crate) storage: Storage,
    pub(crate) fence: Fence,
    pub(crate) log: NodeLog,
    pub(crate) link: Arc<Link>,
    pub(crate) gauge: SharedGauge,
    /// Replicas made in this life of the process: each one's proposer has a number of its own.
    pub(crate) makings: Arc<AtomicU64>,
}

impl ReplicaSetup {
    pub(crate) const fn workers(&self) -> Workers {
        self.options.seams.workers
    }

    /// A proposer that no replica here had before: incarnations never repeat, nor do makings in one.
    fn next_proposer(&self) -> ProposerId {
        ProposerId {
            node: self.options.node,
            incarnation: self.options.incarnation,
            making: self.makings.fetch_add(1, Ordering::Relaxed),
        }
    }
}

/// This node's replica of one shard.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) proposer: Arc<Proposer>,
    pub(crate) raft: Raft,
    pub(crate) state: StateHandle,
    pub(crate) receiver: Receiver,
    pub(crate) link: GroupLink,
    pub(crate) timing: RaftTiming,
    laggard_log_bytes_max: u64,
    pub(crate) fence: Fence,
    /// Held while the members are changed, and while the range is split.
    pub(crate) changing: tokio::sync::Mutex<()>,
    /// Its group was made just now, by this node: it elects by itself.
    is_founded: bool,
}

impl Replica {
    pub(crate) async fn start(
        setup: &ReplicaSetup,
        kind: StoreKind,
        stripe: Stripe,
        record: &RangeRecord,
        machine: Arc<dyn StateMachine>,
    ) -> Result<Self, OpenError> {
        let options = &setup.options;
        let shard = record.shard;
        let state = load_state(setup, stripe, extent_of(record), machine).await?;
        check_log_reaches_state(&state, shard)?;
        let link = GroupLink {
            link: Arc::clone(&setup.link),
            kind,
            group: Arc::clone(&state.group),
            left: read_tombstone(&*setup.log.database().get_open()?, shard)?,
        };
        let config = raft_config(shard, &options.timing)?;
        let log = LogHandle(Arc::clone(&state.log));
        let starting = Inner::new(options.node.0, config, link.clone(), log, state.clone());
        let raft = with_random(options.seams.random.as_ref(), starting)
            .await
            .map_err(|error| raft_error(shard, &error))?;
        let limits = ProposerLimits {
            queue_bytes_max: options.queue_bytes_max,
            in_flight_bytes_max: options.in_flight_bytes_max,
        };
        let group = Arc::clone(&state.group);
        let mut replica = Self {
            proposer: Arc::new(Proposer::new(
                setup.next_proposer(),
                group,
                &state.log,
                setup.fence.clone(),
                Arc::clone(&setup.gauge),
                limits,
            )),
            raft: Raft::new(raft),
            state,
            receiver: Receiver::default(),
            link,
            timing: options.timing,
            laggard_log_bytes_max: options.laggard_log_bytes_max,
            changing: tokio::sync::Mutex::default(),
            fence: setup.fence.clone(),
            is_founded: false,
        };
        replica.is_founded = replica.found(&record.founders).await?;
        Ok(replica)
    }

    pub(crate) fn shard(&self) -> ShardId {
        self.state.group.shard()
    }

    /// Writes the first members into an empty group, if this node was told to.
    async fn found(&self, founders: &[NodeId]) -> Result<bool, OpenError> {
        if founders.is_empty() {
            return Ok(false);
        }
        let members: BTreeMap<_, _> = founders.iter().map(|node| (node.0, EmptyNode {})).collect();
        match self
            .raft
            .call(|raft| async move { raft.initialize(members).await })
            .await
        {
            Ok(()) => Ok(true),
            // It was done in an earlier life.
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(false),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// [`lead`](Self::lead) if this node alone is the group.
    pub(crate) async fn lead_if_alone(&self) -> Result<(), OpenError> {
        if self.is_alone().await? {
            self.lead().await?;
        }
        Ok(())
    }

    /// Whether this node alone is the group.
    async fn is_alone(&self) -> Result<bool, OpenError> {
        let node = self.link.link.node.0;
        let is_alone = move |state: &RaftState<Types>| {
            let members = state.membership_state.effective();
            members.voter_ids().eq(std::iter::once(node))
        };
        let asked = self
            .raft
            .call(|raft| async move { raft.with_raft_state(is_alone).await });
        asked.await.map_err(|error| self.failed(&error))
    }

    /// Makes this node the leader of a group that it has alone, and waits until everything that was
    /// committed in an earlier life is applied.
    async fn lead(&self) -> Result<(), OpenError> {
        let node = self.link.link.node;
        if !self.is_founded {
            let elected = self
                .raft
                .call(|raft| async move { raft.trigger().elect(false).await })
                .await;
            elected.map_err(|error| self.failed(&error))?;
        }
        let wait = self.raft.wait(LEADER_WAIT);
        wait.current_leader(node.0, "to lead")
            .await
            .map_err(|error| self.failed(&error))?;
        let ready = self.raft.call(await_committed).await;
        ready.map(drop).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> OpenError {
        if self.fence.is_tripped() {
            OpenError::Fenced
        } else {
            raft_error(self.shard(), error)
        }
    }

    /// What the proposer of this replica runs with.
    pub(crate) fn courier(&self, options: &EngineOptions) -> Courier {
        Courier {
            raft: self.raft.clone(),
            link: self.link.clone(),
            clock: Arc::clone(&options.clock),
            patience: options.propose_timeout,
            forward_timeout: self.timing.election_max,
            pause: self.timing.heartbeat / 2,
        }
    }

    /// Proposes batches of another node.
    pub(crate) async fn forward(&self, batches: Vec<EncodedBatch>) -> Vec<ForwardOutcome> {
        forward(&self.raft, batches).await
    }

    /// What this node has applied.
    pub(crate) fn read<R>(
        &self,
        read: impl FnOnce(&dyn Rows) -> Result<R, RowError>,
    ) -> Result<R, ReadError> {
        if self.fence.is_tripped() {
            return Err(ReadError::Fenced);
        }
        Ok(read(&self.state.view(View::reading)?)?)
    }

    /// A digest of what this node has applied. Reads everything.
    pub(crate) async fn digest(&self) -> Result<Option<StateDigest>, ReadError> {
        if self.fence.is_tripped() {
            return Err(ReadError::Fenced);
        }
        let state = self.state.clone();
        let read = move || Ok(digest(&state.view(View::now)?)?);
        let read = self.link.link.workers.run(read).await;
        read.ok_or(ReadError::Closed)?
    }

    /// Returns once this node has applied everything that was committed before the call, as the
    /// leader confirms: this node or another one.
    pub(crate) async fn confirm(&self) -> Result<(), ReadError> {
        match self.raft.call(await_committed).await {
            Ok(_applied) => Ok(()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                self.confirm_there(forward.leader_id.map(NodeId)).await
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                Err(ReadError::NotLeader { leader: None })
            }
            Err(RaftError::Fatal(_)) => Err(self.ended()),
        }
    }

    async fn confirm_there(&self, leader: Option<NodeId>) -> Result<(), ReadError> {
        let not_led = ReadError::NotLeader { leader };
        let Some(leader) = leader else {
            return Err(not_led);
        };
        let within = self.timing.election_max;
        let asked: Result<u64, CallError> =
            self.link.call(leader, &Request::ReadIndex, within).await;
        let Ok(index) = asked else {
            return Err(not_led);
        };
        let wait = self.raft.wait(within);
        let applied = wait
            .applied_index_at_least(Some(index), "a read index")
            .await;
        applied.map(drop).map_err(|_late| not_led)
    }

    /// The index that a read elsewhere must have applied; `None` unless this node leads.
    pub(crate) async fn read_index(&self) -> Option<u64> {
        let asked = self
            .raft
            .call(|raft| async move { raft.get_read_log_id(ReadPolicy::ReadIndex).await })
            .await;
        asked.ok().map(|(read, _applied)| read.log_id().index)
    }

    fn ended(&self) -> ReadError {
        if self.fence.is_tripped() {
            ReadError::Fenced
        } else {
            ReadError::Closed
        }
    }

    /// Purges the log up to what is durable in the state and known to every replica.
    pub(crate) async fn purge(&self) {
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
        if self
            .raft
            .call(|raft| async move { raft.trigger().snapshot().await })
            .await
            .is_err()
        {
            return;
        }
        let wait = self.raft.wait(SNAPSHOT_WAIT);
        let is_known = |snapshot: Option<u64>| snapshot.is_some_and(|index| index >= durable);
        let metrics = wait
            .metrics(
                |metrics| is_known(metrics.snapshot.map(|id| id.index)),
                "a snapshot",
            )
            .await;
        let Ok(metrics) = metrics else { return };
        let upto = durable.min(self.purgeable(metrics.replication.as_ref()));
        if self.state.log.purged().unwrap_or(0) >= upto {
            return;
        }
        // Raft has ended: nothing is left to purge.
        let purge = |raft: Inner| async move { raft.trigger().purge_log(upto).await };
        drop(self.raft.call(purge).await);
    }

    /// Purges a log that begins with entries of ranges before the last split, if a member has nothing
    /// of it yet: it cannot apply them, and gets a snapshot instead. On the leader, else nothing is
    /// done.
    pub(crate) async fn purge_for_new_members(&self) {
        let replication = self.raft.metrics().borrow_watched().replication.clone();
        if replication.is_some_and(|replication| self.has_member_for_snapshot(&replication)) {
            self.purge().await;
        }
    }

    fn has_member_for_snapshot(&self, replication: &BTreeMap<u64, Option<LogId>>) -> bool {
        self.state.log.purged().is_none()
            && self.state.group.extent().epoch > FIRST_EPOCH
            && replication.values().any(Option::is_none)
    }

    /// Up to where the log is not needed by other replicas. Only the leader knows how far they are;
    /// a follower keeps some for the day it leads.
    fn purgeable(&self, replication: Option<&BTreeMap<u64, Option<LogId>>>) -> u64 {
        let log = &self.state.log;
        let Some(replication) = replication else {
            return log.index_before_last(FOLLOWER_LOG_BYTES_KEPT);
        };
        if self.has_member_for_snapshot(replication) {
            return u64::MAX;
        }
        let matched = replication.values();
        let slowest = matched.map(|id| id.map_or(0, |id| id.index)).min();
        let slowest = slowest.unwrap_or(u64::MAX);
        slowest.max(log.index_before_last(self.laggard_log_bytes_max))
    }

    pub(crate) async fn stop(&self) {
        let shutdown = |raft: Inner| async move { raft.shutdown().await };
        if let Err(error) = self.raft.call(shutdown).await {
            tracing::error!(shard = %self.shard(), %error, "Raft ended by a panic");
        }
    }
}

/// Confirms leadership and waits until everything that was committed before is applied.
async fn await_committed(
    raft: Inner,
) -> Result<ReadLogId<Types>, RaftError<Types, LinearizableReadError<Types>>> {
    raft.ensure_linearizable(ReadPolicy::ReadIndex).await
}

/// The extent that a record says.
pub(crate) fn extent_of(record: &RangeRecord) -> Extent {
    Extent {
        shard: record.shard,
        range: Arc::new(record.range.clone()),
        epoch: record.epoch,
    }
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
    let loaded = setup.workers().run(load).await;
    loaded.ok_or(OpenError::Fenced)?
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

fn raft_config(shard: ShardId, timing: &RaftTiming) -> Result<Arc<Config>, OpenError> {
    let (heartbeat, election_min) = (millis(timing.heartbeat), millis(timing.election_min));
    let config = Config {
        cluster_name: shard.to_string(),
        heartbeat_interval: heartbeat,
        election_timeout_min: election_min,
        election_timeout_max: millis(timing.election_max),
        // A node that cannot be reached is tried again at least once per election.
        backoff: format!("{}ms ...{election_min}ms", (heartbeat / 2).max(1)),
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

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn raft_error(shard: ShardId, error: &dyn std::fmt::Display) -> OpenError {
    OpenError::Raft {
        shard,
        text: error.to_string(),
    }
}
