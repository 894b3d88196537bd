//! What callers say and hear of a session: who owns it, what it holds.

use std::fmt;
use std::sync::Arc;

use tessera_mqtt::{
    ClientId, FilterSpec, Message, PacketId, SubscriptionId, SubscriptionOptions, Will,
};
use tessera_tenancy::{PrincipalId, TenantId};

use crate::registration::Registration;
use crate::will::WillNumber;

/// A Session Expiry Interval that never passes (MQTT 5, 3.1.2.11.2).
pub const EXPIRY_NEVER: u32 = u32::MAX;

/// One life of a client's session: another one of the same client identifier has a larger number.
/// Routes of persistent receivers carry it. 0 is the life of every transient session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionIncarnation(pub u64);

/// Which attachment owns the session: raised by each attach, it fences the owners before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerEpoch(pub u64);

/// How long a session lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKind {
    /// As long as its connection; in memory only.
    Transient,
    /// Stored; outlives its connection.
    Persistent {
        /// For so long; [`EXPIRY_NEVER`] is for ever. 0 ends it with its connection (a stored
        /// session that was resumed without an expiry).
        expiry_seconds: u32,
    },
}

/// The right to act for a session. Every call that changes something carries it and is refused as
/// [`SessionError::Stale`](crate::SessionError::Stale) once another attach took the session over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRef {
    /// Whose namespace.
    pub tenant: TenantId,
    /// Which client.
    pub client: ClientId,
    /// Which of its sessions.
    pub incarnation: SessionIncarnation,
    /// Which attachment.
    pub epoch: OwnerEpoch,
    /// What was granted: a transient request that resumed a stored session is persistent here.
    pub kind: SessionKind,
    /// The stored will of this attachment.
    pub will: Option<WillNumber>,
    /// Its registration among several nodes.
    pub registration: Option<Registration>,
}

/// What becomes of a will when its connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WillEnd {
    /// There is none, or the client said goodbye: nothing is published (MQTT-3.14.4-3).
    Dropped,
    /// It is published after its delay, or with the session's end if that is sooner (MQTT-3.1.2-8).
    Published,
    /// The same, but not at once: it was the server that went away, and the client may be back.
    PublishedUnlessBack,
}

/// The connection that owns a session. Called from other tasks and from the applying thread: each
/// method only sets a flag, writes an outbox or wakes a task.
pub trait Owner: Send + Sync {
    /// Another connection has the session now: close with 0x8E. Nothing of the session may be
    /// written or acknowledged any more.
    fn taken_over(&self);

    /// Messages were queued: [`Inbox::fetch`](crate::Inbox::fetch) them. May be called in vain.
    fn available(&self);

    /// A QoS 0 message for an online persistent session, which is not queued.
    fn deliver_live(&self, message: &Message, grant: &LiveGrant<'_>);
}

/// What a subscription makes of a message that is delivered live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveGrant<'a> {
    /// RETAIN in the packet to the client.
    pub retain: bool,
    /// The identifiers of all matching subscriptions.
    pub subscription_ids: &'a [SubscriptionId],
}

/// A connection asks for a session.
#[derive(Clone)]
pub struct AttachRequest {
    /// Whose namespace.
    pub tenant: TenantId,
    /// Which client.
    pub client: ClientId,
    /// Who asks. A client identifier belongs to the principal that opened its session.
    pub principal: PrincipalId,
    /// Discard what is stored and begin anew.
    pub clean_start: bool,
    /// What is asked for.
    pub kind: SessionKind,
    /// Whom to tell.
    pub owner: Arc<dyn Owner>,
    /// What is published if the connection ends without a farewell: durable before this is answered.
    pub will: Option<Box<Will>>,
}

impl fmt::Debug for AttachRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttachRequest")
            .field("tenant", &self.tenant)
            .field("clean_start", &self.clean_start)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// A session that is now the caller's.
#[derive(Debug, Clone)]
pub struct Attached {
    /// The right to act for it.
    pub session: SessionRef,
    /// A stored session was resumed.
    pub session_present: bool,
    /// Another connection had it, was told and is fenced.
    pub took_over: bool,
    /// What it subscribes to. Unfinished ones ([`SubscriptionState`]) are the caller's to finish.
    pub subscriptions: Vec<StoredSubscription>,
    /// QoS 2 packet identifiers whose messages are stored with every receiver and that wait for
    /// their PUBREL: not to be routed again.
    pub received_qos2: Vec<PacketId>,
    /// The first sequence that is not acknowledged: where delivery resumes.
    pub cursor: u64,
    /// Sequences below may have been sent by an earlier connection: send them with DUP
    /// (MQTT-3.3.1-1). Those from here on were never sent.
    pub sent_below: u64,
    /// Sequences whose PUBREC was stored and whose PUBCOMP is due: send PUBREL. In order.
    pub released: Vec<u64>,
    /// Routes of a session that was discarded: to be removed in dist.
    pub discarded: Vec<DiscardedRoute>,
}

/// A route that points to a session that is no more.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DiscardedRoute {
    /// Whose namespace.
    pub tenant: TenantId,
    /// Whose session it was.
    pub client: ClientId,
    /// Which of its sessions.
    pub incarnation: SessionIncarnation,
    /// The route's filter.
    pub filter: FilterSpec,
}

/// A subscription of a persistent session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSubscription {
    /// To what.
    pub filter: FilterSpec,
    /// How.
    pub options: SubscriptionOptions,
    /// Its Subscription Identifier.
    pub subscription_id: Option<SubscriptionId>,
    /// How far it is.
    pub state: SubscriptionState,
}

/// How far a change of a subscription is (protocols C).
///
/// ```text
/// subscribe ─> Intended ── route added, confirm ──> Confirmed
///                 ^─────────── subscribe ──────────────┤
///                                                      └─ unsubscribe ─> Leaving ── route removed, confirm ─> (gone)
/// ```
/// A subscription may go from any state to `Intended` and to `Leaving`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionState {
    /// Its route may not be there yet: add the route, then confirm.
    Intended,
    /// Its route is there.
    Confirmed,
    /// Its route may still be there: remove the route, then confirm.
    Leaving,
}

/// What came of a detach.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Detached {
    /// Routes of the session if it ended here: to be removed in dist.
    pub discarded: Vec<DiscardedRoute>,
}

/// What one tenant has in the store. Exact as of the last applied command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TenantFigures {
    /// Stored sessions, online or not.
    pub sessions: u64,
    /// Their subscriptions.
    pub subscriptions: u64,
    /// Messages in their queues; one in two queues counts twice.
    pub queue_messages: u64,
    /// Bytes of those messages.
    pub queue_bytes: u64,
}

/// What one bounded step of expiry did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expired {
    /// Sessions that are gone.
    pub sessions: usize,
    /// Their routes: to be removed in dist.
    pub discarded: Vec<DiscardedRoute>,
    /// The round over all tenants is not complete: step again. `false` once per round.
    pub more: bool,
}
