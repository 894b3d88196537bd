//! Where publishers leave messages for one connection.
//!
//! A publisher's task takes the lock, lets [`Outbound`] encode straight into the buffer, and wakes the
//! connection's task once per burst. The connection's task takes the buffer and writes it to the
//! socket. Nothing is written into an outbox that has ended: the lock is the fence of a takeover.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::{Mutex, MutexGuard};
use tessera_inbox::{LiveGrant, Owner};
use tessera_mqtt::{Message, ReasonCode};
use tessera_session::{Delivery, Grant, Loan, LoanTerms, Outbound};
use tokio::sync::Notify;

use crate::buffers;
use crate::clock::Clock;
use crate::drops::{DropReason, TenantDrops};
use crate::metrics::Metrics;

/// Bytes that may wait for one socket; a QoS 0 message that finds more is dropped.
pub(crate) const OUTBOX_BYTES_MAX: usize = 256 * 1024;
/// QoS 1 and 2 messages that may wait while a client's window is closed.
pub(crate) const QUEUE_MESSAGES_MAX: usize = 1_000;
/// Bytes of those messages.
pub(crate) const QUEUE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A number for each connection of this process: never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnectionId(pub(crate) u64);

impl ConnectionId {
    /// Of what no connection says: numbers of connections begin at 1.
    pub(crate) const NOBODY: Self = Self(0);
}

/// Why the server ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndReason {
    /// Another connection took the client identifier.
    TakenOver,
    /// Silent for 1.5 times its keep alive.
    KeepAliveTimeout,
    /// Its credential or secret is gone.
    CredentialRevoked,
    /// Its tenant is suspended or gone.
    TenantClosed,
    /// It did not take its messages in time.
    SlowReceiver,
    /// The process stops.
    ShuttingDown,
    /// The cluster has not heard of this node for too long.
    NodeLapsed,
}

impl EndReason {
    /// The reason code of the DISCONNECT that a version 5 client gets.
    pub(crate) const fn code(self) -> ReasonCode {
        match self {
            Self::TakenOver => ReasonCode::SessionTakenOver,
            Self::KeepAliveTimeout => ReasonCode::KeepAliveTimeout,
            Self::CredentialRevoked => ReasonCode::NotAuthorized,
            Self::TenantClosed => ReasonCode::AdministrativeAction,
            Self::SlowReceiver => ReasonCode::QuotaExceeded,
            Self::ShuttingDown => ReasonCode::ServerShuttingDown,
            Self::NodeLapsed => ReasonCode::ServerBusy,
        }
    }

    /// The same in words.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::TakenOver => "another connection took this client identifier",
            Self::KeepAliveTimeout => "nothing was heard for 1.5 times the keep alive",
            Self::CredentialRevoked => "the credential was revoked",
            Self::TenantClosed => "the tenant is suspended or deleted",
            Self::SlowReceiver => "messages were not taken in time",
            Self::ShuttingDown => "the server is shutting down",
            Self::NodeLapsed => "this node was cut off from the others",
        }
    }
}

/// What the connection's task finds when it is woken.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// The connection must end.
    pub(crate) end: Option<EndReason>,
    /// The inbox holds messages that were not fetched yet.
    pub(crate) available: bool,
}

#[derive(Debug)]
struct State {
    outbound: Outbound,
    buffer: BytesMut,
    /// The task was woken and has not looked yet.
    signalled: bool,
    signals: Signals,
    /// Publishers that wait for room.
    waiting: bool,
    /// The connection is over: nothing goes in any more.
    ended: bool,
    /// Messages written or queued since the last look, for the counters.
    delivered: u64,
}

/// The mailbox of one connection.
#[derive(Debug)]
pub(crate) struct Outbox {
    id: ConnectionId,
    clock: Clock,
    metrics: Arc<Metrics>,
    drops: Arc<TenantDrops>,
    state: Mutex<State>,
    wake: Notify,
    room: Notify,
}

impl Outbox {
    pub(crate) fn new(
        id: ConnectionId,
        outbound: Outbound,
        clock: Clock,
        metrics: Arc<Metrics>,
        drops: Arc<TenantDrops>,
    ) -> Self {
        let state = State {
            outbound,
            buffer: BytesMut::new(),
            signalled: false,
            signals: Signals::default(),
            waiting: false,
            ended: false,
            delivered: 0,
        };
        Self {
            id,
            clock,
            metrics,
            drops,
            state: Mutex::new(state),
            wake: Notify::new(),
            room: Notify::new(),
        }
    }

    pub(crate) const fn id(&self) -> ConnectionId {
        self.id
    }

    /// Gives the client a message. On [`Delivery::WouldOverflow`] the caller waits for
    /// [`room`](Self::room).
    pub(crate) fn deliver(
        &self,
        message: &Message,
        grant: &Grant<'_>,
        loan: Option<&Arc<LoanTerms>>,
        now: Duration,
    ) -> Delivery {
        let mut state = self.state.lock();
        if state.ended {
            return Delivery::Closed;
        }
        let State {
            outbound, buffer, ..
        } = &mut *state;
        if buffer.capacity() == 0 {
            *buffer = buffers::take();
        }
        let delivery = match loan {
            None => outbound.deliver(message, grant, now, buffer),
            Some(terms) => outbound.lend(message, grant, terms, now, buffer),
        };
        match delivery {
            Delivery::Written => {
                state.delivered += 1;
                self.wake_once(state);
            }
            Delivery::Queued => state.delivered += 1,
            Delivery::WouldOverflow => state.waiting = true,
            Delivery::DroppedTooLarge => self.drops.add(DropReason::TooLarge, 1),
            Delivery::DroppedFull => self.drops.add(DropReason::OutboxFull, 1),
            Delivery::Known | Delivery::Closed => {}
        }
        delivery
    }

    /// Counts what the connection's own task could not deliver.
    pub(crate) fn note_dropped(&self, reason: DropReason, messages: u64) {
        self.drops.add(reason, messages);
    }

    /// Drives [`Outbound`] from the connection's own task, with the buffer that leaves next.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Outbound, &mut BytesMut) -> R) -> R {
        let mut state = self.state.lock();
        let State {
            outbound, buffer, ..
        } = &mut *state;
        if buffer.capacity() == 0 {
            *buffer = buffers::take();
        }
        let result = act(outbound, buffer);
        if buffer.is_empty() {
            // An idle connection holds no buffer.
            buffers::give_back(std::mem::take(buffer));
        }
        if state.waiting {
            state.waiting = false;
            self.room.notify_waiters();
        }
        result
    }

    /// Looks at [`Outbound`] without changing it.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&Outbound, usize) -> R) -> R {
        let state = self.state.lock();
        look(&state.outbound, state.buffer.len())
    }

    /// Whether the client can be sent a message of QoS 1 or 2 at once.
    pub(crate) fn has_credit(&self) -> bool {
        let state = self.state.lock();
        !state.ended && state.outbound.window_room() > 0 && state.buffer.len() < OUTBOX_BYTES_MAX
    }

    /// Ends the connection: from here on nothing goes in. The first reason stays.
    pub(crate) fn end(&self, reason: EndReason) {
        let mut state = self.state.lock();
        if state.ended {
            return;
        }
        state.ended = true;
        state.signals.end = Some(reason);
        if reason == EndReason::TakenOver {
            // The former owner is fenced: from here on its client is written nothing that was not
            // taken yet.
            buffers::give_back(std::mem::take(&mut state.buffer));
        }
        drop(state);
        self.room.notify_waiters();
        // Even a task that was woken and did not look: it may be waiting for a blocked socket.
        self.wake.notify_one();
    }

    /// What the client was lent and did not acknowledge: nothing goes in any more.
    pub(crate) fn take_loans(&self) -> Vec<Loan> {
        let mut state = self.state.lock();
        state.ended = true;
        state.outbound.take_loans()
    }

    /// The connection's task is done: what comes later finds the outbox ended.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.ended = true;
        state.outbound.close();
        buffers::give_back(std::mem::take(&mut state.buffer));
        self.room.notify_waiters();
    }

    /// What happened since the last call; moves what is to be written to the end of `into`.
    pub(crate) fn take(&self, into: &mut BytesMut) -> Signals {
        let mut state = self.state.lock();
        state.signalled = false;
        self.metrics
            .messages_delivered
            .add(std::mem::take(&mut state.delivered));
        let buffer = std::mem::take(&mut state.buffer);
        if state.outbound.queued_messages() > 0 && !state.ended {
            self.refill(&mut state);
        }
        let signals = std::mem::take(&mut state.signals);
        drop(state);
        if buffer.is_empty() || !into.is_empty() {
            into.extend_from_slice(&buffer);
            buffers::give_back(buffer);
        } else {
            buffers::give_back(std::mem::replace(into, buffer));
        }
        signals
    }

    /// The buffer was taken: what waited for it goes in.
    fn refill(&self, state: &mut State) {
        let State {
            outbound, buffer, ..
        } = state;
        *buffer = buffers::take();
        if outbound.flush(self.clock.now(), buffer) == 0 {
            buffers::give_back(std::mem::take(buffer));
            return;
        }
        // There is more to write: the task that takes this must come again.
        self.wake.notify_one();
        if std::mem::take(&mut state.waiting) {
            self.room.notify_waiters();
        }
    }

    /// Why the connection must end, if it must. Leaves everything in place.
    pub(crate) fn end_reason(&self) -> Option<EndReason> {
        self.state.lock().signals.end
    }

    /// Whether the connection is over.
    pub(crate) fn has_ended(&self) -> bool {
        self.state.lock().ended
    }

    /// Waits for a signal. Cancel safe.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Waits until the queue may have room again. Register before trying, then await.
    pub(crate) fn room(&self) -> tokio::sync::futures::Notified<'_> {
        self.room.notified()
    }

    fn wake_once(&self, mut state: MutexGuard<'_, State>) {
        let first = !std::mem::replace(&mut state.signalled, true);
        drop(state);
        if first {
            self.wake.notify_one();
        }
    }
}

impl Owner for Outbox {
    fn taken_over(&self) {
        self.end(EndReason::TakenOver);
    }

    fn available(&self) {
        let mut state = self.state.lock();
        state.signals.available = true;
        self.wake_once(state);
    }

    fn deliver_live(&self, message: &Message, grant: &LiveGrant<'_>) {
        let grant = Grant {
            qos: tessera_mqtt::Qos::AtMostOnce,
            retain: grant.retain,
            dup: false,
            sequence: None,
            subscription_ids: grant.subscription_ids,
            expiry_seconds: message.expiry_seconds,
        };
        self.deliver(message, &grant, None, self.clock.now());
    }
}
