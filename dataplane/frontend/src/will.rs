//! Wills: what is published when a connection ends without a farewell (MQTT 5, 3.1.2.5).
//!
//! The inbox keeps them, and says when one is due: also one whose connection, or whole process, is
//! gone. This task publishes what is due, in turns of tenants, and has the inbox forget it once
//! every receiver has it. A crash between the two publishes it again under the same name, which
//! queues take once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tessera_inbox::DueWill;
use tessera_tenancy::{TenantId, TenantStatus};

use crate::connection::hold;
use crate::outbox::ConnectionId;
use crate::route::{DurableError, Publication, route};
use crate::shared::Shared;
use crate::targets::{Origin, Targets};

/// Wills of one tenant that are published at once; then it is the next tenant's turn.
const WILLS_PER_TURN: usize = 32;
/// Pause after a will could not be stored.
const RETRY_PAUSE_MS: u64 = 1_000;
/// The longest wait: the wall clock may be set.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Publishes wills as they come due, until the front end shuts down.
pub(crate) async fn publish_due(shared: Arc<Shared>) {
    loop {
        let wait = shared.inbox.next_will_due().map_or(WAIT_MAX, |due_ms| {
            Duration::from_millis(due_ms.saturating_sub(shared.seams.now_ms())).min(WAIT_MAX)
        });
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
            () = shared.inbox.next_will_due_changed() => continue,
        }
        let mut tenants =
            VecDeque::from(shared.inbox.take_tenants_with_wills(shared.seams.now_ms()));
        while let Some(tenant) = tenants.pop_front() {
            if shared.shutdown.is_cancelled() {
                return;
            }
            match turn(&shared, tenant).await {
                Turn::More => tenants.push_back(tenant),
                Turn::Done => {}
            }
        }
    }
}

/// What one turn of a tenant left.
enum Turn {
    More,
    Done,
}

async fn turn(shared: &Arc<Shared>, tenant: TenantId) -> Turn {
    let now_ms = shared.seams.now_ms();
    let wills = match shared.inbox.due_wills(tenant, now_ms, WILLS_PER_TURN) {
        Ok(wills) => wills,
        Err(error) => {
            tracing::warn!(%tenant, %error, "wills not read");
            Vec::new()
        }
    };
    let is_full = wills.len() >= WILLS_PER_TURN;
    let published: FuturesUnordered<_> = wills
        .into_iter()
        .map(|will| publish(shared, will))
        .collect();
    let failed = published.filter(|outcome| std::future::ready(outcome.is_err()));
    let failed = failed.count().await;
    if is_full && failed == 0 {
        return Turn::More;
    }
    let earliest_ms = if failed > 0 {
        now_ms.saturating_add(RETRY_PAUSE_MS)
    } else {
        0
    };
    if let Err(error) = shared.inbox.look_for_wills(tenant, earliest_ms) {
        tracing::warn!(%tenant, %error, "wills wait for the next start");
    }
    Turn::Done
}

/// Publishes one will and forgets it. `Err`: it is to be tried again.
async fn publish(shared: &Arc<Shared>, will: DueWill) -> Result<(), ()> {
    let tenant = will.tenant;
    if is_allowed(shared, &will)
        && let Err(error) = deliver(shared, &will).await
    {
        tracing::warn!(%tenant, %error, "will not stored yet");
        return Err(());
    }
    shared.inbox.forget_will(&will).await.map_err(|error| {
        tracing::warn!(%tenant, %error, "will not forgotten yet");
    })
}

/// Whether the writer may publish this now: its tenant serves, and its credential still stands.
fn is_allowed(shared: &Shared, will: &DueWill) -> bool {
    let serves = shared
        .config
        .tenant(will.tenant)
        .is_some_and(|tenant| tenant.status == TenantStatus::Active);
    let topic = &will.message.topic;
    serves
        && shared
            .authenticator
            .may_still_publish(will.tenant, will.writer, topic)
}

async fn deliver(shared: &Arc<Shared>, will: &DueWill) -> Result<(), DurableError> {
    let unavailable = |error: &dyn std::fmt::Display| DurableError::Store(error.to_string());
    // A tenant that is gone since it was asked for has nobody to receive anything.
    let Some(limits) = shared.limits.tenant(will.tenant) else {
        return Ok(());
    };
    let tenant = shared
        .tenant(will.tenant, limits)
        .await
        .map_err(|error| unavailable(&error))?;
    let origin = Origin {
        connection: ConnectionId::NOBODY,
        client: will.client.clone(),
        principal: will.writer,
    };
    let targets = Targets::resolve(&tenant, &will.message.topic, &origin);
    let publication = Publication {
        message: will.message.clone(),
        writer: will.writer,
        client: will.client.clone(),
        origin: Some(will.origin()),
        refusable: false,
    };
    let routed = route(shared, &tenant, &publication, &targets);
    shared.tenants.release(tenant);
    hold(shared, &will.message, &routed.held, ConnectionId::NOBODY).await;
    let mut outcome = Ok(());
    for pending in routed.durable {
        // Each is waited for, whatever came of the others.
        outcome = pending.await.and(outcome);
    }
    match outcome {
        // A will is refused like any message that the tenant has no room for: nobody is to be told.
        Err(DurableError::RetainedFull) => Ok(()),
        other => other,
    }
}
