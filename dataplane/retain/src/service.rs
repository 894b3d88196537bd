//! The store's service: what a node calls.

use std::fmt;
use std::sync::Arc;

use tessera_mqtt::{TopicFilter, TopicName};
use tessera_shard::{Engine, OpenError, ReadError, Scope, Store, StoreKind};
use tessera_tenancy::TenantId;

use crate::apply::Machine;
use crate::body::encode_body;
use crate::command::{Answer, Command};
use crate::error::{ExpireError, PutError};
use crate::keys::message_key_rest;
use crate::message::{
    Expired, MatchCursor, Matches, PutOutcome, PutRequest, RetainedMessage, TenantFigures,
};
use crate::path::path_of;
use crate::query;

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
    round: Arc<tokio::sync::Mutex<Round>>,
}

/// Where the round of expiry over all shards and tenants is.
#[derive(Debug, Default)]
struct Round {
    shard: usize,
    tenant: [u8; 16],
}

impl Retain {
    /// Opens the store; on return this node leads every shard of it.
    pub async fn open(engine: &Engine, options: RetainOptions) -> Result<Self, OpenError> {
        let store = engine.open_store(StoreKind::Retain, options.ranges, |_| Machine).await?;
        Ok(Self { store, round: Arc::default() })
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
            Command::Put { path: &path, bounds: request.bounds, body: &body }
        };
        let shard = self.store.shard_for(tenant, &message_key_rest(&path));
        let proposal = shard.submit(Scope::Tenant(tenant), command.encode())?;
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
        let shard = self.store.shard_for(tenant, &message_key_rest(&path_of(topic)));
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

    /// One bounded step of removing messages that have expired, a few hundred of each tenant, so
    /// that none waits for another. Call it again while [`Expired::more`], then after a pause.
    /// `now_ms` says where to look; what is removed is decided by the group's own time.
    pub async fn expire(&self, now_ms: u64) -> Result<Expired, ExpireError> {
        let mut round = self.round.lock().await;
        let Some(shard) = self.store.shards().nth(round.shard).cloned() else {
            *round = Round::default();
            return Ok(Expired::default());
        };
        let (tenants, next) =
            shard.read(|rows| query::expired_tenants(rows, round.tenant, now_ms))?;
        let mut proposals = Vec::with_capacity(tenants.len());
        for tenant in tenants {
            proposals.push(shard.submit(Scope::Tenant(tenant), Command::Expire.encode())?);
        }
        let mut expired = Expired::default();
        for proposal in proposals {
            if let Some(Answer::Expired { messages, .. }) = Answer::decode(&proposal.await?) {
                expired.messages += messages;
            }
        }
        round.shard += usize::from(next.is_none());
        round.tenant = next.unwrap_or_default();
        expired.more = round.shard < self.store.shards().count();
        if !expired.more {
            *round = Round::default();
        }
        Ok(expired)
    }
}

impl fmt::Debug for Retain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retain").finish_non_exhaustive()
    }
}
