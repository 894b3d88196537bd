//! What a connection holds once its CONNECT was accepted. Boxed: nothing of it is paid for before.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::BytesMut;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tessera_limits::{ConnectionPermit, Refusal};
use tessera_mqtt::{PacketId, ReasonCode, UserProperties};
use tessera_session::{Detail, Ticket};
use tokio::task::JoinSet;

use super::persistent::Home;
use super::publish::Throttle;
use super::subscribe::{Replay, Subscriptions};
use crate::authenticate::Identity;
use crate::keep_alive::Pulse;
use crate::outbox::{EndReason, Outbox};
use crate::shared::Shared;
use crate::targets::{Memo, Origin};
use crate::tenants::Tenant;

/// A connected session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) tenant: Arc<Tenant>,
    pub(crate) identity: Identity,
    pub(crate) origin: Origin,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) home: Home,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) replay: Replay,
    pub(crate) memo: Memo,
    pub(crate) throttle: Throttle,
    pub(crate) completions: Completions,
    /// What the inbox is being told before the session may have another owner.
    pub(crate) telling: Option<JoinSet<()>>,
    /// QoS 0 messages that are on their way into a store.
    pub(crate) keeping: usize,
    pub(crate) pulse: Option<Arc<Pulse>>,
    /// The connection's place under the tenant's limit; given back with the last holder.
    pub(crate) permit: Arc<ConnectionPermit>,
}

impl Session {
    /// A read happened.
    pub(crate) fn beat(&self, shared: &Shared) {
        if let Some(pulse) = &self.pulse {
            pulse.beat(shared.wheel.tick());
        }
    }

    /// Moves what publishers left into `into`; the reason if the connection must end.
    pub(crate) fn take(&mut self, into: &mut BytesMut) -> Option<EndReason> {
        let signals = self.outbox.take(into);
        if signals.available {
            self.home.note_available();
        }
        signals.end
    }
}

/// Something that had to be durable, and is or failed.
#[derive(Debug)]
pub(crate) enum Completion {
    /// A PUBLISH: it may be acknowledged, or must be refused.
    Publish {
        ticket: Ticket,
        outcome: PublishOutcome,
    },
    /// A QoS 2 PUBLISH of a persistent session. An error: the session could not be told.
    PublishOnce {
        ticket: Ticket,
        outcome: Result<PublishOutcome, String>,
    },
    /// A PUBREL: its identifier is free.
    Released {
        packet_id: PacketId,
        outcome: Result<(), String>,
    },
    /// A PUBREC of the client: PUBREL may leave.
    Received {
        sequence: u64,
        outcome: Result<(), String>,
    },
    /// A QoS 0 message is in its store.
    Kept,
    /// The inbox knows that everything below was acknowledged.
    Acknowledged { outcome: Result<(), String> },
}

/// What a publisher is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublishOutcome {
    pub(crate) code: ReasonCode,
    pub(crate) detail: Option<Box<Detail>>,
}

impl PublishOutcome {
    pub(crate) const fn plain(code: ReasonCode) -> Self {
        Self { code, detail: None }
    }

    pub(crate) fn refused(code: ReasonCode, text: String) -> Self {
        Self {
            code,
            detail: Some(Box::new(Detail::text(text))),
        }
    }

    /// Something is full: what, and how much that is.
    pub(crate) fn full(text: String, name: &str, value: u64) -> Self {
        let pairs = [("limit", name.to_owned()), ("value", value.to_string())];
        Self {
            code: ReasonCode::QuotaExceeded,
            detail: Some(Box::new(detail(text, &pairs))),
        }
    }

    /// At a limit: which one, how much, until when.
    pub(crate) fn at_limit(refusal: &Refusal) -> Self {
        Self {
            code: ReasonCode::QuotaExceeded,
            detail: Some(Box::new(detail_of(refusal))),
        }
    }
}

/// A limit's refusal in the words of an answer.
pub(crate) fn detail_of(refusal: &Refusal) -> Detail {
    let pairs: Vec<(&str, String)> = refusal.user_properties().collect();
    detail(refusal.to_string(), &pairs)
}

fn detail(text: String, pairs: &[(&str, String)]) -> Detail {
    let pairs = pairs.iter().map(|(name, value)| (*name, value.as_str()));
    Detail {
        text: Some(text.into()),
        // Names and numbers of our own: they are strings of MQTT.
        user_properties: UserProperties::from_pairs(pairs).unwrap_or_default(),
    }
}

type Pending = Pin<Box<dyn Future<Output = Completion> + Send>>;

/// What the connection waits for. Bounded by the receive maximum both ways; no memory while empty.
#[derive(Debug, Default)]
pub(crate) struct Completions(Option<Box<FuturesUnordered<Pending>>>);

impl Completions {
    pub(crate) fn push(&mut self, pending: impl Future<Output = Completion> + Send + 'static) {
        self.0.get_or_insert_default().push(Box::pin(pending));
    }

    /// The next one; never, if there is none. Cancel safe.
    pub(crate) async fn next(&mut self) -> Completion {
        if let Some(pending) = &mut self.0
            && let Some(completion) = pending.next().await
        {
            return completion;
        }
        self.0 = None;
        std::future::pending().await
    }

    /// The next one that is ready now.
    pub(crate) fn take_ready(&mut self) -> Option<Completion> {
        use futures_util::FutureExt as _;
        let pending = self.0.as_mut()?;
        pending.next().now_or_never().flatten()
    }
}
