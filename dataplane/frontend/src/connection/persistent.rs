//! The connection's dealings with its session's home: the inbox.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tessera_inbox::{Fetched, Queued, SessionError, SessionKind, SessionRef};
use tessera_mqtt::{PacketId, Qos, ReasonCode};
use tessera_session::{AckOutcome, Delivery, Grant, InboundPublish, Sequence};

use super::session::{Completion, PublishOutcome, Session};
use super::steps::Step;
use super::{Connection, End};
use crate::drops::DropReason;
use crate::shared::Shared;
use crate::stream::DeviceStream;

/// Bytes of one fetch from the inbox.
const FETCH_BYTES_MAX: usize = 256 * 1024;
/// Messages of one fetch from the inbox.
const FETCH_MESSAGES_MAX: usize = 128;
/// Messages of one fetch that are passed over and that the inbox is told of; more are counted as sent.
const UNSENT_MAX: usize = 1024;
/// How long a connection waits before it tells the inbox again what it did not take: nobody waits
/// for it, and a shard that is gone answers at once.
const ACKNOWLEDGE_PAUSE: Duration = Duration::from_secs(1);

/// Where the session lives, and how far its queue was delivered and acknowledged.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) session: SessionRef,
    /// The next sequence to fetch.
    next_fetch: u64,
    /// Sequences below were in the queue before this connection: they may have been sent before.
    resumed_below: u64,
    /// The inbox may hold more.
    available: bool,
    /// The inbox was told, or is being told, that everything below is acknowledged.
    acknowledged_below: u64,
    acknowledging: bool,
}

impl Home {
    pub(crate) const fn new(session: SessionRef, cursor: u64, resumed_below: u64) -> Self {
        Self {
            session,
            next_fetch: cursor,
            resumed_below,
            available: true,
            acknowledged_below: cursor,
            acknowledging: false,
        }
    }

    pub(crate) const fn is_persistent(&self) -> bool {
        match self.session.kind {
            SessionKind::Transient => false,
            SessionKind::Persistent { .. } => true,
        }
    }

    /// Whether the client has acknowledged all that the inbox held.
    pub(crate) const fn is_drained(&self) -> bool {
        !self.available && self.acknowledged_below >= self.next_fetch
    }

    /// The inbox queued messages.
    pub(crate) const fn note_available(&mut self) {
        self.available = true;
    }

    /// The inbox answered an acknowledgement.
    pub(crate) const fn note_acknowledged(&mut self, stored: bool) {
        self.acknowledging = false;
        if !stored {
            // Told again with the next one: it is idempotent.
            self.acknowledged_below = 0;
        }
    }

    /// Makes it durable that a QoS 2 message reached everyone: before its PUBREC.
    pub(crate) fn received_once(
        &self,
        shared: &Arc<Shared>,
        id: PacketId,
    ) -> impl Future<Output = Result<(), String>> + Send + 'static {
        let (inbox, session) = (shared.inbox.clone(), self.session.clone());
        async move { inbox.qos2_received(&session, id).await.map_err(text_of) }
    }

    /// Frees the identifier of a QoS 2 message of the client: it means another one from then on.
    pub(crate) fn released(
        &self,
        shared: &Arc<Shared>,
        id: PacketId,
    ) -> impl Future<Output = Result<(), String>> + Send + 'static {
        let (inbox, session) = (shared.inbox.clone(), self.session.clone());
        async move { inbox.qos2_released(&session, id).await.map_err(text_of) }
    }
}

impl Session {
    /// Moves retained messages and those of the inbox into the outbox while the client's window is
    /// open. `true` if any went.
    pub(crate) fn pump(&mut self, shared: &Arc<Shared>) -> bool {
        let mut moved = self.pump_replay(shared);
        while self.home.available && self.home.is_persistent() {
            let room = self.outbox.look(|outbound, _bytes| outbound.window_room());
            if room == 0 {
                return moved;
            }
            match self.fetch(shared, room) {
                Ok(fetched) if fetched.next == self.home.next_fetch => {
                    self.home.available = false;
                }
                Ok(fetched) => {
                    moved |= !fetched.messages.is_empty();
                    if !self.deliver_fetched(shared, &fetched) {
                        return moved;
                    }
                }
                Err(error) => {
                    tracing::debug!(tenant = %self.tenant.id, %error, "inbox not fetched");
                    self.home.available = false;
                }
            }
        }
        moved
    }

    fn fetch(&self, shared: &Shared, room: usize) -> Result<Fetched, SessionError> {
        shared.inbox.fetch(
            &self.home.session,
            self.home.next_fetch,
            room.min(FETCH_MESSAGES_MAX),
            FETCH_BYTES_MAX,
            shared.seams.now_ms(),
        )
    }

    /// `false` if the outbox could not take all: the rest is fetched again in the next turn.
    fn deliver_fetched(&mut self, shared: &Arc<Shared>, fetched: &Fetched) -> bool {
        let now = shared.clock.now();
        let resumed_below = self.home.resumed_below;
        let denied = self.denied(shared, fetched);
        let mut too_large = 0;
        let refused = self.outbox.with(|outbound, out| {
            for skipped in fetched.skipped.iter().cloned().flatten() {
                outbound.skip(Sequence(skipped));
            }
            for queued in &fetched.messages {
                if denied.binary_search(&queued.sequence).is_ok() {
                    outbound.skip(Sequence(queued.sequence));
                    continue;
                }
                let grant = grant_of(queued, resumed_below);
                match outbound.deliver(&queued.message, &grant, now, out) {
                    // One that is too large for this client counts as delivered (MQTT-3.1.2-25).
                    Delivery::DroppedTooLarge => too_large += 1,
                    Delivery::Written
                    | Delivery::Queued
                    | Delivery::Known
                    | Delivery::DroppedFull
                    | Delivery::Closed => {}
                    Delivery::WouldOverflow => return Some(queued.sequence),
                }
            }
            None
        });
        self.outbox.note_dropped(DropReason::TooLarge, too_large);
        self.outbox
            .note_dropped(DropReason::NotAuthorized, denied.len() as u64);
        self.home.next_fetch = refused.unwrap_or(fetched.next);
        self.tell_unsent(shared, fetched, &denied);
        self.tell_acknowledged(shared);
        refused.is_none()
    }

    /// Tells the inbox which QoS 2 messages were passed over while an earlier one is unacknowledged. The
    /// next owner of the session could not know that they were never sent, and would finish them.
    fn tell_unsent(&mut self, shared: &Arc<Shared>, fetched: &Fetched, denied: &[u64]) {
        let acknowledged = self
            .outbox
            .look(|outbound, _bytes| outbound.acknowledged_below())
            .0;
        let denied = fetched.messages.iter().filter(|queued| {
            queued.qos == Qos::ExactlyOnce && denied.binary_search(&queued.sequence).is_ok()
        });
        let denied = denied.map(|queued| queued.sequence);
        let unsent = fetched.unsent.iter().copied().chain(denied);
        let unsent: Vec<u64> = unsent
            .filter(|sequence| *sequence >= acknowledged)
            .take(UNSENT_MAX)
            .collect();
        if unsent.is_empty() {
            return;
        }
        let (inbox, session) = (shared.inbox.clone(), self.home.session.clone());
        let telling = self.telling.get_or_insert_default();
        while telling.try_join_next().is_some() {}
        telling.spawn(async move {
            let told = unsent
                .iter()
                .map(|sequence| inbox.completed(&session, *sequence));
            for told in futures_util::future::join_all(told).await {
                if let Err(error) = told {
                    tracing::debug!(%error, "a message that was not sent counts as sent");
                }
            }
        });
    }

    /// The sequences of messages whose writers may not publish them any more, in order. A QoS 2 message
    /// that the client may have goes on: its handshake must end.
    fn denied(&self, shared: &Shared, fetched: &Fetched) -> Vec<u64> {
        let tenant = self.tenant.id;
        let is_denied = |queued: &&Queued| {
            let is_open =
                queued.qos == Qos::ExactlyOnce && queued.sequence < self.home.resumed_below;
            let topic = &queued.message.topic;
            !is_open
                && !shared
                    .authenticator
                    .may_still_publish(tenant, queued.writer, topic)
        };
        let denied = fetched.messages.iter().filter(is_denied);
        denied.map(|queued| queued.sequence).collect()
    }

    /// What an acknowledgement of the client changed.
    pub(crate) fn note_ack(&mut self, shared: &Arc<Shared>, outcome: AckOutcome) {
        match outcome {
            AckOutcome::Nothing | AckOutcome::Progress { .. } => {}
            AckOutcome::Received(sequence) if self.home.is_persistent() => {
                let (inbox, session) = (shared.inbox.clone(), self.home.session.clone());
                self.completions.push(async move {
                    let outcome = inbox.received(&session, sequence.0).await.map_err(text_of);
                    Completion::Received {
                        sequence: sequence.0,
                        outcome,
                    }
                });
            }
            AckOutcome::Received(sequence) => self.release_towards_client(sequence.0),
        }
    }

    /// The PUBREC is safe: PUBREL leaves.
    pub(crate) fn release_towards_client(&self, sequence: u64) {
        self.outbox
            .with(|outbound, out| outbound.release(Sequence(sequence), out));
    }

    /// Tells the inbox how far the client has acknowledged, one command at a time.
    pub(crate) fn tell_acknowledged(&mut self, shared: &Arc<Shared>) {
        if !self.home.is_persistent() || self.home.acknowledging {
            return;
        }
        let below = self
            .outbox
            .look(|outbound, _bytes| outbound.acknowledged_below())
            .0;
        if below <= self.home.acknowledged_below {
            return;
        }
        self.home.acknowledged_below = below;
        self.home.acknowledging = true;
        let (inbox, session) = (shared.inbox.clone(), self.home.session.clone());
        self.completions.push(async move {
            let outcome = inbox.acknowledge(&session, below).await.map_err(text_of);
            if let Err(error) = &outcome {
                tracing::debug!(%error, "the inbox did not take an acknowledgement");
                tokio::time::sleep(ACKNOWLEDGE_PAUSE).await;
            }
            Completion::Acknowledged { outcome }
        });
    }
}

impl<S: DeviceStream> Connection<S> {
    /// After a burst or a completion: the window may have opened, the inbox may be told.
    pub(super) fn after_acknowledgements(&mut self) {
        if let Some(session) = &mut self.session {
            session.tell_acknowledged(&self.shared);
        }
    }

    /// The client released a QoS 2 identifier: free it, then answer PUBCOMP.
    pub(super) fn release(&mut self, packet_id: PacketId) {
        let Some(session) = &mut self.session else {
            return;
        };
        if !session.home.is_persistent() {
            self.inbound
                .complete_release(packet_id, &mut self.unwritten);
            return;
        }
        let released = session.home.released(&self.shared, packet_id);
        session.completions.push(async move {
            let outcome = released.await;
            Completion::Released { packet_id, outcome }
        });
    }

    /// QoS 2 of a persistent session: its identifier becomes durable, then the fan-out begins.
    pub(super) async fn publish_once(
        &mut self,
        publish: InboundPublish,
    ) -> Result<Option<Step>, End> {
        let (Some(session), Some(id)) = (&self.session, publish.packet_id) else {
            return Ok(None);
        };
        let begun = self
            .shared
            .inbox
            .qos2_publishing(&session.home.session, id)
            .await;
        match begun {
            Ok(origin) => self.fan_out_once(publish, origin),
            Err(error) => {
                if let Some(ticket) = publish.ticket {
                    let outcome =
                        PublishOutcome::refused(ReasonCode::UnspecifiedError, error.to_string());
                    self.complete_publish(ticket, outcome)?;
                }
                Ok(None)
            }
        }
    }
}

fn grant_of(queued: &Queued, resumed_below: u64) -> Grant<'_> {
    Grant {
        qos: queued.qos,
        retain: queued.retain,
        dup: queued.sequence < resumed_below,
        sequence: Some(Sequence(queued.sequence)),
        subscription_ids: &queued.subscription_ids,
        expiry_seconds: queued.expiry_seconds,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "stands in map_err")]
fn text_of(error: SessionError) -> String {
    error.to_string()
}
