//! A SUBACK waits until every front end shows the new routes (promise 6), and an UNSUBACK until none
//! shows the old ones.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tessera_dist::NodeSession;
use tessera_tenancy::TenantId;
use tokio::time::{Instant, sleep, timeout_at};

use super::Peers;
use super::wire::{Request, Response};
use crate::shared::Shared;

/// How long a subscription waits for the other front ends: longer than the lease of one that is gone.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(8);
/// Pause before a front end that did not answer is asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// Why it is not known that every front end shows a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not every node showed the change of routes within {CATCH_UP_TIMEOUT:?}")]
pub(crate) struct NotCaughtUp;

impl Shared {
    /// Returns once every front end shows what was committed for the tenant before the call, or its
    /// node session has ended.
    pub(crate) async fn catch_up_everywhere(
        self: &Arc<Self>,
        tenant: TenantId,
    ) -> Result<(), NotCaughtUp> {
        let Some(peers) = &self.peers else {
            return Ok(());
        };
        let deadline = Instant::now() + CATCH_UP_TIMEOUT;
        // This node first: then it knows who else has a session.
        let own = async {
            while let Err(error) = self.dist.catch_up(tenant).await {
                tracing::debug!(%error, "routes not caught up");
                sleep(PAUSE).await;
            }
        };
        timeout_at(deadline, own)
            .await
            .map_err(|_late| NotCaughtUp)?;
        let own = self.dist.node_session();
        let others = self.dist.live_sessions(tenant).into_iter();
        let asked = others
            .filter(|session| *session != own)
            .map(|session| self.catch_up_there(peers, tenant, session));
        timeout_at(deadline, join_all(asked))
            .await
            .map(drop)
            .map_err(|_late| NotCaughtUp)
    }

    async fn catch_up_there(&self, peers: &Peers, tenant: TenantId, session: NodeSession) {
        let tenant_bytes = tenant.into();
        while self.dist.is_live(tenant, session) {
            let request = Request::CatchUp {
                tenant: tenant_bytes,
            };
            match peers.call(session.node, &request).await {
                Some(Response::Done) => return,
                Some(
                    Response::Renewed(_)
                    | Response::Delivered(_)
                    | Response::Gone
                    | Response::Unavailable,
                )
                | None => sleep(PAUSE).await,
            }
        }
    }
}
