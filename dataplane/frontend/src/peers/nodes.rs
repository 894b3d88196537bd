//! The other nodes as the inbox asks of them.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tessera_dist::{Dist, NodeSession};
use tessera_inbox::{Nodes, OwnerNode, Registration};
use tessera_mqtt::ClientId;
use tessera_shard::Transport;
use tessera_tenancy::TenantId;

use super::Peers;
use super::wire::{Request, Response};

#[derive(Debug)]
struct ClusterNodes {
    dist: Dist,
    peers: Peers,
}

/// What [`Inbox::join`](tessera_inbox::Inbox::join) asks of the cluster: who is live, as `dist` says,
/// and takeovers, over the same transport as the front ends' calls.
pub fn cluster_nodes(dist: Dist, transport: Arc<dyn Transport>) -> Arc<dyn Nodes> {
    let peers = Peers::new(transport);
    Arc::new(ClusterNodes { dist, peers })
}

impl Nodes for ClusterNodes {
    fn own(&self) -> OwnerNode {
        let NodeSession { node, number } = self.dist.node_session();
        OwnerNode { node, number }
    }

    fn is_live(&self, tenant: TenantId, owner: OwnerNode) -> bool {
        let OwnerNode { node, number } = owner;
        self.dist.is_live(tenant, NodeSession { node, number })
    }

    fn fence(
        &self,
        owner: OwnerNode,
        tenant: TenantId,
        client: ClientId,
        registration: Registration,
    ) -> BoxFuture<'static, bool> {
        let peers = self.peers.clone();
        Box::pin(async move {
            let request = Request::Fence {
                tenant: tenant.into(),
                client: client.as_bytes().to_vec(),
                registration: registration.0,
            };
            let answer = peers.call(owner.node, &request).await;
            matches!(answer, Some(Response::Done))
        })
    }
}
