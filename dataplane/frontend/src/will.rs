//! Wills: what is published when a connection ends without a farewell (MQTT 5, 3.1.2.5).
//!
//! A will waits for its delay, or for the session's end if that comes first, and not at all if the
//! client comes back before (MQTT-3.1.3-9). Wills live with this process: a will of a node that dies
//! is not published.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tessera_mqtt::{ClientId, Will};
use tessera_tenancy::{Policy, PrincipalId, TenantId};
use tokio_util::sync::CancellationToken;

use crate::connection::may_publish;
use crate::outbox::ConnectionId;
use crate::route::{Publication, route};
use crate::shared::Shared;
use crate::targets::{Origin, Targets};
use crate::tenants::Tenant;

/// A will, and whose.
#[derive(Debug)]
pub(crate) struct Testament {
    pub(crate) will: Box<Will>,
    pub(crate) writer: PrincipalId,
    pub(crate) policy: Policy,
}

/// Wills that wait for their delay, by client.
#[derive(Debug, Default)]
pub(crate) struct DelayedWills {
    waiting: Mutex<HashMap<(TenantId, ClientId), (ConnectionId, CancellationToken)>>,
}

impl DelayedWills {
    /// The client is back: its will is not published.
    pub(crate) fn cancel(&self, tenant: TenantId, client: &ClientId) {
        if let Some((_, waiting)) = self.waiting.lock().remove(&(tenant, client.clone())) {
            waiting.cancel();
        }
    }

    fn begin(&self, tenant: TenantId, client: &ClientId, by: ConnectionId) -> CancellationToken {
        let cancelled = CancellationToken::new();
        let key = (tenant, client.clone());
        if let Some((_, older)) = self.waiting.lock().insert(key, (by, cancelled.clone())) {
            older.cancel();
        }
        cancelled
    }

    fn finish(&self, tenant: TenantId, client: &ClientId, by: ConnectionId) {
        let mut waiting = self.waiting.lock();
        let key = (tenant, client.clone());
        if waiting
            .get(&key)
            .is_some_and(|(connection, _)| *connection == by)
        {
            waiting.remove(&key);
        }
    }
}

/// Publishes a will now or after its delay. `session_ends_in` bounds the delay.
pub(crate) fn execute(
    shared: &Arc<Shared>,
    tenant: Arc<Tenant>,
    origin: Origin,
    testament: Testament,
    session_ends_in: Duration,
) {
    let delay = Duration::from_secs(u64::from(testament.will.delay_seconds)).min(session_ends_in);
    let runner = Arc::clone(shared);
    if delay.is_zero() {
        shared.detach(async move { publish(&runner, &tenant, &origin, testament).await });
        return;
    }
    let cancelled = shared
        .wills
        .begin(tenant.id, &origin.client, origin.connection);
    shared.detach(async move {
        tokio::select! {
            biased;
            () = cancelled.cancelled() => return,
            () = runner.shutdown.cancelled() => return,
            () = tokio::time::sleep(delay) => {}
        }
        runner
            .wills
            .finish(tenant.id, &origin.client, origin.connection);
        publish(&runner, &tenant, &origin, testament).await;
    });
}

async fn publish(shared: &Arc<Shared>, tenant: &Tenant, origin: &Origin, testament: Testament) {
    let message = testament.will.message;
    if !may_publish(testament.policy, &message.topic) {
        return;
    }
    let targets = Targets::resolve(tenant, &message.topic, origin);
    let publication = Publication {
        message,
        writer: testament.writer,
        origin: None,
    };
    for pending in route(shared, tenant, &publication, &targets).durable {
        if let Err(error) = pending.await {
            tracing::warn!(tenant = %tenant.id, %error, "will not stored");
        }
    }
}
