//! PUBLISH: the hot path. Neither direction allocates; the payload is never looked at.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::forwarded::ForwardedProperties;
use crate::message::Message;
use crate::topic::TopicName;
use crate::values::{PacketId, Qos, SubscriptionId, TopicAlias};

mod read;
mod write;

pub(crate) use read::{Checked, check_flags, check_levels, topic_fault};
pub(crate) use write::encode;
pub use write::{encode_publish, encoded_publish_len};

/// The subscription identifiers of one delivery. Four stand without an allocation.
pub type SubscriptionIds = SmallVec<[SubscriptionId; 4]>;

/// PUBLISH: one application message on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Where to, by name, alias or both.
    pub topic: PublishTopic,
    /// What it says.
    pub payload: Bytes,
    /// Its QoS.
    pub qos: Qos,
    /// Whether it is to be retained, or was.
    pub retain: bool,
    /// Whether it was sent before. Never with QoS 0.
    pub dup: bool,
    /// Its packet identifier: there is one if, and only if, the QoS is 1 or 2.
    pub packet_id: Option<PacketId>,
    /// Message Expiry Interval in seconds.
    pub expiry_seconds: Option<u32>,
    /// Which subscriptions it is for: to clients only.
    pub subscription_ids: SubscriptionIds,
    /// What a server forwards unaltered.
    pub properties: ForwardedProperties,
}

/// How a PUBLISH names its topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishTopic {
    /// By its name.
    Name(TopicName),
    /// By its name, which the alias means from now on.
    Define {
        /// The name.
        name: TopicName,
        /// Its alias.
        alias: TopicAlias,
    },
    /// By an alias that was defined before on this connection.
    Alias(TopicAlias),
}

impl Publish {
    /// A first sending of this message, by name.
    pub fn new(message: Message, packet_id: Option<PacketId>) -> Self {
        Self {
            topic: PublishTopic::Name(message.topic),
            payload: message.payload,
            qos: message.qos,
            retain: message.retain,
            dup: false,
            packet_id,
            expiry_seconds: message.expiry_seconds,
            subscription_ids: SubscriptionIds::new(),
            properties: message.properties,
        }
    }

    /// The message, once `resolve` has said what its topic is.
    ///
    /// # Errors
    /// What `resolve` says: the alias is unknown, or not allowed.
    pub fn into_message<E>(
        self,
        resolve: impl FnOnce(PublishTopic) -> Result<TopicName, E>,
    ) -> Result<Message, E> {
        Ok(Message {
            topic: resolve(self.topic)?,
            payload: self.payload,
            qos: self.qos,
            retain: self.retain,
            expiry_seconds: self.expiry_seconds,
            properties: self.properties,
        })
    }
}

impl PublishTopic {
    /// The name, if it stands there.
    pub const fn name(&self) -> Option<&TopicName> {
        match self {
            Self::Name(name) | Self::Define { name, .. } => Some(name),
            Self::Alias(_) => None,
        }
    }

    /// The alias, if it stands there.
    pub const fn alias(&self) -> Option<TopicAlias> {
        match self {
            Self::Define { alias, .. } | Self::Alias(alias) => Some(*alias),
            Self::Name(_) => None,
        }
    }
}

/// What one delivery of a message says beside the message.
#[derive(Debug, Clone, Copy, Default)]
pub struct PublishHeader<'a> {
    /// The delivery's QoS.
    pub qos: Qos,
    /// RETAIN.
    pub retain: bool,
    /// DUP; only with QoS 1 and 2.
    pub dup: bool,
    /// The packet identifier: there must be one if, and only if, the QoS is 1 or 2.
    pub packet_id: Option<PacketId>,
    /// The alias to use; left out below MQTT 5, where `with_topic` must be set.
    pub topic_alias: Option<TopicAliasUse>,
    /// Subscription identifiers; left out below MQTT 5.
    pub subscription_ids: &'a [SubscriptionId],
    /// What is left of the Message Expiry Interval, in seconds; left out below MQTT 5.
    pub expiry_seconds: Option<u32>,
}

/// How a delivery uses a topic alias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicAliasUse {
    /// The alias.
    pub alias: TopicAlias,
    /// Whether the topic name goes along and defines it.
    pub with_topic: bool,
}
