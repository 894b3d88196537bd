//! CONNECT: who is it, may it, where does its session live.
//!
//! Authentication comes before any state is touched: a refused client reads nothing, takes nothing
//! over and ends nothing.

use std::sync::Arc;

use tessera_inbox::{
    AttachError, AttachRequest, Attached, SessionKind, StoredSubscription, SubscriptionState,
};
use tessera_limits::{ConnectionPermit, TenantLimits};
use tessera_mqtt::{ClientId, ReasonCode};
use tessera_session::{
    Accepted, ConnectRequest, Event, Numbering, Outbound, OutboundBounds, Refusal, Sequence,
    assign_client_id,
};
use tokio::io::AsyncReadExt as _;

use super::persistent::Home;
use super::session::{Completions, Session, detail_of};
use super::subscribe::{Replay, Subscriptions};
use super::{Connection, End};
use crate::authenticate::{AuthenticationError, Identity};
use crate::buffers;
use crate::outbox::{EndReason, OUTBOX_BYTES_MAX, Outbox, QUEUE_BYTES_MAX, QUEUE_MESSAGES_MAX};
use crate::registry::Entry;
use crate::route::DurableError;
use crate::shared::WatchedOutbox;
use crate::stream::DeviceStream;
use crate::targets::{Memo, Origin};

/// Unacknowledged messages of QoS 1 and 2 towards one client, whatever more it allows.
const WINDOW_MAX: u16 = 256;

impl<S: DeviceStream> Connection<S> {
    /// From the first byte to an accepted CONNECT, within the connect timeout.
    pub(super) async fn establish(&mut self) -> Result<(), End> {
        let timeout = self.shared.session_limits.connect_timeout;
        let shutdown = self.shared.shutdown.clone();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => Err(End::Lost),
            outcome = tokio::time::timeout(timeout, self.connect()) => {
                outcome.unwrap_or(Err(End::Lost))
            }
        }
    }

    async fn connect(&mut self) -> Result<(), End> {
        loop {
            if let Some(packet) = self.decoder.decode(&mut self.unread)? {
                match self.inbound.handle_packet(packet, &mut self.unwritten)? {
                    Event::Connect(request) => return self.admit(*request).await,
                    // Packets of an authentication exchange were answered.
                    Event::Nothing
                    | Event::Publish(_)
                    | Event::Refused(_)
                    | Event::Release(_)
                    | Event::Acknowledged(_)
                    | Event::Subscribe(_)
                    | Event::Unsubscribe(_)
                    | Event::Disconnect(_)
                    | Event::Reauthenticated => self.write().await?,
                }
                continue;
            }
            self.release_unread();
            self.stream.readable().await?;
            self.read_more().await?;
        }
    }

    async fn read_more(&mut self) -> Result<(), End> {
        if self.unread.capacity() == 0 {
            self.unread = buffers::take();
        }
        match self.stream.read_buf(&mut self.unread).await? {
            0 => Err(End::Lost),
            bytes => {
                self.shared.metrics.bytes_received.add(bytes as u64);
                Ok(())
            }
        }
    }

    async fn admit(&mut self, request: ConnectRequest) -> Result<(), End> {
        match self.try_admit(request).await {
            Ok(()) => {
                self.shared.metrics.connects_accepted.add(1);
                self.shared.metrics.connections.add(1);
                Ok(())
            }
            Err(refusal) => {
                self.inbound.close(&refusal, &mut self.unwritten);
                Err(End::Refused)
            }
        }
    }

    async fn try_admit(&mut self, request: ConnectRequest) -> Result<(), Refusal> {
        let identity = self.authenticate(&request)?;
        let limits = self
            .shared
            .limits
            .tenant(identity.tenant)
            .ok_or_else(not_authorized)?;
        if !self.shared.dist.holds_lease(identity.tenant) {
            return Err(unavailable(&DurableError::Lapsed));
        }
        let assigned = request.client_id.is_none();
        let client = match &request.client_id {
            Some(client) => client.clone(),
            None => {
                let random = self.shared.seams.random();
                assign_client_id(random.map_err(|error| unavailable(&error))?)
            }
        };
        let permit = self.permit(&limits, &identity, &client)?;
        let tenant = self
            .shared
            .tenant(identity.tenant, limits)
            .await
            .map_err(|error| unavailable(&error))?;
        let kind = kind_of(self.inbound.session_expiry_seconds());
        let config = self.inbound.outbound_config(numbering_of(kind), bounds());
        let outbox = Arc::new(Outbox::new(
            self.shared.connection_id(),
            Outbound::new(config),
            self.shared.clock,
            Arc::clone(&self.shared.metrics),
            Arc::clone(&tenant.drops),
        ));
        let attached = self
            .attach(&request, &identity, client.clone(), kind, &outbox)
            .await?;
        self.shared
            .remove_discarded(attached.discarded.clone())
            .await;
        let origin = Origin {
            connection: outbox.id(),
            client: client.clone(),
            principal: identity.principal,
        };
        let session = Session {
            tenant,
            identity,
            origin,
            home: Home::new(
                attached.session.clone(),
                attached.cursor,
                attached.sent_below,
            ),
            subscriptions: Subscriptions::default(),
            replay: Replay::default(),
            memo: Memo::default(),
            throttle: super::publish::Throttle::default(),
            completions: Completions::default(),
            telling: None,
            keeping: 0,
            pulse: None,
            permit,
            outbox,
        };
        self.begin(session, attached, assigned.then_some(client))
            .await
    }

    fn authenticate(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        let connect = &request.connect;
        let username = connect.username.as_ref().map(|name| name.as_str());
        let password = connect
            .password
            .as_ref()
            .map(|password| password.as_bytes());
        self.shared
            .authenticator
            .authenticate(username, password)
            .map_err(|error| match error {
                AuthenticationError::NotAuthorized => not_authorized(),
                AuthenticationError::Suspended => Refusal::new(
                    ReasonCode::Banned,
                    AuthenticationError::Suspended.to_string(),
                ),
            })
    }

    /// A place under the tenant's limit. Taking over a live session uses the old one's.
    fn permit(
        &self,
        limits: &Arc<TenantLimits>,
        identity: &Identity,
        client: &ClientId,
    ) -> Result<Arc<ConnectionPermit>, Refusal> {
        let refusal = match limits.try_connect() {
            Ok(permit) => return Ok(Arc::new(permit)),
            Err(refusal) => refusal,
        };
        let live = self
            .shared
            .registry
            .permit_of(identity.tenant, identity.principal, client);
        if let Some(permit) = live.and_then(|permit| permit.take_over().ok()) {
            return Ok(Arc::new(permit));
        }
        Err(Refusal {
            detail: detail_of(&refusal),
            ..Refusal::new(ReasonCode::QuotaExceeded, "")
        })
    }

    async fn attach(
        &mut self,
        request: &ConnectRequest,
        identity: &Identity,
        client: ClientId,
        kind: SessionKind,
        outbox: &Arc<Outbox>,
    ) -> Result<Attached, Refusal> {
        let request = AttachRequest {
            tenant: identity.tenant,
            client,
            principal: identity.principal,
            clean_start: request.clean_start,
            kind,
            owner: Arc::<Outbox>::clone(outbox),
            will: self.inbound.take_will(),
        };
        self.shared
            .inbox
            .attach(request)
            .await
            .map_err(|error| match error {
                AttachError::OtherPrincipal => {
                    Refusal::new(ReasonCode::ClientIdentifierNotValid, error.to_string())
                }
                AttachError::Contended { .. } => {
                    Refusal::new(ReasonCode::ServerBusy, error.to_string())
                }
                AttachError::FormerOwner { .. }
                | AttachError::Propose(_)
                | AttachError::Read(_)
                | AttachError::Answer => unavailable(&error),
            })
    }

    /// Answers CONNACK and brings the session to where it was.
    async fn begin(
        &mut self,
        mut session: Session,
        attached: Attached,
        assigned: Option<ClientId>,
    ) -> Result<(), Refusal> {
        session.recall(&self.shared, attached.subscriptions).await;
        let accepted = Accepted {
            session_present: attached.session_present,
            assigned_client_id: assigned,
            unreleased: attached.received_qos2,
            ..Accepted::default()
        };
        self.inbound.accept(accepted, &mut self.unwritten);
        let released: Vec<Sequence> = attached.released.into_iter().map(Sequence).collect();
        session.outbox.with(|outbound, out| {
            outbound.resume(Sequence(attached.cursor), &released, out);
        });
        if let Some(timeout) = self.inbound.keep_alive() {
            let watched = WatchedOutbox(Arc::downgrade(&session.outbox));
            session.pulse = Some(self.shared.wheel.watch(timeout, watched));
        }
        self.register(&session);
        self.session = Some(Box::new(session));
        Ok(())
    }

    /// Makes the connection known to those who may end it; then looks again whether somebody
    /// revoked meanwhile what it was let in with.
    fn register(&self, session: &Session) {
        let identity = &session.identity;
        self.shared.registry.insert(Entry {
            identity: identity.clone(),
            client: session.origin.client.clone(),
            outbox: Arc::clone(&session.outbox),
            permit: Arc::clone(&session.permit),
        });
        if self.shared.shutdown.is_cancelled() {
            session.outbox.end(EndReason::ShuttingDown);
        }
        if !self.shared.authenticator.still_stands(identity) {
            session.outbox.end(EndReason::CredentialRevoked);
        }
    }
}

impl Session {
    /// Takes the stored subscriptions, and finishes those that an earlier connection left half done.
    async fn recall(
        &mut self,
        shared: &Arc<crate::shared::Shared>,
        stored: Vec<StoredSubscription>,
    ) {
        for subscription in stored {
            let finished = match subscription.state {
                SubscriptionState::Confirmed => Ok(()),
                SubscriptionState::Intended => {
                    let StoredSubscription {
                        filter,
                        options,
                        subscription_id,
                        ..
                    } = &subscription;
                    self.finish_intent(shared, filter, *options, *subscription_id)
                        .await
                }
                SubscriptionState::Leaving => {
                    if let Err(error) = self.finish_leaving(shared, &subscription.filter).await {
                        tracing::debug!(tenant = %self.tenant.id, %error, "removal unfinished");
                    }
                    continue;
                }
            };
            match finished {
                Ok(()) => {
                    self.subscriptions.0.insert(subscription.filter, ());
                }
                Err(error) => {
                    tracing::warn!(tenant = %self.tenant.id, %error, "subscription unfinished");
                }
            }
        }
    }
}

const fn kind_of(session_expiry_seconds: u32) -> SessionKind {
    match session_expiry_seconds {
        0 => SessionKind::Transient,
        expiry_seconds => SessionKind::Persistent { expiry_seconds },
    }
}

const fn numbering_of(kind: SessionKind) -> Numbering {
    match kind {
        SessionKind::Transient => Numbering::Own,
        SessionKind::Persistent { .. } => Numbering::Inbox,
    }
}

const fn bounds() -> OutboundBounds {
    OutboundBounds {
        window_max: WINDOW_MAX,
        queue_messages_max: QUEUE_MESSAGES_MAX,
        queue_bytes_max: QUEUE_BYTES_MAX,
        buffer_bytes_max: OUTBOX_BYTES_MAX,
    }
}

fn not_authorized() -> Refusal {
    Refusal::new(
        ReasonCode::NotAuthorized,
        AuthenticationError::NotAuthorized.to_string(),
    )
}

fn unavailable(error: &dyn std::fmt::Display) -> Refusal {
    tracing::warn!(%error, "session not served");
    Refusal::new(
        ReasonCode::ServerUnavailable,
        "the session's shard does not answer",
    )
}
