//! One message to its receivers: sessions of this node, inboxes, the retained store.
//!
//! Local deliveries are done when [`route`] returns. What must be durable comes back as waits: the
//! publisher is acknowledged after all of them (protocols B). Submitting keeps the order of calls.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tessera_dist::Receiver;
use tessera_inbox::{
    InsertOutcome, InsertRequest, LiveGrant, LiveOutcome, OverflowPolicy, PublishOrigin,
    QueueBounds, Target,
};
use tessera_mqtt::{Message, Qos};
use tessera_retain::{PutOutcome, PutRequest, RetainBounds};
use tessera_session::{Delivery, Grant};
use tessera_tenancy::{PrincipalId, TenantId};

use crate::drops::{DropReason, TenantDrops};
use crate::shared::Shared;
use crate::targets::{Group, GroupMember, InboxTarget, LocalTarget, Spread, Targets};
use crate::tenants::Tenant;

/// How long a publish waits to become durable before it is refused.
const DURABLE_TIMEOUT: Duration = Duration::from_secs(10);

/// What one persistent session's queue may hold; the oldest give way, counted as dropped.
pub(crate) const INBOX_BOUNDS: QueueBounds = QueueBounds {
    messages_max: 100_000,
    bytes_max: 64 * 1024 * 1024,
    overflow: OverflowPolicy::DropOldest,
};

/// Why a message was not stored everywhere it had to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DurableError {
    /// The tenant keeps as many retained messages as it may.
    #[error("the tenant's retained messages are full")]
    RetainedFull,
    /// A shard did not take it.
    #[error("not stored: {0}")]
    Store(String),
    /// A shard did not answer in time.
    #[error("not stored within {DURABLE_TIMEOUT:?}")]
    Timeout,
}

/// Waits until one store has the message on disk.
pub(crate) type Durable = Pin<Box<dyn Future<Output = Result<(), DurableError>> + Send>>;

/// What a publish came to so far.
#[derive(Default)]
pub(crate) struct Routed {
    /// To be awaited before the publisher is acknowledged.
    pub(crate) durable: Vec<Durable>,
    /// Receivers whose queue is full: the publisher waits for them.
    pub(crate) held: Vec<LocalTarget>,
}

/// A message and who says it.
#[derive(Debug, Clone)]
pub(crate) struct Publication {
    pub(crate) message: Message,
    pub(crate) writer: PrincipalId,
    /// Set for QoS 2 of a persistent session.
    pub(crate) origin: Option<PublishOrigin>,
}

/// Hands a message to everyone in `targets`, and to the retained store if RETAIN is set.
pub(crate) fn route(
    shared: &Arc<Shared>,
    tenant: &Tenant,
    publication: &Publication,
    targets: &Targets,
) -> Routed {
    let mut walk = Walk {
        shared,
        tenant,
        publication,
        now: shared.clock.now(),
        routed: Routed::default(),
        inboxes: Vec::new(),
    };
    for target in &targets.local {
        walk.local(target);
    }
    for target in &targets.inboxes {
        walk.inbox(target);
    }
    for group in &targets.groups {
        walk.group(group);
    }
    walk.insert();
    if publication.message.retain {
        walk.retain();
    }
    walk.routed
}

struct Walk<'a> {
    shared: &'a Arc<Shared>,
    tenant: &'a Tenant,
    publication: &'a Publication,
    now: Duration,
    routed: Routed,
    inboxes: Vec<Target>,
}

impl Walk<'_> {
    /// `false` if the session is gone.
    fn local(&mut self, target: &LocalTarget) -> bool {
        match target.deliver(&self.publication.message, self.now) {
            Delivery::WouldOverflow => {
                self.routed.held.push(target.clone());
                true
            }
            Delivery::Closed => false,
            Delivery::Written
            | Delivery::Queued
            | Delivery::DroppedTooLarge
            | Delivery::DroppedFull
            | Delivery::Known => true,
        }
    }

    /// `false` if nobody is connected who could have a message that is not queued.
    fn inbox(&mut self, target: &InboxTarget) -> bool {
        let message = &self.publication.message;
        let retain = message.retain && target.terms.retain_as_published;
        let qos = message.qos.min(target.terms.qos);
        if qos == Qos::AtMostOnce {
            let grant = LiveGrant {
                retain,
                subscription_ids: &target.terms.subscription_ids,
            };
            let outcome = self.shared.inbox.deliver_live(
                self.tenant.id,
                &target.client,
                inbox_incarnation(target.incarnation),
                message,
                &grant,
            );
            return match outcome {
                LiveOutcome::Delivered => true,
                LiveOutcome::Offline | LiveOutcome::NoSubscription => false,
            };
        }
        self.inboxes.push(Target {
            client: target.client.clone(),
            incarnation: inbox_incarnation(target.incarnation),
            qos,
            retain,
            subscription_ids: target.terms.subscription_ids.iter().copied().collect(),
        });
        true
    }

    /// One member takes the message: the next that is connected, or else the next that keeps it.
    fn group(&mut self, group: &Group) {
        let first = match group.spread {
            Spread::InTurns => self.tenant.next_share_turn(),
            Spread::ByPublisher => 0,
        };
        let members = &group.members;
        // What an absent member keeps waits until it is back: those who are connected come first.
        for connected in [true, false] {
            for step in 0..members.len() {
                let member = &members[first.wrapping_add(step) % members.len()];
                if self.is_connected(member) == connected && self.give(member) {
                    return;
                }
            }
        }
    }

    fn is_connected(&self, member: &GroupMember) -> bool {
        match member {
            GroupMember::Local(_) => true,
            GroupMember::Inbox(target) => {
                self.shared.inbox.is_online(self.tenant.id, &target.client)
            }
        }
    }

    /// `false` if the member is gone.
    fn give(&mut self, member: &GroupMember) -> bool {
        match member {
            GroupMember::Local(target) => self.local(target),
            GroupMember::Inbox(target) => self.inbox(target),
        }
    }

    fn insert(&mut self) {
        if self.inboxes.is_empty() {
            return;
        }
        let request = InsertRequest {
            message: Arc::new(self.publication.message.clone()),
            writer: self.publication.writer,
            bounds: INBOX_BOUNDS,
            origin: self.publication.origin.clone(),
            targets: std::mem::take(&mut self.inboxes),
        };
        let submitted = self.shared.inbox.submit_insert(self.tenant.id, &request);
        let shared = Arc::clone(self.shared);
        let (tenant, drops) = (self.tenant.id, Arc::clone(&self.tenant.drops));
        self.routed.durable.push(Box::pin(async move {
            let pending = submitted.map_err(|error| DurableError::Store(error.to_string()))?;
            let outcomes = within_deadline(pending).await?;
            settle(&shared, tenant, &drops, &request.targets, &outcomes);
            Ok(())
        }));
    }

    fn retain(&mut self) {
        let request = PutRequest {
            message: Arc::new(self.publication.message.clone()),
            writer: self.publication.writer,
            bounds: RetainBounds::default(),
        };
        let submitted = self.shared.retain.submit_put(self.tenant.id, &request);
        self.routed.durable.push(Box::pin(async move {
            let pending = submitted.map_err(|error| DurableError::Store(error.to_string()))?;
            match within_deadline(pending).await? {
                PutOutcome::Full => Err(DurableError::RetainedFull),
                PutOutcome::Stored { .. } | PutOutcome::Cleared { .. } | PutOutcome::Expired => {
                    Ok(())
                }
            }
        }));
    }
}

impl LocalTarget {
    /// Gives the session its copy.
    pub(crate) fn deliver(&self, message: &Message, now: Duration) -> Delivery {
        let grant = Grant {
            qos: message.qos.min(self.terms.qos),
            retain: message.retain && self.terms.retain_as_published,
            dup: false,
            sequence: None,
            subscription_ids: &self.terms.subscription_ids,
            expiry_seconds: message.expiry_seconds,
        };
        self.outbox.deliver(message, &grant, now)
    }
}

/// Counts what was dropped and removes routes that lead nowhere.
fn settle(
    shared: &Arc<Shared>,
    tenant: TenantId,
    drops: &TenantDrops,
    targets: &[Target],
    outcomes: &[InsertOutcome],
) {
    for (target, outcome) in targets.iter().zip(outcomes) {
        match outcome {
            InsertOutcome::Overflowed { dropped, .. } => {
                drops.add(DropReason::QueueFull, u64::from(*dropped));
            }
            InsertOutcome::NoSubscription => shared.drop_dead_routes(
                tenant,
                Receiver::Persistent {
                    client: target.client.clone(),
                    incarnation: dist_incarnation(target.incarnation),
                },
            ),
            InsertOutcome::Expired => drops.add(DropReason::Expired, 1),
            InsertOutcome::Stored | InsertOutcome::Duplicate => {}
        }
    }
}

async fn within_deadline<T, E: std::fmt::Display>(
    pending: impl Future<Output = Result<T, E>>,
) -> Result<T, DurableError> {
    match tokio::time::timeout(DURABLE_TIMEOUT, pending).await {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(error)) => Err(DurableError::Store(error.to_string())),
        Err(_elapsed) => Err(DurableError::Timeout),
    }
}

/// The same number, as the two stores call it.
pub(crate) const fn inbox_incarnation(
    incarnation: tessera_dist::SessionIncarnation,
) -> tessera_inbox::SessionIncarnation {
    tessera_inbox::SessionIncarnation(incarnation.0)
}

/// The same number, as the two stores call it.
pub(crate) const fn dist_incarnation(
    incarnation: tessera_inbox::SessionIncarnation,
) -> tessera_dist::SessionIncarnation {
    tessera_dist::SessionIncarnation(incarnation.0)
}
