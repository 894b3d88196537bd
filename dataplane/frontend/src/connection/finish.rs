//! The end of a connection: the last word, the will, the session's way home.

use std::sync::Arc;
use std::time::Duration;

use tessera_inbox::WillEnd;
use tessera_mqtt::ReasonCode;
use tessera_session::{Loan, Refusal};
use tokio::io::AsyncWriteExt as _;

use super::session::{Completions, Session};
use super::{Connection, End};
use crate::outbox::EndReason;
use crate::route::return_loan;
use crate::shared::Shared;
use crate::stream::DeviceStream;

/// How long a last word may take to leave.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

impl<S: DeviceStream> Connection<S> {
    /// Says why, closes the socket, and leaves nothing behind.
    pub(super) async fn finish(mut self, end: End) {
        tracing::debug!(peer = %self.peer, ?end, "connection ended");
        let Some(mut session) = self.session.take() else {
            self.shared.metrics.connects_refused.add(1);
            if self.say(&end).await {
                self.hang_up().await;
            }
            return;
        };
        // What was owed before the end leaves first; from here on nothing more goes in.
        session.outbox.take(&mut self.unwritten);
        let acknowledged_below = session
            .outbox
            .look(|outbound, _bytes| outbound.acknowledged_below())
            .0;
        let loans = session.outbox.take_loans();
        session.outbox.close();
        // Nobody polls these any more; an acknowledgement among them would keep the last one waiting.
        session.completions = Completions::default();
        let told = self.say(&end).await;
        self.shared.metrics.connections.add(-1);
        self.shared
            .registry
            .remove(session.tenant.id, session.outbox.id());
        session
            .settle_acknowledged(&self.shared, acknowledged_below)
            .await;
        session.leave(&self.shared, &end, loans).await;
        // Only now: a client that sees the close and comes back at once finds its session as it
        // left it.
        if told {
            self.hang_up().await;
        }
    }

    /// Writes what is left and the last word. Whether the peer took it.
    async fn say(&mut self, end: &End) -> bool {
        match end {
            End::Violated(refusal) => self.inbound.close(refusal, &mut self.unwritten),
            End::Server(reason) => {
                let refusal = Refusal::new(reason.code(), reason.text());
                self.inbound.close(&refusal, &mut self.unwritten);
            }
            End::Refused | End::Client(_) | End::Lost | End::Stalled => {}
        }
        if matches!(end, End::Lost | End::Stalled) {
            return false;
        }
        let farewell = self.stream.write_all_buf(&mut self.unwritten);
        match tokio::time::timeout(FAREWELL_MAX, farewell).await {
            Ok(written) => written.is_ok(),
            Err(_elapsed) => {
                tracing::debug!(peer = %self.peer, "the last word was not taken");
                false
            }
        }
    }

    async fn hang_up(&mut self) {
        // The peer may be gone: then there is nobody to tell.
        self.stream.shutdown().await.unwrap_or_default();
    }
}

impl Session {
    async fn leave(mut self: Box<Self>, shared: &Arc<Shared>, end: &End, loans: Vec<Loan>) {
        let expiry = match end {
            End::Client(disconnect) => disconnect.session_expiry_seconds,
            End::Lost | End::Violated(_) | End::Server(_) | End::Refused | End::Stalled => None,
        };
        if let Some(mut telling) = self.telling.take() {
            while telling.join_next().await.is_some() {}
        }
        self.leave_subscriptions(shared).await;
        self.return_loans(shared, loans);
        let home = &self.home.session;
        match shared.inbox.detach(home, expiry, will_end(end)).await {
            Ok(detached) => shared.remove_discarded(detached.discarded).await,
            Err(error) => {
                tracing::debug!(tenant = %self.tenant.id, %error, "session not detached");
            }
        }
        let tenant = Arc::clone(&self.tenant);
        drop(self);
        shared.tenants.release(tenant);
    }

    /// What this member of shared subscriptions did not acknowledge goes to others: it is none of them
    /// any more.
    fn return_loans(&self, shared: &Arc<Shared>, loans: Vec<Loan>) {
        if loans.is_empty() {
            return;
        }
        let (shared_too, tenant) = (Arc::clone(shared), Arc::clone(&self.tenant));
        let client = self.origin.client.clone();
        shared.detach(async move {
            for loan in loans {
                return_loan(&shared_too, &tenant, client.clone(), loan).await;
            }
            shared_too.tenants.release(tenant);
        });
    }

    /// A transient session's members and routes go with it.
    async fn leave_subscriptions(&mut self, shared: &Arc<Shared>) {
        if self.home.is_persistent() {
            return;
        }
        let filters = std::mem::take(&mut self.subscriptions.0);
        let mut filters: Vec<_> = filters.into_keys().collect();
        // In an order that does not hang on hashes.
        filters.sort_unstable();
        for filter in filters {
            if let Err(error) = self.remove_transient(shared, &filter).await {
                tracing::debug!(tenant = %self.tenant.id, %error, "route of a gone session stays");
            }
        }
    }

    /// What the client acknowledged last is not delivered again.
    async fn settle_acknowledged(&mut self, shared: &Arc<Shared>, below: u64) {
        if !self.home.is_persistent() {
            return;
        }
        if let Err(error) = shared.inbox.acknowledge(&self.home.session, below).await {
            tracing::debug!(tenant = %self.tenant.id, %error, "last acknowledgement not stored");
        }
    }
}

/// DISCONNECT 0x00 drops the will; every other end publishes it (MQTT-3.1.2-8, -10). A client that
/// the server leaves is given time to be back.
fn will_end(end: &End) -> WillEnd {
    match end {
        End::Client(disconnect) if disconnect.reason == ReasonCode::Success => WillEnd::Dropped,
        End::Server(EndReason::ShuttingDown) => WillEnd::PublishedUnlessBack,
        End::Client(_)
        | End::Lost
        | End::Violated(_)
        | End::Server(_)
        | End::Refused
        | End::Stalled => WillEnd::Published,
    }
}
