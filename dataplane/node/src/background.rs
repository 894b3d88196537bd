//! What a node does between messages: expiry, in bounded steps, and the release of idle memory.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tessera_dist::{Dist, Receiver, SessionIncarnation};
use tessera_inbox::{DiscardedRoute, Inbox};
use tessera_retain::Retain;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Pause between rounds.
const ROUND_PAUSE: Duration = Duration::from_secs(1);

/// The stores that background work walks.
#[derive(Debug, Clone)]
pub(crate) struct Background {
    pub(crate) dist: Dist,
    pub(crate) inbox: Inbox,
    pub(crate) retain: Retain,
}

impl Background {
    /// Works until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
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
        match self.inbox.expire(unix_ms()).await {
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
        match self.retain.expire(unix_ms()).await {
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

/// Unix milliseconds.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
