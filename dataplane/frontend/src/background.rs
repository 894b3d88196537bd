//! What a node does between messages: expiry, in bounded steps, and the release of idle memory.

use std::time::Duration;

use tessera_dist::{Dist, Receiver, SessionIncarnation};
use tessera_inbox::{DiscardedRoute, Inbox};
use tessera_retain::Retain;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::clock::Seams;

/// Pause between rounds.
const ROUND_PAUSE: Duration = Duration::from_secs(1);

/// Walks the stores of a node: what has ended goes.
#[derive(Debug, Clone)]
pub struct Background {
    /// Routes: those of ended sessions go.
    pub dist: Dist,
    /// Sessions that end.
    pub inbox: Inbox,
    /// Retained messages that expire.
    pub retain: Retain,
    /// What a simulation replaces.
    pub seams: Seams,
}

impl Background {
    /// Works until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut rounds = tokio::time::interval(ROUND_PAUSE);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                _ = rounds.tick() => self.round(&shutdown).await,
            }
        }
    }

    async fn round(&self, shutdown: &CancellationToken) {
        while !shutdown.is_cancelled() && self.expire_sessions().await {}
        while !shutdown.is_cancelled() && self.expire_retained().await {}
        self.dist.evict_idle();
    }

    /// One step; `true` if there is more to do.
    async fn expire_sessions(&self) -> bool {
        match self.inbox.expire(self.seams.now_ms()).await {
            Ok(expired) => {
                self.remove_routes(expired.discarded).await;
                expired.more
            }
            Err(error) => {
                warn!(%error, "sessions not expired");
                false
            }
        }
    }

    async fn expire_retained(&self) -> bool {
        match self.retain.expire(self.seams.now_ms()).await {
            Ok(expired) => expired.more,
            Err(error) => {
                warn!(%error, "retained messages not expired");
                false
            }
        }
    }

    async fn remove_routes(&self, discarded: Vec<DiscardedRoute>) {
        for route in discarded {
            let receiver = Receiver::Persistent {
                client: route.client,
                incarnation: SessionIncarnation(route.incarnation.0),
            };
            let removed = self
                .dist
                .remove_route(route.tenant, &route.filter, &receiver)
                .await;
            if let Err(error) = removed {
                // Its next delivery finds no session and removes it.
                debug!(tenant = %route.tenant, %error, "route of an expired session stays");
            }
        }
    }
}
