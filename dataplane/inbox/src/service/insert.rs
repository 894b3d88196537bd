//! Messages on their way into queues.

use std::sync::Arc;

use bytes::Bytes;
use tessera_mqtt::Qos;
use tessera_shard::{Proposal, Scope, Shard, ShardId};
use tessera_tenancy::TenantId;

use super::Inbox;
use crate::answer::Answer;
use crate::apply::Machine;
use crate::body::encode_body;
use crate::bounds::{PACKET_IDS_MAX, SENT_UNKNOWN, TARGETS_MAX};
use crate::command::{Command, Insert, InsertTarget, Origin};
use crate::error::InsertError;
use crate::queue::{InsertOutcome, InsertRequest, SUBSCRIPTION_IDS_MAX, Target};
use crate::run::Delivery;

/// Bytes of client identifiers and subscription identifiers in one command, so that long ones do
/// not make a command of ordinary messages too large.
const TARGET_BYTES_MAX: usize = 1024 * 1024;

/// Targets that go with one command, by their place in the request.
struct Part {
    shard: Shard<Machine>,
    places: Vec<usize>,
    /// The last target of the part before, of the same shard.
    after: Option<usize>,
    /// No further part of the same shard.
    last: bool,
}

impl Inbox {
    /// Puts a message in line for the queues of its targets, in the order of the calls. The future
    /// resolves once it is durable in all of them, with an outcome for each target in their order.
    ///
    /// A fan-out to more than 240 queues of a shard is several commands; each logs and stores the
    /// body once.
    pub fn submit_insert(
        &self,
        tenant: TenantId,
        request: &InsertRequest,
    ) -> Result<
        impl Future<Output = Result<Vec<InsertOutcome>, InsertError>> + Send + use<>,
        InsertError,
    > {
        check(&request.targets)?;
        let body = encode_body(&request.message, request.writer);
        let mut submitted = Vec::new();
        for part in self.parts(tenant, request) {
            let command = self.encode_part(tenant, request, &body, &part);
            let proposal = part.shard.submit(Scope::Tenant(tenant), command)?;
            submitted.push((proposal, part.places));
        }
        Ok(outcomes(submitted, request.targets.len()))
    }

    /// Cuts the targets into commands: by shard, then by the bounds of a command. Targets of a
    /// publish that may come again are in the order of their clients, and a client's copies stay
    /// together, so that progress can be told by a client.
    fn parts(&self, tenant: TenantId, request: &InsertRequest) -> Vec<Part> {
        let mut places: Vec<usize> = (0..request.targets.len()).collect();
        let client = |place: usize| request.targets[place].client.as_bytes();
        if request.origin.is_some() {
            places.sort_by(|a, b| client(*a).cmp(client(*b)));
        }
        let mut by_shard: Vec<(ShardId, Shard<Machine>, Vec<usize>)> = Vec::new();
        for place in places {
            let shard = self.shard(tenant, client(place));
            match by_shard.iter_mut().find(|(id, _, _)| *id == shard.id()) {
                Some((_, _, places)) => places.push(place),
                None => by_shard.push((shard.id(), shard.clone(), vec![place])),
            }
        }
        let mut parts = Vec::with_capacity(by_shard.len());
        for (_, shard, places) in by_shard {
            let cuts = cut(&places, &request.targets);
            let last = cuts.len();
            let mut after = None;
            for (at, places) in (1..).zip(cuts) {
                let end = places.last().copied();
                parts.push(Part {
                    shard: shard.clone(),
                    places,
                    after,
                    last: at == last,
                });
                after = end;
            }
        }
        parts
    }

    fn encode_part(
        &self,
        tenant: TenantId,
        request: &InsertRequest,
        body: &[u8],
        part: &Part,
    ) -> Bytes {
        let origin = request.origin.as_ref().map(|origin| Origin {
            client: origin.client.as_bytes(),
            incarnation: origin.incarnation.0,
            number: origin.number,
            floor: origin.floor,
            after: part
                .after
                .map(|place| request.targets[place].client.as_bytes()),
            last: part.last,
        });
        let targets = part.places.iter().map(|place| {
            let target = &request.targets[*place];
            self.target(tenant, target)
        });
        let targets = targets.collect();
        Command::Insert(Insert {
            body,
            bounds: request.bounds,
            origin,
            targets,
        })
        .encode()
    }

    fn target<'a>(&self, tenant: TenantId, target: &'a Target) -> InsertTarget<'a> {
        let unowned = match &self.inner.nodes {
            None => 0,
            Some(_) => SENT_UNKNOWN,
        };
        let client = target.client.as_bytes();
        let sent_below = self.inner.registry.with(tenant, client, |registered| {
            let ours = registered.ownership.incarnation == target.incarnation;
            let lane = registered.lane.as_ref().filter(|_| ours).map(Arc::clone);
            lane.map_or(0, |lane| lane.sent_below())
        });
        InsertTarget {
            client,
            incarnation: target.incarnation.0,
            delivery: Delivery {
                qos: target.qos,
                retain: target.retain,
                subscription_ids: target.subscription_ids.clone(),
            },
            sent_below: sent_below.unwrap_or(unowned),
        }
    }
}

fn check(targets: &[Target]) -> Result<(), InsertError> {
    for target in targets {
        if target.qos == Qos::AtMostOnce {
            return Err(InsertError::Qos { qos: target.qos });
        }
        if target.subscription_ids.len() > SUBSCRIPTION_IDS_MAX {
            return Err(InsertError::TooManySubscriptionIds {
                given: target.subscription_ids.len(),
            });
        }
    }
    Ok(())
}

/// Cuts places at the bounds of a command, never between two copies of one client.
fn cut(places: &[usize], targets: &[Target]) -> Vec<Vec<usize>> {
    let mut cuts: Vec<Vec<usize>> = Vec::new();
    let mut bytes = 0;
    for place in places {
        let target = &targets[*place];
        let cost = target.client.as_bytes().len() + 8 * target.subscription_ids.len() + 32;
        match cuts.last_mut() {
            Some(cut) if has_room(cut, bytes + cost) || is_copy(cut, targets, target) => {
                cut.push(*place);
                bytes += cost;
            }
            Some(_) | None => {
                cuts.push(vec![*place]);
                bytes = cost;
            }
        }
    }
    cuts
}

fn has_room(cut: &[usize], bytes: usize) -> bool {
    cut.len() < TARGETS_MAX && bytes <= TARGET_BYTES_MAX
}

fn is_copy(cut: &[usize], targets: &[Target], target: &Target) -> bool {
    cut.len() < 2 * TARGETS_MAX
        && cut
            .last()
            .is_some_and(|last| targets[*last].client == target.client)
}

/// Waits for every part and puts its outcomes where their targets stood.
async fn outcomes(
    submitted: Vec<(Proposal, Vec<usize>)>,
    targets: usize,
) -> Result<Vec<InsertOutcome>, InsertError> {
    let mut outcomes = vec![InsertOutcome::NoSubscription; targets];
    for (proposal, places) in submitted {
        let answer = Answer::decode(&proposal.await?);
        if answer == Some(Answer::Full) {
            return Err(InsertError::Unsettled {
                limit: PACKET_IDS_MAX,
            });
        }
        let Some(Answer::Inserted(part)) = answer else {
            return Err(InsertError::Answer);
        };
        if part.len() != places.len() {
            return Err(InsertError::Answer);
        }
        for (place, outcome) in places.into_iter().zip(part) {
            outcomes[place] = outcome;
        }
    }
    Ok(outcomes)
}
