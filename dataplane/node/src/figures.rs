//! What one tenant has on this node, for an operator who asks.

use std::collections::BTreeMap;

use serde::Serialize;
use tessera_dist::Dist;
use tessera_frontend::Frontend;
use tessera_inbox::Inbox;
use tessera_retain::Retain;
use tessera_tenancy::TenantId;

/// Where the figures are read.
#[derive(Debug, Clone)]
pub(crate) struct TenantFigures {
    pub(crate) frontend: Frontend,
    pub(crate) dist: Dist,
    pub(crate) inbox: Inbox,
    pub(crate) retain: Retain,
}

/// One tenant's figures. Those of the stores are exact as of the last applied command.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Figures {
    /// Devices connected.
    connections: u64,
    /// Subscriptions of persistent sessions, and filters of the other sessions of each node.
    routes: usize,
    /// Stored sessions, online or not.
    sessions: u64,
    /// Their subscriptions.
    subscriptions: u64,
    /// Messages in their queues; one in two queues counts twice.
    queued_messages: u64,
    queued_bytes: u64,
    retained_messages: u64,
    retained_bytes: u64,
    /// Messages that did not reach a session since the process started, by reason.
    dropped: BTreeMap<&'static str, u64>,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FiguresError {
    #[error("there is no such tenant")]
    Unknown,
    #[error("a store does not answer: {0}")]
    Store(String),
}

impl TenantFigures {
    /// Reads them all. O(the tenant's routes) if nobody of the tenant is connected.
    pub(crate) async fn read(&self, tenant: TenantId) -> Result<Figures, FiguresError> {
        let live = self
            .frontend
            .tenant_live(tenant)
            .ok_or(FiguresError::Unknown)?;
        let routes = self.dist.tenant(tenant).await.map_err(unanswered)?;
        let inbox = self.inbox.figures(tenant).map_err(unanswered)?;
        let retain = self.retain.figures(tenant).map_err(unanswered)?;
        Ok(Figures {
            connections: live.connections,
            routes: routes.snapshot().len(),
            sessions: inbox.sessions,
            subscriptions: inbox.subscriptions,
            queued_messages: inbox.queue_messages,
            queued_bytes: inbox.queue_bytes,
            retained_messages: retain.messages,
            retained_bytes: retain.bytes,
            dropped: live
                .dropped
                .map(|(reason, count)| (reason.name(), count))
                .into(),
        })
    }
}

fn unanswered(error: impl std::fmt::Display) -> FiguresError {
    FiguresError::Store(error.to_string())
}
