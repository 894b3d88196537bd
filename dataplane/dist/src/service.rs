//! Dist on one node: opening, routes in and out, tenants' routes for readers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tessera_mqtt::FilterSpec;
use tessera_shard::{
    ChangeError, Engine, OpenError, Proposal, ProposeError, ReadError, RowError, Scope, Shard,
    ShardId, ShardStatus, Store, StoreKind,
};
use tessera_tenancy::{Incarnation, NodeId, TenantId};

use crate::apply::{ENDED_ROUTES_PER_STEP, Routes};
use crate::command::{Command, Refusal, Reply};
use crate::keys::{Identity, Undecodable};
use crate::leases::Leases;
use crate::route::{NodeSession, Receiver, RouteOptions};
use crate::tries::{Memory, TenantRoutes};

/// Steps of clearing an ended session that are on their way at once: they share log entries.
const CLEARING_STEPS_IN_FLIGHT: usize = 8;

/// How dist is opened.
#[derive(Debug, Clone, Copy)]
pub struct DistOptions {
    /// Key ranges that a new cluster starts with: 1 to 256, ignored later.
    pub ranges: usize,
    /// This node.
    pub node: NodeId,
    /// This life of its process: larger at each start.
    pub incarnation: Incarnation,
}

/// Subscriptions to receivers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Dist {
    pub(crate) store: Store<Routes>,
    options: DistOptions,
    /// The number of this node's session.
    number: Arc<AtomicU64>,
    /// Grows with each change of node sessions in any shard.
    generation: Arc<AtomicU64>,
    /// The tries of the tenants in use.
    memory: Arc<Memory>,
    /// `None`: this node is alone, and nobody ends its session.
    pub(crate) leases: Option<Arc<Leases>>,
}

/// Why dist could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DistOpenError {
    /// The store could not be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The node session could not be opened, or the former ones not be ended.
    #[error("node session: {0}")]
    NodeSession(#[from] RouteError),
}

/// Why a route was not added or removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The shard did not answer. Whether the command took effect is unknown if it was taken.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// The shard refused. Nothing changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The shard's answer is not one to this command.
    #[error("the shard's answer is not one to this command")]
    UnexpectedReply,
}

/// Why a tenant's routes could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The shard could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The runtime stopped meanwhile.
    #[error("the runtime is shutting down")]
    Stopped,
}

impl Dist {
    /// Opens the store of a node that is alone and, in each shard, this node's session. When it
    /// returns, the node's former sessions have ended and their transient routes are gone: O(those
    /// routes), in steps of at most 500.
    pub async fn open(engine: &Engine, options: DistOptions) -> Result<Self, DistOpenError> {
        let (generation, memory) = Default::default();
        let make = maker(&generation, &memory);
        let store = engine
            .open_store(StoreKind::Dist, options.ranges, make)
            .await?;
        let dist = Self::new(store, options, (generation, memory), None);
        dist.enter().await?;
        Ok(dist)
    }

    /// Opens the store of one of several nodes, with the replicas that it has; the ranges were made
    /// by [`Engine::init_store`]. Call [`enter`](Self::enter) once their groups have leaders.
    pub async fn join(engine: &Engine, options: DistOptions) -> Result<Self, DistOpenError> {
        let (generation, memory) = Default::default();
        let make = maker(&generation, &memory);
        let store = engine.join_store(StoreKind::Dist, make).await?;
        let leases = Some(Arc::<Leases>::default());
        Ok(Self::new(store, options, (generation, memory), leases))
    }

    fn new(
        store: Store<Routes>,
        options: DistOptions,
        (generation, memory): (Arc<AtomicU64>, Arc<Memory>),
        leases: Option<Arc<Leases>>,
    ) -> Self {
        Self {
            store,
            options,
            number: Arc::default(),
            generation,
            memory,
            leases,
        }
    }

    /// Opens this node's session in each shard: a new one if the one before has ended. The node's
    /// former sessions have ended when it returns, and their transient routes are gone.
    pub async fn enter(&self) -> Result<(), RouteError> {
        let number = open_node_sessions(&self.store, self.options).await?;
        for shard in self.store.shards() {
            end_former_sessions(&shard, self.options.node).await?;
        }
        self.number.store(number, Ordering::Release);
        Ok(())
    }

    /// This node's session: what its own transient routes carry.
    pub fn node_session(&self) -> NodeSession {
        NodeSession {
            node: self.options.node,
            number: self.number.load(Ordering::Acquire),
        }
    }

    /// Grows with each change of node sessions that this node sees.
    pub fn sessions_generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether a node session has not ended, as far as this node has applied.
    pub fn is_live(&self, tenant: TenantId, session: NodeSession) -> bool {
        self.shard_of(tenant).machine().nodes().is_live(session)
    }

    /// The node sessions that have not ended, as far as this node has applied.
    pub fn live_sessions(&self, tenant: TenantId) -> Vec<NodeSession> {
        self.shard_of(tenant).machine().nodes().live()
    }

    /// Returns once this node shows everything that was committed for the tenant before the call.
    pub async fn catch_up(&self, tenant: TenantId) -> Result<(), ReadError> {
        let shard = self.shard_of(tenant);
        shard.read_linearizable(|_rows| Ok(())).await
    }

    /// The tenant's routes. Those of a tenant that is not in memory are read first, off the calling
    /// thread: O(its routes), once for all who ask meanwhile. While anybody holds what this returns,
    /// it stays in memory and shows every change.
    pub async fn tenant(&self, tenant: TenantId) -> Result<Arc<TenantRoutes>, LoadError> {
        let shard = self.shard_of(tenant);
        let routes = shard.machine().tries().tenant(tenant);
        if !routes.is_loaded() {
            load_once(&self.store, &routes).await?;
        }
        Ok(routes)
    }

    /// Adds a route or replaces its options; doing it again changes nothing. The command is in line
    /// when this returns, before the future is polled, in the order of the calls for one tenant.
    /// When the future is done the route is durable, and in every later snapshot of this node.
    pub fn add_route(
        &self,
        tenant: TenantId,
        filter: &FilterSpec,
        receiver: &Receiver,
        options: RouteOptions,
    ) -> impl Future<Output = Result<(), RouteError>> + Send + use<> {
        let command = Command::AddRoute {
            identity: Identity::new(filter, receiver),
            receiver: receiver.clone(),
            options,
        };
        done(self.submit(tenant, &command))
    }

    /// Removes a route; no error if it is not there. As [`add_route`](Self::add_route) otherwise.
    pub fn remove_route(
        &self,
        tenant: TenantId,
        filter: &FilterSpec,
        receiver: &Receiver,
    ) -> impl Future<Output = Result<(), RouteError>> + Send + use<> {
        let command = Command::RemoveRoute {
            identity: Identity::new(filter, receiver),
            receiver: receiver.clone(),
        };
        done(self.submit(tenant, &command))
    }

    /// How this node's replicas stand, in key order.
    pub fn shards(&self) -> Vec<ShardStatus> {
        self.store.shards().map(|shard| shard.status()).collect()
    }

    /// Splits a range in front of a tenant: the new shard has it and those behind it. Where this node
    /// leads the tenant's shard.
    pub async fn split_before(&self, tenant: TenantId) -> Result<ShardId, ChangeError> {
        let shard = self.store.shard_for(tenant, &[]);
        shard.split(tenant.as_bytes()).await
    }

    /// Drops from memory the tries that nobody holds: empty ones, and those that nobody asked for
    /// since the last call. To be called now and then; they are read again when asked for. Returns
    /// how many went. O(tenants in memory).
    pub fn evict_idle(&self) -> usize {
        self.memory.evict_idle()
    }

    /// Tenants whose routes are in memory.
    pub fn tenants_loaded(&self) -> usize {
        self.memory.len()
    }

    fn submit(&self, tenant: TenantId, command: &Command) -> Result<Proposal, ProposeError> {
        submit(&self.shard_of(tenant), Scope::Tenant(tenant), command)
    }

    /// A tenant's keys are all in one shard: ranges are cut between first bytes.
    pub(crate) fn shard_of(&self, tenant: TenantId) -> Shard<Routes> {
        self.store.shard_for(tenant, &[])
    }
}

fn maker(
    generation: &Arc<AtomicU64>,
    memory: &Arc<Memory>,
) -> impl Fn(ShardId) -> Routes + Send + Sync + 'static {
    let (generation, memory) = (Arc::clone(generation), Arc::clone(memory));
    move |_shard| Routes::new(Arc::clone(&generation), Arc::clone(&memory))
}

/// Reads the rows off this thread, unless somebody else did while this waited.
async fn load_once(store: &Store<Routes>, routes: &Arc<TenantRoutes>) -> Result<(), LoadError> {
    let _turn = routes.turn_to_load().await;
    if routes.is_loaded() {
        return Ok(());
    }
    let shard = store.shard_for(routes.tenant(), &[]);
    let (store, routes) = (store.clone(), Arc::clone(routes));
    let loading = shard.run_reading(move || load(&store, &routes));
    Ok(loading.await.ok_or(LoadError::Stopped)??)
}

/// Each step from whichever shard has the tenant then.
fn load(store: &Store<Routes>, routes: &TenantRoutes) -> Result<(), ReadError> {
    let mut is_read = false;
    while !is_read {
        let shard = store.shard_for(routes.tenant(), &[]);
        let of = shard.id();
        is_read = shard
            .machine()
            .tries()
            .load_step(routes, |from, until, visit| {
                shard.read(|rows| {
                    if rows.covers(from) {
                        rows.scan(from, until, visit)
                    } else {
                        Err(RowError::OutsideRange { shard: of })
                    }
                })
            })?;
    }
    Ok(())
}

/// Opens this node's session in every shard, under one number for all.
async fn open_node_sessions(
    store: &Store<Routes>,
    options: DistOptions,
) -> Result<u64, RouteError> {
    let largest = open_at_least(store, options, 1).await?.largest;
    let opened = open_at_least(store, options, largest).await?;
    if opened.smallest != opened.largest {
        return Err(RouteError::UnexpectedReply);
    }
    Ok(opened.largest)
}

/// The numbers that the shards gave.
struct OpenedNumbers {
    smallest: u64,
    largest: u64,
}

async fn open_at_least(
    store: &Store<Routes>,
    options: DistOptions,
    number_min: u64,
) -> Result<OpenedNumbers, RouteError> {
    let command = Command::OpenNodeSession {
        node: options.node,
        incarnation: options.incarnation,
        number_min,
    };
    let proposals: Vec<_> = store
        .shards()
        .map(|shard| submit(&shard, Scope::Group, &command))
        .collect();
    let mut numbers = OpenedNumbers {
        smallest: u64::MAX,
        largest: number_min,
    };
    for proposal in proposals {
        match reply_of(proposal).await? {
            Reply::Opened { number } => {
                numbers.smallest = numbers.smallest.min(number);
                numbers.largest = numbers.largest.max(number);
            }
            Reply::Done | Reply::Removed { .. } | Reply::Refused(_) => {
                return Err(RouteError::UnexpectedReply);
            }
        }
    }
    Ok(numbers)
}

pub(crate) async fn end_former_sessions(
    shard: &Shard<Routes>,
    node: NodeId,
) -> Result<(), RouteError> {
    let command = Command::RemoveEndedRoutes {
        node,
        limit: ENDED_ROUTES_PER_STEP,
    };
    let mut steps = 1;
    while steps > 0 {
        let proposals: Vec<_> = (0..steps)
            .map(|_| submit(shard, Scope::Group, &command))
            .collect();
        let mut more_left = false;
        for proposal in proposals {
            match reply_of(proposal).await? {
                Reply::Removed { more, .. } => more_left = more,
                Reply::Done | Reply::Opened { .. } | Reply::Refused(_) => {
                    return Err(RouteError::UnexpectedReply);
                }
            }
        }
        steps = if more_left {
            CLEARING_STEPS_IN_FLIGHT
        } else {
            0
        };
    }
    Ok(())
}

pub(crate) fn submit(
    shard: &Shard<Routes>,
    scope: Scope,
    command: &Command,
) -> Result<Proposal, ProposeError> {
    let encoded = Bytes::from(command.encode());
    if command.frees() {
        shard.submit_freeing(scope, encoded)
    } else {
        shard.submit(scope, encoded)
    }
}

pub(crate) async fn done(proposal: Result<Proposal, ProposeError>) -> Result<(), RouteError> {
    match reply_of(proposal).await? {
        Reply::Done => Ok(()),
        Reply::Opened { .. } | Reply::Removed { .. } | Reply::Refused(_) => {
            Err(RouteError::UnexpectedReply)
        }
    }
}

/// What the shard answered, unless it refused.
async fn reply_of(proposal: Result<Proposal, ProposeError>) -> Result<Reply, RouteError> {
    let answer = proposal?.await?;
    match Reply::decode(&answer).map_err(|Undecodable(_)| RouteError::UnexpectedReply)? {
        Reply::Refused(refusal) => Err(refusal.into()),
        reply @ (Reply::Done | Reply::Opened { .. } | Reply::Removed { .. }) => Ok(reply),
    }
}
