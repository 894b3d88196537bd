//! The other front ends of the cluster (protocols A to C): messages for their connections, leases,
//! takeovers. A front end that is alone has none of this.
//!
//! Whatever is asked may be lost, repeated or overtake something: renewals, catching up and fencing
//! are idempotent, and messages travel in numbered batches (`link`, `lane`).

mod catch_up;
mod lane;
mod lease;
mod link;
mod nodes;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tessera_dist::NodeSession;
use tessera_inbox::Registration;
use tessera_shard::Transport;
use tessera_tenancy::NodeId;

use crate::shared::Shared;

pub(crate) use lane::Lanes;
pub(crate) use lease::{end_overdue, renew};
pub(crate) use link::{Link, LinkError};
pub use nodes::cluster_nodes;
pub(crate) use wire::{Item, Outcome};
use wire::{Request, Response};

/// How long a call may take before it is made again.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// Calls to other front ends.
#[derive(Debug, Clone)]
pub(crate) struct Peers {
    transport: Arc<dyn Transport>,
}

impl Peers {
    pub(crate) fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport }
    }

    /// `None`: there was no answer that reads.
    async fn call(&self, to: NodeId, request: &Request) -> Option<Response> {
        let request = postcard::to_stdvec(request).ok()?;
        let answer = self.transport.call(to, request.into());
        let answer = tokio::time::timeout(CALL_TIMEOUT, answer).await;
        postcard::from_bytes(&answer.ok()?.ok()?).ok()
    }
}

/// Answers another front end.
pub(crate) async fn handle(shared: &Arc<Shared>, request: &[u8]) -> Bytes {
    let response = match postcard::from_bytes(request) {
        Ok(request) => answer(shared, request).await,
        Err(error) => {
            tracing::warn!(%error, "a request of another front end does not read");
            Response::Unavailable
        }
    };
    // Only numbers and flags: it is always encoded.
    postcard::to_stdvec(&response).unwrap_or_default().into()
}

async fn answer(shared: &Arc<Shared>, request: Request) -> Response {
    match request {
        Request::Renew { node, number } => {
            let node = NodeId(node);
            let session = NodeSession { node, number };
            let renewal = shared.dist.grant_renewal(session).await;
            Response::Renewed(renewal.into())
        }
        Request::CatchUp { tenant } => match shared.dist.catch_up(tenant.into()).await {
            Ok(()) => Response::Done,
            Err(error) => {
                tracing::debug!(%error, "routes not caught up");
                Response::Unavailable
            }
        },
        Request::Fence {
            tenant,
            client,
            registration,
        } => {
            let Some(client) = wire::client_id(&client) else {
                return Response::Unavailable;
            };
            let registration = Registration(registration);
            shared.inbox.fence_off(tenant.into(), &client, registration);
            Response::Done
        }
        Request::Deliver(batch) => lane::take(shared, batch).await,
    }
}
