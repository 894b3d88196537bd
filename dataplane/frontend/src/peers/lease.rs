//! This front end's node session: kept while the leaders of the shards hear of it, opened anew after
//! they gave it up.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tessera_dist::{NodeSession, RENEW_EVERY, Renewal};
use tessera_tenancy::NodeId;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::Peers;
use super::wire::{Request, Response};
use crate::outbox::EndReason;
use crate::shared::Shared;

/// How long one round of renewals may take: leaders that answer must not wait for one that does not.
const ROUND_MAX: Duration = Duration::from_millis(700);
/// Pause between two looks whether the last connection of a lost session is gone.
const GONE_PAUSE: Duration = Duration::from_millis(20);

/// Renews this front end's session until shutdown; begins a new one when it was ended.
pub(crate) async fn renew(shared: Arc<Shared>, peers: Peers) {
    let mut ticks = interval(RENEW_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut generation = 0;
    loop {
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if round(&shared, &peers).await {
            tokio::select! {
                biased;
                () = shared.shutdown.cancelled() => return,
                () = begin_anew(&shared) => {}
            }
        }
        let present = shared.dist.sessions_generation();
        if std::mem::replace(&mut generation, present) != present {
            // Somebody may be gone: connections that are registered there have nobody.
            shared.inbox.look_around();
        }
    }
}

/// Where this node leads, ends the sessions of nodes that are gone, until shutdown.
pub(crate) async fn end_overdue(shared: Arc<Shared>) {
    let mut ticks = interval(RENEW_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return,
            ended = shared.dist.end_overdue() => if let Err(error) = ended {
                tracing::warn!(%error, "a node session is not ended yet");
            },
        }
    }
}

/// Asks every leader. Whether the session has ended.
async fn round(shared: &Arc<Shared>, peers: &Peers) -> bool {
    let session = shared.dist.node_session();
    let sent = Instant::now();
    let leaders = shared.dist.leaders();
    let asked = leaders.into_iter().map(async |leader| {
        let renewal = timeout(ROUND_MAX, ask(shared, peers, leader, session)).await;
        let renewal = renewal.ok().flatten().unwrap_or_default();
        shared.dist.note_renewal(&renewal, sent);
        renewal.has_ended
    });
    join_all(asked).await.contains(&true)
}

async fn ask(
    shared: &Shared,
    peers: &Peers,
    leader: NodeId,
    session: NodeSession,
) -> Option<Renewal> {
    if leader == session.node {
        return Some(shared.dist.grant_renewal(session).await);
    }
    let request = Request::Renew {
        node: session.node.0,
        number: session.number,
    };
    match peers.call(leader, &request).await? {
        Response::Renewed(renewed) => Some(renewed.into()),
        Response::Done | Response::Delivered(_) | Response::Gone | Response::Unavailable => None,
    }
}

/// The session was ended: its connections go, and then there is a new one.
async fn begin_anew(shared: &Arc<Shared>) {
    tracing::warn!("this node was not heard of for too long: its connections end");
    shared.dist.note_lost();
    shared.registry.end_all(EndReason::NodeLapsed);
    while !shared.tenants.is_empty() {
        shared.registry.end_all(EndReason::NodeLapsed);
        sleep(GONE_PAUSE).await;
    }
    while let Err(error) = shared.dist.enter().await {
        tracing::warn!(%error, "no new node session yet");
        sleep(RENEW_EVERY).await;
    }
}
