//! What happened between clients and servers, as the clients saw it.
//!
//! Entries stand in the order in which they happened: a request is written down before its first byte
//! leaves, an answer after its last byte came. The place of an entry is a [`Moment`].

use std::sync::Arc;

use tessera_mqtt::Qos;

/// Microseconds of one monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Micros(pub u64);

impl Micros {
    /// So many seconds.
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    pub(crate) const fn plus(self, later: Self) -> Self {
        Self(self.0.saturating_add(later.0))
    }

    pub(crate) const fn minus(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}

/// The place of an entry in its history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub usize);

/// A tenant, by a number of the test's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant(pub u16);

/// A client identifier. Two tenants may use the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client(pub u32);

/// One attempt to connect and what came of it: a number that is used once in a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Connection(pub u32);

/// A node, by a number of the test's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node(pub u16);

/// A message: its payload says this number, and no other message of the history does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u64);

/// All that happened, in order.
#[derive(Debug, Clone, Default)]
pub struct History {
    entries: Vec<Entry>,
}

impl History {
    /// Appends what happened now.
    pub fn push(&mut self, at: Micros, event: Event) {
        self.entries.push(Entry { at, event });
    }

    /// In order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn at(&self, moment: Moment) -> Micros {
        self.entries
            .get(moment.0)
            .map_or(Micros(u64::MAX), |entry| entry.at)
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub at: Micros,
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// To a client, or by it.
    Act { who: Who, act: Act },
    /// A node's process ended at once; written down before it is killed. `None`: all nodes.
    NodeEnded { node: Option<Node> },
    /// Every client that is connected now has received all that is due to it, and has had the time
    /// to.
    Quiet,
    /// What the server counted, up to the end of the history.
    Counted(Counted),
}

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who {
    pub tenant: Tenant,
    pub client: Client,
    pub connection: Connection,
    /// The node that serves the connection, if it is known.
    pub node: Option<Node>,
}

/// What a client does, or what it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// CONNECT leaves.
    Connect(Connect),
    /// CONNACK with success came. `session_present`: if it says so, which MQTT 3.1 does not. `epoch`:
    /// that of the owner, if the server tells it.
    Connected {
        session_present: Option<bool>,
        epoch: Option<u64>,
    },
    /// DISCONNECT leaves. `expiry_seconds`: the session's from now on, if it says so.
    Disconnect {
        with_will: bool,
        expiry_seconds: Option<u32>,
    },
    /// The connection is over: nothing more is sent or received on it. Also of one that never got a
    /// CONNACK.
    Closed { end: End },
    /// SUBSCRIBE leaves.
    Subscribe {
        packet: u16,
        filters: Vec<Subscription>,
    },
    /// SUBACK came: what was granted for each filter, `None` where it was refused.
    SubAck {
        packet: u16,
        granted: Vec<Option<Qos>>,
    },
    /// UNSUBSCRIBE leaves.
    Unsubscribe { packet: u16, filters: Vec<Arc<str>> },
    /// UNSUBACK came.
    UnsubAck { packet: u16 },
    /// PUBLISH leaves: for the first time, or again.
    Publish(Publish),
    /// PUBACK, or for QoS 2 PUBREC, came and says success.
    Published { message: MessageId },
    /// It was refused: it may still have reached some.
    Refused { message: MessageId },
    /// A message came, and the application takes it: a QoS 2 message when its packet identifier is
    /// new.
    Deliver(Delivery),
    /// The server announces that it dropped so many messages of this client's queue.
    Dropped { count: u64 },
    /// The server says that it published this client's will.
    WillFired { message: MessageId },
    /// The server says that it let this session expire.
    SessionExpired,
    /// A new subscriber begins to ask what the topic retains.
    ReadRetained { topic: Arc<str> },
    /// It was told.
    Retained {
        topic: Arc<str>,
        saw: Option<MessageId>,
    },
}

/// A CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    pub clean_start: bool,
    /// 0: the session ends with its connection; the largest number: never.
    pub expiry_seconds: u32,
    pub will: Option<Will>,
}

/// What is published if the connection ends without a farewell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    pub message: MessageId,
    pub topic: Arc<str>,
    pub qos: Qos,
    pub retain: bool,
    pub delay_seconds: u32,
}

/// How a connection ended, as far as its server is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The server has taken a DISCONNECT that discards the will.
    Farewell,
    /// The server has taken no such DISCONNECT and never will.
    Abrupt,
    /// One or the other.
    Unknown,
}

/// One filter of a SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// As on the wire, `$share` included.
    pub filter: Arc<str>,
    pub qos: Qos,
    pub no_local: bool,
    pub retain_as_published: bool,
}

/// A PUBLISH of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    pub message: MessageId,
    pub topic: Arc<str>,
    pub qos: Qos,
    pub retain: bool,
    /// It has no payload: it clears the topic if it is retained, and who receives it cannot tell
    /// which message it is.
    pub is_empty: bool,
    pub expiry_seconds: Option<u32>,
    pub packet: Option<u16>,
    pub dup: bool,
}

/// A PUBLISH of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub payload: Payload,
    pub topic: Arc<str>,
    pub qos: Qos,
    pub dup: bool,
    pub retain: bool,
    pub packet: Option<u16>,
    /// What is left of its expiry, if the receiver was told.
    pub expiry_seconds: Option<u32>,
}

/// What a received payload says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    Message(MessageId),
    Empty,
}

/// A figure of the server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    pub tenant: Tenant,
    pub what: Figure,
    pub count: u64,
    /// By how much it may differ from what clients saw, as documented.
    pub tolerance: u64,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// Messages that clients sent.
    Publishes,
    /// Messages that clients received.
    Deliveries,
}
