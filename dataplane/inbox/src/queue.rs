//! What callers say and hear of queues: messages in, messages out.

use std::ops::Range;
use std::sync::Arc;

use tessera_mqtt::{ClientId, Message, Qos, SubscriptionIds};
use tessera_tenancy::PrincipalId;

use crate::session::SessionIncarnation;

/// Subscription Identifiers that one delivery may carry; more are refused as
/// [`InsertError::TooManySubscriptionIds`](crate::InsertError::TooManySubscriptionIds).
pub const SUBSCRIPTION_IDS_MAX: usize = 255;

/// One message for queues of persistent sessions. QoS 0 is not queued: see
/// [`Inbox::deliver_live`](crate::Inbox::deliver_live).
#[derive(Debug, Clone)]
pub struct InsertRequest {
    /// As published.
    pub message: Arc<Message>,
    /// Who published it: what was queued is authorised again at delivery.
    pub writer: PrincipalId,
    /// What each touched queue may hold.
    pub bounds: QueueBounds,
    /// Set for QoS 2 of a persistent session: a repeat is stored once.
    pub origin: Option<PublishOrigin>,
    /// Whose queues. A client may stand here more than once, if its subscriptions ask for copies.
    pub targets: Vec<Target>,
}

/// One queue that a message goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Whose.
    pub client: ClientId,
    /// The route's session. If the client has another one now: [`InsertOutcome::NoSubscription`].
    pub incarnation: SessionIncarnation,
    /// The QoS to deliver with: the smaller of message and subscription. At least 1.
    pub qos: Qos,
    /// RETAIN in the packet to the client.
    pub retain: bool,
    /// The identifiers of the matching subscriptions.
    pub subscription_ids: SubscriptionIds,
}

/// What one queue may hold. Carried by the command, so that every replica decides alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueBounds {
    /// Messages that are not acknowledged, those in flight included.
    pub messages_max: u32,
    /// Their bytes: topic, payload, properties and under 40 bytes for each message.
    pub bytes_max: u64,
    /// What gives way.
    pub overflow: OverflowPolicy,
}

impl Default for QueueBounds {
    /// 1,000 messages, 64 `MiB`, the oldest give way.
    fn default() -> Self {
        Self {
            messages_max: 1_000,
            bytes_max: 64 * 1024 * 1024,
            overflow: OverflowPolicy::DropOldest,
        }
    }
}

/// What gives way when a queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OverflowPolicy {
    /// The messages that wait longest.
    #[default]
    DropOldest,
    /// The message that comes.
    DropNewest,
    /// None: the message is not stored, and its publisher is to be told. A publish with an
    /// [origin](InsertRequest::origin) is then stored in no queue of its command, so that a repeat
    /// of it is stored once in all of them.
    RefusePublisher,
}

/// Which bound of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueBound {
    /// [`QueueBounds::messages_max`].
    Messages,
    /// [`QueueBounds::bytes_max`].
    Bytes,
}

/// What came of one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InsertOutcome {
    /// In the queue, on disk.
    Stored,
    /// The queue was full.
    Overflowed {
        /// Messages that were dropped, the new one included if it was not stored.
        dropped: u32,
        /// Whether the new one is in the queue.
        stored: bool,
    },
    /// The client has no such session: its route is to be removed.
    NoSubscription,
    /// The message had no life left: not stored.
    Expired,
    /// Stored before, by an earlier attempt of the same publish.
    Duplicate,
    /// The queue is full and [refuses](OverflowPolicy::RefusePublisher): not stored.
    Refused {
        /// What is full.
        full: QueueBound,
    },
    /// Not stored, since another queue of the same publish refused it, or since an earlier command
    /// of the same publish did not come to be. Only of a publish with an origin: try all of it again.
    Withheld,
}

/// Names one QoS 2 publish over repeats: what [`Inbox::qos2_publishing`](crate::Inbox::qos2_publishing)
/// gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishOrigin {
    /// The publisher.
    pub client: ClientId,
    /// Its session.
    pub incarnation: SessionIncarnation,
    /// Dense number of the publish in that session.
    pub number: u64,
    /// Every smaller number is settled: it will not be sent again.
    pub floor: u64,
}

/// One queued message.
#[derive(Debug, Clone)]
pub struct Queued {
    /// Dense per session: the packet identifier follows from it (protocols D).
    pub sequence: u64,
    /// As published.
    pub message: Message,
    /// Who published it.
    pub writer: PrincipalId,
    /// The QoS to deliver with.
    pub qos: Qos,
    /// RETAIN in the packet to the client.
    pub retain: bool,
    /// The identifiers of the matching subscriptions.
    pub subscription_ids: SubscriptionIds,
    /// When it was stored, Unix milliseconds of the group's time.
    pub stored_at_ms: u64,
    /// What is left of its Message Expiry Interval at the time of the fetch.
    pub expiry_seconds: Option<u32>,
}

/// What a fetch found.
#[derive(Debug, Clone, Default)]
pub struct Fetched {
    /// In order of their sequences.
    pub messages: Vec<Queued>,
    /// Sequences of the asked span that are not to be delivered: dropped, expired or completed.
    /// They count as acknowledged. A sequence that waits for its PUBCOMP is neither here nor in
    /// `messages`: [`Attached::released`](crate::Attached::released) named it.
    pub skipped: Vec<Range<u64>>,
    /// The QoS 2 messages among `skipped` that expired before they were sent. To the next owner they
    /// would count as sent: those that stay behind an unacknowledged message are to be
    /// [completed](crate::Inbox::completed).
    pub unsent: Vec<u64>,
    /// Where the next fetch starts. Equal to the `from` of this one: the queue has nothing more.
    pub next: u64,
}
