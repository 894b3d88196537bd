//! The store's service: what a node calls.

mod attach;
mod expire;
mod insert;
mod owner;
mod wills;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tessera_mqtt::{ClientId, Message};
use tessera_shard::{
    ChangeError, Engine, OpenError, Proposal, ProposeError, ReadError, RowError, Rows, Scope,
    Shard, ShardId, ShardStatus, Store, StoreKind,
};
use tessera_tenancy::TenantId;

use crate::answer::{Answer, Removed};
use crate::apply::Machine;
use crate::command::Command;
use crate::due::DueTenants;
use crate::keys::client_key_rest;
use crate::query;
use crate::registration::{Nodes, OwnerNode, Registration};
use crate::registry::{Registry, SessionKey};
use crate::session::{DiscardedRoute, LiveGrant, SessionIncarnation, SessionRef, TenantFigures};
use crate::turn::Turns;

use expire::Round;

/// How the store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboxOptions {
    /// Key ranges of a new store, cut evenly by the first byte of the tenant. Ignored later.
    pub ranges: usize,
}

impl Default for InboxOptions {
    /// One range.
    fn default() -> Self {
        Self { ranges: 1 }
    }
}

/// What came of a live delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveOutcome {
    /// The owner was given the message.
    Delivered,
    /// Nobody is connected; QoS 0 is not kept.
    Offline,
    /// The client has another session now: the route is to be removed.
    NoSubscription,
}

/// The home of sessions on this node. Cheap to clone.
#[derive(Clone)]
pub struct Inbox {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store<Machine>,
    registry: Arc<Registry>,
    turns: Turns,
    transient_epoch: AtomicU64,
    /// Sessions that may be online in the group without an owner here.
    abandoned: Mutex<Vec<SessionKey>>,
    /// Tenants with sessions that end.
    due: Arc<DueTenants>,
    /// Tenants with wills that wait.
    wills_due: Arc<DueTenants>,
    /// Look through all rows: not all that ends or is abandoned is known.
    look_around: Arc<AtomicBool>,
    round: tokio::sync::Mutex<Round>,
    /// The other nodes; `None` if this one is alone.
    nodes: Option<Arc<dyn Nodes>>,
    /// Clients that attach here right now, and that registered elsewhere since: under which number.
    fenced: Mutex<BTreeMap<SessionKey, Registration>>,
}

impl Inbox {
    /// Opens the store; on return this node leads every shard of it.
    pub async fn open(engine: &Engine, options: InboxOptions) -> Result<Self, OpenError> {
        let memory = Memory::default();
        let store = engine
            .open_store(StoreKind::Inbox, options.ranges, memory.maker())
            .await?;
        Ok(Self::new(store, memory, None))
    }

    /// Opens the store of one of several nodes, with the replicas that it has; the ranges were made
    /// by [`Engine::init_store`]. Every connection registers there, transient ones too.
    pub async fn join(engine: &Engine, nodes: Arc<dyn Nodes>) -> Result<Self, OpenError> {
        let memory = Memory::default();
        let store = engine.join_store(StoreKind::Inbox, memory.maker()).await?;
        Ok(Self::new(store, memory, Some(nodes)))
    }

    fn new(store: Store<Machine>, memory: Memory, nodes: Option<Arc<dyn Nodes>>) -> Self {
        // Who was online when the last process ended is not any more.
        memory.look_around.store(true, Ordering::Release);
        let inner = Inner {
            store,
            registry: memory.registry,
            turns: Turns::default(),
            transient_epoch: AtomicU64::new(1),
            abandoned: Mutex::default(),
            due: memory.due,
            wills_due: memory.wills_due,
            look_around: memory.look_around,
            round: tokio::sync::Mutex::default(),
            nodes,
            fenced: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// How this node's replicas stand, in key order.
    pub fn shards(&self) -> Vec<ShardStatus> {
        self.inner
            .store
            .shards()
            .map(|shard| shard.status())
            .collect()
    }

    /// Splits a range in front of a tenant: the new shard has it and those behind it. Where this node
    /// leads the tenant's shard.
    pub async fn split_before(&self, tenant: TenantId) -> Result<ShardId, ChangeError> {
        let shard = self.inner.store.shard_for(tenant, &[]);
        shard.split(tenant.as_bytes()).await
    }

    /// Where a client is connected, among several nodes, as far as this one has applied. `None` if it
    /// is not, or this node is alone.
    pub fn owner_node(
        &self,
        tenant: TenantId,
        client: &ClientId,
    ) -> Result<Option<OwnerNode>, ReadError> {
        if self.inner.nodes.is_none() {
            return Ok(None);
        }
        let client = client.as_bytes();
        let row = self.read(tenant, client, |rows| {
            query::registration(rows, tenant, client)
        })?;
        Ok(row.map(|row| row.owner))
    }

    /// Whether this node does the background work of a tenant's shard: the one that leads it.
    fn leads(&self, shard: &Shard<Machine>) -> bool {
        self.inner.nodes.is_none() || shard.status().is_leader
    }

    /// Whether a connection owns a session of this client, persistent or transient.
    pub fn is_online(&self, tenant: TenantId, client: &ClientId) -> bool {
        self.inner
            .registry
            .with(tenant, client.as_bytes(), |_| ())
            .is_some()
    }

    /// What the tenant has in this store, as far as this node has applied.
    pub fn figures(&self, tenant: TenantId) -> Result<TenantFigures, ReadError> {
        self.inner
            .store
            .shard_for(tenant, &[])
            .read(|rows| query::figures(rows, tenant))
    }

    /// Gives a QoS 0 message to the owner of an online persistent session. No I/O; order is that of
    /// the calls.
    pub fn deliver_live(
        &self,
        tenant: TenantId,
        client: &ClientId,
        incarnation: SessionIncarnation,
        message: &Message,
        grant: &LiveGrant<'_>,
    ) -> LiveOutcome {
        let found = self
            .inner
            .registry
            .with(tenant, client.as_bytes(), |registered| {
                (
                    Arc::clone(&registered.owner),
                    registered.ownership.incarnation,
                )
            });
        match found {
            None => LiveOutcome::Offline,
            Some((_, other)) if other != incarnation => LiveOutcome::NoSubscription,
            Some((owner, _)) => {
                owner.deliver_live(message, grant);
                LiveOutcome::Delivered
            }
        }
    }

    fn shard(&self, tenant: TenantId, client: &[u8]) -> Shard<Machine> {
        self.inner.store.shard_for(tenant, &client_key_rest(client))
    }

    /// Commits one command of a client's shard. An answer that does not read is `Malformed`.
    async fn propose(
        &self,
        tenant: TenantId,
        client: &[u8],
        command: Command<'_>,
    ) -> Result<Answer, ProposeError> {
        let answer = submit(&self.shard(tenant, client), tenant, &command)?.await?;
        Ok(Answer::decode(&answer).unwrap_or(Answer::Malformed))
    }

    /// Reads rows of a client's shard.
    fn read<R>(
        &self,
        tenant: TenantId,
        client: &[u8],
        read: impl FnOnce(&dyn Rows) -> Result<R, RowError>,
    ) -> Result<R, ReadError> {
        self.shard(tenant, client).read(read)
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("registry", &self.inner.registry)
            .finish_non_exhaustive()
    }
}

/// What machines and the service share.
#[derive(Default)]
struct Memory {
    registry: Arc<Registry>,
    due: Arc<DueTenants>,
    wills_due: Arc<DueTenants>,
    look_around: Arc<AtomicBool>,
}

impl Memory {
    fn maker(&self) -> impl Fn(ShardId) -> Machine + Send + Sync + 'static {
        let registry = Arc::clone(&self.registry);
        let (due, wills_due) = (Arc::clone(&self.due), Arc::clone(&self.wills_due));
        let look_around = Arc::clone(&self.look_around);
        move |_shard| {
            Machine::new(
                Arc::clone(&registry),
                Arc::clone(&due),
                Arc::clone(&wills_due),
                Arc::clone(&look_around),
            )
        }
    }
}

fn submit(
    shard: &Shard<Machine>,
    tenant: TenantId,
    command: &Command<'_>,
) -> Result<Proposal, ProposeError> {
    let (scope, encoded) = (Scope::Tenant(tenant), command.encode());
    if command.frees() {
        shard.submit_freeing(scope, encoded)
    } else {
        shard.submit(scope, encoded)
    }
}

fn key_of(session: &SessionRef) -> SessionKey {
    SessionKey::new(session.tenant, &session.client)
}

/// The routes of subscriptions that were removed. One whose filter does not read has none.
fn discarded_routes(
    tenant: TenantId,
    client: &ClientId,
    removed: &Removed,
    into: &mut Vec<DiscardedRoute>,
) {
    let incarnation = SessionIncarnation(removed.incarnation);
    for filter in &removed.filters {
        if let Some(filter) = query::read_filter(filter) {
            into.push(DiscardedRoute {
                tenant,
                client: client.clone(),
                incarnation,
                filter,
            });
        }
    }
}
