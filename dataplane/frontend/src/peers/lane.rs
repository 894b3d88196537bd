//! The other end of a link: batches are taken in order, each once, and delivered to the connections
//! of this node.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use tessera_dist::SessionIncarnation;
use tessera_inbox::LiveGrant;
use tessera_mqtt::Message;
use tessera_session::Delivery;
use tessera_tenancy::{NodeId, PrincipalId};

use super::wire::{self, Batch, Item, Outcome, Response};
use crate::connection::hold;
use crate::outbox::ConnectionId;
use crate::route::inbox_incarnation;
use crate::shared::Shared;
use crate::targets::{LocalTarget, Spread, Targets};
use crate::tenants::Tenant;

/// What was last taken of one node's messages for one tenant.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// Node session and stream of the sender: of two, the later one is the larger.
    stream: (u64, u64),
    sequence: u64,
    outcomes: Vec<Outcome>,
}

/// The lanes of a tenant, by the node that sends.
pub(crate) type Lanes = parking_lot::Mutex<BTreeMap<NodeId, Arc<tokio::sync::Mutex<Lane>>>>;

/// Takes a batch: once, whatever often it comes. Waits for receivers that are full, within the bound
/// of a hold.
pub(crate) async fn take(shared: &Arc<Shared>, batch: Batch) -> Response {
    let tenant_id = batch.tenant.into();
    if batch.to != shared.dist.node_session().number {
        return Response::Gone;
    }
    let Some(tenant) = shared.tenants.known(tenant_id) else {
        // Nobody of the tenant is connected here.
        return Response::Delivered(vec![Outcome::Nobody; batch.items.len()]);
    };
    let response = take_in_turn(shared, &tenant, batch).await;
    shared.tenants.release(tenant);
    response
}

async fn take_in_turn(shared: &Arc<Shared>, tenant: &Arc<Tenant>, batch: Batch) -> Response {
    let (node, number) = batch.from;
    let lane = Arc::clone(tenant.lanes.lock().entry(NodeId(node)).or_default());
    let mut lane = lane.lock().await;
    let stream = (number, batch.stream);
    if stream < lane.stream {
        return Response::Gone;
    }
    if stream > lane.stream {
        *lane = Lane {
            stream,
            ..Lane::default()
        };
    }
    if batch.sequence == lane.sequence {
        return Response::Delivered(lane.outcomes.clone());
    }
    if batch.sequence < lane.sequence {
        // Its answer was had, else the later one were not here.
        return Response::Gone;
    }
    let mut outcomes = Vec::with_capacity(batch.items.len());
    for item in batch.items {
        outcomes.push(deliver(shared, tenant, item).await);
    }
    lane.sequence = batch.sequence;
    lane.outcomes.clone_from(&outcomes);
    Response::Delivered(outcomes)
}

async fn deliver(shared: &Arc<Shared>, tenant: &Arc<Tenant>, item: Item) -> Outcome {
    match item {
        Item::Everybody(message) => {
            let Some(message) = message.read() else {
                return Outcome::Nobody;
            };
            let targets = Targets::of_members(tenant, &message.topic);
            give(shared, &message, &targets).await;
            Outcome::Taken
        }
        Item::OneOf {
            message,
            filter,
            publisher,
            writer,
        } => {
            let (Some(message), Some(filter)) = (message.read(), wire::filter(&filter)) else {
                return Outcome::Nobody;
            };
            let writer = PrincipalId::from_bytes(writer);
            let members = Targets::of_filter(tenant, &filter, writer);
            let first = match tenant.spread_of(&filter) {
                Spread::InTurns => tenant.next_share_turn(),
                Spread::AtRandom => tenant.dice.below(members.len()),
                Spread::ByPublisher => favourite(&publisher, &members),
            };
            one_of(shared, &message, &members, first).await
        }
        Item::Owner {
            message,
            client,
            incarnation,
            retain,
            subscription_ids,
        } => {
            let (Some(message), Some(client)) = (message.read(), wire::client_id(&client)) else {
                return Outcome::Nobody;
            };
            let subscription_ids = wire::subscription_ids(&subscription_ids);
            let grant = LiveGrant {
                retain,
                subscription_ids: &subscription_ids,
            };
            let incarnation = inbox_incarnation(SessionIncarnation(incarnation));
            shared
                .inbox
                .deliver_live(tenant.id, &client, incarnation, &message, &grant);
            Outcome::Taken
        }
    }
}

/// Gives everybody a copy, and waits for those who are full.
async fn give(shared: &Shared, message: &Message, targets: &[LocalTarget]) {
    let now = shared.clock.now();
    let is_full =
        |target: &&LocalTarget| matches!(target.deliver(message, now), Delivery::WouldOverflow);
    let held: Vec<_> = targets.iter().filter(is_full).cloned().collect();
    hold(shared, message, &held, ConnectionId::NOBODY).await;
}

/// Gives one member of a shared subscription the message.
async fn one_of(
    shared: &Shared,
    message: &Message,
    members: &[LocalTarget],
    first: usize,
) -> Outcome {
    for step in 0..members.len() {
        let member = &members[first.wrapping_add(step) % members.len()];
        match member.deliver(message, shared.clock.now()) {
            Delivery::Closed => {}
            Delivery::WouldOverflow => {
                let held = std::slice::from_ref(member);
                hold(shared, message, held, ConnectionId::NOBODY).await;
                return Outcome::Taken;
            }
            Delivery::Written
            | Delivery::Queued
            | Delivery::DroppedTooLarge
            | Delivery::DroppedFull
            | Delivery::Known => return Outcome::Taken,
        }
    }
    Outcome::Nobody
}

/// The member that a publisher's messages go to: the same for the same two.
fn favourite(publisher: &[u8], members: &[LocalTarget]) -> usize {
    let weight = |member: &LocalTarget| {
        let mut hasher = DefaultHasher::new();
        publisher.hash(&mut hasher);
        member.outbox.id().hash(&mut hasher);
        hasher.finish()
    };
    let heaviest = members
        .iter()
        .enumerate()
        .max_by_key(|(_, member)| weight(member));
    heaviest.map_or(0, |(at, _)| at)
}
