//! One message to its receivers: sessions of this node, inboxes, the retained store.
//!
//! Local deliveries are done when [`route`] returns. What must be durable comes back as waits: the
//! publisher is acknowledged after all of them (protocols B). Submitting keeps the order of calls.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tessera_dist::{NodeSession, Receiver};
use tessera_inbox::{
    InsertOutcome, InsertRequest, LiveGrant, LiveOutcome, OwnerNode, PublishOrigin, QueueBound,
    Target,
};
use tessera_mqtt::{ClientId, Message, Qos};
use tessera_retain::{PutOutcome, PutRequest, RetainBounds};
use tessera_session::{Delivery, Grant, Loan};
use tessera_tenancy::{PrincipalId, TenantId};
use tokio::sync::oneshot;

use crate::bounds::{bounds_of, full_name, full_value};
use crate::connection::hold;
use crate::drops::{DropReason, TenantDrops};
use crate::outbox::ConnectionId;
use crate::peers::{Item, LinkError, Outcome};
use crate::shared::Shared;
use crate::targets::{Group, GroupMember, InboxTarget, LocalTarget, Origin, Spread, Targets};
use crate::tenants::Tenant;

/// How long a publish waits to become durable before it is refused.
const DURABLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Casts for a connected member of a shared subscription; then the next one in the row is taken.
const CASTS_MAX: usize = 8;

/// Why a message was not stored everywhere it had to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DurableError {
    /// The tenant keeps as many retained messages as it may.
    #[error("the tenant's retained messages are full")]
    RetainedFull,
    /// The queue of a persistent session has no room, and the tenant wants the publisher refused.
    #[error("a receiver's queue is full: {} {}", full_name(*.0), full_value(*.0))]
    QueueFull(QueueBound),
    /// A shard did not take it.
    #[error("not stored: {0}")]
    Store(String),
    /// A shard did not answer in time.
    #[error("not stored within {DURABLE_TIMEOUT:?}")]
    Timeout,
    /// The other nodes have not heard of this one for too long: it does not know all receivers.
    #[error("this node is cut off from the others")]
    Lapsed,
    /// Another node could not be told.
    #[error(transparent)]
    Link(#[from] LinkError),
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
    /// Who says it.
    pub(crate) client: ClientId,
    /// Set for QoS 2 of a persistent session.
    pub(crate) origin: Option<PublishOrigin>,
    /// Somebody waits for the answer and can try again.
    pub(crate) refusable: bool,
}

/// Hands a message to everyone in `targets`, and to the retained store if RETAIN is set.
pub(crate) fn route(
    shared: &Arc<Shared>,
    tenant: &Arc<Tenant>,
    publication: &Publication,
    targets: &Targets,
) -> Routed {
    if !shared.dist.holds_lease(tenant.id) {
        return lapsed(publication.message.qos);
    }
    let mut walk = Walk {
        shared,
        tenant,
        publication,
        now: shared.clock.now(),
        routed: Routed::default(),
        inboxes: Vec::new(),
        substitutes: Vec::new(),
    };
    for target in &targets.local {
        walk.local(target);
    }
    for target in &targets.inboxes {
        walk.inbox(target);
    }
    for node in &targets.nodes {
        walk.node(*node);
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

/// Nobody gets the message: not all who should are known.
fn lapsed(qos: Qos) -> Routed {
    let mut routed = Routed::default();
    if qos > Qos::AtMostOnce {
        let refused = std::future::ready(Err(DurableError::Lapsed));
        routed.durable.push(Box::pin(refused));
    }
    routed
}

/// Whether a member of a group takes a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readiness {
    /// At once.
    Ready,
    /// After it acknowledged others.
    Busy,
    /// When it is back.
    Absent,
}

struct Walk<'a> {
    shared: &'a Arc<Shared>,
    tenant: &'a Arc<Tenant>,
    publication: &'a Publication,
    now: Duration,
    routed: Routed,
    inboxes: Vec<Target>,
    /// Of those, the members of groups by their places, each with who comes next if it is gone.
    substitutes: Vec<(usize, Group)>,
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
                LiveOutcome::Offline => self.owner_elsewhere(target, retain),
                LiveOutcome::NoSubscription => false,
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

    /// QoS 0 to a persistent session that is connected to another node. `false` if it is not.
    fn owner_elsewhere(&self, target: &InboxTarget, retain: bool) -> bool {
        let Some(session) = self.elsewhere(&target.client) else {
            return false;
        };
        let item = Item::Owner {
            message: (&self.publication.message).into(),
            client: target.client.as_bytes().to_vec(),
            incarnation: target.incarnation.0,
            retain,
            subscription_ids: target
                .terms
                .subscription_ids
                .iter()
                .map(|id| id.get())
                .collect(),
        };
        self.link(session, item).is_ok()
    }

    /// The node that has a client's connection, if it is another one.
    fn elsewhere(&self, client: &ClientId) -> Option<NodeSession> {
        let owner = self.shared.inbox.owner_node(self.tenant.id, client);
        let OwnerNode { node, number } = owner.ok()??;
        let session = NodeSession { node, number };
        (!self.tenant.is_own(session) && self.tenant.is_live(session)).then_some(session)
    }

    /// To the transient sessions of another node.
    fn node(&mut self, session: NodeSession) {
        let item = Item::Everybody((&self.publication.message).into());
        match self.link(session, item) {
            Ok(told) if self.publication.message.qos > Qos::AtMostOnce => {
                self.routed.durable.push(Box::pin(async move {
                    // If the link ended, this node does.
                    let told = within_deadline(told).await?;
                    // Its node session has ended if nobody is there: so have its sessions.
                    match told {
                        Outcome::Taken | Outcome::Nobody => Ok(()),
                    }
                }));
            }
            Ok(_) => {}
            Err(error) => self.not_linked(error),
        }
    }

    fn not_linked(&mut self, error: LinkError) {
        if self.publication.message.qos > Qos::AtMostOnce {
            let refused = std::future::ready(Err(error.into()));
            self.routed.durable.push(Box::pin(refused));
        } else {
            self.tenant.drops.add(DropReason::OutboxFull, 1);
        }
    }

    fn link(&self, to: NodeSession, item: Item) -> Result<oneshot::Receiver<Outcome>, LinkError> {
        self.tenant.link(self.shared, to).send(item)
    }

    /// One member takes the message: the next that is connected, or else the next that keeps it.
    fn group(&mut self, group: &Group) {
        let first = match group.spread {
            Spread::InTurns => self.tenant.next_share_turn(),
            Spread::AtRandom => self.cast(group),
            Spread::ByPublisher => 0,
        };
        let members = &group.members;
        // Those who can take it now come first. What an absent member keeps waits until it is back.
        for readiness in [Readiness::Ready, Readiness::Busy, Readiness::Absent] {
            for step in 0..members.len() {
                let at = first.wrapping_add(step) % members.len();
                if self.readiness(group, at) == readiness && self.give(group, at) {
                    return;
                }
            }
        }
    }

    /// Any member that can take it now, as far as a few casts tell: going on from one that cannot would
    /// favour the one behind it.
    fn cast(&self, group: &Group) -> usize {
        let (dice, len) = (&self.tenant.dice, group.members.len());
        let mut casts = (0..CASTS_MAX).map(|_| dice.below(len));
        let ready = casts.find(|at| self.readiness(group, *at) == Readiness::Ready);
        ready.unwrap_or_else(|| dice.below(len))
    }

    fn readiness(&self, group: &Group, at: usize) -> Readiness {
        match &group.members[at] {
            // A publisher keeps its member, whatever that one has to do.
            GroupMember::Local(target) if group.spread != Spread::ByPublisher => {
                if target.outbox.has_credit() {
                    Readiness::Ready
                } else {
                    Readiness::Busy
                }
            }
            GroupMember::Local(_) | GroupMember::Remote(_) => Readiness::Ready,
            GroupMember::Inbox(target) => {
                let is_connected = self.shared.inbox.is_online(self.tenant.id, &target.client)
                    || self.elsewhere(&target.client).is_some();
                if is_connected {
                    Readiness::Ready
                } else {
                    Readiness::Absent
                }
            }
        }
    }

    /// `false` if the member is gone.
    fn give(&mut self, group: &Group, at: usize) -> bool {
        match &group.members[at] {
            GroupMember::Local(target) => self.local(target),
            GroupMember::Inbox(target) => {
                let place = self.inboxes.len();
                let is_given = self.inbox(target);
                if self.inboxes.len() > place {
                    self.substitutes.push((place, group.without(at)));
                }
                is_given
            }
            GroupMember::Remote(session) => self.remote(group, at, *session),
        }
    }

    /// One of the members that another node has. If there is none any more, the next member here, or
    /// of the next node.
    fn remote(&mut self, group: &Group, at: usize, session: NodeSession) -> bool {
        let item = Item::OneOf {
            message: (&self.publication.message).into(),
            filter: group.filter.to_string(),
            publisher: self.publication.client.as_bytes().to_vec(),
            writer: *self.publication.writer.as_bytes(),
        };
        let Ok(told) = self.link(session, item) else {
            return false;
        };
        if self.publication.message.qos == Qos::AtMostOnce {
            return true;
        }
        let others = group.without(at);
        let (shared, tenant) = (Arc::clone(self.shared), Arc::clone(self.tenant));
        let publication = self.publication.to_one();
        self.routed.durable.push(Box::pin(async move {
            match within_deadline(told).await? {
                Outcome::Taken => Ok(()),
                Outcome::Nobody => give_to_group(&shared, &tenant, &publication, others).await,
            }
        }));
        true
    }

    fn insert(&mut self) {
        if self.inboxes.is_empty() {
            return;
        }
        let overflow = self.tenant.limits.settings().queue_overflow;
        let request = InsertRequest {
            message: Arc::new(self.publication.message.clone()),
            writer: self.publication.writer,
            bounds: bounds_of(overflow, self.publication.refusable),
            origin: self.publication.origin.clone(),
            targets: std::mem::take(&mut self.inboxes),
        };
        let submitted = self.shared.inbox.submit_insert(self.tenant.id, &request);
        let (shared, tenant) = (Arc::clone(self.shared), Arc::clone(self.tenant));
        let substitutes = std::mem::take(&mut self.substitutes);
        let publication = (!substitutes.is_empty()).then(|| self.publication.to_one());
        self.routed.durable.push(Box::pin(async move {
            let pending = submitted.map_err(|error| DurableError::Store(error.to_string()))?;
            let outcomes = within_deadline(pending).await?;
            for (place, others) in substitutes {
                let is_gone = outcomes.get(place) == Some(&InsertOutcome::NoSubscription);
                if let Some(publication) = publication.as_ref().filter(|_| is_gone) {
                    give_to_group(&shared, &tenant, publication, others).await?;
                }
            }
            settle(
                &shared,
                tenant.id,
                &tenant.drops,
                &request.targets,
                &outcomes,
            )
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

impl Publication {
    /// The same to one receiver more.
    fn to_one(&self) -> Self {
        Self {
            message: Message {
                retain: false,
                ..self.message.clone()
            },
            ..self.clone()
        }
    }
}

impl Group {
    /// All but one, beginning behind it, to be tried in this order.
    fn without(&self, at: usize) -> Self {
        let (before, from) = self.members.split_at(at);
        let behind = from.iter().skip(1);
        Self {
            members: behind.chain(before).cloned().collect(),
            filter: self.filter.clone(),
            spread: Spread::ByPublisher,
        }
    }
}

/// Another member of its shared subscription has what a member did not acknowledge. If there is none,
/// nobody has it: the subscription is no more.
/// `client` was the member.
pub(crate) async fn return_loan(
    shared: &Arc<Shared>,
    tenant: &Arc<Tenant>,
    client: ClientId,
    loan: Loan,
) {
    let Loan { terms, message } = loan;
    let origin = Origin {
        connection: ConnectionId::NOBODY,
        client: client.clone(),
        principal: terms.writer,
    };
    let mut targets = Targets::resolve(tenant, &message.topic, &origin);
    targets.groups.retain(|group| group.filter == terms.filter);
    let groups = std::mem::take(&mut targets.groups);
    let publication = Publication {
        message: Message {
            retain: false,
            ..message
        },
        writer: terms.writer,
        client,
        origin: None,
        refusable: false,
    };
    for group in groups {
        if let Err(error) = give_to_group(shared, tenant, &publication, group).await {
            tracing::warn!(tenant = %tenant.id, %error, "a returned message has no new member");
        }
    }
}

/// One member of a group has the message when this is done, if there is any.
fn give_to_group<'a>(
    shared: &'a Arc<Shared>,
    tenant: &'a Arc<Tenant>,
    publication: &'a Publication,
    group: Group,
) -> Pin<Box<dyn Future<Output = Result<(), DurableError>> + Send + 'a>> {
    Box::pin(async move {
        let targets = Targets {
            groups: vec![group],
            ..Targets::default()
        };
        let routed = route(shared, tenant, publication, &targets);
        hold(
            shared,
            &publication.message,
            &routed.held,
            ConnectionId::NOBODY,
        )
        .await;
        for pending in routed.durable {
            pending.await?;
        }
        Ok(())
    })
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
        self.outbox
            .deliver(message, &grant, self.loan.as_ref(), now)
    }
}

/// Counts what was dropped and removes routes that lead nowhere. `Err`: a queue is full and refuses.
fn settle(
    shared: &Arc<Shared>,
    tenant: TenantId,
    drops: &TenantDrops,
    targets: &[Target],
    outcomes: &[InsertOutcome],
) -> Result<(), DurableError> {
    let mut outcome_of_all = Ok(());
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
            InsertOutcome::Refused { full } => {
                drops.add(DropReason::QueueFull, 1);
                outcome_of_all = Err(DurableError::QueueFull(*full));
            }
            InsertOutcome::Withheld => {
                outcome_of_all = outcome_of_all.and_then(|()| {
                    let text = "not all of the publish was stored";
                    Err(DurableError::Store(text.to_owned()))
                });
            }
            InsertOutcome::Stored | InsertOutcome::Duplicate => {}
        }
    }
    outcome_of_all
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
