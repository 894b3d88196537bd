//! The store's service: what a node calls.

mod expire;

use std::fmt;
use std::sync::Arc;

use tessera_mqtt::{TopicFilter, TopicName};
use tessera_shard::{
    ChangeError, Engine, OpenError, Proposal, ProposeError, ReadError, Scope, Shard, ShardId,
    ShardStatus, Store, StoreKind,
};
use tessera_tenancy::TenantId;

use crate::apply::Machine;
use crate::body::encode_body;
use crate::command::{Answer, Command};
use crate::due::DueTenants;
use crate::error::PutError;
use crate::keys::message_key_rest;
use crate::message::{
    MatchCursor, Matches, PutOutcome, PutRequest, RetainedMessage, TenantFigures,
};
use crate::path::path_of;
use crate::query;

use expire::Round;

/// How the store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetainOptions {
    /// Key ranges of a new store, cut evenly by the first byte of the tenant. Ignored later.
    pub ranges: usize,
}

impl Default for RetainOptions {
    /// One range.
    fn default() -> Self {
        Self { ranges: 1 }
    }
}

/// The retained messages on this node. Cheap to clone.
#[derive(Clone)]
pub struct Retain {
    store: Store<Machine>,
    due: Arc<DueTenants>,
    round: Arc<tokio::sync::Mutex<Round>>,
    /// Several nodes have replicas: whoever leads a shard expires its messages.
    has_peers: bool,
}

impl Retain {
    /// Opens the store; on return this node leads every shard of it.
    pub async fn open(engine: &Engine, options: RetainOptions) -> Result<Self, OpenError> {
        let due = Arc::new(DueTenants::default());
        let store = engine
            .open_store(StoreKind::Retain, options.ranges, maker(&due))
            .await?;
        Ok(Self::new(store, due, false))
    }

    /// Opens the store of one of several nodes, with the replicas that it has; the ranges were made
    /// by [`Engine::init_store`].
    pub async fn join(engine: &Engine) -> Result<Self, OpenError> {
        let due = Arc::new(DueTenants::default());
        let store = engine.join_store(StoreKind::Retain, maker(&due)).await?;
        Ok(Self::new(store, due, true))
    }

    fn new(store: Store<Machine>, due: Arc<DueTenants>, has_peers: bool) -> Self {
        Self {
            store,
            due,
            round: Arc::default(),
            has_peers,
        }
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

    /// Returns once this node shows everything that was committed for the tenant before the call.
    /// At once if it is alone: then it shows what it has committed.
    pub async fn catch_up(&self, tenant: TenantId) -> Result<(), ReadError> {
        if !self.has_peers {
            return Ok(());
        }
        let shard = self.store.shard_for(tenant, &message_key_rest(&[]));
        shard.read_linearizable(|_rows| Ok(())).await
    }

    /// Puts a message, or the clearing of its topic if its payload is empty, in line, in the order of
    /// the calls. The future resolves once it is durable and readers see it.
    pub fn submit_put(
        &self,
        tenant: TenantId,
        request: &PutRequest,
    ) -> Result<impl Future<Output = Result<PutOutcome, PutError>> + Send + use<>, PutError> {
        let path = path_of(&request.message.topic);
        let body;
        let command = if request.message.payload.is_empty() {
            Command::Clear { path: &path }
        } else {
            body = encode_body(&request.message, request.writer);
            Command::Put {
                path: &path,
                bounds: request.bounds,
                body: &body,
            }
        };
        let shard = self.store.shard_for(tenant, &message_key_rest(&path));
        let proposal = submit(&shard, tenant, &command)?;
        Ok(async move {
            match Answer::decode(&proposal.await?) {
                Some(Answer::Put(outcome)) => Ok(outcome),
                Some(Answer::Malformed | Answer::Expired { .. }) | None => Err(PutError::Answer),
            }
        })
    }

    /// The message of a topic, unless it has expired by `now_ms`, the caller's Unix time in
    /// milliseconds.
    pub fn get(
        &self,
        tenant: TenantId,
        topic: &TopicName,
        now_ms: u64,
    ) -> Result<Option<RetainedMessage>, ReadError> {
        let shard = self
            .store
            .shard_for(tenant, &message_key_rest(&path_of(topic)));
        shard.read(|rows| query::get(rows, tenant, topic, now_ms))
    }

    /// One page of the messages that a filter matches: at most `limit`, at most 4 `MiB` (but at
    /// least one), from at most 20,000 rows that were looked at. Go on with `after` =
    /// [`Matches::next`]. Subtrees that cannot match are not read. Runs on the caller's thread.
    pub fn matching(
        &self,
        tenant: TenantId,
        filter: &TopicFilter,
        after: Option<&MatchCursor>,
        limit: usize,
        now_ms: u64,
    ) -> Result<Matches, ReadError> {
        let shard = self.store.shard_for(tenant, &message_key_rest(&[]));
        shard.read(|rows| query::matching(rows, tenant, filter, after, limit, now_ms))
    }

    /// What the tenant keeps, as far as this node has applied.
    pub fn figures(&self, tenant: TenantId) -> Result<TenantFigures, ReadError> {
        let shard = self.store.shard_for(tenant, &message_key_rest(&[]));
        shard.read(|rows| query::figures(rows, tenant))
    }
}

fn maker(due: &Arc<DueTenants>) -> impl Fn(ShardId) -> Machine + Send + Sync + 'static {
    let due = Arc::clone(due);
    move |_shard| Machine::new(Arc::clone(&due))
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

impl fmt::Debug for Retain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retain").finish_non_exhaustive()
    }
}
